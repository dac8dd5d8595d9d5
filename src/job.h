/* SPDX-License-Identifier: MIT */
/*
 * job.h - which job this is, from JOB_RESPONSE_FILE, validated once
 * (contract.md §1, design.md §2). Nothing here comes from job variables, but
 * with trust-variables, and then only when that file is not named; and the
 * runner id and slot in the server's name, which are decoration.
 */
#ifndef NOVAJOB_JOB_H
#define NOVAJOB_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"

#define JOB_KEY_MAX 96

struct job {
	bool known;              /* false: JOB_RESPONSE_FILE is set but empty (contract.md §1): nothing to do */
	int64_t id;              /* GitLab's job id, > 0 */
	int64_t project_id;      /* > 0 */
	char key[JOB_KEY_MAX];   /* "<instance>-<id>": the record's name and the server's property; [A-Za-z0-9.-] */
	char project[8192];      /* path of the project, made of [A-Za-z0-9._/-] ('?' otherwise), or ""; never cut, since
	                            rules go by it: GitLab's longest has 20 names of 255 characters */
	char ref[256];           /* branch or tag, same alphabet, or "" */
	bool is_protected;       /* a protected ref; false when not told */
	int64_t timeout_s;       /* the job's time-out, seconds, at most JOB_TIMEOUT_MAX_S; 3600 when not told */
	char image[512];         /* image.name: the author's wish; any characters; "" = none. Cut to 511 bytes, which is
	                            more than any image setting may have: a cut name never passes a check */
	char server_name[160];   /* gitlab-builder-<runner>-project-<id>-concurrent-<slot>-job-<id> */
};

#define JOB_TIMEOUT_MAX_S (INT64_C(366) * 86400)

/* When the job's server expires, UNIX time: after the job's time-out and what may follow it, at most max_life_ms from now. */
int64_t job_expires(const struct job *j, int64_t max_life_ms);

/*
 * Read the job. trust_variables as the setting. FAULT_LOCAL when the file cannot be read or is no such JSON (no
 * content of it is ever in the text: it holds the job's token), FAULT_SETTING when JOB_RESPONSE_FILE is not set and
 * variables are not trusted.
 */
bool job_read(struct job *j, bool trust_variables, struct fault *f) ATTR_MUST_USE;

#endif
