/* SPDX-License-Identifier: MIT */
/* strv.c - a NULL-terminated vector of strings; see strv.h. */
#include "strv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "text.h"
#include "xalloc.h"

static void
take(struct strv *sv, char *s)
{
	sv->v = xreallocarray(sv->v, sv->len + 2, sizeof(*sv->v));
	sv->v[sv->len++] = s;
	sv->v[sv->len] = NULL;
}

void
strv_add(struct strv *sv, const char *s)
{
	take(sv, xstrdup(s));
}

void
strv_addf(struct strv *sv, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	take(sv, xvasprintf(fmt, ap));
	va_end(ap);
}

void
strv_add_all(struct strv *sv, const char *const *list)
{
	for (; *list != NULL; list++)
		strv_add(sv, *list);
}

bool
strv_has(const struct strv *sv, const char *s)
{
	for (size_t i = 0; i < sv->len; i++)
		if (strcmp(sv->v[i], s) == 0)
			return true;
	return false;
}

char *
strv_quoted(const struct strv *sv)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:,=@%+^-";
	auto_buf struct buf b = BUF_INIT;

	for (size_t i = 0; i < sv->len; i++) {
		const char *s = sv->v[i];

		if (i > 0)
			buf_puts(&b, " ");
		if (s[0] != '\0' && text_only(s, plain)) {
			buf_puts(&b, s);
			continue;
		}
		buf_puts(&b, "'");
		for (; *s != '\0'; s++)
			buf_puts(&b, *s == '\'' ? "'\\''" : (const char[]){ *s, '\0' });
		buf_puts(&b, "'");
	}
	return buf_steal(&b);
}

void
strv_split(struct strv *sv, const char *s)
{
	while (*s != '\0') {
		size_t n = strcspn(s, ",");
		size_t lead = strspn(s, " \t,");
		size_t end = n;

		if (lead > n)
			lead = n;
		while (end > lead && (s[end - 1] == ' ' || s[end - 1] == '\t'))
			end--;
		if (end > lead)
			take(sv, xstrndup(s + lead, end - lead));
		s += n + (s[n] == ',');
	}
}

void
strv_free(struct strv *sv)
{
	for (size_t i = 0; i < sv->len; i++)
		free(sv->v[i]);
	free(sv->v);
	*sv = (struct strv)STRV_INIT;
}
