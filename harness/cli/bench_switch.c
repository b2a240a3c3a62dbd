/* harrow bench switch: what the libpcap switch costs. Two networks of the same make, one joined by a kernel bridge and
 * one by the switch, are measured in turns: round trips of one byte over TCP. Then small UDP frames as fast as they
 * come, with the processor time of the switch's thread, and how late it releases delayed frames. */
#include "harness/cli/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "harness/local/namespaces.h"
#include "nemesis/switch/switch.h"

#define ROUNDS 5
#define PINGS 2000 /* a round */
#define FLOOD_NS (2 * NS_PER_S)
#define FLOOD_BATCH 64
#define FLOOD_PAYLOAD_BYTES 22 /* 64 bytes with the headers */
#define DELAY_NS (2 * NS_PER_MS)
#define DELAYED_FRAMES 1000
#define PORT 7400

struct side { /* a network, and two connected ends in it */
    struct network network;
    int here, there;
    pthread_t echoes;
    uint64_t round_trips[ROUNDS * PINGS];
    size_t count;
};

struct flood {
    int here, there;
    uint64_t received;
    volatile bool over;
};

static uint64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

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

static int side_ping(struct side *x, struct error *e) {
    for (size_t i = 0; i < PINGS; i++) {
        char byte = 'p';
        uint64_t start_ns = clock_ns();
        if (send(x->here, &byte, 1, MSG_NOSIGNAL) != 1 || recv(x->here, &byte, 1, 0) != 1)
            return error_set(e, "a round trip over TCP: %s", strerror(errno));
        x->round_trips[x->count++] = clock_ns() - start_ns;
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

static double quantile_us(struct side *x, size_t percent) {
    qsort(x->round_trips, x->count, sizeof *x->round_trips, by_value);
    return (double)x->round_trips[x->count * percent / 100] / 1e3;
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
    while (!f->over) {
        int got = recvmmsg(f->there, messages, FLOOD_BATCH, MSG_WAITFORONE, NULL);
        if (got > 0) f->received += (uint64_t)got;
    }
    return NULL;
}

static void flood_send(struct flood *f, uint64_t for_ns) {
    static char data[FLOOD_PAYLOAD_BYTES];
    struct iovec part = {data, sizeof data};
    struct mmsghdr messages[FLOOD_BATCH] = {0};
    for (size_t i = 0; i < FLOOD_BATCH; i++) messages[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
    for (uint64_t start_ns = clock_ns(); clock_ns() - start_ns < for_ns;)
        (void)!sendmmsg(f->here, messages, FLOOD_BATCH, 0);
}

/* Small frames for a while: how many arrived a second, and what each cost the switch. */
static int flood(const struct side *x, struct net_switch *s, double *per_second, double *cpu_us, struct error *e) {
    struct flood f = {.here = socket_at(&x->network, 0, SOCK_DGRAM, 0, e), .there = -1};
    if (f.here >= 0) f.there = socket_at(&x->network, 1, SOCK_DGRAM, PORT + 1, e);
    if (f.there < 0) return -1;
    struct sockaddr_in a = address_of(&x->network, 1, PORT + 1);
    const struct timeval patience = {.tv_usec = 50000};
    setsockopt(f.there, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    struct switch_lateness before, after;
    pthread_t receiver;
    if (connect(f.here, (struct sockaddr *)&a, sizeof a) || pthread_create(&receiver, NULL, flood_receive, &f))
        return error_set(e, "a flood of frames: %s", strerror(errno));
    switch_lateness(s, &before);
    uint64_t start_ns = clock_ns();
    flood_send(&f, FLOOD_NS);
    double seconds = (double)(clock_ns() - start_ns) / 1e9;
    switch_lateness(s, &after);
    f.over = true;
    pthread_join(receiver, NULL);
    uint64_t frames = after.frames - before.frames;
    *per_second = (double)f.received / seconds;
    *cpu_us = frames ? (double)(after.cpu_ns - before.cpu_ns) / 1e3 / (double)frames : 0;
    close(f.here);
    close(f.there);
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
    struct switch_options o = {.endpoints = n->endpoints, .seed = 1, .realtime = true};
    for (uint32_t i = 0; i < n->endpoints; i++) {
        memcpy(o.ports[i].interface, n->interface[i], sizeof o.ports[i].interface);
        memcpy(o.ports[i].mac, n->mac[i], sizeof o.ports[i].mac);
    }
    return network_enter(n->fabric, e) ? NULL : switch_new(&o, e);
}

static int measure(struct side *bridge, struct side *through, struct net_switch *s, json_t **figures, struct error *e) {
    for (int round = 0; round < ROUNDS; round++)
        if (side_ping(bridge, e) || side_ping(through, e)) return -1;
    double frames_per_s = 0, cpu_us = 0;
    struct switch_lateness late;
    if (delayed(through, s, &late, e) || flood(through, s, &frames_per_s, &cpu_us, e)) return -1;
    double bridge_p50 = quantile_us(bridge, 50), switch_p50 = quantile_us(through, 50);
    *figures =
        json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:b}", "bridge_rtt_p50_us", bridge_p50,
                  "bridge_rtt_p99_us", quantile_us(bridge, 99), "switch_rtt_p50_us", switch_p50, "switch_rtt_p99_us",
                  quantile_us(through, 99), "added_rtt_p50_us", switch_p50 - bridge_p50, "frames_per_s", frames_per_s,
                  "cpu_us_per_frame", cpu_us, "delay_late_p50_us", (double)late.p50_ns / 1e3, "delay_late_p99_us",
                  (double)late.p99_ns / 1e3, "realtime", (int)late.realtime);
    return 0;
}

/* Ends with the process if it fails: then so do its namespaces. */
static int bench(json_t **figures, struct error *e) {
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
    json_t *figures = NULL;
    if (namespaces_enter(&e) || bench(&figures, &e)) return cli_fail(EXIT_INTERNAL, c, &e);
    const char *key;
    json_t *value;
    FILE *say = cli_say(c);
    fprintf(say, "two endpoints; TCP round trips of one byte, UDP frames of 64 bytes, frames delayed by 2 ms\n");
    json_object_foreach(figures, key, value) {
        if (json_is_real(value))
            fprintf(say, "%-18s %.1f\n", key, json_real_value(value));
        else
            fprintf(say, "%-18s %s\n", key, json_is_true(value) ? "yes" : "no");
    }
    if (c->json)
        bench_print_figures("switch", figures);
    else
        json_decref(figures);
    return EXIT_VALID;
}
