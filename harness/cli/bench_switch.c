/* harrow bench switch: what the libpcap switch costs. Two networks of the same make, one joined by a kernel bridge and
 * one by the switch, are measured in turns: round trips of one byte over TCP. Then small UDP frames as fast as they
 * come, with the processor time of the switch's thread, and how late it releases delayed frames.
 *
 * A round trip is mostly the waking of threads, and waking one on another processor costs several times as much as all
 * the rest. So the ends are pinned, in the same way for both networks: to one processor, and to two. The switch's own
 * thread runs wherever the kernel puts it, as in a run. The figures without a prefix are those of one processor, where
 * the kernel keeps what wakes one another if it can: in runs of three nodes on two processors, half to nine tenths of
 * all pairs of nodes and clients shared one. Across two the switch may add less than nothing: for some time after a
 * frame it does not sleep, and need not be woken, where a bridge has to wake a processor for each frame.
 *
 * The receiver of small frames looks every millisecond, as a busy program would: one that sleeps between frames would
 * have to be woken for each, and that is no cost of the switch. */
#include "harness/cli/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "harness/local/namespaces.h"
#include "nemesis/switch/switch.h"

#define ROUNDS 5
#define PINGS 2000 /* a round */
#define FLOOD_NS (2 * NS_PER_S)
#define FLOOD_BATCH 64
#define FLOOD_PAYLOAD_BYTES 22 /* 64 bytes with the headers */
#define FLOOD_BUFFER_BYTES (8 << 20)
#define NAP_US 1000
#define DELAY_NS (2 * NS_PER_MS)
#define DELAYED_FRAMES 1000
#define PORT 7400

enum placement { ONE_PROCESSOR, TWO_PROCESSORS, PLACEMENTS };

struct side { /* a network, and two connected ends in it */
    struct network network;
    int here, there;
    pthread_t echoes;
    uint64_t round_trips[PLACEMENTS][ROUNDS * PINGS];
    size_t count[PLACEMENTS];
};

struct flood {
    int here, there;
    uint64_t offered, received, forwarded, kernel_dropped;
    double seconds, cpu_us_per_frame;
    atomic_bool over;
};

static struct sockaddr_in address_of(const struct network *n, uint32_t endpoint, uint16_t port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, n->address[endpoint], &a.sin_addr);
    return a;
}

/* A bound socket in an endpoint's namespace; -1 with e set. */
static int socket_at(const struct network *n, uint32_t endpoint, int type, uint16_t port, struct error *e) {
    if (network_enter(n->endpoint[endpoint], e)) return -1;
    struct sockaddr_in a = address_of(n, endpoint, port);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), yes = 1;
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a))
        return error_set(e, "a socket at %s: %s", n->address[endpoint], strerror(errno));
    if (type == SOCK_STREAM) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return network_enter(n->fabric, e) ? -1 : fd;
}

static void *echo(void *argument) {
    const struct side *x = argument;
    char byte;
    while (recv(x->there, &byte, 1, 0) == 1 && send(x->there, &byte, 1, MSG_NOSIGNAL) == 1) {
    }
    return NULL;
}

static int side_connect(struct side *x, struct error *e) {
    int listener = socket_at(&x->network, 1, SOCK_STREAM, PORT, e);
    x->here = listener < 0 ? -1 : socket_at(&x->network, 0, SOCK_STREAM, 0, e);
    if (x->here < 0) return -1;
    struct sockaddr_in a = address_of(&x->network, 1, PORT);
    if (listen(listener, 1) || connect(x->here, (struct sockaddr *)&a, sizeof a) ||
        (x->there = accept(listener, NULL, NULL)) < 0 || pthread_create(&x->echoes, NULL, echo, x))
        return error_set(e, "a connection between namespaces: %s", strerror(errno));
    close(listener);
    return 0;
}

static int side_ping(struct side *x, enum placement placement, struct error *e) {
    for (size_t i = 0; i < PINGS; i++) {
        char byte = 'p';
        uint64_t start_ns = monotonic_ns();
        if (send(x->here, &byte, 1, MSG_NOSIGNAL) != 1 || recv(x->here, &byte, 1, 0) != 1)
            return error_set(e, "a round trip over TCP: %s", strerror(errno));
        x->round_trips[placement][x->count[placement]++] = monotonic_ns() - start_ns;
    }
    return 0;
}

static void side_end(struct side *x) {
    shutdown(x->there, SHUT_RDWR);
    pthread_join(x->echoes, NULL);
    close(x->here);
    close(x->there);
    network_free(&x->network);
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double quantile_us(struct side *x, enum placement placement, size_t percent) {
    uint64_t *round_trips = x->round_trips[placement];
    qsort(round_trips, x->count[placement], sizeof *round_trips, by_value);
    return (double)round_trips[x->count[placement] * percent / 100] / 1e3;
}

/* Two of the processors that this process may use; false: there is only one, and it is both. */
static bool two_processors(const cpu_set_t *usable, cpu_set_t pins[2]) {
    size_t found = 0;
    for (size_t i = 0; i < CPU_SETSIZE && found < 2; i++) {
        if (!CPU_ISSET(i, usable)) continue;
        for (size_t k = found++; k < 2; k++) {
            CPU_ZERO(&pins[k]);
            CPU_SET(i, &pins[k]);
        }
    }
    return found == 2;
}

/* Leaves the calling thread on all processors again. */
static int round_trips(struct side *bridge, struct side *through, bool *two, struct error *e) {
    cpu_set_t usable, pins[2];
    sched_getaffinity(0, sizeof usable, &usable);
    *two = two_processors(&usable, pins);
    enum placement last = *two ? TWO_PROCESSORS : ONE_PROCESSOR;
    int failed = 0;
    for (int round = 0; round < ROUNDS && !failed; round++) {
        for (enum placement p = ONE_PROCESSOR; p <= last && !failed; p++) {
            const cpu_set_t *there = &pins[p == TWO_PROCESSORS];
            if (sched_setaffinity(0, sizeof *pins, &pins[0]) ||
                pthread_setaffinity_np(bridge->echoes, sizeof *there, there) ||
                pthread_setaffinity_np(through->echoes, sizeof *there, there))
                failed = error_set(e, "a thread cannot be pinned to a processor");
            if (!failed) failed = side_ping(bridge, p, e) || side_ping(through, p, e) ? -1 : 0;
        }
    }
    sched_setaffinity(0, sizeof usable, &usable);
    return failed;
}

static void *flood_receive(void *argument) {
    struct flood *f = argument;
    char data[FLOOD_BATCH][FLOOD_PAYLOAD_BYTES];
    struct iovec parts[FLOOD_BATCH];
    struct mmsghdr messages[FLOOD_BATCH] = {0};
    for (size_t i = 0; i < FLOOD_BATCH; i++) {
        parts[i] = (struct iovec){data[i], sizeof data[i]};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (;;) {
        bool over = atomic_load(&f->over);
        int got = recvmmsg(f->there, messages, FLOOD_BATCH, MSG_DONTWAIT, NULL);
        if (got > 0)
            f->received += (uint64_t)got;
        else if (over)
            return NULL;
        else
            usleep(NAP_US);
    }
}

static void flood_send(struct flood *f, uint64_t for_ns) {
    static char data[FLOOD_PAYLOAD_BYTES];
    struct iovec part = {data, sizeof data};
    struct mmsghdr messages[FLOOD_BATCH] = {0};
    for (size_t i = 0; i < FLOOD_BATCH; i++) messages[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
    for (uint64_t start_ns = monotonic_ns(); monotonic_ns() - start_ns < for_ns;) {
        int sent = sendmmsg(f->here, messages, FLOOD_BATCH, 0);
        if (sent > 0) f->offered += (uint64_t)sent;
    }
}

/* Small frames for a while. What is still in the switch at the end counts, and so does the time that it takes. */
static int flood(const struct side *x, struct net_switch *s, struct flood *f, struct error *e) {
    f->here = socket_at(&x->network, 0, SOCK_DGRAM, 0, e);
    f->there = f->here < 0 ? -1 : socket_at(&x->network, 1, SOCK_DGRAM, PORT + 1, e);
    if (f->there < 0) return -1;
    struct sockaddr_in a = address_of(&x->network, 1, PORT + 1);
    const int bytes = FLOOD_BUFFER_BYTES;
    setsockopt(f->there, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
    struct switch_lateness before, after;
    struct link_counters link;
    pthread_t receiver;
    if (connect(f->here, (struct sockaddr *)&a, sizeof a) || pthread_create(&receiver, NULL, flood_receive, f))
        return error_set(e, "a flood of frames: %s", strerror(errno));
    switch_lateness(s, &before);
    uint64_t start_ns = monotonic_ns();
    flood_send(f, FLOOD_NS);
    switch_counters(s, 0, 1, &link); /* has forwarded all that was offered */
    f->seconds = (double)(monotonic_ns() - start_ns) / 1e9;
    switch_lateness(s, &after);
    atomic_store(&f->over, true);
    pthread_join(receiver, NULL);
    f->forwarded = after.frames - before.frames;
    f->kernel_dropped = after.kernel_dropped - before.kernel_dropped;
    f->cpu_us_per_frame = f->forwarded ? (double)(after.cpu_ns - before.cpu_ns) / 1e3 / (double)f->forwarded : 0;
    close(f->here);
    close(f->there);
    return 0;
}

static int delayed(const struct side *x, struct net_switch *s, struct switch_lateness *late, struct error *e) {
    uint32_t links[ENDPOINTS_MAX] = {2};
    int fd = socket_at(&x->network, 0, SOCK_DGRAM, 0, e);
    uint32_t rule = fd < 0 ? 0 : switch_rule_add(s, links, &(struct link_condition){.delay_ns = DELAY_NS}, NULL, e);
    if (!rule) return -1;
    struct sockaddr_in a = address_of(&x->network, 1, PORT + 1);
    for (int i = 0; i < DELAYED_FRAMES; i++) {
        (void)!sendto(fd, "x", 1, 0, (struct sockaddr *)&a, sizeof a);
        usleep(500);
    }
    usleep(2 * DELAY_NS / NS_PER_US);
    switch_rule_remove(s, rule);
    switch_lateness(s, late);
    close(fd);
    return 0;
}

static struct net_switch *join(const struct network *n, struct error *e) {
    struct switch_options o = {.endpoints = n->endpoints, .seed = 1};
    for (uint32_t i = 0; i < n->endpoints; i++) {
        memcpy(o.ports[i].interface, n->interface[i], sizeof o.ports[i].interface);
        memcpy(o.ports[i].mac, n->mac[i], sizeof o.ports[i].mac);
    }
    return network_enter(n->fabric, e) ? NULL : switch_new(&o, e);
}

static void put(json_t *figures, const char *prefix, const char *name, double value) {
    char *key = xformat("%s%s", prefix, name);
    json_object_set_new(figures, key, json_real(value));
    free(key);
}

static void put_round_trips(json_t *figures, struct side *bridge, struct side *through, enum placement p,
                            const char *prefix) {
    double bridge_p50 = quantile_us(bridge, p, 50), switch_p50 = quantile_us(through, p, 50);
    put(figures, prefix, "bridge_rtt_p50_us", bridge_p50);
    put(figures, prefix, "bridge_rtt_p99_us", quantile_us(bridge, p, 99));
    put(figures, prefix, "switch_rtt_p50_us", switch_p50);
    put(figures, prefix, "switch_rtt_p99_us", quantile_us(through, p, 99));
    put(figures, prefix, "added_rtt_p50_us", switch_p50 - bridge_p50);
}

static int measure(struct side *bridge, struct side *through, struct net_switch *s, json_t *figures, struct error *e) {
    struct flood f = {0};
    struct switch_lateness late;
    bool two;
    if (round_trips(bridge, through, &two, e) || flood(through, s, &f, e) || delayed(through, s, &late, e)) return -1;
    json_object_set_new(figures, "placement", json_string("ends pinned to one processor, switch free"));
    put_round_trips(figures, bridge, through, ONE_PROCESSOR, "");
    if (two) put_round_trips(figures, bridge, through, TWO_PROCESSORS, "two_processors_");
    put(figures, "", "frames_per_s", (double)f.received / f.seconds);
    put(figures, "", "frames_offered_per_s", (double)f.offered / f.seconds);
    put(figures, "", "frames_forwarded_per_s", (double)f.forwarded / f.seconds);
    put(figures, "", "frames_dropped_per_s", (double)f.kernel_dropped / f.seconds);
    put(figures, "", "cpu_us_per_frame", f.cpu_us_per_frame);
    put(figures, "", "delay_late_p50_us", (double)late.p50_ns / 1e3);
    put(figures, "", "delay_late_p99_us", (double)late.p99_ns / 1e3);
    json_object_set_new(figures, "realtime", json_boolean(late.realtime));
    return 0;
}

/* Ends with the process if it fails: then so do its namespaces. */
static int bench(json_t *figures, struct error *e) {
    static struct side bridge, through;
    const struct network_options with_bridge = {.endpoints = 2, .bridge = true}, without = {.endpoints = 2};
    if (network_make(&bridge.network, &with_bridge, e) || network_make(&through.network, &without, e)) return -1;
    struct net_switch *s = join(&through.network, e);
    if (!s || side_connect(&bridge, e) || side_connect(&through, e)) return -1;
    int failed = measure(&bridge, &through, s, figures, e);
    side_end(&bridge);
    side_end(&through);
    switch_free(s);
    return failed;
}

int bench_switch(struct cli *c) {
    struct error e = {{0}};
    json_t *figures = json_object();
    if (namespaces_enter(&e) || bench(figures, &e)) {
        json_decref(figures);
        return cli_fail(EXIT_INTERNAL, c, &e);
    }
    const char *key;
    json_t *value;
    FILE *say = cli_say(c);
    fprintf(say,
            "two endpoints; TCP round trips of one byte, by a kernel bridge and by the switch, both with their\n"
            "ends pinned to one processor (two_processors: to two); UDP frames of 64 bytes, as many as one sender\n"
            "offers, to a receiver that looks every millisecond; frames delayed by 2 ms\n");
    json_object_foreach(figures, key, value) {
        if (json_is_real(value))
            fprintf(say, "%-32s %.1f\n", key, json_real_value(value));
        else
            fprintf(say, "%-32s %s\n", key,
                    json_is_string(value) ? json_string_value(value)
                    : json_is_true(value) ? "yes"
                                          : "no");
    }
    if (c->json)
        bench_print_figures("switch", figures);
    else
        json_decref(figures);
    return EXIT_VALID;
}
