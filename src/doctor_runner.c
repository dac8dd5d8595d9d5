/* SPDX-License-Identifier: MIT */
/*
 * doctor_runner.c - novajob doctor: gitlab-runner's config.toml, its unit and
 * sweep's timer; see doctor.h. Of TOML only what such files have is read:
 * tables and `key = value` lines.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"
#include "xalloc.h"

#define VALUE_MAX 256
#define AFTER_MS  INT64_C(7000) /* what a stage may take beyond its own grace (remote.c, HACKING.md) */

/* One [[runners]] entry; "" and -1: not set. */
struct runner {
	char name[VALUE_MAX], executor[VALUE_MAX], shell[VALUE_MAX], builds_dir[VALUE_MAX], cache_dir[VALUE_MAX];
	char config_exec[VALUE_MAX], prepare_exec[VALUE_MAX], run_exec[VALUE_MAX], cleanup_exec[VALUE_MAX];
	int64_t prepare_timeout, cleanup_timeout, graceful; /* seconds */
};

/* The whole file's. */
struct global {
	int64_t concurrent, shutdown_timeout;
};

#define TEXT(field)   offsetof(struct runner, field), false
#define NUMBER(field) offsetof(struct runner, field), true

/* Where a runner's keys go. */
static const struct {
	const char *table, *key;
	size_t offset;
	bool is_number;
} keys[] = {
	{ "runners", "name", TEXT(name) },
	{ "runners", "executor", TEXT(executor) },
	{ "runners", "shell", TEXT(shell) },
	{ "runners", "builds_dir", TEXT(builds_dir) },
	{ "runners", "cache_dir", TEXT(cache_dir) },
	{ "runners.custom", "config_exec", TEXT(config_exec) },
	{ "runners.custom", "prepare_exec", TEXT(prepare_exec) },
	{ "runners.custom", "run_exec", TEXT(run_exec) },
	{ "runners.custom", "cleanup_exec", TEXT(cleanup_exec) },
	{ "runners.custom", "prepare_exec_timeout", NUMBER(prepare_timeout) },
	{ "runners.custom", "cleanup_exec_timeout", NUMBER(cleanup_timeout) },
	{ "runners.custom", "graceful_kill_timeout", NUMBER(graceful) },
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

static void
take(struct runner *r, struct global *g, const char *table, const char *key, const char *value)
{
	int64_t number = strtoll(value, NULL, 10); /* 0 for what is none: gitlab-runner takes that for the default, too */

	if (table[0] == '\0' && strcmp(key, "concurrent") == 0)
		g->concurrent = number;
	if (table[0] == '\0' && strcmp(key, "shutdown_timeout") == 0)
		g->shutdown_timeout = number;
	for (size_t i = 0; r != NULL && i < ARRAY_LEN(keys); i++) {
		char *field = (char *)r + keys[i].offset;

		if (strcmp(keys[i].table, table) != 0 || strcmp(keys[i].key, key) != 0)
			continue;
		if (keys[i].is_number)
			memcpy(field, &number, sizeof(number));
		else
			(void)strlcpy(field, value, VALUE_MAX); /* cut: only the end of a path's name counts */
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
				all[(*n)++] = (struct runner){ .prepare_timeout = 3600, .cleanup_timeout = 3600, .graceful = 600 };
			}
			at += strspn(at, "[ ");
			at[strcspn(at, "]\n")] = '\0';
			(void)strlcpy(table, at, sizeof(table)); /* cut: none of ours is so long */
			continue;
		}
		if (*at == '#' || (equals = strchr(at, '=')) == NULL)
			continue;
		*equals = '\0';
		at[strcspn(at, " \t")] = '\0';
		take(*n == 0 ? NULL : &all[*n - 1], g, table, at, bare_value(equals + 1 + strspn(equals + 1, " \t")));
	}
	return all;
}

static bool
is_ours(const struct runner *r)
{
	const char *base = strrchr(r->run_exec, '/');

	base = base == NULL ? r->run_exec : base + 1;
	return strcmp(r->executor, "custom") == 0 && (strcmp(base, "novajob") == 0 || strcmp(base, "run.py") == 0);
}

static int64_t
larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static void
check_one(struct doctor *d, const struct runner *r)
{
	const struct settings *st = d->st;
	const int64_t stop_s = (larger(st->stop_grace, st->stop_timeout) + AFTER_MS) / 1000;
	const int64_t build_s = (st->create_timeout + st->ssh_timeout) / 1000;
	const struct {
		bool wrong;
		enum verdict verdict;
		const char *text;
	} rows[] = {
		{ r->prepare_exec[0] == '\0', DOCTOR_FAIL, "prepare_exec is not set: no job gets a server" },
		{ r->cleanup_exec[0] == '\0', DOCTOR_FAIL, "cleanup_exec is not set: every job leaves its server to sweep" },
		{ (st->builds_dir == NULL || r->config_exec[0] == '\0') && r->builds_dir[0] == '\0', DOCTOR_FAIL,
		    "builds_dir is set neither here nor by config: every job fails" },
		{ (st->cache_dir == NULL || r->config_exec[0] == '\0') && r->cache_dir[0] == '\0', DOCTOR_FAIL,
		    "cache_dir is set neither here nor by config: every job fails" },
		{ r->graceful >= 300, DOCTOR_WARN,
		    "graceful_kill_timeout is 5 minutes or more: cleanup begins while a stage may still live; 60 is good" },
		{ r->graceful < stop_s, DOCTOR_WARN,
		    "graceful_kill_timeout is shorter than stop-grace and stop-timeout need: stages are killed at work; 60 is good" },
		{ r->prepare_timeout < build_s, DOCTOR_WARN,
		    "prepare_exec_timeout is shorter than create-timeout and ssh-timeout together: it cuts off slow servers" },
		{ r->cleanup_timeout < 180, DOCTOR_WARN,
		    "cleanup_exec_timeout is under 3 minutes: cleanup may need two when the cloud is slow" },
		{ r->shell[0] != '\0' && strcmp(r->shell, "bash") != 0, DOCTOR_WARN, "shell is not bash, which runs the scripts" },
	};
	bool fine = true;

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
	if (d->instances >= 0 && g->concurrent > d->instances)
		doctor_tell(d, DOCTOR_WARN, "runner-config", "concurrent is %" PRId64 ", the quota %" PRId64
		    " instances: the other jobs wait in prepare", g->concurrent, d->instances);
}

/* The file is root's with its tokens, so that often it cannot be read: no reason to warn. */
static void
check_config(struct doctor *d)
{
	const char *home = getenv("HOME");
	auto_free char *path = d->config != NULL ? xstrdup(d->config) : geteuid() == 0 || home == NULL ?
	    xstrdup("/etc/gitlab-runner/config.toml") : xasprintf("%s/.gitlab-runner/config.toml", home);
	auto_file FILE *file = fopen(path, "re");
	struct global g = { .concurrent = 1, .shutdown_timeout = 30 };
	auto_free struct runner *all = NULL;
	size_t n, ours = 0;

	if (file == NULL) {
		doctor_tell(d, d->config != NULL ? DOCTOR_FAIL : DOCTOR_OK, "runner-config", "not looked at: cannot read '%s': %s%s",
		    path, strerror(errno), d->config != NULL ? "" : "; --config=FILE names another");
		return;
	}
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

/* The value of KEY=… in systemctl's output, to out. */
static void
property(const char *text, const char *key, char *out, size_t size)
{
	auto_free char *want = xasprintf("%s=", key);
	const char *at = strstr(text, want);

	(void)strlcpy(out, at == NULL ? "" : at + strlen(want), size); /* cut: only short ones are compared */
	out[strcspn(out, "\n")] = '\0';
}

static void
check_unit(struct doctor *d)
{
	struct fault f;
	int code;
	auto_free char *text = doctor_output((const char *const[]){ "systemctl", "show",
	    "--property=LoadState,KillSignal,TimeoutStopUSec", "gitlab-runner.service", NULL }, &code, &f);
	char state[64], signal[64], timeout[64];

	if (text == NULL)
		return;
	property(text, "LoadState", state, sizeof(state));
	property(text, "KillSignal", signal, sizeof(signal));
	property(text, "TimeoutStopUSec", timeout, sizeof(timeout));
	if (strcmp(state, "loaded") != 0)
		doctor_tell(d, DOCTOR_OK, "runner-unit", "no gitlab-runner.service on this host");
	else if (strcmp(signal, "3") != 0)
		doctor_tell(d, DOCTOR_WARN, "runner-unit", "KillSignal of gitlab-runner.service is %s, not SIGQUIT (3): 'systemctl stop' "
		    "breaks running jobs off; contrib/gitlab-runner.service.d.conf mends it", signal);
	else
		doctor_tell(d, DOCTOR_OK, "runner-unit", "drains by SIGQUIT, for at most %s", timeout);
}

static void
check_timers(struct doctor *d)
{
	struct fault f;
	int code;
	auto_free char *running = doctor_output((const char *const[]){ "systemctl", "is-system-running", NULL }, &code, &f);
	auto_free char *timer = NULL;

	if (running == NULL || strncmp(running, "offline", 7) == 0 || strncmp(running, "unknown", 7) == 0 ||
	    strstr(running, "not been booted") != NULL) {
		doctor_tell(d, DOCTOR_OK, "sweep-timer", "no systemd here: see that 'novajob sweep' is run every 10 minutes");
		return;
	}
	check_unit(d);
	timer = doctor_output((const char *const[]){ "systemctl", "is-active", "novajob-sweep.timer", NULL }, &code, &f);
	if (timer != NULL && strncmp(timer, "active", 6) == 0)
		doctor_tell(d, DOCTOR_OK, "sweep-timer", "novajob-sweep.timer is active");
	else
		doctor_tell(d, DOCTOR_WARN, "sweep-timer", "novajob-sweep.timer is not active: servers that no stage could delete "
		    "stay; 'systemctl enable --now novajob-sweep.timer', unless cron runs 'novajob sweep'");
}

void
doctor_runner(struct doctor *d)
{
	check_config(d);
	check_timers(d);
}
