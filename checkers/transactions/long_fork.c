/* Long forks. As each key is written once, what a transaction saw of a set of keys is a subset of it, and the subsets
 * that were seen must form a chain. Sorted by size, each need only be compared with the next. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

struct seen { /* by one transaction; its keys and whether each was written stand in one array */
    uint32_t txn, first, count, written;
    uint64_t hash; /* of the keys */
};

struct forks {
    const struct tables *t;
    struct seen *all;
    uint32_t count;
    uint64_t *keys; /* key << 1 | seen */
    uint32_t keys_count;
    uint32_t compared;
};

static int by_word(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int by_keys_then_size(const void *a, const void *b) {
    const struct seen *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    if (x->written != y->written) return x->written < y->written ? -1 : 1;
    return x->txn < y->txn ? -1 : x->txn > y->txn;
}

/* A transaction's reads, sorted by key, each key once. */
static void take(struct forks *f, uint32_t txn) {
    const struct tables *t = f->t;
    struct seen s = {.txn = txn, .first = f->keys_count};
    for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++) {
        const struct micro *m = &t->micros[i];
        if (m->external && m->version != VERSION_NONE)
            f->keys[f->keys_count++] = (uint64_t)m->key << 1 | (m->version >= t->keys);
    }
    qsort(f->keys + s.first, f->keys_count - s.first, sizeof *f->keys, by_word);
    uint32_t kept = s.first;
    for (uint32_t i = s.first; i < f->keys_count; i++)
        if (kept == s.first || f->keys[i] >> 1 != f->keys[kept - 1] >> 1) f->keys[kept++] = f->keys[i];
    f->keys_count = kept;
    s.count = kept - s.first;
    for (uint32_t i = s.first; i < kept; i++) {
        s.hash = hash_mix(s.hash, f->keys[i] >> 1);
        s.written += f->keys[i] & 1;
    }
    if (s.count > 1) {
        f->all[f->count++] = s;
    } else {
        f->keys_count = s.first;
    }
}

static bool same_keys(const struct forks *f, const struct seen *a, const struct seen *b) {
    if (a->hash != b->hash || a->count != b->count) return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (f->keys[a->first + i] >> 1 != f->keys[b->first + i] >> 1) return false;
    return true;
}

/* A key that a saw written and b did not; NONE. */
static uint32_t only_in(const struct forks *f, const struct seen *a, const struct seen *b) {
    for (uint32_t i = 0; i < a->count; i++)
        if (f->keys[a->first + i] & 1 && !(f->keys[b->first + i] & 1)) return (uint32_t)(f->keys[a->first + i] >> 1);
    return NONE;
}

static bool forked(struct forks *f, const struct seen *a, const struct seen *b, struct check_result *out) {
    const struct tables *t = f->t;
    uint32_t x = only_in(f, a, b), y = only_in(f, b, a), ops[2] = {t->op[a->txn], t->op[b->txn]};
    f->compared++;
    if (x == NONE || y == NONE) return false;
    struct buffer kx = {0}, ky = {0}, text = {0};
    history_value_print(t->h, t->key_value[x], &kx);
    history_value_print(t->h, t->key_value[y], &ky);
    result_set(out, VERDICT_INVALID, "long fork: operation %u saw %s but not %s, operation %u saw %s but not %s",
               ops[0], buffer_text(&kx), buffer_text(&ky), ops[1], buffer_text(&ky), buffer_text(&kx));
    result_ops(out, ops, 2);
    check_print_ops(t->h, out->ops, 2, &text);
    result_explain(out, &text);
    buffer_free(&kx);
    buffer_free(&ky);
    return true;
}

static const char *written_twice(const struct tables *t, uint32_t *op) {
    uint8_t *written = xcalloc((size_t)t->keys + 1, 1);
    const char *why = NULL;
    for (uint32_t v = t->keys; v < t->versions && !why; v++) {
        uint32_t key = t->micros[t->written[v]].key;
        if (t->status[t->writer[v]] == OP_FAIL) continue;
        if (written[key]) {
            why = "writes a key that was written before";
            *op = t->op[t->writer[v]];
        }
        written[key] = 1;
    }
    free(written);
    return why;
}

static void judge(struct forks *f, struct check_result *out) {
    const struct tables *t = f->t;
    for (uint32_t txn = 0; txn < t->count; txn++)
        if (t->status[txn] == OP_OK) take(f, txn);
    qsort(f->all, f->count, sizeof *f->all, by_keys_then_size);
    for (uint32_t i = 1; i < f->count; i++)
        if (same_keys(f, &f->all[i - 1], &f->all[i]) && forked(f, &f->all[i - 1], &f->all[i], out)) return;
    if (f->compared == 0) {
        result_set(out, VERDICT_UNKNOWN, "no two transactions read the same keys, two or more");
    } else {
        result_set(out, VERDICT_VALID, "%u reads of several keys, all in one order", f->count);
    }
}

static void judge_long_fork(const void *what, const struct history *h, const struct check_options *o,
                            struct check_result *out) {
    (void)what;
    result_start(out, "long-fork");
    if (!history_trusted(h, out)) return;
    struct budget budget = budget_of(o);
    struct tables t;
    struct findings found = {0};
    struct pairs updates = {.budget = &budget};
    bool read = tables_read(&t, h, TRANSACTIONS_RW_REGISTER, true, &budget);
    if (read) t.unfit = written_twice(&t, &t.unfit_op);
    read = read && !t.unfit && rw_register_reads(&t, &found, &updates);
    uint64_t micros = read ? t.first[t.count] : 0;
    if (!read || !budget_claim(&budget, t.count * sizeof(struct seen) + micros * sizeof(uint64_t))) {
        tables_unknown(&t, out);
    } else if (found.seen & (1u << GARBAGE_READ | 1u << G1A)) {
        findings_explain(&t, &found, found.seen >> GARBAGE_READ & 1 ? GARBAGE_READ : G1A, out);
        result_set(out, VERDICT_INVALID, "a read of what nobody wrote, or of what failed");
    } else {
        struct forks f = {.t = &t, .all = tables_alloc(t.count, sizeof *f.all), .keys = tables_alloc(micros, 8)};
        judge(&f, out);
        free(f.all);
        free(f.keys);
    }
    pairs_free(&updates);
    findings_free(&found);
    tables_free(&t);
}

void check_long_fork(const struct history *h, const struct check_options *o, struct check_result *out) {
    const struct evidence e = {.check = judge_long_fork, .words = KEEP_WORDS};
    check_with_evidence(h, &e, o, out);
}
