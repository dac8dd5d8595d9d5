/* SPDX-License-Identifier: MIT */
/* cmd_list.c - for the operator: this owner's jobs and servers, record and cloud side by side. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "cmd.h"
#include "json.h"
#include "log.h"
#include "openstack.h"
#include "pool.h"
#include "record.h"
#include "text.h"

#define LIMIT_MS INT64_C(120000)

struct list_opts {
	bool json;
};

static const struct opt opts[] = {
	{ "json", 0, OPT_FLAG, offsetof(struct list_opts, json), NULL, "print one JSON object per line" },
	{ 0 },
};

/* One line: what the record says, what the cloud says. Either may be missing. */
struct row {
	const char *job;
	const struct record *record;    /* PHASE_NONE: none on this host */
	const struct os_server *server; /* NULL: none in the cloud */
};

/* "in 55 min", "12 min ago" or "-". */
static const char *
when(char *out, size_t size, int64_t at)
{
	int64_t s = at - clock_unix();
	int64_t minutes = (s < 0 ? -s : s) / 60;

	if (at <= 0)
		(void)snprintf(out, size, "-");
	else
		(void)snprintf(out, size, s < 0 ? "%" PRId64 " min ago" : "in %" PRId64 " min", minutes);
	return out;
}

/* How the server came to be: "warm" from the pool, "cold", "pool" when it still waits there, "-" when this host does not know. */
static const char *
start_of(const struct row *r)
{
	if (pool_is_key(r->job))
		return "pool";
	if (r->record->phase == PHASE_NONE || r->record->created == 0)
		return "-";
	return r->record->warm ? "warm" : "cold";
}

/* When the server was made: the cloud's word, else ours; 0 = nobody knows. */
static int64_t
created_at(const struct row *r)
{
	return r->server != NULL && r->server->created > 0 ? r->server->created : r->record->created;
}

/* Of a server that is held this host's word counts. */
static int64_t
expires_at(const struct row *r)
{
	return r->server != NULL && r->record->phase != PHASE_HELD ? r->server->expires : r->record->expires;
}

/* What else is to be known, as the end of a line. */
static void
print_remarks(const struct record *r)
{
	char span[40];

	if (r->lost != NULL)
		(void)printf("  lost: %s", r->lost); /* main looks at ferror(stdout), as below */
	if (r->failed != NULL)
		(void)printf("  failed: %s", r->failed);
	if (r->phase != PHASE_HELD && r->hold_ms > 0)
		(void)printf("  then held for %s", clock_rough(span, sizeof(span), r->hold_ms / 1000));
}

static void
print_json(const struct row *r, const char *id, const char *address)
{
	const struct record *rec = r->record;
	const struct os_server *s = r->server;
	const char *start = start_of(r);
	int64_t created = created_at(r);
	json_auto_t *o = json_pack("{s:s, s:s?, s:s?, s:s?, s:s, s:I, s:s?, s:s?, s:s?, s:s?, s:o, s:o}", "job", r->job, "record",
	    rec->phase == PHASE_NONE ? NULL : phase_name(rec->phase), "server", id[0] == '-' ? NULL : id, "status",
	    s == NULL ? NULL : s->status, "address", address, "expires", (json_int_t)expires_at(r), "lost", rec->lost, "pool",
	    rec->pool == NULL ? NULL : pool_name(rec), "start", start[0] == '-' ? NULL : start, "failed", rec->failed, "age_s",
	    created == 0 ? json_null() : json_integer((json_int_t)(clock_unix() - created)), "hold_s",
	    rec->hold_ms > 0 ? json_integer((json_int_t)(rec->hold_ms / 1000)) : json_null());
	auto_free char *text = json_text(o);

	(void)puts(text); /* main looks at ferror(stdout) */
}

static void
print_row(const struct row *r, bool as_json)
{
	const struct os_server *s = r->server;
	const char *phase = r->record->phase == PHASE_NONE ? "-" : phase_name(r->record->phase);
	const char *id = s != NULL ? s->id : r->record->server_id != NULL ? r->record->server_id : "-";
	const char *address = r->record->address != NULL ? r->record->address :
	    s != NULL && s->addresses.len > 0 ? s->addresses.v[0] : "-";
	int64_t created = created_at(r);
	char span[64], job[JOB_KEY_MAX * 4], status[64], age[32] = "-";

	if (as_json) {
		print_json(r, id, address);
		return;
	}
	text_one_line(job, sizeof(job), r->job);
	text_one_line(status, sizeof(status), s == NULL ? "-" : s->status);
	if (created > 0)
		(void)snprintf(age, sizeof(age), "%" PRId64 " min", (clock_unix() - created) / 60);
	(void)printf("%-48s %-9s %-8s %-36s %-15s %-5s %-8s %s", job, phase, status, id, address, start_of(r), age,
	    when(span, sizeof(span), expires_at(r))); /* as above */
	print_remarks(r->record);
	(void)putchar('\n'); /* as above */
}

/* Is it a server of this job? One from the pool may be called there still: its job's record has its id. */
static bool
is_of(const struct os_server *s, const char *key, const struct record *r)
{
	bool from_pool = r->server_id != NULL && strcmp(s->id, r->server_id) == 0;

	if (r->phase == PHASE_CLAIMED)
		return false; /* its job's line shows it */
	return strcmp(s->job, key) == 0 || (from_pool && pool_is_key(s->job));
}

/* The servers of one job, or its record alone. */
static void
print_job(const char *key, const struct settings *st, const struct os_servers *list, bool as_json)
{
	auto_state struct state state = STATE_INIT;
	auto_record struct record r = RECORD_INIT;
	struct fault f;
	size_t shown = 0;

	if (!state_open(&state, st->state_dir, key, false, &f) || !record_read(&r, &state, &f))
		log_warn("%s", f.text);
	for (size_t i = 0; i < list->len; i++) {
		if (strcmp(list->v[i].owner, st->owner) != 0 || !is_of(&list->v[i], key, &r))
			continue;
		print_row(&(struct row){ key, &r, &list->v[i] }, as_json);
		shown++;
	}
	if (shown == 0 && r.phase != PHASE_CLAIMED && r.phase != PHASE_DELETED && r.phase != PHASE_NONE)
		print_row(&(struct row){ key, &r, NULL }, as_json);
}

static bool
list(struct context *ctx, struct fault *f)
{
	const struct settings *st = &ctx->settings;
	const struct list_opts *o = ctx->opts;
	auto_servers struct os_servers servers = OS_SERVERS_INIT;
	auto_strv struct strv keys = STRV_INIT;
	const struct record none = RECORD_INIT;
	struct os_client c;
	bool ok;

	os_client_init(&c, st, false, limit_in(LIMIT_MS, STOP_AT_ONCE));
	ok = os_server_list_all(&c, "^gitlab-builder-", limit_in(LIMIT_MS, STOP_AT_ONCE), &servers, f);
	os_client_end(&c);
	if (!o->json)
		(void)printf("%-48s %-9s %-8s %-36s %-15s %-5s %-8s %s\n", "JOB", "RECORD", "STATUS", "SERVER", "ADDRESS", "START", "AGE", "EXPIRES");
	state_keys(st->state_dir, &keys);
	for (size_t i = 0; i < keys.len; i++)
		print_job(keys.v[i], st, &servers, o->json);
	for (size_t i = 0; i < servers.len; i++)
		if (strcmp(servers.v[i].owner, st->owner) == 0 && !strv_has(&keys, servers.v[i].job))
			print_row(&(struct row){ servers.v[i].job, &none, &servers.v[i] }, o->json);
	return ok || fault_wrap(f, "the records are shown, but not the cloud's side");
}

const struct cmd cmd_list = {
	.name = "list",
	.args = "[--json]",
	.help = "show this owner's jobs and servers, record and cloud side by side",
	.details = "One line per server: the job, what its record on this host says, what the cloud\n"
	           "says, the address, and when the server expires. A line without a record is of\n"
	           "another host of the same owner, or of one whose records are lost. Asks the cloud\n"
	           "once; when that does not answer, the records are shown, and the exit code is 2.\n",
	.example = "list",
	.see = "novajob-troubleshooting(7)",
	.min_args = 0,
	.max_args = 0,
	.flags = CMD_SETTINGS,
	.opts = opts,
	.opts_size = sizeof(struct list_opts),
	.run = list,
};
