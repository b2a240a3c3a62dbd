/* From "no anomaly was found" to "the model holds". Where the order of versions was inferred only in part, some cycle
 * might hide in the rest of it. So an order is guessed and tried: a guess that holds is a proof. If none does, nothing
 * is proven, unless the history is so small that all orders could be tried. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

/* --- snapshots: versions in an order of commits ------------------------------------------------------------------- */

struct ranked {
    uint32_t key, rank, version;
};

static int by_rank(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return x->version < y->version ? -1 : x->version > y->version;
}

/* position: of commits, the last first. */
static void order_by_commit(struct tables *t, const uint32_t *position) {
    struct ranked *all = xmalloc((size_t)t->versions * sizeof *all);
    uint32_t *from = xmalloc((size_t)t->versions * sizeof *from), *to = xmalloc((size_t)t->versions * sizeof *to);
    uint32_t count = 0;
    for (uint32_t v = t->keys; v < t->versions; v++)
        if (tables_committed(t, v) && t->last_of_writer[v])
            all[count++] = (struct ranked){t->micros[t->written[v]].key, UINT32_MAX - position[t->writer[v]], v};
    qsort(all, count, sizeof *all, by_rank);
    for (uint32_t i = 0; i < count; i++) {
        from[i] = i && all[i - 1].key == all[i].key ? all[i - 1].version : all[i].key;
        to[i] = all[i].version;
    }
    tables_order(t, from, to, count);
    free(all);
    free(from);
    free(to);
}

enum decision certify_snapshots(struct tables *t, const struct graph *g, enum order order) {
    struct view w = {.g = g, .kinds = KINDS_ALL, .order = order, .snapshots = true};
    struct components c;
    struct graph total = {0};
    enum decision d = UNDECIDED;
    if (!budget_claim(t->budget, (uint64_t)t->versions * 20)) return UNDECIDED;
    if (!components_allocate(&c, &w, t->budget)) return UNDECIDED;
    bool done = components_find(&c, &w, NULL, 0, t->budget);
    uint32_t *next_first = t->next_first, *next = t->next; /* as inferred: put aside */
    t->next_first = t->next = NULL;
    if (done) order_by_commit(t, c.position + g->nodes);
    components_free(&c, &w, t->budget);
    if (done && graph_make(&total, t)) {
        w.g = &total;
        if (components_allocate(&c, &w, t->budget)) {
            if (components_find(&c, &w, NULL, 0, t->budget) && c.count == 0) d = DECIDED_VALID;
            components_free(&c, &w, t->budget);
        }
    }
    graph_free(&total);
    free(t->next_first);
    free(t->next);
    t->next_first = next_first;
    t->next = next;
    budget_release(t->budget, (uint64_t)t->versions * 20);
    return d == UNDECIDED ? try_snapshots(t, order) : d;
}

/* --- one after another -------------------------------------------------------------------------------------------- */

#define ROUNDS_MAX 8u
#define MUCH_NEWS 16u /* if so small a part of the transactions brought news, more will follow: too early to try */

/* With what was inferred last: is there a serial order now, or a contradiction, or more to infer? */
static enum decision try_inferred(struct tables *t, enum order order, struct findings *f, uint32_t *news) {
    enum decision d = UNDECIDED;
    struct graph g;
    uint32_t *position = NULL;
    bool made = graph_make(&g, t), much = *news > t->count / MUCH_NEWS;
    if (made && !much) d = schedule_serial(t, &g, order);
    if (made && d == UNDECIDED && cycles_find(&g, order, f, &position)) {
        if (!position) d = DECIDED_INVALID;
        *news = position ? infer_versions(t, &g, order, position) : 0;
        if (made && d == UNDECIDED && much && *news == 0) d = schedule_serial(t, &g, order);
    } else {
        *news = 0;
    }
    free(position);
    graph_free(&g);
    return d;
}

enum decision certify_serial(struct tables *t, const struct graph *g, enum order order, const uint32_t *position,
                             struct findings *f) {
    enum decision d = UNDECIDED;
    uint32_t news = infer_versions(t, g, order, position);
    if (news == 0) d = schedule_serial(t, g, order);
    for (uint32_t round = 0; round < ROUNDS_MAX && news && d == UNDECIDED; round++)
        d = try_inferred(t, order, f, &news);
    if (d == UNDECIDED && t->budget->state == BUDGET_LEFT) d = try_serial(t, order);
    return d;
}
