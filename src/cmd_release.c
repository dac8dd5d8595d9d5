/* SPDX-License-Identifier: MIT */
/*
 * cmd_release.c - for the operator: a job's server is kept no longer. One that
 * is held is deleted, proved as cleanup does it; of a job that runs it is
 * noted for its cleanup, which then keeps it for no failure either.
 */
#include <inttypes.h>

#include "account.h"
#include "cmd.h"
#include "ending.h"
#include "jobfind.h"
#include "log.h"

static bool
set_release(struct record *r, void *arg, struct fault *f)
{
	if (r->phase == PHASE_NONE)
		return fault_set(f, FAULT_LOCAL, "its record is gone");
	if (r->phase != PHASE_CREATING && r->phase != PHASE_READY)
		return ending_begin(r, arg, f);
	r->hold_ms = RECORD_NO_HOLD;
	return true;
}

static bool
release(struct context *ctx, struct fault *f)
{
	auto_jobfind struct jobfind j = JOBFIND_INIT;
	struct ending e = { .st = &j.st, .now = &ctx->settings, .state = &j.state, .r = &j.r, .has_record = true,
		.cost = &ctx->cost };

	if (!jobfind(&j, ctx->settings.state_dir, ctx->argv[0], f))
		return false;
	event_text(&ctx->event, "job", j.key);
	account_begin(ctx, "release");
	event_text(&ctx->event, "server", j.r.server_id);
	if (j.r.phase == PHASE_DELETED) {
		log_say("job %" PRId64 " has no server any more", j.id);
		return true;
	}
	if (!jobfind_settings(&j, f))
		return false;
	if (!record_update(&j.r, &j.state, set_release, NULL, f))
		return fault_wrap(f, "job %" PRId64, j.id);
	if (j.r.phase == PHASE_CREATING || j.r.phase == PHASE_READY) {
		log_say("job %" PRId64 " runs: its server goes with it", j.id);
		return true;
	}
	e.key = j.key;
	e.id = j.id;
	if (!ending_all(&e, f))
		return fault_wrap(f, "release of job %" PRId64, j.id);
	log_say("what job %" PRId64 " had is deleted", j.id);
	return true;
}

const struct cmd cmd_release = {
	.name = "release",
	.args = "JOB",
	.help = "delete a job's server that is held; of a job that runs: do not keep it",
	.details = "JOB is the job's id, or its whole key as list shows it. Deletes a server that is\n"
	           "held, with its floating address and keys; of a job that runs it takes hold, and\n"
	           "keep-on-failure, back. On the host that ran the job, as the runner's user.\n",
	.example = "release 1234",
	.see = "novajob.conf(5), A SERVER THAT IS KEPT",
	.min_args = 1,
	.max_args = 1,
	.flags = CMD_SETTINGS,
	.run = release,
};
