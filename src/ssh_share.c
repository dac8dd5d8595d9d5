/* SPDX-License-Identifier: MIT */
/* ssh_share.c - the connection that the stages of a job share; see ssh_share.h. */
#include "ssh_share.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "text.h"
#include "xalloc.h"

#define PATH_BYTES  90  /* ssh binds a name 17 bytes longer first; struct sockaddr_un has room for 107 */
#define LOOK_MS     4   /* between two looks for the socket: a handshake takes tens of them */
#define END_MS      500 /* from TERM to KILL: it has nothing to do but to close */
#define SAID_BYTES  16384
#define SAID_MAX    ((size_t)65536) /* in its file: a hostile server can make ssh complain without end */
#define ERR         ".err"

static char *
dir_of(const struct state *state)
{
	return xasprintf("%s/share", state->dir);
}

char *
share_path(const struct state *state, const char *try)
{
	auto_free char *path = xasprintf("%s/share/%s", state->dir, try);

	return strlen(path) > PATH_BYTES ? NULL : steal_ptr(&path);
}

/* Its directory: made, ours, open to nobody else. STATE itself was looked at (record.h). */
static bool
make_dir(const char *path)
{
	auto_free char *dir = xstrndup(path, (size_t)(strrchr(path, '/') - path));
	struct stat st;

	return (mkdir(dir, 0700) == 0 || errno == EEXIST) && lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) &&
	    st.st_uid == geteuid() && (st.st_mode & 077) == 0;
}

/* A connection to who listens at path, or -1: nobody does. */
static int
connect_to(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	auto_fd int fd = -1;

	if (strlcpy(to.sun_path, path, sizeof(to.sun_path)) >= sizeof(to.sun_path))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0)
		return -1;
	return steal_fd(&fd);
}

static bool
is_up(const char *path)
{
	auto_fd int fd = connect_to(path);

	return fd >= 0;
}

static void
end_at(const char *path)
{
	auto_free char *err = xasprintf("%s" ERR, path);
	auto_fd int fd = connect_to(path);

	if (fd >= 0)
		proc_end_peer(fd, END_MS);
	(void)unlink(path); /* mostly it has done so itself, or there is none; as below */
	(void)unlink(err);
}

void
share_end(const struct state *state, const char *try)
{
	auto_free char *path = share_path(state, try);

	if (path != NULL && try[0] != '\0')
		end_at(path);
}

/* All it has said so far. */
static void
read_said(const char *path, struct buf *said)
{
	auto_free char *err = xasprintf("%s" ERR, path);
	auto_fd int fd = open(err, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char text[SAID_BYTES];
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text));

	buf_add(said, text, n > 0 ? (size_t)n : 0);
}

bool
share_is_chatter(const char *line)
{
	static const char *const starts[] = { "mux_client_", "muxclient: ", "ControlSocket ", "Control socket ", "ControlPath ",
		"unix_listener", "muxserver_listen", "channel " };

	for (size_t i = 0; i < ARRAY_LEN(starts); i++)
		if (strncmp(line, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

void
share_said(const char *path, char *out, size_t size)
{
	auto_buf struct buf said = BUF_INIT;

	out[0] = '\0';
	if (is_up(path))
		return;
	read_said(path, &said);
	text_one_line(out, size, text_tail(buf_str(&said), 1));
	if (share_is_chatter(out))
		out[0] = '\0';
}

static bool
start(struct proc *p, const struct ssh_target *t, struct fault *f)
{
	auto_free char *err = xasprintf("%s" ERR, t->control);
	auto_strv struct strv argv = STRV_INIT, env = STRV_INIT;
	auto_fd int err_fd = open(err, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct proc_spec spec = { .argv = &argv, .env = &env, .in = PROC_NULL, .out = PROC_NULL, .err = PROC_FD,
		.to_fd = err_fd, .apart = true, .file_max = SAID_MAX };

	if (err_fd < 0)
		return fault_errno(f, FAULT_LOCAL, "cannot make '%s'", err);
	ssh_master_argv(&argv, t);
	ssh_env(&env);
	return proc_start(p, &spec, f);
}

/* Wait until its socket is there, or it has ended. */
static enum share
wait_up(struct proc *p, const char *path, struct limit limit, struct proc_result *r, struct fault *f)
{
	int64_t started = clock_ms();
	char span[32];

	while (!limit_over(limit)) {
		struct pollfd fd = { .fd = p->pidfd, .events = POLLIN };

		if (access(path, F_OK) == 0) /* ssh puts it there when it listens already */
			return SHARE_UP;
		if (proc_reap(p, r))
			return SHARE_ENDED;
		(void)sig_poll(&fd, 1, LOOK_MS);
	}
	(void)limit_fault(f, FAULT_TRANSIENT, "no answer from '%s' within %s", p->name,
	    clock_span(span, sizeof(span), clock_ms() - started));
	return SHARE_FAULT;
}

enum share
share_open(const struct ssh_target *t, struct limit limit, struct buf *said, struct proc_result *r, struct fault *f)
{
	struct proc p = PROC_INIT;
	enum share came;

	if (!make_dir(t->control))
		return SHARE_UNABLE;
	end_at(t->control);
	if (!start(&p, t, f))
		return f->class == FAULT_LOCAL ? SHARE_UNABLE : SHARE_FAULT;
	came = wait_up(&p, t->control, limit, r, f);
	if (came == SHARE_UP) {
		proc_let_go(&p);
		return came;
	}
	(void)proc_end(&p, 0);
	read_said(t->control, said);
	end_at(t->control);
	return came == SHARE_ENDED && share_is_chatter(text_tail(buf_str(said), 1)) ? SHARE_UNABLE : came;
}

void
share_use(struct ssh_target *t, const char *path, struct limit limit)
{
	auto_buf struct buf said = BUF_INIT;
	struct proc_result r;
	enum share came;
	struct fault f;

	t->control = path;
	if (path == NULL || is_up(path))
		return;
	fault_clear(&f);
	came = share_open(t, limit, &said, &r, &f);
	if (came == SHARE_UP)
		return;
	t->control = NULL;
	log_debug("no shared connection: %s", came == SHARE_FAULT ? f.text : buf_str(&said));
}

void
share_tries(const struct state *state, struct strv *tries)
{
	auto_free char *path = dir_of(state);
	auto_dir DIR *dir = opendir(path);
	const struct dirent *e;

	while (dir != NULL && (e = readdir(dir)) != NULL) {
		auto_free char *try = xstrndup(e->d_name, strcspn(e->d_name, "."));

		if (try[0] != '\0' && !strv_has(tries, try))
			strv_add(tries, try);
	}
}
