/* SPDX-License-Identifier: MIT */
/* holding.c - a server that is kept when its job is over; see holding.h. */
#include "holding.h"

#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "openstack.h"
#include "xalloc.h"

/* When max-life is over; of a record that does not know when the server was made, when it expires anyway. */
static int64_t
end_of_life(const struct record *r, const struct settings *st)
{
	return r->created == 0 ? r->expires : r->created + st->max_life / 1000;
}

int64_t
holding_until(const struct record *r, const struct settings *st, int64_t now)
{
	int64_t until = 0;

	if (r->phase == PHASE_HELD)
		until = r->expires;
	else if (r->phase != PHASE_READY || r->server_id == NULL)
		until = 0;
	else if (r->hold_ms > 0) /* the operator may do what he likes */
		until = now + r->hold_ms / 1000;
	else if (r->hold_ms != RECORD_NO_HOLD && r->failed != NULL && r->lost == NULL && st->keep_on_failure > 0) {
		until = now + st->keep_on_failure / 1000;
		if (until > end_of_life(r, st))
			until = end_of_life(r, st);
	}
	return until > now ? until : 0;
}

bool
holding_is_full(const struct settings *now)
{
	auto_strv struct strv keys = STRV_INIT;
	int64_t held = 0, at = clock_unix();

	if (now->max_held == 0)
		return false;
	state_keys(now->state_dir, &keys);
	for (size_t i = 0; i < keys.len; i++) {
		auto_state struct state state = STATE_INIT;
		auto_record struct record r = RECORD_INIT;
		struct fault f;

		if (state_open(&state, now->state_dir, keys.v[i], false, &f) && record_read(&r, &state, &f) && r.phase == PHASE_HELD &&
		    r.expires > at)
			held++;
	}
	return held >= now->max_held;
}

char *
holding_program(const struct settings *now)
{
	static const char usual_file[] = SETTINGS_DEFAULT_FILE ":";
	const char *where = settings_where(now, SETTING_state_dir);
	bool is_usual = now->source[SETTING_state_dir] == SOURCE_DEFAULT || strncmp(where, usual_file, strlen(usual_file)) == 0;

	return is_usual ? xstrdup("novajob") : xasprintf("novajob --state-dir=%s", now->state_dir);
}

/* The expiry as properties: by this host's clock, and as a span of life, which the cloud's clock measures. */
static void
expiry(const struct record *r, const struct os_server *s, struct strv *properties)
{
	int64_t created = r->created > 0 ? r->created : s->created;

	strv_addf(properties, "novajob:expires=%" PRId64, r->expires);
	if (created > 0 && r->expires > created && r->expires - created <= INT32_MAX)
		strv_addf(properties, "novajob:life=%" PRId64, r->expires - created);
}

enum holding
holding_tell(struct os_client *c, const struct jobserver *mine, const struct record *r, struct limit limit, struct fault *f)
{
	auto_servers struct os_servers list = OS_SERVERS_INIT;
	auto_strv struct strv properties = STRV_INIT;
	const struct os_server *held = NULL;
	struct fault other;

	if (!jobserver_find(c, mine, limit, &list, f))
		return HOLDING_NOT_TOLD;
	for (size_t i = 0; i < list.len; i++) {
		const struct os_server *s = &list.v[i];

		if (strcmp(s->task, "deleting") == 0)
			continue;
		if (strcmp(s->id, r->server_id) == 0)
			held = s;
		else if (strcmp(s->try, r->try) == 0 && !os_server_delete(c, s->id, limit, &other))
			log_debug("%s", other.text); /* sweep, when it expires */
	}
	if (held == NULL)
		return HOLDING_GONE;
	expiry(r, held, &properties);
	return os_server_set(c, held->id, NULL, &properties, limit, f) ? HOLDING_TOLD : HOLDING_NOT_TOLD;
}
