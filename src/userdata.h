/* SPDX-License-Identifier: MIT */
/*
 * userdata.h - what a new server is told at its first boot: the job's keys as
 * cloud-config or as a script, joined with the operator's own user-data as
 * MIME multi-part (cloudinit.readthedocs.io, "User data formats", "Merging").
 */
#ifndef NOVAJOB_USERDATA_H
#define NOVAJOB_USERDATA_H

#include <stdbool.h>

#include "buf.h"
#include "fault.h"

/* Keys for a server; borrowed. Public ones are one line without newline. */
struct userdata_keys {
	const char *username;     /* whose login the client key opens */
	const char *client;       /* public */
	const char *host_private; /* with its newlines */
	const char *host_public;
};

/* The keys as cloud-config (JSON, which YAML takes), appended to b. */
void userdata_cloud_config(struct buf *b, const struct userdata_keys *k);

/* The keys as a shell script for images without cloud-init that run "#!" user-data, appended to b. */
void userdata_script(struct buf *b, const struct userdata_keys *k);

/*
 * Check the operator's user-data (len bytes; `path` for messages): a kind that cloud-init knows by its first line, and
 * with `keys` nothing that would contend with ours. *type: its MIME type (a constant), NULL when it is a multi-part of
 * its own. FAULT_SETTING.
 */
bool userdata_check(const char *text, size_t len, bool keys, const char *path, const char **type, struct fault *f)
    ATTR_MUST_USE;

/* The operator's text and ours (NUL-terminated both) as one multi-part, appended to b. theirs_type from userdata_check. */
void userdata_join(struct buf *b, const char *theirs, const char *theirs_type, const char *ours, bool ours_is_script);

#endif
