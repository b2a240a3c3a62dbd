/* check_linearizable against a brute-force oracle on small random histories, against histories that are valid by
 * construction, against the classic violations by hand, and against its budget. */
#include "base/clock.h"
#include "checkers/checkers.h"
#include "tests/check_histories.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint32_t rounds(uint32_t full) {
    if (getenv("HARROW_TEST_LONG")) return 20 * full;
    return getenv("HARROW_TEST_QUICK") ? full / 20 + 1 : full;
}

static const char *const model_names[] = {"register", "cas-register", "kv", "counter", "list"};
#define MODELS (sizeof model_names / sizeof *model_names)

static struct check_result check(const struct history *h, const char *model) {
    struct check_result r;
    check_linearizable(h, model_find(model), NULL, &r);
    assert_string_equal(r.name, "linearizable");
    assert_non_null(r.detail);
    assert_null(strchr(r.detail, '\n'));
    for (uint32_t i = 0; i < r.ops_count; i++) assert_true(r.ops[i] < h->count && (i == 0 || r.ops[i - 1] < r.ops[i]));
    if (r.verdict == VERDICT_INVALID) {
        assert_non_null(r.explanation);
        assert_true(r.ops_count > 0);
    }
    return r;
}

static void print_history(const struct history *h) {
    struct buffer text = {0};
    uint32_t *ops = malloc((h->count + 1) * sizeof *ops);
    for (uint32_t op = 0; op < h->count; op++) ops[op] = op;
    check_print_ops(h, ops, h->count, &text);
    fprintf(stderr, "%.*s", (int)text.size, (const char *)text.data);
    buffer_free(&text);
    free(ops);
}

/* --- the oracle --------------------------------------------------------------------------------------------------- */

static bool could_set(const struct history *h, uint32_t op, uint32_t read) {
    bool later = h->invoke_ns[op] + (h->process[op] == h->process[read] && op > read) > h->complete_ns[read];
    if (h->status[op] == OP_FAIL || h->key[op] != h->key[read] || later) return false;
    struct value v = h->argument[op];
    if (h->f[op] == OP_CAS) v = h->pool[v.first + 1];
    return (h->f[op] == OP_CAS || h->f[op] == OP_WRITE) && history_value_equal(h, v, h->result[read]);
}

/* The operations named by an invalid result are a violation by themselves, and not just because the source of a value
 * that was read has been left out. */
static bool evidence_holds(const struct history *h, const struct check_result *r, const char *model) {
    struct history *part = history_of(h, r->ops, r->ops_count);
    bool holds = !oracle_linearizable(part, model, TOUCHING_OF_ONE_PROCESS);
    history_free(part);
    for (uint32_t i = 0; i < r->ops_count; i++) {
        uint32_t read = r->ops[i];
        if (h->f[read] != OP_READ || h->result[read].kind != VALUE_INT) continue;
        bool in_whole = false, in_part = false;
        for (uint32_t op = 0; op < h->count; op++) in_whole |= h->f[op] == OP_WRITE && could_set(h, op, read);
        for (uint32_t k = 0; k < r->ops_count; k++) in_part |= could_set(h, r->ops[k], read);
        holds &= in_part || !in_whole;
    }
    return holds;
}

static enum verdict agrees_with_oracle(const struct history *h, const char *model, uint64_t seed) {
    struct check_result r = check(h, model);
    bool weak = oracle_linearizable(h, model, TOUCHING_IS_CONCURRENT);
    bool strong = oracle_linearizable(h, model, TOUCHING_OF_ONE_PROCESS);
    bool right = (r.verdict == VERDICT_VALID && weak) || (r.verdict == VERDICT_INVALID && !strong);
    if (!right || (r.verdict == VERDICT_INVALID && !evidence_holds(h, &r, model))) {
        fprintf(stderr, "%s, seed %llu: checker says %s (%s), oracle %s / %s\n", model, (unsigned long long)seed,
                verdict_name(r.verdict), r.detail, weak ? "valid" : "invalid", strong ? "valid" : "invalid");
        print_history(h);
        if (r.explanation) fprintf(stderr, "%s\n", r.explanation);
        fail();
    }
    enum verdict v = r.verdict;
    check_result_free(&r);
    return v;
}

static void agrees_on_random_histories(void **state) {
    (void)state;
    for (uint32_t m = 0; m < MODELS; m++) {
        uint32_t valid = 0, count = rounds(20000);
        for (uint64_t seed = 0; seed < count; seed++) {
            struct prng p;
            prng_seed(&p, seed, m);
            struct shape shape = {.model = model_names[m], .read_ppm = 500000, .info_ppm = 150000, .fail_ppm = 100000};
            shape.ops = (uint32_t)prng_between(&p, 2, 7);
            shape.clients = (uint32_t)prng_between(&p, 1, 5);
            shape.keys = prng_below(&p, 4) ? 1 : 2;
            shape.values = (uint32_t)prng_between(&p, 2, 4);
            shape.negative = shape.repeated = prng_below(&p, 2);
            uint64_t instants = prng_below(&p, 2) ? 8 : 1000000;
            struct history *h = history_random(&p, &shape, instants);
            valid += agrees_with_oracle(h, shape.model, seed) == VERDICT_VALID;
            history_free(h);
        }
        assert_true(valid > count / 20 && valid < count - count / 20);
    }
}

static void alter(struct prng *p, struct history *h) {
    uint32_t op = (uint32_t)prng_below(p, h->count), other = (uint32_t)prng_below(p, h->count);
    if (h->f[op] == OP_READ && h->f[other] == OP_READ) h->result[op] = h->result[other];
    if (h->f[op] == OP_WRITE && h->f[other] == OP_WRITE) h->argument[op] = h->argument[other];
}

/* Longer, and nearly right: valid histories in which a result or two were changed. */
static void agrees_on_altered_valid_histories(void **state) {
    (void)state;
    for (uint32_t m = 0; m < MODELS; m++) {
        uint32_t valid = 0, count = rounds(6000);
        for (uint64_t seed = 0; seed < count; seed++) {
            struct prng p;
            prng_seed(&p, seed, 100 + m);
            struct shape shape = {.model = model_names[m], .read_ppm = 500000, .info_ppm = 200000, .fail_ppm = 50000};
            shape.ops = (uint32_t)prng_between(&p, 6, 14);
            shape.clients = (uint32_t)prng_between(&p, 2, 7);
            shape.keys = 1;
            shape.values = (uint32_t)prng_below(&p, 5);
            shape.negative = shape.repeated = prng_below(&p, 2);
            struct history *h = history_valid(&p, &shape);
            assert_int_equal(agrees_with_oracle(h, shape.model, seed), VERDICT_VALID);
            for (uint32_t change = 0; change < 3; change++) alter(&p, h);
            valid += agrees_with_oracle(h, shape.model, seed) == VERDICT_VALID;
            history_free(h);
        }
        assert_true(valid < count - count / 20);
    }
}

/* Much at once on few values: many orders to try, in which a wrong short cut would show. */
static void agrees_on_dense_histories(void **state) {
    (void)state;
    for (uint32_t m = 0; m < MODELS; m++) {
        for (uint64_t seed = 0; seed < rounds(3000); seed++) {
            struct prng p;
            prng_seed(&p, seed, 150 + m);
            struct shape shape = {.model = model_names[m], .info_ppm = 250000, .fail_ppm = 20000};
            shape.read_ppm = (uint32_t)prng_between(&p, 200000, 500000);
            shape.ops = (uint32_t)prng_between(&p, 10, 16);
            shape.clients = (uint32_t)prng_between(&p, 3, 6);
            shape.keys = 1;
            shape.values = (uint32_t)prng_between(&p, 2, 3);
            shape.negative = shape.repeated = true;
            struct history *h = history_valid(&p, &shape);
            for (uint32_t change = (uint32_t)prng_below(&p, 3); change > 0; change--) alter(&p, h);
            agrees_with_oracle(h, shape.model, seed);
            history_free(h);
        }
    }
}

/* Lists that are appended to, replaced and deleted, with elements that come again: whose append it was is told by what
 * was seen, or by time, or not at all. */
static void agrees_on_lists_that_are_replaced(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < rounds(12000); seed++) {
        struct prng p;
        prng_seed(&p, seed, 180);
        struct shape shape = {.model = "kv", .keys = 1, .lists = true, .info_ppm = 150000, .fail_ppm = 50000};
        shape.read_ppm = (uint32_t)prng_between(&p, 300000, 600000);
        shape.ops = (uint32_t)prng_between(&p, 4, 14);
        shape.clients = (uint32_t)prng_between(&p, 1, 5);
        shape.values = (uint32_t)prng_between(&p, 2, 12);
        shape.repeated = prng_below(&p, 3);
        bool random = prng_below(&p, 4) == 0;
        if (random) shape.ops = (uint32_t)prng_between(&p, 2, 6);
        struct history *h = random ? history_random(&p, &shape, 1000) : history_valid(&p, &shape);
        enum verdict v = agrees_with_oracle(h, shape.model, seed);
        assert_true(random || v == VERDICT_VALID);
        for (uint32_t change = (uint32_t)prng_below(&p, 4); change > 0; change--) alter(&p, h);
        agrees_with_oracle(h, shape.model, seed);
        history_free(h);
    }
}

/* --- valid by construction ---------------------------------------------------------------------------------------- */

static void accepts_valid_histories(void **state) {
    (void)state;
    for (uint32_t m = 0; m < MODELS; m++) {
        for (uint64_t seed = 0; seed < rounds(400); seed++) {
            struct prng p;
            prng_seed(&p, seed, 200 + m);
            struct shape shape = {.model = model_names[m], .read_ppm = 500000, .fail_ppm = 50000};
            shape.info_ppm = (uint32_t)prng_below(&p, 100000);
            shape.ops = (uint32_t)prng_between(&p, 10, 400);
            shape.clients = (uint32_t)prng_between(&p, 1, 8);
            shape.keys = (uint32_t)prng_between(&p, 1, 6);
            shape.values = (uint32_t)prng_below(&p, 6);
            struct history *h = history_valid(&p, &shape);
            struct check_result r = check(h, shape.model);
            if (r.verdict != VERDICT_VALID)
                fprintf(stderr, "%s, seed %llu: %s\n", shape.model, (unsigned long long)seed, r.detail);
            assert_int_equal(r.verdict, VERDICT_VALID);
            check_result_free(&r);
            history_free(h);
        }
    }
}

static void rejects_planted_stale_reads(void **state) {
    (void)state;
    uint32_t planted = 0;
    for (uint64_t seed = 0; seed < rounds(400); seed++) {
        struct prng p;
        prng_seed(&p, seed, 300);
        struct shape shape = {.model = "register", .read_ppm = 500000, .fail_ppm = 50000};
        shape.info_ppm = (uint32_t)prng_below(&p, 100000);
        shape.ops = (uint32_t)prng_between(&p, 20, 400);
        shape.clients = (uint32_t)prng_between(&p, 1, 8);
        shape.keys = (uint32_t)prng_between(&p, 1, 4);
        struct history *h = history_valid(&p, &shape);
        if (plant_stale_read(&p, h, 0)) {
            planted++;
            struct check_result r = check(h, "register");
            assert_int_equal(r.verdict, VERDICT_INVALID);
            assert_true(r.ops_count <= 6);
            assert_true(evidence_holds(h, &r, "register"));
            check_result_free(&r);
        }
        history_free(h);
    }
    assert_true(planted > rounds(400) / 2);
}

/* --- by hand ------------------------------------------------------------------------------------------------------ */

#define INT(i) VALUE_OF_INT(i)
#define NIL VALUE_OF_NIL
#define UNTIL_NOW(h, process, begin, f, key, argument) add_op(h, process, begin, 0, f, key, argument, OP_PENDING, NIL)

static void write_ok(struct history *h, uint32_t process, uint64_t begin, uint64_t end, int64_t value) {
    add_op(h, process, begin, end, OP_WRITE, "x", INT(value), OP_OK, NIL);
}

static void read_ok(struct history *h, uint32_t process, uint64_t begin, uint64_t end, struct value result) {
    add_op(h, process, begin, end, OP_READ, "x", NIL, OP_OK, result);
}

static void cas(struct history *h, uint32_t process, uint64_t begin, uint64_t end, int64_t expected, int64_t value,
                enum op_status status) {
    add_op(h, process, begin, end, OP_CAS, "x", history_pair(h, INT(expected), INT(value)), status, NIL);
}

/* Judges and frees the history; `says` has to be in the detail. */
static void expect(struct history *h, const char *model, enum verdict verdict, const char *says) {
    struct check_result r = check(h, model);
    if (r.verdict != verdict || (says && !strstr(r.detail, says))) {
        print_history(h);
        fprintf(stderr, "%s: %s; expected %s, with \"%s\"\n", verdict_name(r.verdict), r.detail, verdict_name(verdict),
                says ? says : "");
        fail();
    }
    if (h->count <= 8 && verdict != VERDICT_UNKNOWN)
        assert_int_equal(oracle_linearizable(h, model, TOUCHING_OF_ONE_PROCESS), verdict == VERDICT_VALID);
    check_result_free(&r);
    history_free(h);
}

static void rejects_stale_read(void **state) {
    (void)state;
    struct history *h = history_new();
    write_ok(h, 1, 0, 10 * NS_PER_MS, 4);
    write_ok(h, 2, 20 * NS_PER_MS, 30 * NS_PER_MS, 5);
    read_ok(h, 7, 30 * NS_PER_MS + 1200 * NS_PER_MS, 1300 * NS_PER_MS, INT(4));
    expect(h, "register", VERDICT_INVALID,
           "key x: read by process 7 returned 4, but 5 had been written by process 2 and acknowledged 1.2 s before the "
           "read began");
}

static void rejects_lost_write(void **state) {
    (void)state;
    struct history *h = history_new();
    write_ok(h, 1, 0, 10, 4);
    read_ok(h, 2, 20, 30, NIL);
    expect(h, "register", VERDICT_INVALID,
           "returned null, but 4 had been written by process 1 and acknowledged 10 ns before the read began");
}

static void rejects_read_of_a_future_write(void **state) {
    (void)state;
    struct history *h = history_new();
    read_ok(h, 2, 0, 10, INT(4));
    write_ok(h, 1, 20, 30, 4);
    expect(h, "register", VERDICT_INVALID, "returned 4, which process 1 began to write only 10 ns later");
}

static void rejects_read_of_what_nobody_wrote(void **state) {
    (void)state;
    struct history *h = history_new();
    write_ok(h, 1, 0, 10, 4);
    read_ok(h, 2, 20, 30, INT(6));
    expect(h, "register", VERDICT_INVALID, "returned 6, which nobody had written");
}

static void rejects_non_monotonic_reads(void **state) {
    (void)state;
    struct history *h = history_new();
    write_ok(h, 1, 0, 10, 4);
    write_ok(h, 1, 20, 100, 5);
    read_ok(h, 2, 30, 40, INT(5));
    read_ok(h, 3, 50, 60, INT(4));
    expect(h, "register", VERDICT_INVALID, "but 5, which is newer, had been read by process 2 10 ns before the read");
}

static void rejects_observed_failed_write(void **state) {
    (void)state;
    struct history *h = history_new();
    add_op(h, 1, 0, 10, OP_WRITE, "x", INT(4), OP_FAIL, NIL);
    read_ok(h, 2, 20, 30, INT(4));
    expect(h, "register", VERDICT_INVALID, "which only a write by process 1 that failed would have written");
}

static void accepts_info_write_observed_late(void **state) {
    (void)state;
    struct history *h = history_new();
    write_ok(h, 1, 0, 10, 4);
    add_op(h, 2, 20, 30, OP_WRITE, "x", INT(5), OP_INFO, NIL);
    read_ok(h, 3, 40, 50, INT(4));
    write_ok(h, 1, 60, 70, 6);
    read_ok(h, 3, 80, 90, INT(6));
    read_ok(h, 3, 100, 110, INT(5));
    expect(h, "register", VERDICT_VALID, NULL);
}

static void rejects_info_write_taking_effect_twice(void **state) {
    (void)state;
    struct history *h = history_new();
    write_ok(h, 1, 0, 10, 4);
    add_op(h, 2, 20, 30, OP_WRITE, "x", INT(5), OP_INFO, NIL);
    read_ok(h, 3, 40, 50, INT(5));
    write_ok(h, 1, 60, 70, 6);
    read_ok(h, 3, 80, 90, INT(5));
    expect(h, "register", VERDICT_INVALID, NULL);
}

static void accepts_info_and_pending_writes_never_observed(void **state) {
    (void)state;
    struct history *h = history_new();
    write_ok(h, 1, 0, 10, 4);
    UNTIL_NOW(h, 5, 11, OP_WRITE, "x", INT(8));
    add_op(h, 2, 20, 30, OP_WRITE, "x", INT(5), OP_INFO, NIL);
    UNTIL_NOW(h, 6, 31, OP_READ, "x", NIL);
    read_ok(h, 3, 40, 50, INT(4));
    expect(h, "register", VERDICT_VALID, NULL);
}

static void rejects_cas_on_another_value(void **state) {
    (void)state;
    struct history *h = history_new();
    write_ok(h, 1, 0, 10, 4);
    cas(h, 2, 20, 30, 3, 5, OP_OK);
    expect(h, "cas-register", VERDICT_INVALID, "cas by process 2 succeeded on 3");
}

static void rejects_two_cas_from_one_value(void **state) {
    (void)state;
    struct history *h = history_new();
    write_ok(h, 1, 0, 10, 4);
    cas(h, 2, 20, 30, 4, 5, OP_OK);
    cas(h, 3, 20, 31, 4, 6, OP_OK);
    expect(h, "cas-register", VERDICT_INVALID, "no order of 3 operations allows it");
}

static void takes_a_failed_cas_that_saw_a_value_for_a_read(void **state) {
    (void)state;
    struct history *h = history_new();
    write_ok(h, 1, 0, 10, 4);
    write_ok(h, 1, 20, 30, 5);
    add_op(h, 2, 40, 50, OP_CAS, "x", history_pair(h, INT(3), INT(9)), OP_FAIL, INT(4));
    expect(h, "cas-register", VERDICT_INVALID, "cas by process 2 failed because it saw 4, but 5 had been written");
    h = history_new();
    write_ok(h, 1, 20, 30, 5);
    cas(h, 2, 40, 50, 3, 9, OP_FAIL);
    expect(h, "cas-register", VERDICT_VALID, NULL);
}

static void accepts_a_chain_of_info_cas(void **state) {
    (void)state;
    struct history *h = history_new();
    write_ok(h, 1, 0, 10, 1);
    cas(h, 2, 20, 30, 3, 4, OP_INFO);
    cas(h, 3, 20, 30, 2, 3, OP_INFO);
    cas(h, 4, 20, 30, 1, 2, OP_INFO);
    read_ok(h, 5, 40, 50, INT(4));
    expect(h, "cas-register", VERDICT_VALID, NULL);
}

/* A blind write that nobody sees may not be put off the way to what an info cas makes of the state. */
static void keeps_a_state_for_an_info_cas(void **state) {
    (void)state;
    struct history *h = history_new();
    write_ok(h, 1, 0, 10, 1);
    write_ok(h, 2, 20, 100, 9);
    cas(h, 3, 30, 40, 1, 2, OP_INFO);
    read_ok(h, 4, 50, 60, INT(2));
    expect(h, "cas-register", VERDICT_VALID, NULL);
}

static void accepts_a_list_that_is_built_again(void **state) {
    (void)state;
    struct history *h = history_new();
    struct value one = history_list(h, (const struct value[]){INT(1)}, 1);
    add_op(h, 1, 0, 10, OP_APPEND, "x", INT(1), OP_OK, NIL);
    add_op(h, 2, 20, 100, OP_DELETE, "x", NIL, OP_OK, NIL);
    add_op(h, 3, 30, 40, OP_READ, "x", NIL, OP_OK, NIL);
    add_op(h, 3, 50, 60, OP_APPEND, "x", INT(1), OP_OK, NIL);
    read_ok(h, 4, 70, 80, one);
    expect(h, "kv", VERDICT_VALID, NULL);
}

static void accepts_concurrent_everything(void **state) {
    (void)state;
    struct history *h = history_new();
    for (uint32_t i = 0; i < 4; i++) write_ok(h, i, 0, 100, i);
    for (uint32_t i = 0; i < 4; i++) read_ok(h, 4 + i, 0, 100, INT(i));
    expect(h, "register", VERDICT_VALID, NULL);
}

static void orders_operations_of_one_process_that_touch(void **state) {
    (void)state;
    struct history *h = history_new();
    write_ok(h, 1, 0, 10, 4);
    write_ok(h, 1, 10, 20, 5);
    read_ok(h, 1, 20, 30, INT(4));
    expect(h, "register", VERDICT_INVALID, NULL);
    h = history_new();
    write_ok(h, 1, 0, 10, 4);
    read_ok(h, 2, 10, 20, NIL);
    expect(h, "register", VERDICT_VALID, NULL);
}

static void keeps_keys_apart(void **state) {
    (void)state;
    struct history *h = history_new();
    add_op(h, 1, 0, 10, OP_WRITE, "a", INT(1), OP_OK, NIL);
    add_op(h, 1, 20, 30, OP_WRITE, "b", INT(2), OP_OK, NIL);
    add_op(h, 2, 40, 50, OP_READ, "a", NIL, OP_OK, INT(1));
    add_op(h, 2, 60, 70, OP_READ, NULL, NIL, OP_OK, NIL);
    add_op(h, 2, 80, 90, OP_READ, "b", NIL, OP_OK, INT(2));
    expect(h, "register", VERDICT_VALID, "5 operations on 3 keys");
    h = history_new();
    add_op(h, 1, 0, 10, OP_WRITE, "a", INT(1), OP_OK, NIL);
    add_op(h, 2, 20, 30, OP_READ, "b", NIL, OP_OK, INT(1));
    expect(h, "register", VERDICT_INVALID, "key b:");
}

static void tells_strings_lists_and_integers_apart(void **state) {
    (void)state;
    struct history *h = history_new();
    struct value text = {.kind = VALUE_STRING, .string = history_intern(h, "1")};
    add_op(h, 1, 0, 10, OP_WRITE, "x", text, OP_OK, NIL);
    read_ok(h, 2, 20, 30, INT(1));
    expect(h, "kv", VERDICT_INVALID, NULL);
    h = history_new();
    add_op(h, 1, 0, 10, OP_APPEND, "x", INT(1), OP_OK, NIL);
    add_op(h, 1, 20, 30, OP_APPEND, "x", INT(2), OP_OK, NIL);
    read_ok(h, 2, 40, 50, history_list(h, (const struct value[]){INT(1), INT(2)}, 2));
    add_op(h, 1, 60, 70, OP_DELETE, "x", NIL, OP_OK, NIL);
    add_op(h, 1, 80, 90, OP_ADD, "x", INT(-3), OP_OK, NIL);
    read_ok(h, 2, 100, 110, INT(-3));
    expect(h, "kv", VERDICT_VALID, NULL);
}

static void does_not_guess_about_unknown_operations(void **state) {
    (void)state;
    struct history *h = history_new();
    cas(h, 1, 0, 10, 1, 2, OP_OK);
    expect(h, "register", VERDICT_UNKNOWN, "operation 0, a cas, is not an operation of this model");
    h = history_new();
    add_op(h, 1, 0, 10, OP_CAS, "x", INT(1), OP_OK, NIL);
    expect(h, "kv", VERDICT_UNKNOWN, "has an argument of the wrong kind");
    h = history_new();
    add_op(h, 1, 0, 10, OP_CAS, "a", INT(1), OP_OK, NIL);
    read_ok(h, 1, 20, 30, INT(3));
    struct check_result r = check(h, "kv");
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_string_equal(r.detail, "key x: read by process 1 returned 3, which nobody had written");
    check_result_free(&r);
    history_free(h);
    h = history_new();
    write_ok(h, 1, 10, 20, 1);
    h->complete_ns[0] = 5;
    expect(h, "register", VERDICT_UNKNOWN, "bad history: operation 0 ended before it began");
    expect(history_new(), "register", VERDICT_VALID, "0 operations");
}

static void draws_what_happened(void **state) {
    (void)state;
    struct history *h = history_new();
    write_ok(h, 1, 0, 10, 4);
    add_op(h, 9, 11, 30, OP_WRITE, "x", INT(6), OP_INFO, NIL);
    write_ok(h, 2, 20, 30, 5);
    cas(h, 3, 40, 60, 6, 7, OP_OK);
    read_ok(h, 7, 50, 70, INT(4));
    struct check_result r = check(h, "cas-register");
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_non_null(strstr(r.explanation, "process 1      [write 4]\n"));
    assert_non_null(strstr(r.explanation, "[read -> 4]"));
    assert_null(strstr(r.explanation, "cas 6"));
    check_result_free(&r);
    history_free(h);
}

/* --- budget ------------------------------------------------------------------------------------------------------- */

/* Many concurrent writers of few values, all of whose orders have to be tried before the last read can be refused. */
static struct history *history_hard(uint32_t writers, uint32_t layers) {
    struct history *h = history_new();
    struct prng p;
    prng_seed(&p, 1, 400);
    uint64_t now = 0;
    for (uint32_t layer = 0; layer < layers; layer++, now += 1000)
        for (uint32_t i = 0; i < writers; i++)
            add_op(h, i, now + i, now + 900 + i, OP_ADD, "x", INT((int64_t)prng_below(&p, UINT64_C(1) << 40)), OP_OK,
                   NIL);
    read_ok(h, 0, now, now + 10, INT(3));
    return h;
}

static void is_unknown_in_time_when_the_time_is_spent(void **state) {
    (void)state;
    struct history *h = history_hard(28, 4);
    struct check_result r;
    uint64_t begin = monotonic_ns();
    check_linearizable(h, model_find("counter"), &(struct check_options){.deadline_ms = 500}, &r);
    uint64_t took = monotonic_ns() - begin;
    assert_int_equal(r.verdict, VERDICT_UNKNOWN);
    assert_non_null(strstr(r.detail, "key x: the time allowed was spent"));
    assert_true(took >= 490 * NS_PER_MS && took < 1000 * NS_PER_MS);
    check_result_free(&r);
    history_free(h);
}

static void is_unknown_when_the_memory_is_spent(void **state) {
    (void)state;
    struct history *h = history_hard(28, 4);
    struct check_result r;
    const struct check_options o = {.deadline_ms = 60000, .memory_bytes_max = 4 << 20};
    uint64_t begin = monotonic_ns();
    check_linearizable(h, model_find("counter"), &o, &r);
    assert_int_equal(r.verdict, VERDICT_UNKNOWN);
    assert_non_null(strstr(r.detail, "key x: the memory allowed was spent"));
    assert_true(monotonic_ns() - begin < 20 * NS_PER_S);
    check_result_free(&r);
    history_free(h);
}

static void a_hard_key_hides_no_violation_on_another(void **state) {
    (void)state;
    struct history *h = history_hard(28, 4);
    uint64_t now = 1000000;
    for (uint32_t i = 0; i < 400; i++) /* the larger key, so that the hard one has its turn first */
        add_op(h, 1, now + 20 * i, now + 20 * i + 10, OP_ADD, "y", INT(1), OP_OK, NIL);
    add_op(h, 1, now + 9000, now + 9010, OP_READ, "y", NIL, OP_OK, INT(399));
    struct check_result r;
    check_linearizable(h, model_find("counter"), &(struct check_options){.deadline_ms = 2000}, &r);
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_non_null(strstr(r.detail, "key y: read by process 1 returned 399"));
    check_result_free(&r);
    history_free(h);
}

static void knows_its_models(void **state) {
    (void)state;
    size_t count;
    const struct model *const *all = models_all(&count);
    assert_int_equal(count, MODELS);
    for (size_t i = 0; i < count; i++) {
        assert_ptr_equal(model_find(model_names[i]), all[i]);
        assert_string_equal(model_name(all[i]), model_names[i]);
        assert_true(strlen(model_doc(all[i])) > 0);
    }
    assert_null(model_find("no such model"));
    assert_int_equal(verdict_merge(VERDICT_VALID, VERDICT_UNKNOWN), VERDICT_UNKNOWN);
    assert_int_equal(verdict_merge(VERDICT_INVALID, VERDICT_UNKNOWN), VERDICT_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_on_random_histories),
        cmocka_unit_test(agrees_on_altered_valid_histories),
        cmocka_unit_test(agrees_on_dense_histories),
        cmocka_unit_test(agrees_on_lists_that_are_replaced),
        cmocka_unit_test(accepts_valid_histories),
        cmocka_unit_test(rejects_planted_stale_reads),
        cmocka_unit_test(rejects_stale_read),
        cmocka_unit_test(rejects_lost_write),
        cmocka_unit_test(rejects_read_of_a_future_write),
        cmocka_unit_test(rejects_read_of_what_nobody_wrote),
        cmocka_unit_test(rejects_non_monotonic_reads),
        cmocka_unit_test(rejects_observed_failed_write),
        cmocka_unit_test(accepts_info_write_observed_late),
        cmocka_unit_test(rejects_info_write_taking_effect_twice),
        cmocka_unit_test(accepts_info_and_pending_writes_never_observed),
        cmocka_unit_test(rejects_cas_on_another_value),
        cmocka_unit_test(rejects_two_cas_from_one_value),
        cmocka_unit_test(takes_a_failed_cas_that_saw_a_value_for_a_read),
        cmocka_unit_test(accepts_a_chain_of_info_cas),
        cmocka_unit_test(keeps_a_state_for_an_info_cas),
        cmocka_unit_test(accepts_a_list_that_is_built_again),
        cmocka_unit_test(accepts_concurrent_everything),
        cmocka_unit_test(orders_operations_of_one_process_that_touch),
        cmocka_unit_test(keeps_keys_apart),
        cmocka_unit_test(tells_strings_lists_and_integers_apart),
        cmocka_unit_test(does_not_guess_about_unknown_operations),
        cmocka_unit_test(draws_what_happened),
        cmocka_unit_test(is_unknown_in_time_when_the_time_is_spent),
        cmocka_unit_test(is_unknown_when_the_memory_is_spent),
        cmocka_unit_test(a_hard_key_hides_no_violation_on_another),
        cmocka_unit_test(knows_its_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
