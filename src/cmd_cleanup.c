/* SPDX-License-Identifier: MIT */
/*
 * cmd_cleanup.c - the cleanup stage: delete everything the job owns. It works
 * with no record, no prepare, twice, beside a prepare or run that still lives,
 * and is quiet when all is well (its stderr is the runner's log at WARN).
 */
#include <inttypes.h>
#include <string.h>

#include "cmd.h"
#include "ending.h"
#include "log.h"
#include "record.h"
#include "ssh_share.h"

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

static bool
cleanup(struct context *ctx, struct fault *f)
{
	const struct job *job = &ctx->job;
	auto_state struct state state = STATE_INIT;
	auto_record struct record r = RECORD_INIT;
	auto_settings struct settings resolved = SETTINGS_INIT;
	struct ending e = { .st = &ctx->settings, .now = &ctx->settings, .key = job->key, .id = job->id, .state = &state, .r = &r };
	struct fault record_fault;
	bool noted, ok;

	if (!job->known) {
		log_say("JOB_RESPONSE_FILE is empty: the job never began, nothing to clean up");
		return true;
	}
	/* A state directory in trouble must not keep us from deleting: the cloud knows what is the job's. */
	ok = state_open(&state, ctx->settings.state_dir, job->key, false, &record_fault);
	e.has_record = ok && (!record_read(&r, &state, &record_fault) || r.phase != PHASE_NONE);
	ok = ok && (!e.has_record || r.phase != PHASE_NONE);
	if (!ok)
		log_say("warning: %s; going by what the cloud knows of the job", record_fault.text);
	noted = ok && e.has_record && record_update(&r, &state, ending_begin, NULL, &record_fault);
	if (ok && e.has_record && !noted)
		log_say("warning: %s", record_fault.text);
	if (state.dir != NULL)
		share_end(&state, r.try);
	if (r.resolved != NULL && settings_from_json(&resolved, r.resolved, &record_fault))
		e.st = &resolved;
	if (left_to_timer(e.st, &r, noted)) {
		ending_keys(&e);
		return true;
	}
	return ending_all(&e, f) || failed(job, f);
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
