/* SPDX-License-Identifier: MIT */
/* proc.c - child processes; see proc.h. */
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "xalloc.h"

#define NOT_THERE "install the program, or name its file in the settings"
#define DRAIN_MS 1000 /* output of a child that has ended: wait so long for a grandchild to let go */

/* What a child that cannot exec tells through its error pipe. */
struct exec_error {
	char step[24];
	int error;
};

/* A process cannot be made: what of the host is used up says errno. */
static bool
no_room(struct fault *f, const char *what, const char *path)
{
	int saved = errno;

	(void)fault_errno(f, FAULT_LOCAL, "cannot %s '%s'", what, path);
	if (saved == EMFILE)
		return fault_hint(f, "raise LimitNOFILE= of the runner's service: 16 are enough for novajob, the clients need more");
	if (saved == ENFILE)
		return fault_hint(f, "the host has no free file descriptor: 'cat /proc/sys/fs/file-nr' tells");
	if (saved == EAGAIN)
		return fault_hint(f, "the limit of processes is reached: raise TasksMax= and LimitNPROC= of the runner's service");
	if (saved == ENOMEM)
		return fault_hint(f, "the host has no memory left: run fewer jobs at a time");
	return false;
}

/* The path of a program: itself when it has a slash, else looked up in our PATH. The caller's; NULL = not found. */
static char *
resolve(const char *name)
{
	const char *path = getenv("PATH");

	if (strchr(name, '/') != NULL)
		return xstrdup(name);
	if (path == NULL)
		path = "/usr/local/bin:/usr/bin:/bin";
	while (*path != '\0') {
		size_t n = strcspn(path, ":");
		struct stat st;

		if (n > 0 && path[0] == '/') { /* never from the current directory: it is the job's */
			auto_free char *full = xasprintf("%.*s/%s", (int)n, path, name);

			if (stat(full, &st) == 0 && S_ISREG(st.st_mode) && access(full, X_OK) == 0)
				return steal_ptr(&full);
		}
		path += n + (path[n] == ':');
	}
	return NULL;
}

static _Noreturn void
child_fail(int error_fd, const char *step)
{
	struct exec_error e = { .error = errno };

	(void)strlcpy(e.step, step, sizeof(e.step));  /* short literals */
	(void)!write(error_fd, &e, sizeof(e)); /* nobody left to tell if this fails */
	_exit(127);
}

/* As a program expects them at its start; async-signal-safe. */
static bool
default_signals(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		(void)sigaction(s, &dfl, NULL); /* KILL, STOP and libc's own say no */
	(void)sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL) == 0;
}

/* A stop that was sent to our process group before the child had its own is ours to act on. It is pending in the child, too,
 * and must not end what is perhaps just there to end the script. */
static void
drop_stops(void)
{
	struct sigaction ign = { .sa_handler = SIG_IGN };

	for (int s = 1; s < NSIG; s++) /* only what sig_init blocks can be pending */
		(void)sigaction(s, &ign, NULL); /* discards it, sigaction(2) */
}

/* After fork, in the child: async-signal-safe calls only. Descriptors: fds[0..2] become stdio. */
static _Noreturn void
child(const struct proc_spec *spec, const char *path, char *const *envp, const int fds[3], int error_fd, pid_t parent)
{
	const struct rlimit file_max = { .rlim_cur = spec->file_max, .rlim_max = spec->file_max };

	if (spec->apart ? setsid() < 0 : setpgid(0, 0) != 0)
		child_fail(error_fd, spec->apart ? "setsid" : "setpgid");
	if (!spec->apart && prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		child_fail(error_fd, "prctl");
	if (!spec->apart && getppid() != parent)
		_exit(127); /* the parent died before the prctl: nobody would end us */
	for (int i = 0; i < 3; i++)
		if (dup2(fds[i], i) < 0)
			child_fail(error_fd, "dup2");
	drop_stops();
	if (!default_signals())
		child_fail(error_fd, "sigprocmask");
	if (spec->file_max > 0 && setrlimit(RLIMIT_FSIZE, &file_max) != 0)
		child_fail(error_fd, "setrlimit");
	if (chdir("/") != 0) /* clouds.yaml of the current directory would be obeyed (openstack-cli.md §7) */
		child_fail(error_fd, "chdir");
	(void)execve(path, spec->argv->v, envp);
	child_fail(error_fd, "exec");
}

/* Descriptors above 2 for both ends: stdio may be closed in us, and dup2 onto itself would keep O_CLOEXEC. */
static bool
make_pipe(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC) != 0)
		return false;
	for (int i = 0; i < 2; i++) {
		if (ends[i] > 2)
			continue;
		int up = fcntl(ends[i], F_DUPFD_CLOEXEC, 3);

		(void)close(ends[i]); /* only a duplicate */
		ends[i] = up;
	}
	return ends[0] >= 0 && ends[1] >= 0;
}

/* Open what the child gets as stdio number i; our end goes to *ours. */
static int
open_io(enum proc_io how, int i, int *ours)
{
	int ends[2] = { -1, -1 };
	int mine = i == 0 ? 1 : 0;

	if (how == PROC_NULL)
		return open("/dev/null", (i == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
	if (!make_pipe(ends))
		return -1;
	if (fcntl(ends[mine], F_SETFL, O_NONBLOCK) != 0)
		return -1;
	*ours = ends[mine];
	return ends[1 - mine];
}

static void
close_ends(struct proc *p)
{
	cleanup_fd(&p->in_fd);
	cleanup_fd(&p->out_fd);
	cleanup_fd(&p->err_fd);
	cleanup_fd(&p->pidfd);
	p->in_fd = p->out_fd = p->err_fd = p->pidfd = -1;
}

/* Wait for the child's exec: EOF on the error pipe is success. */
static bool
exec_worked(struct proc *p, int error_fd, const char *program, struct fault *f)
{
	struct exec_error e;
	ssize_t n;

	do
		n = read(error_fd, &e, sizeof(e));
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return true;
	(void)waitpid(p->pid, NULL, 0); /* it has left, or is leaving */
	p->pid = 0;
	errno = n == (ssize_t)sizeof(e) ? e.error : EIO;
	e.step[sizeof(e.step) - 1] = '\0';
	if (n == (ssize_t)sizeof(e) && strcmp(e.step, "exec") == 0) {
		bool is_setting = errno == ENOENT || errno == EACCES || errno == ENOEXEC || errno == ENOTDIR;

		(void)fault_errno(f, is_setting ? FAULT_SETTING : FAULT_LOCAL, "cannot run '%s'", program);
		return is_setting ? fault_hint(f, NOT_THERE) : false;
	}
	return fault_errno(f, FAULT_LOCAL, "cannot start '%s' (%s)", program, n > 0 ? e.step : "pipe");
}

/* fork and everything after it; fds are the child's ends, closed by the caller. */
static bool
launch(struct proc *p, const struct proc_spec *spec, const char *path, const int fds[3], struct fault *f)
{
	extern char **environ;
	char *const *envp = spec->env == NULL ? environ : spec->env->v;
	char *const no_env[] = { NULL };
	int error_pipe[2];
	pid_t parent = getpid();
	bool ok;

	if (!make_pipe(error_pipe))
		return no_room(f, "make a pipe for", path);
	p->pid = fork();
	if (p->pid < 0) {
		p->pid = 0;
		(void)no_room(f, "start a process for", path);
		(void)close(error_pipe[0]); /* nothing in them */
		(void)close(error_pipe[1]);
		return false;
	}
	if (p->pid == 0)
		child(spec, path, envp == NULL ? no_env : envp, fds, error_pipe[1], parent);
	if (!spec->apart) /* the leader of a group could not begin a session */
		(void)setpgid(p->pid, p->pid); /* either side may be first; after its exec EACCES says it was */
	(void)close(error_pipe[1]);
	ok = exec_worked(p, error_pipe[0], path, f);
	(void)close(error_pipe[0]);
	if (!ok)
		return false;
	p->pidfd = pidfd_open(p->pid, 0);
	if (p->pidfd >= 0)
		return true;
	(void)no_room(f, "open a pidfd for", path);
	(void)kill(-p->pid, SIGKILL);
	(void)waitpid(p->pid, NULL, 0);
	p->pid = 0;
	return false;
}

static bool
not_found(const struct strv *argv, struct fault *f)
{
	(void)fault_set(f, FAULT_SETTING, "cannot run '%s': not found in PATH", argv->v[0]);
	return fault_hint(f, NOT_THERE);
}

static void
log_argv(const struct strv *argv)
{
	auto_free char *line = log_verbosity() > 1 ? strv_quoted(argv) : NULL;

	if (line != NULL)
		log_debug("run: %s", line);
}

bool
proc_start(struct proc *p, const struct proc_spec *spec, struct fault *f)
{
	const char *program = spec->argv->v[0];
	const char *slash = strrchr(program, '/');
	auto_free char *path = resolve(program);
	int fds[3] = { -1, -1, -1 };
	bool ok = false;

	*p = (struct proc)PROC_INIT;
	(void)strlcpy(p->name, slash == NULL ? program : slash + 1, sizeof(p->name)); /* cut: for messages only */
	if (path == NULL)
		return not_found(spec->argv, f);
	log_argv(spec->argv);
	fds[0] = spec->in == PROC_FD ? fcntl(spec->in_fd, F_DUPFD_CLOEXEC, 3) : open_io(spec->in, 0, &p->in_fd);
	fds[1] = open_io(spec->out, 1, &p->out_fd);
	fds[2] = spec->err == PROC_FD ? fcntl(spec->to_fd, F_DUPFD_CLOEXEC, 3) : open_io(spec->err, 2, &p->err_fd);
	if (fds[0] < 0 || fds[1] < 0 || fds[2] < 0)
		(void)no_room(f, "make the pipes for", path);
	else
		ok = launch(p, spec, path, fds, f);
	for (int i = 0; i < 3; i++)
		cleanup_fd(&fds[i]);
	if (!ok)
		close_ends(p);
	return ok;
}

bool
proc_reap(struct proc *p, struct proc_result *r)
{
	struct pollfd ended = { .fd = p->pidfd, .events = POLLIN };
	siginfo_t info = { .si_pid = 0 };

	if (p->pid == 0 || poll(&ended, 1, 0) <= 0)
		return false;
	(void)kill(-p->pid, SIGKILL); /* the zombie still holds the number: only its own group can be hit */
	if (waitid(P_PID, (id_t)p->pid, &info, WEXITED) != 0)
		return false;
	p->pid = 0;
	(void)close(p->pidfd); /* a pidfd holds nothing that could be lost */
	p->pidfd = -1;
	r->kind = info.si_code == CLD_EXITED ? PROC_EXITED : PROC_SIGNALED;
	r->code = info.si_status;
	return true;
}

bool
proc_become(const struct strv *argv, const struct strv *env, struct fault *f)
{
	auto_free char *path = resolve(argv->v[0]);

	if (path == NULL)
		return not_found(argv, f);
	log_argv(argv);
	if (!default_signals())
		return fault_errno(f, FAULT_LOCAL, "cannot run '%s': sigprocmask", path);
	(void)execve(path, argv->v, env->v);
	return fault_errno(f, FAULT_SETTING, "cannot run '%s'", path);
}

void
proc_close_in(struct proc *p)
{
	cleanup_fd(&p->in_fd);
	p->in_fd = -1;
}

/* Wait for the child's end without heeding a stop: this is how stopping is done. */
static bool
wait_end(struct proc *p, int64_t ms, struct proc_result *r)
{
	int64_t until = clock_ms() + ms;

	for (;;) {
		int64_t left = until - clock_ms();
		struct pollfd fd = { .fd = p->pidfd, .events = POLLIN };

		if (proc_reap(p, r))
			return true;
		if (left <= 0)
			return false;
		(void)sig_poll(&fd, 1, left); /* proc_reap looks itself */
	}
}

struct proc_result
proc_end(struct proc *p, int64_t grace_ms)
{
	struct proc_result r = { .kind = PROC_EXITED, .code = 0 };

	proc_close_in(p);
	if (p->pid != 0 && !proc_reap(p, &r)) {
		if (grace_ms > 0) {
			(void)kill(-p->pid, SIGTERM);
			(void)kill(-p->pid, SIGCONT); /* a stopped child would not hear it */
		}
		if (!wait_end(p, grace_ms, &r)) {
			(void)kill(-p->pid, SIGKILL);
			if (!wait_end(p, 5000, &r)) /* stuck in the kernel (a dead disk): leave it, it dies with us */
				p->pid = 0;
		}
	}
	close_ends(p);
	return r;
}

void
proc_let_go(struct proc *p)
{
	close_ends(p);
	p->pid = 0;
}

void
proc_end_peer(int socket_fd, int64_t grace_ms)
{
	struct ucred peer = { .pid = 0 };
	socklen_t len = sizeof(peer);
	struct pollfd here = { .fd = socket_fd, .events = 0 };
	auto_fd int pidfd = -1;
	struct pollfd ended;

	if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || peer.pid <= 1 || peer.uid != geteuid())
		return;
	pidfd = pidfd_open(peer.pid, 0);
	/* the number was his when he began to listen, and he still does: else the socket would be hung up */
	if (pidfd < 0 || poll(&here, 1, 0) != 0)
		return;
	ended = (struct pollfd){ .fd = pidfd, .events = POLLIN };
	(void)pidfd_send_signal(pidfd, SIGTERM, NULL, 0); /* it may have ended meanwhile: then there is nothing to do */
	if (poll(&ended, 1, (int)grace_ms) == 0)
		(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
}

void
proc_feed(struct proc *p, struct buf *b)
{
	ssize_t n;

	if (p->in_fd < 0 || b->len == 0)
		return;
	n = write(p->in_fd, b->data, b->len);
	if (n > 0)
		buf_drop(b, (size_t)n);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		proc_close_in(p); /* EPIPE: it has left, its exit status tells why */
}

void
proc_read(int *fd, struct buf *b, size_t cap_bytes)
{
	char scratch[65536];
	ssize_t n;

	if (*fd < 0)
		return;
	n = read(*fd, scratch, sizeof(scratch));
	if (n > 0) {
		size_t room = b->len < cap_bytes ? cap_bytes - b->len : 0;

		buf_add(b, scratch, (size_t)n < room ? (size_t)n : room);
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	(void)close(*fd); /* EOF: only read from */
	*fd = -1;
}

/* One turn of proc_run's wait: feed, read, for at most ms. */
static void
turn(struct proc *p, struct buf *input, size_t cap_bytes, struct buf *out, struct buf *err, int64_t ms)
{
	struct pollfd fds[4] = {
		{ .fd = p->pidfd, .events = POLLIN },
		{ .fd = p->out_fd, .events = POLLIN },
		{ .fd = p->err_fd, .events = POLLIN },
		{ .fd = p->in_fd, .events = POLLOUT },
	};

	if (input->len == 0)
		proc_close_in(p);
	fds[3].fd = p->in_fd;
	if (sig_poll(fds, 4, ms) == 0)
		return;
	if (fds[1].revents != 0)
		proc_read(&p->out_fd, out, cap_bytes);
	if (fds[2].revents != 0)
		proc_read(&p->err_fd, err, cap_bytes);
	if (fds[3].revents != 0)
		proc_feed(p, input);
}

bool
proc_run(const struct proc_spec *spec, const char *input, size_t cap_bytes, struct limit limit, struct buf *out,
    struct buf *err, struct proc_result *r, struct fault *f)
{
	struct proc p = PROC_INIT;
	auto_buf struct buf in = BUF_INIT;
	int64_t started = clock_ms();
	int64_t drain_until;
	char span[32];

	if (!proc_start(&p, spec, f))
		return false;
	if (input != NULL)
		buf_puts(&in, input);
	while (!proc_reap(&p, r)) {
		if (limit_over(limit)) {
			(void)proc_end(&p, 2000); /* how it ended does not matter: it was late */
			return limit_fault(f, FAULT_TRANSIENT, "no answer from '%s' within %s", p.name,
			    clock_span(span, sizeof(span), clock_ms() - started));
		}
		turn(&p, &in, cap_bytes, out, err, limit_left_ms(limit));
	}
	drain_until = clock_ms() + DRAIN_MS;
	buf_clear(&in);
	while ((p.out_fd >= 0 || p.err_fd >= 0) && clock_ms() < drain_until)
		turn(&p, &in, cap_bytes, out, err, drain_until - clock_ms());
	close_ends(&p);
	return true;
}
