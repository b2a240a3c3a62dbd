/* The dependency graph: edges in one array, by source. A version that several others follow, and that many have read,
 * gets a node of its own (a hub), or there would be a product of edges. A transaction that reads such a version and
 * overwrites it stays out of the hub, since it would depend on itself through it. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

#define DIRECT_MAX 4u /* a version with more followers gets a hub */

struct maker {
    struct graph *g;
    const struct tables *t;
    uint32_t *hub_of; /* by version; NONE */
    uint32_t *fill;   /* NULL while edges are only counted */
};

static void add_edge(struct maker *m, uint32_t source, uint32_t edge) {
    if (!m->fill) {
        m->g->first[source + 1]++;
    } else {
        m->g->edges[m->fill[source]++] = edge;
    }
}

static void edges_of_versions(struct maker *m) {
    const struct tables *t = m->t;
    for (uint32_t v = 0; v < t->versions; v++) {
        uint32_t a = t->writer[v];
        for (uint32_t n = t->next_first[v]; n < t->next_first[v + 1]; n++) {
            uint32_t b = t->writer[NEXT_VERSION(t->next[n])], order = t->next[n] >> ORDER_SHIFT;
            if (a != NONE && a != b) add_edge(m, a, EDGE(b, EDGE_WW, order));
            if (m->hub_of[v] != NONE) add_edge(m, t->count + m->hub_of[v], EDGE(b, EDGE_PASS, order));
        }
    }
}

static void edges_of_read(struct maker *m, uint32_t txn, const struct micro *read) {
    const struct tables *t = m->t;
    uint32_t v = read->version, writer = t->writer[v];
    if (writer != NONE && writer != txn && t->happened[writer]) add_edge(m, writer, EDGE(txn, EDGE_WR, ORDER_DATA));
    if (m->hub_of[v] != NONE && !read->rmw) {
        add_edge(m, txn, EDGE(m->g->hubs + m->hub_of[v], EDGE_RW, ORDER_DATA));
        return;
    }
    for (uint32_t n = t->next_first[v]; n < t->next_first[v + 1]; n++) {
        uint32_t b = t->writer[NEXT_VERSION(t->next[n])];
        if (b != txn) add_edge(m, txn, EDGE(b, EDGE_RW, t->next[n] >> ORDER_SHIFT));
    }
}

static bool all_edges(struct maker *m) {
    const struct tables *t = m->t;
    edges_of_versions(m);
    for (uint32_t txn = 0; txn < t->count && !budget_spent(t->budget); txn++) {
        if (!t->happened[txn]) continue;
        for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++)
            if (t->micros[i].external && t->micros[i].version != VERSION_NONE) edges_of_read(m, txn, &t->micros[i]);
    }
    return t->budget->state == BUDGET_LEFT;
}

bool graph_make(struct graph *g, const struct tables *t) {
    *g = (struct graph){.t = t, .hubs = 2 * t->count};
    struct maker m = {.g = g, .t = t, .hub_of = tables_alloc(t->versions, sizeof *m.hub_of)};
    uint32_t hubs = 0;
    for (uint32_t v = 0; v < t->versions; v++)
        m.hub_of[v] = t->next_first[v + 1] - t->next_first[v] > DIRECT_MAX ? hubs++ : NONE;
    g->nodes = g->hubs + hubs;
    uint32_t sources = t->count + hubs;
    g->first = xcalloc((size_t)sources + 1, sizeof *g->first);
    bool good = all_edges(&m);
    uint64_t edges = 0;
    for (uint32_t i = 0; i < sources; i++) edges += g->first[i + 1];
    good = good && edges < NONE && g->nodes < EDGE_NODE(NONE) &&
           budget_claim(t->budget, (edges + 2 * (uint64_t)sources) * 4);
    if (good) {
        g->edges = tables_alloc(edges, sizeof *g->edges);
        for (uint32_t i = 0; i < sources; i++) g->first[i + 1] += g->first[i];
        m.fill = tables_alloc(sources, sizeof *m.fill);
        memcpy(m.fill, g->first, (size_t)sources * sizeof *m.fill);
        good = all_edges(&m);
        free(m.fill);
    }
    free(m.hub_of);
    return good;
}

void graph_free(struct graph *g) {
    if (g->edges)
        budget_release(
            g->t->budget,
            (g->first[g->t->count + (g->nodes - g->hubs)] + 2 * (uint64_t)(g->t->count + g->nodes - g->hubs)) * 4);
    free(g->first);
    free(g->edges);
    *g = (struct graph){0};
}

/* --- views -------------------------------------------------------------------------------------------------------- */

static const struct step no_more = {NONE, 0, 0};

static bool inside(const struct view *w, uint32_t node, uint32_t to) {
    return !w->component || w->component[node] == w->component[to];
}

/* "All transactions from the i-th on" is the i-th, and all from the next on. */
static struct step step_of_suffix(const struct view *w, uint32_t node, uint32_t *at) {
    uint32_t count = w->g->t->count;
    if (w->order < ORDER_REALTIME) return no_more;
    while (*at < 2) {
        uint32_t to = (*at)++ == 0 ? node - count : node + 1;
        if (to < 2 * count && inside(w, node, to)) return (struct step){to, EDGE_PASS, ORDER_REALTIME};
    }
    return no_more;
}

static struct step step_of_hub(const struct view *w, uint32_t node, uint32_t *at) {
    const struct graph *g = w->g;
    uint32_t source = g->t->count + (node - g->hubs);
    while (g->first[source] + *at < g->first[source + 1]) {
        uint32_t e = g->edges[g->first[source] + (*at)++], to = view_source(w, EDGE_NODE(e));
        if (EDGE_ORDER(e) <= w->order && inside(w, node, to))
            return (struct step){to, EDGE_PASS, (uint8_t)EDGE_ORDER(e)};
    }
    return no_more;
}

struct step view_step(const struct view *w, uint32_t node, uint32_t *at) {
    const struct graph *g = w->g;
    const struct tables *t = g->t;
    if (node >= t->count && node < g->hubs) return step_of_suffix(w, node, at);
    if (node >= g->hubs && node < g->nodes) return step_of_hub(w, node, at);
    bool start = w->snapshots && node < t->count;
    uint32_t txn = node < t->count ? node : node - g->nodes, stored = g->first[txn + 1] - g->first[txn];
    uint32_t kinds = !w->snapshots ? w->kinds : start ? w->kinds & 1u << EDGE_RW : w->kinds & ~(1u << EDGE_RW);
    while (*at < stored) {
        uint32_t e = g->edges[g->first[txn] + (*at)++];
        if (!(kinds >> EDGE_KIND(e) & 1) || EDGE_ORDER(e) > w->order) continue;
        uint32_t to = EDGE_NODE(e);
        if (start && to < t->count) to += g->nodes;
        if (inside(w, node, to)) return (struct step){to, (uint8_t)EDGE_KIND(e), (uint8_t)EDGE_ORDER(e)};
    }
    if (start) {
        if ((*at)++ == stored && inside(w, node, g->nodes + txn))
            return (struct step){g->nodes + txn, EDGE_PASS, ORDER_DATA};
        return no_more;
    }
    if (*at == stored) {
        uint32_t to = t->next_in_process[txn];
        (*at)++;
        if (w->order >= ORDER_PROCESS && to != NONE && t->happened[txn] && inside(w, node, to))
            return (struct step){to, EDGE_PROCESS, ORDER_PROCESS};
    }
    if (*at == stored + 1) {
        (*at)++;
        if (w->order >= ORDER_REALTIME && t->after[txn] < t->count && inside(w, node, t->count + t->after[txn]))
            return (struct step){t->count + t->after[txn], EDGE_REALTIME, ORDER_REALTIME};
    }
    return no_more;
}
