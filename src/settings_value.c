/* SPDX-License-Identifier: MIT */
/*
 * settings_value.c - one value of one setting; see settings_value.h. Values
 * reach command lines of openstack and ssh, file names and the job log: what
 * may be in them is a closed alphabet per setting, and no leading dash.
 */
#include "settings_value.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addresses.h"
#include "settings_rules.h"
#include "text.h"
#include "xalloc.h"

#define DIGITS "0123456789"

/* So much of a bad value is shown. */
#define SHOWN 80
#define SHOW(s) (int)strnlen((s), SHOWN), (s), strlen(s) > SHOWN ? "…" : ""

/* A path is absolute; a program may also be a bare name, looked up in PATH. */
static bool
path_ok(const struct setting_info *info, const char *text, struct fault *f)
{
	bool is_program = info->fallback[0] != '\0';

	if (text[0] == '/' || (is_program && strchr(text, '/') == NULL))
		return true;
	return fault_set(f, FAULT_SETTING, "'%.*s%s' is no absolute path%s", SHOW(text),
	    is_program ? " and no program's name" : "");
}

static bool
names_ok(const char *list, struct fault *f)
{
	auto_strv struct strv names = STRV_INIT;

	strv_split(&names, list);
	for (size_t i = 0; i < names.len; i++) {
		int found = settings_find(names.v[i], NULL);

		if (found < 0)
			return fault_set(f, FAULT_SETTING, "there is no setting '%s'", names.v[i]);
		if (setting_infos[found].who != S_JOB)
			return fault_set(f, FAULT_SETTING, "no job may ever set '%s'", names.v[i]);
	}
	return true;
}

/* What the server's properties may be named: ours are not for others to set. */
static bool
pairs_ok(const char *list, struct fault *f)
{
	auto_strv struct strv pairs = STRV_INIT;

	strv_split(&pairs, list);
	for (size_t i = 0; i < pairs.len; i++) {
		const char *pair = pairs.v[i];

		if (strchr(pair, '=') == NULL || pair[0] == '=')
			return fault_set(f, FAULT_SETTING, "'%.*s%s' is no name=value", SHOW(pair));
		if (strncasecmp(pair, "novajob:", 8) == 0)
			return fault_set(f, FAULT_SETTING, "'%.*s%s': the properties novajob:… are novajob's own", SHOW(pair));
		if (strlen(pair) > 255)
			return fault_set(f, FAULT_SETTING, "'%.*s%s' is longer than 255 characters", SHOW(pair));
	}
	return true;
}

/* An image known by properties: each a name and a value, and no name twice, of which the client would keep the last. */
static bool
image_ok(const char *text, struct fault *f)
{
	auto_strv struct strv pairs = STRV_INIT;

	if (strchr(text, '=') == NULL)
		return true;
	strv_split(&pairs, text);
	for (size_t i = 0; i < pairs.len; i++) {
		size_t name = strcspn(pairs.v[i], "=") + 1; /* with the '=' */

		if (name == 1 || pairs.v[i][name - 1] == '\0')
			return fault_set(f, FAULT_SETTING, "'%.*s%s' is no name=value", SHOW(pairs.v[i]));
		for (size_t n = 0; n < i; n++)
			if (strncmp(pairs.v[n], pairs.v[i], name) == 0)
				return fault_set(f, FAULT_SETTING, "'%.*s%s': the name is there twice", SHOW(pairs.v[i]));
	}
	return true;
}

static bool
text_ok(int setting, const char *text, struct fault *f)
{
	const struct setting_info *info = &setting_infos[setting];
	size_t good = strspn(text, info->alphabet);
	size_t len = strlen(text);

	if (text[0] == '-')
		return fault_set(f, FAULT_SETTING, "'%.*s%s' begins with '-'", SHOW(text));
	if (text[good] != '\0') {
		auto_free char *bad = text_safe(text + good, 1);

		if (text[good] == '\n')
			return fault_set(f, FAULT_SETTING, "a newline is not allowed in it");
		return fault_set(f, FAULT_SETTING, "the character '%s' is not allowed in '%.*s%s'", bad, SHOW(text));
	}
	if (text[0] == ' ' || text[len - 1] == ' ')
		return fault_set(f, FAULT_SETTING, "a blank at the start or end is not allowed");
	if (len > (size_t)info->max)
		return fault_set(f, FAULT_SETTING, "'%.*s%s' is longer than %" PRId64 " characters", SHOW(text),
		    info->max);
	if (info->type == TYPE_path)
		return path_ok(info, text, f);
	if (info->type == TYPE_names)
		return names_ok(text, f);
	if (info->type == TYPE_map)
		return settings_map_ok(text, f);
	if (info->type == TYPE_pairs)
		return pairs_ok(text, f);
	if (text[strspn(text, " ,")] == '\0')
		return fault_set(f, FAULT_SETTING, "'%.*s%s' is a list of nothing", SHOW(text));
	if (setting == SETTING_image && !image_ok(text, f))
		return false;
	if (setting == SETTING_address && !addresses_ok(text))
		return fault_set(f, FAULT_SETTING, "'%s' is none of auto, fixed, floating, 4, 6, or a network like 10.0.0.0/8", text);
	return true;
}

static bool
choice_ok(const struct setting_info *info, const char *text, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;

	strv_split(&words, info->alphabet);
	return strv_has(&words, text) ||
	    fault_set(f, FAULT_SETTING, "'%.*s%s' is none of: %s", SHOW(text), info->alphabet);
}

/* Seconds per unit, 0 for an unknown one. */
static int64_t
unit_seconds(const char *unit)
{
	static const struct {
		const char *name;
		int64_t seconds;
	} units[] = { { "", 1 }, { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 } };

	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (strcmp(unit, units[i].name) == 0)
			return units[i].seconds;
	return 0;
}

static bool
parse_span(const struct setting_info *info, const char *text, int64_t *ms, struct fault *f)
{
	size_t digits = strspn(text, DIGITS);
	auto_free char *number = xstrndup(text, digits);
	int64_t unit = unit_seconds(text + digits);
	const char *wrong = NULL;
	int64_t count = strtonum(number, 0, info->max, &wrong);

	if (digits == 0 || unit == 0)
		wrong = "invalid";
	else if (wrong == NULL && count > info->max / unit)
		wrong = "too large";
	else if (wrong == NULL && count * unit < info->min)
		wrong = "too small";
	if (wrong != NULL)
		return fault_set(f, FAULT_SETTING,
		    "'%.*s%s' is %s: expected %" PRId64 " to %" PRId64 " seconds, as 90, 90s, 5m, 2h or 1d", SHOW(text),
		    wrong, info->min, info->max);
	*ms = count * unit * 1000;
	return true;
}

static bool
parse_number(const struct setting_info *info, const char *text, int64_t *number, struct fault *f)
{
	const char *wrong = NULL;

	*number = strtonum(text, info->min, info->max, &wrong);
	if (wrong == NULL && !text_only(text, DIGITS)) /* strtonum takes leading blanks and a sign */
		wrong = "invalid";
	if (wrong != NULL)
		return fault_set(f, FAULT_SETTING, "'%.*s%s' is %s: expected a number from %" PRId64 " to %" PRId64,
		    SHOW(text), wrong, info->min, info->max);
	return true;
}

bool
setting_parse(int setting, const char *text, struct setting_value *v, struct fault *f)
{
	const struct setting_info *info = &setting_infos[setting];

	switch (info->type) {
	case TYPE_span:
		return parse_span(info, text, &v->number, f);
	case TYPE_number:
		return parse_number(info, text, &v->number, f);
	case TYPE_flag:
		v->number = strcmp(text, "yes") == 0;
		if (v->number == 0 && strcmp(text, "no") != 0)
			return fault_set(f, FAULT_SETTING, "'%.*s%s' is neither yes nor no", SHOW(text));
		return true;
	case TYPE_choice:
		if (!choice_ok(info, text, f))
			return false;
		v->text = xstrdup(text);
		return true;
	case TYPE_text:
	case TYPE_path:
		if (text[0] == '\0' && info->fallback[0] != '\0')
			return fault_set(f, FAULT_SETTING, "it must not be empty");
		break;
	case TYPE_names:
	case TYPE_globs:
	case TYPE_map:
	case TYPE_pairs:
		break;
	}
	if (text[0] == '\0')
		return true; /* not set: v->text stays NULL */
	if (!text_ok(setting, text, f))
		return false;
	v->text = xstrdup(text);
	return true;
}

void
setting_store(struct settings *s, int setting, struct setting_value *v)
{
	void *field = (char *)s + setting_infos[setting].offset;

	switch (setting_infos[setting].type) {
	case TYPE_text:
	case TYPE_path:
	case TYPE_names:
	case TYPE_globs:
	case TYPE_map:
	case TYPE_pairs:
	case TYPE_choice:
		freezero(*(char **)field, *(char **)field == NULL ? 0 : strlen(*(char **)field));
		*(char **)field = steal_ptr(&v->text);
		break;
	case TYPE_span:
	case TYPE_number:
		*(int64_t *)field = v->number;
		break;
	case TYPE_flag:
		*(bool *)field = v->number != 0;
		break;
	}
}

void
setting_words(int setting, struct strv *words)
{
	const struct setting_info *info = &setting_infos[setting];

	if (info->type == TYPE_flag)
		strv_split(words, "yes,no");
	else if (info->type == TYPE_choice)
		strv_split(words, info->alphabet);
	else if (setting == SETTING_address)
		strv_split(words, ADDRESSES_WORDS);
	for (int i = 0; info->type == TYPE_names && i < SETTINGS_COUNT; i++)
		if (setting_infos[i].who == S_JOB)
			strv_add(words, setting_infos[i].name);
}

void
setting_value_free(struct setting_value *v)
{
	if (v->text != NULL)
		freezero(v->text, strlen(v->text)); /* it may be a secret */
	v->text = NULL;
}

/* In the largest of h, m, s that is exact. */
static char *
span_text(int64_t ms)
{
	int64_t s = ms / 1000;

	if (s != 0 && s % 3600 == 0)
		return xasprintf("%" PRId64 "h", s / 3600);
	if (s != 0 && s % 60 == 0)
		return xasprintf("%" PRId64 "m", s / 60);
	return xasprintf("%" PRId64 "s", s);
}

char *
settings_text(const struct settings *s, int setting)
{
	const void *field = (const char *)s + setting_infos[setting].offset;

	switch (setting_infos[setting].type) {
	case TYPE_text:
	case TYPE_path:
	case TYPE_names:
	case TYPE_globs:
	case TYPE_map:
	case TYPE_pairs:
	case TYPE_choice:
		break;
	case TYPE_span:
		return span_text(*(const int64_t *)field);
	case TYPE_number:
		return xasprintf("%" PRId64, *(const int64_t *)field);
	case TYPE_flag:
		return xstrdup(*(const bool *)field ? "yes" : "no");
	}
	return xstrdup(*(char *const *)field == NULL ? "" : *(char *const *)field);
}

char *
settings_shown(const struct settings *s, int setting)
{
	auto_value struct setting_value v = { .text = settings_text(s, setting), .number = 0 };

	if (setting_infos[setting].who == S_SECRET && v.text[0] != '\0')
		return xstrdup("***");
	return steal_ptr(&v.text);
}
