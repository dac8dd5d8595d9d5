/* SPDX-License-Identifier: MIT */
/*
 * cmd_cleanup.c - the cleanup stage: delete everything the job owns. It works
 * with no record, no prepare, twice, beside a prepare or run that still lives,
 * and is quiet when all is well (its stderr is the runner's log at WARN).
 */
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "cmd.h"
#include "floating.h"
#include "jobserver.h"
#include "keys.h"
#include "log.h"
#include "openstack.h"
#include "pool.h"
#include "record.h"
#include "ssh_share.h"

#define LIMIT_MS       INT64_C(120000) /* for all of it: the runner's own limit is an hour, the user waits */
#define QUEUE_MS       INT64_C(600000) /* before it: for a client slot, when many jobs end at once */
#define STOP_MS        INT64_C(10000)  /* what is left of it after TERM */
#define FLOATING_MS    INT64_C(60000)  /* for the floating address, when the servers' time is over */
#define FLOATING_STOP_MS INT64_C(13000) /* the same after TERM, the servers' included */
#define LATE_CREATE_S  15              /* so long after an intent a server may still turn up (design.md §2) */

/* From here on a prepare of the same try creates nothing more. */
static bool
begin(struct record *r, void *arg, struct fault *f)
{
	(void)arg;
	(void)f;
	if (r->phase != PHASE_DELETED)
		r->phase = PHASE_DELETING;
	return true;
}

struct finish {
	enum phase phase;
	const char *try; /* of the record that cleanup began with */
	const struct state *state;
	bool done;         /* the record was looked at */
	bool keys_left;    /* … and they could not be destroyed: keys says why */
	struct fault keys;
};

static void
destroy_keys(struct finish *to)
{
	to->done = true;
	to->keys_left = !keys_destroy(to->state, &to->keys);
}

static bool
finish(struct record *r, void *arg, struct fault *f)
{
	struct finish *to = arg;

	to->done = true;
	if (strcmp(r->try, to->try) != 0)
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
delete_servers(struct os_client *c, const struct settings *st, const struct job *job, const struct record *r,
    enum phase *phase, struct fault *f)
{
	bool seen = false;
	struct jobserver mine = { .owner = st->owner, .key = job->key, .job_id = job->id, .awaited = r->try, .seen = &seen };
	bool intent = r->intent_at != 0 && r->server_id == NULL;
	enum jobserver_left left;

	pool_jobserver(r, &mine);
	left = jobserver_delete(c, &mine, st->delete_wait, intent ? may_appear_until(r->intent_at) : 0,
	    limit_in(LIMIT_MS, STOP_MS), f);

	*phase = phase_of(left, intent, seen);
	return left != LEFT_RESISTING;
}

static bool
release_floating(struct os_client *c, const struct settings *st, const struct job *job, const struct record *r,
    enum phase *phase, struct fault *f)
{
	bool seen = false;
	struct jobserver mine = { .owner = st->owner, .key = job->key, .awaited = r->try, .seen = &seen };
	enum jobserver_left left = floating_release(c, &mine, may_appear_until(r->floating_at),
	    limit_in(FLOATING_MS, FLOATING_STOP_MS), f);

	*phase = phase_of(left, r->floating_at != 0, seen);
	return left == LEFT_NOTHING ||
	    fault_hint(f, "'openstack floating ip list --long' tells by its description what may be left");
}

/* Delete, and tell *phase what the record is to say afterwards. now: the settings that hold today. */
static bool
delete_all(const struct settings *st, const struct settings *now, const struct job *job, const struct record *r,
    enum phase *phase, struct fault *f)
{
	enum phase floating = PHASE_DELETED;
	bool servers_ok = true, floating_ok = true, is_wanted;
	struct fault other;
	struct os_client c;

	os_client_init(&c, st, true, limit_in(QUEUE_MS, STOP_MS));
	if (!slots_take(&c.slots, c.slot_limit, f)) {
		os_client_end(&c);
		*phase = PHASE_DELETING;
		return false;
	}
	servers_ok = delete_servers(&c, st, job, r, phase, f);
	is_wanted = r->floating || st->floating_network != NULL || now->floating_network != NULL;
	if (is_wanted || r->try[0] == '\0') /* without a record nobody knows */
		floating_ok = release_floating(&c, st, job, r, &floating, servers_ok ? f : &other);
	if (!is_wanted && !floating_ok && (servers_ok ? f : &other)->class == FAULT_SETTING) { /* a cloud without such addresses */
		floating_ok = true;
		floating = PHASE_DELETED;
	}
	os_client_end(&c);
	if (*phase == PHASE_DELETED || floating == PHASE_DELETING) /* what is still there goes before what may turn up */
		*phase = floating;
	return servers_ok && floating_ok;
}

/*
 * With delete-by = timer: is it enough that the record says `deleting`, or `deleted`? Sweep deletes what the cloud has of
 * such a job, whenever it shows up. Only what is on disk counts.
 */
static bool
left_to_timer(const struct settings *st, const struct record *r, bool noted)
{
	return noted && strcmp(st->delete_by, "timer") == 0 && (r->phase == PHASE_DELETING || r->phase == PHASE_DELETED);
}

/* All in one line: each is an entry of the runner's log. */
static bool
failed(const struct job *job, struct fault *f)
{
	char hint[sizeof(f->hint)];

	if (f->hint[0] == '\0')
		(void)fault_hint(f, "the server may be left: 'openstack server list --name=-job-%lld$' shows it",
		    (long long)job->id);
	(void)strlcpy(hint, f->hint, sizeof(hint)); /* same size */
	f->hint[0] = '\0';
	return fault_wrap(f, "cleanup of job %lld (hint: %s)", (long long)job->id, hint);
}

static bool
cleanup(struct context *ctx, struct fault *f)
{
	const struct job *job = &ctx->job;
	auto_state struct state state = STATE_INIT;
	auto_record struct record r = RECORD_INIT;
	auto_record struct record after = RECORD_INIT;
	auto_settings struct settings resolved = SETTINGS_INIT;
	const struct settings *st = &ctx->settings;
	struct finish to = { .phase = PHASE_DELETED };
	struct fault record_fault;
	bool has_record, noted, ok;

	if (!job->known) {
		log_say("JOB_RESPONSE_FILE is empty: the job never began, nothing to clean up");
		return true;
	}
	/* A state directory in trouble must not keep us from deleting: the cloud knows what is the job's. */
	ok = state_open(&state, st->state_dir, job->key, false, &record_fault);
	has_record = ok && (!record_read(&r, &state, &record_fault) || r.phase != PHASE_NONE);
	ok = ok && (!has_record || r.phase != PHASE_NONE);
	if (!ok)
		log_say("warning: %s; going by what the cloud knows of the job", record_fault.text);
	noted = ok && has_record && record_update(&r, &state, begin, NULL, &record_fault);
	if (ok && has_record && !noted)
		log_say("warning: %s", record_fault.text);
	if (state.dir != NULL)
		share_end(&state, r.try);
	if (r.resolved != NULL && settings_from_json(&resolved, r.resolved, &record_fault))
		st = &resolved;
	noted = left_to_timer(st, &r, noted);
	ok = noted || delete_all(st, &ctx->settings, job, &r, &to.phase, f);
	to.try = r.try;
	to.state = &state;
	if (has_record && !noted && !record_update(&after, &state, finish, &to, &record_fault))
		log_debug("%s", record_fault.text);
	if (!to.done && state.job != NULL)
		destroy_keys(&to);
	if (to.keys_left && settings_keys_per_job(st)) /* else nothing is secret */
		log_say("warning: %s", to.keys.text);
	return ok || failed(job, f);
}

const struct cmd cmd_cleanup = {
	.name = "cleanup",
	.args = "",
	.help = "stage: delete everything the job owns",
	.details = "The last stage of a job, after its success, failure or cancel. Deletes its\n"
	           "server, floating address and keys, and looks for delete-wait until the server is\n"
	           "gone. With delete-by = timer it only notes that the job is over, and sweep\n"
	           "deletes the server. What it could not delete is left to sweep as well.\n",
	.example = "cleanup",
	.see = "novajob.conf(5), delete-by and delete-wait",
	.min_args = 0,
	.max_args = -1,
	.flags = CMD_STAGE | CMD_SETTINGS | CMD_JOB,
	.run = cleanup,
};
