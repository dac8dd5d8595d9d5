/* SPDX-License-Identifier: MIT */
/* ssh_login.c - waiting for a new server to let us in; see ssh.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "proc.h"
#include "ssh.h"
#include "ssh_share.h"
#include "text.h"
#include "xalloc.h"

#define PROBE_EVERY_MS  100   /* one packet, until a port answers */
#define TRY_EVERY_MS    250   /* one ssh */
#define PROBE_WAIT_MS   1000  /* for a handshake that is under way */
#define LOGIN_MS        25000 /* one ssh: connecting 10 s, a slow sshd or PAM the rest */
#define CLOSED_MS       6000  /* outlasts sshd's shortest penalty */
#define MAX_CANDIDATES  6     /* addresses looked at; sig_poll takes 8 descriptors */
#define CAP_BYTES       ((size_t)64 * 1024)

/* What came of one try; the further down, the further it got. */
enum outcome {
	WAITING,     /* nothing tried yet */
	IN,          /* logged in */
	UNREACHABLE, /* refused, no route, no answer */
	BASTION_DOWN, /* the same, of the bastion */
	CLOSED,      /* closed before the banner: may be sshd's penalty (PerSourcePenalties) */
	KEY_REFUSED, /* normal until cloud-init is done */
	OTHER,
	FOREIGN,     /* another host key than the pinned one: normal until cloud-init is done */
	HOST_KEY,    /* from here on no waiting mends it */
	NO_SHELL,    /* logged in, but the account's shell does not run commands */
	NO_BASH,
	BASTION,     /* it does not let us through */
	KEY_FILE,    /* our own key file is unusable */
};

/* What ssh says, what it means; the first row that fits counts. */
static const struct {
	const char *text;
	enum outcome outcome;
} texts[] = {
	{ "stdio forwarding failed", UNREACHABLE }, /* a bastion's word */
	{ "UNPROTECTED PRIVATE KEY FILE", KEY_FILE },
	{ "error in libcrypto", KEY_FILE },
	{ "invalid format", KEY_FILE },
	{ "Load key", KEY_FILE },
	{ "REMOTE HOST IDENTIFICATION HAS CHANGED", HOST_KEY },
	{ "Host key verification failed", HOST_KEY },
	{ "no matching host key type", HOST_KEY },
	{ "Permission denied", KEY_REFUSED },
	{ "Too many authentication failures", KEY_REFUSED },
	{ "timed out during banner exchange", UNREACHABLE }, /* the port is open, nobody is at home */
	{ "Not allowed at this time", CLOSED },
	{ "kex_exchange_identification", CLOSED },
	{ "banner exchange", CLOSED },
	{ "Connection closed by", CLOSED },
	{ "Connection reset by", CLOSED },
	{ "Connection refused", UNREACHABLE },
	{ "timed out", UNREACHABLE },
	{ "No route to host", UNREACHABLE },
	{ "unreachable", UNREACHABLE },
};

/* What an outcome means for people. final: no waiting mends it. */
static const struct {
	const char *waiting; /* said when it becomes the reason to wait */
	const char *failed;  /* "no login within 30 s: <failed>" */
	const char *hint;
	bool final;
} meanings[] = {
	[WAITING] = { "", "nothing was tried", "", false },
	[IN] = { "", "", "", false },
	[UNREACHABLE] = { "waiting for sshd to answer", "no address answers on the ssh port",
	    "does the image start sshd, does the security group let this host in, can this host reach the network?", false },
	[BASTION_DOWN] = { "waiting for the bastion to answer", "the bastion does not answer",
	    "is ssh-proxy-jump right, is the bastion up, can this host reach it?", false },
	[KEY_REFUSED] = { "sshd answers, but refuses the key: waiting for cloud-init to put it there",
	    "sshd refuses the key",
	    "does private-key belong to key-pair, is username the image's login, does the image run cloud-init?", false },
	[CLOSED] = { "sshd closes the connection before its banner (still starting, or a penalty): waiting 6 s between tries",
	    "sshd closes the connection at once", "see sshd's own log in the image; MaxStartups or PerSourcePenalties?", false },
	[FOREIGN] = { "answers with another host key than the one made for this job: waiting for cloud-init to put it there",
	    "the host key made for this job never showed",
	    "does the image run cloud-init (key-delivery)? else another machine answers on this address", false },
	[HOST_KEY] = { "", "the host key changed since the first connection",
	    "another machine answers on this address: look at the network before you trust it", true },
	[NO_SHELL] = { "", "the login works, but the account's shell runs no commands",
	    "username must name an account with a login shell", true },
	[NO_BASH] = { "", "the image has no bash, which the runner's scripts need", "install bash in the image", true },
	[KEY_FILE] = { "", "ssh cannot use the private key", "private-key must be a key without passphrase, mode 0600, owned by the runner's user",
	    true },
	[BASTION] = { "", "the bastion does not let us through",
	    "check ssh-proxy-jump, ssh-proxy-key and ssh-proxy-known-hosts with an ssh by hand", true },
	[OTHER] = { "ssh fails", "ssh fails", "run the ssh command by hand: novajob -vv prepare shows it", false },
};

struct candidate {
	const char *address;
	bool open;             /* its port answered once */
	char *known_hosts;     /* its own while it is not known which address is our server's; owned */
	int refusals;          /* key refused, so often */
	int64_t next_ms;       /* not before */
	enum outcome outcome;  /* of the last try */
	char said[300];        /* by ssh */
	struct ssh_tools tools; /* what is there */
};

/* A socket that connects to address:port, or -1. */
static int
start_connect(const char *address, uint16_t port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	bool six = inet_pton(AF_INET, address, &v4.sin_addr) != 1;
	const struct sockaddr *to = six ? (const struct sockaddr *)&v6 : (const struct sockaddr *)&v4;
	socklen_t len = six ? sizeof(v6) : sizeof(v4);
	auto_fd int fd = -1;

	if (six && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1)
		return -1;
	fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || (connect(fd, to, len) != 0 && errno != EINPROGRESS))
		return -1;
	return steal_fd(&fd);
}

/* Has a connect that poll reported come to a connection? Else c->said tells why not. */
static bool
connected(struct candidate *c, int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error != 0)
		(void)strlcpy(c->said, strerror(error), sizeof(c->said)); /* fits */
	return error == 0;
}

/* Connect to all candidates that have not answered yet, side by side; mark those that do. */
static void
probe(struct candidate *c, size_t n, const struct settings *st, struct limit limit)
{
	uint16_t port = (uint16_t)st->ssh_port;
	struct pollfd fds[MAX_CANDIDATES];
	struct limit round = limit_min(limit, PROBE_WAIT_MS);
	size_t pending = 0;
	bool found = st->ssh_proxy_jump != NULL; /* only the bastion can reach them: ssh has to find out */

	for (size_t i = 0; i < n; i++) {
		fds[i] = (struct pollfd){ .fd = c[i].open || found ? -1 : start_connect(c[i].address, port), .events = POLLOUT };
		pending += fds[i].fd >= 0;
		c[i].open = c[i].open || found;
	}
	while (pending > 0 && !found && !limit_over(round)) {
		if (sig_poll(fds, n, limit_left_ms(round)) == 0)
			continue;
		for (size_t i = 0; i < n; i++) {
			if (fds[i].fd < 0 || fds[i].revents == 0)
				continue;
			c[i].open = connected(&c[i], fds[i].fd);
			found = found || c[i].open;
			(void)close(fds[i].fd); /* nothing was sent */
			fds[i].fd = -1;
			pending--;
		}
	}
	for (size_t i = 0; i < n; i++) {
		if (fds[i].fd >= 0 && !found)
			(void)strlcpy(c[i].said, "no answer to the connection request", sizeof(c[i].said)); /* fits */
		cleanup_fd(&fds[i].fd);
	}
}

static bool
refused_us(enum outcome o)
{
	return o == HOST_KEY || o == KEY_REFUSED;
}

static enum outcome
judge(const char *out, const char *err, const char *nonce, const struct proc_result *r, bool proxied,
    struct ssh_tools *tools)
{
	bool closed = strstr(err, "kex_exchange_identification") != NULL; /* then it was not the server who spoke before */
	auto_free char *nobash = xasprintf("novajob-nobash-%s", nonce);

	if (ssh_login_said(out, nonce, tools))
		return IN;
	if (strstr(out, nobash) != NULL)
		return NO_BASH;
	if (proxied && closed && strstr(err, "connect to host") != NULL)
		return BASTION_DOWN;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (strstr(err, texts[i].text) != NULL)
			return proxied && closed && refused_us(texts[i].outcome) ? BASTION : texts[i].outcome;
	return r->kind == PROC_EXITED && r->code != 255 ? NO_SHELL : OTHER;
}

/* Connect, and run the test command: over the connection that the job's stages will share, where there is to be one. As
 * proc_run. */
static bool
talk(struct ssh_target *t, const char *nonce, struct limit limit, struct buf *out, struct buf *err, struct proc_result *r,
    struct fault *f)
{
	auto_strv struct strv argv = STRV_INIT, env = STRV_INIT;
	struct proc_spec spec = { .argv = &argv, .env = &env, .in = PROC_NULL, .out = PROC_PIPE, .err = PROC_PIPE };
	enum share came = t->control == NULL ? SHARE_UNABLE : share_open(t, limit, err, r, f);

	if (came == SHARE_ENDED || came == SHARE_FAULT)
		return came == SHARE_ENDED;
	if (came == SHARE_UNABLE)
		t->control = NULL;
	buf_clear(err);
	ssh_login_argv(&argv, t, nonce, false);
	ssh_env(&env);
	return proc_run(&spec, NULL, CAP_BYTES, limit, out, err, r, f);
}

/* One ssh to one candidate. False: ssh could not be started, or we were stopped. */
static bool
try_login(struct ssh_target *t, struct candidate *c, struct limit limit, struct fault *f)
{
	static const int64_t refused_wait_ms[] = { 1000, 5000, 6000 };
	auto_buf struct buf out = BUF_INIT, err = BUF_INIT;
	bool proxied = t->settings->ssh_proxy_jump != NULL;
	struct ssh_stage words;
	struct proc_result r;
	int64_t wait_ms = TRY_EVERY_MS;

	ssh_stage_new(&words);
	t->address = c->address;
	t->known_hosts = c->known_hosts;
	if (!talk(t, words.nonce, limit_min(limit, LOGIN_MS), &out, &err, &r, f)) {
		if (f->class != FAULT_TRANSIENT)
			return false;
		if (limit_over(limit) && c->outcome != WAITING) /* ssh-timeout came in between: what the last try said counts */
			return true;
		c->outcome = UNREACHABLE; /* late: sshd, or the server behind it, hangs */
		buf_puts(&err, err.len == 0 ? f->text : "");
	} else if (judge(buf_str(&out), buf_str(&err), words.nonce, &r, proxied, &c->tools) == CLOSED && c->refusals > 0) {
		c->next_ms = clock_ms() + CLOSED_MS; /* the penalty for the refused key: that is the trouble to tell of */
		return true;
	} else {
		c->outcome = judge(buf_str(&out), buf_str(&err), words.nonce, &r, proxied, &c->tools);
	}
	text_one_line(c->said, sizeof(c->said), text_tail(buf_str(&err), proxied ? 2 : 1)); /* the bastion's, too */
	if (c->outcome == HOST_KEY && t->pinned)
		c->outcome = FOREIGN;
	if (c->outcome == KEY_REFUSED)
		wait_ms = refused_wait_ms[c->refusals < 2 ? c->refusals++ : 2];
	else if (c->outcome == CLOSED)
		wait_ms = CLOSED_MS;
	else if (c->outcome == UNREACHABLE)
		wait_ms = proxied ? 1000 : wait_ms;
	else if (c->outcome == OTHER || c->outcome == FOREIGN || c->outcome == BASTION_DOWN)
		wait_ms = 1000;
	c->open = c->open && c->outcome != UNREACHABLE;
	c->next_ms = clock_ms() + wait_ms;
	return true;
}

/* The candidate that got furthest: its trouble is the one to tell of. */
static const struct candidate *
furthest(const struct candidate *c, size_t n)
{
	const struct candidate *best = &c[0];

	for (size_t i = 1; i < n; i++)
		if (c[i].outcome > best->outcome)
			best = &c[i];
	return best;
}

static bool
failed(const struct candidate *c, struct fault *f, const char *span)
{
	enum outcome o = c->outcome == WAITING ? UNREACHABLE : c->outcome;

	(void)fault_set(f, o == KEY_FILE ? FAULT_SETTING : FAULT_SSH, "no login at %s within %s: %s%s%s", c->address, span,
	    meanings[o].failed, c->said[0] == '\0' ? "" : ": ", c->said);
	return fault_hint(f, "%s", meanings[o].hint);
}

/* One round over all candidates: the index of the one that let us in, n for none; n + 1: give up, f says why. */
static size_t
one_round(struct ssh_target *t, struct candidate *c, size_t n, struct limit limit, enum outcome *told, struct fault *f)
{
	probe(c, n, t->settings, limit);
	for (size_t i = 0; i < n && !limit_over(limit); i++) {
		if (!c[i].open || clock_ms() < c[i].next_ms)
			continue;
		if (!try_login(t, &c[i], limit, f))
			return n + 1;
		if (c[i].outcome == IN)
			return i;
		if (meanings[c[i].outcome].final)
			return n + 1;
		if (c[i].outcome != *told)
			log_say("%s: %s%s%s", c[i].address, meanings[c[i].outcome].waiting, c[i].said[0] == '\0' ? "" : ": ",
			    c[i].said);
		*told = c[i].outcome;
	}
	return n;
}

/* Rounds until one lets us in (*in), nothing mends it, or the time is over. */
static bool
rounds(struct ssh_target *t, struct candidate *c, size_t n, struct limit limit, size_t *in, struct fault *f)
{
	int64_t started = clock_ms();
	enum outcome told = WAITING;
	char span[32];

	fault_clear(f);
	while (!limit_over(limit)) {
		int64_t next = clock_ms() + PROBE_EVERY_MS;

		*in = one_round(t, c, n, limit, &told, f);
		if (*in < n)
			return true;
		if (*in > n)
			break;
		if (next > clock_ms())
			(void)limit_sleep(limit, next - clock_ms()); /* the loop looks at the limit */
	}
	if (f->class != FAULT_NONE && f->class != FAULT_TRANSIENT)
		return fault_wrap(f, "cannot log in");
	if (sig_stopped())
		return limit_fault(f, FAULT_SSH, "no login");
	return failed(furthest(c, n), f, clock_span(span, sizeof(span), clock_ms() - started));
}

/*
 * Where the key is not known before, each candidate has a known_hosts of its own: another machine may answer on one of
 * the addresses, and its key must not stand for our server's. The one that let us in is kept.
 */
bool
ssh_login(struct ssh_target *t, const struct strv *addresses, struct limit limit, char **address,
    struct ssh_tools *tools, struct fault *f)
{
	struct candidate c[MAX_CANDIDATES];
	size_t n = addresses->len < MAX_CANDIDATES ? addresses->len : MAX_CANDIDATES;
	const char *known_hosts = t->known_hosts;
	size_t in = n;
	bool ok;

	if (n == 0)
		return fault_set(f, FAULT_CLOUD, "the server has no address");
	memset(c, 0, sizeof(c));
	for (size_t i = 0; i < n; i++) {
		c[i].address = addresses->v[i];
		c[i].known_hosts = t->pinned ? xstrdup(known_hosts) : xasprintf("%s.%zu", known_hosts, i);
		if (!t->pinned)
			(void)unlink(c[i].known_hosts); /* of an earlier try; mostly there is none */
	}
	ok = rounds(t, c, n, limit_min(limit, t->settings->ssh_timeout), &in, f);
	if (ok && !t->pinned && rename(c[in].known_hosts, known_hosts) != 0)
		ok = fault_errno(f, FAULT_LOCAL, "cannot rename '%s'", c[in].known_hosts);
	if (ok) {
		*address = xstrdup(c[in].address);
		*tools = c[in].tools;
	}
	t->known_hosts = known_hosts;
	for (size_t i = 0; i < n; i++) {
		if (!t->pinned)
			(void)unlink(c[i].known_hosts); /* as above */
		free(c[i].known_hosts);
	}
	return ok;
}
