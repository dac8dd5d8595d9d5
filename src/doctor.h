/* SPDX-License-Identifier: MIT */
/*
 * doctor.h - what the parts of `novajob doctor` share: one line per check, ok,
 * warn or FAIL, with what to do. Nothing here creates or changes anything but
 * doctor_boot, which plays one whole job.
 */
#ifndef NOVAJOB_DOCTOR_H
#define NOVAJOB_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd.h"
#include "os_client.h"
#include "settings.h"

enum verdict { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

#define DOCTOR_CALL_MS INT64_C(30000) /* for one call of openstack, or of another program */

struct doctor {
	const struct settings *st;
	bool json;          /* one JSON object per line */
	const char *config; /* --config: gitlab-runner's config.toml; NULL = where it is by default */
	struct os_client c;
	int64_t instances;  /* the quota of them; -1 = not known, or no limit */
	size_t counts[3];   /* of each verdict so far */
};

/* One line on stdout: verdict, check and text (cut at 2000 bytes, made safe to print). */
void doctor_tell(struct doctor *d, enum verdict v, const char *check, const char *fmt, ...) ATTR_PRINTF(4, 5);

/* FAIL with the fault and what to do. */
void doctor_tell_fault(struct doctor *d, const char *check, const struct fault *f);

/*
 * Run a small program: *exit_code, and what it printed to stdout, or else to stderr (at most 64 KiB; the caller's). NULL
 * with a fault when it cannot be started, does not end in time, or is killed.
 */
char *doctor_output(const char *const *words, int *exit_code, struct fault *f);

/* The host: programs, state directory, user. */
void doctor_host(struct doctor *d);

/* Keys per job, or the private key against its key pair in the cloud. */
void doctor_keys(struct doctor *d);

/* The cloud: credentials, quota, clock, and every name the settings have. */
void doctor_cloud(struct doctor *d);

/* gitlab-runner: config.toml (contract.md §7), its unit, sweep's timer. */
void doctor_runner(struct doctor *d);

/* Play one whole job, its stages by this same program, and tell how long each took. What the stages say goes to stderr. */
void doctor_boot(struct doctor *d, const struct context *ctx);

#endif
