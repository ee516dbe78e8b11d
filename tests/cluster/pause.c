/* PID 1 of a pod's sandbox: waits, and reaps where the pod shares its process namespace. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void quit(int signal) { _exit(0); }

static void reap(int signal) {
  while (waitpid(-1, 0, WNOHANG) > 0) {}
}

int main(void) {
  signal(SIGTERM, quit);
  signal(SIGINT, quit);
  signal(SIGCHLD, reap);
  for (;;) pause();
}
