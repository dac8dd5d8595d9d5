/* SPDX-License-Identifier: MIT */
/* addresses.c - which of a server's addresses to log in at; see addresses.h. */
#include "addresses.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xalloc.h"

#define BYTES_MAX 16

/* The bytes of an address, 4 or 16; 0 when it is none. */
static size_t
parse(const char *s, unsigned char bytes[BYTES_MAX])
{
	if (inet_pton(AF_INET, s, bytes) == 1)
		return 4;
	return inet_pton(AF_INET6, s, bytes) == 1 ? 16 : 0;
}

bool
addresses_is_one(const char *s)
{
	unsigned char bytes[BYTES_MAX];

	return parse(s, bytes) > 0;
}

/* "10.0.0.0/8": its bytes (how many is returned, 0 = no network) and the bits that count. */
static size_t
parse_network(const char *s, unsigned char bytes[BYTES_MAX], size_t *bits)
{
	auto_free char *address = xstrndup(s, strcspn(s, "/"));
	const char *slash = strchr(s, '/');
	size_t len = parse(address, bytes);
	const char *wrong = NULL;

	if (len == 0 || slash == NULL || slash[1] < '0' || slash[1] > '9')
		return 0;
	*bits = (size_t)strtonum(slash + 1, 0, (long long)len * 8, &wrong);
	return wrong == NULL ? len : 0;
}

bool
addresses_ok(const char *which)
{
	auto_strv struct strv words = STRV_INIT;
	unsigned char bytes[BYTES_MAX];
	size_t bits;

	strv_split(&words, ADDRESSES_WORDS);
	return strv_has(&words, which) || parse_network(which, bytes, &bits) > 0;
}

static bool
in_network(const char *address, const char *network)
{
	unsigned char a[BYTES_MAX], n[BYTES_MAX];
	size_t bits = 0;
	size_t len = parse_network(network, n, &bits);

	if (len == 0 || parse(address, a) != len || memcmp(a, n, bits / 8) != 0)
		return false;
	return bits % 8 == 0 || (unsigned int)(a[bits / 8] ^ n[bits / 8]) >> (8 - bits % 8) == 0;
}

static bool
fits(const char *address, const char *which, const char *floating)
{
	bool six = strchr(address, ':') != NULL;
	bool is_floating = floating != NULL && strcmp(address, floating) == 0;

	if (strcmp(which, "auto") == 0)
		return is_floating || floating == NULL;
	if (strcmp(which, "fixed") == 0 || strcmp(which, "floating") == 0)
		return is_floating == (which[1] == 'l');
	if (strcmp(which, "4") == 0 || strcmp(which, "6") == 0)
		return six == (which[0] == '6');
	return in_network(address, which);
}

size_t
addresses_choose(struct strv *list, const char *which, const char *floating)
{
	struct strv kept = STRV_INIT;
	size_t dropped = 0;

	if (floating != NULL && fits(floating, which, floating))
		strv_add(&kept, floating);
	else if (floating != NULL)
		dropped++;
	for (size_t i = 0; i < list->len; i++) {
		if (floating != NULL && strcmp(list->v[i], floating) == 0)
			continue;
		if (fits(list->v[i], which, floating))
			strv_add(&kept, list->v[i]);
		else
			dropped++;
	}
	strv_free(list);
	*list = kept;
	return dropped;
}
