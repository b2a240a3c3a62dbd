/* The event heap: four children per item, so half the depth of a binary heap and its children side by side in memory.
 * A pop first moves the hole down to a leaf along the smallest children and then lifts the last item into place from
 * there: that item comes from the bottom and seldom rises far, so one comparison per level is saved. */
#include "base/base.h"

#include <stdlib.h>

#define HEAP_CAPACITY_MIN ((size_t)64)

__extension__ typedef unsigned __int128 u128;

static inline u128 order_of(const struct heap_item *item) {
    return (u128)item->time_ns << 64 | item->sequence;
}

static inline void sift_up(struct heap_item *items, size_t at, struct heap_item item) {
    u128 order = order_of(&item);
    while (at > 0) {
        size_t parent = (at - 1) / 4;
        if (order_of(&items[parent]) <= order) break;
        items[at] = items[parent];
        at = parent;
    }
    items[at] = item;
}

void heap_push(struct heap *h, struct heap_item item) {
    if (h->count == h->capacity) {
        h->capacity = h->capacity ? h->capacity * 2 : HEAP_CAPACITY_MIN;
        h->items = xrealloc(h->items, h->capacity * sizeof *h->items);
    }
    sift_up(h->items, h->count++, item);
}

struct heap_item heap_pop(struct heap *h) {
    assert(h->count > 0);
    struct heap_item *items = h->items, top = items[0], last = items[--h->count];
    size_t count = h->count, at = 0;
    if (count == 0) return top;
    for (size_t child; (child = 4 * at + 1) < count;) {
        size_t end = child + 4 < count ? child + 4 : count, least = child;
        u128 least_order = order_of(&items[child]);
        for (size_t other = child + 1; other < end; other++) {
            u128 order = order_of(&items[other]);
            bool less = order < least_order;
            least = less ? other : least;
            least_order = less ? order : least_order;
        }
        items[at] = items[least];
        at = least;
    }
    sift_up(items, at, last);
    return top;
}

void heap_free(struct heap *h) {
    free(h->items);
    *h = (struct heap){0};
}
