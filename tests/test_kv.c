/* The store against a naive model, its sessions, its limits, and its snapshots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "targets/kv/kv.h"

static uint8_t out[KV_RESULT_BYTES_MAX];
static uint8_t encoded[KV_OPS_MAX * (2 * KV_VALUE_BYTES_MAX + 1024)];

static struct kv_value text(const char *t) {
    return (struct kv_value){.kind = KV_BYTES, .bytes = bytes_str(t)};
}
static struct kv_value counter(int64_t n) {
    return (struct kv_value){.kind = KV_COUNTER, .counter = n};
}
static const struct kv_value absent = {.kind = KV_ABSENT};

static struct kv_op op_get(const char *key) {
    return (struct kv_op){.kind = KV_GET, .key = bytes_str(key)};
}
static struct kv_op op_put(const char *key, struct kv_value v) {
    return (struct kv_op){.kind = KV_PUT, .key = bytes_str(key), .value = v};
}
static struct kv_op op_delete(const char *key) {
    return (struct kv_op){.kind = KV_DELETE, .key = bytes_str(key)};
}
static struct kv_op op_cas(const char *key, struct kv_value expected, struct kv_value v) {
    return (struct kv_op){.kind = KV_CAS, .key = bytes_str(key), .value = v, .expected = expected};
}
static struct kv_op op_append(const char *key, int64_t element) {
    return (struct kv_op){.kind = KV_APPEND, .key = bytes_str(key), .value = counter(element)};
}
static struct kv_op op_add(const char *key, int64_t delta) {
    return (struct kv_op){.kind = KV_ADD, .key = bytes_str(key), .value = counter(delta)};
}

static struct bytes encode(const struct kv_command *c) {
    size_t size = kv_command_encode(c, encoded, sizeof encoded);
    assert_true(size > 0);
    return bytes_of(encoded, size);
}

static struct kv_result decode(size_t size) {
    struct kv_result r;
    assert_true(kv_result_decode(bytes_of(out, size), &r));
    return r;
}

static struct kv_result apply(struct kv *kv, const struct kv_command *c) {
    return decode(kv_apply(kv, encode(c), out, sizeof out));
}

static struct kv_result run(struct kv *kv, size_t count, const struct kv_op *ops) {
    struct kv_command c = {.ops_count = (uint8_t)count};
    memcpy(c.ops, ops, count * sizeof *ops);
    return apply(kv, &c);
}
static struct kv_result run1(struct kv *kv, struct kv_op op) {
    return run(kv, 1, &op);
}

static struct kv_result get(struct kv *kv, const char *key) {
    struct kv_command c = {.ops_count = 1, .ops = {op_get(key)}};
    return decode(kv_read(kv, encode(&c), out, sizeof out));
}

static bool value_is(struct kv_value a, struct kv_value b) {
    return a.kind == b.kind && a.counter == b.counter && bytes_equal(a.bytes, b.bytes);
}

static uint64_t open_session(struct kv *kv) {
    struct kv_result r = apply(kv, &(struct kv_command){0});
    assert_int_equal(r.status, KV_OK);
    assert_true(r.session > 0);
    return r.session;
}

static struct kv_result in_session(struct kv *kv, uint64_t session, uint64_t sequence, struct kv_op op) {
    return apply(kv, &(struct kv_command){session, sequence, 1, {op}});
}

/* A restored copy is the same in every respect; kv_restore computes the hash anew, so this checks the incremental
 * one. */
static void check_snapshot(const struct kv *kv) {
    struct buffer first = {0}, second = {0};
    struct error e;
    kv_snapshot(kv, &first);
    struct kv *copy = kv_new(NULL);
    assert_int_equal(kv_restore(copy, bytes_of(first.data, first.size), &e), 0);
    assert_true(kv_hash(copy) == kv_hash(kv));
    assert_true(kv_revision(copy) == kv_revision(kv));
    kv_snapshot(copy, &second);
    assert_true(bytes_equal(bytes_of(first.data, first.size), bytes_of(second.data, second.size)));
    kv_free(copy);
    buffer_free(&first);
    buffer_free(&second);
}

/* --- single operations -------------------------------------------------------------------------------------------- */

static void each_operation_does_what_it_says(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    assert_true(value_is(run1(kv, op_get("k")).values[0], absent));
    assert_int_equal(kv_revision(kv), 0);
    struct kv_result r = run1(kv, op_put("k", text("one")));
    assert_int_equal(r.status, KV_OK);
    assert_int_equal(r.revision, 1);
    assert_true(value_is(run1(kv, op_get("k")).values[0], text("one")));
    assert_int_equal(run1(kv, op_cas("k", text("one"), text("two"))).status, KV_OK);
    r = run1(kv, op_cas("k", text("one"), text("three")));
    assert_int_equal(r.status, KV_CAS_MISMATCH);
    assert_int_equal(r.values_count, 1);
    assert_true(value_is(r.values[0], text("two")));
    assert_int_equal(run1(kv, op_cas("k", absent, text("three"))).status, KV_CAS_MISMATCH);
    assert_int_equal(run1(kv, op_cas("new", absent, counter(5))).status, KV_OK);
    assert_true(value_is(run1(kv, op_add("new", -7)).values[0], counter(-2)));
    assert_true(value_is(run1(kv, op_add("fresh", 3)).values[0], counter(3)));
    assert_true(value_is(run1(kv, op_delete("fresh")).values[0], counter(1)));
    uint64_t revision = kv_revision(kv);
    assert_true(value_is(run1(kv, op_delete("fresh")).values[0], counter(0)));
    assert_int_equal(kv_revision(kv), revision);
    assert_true(value_is(run1(kv, op_append("list", 7)).values[0], counter(1)));
    assert_true(value_is(run1(kv, op_append("list", -8)).values[0], counter(2)));
    int64_t elements[] = {7, -8};
    struct kv_value list = {.kind = KV_LIST, .bytes = bytes_of(elements, sizeof elements)};
    assert_true(value_is(get(kv, "list").values[0], list));
    assert_int_equal(run1(kv, op_cas("list", list, counter(1))).status, KV_OK);
    check_snapshot(kv);
    kv_free(kv);
}

static void a_wrong_type_fails_and_put_replaces_any_type(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    run1(kv, op_put("b", text("x")));
    run1(kv, op_add("c", 1));
    run1(kv, op_append("l", 1));
    uint64_t hash = kv_hash(kv);
    assert_int_equal(run1(kv, op_append("b", 1)).status, KV_WRONG_TYPE);
    assert_int_equal(run1(kv, op_add("b", 1)).status, KV_WRONG_TYPE);
    assert_int_equal(run1(kv, op_append("c", 1)).status, KV_WRONG_TYPE);
    assert_int_equal(run1(kv, op_add("l", 1)).status, KV_WRONG_TYPE);
    assert_true(kv_hash(kv) == hash);
    assert_int_equal(run1(kv, op_put("l", counter(4))).status, KV_OK);
    assert_true(value_is(run1(kv, op_add("l", 1)).values[0], counter(5)));
    kv_free(kv);
}

static void limits_are_reported_and_change_nothing(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    char *large = xcalloc(1, KV_VALUE_BYTES_MAX + 9);
    struct kv_value most = {.kind = KV_BYTES, .bytes = bytes_of(large, KV_VALUE_BYTES_MAX)};
    struct kv_value more = {.kind = KV_BYTES, .bytes = bytes_of(large, KV_VALUE_BYTES_MAX + 1)};
    assert_int_equal(run1(kv, op_put("k", most)).status, KV_OK);
    run1(kv, op_add("c", INT64_MAX));
    run1(kv, op_put("l", (struct kv_value){.kind = KV_LIST, .bytes = most.bytes}));
    uint64_t hash = kv_hash(kv);
    assert_int_equal(run1(kv, op_put("k", more)).status, KV_TOO_LARGE);
    assert_int_equal(run1(kv, op_cas("k", most, more)).status, KV_TOO_LARGE);
    assert_int_equal(run1(kv, op_add("c", 1)).status, KV_TOO_LARGE);
    assert_int_equal(run1(kv, op_append("l", 1)).status, KV_TOO_LARGE);
    memset(large, 'k', KV_KEY_BYTES_MAX + 1);
    assert_int_equal(run1(kv, op_put(large, counter(1))).status, KV_TOO_LARGE);
    assert_int_equal(run1(kv, op_get(large)).status, KV_TOO_LARGE);
    assert_int_equal(get(kv, large).status, KV_TOO_LARGE);
    assert_true(kv_hash(kv) == hash);
    large[KV_KEY_BYTES_MAX] = '\0';
    assert_int_equal(run1(kv, op_put(large, counter(1))).status, KV_OK);
    assert_int_equal(run1(kv, op_put("", counter(1))).status, KV_OK);
    check_snapshot(kv);
    free(large);
    kv_free(kv);
}

static void the_largest_result_fits_its_limit(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    char *large = xcalloc(1, KV_VALUE_BYTES_MAX);
    run1(kv, op_put("k", (struct kv_value){.kind = KV_BYTES, .bytes = bytes_of(large, KV_VALUE_BYTES_MAX)}));
    struct kv_op ops[KV_OPS_MAX];
    for (size_t i = 0; i < KV_OPS_MAX; i++) ops[i] = op_get("k");
    struct kv_result r = run(kv, KV_OPS_MAX, ops);
    assert_int_equal(r.status, KV_OK);
    assert_int_equal(r.values_count, KV_OPS_MAX);
    assert_int_equal(r.values[KV_OPS_MAX - 1].bytes.size, KV_VALUE_BYTES_MAX);
    free(large);
    kv_free(kv);
}

static void bad_bytes_are_a_result_not_a_crash(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    struct prng p;
    prng_seed(&p, 1, 1);
    struct kv_command c = {.ops_count = 3,
                           .ops = {op_put("a", text("v")), op_cas("a", text("v"), counter(1)), op_append("l", 3)}};
    struct bytes good = encode(&c);
    uint8_t bad[256];
    for (size_t size = 0; size < good.size; size++) {
        struct kv_result r = decode(kv_apply(kv, bytes_of(good.data, size), out, sizeof out));
        assert_int_equal(r.status, KV_BAD_COMMAND);
    }
    for (int i = 0; i < 100000; i++) {
        memcpy(bad, good.data, good.size);
        for (uint64_t flips = 1 + prng_below(&p, 4); flips; flips--) {
            bad[prng_below(&p, good.size)] = (uint8_t)prng_next(&p);
        }
        decode(kv_apply(kv, bytes_of(bad, good.size), out, sizeof out));
    }
    check_snapshot(kv);
    kv_free(kv);
}

static void a_read_refuses_to_write(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    struct kv_command c = {.ops_count = 2, .ops = {op_get("k"), op_put("k", counter(1))}};
    assert_false(kv_command_reads_only(&c));
    assert_int_equal(decode(kv_read(kv, encode(&c), out, sizeof out)).status, KV_BAD_COMMAND);
    assert_int_equal(decode(kv_read(kv, bytes_str("junk"), out, sizeof out)).status, KV_BAD_COMMAND);
    assert_int_equal(kv_revision(kv), 0);
    c.ops_count = 1;
    assert_true(kv_command_reads_only(&c));
    assert_int_equal(decode(kv_read(kv, encode(&c), out, sizeof out)).status, KV_OK);
    kv_free(kv);
}

/* --- atomicity ---------------------------------------------------------------------------------------------------- */

static void a_command_applies_whole_or_not_at_all(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    run1(kv, op_put("a", text("old")));
    run1(kv, op_append("l", 1));
    run1(kv, op_add("c", 10));
    struct buffer before = {0}, after = {0};
    uint64_t hash = kv_hash(kv);
    kv_snapshot(kv, &before);
    struct kv_op ops[] = {op_put("a", text("new")), op_append("l", 2),       op_append("l", 3),
                          op_append("m", 9),        op_append("m", 8),       op_add("c", 1),
                          op_delete("a"),           op_put("a", counter(3)), op_delete("l"),
                          op_append("l", 5),        op_put("z", text("")),   op_delete("z"),
                          op_delete("m"),           op_add("a", 4),          op_cas("c", counter(10), counter(0))};
    struct kv_result r = run(kv, sizeof ops / sizeof *ops, ops);
    assert_int_equal(r.status, KV_CAS_MISMATCH);
    assert_int_equal(r.failed_at, 14);
    assert_int_equal(r.values_count, 15);
    assert_true(value_is(r.values[14], counter(11))); /* as the command saw it */
    kv_snapshot(kv, &after);
    assert_true(bytes_equal(bytes_of(before.data, before.size), bytes_of(after.data, after.size)));
    assert_true(kv_hash(kv) == hash);

    r = run(kv, 14, ops);
    assert_int_equal(r.status, KV_OK);
    assert_int_equal(r.revision, 4);
    assert_true(value_is(r.values[2], counter(3)));  /* the length after the second append */
    assert_true(value_is(r.values[9], counter(1)));  /* a new list after the deletion */
    assert_true(value_is(r.values[13], counter(7))); /* each sees what those before it did */
    assert_true(value_is(get(kv, "z").values[0], absent));
    check_snapshot(kv);
    buffer_free(&before);
    buffer_free(&after);
    kv_free(kv);
}

static void reads_in_a_command_see_the_moment_they_ran(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    run1(kv, op_put("k", text("before")));
    struct kv_op ops[] = {op_get("k"), op_put("k", text("after!")), op_get("k"), op_delete("k"), op_get("k")};
    struct kv_result r = run(kv, 5, ops);
    assert_true(value_is(r.values[0], text("before")));
    assert_true(value_is(r.values[2], text("after!")));
    assert_true(value_is(r.values[4], absent));
    kv_free(kv);
}

/* --- sessions ----------------------------------------------------------------------------------------------------- */

static void a_retry_applies_once_and_gets_the_first_answer(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    uint64_t session = open_session(kv);
    assert_true(value_is(in_session(kv, session, 1, op_add("c", 5)).values[0], counter(5)));
    uint64_t revision = kv_revision(kv);
    assert_true(value_is(in_session(kv, session, 1, op_add("c", 5)).values[0], counter(5)));
    assert_int_equal(kv_revision(kv), revision);
    assert_true(value_is(in_session(kv, session, 2, op_add("c", 5)).values[0], counter(10)));
    assert_int_equal(in_session(kv, session, 1, op_add("c", 5)).status, KV_STALE);
    assert_int_equal(in_session(kv, session, 0, op_add("c", 5)).status, KV_STALE);
    assert_int_equal(in_session(kv, session + 1, 1, op_add("c", 5)).status, KV_NO_SESSION);
    assert_true(value_is(get(kv, "c").values[0], counter(10)));
    /* A failure is an answer, too: the retry does not get another chance. */
    assert_int_equal(in_session(kv, session, 3, op_cas("c", counter(0), counter(1))).status, KV_CAS_MISMATCH);
    run1(kv, op_put("c", counter(0)));
    assert_int_equal(in_session(kv, session, 3, op_cas("c", counter(0), counter(1))).status, KV_CAS_MISMATCH);
    check_snapshot(kv);
    kv_free(kv);
}

/* Commands of several sessions arrive any number of times and in any order; each counts at most once, and only in
 * order. */
static void duplicates_and_late_copies_never_apply_again(void **state) {
    (void)state;
    enum { SESSIONS = 20 };
    struct kv *kv = kv_new(NULL);
    struct prng p;
    uint64_t ids[SESSIONS], last[SESSIONS] = {0}, retries = 0, stale = 0;
    int64_t answers[SESSIONS] = {0}, sum = 0;
    prng_seed(&p, 5, 5);
    for (size_t i = 0; i < SESSIONS; i++) ids[i] = open_session(kv);
    for (int i = 0; i < 20000; i++) {
        size_t s = prng_below(&p, SESSIONS);
        uint64_t around = last[s] + prng_below(&p, 4), sequence = around ? around - 1 : 0;
        struct kv_result r = in_session(kv, ids[s], sequence, op_add("sum", (int64_t)s));
        if (sequence > last[s]) {
            last[s] = sequence;
            answers[s] = sum += (int64_t)s;
        } else if (sequence < last[s] || sequence == 0) {
            assert_int_equal(r.status, KV_STALE);
            stale++;
            continue;
        } else {
            retries++;
        }
        assert_true(r.status == KV_OK && value_is(r.values[0], counter(answers[s])));
        if (i % 500 == 0) check_snapshot(kv);
    }
    assert_true(value_is(get(kv, "sum").values[0], counter(sum)));
    assert_true(retries > 1000 && stale > 1000);
    kv_free(kv);
}

static void an_answer_that_does_not_fit_is_lost_but_applied(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    uint64_t session = open_session(kv);
    struct kv_command c = {session, 1, 1, {op_add("c", 5)}};
    assert_int_equal(kv_apply(kv, encode(&c), out, 3), 0);
    assert_true(value_is(in_session(kv, session, 1, op_add("c", 5)).values[0], counter(5)));
    kv_free(kv);
}

static void the_least_recently_used_session_expires_first(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    uint64_t first = open_session(kv), second = open_session(kv);
    for (size_t i = 2; i < KV_SESSIONS_MAX; i++) open_session(kv);
    assert_int_equal(in_session(kv, first, 1, op_add("c", 1)).status, KV_OK); /* now `second` is the oldest */
    check_snapshot(kv);
    open_session(kv);
    assert_int_equal(in_session(kv, second, 1, op_add("c", 1)).status, KV_NO_SESSION);
    assert_int_equal(in_session(kv, first, 1, op_add("c", 1)).status, KV_OK);
    for (size_t i = 1; i < KV_SESSIONS_MAX; i++) open_session(kv);
    assert_int_equal(in_session(kv, first, 1, op_add("c", 1)).status, KV_OK);
    for (size_t i = 0; i < KV_SESSIONS_MAX; i++) open_session(kv);
    assert_int_equal(in_session(kv, first, 1, op_add("c", 1)).status, KV_NO_SESSION);
    assert_true(value_is(get(kv, "c").values[0], counter(1)));
    check_snapshot(kv);
    kv_free(kv);
}

static void large_stored_results_expire_old_sessions_instead_of_growing(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    char *large = xcalloc(1, KV_VALUE_BYTES_MAX);
    run1(kv, op_put("k", (struct kv_value){.kind = KV_BYTES, .bytes = bytes_of(large, KV_VALUE_BYTES_MAX)}));
    struct kv_command c = {.sequence = 1, .ops_count = KV_OPS_MAX};
    for (size_t i = 0; i < KV_OPS_MAX; i++) c.ops[i] = op_get("k");
    uint64_t first = open_session(kv), last = first;
    for (int i = 0; i < 40; i++) {
        c.session = last = open_session(kv);
        assert_int_equal(apply(kv, &c).status, KV_OK);
    }
    struct buffer snapshot = {0};
    kv_snapshot(kv, &snapshot);
    assert_in_range(snapshot.size, 10 << 20, 20 << 20);
    assert_int_equal(in_session(kv, first, 1, op_get("k")).status, KV_NO_SESSION);
    c.session = last;
    assert_int_equal(apply(kv, &c).values_count, KV_OPS_MAX); /* from the stored result */
    check_snapshot(kv);
    buffer_free(&snapshot);
    free(large);
    kv_free(kv);
}

static void the_mutant_that_forgets_sessions_forgets_only_them(void **state) {
    (void)state;
    struct kv *kv = kv_new(&(struct kv_rules){.forget_sessions_in_snapshot = true}), *copy = kv_new(NULL);
    uint64_t session = open_session(kv);
    in_session(kv, session, 1, op_add("c", 1));
    struct buffer snapshot = {0};
    kv_snapshot(kv, &snapshot);
    assert_int_equal(kv_restore(copy, bytes_of(snapshot.data, snapshot.size), NULL), 0);
    assert_int_equal(in_session(copy, session, 1, op_add("c", 1)).status, KV_NO_SESSION);
    assert_true(value_is(get(copy, "c").values[0], counter(1)));
    assert_true(open_session(copy) > session);
    buffer_free(&snapshot);
    kv_free(copy);
    kv_free(kv);
}

/* --- the naive model ---------------------------------------------------------------------------------------------- */

#define MODEL_KEYS 24

struct model_value {
    uint8_t kind;
    int64_t counter;
    size_t size;
    uint8_t bytes[2048];
};
struct model {
    struct model_value values[MODEL_KEYS];
    uint64_t revision;
};

static struct kv_value model_get(const struct model_value *m) {
    return (struct kv_value){m->kind, m->counter, bytes_of(m->bytes, m->size)};
}

static void model_set(struct model_value *m, const struct kv_value *v) {
    m->kind = v->kind;
    m->counter = v->counter;
    m->size = v->bytes.size;
    if (m->size) memcpy(m->bytes, v->bytes.data, m->size);
}

/* Whether the operation changed something; `status` and `answer` as the store should give them. */
static bool model_op(struct model_value *m, const struct kv_op *op, uint8_t *status, struct kv_value *answer) {
    *status = KV_OK;
    *answer = absent;
    switch (op->kind) {
    case KV_GET: *answer = model_get(m); return false;
    case KV_PUT: model_set(m, &op->value); return true;
    case KV_DELETE:
        *answer = counter(m->kind != KV_ABSENT);
        if (m->kind == KV_ABSENT) return false;
        model_set(m, &absent);
        return true;
    case KV_CAS:
        if (!value_is(model_get(m), op->expected)) {
            *status = KV_CAS_MISMATCH;
            *answer = model_get(m);
            return false;
        }
        model_set(m, &op->value);
        return true;
    case KV_APPEND:
        if (m->kind != KV_ABSENT && m->kind != KV_LIST) {
            *status = KV_WRONG_TYPE;
            return false;
        }
        m->kind = KV_LIST;
        memcpy(m->bytes + m->size, &op->value.counter, 8);
        m->size += 8;
        *answer = counter((int64_t)m->size / 8);
        return true;
    default:
        if (m->kind != KV_ABSENT && m->kind != KV_COUNTER) {
            *status = KV_WRONG_TYPE;
            return false;
        }
        m->kind = KV_COUNTER;
        m->counter += op->value.counter;
        *answer = counter(m->counter);
        return true;
    }
}

static size_t key_number(const struct kv_op *op) {
    return (size_t)(op->key.data[op->key.size - 1] - 'a');
}

/* Runs the command on the model and compares what the store answered. */
static void model_check(struct model *m, const struct kv_command *c, const struct kv_result *r) {
    static struct model scratch;
    scratch = *m;
    bool changed = false;
    for (size_t i = 0; i < c->ops_count; i++) {
        struct kv_value answer;
        uint8_t status;
        struct model_value *value = &scratch.values[key_number(&c->ops[i])];
        changed |= model_op(value, &c->ops[i], &status, &answer);
        if (status != KV_OK) {
            assert_int_equal(r->status, status);
            assert_int_equal(r->failed_at, i);
            assert_int_equal(r->revision, m->revision);
            if (status == KV_CAS_MISMATCH) assert_true(value_is(r->values[i], answer));
            return;
        }
        if (r->status == KV_OK) assert_true(i < r->values_count && value_is(r->values[i], answer));
    }
    assert_int_equal(r->status, KV_OK);
    assert_int_equal(r->values_count, c->ops_count);
    scratch.revision += changed;
    assert_int_equal(r->revision, scratch.revision);
    *m = scratch;
}

static struct kv_value random_value(struct prng *p, uint8_t *memory) {
    uint64_t size = prng_below(p, prng_below(p, 8) ? 24 : 1000);
    for (size_t i = 0; i < size; i++) memory[i] = (uint8_t)prng_below(p, 3);
    switch (prng_below(p, 3)) {
    case 0: return counter((int64_t)prng_below(p, 7) - 3);
    case 1: return (struct kv_value){.kind = KV_LIST, .bytes = bytes_of(memory, size / 8 * 8)};
    default: return (struct kv_value){.kind = KV_BYTES, .bytes = bytes_of(memory, size)};
    }
}

static void random_command(struct prng *p, const struct model *m, struct kv_command *c) {
    static char keys[KV_OPS_MAX][64];
    static uint8_t memory[KV_OPS_MAX][2][1000];
    c->ops_count = (uint8_t)(prng_below(p, 3) ? 1 : 1 + prng_below(p, KV_OPS_MAX));
    for (size_t i = 0; i < c->ops_count; i++) {
        uint64_t key = prng_below(p, MODEL_KEYS);
        snprintf(keys[i], sizeof keys[i], "%.*s%c", (int)key, "a-long-prefix-that-differs", (char)('a' + key));
        struct kv_op *op = &c->ops[i];
        *op = (struct kv_op){.kind = (uint8_t)prng_below(p, KV_ADD + 1), .key = bytes_str(keys[i])};
        if (m->values[key].size > 1500) op->kind = KV_DELETE;
        if (op->kind == KV_PUT || op->kind == KV_CAS) op->value = random_value(p, memory[i][0]);
        if (op->kind == KV_APPEND || op->kind == KV_ADD) op->value = counter((int64_t)prng_below(p, 9) - 4);
        if (op->kind == KV_CAS) {
            op->expected = prng_below(p, 3) ? model_get(&m->values[key]) : random_value(p, memory[i][1]);
        }
    }
}

static void random_commands_agree_with_a_naive_model(void **state) {
    (void)state;
    static struct model m;
    unsigned statuses[KV_BAD_COMMAND + 1] = {0};
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct prng p;
        prng_seed(&p, seed, 1);
        memset(&m, 0, sizeof m);
        struct kv *kv = kv_new(NULL);
        for (int i = 0; i < 2000; i++) {
            struct kv_command c = {0};
            random_command(&p, &m, &c);
            struct kv_result r = apply(kv, &c);
            statuses[r.status]++;
            model_check(&m, &c, &r);
            if (i % 100 == 0) check_snapshot(kv);
        }
        kv_free(kv);
    }
    assert_true(statuses[KV_OK] > 10000 && statuses[KV_CAS_MISMATCH] > 1000 && statuses[KV_WRONG_TYPE] > 1000);
}

static void a_thousand_keys_come_and_go(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    static int64_t present[5000];
    struct prng p;
    prng_seed(&p, 3, 3);
    for (int i = 0; i < 200000; i++) {
        char key[16];
        uint64_t k = prng_below(&p, 5000);
        snprintf(key, sizeof key, "key%ju", (uintmax_t)k);
        if (prng_below(&p, 2)) {
            assert_true(value_is(run1(kv, op_delete(key)).values[0], counter(present[k] != 0)));
            present[k] = 0;
        } else {
            assert_true(value_is(run1(kv, op_add(key, 1)).values[0], counter(++present[k])));
        }
    }
    check_snapshot(kv);
    kv_free(kv);
}

/* --- hashes and snapshots ----------------------------------------------------------------------------------------- */

static void equal_histories_have_equal_hashes_and_different_states_do_not(void **state) {
    (void)state;
    struct kv *a = kv_new(NULL), *b = kv_new(NULL);
    uint64_t hashes[64];
    size_t count = 0;
    struct kv_op ops[] = {op_put("k", text("1")), op_put("k", text("1")), op_put("k", counter(1)), op_delete("k"),
                          op_append("k", 1),      op_append("k", 2),      op_put("j", text("1")),  op_add("c", 0)};
    hashes[count++] = kv_hash(a);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        run1(a, ops[i]);
        run1(b, ops[i]);
        assert_true(kv_hash(a) == kv_hash(b));
        hashes[count++] = kv_hash(a);
    }
    uint64_t session = open_session(a);
    hashes[count++] = kv_hash(a);
    in_session(a, session, 1, op_get("k"));
    hashes[count++] = kv_hash(a);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) assert_true(hashes[i] != hashes[j]);
    }
    kv_free(a);
    kv_free(b);
}

static void a_cleared_store_is_a_new_one(void **state) {
    (void)state;
    struct kv *used = kv_new(NULL), *fresh = kv_new(NULL);
    uint64_t session = open_session(used);
    for (int i = 0; i < 300; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        in_session(used, session, (uint64_t)i + 1, op_put(key, text("value")));
    }
    kv_clear(used);
    assert_true(kv_hash(used) == kv_hash(fresh));
    assert_true(value_is(get(used, "7").values[0], absent));
    assert_true(open_session(used) == open_session(fresh));
    run1(used, op_append("l", 3));
    run1(fresh, op_append("l", 3));
    assert_true(kv_hash(used) == kv_hash(fresh));
    check_snapshot(used);
    kv_free(used);
    kv_free(fresh);
}

static void a_damaged_snapshot_is_refused_or_canonical(void **state) {
    (void)state;
    struct kv *kv = kv_new(NULL);
    uint64_t sessions[] = {open_session(kv), open_session(kv)};
    in_session(kv, sessions[1], 1, op_put("bytes", text("value")));
    in_session(kv, sessions[0], 4, op_append("list", 3));
    run1(kv, op_add("counter", 8));
    struct buffer snapshot = {0}, again = {0};
    kv_snapshot(kv, &snapshot);
    unsigned refused = 0;
    struct error e;
    for (size_t size = 0; size < snapshot.size; size++) {
        assert_int_equal(kv_restore(kv, bytes_of(snapshot.data, size), &e), -1);
        assert_true(kv_revision(kv) == 0 && e.text[0]);
    }
    for (size_t bit = 0; bit < snapshot.size * 8; bit++) {
        snapshot.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        if (kv_restore(kv, bytes_of(snapshot.data, snapshot.size), &e)) {
            refused++;
        } else {
            again.size = 0;
            kv_snapshot(kv, &again);
            assert_true(bytes_equal(bytes_of(again.data, again.size), bytes_of(snapshot.data, snapshot.size)));
        }
        snapshot.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_true(refused > 500);
    assert_int_equal(kv_restore(kv, bytes_of(snapshot.data, snapshot.size), &e), 0);
    buffer_append(&snapshot, "", 1);
    assert_int_equal(kv_restore(kv, bytes_of(snapshot.data, snapshot.size), &e), -1);
    buffer_free(&snapshot);
    buffer_free(&again);
    kv_free(kv);
}

/* --- partial order ------------------------------------------------------------------------------------------------ */

enum { ORDER_COMMANDS = 80 };

static struct kv_command small_command(struct prng *p) {
    static const char *const keys[] = {"a", "b", "c", "d"};
    struct kv_command c = {.ops_count = (uint8_t)prng_below(p, 3), .session = prng_below(p, 4)};
    c.sequence = c.session ? 1 + prng_below(p, 20) : 0;
    if (c.session && c.ops_count == 0) c.ops_count = 1;
    for (uint8_t k = 0; k < c.ops_count; k++) {
        const char *key = keys[prng_below(p, 4)];
        const struct kv_op ops[] = {op_get(key), op_put(key, counter((int64_t)prng_below(p, 5))), op_delete(key),
                                    op_add(key, 1), op_append(key, 7)};
        c.ops[k] = ops[prng_below(p, 5)];
    }
    return c;
}

static bool interfere(const struct kv_command *a, const struct kv_command *b) {
    struct kv_touched x[KV_TOUCHED_MAX], y[KV_TOUCHED_MAX];
    uint32_t in_x = kv_footprint(encode(a), x), in_y = kv_footprint(encode(b), y);
    for (uint32_t i = 0; i < in_x; i++)
        for (uint32_t k = 0; k < in_y; k++)
            if (x[i].hash == y[k].hash && !(x[i].reads_only && y[k].reads_only)) return true;
    return false;
}

static void what_does_not_interfere_may_change_places(void **state) {
    (void)state;
    static struct kv_command commands[ORDER_COMMANDS];
    static uint64_t answers[ORDER_COMMANDS];
    uint64_t moved = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct prng p;
        prng_seed(&p, seed, 0);
        uint32_t order[ORDER_COMMANDS];
        for (uint32_t k = 0; k < ORDER_COMMANDS; k++) {
            commands[k] = k < 2 ? (struct kv_command){0} : small_command(&p);
            order[k] = k;
        }
        for (uint32_t swap = 0; swap < 2000; swap++) {
            uint32_t at = (uint32_t)prng_below(&p, ORDER_COMMANDS - 1), first = order[at];
            if (interfere(&commands[first], &commands[order[at + 1]])) continue;
            order[at] = order[at + 1];
            order[at + 1] = first;
            moved++;
        }
        struct kv *straight = kv_new(NULL), *changed = kv_new(NULL);
        kv_set_partial_order(straight, true);
        kv_set_partial_order(changed, true);
        for (uint32_t k = 0; k < ORDER_COMMANDS; k++)
            answers[k] = hash_bytes(bytes_of(out, kv_apply(straight, encode(&commands[k]), out, sizeof out)), 0);
        for (uint32_t k = 0; k < ORDER_COMMANDS; k++) {
            size_t size = kv_apply(changed, encode(&commands[order[k]]), out, sizeof out);
            assert_true(hash_bytes(bytes_of(out, size), 0) == answers[order[k]]);
        }
        assert_true(kv_hash(straight) == kv_hash(changed));
        kv_free(straight);
        kv_free(changed);
    }
    assert_true(moved > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_operation_does_what_it_says),
        cmocka_unit_test(a_wrong_type_fails_and_put_replaces_any_type),
        cmocka_unit_test(limits_are_reported_and_change_nothing),
        cmocka_unit_test(the_largest_result_fits_its_limit),
        cmocka_unit_test(bad_bytes_are_a_result_not_a_crash),
        cmocka_unit_test(a_read_refuses_to_write),
        cmocka_unit_test(a_command_applies_whole_or_not_at_all),
        cmocka_unit_test(reads_in_a_command_see_the_moment_they_ran),
        cmocka_unit_test(a_retry_applies_once_and_gets_the_first_answer),
        cmocka_unit_test(duplicates_and_late_copies_never_apply_again),
        cmocka_unit_test(an_answer_that_does_not_fit_is_lost_but_applied),
        cmocka_unit_test(the_least_recently_used_session_expires_first),
        cmocka_unit_test(large_stored_results_expire_old_sessions_instead_of_growing),
        cmocka_unit_test(the_mutant_that_forgets_sessions_forgets_only_them),
        cmocka_unit_test(random_commands_agree_with_a_naive_model),
        cmocka_unit_test(a_thousand_keys_come_and_go),
        cmocka_unit_test(equal_histories_have_equal_hashes_and_different_states_do_not),
        cmocka_unit_test(a_cleared_store_is_a_new_one),
        cmocka_unit_test(a_damaged_snapshot_is_refused_or_canonical),
        cmocka_unit_test(what_does_not_interfere_may_change_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
