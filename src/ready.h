/* SPDX-License-Identifier: MIT */
/*
 * ready.h - from the first login to a server that is ready for the job: the
 * operator's ready-command, the host's gitlab-runner, prepare-script, and what
 * is missing there after all of it.
 */
#ifndef NOVAJOB_READY_H
#define NOVAJOB_READY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "fault.h"
#include "sig.h"
#include "ssh.h"

/*
 * Run the steps that are set, what they print to our stderr, and say in one line which tools the server lacks. tools: as
 * the first login found them; as they are then. times: what each step took is appended, as ", ready 4.2". Fails when
 * ready-command or prepare-script does (FAULT_CLOUD, FAULT_SSH), or told to stop: their processes are ended then. A
 * gitlab-runner that cannot be put there is a warning.
 */
bool ready_run(const struct ssh_target *t, struct ssh_tools *tools, struct limit limit, struct buf *times,
    struct fault *f) ATTR_MUST_USE;

/*
 * One ssh: does the server let us in, and what has it now? version: ask for gitlab-runner's, too, which has to be started
 * for it. FAULT_SSH says why not; nothing is tried again.
 */
bool ready_ask(const struct ssh_target *t, bool version, struct limit limit, struct ssh_tools *tools, struct fault *f)
    ATTR_MUST_USE;

/* Say in one line which tools are missing; nothing when none is. */
void ready_tell_missing(const struct ssh_tools *tools);

/* The text as a bash script, for which /dev/null is stdin: a command that reads does not eat what follows. */
void ready_script(struct buf *b, const char *text, size_t len);

/* The machine an ELF program is for, as uname -m names it, from its first bytes (20 are looked at); NULL when it is none. */
const char *ready_machine(const unsigned char *head, size_t len);

#endif
