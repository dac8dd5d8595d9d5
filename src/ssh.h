/* SPDX-License-Identifier: MIT */
/*
 * ssh.h - the way into a server: the only file that spells `ssh` arguments
 * (ssh.c), what is run in the server, and how a new server is logged in to
 * (ssh_login.c). design.md §4 says why each is as it is.
 */
#ifndef NOVAJOB_SSH_H
#define NOVAJOB_SSH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"
#include "settings.h"
#include "sig.h"
#include "strv.h"

#define SSH_WORD_SIZE 33 /* 32 hex digits and NUL */

/* A server to log in to; everything is borrowed. */
struct ssh_target {
	const struct settings *settings; /* ssh, ssh_config, username, ssh_port, ssh_timeout, alive_timeout */
	const char *identity;            /* file of the private key */
	const char *address;             /* numeric */
	const char *known_hosts;         /* this job's file */
	const char *alias;               /* the name its host key has in there: the job's key */
	bool pinned;                     /* known_hosts has the key made for this server: nothing else is ever accepted */
	bool first;                      /* not pinned: accept an unknown host key; else strict */
	const char *control;             /* the socket of the job's shared connection (ssh_share.h), NULL = connect directly */
};

/* What a stage needs to talk to its wrapper. */
struct ssh_stage {
	char nonce[SSH_WORD_SIZE]; /* marks the status lines and the end of the output */
	char tag[SSH_WORD_SIZE];   /* stands in the environment of the script: LC_NOVAJOB_STAGE */
};

/* What a line on the status channel says. */
enum ssh_said {
	SSH_SAID_OTHER, /* not the wrapper: ssh itself, an rc file */
	SSH_SAID_START, /* number: the wrapper's process id */
	SSH_SAID_EXIT,  /* number: the script's exit status, 128 + signal when its shell was killed */
	SSH_SAID_SHORT, /* the script did not arrive whole; nothing was run */
	SSH_SAID_NOBASH,
	SSH_SAID_TERM,  /* the wrapper itself got TERM or HUP, which we never send it */
};

/* New random words. */
void ssh_stage_new(struct ssh_stage *s);

/* argv for running the stage's wrapper: it takes script_size bytes from stdin, at least, and runs them:
 * NUL bytes, and newlines at the end, are not counted. */
void ssh_stage_argv(struct strv *argv, const struct ssh_target *t, const struct ssh_stage *s, int64_t script_size);

/* argv for the connection at t->control itself, which lasts until it is ended, and runs nothing. */
void ssh_master_argv(struct strv *argv, const struct ssh_target *t);

/* argv for a look at the bastion of ssh-proxy-jump, which has to be set: through it to its own sshd, which says "SSH-…". */
void ssh_bastion_argv(struct strv *argv, const struct settings *st);

/* argv for ending the stage's processes: session of process id pid (0 = not known), grace in seconds from TERM to KILL. */
void ssh_stop_argv(struct strv *argv, const struct ssh_target *t, const struct ssh_stage *s, int64_t pid,
    int64_t grace_s);

/*
 * argv for a person: words run there as ssh(1) does it, joined by blanks, or without any the account's shell, on a
 * terminal if we are on one. Everything else is as for the stages.
 */
void ssh_person_argv(struct strv *argv, const struct ssh_target *t, char *const *words, int count);

/* The end mark, newline included, to out (RELAY_MARK_MAX bytes). */
void ssh_end_mark(char *out, size_t size, const struct ssh_stage *s);

/*
 * What a line (len bytes, a NUL behind them, without newline) says. *at: where the wrapper's words begin; what stands
 * before is of somebody who did not end his line, all of it for SSH_SAID_OTHER.
 */
enum ssh_said ssh_said(const struct ssh_stage *s, const char *line, size_t len, size_t *at, int64_t *number);

/* The environment ssh gets: PATH, HOME, USER, LOGNAME, locale; nothing of the job's, no agent, no credentials. */
void ssh_env(struct strv *env);

/* What a server has, as far as it was asked. */
struct ssh_tools {
	bool git, runner;   /* the account finds them in its PATH; runner: gitlab-runner */
	char machine[32];   /* what uname -m says */
	char version[200];  /* the first line of gitlab-runner --version, as one safe line; "" = not asked, or no answer */
};

/*
 * Log in for the first time: wait until one of the addresses answers, takes the key and has a shell, at most
 * settings->ssh_timeout and limit. *address becomes the one that did (the caller's), *tools what is there. Tells progress by log_say when
 * the reason to wait changes. FAULT_SSH says which way it failed; FAULT_SETTING for what no waiting mends.
 * With t->control the login is the job's shared connection, and stays; t->control becomes NULL where it cannot be shared.
 */
bool ssh_login(struct ssh_target *t, const struct strv *addresses, struct limit limit, char **address,
    struct ssh_tools *tools, struct fault *f) ATTR_MUST_USE;

/* argv for the first login's test command, which answers with the nonce and what is there; version: and with
 * gitlab-runner's, which has to be started for it. */
void ssh_login_argv(struct strv *argv, const struct ssh_target *t, const char *nonce, bool version);

/* Take the test command's answer apart; false when it is none of a server with bash. */
bool ssh_login_said(const char *out, const char *nonce, struct ssh_tools *tools);

/*
 * argv for keeping size bytes that come on stdin as the account's gitlab-runner, where ssh_stage_argv's scripts find it
 * first. Prints the nonce when it is in place, whole, and can be run; else nothing is changed there.
 */
void ssh_upload_argv(struct strv *argv, const struct ssh_target *t, const char *nonce, int64_t size);

#endif
