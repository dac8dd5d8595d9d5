/* SPDX-License-Identifier: MIT */
/* fuzz.c - what the fuzz targets share; see fuzz.h. */
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "xalloc.h"

_Noreturn void
fuzz_fail(const char *file, int line, const char *what)
{
	(void)fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
	abort();
}

unsigned int
input_byte(struct input *in)
{
	size_t n = 1;
	const char *at = input_bytes(in, &n);

	return n == 0 ? 0 : (unsigned char)*at;
}

const char *
input_bytes(struct input *in, size_t *n)
{
	const char *at = in->at;

	*n = *n < in->left ? *n : in->left;
	in->at += *n;
	in->left -= *n;
	return at;
}

char *
input_field(struct input *in)
{
	const char *end = memchr(in->at, 0xff, in->left);
	size_t n = end == NULL ? in->left : (size_t)(end - in->at);
	char *field = xstrndup(in->at, n);

	(void)input_bytes(in, &n);
	(void)input_byte(in); /* the 0xff */
	return field;
}

const char *
fuzz_file(const void *data, size_t size)
{
	static char path[64];
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("fuzz", MFD_CLOEXEC);
		CHECK(fd >= 0 && fchmod(fd, 0600) == 0);
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	CHECK(ftruncate(fd, 0) == 0);
	CHECK(pwrite(fd, data, size, 0) == (ssize_t)size);
	return path;
}

/* The code of the UTF-8 sequence at s, its length in *n: 0 = none, more than left = cut off. From RFC 3629's table, not
 * as text.c does it. */
static uint32_t
utf8_code(const unsigned char *s, size_t left, size_t *n)
{
	static const struct {
		unsigned char first, last, low, high; /* the first byte's range, the second's */
		size_t len;
	} rows[] = { { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 } };
	uint32_t code;

	*n = 0;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (s[0] < rows[i].first || s[0] > rows[i].last)
			continue;
		code = s[0] & (0x7fU >> rows[i].len);
		for (size_t k = 1; k < rows[i].len && k < left; k++) {
			if (s[k] < (k == 1 ? rows[i].low : 0x80) || s[k] > (k == 1 ? rows[i].high : 0xbf))
				return 0;
			code = code << 6 | (s[k] & 0x3f);
		}
		*n = rows[i].len;
		return code;
	}
	return 0;
}

bool
fuzz_is_safe(const char *s, size_t len, bool has_lines, bool is_cut)
{
	for (size_t i = 0, n; i < len; i += n) {
		unsigned char c = (unsigned char)s[i];
		uint32_t code;

		n = 1;
		if ((c >= 0x20 && c < 0x7f) || (c == '\n' && has_lines))
			continue;
		code = utf8_code((const unsigned char *)s + i, len - i, &n);
		if (n > len - i)
			return is_cut;
		if (n == 0 || code < 0xa0 || code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
		    (code >= 0x2066 && code <= 0x2069))
			return false;
	}
	return true;
}

void
fuzz_check_fault(const struct fault *f, enum fault_class class)
{
	CHECK(f->class == class);
	CHECK(f->text[0] != '\0');
	CHECK(fuzz_is_safe(f->text, strlen(f->text), false, strlen(f->text) + 4 >= sizeof(f->text)));
	CHECK(fuzz_is_safe(f->hint, strlen(f->hint), false, strlen(f->hint) + 4 >= sizeof(f->hint)));
}

bool
fuzz_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}
