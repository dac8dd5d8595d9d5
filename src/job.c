/* SPDX-License-Identifier: MIT */
/* job.c - which job this is; see job.h. */
#include "job.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"
#include "text.h"

#define DIGITS "0123456789"
#define ALNUM DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define PATH_LETTERS ALNUM "._/-"
#define INSTANCE_LETTERS ALNUM ".-"

#define MAX_FILE_BYTES (INT64_C(64) * 1024 * 1024)
#define MAX_INSTANCE 64
#define AFTER_JOB_S INT64_C(1500) /* a server outlives its job by: 5 min abandoned run, 5 min cleanup, 15 min */
#define DEFAULT_TIMEOUT_S 3600
#define READ_BYTES 65536

/* Copy s, with '?' for what is not a path's letter, cut at the size: for people only. */
static void
copy_path(char *out, size_t size, const char *s)
{
	(void)strlcpy(out, s, size); /* cut on purpose */
	for (char *at = out; *at != '\0'; at++)
		if (strchr(PATH_LETTERS, *at) == NULL)
			*at = '?';
}

/*
 * The GitLab server's host, lower case, with its port, as 12 hexadecimal digits: FNV-1a. It only keeps the records of a
 * handful of GitLab servers apart on one host; who could choose two hosts that collide owns both. So no cryptography.
 */
static void
hash_host(char out[13], const char *host, size_t len)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++) {
		hash ^= (uint64_t)tolower((unsigned char)host[i]);
		hash *= UINT64_C(0x100000001b3);
	}
	(void)snprintf(out, 13, "%012" PRIx64, hash & UINT64_C(0xffffffffffff)); /* always 12 */
}

/* host[:port] of https://user:password@host:port/path: the start, its length in *len. */
static const char *
url_host(const char *url, size_t *len)
{
	const char *at = strstr(url, "://");
	size_t n;

	at = at == NULL ? url : at + 3;
	n = strcspn(at, "/?#");
	for (size_t i = n; i > 0; i--)
		if (at[i - 1] == '@') {
			*len = n - i;
			return at + i;
		}
	*len = n;
	return at;
}

/* The job's key. uuid and url may be "". */
static bool
make_key(struct job *j, const char *uuid, const char *url, struct fault *f)
{
	char hash[13];
	const char *host;
	size_t len;

	if (uuid[0] != '\0' && isalnum((unsigned char)uuid[0]) && strlen(uuid) <= MAX_INSTANCE &&
	    text_only(uuid, INSTANCE_LETTERS)) {
		(void)snprintf(j->key, sizeof(j->key), "%s-%" PRId64, uuid, j->id); /* fits: 64 + 1 + 19 */
		return true;
	}
	host = url_host(url, &len);
	if (len == 0)
		return fault_set(f, FAULT_LOCAL,
		    "neither job_info.instance_uuid nor git_info.repo_url names the GitLab server");
	hash_host(hash, host, len);
	(void)snprintf(j->key, sizeof(j->key), "%s-%" PRId64, hash, j->id); /* fits */
	return true;
}

/* A number that only decorates: what is no short row of digits is 0. */
static const char *
decoration(const char *variable)
{
	const char *s = getenv(variable);

	return s == NULL || s[0] == '\0' || strlen(s) > 12 || !text_only(s, DIGITS) ? "0" : s;
}

static void
make_server_name(struct job *j)
{
	(void)snprintf(j->server_name, sizeof(j->server_name), /* fits: at most 116 */
	    "gitlab-builder-%s-project-%" PRId64 "-concurrent-%s-job-%" PRId64, decoration("CUSTOM_ENV_CI_RUNNER_ID"),
	    j->project_id, decoration("CUSTOM_ENV_CI_CONCURRENT_ID"), j->id);
}

static int64_t
sane_timeout(int64_t s)
{
	if (s <= 0)
		return DEFAULT_TIMEOUT_S;
	return s > JOB_TIMEOUT_MAX_S ? JOB_TIMEOUT_MAX_S : s;
}

static bool
read_file(const char *path, struct buf *b, struct fault *f)
{
	struct stat st;
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a FIFO must not hold us */

	if (fd < 0 || fstat(fd, &st) != 0)
		return fault_errno(f, FAULT_LOCAL, "cannot open JOB_RESPONSE_FILE '%s'", path);
	if (!S_ISREG(st.st_mode))
		return fault_set(f, FAULT_LOCAL, "JOB_RESPONSE_FILE '%s' is not a regular file", path);
	if (st.st_size > MAX_FILE_BYTES)
		return fault_set(f, FAULT_LOCAL, "JOB_RESPONSE_FILE '%s' is larger than 64 MiB", path);
	while (b->len <= MAX_FILE_BYTES) {
		ssize_t n = read(fd, buf_room(b, READ_BYTES), READ_BYTES);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fault_errno(f, FAULT_LOCAL, "cannot read JOB_RESPONSE_FILE '%s'", path);
		if (n == 0)
			break;
		b->len += (size_t)n;
	}
	return true;
}

/* json_read() would show the start of the text, and Jansson's own message the part around the error. */
static json_t *
parse(const struct buf *b, struct fault *f)
{
	json_error_t e;
	json_t *root = json_loadb(buf_str(b), b->len, JSON_REJECT_DUPLICATES, &e);

	if (root == NULL)
		(void)fault_set(f, FAULT_LOCAL, "no valid JSON: error %d at line %d, column %d of %zu bytes",
		    (int)json_error_code(&e), e.line, e.column, b->len);
	else if (!json_is_object(root))
		(void)fault_set(f, FAULT_LOCAL, "no JSON object");
	if (json_is_object(root))
		return root;
	json_decref(root);
	return NULL;
}

/*
 * The value at "a.b" or "a"; NULL when it, or a, is missing or null. False with a fault when it, or a, is of another
 * type than expected.
 */
static bool
member(json_t *root, const char *path, json_type type, const char *what, json_t **value, struct fault *f)
{
	size_t len = strcspn(path, ".");
	char name[64];
	json_t *o;

	(void)snprintf(name, sizeof(name), "%.*s", (int)len, path); /* our own constants: fits */
	o = json_object_get(root, name);
	*value = NULL;
	if (o == NULL || json_is_null(o))
		return true;
	if (path[len] == '.') {
		if (!json_is_object(o))
			return fault_set(f, FAULT_LOCAL, "'%s' is no object", name);
		return member(o, path + len + 1, type, what, value, f);
	}
	if (json_typeof(o) != type && !(type == JSON_TRUE && json_is_boolean(o)))
		return fault_set(f, FAULT_LOCAL, "'%s' is no %s", path, what);
	*value = o;
	return true;
}

/* An optional string: "" when it is not there. Borrowed from root. */
static bool
get_string(json_t *root, const char *path, const char **s, struct fault *f)
{
	json_t *value;

	*s = "";
	if (!member(root, path, JSON_STRING, "string", &value, f))
		return false;
	if (value != NULL)
		*s = json_string_value(value);
	return true;
}

/* A number that must be there, and positive. */
static bool
get_id(json_t *root, const char *path, int64_t *id, struct fault *f)
{
	json_t *value;

	if (!member(root, path, JSON_INTEGER, "whole number", &value, f))
		return false;
	if (value == NULL)
		return fault_set(f, FAULT_LOCAL, "'%s' is missing", path);
	*id = (int64_t)json_integer_value(value);
	if (*id <= 0)
		return fault_set(f, FAULT_LOCAL, "'%s' is %" PRId64 ": not positive", path, *id);
	return true;
}

static bool
from_json(struct job *j, json_t *root, struct fault *f)
{
	const char *uuid, *url, *text;
	json_t *value;

	if (!get_id(root, "id", &j->id, f) || !get_id(root, "job_info.project_id", &j->project_id, f) ||
	    !get_string(root, "job_info.instance_uuid", &uuid, f) || !get_string(root, "git_info.repo_url", &url, f) ||
	    !make_key(j, uuid, url, f))
		return false;
	if (!get_string(root, "job_info.project_full_path", &text, f))
		return false;
	if (strlen(text) >= sizeof(j->project))
		return fault_set(f, FAULT_LOCAL, "'job_info.project_full_path' has over %zu bytes", sizeof(j->project) - 1);
	copy_path(j->project, sizeof(j->project), text);
	if (!get_string(root, "git_info.ref", &text, f))
		return false;
	copy_path(j->ref, sizeof(j->ref), text);
	if (!member(root, "git_info.protected", JSON_TRUE, "true or false", &value, f))
		return false;
	j->is_protected = json_is_true(value);
	if (!member(root, "runner_info.timeout", JSON_INTEGER, "whole number", &value, f))
		return false;
	j->timeout_s = sane_timeout((int64_t)json_integer_value(value)); /* 0 for NULL */
	if (!get_string(root, "image.name", &text, f))
		return false;
	(void)strlcpy(j->image, text, sizeof(j->image)); /* cut: see job.h */
	return true;
}

static bool
from_file(struct job *j, const char *path, struct fault *f)
{
	auto_buf struct buf b = BUF_INIT;
	json_auto_t *root = NULL;

	if (!read_file(path, &b, f))
		return false;
	root = parse(&b, f);
	if (root == NULL || !from_json(j, root, f))
		return fault_wrap(f, "JOB_RESPONSE_FILE '%s'", path);
	return true;
}

/* A positive number from a job variable; with `otherwise` > 0 it may be missing. */
static bool
variable_number(const char *name, int64_t otherwise, int64_t *number, struct fault *f)
{
	const char *s = getenv(name);
	const char *wrong = NULL;

	*number = otherwise;
	if (otherwise > 0 && (s == NULL || s[0] == '\0'))
		return true;
	if (s == NULL)
		return fault_set(f, FAULT_LOCAL, "neither JOB_RESPONSE_FILE nor %s is set: which job is it?", name);
	*number = strtonum(s, 1, INT64_MAX, &wrong);
	if (wrong == NULL && !text_only(s, DIGITS)) /* strtonum takes leading blanks and a sign */
		wrong = "invalid";
	if (wrong != NULL)
		return fault_set(f, FAULT_LOCAL, "%s: number '%.40s' is %s", name, s, wrong);
	return true;
}

static bool
from_variables(struct job *j, struct fault *f)
{
	const char *host = getenv("CUSTOM_ENV_CI_SERVER_HOST");

	if (!variable_number("CUSTOM_ENV_CI_JOB_ID", 0, &j->id, f) ||
	    !variable_number("CUSTOM_ENV_CI_PROJECT_ID", 0, &j->project_id, f) ||
	    !variable_number("CUSTOM_ENV_CI_JOB_TIMEOUT", DEFAULT_TIMEOUT_S, &j->timeout_s, f))
		return false;
	j->timeout_s = sane_timeout(j->timeout_s);
	if (host == NULL || host[0] == '\0')
		return fault_set(f, FAULT_LOCAL,
		    "neither JOB_RESPONSE_FILE nor CUSTOM_ENV_CI_SERVER_HOST is set: which GitLab is it?");
	return make_key(j, "", host, f);
}

int64_t
job_expires(const struct job *j, int64_t max_life_ms)
{
	int64_t job_s = j->timeout_s + AFTER_JOB_S;

	return clock_unix() + (job_s < max_life_ms / 1000 ? job_s : max_life_ms / 1000);
}

bool
job_read(struct job *j, bool trust_variables, struct fault *f)
{
	const char *path = getenv("JOB_RESPONSE_FILE");

	*j = (struct job){ .known = false, .timeout_s = DEFAULT_TIMEOUT_S };
	if (path != NULL && path[0] == '\0')
		return true;
	if (path == NULL && !trust_variables) {
		(void)fault_set(f, FAULT_SETTING,
		    "JOB_RESPONSE_FILE is not set: it is gitlab-runner that names the job by it");
		return fault_hint(f, "for a try by hand, or a runner too old to set it: --trust-variables=yes");
	}
	if (path == NULL ? !from_variables(j, f) : !from_file(j, path, f))
		return false;
	make_server_name(j);
	j->known = true;
	return true;
}
