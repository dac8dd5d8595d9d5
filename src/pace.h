/* SPDX-License-Identifier: MIT */
/*
 * pace.h - when to look next at something that is under way in the cloud, so
 * that few looks see its end soon: each is a request, and an answer to wait for.
 */
#ifndef NOVAJOB_PACE_H
#define NOVAJOB_PACE_H

#include <stdint.h>

#include "names.h"

/*
 * Milliseconds until the next look, `elapsed` milliseconds after it began. due: how long it took lately. Seldom before
 * that, some twenty looks while it is due, and later, or where nothing is known, the rarer the longer it takes.
 */
int64_t pace_pause(struct names_span due, int64_t elapsed);

#endif
