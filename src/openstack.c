/* SPDX-License-Identifier: MIT */
/* openstack.c - typed calls to the cloud; see openstack.h. */
#include "openstack.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "addresses.h"
#include "clock.h"
#include "json.h"
#include "log.h"
#include "text.h"
#include "xalloc.h"

#define LEAST_MS 500 /* in less no call is answered: what the last one said is told */
#define HEX_DASH "0123456789abcdefABCDEF-"

/* An id as the API makes them; anything else in its place would reach an argv. */
bool
os_is_id(const char *s)
{
	return strlen(s) == 36 && text_only(s, HEX_DASH) && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-';
}

/* A call with repeats: 1, 2, 4, 8, 8 … s (± 25 %) apart while the fault is transient, or the rate of requests limited. */
bool
os_read(struct os_client *c, const struct strv *words, enum os_expect expect, const char *what, struct limit limit,
    struct os_answer *a, struct fault *f)
{
	struct fault said = { .class = FAULT_NONE };

	for (int64_t pause = 1000;; pause = pause < 8000 ? pause * 2 : pause) {
		int64_t jitter = (int64_t)arc4random_uniform((uint32_t)pause / 2) - pause / 4;

		if (os_client_call(c, words, expect, false, what, limit, a, f))
			return true;
		if (said.class != FAULT_NONE && limit_over(limit) && !sig_stopped())
			*f = said; /* this one had no time to say more */
		if ((f->class != FAULT_TRANSIENT && f->class != FAULT_BUSY) || limit_left_ms(limit) <= pause + jitter + LEAST_MS)
			return false;
		log_say("%s; trying again in %" PRId64 " s", f->text, pause / 1000);
		said = *f;
		if (!limit_sleep(limit, pause + jitter))
			return sig_stopped() ? limit_fault(f, FAULT_TRANSIENT, "cannot %s", what) : false;
	}
}

void
os_create_words(const struct os_wish *w, struct strv *words)
{
	const struct {
		const char *option, *value;
	} options[] = {
		{ "--image", w->image },
		{ "--flavor", w->flavor },
		{ "--availability-zone", w->zone },
		{ "--key-name", w->key_pair },
		{ "--user-data", w->user_data },
		{ "--property=novajob:owner", w->owner },
		{ "--property=novajob:job", w->job },
		{ "--property=novajob:project", w->project },
		{ "--property=novajob:try", w->try },
		{ "--property=novajob:host", w->host },
	};

	const struct {
		const char *option;
		const struct strv *values;
	} lists[] = {
		{ "--network", w->networks },
		{ "--security-group", w->security_groups },
		{ "--property", w->properties },
	};

	if (w->description != NULL) /* older clients ask for 2.1, which has none (openstack-cli.md §6) */
		strv_add(words, "--os-compute-api-version=2.19");
	strv_add(words, "server");
	strv_add(words, "create");
	strv_add(words, "-f");
	strv_add(words, "json");
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (options[i].value != NULL && options[i].value[0] != '\0')
			strv_addf(words, "%s=%s", options[i].option, options[i].value);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (size_t n = 0; lists[i].values != NULL && n < lists[i].values->len; n++)
			strv_addf(words, "%s=%s", lists[i].option, lists[i].values->v[n]);
	if (w->description != NULL)
		strv_addf(words, "--description=%s", w->description);
	if (w->config_drive)
		strv_add(words, "--config-drive=true");
	strv_addf(words, "--property=novajob:expires=%" PRId64, w->expires);
	strv_addf(words, "--property=novajob:life=%" PRId64, w->expires - clock_unix());
	strv_add(words, w->name);
}

bool
os_server_create(struct os_client *c, const struct os_wish *w, struct limit limit, char **id, bool *unknown,
    struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	auto_free char *what = xasprintf("create server '%s'", w->name);
	bool ok;

	os_create_words(w, &words);
	ok = os_client_call(c, &words, OS_JSON, true, what, limit, &a, f);
	*unknown = a.unknown;
	if (!ok)
		return false;
	if (!os_is_id(json_str(a.json, "id"))) {
		*unknown = true;
		return fault_set(f, FAULT_TRANSIENT, "cannot %s: the answer has no id", what);
	}
	*id = xstrdup(json_str(a.json, "id"));
	return true;
}

void
os_image_words(const char *image, struct strv *words)
{
	auto_strv struct strv properties = STRV_INIT;

	strv_add_all(words, (const char *const[]){ "image", "list", "-f", "json", "-c", "ID", "-c", "Name", "--status", "active",
	    "--sort", "updated_at:desc", NULL });
	if (strchr(image, '=') == NULL) {
		strv_addf(words, "--name=%s", image);
		return;
	}
	strv_split(&properties, image);
	for (size_t i = 0; i < properties.len; i++)
		strv_addf(words, "--property=%s", properties.v[i]);
}

bool
os_image_find(struct os_client *c, const char *image, struct limit limit, char **id, size_t *others, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	auto_free char *what = xasprintf("look for image '%s'", image);
	const char *newest;

	*others = 0;
	if (os_is_id(image)) {
		*id = xstrdup(image);
		return true;
	}
	os_image_words(image, &words);
	if (!os_read(c, &words, OS_JSON, what, limit, &a, f))
		return false;
	newest = json_str(json_array_get(a.json, 0), "ID");
	if (!os_is_id(newest)) {
		(void)fault_set(f, FAULT_MISSING, strchr(image, '=') == NULL ? "no active image is named '%s'" :
		    "no active image has the properties '%s'", image);
		return fault_hint(f, "see 'openstack image list' for what this project can use");
	}
	*others = json_array_size(a.json) - 1;
	*id = xstrdup(newest);
	return true;
}

/* All addresses of {"net": ["a", "b"], …}; those of one family at a time. */
static void
take_addresses(const json_t *networks, bool six, struct strv *out)
{
	const char *name;
	json_t *list;

	json_object_foreach((json_t *)(uintptr_t)networks, name, list) {
		size_t i;
		const json_t *a;

		json_array_foreach(list, i, a) {
			const char *s = json_string_value(a);

			if (s != NULL && addresses_is_one(s) && (strchr(s, ':') != NULL) == six && !strv_has(out, s))
				strv_add(out, s);
		}
	}
}

/* "2026-11-23T17:44:11Z", also with +0000; 0 when it is no time. */
static int64_t
unix_time(const char *text)
{
	struct tm tm = { .tm_sec = 0 };

	return strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) == NULL ? 0 : (int64_t)timegm(&tm); /* the cloud's are all UTC */
}

/* Fill s from list's or show's object; the keys differ. */
static void
take_server(const json_t *o, bool from_list, struct os_server *s)
{
	const json_t *p = json_object_get(o, from_list ? "Properties" : "properties");
	const json_t *networks = json_object_get(o, from_list ? "Networks" : "addresses");
	const char *errstr;
	int64_t life = strtonum(json_str(p, "novajob:life"), 0, INT32_MAX, &errstr);

	s->id = xstrdup(json_str(o, from_list ? "ID" : "id"));
	s->name = xstrdup(json_str(o, from_list ? "Name" : "name"));
	s->status = xstrdup(json_str(o, from_list ? "Status" : "status"));
	s->task = xstrdup(json_str(o, from_list ? "Task State" : "OS-EXT-STS:task_state"));
	s->fault = xstrdup(json_str(json_object_get(o, "fault"), "message"));
	s->owner = xstrdup(json_str(p, "novajob:owner"));
	s->job = xstrdup(json_str(p, "novajob:job"));
	s->try = xstrdup(json_str(p, "novajob:try"));
	s->created = unix_time(json_str(o, from_list ? "Created At" : "created"));
	s->expires = strtonum(json_str(p, "novajob:expires"), 0, INT64_MAX, &errstr);
	if (s->created > 0 && life > 0) /* whatever clock the host had that asked for it */
		s->expires = s->created + life;
	take_addresses(networks, false, &s->addresses);
	take_addresses(networks, true, &s->addresses);
}

void
os_list_words(const char *name_regex, struct strv *words)
{
	strv_add_all(words, (const char *const[]){ "server", "list", "-n", "--long", "-f", "json", "-c", "ID", "-c", "Name", "-c",
	    "Status", "-c", "Task State", "-c", "Networks", "-c", "Properties", "-c", "Created At", NULL });
	strv_addf(words, "--name=%s", name_regex);
}

void
os_delete_words(const char *id, struct strv *words)
{
	strv_add_all(words, (const char *const[]){ "server", "delete", id, NULL });
}

static bool
list_servers(struct os_client *c, const char *name_regex, bool all_pages, struct limit limit, struct os_servers *list,
    struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	auto_free char *what = xasprintf("list servers '%s'", name_regex);
	size_t i;
	const json_t *o;

	os_servers_free(list);
	os_list_words(name_regex, &words);
	if (all_pages)
		strv_add(&words, "--limit=-1");
	if (!os_read(c, &words, OS_JSON, what, limit, &a, f))
		return false;
	if (!json_is_array(a.json))
		return fault_set(f, FAULT_TRANSIENT, "cannot %s: the answer is no list", what);
	list->v = xcalloc(json_array_size(a.json) + 1, sizeof(*list->v));
	json_array_foreach(a.json, i, o)
		if (os_is_id(json_str(o, "ID")))
			take_server(o, true, &list->v[list->len++]);
	return true;
}

bool
os_server_list(struct os_client *c, const char *name_regex, struct limit limit, struct os_servers *list,
    struct fault *f)
{
	return list_servers(c, name_regex, false, limit, list, f);
}

bool
os_server_list_all(struct os_client *c, const char *name_regex, struct limit limit, struct os_servers *list,
    struct fault *f)
{
	static const char *const one_page[] = { "5.*", "6.0.*", "4.*" }; /* versions that have to be asked for the others */
	bool ask = false;

	if (!os_client_version(c, limit, f))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(one_page); i++)
		ask = ask || fnmatch(one_page[i], c->version, 0) == 0;
	return list_servers(c, name_regex, ask, limit, list, f);
}

bool
os_token_expires(struct os_client *c, struct limit limit, int64_t *at, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;

	strv_add_all(&words, (const char *const[]){ "token", "issue", "-f", "json", "-c", "expires", NULL });
	if (!os_read(c, &words, OS_JSON, "ask for the token's end", limit, &a, f))
		return false;
	*at = unix_time(json_str(a.json, "expires"));
	return *at > 0 || fault_set(f, FAULT_TRANSIENT, "the cloud does not tell when its token ends");
}

void
os_show_words(const char *kind, const char *name, struct strv *words)
{
	auto_free char *kind_words = xstrdup(kind);
	char *rest = kind_words;
	const char *word;

	while ((word = strsep(&rest, " ")) != NULL)
		strv_add(words, word);
	strv_add_all(words, (const char *const[]){ "show", "-f", "json", name, NULL });
}

bool
os_show(struct os_client *c, const char *kind, const char *name, struct limit limit, json_t **o, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	auto_free char *what = xasprintf("show %s '%s'", kind, name);

	os_show_words(kind, name, &words);
	if (!os_client_call(c, &words, OS_JSON, false, what, limit, &a, f))
		return false;
	*o = steal_ptr(&a.json);
	return true;
}

bool
os_quota(struct os_client *c, struct limit limit, struct os_quota *q, struct fault *f)
{
	static const struct {
		const char *old, *new; /* names before and since 6.1 */
		size_t offset;
	} names[] = {
		{ "maxTotalInstances", "instances", offsetof(struct os_quota, instances) },
		{ "totalInstancesUsed", "instances_used", offsetof(struct os_quota, instances_used) },
		{ "maxTotalCores", "total_cores", offsetof(struct os_quota, cores) },
		{ "totalCoresUsed", "total_cores_used", offsetof(struct os_quota, cores_used) },
		{ "maxTotalRAMSize", "total_ram", offsetof(struct os_quota, ram) },
	};
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	size_t i;
	const json_t *o;

	*q = (struct os_quota){ .instances = -1, .instances_used = -1, .cores = -1, .cores_used = -1, .ram = -1 };
	strv_add_all(&words, (const char *const[]){ "limits", "show", "--absolute", "-f", "json", NULL });
	if (!os_client_call(c, &words, OS_JSON, false, "show the project's limits", limit, &a, f))
		return false;
	json_array_foreach(a.json, i, o)
		for (size_t n = 0; n < ARRAY_LEN(names); n++)
			if (strcmp(json_str(o, "Name"), names[n].old) == 0 || strcmp(json_str(o, "Name"), names[n].new) == 0)
				*(int64_t *)(void *)((char *)q + names[n].offset) = json_int(o, "Value", -1);
	return true;
}

bool
os_zones(struct os_client *c, struct limit limit, struct strv *zones, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	size_t i;
	const json_t *o;

	strv_add_all(&words, (const char *const[]){ "availability", "zone", "list", "--compute", "-f", "json", NULL });
	if (!os_client_call(c, &words, OS_JSON, false, "list the availability zones", limit, &a, f))
		return false;
	json_array_foreach(a.json, i, o)
		if (strcmp(json_str(o, "Zone Status"), "available") == 0)
			strv_add(zones, json_str(o, "Zone Name"));
	return true;
}

bool
os_keypair_public(struct os_client *c, const char *name, struct limit limit, char **key, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	auto_free char *what = xasprintf("show key pair '%s'", name);

	strv_add_all(&words, (const char *const[]){ "keypair", "show", "--public-key", name, NULL });
	if (!os_client_call(c, &words, OS_TEXT, false, what, limit, &a, f))
		return false;
	*key = xstrndup(buf_str(&a.text), a.text.len);
	return true;
}

bool
os_server_show(struct os_client *c, const char *id, struct limit limit, struct os_server *s, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	auto_free char *what = xasprintf("show server %s", id);

	os_server_free(s);
	strv_add_all(&words, (const char *const[]){ "server", "show", "-f", "json", id, NULL });
	if (!os_read(c, &words, OS_JSON, what, limit, &a, f))
		return false;
	take_server(a.json, false, s);
	return true;
}

bool
os_server_delete(struct os_client *c, const char *id, struct limit limit, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	auto_free char *what = xasprintf("delete server %s", id);

	os_delete_words(id, &words);
	return os_client_call(c, &words, OS_NOTHING, false, what, limit, &a, f);
}

bool
os_server_set(struct os_client *c, const char *id, const char *name, const struct strv *properties, struct limit limit,
    struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	auto_free char *what = name == NULL ? xasprintf("set properties of server %s", id) :
	    xasprintf("rename server %s to '%s'", id, name);

	strv_add_all(&words, (const char *const[]){ "server", "set", NULL });
	if (name != NULL)
		strv_addf(&words, "--name=%s", name);
	for (size_t i = 0; i < properties->len; i++)
		strv_addf(&words, "--property=%s", properties->v[i]);
	strv_add(&words, id);
	return os_read(c, &words, OS_NOTHING, what, limit, &a, f);
}

bool
os_console(struct os_client *c, const char *id, int lines, struct limit limit, char **text, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;

	strv_add_all(&words, (const char *const[]){ "console", "log", "show", NULL });
	strv_addf(&words, "--lines=%d", lines);
	strv_add(&words, id);
	if (!os_client_call(c, &words, OS_TEXT, false, "read the console log", limit, &a, f))
		return false;
	*text = xstrndup(buf_str(&a.text), a.text.len);
	return true;
}

void
os_floating_create_words(const char *network, const char *description, struct strv *words)
{
	strv_add_all(words, (const char *const[]){ "floating", "ip", "create", "-f", "json", NULL });
	strv_addf(words, "--description=%s", description);
	strv_add(words, network);
}

void
os_floating_attach_words(const char *server, const char *address, struct strv *words)
{
	strv_add_all(words, (const char *const[]){ "server", "add", "floating", "ip", server, address, NULL });
}

void
os_floating_list_words(struct strv *words)
{
	strv_add_all(words, (const char *const[]){ "floating", "ip", "list", "--long", "-f", "json", "-c", "ID", "-c",
	    "Floating IP Address", "-c", "Port", "-c", "Description", NULL });
}

void
os_floating_delete_words(const char *id, struct strv *words)
{
	strv_add_all(words, (const char *const[]){ "floating", "ip", "delete", id, NULL });
}

/* Of create's or list's object; false when it is none that could be used. */
static bool
take_floating(const json_t *o, bool from_list, struct os_floating *fip)
{
	const char *id = json_str(o, from_list ? "ID" : "id");
	const char *address = json_str(o, from_list ? "Floating IP Address" : "floating_ip_address");

	if (!os_is_id(id) || !addresses_is_one(address))
		return false;
	fip->id = xstrdup(id);
	fip->address = xstrdup(address);
	fip->description = xstrdup(json_str(o, from_list ? "Description" : "description"));
	fip->attached = json_str(o, from_list ? "Port" : "port_id")[0] != '\0';
	return true;
}

bool
os_floating_create(struct os_client *c, const char *network, const char *description, struct limit limit,
    struct os_floating *fip, bool *unknown, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	auto_free char *what = xasprintf("allocate a floating address of '%s'", network);
	bool ok;

	os_floating_free(fip);
	os_floating_create_words(network, description, &words);
	ok = os_client_call(c, &words, OS_JSON, true, what, limit, &a, f);
	*unknown = a.unknown;
	if (!ok || take_floating(a.json, false, fip))
		return ok;
	*unknown = true;
	return fault_set(f, FAULT_TRANSIENT, "cannot %s: the answer has no id or no address", what);
}

bool
os_floating_attach(struct os_client *c, const char *server, const char *address, struct limit limit, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	auto_free char *what = xasprintf("attach floating address %s", address);

	os_floating_attach_words(server, address, &words);
	return os_read(c, &words, OS_NOTHING, what, limit, &a, f);
}

bool
os_floating_list(struct os_client *c, struct limit limit, struct os_floatings *list, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	size_t i;
	const json_t *o;

	os_floatings_free(list);
	os_floating_list_words(&words);
	if (!os_read(c, &words, OS_JSON, "list floating addresses", limit, &a, f))
		return false;
	if (!json_is_array(a.json))
		return fault_set(f, FAULT_TRANSIENT, "cannot list floating addresses: the answer is no list");
	list->v = xcalloc(json_array_size(a.json) + 1, sizeof(*list->v));
	json_array_foreach(a.json, i, o)
		if (take_floating(o, true, &list->v[list->len]))
			list->len++;
	return true;
}

bool
os_floating_delete(struct os_client *c, const char *id, struct limit limit, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	auto_free char *what = xasprintf("release floating address %s", id);

	os_floating_delete_words(id, &words);
	return os_client_call(c, &words, OS_NOTHING, false, what, limit, &a, f);
}

void
os_server_free(struct os_server *s)
{
	char *const parts[] = { s->id, s->name, s->status, s->task, s->fault, s->owner, s->job, s->try };

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		free(parts[i]);
	strv_free(&s->addresses);
	*s = (struct os_server)OS_SERVER_INIT;
}

void
os_servers_free(struct os_servers *list)
{
	for (size_t i = 0; i < list->len; i++)
		os_server_free(&list->v[i]);
	free(list->v);
	*list = (struct os_servers)OS_SERVERS_INIT;
}

void
os_floating_free(struct os_floating *fip)
{
	free(fip->id);
	free(fip->address);
	free(fip->description);
	*fip = (struct os_floating)OS_FLOATING_INIT;
}

void
os_floatings_free(struct os_floatings *list)
{
	for (size_t i = 0; i < list->len; i++)
		os_floating_free(&list->v[i]);
	free(list->v);
	*list = (struct os_floatings)OS_FLOATINGS_INIT;
}
