/* SPDX-License-Identifier: MIT */
/*
 * log.h - what novajob says to people, all of it on stderr: one line, one
 * write(2), so that two processes on one log never mix their lines. In prepare
 * and run this is the job log; in cleanup the runner's log (contract.md §3).
 * Secrets are hidden in all of it (secret.h).
 *
 * For GitLab's job log lines have colours (SGR, put around what is safe
 * already), and details can be folded away in a section. GitLab takes for a
 * section's marker what ends with CR ESC [0K: text from outside has no CR
 * here, and none where a script prints to our stderr (remote.h).
 */
#ifndef NOVAJOB_LOG_H
#define NOVAJOB_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "fault.h"
#include "util.h"

/* -v given this many times: 1 shows log_debug, 2 also the argv of every child. */
void log_set_verbosity(int level);
int log_verbosity(void);

/* Who reads stderr. */
enum log_reader {
	LOG_FOR_OPERATOR, /* at the start */
	LOG_FOR_AUTHOR,   /* the author of the job, in its log; a fault without a hint gets one by its class */
	LOG_FOR_GITLAB,   /* the same, as GitLab shows it; without it lines are plain, and there are no sections */
};

void log_set_reader(enum log_reader reader);

enum log_kind {
	LOG_SAY,   /* "novajob: …" */
	LOG_NOTE,  /* the same, for what the job's author should see: it waits for the end of an open section */
	LOG_WARN,  /* as LOG_NOTE: "novajob: warning: …" */
	LOG_WAIT,  /* as LOG_SAY, for a wait whose end nobody knows: it ends the section, to be seen at once */
	LOG_DONE,  /* all went well: it ends the section */
	LOG_DEBUG, /* "novajob: debug: …", only with -v */
	LOG_ERROR, /* log_fault's two: they end the section */
	LOG_HINT,
};

/* One line of that kind. A line longer than 4 KiB is cut. */
void log_line(enum log_kind kind, const char *fmt, ...) ATTR_PRINTF(2, 3);

#define log_say(...)   log_line(LOG_SAY, __VA_ARGS__)
#define log_note(...)  log_line(LOG_NOTE, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_wait(...)  log_line(LOG_WAIT, __VA_ARGS__)
#define log_done(...)  log_line(LOG_DONE, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/* Several lines of text from outside, each indented and made safe to print. */
void log_quote(const char *text, size_t len);

/* Text of tools as it came (a banner, an rc file), made safe, no prefix; whole lines only. */
void log_raw(const char *text, size_t len);

/* The line for a fault, and one more for its hint; nothing when f->said. Sets f->said. */
void log_fault(struct fault *f);

/*
 * Begin a section, folded until somebody opens it; the line stays in sight. There is one at a time: it ends one that is
 * open. name and word make it the only one of its name in the log: letters, digits and '_', 40 bytes. Plain: log_say.
 */
void log_section(const char *name, const char *word, const char *fmt, ...) ATTR_PRINTF(3, 4);

/* End it, if one is open; allocates nothing. main does so at the latest. */
void log_section_end(void);

/* End the section of another process, which may have been killed in it: GitLab would fold all that follows. */
void log_section_end_of(const char *name, const char *word);

#endif
