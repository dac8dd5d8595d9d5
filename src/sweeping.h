/* SPDX-License-Identifier: MIT */
/*
 * sweeping.h - may this server, or floating address, go? The rules of
 * design.md §3 ("alive"), apart from the command that carries them out, in one
 * table.
 */
#ifndef NOVAJOB_SWEEPING_H
#define NOVAJOB_SWEEPING_H

#include <stdbool.h>
#include <stdint.h>

#include "openstack.h"
#include "record.h"

struct sweeping {
	bool go;            /* delete it */
	bool leaked;        /* no cleanup had seen to it */
	const char *reason; /* why, or why not: one phrase */
};

/* A server or a floating address of our owner. */
struct sweepable {
	const char *try;  /* borrowed; "" when it does not say */
	int64_t expires;  /* UNIX time; 0 when it does not say */
};

/*
 * Judge it. r: this host's record of its job, phase NONE when there is none. now: UNIX time; grace_s: seconds that what
 * is other hosts' gets beyond its expiry. clock_ok: false = nothing is judged by time.
 */
struct sweeping sweeping_judge(struct sweepable s, const struct record *r, int64_t now, int64_t grace_s, bool clock_ok);

/*
 * Does the clock agree with what the cloud tells? Not when a server was created in our future, or when a token that the
 * cloud gave us just now has ended (5 min allowed).
 */
bool sweeping_clock_ok(const struct os_servers *list, int64_t token_expires, int64_t now);

#endif
