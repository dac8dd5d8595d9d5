/* SPDX-License-Identifier: MIT */
/* pace.c - when to look next at what is under way; see pace.h. */
#include "pace.h"

#define MIN_MS   100  /* between two looks while it is due */
#define MAX_MS   1000 /* the same when it is late, or nobody knows */
#define EARLY_MS 2000 /* the same when it cannot be ready yet: it may have failed */

static int64_t
within(int64_t v, int64_t least, int64_t most)
{
	return v < least ? least : v > most ? most : v;
}

int64_t
pace_pause(struct names_span due, int64_t elapsed)
{
	int64_t early = due.early - due.early / 16, late = due.late + due.late / 8;

	if (elapsed < early)
		return within(early - elapsed, 1, EARLY_MS);
	if (elapsed < late)
		return within((late - early) / 20, MIN_MS, MAX_MS);
	return within((elapsed - late) / 8, MIN_MS, MAX_MS);
}
