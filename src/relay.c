/* SPDX-License-Identifier: MIT */
/* relay.c - bytes of a child to our stdout; see relay.h. */
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "xalloc.h"

#define RELAY_CAP       ((size_t)256 * 1024)
#define RELAY_READ      ((size_t)64 * 1024)
#define LONG_LINE       ((size_t)16 * 1024) /* this much without a newline is passed on in parts */
#define PARTIAL_MS      100  /* a line without its end is passed on after so long */
#define UNCONFIRMED_MS  1000 /* a mark without a status was not ours */
#define NEARLY_A_MARK   ((size_t)16) /* so many bytes of it, half of them random, are no accident */
#define SMALL_WRITE     ((size_t)4096) /* PIPE_BUF: what poll says there is room for */

void
relay_init(struct relay *r, int fd, const char *mark)
{
	struct stat st;
	char path[32];

	memset(r, 0, sizeof(*r));
	r->data = xcalloc(RELAY_CAP, 1);
	r->mark_at = SIZE_MAX;
	(void)strlcpy(r->mark, mark, sizeof(r->mark)); /* the caller keeps to RELAY_MARK_MAX */
	r->mark_len = strlen(r->mark);
	/* The runner gives a pipe. O_NONBLOCK on the inherited description would show in the runner, too, so open it anew.
	 * Never a file: the new description has an offset of its own, and stderr, on the old one, would write over it. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r->out_fd = -1;
	r->is_pipe = fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
	if (r->is_pipe)
		r->out_fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (r->out_fd < 0) {
		r->out_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		r->may_block = !S_ISREG(st.st_mode);
	}
}

void
relay_no_cr(struct relay *r)
{
	r->no_cr = true;
}

bool
relay_has_room(const struct relay *r)
{
	return r->len - r->start <= RELAY_READ;
}

bool
relay_has_ready(const struct relay *r)
{
	return r->ready > r->start;
}

bool
relay_at_mark(const struct relay *r)
{
	return r->mark_at != SIZE_MAX;
}

struct pollfd
relay_pollfd(const struct relay *r)
{
	bool is_wanted = relay_has_ready(r) || (r->is_pipe && r->write_errno == 0);

	return (struct pollfd){ .fd = is_wanted ? r->out_fd : -1, .events = relay_has_ready(r) ? POLLOUT : 0 };
}

void
relay_event(struct relay *r, short revents)
{
	if (relay_has_ready(r))
		relay_write(r); /* errno tells more than POLLERR */
	else if ((revents & POLLERR) != 0)
		r->write_errno = EPIPE;
}

/* How many of the last bytes that wait may be the beginning of the mark? */
static size_t
mark_prefix(const struct relay *r)
{
	size_t have = r->len - r->ready;
	size_t n = r->mark_len - 1 < have ? r->mark_len - 1 : have;

	for (; n > 0; n--)
		if (memcmp(r->data + r->len - n, r->mark, n) == 0)
			return n;
	return 0;
}

/* Decide what may go, after bytes were added behind `from`. What was let go, written or not, is no part of a mark. */
static void
mark_ready(struct relay *r, size_t from)
{
	size_t search = from - r->ready > r->mark_len ? from - r->mark_len : r->ready;
	size_t end;
	const char *at, *newline;

	if (relay_at_mark(r))
		return;
	at = memmem(r->data + search, r->len - search, r->mark, r->mark_len);
	if (at != NULL) {
		r->mark_at = r->ready = (size_t)(at - r->data);
		return;
	}
	end = r->len - mark_prefix(r);
	newline = end > r->ready ? memrchr(r->data + r->ready, '\n', end - r->ready) : NULL;
	if (newline != NULL)
		r->ready = (size_t)(newline - r->data) + 1;
	if (r->len - r->ready >= LONG_LINE) /* nobody waits for the end of such a line */
		r->ready = end;
}

static void
compact(struct relay *r)
{
	if (r->start == 0)
		return;
	memmove(r->data, r->data + r->start, r->len - r->start);
	r->ready -= r->start;
	r->len -= r->start;
	if (r->mark_at != SIZE_MAX)
		r->mark_at -= r->start;
	r->start = 0;
}

/* Make CR and CR LF one LF each in the n bytes that were just read; how many there are then. */
static size_t
drop_cr(struct relay *r, size_t n)
{
	char *in = r->data + r->len, *out = in, *end = in + n;

	for (; in < end; in++) {
		bool is_cr = *in == '\r', is_second = *in == '\n' && r->was_cr;

		if (is_cr)
			*in = '\n';
		if (!is_second)
			*out++ = *in;
		r->was_cr = is_cr;
	}
	return (size_t)(out - (r->data + r->len));
}

void
relay_read(struct relay *r, int *fd)
{
	bool was_empty, was_at_mark;
	size_t from;
	ssize_t n;

	if (r->start == r->len && !relay_at_mark(r))
		r->start = r->ready = r->len = 0;
	else if (RELAY_CAP - r->len < RELAY_READ)
		compact(r);
	if (RELAY_CAP - r->len < RELAY_READ)
		return;
	n = read(*fd, r->data + r->len, RELAY_READ);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		(void)close(*fd); /* only read from */
		*fd = -1;
		return;
	}
	from = r->len;
	was_empty = r->len == r->ready;
	was_at_mark = relay_at_mark(r);
	r->len += r->no_cr ? drop_cr(r, (size_t)n) : (size_t)n;
	r->is_held = false;
	mark_ready(r, from);
	if (was_empty || r->ready > from || relay_at_mark(r) != was_at_mark)
		r->since_ms = clock_ms();
	relay_write(r);
}

void
relay_write(struct relay *r)
{
	while (relay_has_ready(r)) {
		struct pollfd room = { .fd = r->out_fd, .events = POLLOUT };
		size_t size = r->ready - r->start;
		ssize_t n;

		if (r->may_block && r->write_errno == 0) {
			if (poll(&room, 1, 0) <= 0)
				return;
			size = size < SMALL_WRITE ? size : SMALL_WRITE;
		}
		n = write(r->out_fd, r->data + r->start, size);
		if (n > 0) {
			r->start += (size_t)n;
			r->mid_line = r->data[r->start - 1] != '\n';
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		r->write_errno = n < 0 ? errno : EIO;
		r->start = r->ready;
	}
}

int64_t
relay_due_ms(const struct relay *r)
{
	int64_t wait = relay_at_mark(r) || r->is_held ? UNCONFIRMED_MS : PARTIAL_MS;
	int64_t left = r->since_ms + wait - clock_ms();

	if (r->len == r->ready)
		return -1;
	return left < 0 ? 0 : left;
}

void
relay_tick(struct relay *r)
{
	if (relay_due_ms(r) != 0)
		return;
	if (relay_at_mark(r)) { /* the script printed it: let it go, look on behind it */
		r->ready = r->mark_at + r->mark_len;
		r->mark_at = SIZE_MAX;
		r->since_ms = clock_ms();
		mark_ready(r, r->ready);
	} else if (!r->is_held && mark_prefix(r) >= NEARLY_A_MARK) { /* its end is on the way */
		r->is_held = true;
		r->ready = r->len - mark_prefix(r);
		r->since_ms = clock_ms();
	} else {
		r->is_held = false;
		r->ready = r->len;
	}
	relay_write(r);
}

void
relay_finish(struct relay *r, bool drop_mark)
{
	if (drop_mark && relay_at_mark(r))
		r->len = r->mark_at;
	r->mark_at = SIZE_MAX;
	r->ready = r->len;
	relay_write(r);
}

void
relay_free(struct relay *r)
{
	freezero(r->data, RELAY_CAP);
	r->data = NULL;
	if (r->out_fd >= 0)
		(void)close(r->out_fd); /* write errors were seen by write */
	r->out_fd = -1;
}
