/* SPDX-License-Identifier: MIT */
/* cmd_pool.c - for the timer and the operator: fill, show and empty the warm pool. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "cmd.h"
#include "json.h"
#include "pool.h"
#include "pool_fill.h"

#define LIMIT_MS INT64_C(1800000) /* for all of it */

struct pool_opts {
	bool json;
};

static const struct opt opts[] = {
	{ "json", 0, OPT_FLAG, offsetof(struct pool_opts, json), NULL, "status: print one JSON object per line" },
	{ 0 },
};

static bool
fill(struct context *ctx, struct pool_wants *w, const struct pool_opts *o, struct fault *f)
{
	(void)ctx;
	(void)o;
	return pool_fill(w, limit_in(LIMIT_MS, STOP_AT_ONCE), f);
}

static bool
drain(struct context *ctx, struct pool_wants *w, const struct pool_opts *o, struct fault *f)
{
	(void)w;
	(void)o;
	return pool_drain(&ctx->settings, limit_in(LIMIT_MS, STOP_AT_ONCE), f);
}

/* One pool's line. wanted < 0: the settings have no such pool any more. */
static void
print_pool(const char *name, int64_t wanted, const struct pool_members *all, bool as_json)
{
	size_t ready = pool_members_count(all, name, PHASE_READY), building = pool_members_count(all, name, PHASE_CREATING),
	    claimed = pool_members_count(all, name, PHASE_CLAIMED), deleting = pool_members_count(all, name, PHASE_DELETING);
	int64_t oldest = 0;
	char span[32];

	for (size_t i = 0; i < all->len; i++)
		if (strcmp(pool_name(&all->v[i].r), name) == 0 && all->v[i].r.phase == PHASE_READY)
			oldest = clock_unix() - pool_since(&all->v[i].r); /* the last one came first */
	if (as_json) {
		json_auto_t *o = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "pool", name, "wanted", (json_int_t)wanted, "ready",
		    (json_int_t)ready, "building", (json_int_t)building, "claimed", (json_int_t)claimed, "deleting",
		    (json_int_t)deleting, "oldest_s", (json_int_t)oldest);
		auto_free char *text = json_text(o);

		(void)puts(text); /* main looks at ferror(stdout) */
		return;
	}
	(void)printf("%-32s %6" PRId64 " %6zu %8zu %7zu %8zu  %s\n", name, wanted < 0 ? 0 : wanted, ready, building, claimed, deleting,
	    ready == 0 ? "-" : clock_span(span, sizeof(span), oldest * 1000)); /* as above */
}

static bool
is_wanted(const struct pool_wants *w, const char *name)
{
	for (size_t i = 0; i < w->len; i++)
		if (strcmp(w->v[i].name, name) == 0)
			return true;
	return false;
}

static bool
status(struct context *ctx, struct pool_wants *w, const struct pool_opts *o, struct fault *f)
{
	auto_pool_members struct pool_members all = POOL_MEMBERS_INIT;
	auto_strv struct strv shown = STRV_INIT;

	(void)f;
	pool_members_read(&all, ctx->settings.state_dir);
	if (!o->json)
		(void)printf("%-32s %6s %6s %8s %7s %8s  %s\n", "POOL", "WANTED", "READY", "BUILDING", "CLAIMED", "DELETING",
		    "OLDEST"); /* as above */
	for (size_t i = 0; i < w->len; i++)
		print_pool(w->v[i].name, w->v[i].st.pool, &all, o->json);
	for (size_t i = 0; i < all.len; i++) {
		const char *name = pool_name(&all.v[i].r);

		if (is_wanted(w, name) || strv_has(&shown, name))
			continue;
		print_pool(name, -1, &all, o->json);
		strv_add(&shown, name);
	}
	return true;
}

static bool
pool(struct context *ctx, struct fault *f)
{
	static const struct {
		const char *word;
		bool (*run)(struct context *ctx, struct pool_wants *w, const struct pool_opts *o, struct fault *f);
		bool wants; /* it needs the settings of all pools */
	} words[] = { { "fill", fill, true }, { "status", status, true }, { "drain", drain, false } };
	const struct settings_from from = { .flags = ctx->flags, .file = ctx->settings_file, .compat = ctx->compat };
	struct pool_opts o = *(const struct pool_opts *)ctx->opts;
	const struct opt_set sets[] = { { opts, &o }, { NULL, NULL } };
	auto_pool_wants struct pool_wants w = POOL_WANTS_INIT;
	auto_strv struct strv no_settings = STRV_INIT;
	char **argv = ctx->argv + 1;
	int argc = ctx->argc - 1;

	if (!opts_parse(sets, &no_settings, &argc, &argv, f))
		return fault_wrap(f, "pool");
	for (size_t i = 0; argc == 0 && no_settings.len == 0 && i < ARRAY_LEN(words); i++)
		if (strcmp(words[i].word, ctx->argv[0]) == 0)
			return (!words[i].wants || pool_wants_load(&w, &from, f)) && words[i].run(ctx, &w, &o, f);
	(void)fault_set(f, FAULT_USAGE, "pool: '%s' is not to be understood", argc > 0 ? argv[0] : ctx->argv[0]);
	return fault_hint(f, "usage: novajob [--setting=value …] pool fill|status|drain [--json]");
}

const struct cmd cmd_pool = {
	.name = "pool",
	.args = "fill|status|drain [--json]",
	.help = "the warm pool: make what is missing, show it, empty it",
	.details = "fill makes the servers that are missing, and removes those that are too old or\n"
	           "not as the settings want them any more; for a timer, every few minutes. status\n"
	           "shows how many servers each pool has, without asking the cloud. drain deletes\n"
	           "the servers that no job has claimed; the next fill makes new ones.\n",
	.exits = "  3   drain is through, but could not delete all it wanted to\n",
	.example = "pool status",
	.see = "novajob.conf(5), THE WARM POOL",
	.min_args = 1,
	.max_args = -1,
	.flags = CMD_SETTINGS,
	.opts = opts,
	.opts_size = sizeof(struct pool_opts),
	.run = pool,
};
