/* The graph the other way round. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

static uint32_t slots_of(const struct graph *g) {
    return g->t->count + (g->nodes - g->hubs);
}

static uint32_t slot_of(const struct graph *g, uint32_t node) {
    return node < g->t->count ? node : g->t->count + (node - g->hubs);
}

static uint64_t reverse_bytes(const struct graph *g) {
    const struct tables *t = g->t;
    return ((uint64_t)slots_of(g) + g->first[slots_of(g)] + t->versions + t->first[t->count] + 4) * sizeof(uint32_t);
}

static void turn_edges(struct reverse *r, const struct graph *g, enum order order) {
    uint32_t slots = slots_of(g);
    r->into_first = xcalloc((size_t)slots + 2, sizeof *r->into_first);
    r->into = tables_alloc(g->first[slots], sizeof *r->into);
    for (uint32_t e = 0; e < g->first[slots]; e++)
        if (EDGE_ORDER(g->edges[e]) <= order) r->into_first[slot_of(g, EDGE_NODE(g->edges[e])) + 2]++;
    for (uint32_t i = 0; i <= slots; i++) r->into_first[i + 1] += r->into_first[i];
    for (uint32_t i = 0; i < slots; i++)
        for (uint32_t e = g->first[i]; e < g->first[i + 1]; e++)
            if (EDGE_ORDER(g->edges[e]) <= order) r->into[r->into_first[slot_of(g, EDGE_NODE(g->edges[e])) + 1]++] = i;
}

static bool is_dependency(const struct tables *t, uint32_t txn, uint32_t micro) {
    return t->happened[txn] && t->micros[micro].external && t->micros[micro].version != VERSION_NONE;
}

static void turn_reads(struct reverse *r, const struct tables *t) {
    r->readers_first = xcalloc((size_t)t->versions + 2, sizeof *r->readers_first);
    r->readers = tables_alloc(t->first[t->count], sizeof *r->readers);
    for (uint32_t txn = 0; txn < t->count; txn++)
        for (uint32_t m = t->first[txn]; m < t->first[txn + 1]; m++)
            if (is_dependency(t, txn, m)) r->readers_first[t->micros[m].version + 2]++;
    for (uint32_t v = 0; v <= t->versions; v++) r->readers_first[v + 1] += r->readers_first[v];
    for (uint32_t txn = 0; txn < t->count; txn++)
        for (uint32_t m = t->first[txn]; m < t->first[txn + 1]; m++)
            if (is_dependency(t, txn, m)) r->readers[r->readers_first[t->micros[m].version + 1]++] = txn;
}

bool reverse_make(struct reverse *r, const struct graph *g, enum order order) {
    *r = (struct reverse){0};
    if (!budget_claim(g->t->budget, reverse_bytes(g))) return false;
    r->bytes = reverse_bytes(g);
    turn_edges(r, g, order);
    turn_reads(r, g->t);
    return true;
}

void reverse_free(struct reverse *r, struct budget *b) {
    free(r->into_first);
    free(r->into);
    free(r->readers_first);
    free(r->readers);
    budget_release(b, r->bytes);
    *r = (struct reverse){0};
}

bool transaction_writes(const struct tables *t, uint32_t txn, uint32_t key) {
    for (uint32_t m = t->first[txn]; m < t->first[txn + 1]; m++)
        if (t->micros[m].kind == MICRO_WRITE && t->micros[m].key == key) return true;
    return false;
}
