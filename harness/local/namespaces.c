/* The chain of processes outer -> init -> inside. One clone() makes init together with all its namespaces, so that
 * either all of them are there or none, and the outer process stays as it was. init is process 1 of the new process
 * namespace: it reaps what is orphaned, passes signals to inside, and its end is the end of everything within.
 *
 * A socket pair joins outer and init. init tells by it whether the namespaces are fit for use, and later how inside
 * ended (as process 1 it cannot die of a signal that it sends itself); end of file tells either that the other died. */
#include "harness/local/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAMESPACES (CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID)

static bool inside;

bool namespaces_inside(void) {
    return inside;
}

/* --- both: signals ------------------------------------------------------------------------------------------------ */

static const int passed[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

/* Blocks what is passed on and SIGCHLD, so that they can be waited for; `old` is what inside gets back. */
static void block_signals(sigset_t *old, sigset_t *awaited) {
    sigemptyset(awaited);
    sigaddset(awaited, SIGCHLD);
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++) sigaddset(awaited, passed[i]);
    sigprocmask(SIG_BLOCK, awaited, old);
}

/* Waits for the end of `child`, passing on to it what other processes send here. What the kernel sends comes from the
 * terminal and went to the whole foreground group, so the child has it already; but a hang-up is told to the leader of
 * the session alone. Returns the child's status. */
static int attend(pid_t child, const sigset_t *awaited) {
    for (;;) {
        int status;
        pid_t ended;
        while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
            if (ended == child) return status;
        siginfo_t info;
        int signal_number = sigwaitinfo(awaited, &info);
        if (signal_number <= 0 || signal_number == SIGCHLD) continue;
        if (info.si_code <= 0 || signal_number == SIGHUP) kill(child, signal_number);
    }
}

/* --- init --------------------------------------------------------------------------------------------------------- */

static int write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t wrote = write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    errno = error;
    return wrote == (ssize_t)strlen(text) ? 0 : -1;
}

static int map_ids(uid_t uid, gid_t gid, struct error *e) {
    char uids[64], gids[64];
    snprintf(uids, sizeof uids, "0 %u 1", uid);
    snprintf(gids, sizeof gids, "0 %u 1", gid);
    if (write_file("/proc/self/setgroups", "deny") || write_file("/proc/self/uid_map", uids) ||
        write_file("/proc/self/gid_map", gids))
        return error_set(e, "user namespace: user %u cannot be mapped to root: %s; run harrow as root", uid,
                         strerror(errno));
    return 0;
}

static int mount_all(struct error *e) {
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return error_set(e,
                         "mount namespace: mounts cannot be made private: %s; does a security module restrict user "
                         "namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns)? Else run harrow as root",
                         strerror(errno));
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
        return error_set(
            e,
            "process namespace: /proc cannot be mounted: %s; in a container run harrow with /proc unmasked "
            "(docker --security-opt systempaths=unconfined) or privileged",
            strerror(errno));
    return 0;
}

static int set_up(bool map, uid_t uid, gid_t gid, struct error *e) {
    if (map && map_ids(uid, gid, e)) return -1;
    return mount_all(e);
}

/* As init: never returns, but as inside, which is forked here. */
static void init_run(int channel, bool map, uid_t uid, gid_t gid, const sigset_t *old, const sigset_t *awaited) {
    struct error e = {{0}};
    char byte;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* Had outer died before that call, its end of the channel would be closed by now. */
    if (recv(channel, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) _exit(1);
    signal(SIGCHLD, SIG_DFL);
    pid_t child = -1;
    if (set_up(map, uid, gid, &e) == 0 && (child = fork()) < 0) error_set(&e, "fork: %s", strerror(errno));
    if (child == 0) { /* needs no death signal: it cannot survive the process 1 of its namespace */
        close(channel);
        sigprocmask(SIG_SETMASK, old, NULL);
        return;
    }
    if (send(channel, &e, sizeof e, MSG_NOSIGNAL) < 0 || child < 0) _exit(1);
    int status = attend(child, awaited);
    send(channel, &status, sizeof status, MSG_NOSIGNAL);
    _exit(0);
}

/* --- outer -------------------------------------------------------------------------------------------------------- */

/* Ends this process as inside ended. */
static _Noreturn void end_as(int status, const sigset_t *old) {
    if (WIFEXITED(status)) _exit(WEXITSTATUS(status));
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); /* inside has left its core where one was wanted */
    sigset_t unblocked = *old;
    sigdelset(&unblocked, WTERMSIG(status));
    signal(WTERMSIG(status), SIG_DFL);
    sigprocmask(SIG_SETMASK, &unblocked, NULL);
    kill(getpid(), WTERMSIG(status));
    _exit(128 + WTERMSIG(status));
}

static int clone_init(bool *map) {
    pid_t pid = (pid_t)syscall(SYS_clone, NAMESPACES | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid >= 0 || errno != EPERM) return pid;
    *map = true;
    return (pid_t)syscall(SYS_clone, CLONE_NEWUSER | NAMESPACES | SIGCHLD, NULL, NULL, NULL, NULL);
}

static int clone_error(int error, struct error *e) {
    const char *advice = "run harrow as root";
    if (error == EPERM)
        advice = "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1; in a container: CAP_SYS_ADMIN, or "
                 "a seccomp profile that allows unshare), or run harrow as root";
    if (error == ENOSPC)
        advice = "raise the sysctls user.max_user_namespaces, user.max_net_namespaces, user.max_pid_namespaces";
    return error_set(e, "namespaces cannot be made: %s; %s", strerror(error), advice);
}

int namespaces_enter(struct error *e) {
    if (inside) return 0;
    int channel[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel))
        return error_set(e, "namespaces: socketpair: %s", strerror(errno));
    sigset_t old, awaited;
    block_signals(&old, &awaited);
    fflush(NULL); /* what is buffered must not be written twice */
    uid_t uid = geteuid();
    gid_t gid = getegid();
    bool map = false;
    pid_t init = clone_init(&map);
    if (init == 0) {
        close(channel[0]);
        init_run(channel[1], map, uid, gid, &old, &awaited);
        inside = true;
        return 0;
    }
    int error = errno;
    close(channel[1]);
    struct error report = {{0}};
    if (init < 0) {
        clone_error(error, &report);
    } else {
        ssize_t got;
        while ((got = recv(channel[0], &report, sizeof report, 0)) < 0 && errno == EINTR) continue;
        if (got != (ssize_t)sizeof report) error_set(&report, "namespaces: their first process died; try again");
    }
    if (report.text[0]) {
        if (init > 0) waitpid(init, NULL, 0);
        close(channel[0]);
        sigprocmask(SIG_SETMASK, &old, NULL);
        return error_set(e, "%s", report.text);
    }
    int status = attend(init, &awaited), ended;
    if (recv(channel[0], &ended, sizeof ended, MSG_DONTWAIT) == (ssize_t)sizeof ended) status = ended;
    end_as(status, &old);
}

const char *namespaces_unavailable(void) {
    static struct error why;
    if (inside) return NULL;
    int channel[2];
    if (pipe2(channel, O_CLOEXEC)) return "namespaces: out of file descriptors; raise `ulimit -n`";
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct error e = {{0}};
        if (namespaces_enter(&e) == 0) _exit(0); /* as the innermost; the others follow */
        _exit(write(channel[1], &e, sizeof e) == (ssize_t)sizeof e ? 1 : 2);
    }
    close(channel[1]);
    int status = -1;
    if (pid < 0) error_set(&why, "namespaces: fork: %s; raise `ulimit -u`", strerror(errno));
    if (pid > 0) waitpid(pid, &status, 0);
    if (pid > 0 && status != 0 && read(channel[0], &why, sizeof why) != (ssize_t)sizeof why)
        error_set(&why, "namespaces: the process that tried to make them died; try again");
    close(channel[0]);
    return status == 0 ? NULL : why.text;
}
