/* SPDX-License-Identifier: MIT */
/*
 * json.h - Jansson with faults that say where and what, and getters that take
 * null, missing and the wrong type alike (the client's versions differ in it,
 * openstack-cli.md §3).
 */
#ifndef NOVAJOB_JSON_H
#define NOVAJOB_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"

/* Parse one document of len bytes. `what` names it in the fault (class FAULT_LOCAL). A new reference, or NULL. */
json_t *json_read(const char *data, size_t len, const char *what, struct fault *f) ATTR_MUST_USE;

/* The string at key, "" when it is null, missing or no string. Borrowed from o. */
const char *json_str(const json_t *o, const char *key) __attribute__((returns_nonnull));

/* The integer at key; `otherwise` when it is null, missing or no integer. */
int64_t json_int(const json_t *o, const char *key, int64_t otherwise);

/* o as text, one line, keys sorted; the caller's. */
char *json_text(const json_t *o);

/* Set key to a string; NULL or "" leaves the key out. */
void json_put(json_t *o, const char *key, const char *value);

#endif
