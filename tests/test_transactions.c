/* check_transactions against histories by hand, one for each anomaly, and against the oracle on small random ones.
 * HARROW_TEST_LONG=1 tries a million of these. */
#include "harness/bench/transactions.h"
#include "history/jsonl.h"
#include "tests/transaction_histories.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define LISTS TRANSACTIONS_LIST_APPEND
#define REGISTERS TRANSACTIONS_RW_REGISTER

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

static struct check_result check(const struct history *h, enum transactions_workload w, const char *model) {
    struct check_result r;
    check_transactions(h, w, model, NULL, &r);
    assert_string_equal(r.name, w == LISTS ? "list-append" : "rw-register");
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

struct agreement {
    uint32_t valid, invalid, unknown;
};

static bool oracle(const struct history *h, enum transactions_workload w, const char *model) {
    if (strncmp(model, "causal", 6) == 0) return oracle_causal(h, model);
    return oracle_transactions(h, w, strcmp(model, "sequential") == 0 ? "strong-session-serializable" : model);
}

static void compare(const struct history *h, enum transactions_workload w, const char *model, uint32_t seed,
                    struct agreement *a) {
    struct check_result r = check(h, w, model);
    bool holds = oracle(h, w, model);
    if (r.verdict == VERDICT_UNKNOWN) {
        a->unknown++;
    } else if ((r.verdict == VERDICT_VALID) != holds) {
        print_history(h);
        fail_msg("seed %u: %s says %s of %s: %s\n%s", seed, r.name, verdict_name(r.verdict), model, r.detail,
                 r.explanation ? r.explanation : "");
    } else if (holds) {
        a->valid++;
    } else {
        a->invalid++;
    }
    check_result_free(&r);
}

static bool nothing_succeeded(const struct history *h) {
    for (uint32_t op = 0; op < h->count; op++)
        if (h->status[op] == OP_OK) return false;
    return true;
}

static void agrees(enum transactions_workload w, const char *model, uint32_t count, uint32_t unknown_percent_max) {
    struct agreement a = {0};
    for (uint32_t seed = 0; seed < count; seed++) {
        struct prng p;
        prng_seed(&p, seed, 7);
        struct history *h = transactions_random(&p, w);
        if (!nothing_succeeded(h)) compare(h, w, model, seed, &a);
        history_free(h);
    }
    if (getenv("HARROW_TEST_LONG"))
        fprintf(stderr, "%s: %u valid, %u invalid, %u unknown\n", model, a.valid, a.invalid, a.unknown);
    assert_true(a.valid > count / 10 && a.invalid > count / 10);
    assert_true(a.unknown * UINT64_C(100) <= (uint64_t)count * unknown_percent_max);
}

static const char *const models[] = {
    "strict-serializable", "strong-session-serializable", "serializable",
    "repeatable-read",     "strong-snapshot-isolation",   "strong-session-snapshot-isolation",
    "snapshot-isolation",  "strong-read-committed",       "strong-session-read-committed",
    "read-committed",
};
#define MODELS (sizeof models / sizeof *models)

static void test_lists_agree_with_the_oracle(void **state) {
    (void)state;
    for (size_t m = 0; m < MODELS; m++) agrees(LISTS, models[m], rounds(50000) / MODELS, 0);
}

static void test_registers_agree_with_the_oracle(void **state) {
    (void)state;
    for (size_t m = 0; m < MODELS; m++) agrees(REGISTERS, models[m], rounds(50000) / MODELS, 0);
}

/* Of replicas, with what each of them could know. */
static void test_causal_and_sequential_agree_with_the_oracle(void **state) {
    (void)state;
    static const char *const weak[] = {"causal", "causal-memory", "causal-convergence", "sequential"};
    for (size_t m = 0; m < 4; m++) {
        struct agreement a = {0};
        uint32_t count = rounds(50000) / 4;
        for (uint32_t seed = 0; seed < count; seed++) {
            struct prng p;
            prng_seed(&p, seed, 8);
            struct history *h = seed % 8 ? transactions_random_causal(&p) : transactions_random(&p, REGISTERS);
            if (!nothing_succeeded(h)) compare(h, REGISTERS, weak[m], seed, &a);
            history_free(h);
        }
        if (getenv("HARROW_TEST_LONG"))
            fprintf(stderr, "%s: %u valid, %u invalid, %u unknown\n", weak[m], a.valid, a.invalid, a.unknown);
        assert_true(a.valid > count / 10 && a.invalid > count / 10 && a.unknown == 0);
    }
}

/* So many that not all orders are tried. */
static void pad(struct history *h) {
    uint32_t key = history_intern(h, "other");
    for (uint32_t i = 0; i < 60; i++) {
        uint64_t at_ns = 100000 + 10 * i;
        uint32_t op = history_invoke(h, at_ns, at_ns, 1000 + i, NODE_UNKNOWN, OP_READ, key, VALUE_OF_NIL);
        history_complete(h, op, at_ns + 1, OP_OK, VALUE_OF_NIL, NO_STRING);
    }
}

static void test_large_sequential_histories_agree_with_the_oracle(void **state) {
    (void)state;
    uint32_t count = rounds(20000), valid = 0, invalid = 0, unknown = 0;
    for (uint32_t seed = 0; seed < count; seed++) {
        struct prng p;
        prng_seed(&p, seed, 9);
        struct history *h = transactions_random_causal(&p);
        bool holds = oracle(h, REGISTERS, "sequential");
        pad(h);
        struct check_result r = check(h, REGISTERS, "sequential");
        if (r.verdict != VERDICT_UNKNOWN && (r.verdict == VERDICT_VALID) != holds) {
            print_history(h);
            fail_msg("seed %u: %s: %s", seed, verdict_name(r.verdict), r.detail);
        }
        valid += r.verdict == VERDICT_VALID;
        invalid += r.verdict == VERDICT_INVALID;
        unknown += r.verdict == VERDICT_UNKNOWN;
        check_result_free(&r);
        history_free(h);
    }
    if (getenv("HARROW_TEST_LONG"))
        fprintf(stderr, "sequential, large: %u valid, %u invalid, %u unknown\n", valid, invalid, unknown);
    assert_true(valid > count / 10 && invalid > count / 10 && unknown <= count / 50);
}

/* --- one history for each anomaly --------------------------------------------------------------------------------- */

struct example {
    enum transactions_workload w;
    const char *history, *anomaly;
    const char *broken, *holds; /* the weakest model that it breaks; one that holds, or NULL */
};

static const struct example examples[] = {
    {LISTS, "ax1 ay1; ax2 ay2; rx1.2 ry2.1", "G0", "read-uncommitted", NULL},
    {LISTS, "!ax1; rx1", "G1a", "read-committed", "read-uncommitted"},
    {LISTS, "ax1 ax2; rx1", "G1b", "read-committed", "read-uncommitted"},
    {LISTS, "ax1 ry1; ay1 rx1", "G1c", "read-committed", "read-uncommitted"},
    {LISTS, "ax1 ay1; rx ry1", "G-single", "snapshot-isolation", "read-committed"},
    {LISTS, "ax1; rx1 ay1; ry1 az1; rz1 rx", "G-single", "snapshot-isolation", "read-committed"},
    {LISTS, "rx ry1; ax1; rx1 ry; ay1", "G-nonadjacent", "snapshot-isolation", "read-committed"},
    {LISTS, "rx ay1; ry ax1", "G2-item", "repeatable-read", "snapshot-isolation"},
    {LISTS, "rx ay1; ry az1; rz ax1", "G2-item", "serializable", "strong-snapshot-isolation"},
    {LISTS, "rx ax1; rx ax2; rx1.2", "lost-update", "snapshot-isolation", "read-committed"},
    {LISTS, "ax1 rx", "internal", "repeatable-read", "read-committed"},
    {LISTS, "rx1 rx; ax1", "internal", "snapshot-isolation", "read-committed"},
    {LISTS, "rx1 ax1", "internal", "snapshot-isolation", "read-committed"},
    {LISTS, "!ax1; ax2; rx1.2", "dirty-update", "read-committed", "read-uncommitted"},
    {LISTS, "ax1; rx1.1", "duplicate-elements", "read-uncommitted", NULL},
    {LISTS, "ax1; rx9", "garbage-read", "read-uncommitted", NULL},
    {LISTS, "ax1 ax2; rx2", "torn-writes", "read-uncommitted", NULL},
    {LISTS, "ax1; ax2; rx1; rx2", "incompatible-order", "read-committed", NULL},
    {LISTS, "1@0-10 ax1; 2@1-50 rx2.1; 1@20-30 ax2", "G0-process", "strong-session-read-uncommitted", "serializable"},
    {LISTS, "1@0-10 rx1; 1@20-30 ax1", "G1c-process", "strong-session-read-committed", "serializable"},
    {LISTS, "1@0-10 ax1; 1@20-30 rx", "G-single-process", "strong-session-snapshot-isolation", "serializable"},
    {LISTS, "1@0-10 ax1; 2@1-10 ay1; 1@20-30 ry; 2@21-30 rx", "G-nonadjacent-process",
     "strong-session-snapshot-isolation", "strong-read-committed"},
    {LISTS, "1@0-10 ax1; 2@1-40 rx az1; 1@20-30 rz", "G2-item-process", "strong-session-serializable",
     "strong-snapshot-isolation"},
    {LISTS, "1@0-10 ax1; 2@1-50 rx2.1; 3@20-30 ax2", "G0-realtime", "strong-read-uncommitted",
     "strong-session-serializable"},
    {LISTS, "1@0-10 rx1; 2@20-30 ax1", "G1c-realtime", "strong-read-committed", "strong-session-serializable"},
    {LISTS, "1@0-10 ax1; 2@20-30 rx", "G-single-realtime", "strong-snapshot-isolation", "strong-session-serializable"},
    {LISTS, "1@0-10 ax1; 2@5-50 rx ry1; 4@6-40 ay1; 3@20-30 ry", "G-nonadjacent-realtime", "strong-snapshot-isolation",
     "strong-session-serializable"},
    {LISTS, "1@0-10 ax1; 2@1-40 rx az1; 3@20-30 rz", "G2-item-realtime", "strict-serializable",
     "strong-snapshot-isolation"},

    {REGISTERS, "wx1 ry2 wy3; wy2 rx1 wx4", "G0", "read-committed", "read-uncommitted"},
    {REGISTERS, "!wx1; rx1", "G1a", "read-committed", "read-uncommitted"},
    {REGISTERS, "wx1 wx2; rx1", "G1b", "read-committed", "read-uncommitted"},
    {REGISTERS, "wx1 ry1; wy1 rx1", "G1c", "read-committed", "read-uncommitted"},
    {REGISTERS, "wx1 wy1; rx ry1", "G-single", "snapshot-isolation", "read-committed"},
    {REGISTERS, "rx ry1; wx1; rx1 ry; wy1", "G-nonadjacent", "snapshot-isolation", "read-committed"},
    {REGISTERS, "rx wy1; ry wx1", "G2-item", "repeatable-read", "strong-snapshot-isolation"},
    {REGISTERS, "rx wx1; rx wx2", "lost-update", "snapshot-isolation", "strong-read-committed"},
    {REGISTERS, "wx1 rx2; wx2", "internal", "repeatable-read", "read-committed"},
    {REGISTERS, "rx9; wx1", "garbage-read", "read-uncommitted", NULL},
    {REGISTERS, "1@0-10 wx1; 1@20-30 rx", "G-single-process", "strong-session-snapshot-isolation", "serializable"},
    {REGISTERS, "1@0-10 wx1; 2@20-30 wx2; 3@40-50 rx1", "G-single-realtime", "strong-snapshot-isolation",
     "strong-session-serializable"},
    {REGISTERS, "1@0-10 wx1; 2@20-30 wx2; 3@40-50 rx1", "G-single-realtime", "strict-serializable", "sequential"},
};

/* A pattern, the weakest causal model that it breaks, and one that holds or NULL. The last ones are from Bouajjani et
 * al. (POPL 2017), figure 3. */
static const struct example patterns[] = {
    {REGISTERS, "1@0-9 rx1; 1@20-30 wy1; 2@1-9 ry1; 2@20-30 wx1", "CyclicCO", "causal", NULL},
    {REGISTERS, "1@0-9 wx1; 1@20-30 wy1; 2@1-9 ry1; 2@20-30 rx", "WriteCOInitRead", "causal", NULL},
    {REGISTERS, "1@0-9 wx1; 1@10-12 wx2; 1@20-30 wy1; 2@1-9 ry1; 2@20-30 rx1", "WriteCORead", "causal", NULL},
    {REGISTERS, "wx1 wy1; wx2 wy2; rx1 ry2", "CyclicCF", "causal", NULL},
    {REGISTERS, "rx9; wx1", "garbage-read", "causal", NULL},
    {REGISTERS, "!wx1; rx1", "G1a", "causal", NULL},
    {REGISTERS, "wx1 wx2; rx1", "G1b", "causal", NULL},
    {REGISTERS, "1@0-9 wx1; 1@20-30 rx2; 2@1-9 wx2; 2@20-30 rx1", "CyclicCF", "causal-convergence", "causal-memory"},
    {REGISTERS, "1@0-9 wx1; 2@1-9 wx2; 2@20-30 rx1; 2@40-50 rx2", "CyclicHB", "causal-memory", "causal"},
    {REGISTERS, "1@0-1 wz1; 1@2-3 wx1; 1@4-5 wy1; 2@1-2 wx2; 2@3-4 rz; 2@6-7 ry1; 2@8-9 rx2", "WriteHBInitRead",
     "causal-memory", "causal-convergence"},
    {REGISTERS, "1@0-9 wx1; 1@20-30 ry; 2@1-9 wy1; 2@20-30 rx", "G-nonadjacent-process", "sequential",
     "causal-convergence"},
};

/* The name stands alone in the detail: "G0" is not in "G0-process". */
static bool names(const char *detail, const char *anomaly) {
    size_t size = strlen(anomaly);
    for (const char *at = strstr(detail, anomaly); at; at = strstr(at + 1, anomaly))
        if ((at == detail || at[-1] == ' ') && (at[size] == ',' || at[size] == ':')) return true;
    return false;
}

static void show(const struct example *e, const char *model) {
    struct history *h = transactions_by_hand(e->history, e->w);
    struct check_result r = check(h, e->w, model), broken = check(h, e->w, e->broken);
    if (r.verdict != VERDICT_INVALID || !names(r.detail, e->anomaly))
        fail_msg("%s should show %s: %s, %s", e->history, e->anomaly, verdict_name(r.verdict), r.detail);
    if (broken.verdict != VERDICT_INVALID) fail_msg("%s should break %s: %s", e->history, e->broken, broken.detail);
    check_result_free(&r);
    check_result_free(&broken);
    if (e->holds) {
        r = check(h, e->w, e->holds);
        if (r.verdict != VERDICT_VALID) fail_msg("%s should keep %s: %s", e->history, e->holds, r.detail);
        check_result_free(&r);
    }
    history_free(h);
}

static void test_each_anomaly_is_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) show(&examples[i], NULL);
}

static void test_each_causal_pattern_is_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) show(&patterns[i], patterns[i].broken);
}

static void test_what_is_right_is_valid(void **state) {
    (void)state;
    static const struct {
        enum transactions_workload w;
        const char *history;
    } right[] = {
        {LISTS, "1@0-10 ax1 rx1 ax2; 2@20-30 rx1.2 ay1; 1@20-40 ry1 ax3; 2@50-60 rx1.2.3"},
        {LISTS, "?ax1; rx1; rx1 ax2; rx1.2"},
        {LISTS, "?ax1; rx; ?ay1 rx"},
        {LISTS, "!ax1; rx; ax2; rx2"},
        {LISTS, "ax1; ax2; ax3; rx"},
        {REGISTERS, "1@0-10 wx1 wx2 rx2; 2@20-30 rx2 wx3; 1@40-50 rx3"},
        {REGISTERS, "?wx1; rx1 wx2; rx2"},
        {REGISTERS, "?wx1; rx; wx2; rx2"},
        {REGISTERS, "!wx1; wx1; rx1"},
        {REGISTERS, "1@0-10 wx1; 2@5-20 wx2; 3@12-30 rx1; 1@40-50 rx1"},
    };
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        struct history *h = transactions_by_hand(right[i].history, right[i].w);
        struct check_result r = check(h, right[i].w, NULL);
        if (r.verdict != VERDICT_VALID) fail_msg("%s: %s, %s", right[i].history, verdict_name(r.verdict), r.detail);
        check_result_free(&r);
        history_free(h);
    }
}

static void test_a_cycle_is_told_in_words(void **state) {
    (void)state;
    struct history *h = transactions_by_hand("1@0-10 ax3 ay1; 2@20-30 rx3 ax4; 3@40-50 ry", LISTS);
    struct check_result r = check(h, LISTS, NULL);
    assert_string_equal(r.detail, "G-single-realtime: not strong-snapshot-isolation; at most strong-read-committed or "
                                  "strong-session-serializable");
    assert_non_null(strstr(r.explanation, "operation 2 of process 3: r y []"));
    assert_non_null(strstr(r.explanation, "had ended 30 ns before"));
    assert_non_null(strstr(r.explanation, "read y as it was at first, and "));
    assert_int_equal(r.ops_count, 2);
    assert_int_equal(r.ops[0], 0);
    assert_int_equal(r.ops[1], 2);
    check_result_free(&r);
    history_free(h);
}

static void test_an_order_by_time_is_told_with_its_witnesses(void **state) {
    (void)state;
    struct history *h =
        transactions_by_hand("1@0-10 wx1; 2@5-50 wx2; 3@20-30 rx1; 4@60-70 rx2; 5@80-90 rx1", REGISTERS);
    struct check_result r = check(h, REGISTERS, NULL);
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_non_null(strstr(r.explanation, "(in that order: operation 0, which had 1, ended before operation 3 began, "
                                          "which had 2)"));
    check_result_free(&r);
    history_free(h);
}

static void test_what_does_not_fit_is_unknown(void **state) {
    (void)state;
    static const char *const odd[] = {"ax1; ax1; rx1.1", "!ax1"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        struct history *h = transactions_by_hand(odd[i], LISTS);
        struct check_result r = check(h, LISTS, NULL);
        assert_int_equal(r.verdict, VERDICT_UNKNOWN);
        check_result_free(&r);
        history_free(h);
    }
    struct history *h = transactions_by_hand("wx1; rx1", REGISTERS);
    struct check_result r = check(h, LISTS, NULL);
    assert_int_equal(r.verdict, VERDICT_UNKNOWN);
    assert_non_null(strstr(r.detail, "operation 0 has a part that is not [f, key, value]"));
    check_result_free(&r);
    r = check(h, REGISTERS, "cubic");
    assert_string_equal(r.detail, "there is no consistency model \"cubic\"");
    check_result_free(&r);
    history_free(h);
}

static void test_plain_operations_are_transactions_of_one(void **state) {
    (void)state;
    static const char text[] = "{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"key\":\"x\",\"value\":1}\n"
                               "{\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"key\":\"x\",\"value\":1}\n"
                               "{\"process\":1,\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"r\",\"x\",null]]}\n"
                               "{\"process\":1,\"type\":\"ok\",\"f\":\"txn\",\"value\":[[\"r\",\"x\",null]]}\n";
    struct history *h = history_new();
    struct jsonl_result imported;
    struct error e = {{0}};
    assert_int_equal(jsonl_import(bytes_str(text), "text", h, &imported, &e), 0);
    struct check_result r = check(h, REGISTERS, NULL);
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_true(names(r.detail, "G-single-realtime"));
    check_result_free(&r);
    r = check(h, REGISTERS, "serializable");
    assert_int_equal(r.verdict, VERDICT_VALID);
    check_result_free(&r);
    history_free(h);
}

/* --- bank, long fork, sessions ------------------------------------------------------------------------------------ */

enum special { BANK, LONG_FORK, SESSIONS_OF_LISTS, SESSIONS_OF_REGISTERS };

static void judged(enum special which, const char *text, enum verdict verdict, const char *detail) {
    enum transactions_workload w = which == SESSIONS_OF_LISTS ? LISTS : REGISTERS;
    struct history *h = transactions_by_hand(text, w);
    struct check_result r;
    if (which == BANK) {
        check_bank(h, NULL, &r);
    } else if (which == LONG_FORK) {
        check_long_fork(h, NULL, &r);
    } else {
        check_sessions(h, w, NULL, &r);
    }
    if (r.verdict != verdict || !strstr(r.detail, detail))
        fail_msg("%s: %s, %s", text, verdict_name(r.verdict), r.detail);
    if (verdict == VERDICT_INVALID) assert_true(r.explanation && r.ops_count > 0);
    check_result_free(&r);
    history_free(h);
}

static void test_bank(void **state) {
    (void)state;
    judged(BANK, "wx10 wy10; rx10 ry10; rx10 wx7 ry10 wy13; rx7 ry13", VERDICT_VALID, "2 transactions");
    judged(BANK, "wx10 wy10; rx10 ry10; rx10 wx7 ry10 wy13; rx7 ry10", VERDICT_INVALID, "20 in operation 1, but 17");
    judged(BANK, "wx10 wy10; rx10 ry10", VERDICT_UNKNOWN, "it takes two");
    judged(BANK, "wx10 wy10; rx10 ry10; !rx10 wx7; rx10 ry10; ?wx5", VERDICT_VALID, "always 20");
}

static void test_bank_below_zero(void **state) {
    (void)state;
    struct history *h = history_new();
    struct value r = {.kind = VALUE_STRING, .string = history_intern(h, "r")};
    struct value part[3] = {r, VALUE_OF_INT(1), VALUE_OF_INT(-5)};
    struct value micro = history_list(h, part, 3), list = history_list(h, &micro, 1);
    history_complete(h, history_invoke(h, 0, 0, 1, NODE_UNKNOWN, OP_TXN, NO_STRING, list), 5, OP_OK, list, NO_STRING);
    struct check_result result;
    check_bank(h, NULL, &result);
    assert_int_equal(result.verdict, VERDICT_INVALID);
    assert_string_equal(result.detail, "operation 0 read -5 of account 1, less than nothing");
    check_result_free(&result);
    history_free(h);
}

static void test_long_fork(void **state) {
    (void)state;
    judged(LONG_FORK, "wx1; wy1; rx1 ry; ry rx1; ry1 rx1", VERDICT_VALID, "3 reads");
    judged(LONG_FORK, "wx1; wy1; rx1 ry; ry1 rx", VERDICT_INVALID, "long fork: operation 2 saw \"x\" but not \"y\"");
    judged(LONG_FORK, "wx1; wy1; wz1; rx1 ry; ry1 rz", VERDICT_UNKNOWN, "no two transactions");
    judged(LONG_FORK, "wx1; wx2; rx1 ry; ry rx", VERDICT_UNKNOWN, "operation 1 writes a key that was written before");
    judged(LONG_FORK, "!wx1; wy1; rx1 ry; ry1 rx", VERDICT_INVALID, "failed");
}

static void test_session_guarantees(void **state) {
    (void)state;
    enum special lists = SESSIONS_OF_LISTS, registers = SESSIONS_OF_REGISTERS;
    judged(lists, "1@0-1 ax1; 1@2-3 rx1; 2@4-5 rx; 2@6-7 ry; 2@8-9 rx1", VERDICT_VALID, "ever goes back");
    judged(lists, "1@0-1 ax1; 2@2-3 rx1; 2@4-5 rx", VERDICT_INVALID, "monotonic reads: ");
    judged(lists, "1@0-1 ax1; 1@2-3 rx; 2@4-5 rx1", VERDICT_INVALID, "read your writes: ");
    judged(lists, "1@0-1 ax1; 1@2-3 ax2; 2@4-5 rx2.1", VERDICT_INVALID, "monotonic writes: ");
    judged(registers, "1@0-1 wx1; 2@2-3 wx2; 3@4-5 rx1; 3@6-7 rx2; 4@8-9 rx2", VERDICT_VALID, "ever goes back");
    judged(registers, "1@0-1 wx1; 2@2-3 wx2; 3@4-5 rx1; 3@6-7 rx2; 4@8-9 rx2; 4@10-11 rx1", VERDICT_INVALID,
           "monotonic reads: ");
    judged(registers, "1@0-1 wx1; 1@2-3 rx", VERDICT_INVALID, "read your writes: ");
    judged(registers, "1@0-1 wx1; 1@2-3 wx2; 2@4-5 rx2; 2@6-7 rx1", VERDICT_INVALID,
           "monotonic reads, monotonic writes");
    judged(registers, "1@0-1 wx1; 2@2-3 rx1; 2@4-5 wx2; 3@6-7 rx2; 3@8-9 rx1", VERDICT_INVALID,
           "monotonic reads, writes follow reads");
    judged(registers, "wx1; rx9", VERDICT_INVALID, "no place in any order");
}

static void test_sessions_agree_with_the_oracle(void **state) {
    (void)state;
    for (int lists = 0; lists < 2; lists++) {
        enum transactions_workload w = lists ? LISTS : REGISTERS;
        uint32_t valid = 0, invalid = 0;
        for (uint32_t seed = 0; seed < rounds(10000); seed++) {
            struct prng p;
            prng_seed(&p, seed, 8);
            struct history *h = transactions_random(&p, w);
            struct check_result r;
            if (!oracle_can_order(h, w)) { /* too many orders */
                history_free(h);
                continue;
            }
            check_sessions(h, w, NULL, &r);
            bool holds = oracle_sessions(h, w);
            if (r.verdict == VERDICT_UNKNOWN || (r.verdict == VERDICT_VALID) != holds) {
                print_history(h);
                fail_msg("seed %u, lists %d: %s: %s", seed, lists, verdict_name(r.verdict), r.detail);
            }
            valid += holds;
            invalid += !holds;
            check_result_free(&r);
            history_free(h);
        }
        assert_true(valid > rounds(10000) / 10 && invalid > rounds(10000) / 10);
    }
}

/* --- larger ones -------------------------------------------------------------------------------------------------- */

static void test_larger_histories(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        for (int registers = 0; registers < 2; registers++) {
            for (int stale = 0; stale < 2; stale++) {
                struct bench_transactions shape = {.count = 3000,
                                                   .clients = 8,
                                                   .registers = registers,
                                                   .keys = 6,
                                                   .writes_per_key = 32,
                                                   .micros_max = 4,
                                                   .info_ppm = 20000,
                                                   .stale = stale};
                struct history *h = bench_transactions_history(&shape, seed);
                struct check_result r = check(h, registers ? REGISTERS : LISTS, NULL);
                if (r.verdict != (stale ? VERDICT_INVALID : VERDICT_VALID))
                    fail_msg("seed %u, %s, stale %d: %s", (unsigned)seed, r.name, stale, r.detail);
                assert_true(r.ops_count < 16);
                check_result_free(&r);
                history_free(h);
            }
        }
    }
}

static void test_the_budget_holds(void **state) {
    (void)state;
    struct bench_transactions shape = {.count = 20000, .clients = 8, .keys = 6, .writes_per_key = 32, .micros_max = 4};
    struct history *h = bench_transactions_history(&shape, 1);
    struct check_result r;
    struct check_options small = {.memory_bytes_max = 100000};
    check_transactions(h, LISTS, NULL, &small, &r);
    assert_int_equal(r.verdict, VERDICT_UNKNOWN);
    assert_string_equal(r.detail, "the memory allowed was spent");
    check_result_free(&r);
    struct check_options ample = {.memory_bytes_max = 64u << 20};
    check_transactions(h, LISTS, NULL, &ample, &r);
    assert_int_equal(r.verdict, VERDICT_VALID);
    check_result_free(&r);
    history_free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_anomaly_is_named),
        cmocka_unit_test(test_each_causal_pattern_is_named),
        cmocka_unit_test(test_what_is_right_is_valid),
        cmocka_unit_test(test_a_cycle_is_told_in_words),
        cmocka_unit_test(test_an_order_by_time_is_told_with_its_witnesses),
        cmocka_unit_test(test_what_does_not_fit_is_unknown),
        cmocka_unit_test(test_plain_operations_are_transactions_of_one),
        cmocka_unit_test(test_bank),
        cmocka_unit_test(test_bank_below_zero),
        cmocka_unit_test(test_long_fork),
        cmocka_unit_test(test_session_guarantees),
        cmocka_unit_test(test_sessions_agree_with_the_oracle),
        cmocka_unit_test(test_larger_histories),
        cmocka_unit_test(test_the_budget_holds),
        cmocka_unit_test(test_causal_and_sequential_agree_with_the_oracle),
        cmocka_unit_test(test_large_sequential_histories_agree_with_the_oracle),
        cmocka_unit_test(test_lists_agree_with_the_oracle),
        cmocka_unit_test(test_registers_agree_with_the_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
