/* SPDX-License-Identifier: MIT */
/* openstack.c - typed calls to the cloud; see openstack.h. */
#include "openstack.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "json.h"
#include "log.h"
#include "text.h"
#include "xalloc.h"

#define HEX_DASH "0123456789abcdefABCDEF-"
#define ADDRESS_CHARS "0123456789abcdefABCDEF.:"

/* An id as the API makes them; anything else in its place would reach an argv. */
static bool
is_uuid(const char *s)
{
	return strlen(s) == 36 && text_only(s, HEX_DASH) && s[8] == '-' && s[13] == '-';
}

/* A call with repeats: 1, 2, 4, 8, 8 … s (± 25 %) apart while the fault is transient. */
static bool
call(struct os_client *c, const struct strv *words, enum os_expect expect, const char *what, struct limit limit,
    struct os_answer *a, struct fault *f)
{
	for (int64_t pause = 1000;; pause = pause < 8000 ? pause * 2 : pause) {
		int64_t jitter = (int64_t)arc4random_uniform((uint32_t)pause / 2) - pause / 4;

		if (os_client_call(c, words, expect, false, what, limit_min(limit, OS_CALL_MS), a, f))
			return true;
		if (f->class != FAULT_TRANSIENT || limit_left_ms(limit) <= pause)
			return false;
		log_say("%s; trying again in %" PRId64 " s", f->text, pause / 1000);
		if (!limit_sleep(limit, pause + jitter))
			return limit_fault(f, FAULT_TRANSIENT, "cannot %s in time", what);
	}
}

static void
wish_words(const struct os_wish *w, struct strv *words)
{
	const struct {
		const char *option, *value;
	} options[] = {
		{ "--image", w->image },
		{ "--flavor", w->flavor },
		{ "--network", w->network },
		{ "--security-group", w->security_group },
		{ "--key-name", w->key_pair },
		{ "--property=novajob:owner", w->owner },
		{ "--property=novajob:job", w->job },
		{ "--property=novajob:project", w->project },
		{ "--property=novajob:try", w->try },
		{ "--property=novajob:host", w->host },
	};

	strv_add(words, "server");
	strv_add(words, "create");
	strv_add(words, "-f");
	strv_add(words, "json");
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (options[i].value != NULL && options[i].value[0] != '\0')
			strv_addf(words, "%s=%s", options[i].option, options[i].value);
	strv_addf(words, "--property=novajob:expires=%" PRId64, w->expires);
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

	wish_words(w, &words);
	ok = os_client_call(c, &words, OS_JSON, true, what, limit_min(limit, OS_CALL_MS * 2), &a, f);
	*unknown = a.unknown;
	if (!ok)
		return false;
	if (!is_uuid(json_str(a.json, "id"))) {
		*unknown = true;
		return fault_set(f, FAULT_TRANSIENT, "cannot %s: the answer has no id", what);
	}
	*id = xstrdup(json_str(a.json, "id"));
	return true;
}

bool
os_image_find(struct os_client *c, const char *image, struct limit limit, char **id, size_t *others, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	auto_free char *what = xasprintf("look for image '%s'", image);
	const char *newest;

	*others = 0;
	if (is_uuid(image)) {
		*id = xstrdup(image);
		return true;
	}
	strv_add_all(&words, (const char *const[]){ "image", "list", "-f", "json", "-c", "ID", "-c", "Name", "--status",
	    "active", "--sort", "updated_at:desc", NULL });
	strv_addf(&words, "--name=%s", image);
	if (!call(c, &words, OS_JSON, what, limit, &a, f))
		return false;
	newest = json_str(json_array_get(a.json, 0), "ID");
	if (!is_uuid(newest)) {
		(void)fault_set(f, FAULT_MISSING, "no active image is named '%s'", image);
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

			if (s != NULL && s[0] != '\0' && strlen(s) < 64 && text_only(s, ADDRESS_CHARS) &&
			    (strchr(s, ':') != NULL) == six && !strv_has(out, s))
				strv_add(out, s);
		}
	}
}

/* Fill s from list's or show's object; the keys differ. */
static void
take_server(const json_t *o, bool from_list, struct os_server *s)
{
	const json_t *p = json_object_get(o, from_list ? "Properties" : "properties");
	const json_t *networks = json_object_get(o, from_list ? "Networks" : "addresses");
	const char *errstr;

	s->id = xstrdup(json_str(o, from_list ? "ID" : "id"));
	s->name = xstrdup(json_str(o, from_list ? "Name" : "name"));
	s->status = xstrdup(json_str(o, from_list ? "Status" : "status"));
	s->task = xstrdup(json_str(o, from_list ? "Task State" : "OS-EXT-STS:task_state"));
	s->fault = xstrdup(json_str(json_object_get(o, "fault"), "message"));
	s->owner = xstrdup(json_str(p, "novajob:owner"));
	s->job = xstrdup(json_str(p, "novajob:job"));
	s->try = xstrdup(json_str(p, "novajob:try"));
	s->expires = strtonum(json_str(p, "novajob:expires"), 0, INT64_MAX, &errstr);
	take_addresses(networks, false, &s->addresses);
	take_addresses(networks, true, &s->addresses);
}

bool
os_server_list(struct os_client *c, const char *name_regex, struct limit limit, struct os_servers *list,
    struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;
	auto_free char *what = xasprintf("list servers '%s'", name_regex);
	size_t i;
	const json_t *o;

	os_servers_free(list);
	strv_add_all(&words, (const char *const[]){ "server", "list", "-n", "--long", "-f", "json", "-c", "ID", "-c",
	    "Name", "-c", "Status", "-c", "Task State", "-c", "Networks", "-c", "Properties", NULL });
	strv_addf(&words, "--name=%s", name_regex);
	if (!call(c, &words, OS_JSON, what, limit, &a, f))
		return false;
	if (!json_is_array(a.json))
		return fault_set(f, FAULT_TRANSIENT, "cannot %s: the answer is no list", what);
	list->v = xcalloc(json_array_size(a.json) + 1, sizeof(*list->v));
	json_array_foreach(a.json, i, o)
		if (is_uuid(json_str(o, "ID")))
			take_server(o, true, &list->v[list->len++]);
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
	if (!call(c, &words, OS_JSON, what, limit, &a, f))
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

	strv_add_all(&words, (const char *const[]){ "server", "delete", id, NULL });
	return os_client_call(c, &words, OS_NOTHING, false, what, limit_min(limit, OS_CALL_MS), &a, f);
}

bool
os_console(struct os_client *c, const char *id, int lines, struct limit limit, char **text, struct fault *f)
{
	auto_strv struct strv words = STRV_INIT;
	auto_answer struct os_answer a = OS_ANSWER_INIT;

	strv_add_all(&words, (const char *const[]){ "console", "log", "show", NULL });
	strv_addf(&words, "--lines=%d", lines);
	strv_add(&words, id);
	if (!os_client_call(c, &words, OS_TEXT, false, "read the console log", limit_min(limit, OS_CALL_MS), &a, f))
		return false;
	*text = xstrndup(buf_str(&a.text), a.text.len);
	return true;
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
