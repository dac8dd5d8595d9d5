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
xasprintf(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	return not_null(s);
}
