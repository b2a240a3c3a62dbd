/* What one run comes to, as numbers: throughput, availability, times to recover, latencies, and the cost of each
 * operation. Exact sums over the history; nothing is sampled. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "reports/compare.h"
#include "reports/internal.h"

/* --- successes in order of time ----------------------------------------------------------------------------------- */

struct moment { /* an operation begins or ends */
    uint64_t at_ns;
    int8_t open; /* how it changes the number of open operations */
    bool ok;
};
struct work {
    const struct measure_input *in;
    struct moment *moments; /* of the operations issued in the main phase, in order of time; beginnings first */
    uint64_t *ends_ns;      /* of those that ended ok in the main phase, in order */
    size_t moments_count, ends_count;
    uint32_t windows; /* whole ones */
    uint32_t *successes;
    bool *wanted; /* by window: was there anything to answer */
    double rate;  /* successes per window without faults; NAN: there is no such window */
};

static bool counts(const struct measure_input *in, uint32_t op) {
    return !in->history->final_phase[op] && in->history->invoke_ns[op] < in->main_ns;
}

static bool committed(const struct measure_input *in, uint32_t op) {
    return counts(in, op) && in->history->status[op] == OP_OK;
}

static int by_time(const void *left, const void *right) {
    const struct moment *a = left, *b = right;
    if (a->at_ns != b->at_ns) return a->at_ns < b->at_ns ? -1 : 1;
    return b->open - a->open;
}

static int by_size(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static int by_value(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

static void collect(struct work *w) {
    const struct history *h = w->in->history;
    w->moments = xmalloc((2 * (size_t)h->count + 1) * sizeof *w->moments);
    w->ends_ns = xmalloc((h->count + (size_t)1) * sizeof *w->ends_ns);
    for (uint32_t op = 0; op < h->count; op++) {
        if (!counts(w->in, op)) continue;
        w->moments[w->moments_count++] = (struct moment){h->invoke_ns[op], 1, false};
        if (h->status[op] == OP_PENDING || h->complete_ns[op] >= w->in->main_ns) continue;
        bool ok = h->status[op] == OP_OK;
        w->moments[w->moments_count++] = (struct moment){h->complete_ns[op], -1, ok};
        if (ok) w->ends_ns[w->ends_count++] = h->complete_ns[op];
    }
    qsort(w->moments, w->moments_count, sizeof *w->moments, by_time);
    qsort(w->ends_ns, w->ends_count, sizeof *w->ends_ns, by_size);
}

/* --- availability ------------------------------------------------------------------------------------------------- */

static void want(struct work *w, uint64_t from_ns, uint64_t to_ns) {
    for (uint64_t i = from_ns / MEASURE_WINDOW_NS; i < w->windows && i * MEASURE_WINDOW_NS <= to_ns; i++)
        w->wanted[i] = true;
}

/* Somebody waits from the moment something is asked for until an answer leaves nothing open. A client that gave up
 * still waits: it got no answer. */
static uint64_t longest_outage(struct work *w) {
    uint64_t longest = 0, since_ns = 0, asked_ns = 0;
    int64_t open = 0;
    bool waiting = false;
    for (size_t i = 0; i < w->moments_count; i++) {
        const struct moment *m = &w->moments[i];
        open += m->open;
        if (m->open > 0 && !waiting) {
            waiting = true;
            since_ns = asked_ns = m->at_ns;
        }
        if (!m->ok) continue;
        if (m->at_ns - since_ns > longest) longest = m->at_ns - since_ns;
        since_ns = m->at_ns;
        if (open > 0) continue;
        want(w, asked_ns, m->at_ns);
        waiting = false;
    }
    if (!waiting) return longest;
    want(w, asked_ns, w->in->main_ns);
    return w->in->main_ns - since_ns > longest ? w->in->main_ns - since_ns : longest;
}

static void measure_availability(struct work *w, struct measured *out) {
    uint32_t wanted = 0, answered = 0;
    w->windows = (uint32_t)(w->in->main_ns / MEASURE_WINDOW_NS);
    w->successes = xcalloc(w->windows + 1u, sizeof *w->successes);
    w->wanted = xcalloc(w->windows + 1u, sizeof *w->wanted);
    for (size_t i = 0; i < w->ends_count; i++)
        if (w->ends_ns[i] / MEASURE_WINDOW_NS < w->windows) w->successes[w->ends_ns[i] / MEASURE_WINDOW_NS]++;
    if (w->moments_count) out->values[MEASURE_OUTAGE] = (double)longest_outage(w) / (double)NS_PER_MS;
    for (uint32_t i = 0; i < w->windows; i++) {
        wanted += w->wanted[i];
        answered += w->wanted[i] && w->successes[i];
    }
    if (wanted) out->values[MEASURE_AVAILABILITY] = 100.0 * answered / wanted;
}

/* --- recovery ----------------------------------------------------------------------------------------------------- */

static void measure_rate(struct work *w) {
    const struct history *h = w->in->history;
    double *rates = xmalloc((w->windows + (size_t)1) * sizeof *rates);
    uint32_t count = 0;
    for (uint32_t i = 0; i < w->windows; i++) {
        uint64_t start_ns = i * MEASURE_WINDOW_NS, end_ns = start_ns + MEASURE_WINDOW_NS;
        bool faultless = w->wanted[i];
        for (uint32_t f = 0; f < h->faults_count && faultless; f++)
            faultless = h->faults[f].start_ns >= end_ns || h->faults[f].end_ns <= start_ns;
        if (faultless) rates[count++] = w->successes[i];
    }
    w->rate = spread_of(rates, count).median;
    if (count == 0) w->rate = NAN;
    free(rates);
}

static size_t first_at_or_after(const uint64_t *times_ns, size_t count, uint64_t at_ns) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (times_ns[middle] < at_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The first success of what was asked at or after `at_ns`. earliest_ns[op] is the first end of those from op on. */
static uint64_t answered_after(const struct work *w, const uint64_t *earliest_ns, uint64_t at_ns) {
    const struct history *h = w->in->history;
    size_t op = first_at_or_after(h->invoke_ns, h->count, at_ns);
    return op < h->count && earliest_ns[op] < w->in->main_ns ? earliest_ns[op] - at_ns : MEASURE_NEVER;
}

static uint64_t back_at_rate(const struct work *w, uint64_t end_ns) {
    size_t first = first_at_or_after(w->ends_ns, w->ends_count, end_ns), last = first;
    for (uint64_t at_ns = end_ns; at_ns + MEASURE_WINDOW_NS <= w->in->main_ns; at_ns = w->ends_ns[first]) {
        while (first < w->ends_count && w->ends_ns[first] < at_ns) first++;
        while (last < w->ends_count && w->ends_ns[last] < at_ns + MEASURE_WINDOW_NS) last++;
        if ((double)(last - first) >= w->rate / 2) return at_ns - end_ns;
        if (first < w->ends_count && w->ends_ns[first] == at_ns) first++;
        if (first == w->ends_count) break;
    }
    return MEASURE_NEVER;
}

static uint64_t *earliest_ends(const struct work *w) {
    const struct history *h = w->in->history;
    uint64_t *earliest_ns = xmalloc((h->count + (size_t)1) * sizeof *earliest_ns);
    earliest_ns[h->count] = UINT64_MAX;
    for (uint32_t op = h->count; op-- > 0;) {
        earliest_ns[op] = earliest_ns[op + 1];
        if (committed(w->in, op) && h->complete_ns[op] < earliest_ns[op]) earliest_ns[op] = h->complete_ns[op];
    }
    return earliest_ns;
}

static void middle_and_max(double *times_ms, uint32_t count, double *median, double *max) {
    if (count == 0) return;
    struct spread s = spread_of(times_ms, count);
    *median = s.median;
    *max = s.max;
}

static void copy_name(char out[MEASURE_NAME_BYTES], const char *name) {
    snprintf(out, MEASURE_NAME_BYTES, "%s", name);
}

static void measure_recovery(struct work *w, struct measured *out) {
    const struct history *h = w->in->history;
    uint64_t *earliest_ns = earliest_ends(w);
    double *failovers = xmalloc((h->faults_count + (size_t)1) * sizeof *failovers),
           *recoveries = xmalloc((h->faults_count + (size_t)1) * sizeof *recoveries);
    uint32_t failovers_count = 0, recoveries_count = 0, unrecovered = 0;
    for (uint32_t i = 0; i < h->faults_count; i++) {
        const struct fault_record *f = &h->faults[i];
        if (f->start_ns >= w->in->main_ns) continue;
        struct fault_time t = {.start_ns = f->start_ns, .recovery_ns = MEASURE_NEVER};
        copy_name(t.name, history_text(h, f->name));
        t.end_ns = f->end_ns < w->in->main_ns ? f->end_ns : w->in->main_ns;
        t.failover_ns = answered_after(w, earliest_ns, t.start_ns);
        t.recovery_known = t.end_ns + MEASURE_WINDOW_NS <= w->in->main_ns && !isnan(w->rate);
        if (t.recovery_known) t.recovery_ns = back_at_rate(w, t.end_ns);
        if (t.failover_ns != MEASURE_NEVER) failovers[failovers_count++] = (double)t.failover_ns / (double)NS_PER_MS;
        if (t.recovery_ns != MEASURE_NEVER) recoveries[recoveries_count++] = (double)t.recovery_ns / (double)NS_PER_MS;
        unrecovered += t.failover_ns == MEASURE_NEVER || (t.recovery_known && t.recovery_ns == MEASURE_NEVER);
        if (out->faults_count < MEASURE_FAULTS_MAX) out->faults[out->faults_count++] = t;
    }
    middle_and_max(failovers, failovers_count, &out->values[MEASURE_FAILOVER_MEDIAN],
                   &out->values[MEASURE_FAILOVER_MAX]);
    middle_and_max(recoveries, recoveries_count, &out->values[MEASURE_RECOVERY_MEDIAN],
                   &out->values[MEASURE_RECOVERY_MAX]);
    if (out->faults_count) out->values[MEASURE_UNRECOVERED] = unrecovered;
    free(earliest_ns);
    free(failovers);
    free(recoveries);
}

/* --- latency ------------------------------------------------------------------------------------------------------ */

uint32_t latency_bucket(uint64_t latency_ns) {
    uint64_t us = latency_ns / NS_PER_US;
    if (us < 64) return (uint32_t)us;
    if (us > UINT32_MAX) return LATENCY_BUCKETS - 1;
    uint32_t power = 31u - (uint32_t)__builtin_clz((uint32_t)us);
    return (power - 5) * 32 + (uint32_t)(us >> (power - 5));
}

uint64_t latency_bucket_us(uint32_t bucket) {
    if (bucket < 64) return bucket;
    uint32_t power = bucket / 32 + 4;
    return (((uint64_t)bucket % 32 + 33) << (power - 5)) - 1;
}

struct timed {
    uint64_t latency_ns;
    uint16_t f;
    uint8_t region;
};

static int by_latency(const void *left, const void *right) {
    const struct timed *a = left, *b = right;
    return a->latency_ns < b->latency_ns ? -1 : a->latency_ns > b->latency_ns;
}

/* Of the `count` in the group: the nearest rank is ceil(count * permille / 1000), from 1. */
static uint64_t rank_of(uint64_t count, uint64_t permille) {
    return (count * permille + 999) / 1000;
}

static void measure_group(const struct timed *all, size_t all_count, uint16_t f, uint8_t region, struct latency l,
                          struct measured *out) {
    uint64_t seen = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < all_count; i++) {
            if (f != FUNCTION_NONE && all[i].f != f) continue;
            if (region != MEASURE_REGIONS_MAX && all[i].region != region) continue;
            if (pass == 0) {
                l.count++;
                continue;
            }
            seen++;
            if (seen == rank_of(l.count, 500)) l.p50_ns = all[i].latency_ns;
            if (seen == rank_of(l.count, 990)) l.p99_ns = all[i].latency_ns;
            if (seen == rank_of(l.count, 999)) l.p999_ns = all[i].latency_ns;
        }
    }
    if (l.count == 0 || out->latencies_count == MEASURE_LATENCIES_MAX) return;
    out->latencies[out->latencies_count++] = l;
}

static void measure_kind(const struct work *w, const struct timed *all, size_t count, uint16_t f, const char *name,
                         struct measured *out) {
    struct latency l = {0};
    copy_name(l.operation, name);
    measure_group(all, count, f, MEASURE_REGIONS_MAX, l, out);
    for (uint32_t r = 0; w->in->region_of_client && r < w->in->regions_count; r++) {
        copy_name(l.region, w->in->region_names[r]);
        measure_group(all, count, f, (uint8_t)r, l, out);
    }
}

static void measure_latency(const struct work *w, struct measured *out) {
    const struct history *h = w->in->history;
    struct timed *all = xmalloc((h->count + (size_t)1) * sizeof *all);
    uint16_t last = 0;
    size_t count = 0;
    for (uint32_t op = 0; op < h->count; op++) {
        if (!committed(w->in, op)) continue;
        const uint8_t *region = w->in->region_of_client;
        struct timed t = {h->complete_ns[op] - h->intended_ns[op], h->f[op],
                          region ? region[h->process[op] % w->in->clients] : MEASURE_REGIONS_MAX};
        all[count++] = t;
        out->buckets[latency_bucket(t.latency_ns)]++;
        if (t.f > last) last = t.f;
    }
    qsort(all, count, sizeof *all, by_latency);
    measure_kind(w, all, count, FUNCTION_NONE, "", out);
    for (uint32_t f = 0; f <= last && count; f++)
        if (f < OP_CUSTOM || f - OP_CUSTOM < h->custom_count)
            measure_kind(w, all, count, (uint16_t)f, history_function_name(h, (uint16_t)f), out);
    free(all);
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

/* A candidate that tells of itself again, in a later term or after a vote before the vote, is in the same election. */
static void measure_elections(const struct measure_input *in, struct measured *out) {
    const struct history *h = in->history;
    uint32_t elections = 0, leaders = 0;
    uint8_t role_of[UINT8_MAX + 1] = {ROLE_FOLLOWER};
    bool any = false;
    for (uint32_t i = 0; i < h->samples_count; i++) {
        const struct sample *s = &h->samples[i];
        if (s->time_ns >= in->main_ns) continue;
        if (s->kind == SAMPLE_NODE_DOWN || s->kind == SAMPLE_NODE_UP) role_of[s->node] = ROLE_FOLLOWER;
        if (s->kind != SAMPLE_ROLE || s->role == ROLE_PEER) continue;
        any = true;
        elections += s->role == ROLE_CANDIDATE && role_of[s->node] != ROLE_CANDIDATE;
        leaders += s->role == ROLE_LEADER && role_of[s->node] != ROLE_LEADER;
        role_of[s->node] = s->role;
    }
    if (!any) return;
    out->values[MEASURE_ELECTIONS] = elections;
    out->values[MEASURE_LEADERS] = leaders;
}

static void measure_replacement(const struct measure_input *in, struct measured *out) {
    const struct history *h = in->history;
    double *times_ms = xmalloc((h->faults_count + (size_t)1) * sizeof *times_ms);
    uint32_t count = 0;
    for (uint32_t i = 0; i < h->faults_count; i++) {
        uint64_t start_ns = h->faults[i].start_ns, end_ns = in->main_ns;
        for (uint32_t n = 0; n < h->faults_count; n++)
            if (h->faults[n].start_ns > start_ns && h->faults[n].start_ns < end_ns) end_ns = h->faults[n].start_ns;
        for (uint32_t s = 0; s < h->samples_count; s++) {
            const struct sample *sample = &h->samples[s];
            if (sample->kind != SAMPLE_ROLE || sample->role != ROLE_LEADER || sample->time_ns < start_ns) continue;
            if (sample->time_ns < end_ns) times_ms[count++] = (double)(sample->time_ns - start_ns) / (double)NS_PER_MS;
            break;
        }
    }
    middle_and_max(times_ms, count, &out->values[MEASURE_REPLACED_MEDIAN], &out->values[MEASURE_REPLACED_MAX]);
    free(times_ms);
}

static void measure_costs(const struct measure_input *in, struct measured *out) {
    static const enum measure measures[] = {MEASURE_MESSAGES, MEASURE_BYTES, MEASURE_SYNCS, MEASURE_CPU};
    const uint64_t sums[] = {in->messages, in->message_bytes, in->syncs, in->cpu_ns};
    for (size_t i = 0; i < sizeof sums / sizeof *sums && out->committed; i++)
        if (sums[i] != UINT64_MAX) out->values[measures[i]] = (double)sums[i] / (double)out->committed;
    out->values[MEASURE_CPU] /= (double)NS_PER_US;
    uint64_t commands = in->fast_commits + in->slow_commits;
    if (commands && in->fast_commits)
        out->values[MEASURE_FAST_PATH] = 100.0 * (double)in->fast_commits / (double)commands;
}

static void measure_throughput(const struct work *w, struct measured *out) {
    if (w->in->main_ns == 0) return;
    out->values[MEASURE_THROUGHPUT] = (double)w->ends_count / seconds(w->in->main_ns);
    out->bin_ns = nice_step(w->in->main_ns, MEASURE_BINS_MAX);
    out->bins_count = (uint32_t)((w->in->main_ns - 1) / out->bin_ns + 1);
    for (size_t i = 0; i < w->ends_count; i++) out->bins[w->ends_ns[i] / out->bin_ns]++;
}

void measure_run(const struct measure_input *in, struct measured *out) {
    struct work w = {.in = in};
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < MEASURES; i++) out->values[i] = NAN;
    out->main_ns = in->main_ns;
    collect(&w);
    out->committed = w.ends_count;
    measure_throughput(&w, out);
    measure_availability(&w, out);
    measure_rate(&w);
    measure_recovery(&w, out);
    measure_latency(&w, out);
    measure_costs(in, out);
    measure_elections(in, out);
    measure_replacement(in, out);
    free(w.moments);
    free(w.ends_ns);
    free(w.successes);
    free(w.wanted);
}

/* --- over runs ---------------------------------------------------------------------------------------------------- */

/* Between the neighbours of rank (count - 1) * share: Hyndman and Fan (The American Statistician, 1996), definition
 * 7. */
static double quantile_of(const double *sorted, uint32_t count, double share) {
    double at = share * (count - 1);
    uint32_t below = (uint32_t)at;
    if (below + 1 >= count) return sorted[count - 1];
    return sorted[below] + (at - below) * (sorted[below + 1] - sorted[below]);
}

struct spread spread_of(double *values, uint32_t count) {
    if (count == 0) return (struct spread){0};
    qsort(values, count, sizeof *values, by_value);
    return (struct spread){.count = count,
                           .min = values[0],
                           .q1 = quantile_of(values, count, 0.25),
                           .median = quantile_of(values, count, 0.5),
                           .q3 = quantile_of(values, count, 0.75),
                           .max = values[count - 1]};
}
