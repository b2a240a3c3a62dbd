/* The checks without a search: append and counter against the oracle, against valid histories and against one planted
 * violation of each kind; and the checks about the run as such, by hand. */
#include "checkers/checkers.h"
#include "tests/check_histories.h"
#include "tests/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define INT(i) VALUE_OF_INT(i)
#define NIL VALUE_OF_NIL

typedef void check_function(const struct history *h, const struct check_options *o, struct check_result *out);

static void print_judged(const struct history *h, const struct check_result *r) {
    print_history(h);
    fprintf(stderr, "%s: %s\n%s\n", verdict_name(r->verdict), r->detail, r->explanation ? r->explanation : "");
}

/* `says` has to be in the detail or, where the history may show more than one thing, in the explanation. */
static void expect(const struct history *h, check_function *check, enum verdict verdict, const char *says) {
    struct check_result r;
    check(h, NULL, &r);
    bool told = !says || strstr(r.detail, says) || (r.explanation && strstr(r.explanation, says));
    if (r.verdict != verdict || !told || strchr(r.detail, '\n')) {
        print_judged(h, &r);
        fprintf(stderr, "expected %s: %s\n", verdict_name(verdict), says ? says : "");
        fail();
    }
    if (verdict == VERDICT_INVALID) assert_true(r.ops_count > 0 && r.explanation);
    check_result_free(&r);
}

/* --- append and counter against the oracle ------------------------------------------------------------------------ */

static void alter_reads(struct prng *p, struct history *h) {
    for (uint32_t change = 0; change < 3; change++) {
        uint32_t op = (uint32_t)prng_below(p, h->count), other = (uint32_t)prng_below(p, h->count);
        if (h->f[op] == OP_READ && h->f[other] == OP_READ) h->result[op] = h->result[other];
    }
}

/* On small histories: is the verdict possible, given the oracle's? An exact check may not pass what is wrong. */
static void agrees_with_oracle(check_function *check, const char *model, bool exact) {
    uint32_t invalid = 0, passed = 0, count = rounds(20000);
    for (uint64_t seed = 0; seed < count; seed++) {
        struct prng p;
        prng_seed(&p, seed, exact);
        struct shape shape = {.model = model, .read_ppm = 500000, .info_ppm = 150000, .fail_ppm = 100000};
        shape.ops = (uint32_t)prng_between(&p, 2, seed % 3 ? 10 : 6);
        shape.clients = (uint32_t)prng_between(&p, 1, 5);
        shape.keys = 1;
        shape.values = 4;
        shape.negative = prng_below(&p, 2);
        struct history *h = seed % 3 ? history_valid(&p, &shape) : history_random(&p, &shape, seed % 2 ? 8 : 100000);
        if (seed % 3) alter_reads(&p, h);
        struct check_result r;
        check(h, NULL, &r);
        bool wrong = false;
        if (r.verdict == VERDICT_INVALID) {
            wrong = oracle_linearizable(h, model, TOUCHING_OF_ONE_PROCESS);
            invalid++;
        } else if (exact) {
            wrong = !oracle_linearizable(h, model, TOUCHING_IS_CONCURRENT);
        }
        passed += r.verdict != VERDICT_INVALID;
        if (wrong) {
            fprintf(stderr, "%s, seed %llu: wrong verdict\n", model, (unsigned long long)seed);
            print_judged(h, &r);
            fail();
        }
        check_result_free(&r);
        history_free(h);
    }
    assert_true(invalid > count / 10 && passed > count / 10);
}

static void append_is_exact(void **state) {
    (void)state;
    agrees_with_oracle(check_append, "list", true);
}

static void counter_rejects_nothing_valid(void **state) {
    (void)state;
    agrees_with_oracle(check_counter, "counter", false);
}

static struct history *valid(uint64_t seed, const char *model, uint32_t info_ppm, bool negative) {
    struct prng p;
    prng_seed(&p, seed, 500);
    struct shape shape = {.model = model, .read_ppm = 300000, .info_ppm = info_ppm, .fail_ppm = 50000};
    shape.ops = (uint32_t)prng_between(&p, 40, 300);
    shape.clients = (uint32_t)prng_between(&p, 1, 10);
    shape.keys = (uint32_t)prng_between(&p, 1, 3);
    shape.negative = negative;
    shape.final_reads = true;
    return history_valid(&p, &shape);
}

static void accepts_valid_histories(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < rounds(500); seed++) {
        struct history *h = valid(seed, "list", 50000, false);
        expect(h, check_append, VERDICT_VALID, "reads");
        history_free(h);
        h = valid(seed, "counter", 50000, seed % 2);
        expect(h, check_counter, VERDICT_VALID, "reads");
        history_free(h);
    }
}

/* --- planted violations of append --------------------------------------------------------------------------------- */

/* Rewrites each ok read of the element's key: `change` gets the elements and the index of the element, and returns the
 * new count. */
typedef uint32_t change_function(struct value *items, uint32_t count, uint32_t at);

static void change_reads(struct history *h, uint32_t key, int64_t element, bool last_only, change_function *change) {
    for (uint32_t op = h->count; op-- > 0;) {
        if (h->f[op] != OP_READ || h->status[op] != OP_OK || h->key[op] != key) continue;
        struct value list = h->result[op];
        struct value *items = malloc((list.size + 2) * sizeof *items);
        uint32_t count = list.kind == VALUE_LIST ? list.size : 0, at = 0;
        if (count) memcpy(items, h->pool + list.first, count * sizeof *items);
        while (at < count && items[at].integer != element) at++;
        if (at < count) {
            count = change(items, count, at);
            h->result[op] = history_list(h, items, count);
        }
        free(items);
        if (last_only) return;
    }
}

static uint32_t without(struct value *items, uint32_t count, uint32_t at) {
    memmove(items + at, items + at + 1, (count - at - 1) * sizeof *items);
    return count - 1;
}

static uint32_t cut_before(struct value *items, uint32_t count, uint32_t at) {
    (void)items, (void)count;
    return at;
}

static uint32_t twice(struct value *items, uint32_t count, uint32_t at) {
    items[count] = items[at];
    return count + 1;
}

static uint32_t unheard_of(struct value *items, uint32_t count, uint32_t at) {
    (void)at;
    items[count] = INT(999999);
    return count + 1;
}

static uint32_t to_the_end(struct value *items, uint32_t count, uint32_t at) {
    struct value item = items[at];
    without(items, count, at);
    items[count - 1] = item;
    return count;
}

/* An acknowledged append of key k0 with acknowledged appends well before and after it; its number. */
static uint32_t some_append(struct history *h) {
    uint32_t key = history_intern(h, "k0"), count = 0, ops[300];
    for (uint32_t op = 0; op < h->count; op++)
        if (h->key[op] == key && h->f[op] == OP_APPEND && h->status[op] == OP_OK && count < 300) ops[count++] = op;
    if (count < 3) return NO_STRING;
    uint32_t op = ops[count / 2];
    return h->complete_ns[op] < h->invoke_ns[ops[count - 1]] ? op : NO_STRING;
}

static void append_finds(change_function *change, bool last_only, const char *says) {
    uint32_t planted = 0;
    for (uint64_t seed = 0; seed < rounds(200); seed++) {
        struct history *h = valid(seed, "list", 30000, false);
        uint32_t op = some_append(h);
        if (op != NO_STRING) {
            change_reads(h, h->key[op], h->argument[op].integer, last_only, change);
            expect(h, check_append, VERDICT_INVALID, says);
            planted++;
        }
        history_free(h);
    }
    assert_true(planted > rounds(200) / 2);
}

static void append_finds_lost(void **state) {
    (void)state;
    append_finds(without, false, "was acknowledged, but is missing from a read by process");
    append_finds(cut_before, false, "lost");
}

static void append_finds_duplicates(void **state) {
    (void)state;
    append_finds(twice, true, "twice");
}

static void append_finds_elements_out_of_nowhere(void **state) {
    (void)state;
    append_finds(unheard_of, true, "returned 999999, which nobody appended");
}

static void append_finds_disorder(void **state) {
    (void)state;
    append_finds(to_the_end, false, "out of order");
}

static void append_finds_divergence(void **state) {
    (void)state;
    append_finds(cut_before, true, NULL);
    struct history *h = history_new();
    add_op(h, 1, 0, 50, OP_APPEND, "x", INT(1), OP_OK, NIL);
    add_op(h, 2, 0, 50, OP_APPEND, "x", INT(2), OP_OK, NIL);
    add_op(h, 3, 0, 50, OP_READ, "x", NIL, OP_OK, history_list(h, (const struct value[]){INT(2)}, 1));
    add_op(h, 3, 60, 70, OP_READ, "x", NIL, OP_OK, history_list(h, (const struct value[]){INT(1), INT(2)}, 2));
    expect(h, check_append, VERDICT_INVALID,
           "key x: read by process 3 returned 2 where the longest read, by process 3, has another element (in all: 1 "
           "diverging)");
    history_free(h);
}

static void append_finds_failed_but_there(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < rounds(100); seed++) {
        struct history *h = valid(seed, "list", 30000, false);
        uint32_t op = some_append(h);
        if (op != NO_STRING) {
            h->status[op] = OP_FAIL;
            expect(h, check_append, VERDICT_INVALID, "failed");
        }
        history_free(h);
    }
}

static void append_finds_stale_and_future_reads(void **state) {
    (void)state;
    struct history *h = history_new();
    struct value one = history_list(h, (const struct value[]){INT(1)}, 1);
    add_op(h, 1, 0, 10, OP_APPEND, "x", INT(1), OP_OK, NIL);
    add_op(h, 2, 20, 30, OP_READ, "x", NIL, OP_OK, NIL);
    add_op(h, 2, 40, 50, OP_READ, "x", NIL, OP_OK, one);
    expect(h, check_append, VERDICT_INVALID,
           "key x: read by process 2 lacks 1, whose append by process 1 was acknowledged 10 ns before it began");
    history_free(h);
    h = history_new();
    one = history_list(h, (const struct value[]){INT(1)}, 1);
    add_op(h, 2, 0, 10, OP_READ, "x", NIL, OP_OK, one);
    add_op(h, 1, 30, 60, OP_APPEND, "x", INT(1), OP_OK, NIL);
    expect(h, check_append, VERDICT_INVALID, "returned 1, whose append by process 1 began only 20 ns later");
    history_free(h);
    h = history_new();
    one = history_list(h, (const struct value[]){INT(1)}, 1);
    add_op(h, 1, 0, 90, OP_APPEND, "x", INT(1), OP_OK, NIL);
    add_op(h, 2, 20, 30, OP_READ, "x", NIL, OP_OK, one);
    add_op(h, 3, 40, 50, OP_READ, "x", NIL, OP_OK, NIL);
    expect(h, check_append, VERDICT_INVALID,
           "lacks elements that a read by process 2 had returned 10 ns before it began");
    history_free(h);
}

static void append_is_unknown_without_a_final_read(void **state) {
    (void)state;
    struct history *h = history_new();
    expect(h, check_append, VERDICT_UNKNOWN, "nothing was appended");
    add_op(h, 1, 0, 10, OP_APPEND, "x", INT(1), OP_OK, NIL);
    expect(h, check_append, VERDICT_UNKNOWN, "key x: no read began after its last acknowledged appends");
    add_op(h, 1, 20, 30, OP_READ, "x", NIL, OP_OK, history_list(h, (const struct value[]){INT(1)}, 1));
    expect(h, check_append, VERDICT_VALID, "1 appends, 1 reads, 1 key");
    add_op(h, 1, 40, 50, OP_APPEND, "x", INT(1), OP_OK, NIL);
    expect(h, check_append, VERDICT_UNKNOWN, "appended an element twice");
    history_free(h);
}

static void append_leaves_other_keys_alone(void **state) {
    (void)state;
    struct history *h = history_new();
    add_op(h, 1, 0, 10, OP_APPEND, "x", INT(1), OP_OK, NIL);
    add_op(h, 1, 20, 30, OP_READ, "x", NIL, OP_OK, history_list(h, (const struct value[]){INT(1)}, 1));
    add_op(h, 1, 40, 50, OP_WRITE, "y", INT(1), OP_OK, NIL);
    add_op(h, 1, 60, 70, OP_READ, "y", NIL, OP_OK, INT(7));
    expect(h, check_append, VERDICT_VALID, NULL);
    add_op(h, 1, 80, 90, OP_DELETE, "x", NIL, OP_OK, NIL);
    expect(h, check_append, VERDICT_UNKNOWN, "operations other than append and read");
    history_free(h);
}

/* --- planted violations of counter -------------------------------------------------------------------------------- */

static void counter_finds_lost_and_doubled_adds(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < rounds(300); seed++) {
        struct history *h = valid(seed, "counter", 0, seed % 2);
        uint32_t final = h->count - 1;
        int64_t value = h->result[final].integer;
        h->result[final] = INT(value - 1);
        expect(h, check_counter, VERDICT_INVALID, "the adds that were acknowledged before it began come to at least");
        h->result[final] = INT(value + 1);
        expect(h, check_counter, VERDICT_INVALID, "the adds that began before it ended come to at most");
        h->result[final] = INT(value);
        expect(h, check_counter, VERDICT_VALID, NULL);
        history_free(h);
    }
}

static void counter_allows_for_info(void **state) {
    (void)state;
    struct history *h = history_new();
    add_op(h, 1, 0, 10, OP_ADD, "c", INT(5), OP_OK, NIL);
    add_op(h, 2, 0, 10, OP_ADD, "c", INT(3), OP_INFO, NIL);
    add_op(h, 3, 0, 10, OP_ADD, "c", INT(-2), OP_PENDING, NIL);
    add_op(h, 4, 0, 10, OP_ADD, "c", INT(100), OP_FAIL, NIL);
    uint32_t read = add_op(h, 1, 20, 30, OP_READ, "c", NIL, OP_OK, INT(8));
    expect(h, check_counter, VERDICT_VALID, "4 adds, 1 reads, 1 key");
    h->result[read] = INT(3);
    expect(h, check_counter, VERDICT_VALID, NULL);
    h->result[read] = INT(2);
    expect(h, check_counter, VERDICT_INVALID, "key c: read by process 1 returned 2");
    h->result[read] = INT(9);
    expect(h, check_counter, VERDICT_INVALID, "at most 8");
    history_free(h);
}

static void counter_reads_never_lose_an_add(void **state) {
    (void)state;
    struct history *h = history_new();
    add_op(h, 1, 0, 100, OP_ADD, "c", INT(5), OP_OK, NIL);
    add_op(h, 2, 10, 20, OP_READ, "c", NIL, OP_OK, INT(5));
    add_op(h, 3, 15, 25, OP_READ, "c", NIL, OP_OK, NIL);
    uint32_t read = add_op(h, 2, 30, 40, OP_READ, "c", NIL, OP_OK, INT(0));
    add_op(h, 2, 110, 120, OP_READ, "c", NIL, OP_OK, INT(5));
    expect(h, check_counter, VERDICT_INVALID, "process 2 had read 5 10 ns before it began");
    h->result[read] = INT(5);
    expect(h, check_counter, VERDICT_VALID, NULL);
    history_free(h);
}

static void counter_is_unknown_where_it_cannot_judge(void **state) {
    (void)state;
    struct history *h = history_new();
    expect(h, check_counter, VERDICT_UNKNOWN, "nothing was added");
    add_op(h, 1, 0, 10, OP_ADD, "c", INT(5), OP_OK, NIL);
    expect(h, check_counter, VERDICT_UNKNOWN, "key c: no read began after its last acknowledged adds");
    add_op(h, 1, 20, 30, OP_READ, "c", NIL, OP_OK, INT(5));
    expect(h, check_counter, VERDICT_VALID, NULL);
    add_op(h, 1, 40, 50, OP_ADD, "c", INT(INT64_MAX), OP_OK, NIL);
    expect(h, check_counter, VERDICT_UNKNOWN, "sums that do not fit");
    h->argument[2] = INT(0);
    expect(h, check_counter, VERDICT_VALID, NULL);
    add_op(h, 1, 60, 70, OP_WRITE, "c", INT(1), OP_OK, NIL);
    expect(h, check_counter, VERDICT_UNKNOWN, "operations other than add and read");
    history_free(h);
}

/* --- the run as such ---------------------------------------------------------------------------------------------- */

static void expect_available(const struct history *h, uint64_t within_ns, bool during, uint64_t end_ns,
                             enum verdict verdict, const char *says) {
    struct check_result r;
    check_available(h, within_ns, during, end_ns, &r);
    if (r.verdict != verdict || !strstr(r.detail, says)) {
        print_judged(h, &r);
        fail();
    }
    check_result_free(&r);
}

static void available_after_the_last_fault(void **state) {
    (void)state;
    const uint64_t s = NS_PER_S;
    struct history *h = history_new();
    add_op(h, 1, 0, 1, OP_READ, "x", NIL, OP_OK, NIL);
    uint32_t first = history_fault_start(h, 10 * s, "cut", NULL, NULL);
    uint32_t second = history_fault_start(h, 12 * s, "kill", NULL, NULL);
    history_fault_end(h, first, 20 * s, 1, 1);
    history_fault_end(h, second, 30 * s, 1, 1);
    add_op(h, 1, 21 * s, 22 * s, OP_READ, "x", NIL, OP_INFO, NIL);
    add_op(h, 2, 31 * s, 32 * s, OP_READ, "x", NIL, OP_INFO, NIL);
    add_op(h, 3, 33 * s, 38 * s, OP_READ, "x", NIL, OP_OK, NIL);
    expect_available(h, 5 * s, false, 60 * s, VERDICT_INVALID,
                     "after the last fault ended at 30 s: no operation succeeded within 5 s of the first attempt (the "
                     "first took 7 s)");
    expect_available(h, 8 * s, false, 60 * s, VERDICT_VALID, "judged at 2 moments");
    expect_available(h, 15 * s, true, 60 * s, VERDICT_INVALID, "during the run at 2 ns");
    expect_available(h, 20 * s, true, 60 * s, VERDICT_VALID, "2 of 4 operations succeeded");
    expect_available(h, 5 * s, false, 35 * s, VERDICT_VALID, "judged at 1 moments");
    history_free(h);
}

static void available_judges_only_what_was_tried(void **state) {
    (void)state;
    const uint64_t s = NS_PER_S;
    struct history *h = history_new();
    expect_available(h, 5 * s, true, 60 * s, VERDICT_UNKNOWN, "at no time");
    history_fault_end(h, history_fault_start(h, 1 * s, "cut", NULL, NULL), 2 * s, 1, 1);
    history_fault_end(h, history_fault_start(h, 4 * s, "cut", NULL, NULL), 20 * s, 1, 1);
    add_op(h, 1, 3 * s, 50 * s, OP_READ, "x", NIL, OP_INFO, NIL);
    expect_available(h, 5 * s, false, 60 * s, VERDICT_UNKNOWN, "at no time");
    add_op(h, 2, 40 * s, 41 * s, OP_READ, "x", NIL, OP_OK, NIL);
    expect_available(h, 5 * s, false, 60 * s, VERDICT_VALID, "judged at 1 moments");
    history_free(h);
}

static void load_is_unknown_when_too_low(void **state) {
    (void)state;
    struct history *h = history_new();
    add_op(h, 1, 0, 1, OP_READ, "x", NIL, OP_OK, NIL);
    add_op(h, 1, 2, 3, OP_READ, "x", NIL, OP_FAIL, NIL);
    struct check_result r;
    check_load(h, 1, &r);
    assert_int_equal(r.verdict, VERDICT_VALID);
    check_result_free(&r);
    check_load(h, 2, &r);
    assert_int_equal(r.verdict, VERDICT_UNKNOWN);
    assert_string_equal(r.detail, "only 1 of 2 operations succeeded; at least 2 are needed to mean something");
    check_result_free(&r);
    history_free(h);
}

static void faults_without_effect_are_named(void **state) {
    (void)state;
    struct history *h = history_new();
    struct check_result r;
    check_faults(h, &r);
    assert_int_equal(r.verdict, VERDICT_VALID);
    check_result_free(&r);
    for (uint32_t i = 0; i < 3; i++)
        history_fault_end(h, history_fault_start(h, i, "partition halves", NULL, NULL), i + 1, 0, 9);
    history_fault_end(h, history_fault_start(h, 5, "kill", NULL, NULL), 6, 0, 0);
    history_fault_end(h, history_fault_start(h, 7, "kill", NULL, NULL), 8, 1, 1);
    check_faults(h, &r);
    assert_int_equal(r.verdict, VERDICT_UNKNOWN);
    assert_string_equal(r.detail, "without any measurable effect: partition halves (started 3 times)");
    check_result_free(&r);
    h->faults[1].affected = 1;
    check_faults(h, &r);
    assert_int_equal(r.verdict, VERDICT_VALID);
    check_result_free(&r);
    history_free(h);
}

static void latency_is_bounded_by_p99(void **state) {
    (void)state;
    struct history *h = history_new();
    struct check_result r;
    check_latency(h, 1, &r);
    assert_int_equal(r.verdict, VERDICT_UNKNOWN);
    check_result_free(&r);
    for (uint32_t i = 0; i < 200; i++)
        add_op(h, 1, i * NS_PER_S, i * NS_PER_S + (i < 199 ? NS_PER_MS : NS_PER_S), OP_READ, "x", NIL, OP_OK, NIL);
    check_latency(h, 2 * NS_PER_MS, &r);
    assert_int_equal(r.verdict, VERDICT_VALID);
    check_result_free(&r);
    check_latency(h, NS_PER_MS / 2, &r);
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_non_null(strstr(r.detail, "exceeds 500 us"));
    check_result_free(&r);
    history_free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(append_is_exact),
        cmocka_unit_test(counter_rejects_nothing_valid),
        cmocka_unit_test(accepts_valid_histories),
        cmocka_unit_test(append_finds_lost),
        cmocka_unit_test(append_finds_duplicates),
        cmocka_unit_test(append_finds_elements_out_of_nowhere),
        cmocka_unit_test(append_finds_disorder),
        cmocka_unit_test(append_finds_divergence),
        cmocka_unit_test(append_finds_failed_but_there),
        cmocka_unit_test(append_finds_stale_and_future_reads),
        cmocka_unit_test(append_is_unknown_without_a_final_read),
        cmocka_unit_test(append_leaves_other_keys_alone),
        cmocka_unit_test(counter_finds_lost_and_doubled_adds),
        cmocka_unit_test(counter_allows_for_info),
        cmocka_unit_test(counter_reads_never_lose_an_add),
        cmocka_unit_test(counter_is_unknown_where_it_cannot_judge),
        cmocka_unit_test(available_after_the_last_fault),
        cmocka_unit_test(available_judges_only_what_was_tried),
        cmocka_unit_test(load_is_unknown_when_too_low),
        cmocka_unit_test(faults_without_effect_are_named),
        cmocka_unit_test(latency_is_bounded_by_p99),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
