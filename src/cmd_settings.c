/* SPDX-License-Identifier: MIT */
/* cmd_settings.c - for the operator: every setting, its value, and where that is from. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "json.h"

struct settings_opts {
	bool json;
};

static const struct opt opts[] = {
	{ "json", 0, OPT_FLAG, offsetof(struct settings_opts, json), NULL, "print a JSON object" },
	{ 0 },
};

static void
print_table(const struct settings *s)
{
	int name_width = 0, value_width = 0;

	for (int i = 0; i < SETTINGS_COUNT; i++) {
		auto_free char *value = settings_shown(s, i);
		int name_len = (int)strlen(setting_infos[i].name);
		int value_len = (int)strlen(value);

		name_width = name_len > name_width ? name_len : name_width;
		value_width = value_len > value_width && value_len <= 40 ? value_len : value_width;
	}
	for (int i = 0; i < SETTINGS_COUNT; i++) {
		auto_free char *value = settings_shown(s, i);

		(void)printf("%-*s  %-*s  %s\n", name_width, setting_infos[i].name, value_width,
		    value[0] == '\0' ? "-" : value, settings_where(s, i)); /* main looks at ferror(stdout) */
	}
}

static void
print_json(const struct settings *s)
{
	json_auto_t *root = json_object();
	auto_free char *text = NULL;

	for (int i = 0; i < SETTINGS_COUNT; i++) {
		auto_free char *value = settings_shown(s, i);
		json_t *entry = json_pack("{s:o}", "value", value[0] == '\0' ? json_null() : json_string(value));

		json_put(entry, "from", settings_where(s, i));
		(void)json_object_set_new(root, setting_infos[i].name, entry);
	}
	text = json_text(root);
	(void)puts(text); /* main looks at ferror(stdout) */
}

static bool
run(struct context *c, struct fault *f)
{
	const struct settings_opts *o = c->opts;

	(void)f; /* printing fails in main */
	if (o->json)
		print_json(&c->settings);
	else
		print_table(&c->settings);
	return true;
}

const struct cmd cmd_settings = {
	.name = "settings",
	.args = "[--json]",
	.help = "show every setting, its value, and where that is from",
	.details = "A table of all settings as they hold here: from options, the environment, the\n"
	           "settings file and defaults, without what a job's variables may change. A secret\n"
	           "is shown as ***.\n",
	.example = "settings --flavor=m1.large",
	.see = "novajob.conf(5)",
	.min_args = 0,
	.max_args = 0,
	.flags = CMD_SETTINGS,
	.opts = opts,
	.opts_size = sizeof(struct settings_opts),
	.run = run,
};
