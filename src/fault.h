/* SPDX-License-Identifier: MIT */
/*
 * fault.h - the error value. A function that can fail returns false (or NULL)
 * and fills a fault: its class, which decides the exit code and whether a
 * retry is worth while, and one line of text for people. Nothing below the
 * commands prints an error or exits (the idea is crun's libcrun/error.h).
 */
#ifndef NOVAJOB_FAULT_H
#define NOVAJOB_FAULT_H

#include <stdbool.h>

#include "util.h"

enum fault_class {
	FAULT_NONE,
	FAULT_USAGE,     /* the command line is wrong */
	FAULT_SETTING,   /* the operator's settings or set-up are wrong: no retry of ours helps */
	FAULT_WISH,      /* the job's author asked for something denied or unknown */
	FAULT_LOCAL,     /* the runner host: files, processes, memory */
	FAULT_TRANSIENT, /* the cloud's trouble that may pass: worth a retry */
	FAULT_BUSY,      /* quota, rate limit, no valid host: wait or take the next choice */
	FAULT_CLOUD,     /* the cloud said no, or made something unusable */
	FAULT_MISSING,   /* the cloud does not know the object asked for */
	FAULT_SSH,       /* no login, or the connection was lost */
	FAULT_STOPPED,   /* we were told to stop (SIGTERM) */
	FAULT_LEFT,      /* sweep: something ours resists; exit code 3 */
	FAULT_BUILD,     /* the script failed: its own code is in BUILD_EXIT_CODE_FILE */
	FAULT_COUNT,
};

struct fault {
	enum fault_class class;
	bool said;       /* already told to the people: main prints nothing more */
	char text[2048]; /* one line without newline; made safe to print; cut if longer */
	char hint[512];  /* what to do next, or "" */
};

/* Fill f; always returns false, so that `return fault_set(…)` reads well. */
bool fault_set(struct fault *f, enum fault_class class, const char *fmt, ...) ATTR_PRINTF(3, 4);

/* As fault_set, with ": <strerror of errno>" behind the text. */
bool fault_errno(struct fault *f, enum fault_class class, const char *fmt, ...) ATTR_PRINTF(3, 4);

/* Put "<text>: " in front of what f says: going up, each level says what it was doing. */
bool fault_wrap(struct fault *f, const char *fmt, ...) ATTR_PRINTF(2, 3);

/* Say what the reader should do next. Returns false. */
bool fault_hint(struct fault *f, const char *fmt, ...) ATTR_PRINTF(2, 3);

/* Make f say nothing happened. */
void fault_clear(struct fault *f);

/*
 * The exit code of a failure for the runner, contract.md §4: 1 for what the job's author must mend (wish, build),
 * 2 for everything else. Outside of a stage the same numbers serve; there 64 is a usage error (sysexits(3)), 3 FAULT_LEFT.
 */
int fault_exit_code(const struct fault *f, bool in_stage);

/* The class in one word, as novajob(1) has it: "setting"; a constant. */
const char *fault_class_name(enum fault_class class);

#endif
