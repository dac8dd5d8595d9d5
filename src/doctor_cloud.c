/* SPDX-License-Identifier: MIT */
/* doctor_cloud.c - novajob doctor: what a job needs of the cloud; see doctor.h. */
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "choices.h"
#include "clock.h"
#include "doctor.h"
#include "json.h"
#include "openstack.h"
#include "sweeping.h"
#include "xalloc.h"

static struct limit
call_limit(void)
{
	return limit_in(DOCTOR_CALL_MS, STOP_AT_ONCE);
}

/* Credentials and what is left of the quota in one call. False: the cloud cannot be used at all. */
static bool
check_access(struct doctor *d)
{
	struct os_quota q;
	struct fault f;

	if (!os_quota(&d->c, call_limit(), &q, &f)) {
		doctor_tell_fault(d, "credentials", &f);
		return false;
	}
	doctor_tell(d, DOCTOR_OK, "credentials", "the cloud accepts them");
	d->instances = q.instances;
	if (q.instances < 0)
		doctor_tell(d, DOCTOR_OK, "quota", "no limit of instances is told");
	else if (q.instances_used >= q.instances)
		doctor_tell(d, DOCTOR_WARN, "quota", "all %" PRId64 " instances are in use: jobs wait up to busy-timeout", q.instances);
	else
		doctor_tell(d, DOCTOR_OK, "quota", "%" PRId64 " of %" PRId64 " instances in use", q.instances_used, q.instances);
	return true;
}

/* By the end of a fresh token: sweep judges by time, and a wrong clock makes it judge nothing. */
static void
check_clock(struct doctor *d)
{
	const struct os_servers none = OS_SERVERS_INIT;
	int64_t ends = 0;
	struct fault f;

	if (!os_token_expires(&d->c, call_limit(), &ends, &f))
		doctor_tell(d, DOCTOR_WARN, "clock", "cannot be compared with the cloud's: %s", f.text);
	else if (!sweeping_clock_ok(&none, ends, clock_unix()))
		doctor_tell(d, DOCTOR_FAIL, "clock", "it is wrong: a token of just now has ended %" PRId64
		    " s ago by it; sweep judges nothing by time until it is right (chronyd, timedatectl)", clock_unix() - ends);
	else
		doctor_tell(d, DOCTOR_OK, "clock", "does not disagree with the cloud's");
}

/* What the cloud knows of each name in the list. */
static void
check_list(struct doctor *d, const char *kind, const char *check, const struct strv *names)
{
	for (size_t i = 0; i < names->len; i++) {
		json_auto_t *o = NULL;
		struct fault f;

		if (os_show(&d->c, kind, names->v[i], call_limit(), &o, &f))
			doctor_tell(d, DOCTOR_OK, check, "%s is %s", names->v[i], json_str(o, "id"));
		else
			doctor_tell_fault(d, check, &f);
	}
}

/* Does the rule let TCP to the port in? From everywhere, or from the addresses *from then names. */
static bool
lets_in(const json_t *rule, int64_t port, const char **from)
{
	const char *protocol = json_str(rule, "protocol");
	int64_t min = json_int(rule, "port_range_min", 0), max = json_int(rule, "port_range_max", 65535);

	if (strcmp(json_str(rule, "direction"), "ingress") != 0 || json_str(rule, "remote_group_id")[0] != '\0' ||
	    (protocol[0] != '\0' && strcmp(protocol, "tcp") != 0 && strcmp(protocol, "6") != 0) || port < min || port > max)
		return false;
	*from = json_str(rule, "remote_ip_prefix");
	return true;
}

/* The groups themselves, and whether one of them opens the port of sshd. */
static void
check_groups(struct doctor *d)
{
	auto_strv struct strv names = STRV_INIT;
	auto_free char *range = NULL;
	bool is_open = false, is_known = false;

	strv_split(&names, d->st->security_group == NULL ? "default" : d->st->security_group);
	for (size_t i = 0; i < names.len; i++) {
		json_auto_t *o = NULL;
		const json_t *rule;
		const char *from;
		struct fault f;
		size_t n;

		if (!os_show(&d->c, "security group", names.v[i], call_limit(), &o, &f)) {
			if (d->st->security_group != NULL)
				doctor_tell_fault(d, "security-group", &f);
			continue;
		}
		is_known = true;
		doctor_tell(d, DOCTOR_OK, "security-group", "%s is %s", names.v[i], json_str(o, "id"));
		json_array_foreach(json_object_get(o, "rules"), n, rule)
			if (lets_in(rule, d->st->ssh_port, &from)) {
				is_open = true;
				free(range);
				range = xstrdup(from);
			}
	}
	if (is_known && !is_open)
		doctor_tell(d, DOCTOR_WARN, "ssh-port", "no rule of %s lets TCP port %" PRId64
		    " in from addresses: 'openstack security group rule create --dst-port=%" PRId64 " GROUP' opens it",
		    d->st->security_group == NULL ? "the group 'default'" : d->st->security_group, d->st->ssh_port, d->st->ssh_port);
	else if (is_known)
		doctor_tell(d, DOCTOR_OK, "ssh-port", "TCP port %" PRId64 " is open to %s", d->st->ssh_port,
		    range == NULL || range[0] == '\0' ? "all" : range);
}

static void
check_floating(struct doctor *d)
{
	json_auto_t *o = NULL;
	const json_t *external;
	struct fault f;

	if (d->st->floating_network == NULL)
		return;
	if (!os_show(&d->c, "network", d->st->floating_network, call_limit(), &o, &f)) {
		doctor_tell_fault(d, "floating-network", &f);
		return;
	}
	external = json_object_get(o, "router:external");
	if (json_is_true(external) || strcmp(json_str(o, "router:external"), "External") == 0)
		doctor_tell(d, DOCTOR_OK, "floating-network", "%s is %s", d->st->floating_network, json_str(o, "id"));
	else
		doctor_tell(d, DOCTOR_FAIL, "floating-network", "%s is no external network: see 'openstack network list --external'",
		    d->st->floating_network);
}

static void
check_image(struct doctor *d)
{
	auto_free char *id = NULL;
	size_t others;
	struct fault f;

	if (d->st->image == NULL)
		return;
	if (!os_image_find(&d->c, d->st->image, call_limit(), &id, &others, &f))
		doctor_tell_fault(d, "image", &f);
	else if (others > 0)
		doctor_tell(d, DOCTOR_WARN, "image", "%zu images fit %s: %s, updated last, is taken", others + 1, d->st->image, id);
	else
		doctor_tell(d, DOCTOR_OK, "image", "%s is %s", d->st->image, id);
}

static void
check_names(struct doctor *d)
{
	struct choices choices = CHOICES_INIT;
	auto_strv struct strv networks = STRV_INIT;

	choices_init(&choices, d->st);
	for (size_t i = 0; i < choices.networks.len; i++)
		choices_split_networks(choices.networks.v[i], &networks);
	if (d->st->flavor != NULL)
		check_list(d, "flavor", "flavor", &choices.flavors);
	if (d->st->network != NULL)
		check_list(d, "network", "network", &networks);
	choices_free(&choices);
	check_groups(d);
	check_floating(d);
	check_image(d);
}

void
doctor_cloud(struct doctor *d)
{
	if (!check_access(d))
		return;
	check_clock(d);
	check_names(d);
}
