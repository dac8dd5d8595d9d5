/* SPDX-License-Identifier: MIT */
/*
 * cmd_words.c - hidden: the words a completion offers, from the tables the
 * parser uses. tests/words.bats compares completions, manual and --help with it.
 */
#include <stdio.h>

#include "cmd.h"

static bool
run(struct context *c, struct fault *f)
{
	const struct cmd *cmd = NULL;

	if (c->argc > 0) {
		cmd = cmd_find(c->argv[0]);
		if (cmd == NULL)
			return fault_set(f, FAULT_USAGE, "__words: unknown command '%s'", c->argv[0]);
		opts_words(stdout, cmd->opts);
		return true;
	}
	for (const struct cmd *const *each = cmds; *each != NULL; each++)
		if (((*each)->flags & CMD_HIDDEN) == 0)
			(void)printf("cmd %s\n", (*each)->name); /* main looks at ferror(stdout) */
	opts_words(stdout, opts_global);
	opts_words_settings(stdout);
	return true;
}

const struct cmd cmd_words = {
	.name = "__words",
	.args = "[COMMAND]",
	.help = "the words for completion: commands and options, or a command's own options",
	.min_args = 0,
	.max_args = 1,
	.flags = CMD_HIDDEN,
	.run = run,
};
