/* What the plots draw, computed from a history: rates and latency quantiles per bin of time, latency points thinned to
 * a bounded number, and the stretches of time under a fault. Shared by the page and the terminal. */
#include "reports/internal.h"

#include <stdlib.h>

static void later(uint64_t *end_ns, uint64_t ns) {
    if (ns != UINT64_MAX && ns > *end_ns) *end_ns = ns;
}

uint64_t history_end_ns(const struct history *h) {
    uint64_t end_ns = NS_PER_MS;
    for (uint32_t i = 0; i < h->count; i++) {
        later(&end_ns, h->invoke_ns[i]);
        later(&end_ns, h->complete_ns[i]);
    }
    for (uint32_t i = 0; i < h->faults_count; i++) {
        later(&end_ns, h->faults[i].start_ns);
        later(&end_ns, h->faults[i].end_ns);
    }
    for (uint32_t i = 0; i < h->samples_count; i++) later(&end_ns, h->samples[i].time_ns);
    return end_ns;
}

uint64_t nice_step(uint64_t span, uint32_t parts) {
    assert(parts > 0);
    uint64_t least = span / parts + (span % parts != 0);
    for (uint64_t power = 1;; power *= 10) {
        if (power >= least) return power;
        if (power > UINT64_MAX / 10) return UINT64_MAX;
        if (2 * power >= least) return 2 * power;
        if (5 * power >= least) return 5 * power;
    }
}

static int by_status_bin_latency(const void *left, const void *right) {
    const struct point *a = left, *b = right;
    if (a->status != b->status) return a->status < b->status ? -1 : 1;
    if (a->bin != b->bin) return a->bin < b->bin ? -1 : 1;
    return a->latency_ns < b->latency_ns ? -1 : a->latency_ns > b->latency_ns;
}

static uint32_t bin_at(const struct series *s, uint64_t ns) {
    uint64_t bin = ns / s->width_ns;
    return bin < s->bins_count ? (uint32_t)bin : s->bins_count - 1;
}

static void bin_quantiles(struct series *s) {
    for (size_t i = 0; i < s->points_count && s->points[i].status == OP_OK;) {
        size_t first = i;
        struct bin *bin = &s->bins[s->points[first].bin];
        while (i < s->points_count && s->points[i].status == OP_OK && s->points[i].bin == s->points[first].bin) i++;
        size_t n = i - first;
        bin->latencies = n;
        bin->p50_ns = s->points[first + (n - 1) / 2].latency_ns;
        bin->p99_ns = s->points[first + (n * 99 + 99) / 100 - 1].latency_ns; /* nearest rank */
    }
}

void series_make(struct series *s, const struct history *h, uint64_t end_ns, uint64_t width_ns) {
    assert(end_ns > 0 && width_ns > 0 && end_ns / width_ns < 100000);
    *s = (struct series){.end_ns = end_ns, .width_ns = width_ns};
    s->bins_count = (uint32_t)((end_ns - 1) / width_ns + 1);
    s->bins = xcalloc(s->bins_count, sizeof *s->bins);
    s->points = xmalloc((h->count + (size_t)1) * sizeof *s->points);
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->status[i] == OP_PENDING) continue;
        struct bin *bin = &s->bins[bin_at(s, h->complete_ns[i])];
        if (h->status[i] == OP_OK)
            bin->ok++;
        else if (h->status[i] == OP_FAIL)
            bin->fail++;
        else
            bin->info++;
        s->points[s->points_count++] = (struct point){
            .at_ns = h->invoke_ns[i],
            .latency_ns = h->complete_ns[i] - h->intended_ns[i],
            .bin = bin_at(s, h->invoke_ns[i]),
            .status = h->status[i],
        };
    }
    qsort(s->points, s->points_count, sizeof *s->points, by_status_bin_latency);
    bin_quantiles(s);
}

void series_free(struct series *s) {
    free(s->bins);
    free(s->points);
    *s = (struct series){0};
}

size_t points_thin(struct point *points, size_t count, size_t max) {
    if (count <= max) return count;
    size_t kept = 0;
    for (size_t first = 0, next; first < count; first = next) {
        for (next = first; next < count && points[next].bin == points[first].bin;) next++;
        size_t n = next - first;
        size_t share = (size_t)((double)n * (double)max / (double)count);
        if (share < 2) share = 2;
        if (share > n) share = n;
        for (size_t i = 0; i < share; i++)
            points[kept++] = points[share > 1 ? first + i * (n - 1) / (share - 1) : first];
    }
    return kept;
}

static int by_start(const void *left, const void *right) {
    const struct fault_record *const *a = left, *const *b = right;
    return (*a)->start_ns < (*b)->start_ns ? -1 : (*a)->start_ns > (*b)->start_ns;
}

/* Windows of one colour that lie within `gap_ns` of each other become one; `any_colour` joins all that are near. */
static size_t shades_join(const struct history *h, const struct fault_record **order, uint64_t end_ns, uint64_t gap_ns,
                          bool any_colour, struct shade *shades) {
    size_t count = 0;
    for (uint32_t i = 0; i < h->faults_count; i++) {
        struct shade fresh = {order[i]->start_ns, fault_end_ns(order[i], end_ns), fault_colour(h, order[i])};
        struct shade *last = count ? &shades[count - 1] : NULL;
        if (last && fresh.start_ns <= last->end_ns + gap_ns &&
            (any_colour || strcmp(last->colour, fresh.colour) == 0)) {
            if (fresh.end_ns > last->end_ns) last->end_ns = fresh.end_ns;
        } else if (count == SHADES_MAX) {
            return SHADES_MAX + 1;
        } else {
            shades[count++] = fresh;
        }
    }
    return count;
}

size_t shades_make(const struct history *h, uint64_t end_ns, struct shade shades[SHADES_MAX]) {
    const struct fault_record **order = xmalloc((h->faults_count + (size_t)1) * sizeof *order);
    for (uint32_t i = 0; i < h->faults_count; i++) order[i] = &h->faults[i];
    qsort(order, h->faults_count, sizeof *order, by_start);
    size_t count = shades_join(h, order, end_ns, end_ns / 1000, false, shades);
    if (count > SHADES_MAX) count = shades_join(h, order, end_ns, end_ns / (SHADES_MAX - 1) + 1, true, shades);
    assert(count <= SHADES_MAX);
    free(order);
    return count;
}
