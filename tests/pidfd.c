/* SPDX-License-Identifier: MIT */
/*
 * pidfd.c - pidfd_open(2) and pidfd_send_signal(2) for valgrind, which does
 * not know the calls (3.19): a descriptor that becomes readable when a process
 * has ended. A watcher holds the other end of a pipe until then. Preloaded by
 * tests/valgrind only.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define FDS 64

int pidfd_open(pid_t pid, unsigned int flags);
int pidfd_send_signal(int pidfd, int sig, siginfo_t *info, unsigned int flags);

static pid_t pids[FDS]; /* of whom each descriptor tells */

static int
has_ended(pid_t pid)
{
	char path[64], line[512] = "";
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (f == NULL)
		return 1;
	if (fgets(line, sizeof(line), f) == NULL)
		line[0] = '\0';
	(void)fclose(f);
	return strstr(line, ") Z ") != NULL;
}

int
pidfd_open(pid_t pid, unsigned int flags)
{
	int ends[2];
	pid_t parent = getpid();

	(void)flags;
	if (pipe(ends) != 0)
		return -1;
	if (fork() == 0) {
		for (int fd = 0; fd < FDS; fd++)
			if (fd != ends[1])
				(void)close(fd);
		while (!has_ended(pid) && getppid() == parent)
			(void)usleep(5000);
		_exit(0);
	}
	(void)close(ends[1]);
	if (ends[0] < FDS)
		pids[ends[0]] = pid;
	return ends[0];
}

int
pidfd_send_signal(int pidfd, int sig, siginfo_t *info, unsigned int flags)
{
	(void)info;
	(void)flags;
	return pidfd >= 0 && pidfd < FDS && pids[pidfd] > 1 ? kill(pids[pidfd], sig) : -1;
}
