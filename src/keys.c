/* SPDX-License-Identifier: MIT */
/* keys.c - keys of one job alone; see keys.h. */
#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "proc.h"
#include "ssh.h"
#include "text.h"
#include "userdata.h"
#include "xalloc.h"

#define KEYGEN_MS      30000
#define FILE_MAX       ((size_t)48 * 1024) /* bytes: nova takes 64 KiB of base64 */
#define OUTPUT_MAX     ((size_t)16 * 1024)

/* Names in the job's directory. */
#define CLIENT_KEY     "id_ed25519"
#define HOST_KEY       "host_ed25519"
#define USER_DATA      "user-data"
#define KNOWN_HOSTS    "known_hosts"

char *
keys_identity(const struct settings *st, const struct state *state)
{
	return settings_keys_per_job(st) ? xasprintf("%s/" CLIENT_KEY, state->job) : xstrdup(st->private_key);
}

char *
keys_known_hosts(const struct state *state)
{
	return xasprintf("%s/" KNOWN_HOSTS, state->job);
}

char *
keys_user_data(const struct settings *st, const struct state *state)
{
	return settings_keys_per_job(st) ? xasprintf("%s/" USER_DATA, state->job) : xstrdup(st->user_data);
}

/* The whole file; empty b stays empty for an empty one. What root of a server runs or knows nobody else may write. */
static bool
read_file(const char *path, struct buf *b, struct fault *f)
{
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	ssize_t n = 1;

	if (fd < 0 || fstat(fd, &st) != 0)
		return fault_errno(f, FAULT_LOCAL, "cannot open '%s'", path);
	if (!S_ISREG(st.st_mode))
		return fault_set(f, FAULT_LOCAL, "'%s' is no regular file", path);
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 || (st.st_uid != 0 && st.st_uid != geteuid()))
		return fault_set(f, FAULT_LOCAL, "'%s' can be written by others (user %u, mode %04o): it must be root's or ours", path,
		    (unsigned int)st.st_uid, (unsigned int)(st.st_mode & 07777));
	while (n > 0 && b->len <= FILE_MAX) {
		n = read(fd, buf_room(b, 4096), 4096);
		if (n < 0)
			return fault_errno(f, FAULT_LOCAL, "cannot read '%s'", path);
		b->len += (size_t)n;
		b->data[b->len] = '\0';
	}
	return b->len <= FILE_MAX ||
	    fault_set(f, FAULT_LOCAL, "'%s' is larger than %zu KiB: the cloud takes no more", path, FILE_MAX / 1024);
}

/* A new file that only we can read. */
static bool
write_file(const char *path, const char *text, struct fault *f)
{
	size_t len = strlen(text);
	auto_fd int fd = -1;

	(void)unlink(path); /* of an earlier try; O_EXCL tells if it could not be */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, len) != (ssize_t)len || close(steal_fd(&fd)) != 0)
		return fault_errno(f, FAULT_LOCAL, "cannot write '%s'", path);
	return true;
}

static char *
key_path(const struct state *state, bool host)
{
	return xasprintf("%s/%s", state->job, host ? HOST_KEY : CLIENT_KEY);
}

void
keys_keygen_words(const struct settings *st, const struct state *state, bool host, struct strv *argv)
{
	auto_free char *path = key_path(state, host);

	strv_add_all(argv, (const char *const[]){ st->ssh_keygen, "-q", "-t", "ed25519", "-N", "", "-C", "novajob", "-f",
	    path, NULL });
}

/* One key pair: its private file, and the public half as one line in *public (the caller's). */
static bool
keygen(const struct settings *st, const struct state *state, bool is_host, struct limit limit, char **public,
    struct fault *f)
{
	auto_strv struct strv argv = STRV_INIT, env = STRV_INIT;
	auto_buf struct buf out = BUF_INIT, err = BUF_INIT, text = BUF_INIT;
	auto_free char *path = key_path(state, is_host);
	auto_free char *public_path = xasprintf("%s.pub", path);
	struct proc_spec spec = { .argv = &argv, .env = &env, .in = PROC_NULL, .out = PROC_PIPE, .err = PROC_PIPE };
	struct proc_result r;

	(void)unlink(path); /* ssh-keygen would ask before it replaces them */
	(void)unlink(public_path);
	keys_keygen_words(st, state, is_host, &argv);
	ssh_env(&env);
	if (!proc_run(&spec, NULL, OUTPUT_MAX, limit_min(limit, KEYGEN_MS), &out, &err, &r, f))
		return fault_wrap(f, "cannot make a key for the job");
	if (r.kind != PROC_EXITED || r.code != 0) {
		char said[300];

		text_one_line(said, sizeof(said), buf_str(&err));
		return fault_set(f, FAULT_LOCAL, "cannot make a key for the job: %s ended with %d: %s", st->ssh_keygen, r.code,
		    said);
	}
	if (!read_file(public_path, &text, f))
		return false;
	if (strncmp(buf_str(&text), "ssh-ed25519 ", 12) != 0)
		return fault_set(f, FAULT_LOCAL, "cannot make a key for the job: '%s' is no public key", public_path);
	*public = xstrndup(buf_str(&text), strcspn(buf_str(&text), "\n"));
	return true;
}

/* The operator's user-data, checked; *type as userdata_check says. */
static bool
read_theirs(const struct settings *st, struct buf *b, const char **type, struct fault *f)
{
	if (!read_file(st->user_data, b, f)) {
		f->class = FAULT_SETTING;
		return fault_wrap(f, "user-data");
	}
	return userdata_check(buf_str(b), b->len, settings_keys_per_job(st), st->user_data, type, f);
}

bool
keys_check_user_data(const struct settings *st, struct fault *f)
{
	auto_buf struct buf b = BUF_INIT;
	const char *type;

	if (st->user_data == NULL)
		return true;
	if (!read_theirs(st, &b, &type, f))
		return false;
	if (!settings_keys_per_job(st) || strcmp(st->key_delivery, "script") != 0)
		return true;
	(void)fault_set(f, FAULT_SETTING, "user-data (%s) cannot be joined with the script of key-delivery = script",
	    settings_where(st, SETTING_user_data));
	return fault_hint(f, "an image that reads both has cloud-init: key-delivery = cloud-config; else use prepare-script");
}

/* Ours, or ours and the operator's, as a file in the job's directory. */
static bool
write_user_data(const struct settings *st, const char *path, const struct userdata_keys *k, struct fault *f)
{
	bool as_script = strcmp(st->key_delivery, "script") == 0;
	auto_buf struct buf ours = BUF_INIT, theirs = BUF_INIT, both = BUF_INIT;
	const char *type = NULL;

	(as_script ? userdata_script : userdata_cloud_config)(&ours, k);
	if (st->user_data == NULL) {
		buf_puts(&both, buf_str(&ours));
	} else {
		if (!read_theirs(st, &theirs, &type, f))
			return false;
		userdata_join(&both, buf_str(&theirs), type, buf_str(&ours), as_script);
	}
	if (both.len > FILE_MAX)
		return fault_set(f, FAULT_SETTING, "user-data: '%s' with the job's keys is larger than %zu KiB", st->user_data,
		    FILE_MAX / 1024);
	return write_file(path, buf_str(&both), f);
}

bool
keys_make(const struct settings *st, const struct state *state, const char *alias, struct limit limit,
    char **user_data, struct fault *f)
{
	auto_free char *host_path = key_path(state, true);
	auto_free char *known_hosts = keys_known_hosts(state);
	auto_free char *client = NULL, *host = NULL, *line = NULL;
	auto_buf struct buf private = BUF_INIT;
	struct userdata_keys k = { .username = st->username };

	*user_data = keys_user_data(st, state);
	if (!keys_destroy(state, f)) /* an earlier try's server had others */
		return false;
	if (!settings_keys_per_job(st))
		return true;
	if (!keygen(st, state, false, limit, &client, f) || !keygen(st, state, true, limit, &host, f) ||
	    !read_file(host_path, &private, f))
		return false;
	line = xasprintf("%s %s\n", alias, host);
	k.client = client;
	k.host_public = host;
	k.host_private = buf_str(&private);
	return write_file(known_hosts, line, f) && write_user_data(st, *user_data, &k, f);
}

bool
keys_move(const struct state *from, const struct state *to, const char *alias, struct fault *f)
{
	static const char *const names[] = { CLIENT_KEY, CLIENT_KEY ".pub", HOST_KEY, HOST_KEY ".pub", USER_DATA };
	auto_free char *host_path = xasprintf("%s/" HOST_KEY ".pub", from->job);
	auto_free char *known_hosts = keys_known_hosts(to);
	auto_free char *line = NULL;
	auto_buf struct buf host = BUF_INIT;

	if (!read_file(host_path, &host, f))
		return false;
	line = xasprintf("%s %.*s\n", alias, (int)strcspn(buf_str(&host), "\n"), buf_str(&host));
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_free char *old = xasprintf("%s/%s", from->job, names[i]);
		auto_free char *new = xasprintf("%s/%s", to->job, names[i]);

		if (rename(old, new) != 0)
			return fault_errno(f, FAULT_LOCAL, "cannot rename '%s' to '%s'", old, new);
	}
	return write_file(known_hosts, line, f);
}

bool
keys_destroy(const struct state *state, struct fault *f)
{
	static const char *const names[] = { CLIENT_KEY, CLIENT_KEY ".pub", HOST_KEY, HOST_KEY ".pub", USER_DATA,
		KNOWN_HOSTS };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_free char *path = xasprintf("%s/%s", state->job, names[i]);

		if (unlink(path) != 0 && errno != ENOENT)
			return fault_errno(f, FAULT_LOCAL, "cannot remove '%s'", path);
	}
	return true;
}
