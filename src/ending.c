/* SPDX-License-Identifier: MIT */
/* ending.c - the end of a job; see ending.h. */
#include "ending.h"

#include <inttypes.h>
#include <string.h>

#include "clock.h"
#include "floating.h"
#include "keys.h"
#include "log.h"
#include "openstack.h"
#include "pool.h"

#define LIMIT_MS       INT64_C(120000) /* for all of it: the runner's own limit is an hour, the user waits */
#define QUEUE_MS       INT64_C(600000) /* before it: for a client slot, when many jobs end at once */
#define STOP_MS        INT64_C(10000)  /* what is left of it after TERM */
#define FLOATING_MS    INT64_C(60000)  /* for the floating address, when the servers' time is over */
#define FLOATING_STOP_MS INT64_C(13000) /* the same after TERM, the servers' included */
#define LATE_CREATE_S  15              /* so long after an intent a server may still turn up (design.md §2) */

bool
ending_begin(struct record *r, void *arg, struct fault *f)
{
	(void)arg;
	(void)f;
	if (r->phase != PHASE_DELETED)
		r->phase = PHASE_DELETING;
	return true;
}

void
ending_jobserver(const struct ending *e, struct jobserver *mine)
{
	*mine = (struct jobserver){ .owner = e->st->owner, .key = e->key, .job_id = e->id, .awaited = e->r->try };
	pool_jobserver(e->r, mine);
}

struct finish {
	const struct ending *e;
	enum phase phase;
	bool done;         /* the record was looked at */
	bool keys_left;    /* … and they could not be destroyed: keys says why */
	struct fault keys;
};

static void
destroy_keys(struct finish *to)
{
	to->done = true;
	to->keys_left = !keys_destroy(to->e->state, &to->keys);
}

static void
tell_keys(const struct finish *to)
{
	if (to->keys_left && settings_keys_per_job(to->e->st)) /* else nothing is secret */
		log_warn("%s", to->keys.text);
}

static bool
finish(struct record *r, void *arg, struct fault *f)
{
	struct finish *to = arg;

	to->done = true;
	if (strcmp(r->try, to->e->r->try) != 0)
		return fault_set(f, FAULT_LOCAL, "a new try of the job has begun"); /* record and keys are its, now */
	destroy_keys(to);
	r->phase = to->phase; /* of an unusable record only this is left: a tombstone */
	if (to->phase == PHASE_DELETED) {
		r->intent_at = r->floating_at = 0;
		r->floating = false;
	}
	return true;
}

/* Until when what was asked for at intent_at may turn up: UNIX time; 0 = nothing was. */
static int64_t
may_appear_until(int64_t intent_at)
{
	int64_t now = clock_unix();

	return intent_at == 0 ? 0 : (intent_at < now ? intent_at : now) + LATE_CREATE_S; /* the clock may have been set back */
}

static enum phase
phase_of(enum jobserver_left left, bool intent, bool seen)
{
	return left != LEFT_NOTHING ? PHASE_DELETING : intent && !seen ? PHASE_LOST : PHASE_DELETED;
}

static bool
delete_servers(struct os_client *c, const struct ending *e, enum phase *phase, struct fault *f)
{
	bool seen = false;
	struct jobserver mine;
	bool intent = e->r->intent_at != 0 && e->r->server_id == NULL;
	enum jobserver_left left;

	ending_jobserver(e, &mine);
	mine.seen = &seen;
	left = jobserver_delete(c, &mine, e->st->delete_wait, intent ? may_appear_until(e->r->intent_at) : 0,
	    limit_in(LIMIT_MS, STOP_MS), f);

	*phase = phase_of(left, intent, seen);
	return left != LEFT_RESISTING;
}

static bool
release_floating(struct os_client *c, const struct ending *e, enum phase *phase, struct fault *f)
{
	bool seen = false;
	struct jobserver mine = { .owner = e->st->owner, .key = e->key, .awaited = e->r->try, .seen = &seen };
	enum jobserver_left left = floating_release(c, &mine, may_appear_until(e->r->floating_at),
	    limit_in(FLOATING_MS, FLOATING_STOP_MS), f);

	*phase = phase_of(left, e->r->floating_at != 0, seen);
	return left == LEFT_NOTHING ||
	    fault_hint(f, "'openstack floating ip list --long' tells by its description what may be left");
}

static void
end_client(struct os_client *c, const struct ending *e)
{
	if (e->cost != NULL)
		os_client_cost(c, e->cost);
	os_client_end(c);
}

/* Delete, and tell *phase what the record is to say afterwards. */
static bool
delete_all(const struct ending *e, enum phase *phase, struct fault *f)
{
	enum phase floating = PHASE_DELETED;
	bool servers_ok = true, floating_ok = true, is_wanted;
	struct fault other;
	struct os_client c;

	os_client_init(&c, e->st, true, limit_in(QUEUE_MS, STOP_MS));
	if (!slots_take(&c.slots, c.slot_limit, f)) {
		end_client(&c, e);
		*phase = PHASE_DELETING;
		return false;
	}
	servers_ok = delete_servers(&c, e, phase, f);
	is_wanted = e->r->floating || e->st->floating_network != NULL || e->now->floating_network != NULL;
	if (is_wanted || e->r->try[0] == '\0') /* without a record nobody knows */
		floating_ok = release_floating(&c, e, &floating, servers_ok ? f : &other);
	if (!is_wanted && !floating_ok && (servers_ok ? f : &other)->class == FAULT_SETTING) { /* a cloud without such addresses */
		floating_ok = true;
		floating = PHASE_DELETED;
	}
	end_client(&c, e);
	if (*phase == PHASE_DELETED || floating == PHASE_DELETING) /* what is still there goes before what may turn up */
		*phase = floating;
	return servers_ok && floating_ok;
}

void
ending_keys(const struct ending *e)
{
	struct finish to = { .e = e };

	destroy_keys(&to);
	tell_keys(&to);
}

bool
ending_all(const struct ending *e, struct fault *f)
{
	auto_record struct record after = RECORD_INIT;
	struct finish to = { .e = e, .phase = PHASE_DELETED };
	struct fault record_fault;
	bool ok = delete_all(e, &to.phase, f);

	if (e->has_record && !record_update(&after, e->state, finish, &to, &record_fault))
		log_debug("%s", record_fault.text);
	if (!to.done && e->state->job != NULL)
		destroy_keys(&to);
	tell_keys(&to);
	if (e->phase != NULL)
		*e->phase = to.phase;
	if (!ok && f->hint[0] == '\0')
		(void)fault_hint(f, "the server may be left: 'openstack server list --name=-job-%" PRId64 "$' shows it", e->id);
	return ok;
}
