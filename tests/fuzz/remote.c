/* SPDX-License-Identifier: MIT */
/*
 * remote.c - one script run in the server, with an ssh that says anything on
 * stdout and on the status channel, whole or in parts. An exit status is only
 * believed from a whole line of the status channel, after the wrapper's start;
 * the script's output comes out byte for byte, but for a confirmed mark.
 * The input is a flag byte (bit 0: the reader of our stdout is slow; else bit 1:
 * the script may take 1 s) and steps; one
 * is done at each wait of the program:
 *
 *   0 N  N bytes of the input on stdout      7    the status channel ends
 *   1    the mark on stdout                  8 N  ssh ends: exit code N
 *   2 N  N bytes on the status channel       9 N  N * 10 ms pass
 *   3    the wrapper's start                 10 N the reader takes N * 16 bytes
 *   4 N  its exit N                          11   we are told to stop
 *   5    its prefix alone                    12   the reader goes away
 *   6    stdout ends                         13 N N modulo 20 KiB without a newline on the status channel
 */
#include "remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "world.h"

#define PREFIX "novajob-11111111111111111111111111111111 "
#define MARK PREFIX "end\n"
#define PIPE_SIZE 4096 /* of our reader: soon full */
#define STEPS_MAX 300

static struct play {
	struct input in;
	struct buf out;    /* what ssh has said on stdout */
	struct buf err;    /* … on the status channel */
	struct buf log;    /* what our reader got */
	int log_fd;
	int steps;         /* done so far */
	bool is_slow;
	bool is_limited;   /* to 1 s */
	bool is_cut;       /* stop, or reader gone: output may be missing */
	bool is_long;      /* a line that is passed on in parts */
	bool is_belated;   /* words behind the end of ssh, by a process it left */
	bool is_over;      /* all steps are done */
} play;

static void
take_out(size_t n)
{
	char data[PIPE_SIZE];
	ssize_t got;

	while (n > 0 && play.log_fd >= 0 && (got = read(play.log_fd, data, n < sizeof(data) ? n : sizeof(data))) > 0) {
		buf_add(&play.log, data, (size_t)got);
		n -= (size_t)got;
	}
}

static void
say(int fd, struct buf *all, const char *data, size_t len)
{
	play.is_belated = play.is_belated || world.has_ended;
	buf_add(all, data, world_write(fd, data, len));
}

static void
close_end(int *fd)
{
	cleanup_fd(fd);
	*fd = -1;
}

static void
say_exit(unsigned int code)
{
	char line[80];

	(void)snprintf(line, sizeof(line), PREFIX "exit %u\n", code);
	say(world.err_fd, &play.err, line, strlen(line));
}

static void
say_long(size_t kib)
{
	char block[1024];

	memset(block, 'x', sizeof(block));
	play.is_long = true;
	while (kib-- > 0)
		say(world.err_fd, &play.err, block, sizeof(block));
}

/* Steps that are not ssh's words. */
static void
happen(unsigned int what, unsigned int n)
{
	switch (what) {
	case 6:
		close_end(&world.out_fd);
		break;
	case 7:
		close_end(&world.err_fd);
		break;
	case 8:
		world.has_ended = true;
		world.end = (struct proc_result){ .kind = PROC_EXITED, .code = (int)n };
		break;
	case 9:
		world.now_ms += n * 10;
		break;
	case 10:
		take_out((size_t)n * 16);
		break;
	case 11:
		world.stopped = play.is_cut = true;
		break;
	case 12:
		close_end(&play.log_fd);
		play.is_cut = true;
		break;
	default:
		say_long(n % 20);
	}
}

/* All steps are done: ssh ends, and the reader reads. */
static void
end(void)
{
	play.is_over = true;
	world.has_ended = true;
	close_end(&world.out_fd);
	close_end(&world.err_fd);
	take_out(SIZE_MAX);
}

static void
step(void)
{
	unsigned int what = input_byte(&play.in) % 14;
	bool has_number = what == 0 || what == 2 || what == 4 || (what >= 8 && what != 11 && what != 12);
	size_t n;
	const char *data;

	if (!play.is_slow)
		take_out(SIZE_MAX);
	if (play.in.left == 0 || play.steps++ >= STEPS_MAX) {
		end();
		return;
	}
	n = has_number ? input_byte(&play.in) : 0;
	if (what == 0 || what == 2) {
		data = input_bytes(&play.in, &n);
		say(what == 0 ? world.out_fd : world.err_fd, what == 0 ? &play.out : &play.err, data, n);
	} else if (what == 1) {
		say(world.out_fd, &play.out, MARK, strlen(MARK));
	} else if (what == 3 || what == 5) {
		say(world.err_fd, &play.err, PREFIX "start 77\n", what == 3 ? strlen(PREFIX) + 9 : strlen(PREFIX));
	} else if (what == 4) {
		say_exit((unsigned int)n);
	} else {
		happen(what, (unsigned int)n);
	}
}

/* The number behind the words at `at`, at most max, if it ends its line (which ends before `end`); else -1. */
static int64_t
number_at(const char *at, const char *end_of_line, const char *word, int64_t max)
{
	size_t len = strlen(word);
	char text[32];
	char *rest;
	long long n;

	if ((size_t)(end_of_line - at) < len || memcmp(at, word, len) != 0 || at[len] == '\0' || at[len] == '\n')
		return -1;
	(void)snprintf(text, sizeof(text), "%.*s", (int)(end_of_line - at - (ptrdiff_t)len), at + len);
	errno = 0;
	n = strtoll(text, &rest, 10);
	return *rest != '\0' || errno != 0 || n < 0 || n > max || strlen(text) + 1 == sizeof(text) ? -1 : n;
}

/* Does the status channel tell of this exit code, in a whole line behind a start? With code -1: of any. */
static bool
was_told(int code)
{
	bool has_start = false;
	const char *at = buf_str(&play.err), *newline;
	const char *all_end = at + play.err.len;

	for (; (newline = memchr(at, '\n', (size_t)(all_end - at))) != NULL; at = newline + 1) {
		const char *p = at;

		while ((p = memmem(p, (size_t)(newline - p), PREFIX, strlen(PREFIX))) != NULL) {
			int64_t n;

			p += strlen(PREFIX);
			n = number_at(p, newline, "exit ", 255);
			if (has_start && n >= 0 && (code < 0 || n == code))
				return true;
			has_start = has_start || number_at(p, newline, "start ", INT32_MAX) >= 0;
			if (code < 0)
				break; /* the first counts, but in a line that came in parts */
		}
	}
	return false;
}

/* What came out against what ssh has said: */
static void
check_output(const struct remote_result *r)
{
	bool is_confirmed = r->end == REMOTE_EXITED || (r->end == REMOTE_SHORT && was_told(-1));
	size_t rest;

	CHECK(play.log.len <= play.out.len);
	CHECK(play.log.len == 0 || memcmp(play.log.data, play.out.data, play.log.len) == 0);
	if (play.is_cut)
		return;
	rest = play.out.len - play.log.len;
	if (is_confirmed && rest > world.unread)
		CHECK(rest >= strlen(MARK) && memcmp(play.out.data + play.log.len, MARK, strlen(MARK)) == 0);
	else
		CHECK(rest == world.unread);
}

static void
check_result(const struct remote_result *r)
{
	CHECK(r->end != REMOTE_LATE || play.is_limited);
	play.is_cut = play.is_cut || r->end == REMOTE_LATE;
	CHECK(fuzz_is_safe(r->said, strlen(r->said), false, strlen(r->said) + 4 >= sizeof(r->said)));
	if (r->end == REMOTE_EXITED)
		CHECK(r->code >= 0 && r->code <= 255 && was_told(r->code));
	if (r->end == REMOTE_SHORT)
		CHECK(memmem(buf_str(&play.err), play.err.len, PREFIX "short\n", strlen(PREFIX "short\n")) != NULL);
	if (play.is_over && !play.is_cut && !play.is_long && !play.is_belated)
		CHECK((r->end == REMOTE_EXITED) == (r->end != REMOTE_SHORT && was_told(-1)));
}

static void
run_script(void)
{
	static char word[] = "x", address[] = "192.0.2.7";
	const struct settings settings = { .ssh = word, .username = word, .private_key = word, .ssh_port = 22,
		.alive_timeout = 60000 };
	const struct ssh_target target = { .settings = &settings, .address = address, .known_hosts = "/x", .alias = "x" };
	auto_fd int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct remote_script script = { .fd = fd, .out_fd = STDOUT_FILENO, .grace_ms = 1000,
		.limit = limit_in(play.is_limited ? 1000 : NO_LIMIT_MS, STOP_AT_ONCE) };
	struct remote_result r;
	struct fault f;

	CHECK(remote_run(&target, &script, &r, &f));
	take_out(SIZE_MAX);
	check_result(&r);
	check_output(&r);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned int flags;
	int ends[2];

	play = (struct play){ .in = { .at = (const char *)data, .left = size } };
	flags = input_byte(&play.in);
	play.is_slow = flags % 2 != 0;
	play.is_limited = flags % 4 == 2;
	world_begin();
	CHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0 && fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE) >= 0);
	CHECK(dup2(ends[1], STDOUT_FILENO) == STDOUT_FILENO);
	cleanup_fd(&ends[1]);
	play.log_fd = ends[0];
	world.step = step;
	run_script();
	cleanup_fd(&play.log_fd);
	buf_free(&play.out);
	buf_free(&play.err);
	buf_free(&play.log);
	world_end();
	return 0;
}
