/* SPDX-License-Identifier: MIT */
/*
 * addresses.h - which of a server's addresses to log in at: the setting
 * address. Only numbers are addresses here: nothing is ever looked up.
 */
#ifndef NOVAJOB_ADDRESSES_H
#define NOVAJOB_ADDRESSES_H

#include <stdbool.h>

#include "strv.h"

/* Is it an IPv4 or IPv6 address? */
bool addresses_is_one(const char *s);

/* The words the setting may be, instead of a network; with commas between. */
#define ADDRESSES_WORDS "auto,fixed,floating,4,6"

/* Is it a value of the setting: one of these words, or a network "10.0.0.0/8", "fd00::/8"? */
bool addresses_ok(const char *which);

/*
 * Keep of the list what the setting asks for, in its order; returns how many were dropped. floating: the floating
 * address, NULL when there is none; it need not be in the list, and comes first. "auto" is that one, or else all.
 */
size_t addresses_choose(struct strv *list, const char *which, const char *floating);

#endif
