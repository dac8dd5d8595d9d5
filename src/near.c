/* SPDX-License-Identifier: MIT */
/* near.c - "did you mean"; see near.h. */
#include "near.h"

#include <string.h>

#define MAX_WORD 64
#define MAX_EDITS 2

static size_t
least(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

/* Levenshtein's distance: characters to insert, delete or replace. Both shorter than MAX_WORD. */
static size_t
edits(const char *a, const char *b)
{
	size_t row[MAX_WORD + 1];
	size_t n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 0; a[i] != '\0'; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < n; j++) {
			size_t above = row[j + 1];

			row[j + 1] = least(above + 1, row[j] + 1, diagonal + (a[i] != b[j]));
			diagonal = above;
		}
	}
	return row[n];
}

void
near_offer(struct near *n, const char *known)
{
	size_t distance;

	if (strlen(n->typed) >= MAX_WORD || strlen(known) >= MAX_WORD)
		return;
	distance = edits(n->typed, known);
	if (distance > MAX_EDITS || distance * 2 > strlen(known))
		return;
	if (n->best == NULL || distance < n->distance) {
		n->best = known;
		n->distance = distance;
	}
}
