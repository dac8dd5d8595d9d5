/* SPDX-License-Identifier: MIT */
/* floating.c - floating addresses; see floating.h. */
#include "floating.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "text.h"
#include "xalloc.h"

#define PREFIX        "novajob:"
#define CREATE_TRIES  3
#define LOOK_MS       30000  /* to find out whether a create has worked */
#define APPEAR_MS     3000   /* after a create whose outcome is unknown: look again so much later */
#define ATTACH_MS     60000  /* for attaching, with repeats */
#define ATTACH_LOOKS  3      /* so often the list may not know yet that it is attached */
#define STOP_CALL_MS  1000   /* a call under way may end after a stop: its client then does the undoing */
#define AGAIN_MS      1000   /* between two looks; doubled for releases that the cloud in trouble does not take */
#define AGAIN_MAX_MS  8000
#define REFUSALS      3      /* so often a release is asked for that the cloud refuses, or takes and does not do */
#define TRY_LETTERS   "0123456789abcdef"
#define KEY_LETTERS   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"

char *
floating_description(const char *owner, const char *key, const char *try, int64_t expires)
{
	return xasprintf(PREFIX "%s:%s:%s:%" PRId64, owner, key, try, expires);
}

bool
floating_parse(const char *description, const char *owner, struct floating_tag *tag)
{
	auto_free char *mine = xasprintf(PREFIX "%s:", owner);
	size_t len = strlen(mine);
	auto_free char *text = NULL;
	const char *key, *try, *expires, *wrong = NULL;
	char *rest;

	*tag = (struct floating_tag){ .expires = 0 };
	if (strncmp(description, mine, len) != 0)
		return false;
	text = xstrdup(description + len);
	rest = text;
	key = strsep(&rest, ":");
	try = strsep(&rest, ":");
	expires = strsep(&rest, ":");
	if (expires == NULL || rest != NULL || strlen(key) >= sizeof(tag->key) || !text_only(key, KEY_LETTERS) ||
	    strlen(try) >= sizeof(tag->try) || !text_only(try, TRY_LETTERS))
		return true; /* ours, and nobody knows whose */
	(void)strlcpy(tag->key, key, sizeof(tag->key)); /* length checked above, as the next one's */
	(void)strlcpy(tag->try, try, sizeof(tag->try));
	tag->expires = strtonum(expires, 0, INT64_MAX, &wrong);
	return true;
}

/* j->key NULL: of any job. */
static bool
is_job(const struct os_floating *fip, const struct jobserver *j, struct floating_tag *tag)
{
	return floating_parse(fip->description, j->owner, tag) && (j->key == NULL || strcmp(tag->key, j->key) == 0) &&
	    (j->try == NULL || strcmp(tag->try, j->try) == 0);
}

/* What there is of a job. *awaited: of j->awaited, too, or of any try where that is NULL. */
static bool
find(struct os_client *c, const struct jobserver *j, struct limit limit, struct os_floatings *list, bool *awaited,
    struct fault *f)
{
	struct floating_tag tag;
	size_t n = 0;

	*awaited = false;
	if (!os_floating_list(c, limit, list, f))
		return false;
	for (size_t i = 0; i < list->len; i++) {
		struct os_floating tmp = list->v[i];

		if (!is_job(&tmp, j, &tag))
			continue;
		*awaited = *awaited || j->awaited == NULL || strcmp(tag.try, j->awaited) == 0;
		list->v[i] = list->v[n];
		list->v[n++] = tmp;
	}
	for (size_t i = n; i < list->len; i++)
		os_floating_free(&list->v[i]);
	list->len = n;
	return true;
}

bool
floating_list(struct os_client *c, const char *owner, struct limit limit, struct os_floatings *list, struct fault *f)
{
	struct jobserver any = { .owner = owner };
	bool awaited;

	return find(c, &any, limit, list, &awaited, f);
}

/* ---- one for a server */

static bool
write_intent(struct record *r, void *arg, struct fault *f)
{
	if (!building_still_mine(r, arg, f))
		return false;
	r->floating = true;
	r->floating_at = clock_unix();
	return true;
}

static bool
write_known(struct record *r, void *arg, struct fault *f)
{
	if (!building_still_mine(r, arg, f))
		return false;
	r->floating_at = 0;
	return true;
}

enum adopted {
	ADOPTED,
	NOTHING_THERE,
	NOT_KNOWN, /* the cloud did not say: another create could make a second one */
};

/* After a create whose outcome is not known: is there an address of this try? */
static enum adopted
adopt(struct building *b, struct fault *f)
{
	auto_floatings struct os_floatings list = OS_FLOATINGS_INIT;
	struct limit limit = limit_in(LOOK_MS, b->st->stop_timeout);
	bool awaited;

	for (int look = 0; look < 2; look++) {
		if (!find(&b->c, &b->mine, limit, &list, &awaited, f))
			return NOT_KNOWN;
		if (list.len > 0) {
			b->floating = xstrdup(list.v[0].address);
			log_say("floating address %s was allocated all the same", b->floating);
			return ADOPTED;
		}
		if (look == 0 && !limit_sleep(limit, APPEAR_MS)) {
			(void)limit_fault(f, FAULT_TRANSIENT, "no time is left");
			return NOT_KNOWN;
		}
	}
	return NOTHING_THERE;
}

/* Of a name that the cloud does not know, or a network that has none, the setting is to blame. */
static bool
blame(const struct building *b, struct fault *f)
{
	if (f->class != FAULT_MISSING)
		return false;
	f->class = FAULT_SETTING;
	return fault_wrap(f, "floating-network (from %s)", settings_where(b->st, SETTING_floating_network));
}

/* Until there is one, or it is known that none will come. FAULT_BUSY: later, perhaps. */
static bool
allocate(struct building *b, struct fault *f)
{
	auto_free char *description = floating_description(b->st->owner, b->job->key, b->try, b->record.expires);
	auto_floating struct os_floating fip = OS_FLOATING_INIT;
	enum adopted adopted;
	struct fault look;
	bool unknown;

	for (int try = 1;; try++) {
		/* As for servers: an accepted create may finish after a stop, a new one is not begun then. */
		struct limit limit = { .at_ms = b->limit.at_ms, .after_stop_ms = b->st->stop_timeout };

		if (sig_stopped())
			return limit_fault(f, FAULT_STOPPED, "stopped");
		if (!building_update(b, write_intent, f))
			return false;
		if (os_floating_create(&b->c, b->st->floating_network, description, limit, &fip, &unknown, f)) {
			b->allocated = true;
			b->floating = steal_ptr(&fip.address);
			return true;
		}
		if (!unknown)
			return blame(b, f);
		b->allocated = true; /* even if a later create is refused */
		adopted = adopt(b, &look);
		if (adopted == ADOPTED)
			return true;
		if (adopted == NOT_KNOWN)
			log_say("the cloud does not say whether an address came of it: %s", look.text);
		if (adopted == NOT_KNOWN || try == CREATE_TRIES || sig_stopped() || f->class != FAULT_TRANSIENT)
			return false;
		log_say("%s; no address came of it, trying again", f->text);
	}
}

/* The same, waiting for quota or for an address that somebody releases. */
static bool
allocate_or_wait(struct building *b, struct fault *f)
{
	auto_free char *what = xasprintf("a floating address of '%s'", b->st->floating_network);
	struct limit limit = building_busy_limit(b);
	int64_t began = clock_ms();
	int64_t tell = began;
	char span[32];

	while (!allocate(b, f)) {
		auto_free char *why = NULL;
		const char *said = strstr(f->text, "': "); /* behind "cannot allocate a floating address of 'x" */

		if (f->class != FAULT_BUSY)
			return false;
		why = xasprintf("%s: %.300s", what, said == NULL ? f->text : said + 3);
		if (building_pause(b, WAIT_ADDRESS, why, began, &tell, limit))
			continue;
		if (sig_stopped())
			return limit_fault(f, FAULT_STOPPED, "stopped");
		return fault_wrap(f, "no floating address is to be had, waited %s (busy-timeout)",
		    clock_span(span, sizeof(span), clock_ms() - began));
	}
	return true;
}

/* The client sends a request again itself when a connection breaks: one call may have made two. What stays, cleanup gets. */
static void
release_surplus(struct building *b, const struct os_floatings *list, struct limit limit)
{
	struct floating_tag tag;
	struct fault f;

	for (size_t i = 0; i < list->len; i++) {
		const struct os_floating *fip = &list->v[i];

		if (!is_job(fip, &b->mine, &tag) || strcmp(fip->address, b->floating) == 0)
			continue;
		log_say("floating address %s was allocated, too: releasing it", fip->address);
		if (!os_floating_delete(&b->c, fip->id, limit, &f))
			log_debug("%s", f.text);
	}
}

/* Does the list say that it is attached? The client's silence about it is no proof. */
static bool
see_attached(struct building *b, struct limit limit, struct fault *f)
{
	auto_floatings struct os_floatings list = OS_FLOATINGS_INIT;

	for (int look = 1;; look++) {
		if (!os_floating_list(&b->c, limit, &list, f))
			return false;
		for (size_t i = 0; i < list.len; i++)
			if (strcmp(list.v[i].address, b->floating) == 0 && list.v[i].attached) {
				release_surplus(b, &list, limit);
				return true;
			}
		if (look == ATTACH_LOOKS || !limit_sleep(limit, AGAIN_MS))
			return limit_fault(f, FAULT_CLOUD, "floating address %s is not attached to server %s, though the cloud took it",
			    b->floating, b->record.server_id);
	}
}

static bool
attach(struct building *b, struct fault *f)
{
	struct limit limit = limit_min(b->limit, ATTACH_MS);

	limit.after_stop_ms = STOP_CALL_MS;
	if (!os_floating_attach(&b->c, b->record.server_id, b->floating, limit, f))
		return blame(b, f);
	return see_attached(b, limit, f);
}

bool
floating_add(struct building *b, struct fault *f)
{
	char span[32];

	if (!allocate_or_wait(b, f) || !building_update(b, write_known, f) || !attach(b, f) || !building_choose_address(b, f))
		return false;
	b->record.build_ms = clock_ms() - b->started_ms - b->record.create_ms;
	log_say("floating address %s is attached after %s", b->floating,
	    clock_span(span, sizeof(span), clock_ms() - b->started_ms));
	return true;
}

/* ---- releasing */

/* Ask for the release of each; f tells of the last one that was not taken, its class is NONE when all were. */
static void
delete_each(struct os_client *c, const struct os_floatings *list, struct limit limit, struct fault *f)
{
	struct fault one;

	fault_clear(f);
	for (size_t i = 0; i < list->len && !limit_over(limit); i++) {
		if (os_floating_delete(c, list->v[i].id, limit, &one))
			continue;
		log_debug("%s", one.text);
		*f = one;
	}
}

static bool
may_pass(const struct fault *f)
{
	return f->class == FAULT_TRANSIENT || f->class == FAULT_BUSY;
}

enum jobserver_left
floating_release(struct os_client *c, const struct jobserver *j, int64_t until_unix, struct limit limit, struct fault *f)
{
	auto_floatings struct os_floatings list = OS_FLOATINGS_INIT;
	struct fault why = { .class = FAULT_NONE };
	int64_t pause = 0;
	int refusals = 0;
	bool awaited;

	for (;;) {
		if (!find(c, j, limit, &list, &awaited, f))
			return LEFT_RESISTING;
		if (awaited) {
			until_unix = 0;
			if (j->seen != NULL)
				*j->seen = true;
		}
		if (list.len == 0 && (clock_unix() >= until_unix || !limit_sleep(limit, AGAIN_MS)))
			return LEFT_NOTHING;
		if (list.len == 0)
			continue;
		if (refusals == REFUSALS || (pause > 0 && !limit_sleep(limit, pause))) {
			*f = why;
			if (f->class == FAULT_NONE)
				(void)fault_set(f, FAULT_CLOUD, "floating address %s resists its release", list.v[0].address);
			return LEFT_RESISTING;
		}
		delete_each(c, &list, limit, &why);
		refusals += !may_pass(&why);
		pause = why.class == FAULT_NONE && refusals <= 1 ? 0 : pause == 0 ? AGAIN_MS : pause < AGAIN_MAX_MS ? pause * 2 : pause;
	}
}
