/* SPDX-License-Identifier: MIT */
/*
 * cmd_config.c - the config stage: everything checked, the answer on stdout
 * (contract.md §2), and the resolved settings handed on in job_env. It starts
 * no child and opens no socket.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd.h"
#include "json.h"
#include "keys.h"
#include "log.h"
#include "sig.h"
#include "version.h"

static json_t *
answer(const struct settings *s)
{
	char host[256] = "";
	json_auto_t *settings = settings_json(s);
	auto_free char *resolved = json_text(settings);
	json_t *root = json_pack("{s:{s:s, s:s}, s:{s:s}}", "driver", "name", "novajob", "version", NOVAJOB_VERSION,
	    "job_env", "NOVAJOB_RESOLVED", resolved);

	if (gethostname(host, sizeof(host) - 1) != 0)
		host[0] = '\0'; /* only for people: left out */
	json_put(root, "hostname", host);
	json_put(root, "builds_dir", s->builds_dir);
	json_put(root, "cache_dir", s->cache_dir);
	return root;
}

static bool
run(struct context *c, struct fault *f)
{
	json_auto_t *root = NULL;
	auto_free char *text = NULL;

	if (!c->job.known)
		return fault_set(f, FAULT_LOCAL, "JOB_RESPONSE_FILE is empty: the runner names no job");
	if (!settings_complete(&c->settings, f) || !keys_check_user_data(&c->settings, f))
		return false;
	if (sig_stopped())
		return limit_fault(f, FAULT_STOPPED, "stopped");
	root = answer(&c->settings);
	text = json_text(root);
	(void)puts(text); /* main flushes and looks */
	log_debug("job %" PRId64 " of %s: flavor %s, image %s", c->job.id, c->job.project, c->settings.flavor,
	    c->settings.image);
	return true;
}

const struct cmd cmd_config = {
	.name = "config",
	.args = "",
	.help = "stage: check the settings, tell the runner how jobs are run here",
	.details = "The first stage of a job. Resolves all settings for it, checks them, and answers\n"
	           "on standard output with the JSON object that gitlab-runner expects. Starts no\n"
	           "program and opens no connection. What was resolved is handed on to prepare.\n",
	.example = "--flavor=m1.small config",
	.see = "novajob.conf(5)",
	.min_args = 0,
	.max_args = -1,
	.flags = CMD_STAGE | CMD_SETTINGS | CMD_JOB_VARS | CMD_JOB | CMD_FRESH,
	.run = run,
};
