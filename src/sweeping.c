/* SPDX-License-Identifier: MIT */
/* sweeping.c - may this server go? See sweeping.h. */
#include "sweeping.h"

#include <string.h>

#define CLOCK_SLACK_S 300

/* What we know of its try. */
enum known {
	STRANGER,  /* no record here: another host's, or STATE was lost */
	LIVE,      /* the record is this try's, and the job may be running */
	KEPT,      /* the same, and the job is over: it is held */
	FINISHED,  /* the record says the job was cleaned up: this try, or one after it */
	OLDER_TRY, /* the record is another try's, and its job may be running */
};

static enum known
know(struct sweepable s, const struct record *r)
{
	if (r->phase == PHASE_NONE)
		return STRANGER;
	if (!record_is_live(r))
		return FINISHED; /* a newer try would have noted itself before its create */
	if (strcmp(s.try, r->try) != 0)
		return OLDER_TRY;
	return r->phase == PHASE_HELD ? KEPT : LIVE;
}

struct sweeping
sweeping_judge(struct sweepable s, const struct record *r, int64_t now, int64_t grace_s, bool clock_ok)
{
	static const struct {
		bool by_time;                   /* expiry decides */
		struct sweeping early, expired; /* by_time false: expired counts */
	} rules[] = {
		[STRANGER] = { true, { false, false, "another host's, or its record is lost: not past its expiry and sweep-grace" },
		    { true, true, "another host's, or its record is lost: past its expiry and sweep-grace" } },
		[LIVE] = { true, { false, false, "its job may be running" }, { true, true, "its job's deadline is over" } },
		[KEPT] = { true, { false, false, "it is held" }, { true, false, "it was held, and that is over" } },
		[FINISHED] = { false, { false, false, "" }, { true, false, "its job was cleaned up" } },
		[OLDER_TRY] = { true, { false, false, "of another try of the job, not expired" },
		    { true, true, "of another try of the job, expired" } },
	};
	enum known k = know(s, r);
	int64_t expires = k == KEPT || (k == LIVE && r->expires > s.expires) ? r->expires : s.expires;
	int64_t more_s = k == STRANGER ? grace_s : k == LIVE && r->hold_ms > 0 ? r->hold_ms / 1000 : 0; /* cleanup never came */

	if (!rules[k].by_time)
		return rules[k].expired;
	if (!clock_ok)
		return (struct sweeping){ false, false, "the clock looks wrong: nothing is judged by time" };
	if (expires <= 0)
		return (struct sweeping){ false, false, "it has no novajob:expires: delete it by hand" };
	return now - more_s > expires ? rules[k].expired : rules[k].early;
}

bool
sweeping_clock_ok(const struct os_servers *list, int64_t token_expires, int64_t now)
{
	for (size_t i = 0; i < list->len; i++)
		if (list->v[i].created > now + CLOCK_SLACK_S)
			return false;
	return now < token_expires + CLOCK_SLACK_S;
}
