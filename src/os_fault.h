/* SPDX-License-Identifier: MIT */
/*
 * os_fault.h - what the openstack client's stderr means: the one table that
 * maps its texts to fault classes and hints (openstack-cli.md §4).
 */
#ifndef NOVAJOB_OS_FAULT_H
#define NOVAJOB_OS_FAULT_H

#include <stdbool.h>

#include "fault.h"

/*
 * Fill f from what the client said on stderr while doing `what` ("create server x"). Unknown text is FAULT_TRANSIENT:
 * the caller's limit bounds the retries. Returns false.
 */
bool os_fault(struct fault *f, const char *what, const char *stderr_text);

/* Does a text of the cloud, a server's fault perhaps, say that something is used up? The hint, of static storage; NULL: no. */
const char *os_fault_busy(const char *text);

/* Does a text, of a fault or of the client, tell that the cloud limits the rate of requests? By its HTTP status: names and ids have
 * digits, too. */
bool os_fault_is_rate(const char *text);

/* Does this stderr tell of a failure at all? Commands that answer nothing (server delete) warn there, too. */
bool os_fault_seen(const char *stderr_text);

#endif
