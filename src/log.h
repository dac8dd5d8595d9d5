/* SPDX-License-Identifier: MIT */
/*
 * log.h - what novajob says to people, all of it on stderr: one line, one
 * write(2), so that two processes on one log never mix their lines. In prepare
 * and run this is the job log; in cleanup the runner's log (contract.md §3).
 * Secrets are hidden in all of it (secret.h).
 */
#ifndef NOVAJOB_LOG_H
#define NOVAJOB_LOG_H

#include <stddef.h>

#include "fault.h"
#include "util.h"

/* -v given this many times: 1 shows log_debug, 2 also the argv of every child. */
void log_set_verbosity(int level);
int log_verbosity(void);

/* One line "novajob: …"; always shown. A line longer than 4 KiB is cut. */
void log_say(const char *fmt, ...) ATTR_PRINTF(1, 2);

/* The same, only with -v. */
void log_debug(const char *fmt, ...) ATTR_PRINTF(1, 2);

/* Several lines of text from outside, each indented and made safe to print. */
void log_quote(const char *text, size_t len);

/* Text of tools as it came (a banner, an rc file), made safe, no prefix; whole lines only. */
void log_raw(const char *text, size_t len);

/* The line for a fault, and one more for its hint; nothing when f->said. Sets f->said. */
void log_fault(struct fault *f);

#endif
