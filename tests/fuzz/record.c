/* SPDX-License-Identifier: MIT */
/*
 * record.c - a job's record: what is believed is of its alphabet, and what was
 * read, written and read again is the same.
 */
#include "record.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "text.h"

static char dir[] = "/dev/shm/novajob-fuzz-XXXXXX"; /* a file system in memory: fsync costs nothing there */

static void
remove_dir(void)
{
	auto_free char *path = NULL;

	CHECK(asprintf(&path, "%s/record.json", dir) > 0);
	(void)unlink(path);
	(void)rmdir(dir);
}

static void
put_record(const void *data, size_t size)
{
	auto_free char *path = NULL;
	auto_fd int fd = -1;

	CHECK(asprintf(&path, "%s/record.json", dir) > 0);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
}

static void
check_address(const char *s)
{
	unsigned char bytes[16];

	CHECK(s == NULL || inet_pton(AF_INET, s, bytes) == 1 || inet_pton(AF_INET6, s, bytes) == 1);
}

/* What reaches an argv or a path. */
static void
check_sane(const struct record *r)
{
	CHECK(r->phase > PHASE_NONE && r->phase <= PHASE_HELD);
	CHECK(text_only(r->try, "0123456789abcdef"));
	CHECK(r->server_id == NULL || (text_only(r->server_id, "0123456789abcdefABCDEF-") && r->server_id[0] != '-'));
	CHECK(r->server_name == NULL || (strpbrk(r->server_name, " /\"'$`\n\\;&|<>*?") == NULL && r->server_name[0] != '-'));
	CHECK(r->failed == NULL || (strpbrk(r->failed, " /\"'$`\n\\;&|<>*?") == NULL && r->failed[0] != '-'));
	CHECK(r->created >= 0 && r->hold_ms >= RECORD_NO_HOLD && r->hold_ms <= RECORD_HOLD_MAX_S * 1000);
	check_address(r->address);
	for (size_t i = 0; i < r->addresses.len; i++)
		check_address(r->addresses.v[i]);
}

static void
check_same(const struct record *a, const struct record *b)
{
	CHECK(a->phase == b->phase && strcmp(a->try, b->try) == 0);
	CHECK(fuzz_same(a->server_id, b->server_id) && fuzz_same(a->server_name, b->server_name));
	CHECK(fuzz_same(a->address, b->address) && fuzz_same(a->lost, b->lost));
	CHECK(a->intent_at == b->intent_at && a->expires == b->expires && a->create_ms == b->create_ms &&
	    a->build_ms == b->build_ms && a->ssh_ms == b->ssh_ms);
	CHECK(a->created == b->created && a->warm == b->warm && a->hold_ms == b->hold_ms && fuzz_same(a->failed, b->failed));
	CHECK(a->addresses.len == b->addresses.len);
	for (size_t i = 0; i < a->addresses.len; i++)
		CHECK(strcmp(a->addresses.v[i], b->addresses.v[i]) == 0);
	CHECK(a->resolved == NULL ? b->resolved == NULL : json_equal(a->resolved, b->resolved));
}

/* record_update's change: it sees what record_read did. */
static bool
change(struct record *r, void *arg, struct fault *f)
{
	(void)f;
	check_same(r, arg);
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct state s = { .dir = dir, .job = dir };
	auto_record struct record first = RECORD_INIT, again = RECORD_INIT;
	struct fault f;
	static bool is_made;

	if (!is_made) {
		CHECK(mkdtemp(dir) != NULL && atexit(remove_dir) == 0);
		is_made = true;
	}
	put_record(data, size);
	if (!record_read(&first, &s, &f)) {
		fuzz_check_fault(&f, FAULT_LOCAL);
		CHECK(first.phase == PHASE_NONE && first.server_id == NULL && first.addresses.len == 0 && first.resolved == NULL);
		return 0;
	}
	check_sane(&first);
	CHECK(record_write(&first, &s, &f));
	CHECK(record_read(&again, &s, &f));
	check_same(&first, &again);
	CHECK(record_write(&again, &s, &f) && record_update(&again, &s, change, &first, &f));
	return 0;
}
