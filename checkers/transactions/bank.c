/* Bank: money moves between accounts, and none is made or lost on the way. What a transaction that reads all accounts
 * adds up to is the same in every serializable execution, and under snapshot isolation, too. */
#include "checkers/transactions/internal.h"

#include <inttypes.h>
#include <stdlib.h>

struct bank {
    const struct tables *t;
    uint32_t *read_by; /* by key: the last transaction that read it, + 1 */
    int64_t total;     /* that the first of them saw */
    uint32_t first;    /* which; NONE */
    uint32_t complete; /* transactions that read all accounts */
};

/* The sum of a transaction's first reads; false if it did not read every account. */
static bool add_up(struct bank *b, uint32_t txn, int64_t *total) {
    const struct tables *t = b->t;
    uint32_t read = 0;
    *total = 0;
    for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++) {
        const struct micro *m = &t->micros[i];
        if (m->kind == MICRO_WRITE) return false; /* in the middle of a transfer */
        if (!m->known || m->value.kind == VALUE_STRING || b->read_by[m->key] == txn + 1) continue;
        b->read_by[m->key] = txn + 1;
        read++;
        if (m->value.kind == VALUE_INT) *total = (int64_t)((uint64_t)*total + (uint64_t)m->value.integer);
    }
    return read == t->keys;
}

static bool below_zero(const struct tables *t, uint32_t txn, struct check_result *out) {
    for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++) {
        const struct micro *m = &t->micros[i];
        if (m->kind != MICRO_READ || !m->known || m->value.kind != VALUE_INT || m->value.integer >= 0) continue;
        struct buffer key = {0};
        history_value_print(t->h, t->key_value[m->key], &key);
        result_set(out, VERDICT_INVALID, "operation %u read %" PRId64 " of account %s, less than nothing", t->op[txn],
                   m->value.integer, buffer_text(&key));
        result_ops(out, &t->op[txn], 1);
        buffer_free(&key);
        return true;
    }
    return false;
}

static bool differs(struct bank *b, uint32_t txn, struct check_result *out) {
    const struct tables *t = b->t;
    int64_t total;
    if (!add_up(b, txn, &total)) return false;
    b->complete++;
    if (b->first == NONE) {
        b->first = txn;
        b->total = total;
    }
    if (total == b->total) return false;
    uint32_t ops[2] = {t->op[b->first], t->op[txn]};
    result_set(out, VERDICT_INVALID, "the accounts held %" PRId64 " in operation %u, but %" PRId64 " in operation %u",
               b->total, ops[0], total, ops[1]);
    result_ops(out, ops, 2);
    return true;
}

static void explain(const struct tables *t, struct check_result *out) {
    struct buffer text = {0};
    check_print_ops(t->h, out->ops, out->ops_count, &text);
    result_explain(out, &text);
}

static void judge(struct bank *b, struct check_result *out) {
    const struct tables *t = b->t;
    for (uint32_t txn = 0; txn < t->count; txn++) {
        if (budget_spent(t->budget)) {
            tables_unknown(t, out);
            return;
        }
        if (t->status[txn] != OP_OK || (!below_zero(t, txn, out) && !differs(b, txn, out))) continue;
        explain(t, out);
        return;
    }
    if (b->complete < 2) {
        result_set(out, VERDICT_UNKNOWN, "%u transactions read all %u accounts; it takes two to compare", b->complete,
                   t->keys);
    } else {
        result_set(out, VERDICT_VALID, "%u transactions read all %u accounts, always %" PRId64, b->complete, t->keys,
                   b->total);
    }
}

static void judge_bank(const void *what, const struct history *h, const struct check_options *o,
                       struct check_result *out) {
    (void)what;
    result_start(out, "bank");
    if (!history_trusted(h, out)) return;
    struct budget budget = budget_of(o);
    struct tables t;
    if (!tables_read(&t, h, TRANSACTIONS_RW_REGISTER, false, &budget) ||
        !budget_claim(&budget, t.keys * sizeof(uint32_t))) {
        tables_unknown(&t, out);
    } else {
        struct bank b = {.t = &t, .first = NONE, .read_by = xcalloc((size_t)t.keys + 1, sizeof *b.read_by)};
        judge(&b, out);
        free(b.read_by);
    }
    tables_free(&t);
}

void check_bank(const struct history *h, const struct check_options *o, struct check_result *out) {
    const struct evidence e = {.check = judge_bank, .words = KEEP_WORDS};
    check_with_evidence(h, &e, o, out);
}
