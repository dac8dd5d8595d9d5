/* SPDX-License-Identifier: MIT */
/* jobserver.c - the servers of one job in the cloud; see jobserver.h. */
#include "jobserver.h"

#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "xalloc.h"

#define LOOK_FIRST_MS 100  /* after the first deletion */
#define LOOK_EVERY_MS 300  /* while it is under way */
#define LOOK_LATER_MS 1000 /* for a server that may still appear */
#define PAUSE_MAX_MS  8000 /* between deletions that the cloud in trouble does not take */
#define ERROR_LOOKS   3    /* in ERROR so often after an accepted deletion, and not at it: that has failed */
#define IDLE_LOOKS    3    /* … and in another state: it was not accepted at all, whatever the client said, or did not say */

/* The name only narrowed the list: what is ours, the properties say. */
static bool
is_ours(const struct os_server *s, const struct jobserver *j)
{
	if (strcmp(s->owner, j->owner) != 0)
		return false;
	if (j->pool_key != NULL && strcmp(s->job, j->pool_key) == 0)
		return true;
	return strcmp(s->job, j->key) == 0 && (j->try == NULL || strcmp(s->try, j->try) == 0);
}

static bool
has_id(const struct os_servers *list, const char *id)
{
	for (size_t i = 0; i < list->len; i++)
		if (strcmp(list->v[i].id, id) == 0)
			return true;
	return false;
}

/* Those of the job whose name fits, added to the list. */
static bool
find_named(struct os_client *c, const struct jobserver *j, const char *regex, struct limit limit, struct os_servers *list,
    struct fault *f)
{
	auto_servers struct os_servers all = OS_SERVERS_INIT;

	if (!os_server_list(c, regex, limit, &all, f))
		return false;
	list->v = xreallocarray(list->v, list->len + all.len + 1, sizeof(*list->v));
	for (size_t i = 0; i < all.len; i++) {
		struct os_server *s = &all.v[i];

		if (!is_ours(s, j) || strcmp(s->status, "DELETED") == 0 || has_id(list, s->id))
			continue;
		list->v[list->len++] = *s;
		*s = (struct os_server)OS_SERVER_INIT;
	}
	return true;
}

bool
jobserver_find(struct os_client *c, const struct jobserver *j, struct limit limit, struct os_servers *list,
    struct fault *f)
{
	auto_free char *regex = j->server_name != NULL ? xasprintf("^%s$", j->server_name) :
	    xasprintf("-job-%" PRId64 "$", j->job_id);
	auto_free char *before = j->pool_server == NULL ? NULL : xasprintf("^%s$", j->pool_server);

	os_servers_free(list);
	/* by the pool's name first: it may get the job's between the two, but never loses that again */
	return (before == NULL || find_named(c, j, before, limit, list, f)) && find_named(c, j, regex, limit, list, f);
}

static bool
is_deleting(const struct os_server *s)
{
	return strcmp(s->task, "deleting") == 0;
}

/* Ask for the deletion of each that is not at it yet; each server once, and again after a transient fault. */
static void
delete_all(struct os_client *c, const struct os_servers *list, struct strv *asked, struct limit limit, struct fault *f)
{
	for (size_t i = 0; i < list->len && !limit_over(limit); i++) {
		const struct os_server *s = &list->v[i];

		if (is_deleting(s) || strv_has(asked, s->id))
			continue;
		if (os_server_delete(c, s->id, limit, f)) {
			log_debug("deletion of server %s ('%s', %s) accepted", s->id, s->name, s->status);
			strv_add(asked, s->id);
		} else {
			log_debug("%s", f->text);
		}
	}
}

/* Trouble that may pass: the deletion is asked for again. */
static bool
may_pass(const struct fault *f)
{
	return f->class == FAULT_TRANSIENT || f->class == FAULT_BUSY;
}

static bool
has_awaited(const struct os_servers *list, const struct jobserver *j)
{
	for (size_t i = 0; i < list->len; i++)
		if (j->awaited == NULL || strcmp(list->v[i].try, j->awaited) == 0)
			return true;
	return false;
}

/* Has each deletion been accepted, and then failed in the cloud? */
static bool
all_failed(const struct os_servers *list, const struct strv *asked)
{
	for (size_t i = 0; i < list->len; i++) {
		const struct os_server *s = &list->v[i];

		if (is_deleting(s) || strcmp(s->status, "ERROR") != 0 || !strv_has(asked, s->id))
			return false;
	}
	return list->len > 0;
}

/* Does the cloud do nothing about one whose deletion was asked for? */
static bool
is_unheeded(const struct os_server *s, const struct strv *asked)
{
	return !is_deleting(s) && strcmp(s->status, "ERROR") != 0 && strv_has(asked, s->id);
}

static bool
any_unheeded(const struct os_servers *list, const struct strv *asked)
{
	for (size_t i = 0; i < list->len; i++)
		if (is_unheeded(&list->v[i], asked))
			return true;
	return false;
}

/* What is left when no time is, or none is needed. heeded: a deletion that is not seen at work yet will be. */
static enum jobserver_left
judge(const struct os_servers *list, const struct strv *asked, bool heeded, struct fault *f)
{
	for (size_t i = 0; i < list->len; i++) {
		const struct os_server *s = &list->v[i];
		bool accepted = is_deleting(s) || strv_has(asked, s->id);

		if (accepted && strcmp(s->status, "ERROR") != 0 && (heeded || !is_unheeded(s, asked)))
			continue;
		if (accepted || f->class == FAULT_NONE)
			(void)fault_set(f, FAULT_CLOUD, "server %s ('%s') is in %s and resists its deletion", s->id, s->name,
			    s->status);
		return LEFT_RESISTING;
	}
	return LEFT_DELETING;
}

/* What the looks since the deletions were asked for have shown. */
struct looks {
	int failed, idle; /* one after the other */
	bool asked_again;
};

/* After a look: is it no use to go on? A deletion that nothing is done about is asked for once more. */
static bool
is_stuck(struct looks *looks, const struct os_servers *list, struct strv *asked)
{
	looks->failed = all_failed(list, asked) ? looks->failed + 1 : 0;
	looks->idle = any_unheeded(list, asked) ? looks->idle + 1 : 0;
	if (looks->failed == ERROR_LOOKS || (looks->idle == IDLE_LOOKS && looks->asked_again))
		return true;
	if (looks->idle == IDLE_LOOKS) {
		log_debug("the cloud does nothing about a deletion: asking once more");
		strv_free(asked);
		*looks = (struct looks){ .asked_again = true };
	}
	return false;
}

enum jobserver_left
jobserver_delete(struct os_client *c, const struct jobserver *j, int64_t wait_ms, int64_t until_unix,
    struct limit limit, struct fault *f)
{
	auto_servers struct os_servers list = OS_SERVERS_INIT;
	auto_strv struct strv asked = STRV_INIT;
	struct limit wait = limit;
	int64_t pause = LOOK_EVERY_MS;
	struct looks looks = { .failed = 0 };

	for (bool first = true;; first = false) {
		struct fault deletion = { .class = FAULT_NONE };
		size_t before;

		if (!jobserver_find(c, j, limit, &list, f))
			return LEFT_RESISTING;
		if (has_awaited(&list, j)) {
			until_unix = 0;
			if (j->seen != NULL)
				*j->seen = true;
		}
		if (list.len == 0 && clock_unix() >= until_unix)
			return LEFT_NOTHING;
		if (is_stuck(&looks, &list, &asked)) {
			fault_clear(f);
			return judge(&list, &asked, false, f);
		}
		before = asked.len;
		delete_all(c, &list, &asked, limit, &deletion);
		if (first || asked.len > before)
			wait = limit_min(limit, wait_ms);
		if (may_pass(&deletion))
			pause = pause < PAUSE_MAX_MS / 2 ? pause * 2 : PAUSE_MAX_MS;
		else
			pause = first ? LOOK_FIRST_MS : LOOK_EVERY_MS;
		if (limit_over(list.len == 0 || may_pass(&deletion) ? limit : wait) ||
		    !limit_sleep(limit, list.len == 0 ? LOOK_LATER_MS : pause + (int64_t)arc4random_uniform((uint32_t)pause / 4))) {
			*f = deletion;
			return list.len == 0 ? LEFT_NOTHING : judge(&list, &asked, true, f);
		}
	}
}
