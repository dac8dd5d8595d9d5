/* SPDX-License-Identifier: MIT */
/*
 * cmd_doctor.c - for the operator: is everything there that a job will need?
 * One line per check: ok, warn or FAIL, and what to do. The checks are in
 * doctor_*.c.
 */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "doctor.h"
#include "json.h"
#include "proc.h"
#include "ssh.h"
#include "text.h"
#include "version.h"
#include "xalloc.h"

#define CALL_MS INT64_C(60000)

struct doctor_opts {
	bool json, boot;
	const char *config;
};

static const struct opt opts[] = {
	{ "json", 0, OPT_FLAG, offsetof(struct doctor_opts, json), NULL, "print one JSON object per line" },
	{ "boot", 0, OPT_FLAG, offsetof(struct doctor_opts, boot), NULL, "play one whole job, and tell how long each stage took" },
	{ "config", 0, OPT_STRING, offsetof(struct doctor_opts, config), "FILE", "gitlab-runner's config.toml" },
	{ 0 },
};

void
doctor_tell(struct doctor *d, enum verdict v, const char *check, const char *fmt, ...)
{
	static const char *const words[] = { [DOCTOR_OK] = "ok", [DOCTOR_WARN] = "warn", [DOCTOR_FAIL] = "FAIL" };
	char raw[1500], text[2000];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(raw, sizeof(raw), fmt, ap); /* cut on purpose */
	va_end(ap);
	text_one_line(text, sizeof(text), raw);
	d->counts[v]++;
	if (d->json) {
		json_auto_t *o = json_pack("{s:s, s:s, s:s}", "check", check, "verdict", words[v], "text", text);
		auto_free char *line = json_text(o);

		(void)puts(line); /* main looks at ferror(stdout) */
	} else {
		(void)printf("%-4s  %-16s  %s\n", words[v], check, text); /* as above */
	}
	(void)fflush(stdout); /* as above */
}

void
doctor_tell_fault(struct doctor *d, const char *check, const struct fault *f)
{
	doctor_tell(d, DOCTOR_FAIL, check, "%s%s%s", f->text, f->hint[0] == '\0' ? "" : "; ", f->hint);
}

struct limit
doctor_limit(void)
{
	return limit_in(CALL_MS, STOP_AT_ONCE);
}

char *
doctor_output(const char *const *words, int *exit_code, struct fault *f)
{
	auto_strv struct strv argv = STRV_INIT, env = STRV_INIT;
	auto_buf struct buf out = BUF_INIT, err = BUF_INIT;
	struct proc_spec spec = { .argv = &argv, .env = &env, .in = PROC_NULL, .out = PROC_PIPE, .err = PROC_PIPE };
	struct proc_result r;

	strv_add_all(&argv, words);
	ssh_env(&env);
	if (!proc_run(&spec, NULL, 65536, doctor_limit(), &out, &err, &r, f))
		return NULL;
	if (r.kind != PROC_EXITED) {
		(void)fault_set(f, FAULT_SETTING, "'%s' was killed by signal %d", words[0], r.code);
		return NULL;
	}
	*exit_code = r.code;
	return xstrdup(out.len > 0 ? buf_str(&out) : buf_str(&err));
}

static void
check_settings(struct doctor *d)
{
	struct fault f;

	doctor_tell(d, DOCTOR_OK, "novajob", "%s", NOVAJOB_VERSION);
	if (settings_complete(d->st, &f))
		doctor_tell(d, DOCTOR_OK, "settings", "complete; 'novajob settings' shows where each is from");
	else
		doctor_tell_fault(d, "settings", &f);
	if (strcmp(d->st->compat, "python") == 0)
		doctor_tell(d, DOCTOR_WARN, "compat",
		    "python: every job may choose flavor, image, network, key pair, group and user, unless allow-x says less");
}

static bool
doctor(struct context *ctx, struct fault *f)
{
	const struct doctor_opts *o = ctx->opts;
	struct doctor d = { .ctx = ctx, .st = &ctx->settings, .json = o->json, .config = o->config,
		.quota = { .instances = -1, .cores = -1, .ram = -1 } };

	os_client_init(&d.c, d.st, false, doctor_limit());
	check_settings(&d);
	doctor_host(&d);
	d.cloud = doctor_cloud(&d);
	if (d.cloud)
		doctor_names(&d);
	doctor_keys(&d);
	doctor_runner(&d);
	doctor_units(&d);
	os_client_end(&d.c);
	if (o->boot && d.counts[DOCTOR_FAIL] > 0)
		doctor_tell(&d, DOCTOR_FAIL, "boot", "not tried: mend what is above first");
	else if (o->boot)
		doctor_boot(&d);
	if (d.counts[DOCTOR_FAIL] == 0)
		return true;
	return fault_set(f, FAULT_SETTING, "doctor: %zu checks failed, %zu warnings", d.counts[DOCTOR_FAIL],
	    d.counts[DOCTOR_WARN]);
}

const struct cmd cmd_doctor = {
	.name = "doctor",
	.args = "[--json] [--boot] [--config=FILE]",
	.help = "check everything a job will need, and say what to do",
	.details = "One line per check: ok, warn or FAIL, the check, and what to do. Looks at the\n"
	           "settings, the host, the cloud, gitlab-runner's config.toml and unit, and the\n"
	           "timers of sweep and pool. Creates nothing, but for --boot. Run it as the\n"
	           "runner's user, in its environment.\n",
	.example = "doctor",
	.see = "novajob-doctor(7)",
	.min_args = 0,
	.max_args = 0,
	.flags = CMD_SETTINGS,
	.opts = opts,
	.opts_size = sizeof(struct doctor_opts),
	.run = doctor,
};
