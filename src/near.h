/* SPDX-License-Identifier: MIT */
/*
 * near.h - "did you mean": which known word is nearest to a mistyped one.
 * Feed it all known words; it keeps the best.
 */
#ifndef NOVAJOB_NEAR_H
#define NOVAJOB_NEAR_H

#include <stddef.h>

struct near {
	const char *typed; /* the unknown word; borrowed */
	const char *best;  /* the nearest known word so far that is near at all, or NULL; borrowed */
	size_t distance;   /* edits from typed to best */
};

#define NEAR_INIT(word) { .typed = (word), .best = NULL, .distance = 0 }

/* Offer one known word (at most 63 bytes; a longer one is passed over). It is near with at most two edits, and fewer
 * than half its letters changed. */
void near_offer(struct near *n, const char *known);

#endif
