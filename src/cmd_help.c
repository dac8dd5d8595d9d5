/* SPDX-License-Identifier: MIT */
/* cmd_help.c - usage, of the program and of a command; --help comes here too. */
#include <stdio.h>

#include "cmd.h"

static void
help_all(void)
{
	(void)puts("usage: novajob [option ...] command [option ...] [operand ...]\n"
	           "\n"
	           "Runs GitLab CI jobs in OpenStack servers: a driver for gitlab-runner's custom executor.\n"
	           "\n"
	           "Commands:");
	for (const struct cmd *const *c = cmds; *c != NULL; c++)
		if (((*c)->flags & CMD_HIDDEN) == 0)
			(void)printf("  %-28s %s\n", (*c)->name, (*c)->help);
	(void)puts("\nOptions:");
	opts_usage(stdout, opts_global);
	(void)puts("\nSettings, each also NOVAJOB_X in the environment and a line in the settings file\n"
	           "(times are seconds, or have a unit: s, m, h, d; defaults in brackets):");
	opts_usage_settings(stdout);
	(void)puts("\nSee novajob(1) and novajob.conf(5).");
}

static void
help_one(const struct cmd *cmd)
{
	bool has_args = cmd->args != NULL && cmd->args[0] != '\0';

	(void)printf("usage: novajob [option ...] %s%s%s\n\n%s\n", cmd->name, has_args ? " " : "",
	    has_args ? cmd->args : "", cmd->help);
	if (cmd->opts != NULL) {
		(void)puts("\nOptions:");
		opts_usage(stdout, cmd->opts);
	}
	(void)puts("\nThe options of all commands, and the settings: novajob --help");
}

static bool
run(struct context *c, struct fault *f)
{
	const struct cmd *cmd = NULL;

	if (c->argc > 0) {
		cmd = cmd_find(c->argv[0]);
		if (cmd == NULL) {
			(void)fault_set(f, FAULT_USAGE, "help: unknown command '%s'", c->argv[0]);
			return fault_hint(f, "novajob --help lists the commands");
		}
	}
	if (cmd == NULL)
		help_all();
	else
		help_one(cmd);
	return true;
}

const struct cmd cmd_help = {
	.name = "help",
	.args = "[COMMAND]",
	.help = "show this, or how a command is used",
	.min_args = 0,
	.max_args = 1,
	.run = run,
};
