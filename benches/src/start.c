/* Times the start of a command below several parents, in turn: prints a line of microseconds a round,
 * from before the exec until the parent's end.
 *   start ROUNDS --- PARENT ARGS... --- PARENT ARGS... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
	char **lines[16];
	int count = 0, rounds = argc > 1 ? atoi(argv[1]) : 0, i, k, status;

	for (i = 2; i < argc && count < 16; i++)
		if (!strcmp(argv[i], "---")) {
			argv[i] = NULL;
			lines[count++] = argv + i + 1;
		}
	for (i = 0; i < rounds; i++) {
		for (k = 0; k < count; k++) {
			double begin = now();
			pid_t child = vfork();
			if (child == 0) {
				execv(lines[k][0], lines[k]);
				_exit(127);
			}
			if (child < 0 || waitpid(child, &status, 0) < 0 || status)
				return 1;
			printf("%.1f%c", now() - begin, k + 1 < count ? ' ' : '\n');
		}
	}
	return 0;
}
