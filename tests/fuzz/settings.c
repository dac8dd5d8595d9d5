/* SPDX-License-Identifier: MIT */
/*
 * settings.c - the settings file and its values. What is taken is within its
 * limits; written back and read again it is the same, by text and by JSON.
 */
#include "settings.h"

#include <jansson.h>
#include <string.h>

#include "fuzz.h"
#include "job.h"
#include "settings_file.h"
#include "settings_value.h"
#include "text.h"
#include "xalloc.h"

struct taken {
	struct settings settings;
	struct buf again; /* a file that says the same */
	size_t count;
	unsigned long line; /* of the last one */
};

/* What the table promises of a value. */
static void
check_value(int setting, const struct setting_value *v, const char *text)
{
	const struct setting_info *info = &setting_infos[setting];
	int64_t unit = info->type == TYPE_span ? 1000 : 1;

	if (info->type == TYPE_span || info->type == TYPE_number)
		CHECK(v->number >= info->min * unit && v->number <= info->max * unit);
	else if (info->type == TYPE_flag)
		CHECK(v->number == 0 || v->number == 1);
	else if (v->text != NULL)
		CHECK(strcmp(v->text, text) == 0 && text_only(text, info->alphabet) && text[0] != '-' &&
		    strlen(text) <= (size_t)info->max);
}

/* The value as text is taken again, for the same value. */
static void
check_text(const struct settings *s, int setting, const struct setting_value *v)
{
	auto_free char *text = settings_text(s, setting);
	auto_value struct setting_value again = SETTING_VALUE_INIT;
	struct fault f;

	CHECK(setting_parse(setting, text, &again, &f));
	CHECK(fuzz_same(again.text, v->text) && again.number == v->number);
}

/* The head of the section as a file may have it; the file's last lines may have had none. */
static void
write_head(struct buf *b, const struct settings_section *section)
{
	if (section == NULL)
		return;
	if (section->pool != NULL) {
		buf_printf(b, "[pool %s]\n", section->pool);
		return;
	}
	buf_puts(b, "[project");
	buf_printf(b, " %s", section->project == NULL ? "*" : section->project);
	if (section->ref != SECTION_ANY_REF)
		buf_puts(b, section->ref == SECTION_PROTECTED ? " protected" : " unprotected");
	buf_puts(b, "]\n");
}

static bool
take(void *context, const struct settings_section *section, int setting, const char *value,
    const char *where, struct fault *f)
{
	struct taken *t = context;
	auto_value struct setting_value v = SETTING_VALUE_INIT;
	struct setting_value stored;
	const char *colon = strrchr(where, ':');
	unsigned long line = colon == NULL ? 0 : strtoul(colon + 1, NULL, 10);

	CHECK(line > t->line);
	t->line = line;
	CHECK(value[0] == '\0' || (strchr(" \t", value[0]) == NULL && strchr(" \t", value[strlen(value) - 1]) == NULL));
	t->count++;
	write_head(&t->again, section);
	buf_printf(&t->again, " %s\t=%s \n", setting_infos[setting].name, value);
	if (!setting_parse(setting, value, &v, f)) {
		fuzz_check_fault(f, FAULT_SETTING);
		return true; /* the file's syntax is looked at further */
	}
	check_value(setting, &v, value);
	stored = (struct setting_value){ .text = xstrdup(v.text), .number = v.number };
	setting_store(&t->settings, setting, &stored);
	CHECK(stored.text == NULL);
	check_text(&t->settings, setting, &v);
	return true;
}

static bool
read_file(struct taken *t, const void *data, size_t size)
{
	struct fault f;

	*t = (struct taken){ .settings = SETTINGS_INIT, .again = BUF_INIT };
	if (settings_file_read(fuzz_file(data, size), false, take, t, &f))
		return true;
	fuzz_check_fault(&f, FAULT_SETTING);
	return false;
}

static void
check_same(const struct settings *a, const struct settings *b)
{
	for (int i = 0; i < SETTINGS_COUNT; i++) {
		auto_free char *one = settings_text(a, i), *other = settings_text(b, i);

		CHECK(strcmp(one, other) == 0);
	}
}

/* What config hands to the other stages. Settings that no file may leave out have to be there. */
static void
check_json(const char *data, size_t size)
{
	auto_settings struct settings all = SETTINGS_INIT, again = SETTINGS_INIT;
	json_auto_t *o = NULL;
	struct fault f;
	struct job job = { .known = true, .project = "group/project", .image = "", .is_protected = size % 2 == 0 };
	const struct settings_from from = { .file = fuzz_file(data, size), .job = size % 3 == 0 ? NULL : &job };

	if (!settings_load(&all, &from, &f)) {
		fuzz_check_fault(&f, FAULT_SETTING);
		return;
	}
	o = settings_json(&all);
	CHECK(settings_from_json(&again, o, &f));
	check_same(&all, &again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct taken first, second;
	bool ok = read_file(&first, data, size);

	/* what came before a wrong line is right all the same */
	CHECK(read_file(&second, buf_str(&first.again), first.again.len));
	CHECK(first.count == second.count);
	check_same(&first.settings, &second.settings);
	CHECK(strcmp(buf_str(&first.again), buf_str(&second.again)) == 0);
	if (ok)
		check_json((const char *)data, size);
	settings_free(&first.settings);
	settings_free(&second.settings);
	buf_free(&first.again);
	buf_free(&second.again);
	return 0;
}
