/* SPDX-License-Identifier: MIT */
/* event.c - what happened, for machines; see event.h. */
#include "event.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "json.h"
#include "log.h"
#include "secret.h"
#include "text.h"
#include "xalloc.h"

#define JOURNAL      "/run/systemd/journal/socket"
#define JOURNAL_US   500000         /* for a journal that is behind */
#define TEXT_SIZE    ((size_t)1001) /* of a value, NUL included */
#define DIGITS       9              /* of seconds: a millisecond is exact up to eleven days */
#define BARE         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:,/@+-" /* stands without quotes */

static void
set(struct event *e, const char *key, json_t *value)
{
	if (e->fields == NULL)
		e->fields = json_object();
	(void)json_object_set_new(e->fields, key, value); /* fails with no memory only */
}

void
event_text(struct event *e, const char *key, const char *value)
{
	auto_free char *hidden = NULL;
	char safe[TEXT_SIZE];

	if (value == NULL || value[0] == '\0')
		return;
	hidden = secret_hide(value);
	text_one_line(safe, sizeof(safe), hidden);
	set(e, key, json_string(safe));
}

void
event_number(struct event *e, const char *key, int64_t n)
{
	set(e, key, json_integer((json_int_t)n));
}

void
event_seconds(struct event *e, const char *key, int64_t ms)
{
	set(e, key, json_real((double)ms / 1000));
}

void
event_free(struct event *e)
{
	json_decref(e->fields);
	*e = (struct event)EVENT_INIT;
}

/* A value as it stands in both forms, but that text without oddities has no quotes in the text form. */
static void
add_value(struct buf *b, const json_t *value, bool bare)
{
	const char *text = json_string_value(value);
	auto_free char *dump = NULL;

	if (bare && text != NULL && text[0] != '\0' && text_only(text, BARE)) {
		buf_puts(b, text);
		return;
	}
	dump = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(DIGITS));
	buf_puts(b, dump == NULL ? "\"?\"" : dump); /* no memory only */
}

static const char *
time_text(char *out, size_t size)
{
	time_t now = time(NULL);
	struct tm tm;

	if (gmtime_r(&now, &tm) == NULL || strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		out[0] = '\0'; /* beyond the calendar */
	return out;
}

/* The line, without its end. The text form of the journal has no time: the journal has its own. */
static void
make_line(struct buf *b, const struct event *e, bool as_json, bool timed)
{
	char when[32];
	const char *key;
	json_t *value;

	(void)time_text(when, sizeof(when));
	if (as_json)
		buf_printf(b, "{\"time\":\"%s\",\"event\":\"%s\"", when, e->name);
	else
		buf_printf(b, "%s%s%s", timed ? when : "", timed ? " " : "", e->name);
	json_object_foreach(e->fields, key, value) {
		buf_printf(b, as_json ? ",\"%s\":" : " %s=", key);
		add_value(b, value, !as_json);
	}
	if (as_json)
		buf_puts(b, "}");
}

/* ---- a file */

/* -1 with a fault; *is_socket: it is one. */
static int
open_file(const char *path, int make, bool *is_socket, struct fault *f)
{
	auto_fd int fd = open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | make, 0600);
	struct stat st;

	*is_socket = fd < 0 && errno == ENXIO;
	if (fd < 0 || fstat(fd, &st) != 0) {
		(void)fault_errno(f, FAULT_SETTING, "log-file: cannot open '%s'", path);
	} else if (!S_ISREG(st.st_mode)) {
		(void)fault_set(f, FAULT_SETTING, "log-file: '%s' is neither a file nor a socket", path);
	} else if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & S_IWOTH) != 0) {
		(void)fault_set(f, FAULT_SETTING, "log-file: '%s' is not ours alone to write: it is user id %u's, mode %04o", path,
		    st.st_uid, st.st_mode & 07777);
	} else {
		return steal_fd(&fd);
	}
	return -1;
}

/* All of it in one write, which a regular file takes whole, or not. */
static bool
to_file(int fd, const char *path, const struct buf *line, struct fault *f)
{
	ssize_t n;

	while ((n = write(fd, line->data, line->len)) < 0 && errno == EINTR)
		;
	if (n < 0)
		return fault_errno(f, FAULT_LOCAL, "log-file: cannot write to '%s'", path);
	return (size_t)n == line->len || fault_set(f, FAULT_LOCAL, "log-file: '%s' is full", path);
}

/* ---- the journal: its own protocol, a datagram of NAME=value lines (systemd's JOURNAL_NATIVE_PROTOCOL) */

/* Connected to it; -1 with a fault. */
static int
open_journal(const char *path, struct fault *f)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	const struct timeval wait = { .tv_usec = JOURNAL_US };
	auto_fd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (strlcpy(to.sun_path, path, sizeof(to.sun_path)) >= sizeof(to.sun_path)) {
		(void)fault_set(f, FAULT_SETTING, "log-file: '%s' is too long for a socket", path);
		return -1;
	}
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) != 0 ||
	    connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0) {
		(void)fault_errno(f, FAULT_SETTING, "log-file: cannot reach the journal at '%s'", path);
		return -1;
	}
	return steal_fd(&fd);
}

/* NOVAJOB_X=value for each field; no value has a newline, so that none needs the binary form. */
static void
add_fields(struct buf *b, const struct event *e)
{
	const char *key;
	json_t *value;

	json_object_foreach(e->fields, key, value) {
		buf_puts(b, "NOVAJOB_");
		for (const char *at = key; *at != '\0'; at++)
			buf_printf(b, "%c", *at >= 'a' && *at <= 'z' ? *at - 'a' + 'A' : *at);
		buf_puts(b, "=");
		if (json_is_string(value))
			buf_puts(b, json_string_value(value));
		else
			add_value(b, value, true);
		buf_puts(b, "\n");
	}
}

static bool
to_journal(int fd, const struct event *e, bool trouble, const struct buf *line, struct fault *f)
{
	auto_buf struct buf b = BUF_INIT;

	buf_printf(&b, "MESSAGE=%s\nPRIORITY=%d\nSYSLOG_IDENTIFIER=novajob\nNOVAJOB_EVENT=%s\n", buf_str(line),
	    trouble ? 4 : 6, e->name); /* of syslog(3): warning, informational */
	add_fields(&b, e);
	return send(fd, b.data, b.len, MSG_NOSIGNAL) == (ssize_t)b.len ||
	    fault_errno(f, FAULT_LOCAL, "log-file: the journal takes nothing");
}

/* ---- all of it */

/*
 * Open what the setting names; *is_journal: it is one. A path that is a socket is a journal's, another one than the host's.
 * make: O_CREAT, or 0 where a missing file is not to be made.
 */
static int
open_log(const char *where, int make, bool *is_journal, struct fault *f)
{
	int fd;

	*is_journal = strcmp(where, "journal") == 0;
	if (*is_journal)
		return open_journal(JOURNAL, f);
	fd = open_file(where, make, is_journal, f);
	return *is_journal ? open_journal(where, f) : fd;
}

/* May a missing file be made? Not by an operator, whose file the runner's user could not write to afterwards. */
static int
may_make(const struct settings *st)
{
	struct stat state;

	return st->state_dir == NULL || stat(st->state_dir, &state) != 0 || state.st_uid == geteuid() ? O_CREAT : 0;
}

bool
event_check(const struct settings *st, struct fault *f)
{
	bool is_journal;
	auto_fd int fd = st->log_file == NULL ? -1 : open_log(st->log_file, 0, &is_journal, f);
	auto_free char *dir = NULL;

	if (st->log_file == NULL || fd >= 0)
		return true;
	if (st->log_file[0] != '/' || access(st->log_file, F_OK) == 0)
		return false;
	dir = xasprintf("%.*s", (int)(strrchr(st->log_file, '/') + 1 - st->log_file), st->log_file);
	return access(dir, W_OK | X_OK) == 0 || fault_errno(f, FAULT_SETTING, "log-file: cannot make '%s'", st->log_file);
}

void
event_tell(const struct event *e, const struct settings *st, bool trouble)
{
	auto_buf struct buf line = BUF_INIT;
	auto_fd int fd = -1;
	bool is_journal, as_json = st->log_format != NULL && strcmp(st->log_format, "json") == 0;
	struct fault f;

	if (e->name == NULL || st->log_file == NULL)
		return;
	fd = open_log(st->log_file, may_make(st), &is_journal, &f);
	if (fd < 0) {
		log_debug("%s", f.text);
		return;
	}
	make_line(&line, e, as_json, !is_journal);
	if (!is_journal)
		buf_puts(&line, "\n");
	if (!(is_journal ? to_journal(fd, e, trouble, &line, &f) : to_file(fd, st->log_file, &line, &f)))
		log_debug("%s", f.text);
}
