/* SPDX-License-Identifier: MIT */
/*
 * choices.h - second choices: flavor, network and availability zone may be
 * lists; where one has no room the next is tried. The zone changes first, then
 * the network, the flavor last: a smaller server is the last resort.
 */
#ifndef NOVAJOB_CHOICES_H
#define NOVAJOB_CHOICES_H

#include <stdbool.h>
#include <stddef.h>

#include "settings.h"
#include "strv.h"

struct choices {
	struct strv flavors, networks, zones; /* networks: each "a" or "a + b", attached together */
	size_t at;                            /* which combination */
};

#define CHOICES_INIT { .flavors = STRV_INIT, .networks = STRV_INIT, .zones = STRV_INIT, .at = 0 }

/* From the settings; the first combination. */
void choices_init(struct choices *c, const struct settings *st);

/* To the next combination. False: that was the last one; it is the first again. */
bool choices_next(struct choices *c);

/* Of the combination: the flavor; "" for a network or zone that is not set. Borrowed. */
const char *choices_flavor(const struct choices *c);
const char *choices_network(const struct choices *c);
const char *choices_zone(const struct choices *c);

/* The networks of the combination, one by one, appended to out. */
void choices_networks(const struct choices *c, struct strv *out);

/* The same of one entry, "a + b". */
void choices_split_networks(const char *entry, struct strv *out);

/* "flavor m1.small, network a + b, zone z", for people; the caller's. */
char *choices_text(const struct choices *c);

void choices_free(struct choices *c);

#endif
