/* SPDX-License-Identifier: MIT */
/* pool_shape.c - what makes a server of the pool good for a job; see pool_shape.h. */
#include "pool_shape.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>

#include "json.h"
#include "keys.h"
#include "xalloc.h"

/* The settings a server is made by. */
static const int by_value[] = { SETTING_flavor, SETTING_network, SETTING_security_group, SETTING_availability_zone,
	SETTING_username, SETTING_ssh_port, SETTING_address, SETTING_properties, SETTING_description, SETTING_key_delivery,
	SETTING_config_drive, SETTING_ready_command, SETTING_owner };

/* FNV-1a of a file, with its length: the operator's own files change, nobody forges them. */
static bool
hash_file(const char *path, char *out, size_t size)
{
	auto_file FILE *file = fopen(path, "re");
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	unsigned char block[4096];
	size_t length = 0;
	size_t n;

	while (file != NULL && (n = fread(block, 1, sizeof(block), file)) > 0) {
		for (size_t i = 0; i < n; i++)
			hash = (hash ^ block[i]) * UINT64_C(0x100000001b3);
		length += n;
	}
	(void)snprintf(out, size, "%zu %016" PRIx64, length, hash); /* fits */
	return file != NULL && !ferror(file);
}

/* A program of 60 MiB is told by its size and time: reading it would take longer than the job is to wait. */
static bool
stamp_file(const char *path, char *out, size_t size)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return false;
	(void)snprintf(out, size, "%jd %jd.%09ld", (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec); /* fits */
	return true;
}

char *
pool_shape(const struct settings *st, struct fault *f)
{
	const struct {
		const char *name, *path;
		bool (*tell)(const char *path, char *out, size_t size);
	} files[] = {
		{ "user-data", st->user_data, hash_file },
		{ "prepare-script", st->prepare_script, hash_file },
		{ "runner-binary", st->runner_binary, stamp_file },
	};
	json_auto_t *o = json_object();

	for (size_t i = 0; i < ARRAY_LEN(by_value); i++) {
		auto_free char *text = settings_text(st, by_value[i]);

		json_put(o, setting_infos[by_value[i]].name, text);
	}
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char told[64];

		if (files[i].path == NULL)
			continue;
		if (!files[i].tell(files[i].path, told, sizeof(told))) {
			(void)fault_errno(f, FAULT_SETTING, "%s: cannot read '%s'", files[i].name, files[i].path);
			return NULL;
		}
		json_put(o, files[i].name, told);
	}
	return json_text(o);
}

bool
pool_can(const struct settings *st, struct fault *f)
{
	if (!settings_keys_per_job(st)) {
		(void)fault_set(f, FAULT_SETTING, "pool (%s) needs keys of its own for each server: keys = %s (%s)",
		    settings_where(st, SETTING_pool), st->keys, settings_where(st, st->key_pair == NULL ? SETTING_keys : SETTING_key_pair));
		return fault_hint(f, "set keys = per-job, or pool = 0");
	}
	if (st->floating_network == NULL)
		return true;
	(void)fault_set(f, FAULT_SETTING, "pool (%s): servers with a floating address (floating-network, %s) cannot be kept ready",
	    settings_where(st, SETTING_pool), settings_where(st, SETTING_floating_network));
	return fault_hint(f, "set pool = 0, or reach the servers without a floating address");
}

static bool
load_one(struct pool_wants *w, const struct settings_from *from, const char *name, struct strv *names, struct fault *f)
{
	struct settings_from this = *from;
	struct pool_want *want;

	w->v = xreallocarray(w->v, w->len + 1, sizeof(*w->v));
	want = &w->v[w->len++];
	*want = (struct pool_want){ .name = xstrdup(name), .st = SETTINGS_INIT };
	this.job = NULL;
	this.pool = w->len == 1 ? NULL : name;
	this.pools = names;
	if (!settings_load(&want->st, &this, f))
		return false;
	if (want->st.pool == 0)
		return true;
	if (!settings_complete(&want->st, f) || !keys_check_user_data(&want->st, f) || !pool_can(&want->st, f))
		return fault_wrap(f, "pool \"%s\"", name);
	want->shape = pool_shape(&want->st, f);
	return want->shape != NULL;
}

bool
pool_wants_load(struct pool_wants *w, const struct settings_from *from, struct fault *f)
{
	auto_strv struct strv names = STRV_INIT;

	if (!load_one(w, from, "default", &names, f))
		return false;
	for (size_t i = 0; i < names.len; i++)
		if (!load_one(w, from, names.v[i], NULL, f))
			return false;
	return true;
}

void
pool_wants_free(struct pool_wants *w)
{
	for (size_t i = 0; i < w->len; i++) {
		free(w->v[i].name);
		settings_free(&w->v[i].st);
		free(w->v[i].shape);
		free(w->v[i].image_id);
	}
	free(w->v);
	*w = (struct pool_wants)POOL_WANTS_INIT;
}
