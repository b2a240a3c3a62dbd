/* Recordings of replicas: a small cluster with crashes, bad disks and snapshots is recorded node by node, and each
 * recording must give the same node again; what is cut, damaged or tampered with must be told. */
#include "nemesis/disk.h"
#include "targets/node/record_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { NODES = 3, QUEUE_MAX = 4096, SYNCS_MAX = 8 };

struct letter {
    uint8_t from, to;
    size_t size;
    uint8_t bytes[4096];
};
struct node {
    struct world *world;
    uint8_t id;
    struct recorder *recorder;
    struct sim_disk disk;
    struct prng prng;
    struct {
        uint32_t file;
        uint64_t cookie;
    } syncs[SYNCS_MAX];
    uint32_t syncs_count;
    uint64_t timer_ns[4]; /* 0: not set */
    uint64_t answers, generation;
    bool up;
};
struct world {
    char folder[64];
    struct prng prng;
    uint64_t now_ns, token;
    struct node nodes[NODES];
    struct letter *queue;
    uint32_t queue_count;
};

static void env_send(void *ctx, uint8_t to, uint8_t kind, struct bytes bytes) {
    struct node *n = ctx;
    struct world *w = n->world;
    (void)kind;
    if (w->queue_count == QUEUE_MAX) return;
    struct letter *l = &w->queue[w->queue_count++];
    assert_true(bytes.size <= sizeof l->bytes);
    l->from = n->id;
    l->to = to;
    l->size = bytes.size;
    memcpy(l->bytes, bytes.data, bytes.size);
}
static void env_timer(void *ctx, uint8_t id, uint64_t delay_ns) {
    struct node *n = ctx;
    n->timer_ns[id] = delay_ns == UINT64_MAX ? 0 : n->world->now_ns + delay_ns;
}
static void env_respond(void *ctx, uint64_t token, enum status status, uint8_t leader, struct bytes result,
                        uint64_t index) {
    struct node *n = ctx;
    (void)token, (void)leader, (void)result, (void)index;
    n->answers += status == STATUS_OK;
}
static void env_fatal(void *ctx, bool assertion, const char *reason) {
    (void)ctx, (void)assertion, (void)reason;
}
static void on_sync(void *ctx, uint32_t file, uint64_t cookie) {
    struct node *n = ctx;
    assert_true(n->syncs_count < SYNCS_MAX);
    n->syncs[n->syncs_count].file = file;
    n->syncs[n->syncs_count++].cookie = cookie;
}

static void path_of(const struct world *w, uint8_t id, char path[128]) {
    snprintf(path, 128, "%s/n%u.rec", w->folder, id + 1u);
}

static struct config config_of(const struct node *n) {
    return (struct config){.self = n->id,
                           .nodes = NODES,
                           .seed = hash_mix(n->id, n->generation),
                           .election_timeout_ns = 300 * NS_PER_MS,
                           .heartbeat_ns = 50 * NS_PER_MS,
                           .reads = PROTOCOL_READ_INDEX,
                           .snapshot_entries = 100,
                           .snapshot_trailing = 20,
                           .limits = {.log_entries_max = 1024,
                                      .log_bytes_max = 64 << 10,
                                      .entry_bytes_max = 1024,
                                      .message_bytes_max = 2048,
                                      .reads_max = 16,
                                      .inflight_max = 16}};
}

static void boot(struct node *n) {
    struct config c = config_of(n);
    struct replica_env env = {.ctx = n,
                              .disk = &n->disk.base,
                              .send = env_send,
                              .timer = env_timer,
                              .respond = env_respond,
                              .fatal = env_fatal};
    struct error e;
    n->generation++;
    n->syncs_count = 0;
    memset(n->timer_ns, 0, sizeof n->timer_ns);
    n->up = recorder_start(n->recorder, &c, &env, n->world->now_ns, &e) == 0;
}

static void crash(struct node *n) {
    recorder_stop(n->recorder);
    if (prng_chance(&n->world->prng, 500000))
        sim_disk_power_loss(&n->disk, (struct disk_crash){.keep_ppm = 400000, .tear_ppm = 300000});
    else
        sim_disk_process_crash(&n->disk);
    boot(n);
}

/* bytes_max: of each recording; 0: none is made. */
static struct world *world_new(uint64_t seed, const char *mutant, uint64_t bytes_max) {
    struct world *w = xcalloc(1, sizeof *w);
    snprintf(w->folder, sizeof w->folder, "/tmp/harrow-record-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    prng_seed(&w->prng, seed, 0);
    w->now_ns = NS_PER_S;
    w->queue = xcalloc(QUEUE_MAX, sizeof *w->queue);
    for (uint8_t id = 0; id < NODES; id++) {
        struct node *n = &w->nodes[id];
        char path[128];
        struct error e = {{0}};
        *n = (struct node){.world = w, .id = id};
        prng_seed(&n->prng, seed, id + 1u);
        sim_disk_init(&n->disk, &n->prng, on_sync, n);
        struct config c = config_of(n);
        path_of(w, id, path);
        n->recorder = recorder_new(protocol_at(0), mutant ? mutant_find(mutant) : NULL, &c, bytes_max ? path : NULL,
                                   bytes_max, &e);
        assert_non_null(n->recorder);
        boot(n);
    }
    return w;
}

static void end_recordings(struct world *w) {
    for (uint8_t id = 0; id < NODES; id++) {
        recorder_free(w->nodes[id].recorder);
        w->nodes[id].recorder = NULL;
    }
}

static void world_free(struct world *w) {
    end_recordings(w);
    for (uint8_t id = 0; id < NODES; id++) {
        char path[128];
        path_of(w, id, path);
        unlink(path);
        sim_disk_free(&w->nodes[id].disk);
    }
    assert_int_equal(rmdir(w->folder), 0);
    free(w->queue);
    free(w);
}

static void request(struct world *w) {
    uint8_t memory[256], key = (uint8_t)('a' + prng_below(&w->prng, 8));
    struct kv_command c = {.ops_count = 1};
    c.ops[0] = (struct kv_op){.kind = (uint8_t)(prng_chance(&w->prng, 300000) ? KV_GET : KV_ADD),
                              .key = bytes_of(&key, 1),
                              .value = {.kind = KV_COUNTER, .counter = 1}};
    size_t size = kv_command_encode(&c, memory, sizeof memory);
    struct node *n = &w->nodes[prng_below(&w->prng, NODES)];
    if (n->up) recorder_request(n->recorder, w->now_ns, ++w->token, bytes_of(memory, size));
}

static void deliver(struct world *w) {
    if (w->queue_count == 0) return;
    uint32_t at = (uint32_t)prng_below(&w->prng, w->queue_count < 4 ? w->queue_count : 4);
    struct letter l = w->queue[at];
    memmove(w->queue + at, w->queue + at + 1, (w->queue_count - at - 1) * sizeof *w->queue);
    w->queue_count--;
    struct node *to = &w->nodes[l.to];
    if (to->up && !prng_chance(&w->prng, 20000))
        recorder_message(to->recorder, w->now_ns, l.from, bytes_of(l.bytes, l.size));
}

static void step_node(struct world *w, struct node *n) {
    for (uint8_t id = 0; id < 4 && n->up; id++) {
        if (n->timer_ns[id] == 0 || n->timer_ns[id] > w->now_ns) continue;
        n->timer_ns[id] = 0;
        recorder_timer(n->recorder, w->now_ns, id);
    }
    if (n->up && n->syncs_count) {
        uint32_t file = n->syncs[0].file;
        uint64_t cookie = n->syncs[0].cookie;
        memmove(n->syncs, n->syncs + 1, --n->syncs_count * sizeof *n->syncs);
        recorder_synced(n->recorder, w->now_ns, cookie, sim_disk_sync_done(&n->disk, file, cookie));
    }
    if (!replica_running(recorder_replica(n->recorder)) || prng_chance(&w->prng, 100)) crash(n);
}

static void run(struct world *w, uint32_t steps, bool bad_disks) {
    for (uint32_t i = 0; i < steps; i++) {
        w->now_ns += prng_below(&w->prng, 2 * NS_PER_MS);
        for (uint8_t id = 0; id < NODES; id++) {
            bool bad = bad_disks && i % 1000 > 950;
            w->nodes[id].disk.condition.write_error_ppm = bad ? 20000 : 0;
            w->nodes[id].disk.condition.sync_error_ppm = bad ? 20000 : 0;
            w->nodes[id].disk.condition.read_error_ppm = bad ? 100000 : 0;
            step_node(w, &w->nodes[id]);
        }
        for (int k = 0; k < 4; k++) deliver(w);
        if (i % 3 == 0) request(w);
        if (i % 997 == 0 && w->nodes[0].up) recorder_transfer(w->nodes[0].recorder, w->now_ns, 1);
    }
}

/* The whole file, to be freed. */
static struct bytes file_of(const struct world *w, uint8_t id) {
    char path[128];
    path_of(w, id, path);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    struct stat s;
    assert_int_equal(fstat(fileno(in), &s), 0);
    uint8_t *data = xmalloc((size_t)s.st_size);
    assert_int_equal(fread(data, 1, (size_t)s.st_size, in), (size_t)s.st_size);
    fclose(in);
    return bytes_of(data, (size_t)s.st_size);
}

static void expect_same(const struct world *w, uint8_t id, uint64_t hash, const struct probe *probe) {
    struct bytes file = file_of(w, id);
    struct replay_report report;
    struct error e = {{0}};
    int rc = recording_replay(file, NULL, NULL, &report, &e);
    if (rc) fail_msg("%s", e.text);
    if (report.differs) fail_msg("input %llu: %s", (unsigned long long)report.differs_input, report.differs_what);
    assert_null(report.broken);
    assert_true(report.inputs > 1000);
    assert_int_equal(report.self, id);
    assert_int_equal(report.state_hash, hash);
    assert_int_equal(report.probe.term, probe->term);
    assert_int_equal(report.probe.commit_index, probe->commit_index);
    assert_int_equal(report.probe.applied_index, probe->applied_index);
    free((void *)(uintptr_t)file.data);
}

/* --- the same node again ------------------------------------------------------------------------------------------ */

static void replays(const char *mutant, bool ended, bool bad_disks) {
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct world *w = world_new(seed, mutant, UINT64_MAX);
        run(w, 6000, bad_disks);
        uint64_t hash[NODES], answers = 0;
        struct probe probe[NODES];
        for (uint8_t id = 0; id < NODES; id++) {
            hash[id] = replica_state_hash(recorder_replica(w->nodes[id].recorder));
            replica_probe(recorder_replica(w->nodes[id].recorder), &probe[id]);
            answers += w->nodes[id].answers;
            assert_null(recorder_error(w->nodes[id].recorder));
        }
        assert_true(answers > 500);
        if (ended) end_recordings(w);
        for (uint8_t id = 0; id < NODES; id++) expect_same(w, id, hash[id], &probe[id]);
        world_free(w);
    }
}

static void a_recorded_node_is_the_same_again(void **state) {
    (void)state;
    replays(NULL, true, false);
}
static void errors_of_its_disk_are_part_of_a_recording(void **state) {
    (void)state;
    replays(NULL, true, true);
}
static void a_mutant_is_replayed_as_the_mutant(void **state) {
    (void)state;
    replays("raft/no-append-fsync", true, false);
}
/* The file is read while the recorder lives, as after kill -9: nothing waits in memory. */
static void what_was_recorded_does_not_need_an_orderly_end(void **state) {
    (void)state;
    replays(NULL, false, false);
}

/* The node goes on; its recording is whole up to where it ends, and says why. */
static void a_recording_ends_in_order_at_its_size(void **state) {
    (void)state;
    enum { BYTES_MAX = 100000, ONE_INPUT_MAX = 50000 };
    struct world *w = world_new(9, NULL, BYTES_MAX);
    run(w, 6000, false);
    for (uint8_t id = 0; id < NODES; id++) {
        const char *why = recorder_error(w->nodes[id].recorder);
        assert_non_null(why);
        assert_non_null(strstr(why, "--record-max-mib"));
        assert_true(replica_running(recorder_replica(w->nodes[id].recorder)));
        struct bytes file = file_of(w, id);
        struct replay_report report;
        struct error e = {{0}};
        assert_in_range(file.size, BYTES_MAX, BYTES_MAX + ONE_INPUT_MAX);
        if (recording_replay(file, NULL, NULL, &report, &e)) fail_msg("%s", e.text);
        assert_false(report.cut);
        assert_false(report.differs);
        assert_true(report.inputs > 500);
        assert_true(report.last_ns < w->now_ns);
        free((void *)(uintptr_t)file.data);
    }
    world_free(w);
}

static void recording_changes_nothing(void **state) {
    (void)state;
    uint64_t hash[2][NODES];
    for (int recorded = 0; recorded < 2; recorded++) {
        struct world *w = world_new(7, NULL, recorded ? UINT64_MAX : 0);
        run(w, 3000, true);
        for (uint8_t id = 0; id < NODES; id++)
            hash[recorded][id] = replica_state_hash(recorder_replica(w->nodes[id].recorder));
        world_free(w);
    }
    assert_memory_equal(hash[0], hash[1], sizeof hash[0]);
}

/* --- what is wrong with a file ------------------------------------------------------------------------------------ */

static struct bytes recorded(struct world **w) {
    *w = world_new(5, NULL, UINT64_MAX);
    run(*w, 1500, false);
    end_recordings(*w);
    return file_of(*w, 0);
}

static void a_cut_file_replays_up_to_the_cut_and_says_so(void **state) {
    (void)state;
    struct world *w;
    struct bytes file = recorded(&w);
    struct replay_report whole, part;
    struct error e;
    assert_int_equal(recording_replay(file, NULL, NULL, &whole, &e), 0);
    assert_false(whole.cut);
    for (size_t size = 400; size < file.size; size += file.size / 40 + 1) {
        uint8_t *copy = xmalloc(size); /* exactly that large, so that a read past it is seen */
        memcpy(copy, file.data, size);
        assert_int_equal(recording_replay(bytes_of(copy, size), NULL, NULL, &part, &e), 0);
        free(copy);
        assert_true(part.cut);
        assert_true(part.cut_offset <= size);
        assert_false(part.differs);
        assert_true(part.inputs <= whole.inputs);
    }
    free((void *)(uintptr_t)file.data);
    world_free(w);
}

static void a_damaged_file_is_refused_with_the_offset(void **state) {
    (void)state;
    struct world *w;
    struct bytes file = recorded(&w);
    uint8_t *data = (uint8_t *)(uintptr_t)file.data;
    struct prng p;
    prng_seed(&p, 1, 0);
    for (int i = 0; i < 60; i++) {
        struct replay_report report;
        struct error e = {{0}};
        size_t at = prng_below(&p, file.size);
        uint8_t bit = (uint8_t)(1u << prng_below(&p, 8));
        data[at] ^= bit;
        int rc = recording_replay(file, NULL, NULL, &report, &e);
        /* A size that was damaged upwards looks like a cut, padding means nothing. */
        if (rc != 0)
            assert_non_null(strstr(e.text, at < 8 ? "not a recording" : "offset"));
        else
            assert_false(report.differs);
        data[at] ^= bit;
    }
    free(data);
    world_free(w);
}

/* An input is taken out and the file put together again, with right checksums: what follows cannot be the same. */
static void a_replay_that_differs_is_told_at_its_input(void **state) {
    (void)state;
    struct world *w;
    struct bytes file = recorded(&w);
    struct recording out;
    struct error e;
    char path[128];
    struct record next;
    uint64_t at, inputs = 0;
    bool dropped = false;
    path_of(w, 0, path);
    assert_int_equal(recording_create(&out, path, &e), 0);
    assert_true(recording_begins(file, &at));
    while (recording_next(file, &at, &next, &e) == 1) {
        inputs += record_is_input(&next);
        bool drop = !dropped && inputs >= 200 && next.type == RECORD_SYNCED && next.status == 0;
        dropped |= drop;
        if (!drop) recording_put(&out, &next);
    }
    recording_close(&out);
    free((void *)(uintptr_t)file.data);
    file = file_of(w, 0);
    struct replay_report report;
    assert_int_equal(recording_replay(file, NULL, NULL, &report, &e), 0);
    assert_true(report.differs);
    assert_in_range(report.differs_input, 199, 300);
    free((void *)(uintptr_t)file.data);
    world_free(w);
}

static void a_recording_that_cannot_be_written_is_an_error(void **state) {
    (void)state;
    struct node n = {.id = 0};
    struct config c = config_of(&n);
    struct error e = {{0}};
    assert_null(recorder_new(protocol_at(0), NULL, &c, "/nowhere/at/all", UINT64_MAX, &e));
    assert_non_null(strstr(e.text, "/nowhere/at/all"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recorded_node_is_the_same_again),
        cmocka_unit_test(errors_of_its_disk_are_part_of_a_recording),
        cmocka_unit_test(a_mutant_is_replayed_as_the_mutant),
        cmocka_unit_test(what_was_recorded_does_not_need_an_orderly_end),
        cmocka_unit_test(a_recording_ends_in_order_at_its_size),
        cmocka_unit_test(recording_changes_nothing),
        cmocka_unit_test(a_cut_file_replays_up_to_the_cut_and_says_so),
        cmocka_unit_test(a_damaged_file_is_refused_with_the_offset),
        cmocka_unit_test(a_replay_that_differs_is_told_at_its_input),
        cmocka_unit_test(a_recording_that_cannot_be_written_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
