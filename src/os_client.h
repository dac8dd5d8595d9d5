/* SPDX-License-Identifier: MIT */
/*
 * os_client.h - running the openstack command: as a session (one process, a
 * command per line, each answer closed by a marker command) or, where a word
 * has characters a line must not hold, or the session does not work, one
 * process per call (openstack-cli.md §2). What the commands are is openstack.c's.
 */
#ifndef NOVAJOB_OS_CLIENT_H
#define NOVAJOB_OS_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "fault.h"
#include "proc.h"
#include "settings.h"
#include "sig.h"
#include "slots.h"
#include "strv.h"

struct os_client {
	const char *program;    /* borrowed */
	bool session_wanted;    /* the setting; cleared when the session turned out not to work */
	bool marker_seen;       /* this client's session has answered once */
	struct proc session;
	struct strv env;        /* the child's whole environment */
	char version[32];       /* of python-openstackclient, from the marker; "" until known */
	int64_t call_ms;        /* the setting call-timeout */
	struct slots slots;     /* one is held from the first call to os_client_rest: no limit of a later call waits for it */
	struct limit slot_limit; /* of the wait for a slot, which is not the cloud's time */
	int starts;             /* processes started so far */
	int killed_by;          /* the signal that ended the session in this call, 0 = none */
};

/* What clients cost. */
struct os_cost {
	int starts;           /* processes */
	int64_t slot_wait_ms; /* for a slot of the host */
};

enum os_expect {
	OS_JSON,    /* one JSON document on stdout */
	OS_NOTHING, /* no answer when it worked */
	OS_TEXT,    /* plain text from outside: never in a session, where it could fake the marker */
	OS_VERSION, /* in a session nothing but its marker */
};

struct os_answer {
	json_t *json;        /* OS_JSON: owned */
	struct buf text;     /* OS_TEXT: owned */
	bool unknown;        /* it failed in a way that leaves open whether the cloud did it */
};

#define OS_ANSWER_INIT { .json = NULL, .text = BUF_INIT, .unknown = false }
#define auto_answer __attribute__((cleanup(os_answer_free)))

/*
 * Set up; starts nothing. st is borrowed. limit bounds the waits for a client slot; urgent: cleanup and sweep, which
 * may take the reserved one.
 */
void os_client_init(struct os_client *c, const struct settings *st, bool urgent, struct limit limit);

/*
 * Start the session's process before the first call needs it, if it may start without waiting. What fails, the first call
 * tells.
 */
void os_client_begin(struct os_client *c);

/* End the session's process and give the slot to others; the next call waits for one, and starts another process. */
void os_client_rest(struct os_client *c);

/* Add what it has cost so far. */
void os_client_cost(const struct os_client *c, struct os_cost *cost);

/* Between two calls that are not in a hurry: the same, if others wait for a slot. */
void os_client_yield(struct os_client *c);

/* End the session, free all. */
void os_client_end(struct os_client *c);

/*
 * Do one command: words without the program's name. `what` says it for people ("create server x"). once: must not be
 * sent a second time when its outcome is unknown (create). Every call is bounded by limit and by call-timeout, which
 * begins when a slot is there; a create gets twice that.
 * On failure f is classified (os_fault.h); a->unknown tells whether it may have worked all the same.
 */
bool os_client_call(struct os_client *c, const struct strv *words, enum os_expect expect, bool once, const char *what,
    struct limit limit, struct os_answer *a, struct fault *f) ATTR_MUST_USE;

/* See that c->version is known: from a session's marker, for which no cloud is asked, or from a process. */
bool os_client_version(struct os_client *c, struct limit limit, struct fault *f) ATTR_MUST_USE;

void os_answer_free(struct os_answer *a);

#endif
