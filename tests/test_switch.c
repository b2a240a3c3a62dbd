/* The libpcap switch, seen from outside: sockets in the endpoints' namespaces, their kernels' counters, and the files
 * that the switch leaves. Each test makes a network of three endpoints. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "harness/local/namespaces.h"
#include "nemesis/switch/internal.h"
#include "tests/support.h"
#include <jansson.h>

#define ENDPOINTS 3
#define PORT 7400
#define PAYLOAD_MAX 1400
#define CHUNK 100 /* frames sent before their arrival is awaited: no queue on the way runs over */
#define WAIT_MS 5000

static const char *unavailable;

struct stage {
    struct network network;
    struct net_switch *s;
    int udp[ENDPOINTS]; /* bound to PORT */
    struct error e;
};

struct message {
    uint32_t number;
    uint8_t filling[60];
};

static struct sockaddr_in address_of(const struct stage *t, uint32_t endpoint, uint16_t port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET, t->network.address[endpoint], &a.sin_addr), 1);
    return a;
}

static int socket_at(struct stage *t, uint32_t endpoint, int type, uint16_t port) {
    assert_int_equal(network_enter(t->network.endpoint[endpoint], &t->e), 0);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), bytes = 8 << 20;
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
    struct sockaddr_in a = address_of(t, endpoint, port);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(network_enter(t->network.fabric, &t->e), 0);
    return fd;
}

static void stage_open(struct stage *t, const struct switch_options *more) {
    if (unavailable) {
        print_message("skip: %s\n", unavailable);
        skip();
    }
    *t = (struct stage){0};
    const struct network_options no = {.endpoints = ENDPOINTS};
    if (network_make(&t->network, &no, &t->e)) fail_msg("%s", t->e.text);
    assert_int_equal(network_enter(t->network.fabric, &t->e), 0);
    struct switch_options o = *more;
    o.endpoints = ENDPOINTS;
    o.seed = 1;
    for (uint32_t i = 0; i < ENDPOINTS; i++) {
        memcpy(o.ports[i].interface, t->network.interface[i], sizeof o.ports[i].interface);
        memcpy(o.ports[i].mac, t->network.mac[i], 6);
    }
    t->s = switch_new(&o, &t->e);
    if (!t->s) fail_msg("%s", t->e.text);
    for (uint32_t i = 0; i < ENDPOINTS; i++) t->udp[i] = socket_at(t, i, SOCK_DGRAM, PORT);
}

static void stage_close(struct stage *t) {
    for (uint32_t i = 0; i < ENDPOINTS; i++) close(t->udp[i]);
    switch_free(t->s);
    network_free(&t->network);
}

static uint32_t rule(struct stage *t, uint32_t from, uint32_t to, struct link_condition c, const char *filter) {
    uint32_t links[ENDPOINTS_MAX] = {0};
    links[from] = UINT32_C(1) << to;
    uint32_t id = switch_rule_add(t->s, links, &c, filter, &t->e);
    if (!id) fail_msg("%s", t->e.text);
    return id;
}

static void send_to(struct stage *t, uint32_t from, uint32_t to, uint16_t port, uint32_t number) {
    struct message m = {.number = number};
    struct sockaddr_in a = address_of(t, to, port);
    assert_int_equal(sendto(t->udp[from], &m, sizeof m, 0, (struct sockaddr *)&a, sizeof a), sizeof m);
}

/* Receives one message; false when none comes in time. */
static bool receive(int fd, struct message *m, int wait_ms) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, wait_ms) <= 0) return false;
    assert_int_equal(recv(fd, m, sizeof *m, 0), sizeof *m);
    return true;
}

static struct link_counters counters(struct stage *t, uint8_t from, uint8_t to) {
    struct link_counters n;
    switch_counters(t->s, from, to, &n);
    return n;
}

/* Waits until the switch has decided so many frames of the link and none is on its way; then what was delivered lies in
 * the receiver's socket. */
static void await_offered(struct stage *t, uint8_t from, uint8_t to, uint64_t frames) {
    for (int i = 0; i < WAIT_MS && counters(t, from, to).offered < frames; i++) usleep(1000);
    assert_int_equal(counters(t, from, to).offered, frames);
}

static uint32_t drain(int fd) {
    struct message m;
    uint32_t count = 0;
    while (receive(fd, &m, 0)) count++;
    return count;
}

/* Frames that the endpoint's own kernel sent (or received) on its interface. */
static uint64_t kernel_frames(struct stage *t, uint32_t endpoint, bool sent) {
    assert_int_equal(network_enter(t->network.endpoint[endpoint], &t->e), 0);
    FILE *f = fopen("/proc/thread-self/net/dev", "re");
    assert_non_null(f);
    char line[512];
    uint64_t count = 0;
    while (fgets(line, sizeof line, f)) {
        unsigned long long rx, tx;
        char name[64];
        if (sscanf(line, " %63[^:]: %*u %llu %*u %*u %*u %*u %*u %*u %*u %llu", name, &rx, &tx) != 3) continue;
        if (strcmp(name, "lo") != 0) count += sent ? tx : rx;
    }
    fclose(f);
    assert_int_equal(network_enter(t->network.fabric, &t->e), 0);
    return count;
}

/* UDP datagrams that the endpoint's kernel dropped for a wrong checksum. */
static uint64_t checksum_errors(struct stage *t, uint32_t endpoint) {
    assert_int_equal(network_enter(t->network.endpoint[endpoint], &t->e), 0);
    FILE *f = fopen("/proc/thread-self/net/snmp", "re");
    assert_non_null(f);
    char line[1024];
    unsigned long long errors = UINT64_MAX;
    while (fgets(line, sizeof line, f)) sscanf(line, "Udp: %*u %*u %*u %*u %*u %*u %llu", &errors);
    fclose(f);
    assert_int_equal(network_enter(t->network.fabric, &t->e), 0);
    return errors;
}

/* --- cuts --------------------------------------------------------------------------------------------------------- */

static void nothing_crosses_a_cut_and_all_crosses_again_after_it(void **state) {
    (void)state;
    struct stage t;
    struct message m;
    stage_open(&t, &(struct switch_options){0});
    for (uint32_t i = 0; i < CHUNK; i++) send_to(&t, 0, 1, PORT, i);
    for (uint32_t i = 0; i < CHUNK; i++) {
        assert_true(receive(t.udp[1], &m, WAIT_MS));
        assert_int_equal(m.number, i);
    }
    uint32_t there = rule(&t, 0, 1, (struct link_condition){.cut = true}, NULL);
    uint32_t back = rule(&t, 1, 0, (struct link_condition){.cut = true}, NULL);
    uint64_t sent = kernel_frames(&t, 0, true), got = kernel_frames(&t, 1, false),
             back_got = kernel_frames(&t, 0, false);
    for (uint32_t i = 0; i < 5 * CHUNK; i++) send_to(&t, 0, 1, PORT, 1000 + i);
    for (uint32_t i = 0; i < CHUNK; i++) send_to(&t, 1, 0, PORT, i);
    await_offered(&t, 0, 1, 6 * CHUNK);
    await_offered(&t, 1, 0, CHUNK);
    assert_int_equal(kernel_frames(&t, 0, true), sent + 5 * CHUNK);
    assert_int_equal(kernel_frames(&t, 1, false), got);
    assert_int_equal(kernel_frames(&t, 0, false), back_got);
    struct fault_evidence evidence = switch_rule_remove(t.s, there);
    assert_int_equal(evidence.offered, 5 * CHUNK);
    assert_int_equal(evidence.affected, 5 * CHUNK);
    send_to(&t, 0, 1, PORT, 7);
    assert_true(receive(t.udp[1], &m, WAIT_MS));
    assert_int_equal(m.number, 7);
    assert_int_equal(counters(&t, 0, 1).cut, 5 * CHUNK);
    /* one way only: back is still cut */
    send_to(&t, 1, 0, PORT, 8);
    await_offered(&t, 1, 0, CHUNK + 1);
    assert_int_equal(kernel_frames(&t, 0, false), back_got);
    assert_int_equal(switch_rule_remove(t.s, back).affected, CHUNK + 1);
    stage_close(&t);
}

static void a_cut_drops_what_is_in_flight(void **state) {
    (void)state;
    struct stage t;
    struct message m;
    stage_open(&t, &(struct switch_options){0});
    switch_link(t.s, 0, 1, 200 * NS_PER_MS, 0);
    for (uint32_t i = 0; i < 10; i++) send_to(&t, 0, 1, PORT, i);
    await_offered(&t, 0, 1, 10);
    uint32_t cut = rule(&t, 0, 1, (struct link_condition){.cut = true}, NULL);
    for (int i = 0; i < WAIT_MS && counters(&t, 0, 1).cut < 10; i++) usleep(1000);
    struct fault_evidence evidence = switch_rule_remove(t.s, cut);
    assert_int_equal(evidence.affected, 10);
    send_to(&t, 0, 1, PORT, 99);
    assert_true(receive(t.udp[1], &m, WAIT_MS));
    assert_int_equal(m.number, 99);
    assert_int_equal(counters(&t, 0, 1).cut, 10);
    stage_close(&t);
}

static void only_unicast_between_endpoints_passes(void **state) {
    (void)state;
    struct stage t;
    stage_open(&t, &(struct switch_options){0});
    int yes = 1;
    setsockopt(t.udp[0], SOL_SOCKET, SO_BROADCAST, &yes, sizeof yes);
    struct sockaddr_in all = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    all.sin_addr.s_addr = INADDR_BROADCAST;
    uint64_t got = kernel_frames(&t, 1, false), sent = kernel_frames(&t, 0, true);
    for (uint32_t i = 0; i < 10; i++) (void)!sendto(t.udp[0], "x", 1, 0, (struct sockaddr *)&all, sizeof all);
    send_to(&t, 0, 2, PORT, 1);
    struct message m;
    assert_true(receive(t.udp[2], &m, WAIT_MS));
    assert_true(kernel_frames(&t, 0, true) > sent);
    assert_int_equal(kernel_frames(&t, 1, false), got);
    stage_close(&t);
}

/* Without a pause, so that the switch has many at hand at once, for one port and in turns for two. */
static void bursts_keep_their_order_and_their_count(void **state) {
    (void)state;
    struct stage t;
    struct message m;
    uint32_t sent[ENDPOINTS] = {0}, got[ENDPOINTS] = {0};
    stage_open(&t, &(struct switch_options){0});
    uint64_t before[] = {0, kernel_frames(&t, 1, false), kernel_frames(&t, 2, false)};
    for (uint32_t burst = 0; burst < 20; burst++) {
        for (uint32_t i = 0; i < CHUNK; i++) {
            uint32_t to = i < CHUNK / 2 ? 1 : 1 + i % 2;
            send_to(&t, 0, to, PORT, sent[to]++);
        }
        for (uint32_t to = 1; to < ENDPOINTS; to++) {
            for (; got[to] < sent[to]; got[to]++) {
                assert_true(receive(t.udp[to], &m, WAIT_MS));
                assert_int_equal(m.number, got[to]);
            }
        }
    }
    for (uint8_t to = 1; to < ENDPOINTS; to++) {
        assert_false(receive(t.udp[to], &m, 0));
        assert_int_equal(counters(&t, 0, to).delivered, sent[to]);
        assert_int_equal(kernel_frames(&t, to, false) - before[to], sent[to]);
    }
    stage_close(&t);
}

/* --- losses, doubles, changes ------------------------------------------------------------------------------------- */

/* Sends that many in chunks and returns how many arrived; *changed counts those with a filling that is not zero, and
 * *inversions those with a number below an earlier one. */
static uint32_t pour(struct stage *t, uint32_t frames, uint32_t *changed, uint32_t *inversions) {
    uint32_t got = 0, highest = 0;
    uint64_t before = counters(t, 0, 1).offered;
    for (uint32_t i = 0; i < frames; i++) {
        send_to(t, 0, 1, PORT, i);
        if (i % CHUNK != CHUNK - 1 && i + 1 < frames) continue;
        await_offered(t, 0, 1, before + i + 1);
        struct message m;
        while (receive(t->udp[1], &m, inversions ? 30 : 0)) {
            static const struct message zero;
            bool odd = memcmp(m.filling, zero.filling, sizeof m.filling) != 0 || m.number >= frames;
            if (changed) *changed += odd;
            if (inversions && !odd) *inversions += m.number < highest;
            if (!odd && m.number > highest) highest = m.number;
            got++;
        }
    }
    return got;
}

/* Six standard deviations about n * p. */
static void assert_binomial(uint64_t seen, uint64_t n, double p) {
    double middle = (double)n * p, variance = middle * (1 - p), off = (double)seen - middle;
    if (off * off > 36 * variance) fail_msg("%ju of %ju are not a share of %g", seen, n, p);
}

static void losses_are_as_many_as_asked_for_and_as_told(void **state) {
    (void)state;
    struct stage t;
    stage_open(&t, &(struct switch_options){0});
    uint32_t a = rule(&t, 0, 1, (struct link_condition){.loss_ppm = 200000}, NULL);
    uint32_t b = rule(&t, 0, 1, (struct link_condition){.loss_ppm = 100000}, NULL);
    uint32_t got = pour(&t, 10000, NULL, NULL);
    assert_binomial(got, 10000, 0.8 * 0.9);
    struct fault_evidence evidence = switch_rule_remove(t.s, a);
    assert_int_equal(evidence.offered, 10000);
    assert_int_equal(evidence.affected, 10000 - got);
    switch_rule_remove(t.s, b);
    assert_int_equal(pour(&t, 1000, NULL, NULL), 1000);
    stage_close(&t);
}

static void doubled_frames_arrive_twice(void **state) {
    (void)state;
    struct stage t;
    stage_open(&t, &(struct switch_options){0});
    uint32_t id = rule(&t, 0, 1, (struct link_condition){.duplicate_ppm = 300000}, NULL);
    uint32_t got = pour(&t, 5000, NULL, NULL);
    assert_binomial(got - 5000, 5000, 0.3);
    assert_int_equal(switch_rule_remove(t.s, id).affected, got - 5000);
    stage_close(&t);
}

static void a_corrupted_frame_reaches_the_application(void **state) {
    (void)state;
    struct stage t;
    uint32_t changed = 0;
    stage_open(&t, &(struct switch_options){0});
    uint64_t errors = checksum_errors(&t, 1);
    uint32_t id = rule(&t, 0, 1, (struct link_condition){.corrupt_ppm = 300000}, NULL);
    assert_int_equal(pour(&t, 3000, &changed, NULL), 3000);
    struct fault_evidence evidence = switch_rule_remove(t.s, id);
    assert_binomial(evidence.affected, 3000, 0.3);
    /* a bit of the number that stays below the count of frames is not seen here: 12 bits of 512 */
    assert_true(changed <= evidence.affected && changed >= evidence.affected * 9 / 10);
    assert_int_equal(checksum_errors(&t, 1), errors);
    stage_close(&t);
}

static void a_damaged_frame_is_dropped_by_the_kernel_that_receives_it(void **state) {
    (void)state;
    struct stage t;
    uint32_t changed = 0;
    stage_open(&t, &(struct switch_options){0});
    uint64_t errors = checksum_errors(&t, 1);
    uint32_t id = rule(&t, 0, 1, (struct link_condition){.damage_ppm = 300000}, NULL);
    uint32_t got = pour(&t, 3000, &changed, NULL);
    struct fault_evidence evidence = switch_rule_remove(t.s, id);
    assert_binomial(evidence.affected, 3000, 0.3);
    assert_int_equal(got, 3000 - evidence.affected);
    assert_int_equal(changed, 0);
    assert_int_equal(checksum_errors(&t, 1), errors + evidence.affected);
    stage_close(&t);
}

static uint32_t sum_of(const uint8_t *at, size_t size) {
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i++) sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
    return sum;
}

/* 0 when the segment's checksum is right; the frame has an IPv4 header without options. */
static uint32_t segment_sum(const uint8_t *frame, size_t size) {
    uint32_t sum = sum_of(frame + 26, 8) + frame[23] + (uint32_t)(size - 34) + sum_of(frame + 34, size - 34);
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return sum ^ 0xffff;
}

static size_t make_segment(uint8_t *frame, uint8_t protocol, size_t payload, struct prng *p) {
    size_t header = protocol == IPPROTO_TCP ? 20 : 8, size = 34 + header + payload;
    for (size_t i = 0; i < size; i++) frame[i] = (uint8_t)prng_next(p);
    memcpy(frame + 12, (const uint8_t[]){8, 0, 0x45, 0}, 4);
    frame[16] = (uint8_t)((size - 14) >> 8);
    frame[17] = (uint8_t)(size - 14);
    memset(frame + 20, 0, 2);
    frame[23] = protocol;
    if (protocol == IPPROTO_TCP) frame[46] = 0x50;
    uint8_t *checksum = frame + (protocol == IPPROTO_TCP ? 50 : 40);
    memset(checksum, 0, 2);
    uint32_t sum = segment_sum(frame, size);
    checksum[0] = (uint8_t)(sum >> 8);
    checksum[1] = (uint8_t)sum;
    return size;
}

static void checksums_are_repaired_or_broken_as_asked(void **state) {
    (void)state;
    uint8_t frame[FRAME_BYTES_MAX], before[FRAME_BYTES_MAX];
    struct prng p;
    prng_seed(&p, 1, 0);
    for (uint32_t i = 0; i < 4000; i++) {
        uint8_t protocol = i % 2 ? IPPROTO_TCP : IPPROTO_UDP;
        size_t payload = prng_below(&p, 40), size = make_segment(frame, protocol, payload, &p);
        assert_int_equal(segment_sum(frame, size), 0);
        memcpy(before, frame, size);
        assert_int_equal(alter_corrupt(frame, size, &p), payload > 0);
        assert_int_equal(segment_sum(frame, size), 0);
        assert_memory_equal(frame, before, payload ? 40 : size);
        if (payload) assert_memory_not_equal(frame + size - payload, before + size - payload, payload);
        memcpy(frame, before, size);
        if (alter_damage(frame, size, &p)) assert_int_not_equal(segment_sum(frame, size), 0);
        for (size_t cut = 0; cut < size; cut++) alter_corrupt(before, cut, &p); /* reads nothing beyond */
    }
}

static void jitter_keeps_the_order_and_reordering_does_not(void **state) {
    (void)state;
    struct stage t;
    uint32_t inversions = 0;
    stage_open(&t, &(struct switch_options){0});
    uint32_t jitter =
        rule(&t, 0, 1, (struct link_condition){.delay_ns = 5 * NS_PER_MS, .jitter_ns = 5 * NS_PER_MS}, NULL);
    assert_int_equal(pour(&t, 1000, NULL, &inversions), 1000);
    assert_int_equal(inversions, 0);
    uint32_t reorder = rule(&t, 0, 1, (struct link_condition){.reorder_ppm = 200000}, NULL);
    assert_int_equal(pour(&t, 1000, NULL, &inversions), 1000);
    assert_true(inversions > 20);
    assert_binomial(switch_rule_remove(t.s, reorder).affected, 1000, 0.2);
    assert_int_equal(switch_rule_remove(t.s, jitter).affected, 2000);
    /* and alone, on a link without any latency */
    inversions = 0;
    reorder = rule(&t, 0, 1, (struct link_condition){.reorder_ppm = 200000}, NULL);
    assert_int_equal(pour(&t, 1000, NULL, &inversions), 1000);
    assert_true(inversions > 20);
    stage_close(&t);
}

/* --- time --------------------------------------------------------------------------------------------------------- */

static void *echo(void *argument) {
    int fd = *(int *)argument;
    char byte;
    while (recv(fd, &byte, 1, 0) == 1 && send(fd, &byte, 1, MSG_NOSIGNAL) == 1) {
    }
    return NULL;
}

struct connection {
    int here, there;
    pthread_t echoes;
};

static void connect_tcp(struct stage *t, struct connection *c) {
    int listener = socket_at(t, 1, SOCK_STREAM, PORT);
    assert_int_equal(listen(listener, 1), 0);
    c->here = socket_at(t, 0, SOCK_STREAM, 0);
    struct sockaddr_in a = address_of(t, 1, PORT);
    assert_int_equal(connect(c->here, (struct sockaddr *)&a, sizeof a), 0);
    c->there = accept(listener, NULL, NULL);
    assert_true(c->there >= 0);
    close(listener);
    assert_int_equal(pthread_create(&c->echoes, NULL, echo, &c->there), 0);
}

static void disconnect(struct connection *c) {
    shutdown(c->here, SHUT_RDWR);
    shutdown(c->there, SHUT_RDWR);
    pthread_join(c->echoes, NULL);
    close(c->here);
    close(c->there);
}

/* Sorted round trips of one byte. */
static void ping(const struct connection *c, uint64_t *round_trips, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char byte = 'p';
        uint64_t start = monotonic_ns();
        assert_int_equal(send(c->here, &byte, 1, 0), 1);
        assert_int_equal(recv(c->here, &byte, 1, 0), 1);
        round_trips[i] = monotonic_ns() - start;
    }
    sort_u64(round_trips, count);
}

static void tcp_sees_the_delay_that_was_asked_for(void **state) {
    (void)state;
    struct stage t;
    struct connection c;
    uint64_t plain[51], slow[51];
    stage_open(&t, &(struct switch_options){0});
    connect_tcp(&t, &c);
    ping(&c, plain, 51);
    uint32_t id = rule(&t, 0, 1, (struct link_condition){.delay_ns = 50 * NS_PER_MS}, NULL);
    ping(&c, slow, 51);
    print_message("round trips: p50 %.3f ms, with 50 ms of delay %.3f ms\n", (double)plain[25] / 1e6,
                  (double)slow[25] / 1e6);
    assert_true(slow[0] >= 50 * NS_PER_MS);
    assert_in_range(slow[25] - plain[25], 49 * NS_PER_MS, 51 * NS_PER_MS);
    uint32_t more = rule(&t, 0, 1, (struct link_condition){.jitter_ns = 10 * NS_PER_MS}, NULL);
    ping(&c, slow, 51);
    assert_true(slow[0] >= 40 * NS_PER_MS);
    assert_in_range(slow[25], 43 * NS_PER_MS, 57 * NS_PER_MS);
    assert_true(slow[50] - slow[0] > 5 * NS_PER_MS);
    switch_rule_remove(t.s, id);
    switch_rule_remove(t.s, more);
    ping(&c, plain, 51);
    assert_true(plain[25] < 10 * NS_PER_MS);
    struct switch_lateness late;
    switch_lateness(t.s, &late);
    print_message("lateness: p50 %ju us, p99 %ju us; direct p50 %ju us\n", late.p50_ns / 1000, late.p99_ns / 1000,
                  late.direct_p50_ns / 1000);
    assert_true(late.released >= 102 && late.max_ns >= late.p99_ns && late.p99_ns >= late.p50_ns);
    assert_int_equal(late.inject_failed, 0);
    disconnect(&c);
    stage_close(&t);
}

static void a_rate_limit_holds_frames_up_and_its_queue_ends(void **state) {
    (void)state;
    struct stage t;
    struct message m;
    stage_open(&t, &(struct switch_options){0});
    /* a frame has 42 bytes of headers and 64 of payload: 106 bytes, 100 a second */
    uint32_t id = rule(&t, 0, 1, (struct link_condition){.rate_bytes_per_s = 10600}, NULL);
    uint64_t start = monotonic_ns();
    for (uint32_t i = 0; i < 20; i++) send_to(&t, 0, 1, PORT, i);
    for (uint32_t i = 0; i < 20; i++) assert_true(receive(t.udp[1], &m, WAIT_MS));
    assert_true(monotonic_ns() - start >= 199 * NS_PER_MS);
    for (uint32_t i = 0; i < 1000; i++) send_to(&t, 0, 1, PORT, i);
    await_offered(&t, 0, 1, 1020);
    uint64_t dropped = counters(&t, 0, 1).rate_dropped;
    assert_in_range(dropped, 600, 800); /* the queue takes 32 KiB */
    struct fault_evidence evidence = switch_rule_remove(t.s, id);
    assert_int_equal(evidence.affected, 1020);
    stage_close(&t);
}

/* --- filters ------------------------------------------------------------------------------------------------------ */

static void a_filter_hits_only_what_matches(void **state) {
    (void)state;
    struct stage t;
    struct message m;
    stage_open(&t, &(struct switch_options){0});
    int other = socket_at(&t, 1, SOCK_DGRAM, PORT + 1);
    uint32_t cut = rule(&t, 0, 1, (struct link_condition){.cut = true}, "udp dst port 7401");
    uint32_t slow = rule(&t, 0, 1, (struct link_condition){.delay_ns = 300 * NS_PER_MS}, "udp dst port 7402");
    for (uint32_t i = 0; i < CHUNK; i++) {
        send_to(&t, 0, 1, PORT + 2, i); /* nobody listens there, but it must not hold up the others */
        send_to(&t, 0, 1, PORT + 1, i);
        send_to(&t, 0, 1, PORT, i);
    }
    for (uint32_t i = 0; i < CHUNK; i++) assert_true(receive(t.udp[1], &m, WAIT_MS));
    await_offered(&t, 0, 1, 3 * CHUNK);
    struct fault_evidence evidence = switch_rule_remove(t.s, cut);
    assert_int_equal(evidence.offered, CHUNK);
    assert_int_equal(evidence.affected, CHUNK);
    assert_int_equal(switch_rule_remove(t.s, slow).affected, CHUNK);
    assert_int_equal(drain(other), 0);
    uint32_t links[ENDPOINTS_MAX] = {2};
    assert_int_equal(switch_rule_add(t.s, links, &(struct link_condition){.cut = true}, "tcp prot 1", &t.e), 0);
    assert_non_null(strstr(t.e.text, "\"tcp prot 1\" is not a tcpdump expression"));
    close(other);
    stage_close(&t);
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static uint32_t frames_in(const char *path, uint32_t *snap) {
    char why[PCAP_ERRBUF_SIZE];
    pcap_t *p = pcap_open_offline(path, why);
    if (!p) fail_msg("%s", why);
    struct pcap_pkthdr *header;
    const u_char *data;
    uint32_t count = 0;
    int status;
    while ((status = pcap_next_ex(p, &header, &data)) == 1) {
        count++;
        if (header->caplen > *snap) *snap = header->caplen;
    }
    assert_int_equal(status, PCAP_ERROR_BREAK);
    pcap_close(p);
    return count;
}

static void log_and_captures_tell_what_happened(void **state) {
    (void)state;
    struct stage t;
    char folder[] = "/tmp/harrow-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *log_path = xformat("%s/switch.jsonl", folder);
    stage_open(&t, &(struct switch_options){.log_path = log_path, .pcap_folder = folder, .pcap_snap_bytes = 60});
    pour(&t, CHUNK, NULL, NULL);
    uint32_t id = rule(&t, 0, 1, (struct link_condition){.cut = true}, "udp");
    pour(&t, CHUNK, NULL, NULL);
    switch_rule_remove(t.s, id);
    assert_int_equal(pour(&t, CHUNK, NULL, NULL), CHUNK);
    stage_close(&t);

    FILE *f = fopen(log_path, "re");
    assert_non_null(f);
    static const char *const events[] = {"rule_add", "rule_remove"};
    json_int_t last_ns = 0;
    for (int i = 0; i < 2; i++) {
        json_t *line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL);
        assert_non_null(line);
        assert_string_equal(json_string_value(json_object_get(line, "event")), events[i]);
        assert_true(json_integer_value(json_object_get(line, "t_ns")) >= last_ns);
        last_ns = json_integer_value(json_object_get(line, "t_ns"));
        assert_string_equal(json_string_value(json_object_get(line, "filter")), "udp");
        assert_true(json_is_true(json_object_get(json_object_get(line, "condition"), "cut")));
        if (i == 1) assert_int_equal(json_integer_value(json_object_get(line, "affected")), CHUNK);
        json_decref(line);
    }
    fclose(f);
    unlink(log_path);
    free(log_path);

    static const char *const names[] = {"n1", "n2", "clients"};
    static const uint32_t frames[] = {3 * CHUNK, 2 * CHUNK, 0};
    uint32_t snap = 0;
    for (int i = 0; i < 3; i++) {
        char *path = xformat("%s/%s.pcap", folder, names[i]);
        assert_int_equal(frames_in(path, &snap), frames[i]);
        unlink(path);
        free(path);
    }
    assert_int_equal(snap, 60);
    assert_int_equal(rmdir(folder), 0);
}

static void a_missing_interface_is_named(void **state) {
    (void)state;
    if (unavailable) skip();
    struct error e = {{0}};
    struct switch_options o = {.endpoints = 1, .ports = {{.interface = "harrow-none"}}};
    assert_null(switch_new(&o, &e));
    assert_non_null(strstr(e.text, "harrow-none"));
}

int main(void) {
    unavailable = namespaces_unavailable();
    struct error e = {{0}};
    if (!unavailable && namespaces_enter(&e)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_crosses_a_cut_and_all_crosses_again_after_it),
        cmocka_unit_test(a_cut_drops_what_is_in_flight),
        cmocka_unit_test(only_unicast_between_endpoints_passes),
        cmocka_unit_test(bursts_keep_their_order_and_their_count),
        cmocka_unit_test(losses_are_as_many_as_asked_for_and_as_told),
        cmocka_unit_test(doubled_frames_arrive_twice),
        cmocka_unit_test(a_corrupted_frame_reaches_the_application),
        cmocka_unit_test(a_damaged_frame_is_dropped_by_the_kernel_that_receives_it),
        cmocka_unit_test(checksums_are_repaired_or_broken_as_asked),
        cmocka_unit_test(jitter_keeps_the_order_and_reordering_does_not),
        cmocka_unit_test(tcp_sees_the_delay_that_was_asked_for),
        cmocka_unit_test(a_rate_limit_holds_frames_up_and_its_queue_ends),
        cmocka_unit_test(a_filter_hits_only_what_matches),
        cmocka_unit_test(log_and_captures_tell_what_happened),
        cmocka_unit_test(a_missing_interface_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
