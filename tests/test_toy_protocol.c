/* The protocol of docs/add-a-protocol.md, run in the simulator as any other: the harness finds it correct where nothing
 * goes wrong, and catches it losing data where something does, by the clients' history alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "harness/embedded.h"
#include "harness/run/run.h"
#include "targets/node/replica.h"
#include "tests/toy_primary_backup.h"

enum { CALM_SEEDS = 5, FAULT_SEEDS = 40, TIME_S = 30 };

/* The first of so many seeds for which the scenario is not valid, and why: 0: none. */
static uint64_t first_failure(const char *scenario, uint64_t seeds, bool invariants, char *why, size_t why_size) {
    const struct embedded_file *file = embedded_find(scenario);
    assert_non_null(file);
    struct runner *r = runner_new();
    uint64_t failed = 0;
    for (uint64_t seed = 1; seed <= seeds && !failed; seed++) {
        struct run_options o = {.scenario_name = scenario,
                                .scenario_text = bytes_of(file->text, file->size),
                                .target = "toy",
                                .world = "sim",
                                .mutant = "",
                                .seed = seed,
                                .time_ns = TIME_S * NS_PER_S,
                                .invariants = invariants};
        struct run_result result;
        struct error e = {{0}};
        int status = runner_run(r, &o, &result, &e);
        if (status) fail_msg("%s", e.text);
        assert_int_not_equal(result.verdict, VERDICT_UNKNOWN);
        if (result.verdict == VERDICT_INVALID) failed = seed;
        snprintf(why, why_size, "%s", result.why);
        run_result_free(&result);
    }
    runner_free(r);
    return failed;
}

static void expect_caught(const char *scenario, bool invariants, const char *by) {
    char why[512];
    uint64_t seed = first_failure(scenario, FAULT_SEEDS, invariants, why, sizeof why);
    print_message("%s: seed %llu: %s\n", scenario, (unsigned long long)seed, why);
    assert_int_not_equal(seed, 0);
    assert_non_null(strstr(why, by));
}

static void it_is_valid_while_nothing_goes_wrong(void **state) {
    (void)state;
    char why[512];
    uint64_t seed = first_failure("scenarios/calm.lua", CALM_SEEDS, true, why, sizeof why);
    if (seed) fail_msg("seed %llu: %s", (unsigned long long)seed, why);
}

static void a_power_loss_costs_answered_appends(void **state) {
    (void)state;
    expect_caught("scenarios/power-loss.lua", false, "append");
}

static void two_primaries_at_once_are_caught(void **state) {
    (void)state;
    expect_caught("scenarios/leader-isolation.lua", false, "linearizable");
}

static void what_holds_for_all_protocols_is_checked_for_it_too(void **state) {
    (void)state;
    expect_caught("scenarios/leader-isolation.lua", true, "invariants");
}

static char *whole_file(const char *path) {
    FILE *in = fopen(path, "r");
    if (!in) fail_msg("%s: cannot be opened", path);
    struct buffer b = {0};
    char part[4096];
    size_t n;
    while ((n = fread(part, 1, sizeof part, in)) > 0) buffer_append(&b, part, n);
    fclose(in);
    buffer_append(&b, "", 1);
    return (char *)b.data;
}

/* Each block of C in the document stands in the file that it is about, word by word. */
static void the_document_shows_the_code_that_runs(void **state) {
    (void)state;
    char *text = whole_file("docs/add-a-protocol.md"), *code = whole_file("tests/toy_primary_backup.c");
    size_t blocks = 0;
    for (char *at = text; (at = strstr(at, "```c\n")); blocks++) {
        char *begin = at + strlen("```c\n"), *end = strstr(begin, "```\n");
        assert_non_null(end);
        *end = 0;
        if (!strstr(code, begin)) fail_msg("this is not in the code:\n%s", begin);
        at = end + 1;
    }
    assert_true(blocks >= 5);
    free(text);
    free(code);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_valid_while_nothing_goes_wrong),
        cmocka_unit_test(a_power_loss_costs_answered_appends),
        cmocka_unit_test(two_primaries_at_once_are_caught),
        cmocka_unit_test(the_document_shows_the_code_that_runs),
        cmocka_unit_test(what_holds_for_all_protocols_is_checked_for_it_too),
    };
    protocol_add(&toy_primary_backup);
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
