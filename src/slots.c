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

#define QUEUE        "queue.d"
#define LOOK_MS      100
#define NEXT_LOOK_MS 20 /* of who is next */
#define TELL_MS      30000
#define PASSED_S     5  /* who has not looked for so long is passed over */
#define TICKET_SIZE  40

/* Our place in the queue. */
struct place {
	char ticket[TICKET_SIZE]; /* 20 digits of time, "-", process id: in order of age */
	char before[TICKET_SIZE]; /* the next older one, as of the last look; "" = not known, or none */
	int fd;                   /* of the ticket, locked; -1 = there is none */
};

/* Open a folder that is ours, and nobody else's: root may look at a runner's STATE, but leaves nothing there that the runner
 * could not use. -1 with errno. */
static int
open_ours(int at, const char *name, bool make)
{
	const int how = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (at == AT_FDCWD ? 0 : O_NOFOLLOW);
	auto_fd int fd = openat(at, name, how);
	struct stat st;

	if (fd < 0 && errno == ENOENT && make && (mkdirat(at, name, 0700) == 0 || errno == EEXIST))
		fd = openat(at, name, how);
	if (fd < 0 || fstat(fd, &st) != 0)
		return -1;
	if (st.st_uid != geteuid()) {
		errno = EPERM;
		return -1;
	}
	return steal_fd(&fd);
}

/* STATE/slots; -1 with errno. */
static int
open_slots(const struct slots *s)
{
	auto_fd int state = open_ours(AT_FDCWD, s->state_dir, false);

	return state < 0 ? -1 : open_ours(state, "slots", true);
}

static int
open_queue(const struct slots *s)
{
	auto_fd int slots = open_slots(s);

	return slots < 0 ? -1 : open_ours(slots, QUEUE, true);
}

/* A file there, locked for us alone. -1 with errno EWOULDBLOCK when it is taken. */
static int
open_locked(int dir, const char *name)
{
	auto_fd int fd = openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
		return -1;
	return steal_fd(&fd);
}

/* Is a name that of a ticket? */
static bool
is_ticket(const char *name)
{
	size_t time = strspn(name, "0123456789"), pid = name[time] == '-' ? strspn(name + time + 1, "0123456789") : 0;

	return time == 20 && pid > 0 && name[time + 1 + pid] == '\0' && time + 1 + pid < TICKET_SIZE;
}

/*
 * Is the ticket somebody's? It is locked as long as its owner lives, else it is thrown away; one that was just made and not
 * yet locked is made again (keep_ticket). At each look the owner touches it: one that is stopped (SIGSTOP, a frozen cgroup)
 * holds up nobody.
 */
static bool
ticket_lives(int queue, const char *name)
{
	auto_fd int fd = openat(queue, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return false;
	if (flock(fd, LOCK_SH | LOCK_NB) != 0) /* shared: those who look are not taken for it */
		return errno == EWOULDBLOCK && llabs(clock_unix() - (int64_t)st.st_mtime) <= PASSED_S;
	(void)unlinkat(queue, name, 0);
	return false;
}

/* Our ticket, touched, and made if it is not there. Where it cannot be made, who has one goes before us. */
static void
keep_ticket(int queue, struct place *p)
{
	struct stat st;

	if (p->fd >= 0 && fstat(p->fd, &st) == 0 && st.st_nlink > 0) {
		(void)futimens(p->fd, NULL); /* fails on a broken disk only: then we are passed over */
		return;
	}
	cleanup_fd(&p->fd);
	p->fd = open_locked(queue, p->ticket);
}

/* To read the queue; NULL: there is none. */
static DIR *
list_queue(int queue)
{
	auto_fd int fd = queue < 0 ? -1 : openat(queue, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (dir != NULL)
		(void)steal_fd(&fd);
	return dir;
}

static bool
somebody_waits(int queue)
{
	auto_dir DIR *dir = list_queue(queue);
	const struct dirent *e;

	while (dir != NULL && (e = readdir(dir)) != NULL)
		if (is_ticket(e->d_name) && ticket_lives(queue, e->d_name))
			return true;
	return false;
}

/* Does somebody wait whose ticket is older than ours? While the next older one lives, one look at that does. */
static bool
somebody_before(int queue, struct place *p)
{
	auto_dir DIR *dir = NULL;
	const struct dirent *e;

	if (p->before[0] != '\0' && ticket_lives(queue, p->before))
		return true;
	p->before[0] = '\0';
	dir = list_queue(queue);
	while (dir != NULL && (e = readdir(dir)) != NULL)
		if (is_ticket(e->d_name) && strcmp(e->d_name, p->ticket) < 0 && strcmp(e->d_name, p->before) > 0 &&
		    ticket_lives(queue, e->d_name))
			(void)strlcpy(p->before, e->d_name, sizeof(p->before)); /* is_ticket: fits */
	return p->before[0] != '\0';
}

/* Try each slot once. False: all are taken. Where they cannot be opened, held stays -1 and true is told. */
static bool
try_all(struct slots *s)
{
	int64_t first = s->urgent ? 0 : 1;
	int64_t usable = s->count - first;
	int64_t start = (int64_t)arc4random_uniform((uint32_t)usable); /* not everybody at the same one */
	auto_fd int dir = open_slots(s);

	for (int64_t i = 0; dir >= 0 && i < usable; i++) {
		char name[24];

		(void)snprintf(name, sizeof(name), "%" PRId64, first + (start + i) % usable);
		s->held = open_locked(dir, name);
		if (s->held >= 0 || errno != EWOULDBLOCK)
			return true;
	}
	return dir < 0;
}

/* Is it our turn, and is there a slot? Who is urgent has its turn always, but is seen to wait. *waits: not the turn. */
static bool
try_in_turn(struct slots *s, int queue, struct place *p, bool *waits)
{
	keep_ticket(queue, p);
	*waits = p->fd < 0 ? somebody_waits(queue) : somebody_before(queue, p);
	return (s->urgent || !*waits) && try_all(s);
}

static bool
queue_up(struct slots *s, struct limit limit, struct fault *f)
{
	int64_t began = clock_ms(), before = s->waited_ms, tell = began + TELL_MS;
	auto_fd int queue = open_queue(s);
	struct place place = { .fd = -1 };
	bool waits, in_time = true;
	char span[32];

	(void)snprintf(place.ticket, sizeof(place.ticket), "%020" PRId64 "-%d", began, getpid()); /* fits */
	while (in_time && !try_in_turn(s, queue, &place, &waits)) {
		if (clock_ms() >= tell) {
			log_wait("waiting for one of %" PRId64 " client slots of this host, %s so far", s->count,
			    clock_span(span, sizeof(span), clock_ms() - began));
			tell += TELL_MS;
		}
		in_time = limit_sleep(limit, waits ? LOOK_MS : NEXT_LOOK_MS);
		s->waited_ms = before + clock_ms() - began;
	}
	if (place.fd >= 0)
		(void)unlinkat(queue, place.ticket, 0);
	cleanup_fd(&place.fd);
	return in_time || limit_fault(f, FAULT_BUSY, "no client slot of this host became free within %s",
	    clock_span(span, sizeof(span), clock_ms() - began));
}

bool
slots_take(struct slots *s, struct limit limit, struct fault *f)
{
	if (s->held >= 0 || s->state_dir == NULL || s->count < 2)
		return true;
	if ((s->urgent || !slots_wanted(s)) && try_all(s))
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
	auto_fd int queue = s->state_dir == NULL ? -1 : open_queue(s);

	return somebody_waits(queue);
}
