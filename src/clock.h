/* SPDX-License-Identifier: MIT */
/*
 * clock.h - the two clocks: milliseconds that only go forward, for waits, and
 * the wall clock, for what is written down.
 */
#ifndef NOVAJOB_CLOCK_H
#define NOVAJOB_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* CLOCK_MONOTONIC in milliseconds. */
int64_t clock_ms(void);

/* Seconds since 1970 (UNIX time). */
int64_t clock_unix(void);

/* A span of ms for people: "0.4 s", "12.4 s", "2 min 5 s"; written to out (size bytes), which is returned. */
const char *clock_span(char *out, size_t size, int64_t ms);

/* The same of seconds, in its two largest units: "45 s", "20 min", "1 h 30 min", "2 d". */
const char *clock_rough(char *out, size_t size, int64_t s);

/* A UNIX time for people: "14:05 UTC", on another day than today's "2026-11-28 14:05 UTC". */
const char *clock_utc(char *out, size_t size, int64_t at);

#endif
