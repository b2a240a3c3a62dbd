/* Comparisons: what a run comes to, against histories made by hand; medians and their spread; the texts and the page;
 * and that the simulator's counters add up. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness/run/run.h"
#include "reports/compare_internal.h"
#include "tests/support.h"

#define MS NS_PER_MS
#define HOSTILE "<script>alert(1)</script>,\"quoted\""

/* --- histories made by hand --------------------------------------------------------------------------------------- */

static void act(struct history *h, uint64_t start_ms, uint64_t end_ms, uint32_t process, uint16_t f,
                enum op_status status) {
    uint32_t op = history_invoke(h, start_ms * MS, start_ms * MS, process, 0, f, history_intern(h, "k"), VALUE_OF_NIL);
    history_complete(h, op, end_ms * MS, status, VALUE_OF_NIL, NO_STRING);
}

/* Reads of one client, `every_ms` apart, each `latency_ms` long. */
static void steady(struct history *h, uint64_t from_ms, uint64_t to_ms, uint64_t every_ms, uint64_t latency_ms) {
    for (uint64_t at = from_ms; at < to_ms; at += every_ms) act(h, at, at + latency_ms, 0, OP_READ, OP_OK);
}

static void fault(struct history *h, const char *name, uint64_t start_ms, uint64_t end_ms) {
    uint32_t f = history_fault_start(h, start_ms * MS, name, "", "#aabbcc");
    history_fault_end(h, f, end_ms * MS, 1, 1);
}

static void role(struct history *h, uint64_t at_ms, enum role r) {
    history_sample(h,
                   (struct sample){.time_ns = at_ms * MS, .kind = SAMPLE_ROLE, .role = (uint8_t)r, .text = NO_STRING});
}

static struct measure_input input(const struct history *h, uint64_t main_ms) {
    return (struct measure_input){.history = h, .main_ns = main_ms * MS, .clients = 2, .syncs = UINT64_MAX};
}

static struct measured measure(const struct history *h, uint64_t main_ms) {
    struct measure_input in = input(h, main_ms);
    struct measured m;
    measure_run(&in, &m);
    return m;
}

static void expect(double value, double wanted) {
    if (!(fabs(value - wanted) <= 1e-9 * (1 + fabs(wanted)))) fail_msg("%.9g is not %.9g", value, wanted);
}

/* --- availability ------------------------------------------------------------------------------------------------- */

static void a_window_without_a_success_is_not_available(void **state) {
    (void)state;
    struct history *h = history_new();
    steady(h, 0, 1000, 100, 10);            /* windows 0 and 1 */
    act(h, 1000, 2400, 0, OP_WRITE, OP_OK); /* open through windows 2 and 3, ends in 4 */
    steady(h, 2500, 3000, 100, 10);
    struct measured m = measure(h, 3000);
    expect(m.values[MEASURE_AVAILABILITY], 100.0 * 4 / 6);
    expect(m.values[MEASURE_OUTAGE], 1400);
    expect(m.values[MEASURE_THROUGHPUT], 16 / 3.0);
    assert_int_equal(m.committed, 16);
    history_free(h);
}

static void idle_time_is_no_outage_but_clients_that_gave_up_still_wait(void **state) {
    (void)state;
    struct history *h = history_new();
    steady(h, 0, 500, 100, 10);
    /* Nobody asks for anything in windows 1 and 2. */
    act(h, 1500, 1600, 0, OP_READ, OP_FAIL);
    act(h, 2400, 2500, 1, OP_READ, OP_INFO); /* in between nothing is open, and yet nobody was served */
    act(h, 3100, 3200, 3, OP_READ, OP_OK);
    struct measured m = measure(h, 4000);
    expect(m.values[MEASURE_OUTAGE], 1700);
    expect(m.values[MEASURE_AVAILABILITY], 100.0 * 2 / 5); /* of windows 0, 3, 4, 5, 6 */
    history_free(h);
}

static void an_outage_lasts_until_the_main_phase_ends(void **state) {
    (void)state;
    struct history *h = history_new();
    steady(h, 0, 1000, 100, 10);
    act(h, 1000, 9000, 0, OP_READ, OP_OK); /* answered when all faults were healed: too late to count as such */
    uint32_t last = history_invoke(h, 9100 * MS, 9100 * MS, 0, 0, OP_READ, 0, VALUE_OF_NIL);
    h->final_phase[last] = 1;
    history_complete(h, last, 9101 * MS, OP_OK, VALUE_OF_NIL, NO_STRING);
    struct measured m = measure(h, 3000);
    expect(m.values[MEASURE_OUTAGE], 2000);
    expect(m.values[MEASURE_AVAILABILITY], 100.0 * 2 / 6);
    assert_int_equal(m.committed, 10);
    assert_int_equal(m.latencies[0].count, 11); /* issued in the main phase, and slow */
    history_free(h);
}

static void a_history_without_operations_has_no_figures(void **state) {
    (void)state;
    struct history *h = history_new();
    struct measured m = measure(h, 3000);
    expect(m.values[MEASURE_THROUGHPUT], 0);
    for (enum measure i = MEASURE_AVAILABILITY; i < MEASURES; i++) assert_true(isnan(m.values[i]));
    assert_int_equal(m.latencies_count, 0);
    m = measure(h, 0);
    assert_true(isnan(m.values[MEASURE_THROUGHPUT]));
    history_free(h);
}

/* --- recovery ----------------------------------------------------------------------------------------------------- */

static void failover_is_from_the_start_of_a_fault_to_an_answer_to_what_was_asked_after_it(void **state) {
    (void)state;
    struct history *h = history_new();
    steady(h, 0, 2000, 100, 10);
    act(h, 1990, 2050, 1, OP_READ, OP_OK); /* asked before the fault: says nothing about it */
    act(h, 2100, 2700, 0, OP_READ, OP_INFO);
    act(h, 2200, 2800, 1, OP_READ, OP_OK);
    steady(h, 3000, 6000, 100, 10);
    fault(h, "kill n1", 2000, 3000);
    fault(h, "kill n2", 5995, 6000); /* nothing is asked after it */
    struct measured m = measure(h, 6000);
    assert_int_equal(m.faults_count, 2);
    assert_string_equal(m.faults[0].name, "kill n1");
    assert_true(m.faults[0].failover_ns == 800 * MS);
    assert_true(m.faults[1].failover_ns == MEASURE_NEVER);
    assert_false(m.faults[1].recovery_known);
    expect(m.values[MEASURE_FAILOVER_MEDIAN], 800);
    expect(m.values[MEASURE_FAILOVER_MAX], 800);
    expect(m.values[MEASURE_UNRECOVERED], 1);
    history_free(h);
}

static void recovery_is_from_the_end_of_a_fault_to_half_the_rate_without_faults(void **state) {
    (void)state;
    struct history *h = history_new();
    steady(h, 0, 4000, 50, 10);     /* ten a window, so five are half */
    steady(h, 4000, 6700, 200, 10); /* under the fault and after it: two or three */
    steady(h, 6700, 10000, 50, 10);
    fault(h, "slow", 4000, 6000);
    fault(h, "again", 8000, 8500); /* nothing happened in it */
    struct measured m = measure(h, 10000);
    assert_true(m.faults[0].recovery_known && m.faults[1].recovery_known);
    /* From 6610 on: 6610, then 6710, 6760, ... 7060 are within half a second; from 6410 on: 6410, 6610, and 6710 to
     * 6860 are six. From 6210: 6210, 6410, 6610 and none after 6710. */
    assert_true(m.faults[0].recovery_ns == 410 * MS);
    assert_true(m.faults[1].recovery_ns == 0);
    expect(m.values[MEASURE_RECOVERY_MEDIAN], 205);
    expect(m.values[MEASURE_RECOVERY_MAX], 410);
    expect(m.values[MEASURE_UNRECOVERED], 0);
    history_free(h);
}

static void who_never_comes_back_to_the_rate_is_counted(void **state) {
    (void)state;
    struct history *h = history_new();
    steady(h, 0, 4000, 50, 10);
    steady(h, 4000, 10000, 250, 10); /* two a window for the rest of the run */
    fault(h, "break", 4000, 5000);
    struct measured m = measure(h, 6000);
    expect(m.values[MEASURE_UNRECOVERED], 1);
    assert_true(m.faults[0].recovery_ns == MEASURE_NEVER);
    assert_true(isnan(m.values[MEASURE_RECOVERY_MEDIAN]));
    expect(m.values[MEASURE_FAILOVER_MAX], 10);
    history_free(h);
}

static void without_faultless_time_there_is_no_rate_to_recover_to(void **state) {
    (void)state;
    struct history *h = history_new();
    steady(h, 0, 4000, 50, 10);
    fault(h, "always", 0, 3000);
    fault(h, "and on", 2900, 4000);
    struct measured m = measure(h, 4000);
    assert_false(m.faults[0].recovery_known);
    expect(m.values[MEASURE_UNRECOVERED], 0);
    history_free(h);
}

static void a_new_leader_is_looked_for_until_the_next_fault(void **state) {
    (void)state;
    struct history *h = history_new();
    steady(h, 0, 9000, 50, 10);
    role(h, 100, ROLE_CANDIDATE);
    role(h, 120, ROLE_LEADER);
    fault(h, "kill n1", 1000, 2000);
    role(h, 1300, ROLE_CANDIDATE);
    role(h, 1350, ROLE_CANDIDATE);
    role(h, 1400, ROLE_LEADER);
    fault(h, "kill n2", 4000, 4500); /* a follower: nobody is elected */
    fault(h, "kill n3", 5000, 6000);
    history_sample(h, (struct sample){.time_ns = 5000 * MS, .kind = SAMPLE_NODE_DOWN, .text = NO_STRING});
    role(h, 5700, ROLE_LEADER);
    role(h, 9500, ROLE_LEADER); /* after the main phase */
    struct measured m = measure(h, 9000);
    expect(m.values[MEASURE_ELECTIONS], 2); /* the second in two rounds */
    expect(m.values[MEASURE_LEADERS], 3);
    expect(m.values[MEASURE_REPLACED_MEDIAN], 550);
    expect(m.values[MEASURE_REPLACED_MAX], 700);
    history_free(h);
}

static void where_none_leads_there_are_no_elections(void **state) {
    (void)state;
    struct history *h = history_new();
    steady(h, 0, 1000, 50, 10);
    role(h, 0, ROLE_PEER);
    struct measured m = measure(h, 1000);
    assert_true(isnan(m.values[MEASURE_ELECTIONS]) && isnan(m.values[MEASURE_LEADERS]));
    history_free(h);
}

/* --- latency ------------------------------------------------------------------------------------------------------ */

static const struct latency *latency_named(const struct measured *m, const char *operation, const char *region) {
    for (uint32_t i = 0; i < m->latencies_count; i++)
        if (strcmp(m->latencies[i].operation, operation) == 0 && strcmp(m->latencies[i].region, region) == 0)
            return &m->latencies[i];
    fail_msg("there is no latency of \"%s\" in \"%s\"", operation, region);
    return NULL;
}

static void percentiles_are_nearest_ranks_and_count_from_when_it_was_due(void **state) {
    (void)state;
    struct history *h = history_new();
    for (uint64_t i = 1; i <= 1000; i++) act(h, 0, 1001 - i, 0, OP_READ, OP_OK);          /* 1000, 999, ... 1 ms */
    uint32_t op = history_invoke(h, 700 * MS, 200 * MS, 0, 0, OP_WRITE, 0, VALUE_OF_NIL); /* late by half a second */
    history_complete(h, op, 800 * MS, OP_OK, VALUE_OF_NIL, NO_STRING);
    act(h, 800, 2900, 0, OP_CAS, OP_FAIL); /* no success has no latency */
    struct measured m = measure(h, 3000);
    const struct latency *l = latency_named(&m, "read", "");
    assert_int_equal(l->count, 1000);
    assert_true(l->p50_ns == 500 * MS && l->p99_ns == 990 * MS && l->p999_ns == 999 * MS);
    l = latency_named(&m, "write", "");
    assert_true(l->count == 1 && l->p50_ns == 600 * MS && l->p999_ns == 600 * MS);
    assert_int_equal(latency_named(&m, "", "")->count, 1001);
    assert_int_equal(m.latencies_count, 3);
    history_free(h);
}

static void a_process_belongs_to_the_region_of_its_client(void **state) {
    (void)state;
    static const uint8_t region_of_client[] = {1, 0};
    static const char *const names[] = {"VA", "JP", "OR"};
    struct history *h = history_new();
    act(h, 0, 10, 0, OP_READ, OP_OK);
    act(h, 10, 30, 1, OP_READ, OP_OK);
    act(h, 30, 60, 6, OP_READ, OP_OK); /* the first client, as its fourth process */
    act(h, 60, 100, 3, OP_WRITE, OP_OK);
    struct measure_input in = input(h, 1000);
    in.region_of_client = region_of_client;
    in.region_names = names;
    in.regions_count = 3;
    struct measured m;
    measure_run(&in, &m);
    assert_int_equal(latency_named(&m, "read", "JP")->count, 2);
    assert_true(latency_named(&m, "read", "JP")->p99_ns == 30 * MS);
    assert_true(latency_named(&m, "read", "VA")->p50_ns == 20 * MS);
    assert_true(latency_named(&m, "", "VA")->p99_ns == 40 * MS);
    assert_true(latency_named(&m, "write", "VA")->p50_ns == 40 * MS);
    assert_int_equal(m.latencies_count, 3 + 2 + 2 + 1); /* all, and in VA and JP; nobody is in OR */
    history_free(h);
}

static void a_bucket_holds_what_it_says(void **state) {
    (void)state;
    uint64_t before = 0;
    for (uint32_t b = 0; b < LATENCY_BUCKETS; b++) {
        uint64_t most = latency_bucket_us(b), least = b ? before + 1 : 0;
        assert_int_equal(latency_bucket(least * NS_PER_US), b);
        assert_int_equal(latency_bucket(most * NS_PER_US), b);
        assert_true(most - least <= least / 32);
        before = most;
    }
    assert_true(before == UINT32_MAX);
    assert_int_equal(latency_bucket(UINT64_MAX), LATENCY_BUCKETS - 1);
}

/* --- costs -------------------------------------------------------------------------------------------------------- */

static void costs_are_per_committed_operation(void **state) {
    (void)state;
    struct history *h = history_new();
    steady(h, 0, 1000, 100, 10);
    act(h, 900, 950, 1, OP_READ, OP_FAIL);
    struct measure_input in = input(h, 1000);
    in.messages = 40;
    in.message_bytes = 1000;
    in.cpu_ns = 70 * NS_PER_US;
    in.fast_commits = 3;
    in.slow_commits = 1;
    struct measured m;
    measure_run(&in, &m);
    expect(m.values[MEASURE_MESSAGES], 4);
    expect(m.values[MEASURE_BYTES], 100);
    expect(m.values[MEASURE_CPU], 7);
    expect(m.values[MEASURE_FAST_PATH], 75);
    assert_true(isnan(m.values[MEASURE_SYNCS])); /* nothing watched them */
    history_free(h);
}

/* --- over runs ---------------------------------------------------------------------------------------------------- */

static void a_spread_is_of_the_sorted_values(void **state) {
    (void)state;
    double values[] = {9, 1, 4, 2}, one[] = {5};
    struct spread s = spread_of(values, 4);
    assert_int_equal(s.count, 4);
    expect(s.min, 1);
    expect(s.q1, 1.75);
    expect(s.median, 3);
    expect(s.q3, 5.25);
    expect(s.max, 9);
    s = spread_of(one, 1);
    expect(s.q1, 5);
    expect(s.max, 5);
    assert_int_equal(spread_of(NULL, 0).count, 0);
}

struct pair { /* two targets with two runs each */
    struct history *h;
    struct measured measured[4];
    struct compared_run runs[4];
    struct compared_target targets[2];
    struct comparison c;
};

static void make_pair(struct pair *p) {
    *p = (struct pair){.h = history_new()};
    steady(p->h, 0, 1000, 100, 10);
    for (uint32_t i = 0; i < 4; i++) {
        measure_run(
            &(struct measure_input){
                .history = p->h, .main_ns = NS_PER_S, .clients = 1, .messages = 10 * i, .syncs = UINT64_MAX},
            &p->measured[i]);
        p->runs[i] = (struct compared_run){.seed = 1 + i % 2,
                                           .done = true,
                                           .verdict = VERDICT_VALID,
                                           .why = "",
                                           .replay = "harrow run x",
                                           .measured = &p->measured[i]};
    }
    p->targets[0] = (struct compared_target){.name = "raft", .runs = p->runs, .runs_count = 2, .valid = 2};
    p->targets[1] = (struct compared_target){.name = HOSTILE, .runs = p->runs + 2, .runs_count = 2, .valid = 2};
    p->c = (struct comparison){.scenario = "x.lua",
                               .doc = "",
                               .world = "sim",
                               .command = "harrow compare",
                               .targets = p->targets,
                               .targets_count = 2};
}

static void a_run_that_was_not_done_has_no_figures(void **state) {
    (void)state;
    struct pair p;
    make_pair(&p);
    p.runs[1].done = false;
    uint32_t count = 0;
    struct compare_row *rows = compare_rows(&p.c, &count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(compare_spread(&rows[i], &p.targets[0]).count, 1);
        assert_int_equal(compare_spread(&rows[i], &p.targets[1]).count, 2);
    }
    free(rows);
    history_free(p.h);
}

static uint32_t lines_of(const char *text) {
    uint32_t count = 0;
    for (; *text; text++) count += *text == '\n';
    return count;
}

static void the_csv_is_a_line_per_target_seed_and_figure(void **state) {
    (void)state;
    struct pair p;
    make_pair(&p);
    uint32_t rows = 0;
    free(compare_rows(&p.c, &rows));
    struct buffer out = {0};
    compare_print_csv(&p.c, &out);
    buffer_append(&out, "", 1);
    const char *text = (const char *)out.data;
    assert_int_equal(lines_of(text), 1 + 4 * rows);
    assert_non_null(strstr(text, "\nx.lua,sim,raft,2,valid,messages_per_op,,,1/op,1\n"));
    assert_non_null(strstr(text, ",\"<script>alert(1)</script>,\"\"quoted\"\"\",1,valid,throughput,,,ops/s,10\n"));
    assert_non_null(strstr(text, "\nx.lua,sim,raft,1,valid,latency_p99,read,,ms,10\n"));
    buffer_free(&out);
    history_free(p.h);
}

static void the_table_breaks_where_it_would_be_too_wide(void **state) {
    (void)state;
    struct pair p;
    make_pair(&p);
    struct buffer wide = {0}, narrow = {0};
    compare_print_table(&p.c, 100, &wide);
    compare_print_table(&p.c, 50, &narrow);
    buffer_append(&wide, "", 1);
    buffer_append(&narrow, "", 1);
    assert_int_equal(lines_of((const char *)narrow.data), 2 * lines_of((const char *)wide.data) + 1);
    assert_non_null(strstr((const char *)wide.data, "\nmessages, 1/op "));
    assert_non_null(strstr((const char *)wide.data, " 0.500  0..1.00  2.50  2.00..3.00\n"));
    buffer_free(&wide);
    buffer_free(&narrow);
    history_free(p.h);
}

static char *page_of(const struct comparison *c, const char *folder, struct error *warning) {
    struct error e;
    assert_int_equal(compare_write_page(c, folder, warning, &e), 0);
    char *path = xformat("%s/compare.html", folder);
    FILE *in = fopen(path, "r");
    struct buffer text = {0};
    assert_non_null(in);
    for (int c1; (c1 = fgetc(in)) != EOF;) buffer_append(&text, &(char){(char)c1}, 1);
    fclose(in);
    free(path);
    buffer_append(&text, "", 1);
    return (char *)text.data;
}

static void the_page_stands_alone_and_tells_what_is_not_valid(void **state) {
    (void)state;
    struct pair p;
    struct error warning, e;
    char folder[256], *path = xstrdup(text_or(getenv("PATH"), ""));
    snprintf(folder, sizeof folder, "%s/harrow-compare-XXXXXX", text_or(getenv("TMPDIR"), "/tmp"));
    assert_non_null(mkdtemp(folder));
    make_pair(&p);
    p.runs[3].verdict = VERDICT_INVALID;
    p.runs[3].why = HOSTILE " is broken";
    p.targets[1].valid = p.targets[1].invalid = 1;
    setenv("PATH", folder, 1); /* where there is no gnuplot */
    char *page = page_of(&p.c, folder, &warning);
    assert_non_null(strstr(warning.text, "gnuplot is not installed"));
    assert_non_null(strstr(page, "This plot is missing: gnuplot is not installed"));
    assert_non_null(strstr(page, "is broken"));
    assert_non_null(strstr(page, "Not every run is valid"));
    assert_null(strstr(page, "<script>alert"));
    assert_null(strstr(page, "http://"));
    free(page);
    setenv("PATH", path, 1);
    if (system("gnuplot --version >/dev/null 2>&1") == 0) {
        page = page_of(&p.c, folder, &warning);
        assert_string_equal(warning.text, "");
        assert_non_null(strstr(page, "aria-label=\"compare_latency\""));
        assert_non_null(strstr(page, "aria-label=\"compare_throughput_2\""));
        assert_non_null(strstr(page, "there was no fault to recover from"));
        free(page);
    }
    assert_int_equal(compare_write_page(&p.c, "/proc/harrow", &warning, &e), -1);
    assert_non_null(strstr(e.text, "/proc/harrow/compare.html"));
    folder_remove(folder);
    free(path);
    history_free(p.h);
}

/* --- what the simulator counts ------------------------------------------------------------------------------------ */

static struct measured simulate(const char *target) {
    static const char scenario[] = "return { doc = 'x', nodes = 3, time = 4, min_ops = 1,\n"
                                   "  workload = register { keys = 4, clients = 4, rate = 100 },\n"
                                   "  checks = { linearizable() } }\n";
    struct run_options o = {.scenario_name = "x.lua",
                            .scenario_text = bytes_str(scenario),
                            .target = target,
                            .world = "sim",
                            .mutant = "",
                            .seed = 1,
                            .invariants = true};
    struct runner *r = runner_new();
    struct run_result result;
    struct error e = {{0}};
    struct measured m;
    if (runner_run(r, &o, &result, &e)) fail_msg("%s", e.text);
    assert_int_equal(result.verdict, VERDICT_VALID);
    measure_run(&(struct measure_input){.history = runner_history(r),
                                        .main_ns = result.main_ns,
                                        .clients = result.clients,
                                        .messages = result.counters.messages,
                                        .message_bytes = result.counters.message_bytes,
                                        .syncs = result.counters.syncs,
                                        .fast_commits = result.counters.fast_commits,
                                        .slow_commits = result.counters.slow_commits,
                                        .cpu_ns = result.counters.cpu_ns},
                &m);
    run_result_free(&result);
    runner_free(r);
    return m;
}

static void the_simulator_counts_what_operations_cost(void **state) {
    (void)state;
    struct measured raft = simulate("raft"), epaxos = simulate("epaxos");
    const struct measured *both[] = {&raft, &epaxos};
    for (size_t i = 0; i < 2; i++) {
        const double *values = both[i]->values;
        assert_true(values[MEASURE_AVAILABILITY] > 50);
        assert_true(values[MEASURE_MESSAGES] > 1 && values[MEASURE_MESSAGES] < 100);
        assert_true(values[MEASURE_BYTES] > values[MEASURE_MESSAGES]);
        assert_true(values[MEASURE_SYNCS] > 0 && values[MEASURE_CPU] > 0);
    }
    expect(raft.values[MEASURE_LEADERS], 1);
    assert_true(raft.values[MEASURE_ELECTIONS] >= 1);
    assert_true(isnan(raft.values[MEASURE_FAST_PATH]));
    assert_true(isnan(epaxos.values[MEASURE_LEADERS]));
    assert_true(epaxos.values[MEASURE_FAST_PATH] > 50 && epaxos.values[MEASURE_FAST_PATH] <= 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_without_a_success_is_not_available),
        cmocka_unit_test(idle_time_is_no_outage_but_clients_that_gave_up_still_wait),
        cmocka_unit_test(an_outage_lasts_until_the_main_phase_ends),
        cmocka_unit_test(a_history_without_operations_has_no_figures),
        cmocka_unit_test(failover_is_from_the_start_of_a_fault_to_an_answer_to_what_was_asked_after_it),
        cmocka_unit_test(recovery_is_from_the_end_of_a_fault_to_half_the_rate_without_faults),
        cmocka_unit_test(who_never_comes_back_to_the_rate_is_counted),
        cmocka_unit_test(without_faultless_time_there_is_no_rate_to_recover_to),
        cmocka_unit_test(a_new_leader_is_looked_for_until_the_next_fault),
        cmocka_unit_test(where_none_leads_there_are_no_elections),
        cmocka_unit_test(percentiles_are_nearest_ranks_and_count_from_when_it_was_due),
        cmocka_unit_test(a_process_belongs_to_the_region_of_its_client),
        cmocka_unit_test(a_bucket_holds_what_it_says),
        cmocka_unit_test(costs_are_per_committed_operation),
        cmocka_unit_test(a_spread_is_of_the_sorted_values),
        cmocka_unit_test(a_run_that_was_not_done_has_no_figures),
        cmocka_unit_test(the_csv_is_a_line_per_target_seed_and_figure),
        cmocka_unit_test(the_table_breaks_where_it_would_be_too_wide),
        cmocka_unit_test(the_page_stands_alone_and_tells_what_is_not_valid),
        cmocka_unit_test(the_simulator_counts_what_operations_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
