/* Registers that transactions read and write together: against an oracle that tries all orders, where values repeat,
 * and what they hold at first. Also Jepsen's bank, whose operations are no transactions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/transaction_histories.h"

static enum verdict judge(const struct history *h, const struct check_options *o, const char *detail) {
    struct check_result r;
    check_multi_register(h, o, &r);
    enum verdict verdict = r.verdict;
    if (detail && !strstr(r.detail, detail)) fail_msg("'%s' is not in: %s", detail, r.detail);
    check_result_free(&r);
    return verdict;
}

/* Fewer values than writes: what rw-register does not take. */
static void repeat_values(struct history *h) {
    for (uint32_t i = 0; i < h->pool_count; i++)
        if (h->pool[i].kind == VALUE_LIST && h->pool[i].size == 3) {
            struct value *value = &h->pool[h->pool[i].first + 2];
            if (value->kind == VALUE_INT) value->integer %= 2;
        }
}

/* Where a process begins in the nanosecond in which it ended, and another acts, too, the oracle goes by the process,
 * but linearizability by the time. */
static bool touches_itself(const struct history *h) {
    for (uint32_t a = 0; a < h->count; a++)
        for (uint32_t b = a + 1; b < h->count; b++)
            if (h->process[a] == h->process[b] && h->complete_ns[a] >= h->invoke_ns[b]) return true;
    return false;
}

static void agrees_with_all_orders(bool repeated, uint64_t seed) {
    struct prng p;
    uint32_t valid = 0, count = 0;
    prng_seed(&p, seed, 1);
    for (uint32_t i = 0; i < 30000; i++) {
        struct history *h = transactions_random(&p, TRANSACTIONS_RW_REGISTER);
        if (touches_itself(h)) {
            history_free(h);
            continue;
        }
        count++;
        if (repeated) repeat_values(h);
        bool expected = oracle_transactions(h, TRANSACTIONS_RW_REGISTER, "strict-serializable");
        enum verdict verdict = judge(h, NULL, NULL);
        if (verdict != (expected ? VERDICT_VALID : VERDICT_INVALID))
            fail_msg("history %u: %s, but %s", i, expected ? "an order exists" : "there is no order",
                     verdict_name(verdict));
        valid += expected;
        history_free(h);
    }
    assert_true(count > 10000);
    assert_in_range(valid, count / 10, count - count / 10);
}

static void agrees_with_all_orders_of_different_values(void **state) {
    (void)state;
    agrees_with_all_orders(false, 1);
}

static void agrees_with_all_orders_where_values_repeat(void **state) {
    (void)state;
    agrees_with_all_orders(true, 2);
}

static void what_registers_hold_at_first_can_be_told(void **state) {
    (void)state;
    struct history *h = transactions_by_hand("0@10-20 rx0 ry; 1@30-40 wx1 ry0", TRANSACTIONS_RW_REGISTER);
    const struct check_options zero = {.initial = VALUE_OF_INT(0)}, one = {.initial = VALUE_OF_INT(1)};
    assert_int_equal(judge(h, &zero, NULL), VERDICT_VALID); /* the nil of y says nothing then */
    assert_int_equal(judge(h, &one, NULL), VERDICT_INVALID);
    assert_int_equal(judge(h, NULL, NULL), VERDICT_INVALID);
    history_free(h);
}

static void what_is_no_read_or_write_is_unknown(void **state) {
    (void)state;
    struct history *h = transactions_by_hand("ax1 rx1", TRANSACTIONS_LIST_APPEND);
    assert_int_equal(judge(h, NULL, "[read|write, key, value]"), VERDICT_UNKNOWN);
    history_free(h);
}

/* --- the bank ----------------------------------------------------------------------------------------------------- */

static void bank_event(struct history *h, uint64_t at_ns, const char *f, const char *value) {
    struct value v;
    struct error e;
    assert_int_equal(history_value_parse(h, bytes_str(value), &v, &e), 0);
    bool read = strcmp(f, "read") == 0;
    uint32_t op =
        history_invoke(h, at_ns, at_ns, 0, NODE_UNKNOWN, history_function(h, f), NO_STRING, read ? VALUE_OF_NIL : v);
    history_complete(h, op, at_ns + 5, OP_OK, read ? v : VALUE_OF_NIL, NO_STRING);
}

static void expect_bank(const char *last_read, enum verdict verdict, const char *detail) {
    struct history *h = history_new();
    struct check_result r;
    bank_event(h, 10, "read", "[[\"a\", 10], [\"b\", 0]]");
    bank_event(h, 20, "transfer", "[[\"amount\", 5], [\"from\", \"a\"], [\"to\", \"b\"]]");
    bank_event(h, 30, "read", last_read);
    const struct checker *c = checker_guess(h, false);
    assert_non_null(c);
    assert_string_equal(c->name, "bank");
    c->check(c, h, NULL, &r);
    assert_int_equal(r.verdict, verdict);
    if (!strstr(r.detail, detail)) fail_msg("'%s' is not in: %s", detail, r.detail);
    check_result_free(&r);
    history_free(h);
}

static void jepsens_bank_is_judged_by_its_balances(void **state) {
    (void)state;
    expect_bank("[[\"a\", 5], [\"b\", 5]]", VERDICT_VALID, "2 transactions read all 2 accounts, always 10");
    expect_bank("[[\"a\", 10], [\"b\", 5]]", VERDICT_INVALID, "10 in operation 0, but 15 in operation 2");
    expect_bank("[[\"a\", 15], [\"b\", -5]]", VERDICT_INVALID, "operation 2 read -5 of account \"b\"");
    expect_bank("[[\"a\", 10]]", VERDICT_UNKNOWN, "it takes two to compare");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_all_orders_of_different_values),
        cmocka_unit_test(agrees_with_all_orders_where_values_repeat),
        cmocka_unit_test(what_registers_hold_at_first_can_be_told),
        cmocka_unit_test(what_is_no_read_or_write_is_unknown),
        cmocka_unit_test(jepsens_bank_is_judged_by_its_balances),
    };
    return cmocka_run_group_tests_name("multi-register", tests, NULL, NULL);
}
