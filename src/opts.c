/* SPDX-License-Identifier: MIT */
/* opts.c - the one option parser; see opts.h. Plain code: getopt_long keeps state, prints, and knows one table only. */
#include "opts.h"

#include <string.h>

#include "near.h"
#include "settings.h"
#include "settings_value.h"
#include "xalloc.h"

const struct opt opts_global[] = {
	{ "help", 'h', OPT_FLAG, offsetof(struct opt_globals, help), NULL, "show this, or a command's help, and exit" },
	{ "settings", 0, OPT_STRING, offsetof(struct opt_globals, settings), "FILE",
	    "read settings from FILE, not from " SETTINGS_DEFAULT_FILE },
	{ "verbose", 'v', OPT_COUNT, offsetof(struct opt_globals, verbose), NULL,
	    "say more; twice: every child's arguments" },
	{ "version", 'V', OPT_FLAG, offsetof(struct opt_globals, version), NULL, "show the version and exit" },
	{ 0 },
};

/* Where parsing is. */
struct parser {
	const struct opt_set *sets;
	struct strv *settings;
	int argc;
	char **argv;
};

static bool
is_end(const struct opt *o)
{
	return o->name == NULL && o->val == 0;
}

/* The option of a long name (len bytes) or, with name NULL, of a letter. *target is the struct it fills. */
static const struct opt *
find(const struct opt_set *sets, const char *name, size_t len, int val, void **target)
{
	for (; sets->opts != NULL; sets++)
		for (const struct opt *o = sets->opts; !is_end(o); o++) {
			if (name == NULL ? o->val == val
			                 : o->name != NULL && strlen(o->name) == len &&
			                     strncmp(o->name, name, len) == 0) {
				*target = sets->target;
				return o;
			}
		}
	return NULL;
}

/* The next argument as an option's value, or NULL when there is none. */
static const char *
next_value(struct parser *p)
{
	if (p->argc == 0)
		return NULL;
	p->argc--;
	return *p->argv++;
}

/* Store an option. shown is how it was written: "--number", "-n". */
static bool
store(const struct opt *o, void *target, const char *shown, const char *value, struct fault *f)
{
	char *field = (char *)target + o->offset;
	const char *wrong = NULL;

	switch (o->kind) {
	case OPT_FLAG:
		*(bool *)(void *)field = true;
		break;
	case OPT_COUNT:
		(*(int *)(void *)field)++;
		break;
	case OPT_STRING:
		*(const char **)(void *)field = value;
		break;
	case OPT_NUMBER:
		*(int64_t *)(void *)field = strtonum(value, 0, INT64_MAX, &wrong);
		if (wrong != NULL)
			return fault_set(f, FAULT_USAGE, "option %s: number '%s' is %s", shown, value, wrong);
		break;
	}
	return true;
}

static bool
missing_value(const char *shown, struct fault *f)
{
	return fault_set(f, FAULT_USAGE, "option %s needs a value", shown);
}

static bool
unknown_long(const struct opt_set *sets, const char *name, struct fault *f)
{
	struct near near = NEAR_INIT(name);

	for (; sets->opts != NULL; sets++)
		for (const struct opt *o = sets->opts; !is_end(o); o++)
			if (o->name != NULL)
				near_offer(&near, o->name);
	for (int i = 0; i < SETTINGS_COUNT; i++)
		near_offer(&near, setting_infos[i].name);
	(void)fault_set(f, FAULT_USAGE, "unknown option --%s", name);
	if (near.best != NULL)
		return fault_hint(f, "did you mean --%s?", near.best);
	return fault_hint(f, "novajob --help lists the options");
}

/* word is "name" or "name=value". */
static bool
parse_long(struct parser *p, const char *word, struct fault *f)
{
	size_t len = strcspn(word, "=");
	const char *value = word[len] == '=' ? word + len + 1 : NULL;
	auto_free char *shown = xasprintf("--%.*s", (int)len, word);
	void *target = NULL;
	const struct opt *o = find(p->sets, word, len, 0, &target);
	bool has_value = o == NULL || o->argname != NULL; /* a setting always has one */

	if (o == NULL && settings_find(shown + 2, NULL) < 0)
		return unknown_long(p->sets, shown + 2, f);
	if (!has_value && value != NULL)
		return fault_set(f, FAULT_USAGE, "option %s takes no value", shown);
	if (has_value && value == NULL) {
		value = next_value(p);
		if (value == NULL)
			return missing_value(shown, f);
	}
	if (o != NULL)
		return store(o, target, shown, value, f);
	strv_addf(p->settings, "%s=%s", shown + 2, value);
	return true;
}

/* A group of letters without the dash: "vv", "nVALUE". */
static bool
parse_short(struct parser *p, const char *letters, struct fault *f)
{
	for (; *letters != '\0'; letters++) {
		const char shown[] = { '-', *letters, '\0' };
		const char *value = NULL;
		void *target = NULL;
		const struct opt *o = find(p->sets, NULL, 0, (unsigned char)*letters, &target);

		if (o == NULL) {
			(void)fault_set(f, FAULT_USAGE, "unknown option %s", shown);
			return fault_hint(f, "novajob --help lists the options");
		}
		if (o->argname == NULL) {
			if (!store(o, target, shown, NULL, f))
				return false;
			continue;
		}
		value = letters[1] != '\0' ? letters + 1 : next_value(p);
		return value == NULL ? missing_value(shown, f) : store(o, target, shown, value, f);
	}
	return true;
}

bool
opts_parse(const struct opt_set *sets, struct strv *settings, int *argc, char ***argv, struct fault *f)
{
	struct parser p = { .sets = sets, .settings = settings, .argc = *argc, .argv = *argv };
	bool is_fine = true;

	while (is_fine && p.argc > 0 && p.argv[0][0] == '-' && p.argv[0][1] != '\0') {
		const char *word = next_value(&p);

		if (strcmp(word, "--") == 0)
			break;
		is_fine = word[1] == '-' ? parse_long(&p, word + 2, f) : parse_short(&p, word + 1, f);
	}
	*argc = p.argc;
	*argv = p.argv;
	return is_fine;
}

static void
usage_line(FILE *out, const char *left, const char *help, const char *fallback)
{
	(void)fprintf(out, "  %-28s %s", left, help); /* main looks at ferror(stdout) */
	if (fallback[0] != '\0')
		(void)fprintf(out, " (%s)", fallback);
	(void)fputc('\n', out);
}

void
opts_usage(FILE *out, const struct opt *opts)
{
	for (const struct opt *o = opts; o != NULL && !is_end(o); o++) {
		const char letter[] = { '-', (char)o->val, ',', ' ', '\0' };
		auto_free char *left = xasprintf("%s--%s%s%s", o->val == 0 ? "    " : letter, o->name,
		    o->argname == NULL ? "" : "=", o->argname == NULL ? "" : o->argname);

		usage_line(out, left, o->help, "");
	}
}

const char *
opts_setting_argname(int setting)
{
	static const char *const argnames[] = {
		[TYPE_text] = "TEXT",
		[TYPE_path] = "PATH",
		[TYPE_names] = "LIST",
		[TYPE_globs] = "LIST",
		[TYPE_map] = "MAP",
		[TYPE_pairs] = "LIST",
		[TYPE_choice] = "WORD",
		[TYPE_span] = "TIME",
		[TYPE_number] = "NUMBER",
		[TYPE_flag] = "yes|no",
	};

	return argnames[setting_infos[setting].type];
}

void
opts_usage_settings(FILE *out)
{
	for (int i = 0; i < SETTINGS_COUNT; i++) {
		const struct setting_info *info = &setting_infos[i];
		auto_free char *left = xasprintf("--%s=%s", info->name, opts_setting_argname(i));

		usage_line(out, left, info->help, info->fallback);
	}
}

void
opts_words(FILE *out, const struct opt *opts)
{
	for (const struct opt *o = opts; o != NULL && !is_end(o); o++) {
		const char *equals = o->argname == NULL ? "" : "=";
		const char *kind = o->argname != NULL && strcmp(o->argname, "FILE") == 0 ? "file" : "";

		if (o->name != NULL)
			(void)fprintf(out, "opt --%s%s\t%s\t%s\n", o->name, equals, o->help, kind);
		if (o->val != 0)
			(void)fprintf(out, "opt -%c\t%s\t\n", o->val, o->help);
	}
}

/* How a setting's value is completed; "" = nobody here knows the names and numbers it may be. */
static const char *
value_kind(int setting)
{
	const struct setting_info *info = &setting_infos[setting];
	auto_strv struct strv words = STRV_INIT;
	size_t len = strlen(info->name);

	if (info->type == TYPE_path)
		return len > 4 && strcmp(info->name + len - 4, "-dir") == 0 ? "dir" : "file";
	setting_words(setting, &words);
	if (words.len == 0)
		return "";
	return info->type == TYPE_names ? "list" : "word";
}

void
opts_words_settings(FILE *out)
{
	for (int i = 0; i < SETTINGS_COUNT; i++)
		(void)fprintf(out, "opt --%s=\t%s\t%s\n", setting_infos[i].name, setting_infos[i].help, value_kind(i));
}
