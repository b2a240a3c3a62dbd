/* Runs gnuplot as a child process: found through PATH, in a process group of its own, its complaints caught, and killed
 * when it takes longer than it may. Nothing here can hang or leave a process behind. */
#include "reports/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

extern char **environ;

static uint64_t now_ms(void) {
    return monotonic_ns() / NS_PER_MS;
}

static int spawn_gnuplot(const char *folder, const char *script, int complaints, pid_t *pid) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&how);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&files, complaints, STDERR_FILENO);
    posix_spawn_file_actions_addchdir_np(&files, folder);
    sigset_t none, usual;
    sigemptyset(&none);
    sigfillset(&usual);
    sigdelset(&usual, SIGKILL);
    sigdelset(&usual, SIGSTOP);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setsigdefault(&how, &usual);
    posix_spawnattr_setpgroup(&how, 0);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    char *const arguments[] = {"gnuplot", "-d", (char *)(uintptr_t)script, NULL};
    int failed = posix_spawnp(pid, "gnuplot", &files, &how, arguments, environ);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&files);
    return failed;
}

/* Waits for the child; false when the time was up and it had to be killed. */
static bool wait_until(pid_t pid, uint64_t timeout_ms, int *status) {
    uint64_t deadline_ms = now_ms() + timeout_ms;
    for (;;) {
        pid_t ended = waitpid(pid, status, WNOHANG);
        if (ended == pid) return true;
        if (ended < 0 && errno == ECHILD) { /* someone ignores SIGCHLD: the plot itself will tell how it went */
            *status = 0;
            return true;
        }
        if (now_ms() >= deadline_ms) break;
        nanosleep(&(struct timespec){.tv_nsec = 2 * (long)NS_PER_MS}, NULL);
    }
    kill(-pid, SIGKILL);
    while (waitpid(pid, status, 0) < 0 && errno == EINTR) {
    }
    return false;
}

/* The first line gnuplot complained in that says something; it puts the place of the error on lines before it. */
static void first_complaint(int complaints, char *line, size_t line_size) {
    char text[2048];
    ssize_t n = pread(complaints, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    line[0] = 0;
    for (char *rest = text, *at; (at = strsep(&rest, "\n"));) {
        at += strspn(at, " \t^");
        if (*at == 0) continue;
        size_t size = strlen(at) < line_size - 1 ? strlen(at) : line_size - 1;
        memcpy(line, at, size);
        line[size] = 0;
        if (strstr(at, "line ")) break;
    }
}

int gnuplot_run(const char *folder, const char *script, uint64_t timeout_ms, struct error *e) {
    int complaints = memfd_create("gnuplot", MFD_CLOEXEC);
    if (complaints < 0) return error_set(e, "cannot run gnuplot: %s", strerror(errno));
    pid_t pid;
    int status = 0, result = 0;
    int failed = spawn_gnuplot(folder, script, complaints, &pid);
    bool in_time = failed || wait_until(pid, timeout_ms, &status);
    /* 127: the child found nothing to execute, which not every system can tell its parent in time. */
    if (failed == ENOENT || (!failed && in_time && WIFEXITED(status) && WEXITSTATUS(status) == 127)) {
        result = error_set(e, "gnuplot is not installed (apt-get install gnuplot-nox)");
    } else if (failed) {
        result = error_set(e, "cannot run gnuplot: %s", strerror(failed));
    } else if (!in_time) {
        result = error_set(e, "gnuplot took longer than %.1f s on %s and was killed", (double)timeout_ms / 1e3, script);
    } else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        char line[256];
        first_complaint(complaints, line, sizeof line);
        result = error_set(e, "gnuplot failed on %s: %s", script, text_or(line, "it said nothing"));
    }
    close(complaints);
    return result;
}
