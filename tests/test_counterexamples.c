/* Counterexamples, for every check that has them: on small random histories each is invalid by itself, and minimal:
 * without any one of its operations, and without what rests on it, it is valid if the outcome of those is not known.
 * HARROW_TEST_LONG=1 tries a million histories. Then pictures, and the words of particular counterexamples. */
#include "checkers/checkers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "checkers/collections/collections.h"
#include "harness/script/script.h"
#include "tests/check_histories.h"
#include "tests/collection_histories.h"
#include "tests/transaction_histories.h"

#define I VALUE_OF_INT
#define NIL VALUE_OF_NIL
#define PAIR(a, b) history_pair(h, I(a), I(b))

static uint32_t rounds(uint32_t count) {
    if (getenv("HARROW_TEST_LONG")) return 25 * count;
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

/* --- the property ------------------------------------------------------------------------------------------------- */

struct subject { /* a check, and what it is of */
    void (*check)(const void *what, const struct history *h, const struct check_options *o, struct check_result *out);
    const void *what;
};

static enum verdict verdict_of(const struct subject *s, const struct history *h) {
    const struct check_options o = {.verdict_only = true};
    struct check_result r;
    s->check(s->what, h, &o, &r);
    enum verdict verdict = r.verdict;
    check_result_free(&r);
    return verdict;
}

#define OPS_MAX 64

static struct history *some_of(const struct history *h, const bool *keep) {
    uint32_t ops[OPS_MAX], count = 0;
    assert_true(h->count <= OPS_MAX);
    for (uint32_t op = 0; op < h->count; op++)
        if (keep[op]) ops[count++] = op;
    return history_of(h, ops, count);
}

static void open_end(struct history *h, uint32_t op) {
    h->status[op] = OP_PENDING;
    h->result[op] = NIL;
    h->complete_ns[op] = UINT64_MAX;
}

static bool is_observer(const struct history *h, uint32_t op) {
    return h->status[op] == OP_OK || (h->status[op] == OP_FAIL && h->result[op].kind != VALUE_NIL);
}

static void swap_rows(struct history *h, uint32_t a, uint32_t b) {
    uint32_t process = h->process[a], key = h->key[a];
    uint16_t f = h->f[a];
    uint8_t status = h->status[a];
    struct value argument = h->argument[a], result = h->result[a];
    h->process[a] = h->process[b], h->process[b] = process;
    h->key[a] = h->key[b], h->key[b] = key;
    h->f[a] = h->f[b], h->f[b] = f;
    h->status[a] = h->status[b], h->status[b] = status;
    h->argument[a] = h->argument[b], h->argument[b] = argument;
    h->result[a] = h->result[b], h->result[b] = result;
}

enum how { BY_NONE, AT_ANY_TIME, IN_TIME };

/* Could the operations that are kept, however they ended, let this one end as it did? Had they begun at any time? */
static bool is_explained(const struct subject *s, const struct history *h, const bool *keep, uint32_t op,
                         enum how how) {
    struct history *part = some_of(h, keep);
    uint32_t at = 0, last = part->count - 1;
    for (uint32_t i = 0; i < op; i++) at += keep[i];
    if (how == IN_TIME) {
        for (uint32_t i = 0; i <= last; i++)
            if (i != at) open_end(part, i);
        bool explained = verdict_of(s, part) != VERDICT_INVALID;
        history_free(part);
        return explained;
    }
    for (; at < last; at++) swap_rows(part, at, at + 1);
    for (uint32_t i = 0; i < last; i++) {
        part->invoke_ns[i] = part->intended_ns[i] = 0;
        open_end(part, i);
    }
    part->invoke_ns[last] = part->intended_ns[last] = 0;
    part->complete_ns[last] = 1;
    bool explained = verdict_of(s, part) != VERDICT_INVALID;
    history_free(part);
    return explained;
}

static enum how how_explained(const struct subject *s, const struct history *h, const bool *all, uint32_t op) {
    if (!is_observer(h, op)) return BY_NONE;
    if (is_explained(s, h, all, op, IN_TIME)) return IN_TIME;
    return is_explained(s, h, all, op, AT_ANY_TIME) ? AT_ANY_TIME : BY_NONE;
}

static void expect_needed(const struct subject *s, const struct history *h, const enum how *how, uint32_t op) {
    bool keep[OPS_MAX];
    for (uint32_t i = 0; i < h->count; i++) keep[i] = i != op;
    for (bool again = true; again;) {
        again = false;
        for (uint32_t i = 0; i < h->count; i++) {
            if (!keep[i] || how[i] == BY_NONE || is_explained(s, h, keep, i, how[i])) continue;
            keep[i] = false;
            again = true;
        }
    }
    bool all[OPS_MAX];
    memset(all, 1, sizeof all);
    struct history *unknown = some_of(h, all), *without = some_of(h, keep);
    for (uint32_t i = 0; i < h->count; i++)
        if (!keep[i]) open_end(unknown, i);
    bool needed =
        without->count == 0 || verdict_of(s, without) != VERDICT_INVALID || verdict_of(s, unknown) != VERDICT_INVALID;
    history_free(unknown);
    history_free(without);
    if (needed) return;
    print_history(h);
    fail_msg("operation %u can be spared", op);
}

/* True if the history is invalid. */
static bool expect_minimal(const struct subject *s, const struct history *h) {
    struct check_result r;
    s->check(s->what, h, NULL, &r);
    bool invalid = r.verdict == VERDICT_INVALID;
    if (invalid) {
        struct history *least = history_of(h, r.ops, r.ops_count);
        bool all[OPS_MAX];
        enum how how[OPS_MAX];
        memset(all, 1, sizeof all);
        if (verdict_of(s, least) != VERDICT_INVALID || r.maybe_fewer || r.ops_count == 0) {
            print_history(h);
            print_history(least);
            fail_msg("%s: %s%s", r.detail, r.maybe_fewer ? "maybe fewer" : "not invalid by itself", r.explanation);
        }
        for (uint32_t i = 0; i < least->count; i++) how[i] = how_explained(s, least, all, i);
        for (uint32_t i = 0; i < least->count; i++) expect_needed(s, least, how, i);
        history_free(least);
    }
    check_result_free(&r);
    return invalid;
}

/* --- of models ---------------------------------------------------------------------------------------------------- */

static void by_model(const void *name, const struct history *h, const struct check_options *o,
                     struct check_result *out) {
    check_linearizable(h, model_find(name), o, out);
}

static void by_name(const void *name, const struct history *h, const struct check_options *o,
                    struct check_result *out) {
    const struct checker *c = checker_find(name);
    c->check(c, h, o, out);
}

static void try_shape(const struct subject *s, struct shape shape, uint64_t seed, uint32_t count) {
    struct prng p;
    uint32_t invalid = 0;
    prng_seed(&p, seed, 3);
    for (uint32_t i = 0; i < count; i++) {
        shape.ops = 2 + (uint32_t)prng_below(&p, 9);
        shape.clients = 1 + (uint32_t)prng_below(&p, 4);
        shape.info_ppm = prng_below(&p, 2) ? 200000 : 0;
        struct history *h = history_random(&p, &shape, 1 + prng_below(&p, 12));
        invalid += expect_minimal(s, h);
        history_free(h);
    }
    assert_true(invalid > count / 10);
}

static void of_models_are_minimal(void **state) {
    (void)state;
    const struct shape shapes[] = {
        {.model = "register", .keys = 2, .values = 20, .read_ppm = 600000, .fail_ppm = 50000},
        {.model = "register", .keys = 1, .values = 3, .read_ppm = 500000},
        {.model = "cas-register", .keys = 1, .values = 9, .read_ppm = 400000, .fail_ppm = 100000},
        {.model = "cas-register", .keys = 1, .values = 3, .read_ppm = 300000, .fail_ppm = 100000},
        {.model = "kv", .keys = 1, .values = 9, .read_ppm = 400000},
        {.model = "kv", .keys = 2, .values = 3, .read_ppm = 400000, .fail_ppm = 50000},
        {.model = "counter", .keys = 1, .values = 3, .read_ppm = 500000, .negative = true},
        {.model = "counter", .keys = 1, .values = 3, .read_ppm = 500000},
        {.model = "list", .keys = 1, .values = 3, .read_ppm = 400000},
        {.model = "list", .keys = 1, .values = 3, .read_ppm = 400000, .repeated = true},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const struct subject s = {by_model, shapes[i].model};
        try_shape(&s, shapes[i], 11 + i, rounds(2500));
    }
}

static void of_lists_and_counters_are_minimal(void **state) {
    (void)state;
    struct shape shape = {.model = "list", .keys = 2, .values = 3, .read_ppm = 400000, .fail_ppm = 50000};
    try_shape(&(struct subject){by_name, "append"}, shape, 31, rounds(2500));
    shape = (struct shape){.model = "counter", .keys = 2, .values = 4, .read_ppm = 500000, .fail_ppm = 50000};
    try_shape(&(struct subject){by_name, "counter"}, shape, 32, rounds(2500));
}

/* --- of models in Lua --------------------------------------------------------------------------------------------- */

static const char register_model[] = "return {\n"
                                     "  init = function() return nil end,\n"
                                     "  step = function(value, op)\n"
                                     "    if op.f == 'write' then return true, op.argument end\n"
                                     "    if op.f == 'cas' then\n"
                                     "      if value == op.argument[1] then return true, op.argument[2] end\n"
                                     "      return false\n"
                                     "    end\n"
                                     "    return op.status == 'info' or op.result == value, value\n"
                                     "  end,\n"
                                     "}\n";
static const char queue_model[] =
    "return {\n"
    "  init = function() return {} end,\n"
    "  step = function(queue, op)\n"
    "    if op.f == 'enqueue' then queue[#queue + 1] = op.argument return true, queue end\n"
    "    local first = table.remove(queue, 1)\n"
    "    return op.status == 'info' or op.result == first, queue\n"
    "  end,\n"
    "}\n";

static void by_lua(const void *script, const struct history *h, const struct check_options *o,
                   struct check_result *out) {
    script_check_model((struct script *)(uintptr_t)script, 0, h, o, out);
}

static struct script *model_of(const char *text) {
    struct error e = {""};
    struct script *s = script_load_model("model.lua", bytes_str(text), &e);
    if (!s) fail_msg("%s", e.text);
    return s;
}

static void try_objects(const struct subject *s, struct collection_shape shape, uint64_t seed, uint32_t count) {
    struct prng p;
    uint32_t invalid = 0;
    prng_seed(&p, seed, 3);
    for (uint32_t i = 0; i < count; i++) {
        shape.ops = 2 + (uint32_t)prng_below(&p, 9);
        shape.clients = 1 + (uint32_t)prng_below(&p, 4);
        shape.keys = 1 + (uint32_t)prng_below(&p, 2);
        shape.wrong_ppm = 400000;
        shape.info_ppm = prng_below(&p, 2) ? 150000 : 0;
        shape.fail_ppm = prng_below(&p, 2) ? 100000 : 0;
        shape.put_ppm = 500000;
        struct history *h = collection_random(&p, &shape);
        invalid += expect_minimal(s, h);
        history_free(h);
    }
    assert_true(invalid > 0);
}

static void of_own_models_are_minimal(void **state) {
    (void)state;
    const struct shape shapes[] = {
        {.model = "cas-register", .keys = 2, .values = 20, .read_ppm = 500000, .fail_ppm = 50000},
        {.model = "cas-register", .keys = 1, .values = 3, .read_ppm = 500000, .fail_ppm = 50000},
    };
    struct script *model = model_of(register_model), *queue = model_of(queue_model);
    for (size_t i = 0; i < 2; i++) try_shape(&(struct subject){by_lua, model}, shapes[i], 41 + i, rounds(1000));
    const struct subject s = {by_lua, queue};
    try_objects(&s, (struct collection_shape){.kind = OBJECT_FIFO}, 43, rounds(1000));
    try_objects(&s, (struct collection_shape){.kind = OBJECT_FIFO, .values = 3}, 44, rounds(1000));
    script_free(model);
    script_free(queue);
}

/* --- of collections ----------------------------------------------------------------------------------------------- */

static void of_collections_are_minimal(void **state) {
    (void)state;
    const struct {
        const char *check;
        enum object_kind kind;
    } subjects[] = {
        {"queue", OBJECT_BAG},
        {"fifo", OBJECT_FIFO},
        {"fifo-at-least-once", OBJECT_AT_LEAST_ONCE},
        {"stack", OBJECT_STACK},
        {"priority-queue", OBJECT_PRIORITY_QUEUE},
        {"linearizable-set", OBJECT_SET},
        {"mutex", OBJECT_MUTEX},
        {"fenced-lock", OBJECT_FENCED},
        {"total-queue", OBJECT_BAG},
        {"set", OBJECT_SET},
        {"set-full", OBJECT_SET},
    };
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        const struct subject s = {by_name, subjects[i].check};
        for (uint32_t values = 0; values <= 3; values += 3) {
            struct collection_shape shape = {.kind = subjects[i].kind, .values = values};
            try_objects(&s, shape, 60 + i, rounds(1000));
        }
    }
}

/* --- of transactions ---------------------------------------------------------------------------------------------- */

struct question {
    enum transactions_workload workload;
    const char *consistency;
};

static void by_transactions(const void *what, const struct history *h, const struct check_options *o,
                            struct check_result *out) {
    const struct question *q = what;
    check_transactions(h, q->workload, q->consistency, o, out);
}

static void by_sessions(const void *what, const struct history *h, const struct check_options *o,
                        struct check_result *out) {
    check_sessions(h, ((const struct question *)what)->workload, o, out);
}

static void of_transactions_are_minimal(void **state) {
    (void)state;
    struct prng p;
    static const char *const names[] = {"read-uncommitted",   "read-committed", "repeatable-read",
                                        "snapshot-isolation", "serializable",   "strict-serializable"};
    const size_t models = sizeof names / sizeof *names;
    uint32_t invalid = 0, count = rounds(8000);
    prng_seed(&p, 91, 3);
    for (uint32_t i = 0; i < count; i++) {
        struct question q = {prng_below(&p, 2) ? TRANSACTIONS_LIST_APPEND : TRANSACTIONS_RW_REGISTER,
                             names[prng_below(&p, models)]};
        struct history *h = transactions_random(&p, q.workload);
        invalid += expect_minimal(&(struct subject){by_transactions, &q}, h);
        expect_minimal(&(struct subject){by_sessions, &q}, h);
        history_free(h);
    }
    assert_true(invalid > count / 20);
}

/* --- pictures and words ------------------------------------------------------------------------------------------- */

/* write 1, write 2, then a read of 1, and a write whose outcome nobody knows. */
static struct history *stale_history(void) {
    struct history *h = history_new();
    add_op(h, 0, 10, 20, OP_WRITE, "x", I(1), OP_OK, NIL);
    add_op(h, 1, 30, 40, OP_WRITE, "x", I(2), OP_OK, NIL);
    add_op(h, 3, 45, 46, OP_WRITE, "x", I(7), OP_INFO, NIL);
    add_op(h, 2, 50, 60, OP_READ, "x", NIL, OP_OK, I(1));
    return h;
}

static void a_picture_shows_the_longest_order_and_what_is_left(void **state) {
    (void)state;
    struct history *h = stale_history();
    struct check_result r;
    check_linearizable(h, model_find("register"), NULL, &r);
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_int_equal(r.ops_count, 3);
    const struct picture *p = r.picture;
    assert_non_null(p);
    assert_string_equal(p->initial, "null");
    assert_int_equal(p->orders_count, 1);
    assert_false(p->orders_cut);
    const struct picture_order *o = &p->orders[0];
    assert_int_equal(o->steps_count, 2);
    assert_true(o->steps[0].op == 0 && o->steps[1].op == 1);
    assert_string_equal(o->steps[1].text, "2");
    assert_int_equal(o->left_count, 1);
    assert_int_equal(o->left[0].op, 3);
    assert_string_equal(o->left[0].text, "would return 2, not 1");
    assert_non_null(strstr(r.explanation, "The furthest that any order of these gets"));
    check_result_free(&r);
    history_free(h);
}

/* Two reads that contradict each other about concurrent writes: more than one order gets as far. */
static void a_picture_shows_each_order_that_gets_as_far(void **state) {
    (void)state;
    struct history *h = history_new();
    add_op(h, 0, 10, 20, OP_WRITE, "x", I(1), OP_OK, NIL);
    add_op(h, 1, 10, 20, OP_WRITE, "x", I(2), OP_OK, NIL);
    add_op(h, 2, 30, 40, OP_READ, "x", NIL, OP_OK, I(1));
    add_op(h, 3, 30, 40, OP_READ, "x", NIL, OP_OK, I(2));
    struct check_result r;
    check_linearizable(h, model_find("register"), NULL, &r);
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_non_null(r.picture);
    assert_int_equal(r.picture->orders_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(r.picture->orders[i].steps_count, 3);
        assert_int_equal(r.picture->orders[i].left_count, 1);
    }
    check_result_free(&r);
    history_free(h);
}

static void a_cycle_of_transactions_has_its_edges(void **state) {
    (void)state;
    struct history *h = transactions_by_hand("ax1; ay1; rx1 ry; rx ry1", TRANSACTIONS_LIST_APPEND);
    struct check_result r;
    check_transactions(h, TRANSACTIONS_LIST_APPEND, "serializable", NULL, &r);
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_non_null(r.picture);
    assert_int_equal(r.picture->edges_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        const struct picture_edge *e = &r.picture->edges[i];
        assert_int_equal(e->to, r.picture->edges[(i + 1) % 4].from);
        assert_true(strcmp(e->kind, "wr") == 0 || strcmp(e->kind, "rw") == 0);
        assert_non_null(strstr(e->text, strcmp(e->kind, "wr") == 0 ? "read it" : "did not see"));
    }
    check_result_free(&r);
    history_free(h);
}

static void the_verdict_alone_has_no_counterexample(void **state) {
    (void)state;
    struct history *h = stale_history();
    const struct check_options o = {.verdict_only = true};
    struct check_result r;
    check_linearizable(h, model_find("register"), &o, &r);
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_non_null(r.detail);
    assert_null(r.picture);
    check_result_free(&r);
    history_free(h);
}

/* Two concurrent cas from one value: neither is stale, and there may be no earlier observer to tell of. */
static void a_cas_from_a_value_that_nothing_shows_is_explained(void **state) {
    (void)state;
    struct history *h = history_new();
    add_op(h, 0, 10, 20, OP_WRITE, "x", I(1), OP_OK, NIL);
    add_op(h, 1, 30, 40, OP_CAS, "x", PAIR(1, 2), OP_OK, NIL);
    add_op(h, 2, 50, 80, OP_CAS, "x", PAIR(2, 3), OP_OK, NIL);
    add_op(h, 3, 55, 90, OP_CAS, "x", PAIR(2, 4), OP_OK, NIL);
    struct check_result r;
    check_linearizable(h, model_find("cas-register"), NULL, &r);
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_non_null(r.explanation);
    assert_true(strlen(r.detail) > 0);
    check_result_free(&r);
    history_free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_models_are_minimal),
        cmocka_unit_test(of_lists_and_counters_are_minimal),
        cmocka_unit_test(of_own_models_are_minimal),
        cmocka_unit_test(of_collections_are_minimal),
        cmocka_unit_test(of_transactions_are_minimal),
        cmocka_unit_test(a_picture_shows_the_longest_order_and_what_is_left),
        cmocka_unit_test(a_picture_shows_each_order_that_gets_as_far),
        cmocka_unit_test(a_cycle_of_transactions_has_its_edges),
        cmocka_unit_test(the_verdict_alone_has_no_counterexample),
        cmocka_unit_test(a_cas_from_a_value_that_nothing_shows_is_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
