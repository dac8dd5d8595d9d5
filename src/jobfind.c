/* SPDX-License-Identifier: MIT */
/* jobfind.c - the job that an operator means; see jobfind.h. */
#include "jobfind.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "pool.h"
#include "text.h"
#include "xalloc.h"

/* The number behind the last dash of a key; 0: there is none. */
static int64_t
id_of(const char *key)
{
	const char *dash = strrchr(key, '-');
	const char *wrong = NULL;
	int64_t id = strtonum(dash == NULL ? "" : dash + 1, 1, INT64_MAX, &wrong);

	return wrong == NULL && text_only(dash + 1, "0123456789") ? id : 0;
}

static bool
is_meant(const char *key, const char *word)
{
	const char *dash = strrchr(key, '-');

	if (pool_is_key(key) || id_of(key) == 0)
		return false; /* a server of the pool is no job's */
	return strcmp(key, word) == 0 || strcmp(dash + 1, word) == 0;
}

/* Has the job nothing any more? What cannot be read may have. */
static bool
is_over(const char *dir, const char *key)
{
	auto_state struct state state = STATE_INIT;
	auto_record struct record r = RECORD_INIT;
	struct fault f;

	return state_open(&state, dir, key, false, &f) && record_read(&r, &state, &f) &&
	    (r.phase == PHASE_NONE || r.phase == PHASE_DELETED);
}

static bool
unknown(const char *dir, const char *word, struct fault *f)
{
	(void)fault_set(f, FAULT_SETTING, "no job '%.100s' is known on this host: '%s/jobs' has no record of it", word, dir);
	return fault_hint(f, "'novajob list' shows the jobs there are, by id and key; give --state-dir where the runner has another one");
}

static bool
ambiguous(const struct strv *keys, const char *word, struct fault *f)
{
	auto_buf struct buf b = BUF_INIT;

	for (size_t i = 0; i < keys->len; i++)
		buf_printf(&b, "%s%s", i == 0 ? "" : ", ", keys->v[i]);
	(void)fault_set(f, FAULT_SETTING, "job %.100s may be any of %s", word, buf_str(&b));
	return fault_hint(f, "give the whole of one of these");
}

/* The one key that is meant; the caller's. NULL with a fault. */
static char *
find_key(const char *dir, const char *word, struct fault *f)
{
	auto_strv struct strv all = STRV_INIT, found = STRV_INIT, live = STRV_INIT;

	state_keys(dir, &all);
	for (size_t i = 0; i < all.len; i++)
		if (is_meant(all.v[i], word))
			strv_add(&found, all.v[i]);
	for (size_t i = 0; found.len > 1 && i < found.len; i++)
		if (!is_over(dir, found.v[i]))
			strv_add(&live, found.v[i]);
	if (found.len == 1 || live.len == 1)
		return xstrdup(live.len == 1 ? live.v[0] : found.v[0]);
	(void)(found.len == 0 ? unknown(dir, word, f) : ambiguous(live.len > 1 ? &live : &found, word, f));
	return NULL;
}

bool
jobfind(struct jobfind *j, const char *dir, const char *word, struct fault *f)
{
	auto_state struct state top = STATE_INIT;
	struct stat about;

	if (!state_open(&top, dir, NULL, false, f))
		return stat(dir, &about) == 0 && about.st_uid != geteuid() ?
		    fault_hint(f, "run it as the user of the runner: user id %u", (unsigned int)about.st_uid) : false;
	j->key = find_key(dir, word, f);
	if (j->key == NULL)
		return false;
	j->id = id_of(j->key);
	return state_open(&j->state, dir, j->key, false, f) && record_read(&j->r, &j->state, f);
}

bool
jobfind_settings(struct jobfind *j, struct fault *f)
{
	if (j->r.resolved == NULL)
		return fault_set(f, FAULT_LOCAL, "job %s: its record tells no settings", j->key);
	return settings_from_json(&j->st, j->r.resolved, f) || fault_wrap(f, "job %s", j->key);
}

void
jobfind_free(struct jobfind *j)
{
	free(j->key);
	state_free(&j->state);
	record_free(&j->r);
	settings_free(&j->st);
	*j = (struct jobfind)JOBFIND_INIT;
}
