/* SPDX-License-Identifier: MIT */
/* os_client.c - running the openstack command; see os_client.h. */
#include "os_client.h"

#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "json.h"
#include "log.h"
#include "os_fault.h"
#include "text.h"
#include "xalloc.h"

#define MARKER      "module list -f json -c openstackclient"
#define MARKER_KEY  "openstackclient"
#define MARKER_MAX  ((size_t)512) /* bytes of its answer: one key, one version */
#define DIED_MS     2000        /* from the end of its output to the end of a process that dies, on a host in trouble */
#define CAP_BYTES   ((size_t)32 * 1024 * 1024) /* of one answer: a project with thousands of servers fits */

/* What the child may see of our environment (openstack-cli.md §7): nothing of the job's. */
static const char *const env_names[] = {
	"PATH=*", "HOME=*", "USER=*", "LOGNAME=*", "LANG=*", "LC_*=*", "OS_*=*", "http_proxy=*", "https_proxy=*",
	"no_proxy=*", "all_proxy=*", "HTTP_PROXY=*", "HTTPS_PROXY=*", "NO_PROXY=*", "ALL_PROXY=*", "REQUESTS_CA_BUNDLE=*",
	"CURL_CA_BUNDLE=*", "SSL_CERT_FILE=*", "SSL_CERT_DIR=*", "XDG_CACHE_HOME=*", "XDG_CONFIG_HOME=*", "TZ=*",
};

void
os_client_init(struct os_client *c, const struct settings *st, bool urgent, struct limit limit)
{
	extern char **environ;

	*c = (struct os_client){ .program = st->openstack, .session_wanted = st->openstack_session, .session = PROC_INIT,
		.call_ms = st->call_timeout, .slot_limit = limit,
		.slots = { .state_dir = st->state_dir, .count = st->client_slots, .urgent = urgent, .held = -1 } };
	for (char **e = environ; e != NULL && *e != NULL; e++)
		for (size_t i = 0; i < ARRAY_LEN(env_names); i++)
			if (fnmatch(env_names[i], *e, 0) == 0 && strncmp(*e, "OS_DEBUG=", 9) != 0) {
				strv_add(&c->env, *e);
				break;
			}
	/* the cmd2 of newer clients (4.3; not 2.4) does not flush: answers would stay in its buffer until the end of input */
	strv_add(&c->env, "PYTHONUNBUFFERED=1");
}

static void
end_session(struct os_client *c)
{
	(void)proc_end(&c->session, 500); /* whatever its status: it means nothing (openstack-cli.md §2) */
}

void
os_client_rest(struct os_client *c)
{
	end_session(c);
	slots_give(&c->slots);
}

void
os_client_cost(const struct os_client *c, struct os_cost *cost)
{
	cost->starts += c->starts;
	cost->slot_wait_ms += c->slots.waited_ms;
}

void
os_client_yield(struct os_client *c)
{
	if (slots_wanted(&c->slots))
		os_client_rest(c);
}

void
os_client_end(struct os_client *c)
{
	os_client_rest(c);
	strv_free(&c->env);
}

void
os_answer_free(struct os_answer *a)
{
	json_decref(a->json);
	buf_free(&a->text);
	*a = (struct os_answer)OS_ANSWER_INIT;
}

/*
 * The words as a line of the client's own shell; false when one has a character that must not enter it, or the first is
 * an option of the whole client, which a session got when it began.
 */
static bool
session_line(const struct strv *words, struct buf *line)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:,/=@^$+-";
	static const char with_blank[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:,/=@^$+- ";

	if (words->v[0][0] == '-')
		return false;
	for (size_t i = 0; i < words->len; i++) {
		const char *w = words->v[i];
		bool is_plain = text_only(w, plain);

		if (w[0] == '\0' || (!is_plain && !text_only(w, with_blank)))
			return false;
		buf_printf(line, is_plain ? "%s%s" : "%s\"'%s'\"", i == 0 ? "" : " ", w);
	}
	buf_puts(line, "\n");
	return true;
}

/*
 * The marker's answer in b: where it starts, or SIZE_MAX. It is a document of one key that begins in the first column:
 * within other documents every brace is indented, and within their strings quotes are escaped.
 */
static size_t
find_marker(const struct buf *b, char *version, size_t size)
{
	size_t least = b->len < MARKER_MAX ? 0 : b->len - MARKER_MAX; /* megabytes are not searched again at each read */

	for (size_t at = b->len; at-- > least;) {
		json_auto_t *o = NULL;
		json_error_t e;

		if (b->data[at] != '{' || (at > 0 && b->data[at - 1] != '\n'))
			continue;
		if (strstr(b->data + at, "\"" MARKER_KEY "\"") == NULL)
			return SIZE_MAX; /* the last document is another one, or not whole yet */
		o = json_loadb(b->data + at, b->len - at, JSON_DISABLE_EOF_CHECK, &e);
		if (o == NULL || json_object_size(o) != 1 || json_str(o, MARKER_KEY)[0] == '\0')
			return SIZE_MAX;
		(void)strlcpy(version, json_str(o, MARKER_KEY), size); /* for display */
		return at;
	}
	return SIZE_MAX;
}

static bool
session_start(struct os_client *c, struct fault *f)
{
	auto_strv struct strv argv = STRV_INIT;
	struct proc_spec spec = { .argv = &argv, .env = &c->env, .in = PROC_PIPE, .out = PROC_PIPE, .err = PROC_PIPE };

	strv_add(&argv, c->program);
	c->starts++;
	return proc_start(&c->session, &spec, f);
}

void
os_client_begin(struct os_client *c)
{
	struct fault f;

	if (!c->session_wanted || c->session.pid != 0)
		return;
	if (!slots_take(&c->slots, limit_in(0, STOP_AT_ONCE), &f) || !session_start(c, &f))
		log_debug("%s", f.text);
}

enum session_end {
	SESSION_ANSWERED,
	SESSION_DIED,
	SESSION_LATE,
	SESSION_NOISE, /* an answer without end */
};

/* Send input and read until the marker. */
static enum session_end
exchange(struct os_client *c, struct buf *input, struct limit limit, struct buf *out, struct buf *err)
{
	struct proc *p = &c->session;

	for (;;) {
		struct pollfd fds[3] = {
			{ .fd = p->out_fd, .events = POLLIN },
			{ .fd = p->err_fd, .events = POLLIN },
			{ .fd = input->len > 0 ? p->in_fd : -1, .events = POLLOUT },
		};
		size_t marker;

		if (p->out_fd < 0 || p->in_fd < 0)
			return SESSION_DIED;
		if (limit_over(limit))
			return SESSION_LATE;
		if (sig_poll(fds, 3, limit_left_ms(limit)) == 0)
			continue;
		if (fds[2].revents != 0)
			proc_feed(p, input);
		if (fds[1].revents != 0)
			proc_read(&p->err_fd, err, CAP_BYTES);
		if (fds[0].revents == 0)
			continue;
		proc_read(&p->out_fd, out, CAP_BYTES);
		if (out->len >= CAP_BYTES)
			return SESSION_NOISE;
		marker = input->len > 0 ? SIZE_MAX : find_marker(out, c->version, sizeof(c->version));
		if (marker == SIZE_MAX)
			continue;
		out->len = marker;
		out->data[marker] = '\0';
		if (p->err_fd >= 0)
			proc_read(&p->err_fd, err, CAP_BYTES); /* it was in its pipe before the marker was in ours */
		return SESSION_ANSWERED;
	}
}

/* What came back, judged. */
static bool
judge(enum os_expect expect, bool failed, struct buf *out, const struct buf *err, const char *what, struct os_answer *a,
    struct fault *f)
{
	if (expect == OS_TEXT && !failed) {
		a->text = *out;
		*out = (struct buf)BUF_INIT;
		return true;
	}
	if (expect == OS_NOTHING)
		return !failed && !os_fault_seen(buf_str(err)) ? true : os_fault(f, what, buf_str(err));
	if (failed || out->len == 0 || strspn(buf_str(out), " \n") == out->len)
		return os_fault(f, what, buf_str(err));
	a->json = json_read(buf_str(out), out->len, "the answer of openstack", f);
	if (a->json != NULL)
		return true;
	f->class = FAULT_TRANSIENT;
	return fault_wrap(f, "cannot %s", what);
}

/* The signal that ended the session's process, which prints no more; 0 when it was none, or not known yet. */
static int
signal_of(struct proc *p)
{
	struct limit limit = limit_in(DIED_MS, DIED_MS);
	struct proc_result r = { .kind = PROC_EXITED };

	while (!proc_reap(p, &r) && !limit_over(limit)) {
		struct pollfd fd = { .fd = p->pidfd, .events = POLLIN };

		(void)sig_poll(&fd, 1, limit_left_ms(limit)); /* proc_reap looks itself */
	}
	return r.kind == PROC_SIGNALED ? r.code : 0;
}

static bool
killed(struct fault *f, const char *what, int signal)
{
	(void)fault_set(f, FAULT_TRANSIENT, "cannot %s: openstack was killed by signal %d%s", what, signal,
	    signal == SIGKILL ? " (out of memory?)" : "");
	return signal != SIGKILL ? false :
	    fault_hint(f, "'dmesg' or 'journalctl -k' tells of the OOM killer; fewer client-slots take less memory");
}

/* One call by the session. *answered: its marker came, so f is the cloud's or the client's own word. */
static bool
call_session(struct os_client *c, const struct buf *line, enum os_expect expect, const char *what, struct limit limit,
    struct os_answer *a, bool *answered, struct fault *f)
{
	static const char *const why[] = { [SESSION_DIED] = "ended", [SESSION_LATE] = "did not answer",
		[SESSION_NOISE] = "printed without end" };
	auto_buf struct buf input = BUF_INIT, out = BUF_INIT, err = BUF_INIT;
	enum session_end end;
	bool stopped_or_late;

	*answered = false;
	if (c->session.pid == 0 && !session_start(c, f))
		return false;
	if (expect != OS_VERSION)
		buf_puts(&input, buf_str(line));
	buf_puts(&input, MARKER "\n");
	end = exchange(c, &input, limit, &out, &err);
	if (end == SESSION_ANSWERED) {
		*answered = c->marker_seen = true;
		return expect == OS_VERSION || judge(expect, false, &out, &err, what, a, f);
	}
	c->killed_by = end == SESSION_DIED ? signal_of(&c->session) : 0;
	end_session(c); /* the slot is kept for the other form */
	stopped_or_late = end == SESSION_LATE && limit_over(limit);
	a->unknown = true;
	if (err.len > 0 && !stopped_or_late)
		log_debug("openstack session: %s", text_tail(buf_str(&err), 1));
	if (c->killed_by != 0 && !sig_stopped())
		return killed(f, what, c->killed_by);
	return limit_fault(f, FAULT_TRANSIENT, "cannot %s: the openstack session %s%s%.300s", what, why[end],
	    err.len > 0 ? ": " : "", text_tail(buf_str(&err), 1));
}

static bool
call_alone(struct os_client *c, const struct strv *words, enum os_expect expect, const char *what, struct limit limit,
    struct os_answer *a, struct fault *f)
{
	auto_strv struct strv argv = STRV_INIT;
	auto_buf struct buf out = BUF_INIT, err = BUF_INIT;
	struct proc_spec spec = { .argv = &argv, .env = &c->env, .in = PROC_NULL, .out = PROC_PIPE, .err = PROC_PIPE };
	struct proc_result r;

	strv_add(&argv, c->program);
	for (size_t i = 0; i < words->len; i++)
		strv_add(&argv, words->v[i]);
	c->starts++;
	a->unknown = false;
	if (!proc_run(&spec, NULL, CAP_BYTES, limit, &out, &err, &r, f)) {
		a->unknown = f->class == FAULT_TRANSIENT || f->class == FAULT_STOPPED;
		return fault_wrap(f, "cannot %s", what);
	}
	if (r.kind == PROC_SIGNALED) {
		a->unknown = true;
		return killed(f, what, r.code);
	}
	if (out.len >= CAP_BYTES) {
		a->unknown = true;
		return fault_set(f, FAULT_TRANSIENT, "cannot %s: openstack prints without end", what);
	}
	if (!judge(expect, r.code != 0, &out, &err, what, a, f)) {
		a->unknown = f->class == FAULT_TRANSIENT; /* a POST may have worked all the same (openstack-cli.md §5) */
		return false;
	}
	return true;
}

/* With a slot, by the session or alone. */
static bool
call(struct os_client *c, const struct strv *words, enum os_expect expect, bool once, const char *what,
    struct limit limit, struct os_answer *a, struct fault *f)
{
	auto_buf struct buf line = BUF_INIT;
	bool answered;
	bool fresh = !c->marker_seen;

	c->killed_by = 0;
	if (log_verbosity() > 1) {
		auto_free char *text = strv_quoted(words);

		log_debug("openstack %s", text);
	}
	if (expect == OS_TEXT || !c->session_wanted || !session_line(words, &line))
		return call_alone(c, words, expect, what, limit, a, f);
	/* A first answer that does not come leaves time for the other form; a create is not sent again anyway. */
	if (call_session(c, &line, expect, what, fresh && !once ? limit_min(limit, limit_left_ms(limit) / 3) : limit, a,
	    &answered, f))
		return true;
	if (answered) {
		a->unknown = f->class == FAULT_TRANSIENT;
		return false;
	}
	if (f->class == FAULT_SETTING || f->class == FAULT_STOPPED)
		return false;
	if (fresh) { /* this client does not do sessions: slower from now on, never wrong */
		c->session_wanted = false;
		log_debug("%s; going on with one process per call", f->text);
	}
	if (once || limit_over(limit))
		return false;
	if (c->killed_by != 0)
		log_say("%s; trying again", f->text);
	return call_alone(c, words, expect, what, limit, a, f);
}

bool
os_client_call(struct os_client *c, const struct strv *words, enum os_expect expect, bool once, const char *what,
    struct limit limit, struct os_answer *a, struct fault *f)
{
	os_answer_free(a);
	if (limit_over(limit)) /* not sent, and a session that is well lives on */
		return limit_fault(f, FAULT_TRANSIENT, "cannot %s: no time is left", what);
	if (!slots_take(&c->slots, c->slot_limit, f))
		return fault_wrap(f, "cannot %s", what);
	return call(c, words, expect, once, what, limit_min(limit, once ? c->call_ms * 2 : c->call_ms), a, f);
}

bool
os_client_version(struct os_client *c, struct limit limit, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;

	if (c->version[0] != '\0')
		return true;
	strv_add_all(&words, (const char *const[]){ "module", "list", "-f", "json", "-c", MARKER_KEY, NULL });
	if (!os_client_call(c, &words, OS_VERSION, false, "ask openstack for its version", limit, &a, f))
		return false;
	if (a.json != NULL) /* not from a marker */
		(void)strlcpy(c->version, json_str(a.json, MARKER_KEY), sizeof(c->version)); /* cut: no version is so long */
	return c->version[0] != '\0' || fault_set(f, FAULT_SETTING, "openstack does not tell its version");
}
