/* SPDX-License-Identifier: MIT */
/*
 * relay.h - bytes of a child to our stdout: byte for byte (but see
 * relay_no_cr), in order, as whole lines where there are any, in constant
 * memory. It knows the end mark that the remote wrapper prints behind the
 * script's output (ssh.h); the mark itself is never passed on once the
 * script's status has come.
 */
#ifndef NOVAJOB_RELAY_H
#define NOVAJOB_RELAY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RELAY_MARK_MAX 80

struct relay {
	int out_fd;       /* our own, non-blocking where the kernel lets us */
	bool is_pipe;     /* its reader can go away */
	bool may_block;   /* the kernel did not let us */
	char *data;       /* owned, RELAY_CAP bytes */
	size_t start;     /* data[start] is the first byte not written yet */
	size_t ready;     /* data[start..ready) may be written now */
	size_t len;       /* data[ready..len) waits for its newline, or may be a mark */
	size_t mark_at;   /* where the whole mark stands, or SIZE_MAX */
	char mark[RELAY_MARK_MAX];
	size_t mark_len;
	bool no_cr;       /* CR and CR LF become LF, see relay_no_cr */
	bool was_cr;      /* … and the last byte read was one */
	bool is_held;     /* what waits is nearly the whole mark, and waits longer */
	int64_t since_ms; /* when the first of the bytes that wait came, on clock_ms()'s clock */
	bool mid_line;    /* what was written last ends without a newline */
	int write_errno;  /* why the log cannot be written to; 0 = it can */
};

/* Relay to fd (kept open; a duplicate of our own is used). mark: the end mark, newline included, shorter than
 * RELAY_MARK_MAX. */
void relay_init(struct relay *r, int fd, const char *mark);

/*
 * From now on a carriage return ends a line. For output that goes among our own lines: what CR does there is not for a
 * server to decide, and GitLab takes for a section's marker what has one in it (log.h).
 */
void relay_no_cr(struct relay *r);

/* Is there room for more bytes? Until there is, do not poll the child. */
bool relay_has_room(const struct relay *r);

/* Are there bytes to write now? */
bool relay_has_ready(const struct relay *r);

/* What to poll: POLLOUT when there are bytes to write; a pipe always, for POLLERR tells that its reader has gone. */
struct pollfd relay_pollfd(const struct relay *r);

/* Do what poll has told. */
void relay_event(struct relay *r, short revents);

/* Read what *fd has and write what may be written. At EOF *fd is closed and becomes -1. */
void relay_read(struct relay *r, int *fd);

/* Write what may be written. With write_errno set the bytes are dropped: the reader is gone. */
void relay_write(struct relay *r);

/* Milliseconds until relay_tick has to be called, -1 = no need. */
int64_t relay_due_ms(const struct relay *r);

/* Let partial lines go that have waited for 100 ms, and a mark nobody confirmed within 1 s. */
void relay_tick(struct relay *r);

/* Has the end mark come? What stands before it is all the script has written. */
bool relay_at_mark(const struct relay *r);

/* No more will come: let everything go; drop_mark: but not the mark and what is behind it. Still to be written by
 * relay_write until relay_has_ready says no. */
void relay_finish(struct relay *r, bool drop_mark);

/* Free the memory, close the duplicate. */
void relay_free(struct relay *r);

#endif
