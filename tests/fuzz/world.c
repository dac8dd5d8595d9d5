/* SPDX-License-Identifier: MIT */
/* world.c - time, children and stderr as the fuzz targets want them; see world.h. */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"
#include "fuzz.h"
#include "text.h"

#define STEP_MS 500

struct world world = { .out_fd = -1, .err_fd = -1, .in_fd = -1 };

/* What the linker calls instead of the functions without __wrap_. */
int64_t __wrap_clock_ms(void);
bool __wrap_sig_stopped(void);
bool __wrap_sig_seen(void);
int __wrap_sig_poll(struct pollfd *fds, nfds_t n, int64_t timeout_ms);
bool __wrap_limit_sleep(struct limit l, int64_t ms);
uint32_t __wrap_arc4random(void);
ssize_t __real_write(int fd, const void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len);
bool __wrap_proc_start(struct proc *p, const struct proc_spec *spec, struct fault *f);
bool __wrap_proc_reap(struct proc *p, struct proc_result *r);
struct proc_result __wrap_proc_end(struct proc *p, int64_t grace_ms);
bool __wrap_proc_run(const struct proc_spec *spec, const char *input, size_t cap_bytes, struct limit limit,
    struct buf *out, struct buf *err, struct proc_result *r, struct fault *f);

static void
close_child(void)
{
	int *const ends[] = { &world.out_fd, &world.err_fd, &world.in_fd };

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		cleanup_fd(ends[i]);
		*ends[i] = -1;
	}
}

void
world_begin(void)
{
	world_end();
	(void)signal(SIGPIPE, SIG_IGN);
	world.now_ms = 1000000;
	world.is_checked = true;
}

void
world_end(void)
{
	close_child();
	world = (struct world){ .out_fd = -1, .err_fd = -1, .in_fd = -1 };
}

size_t
world_write(int fd, const char *data, size_t len)
{
	ssize_t n = fd < 0 ? 0 : __real_write(fd, data, len);

	CHECK(n >= 0 || errno == EAGAIN || errno == EPIPE);
	return n < 0 ? 0 : (size_t)n;
}

int64_t
__wrap_clock_ms(void)
{
	return world.now_ms;
}

bool
__wrap_sig_stopped(void)
{
	return world.stopped;
}

bool
__wrap_sig_seen(void)
{
	return world.stopped;
}

/* Of which each child's pidfd is a duplicate: readable when world.has_ended, once it was told so. */
static int
end_fd(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(fd >= 0);
	return fd;
}

static void
tell_end(void)
{
	eventfd_t ignored;

	(void)eventfd_read(end_fd(), &ignored); /* EAGAIN: nothing to take back */
	if (world.has_ended)
		CHECK(eventfd_write(end_fd(), 1) == 0);
}

/* The same words each time: an input can hold them. */
uint32_t
__wrap_arc4random(void)
{
	return 0x11111111;
}

int
__wrap_sig_poll(struct pollfd *fds, nfds_t n, int64_t timeout_ms)
{
	int ready;

	if (world.step != NULL)
		world.step();
	tell_end();
	ready = (int)TEMP_FAILURE_RETRY(poll(fds, n, 0)); /* libFuzzer has a timer */
	CHECK(ready >= 0);
	if (ready == 0) /* not all of it: the next step may end the wait */
		world.now_ms += timeout_ms < 0 || timeout_ms > STEP_MS ? STEP_MS : timeout_ms;
	return ready;
}

bool
__wrap_limit_sleep(struct limit l, int64_t ms)
{
	int64_t left = limit_left_ms(l);

	world.now_ms += ms < left ? ms : left;
	return ms <= left;
}

/* All that novajob tells people is whole lines of safe text. A character cut off at a limit is known (see run). */
ssize_t
__wrap_write(int fd, const void *data, size_t len)
{
	const char *text = data;

	if (fd != STDERR_FILENO || !world.is_checked)
		return __real_write(fd, data, len);
	CHECK(len > 0 && text[len - 1] == '\n' && memchr(text, '\n', len) == text + len - 1);
	CHECK(fuzz_is_safe(text, len - 1, false, len > 1000));
	return (ssize_t)len;
}

/* A pipe: *ours the program's end, non-blocking as proc.c has it, *theirs the child's. */
static void
make_pipe(int *ours, int *theirs, bool child_writes)
{
	int ends[2];

	CHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
	*ours = ends[child_writes ? 0 : 1];
	*theirs = ends[child_writes ? 1 : 0];
}

bool
__wrap_proc_start(struct proc *p, const struct proc_spec *spec, struct fault *f)
{
	(void)f;
	CHECK(spec->argv->len > 0);
	if (spec->out == PROC_PIPE) { /* another child that is heard; one that is not lives beside it */
		close_child();
		world.has_ended = false;
	}
	*p = (struct proc)PROC_INIT;
	p->pid = 1; /* never used: nobody kills here */
	p->pidfd = fcntl(end_fd(), F_DUPFD_CLOEXEC, 3);
	CHECK(p->pidfd >= 0);
	if (spec->in == PROC_PIPE)
		make_pipe(&p->in_fd, &world.in_fd, false);
	if (spec->out == PROC_PIPE)
		make_pipe(&p->out_fd, &world.out_fd, true);
	if (spec->err == PROC_PIPE)
		make_pipe(&p->err_fd, &world.err_fd, true);
	world.starts++;
	return true;
}

bool
__wrap_proc_reap(struct proc *p, struct proc_result *r)
{
	if (p->pid == 0 || !world.has_ended)
		return false;
	p->pid = 0;
	cleanup_fd(&p->pidfd);
	p->pidfd = -1;
	*r = world.end;
	return true;
}

struct proc_result
__wrap_proc_end(struct proc *p, int64_t grace_ms)
{
	char rest[4096];
	ssize_t n;

	(void)grace_ms;
	while (p->out_fd >= 0 && (n = read(p->out_fd, rest, sizeof(rest))) > 0)
		world.unread += (size_t)n;
	cleanup_fd(&p->in_fd);
	cleanup_fd(&p->out_fd);
	cleanup_fd(&p->err_fd);
	cleanup_fd(&p->pidfd);
	*p = (struct proc)PROC_INIT;
	return world.end;
}

bool
__wrap_proc_run(const struct proc_spec *spec, const char *input, size_t cap_bytes, struct limit limit,
    struct buf *out, struct buf *err, struct proc_result *r, struct fault *f)
{
	(void)spec, (void)input, (void)cap_bytes, (void)limit, (void)f;
	buf_puts(out, world.out == NULL ? "" : world.out);
	buf_puts(err, world.err == NULL ? "" : world.err);
	*r = world.end;
	world.starts++;
	return true;
}
