/* The namespaces of the local world, entered for real: what is seen from inside, how endings and signals pass through
 * the chain of processes, that nothing outlives any of them, and networks whose frames are looked at on the wire.
 * Every test runs as the present user and, if that is root, also as an ordinary one. */
#include "harness/local/namespaces.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define NOBODY 65534
#define PATIENCE_MS 20000

/* In a forked child, where cmocka's own assertions would not reach the parent. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s (errno: %s)\n", __FILE__, __LINE__, #condition, strerror(errno));               \
            _exit(99);                                                                                                 \
        }                                                                                                              \
    } while (0)

static bool ordinary; /* the test runs as an ordinary user */

static void become_ordinary(void) {
    if (!ordinary) return;
    CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    CHECK(prctl(PR_SET_DUMPABLE, 1) == 0); /* as after an exec: or /proc/self would be root's */
}

static void require_namespaces(void) {
    pid_t pid = fork();
    if (pid == 0) {
        become_ordinary();
        const char *why = namespaces_unavailable();
        if (why) printf("# skipped: %s\n", why);
        fflush(stdout);
        _exit(why ? 1 : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0) skip();
}

/* Runs `body` inside; returns the status of the outer process. */
static int enter_and(void (*body)(int), int argument) {
    pid_t pid = fork();
    if (pid == 0) {
        struct error e = {{0}};
        become_ordinary();
        if (namespaces_enter(&e)) {
            fprintf(stderr, "%s\n", e.text);
            _exit(98);
        }
        body(argument);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static ino_t inode_of(const char *path) {
    struct stat st;
    CHECK(stat(path, &st) == 0);
    return st.st_ino;
}

/* --- the chain ---------------------------------------------------------------------------------------------------- */

static ino_t net_outside, pid_outside, mnt_outside;

static void look_around(int argument) {
    (void)argument;
    char self[16] = "";
    CHECK(namespaces_inside() && namespaces_unavailable() == NULL);
    CHECK(geteuid() == 0);
    CHECK(getppid() == 1);
    CHECK(readlink("/proc/self", self, sizeof self - 1) > 0 && atoi(self) == getpid());
    CHECK(inode_of("/proc/self/ns/net") != net_outside);
    CHECK(inode_of("/proc/self/ns/pid") != pid_outside);
    CHECK(inode_of("/proc/self/ns/mnt") != mnt_outside);
    CHECK(namespaces_enter(NULL) == 0 && getppid() == 1); /* the second call does nothing */
    CHECK(mount("none", "/tmp", "tmpfs", 0, NULL) == 0);  /* and is not seen outside */
    CHECK(mkdir("/tmp/only-inside", 0700) == 0);
}

static void inside_is_apart_and_root(void **state) {
    (void)state;
    require_namespaces();
    net_outside = inode_of("/proc/self/ns/net");
    pid_outside = inode_of("/proc/self/ns/pid");
    mnt_outside = inode_of("/proc/self/ns/mnt");
    assert_int_equal(enter_and(look_around, 0), 0);
    assert_int_equal(access("/tmp/only-inside", F_OK), -1);
    assert_false(namespaces_inside());
}

static void end_with(int status) {
    if (status >= 0) _exit(status);
    signal(-status, SIG_DFL);
    raise(-status);
}

static void the_end_is_passed_on(void **state) {
    (void)state;
    require_namespaces();
    int status = enter_and(end_with, 7);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    status = enter_and(end_with, 255);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 255);
    static const int signals[] = {SIGTERM, SIGKILL, SIGINT, SIGUSR1};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        status = enter_and(end_with, -signals[i]);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), signals[i]);
    }
}

static void leave_orphans(int orphans) {
    for (int i = 0; i < orphans; i++)
        if (fork() == 0) {
            if (fork() == 0) _exit(0);
            _exit(0);
        }
    while (waitpid(-1, NULL, 0) > 0) continue;
    /* The grandchildren are init's: none may stay a zombie. */
    for (int zombies = 1; zombies;) {
        zombies = 0;
        DIR *d = opendir("/proc");
        CHECK(d);
        for (struct dirent *entry; (entry = readdir(d));) {
            int pid = atoi(entry->d_name);
            if (pid > 1 && pid != getpid()) zombies++;
        }
        closedir(d);
    }
}

static void orphans_are_reaped(void **state) {
    (void)state;
    require_namespaces();
    assert_int_equal(enter_and(leave_orphans, 20), 0);
}

/* Only in a user namespace of its own may the limit be lowered: it is this namespace's alone. */
static void without_namespaces_it_says_why(void **state) {
    (void)state;
    require_namespaces();
    pid_t pid = fork();
    if (pid == 0) {
        struct error e = {{0}};
        become_ordinary();
        CHECK(unshare(CLONE_NEWUSER) == 0);
        FILE *f = fopen("/proc/sys/user/max_net_namespaces", "w");
        CHECK(f && fputs("0", f) >= 0 && fclose(f) == 0);
        CHECK(namespaces_enter(&e) == -1);
        CHECK(strstr(e.text, "max_net_namespaces"));
        CHECK(strcmp(namespaces_unavailable(), e.text) == 0);
        struct network n;
        CHECK(network_make(&n, &(struct network_options){.endpoints = 2}, &e) == -1);
        CHECK(strstr(e.text, "namespace cannot be made"));
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* --- signals ------------------------------------------------------------------------------------------------------ */

static volatile sig_atomic_t signals_seen;
static int tell_signals; /* a byte goes there for each */
static void count_signal(int number) {
    (void)number;
    signals_seen++;
    CHECK(write(tell_signals, "s", 1) == 1);
}

/* Inside: tells that it is ready, ends with 40 + the signals seen once told to by a byte. */
static void count_signals(int ready, int go) {
    char byte;
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
    tell_signals = ready;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    CHECK(write(ready, "r", 1) == 1);
    CHECK(read(go, &byte, 1) == 1);
    _exit(40 + signals_seen);
}

static void expect_byte(int fd, char wanted) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char got = 0;
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    assert_int_equal(read(fd, &got, 1), 1);
    assert_int_equal(got, wanted);
}

static void a_signal_to_outer_reaches_inside(void **state) {
    (void)state;
    require_namespaces();
    int ready[2], go[2], status;
    assert_int_equal(pipe(ready) | pipe(go), 0);
    pid_t pid = fork();
    if (pid == 0) {
        become_ordinary();
        CHECK(namespaces_enter(NULL) == 0);
        count_signals(ready[1], go[0]);
    }
    expect_byte(ready[0], 'r');
    assert_int_equal(kill(pid, SIGTERM), 0);
    expect_byte(ready[0], 's');
    assert_int_equal(kill(pid, SIGINT), 0);
    expect_byte(ready[0], 's');
    assert_int_equal(write(go[1], "g", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    for (int i = 0; i < 2; i++) close(ready[i]), close(go[i]);
}

static void ctrl_c_reaches_inside_once_and_outer_outlives_it(void **state) {
    (void)state;
    require_namespaces();
    int ready[2], go[2], status, terminal;
    assert_int_equal(pipe(ready) | pipe(go), 0);
    pid_t pid = forkpty(&terminal, NULL, NULL, NULL);
    if (pid == 0) {
        become_ordinary();
        CHECK(namespaces_enter(NULL) == 0);
        count_signals(ready[1], go[0]);
    }
    expect_byte(ready[0], 'r');
    assert_int_equal(write(terminal, "\003", 1), 1);
    expect_byte(ready[0], 's');
    assert_int_equal(write(go[1], "g", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 41);
    close(terminal);
    for (int i = 0; i < 2; i++) close(ready[i]), close(go[i]);
}

static void a_hang_up_ends_it(void **state) {
    (void)state;
    require_namespaces();
    int ready[2], status, terminal;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = forkpty(&terminal, NULL, NULL, NULL);
    if (pid == 0) {
        become_ordinary();
        CHECK(namespaces_enter(NULL) == 0);
        CHECK(write(ready[1], "r", 1) == 1);
        for (;;) pause();
    }
    expect_byte(ready[0], 'r');
    close(terminal);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGHUP);
    close(ready[0]), close(ready[1]);
}

/* --- nothing is left ---------------------------------------------------------------------------------------------- */

static pid_t child_of(pid_t parent) {
    pid_t found = 0;
    DIR *d = opendir("/proc");
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d));) {
        char path[300];
        int pid, its_parent = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *f = atoi(entry->d_name) ? fopen(path, "r") : NULL;
        if (!f) continue;
        if (fscanf(f, "%d %*s %*c %d", &pid, &its_parent) == 2 && its_parent == parent) found = pid;
        fclose(f);
    }
    closedir(d);
    return found;
}

static uint32_t processes_in(ino_t net) {
    uint32_t count = 0;
    DIR *d = opendir("/proc");
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d));) {
        char path[300];
        struct stat st;
        snprintf(path, sizeof path, "/proc/%s/ns/net", entry->d_name);
        if (stat(path, &st) == 0 && st.st_ino == net) count++;
    }
    closedir(d);
    return count;
}

/* Inside: a network, a mount, and a daemon that has left its session and would live on; all hold `alive`. */
static void settle(int alive) {
    struct network n;
    CHECK(network_make(&n, &(struct network_options){.endpoints = 3}, NULL) == 0);
    CHECK(mount("none", "/tmp", "tmpfs", 0, NULL) == 0);
    if (fork() == 0) {
        setsid();
        if (fork()) _exit(0);
        ino_t net = inode_of("/proc/self/ns/net");
        CHECK(write(alive, &net, sizeof net) == sizeof net);
        for (;;) pause();
    }
    for (;;) pause();
}

static void kill_link_of_chain(uint32_t link) {
    int alive[2], status;
    ino_t net = 0;
    assert_int_equal(pipe(alive), 0);
    pid_t chain[3] = {fork()};
    if (chain[0] == 0) {
        become_ordinary();
        CHECK(namespaces_enter(NULL) == 0);
        settle(alive[1]);
    }
    close(alive[1]);
    assert_int_equal(read(alive[0], &net, sizeof net), sizeof net);
    assert_int_not_equal(chain[1] = child_of(chain[0]), 0);
    for (int i = 0; i < 500 && processes_in(net) > 3; i++) usleep(10000); /* the daemon's parent is about to end */
    assert_int_equal(processes_in(net), 3);                               /* init, inside, the daemon */
    /* inside has the lower number of init's children */
    for (pid_t at = chain[1] + 1; !chain[2]; at++) {
        char path[64], line[256] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", at);
        FILE *f = fopen(path, "r");
        if (!f) continue;
        int its_parent = 0;
        if (fgets(line, sizeof line, f) && sscanf(line, "%*d %*s %*c %d", &its_parent) == 1 && its_parent == chain[1])
            chain[2] = at;
        fclose(f);
    }
    assert_int_equal(kill(chain[link], SIGKILL), 0);
    struct pollfd p = {.fd = alive[0], .events = POLLIN};
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    assert_int_equal(read(alive[0], &net, 1), 0); /* end of file: nobody holds the other end */
    assert_int_equal(waitpid(chain[0], &status, 0), chain[0]);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    /* Descriptors are closed before a process is gone altogether. */
    for (int ms = 0; ms < PATIENCE_MS && (processes_in(net) || kill(chain[2], 0) == 0); ms += 10) usleep(10000);
    assert_int_equal(processes_in(net), 0);
    assert_int_equal(kill(chain[2], 0), -1);
    close(alive[0]);
}

static void nothing_outlives_outer(void **state) {
    (void)state;
    require_namespaces();
    kill_link_of_chain(0);
}

static void nothing_outlives_init(void **state) {
    (void)state;
    require_namespaces();
    kill_link_of_chain(1);
}

static void nothing_outlives_inside(void **state) {
    (void)state;
    require_namespaces();
    kill_link_of_chain(2);
}

/* --- networks ----------------------------------------------------------------------------------------------------- */

static bool reads(const char *path, const char *wanted) {
    char text[64] = "";
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool got = fgets(text, sizeof text, f) != NULL;
    fclose(f);
    text[strcspn(text, "\n")] = 0;
    return got && strcmp(text, wanted) == 0;
}

static struct ifreq ask(int fd, const char *interface, unsigned long what) {
    struct ifreq r = {0};
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", interface);
    CHECK(ioctl(fd, what, &r) == 0);
    return r;
}

static uint32_t offload(int fd, const char *interface, uint32_t command) {
    struct ethtool_value value = {.cmd = command};
    struct ifreq r = {.ifr_data = (void *)&value};
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", interface);
    CHECK(ioctl(fd, SIOCETHTOOL, &r) == 0);
    return value.data;
}

static uint32_t permanent_neighbours(void) {
    char line[256];
    uint32_t count = 0;
    unsigned int last, type, flags, mac;
    FILE *f = fopen("/proc/net/arp", "r");
    CHECK(f);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "10.77.0.%u 0x%x 0x%x 02:68:72:00:00:%x", &last, &type, &flags, &mac) == 4 && flags == 0x6 &&
            mac == last)
            count++;
    fclose(f);
    return count;
}

static void check_endpoint(const struct network *n, uint32_t i) {
    char address[16];
    snprintf(address, sizeof address, "10.77.0.%u", i + 1);
    CHECK(strcmp(n->address[i], address) == 0);
    CHECK(network_enter(n->endpoint[i], NULL) == 0);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq r = ask(fd, "eth0", SIOCGIFADDR);
    CHECK(((struct sockaddr_in *)&r.ifr_addr)->sin_addr.s_addr == inet_addr(address));
    r = ask(fd, "eth0", SIOCGIFHWADDR);
    CHECK(memcmp(r.ifr_hwaddr.sa_data, n->mac[i], 6) == 0);
    CHECK(ask(fd, "eth0", SIOCGIFMTU).ifr_mtu == 1500);
    CHECK(ask(fd, "eth0", SIOCGIFFLAGS).ifr_flags & IFF_UP);
    CHECK(ask(fd, "lo", SIOCGIFFLAGS).ifr_flags & IFF_UP);
    static const uint32_t off[] = {ETHTOOL_GTXCSUM, ETHTOOL_GTSO, ETHTOOL_GGRO};
    for (size_t k = 0; k < sizeof off / sizeof *off; k++) CHECK(offload(fd, "eth0", off[k]) == 0);
    CHECK(permanent_neighbours() == n->endpoints - 1);
    FILE *f = fopen("/proc/net/if_inet6", "r");
    CHECK(!f || fgetc(f) == EOF); /* no IPv6 address at all */
    if (f) fclose(f);
    close(fd);
}

static void make_and_look(int argument) {
    (void)argument;
    struct error e = {{0}};
    struct network n, second;
    ino_t own = inode_of("/proc/self/ns/net");
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    CHECK(network_make(&n, &(struct network_options){.endpoints = 6}, &e) == 0);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    printf("# 6 endpoints in %.1f ms\n",
           (double)(t1.tv_sec - t0.tv_sec) * 1e3 + (double)(t1.tv_nsec - t0.tv_nsec) / 1e6);
    CHECK(inode_of("/proc/self/ns/net") == own);
    CHECK(network_make(&second, &(struct network_options){.endpoints = ENDPOINTS_MAX}, &e) == 0);
    int home = open("/proc/self/ns/net", O_RDONLY);
    for (uint32_t i = 0; i < n.endpoints; i++) check_endpoint(&n, i);
    for (uint32_t i = 0; i < second.endpoints; i++) check_endpoint(&second, i);
    CHECK(network_enter(n.fabric, NULL) == 0);
    for (uint32_t i = 0; i < n.endpoints; i++) CHECK(if_nametoindex(n.interface[i]) != 0);
    CHECK(network_enter(home, NULL) == 0);
    network_free(&second);
    network_free(&n);
    fflush(stdout);
}

static void endpoints_are_as_promised(void **state) {
    (void)state;
    require_namespaces();
    assert_int_equal(enter_and(make_and_look, 0), 0);
}

static uint64_t sum_words(const uint8_t *data, size_t size) { /* the Internet checksum's sum, RFC 1071 */
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++) sum += (uint64_t)data[i] << (i % 2 ? 0 : 8);
    return sum;
}

static bool tcp_checksum_right(const uint8_t *frame, size_t size) {
    const uint8_t *ip = frame + ETH_HLEN;
    size_t total = (size_t)ip[2] << 8 | ip[3], header = (size_t)(ip[0] & 15) * 4;
    if (size < ETH_HLEN + total) return false;
    uint64_t sum = sum_words(ip + 12, 8) + IPPROTO_TCP + (total - header) + sum_words(ip + header, total - header);
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return sum == 0xffff;
}

static int socket_in(const struct network *n, uint32_t endpoint) {
    CHECK(network_enter(n->endpoint[endpoint], NULL) == 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    return fd;
}

/* TCP from endpoint 1 to endpoint 0 over the kernel bridge; what crosses the fabric is looked at on its port. */
static void talk_over_bridge(int argument) {
    (void)argument;
    static uint8_t data[200000], frame[70000];
    struct network n;
    struct error e = {{0}};
    if (network_make(&n, &(struct network_options){.endpoints = 3, .bridge = true, .tcp_rto_max_ns = NS_PER_S}, &e)) {
        fprintf(stderr, "%s\n", e.text);
        _exit(97);
    }
    CHECK(network_enter(n.fabric, NULL) == 0);
    int eye = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    struct sockaddr_ll port = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(n.interface[1])};
    CHECK(setsockopt(eye, SOL_SOCKET, SO_RCVBUFFORCE, &(int){1 << 23}, sizeof(int)) == 0 || errno == EPERM);
    CHECK(bind(eye, (struct sockaddr *)&port, sizeof port) == 0);
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(7000)};
    inet_aton(n.address[0], &server.sin_addr);
    int listener = socket_in(&n, 0), out = socket_in(&n, 1);
    if (access("/proc/sys/net/ipv4/tcp_rto_max_ms", F_OK) == 0)
        CHECK(reads("/proc/sys/net/ipv4/tcp_rto_max_ms", "1000"));
    CHECK(bind(listener, (struct sockaddr *)&server, sizeof server) == 0 && listen(listener, 1) == 0);
    CHECK(connect(out, (struct sockaddr *)&server, sizeof server) == 0);
    int in = accept(listener, NULL, NULL);
    if (fork() == 0) {
        for (size_t sent = 0; sent < sizeof data;) {
            ssize_t wrote = write(out, data + sent, sizeof data - sent);
            CHECK(wrote > 0);
            sent += (size_t)wrote;
        }
        _exit(0);
    }
    for (size_t got = 0; got < sizeof data;) {
        ssize_t some = read(in, data, sizeof data);
        CHECK(some > 0);
        got += (size_t)some;
    }
    uint32_t frames = 0;
    ssize_t size;
    while ((size = recv(eye, frame, sizeof frame, MSG_DONTWAIT)) > 0) {
        CHECK(frame[12] == 8 && frame[13] == 0 && frame[ETH_HLEN + 9] == IPPROTO_TCP); /* no ARP, no IPv6 */
        CHECK(size <= ETH_HLEN + 1500);
        CHECK(tcp_checksum_right(frame, (size_t)size));
        frames++;
    }
    CHECK(frames > sizeof data / 1500 / 2);
    network_free(&n);
}

static void tcp_crosses_with_whole_checksums(void **state) {
    (void)state;
    require_namespaces();
    assert_int_equal(enter_and(talk_over_bridge, 0), 0);
}

static void worlds_stand_side_by_side(void **state) {
    (void)state;
    require_namespaces();
    pid_t pids[3];
    for (int i = 0; i < 3; i++)
        if ((pids[i] = fork()) == 0) {
            become_ordinary();
            CHECK(namespaces_enter(NULL) == 0);
            make_and_look(0);
            _exit(0);
        }
    for (int i = 0; i < 3; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
}

static void a_bad_back_off_is_refused(int argument) {
    (void)argument;
    struct error e = {{0}};
    struct network n;
    if (access("/proc/sys/net/ipv4/tcp_rto_max_ms", F_OK)) return;
    CHECK(network_make(&n, &(struct network_options){.endpoints = 2, .tcp_rto_max_ns = 1}, &e) == -1);
    CHECK(strstr(e.text, "tcp_rto_max_ms"));
    CHECK(open("/dev/null", O_RDONLY) < 10); /* nothing stayed open */
}

static void a_failed_network_is_taken_back(void **state) {
    (void)state;
    require_namespaces();
    assert_int_equal(enter_and(a_bad_back_off_is_refused, 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inside_is_apart_and_root),
        cmocka_unit_test(the_end_is_passed_on),
        cmocka_unit_test(orphans_are_reaped),
        cmocka_unit_test(without_namespaces_it_says_why),
        cmocka_unit_test(a_signal_to_outer_reaches_inside),
        cmocka_unit_test(ctrl_c_reaches_inside_once_and_outer_outlives_it),
        cmocka_unit_test(a_hang_up_ends_it),
        cmocka_unit_test(nothing_outlives_outer),
        cmocka_unit_test(nothing_outlives_init),
        cmocka_unit_test(nothing_outlives_inside),
        cmocka_unit_test(endpoints_are_as_promised),
        cmocka_unit_test(tcp_crosses_with_whole_checksums),
        cmocka_unit_test(worlds_stand_side_by_side),
        cmocka_unit_test(a_failed_network_is_taken_back),
    };
    int failed = cmocka_run_group_tests_name("namespaces", tests, NULL, NULL);
    if (geteuid() != 0) return failed;
    ordinary = true;
    return failed + cmocka_run_group_tests_name("namespaces of an ordinary user", tests, NULL, NULL);
}
