/* SPDX-License-Identifier: MIT */
/* sweeping.c - may this server go? See sweeping.h. */
#include "sweeping.h"

#include <string.h>
#include <time.h>

#define CLOCK_SLACK_S 300

/* What we know of a server's try. */
enum known {
	STRANGER,  /* no record here: another host's, or STATE was lost */
	LIVE,      /* the record is this try's, and the job may be running */
	FINISHED,  /* the record is this try's, and says it is to be gone */
	OLDER_TRY, /* the record is another try's */
};

static enum known
know(const struct os_server *s, const struct record *r)
{
	if (r->phase == PHASE_NONE)
		return STRANGER;
	if (strcmp(s->try, r->try) != 0)
		return OLDER_TRY;
	return r->phase == PHASE_CREATING || r->phase == PHASE_READY ? LIVE : FINISHED;
}

struct sweeping
sweeping_judge(const struct os_server *s, const struct record *r, int64_t now, int64_t grace_s, bool clock_ok)
{
	static const struct {
		bool by_time;                   /* expiry decides */
		struct sweeping early, expired; /* by_time false: expired counts */
	} rules[] = {
		[STRANGER] = { true, { false, "another host's, or its record is lost: not past its expiry and sweep-grace" },
		    { true, "another host's, or its record is lost: past its expiry and sweep-grace" } },
		[LIVE] = { true, { false, "its job may be running" }, { true, "its job's deadline is over" } },
		[FINISHED] = { false, { false, "" }, { true, "its job was cleaned up" } },
		[OLDER_TRY] = { true, { false, "of another try of the job, not expired" },
		    { true, "of another try of the job, expired" } },
	};
	enum known k = know(s, r);
	int64_t expires = k == LIVE && r->expires > s->expires ? r->expires : s->expires;

	if (!rules[k].by_time)
		return rules[k].expired;
	if (!clock_ok)
		return (struct sweeping){ false, "the clock looks wrong: nothing is judged by time" };
	if (s->expires <= 0)
		return (struct sweeping){ false, "it has no novajob:expires: delete it by hand" };
	return now > expires + (k == STRANGER ? grace_s : 0) ? rules[k].expired : rules[k].early;
}

bool
sweeping_clock_ok(const struct os_servers *list, int64_t now)
{
	for (size_t i = 0; i < list->len; i++) {
		struct tm tm = { .tm_sec = 0 };

		if (strptime(list->v[i].created, "%Y-%m-%dT%H:%M:%SZ", &tm) != NULL &&
		    (int64_t)timegm(&tm) > now + CLOCK_SLACK_S)
			return false;
	}
	return true;
}
