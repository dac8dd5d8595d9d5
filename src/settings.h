/* SPDX-License-Identifier: MIT */
/*
 * settings.h - every setting, from every source, in one struct. The list is
 * settings_list.h; from it come the struct, the parser, flags, environment
 * names, --help, `novajob settings`, completion words and the manual's test.
 *
 * Strongest first: job variable (where job-may-set allows) › image: of the
 * job › flag › environment NOVAJOB_X › section of the settings file that
 * fits the job › settings file › default (design.md §2). With
 * compat = python the plain names of the Python executor join in (§8).
 */
#ifndef NOVAJOB_SETTINGS_H
#define NOVAJOB_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"
#include "job.h"
#include "settings_list.h"
#include "strv.h"

#define SETTINGS_DEFAULT_FILE "/etc/novajob/novajob.conf"
#define SETTINGS_STATE_DIR_ROOT "/var/lib/novajob"
#define SETTINGS_STATE_DIR_HOME "~/.local/state/novajob" /* below HOME: of other users */

#define SETTINGS_DECLARE_text(field) char *field;    /* owned; NULL = not set */
#define SETTINGS_DECLARE_path(field) char *field;    /* absolute, or a program's bare name; owned; NULL = not set */
#define SETTINGS_DECLARE_names(field) char *field;   /* comma-separated; owned; NULL = empty; so are the three below */
#define SETTINGS_DECLARE_globs(field) char *field;
#define SETTINGS_DECLARE_map(field) char *field;
#define SETTINGS_DECLARE_pairs(field) char *field;
#define SETTINGS_DECLARE_choice(field) char *field;  /* owned; never NULL once settings are loaded */
#define SETTINGS_DECLARE_span(field) int64_t field;  /* milliseconds */
#define SETTINGS_DECLARE_number(field) int64_t field;
#define SETTINGS_DECLARE_flag(field) bool field;

enum setting_source {
	SOURCE_DEFAULT,
	SOURCE_FILE,
	SOURCE_ENV,
	SOURCE_FLAG,
	SOURCE_JOB,
	SOURCE_RESOLVED, /* from NOVAJOB_RESOLVED or a record */
};

enum {
#define X(type, field, ...) SETTING_##field,
	SETTINGS_LIST(X)
#undef X
	SETTINGS_COUNT
};

struct settings {
#define X(type, field, ...) SETTINGS_DECLARE_##type(field)
	SETTINGS_LIST(X)
#undef X
	enum setting_source source[SETTINGS_COUNT];
	char *where[SETTINGS_COUNT]; /* "/etc/…conf:12", "NOVAJOB_FLAVOR", "--flavor"…; owned; NULL = default */
};

enum setting_type {
	TYPE_text,
	TYPE_path,
	TYPE_names,
	TYPE_globs,
	TYPE_map,
	TYPE_pairs,
	TYPE_choice,
	TYPE_span,
	TYPE_number,
	TYPE_flag,
};

enum setting_who { S_HOST, S_RULE, S_JOB, S_SECRET };

/* A row of the table; all strings are constants. */
struct setting_info {
	enum setting_type type;
	size_t offset;        /* of the field in struct settings */
	const char *name;
	const char *fallback; /* the default as text; "" = not set */
	const char *alphabet; /* NULL for span, number, flag; the words of a choice */
	int64_t min, max;
	enum setting_who who;
	const char *help;
};

/* The table, indexed by SETTING_x. */
extern const struct setting_info setting_infos[SETTINGS_COUNT];

/* Where to look. Strings are borrowed for the call. */
struct settings_from {
	const struct strv *flags; /* "name=value" each, from the command line, in order; may be NULL */
	const char *file;         /* --settings FILE: must exist; NULL: NOVAJOB_SETTINGS, else the default if it exists */
	const struct job *job;    /* of this job: sections of the file, image:, CUSTOM_ENV_*; NULL: what holds for all jobs */
	const char *pool;         /* of this pool: sections [pool NAME] of the file; NULL: of no such section */
	struct strv *pools;       /* the names of those sections are added to it; may be NULL */
	bool resolved;            /* use NOVAJOB_RESOLVED, where it is set, instead of all sources: prepare */
	bool compat;              /* called as config.sh, prepare.py, …: compat = python */
};

/* Where a value is from (settings_where): the job itself, which named it as its image. */
#define SETTINGS_JOB_IMAGE "image: of the job"

#define SETTINGS_INIT { .flavor = NULL }
#define auto_settings __attribute__((cleanup(settings_free)))

/*
 * Fill s from all sources, every value checked: FAULT_SETTING naming file and line, flag or variable; FAULT_WISH when
 * it was the job's variable. s must be as SETTINGS_INIT; free it in either case.
 */
bool settings_load(struct settings *s, const struct settings_from *from, struct fault *f) ATTR_MUST_USE;

/* The settings file that counts: that of --settings (may be NULL), else of NOVAJOB_SETTINGS, else the default, which need
 * not be there. Borrowed. */
const char *settings_path(const char *flag, bool *may_miss);

/* What prepare needs and has no default (flavor, image, private key …) is set, and files named are there to be read?
 * FAULT_SETTING names what is not. */
bool settings_complete(const struct settings *s, struct fault *f) ATTR_MUST_USE;

/* All values as a JSON object, for NOVAJOB_RESOLVED and the record, secrets too. A new reference.
 * {"version":1,"settings":{name:text},"from":{name:where}} */
json_t *settings_json(const struct settings *s);

/* The way back; checks as strictly as any source. Unknown version or key: FAULT_SETTING. A setting missing there has
 * its default. s must be as SETTINGS_INIT; free it in either case. */
bool settings_from_json(struct settings *s, const json_t *o, struct fault *f) ATTR_MUST_USE;

/* One setting as text, as it would be written in the file; "" when not set. The caller's. */
char *settings_text(const struct settings *s, int setting);

/* The same for people: "***" for a secret that is set. The caller's. */
char *settings_shown(const struct settings *s, int setting);

/* Where the value is from, for people: s->where or "default". Borrowed from s. */
const char *settings_where(const struct settings *s, int setting);

/* The index of a name, or -1; *nearest (if not NULL) becomes the known name nearest to an unknown one, or NULL. */
int settings_find(const char *name, const char **nearest);

/* NOVAJOB_X, the environment's name of a setting; written to out (size bytes), which is returned. */
const char *settings_env_name(char *out, size_t size, int setting);

/* Does each job have keys of its own (settings keys and key-pair)? */
bool settings_keys_per_job(const struct settings *s);

/* Did config resolve them: were they read from NOVAJOB_RESOLVED or a record? */
bool settings_resolved(const struct settings *s);

/* Free what s owns; it is as SETTINGS_INIT then. */
void settings_free(struct settings *s);

#endif
