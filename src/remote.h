/* SPDX-License-Identifier: MIT */
/*
 * remote.h - run one script in the server: feed it, relay its output, learn
 * its exit status, end it when told to stop.
 */
#ifndef NOVAJOB_REMOTE_H
#define NOVAJOB_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "sig.h"
#include "ssh.h"

enum remote_end {
	REMOTE_EXITED,     /* code: the script's status, 128 + signal when its shell was killed */
	REMOTE_LOST,       /* the connection, or the server, went away */
	REMOTE_UNREACHED,  /* no connection came to be: nothing was run */
	REMOTE_REFUSED,    /* the account's shell does not run commands */
	REMOTE_SHORT,      /* the script did not arrive whole: nothing was run */
	REMOTE_NO_BASH,
	REMOTE_STOPPED,    /* we were told to stop; no process of the script is left, or confirmed is false */
	REMOTE_LATE,       /* its limit was over; ended as for a stop */
	REMOTE_LOG_BROKEN, /* out_fd cannot be written to; ended as for a stop */
};

struct remote_result {
	enum remote_end end;
	int code;
	bool was_told;    /* REMOTE_EXITED: all of the session was told to end, by TERM or HUP, and not by us */
	bool confirmed;   /* REMOTE_STOPPED, _LATE, _LOG_BROKEN: the server has confirmed the end; _UNREACHED: true */
	bool closed;      /* the connection ended before a server spoke: by what is between, as a bastion */
	bool mid_line;    /* the output ended without a newline */
	char said[300];   /* what ssh said: why it was not connected, else the last thing; one safe line; "" = nothing */
};

/* What to run, and how. */
struct remote_script {
	int fd;             /* an open regular file, read from its start; borrowed */
	int out_fd;         /* where its output goes; borrowed */
	bool no_cr;         /* that is among our own lines: a carriage return ends a line (relay.h) */
	int64_t grace_ms;   /* from TERM to KILL when it is to stop */
	struct limit limit; /* how long it may take; a stop ends it at once, whatever this says */
};

/* Run the script on the target. False with a fault only when it cannot be read, or ssh not be started; everything else is told by *r. */
bool remote_run(const struct ssh_target *t, const struct remote_script *script, struct remote_result *r, struct fault *f)
    ATTR_MUST_USE;

/* The same; again, without the shared connection, when no connection came to be: nothing was run then. */
bool remote_run_again(const struct ssh_target *t, const struct remote_script *script, struct remote_result *r,
    struct fault *f) ATTR_MUST_USE;

/* Did ssh refuse to talk to what answered (REMOTE_UNREACHED)? Then nothing was sent, not even the script. */
bool remote_is_foreign(const struct remote_result *r);

#endif
