/* SPDX-License-Identifier: MIT */
/* account.c - what a command leaves behind when it has ended; see account.h. */
#include "account.h"

#include <string.h>

#include "clock.h"
#include "outcome.h"
#include "xalloc.h"

void
account_begin(struct context *c, const char *name)
{
	c->event.name = name;
	if (c->job.known) {
		event_text(&c->event, "job", c->job.key);
		event_text(&c->event, "project", c->job.project);
	}
	event_text(&c->event, "result", "?"); /* its place in the line */
}

void
account_wait(struct context *c, const char *reason, int64_t ms)
{
	auto_free char *key = xasprintf("%s_wait_seconds", reason);

	if (ms <= 0)
		return;
	event_seconds(&c->event, key, ms);
	metrics_add(&c->metrics, METRIC_WAITS, reason, NULL, 1);
	metrics_add(&c->metrics, METRIC_WAITED, reason, NULL, ms);
}

void
account_end(struct context *c, const struct cmd *cmd, bool is_fine, const struct fault *f)
{
	bool in_stage = (cmd->flags & CMD_STAGE) != 0;
	const char *result = in_stage ? outcome_word(is_fine, f) : is_fine ? "ok" : "failed";

	account_wait(c, "slot", c->cost.slot_wait_ms);
	metrics_add(&c->metrics, METRIC_CLIENT_STARTS, cmd->name, NULL, c->cost.starts);
	if (c->event.name != NULL) {
		if (c->cost.starts > 0)
			event_number(&c->event, "client_starts", c->cost.starts);
		event_text(&c->event, "result", result);
		event_seconds(&c->event, "seconds", clock_ms() - c->began_ms);
		if (!is_fine) {
			event_text(&c->event, "class", fault_class_name(f->class));
			event_text(&c->event, "error", f->text);
			metrics_add(&c->metrics, METRIC_FAILURES, fault_class_name(f->class), cmd->name, 1);
		}
		event_tell(&c->event, &c->settings, !is_fine && strcmp(result, "failed") != 0);
	}
	metrics_save(&c->metrics, c->settings.state_dir);
	event_free(&c->event);
}
