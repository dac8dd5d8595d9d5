/* SPDX-License-Identifier: MIT */
/*
 * pidfd.c - pidfd_open(2) for valgrind, which does not know the call (3.19): a
 * descriptor that becomes readable when a process has ended. A watcher holds
 * the other end of a pipe until then. Preloaded by tests/valgrind only.
 */
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

int pidfd_open(pid_t pid, unsigned int flags);

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
		for (int fd = 0; fd < 64; fd++)
			if (fd != ends[1])
				(void)close(fd);
		while (!has_ended(pid) && getppid() == parent)
			(void)usleep(5000);
		_exit(0);
	}
	(void)close(ends[1]);
	return ends[0];
}
