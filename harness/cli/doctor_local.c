/* What harrow doctor finds out about the local world: each mechanism is used for real, once, where a run would use it:
 * in a child inside namespaces. What it finds comes back through shared memory; a child that dies has found nothing. */
#include "harness/cli/doctor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/embedded.h"
#include "harness/local/namespaces.h"
#include "nemesis/filesystem/filesystem.h"
#include "nemesis/process/process.h"
#include "nemesis/switch/switch.h"
#include "targets/foreign/foreign.h"

#define PORT 7400
#define ANSWER_MS 2000

struct finding {
    bool tried;
    struct error why; /* empty: it works */
};
struct findings {
    struct finding network, capture, clocks, syncs, fuse;
};

/* --- inside namespaces -------------------------------------------------------------------------------------------- */

static int socket_at(const struct network *n, uint32_t endpoint, struct error *e) {
    if (network_enter(n->endpoint[endpoint], e)) return -1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    inet_pton(AF_INET, n->address[endpoint], &here.sin_addr);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&here, sizeof here) == 0) return fd;
    if (fd >= 0) close(fd);
    return error_set(e, "a socket at %s: %s", n->address[endpoint], strerror(errno));
}

/* A datagram from one endpoint to the other: only the switch can have brought it. */
static int send_through(const struct network *n, struct error *e) {
    int from = socket_at(n, 0, e), to = from < 0 ? -1 : socket_at(n, 1, e), failed = -1;
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    inet_pton(AF_INET, n->address[1], &there.sin_addr);
    struct pollfd answer = {.fd = to, .events = POLLIN};
    if (to >= 0 && sendto(from, "?", 1, 0, (struct sockaddr *)&there, sizeof there) == 1)
        failed = poll(&answer, 1, ANSWER_MS) == 1 ? 0 : -1;
    if (failed && !*e->text) error_set(e, "libpcap opened both links, but a frame did not come through");
    if (from >= 0) close(from);
    if (to >= 0) close(to);
    return failed;
}

static void try_capture(const struct network *n, struct finding *out) {
    struct switch_options o = {.endpoints = 2};
    for (uint32_t i = 0; i < 2; i++) {
        memcpy(o.ports[i].interface, n->interface[i], sizeof o.ports[i].interface);
        memcpy(o.ports[i].mac, n->mac[i], sizeof o.ports[i].mac);
    }
    struct net_switch *s = network_enter(n->fabric, &out->why) ? NULL : switch_new(&o, &out->why);
    if (s) (void)send_through(n, &out->why);
    if (s) switch_free(s);
    out->tried = true;
}

static void take(struct finding *out, const char *why) {
    if (why) error_set(&out->why, "%s", why);
    out->tried = true;
}

static void try_all(struct findings *f) {
    struct network n;
    take(&f->clocks, process_clock_unavailable());
    take(&f->syncs, process_syncs_unavailable());
    take(&f->fuse, filesystem_unavailable());
    f->network.tried = true;
    if (network_make(&n, &(struct network_options){.endpoints = 2}, &f->network.why)) return;
    try_capture(&n, &f->capture);
    network_free(&n);
}

static struct findings *find_out(void) {
    struct findings *f = mmap(NULL, sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (f == MAP_FAILED) return NULL;
    fflush(NULL); /* or the child would print it again */
    pid_t pid = fork();
    if (pid == 0) {
        struct error e;
        if (namespaces_enter(&e)) _exit(1);
        try_all(f);
        _exit(0);
    }
    int status;
    if (pid > 0) waitpid(pid, &status, 0);
    return f;
}

/* --- outside ------------------------------------------------------------------------------------------------------ */

static bool try_realtime(void) {
    pid_t pid = fork();
    if (pid == 0) _exit(sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1}) ? 1 : 0);
    int status = -1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* A sysctl as a number; -1 where the kernel does not know it. */
static long sysctl_value(const char *path) {
    long value = -1;
    FILE *in = fopen(path, "r");
    if (!in) return -1;
    if (fscanf(in, "%ld", &value) != 1) value = -1;
    fclose(in);
    return value;
}

/* What an ordinary user needs for namespaces; a superuser needs none of it. */
static void say_user_namespaces(struct doctor *d) {
    long max = sysctl_value("/proc/sys/user/max_user_namespaces");
    long cloned = sysctl_value("/proc/sys/kernel/unprivileged_userns_clone");
    long restricted = sysctl_value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
    const char *fix = max == 0          ? "sysctl user.max_user_namespaces=10000"
                      : cloned == 0     ? "sysctl kernel.unprivileged_userns_clone=1"
                      : restricted == 1 ? "sysctl kernel.apparmor_restrict_unprivileged_userns=0"
                                        : NULL;
    doctor_say(d, "userns", fix ? "missing" : "ok", "user namespaces: the local world for ordinary users", fix);
}

static void say_finding(struct doctor *d, const char *what, const char *use, const struct finding *f, const char *fix) {
    if (!f || !f->tried) {
        doctor_say(d, what, "missing", use, "see the lines above: without them it cannot be tried");
    } else if (*f->why.text) {
        char text[1024];
        snprintf(text, sizeof text, "%s%s%s", f->why.text, fix ? "; " : "", fix ? fix : "");
        doctor_say(d, what, "missing", use, text);
    } else {
        doctor_say(d, what, "ok", use, NULL);
    }
}

static bool works(const struct finding *f) {
    return f && f->tried && !*f->why.text;
}

static void say_targets(struct doctor *d) {
    for (size_t i = 0; i < embedded_files_count; i++) {
        const struct embedded_file *file = &embedded_files[i];
        struct error e = {{0}};
        if (strncmp(file->name, "targets/", strlen("targets/")) != 0) continue;
        struct foreign_target *t = foreign_load(file->name, bytes_of(file->text, file->size), &e);
        if (t) {
            const char *missing = foreign_missing(t);
            doctor_say(d, foreign_name(t), missing ? "missing" : "ok", foreign_doc(t), missing);
        } else {
            doctor_say(d, file->name, "broken", e.text, "this build ships a target that does not load; report it");
        }
        foreign_free(t);
    }
}

bool doctor_local(struct doctor *d) {
    const char *why = namespaces_unavailable();
    doctor_say(d, "local", why ? "missing" : "ok",
               geteuid() == 0 ? "namespaces, as root" : "namespaces, as an ordinary user", why);
    say_user_namespaces(d);
    struct findings *f = why ? NULL : find_out();
    say_finding(d, "network", "a link from each node into the switch (veth)", f ? &f->network : NULL,
                "needs a kernel with veth (CONFIG_VETH)");
    say_finding(d, "libpcap", "the switch: a frame passed through it", f ? &f->capture : NULL,
                "needs packet sockets (CONFIG_PACKET), and a seccomp profile that allows them");
    say_finding(d, "clocks", "clock faults of processes: a vDSO was patched", f ? &f->clocks : NULL, NULL);
    say_finding(d, "syncs", "faults of syncs of processes (seccomp notify)", f ? &f->syncs : NULL, NULL);
    say_finding(d, "fuse", "disk faults and power loss of processes", f ? &f->fuse : NULL, NULL);
    bool realtime = try_realtime();
    doctor_say(d, "realtime", realtime ? "ok" : "missing", "the switch before other work (SCHED_FIFO)",
               realtime ? NULL : "run as root, or `ulimit -r 1`: delays are late on a busy machine without");
    bool capped = access("/proc/sys/net/ipv4/tcp_rto_max_ms", F_OK) == 0;
    doctor_say(d, "tcp", capped ? "ok" : "missing", "a cap on how far TCP backs off in the nodes",
               capped ? NULL : "needs Linux 6.15 or later");
    say_targets(d);
    bool enough = !why && works(&f->network) && works(&f->capture);
    if (f) munmap(f, sizeof *f);
    return enough;
}
