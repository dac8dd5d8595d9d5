/* SPDX-License-Identifier: MIT */
/*
 * keys.h - keys of one job alone: the client's and the server's host key, made
 * by ssh-keygen(1) in the job's directory, handed to the server in its
 * user-data, pinned in known_hosts, and destroyed with the job.
 */
#ifndef NOVAJOB_KEYS_H
#define NOVAJOB_KEYS_H

#include <stdbool.h>

#include "fault.h"
#include "record.h"
#include "settings.h"
#include "sig.h"

/* The file of the client's private key: private-key, or the job's own. The caller's. */
char *keys_identity(const struct settings *st, const struct state *state);

/* The file with the host keys that count. The caller's. */
char *keys_known_hosts(const struct state *state);

/* The file with user-data for `server create`, or NULL when the server gets none. The caller's. */
char *keys_user_data(const struct settings *st, const struct state *state);

/* The words that make one of the two keys: what keys_make runs, and `novajob plan` shows. */
void keys_keygen_words(const struct settings *st, const struct state *state, bool host, struct strv *argv);

/* Is the operator's user-data something we can hand on beside ours? FAULT_SETTING says what is wrong with the file. */
bool keys_check_user_data(const struct settings *st, struct fault *f) ATTR_MUST_USE;

/*
 * Make the keys, known_hosts (for the host key's name `alias`) and the user-data for a new server, in place of those of
 * an earlier try. *user_data: the file for `server create`, the caller's; NULL when the server gets none. FAULT_LOCAL,
 * FAULT_SETTING.
 */
bool keys_make(const struct settings *st, const struct state *state, const char *alias, struct limit limit,
    char **user_data, struct fault *f) ATTR_MUST_USE;

/*
 * Make another job's keys this one's, `alias` the host key's name from now on: of a server that changes hands. What `to`
 * had is replaced. FAULT_LOCAL.
 */
bool keys_move(const struct state *from, const struct state *to, const char *alias, struct fault *f) ATTR_MUST_USE;

/* Remove all of it; what is not there is fine. FAULT_LOCAL: a private key may be left. */
bool keys_destroy(const struct state *state, struct fault *f) ATTR_MUST_USE;

#endif
