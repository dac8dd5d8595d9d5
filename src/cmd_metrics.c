/* SPDX-License-Identifier: MIT */
/*
 * cmd_metrics.c - for Prometheus: what was counted, and how jobs and pools
 * stand now, as text for node exporter's textfile collector. Reads STATE and
 * the settings, starts nothing, changes nothing.
 */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "log.h"
#include "pool.h"
#include "record.h"
#include "version.h"
#include "xalloc.h"

/* The jobs' records by phase; servers of the pool are counted apart. */
static void
print_records(const char *dir)
{
	int64_t n[PHASE_HELD + 1] = { 0 }, unreadable = 0;
	auto_strv struct strv keys = STRV_INIT;

	state_keys(dir, &keys);
	for (size_t i = 0; i < keys.len; i++) {
		auto_state struct state state = STATE_INIT;
		auto_record struct record r = RECORD_INIT;
		struct fault f;

		if (pool_is_key(keys.v[i]))
			continue;
		if (state_open(&state, dir, keys.v[i], false, &f) && record_read(&r, &state, &f)) {
			n[r.phase]++;
		} else {
			log_debug("%s", f.text);
			unreadable++;
		}
	}
	metrics_head("novajob_records", "gauge", "Jobs' records in the state directory, by phase.");
	for (enum phase p = PHASE_CREATING; p <= PHASE_HELD; p++) {
		auto_free char *labels = xasprintf("phase=\"%s\"", phase_name(p));

		if (p != PHASE_CLAIMED) /* of the pool */
			metrics_line("novajob_records", labels, n[p]);
	}
	metrics_line("novajob_records", "phase=\"unreadable\"", unreadable);
}

/* The names of pools are of an alphabet without quotes (settings_file.c, record.c). */
static void
print_pools(const struct pool_wants *w, const char *dir)
{
	static const enum phase phases[] = { PHASE_CREATING, PHASE_READY, PHASE_CLAIMED, PHASE_DELETING };
	auto_pool_members struct pool_members all = POOL_MEMBERS_INIT;
	auto_strv struct strv names = STRV_INIT;

	pool_members_read(&all, dir);
	pool_names(&all, w, &names);
	metrics_head("novajob_pool_servers", "gauge", "Servers of the warm pool, by the phase of their record.");
	for (size_t i = 0; i < names.len; i++)
		for (size_t p = 0; p < ARRAY_LEN(phases); p++) {
			auto_free char *labels = xasprintf("pool=\"%s\",state=\"%s\"", names.v[i], phase_name(phases[p]));

			metrics_line("novajob_pool_servers", labels, (int64_t)pool_members_count(&all, names.v[i], phases[p]));
		}
	metrics_head("novajob_pool_wanted_servers", "gauge", "Ready servers that the settings want in the warm pool.");
	for (size_t i = 0; i < w->len; i++) {
		auto_free char *labels = xasprintf("pool=\"%s\"", w->v[i].name);

		metrics_line("novajob_pool_wanted_servers", labels, w->v[i].st.pool);
	}
}

static bool
metrics(struct context *ctx, struct fault *f)
{
	const struct settings_from from = { .flags = ctx->flags, .file = ctx->settings_file, .compat = ctx->compat };
	auto_pool_wants struct pool_wants w = POOL_WANTS_INIT;
	auto_state struct state state = STATE_INIT;
	json_auto_t *all = NULL;

	if (!state_open(&state, ctx->settings.state_dir, NULL, false, f)) /* another user's would be all zeros */
		return false;
	all = metrics_load(state.dir);
	if (!pool_wants_load(&w, &from, f)) /* pool fill says it, and fails; here it is no news */
		log_debug("%s", f->text);
	metrics_print(all);
	metrics_head("novajob_build_info", "gauge", "The version, as a label.");
	metrics_line("novajob_build_info", "version=\"" NOVAJOB_VERSION "\"", 1);
	print_pools(&w, state.dir);
	print_records(state.dir);
	return true;
}

const struct cmd cmd_metrics = {
	.name = "metrics",
	.args = "",
	.help = "print what was counted, for Prometheus",
	.details = "Prints counters and gauges in the text format of Prometheus: jobs by result,\n"
	           "failures by class, waits, times to a ready server, the pool, what sweep found\n"
	           "leaked. For node exporter's textfile collector, by a timer, as the runner's\n"
	           "user. Starts no program and asks no cloud.\n",
	.example = "metrics",
	.min_args = 0,
	.max_args = 0,
	.flags = CMD_SETTINGS,
	.run = metrics,
};
