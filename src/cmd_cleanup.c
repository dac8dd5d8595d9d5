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
#include "jobserver.h"
#include "keys.h"
#include "log.h"
#include "openstack.h"
#include "record.h"

#define LIMIT_MS       INT64_C(120000) /* for all of it: the runner's own limit is an hour, the user waits */
#define QUEUE_MS       INT64_C(600000) /* before it: for a client slot, when many jobs end at once */
#define STOP_MS        INT64_C(10000)  /* what is left of it after TERM */
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
};

static bool
finish(struct record *r, void *arg, struct fault *f)
{
	const struct finish *to = arg;

	if (strcmp(r->try, to->try) != 0)
		return fault_set(f, FAULT_LOCAL, "a new try of the job has begun"); /* the record is its, now */
	r->phase = to->phase; /* of an unusable record only this is left: a tombstone */
	if (to->phase == PHASE_DELETED)
		r->intent_at = 0;
	return true;
}

/* Delete, and tell *phase what the record is to say afterwards. */
static bool
delete_servers(const struct settings *st, const struct job *job, const struct record *r, enum phase *phase,
    struct fault *f)
{
	bool seen = false;
	struct jobserver mine = { .owner = st->owner, .key = job->key, .job_id = job->id, .awaited = r->try, .seen = &seen };
	struct limit limit;
	bool intent = r->intent_at != 0 && r->server_id == NULL;
	int64_t since = r->intent_at < clock_unix() ? r->intent_at : clock_unix(); /* the clock may have been set back */
	struct os_client c;
	enum jobserver_left left;

	os_client_init(&c, st, true, limit_in(QUEUE_MS, STOP_MS));
	if (!slots_take(&c.slots, c.slot_limit, f)) {
		os_client_end(&c);
		*phase = PHASE_DELETING;
		return false;
	}
	limit = limit_in(LIMIT_MS, STOP_MS);
	left = jobserver_delete(&c, &mine, st->delete_wait, intent ? since + LATE_CREATE_S : 0, limit, f);
	os_client_end(&c);
	*phase = left == LEFT_NOTHING ? PHASE_DELETED : PHASE_DELETING;
	if (left == LEFT_NOTHING && intent && !seen)
		*phase = PHASE_LOST;
	return left != LEFT_RESISTING;
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
	bool has_record, ok;

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
	if (ok && has_record && !record_update(&r, &state, begin, NULL, &record_fault))
		log_say("warning: %s", record_fault.text);
	if (r.resolved != NULL && settings_from_json(&resolved, r.resolved, &record_fault))
		st = &resolved;
	ok = delete_servers(st, job, &r, &to.phase, f);
	to.try = r.try;
	if (has_record && !record_update(&after, &state, finish, &to, &record_fault))
		log_debug("%s", record_fault.text);
	if (state.job != NULL && !keys_destroy(&state, &record_fault) && settings_keys_per_job(st)) /* else nothing is secret */
		log_say("warning: %s", record_fault.text);
	return ok || failed(job, f);
}

const struct cmd cmd_cleanup = {
	.name = "cleanup",
	.args = "",
	.help = "stage: delete everything the job owns",
	.min_args = 0,
	.max_args = -1,
	.flags = CMD_STAGE | CMD_SETTINGS | CMD_JOB,
	.run = cleanup,
};
