/* SPDX-License-Identifier: MIT */
/*
 * floating.h - floating addresses: one for a job's server, and where they are
 * left. Neutron keeps no properties for them, so the description says whose it
 * is: "novajob:OWNER:KEY:TRY:EXPIRES". Nothing without it is ever touched.
 */
#ifndef NOVAJOB_FLOATING_H
#define NOVAJOB_FLOATING_H

#include <stdbool.h>
#include <stdint.h>

#include "building.h"
#include "fault.h"
#include "job.h"
#include "jobserver.h"
#include "openstack.h"
#include "record.h"

/* What a description says. */
struct floating_tag {
	char key[JOB_KEY_MAX]; /* of the job; "" when it makes no sense */
	char try[TRY_SIZE];    /* the same */
	int64_t expires;       /* UNIX time; 0 when it makes no sense */
};

/* The description of a job's address; the caller's. expires: UNIX time. */
char *floating_description(const char *owner, const char *key, const char *try, int64_t expires);

/* Is it a description of this owner? Then *tag says whose. */
bool floating_parse(const char *description, const char *owner, struct floating_tag *tag);

/*
 * Allocate an address of floating-network, exactly one in effect, and attach it to the ACTIVE server; wait, up to
 * busy-timeout, while quota or addresses are used up. b->floating, b->allocated and record.addresses are filled:
 * what the setting address asks for. On failure undoing is the caller's (floating_release).
 */
bool floating_add(struct building *b, struct fault *f) ATTR_MUST_USE;

/* The addresses of an owner, whatever their job. */
bool floating_list(struct os_client *c, const char *owner, struct limit limit, struct os_floatings *list,
    struct fault *f) ATTR_MUST_USE;

/*
 * Release all addresses of the job; a list proves it. until_unix, j->awaited and j->seen: as for jobserver_delete.
 * LEFT_NOTHING or LEFT_RESISTING.
 */
enum jobserver_left floating_release(struct os_client *c, const struct jobserver *j, int64_t until_unix,
    struct limit limit, struct fault *f);

#endif
