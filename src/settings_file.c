/* SPDX-License-Identifier: MIT */
/* settings_file.c - the settings file; see settings_file.h. */
#include "settings_file.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "buf.h"
#include "settings.h"
#include "xalloc.h"

#define MAX_FILE_BYTES (INT64_C(1024) * 1024)
#define BLANKS " \t"
#define POOL_NAME "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
#define POOL_NAME_MAX 32

struct reader {
	const char *path;
	size_t line;                 /* of the text, from 1 */
	size_t seen[SETTINGS_COUNT]; /* line where a setting was in this section, 0 = not yet */
	bool in_section;
	char *project, *pool;        /* of the section; owned */
	struct settings_section section;
	settings_take *take;
	void *context;
};

/* /dev/null stands for "no settings file": the one device that is fine. */
static bool
is_dev_null(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

/* The file decides which programs run, as root as a rule: nobody else may be able to write it. */
static bool
file_ok(const char *path, const struct stat *st, struct fault *f)
{
	if (!S_ISREG(st->st_mode))
		return fault_set(f, FAULT_SETTING, "settings file '%s' is not a regular file", path);
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return fault_set(f, FAULT_SETTING, "settings file '%s' belongs to user %u: it must be root's or ours", path,
		    (unsigned int)st->st_uid);
	if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0) {
		(void)fault_set(f, FAULT_SETTING, "settings file '%s' is writable by group or others (mode %04o)", path,
		    (unsigned int)(st->st_mode & 07777));
		return fault_hint(f, "chmod go-w '%s'", path);
	}
	if (st->st_size > MAX_FILE_BYTES)
		return fault_set(f, FAULT_SETTING, "settings file '%s' is larger than 1 MiB", path);
	return true;
}

/* All of fd into b; a file that grows over the limit meanwhile is cut there and then found wrong or not, no matter. */
static bool
read_all(int fd, const char *path, struct buf *b, struct fault *f)
{
	while (b->len < MAX_FILE_BYTES) {
		ssize_t n = read(fd, buf_room(b, 4096), 4096);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fault_errno(f, FAULT_SETTING, "cannot read settings file '%s'", path);
		if (n == 0)
			break;
		b->len += (size_t)n;
		b->data[b->len] = '\0';
	}
	return true;
}

/* The text without blanks around it: the start is returned, the end cut off. */
static char *
trimmed(char *s)
{
	size_t len;

	s += strspn(s, BLANKS);
	for (len = strlen(s); len > 0 && strchr(BLANKS, s[len - 1]) != NULL; len--)
		;
	s[len] = '\0';
	return s;
}

static bool
unknown_name(const char *where, const char *name, const char *nearest, struct fault *f)
{
	(void)fault_set(f, FAULT_SETTING, "%s: there is no setting '%s'", where, name);
	return nearest == NULL ? false : fault_hint(f, "did you mean '%s'?", nearest);
}

/* From here on lines belong to the section; its strings become the reader's. */
static bool
enter_section(struct reader *r, const struct settings_section *s)
{
	free(r->project);
	free(r->pool);
	r->project = s->project == NULL ? NULL : xstrdup(s->project);
	r->pool = s->pool == NULL ? NULL : xstrdup(s->pool);
	r->section = (struct settings_section){ .project = r->project, .ref = s->ref, .pool = r->pool };
	r->in_section = true;
	memset(r->seen, 0, sizeof(r->seen));
	return true;
}

/* "[pool NAME]"; name: what stands behind the word. */
static bool
take_pool(struct reader *r, const char *name, const char *where, struct fault *f)
{
	size_t len = strlen(name);

	if (len == 0 || len > POOL_NAME_MAX || strspn(name, POOL_NAME) != len || name[0] == '-' || strcmp(name, "default") == 0) {
		(void)fault_set(f, FAULT_SETTING, "%s: '%s' is no name for a pool", where, name);
		return fault_hint(f, "[pool NAME]: at most %d letters, digits, '_', '-'; 'default' is the pool of the lines before the "
		    "first section", POOL_NAME_MAX);
	}
	return enter_section(r, &(struct settings_section){ .pool = name });
}

/* "[project GLOB]", "[protected]", "[project GLOB unprotected]": which jobs the lines below are for. */
static bool
take_header(struct reader *r, char *text, const char *where, struct fault *f)
{
	struct settings_section s = { .project = NULL, .ref = SECTION_ANY_REF };
	size_t len = strlen(text);
	char *rest = text + 1;
	char *word;

	if (text[len - 1] != ']')
		return fault_set(f, FAULT_SETTING, "%s: no ']' at the end of '%s'", where, text);
	text[len - 1] = '\0';
	while ((word = strsep(&rest, BLANKS)) != NULL) {
		if (word[0] == '\0')
			continue;
		if (strcmp(word, "pool") == 0 && s.project == NULL && s.ref == SECTION_ANY_REF)
			return take_pool(r, rest == NULL ? "" : trimmed(rest), where, f);
		if (strcmp(word, "project") == 0 && s.project == NULL && rest != NULL) {
			rest += strspn(rest, BLANKS);
			s.project = strsep(&rest, BLANKS);
		} else if (strcmp(word, "protected") == 0 && s.ref == SECTION_ANY_REF) {
			s.ref = SECTION_PROTECTED;
		} else if (strcmp(word, "unprotected") == 0 && s.ref == SECTION_ANY_REF) {
			s.ref = SECTION_UNPROTECTED;
		} else {
			(void)fault_set(f, FAULT_SETTING, "%s: '%s' makes no sense in a section's head", where, word);
			return fault_hint(f, "a section is [project GROUP/PROJECT], [protected], [unprotected], [project … protected], or [pool NAME]");
		}
	}
	if ((s.project == NULL || s.project[0] == '\0') && s.ref == SECTION_ANY_REF)
		return fault_set(f, FAULT_SETTING, "%s: the section's head does not say for which jobs it is", where);
	return enter_section(r, &s);
}

static bool
take_line(struct reader *r, char *line, struct fault *f)
{
	auto_free char *where = xasprintf("%s:%zu", r->path, r->line);
	const char *nearest;
	const char *name;
	char *text = trimmed(line);
	char *equals = strchr(text, '=');
	int setting;

	if (text[0] == '\0' || text[0] == '#')
		return true;
	if (strchr(text, '\r') != NULL)
		return fault_set(f, FAULT_SETTING, "%s: a carriage return: the file has DOS line ends", where);
	if (text[0] == '[')
		return take_header(r, text, where, f);
	if (equals == NULL)
		return fault_set(f, FAULT_SETTING, "%s: no '=' in the line", where);
	*equals = '\0';
	name = trimmed(text);
	setting = settings_find(name, &nearest);
	if (setting < 0)
		return unknown_name(where, name, nearest, f);
	if (r->seen[setting] != 0)
		return fault_set(f, FAULT_SETTING, "%s: %s is set twice, first in line %zu", where, name, r->seen[setting]);
	r->seen[setting] = r->line;
	return r->take(r->context, r->in_section ? &r->section : NULL, setting, trimmed(equals + 1), where, f);
}

static bool
take_lines(struct reader *r, char *at, struct fault *f)
{
	while (*at != '\0') {
		size_t len = strcspn(at, "\n");
		bool is_last = at[len] == '\0';

		at[len] = '\0';
		r->line++;
		if (!take_line(r, at, f))
			return false;
		at += len + !is_last;
	}
	return true;
}

bool
settings_file_read(const char *path, bool may_miss, settings_take *take, void *context, struct fault *f)
{
	struct reader r = { .path = path, .take = take, .context = context };
	auto_buf struct buf b = BUF_INIT;
	struct stat st;
	bool ok;
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a FIFO must not hold us */

	if (fd < 0 && may_miss && errno == ENOENT)
		return true;
	if (fd < 0 || fstat(fd, &st) != 0)
		return fault_errno(f, FAULT_SETTING, "cannot open settings file '%s'", path);
	if (is_dev_null(&st))
		return true;
	if (!file_ok(path, &st, f) || !read_all(fd, path, &b, f))
		return false;
	if (b.len == 0)
		return true;
	if (memchr(b.data, '\0', b.len) != NULL)
		return fault_set(f, FAULT_SETTING, "settings file '%s' has a NUL byte in it: no text", path);
	ok = take_lines(&r, b.data, f);
	free(r.project);
	free(r.pool);
	return ok;
}

bool
settings_section_fits(const struct settings_section *s, const struct job *job)
{
	if (job == NULL || !job->known || s->pool != NULL)
		return false;
	if (s->project != NULL && (job->project[0] == '\0' || fnmatch(s->project, job->project, FNM_NOESCAPE) != 0))
		return false;
	return s->ref == SECTION_ANY_REF || (s->ref == SECTION_PROTECTED) == job->is_protected;
}
