/* The simulated world: correct code survives every fault in every read mode, a run is a function of its seed and
 * nothing else, and every fault did what it says (with proof beside the world's own evidence). */
#include "harness/sim/sim_internal.h"
#include "tests/sim_driver.h"
#include "tests/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ALL_FAULTS = (1u << FAULT_KINDS) - 1 };

static struct driver d; /* large */

static uint64_t history_digest(const struct history *h) {
    uint64_t digest = h->count;
    for (uint32_t i = 0; i < h->count; i++) {
        struct buffer text = {0};
        history_value_print(h, h->argument[i], &text);
        history_value_print(h, h->result[i], &text);
        digest = hash_mix(digest, (uint64_t)h->f[i] << 40 | (uint64_t)h->status[i] << 32 | h->process[i]);
        digest = hash_mix(digest, hash_bytes(bytes_str(history_text(h, h->key[i])), h->node[i]));
        digest = hash_mix(digest, hash_bytes(bytes_of(text.data, text.size), h->invoke_ns[i]));
        digest = hash_mix(digest, h->complete_ns[i]);
        buffer_free(&text);
    }
    for (uint32_t i = 0; i < h->samples_count; i++)
        digest = hash_mix(digest, h->samples[i].time_ns << 8 | (uint64_t)h->samples[i].kind << 4 | h->samples[i].node);
    return digest;
}

static uint64_t trace_hash(void) {
    return d.world->ops->trace_hash(d.world);
}

/* Everything that a run of correct code must be. */
static void check_run(uint64_t seed, enum world_end end, bool settled) {
    const char *why = driver_complaint(&d, end, settled);
    if (why) fail_msg("seed %ju: %s", seed, why);
}

/* --- correct code ------------------------------------------------------------------------------------------------- */

/* Clusters of all sizes; small messages and frequent snapshots; far networks; slow disks. */
static struct world_config varied_config(uint64_t seed) {
    struct world_config c = driver_config(seed);
    c.reads = (enum read_mode)(seed % 4);
    c.nodes = seed % 3 == 0 ? 3 : seed % 3 == 1 ? 5 : (uint32_t)(2 + seed % 6);
    if (seed % 5 == 1) c.message_bytes = 512;
    if (seed % 7 < 3) c.snapshot_entries = 20;
    if (seed % 11 == 2) c.latency_ns = 30 * NS_PER_MS;
    if (seed % 11 == 2) c.jitter_ns = 10 * NS_PER_MS;
    if (seed % 13 == 3) c.sync_max_ns = 60 * NS_PER_MS;
    c.clients_pinned = seed % 17 == 4;
    c.clock_drift_ppm_max = 200000; /* three clock faults of 2 % at once, on either side */
    return c;
}

static void correct_code_survives_all_faults_in_all_read_modes(void **state) {
    (void)state;
    uint64_t ok = 0, affected = 0;
    for (uint64_t seed = 1; seed <= rounds(200); seed++) {
        struct world_config c = varied_config(seed);
        bool settled;
        driver_init(&d, &c);
        d.fault_kinds = ALL_FAULTS;
        enum world_end end = driver_run(&d, 20, &settled);
        check_run(seed, end, settled);
        ok += d.ok;
        affected += d.faults_affected;
        driver_free(&d);
    }
    print_message("%ju operations ok, %ju effects of faults\n", ok, affected);
    assert_true(ok > 1000 && affected > 1000);
}

/* A replica may answer and then stop, in one step, because its disk refuses: what it answered counts. */
static void refused_writes_cost_processes_and_no_promise(void **state) {
    (void)state;
    uint64_t stops = 0;
    for (uint64_t seed = 1; seed <= rounds(30); seed++) {
        struct world_config c = driver_config(seed);
        c.reads = (enum read_mode)(seed % 3);
        struct fault_spec f = {.kind = FAULT_DISK, .nodes = 7, .disk = {.write_error_ppm = 2000}};
        struct error e;
        bool settled;
        driver_init(&d, &c);
        d.faults[d.faults_count++] = d.world->ops->fault_begin(d.world, &f, &e);
        enum world_end end = driver_run(&d, 10, &settled);
        check_run(seed, end, settled);
        for (uint32_t i = 0; i < d.history->samples_count; i++) stops += d.history->samples[i].kind == SAMPLE_NODE_DOWN;
        driver_free(&d);
    }
    assert_true(stops > 2);
}

/* A doubled request must not take effect after its original was refused. */
static void pinned_clients_are_right_about_failures_when_the_network_doubles(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= rounds(20); seed++) {
        struct world_config c = driver_config(seed);
        c.clients_pinned = true;
        c.clients = 20;
        struct fault_spec f = {.kind = FAULT_LINK, .link = {.duplicate_ppm = 500000, .reorder_ppm = 500000}};
        f.link.delay_ns = 50 * NS_PER_MS;
        f.link.jitter_ns = 50 * NS_PER_MS;
        f.links[5] = 31;
        struct error e;
        bool settled;
        driver_init(&d, &c);
        d.fault_kinds = 1u << FAULT_KILL | 1u << FAULT_LINK | 1u << FAULT_PAUSE;
        assert_true(d.world->ops->fault_begin(d.world, &f, &e));
        enum world_end end = driver_run(&d, 20, &settled);
        check_run(seed, end, settled);
        driver_free(&d);
    }
}

/* --- one seed decides --------------------------------------------------------------------------------------------- */

struct prints { /* of a run */
    uint64_t trace, history, events;
};

static struct prints run_world(const struct world_config *c) {
    bool settled;
    d.fault_kinds = ALL_FAULTS;
    driver_run(&d, 8, &settled);
    (void)c;
    return (struct prints){trace_hash(), history_digest(d.history), d.world->ops->events(d.world)};
}

static struct prints run_fresh(const struct world_config *c) {
    driver_init(&d, c);
    struct prints p = run_world(c);
    driver_free(&d);
    return p;
}

/* As the driver's own beginning, on the world that is there. */
static struct prints run_again(const struct world_config *c) {
    struct world *world = d.world;
    struct history *history = d.history;
    struct error e;
    history_clear(history);
    memset(&d, 0, sizeof d);
    d.world = world;
    d.history = history;
    d.config = *c;
    d.keys = 4;
    d.think_ns = 20 * NS_PER_MS;
    prng_seed(&d.prng, c->seed, 1000);
    assert_int_equal(sim_reset(world, c, &e), 0);
    return run_world(c);
}

static void same_prints(struct prints a, struct prints b) {
    assert_true(a.trace == b.trace);
    assert_true(a.history == b.history);
    assert_true(a.events == b.events);
}

static void a_run_is_a_function_of_its_seed(void **state) {
    (void)state;
    struct prints last = {0};
    for (uint64_t seed = 1; seed <= rounds(20); seed++) {
        struct world_config c = varied_config(seed);
        struct prints first = run_fresh(&c);
        same_prints(first, run_fresh(&c));
        assert_true(first.trace != last.trace && first.history != last.history);
        c.seed += 1000;
        assert_true(run_fresh(&c).trace != first.trace);
        last = first;
    }
}

/* Whatever ran before: other sizes, other modes, also a mutant that ended in a violation. */
static void a_reset_world_equals_a_fresh_one(void **state) {
    (void)state;
    struct world_config before[4] = {driver_config(1), varied_config(72), varied_config(73), varied_config(74)};
    before[0].mutant = "raft/no-append-fsync";
    before[1].nodes = 7;
    before[1].clients = 50;
    before[2].mutant = "raft/truncate-always";
    before[2].invariants = false; /* goes on where it should have stopped */
    driver_init(&d, &before[0]);
    run_world(&before[0]);
    assert_non_null(d.world->ops->violation(d.world, NULL));
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct world_config c = varied_config(seed);
        run_again(&before[seed % 4]);
        struct prints again = run_again(&c);
        struct world *world = d.world;
        struct history *history = d.history;
        same_prints(again, run_fresh(&c));
        d.world = world;
        d.history = history;
    }
    driver_free(&d);
}

static void watching_changes_nothing(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= rounds(12); seed++) {
        struct world_config c = varied_config(seed);
        struct prints watched = run_fresh(&c);
        c.invariants = false;
        same_prints(watched, run_fresh(&c));
    }
}

static void count_line(void *ctx, const char *text) {
    (void)text;
    ++*(uint64_t *)ctx;
}

static void tracing_changes_nothing(void **state) {
    (void)state;
    struct world_config c = varied_config(5);
    struct prints silent = run_fresh(&c);
    uint64_t lines = 0;
    driver_init(&d, &c);
    d.world->ops->trace_to(d.world, count_line, &lines);
    struct prints traced = run_world(&c);
    driver_free(&d);
    same_prints(silent, traced);
    assert_true(lines > traced.events / 2);
}

/* --- what faults do ----------------------------------------------------------------------------------------------- */

struct seen { /* in the trace; n2 is the one to look at */
    uint64_t lost_to_2, got_by_2, got_from_2, lost, heartbeats, discards;
};

static void look(void *ctx, const char *text) {
    struct seen *s = ctx;
    s->lost += strstr(text, " LO") != NULL; /* LOST, LOSES */
    s->lost_to_2 += strstr(text, " LO") && strstr(text, " n2: ");
    s->got_by_2 += strstr(text, "n2 gets from n") != NULL;
    s->got_from_2 += strstr(text, "gets from n2: ") != NULL;
    s->heartbeats += strstr(text, "sends n") && strstr(text, "entries=0");
    s->discards += strstr(text, "DISCARDS") != NULL;
}

/* A run of ten seconds under one fault, which lasts from the start to the end. */
static struct fault_evidence run_under(const struct fault_spec *f, struct seen *seen) {
    struct world_config c = driver_config(3);
    c.reads = READ_LOG; /* so that what is empty is a heartbeat */
    struct error e;
    bool settled;
    memset(seen, 0, sizeof *seen);
    driver_init(&d, &c);
    d.world->ops->trace_to(d.world, look, seen);
    uint32_t id = f ? d.world->ops->fault_begin(d.world, f, &e) : 0;
    driver_run(&d, 10, &settled);
    if (!f) return (struct fault_evidence){0};
    struct fault_evidence evidence = d.world->ops->fault_end(d.world, id);
    assert_true(evidence.affected > 0 && evidence.affected <= evidence.offered);
    return evidence;
}

static struct node_status status(uint8_t node) {
    return d.world->ops->node_status(d.world, node);
}

static void a_cut_lets_nothing_through_in_its_direction(void **state) {
    (void)state;
    struct seen s;
    struct fault_spec f = {.kind = FAULT_LINK, .links = {2, 0, 2, 2, 2}, .link = {.cut = true}};
    struct fault_evidence e = run_under(&f, &s);
    assert_int_equal(s.got_by_2, 0);
    assert_true(s.got_from_2 > 0);
    assert_int_equal(e.affected, s.lost_to_2);
    assert_int_equal(e.offered, s.lost_to_2);
    driver_free(&d);
}

static void a_cut_also_stops_what_is_under_way(void **state) {
    (void)state;
    struct world_config c = driver_config(3);
    c.latency_ns = 100 * NS_PER_MS;
    c.election_timeout_ns = NS_PER_S;
    struct seen s = {0};
    struct error e;
    bool settled;
    driver_init(&d, &c);
    driver_run(&d, 10, &settled);
    d.world->ops->trace_to(d.world, look, &s);
    struct fault_spec f = {.kind = FAULT_LINK, .link = {.cut = true}};
    for (uint32_t i = 0; i < 5; i++) f.links[i] = 31;
    uint32_t id = d.world->ops->fault_begin(d.world, &f, &e);
    uint64_t now = d.world->ops->now_ns(d.world);
    d.world->ops->run_until(d.world, now + 90 * NS_PER_MS); /* nothing sent in this time could arrive in it */
    assert_int_equal(s.got_by_2, 0);
    assert_true(d.world->ops->fault_end(d.world, id).affected > 0);
    driver_free(&d);
}

static void loss_doubling_corruption_and_delay_leave_marks(void **state) {
    (void)state;
    struct seen plain, s;
    run_under(NULL, &plain);
    uint64_t ok = d.ok;
    driver_free(&d);
    struct fault_spec f = {.kind = FAULT_LINK};
    for (uint32_t i = 0; i < 5; i++) f.links[i] = 31;
    f.link.corrupt_ppm = 100000;
    struct fault_evidence e = run_under(&f, &s);
    assert_int_equal(e.affected, s.discards);
    driver_free(&d);
    f.link = (struct link_condition){.loss_ppm = 300000};
    e = run_under(&f, &s);
    assert_in_range(e.affected * 100 / e.offered, 28, 32);
    assert_int_equal(e.affected, s.lost);
    driver_free(&d);
    f.link = (struct link_condition){.damage_ppm = 300000};
    e = run_under(&f, &s);
    assert_in_range(e.affected * 100 / e.offered, 28, 32);
    driver_free(&d);
    f.link = (struct link_condition){.duplicate_ppm = 300000};
    e = run_under(&f, &s);
    assert_in_range(e.affected * 100 / e.offered, 28, 32);
    driver_free(&d);
    f.link = (struct link_condition){.delay_ns = 50 * NS_PER_MS};
    run_under(&f, &s);
    assert_true(d.ok < ok * 2 / 3);
    driver_free(&d);
    f.link = (struct link_condition){.rate_bytes_per_s = 20000};
    run_under(&f, &s);
    assert_true(d.ok < ok * 2 / 3);
    driver_free(&d);
}

static void a_killed_node_is_down_and_comes_back_with_its_log(void **state) {
    (void)state;
    for (enum fault_kind kind = FAULT_KILL; kind <= FAULT_POWER; kind += FAULT_POWER - FAULT_KILL) {
        struct seen s;
        struct fault_spec f = {.kind = kind, .nodes = 2};
        struct fault_evidence e = run_under(&f, &s); /* run_under ends it: the node boots */
        assert_int_equal(e.affected, 1);
        assert_int_equal(s.got_by_2, 0);
        assert_false(status(1).up);
        uint64_t now = d.world->ops->now_ns(d.world);
        d.world->ops->run_until(d.world, now + NS_PER_S);
        assert_true(status(1).up);
        assert_int_equal(status(1).applied_index, status(0).applied_index);
        assert_true(status(1).state_hash == status(0).state_hash);
        driver_free(&d);
    }
}

static void a_paused_node_does_nothing_and_then_everything(void **state) {
    (void)state;
    struct seen s;
    struct fault_spec f = {.kind = FAULT_PAUSE, .nodes = 2};
    run_under(&f, &s);
    assert_int_equal(s.got_by_2, 0);
    assert_true(status(1).up);
    assert_int_equal(status(1).applied_index, 0);
    uint64_t now = d.world->ops->now_ns(d.world);
    d.world->ops->run_until(d.world, now + NS_PER_S);
    assert_true(s.got_by_2 > 100);
    assert_int_equal(status(1).applied_index, status(0).applied_index);
    driver_free(&d);
}

static void a_slow_cluster_is_slow(void **state) {
    (void)state;
    struct seen s;
    struct fault_spec f = {.kind = FAULT_SLOW, .nodes = 31, .slow_percent = 20};
    run_under(NULL, &s);
    uint64_t ok = d.ok;
    driver_free(&d);
    run_under(&f, &s);
    assert_true(d.ok > 0 && d.ok < ok * 2 / 3);
    driver_free(&d);
}

static void a_drifting_clock_makes_heartbeats_faster_or_slower(void **state) {
    (void)state;
    struct seen plain, fast, slow;
    run_under(NULL, &plain);
    driver_free(&d);
    struct fault_spec f = {.kind = FAULT_CLOCK, .nodes = 31, .clock = {.drift_ppm = 250000}};
    run_under(&f, &fast);
    driver_free(&d);
    f.clock.drift_ppm = -250000;
    run_under(&f, &slow);
    driver_free(&d);
    assert_in_range(fast.heartbeats * 100 / plain.heartbeats, 110, 140);
    assert_in_range(slow.heartbeats * 100 / plain.heartbeats, 60, 90);
}

static uint64_t fastest_write_ns(void) {
    uint64_t fastest = UINT64_MAX;
    for (uint32_t i = 0; i < d.history->count; i++) {
        uint64_t took = d.history->complete_ns[i] - d.history->invoke_ns[i];
        if (d.history->f[i] == OP_WRITE && d.history->status[i] == OP_OK && took < fastest) fastest = took;
    }
    return fastest;
}

static void a_stalled_or_slow_disk_delays_what_needs_it(void **state) {
    (void)state;
    struct seen s;
    const struct disk_condition conditions[] = {{.sync_stall_ns = 100 * NS_PER_MS}, {.io_delay_ns = 100 * NS_PER_MS}};
    for (size_t i = 0; i < 2; i++) {
        struct fault_spec f = {.kind = FAULT_DISK, .nodes = 31, .disk = conditions[i]};
        run_under(&f, &s);
        assert_in_range(fastest_write_ns(), 100 * NS_PER_MS, NS_PER_S);
        driver_free(&d);
        f.nodes = 3; /* a minority: nobody waits for it */
        run_under(&f, &s);
        struct quantiles q = history_latency(d.history, OP_WRITE);
        assert_true(q.p50_ns < 50 * NS_PER_MS);
        driver_free(&d);
    }
}

/* The acknowledged writes of a cluster whose disks lie are gone when all lose power; without the lie they are not. */
static void lying_disks_lose_what_was_acknowledged(void **state) {
    (void)state;
    for (int lies = 0; lies < 2; lies++) {
        struct world_config c = driver_config(4);
        struct fault_spec lie = {.kind = FAULT_DISK, .nodes = 31, .disk = {.sync_lie_ppm = lies ? 1000000 : 0}},
                          power = {.kind = FAULT_POWER, .nodes = 31};
        struct error e;
        bool settled;
        c.invariants = false; /* it shall go on to its end */
        driver_init(&d, &c);
        uint32_t lying = d.world->ops->fault_begin(d.world, &lie, &e);
        driver_run(&d, 5, &settled);
        assert_true(settled && d.ok > 100);
        uint64_t applied = status(0).applied_index;
        uint32_t off = d.world->ops->fault_begin(d.world, &power, &e);
        assert_true((d.world->ops->fault_end(d.world, lying).affected > 0) == (lies > 0));
        assert_int_equal(d.world->ops->fault_end(d.world, off).affected, 5);
        d.world->ops->run_until(d.world, d.world->ops->now_ns(d.world) + 5 * NS_PER_S);
        for (uint8_t i = 0; i < 5; i++) {
            assert_true(status(i).up);
            if (lies)
                assert_true(status(i).applied_index < applied / 2);
            else
                assert_true(status(i).applied_index >= applied);
        }
        driver_free(&d);
    }
}

/* n2's log is read when it starts: with errors, or bits flipped, it must not go on as if nothing were. */
static void a_disk_that_cannot_be_read_keeps_its_node_down_until_it_can(void **state) {
    (void)state;
    const struct disk_condition conditions[] = {{.read_error_ppm = 1000000}, {.read_rot_ppm = 1000000}};
    for (size_t i = 0; i < 2; i++) {
        struct world_config c = driver_config(5);
        struct fault_spec unreadable = {.kind = FAULT_DISK, .nodes = 2, .disk = conditions[i]},
                          kill = {.kind = FAULT_KILL, .nodes = 2};
        struct error e;
        bool settled;
        driver_init(&d, &c);
        driver_run(&d, 5, &settled);
        assert_true(settled);
        uint32_t bad = d.world->ops->fault_begin(d.world, &unreadable, &e);
        d.world->ops->fault_end(d.world, d.world->ops->fault_begin(d.world, &kill, &e));
        enum world_end end = d.world->ops->run_until(d.world, d.world->ops->now_ns(d.world) + 5 * NS_PER_S);
        assert_int_equal(end, WORLD_TIME);
        assert_false(status(1).up);
        assert_true(d.world->ops->fault_end(d.world, bad).affected > 0);
        end = d.world->ops->run_until(d.world, d.world->ops->now_ns(d.world) + 5 * NS_PER_S);
        assert_int_equal(end, WORLD_TIME);
        assert_true(status(1).up);
        assert_int_equal(status(1).applied_index, status(0).applied_index);
        assert_true(status(1).state_hash == status(0).state_hash);
        driver_free(&d);
    }
}

static void a_failing_disk_stops_its_node(void **state) {
    (void)state;
    struct seen s;
    struct fault_spec f = {.kind = FAULT_DISK, .nodes = 2, .disk = {.sync_error_ppm = 1000000}};
    run_under(&f, &s);
    uint32_t stops = 0;
    for (uint32_t i = 0; i < d.history->samples_count; i++)
        stops += d.history->samples[i].kind == SAMPLE_NODE_DOWN && d.history->samples[i].node == 1;
    assert_true(stops > 0); /* later it does not even start */
    assert_int_equal(status(1).applied_index, 0);
    driver_free(&d);
}

static uint64_t writes_dropped(void) {
    const struct sim *s = (const struct sim *)d.world;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->nodes; i++) sum += s->node[i].disk.counters.writes_dropped;
    return sum;
}

static void a_power_loss_takes_unsynced_data_and_a_kill_does_not(void **state) {
    (void)state;
    uint64_t dropped[2] = {0};
    for (uint64_t seed = 1; seed <= rounds(20); seed++) {
        for (int power = 0; power < 2; power++) {
            struct world_config c = driver_config(seed);
            c.sync_min_ns = c.sync_max_ns = 20 * NS_PER_MS; /* there is always something under way */
            bool settled;
            driver_init(&d, &c);
            d.fault_kinds = power ? 1u << FAULT_POWER : 1u << FAULT_KILL;
            enum world_end end = driver_run(&d, 10, &settled);
            check_run(seed, end, settled);
            dropped[power] += writes_dropped();
            driver_free(&d);
        }
    }
    assert_int_equal(dropped[0], 0);
    assert_true(dropped[1] > 0);
}

static void faults_that_make_no_sense_are_refused_with_a_reason(void **state) {
    (void)state;
    struct world_config c = driver_config(1);
    driver_init(&d, &c);
    const struct fault_spec bad[] = {
        {.kind = FAULT_KINDS, .nodes = 1},
        {.kind = FAULT_KILL, .nodes = 0},
        {.kind = FAULT_KILL, .nodes = 32},
        {.kind = FAULT_SLOW, .nodes = 1, .slow_percent = 0},
        {.kind = FAULT_SLOW, .nodes = 1, .slow_percent = 100},
        {.kind = FAULT_CLOCK, .nodes = 1, .clock = {.drift_ppm = 500000}},
        {.kind = FAULT_LINK, .links = {[6] = 1}},
        {.kind = FAULT_LINK, .links = {[0] = 1u << 6}},
        {.kind = FAULT_LINK, .links = {[0] = 2}, .filter = "tcp"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error e = {0};
        assert_int_equal(d.world->ops->fault_begin(d.world, &bad[i], &e), 0);
        assert_true(strlen(e.text) > 5);
    }
    driver_free(&d);
}

static void a_transfer_moves_the_leader(void **state) {
    (void)state;
    struct seen s;
    run_under(NULL, &s);
    uint8_t leader = d.world->ops->leader(d.world), to = (uint8_t)((leader + 2) % 5);
    assert_true(d.world->ops->transfer(d.world, to));
    uint64_t now = d.world->ops->now_ns(d.world);
    d.world->ops->run_until(d.world, now + 100 * NS_PER_MS);
    assert_int_equal(d.world->ops->leader(d.world), to);
    assert_false(d.world->ops->transfer(d.world, 9));
    driver_free(&d);
}

static void a_config_that_cannot_be_is_refused_with_a_reason(void **state) {
    (void)state;
    struct world_host host = {0};
    struct world_config c = driver_config(1);
    struct error e = {0};
    c.target = "no-such-target";
    assert_null(sim_new(&c, host, &e));
    assert_non_null(strstr(e.text, "no-such-target"));
    c = driver_config(1);
    c.mutant = "raft/no-such-mutant";
    assert_null(sim_new(&c, host, &e));
    assert_non_null(strstr(e.text, "raft/no-such-mutant"));
    c = driver_config(1);
    c.nodes = 16;
    assert_null(sim_new(&c, host, &e));
    assert_non_null(strstr(e.text, "16"));
}

/* --- operations --------------------------------------------------------------------------------------------------- */

static void count_completion(void *ctx, const struct completion *c) {
    uint32_t *ended = ctx;
    assert_int_equal(c->op, 7);
    assert_int_equal(c->client, 2);
    assert_int_equal(c->status, OP_FAIL);
    ++*ended;
}

static void an_impossible_operation_ends_once_and_not_within_submit(void **state) {
    (void)state;
    uint32_t ended = 0;
    struct error e;
    struct history *h = history_new();
    struct world_config c = driver_config(1);
    struct world *w =
        sim_new(&c, (struct world_host){.ctx = &ended, .history = h, .on_complete = count_completion}, &e);
    assert_non_null(w);
    struct world_op op = {.op = 7, .f = OP_WRITE, .key = history_intern(h, "k"), .argument = VALUE_OF_NIL};
    w->ops->submit(w, 2, &op);
    assert_int_equal(ended, 0);
    w->ops->run_until(w, NS_PER_MS);
    assert_int_equal(ended, 1);
    w->ops->run_until(w, 20 * NS_PER_S);
    assert_int_equal(ended, 1);
    w->ops->free(w);
    history_free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(correct_code_survives_all_faults_in_all_read_modes),
        cmocka_unit_test(refused_writes_cost_processes_and_no_promise),
        cmocka_unit_test(pinned_clients_are_right_about_failures_when_the_network_doubles),
        cmocka_unit_test(a_run_is_a_function_of_its_seed),
        cmocka_unit_test(a_reset_world_equals_a_fresh_one),
        cmocka_unit_test(watching_changes_nothing),
        cmocka_unit_test(tracing_changes_nothing),
        cmocka_unit_test(a_cut_lets_nothing_through_in_its_direction),
        cmocka_unit_test(a_cut_also_stops_what_is_under_way),
        cmocka_unit_test(loss_doubling_corruption_and_delay_leave_marks),
        cmocka_unit_test(a_killed_node_is_down_and_comes_back_with_its_log),
        cmocka_unit_test(a_paused_node_does_nothing_and_then_everything),
        cmocka_unit_test(a_slow_cluster_is_slow),
        cmocka_unit_test(a_drifting_clock_makes_heartbeats_faster_or_slower),
        cmocka_unit_test(a_stalled_or_slow_disk_delays_what_needs_it),
        cmocka_unit_test(lying_disks_lose_what_was_acknowledged),
        cmocka_unit_test(a_disk_that_cannot_be_read_keeps_its_node_down_until_it_can),
        cmocka_unit_test(a_failing_disk_stops_its_node),
        cmocka_unit_test(a_power_loss_takes_unsynced_data_and_a_kill_does_not),
        cmocka_unit_test(faults_that_make_no_sense_are_refused_with_a_reason),
        cmocka_unit_test(a_transfer_moves_the_leader),
        cmocka_unit_test(a_config_that_cannot_be_is_refused_with_a_reason),
        cmocka_unit_test(an_impossible_operation_ends_once_and_not_within_submit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
