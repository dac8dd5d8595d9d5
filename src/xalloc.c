/* SPDX-License-Identifier: MIT */
/* xalloc.c - allocation that does not fail; see xalloc.h. */
#include "xalloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

static void *
not_null(void *p)
{
	if (p == NULL) {
		log_section_end(); /* it allocates nothing */
		(void)fputs("novajob: out of memory\n", stderr);
		_exit(2);
	}
	return p;
}

void *
xcalloc(size_t n, size_t size)
{
	return not_null(calloc(n, size));
}

void *
xreallocarray(void *p, size_t n, size_t size)
{
	return not_null(reallocarray(p, n, size));
}

char *
xstrdup(const char *s)
{
	return s == NULL ? NULL : not_null(strdup(s));
}

char *
xstrndup(const char *s, size_t n)
{
	return not_null(strndup(s, n));
}

char *
xvasprintf(const char *fmt, va_list ap)
{
	char *s = NULL;

	return not_null(vasprintf(&s, fmt, ap) < 0 ? NULL : s);
}

char *
xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = xvasprintf(fmt, ap);
	va_end(ap);
	return s;
}
