/* SPDX-License-Identifier: MIT */
/* pool.c - the warm pool: its records, and how a job gets a server; see pool.h. */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "json.h"
#include "keys.h"
#include "log.h"
#include "pool_shape.h"
#include "proc.h"
#include "ready.h"
#include "ssh_share.h"
#include "text.h"
#include "xalloc.h"

#define PREFIX      "pool."
#define HEX         "0123456789abcdef"
#define HOST_LEN    16
#define CHECK_MS    5000  /* for the one look at a server: it was well when it came into the pool */
#define LOG_MAX     ((off_t)1024 * 1024)
#define FILE_MAX    ((size_t)16 * 1024 * 1024) /* of pool.log while one fill writes to it: what servers print goes there */

bool
pool_is_key(const char *key)
{
	return strncmp(key, PREFIX, strlen(PREFIX)) == 0;
}

bool
pool_is_our_key(const char *key, const char *host)
{
	const char *rest = key + strlen(PREFIX);

	return host != NULL && pool_is_key(key) && strncmp(rest, host, HOST_LEN) == 0 && rest[HOST_LEN] == '.' &&
	    strlen(rest + HOST_LEN + 1) == TRY_SIZE - 1 && text_only(rest + HOST_LEN + 1, HEX);
}

char *
pool_host(const char *dir, bool make, struct fault *f)
{
	auto_free char *path = xasprintf("%s/pool.host", dir);
	auto_free char *temp = xasprintf("%s.new", path); /* one fill at a time makes it */
	char word[TRY_SIZE] = "";

	for (int round = 0; round < 2; round++) {
		auto_fd int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		auto_fd int new = -1;

		if (fd >= 0 && read(fd, word, HOST_LEN) == HOST_LEN && text_only(word, HEX))
			return xstrdup(word);
		if (!make)
			return NULL;
		record_new_try(word);
		new = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (new < 0 || write(new, word, HOST_LEN) != HOST_LEN || fsync(new) != 0 || rename(temp, path) != 0)
			break;
	}
	(void)fault_errno(f, FAULT_LOCAL, "cannot make '%s'", path);
	return NULL;
}

char *
pool_server_name(const char *key)
{
	const char *word = strrchr(key, '.');

	return xasprintf("gitlab-builder-pool-%s", word == NULL ? key : word + 1);
}

const char *
pool_text(const struct record *r, const char *what)
{
	return json_str(r->pool, what);
}

const char *
pool_name(const struct record *r)
{
	return pool_text(r, "name");
}

void
pool_jobserver(const struct record *r, struct jobserver *j)
{
	if (pool_text(r, "key")[0] == '\0')
		return;
	j->pool_key = pool_text(r, "key");
	j->pool_server = pool_text(r, "server");
}

static void
member_free(struct pool_member *m)
{
	free(m->key);
	state_free(&m->state);
	record_free(&m->r);
}

int64_t
pool_since(const struct record *r)
{
	return json_int(r->pool, "since", 0);
}

static int
by_since(const void *a, const void *b)
{
	int64_t x = pool_since(&((const struct pool_member *)a)->r), y = pool_since(&((const struct pool_member *)b)->r);

	return x < y ? 1 : x > y ? -1 : 0;
}

void
pool_members_read(struct pool_members *m, const char *dir)
{
	auto_strv struct strv keys = STRV_INIT;
	struct fault f;

	state_keys(dir, &keys);
	m->v = xcalloc(keys.len + 1, sizeof(*m->v));
	for (size_t i = 0; i < keys.len; i++) {
		struct pool_member *new = &m->v[m->len];

		if (!pool_is_key(keys.v[i]))
			continue;
		*new = (struct pool_member){ .key = xstrdup(keys.v[i]), .state = STATE_INIT, .r = RECORD_INIT };
		m->len++;
		if (state_open(&new->state, dir, keys.v[i], false, &f) && record_read(&new->r, &new->state, &f))
			continue;
		log_say("warning: %s", f.text);
		m->len--;
		member_free(new);
	}
	qsort(m->v, m->len, sizeof(*m->v), by_since);
}

void
pool_members_free(struct pool_members *m)
{
	for (size_t i = 0; i < m->len; i++)
		member_free(&m->v[i]);
	free(m->v);
	*m = (struct pool_members)POOL_MEMBERS_INIT;
}

size_t
pool_members_count(const struct pool_members *m, const char *name, enum phase phase)
{
	size_t n = 0;

	for (size_t i = 0; i < m->len; i++)
		n += m->v[i].r.phase == phase && strcmp(pool_name(&m->v[i].r), name) == 0;
	return n;
}

/* ---- claim */

/* What a job looks for. */
struct wish {
	struct building *b;
	const char *settings_file;
	char *shape;
};

static bool
fits(const struct wish *w, const struct record *r)
{
	const struct settings *st = w->b->st;

	if (r->phase != PHASE_READY || r->server_id == NULL || r->address == NULL || r->expires < w->b->record.expires)
		return false;
	return strcmp(pool_text(r, "shape"), w->shape) == 0 && (strcmp(pool_text(r, "image"), st->image) == 0 ||
	    strcmp(json_str(json_object_get(r->resolved, "settings"), "image"), st->image) == 0);
}

/* Both records say so, or the job's does not: then nobody has the server, and fill or sweep deletes it. */
static bool
write_claim(const struct wish *w, struct record *r, const struct state *from, struct fault *f)
{
	auto_record struct record mine = RECORD_INIT;
	struct building *b = w->b;
	char project[256];

	(void)strlcpy(project, b->job->project, sizeof(project)); /* cut: a property has at most 255 characters */
	if (!record_read(&mine, &b->state, f) || !building_still_mine(&mine, b, f))
		return false;
	r->phase = PHASE_CLAIMED;
	(void)json_object_set_new(r->pool, "job", json_string(b->job->key)); /* fails with no memory only */
	if (!record_write(r, from, f))
		return false;
	json_decref(mine.pool);
	mine.pool = json_pack("{s:s, s:s, s:s, s:s}", "name", pool_name(r), "key", strrchr(from->job, '/') + 1, "server",
	    r->server_name, "project", project);
	json_put(mine.pool, "file", w->settings_file);
	free(mine.server_id);
	mine.server_id = xstrdup(r->server_id);
	return record_write(&mine, &b->state, f);
}

/* Claim this server. False: it does not fit any more, or another was faster. */
static bool
claim_member(const struct wish *w, struct pool_member *m, struct fault *f)
{
	auto_fd int lock = state_lock(&m->state, f);

	if (lock < 0 || !record_read(&m->r, &m->state, f))
		return false;
	if (!fits(w, &m->r))
		return fault_set(f, FAULT_LOCAL, "server %s of the pool is another's now", m->key);
	return write_claim(w, &m->r, &m->state, f);
}

/* The claimed server's keys and address become the job's; one look whether it lets us in. */
static bool
take_over(struct building *b, const struct record *r, const struct state *from, struct fault *f)
{
	auto_free char *identity = keys_identity(b->st, &b->state);
	auto_free char *known_hosts = keys_known_hosts(&b->state);
	struct ssh_target t = { .settings = b->st, .identity = identity, .known_hosts = known_hosts, .alias = b->job->key,
		.pinned = true, .address = r->address };
	auto_free char *control = b->st->ssh_share ? share_path(&b->state, b->try) : NULL;
	struct limit limit = limit_min(b->limit, CHECK_MS);
	struct ssh_tools tools = { .git = true, .runner = true };

	b->record.server_id = xstrdup(r->server_id);
	b->record.address = xstrdup(r->address);
	strv_free(&b->record.addresses);
	strv_add_all(&b->record.addresses, (const char *const *)r->addresses.v);
	b->record.pool = json_incref(r->pool);
	if (!keys_move(from, &b->state, b->job->key, f))
		return false;
	share_use(&t, control, limit);
	if (!ready_ask(&t, false, limit, &tools, f)) {
		share_end(&b->state, b->try);
		return false;
	}
	ready_tell_missing(&tools);
	return true;
}

static bool
write_given_up(struct record *r, void *arg, struct fault *f)
{
	(void)arg;
	if (r->phase != PHASE_CLAIMED && r->phase != PHASE_READY)
		return fault_set(f, FAULT_LOCAL, "it is not in the pool any more");
	r->phase = PHASE_DELETING;
	return true;
}

/* The job's record has no server again; the pool's is for fill to delete. */
static bool
write_without(struct record *r, void *arg, struct fault *f)
{
	struct building *b = arg;

	if (strcmp(r->try, b->try) != 0)
		return fault_set(f, FAULT_LOCAL, "the record is another try's");
	free(r->server_id);
	r->server_id = NULL;
	json_decref(r->pool);
	r->pool = NULL;
	return true;
}

bool
pool_give_up(struct building *b, struct fault *f)
{
	auto_record struct record r = RECORD_INIT, mine = RECORD_INIT;
	auto_state struct state from = STATE_INIT;
	bool ok = record_read(&mine, &b->state, f);
	auto_free char *key = xstrdup(pool_text(&mine, "key"));

	/* the job's first: with the pool's alone the server would be deleted under a job that still has it */
	ok = ok && key[0] != '\0' && building_update(b, write_without, f) && state_open(&from, b->st->state_dir, key, false, f) &&
	    record_update(&r, &from, write_given_up, NULL, f);
	free(b->record.server_id);
	free(b->record.address);
	json_decref(b->record.pool);
	b->record.server_id = b->record.address = NULL;
	b->record.pool = NULL;
	strv_free(&b->record.addresses);
	return ok;
}

bool
pool_claim(struct building *b, struct pool_claim *claim)
{
	auto_pool_members struct pool_members all = POOL_MEMBERS_INIT;
	struct wish w = { .b = b, .settings_file = claim->settings_file };
	struct fault f;
	bool ok = false;

	claim->name[0] = '\0';
	if (!settings_keys_per_job(b->st) || b->st->floating_network != NULL || (w.shape = pool_shape(b->st, &f)) == NULL)
		return false;
	pool_members_read(&all, b->st->state_dir);
	for (size_t i = all.len; !ok && i > 0 && !limit_over(b->limit); i--) { /* the oldest first */
		struct pool_member *m = &all.v[i - 1];

		if (!fits(&w, &m->r))
			continue;
		if (!claim_member(&w, m, &f)) {
			log_debug("%s", f.text); /* mostly another was faster */
			continue;
		}
		claim->fill = true;
		(void)strlcpy(claim->name, pool_name(&m->r), sizeof(claim->name)); /* at most 32 */
		ok = take_over(b, &m->r, &m->state, &f);
		if (ok)
			break;
		log_say("server %s of the warm pool \"%s\" is no good: %s", m->r.server_id, claim->name, f.text);
		claim->name[0] = '\0';
		if (!pool_give_up(b, &f))
			log_debug("%s", f.text);
	}
	claim->left = ok ? pool_members_count(&all, claim->name, PHASE_READY) : 0;
	free(w.shape);
	return ok;
}

bool
pool_make_room(struct building *b)
{
	auto_pool_members struct pool_members all = POOL_MEMBERS_INIT;
	struct fault f;

	pool_members_read(&all, b->st->state_dir);
	for (size_t i = all.len; i > 0; i--) {
		struct pool_member *m = &all.v[i - 1];
		auto_free char *name = pool_server_name(m->key);
		struct jobserver theirs = { .owner = b->st->owner, .key = m->key, .server_name = name };

		if (m->r.phase != PHASE_READY || !record_update(&m->r, &m->state, write_given_up, NULL, &f))
			continue;
		log_say("deleting server %s of the warm pool \"%s\", which this job cannot use, to make room", m->r.server_id,
		    pool_name(&m->r));
		if (jobserver_delete(&b->c, &theirs, b->st->delete_wait, 0, b->limit, &f) != LEFT_NOTHING || !record_forget(&m->state, &m->r, &f))
			log_debug("the next fill proves it gone");
		return true;
	}
	return false;
}

/* ---- who waits, who fills */

static int
open_locked(const char *dir, const char *name, int how)
{
	auto_free char *path = xasprintf("%s/%s", dir, name);
	auto_fd int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 || flock(fd, how | LOCK_NB) != 0)
		return -1;
	return steal_fd(&fd);
}

int
pool_wait(const char *dir)
{
	return open_locked(dir, "pool.waiting", LOCK_SH); /* fails in the moment in which somebody looks: the next wait tells */
}

bool
pool_is_waited_for(const char *dir)
{
	auto_fd int fd = open_locked(dir, "pool.waiting", LOCK_EX);

	return fd < 0 && errno == EWOULDBLOCK;
}

bool
pool_is_filling(const char *dir)
{
	auto_fd int fd = open_locked(dir, "pool.lock", LOCK_SH); /* shared: two who look do not take each other for a fill */

	return fd < 0 && errno == EWOULDBLOCK;
}

/* Ours, without what is the job's or of this stage alone. */
static void
fill_env(struct strv *env)
{
	static const char *const drop[] = { "CUSTOM_ENV_*", "NOVAJOB_RESOLVED=*", "JOB_RESPONSE_FILE=*", "BUILD_*",
		"*_FAILURE_EXIT_CODE=*", "TMPDIR=*" };
	extern char **environ;

	for (char **e = environ; e != NULL && *e != NULL; e++) {
		bool keep = true;

		for (size_t i = 0; i < ARRAY_LEN(drop); i++)
			keep = keep && fnmatch(drop[i], *e, 0) != 0;
		if (keep)
			strv_add(env, *e);
	}
}

void
pool_fill_words(const char *self, const struct settings *st, const char *settings_file, struct strv *argv)
{
	strv_add(argv, self);
	if (settings_file != NULL)
		strv_addf(argv, "--settings=%s", settings_file);
	strv_addf(argv, "--state-dir=%s", st->state_dir);
	strv_addf(argv, "--owner=%s", st->owner);
	strv_add_all(argv, (const char *const[]){ "pool", "fill", NULL });
}

void
pool_kick(const struct settings *st, const char *settings_file)
{
	auto_free char *path = xasprintf("%s/pool.log", st->state_dir);
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	auto_strv struct strv argv = STRV_INIT, env = STRV_INIT;
	struct proc_spec spec = { .argv = &argv, .env = &env, .in = PROC_NULL, .out = PROC_NULL, .err = PROC_FD, .to_fd = fd,
		.apart = true, .file_max = FILE_MAX };
	struct proc p = PROC_INIT;
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct stat about;
	struct fault f;
	struct tm tm;
	char when[32];
	time_t now;

	if (fd < 0 || n <= 0) {
		log_say("warning: the pool is not filled in the background: cannot open '%s'", path);
		return;
	}
	if (fstat(fd, &about) == 0 && about.st_size > LOG_MAX)
		(void)!ftruncate(fd, 0); /* an old log is not worth a failure */
	self[n] = '\0';
	now = time(NULL);
	if (gmtime_r(&now, &tm) != NULL && strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%SZ", &tm) > 0)
		(void)dprintf(fd, "-- %s\n", when); /* the log has no times else; its loss is no loss */
	pool_fill_words(self, st, settings_file, &argv);
	fill_env(&env);
	if (proc_start(&p, &spec, &f))
		proc_let_go(&p);
	else
		log_say("warning: the pool is not filled in the background: %s", f.text);
}

void
pool_remind(const struct settings *st, const struct record *r)
{
	const char *file = pool_text(r, "file");

	if (pool_text(r, "key")[0] != '\0' && !pool_is_filling(st->state_dir))
		pool_kick(st, file[0] == '\0' ? NULL : file);
}

/* ---- what sweep asks */

static bool
is_live(const struct record *r)
{
	return r->phase == PHASE_CREATING || r->phase == PHASE_READY;
}

bool
pool_claimer(const char *dir, const struct record *r, struct state *state, struct record *mine)
{
	const char *job = pool_text(r, "job");
	struct fault f;

	if (r->phase != PHASE_CLAIMED || job[0] == '\0' || job[0] == '.' || strchr(job, '/') != NULL || r->server_id == NULL)
		return false;
	return state_open(state, dir, job, false, &f) && record_read(mine, state, &f) && is_live(mine) &&
	    mine->server_id != NULL && strcmp(mine->server_id, r->server_id) == 0;
}

/* The record of a job that lives and has the server of this id; NONE: there is none. */
static void
find_owner(const char *dir, const char *id, struct record *r)
{
	auto_strv struct strv keys = STRV_INIT;
	struct fault f;

	state_keys(dir, &keys);
	for (size_t i = 0; i < keys.len; i++) {
		auto_state struct state state = STATE_INIT;

		if (!pool_is_key(keys.v[i]) && state_open(&state, dir, keys.v[i], false, &f) && record_read(r, &state, &f) &&
		    is_live(r) && r->server_id != NULL && strcmp(r->server_id, id) == 0)
			return;
	}
	record_free(r);
}

struct sweeping
pool_judge(const char *dir, const struct os_server *s, bool filling, bool clock_ok)
{
	static const struct sweeping orphan = { true, "of the pool, without a record here" },
		unfinished = { true, "of the pool: whoever made it has ended" }, over = { true, "of the pool, given up" };
	auto_state struct state state = STATE_INIT;
	auto_record struct record r = RECORD_INIT, owner = RECORD_INIT;
	auto_fd int lock = -1;
	struct fault f;

	if (state_open(&state, dir, s->job, false, &f))
		lock = state_lock(&state, &f);
	if (lock < 0 || !record_read(&r, &state, &f)) {
		log_say("warning: %s", f.text);
		r.phase = PHASE_CREATING; /* a record there is: live until its expiry */
		filling = true;
	}
	if (r.phase == PHASE_READY || (r.phase == PHASE_CREATING && filling)) {
		(void)strlcpy(r.try, s->try, sizeof(r.try)); /* it is the record of this one server: its key says so */
		return sweeping_judge((struct sweepable){ s->try, s->expires }, &r, clock_unix(), 0, clock_ok);
	}
	find_owner(dir, s->id, &owner);
	if (owner.phase != PHASE_NONE) /* by its job's time alone: the pool's was longer */
		return sweeping_judge((struct sweepable){ owner.try, owner.expires }, &owner, clock_unix(), 0, clock_ok);
	return r.phase == PHASE_NONE ? orphan : r.phase == PHASE_CREATING ? unfinished : over;
}

bool
pool_is_over(const char *dir, const struct record *r, bool filling)
{
	auto_state struct state state = STATE_INIT;
	auto_record struct record mine = RECORD_INIT;

	if (r->phase == PHASE_READY || filling) /* what a fill has just made the cloud's list did not have yet */
		return false;
	return !pool_claimer(dir, r, &state, &mine);
}
