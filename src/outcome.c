/* SPDX-License-Identifier: MIT */
/* outcome.c - what became of a job, from how its stages ended; see outcome.h. */
#include "outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "sig.h"
#include "strv.h"
#include "text.h"
#include "xalloc.h"

#define BEGUN     "begun"
#define TRIES     3  /* of prepare, by the runner (contract.md §0.4) */
#define STAGE_MAX 64 /* bytes of a stage's name */
#define NAME      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

const char *
outcome_word(bool is_fine, const struct fault *f)
{
	if (sig_stopped() || (!is_fine && f->class == FAULT_STOPPED))
		return "stopped";
	return is_fine ? "ok" : fault_exit_code(f, true) == 1 ? "failed" : "system_failure";
}

void
outcome_note(const struct state *s, const char *stage, const char *how)
{
	auto_free char *path = xasprintf("%s/outcome", s->job);
	auto_fd int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	char line[STAGE_MAX + 32];
	int n = snprintf(line, sizeof(line), "%.*s %s\n", STAGE_MAX, text_only(stage, NAME) && stage[0] != '\0' ? stage : "?",
	    how == NULL ? BEGUN : how);

	if (fd < 0 || write(fd, line, (size_t)n) != n) /* one write: stages may overlap */
		log_debug("cannot note in '%s': %s", path, strerror(errno));
}

/* One stage, as its last line tells. */
struct last {
	char stage[STAGE_MAX + 1], how[32];
};

/* The stages in the order in which they first came; at most max of them. The number of prepare's tries in *tries. */
static size_t
read_lines(const char *path, struct last *all, size_t max, int *tries)
{
	auto_file FILE *file = fopen(path, "re");
	char line[STAGE_MAX + 64];
	size_t n = 0;

	*tries = 0;
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		struct last at;
		size_t i = 0;

		if (sscanf(line, "%64s %31s", at.stage, at.how) != 2)
			continue;
		*tries += strcmp(at.stage, "prepare") == 0 && strcmp(at.how, BEGUN) == 0;
		while (i < n && strcmp(all[i].stage, at.stage) != 0)
			i++;
		if (i == max)
			continue;
		all[i] = at;
		n += i == n;
	}
	return n;
}

/* Does its failure fail the job? (contract.md §4) */
static bool
counts(const struct last *at)
{
	static const char *const others[] = { "prepare", "after_script", "cleanup_file_variables" };

	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (strcmp(at->stage, others[i]) == 0)
			return false;
	return true;
}

/* The word as a constant. A stage that did not come to its end was killed. */
static const char *
result_of(const char *how)
{
	static const char *const words[] = { "failed", "stopped" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(how, words[i]) == 0)
			return words[i];
	return "system_failure";
}

/* See outcome_take. */
static const char *
judge(const char *path, bool abandoned)
{
	struct last all[64]; /* a job has a dozen */
	int tries;
	size_t n = read_lines(path, all, ARRAY_LEN(all), &tries);
	size_t ran = 0;

	for (size_t i = 0; i < n; i++) {
		const char *result = result_of(all[i].how);
		bool is_ok = strcmp(all[i].how, "ok") == 0;

		if (strcmp(all[i].stage, "prepare") == 0 && !is_ok)
			return strcmp(result, "system_failure") == 0 && tries < TRIES && !abandoned ? NULL : result;
		if (counts(&all[i]) && !is_ok) /* a stage that was tried again has its last line */
			return abandoned && strcmp(all[i].how, BEGUN) == 0 ? "abandoned" : result;
		ran += counts(&all[i]);
	}
	if (n == 0)
		return NULL;
	return abandoned ? "abandoned" : ran > 0 ? "success" : "stopped"; /* prepared for nothing: it was cancelled */
}

const char *
outcome_take(const struct state *s, bool abandoned)
{
	auto_free char *path = xasprintf("%s/outcome", s->job);
	auto_free char *done = xasprintf("%s/outcome.told", s->job);
	const char *result = access(done, F_OK) == 0 ? NULL : judge(path, abandoned);

	if (result == NULL || rename(path, done) != 0) /* of two who tell it at a time one has it */
		return NULL;
	return result;
}
