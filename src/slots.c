/* SPDX-License-Identifier: MIT */
/* slots.c - how many openstack processes live at once on this host; see slots.h. */
#include "slots.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "xalloc.h"

#define QUEUE        "/queue.d"
#define LOOK_MS      100
#define NEXT_LOOK_MS 20 /* of who is next */
#define TELL_MS      30000
#define PASSED_S     5  /* who has not looked for so long is passed over */
#define TICKET_SIZE  48

/* Open a file of STATE/slots, or of a folder in it, locked as `how` says. -1 with errno EWOULDBLOCK when it is taken. */
static int
open_locked(const struct slots *s, const char *folder, const char *name, int how)
{
	auto_free char *top = xasprintf("%s/slots", s->state_dir);
	auto_free char *dir = xasprintf("%s%s", top, folder);
	auto_free char *path = xasprintf("%s/%s", dir, name);
	auto_fd int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 && errno == ENOENT && (mkdir(top, 0700) == 0 || errno == EEXIST) &&
	    (mkdir(dir, 0700) == 0 || errno == EEXIST))
		fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, how | LOCK_NB) != 0)
		return -1;
	return steal_fd(&fd);
}

/*
 * Is the ticket somebody's? It is locked as long as its owner lives, else it is thrown away: an owner that has just made it
 * and not yet locked it loses its place in the queue by that, no more. At each look the owner touches it: one that is
 * stopped (SIGSTOP, a frozen cgroup) holds up nobody.
 */
static bool
ticket_lives(int dir, const char *name)
{
	auto_fd int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return false;
	if (flock(fd, LOCK_SH | LOCK_NB) != 0) /* shared: those who look are not taken for it */
		return errno == EWOULDBLOCK && llabs(clock_unix() - (int64_t)st.st_mtime) <= PASSED_S;
	(void)unlinkat(dir, name, 0);
	return false;
}

/* Does somebody wait whose ticket is older than mine; NULL: anybody? */
static bool
somebody_before(const struct slots *s, const char *mine)
{
	auto_free char *path = xasprintf("%s/slots" QUEUE, s->state_dir);
	auto_dir DIR *dir = opendir(path);
	const struct dirent *e;

	while (dir != NULL && (e = readdir(dir)) != NULL)
		if (e->d_name[0] != '.' && (mine == NULL || strcmp(e->d_name, mine) < 0) && ticket_lives(dirfd(dir), e->d_name))
			return true;
	return false;
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
		s->held = open_locked(s, "", name, LOCK_EX);
		if (s->held >= 0 || errno != EWOULDBLOCK)
			return true;
	}
	return false;
}

/* Is it our turn, and is there a slot? Who is urgent does not queue. */
static bool
try_in_turn(struct slots *s, const char *mine)
{
	return (s->urgent || !somebody_before(s, mine)) && try_all(s);
}

/* Wait in the queue: a file whose name tells its age. Where it cannot be made it goes as if we were last. */
static bool
queue_up(struct slots *s, struct limit limit, struct fault *f)
{
	char ticket[TICKET_SIZE], span[32];
	int64_t began = clock_ms(), before = s->waited_ms, tell = began + TELL_MS;
	auto_fd int locked = -1;
	bool in_time = true;

	(void)snprintf(ticket, sizeof(ticket), "%020" PRId64 "-%ld", began, (long)getpid());
	locked = open_locked(s, QUEUE, ticket, LOCK_EX);
	while (in_time && !try_in_turn(s, locked < 0 ? NULL : ticket)) {
		if (clock_ms() >= tell) {
			log_wait("waiting for one of %" PRId64 " client slots of this host, %s so far", s->count,
			    clock_span(span, sizeof(span), clock_ms() - began));
			tell += TELL_MS;
		}
		(void)futimens(locked, NULL); /* -1: there is none */
		in_time = limit_sleep(limit, somebody_before(s, ticket) ? LOOK_MS : NEXT_LOOK_MS);
		s->waited_ms = before + clock_ms() - began;
	}
	if (locked >= 0) {
		auto_free char *path = xasprintf("%s/slots" QUEUE "/%s", s->state_dir, ticket);

		(void)unlink(path);
	}
	return in_time || limit_fault(f, FAULT_BUSY, "no client slot of this host became free within %s",
	    clock_span(span, sizeof(span), clock_ms() - began));
}

bool
slots_take(struct slots *s, struct limit limit, struct fault *f)
{
	if (s->held >= 0 || s->state_dir == NULL || s->count < 2 || try_in_turn(s, NULL))
		return true;
	return queue_up(s, limit, f);
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
	return s->state_dir != NULL && somebody_before(s, NULL);
}
