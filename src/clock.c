/* SPDX-License-Identifier: MIT */
/* clock.c - the two clocks; see clock.h. */
#include "clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "util.h"

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

const char *
clock_rough(char *out, size_t size, int64_t s)
{
	static const struct {
		int64_t seconds;
		const char *name;
	} units[] = { { 86400, "d" }, { 3600, "h" }, { 60, "min" }, { 1, "s" } };
	size_t i = 0;
	int64_t rest;

	while (i + 1 < ARRAY_LEN(units) && s < units[i].seconds)
		i++;
	rest = s % units[i].seconds;
	if (i + 1 == ARRAY_LEN(units) || rest / units[i + 1].seconds == 0)
		(void)snprintf(out, size, "%" PRId64 " %s", s / units[i].seconds, units[i].name);
	else
		(void)snprintf(out, size, "%" PRId64 " %s %" PRId64 " %s", s / units[i].seconds, units[i].name,
		    rest / units[i + 1].seconds, units[i + 1].name);
	return out;
}

const char *
clock_utc(char *out, size_t size, int64_t at)
{
	time_t when = (time_t)at, now = time(NULL);
	char today[16] = "", day[16] = "";
	struct tm tm;

	if (gmtime_r(&now, &tm) != NULL)
		(void)strftime(today, sizeof(today), "%Y-%m-%d", &tm); /* fits, as below */
	if (gmtime_r(&when, &tm) == NULL || strftime(day, sizeof(day), "%Y-%m-%d", &tm) == 0 ||
	    strftime(out, size, strcmp(day, today) == 0 ? "%H:%M UTC" : "%Y-%m-%d %H:%M UTC", &tm) == 0)
		(void)snprintf(out, size, "the end of time"); /* no year that a calendar has */
	return out;
}
