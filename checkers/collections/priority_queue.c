/* Priority queues of elements that are put once each.
 *
 * A delete-min that returned v needs a moment at which nothing less than v is inside: as if it found the collection
 * of the lesser elements empty. Whether it can be so was argued in queue.c, and v itself is in the way of no lesser
 * one; so the elements are looked at from the least on, each time among the lesser ones alone: decrease and conquer,
 * after Lee and Mathur, "Efficient Decrease-and-Conquer Linearizability Monitoring" (arXiv 2410.04581). The moments
 * at which something is surely inside only ever grow, so they are kept as disjoint sets (Tarjan 1975). */
#include "checkers/collections/internal.h"

#include <stdlib.h>

struct ranked {
    int64_t rank;
    uint32_t element;
};

static int by_rank(const void *x, const void *y) {
    const struct ranked *a = x, *b = y;
    return a->rank < b->rank ? -1 : a->rank > b->rank;
}

/* The first gap from here on at which nothing is surely inside. */
static uint32_t next_open(uint32_t *next, uint32_t gap) {
    while (next[gap] != gap) {
        next[gap] = next[next[gap]];
        gap = next[gap];
    }
    return gap;
}

static void tell_not_least(const struct collection *c, uint32_t element, uint32_t low, uint32_t high,
                           struct finding *f) {
    const struct item *item = &c->items[element];
    finding_op(f, c->actions[item->put].op);
    if (item->take != NONE) finding_op(f, c->actions[item->take].op);
    element_print(c, element, &f->line);
    buffer_printf(&f->line, " was %s, but all the while something less was inside: ", c->d->taken);
    chain_tell(c, low, high, &c->values[element], f);
}

static enum decision decide_ranked(const struct collection *c, const struct ranked *ranked, uint32_t *next,
                                   struct budget *b, struct finding *f) {
    for (uint32_t i = 0; i < c->elements; i++) {
        const struct item *item = &c->items[ranked[i].element];
        if (budget_spent(b)) return UNDECIDED;
        if (!item->puts) continue;
        if (item->take_invoked < c->positions) {
            uint32_t low = item->take_invoked > item->put_invoked ? item->take_invoked + 1 : item->put_invoked + 1;
            uint32_t high = item->take_returned < c->positions ? item->take_returned : c->positions;
            if (next_open(next, low) > high) {
                if (f) tell_not_least(c, ranked[i].element, low, high, f);
                return DECIDED_INVALID;
            }
        }
        if (item->put_returned >= item->take_invoked) continue;
        uint32_t end = item->take_invoked < c->positions ? item->take_invoked : c->positions;
        for (uint32_t gap = next_open(next, item->put_returned + 1); gap <= end; gap = next_open(next, gap))
            next[gap] = gap + 1;
    }
    return empties_decide(c, b, f);
}

enum decision priority_queue_decide(const struct collection *c, struct budget *b, struct finding *f, uint8_t *kept) {
    (void)kept;
    uint64_t bytes = ((uint64_t)c->positions + 2) * sizeof(uint32_t) + (uint64_t)c->elements * sizeof(struct ranked);
    if (!budget_claim(b, bytes)) return UNDECIDED;
    uint32_t *next = xmalloc_large(((size_t)c->positions + 2) * sizeof *next);
    struct ranked *ranked = xmalloc_large(c->elements * sizeof *ranked);
    for (uint32_t gap = 0; gap < c->positions + 2; gap++) next[gap] = gap;
    for (uint32_t e = 0; e < c->elements; e++) ranked[e] = (struct ranked){c->values[e].integer, e};
    qsort(ranked, c->elements, sizeof *ranked, by_rank);
    enum decision d = decide_ranked(c, ranked, next, b, f);
    free(ranked);
    free(next);
    budget_release(b, bytes);
    return d;
}
