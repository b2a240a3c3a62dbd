/* Live nodes under abuse: strangers that send rubbish to each port, clients that send bent requests, resets, silence,
 * crumbs, and thousands of connections, while an honest client must be served. FUZZ_SECONDS=600 makes it long, the
 * name of a test runs that one alone. */
#include "tests/live_node.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

enum { HELD_MAX = 64, CONNECTIONS = 10000, DAWDLERS = 500, RSS_KB_MAX = 1 << 20, VALUE_BYTES = 60000 };

struct figures {
    uint64_t connections, bytes, served, longest_ns;
};

static void serve(struct live_node *l, struct figures *f) {
    uint64_t took = live_serves(l);
    f->served++;
    if (took > f->longest_ns) f->longest_ns = took;
}

static void report(const struct live_node *l, const struct figures *f, const char *what, uint64_t before_kb) {
    print_message("%s: %llu connections, %llu bytes; %llu times served, the longest %.1f ms; resident %llu to %llu "
                  "KiB\n",
                  what, (unsigned long long)f->connections, (unsigned long long)f->bytes, (unsigned long long)f->served,
                  (double)f->longest_ns / 1e6, (unsigned long long)before_kb, (unsigned long long)live_resident_kb(l));
}

/* --- strangers ---------------------------------------------------------------------------------------------------- */

static void transmit(struct figures *f, int fd, struct bytes b) {
    ssize_t n = send(fd, b.data, b.size, MSG_NOSIGNAL | MSG_DONTWAIT); /* what does not fit was abuse, too */
    if (n > 0) f->bytes += (uint64_t)n;
}

static void append_noise(struct buffer *out, struct prng *p, size_t size) {
    buffer_reserve(out, size);
    for (size_t i = 0; i < size; i++) out->data[out->size++] = (uint8_t)prng_next(p);
}

/* A frame with a right checksum around bytes that are nearly a command. */
static void append_request(struct buffer *out, struct prng *p) {
    uint8_t bytes[256];
    struct kv_command c = {.ops_count = (uint8_t)prng_below(p, 4)};
    for (uint8_t i = 0; i < c.ops_count; i++)
        c.ops[i] = (struct kv_op){.kind = (uint8_t)prng_below(p, 6), .key = bytes_str("stranger")};
    c.session = prng_chance(p, 300000) ? prng_next(p) : 0;
    for (uint8_t i = 0; i < c.ops_count; i++) c.ops[i].value = (struct kv_value){.kind = KV_COUNTER, .counter = 1};
    memset(bytes, 0xff, 8);
    size_t size = 8 + kv_command_encode(&c, bytes + 8, sizeof bytes - 8);
    for (uint64_t i = prng_below(p, 4); i > 0; i--) bytes[prng_below(p, size)] ^= (uint8_t)prng_next(p);
    if (prng_chance(p, 100000)) size = prng_below(p, size);
    enum wire_type type = prng_chance(p, 800000) ? WIRE_REQUEST : (enum wire_type)prng_between(p, 1, WIRE_TYPES - 1);
    wire_append(out, type, &(struct bytes){bytes, size}, 1);
}

static void append_frames(struct buffer *out, struct prng *p, uint64_t how) {
    if (how != 0) live_append_hello(out, prng_chance(p, 900000) ? 0 : prng_next(p), WIRE_CLIENT, NODE_NONE, NULL);
    if (how <= 1) append_noise(out, p, prng_below(p, 2000));
    for (uint64_t i = prng_below(p, 40); i > 0 && how >= 2; i--) append_request(out, p);
}

static void append_http(struct buffer *out, struct prng *p, uint64_t how) {
    static const char *const parts[] = {"GET ", "POST ", "/metrics", "/health", " HTTP/1.1", " HTTP/9",  "\r\n",
                                        "\r\n", "\n",    ": x",      "%s%n",    "/",         "\r\n\r\n", " "};
    size_t count = sizeof parts / sizeof *parts;
    if (how == 0) append_noise(out, p, prng_below(p, 2000));
    if (how == 1) buffer_printf(out, "GET /metrics HTTP/1.1\r\n\r\n");
    for (uint64_t i = prng_below(p, 12); i > 0 && how >= 2; i--) buffer_printf(out, "%s", parts[prng_below(p, count)]);
    if (how == 2)
        for (int i = 0; i < 2000; i++) buffer_printf(out, "X: y\r\n");
}

struct strangers {
    struct figures f;
    struct prng prng;
    struct sockaddr_in at;
    void (*append)(struct buffer *out, struct prng *p, uint64_t how);
    int held[HELD_MAX];
};

/* One act of abuse on one connection. */
static void abuse(struct strangers *s) {
    struct prng *p = &s->prng;
    int fd = live_reach(&s->at);
    if (fd < 0) return;
    s->f.connections++;
    struct buffer out = {0};
    uint64_t how = prng_below(p, 7);
    s->append(&out, p, how);
    if (how == 3 && out.size) out.data[prng_below(p, out.size)] ^= (uint8_t)(1u << prng_below(p, 8));
    if (how == 4) out.size = prng_below(p, out.size + 1);
    for (size_t i = 0; how == 5 && i < out.size && i < 200; i++) transmit(&s->f, fd, bytes_of(out.data + i, 1));
    if (how != 5) transmit(&s->f, fd, bytes_of(out.data, out.size));
    buffer_free(&out);
    if (how == 6) { /* neither read nor closed, for a while */
        int *slot = &s->held[prng_below(p, HELD_MAX)];
        if (*slot >= 0) close(*slot);
        *slot = fd;
        return;
    }
    if (prng_chance(p, 300000)) /* a reset */
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
}

static void an_honest_client_is_served_among_strangers(const char *what, bool http, bool nodes_port,
                                                       void (*append)(struct buffer *, struct prng *, uint64_t)) {
    struct live_node l;
    struct strangers s = {.append = append};
    live_prepare(&l, 1);
    if (http) l.o.metrics_port = live_free_port();
    live_start(&l);
    s.at = nodes_port || http ? l.o.peers[0] : l.o.clients[0];
    if (http) s.at.sin_port = htons(l.o.metrics_port);
    prng_seed(&s.prng, 1, nodes_port);
    for (int i = 0; i < HELD_MAX; i++) s.held[i] = -1;
    live_serves(&l);
    size_t before = live_descriptors(&l);
    uint64_t until = monotonic_ns() + live_fuzz_seconds(1) * NS_PER_S, before_kb = live_resident_kb(&l);
    while (monotonic_ns() < until) {
        for (int i = 0; i < 50; i++) abuse(&s);
        serve(&l, &s.f);
    }
    for (int i = 0; i < HELD_MAX; i++)
        if (s.held[i] >= 0) close(s.held[i]);
    serve(&l, &s.f);
    live_await_descriptors(&l, before + 4);
    report(&l, &s.f, what, before_kb);
    assert_in_range(live_resident_kb(&l), 1, RSS_KB_MAX);
    assert_true(s.f.connections >= 50);
    assert_int_equal(live_stop(&l), 0);
    live_clean(&l);
}

static void strangers_at_the_clients_port(void **state) {
    (void)state;
    an_honest_client_is_served_among_strangers("strangers at the clients' port", false, false, append_frames);
}
static void strangers_at_the_nodes_port(void **state) {
    (void)state;
    an_honest_client_is_served_among_strangers("strangers at the nodes' port", false, true, append_frames);
}
static void strangers_at_the_metrics_port(void **state) {
    (void)state;
    an_honest_client_is_served_among_strangers("strangers at the metrics port", true, false, append_http);
}

/* --- many --------------------------------------------------------------------------------------------------------- */

static rlim_t raise_files(void) {
    struct rlimit r;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    return r.rlim_max;
}

static void close_all(int *fds, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0) close(fds[i]);
    free(fds);
}

static bool is_open(int fd) { /* nothing was sent, and the other side has not closed it */
    uint8_t byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

static void store_value(struct live_node *l, const char *key) {
    static uint8_t value[VALUE_BYTES];
    struct buffer memory = {0};
    struct kv_result r;
    struct kv_command put = {.ops_count = 1};
    put.ops[0] = (struct kv_op){.kind = KV_PUT, .key = bytes_str(key)};
    put.ops[0].value = (struct kv_value){.kind = KV_BYTES, .bytes = bytes_of(value, sizeof value)};
    l->client->deadline_ns = monotonic_ns() + 20 * NS_PER_S;
    assert_int_equal(kv_call(l->client, &put, &memory, &r), 0);
    buffer_free(&memory);
}

/* Asks for so many large answers, and reads none. */
static void read_slowly(struct figures *f, int fd, uint64_t answers) {
    uint8_t bytes[64];
    struct buffer out = {0};
    struct kv_command get = {.ops_count = 1};
    get.ops[0] = (struct kv_op){.kind = KV_GET, .key = bytes_str("large")};
    live_append_hello(&out, 0, WIRE_CLIENT, NODE_NONE, NULL);
    for (uint64_t token = 1; token <= answers; token++) {
        memcpy(bytes, &token, 8);
        size_t size = 8 + kv_command_encode(&get, bytes + 8, sizeof bytes - 8);
        wire_append(&out, WIRE_REQUEST, &(struct bytes){bytes, size}, 1);
    }
    transmit(f, fd, bytes_of(out.data, out.size));
    buffer_free(&out);
}

/* The beginning of a large frame; its rest will come byte by byte, if ever. */
static void write_slowly(struct figures *f, int fd) {
    static const uint8_t payload[WIRE_PAYLOAD_MAX];
    struct buffer out = {0};
    live_append_hello(&out, 0, WIRE_CLIENT, NODE_NONE, NULL);
    wire_append(&out, WIRE_REQUEST, &(struct bytes){payload, sizeof payload}, 1);
    transmit(f, fd, bytes_of(out.data, 60000));
    buffer_free(&out);
}

static void greet(struct figures *f, int fd) {
    struct buffer out = {0};
    live_append_hello(&out, 0, WIRE_CLIENT, NODE_NONE, NULL);
    transmit(f, fd, bytes_of(out.data, out.size));
    buffer_free(&out);
}

static void ten_thousand_connections_do_not_stop_it(void **state) {
    (void)state;
    size_t files = raise_files(), count = files < CONNECTIONS + 200 ? files - 200 : CONNECTIONS, reached = 0;
    struct live_node l;
    struct figures f = {0}, alone = {0};
    live_prepare(&l, 1);
    live_start(&l);
    store_value(&l, "large");
    for (int i = 0; i < 20; i++) serve(&l, &alone);
    size_t before = live_descriptors(&l);
    uint64_t before_kb = live_resident_kb(&l);
    int *fds = xcalloc(count, sizeof *fds);
    for (size_t i = 0; i < count; i++) {
        fds[i] = live_reach(&l.o.clients[0]);
        reached += fds[i] >= 0;
        if (fds[i] < 0) continue;
        if (i < DAWDLERS)
            read_slowly(&f, fds[i], 10);
        else if (i < 2 * DAWDLERS)
            write_slowly(&f, fds[i]);
        else if (i % 2)
            greet(&f, fds[i]); /* and idles; the others have not even said HELLO */
        if (i % 500 == 0) serve(&l, &f);
    }
    if (count < CONNECTIONS) print_message("only %zu connections: the limit of open files is low\n", count);
    f.connections = reached;
    for (uint64_t until = monotonic_ns() + live_fuzz_seconds(1) * NS_PER_S; monotonic_ns() < until;) {
        for (size_t i = DAWDLERS; i < 2 * DAWDLERS; i++) transmit(&f, fds[i], bytes_str("x"));
        serve(&l, &f);
    }
    assert_true(reached > count - 10);
    print_message("served alone at %.1f ms at most\n", (double)alone.longest_ns / 1e6);
    report(&l, &f, "ten thousand connections", before_kb);
    assert_in_range(live_resident_kb(&l), 1, RSS_KB_MAX);
    close_all(fds, count);
    live_await_descriptors(&l, before + 4);
    serve(&l, &f);
    assert_int_equal(live_stop(&l), 0);
    live_clean(&l);
}

/* Each may keep 4 MiB of them waiting, but not all together. */
static void unread_answers_do_not_take_all_memory(void **state) {
    (void)state;
    size_t files = raise_files(), count = files < 900 ? files - 200 : 700;
    struct live_node l;
    struct figures f = {0};
    live_prepare(&l, 1);
    live_start(&l);
    store_value(&l, "large");
    uint64_t before_kb = live_resident_kb(&l);
    int *fds = xcalloc(count, sizeof *fds), small = 4096;
    for (size_t i = 0; i < count; i++) {
        fds[i] = live_reach(&l.o.clients[0]);
        assert_true(fds[i] >= 0);
        setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        read_slowly(&f, fds[i], 12);
        if (i % 100 == 0) serve(&l, &f);
    }
    f.connections = count;
    live_await_log(&l, "all connections hold too much memory");
    serve(&l, &f);
    report(&l, &f, "unread answers", before_kb);
    assert_in_range(live_resident_kb(&l), 1, RSS_KB_MAX);
    close_all(fds, count);
    serve(&l, &f);
    assert_int_equal(live_stop(&l), 0);
    live_clean(&l);
}

static void beyond_the_limit_connections_are_refused_aloud(void **state) {
    (void)state;
    enum { FILES = 1000, MANY = 900 };
    struct live_node l;
    struct figures f = {0};
    if (raise_files() < MANY + 100) {
        print_message("skip connections beyond the limit: too few open files here\n");
        skip();
    }
    live_prepare(&l, 1);
    l.files_max = FILES;
    live_start(&l);
    serve(&l, &f);
    int *fds = xcalloc(MANY, sizeof *fds);
    size_t refused = 0;
    for (size_t i = 0; i < MANY; i++) {
        fds[i] = live_reach(&l.o.clients[0]);
        if (fds[i] >= 0) greet(&f, fds[i]);
    }
    live_await_log(&l, "\"connections_full\"");
    serve(&l, &f); /* who was there before is served */
    for (size_t i = 0; i < MANY; i++) refused += fds[i] < 0 || !is_open(fds[i]);
    assert_in_range(refused, MANY - FILES / 2 - 200, MANY - FILES / 2);
    assert_int_equal(live_log_count(&l, "\"connections_full\""), 1);
    close_all(fds, MANY);
    assert_int_equal(live_stop(&l), 0);
    live_clean(&l);
}

/* Connections that say nothing at the nodes' port must not keep a node out. */
static void a_crowd_of_silent_callers_does_not_keep_a_peer_out(void **state) {
    (void)state;
    enum { CROWD = 600 };
    struct live_node l;
    struct wire_status status;
    live_prepare(&l, 3);
    live_start(&l);
    live_status(&l, &status);
    int *fds = xcalloc(CROWD, sizeof *fds), peer = -1;
    for (size_t i = 0; i < CROWD; i++) {
        fds[i] = live_reach(&l.o.peers[0]);
        assert_true(fds[i] >= 0);
        if (i != CROWD / 2) continue;
        struct buffer out = {0};
        peer = live_reach(&l.o.peers[0]);
        assert_true(peer >= 0);
        live_append_hello(&out, node_cluster_id("abuse"), 1, 0, "raft");
        assert_int_equal(send(peer, out.data, out.size, MSG_NOSIGNAL), (ssize_t)out.size);
        buffer_free(&out);
    }
    assert_true(live_closes(fds[0]));
    assert_true(live_closes(fds[CROWD / 3]));
    assert_true(is_open(peer));
    assert_true(is_open(fds[CROWD - 1]));
    assert_in_range(live_log_count(&l, "\"connection_refused\""), 1, 100); /* of several hundred */
    close(peer);
    close_all(fds, CROWD);
    assert_int_equal(live_stop(&l), 0);
    live_clean(&l);
}

/* Requests for metrics that never end must not keep others from theirs. */
static void dawdlers_do_not_keep_the_metrics(void **state) {
    (void)state;
    enum { MANY = 200 };
    struct live_node l;
    struct sockaddr_in at;
    char text[65536];
    static const char whole[] = "GET /metrics HTTP/1.1\r\n\r\n";
    live_prepare(&l, 1);
    l.o.metrics_port = live_free_port();
    live_start(&l);
    live_serves(&l);
    at = l.o.peers[0];
    at.sin_port = htons(l.o.metrics_port);
    int *fds = xcalloc(MANY, sizeof *fds);
    for (size_t i = 0; i < MANY; i++) {
        fds[i] = live_reach(&at);
        if (fds[i] >= 0) send(fds[i], whole, i % 20, MSG_NOSIGNAL);
    }
    int fd = live_reach(&at);
    assert_true(fd >= 0);
    assert_int_equal(send(fd, whole, sizeof whole - 1, MSG_NOSIGNAL), sizeof whole - 1);
    size_t size = 0;
    for (ssize_t n = 1; n > 0 && size<sizeof text - 1; size += n> 0 ? (size_t)n : 0)
        n = recv(fd, text + size, sizeof text - 1 - size, 0);
    text[size] = 0;
    assert_non_null(strstr(text, "200 OK"));
    assert_non_null(strstr(text, "\nharrow_term "));
    close(fd);
    close_all(fds, MANY);
    assert_int_equal(live_stop(&l), 0);
    live_clean(&l);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers_at_the_clients_port),
        cmocka_unit_test(strangers_at_the_nodes_port),
        cmocka_unit_test(strangers_at_the_metrics_port),
        cmocka_unit_test(ten_thousand_connections_do_not_stop_it),
        cmocka_unit_test(unread_answers_do_not_take_all_memory),
        cmocka_unit_test(beyond_the_limit_connections_are_refused_aloud),
        cmocka_unit_test(a_crowd_of_silent_callers_does_not_keep_a_peer_out),
        cmocka_unit_test(dawdlers_do_not_keep_the_metrics),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
