/* SPDX-License-Identifier: MIT */
/*
 * text.h - text from outside made safe to print: server names, console logs,
 * the stderr of tools. Job output never passes here.
 */
#ifndef NOVAJOB_TEXT_H
#define NOVAJOB_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Copy s to out (size bytes, NUL included) as one line: newlines become blanks, runs of blanks one,
 * control characters and broken UTF-8 vis(3) escapes. Cut at the size. out and s must not overlap.
 */
void text_one_line(char *out, size_t size, const char *s);

/* Where to cut well-formed s so that at most len bytes are left, and no UTF-8 character is cut in half. */
size_t text_cut(const char *s, size_t len);

/* s (len bytes, may hold NUL) with everything but printable ASCII, UTF-8 and newline escaped; the caller's. */
char *text_safe(const char *s, size_t len);

/* Is every byte of s one of `allowed`? An empty s is. */
bool text_only(const char *s, const char *allowed);

/* The last `lines` lines of s: a pointer into s. */
const char *text_tail(const char *s, size_t lines);

#endif
