/* SPDX-License-Identifier: MIT */
/*
 * cmd_doctor.c - for the operator: is everything there that a job will need?
 * One line per check: ok, warn or FAIL, and what to do. Creates nothing.
 */
#include <inttypes.h>
#include <jansson.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "clock.h"
#include "cmd.h"
#include "json.h"
#include "openstack.h"
#include "pool_shape.h"
#include "proc.h"
#include "record.h"
#include "ssh.h"
#include "text.h"
#include "version.h"
#include "xalloc.h"

#define CALL_MS  INT64_C(30000)
#define POOL_FILLED_S 1800
#define MIN_FREE (INT64_C(16) * 1024 * 1024) /* bytes: some thousand records */

struct doctor_opts {
	bool json;
};

static const struct opt opts[] = {
	{ "json", 0, OPT_FLAG, offsetof(struct doctor_opts, json), NULL, "print one JSON object per line" },
	{ 0 },
};

enum verdict { OK, WARN, FAIL };

struct doctor {
	const struct settings *st;
	bool json;
	struct os_client c;
	size_t counts[3];
};

static void ATTR_PRINTF(4, 5)
tell(struct doctor *d, enum verdict v, const char *check, const char *fmt, ...)
{
	static const char *const words[] = { [OK] = "ok", [WARN] = "warn", [FAIL] = "FAIL" };
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
		(void)printf("%-4s  %-14s  %s\n", words[v], check, text); /* as above */
	}
	(void)fflush(stdout); /* as above */
}

/* The fault of a check that failed, with what to do. */
static void
tell_fault(struct doctor *d, const char *check, const struct fault *f)
{
	tell(d, FAIL, check, "%s%s%s", f->text, f->hint[0] == '\0' ? "" : "; ", f->hint);
}

/* Run a small command, its first line of stdout and stderr together; NULL with a fault. The caller's. */
static char *
first_line(const char *const *words, struct fault *f)
{
	auto_strv struct strv argv = STRV_INIT, env = STRV_INIT;
	auto_buf struct buf out = BUF_INIT, err = BUF_INIT;
	struct proc_spec spec = { .argv = &argv, .env = &env, .in = PROC_NULL, .out = PROC_PIPE, .err = PROC_PIPE };
	struct proc_result r;
	const char *text;

	strv_add_all(&argv, words);
	ssh_env(&env);
	if (!proc_run(&spec, NULL, 65536, limit_in(CALL_MS, STOP_AT_ONCE), &out, &err, &r, f))
		return NULL;
	text = out.len > 0 ? buf_str(&out) : buf_str(&err);
	if (r.kind == PROC_EXITED && r.code == 0)
		return xstrndup(text, strcspn(text, "\n"));
	(void)fault_set(f, FAULT_SETTING, "'%s' fails: %s", words[0], text);
	return NULL;
}

static void
check_programs(struct doctor *d)
{
	struct fault f;
	auto_free char *ssh = first_line((const char *const[]){ d->st->ssh, "-V", NULL }, &f);

	if (ssh == NULL)
		tell_fault(d, "ssh", &f);
	else
		tell(d, OK, "ssh", "%s", ssh);
	if (!os_client_version(&d->c, limit_in(CALL_MS, STOP_AT_ONCE), &f))
		tell_fault(d, "openstack", &f);
	else
		tell(d, OK, "openstack", "python-openstackclient %s", d->c.version);
}

static void
check_state(struct doctor *d)
{
	auto_state struct state s = STATE_INIT;
	struct statvfs v;
	struct fault f;

	if (!state_open(&s, d->st->state_dir, NULL, true, &f)) {
		tell_fault(d, "state-dir", &f);
		return;
	}
	if (access(s.dir, W_OK) != 0)
		tell(d, FAIL, "state-dir", "'%s' cannot be written to by this user", s.dir);
	else if (statvfs(s.dir, &v) == 0 && (int64_t)v.f_bavail * (int64_t)v.f_frsize < MIN_FREE)
		tell(d, WARN, "state-dir", "'%s' has less than 16 MiB free: prepare fails when it is full", s.dir);
	else
		tell(d, OK, "state-dir", "%s", s.dir);
	if (strncmp(s.dir, "/tmp/", 5) == 0 || strncmp(s.dir, "/var/tmp/", 9) == 0 || strncmp(s.dir, "/run/", 5) == 0)
		tell(d, WARN, "state-dir", "'%s' does not outlive a reboot or a cleaner: use /var/lib/novajob", s.dir);
}

static void
check_user(struct doctor *d)
{
	const struct passwd *pw = getpwuid(geteuid());

	if (pw == NULL)
		tell(d, FAIL, "user", "user id %u has no passwd entry: ssh refuses to work for it", geteuid());
	else
		tell(d, OK, "user", "%s", pw->pw_name);
}

/* Does the private key belong to the key pair? Type and key are compared, not the comment. */
static void
compare_keys(struct doctor *d, const char *ours, const char *theirs)
{
	size_t type = strcspn(ours, " ");
	size_t len = ours[type] == '\0' ? type : type + 1 + strcspn(ours + type + 1, " \n");

	if (strncmp(ours, theirs, len) == 0 && len > 16)
		tell(d, OK, "key-pair", "'%s' is the public half of %s", d->st->key_pair, d->st->private_key);
	else
		tell(d, FAIL, "key-pair", "'%s' is not the public half of %s: no login will work", d->st->key_pair,
		    d->st->private_key);
}

static void
check_keys(struct doctor *d)
{
	auto_free char *theirs = NULL;
	auto_free char *ours = NULL;
	auto_free char *file = NULL;
	struct fault f;

	if (d->st->private_key == NULL)
		return; /* told by the settings' check */
	file = xasprintf("%s", d->st->private_key);
	ours = first_line((const char *const[]){ "ssh-keygen", "-y", "-P", "", "-f", file, NULL }, &f);
	if (ours == NULL) {
		(void)fault_hint(&f, "it must be a key without passphrase, mode 0600, readable by this user");
		tell_fault(d, "private-key", &f);
		return;
	}
	tell(d, OK, "private-key", "%s (%.*s)", file, (int)strcspn(ours, " "), ours);
	if (d->st->key_pair == NULL)
		tell(d, WARN, "key-pair", "not set: the image has to bring the public key itself");
	else if (!os_keypair_public(&d->c, d->st->key_pair, limit_in(CALL_MS, STOP_AT_ONCE), &theirs, &f))
		tell_fault(d, "key-pair", &f);
	else
		compare_keys(d, ours, theirs);
}

/* Credentials and what is left of the quota in one call. False: the cloud cannot be used at all. */
static bool
check_cloud(struct doctor *d)
{
	struct os_quota q;
	struct fault f;

	if (!os_quota(&d->c, limit_in(CALL_MS, STOP_AT_ONCE), &q, &f)) {
		tell_fault(d, "credentials", &f);
		return false;
	}
	tell(d, OK, "credentials", "the cloud accepts them");
	if (q.instances < 0)
		tell(d, OK, "quota", "no limit of instances is told");
	else if (q.instances_used >= q.instances)
		tell(d, WARN, "quota", "all %" PRId64 " instances are in use: jobs wait up to busy-timeout", q.instances);
	else
		tell(d, OK, "quota", "%" PRId64 " of %" PRId64 " instances in use", q.instances_used, q.instances);
	return true;
}

static void
check_names(struct doctor *d)
{
	const struct {
		const char *kind, *check, *name;
	} names[] = {
		{ "flavor", "flavor", d->st->flavor },
		{ "network", "network", d->st->network },
		{ "security group", "security-group", d->st->security_group },
	};
	auto_free char *id = NULL;
	size_t others;
	struct fault f;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		json_auto_t *o = NULL;

		if (names[i].name == NULL)
			continue;
		if (os_show(&d->c, names[i].kind, names[i].name, limit_in(CALL_MS, STOP_AT_ONCE), &o, &f))
			tell(d, OK, names[i].check, "%s is %s", names[i].name, json_str(o, "id"));
		else
			tell_fault(d, names[i].check, &f);
	}
	if (d->st->image == NULL)
		return;
	if (!os_image_find(&d->c, d->st->image, limit_in(CALL_MS, STOP_AT_ONCE), &id, &others, &f))
		tell_fault(d, "image", &f);
	else if (others > 0)
		tell(d, WARN, "image", "%s is the name of %zu images: %s, updated last, is taken", d->st->image, others + 1, id);
	else
		tell(d, OK, "image", "%s is %s", d->st->image, id);
}

static void
check_settings(struct doctor *d)
{
	struct fault f;

	tell(d, OK, "novajob", "%s", NOVAJOB_VERSION);
	if (settings_complete(d->st, &f))
		tell(d, OK, "settings", "complete; 'novajob settings' shows where each is from");
	else
		tell_fault(d, "settings", &f);
	if (d->st->builds_dir == NULL || d->st->cache_dir == NULL)
		tell(d, WARN, "builds-dir", "builds-dir and cache-dir are not both set here: then config.toml must name them");
	if (strcmp(d->st->compat, "python") == 0)
		tell(d, WARN, "compat", "python: every job may choose flavor, image, network, key pair, group and user");
}

/* Are the pools possible, and does somebody fill them? Asks no cloud. */
static void
check_pool(struct doctor *d, const struct context *ctx)
{
	const struct settings_from from = { .flags = ctx->flags, .file = ctx->settings_file, .compat = ctx->compat };
	auto_pool_wants struct pool_wants w = POOL_WANTS_INIT;
	auto_free char *lock = xasprintf("%s/pool.lock", d->st->state_dir);
	int64_t wanted = 0;
	struct stat st;
	struct fault f;

	if (!pool_wants_load(&w, &from, &f)) {
		tell_fault(d, "pool", &f);
		return;
	}
	for (size_t i = 0; i < w.len; i++)
		wanted += w.v[i].st.pool;
	if (wanted == 0)
		tell(d, OK, "pool", "none is wanted: each job's server is made when the job comes");
	else if (stat(lock, &st) != 0 || clock_unix() - (int64_t)st.st_mtim.tv_sec > POOL_FILLED_S)
		tell(d, WARN, "pool", "%" PRId64 " servers are wanted, but no 'novajob pool fill' worked in the last %d minutes: is its "
		    "timer there?", wanted, POOL_FILLED_S / 60);
	else
		tell(d, OK, "pool", "%" PRId64 " servers are wanted; 'novajob pool status' shows what is there", wanted);
}

static bool
doctor(struct context *ctx, struct fault *f)
{
	const struct doctor_opts *o = ctx->opts;
	struct doctor d = { .st = &ctx->settings, .json = o->json };

	os_client_init(&d.c, d.st, false, limit_in(CALL_MS, STOP_AT_ONCE));
	check_settings(&d);
	check_user(&d);
	check_state(&d);
	check_programs(&d);
	if (check_cloud(&d))
		check_names(&d);
	check_keys(&d);
	check_pool(&d, ctx);
	os_client_end(&d.c);
	if (d.counts[FAIL] == 0)
		return true;
	return fault_set(f, FAULT_SETTING, "doctor: %zu checks failed, %zu warnings", d.counts[FAIL], d.counts[WARN]);
}

const struct cmd cmd_doctor = {
	.name = "doctor",
	.args = "[--json]",
	.help = "check everything a job will need, and say what to do",
	.min_args = 0,
	.max_args = 0,
	.flags = CMD_SETTINGS,
	.opts = opts,
	.opts_size = sizeof(struct doctor_opts),
	.run = doctor,
};
