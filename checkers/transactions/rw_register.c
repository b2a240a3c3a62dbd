/* Registers under write and read, each value written once. A read names the write that it saw, but nothing names the
 * order of the writes. So it is inferred, where it must be so:
 *
 * - the initial version comes before every other;
 * - a transaction that reads a version and writes the key writes a later one: were it an earlier one, writer and
 *   reader would depend on one another, which no model above read-uncommitted allows;
 * - in models with a real-time order: if some transaction that wrote or read version a ended before one that wrote or
 *   read b began, then a comes before b. (These are the zones of Gibbons and Korach, SIAM J. Comput. 1997.) Of that
 *   order only those pairs are kept that do not follow from others. Where transactions need not read from snapshots, a
 *   late read says nothing. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

/* What one transaction has seen and done of a key so far. */
struct own {
    uint32_t txn;     /* + 1: so that nothing need be cleared between two */
    uint32_t version; /* that it must see now; VERSION_NONE: not known */
    uint32_t read;    /* the external read; NONE */
};

struct registers {
    struct tables *t;
    struct findings *f;
    struct own *own;     /* by key */
    struct pairs *pairs; /* of what a transaction read, and overwrote */
};

void pairs_add(struct pairs *p, uint32_t from, uint32_t to, enum order order) {
    if (p->count == p->capacity) {
        uint32_t capacity = p->capacity ? 2 * p->capacity : 1024;
        if (!budget_claim(p->budget, (uint64_t)(capacity - p->capacity) * 8)) return;
        p->capacity = capacity;
        p->from = xrealloc(p->from, p->capacity * sizeof *p->from);
        p->to = xrealloc(p->to, p->capacity * sizeof *p->to);
    }
    p->from[p->count] = from;
    p->to[p->count++] = to | (uint32_t)order << ORDER_SHIFT;
}

void pairs_free(struct pairs *p) {
    budget_release(p->budget, (uint64_t)p->capacity * 8);
    free(p->from);
    free(p->to);
    *p = (struct pairs){.budget = p->budget};
}

/* --- each read ---------------------------------------------------------------------------------------------------- */

static void one_read(struct registers *r, struct own *o, uint32_t txn, uint32_t i) {
    struct tables *t = r->t;
    struct micro *m = &t->micros[i];
    uint32_t v = m->value.kind == VALUE_NIL ? m->key : tables_find(t, m->key, m->value);
    m->version = v & VERSION_NONE;
    if (v == VERSION_NONE) {
        findings_note(r->f, GARBAGE_READ, txn, NONE, i, m->value);
        o->version = VERSION_NONE;
        return;
    }
    uint32_t writer = t->writer[v];
    tables_observe(t, v);
    if (writer != NONE && !t->happened[writer]) findings_note(r->f, G1A, txn, writer, i, m->value);
    if (writer != NONE && writer != txn && !t->last_of_writer[v]) findings_note(r->f, G1B, txn, writer, i, m->value);
    bool fresh = o->version == VERSION_NONE, good = fresh ? writer != txn : v == o->version;
    if (!good) findings_note(r->f, INTERNAL, txn, NONE, i, m->value);
    m->external = (fresh || !good) && writer != txn;
    if (fresh && m->external) o->read = i;
    o->version = v;
}

static bool place_reads(struct registers *r) {
    struct tables *t = r->t;
    for (uint32_t txn = 0; txn < t->count && !budget_spent(t->budget); txn++) {
        if (t->status[txn] != OP_OK) continue;
        for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++) {
            struct micro *m = &t->micros[i];
            struct own *o = &r->own[m->key];
            if (o->txn != txn + 1) *o = (struct own){txn + 1, VERSION_NONE, NONE};
            if (m->kind == MICRO_READ) {
                if (m->known) one_read(r, o, txn, i);
                continue;
            }
            o->version = m->version;
            if (o->read == NONE) continue;
            struct micro *read = &t->micros[o->read];
            read->rmw = 1;
            if (!t->last_of_writer[m->version]) continue;
            pairs_add(r->pairs, read->version, m->version, ORDER_DATA);
        }
    }
    return t->budget->state == BUDGET_LEFT;
}

bool rw_register_reads(struct tables *t, struct findings *f, struct pairs *pairs) {
    struct registers r = {.t = t, .f = f, .pairs = pairs};
    *pairs = (struct pairs){.budget = t->budget};
    if (!budget_claim(t->budget, (uint64_t)t->keys * sizeof *r.own)) return false;
    r.own = xcalloc((size_t)t->keys + 1, sizeof *r.own);
    bool done = place_reads(&r);
    free(r.own);
    budget_release(t->budget, (uint64_t)t->keys * sizeof *r.own);
    return done;
}

static void initial_first(const struct tables *t, struct pairs *pairs) {
    uint8_t *follows = xcalloc((size_t)t->versions + 1, 1); /* something else than the initial version is before it */
    for (uint32_t i = 0; i < pairs->count; i++)
        if (pairs->from[i] >= t->keys) follows[NEXT_VERSION(pairs->to[i])] = 1;
    for (uint32_t v = t->keys; v < t->versions; v++)
        if (t->last_of_writer[v] && tables_committed(t, v) && !follows[v])
            pairs_add(pairs, t->micros[t->written[v]].key, v, ORDER_DATA);
    free(follows);
}

/* --- the real-time order of versions ------------------------------------------------------------------------------ */

/* Version a comes before b if a.first_end <= b.last_begin: both count in transactions, by order of invocation. */
struct zone {
    uint32_t version;
    uint32_t first_end;  /* the first transaction that was invoked after one of this version's had ended */
    uint32_t last_begin; /* the last of this version's transactions */
};

/* The three zones of a suffix that end first: so two can be left aside. */
struct earliest {
    uint32_t zone[3];
};

#define FOLLOWERS_MAX 64u /* more are left out: they could only make the check see more */

static int by_last_begin(const void *a, const void *b) {
    const struct zone *x = a, *y = b;
    return x->last_begin != y->last_begin ? (x->last_begin < y->last_begin ? -1 : 1)
                                          : (x->version > y->version) - (x->version < y->version);
}

static void touch(struct zone *z, uint32_t end, uint32_t begin) {
    if (end < z->first_end) z->first_end = end;
    if (begin > z->last_begin) z->last_begin = begin;
}

static void earliest_add(struct earliest *e, const struct zone *zones, uint32_t i) {
    for (uint32_t k = 0; k < 3; k++) {
        if (e->zone[k] != NONE && zones[e->zone[k]].first_end <= zones[i].first_end) continue;
        uint32_t moved = e->zone[k];
        e->zone[k] = i;
        i = moved;
        if (i == NONE) return;
    }
}

static uint32_t first_beginning(const struct zone *zones, uint32_t count, uint32_t at) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (zones[middle].last_begin < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The zones behind a, without those that are behind another one behind a. */
static void order_behind(struct pairs *p, const struct zone *zones, uint32_t count, uint32_t a,
                         const struct earliest *suffix) {
    uint32_t from = first_beginning(zones, count, zones[a].first_end), followers = 0, others = 0;
    uint32_t other[2] = {NONE, NONE}, end[2] = {NONE, NONE}; /* the two that end first, without a */
    for (uint32_t k = 0; k < 3 && others < 2; k++) {
        uint32_t z = suffix[from].zone[k];
        if (z == NONE || z == a) continue;
        other[others] = z;
        end[others++] = zones[z].first_end;
    }
    for (uint32_t b = from; b < count && zones[b].last_begin < end[1] && followers < FOLLOWERS_MAX; b++) {
        if (b == a || zones[b].last_begin >= (b == other[0] ? end[1] : end[0])) continue;
        pairs_add(p, zones[a].version, zones[b].version, ORDER_REALTIME);
        followers++;
    }
}

static void order_zones(struct pairs *p, const struct zone *zones, uint32_t count, struct earliest *suffix,
                        struct budget *budget) {
    suffix[count] = (struct earliest){{NONE, NONE, NONE}};
    for (uint32_t i = count; i > 0; i--) {
        suffix[i - 1] = suffix[i];
        earliest_add(&suffix[i - 1], zones, i - 1);
    }
    for (uint32_t a = 0; a < count && !budget_spent(budget); a++) order_behind(p, zones, count, a, suffix);
}

bool zones_order(const struct tables *t, const uint32_t *ends, const uint32_t *begins, bool late_reads,
                 struct pairs *p) {
    uint64_t bytes = (uint64_t)t->versions * (2 * sizeof(struct zone) + sizeof(struct earliest));
    if (!budget_claim(t->budget, bytes)) return false;
    struct zone *of = tables_alloc(t->versions, sizeof *of), *zones;
    uint32_t *first = xcalloc((size_t)t->keys + 2, sizeof *first);
    for (uint32_t v = 0; v < t->versions; v++) {
        of[v] = (struct zone){v, t->count, 0};
        if (v < t->keys || !t->last_of_writer[v] || !tables_committed(t, v)) continue;
        touch(&of[v], ends[t->writer[v]], begins[t->writer[v]]);
        first[t->micros[t->written[v]].key + 2]++;
    }
    for (uint32_t txn = 0; txn < t->count; txn++)
        for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++)
            if (t->micros[i].external && t->micros[i].version != VERSION_NONE)
                touch(&of[t->micros[i].version], ends[txn], late_reads ? begins[txn] : 0);
    for (uint32_t k = 0; k <= t->keys; k++) first[k + 1] += first[k];
    zones = xmalloc(((size_t)first[t->keys + 1] + 1) * sizeof *zones);
    for (uint32_t v = t->keys; v < t->versions; v++)
        if (t->last_of_writer[v] && tables_committed(t, v)) zones[first[t->micros[t->written[v]].key + 1]++] = of[v];
    struct earliest *suffix = xmalloc(((size_t)first[t->keys + 1] + 1) * sizeof *suffix);
    for (uint32_t k = 0; k < t->keys && t->budget->state == BUDGET_LEFT; k++) {
        qsort(zones + first[k], first[k + 1] - first[k], sizeof *zones, by_last_begin);
        order_zones(p, zones + first[k], first[k + 1] - first[k], suffix, t->budget);
    }
    free(of);
    free(first);
    free(zones);
    free(suffix);
    budget_release(t->budget, bytes);
    return t->budget->state == BUDGET_LEFT;
}

static bool order_in_realtime(struct tables *t, bool snapshots, struct pairs *pairs) {
    uint32_t *begins = tables_alloc(t->count, sizeof *begins);
    for (uint32_t txn = 0; txn < t->count; txn++) begins[txn] = txn;
    bool done = zones_order(t, t->after, begins, snapshots, pairs);
    t->from_late_reads = snapshots;
    free(begins);
    return done;
}

bool rw_register_order(struct tables *t, enum order order, bool snapshots, struct pairs *pairs) {
    initial_first(t, pairs);
    bool done = order < ORDER_REALTIME || order_in_realtime(t, snapshots, pairs);
    if (done) done = budget_claim(t->budget, ((uint64_t)pairs->count + t->versions) * sizeof(uint32_t));
    if (done) tables_order(t, pairs->from, pairs->to, pairs->count);
    return done;
}
