/* SPDX-License-Identifier: MIT */
/* ready.c - from the first login to a server that is ready; see ready.h. */
#include "ready.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "proc.h"
#include "remote.h"
#include "text.h"
#include "xalloc.h"

#define SCRIPT_MAX   ((size_t)1024 * 1024)
#define CAP_BYTES    ((size_t)64 * 1024)
#define GRACE_MS     1000   /* from TERM to KILL: the server is deleted anyway, and undoing needs the time more */
#define VERSION_MS   10000  /* for FILE --version on this host */
#define ASK_MS       15000  /* for what the server has: connecting 10 s, and the same --version there */
#define UPLOAD_MS    300000

#define PRINTED "what it printed is above; GitLab has folded it away under 'creating server …'"

/* The operator's command or script. */
struct step {
	const char *name;       /* of its setting */
	const char *file;       /* "" = none */
	const char *timeout;    /* the setting with its deadline */
	int64_t timeout_ms;
};

void
ready_script(struct buf *b, const char *text, size_t len)
{
	buf_puts(b, "eval $'");
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\'' || text[i] == '\\')
			buf_puts(b, "\\");
		buf_add(b, text + i, 1);
	}
	buf_puts(b, "' </dev/null\n");
}

/* A file without a name that holds b. */
static int
make_file(const struct buf *b, struct fault *f)
{
	auto_fd int fd = memfd_create("novajob", MFD_CLOEXEC);
	size_t done = 0;
	ssize_t n = 0;

	while (fd >= 0 && done < b->len && (n = write(fd, b->data + done, b->len - done)) > 0)
		done += (size_t)n;
	if (fd < 0 || n < 0) {
		(void)fault_errno(f, FAULT_LOCAL, "cannot make a file in memory");
		return -1;
	}
	return steal_fd(&fd);
}

/* What the end of a step means. */
static bool
judge(const struct step *s, const struct remote_result *r, struct fault *f)
{
	char span[32];
	auto_free char *what = xasprintf("%s%s%s%s", s->name, s->file[0] == '\0' ? "" : " '", s->file,
	    s->file[0] == '\0' ? "" : "'");

	if (r->end == REMOTE_EXITED && r->code == 0)
		return true;
	if (sig_stopped() || r->end == REMOTE_STOPPED || r->end == REMOTE_LOG_BROKEN)
		return fault_set(f, FAULT_STOPPED, "%s: stopped by the runner (cancel or time-out); %s", what,
		    r->confirmed ? "its processes in the server are ended" : "its processes end with the server");
	if (r->end == REMOTE_LATE) {
		(void)fault_set(f, FAULT_CLOUD, "%s has not ended within %s (%s)%s", what,
		    clock_span(span, sizeof(span), s->timeout_ms), s->timeout, r->confirmed ? ", and was ended" : "");
		return fault_hint(f, PRINTED);
	}
	if (r->end != REMOTE_EXITED)
		return fault_set(f, FAULT_SSH, "%s: %s%s%s%s", what, r->end == REMOTE_LOST || r->end == REMOTE_UNREACHED ?
		    "the connection to the server was lost" : "the server could not run it", r->said[0] == '\0' ? "" : " (ssh: ",
		    r->said, r->said[0] == '\0' ? "" : ")");
	(void)fault_set(f, FAULT_CLOUD, "%s ended with exit code %d", what, r->code);
	return fault_hint(f, PRINTED "%s", s->file[0] == '\0' && r->code == 2 ?
	    "; cloud-init status exits 2 after errors it has recovered from: … || [ $? = 2 ] lets them pass" : "");
}

/* Run one step in the server. */
static bool
run_step(const struct ssh_target *t, const struct step *s, const char *text, size_t len, struct limit limit,
    struct fault *f)
{
	auto_buf struct buf b = BUF_INIT;
	auto_fd int fd = -1;
	struct remote_script script = { .out_fd = STDERR_FILENO, .no_cr = true, .grace_ms = GRACE_MS };
	struct remote_result r;

	ready_script(&b, text, len);
	if ((fd = make_file(&b, f)) < 0)
		return false;
	script.fd = fd;
	script.limit = limit_min(limit, s->timeout_ms);
	if (script.grace_ms > t->settings->stop_grace)
		script.grace_ms = t->settings->stop_grace;
	log_say("%s%s%s", s->name, s->file[0] == '\0' ? ": " : " ", s->file[0] == '\0' ? text : s->file);
	if (!remote_run_again(t, &script, &r, f))
		return false;
	if (r.mid_line)
		(void)!write(STDERR_FILENO, "\n", 1); /* our next line is one of its own, if anybody reads it */
	return judge(s, &r, f);
}

static bool
run_command(const struct ssh_target *t, struct limit limit, struct fault *f)
{
	const struct settings *st = t->settings;
	const struct step s = { .name = "ready-command", .file = "", .timeout = "ready-timeout", .timeout_ms = st->ready_timeout };

	return run_step(t, &s, st->ready_command, strlen(st->ready_command), limit, f);
}

static bool
run_file(const struct ssh_target *t, struct limit limit, struct fault *f)
{
	const struct settings *st = t->settings;
	const struct step s = { .name = "prepare-script", .file = st->prepare_script, .timeout = "prepare-script-timeout",
		.timeout_ms = st->prepare_script_timeout };
	auto_file FILE *file = fopen(s.file, "re");
	auto_buf struct buf b = BUF_INIT;
	char *room = buf_room(&b, SCRIPT_MAX + 1);

	if (file != NULL)
		b.len = fread(room, 1, SCRIPT_MAX + 1, file);
	if (file == NULL || ferror(file))
		return fault_errno(f, FAULT_SETTING, "prepare-script: cannot read '%s'", s.file);
	if (b.len > SCRIPT_MAX)
		return fault_set(f, FAULT_SETTING, "prepare-script: '%s' is larger than 1 MiB", s.file);
	return run_step(t, &s, b.data, b.len, limit, f);
}

/* ---- gitlab-runner */

const char *
ready_machine(const unsigned char *head, size_t len)
{
	static const struct {
		unsigned int machine;
		unsigned char data; /* its byte order */
		const char *name;
	} names[] = { { EM_X86_64, ELFDATA2LSB, "x86_64" }, { EM_AARCH64, ELFDATA2LSB, "aarch64" },
		{ EM_ARM, ELFDATA2LSB, "armv7l" }, { EM_PPC64, ELFDATA2LSB, "ppc64le" }, { EM_S390, ELFDATA2MSB, "s390x" },
		{ EM_RISCV, ELFDATA2LSB, "riscv64" }, { EM_386, ELFDATA2LSB, "i686" } };
	unsigned int machine;

	if (len < 20 || memcmp(head, ELFMAG, SELFMAG) != 0)
		return NULL;
	machine = head[EI_DATA] == ELFDATA2MSB ? head[18] * 256U + head[19] : head[19] * 256U + head[18];
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (machine == names[i].machine && head[EI_DATA] == names[i].data)
			return names[i].name;
	return "of another machine";
}

/* Is FILE a program for this machine? The fault says what is wrong. */
static bool
fits_machine(int fd, const char *path, const char *machine, struct fault *f)
{
	unsigned char head[20];
	ssize_t n = pread(fd, head, sizeof(head), 0);
	const char *has = ready_machine(head, n < 0 ? 0 : (size_t)n);

	if (has == NULL)
		return fault_set(f, FAULT_SETTING, "'%s' is no Linux program", path);
	return strcmp(has, machine) == 0 || (strcmp(has, "armv7l") == 0 && strncmp(machine, "armv", 4) == 0) ||
	    fault_set(f, FAULT_SETTING, "'%s' is %s, the server is %s", path, has, machine);
}

/* What FILE --version says first, to *version (size bytes): "" when it does not run here. False: told to stop. */
static bool
version_here(const char *path, char *version, size_t size, struct limit limit, struct fault *f)
{
	auto_strv struct strv argv = STRV_INIT, env = STRV_INIT;
	auto_buf struct buf out = BUF_INIT, err = BUF_INIT;
	struct proc_spec spec = { .argv = &argv, .env = &env, .in = PROC_NULL, .out = PROC_PIPE, .err = PROC_PIPE };
	auto_free char *line = NULL;
	struct proc_result r;

	version[0] = '\0';
	strv_add_all(&argv, (const char *const[]){ path, "--version", NULL });
	strv_add_all(&env, (const char *const[]){ "PATH=/usr/bin:/bin", "HOME=/", NULL });
	if (!proc_run(&spec, NULL, CAP_BYTES, limit_min(limit, VERSION_MS), &out, &err, &r, f)) {
		log_debug("%s", f->text);
		return f->class != FAULT_STOPPED;
	}
	line = xstrndup(buf_str(&out), strcspn(buf_str(&out), "\n"));
	if (r.kind == PROC_EXITED && r.code == 0)
		text_one_line(version, size, line);
	return true;
}

/* Run one of our commands in the server: what it printed to out. */
static bool
talk(const struct strv *argv, int in_fd, struct limit limit, struct buf *out, struct fault *f)
{
	auto_strv struct strv env = STRV_INIT;
	auto_buf struct buf err = BUF_INIT;
	struct proc_spec spec = { .argv = argv, .env = &env, .in = in_fd < 0 ? PROC_NULL : PROC_FD, .out = PROC_PIPE,
		.err = PROC_PIPE, .in_fd = in_fd };
	struct proc_result r;
	char said[300];

	ssh_env(&env);
	if (!proc_run(&spec, NULL, CAP_BYTES, limit, out, &err, &r, f))
		return false;
	text_one_line(said, sizeof(said), text_tail(buf_str(&err), 2));
	return (r.kind == PROC_EXITED && r.code == 0) ||
	    fault_set(f, FAULT_SSH, "%s", said[0] == '\0' ? "the server said nothing" : said);
}

bool
ready_ask(const struct ssh_target *t, bool version, struct limit limit, struct ssh_tools *tools, struct fault *f)
{
	auto_strv struct strv argv = STRV_INIT;
	auto_buf struct buf out = BUF_INIT;
	struct ssh_stage words;
	struct ssh_tools now;
	bool ok;

	ssh_stage_new(&words);
	ssh_login_argv(&argv, t, words.nonce, version);
	ok = talk(&argv, -1, limit_min(limit, ASK_MS), &out, f);
	if (!ok && f->class == FAULT_STOPPED)
		return false;
	if (ssh_login_said(buf_str(&out), words.nonce, &now)) { /* though its gitlab-runner hangs */
		*tools = now;
		return true;
	}
	return ok ? fault_set(f, FAULT_SSH, "the server did not say what it has") : false;
}

static bool
upload(const struct ssh_target *t, int fd, struct limit limit, struct fault *f)
{
	auto_strv struct strv argv = STRV_INIT;
	auto_buf struct buf out = BUF_INIT;
	struct ssh_stage words;
	struct stat st;

	if (fstat(fd, &st) != 0)
		return fault_errno(f, FAULT_LOCAL, "cannot look at the file");
	log_say("runner-binary: %.1f MiB go to the server", (double)st.st_size / 1048576);
	ssh_stage_new(&words);
	ssh_upload_argv(&argv, t, words.nonce, (int64_t)st.st_size);
	return talk(&argv, fd, limit_min(limit, UPLOAD_MS), &out, f) && (strstr(buf_str(&out), words.nonce) != NULL ||
	    fault_set(f, FAULT_SSH, "the server did not confirm it"));
}

/* Bring FILE to the server, if it has none or another. */
static bool
bring(const struct ssh_target *t, const char *path, struct ssh_tools *tools, struct limit limit, struct fault *f)
{
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char version[sizeof(tools->version)];

	if (fd < 0)
		return fault_errno(f, FAULT_SETTING, "cannot open '%s'", path);
	if (!ready_ask(t, true, limit, tools, f) || !fits_machine(fd, path, tools->machine, f))
		return false;
	if (tools->runner) {
		if (!version_here(path, version, sizeof(version), limit, f))
			return false;
		if (version[0] == '\0')
			return fault_set(f, FAULT_SETTING, "'%s' says no version on this host", path);
		if (strcmp(version, tools->version) == 0) {
			log_debug("the server has the gitlab-runner of this host: %s", version);
			return true;
		}
		log_say("the server's gitlab-runner is another than this host's: '%s', not '%s'", tools->version, version);
	}
	if (!upload(t, fd, limit, f))
		return false;
	tools->runner = true;
	return true;
}

/* The same; what goes wrong is no reason to do without the job, but for a stop. */
static bool
put_runner(const struct ssh_target *t, struct ssh_tools *tools, struct limit limit, struct fault *f)
{
	if (bring(t, t->settings->runner_binary, tools, limit, f))
		return true;
	if (f->class == FAULT_STOPPED || sig_stopped())
		return limit_fault(f, FAULT_STOPPED, "stopped");
	log_warn("runner-binary: %s; the server keeps what it has", f->text);
	return true;
}

/* ---- all of it */

void
ready_tell_missing(const struct ssh_tools *tools)
{
	if (tools->git && tools->runner)
		return;
	log_note("the image has %s%s%s", tools->git ? "" : "no git (sources cannot be fetched)",
	    tools->git || tools->runner ? "" : ", ", tools->runner ? "" : "no gitlab-runner (no artifacts, no cache)");
}

static void
add_time(struct buf *times, const char *name, int64_t began_ms)
{
	buf_printf(times, ", %s %.1f", name, (double)(clock_ms() - began_ms) / 1000);
}

bool
ready_run(const struct ssh_target *t, struct ssh_tools *tools, struct limit limit, struct buf *times, struct fault *f)
{
	const struct settings *st = t->settings;
	int64_t began_ms = clock_ms();

	if (st->ready_command != NULL) {
		if (!run_command(t, limit, f))
			return false;
		add_time(times, "ready", began_ms);
	}
	began_ms = clock_ms();
	if (st->runner_binary != NULL) {
		if (!put_runner(t, tools, limit, f))
			return false;
		add_time(times, "runner", began_ms);
	}
	began_ms = clock_ms();
	if (st->prepare_script != NULL) {
		if (!run_file(t, limit, f))
			return false;
		add_time(times, "script", began_ms);
	}
	if ((!tools->git || !tools->runner) && (st->ready_command != NULL || st->prepare_script != NULL) &&
	    !ready_ask(t, false, limit, tools, f)) { /* they may have installed it */
		if (f->class == FAULT_STOPPED)
			return false;
		log_debug("%s", f->text);
	}
	ready_tell_missing(tools);
	return true;
}
