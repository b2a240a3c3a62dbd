/* Latency quantiles over a history, by the method of HdrHistogram (Tene): values fall into buckets whose width doubles
 * with every power of two, each cut into 1024 equal parts, so that any value is known to better than one part in a
 * thousand at a fixed cost in memory. Count, maximum and mean are exact. */
#include "history/history.h"

#include <stdlib.h>

/* Below 2^11 every value has its own counter; above, each power of two has 2^10 of them. */
#define PART_BITS 10u
#define PARTS (UINT64_C(1) << PART_BITS)
#define COUNTERS ((size_t)((64 - PART_BITS + 1) * PARTS))

static size_t counter_of(uint64_t value) {
    unsigned magnitude = 63u - (unsigned)__builtin_clzll(value | 1);
    unsigned shift = magnitude > PART_BITS ? magnitude - PART_BITS : 0;
    return (size_t)(shift * PARTS + (value >> shift));
}

/* The highest value that counts as this counter's. */
static uint64_t counter_value_max(size_t counter) {
    if (counter < 2 * PARTS) return counter;
    uint64_t shift = counter / PARTS - 1, part = counter % PARTS + PARTS;
    return (part << shift) + ((UINT64_C(1) << shift) - 1);
}

/* The value that at least permille of all are at most: the one of rank ceil(count * permille / 1000). */
static uint64_t quantile(const uint32_t *counters, const struct quantiles *all, uint64_t permille) {
    uint64_t rank = (all->count * permille + 999) / 1000, seen = 0;
    for (size_t i = 0; i < COUNTERS; i++) {
        seen += counters[i];
        if (seen < rank) continue;
        uint64_t value = counter_value_max(i);
        return value < all->max_ns ? value : all->max_ns;
    }
    return all->max_ns;
}

struct quantiles history_latency(const struct history *h, uint16_t f) {
    struct quantiles q = {0};
    uint32_t *counters = xcalloc(COUNTERS, sizeof *counters);
    uint64_t whole = 0, rest = 0; /* the mean's running division, which cannot overflow */
    for (uint32_t op = 0; op < h->count; op++) {
        if (h->status[op] != OP_OK || (f != UINT16_MAX && h->f[op] != f)) continue;
        uint64_t latency_ns = h->complete_ns[op] - h->intended_ns[op];
        counters[counter_of(latency_ns)]++;
        if (latency_ns > q.max_ns) q.max_ns = latency_ns;
        q.count++;
    }
    for (uint32_t op = 0; op < h->count; op++) {
        if (h->status[op] != OP_OK || (f != UINT16_MAX && h->f[op] != f)) continue;
        uint64_t latency_ns = h->complete_ns[op] - h->intended_ns[op];
        whole += latency_ns / q.count;
        rest += latency_ns % q.count;
    }
    if (q.count) {
        q.mean_ns = whole + rest / q.count;
        q.p50_ns = quantile(counters, &q, 500);
        q.p90_ns = quantile(counters, &q, 900);
        q.p99_ns = quantile(counters, &q, 990);
        q.p999_ns = quantile(counters, &q, 999);
    }
    free(counters);
    return q;
}
