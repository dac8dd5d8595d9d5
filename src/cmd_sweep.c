/* SPDX-License-Identifier: MIT */
/*
 * cmd_sweep.c - for the timer: delete what no stage could, and forget what is
 * proved gone. Which servers and floating addresses may go, sweeping.c says.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "account.h"
#include "clock.h"
#include "cmd.h"
#include "floating.h"
#include "json.h"
#include "log.h"
#include "openstack.h"
#include "outcome.h"
#include "pool.h"
#include "record.h"
#include "ssh_share.h"
#include "sweeping.h"
#include "text.h"
#include "xalloc.h"

#define LIMIT_MS      INT64_C(900000) /* for all of it */
#define STOP_MS       INT64_C(2000)
#define GONE_MS       INT64_C(30000)  /* for deletions to be seen */
#define LOOK_MS       1000
#define ERROR_LOOKS   3
#define ADDRESS_MS    INT64_C(60000)  /* for a list of floating addresses, with repeats */
#define ADDRESS_LOOKS 3              /* for the release of an address to be seen */
#define SERVERS_REGEX "^gitlab-builder-"

struct sweep_opts {
	bool dry_run, json;
};

static const struct opt opts[] = {
	{ "dry-run", 'n', OPT_FLAG, offsetof(struct sweep_opts, dry_run), NULL, "say what would be done, do nothing" },
	{ "json", 0, OPT_FLAG, offsetof(struct sweep_opts, json), NULL, "print one JSON object per line" },
	{ 0 },
};

/* What is swept: as it is called in a line, by a counter, and in the event of the whole. */
enum object { SERVER, FLOATING, RECORD, CONNECTION, OBJECTS };

static const struct {
	const char *name, *metric, *field;
} objects[OBJECTS] = {
	[SERVER] = { "server", "server", "servers" },
	[FLOATING] = { "floating ip", "floating_ip", "floating_ips" },
	[RECORD] = { "record", "record", "records" },
	[CONNECTION] = { "connection", "connection", "connections" },
};

struct sweep {
	struct context *ctx;
	const struct settings *st;
	const struct sweep_opts *opts;
	struct os_client c;
	struct limit limit;
	struct strv asked;  /* ids whose deletion was asked for */
	struct strv why;    /* for each of them: why it was not accepted, "" = it was */
	struct strv released, why_not; /* the same of floating addresses */
	struct strv kept;   /* "job:try" of servers that stay */
	char *pool_host;    /* of keys of this STATE's pool; NULL: it has none */
	bool pool_filling;  /* a fill was at work after the list was made */
	struct strv leaked; /* ids, as in asked and released, of what no cleanup had seen to */
	size_t resisting;
	int64_t swept[OBJECTS], swept_leaked[OBJECTS]; /* gone */
};

/* The same for machines; not of each server that lives, again and again. */
static void
tell_event(const struct sweep *s, const char *what, const char *id, const char *name, const char *did, const char *reason)
{
	auto_event struct event e = EVENT_INIT;

	if (s->opts->dry_run || strcmp(did, "keep") == 0)
		return;
	e.name = "swept";
	event_text(&e, "object", what);
	event_text(&e, "id", id);
	event_text(&e, "name", name);
	event_text(&e, "action", did);
	event_text(&e, "reason", reason);
	event_tell(&e, s->st, false);
}

/* One line per object. */
static void
tell(const struct sweep *s, enum object object, const char *id, const char *name, const char *did, const char *reason)
{
	const char *what = objects[object].name;

	tell_event(s, what, id, name, did, reason);
	if (s->opts->json) {
		json_auto_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s}", "object", what, "id", id, "name", name, "action",
		    did, "reason", reason);
		auto_free char *text = json_text(o);

		(void)puts(text); /* main looks at ferror(stdout) */
	} else {
		char safe[256];

		text_one_line(safe, sizeof(safe), name);
		(void)printf("%s %s %s (%s): %s\n", did, what, id, safe, reason); /* as above */
	}
	(void)fflush(stdout); /* as above */
}

/* This host's record of a server's job; its key is untrusted: the cloud's. */
static void
read_record(const struct sweep *s, const char *key, struct record *r)
{
	auto_state struct state state = STATE_INIT;
	struct fault f;

	if (key[0] == '\0' || key[0] == '.' || strlen(key) >= JOB_KEY_MAX ||
	    !text_only(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"))
		return;
	if (!state_open(&state, s->st->state_dir, key, false, &f) || !record_read(r, &state, &f)) {
		log_warn("%s", f.text);
		r->phase = PHASE_CREATING; /* a record there is: no stranger's rule, and live until its expiry */
	}
}

/* Of a record that was held until now: nobody may hold it for longer while it is being deleted. arg: bool, somebody does. */
static bool
end_hold(struct record *r, void *arg, struct fault *f)
{
	bool *held_on = arg;

	*held_on = r->phase != PHASE_HELD || clock_unix() <= r->expires;
	if (*held_on)
		return fault_set(f, FAULT_LOCAL, "it was held for longer meanwhile, or has a new try");
	r->phase = PHASE_DELETING;
	return true;
}

/* A record that cannot be written (a full disk) keeps no server for ever. */
static bool
is_held_on(const struct sweep *s, const char *key)
{
	auto_state struct state state = STATE_INIT;
	auto_record struct record r = RECORD_INIT;
	bool held_on = false;
	struct fault f;

	if (!state_open(&state, s->st->state_dir, key, false, &f) || !record_update(&r, &state, end_hold, &held_on, &f))
		log_debug("%s: %s", key, f.text);
	return held_on;
}

static void
sweep_server(struct sweep *s, const struct os_server *server, bool clock_ok)
{
	auto_record struct record r = RECORD_INIT;
	struct sweeping verdict;
	struct fault f;

	if (pool_is_our_key(server->job, s->pool_host)) {
		verdict = pool_judge(s->st->state_dir, server, s->pool_filling, clock_ok);
	} else {
		read_record(s, server->job, &r);
		verdict = sweeping_judge((struct sweepable){ server->try, server->expires }, &r, clock_unix(), s->st->sweep_grace / 1000, clock_ok);
		if (verdict.go && r.phase == PHASE_HELD && !s->opts->dry_run && strcmp(r.try, server->try) == 0 &&
		    is_held_on(s, server->job))
			verdict = (struct sweeping){ .go = false, .reason = "it is held for longer now" };
	}
	if (!verdict.go) {
		auto_free char *try = xasprintf("%s:%s", server->job, server->try);

		strv_add(&s->kept, try);
	}
	if (!verdict.go || s->opts->dry_run) {
		tell(s, SERVER, server->id, server->name, verdict.go ? "would delete" : "keep", verdict.reason);
		return;
	}
	tell(s, SERVER, server->id, server->name, "delete", verdict.reason);
	fault_clear(&f);
	if (!os_server_delete(&s->c, server->id, s->limit, &f))
		log_debug("%s", f.text); /* its own cleanup may have been faster: the list tells */
	strv_add(&s->asked, server->id);
	if (verdict.leaked)
		strv_add(&s->leaked, server->id);
	strv_add(&s->why, f.text);
	os_client_yield(&s->c); /* as below */
}

/* The servers of our owner, every page. */
static bool
ours(struct sweep *s, struct os_servers *list, struct fault *f)
{
	size_t n = 0;

	if (!os_server_list_all(&s->c, SERVERS_REGEX, s->limit, list, f))
		return false;
	for (size_t i = 0; i < list->len; i++) {
		struct os_server tmp = list->v[i];

		if (strcmp(tmp.owner, s->st->owner) != 0 || strcmp(tmp.status, "DELETED") == 0)
			continue;
		list->v[i] = list->v[n];
		list->v[n++] = tmp;
	}
	for (size_t i = n; i < list->len; i++)
		os_server_free(&list->v[i]);
	list->len = n;
	return true;
}

/* It is gone. */
static void
count(struct sweep *s, enum object object, const char *id)
{
	s->swept[object]++;
	s->swept_leaked[object] += strv_has(&s->leaked, id);
}

static const struct os_server *
by_id(const struct os_servers *list, const char *id)
{
	for (size_t i = 0; i < list->len; i++)
		if (strcmp(list->v[i].id, id) == 0)
			return &list->v[i];
	return NULL;
}

/* See the deletions through; what is left when the time is over resists. */
static bool
see_gone(struct sweep *s, struct os_servers *list, struct fault *f)
{
	struct limit limit = limit_min(s->limit, GONE_MS);
	size_t left;

	for (int looks = 1;; looks++) {
		if (!ours(s, list, f))
			return false;
		left = 0;
		for (size_t i = 0; i < list->len; i++) /* an ERROR after a few looks is the deletion's own */
			left += strv_has(&s->asked, list->v[i].id) &&
			    (strcmp(list->v[i].status, "ERROR") != 0 || looks < ERROR_LOOKS);
		if (left == 0)
			break;
		os_client_yield(&s->c); /* a cleanup may wait for the slot that is reserved for both */
		if (!limit_sleep(limit, LOOK_MS))
			break;
	}
	for (size_t i = 0; i < s->asked.len; i++) {
		const struct os_server *left_over = by_id(list, s->asked.v[i]);

		if (left_over == NULL) {
			count(s, SERVER, s->asked.v[i]);
			continue;
		}
		s->resisting++;
		tell(s, SERVER, left_over->id, left_over->name, "still there",
		    s->why.v[i][0] == '\0' ? left_over->status : s->why.v[i]);
	}
	return true;
}

static void
sweep_address(struct sweep *s, const struct os_floating *fip, bool clock_ok)
{
	auto_record struct record r = RECORD_INIT;
	auto_free char *try = NULL;
	struct floating_tag tag;
	struct sweeping verdict;
	struct fault f;

	if (!floating_parse(fip->description, s->st->owner, &tag))
		return;
	read_record(s, tag.key, &r);
	verdict = sweeping_judge((struct sweepable){ tag.try, tag.expires }, &r, clock_unix(), s->st->sweep_grace / 1000,
	    clock_ok);
	try = xasprintf("%s:%s", tag.key, tag.try);
	if (verdict.go && strv_has(&s->kept, try)) /* the server's life is judged by the cloud's clock, not by a host's */
		verdict = (struct sweeping){ .go = false, .reason = "its server is kept" };
	if (!verdict.go || s->opts->dry_run) {
		tell(s, FLOATING, fip->id, fip->address, verdict.go ? "would delete" : "keep", verdict.reason);
		return;
	}
	tell(s, FLOATING, fip->id, fip->address, "delete", verdict.reason);
	fault_clear(&f);
	if (!os_floating_delete(&s->c, fip->id, s->limit, &f))
		log_debug("%s", f.text); /* as of servers */
	strv_add(&s->released, fip->id);
	if (verdict.leaked)
		strv_add(&s->leaked, fip->id);
	strv_add(&s->why_not, f.text);
}

/* Has a job of this host a floating address? A section of the settings may give it one. */
static bool
any_floating(const struct sweep *s)
{
	auto_strv struct strv keys = STRV_INIT;
	bool any = false;

	state_keys(s->st->state_dir, &keys);
	for (size_t i = 0; i < keys.len && !any; i++) {
		auto_record struct record r = RECORD_INIT;

		read_record(s, keys.v[i], &r);
		any = r.floating;
	}
	return any;
}

/* Those of our owner. A cloud, or a user, without floating addresses is no trouble where none are wanted. */
static bool
our_addresses(struct sweep *s, struct os_floatings *list, struct fault *f)
{
	if (floating_list(&s->c, s->st->owner, limit_min(s->limit, ADDRESS_MS), list, f))
		return true;
	if (s->st->floating_network != NULL || f->class == FAULT_TRANSIENT || f->class == FAULT_BUSY ||
	    f->class == FAULT_STOPPED || any_floating(s))
		return false;
	log_debug("%s", f->text);
	return true;
}

/* See the releases through: what is left after a few looks resists. */
static bool
see_released(struct sweep *s, struct os_floatings *list, struct fault *f)
{
	for (int looks = 1;; looks++) {
		size_t left = 0;

		if (!our_addresses(s, list, f))
			return false;
		for (size_t i = 0; i < list->len; i++)
			left += strv_has(&s->released, list->v[i].id);
		if (left == 0 || looks == ADDRESS_LOOKS || !limit_sleep(s->limit, LOOK_MS))
			break;
	}
	for (size_t i = 0; i < s->released.len; i++) {
		size_t n = 0;

		while (n < list->len && strcmp(list->v[n].id, s->released.v[i]) != 0)
			n++;
		if (n == list->len) {
			count(s, FLOATING, s->released.v[i]);
			continue;
		}
		s->resisting++;
		tell(s, FLOATING, list->v[n].id, list->v[n].address, "still there",
		    s->why_not.v[i][0] == '\0' ? "its release was accepted" : s->why_not.v[i]);
	}
	return true;
}

static bool
sweep_addresses(struct sweep *s, struct os_floatings *list, bool clock_ok, struct fault *f)
{
	if (!our_addresses(s, list, f))
		return false;
	for (size_t i = 0; i < list->len && !limit_over(s->limit); i++)
		sweep_address(s, &list->v[i], clock_ok);
	return s->released.len == 0 || see_released(s, list, f);
}

/* Has the cloud something of this job? */
static bool
has_job(const struct sweep *s, const struct os_servers *list, const struct os_floatings *addresses, const char *key)
{
	struct floating_tag tag;

	for (size_t i = 0; i < list->len; i++)
		if (strcmp(list->v[i].job, key) == 0)
			return true;
	for (size_t i = 0; i < addresses->len; i++)
		if (floating_parse(addresses->v[i].description, s->st->owner, &tag) && strcmp(tag.key, key) == 0)
			return true;
	return false;
}

/* A record whose servers a complete list has shown to be gone, and whose time is over, tells nothing any more. */
static void
sweep_record(struct sweep *s, const char *key, bool clock_ok)
{
	bool filling = pool_is_key(key) && pool_is_filling(s->st->state_dir);
	static const char reason[] = "its server is gone and its time is over", pool_reason[] = "of the pool, and its server is gone";
	const char *outcome;
	bool over = false;
	auto_state struct state state = STATE_INIT;
	auto_record struct record r = RECORD_INIT;
	struct fault f;

	if (!state_open(&state, s->st->state_dir, key, false, &f) || !record_read(&r, &state, &f)) {
		s->resisting++;
		tell(s, RECORD, key, key, "cannot read", f.text);
		return;
	}
	if (pool_is_key(key)) /* looked at before and after the record was read: no fill can have made it in between */
		over = pool_is_over(s->st->state_dir, &r, filling || pool_is_filling(s->st->state_dir));
	if (!over && (!clock_ok || clock_unix() <= r.expires))
		return;
	if (s->opts->dry_run) {
		tell(s, RECORD, key, key, "would forget", over ? pool_reason : reason);
		return;
	}
	outcome = outcome_take(&state, true); /* no cleanup came */
	if (outcome != NULL)
		metrics_add(&s->ctx->metrics, METRIC_JOBS, outcome, NULL, 1);
	if (record_forget(&state, &r, &f)) {
		count(s, RECORD, key);
		tell(s, RECORD, key, key, "forget", over ? pool_reason : reason);
	} else {
		s->resisting++;
		tell(s, RECORD, key, key, "cannot forget", f.text);
	}
}

static void
sweep_records(struct sweep *s, const struct os_servers *list, const struct os_floatings *addresses, bool clock_ok)
{
	auto_strv struct strv keys = STRV_INIT;

	state_keys(s->st->state_dir, &keys);
	for (size_t i = 0; i < keys.len && !limit_over(s->limit); i++)
		if (!has_job(s, list, addresses, keys.v[i]))
			sweep_record(s, keys.v[i], clock_ok);
}

/* End shared connections that no live job's record on this host names; a record that cannot be read may name any. */
static void
sweep_shares(struct sweep *s, const struct state *state)
{
	auto_strv struct strv keys = STRV_INIT, live = STRV_INIT, tries = STRV_INIT;

	share_tries(state, &tries); /* first: a try notes itself in its record before it connects */
	state_keys(s->st->state_dir, &keys);
	for (size_t i = 0; tries.len > 0 && i < keys.len; i++) {
		auto_state struct state job = STATE_INIT;
		auto_record struct record r = RECORD_INIT;
		struct fault f;

		if (!state_open(&job, s->st->state_dir, keys.v[i], false, &f) || !record_read(&r, &job, &f))
			return;
		if (r.phase != PHASE_HELD && record_is_live(&r))
			strv_add(&live, r.try);
	}
	for (size_t i = 0; i < tries.len; i++) {
		if (strv_has(&live, tries.v[i]))
			continue;
		tell(s, CONNECTION, tries.v[i], tries.v[i], s->opts->dry_run ? "would end" : "end", "its job is over");
		if (s->opts->dry_run)
			continue;
		share_end(state, tries.v[i]);
		count(s, CONNECTION, tries.v[i]);
	}
}

static bool
work(struct sweep *s, struct fault *f)
{
	auto_servers struct os_servers list = OS_SERVERS_INIT;
	auto_floatings struct os_floatings addresses = OS_FLOATINGS_INIT;
	int64_t token_expires;
	bool clock_ok;

	if (!ours(s, &list, f) || !os_token_expires(&s->c, s->limit, &token_expires, f))
		return fault_wrap(f, "sweep");
	clock_ok = sweeping_clock_ok(&list, token_expires, clock_unix());
	if (!clock_ok)
		log_warn("this host's clock looks wrong, compared with the cloud's: nothing is judged by time");
	s->pool_filling = pool_is_filling(s->st->state_dir);
	for (size_t i = 0; i < list.len && !limit_over(s->limit); i++)
		sweep_server(s, &list.v[i], clock_ok);
	if (s->asked.len > 0 && !see_gone(s, &list, f))
		return fault_wrap(f, "sweep");
	if (!sweep_addresses(s, &addresses, clock_ok, f))
		return fault_wrap(f, "sweep");
	sweep_records(s, &list, &addresses, clock_ok);
	if (limit_over(s->limit))
		return limit_fault(f, FAULT_LEFT, "sweep is not through within 15 minutes");
	if (s->resisting == 0)
		return true;
	(void)fault_set(f, FAULT_LEFT, "sweep: %zu objects resist", s->resisting);
	return fault_hint(f, "see the lines above; 'openstack server show' (or 'floating ip show') tells more, the cloud's operators may have to help");
}

/* The sum, as an event and for the counters. */
static void
give_account(const struct sweep *s, bool through)
{
	struct context *ctx = s->ctx;
	int64_t leaked = 0;

	os_client_cost(&s->c, &ctx->cost);
	for (size_t i = 0; i < OBJECTS; i++) {
		event_number(&ctx->event, objects[i].field, s->swept[i]);
		metrics_add(&ctx->metrics, METRIC_SWEPT, objects[i].metric, NULL, s->swept[i]);
		metrics_add(&ctx->metrics, METRIC_LEAKED, objects[i].metric, NULL, s->swept_leaked[i]);
		leaked += s->swept_leaked[i];
	}
	event_number(&ctx->event, "leaked", leaked);
	event_number(&ctx->event, "resisting", (int64_t)s->resisting);
	if (!through)
		return;
	metrics_add(&ctx->metrics, METRIC_SWEEP_LEFT, NULL, NULL, (int64_t)s->resisting);
	metrics_add(&ctx->metrics, METRIC_SWEEP_END, NULL, NULL, clock_unix());
}

static bool
sweep(struct context *ctx, struct fault *f)
{
	struct sweep s = { .ctx = ctx, .leaked = STRV_INIT, .st = &ctx->settings, .opts = ctx->opts, .limit = limit_in(LIMIT_MS, STOP_MS),
		.asked = STRV_INIT, .why = STRV_INIT, .released = STRV_INIT, .why_not = STRV_INIT, .kept = STRV_INIT };
	auto_state struct state state = STATE_INIT;
	auto_fd int alone = -1;
	bool ok;

	if (!state_open(&state, s.st->state_dir, NULL, true, f))
		return false;
	alone = state_alone(&state, "sweep", f);
	if (alone < 0)
		return false;
	if (!s.opts->dry_run)
		account_begin(ctx, "sweep");
	s.pool_host = pool_host(s.st->state_dir, false, f);
	os_client_init(&s.c, s.st, true, s.limit);
	ok = work(&s, f);
	if (ok)
		(void)futimens(alone, NULL); /* doctor looks how long ago that was */
	sweep_shares(&s, &state);
	if (!s.opts->dry_run)
		give_account(&s, ok || f->class == FAULT_LEFT);
	free(s.pool_host);
	os_client_end(&s.c);
	strv_free(&s.asked);
	strv_free(&s.why);
	strv_free(&s.released);
	strv_free(&s.why_not);
	strv_free(&s.kept);
	strv_free(&s.leaked);
	return ok;
}

const struct cmd cmd_sweep = {
	.name = "sweep",
	.args = "[--dry-run] [--json]",
	.help = "delete what no stage could: expired and left servers and floating addresses of this owner",
	.details = "For a timer, every few minutes, in the environment of the runner's service.\n"
	           "Deletes servers and floating addresses that jobs of this host have left, expired\n"
	           "ones of this owner, those of other hosts sweep-grace later, and forgets what is\n"
	           "proved gone. Touches nothing that has another owner, or none.\n",
	.exits = "  3   it is through, but could not delete all it wanted to\n",
	.example = "sweep --dry-run",
	.see = "novajob.conf(5), owner, sweep-grace and max-life",
	.min_args = 0,
	.max_args = 0,
	.flags = CMD_SETTINGS,
	.opts = opts,
	.opts_size = sizeof(struct sweep_opts),
	.run = sweep,
};
