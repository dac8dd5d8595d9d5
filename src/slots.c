/* SPDX-License-Identifier: MIT */
/* slots.c - how many openstack processes live at once on this host; see slots.h. */
#include "slots.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "clock.h"
#include "log.h"
#include "xalloc.h"

#define LOOK_MS   100
#define TELL_MS   30000

/* Open a file of STATE/slots, locked as `how` says. -1 with errno EWOULDBLOCK when it is taken. */
static int
open_locked(const struct slots *s, const char *name, int how)
{
	auto_free char *dir = xasprintf("%s/slots", s->state_dir);
	auto_free char *path = xasprintf("%s/%s", dir, name);
	auto_fd int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 && errno == ENOENT && mkdir(dir, 0700) == 0)
		fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, how | LOCK_NB) != 0)
		return -1;
	return steal_fd(&fd);
}

/* Try each slot once. False: all are taken. Where they cannot be opened, held stays -1 and true is told. */
static bool
try_all(struct slots *s)
{
	int64_t first = s->urgent ? 0 : 1;
	int64_t usable = s->count - first;
	int64_t start = (int64_t)arc4random_uniform((uint32_t)usable); /* not everybody at the same one */

	for (int64_t i = 0; i < usable; i++) {
		char name[24];

		(void)snprintf(name, sizeof(name), "%" PRId64, first + (start + i) % usable);
		s->held = open_locked(s, name, LOCK_EX);
		if (s->held >= 0 || errno != EWOULDBLOCK)
			return true;
	}
	return false;
}

bool
slots_take(struct slots *s, struct limit limit, struct fault *f)
{
	auto_fd int queue = -1;
	int64_t began = clock_ms();
	int64_t before = s->waited_ms;
	int64_t tell = began + TELL_MS;
	char span[32];

	if (s->held >= 0 || s->state_dir == NULL || s->count < 2 || try_all(s))
		return true;
	while (!try_all(s)) {
		bool in_time;

		if (queue < 0) /* fails while somebody looks at it */
			queue = open_locked(s, "queue", LOCK_SH); /* what slots_wanted sees */
		if (clock_ms() >= tell) {
			log_wait("waiting for one of %" PRId64 " client slots of this host, %s so far", s->count,
			    clock_span(span, sizeof(span), clock_ms() - began));
			tell += TELL_MS;
		}
		in_time = limit_sleep(limit, LOOK_MS / 2 + (int64_t)arc4random_uniform(LOOK_MS));
		s->waited_ms = before + clock_ms() - began;
		if (!in_time)
			return limit_fault(f, FAULT_BUSY, "no client slot of this host became free within %s",
			    clock_span(span, sizeof(span), clock_ms() - began));
	}
	return true;
}

void
slots_give(struct slots *s)
{
	cleanup_fd(&s->held);
	s->held = -1;
}

bool
slots_wanted(const struct slots *s)
{
	auto_fd int queue = -1;

	if (s->state_dir == NULL)
		return false;
	queue = open_locked(s, "queue", LOCK_EX);
	return queue < 0 && errno == EWOULDBLOCK;
}
