/* The driver of one replica over a simulated disk: what it withholds, how it batches, what it finds again after a
 * crash, and how it stops. The test plays the network, the clock and the clients. */
#include "nemesis/disk.h"
#include "targets/node/replica.h"
#include "targets/protocols/raft/raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SENT_MAX = 4096, ANSWERS_MAX = 4096 };

struct answer {
    uint64_t token, index;
    enum status status;
    struct kv_result result;
};
struct host {
    struct config config;
    struct replica *replica;
    struct replica_env env;
    struct sim_disk disk;
    struct prng prng;
    uint64_t now_ns;
    bool sync_pending;
    uint32_t sync_file;
    uint64_t sync_cookie;
    struct raft_message sent[SENT_MAX]; /* without what they refer to */
    uint32_t sent_count;
    struct answer answers[ANSWERS_MAX];
    uint32_t answers_count;
    uint32_t fatals;
    bool assertion;
    char reason[256];
    uint64_t durable, appends, snapshots;
};

static void env_send(void *ctx, uint8_t to, uint8_t message_kind, struct bytes bytes) {
    struct host *h = ctx;
    (void)to;
    assert_true(h->sent_count < SENT_MAX);
    assert_true(raft_message_decode(bytes, &h->sent[h->sent_count]));
    assert_int_equal(h->sent[h->sent_count++].kind, message_kind);
}
static void env_timer(void *ctx, uint8_t id, uint64_t delay_ns) {
    (void)ctx, (void)id, (void)delay_ns;
}
static void env_respond(void *ctx, uint64_t token, enum status status, uint8_t leader, struct bytes result,
                        uint64_t index) {
    struct host *h = ctx;
    (void)leader;
    assert_true(h->answers_count < ANSWERS_MAX);
    struct answer *a = &h->answers[h->answers_count++];
    *a = (struct answer){.token = token, .index = index, .status = status};
    if (status == STATUS_OK) assert_true(kv_result_decode(result, &a->result));
    a->result.values_count = 0; /* they refer to bytes that are gone */
}
static void env_fatal(void *ctx, bool assertion, const char *reason) {
    struct host *h = ctx;
    h->fatals++;
    h->assertion = assertion;
    snprintf(h->reason, sizeof h->reason, "%s", reason);
}
static void env_observe(void *ctx, const struct effect *e) {
    struct host *h = ctx;
    h->appends += e->kind == EFFECT_APPEND;
    h->snapshots += e->kind == EFFECT_SNAPSHOT_TAKE;
    /* What leaves is durable: the barrier holds for the driver's own count. */
    if (e->kind == EFFECT_SEND && e->barrier) assert_true(e->barrier <= h->durable);
}
static void env_durable(void *ctx, uint64_t written) {
    struct host *h = ctx;
    assert_true(written > h->durable);
    h->durable = written;
}
static void on_sync(void *ctx, uint32_t file, uint64_t cookie) {
    struct host *h = ctx;
    assert_false(h->sync_pending); /* one at a time */
    h->sync_pending = true;
    h->sync_file = file;
    h->sync_cookie = cookie;
}

static struct config small_config(uint8_t nodes) {
    return (struct config){.nodes = nodes,
                           .seed = 1,
                           .election_timeout_ns = 300 * NS_PER_MS,
                           .heartbeat_ns = 50 * NS_PER_MS,
                           .reads = PROTOCOL_READ_INDEX,
                           .limits = {.log_entries_max = 256,
                                      .log_bytes_max = 32 << 10,
                                      .entry_bytes_max = 1024,
                                      .message_bytes_max = 2048,
                                      .reads_max = 8,
                                      .inflight_max = 16}};
}

static int boots(struct host *h, struct error *e) {
    h->durable = 0;
    h->sync_pending = false;
    int rc = replica_start(h->replica, &h->config, &h->env, h->now_ns, e);
    h->now_ns += NS_PER_S;
    return rc;
}

static struct host *host_new(struct config config, const char *mutant) {
    struct host *h = xcalloc(1, sizeof *h);
    h->config = config;
    h->now_ns = NS_PER_S;
    prng_seed(&h->prng, 1, 0);
    sim_disk_init(&h->disk, &h->prng, on_sync, h);
    h->env = (struct replica_env){.ctx = h,
                                  .disk = &h->disk.base,
                                  .send = env_send,
                                  .timer = env_timer,
                                  .respond = env_respond,
                                  .fatal = env_fatal,
                                  .observe = env_observe,
                                  .durable = env_durable};
    h->replica = replica_new(&raft_protocol, mutant ? mutant_find(mutant) : NULL, &config);
    struct error e;
    assert_int_equal(boots(h, &e), 0);
    return h;
}

static void host_free(struct host *h) {
    replica_free(h->replica);
    sim_disk_free(&h->disk);
    free(h);
}

static void syncs(struct host *h) { /* one */
    assert_true(h->sync_pending);
    h->sync_pending = false;
    int status = sim_disk_sync_done(&h->disk, h->sync_file, h->sync_cookie);
    replica_synced(h->replica, h->now_ns, h->sync_cookie, status);
}

static void settles(struct host *h) {
    while (h->sync_pending) syncs(h);
}

static void crashes(struct host *h, bool power) {
    replica_stop(h->replica);
    if (power)
        sim_disk_power_loss(&h->disk, (struct disk_crash){0});
    else
        sim_disk_process_crash(&h->disk);
    struct error e;
    assert_int_equal(boots(h, &e), 0);
}

static void hears(struct host *h, struct raft_message m) {
    uint8_t bytes[2048];
    size_t size = raft_message_encode(&m, bytes, sizeof bytes);
    assert_true(size > 0);
    replica_message(h->replica, h->now_ns, 1, bytes_of(bytes, size));
}

static struct probe probe_of(const struct host *h) {
    struct probe p;
    replica_probe(h->replica, &p);
    return p;
}

/* A cluster of one that leads itself. */
static struct host *leader_new(struct config config) {
    struct host *h = host_new(config, NULL);
    replica_timer(h->replica, h->now_ns, 0);
    settles(h);
    assert_int_equal(probe_of(h).role, PROTOCOL_LEADER);
    return h;
}

static void leads_again(struct host *h) {
    replica_timer(h->replica, h->now_ns, 0);
    settles(h);
    assert_int_equal(probe_of(h).role, PROTOCOL_LEADER);
}

static void requests(struct host *h, uint64_t token, const struct kv_command *c) {
    static uint8_t bytes[1 << 17];
    size_t size = kv_command_encode(c, bytes, sizeof bytes);
    assert_true(size > 0);
    replica_request(h->replica, h->now_ns, token, bytes_of(bytes, size));
}

static struct kv_command add(uint64_t session, uint64_t sequence) {
    return (struct kv_command){
        .session = session,
        .sequence = sequence,
        .ops_count = 1,
        .ops = {{.kind = KV_ADD, .key = bytes_str("n"), .value = {.kind = KV_COUNTER, .counter = 1}}}};
}

static const struct kv_command get = {.ops_count = 1, .ops = {{.kind = KV_GET, .key = {(const uint8_t *)"n", 1}}}};

static const struct answer *answer(const struct host *h, uint64_t token) {
    for (uint32_t i = 0; i < h->answers_count; i++)
        if (h->answers[i].token == token) return &h->answers[i];
    return NULL;
}

/* --- barriers ----------------------------------------------------------------------------------------------------- */

static const struct raft_message vote_request = {.kind = RAFT_VOTE_REQUEST, .term = 1};

static void a_vote_is_withheld_until_the_sync_has_ended(void **state) {
    (void)state;
    struct host *h = host_new(small_config(3), NULL);
    hears(h, vote_request);
    assert_true(h->sync_pending);
    assert_int_equal(h->sent_count, 0);
    syncs(h);
    assert_int_equal(h->sent_count, 1);
    assert_int_equal(h->sent[0].kind, RAFT_VOTE_REPLY);
    assert_true(h->sent[0].success);
    crashes(h, true);
    assert_int_equal(probe_of(h).vote, 1);
    assert_int_equal(probe_of(h).term, 1);
    host_free(h);
}

static void what_was_not_synced_was_never_said(void **state) {
    (void)state;
    struct host *h = host_new(small_config(3), NULL);
    hears(h, vote_request);
    crashes(h, true);
    assert_int_equal(h->sent_count, 0);
    assert_int_equal(probe_of(h).term, 0);
    host_free(h);
}

static void a_mutant_says_it_before_it_is_durable(void **state) {
    (void)state;
    struct host *h = host_new(small_config(3), "raft/no-vote-fsync");
    h->env.observe = NULL; /* its barrier does not hold: that is the point */
    replica_stop(h->replica);
    struct error e;
    assert_int_equal(boots(h, &e), 0);
    hears(h, vote_request);
    assert_int_equal(h->sent_count, 1);
    assert_true(h->sync_pending);
    crashes(h, true);
    assert_int_equal(probe_of(h).term, 0); /* and it may vote again */
    host_free(h);
}

static struct raft_message append_request(uint64_t prev, uint32_t entries, uint8_t *data, size_t capacity) {
    struct writer w = {.data = data, .capacity = capacity};
    for (uint32_t i = 0; i < entries; i++) {
        write_u64(&w, 1);
        write_u8(&w, ENTRY_NOOP);
        write_bytes(&w, bytes_of(NULL, 0));
    }
    return (struct raft_message){.kind = RAFT_APPEND_REQUEST,
                                 .term = 1,
                                 .index = prev,
                                 .log_term = prev ? 1 : 0,
                                 .entries = entries,
                                 .data = bytes_of(data, w.size)};
}

/* Under steady load something always waits; nothing of it may mix up or get lost. */
static void withheld_messages_leave_in_order_and_whole(void **state) {
    (void)state;
    struct config config = small_config(3);
    config.limits.log_entries_max = 4096;
    struct host *h = host_new(config, NULL);
    uint8_t data[64];
    for (uint64_t i = 0; i < 1000; i++) {
        hears(h, append_request(i, 1, data, sizeof data));
        if (i % 3 == 2) syncs(h);
    }
    settles(h);
    assert_int_equal(h->sent_count, 1000);
    for (uint32_t i = 0; i < h->sent_count; i++) {
        assert_int_equal(h->sent[i].kind, RAFT_APPEND_REPLY);
        assert_int_equal(h->sent[i].index, i + 1);
    }
    assert_int_equal(probe_of(h).durable_index, 1000);
    host_free(h);
}

static void requests_that_come_during_a_sync_share_the_next(void **state) {
    (void)state;
    struct host *h = leader_new(small_config(1));
    struct kv_command c = add(0, 0);
    uint64_t before = h->disk.counters.syncs;
    for (uint64_t token = 1; token <= 50; token++) requests(h, token, &c);
    assert_int_equal(h->answers_count, 0);
    syncs(h);
    assert_int_equal(h->answers_count, 1);
    syncs(h);
    assert_int_equal(h->answers_count, 50);
    assert_false(h->sync_pending);
    assert_int_equal(h->disk.counters.syncs - before, 2);
    for (uint32_t i = 0; i < 50; i++) {
        assert_int_equal(h->answers[i].token, i + 1);
        assert_int_equal(h->answers[i].status, STATUS_OK);
        assert_int_equal(h->answers[i].index, i + 2);
    }
    host_free(h);
}

/* --- restarts ----------------------------------------------------------------------------------------------------- */

static void a_command_applies_once_through_crashes(void **state) {
    (void)state;
    for (uint32_t snapshot_entries = 0; snapshot_entries <= 3; snapshot_entries += 3) {
        struct config config = small_config(1);
        config.snapshot_entries = snapshot_entries;
        struct host *h = leader_new(config);
        struct kv_command open = {.ops_count = 0};
        requests(h, 1, &open);
        settles(h);
        struct kv_command c = add(answer(h, 1)->result.session, 1);
        assert_true(c.session > 0);
        requests(h, 2, &c);
        settles(h);
        uint64_t revision = answer(h, 2)->result.revision;
        for (uint64_t round = 0; round < 4; round++) {
            crashes(h, round % 2);
            leads_again(h);
            requests(h, 10 + round, &c); /* the client never heard: it asks again */
            settles(h);
            assert_int_equal(answer(h, 10 + round)->result.status, KV_OK);
            assert_int_equal(answer(h, 10 + round)->result.revision, revision);
        }
        requests(h, 20, &get);
        settles(h);
        assert_int_equal(answer(h, 20)->result.revision, revision); /* nothing was added twice */
        assert_true((h->snapshots > 0) == (snapshot_entries > 0));
        host_free(h);
    }
}

static void a_snapshot_is_taken_and_found_again(void **state) {
    (void)state;
    struct config config = small_config(1);
    config.snapshot_entries = 20;
    config.snapshot_trailing = 5;
    struct host *h = leader_new(config);
    struct kv_command c = add(0, 0);
    for (uint64_t token = 1; token <= 100; token++) {
        requests(h, token, &c);
        settles(h);
    }
    assert_true(h->snapshots >= 4);
    struct probe before = probe_of(h);
    uint64_t hash = replica_state_hash(h->replica);
    assert_true(before.first_index > 80);
    crashes(h, true);
    assert_true(probe_of(h).applied_index >= 80 && probe_of(h).applied_index < before.last_index);
    leads_again(h);
    assert_int_equal(probe_of(h).applied_index, before.last_index + 1);
    assert_int_equal(replica_state_hash(h->replica), hash);
    host_free(h);
}

static struct raft_message snapshot_request(uint64_t index, struct bytes data, uint64_t offset, bool last) {
    return (struct raft_message){.kind = RAFT_SNAPSHOT_REQUEST,
                                 .term = 2,
                                 .index = index,
                                 .log_term = 2,
                                 .data = data,
                                 .offset = offset,
                                 .last = last};
}

static void a_snapshot_from_the_leader_replaces_the_state(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    static uint8_t bytes[1 << 17], result[KV_RESULT_BYTES_MAX];
    struct buffer snapshot = {0};
    static const uint32_t no_header = 0;
    struct kv_command c = add(0, 0);
    size_t size = kv_command_encode(&c, bytes, sizeof bytes);
    for (uint32_t i = 0; i < 9; i++) kv_apply(kv, bytes_of(bytes, size), result, sizeof result);
    buffer_append(&snapshot, &no_header, sizeof no_header);
    kv_snapshot(kv, &snapshot);
    struct host *h = host_new(small_config(3), NULL);
    hears(h, append_request(0, 5, bytes, sizeof bytes));
    settles(h);
    h->sent_count = 0;
    size_t half = snapshot.size / 2;
    hears(h, snapshot_request(40, bytes_of(snapshot.data, half), 0, false));
    hears(h, snapshot_request(40, bytes_of(snapshot.data + half, snapshot.size - half), half, true));
    assert_int_equal(probe_of(h).applied_index, 0);
    settles(h);
    assert_int_equal(probe_of(h).applied_index, 40);
    assert_int_equal(probe_of(h).last_index, 40);
    assert_int_equal(replica_state_hash(h->replica), kv_hash(kv));
    assert_true(h->sent[h->sent_count - 1].kind == RAFT_SNAPSHOT_REPLY && h->sent[h->sent_count - 1].success);
    crashes(h, true);
    assert_int_equal(probe_of(h).applied_index, 40);
    assert_int_equal(replica_state_hash(h->replica), kv_hash(kv));
    hears(h, snapshot_request(50, bytes_str("no snapshot at all"), 0, true));
    settles(h);
    assert_int_equal(h->fatals, 1);
    assert_true(h->assertion);
    assert_string_equal(h->reason, "a snapshot from another replica does not restore");
    buffer_free(&snapshot);
    kv_free(kv);
    host_free(h);
}

/* --- refusals and ends -------------------------------------------------------------------------------------------- */

static void a_command_beyond_the_limit_is_refused_before_the_log(void **state) {
    (void)state;
    static char large[2000];
    memset(large, 'x', sizeof large);
    struct host *h = leader_new(small_config(1));
    uint64_t appends = h->appends;
    struct kv_command c = {.ops_count = 1,
                           .ops = {{.kind = KV_PUT,
                                    .key = bytes_str("k"),
                                    .value = {.kind = KV_BYTES, .bytes = bytes_of(large, sizeof large)}}}};
    requests(h, 1, &c);
    assert_int_equal(answer(h, 1)->status, STATUS_OK);
    assert_int_equal(answer(h, 1)->result.status, KV_TOO_LARGE);
    assert_true(answer(h, 1)->index == NO_INDEX);
    assert_int_equal(h->appends, appends);
    assert_false(h->sync_pending);
    host_free(h);
}

static void bytes_that_are_no_command_apply_as_such(void **state) {
    (void)state;
    struct host *h = leader_new(small_config(1));
    replica_request(h->replica, h->now_ns, 1, bytes_str("no command"));
    settles(h);
    assert_int_equal(answer(h, 1)->result.status, KV_BAD_COMMAND);
    host_free(h);
}

static void reads_go_the_way_of_the_protocol_and_their_places_are_free_again(void **state) {
    (void)state;
    struct host *h = leader_new(small_config(1));
    uint64_t appends = h->appends, last = probe_of(h).last_index;
    for (uint64_t token = 1; token <= 100; token++) {
        requests(h, token, &get);
        assert_int_equal(answer(h, token)->status, STATUS_OK);
        assert_int_equal(answer(h, token)->index, last);
    }
    assert_int_equal(h->appends, appends);
    host_free(h);
    h = host_new(small_config(3), NULL); /* a follower refuses them, and frees them, too */
    for (uint64_t token = 1; token <= 100; token++) {
        requests(h, token, &get);
        assert_int_equal(answer(h, token)->status, STATUS_NOT_LEADER);
    }
    host_free(h);
    struct config config = small_config(1);
    config.reads = PROTOCOL_READ_LOG;
    h = leader_new(config);
    appends = h->appends;
    requests(h, 1, &get);
    assert_null(answer(h, 1));
    settles(h);
    assert_int_equal(answer(h, 1)->status, STATUS_OK);
    assert_int_equal(h->appends, appends + 1);
    host_free(h);
}

static void a_failed_sync_stops_the_replica_for_good(void **state) {
    (void)state;
    struct host *h = leader_new(small_config(1));
    struct kv_command c = add(0, 0);
    requests(h, 1, &c);
    h->disk.condition.sync_error_ppm = 1000000;
    syncs(h);
    assert_int_equal(h->fatals, 1);
    assert_false(h->assertion);
    assert_non_null(strstr(h->reason, "sync"));
    assert_false(replica_running(h->replica));
    assert_null(answer(h, 1));
    requests(h, 2, &c);
    replica_timer(h->replica, h->now_ns, 1);
    hears(h, vote_request);
    assert_int_equal(h->answers_count, 0);
    assert_int_equal(h->fatals, 1);
    h->disk.condition = (struct disk_condition){0};
    crashes(h, true); /* a new process finds what is really there */
    leads_again(h);
    requests(h, 3, &c);
    settles(h);
    assert_int_equal(answer(h, 3)->status, STATUS_OK);
    host_free(h);
}

static void a_refused_write_stops_the_replica(void **state) {
    (void)state;
    struct host *h = leader_new(small_config(1));
    struct kv_command c = add(0, 0);
    h->disk.condition.write_error_ppm = 1000000;
    requests(h, 1, &c);
    assert_int_equal(h->fatals, 1);
    assert_false(h->assertion);
    assert_false(replica_running(h->replica));
    assert_null(answer(h, 1));
    host_free(h);
}

static void a_snapshot_that_cannot_be_written_stops_the_replica(void **state) {
    (void)state;
    struct config config = small_config(1);
    config.snapshot_entries = 3;
    struct host *h = leader_new(config);
    struct kv_command c = add(0, 0);
    for (uint64_t token = 1; token <= 20 && replica_running(h->replica); token++) {
        requests(h, token, &c);
        h->disk.condition.write_error_ppm = token >= 2 ? 1000000 : 0;
        if (h->sync_pending) syncs(h);
    }
    assert_int_equal(h->fatals, 1);
    assert_false(h->assertion);
    host_free(h);
}

static void a_rotten_log_is_refused_with_the_place(void **state) {
    (void)state;
    struct host *h = leader_new(small_config(1));
    struct kv_command c = add(0, 0);
    for (uint64_t token = 1; token <= 200; token++) {
        requests(h, token, &c);
        settles(h);
    }
    replica_stop(h->replica);
    sim_disk_process_crash(&h->disk);
    uint32_t refused = 0;
    struct error e = {0};
    for (uint32_t i = 0; i < 50 && !refused; i++) {
        assert_true(sim_disk_rot(&h->disk));
        refused += boots(h, &e) != 0;
        if (!refused) replica_stop(h->replica);
        if (!refused) sim_disk_process_crash(&h->disk);
    }
    assert_int_equal(refused, 1);
    assert_false(replica_running(h->replica));
    assert_true(strlen(e.text) > 10);
    host_free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vote_is_withheld_until_the_sync_has_ended),
        cmocka_unit_test(what_was_not_synced_was_never_said),
        cmocka_unit_test(a_mutant_says_it_before_it_is_durable),
        cmocka_unit_test(withheld_messages_leave_in_order_and_whole),
        cmocka_unit_test(requests_that_come_during_a_sync_share_the_next),
        cmocka_unit_test(a_command_applies_once_through_crashes),
        cmocka_unit_test(a_snapshot_is_taken_and_found_again),
        cmocka_unit_test(a_snapshot_from_the_leader_replaces_the_state),
        cmocka_unit_test(a_command_beyond_the_limit_is_refused_before_the_log),
        cmocka_unit_test(bytes_that_are_no_command_apply_as_such),
        cmocka_unit_test(reads_go_the_way_of_the_protocol_and_their_places_are_free_again),
        cmocka_unit_test(a_failed_sync_stops_the_replica_for_good),
        cmocka_unit_test(a_refused_write_stops_the_replica),
        cmocka_unit_test(a_snapshot_that_cannot_be_written_stops_the_replica),
        cmocka_unit_test(a_rotten_log_is_refused_with_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
