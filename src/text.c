/* SPDX-License-Identifier: MIT */
/* text.c - text from outside made safe to print; see text.h. */
#include "text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "buf.h"

/* Length of the well-formed printable UTF-8 sequence at s (left bytes), or 0. C1 controls are not printable. */
static size_t
utf8_len(const unsigned char *s, size_t left)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = { { 0xe0, 0xc0, 0xa0 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 } };

	for (size_t n = 2; n <= 4; n++) {
		uint32_t code = (uint32_t)(s[0] & (unsigned char)~forms[n - 2].mask);

		if ((s[0] & forms[n - 2].mask) != forms[n - 2].lead || left < n)
			continue;
		for (size_t i = 1; i < n; i++) {
			if ((s[i] & 0xc0) != 0x80)
				return 0;
			code = (code << 6) | (s[i] & 0x3f);
		}
		if (code < forms[n - 2].least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ||
		    (code >= 0x200e && code <= 0x200f) || (code >= 0x202a && code <= 0x202e) ||
		    (code >= 0x2066 && code <= 0x2069)) /* bidirectional overrides lie about the order */
			return 0;
		return n;
	}
	return 0;
}

/* Append s with what is not printable escaped as \xNN; newlines by `newline`. */
static void
append_safe(struct buf *b, const char *s, size_t len, char newline)
{
	for (size_t i = 0; i < len;) {
		unsigned char c = (unsigned char)s[i];
		size_t n = utf8_len((const unsigned char *)s + i, len - i);

		if (c == '\n') {
			buf_add(b, &newline, 1);
		} else if (c == '\t') {
			buf_add(b, " ", 1);
		} else if (c == '\r') {
			; /* console logs end lines with CR LF */
		} else if (c >= 0x20 && c < 0x7f) {
			buf_add(b, s + i, 1);
		} else if (n > 0) {
			buf_add(b, s + i, n);
			i += n - 1;
		} else {
			buf_printf(b, "\\x%02x", (unsigned int)c);
		}
		i++;
	}
}

size_t
text_cut(const char *s, size_t len)
{
	if (strnlen(s, len + 1) <= len)
		return strlen(s);
	while (len > 0 && ((unsigned char)s[len] & 0xc0) == 0x80) /* what would come next goes on with a character */
		len--;
	return len;
}

void
text_one_line(char *out, size_t size, const char *s)
{
	auto_buf struct buf b = BUF_INIT;
	size_t at = 0;
	bool blank = true; /* leading blanks go */

	append_safe(&b, s, strlen(s), ' ');
	for (size_t i = 0; i < b.len; i++) { /* in place */
		if (b.data[i] == ' ' && blank)
			continue;
		blank = b.data[i] == ' ';
		b.data[at++] = b.data[i];
	}
	buf_puts(&b, ""); /* data is there even when s was empty */
	b.data[at] = '\0';
	at = text_cut(b.data, size - 1);
	while (at > 0 && b.data[at - 1] == ' ')
		at--;
	memcpy(out, b.data, at);
	out[at] = '\0';
}

char *
text_safe(const char *s, size_t len)
{
	auto_buf struct buf b = BUF_INIT;

	append_safe(&b, s, len, '\n');
	return buf_steal(&b);
}

bool
text_only(const char *s, const char *allowed)
{
	return s[strspn(s, allowed)] == '\0';
}

const char *
text_tail(const char *s, size_t lines)
{
	size_t at = strlen(s);

	if (at > 0 && s[at - 1] == '\n')
		at--;
	while (at > 0 && (s[at - 1] != '\n' || --lines > 0))
		at--;
	return s + at;
}
