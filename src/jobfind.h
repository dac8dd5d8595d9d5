/* SPDX-License-Identifier: MIT */
/*
 * jobfind.h - the job of this host that an operator means by a word: its id, or
 * its whole key as `novajob list` shows it.
 */
#ifndef NOVAJOB_JOBFIND_H
#define NOVAJOB_JOBFIND_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "record.h"
#include "settings.h"

struct jobfind {
	char *key;              /* owned, as all of it */
	int64_t id;             /* GitLab's job id */
	struct state state;
	struct record r;        /* as it was read */
	struct settings st;     /* the job's own, by jobfind_settings */
};

#define JOBFIND_INIT { .key = NULL, .state = STATE_INIT, .r = RECORD_INIT, .st = SETTINGS_INIT }
#define auto_jobfind __attribute__((cleanup(jobfind_free)))

/*
 * Find it among the records of dir (state-dir). An id that several GitLabs have: the one that is not over, if there is just
 * one. FAULT_SETTING: it is not known here, or not the only one; FAULT_LOCAL: its record cannot be read.
 */
bool jobfind(struct jobfind *j, const char *dir, const char *word, struct fault *f) ATTR_MUST_USE;

/* Fill j->st from the record. FAULT_LOCAL, FAULT_SETTING: it tells none, or none that make sense. */
bool jobfind_settings(struct jobfind *j, struct fault *f) ATTR_MUST_USE;

void jobfind_free(struct jobfind *j);

#endif
