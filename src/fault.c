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

bool
fault_is_operators(const struct fault *f)
{
	return f->class == FAULT_USAGE || f->class == FAULT_SETTING || f->class == FAULT_LOCAL;
}

const char *
fault_advice(const struct fault *f)
{
	switch (f->class) {
	case FAULT_USAGE:
	case FAULT_SETTING:
		return "the runner is not set up as it should be: its operator has to look at this";
	case FAULT_LOCAL:
		return "the runner's host is in trouble, not the job: tell its operator";
	case FAULT_WISH:
		return "change it in .gitlab-ci.yml or in the job's variables, or ask the runner's operator to allow it";
	case FAULT_TRANSIENT:
		return "the cloud's trouble, not the job's: it may have passed when the job is retried";
	case FAULT_BUSY:
		return "a retry of the job may find room; if not, tell the runner's operator";
	case FAULT_CLOUD:
	case FAULT_MISSING:
		return "the cloud's trouble, not the job's: retry it, and tell the runner's operator if it comes again";
	case FAULT_SSH:
		return "no script's fault: a retry of the job gets a new server";
	case FAULT_NONE:
	case FAULT_STOPPED:
	case FAULT_LEFT:
	case FAULT_BUILD:
	case FAULT_COUNT:
		break;
	}
	return NULL;
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
