/* harrow doctor: what this machine can and cannot do for harrow, and how to fix it. Nothing here is needed to judge a
 * run, except a store that can be written. */
#include "harness/cli/cli.h"
#include "harness/local/namespaces.h"
#include "nemesis/filesystem/filesystem.h"
#include "nemesis/process/process.h"

#include <errno.h>
#include <lua.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPACE_LOW_BYTES (UINT64_C(100) << 20)

struct doctor {
    struct cli *c;
    json_t *array;
    bool broken;
    bool local_missing; /* something that every run in the local world needs */
};

/* `fix` is NULL when all is well. */
static void say(struct doctor *d, const char *what, const char *state, const char *detail, const char *fix) {
    json_array_append_new(d->array, json_pack("{s:s, s:s, s:o, s:o}", "what", what, "state", state, "detail",
                                              json_text(detail), "fix", fix ? json_text(fix) : json_null()));
    if (d->c->json) return;
    printf("%-9s %-8s %s\n", what, state, detail);
    if (fix) printf("%-9s %-8s -> %s\n", "", "", fix);
}

static void look_at_gnuplot(struct doctor *d) {
    char line[128] = "";
    FILE *in = popen("gnuplot --version 2>/dev/null", "r");
    if (in) {
        if (!fgets(line, sizeof line, in)) line[0] = 0;
        pclose(in);
    }
    line[strcspn(line, "\n")] = 0;
    if (*line)
        say(d, "gnuplot", "ok", line, NULL);
    else
        say(d, "gnuplot", "missing", "reports will have no plots", "apt-get install gnuplot-nox");
}

/* The nearest folder that is there: the store itself is made by the first run. */
static char *existing_parent(const char *path) {
    char *at = xstrdup(path);
    struct stat st;
    while (stat(at, &st) && errno == ENOENT) {
        char *slash = strrchr(at, '/');
        if (!slash || slash == at) {
            free(at);
            return xstrdup(slash ? "/" : ".");
        }
        *slash = 0;
    }
    return at;
}

static void look_at_store(struct doctor *d) {
    const char *path = d->c->out ? d->c->out : "store";
    char *folder = existing_parent(path), detail[512];
    struct statvfs fs;
    if (access(folder, W_OK | X_OK)) {
        snprintf(detail, sizeof detail, "%s cannot be written: %s", path, strerror(errno));
        say(d, "store", "broken", detail, "choose another folder with --out DIR");
        d->broken = true;
    } else {
        snprintf(detail, sizeof detail, "%s can be written", path);
        say(d, "store", "ok", detail, NULL);
    }
    if (statvfs(folder, &fs) == 0) {
        uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
        bool low = free_bytes < SPACE_LOW_BYTES;
        snprintf(detail, sizeof detail, "%llu MiB free", (unsigned long long)(free_bytes >> 20));
        say(d, "disk", low ? "low" : "ok", detail, low ? "make room, or choose another folder with --out DIR" : NULL);
    }
    free(folder);
}

/* --- the local world ---------------------------------------------------------------------------------------------- */

/* In a child, since it ends inside namespaces: 0 when a network and a socket for its frames can be made. */
static int try_network(void) {
    struct network n;
    struct error e = {{0}};
    fflush(NULL); /* or the child would print it again */
    pid_t pid = fork();
    if (pid == 0) {
        if (namespaces_enter(&e) || network_make(&n, &(struct network_options){.endpoints = 2}, &e)) _exit(1);
        _exit(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0) < 0 ? 2 : 0);
    }
    int status = -1;
    if (pid > 0) waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static bool try_realtime(void) {
    pid_t pid = fork();
    if (pid == 0) _exit(sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1}) ? 1 : 0);
    int status = -1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* `why` is NULL when it works; else it says itself what to do. */
static void say_works(struct doctor *d, const char *what, const char *use, const char *why) {
    say(d, what, why ? "missing" : "ok", use, why);
}

static void look_at_local(struct doctor *d) {
    const char *why = namespaces_unavailable();
    say_works(d, "local", geteuid() == 0 ? "namespaces, as root" : "namespaces, as an ordinary user", why);
    int network = why ? 1 : try_network();
    static const char *const advice[] = {
        NULL, "needs namespaces, and a kernel with veth (CONFIG_VETH)",
        "needs a kernel with packet sockets (CONFIG_PACKET), and a seccomp profile that allows them"};
    say_works(d, "network", "links between nodes, and the switch that faults happen in",
              advice[network > 2 ? 1 : network]);
    d->local_missing = why || network;
    say_works(d, "clocks", "clock faults of processes", process_clock_unavailable());
    say_works(d, "syncs", "faults of syncs of processes", process_syncs_unavailable());
    say_works(d, "fuse", "disk faults and power loss of processes", filesystem_unavailable());
    say_works(d, "realtime", "delays of links that are exact on a busy machine",
              try_realtime() ? NULL : "run as root, or `ulimit -r 1`");
    say_works(d, "tcp", "a cap on how far TCP backs off in the nodes",
              access("/proc/sys/net/ipv4/tcp_rto_max_ms", F_OK) == 0 ? NULL : "needs Linux 6.15 or later");
}

int command_doctor(struct cli *c) {
    struct doctor d = {.c = c, .array = json_array()};
    char machine[256];
    cli_machine(machine, sizeof machine);
    say(&d, "harrow", "ok", HARROW_VERSION, NULL);
    say(&d, "machine", "ok", machine, NULL);
    say(&d, "lua", "ok", LUA_RELEASE, NULL);
    say(&d, "sqlite", "ok", sqlite3_libversion(), NULL);
    look_at_gnuplot(&d);
    look_at_store(&d);
    say(&d, "terminal", "ok", isatty(STDOUT_FILENO) ? "yes: colours and a progress line" : "no: plain text", NULL);
    say(&d, "sim", "ok", "every fault: link, kill, pause, slow, clock, power, disk", NULL);
    look_at_local(&d);
    if (c->json)
        cli_print_json(d.array);
    else
        json_decref(d.array);
    if (d.broken) return EXIT_INVALID;
    return d.local_missing ? EXIT_UNKNOWN : EXIT_VALID;
}
