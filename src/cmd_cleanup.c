/* SPDX-License-Identifier: MIT */
/*
 * cmd_cleanup.c - the cleanup stage: delete everything the job owns, or keep
 * its server for a while where that is wanted. It works with no record, no
 * prepare, twice, beside a prepare or run that still lives, and is quiet when
 * all is well (its stderr is the runner's log at WARN).
 */
#include <inttypes.h>
#include <string.h>

#include "account.h"
#include "clock.h"
#include "cmd.h"
#include "ending.h"
#include "holding.h"
#include "log.h"
#include "openstack.h"
#include "outcome.h"
#include "record.h"
#include "ssh_share.h"

#define HOLD_MS        INT64_C(30000)  /* to tell the cloud of a server that is kept: the user waits */
#define STOP_MS        INT64_C(10000)  /* what is left of it after TERM */

/* By what it is decided whether the server is kept. */
struct keeping {
	const struct settings *st; /* the job's; NULL: not known */
	bool is_full;              /* no place is left for those of failed jobs */
	bool was_full;             /* … and that is why it is not kept */
};

/* From here on a prepare of the same try creates nothing more. arg: struct keeping. */
static bool
begin(struct record *r, void *arg, struct fault *f)
{
	struct keeping *keeping = arg;
	int64_t until = keeping->st == NULL ? 0 : holding_until(r, keeping->st, clock_unix());

	keeping->was_full = until != 0 && keeping->is_full && r->phase != PHASE_HELD && r->hold_ms <= 0;
	if (until == 0 || keeping->was_full)
		return ending_begin(r, NULL, f);
	r->phase = PHASE_HELD;
	r->expires = until;
	return true;
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

	(void)strlcpy(hint, f->hint, sizeof(hint)); /* same size */
	f->hint[0] = '\0';
	return fault_wrap(f, "cleanup of job %" PRId64 " (hint: %s)", job->id, hint);
}

/* The record says that the server is kept; tell the cloud, and the operator. False: there is none to keep. */
static bool
keep(const struct ending *e)
{
	struct limit limit = limit_in(HOLD_MS, STOP_MS);
	struct jobserver mine;
	auto_free char *novajob = holding_program(e->now);
	char when[40];
	enum holding came;
	struct os_client c;
	struct fault f;

	ending_jobserver(e, &mine);
	os_client_init(&c, e->st, true, limit);
	came = holding_tell(&c, &mine, e->r, limit, &f);
	os_client_cost(&c, e->cost);
	os_client_end(&c);
	if (came == HOLDING_GONE)
		return false;
	log_say("job %" PRId64 " is over, its server %s is kept until %s: '%s ssh %" PRId64 "' gets in, '%s release %" PRId64 "' deletes it",
	    e->id, e->r->server_id, clock_utc(when, sizeof(when), e->r->expires), novajob, e->id, novajob, e->id);
	if (came == HOLDING_NOT_TOLD)
		log_warn("the cloud does not know that server %s is kept: another host's sweep may delete it: %s",
		    e->r->server_id, f.text);
	return true;
}

/* The server that was to be kept is gone: what else there is goes as well. */
static bool
not_kept(struct record *r, const struct state *state)
{
	struct fault f;

	if (record_update(r, state, ending_begin, NULL, &f))
		return true;
	log_warn("%s", f.text);
	return false;
}

/* What is to be deleted, or kept, of the job. *left: what is then there. */
static bool
end_job(struct ending *e, struct record *r, bool noted, const char **left, struct fault *f)
{
	enum phase phase = PHASE_DELETING;
	bool ok;

	if (noted && r->phase == PHASE_HELD) {
		*left = "held";
		if (keep(e))
			return true;
		noted = not_kept(r, e->state);
	}
	if (left_to_timer(e->st, r, noted)) {
		*left = "timer";
		ending_keys(e);
		return true;
	}
	e->phase = &phase;
	ok = ending_all(e, f);
	e->phase = NULL;
	*left = phase == PHASE_DELETED ? "nothing" : phase == PHASE_LOST ? "unseen" : "deleting";
	return ok;
}

/* How the job ended, when it is over; and how far cleanup has come. state: NULL when it is none of ours. */
static void
give_account(struct context *ctx, const struct state *state, const struct record *r, const char *left)
{
	const char *outcome = state == NULL ? NULL : outcome_take(state, false);

	event_text(&ctx->event, "server", r->server_id);
	event_text(&ctx->event, "left", left);
	event_text(&ctx->event, "outcome", outcome);
	if (outcome != NULL)
		metrics_add(&ctx->metrics, METRIC_JOBS, outcome, NULL, 1);
}

static bool
cleanup(struct context *ctx, struct fault *f)
{
	const struct job *job = &ctx->job;
	auto_state struct state state = STATE_INIT;
	auto_record struct record r = RECORD_INIT;
	auto_settings struct settings resolved = SETTINGS_INIT;
	struct ending e = { .st = &ctx->settings, .now = &ctx->settings, .key = job->key, .id = job->id, .state = &state, .r = &r,
		.cost = &ctx->cost };
	struct keeping keeping = { .st = NULL };
	struct fault record_fault;
	const char *left;
	bool opened, noted, ok;

	if (!job->known) {
		log_say("JOB_RESPONSE_FILE is empty: the job never began, nothing to clean up");
		ctx->event.name = NULL;
		return true;
	}
	/* A state directory in trouble must not keep us from deleting: the cloud knows what is the job's. */
	opened = ok = state_open(&state, ctx->settings.state_dir, job->key, false, &record_fault);
	e.has_record = ok && (!record_read(&r, &state, &record_fault) || r.phase != PHASE_NONE);
	ok = ok && (!e.has_record || r.phase != PHASE_NONE);
	if (!ok)
		log_warn("%s; going by what the cloud knows of the job", record_fault.text);
	if (r.resolved != NULL && settings_from_json(&resolved, r.resolved, &record_fault))
		e.st = &resolved;
	if (e.st == &resolved) {
		keeping.st = &resolved;
		keeping.is_full = holding_until(&r, &resolved, clock_unix()) != 0 && holding_is_full(&ctx->settings);
	}
	noted = ok && e.has_record && record_update(&r, &state, begin, &keeping, &record_fault);
	if (ok && e.has_record && !noted)
		log_warn("%s", record_fault.text);
	if (noted && keeping.was_full)
		log_say("job %" PRId64 " failed, but its server is not kept: this host holds as many as max-held allows", job->id);
	if (state.dir != NULL)
		share_end(&state, r.try);
	ok = end_job(&e, &r, noted, &left, f);
	give_account(ctx, opened ? &state : NULL, &r, left);
	return ok || failed(job, f);
}

const struct cmd cmd_cleanup = {
	.name = "cleanup",
	.args = "",
	.help = "stage: delete everything the job owns; or keep the server, if that is wished",
	.details = "The last stage of a job, after its success, failure or cancel. Deletes its\n"
	           "server, floating address and keys, and looks for delete-wait until the server is\n"
	           "gone. With delete-by = timer it only notes that the job is over, and sweep\n"
	           "deletes the server. What it could not delete is left to sweep as well. A server\n"
	           "that keep-on-failure or hold keep stays, with its keys, until its time is over.\n",
	.example = "cleanup",
	.see = "novajob.conf(5), delete-by and delete-wait",
	.min_args = 0,
	.max_args = -1,
	.flags = CMD_STAGE | CMD_SETTINGS | CMD_JOB,
	.run = cleanup,
};
