/* SPDX-License-Identifier: MIT */
/* settings_rules.c - what a job may choose; see settings_rules.h. */
#include "settings_rules.h"

#include <fnmatch.h>
#include <string.h>

#include "buf.h"
#include "choices.h"
#include "settings_value.h"
#include "xalloc.h"

/* One entry of an image-map. */
struct entry {
	char *pattern; /* owned */
	char *image;   /* owned; NULL: the wish itself */
};

#define auto_entry __attribute__((cleanup(entry_free)))

static void
entry_free(struct entry *e)
{
	free(e->pattern);
	free(e->image);
}

/* The setting "allow-x" or "max-x" of x, or -1. */
static int
bound_of(const char *kind, int setting)
{
	auto_free char *name = xasprintf("%s-%s", kind, setting_infos[setting].name);

	return settings_find(name, NULL);
}

static bool
matches_one(const struct strv *patterns, const char *text)
{
	for (size_t i = 0; i < patterns->len; i++)
		if (fnmatch(patterns->v[i], text, FNM_NOESCAPE) == 0)
			return true;
	return false;
}

/* Between ';' a list of names, or the properties of one image. */
static void
split_image_patterns(struct strv *patterns, const char *allowed)
{
	auto_free char *text = xstrdup(allowed);
	char *rest = text, *part;

	while ((part = strsep(&rest, ";")) != NULL) {
		size_t len;

		part += strspn(part, " ");
		for (len = strlen(part); len > 0 && part[len - 1] == ' ';)
			len--;
		if (strchr(part, '=') == NULL)
			strv_split(patterns, part);
		else
			strv_addf(patterns, "%.*s", (int)len, part);
	}
}

/* Each part of a list for itself, of networks that belong together as well; properties of an image are one wish. */
static bool
patterns_allow(int setting, const char *text, const char *allowed)
{
	auto_strv struct strv patterns = STRV_INIT, parts = STRV_INIT;
	bool fine = true;

	if (setting == SETTING_image) {
		split_image_patterns(&patterns, allowed);
		strv_add(&parts, text);
	} else {
		strv_split(&patterns, allowed);
		strv_split(&parts, text);
	}
	for (size_t i = 0; fine && i < parts.len; i++) {
		auto_strv struct strv one = STRV_INIT;

		if (setting == SETTING_network)
			choices_split_networks(parts.v[i], &one);
		else
			strv_add(&one, parts.v[i]);
		for (size_t n = 0; fine && n < one.len; n++)
			fine = matches_one(&patterns, one.v[n]);
	}
	return fine && parts.len > 0; /* "," would be the cloud's own choice: of networks, of the default security group */
}

bool
settings_allowed(const struct settings *s, int setting, const char *variable, struct fault *f)
{
	const struct setting_info *info = &setting_infos[setting];
	int allow = bound_of("allow", setting);
	int max = bound_of("max", setting);
	auto_free char *text = settings_text(s, setting);
	auto_free char *patterns = allow < 0 ? NULL : settings_text(s, allow);
	auto_free char *ceiling = max < 0 ? NULL : settings_text(s, max);

	if (patterns != NULL && patterns[0] != '\0' && !patterns_allow(setting, text, patterns))
		return fault_set(f, FAULT_WISH, "%s asks for %s '%s': this runner allows %s (%s)", variable, info->name,
		    text, patterns, settings_where(s, allow));
	if (ceiling != NULL && *(const int64_t *)(const void *)((const char *)s + info->offset) >
	    *(const int64_t *)(const void *)((const char *)s + setting_infos[max].offset))
		return fault_set(f, FAULT_WISH, "%s asks for %s %s: this runner allows at most %s (%s)", variable,
		    info->name, text, ceiling, settings_where(s, max));
	return true;
}

/* A copy of the first len bytes of s without blanks around it. */
static char *
part(const char *s, size_t len)
{
	for (; len > 0 && *s == ' '; s++)
		len--;
	for (; len > 0 && s[len - 1] == ' '; len--)
		;
	return xstrndup(s, len);
}

/* The entry at *map, which is moved behind it. False: there is none any more. */
static bool
next_entry(const char **map, struct entry *e)
{
	const char *at = *map;
	size_t len = strcspn(at, ";");
	const char *arrow = memmem(at, len, "->", 2);

	entry_free(e);
	*e = (struct entry){ .pattern = NULL };
	if (*at == '\0')
		return false;
	e->pattern = part(at, arrow == NULL ? len : (size_t)(arrow - at));
	if (arrow != NULL)
		e->image = part(arrow + 2, len - (size_t)(arrow + 2 - at));
	*map = at + len + (at[len] == ';');
	return true;
}

bool
settings_map_ok(const char *map, struct fault *f)
{
	auto_entry struct entry e = { .pattern = NULL };

	while (next_entry(&map, &e)) {
		auto_value struct setting_value v = SETTING_VALUE_INIT;

		if (e.pattern[0] == '\0' || strpbrk(e.pattern, " >") != NULL || (e.image != NULL && e.image[0] == '\0')) {
			(void)fault_set(f, FAULT_SETTING, "'%s%s%s' is no entry of a map", e.pattern, e.image == NULL ? "" : " -> ",
			    e.image == NULL ? "" : e.image);
			return fault_hint(f, "PATTERN -> IMAGE, or PATTERN for images that have the name; ';' between two");
		}
		if (e.image != NULL && !setting_parse(SETTING_image, e.image, &v, f))
			return false;
	}
	return true;
}

void
settings_map_images(const char *map, struct strv *images)
{
	auto_entry struct entry e = { .pattern = NULL };

	while (next_entry(&map, &e))
		if (e.image != NULL)
			strv_add(images, e.image);
}

/* The patterns of a map, for people; the caller's. */
static char *
patterns_of(const char *map)
{
	auto_entry struct entry e = { .pattern = NULL };
	auto_buf struct buf b = BUF_INIT;

	while (next_entry(&map, &e))
		buf_printf(&b, "%s%s", b.len == 0 ? "" : ", ", e.pattern);
	return xstrdup(buf_str(&b));
}

bool
settings_job_image(const struct settings *s, const char *wish, char **image, bool *as_is, struct fault *f)
{
	auto_entry struct entry e = { .pattern = NULL };
	auto_free char *patterns = NULL;
	const char *map = s->image_map;

	*image = NULL;
	*as_is = false;
	if (wish[0] == '\0' || strcmp(s->job_image, "ignore") == 0)
		return true;
	if (strcmp(s->job_image, "refuse") == 0) {
		(void)fault_set(f, FAULT_WISH, "image: '%s' of the job: this runner takes no image: (job-image, %s)", wish,
		    settings_where(s, SETTING_job_image));
		return fault_hint(f, "take image: out of the job in .gitlab-ci.yml, or run it on another runner by its tags");
	}
	if (map == NULL)
		return true;
	while (next_entry(&map, &e)) {
		if (fnmatch(e.pattern, wish, FNM_NOESCAPE) != 0)
			continue;
		*as_is = e.image == NULL;
		*image = xstrdup(*as_is ? wish : e.image);
		return true;
	}
	patterns = patterns_of(s->image_map);
	(void)fault_set(f, FAULT_WISH, "image: '%s' of the job: this runner knows %s (image-map, %s)", wish, patterns,
	    settings_where(s, SETTING_image_map));
	return fault_hint(f, "set image: of the job in .gitlab-ci.yml to one of these, or take it out");
}
