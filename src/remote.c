/* SPDX-License-Identifier: MIT */
/* remote.c - run one script in the server; see remote.h. */
#include "remote.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "proc.h"
#include "relay.h"
#include "ssh_share.h"
#include "text.h"
#include "xalloc.h"

#define STATUS_LINE_MAX  ((size_t)16 * 1024) /* of ssh's stderr; longer lines are passed on in parts */
#define WORDS_MAX        ((size_t)80) /* of the wrapper, in a line: its own are shorter */
#define QUIET_MS         1000  /* the script or ssh has ended, yet neither mark nor EOF: nobody prints any more */
#define AFTER_STOP_MS    5000  /* beyond stop-grace: for the second connection, and a busy server that looks through /proc */
#define RECONNECT_MAX    2     /* when no connection came to be, so nothing was run */

enum step {
	RUNNING,
	STOPPING, /* the second command is at work */
};

struct run {
	const struct ssh_target *target;
	const struct remote_script *script;
	struct ssh_stage words;
	struct relay relay;
	struct proc ssh;    /* the script's */
	struct proc stop;   /* the one that ends it */
	struct buf status;  /* an unfinished line of ssh's stderr */
	enum step step;
	bool started, has_status, is_short, no_bash, was_told;
	bool unreached;     /* ssh said that there is no connection */
	bool is_late;       /* why it is being stopped: the limit */
	int64_t pid;        /* of the wrapper in the server, 0 = not known */
	int64_t code;
	int64_t quiet_ms;   /* since when nothing has come, though there was room for it */
	int64_t until_ms;   /* of a stop */
	struct proc_result ssh_end;
	bool ssh_ended, stop_ended;
	struct remote_result *result;
};

/* Does this line tell that there is no connection? Then nothing can have been run. */
static bool
tells_unreached(const char *line)
{
	static const char *const texts[] = { "connect to host", "kex_exchange_identification", "banner exchange",
		"Not allowed at this time", "Permission denied", "Host key verification failed", "UNPROTECTED PRIVATE KEY" };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (strstr(line, texts[i]) != NULL)
			return true;
	return false;
}

/* Words that are not the wrapper's. */
static void
take_other(struct run *run, const char *line, size_t len)
{
	if (len == 0)
		return;
	if (strstr(line, "kex_exchange_identification") != NULL)
		run->result->closed = true;
	if (run->target->control != NULL && share_is_chatter(line)) {
		log_debug("ssh: %.300s", line);
		return;
	}
	if (!run->unreached) /* else it is known already why; "Connection closed by ..." comes behind it */
		text_one_line(run->result->said, sizeof(run->result->said), line);
	if (!run->started && tells_unreached(line))
		run->unreached = true;
	if (!run->started || run->has_status) /* banners, rc files; after the start only ssh itself speaks here */
		log_raw(line, len);
	else
		log_say("ssh: %s", run->result->said);
}

static void
take_line(struct run *run, char *line, size_t len)
{
	size_t at;
	int64_t number = 0;
	enum ssh_said said = ssh_said(&run->words, line, len, &at, &number);

	line[at] = '\0';
	take_other(run, line, at);
	switch (said) {
	case SSH_SAID_START:
		run->started = true;
		run->pid = number;
		return;
	case SSH_SAID_EXIT:
		if (!run->started)
			return;
		run->has_status = true;
		run->code = number;
		run->quiet_ms = clock_ms();
		return;
	case SSH_SAID_SHORT:
		run->is_short = true;
		return;
	case SSH_SAID_NOBASH:
		run->no_bash = true;
		return;
	case SSH_SAID_TERM:
		run->was_told = true;
		return;
	case SSH_SAID_OTHER:
		return;
	}
}

/* Pass on the first n bytes of a line that has no end: no words of the wrapper, which ends its lines. "exit 1" may be
 * what a lost connection has left of "exit 127". */
static void
take_part(struct run *run, size_t n)
{
	auto_free char *part = xstrndup(buf_str(&run->status), n);

	take_other(run, part, strlen(part));
	buf_drop(&run->status, n);
}

/* Take ssh's stderr apart into lines. */
static void
read_status(struct run *run)
{
	struct buf *b = &run->status;
	char *newline;
	size_t at = 0;

	proc_read(&run->ssh.err_fd, b, SIZE_MAX);
	while (at < b->len && (newline = memchr(b->data + at, '\n', b->len - at)) != NULL) {
		*newline = '\0';
		take_line(run, b->data + at, (size_t)(newline - b->data) - at);
		at = (size_t)(newline - b->data) + 1;
	}
	buf_drop(b, at); /* once: a flood of short lines is not to cost a move of the rest for each */
	if (run->ssh.err_fd < 0)
		take_part(run, b->len);
	else if (b->len > STATUS_LINE_MAX)
		take_part(run, b->len - WORDS_MAX);
}

/*
 * Start the second command that ends what the first one started. Before the first has said so, it is ended itself: then
 * the script is cut off, or runs already and carries the tag.
 */
static void
start_stop(struct run *run)
{
	auto_strv struct strv argv = STRV_INIT, env = STRV_INIT;
	struct proc_spec spec = { .argv = &argv, .env = &env, .in = PROC_NULL, .out = PROC_NULL, .err = PROC_NULL };
	int64_t grace_ms = run->script->grace_ms;
	struct fault f;

	run->step = STOPPING;
	run->until_ms = clock_ms() + grace_ms + AFTER_STOP_MS;
	if (run->ssh_ended)
		return;
	if (!run->started)
		(void)proc_end(&run->ssh, 0);
	ssh_stop_argv(&argv, run->target, &run->words, run->pid, grace_ms / 1000);
	ssh_env(&env);
	if (!proc_start(&run->stop, &spec, &f))
		log_say("cannot end the script in the server: %s", f.text);
}

/* When to give up waiting; -1 = never. */
static int64_t
give_up_ms(const struct run *run)
{
	if (run->step == STOPPING)
		return run->until_ms;
	return run->has_status || run->ssh_ended ? run->quiet_ms + QUIET_MS : -1;
}

/* Is it to be ended? Once its status is here the limit has been kept. */
static bool
is_to_stop(struct run *run)
{
	run->is_late = !run->has_status && clock_ms() >= run->script->limit.at_ms;
	return sig_seen() || run->relay.write_errno != 0 || run->is_late;
}

/* How long nothing may happen, -1 = for ever. */
static int64_t
wait_ms(const struct run *run)
{
	const int64_t until[] = { give_up_ms(run),
		run->step == RUNNING && !run->has_status ? run->script->limit.at_ms : -1 };
	int64_t wait = relay_due_ms(&run->relay);

	for (size_t i = 0; i < ARRAY_LEN(until); i++) {
		int64_t left = until[i] - clock_ms();

		if (until[i] < 0)
			continue;
		left = left < 0 ? 0 : left;
		wait = wait < 0 || left < wait ? left : wait;
	}
	return wait;
}

/* Wait for something to happen and take it in. */
static void
turn(struct run *run)
{
	struct relay *relay = &run->relay;
	bool has_room = relay_has_room(relay);
	struct pollfd fds[5] = {
		{ .fd = run->ssh.pidfd, .events = POLLIN },
		{ .fd = has_room ? run->ssh.out_fd : -1, .events = POLLIN },
		{ .fd = run->ssh.err_fd, .events = POLLIN },
		relay_pollfd(relay),
		{ .fd = run->stop.pidfd, .events = POLLIN },
	};
	struct proc_result stop_end;

	(void)sig_poll(fds, ARRAY_LEN(fds), wait_ms(run)); /* revents tell */
	if (fds[2].revents != 0)
		read_status(run);
	if (fds[1].revents != 0)
		relay_read(relay, &run->ssh.out_fd);
	if (fds[1].revents != 0 || !has_room) /* a reader that stands still does not make us lose the rest */
		run->quiet_ms = clock_ms();
	if (fds[3].revents != 0)
		relay_event(relay, fds[3].revents);
	relay_tick(relay);
	if (fds[0].revents != 0 && proc_reap(&run->ssh, &run->ssh_end)) {
		run->ssh_ended = true;
		run->quiet_ms = clock_ms();
	}
	if (fds[4].revents != 0 && proc_reap(&run->stop, &stop_end))
		run->stop_ended = stop_end.kind == PROC_EXITED && stop_end.code == 0;
}

/* Is there nothing more to wait for? */
static bool
is_over(const struct run *run)
{
	bool late = give_up_ms(run) >= 0 && clock_ms() >= give_up_ms(run);

	if (run->step == STOPPING)
		return late || run->stop.pid == 0;
	if (run->has_status && relay_at_mark(&run->relay))
		return true;
	if (run->ssh.out_fd < 0 && (run->has_status || run->ssh.err_fd < 0))
		return run->has_status || run->ssh_ended;
	return late;
}

/* Everything out that is still here; a reader that stands still is waited for, unless we are to stop. */
static void
flush(struct run *run)
{
	bool stopping = run->step == STOPPING;
	struct limit limit = limit_in(stopping ? 500 : NO_LIMIT_MS, 500);

	if (run->ssh.err_fd >= 0)
		read_status(run);
	relay_finish(&run->relay, run->has_status);
	while (relay_has_ready(&run->relay) && !limit_over(limit)) {
		struct pollfd fd = relay_pollfd(&run->relay);

		if (sig_poll(&fd, 1, limit_left_ms(limit)) > 0)
			relay_event(&run->relay, fd.revents);
	}
}

static enum remote_end
outcome(const struct run *run)
{
	if (run->relay.write_errno != 0)
		return REMOTE_LOG_BROKEN;
	if (sig_stopped())
		return REMOTE_STOPPED;
	if (run->is_late)
		return REMOTE_LATE;
	if (run->has_status)
		return REMOTE_EXITED;
	if (run->is_short)
		return REMOTE_SHORT;
	if (run->no_bash)
		return REMOTE_NO_BASH;
	if (!run->started && run->ssh_ended && run->ssh_end.kind == PROC_EXITED && run->ssh_end.code != 255)
		return REMOTE_REFUSED;
	return run->unreached && !run->started ? REMOTE_UNREACHED : REMOTE_LOST;
}

bool
remote_run(const struct ssh_target *t, const struct remote_script *script, struct remote_result *r, struct fault *f)
{
	auto_strv struct strv argv = STRV_INIT, env = STRV_INIT;
	struct proc_spec spec = { .argv = &argv, .env = &env, .in = PROC_FD, .out = PROC_PIPE, .err = PROC_PIPE,
		.in_fd = script->fd };
	struct run run = { .target = t, .script = script, .ssh = PROC_INIT, .stop = PROC_INIT, .status = BUF_INIT,
		.result = r };
	char mark[RELAY_MARK_MAX];

	*r = (struct remote_result){ .end = REMOTE_LOST };
	ssh_stage_new(&run.words);
	ssh_end_mark(mark, sizeof(mark), &run.words);
	ssh_stage_argv(&argv, t, &run.words, script->size);
	ssh_env(&env);
	if (sig_stopped()) {
		*r = (struct remote_result){ .end = REMOTE_STOPPED, .confirmed = true };
		return true;
	}
	if (lseek(script->fd, 0, SEEK_SET) != 0)
		return fault_errno(f, FAULT_LOCAL, "cannot rewind the script");
	if (!proc_start(&run.ssh, &spec, f))
		return false;
	relay_init(&run.relay, script->out_fd, mark);
	while (!is_over(&run)) {
		if (run.step == RUNNING && is_to_stop(&run))
			start_stop(&run);
		turn(&run);
	}
	flush(&run);
	if (t->control != NULL && !run.has_status && r->said[0] == '\0') /* a connection that is shared says elsewhere why it ends */
		share_said(t->control, r->said, sizeof(r->said));
	r->end = outcome(&run);
	r->code = (int)run.code;
	r->was_told = run.was_told;
	r->mid_line = run.relay.mid_line;
	r->confirmed = run.stop_ended || (run.has_status && run.step == RUNNING) || r->end == REMOTE_UNREACHED;
	errno = run.relay.write_errno;
	if (errno != 0)
		log_say("cannot write the job log: %s", strerror(errno));
	(void)proc_end(&run.stop, 0);
	(void)proc_end(&run.ssh, run.has_status && t->control == NULL ? 200 : 0); /* its work is done or nobody's any more */
	relay_free(&run.relay);
	buf_free(&run.status);
	return true;
}

bool
remote_is_foreign(const struct remote_result *r)
{
	return r->end == REMOTE_UNREACHED && strstr(r->said, "Host key verification failed") != NULL;
}

bool
remote_run_again(const struct ssh_target *t, const struct remote_script *script, struct remote_result *r, struct fault *f)
{
	static const int64_t pause_ms[RECONNECT_MAX] = { 1000, 6000 }; /* the second outlasts sshd's penalty */
	struct remote_script now = *script;
	struct ssh_target target = *t;

	now.limit.after_stop_ms = STOP_AT_ONCE;
	for (int again = 0;; again++) {
		if (!remote_run(&target, &now, r, f))
			return false;
		target.control = NULL;
		if (r->end != REMOTE_UNREACHED || remote_is_foreign(r) || again == RECONNECT_MAX ||
		    !limit_sleep(now.limit, pause_ms[again]))
			return true;
	}
}
