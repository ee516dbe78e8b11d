/* A step's command that knows when it ran: appends "INDEX START END" (monotonic nanoseconds) to a
 * file after sleeping for a while.   stamp FILE INDEX MICROSECONDS */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	long long start = now();
	char line[96];
	int fd, n;

	if (argc != 4 || (fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0666)) < 0)
		return 1;
	usleep(atoi(argv[3]));
	n = snprintf(line, sizeof line, "%s %lld ", argv[2], start);
	n += snprintf(line + n, sizeof line - n, "%lld\n", now());
	return write(fd, line, n) != n;
}
