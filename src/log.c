/* SPDX-License-Identifier: MIT */
/* log.c - what novajob says to people; see log.h. */
#include "log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "secret.h"
#include "text.h"

#define READER_MS 5000

static int verbosity;

void
log_set_verbosity(int level)
{
	verbosity = level;
}

int
log_verbosity(void)
{
	return verbosity;
}

/*
 * Is there room in stderr? Its pipe is the runner's, too, so it stays as it is and blocks: poll tells of PIPE_BUF bytes.
 * A reader that stands still is waited for, but not for ever: what it does not take by then is lost.
 */
static bool
has_room(void)
{
	static int64_t left_ms = READER_MS; /* of all waits of this process */
	struct pollfd fd = { .fd = STDERR_FILENO, .events = POLLOUT };
	int64_t began = clock_ms();
	int n;

	while ((n = poll(&fd, 1, (int)left_ms)) < 0 && errno == EINTR)
		;
	left_ms -= clock_ms() - began;
	left_ms = left_ms < 0 ? 0 : left_ms;
	return n > 0;
}

/* A log that cannot be written to must not stop the work: cleanup goes on without a reader. */
static void
write_line(const char *line, size_t len)
{
	while (len > 0 && has_room()) {
		ssize_t n = write(STDERR_FILENO, line, len < PIPE_BUF ? len : PIPE_BUF);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		line += n;
		len -= (size_t)n;
	}
}

static void ATTR_PRINTF(2, 0)
line(const char *prefix, const char *fmt, va_list ap)
{
	char raw[4096];
	char safe[4096];
	char out[4096 + 64];
	auto_free char *hidden = NULL;
	int n;

	(void)vsnprintf(raw, sizeof(raw), fmt, ap); /* cut on purpose */
	hidden = secret_hide(raw);
	text_one_line(safe, sizeof(safe), hidden);
	n = snprintf(out, sizeof(out), "%s%s\n", prefix, safe);
	if (n > 0)
		write_line(out, (size_t)n);
}

void
log_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line("novajob: ", fmt, ap);
	va_end(ap);
}

void
log_debug(const char *fmt, ...)
{
	va_list ap;

	if (verbosity < 1)
		return;
	va_start(ap, fmt);
	line("novajob: debug: ", fmt, ap);
	va_end(ap);
}

static void
lines(const char *prefix, const char *text, size_t len)
{
	auto_free char *safe = text_safe(text, len);
	auto_free char *hidden = secret_hide(safe);

	for (char *at = hidden; *at != '\0';) {
		size_t n = strcspn(at, "\n");
		char out[1200];
		int used = snprintf(out, sizeof(out) - 1, "%s%.*s", prefix, n > 1000 ? 1000 : (int)n, at);

		if (used > 0) {
			out[used] = '\n';
			write_line(out, (size_t)used + 1);
		}
		at += n + (at[n] == '\n');
	}
}

void
log_quote(const char *text, size_t len)
{
	lines("novajob: | ", text, len);
}

void
log_raw(const char *text, size_t len)
{
	lines("", text, len);
}

void
log_fault(struct fault *f)
{
	if (f->said)
		return;
	f->said = true;
	log_say("error: %s", f->text);
	if (f->hint[0] != '\0')
		log_say("hint: %s", f->hint);
}
