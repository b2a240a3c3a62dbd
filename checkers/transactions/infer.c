/* More about the order of registers' versions, for serial orders. If transaction a comes before b, then what a wrote
 * or read comes before what b writes or reads of the same key. A way from a to b that has a step of real time is found
 * by its times alone: let the end of a be that of the first to end among all that depend on it, and the beginning of b
 * that of the last to begin among all that it depends on; the zones of rw_register.c do the rest, in near-linear time.
 * Ways without such a step are short, and looked for one by one. What is found adds edges, so it is done again, until
 * nothing more follows. (For one key at a time this is the saturation of Biswas and Enea, OOPSLA 2019.) */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

#define STEPS_MAX 256u /* back from one transaction */

struct inference {
    struct tables *t;
    const struct graph *g;
    enum order order;
    struct reverse r;
    uint32_t *marks, search, *way;
    struct pairs news;
    uint32_t *news_of, *news_next; /* by transaction: the first of news with its version as the later; by pair */
    uint32_t news_capacity;
};

static bool is_known(const struct tables *t, uint32_t from, uint32_t to) {
    for (uint32_t n = t->next_first[from]; n < t->next_first[from + 1]; n++)
        if (NEXT_VERSION(t->next[n]) == to) return true;
    return false;
}

/* What is new counts at once in what is looked for next. */
static void infer(struct inference *s, uint32_t from, uint32_t to) {
    uint32_t writer = s->t->writer[to], n = s->news.count;
    if (is_known(s->t, from, to)) return;
    for (uint32_t p = s->news_of[writer]; p != NONE; p = s->news_next[p])
        if (s->news.from[p] == from && NEXT_VERSION(s->news.to[p]) == to) return;
    pairs_add(&s->news, from, to, s->order);
    if (s->news.count == n) return;
    if (s->news_capacity < s->news.capacity) {
        s->news_capacity = s->news.capacity;
        s->news_next = xrealloc(s->news_next, s->news_capacity * sizeof *s->news_next);
    }
    s->news_next[n] = s->news_of[writer];
    s->news_of[writer] = n;
}

/* --- ways of data alone ------------------------------------------------------------------------------------------- */

static void go_back_to(struct inference *s, uint32_t txn, uint32_t slot, uint32_t *count) {
    if (s->marks[slot] == s->search) return;
    if (slot < s->t->count && s->order >= ORDER_REALTIME && s->t->after[slot] <= txn) return; /* tells nothing new */
    s->marks[slot] = s->search;
    s->way[(*count)++] = slot;
}

static void go_back(struct inference *s, uint32_t txn, uint32_t slot, uint32_t *count) {
    for (uint32_t e = s->r.into_first[slot]; e < s->r.into_first[slot + 1]; e++)
        go_back_to(s, txn, s->r.into[e], count);
    for (uint32_t p = slot < s->t->count ? s->news_of[slot] : NONE; p != NONE; p = s->news_next[p]) {
        uint32_t v = s->news.from[p];
        go_back_to(s, txn, s->t->writer[v], count);
        for (uint32_t r = s->r.readers_first[v]; r < s->r.readers_first[v + 1]; r++)
            if (s->r.readers[r] != slot) go_back_to(s, txn, s->r.readers[r], count);
    }
}

/* A version of `before`, which comes before txn, against what txn has of the same key. */
static void compare_versions(struct inference *s, uint32_t before, uint32_t txn) {
    const struct tables *t = s->t;
    for (uint32_t w = t->first[before]; w < t->first[before + 1]; w++) {
        const struct micro *written = &t->micros[w];
        if (written->kind != MICRO_WRITE || !t->last_of_writer[written->version]) continue;
        for (uint32_t m = t->first[txn]; m < t->first[txn + 1]; m++) {
            const struct micro *own = &t->micros[m];
            if (own->key != written->key || own->version == VERSION_NONE || own->version == written->version) continue;
            if (own->kind == MICRO_WRITE ? !t->last_of_writer[own->version]
                                         : !own->external || t->writer[own->version] == NONE)
                continue;
            infer(s, written->version, own->version);
        }
    }
}

static void infer_by_data(struct inference *s) {
    const struct tables *t = s->t;
    for (uint32_t txn = 0; txn < t->count && !budget_spent(t->budget); txn++) {
        uint32_t count = 0;
        if (!t->happened[txn]) continue;
        s->search++;
        s->marks[txn] = s->search;
        go_back(s, txn, txn, &count);
        for (uint32_t i = 0; i < count && i < STEPS_MAX; i++) {
            if (s->way[i] < t->count) compare_versions(s, s->way[i], txn);
            go_back(s, txn, s->way[i], &count);
        }
    }
}

/* --- ways with a step of real time -------------------------------------------------------------------------------- */

/* ends and begins by slot, from nodes in order of position: what depends on a node stands before it. */
static void spread_times(const struct inference *s, const uint32_t *position, uint32_t *ends, uint32_t *begins) {
    const struct tables *t = s->t;
    const struct graph *g = s->g;
    uint32_t slots = t->count + (g->nodes - g->hubs), *order = tables_alloc(g->nodes, sizeof *order);
    memset(order, 0xff, g->nodes * sizeof *order);
    for (uint32_t i = 0; i < slots; i++) {
        order[position[i < t->count ? i : g->hubs + (i - t->count)]] = i;
        ends[i] = i < t->count ? t->after[i] : t->count;
        begins[i] = i < t->count ? i : 0;
    }
    for (uint32_t p = 0; p < g->nodes; p++) {
        uint32_t i = order[p];
        for (uint32_t e = i == NONE ? 0 : s->r.into_first[i]; i != NONE && e < s->r.into_first[i + 1]; e++)
            if (ends[i] < ends[s->r.into[e]]) ends[s->r.into[e]] = ends[i];
    }
    for (uint32_t p = g->nodes; p > 0; p--) {
        uint32_t i = order[p - 1];
        for (uint32_t e = i == NONE ? 0 : s->r.into_first[i]; i != NONE && e < s->r.into_first[i + 1]; e++)
            if (begins[i] < begins[s->r.into[e]]) begins[i] = begins[s->r.into[e]];
    }
    free(order);
}

static void infer_by_time(struct inference *s, const uint32_t *position) {
    const struct tables *t = s->t;
    uint32_t slots = t->count + (s->g->nodes - s->g->hubs);
    uint32_t *ends = tables_alloc(slots, sizeof *ends), *begins = tables_alloc(slots, sizeof *begins);
    struct pairs all = {.budget = t->budget};
    spread_times(s, position, ends, begins);
    if (zones_order(t, ends, begins, true, &all))
        for (uint32_t i = 0; i < all.count; i++) infer(s, all.from[i], NEXT_VERSION(all.to[i]));
    pairs_free(&all);
    free(ends);
    free(begins);
}

static void take_over(struct inference *s) {
    struct tables *t = s->t;
    for (uint32_t v = 0; v < t->versions; v++)
        for (uint32_t n = t->next_first[v]; n < t->next_first[v + 1]; n++)
            pairs_add(&s->news, v, NEXT_VERSION(t->next[n]), (enum order)(t->next[n] >> ORDER_SHIFT));
    if (s->t->budget->state == BUDGET_LEFT) tables_order(t, s->news.from, s->news.to, s->news.count);
}

uint32_t infer_versions(struct tables *t, const struct graph *g, enum order order, const uint32_t *position) {
    struct inference s = {.t = t, .g = g, .order = order, .news = {.budget = t->budget}};
    uint64_t slots = t->count + (uint64_t)(g->nodes - g->hubs), bytes = (slots * 5 + g->nodes) * sizeof(uint32_t);
    uint32_t news = 0;
    if (!budget_claim(t->budget, bytes)) return 0;
    if (reverse_make(&s.r, g, order)) {
        s.marks = xcalloc((size_t)slots + 1, sizeof *s.marks);
        s.way = tables_alloc(slots, sizeof *s.way);
        s.news_of = tables_alloc(t->count, sizeof *s.news_of);
        memset(s.news_of, 0xff, t->count * sizeof *s.news_of);
        if (order >= ORDER_REALTIME) infer_by_time(&s, position);
        infer_by_data(&s);
        news = s.news.count;
        if (news) take_over(&s);
        t->from_serial = t->from_serial || news > 0;
        t->from_serial_order = order;
        reverse_free(&s.r, t->budget);
    }
    free(s.marks);
    free(s.way);
    free(s.news_of);
    free(s.news_next);
    pairs_free(&s.news);
    budget_release(t->budget, bytes);
    return t->budget->state == BUDGET_LEFT ? news : 0;
}
