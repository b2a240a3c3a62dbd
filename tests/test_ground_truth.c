/* What the switch says about cuts and delays, held against witnesses that know nothing of it: captures by libpcap on
 * the endpoints' own interfaces, in their own namespaces, and a foreign program (a shell) that plays ping-pong over TCP
 * between two of them and times it by its own clock. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <pcap/pcap.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness/local/namespaces.h"
#include "nemesis/process/process.h"
#include "nemesis/switch/switch.h"
#include "tests/support.h"

#define ENDPOINTS 2
#define PORT 7400
#define WAIT_MS 20000
#define PLAYERS 25 /* side by side, each on a link of its own: its frames wait for no other's */
#define ROUNDS 101
#define CUT_FRAMES 200

static const char *unavailable;

struct stage {
    struct network network;
    struct net_switch *s;
};

static void enter(int namespace) {
    struct error e = {{0}};
    if (network_enter(namespace, &e)) fail_msg("%s", e.text);
}

static void stage_open(struct stage *t, const char *pcap_folder) {
    if (unavailable) {
        printf("# skipped: %s\n", unavailable);
        skip();
    }
    struct error e = {{0}};
    *t = (struct stage){0};
    if (network_make(&t->network, &(struct network_options){.endpoints = ENDPOINTS}, &e)) fail_msg("%s", e.text);
    enter(t->network.fabric);
    struct switch_options o = {.endpoints = ENDPOINTS, .seed = 1, .pcap_folder = pcap_folder};
    for (uint32_t i = 0; i < ENDPOINTS; i++) {
        memcpy(o.ports[i].interface, t->network.interface[i], sizeof o.ports[i].interface);
        memcpy(o.ports[i].mac, t->network.mac[i], 6);
    }
    t->s = switch_new(&o, &e);
    if (!t->s) fail_msg("%s", e.text);
}

static void stage_close(struct stage *t) {
    switch_free(t->s);
    network_free(&t->network);
}

static uint32_t rule(struct stage *t, uint32_t from, uint32_t to, struct link_condition c, const char *filter) {
    struct error e = {{0}};
    uint32_t links[ENDPOINTS_MAX] = {0};
    links[from] = UINT32_C(1) << to;
    uint32_t id = switch_rule_add(t->s, links, &c, filter, &e);
    if (!id) fail_msg("%s", e.text);
    return id;
}

static struct sockaddr_in address_of(const struct stage *t, uint32_t endpoint, uint16_t port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET, t->network.address[endpoint], &a.sin_addr), 1);
    return a;
}

static int socket_at(struct stage *t, uint32_t endpoint, int type, uint16_t port) {
    enter(t->network.endpoint[endpoint]);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), yes = 1;
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in a = address_of(t, endpoint, port);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    enter(t->network.fabric);
    return fd;
}

/* --- cuts, by captures at both ends ------------------------------------------------------------------------------- */

static pcap_t *witness_open(struct stage *t, uint32_t endpoint) {
    char why[PCAP_ERRBUF_SIZE];
    enter(t->network.endpoint[endpoint]);
    struct if_nameindex *all = if_nameindex(), *found = all;
    assert_non_null(all);
    while (found->if_name && strcmp(found->if_name, "lo") == 0) found++;
    assert_non_null(found->if_name);
    pcap_t *p = pcap_create(found->if_name, why);
    if_freenameindex(all);
    assert_non_null(p);
    assert_int_equal(pcap_set_immediate_mode(p, 1) | pcap_set_snaplen(p, 128) | pcap_set_buffer_size(p, 16 << 20), 0);
    assert_true(pcap_activate(p) >= 0);
    assert_int_equal(pcap_setnonblock(p, 1, why), 0);
    enter(t->network.fabric);
    return p;
}

struct seen {
    uint8_t from[6];
    uint64_t frames;
};

static void see(u_char *ctx, const struct pcap_pkthdr *header, const u_char *frame) {
    struct seen *s = (struct seen *)ctx;
    s->frames += header->caplen >= 14 && memcmp(frame + 6, s->from, 6) == 0;
}

/* Frames of that sender since the last call. */
static uint64_t seen_from(const struct stage *t, pcap_t *witness, uint32_t sender) {
    struct seen s = {.frames = 0};
    struct pcap_stat lost;
    memcpy(s.from, t->network.mac[sender], 6);
    while (pcap_dispatch(witness, -1, see, (u_char *)&s) > 0) continue;
    assert_int_equal(pcap_stats(witness, &lost), 0);
    assert_int_equal(lost.ps_drop, 0);
    return s.frames;
}

static uint64_t offered(struct stage *t, uint8_t from, uint8_t to) {
    struct link_counters n;
    switch_counters(t->s, from, to, &n);
    return n.offered;
}

static void pour(struct stage *t, const int *udp, uint32_t frames) {
    uint64_t before[2] = {offered(t, 0, 1), offered(t, 1, 0)};
    for (uint32_t i = 0; i < frames; i++)
        for (uint32_t from = 0; from < 2; from++) {
            struct sockaddr_in to = address_of(t, 1 - from, PORT);
            assert_int_equal(sendto(udp[from], &i, sizeof i, 0, (struct sockaddr *)&to, sizeof to), sizeof i);
            if (i % 50 == 49) usleep(1000);
        }
    for (int ms = 0; offered(t, 0, 1) < before[0] + frames || offered(t, 1, 0) < before[1] + frames; ms++) {
        assert_true(ms < WAIT_MS);
        usleep(1000);
    }
    usleep(20000); /* what has been let through reaches its end */
}

static uint64_t frames_in_file(const char *folder, const char *name, const uint8_t *from) {
    char why[PCAP_ERRBUF_SIZE], *path = xformat("%s/%s", folder, name);
    struct seen s = {.frames = 0};
    memcpy(s.from, from, 6);
    pcap_t *p = pcap_open_offline(path, why);
    if (!p) fail_msg("%s", why);
    assert_int_equal(pcap_dispatch(p, -1, see, (u_char *)&s) < 0, 0);
    pcap_close(p);
    unlink(path);
    free(path);
    return s.frames;
}

static void captures_at_both_ends_of_a_cut_show_not_one_frame_across(void **state) {
    (void)state;
    struct stage t;
    char folder[] = "/tmp/harrow-truth-XXXXXX";
    if (!unavailable) assert_non_null(mkdtemp(folder));
    stage_open(&t, folder);
    pcap_t *witness[] = {witness_open(&t, 0), witness_open(&t, 1)};
    int udp[] = {socket_at(&t, 0, SOCK_DGRAM, PORT), socket_at(&t, 1, SOCK_DGRAM, PORT)};
    pour(&t, udp, CUT_FRAMES);
    for (uint32_t end = 0; end < 2; end++) {
        uint64_t received = seen_from(&t, witness[end], 1 - end);
        assert_int_equal(received, CUT_FRAMES);
    }
    uint32_t there = rule(&t, 0, 1, (struct link_condition){.cut = true}, NULL);
    uint32_t back = rule(&t, 1, 0, (struct link_condition){.cut = true}, NULL);
    for (uint32_t end = 0; end < 2; end++) seen_from(&t, witness[end], 0); /* all of before the cut is read */
    for (uint32_t sender = 0; sender < 2; sender++) { /* each kind of look needs traffic of its own */
        pour(&t, udp, CUT_FRAMES);
        assert_int_equal(seen_from(&t, witness[sender], sender), CUT_FRAMES);
        assert_int_equal(seen_from(&t, witness[1 - sender], sender), 0);
    }
    assert_int_equal(switch_rule_remove(t.s, there).affected, 2 * CUT_FRAMES);
    assert_int_equal(switch_rule_remove(t.s, back).affected, 2 * CUT_FRAMES);
    pour(&t, udp, CUT_FRAMES);
    for (uint32_t end = 0; end < 2; end++) {
        assert_int_equal(seen_from(&t, witness[end], 1 - end), CUT_FRAMES);
        pcap_close(witness[end]);
        close(udp[end]);
    }
    uint8_t mac[2][6];
    memcpy(mac, t.network.mac, sizeof mac);
    stage_close(&t);
    static const char *const files[] = {"n1.pcap",
                                        "clients.pcap"}; /* the switch's own: sent by one, delivered to one */
    for (uint32_t end = 0; end < 2; end++) {
        char *copy = xformat("%s/again.pcap", folder), *path = xformat("%s/%s", folder, files[end]);
        assert_int_equal(link(path, copy), 0);
        assert_int_equal(frames_in_file(folder, "again.pcap", mac[end]), 4 * CUT_FRAMES);
        assert_int_equal(frames_in_file(folder, files[end], mac[1 - end]), 2 * CUT_FRAMES);
        free(copy);
        free(path);
    }
    assert_int_equal(rmdir(folder), 0);
}

/* --- delays, by a foreign ping-pong ------------------------------------------------------------------------------- */

struct wall { /* what comes is sent back */
    int listener;
    pthread_t thread;
};

static void *send_back(void *ctx) {
    const struct wall *w = ctx;
    int fd = accept(w->listener, NULL, NULL);
    char bytes[64];
    for (ssize_t got; (got = recv(fd, bytes, sizeof bytes, 0)) > 0;)
        if (send(fd, bytes, (size_t)got, MSG_NOSIGNAL) != got) break;
    close(fd);
    return NULL;
}

/* One byte and a newline there and back, again and again; each line is a round trip in microseconds. */
static const char player[] = "exec 4<>/dev/tcp/$1/$2\n"
                             "for ((i = 0; i < $3; i++)); do\n"
                             "  a=${EPOCHREALTIME/./}; echo p >&4; read -r x <&4; b=${EPOCHREALTIME/./}\n"
                             "  echo $((b - a))\n"
                             "done\n";

/* The same without a network: how long 50 ms are to a shell that sleeps. */
static const char sleeper[] = "for ((i = 0; i < $3; i++)); do\n"
                              "  a=${EPOCHREALTIME/./}; read -t 0.05 -r x <&3; b=${EPOCHREALTIME/./}\n"
                              "  echo $((b - a))\n"
                              "done\n";

struct shell {
    struct process *process;
    int hear;
};

static struct shell start_shell(const struct stage *t, const char *script, int number, int pass) {
    struct error e = {{0}};
    char port[16], rounds[16];
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    snprintf(port, sizeof port, "%d", PORT + number);
    snprintf(rounds, sizeof rounds, "%d", ROUNDS);
    const char *const argv[] = {"bash", "-c", script, "shell", t->network.address[1], port, rounds, NULL};
    struct process_options o = {.argv = argv, .output = ends[1], .network = t->network.endpoint[0], .pass = pass};
    struct shell s = {process_start(&o, &e), ends[0]};
    if (!s.process) fail_msg("%s", e.text);
    close(ends[1]);
    return s;
}

struct trips {
    uint64_t us[PLAYERS * ROUNDS];
    size_t count;
};

static uint64_t percentile_us(const struct trips *trips, size_t percent) {
    return trips->us[(trips->count - 1) * percent / 100];
}

/* Adds what the shell said, to its end. */
static void hear_out(struct shell *s, struct trips *out) {
    FILE *f = fdopen(s->hear, "r");
    unsigned long long us;
    assert_non_null(f);
    while (fscanf(f, "%llu", &us) == 1) {
        assert_true(out->count < sizeof out->us / sizeof *out->us);
        out->us[out->count++] = us;
    }
    fclose(f);
    process_free(s->process);
}

/* Sorted round trips of so many players at once, each at a port of its own, and naps taken meanwhile. */
static void play(struct stage *t, int players, struct trips *trips, struct trips *naps) {
    struct wall walls[PLAYERS];
    struct shell shells[PLAYERS];
    int never[2];
    trips->count = naps->count = 0;
    for (int i = 0; i < players; i++) {
        walls[i].listener = socket_at(t, 1, SOCK_STREAM, (uint16_t)(PORT + i));
        assert_int_equal(listen(walls[i].listener, 1), 0);
        assert_int_equal(pthread_create(&walls[i].thread, NULL, send_back, &walls[i]), 0);
        shells[i] = start_shell(t, player, i, -1);
    }
    assert_int_equal(pipe2(never, O_CLOEXEC), 0);
    struct shell napping = start_shell(t, sleeper, 0, never[0]);
    for (int i = 0; i < players; i++) {
        hear_out(&shells[i], trips);
        pthread_join(walls[i].thread, NULL);
        close(walls[i].listener);
    }
    hear_out(&napping, naps);
    close(never[0]);
    close(never[1]);
    assert_int_equal(trips->count, players * ROUNDS);
    assert_int_equal(naps->count, ROUNDS);
    sort_u64(trips->us, trips->count);
    sort_u64(naps->us, naps->count);
}

/* Where a shell's nap of 50 ms takes a quarter of a millisecond more, no shell can tell a millisecond of delay. */
static void require_time(struct stage *t, const struct trips *naps) {
    uint64_t nap_us = percentile_us(naps, 50);
    if (nap_us <= 50250) return;
    printf("# skipped: this machine is too busy: a nap of 50 ms takes %ju us\n", nap_us);
    stage_close(t);
    skip();
}

/* What was added to a median round trip, beside what a shell adds to any wait. */
static uint64_t added_us(const struct trips *slow, const struct trips *plain, const struct trips *naps) {
    return percentile_us(slow, 50) - percentile_us(plain, 50) - (percentile_us(naps, 50) - 50000);
}

static void a_foreign_ping_pong_sees_a_delay_of_50_ms(void **state) {
    (void)state;
    static struct trips plain, slow, naps;
    struct stage t;
    stage_open(&t, NULL);
    play(&t, 1, &plain, &naps);
    uint32_t id = rule(&t, 0, 1, (struct link_condition){.delay_ns = 50 * NS_PER_MS}, NULL);
    play(&t, 1, &slow, &naps);
    uint64_t more_us = added_us(&slow, &plain, &naps);
    printf("# round trips: p50 %ju us, with 50 ms of delay %ju us more\n", percentile_us(&plain, 50), more_us);
    assert_true(slow.us[0] >= 50000);
    require_time(&t, &naps);
    assert_in_range(more_us, 49000, 51000);
    assert_true(switch_rule_remove(t.s, id).affected >= ROUNDS);
    stage_close(&t);
}

/* 50 +- 10 ms, uniform: the median of n draws is off by 10 ms / sqrt(n), so that 1 ms is five standard deviations of
 * 2,525. Frames of a lane keep their order, which would make those behind a slow one slow too: a lane for each. */
static void a_foreign_ping_pong_sees_the_middle_of_50_ms_and_10_ms_of_jitter(void **state) {
    (void)state;
    static struct trips plain, slow, naps;
    struct stage t;
    stage_open(&t, NULL);
    play(&t, 1, &plain, &naps);
    for (int i = 0; i < PLAYERS; i++) {
        char filter[64];
        snprintf(filter, sizeof filter, "tcp dst port %d", PORT + i);
        rule(&t, 0, 1, (struct link_condition){.delay_ns = 50 * NS_PER_MS, .jitter_ns = 10 * NS_PER_MS}, filter);
    }
    play(&t, PLAYERS, &slow, &naps);
    uint64_t more_us = added_us(&slow, &plain, &naps);
    printf("# round trips of %d at once: with 50 +- 10 ms p1 %ju us, p50 %ju us, p99 %ju us\n", PLAYERS,
           percentile_us(&slow, 1), percentile_us(&slow, 50), percentile_us(&slow, 99));
    assert_true(slow.us[0] >= 40000);
    require_time(&t, &naps);
    assert_in_range(more_us, 49000, 51000);
    assert_in_range(percentile_us(&slow, 1), 40000, 41500);
    stage_close(&t);
}

int main(void) {
    struct error e = {{0}};
    unavailable = namespaces_unavailable();
    if (!unavailable && namespaces_enter(&e)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    /* Children inherit it, and threads: on a busy machine they come in time all the same, where that is allowed. */
    (void)sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(captures_at_both_ends_of_a_cut_show_not_one_frame_across),
        cmocka_unit_test(a_foreign_ping_pong_sees_a_delay_of_50_ms),
        cmocka_unit_test(a_foreign_ping_pong_sees_the_middle_of_50_ms_and_10_ms_of_jitter),
    };
    return cmocka_run_group_tests_name("ground truth", tests, NULL, NULL);
}
