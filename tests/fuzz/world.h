/* SPDX-License-Identifier: MIT */
/*
 * world.h - a world of its own for code that waits: the clock stands still but
 * for waits, a child is two pipes that the target fills, and what is written
 * to stderr is looked at instead. The linker's --wrap puts it in (Makefile).
 */
#ifndef NOVAJOB_FUZZ_WORLD_H
#define NOVAJOB_FUZZ_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "proc.h"

struct world {
	int64_t now_ms;          /* what clock_ms says */
	void (*step)(void);      /* called at the begin of each wait: let something happen; NULL = nothing does */
	bool stopped;            /* what sig_stopped says */
	bool is_checked;         /* stderr is novajob's: checked, and not shown */
	int out_fd, err_fd;      /* the child's ends of its pipes, -1 = none or closed */
	int in_fd;               /* the child's stdin, -1 = none */
	bool has_ended;          /* the child has ended … */
	struct proc_result end;  /* … like this; proc_run's children, too */
	const char *out, *err;   /* what proc_run's children print; NULL = nothing */
	size_t unread;           /* bytes of stdout that nobody had read when the child was put away */
	int starts;              /* children so far */
};

extern struct world world;

/* A new world, nothing in it, its log checked; closes what the last one had open. */
void world_begin(void);

/* The child writes to one of its ends: at most len bytes, what fits into the pipe; returns how many. */
size_t world_write(int fd, const char *data, size_t len);

/* Back to a plain stderr, everything closed. */
void world_end(void);

#endif
