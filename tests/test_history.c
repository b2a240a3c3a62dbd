/* The in-memory history: interning, values, recording, clearing, latency quantiles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "history/history.h"

static void equal_texts_have_equal_ids(void **state) {
    (void)state;
    struct history *h = history_new();
    uint32_t a = history_intern(h, "alpha"), b = history_intern(h, "beta"), empty = history_intern(h, "");
    assert_int_not_equal(a, b);
    assert_int_equal(history_intern_bytes(h, bytes_of("alphabet", 5)), a);
    assert_int_equal(history_intern(h, ""), empty);
    uint32_t nul = history_intern_bytes(h, bytes_of("alpha\0", 6));
    assert_int_not_equal(nul, a);
    assert_int_equal(history_text_bytes(h, nul).size, 6);
    assert_string_equal(history_text(h, b), "beta");
    assert_string_equal(history_text(h, NO_STRING), "");
    history_free(h);
}

static void a_hundred_thousand_texts_keep_their_ids(void **state) {
    (void)state;
    struct history *h = history_new();
    char text[32];
    for (uint32_t i = 0; i < 100000; i++) {
        snprintf(text, sizeof text, "text %u", i);
        assert_int_equal(history_intern(h, text), i);
    }
    for (uint32_t i = 0; i < 100000; i += 7) {
        snprintf(text, sizeof text, "text %u", i);
        assert_int_equal(history_intern(h, text), i);
        assert_string_equal(history_text(h, i), text);
    }
    history_free(h);
}

static void lists_nest_compare_deeply_and_print_as_json(void **state) {
    (void)state;
    struct history *h = history_new();
    struct value s = {.kind = VALUE_STRING, .string = history_intern(h, "a\"b\n\x01\xff")};
    struct value inner = history_pair(h, VALUE_OF_INT(INT64_MIN), s);
    struct value list = history_list(h, (struct value[]){inner, VALUE_OF_NIL, VALUE_OF_INT(7)}, 3);
    struct value again = history_list(
        h, (struct value[]){history_pair(h, VALUE_OF_INT(INT64_MIN), s), VALUE_OF_NIL, VALUE_OF_INT(7)}, 3);
    assert_true(history_value_equal(h, list, again));
    assert_false(history_value_equal(h, list, inner));
    assert_true(history_value_equal(h, history_list(h, NULL, 0), history_list(h, NULL, 0)));
    struct buffer out = {0};
    history_value_print(h, list, &out);
    buffer_append(&out, "", 1);
    assert_string_equal((char *)out.data, "[[-9223372036854775808,\"a\\\"b\\n\\u0001\\udcff\"],null,7]");
    buffer_free(&out);
    history_free(h);
}

static void a_list_may_be_copied_from_the_pool_itself(void **state) {
    (void)state;
    struct history *h = history_new();
    struct value list = history_pair(h, VALUE_OF_INT(1), VALUE_OF_INT(2));
    for (int i = 0; i < 12; i++) list = history_list(h, h->pool + list.first, list.size);
    for (int i = 0; i < 5000; i++) {
        struct value copy = history_list(h, h->pool + list.first, list.size);
        assert_true(history_value_equal(h, list, copy));
    }
    history_free(h);
}

static void functions_have_names_and_their_number_is_limited(void **state) {
    (void)state;
    struct history *h = history_new();
    assert_int_equal(history_function(h, "cas"), OP_CAS);
    uint16_t first = history_function(h, "enqueue");
    assert_int_equal(first, OP_CUSTOM);
    assert_int_equal(history_function(h, "enqueue"), first);
    assert_string_equal(history_function_name(h, first), "enqueue");
    char name[16];
    for (int i = 1; i < 256; i++) {
        snprintf(name, sizeof name, "f%d", i);
        assert_int_equal(history_function(h, name), OP_CUSTOM + i);
    }
    assert_int_equal(history_function(h, "one too many"), FUNCTION_NONE);
    assert_int_equal(history_function(h, "f255"), OP_CUSTOM + 255);
    history_free(h);
}

static void an_operation_is_pending_until_it_completes(void **state) {
    (void)state;
    struct history *h = history_new();
    uint32_t key = history_intern(h, "k");
    for (uint32_t i = 0; i < 5000; i++)
        assert_int_equal(history_invoke(h, i, i / 2, i, 3, OP_WRITE, key, VALUE_OF_INT(i)), i);
    assert_int_equal(h->count, 5000);
    assert_int_equal(h->status[4321], OP_PENDING);
    assert_true(h->complete_ns[4321] == UINT64_MAX);
    history_complete(h, 4321, 9000, OP_INFO, VALUE_OF_NIL, history_intern(h, "timeout"));
    assert_int_equal(h->status[4321], OP_INFO);
    assert_int_equal(h->complete_ns[4321], 9000);
    assert_int_equal(h->intended_ns[4321], 2160);
    assert_int_equal(h->argument[4321].integer, 4321);
    assert_string_equal(history_text(h, h->error[4321]), "timeout");
    history_free(h);
}

static void clear_empties_everything_and_keeps_the_memory(void **state) {
    (void)state;
    struct history *h = history_new();
    for (int round = 0; round < 3; round++) {
        assert_int_equal(h->count + h->strings.count + h->pool_count + h->custom_count, 0);
        assert_int_equal(h->faults_count + h->samples_count, 0);
        uint16_t f = history_function(h, round ? "second" : "first");
        uint32_t op =
            history_invoke(h, 5, 5, 0, 0, f, history_intern(h, "k"), history_pair(h, VALUE_OF_NIL, VALUE_OF_NIL));
        history_complete(h, op, 6, OP_OK, VALUE_OF_NIL, NO_STRING);
        uint32_t fault = history_fault_start(h, 1, "kill", NULL, "#000000");
        history_fault_end(h, fault, 2, 1, 1);
        history_sample(h, (struct sample){.time_ns = 3, .text = NO_STRING});
        assert_string_equal(history_function_name(h, h->f[op]), round ? "second" : "first");
        uint32_t *column = h->process;
        history_clear(h);
        assert_ptr_equal(h->process, column);
    }
    history_free(h);
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The exact quantile is never above the estimate, and the estimate at most a thousandth above it. */
static void assert_close(uint64_t estimate, const uint64_t *sorted, uint64_t count, uint64_t permille) {
    uint64_t exact = sorted[(count * permille + 999) / 1000 - 1];
    assert_true(estimate >= exact);
    assert_true(estimate - exact <= exact / 1000);
}

static void latency_quantiles_are_within_a_thousandth_of_the_exact_ones(void **state) {
    (void)state;
    struct prng prng;
    prng_seed(&prng, 7, 1);
    uint64_t *latencies = calloc(20000, sizeof *latencies);
    for (uint32_t round = 0; round < 40; round++) {
        struct history *h = history_new();
        uint64_t count = 1 + prng_below(&prng, round < 20 ? 20 : 20000), sum = 0;
        unsigned bits = 1 + round % 40;
        for (uint64_t i = 0; i < count; i++) {
            uint64_t wait_ns = prng_below(&prng, 100), ns = prng_next(&prng) >> (64 - bits);
            uint32_t op = history_invoke(h, 1000, 1000 - wait_ns, (uint32_t)i, 0, OP_WRITE, NO_STRING, VALUE_OF_NIL);
            history_complete(h, op, 1000 + ns, OP_OK, VALUE_OF_NIL, NO_STRING);
            latencies[i] = ns + wait_ns;
            sum += latencies[i];
        }
        qsort(latencies, count, sizeof *latencies, compare_u64);
        struct quantiles q = history_latency(h, UINT16_MAX);
        assert_int_equal(q.count, count);
        assert_int_equal(q.max_ns, latencies[count - 1]);
        assert_int_equal(q.mean_ns, sum / count);
        assert_close(q.p50_ns, latencies, count, 500);
        assert_close(q.p90_ns, latencies, count, 900);
        assert_close(q.p99_ns, latencies, count, 990);
        assert_close(q.p999_ns, latencies, count, 999);
        history_free(h);
    }
    free(latencies);
}

static void latency_counts_ok_operations_of_the_function_only(void **state) {
    (void)state;
    struct history *h = history_new();
    static const enum op_status ends[] = {OP_OK, OP_FAIL, OP_INFO, OP_OK};
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t op = history_invoke(h, 100, 100, i, 0, i == 3 ? OP_READ : OP_WRITE, NO_STRING, VALUE_OF_NIL);
        history_complete(h, op, 100 + 10 * (i + 1), ends[i], VALUE_OF_NIL, NO_STRING);
    }
    history_invoke(h, 100, 100, 9, 0, OP_WRITE, NO_STRING, VALUE_OF_NIL);
    assert_int_equal(history_latency(h, OP_WRITE).count, 1);
    assert_int_equal(history_latency(h, OP_WRITE).p99_ns, 10);
    assert_int_equal(history_latency(h, UINT16_MAX).count, 2);
    assert_int_equal(history_latency(h, UINT16_MAX).p50_ns, 10);
    assert_int_equal(history_latency(h, OP_CAS).max_ns, 0);
    history_free(h);
}

static void the_largest_latencies_do_not_overflow(void **state) {
    (void)state;
    struct history *h = history_new();
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t op = history_invoke(h, 0, 0, i, 0, OP_READ, NO_STRING, VALUE_OF_NIL);
        history_complete(h, op, UINT64_MAX - 1, OP_OK, VALUE_OF_NIL, NO_STRING);
    }
    struct quantiles q = history_latency(h, OP_READ);
    assert_true(q.max_ns == UINT64_MAX - 1 && q.p50_ns == q.max_ns && q.mean_ns == q.max_ns);
    history_free(h);
}

static void room_for_many_operations_keeps_what_was_recorded(void **state) {
    (void)state;
    const uint32_t recorded = 1500, reserved = 300000; /* the large columns of the latter are mapped on their own */
    struct history *h = history_new();
    for (uint32_t op = 0; op < recorded; op++)
        history_invoke(h, op, op, op, NODE_UNKNOWN, OP_WRITE, NO_STRING, VALUE_OF_INT(op));
    history_reserve(h, reserved);
    assert_int_equal(h->capacity, reserved);
    history_reserve(h, recorded);
    assert_int_equal(h->capacity, reserved);
    for (uint32_t op = recorded; op <= reserved; op++)
        history_invoke(h, op, op, op, NODE_UNKNOWN, OP_WRITE, NO_STRING, VALUE_OF_INT(op));
    for (uint32_t op = 0; op <= reserved; op++)
        if (h->process[op] != op || h->argument[op].integer != op || h->invoke_ns[op] != op) fail_msg("%u", op);
    history_free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_texts_have_equal_ids),
        cmocka_unit_test(a_hundred_thousand_texts_keep_their_ids),
        cmocka_unit_test(lists_nest_compare_deeply_and_print_as_json),
        cmocka_unit_test(a_list_may_be_copied_from_the_pool_itself),
        cmocka_unit_test(functions_have_names_and_their_number_is_limited),
        cmocka_unit_test(an_operation_is_pending_until_it_completes),
        cmocka_unit_test(clear_empties_everything_and_keeps_the_memory),
        cmocka_unit_test(latency_quantiles_are_within_a_thousandth_of_the_exact_ones),
        cmocka_unit_test(latency_counts_ok_operations_of_the_function_only),
        cmocka_unit_test(the_largest_latencies_do_not_overflow),
        cmocka_unit_test(room_for_many_operations_keeps_what_was_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
