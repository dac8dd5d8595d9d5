/* SPDX-License-Identifier: MIT */
/*
 * pool_fill.h - keep the pool as the settings want it: one pass makes what is
 * missing, removes what is too old, of another shape or left over, and gives
 * claimed servers their job's name.
 */
#ifndef NOVAJOB_POOL_FILL_H
#define NOVAJOB_POOL_FILL_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "os_client.h"
#include "pool_shape.h"
#include "settings.h"
#include "sig.h"

/* What a fill, or a drain, did; all 0 beforehand. */
struct pool_done {
	bool begun;                    /* it got so far as to look */
	int64_t made, removed, failed; /* servers */
	struct os_cost cost;
};

/*
 * Passes, until nobody has asked for another meanwhile; at once true when another fill is at work, which is told to look
 * again. Where the cloud has no room, or a prepare waits, the rest is left to a later fill: no fault.
 */
bool pool_fill(struct pool_wants *w, struct limit limit, struct pool_done *done, struct fault *f) ATTR_MUST_USE;

/* Delete what is in the pool, and see that it is gone; claimed servers are their jobs'. */
bool pool_drain(const struct settings *st, struct limit limit, struct pool_done *done, struct fault *f) ATTR_MUST_USE;

#endif
