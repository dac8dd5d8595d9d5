/* SPDX-License-Identifier: MIT */
/*
 * doctor_runner.c - novajob doctor: gitlab-runner's config.toml; see doctor.h.
 * Of TOML only what such files have is read: tables and `key = value` lines.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"
#include "xalloc.h"

#define VALUE_MAX  256
#define AFTER_MS   INT64_C(7000) /* what a stage may take beyond its own grace (remote.c, HACKING.md) */
#define STAGE_S    3600          /* gitlab-runner's defaults (contract.md §7), for 0 and less as well */
#define GRACEFUL_S 600
#define UNKNOWN    "?"           /* an array that goes over several lines: not read */

enum { STAGE_CONFIG, STAGE_PREPARE, STAGE_RUN, STAGE_CLEANUP, STAGES };

/* Each stage's name, and that of the link which is it (compat = python). */
static const struct {
	const char *name, *link;
} stages[STAGES] = {
	[STAGE_CONFIG] = { "config", "config.sh" },
	[STAGE_PREPARE] = { "prepare", "prepare.py" },
	[STAGE_RUN] = { "run", "run.py" },
	[STAGE_CLEANUP] = { "cleanup", "cleanup.py" },
};

/* One [[runners]] entry; "": not set. */
struct runner {
	char name[VALUE_MAX], executor[VALUE_MAX], shell[VALUE_MAX], builds_dir[VALUE_MAX], cache_dir[VALUE_MAX];
	char exec[STAGES][VALUE_MAX], last_arg[STAGES][VALUE_MAX];
	int64_t prepare_timeout, cleanup_timeout, graceful; /* seconds */
	bool credentials; /* environment has OS_* */
};

/* The whole file's. */
struct global {
	int64_t concurrent, shutdown_timeout;
};

enum kind { TEXT, SECONDS, LAST /* the last text of an array */ };

/* Where a runner's keys go. */
static const struct {
	const char *table, *key;
	enum kind kind;
	size_t offset;
	int64_t otherwise; /* for 0 and less */
} keys[] = {
	{ "runners", "name", TEXT, offsetof(struct runner, name), 0 },
	{ "runners", "executor", TEXT, offsetof(struct runner, executor), 0 },
	{ "runners", "shell", TEXT, offsetof(struct runner, shell), 0 },
	{ "runners", "builds_dir", TEXT, offsetof(struct runner, builds_dir), 0 },
	{ "runners", "cache_dir", TEXT, offsetof(struct runner, cache_dir), 0 },
	{ "runners.custom", "config_exec", TEXT, offsetof(struct runner, exec[STAGE_CONFIG]), 0 },
	{ "runners.custom", "prepare_exec", TEXT, offsetof(struct runner, exec[STAGE_PREPARE]), 0 },
	{ "runners.custom", "run_exec", TEXT, offsetof(struct runner, exec[STAGE_RUN]), 0 },
	{ "runners.custom", "cleanup_exec", TEXT, offsetof(struct runner, exec[STAGE_CLEANUP]), 0 },
	{ "runners.custom", "config_args", LAST, offsetof(struct runner, last_arg[STAGE_CONFIG]), 0 },
	{ "runners.custom", "prepare_args", LAST, offsetof(struct runner, last_arg[STAGE_PREPARE]), 0 },
	{ "runners.custom", "run_args", LAST, offsetof(struct runner, last_arg[STAGE_RUN]), 0 },
	{ "runners.custom", "cleanup_args", LAST, offsetof(struct runner, last_arg[STAGE_CLEANUP]), 0 },
	{ "runners.custom", "prepare_exec_timeout", SECONDS, offsetof(struct runner, prepare_timeout), STAGE_S },
	{ "runners.custom", "cleanup_exec_timeout", SECONDS, offsetof(struct runner, cleanup_timeout), STAGE_S },
	{ "runners.custom", "graceful_kill_timeout", SECONDS, offsetof(struct runner, graceful), GRACEFUL_S },
};

/* A value without quotes or what is behind it; s is changed. */
static char *
bare_value(char *s)
{
	size_t n;

	if (*s == '"' || *s == '\'') {
		char *end = strchr(s + 1, *s);

		if (end != NULL)
			*end = '\0';
		return s + 1;
	}
	n = strcspn(s, "#\n");
	while (n > 0 && isspace((unsigned char)s[n - 1]))
		n--;
	s[n] = '\0';
	return s;
}

/* The last text of an array, ["--flavor=x", "config"], to out (VALUE_MAX bytes). */
static void
last_text(const char *s, char *out)
{
	auto_free char *copy = xstrdup(s);
	char *last = copy;
	bool whole = strchr(s, ']') != NULL;

	(void)strlcpy(out, whole ? "" : UNKNOWN, VALUE_MAX); /* fits */
	while (whole && (last = strpbrk(last, "\"'")) != NULL) {
		char *end = strchr(last + 1, *last);

		if (end == NULL)
			return;
		*end = '\0';
		(void)strlcpy(out, last + 1, VALUE_MAX); /* cut: only stages' names are compared */
		last = end + 1;
	}
}

/* rest: all behind the '='; changed. */
static void
take(struct runner *r, struct global *g, const char *table, const char *key, char *rest)
{
	char last[VALUE_MAX];
	const char *value;
	int64_t number;

	last_text(rest, last);
	value = bare_value(rest);
	number = strtoll(value, NULL, 10); /* 0 for what is none */
	if (table[0] == '\0' && strcmp(key, "concurrent") == 0)
		g->concurrent = number;
	if (table[0] == '\0' && strcmp(key, "shutdown_timeout") == 0)
		g->shutdown_timeout = number;
	for (size_t i = 0; r != NULL && i < ARRAY_LEN(keys); i++) {
		char *field = (char *)r + keys[i].offset;

		if (strcmp(keys[i].table, table) != 0 || strcmp(keys[i].key, key) != 0)
			continue;
		if (keys[i].kind == SECONDS)
			memcpy(field, number > 0 ? &number : &keys[i].otherwise, sizeof(number));
		else
			(void)strlcpy(field, keys[i].kind == LAST ? last : value, VALUE_MAX); /* cut: as above */
	}
}

/* All runners of the file: *n of them, the caller's. */
static struct runner *
read_config(FILE *file, struct global *g, size_t *n)
{
	struct runner *all = NULL;
	auto_free char *line = NULL;
	char table[VALUE_MAX] = "";
	size_t size = 0;

	*n = 0;
	while (getline(&line, &size, file) >= 0) {
		char *at = line + strspn(line, " \t"), *equals;

		if (*at == '[') {
			if (strncmp(at, "[[runners]]", 11) == 0) {
				all = xreallocarray(all, *n + 1, sizeof(*all));
				all[(*n)++] = (struct runner){ .prepare_timeout = STAGE_S, .cleanup_timeout = STAGE_S, .graceful = GRACEFUL_S };
			}
			at += strspn(at, "[ ");
			at[strcspn(at, "]\n")] = '\0';
			(void)strlcpy(table, at, sizeof(table)); /* cut: none of ours is so long */
			continue;
		}
		if (*at == '#')
			continue;
		if (*n > 0 && strcmp(table, "runners") == 0 && (strstr(at, "\"OS_") != NULL || strstr(at, "'OS_") != NULL))
			all[*n - 1].credentials = true; /* of environment, on whichever line */
		if ((equals = strchr(at, '=')) == NULL)
			continue;
		*equals = '\0';
		at[strcspn(at, " \t")] = '\0';
		take(*n == 0 ? NULL : &all[*n - 1], g, table, at, equals + 1 + strspn(equals + 1, " \t"));
	}
	return all;
}

static const char *
base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

static bool
is_ours(const struct runner *r)
{
	const char *base = base_name(r->exec[STAGE_RUN]);

	return strcmp(r->executor, "custom") == 0 && (strcmp(base, "novajob") == 0 || strcmp(base, stages[STAGE_RUN].link) == 0);
}

static int64_t
larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Does the program, told and named so, do another stage? An operator's own script around novajob is believed. */
static bool
is_other_stage(const char *path, const char *last_arg, size_t stage)
{
	const char *base = base_name(path);

	if (strcmp(base, "novajob") == 0)
		return strcmp(last_arg, stages[stage].name) != 0 && strcmp(last_arg, UNKNOWN) != 0;
	for (size_t i = 0; i < STAGES; i++)
		if (i != stage && strcmp(base, stages[i].link) == 0)
			return true;
	return false;
}

/* A stage's program can be run, and does that stage. False when that was told. */
static bool
check_stage(struct doctor *d, const struct runner *r, size_t stage)
{
	const char *path = r->exec[stage], *name = stages[stage].name;

	if (path[0] == '\0')
		return true;
	if (path[0] == '/' && access(path, X_OK) != 0)
		doctor_tell(d, DOCTOR_FAIL, "runner-config", "runner '%s': %s_exec '%s' cannot be run: %s", r->name, name, path,
		    strerror(errno));
	else if (is_other_stage(path, r->last_arg[stage], stage))
		doctor_tell(d, DOCTOR_FAIL, "runner-config", "runner '%s': %s_exec calls another stage: it is novajob with %s_args that "
		    "end with \"%s\", or a link named %s", r->name, name, name, name, stages[stage].link);
	else
		return true;
	return false;
}

static void
check_one(struct doctor *d, const struct runner *r)
{
	const struct settings *st = d->st;
	const int64_t stop_s = (larger(st->stop_grace, st->stop_timeout) + AFTER_MS) / 1000;
	const int64_t prepare_s = (st->busy_timeout + st->create_timeout + st->ssh_timeout +
	    (st->ready_command == NULL ? 0 : st->ready_timeout) + (st->prepare_script == NULL ? 0 : st->prepare_script_timeout)) / 1000;
	const struct {
		bool wrong;
		enum verdict verdict;
		const char *text;
	} rows[] = {
		{ r->exec[STAGE_PREPARE][0] == '\0', DOCTOR_FAIL, "prepare_exec is not set: no job gets a server" },
		{ r->exec[STAGE_CLEANUP][0] == '\0', DOCTOR_FAIL, "cleanup_exec is not set: every job leaves its server to sweep" },
		{ (st->builds_dir == NULL || r->exec[STAGE_CONFIG][0] == '\0') && r->builds_dir[0] == '\0', DOCTOR_FAIL,
		    "builds_dir is set neither here nor by config: every job fails" },
		{ (st->cache_dir == NULL || r->exec[STAGE_CONFIG][0] == '\0') && r->cache_dir[0] == '\0', DOCTOR_FAIL,
		    "cache_dir is set neither here nor by config: every job fails" },
		{ r->credentials, DOCTOR_FAIL,
		    "environment has OS_ variables: every job sees them, and novajob does not; they belong into the service's environment" },
		{ r->graceful >= 300, DOCTOR_WARN,
		    "graceful_kill_timeout is 5 minutes or more: cleanup begins while a stage may still live; 60 is good" },
		{ r->graceful < stop_s, DOCTOR_WARN,
		    "graceful_kill_timeout is shorter than stop-grace and stop-timeout need: stages are killed at work; 60 is good" },
		{ r->prepare_timeout < prepare_s, DOCTOR_WARN, "prepare_exec_timeout is shorter than busy-timeout, create-timeout and "
		    "ssh-timeout (and, where they count, ready-timeout and prepare-script-timeout) together: it cuts off who still waits" },
		{ r->cleanup_timeout < 180, DOCTOR_WARN,
		    "cleanup_exec_timeout is under 3 minutes: cleanup may need two when the cloud is slow" },
		{ r->shell[0] != '\0' && strcmp(r->shell, "bash") != 0, DOCTOR_WARN, "shell is not bash, which runs the scripts" },
	};
	bool fine = true;

	for (size_t i = 0; i < STAGES; i++)
		fine = check_stage(d, r, i) && fine;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].wrong) {
			doctor_tell(d, rows[i].verdict, "runner-config", "runner '%s': %s", r->name, rows[i].text);
			fine = false;
		}
	if (fine)
		doctor_tell(d, DOCTOR_OK, "runner-config", "runner '%s'", r->name);
}

static void
check_global(struct doctor *d, const struct global *g)
{
	if (g->shutdown_timeout < 120)
		doctor_tell(d, DOCTOR_WARN, "runner-config", "shutdown_timeout is %" PRId64
		    " s: on TERM the runner leaves before cleanups have ended; 120 is good", g->shutdown_timeout);
	if (d->quota.instances >= 0 && g->concurrent > d->quota.instances)
		doctor_tell(d, DOCTOR_WARN, "runner-config", "concurrent is %" PRId64 ", the quota %" PRId64
		    " instances: the other jobs wait in prepare", g->concurrent, d->quota.instances);
}

/* The file is root's with its tokens, so that often it cannot be read: no reason to warn. */
void
doctor_runner(struct doctor *d)
{
	const char *home = getenv("HOME");
	auto_free char *path = d->config != NULL ? xstrdup(d->config) : geteuid() == 0 || home == NULL ?
	    xstrdup("/etc/gitlab-runner/config.toml") : xasprintf("%s/.gitlab-runner/config.toml", home);
	auto_file FILE *file = fopen(path, "re");
	struct global g = { .concurrent = 1, .shutdown_timeout = 30 };
	auto_free struct runner *all = NULL;
	size_t n, ours = 0;

	if (file == NULL && d->config != NULL)
		doctor_tell(d, DOCTOR_FAIL, "runner-config", "cannot read '%s': %s", path, strerror(errno));
	else if (file == NULL)
		doctor_tell(d, DOCTOR_OK, "runner-config", "not looked at: cannot read '%s': %s; --config=FILE names another", path,
		    strerror(errno));
	if (file == NULL)
		return;
	all = read_config(file, &g, &n);
	for (size_t i = 0; all != NULL && i < n; i++)
		if (is_ours(&all[i])) {
			check_one(d, &all[i]);
			ours++;
		}
	if (ours == 0)
		doctor_tell(d, DOCTOR_WARN, "runner-config", "no [[runners]] of '%s' has executor = \"custom\" with novajob as run_exec",
		    path);
	else
		check_global(d, &g);
}
