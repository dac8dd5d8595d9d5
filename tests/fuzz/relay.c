/* SPDX-License-Identifier: MIT */
/*
 * relay.c - the relay with a reader of any speed, by its own functions: what
 * comes out is what went in, in order, with relay_no_cr each CR and CR LF as
 * LF, and at most one thing is left out, the mark, and only by relay_finish.
 * The input is a program of such steps:
 *
 *   0 N  N bytes of the input come     3 N  N ms pass, relay_tick if due
 *   1    the mark comes                4 N  N KiB without a newline come
 *   2 N  N*16 bytes are taken out      5 N  N bytes of the mark come
 *   6    the reader takes all          7    the reader goes away
 */
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "world.h"

#define MARK "novajob-11111111111111111111111111111111 end\n"
#define PIPE_SIZE 4096 /* of the reader's pipe: soon full */
#define STEPS_MAX 200

struct play {
	struct relay relay;
	struct buf in;        /* what went in, as it is to come out */
	bool no_cr, was_cr;   /* relay_no_cr; the last byte that went in was one */
	struct buf out;       /* what came out */
	int child[2], log[2]; /* pipes: to the relay and from it */
	bool is_slow;         /* time passed, or the reader stood still with its pipe full */
	bool is_gone;         /* the reader went away */
};

/* What holds between any two calls. */
static void
check_always(const struct play *p)
{
	const struct relay *r = &p->relay;

	CHECK(r->start <= r->ready && r->ready <= r->len && r->len <= (size_t)256 * 1024);
	CHECK(!relay_at_mark(r) || (r->ready <= r->mark_at && r->mark_at + r->mark_len <= r->len));
	CHECK(!relay_at_mark(r) || memcmp(r->data + r->mark_at, MARK, r->mark_len) == 0);
	CHECK(p->is_gone || r->write_errno == 0);
	if (p->is_slow || p->is_gone)
		return;
	/* at once: the mark is seen, and all whole lines before it are out or on their way */
	CHECK(relay_at_mark(r) == (memmem(buf_str(&p->in), p->in.len, MARK, strlen(MARK)) != NULL));
	CHECK(relay_at_mark(r) || r->len == r->ready || memchr(r->data + r->ready, '\n', r->len - r->ready) == NULL);
}

/* The reader takes up to n bytes: they are the next ones. */
static void
take_out(struct play *p, size_t n)
{
	while (n > 0 && p->log[0] >= 0) {
		char data[PIPE_SIZE];
		ssize_t got = read(p->log[0], data, n < sizeof(data) ? n : sizeof(data));

		if (got <= 0)
			return;
		CHECK(p->out.len + (size_t)got <= p->in.len);
		CHECK(memcmp(data, p->in.data + p->out.len, (size_t)got) == 0);
		buf_add(&p->out, data, (size_t)got);
		n -= (size_t)got;
	}
}

/* All that can go out goes. */
static void
drain(struct play *p)
{
	do {
		struct pollfd fd = relay_pollfd(&p->relay);

		take_out(p, SIZE_MAX);
		if (relay_has_ready(&p->relay)) {
			CHECK(fd.fd >= 0 && TEMP_FAILURE_RETRY(poll(&fd, 1, 0)) == 1);
			relay_event(&p->relay, fd.revents);
		}
		check_always(p);
	} while (relay_has_ready(&p->relay));
	take_out(p, SIZE_MAX);
}

static void
note(struct play *p, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool is_second = p->no_cr && p->was_cr && data[i] == '\n';

		p->was_cr = data[i] == '\r';
		if (!is_second)
			buf_add(&p->in, p->no_cr && p->was_cr ? "\n" : data + i, 1);
	}
}

/* The child prints; what finds no room is not printed. */
static void
feed(struct play *p, const char *data, size_t len)
{
	if (!relay_has_room(&p->relay) || len == 0)
		return;
	CHECK(len <= 64 * 1024 && write(p->child[1], data, len) == (ssize_t)len);
	note(p, data, len);
	relay_read(&p->relay, &p->child[0]);
	CHECK(p->child[0] >= 0);
	CHECK(relay_at_mark(&p->relay) || p->is_slow || relay_due_ms(&p->relay) != 0);
	if (relay_has_ready(&p->relay))
		p->is_slow = true; /* the pipe is full */
	check_always(p);
}

static void
feed_many(struct play *p, char c, size_t kib)
{
	char block[1024];

	memset(block, c, sizeof(block));
	while (kib-- > 0)
		feed(p, block, sizeof(block));
}

static void
pass(struct play *p, unsigned int ms)
{
	world.now_ms += ms;
	p->is_slow = p->is_slow || ms > 0;
	if (relay_due_ms(&p->relay) == 0)
		relay_tick(&p->relay);
	check_always(p);
}

static void
lose_reader(struct play *p)
{
	struct pollfd fd;

	cleanup_fd(&p->log[0]);
	p->log[0] = -1;
	p->is_gone = true;
	fd = relay_pollfd(&p->relay);
	if (p->relay.write_errno != 0)
		return;
	CHECK(TEMP_FAILURE_RETRY(poll(&fd, 1, 0)) == 1 && (fd.revents & POLLERR) != 0);
	relay_event(&p->relay, fd.revents);
	CHECK(p->relay.write_errno == EPIPE);
}

static void
step(struct play *p, struct input *in)
{
	unsigned int what = input_byte(in) % 8;
	size_t n = what == 1 || what >= 6 ? 0 : input_byte(in);
	const char *data;

	switch (what) {
	case 0:
		data = input_bytes(in, &n);
		feed(p, data, n);
		break;
	case 1:
		feed(p, MARK, strlen(MARK));
		break;
	case 2:
		take_out(p, n * 16);
		relay_write(&p->relay);
		break;
	case 3:
		pass(p, (unsigned int)n * 5);
		break;
	case 4:
		feed_many(p, 'x', n);
		break;
	case 5:
		feed(p, MARK, n % strlen(MARK));
		break;
	case 6:
		drain(p);
		break;
	default:
		lose_reader(p);
	}
	check_always(p);
}

/* The end: with drop the input stops at the mark that stands, else all is out. */
static void
finish(struct play *p, bool drop)
{
	bool at_mark = relay_at_mark(&p->relay);
	size_t want = p->in.len - (drop && at_mark ? p->relay.len - p->relay.mark_at : 0);

	if (drop && at_mark)
		CHECK(memcmp(p->in.data + want, MARK, strlen(MARK)) == 0);
	relay_finish(&p->relay, drop);
	p->is_slow = true;
	drain(p);
	CHECK(p->is_gone || p->out.len == want);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct play p = { .in = BUF_INIT };
	struct input in = { .at = (const char *)data, .left = size };
	unsigned int flags = input_byte(&in);
	bool drop = flags % 2 != 0;

	world_begin();
	CHECK(pipe2(p.child, O_CLOEXEC | O_NONBLOCK) == 0 && pipe2(p.log, O_CLOEXEC | O_NONBLOCK) == 0);
	CHECK(fcntl(p.log[1], F_SETPIPE_SZ, PIPE_SIZE) >= 0);
	relay_init(&p.relay, p.log[1], MARK);
	CHECK(p.relay.is_pipe && !p.relay.may_block);
	p.no_cr = flags % 4 >= 2;
	if (p.no_cr)
		relay_no_cr(&p.relay);
	cleanup_fd(&p.log[1]);
	for (int i = 0; i < STEPS_MAX && in.left > 0 && p.in.len < (size_t)2 * 1024 * 1024; i++)
		step(&p, &in);
	finish(&p, drop);
	relay_free(&p.relay);
	cleanup_fd(&p.child[0]);
	cleanup_fd(&p.child[1]);
	cleanup_fd(&p.log[0]);
	buf_free(&p.in);
	buf_free(&p.out);
	world_end();
	return 0;
}
