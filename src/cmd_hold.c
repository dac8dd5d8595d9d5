/* SPDX-License-Identifier: MIT */
/*
 * cmd_hold.c - for the operator: keep a job's server. Of a job that runs it is
 * noted for its cleanup; of one that is held already the time is set anew.
 */
#include <inttypes.h>

#include "account.h"
#include "clock.h"
#include "cmd.h"
#include "ending.h"
#include "holding.h"
#include "jobfind.h"
#include "log.h"
#include "openstack.h"
#include "settings_value.h"

#define LIMIT_MS INT64_C(120000)
#define STOP_MS  INT64_C(2000)

static bool
set_hold(struct record *r, void *arg, struct fault *f)
{
	int64_t ms = *(const int64_t *)arg;

	if (!record_is_live(r))
		return fault_set(f, FAULT_LOCAL, "there is no server to keep (its record says: %s)", phase_name(r->phase));
	if (r->phase == PHASE_HELD)
		r->expires = clock_unix() + ms / 1000;
	else
		r->hold_ms = ms;
	return true;
}

/* Of a server that is held: other hosts' sweep goes by what the cloud knows. */
static bool
tell_cloud(const struct jobfind *j, const struct settings *now, struct os_cost *cost, struct fault *f)
{
	const struct ending e = { .st = &j->st, .now = now, .key = j->key, .id = j->id, .state = &j->state, .r = &j->r };
	struct limit limit = limit_in(LIMIT_MS, STOP_MS);
	struct jobserver mine;
	enum holding came;
	struct os_client c;

	ending_jobserver(&e, &mine);
	os_client_init(&c, &j->st, false, limit);
	came = holding_tell(&c, &mine, &j->r, limit, f);
	os_client_cost(&c, cost);
	os_client_end(&c);
	if (came == HOLDING_TOLD)
		return true;
	if (came == HOLDING_NOT_TOLD)
		return fault_wrap(f, "job %" PRId64 " is held on this host, but the cloud does not know it, and another host's sweep may delete "
		    "the server", j->id);
	(void)fault_set(f, FAULT_LOCAL, "job %" PRId64 ": the cloud has its server no more, or is deleting it", j->id);
	return fault_hint(f, "'novajob release %" PRId64 "' removes what is left of it", j->id);
}

static bool
hold(struct context *ctx, struct fault *f)
{
	auto_jobfind struct jobfind j = JOBFIND_INIT;
	char span[40], when[40];
	int64_t ms;

	if (!setting_parse_span(ctx->argv[1], 1, RECORD_HOLD_MAX_S, &ms, f))
		return fault_wrap(f, "hold");
	if (!jobfind(&j, ctx->settings.state_dir, ctx->argv[0], f))
		return false;
	event_text(&ctx->event, "job", j.key);
	account_begin(ctx, "hold");
	event_text(&ctx->event, "server", j.r.server_id);
	event_seconds(&ctx->event, "hold_seconds", ms);
	if (!record_update(&j.r, &j.state, set_hold, &ms, f))
		return fault_wrap(f, "job %" PRId64, j.id);
	if (j.r.phase != PHASE_HELD) {
		log_say("job %" PRId64 " runs: its server will be kept for %s after it", j.id, clock_rough(span, sizeof(span), ms / 1000));
		return true;
	}
	event_number(&ctx->event, "expires", j.r.expires);
	if (!jobfind_settings(&j, f) || !tell_cloud(&j, &ctx->settings, &ctx->cost, f))
		return false;
	log_say("server %s of job %" PRId64 " is held until %s, for %s", j.r.server_id, j.id, clock_utc(when, sizeof(when), j.r.expires),
	    clock_rough(span, sizeof(span), ms / 1000));
	return true;
}

const struct cmd cmd_hold = {
	.name = "hold",
	.args = "JOB TIME",
	.help = "keep a job's server so long after the job; or from now on, when it is held",
	.details = "JOB is the job's id, or its whole key as list shows it; TIME has a unit, as 90s,\n"
	           "20m, 2h or 1d, at most 30 days. Of a job that runs it is noted, and counts from\n"
	           "its cleanup; of a server that is held it counts from now, longer or shorter than\n"
	           "before. On the host that ran the job, as the runner's user.\n",
	.example = "hold 1234 2h",
	.see = "novajob.conf(5), A SERVER THAT IS KEPT",
	.min_args = 2,
	.max_args = 2,
	.flags = CMD_SETTINGS,
	.run = hold,
};
