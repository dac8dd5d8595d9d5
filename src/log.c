/* SPDX-License-Identifier: MIT */
/* log.c - what novajob says to people; see log.h. */
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"
#include "secret.h"
#include "text.h"

#define READER_MS  5000
#define LINE_BYTES 4096

/* Colours as the runner has them; each begins with a reset: what a script has left switched on ends there. */
#define RESET  "\033[0;m"
#define RED    "\033[0;31;1m"
#define GREEN  "\033[0;32;1m"
#define YELLOW "\033[0;33m"
#define CYAN   "\033[0;36m"
#define HEADER "\033[0;36;1m"
#define MARKER_END "\r\033[0K"

static const struct {
	const char *prefix;
	const char *colour;
	bool waits; /* for the end of an open section */
	bool ends;  /* an open section */
} kinds[] = {
	[LOG_SAY] = { "novajob: ", RESET, false, false },
	[LOG_NOTE] = { "novajob: ", RESET, true, false },
	[LOG_WARN] = { "novajob: warning: ", YELLOW, true, false },
	[LOG_WAIT] = { "novajob: ", RESET, false, true },
	[LOG_DONE] = { "novajob: ", GREEN, false, true },
	[LOG_DEBUG] = { "novajob: debug: ", RESET, false, false },
	[LOG_ERROR] = { "novajob: error: ", RED, false, true },
	[LOG_HINT] = { "novajob: hint: ", CYAN, false, true },
};

static struct {
	int verbosity;
	enum log_reader reader;
	char section[80]; /* the name of the open one; "" = none */
	struct buf waiting; /* lines */
} state;

void
log_set_verbosity(int level)
{
	state.verbosity = level;
}

int
log_verbosity(void)
{
	return state.verbosity;
}

void
log_set_reader(enum log_reader reader)
{
	state.reader = reader;
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

/* ---- lines */

/* marker: of a section, or "". */
static void ATTR_PRINTF(3, 0)
line(enum log_kind kind, const char *marker, const char *fmt, va_list ap)
{
	char raw[LINE_BYTES];
	char safe[LINE_BYTES];
	char out[LINE_BYTES + 256];
	auto_free char *hidden = NULL;
	int n;

	(void)vsnprintf(raw, sizeof(raw), fmt, ap); /* cut on purpose */
	hidden = secret_hide(raw);
	text_one_line(safe, sizeof(safe), hidden);
	if (state.reader == LOG_FOR_GITLAB)
		n = snprintf(out, sizeof(out), "%s%s%s%s" RESET "\n", marker, marker[0] == '\0' ? kinds[kind].colour : HEADER,
		    kinds[kind].prefix, safe);
	else
		n = snprintf(out, sizeof(out), "%s%s\n", kinds[kind].prefix, safe);
	if (n > 0 && kinds[kind].waits && state.section[0] != '\0')
		buf_add(&state.waiting, out, (size_t)n);
	else if (n > 0)
		write_line(out, (size_t)n);
}

void
log_line(enum log_kind kind, const char *fmt, ...)
{
	va_list ap;

	if (kind == LOG_DEBUG && state.verbosity < 1)
		return;
	if (kinds[kind].ends)
		log_section_end();
	va_start(ap, fmt);
	line(kind, "", fmt, ap);
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
		int used = snprintf(out, sizeof(out) - 1, "%s%s%.*s", state.reader == LOG_FOR_GITLAB ? RESET : "", prefix, n > 1000 ? 1000 : (int)n, at);

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
	log_line(LOG_ERROR, "%s", f->text);
	if (f->hint[0] != '\0')
		log_line(LOG_HINT, "%s%s", f->hint, state.reader != LOG_FOR_OPERATOR && fault_is_operators(f) ?
		    " (for the runner's operator)" : "");
	else if (state.reader != LOG_FOR_OPERATOR && fault_advice(f) != NULL)
		log_line(LOG_HINT, "%s", fault_advice(f));
}

/* ---- sections */

void
log_section(const char *name, const char *word, const char *fmt, ...)
{
	char marker[160] = "";
	va_list ap;

	log_section_end();
	if (state.reader == LOG_FOR_GITLAB) {
		(void)snprintf(state.section, sizeof(state.section), "novajob_%s_%s", name, word); /* fits, as the next */
		(void)snprintf(marker, sizeof(marker), "section_start:%" PRId64 ":%s[collapsed=true]" MARKER_END, clock_unix(),
		    state.section);
	}
	va_start(ap, fmt);
	line(LOG_SAY, marker, fmt, ap);
	va_end(ap);
}

/* GitLab takes the empty line that is left for none. */
static void
write_end(const char *section)
{
	char out[160];
	int n = snprintf(out, sizeof(out), "section_end:%" PRId64 ":%s" MARKER_END RESET "\n", clock_unix(), section);

	write_line(out, (size_t)n); /* fits */
}

void
log_section_end(void)
{
	if (state.section[0] == '\0')
		return;
	write_end(state.section);
	state.section[0] = '\0';
	write_line(buf_str(&state.waiting), state.waiting.len);
	buf_free(&state.waiting);
}

void
log_section_end_of(const char *name, const char *word)
{
	char section[sizeof(state.section)];

	(void)snprintf(section, sizeof(section), "novajob_%s_%s", name, word); /* fits */
	if (state.reader == LOG_FOR_GITLAB)
		write_end(section);
}
