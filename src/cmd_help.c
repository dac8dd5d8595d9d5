/* SPDX-License-Identifier: MIT */
/* cmd_help.c - usage, of the program, a command, a setting, from their tables; --help comes here too. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "cmd.h"
#include "near.h"
#include "settings_value.h"
#include "xalloc.h"

#define STATE_DIR SETTINGS_STATE_DIR_ROOT " for root, else " SETTINGS_STATE_DIR_HOME

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
	(void)puts("\n'novajob help COMMAND' and 'novajob help SETTING' say more; see novajob(1) and novajob.conf(5).");
}

static void
print_exits(const struct cmd *cmd)
{
	bool is_stage = (cmd->flags & CMD_STAGE) != 0;

	(void)printf("\nExit codes:\n  0   all is well\n%s%s%s%s",
	    is_stage ? "  1   the job's author has to mend it: the script, or what a job variable asks for\n" : "",
	    is_stage ? "  2   a system failure: all else that went wrong, or told to stop\n" : "  2   it failed\n",
	    cmd->exits == NULL ? "" : cmd->exits, is_stage ? "" : "  64  the command line is wrong\n");
}

static void
help_command(const struct cmd *cmd)
{
	bool has_args = cmd->args != NULL && cmd->args[0] != '\0';

	(void)printf("usage: novajob [option ...] %s%s%s\n\n%s\n", cmd->name, has_args ? " " : "",
	    has_args ? cmd->args : "", cmd->help);
	if (cmd->details != NULL)
		(void)printf("\n%s", cmd->details);
	if (cmd->opts != NULL) {
		(void)puts("\nOptions:");
		opts_usage(stdout, cmd->opts);
	}
	print_exits(cmd);
	if (cmd->example != NULL)
		(void)printf("\nExample:\n  $ novajob %s\n", cmd->example);
	(void)printf("\nSee novajob(1)%s%s.\nThe options of all commands, and the settings: novajob --help\n",
	    cmd->see == NULL ? "" : "; ", cmd->see == NULL ? "" : cmd->see);
}

/* "1 day", "90 s". */
static char *
span(int64_t s)
{
	if (s >= 86400 && s % 86400 == 0)
		return xasprintf("%" PRId64 " day%s", s / 86400, s == 86400 ? "" : "s");
	return xasprintf("%" PRId64 " s", s);
}

/* The characters of an alphabet, letters and digits by these words. */
static char *
alphabet_text(const char *alphabet)
{
	auto_buf struct buf b = BUF_INIT;

	for (const char *at = alphabet; *at != '\0'; at++)
		if ((*at < '0' || *at > '9') && (*at < 'a' || *at > 'z') && (*at < 'A' || *at > 'Z') && *at != ' ')
			buf_printf(&b, "%c", *at);
	return xasprintf("letters, digits, %s%s", strchr(alphabet, ' ') == NULL ? "" : "blanks inside, ", buf_str(&b));
}

/* The words that it may be, "" = it is free; the caller's. */
static char *
words_text(int setting)
{
	auto_strv struct strv words = STRV_INIT;
	struct buf b = BUF_INIT;

	setting_words(setting, &words);
	for (size_t i = 0; i < words.len; i++)
		buf_printf(&b, "%s%s", i == 0 ? "" : ", ", words.v[i]);
	return buf_steal(&b);
}

/* What a value may be; the caller's. */
static char *
value_text(int setting)
{
	const struct setting_info *info = &setting_infos[setting];
	auto_free char *letters = alphabet_text(info->alphabet == NULL ? "" : info->alphabet);
	auto_free char *least = span(info->min), *most = span(info->max), *list = words_text(setting);

	switch (info->type) {
	case TYPE_choice:
		return xasprintf("choice: %s", list);
	case TYPE_flag:
		return xasprintf("flag: %s", list);
	case TYPE_names:
		return xasprintf("list, with commas between, of: %s", list);
	case TYPE_globs:
		return xasprintf("patterns (glob(7)) with commas between: %s", letters);
	case TYPE_map:
		return xasprintf("map: PATTERN -> IMAGE; PATTERN -> IMAGE");
	case TYPE_pairs:
		return xasprintf("list of NAME=VALUE with commas between: %s", letters);
	case TYPE_span:
		return xasprintf("time, %s to %s: 90, 90s, 5m, 2h or 1d", least, most);
	case TYPE_number:
		return xasprintf("number, %" PRId64 " to %" PRId64, info->min, info->max);
	case TYPE_path:
		return xasprintf("path%s: absolute, of %s", info->fallback[0] == '\0' ? "" : " or a program's name", letters);
	case TYPE_text:
		break;
	}
	return xasprintf("text: %s%s%s; at most %" PRId64, list, list[0] == '\0' ? "" : ", or ", letters, info->max);
}

/* The bounds on what a job may set it to, for people; the caller's. */
static char *
bounds_text(const char *name)
{
	auto_free char *allow = xasprintf("allow-%s", name), *max = xasprintf("max-%s", name);
	bool has_allow = settings_find(allow, NULL) >= 0, has_max = settings_find(max, NULL) >= 0;

	return xasprintf("%s%s%s", has_allow || has_max ? ", within " : "", has_allow ? allow : "", has_max ? max : "");
}

static void
help_setting(int setting)
{
	static const char *const whose[] = {
		[S_HOST] = "the operator, for the whole host",
		[S_RULE] = "the operator, for all jobs or in a section of the settings file",
		[S_JOB] = "the operator, for all jobs or in a section; a job where job-may-set lists it",
		[S_SECRET] = "the operator; it is never shown",
	};
	const struct setting_info *info = &setting_infos[setting];
	auto_free char *value = value_text(setting), *bounds = bounds_text(info->name);
	char env[64];

	(void)settings_env_name(env, sizeof(env), setting); /* the longest has 31 */
	(void)printf("setting: %s\n\n%s\n\n", info->name, info->help);
	(void)printf("  Value:        %s\n", value);
	(void)printf("  Default:      %s\n", setting == SETTING_state_dir ? STATE_DIR :
	    info->fallback[0] == '\0' ? "none" : info->fallback);
	(void)printf("  Set by:       %s%s\n", whose[info->who], info->who == S_JOB ? bounds : "");
	(void)printf("  File:         %s = %s\n", info->name, opts_setting_argname(setting));
	(void)printf("  Option:       --%s=%s\n", info->name, opts_setting_argname(setting));
	(void)printf("  Environment:  %s\n", env);
	if (info->who == S_JOB)
		(void)printf("  Job variable: %s\n", env);
	(void)puts("\nSee novajob.conf(5); 'novajob settings' shows the value that holds, and where it is from.");
}

static bool
unknown_topic(const char *topic, struct fault *f)
{
	struct near near = NEAR_INIT(topic);

	for (const struct cmd *const *c = cmds; *c != NULL; c++)
		if (((*c)->flags & CMD_HIDDEN) == 0)
			near_offer(&near, (*c)->name);
	for (int i = 0; i < SETTINGS_COUNT; i++)
		near_offer(&near, setting_infos[i].name);
	(void)fault_set(f, FAULT_USAGE, "help: '%s' is no command and no setting", topic);
	if (near.best != NULL)
		return fault_hint(f, "did you mean '%s'?", near.best);
	return fault_hint(f, "novajob --help lists the commands and the settings");
}

static bool
run(struct context *c, struct fault *f)
{
	const struct cmd *cmd;
	int setting;

	if (c->argc == 0) {
		help_all();
		return true;
	}
	cmd = cmd_find(c->argv[0]);
	setting = settings_find(c->argv[0], NULL);
	if (cmd == NULL && setting < 0)
		return unknown_topic(c->argv[0], f);
	if (cmd != NULL)
		help_command(cmd);
	if (cmd != NULL && setting >= 0)
		(void)puts("\n--\n"); /* of one name: pool */
	if (setting >= 0)
		help_setting(setting);
	return true;
}

const struct cmd cmd_help = {
	.name = "help",
	.args = "[COMMAND|SETTING]",
	.help = "show this, or what a command or a setting is",
	.details = "Without an operand: all commands, options and settings, a line each. With the\n"
	           "name of a command: what it does, its operands, options and exit codes. With the\n"
	           "name of a setting: what it may be, its default, and who may set it where.\n",
	.example = "help ssh-timeout",
	.min_args = 0,
	.max_args = 1,
	.run = run,
};
