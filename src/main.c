/* SPDX-License-Identifier: MIT */
/*
 * main.c - first-minute set-up, global options, the command table, dispatch by
 * word or by the program's name, and the one place where a fault becomes a
 * line on stderr and an exit code.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "account.h"
#include "clock.h"
#include "cmd.h"
#include "log.h"
#include "near.h"
#include "sig.h"
#include "version.h"
#include "xalloc.h"

const struct cmd *const cmds[] = {
	&cmd_config,
	&cmd_prepare,
	&cmd_run,
	&cmd_cleanup,
	&cmd_settings,
	&cmd_plan,
	&cmd_list,
	&cmd_ssh,
	&cmd_hold,
	&cmd_release,
	&cmd_sweep,
	&cmd_pool,
	&cmd_metrics,
	&cmd_doctor,
	&cmd_help,
	&cmd_words,
	NULL,
};

/* The Python executor's programs: links of these names are us (design.md §8). */
static const struct link_name {
	const char *name;
	const struct cmd *cmd;
} link_names[] = {
	{ "config.sh", &cmd_config },
	{ "prepare.py", &cmd_prepare },
	{ "run.py", &cmd_run },
	{ "cleanup.py", &cmd_cleanup },
};

/* What the command line says. */
struct line {
	const struct cmd *cmd; /* NULL until it is known */
	bool compat;           /* by the program's name */
	struct opt_globals globals;
	struct strv settings;  /* owned: "name=value" */
	void *opts;            /* owned: what cmd->opts fills; NULL without */
	int argc;              /* operands */
	char **argv;
};

const struct cmd *
cmd_find(const char *name)
{
	for (const struct cmd *const *c = cmds; *c != NULL; c++)
		if (strcmp((*c)->name, name) == 0)
			return *c;
	return NULL;
}

/*
 * A parent may have closed 0, 1 or 2: a file of ours must not land there. What is missing is opened the wrong way round,
 * so that using it fails as it would have (coreutils' stdopen does so); only stderr is thrown away.
 */
static bool
open_std_fds(struct fault *f)
{
	static const int modes[] = { O_WRONLY, O_RDONLY, O_WRONLY };

	for (int fd = 0; fd < (int)ARRAY_LEN(modes); fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd) /* the lowest free one: fd; not CLOEXEC */
			return fault_errno(f, FAULT_LOCAL, "cannot open /dev/null");
	return true;
}

/*
 * A core would hold the cloud's password. Not dumpable: neither a file nor a handler (core_pattern with a pipe) gets one of
 * us. Children get the limit; 1 byte is what stops handlers as well (core(5)), 0 stops only files.
 */
static void
no_cores(void)
{
	const struct rlimit one = { .rlim_cur = 1, .rlim_max = 1 }, zero = { .rlim_cur = 0, .rlim_max = 0 };

	if (setrlimit(RLIMIT_CORE, &one) != 0) /* it was 0 before, for good */
		(void)setrlimit(RLIMIT_CORE, &zero); /* lowering cannot fail */
	(void)prctl(PR_SET_DUMPABLE, 0); /* cannot fail */
}

static bool
set_up(struct fault *f)
{
	if (!open_std_fds(f))
		return false;
	closefrom(STDERR_FILENO + 1);
	(void)umask(077);
	no_cores();
	return sig_init(f);
}

static const struct cmd *
cmd_by_program_name(void)
{
	for (size_t i = 0; i < ARRAY_LEN(link_names); i++)
		if (strcmp(getprogname(), link_names[i].name) == 0)
			return link_names[i].cmd;
	return NULL;
}

static bool
unknown_command(const char *word, struct fault *f)
{
	struct near near = NEAR_INIT(word);

	for (const struct cmd *const *c = cmds; *c != NULL; c++)
		if (((*c)->flags & CMD_HIDDEN) == 0)
			near_offer(&near, (*c)->name);
	(void)fault_set(f, FAULT_USAGE, "unknown command '%s'", word);
	if (near.best != NULL)
		return fault_hint(f, "did you mean '%s'?", near.best);
	return fault_hint(f, "novajob --help lists the commands");
}

/* Is there the word of a stage among the arguments? Then it is the runner who calls, a wrong option or not. */
static bool
names_a_stage(int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		const struct cmd *cmd = cmd_find(argv[i]);

		if (cmd != NULL && (cmd->flags & CMD_STAGE) != 0)
			return true;
	}
	return false;
}

static bool
check_operands(const struct line *l, struct fault *f)
{
	if (l->argc < l->cmd->min_args)
		(void)fault_set(f, FAULT_USAGE, "%s: %d operands expected, %d given", l->cmd->name, l->cmd->min_args, l->argc);
	else if (l->cmd->max_args >= 0 && l->argc > l->cmd->max_args)
		(void)fault_set(f, FAULT_USAGE, "%s: unexpected operand '%s'", l->cmd->name, l->argv[l->cmd->max_args]);
	else
		return true;
	return fault_hint(f, "usage: novajob %s %s", l->cmd->name, l->cmd->args == NULL ? "" : l->cmd->args);
}

/* Options before the command, the command, its options. argc, argv: without the program's name. */
static bool
parse_line(struct line *l, int argc, char **argv, struct fault *f)
{
	struct opt_set sets[] = { { opts_global, &l->globals }, { NULL, NULL }, { NULL, NULL } };

	l->argc = argc;
	l->argv = argv;
	l->cmd = cmd_by_program_name();
	l->compat = l->cmd != NULL;
	if (l->cmd == NULL) {
		if (!opts_parse(sets, &l->settings, &l->argc, &l->argv, f))
			return false;
		if (l->globals.help || l->globals.version)
			return true;
		if (l->argc == 0) {
			(void)fault_set(f, FAULT_USAGE, "no command given");
			return fault_hint(f, "novajob --help lists the commands");
		}
		l->cmd = cmd_find(l->argv[0]);
		if (l->cmd == NULL)
			return unknown_command(l->argv[0], f);
		l->argc--;
		l->argv++;
	}
	if (l->cmd->opts != NULL) {
		l->opts = xcalloc(1, l->cmd->opts_size);
		sets[1] = (struct opt_set){ l->cmd->opts, l->opts };
	}
	if (!opts_parse(sets, &l->settings, &l->argc, &l->argv, f))
		return fault_wrap(f, "%s", l->cmd->name);
	return l->globals.help || l->globals.version || check_operands(l, f);
}

/* Who reads what a command says. s NULL: not read yet, so that the environment alone can tell. */
static enum log_reader
reader_of(const struct cmd *cmd, const struct settings *s)
{
	const char *word = s != NULL ? s->job_log : getenv("NOVAJOB_JOB_LOG");

	if ((cmd->flags & CMD_JOB_LOG) == 0)
		return LOG_FOR_OPERATOR;
	return word != NULL && strcmp(word, "plain") == 0 ? LOG_FOR_AUTHOR : LOG_FOR_GITLAB;
}

/*
 * Settings and job, as the command's flags ask for. The job's own settings take the place of the host's, which stay when
 * they cannot be loaded: they say where that is told.
 */
static bool
load(struct context *c, const struct cmd *cmd, struct fault *f)
{
	struct settings_from from = {
		.flags = c->flags,
		.file = c->settings_file,
		.resolved = (cmd->flags & (CMD_JOB_VARS | CMD_FRESH)) == CMD_JOB_VARS,
		.compat = c->compat,
	};
	struct settings of_job = SETTINGS_INIT;

	log_set_reader(reader_of(cmd, NULL));
	if ((cmd->flags & CMD_SETTINGS) != 0 && !settings_load(&c->settings, &from, f))
		return false;
	log_set_reader(reader_of(cmd, &c->settings));
	if ((cmd->flags & CMD_JOB) != 0 && !job_read(&c->job, c->settings.trust_variables, f))
		return false;
	if (c->job.known)
		setproctitle("%s: job %" PRId64, cmd->name, c->job.id);
	if ((cmd->flags & CMD_JOB_VARS) == 0 || settings_resolved(&c->settings))
		return true;
	from.job = &c->job; /* now that it is known */
	if (!settings_load(&of_job, &from, f)) {
		if (f->class == FAULT_WISH) /* nobody tries again, and no other stage will know of it */
			metrics_add(&c->metrics, METRIC_JOBS, "failed", NULL, 1);
		settings_free(&of_job);
		return false;
	}
	settings_free(&c->settings);
	c->settings = of_job;
	return true;
}

/* Do what the command's flags ask for, then the command. */
static bool
run_command(const struct line *l, struct fault *f)
{
	struct context c = {
		.settings = SETTINGS_INIT,
		.flags = &l->settings,
		.settings_file = l->globals.settings,
		.compat = l->compat,
		.argc = l->argc,
		.argv = l->argv,
		.opts = l->opts,
		.event = EVENT_INIT,
		.metrics = METRICS_INIT,
		.began_ms = clock_ms(),
	};
	bool is_fine = load(&c, l->cmd, f);

	if ((l->cmd->flags & CMD_STAGE) != 0)
		account_begin(&c, l->cmd->name);
	is_fine = is_fine && l->cmd->run(&c, f);
	account_end(&c, l->cmd, is_fine, f);
	settings_free(&c.settings);
	return is_fine;
}

static bool
show_help(const struct line *l, struct fault *f)
{
	char *operand = l->cmd == NULL ? NULL : xstrdup(l->cmd->name);
	struct context c = { .settings = SETTINGS_INIT, .argc = operand == NULL ? 0 : 1, .argv = &operand };
	bool is_fine = cmd_help.run(&c, f);

	free(operand);
	return is_fine;
}

/* What was asked for. */
static bool
act(const struct line *l, struct fault *f)
{
	bool is_fine = true;

	if (l->globals.help)
		is_fine = show_help(l, f);
	else if (l->globals.version)
		(void)printf("novajob %s\n", NOVAJOB_VERSION); /* looked at below */
	else if (l->cmd != NULL) /* always, by parse_line */
		is_fine = run_command(l, f);
	if ((fflush(stdout) != 0 || ferror(stdout)) && is_fine)
		is_fine = fault_errno(f, FAULT_LOCAL, "cannot write to standard output");
	return is_fine;
}

int
main(int argc, char **argv)
{
	struct line l = { .cmd = NULL };
	struct fault f = { .class = FAULT_NONE };
	bool in_stage;
	bool is_fine;
	int code;

	setproctitle_init(argc, argv, environ); /* moves argv and environ: before anything points into them */
	is_fine = set_up(&f) && parse_line(&l, argc > 0 ? argc - 1 : 0, argc > 0 ? argv + 1 : argv, &f);
	log_set_verbosity(l.globals.verbose);
	in_stage = l.cmd != NULL ? (l.cmd->flags & CMD_STAGE) != 0 : names_a_stage(argc, argv);
	is_fine = is_fine && act(&l, &f);
	if (is_fine && in_stage && sig_stopped()) /* told to stop: a 0 would mean "prepared" (contract.md §0.5) */
		is_fine = fault_set(&f, FAULT_STOPPED, "stopped by the runner (cancel or time-out)");
	log_section_end();
	if (!is_fine)
		log_fault(&f);
	code = is_fine ? 0 : fault_exit_code(&f, in_stage);
	if (code == 1 && in_stage && sig_stopped()) /* nor is it the author's fault then */
		code = 2;
	strv_free(&l.settings);
	free(l.opts);
	return code;
}
