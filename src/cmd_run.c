/* SPDX-License-Identifier: MIT */
/*
 * cmd_run.c - the run stage: feed one script to the job's server and tell the
 * runner how it ended: 0; the script's own code, by BUILD_EXIT_CODE_FILE and
 * exit 1; or a system failure, with its reason in the job log (contract.md §4).
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "account.h"
#include "clock.h"
#include "cmd.h"
#include "holding.h"
#include "keys.h"
#include "log.h"
#include "openstack.h"
#include "outcome.h"
#include "pool.h"
#include "record.h"
#include "remote.h"
#include "ssh_share.h"
#include "text.h"
#include "xalloc.h"

#define LOOK_MS        20000 /* to find out what became of a server that is not to be reached */
#define RECONNECT_MS   12000 /* for a shared connection that was lost: ssh gives up connecting after 10 s */

/* The file the runner reads a failed script's code from; NULL when it names none. */
static const char *
code_file(void)
{
	const char *path = getenv("BUILD_EXIT_CODE_FILE");

	return path == NULL || path[0] == '\0' ? NULL : path;
}

/* Write the code so that it is there whole or not at all (contract.md §0.2). */
static bool
write_code(int code, struct fault *f)
{
	const char *path = code_file();
	auto_free char *temp = NULL;
	auto_fd int fd = -1;
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", code);

	if (path == NULL)
		return true; /* an old runner: every failure is 1 there */
	temp = xasprintf("%s.new", path);
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, (size_t)n) != n || close(steal_fd(&fd)) != 0 || rename(temp, path) != 0)
		return fault_errno(f, FAULT_LOCAL, "the script failed with %d, but '%s' cannot be written", code, path);
	return true;
}

/* The job's server may be used? */
static bool
check_record(const struct record *r, const char *stage, struct fault *f)
{
	if (r->lost != NULL)
		return fault_set(f, FAULT_SSH, "%s is not run: the server was lost before (%s)", stage, r->lost);
	if (r->phase != PHASE_READY || r->address == NULL || r->resolved == NULL)
		return fault_set(f, FAULT_LOCAL, "%s is not run: the job has no server (its record says: %s)", stage,
		    phase_name(r->phase));
	return true;
}

static bool
note_lost(struct record *r, void *arg, struct fault *f)
{
	if (r->phase != PHASE_READY)
		return fault_set(f, FAULT_LOCAL, "the record is not ours any more");
	free(r->lost);
	r->lost = xstrdup(arg);
	return true;
}

/* Does a server in this task state take its processes away, though it is ACTIVE still? (nova/compute/task_states.py) */
static bool
is_going_down(const char *task)
{
	static const char *const tasks[] = { "powering-off", "deleting", "soft-deleting", "reboot*", "shelving*", "suspending",
		"rebuild*", "resize_*" };

	for (size_t i = 0; i < ARRAY_LEN(tasks); i++)
		if (fnmatch(tasks[i], task, 0) == 0)
			return true;
	return false;
}

enum fate {
	FATE_UNKNOWN, /* the cloud could not be asked */
	FATE_ACTIVE,
	FATE_DOWN,    /* gone, or on its way */
};

/* What the cloud says of the server, in one line. */
static enum fate
fate_of(const struct os_servers *list, const struct record *r, const struct remote_result *result, char **why)
{
	const char *id = r->server_id == NULL ? "" : r->server_id;
	const struct os_server *s = NULL;
	bool is_active;

	for (size_t i = 0; i < list->len; i++)
		if (strcmp(list->v[i].id, id) == 0)
			s = &list->v[i];
	is_active = s != NULL && strcmp(s->status, "ACTIVE") == 0 && !is_going_down(s->task);
	if (s == NULL)
		*why = xstrdup("it is gone: somebody deleted it");
	else if (!is_active)
		*why = xasprintf("the cloud says %s%s%s", s->status, s->task[0] == '\0' ? "" : ", ", s->task);
	else if (result->end != REMOTE_LOST)
		*why = xstrdup("the cloud says ACTIVE, but it is not to be reached");
	else if (result->said[0] != '\0') /* ssh says nothing of a time-out */
		*why = xstrdup("the cloud says ACTIVE: its sshd ended the connection, or it was rebooted");
	else
		*why = xstrdup("the cloud says ACTIVE, but it does not answer, or the shell around the script was killed");
	return is_active ? FATE_ACTIVE : FATE_DOWN;
}

/*
 * One look at the cloud: what became of the server? *why: one line, the caller's. It is urgent (slots.h): short, and
 * behind it the job's cleanup waits.
 */
static enum fate
look(struct context *ctx, const struct settings *st, const struct record *r, const struct remote_result *result, char **why)
{
	auto_servers struct os_servers list = OS_SERVERS_INIT;
	auto_free char *regex = xasprintf("^%s$", r->server_name == NULL ? "" : r->server_name);
	struct limit limit = limit_in(LOOK_MS, STOP_AT_ONCE);
	struct os_client c;
	struct fault f;
	bool ok;

	os_client_init(&c, st, true, limit);
	ok = os_server_list(&c, regex, limit, &list, &f);
	os_client_cost(&c, &ctx->cost);
	os_client_end(&c);
	if (ok)
		return fate_of(&list, r, result, why);
	*why = xasprintf("the cloud could not be asked what became of it: %s", f.text);
	return FATE_UNKNOWN;
}

/* The job's server is lost: an event of its own, whatever stage found out. */
static void
tell_lost(const struct context *ctx, const char *server, const char *why)
{
	auto_event struct event e = EVENT_INIT;

	e.name = "lost";
	event_text(&e, "job", ctx->job.key);
	event_text(&e, "project", ctx->job.project);
	event_text(&e, "stage", ctx->argv[1]);
	event_text(&e, "server", server);
	event_text(&e, "error", why);
	event_tell(&e, &ctx->settings, true);
}

/* The server, or the way to it, is lost: note it, tell it. */
static bool
lost(const struct context *ctx, const struct state *state, struct record *r, const struct remote_result *result, char *why,
    struct fault *f)
{
	const char *stage = ctx->argv[1];
	auto_free char *id = xstrdup(r->server_id);
	auto_free char *address = xstrdup(r->address);
	struct fault note;

	if (!record_update(r, state, note_lost, why, &note))
		log_debug("%s", note.text); /* cleanup was faster */
	tell_lost(ctx, id, why);
	if (remote_is_foreign(result) && result->closed) {
		(void)fault_set(f, FAULT_SSH, "%s: the bastion's host key is not the one of ssh-proxy-known-hosts, so that server %s (%s) is "
		    "not to be reached; %s", stage, id, address, why);
		return fault_hint(f, "if the bastion was set up anew, put its new key there; else look at the network");
	}
	if (remote_is_foreign(result)) {
		(void)fault_set(f, FAULT_SSH, "%s: the host key of server %s (%s) changed: another machine answers on its address, and was "
		    "sent nothing; %s", stage, id, address, why);
		return fault_hint(f, "look at the network before you trust it; a retry of the job gets a new server");
	}
	(void)fault_set(f, FAULT_SSH, "%s: the connection to server %s (%s) was lost: %s%s%s%s", stage, id, address, why,
	    result->said[0] == '\0' ? "" : " (ssh: ", result->said, result->said[0] == '\0' ? "" : ")");
	return fault_hint(f, "no script's fault: a retry of the job gets a new server");
}

/*
 * Has the script perhaps not ended by itself? A server that is shut down in order sends TERM and then KILL to all that runs
 * there, and the wrapper may be faster with its report than the end of the connection. What the script makes of a TERM is
 * its own affair (the runner's exit with 1), but the wrapper gets one as well; 137 may also be the OOM killer's.
 */
static bool
may_be_shut_down(const struct remote_result *result)
{
	return result->end == REMOTE_EXITED &&
	    (result->was_told || result->code == 128 + SIGKILL || result->code == 128 + SIGTERM);
}

static bool
judge(const struct remote_result *result, const char *stage, struct fault *f)
{
	switch (result->end) {
	case REMOTE_EXITED:
		if (result->code == 0)
			return true;
		if (!write_code(result->code, f))
			return false;
		(void)fault_set(f, FAULT_BUILD, "%s: the script ended with exit code %d", stage, result->code);
		f->said = true; /* the runner says it itself */
		return false;
	case REMOTE_REFUSED:
		(void)fault_set(f, FAULT_SETTING, "%s: the account's login shell refused to run the script%s%s", stage,
		    result->said[0] == '\0' ? "" : ": ", result->said);
		return fault_hint(f, "username must name an account with a login shell");
	case REMOTE_SHORT:
		(void)fault_set(f, FAULT_SSH, "%s: the script did not arrive whole and was not run", stage);
		return false;
	case REMOTE_NO_BASH:
		(void)fault_set(f, FAULT_SETTING, "%s: the server has no bash, which the runner's scripts need", stage);
		return fault_hint(f, "install bash in the image");
	case REMOTE_STOPPED:
	case REMOTE_LOG_BROKEN:
		(void)fault_set(f, FAULT_STOPPED, "%s: stopped%s; %s", stage,
		    result->end == REMOTE_STOPPED ? " by the runner (cancel or time-out)" : ": nobody reads the job log",
		    result->confirmed ? "the script's processes in the server are ended" :
		    "the server did not confirm the end of the script's processes: they end with the server");
		return false;
	case REMOTE_LATE: /* there is no limit */
	case REMOTE_LOST:
	case REMOTE_UNREACHED:
		break;
	}
	return false; /* lost() says it */
}

/* ---- keep-on-failure: is the job one that failed? */

/* The stage's name as the record can have it. */
static const char *
stage_word(const char *stage)
{
	bool is_plain = stage[0] != '\0' && stage[0] != '-' && strlen(stage) <= 64 &&
	    text_only(stage, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");

	return is_plain ? stage : "script";
}

/* Does the job fail with this stage? clear_worktree is part of a try of get_sources, whose next one may do (contract.md §4, §5). */
static bool
is_counted(const char *stage)
{
	static const char *const others[] = { "after_script", "cleanup_file_variables", "clear_worktree" };

	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (strcmp(stage, others[i]) == 0)
			return false;
	return true;
}

/* What has come of a stage's script. */
struct note {
	const char *stage; /* its word */
	const char *try;   /* of the record that the stage began with */
	bool failed;
};

static bool
note_failed(struct record *r, void *arg, struct fault *f)
{
	const struct note *n = arg;

	if (r->phase != PHASE_READY || strcmp(r->try, n->try) != 0)
		return fault_set(f, FAULT_LOCAL, "the record is not ours any more");
	free(r->failed);
	r->failed = n->failed ? xstrdup(n->stage) : NULL;
	return true;
}

/* Tell the job's author how to get in. */
static void
say_kept(const struct context *ctx, const struct record *r, const struct settings *st)
{
	int64_t at = clock_unix(), until = holding_until(r, st, at);
	auto_free char *novajob = holding_program(&ctx->settings);
	char when[40], span[40], host[256] = "";

	(void)gethostname(host, sizeof(host) - 1); /* an empty name is told as such */
	if (until == 0)
		log_say("the server is not kept: %s", r->hold_ms == RECORD_NO_HOLD ? "the operator wants it gone" : "its max-life is over");
	else if (r->hold_ms <= 0 && holding_is_full(&ctx->settings))
		log_say("the server is not kept: this host holds those of %" PRId64 " jobs already (max-held)", ctx->settings.max_held);
	else
		log_say("the server is kept for %s after this job, until %s at least: '%s ssh %" PRId64 "' on host %s gets in, '%s release %"
		    PRId64 "' deletes it", clock_rough(span, sizeof(span), until - at), clock_utc(when, sizeof(when), until), novajob,
		    ctx->job.id, host, novajob, ctx->job.id);
}

/* The first script that fails decides, until the same stage does better in another try of the runner's. */
static void
note_end(const struct context *ctx, const struct state *state, struct record *r, const struct settings *st, const char *stage,
    bool failed)
{
	auto_record struct record now = RECORD_INIT;
	struct note n = { .stage = stage_word(stage), .try = r->try, .failed = failed };
	struct fault f;

	if (st->keep_on_failure == 0 || !is_counted(stage))
		return;
	if (failed ? r->failed != NULL : r->failed == NULL || strcmp(r->failed, n.stage) != 0)
		return;
	if (!record_update(&now, state, note_failed, &n, &f))
		log_warn("the server is not kept for this failure: %s", f.text);
	else if (failed)
		say_kept(ctx, &now, st);
	else if (now.hold_ms <= 0)
		log_say("%s worked this time: the server is not kept for its failure", stage);
}

static int
open_script(const char *path, struct fault *f)
{
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0) {
		(void)fault_errno(f, FAULT_LOCAL, "cannot open the script '%s'", path);
		return -1;
	}
	if (!S_ISREG(st.st_mode)) {
		(void)fault_set(f, FAULT_LOCAL, "the script '%s' is no file", path);
		return -1;
	}
	return steal_fd(&fd);
}

/* The script in the job's server, whose record is good. */
static bool
run_script(struct context *ctx, const struct state *state, struct record *r, struct remote_script *script, struct fault *f)
{
	auto_settings struct settings st = SETTINGS_INIT;
	auto_free char *known_hosts = keys_known_hosts(state), *identity = NULL, *control = NULL;
	struct ssh_target t = { .settings = &st, .alias = ctx->job.key, .known_hosts = known_hosts, .address = r->address };
	struct remote_result result;

	if (!settings_from_json(&st, r->resolved, f))
		return false;
	pool_remind(&st, r);
	identity = keys_identity(&st, state);
	t.identity = identity;
	t.pinned = settings_keys_per_job(&st);
	control = st.ssh_share ? share_path(state, r->try) : NULL;
	share_use(&t, control, limit_in(RECONNECT_MS, STOP_AT_ONCE));
	script->grace_ms = st.stop_grace;
	if (!remote_run_again(&t, script, &result, f))
		return false;
	if (result.end == REMOTE_EXITED)
		event_number(&ctx->event, "code", result.code);
	if (sig_stopped() && result.end == REMOTE_UNREACHED)
		result.end = REMOTE_STOPPED;
	if (result.end == REMOTE_LOST || result.end == REMOTE_UNREACHED || may_be_shut_down(&result)) {
		auto_free char *why = NULL;
		enum fate fate = look(ctx, &st, r, &result, &why);

		if (result.end != REMOTE_EXITED || fate == FATE_DOWN)
			return lost(ctx, state, r, &result, why, f);
		if (sig_stopped()) {
			result.end = REMOTE_STOPPED;
			result.confirmed = true;
		} else if (fate == FATE_UNKNOWN) {
			log_warn("nobody can tell whether the server was shut down under the script: %s", why);
		}
	}
	if (result.end == REMOTE_EXITED)
		note_end(ctx, state, r, &st, ctx->argv[1], result.code != 0);
	return judge(&result, ctx->argv[1], f);
}

static bool
run(struct context *ctx, struct fault *f)
{
	const char *stage = ctx->argv[1];
	const char *code = code_file();
	auto_state struct state state = STATE_INIT;
	auto_record struct record r = RECORD_INIT;
	struct remote_script script = { .out_fd = STDOUT_FILENO, .limit = limit_in(NO_LIMIT_MS, STOP_AT_ONCE) };
	auto_fd int fd = -1;
	bool ok;

	event_text(&ctx->event, "stage", stage);
	if (code != NULL && unlink(code) != 0 && errno != ENOENT)
		return fault_errno(f, FAULT_LOCAL, "cannot remove the last script's exit code '%s'", code);
	if (!ctx->job.known)
		return fault_set(f, FAULT_LOCAL, "%s is not run: JOB_RESPONSE_FILE is empty", stage);
	if (!state_open(&state, ctx->settings.state_dir, ctx->job.key, false, f) || !record_read(&r, &state, f))
		return false;
	event_text(&ctx->event, "server", r.server_id);
	outcome_note(&state, stage, NULL);
	script.fd = fd = open_script(ctx->argv[0], f);
	ok = fd >= 0 && check_record(&r, stage, f) && run_script(ctx, &state, &r, &script, f);
	outcome_note(&state, stage, outcome_word(ok, f));
	return ok;
}

const struct cmd cmd_run = {
	.name = "run",
	.args = "SCRIPT STAGE",
	.help = "stage: run SCRIPT in the job's server",
	.details = "Once for each script of a job. Sends the file SCRIPT to bash in the job's\n"
	           "server, and passes its output on. STAGE is the runner's name of the script,\n"
	           "\"build_script\" for example; it is only shown. The script's own exit code is\n"
	           "written to BUILD_EXIT_CODE_FILE. A lost connection or server is never the\n"
	           "script's fault. Told to stop, it ends the script's processes in the server.\n",
	.example = "run script.sh build_script",
	.see = "novajob.conf(5), ssh-share and alive-timeout",
	.min_args = 2,
	.max_args = -1,
	.flags = CMD_STAGE | CMD_JOB_LOG | CMD_SETTINGS | CMD_JOB,
	.run = run,
};
