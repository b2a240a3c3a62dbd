/* The library of checkers through its public header: histories recorded by hand and imported, checks by name and by
 * guess, and an error for whatever makes no sense. */
#include "checkers/harrow-check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void record(harrow_history *h, uint64_t begin_ns, uint32_t process, const char *function, const char *argument,
                   const char *status, const char *result) {
    int64_t op = harrow_history_invoke(h, begin_ns, process, function, "x", argument);
    if (op < 0) fail_msg("%s", harrow_history_error(h));
    assert_int_equal(harrow_history_complete(h, begin_ns + 5, op, status, result), 0);
}

static void expect_verdict(harrow_history *h, const char *check, harrow_verdict verdict, const char *by) {
    harrow_result *r = harrow_check(h, check, NULL);
    if (!r) fail_msg("%s", harrow_history_error(h));
    assert_int_equal(harrow_result_verdict(r), verdict);
    assert_string_equal(harrow_result_check(r), by);
    assert_true(*harrow_result_detail(r));
    assert_int_equal(*harrow_result_explanation(r) != 0, verdict == HARROW_INVALID);
    harrow_result_free(r);
}

static void a_history_by_hand_is_judged(void **state) {
    (void)state;
    harrow_history *h = harrow_history_new();
    record(h, 10, 0, "write", "1", "ok", NULL);
    record(h, 20, 1, "read", NULL, "ok", "1");
    assert_int_equal(harrow_history_count(h), 2);
    expect_verdict(h, "register", HARROW_VALID, "linearizable");
    record(h, 30, 1, "cas", "[1, 2]", "ok", NULL);
    record(h, 40, 0, "read", NULL, "ok", "1");
    expect_verdict(h, "cas-register", HARROW_INVALID, "linearizable");
    expect_verdict(h, NULL, HARROW_INVALID, "linearizable");
    expect_verdict(h, "register", HARROW_UNKNOWN, "linearizable"); /* it knows no cas */
    harrow_result *r = harrow_check(h, NULL, NULL);
    const uint32_t *ops;
    size_t count = harrow_result_operations(r, &ops);
    assert_true(count >= 1 && ops[count - 1] == 3);
    harrow_result_free(r);
    harrow_history_free(h);
}

static void what_never_ended_may_have_happened(void **state) {
    (void)state;
    harrow_history *h = harrow_history_new();
    assert_int_equal(harrow_history_invoke(h, 10, 0, "write", "x", "\"a\""), 0);
    record(h, 20, 1, "read", NULL, "ok", "null");
    record(h, 30, 1, "read", NULL, "ok", "\"a\"");
    expect_verdict(h, NULL, HARROW_VALID, "linearizable");
    record(h, 40, 1, "read", NULL, "ok", "null");
    expect_verdict(h, NULL, HARROW_INVALID, "linearizable");
    harrow_history_free(h);
}

static void expect_error(harrow_history *h, const char *expected) {
    if (!strstr(harrow_history_error(h), expected)) fail_msg("'%s' is not in: %s", expected, harrow_history_error(h));
}

static void what_makes_no_sense_is_refused(void **state) {
    (void)state;
    harrow_history *h = harrow_history_new();
    assert_string_equal(harrow_history_error(h), "");
    assert_int_equal(harrow_history_invoke(h, 10, 0, "write", "x", "[1, "), -1);
    expect_error(h, "the value \"[1, \"");
    assert_int_equal(harrow_history_invoke(h, 10, 0, "", "x", "1"), -1);
    expect_error(h, "no function");
    assert_int_equal(harrow_history_count(h), 0);
    assert_int_equal(harrow_history_invoke(h, 10, 0, "write", "x", "1"), 0);
    assert_int_equal(harrow_history_invoke(h, 20, 0, "write", "x", "2"), -1);
    expect_error(h, "process 0 acts while its operation 0 is open");
    assert_int_equal(harrow_history_complete(h, 5, 0, "ok", NULL), -1);
    expect_error(h, "time runs backwards: 5 after 10");
    assert_int_equal(harrow_history_complete(h, 20, 0, "maybe", NULL), -1);
    expect_error(h, "not \"maybe\"");
    assert_int_equal(harrow_history_complete(h, 20, 1, "ok", NULL), -1);
    expect_error(h, "there is no open operation 1");
    assert_int_equal(harrow_history_complete(h, 20, 0, "info", NULL), 0);
    assert_int_equal(harrow_history_complete(h, 20, 0, "ok", NULL), -1);
    assert_int_equal(harrow_history_invoke(h, 30, 0, "read", "x", NULL), -1);
    expect_error(h, "process 0 acts again after an info");
    assert_null(harrow_check(h, "nosuch", NULL));
    expect_error(h, "there is no check \"nosuch\"");
    assert_int_equal(harrow_history_invoke(h, 30, 1, "levitate", "x", NULL), 1);
    assert_null(harrow_check(h, NULL, NULL));
    expect_error(h, "no check understands");
    const harrow_options o = {.size = sizeof o, .consistency = "wishful"};
    assert_null(harrow_check(h, "list-append", &o));
    expect_error(h, "there is no consistency model \"wishful\"");
    harrow_history_free(h);
}

static const char lines[] = "{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"value\":1,\"time\":10}\n"
                            "{\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"value\":1,\"time\":20}\n"
                            "{\"process\":1,\"type\":\"invoke\",\"f\":\"read\",\"value\":null,\"time\":30}\n";

static void an_imported_history_can_go_on(void **state) {
    (void)state;
    harrow_history *h = harrow_history_new();
    assert_string_equal(harrow_history_format(h), "");
    assert_int_equal(harrow_history_import(h, lines, sizeof lines - 1, NULL), 0);
    assert_string_equal(harrow_history_format(h), "jsonl");
    assert_false(harrow_history_cut_short(h));
    assert_int_equal(harrow_history_order_lost(h), 0);
    assert_int_equal(harrow_history_complete(h, 25, 1, "ok", "2"), -1); /* the file was later */
    assert_int_equal(harrow_history_complete(h, 40, 1, "ok", "2"), 0);
    expect_verdict(h, NULL, HARROW_INVALID, "linearizable");
    assert_int_equal(harrow_history_import(h, lines, sizeof lines - 10, "jsonl"), 0);
    assert_true(harrow_history_cut_short(h));
    assert_int_equal(harrow_history_count(h), 1);
    harrow_history_free(h);
}

static void a_failed_import_leaves_nothing(void **state) {
    (void)state;
    harrow_history *h = harrow_history_new();
    static const char bad[] = "{\"process\":0,\"type\":\"ok\",\"f\":\"read\",\"time\":5}\n";
    record(h, 10, 0, "write", "1", "ok", NULL);
    assert_int_equal(harrow_history_import(h, bad, sizeof bad - 1, NULL), -1);
    expect_error(h, "history:1: ");
    assert_int_equal(harrow_history_count(h), 0);
    assert_int_equal(harrow_history_import(h, lines, sizeof lines - 1, "xml"), -1);
    expect_error(h, "there is no format \"xml\"");
    assert_int_equal(harrow_history_import_file(h, "nosuch.jsonl", NULL), -1);
    expect_error(h, "nosuch.jsonl");
    record(h, 10, 0, "write", "1", "ok", NULL);
    expect_verdict(h, NULL, HARROW_VALID, "linearizable");
    harrow_history_free(h);
}

/* A program that was built when the options were shorter still runs, and its options count. */
static void older_options_count(void **state) {
    (void)state;
    harrow_history *h = harrow_history_new();
    record(h, 10, 0, "write", "1", "ok", NULL);
    const harrow_options o = {
        .size = offsetof(harrow_options, consistency), .deadline_ms = 1000, .consistency = "not looked at"};
    harrow_result *r = harrow_check(h, "register", &o);
    assert_non_null(r);
    assert_int_equal(harrow_result_verdict(r), HARROW_VALID);
    harrow_result_free(r);
    harrow_history_free(h);
}

static void every_check_has_a_name_and_judges_an_empty_history(void **state) {
    (void)state;
    size_t count = 0;
    harrow_history *h = harrow_history_new();
    for (; harrow_check_name(count); count++) {
        assert_true(*harrow_check_doc(count) && *harrow_check_functions(count));
        for (size_t i = 0; i < count; i++) assert_string_not_equal(harrow_check_name(i), harrow_check_name(count));
        harrow_result *r = harrow_check(h, harrow_check_name(count), NULL);
        assert_non_null(r);
        assert_int_not_equal(harrow_result_verdict(r), HARROW_INVALID);
        harrow_result_free(r);
    }
    assert_true(count >= 8);
    assert_null(harrow_check_doc(count));
    assert_null(harrow_check_functions(count));
    assert_string_equal(harrow_check_version(), HARROW_CHECK_VERSION);
    assert_string_equal(harrow_verdict_name(HARROW_UNKNOWN), "unknown");
    harrow_history_free(h);
    harrow_history_free(NULL);
    harrow_result_free(NULL);
}

/* The operations alone do not tell a counter from a set, nor the two workloads of transactions. */
static void a_guess_looks_at_values_where_it_must(void **state) {
    (void)state;
    harrow_history *h = harrow_history_new();
    record(h, 10, 0, "add", "1", "ok", NULL);
    record(h, 20, 0, "read", NULL, "ok", "1");
    expect_verdict(h, NULL, HARROW_VALID, "counter");
    harrow_history_free(h);
    h = harrow_history_new();
    record(h, 10, 0, "txn", "[[\"append\", \"x\", 1]]", "ok", "[[\"append\", \"x\", 1]]");
    record(h, 20, 0, "txn", "[[\"r\", \"x\", null]]", "ok", "[[\"r\", \"x\", [1]]]");
    expect_verdict(h, NULL, HARROW_VALID, "list-append");
    harrow_history_free(h);
    h = harrow_history_new();
    record(h, 10, 0, "txn", "[[\"w\", \"x\", 1]]", "ok", "[[\"w\", \"x\", 1]]");
    record(h, 20, 0, "txn", "[[\"r\", \"x\", null]]", "ok", "[[\"r\", \"x\", 1]]");
    expect_verdict(h, NULL, HARROW_VALID, "rw-register");
    harrow_history_free(h);
}

static void expect_with_initial(harrow_history *h, const char *check, const char *initial, harrow_verdict verdict) {
    const harrow_options o = {.size = sizeof o, .initial = initial};
    harrow_result *r = harrow_check(h, check, &o);
    if (!r) fail_msg("%s", harrow_history_error(h));
    assert_int_equal(harrow_result_verdict(r), verdict);
    harrow_result_free(r);
}

/* As models of Jepsen's do: (cas-register 0). Then nobody can have read nothing, so whoever says nil did not look. */
static void a_counterexample_is_there_as_data(void **state) {
    (void)state;
    harrow_history *h = harrow_history_new();
    record(h, 10, 0, "write", "1", "ok", NULL);
    record(h, 20, 1, "write", "2", "ok", NULL);
    record(h, 30, 2, "read", NULL, "ok", "1");
    assert_string_equal(harrow_history_describe(h, 2), "read -> 1");
    assert_null(harrow_history_describe(h, 3));
    harrow_result *r = harrow_check(h, "register", NULL);
    assert_non_null(r);
    assert_int_equal(harrow_result_operations(r, NULL), 3);
    assert_int_equal(harrow_result_maybe_fewer(r), 0);
    assert_int_equal(harrow_result_orders(r), 1);
    assert_int_equal(harrow_result_order_length(r, 0), 2);
    assert_int_equal(harrow_result_order_length(r, 1), 0);
    assert_int_equal(harrow_result_order_operation(r, 0, 1), 1);
    assert_int_equal(harrow_result_order_operation(r, 0, 2), UINT32_MAX);
    assert_string_equal(harrow_result_order_state(r, 0, 0), "null");
    assert_string_equal(harrow_result_order_state(r, 0, 2), "2");
    assert_null(harrow_result_order_state(r, 0, 3));
    uint32_t left = 0;
    assert_string_equal(harrow_result_left_over(r, 0, 0, &left), "would return 2, not 1");
    assert_int_equal(left, 2);
    assert_null(harrow_result_left_over(r, 0, 1, &left));
    assert_null(harrow_result_edge(r, 0, NULL, NULL, NULL));
    harrow_result_free(r);
    harrow_history_free(h);
}

static void a_register_may_hold_a_value_at_first(void **state) {
    (void)state;
    static const char *const checks[] = {"register", "cas-register"};
    for (size_t i = 0; i < 2; i++) {
        harrow_history *h = harrow_history_new();
        record(h, 10, 0, "read", NULL, "ok", "0");
        record(h, 20, 0, "write", "1", "ok", NULL);
        record(h, 30, 1, "read", NULL, "ok", NULL);
        expect_with_initial(h, checks[i], "0", HARROW_VALID);
        expect_with_initial(h, checks[i], "2", HARROW_INVALID);
        expect_with_initial(h, checks[i], "\"0\"", HARROW_INVALID);
        expect_with_initial(h, checks[i], NULL, HARROW_INVALID);
        record(h, 40, 1, "read", NULL, "ok", "0");
        expect_with_initial(h, checks[i], "0", HARROW_INVALID);
        harrow_history_free(h);
    }
    harrow_history *h = harrow_history_new();
    record(h, 10, 0, "cas", "[\"none\", 1]", "ok", NULL);
    expect_with_initial(h, NULL, "\"none\"", HARROW_VALID);
    expect_with_initial(h, NULL, NULL, HARROW_INVALID);
    const harrow_options o = {.size = sizeof o, .initial = "[0"}, meaningless = {.size = sizeof o, .initial = "0"};
    assert_null(harrow_check(h, NULL, &o));
    expect_error(h, "the value \"[0\"");
    assert_null(harrow_check(h, "mutex", &meaningless));
    expect_error(h, "an initial value is for registers; it means nothing to mutex");
    harrow_history_free(h);
}

static void checks_answer_to_the_names_that_others_gave_them(void **state) {
    (void)state;
    static const char *const names[][2] = {{"fifo-queue", "fifo"}, {"unordered-queue", "queue"}, {"wr", "rw-register"}};
    harrow_history *h = harrow_history_new();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool found = false;
        for (size_t k = 0; harrow_check_name(k); k++)
            found |= strcmp(harrow_check_name(k), names[i][1]) == 0 && strcmp(harrow_check_also(k), names[i][0]) == 0;
        assert_true(found);
        harrow_result *r = harrow_check(h, names[i][0], NULL);
        assert_non_null(r);
        harrow_result_free(r);
    }
    assert_null(harrow_check(h, "queu", NULL));
    assert_null(harrow_check(h, "", NULL));
    harrow_history_free(h);
}

static void the_guess_and_what_else_understands_are_told(void **state) {
    (void)state;
    harrow_history *h = harrow_history_new();
    record(h, 10, 0, "enqueue", "1", "ok", NULL);
    record(h, 20, 0, "dequeue", NULL, "ok", "1");
    assert_string_equal(harrow_check_guess(h, NULL), "queue");
    for (size_t i = 0; harrow_check_name(i); i++) {
        bool queue = strstr(harrow_check_functions(i), "enqueue") != NULL;
        assert_int_equal(harrow_check_understands(h, i), queue);
    }
    assert_false(harrow_check_understands(h, SIZE_MAX));
    record(h, 30, 0, "levitate", NULL, "ok", NULL);
    assert_null(harrow_check_guess(h, NULL));
    assert_null(harrow_check(h, NULL, NULL));
    expect_error(h, "no check understands every operation in it: enqueue, dequeue, levitate");
    harrow_history_free(h);
    h = harrow_history_new();
    record(h, 10, 0, "txn", "[[\"write\", \"x\", 1]]", "ok", "[[\"write\", \"x\", 1]]");
    assert_string_equal(harrow_check_guess(h, NULL), "multi-register");
    harrow_history_free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_history_by_hand_is_judged),
        cmocka_unit_test(what_never_ended_may_have_happened),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(an_imported_history_can_go_on),
        cmocka_unit_test(a_failed_import_leaves_nothing),
        cmocka_unit_test(older_options_count),
        cmocka_unit_test(every_check_has_a_name_and_judges_an_empty_history),
        cmocka_unit_test(a_guess_looks_at_values_where_it_must),
        cmocka_unit_test(a_counterexample_is_there_as_data),
        cmocka_unit_test(a_register_may_hold_a_value_at_first),
        cmocka_unit_test(checks_answer_to_the_names_that_others_gave_them),
        cmocka_unit_test(the_guess_and_what_else_understands_are_told),
    };
    return cmocka_run_group_tests_name("library", tests, NULL, NULL);
}
