/* SPDX-License-Identifier: MIT */
/*
 * sig.h - "please stop" as a state, and limits that know of it. TERM, INT, HUP
 * and QUIT are blocked for good and read from a signalfd(2) in every wait.
 *
 * A limit is a point in time (CLOCK_MONOTONIC) at which a wait ends, and how
 * long it may still go on once a stop was asked for. Stop and time-out so go
 * through the same code (design.md §3).
 */
#ifndef NOVAJOB_SIG_H
#define NOVAJOB_SIG_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "fault.h"

#define NO_LIMIT_MS   INT64_C(4000000000000)
#define STOP_AT_ONCE  INT64_C(0)
#define STOP_IGNORED  NO_LIMIT_MS

struct limit {
	int64_t at_ms;         /* when the wait ends, on clock_ms()'s clock */
	int64_t after_stop_ms; /* milliseconds the wait may go on after a stop: 0 = ends with it */
};

/* Block the signals and open the signalfd; SIGCHLD to its default (a parent may have left it ignored), SIGPIPE and SIGXFSZ
 * ignored. Call once, first thing in main. */
bool sig_init(struct fault *f) ATTR_MUST_USE;

/* Was a stop asked for, up to now? Reads what has come. */
bool sig_stopped(void);

/* The same, as far as the last sig_poll has seen: for loops of one, which are to cost nothing else. */
bool sig_seen(void);

/* Ask for a stop from inside, as the runner's TERM would (the job log has lost its reader). */
void sig_stop_self(void);

/*
 * ppoll(2) on n descriptors and the signalfd, for at most timeout_ms (negative: for ever). Returns how many of fds
 * are ready, 0 for time-out or signal. Unlike poll(2) never -1: EINTR is 0, a broken call ends the program.
 */
int sig_poll(struct pollfd *fds, nfds_t n, int64_t timeout_ms);

/* A limit ms from now. */
struct limit limit_in(int64_t ms, int64_t after_stop_ms);

/* The earlier of l and ms from now, with l's manner of stopping. */
struct limit limit_min(struct limit l, int64_t ms);

/* Milliseconds left, 0 when over; takes a stop into account. */
int64_t limit_left_ms(struct limit l);

/* No time left? */
bool limit_over(struct limit l);

/* Wait ms or until l is over. True when the whole ms went by. */
bool limit_sleep(struct limit l, int64_t ms);

/* The fault of a wait that ended by its limit: FAULT_STOPPED "stopped by SIGTERM…" after a stop, else `class` with the
 * text. Returns false. */
bool limit_fault(struct fault *f, enum fault_class class, const char *fmt, ...) ATTR_PRINTF(3, 4);

#endif
