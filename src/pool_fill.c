/* SPDX-License-Identifier: MIT */
/* pool_fill.c - keep the pool as the settings want it; see pool_fill.h. */
#include "pool_fill.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "building.h"
#include "clock.h"
#include "json.h"
#include "keys.h"
#include "log.h"
#include "openstack.h"
#include "pool.h"
#include "ready.h"
#include "xalloc.h"

#define NAMES_REGEX   "^gitlab-builder-pool-"
#define LOOK_MS       INT64_C(120000) /* for what is asked before anything is made, with repeats */
#define SET_MS        INT64_C(60000)  /* for a name and properties; the next fill tries again */
#define DRAIN_WAIT_MS INT64_C(60000)  /* for a fill at work to end */
#define MAKE_MAX      16              /* at a time: each is a record and keys before it is a server */

/* A fill at work. */
struct fill {
	const struct settings *st; /* what is the same for all pools: owner, state-dir */
	struct pool_wants *wants;
	struct os_client c;
	struct limit limit;
	char *host;                /* pool_host */
	struct os_servers list;    /* the cloud's, of the pool's names */
	struct pool_done *done;
	struct fault first;        /* the first thing that went wrong */
};

/* One server to be. */
struct maker {
	struct building b;
	struct job job;
	struct pool_want *want;
	bool asked; /* create was called */
	bool gone;  /* nothing of it is left to do */
};

static void
note(struct fill *p, struct fault *f, const char *what)
{
	(void)fault_wrap(f, "%s", what);
	log_warn("%s", f->text);
	if (p->first.class == FAULT_NONE)
		p->first = *f;
}

/* ---- what is there */

/* The newest image of each pool. One that cannot be found keeps what it has, and gets nothing new. */
static bool
find_images(struct fill *p, struct fault *f)
{
	size_t others;

	for (size_t i = 0; i < p->wants->len; i++) {
		struct pool_want *w = &p->wants->v[i];

		free(w->image_id);
		w->image_id = NULL;
		if (w->st.pool == 0 || os_image_find(&p->c, w->st.image, limit_min(p->limit, LOOK_MS), &w->image_id, &others, f))
			continue;
		if (f->class != FAULT_MISSING)
			return false;
		note(p, f, w->name);
	}
	return true;
}

/* How long a server may wait: half of its life at most, so that it covers jobs to the end. */
static int64_t
max_age_s(const struct settings *st)
{
	return (st->pool_max_age < st->max_life / 2 ? st->pool_max_age : st->max_life / 2) / 1000;
}

/* Why a ready server is to go; NULL: it stays. */
static const char *
why_not(const struct fill *p, const struct record *r)
{
	struct pool_want *w = NULL;
	int64_t age = clock_unix() - pool_since(r);
	bool listed = false;

	for (size_t i = 0; i < p->wants->len; i++)
		if (strcmp(p->wants->v[i].name, pool_name(r)) == 0)
			w = &p->wants->v[i];
	for (size_t i = 0; i < p->list.len; i++)
		listed = listed || (r->server_id != NULL && strcmp(p->list.v[i].id, r->server_id) == 0 &&
		    strcmp(p->list.v[i].status, "ACTIVE") == 0);
	if (w == NULL || w->st.pool == 0)
		return "there is no such pool any more";
	if (!listed)
		return "the cloud has it no more, or it is not ACTIVE";
	if (strcmp(w->shape, pool_text(r, "shape")) != 0)
		return "the settings have changed";
	if (w->image_id != NULL && strcmp(w->image_id, pool_text(r, "image")) != 0)
		return "there is a newer image";
	if (age < 0 || age > max_age_s(&w->st))
		return "it has waited for too long";
	return ++w->kept > w->st.pool ? "the pool is to have fewer" : NULL; /* the oldest are looked at last */
}

static bool
write_deleting(struct record *r, void *arg, struct fault *f)
{
	(void)arg;
	if (r->phase == PHASE_CLAIMED)
		return fault_set(f, FAULT_LOCAL, "a job has claimed it");
	r->phase = PHASE_DELETING;
	return true;
}

static bool
write_named(struct record *r, void *arg, struct fault *f)
{
	const struct record *was = arg;

	if (r->server_id == NULL || strcmp(r->server_id, was->server_id) != 0 || strcmp(r->try, was->try) != 0)
		return fault_set(f, FAULT_LOCAL, "the job has it no more");
	if (r->expires != was->expires)
		return fault_set(f, FAULT_LOCAL, "it was held meanwhile, and the cloud may have been told its old expiry");
	json_decref(r->pool);
	r->pool = NULL;
	return true;
}

/* The server of a claim gets its job's name and properties; then nothing of it is the pool's. False: later. */
static bool
hand_over(struct fill *p, const struct record *r, const struct state *job_state, struct record *mine, struct fault *f)
{
	auto_strv struct strv properties = STRV_INIT;
	auto_record struct record now = RECORD_INIT;
	int64_t life = mine->expires - json_int(r->pool, "made", mine->expires);

	if (mine->phase == PHASE_CREATING || pool_text(mine, "key")[0] == '\0')
		return mine->phase != PHASE_CREATING; /* still being claimed; or handed over before */
	strv_addf(&properties, "novajob:job=%s", strrchr(job_state->job, '/') + 1);
	strv_addf(&properties, "novajob:try=%s", mine->try);
	strv_addf(&properties, "novajob:project=%s", pool_text(mine, "project"));
	strv_addf(&properties, "novajob:expires=%" PRId64, mine->expires);
	if (life > 0)
		strv_addf(&properties, "novajob:life=%" PRId64, life);
	return os_server_set(&p->c, mine->server_id, mine->server_name, &properties, limit_min(p->limit, SET_MS), f) &&
	    record_update(&now, job_state, write_named, mine, f);
}

/* A claimed server: its job's, or nobody's. False: the record stays. */
static bool
see_to_claimed(struct fill *p, const struct state *state, struct record *r)
{
	auto_state struct state job_state = STATE_INIT;
	auto_record struct record mine = RECORD_INIT;
	struct fault f;
	auto_fd int lock = state_lock(state, &f);

	if (lock < 0)
		return false;
	if (!pool_claimer(p->st->state_dir, r, &job_state, &mine)) {
		r->phase = PHASE_DELETING;
		if (!record_write(r, state, &f))
			log_debug("%s", f.text);
		return false;
	}
	(void)close(steal_fd(&lock)); /* a lock's file: nothing was written */
	fault_clear(&f);
	if (hand_over(p, r, &job_state, &mine, &f))
		return true;
	if (f.class != FAULT_NONE)
		log_say("the next fill gives server %s its job's name: %s", r->server_id, f.text);
	return false;
}

/* One record of the pool: what has to go is marked so, claimed servers are handed over. */
static void
see_to(struct fill *p, struct pool_member *m)
{
	const char *why = "whoever made it has ended";
	struct fault f;

	if (m->r.phase == PHASE_CLAIMED) {
		if (see_to_claimed(p, &m->state, &m->r) && !record_forget(&m->state, &m->r, &f))
			log_debug("%s", f.text);
		return;
	}
	if (m->r.phase == PHASE_READY && (why = why_not(p, &m->r)) == NULL)
		return;
	if (m->r.phase == PHASE_READY || m->r.phase == PHASE_CREATING)
		log_say("server %s of the pool \"%s\" goes: %s", m->r.server_id == NULL ? "(not known)" : m->r.server_id,
		    pool_name(&m->r), why);
	if (!record_update(&m->r, &m->state, write_deleting, NULL, &f))
		log_debug("%s", f.text);
}

/* Delete what is marked; wait_ms: look so long until it is gone. How many are left is returned. */
static size_t
delete_marked(struct fill *p, int64_t wait_ms)
{
	auto_pool_members struct pool_members all = POOL_MEMBERS_INIT;
	size_t n = 0;

	pool_members_read(&all, p->st->state_dir);
	for (size_t i = 0; i < all.len && !limit_over(p->limit); i++) {
		struct pool_member *m = &all.v[i];
		auto_free char *name = pool_server_name(m->key);
		struct jobserver j = { .owner = p->st->owner, .key = m->key, .server_name = name };
		enum jobserver_left left;
		struct fault f;

		if (m->r.phase == PHASE_READY || m->r.phase == PHASE_CLAIMED || m->r.phase == PHASE_CREATING)
			continue;
		left = jobserver_delete(&p->c, &j, wait_ms, 0, p->limit, &f);
		if (left == LEFT_RESISTING)
			note(p, &f, "pool");
		/* a create that was accepted may show later: without a record it is then found by its key */
		if (left == LEFT_NOTHING && !record_forget(&m->state, &m->r, &f))
			note(p, &f, "pool");
		n += left != LEFT_NOTHING;
		p->done->removed += left == LEFT_NOTHING;
	}
	return n;
}

/* Servers with this STATE's word that no record here knows: never adopted. */
static void
delete_orphans(struct fill *p)
{
	struct fault f;

	for (size_t i = 0; i < p->list.len && !limit_over(p->limit); i++) {
		const struct os_server *s = &p->list.v[i];
		struct sweeping verdict;

		if (strcmp(s->owner, p->st->owner) != 0 || !pool_is_our_key(s->job, p->host) || strcmp(s->status, "DELETED") == 0)
			continue;
		verdict = pool_judge(p->st->state_dir, s, true, false);
		if (!verdict.go)
			continue;
		log_say("deleting server %s ('%s'): %s", s->id, s->name, verdict.reason);
		if (!os_server_delete(&p->c, s->id, p->limit, &f))
			log_debug("%s", f.text); /* the next fill, or sweep */
		p->done->removed++;
	}
}

/* Look at everything; mark, hand over, delete. */
static bool
tidy(struct fill *p, struct fault *f)
{
	auto_pool_members struct pool_members all = POOL_MEMBERS_INIT;

	if (!find_images(p, f) || !os_server_list_all(&p->c, NAMES_REGEX, limit_min(p->limit, LOOK_MS), &p->list, f))
		return false;
	pool_members_read(&all, p->st->state_dir);
	for (size_t i = 0; i < p->wants->len; i++)
		p->wants->v[i].kept = 0;
	for (size_t i = 0; i < all.len && !limit_over(p->limit); i++)
		see_to(p, &all.v[i]);
	delete_orphans(p);
	if (delete_marked(p, 0) > 0) /* all are asked for, before the first is waited for */
		(void)delete_marked(p, p->st->delete_wait); /* the next fill goes on */
	return true;
}

/* ---- what is missing */

static int64_t
missing_in(const struct fill *p, const struct pool_want *w)
{
	auto_pool_members struct pool_members all = POOL_MEMBERS_INIT;

	if (w->st.pool == 0 || w->image_id == NULL)
		return 0;
	pool_members_read(&all, p->st->state_dir);
	return w->st.pool - (int64_t)pool_members_count(&all, w->name, PHASE_READY);
}

static bool
write_begin(struct record *r, void *arg, struct fault *f)
{
	const struct maker *m = arg;
	int64_t now = clock_unix();

	(void)f;
	record_free(r);
	r->phase = PHASE_CREATING;
	(void)strlcpy(r->try, m->b.try, sizeof(r->try)); /* same size */
	r->server_name = xstrdup(m->job.server_name);
	r->expires = m->b.record.expires;
	r->pool = json_pack("{s:s, s:s, s:s, s:I, s:I}", "name", m->want->name, "shape", m->want->shape, "image", m->b.image_id,
	    "made", (json_int_t)now, "since", (json_int_t)now);
	r->resolved = settings_json(&m->want->st);
	return true;
}

/* The record, the keys, the create: in this order, so that each server is found by a record. */
static bool
begin(struct fill *p, struct maker *m, struct fault *f)
{
	auto_record struct record r = RECORD_INIT;
	auto_free char *name = NULL;
	struct building *b = &m->b;
	char word[TRY_SIZE];
	bool ok;

	record_new_try(word);
	(void)snprintf(m->job.key, sizeof(m->job.key), "pool.%s.%s", p->host, word); /* fits */
	name = pool_server_name(m->job.key);
	(void)strlcpy(m->job.server_name, name, sizeof(m->job.server_name)); /* fits */
	m->job.known = true;
	m->job.timeout_s = m->want->st.max_life / 1000;
	*b = (struct building){ .st = &m->want->st, .job = &m->job, .state = STATE_INIT, .record = RECORD_INIT,
		.mine = { .owner = p->st->owner, .key = m->job.key, .server_name = m->job.server_name, .try = b->try },
		.limit = p->limit, .discarded = STRV_INIT, .image_id = xstrdup(m->want->image_id), .started_ms = clock_ms(),
		.pool = m->want->name };
	(void)strlcpy(b->try, word, sizeof(b->try)); /* same size */
	b->record.expires = clock_unix() + m->want->st.max_life / 1000;
	choices_init(&b->choices, b->st);
	if (!state_open(&b->state, p->st->state_dir, m->job.key, true, f))
		return false;
	if (!record_update(&r, &b->state, write_begin, m, f) ||
	    !keys_make(b->st, &b->state, m->job.key, b->limit, &b->user_data, f))
		return false;
	m->asked = true;
	b->c = p->c; /* one client for all of them */
	ok = building_create(b, f);
	p->c = b->c;
	return ok;
}

static bool
write_ready(struct record *r, void *arg, struct fault *f)
{
	const struct building *b = arg;

	if (!building_still_mine(r, b, f))
		return false;
	record_set_ready(r, &b->record);
	(void)json_object_set_new(r->pool, "since", json_integer((json_int_t)clock_unix())); /* fails with no memory only */
	return true;
}

static bool
wait_active(struct fill *p, struct maker *m, struct fault *f)
{
	bool ok;

	m->b.c = p->c;
	ok = building_wait(&m->b, f);
	p->c = m->b.c;
	return ok;
}

/* Let us in, made ready: as a prepare does it. */
static bool
finish(struct maker *m, struct fault *f)
{
	struct building *b = &m->b;
	auto_free char *identity = keys_identity(b->st, &b->state);
	auto_free char *known_hosts = keys_known_hosts(&b->state);
	struct ssh_target t = { .settings = b->st, .identity = identity, .known_hosts = known_hosts, .alias = m->job.key,
		.pinned = true };
	auto_buf struct buf times = BUF_INIT;
	struct ssh_tools tools;

	if (!ssh_login(&t, &b->record.addresses, b->limit, &b->record.address, &tools, f))
		return false;
	t.address = b->record.address;
	if (!ready_run(&t, &tools, b->limit, &times, f) || !building_update(b, write_ready, f))
		return false;
	log_say("server %s is ready in the pool \"%s\"", b->record.server_id, m->want->name);
	return true;
}

/* What failed leaves nothing, or a record that the next fill deletes it by. */
static void
undo(struct fill *p, struct maker *m)
{
	struct fault f;

	m->gone = true;
	if (!building_update(&m->b, write_deleting, &f) ||
	    jobserver_delete(&p->c, &m->b.mine, m->b.st->delete_wait, 0, limit_in(30000, m->b.st->stop_timeout), &f) != LEFT_NOTHING ||
	    (m->asked && m->b.created && m->b.record.server_id == NULL)) /* it may show yet */
		return;
	if (!record_forget(&m->b.state, NULL, &f))
		log_debug("%s", f.text);
}

static void
maker_free(struct maker *m)
{
	state_free(&m->b.state);
	record_free(&m->b.record);
	strv_free(&m->b.discarded);
	choices_free(&m->b.choices);
	free(m->b.image_id);
	free(m->b.user_data);
}

/* Ask for the servers that are missing, side by side; *n of them began well. False: there is no room for more now. */
static bool
begin_missing(struct fill *p, struct maker *makers, size_t *n)
{
	struct fault f;

	for (size_t i = 0; i < p->wants->len; i++) {
		struct pool_want *w = &p->wants->v[i];
		int64_t missing = missing_in(p, w);

		for (; missing > 0 && *n < MAKE_MAX; missing--) {
			struct maker *m = &makers[*n];

			if (sig_stopped() || limit_over(p->limit))
				return false;
			if (pool_is_waited_for(p->st->state_dir)) {
				log_say("a job waits for quota: the pool can wait");
				return false;
			}
			*m = (struct maker){ .want = w };
			if (begin(p, m, &f)) {
				(*n)++;
				continue;
			}
			undo(p, m);
			maker_free(m);
			if (f.class == FAULT_BUSY) {
				log_say("the cloud has no room for the pool: %s", f.text);
				return false;
			}
			note(p, &f, w->name);
			p->done->failed++;
			break; /* of this pool: the next one would fare no better */
		}
	}
	return true;
}

/* One round: as many as may be made at a time. True: another one may do more. */
static bool
make_missing(struct fill *p)
{
	struct maker *makers = xcalloc(MAKE_MAX, sizeof(*makers));
	size_t n = 0, done = 0;
	bool more = begin_missing(p, makers, &n);
	struct fault f;

	for (size_t i = 0; i < n; i++) {
		if (wait_active(p, &makers[i], &f))
			continue;
		note(p, &f, makers[i].want->name);
		undo(p, &makers[i]);
	}
	os_client_rest(&p->c); /* jobs may need the slot while we log in */
	for (size_t i = 0; i < n; i++) {
		if (!makers[i].gone && finish(&makers[i], &f)) {
			done++;
		} else if (!makers[i].gone) {
			note(p, &f, makers[i].want->name);
			undo(p, &makers[i]);
		}
		maker_free(&makers[i]);
	}
	free(makers);
	p->done->made += (int64_t)done;
	p->done->failed += (int64_t)(n - done);
	return more && n == MAKE_MAX && done > 0;
}

static bool
pass(struct fill *p, struct fault *f)
{
	p->first.class = FAULT_NONE;
	if (!tidy(p, f))
		return fault_wrap(f, "pool fill");
	while (make_missing(p))
		;
	os_servers_free(&p->list);
	if (sig_stopped())
		return limit_fault(f, FAULT_STOPPED, "stopped");
	if (p->first.class == FAULT_NONE)
		return true;
	*f = p->first;
	return false;
}

/* Is there nothing to do, so that no client need be started? */
static bool
is_unused(const struct pool_wants *w, const char *dir, const char *host)
{
	auto_pool_members struct pool_members all = POOL_MEMBERS_INIT;

	pool_members_read(&all, dir);
	for (size_t i = 0; i < w->len; i++)
		if (w->v[i].st.pool > 0)
			return false;
	return all.len == 0 && host == NULL;
}

/* With the lock held: passes, while others ask for one. again: their mark. */
static bool
fill_alone(struct pool_wants *w, const char *again, struct limit limit, struct pool_done *done, struct fault *f)
{
	struct fill p = { .st = &w->v[0].st, .wants = w, .limit = limit, .list = OS_SERVERS_INIT, .done = done };
	bool ok = true;

	fault_clear(f);
	p.host = pool_host(p.st->state_dir, false, f);
	if (is_unused(w, p.st->state_dir, p.host)) {
		free(p.host);
		return unlink(again) == 0 || errno == ENOENT;
	}
	if (p.host == NULL && (p.host = pool_host(p.st->state_dir, true, f)) == NULL)
		return false;
	os_client_init(&p.c, p.st, false, limit);
	while (ok && unlink(again) == 0)
		ok = pass(&p, f);
	os_client_cost(&p.c, &done->cost);
	os_client_end(&p.c);
	os_servers_free(&p.list);
	free(p.host);
	return ok;
}

/* A mark that somebody wants a pass: whoever fills now, or fills next, sees it. */
static bool
mark_again(const char *path, struct fault *f)
{
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd >= 0 || fault_errno(f, FAULT_LOCAL, "cannot make '%s'", path);
}

bool
pool_fill(struct pool_wants *w, struct limit limit, struct pool_done *done, struct fault *f)
{
	auto_state struct state state = STATE_INIT;
	auto_free char *again = NULL;

	if (!state_open(&state, w->v[0].st.state_dir, NULL, true, f))
		return false;
	again = xasprintf("%s/pool.again", state.dir);
	if (!mark_again(again, f))
		return false;
	while (access(again, F_OK) == 0) { /* a mark set between another fill's last look and its end is ours to see */
		auto_fd int lock = state_alone(&state, "pool", f);

		if (lock < 0) {
			log_debug("%s: it looks again", f->text);
			return true;
		}
		done->begun = true;
		if (!fill_alone(w, again, limit, done, f))
			return false;
		(void)futimens(lock, NULL); /* doctor looks how long ago that was */
	}
	return true;
}

bool
pool_drain(const struct settings *st, struct limit limit, struct pool_done *done, struct fault *f)
{
	auto_pool_members struct pool_members all = POOL_MEMBERS_INIT;
	auto_state struct state state = STATE_INIT;
	struct fill p = { .st = st, .limit = limit, .done = done };
	struct limit wait = limit_min(limit, DRAIN_WAIT_MS);
	auto_fd int lock = -1;
	size_t left;

	if (!state_open(&state, st->state_dir, NULL, true, f))
		return false;
	for (lock = state_alone(&state, "pool", f); lock < 0; lock = state_alone(&state, "pool", f))
		if (!limit_sleep(wait, 500))
			return fault_wrap(f, "pool drain");
	done->begun = true;
	pool_members_read(&all, st->state_dir);
	for (size_t i = 0; i < all.len; i++)
		if (all.v[i].r.phase != PHASE_CLAIMED && !record_update(&all.v[i].r, &all.v[i].state, write_deleting, NULL, f))
			log_debug("%s", f->text); /* claimed in this moment */
	os_client_init(&p.c, st, true, limit);
	left = delete_marked(&p, 0) == 0 ? 0 : delete_marked(&p, DRAIN_WAIT_MS);
	os_client_cost(&p.c, &done->cost);
	os_client_end(&p.c);
	return left == 0 || fault_set(f, FAULT_LEFT, "pool drain: %zu servers are still there", left);
}
