/* The parts of the command line that need no world: options, near misses, what a scenario pins, and the pool of worker
 * processes. The commands themselves are tested end to end by cli.sh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness/cli/cli.h"

#include "base/clock.h"

/* --- options --- */

#define WORDS_MAX 16

/* Parses the words of `line`, which stay alive in `words` as long as c does. */
static int parse(struct cli *c, const char *command, const char *line, char *words, size_t size, struct error *e) {
    char *argv[WORDS_MAX], *rest = NULL;
    int argc = 0;
    bool help_asked;
    *c = (struct cli){.command = command_find(command)};
    assert_non_null(c->command);
    snprintf(words, size, "%s", line);
    for (char *w = strtok_r(words, " ", &rest); w; w = strtok_r(NULL, " ", &rest)) argv[argc++] = w;
    return options_parse(c, argc, argv, &help_asked, e);
}

static void options_come_in_every_usual_form(void **state) {
    (void)state;
    struct cli c;
    struct error e = {{0}};
    char words[256];
    assert_int_equal(parse(&c, "hunt", "x --seeds=3..9 -j4 --target raft --set a=1 --set b=c=d --set a=2 --keep-going",
                           words, sizeof words, &e),
                     0);
    assert_string_equal(c.arguments[0], "x");
    assert_int_equal(c.seeds.first, 3);
    assert_int_equal(c.seeds.last, 9);
    assert_int_equal(c.jobs, 4);
    assert_string_equal(c.target, "raft");
    assert_int_equal(c.sets_count, 2);
    assert_string_equal(c.sets[0].value, "2"); /* the last one wins */
    assert_string_equal(c.sets[1].value, "c=d");
    assert_true(c.keep_going);
}

static void expect_refused(const char *command, const char *line, const char *part) {
    struct cli c;
    struct error e = {{0}};
    char words[256];
    assert_int_equal(parse(&c, command, line, words, sizeof words, &e), -1);
    if (!strstr(e.text, part)) fail_msg("\"%s\" does not contain \"%s\"", e.text, part);
}

static void wrong_options_are_refused_with_a_hint(void **state) {
    (void)state;
    expect_refused("run", "x --sed 1", "did you mean --seed?");
    expect_refused("run", "x --seed", "needs a value");
    expect_refused("run", "x --seed -1", "cannot be \"-1\"");
    expect_refused("run", "x --seed 9223372036854775808", "cannot be");
    expect_refused("run", "x --json=yes", "takes no value");
    expect_refused("run", "x --time 0", "cannot be");
    expect_refused("run", "x --set novalue", "cannot be");
    expect_refused("run", "x --set =5", "cannot be");
    expect_refused("run", "x --without fire", "cannot be");
    expect_refused("run", "x y", "does not know what to do with \"y\"");
    expect_refused("run", "", "needs SCENARIO");
    expect_refused("run", "x --junit f", "does not take --junit");
    expect_refused("run", "x -z", "does not take -z");
    expect_refused("hunt", "x --seeds 9..3", "cannot be");
    expect_refused("hunt", "x --seeds a..b", "cannot be");
    expect_refused("hunt", "x -j 0", "cannot be");
    expect_refused("hunt", "x -j 100000", "cannot be");
}

static void seconds_are_exact(void **state) {
    (void)state;
    uint64_t ns = 0;
    assert_int_equal(parse_seconds("0.1", &ns), 0);
    assert_int_equal(ns, 100000000);
    assert_int_equal(parse_seconds("60s", &ns), 0);
    assert_int_equal(ns, 60 * NS_PER_S);
    assert_int_equal(parse_seconds("1.0000000019", &ns), 0);
    assert_int_equal(ns, NS_PER_S + 1);
    assert_int_equal(parse_seconds("", &ns), -1);
    assert_int_equal(parse_seconds("1m", &ns), -1);
    assert_int_equal(parse_seconds("99999999999999999999", &ns), -1);
}

static void near_misses_are_found_and_far_ones_are_not(void **state) {
    (void)state;
    const char *names[] = {"run", "replay", "report", "scenarios"};
    assert_string_equal(nearest("scenario", names, 4), "scenarios");
    assert_string_equal(nearest("reply", names, 4), "replay");
    assert_string_equal(nearest("rep", names, 4), "replay");
    assert_null(nearest("xyzzy", names, 4));
}

/* --- pragmas --- */

static void a_scenario_can_pin_its_run_and_the_command_line_stands_over_it(void **state) {
    (void)state;
    const char *text = "-- found long ago\n-- harrow: --seed 7 --time 2.5 --set clients=4\n"
                       "-- harrow: --set keys=2 --without clock\nreturn {}\n";
    struct source s;
    struct error e = {{0}};
    assert_int_equal(cli_source_of_text(&s, "x.lua", bytes_str(text), &e), 0);
    struct cli c = {.command = command_find("run"), .sets = {{"clients", "9"}}, .sets_count = 1};
    struct script_set sets[2 * SETS_MAX];
    struct run_options o;
    bool seed_known;
    cli_source_options(&s, &c, sets, &o, &seed_known);
    assert_true(seed_known);
    assert_int_equal(o.seed, 7);
    assert_int_equal(o.time_ns, 2500 * NS_PER_MS);
    assert_int_equal(o.without, 1u << FAULT_CLOCK);
    assert_int_equal(o.sets_count, 2);
    assert_string_equal(o.sets[0].key, "keys");
    assert_string_equal(o.sets[1].value, "9");
    c.given = OPTION_BIT(OPTION_SEED);
    c.seed = 8;
    cli_source_options(&s, &c, sets, &o, &seed_known);
    assert_int_equal(o.seed, 8);
    cli_source_free(&s);
}

static void a_wrong_pragma_is_an_error_that_names_the_file(void **state) {
    (void)state;
    struct source s;
    struct error e = {{0}};
    assert_int_equal(cli_source_of_text(&s, "x.lua", bytes_str("-- harrow: --sede 7\n"), &e), -1);
    assert_non_null(strstr(e.text, "x.lua"));
    assert_non_null(strstr(e.text, "--seed"));
}

/* --- the pool --- */

struct seen {
    uint64_t count, sum, failures, crashes, lowest_failure;
    uint64_t fails_at, crashes_at; /* index; UINT64_MAX: never */
    useconds_t work_us;
};

static struct seen nothing_seen(void) {
    return (struct seen){.lowest_failure = UINT64_MAX, .fails_at = UINT64_MAX, .crashes_at = UINT64_MAX};
}

static void pool_work(void *ctx, uint64_t index, const volatile sig_atomic_t *interrupted, struct pool_report *out) {
    const struct seen *s = ctx;
    if (index == s->crashes_at) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, SIG_DFL); /* a test runner may catch it */
        abort();
    }
    for (useconds_t t = 0; t < s->work_us && !*interrupted; t += 1000) usleep(1000);
    out->interrupted = *interrupted;
    out->verdict = index >= s->fails_at ? VERDICT_INVALID : VERDICT_VALID;
}

static void pool_seen(void *ctx, const struct pool_report *r) {
    struct seen *s = ctx;
    if (r->interrupted) return;
    s->count++;
    s->sum += r->index;
    s->crashes += r->crashed;
    if (!pool_failed(r)) return;
    s->failures++;
    if (r->index < s->lowest_failure) s->lowest_failure = r->index;
}

static struct pool pool_over(struct seen *s, uint32_t jobs, uint64_t count, bool stop) {
    return (struct pool){
        .jobs = jobs, .count = count, .stop_at_failure = stop, .work = pool_work, .on_report = pool_seen, .ctx = s};
}

static void every_index_is_worked_on_once(void **state) {
    (void)state;
    struct seen s = nothing_seen();
    struct pool p = pool_over(&s, 3, 1000, false);
    struct error e;
    assert_int_equal(pool_run(&p, &e), 0);
    assert_int_equal(s.count, 1000);
    assert_int_equal(s.sum, 999 * 1000 / 2);
}

static void the_lowest_failing_index_is_the_one_that_counts(void **state) {
    (void)state;
    for (uint32_t jobs = 1; jobs <= 4; jobs++) {
        struct seen s = nothing_seen();
        s.fails_at = 17;
        s.work_us = 2000;
        struct pool p = pool_over(&s, jobs, SEED_MAX, true);
        struct error e;
        assert_int_equal(pool_run(&p, &e), 0);
        assert_int_equal(s.lowest_failure, 17);
        assert_true(s.count >= 18 && s.count <= 18 + jobs);
    }
}

static void a_worker_that_dies_is_a_result_and_the_others_go_on(void **state) {
    (void)state;
    struct seen s = nothing_seen();
    s.crashes_at = 5;
    struct pool p = pool_over(&s, 2, 100, false);
    struct error e;
    assert_int_equal(pool_run(&p, &e), 0);
    assert_int_equal(s.crashes, 1);
    assert_int_equal(s.lowest_failure, 5);
    assert_int_equal(s.count, 100);
}

static void a_deadline_ends_a_pool_without_end(void **state) {
    (void)state;
    struct seen s = nothing_seen();
    s.work_us = 1000;
    struct pool p = pool_over(&s, 2, SEED_MAX, true);
    p.deadline_wall_ns = monotonic_ns() + 100 * NS_PER_MS;
    struct error e;
    assert_int_equal(pool_run(&p, &e), 0);
    assert_true(s.count > 0);
    assert_int_equal(s.failures, 0);
}

static void an_interrupt_ends_a_pool(void **state) {
    (void)state;
    struct seen s = nothing_seen();
    s.work_us = 60000000;
    struct pool p = pool_over(&s, 2, SEED_MAX, true);
    struct error e;
    cli_interrupted = 1;
    assert_int_equal(pool_run(&p, &e), 0);
    cli_interrupted = 0;
    assert_int_equal(s.count, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_come_in_every_usual_form),
        cmocka_unit_test(wrong_options_are_refused_with_a_hint),
        cmocka_unit_test(seconds_are_exact),
        cmocka_unit_test(near_misses_are_found_and_far_ones_are_not),
        cmocka_unit_test(a_scenario_can_pin_its_run_and_the_command_line_stands_over_it),
        cmocka_unit_test(a_wrong_pragma_is_an_error_that_names_the_file),
        cmocka_unit_test(every_index_is_worked_on_once),
        cmocka_unit_test(the_lowest_failing_index_is_the_one_that_counts),
        cmocka_unit_test(a_worker_that_dies_is_a_result_and_the_others_go_on),
        cmocka_unit_test(a_deadline_ends_a_pool_without_end),
        cmocka_unit_test(an_interrupt_ends_a_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
