/* SPDX-License-Identifier: MIT */
/*
 * doctor_names.c - novajob doctor: does the cloud know what the settings name,
 * in the lines before the first section and in every section? See doctor.h.
 */
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "choices.h"
#include "doctor.h"
#include "json.h"
#include "settings_file.h"
#include "settings_rules.h"
#include "xalloc.h"

/* A name, or a list of names that count together. */
struct wanted {
	int setting;
	char *name;
	char *where; /* line of the settings file, variable, flag */
	bool base;   /* of all jobs: no section's, no image-map's */
};

struct names {
	struct doctor *d;
	struct wanted *v; /* owned */
	size_t len;
	struct strv zones; /* the cloud's */
	bool zones_known;
	json_t *flavors;   /* of base, as the cloud shows them */
};

/* Once each. */
static void
want(struct names *n, int setting, const char *name, const char *where, bool base)
{
	for (size_t i = 0; i < n->len; i++)
		if (n->v[i].setting == setting && strcmp(n->v[i].name, name) == 0)
			return;
	n->v = xreallocarray(n->v, n->len + 1, sizeof(*n->v));
	n->v[n->len++] = (struct wanted){ .setting = setting, .name = xstrdup(name), .where = xstrdup(where), .base = base };
}

/* A setting's value: name by name, but for groups, one of which has to open the port, and an image's properties. */
static void
want_all(struct names *n, int setting, const char *value, const char *where, bool base)
{
	auto_strv struct strv parts = STRV_INIT;

	if (setting == SETTING_image_map) {
		settings_map_images(value, &parts);
		setting = SETTING_image;
		base = false;
	} else if (setting == SETTING_flavor || setting == SETTING_network || setting == SETTING_availability_zone) {
		strv_split(&parts, value);
	} else if (value[0] != '\0') {
		strv_add(&parts, value);
	}
	for (size_t i = 0; i < parts.len; i++) {
		auto_strv struct strv one = STRV_INIT;

		if (setting == SETTING_network)
			choices_split_networks(parts.v[i], &one);
		else
			strv_add(&one, parts.v[i]);
		for (size_t k = 0; k < one.len; k++)
			want(n, setting, one.v[k], where, base);
	}
}

/* The fault of a name: where it stands is half of what to do. */
static void
tell_unknown(struct doctor *d, const struct wanted *w, const char *check, struct fault *f)
{
	(void)fault_wrap(f, "%s", w->where);
	doctor_tell_fault(d, check, f);
}

/* A new reference, NULL with a line said when there is none. */
static json_t *
show(struct doctor *d, const struct wanted *w, const char *kind, const char *check)
{
	json_t *o = NULL;
	struct fault f;

	if (os_show(&d->c, kind, w->name, doctor_limit(), &o, &f))
		return o;
	tell_unknown(d, w, check, &f);
	return NULL;
}

static void
check_flavor(struct names *n, const struct wanted *w)
{
	struct doctor *d = n->d;
	json_auto_t *o = show(d, w, "flavor", "flavor");
	int64_t cores = json_int(o, "vcpus", 0), ram = json_int(o, "ram", 0);

	if (o == NULL)
		return;
	if (w->base)
		(void)json_object_set(n->flavors, w->name, o);
	if (d->quota.cores >= 0 && cores > d->quota.cores)
		doctor_tell(d, DOCTOR_FAIL, "flavor", "%s has %" PRId64 " cores, the project's quota is %" PRId64
		    " in all: no such server can be made", w->name, cores, d->quota.cores);
	else if (d->quota.ram >= 0 && ram > d->quota.ram)
		doctor_tell(d, DOCTOR_FAIL, "flavor", "%s has %" PRId64 " MiB of memory, the project's quota is %" PRId64
		    " in all: no such server can be made", w->name, ram, d->quota.ram);
	else
		doctor_tell(d, DOCTOR_OK, "flavor", "%s is %s", w->name, json_str(o, "id"));
}

static void
check_network(struct names *n, const struct wanted *w)
{
	json_auto_t *o = show(n->d, w, "network", "network");

	if (o != NULL)
		doctor_tell(n->d, DOCTOR_OK, "network", "%s is %s", w->name, json_str(o, "id"));
}

static void
check_zone(struct names *n, const struct wanted *w)
{
	struct fault f;

	if (!n->zones_known && !os_zones(&n->d->c, doctor_limit(), &n->zones, &f)) {
		tell_unknown(n->d, w, "zone", &f);
		return;
	}
	n->zones_known = true;
	if (strv_has(&n->zones, w->name))
		doctor_tell(n->d, DOCTOR_OK, "zone", "%s is available", w->name);
	else
		doctor_tell(n->d, DOCTOR_FAIL, "zone", "%s: %s is no zone that is available: see 'openstack availability zone list --compute'",
		    w->where, w->name);
}

/* Is there room in the flavors for what the image wants? */
static void
check_image_size(struct names *n, const struct wanted *w, const char *id)
{
	struct doctor *d = n->d;
	json_auto_t *o = NULL;
	const char *name;
	json_t *flavor;
	struct fault f;

	if (!w->base || !os_show(&d->c, "image", id, doctor_limit(), &o, &f))
		return;
	json_object_foreach(n->flavors, name, flavor) {
		int64_t disk = json_int(flavor, "disk", 0), ram = json_int(flavor, "ram", 0);

		if (disk > 0 && json_int(o, "min_disk", 0) > disk) /* 0: as large as the image */
			doctor_tell(d, DOCTOR_FAIL, "image", "%s needs %" PRId64 " GiB of disk, flavor %s has %" PRId64
			    ": no such server can be made", w->name, json_int(o, "min_disk", 0), name, disk);
		else if (json_int(o, "min_ram", 0) > ram)
			doctor_tell(d, DOCTOR_FAIL, "image", "%s needs %" PRId64 " MiB of memory, flavor %s has %" PRId64
			    ": no such server can be made", w->name, json_int(o, "min_ram", 0), name, ram);
	}
}

static void
check_image(struct names *n, const struct wanted *w)
{
	auto_free char *id = NULL;
	size_t others;
	struct fault f;

	if (!os_image_find(&n->d->c, w->name, doctor_limit(), &id, &others, &f)) {
		tell_unknown(n->d, w, "image", &f);
		return;
	}
	if (others > 0)
		doctor_tell(n->d, DOCTOR_WARN, "image", "%zu images fit %s: %s, updated last, is taken", others + 1, w->name, id);
	else
		doctor_tell(n->d, DOCTOR_OK, "image", "%s is %s", w->name, id);
	check_image_size(n, w, id);
}

static void
check_floating(struct names *n, const struct wanted *w)
{
	json_auto_t *o = show(n->d, w, "network", "floating-network");

	if (o == NULL)
		return;
	if (json_is_true(json_object_get(o, "router:external")) || strcmp(json_str(o, "router:external"), "External") == 0)
		doctor_tell(n->d, DOCTOR_OK, "floating-network", "%s is %s", w->name, json_str(o, "id"));
	else
		doctor_tell(n->d, DOCTOR_FAIL, "floating-network", "%s: %s is no external network: see 'openstack network list --external'",
		    w->where, w->name);
}

/* Whom a rule lets in to the port by TCP, for people; NULL: nobody. *hosts: addresses, and not only servers of a group. */
static char *
lets_in(const json_t *rule, int64_t port, bool *hosts)
{
	const char *protocol = json_str(rule, "protocol"), *prefix = json_str(rule, "remote_ip_prefix");
	const char *group = json_str(rule, "remote_group_id"), *addresses = json_str(rule, "remote_address_group_id");
	bool six = strcmp(json_str(rule, "ethertype"), "IPv6") == 0 || strcmp(json_str(rule, "ether_type"), "IPv6") == 0;
	int64_t min = json_int(rule, "port_range_min", 0), max = json_int(rule, "port_range_max", 65535);

	*hosts = group[0] == '\0';
	if (strcmp(json_str(rule, "direction"), "ingress") != 0 || port < min || port > max ||
	    (protocol[0] != '\0' && strcmp(protocol, "tcp") != 0 && strcmp(protocol, "6") != 0))
		return NULL;
	if (group[0] != '\0')
		return xasprintf("servers of group %s", group);
	if (addresses[0] != '\0')
		return xasprintf("address group %s", addresses);
	return xstrdup(prefix[0] != '\0' ? prefix : six ? "all of IPv6" : "all of IPv4");
}

/* The sources, once each, from which a group lets in; false when the cloud does not know it. */
static bool
group_sources(struct doctor *d, const struct wanted *w, const char *name, struct strv *sources, bool *hosts)
{
	json_auto_t *o = NULL;
	const json_t *rule;
	struct fault f;
	size_t i;

	if (!os_show(&d->c, "security group", name, doctor_limit(), &o, &f)) {
		if (d->st->security_group != NULL || !w->base) /* who may not see the project's default asks for none */
			tell_unknown(d, w, "security-group", &f);
		return false;
	}
	doctor_tell(d, DOCTOR_OK, "security-group", "%s is %s", name, json_str(o, "id"));
	json_array_foreach(json_object_get(o, "rules"), i, rule) {
		bool rule_hosts;
		auto_free char *source = lets_in(rule, d->st->ssh_port, &rule_hosts);

		if (source == NULL)
			continue;
		*hosts = *hosts || rule_hosts;
		if (!strv_has(sources, source))
			strv_add(sources, source);
	}
	return true;
}

/* The groups of one value, and whether one of them opens the port of sshd, to whom. */
static void
check_groups(struct names *n, const struct wanted *w)
{
	const int64_t port = n->d->st->ssh_port;
	auto_strv struct strv names = STRV_INIT, sources = STRV_INIT;
	auto_buf struct buf from = BUF_INIT;
	bool hosts = false, known = false;

	strv_split(&names, w->name);
	for (size_t i = 0; i < names.len; i++)
		known = group_sources(n->d, w, names.v[i], &sources, &hosts) || known;
	if (!known)
		return;
	for (size_t i = 0; i < sources.len; i++)
		buf_printf(&from, "%s%s", i == 0 ? "" : ", ", sources.v[i]);
	if (sources.len == 0)
		doctor_tell(n->d, DOCTOR_WARN, "ssh-port", "no rule of %s lets TCP port %" PRId64 " in: "
		    "'openstack security group rule create --dst-port=%" PRId64 " GROUP' opens it", w->name, port, port);
	else if (!hosts)
		doctor_tell(n->d, DOCTOR_WARN, "ssh-port", "%s opens TCP port %" PRId64 " only to %s: this host has to be one of them",
		    w->name, port, buf_str(&from));
	else
		doctor_tell(n->d, DOCTOR_OK, "ssh-port", "%s opens TCP port %" PRId64 " to %s", w->name, port, buf_str(&from));
}

/* In this order: images are compared with flavors. */
static const struct {
	int setting;
	void (*check)(struct names *n, const struct wanted *w);
} checks[] = {
	{ SETTING_flavor, check_flavor },
	{ SETTING_network, check_network },
	{ SETTING_availability_zone, check_zone },
	{ SETTING_security_group, check_groups },
	{ SETTING_floating_network, check_floating },
	{ SETTING_image, check_image },
	{ SETTING_image_map, NULL }, /* each as an image */
};

/* A line of the settings file; those before the first section may have been overruled, and come from d->st. */
static bool
take_section(void *context, const struct settings_section *section, int setting, const char *value, const char *where,
    struct fault *f)
{
	(void)f;
	for (size_t i = 0; section != NULL && i < ARRAY_LEN(checks); i++)
		if (checks[i].setting == setting)
			want_all(context, setting, value, where, false);
	return true;
}

void
doctor_names(struct doctor *d)
{
	struct names n = { .d = d, .zones = STRV_INIT, .flavors = json_object() };
	bool may_miss;
	const char *file = settings_path(d->ctx->settings_file, &may_miss);
	struct fault f;

	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		auto_free char *value = settings_text(d->st, checks[i].setting);

		want_all(&n, checks[i].setting, value, settings_where(d->st, checks[i].setting), true);
	}
	if (d->st->security_group == NULL)
		want(&n, SETTING_security_group, "default", "the project's default", true);
	if (!settings_file_read(file, may_miss, take_section, &n, &f))
		doctor_tell_fault(d, "settings", &f); /* it was read a moment ago */
	for (size_t i = 0; i < ARRAY_LEN(checks); i++)
		for (size_t k = 0; k < n.len; k++)
			if (n.v[k].setting == checks[i].setting)
				checks[i].check(&n, &n.v[k]);
	for (size_t k = 0; k < n.len; k++) {
		free(n.v[k].name);
		free(n.v[k].where);
	}
	free(n.v);
	strv_free(&n.zones);
	json_decref(n.flavors);
}
