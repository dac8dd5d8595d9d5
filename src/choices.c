/* SPDX-License-Identifier: MIT */
/* choices.c - second choices; see choices.h. */
#include "choices.h"

#include <string.h>

#include "buf.h"
#include "xalloc.h"

#define TOGETHER " + " /* between networks of one choice */

/* A list of which at least one entry is there: "" stands for "not set". */
static void
split(struct strv *out, const char *list)
{
	if (list != NULL)
		strv_split(out, list);
	if (out->len == 0)
		strv_add(out, "");
}

void
choices_init(struct choices *c, const struct settings *st)
{
	*c = (struct choices)CHOICES_INIT;
	split(&c->flavors, st->flavor);
	split(&c->networks, st->network);
	split(&c->zones, st->availability_zone);
}

bool
choices_next(struct choices *c)
{
	c->at = (c->at + 1) % (c->flavors.len * c->networks.len * c->zones.len);
	return c->at != 0;
}

const char *
choices_flavor(const struct choices *c)
{
	return c->flavors.v[c->at / (c->zones.len * c->networks.len)];
}

const char *
choices_network(const struct choices *c)
{
	return c->networks.v[c->at / c->zones.len % c->networks.len];
}

const char *
choices_zone(const struct choices *c)
{
	return c->zones.v[c->at % c->zones.len];
}

void
choices_split_networks(const char *entry, struct strv *out)
{
	const char *at = entry;

	while (*at != '\0') {
		const char *end = strstr(at, TOGETHER);

		if (end == NULL) {
			strv_add(out, at);
			return;
		}
		strv_addf(out, "%.*s", (int)(end - at), at);
		at = end + strlen(TOGETHER);
	}
}

void
choices_networks(const struct choices *c, struct strv *out)
{
	choices_split_networks(choices_network(c), out);
}

char *
choices_text(const struct choices *c)
{
	auto_buf struct buf b = BUF_INIT;

	buf_printf(&b, "flavor %s", choices_flavor(c));
	if (choices_network(c)[0] != '\0')
		buf_printf(&b, ", network %s", choices_network(c));
	if (choices_zone(c)[0] != '\0')
		buf_printf(&b, ", zone %s", choices_zone(c));
	return buf_steal(&b);
}

void
choices_free(struct choices *c)
{
	strv_free(&c->flavors);
	strv_free(&c->networks);
	strv_free(&c->zones);
	c->at = 0;
}
