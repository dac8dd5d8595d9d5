/* SPDX-License-Identifier: MIT */
/*
 * pool.h - the warm pool: servers that are booted, logged in to once, made
 * ready, and never used by a job before. Here: their records, and how a job
 * gets one. pool_fill.h makes and removes them.
 *
 * A server of the pool has a record like a job's, STATE/jobs/pool.<host>.<word>/
 * with its keys; no job's key looks like that. <host> is this STATE's own
 * random word: what carries it and has no record here is nobody's. A claim
 * is, under STATE's lock, the pool's record `claimed`, then the job's with
 * the server's id; from then on the job owns the server. Its name and
 * properties in the cloud follow later (pool_fill.h); until they have, the
 * job's record says what else it may be called.
 */
#ifndef NOVAJOB_POOL_H
#define NOVAJOB_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "building.h"
#include "fault.h"
#include "record.h"
#include "settings.h"
#include "sweeping.h"

/* Is it the key of a server of a pool, ours or another host's? */
bool pool_is_key(const char *key);

/* This STATE's word in such keys, the caller's; made when `make`. NULL: there is none (without `make`), or with a fault. */
char *pool_host(const char *dir, bool make, struct fault *f);

/* Was the key made here? host may be NULL. */
bool pool_is_our_key(const char *key, const char *host);

/* The name of the server of a key; the caller's. */
char *pool_server_name(const char *key);

/* Of a record of the pool: its name ("default"), shape, image id. Of a job's: the server's old key and name, prepare's --settings; "" = it never
 * was in the pool, or nothing there calls it so any more. Borrowed from r. */
const char *pool_name(const struct record *r);
const char *pool_text(const struct record *r, const char *what);

/* The servers of the pool that this STATE knows, claimed ones too; what cannot be read is told by log_say, and left out. */
struct pool_member {
	char *key;
	struct state state;
	struct record r;
};

struct pool_members {
	struct pool_member *v; /* owned; those that came into the pool last come first */
	size_t len;
};

#define POOL_MEMBERS_INIT { .v = NULL, .len = 0 }
#define auto_pool_members __attribute__((cleanup(pool_members_free)))

void pool_members_read(struct pool_members *m, const char *dir);
void pool_members_free(struct pool_members *m);

/* How many of a pool are in a phase. */
size_t pool_members_count(const struct pool_members *m, const char *name, enum phase phase);

/* When it came into the pool, UNIX time; 0 = that is not known. */
int64_t pool_since(const struct record *r);

/* What jobserver.h has to know of a job whose server came from the pool. Borrowed from r. */
void pool_jobserver(const struct record *r, struct jobserver *j);

/* What a claim gave. */
struct pool_claim {
	const char *settings_file; /* given: --settings, or NULL; kept for pool_remind */
	char name[40];  /* of the pool; "" = nothing was claimed */
	size_t left;    /* ready ones of that pool that are left */
	bool fill;      /* the pool has less than before: pool_kick */
};

/*
 * Give the job a server of the pool, if there is one that is what its settings ask for, lives as long, and answers: the
 * job's record has it, b->record its id and address, the job's directory its keys. No openstack is started. False: there is
 * none, which is no fault.
 */
bool pool_claim(struct building *b, struct pool_claim *claim);

/* Undo it: the server, which may be used by now, is left to the next fill, or sweep, to be deleted. */
bool pool_give_up(struct building *b, struct fault *f) ATTR_MUST_USE;

/* Delete one ready server that is no good for this job, to make room. True: one is being deleted. */
bool pool_make_room(struct building *b);

/* "A prepare waits for quota": a descriptor to keep open while it does; -1 where that cannot be told. */
int pool_wait(const char *dir);
bool pool_is_waited_for(const char *dir);

/* The arguments of the next one, of the program self. */
void pool_fill_words(const char *self, const struct settings *st, const char *settings_file, struct strv *argv);

/* Start `novajob pool fill` in the background; what it says goes to STATE/pool.log. settings_file: --settings, or NULL. */
void pool_kick(const struct settings *st, const char *settings_file);

/* A job's server is called as in the pool yet: unless a fill is at work, start one, as above. */
void pool_remind(const struct settings *st, const struct record *r);

/* Is a fill at work on this STATE? */
bool pool_is_filling(const char *dir);

/*
 * May sweep, or fill, delete a server whose job is this STATE's pool? filling: as pool_is_filling said after the server was
 * listed. A job's record that has its id is what counts, whatever the cloud calls it.
 */
struct sweeping pool_judge(const char *dir, const struct os_server *s, bool filling, bool clock_ok);

/* Does the job of a claimed server live, with it? mine: filled with that job's record when so. Take the lock before. */
bool pool_claimer(const char *dir, const struct record *r, struct state *state, struct record *mine);

/* May the record of a server of the pool, of which the cloud has nothing, be forgotten? */
bool pool_is_over(const char *dir, const struct record *r, bool filling);

#endif
