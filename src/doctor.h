/* SPDX-License-Identifier: MIT */
/*
 * doctor.h - what the parts of `novajob doctor` share: one line per check, ok,
 * warn or FAIL, with what to do. Nothing here creates or changes anything but
 * doctor_boot, which plays one whole job.
 *
 * Each text behind DOCTOR_WARN or DOCTOR_FAIL stands in novajob-doctor(7) as
 * well: tests/doctor.bats reads both.
 */
#ifndef NOVAJOB_DOCTOR_H
#define NOVAJOB_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd.h"
#include "openstack.h"
#include "settings.h"

enum verdict { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

struct doctor {
	const struct context *ctx;
	const struct settings *st; /* the context's */
	bool json;                 /* one JSON object per line */
	const char *config;        /* --config: gitlab-runner's config.toml; NULL = where it is by default */
	struct os_client c;
	bool cloud;                /* it can be asked: doctor_cloud() */
	struct os_quota quota;     /* -1: not known, or no limit */
	size_t counts[3];          /* of each verdict so far */
};

/* One line on stdout: verdict, check and text (cut at 2000 bytes, made safe to print). */
void doctor_tell(struct doctor *d, enum verdict v, const char *check, const char *fmt, ...) ATTR_PRINTF(4, 5);

/* FAIL with the fault and what to do. */
void doctor_tell_fault(struct doctor *d, const char *check, const struct fault *f);

/* For one call of openstack, or of another program. */
struct limit doctor_limit(void);

/*
 * Run a small program: *exit_code, and what it printed to stdout, or else to stderr (at most 64 KiB; the caller's). NULL
 * with a fault when it cannot be started, does not end in time, or is killed.
 */
char *doctor_output(const char *const *words, int *exit_code, struct fault *f);

/* The host: programs, state directory, user, the bastion. */
void doctor_host(struct doctor *d);

/* Keys per job, or the private key against its key pair in the cloud; the operator's user-data. */
void doctor_keys(struct doctor *d);

/* The cloud: credentials, quota, clock. False: it cannot be asked anything. */
bool doctor_cloud(struct doctor *d);

/* Every name of the cloud that the settings have, those of the file's sections too; the way in to sshd. */
void doctor_names(struct doctor *d);

/* gitlab-runner's config.toml (contract.md §7). */
void doctor_runner(struct doctor *d);

/* systemd's units: gitlab-runner's, and the timers of sweep and pool. */
void doctor_units(struct doctor *d);

/* Play one whole job, its stages by this same program, and tell how long each took. What the stages say goes to stderr. */
void doctor_boot(struct doctor *d);

#endif
