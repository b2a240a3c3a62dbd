/* What a command costs over far regions, held against what the protocols' messages imply: geo-5 with links that do not
 * jitter and disks and processors that take no time. The expectation is derived here from the distances alone. */
#include "harness/run/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { REGIONS = 5, MAJORITY = 3, FAULTY = REGIONS - MAJORITY };

static const char *const names[REGIONS] = {"va", "ca", "eu", "or", "jp"};
/* Round trips in milliseconds between data centres, and within one. */
static const double rtt_ms[REGIONS][REGIONS] = {{0.5, 85, 90, 81, 203},
                                                {85, 0.5, 156, 21, 118},
                                                {90, 156, 0.5, 172, 278},
                                                {81, 21, 172, 0.5, 127},
                                                {203, 118, 278, 127, 0.5}};
#define WARM_UP_NS (10 * NS_PER_S) /* elections, and sessions of the clients */
#define OPERATIONS_MIN 20u

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Until the region has heard from enough others to be `quorum` replicas with its own. */
static double quorum_ms(uint32_t region, uint32_t quorum) {
    double others[REGIONS - 1];
    for (uint32_t i = 0, n = 0; i < REGIONS; i++)
        if (i != region) others[n++] = rtt_ms[region][i];
    qsort(others, REGIONS - 1, sizeof *others, compare_doubles);
    return others[quorum - 2];
}

struct outcome {
    double write_ms[REGIONS], read_ms[REGIONS]; /* medians; 0 where there was nothing */
};

static double median_ms(const struct history *h, const struct regions *r, uint32_t region, uint16_t f) {
    double *latencies = xmalloc((h->count + 1) * sizeof *latencies);
    size_t count = 0;
    for (uint32_t op = 0; op < h->count; op++) {
        if (h->f[op] != f || h->final_phase[op] || h->intended_ns[op] < WARM_UP_NS) continue;
        if (regions_of_process(r, h->process[op]) != region) continue;
        assert_int_equal(h->status[op], OP_OK);
        latencies[count++] = (double)(h->complete_ns[op] - h->intended_ns[op]) / (double)NS_PER_MS;
    }
    qsort(latencies, count, sizeof *latencies, compare_doubles);
    double median = count >= OPERATIONS_MIN ? latencies[count / 2] : 0;
    free(latencies);
    return median;
}

static struct runner *run_scenario(const char *name, struct bytes text, const char *target,
                                   const struct script_set *sets, size_t sets_count, struct run_result *result) {
    struct run_options o = {.scenario_name = name,
                            .scenario_text = text,
                            .target = target,
                            .world = "sim",
                            .mutant = "",
                            .seed = 1,
                            .sets = sets,
                            .sets_count = sets_count,
                            .invariants = true};
    struct error e = {{0}};
    struct runner *r = runner_new();
    if (runner_run(r, &o, result, &e)) fail_msg("%s", e.text);
    if (result->verdict != VERDICT_VALID) fail_msg("%s on %s: %s", name, target, result->why);
    return r;
}

/* geo-5 without anything that is not a distance. */
static struct runner *run_geo(const char *target, const char *leader, const char *from, const char *clients,
                              struct run_result *result) {
    const struct script_set sets[] = {{"jitter", "0"},    {"sync", "0"},  {"conflict", "0"},    {"time", "40"},
                                      {"leader", leader}, {"from", from}, {"clients", clients}, {"min_ops", "50"}};
    struct error e = {{0}};
    char *name = NULL;
    struct bytes text;
    assert_int_equal(script_find("geo-5", &name, &text, &e), 0);
    struct runner *r = run_scenario(name, text, target, sets, sizeof sets / sizeof *sets, result);
    free((void *)(uintptr_t)text.data);
    free(name);
    return r;
}

static void run(const char *target, const char *leader, const char *from, const char *clients, struct outcome *out) {
    struct run_result result;
    struct runner *r = run_geo(target, leader, from, clients, &result);
    assert_int_equal(result.regions.count, REGIONS);
    for (uint32_t i = 0; i < REGIONS; i++) {
        assert_string_equal(result.regions.name[i], names[i]);
        out->write_ms[i] = median_ms(runner_history(r), &result.regions, i, OP_WRITE);
        out->read_ms[i] = median_ms(runner_history(r), &result.regions, i, OP_READ);
    }
    run_result_free(&result);
    runner_free(r);
}

static void within_a_percent(double actual_ms, double expected_ms, const char *what, const char *leader,
                             uint32_t region) {
    double off = actual_ms / expected_ms - 1;
    if (off < -0.01 || off > 0.01)
        fail_msg("%s, leader %s, clients in %s: %.1f ms, and the messages imply %.1f ms", what, leader, names[region],
                 actual_ms, expected_ms);
}

/* A client asks the leader itself, which asks a majority. */
static void a_leader_costs_the_way_to_it_and_its_majority(const char *target) {
    for (uint32_t leader = 0; leader < REGIONS; leader++) {
        struct outcome out;
        run(target, names[leader], "all", "15", &out);
        for (uint32_t i = 0; i < REGIONS; i++) {
            double expected_ms = rtt_ms[i][leader] + quorum_ms(leader, MAJORITY);
            within_a_percent(out.write_ms[i], expected_ms, target, names[leader], i);
        }
    }
}

static void raft_costs_the_way_to_the_leader_and_its_majority(void **state) {
    (void)state;
    a_leader_costs_the_way_to_it_and_its_majority("raft");
}

static void multipaxos_costs_the_way_to_the_leader_and_its_majority(void **state) {
    (void)state;
    a_leader_costs_the_way_to_it_and_its_majority("multipaxos");
}

/* Any replica leads, and without conflicts one round to the nearest of a fast quorum is all; reads are commands. */
static void epaxos_costs_the_nearest_fast_quorum(void **state) {
    (void)state;
    const uint32_t fast_quorum = FAULTY + (FAULTY + 1) / 2;
    struct outcome out;
    run("epaxos", "any", "all", "15", &out);
    for (uint32_t i = 0; i < REGIONS; i++) {
        double expected_ms = rtt_ms[i][i] + quorum_ms(i, fast_quorum);
        within_a_percent(out.write_ms[i], expected_ms, "epaxos, writes", "any", i);
        within_a_percent(out.read_ms[i], expected_ms, "epaxos, reads", "any", i);
    }
}

/* Without a rival both phases go to the nearest majority; a read asks a majority once. */
static void paxos_costs_two_rounds_where_nobody_duels(void **state) {
    (void)state;
    for (uint32_t i = 0; i < REGIONS; i++) {
        struct outcome out;
        run("paxos", "any", names[i], "1", &out);
        within_a_percent(out.write_ms[i], rtt_ms[i][i] + 2 * quorum_ms(i, MAJORITY), "paxos, writes", "any", i);
        within_a_percent(out.read_ms[i], rtt_ms[i][i] + quorum_ms(i, MAJORITY), "paxos, reads", "any", i);
    }
}

/* With one client no read waits for the round of another one. */
static void a_read_at_a_leader_costs_what_a_write_does(void **state) {
    (void)state;
    static const char *const targets[] = {"raft", "multipaxos"};
    for (uint32_t t = 0; t < 2; t++) {
        for (uint32_t i = 0; i < REGIONS; i++) {
            struct outcome out;
            run(targets[t], "or", names[i], "1", &out);
            within_a_percent(out.read_ms[i], rtt_ms[i][3] + quorum_ms(3, MAJORITY), targets[t], "or", i);
        }
    }
}

/* --- what else regions mean ----------------------------------------------------------------------------------- */

static void a_target_without_leaders_says_that_none_can_be_placed(void **state) {
    (void)state;
    static const char *const targets[] = {"paxos", "epaxos", "raft"};
    for (uint32_t t = 0; t < 3; t++) {
        struct run_result result;
        struct runner *r = run_geo(targets[t], "eu", "all", "5", &result);
        const struct history *h = runner_history(r);
        bool said = false;
        for (uint32_t i = 0; i < h->samples_count; i++)
            said |= h->samples[i].kind == SAMPLE_LOG &&
                    strstr(history_text(h, h->samples[i].text), "this target has no leader");
        assert_int_equal(said, strcmp(targets[t], "raft") != 0);
        run_result_free(&result);
        runner_free(r);
    }
}

/* Cut from 10 to 20 s: its clients find nobody who can answer, the others do not notice much. */
static void a_lost_region_takes_its_clients_along(void **state) {
    (void)state;
    static const char text[] =
        "return { nodes = 3, time = 30, workload = register { clients = 4, think = 0.1, mix = { write = 1 } },\n"
        "  cluster = { leader = 'us' }, client = { try_timeout = 0.5, timeout = 1 },\n"
        "  network = { regions = { names = { 'us', 'eu' }, placement = { 'us', 'us', 'eu' },\n"
        "    rtt = { { 0.001, 0.08 }, { 0.08, 0.001 } } } },\n"
        "  nemesis = function(cluster)\n"
        "    sleep(10)\n"
        "    cluster:during(partition.region('eu'), 10)\n"
        "  end }\n";
    static const char *const targets[] = {"raft", "multipaxos", "paxos", "epaxos"};
    for (uint32_t t = 0; t < 4; t++) {
        struct run_result result;
        struct runner *r = run_scenario("lost.lua", bytes_str(text), targets[t], NULL, 0, &result);
        const struct history *h = runner_history(r);
        uint32_t answered[2] = {0};
        for (uint32_t op = 0; op < h->count; op++)
            answered[regions_of_process(&result.regions, h->process[op])] +=
                h->status[op] == OP_OK && h->invoke_ns[op] > 10 * NS_PER_S && h->complete_ns[op] < 20 * NS_PER_S;
        assert_int_equal(answered[1], 0);
        assert_in_range(answered[0], 50, UINT32_MAX);
        run_result_free(&result);
        runner_free(r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raft_costs_the_way_to_the_leader_and_its_majority),
        cmocka_unit_test(multipaxos_costs_the_way_to_the_leader_and_its_majority),
        cmocka_unit_test(epaxos_costs_the_nearest_fast_quorum),
        cmocka_unit_test(paxos_costs_two_rounds_where_nobody_duels),
        cmocka_unit_test(a_read_at_a_leader_costs_what_a_write_does),
        cmocka_unit_test(a_target_without_leaders_says_that_none_can_be_placed),
        cmocka_unit_test(a_lost_region_takes_its_clients_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
