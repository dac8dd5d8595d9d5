/* SPDX-License-Identifier: MIT */
/* doctor_cloud.c - novajob doctor: credentials, quota and clock; see doctor.h. */
#include <inttypes.h>

#include "clock.h"
#include "doctor.h"
#include "sweeping.h"

#define LONG_TOKEN_S (INT64_C(8) * 86400) /* no cloud's tokens are known to live so long */

/* Credentials and what is left of the quota in one call. False: the cloud cannot be used at all. */
static bool
check_access(struct doctor *d)
{
	struct os_quota *q = &d->quota;
	struct fault f;

	if (!os_quota(&d->c, doctor_limit(), q, &f)) {
		doctor_tell_fault(d, "credentials", &f);
		return false;
	}
	doctor_tell(d, DOCTOR_OK, "credentials", "the cloud accepts them");
	if (q->instances < 0)
		doctor_tell(d, DOCTOR_OK, "quota", "no limit of instances is told");
	else if (q->instances_used >= q->instances)
		doctor_tell(d, DOCTOR_WARN, "quota", "all %" PRId64 " instances are in use: jobs wait up to busy-timeout", q->instances);
	else
		doctor_tell(d, DOCTOR_OK, "quota", "%" PRId64 " of %" PRId64 " instances in use", q->instances_used, q->instances);
	return true;
}

/* By the end of a fresh token: sweep judges by time, and servers carry the time of their end. */
static void
check_clock(struct doctor *d)
{
	const struct os_servers none = OS_SERVERS_INIT;
	int64_t ends = 0, now;
	struct fault f;

	if (!os_token_expires(&d->c, doctor_limit(), &ends, &f)) {
		doctor_tell(d, DOCTOR_WARN, "clock", "cannot be compared with the cloud's: %s", f.text);
		return;
	}
	now = clock_unix();
	if (!sweeping_clock_ok(&none, ends, now))
		doctor_tell(d, DOCTOR_FAIL, "clock", "it is wrong: a token of just now has ended %" PRId64
		    " s ago by it; sweep judges nothing by time until it is right (chronyd, timedatectl)", now - ends);
	else if (ends - now > LONG_TOKEN_S)
		doctor_tell(d, DOCTOR_WARN, "clock", "it may be behind: by it a token of just now lives for %" PRId64
		    " days; servers of a clock that is behind expire too early (chronyd, timedatectl)", (ends - now) / 86400);
	else
		doctor_tell(d, DOCTOR_OK, "clock", "does not disagree with the cloud's");
}

bool
doctor_cloud(struct doctor *d)
{
	if (!check_access(d))
		return false;
	check_clock(d);
	return true;
}
