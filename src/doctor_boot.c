/* SPDX-License-Identifier: MIT */
/*
 * doctor_boot.c - novajob doctor --boot: one whole job, each stage a process
 * of this same program as the runner would start it (contract.md §1), with
 * the time it took. Told to stop, it cleans up as after any job; killed, its
 * stages die with it, and sweep deletes the server. See doctor.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "doctor.h"
#include "log.h"
#include "proc.h"
#include "record.h"
#include "xalloc.h"

#define STAGE_MS INT64_C(3600000)
#define STOP_MS  INT64_C(60000)  /* for a stage to undo its work, and for cleanup after it */
#define KEPT     ((size_t)1024 * 1024)

#define SCRIPT "echo \"novajob doctor: $(uname -sr), $(nproc 2>/dev/null || echo '?') CPUs, as $(id -un)\"\n"

#define INSTANCE "novajob-doctor" /* the job's GitLab: part of its key */

/* The stages in order; cleanup is played in any case. */
enum { CONFIG, PREPARE, RUN_1, RUN_2, CLEANUP, STAGES };

static const struct {
	const char *check;
	const char *operands[3];
} stages[STAGES] = {
	[CONFIG] = { "boot config", { "config" } },
	[PREPARE] = { "boot prepare", { "prepare" } },
	[RUN_1] = { "boot run 1", { "run", "SCRIPT", "prepare_script" } },
	[RUN_2] = { "boot run 2", { "run", "SCRIPT", "build_script" } },
	[CLEANUP] = { "boot cleanup", { "cleanup" } },
};

struct boot {
	struct doctor *d;
	int64_t id;          /* the job's */
	char dir[64];
	struct strv env;
	int64_t ms[STAGES];  /* how long each took */
};

static bool
write_file(const struct boot *b, const char *name, const char *text, struct fault *f)
{
	auto_free char *path = xasprintf("%s/%s", b->dir, name);
	FILE *file = fopen(path, "we");
	bool ok = file != NULL && fputs(text, file) >= 0;

	if (file != NULL && fclose(file) != 0)
		ok = false;
	return ok || fault_errno(f, FAULT_LOCAL, "cannot write '%s'", path);
}

static bool
set_up(struct boot *b, struct fault *f)
{
	static const char *const vars[] = { "BUILD_FAILURE_EXIT_CODE=1", "SYSTEM_FAILURE_EXIT_CODE=2" };
	json_auto_t *job = json_pack("{s:I, s:{s:i, s:s, s:s}, s:{s:s, s:s, s:b}, s:{s:i}}", "id", (json_int_t)b->id,
	    "job_info", "project_id", 1, "project_full_path", "novajob/doctor", "instance_uuid", INSTANCE, "git_info",
	    "repo_url", "https://novajob.invalid/doctor.git", "ref", "doctor", "protected", 0, "runner_info", "timeout", 3600);
	auto_free char *text = json_dumps(job, 0);

	(void)strlcpy(b->dir, "/tmp/novajob-doctor.XXXXXX", sizeof(b->dir)); /* fits */
	if (text == NULL || mkdtemp(b->dir) == NULL)
		return fault_errno(f, FAULT_LOCAL, "cannot make a directory in /tmp");
	for (char **e = environ; *e != NULL; e++)
		if (strncmp(*e, "CUSTOM_ENV_", 11) != 0 && strncmp(*e, "TMPDIR=", 7) != 0)
			strv_add(&b->env, *e);
	for (size_t i = 0; i < ARRAY_LEN(vars); i++)
		strv_add(&b->env, vars[i]);
	strv_addf(&b->env, "TMPDIR=%s", b->dir);
	strv_addf(&b->env, "JOB_RESPONSE_FILE=%s/response.json", b->dir);
	strv_addf(&b->env, "BUILD_EXIT_CODE_FILE=%s/code", b->dir);
	return write_file(b, "response.json", text, f) && write_file(b, "script", SCRIPT, f);
}

static void
tear_down(const struct boot *b)
{
	static const char *const files[] = { "response.json", "script", "code" };

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		auto_free char *path = xasprintf("%s/%s", b->dir, files[i]);

		(void)unlink(path); /* what is left shows in /tmp */
	}
	(void)rmdir(b->dir); /* as above */
}

/* Print what has come, whole lines only; the rest stays. */
static void
show(struct buf *b, bool all)
{
	const char *last = b->len == 0 ? NULL : memrchr(b->data, '\n', b->len);
	size_t n = all ? b->len : last == NULL ? 0 : (size_t)(last + 1 - b->data);

	if (n > 0)
		log_raw(b->data, n);
	buf_drop(b, n);
}

/* Run a stage to its end. Config's stdout is for the runner: not shown. */
static bool
run_stage(const struct strv *argv, const struct strv *env, bool is_config, struct limit limit, struct proc_result *r,
    struct fault *f)
{
	auto_buf struct buf out = BUF_INIT, err = BUF_INIT;
	struct proc_spec spec = { .argv = argv, .env = env, .in = PROC_NULL, .out = is_config ? PROC_NULL : PROC_PIPE,
		.err = PROC_PIPE };
	struct proc p = PROC_INIT;
	bool ended = false;

	if (!proc_start(&p, &spec, f))
		return false;
	while (!ended || p.out_fd >= 0 || p.err_fd >= 0) {
		struct pollfd fds[3] = { { .fd = p.out_fd, .events = POLLIN }, { .fd = p.err_fd, .events = POLLIN },
			{ .fd = p.pidfd, .events = POLLIN } };
		int ready = sig_poll(fds, ARRAY_LEN(fds), ended ? 0 : limit_left_ms(limit));

		if ((ended && ready == 0) || limit_over(limit)) /* nobody of the stage has the pipes any more, or it is late */
			break;
		if (fds[0].revents != 0)
			proc_read(&p.out_fd, &out, KEPT);
		if (fds[1].revents != 0)
			proc_read(&p.err_fd, &err, KEPT);
		show(&out, p.out_fd < 0);
		show(&err, p.err_fd < 0);
		ended = ended || proc_reap(&p, r);
	}
	show(&out, true);
	show(&err, true);
	if (!ended)
		*r = proc_end(&p, STOP_MS);
	else
		(void)proc_end(&p, 0); /* only its pipes' ends */
	return true;
}

/* Where prepare's time went, as it has left it in the record: ": create 1.2, …", or "". To out. */
static void
prepare_parts(const struct boot *b, const struct record *r, char *out, size_t size)
{
	int64_t rest = b->ms[PREPARE] - r->create_ms - r->build_ms - r->ssh_ms;

	out[0] = '\0';
	if (r->phase == PHASE_READY && r->pool != NULL)
		(void)snprintf(out, size, ": a server of the pool"); /* fits, as below */
	else if (r->phase == PHASE_READY)
		(void)snprintf(out, size, ": create %.2f, build %.2f, ssh %.2f, the rest %.2f", (double)r->create_ms / 1000,
		    (double)r->build_ms / 1000, (double)r->ssh_ms / 1000, (double)rest / 1000);
}

/* The job's record, as it is now. */
static bool
read_record(const struct boot *b, struct state *s, struct record *r, struct fault *f)
{
	auto_free char *key = xasprintf(INSTANCE "-%" PRId64, b->id);

	return state_open(s, b->d->st->state_dir, key, false, f) && record_read(r, s, f);
}

static void
tell_stage(struct boot *b, size_t row, const struct proc_result *r)
{
	auto_state struct state s = STATE_INIT;
	auto_record struct record record = RECORD_INIT;
	double seconds = (double)b->ms[row] / 1000;
	char parts[128] = "";
	struct fault f;

	if (r->kind != PROC_EXITED)
		doctor_tell(b->d, DOCTOR_FAIL, stages[row].check, "killed by signal %d after %.2f s: what it said is above", r->code, seconds);
	else if (r->code != 0)
		doctor_tell(b->d, DOCTOR_FAIL, stages[row].check, "exit code %d after %.2f s: what it said is above", r->code, seconds);
	else {
		if (row == PREPARE && read_record(b, &s, &record, &f))
			prepare_parts(b, &record, parts, sizeof(parts));
		doctor_tell(b->d, DOCTOR_OK, stages[row].check, "%.2f s%s", seconds, parts);
	}
}

/* One row of `stages`; false when the job cannot go on. */
static bool
play(struct boot *b, size_t row, struct limit limit)
{
	const struct context *ctx = b->d->ctx;
	auto_free char *script = xasprintf("%s/script", b->dir);
	auto_strv struct strv argv = STRV_INIT;
	struct proc_result r = { .kind = PROC_EXITED, .code = 0 };
	int64_t began = clock_ms();
	struct fault f;

	strv_add(&argv, "/proc/self/exe");
	if (ctx->settings_file != NULL)
		strv_addf(&argv, "--settings=%s", ctx->settings_file);
	for (size_t i = 0; i < ctx->flags->len; i++)
		strv_addf(&argv, "--%s", ctx->flags->v[i]);
	strv_add(&argv, "--delete-by=cleanup"); /* nothing is left to a timer */
	strv_add(&argv, "--job-log=plain"); /* what they say goes to a terminal */
	strv_add(&argv, "--keep-on-failure=0"); /* what fails has been shown by then */
	for (size_t i = 0; i < ARRAY_LEN(stages[row].operands) && stages[row].operands[i] != NULL; i++)
		strv_add(&argv, strcmp(stages[row].operands[i], "SCRIPT") == 0 ? script : stages[row].operands[i]);
	if (!run_stage(&argv, &b->env, row == CONFIG, limit, &r, &f)) {
		doctor_tell_fault(b->d, stages[row].check, &f);
		return false;
	}
	b->ms[row] = clock_ms() - began;
	tell_stage(b, row, &r);
	return r.kind == PROC_EXITED && r.code == 0;
}

/* Cleanup has worked: is all of it gone? */
static void
tell_end(struct boot *b, bool ok)
{
	auto_state struct state s = STATE_INIT;
	auto_record struct record r = RECORD_INIT;
	int64_t all = 0;
	struct fault f;

	for (size_t i = 0; i < STAGES; i++)
		all += b->ms[i];
	if (!read_record(b, &s, &r, &f) || (r.phase == PHASE_DELETED && !record_forget(&s, &r, &f)))
		doctor_tell_fault(b->d, "boot", &f);
	else if (r.phase != PHASE_NONE && r.phase != PHASE_DELETED)
		doctor_tell(b->d, DOCTOR_WARN, "boot", "the server is not gone yet: its deletion was accepted, and 'novajob sweep' sees it through");
	else if (ok)
		doctor_tell(b->d, DOCTOR_OK, "boot", "a whole job took %.2f s, %.0f %% of it for prepare; nothing is left", (double)all / 1000,
		    100 * (double)b->ms[PREPARE] / (double)(all > 0 ? all : 1));
}

void
doctor_boot(struct doctor *d)
{
	struct boot b = { .d = d, .id = clock_unix(), .env = STRV_INIT };
	struct fault f;
	bool ok = true;

	if (!set_up(&b, &f)) {
		doctor_tell_fault(d, "boot", &f);
	} else {
		for (size_t i = 0; i < CLEANUP && ok; i++)
			ok = play(&b, i, limit_in(STAGE_MS, STOP_AT_ONCE));
		if (play(&b, CLEANUP, limit_in(STAGE_MS, STOP_MS)))
			tell_end(&b, ok);
	}
	tear_down(&b);
	strv_free(&b.env);
}
