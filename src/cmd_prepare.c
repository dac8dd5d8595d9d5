/* SPDX-License-Identifier: MIT */
/*
 * cmd_prepare.c - the prepare stage: give the job a server that answers over
 * ssh, and leave the record. The order of steps and their undoing, no details.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "cmd.h"
#include "jobserver.h"
#include "log.h"
#include "openstack.h"
#include "record.h"
#include "ssh.h"
#include "text.h"
#include "xalloc.h"

#define LIMIT_MS         INT64_C(3600000) /* of all of it, beside the limits of each step */
#define POLL_MS          500     /* between two looks at a server that is being built */
#define POLL_ALONE_MS    2000    /* the same when each look is a process of its own */
#define STILL_MS         30000   /* a line in the job log that it still goes on */
#define UNDO_MS          30000   /* for deleting what a failed prepare has made */
#define CONSOLE_LINES    20
#define AFTER_JOB_S      INT64_C(1500) /* a server outlives its job by: 5 min abandoned run, 5 min cleanup, 15 min */
#define CREATE_TRIES     3
#define APPEAR_MS        3000    /* after a create whose outcome is unknown: look again so much later */

struct prepare {
	const struct settings *st;
	const struct job *job;
	struct jobserver mine;
	struct state state;
	struct record record;
	struct os_client c;
	struct limit limit;
	char try[TRY_SIZE];
	bool leftovers;        /* an earlier try may have left servers */
	bool created;          /* a server of this try may exist */
	char *image_id;
	char *known_hosts;
	int64_t started_ms;
};

/* Seconds since prepare began, for the lines of the log. */
static const char *
elapsed(const struct prepare *p, char *out, size_t size)
{
	return clock_span(out, size, clock_ms() - p->started_ms);
}

/* The private key's file must be one ssh will take, before a server is paid for. */
static bool
check_key(const char *path, struct fault *f)
{
	struct stat st;

	if (stat(path, &st) != 0 || access(path, R_OK) != 0)
		return fault_errno(f, FAULT_SETTING, "private-key: cannot read '%s'", path);
	if (!S_ISREG(st.st_mode))
		return fault_set(f, FAULT_SETTING, "private-key: '%s' is no file", path);
	if (st.st_uid == geteuid() && (st.st_mode & 077) != 0) /* ssh's own rule */
		return fault_set(f, FAULT_SETTING, "private-key: '%s' is open to others (mode %04o): chmod 0600 it", path,
		    st.st_mode & 07777);
	return true;
}

/* The record becomes this try's. */
static bool
begin(struct record *r, void *arg, struct fault *f)
{
	struct prepare *p = arg;
	int64_t expires = clock_unix() + p->job->timeout_s + AFTER_JOB_S;
	int64_t longest = clock_unix() + p->st->max_life / 1000;

	(void)f;
	p->leftovers = r->phase != PHASE_NONE && r->phase != PHASE_DELETED;
	record_free(r);
	r->phase = PHASE_CREATING;
	(void)strlcpy(r->try, p->try, sizeof(r->try)); /* same size */
	r->server_name = xstrdup(p->job->server_name);
	r->expires = expires < longest ? expires : longest;
	r->resolved = settings_json(p->st);
	return true;
}

/* Is the record still this try's, and not cleaned up? */
static bool
still_mine(const struct record *r, const struct prepare *p, struct fault *f)
{
	if (strcmp(r->try, p->try) == 0 && r->phase == PHASE_CREATING)
		return true;
	return fault_set(f, FAULT_STOPPED, "the job was cleaned up, or prepared again, while this prepare was at work");
}

static bool
write_intent(struct record *r, void *arg, struct fault *f)
{
	if (!still_mine(r, arg, f))
		return false;
	r->intent_at = clock_unix();
	return true;
}

static bool
write_id(struct record *r, void *arg, struct fault *f)
{
	struct prepare *p = arg;

	if (!still_mine(r, p, f))
		return false;
	r->server_id = xstrdup(p->record.server_id);
	r->intent_at = 0;
	return true;
}

static bool
write_ready(struct record *r, void *arg, struct fault *f)
{
	struct prepare *p = arg;

	if (!still_mine(r, p, f))
		return false;
	r->phase = PHASE_READY;
	strv_free(&r->addresses);
	strv_add_all(&r->addresses, (const char *const *)p->record.addresses.v);
	r->address = xstrdup(p->record.address);
	r->create_ms = p->record.create_ms;
	r->build_ms = p->record.build_ms;
	r->ssh_ms = p->record.ssh_ms;
	return true;
}

static bool
write_phase(struct record *r, struct prepare *p, enum phase phase, struct fault *f)
{
	if (strcmp(r->try, p->try) != 0)
		return fault_set(f, FAULT_LOCAL, "the record is another try's");
	r->phase = phase;
	r->intent_at = 0;
	return true;
}

static bool
write_deleted(struct record *r, void *arg, struct fault *f)
{
	return write_phase(r, arg, PHASE_DELETED, f);
}

static bool
write_deleting(struct record *r, void *arg, struct fault *f)
{
	return write_phase(r, arg, PHASE_DELETING, f);
}

/* Update the record on disk; p->record keeps what this process knows. */
static bool
update(struct prepare *p, bool (*change)(struct record *r, void *arg, struct fault *f), struct fault *f)
{
	auto_record struct record r = RECORD_INIT;

	return record_update(&r, &p->state, change, p, f);
}

/* A name the cloud does not know: whoever set it is to blame. */
static bool
blame(const struct settings *st, struct fault *f)
{
	static const struct {
		const char *text;
		int setting;
	} names[] = {
		{ "image", SETTING_image },
		{ "flavor", SETTING_flavor },
		{ "network", SETTING_network },
		{ "securitygroup", SETTING_security_group },
		{ "key_name", SETTING_key_pair },
	};

	if (f->class != FAULT_MISSING)
		return false;
	f->class = FAULT_SETTING;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *where = settings_where(st, names[i].setting);

		if (strcasestr(f->text, names[i].text) == NULL)
			continue;
		if (strncmp(where, "job variable", 12) == 0)
			f->class = FAULT_WISH;
		return fault_wrap(f, "%s (from %s)", setting_infos[names[i].setting].name, where);
	}
	return false;
}

static bool
delete_leftovers(struct prepare *p, struct fault *f)
{
	if (!p->leftovers)
		return true;
	log_say("an earlier try of this job has left something: deleting it first");
	if (jobserver_delete(&p->c, &p->mine, p->st->delete_wait, 0, p->limit, f) != LEFT_RESISTING)
		return true;
	return fault_wrap(f, "cannot delete what an earlier try has left");
}

static bool
find_image(struct prepare *p, struct fault *f)
{
	size_t others;

	if (!os_image_find(&p->c, p->st->image, p->limit, &p->image_id, &others, f))
		return blame(p->st, f);
	if (others > 0)
		log_say("image '%s': %zu of that name; taking %s, the one updated last", p->st->image, others + 1,
		    p->image_id);
	return true;
}

/* After a create whose outcome is not known: is there a server of this try? Its id goes into the record. */
static bool
adopt(struct prepare *p, struct fault *f)
{
	auto_servers struct os_servers list = OS_SERVERS_INIT;
	struct limit limit = limit_in(UNDO_MS, p->st->stop_timeout);

	for (int look = 0; look < 2; look++) {
		if (!jobserver_find(&p->c, &p->mine, limit, &list, f))
			return false;
		for (size_t i = 0; i < list.len; i++) {
			if (strcmp(list.v[i].try, p->try) != 0)
				continue;
			p->record.server_id = xstrdup(list.v[i].id);
			log_say("server %s was created all the same", p->record.server_id);
			return true;
		}
		if (look == 0 && !limit_sleep(limit, APPEAR_MS))
			break;
	}
	return false;
}

static bool
create(struct prepare *p, struct fault *f)
{
	const struct settings *st = p->st;
	char host[256] = "";
	const struct os_wish wish = {
		.name = p->job->server_name, .image = p->image_id, .flavor = st->flavor, .network = st->network,
		.security_group = st->security_group, .key_pair = st->key_pair, .owner = st->owner, .job = p->job->key,
		.project = p->job->project, .try = p->try, .host = host, .expires = p->record.expires,
	};
	struct fault look;
	bool unknown;

	(void)gethostname(host, sizeof(host) - 1); /* for information only */
	if (!text_only(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"))
		host[0] = '\0';
	for (int try = 1;; try++) {
		/* An accepted create may finish after a stop; a new one is not begun then. */
		struct limit limit = { .at_ms = p->limit.at_ms, .after_stop_ms = st->stop_timeout };

		if (sig_stopped())
			return limit_fault(f, FAULT_STOPPED, "stopped");
		if (!update(p, write_intent, f))
			return false;
		p->created = true;
		if (os_server_create(&p->c, &wish, limit, &p->record.server_id, &unknown, f))
			return true;
		if (!unknown) {
			p->created = false;
			return blame(st, f);
		}
		if (adopt(p, &look))
			return true;
		if (try == CREATE_TRIES || sig_stopped() || f->class != FAULT_TRANSIENT)
			return false;
		log_say("%s; no server came of it, trying again", f->text);
	}
}

/* What the cloud says of a server in ERROR. */
static bool
server_failed(struct prepare *p, const char *status, struct fault *f)
{
	auto_server struct os_server s = OS_SERVER_INIT;
	struct fault show;

	if (!os_server_show(&p->c, p->record.server_id, limit_min(p->limit, 10000), &s, &show))
		return fault_set(f, FAULT_CLOUD, "server %s is in %s", p->record.server_id, status);
	(void)fault_set(f, strstr(s.fault, "No valid host") == NULL ? FAULT_CLOUD : FAULT_BUSY, "server %s is in %s: %s",
	    p->record.server_id, status, s.fault[0] == '\0' ? "the cloud says no more" : s.fault);
	return fault_hint(f, "%s", f->class == FAULT_BUSY ?
	    "the cloud has no room for this flavor now: try another one, or later" :
	    "see 'openstack server event list', or ask the cloud's operators");
}

/* One look. *done: ACTIVE with an address. */
static bool
look_at_build(struct prepare *p, const char *regex, int *missed, char *state, size_t size, bool *done, struct fault *f)
{
	auto_servers struct os_servers list = OS_SERVERS_INIT;
	struct os_server *s = NULL;

	*done = false;
	if (!os_server_list(&p->c, regex, p->limit, &list, f))
		return false;
	for (size_t i = 0; i < list.len; i++)
		if (strcmp(list.v[i].id, p->record.server_id) == 0)
			s = &list.v[i];
	if (s == NULL)
		return ++*missed < 3 ? true : fault_set(f, FAULT_CLOUD, "server %s is gone: somebody deleted it while it was built",
		    p->record.server_id);
	(void)snprintf(state, size, "%s%s%s", s->status, s->task[0] == '\0' ? "" : ", ", s->task); /* cut: for people */
	if (strcmp(s->status, "ERROR") == 0 || strcmp(s->status, "DELETED") == 0)
		return server_failed(p, s->status, f);
	if (strcmp(s->status, "ACTIVE") != 0 || s->addresses.len == 0)
		return true;
	strv_free(&p->record.addresses);
	p->record.addresses = s->addresses;
	s->addresses = (struct strv)STRV_INIT;
	*done = true;
	return true;
}

static bool
wait_active(struct prepare *p, struct fault *f)
{
	auto_free char *regex = xasprintf("^%s$", p->job->server_name);
	struct limit build = limit_min(p->limit, p->st->create_timeout);
	int64_t began = clock_ms();
	int64_t tell = began + STILL_MS;
	int missed = 0;
	char state[80] = "BUILD";
	char span[32];
	bool done = false;

	while (look_at_build(p, regex, &missed, state, sizeof(state), &done, f) && !done) {
		if (clock_ms() >= tell) {
			log_say("still waiting for the server: %s, %s so far", state, clock_span(span, sizeof(span), clock_ms() - began));
			tell += STILL_MS;
		}
		if (!limit_sleep(build, p->c.session_wanted ? POLL_MS : POLL_ALONE_MS)) {
			(void)limit_fault(f, FAULT_CLOUD, "server %s is not ACTIVE within create-timeout (%s): it is %s",
			    p->record.server_id, clock_span(span, sizeof(span), p->st->create_timeout), state);
			break;
		}
	}
	return done;
}

static bool
login(struct prepare *p, struct fault *f)
{
	struct ssh_target t = { .settings = p->st, .known_hosts = p->known_hosts, .alias = p->job->key, .first = true };

	if (unlink(p->known_hosts) != 0 && errno != ENOENT) /* an earlier try's server had another key */
		return fault_errno(f, FAULT_LOCAL, "cannot remove '%s'", p->known_hosts);
	return ssh_login(&t, &p->record.addresses, p->limit, &p->record.address, f);
}

/* The steps, each with its time. */
static bool
steps(struct prepare *p, struct fault *f)
{
	char span[32];
	int64_t at;

	if (!delete_leftovers(p, f) || !find_image(p, f))
		return false;
	log_say("creating server '%s': flavor %s, image %s%s%s", p->job->server_name, p->st->flavor, p->st->image,
	    p->st->network == NULL ? "" : ", network ", p->st->network == NULL ? "" : p->st->network);
	if (!create(p, f) || !update(p, write_id, f))
		return false;
	p->record.create_ms = clock_ms() - p->started_ms;
	log_say("server %s is created after %s, waiting for ACTIVE", p->record.server_id, elapsed(p, span, sizeof(span)));
	if (!wait_active(p, f))
		return false;
	at = clock_ms();
	p->record.build_ms = at - p->started_ms - p->record.create_ms;
	log_say("server is ACTIVE after %s at %s%s, logging in as %s", elapsed(p, span, sizeof(span)),
	    p->record.addresses.v[0], p->record.addresses.len > 1 ? " and other addresses" : "", p->st->username);
	os_client_rest(&p->c); /* 90 MiB that the login does not need */
	if (!login(p, f))
		return false;
	p->record.ssh_ms = clock_ms() - at;
	return true;
}

/* What helps to see why a server does not let us in: the end of its console, safe to print. */
static void
show_console(struct prepare *p)
{
	auto_free char *text = NULL;
	struct fault f;

	if (!os_console(&p->c, p->record.server_id, CONSOLE_LINES, limit_in(15000, STOP_AT_ONCE), &text, &f)) {
		log_debug("%s", f.text);
		return;
	}
	log_say("the last lines of its console:");
	log_quote(text_tail(text, CONSOLE_LINES), strlen(text_tail(text, CONSOLE_LINES)));
}

/* Nothing is left behind: delete what this try has made, or leave it to cleanup, noted. */
static void
undo(struct prepare *p)
{
	struct limit limit = limit_in(UNDO_MS, p->st->stop_timeout);
	struct fault f;
	bool gone;

	p->mine.try = p->try; /* a later try's server is not ours to undo */
	if (p->created) {
		enum jobserver_left left = jobserver_delete(&p->c, &p->mine, p->st->delete_wait, 0, limit, &f);

		if (left == LEFT_RESISTING)
			log_say("cleanup has to delete the server: %s", f.text);
		/* an intent whose server never showed stays noted: cleanup looks for it again */
		gone = left == LEFT_NOTHING && p->record.server_id != NULL;
		if (!gone && p->record.server_id == NULL)
			return;
	} else {
		gone = true;
	}
	if (!update(p, gone ? write_deleted : write_deleting, &f))
		log_debug("%s", f.text);
}

static bool
begin_prepare(struct prepare *p, struct context *ctx, struct fault *f)
{
	auto_record struct record r = RECORD_INIT;

	if (!p->job->known)
		return fault_set(f, FAULT_LOCAL, "JOB_RESPONSE_FILE is empty: no server without knowing whose");
	if (!settings_complete(&ctx->settings, f) || !check_key(p->st->private_key, f))
		return false;
	if (!state_open(&p->state, p->st->state_dir, p->job->key, true, f))
		return false;
	record_new_try(p->try);
	if (!record_update(&r, &p->state, begin, p, f))
		return fault_wrap(f, "nothing is created");
	p->record.expires = r.expires;
	p->known_hosts = xasprintf("%s/known_hosts", p->state.job);
	return true;
}

static bool
prepare(struct context *ctx, struct fault *f)
{
	struct prepare p = { .st = &ctx->settings, .job = &ctx->job, .state = STATE_INIT, .record = RECORD_INIT,
		.mine = { .owner = ctx->settings.owner, .key = ctx->job.key, .job_id = ctx->job.id },
		.limit = limit_in(LIMIT_MS, STOP_AT_ONCE), .started_ms = clock_ms() };
	char span[32];
	bool ok = begin_prepare(&p, ctx, f);

	os_client_init(&p.c, p.st->openstack, p.st->openstack_session);
	if (ok) {
		ok = steps(&p, f) && update(&p, write_ready, f);
		if (ok) {
			log_say("ready in %s: create %.1f, build %.1f, ssh %.1f", elapsed(&p, span, sizeof(span)),
			    (double)p.record.create_ms / 1000, (double)p.record.build_ms / 1000, (double)p.record.ssh_ms / 1000);
		} else {
			bool of_server = p.record.server_id != NULL && !sig_stopped() && f->class != FAULT_STOPPED;

			log_fault(f);
			if (of_server)
				show_console(&p);
			undo(&p);
		}
	}
	os_client_end(&p.c);
	state_free(&p.state);
	record_free(&p.record);
	free(p.image_id);
	free(p.known_hosts);
	return ok;
}

const struct cmd cmd_prepare = {
	.name = "prepare",
	.args = "",
	.help = "stage: give the job a server that answers over ssh",
	.min_args = 0,
	.max_args = -1,
	.flags = CMD_STAGE | CMD_SETTINGS | CMD_JOB_VARS | CMD_JOB,
	.run = prepare,
};
