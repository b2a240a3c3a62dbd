/* The checks of collections: against the oracle on small random histories, and by hand. HARROW_TEST_LONG=1 tries a
 * million histories and more. */
#include "checkers/collections/collections.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/check_histories.h"
#include "tests/collection_histories.h"

#define I VALUE_OF_INT
#define NIL VALUE_OF_NIL

static uint32_t rounds(uint32_t count) {
    if (getenv("HARROW_TEST_LONG")) return 20 * count;
    return getenv("HARROW_TEST_QUICK") ? count / 20 + 1 : count;
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

typedef void check_function(const struct history *, const struct check_options *, struct check_result *);

static void semaphore_of_two(const struct history *h, const struct check_options *o, struct check_result *out) {
    check_semaphore(h, 2, o, out);
}

static check_function *const checks[OBJECT_KINDS] = {
    [OBJECT_BAG] = check_bag,
    [OBJECT_FIFO] = check_fifo,
    [OBJECT_AT_LEAST_ONCE] = check_fifo_at_least_once,
    [OBJECT_STACK] = check_stack,
    [OBJECT_PRIORITY_QUEUE] = check_priority_queue,
    [OBJECT_SET] = check_linearizable_set,
    [OBJECT_MUTEX] = check_mutex,
    [OBJECT_SEMAPHORE] = semaphore_of_two,
    [OBJECT_FENCED] = check_fenced_lock,
};

static struct check_result run(check_function *check, const struct history *h) {
    struct check_result r;
    check(h, NULL, &r);
    assert_non_null(r.name);
    assert_non_null(r.detail);
    assert_null(strchr(r.detail, '\n'));
    for (uint32_t i = 0; i < r.ops_count; i++) assert_true(r.ops[i] < h->count && (i == 0 || r.ops[i - 1] < r.ops[i]));
    if (r.verdict == VERDICT_INVALID) {
        assert_non_null(r.explanation);
        assert_true(r.ops_count > 0);
    }
    return r;
}

/* --- against the oracle ------------------------------------------------------------------------------------------- */

static bool nothing_succeeded(const struct history *h) {
    for (uint32_t op = 0; op < h->count; op++)
        if (h->status[op] == OP_OK) return false;
    return true;
}

static void expect_as_oracle(const struct history *h, enum object_kind kind, uint32_t seed, uint32_t *valid,
                             uint32_t *invalid) {
    struct check_result r = run(checks[kind], h);
    bool holds = oracle_collection(h, kind), evident = true;
    if (r.verdict == VERDICT_INVALID) {
        struct history *part = history_of(h, r.ops, r.ops_count);
        evident = !oracle_collection(part, kind);
        history_free(part);
    }
    if (r.verdict == VERDICT_UNKNOWN || (r.verdict == VERDICT_VALID) != holds || !evident) {
        print_history(h);
        fail_msg("seed %u: %s says %s%s: %s\n%s", seed, r.name, verdict_name(r.verdict),
                 evident ? "" : " on evidence that is none", r.detail, r.explanation ? r.explanation : "");
    }
    *valid += holds;
    *invalid += !holds;
    check_result_free(&r);
}

static void agrees(enum object_kind kind, uint32_t count) {
    uint32_t valid = 0, invalid = 0;
    for (uint32_t seed = 0; seed < count; seed++) {
        struct prng p;
        prng_seed(&p, seed, 100 + kind);
        struct collection_shape shape = {.kind = kind, .keys = 1, .fail_ppm = 30000};
        shape.ops = 3 + (uint32_t)prng_below(&p, kind == OBJECT_STACK ? 10 : 8);
        shape.clients = 1 + (uint32_t)prng_below(&p, 5);
        shape.put_ppm = 400000 + 50000 * (uint32_t)prng_below(&p, 6);
        shape.wrong_ppm = 100000 * (uint32_t)prng_below(&p, 6);
        shape.info_ppm = prng_below(&p, 2) ? 0 : 150000;
        if (prng_below(&p, 4) == 0) shape.values = 1 + (uint32_t)prng_below(&p, 4);
        if (prng_below(&p, 8) == 0) shape.keys = 2;
        struct history *h = collection_random(&p, &shape);
        if (!nothing_succeeded(h)) expect_as_oracle(h, kind, seed, &valid, &invalid);
        history_free(h);
    }
    if (getenv("HARROW_TEST_LONG")) fprintf(stderr, "kind %u: %u valid, %u invalid\n", kind, valid, invalid);
    assert_true(valid > count / 10 && invalid > count / 20);
}

static void test_bags_agree_with_the_oracle(void **state) {
    (void)state;
    agrees(OBJECT_BAG, rounds(50000));
}

static void test_fifo_queues_agree_with_the_oracle(void **state) {
    (void)state;
    agrees(OBJECT_FIFO, rounds(50000));
}

static void test_queues_that_deliver_again_agree_with_the_oracle(void **state) {
    (void)state;
    agrees(OBJECT_AT_LEAST_ONCE, rounds(50000));
}

static void test_stacks_agree_with_the_oracle(void **state) {
    (void)state;
    agrees(OBJECT_STACK, rounds(50000));
}

static void test_priority_queues_agree_with_the_oracle(void **state) {
    (void)state;
    agrees(OBJECT_PRIORITY_QUEUE, rounds(50000));
}

static void test_sets_agree_with_the_oracle(void **state) {
    (void)state;
    agrees(OBJECT_SET, rounds(50000));
}

static void test_locks_agree_with_the_oracle(void **state) {
    (void)state;
    agrees(OBJECT_MUTEX, rounds(50000));
    agrees(OBJECT_SEMAPHORE, rounds(50000));
    agrees(OBJECT_FENCED, rounds(50000));
}

/* --- by hand ------------------------------------------------------------------------------------------------------ */

struct line {
    uint64_t begin, end;
    const char *f;
    struct value value; /* argument and result */
    enum op_status status;
};

static struct history *written(const struct line *lines, uint32_t count) {
    struct history *h = history_new();
    for (uint32_t i = 0; i < count; i++)
        add_op(h, i, lines[i].begin, lines[i].end, history_function(h, lines[i].f), NULL, lines[i].value,
               lines[i].status, lines[i].status == OP_OK ? lines[i].value : NIL);
    return h;
}

static void expect(check_function *check, const struct line *lines, uint32_t count, enum verdict verdict,
                   const char *words, uint32_t ops_count) {
    struct history *h = written(lines, count);
    struct check_result r = run(check, h);
    if (r.verdict != verdict || !strstr(r.detail, words) || (ops_count && r.ops_count != ops_count))
        fail_msg("%s: %s: %s (%u operations), not %s: %s (%u)", r.name, verdict_name(r.verdict), r.detail, r.ops_count,
                 verdict_name(verdict), words, ops_count);
    check_result_free(&r);
    history_free(h);
}
#define EXPECT(check, verdict, words, ops, ...)                                                                        \
    do {                                                                                                               \
        const struct line lines[] = {__VA_ARGS__};                                                                     \
        expect(check, lines, sizeof lines / sizeof *lines, verdict, words, ops);                                       \
    } while (0)

static void test_a_queue_says_what_is_wrong(void **state) {
    (void)state;
    EXPECT(check_fifo, VERDICT_INVALID, "1 was enqueued before 2, which was dequeued while it was still inside", 3,
           {0, 1, "enqueue", I(1), OP_OK}, {2, 3, "enqueue", I(2), OP_OK}, {4, 5, "dequeue", I(2), OP_OK},
           {6, 7, "dequeue", I(1), OP_OK});
    EXPECT(check_fifo, VERDICT_INVALID, "while it was still inside", 3, {0, 1, "enqueue", I(1), OP_OK},
           {2, 3, "enqueue", I(2), OP_OK}, {4, 5, "dequeue", I(2), OP_OK});
    EXPECT(check_fifo, VERDICT_INVALID, "found nothing, but all the while something was inside: 1", 2,
           {0, 1, "enqueue", I(1), OP_OK}, {4, 5, "dequeue", NIL, OP_OK});
    EXPECT(check_bag, VERDICT_INVALID, "was dequeued 2 times, but enqueued once", 3, {0, 1, "enqueue", I(1), OP_OK},
           {4, 5, "dequeue", I(1), OP_OK}, {6, 7, "dequeue", I(1), OP_OK});
    EXPECT(check_bag, VERDICT_INVALID, "putting it in had failed", 2, {0, 1, "enqueue", I(1), OP_FAIL},
           {4, 5, "dequeue", I(1), OP_OK});
    EXPECT(check_fifo_at_least_once, VERDICT_VALID, "", 0, {0, 1, "enqueue", I(1), OP_OK},
           {2, 3, "enqueue", I(2), OP_OK}, {4, 5, "dequeue", I(1), OP_OK}, {6, 7, "dequeue", I(2), OP_OK},
           {8, 9, "dequeue", I(1), OP_OK});
    EXPECT(check_fifo, VERDICT_UNKNOWN, "does not know", 1, {0, 1, "enqueue", I(1), OP_OK},
           {2, 3, "peek", I(1), OP_OK});
}

static void test_a_take_of_unknown_result_may_explain_a_gap(void **state) {
    (void)state;
    EXPECT(check_fifo, VERDICT_VALID, "", 0, {0, 1, "enqueue", I(1), OP_OK}, {2, 3, "enqueue", I(2), OP_OK},
           {4, 5, "dequeue", NIL, OP_INFO}, {6, 7, "dequeue", I(2), OP_OK});
    EXPECT(check_fifo, VERDICT_INVALID, "of unknown result cannot explain it", 0, {0, 1, "enqueue", I(1), OP_OK},
           {2, 3, "enqueue", I(2), OP_OK}, {6, 7, "dequeue", I(2), OP_OK}, {8, 9, "dequeue", NIL, OP_INFO});
    EXPECT(check_stack, VERDICT_VALID, "", 0, {0, 1, "push", I(1), OP_OK}, {2, 3, "push", I(2), OP_OK},
           {4, 5, "pop", NIL, OP_PENDING}, {6, 7, "pop", I(1), OP_OK});
}

static void test_a_stack_says_what_is_wrong(void **state) {
    (void)state;
    EXPECT(check_stack, VERDICT_INVALID, "no order in which they come out last in, first out", 3,
           {0, 1, "push", I(9), OP_OK}, {2, 3, "pop", I(9), OP_OK}, {10, 11, "push", I(1), OP_OK},
           {12, 13, "push", I(2), OP_OK}, {14, 15, "pop", I(1), OP_OK}, {16, 17, "pop", I(2), OP_OK});
    EXPECT(check_priority_queue, VERDICT_INVALID, "something less was inside: 1", 3, {0, 1, "insert", I(1), OP_OK},
           {2, 3, "insert", I(2), OP_OK}, {4, 5, "delete-min", I(2), OP_OK}, {6, 7, "delete-min", I(1), OP_OK});
}

static void test_total_queue_keeps_accounts(void **state) {
    (void)state;
    EXPECT(check_total_queue, VERDICT_INVALID, "lost: 1 (1 lost, 0 unexpected, 0 duplicated, 0 recovered)", 2,
           {0, 1, "enqueue", I(1), OP_OK}, {2, 3, "enqueue", I(2), OP_OK}, {4, 5, "dequeue", I(2), OP_OK},
           {6, 7, "dequeue", NIL, OP_FAIL});
    EXPECT(check_total_queue, VERDICT_UNKNOWN, "not drained", 0, {0, 1, "enqueue", I(1), OP_OK},
           {2, 3, "enqueue", I(2), OP_OK}, {4, 5, "dequeue", I(2), OP_OK});
    EXPECT(check_total_queue, VERDICT_UNKNOWN, "of unknown result may have taken", 0, {0, 1, "enqueue", I(1), OP_OK},
           {4, 5, "dequeue", NIL, OP_INFO}, {6, 7, "dequeue", NIL, OP_OK});
    EXPECT(check_total_queue, VERDICT_INVALID, "never enqueued, but dequeued: 7", 1, {0, 1, "dequeue", I(7), OP_OK});
    EXPECT(check_total_queue, VERDICT_VALID, "1 duplicated, 1 recovered", 0, {0, 1, "enqueue", I(1), OP_INFO},
           {2, 3, "dequeue", I(1), OP_OK}, {4, 5, "dequeue", I(1), OP_OK});
}

static void test_unique_ids_are_compared(void **state) {
    (void)state;
    EXPECT(check_unique_ids, VERDICT_VALID, "2 ids", 0, {0, 1, "generate", I(1), OP_OK},
           {2, 3, "generate", I(-900000), OP_OK}, {4, 5, "generate", I(1), OP_INFO});
    EXPECT(check_unique_ids, VERDICT_INVALID, "1 was generated twice", 2, {0, 1, "generate", I(1), OP_OK},
           {2, 3, "generate", I(2), OP_OK}, {4, 5, "generate", I(1), OP_OK});
}

static void test_locks_say_what_is_wrong(void **state) {
    (void)state;
    EXPECT(check_mutex, VERDICT_INVALID, "process 1 acquired, but it was held", 2, {0, 1, "acquire", NIL, OP_OK},
           {2, 3, "acquire", NIL, OP_OK}, {4, 5, "release", NIL, OP_OK});
    EXPECT(check_mutex, VERDICT_VALID, "2 times acquired", 0, {0, 1, "acquire", NIL, OP_OK},
           {2, 3, "release", NIL, OP_INFO}, {4, 5, "acquire", NIL, OP_OK});
    EXPECT(check_fenced_lock, VERDICT_INVALID, "token 3 was granted after 4", 2, {0, 1, "acquire", I(4), OP_OK},
           {2, 3, "acquire", I(3), OP_OK});
    EXPECT(check_fenced_lock, VERDICT_INVALID, "token 4 was granted twice", 2, {0, 9, "acquire", I(4), OP_OK},
           {2, 8, "acquire", I(4), OP_OK});
    EXPECT(check_fenced_lock, VERDICT_UNKNOWN, "no token", 1, {0, 1, "acquire", NIL, OP_OK});
}

/* --- sets --------------------------------------------------------------------------------------------------------- */

struct history_lines {
    struct history *h;
    uint32_t process;
};

static void add(struct history_lines *l, uint64_t begin, uint64_t end, int64_t x, enum op_status status) {
    add_op(l->h, l->process++, begin, end, OP_ADD, NULL, I(x), status, NIL);
}

static void read_digits(struct history_lines *l, uint64_t begin, uint64_t end, const char *digits) {
    struct value list[16];
    uint32_t count = 0;
    for (; digits[count]; count++) list[count] = I(digits[count] - '0');
    add_op(l->h, l->process++, begin, end, OP_READ, NULL, NIL, OP_OK, history_list(l->h, list, count));
}

static void expect_set(check_function *check, struct history_lines *l, enum verdict verdict, const char *words) {
    struct check_result r = run(check, l->h);
    if (r.verdict != verdict || !strstr(r.detail, words))
        fail_msg("%s: %s: %s, not %s: %s", r.name, verdict_name(r.verdict), r.detail, verdict_name(verdict), words);
    check_result_free(&r);
    history_clear(l->h);
    l->process = 0;
}

static void test_the_last_read_of_a_set_has_everything(void **state) {
    (void)state;
    struct history_lines l = {.h = history_new()};
    add(&l, 0, 1, 1, OP_OK);
    add(&l, 2, 3, 2, OP_INFO);
    read_digits(&l, 4, 5, "12");
    expect_set(check_set, &l, VERDICT_VALID, "1 recovered");
    add(&l, 0, 1, 1, OP_OK);
    add(&l, 2, 3, 2, OP_OK);
    read_digits(&l, 4, 5, "2");
    expect_set(check_set, &l, VERDICT_INVALID, "lost: 1");
    add(&l, 0, 1, 1, OP_OK);
    add(&l, 2, 3, 2, OP_FAIL);
    read_digits(&l, 4, 5, "12");
    expect_set(check_set, &l, VERDICT_INVALID, "read, but never added: 2");
    add(&l, 0, 1, 1, OP_OK);
    read_digits(&l, 4, 5, "11");
    expect_set(check_set, &l, VERDICT_INVALID, "twice in one read: 1");
    read_digits(&l, 0, 1, "");
    add(&l, 2, 3, 1, OP_OK);
    expect_set(check_set, &l, VERDICT_UNKNOWN, "no read began after");
    history_free(l.h);
}

static void test_set_full_follows_each_element(void **state) {
    (void)state;
    struct history_lines l = {.h = history_new()};
    add(&l, 0, 10, 1, OP_OK);
    read_digits(&l, 20, 30, "");
    read_digits(&l, 40, 50, "1");
    expect_set(check_set_full, &l, VERDICT_VALID, "1 stale, for at most 10 ns");
    add(&l, 0, 10, 1, OP_OK);
    read_digits(&l, 20, 30, "1");
    read_digits(&l, 40, 50, "");
    expect_set(check_set_full, &l, VERDICT_INVALID, "lost: 1, last there in a read that began 20 ns before");
    add(&l, 0, 10, 1, OP_OK);
    read_digits(&l, 20, 30, "");
    expect_set(check_set_full, &l, VERDICT_INVALID, "lost: 1, acknowledged 10 ns before");
    add(&l, 0, 10, 1, OP_INFO);
    add(&l, 11, 12, 2, OP_OK);
    read_digits(&l, 20, 30, "2");
    add(&l, 40, 50, 3, OP_OK);
    expect_set(check_set_full, &l, VERDICT_VALID, "1 never read");
    add(&l, 0, 10, 1, OP_OK);
    read_digits(&l, 20, 30, "11");
    read_digits(&l, 40, 50, "1");
    expect_set(check_set_full, &l, VERDICT_INVALID, "twice in one read: 1");
    history_free(l.h);
}

/* Jepsen's definitions, element by element and read by read. */
static enum verdict set_full_by_hand(const struct history *h, uint32_t elements) {
    bool stable = false, lost = false;
    for (int64_t x = 0; x < elements; x++) {
        uint64_t known = UINT64_MAX, present = 0, absent = 0;
        bool is_present = false, is_absent = false;
        for (uint32_t op = 0; op < h->count; op++) {
            if (h->status[op] != OP_OK) continue;
            bool has = h->f[op] == OP_ADD && h->argument[op].integer == x;
            for (uint32_t i = 0; h->f[op] == OP_READ && i < h->result[op].size; i++)
                has |= h->pool[h->result[op].first + i].integer == x;
            if (has && h->complete_ns[op] < known) known = h->complete_ns[op];
            if (h->f[op] != OP_READ) continue;
            if (has) present = h->invoke_ns[op];
            if (!has) absent = h->invoke_ns[op];
            is_present |= has;
            is_absent |= !has;
        }
        if (is_present && (!is_absent || absent < present))
            stable = true;
        else if (is_absent && known < absent)
            lost = true;
    }
    return lost ? VERDICT_INVALID : stable ? VERDICT_VALID : VERDICT_UNKNOWN;
}

static void test_set_full_agrees_with_its_definition(void **state) {
    (void)state;
    for (uint32_t seed = 0; seed < rounds(50000); seed++) {
        struct prng p;
        prng_seed(&p, seed, 200);
        struct collection_shape shape = {.kind = OBJECT_SET, .keys = 1, .clients = 3, .put_ppm = 400000};
        shape.ops = 4 + (uint32_t)prng_below(&p, 9);
        shape.wrong_ppm = prng_below(&p, 2) ? 0 : 100000;
        shape.info_ppm = prng_below(&p, 2) ? 0 : 100000;
        struct history *h = collection_random(&p, &shape);
        struct check_result r = run(check_set_full, h);
        if (!nothing_succeeded(h) && r.verdict != set_full_by_hand(h, 16)) {
            print_history(h);
            fail_msg("seed %u: %s: %s", seed, verdict_name(r.verdict), r.detail);
        }
        check_result_free(&r);
        history_free(h);
    }
}

/* --- limits ------------------------------------------------------------------------------------------------------- */

static void test_a_budget_that_is_spent_is_unknown(void **state) {
    (void)state;
    struct collection_shape shape = {.ops = 12, .clients = 4, .keys = 1, .put_ppm = 500000};
    const struct check_options o = {.memory_bytes_max = 64};
    for (uint32_t kind = 0; kind < OBJECT_KINDS; kind++) {
        struct prng p;
        prng_seed(&p, kind, 300);
        shape.kind = kind;
        struct history *h = collection_random(&p, &shape);
        struct check_result r;
        checks[kind](h, &o, &r);
        assert_int_equal(r.verdict, VERDICT_UNKNOWN);
        assert_non_null(strstr(r.detail, "memory allowed was spent"));
        check_result_free(&r);
        history_free(h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_queue_says_what_is_wrong),
        cmocka_unit_test(test_a_take_of_unknown_result_may_explain_a_gap),
        cmocka_unit_test(test_a_stack_says_what_is_wrong),
        cmocka_unit_test(test_total_queue_keeps_accounts),
        cmocka_unit_test(test_unique_ids_are_compared),
        cmocka_unit_test(test_locks_say_what_is_wrong),
        cmocka_unit_test(test_the_last_read_of_a_set_has_everything),
        cmocka_unit_test(test_set_full_follows_each_element),
        cmocka_unit_test(test_a_budget_that_is_spent_is_unknown),
        cmocka_unit_test(test_bags_agree_with_the_oracle),
        cmocka_unit_test(test_fifo_queues_agree_with_the_oracle),
        cmocka_unit_test(test_queues_that_deliver_again_agree_with_the_oracle),
        cmocka_unit_test(test_stacks_agree_with_the_oracle),
        cmocka_unit_test(test_priority_queues_agree_with_the_oracle),
        cmocka_unit_test(test_sets_agree_with_the_oracle),
        cmocka_unit_test(test_set_full_agrees_with_its_definition),
        cmocka_unit_test(test_locks_agree_with_the_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
