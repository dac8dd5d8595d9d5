/* SPDX-License-Identifier: MIT */
/* fault.c - the error value; see fault.h. */
#include "fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "secret.h"
#include "text.h"

/* Format into f->text, as one printable line. */
static void ATTR_PRINTF(2, 0)
fill(struct fault *f, const char *fmt, va_list ap)
{
	char raw[sizeof(f->text)];
	auto_free char *hidden = NULL;

	(void)vsnprintf(raw, sizeof(raw), fmt, ap); /* cut on purpose: text is bounded */
	hidden = secret_hide(raw);
	text_one_line(f->text, sizeof(f->text), hidden);
}

/* A new fault. */
static void ATTR_PRINTF(3, 0)
begin(struct fault *f, enum fault_class class, const char *fmt, va_list ap)
{
	fault_clear(f);
	f->class = class;
	fill(f, fmt, ap);
}

bool
fault_set(struct fault *f, enum fault_class class, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	begin(f, class, fmt, ap);
	va_end(ap);
	return false;
}

bool
fault_errno(struct fault *f, enum fault_class class, const char *fmt, ...)
{
	int saved = errno;
	size_t used;
	va_list ap;

	va_start(ap, fmt);
	begin(f, class, fmt, ap);
	va_end(ap);
	used = strlen(f->text);
	(void)snprintf(f->text + used, sizeof(f->text) - used, ": %s", strerror(saved));
	errno = saved;
	return false;
}

bool
fault_wrap(struct fault *f, const char *fmt, ...)
{
	char old[sizeof(f->text)];
	size_t used;
	va_list ap;

	(void)strlcpy(old, f->text, sizeof(old)); /* same size: never cut */
	va_start(ap, fmt);
	fill(f, fmt, ap);
	va_end(ap);
	used = strlen(f->text);
	(void)snprintf(f->text + used, sizeof(f->text) - used, ": %s", old);
	return false;
}

bool
fault_hint(struct fault *f, const char *fmt, ...)
{
	char raw[sizeof(f->hint)];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(raw, sizeof(raw), fmt, ap); /* cut on purpose */
	va_end(ap);
	text_one_line(f->hint, sizeof(f->hint), raw);
	return false;
}

void
fault_clear(struct fault *f)
{
	f->class = FAULT_NONE;
	f->said = false;
	f->text[0] = '\0';
	f->hint[0] = '\0';
}

/* Each class: its name, and its exit codes where they are not 2. */
static const struct {
	const char *name;
	int in_stage, outside;
} classes[FAULT_COUNT] = {
	[FAULT_NONE] = { "none", 0, 0 }, /* a failure that forgot to say so */
	[FAULT_USAGE] = { "usage", 0, EX_USAGE },
	[FAULT_SETTING] = { "setting", 0, 0 },
	[FAULT_WISH] = { "wish", 1, 1 },
	[FAULT_LOCAL] = { "local", 0, 0 },
	[FAULT_TRANSIENT] = { "transient", 0, 0 },
	[FAULT_BUSY] = { "busy", 0, 0 },
	[FAULT_CLOUD] = { "cloud", 0, 0 },
	[FAULT_MISSING] = { "missing", 0, 0 },
	[FAULT_SSH] = { "ssh", 0, 0 },
	[FAULT_STOPPED] = { "stopped", 0, 0 },
	[FAULT_LEFT] = { "left", 0, 3 },
	[FAULT_BUILD] = { "build", 1, 1 },
};

int
fault_exit_code(const struct fault *f, bool in_stage)
{
	int code = in_stage ? classes[f->class].in_stage : classes[f->class].outside;

	return code == 0 ? 2 : code; /* never a success */
}

const char *
fault_class_name(enum fault_class class)
{
	return classes[class].name;
}
