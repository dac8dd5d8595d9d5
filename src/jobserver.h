/* SPDX-License-Identifier: MIT */
/*
 * jobserver.h - the servers of one job in the cloud: find them, delete them.
 * Ours is what carries our owner and the job's key as properties, whatever
 * its name; nothing else is ever touched (design.md §2, §3).
 */
#ifndef NOVAJOB_JOBSERVER_H
#define NOVAJOB_JOBSERVER_H

#include <stdint.h>

#include "fault.h"
#include "openstack.h"

/* Whose servers. Strings borrowed. */
struct jobserver {
	const char *owner;
	const char *key; /* the job's */
	const char *try; /* only the servers of this try; NULL = of all tries */
	int64_t job_id;
	const char *server_name; /* of one that is in the pool (pool.h): it is looked for by this name, not by job_id; or NULL */
	const char *pool_key, *pool_server; /* of one that came from the pool, and may still be called so there; or NULL */
	const char *awaited; /* the try whose server jobserver_delete waits for; NULL = any */
	bool *seen;      /* set when jobserver_delete saw that server; NULL = nobody asks */
};

enum jobserver_left {
	LEFT_NOTHING,  /* proved by a list */
	LEFT_DELETING, /* the cloud is at it, without error */
	LEFT_RESISTING,/* f says what and why */
};

/* The job's servers. */
bool jobserver_find(struct os_client *c, const struct jobserver *j, struct limit limit, struct os_servers *list,
    struct fault *f) ATTR_MUST_USE;

/*
 * Delete all servers of the job, look until they are gone, at most wait_ms after the last deletion was accepted.
 * until_unix: keep looking for the awaited server until it shows up or this time has come (an accepted create that is
 * not listed yet); 0 = no.
 */
enum jobserver_left jobserver_delete(struct os_client *c, const struct jobserver *j, int64_t wait_ms,
    int64_t until_unix, struct limit limit, struct fault *f);

#endif
