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

#include "account.h"
#include "building.h"
#include "clock.h"
#include "cmd.h"
#include "floating.h"
#include "jobserver.h"
#include "keys.h"
#include "log.h"
#include "openstack.h"
#include "os_fault.h"
#include "outcome.h"
#include "pool.h"
#include "ready.h"
#include "record.h"
#include "secret.h"
#include "ssh.h"
#include "ssh_share.h"
#include "text.h"
#include "xalloc.h"

#define LIMIT_MS         INT64_C(604800000) /* of all of it: what never ends ends; each step has its own, a day at most */
#define UNDO_MS          30000   /* for deleting what a failed prepare has made */
#define CONSOLE_LINES    20
#define CONSOLE_FETCHED  200
#define KEY_MAX          ((size_t)32 * 1024) /* bytes: RSA of 16384 bits has 13 KiB */

struct prepare {
	struct building b;
	char old_try[TRY_SIZE]; /* the earlier try's word; "" = there was none */
	bool leftovers;    /* an earlier try may have left servers */
	bool old_floating; /* … and a floating address */
	json_t *old_pool;  /* … and a server that came from the pool (record.h) */
	struct buf times;  /* of what came after the login, as text */
	int64_t setup_ms;  /* all of that */
	struct pool_claim warm; /* the server is one of the pool */
	int waiting;       /* tells pool fill that a job waits for quota; -1 = none does */
};

/* Seconds since prepare began, for the lines of the log. */
static const char *
elapsed(const struct prepare *p, char *out, size_t size)
{
	return clock_span(out, size, clock_ms() - p->b.started_ms);
}

/* What is wrong with a private key's text, as far as it shows from outside; NULL = nothing. */
static const char *
key_trouble(const char *text)
{
	const char *begin = strstr(text, "-----BEGIN ");
	const char *body = begin == NULL ? NULL : strchr(begin, '\n');
	const char *kind = begin == NULL ? NULL : strstr(begin, "PRIVATE KEY-----");
	const char *end = body == NULL ? NULL : strstr(body, "-----END ");

	if (kind == NULL || body == NULL || kind > body)
		return "holds no private key";
	if (strchr(text, '\r') != NULL)
		return "has lines that end in CR LF, which ssh does not take";
	if (end == NULL || strchr(end, '\n') == NULL)
		return "is cut off: its last line, with its newline, is missing";
	if (strncmp(begin, "-----BEGIN ENCRYPTED", 20) == 0 || strstr(body, "ENCRYPTED\n") != NULL ||
	    (strncmp(body + 1, "b3BlbnNzaC1rZXktdjEA", 20) == 0 && /* openssh-key-v1, then the cipher: none */
	    strncmp(body + 1, "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU", 31) != 0))
		return "has a passphrase, and nobody is there to type it";
	return NULL;
}

static bool
check_key_text(const char *path, struct fault *f)
{
	auto_file FILE *file = fopen(path, "re");
	char text[KEY_MAX];
	size_t n = file == NULL ? 0 : fread(text, 1, sizeof(text) - 1, file);
	const char *trouble;

	if (file == NULL || ferror(file))
		return fault_errno(f, FAULT_SETTING, "private-key: cannot read '%s'", path);
	text[n] = '\0';
	trouble = key_trouble(text);
	explicit_bzero(text, sizeof(text));
	return trouble == NULL || fault_set(f, FAULT_SETTING, "private-key: '%s' %s", path, trouble);
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
	return check_key_text(path, f);
}

/* The record becomes this try's. */
static bool
begin(struct record *r, void *arg, struct fault *f)
{
	struct prepare *p = arg;

	p->leftovers = f->class != FAULT_NONE || (r->phase != PHASE_NONE && r->phase != PHASE_DELETED); /* or unusable */
	p->old_floating = p->leftovers && (r->floating || p->b.st->floating_network != NULL);
	p->old_pool = steal_ptr(&r->pool);
	(void)strlcpy(p->old_try, r->try, sizeof(p->old_try)); /* same size */
	record_free(r);
	r->pool = json_incref(p->old_pool); /* until it is proved gone */
	r->floating = p->old_floating; /* as above */
	r->phase = PHASE_CREATING;
	(void)strlcpy(r->try, p->b.try, sizeof(r->try)); /* same size */
	r->server_name = xstrdup(p->b.job->server_name);
	r->expires = job_expires(p->b.job, p->b.st->max_life);
	r->resolved = settings_json(p->b.st);
	return true;
}

static bool
write_ready(struct record *r, void *arg, struct fault *f)
{
	const struct building *b = arg;

	if (!building_still_mine(r, b, f))
		return false;
	record_set_ready(r, &b->record);
	r->create_ms = b->record.create_ms;
	r->build_ms = b->record.build_ms;
	r->ssh_ms = b->record.ssh_ms;
	return true;
}

static bool
write_phase(struct record *r, const struct building *b, enum phase phase, struct fault *f)
{
	if (strcmp(r->try, b->try) != 0)
		return fault_set(f, FAULT_LOCAL, "the record is another try's");
	r->phase = phase;
	r->intent_at = r->floating_at = 0;
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

/* Of what comes before the create: retries may go on as long as a server may take, and the last call may end. */
static struct limit
cloud_limit(const struct prepare *p)
{
	return limit_min(p->b.limit, p->b.st->create_timeout + p->b.st->call_timeout);
}

static bool
delete_leftovers(struct prepare *p, struct fault *f)
{
	struct jobserver all = p->b.mine;
	const struct record old = { .pool = p->old_pool };
	enum jobserver_left left;

	if (!p->leftovers)
		return true;
	pool_jobserver(&old, &all);
	log_say("an earlier try of this job has left something: deleting it first");
	all.try = NULL;
	left = jobserver_delete(&p->b.c, &all, p->b.st->delete_wait, 0, cloud_limit(p), f);
	p->leftovers = left != LEFT_NOTHING;
	if (left != LEFT_RESISTING && p->old_floating && floating_release(&p->b.c, &all, 0, cloud_limit(p), f) != LEFT_NOTHING) {
		left = LEFT_RESISTING;
		p->leftovers = true;
	}
	return left != LEFT_RESISTING || fault_wrap(f, "cannot delete what an earlier try has left");
}

/* Log in, and get the server ready; at: when it became ACTIVE. */
static bool
login(struct prepare *p, int64_t at, struct fault *f)
{
	auto_free char *identity = keys_identity(p->b.st, &p->b.state);
	auto_free char *known_hosts = keys_known_hosts(&p->b.state);
	auto_free char *control = p->b.st->ssh_share ? share_path(&p->b.state, p->b.try) : NULL;
	struct ssh_target t = { .settings = p->b.st, .identity = identity, .known_hosts = known_hosts, .control = control,
		.alias = p->b.job->key, .pinned = settings_keys_per_job(p->b.st), .first = true };
	struct ssh_tools tools;
	bool ok;

	if (!ssh_login(&t, &p->b.record.addresses, p->b.limit, &p->b.record.address, &tools, f))
		return false;
	p->b.record.ssh_ms = clock_ms() - at;
	if (!t.pinned)
		log_note("the server's host key is believed at this first login, and held to from now on: keys are shared");
	t.first = false;
	t.address = p->b.record.address;
	at = clock_ms();
	ok = ready_run(&t, &tools, p->b.limit, &p->times, f);
	p->setup_ms = clock_ms() - at;
	return ok;
}

/* The steps, each with its time. */
static bool
steps(struct prepare *p, struct fault *f)
{
	auto_free char *choice = NULL;
	char span[32];
	int64_t at;

	choice = choices_text(&p->b.choices);
	log_section("prepare", p->b.try, "creating server '%s': %s, image %s", p->b.job->server_name, choice, p->b.st->image);
	os_client_begin(&p->b.c); /* it takes longer to start than all that is done here meanwhile */
	names_open(&p->b.names, p->b.st);
	if (!keys_make(p->b.st, &p->b.state, p->b.job->key, p->b.limit, &p->b.user_data, f) || !delete_leftovers(p, f) ||
	    !building_image(&p->b, cloud_limit(p), f))
		return false;
	if (!building_run(&p->b, f) || (p->b.st->floating_network != NULL && !floating_add(&p->b, f)))
		return false;
	if (p->warm.name[0] != '\0') /* while it waited for quota */
		return true;
	at = clock_ms();
	log_say("server is ACTIVE after %s at %s%s, logging in as %s", elapsed(p, span, sizeof(span)),
	    p->b.record.addresses.v[0], p->b.record.addresses.len > 1 ? " and other addresses" : "", p->b.st->username);
	os_client_rest(&p->b.c); /* 90 MiB that the login does not need */
	return login(p, at, f);
}

/* While the cloud is full: the pool may have got what fits; and what does not fit is in the way. */
static bool
look_at_pool(struct building *b, const struct fault *why)
{
	struct prepare *p = (struct prepare *)((char *)b - offsetof(struct prepare, b));

	if (p->waiting < 0)
		p->waiting = pool_wait(b->st->state_dir);
	if (pool_claim(b, &p->warm))
		return true;
	if (!os_fault_is_rate(why->text) && strstr(why->text, "No valid host") == NULL && pool_make_room(b)) /* quota, addresses */
		p->warm.fill = true; /* who comes next may find what this one had to do without */
	return false;
}

static void
say_ready(const struct prepare *p)
{
	const struct record *r = &p->b.record;
	double s = (double)(clock_ms() - p->b.started_ms) / 1000;
	auto_free char *choice = choices_text(&p->b.choices);

	if (p->warm.name[0] == '\0' && p->b.choices.at > 0)
		log_note("the first choice was not to be had: the server has %s", choice);
	if (p->warm.name[0] != '\0')
		log_done("ready in %.2f s (warm pool \"%s\", %zu left)", s, p->warm.name, p->warm.left);
	else
		log_done("ready in %.1f s (cold: create %.1f, build %.1f, ssh %.1f%s)", s, (double)r->create_ms / 1000,
		    (double)r->build_ms / 1000, (double)r->ssh_ms / 1000, buf_str(&p->times));
}

/* The event's part that only we know, and what is counted. */
static void
give_account(const struct prepare *p, struct context *ctx, bool is_ready)
{
	static const char *const reasons[] = { [WAIT_QUOTA] = "quota", [WAIT_ROOM] = "room", [WAIT_REQUESTS] = "requests",
		[WAIT_ADDRESS] = "address" };
	const struct record *r = &p->b.record;
	bool is_warm = p->warm.name[0] != '\0';
	struct event *e = &ctx->event;

	os_client_cost(&p->b.c, &ctx->cost);
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		account_wait(ctx, reasons[i], p->b.waited_ms[i]);
	event_text(e, "server", r->server_id);
	event_text(e, "flavor", choices_flavor(&p->b.choices));
	event_text(e, "image", is_warm ? pool_text(r, "image") : p->b.image_id);
	event_text(e, "address", r->address);
	if (!is_ready)
		return;
	event_text(e, "kind", is_warm ? "warm" : "cold");
	event_text(e, "pool", p->warm.name);
	metrics_ready(&ctx->metrics, is_warm, clock_ms() - p->b.started_ms);
	if (is_warm)
		return;
	event_seconds(e, "create_seconds", r->create_ms);
	event_seconds(e, "build_seconds", r->build_ms);
	event_seconds(e, "ssh_seconds", r->ssh_ms);
	event_seconds(e, "setup_seconds", p->setup_ms);
}

/* What helps to see why a server does not let us in: the end of its console, safe to print. */
static void
show_console(struct prepare *p)
{
	auto_free char *text = NULL, *hidden = NULL;
	struct fault f;

	if (!os_console(&p->b.c, p->b.record.server_id, CONSOLE_FETCHED, limit_in(15000, STOP_AT_ONCE), &text, &f)) {
		log_debug("%s", f.text);
		return;
	}
	hidden = secret_hide(text); /* before it is cut: a key's first line may be above the last ones */
	log_section("console", p->b.try, "the last lines of its console:");
	log_quote(text_tail(hidden, CONSOLE_LINES), strlen(text_tail(hidden, CONSOLE_LINES)));
	log_section_end();
}

/* *gone stays as it is if that is proved. */
static void
undo_floating(struct prepare *p, struct limit limit, bool *gone)
{
	struct fault f;

	if (!p->b.allocated || floating_release(&p->b.c, &p->b.mine, 0, limit, &f) == LEFT_NOTHING)
		return;
	log_say("cleanup has to release the floating address: %s", f.text);
	*gone = false;
}

/* Nothing is left behind: delete what this try has made, or leave it to cleanup, noted. */
static void
undo(struct prepare *p)
{
	struct limit limit = limit_in(UNDO_MS, p->b.st->stop_timeout);
	struct fault pool;
	bool unseen = p->b.allocated && p->b.floating == NULL;
	bool gone = true;
	struct fault f;

	if (p->warm.name[0] != '\0' && !pool_give_up(&p->b, &pool)) {
		log_say("cleanup has to delete the server: %s", pool.text);
		gone = false;
	}
	if (p->b.created) {
		enum jobserver_left left = jobserver_delete(&p->b.c, &p->b.mine, p->b.st->delete_wait, 0, limit, &f);

		if (left == LEFT_RESISTING)
			log_say("cleanup has to delete the server: %s", f.text);
		gone = left == LEFT_NOTHING;
		unseen = unseen || p->b.record.server_id == NULL;
	}
	undo_floating(p, limit, &gone);
	if (unseen) /* an intent whose object never showed stays noted: cleanup looks for it again */
		return;
	if (!building_update(&p->b, gone && !p->leftovers ? write_deleted : write_deleting, &f))
		log_debug("%s", f.text);
}

/* Of this try only: another prepare may have made new ones. */
static bool
destroy_keys(struct record *r, void *arg, struct fault *f)
{
	const struct building *b = arg;

	if (strcmp(r->try, b->try) != 0)
		return fault_set(f, FAULT_LOCAL, "the keys are another try's");
	return keys_destroy(&b->state, f);
}

/* Tell why, and what the server's console says of it; then undo. */
static void
fail(struct prepare *p, struct fault *f)
{
	bool stopped = sig_stopped() || f->class == FAULT_STOPPED;
	struct fault keys;

	log_fault(f);
	if (p->b.record.server_id != NULL && !stopped)
		show_console(p);
	share_end(&p->b.state, p->b.try);
	undo(p);
	if (!building_update(&p->b, destroy_keys, &keys))
		log_debug("%s", keys.text); /* cleanup tries again */
}

static bool
begin_prepare(struct prepare *p, struct context *ctx, struct fault *f)
{
	auto_record struct record r = RECORD_INIT;

	if (!p->b.job->known)
		return fault_set(f, FAULT_LOCAL, "JOB_RESPONSE_FILE is empty: no server without knowing whose");
	if (!settings_complete(&ctx->settings, f) || !keys_check_user_data(p->b.st, f))
		return false;
	if (!settings_keys_per_job(p->b.st) && !check_key(p->b.st->private_key, f))
		return false;
	if (!state_open(&p->b.state, p->b.st->state_dir, p->b.job->key, true, f))
		return false;
	record_new_try(p->b.try);
	p->b.mine.try = p->b.try;
	if (!record_update(&r, &p->b.state, begin, p, f))
		return fault_wrap(f, "nothing is created");
	p->b.record.expires = r.expires;
	outcome_note(&p->b.state, "prepare", NULL);
	if (p->old_try[0] != '\0') /* it may have been killed */
		log_section_end_of("prepare", p->old_try);
	return true;
}

static bool
prepare(struct context *ctx, struct fault *f)
{
	struct prepare p = { .b = { .st = &ctx->settings, .job = &ctx->job, .state = STATE_INIT, .record = RECORD_INIT,
		.mine = { .owner = ctx->settings.owner, .key = ctx->job.key, .job_id = ctx->job.id },
		.limit = limit_in(LIMIT_MS, STOP_AT_ONCE), .discarded = STRV_INIT, .started_ms = clock_ms(), .other_way = look_at_pool }, .times = BUF_INIT,
		.waiting = -1, .warm = { .settings_file = ctx->settings_file } };
	bool ok;

	sig_stop_without_reader(STDERR_FILENO); /* a runner that was killed sends no TERM, and calls no cleanup */
	os_client_init(&p.b.c, p.b.st, false, p.b.limit);
	choices_init(&p.b.choices, p.b.st);
	ok = begin_prepare(&p, ctx, f);
	if (ok) {
		/* a try with left-overs has to ask the cloud anyway: it takes none of the pool's servers at once */
		ok = ((!p.leftovers && pool_claim(&p.b, &p.warm)) || steps(&p, f)) && building_update(&p.b, write_ready, f);
		if (ok)
			say_ready(&p);
		else
			fail(&p, f);
		outcome_note(&p.b.state, "prepare", outcome_word(ok, f));
		if (p.warm.fill)
			pool_kick(p.b.st, ctx->settings_file);
	}
	give_account(&p, ctx, ok);
	os_client_end(&p.b.c);
	state_free(&p.b.state);
	record_free(&p.b.record);
	strv_free(&p.b.discarded);
	free(p.b.floating);
	free(p.b.image_id);
	names_free(&p.b.names);
	free(p.b.user_data);
	choices_free(&p.b.choices);
	buf_free(&p.times);
	json_decref(p.old_pool);
	cleanup_fd(&p.waiting);
	return ok;
}

const struct cmd cmd_prepare = {
	.name = "prepare",
	.args = "",
	.help = "stage: give the job a server that answers over ssh",
	.details = "The second stage of a job. Creates its server, or takes one of the warm pool,\n"
	           "waits until the login user gets in over ssh, and does there what ready-command,\n"
	           "runner-binary and prepare-script ask for. Called again for a job, it deletes\n"
	           "first what the earlier try has left. When it fails, its server is deleted, and\n"
	           "the last lines of ssh or of the server's console are in the log.\n",
	.example = "-v prepare",
	.see = "novajob.conf(5), A SERVER THAT IS READY and SECOND CHOICES",
	.min_args = 0,
	.max_args = -1,
	.flags = CMD_STAGE | CMD_JOB_LOG | CMD_SETTINGS | CMD_JOB_VARS | CMD_JOB,
	.run = prepare,
};
