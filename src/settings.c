/* SPDX-License-Identifier: MIT */
/*
 * settings.c - the sources of settings and their order; see settings.h. Values
 * are settings_value.c's, the file's syntax is settings_file.c's.
 */
#include "settings.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "json.h"
#include "near.h"
#include "settings_file.h"
#include "settings_rules.h"
#include "settings_value.h"
#include "xalloc.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyz"
#define ALNUM LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

/* No quotes, backslash, | ; < > & ! * ? { } or control characters: these values go into the client's command lines. */
#define A_NAME ALNUM " _.,:/=@^$+()[]#~-"
#define A_WORD ALNUM "_.-"
#define A_PATH ALNUM "_.,:/=@+-" /* neither % nor ~ nor blank: ssh expands or splits them in file names */
#define A_LIST LETTERS "-, "
#define A_GLOB A_NAME "*?"
#define A_JUMP A_WORD "@:[]"
#define A_CIDR ALNUM ".:/"
#define A_GLOBS A_GLOB ";"
#define A_MAP A_GLOBS ">"
#define A_COMMAND A_MAP "!\"%&'<\\`{|}" /* for a shell, but none of this host: it is sent to the server on stdin */

#define ENV_PREFIX "NOVAJOB_"
#define JOB_PREFIX "CUSTOM_ENV_"
#define JSON_VERSION 1

const struct setting_info setting_infos[SETTINGS_COUNT] = {
#define X(t, field, n, d, a, least, most, w, h)                                                                     \
	[SETTING_##field] = { .type = TYPE_##t, .offset = offsetof(struct settings, field), .name = (n),            \
		.fallback = (d), .alphabet = (a), .min = (least), .max = (most), .who = (w), .help = (h) },
	SETTINGS_LIST(X)
#undef X
};

/* The Python executor's interface, all of it: its name of a setting (NULL: none), and its default ("~/" is HOME). */
static const struct compat {
	int setting;
	const char *name;
	const char *fallback; /* NULL: ours */
} compats[] = {
	{ SETTING_flavor, "FLAVOR", NULL },
	{ SETTING_image, "BUILDER_IMAGE", NULL },
	{ SETTING_network, "NETWORK", NULL },
	{ SETTING_key_pair, "KEY_PAIR_NAME", NULL },
	{ SETTING_security_group, "SECURITY_GROUP", NULL },
	{ SETTING_username, "USERNAME", NULL },
	{ SETTING_ssh_timeout, "SSH_TIMEOUT", "30s" },
	{ SETTING_private_key, NULL, "~/priv_key" },
	{ SETTING_trust_variables, NULL, "yes" },
};

/* Weakest first. Finer than setting_source: within the environment, and within a job, our names beat the plain ones. */
enum rank {
	RANK_DEFAULT,
	RANK_COMPAT,
	RANK_FILE,
	RANK_SECTION,
	RANK_ENV_PLAIN,
	RANK_ENV,
	RANK_CALLED_AS,
	RANK_FLAG,
	RANK_JOB_IMAGE,
	RANK_JOB_PLAIN,
	RANK_JOB,
	RANK_RESOLVED,
};

static const enum setting_source rank_source[] = {
	[RANK_DEFAULT] = SOURCE_DEFAULT,
	[RANK_COMPAT] = SOURCE_DEFAULT,
	[RANK_FILE] = SOURCE_FILE,
	[RANK_SECTION] = SOURCE_FILE,
	[RANK_ENV_PLAIN] = SOURCE_ENV,
	[RANK_ENV] = SOURCE_ENV,
	[RANK_CALLED_AS] = SOURCE_FLAG,
	[RANK_FLAG] = SOURCE_FLAG,
	[RANK_JOB_IMAGE] = SOURCE_JOB,
	[RANK_JOB_PLAIN] = SOURCE_JOB,
	[RANK_JOB] = SOURCE_JOB,
	[RANK_RESOLVED] = SOURCE_RESOLVED,
};

struct loader {
	struct settings *s;
	const struct job *job;          /* NULL: none */
	const char *pool;               /* whose section counts; NULL: none's */
	struct strv *pools;             /* gets their names; NULL: nobody asks */
	enum rank rank[SETTINGS_COUNT]; /* of the value that is in s */
};

int
settings_find(const char *name, const char **nearest)
{
	struct near near = NEAR_INIT(name);

	for (int i = 0; i < SETTINGS_COUNT; i++)
		if (strcmp(name, setting_infos[i].name) == 0)
			return i;
	if (nearest == NULL)
		return -1;
	for (int i = 0; i < SETTINGS_COUNT; i++) /* only now: it would cost each stage a millisecond */
		near_offer(&near, setting_infos[i].name);
	*nearest = near.best;
	return -1;
}

/* FLAVOR or SSH_TIMEOUT in lower case and with dashes; the caller's. */
static char *
from_env_form(const char *name)
{
	char *s = xstrdup(name);

	for (char *at = s; *at != '\0'; at++) {
		if (*at >= 'A' && *at <= 'Z')
			*at = (char)(*at - 'A' + 'a');
		else if (*at == '_')
			*at = '-';
		else if (*at == '-' || (*at >= 'a' && *at <= 'z'))
			*at = '?'; /* only the one spelling is ours */
	}
	return s;
}

const char *
settings_env_name(char *out, size_t size, int setting)
{
	(void)snprintf(out, size, ENV_PREFIX "%s", setting_infos[setting].name); /* cut only by a too small out */
	for (char *at = out; *at != '\0'; at++) {
		if (*at >= 'a' && *at <= 'z')
			*at = (char)(*at - 'a' + 'A');
		else if (*at == '-')
			*at = '_';
	}
	return out;
}

const char *
settings_where(const struct settings *s, int setting)
{
	return s->where[setting] == NULL ? "default" : s->where[setting];
}

/*
 * One source names a setting. The value is checked whether or not a stronger one is there already. Empty variables are
 * as good as none; an empty job-may-set is a wish to be kept.
 */
static bool
offer(struct loader *l, enum rank rank, int setting, const char *text, const char *where, struct fault *f)
{
	auto_value struct setting_value v = SETTING_VALUE_INIT;
	enum setting_source source = rank_source[rank];

	if (text[0] == '\0' && (source == SOURCE_ENV || source == SOURCE_JOB) && setting_infos[setting].type != TYPE_names)
		return true;
	if (!setting_parse(setting, text, &v, f)) {
		if (source == SOURCE_JOB)
			f->class = FAULT_WISH;
		return fault_wrap(f, "%s: %s", where == NULL ? "default" : where, setting_infos[setting].name);
	}
	if (rank < l->rank[setting])
		return true;
	setting_store(l->s, setting, &v);
	l->rank[setting] = rank;
	l->s->source[setting] = source;
	free(l->s->where[setting]);
	l->s->where[setting] = xstrdup(where);
	return true;
}

static bool
from_defaults(struct loader *l, struct fault *f)
{
	for (int i = 0; i < SETTINGS_COUNT; i++)
		if (setting_infos[i].fallback[0] != '\0' &&
		    !offer(l, RANK_DEFAULT, i, setting_infos[i].fallback, NULL, f))
			return false;
	return true;
}

/* Is the section, of a pool or of jobs, one of those that count now? */
static bool
section_counts(struct loader *l, const struct settings_section *section)
{
	if (section->pool == NULL)
		return settings_section_fits(section, l->job);
	if (l->pools != NULL && !strv_has(l->pools, section->pool))
		strv_add(l->pools, section->pool);
	return l->pool != NULL && strcmp(l->pool, section->pool) == 0;
}

/* A line of a section that is for other jobs is checked, and left. */
static bool
take_file_line(void *context, const struct settings_section *section, int setting, const char *value,
    const char *where, struct fault *f)
{
	auto_value struct setting_value v = SETTING_VALUE_INIT;
	struct loader *l = context;

	if (section == NULL)
		return offer(l, RANK_FILE, setting, value, where, f);
	if (setting_infos[setting].who == S_HOST && (section->pool == NULL ||
	    (setting != SETTING_pool && setting != SETTING_pool_max_age)))
		return fault_set(f, FAULT_SETTING, "%s: %s is one for the whole host: it cannot stand in a section", where,
		    setting_infos[setting].name);
	if (section_counts(l, section))
		return offer(l, RANK_SECTION, setting, value, where, f);
	return setting_parse(setting, value, &v, f) || fault_wrap(f, "%s: %s", where, setting_infos[setting].name);
}

const char *
settings_path(const char *flag, bool *may_miss)
{
	const char *path = flag != NULL ? flag : getenv(ENV_PREFIX "SETTINGS");

	*may_miss = path == NULL || path[0] == '\0';
	return *may_miss ? SETTINGS_DEFAULT_FILE : path;
}

static bool
from_file(struct loader *l, const char *flag, struct fault *f)
{
	bool may_miss;
	const char *path = settings_path(flag, &may_miss);

	return settings_file_read(path, may_miss, take_file_line, l, f);
}

/* Split "NAME=value"; the name without the prefix is the caller's. NULL when the entry has another prefix. */
static char *
env_entry(const char *entry, const char *prefix, const char **value)
{
	size_t skip = strlen(prefix);
	const char *equals = strchr(entry, '=');

	if (equals == NULL || strncmp(entry, prefix, skip) != 0)
		return NULL;
	*value = equals + 1;
	return xstrndup(entry + skip, (size_t)(equals - entry) - skip);
}

static bool
unknown_variable(const char *name, const char *nearest, struct fault *f)
{
	(void)fault_set(f, FAULT_SETTING, "environment variable " ENV_PREFIX "%s: there is no such setting", name);
	return nearest == NULL ? false : fault_hint(f, "did you mean the one for '%s'?", nearest);
}

static bool
from_env(struct loader *l, struct fault *f)
{
	for (char **e = environ; e != NULL && *e != NULL; e++) {
		const char *nearest = NULL;
		const char *value = NULL;
		auto_free char *name = env_entry(*e, ENV_PREFIX, &value);
		auto_free char *where = NULL;
		auto_free char *key = NULL;
		int setting;

		if (name == NULL || strcmp(name, "RESOLVED") == 0 || strcmp(name, "SETTINGS") == 0)
			continue;
		key = from_env_form(name);
		setting = settings_find(key, &nearest);
		if (setting < 0)
			return unknown_variable(name, nearest, f);
		where = xasprintf(ENV_PREFIX "%s", name);
		if (!offer(l, RANK_ENV, setting, value, where, f))
			return false;
	}
	return true;
}

static bool
from_flags(struct loader *l, const struct settings_from *from, struct fault *f)
{
	if (from->compat) {
		auto_free char *where = xasprintf("called as %s", getprogname());

		if (!offer(l, RANK_CALLED_AS, SETTING_compat, "python", where, f))
			return false;
	}
	for (size_t i = 0; from->flags != NULL && i < from->flags->len; i++) {
		const char *flag = from->flags->v[i];
		size_t len = strcspn(flag, "=");
		auto_free char *where = xasprintf("--%.*s", (int)len, flag);
		int setting = settings_find(where + 2, NULL);

		if (setting < 0 || flag[len] == '\0')
			return fault_set(f, FAULT_USAGE, "%s is no setting with a value", where);
		if (!offer(l, RANK_FLAG, setting, flag + len + 1, where, f))
			return false;
	}
	return true;
}

static bool
is_compat(const struct settings *s)
{
	return strcmp(s->compat, "python") == 0;
}

/* "~/x" below the home directory; anything else as it is. NULL with a fault when there is no home. The caller's. */
static char *
below_home(const char *path, struct fault *f)
{
	const char *home = getenv("HOME");

	if (strncmp(path, "~/", 2) != 0)
		return xstrdup(path);
	if (home == NULL || home[0] == '\0') {
		const struct passwd *pw = getpwuid(geteuid()); /* may ask nscd over a socket: hence only here */

		home = pw == NULL ? NULL : pw->pw_dir;
	}
	if (home == NULL) {
		(void)fault_set(f, FAULT_SETTING, "HOME is not set and user %u is unknown", (unsigned int)geteuid());
		return NULL;
	}
	return xasprintf("%s/%s", strcmp(home, "/") == 0 ? "" : home, path + 2);
}

/* The default of a setting that has no better value yet. */
static bool
offer_default(struct loader *l, enum rank rank, int setting, const char *text, const char *where, struct fault *f)
{
	auto_free char *path = NULL;

	if (l->rank[setting] > rank)
		return true;
	path = below_home(text, f);
	if (path == NULL)
		return fault_wrap(f, "%s", setting_infos[setting].name);
	return offer(l, rank, setting, path, where, f);
}

/* The Python executor's defaults and its plain names in the runner's environment. */
static bool
from_compat(struct loader *l, struct fault *f)
{
	for (size_t i = 0; i < ARRAY_LEN(compats); i++) {
		const struct compat *c = &compats[i];
		const char *value = c->name == NULL ? NULL : getenv(c->name);

		if (c->fallback != NULL && !offer_default(l, RANK_COMPAT, c->setting, c->fallback, "compat = python", f))
			return false;
		if (value != NULL && !offer(l, RANK_ENV_PLAIN, c->setting, value, c->name, f))
			return false;
	}
	return true;
}

/* May a job set it? By job-may-set, or since the Python executor lets it. */
static bool
job_may_set(const struct settings *s, int setting)
{
	auto_strv struct strv allowed = STRV_INIT;

	if (s->job_may_set != NULL)
		strv_split(&allowed, s->job_may_set);
	for (size_t i = 0; is_compat(s) && i < ARRAY_LEN(compats); i++)
		if (compats[i].name != NULL && compats[i].setting == setting)
			return true;
	return setting_infos[setting].who == S_JOB && strv_has(&allowed, setting_infos[setting].name);
}

static bool
job_denied(const struct settings *s, const char *name, int setting, struct fault *f)
{
	auto_buf struct buf names = BUF_INIT;

	for (int i = 0; i < SETTINGS_COUNT; i++)
		if (job_may_set(s, i))
			buf_printf(&names, "%s%s", names.len == 0 ? "" : ", ", setting_infos[i].name);
	return fault_set(f, FAULT_WISH, "job variable " ENV_PREFIX "%s%s: this runner lets jobs set: %s", name,
	    setting < 0 ? " is no setting" : "", names.len == 0 ? "nothing" : buf_str(&names));
}

/* A job variable's value, if the operator's bounds allow it. where: "job variable X". */
static bool
take_wish(struct loader *l, enum rank rank, int setting, const char *value, const char *where, struct fault *f)
{
	if (!offer(l, rank, setting, value, where, f))
		return false;
	return l->rank[setting] != rank || settings_allowed(l->s, setting, where, f);
}

static bool
from_job(struct loader *l, struct fault *f)
{
	for (char **e = environ; e != NULL && *e != NULL; e++) {
		const char *value = NULL;
		auto_free char *name = env_entry(*e, JOB_PREFIX ENV_PREFIX, &value);
		auto_free char *where = NULL;
		auto_free char *key = NULL;
		int setting;

		if (name == NULL || value[0] == '\0') /* as good as none */
			continue;
		key = from_env_form(name);
		setting = settings_find(key, NULL);
		if (setting < 0 || !job_may_set(l->s, setting))
			return job_denied(l->s, name, setting, f);
		where = xasprintf("job variable " ENV_PREFIX "%s", name);
		if (!take_wish(l, RANK_JOB, setting, value, where, f))
			return false;
	}
	for (size_t i = 0; is_compat(l->s) && i < ARRAY_LEN(compats); i++) {
		auto_free char *variable = xasprintf(JOB_PREFIX "%s", compats[i].name == NULL ? "" : compats[i].name);
		auto_free char *where = xasprintf("job variable %s", variable + strlen(JOB_PREFIX));
		const char *value = compats[i].name == NULL ? NULL : getenv(variable);

		if (value != NULL && !take_wish(l, RANK_JOB_PLAIN, compats[i].setting, value, where, f))
			return false;
	}
	return true;
}

/* image: of .gitlab-ci.yml, where the operator has a use for it. */
static bool
from_job_image(struct loader *l, struct fault *f)
{
	auto_free char *image = NULL;
	bool as_is;

	if (!settings_job_image(l->s, l->job->image, &image, &as_is, f))
		return false;
	if (as_is)
		return take_wish(l, RANK_JOB_IMAGE, SETTING_image, image, SETTINGS_JOB_IMAGE, f);
	return image == NULL || offer(l, RANK_JOB_IMAGE, SETTING_image, image, "image-map, for image: of the job", f);
}

/* The last step of each way to settings: a state-dir there always is. */
static bool
with_state_dir(struct loader *l, struct fault *f)
{
	const char *path = geteuid() == 0 ? SETTINGS_STATE_DIR_ROOT : SETTINGS_STATE_DIR_HOME;

	if (l->s->state_dir != NULL)
		return true;
	l->rank[SETTING_state_dir] = RANK_DEFAULT; /* set to nothing is as not set */
	return offer_default(l, RANK_DEFAULT, SETTING_state_dir, path, NULL, f);
}

/* What config has resolved is used whole: the job's variables cannot reach this name, they all have a prefix. */
static bool
from_resolved(struct settings *s, const char *text, struct fault *f)
{
	json_auto_t *root = json_read(text, strlen(text), ENV_PREFIX "RESOLVED", f);

	return root != NULL && settings_from_json(s, root, f);
}

bool
settings_load(struct settings *s, const struct settings_from *from, struct fault *f)
{
	struct loader l = { .s = s, .job = from->job, .pool = from->pool, .pools = from->pools };
	const char *resolved = getenv(ENV_PREFIX "RESOLVED");

	if (from->resolved && resolved != NULL && resolved[0] != '\0')
		return from_resolved(s, resolved, f);
	if (!from_defaults(&l, f) || !from_file(&l, from->file, f) || !from_env(&l, f) || !from_flags(&l, from, f))
		return false;
	if (is_compat(s) && !from_compat(&l, f))
		return false;
	if (from->job != NULL && (!from_job_image(&l, f) || !from_job(&l, f)))
		return false;
	return with_state_dir(&l, f);
}

json_t *
settings_json(const struct settings *s)
{
	json_auto_t *values = json_object();
	json_auto_t *from = json_object();

	for (int i = 0; i < SETTINGS_COUNT; i++) {
		auto_value struct setting_value v = { .text = settings_text(s, i), .number = 0 };

		/* values are ASCII by their alphabets; of the path in `from` json_put takes care */
		(void)json_object_set_new(values, setting_infos[i].name, json_string(v.text));
		json_put(from, setting_infos[i].name, s->where[i]);
	}
	return json_pack("{s:i, s:O, s:O}", "version", JSON_VERSION, "settings", values, "from", from);
}

bool
settings_from_json(struct settings *s, const json_t *o, struct fault *f)
{
	struct loader l = { .s = s };
	json_t *values = json_object_get(o, "settings");
	const json_t *from = json_object_get(o, "from");
	const char *name;
	json_t *value;

	if (json_int(o, "version", 0) != JSON_VERSION || !json_is_object(values))
		return fault_set(f, FAULT_SETTING, "resolved settings are not of version %d", JSON_VERSION);
	if (!from_defaults(&l, f))
		return false;
	json_object_foreach(values, name, value) {
		int setting = settings_find(name, NULL);
		const char *where = json_str(from, name);

		if (setting < 0)
			return fault_set(f, FAULT_SETTING, "resolved settings: there is no setting '%s'", name);
		if (!json_is_string(value))
			return fault_set(f, FAULT_SETTING, "resolved settings: %s is no string", name);
		if (!offer(&l, RANK_RESOLVED, setting, json_string_value(value), where[0] == '\0' ? NULL : where, f))
			return fault_wrap(f, "resolved settings");
	}
	return with_state_dir(&l, f);
}

bool
settings_keys_per_job(const struct settings *s)
{
	if (strcmp(s->keys, "auto") == 0)
		return s->key_pair == NULL;
	return strcmp(s->keys, "per-job") == 0;
}

bool
settings_resolved(const struct settings *s)
{
	return s->source[0] == SOURCE_RESOLVED;
}

void
settings_free(struct settings *s)
{
	for (int i = 0; i < SETTINGS_COUNT; i++) {
		auto_value struct setting_value none = SETTING_VALUE_INIT;

		setting_store(s, i, &none); /* frees a text, zeroes the rest */
		free(s->where[i]);
		s->where[i] = NULL;
		s->source[i] = SOURCE_DEFAULT;
	}
}
