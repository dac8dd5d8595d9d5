/* SPDX-License-Identifier: MIT */
/*
 * pool_shape.h - what makes a server of the pool good for a job: the settings
 * that a server is made by, with the content of the files they name. Limits
 * and time-outs are not among them; nor is the image, which may be named by
 * its name or its id. And the pools that the settings want, with the shape
 * of each.
 */
#ifndef NOVAJOB_POOL_SHAPE_H
#define NOVAJOB_POOL_SHAPE_H

#include <stddef.h>
#include <stdint.h>

#include "fault.h"
#include "settings.h"

/* The shape as text: equal for settings that make equal servers. The caller's; NULL with FAULT_SETTING when a file that
 * belongs to it cannot be read. */
char *pool_shape(const struct settings *st, struct fault *f) ATTR_MUST_USE;

/* Can servers for these settings be kept ready? FAULT_SETTING says what they lack. */
bool pool_can(const struct settings *st, struct fault *f) ATTR_MUST_USE;

/* One pool: "default", or a section [pool NAME]. */
struct pool_want {
	char *name;
	struct settings st;
	char *shape;    /* pool_shape(); NULL: it is to have no servers */
	char *image_id; /* the newest that fits; NULL: not known, now */
	int64_t kept;   /* ready servers that stay */
};

struct pool_wants {
	struct pool_want *v; /* owned */
	size_t len;
};

#define POOL_WANTS_INIT { .v = NULL, .len = 0 }
#define auto_pool_wants __attribute__((cleanup(pool_wants_free)))

/* All pools of the settings (from->pool, pools, job are not looked at); each that is to have servers is checked. FAULT_SETTING. */
bool pool_wants_load(struct pool_wants *w, const struct settings_from *from, struct fault *f) ATTR_MUST_USE;
void pool_wants_free(struct pool_wants *w);

#endif
