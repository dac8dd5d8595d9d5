/* SPDX-License-Identifier: MIT */
/*
 * event.h - what happened, for machines: an event is a name and fields, one
 * line in the file of log-file, or one entry of the journal. One write(2) per
 * line, so that processes on one file never mix theirs. Text from outside is
 * made safe and secrets are hidden (text.h, secret.h): no value can forge a
 * line or a field. An event that cannot be told stops nothing.
 */
#ifndef NOVAJOB_EVENT_H
#define NOVAJOB_EVENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "settings.h"

struct event {
	const char *name; /* of constant text; NULL: there is nothing to tell */
	json_t *fields;   /* owned; in the order in which they were first set; NULL: none */
};

#define EVENT_INIT { .name = NULL, .fields = NULL }
#define auto_event __attribute__((cleanup(event_free)))

/* Set a field, whose name is constant text of [a-z_]; of a name that is there already the value. A text that is NULL or "" is
 * left out; one over 1000 bytes is cut. ms becomes seconds. */
void event_text(struct event *e, const char *key, const char *value);
void event_number(struct event *e, const char *key, int64_t n);
void event_seconds(struct event *e, const char *key, int64_t ms);

/* Tell it where the settings want it; trouble: as a warning, in the journal. What goes wrong is shown with -v. */
void event_tell(const struct event *e, const struct settings *st, bool trouble);

/* Can events be told? FAULT_SETTING says why not; true where none are wanted. Makes nothing. */
bool event_check(const struct settings *st, struct fault *f) ATTR_MUST_USE;

void event_free(struct event *e);

#endif
