/* Starting, ending, stopping and watching one child process. Between fork and exec the child may call only what is safe
 * after a fork in a program with threads, so all that allocates happens before; what goes wrong there comes back over a
 * socket pair, by which the listener of watched syncs comes too. Its end of file means: the program runs. */
#include "nemesis/process/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define PASS_FD 3
#define SPARE_FD_MIN 10 /* above all that the child puts in its place */
#define STATE_WAIT_NS (5 * NS_PER_S)
#define STATE_POLL_NS (100 * NS_PER_US)

extern char **environ;

/* --- before the fork ---------------------------------------------------------------------------------------------- */

static bool is_program(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* The file that argv[0] means, as execvp would find it; the caller frees. NULL with e set. */
static char *find_program(const char *name, struct error *e) {
    if (strchr(name, '/')) return xstrdup(name);
    const char *path = getenv("PATH");
    if (!path) path = "/usr/local/bin:/usr/bin:/bin";
    while (*path) {
        size_t length = strcspn(path, ":");
        char *candidate = xformat("%.*s/%s", length ? (int)length : 1, length ? path : ".", name);
        if (is_program(candidate)) return candidate;
        free(candidate);
        path += length + (path[length] == ':');
    }
    error_set(e, "%s: there is no such program in PATH; install it, or name it with its folder", name);
    return NULL;
}

static bool same_name(const char *a, const char *b) {
    size_t length = strcspn(a, "=");
    return strncmp(a, b, length) == 0 && b[length] == '=';
}

/* Our environment with what is in `more`; the array alone is fresh. */
static const char **join_environment(const char *const *more) {
    size_t ours = 0, added = 0, count = 0;
    while (environ[ours]) ours++;
    while (more && more[added]) added++;
    const char **joined = xcalloc(ours + added + 1, sizeof *joined);
    for (size_t i = 0; i < ours; i++) {
        bool replaced = false;
        for (size_t j = 0; j < added; j++) replaced |= same_name(more[j], environ[i]);
        if (!replaced) joined[count++] = environ[i];
    }
    for (size_t j = 0; j < added; j++) joined[count++] = more[j];
    return joined;
}

/* --- the child ---------------------------------------------------------------------------------------------------- */

enum step { STEP_PARENT, STEP_NETWORK, STEP_DIRECTORY, STEP_OUTPUT, STEP_SYNCS, STEP_TRACE, STEP_EXEC };

struct report { /* what the child sends when a step fails */
    enum step step;
    int error;
};

struct launch {
    const struct process_options *options;
    char *program;
    const char **environment;
    pid_t parent;
    int channel; /* the child's end */
};

static int send_descriptor(int channel, int fd) {
    char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return sendmsg(channel, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

/* Puts 0, 1, 2 and 3 in their places and has exec close all others. */
static int arrange_descriptors(const struct process_options *o) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), pass = o->pass;
    if (null < 0) return -1;
    int input = fcntl(null, F_DUPFD_CLOEXEC, SPARE_FD_MIN);
    int output = fcntl(o->output >= 0 ? o->output : null, F_DUPFD_CLOEXEC, SPARE_FD_MIN);
    if (pass >= 0) pass = fcntl(pass, F_DUPFD_CLOEXEC, SPARE_FD_MIN);
    if (input < 0 || output < 0 || (o->pass >= 0 && pass < 0)) return -1;
    if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) return -1;
    if (pass >= 0 && dup2(pass, PASS_FD) < 0) return -1;
    unsigned int first = pass >= 0 ? PASS_FD + 1 : PASS_FD;
    return (int)syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_CLOEXEC);
}

static void reset_signals(void) {
    struct sigaction plain = {.sa_handler = SIG_DFL};
    for (int i = 1; i < NSIG; i++) sigaction(i, &plain, NULL); /* fails for SIGKILL and SIGSTOP, rightly */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int watch_own_syncs(int channel) {
    int listener = syncs_install();
    if (listener < 0) return -1;
    int failed = send_descriptor(channel, listener);
    close(listener);
    return failed;
}

/* Returns the step that failed, with errno. */
static enum step become(const struct launch *l) {
    const struct process_options *o = l->options;
    setpgid(0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != l->parent) return STEP_PARENT;
    if (o->network >= 0 && setns(o->network, CLONE_NEWNET)) return STEP_NETWORK;
    if (o->directory && chdir(o->directory)) return STEP_DIRECTORY;
    if (arrange_descriptors(o)) return STEP_OUTPUT;
    reset_signals();
    if (o->watch_syncs && watch_own_syncs(l->channel)) return STEP_SYNCS;
    if (o->patch_clock && ptrace(PTRACE_TRACEME, 0, NULL, NULL)) return STEP_TRACE;
    errno = o->exec_error;
    if (errno) return STEP_EXEC;
    execve(l->program, (char *const *)(uintptr_t)o->argv, (char *const *)(uintptr_t)l->environment);
    return STEP_EXEC;
}

/* --- the parent --------------------------------------------------------------------------------------------------- */

static int explain(const struct launch *l, struct report r, struct error *e) {
    const char *program = l->options->argv[0], *why = strerror(r.error);
    switch (r.step) {
    case STEP_PARENT: return error_set(e, "%s: its parent ended while it was started", program);
    case STEP_NETWORK:
        return error_set(e, "%s: cannot enter its network namespace: %s; run it inside namespaces, or as root", program,
                         why);
    case STEP_DIRECTORY: return error_set(e, "%s: folder %s: %s", program, l->options->directory, why);
    case STEP_OUTPUT: return error_set(e, "%s: descriptors cannot be arranged: %s", program, why);
    case STEP_SYNCS:
        return error_set(e, "%s: its syncs cannot be watched (seccomp): %s; is seccomp notification allowed here?",
                         program, why);
    case STEP_TRACE:
        return error_set(e,
                         "%s: its clock cannot be reached (ptrace): %s; set the sysctl kernel.yama.ptrace_scope "
                         "below 2, or give CAP_SYS_PTRACE",
                         program, why);
    case STEP_EXEC: break;
    }
    if (r.error == ENOENT && access(l->program, F_OK) == 0) why = "its interpreter or loader does not exist";
    return error_set(e, "%s: cannot be executed: %s", l->program, why);
}

/* Reads the channel to its end. 0 once exec has succeeded; *listener is set when one came. */
static int await_exec(const struct launch *l, int channel, int *listener, struct error *e) {
    for (;;) {
        struct report r;
        char control[CMSG_SPACE(sizeof(int))] = {0};
        struct iovec data = {&r, sizeof r};
        struct msghdr message = {
            .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        ssize_t got = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_set(e, "%s: %s", l->options->argv[0], strerror(errno));
        if (got == 0) return 0;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (header && header->cmsg_type == SCM_RIGHTS)
            memcpy(listener, CMSG_DATA(header), sizeof *listener);
        else
            return explain(l, r, e);
    }
}

/* Forks with all signals blocked, so that no handler of ours runs in the child. */
static pid_t fork_child(struct launch *l) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    l->parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        struct report r = {.step = become(l)};
        r.error = errno;
        _exit(send(l->channel, &r, sizeof r, MSG_NOSIGNAL) == (ssize_t)sizeof r ? 127 : 126);
    }
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = error;
    return pid;
}

static int launch(struct process *p, struct launch *l, struct error *e) {
    const struct process_options *o = l->options;
    int ends[2], listener = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        return error_set(e, "%s: socketpair: %s", o->argv[0], strerror(errno));
    l->channel = fcntl(ends[1], F_DUPFD_CLOEXEC, SPARE_FD_MIN);
    close(ends[1]);
    p->pid = l->channel < 0 ? -1 : fork_child(l);
    if (p->pid < 0) {
        error_set(e, "%s: cannot be started: %s", o->argv[0], strerror(errno));
        if (l->channel >= 0) close(l->channel);
        close(ends[0]);
        return -1;
    }
    close(l->channel);
    int failed = await_exec(l, ends[0], &listener, e);
    close(ends[0]);
    if (failed == 0 && o->patch_clock) failed = clock_patch(p, e);
    if (failed == 0 && listener >= 0)
        failed = (p->syncs = syncs_start(listener, p->name, e)) ? 0 : -1;
    else if (listener >= 0)
        close(listener);
    if (failed) return -1;
    p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    return p->pidfd >= 0 ? 0 : error_set(e, "%s: pidfd_open: %s", p->name, strerror(errno));
}

struct process *process_start(const struct process_options *o, struct error *e) {
    struct launch l = {.options = o, .program = find_program(o->argv[0], e)};
    if (!l.program) return NULL;
    l.environment = join_environment(o->env);
    struct process *p = xcalloc(1, sizeof *p);
    p->pidfd = p->memory = -1;
    p->name = xstrdup(o->argv[0]);
    if (launch(p, &l, e)) {
        process_free(p);
        p = NULL;
    }
    free(l.program);
    free(l.environment);
    return p;
}

void process_free(struct process *p) {
    if (!p) return;
    if (p->pid > 0) process_kill(p);
    if (p->syncs) syncs_stop(p->syncs);
    if (p->pidfd >= 0) close(p->pidfd);
    if (p->memory >= 0) close(p->memory);
    free(p->name);
    free(p);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

static uint64_t duration_ns(struct timeval t) {
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_usec * NS_PER_US;
}

/* Takes note of its end, waiting for it if `wait`. What is left of its group goes with it; before it is reaped, since
 * until then its number cannot mean another process. */
static bool collect(struct process *p, bool wait) {
    if (p->ended) return true;
    siginfo_t info = {0};
    int got;
    do got = waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOWAIT | (wait ? 0 : WNOHANG));
    while (got < 0 && errno == EINTR);
    if (got == 0 && info.si_pid == 0) return false;
    slow_set(p, 0);
    kill(-p->pid, SIGKILL);
    struct rusage used = {0};
    while (wait4(p->pid, &p->status, 0, &used) < 0 && errno == EINTR) continue;
    p->ended_cpu_ns = duration_ns(used.ru_utime) + duration_ns(used.ru_stime);
    p->ended = true;
    return true;
}

pid_t process_pid(const struct process *p) {
    return p->pid;
}

int process_fd(const struct process *p) {
    return p->pidfd;
}

bool process_ended(struct process *p, int *status) {
    bool ended = collect(p, false);
    if (ended && status) *status = p->status;
    return ended;
}

void process_signal(struct process *p, int signal) {
    if (!collect(p, false)) kill(p->pid, signal);
}

bool process_kill(struct process *p) {
    if (collect(p, false)) return false;
    kill(p->pid, SIGKILL);
    kill(-p->pid, SIGKILL);
    return collect(p, true);
}

/* --- stopping ----------------------------------------------------------------------------------------------------- */

static bool is_stopped_state(char state) {
    return strchr("TtZX", state) != NULL;
}

static char state_of(const char *path) {
    char line[512], state = 'X';
    FILE *f = fopen(path, "re");
    if (!f) return state;
    char *name_end = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    if (name_end && name_end[1] == ' ') state = name_end[2];
    fclose(f);
    return state;
}

/* Whether all threads (or, for !stopped, at least one) are as asked. */
static bool is_in_state(const struct process *p, bool stopped) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", p->pid);
    DIR *d = opendir(path);
    if (!d) return true;
    bool all = true;
    for (struct dirent *entry; (entry = readdir(d));) {
        char stat_path[350];
        if (entry->d_name[0] == '.') continue;
        snprintf(stat_path, sizeof stat_path, "%s/%s/stat", path, entry->d_name);
        all &= is_stopped_state(state_of(stat_path));
    }
    closedir(d);
    return all == stopped;
}

static bool await_state(struct process *p, bool stopped) {
    for (uint64_t end_ns = monotonic_ns() + STATE_WAIT_NS; monotonic_ns() < end_ns;) {
        if (is_in_state(p, stopped)) return true;
        if (collect(p, false)) return false;
        nanosleep(&(struct timespec){0, (long)STATE_POLL_NS}, NULL);
    }
    return false;
}

bool process_pause(struct process *p) {
    if (collect(p, false)) return false;
    slow_pause(p, true);
    return await_state(p, true) && !collect(p, false);
}

void process_resume(struct process *p) {
    if (collect(p, false)) return;
    slow_pause(p, false);
    if (!slow_is_on(p)) await_state(p, false);
}

void process_slow(struct process *p, uint32_t percent) {
    if (!collect(p, false)) slow_set(p, percent);
}

uint64_t process_cpu_ns(const struct process *p) {
    char path[64], line[1024];
    unsigned long long user = 0, system = 0;
    if (p->ended) return p->ended_cpu_ns;
    snprintf(path, sizeof path, "/proc/%d/stat", p->pid);
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    char *name_end = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    if (name_end) sscanf(name_end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system);
    fclose(f);
    return (user + system) * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* --- syncs -------------------------------------------------------------------------------------------------------- */

void process_syncs(struct process *p, const struct disk_condition *c, uint64_t seed) {
    if (p->syncs) syncs_condition(p->syncs, c, seed);
}

struct sync_counters process_sync_counters(const struct process *p) {
    return p->syncs ? syncs_counters(p->syncs) : (struct sync_counters){0};
}

const char *process_syncs_unavailable(void) {
    static char why[160];
    pid_t child = fork();
    if (child == 0) _exit(syncs_install() >= 0 ? 0 : errno > 0 && errno < 255 ? errno : 255);
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) == -1 && errno == EINTR) {
    }
    if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) return NULL;
    snprintf(why, sizeof why, "seccomp user notifications are not allowed here: %s (a kernel of 5.0 or newer has them)",
             child > 0 && WIFEXITED(status) ? strerror(WEXITSTATUS(status)) : "no child could be made");
    return why;
}
