/* SPDX-License-Identifier: MIT */
/* names.c - what the cloud has said lately, on disk; see names.h. */
#include "names.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"
#include "json.h"
#include "log.h"
#include "openstack.h"
#include "text.h"
#include "xalloc.h"

#define FILE_MAX    ((size_t)256 * 1024)
#define ENTRIES_MAX 500              /* of each of the two tables */
#define TIMES_MAX   8                /* the last times of a thing */
#define TIMES_AGE_S INT64_C(2592000) /* not seen for so long: not of interest */
#define SPAN_MAX_MS INT64_C(3600000) /* no build that is worth to be remembered takes longer */
#define FNV_START   UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME   UINT64_C(0x100000001b3)
#define ID_LETTERS  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

static uint64_t
hash(uint64_t h, const char *s)
{
	for (; *s != '\0'; s++)
		h = (h ^ (unsigned char)*s) * FNV_PRIME;
	return h;
}

/*
 * A word for the cloud, project and user that OS_* mean. The sum of the variables' hashes: their order means nothing.
 * False: a token alone says it, and differs each time.
 */
static bool
cloud_hash(const struct settings *st, uint64_t *sum)
{
	extern char **environ;
	static const char *const secrets[] = { "OS_*PASSWORD*=*", "OS_*SECRET*=*", "OS_*PASSCODE*=*", "OS_*TOKEN*=*" };

	*sum = hash(hash(FNV_START, st->owner), st->openstack);
	for (char **e = environ; e != NULL && *e != NULL; e++) {
		bool secret = false;

		if (strncmp(*e, "OS_TOKEN=", 9) == 0)
			return false;
		for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
			secret = secret || fnmatch(secrets[i], *e, 0) == 0;
		if (!secret && (strncmp(*e, "OS_", 3) == 0 || strncmp(*e, "HOME=", 5) == 0)) /* clouds.yaml may be there */
			*sum += hash(FNV_START, *e);
	}
	return true;
}

/* The file as JSON if it is ours and whole, else an empty object. */
static json_t *
read_all(const char *path)
{
	auto_fd int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	auto_free char *text = xcalloc(FILE_MAX, 1);
	struct stat st;
	struct fault f;
	ssize_t n;
	json_t *o;

	if (fd < 0 || fstat(fd, &st) != 0)
		return json_object();
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
		log_debug("'%s' is no file of ours alone: not used", path);
		return json_object();
	}
	n = read(fd, text, FILE_MAX);
	if (n <= 0 || (size_t)n == FILE_MAX)
		return json_object();
	o = json_read(text, (size_t)n, path, &f);
	if (o == NULL)
		log_debug("%s", f.text);
	if (json_is_object(o))
		return o;
	json_decref(o);
	return json_object();
}

/* One of the two tables, "ids" and "times", made if missing. Borrowed. */
static json_t *
table(json_t *all, const char *name)
{
	json_t *o = json_object_get(all, name);

	if (!json_is_object(o)) {
		o = json_object();
		(void)json_object_set_new(all, name, o); /* out of memory only; so are those below */
	}
	return o;
}

/* Drop what is too old to be used. */
static void
prune(json_t *o, int64_t max_age_s)
{
	int64_t now = clock_unix();
	const char *key;
	void *next;
	json_t *entry;

	json_object_foreach_safe(o, next, key, entry)
		if (json_int(entry, "at", 0) > now || json_int(entry, "at", 0) < now - max_age_s)
			(void)json_object_del(o, key); /* it is there */
	if (json_object_size(o) > ENTRIES_MAX)
		(void)json_object_clear(o);
}

static void
write_all(const char *path, const json_t *all)
{
	auto_free char *temp = xasprintf("%s.new", path);
	auto_free char *text = json_text(all);
	auto_fd int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	size_t len = strlen(text);

	if (fd >= 0 && write(fd, text, len) == (ssize_t)len && rename(temp, path) == 0) /* no fsync: half a file is no JSON */
		return;
	log_debug("cannot write '%s': %s", path, strerror(errno));
	(void)unlink(temp); /* what is half written helps nobody */
}

/* A change, made to what is in the file now, too. Who finds another one writing lets it be: it is only a help. */
static void
change(struct names *n, void (*make)(const struct names *n, json_t *all, const void *arg), const void *arg)
{
	auto_free char *lock = NULL;
	auto_fd int fd = -1;
	json_t *now;

	if (n->path == NULL)
		return;
	make(n, n->all, arg);
	lock = xasprintf("%s.lock", n->path);
	fd = open(lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
		return;
	now = read_all(n->path);
	prune(table(now, "ids"), n->max_age_s);
	prune(table(now, "times"), TIMES_AGE_S);
	make(n, now, arg);
	write_all(n->path, now);
	json_decref(n->all);
	n->all = now;
}

void
names_open(struct names *n, const struct settings *st)
{
	auto_free char *dir = NULL;
	struct stat s;
	uint64_t sum;

	*n = (struct names)NAMES_INIT;
	if (st->state_dir == NULL || st->name_cache < 1000 || !cloud_hash(st, &sum))
		return;
	dir = xasprintf("%s/names", st->state_dir);
	if ((mkdir(dir, 0700) != 0 && errno != EEXIST) || lstat(dir, &s) != 0 || !S_ISDIR(s.st_mode) ||
	    s.st_uid != geteuid() || (s.st_mode & 022) != 0) {
		log_debug("'%s' is no directory of ours alone: names are looked up each time", dir);
		return;
	}
	n->path = xasprintf("%s/%016" PRIx64 ".json", dir, sum);
	n->max_age_s = st->name_cache / 1000;
	n->all = read_all(n->path);
}

void
names_free(struct names *n)
{
	free(n->path);
	json_decref(n->all);
	*n = (struct names)NAMES_INIT;
}

/* A flavor's may be any word; the others are UUIDs. */
static bool
is_id(const char *kind, const char *id)
{
	if (strcmp(kind, "flavor") == 0)
		return id[0] != '\0' && id[0] != '-' && strlen(id) < 256 && text_only(id, ID_LETTERS);
	return os_is_id(id);
}

/* What is known of a name, if it is young enough. Borrowed. */
static const json_t *
find(const struct names *n, const char *kind, const char *name)
{
	auto_free char *key = xasprintf("%s %s", kind, name);
	const json_t *entry = json_object_get(json_object_get(n->all, "ids"), key);
	int64_t age = clock_unix() - json_int(entry, "at", 0);

	return entry != NULL && age >= 0 && age < n->max_age_s && is_id(kind, json_str(entry, "id")) ? entry : NULL;
}

const char *
names_id(const struct names *n, const char *kind, const char *name)
{
	const json_t *entry = find(n, kind, name);

	return entry == NULL ? NULL : json_str(entry, "id");
}

struct learned {
	const char *kind, *name, *id;
	size_t others;
};

static void
put_id(const struct names *n, json_t *all, const void *arg)
{
	const struct learned *l = arg;
	auto_free char *key = xasprintf("%s %s", l->kind, l->name);

	(void)n;
	(void)json_object_set_new(table(all, "ids"), key, json_pack("{s:s, s:I, s:I}", "id", l->id, "others",
	    (json_int_t)l->others, "at", (json_int_t)clock_unix()));
}

void
names_learn(struct names *n, const char *kind, const char *name, const char *id, size_t others)
{
	struct learned l = { .kind = kind, .name = name, .id = id, .others = others };

	if (is_id(kind, id))
		change(n, put_id, &l);
}

static void
drop_ids(const struct names *n, json_t *all, const void *arg)
{
	(void)n;
	(void)arg;
	(void)json_object_clear(table(all, "ids"));
}

void
names_forget(struct names *n)
{
	change(n, drop_ids, NULL);
}

bool
names_image(struct names *n, struct os_client *c, const char *image, struct limit limit, char **id, size_t *others,
    bool *cached, struct fault *f)
{
	const json_t *entry = find(n, "image", image);

	*cached = entry != NULL;
	if (entry != NULL) {
		*id = xstrdup(json_str(entry, "id"));
		*others = (size_t)json_int(entry, "others", 0);
		return true;
	}
	if (!os_image_find(c, image, limit, id, others, f))
		return false;
	if (!os_is_id(image))
		names_learn(n, "image", image, *id, *others);
	return true;
}

bool
names_is_name(const char *name)
{
	return name[0] != '\0' && name[0] != '-' && !os_is_id(name);
}

void
names_resolve(struct names *n, struct os_client *c, const char *kind, const char *name, struct limit limit)
{
	json_auto_t *o = NULL;
	struct fault f;

	if (n->path == NULL || !names_is_name(name) || find(n, kind, name) != NULL)
		return;
	if (os_show(c, kind, name, limit, &o, &f))
		names_learn(n, kind, name, json_str(o, "id"), 0);
	else
		log_debug("%s", f.text);
}

struct names_span
names_span(const struct names *n, const char *what)
{
	const json_t *list = json_object_get(json_object_get(json_object_get(n->all, "times"), what), "ms");
	struct names_span s = { 0, 0 };
	size_t i;
	const json_t *entry;

	json_array_foreach(list, i, entry) {
		int64_t ms = json_integer_value(entry);

		if (ms <= 0 || ms > SPAN_MAX_MS)
			continue;
		s.early = s.early == 0 || ms < s.early ? ms : s.early;
		s.late = ms > s.late ? ms : s.late;
	}
	if (s.late > s.early * 2) /* once it took ages: not to be waited for again */
		s.late = s.early * 2;
	return s;
}

struct took {
	const char *what;
	int64_t ms;
};

static void
put_time(const struct names *n, json_t *all, const void *arg)
{
	const struct took *t = arg;
	json_t *times = table(all, "times");
	json_t *entry = json_object_get(times, t->what);
	json_t *list = json_object_get(entry, "ms");

	(void)n;
	if (!json_is_array(list)) {
		list = json_array();
		entry = json_pack("{s:o}", "ms", list);
		(void)json_object_set_new(times, t->what, entry);
	}
	(void)json_array_append_new(list, json_integer((json_int_t)t->ms));
	while (json_array_size(list) > TIMES_MAX)
		(void)json_array_remove(list, 0);
	(void)json_object_set_new(entry, "at", json_integer((json_int_t)clock_unix()));
}

void
names_took(struct names *n, const char *what, int64_t ms)
{
	struct took t = { .what = what, .ms = ms };

	change(n, put_time, &t);
}
