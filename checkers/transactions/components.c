/* Strongly connected components. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

static uint64_t components_bytes(const struct view *w) {
    return (uint64_t)view_nodes(w) * 6 * sizeof(uint32_t);
}

bool components_allocate(struct components *c, const struct view *w, struct budget *b) {
    *c = (struct components){0};
    if (!budget_claim(b, components_bytes(w))) return false;
    size_t bytes = (size_t)view_nodes(w) * sizeof(uint32_t);
    c->of = tables_alloc(view_nodes(w), sizeof *c->of);
    c->position = tables_alloc(view_nodes(w), sizeof *c->position);
    c->index = tables_alloc(view_nodes(w), sizeof *c->index);
    c->stack = tables_alloc(view_nodes(w), sizeof *c->stack);
    c->frames = tables_alloc(view_nodes(w), sizeof *c->frames);
    c->at = tables_alloc(view_nodes(w), sizeof *c->at);
    memset(c->index, 0, bytes);
    memset(c->of, 0, bytes);
    return true;
}

void components_free(struct components *c, const struct view *w, struct budget *b) {
    if (!c->of) return;
    free(c->of);
    free(c->position);
    free(c->index);
    free(c->stack);
    free(c->frames);
    free(c->at);
    budget_release(b, components_bytes(w));
    *c = (struct components){0};
}

#define ENDED UINT32_MAX /* index of a node whose component is known: greater than any other */

struct tarjan {
    struct components *c;
    const struct view *w;
    uint32_t *low; /* position serves until the node's component has ended */
    uint32_t indexes, positions, stacked, depth;
};

static void enter(struct tarjan *t, uint32_t node) {
    t->c->index[node] = t->low[node] = ++t->indexes;
    t->c->stack[t->stacked++] = node;
    t->c->frames[t->depth] = node;
    t->c->at[t->depth++] = 0;
}

static void end_component(struct tarjan *t, uint32_t root) {
    const struct graph *g = t->w->g;
    uint32_t bottom = t->stacked, transactions = 0;
    do {
        uint32_t node = t->c->stack[--bottom];
        transactions += node < g->t->count || node >= g->nodes;
    } while (t->c->stack[bottom] != root);
    uint32_t number = transactions > 1 ? ++t->c->count : 0;
    while (t->stacked > bottom) {
        uint32_t node = t->c->stack[--t->stacked];
        t->c->index[node] = ENDED;
        t->c->of[node] = number;
        t->c->position[node] = t->positions++;
    }
}

static void lower(uint32_t *low, uint32_t to) {
    if (to < *low) *low = to;
}

static bool visit(struct tarjan *t, uint32_t root, struct budget *b) {
    const uint32_t *index = t->c->index;
    enter(t, root);
    while (t->depth) {
        uint32_t node = t->c->frames[t->depth - 1];
        struct step s = view_step(t->w, node, &t->c->at[t->depth - 1]);
        if (s.node == NONE) {
            if (t->low[node] == index[node]) {
                end_component(t, node);
                if (--t->depth && budget_spent(b)) return false;
            } else {
                t->depth--;
                lower(&t->low[t->c->frames[t->depth - 1]], t->low[node]);
            }
        } else if (index[s.node] == 0) {
            enter(t, s.node);
        } else if (index[s.node] != ENDED) {
            lower(&t->low[node], index[s.node]);
        }
    }
    return true;
}

bool components_find(struct components *c, const struct view *w, const uint32_t *roots, uint32_t roots_count,
                     struct budget *b) {
    struct tarjan t = {.c = c, .w = w, .low = c->position};
    uint32_t count = roots ? roots_count : view_nodes(w);
    for (uint32_t i = 0; i < count; i++) c->index[roots ? roots[i] : i] = 0;
    c->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t root = roots ? roots[i] : i;
        if (c->index[root] == 0 && !visit(&t, root, b)) return false;
    }
    return true;
}
