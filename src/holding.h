/* SPDX-License-Identifier: MIT */
/*
 * holding.h - a server that is kept when its job is over: for whoever wants to
 * look why it failed (keep-on-failure), or because the operator said so. The
 * record's phase is `held` then, and its `expires` says until when: on this
 * host nothing else counts. The cloud is told as well, for other hosts' sweep.
 */
#ifndef NOVAJOB_HOLDING_H
#define NOVAJOB_HOLDING_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "jobserver.h"
#include "os_client.h"
#include "record.h"
#include "settings.h"
#include "sig.h"

/*
 * If the job ended now (UNIX time): until when would its server be kept? 0: it would not. Of a record that is held
 * already: until when it is, 0 when that is over. st: the job's settings.
 */
int64_t holding_until(const struct record *r, const struct settings *st, int64_t now);

/*
 * Are as many servers held on this host as it keeps for failures (max-held)? That is for the failed jobs alone: what an operator
 * holds is kept anyway, but counts. Two jobs that end at the same moment may both see the last place. now: this host's settings.
 */
bool holding_is_full(const struct settings *now);

/* What a person calls us by who wants to get at the job's server: with --state-dir where `now` has another one than he would
 * get by himself. The caller's. */
char *holding_program(const struct settings *now);

enum holding {
	HOLDING_TOLD,    /* the cloud knows the new expiry */
	HOLDING_NOT_TOLD,/* f says why; the server may be there, and has the expiry it had */
	HOLDING_GONE,    /* a list proves that there is no server, or it is being deleted */
};

/*
 * Tell the cloud r->expires of the server r->server_id, and ask for the deletion of what else it has of the same try: one
 * create may have made two. mine: all servers of the job.
 */
enum holding holding_tell(struct os_client *c, const struct jobserver *mine, const struct record *r, struct limit limit,
    struct fault *f) ATTR_MUST_USE;

#endif
