/* SPDX-License-Identifier: MIT */
/* json.c - Jansson with useful faults; see json.h. */
#include "json.h"

#include <string.h>

#include "text.h"
#include "xalloc.h"

json_t *
json_read(const char *data, size_t len, const char *what, struct fault *f)
{
	json_error_t e;
	json_t *root = json_loadb(data, len, JSON_REJECT_DUPLICATES, &e);

	if (root == NULL) {
		auto_free char *head = text_safe(data, len < 200 ? len : 200);

		/* not what Jansson found it near: a part of the text has lost the name it stood behind (secret.h) */
		(void)fault_set(f, FAULT_LOCAL, "%s is no valid JSON: %.*s at line %d, column %d, of: %s", what,
		    (int)strcspn(e.text, "'\""), e.text, e.line, e.column, head);
	}
	return root;
}

const char *
json_str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s == NULL ? "" : s;
}

int64_t
json_int(const json_t *o, const char *key, int64_t otherwise)
{
	const json_t *v = json_object_get(o, key);

	return json_is_integer(v) ? (int64_t)json_integer_value(v) : otherwise;
}

char *
json_text(const json_t *o)
{
	char *s = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);

	return s == NULL ? xstrdup("{}") : s; /* only out of memory, or a string that is no UTF-8: never made by us */
}

void
json_put(json_t *o, const char *key, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	if (json_object_set_new(o, key, json_string(value)) != 0)
		(void)json_object_set_new(o, key, json_string("?")); /* no UTF-8 */
}
