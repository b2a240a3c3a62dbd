/* What a compare-and-set among few operations expected. Whoever cut them down may have taken it as a mere write, which
 * demands less, and left out who wrote what it expected. Here that is put back, if it takes few operations; else such a
 * cas is shown as the write that it was taken for. */
#include "checkers/evidence_internal.h"

#include <stdlib.h>

#define ADDED_MAX 16u

static bool is_pair(struct value v) {
    return v.kind == VALUE_LIST && v.size == 2;
}

static bool is_cas(const struct history *h, uint32_t op) {
    return h->f[op] == OP_CAS && h->status[op] != OP_FAIL && is_pair(h->argument[op]);
}

static bool op_sets(const struct history *h, uint32_t op, uint32_t key, struct value v) {
    if (h->key[op] != key || h->status[op] == OP_FAIL) return false;
    if (h->f[op] == OP_WRITE) return history_value_equal(h, h->argument[op], v);
    bool cas = h->f[op] == OP_CAS && is_pair(h->argument[op]);
    return cas && history_value_equal(h, h->pool[h->argument[op].first + 1], v);
}

/* Is what the cas expected set by one of them, or there from the beginning? */
static bool is_expected(const struct history *h, uint32_t cas, const uint32_t *ops, uint32_t count) {
    struct value v = h->pool[h->argument[cas].first];
    if (v.kind == VALUE_NIL) return true;
    for (uint32_t i = 0; i < count; i++)
        if (ops[i] != cas && op_sets(h, ops[i], h->key[cas], v)) return true;
    return false;
}

/* The last that had begun when the cas ended; NONE. */
static uint32_t setter_of(const struct history *h, uint32_t cas) {
    struct value v = h->pool[h->argument[cas].first];
    uint32_t found = NONE;
    for (uint32_t op = 0; op < h->count && h->invoke_ns[op] <= h->complete_ns[cas]; op++)
        if (op != cas && op_sets(h, op, h->key[cas], v)) found = op;
    return found;
}

bool expected_complete(const struct history *h, struct check_result *out) {
    uint32_t count = out->ops_count, capacity = count + ADDED_MAX;
    uint32_t *ops = xmalloc(((size_t)capacity + 1) * sizeof *ops);
    bool few = true;
    if (count) memcpy(ops, out->ops, count * sizeof *ops);
    for (uint32_t i = 0; i < count && few; i++) {
        if (!is_cas(h, ops[i]) || is_expected(h, ops[i], ops, count)) continue;
        few = count < capacity;
        uint32_t setter = few ? setter_of(h, ops[i]) : NONE;
        if (setter != NONE) ops[count++] = setter;
    }
    if (few && count > out->ops_count) result_ops(out, ops, count);
    free(ops);
    return few;
}

struct history expected_dropped(const struct history *h, const uint32_t *ops, uint32_t count) {
    struct history shown = *h;
    shown.f = xmalloc_large(h->count * sizeof *shown.f);
    shown.argument = xmalloc_large(h->count * sizeof *shown.argument);
    memcpy(shown.f, h->f, h->count * sizeof *shown.f);
    memcpy(shown.argument, h->argument, h->count * sizeof *shown.argument);
    for (uint32_t i = 0; i < count; i++) {
        if (!is_cas(h, ops[i]) || is_expected(h, ops[i], ops, count)) continue;
        shown.f[ops[i]] = OP_WRITE;
        shown.argument[ops[i]] = h->pool[h->argument[ops[i]].first + 1];
    }
    return shown;
}
