/* SPDX-License-Identifier: MIT */
/*
 * ssh_share.h - the one connection that the stages of a job share: an ssh that
 * runs nothing and lets others through its control socket, STATE/share/TRY. It
 * outlives the stage that started it, holds nothing of it, and is ended with
 * the job; what it says goes to TRY.err beside the socket. A try has its own,
 * since each try has its own server.
 *
 * Nothing depends on it: where nobody listens at the socket, or the server
 * allows no further session, ssh itself connects directly.
 */
#ifndef NOVAJOB_SSH_SHARE_H
#define NOVAJOB_SSH_SHARE_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"
#include "fault.h"
#include "proc.h"
#include "record.h"
#include "sig.h"
#include "ssh.h"
#include "strv.h"

/* The socket of a try. The caller's; NULL where STATE is too long for one (more than 90 bytes in all). */
char *share_path(const struct state *state, const char *try);

/* What came of share_open. */
enum share {
	SHARE_UP,     /* the connection is there */
	SHARE_ENDED,  /* ssh has ended: *r how, *said what it said */
	SHARE_UNABLE, /* the server has no part in it: connect directly */
	SHARE_FAULT,  /* f: ssh cannot be started (as proc_start), or the limit is over (as proc_run) */
};

/* Start the connection at t->control, in place of one that was there, and wait for it. */
enum share share_open(const struct ssh_target *t, struct limit limit, struct buf *said, struct proc_result *r,
    struct fault *f) ATTR_MUST_USE;

/*
 * Use the connection at path for what follows: t->control becomes path when it is there, or can be opened anew within
 * limit, which costs one handshake; else NULL. path NULL: not shared.
 */
void share_use(struct ssh_target *t, const char *path, struct limit limit);

/* Words of ssh about sharing, which it gets along without: nothing for the job's log. */
bool share_is_chatter(const char *line);

/* Why has the connection at path ended? The last thing it said as one safe line, "" when it lives or said nothing. */
void share_said(const char *path, char *out, size_t size);

/* End a try's connection, and remove what is left of it. Fine when there is none. */
void share_end(const struct state *state, const char *try);

/* The tries that have something in STATE/share, each once. */
void share_tries(const struct state *state, struct strv *tries);

#endif
