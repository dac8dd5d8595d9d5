/* SPDX-License-Identifier: MIT */
/*
 * slots.h - how many openstack processes live at once on this host: one
 * locked file per process in STATE/slots (design.md §5). The kernel gives a
 * slot back when its holder dies. Slot 0 is for cleanup, sweep and run's one
 * look at a lost server, so that a full queue of prepares never keeps a server
 * from being deleted, or a lost one from being told apart in time. The others
 * go to whoever has waited longest: each who waits has a locked file in
 * STATE/slots/queue.d, named by when it came, and takes no slot before its turn.
 */
#ifndef NOVAJOB_SLOTS_H
#define NOVAJOB_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "sig.h"

struct slots {
	const char *state_dir; /* borrowed; NULL: no limit */
	int64_t count;         /* slots on this host, the reserved one among them */
	bool urgent;           /* may take the reserved one */
	int64_t waited_ms;     /* for slots, so far */
	int held;              /* the descriptor of the slot that is held, -1 = none */
};

#define SLOTS_INIT { .state_dir = NULL, .held = -1 }

/*
 * Get a slot; at once when one is held already, or where slots cannot be counted (no state directory: the work goes on
 * without a bound). Waits for one within limit, with a line in the log every 30 s. False: the limit, or a stop.
 */
bool slots_take(struct slots *s, struct limit limit, struct fault *f) ATTR_MUST_USE;

/* Give it back. */
void slots_give(struct slots *s);

/* Does somebody wait for a slot? Then who can do without its process for a while should. */
bool slots_wanted(const struct slots *s);

#endif
