/* SPDX-License-Identifier: MIT */
/*
 * xalloc.h - allocation that does not fail: out of memory ends the program
 * with the system-failure code (2), which the runner reads as its own trouble.
 * What these return is the caller's, to be given to free(3).
 */
#ifndef NOVAJOB_XALLOC_H
#define NOVAJOB_XALLOC_H

#include <stdarg.h>
#include <stddef.h>

#include "util.h"

/* n objects of size bytes, zeroed. */
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));

/* p grown or shrunk to n objects of size bytes (reallocarray(3)); new bytes are not zeroed. */
void *xreallocarray(void *p, size_t n, size_t size) __attribute__((returns_nonnull));

/* A copy of s; NULL stays NULL. */
char *xstrdup(const char *s);

/* A copy of the first n bytes of s, or fewer where s ends before, with a NUL behind. */
char *xstrndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));

/* asprintf(3). */
char *xasprintf(const char *fmt, ...) ATTR_PRINTF(1, 2) __attribute__((malloc, returns_nonnull));
char *xvasprintf(const char *fmt, va_list ap) ATTR_PRINTF(1, 0) __attribute__((malloc, returns_nonnull));

#endif
