/* SPDX-License-Identifier: MIT */
/*
 * buf.h - a byte buffer that grows. It always has a NUL behind its last byte,
 * so data is a C string where the content has none.
 */
#ifndef NOVAJOB_BUF_H
#define NOVAJOB_BUF_H

#include <stddef.h>

#include "util.h"

struct buf {
	char *data; /* owned; never NULL once something was added */
	size_t len; /* bytes used */
	size_t cap; /* bytes allocated */
};

#define BUF_INIT { .data = NULL, .len = 0, .cap = 0 }
#define auto_buf __attribute__((cleanup(buf_free)))

/* Append len bytes. */
void buf_add(struct buf *b, const void *data, size_t len);

/* Append a C string. */
void buf_puts(struct buf *b, const char *s);

/* Append formatted text. */
void buf_printf(struct buf *b, const char *fmt, ...) ATTR_PRINTF(2, 3);

/* Room for at least n more bytes and the NUL; returns where they go. The caller adds to len. */
char *buf_room(struct buf *b, size_t n) __attribute__((returns_nonnull));

/* Drop the first n bytes. */
void buf_drop(struct buf *b, size_t n);

/* Empty it; the memory stays. */
void buf_clear(struct buf *b);

/* The content as a string: borrowed until the next change; "" when empty. */
const char *buf_str(const struct buf *b) __attribute__((returns_nonnull));

/* The content as a string that is the caller's; b is empty afterwards. */
char *buf_steal(struct buf *b) __attribute__((returns_nonnull));

/* Free the content (wiped first: it may hold secrets); b is as after BUF_INIT. */
void buf_free(struct buf *b);

#endif
