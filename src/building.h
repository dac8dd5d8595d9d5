/* SPDX-License-Identifier: MIT */
/*
 * building.h - one server from the first create call to ACTIVE with an
 * address: intents in the record, exactly one server in effect, waiting while
 * the cloud is full. Used by prepare; undoing is the caller's.
 */
#ifndef NOVAJOB_BUILDING_H
#define NOVAJOB_BUILDING_H

#include <stdbool.h>
#include <stdint.h>

#include "choices.h"
#include "fault.h"
#include "job.h"
#include "jobserver.h"
#include "names.h"
#include "openstack.h"
#include "record.h"
#include "settings.h"
#include "sig.h"

#define BUILDING_STILL_MS 30000 /* so often a line in the job log says that a wait goes on */

/* What is waited for while the cloud is full. */
enum building_wait_for {
	WAIT_QUOTA,
	WAIT_ROOM,     /* for the flavor, on any host */
	WAIT_REQUESTS, /* the cloud's limit of them */
	WAIT_ADDRESS,  /* of the network, or a floating one */
	WAIT_COUNT,
};

/* A prepare at work. */
struct building {
	const struct settings *st;
	const struct job *job;
	struct jobserver mine; /* of this try only */
	struct state state;
	struct record record;  /* what this process knows; the file has its own copy */
	struct os_client c;
	struct limit limit;    /* of the whole prepare */
	char try[TRY_SIZE];
	bool created;          /* a server of this try may exist */
	bool allocated;        /* a floating address of this try may exist */
	char *floating;        /* that address; NULL until known */
	struct strv discarded; /* ids of servers of this try that failed and are being deleted */
	struct choices choices; /* where in the lists of flavors, networks, zones it is */
	struct names names;    /* what is known without asking; may be empty */
	char *image_id;
	bool believed;         /* image_id, or another id of the create, is from the cache, not from the cloud */
	char *user_data;       /* a file, or NULL */
	int64_t started_ms;    /* when prepare began */
	int64_t waited_ms[WAIT_COUNT];
	const char *pool;      /* the server is for the pool of this name (pool.h); NULL: for a job */
	/* Asked before each wait for quota: true = there is a server now, by another way. NULL: there is none. why: what is full */
	bool (*other_way)(struct building *b, const struct fault *why);
};

/* What the server of the current choice is asked for with. */
struct building_wish {
	struct os_wish wish;
	struct strv networks, security_groups, properties;
	char host[256], project[256];
};

/* Find the image of the settings: b->image_id. */
bool building_image(struct building *b, struct limit limit, struct fault *f) ATTR_MUST_USE;

/* Fill *w, whose strings are borrowed from b and from *w itself; free it with building_wish_free. */
void building_wish(const struct building *b, struct building_wish *w);
void building_wish_free(struct building_wish *w);

/* The first half of what follows, of the current choice alone: the server is asked for, and its id known. */
bool building_create(struct building *b, struct fault *f) ATTR_MUST_USE;

/* The second: it is ACTIVE, with an address. */
bool building_wait(struct building *b, struct fault *f) ATTR_MUST_USE;

/*
 * Delete the server that failed, so that another try cannot take it for its own. False: it resists (f stays as it is, saying
 * why the server failed), or, with f, the record is not this try's any more.
 */
bool building_discard(struct building *b, struct fault *f) ATTR_MUST_USE;

/*
 * Create the server and wait until it is ACTIVE; record.server_id, addresses, create_ms and build_ms are filled. Where
 * there is no room, or a zone fails, the next choice is tried; while all are full (quota, rate limit, no valid host) it
 * waits and begins anew, up to busy-timeout. On failure `created` tells whether there may be something to undo.
 */
bool building_run(struct building *b, struct fault *f) ATTR_MUST_USE;

/*
 * Keep of record.addresses what the setting asks for, and the floating address before them. FAULT_SETTING when none is
 * left.
 */
bool building_choose_address(struct building *b, struct fault *f) ATTR_MUST_USE;

/*
 * Something is used up: wait a little, with a line "waiting for WHAT, at most …", then "… so far", when *tell (clock_ms;
 * began at first) has come, which then moves on. began: when the waiting did (clock_ms). False: no time is left, or we were stopped.
 */
bool building_pause(struct building *b, enum building_wait_for kind, const char *what, int64_t began, int64_t *tell,
    struct limit limit);

/* The limit of such waits that begin now: busy-timeout, the job's time, and prepare's own. */
struct limit building_busy_limit(const struct building *b);

/* Is the record still this try's, and not cleaned up? FAULT_STOPPED if not. */
bool building_still_mine(const struct record *r, const struct building *b, struct fault *f);

/* record_update with b as the change's argument. */
bool building_update(struct building *b, bool (*change)(struct record *r, void *arg, struct fault *f),
    struct fault *f) ATTR_MUST_USE;

/* A name the cloud does not know (FAULT_MISSING): FAULT_WISH when the job's variable gave it, else FAULT_SETTING.
 * Returns false. */
bool building_blame(const struct settings *st, struct fault *f);

#endif
