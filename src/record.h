/* SPDX-License-Identifier: MIT */
/*
 * record.h - what a job's stages leave for each other: one JSON file,
 * STATE/jobs/<key>/record.json, 0600 in 0700 directories that are ours.
 *
 * Protocol (design.md §2): the lock guards only read-modify-write, never a
 * child or a wait. Each prepare has its own `try` word and creates only while
 * the record is still its own and in phase creating; cleanup turns the record
 * into a tombstone, so that a late prepare creates nothing.
 */
#ifndef NOVAJOB_RECORD_H
#define NOVAJOB_RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "sig.h"
#include "strv.h"

#define TRY_SIZE 17 /* 16 hex digits and NUL */
#define RECORD_NO_HOLD (-1)
#define RECORD_HOLD_MAX_S (INT64_C(30) * 86400)

enum phase {
	PHASE_NONE,     /* no record */
	PHASE_CREATING, /* an intent: a server may exist, its id not yet known */
	PHASE_READY,    /* the server answers over ssh */
	PHASE_DELETING, /* deletion was asked for, not proved */
	PHASE_DELETED,  /* tombstone: nothing is left, and this try creates nothing more */
	PHASE_LOST,     /* an intent whose server was never seen: sweep looks for it */
	PHASE_CLAIMED,  /* of a server of the pool (pool.h): it is a job's now */
	PHASE_HELD,     /* the job is over, its server is kept until `expires` (holding.h) */
};

struct record {
	enum phase phase;
	char try[TRY_SIZE];
	char *server_id;         /* NULL until known */
	char *server_name;
	struct strv addresses;   /* candidates */
	char *address;           /* the one that logs in; NULL until known */
	char *lost;              /* why the server counts as lost; NULL = it does not */
	int64_t intent_at;       /* UNIX time of a create whose id is not known yet; 0 = none */
	bool floating;           /* a floating address was asked for, by this try or one before it: there may be one */
	int64_t floating_at;     /* as intent_at, of a floating address */
	int64_t expires;         /* UNIX time: the server's novajob:expires */
	int64_t created;         /* UNIX time by this host's clock, when the server was asked for; 0 = not known */
	bool warm;               /* the server came from the pool */
	char *failed;            /* the stage whose script was the first to fail; NULL = none has */
	int64_t hold_ms;         /* the operator's word: keep the server so long after the job; RECORD_NO_HOLD: not even when it failed */
	int64_t create_ms, build_ms, ssh_ms;
	json_t *pool;            /* what pool.c keeps of a server of the pool, or of one that came from there; NULL = nothing */
	json_t *resolved;        /* the settings, as settings_json() makes them; NULL = none */
};

#define RECORD_INIT { .phase = PHASE_NONE, .addresses = STRV_INIT }
#define auto_record __attribute__((cleanup(record_free)))

/* A job's place in the state directory. */
struct state {
	char *dir;  /* STATE */
	char *job;  /* STATE/jobs/<key>: known_hosts and such are kept here as well */
};

#define STATE_INIT { .dir = NULL, .job = NULL }
#define auto_state __attribute__((cleanup(state_free)))

/*
 * Open the state directory for a job, making what is missing (0700) when `make`. Directories that are links, foreign,
 * or writable by others are refused: FAULT_SETTING. key NULL: only STATE itself. Without `make` and without a
 * directory: true, and no record.
 */
bool state_open(struct state *s, const char *dir, const char *key, bool make, struct fault *f) ATTR_MUST_USE;
void state_free(struct state *s);

/* The keys of all jobs that have a directory in STATE. */
void state_keys(const char *dir, struct strv *keys);

/* Be the only one of a kind ("sweep"): a descriptor to keep open, or -1 with a fault when another is at work. */
int state_alone(const struct state *s, const char *kind, struct fault *f) ATTR_MUST_USE;

/* Take STATE's lock; a descriptor to close, or -1 with a fault (10 s without getting it: FAULT_LOCAL). */
int state_lock(const struct state *s, struct fault *f) ATTR_MUST_USE;

/* Read the record; none: PHASE_NONE. FAULT_LOCAL when it cannot be read or makes no sense. */
bool record_read(struct record *r, const struct state *s, struct fault *f) ATTR_MUST_USE;

/* Write it whole: temporary file, fsync, rename. The caller holds the lock. */
bool record_write(const struct record *r, const struct state *s, struct fault *f) ATTR_MUST_USE;

/*
 * Read-modify-write under the lock. `change` returns false with a fault to leave the record as it is. When the record
 * cannot be parsed `change` sees PHASE_NONE and f->text says why.
 */
bool record_update(struct record *r, const struct state *s, bool (*change)(struct record *r, void *arg, struct fault *f),
    void *arg, struct fault *f) ATTR_MUST_USE;

/*
 * Remove the job's directory; under the lock, so that no prepare begins in it meanwhile. Nothing there is fine. was: the
 * record as it was read: when it is another one now, or a directory that had none is new, it is let be; NULL: whatever it is.
 */
bool record_forget(const struct state *s, const struct record *was, struct fault *f) ATTR_MUST_USE;

/* May the record's server still be of use: is it being made, a job's, or held? */
bool record_is_live(const struct record *r);

/* The server answers over ssh: r gets from `now` where. */
void record_set_ready(struct record *r, const struct record *now);

/* The phase's name, as in the file. */
const char *phase_name(enum phase p);

/* A new random word of 16 hex digits. */
void record_new_try(char try[TRY_SIZE]);

void record_free(struct record *r);

#endif
