/* SPDX-License-Identifier: MIT */
/* log.c - what novajob says to people; see log.h. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

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

/* A log that cannot be written to must not stop the work: cleanup goes on without a reader. */
static void
write_line(const char *line, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, line, len);

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
	int n;

	(void)vsnprintf(raw, sizeof(raw), fmt, ap); /* cut on purpose */
	text_one_line(safe, sizeof(safe), raw);
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

	for (char *at = safe; *at != '\0';) {
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
