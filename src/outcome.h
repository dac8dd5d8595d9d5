/* SPDX-License-Identifier: MIT */
/*
 * outcome.h - what became of a job, from how its stages ended: they note it
 * in STATE/jobs/<key>/outcome, a line each at the begin and at the end; cleanup
 * draws the sum. A file of its own, since a record's write is synced, and the
 * run stage has no time for that. Nothing in it is from the job but the name
 * of a stage.
 */
#ifndef NOVAJOB_OUTCOME_H
#define NOVAJOB_OUTCOME_H

#include <stdbool.h>

#include "fault.h"
#include "record.h"

/* How a stage ended, as one word: "ok", "failed" (by what its author can mend), "stopped" (told to), "system_failure". */
const char *outcome_word(bool is_fine, const struct fault *f);

/* Note that a stage begins (how NULL), or how it ended. What goes wrong is shown with -v. */
void outcome_note(const struct state *s, const char *stage, const char *how);

/*
 * The job is over, or this try of it: "success", "failed", "system_failure", "stopped", once for each job, or NULL:
 * it was told before, or the runner will try prepare again. abandoned: no cleanup came, and no further try will; a job of
 * which nothing worse is known is "abandoned" then.
 */
const char *outcome_take(const struct state *s, bool abandoned);

#endif
