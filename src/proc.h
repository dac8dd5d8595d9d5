/* SPDX-License-Identifier: MIT */
/*
 * proc.h - child processes: the only place that forks, executes, waits and
 * kills. No shell is ever started from here. Each child has its own process
 * group, dies with us by PR_SET_PDEATHSIG (prctl(2)), starts with default
 * signals and an empty mask, and is reaped through its pidfd. One that is to
 * live on without us (apart) has a session of its own instead.
 * style.md §5 tells why fork and not posix_spawn.
 */
#ifndef NOVAJOB_PROC_H
#define NOVAJOB_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "buf.h"
#include "fault.h"
#include "sig.h"
#include "strv.h"

enum proc_io {
	PROC_NULL, /* /dev/null */
	PROC_PIPE, /* a pipe whose other end is in struct proc */
	PROC_FD,   /* stdin, stderr: a duplicate of in_fd, of to_fd */
};

struct proc_spec {
	const struct strv *argv; /* argv[0]: a path, or a name looked up in our PATH */
	const struct strv *env;  /* the whole environment, or NULL for ours */
	enum proc_io in, out, err;
	int in_fd;               /* with in = PROC_FD: borrowed */
	int to_fd;               /* with err = PROC_FD: borrowed */
	bool apart;              /* its own session, and it does not die with us: proc_let_go leaves it behind */
	size_t file_max;         /* no file that it, or a child of its, writes grows larger, in bytes (SIGXFSZ); 0 = as ours */
};

struct proc {
	pid_t pid;             /* 0 once reaped or never started */
	int pidfd;             /* readable when the child has ended; -1 without a child */
	int in_fd;             /* we write, -1 if not PROC_PIPE; non-blocking */
	int out_fd, err_fd;    /* we read, -1 if not PROC_PIPE; non-blocking */
	char name[32];         /* the program's name, for messages */
};

#define PROC_INIT { .pid = 0, .pidfd = -1, .in_fd = -1, .out_fd = -1, .err_fd = -1, .name = "" }

enum proc_end { PROC_EXITED, PROC_SIGNALED };

struct proc_result {
	enum proc_end kind;
	int code; /* exit status, or the signal's number */
};

/*
 * Start a child. It runs when this returns true: exec itself has worked. On failure f is FAULT_SETTING when the
 * program is missing or not executable, else FAULT_LOCAL, and *p is as PROC_INIT.
 */
bool proc_start(struct proc *p, const struct proc_spec *spec, struct fault *f) ATTR_MUST_USE;

/* Has the child ended? Then reap it (its group's left-overs are killed first) and fill *r. Does not wait. */
bool proc_reap(struct proc *p, struct proc_result *r);

/* Close the write end of the child's stdin. */
void proc_close_in(struct proc *p);

/*
 * End the child: TERM and CONT to its group, at most grace_ms, then KILL; reap, close all ends. Fine on PROC_INIT.
 * Returns how it ended (EXITED 0 when there was none).
 */
struct proc_result proc_end(struct proc *p, int64_t grace_ms);

/* Leave a child that was started apart to itself: it is not ours to reap any more. */
void proc_let_go(struct proc *p);

/*
 * End the process at the other end of a connected unix socket, the one that called listen(2) on it, by TERM, and by KILL
 * after at most grace_ms. The kernel says who it is: never another process, and none of another user.
 */
void proc_end_peer(int socket_fd, int64_t grace_ms);

/* Write what fits of b to the child's stdin, drop it from b; closes stdin when the child does not read any more. */
void proc_feed(struct proc *p, struct buf *b);

/*
 * Read once what is there from *fd into b. At EOF or error *fd is closed and becomes -1. With b->len at cap_bytes
 * the bytes are read and dropped, so a child that prints without end costs no memory.
 */
void proc_read(int *fd, struct buf *b, size_t cap_bytes);

/*
 * Run a child to its end: input goes to its stdin, stdout and stderr (up to cap_bytes each, the rest is dropped) come
 * back. Returns false with a fault when it cannot be started, or, ended by us, at the limit: FAULT_TRANSIENT "no answer
 * from 'x' within …" or FAULT_STOPPED. Output held open by a grandchild is waited for at most 1 s.
 */
bool proc_run(const struct proc_spec *spec, const char *input, size_t cap_bytes, struct limit limit, struct buf *out,
    struct buf *err, struct proc_result *r, struct fault *f) ATTR_MUST_USE;

#endif
