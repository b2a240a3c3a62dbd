/* The run loop against a fake world: what is invoked when, which process does it, what each phase does, and how checks
 * become one verdict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "harness/run/run_internal.h"
#include "tests/fake_world.h"

static const struct world_maker fakes = {.make = fake_make, .reset = fake_reset};

/* --- a generator that a test can follow --- */

struct steady { /* one operation every `every_ns` (0: as soon as a client is free), at most `limit` */
    struct generator base;
    uint64_t every_ns;
    uint32_t limit, issued, invocations, completions;
    uint16_t f;
    bool fails, picks_busy;
    uint32_t asked_with_none_free;
};

static enum gen_state steady_peek(struct generator *g, const struct gen_context *c, uint64_t *due_ns, struct error *e) {
    struct steady *s = (struct steady *)g;
    if (c->free_clients == 0) s->asked_with_none_free++;
    if (s->fails) {
        error_set(e, "x.lua:3: no");
        return GEN_FAILED;
    }
    if (s->issued == s->limit) return GEN_DONE;
    *due_ns = s->every_ns ? (s->issued + 1) * s->every_ns : c->now_ns;
    return GEN_READY;
}

static int steady_take(struct generator *g, const struct gen_context *c, struct gen_op *op, struct error *e) {
    (void)e;
    struct steady *s = (struct steady *)g;
    while (op->client < c->clients && c->busy[op->client] != s->picks_busy) op->client++;
    op->f = s->f;
    op->key = history_intern(c->history, "k0");
    op->argument = s->f == OP_READ ? VALUE_OF_NIL : VALUE_OF_INT(s->issued);
    op->intended_ns = s->every_ns ? (s->issued + 1) * s->every_ns : c->now_ns;
    s->issued++;
    return 0;
}

static int steady_update(struct generator *g, const struct gen_context *c, const struct gen_event *ev,
                         struct error *e) {
    (void)c;
    (void)e;
    struct steady *s = (struct steady *)g;
    if (ev->completion)
        s->completions++;
    else
        s->invocations++;
    return 0;
}

static const struct generator_ops steady_ops = {.peek = steady_peek, .take = steady_take, .update = steady_update};

static struct steady closed_loop(uint32_t limit) {
    return (struct steady){.base = {&steady_ops}, .limit = limit, .f = OP_WRITE};
}

/* --- a runner with a scenario made by hand --- */

struct bench {
    struct runner *r;
    struct fake *fake;
    struct run_options options;
    struct scenario scenario;
    struct run_result result;
};

static struct bench set_up(uint32_t clients) {
    struct bench b = {
        .options = {.scenario_name = "x.lua", .target = "raft", .world = "sim", .mutant = "", .invariants = true},
        .scenario = {.name = "x", .settle_ns = 2 * NS_PER_S, .min_ops = 1, .world = {.nodes = 3, .clients = clients}},
    };
    struct error e;
    b.scenario.world.target = "raft";
    b.r = runner_new_on(&fakes);
    b.r->world = fake_make(&b.scenario.world, loop_host(b.r), &e);
    b.fake = fake_of(b.r->world);
    b.r->time_ns = NS_PER_S;
    loop_reset(b.r, clients);
    return b;
}

static void connect(struct bench *b) { /* a struct returned by value has moved */
    b->r->options = &b->options;
    b->r->scenario = &b->scenario;
}

static void run(struct bench *b, struct steady *workload, struct steady *final_reads) {
    connect(b);
    b->r->workload = workload ? &workload->base : NULL;
    b->r->final_reads = final_reads ? &final_reads->base : NULL;
    phases_run(b->r);
    judge(b->r, &b->result);
}

static void tear_down(struct bench *b) {
    run_result_free(&b->result);
    runner_free(b->r);
}

static const struct check_result *check_named(const struct bench *b, const char *name) {
    for (size_t i = 0; i < b->result.checks_count; i++)
        if (strcmp(b->result.checks[i].name, name) == 0) return &b->result.checks[i];
    fail_msg("no check is named %s", name);
    return NULL;
}

static void assert_contains(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("\"%s\" does not contain \"%s\"", text, part);
}

/* --- the loop --- */

static void completions_are_taken_before_invocations_of_the_same_instant(void **state) {
    (void)state;
    struct bench b = set_up(8);
    struct steady g = closed_loop(UINT32_MAX); /* every client's operation ends at the same instants */
    run(&b, &g, NULL);
    assert_int_equal(b.fake->submits_before_completions, 0);
    assert_int_equal(b.fake->open_max, 8);
    assert_true(b.r->history->count >= 8 * 99);
    assert_int_equal(g.invocations, b.r->history->count);
    tear_down(&b);
}

static void what_the_world_counts_is_told_of_the_main_phase_alone(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(5), reads = closed_loop(3);
    reads.f = OP_READ;
    run(&b, &g, &reads);
    assert_int_equal(b.fake->submits, 8);
    assert_int_equal(b.result.counters.messages, 2 * 5);
    assert_true(b.result.counters.syncs == COUNT_UNKNOWN);
    assert_int_equal(b.result.main_ns, b.r->main_end_ns);
    assert_int_equal(b.result.clients, 2);
    tear_down(&b);
}

static void the_generator_is_not_asked_while_no_client_is_free(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(UINT32_MAX);
    run(&b, &g, NULL);
    assert_int_equal(g.asked_with_none_free, 0);
    tear_down(&b);
}

static void open_loop_operations_keep_their_intended_time(void **state) {
    (void)state;
    struct bench b = set_up(1);
    struct steady g = closed_loop(UINT32_MAX);
    g.every_ns = NS_PER_MS; /* ten times faster than the one client can be */
    run(&b, &g, NULL);
    const struct history *h = b.r->history;
    assert_true(h->count >= 99);
    for (uint32_t op = 0; op < h->count; op++) {
        assert_int_equal(h->intended_ns[op], (op + 1) * NS_PER_MS);
        assert_int_equal(h->invoke_ns[op], NS_PER_MS + op * 10 * NS_PER_MS);
    }
    tear_down(&b);
}

static struct fake_answer third_is_info(struct fake *f, const struct history *h, uint32_t op) {
    (void)f;
    (void)h;
    return (struct fake_answer){op == 2 ? OP_INFO : OP_OK, 10 * NS_PER_MS};
}

static void an_info_ends_a_process_and_its_slot_goes_on_as_another(void **state) {
    (void)state;
    struct bench b = set_up(3);
    struct steady g = closed_loop(9);
    b.fake->answer = third_is_info;
    run(&b, &g, NULL);
    const uint32_t expected[] = {0, 1, 2, 0, 1, 5, 0, 1, 5};
    for (uint32_t op = 0; op < 9; op++) assert_int_equal(b.r->history->process[op], expected[op]);
    assert_int_equal(b.r->history->node[5], 2); /* the slot is still the third */
    tear_down(&b);
}

static void a_workload_that_is_over_ends_the_main_phase(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(4);
    run(&b, &g, NULL);
    assert_int_equal(b.r->main_end_ns, 20 * NS_PER_MS);
    assert_int_equal(b.result.ops_ok, 4);
    tear_down(&b);
}

static void an_operation_for_a_busy_client_is_an_internal_error(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(4);
    connect(&b);
    g.picks_busy = true;
    loop_run(b.r, &g.base, NS_PER_S, false);
    assert_int_equal(b.r->halt, HALT_BROKEN);
    assert_contains(b.r->failure.text, "client");
    tear_down(&b);
}

static void a_failing_generator_ends_the_run(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(4);
    connect(&b);
    g.fails = true;
    loop_run(b.r, &g.base, NS_PER_S, false);
    assert_int_equal(b.r->halt, HALT_SCRIPT);
    assert_string_equal(b.r->failure.text, "x.lua:3: no");
    tear_down(&b);
}

static struct fake_answer at_once(struct fake *f, const struct history *h, uint32_t op) {
    (void)f;
    (void)h;
    (void)op;
    return (struct fake_answer){OP_OK, 0};
}

static void time_that_stands_still_is_an_error_not_a_hang(void **state) {
    (void)state;
    struct bench b = set_up(1);
    struct steady g = closed_loop(UINT32_MAX);
    connect(&b);
    b.fake->answer = at_once;
    loop_run(b.r, &g.base, NS_PER_S, false);
    assert_int_equal(b.r->halt, HALT_SCRIPT);
    assert_contains(b.r->failure.text, "time stands still");
    tear_down(&b);
}

static void a_broken_world_is_an_internal_error(void **state) {
    (void)state;
    struct bench b = set_up(1);
    connect(&b);
    b.fake->breaks = true;
    loop_run(b.r, NULL, NS_PER_S, false);
    assert_int_equal(b.r->halt, HALT_BROKEN);
    tear_down(&b);
}

/* --- phases --- */

static void final_reads_come_after_recovery_and_are_marked(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(UINT32_MAX), reads = closed_loop(3);
    reads.f = OP_READ;
    b.fake->whole_at_ns = NS_PER_S + 500 * NS_PER_MS;
    run(&b, &g, &reads);
    const struct history *h = b.r->history;
    uint32_t marked = 0;
    for (uint32_t op = 0; op < h->count; op++) {
        marked += h->final_phase[op];
        if (h->final_phase[op]) assert_true(h->invoke_ns[op] >= b.fake->whole_at_ns);
        if (!h->final_phase[op]) assert_true(h->invoke_ns[op] < NS_PER_S);
    }
    assert_int_equal(marked, 3);
    assert_int_equal(check_named(&b, "recovers")->verdict, VERDICT_VALID);
    assert_int_equal(b.result.verdict, VERDICT_VALID);
    tear_down(&b);
}

static struct fake_answer first_two_reads_fail(struct fake *f, const struct history *h, uint32_t op) {
    if (h->f[op] != OP_READ) return (struct fake_answer){OP_OK, 10 * NS_PER_MS};
    uint32_t *reads = f->test;
    return (struct fake_answer){(*reads)++ < 2 ? OP_INFO : OP_OK, 10 * NS_PER_MS};
}

static void final_reads_that_fail_are_tried_again(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(4), reads = closed_loop(3);
    uint32_t seen = 0;
    reads.f = OP_READ;
    b.fake->answer = first_two_reads_fail;
    b.fake->test = &seen;
    run(&b, &g, &reads);
    assert_int_equal(seen, 5);
    assert_int_equal(b.result.ops_ok, 4 + 3);
    assert_int_equal(b.result.verdict, VERDICT_VALID);
    tear_down(&b);
}

static struct fake_answer reads_never_end_ok(struct fake *f, const struct history *h, uint32_t op) {
    (void)f;
    return (struct fake_answer){h->f[op] == OP_READ ? OP_FAIL : OP_OK, 10 * NS_PER_MS};
}

static void final_reads_that_never_succeed_are_a_loss_of_liveness(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(4), reads = closed_loop(3);
    reads.f = OP_READ;
    b.fake->answer = reads_never_end_ok;
    run(&b, &g, &reads);
    assert_int_equal(check_named(&b, "recovers")->verdict, VERDICT_INVALID);
    assert_contains(check_named(&b, "recovers")->detail, "3 final reads");
    assert_int_equal(b.result.ops_fail, 3 * 5);
    tear_down(&b);
}

static void expect_not_recovered(void (*spoil)(struct fake *f), const char *missing) {
    struct bench b = set_up(2);
    struct steady g = closed_loop(4);
    spoil(b.fake);
    run(&b, &g, NULL);
    assert_int_equal(b.result.verdict, VERDICT_INVALID);
    assert_int_equal(check_named(&b, "recovers")->verdict, VERDICT_INVALID);
    assert_contains(check_named(&b, "recovers")->detail, missing);
    assert_contains(b.result.why, missing);
    tear_down(&b);
}

static void spoil_down(struct fake *f) {
    f->nodes[1].up = false;
}
static void spoil_paused(struct fake *f) {
    f->nodes[1].paused = true;
}
static void spoil_no_leader(struct fake *f) {
    f->nodes[0].role = ROLE_CANDIDATE;
}
static void spoil_two_leaders(struct fake *f) {
    f->nodes[1].role = ROLE_LEADER;
}
static void spoil_unknown_leader(struct fake *f) {
    f->nodes[1].leader = NODE_UNKNOWN;
}
static void spoil_lag(struct fake *f) {
    f->nodes[2].applied_index = 7;
}
static void spoil_state(struct fake *f) {
    f->nodes[2].state_hash = 7;
}

static void a_cluster_that_does_not_become_whole_is_invalid_and_says_why(void **state) {
    (void)state;
    expect_not_recovered(spoil_down, "n2 is down");
    expect_not_recovered(spoil_paused, "n2 is paused");
    expect_not_recovered(spoil_no_leader, "no leader");
    expect_not_recovered(spoil_two_leaders, "2 nodes");
    expect_not_recovered(spoil_unknown_leader, "n2 does not follow the leader n1");
    expect_not_recovered(spoil_lag, "n3 has 9 entries and applied 7");
    expect_not_recovered(spoil_state, "n3 and n1");
}

static struct fake_answer slow(struct fake *f, const struct history *h, uint32_t op) {
    (void)f;
    (void)h;
    (void)op;
    return (struct fake_answer){OP_INFO, 5 * NS_PER_S};
}

static void operations_open_at_the_end_are_awaited(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(UINT32_MAX);
    b.fake->answer = slow;
    run(&b, &g, NULL);
    assert_int_equal(b.result.ops_info, 2);
    for (uint32_t op = 0; op < 2; op++) assert_int_equal(b.r->history->status[op], OP_INFO);
    assert_int_equal(check_named(&b, "recovers")->verdict, VERDICT_VALID);
    tear_down(&b);
}

/* --- verdicts --- */

static void an_invariant_ends_the_run_and_decides_though_the_load_is_low(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(UINT32_MAX);
    b.fake->violation_at_ns = 100 * NS_PER_MS;
    b.scenario.min_ops = 500;
    run(&b, &g, NULL);
    assert_int_equal(b.result.verdict, VERDICT_INVALID);
    assert_string_equal(run_deciding_check(&b.result)->name, "invariants");
    assert_contains(b.result.why, "one-leader: n1 and n2 both lead term 7");
    assert_int_equal(check_named(&b, "load")->verdict, VERDICT_UNKNOWN);
    assert_int_equal(check_named(&b, "recovers")->verdict, VERDICT_UNKNOWN);
    assert_true(b.result.virtual_seconds < 0.2);
    tear_down(&b);
}

static void without_invariants_there_is_no_such_check(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(4);
    b.options.invariants = false;
    run(&b, &g, NULL);
    for (size_t i = 0; i < b.result.checks_count; i++) assert_string_not_equal(b.result.checks[i].name, "invariants");
    tear_down(&b);
}

static void a_starved_run_is_unknown(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(4);
    b.scenario.min_ops = 5;
    run(&b, &g, NULL);
    assert_int_equal(b.result.verdict, VERDICT_UNKNOWN);
    assert_string_equal(run_deciding_check(&b.result)->name, "load");
    tear_down(&b);
}

static void a_fault_without_effect_makes_the_run_unknown(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(4);
    uint32_t fault = history_fault_start(b.r->history, 0, "cut", "n1 | n2", "#ff0000");
    history_fault_end(b.r->history, fault, 0, 0, 0);
    run(&b, &g, NULL);
    assert_int_equal(b.result.verdict, VERDICT_UNKNOWN);
    assert_string_equal(run_deciding_check(&b.result)->name, "faults");
    assert_contains(b.result.why, "cut");
    tear_down(&b);
}

static void an_interrupted_run_is_unknown(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(UINT32_MAX);
    static volatile sig_atomic_t interrupted = 1;
    b.options.interrupted = &interrupted;
    run(&b, &g, NULL);
    assert_int_equal(b.r->halt, HALT_INTERRUPTED);
    assert_int_equal(b.result.verdict, VERDICT_UNKNOWN);
    assert_contains(b.result.why, "interrupted");
    tear_down(&b);
}

static void a_check_with_an_unknown_model_is_unknown_itself(void **state) {
    (void)state;
    struct bench b = set_up(2);
    struct steady g = closed_loop(4);
    struct scenario_check check = {.kind = CHECK_LINEARIZABLE, .name = "linearizable", .model = "no-such"};
    b.scenario.checks = &check;
    b.scenario.checks_count = 1;
    run(&b, &g, NULL);
    assert_int_equal(b.result.verdict, VERDICT_UNKNOWN);
    assert_contains(b.result.why, "no-such");
    tear_down(&b);
}

static void invalid_stands_over_unknown_in_any_order(void **state) {
    (void)state;
    struct check_result checks[] = {
        {.name = "a", .verdict = VERDICT_VALID, .detail = "1"},
        {.name = "b", .verdict = VERDICT_UNKNOWN, .detail = "2"},
        {.name = "c", .verdict = VERDICT_INVALID, .detail = "3"},
        {.name = "d", .verdict = VERDICT_INVALID, .detail = "4"},
    };
    struct run_result r = {.checks = checks, .checks_count = 4};
    assert_string_equal(run_deciding_check(&r)->name, "c");
    r.checks_count = 2;
    assert_string_equal(run_deciding_check(&r)->name, "b");
    r.checks_count = 1;
    assert_null(run_deciding_check(&r));
}

/* --- whole runs --- */

/* Runs the text of a scenario on the fake world; the history stays with the runner. */
static int run_text(struct runner *r, const char *text, struct run_options o, struct run_result *result,
                    struct error *e) {
    o.scenario_name = "x.lua";
    o.scenario_text = bytes_str(text);
    if (!o.target) o.target = "raft";
    o.world = o.world ? o.world : "sim";
    o.mutant = "";
    o.invariants = true;
    return runner_run(r, &o, result, e);
}

static const char with_kills[] = "return { nodes = 3, time = 5, min_ops = 1, checks = { latency { p99 = 1 } },\n"
                                 "  workload = register { clients = 2, rate = 50 },\n"
                                 "  nemesis = function(cluster)\n"
                                 "    sleep(1) cluster:kill(2) sleep(1) cluster:heal()\n"
                                 "  end }\n";

static void a_scenario_runs_from_its_text_to_a_verdict_again_and_again(void **state) {
    (void)state;
    struct runner *r = runner_new_on(&fakes);
    uint64_t ops = 0;
    for (uint64_t i = 0; i < 3; i++) {
        struct run_result result;
        struct error e = {{0}};
        assert_int_equal(run_text(r, with_kills, (struct run_options){.seed = 1}, &result, &e), 0);
        assert_int_equal(result.faults, 1);
        assert_int_equal(result.fault_kinds, 1u << FAULT_KILL);
        if (i == 0) ops = result.ops_ok;
        assert_int_equal(result.ops_ok, ops); /* a used runner is as good as a new one */
        assert_int_equal(result.virtual_seconds, 5);
        run_result_free(&result);
    }
    runner_free(r);
}

static void a_kind_of_fault_left_out_never_reaches_the_world_and_is_not_judged(void **state) {
    (void)state;
    struct runner *r = runner_new_on(&fakes);
    struct run_result result;
    struct error e = {{0}};
    assert_int_equal(run_text(r, with_kills, (struct run_options){.without = 1u << FAULT_KILL}, &result, &e), 0);
    assert_int_equal(fake_of(r->world)->faults_begun, 0);
    assert_int_equal(fake_of(r->world)->faults_ended, 0);
    assert_int_equal(result.faults, 1);
    bool told = false;
    for (size_t i = 0; i < result.checks_count; i++)
        told |= strcmp(result.checks[i].name, "faults") == 0 && strstr(result.checks[i].detail, "--without");
    assert_true(told);
    run_result_free(&result);
    runner_free(r);
}

static void faults_in_force_at_the_end_are_ended_before_settling(void **state) {
    (void)state;
    struct runner *r = runner_new_on(&fakes);
    struct run_result result;
    struct error e = {{0}};
    const char *text = "return { nodes = 3, time = 5, min_ops = 1, workload = register { rate = 50 },\n"
                       "  nemesis = function(cluster) cluster:kill(2) sleep(1000) end }\n";
    assert_int_equal(run_text(r, text, (struct run_options){.seed = 1}, &result, &e), 0);
    assert_int_equal(fake_of(r->world)->faults_ended, 1);
    assert_int_equal(r->history->faults[0].end_ns, 5 * NS_PER_S);
    run_result_free(&result);
    runner_free(r);
}

static void operations_of_a_lua_workload_come_at_their_times(void **state) {
    (void)state;
    struct runner *r = runner_new_on(&fakes);
    struct run_result result;
    struct error e = {{0}};
    const char *text = "return { nodes = 3, time = 60, min_ops = 1, checks = { linearizable('register') },\n"
                       "  workload = generator { clients = 2, gen.phases(gen.sleep(2),\n"
                       "    gen.limit(30, gen.stagger(0.1, function() return { f = 'read', key = 'a' } end))) } }\n";
    assert_int_equal(run_text(r, text, (struct run_options){.seed = 1}, &result, &e), 0);
    assert_int_equal(r->history->count, 30);
    assert_true(r->history->invoke_ns[0] >= 2 * NS_PER_S);
    assert_true(r->main_end_ns > 3 * NS_PER_S && r->main_end_ns < 15 * NS_PER_S);
    run_result_free(&result);
    runner_free(r);
}

/* In the simulator: a hunt's runs on one runner must be those that `harrow run` makes alone. */
static uint64_t trace_of(struct runner *r, struct bytes text, uint64_t seed) {
    struct run_result result;
    struct error e = {{0}};
    struct run_options o = {.scenario_name = "swarm",
                            .scenario_text = text,
                            .target = "raft",
                            .world = "sim",
                            .mutant = "",
                            .seed = seed,
                            .time_ns = 5 * NS_PER_S,
                            .invariants = true};
    if (runner_run(r, &o, &result, &e)) fail_msg("%s", e.text);
    uint64_t trace = hash_mix(result.trace_hash, result.ops_ok);
    run_result_free(&result);
    return trace;
}

static void a_used_runner_gives_the_trace_of_a_new_one(void **state) {
    (void)state;
    char *name = NULL;
    struct bytes text;
    struct error e = {{0}};
    if (script_find("swarm", &name, &text, &e)) fail_msg("%s", e.text);
    struct runner *used = runner_new();
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct runner *fresh = runner_new();
        assert_int_equal(trace_of(used, text, seed), trace_of(fresh, text, seed));
        runner_free(fresh);
    }
    runner_free(used);
    free(name);
    free((void *)(uintptr_t)text.data);
}

static void bad_scenarios_and_options_are_refused_with_254(void **state) {
    (void)state;
    struct runner *r = runner_new_on(&fakes);
    struct run_result result;
    struct error e = {{0}};
    assert_int_equal(run_text(r, "return {\n nodes = = 3 }", (struct run_options){0}, &result, &e), 254);
    assert_contains(e.text, "x.lua:2");
    assert_int_equal(run_text(r, with_kills, (struct run_options){.target = "etcd"}, &result, &e), 254);
    assert_contains(e.text, "etcd");
    assert_int_equal(run_text(r, with_kills, (struct run_options){.world = "local"}, &result, &e), 254);
    assert_contains(e.text, "local");
    const char *fails = "return { nodes = 3, time = 5, workload = register {},\n nemesis = function(c) sleep(1)\n"
                        " c:nonsense() end }";
    assert_int_equal(run_text(r, fails, (struct run_options){0}, &result, &e), 254);
    assert_contains(e.text, "x.lua:3");
    const char *filters = "return { nodes = 3, time = 5, workload = register {},\n nemesis = function(c)\n"
                          " c:start(network.loss { filter = 'tcp port 7400' }) end }";
    assert_int_equal(run_text(r, filters, (struct run_options){0}, &result, &e), 254);
    assert_contains(e.text, "x.lua filters what a link fault hits");
    assert_int_equal(run_text(r, with_kills, (struct run_options){0}, &result, &e), 0); /* and the runner lives on */
    run_result_free(&result);
    runner_free(r);
}

/* --- results --- */

static void the_replay_command_is_exact_and_safe_for_a_shell(void **state) {
    (void)state;
    const struct script_set sets[] = {{"clients", "4"}, {"who", "it's me"}};
    struct run_options o = {
        .scenario_name = "my scenarios/x.lua",
        .target = "raft",
        .world = "sim",
        .mutant = "raft/no-vote-fsync",
        .seed = 9007199254740993u,
        .time_ns = 2500 * NS_PER_MS,
        .sets = sets,
        .sets_count = 2,
        .without = 1u << FAULT_CLOCK | 1u << FAULT_LINK,
    };
    struct buffer text = {0};
    run_replay_command(&o, &text);
    assert_string_equal((const char *)text.data,
                        "harrow run 'my scenarios/x.lua' --target raft --seed 9007199254740993 --time 2.5 "
                        "--mutant raft/no-vote-fsync --set clients=4 --set 'who=it'\\''s me' --without link,clock "
                        "--no-invariants");
    buffer_free(&text);
}

static void checks_come_back_from_their_rows(void **state) {
    (void)state;
    uint32_t ops[] = {3, 17};
    struct check_result checks[] = {
        {.name = "linearizable",
         .verdict = VERDICT_INVALID,
         .detail = "key k0",
         .explanation = "one\ntwo",
         .ops = ops,
         .ops_count = 2},
        {.name = "load", .verdict = VERDICT_UNKNOWN, .detail = "few"},
    };
    struct check_row *rows = run_check_rows(checks, 2);
    struct check_result *back = run_checks_of_rows(rows, 2);
    assert_string_equal(back[0].detail, "key k0");
    assert_string_equal(back[0].explanation, "one\ntwo");
    assert_int_equal(back[0].ops_count, 2);
    assert_int_equal(back[0].ops[1], 17);
    assert_int_equal(back[1].verdict, VERDICT_UNKNOWN);
    assert_null(back[1].explanation);
    check_rows_free(rows, 2);
    run_checks_free(back, 2);
}

static void the_model_is_the_smallest_that_knows_every_operation(void **state) {
    (void)state;
    struct history *h = history_new();
    uint32_t key = history_intern(h, "k");
    const struct {
        uint16_t f;
        const char *model;
    } steps[] = {{OP_READ, "register"}, {OP_WRITE, "register"}, {OP_CAS, "cas-register"}, {OP_ADD, "kv"}};
    for (uint32_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        history_invoke(h, i, i, i, 0, steps[i].f, key, VALUE_OF_NIL);
        assert_string_equal(run_model_for(h), steps[i].model);
    }
    history_invoke(h, 9, 9, 9, 0, OP_TXN, key, VALUE_OF_NIL);
    assert_null(run_model_for(h));
    history_free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(completions_are_taken_before_invocations_of_the_same_instant),
        cmocka_unit_test(what_the_world_counts_is_told_of_the_main_phase_alone),
        cmocka_unit_test(the_generator_is_not_asked_while_no_client_is_free),
        cmocka_unit_test(open_loop_operations_keep_their_intended_time),
        cmocka_unit_test(an_info_ends_a_process_and_its_slot_goes_on_as_another),
        cmocka_unit_test(a_workload_that_is_over_ends_the_main_phase),
        cmocka_unit_test(an_operation_for_a_busy_client_is_an_internal_error),
        cmocka_unit_test(a_failing_generator_ends_the_run),
        cmocka_unit_test(time_that_stands_still_is_an_error_not_a_hang),
        cmocka_unit_test(a_broken_world_is_an_internal_error),
        cmocka_unit_test(final_reads_come_after_recovery_and_are_marked),
        cmocka_unit_test(final_reads_that_fail_are_tried_again),
        cmocka_unit_test(final_reads_that_never_succeed_are_a_loss_of_liveness),
        cmocka_unit_test(a_cluster_that_does_not_become_whole_is_invalid_and_says_why),
        cmocka_unit_test(operations_open_at_the_end_are_awaited),
        cmocka_unit_test(an_invariant_ends_the_run_and_decides_though_the_load_is_low),
        cmocka_unit_test(without_invariants_there_is_no_such_check),
        cmocka_unit_test(a_starved_run_is_unknown),
        cmocka_unit_test(a_fault_without_effect_makes_the_run_unknown),
        cmocka_unit_test(an_interrupted_run_is_unknown),
        cmocka_unit_test(a_check_with_an_unknown_model_is_unknown_itself),
        cmocka_unit_test(invalid_stands_over_unknown_in_any_order),
        cmocka_unit_test(a_scenario_runs_from_its_text_to_a_verdict_again_and_again),
        cmocka_unit_test(a_kind_of_fault_left_out_never_reaches_the_world_and_is_not_judged),
        cmocka_unit_test(faults_in_force_at_the_end_are_ended_before_settling),
        cmocka_unit_test(operations_of_a_lua_workload_come_at_their_times),
        cmocka_unit_test(a_used_runner_gives_the_trace_of_a_new_one),
        cmocka_unit_test(bad_scenarios_and_options_are_refused_with_254),
        cmocka_unit_test(the_replay_command_is_exact_and_safe_for_a_shell),
        cmocka_unit_test(checks_come_back_from_their_rows),
        cmocka_unit_test(the_model_is_the_smallest_that_knows_every_operation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
