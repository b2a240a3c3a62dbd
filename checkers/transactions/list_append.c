/* Lists under append and read. A list tells its own history: the longest read of a key gives the order of its
 * versions, every other read is a prefix of it, and an append that no read shows comes behind all that are shown
 * (Kingsbury and Alvaro, VLDB 2020, section 4). So each read is compared with the longest once, and no search is
 * needed. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

/* What one transaction has seen and done of a key so far. */
struct own {
    uint32_t txn;     /* + 1: so that nothing need be cleared between two */
    uint32_t length;  /* that the list must have now; NONE: not known */
    uint32_t appends; /* since the last read */
    uint32_t read;    /* the external read; NONE */
};

struct lists {
    struct tables *t;
    struct findings *f;
    uint32_t *longest;     /* by key: the micro-operation; NONE */
    uint32_t *longest_txn; /* by key */
    uint32_t *order_first; /* by key, into order */
    uint32_t *order;       /* versions of the longest read; VERSION_NONE: nobody wrote it */
    uint32_t *place;       /* by version: place in the longest read, from 1; 0: not there */
    uint32_t *aborted;     /* by key: place of the first version that was rolled back; NONE */
    uint8_t *broken;       /* by key: the order cannot be trusted */
    struct own *own;       /* by key */
};

static void allocate(struct lists *l) {
    size_t keys = (size_t)l->t->keys + 1;
    l->longest = xmalloc(keys * sizeof *l->longest);
    l->longest_txn = xmalloc(keys * sizeof *l->longest_txn);
    l->order_first = xcalloc(keys, sizeof *l->order_first);
    l->place = xcalloc((size_t)l->t->versions + 1, sizeof *l->place);
    l->aborted = xmalloc(keys * sizeof *l->aborted);
    l->broken = xcalloc(keys, 1);
    l->own = xcalloc(keys, sizeof *l->own);
    memset(l->longest, 0xff, keys * sizeof *l->longest);
    memset(l->aborted, 0xff, keys * sizeof *l->aborted);
}

static void release(struct lists *l) {
    free(l->longest);
    free(l->longest_txn);
    free(l->order_first);
    free(l->order);
    free(l->place);
    free(l->aborted);
    free(l->broken);
    free(l->own);
}

static const struct value *elements_of(const struct tables *t, const struct micro *m) {
    return &t->h->pool[m->value.first];
}

/* --- the order of versions ---------------------------------------------------------------------------------------- */

static void find_longest(struct lists *l) {
    const struct tables *t = l->t;
    for (uint32_t txn = 0; txn < t->count; txn++) {
        for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++) {
            const struct micro *m = &t->micros[i];
            if (m->kind != MICRO_READ || !m->known) continue;
            uint32_t best = l->longest[m->key];
            if (best != NONE && t->micros[best].value.size >= m->value.size) continue;
            l->longest[m->key] = i;
            l->longest_txn[m->key] = txn;
        }
    }
}

static bool order_of_key(struct lists *l, uint32_t key) {
    struct tables *t = l->t;
    uint32_t i = l->longest[key], txn = l->longest_txn[key];
    if (i == NONE) return true;
    const struct micro *m = &t->micros[i];
    uint32_t *order = l->order + l->order_first[key];
    for (uint32_t at = 0; at < m->value.size && !budget_spent(t->budget); at++) {
        struct value element = elements_of(t, m)[at];
        uint32_t v = order[at] = tables_find(t, key, element);
        if (v == VERSION_NONE) {
            findings_note(l->f, GARBAGE_READ, txn, NONE, i, element);
            l->broken[key] = 1;
        } else if (l->place[v]) {
            findings_note(l->f, DUPLICATE_ELEMENTS, txn, NONE, i, element);
            l->broken[key] = 1;
        } else {
            l->place[v] = at + 1;
            tables_observe(t, v);
            if (!tables_committed(t, v) && l->aborted[key] == NONE) l->aborted[key] = at + 1;
        }
    }
    return t->budget->state == BUDGET_LEFT;
}

static bool find_orders(struct lists *l) {
    const struct tables *t = l->t;
    uint64_t total = 0;
    for (uint32_t k = 0; k < t->keys; k++) {
        l->order_first[k] = (uint32_t)total;
        total += l->longest[k] == NONE ? 0 : t->micros[l->longest[k]].value.size;
    }
    if (total >= NONE || !budget_claim(t->budget, total * sizeof *l->order)) return false;
    l->order_first[t->keys] = (uint32_t)total;
    l->order = tables_alloc(total, sizeof *l->order);
    for (uint32_t k = 0; k < t->keys; k++)
        if (!order_of_key(l, k)) return false;
    return true;
}

/* --- each read ---------------------------------------------------------------------------------------------------- */

static bool same_elements(const struct tables *t, const struct value *a, const struct value *b, uint32_t count) {
    if (count == 0 || a == b || memcmp(a, b, count * sizeof *a) == 0) return true;
    for (uint32_t i = 0; i < count; i++)
        if (!history_value_equal(t->h, a[i], b[i])) return false;
    return true;
}

/* A read that is no prefix of the longest: it has no place in the order, but what it holds can still be wrong. */
static void diverging_read(struct lists *l, uint32_t txn, uint32_t i) {
    struct tables *t = l->t;
    struct micro *m = &t->micros[i];
    findings_note(l->f, INCOMPATIBLE_ORDER, txn, l->longest_txn[m->key], i, m->value);
    l->broken[m->key] = 1;
    for (uint32_t at = 0; at < m->value.size; at++) {
        struct value element = elements_of(t, m)[at];
        uint32_t v = tables_find(t, m->key, element);
        if (v == VERSION_NONE) {
            findings_note(l->f, GARBAGE_READ, txn, NONE, i, element);
            continue;
        }
        tables_observe(t, v);
        if (!tables_committed(t, v)) findings_note(l->f, G1A, txn, t->writer[v], i, element);
        if (at + 1 == m->value.size) m->version = v & VERSION_NONE;
        if (at && history_value_equal(t->h, element, elements_of(t, m)[at - 1]))
            findings_note(l->f, DUPLICATE_ELEMENTS, txn, NONE, i, element);
    }
}

/* The last `appends` elements of a list of that length are the transaction's own, in their order. */
static bool ends_with_own(const struct lists *l, uint32_t key, uint32_t txn, uint32_t length, uint32_t appends,
                          uint32_t before_micro) {
    const uint32_t *order = l->order + l->order_first[key];
    if (appends > length) return false;
    uint32_t written = before_micro;
    for (uint32_t i = length; i > length - appends; i--) {
        uint32_t v = order[i - 1];
        if (v == VERSION_NONE || l->t->writer[v] != txn || l->t->written[v] >= written) return false;
        written = l->t->written[v];
    }
    return true;
}

/* A read in the light of what the transaction has seen and done itself. */
static void internal_read(struct lists *l, struct own *o, uint32_t txn, uint32_t i) {
    struct tables *t = l->t;
    struct micro *m = &t->micros[i];
    bool fresh = o->length == NONE && o->appends == 0;
    bool own = m->version != VERSION_NONE && t->writer[m->version] == txn;
    bool good = fresh ? !own
                      : (o->length == NONE || m->value.size == o->length) &&
                            ends_with_own(l, m->key, txn, m->value.size, o->appends, i);
    if (!good) findings_note(l->f, INTERNAL, txn, NONE, i, m->value);
    m->external = (fresh || !good) && !own;
    if (m->external && o->read == NONE && fresh) o->read = i;
    o->length = m->value.size;
    o->appends = 0;
}

static void one_read(struct lists *l, struct own *o, uint32_t txn, uint32_t i) {
    struct tables *t = l->t;
    struct micro *m = &t->micros[i];
    const struct micro *longest = &t->micros[l->longest[m->key]];
    uint32_t length = m->value.size;
    if (!same_elements(t, elements_of(t, m), elements_of(t, longest), length)) {
        diverging_read(l, txn, i);
        m->external = m->version != VERSION_NONE && t->writer[m->version] != txn && o->appends == 0;
        *o = (struct own){.txn = txn + 1, .length = NONE, .read = NONE};
        return;
    }
    m->version = (length ? l->order[l->order_first[m->key] + length - 1] : m->key) & VERSION_NONE;
    if (length >= l->aborted[m->key]) {
        uint32_t v = l->order[l->order_first[m->key] + l->aborted[m->key] - 1];
        findings_note(l->f, G1A, txn, t->writer[v], i, t->micros[t->written[v]].value);
    }
    if (m->version != VERSION_NONE && length && t->writer[m->version] != txn && !t->last_of_writer[m->version])
        findings_note(l->f, G1B, txn, t->writer[m->version], i, t->micros[t->written[m->version]].value);
    internal_read(l, o, txn, i);
}

static bool place_reads(struct lists *l) {
    struct tables *t = l->t;
    for (uint32_t txn = 0; txn < t->count && !budget_spent(t->budget); txn++) {
        if (t->status[txn] != OP_OK) continue;
        for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++) {
            struct own *o = &l->own[t->micros[i].key];
            if (o->txn != txn + 1) *o = (struct own){.txn = txn + 1, .length = NONE, .read = NONE};
            if (t->micros[i].kind == MICRO_WRITE) {
                o->appends++;
                if (o->length != NONE) o->length++;
                if (o->read != NONE) t->micros[o->read].rmw = 1;
            } else if (t->micros[i].known) {
                one_read(l, o, txn, i);
            }
        }
    }
    return t->budget->state == BUDGET_LEFT;
}

/* --- which version follows which ---------------------------------------------------------------------------------- */

/* The shown versions of a key in order, without what was rolled back. Returns the last. */
static uint32_t chain(struct lists *l, uint32_t key, struct pairs *p) {
    struct tables *t = l->t;
    uint32_t last = key, aborted = VERSION_NONE;
    for (uint32_t i = l->order_first[key]; i < l->order_first[key + 1]; i++) {
        uint32_t v = l->order[i];
        if (!tables_committed(t, v)) {
            aborted = v;
            continue;
        }
        if (aborted != VERSION_NONE)
            findings_note(l->f, DIRTY_UPDATE, t->writer[v], t->writer[aborted], t->written[v],
                          t->micros[t->written[aborted]].value);
        aborted = VERSION_NONE;
        uint32_t own = t->own_before[v];
        if (own != VERSION_NONE && (l->place[own] == 0 || l->place[own] > l->place[v]))
            findings_note(l->f, TORN_WRITES, l->longest_txn[key], t->writer[v], t->written[v],
                          t->micros[t->written[v]].value);
        pairs_add(p, last, v, ORDER_DATA);
        last = v;
    }
    return last;
}

static bool make_order(struct lists *l, bool *guessed) {
    struct tables *t = l->t;
    uint64_t bytes = (uint64_t)t->versions * (2 * sizeof(uint32_t));
    if (!budget_claim(t->budget, bytes)) return false;
    struct pairs p = {.budget = t->budget};
    uint32_t *last = xmalloc(((size_t)t->keys + 1) * sizeof *last), *behind = xcalloc((size_t)t->keys + 1, 4);
    for (uint32_t k = 0; k < t->keys; k++)
        if (!l->broken[k]) last[k] = chain(l, k, &p);
    for (uint32_t v = t->keys; v < t->versions; v++) {
        uint32_t key = t->micros[t->written[v]].key;
        if (l->place[v] || l->broken[key] || !tables_committed(t, v)) continue;
        pairs_add(&p, last[key], v, ORDER_DATA);
        if (t->last_of_writer[v] && ++behind[key] == 2) *guessed = true;
    }
    tables_order(t, p.from, p.to, p.count);
    for (uint32_t k = 0; k < t->keys; k++) *guessed |= l->broken[k];
    pairs_free(&p);
    free(last);
    free(behind);
    return t->budget->state == BUDGET_LEFT;
}

bool list_append_order(struct tables *t, struct findings *f, bool *guessed) {
    struct lists l = {.t = t, .f = f};
    if (!budget_claim(t->budget, (uint64_t)t->keys * 36 + (uint64_t)t->versions * 4)) return false;
    allocate(&l);
    find_longest(&l);
    *guessed = false;
    bool done = find_orders(&l) && place_reads(&l) && make_order(&l, guessed);
    release(&l);
    return done;
}
