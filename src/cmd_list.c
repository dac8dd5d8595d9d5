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

static void
print_row(const struct row *r, bool as_json)
{
	const struct os_server *s = r->server;
	const char *phase = r->record->phase == PHASE_NONE ? "-" : phase_name(r->record->phase);
	const char *id = s != NULL ? s->id : r->record->server_id != NULL ? r->record->server_id : "-";
	const char *address = r->record->address != NULL ? r->record->address :
	    s != NULL && s->addresses.len > 0 ? s->addresses.v[0] : "-";
	int64_t expires = s != NULL ? s->expires : r->record->expires;
	char span[64], job[JOB_KEY_MAX * 4], status[64];

	if (as_json) {
		json_auto_t *o = json_pack("{s:s, s:s?, s:s?, s:s?, s:s, s:I, s:s?, s:s?}", "job", r->job, "record",
		    r->record->phase == PHASE_NONE ? NULL : phase, "server", id[0] == '-' ? NULL : id, "status",
		    s == NULL ? NULL : s->status, "address", address, "expires", (json_int_t)expires, "lost", r->record->lost,
		    "pool", r->record->pool == NULL ? NULL : pool_name(r->record));
		auto_free char *text = json_text(o);

		(void)puts(text); /* main looks at ferror(stdout) */
		return;
	}
	text_one_line(job, sizeof(job), r->job);
	text_one_line(status, sizeof(status), s == NULL ? "-" : s->status);
	(void)printf("%-48s %-9s %-8s %-36s %-15s %s%s%s\n", job, phase, status, id, address,
	    when(span, sizeof(span), expires), r->record->lost == NULL ? "" : "  lost: ",
	    r->record->lost == NULL ? "" : r->record->lost); /* as above */
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
		log_say("warning: %s", f.text);
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
		(void)printf("%-48s %-9s %-8s %-36s %-15s %s\n", "JOB", "RECORD", "STATUS", "SERVER", "ADDRESS", "EXPIRES");
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
