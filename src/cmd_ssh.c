/* SPDX-License-Identifier: MIT */
/*
 * cmd_ssh.c - for the operator: into a job's server, with its own key, held to
 * its own host key, as the job's settings say. We become the ssh.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "cmd.h"
#include "event.h"
#include "jobfind.h"
#include "keys.h"
#include "log.h"
#include "proc.h"
#include "ssh.h"

/* Is there something to log in to? */
static bool
check(const struct jobfind *j, struct fault *f)
{
	static const char *const why[] = {
		[PHASE_NONE] = "its record is empty",
		[PHASE_CREATING] = "its server is not ready yet",
		[PHASE_READY] = "its server's address is not known",
		[PHASE_DELETING] = "its server is being deleted",
		[PHASE_DELETED] = "its server was deleted",
		[PHASE_LOST] = "its server was never seen",
		[PHASE_CLAIMED] = "it is no job's",
		[PHASE_HELD] = "its server's address is not known",
	};
	const struct record *r = &j->r;

	if ((r->phase == PHASE_READY || r->phase == PHASE_HELD) && r->address != NULL)
		return true;
	(void)fault_set(f, FAULT_LOCAL, "job %" PRId64 " has no server to log in to: %s (its record says: %s)", j->id, why[r->phase],
	    phase_name(r->phase));
	if (r->phase == PHASE_DELETING || r->phase == PHASE_DELETED)
		return fault_hint(f, "keep-on-failure keeps the servers of failed jobs, 'novajob hold JOB 2h' that of a running one");
	return false;
}

/* What who sits at a terminal should know. */
static void
greet(const struct jobfind *j)
{
	int64_t now = clock_unix();
	char when[40], span[40];

	if (j->r.lost != NULL)
		log_say("warning: the job has lost this server: %s", j->r.lost);
	if (j->r.phase != PHASE_HELD)
		log_say("server %s, of a job that runs", j->r.server_id);
	else if (j->r.expires > now)
		log_say("server %s, held until %s, for %s more", j->r.server_id, clock_utc(when, sizeof(when), j->r.expires),
		    clock_rough(span, sizeof(span), j->r.expires - now));
	else
		log_say("warning: server %s is held no longer: the next sweep deletes it ('novajob hold %" PRId64 " 1h' keeps it)",
		    j->r.server_id, j->id);
}

/*
 * Not over the connection that the stages share, though it would save the handshake: cleanup ends that one, and with it
 * would go whoever looks at a server that is then kept.
 */
static bool
enter(const struct jobfind *j, char *const *words, int count, struct fault *f)
{
	auto_free char *identity = keys_identity(&j->st, &j->state);
	auto_free char *known_hosts = keys_known_hosts(&j->state);
	const struct ssh_target t = { .settings = &j->st, .identity = identity, .known_hosts = known_hosts, .address = j->r.address,
		.alias = j->key, .pinned = settings_keys_per_job(&j->st) };
	auto_strv struct strv argv = STRV_INIT, env = STRV_INIT;
	const char *term = getenv("TERM");

	ssh_person_argv(&argv, &t, words, count);
	ssh_env(&env);
	if (term != NULL)
		strv_addf(&env, "TERM=%s", term);
	return proc_become(&argv, &env, f);
}

/* Who runs a job may want to know that somebody was in its server. Told when it begins: we become the ssh. Of a command only
 * the first word: behind it may be what is for nobody's log. */
static void
tell(const struct jobfind *j, const struct settings *st, const char *command)
{
	auto_event struct event e = { .name = "ssh", .fields = NULL };

	event_text(&e, "job", j->key);
	event_text(&e, "server", j->r.server_id);
	event_text(&e, "command", command);
	event_tell(&e, st, false);
}

static bool
ssh(struct context *ctx, struct fault *f)
{
	auto_jobfind struct jobfind j = JOBFIND_INIT;

	if (!jobfind(&j, ctx->settings.state_dir, ctx->argv[0], f) || !check(&j, f) || !jobfind_settings(&j, f))
		return false;
	if (ctx->argc == 1 && isatty(STDIN_FILENO))
		greet(&j);
	tell(&j, &ctx->settings, ctx->argc == 1 ? NULL : ctx->argv[1]);
	return enter(&j, ctx->argv + 1, ctx->argc - 1, f);
}

const struct cmd cmd_ssh = {
	.name = "ssh",
	.args = "JOB [COMMAND ...]",
	.help = "log in to the server of a job that runs, or that is held; or run a command there",
	.details = "JOB is the job's id, or its whole key as list shows it. The login is the job's\n"
	           "own: its user, its key, its pinned host key. Without COMMAND it is a shell; the\n"
	           "words of COMMAND are joined by blanks and run by the server's shell, as ssh(1)\n"
	           "does it. On the host that ran the job, as the runner's user. Starts no\n"
	           "openstack.\n",
	.exits = "  255 no login, as of ssh(1); any other code is that of COMMAND\n",
	.example = "ssh 1234 uptime",
	.see = "novajob.conf(5), A SERVER THAT IS KEPT",
	.min_args = 1,
	.max_args = -1,
	.flags = CMD_SETTINGS,
	.run = ssh,
};
