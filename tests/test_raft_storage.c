/* Raft's messages on the wire, the log in memory beside a naive model, limits, restarts, and snapshots: taken, sent in
 * chunks, installed. Elections, replication and reads are in test_raft.c. */
#include "targets/protocols/raft/raft_internal.h"
#include "tests/raft_cluster.h"
#include "tests/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- messages ----------------------------------------------------------------------------------------------------- */

static struct raft_message random_message(struct prng *p, uint8_t kind, uint8_t *data, size_t capacity) {
    struct writer w = {.data = data, .capacity = capacity};
    struct raft_message m = {.kind = kind, .term = prng_between(p, 5, 1u << 30)};
    m.success = prng_chance(p, 500000);
    if (kind == RAFT_VOTE_REQUEST || kind == RAFT_VOTE_REPLY) m.pre_vote = prng_chance(p, 500000);
    if (kind == RAFT_VOTE_REQUEST) m.transfer = prng_chance(p, 500000);
    if (kind != RAFT_VOTE_REPLY && kind != RAFT_TIMEOUT_NOW) m.index = prng_between(p, 1, UINT64_MAX >> 3);
    if (kind != RAFT_VOTE_REPLY && kind != RAFT_TIMEOUT_NOW && kind != RAFT_SNAPSHOT_REPLY)
        m.log_term = prng_between(p, 1, 5);
    if (kind == RAFT_APPEND_REQUEST || kind == RAFT_APPEND_REPLY) m.round = prng_next(p) >> 3;
    if (kind == RAFT_APPEND_REPLY || kind == RAFT_SNAPSHOT_REPLY) m.rejected = prng_next(p) >> 3;
    if (kind == RAFT_SNAPSHOT_REQUEST || kind == RAFT_SNAPSHOT_REPLY) m.offset = prng_next(p) >> 3;
    if (kind == RAFT_SNAPSHOT_REQUEST) {
        m.last = prng_chance(p, 500000);
        for (uint64_t n = prng_below(p, 60); n; n--) write_u8(&w, (uint8_t)prng_next(p));
    }
    if (kind == RAFT_APPEND_REQUEST) {
        m.commit = prng_next(p) >> 3;
        m.entries = (uint32_t)prng_below(p, 5);
        for (uint32_t i = 0; i < m.entries; i++) {
            write_u64(&w, 5);
            write_u8(&w, (uint8_t)prng_below(p, 3));
            write_bytes(&w, bytes_of("0123456789", prng_below(p, 11)));
        }
    }
    m.data = bytes_of(data, w.size);
    return m;
}

static bool same_message(const struct raft_message *a, const struct raft_message *b) {
    return a->kind == b->kind && a->pre_vote == b->pre_vote && a->transfer == b->transfer && a->success == b->success &&
           a->term == b->term && a->index == b->index && a->log_term == b->log_term && a->commit == b->commit &&
           a->round == b->round && a->rejected == b->rejected && a->offset == b->offset && a->last == b->last &&
           a->entries == b->entries && bytes_equal(a->data, b->data);
}

static void a_message_comes_out_as_it_went_in_and_never_shorter_or_longer(void **state) {
    (void)state;
    struct prng p;
    prng_seed(&p, 1, 0);
    for (uint32_t i = 0; i < rounds(2000); i++) {
        uint8_t data[256], bytes[400];
        struct raft_message out, m = random_message(&p, (uint8_t)(1 + i % RAFT_TIMEOUT_NOW), data, sizeof data);
        size_t size = raft_message_encode(&m, bytes, sizeof bytes - 1);
        assert_true(size > 0);
        assert_true(raft_message_decode(bytes_of(bytes, size), &out));
        assert_true(same_message(&m, &out));
        for (size_t cut = 0; cut < size; cut++) {
            uint8_t *exact = xmalloc(cut + 1); /* so that a sanitizer sees a read beyond it */
            memcpy(exact, bytes, cut);
            assert_false(raft_message_decode(bytes_of(exact, cut), &out));
            assert_int_equal(raft_message_encode(&m, exact, cut), 0);
            free(exact);
        }
        bytes[size] = 0;
        assert_false(raft_message_decode(bytes_of(bytes, size + 1), &out));
    }
}

static bool decodes(struct raft_message m) {
    uint8_t bytes[200];
    struct raft_message out;
    size_t size = raft_message_encode(&m, bytes, sizeof bytes);
    assert_true(size > 0);
    return raft_message_decode(bytes_of(bytes, size), &out);
}

static void messages_that_no_replica_sends_are_refused(void **state) {
    (void)state;
    struct raft_message vote = {.kind = RAFT_VOTE_REQUEST, .term = 3, .index = 7, .log_term = 2}, m = vote, out;
    uint8_t bytes[64];
    size_t size = raft_message_encode(&vote, bytes, sizeof bytes);
    assert_true(raft_message_decode(bytes_of(bytes, size), &out));
    bytes[1] |= 16; /* a flag that does not exist */
    assert_false(raft_message_decode(bytes_of(bytes, size), &out));
    bytes[0] = 0;
    assert_false(raft_message_decode(bytes_of(bytes, size), &out));
    bytes[0] = RAFT_TIMEOUT_NOW + 1;
    assert_false(raft_message_decode(bytes_of(bytes, size), &out));
    m.term = 0;
    assert_false(decodes(m));
    m.term = UINT64_MAX; /* a step from overflow */
    assert_false(decodes(m));
    m.term = UINT64_MAX >> 2;
    assert_true(decodes(m));
    m.index = UINT64_MAX - 1;
    assert_false(decodes(m));

    struct raft_message snapshot = {.kind = RAFT_SNAPSHOT_REQUEST, .term = 3, .index = 7, .log_term = 2};
    assert_true(decodes(snapshot));
    m = snapshot;
    m.log_term = 0;
    assert_false(decodes(m));
    m.log_term = 4; /* of a term later than the leader's */
    assert_false(decodes(m));
    m = snapshot;
    m.index = 0;
    assert_false(decodes(m));

    uint8_t data[64];
    struct writer w = {.data = data, .capacity = sizeof data};
    for (uint64_t term = 2; term <= 3; term++) {
        write_u64(&w, term);
        write_u8(&w, ENTRY_COMMAND);
        write_bytes(&w, bytes_str("x"));
    }
    struct raft_message append = {
        .kind = RAFT_APPEND_REQUEST, .term = 3, .index = 7, .log_term = 2, .entries = 2, .data = {data, w.size}};
    assert_true(decodes(append));
    m = append;
    m.entries = 3; /* more than there are */
    assert_false(decodes(m));
    m.entries = 1; /* fewer */
    assert_false(decodes(m));
    m.entries = UINT32_MAX;
    assert_false(decodes(m));
    m = append;
    m.term = 2; /* an entry from the future */
    assert_false(decodes(m));
    m = append;
    m.log_term = 3; /* terms fall within the log */
    assert_false(decodes(m));
    data[8] = ENTRY_CONFIGURATION + 1;
    assert_false(decodes(append));
}

static void a_description_fits_where_it_must(void **state) {
    (void)state;
    uint8_t bytes[64];
    struct raft_message m = {.kind = RAFT_APPEND_REPLY, .term = 12, .index = 34, .round = 5, .success = true};
    size_t size = raft_message_encode(&m, bytes, sizeof bytes);
    for (size_t capacity = 0; capacity < 40; capacity++) {
        char text[40];
        memset(text, '#', sizeof text);
        size_t length = raft_protocol.describe(bytes_of(bytes, size), text, capacity);
        assert_true(capacity == 0 ? length == 0 : length < capacity && text[length] == 0);
        assert_int_equal(text[capacity < 39 ? capacity : 39], '#');
    }
}

/* --- the log in memory -------------------------------------------------------------------------------------------- */

enum { MODEL_ENTRIES = 32, MODEL_BYTES = 512 };
struct model { /* entries base + 1 .. last, in plain arrays */
    uint64_t base, base_term, last;
    struct {
        uint64_t term, token;
        uint8_t kind, size, fill;
    } entry[1 << 16];
};

static void check_log(const struct raft_log *log, const struct model *m) {
    assert_int_equal(log->first, m->base + 1);
    assert_int_equal(log->last, m->last);
    assert_int_equal(log_term(log, m->base), m->base_term);
    assert_int_equal(log_term(log, m->last + 1), 0);
    uint64_t bytes = 0;
    for (uint64_t i = m->last; i > m->base; i--) {
        struct bytes b = log_payload(log, i);
        assert_int_equal(log_item(log, i)->token, m->entry[i].token);
        assert_int_equal(log_item(log, i)->kind, m->entry[i].kind);
        assert_int_equal(log_term(log, i), m->entry[i].term);
        assert_int_equal(b.size, m->entry[i].size);
        for (size_t at = 0; at < b.size; at++) assert_int_equal(b.data[at], m->entry[i].fill);
        bytes += b.size;
        assert_true(log_bytes_from(log, i) >= bytes && log_bytes_from(log, i) <= MODEL_BYTES);
    }
}

static uint64_t meeting_point(const struct model *m, uint64_t from, uint64_t term) {
    uint64_t i = from < m->last ? from : m->last;
    while (i > m->base && m->entry[i].term > term) i--;
    return i == m->base && m->base_term > term ? i - 1 : i;
}

static void the_log_wraps_around_without_mixing_entries_up(void **state) {
    (void)state;
    static struct model m;
    struct limits limits = {.log_entries_max = MODEL_ENTRIES, .log_bytes_max = MODEL_BYTES};
    struct raft_log log;
    struct prng p;
    uint64_t appended = 0, refused = 0, wrapped = 0;
    for (uint64_t seed = 0; seed < rounds(100); seed++) {
        prng_seed(&p, seed, 1);
        void *memory = xmalloc(log_memory(&limits));
        log_init(&log, &limits, memory);
        m.base = m.base_term = m.last = 0;
        uint64_t term = 1;
        uint32_t largest = seed % 2 ? 20 : 120;
        for (uint32_t step = 0; step < 2000; step++) {
            uint64_t dice = prng_below(&p, 100), held = m.last - m.base;
            if (dice < 70) {
                uint8_t payload[128], size = (uint8_t)prng_below(&p, largest), fill = (uint8_t)prng_next(&p);
                memset(payload, fill, size);
                term += prng_chance(&p, 100000);
                bool room = log_has_room(&log, size);
                assert_true(room || held == MODEL_ENTRIES || held * largest + 2 * largest > MODEL_BYTES);
                uint32_t head = log.bytes_head;
                assert_int_equal(log_append(&log, term, ENTRY_COMMAND, step, bytes_of(payload, size)), room);
                refused += !room;
                if (!room) continue;
                appended++;
                wrapped += log.bytes_head < head;
                m.entry[++m.last].term = term;
                m.entry[m.last].token = step;
                m.entry[m.last].kind = ENTRY_COMMAND;
                m.entry[m.last].size = size;
                m.entry[m.last].fill = fill;
            } else if (dice < 80 && held) {
                uint64_t cut = prng_between(&p, m.base + 1, m.last);
                if (prng_chance(&p, 500000)) cut = m.last;
                log_cut(&log, cut);
                m.last = cut - 1;
            } else if (dice < 98 && held) {
                uint64_t upto = prng_between(&p, m.base, m.last);
                uint64_t upto_term = log_term(&log, upto);
                log_compact(&log, upto);
                m.base_term = upto_term;
                m.base = upto;
            } else if (dice == 99 && m.last < 60000) {
                m.base = m.last += prng_between(&p, 1, 5);
                m.base_term = ++term;
                log_reset(&log, m.base, m.base_term);
            }
            check_log(&log, &m);
            uint64_t from = prng_between(&p, m.base, m.last + 3), some_term = prng_below(&p, term + 2);
            if (some_term >= m.base_term || m.base > 0)
                assert_int_equal(log_meeting_point(&log, from, some_term), meeting_point(&m, from, some_term));
        }
        free(memory);
    }
    print_message("%ju appended, %ju refused, %ju wraps\n", appended, refused, wrapped);
    assert_true(appended > 1000 && refused > 100 && wrapped > 100);
}

static void a_full_log_says_busy_and_leaves_room_for_the_next_leader(void **state) {
    (void)state;
    struct config config = cluster_config();
    config.limits.log_entries_max = 64;
    struct raft_cluster *c = cluster_new(3, &config);
    elects(c, N1);
    for (uint8_t i = N2; i <= N3; i++) c->cut[i][N1] = true; /* nothing is acknowledged */
    uint64_t token = 1;
    while (!strstr(proposes(c, N1, token, "x"), "busy")) token++;
    assert_true(token > 16 && token < 64);
    settles(c);
    heartbeats(c, N1);
    settles(c);
    /* Every log holds as much uncommitted as was let in; the next leader's first entry must still find room. */
    isolates(c, N1, true);
    elects(c, N2);
    isolates(c, N1, false);
    beats(c, N2, 2);
    assert_int_equal(probe_of(c, N1).commit_index, probe_of(c, N2).last_index);
    assert_null(strstr(proposes(c, N2, 99, "x"), "busy"));
    cluster_free(c);
}

static void a_command_that_is_too_large_is_refused(void **state) {
    (void)state;
    char large[258];
    memset(large, 'x', sizeof large - 1);
    large[257] = 0;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    assert_string_equal(proposes(c, N1, 1, large), "refuse 1 busy n1");
    assert_null(strstr(proposes(c, N1, 2, large + 1), "busy"));
    settles(c);
    beats(c, N1, 1);
    assert_int_equal(probe_of(c, N3).commit_index, 2);
    cluster_free(c);
}

/* Large commands fill the bytes of a log long before their number asks for a snapshot. */
static void large_commands_do_not_fill_the_log_for_good(void **state) {
    (void)state;
    static char large[251];
    memset(large, 'x', sizeof large - 1);
    struct config config = cluster_config();
    config.limits.log_bytes_max = 4096;
    config.snapshot_entries = 100;
    config.snapshot_trailing = 50;
    struct raft_cluster *c = cluster_new(3, &config);
    elects(c, N1);
    for (uint64_t token = 1; token <= 400; token++) {
        assert_null(strstr(proposes(c, N1, token, large), "busy"));
        settles(c);
    }
    beats(c, N1, 1);
    for (uint8_t i = 0; i < 3; i++) {
        assert_int_equal(probe_of(c, i).applied_index, 401);
        restarts(c, i);
    }
    elects(c, N2);
    assert_int_equal(probe_of(c, N2).applied_index, 402);
    cluster_free(c);
}

/* --- snapshots ---------------------------------------------------------------------------------------------------- */

static struct raft_cluster *cluster_with_snapshots(uint32_t every, uint32_t trailing) {
    struct config config = cluster_config();
    config.snapshot_entries = every;
    config.snapshot_trailing = trailing;
    return cluster_new(3, &config);
}

static void commits(struct raft_cluster *c, uint8_t leader, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        const char *said = proposes(c, leader, probe_of(c, leader).last_index + 1000, "x");
        assert_null(strstr(said, "refuse"));
        settles(c);
    }
    beats(c, leader, 1);
}

static void a_snapshot_compacts_the_log_when_it_is_durable(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_with_snapshots(10, 3);
    elects(c, N1);
    commits(c, N1, 8);
    proposes(c, N1, 1, "x");
    carries(c, N1, N2);
    syncs(c, N2, UINT64_MAX);
    carries(c, N2, N1);
    assert_string_equal(syncs(c, N1, 11), "apply 10; take 10 keep 8@12");
    assert_int_equal(probe_of(c, N1).first_index, 1);
    assert_string_equal(syncs(c, N1, 12), "");
    assert_int_equal(probe_of(c, N1).first_index, 8);
    settles(c);
    restarts(c, N1);
    struct probe p = probe_of(c, N1);
    assert_int_equal(p.applied_index, 10); /* what the snapshot holds is committed */
    assert_int_equal(p.first_index, 9);    /* of entry 8 only the term is of use: what precedes it is unknown */
    assert_int_equal(p.last_index, 10);
    cluster_free(c);
}

static void falls_behind(struct raft_cluster *c, uint8_t node, uint32_t entries) {
    elects(c, N1);
    isolates(c, node, true);
    commits(c, N1, entries);
    isolates(c, node, false);
}

static void who_lags_behind_the_log_gets_a_snapshot_in_chunks(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_with_snapshots(20, 5);
    c->snapshot_bytes = 5000;
    falls_behind(c, N3, 55);
    beats(c, N1, 3);
    assert_int_equal(probe_of(c, N3).applied_index, 56);
    assert_int_equal(c->node[N3].snapshot_index, 40);
    assert_int_equal(c->carried[RAFT_SNAPSHOT_REQUEST], 6); /* of 960 bytes */
    commits(c, N1, 3);
    assert_int_equal(probe_of(c, N3).applied_index, 59);
    cluster_free(c);
}

static void lost_chunks_are_sent_again(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_with_snapshots(20, 5);
    c->snapshot_bytes = 5000;
    falls_behind(c, N3, 55);
    for (uint32_t i = 0; i < 40 && probe_of(c, N3).applied_index < 56; i++) {
        heartbeats(c, N1);
        passes(c, N2, 50 * NS_PER_MS);
        loses(c, i % 2 ? N1 : N3, i % 2 ? N3 : N1); /* now the question, now the answer */
        carries(c, N1, N2);
        carries(c, N1, N3);
        syncs_all(c);
        carries(c, N3, N1);
        carries(c, N2, N1);
    }
    settles(c);
    assert_int_equal(probe_of(c, N3).applied_index, 56);
    cluster_free(c);
}

/* Each chunk causes an answer and each answer a chunk: what is doubled must not breed. */
static void a_network_that_doubles_messages_does_not_multiply_a_transfer(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_with_snapshots(20, 5);
    c->snapshot_bytes = 20000;
    falls_behind(c, N3, 55);
    for (uint32_t beat = 0; beat < 4; beat++) {
        heartbeats(c, N1);
        passes(c, N2, 50 * NS_PER_MS);
        passes(c, N3, 50 * NS_PER_MS);
        for (uint32_t i = 0; c->mail_count; i++) {
            assert_true(i < 1000);
            struct mail m = c->mail[0];
            hears_bytes(c, m.to, m.from, m.bytes);
            carries(c, m.from, m.to);
            syncs_all(c);
        }
    }
    assert_int_equal(probe_of(c, N3).applied_index, 56);
    assert_true(c->carried[RAFT_SNAPSHOT_REQUEST] <= 2 * 21 + 8);
    cluster_free(c);
}

/* n3 has three chunks of six, then hears nothing for a while. */
static void begins_a_transfer(struct raft_cluster *c) {
    c->snapshot_bytes = 5000;
    falls_behind(c, N3, 55);
    heartbeats(c, N1);
    for (uint32_t i = 0; i < 3; i++) {
        carries(c, N1, N3);
        carries(c, N3, N1);
    }
    assert_int_equal(c->node[N3].receiving.size, 3 * 960);
}

/* Else a follower whom a transfer takes longer than the load takes to the next snapshot never catches up. */
static void a_snapshot_that_is_being_sent_puts_the_next_one_off(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_with_snapshots(20, 5);
    begins_a_transfer(c);
    c->cut[N1][N3] = c->cut[N3][N1] = true;
    settles(c);
    commits(c, N1, 45);
    assert_int_equal(c->node[N1].snapshot_index, 40);
    c->cut[N1][N3] = c->cut[N3][N1] = false;
    beats(c, N1, 3);
    assert_int_equal(probe_of(c, N3).applied_index, 101);
    assert_true(c->carried[RAFT_SNAPSHOT_REQUEST] <= 7);
    commits(c, N1, 1);
    assert_int_equal(c->node[N1].snapshot_index, 102); /* now it may */
    cluster_free(c);
}

static void a_newer_snapshot_starts_the_transfer_anew(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_with_snapshots(20, 5);
    begins_a_transfer(c);
    c->cut[N1][N3] = c->cut[N3][N1] = true;
    settles(c);
    beats(c, N1, 7); /* an election timeout without a word: perhaps it is gone */
    commits(c, N1, 25);
    assert_true(c->node[N1].snapshot_index > 60);
    c->cut[N1][N3] = c->cut[N3][N1] = false;
    beats(c, N1, 3);
    assert_int_equal(probe_of(c, N3).applied_index, 81);
    assert_int_equal(c->node[N3].snapshot_index, c->node[N1].snapshot_index);
    cluster_free(c);
}

static void a_replica_that_restarts_amid_a_transfer_gets_it_from_the_start(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_with_snapshots(20, 5);
    begins_a_transfer(c);
    restarts(c, N3);
    c->node[N3].receiving.size = 0;
    settles(c);
    beats(c, N1, 3);
    assert_int_equal(probe_of(c, N3).applied_index, 56);
    cluster_free(c);
}

static void a_new_leader_goes_on_with_the_transfer(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_with_snapshots(20, 5);
    begins_a_transfer(c);
    uint64_t before = c->carried[RAFT_SNAPSHOT_REQUEST];
    loses(c, N1, N3);
    loses(c, N1, N2);
    restarts(c, N1);
    elects(c, N2);
    beats(c, N2, 3);
    assert_int_equal(probe_of(c, N3).applied_index, 57);
    assert_int_equal(c->carried[RAFT_SNAPSHOT_REQUEST] - before, 4); /* one to learn how far it is, three more */
    cluster_free(c);
}

static struct raft_message snapshot_of(uint64_t term, uint64_t index, uint64_t index_term) {
    static uint8_t data[16];
    memcpy(data, &index, 8);
    return (struct raft_message){.kind = RAFT_SNAPSHOT_REQUEST,
                                 .term = term,
                                 .index = index,
                                 .log_term = index_term,
                                 .last = true,
                                 .data = bytes_of(data, sizeof data)};
}

/* R12: camunda#6092 */
static void an_older_snapshot_never_replaces_a_newer_log(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_with_snapshots(20, 5);
    elects(c, N1);
    commits(c, N1, 9);
    assert_string_equal(hears(c, N2, N1, snapshot_of(1, 5, 1)), "n1: snapshot term=1 index=5");
    assert_int_equal(probe_of(c, N2).last_index, 10);
    assert_int_equal(probe_of(c, N2).applied_index, 10);
    cluster_free(c);
}

static void a_snapshot_within_the_log_keeps_what_follows_it(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    isolates(c, N3, true);
    for (uint64_t token = 1; token <= 6; token++) proposes(c, N1, token, "x");
    carries(c, N1, N2);
    syncs(c, N2, UINT64_MAX);
    assert_int_equal(probe_of(c, N2).commit_index, 1);
    const char *said = hears(c, N2, N1, snapshot_of(1, 4, 1));
    assert_non_null(strstr(said, "receive 4/1+0 16 bytes last"));
    assert_null(strstr(said, "reset"));
    assert_string_equal(syncs(c, N2, UINT64_MAX), "n1: snapshot term=1 index=4");
    struct probe p = probe_of(c, N2);
    assert_int_equal(p.first_index, 5);
    assert_int_equal(p.last_index, 7);
    assert_int_equal(p.applied_index, 4);
    cluster_free(c);
}

static void a_snapshot_beside_the_log_replaces_it(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    isolates(c, N1, true);
    for (uint64_t token = 1; token <= 6; token++) proposes(c, N1, token, "x");
    settles(c);
    const char *said = hears(c, N1, N2, snapshot_of(2, 4, 2));
    assert_non_null(strstr(said, "receive 4/2+0 16 bytes last reset"));
    assert_int_equal(probe_of(c, N1).last_index, 7); /* nothing changes before it is durable ... */
    said = hears(c, N1, N2,
                 (struct raft_message){.kind = RAFT_APPEND_REQUEST, .term = 2, .index = 9, .log_term = 2, .round = 3});
    assert_string_equal(said, "n2: append term=2 index=1 round=3 yes^9"); /* ... but the leader is answered */
    said = syncs(c, N1, UINT64_MAX);
    assert_non_null(strstr(said, "refuse 1 unknown n2; refuse 2 unknown n2"));
    assert_non_null(strstr(said, "n2: snapshot term=2 index=4"));
    struct probe p = probe_of(c, N1);
    assert_int_equal(p.first_index, 5);
    assert_int_equal(p.last_index, 4);
    assert_int_equal(p.last_term, 2);
    assert_int_equal(p.durable_index, 4);
    restarts(c, N1);
    assert_int_equal(probe_of(c, N1).last_index, 4);
    assert_int_equal(probe_of(c, N1).applied_index, 4);
    cluster_free(c);
}

static void nobody_stands_for_election_while_it_installs(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    c->synced = false;
    hears(c, N1, N2, snapshot_of(2, 4, 2));
    for (uint32_t i = 0; i < 5; i++) assert_string_equal(times_out(c, N1), "");
    assert_int_equal(probe_of(c, N1).role, PROTOCOL_FOLLOWER);
    assert_string_equal(hears(c, N1, N2, (struct raft_message){.kind = RAFT_TIMEOUT_NOW, .term = 2}), "");
    assert_string_equal(hears(c, N1, N2, snapshot_of(2, 4, 2)), ""); /* it came twice */
    assert_non_null(strstr(syncs(c, N1, UINT64_MAX), "n2: snapshot term=2 index=4"));
    assert_non_null(strstr(times_out(c, N1), "candidate"));
    cluster_free(c);
}

/* R11: openraft#511 */
static void an_append_before_the_compacted_log_is_not_a_conflict(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_with_snapshots(10, 2);
    elects(c, N1);
    commits(c, N1, 14);
    assert_true(probe_of(c, N2).first_index > 5);
    struct raft_message m = {
        .kind = RAFT_APPEND_REQUEST, .term = 1, .index = 2, .log_term = 1, .commit = 15, .round = 9};
    assert_string_equal(hears(c, N2, N1, m), "n1: append term=1 index=2 round=9 yes");
    cluster_free(c);
}

/* A leader whose log begins with the very entry where the follower's differs used to probe there for ever. */
static void a_log_that_differs_at_the_leaders_base_is_repaired_by_a_snapshot(void **state) {
    (void)state;
    for (uint32_t surplus = 1; surplus <= 12; surplus++) { /* one of them ends exactly at the base */
        struct raft_cluster *c = cluster_with_snapshots(10, 4);
        elects(c, N1);
        commits(c, N1, 2);
        isolates(c, N1, true);
        for (uint64_t token = 1; token <= surplus; token++) proposes(c, N1, token, "stale");
        elects(c, N2);
        commits(c, N2, 12);
        restarts(c, N2);
        elects(c, N3); /* who has yet to find out where the logs meet */
        isolates(c, N1, false);
        beats(c, N3, 4);
        assert_int_equal(probe_of(c, N1).applied_index, probe_of(c, N3).applied_index);
        assert_int_equal(probe_of(c, N1).last_term, 3);
        cluster_free(c);
    }
}

/* --- everything at once ------------------------------------------------------------------------------------------- */

static void random_step(struct raft_cluster *c, struct prng *p, uint64_t token) {
    uint8_t node = (uint8_t)prng_below(p, c->nodes), from = (uint8_t)prng_below(p, c->nodes);
    uint64_t dice = prng_below(p, 1000);
    bool leads = probe_of(c, node).role == PROTOCOL_LEADER;
    if (dice < 400) {
        carries(c, from, node);
    } else if (dice < 700) {
        if (c->node[node].writes_first < c->node[node].writes_count)
            syncs(c, node, c->node[node].durable + prng_between(p, 1, 5));
    } else if (dice < 800 && c->mail_count) {
        struct mail m = c->mail[prng_below(p, c->mail_count)];
        hears_bytes(c, m.to, m.from, m.bytes); /* it will come again */
    } else if (dice < 820) {
        loses(c, from, node);
    } else if (dice < 822) {
        restarts(c, node);
    } else if (dice < 825 && !leads) {
        times_out(c, node);
    } else if (leads) {
        if (dice < 860)
            heartbeats(c, node);
        else if (dice < 863)
            transfers(c, node, from);
        else if (dice < 900)
            reads(c, node, token);
        else
            proposes(c, node, token, "0123456789abcdef");
    }
}

/* Random steps, losses, doublings and restarts; the fixture compares state machines, the end must be agreement. */
static void replicas_agree_whatever_is_lost_doubled_or_restarted(void **state) {
    (void)state;
    uint64_t committed = 0, elections = 0, snapshots = 0;
    for (uint64_t seed = 1; seed <= rounds(300); seed++) {
        struct prng p;
        prng_seed(&p, seed, 2);
        struct config config = cluster_config();
        config.seed = seed;
        config.snapshot_entries = 8;
        config.snapshot_trailing = (uint32_t)prng_below(&p, 8);
        config.limits.log_entries_max = 128;
        config.limits.log_bytes_max = 2048;
        struct raft_cluster *c = cluster_new((uint8_t)prng_between(&p, 2, 5), &config);
        c->snapshot_bytes = 16 + prng_below(&p, 3000);
        for (uint32_t step = 0; step < 4000; step++) {
            random_step(c, &p, seed << 20 | (step + 1));
            for (uint8_t i = 0; i < c->nodes; i++) passes(c, i, prng_below(&p, NS_PER_MS / 2));
        }
        settles(c);
        lives(c, 4000);
        for (uint8_t i = 0; i < c->nodes; i++)
            assert_int_equal(probe_of(c, i).applied_index, probe_of(c, N1).last_index);
        snapshots += c->carried[RAFT_SNAPSHOT_REQUEST];
        committed += probe_of(c, N1).applied_index;
        elections += probe_of(c, N1).term;
        cluster_free(c);
    }
    print_message("%ju entries committed in %ju terms, %ju chunks\n", committed, elections, snapshots);
    assert_true(committed > rounds(300) && elections > rounds(300) / 6 && snapshots > rounds(300) / 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_comes_out_as_it_went_in_and_never_shorter_or_longer),
        cmocka_unit_test(messages_that_no_replica_sends_are_refused),
        cmocka_unit_test(a_description_fits_where_it_must),
        cmocka_unit_test(the_log_wraps_around_without_mixing_entries_up),
        cmocka_unit_test(a_full_log_says_busy_and_leaves_room_for_the_next_leader),
        cmocka_unit_test(a_command_that_is_too_large_is_refused),
        cmocka_unit_test(large_commands_do_not_fill_the_log_for_good),
        cmocka_unit_test(a_snapshot_compacts_the_log_when_it_is_durable),
        cmocka_unit_test(who_lags_behind_the_log_gets_a_snapshot_in_chunks),
        cmocka_unit_test(lost_chunks_are_sent_again),
        cmocka_unit_test(a_network_that_doubles_messages_does_not_multiply_a_transfer),
        cmocka_unit_test(a_snapshot_that_is_being_sent_puts_the_next_one_off),
        cmocka_unit_test(a_newer_snapshot_starts_the_transfer_anew),
        cmocka_unit_test(a_replica_that_restarts_amid_a_transfer_gets_it_from_the_start),
        cmocka_unit_test(a_new_leader_goes_on_with_the_transfer),
        cmocka_unit_test(an_older_snapshot_never_replaces_a_newer_log),
        cmocka_unit_test(a_snapshot_within_the_log_keeps_what_follows_it),
        cmocka_unit_test(a_snapshot_beside_the_log_replaces_it),
        cmocka_unit_test(nobody_stands_for_election_while_it_installs),
        cmocka_unit_test(an_append_before_the_compacted_log_is_not_a_conflict),
        cmocka_unit_test(a_log_that_differs_at_the_leaders_base_is_repaired_by_a_snapshot),
        cmocka_unit_test(replicas_agree_whatever_is_lost_doubled_or_restarted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
