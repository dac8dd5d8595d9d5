/* SPDX-License-Identifier: MIT */
/*
 * cmd_words.c - hidden: what completions offer, from the tables the parser
 * uses, one a line. tests/words.bats compares the manual and --help with it.
 *
 *   __words                 cmd NAME, opt --NAME= (see opts.h): what any command line may have
 *   __words COMMAND         its own options; value WORD, or the word file: its first operand
 *   __words --value=NAME    value WORD: of a setting
 *   __words --operand=ARGS  the same as for a command whose usage has these operands: JOB
 *   __words --classes       class NAME CODE CODE: of faults, the exit codes in a stage and else
 *
 * Behind each word a tab and a few words of help. Whoever presses TAB wants no errors: what cannot be had is not offered.
 */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "pool.h"
#include "record.h"
#include "settings_value.h"
#include "text.h"
#include "xalloc.h"

#define KEY_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-" /* job.h */

struct words_opts {
	const char *value, *operand;
	bool classes;
};

static const struct opt opts[] = {
	{ "value", 0, OPT_STRING, offsetof(struct words_opts, value), "NAME", "the words a setting may be" },
	{ "operand", 0, OPT_STRING, offsetof(struct words_opts, operand), "ARGS", "what the first of these operands may be" },
	{ "classes", 0, OPT_FLAG, offsetof(struct words_opts, classes), NULL, "the classes of faults" },
	{ 0 },
};

static void
offer(const char *word, const char *help)
{
	(void)printf("value %s\t%s\n", word, help); /* main looks at ferror(stdout) */
}

static void
offer_commands(const struct context *c)
{
	(void)c;
	for (const struct cmd *const *each = cmds; *each != NULL; each++)
		if (((*each)->flags & CMD_HIDDEN) == 0)
			offer((*each)->name, (*each)->help);
}

/* A setting with a command's name is the command's topic as well: one line will do. */
static void
offer_settings(const struct context *c)
{
	(void)c;
	for (int i = 0; i < SETTINGS_COUNT; i++)
		if (cmd_find(setting_infos[i].name) == NULL)
			offer(setting_infos[i].name, setting_infos[i].help);
}

static void
offer_files(const struct context *c)
{
	(void)c;
	(void)puts("file"); /* as above */
}

/* Has the job a server now? By its record alone: nobody waits for the cloud at a TAB. */
static bool
is_live(const struct record *r)
{
	return r->phase != PHASE_NONE && r->phase != PHASE_DELETING && r->phase != PHASE_DELETED && r->phase != PHASE_LOST;
}

/* GitLab's id of the job: what stands behind the last dash of its key. */
static const char *
id_of(const char *key)
{
	const char *dash = strrchr(key, '-');

	return dash == NULL ? key : dash + 1;
}

/* A job of STATE that lives is added to keys, with its address to the same place of addresses. */
static void
add_live(const char *dir, const char *key, struct strv *keys, struct strv *addresses)
{
	auto_state struct state state = STATE_INIT;
	auto_record struct record r = RECORD_INIT;
	struct fault f;

	if (pool_is_key(key) || !text_only(key, KEY_LETTERS)) /* words for a shell */
		return;
	if (!state_open(&state, dir, key, false, &f) || !record_read(&r, &state, &f) || !is_live(&r))
		return;
	strv_add(keys, key);
	strv_add(addresses, r.address == NULL ? "no address yet" : r.address);
}

/* The jobs of this STATE, each by GitLab's id; where two GitLab servers have the same one, by the whole key. */
static void
offer_jobs(const struct context *c)
{
	const struct settings_from from = { .flags = c->flags, .file = c->settings_file, .compat = c->compat };
	auto_settings struct settings st = SETTINGS_INIT;
	auto_strv struct strv all = STRV_INIT, keys = STRV_INIT, addresses = STRV_INIT;
	struct fault f;

	if (!settings_load(&st, &from, &f))
		return;
	state_keys(st.state_dir, &all);
	for (size_t i = 0; i < all.len; i++)
		add_live(st.state_dir, all.v[i], &keys, &addresses);
	for (size_t i = 0; i < keys.len; i++) {
		size_t same = 0;
		char help[64];

		for (size_t n = 0; n < keys.len; n++)
			same += strcmp(id_of(keys.v[n]), id_of(keys.v[i])) == 0;
		text_one_line(help, sizeof(help), addresses.v[i]);
		offer(same == 1 ? id_of(keys.v[i]) : keys.v[i], help);
	}
}

/* What a word in capitals stands for in a command's operands. */
static const struct {
	const char *name;
	void (*offer)(const struct context *c);
} metavars[] = {
	{ "COMMAND", offer_commands },
	{ "FILE", offer_files },
	{ "JOB", offer_jobs },
	{ "SCRIPT", offer_files },
	{ "SETTING", offer_settings },
};

/* One of "fill|status|drain" or "COMMAND|SETTING": small letters stand for themselves. */
static void
offer_part(const struct context *c, const char *part)
{
	if (part[0] >= 'a' && part[0] <= 'z')
		offer(part, "");
	for (size_t i = 0; i < ARRAY_LEN(metavars); i++)
		if (strcmp(metavars[i].name, part) == 0)
			metavars[i].offer(c);
}

/* The first operand, as the usage line has it: "JOB SPAN", "[--json] [COMMAND|SETTING]". */
static void
offer_operand(const struct context *c, const char *args)
{
	auto_free char *text = xstrdup(args == NULL ? "" : args);
	char *rest = text, *word, *part;

	while ((word = strsep(&rest, " ")) != NULL) {
		if (word[0] == '\0' || strncmp(word, "[-", 2) == 0)
			continue;
		while ((part = strsep(&word, "[|]")) != NULL)
			offer_part(c, part);
		return;
	}
}

static bool
offer_values(const char *name, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	int setting = settings_find(name, NULL);

	if (setting < 0)
		return fault_set(f, FAULT_USAGE, "__words: unknown setting '%s'", name);
	setting_words(setting, &words);
	for (size_t i = 0; i < words.len; i++) {
		int named = setting_infos[setting].type == TYPE_names ? settings_find(words.v[i], NULL) : -1;

		offer(words.v[i], named < 0 ? "" : setting_infos[named].help);
	}
	return true;
}

static bool
of_command(const struct context *c, const char *name, struct fault *f)
{
	const struct cmd *cmd = cmd_find(name);

	if (cmd == NULL)
		return fault_set(f, FAULT_USAGE, "__words: unknown command '%s'", name);
	opts_words(stdout, cmd->opts);
	offer_operand(c, cmd->args);
	return true;
}

static void
of_program(void)
{
	for (const struct cmd *const *each = cmds; *each != NULL; each++)
		if (((*each)->flags & CMD_HIDDEN) == 0)
			(void)printf("cmd %s\t%s\n", (*each)->name, (*each)->help); /* main looks at ferror(stdout) */
	opts_words(stdout, opts_global);
	opts_words_settings(stdout);
}

static void
print_classes(void)
{
	for (int i = FAULT_NONE + 1; i < FAULT_COUNT; i++) {
		const struct fault f = { .class = (enum fault_class)i };

		(void)printf("class %s %d %d\n", fault_class_name(f.class), fault_exit_code(&f, true), fault_exit_code(&f, false));
	}
}

static bool
run(struct context *c, struct fault *f)
{
	const struct words_opts *o = c->opts;

	if (o->value != NULL)
		return offer_values(o->value, f);
	if (c->argc > 0)
		return of_command(c, c->argv[0], f);
	if (o->operand != NULL)
		offer_operand(c, o->operand);
	else if (o->classes)
		print_classes();
	else
		of_program();
	return true;
}

const struct cmd cmd_words = {
	.name = "__words",
	.args = "[--value=NAME] [--operand=ARGS] [--classes] [COMMAND]",
	.help = "the words for completion: commands and options, or a command's own",
	.min_args = 0,
	.max_args = 1,
	.flags = CMD_HIDDEN,
	.opts = opts,
	.opts_size = sizeof(struct words_opts),
	.run = run,
};
