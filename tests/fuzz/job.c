/* SPDX-License-Identifier: MIT */
/*
 * job.c - JOB_RESPONSE_FILE, which the job's author has a hand in: the key is
 * a safe file name that ends in the job's id, texts keep to their alphabet,
 * and no fault tells what the file holds.
 */
#include "job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"
#include "text.h"

#define ALNUM "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define SECRET "glcbt-SECRET" /* stands in the seeds and the dictionary */

static void
check_job(const struct job *j)
{
	char end[32];
	size_t len = strlen(j->key);

	CHECK(j->known && j->id > 0 && j->project_id > 0);
	(void)snprintf(end, sizeof(end), "-%" PRId64, j->id);
	CHECK(len > strlen(end) && strcmp(j->key + len - strlen(end), end) == 0);
	CHECK(text_only(j->key, ALNUM ".-") && strchr(ALNUM, j->key[0]) != NULL);
	CHECK(text_only(j->project, ALNUM "._/-?") && text_only(j->ref, ALNUM "._/-?"));
	CHECK(j->timeout_s > 0 && j->timeout_s <= JOB_TIMEOUT_MAX_S);
	CHECK(strlen(j->image) < sizeof(j->image));
	len = strlen(j->server_name);
	(void)snprintf(end, sizeof(end), "-job-%" PRId64, j->id);
	CHECK(strncmp(j->server_name, "gitlab-builder-", 15) == 0 && text_only(j->server_name, ALNUM "-"));
	CHECK(strcmp(j->server_name + len - strlen(end), end) == 0); /* not cut */
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct job j, again;
	struct fault f;

	CHECK(setenv("JOB_RESPONSE_FILE", fuzz_file(data, size), 1) == 0);
	if (!job_read(&j, false, &f)) {
		fuzz_check_fault(&f, FAULT_LOCAL);
		CHECK(strcasestr(f.text, SECRET) == NULL);
		return 0;
	}
	check_job(&j);
	CHECK(job_read(&again, true, &f)); /* whatever is trusted: the file was named */
	CHECK(strcmp(j.key, again.key) == 0 && strcmp(j.server_name, again.server_name) == 0);
	CHECK(strcmp(j.image, again.image) == 0 && j.timeout_s == again.timeout_s && j.is_protected == again.is_protected);
	return 0;
}
