/* SPDX-License-Identifier: MIT */
/*
 * ending.h - the end of a job: all that it owns in the cloud is deleted, its
 * keys are destroyed, and its record says what is left. What cleanup does, and
 * release does for a server that was held.
 */
#ifndef NOVAJOB_ENDING_H
#define NOVAJOB_ENDING_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "jobserver.h"
#include "os_client.h"
#include "record.h"
#include "settings.h"

/* Whose end. All of it is borrowed. */
struct ending {
	const struct settings *st;  /* the job's own */
	const struct settings *now; /* those that hold today */
	const char *key;            /* the job's */
	int64_t id;
	const struct state *state;  /* state->job NULL: there is no directory */
	const struct record *r;     /* as it was when the end began; phase NONE: not known */
	bool has_record;            /* there is one, usable or not, that is to say what is left */
	struct os_cost *cost;       /* what it costs is added to it; NULL: nobody asks */
	enum phase *phase;          /* ending_all: what the record is to say then; NULL: nobody asks */
};

/* What jobserver.h has to know of all servers of the job. Strings borrowed from e. */
void ending_jobserver(const struct ending *e, struct jobserver *mine);

/*
 * Delete servers and floating addresses, proved by lists as far as delete-wait allows; then destroy the keys and leave a
 * tombstone, or what sweep goes on by. False: something resists, or the cloud could not be asked; the record says so.
 */
bool ending_all(const struct ending *e, struct fault *f) ATTR_MUST_USE;

/* Destroy the keys alone; what is left of them is told by log_say. */
void ending_keys(const struct ending *e);

/* The change with which every end begins: from here on a prepare of the same try creates nothing more. */
bool ending_begin(struct record *r, void *arg, struct fault *f);

#endif
