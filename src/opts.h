/* SPDX-License-Identifier: MIT */
/*
 * opts.h - the one option parser. A table of struct opt says which options
 * there are; parsing, --help and completion words come from it. Every setting
 * is an option as well (--name=value), from settings.h's table.
 */
#ifndef NOVAJOB_OPTS_H
#define NOVAJOB_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "fault.h"
#include "strv.h"

enum opt_kind {
	OPT_FLAG,   /* bool: true when given */
	OPT_COUNT,  /* int: how many times */
	OPT_STRING, /* const char *: borrowed from argv; the last one counts */
	OPT_NUMBER, /* int64_t, 0 or more */
};

struct opt {
	const char *name;    /* long name without dashes */
	int val;             /* the letter of the short form, or 0 */
	enum opt_kind kind;
	size_t offset;       /* where it goes in the struct of its opt_set */
	const char *argname; /* "FILE"; NULL for OPT_FLAG and OPT_COUNT */
	const char *help;    /* one line */
};

/* A table and the struct it fills. */
struct opt_set {
	const struct opt *opts; /* ended by {0}; NULL: none */
	void *target;
};

/* The options every command takes, and the program itself. */
struct opt_globals {
	bool help, version;
	int verbose;
	const char *settings; /* --settings FILE; borrowed from argv */
};

extern const struct opt opts_global[];

/*
 * Take the options at the front of *argv (no program name there), up to the first operand or behind a "--": *argc and
 * *argv are moved past them. sets is ended by a set without opts. Settings are appended to `settings` as "name=value",
 * their values not looked at. FAULT_USAGE names the wrong option, with the nearest known one as a hint.
 */
bool opts_parse(const struct opt_set *sets, struct strv *settings, int *argc, char ***argv, struct fault *f)
    ATTR_MUST_USE;

/* The lines of --help for a table. */
void opts_usage(FILE *out, const struct opt *opts);

/* The same for the settings. */
void opts_usage_settings(FILE *out);

/* What stands for a setting's value in --help: "TIME"; a constant. */
const char *opts_setting_argname(int setting);

/*
 * Completion words, one a line: "opt --name", "opt --name=" when it takes a value, "opt -v"; behind a tab the help, and
 * behind another one the kind of value: file, dir, word (setting_words), list (of such words), or nothing.
 */
void opts_words(FILE *out, const struct opt *opts);

/* The same for the settings. */
void opts_words_settings(FILE *out);

#endif
