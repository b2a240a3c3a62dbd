/* A node among liars: its peers say the right HELLO and then well-formed messages that are not true, of terms, entries,
 * votes and snapshots. What Raft promises is lost then; the node must run on, answer, and start again from its disk.
 * FUZZ_SECONDS=600 makes it long, the name of a test runs that one alone. */
#include "base/clock.h"
#include "targets/protocols/raft/raft.h"
#include "tests/live_node.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { LIARS = 2, LIES_PER_CONNECTION = 5000, ENTRIES_MAX = 40, RSS_KB_MAX = 1u << 20 };

struct liars { /* as nodes 2 and 3 of three */
    struct live_node node;
    struct prng prng;
    int fds[LIARS];       /* -1: not connected */
    uint32_t lies[LIARS]; /* on this connection */
    uint64_t count, bytes, connections;
    struct wire_status seen;
    struct buffer snapshot; /* one that restores */
};

static void make_snapshot(struct buffer *out) {
    static uint8_t result[KV_RESULT_BYTES_MAX];
    uint8_t bytes[256];
    struct kv *kv = kv_new(NULL);
    struct kv_command c = {.ops_count = 1};
    c.ops[0] = (struct kv_op){.kind = KV_ADD, .key = bytes_str("lie"), .value = {.kind = KV_COUNTER, .counter = 1}};
    size_t size = kv_command_encode(&c, bytes, sizeof bytes);
    for (int i = 0; i < 9; i++) kv_apply(kv, bytes_of(bytes, size), result, sizeof result);
    static const uint32_t no_header = 0;
    buffer_append(out, &no_header, sizeof no_header);
    kv_snapshot(kv, out);
    kv_free(kv);
}

static void begin(struct liars *x, uint64_t seed) {
    memset(x, 0, sizeof *x);
    for (int i = 0; i < LIARS; i++) x->fds[i] = -1;
    prng_seed(&x->prng, seed, 0);
    make_snapshot(&x->snapshot);
    live_prepare(&x->node, LIARS + 1);
    live_start(&x->node);
}

static void hang_up(struct liars *x, int i) {
    if (x->fds[i] >= 0) close(x->fds[i]);
    x->fds[i] = -1;
}

static void end(struct liars *x) {
    for (int i = 0; i < LIARS; i++) hang_up(x, i);
    assert_int_equal(live_stop(&x->node), 0);
    live_clean(&x->node);
    buffer_free(&x->snapshot);
}

/* Waits until the node has taken the bytes: one that no longer reads is found here. */
static void transmit(struct liars *x, int i, struct bytes b) {
    while (b.size) {
        ssize_t n = send(x->fds[i], b.data, b.size, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) fail_msg("the node reads no more");
        if (n <= 0) {
            hang_up(x, i);
            return;
        }
        x->bytes += (uint64_t)n;
        b = bytes_of(b.data + n, b.size - (size_t)n);
    }
}

static void say(struct liars *x, int i, const struct raft_message *m) {
    static uint8_t bytes[WIRE_PAYLOAD_MAX];
    struct buffer out = {0};
    if (x->fds[i] < 0) {
        x->fds[i] = live_reach(&x->node.o.peers[0]);
        x->lies[i] = 0;
        x->connections++;
        live_append_hello(&out, node_cluster_id("abuse"), (uint8_t)(i + 1), 0, "raft");
    }
    if (x->fds[i] < 0) return;
    size_t size = raft_message_encode(m, bytes, sizeof bytes);
    assert_true(size > 0);
    wire_append(&out, WIRE_MESSAGE, &(struct bytes){bytes, size}, 1);
    transmit(x, i, bytes_of(out.data, out.size));
    buffer_free(&out);
    x->count++;
    if (++x->lies[i] == LIES_PER_CONNECTION) hang_up(x, i);
}

static void look(struct liars *x) {
    live_status(&x->node, &x->seen);
}

/* --- lies --------------------------------------------------------------------------------------------------------- */

static uint64_t some_term(struct liars *x) {
    uint64_t how = prng_below(&x->prng, 100), term = x->seen.term;
    if (how < 70) return term;
    if (how < 74) return term + 1;
    if (how < 80) return term ? term - 1 : 0;
    if (how < 84) return UINT64_MAX;
    if (how < 88) return prng_next(&x->prng) | UINT64_C(1) << 62;
    if (prng_chance(&x->prng, 500)) return UINT64_MAX >> 2; /* the last that is taken: from then on nobody is elected */
    return prng_below(&x->prng, term + 1);
}

static uint64_t some_index(struct liars *x) {
    static const uint64_t far[] = {1000, 70000, UINT64_C(1) << 32, UINT64_C(1) << 61, UINT64_MAX >> 2, UINT64_MAX};
    uint64_t how = prng_below(&x->prng, 10), near = how < 5 ? x->seen.last_index : x->seen.commit_index;
    if (how == 9) return far[prng_below(&x->prng, sizeof far / sizeof *far)];
    uint64_t step = prng_below(&x->prng, 4);
    return prng_chance(&x->prng, 500000) ? near + step : near < step ? 0 : near - step;
}

/* Entries whose terms rise as they should, or do not; of commands, noise, or nothing; walked to their end, or not. */
static uint32_t append_entries(struct liars *x, const struct raft_message *m, struct buffer *out) {
    uint32_t count = (uint32_t)prng_below(&x->prng, ENTRIES_MAX);
    bool ordered = prng_chance(&x->prng, 800000);
    size_t size_max = prng_chance(&x->prng, 20000) ? 40000 : 200;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t memory[16], noise[64];
        struct writer w = {.data = memory, .capacity = sizeof memory};
        size_t size = prng_below(&x->prng, size_max);
        write_u64(&w, ordered ? m->term : some_term(x));
        write_u8(&w, (uint8_t)prng_below(&x->prng, prng_chance(&x->prng, 10000) ? 256 : 2));
        write_u32(&w, (uint32_t)size);
        buffer_append(out, memory, w.size);
        for (size_t k = 0; k < sizeof noise; k++) noise[k] = (uint8_t)prng_next(&x->prng);
        for (size_t left = size; left;) {
            size_t part = left < sizeof noise ? left : sizeof noise;
            buffer_append(out, noise, part);
            left -= part;
        }
    }
    return prng_chance(&x->prng, 20000) ? (uint32_t)prng_next(&x->prng) : count;
}

static void lie(struct liars *x) {
    struct prng *p = &x->prng;
    struct buffer data = {0};
    struct raft_message m = {.kind = (uint8_t)prng_between(p, RAFT_VOTE_REQUEST, RAFT_TIMEOUT_NOW),
                             .pre_vote = prng_chance(p, 400000),
                             .transfer = prng_chance(p, 100000),
                             .success = prng_chance(p, 700000),
                             .last = prng_chance(p, 200000),
                             .term = some_term(x),
                             .index = some_index(x),
                             .log_term = some_term(x),
                             .commit = some_index(x),
                             .round = prng_below(p, 50),
                             .rejected = some_index(x)};
    if (m.kind == RAFT_APPEND_REQUEST) {
        m.entries = append_entries(x, &m, &data);
        m.data = bytes_of(data.data, data.size);
    } else if (m.kind == RAFT_SNAPSHOT_REQUEST) {
        bool whole = prng_chance(p, 100000);
        m.offset = whole || prng_chance(p, 500000) ? 0 : some_index(x);
        m.last |= whole;
        m.data = bytes_of(x->snapshot.data, whole ? x->snapshot.size : prng_below(p, x->snapshot.size));
    } else if (m.kind == RAFT_SNAPSHOT_REPLY) {
        m.offset = some_index(x);
    }
    say(x, (int)prng_below(p, LIARS), &m);
    buffer_free(&data);
}

/* What makes it lead: a vote where it asks for votes, acknowledgements where it leads. */
static void flatter(struct liars *x) {
    uint64_t term = x->seen.term, last = x->seen.last_index;
    struct raft_message pre_vote = {.kind = RAFT_VOTE_REPLY, .pre_vote = true, .success = true, .term = term + 1};
    struct raft_message vote = {.kind = RAFT_VOTE_REPLY, .success = true, .term = term};
    struct raft_message held = {.kind = RAFT_APPEND_REPLY, .success = true, .term = term, .index = last, .round = 1};
    for (int i = 0; i < LIARS; i++) {
        if (x->seen.role == PROTOCOL_CANDIDATE) say(x, i, &pre_vote);
        if (x->seen.role == PROTOCOL_CANDIDATE && term) say(x, i, &vote);
        if (x->seen.role == PROTOCOL_LEADER) say(x, i, &held);
    }
}

/* Ends it, and starts it on what lies on its disk; where no term is left, on nothing. */
static void restarts(struct liars *x) {
    for (int i = 0; i < LIARS; i++) hang_up(x, i);
    assert_int_equal(live_stop(&x->node), 0);
    if (x->seen.term > UINT64_MAX >> 3) live_forget(&x->node);
    live_start(&x->node);
    look(x);
}

static void a_node_runs_on_among_liars(void **state) {
    (void)state;
    struct liars x;
    uint64_t led = 0, restarted = 0, most_kb = 0, seconds = live_fuzz_seconds(3);
    begin(&x, 3);
    look(&x);
    for (uint64_t now = monotonic_ns(), until = now + seconds * NS_PER_S, next = now + NS_PER_S; now < until;
         now = monotonic_ns()) {
        for (uint64_t i = prng_below(&x.prng, 30); i > 0; i--) {
            flatter(&x);
            look(&x);
            led += x.seen.role == PROTOCOL_LEADER;
        }
        for (uint64_t i = prng_below(&x.prng, 200); i > 0; i--) lie(&x);
        look(&x);
        uint64_t kb = live_resident_kb(&x.node);
        if (kb > most_kb) most_kb = kb;
        if (now < next) continue;
        next = now + 5 * NS_PER_S;
        restarted++;
        restarts(&x);
    }
    print_message("%llu lies in %llu bytes on %llu connections in %llu s; it led %llu times, was restarted %llu times, "
                  "contradicted %u times; resident at most %llu KiB\n",
                  (unsigned long long)x.count, (unsigned long long)x.bytes, (unsigned long long)x.connections,
                  (unsigned long long)seconds, (unsigned long long)led, (unsigned long long)restarted,
                  live_log_count(&x.node, "\"contradicted\""), (unsigned long long)most_kb);
    assert_true(x.count > 1000 && led > 0);
    assert_in_range(most_kb, 1, RSS_KB_MAX);
    assert_in_range(live_log_count(&x.node, "\"message_refused\""), 1, LIARS * (restarted + 1));
    restarts(&x);
    end(&x);
}

/* --- one lie at a time -------------------------------------------------------------------------------------------- */

static void await_role(struct liars *x, uint8_t role) {
    uint64_t until = monotonic_ns() + 20 * NS_PER_S;
    for (look(x); x->seen.role != role || !x->seen.serving; look(x)) {
        if (monotonic_ns() > until) fail_msg("it does not get role %u", role);
        if (role == PROTOCOL_LEADER) flatter(x);
    }
}

static void numbers_that_no_run_reaches_are_refused_and_told_once(void **state) {
    (void)state;
    struct liars x;
    begin(&x, 1);
    look(&x);
    for (int i = 0; i < 100; i++) {
        say(&x, 0, &(struct raft_message){.kind = RAFT_VOTE_REQUEST, .transfer = true, .term = UINT64_MAX});
        say(&x, 0, &(struct raft_message){.kind = RAFT_APPEND_REQUEST, .term = UINT64_MAX - 1, .index = UINT64_MAX});
    }
    live_await_log(&x.node, "\"message_refused\"");
    look(&x);
    assert_true(x.seen.term < 1000);
    await_role(&x, PROTOCOL_LEADER);
    assert_int_equal(live_log_count(&x.node, "\"message_refused\""), 1);
    end(&x);
}

static void who_claims_to_lead_our_term_does_not_end_us(void **state) {
    (void)state;
    struct liars x;
    begin(&x, 1);
    await_role(&x, PROTOCOL_LEADER);
    uint64_t index = x.seen.last_index;
    for (int i = 0; i < 50 && live_log_count(&x.node, "two leaders in one term") == 0; i++) {
        await_role(&x, PROTOCOL_LEADER);
        say(&x, 0, &(struct raft_message){.kind = RAFT_APPEND_REQUEST, .term = x.seen.term, .log_term = 0});
        look(&x);
    }
    live_await_log(&x.node, "two leaders in one term");
    await_role(&x, PROTOCOL_LEADER);
    assert_true(x.seen.last_index >= index); /* its log came back from its disk */
    end(&x);
}

static void say_chunk(struct liars *x, uint64_t index, struct bytes data, uint64_t offset, bool last) {
    say(x, 0,
        &(struct raft_message){.kind = RAFT_SNAPSHOT_REQUEST,
                               .term = x->seen.term,
                               .index = index,
                               .log_term = 1,
                               .offset = offset,
                               .last = last,
                               .data = data});
}

static void a_snapshot_that_does_not_restore_is_not_kept(void **state) {
    (void)state;
    struct liars x;
    begin(&x, 1);
    await_role(&x, PROTOCOL_FOLLOWER);
    x.seen.term += 1000; /* no election gets there */
    say_chunk(&x, 50, bytes_of(x.snapshot.data, x.snapshot.size), 0, true);
    for (look(&x); x.seen.applied_index != 50; look(&x)) continue;
    say_chunk(&x, 60, bytes_str("no snapshot at all"), 0, true);
    live_await_log(&x.node, "does not restore");
    await_role(&x, PROTOCOL_FOLLOWER);
    assert_int_equal(x.seen.applied_index, 50);
    assert_int_equal(live_stop(&x.node), 0);
    live_start(&x.node);
    look(&x);
    assert_int_equal(x.seen.applied_index, 50);
    end(&x);
}

/* More than 1 GiB of one snapshot, as fast as it goes. */
static void a_snapshot_without_end_does_not_take_all_memory(void **state) {
    (void)state;
    static uint8_t chunk[1 << 20];
    if (getenv("HARROW_TEST_QUICK")) {
        print_message("skip a snapshot without end: it takes 2 GiB\n");
        skip();
    }
    struct liars x;
    begin(&x, 1);
    look(&x);
    x.seen.term += 1000;
    for (uint64_t offset = 0; offset <= PROTOCOL_SNAPSHOT_BYTES_MAX; offset += sizeof chunk)
        say_chunk(&x, 50, bytes_of(chunk, sizeof chunk), offset, false);
    live_await_log(&x.node, "\"message_refused\"");
    assert_in_range(live_resident_kb(&x.node), 1, 2 * (PROTOCOL_SNAPSHOT_BYTES_MAX >> 10) + RSS_KB_MAX);
    say_chunk(&x, 51, bytes_of(chunk, 1), 0, false);
    uint64_t until = monotonic_ns() + 20 * NS_PER_S;
    while (live_resident_kb(&x.node) > RSS_KB_MAX && monotonic_ns() < until) usleep(20000);
    assert_in_range(live_resident_kb(&x.node), 1, RSS_KB_MAX);
    end(&x);
}

static void hellos_that_are_not_true_are_refused(void **state) {
    (void)state;
    static const struct {
        uint8_t from, to;
        const char *cluster, *protocol, *says;
    } hellos[] = {{0, 0, "abuse", "raft", "of no node of this cluster"},
                  {3, 0, "abuse", "raft", "of no node of this cluster"},
                  {200, 0, "abuse", "raft", "of no node of this cluster"},
                  {WIRE_CLIENT, 0, "abuse", "raft", "of no node"},
                  {1, 1, "abuse", "raft", "to another node"},
                  {1, NODE_NONE, "abuse", "raft", "to another node"},
                  {1, 0, "another", "raft", "of another cluster; --cluster must"},
                  {1, 0, "abuse", "paxos", "of another protocol; --protocol must"}};
    struct liars x;
    begin(&x, 1);
    look(&x);
    for (size_t i = 0; i < sizeof hellos / sizeof *hellos; i++) {
        struct buffer out = {0};
        int fd = live_reach(&x.node.o.peers[0]);
        assert_true(fd >= 0);
        live_append_hello(&out, node_cluster_id(hellos[i].cluster), hellos[i].from, hellos[i].to, hellos[i].protocol);
        assert_int_equal(send(fd, out.data, out.size, MSG_NOSIGNAL), (ssize_t)out.size);
        buffer_free(&out);
        assert_true(live_closes(fd));
        close(fd);
        live_await_log(&x.node, hellos[i].says);
    }
    assert_int_equal(live_log_count(&x.node, "\"connection_refused\""), sizeof hellos / sizeof *hellos);
    end(&x);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hellos_that_are_not_true_are_refused),
        cmocka_unit_test(numbers_that_no_run_reaches_are_refused_and_told_once),
        cmocka_unit_test(who_claims_to_lead_our_term_does_not_end_us),
        cmocka_unit_test(a_snapshot_that_does_not_restore_is_not_kept),
        cmocka_unit_test(a_node_runs_on_among_liars),
        cmocka_unit_test(a_snapshot_without_end_does_not_take_all_memory),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
