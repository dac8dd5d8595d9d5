/* SPDX-License-Identifier: MIT */
/* os_fault.c - what the openstack client's stderr means; see os_fault.h. */
#include "os_fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "secret.h"
#include "text.h"
#include "xalloc.h"

struct row {
	const char *text;   /* a part of stderr, whatever its case; NULL = any */
	int from, to;       /* HTTP status, 0 = no condition */
	enum fault_class class;
	const char *hint;
};

#define CREDENTIALS "check the OS_* variables of the runner's service (or clouds.yaml) with 'openstack token issue'"
#define NAME(kind) "check the name with 'openstack " kind " list', as this project sees it"

#define TOO_MANY_REQUESTS 429

#define BROKEN "the openstack client is not installed as it should be: try 'openstack --version'"

/* The first row that fits counts. The service's own wording changes: only these parts are matched. */
static const struct row rows[] = {
	{ "Quota exceeded", 0, 0, FAULT_BUSY, "wait for other servers to go, or ask for a higher quota" },
	{ "exceeds quota", 0, 0, FAULT_BUSY, "wait for other servers to go, or ask for a higher quota" },
	{ "Maximum number of ports exceeded", 0, 0, FAULT_BUSY, "wait for other servers to go, or ask for a higher quota of ports" },
	{ "Maximum number of fixed IPs exceeded", 0, 0, FAULT_BUSY, "wait for other servers to go, or ask for a higher quota" },
	{ "No fixed IP addresses available", 0, 0, FAULT_BUSY, "wait for other servers to go, or take a larger network" },
	{ "No more IP addresses available", 0, 0, FAULT_BUSY, "wait for other addresses of the network to be released" },
	{ "No valid host was found", 0, 0, FAULT_BUSY, "the cloud has no room for this flavor now: try another flavor or zone" },
	{ NULL, TOO_MANY_REQUESTS, TOO_MANY_REQUESTS, FAULT_BUSY, "the cloud limits the rate of requests: fewer jobs at a time help" },
	{ "CERTIFICATE_VERIFY_FAILED", 0, 0, FAULT_SETTING, "name the CA's certificate in OS_CACERT" },
	{ "SSL exception", 0, 0, FAULT_SETTING, "check the scheme of OS_AUTH_URL and the certificate (OS_CACERT)" },
	{ "Application credentials cannot request a scope", 0, 0, FAULT_SETTING, "unset OS_PROJECT_* and OS_USERNAME beside an application credential" },
	{ "No password entered", 0, 0, FAULT_SETTING, CREDENTIALS },
	{ "Missing value", 0, 0, FAULT_SETTING, CREDENTIALS },
	{ "was not found.", 0, 0, FAULT_SETTING, "OS_CLOUD must name a cloud of clouds.yaml" }, /* Cloud X was not found. */
	{ "region not found", 0, 0, FAULT_SETTING, "check OS_REGION_NAME" },
	{ "is disabled because", 0, 0, FAULT_SETTING, "check OS_REGION_NAME and the services of the cloud" },
	{ "Could not find requested endpoint", 0, 0, FAULT_SETTING, "check OS_REGION_NAME and the services of the cloud" },
	{ "No Image found", 0, 0, FAULT_MISSING, NAME("image") },
	{ "No Flavor found", 0, 0, FAULT_MISSING, NAME("flavor") },
	{ "No flavor with", 0, 0, FAULT_MISSING, NAME("flavor") },
	{ "No Network found", 0, 0, FAULT_MISSING, NAME("network") },
	{ "No SecurityGroup found", 0, 0, FAULT_MISSING, NAME("security group") },
	{ "requested availability zone", 0, 0, FAULT_MISSING, "check the name with 'openstack availability zone list --compute'" },
	{ "Invalid key_name provided", 0, 0, FAULT_MISSING, "check key-pair with 'openstack keypair list' as the same user" },
	{ "is not a valid external network", 0, 0, FAULT_MISSING, "check the name with 'openstack network list --external'" },
	{ "is not reachable from subnet", 0, 0, FAULT_MISSING, "a router has to lead from the server's network to that one" },
	{ "The resource could not be found", 0, 0, FAULT_SETTING, "the cloud does not know the request: check OS_* and its services" },
	{ "No FloatingIP found", 0, 0, FAULT_CLOUD, "" },
	{ "More than one", 0, 0, FAULT_MISSING, "use an id instead of the name" },
	{ "Multiple possible networks found", 0, 0, FAULT_SETTING, "set network: the project sees several" },
	{ "No server with a name or ID", 0, 0, FAULT_TRANSIENT, "" }, /* also for 500 and resets: only a list is proof */
	{ "No Server found for", 0, 0, FAULT_TRANSIENT, "" },
	{ "Failed to discover available identity versions", 401, 499, FAULT_SETTING, CREDENTIALS },
	{ "Unable to establish connection", 0, 0, FAULT_TRANSIENT, "is the cloud's API reachable from this host?" },
	{ "Failed to discover available identity versions", 0, 0, FAULT_TRANSIENT, "is OS_AUTH_URL right, and reachable from this host?" },
	{ "timed out", 0, 0, FAULT_TRANSIENT, "the cloud's API does not answer in time" },
	{ "Retriable status code", 0, 0, FAULT_TRANSIENT, "" },
	{ NULL, 408, 408, FAULT_TRANSIENT, "" },
	{ NULL, 413, 413, FAULT_TRANSIENT, "" },
	{ NULL, 500, 599, FAULT_TRANSIENT, "the cloud's API is in trouble" },
	{ NULL, 401, 401, FAULT_SETTING, CREDENTIALS },
	{ NULL, 403, 403, FAULT_SETTING, "this user may not do that: ask for the role, or check the credentials" },
	{ NULL, 400, 499, FAULT_SETTING, "the cloud refuses the request as it stands: check the settings" },
	{ "usage: ", 0, 0, FAULT_SETTING, "this openstack client does not know the option: 5.5 to 10.5 are supported" },
	{ "unrecognized arguments", 0, 0, FAULT_SETTING, "this openstack client does not know the option: 5.5 to 10.5 are supported" },
	{ "is not an openstack command", 0, 0, FAULT_SETTING, "this openstack client lacks a command: 5.5 to 10.5 are supported" },
	{ "ModuleNotFoundError", 0, 0, FAULT_SETTING, BROKEN },
	{ "ImportError", 0, 0, FAULT_SETTING, BROKEN },
	{ "Can't open", 0, 0, FAULT_LOCAL, "" },
	{ "versions supported by client", 0, 0, FAULT_SETTING, "unset OS_COMPUTE_API_VERSION" },
	{ "default microversion", 0, 0, FAULT_SETTING, "unset OS_COMPUTE_API_VERSION" },
};

/* The HTTP status that the text names as "(HTTP 503)" or "…Exception: 503", else 0. */
static int
http_status(const char *text)
{
	static const char *const before[] = { "(HTTP ", "Exception: ", "Client Error: ", "Server Error: " };

	for (size_t i = 0; i < ARRAY_LEN(before); i++) {
		const char *at = strstr(text, before[i]);
		long status = at == NULL ? 0 : strtol(at + strlen(before[i]), NULL, 10);

		if (status >= 100 && status <= 599)
			return (int)status;
	}
	return 0;
}

/* The row for a text, NULL when none fits. */
static const struct row *
find(const char *text)
{
	int status = http_status(text);

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];

		if (r->text != NULL && strcasestr(text, r->text) == NULL)
			continue;
		if (r->from != 0 && (status < r->from || status > r->to))
			continue;
		return r;
	}
	return NULL;
}

bool
os_fault_seen(const char *stderr_text)
{
	return find(stderr_text) != NULL || strstr(stderr_text, "Failed to") != NULL;
}

const char *
os_fault_busy(const char *text)
{
	const struct row *r = find(text);

	return r == NULL || r->class != FAULT_BUSY ? NULL : r->hint;
}

bool
os_fault_is_rate(const char *text)
{
	return http_status(text) == TOO_MANY_REQUESTS;
}

/* The line of stderr that says most: the last one that is not empty and no client's own clean-up. The caller's. */
static char *
best_line(const char *text)
{
	const char *end = text + strlen(text);

	while (end > text) {
		const char *start;

		while (end > text && strchr(" \t\r\n", end[-1]) != NULL)
			end--;
		for (start = end; start > text && start[-1] != '\n'; start--)
			;
		if (end > start && strncmp(start, "Could not clean up", 18) != 0)
			return xstrndup(start, (size_t)(end - start) < 900 ? (size_t)(end - start) : 900);
		end = start;
	}
	return xstrdup("(openstack said nothing)");
}

bool
os_fault(struct fault *f, const char *what, const char *stderr_text)
{
	const struct row *r = find(stderr_text);
	auto_free char *hidden = secret_hide(stderr_text); /* all of it: a key has many lines */
	auto_free char *line = best_line(hidden);

	(void)fault_set(f, r == NULL ? FAULT_TRANSIENT : r->class, "cannot %s: %s", what, line);
	if (r != NULL && r->hint[0] != '\0')
		(void)fault_hint(f, "%s", r->hint);
	return false;
}
