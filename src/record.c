/* SPDX-License-Identifier: MIT */
/* record.c - what a job's stages leave for each other; see record.h. */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <libutil.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "addresses.h"
#include "buf.h"
#include "clock.h"
#include "json.h"
#include "log.h"
#include "text.h"
#include "xalloc.h"

#define RECORD_VERSION  1
#define RECORD_MAX      ((off_t)1024 * 1024) /* bytes; a record has a few KiB */
#define LOCK_WAIT_MS    10000
#define NEW_DIR_S       60      /* a directory without a record is younger: its prepare is about to write one */
#define TIME_MAX        INT64_C(1000000000000) /* UNIX time; beyond it lies no server's creation */
#define HEX             "0123456789abcdef"
#define NAME_LETTERS    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

static const char *const phases[] = {
	[PHASE_NONE] = "none",         [PHASE_CREATING] = "creating", [PHASE_READY] = "ready",
	[PHASE_DELETING] = "deleting", [PHASE_DELETED] = "deleted",   [PHASE_LOST] = "lost",
	[PHASE_CLAIMED] = "claimed",   [PHASE_HELD] = "held",
};

void
record_set_ready(struct record *r, const struct record *now)
{
	r->phase = PHASE_READY;
	strv_free(&r->addresses);
	strv_add_all(&r->addresses, (const char *const *)now->addresses.v);
	free(r->address);
	r->address = xstrdup(now->address);
}

const char *
phase_name(enum phase p)
{
	return phases[p];
}

bool
record_is_live(const struct record *r)
{
	return r->phase == PHASE_CREATING || r->phase == PHASE_READY || r->phase == PHASE_HELD;
}

void
record_new_try(char try[TRY_SIZE])
{
	(void)snprintf(try, TRY_SIZE, "%08x%08x", arc4random(), arc4random());
}

/* Is this a directory of our own that nobody else can write to? */
static bool
check_dir(const char *path, bool *missing, struct fault *f)
{
	struct stat st;

	*missing = false;
	if (lstat(path, &st) != 0) {
		*missing = errno == ENOENT;
		return *missing ? true : fault_errno(f, FAULT_SETTING, "state-dir: cannot look at '%s'", path);
	}
	if (!S_ISDIR(st.st_mode))
		return fault_set(f, FAULT_SETTING, "state-dir: '%s' is no directory (links are not followed)", path);
	if (st.st_uid != geteuid())
		return fault_set(f, FAULT_SETTING, "state-dir: '%s' belongs to user id %u, not to %u who runs novajob", path,
		    st.st_uid, geteuid());
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		return fault_set(f, FAULT_SETTING, "state-dir: '%s' is writable by others (mode %04o): chmod 0700 it", path,
		    st.st_mode & 07777);
	return true;
}

/* check_dir, made if missing; parents are made too, but are the operator's to protect. */
static bool
own_dir(const char *path, bool make, bool *missing, struct fault *f)
{
	if (!check_dir(path, missing, f))
		return false;
	if (!*missing || !make)
		return true;
	for (const char *at = strchr(path + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
		auto_free char *parent = xstrndup(path, (size_t)(at - path));

		if (mkdir(parent, 0700) != 0 && errno != EEXIST)
			return fault_errno(f, FAULT_SETTING, "state-dir: cannot make '%s'", parent);
	}
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return fault_errno(f, FAULT_SETTING, "state-dir: cannot make '%s'", path);
	return check_dir(path, missing, f);
}

bool
state_open(struct state *s, const char *dir, const char *key, bool make, struct fault *f)
{
	size_t len = strlen(dir);
	auto_free char *jobs = NULL;
	bool missing;

	while (len > 1 && dir[len - 1] == '/') /* lstat("link/") would follow it */
		len--;
	s->dir = xstrndup(dir, len);
	dir = s->dir;
	jobs = xasprintf("%s/jobs", dir);
	s->job = key == NULL ? NULL : xasprintf("%s/%s", jobs, key);
	if (!own_dir(dir, make, &missing, f))
		return false;
	if (missing || key == NULL)
		return true;
	if (!own_dir(jobs, make, &missing, f))
		return false;
	return missing || own_dir(s->job, make, &missing, f);
}

void
state_free(struct state *s)
{
	free(s->dir);
	free(s->job);
	*s = (struct state)STATE_INIT;
}

void
state_keys(const char *dir, struct strv *keys)
{
	auto_free char *jobs = xasprintf("%s/jobs", dir);
	auto_dir DIR *d = opendir(jobs);
	const struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			strv_add(keys, e->d_name);
}

int
state_alone(const struct state *s, const char *kind, struct fault *f)
{
	auto_free char *path = xasprintf("%s/%s.lock", s->dir, kind);
	int fd = flopen(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);

	if (fd < 0 && errno == EWOULDBLOCK)
		(void)fault_set(f, FAULT_LOCAL, "another novajob %s is at work ('%s')", kind, path);
	else if (fd < 0)
		(void)fault_errno(f, FAULT_LOCAL, "cannot open '%s'", path);
	return fd;
}

int
state_lock(const struct state *s, struct fault *f)
{
	auto_free char *path = xasprintf("%s/lock", s->dir);
	struct limit limit = limit_in(LOCK_WAIT_MS, STOP_IGNORED);
	auto_fd int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0) {
		(void)fault_errno(f, FAULT_LOCAL, "cannot open the lock '%s'", path);
		return -1;
	}
	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR) {
			(void)fault_errno(f, FAULT_LOCAL, "cannot lock '%s'", path);
			return -1;
		}
		if (!limit_sleep(limit, 5)) {
			(void)fault_set(f, FAULT_LOCAL, "cannot lock '%s': another novajob holds it for more than 10 s", path);
			return -1;
		}
	}
	return steal_fd(&fd);
}

/* The whole file as JSON; NULL without a fault (class NONE) when there is none. *wrong: it could be read, but is no record. */
static json_t *
read_file(const char *path, bool *wrong, struct fault *f)
{
	auto_fd int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	auto_buf struct buf b = BUF_INIT;
	struct stat st;

	*wrong = false;
	fault_clear(f);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return NULL;
	if (fd < 0 || fstat(fd, &st) != 0) {
		(void)fault_errno(f, FAULT_LOCAL, "cannot open it");
		return NULL;
	}
	*wrong = true;
	if (!S_ISREG(st.st_mode) || st.st_size > RECORD_MAX || st.st_uid != geteuid()) {
		(void)fault_set(f, FAULT_LOCAL, "it is no file of ours, or too large");
		return NULL;
	}
	for (;;) {
		ssize_t n = read(fd, buf_room(&b, 16384), 16384);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			*wrong = false;
			(void)fault_errno(f, FAULT_LOCAL, "cannot read it");
			return NULL;
		}
		if (n == 0)
			return json_read(buf_str(&b), b.len, "it", f);
		b.len += (size_t)n;
	}
}

/* A copy of the string at key, NULL when there is none. */
static char *
copy_str(const json_t *o, const char *key)
{
	const char *s = json_str(o, key);

	return s[0] == '\0' ? NULL : xstrdup(s);
}

/* Is what the record names of the alphabet it was written with? Empty is fine: not known. */
static bool
is_sane(const json_t *o, struct fault *f)
{
	const struct {
		const char *key, *letters;
		size_t max;
	} texts[] = {
		{ "try", HEX, TRY_SIZE - 1 },
		{ "server_id", HEX "ABCDEF-", 36 },
		{ "server_name", NAME_LETTERS, 255 },
		{ "failed", NAME_LETTERS, 255 },
	};
	static const char *const pool_names[] = { "key", "server", "job", "name" };
	const json_t *addresses = json_object_get(o, "addresses");
	const char *address = json_str(o, "address");
	int64_t created = json_int(o, "created", 0), hold_ms = json_int(o, "hold_ms", 0);
	const json_t *a;
	size_t i;

	for (i = 0; i < ARRAY_LEN(texts); i++) {
		const char *text = json_str(o, texts[i].key);

		if (strlen(text) > texts[i].max || !text_only(text, texts[i].letters) || text[0] == '-')
			return fault_set(f, FAULT_LOCAL, "%s '%.80s' makes no sense", texts[i].key, text);
	}
	for (i = 0; i < ARRAY_LEN(pool_names); i++) {
		const char *name = json_str(json_object_get(o, "pool"), pool_names[i]);

		if (strlen(name) > 255 || !text_only(name, NAME_LETTERS) || name[0] == '-' || name[0] == '.')
			return fault_set(f, FAULT_LOCAL, "pool: %s '%.80s' makes no sense", pool_names[i], name);
	}
	if (created < 0 || created > TIME_MAX || hold_ms < RECORD_NO_HOLD || hold_ms > RECORD_HOLD_MAX_S * 1000)
		return fault_set(f, FAULT_LOCAL, "created, or hold_ms, makes no sense");
	if (address[0] != '\0' && !addresses_is_one(address))
		return fault_set(f, FAULT_LOCAL, "address '%.80s' is none", address);
	json_array_foreach(addresses, i, a)
		if (!json_is_string(a) || !addresses_is_one(json_string_value(a)))
			return fault_set(f, FAULT_LOCAL, "addresses: one is none");
	return true;
}

/* Everything of the record that later reaches an argv or a path is checked here. */
static bool
parse(struct record *r, const json_t *o, struct fault *f)
{
	const char *phase = json_str(o, "phase");
	const json_t *addresses = json_object_get(o, "addresses");
	const json_t *a;
	size_t i;

	if (json_int(o, "version", 0) != RECORD_VERSION)
		return fault_set(f, FAULT_LOCAL, "it is of another version");
	for (i = PHASE_CREATING; i < ARRAY_LEN(phases) && strcmp(phases[i], phase) != 0; i++)
		;
	if (i == ARRAY_LEN(phases))
		return fault_set(f, FAULT_LOCAL, "phase '%.80s' makes no sense", phase);
	if (!is_sane(o, f))
		return false;
	r->phase = (enum phase)i;
	(void)strlcpy(r->try, json_str(o, "try"), sizeof(r->try)); /* length checked above */
	r->server_id = copy_str(o, "server_id");
	r->server_name = copy_str(o, "server_name");
	r->address = copy_str(o, "address");
	r->lost = copy_str(o, "lost");
	r->failed = copy_str(o, "failed");
	json_array_foreach(addresses, i, a)
		strv_add(&r->addresses, json_string_value(a));
	r->intent_at = json_int(o, "intent_at", 0);
	r->floating_at = json_int(o, "floating_at", 0); /* older records have neither */
	r->floating = json_is_true(json_object_get(o, "floating"));
	r->expires = json_int(o, "expires", 0);
	r->created = json_int(o, "created", 0); /* as above, of it and the next two */
	r->warm = json_is_true(json_object_get(o, "warm"));
	r->hold_ms = json_int(o, "hold_ms", 0);
	r->create_ms = json_int(o, "create_ms", 0);
	r->build_ms = json_int(o, "build_ms", 0);
	r->ssh_ms = json_int(o, "ssh_ms", 0);
	r->pool = json_incref(json_object_get(o, "pool"));
	r->resolved = json_incref(json_object_get(o, "settings"));
	return true;
}

bool
record_read(struct record *r, const struct state *s, struct fault *f)
{
	auto_free char *path = xasprintf("%s/record.json", s->job);
	bool wrong;
	json_auto_t *o = read_file(path, &wrong, f);

	record_free(r);
	if (o == NULL && f->class == FAULT_NONE)
		return true;
	if (o != NULL && parse(r, o, f))
		return true;
	record_free(r);
	if (wrong)
		(void)fault_hint(f, "remove '%s' when its job is over; the server is found by its properties", path);
	return fault_wrap(f, "cannot use the record '%s'", path);
}

static json_t *
to_json(const struct record *r)
{
	json_t *addresses = json_array();
	json_t *o = json_pack("{s:i, s:s, s:s, s:o, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I}", "version", RECORD_VERSION, "phase",
	    phases[r->phase], "try", r->try, "addresses", addresses, "intent_at", (json_int_t)r->intent_at, "floating",
	    r->floating, "floating_at", (json_int_t)r->floating_at, "expires", (json_int_t)r->expires, "create_ms",
	    (json_int_t)r->create_ms, "build_ms", (json_int_t)r->build_ms, "ssh_ms", (json_int_t)r->ssh_ms, "created",
	    (json_int_t)r->created, "warm", r->warm, "hold_ms", (json_int_t)r->hold_ms);

	for (size_t i = 0; i < r->addresses.len; i++)
		(void)json_array_append_new(addresses, json_string(r->addresses.v[i])); /* out of memory only */
	json_put(o, "server_id", r->server_id);
	json_put(o, "server_name", r->server_name);
	json_put(o, "address", r->address);
	json_put(o, "lost", r->lost);
	json_put(o, "failed", r->failed);
	if (r->pool != NULL)
		(void)json_object_set(o, "pool", r->pool); /* as above */
	if (r->resolved != NULL)
		(void)json_object_set(o, "settings", r->resolved); /* as above */
	return o;
}

/* Write all of text to a new file and make it last. */
static bool
write_file(const char *path, const char *text)
{
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	size_t left = strlen(text);

	if (fd < 0)
		return false;
	while (left > 0) {
		ssize_t n = write(fd, text, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		text += n;
		left -= (size_t)n;
	}
	return fsync(fd) == 0 && close(steal_fd(&fd)) == 0;
}

bool
record_write(const struct record *r, const struct state *s, struct fault *f)
{
	auto_free char *path = xasprintf("%s/record.json", s->job);
	auto_free char *temp = xasprintf("%s/record.new", s->job); /* one writer: the lock is held */
	json_auto_t *o = to_json(r);
	auto_free char *text = json_text(o);
	auto_fd int dir = -1;

	if (!write_file(temp, text) || rename(temp, path) != 0) {
		(void)fault_errno(f, FAULT_LOCAL, "cannot write the record '%s'", path);
		(void)unlink(temp); /* what is half written helps nobody */
		return false;
	}
	dir = open(s->job, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fsync(dir) != 0)
		return fault_errno(f, FAULT_LOCAL, "cannot sync '%s'", s->job);
	return true;
}

bool
record_update(struct record *r, const struct state *s, bool (*change)(struct record *r, void *arg, struct fault *f),
    void *arg, struct fault *f)
{
	auto_fd int lock = state_lock(s, f);

	if (lock < 0)
		return false;
	if (!record_read(r, s, f)) /* as if there were none: what it told is found in the cloud */
		log_debug("%s", f->text);
	return change(r, arg, f) && record_write(r, s, f);
}

/* Is the record another one than it was, or may a prepare be about to write the first one? */
static bool
has_changed(const struct state *s, const struct record *was, struct fault *f)
{
	auto_record struct record now = RECORD_INIT;
	struct stat st;

	if (!record_read(&now, s, f) || now.phase != was->phase || strcmp(now.try, was->try) != 0)
		return true;
	return now.phase == PHASE_NONE && stat(s->job, &st) == 0 && clock_unix() - (int64_t)st.st_mtim.tv_sec < NEW_DIR_S;
}

bool
record_forget(const struct state *s, const struct record *was, struct fault *f)
{
	auto_fd int lock = state_lock(s, f);
	auto_dir DIR *dir = opendir(s->job);
	const struct dirent *e;

	if (lock < 0)
		return false;
	if (was != NULL && has_changed(s, was, f))
		return true;
	while (dir != NULL && (e = readdir(dir)) != NULL)
		if (e->d_name[0] != '.' && unlinkat(dirfd(dir), e->d_name, 0) != 0)
			return fault_errno(f, FAULT_LOCAL, "cannot remove '%s/%s'", s->job, e->d_name);
	return rmdir(s->job) == 0 || errno == ENOENT ? true : fault_errno(f, FAULT_LOCAL, "cannot remove '%s'", s->job);
}

void
record_free(struct record *r)
{
	free(r->server_id);
	free(r->server_name);
	free(r->address);
	free(r->lost);
	free(r->failed);
	strv_free(&r->addresses);
	json_decref(r->pool);
	json_decref(r->resolved);
	*r = (struct record)RECORD_INIT;
}
