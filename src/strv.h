/* SPDX-License-Identifier: MIT */
/*
 * strv.h - a NULL-terminated vector of strings, as exec wants argv and envp.
 */
#ifndef NOVAJOB_STRV_H
#define NOVAJOB_STRV_H

#include <stdbool.h>
#include <stddef.h>

#include "util.h"

struct strv {
	char **v;   /* owned, as are the strings; NULL while empty */
	size_t len; /* strings, the closing NULL not counted */
};

#define STRV_INIT { .v = NULL, .len = 0 }
#define auto_strv __attribute__((cleanup(strv_free)))

/* Append a copy of s. */
void strv_add(struct strv *sv, const char *s);

/* Append formatted text. */
void strv_addf(struct strv *sv, const char *fmt, ...) ATTR_PRINTF(2, 3);

/* Append copies of all of a NULL-ended list. */
void strv_add_all(struct strv *sv, const char *const *list);

/* Is s among them? */
bool strv_has(const struct strv *sv, const char *s);

/* The strings as one line for people, each shell-quoted where it needs it; the caller's. */
char *strv_quoted(const struct strv *sv);

/* Split s at commas, blanks around each part dropped, empty parts too. */
void strv_split(struct strv *sv, const char *s);

/* Free all; sv is as after STRV_INIT. */
void strv_free(struct strv *sv);

#endif
