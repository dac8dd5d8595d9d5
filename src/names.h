/* SPDX-License-Identifier: MIT */
/*
 * names.h - what the cloud has said lately, kept on disk so that the next
 * prepare need not ask: which id an image, flavor, network or security group
 * has, and how long builds took. One file per cloud, project and user,
 * STATE/names/<hash>.json, 0600 and ours; the hash is of the OS_* variables
 * without the secret ones. It is only a help: where it cannot be read or
 * written, nothing is known. Ids are believed for name-cache.
 */
#ifndef NOVAJOB_NAMES_H
#define NOVAJOB_NAMES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os_client.h"
#include "settings.h"
#include "sig.h"

struct names {
	char *path;         /* NULL: nothing is kept */
	int64_t max_age_s;
	json_t *all;        /* as in the file; NULL until names_open */
};

#define NAMES_INIT { .path = NULL, .max_age_s = 0, .all = NULL }

/* Read what is known; no fault, whatever is wrong with the file. Free it with names_free. */
void names_open(struct names *n, const struct settings *st);
void names_free(struct names *n);

/* The id of a name; kind as `openstack KIND show` has it. Borrowed until n changes; NULL = not known, or too old. */
const char *names_id(const struct names *n, const char *kind, const char *name);

/* Keep that. Not one that makes no sense as an id. others: how many more of that name there are. */
void names_learn(struct names *n, const char *kind, const char *name, const char *id, size_t others);

/* The cloud does not know an id any more: forget them all. */
void names_forget(struct names *n);

/*
 * The image to boot, from the cache (*cached), or as os_image_find tells, and then kept. *id is the caller's, *others how
 * many more there are.
 */
bool names_image(struct names *n, struct os_client *c, const char *image, struct limit limit, char **id, size_t *others,
    bool *cached, struct fault *f) ATTR_MUST_USE;

/* Is it a name that has to be looked up: no id, not empty? */
bool names_is_name(const char *name);

/*
 * Ask the cloud for the id of a name that is not known, and keep it: for moments in which nobody waits for it. What goes
 * wrong is not told: the create has its own words for it.
 */
void names_resolve(struct names *n, struct os_client *c, const char *kind, const char *name, struct limit limit);

/* How long something takes, of its last times: milliseconds from `early` to `late`, at most twice as much. */
struct names_span {
	int64_t early, late; /* both 0: not known */
};

/* Of a thing that is done again and again ("build m1.small debian"): how long it took lately; and that it took so long. */
struct names_span names_span(const struct names *n, const char *what);
void names_took(struct names *n, const char *what, int64_t ms);

#endif
