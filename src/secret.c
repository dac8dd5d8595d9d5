/* SPDX-License-Identifier: MIT */
/* secret.c - secrets hidden in text; see secret.h. */
#include "secret.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "util.h"

#define HIDDEN     "***"
#define LETTERS    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define NAME       LETTERS "_-"
#define BASE64     LETTERS "+/="
#define BASE64URL  LETTERS "_-="
#define QUOTES     "\"'"
#define BLANKS     " \t"
#define ENDS_VALUE " \t\n,;&\"')]}>|" /* of a value without quotes */

#define OWN_MIN    ((size_t)6)   /* a shorter password would hide half of the prose */
#define OWN_MAX    ((size_t)16)  /* variables looked at */
#define TOKEN_MIN  ((size_t)16)
#define BLOB_MIN   ((size_t)160) /* longer than any path or public ed25519 key; a job's user-data has thousands */
#define HEAD_MAX   ((size_t)64)  /* of "-----BEGIN … PRIVATE KEY-----" */

/* Ends of names whose values are hidden, whatever their case. */
static const struct {
	const char *end;
	bool whole_line; /* the value has blanks */
} names[] = {
	{ "password", false }, { "passwd", false }, { "passphrase", false }, { "adminpass", false }, { "admin_pass", false },
	{ "secret", false }, { "secret_key", false }, { "access_key", false }, { "token", false }, { "user_data", false }, { "userdata", false },
	{ "authorization", true },
};

/* Ends of the operator's variables OS_…. */
static const char *const variables[] = { "PASSWORD", "PASSCODE", "SECRET", "TOKEN" };

struct own {
	const char *value[OWN_MAX]; /* into the environment */
	size_t len;
};

/* What is to become of the text at one place: so much stays, so much behind it is hidden. Both 0: nothing to do here. */
struct find {
	size_t keep, hide;
};

static bool
ends_with(const char *s, size_t len, const char *end)
{
	size_t n = strlen(end);

	return len >= n && strncasecmp(s + len - n, end, n) == 0;
}

static void
own_collect(struct own *o)
{
	o->len = 0;
	for (char **e = environ; e != NULL && *e != NULL && o->len < OWN_MAX; e++) {
		size_t name = strcspn(*e, "=");

		if (strncmp(*e, "OS_", 3) != 0 || (*e)[name] == '\0' || strlen(*e + name + 1) < OWN_MIN)
			continue;
		for (size_t i = 0; i < ARRAY_LEN(variables); i++)
			if (ends_with(*e, name, variables[i])) {
				o->value[o->len++] = *e + name + 1;
				break;
			}
	}
}

/* One of our own secrets, or as much of it as the text still has. The longest counts: one may begin with another. */
static size_t
own_at(const struct own *o, const char *at, size_t left)
{
	size_t best = 0;

	for (size_t i = 0; i < o->len; i++) {
		size_t n = strlen(o->value[i]);

		n = n < left ? n : left;
		if (n >= OWN_MIN && n > best && memcmp(at, o->value[i], n) == 0)
			best = n;
	}
	return best;
}

/* A Fernet token of keystone, or base64 that is too long for anything but data. */
static size_t
blob_at(const char *at)
{
	size_t n = strncmp(at, "gAAAAA", 6) == 0 ? strspn(at, BASE64URL) : 0;

	if (n >= TOKEN_MIN)
		return n;
	n = strspn(at, BASE64);
	return n >= BLOB_MIN ? n : 0;
}

/* "-----BEGIN … PRIVATE KEY-----" up to its end, or that of the text. */
static size_t
pem_at(const char *at, size_t left)
{
	size_t head = left < HEAD_MAX ? left : HEAD_MAX;
	const char *end;

	if (strncmp(at, "-----BEGIN ", 11) != 0 || memmem(at, head, "PRIVATE KEY-----", 16) == NULL)
		return 0;
	end = strstr(at, "-----END ");
	end = end == NULL ? NULL : strstr(end + 9, "-----");
	return end == NULL ? left : (size_t)(end + 5 - at);
}

/* "://user:password@". */
static struct find
url_at(const char *at)
{
	size_t n, colon;
	struct find f = { 0, 0 };

	if (strncmp(at, "://", 3) != 0)
		return f;
	n = strcspn(at + 3, "/?#<> \t\n" QUOTES) + 3;
	while (n > 3 && at[n - 1] != '@')
		n--;
	colon = strcspn(at + 3, ":") + 3;
	if (n > 3 && colon + 1 < n - 1)
		f = (struct find){ colon + 1, n - 1 - (colon + 1) };
	return f;
}

/* How long is the value in quotes that begins at `at`? Its end is a quote with as many backslashes as the first had. */
static size_t
quoted_len(const char *at, char quote, size_t slashes)
{
	size_t seen = 0;

	for (size_t i = 0; at[i] != '\0' && at[i] != '\n'; i++) {
		if (at[i] == quote && (slashes == 0 ? seen % 2 == 0 : seen <= slashes))
			return i - (slashes == 0 ? 0 : seen);
		seen = at[i] == '\\' ? seen + 1 : 0;
	}
	return strcspn(at, "\n"); /* cut off */
}

/* From behind a name to its value: over the name's quote, the colon, and what opens the value. 0: it has none. */
static size_t
to_value(const char *at)
{
	size_t n = strspn(at, "\\");

	n += at[n] != '\0' && strchr(QUOTES, at[n]) != NULL ? 1 : 0;
	n += strspn(at + n, BLANKS);
	if (at[n] == '\0' || strchr(":=|", at[n]) == NULL)
		return 0;
	n += strspn(at + n, ":=|" BLANKS "["); /* a list of one, too */
	if ((at[n] == 'b' || at[n] == 'u') && at[n + 1] != '\0' && strchr(QUOTES, at[n + 1]) != NULL)
		n++; /* b'…' of Python */
	return n;
}

/* A name and what is behind it. */
static struct find
named_at(const char *at)
{
	size_t name = strspn(at, NAME), skip, slashes, n;
	struct find f = { 0, 0 };
	bool is_ours = false, whole_line = false;

	for (size_t i = 0; i < ARRAY_LEN(names) && !is_ours; i++) {
		is_ours = ends_with(at, name, names[i].end);
		whole_line = names[i].whole_line;
	}
	skip = is_ours ? to_value(at + name) : 0;
	if (skip == 0)
		return f;
	f.keep = name + skip;
	slashes = strspn(at + f.keep, "\\");
	if (at[f.keep + slashes] != '\0' && strchr(QUOTES, at[f.keep + slashes]) != NULL) {
		char quote = at[f.keep + slashes];

		f.keep += slashes + 1;
		n = quoted_len(at + f.keep, quote, slashes);
	} else if (at[f.keep] == '{') {
		n = 0; /* of an object the members are looked at */
	} else {
		n = strcspn(at + f.keep, whole_line ? "\n" QUOTES : ENDS_VALUE);
	}
	f.hide = n;
	return n == 0 ? (struct find){ 0, 0 } : f;
}

static bool
is_inside(const char *text, const char *at, const char *letters)
{
	return at > text && strchr(letters, at[-1]) != NULL;
}

/* What is at this place, the first that fits. Runs of letters are measured at their first one only: no work is done twice. */
static struct find
find_at(const struct own *own, const char *text, const char *at, size_t left)
{
	struct find f = { 0, own_at(own, at, left) };

	if (f.hide == 0)
		f.hide = pem_at(at, left);
	if (f.hide == 0 && !is_inside(text, at, BASE64))
		f.hide = blob_at(at);
	if (f.hide == 0)
		f = url_at(at);
	if (f.hide == 0 && !is_inside(text, at, NAME))
		f = named_at(at);
	if (f.keep > 0) { /* our own may go on where such a value ends */
		size_t whole = own_at(own, at + f.keep, left - f.keep);

		f.hide = whole > f.hide ? whole : f.hide;
	}
	return f;
}

/* The end of a key whose first line was cut off: as if it began with the text. Returns how much of the text is done. */
static size_t
headless_key(const char *text, struct buf *b)
{
	const char *end = strstr(text, "-----END "), *begin = strstr(text, "-----BEGIN ");
	const char *words = end == NULL ? NULL : strstr(end, "PRIVATE KEY-----");

	if (words == NULL || words > end + HEAD_MAX || (begin != NULL && begin < end))
		return 0;
	buf_puts(b, HIDDEN);
	return (size_t)(words + 16 - text);
}

char *
secret_hide(const char *text)
{
	auto_buf struct buf b = BUF_INIT;
	size_t len = strlen(text);
	struct own own;

	own_collect(&own);
	for (size_t i = headless_key(text, &b); i < len;) {
		struct find f = find_at(&own, text, text + i, len - i);

		if (f.hide == 0) {
			buf_add(&b, text + i++, 1);
			continue;
		}
		buf_add(&b, text + i, f.keep);
		buf_puts(&b, HIDDEN);
		i += f.keep + f.hide;
	}
	return buf_steal(&b);
}
