/* SPDX-License-Identifier: MIT */
/* sig.c - "please stop" as a state, and limits; see sig.h. */
#include "sig.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "clock.h"

#define MAX_POLL 8

static int signal_fd = -1;
static int64_t stop_at_ms = -1; /* when the first stop came; -1 = none */

bool
sig_init(struct fault *f)
{
	sigset_t set;
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	struct sigaction ign = { .sa_handler = SIG_IGN };

	(void)sigemptyset(&set); /* these cannot fail for valid signals */
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGQUIT);
	if (sigaction(SIGCHLD, &dfl, NULL) != 0 || sigaction(SIGPIPE, &ign, NULL) != 0 ||
	    sigaction(SIGXFSZ, &ign, NULL) != 0 || /* a file that may not grow: the write says so */
	    sigprocmask(SIG_SETMASK, &set, NULL) != 0)
		return fault_errno(f, FAULT_LOCAL, "cannot set up signals");
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd < 0)
		return fault_errno(f, FAULT_LOCAL, "cannot open a signalfd");
	return true;
}

void
sig_stop_self(void)
{
	if (stop_at_ms < 0)
		stop_at_ms = clock_ms();
}

bool
sig_stopped(void)
{
	struct signalfd_siginfo info;

	while (signal_fd >= 0 && read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		sig_stop_self();
	return stop_at_ms >= 0;
}

bool
sig_seen(void)
{
	return stop_at_ms >= 0;
}

int
sig_poll(struct pollfd *fds, nfds_t n, int64_t timeout_ms)
{
	struct pollfd all[MAX_POLL + 1];
	struct timespec ts = { .tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000 };
	int ready;

	if (n > MAX_POLL)
		abort(); /* our own bug */
	for (nfds_t i = 0; i < n; i++)
		all[i] = fds[i];
	all[n] = (struct pollfd){ .fd = signal_fd, .events = POLLIN };
	ready = ppoll(all, n + 1, timeout_ms < 0 ? NULL : &ts, NULL);
	if (ready < 0 && errno != EINTR) {
		perror("novajob: cannot wait (ppoll)");
		_exit(2);
	}
	if (ready <= 0)
		memset(all, 0, sizeof(all));
	for (nfds_t i = 0; i < n; i++)
		fds[i].revents = all[i].revents;
	if (ready <= 0)
		return 0;
	if (all[n].revents != 0) {
		(void)sig_stopped(); /* takes the signals in */
		ready--;
	}
	return ready;
}

struct limit
limit_in(int64_t ms, int64_t after_stop_ms)
{
	return (struct limit){ .at_ms = clock_ms() + ms, .after_stop_ms = after_stop_ms };
}

struct limit
limit_min(struct limit l, int64_t ms)
{
	int64_t at = clock_ms() + ms;

	if (at < l.at_ms)
		l.at_ms = at;
	return l;
}

int64_t
limit_left_ms(struct limit l)
{
	int64_t at = l.at_ms;
	int64_t left;

	if (sig_stopped() && stop_at_ms + l.after_stop_ms < at)
		at = stop_at_ms + l.after_stop_ms;
	left = at - clock_ms();
	return left < 0 ? 0 : left;
}

bool
limit_over(struct limit l)
{
	return limit_left_ms(l) == 0;
}

bool
limit_sleep(struct limit l, int64_t ms)
{
	int64_t until = clock_ms() + ms;

	for (;;) {
		int64_t rest = until - clock_ms();
		int64_t left = limit_left_ms(l);

		if (rest <= 0)
			return true;
		if (left == 0)
			return false;
		(void)sig_poll(NULL, 0, rest < left ? rest : left); /* no descriptors: nothing to be told */
	}
}

bool
limit_fault(struct fault *f, enum fault_class class, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (sig_stopped())
		return fault_set(f, FAULT_STOPPED, "stopped by the runner (cancel or time-out)");
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* cut on purpose */
	va_end(ap);
	return fault_set(f, class, "%s", text);
}
