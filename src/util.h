/* SPDX-License-Identifier: MIT */
/*
 * util.h - the few macros everybody uses: array lengths and owning locals.
 * An owning local starts as NULL or -1 and is released when it goes out of
 * scope; steal_ptr and steal_fd hand it over.
 */
#ifndef NOVAJOB_UTIL_H
#define NOVAJOB_UTIL_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define ATTR_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define ATTR_MUST_USE __attribute__((warn_unused_result))

static inline void
cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void
cleanup_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* nothing was written through an owning local unchecked */
}

static inline void
cleanup_file(FILE **f)
{
	if (*f != NULL)
		(void)fclose(*f); /* only read from; writers close by hand and check */
}

static inline void
cleanup_dir(DIR **d)
{
	if (*d != NULL)
		(void)closedir(*d); /* only read from */
}

#define auto_free __attribute__((cleanup(cleanup_free)))
#define auto_fd   __attribute__((cleanup(cleanup_fd)))
#define auto_file __attribute__((cleanup(cleanup_file)))
#define auto_dir  __attribute__((cleanup(cleanup_dir)))

/* Give away what an owning local holds: the local becomes NULL, the value is the caller's. */
#define steal_ptr(p)                   \
	__extension__({                \
		__typeof__(*(p)) *at_ = (p); \
		__typeof__(*(p)) v_ = *at_;  \
		*at_ = NULL;           \
		v_;                    \
	})

/* The same for a descriptor: the local becomes -1. */
static inline int
steal_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

#endif
