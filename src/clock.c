/* SPDX-License-Identifier: MIT */
/* clock.c - the two clocks; see clock.h. */
#include "clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

int64_t
clock_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail on Linux */
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t
clock_unix(void)
{
	return (int64_t)time(NULL);
}

const char *
clock_span(char *out, size_t size, int64_t ms)
{
	if (ms < INT64_C(100000))
		(void)snprintf(out, size, "%" PRId64 ".%" PRId64 " s", ms / 1000, ms % 1000 / 100);
	else
		(void)snprintf(out, size, "%" PRId64 " min %" PRId64 " s", ms / 60000, ms / 1000 % 60);
	return out;
}
