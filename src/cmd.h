/* SPDX-License-Identifier: MIT */
/*
 * cmd.h - what a command is: one const struct per cmd_x.c, all in main.c's
 * table. main does what the flags ask for before it calls run.
 */
#ifndef NOVAJOB_CMD_H
#define NOVAJOB_CMD_H

#include <stdbool.h>

#include "fault.h"
#include "job.h"
#include "opts.h"
#include "settings.h"

enum {
	CMD_STAGE = 1 << 0,    /* called by the runner: every failure is exit 2, or 1 when it is the author's */
	CMD_SETTINGS = 1 << 1, /* settings are loaded before run */
	CMD_JOB_VARS = 1 << 2, /* … those of this job: sections that fit it, its variables; with CMD_JOB */
	CMD_JOB = 1 << 3,      /* the job is read before run */
	CMD_HIDDEN = 1 << 4,   /* not in --help */
	CMD_FRESH = 1 << 5,    /* settings are resolved anew, whatever NOVAJOB_RESOLVED says: config */
};

/* What main hands to a command. */
struct context {
	struct settings settings; /* with CMD_SETTINGS */
	struct job job;           /* with CMD_JOB */
	const struct strv *flags; /* "name=value" setting flags given, for a command that loads settings itself */
	const char *settings_file; /* --settings, or NULL */
	bool compat;              /* called by one of the Python executor's names */
	int argc;                 /* operands after the options, checked against cmd->min_args and max_args */
	char **argv;
	const void *opts;         /* the command's own options, filled by opts.c as its table says; or NULL */
};

struct cmd {
	const char *name;
	/*
	 * Own options and operands for the usage line: "[--json] SCRIPT STAGE". The first operand is completed by its word:
	 * JOB (live jobs), FILE or SCRIPT, COMMAND, SETTING, or words in small letters with '|' between (cmd_words.c).
	 */
	const char *args;
	const char *help;          /* one line */
	/* The rest is for `help COMMAND`; a hidden command has none of it. */
	const char *details;       /* what it does, its operands: lines of at most 80 columns, each ended */
	const char *exits;         /* a line on each exit code of its own, as "  3   what it means\n"; NULL: it has none */
	const char *example;       /* a command line that works, without the program's name */
	const char *see;           /* where there is more: "novajob.conf(5), THE WARM POOL"; NULL: in novajob(1) */
	int min_args, max_args;    /* max_args < 0: any number (a stage ignores operands it does not know) */
	unsigned int flags;        /* CMD_… */
	const struct opt *opts;    /* own options, ended by {0}; or NULL */
	size_t opts_size;          /* of the struct the options fill */
	/* True: exit 0. False: main prints the fault and leaves with fault_exit_code(). */
	bool (*run)(struct context *c, struct fault *f);
};

extern const struct cmd cmd_config, cmd_prepare, cmd_run, cmd_cleanup, cmd_settings, cmd_plan, cmd_list, cmd_sweep, cmd_pool, cmd_doctor,
    cmd_help, cmd_words;

/* The command of a name, hidden ones too, or NULL. */
const struct cmd *cmd_find(const char *name);

/* The table, for --help, completion words and dispatch; ended by NULL. Defined in main.c. */
extern const struct cmd *const cmds[];

#endif
