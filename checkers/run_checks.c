/* Checks about the run as such: was the system available, was there enough load, did the faults do anything, how slow
 * did it get. */
#include "checkers/internal.h"

#include <stdlib.h>

/* --- availability ------------------------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

struct availability {
    const struct history *h;
    uint64_t within_ns, end_ns;
    uint64_t *ok_ns; /* ends of ok operations, ascending, then UINT64_MAX */
    uint32_t ok_count;
    uint64_t *invoke_ns;            /* of all operations, then UINT64_MAX */
    uint64_t *start_ns, *end_ns_of; /* of the faults, ascending, each then UINT64_MAX */
    uint32_t judged;
};

static uint64_t first_at_or_after(const uint64_t *times, uint32_t count, uint64_t t) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (times[middle] < t) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return times[low];
}

static uint64_t plus(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static void availability_start(struct availability *a) {
    const struct history *h = a->h;
    a->ok_ns = xmalloc(((size_t)h->count + 1) * sizeof *a->ok_ns);
    a->invoke_ns = xmalloc(((size_t)h->count + 1) * sizeof *a->invoke_ns);
    a->start_ns = xmalloc(((size_t)h->faults_count + 1) * sizeof *a->start_ns);
    a->end_ns_of = xmalloc(((size_t)h->faults_count + 1) * sizeof *a->end_ns_of);
    for (uint32_t op = 0; op < h->count; op++) {
        a->invoke_ns[op] = h->invoke_ns[op];
        if (h->status[op] == OP_OK) a->ok_ns[a->ok_count++] = h->complete_ns[op];
    }
    for (uint32_t i = 0; i < h->faults_count; i++) {
        a->start_ns[i] = h->faults[i].start_ns;
        a->end_ns_of[i] = h->faults[i].end_ns;
    }
    qsort(a->ok_ns, a->ok_count, sizeof *a->ok_ns, by_number);
    qsort(a->start_ns, h->faults_count, sizeof *a->start_ns, by_number);
    qsort(a->end_ns_of, h->faults_count, sizeof *a->end_ns_of, by_number);
    a->ok_ns[a->ok_count] = a->invoke_ns[h->count] = UINT64_MAX;
    a->start_ns[h->faults_count] = a->end_ns_of[h->faults_count] = UINT64_MAX;
}

/* From a moment on: when was it first tried, when did it first succeed? Time without an attempt counts for nobody. */
static bool answered_in_time(struct availability *a, uint64_t from_ns, uint64_t *tried_ns, uint64_t *ok_ns) {
    *tried_ns = first_at_or_after(a->invoke_ns, a->h->count, from_ns);
    *ok_ns = first_at_or_after(a->ok_ns, a->ok_count, from_ns);
    uint64_t due_ns = plus(*tried_ns, a->within_ns);
    if (due_ns > a->end_ns && *ok_ns > a->end_ns) return true; /* the run ended first: not judged */
    a->judged++;
    return *ok_ns <= due_ns;
}

static void tell_silence(const struct availability *a, uint64_t from_ns, uint64_t tried_ns, uint64_t ok_ns,
                         const char *what, struct check_result *out) {
    struct buffer at = {0}, within = {0}, waited = {0};
    print_duration(from_ns, &at);
    print_duration(a->within_ns, &within);
    if (ok_ns == UINT64_MAX) {
        buffer_printf(&waited, "never again");
    } else {
        print_duration(ok_ns - tried_ns, &waited);
    }
    result_set(out, VERDICT_INVALID, "%s at %s: no operation succeeded within %s of the first attempt (%s%s)", what,
               buffer_text(&at), buffer_text(&within), ok_ns == UINT64_MAX ? "" : "the first took ",
               buffer_text(&waited));
    buffer_free(&at);
    buffer_free(&within);
    buffer_free(&waited);
}

/* The start of the run, and each moment at which no fault was left. A new fault that begins before the time is up, and
 * before an answer, leaves the moment unjudged. */
static bool available_after_faults(struct availability *a, struct check_result *out) {
    uint32_t faults = a->h->faults_count, started = 0;
    for (uint32_t ended = 0; ended <= faults; ended++) {
        uint64_t from_ns = ended ? a->end_ns_of[ended - 1] : 0, tried_ns, ok_ns;
        if (from_ns >= a->end_ns) break;
        while (started < faults && a->start_ns[started] < from_ns) started++;
        if (started > ended || (ended < faults && a->end_ns_of[ended] == from_ns)) continue;
        uint64_t next_fault_ns = first_at_or_after(a->start_ns, faults, from_ns);
        uint64_t due_ns = plus(first_at_or_after(a->invoke_ns, a->h->count, from_ns), a->within_ns);
        if (next_fault_ns <= due_ns && first_at_or_after(a->ok_ns, a->ok_count, from_ns) > next_fault_ns) continue;
        if (answered_in_time(a, from_ns, &tried_ns, &ok_ns)) continue;
        tell_silence(a, from_ns, tried_ns, ok_ns, ended ? "after the last fault ended" : "from the start", out);
        return false;
    }
    return true;
}

static bool available_throughout(struct availability *a, struct check_result *out) {
    for (uint32_t i = 0; i <= a->ok_count; i++) {
        uint64_t from_ns = i ? plus(a->ok_ns[i - 1], 1) : 0, tried_ns, ok_ns;
        if (from_ns > a->end_ns || answered_in_time(a, from_ns, &tried_ns, &ok_ns)) continue;
        tell_silence(a, from_ns, tried_ns, ok_ns, "during the run", out);
        return false;
    }
    return true;
}

void check_available(const struct history *h, uint64_t within_ns, bool during, uint64_t end_ns,
                     struct check_result *out) {
    result_start(out, "available");
    if (!history_trusted(h, out)) return;
    struct availability a = {.h = h, .within_ns = within_ns, .end_ns = end_ns};
    availability_start(&a);
    bool available = available_after_faults(&a, out) && (!during || available_throughout(&a, out));
    if (available && a.judged == 0) {
        result_set(out, VERDICT_UNKNOWN,
                   "at no time was there a long enough stretch with attempts and without a new fault to judge");
    } else if (available) {
        result_set(out, VERDICT_VALID, "%u of %u operations succeeded, always in time (judged at %u moments)",
                   a.ok_count, h->count, a.judged);
    }
    free(a.ok_ns);
    free(a.invoke_ns);
    free(a.start_ns);
    free(a.end_ns_of);
}

/* --- load --------------------------------------------------------------------------------------------------------- */

void check_load(const struct history *h, uint32_t min_ok, struct check_result *out) {
    result_start(out, "load");
    uint32_t ok = 0;
    for (uint32_t op = 0; op < h->count; op++) ok += h->status[op] == OP_OK;
    if (ok < min_ok) {
        result_set(out, VERDICT_UNKNOWN, "only %u of %u operations succeeded; at least %u are needed to mean something",
                   ok, h->count, min_ok);
    } else {
        result_set(out, VERDICT_VALID, "%u of %u operations succeeded", ok, h->count);
    }
}

/* --- faults ------------------------------------------------------------------------------------------------------- */

struct fault_kind {
    uint32_t name, times;
    bool effective;
};

static uint32_t collect_kinds(const struct history *h, struct fault_kind *kinds) {
    uint32_t count = 0;
    struct map64 index = {0};
    for (uint32_t i = 0; i < h->faults_count; i++) {
        bool inserted = false;
        uint64_t *at = map64_put(&index, h->faults[i].name, &inserted);
        if (inserted) {
            *at = count;
            kinds[count++] = (struct fault_kind){.name = h->faults[i].name};
        }
        kinds[*at].times++;
        kinds[*at].effective |= h->faults[i].affected > 0;
    }
    map64_free(&index);
    return count;
}

void check_faults(const struct history *h, struct check_result *out) {
    result_start(out, "faults");
    struct fault_kind *kinds = xmalloc(h->faults_count * sizeof *kinds);
    uint32_t count = collect_kinds(h, kinds), idle = 0;
    struct buffer names = {0};
    for (uint32_t i = 0; i < count; i++) {
        if (kinds[i].effective) continue;
        buffer_printf(&names, "%s", idle++ ? ", " : "");
        print_text(h, kinds[i].name, &names);
        buffer_printf(&names, " (started %u time%s)", kinds[i].times, kinds[i].times == 1 ? "" : "s");
    }
    if (idle) {
        result_set(out, VERDICT_UNKNOWN, "without any measurable effect: %s", buffer_text(&names));
    } else if (count == 0) {
        result_set(out, VERDICT_VALID, "no faults were asked for");
    } else {
        result_set(out, VERDICT_VALID, "%u faults of %u kind%s, each kind with an effect", h->faults_count, count,
                   count == 1 ? "" : "s");
    }
    buffer_free(&names);
    free(kinds);
}

/* --- latency ------------------------------------------------------------------------------------------------------ */

void check_latency(const struct history *h, uint64_t p99_limit_ns, struct check_result *out) {
    result_start(out, "latency");
    struct quantiles q = history_latency(h, UINT16_MAX);
    if (q.count == 0) {
        result_set(out, VERDICT_UNKNOWN, "no operation succeeded, so there is no latency");
        return;
    }
    struct buffer p99 = {0}, limit = {0};
    print_duration(q.p99_ns, &p99);
    print_duration(p99_limit_ns, &limit);
    bool good = q.p99_ns <= p99_limit_ns;
    result_set(out, good ? VERDICT_VALID : VERDICT_INVALID, "p99 %s %s %s", buffer_text(&p99),
               good ? "is within" : "exceeds", buffer_text(&limit));
    buffer_free(&p99);
    buffer_free(&limit);
}
