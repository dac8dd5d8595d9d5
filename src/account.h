/* SPDX-License-Identifier: MIT */
/*
 * account.h - what a command leaves behind when it has ended: its event
 * (event.h), and its part of what is counted (metrics.h). main calls it; the
 * commands fill in what they know meanwhile.
 */
#ifndef NOVAJOB_ACCOUNT_H
#define NOVAJOB_ACCOUNT_H

#include <stdbool.h>

#include "cmd.h"
#include "fault.h"

/* The event of a command begins; the job is known, if there is one. Stages get theirs from main. */
void account_begin(struct context *c, const char *name);

/* Something had to be waited for, ms: into the event and the counters. Nothing when ms is 0. */
void account_wait(struct context *c, const char *reason, int64_t ms);

/* The command has ended; c's settings are as far as they could be loaded. */
void account_end(struct context *c, const struct cmd *cmd, bool is_fine, const struct fault *f);

#endif
