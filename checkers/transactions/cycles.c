/* Cycles and their names. One pass over the whole graph finds the components that hold any cycle at all; most
 * histories have none, and are done. Within those components each kind of cycle is looked for from the gravest on,
 * first in the dependencies of the data alone, then with the order of processes, then with real time: a component of
 * the part of the graph that the kind is made of, an edge in it that the kind must have, and the shortest way back
 * from its end to its beginning. Whether there is a kind at all that a model forbids is exact; which names are found
 * beside it, and whether a cycle is the shortest of all, is an effort with a bound. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

#define TRIES_MAX 48u      /* edges from which a kind of cycle is looked for */
#define STEPS_MAX 4000000u /* of all searches for a kind, once one is found */
#define TARGETS_MAX 16u

struct found { /* a cycle in the making */
    uint32_t *txns;
    uint8_t *kinds, *orders;
    uint32_t length, capacity;
};

struct queued {
    uint32_t node, parent;
    uint8_t kind, order;
};
struct queue {
    struct queued *items;
    uint32_t count, capacity;
};

struct finder {
    const struct graph *g;
    struct findings *f;
    struct budget *budget;
    uint32_t *seen; /* by node of the largest view: the search that saw it */
    uint32_t *parent;
    uint8_t *kind, *order;
    uint32_t search;
    uint64_t steps;
    struct queue now, later;
    struct found cycle;
    struct components sub, snapshots;
    uint32_t *roots, roots_count; /* nodes of the components that hold cycles; then the commits of transactions */
    uint32_t starts;              /* of roots: without the commits */
};

/* --- searching a way ---------------------------------------------------------------------------------------------- */

/* Where memory is spent nothing is added, and the budget tells. */
static void enqueue(struct queue *q, struct queued item, struct budget *b) {
    if (q->count == q->capacity) {
        uint32_t capacity = q->capacity ? 2 * q->capacity : 256;
        if (!budget_claim(b, (capacity - q->capacity) * sizeof *q->items)) return;
        q->capacity = capacity;
        q->items = xrealloc(q->items, q->capacity * sizeof *q->items);
    }
    q->items[q->count++] = item;
}

/* The way with the fewest edges that are not PASS; leaves parents behind. avoid: a node not to go through, or NONE. */
static bool find_way(struct finder *s, const struct view *w, uint32_t from, uint32_t to, uint32_t avoid) {
    s->search++;
    s->now.count = s->later.count = 0;
    if (avoid != NONE) s->seen[avoid] = s->search;
    enqueue(&s->now, (struct queued){from, NONE, EDGE_PASS, ORDER_DATA}, s->budget);
    while (s->now.count) {
        while (s->now.count) {
            struct queued q = s->now.items[--s->now.count];
            if (s->seen[q.node] == s->search) continue;
            if (budget_spent(s->budget)) return false;
            s->seen[q.node] = s->search;
            s->parent[q.node] = q.parent;
            s->kind[q.node] = q.kind;
            s->order[q.node] = q.order;
            if (q.node == to) return true;
            uint32_t at = 0;
            for (struct step e = view_step(w, q.node, &at); e.node != NONE; e = view_step(w, q.node, &at)) {
                s->steps++;
                if (s->seen[e.node] == s->search) continue;
                enqueue(e.kind == EDGE_PASS ? &s->now : &s->later, (struct queued){e.node, q.node, e.kind, e.order},
                        s->budget);
            }
        }
        struct queue swap = s->now;
        s->now = s->later;
        s->later = swap;
    }
    return false;
}

/* --- cycles ------------------------------------------------------------------------------------------------------- */

static bool is_transaction(const struct graph *g, uint32_t node) {
    return node < g->t->count || node >= g->nodes;
}

static uint32_t transaction_of(const struct graph *g, uint32_t node) {
    return node < g->t->count ? node : node - g->nodes;
}

static void cycle_add(struct found *c, uint32_t txn, uint8_t kind, uint8_t order) {
    if (c->length == c->capacity) {
        c->capacity = c->capacity ? 2 * c->capacity : 64;
        c->txns = xrealloc(c->txns, c->capacity * sizeof *c->txns);
        c->kinds = xrealloc(c->kinds, c->capacity);
        c->orders = xrealloc(c->orders, c->capacity);
    }
    c->txns[c->length] = txn;
    c->kinds[c->length] = kind;
    c->orders[c->length++] = order;
}

/* The cycle of the last way, from its end backwards, and the edge that closes it. Backwards, a PASS belongs to the
 * edge that comes next, which leads into a helper node. */
static void take_cycle(struct finder *s, uint32_t end, uint8_t kind, uint8_t order) {
    const struct graph *g = s->g;
    struct found *c = &s->cycle;
    c->length = 0;
    cycle_add(c, transaction_of(g, end), kind, order);
    uint8_t passed = 0;
    for (uint32_t node = end; s->parent[node] != NONE; node = s->parent[node]) {
        uint32_t before = s->parent[node];
        if (s->order[node] > passed) passed = s->order[node];
        if (!is_transaction(g, before)) continue;
        if (transaction_of(g, before) != c->txns[c->length - 1])
            cycle_add(c, transaction_of(g, before), s->kind[node], passed);
        passed = 0;
    }
    for (uint32_t i = 0, j = c->length - 1; i < j; i++, j--) {
        uint32_t txn = c->txns[i];
        uint8_t k = c->kinds[i], o = c->orders[i];
        c->txns[i] = c->txns[j];
        c->kinds[i] = c->kinds[j];
        c->orders[i] = c->orders[j];
        c->txns[j] = txn;
        c->kinds[j] = k;
        c->orders[j] = o;
    }
}

static uint32_t name_of(const struct tables *t, const struct found *c, uint32_t first, uint32_t length) {
    uint32_t rw = 0, wr = 0, order = 0;
    bool adjacent = false, inferred = false;
    for (uint32_t i = 0; i < length; i++) {
        uint32_t kind = c->kinds[first + i], next = c->kinds[first + (i + 1) % length];
        rw += kind == EDGE_RW;
        wr += kind == EDGE_WR;
        adjacent |= kind == EDGE_RW && next == EDGE_RW && length > 1;
        inferred |= (kind == EDGE_WW || kind == EDGE_RW) && c->orders[first + i] == ORDER_REALTIME;
        if (c->orders[first + i] > order) order = c->orders[first + i];
    }
    uint32_t name = rw == 0 ? (wr ? G1C : G0) : rw == 1 ? G_SINGLE : adjacent ? G2_ITEM : G_NONADJACENT;
    if (inferred && t->from_late_reads && name < G_SINGLE) name = G_SINGLE;
    if (t->from_serial) name = G2_ITEM;
    if (t->from_serial && order < t->from_serial_order) order = t->from_serial_order;
    return name + order * CYCLE_KINDS;
}

static uint32_t kind_of_name(uint32_t name) {
    return CYCLES_FIRST + (name - CYCLES_FIRST) % CYCLE_KINDS;
}

/* A way that takes a transaction's start and its commit apart comes through it twice. Of the two circles that this
 * makes, one has no two rw in a row, since the whole has none but where it was cut. */
static void make_simple(const struct tables *t, struct found *c) {
    for (uint32_t i = 0; i < c->length; i++) {
        for (uint32_t j = i + 1; j < c->length; j++) {
            if (c->txns[i] != c->txns[j]) continue;
            uint32_t inner = j - i;
            if (kind_of_name(name_of(t, c, i, inner)) == G2_ITEM) {
                memmove(c->txns + i, c->txns + j, (c->length - j) * sizeof *c->txns);
                memmove(c->kinds + i, c->kinds + j, c->length - j);
                memmove(c->orders + i, c->orders + j, c->length - j);
                c->length -= inner;
            } else {
                memmove(c->txns, c->txns + i, inner * sizeof *c->txns);
                memmove(c->kinds, c->kinds + i, inner);
                memmove(c->orders, c->orders + i, inner);
                c->length = inner;
            }
            i = 0;
            j = 0;
        }
    }
}

static void note_cycle(struct finder *s) {
    struct found *c = &s->cycle;
    uint32_t name = name_of(s->g->t, c, 0, c->length);
    struct finding *f = &s->f->of[name];
    s->f->seen |= 1u << name;
    f->count++;
    if (f->cycle && f->length <= c->length) return;
    free(f->cycle);
    free(f->kinds);
    f->length = c->length;
    f->cycle = xmalloc(c->length * sizeof *f->cycle);
    f->kinds = xmalloc(c->length);
    memcpy(f->cycle, c->txns, c->length * sizeof *f->cycle);
    memcpy(f->kinds, c->kinds, c->length);
}

/* --- kinds of cycles ---------------------------------------------------------------------------------------------- */

struct target {
    uint32_t txn;
    uint8_t order;
};

/* Where edges of a kind lead from a transaction: a few. */
static uint32_t targets(const struct view *w, uint32_t txn, enum edge_kind kind, struct target *out) {
    const struct graph *g = w->g;
    struct view plain = {.g = g, .kinds = 1u << kind, .order = w->order};
    uint32_t count = 0, at = 0;
    for (struct step e = view_step(&plain, txn, &at); e.node != NONE && count < TARGETS_MAX;
         e = view_step(&plain, txn, &at)) {
        if (e.kind == kind && e.node < g->t->count) out[count++] = (struct target){e.node, e.order};
        if (e.kind != kind || e.node < g->hubs) continue;
        uint32_t through = 0;
        for (struct step p = view_step(&plain, e.node, &through); p.node != NONE && count < TARGETS_MAX;
             p = view_step(&plain, e.node, &through))
            if (p.node != txn) out[count++] = (struct target){p.node, p.order};
    }
    return count;
}

/* Looks for cycles within the components of the view that have an edge of the kind, and beside it what the view
 * allows. The kind itself need not be in the view. */
static void close_edges(struct finder *s, const struct view *w, enum edge_kind kind) {
    const uint32_t *component = w->component;
    struct target to[TARGETS_MAX];
    uint32_t tries = 0;
    uint64_t limit = s->steps + STEPS_MAX;
    bool found = false;
    for (uint32_t i = 0; i < s->starts && s->budget->state == BUDGET_LEFT; i++) {
        uint32_t txn = s->roots[i];
        if (txn >= s->g->t->count || component[txn] == 0) continue;
        uint32_t count = targets(w, txn, kind, to);
        for (uint32_t k = 0; k < count; k++) {
            uint32_t end = kind == EDGE_RW ? view_source(w, to[k].txn) : to[k].txn;
            if (component[end] != component[txn]) continue;
            if (tries >= TRIES_MAX || (found && s->steps > limit)) return;
            tries++;
            if (!find_way(s, w, end, txn, NONE)) continue;
            take_cycle(s, txn, (uint8_t)kind, to[k].order);
            if (w->snapshots) make_simple(s->g->t, &s->cycle);
            note_cycle(s);
            found = true;
            if (s->cycle.length == 2) return;
        }
    }
}

/* Cycles with two rw in a row, where there are others, too. */
static void close_pairs(struct finder *s, const struct view *w) {
    const uint32_t *component = w->component;
    struct target to[TARGETS_MAX], further[TARGETS_MAX];
    uint32_t tries = 0;
    uint64_t limit = s->steps + STEPS_MAX;
    for (uint32_t i = 0; i < s->starts && s->budget->state == BUDGET_LEFT; i++) {
        uint32_t txn = s->roots[i];
        if (txn >= s->g->t->count || component[txn] == 0) continue;
        uint32_t count = targets(w, txn, EDGE_RW, to);
        for (uint32_t k = 0; k < count; k++) {
            uint32_t middle = to[k].txn, ends = targets(w, middle, EDGE_RW, further);
            for (uint32_t j = 0; j < ends; j++) {
                uint32_t end = further[j].txn;
                if (component[end] != component[txn]) continue;
                if (++tries > TRIES_MAX || s->steps > limit) return;
                if (end == txn) {
                    s->cycle.length = 0;
                } else if (find_way(s, w, end, txn, middle)) {
                    take_cycle(s, txn, EDGE_RW, to[k].order);
                    s->cycle.length--; /* txn comes again below, before the one in the middle */
                } else {
                    continue;
                }
                cycle_add(&s->cycle, txn, EDGE_RW, to[k].order);
                cycle_add(&s->cycle, middle, EDGE_RW, further[j].order);
                note_cycle(s);
                if (s->cycle.length == 2) return;
            }
        }
    }
}

static bool seen_kind(const struct findings *f, enum anomaly kind, enum order order) {
    for (uint32_t o = 0; o <= order; o++)
        if (f->seen >> (kind + o * CYCLE_KINDS) & 1) return true;
    return false;
}

static bool find_kind(struct finder *s, const uint32_t *all, enum anomaly kind, enum order order) {
    if (order > ORDER_DATA && seen_kind(s->f, kind, order - 1)) return true;
    uint32_t written = 1u << EDGE_WW, read = written | 1u << EDGE_WR;
    struct view w = {.g = s->g, .kinds = KINDS_ALL, .order = order, .component = all};
    if (kind == G0 || kind == G1C) {
        w.kinds = kind == G0 ? written : read;
        if (!components_find(&s->sub, &w, s->roots, s->starts, s->budget)) return false;
        w.component = s->sub.of;
        if (s->sub.count) close_edges(s, &w, kind == G0 ? EDGE_WW : EDGE_WR);
    } else if (kind == G_SINGLE) {
        w.snapshots = true;
        if (!components_find(&s->snapshots, &w, s->roots, s->roots_count, s->budget)) return false;
        if (s->snapshots.count == 0) return true;
        struct view plain = {.g = s->g, .kinds = read, .order = order, .component = all};
        close_edges(s, &plain, EDGE_RW);
        w.component = s->snapshots.of;
        if (!seen_kind(s->f, G_SINGLE, order)) close_edges(s, &w, EDGE_RW);
    } else if (kind == G2_ITEM) {
        if (!components_find(&s->sub, &w, s->roots, s->starts, s->budget)) return false;
        if (s->sub.count == 0) return true;
        bool others = seen_kind(s->f, G1C, order) || seen_kind(s->f, G_SINGLE, order) ||
                      seen_kind(s->f, G_NONADJACENT, order) || seen_kind(s->f, G0, order);
        w.component = s->sub.of;
        if (others) {
            close_pairs(s, &w);
        } else {
            close_edges(s, &w, EDGE_RW);
        }
    }
    return s->budget->state == BUDGET_LEFT;
}

/* The nodes of all components, and the commits of their transactions, which belong to the same component. */
static bool collect_roots(struct finder *s, struct components *top) {
    const struct graph *g = s->g;
    struct view largest = {.g = g, .snapshots = true};
    uint32_t nodes = view_nodes(&largest);
    if (!budget_claim(s->budget, (uint64_t)nodes * 18)) return false;
    s->roots = xmalloc((size_t)nodes * sizeof *s->roots);
    for (uint32_t node = 0; node < g->nodes; node++)
        if (top->of[node]) s->roots[s->roots_count++] = node;
    s->starts = s->roots_count;
    for (uint32_t txn = 0; txn < g->t->count; txn++)
        if (top->of[txn]) s->roots[s->roots_count++] = g->nodes + txn;
    s->seen = xcalloc(nodes, sizeof *s->seen);
    s->parent = xmalloc((size_t)nodes * sizeof *s->parent);
    s->kind = xmalloc(nodes);
    s->order = xmalloc(nodes);
    struct view plain = {.g = g};
    return components_allocate(&s->sub, &plain, s->budget) && components_allocate(&s->snapshots, &largest, s->budget);
}

static void finder_free(struct finder *s) {
    struct view plain = {.g = s->g}, largest = {.g = s->g, .snapshots = true};
    components_free(&s->sub, &plain, s->budget);
    components_free(&s->snapshots, &largest, s->budget);
    free(s->roots);
    free(s->seen);
    free(s->parent);
    free(s->kind);
    free(s->order);
    budget_release(s->budget, ((uint64_t)s->now.capacity + s->later.capacity) * sizeof *s->now.items);
    free(s->now.items);
    free(s->later.items);
    free(s->cycle.txns);
    free(s->cycle.kinds);
    free(s->cycle.orders);
}

static bool name_cycles(struct finder *s, struct components *top, enum order order) {
    const struct graph *g = s->g;
    if (!collect_roots(s, top)) return false;
    uint32_t *all = xmalloc((size_t)(g->nodes + g->t->count) * sizeof *all);
    memcpy(all, top->of, (size_t)g->nodes * sizeof *all);
    memcpy(all + g->nodes, top->of, (size_t)g->t->count * sizeof *all);
    bool done = true;
    for (uint32_t o = 0; o <= order && done; o++)
        for (uint32_t kind = CYCLES_FIRST; kind < CYCLES_END && done; kind++)
            done = find_kind(s, all, (enum anomaly)kind, (enum order)o);
    free(all);
    return done;
}

bool cycles_find(const struct graph *g, enum order order, struct findings *f, uint32_t **position) {
    struct view w = {.g = g, .kinds = KINDS_ALL, .order = order};
    struct components top;
    struct budget *b = g->t->budget;
    if (!components_allocate(&top, &w, b)) return false;
    bool done = components_find(&top, &w, NULL, 0, b);
    if (done && top.count) {
        struct finder s = {.g = g, .f = f, .budget = b};
        done = name_cycles(&s, &top, order);
        finder_free(&s);
    } else if (done) {
        *position = top.position;
        top.position = NULL;
    }
    components_free(&top, &w, b);
    return done;
}
