/* The bare mechanism: waits by inotify until a marker exists, runs a command, makes the next marker.
 *   bare FOLDER MARKER NEXT COMMAND ARGS... */
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char events[4096];
	int in, status;
	pid_t child;

	if (argc < 5 || chdir(argv[1]))
		return 1;
	in = inotify_init1(IN_CLOEXEC);
	if (in < 0 || inotify_add_watch(in, ".", IN_CREATE | IN_MOVED_TO) < 0)
		return 1;
	while (access(argv[2], F_OK))
		if (read(in, events, sizeof events) < 0)
			return 1;
	child = vfork();
	if (child == 0) {
		execvp(argv[4], argv + 4);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return 1;
	return close(open(argv[3], O_WRONLY | O_CREAT, 0666));
}
