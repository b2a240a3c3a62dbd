/* Makes a failing run smaller: shorter, with fewer kinds of faults, with fewer clients and a lower rate. A step stays
 * when the same check is still invalid. Every try is a run in a process of its own, so that a crash is only a "no". */
#include "harness/cli/cli.h"

#include <stdlib.h>

#include "base/clock.h"

#define TRIES_MAX 40u
#define WALL_MAX_NS (20 * NS_PER_S)
#define TIME_STEP_NS (NS_PER_S / 10)
#define SEEDS_PER_CHANGE 4u /* a changed workload is another schedule: some other seeds are worth a try */

/* Parameters that make a run smaller when they are: every scenario knows clients, the others may declare them. */
static const char *const sizes[] = {"clients", "rate", "keys"};

struct search {
    const char *check; /* the one that must stay invalid */
    struct shrunk *best;
    uint64_t deadline_wall_ns;
    const struct run_options *candidate;
    struct pool_report report; /* of the last try */
    bool reported;
};

static void work(void *ctx, uint64_t index, const volatile sig_atomic_t *interrupted, struct pool_report *out) {
    (void)index;
    struct search *s = ctx;
    struct run_options o = *s->candidate;
    o.interrupted = interrupted;
    struct runner *r = runner_new();
    pool_run_scenario(r, &o, out);
    runner_free(r);
}

static void on_report(void *ctx, const struct pool_report *report) {
    struct search *s = ctx;
    s->report = *report;
    s->reported = true;
}

static bool out_of_budget(const struct search *s) {
    return s->best->runs >= TRIES_MAX || monotonic_ns() >= s->deadline_wall_ns || cli_interrupted;
}

static bool still_fails(struct search *s, const struct run_options *candidate) {
    if (out_of_budget(s)) return false;
    struct error ignored; /* a try that cannot be made is a try that did not fail */
    struct pool p = {.jobs = 1, .count = 1, .work = work, .on_report = on_report, .ctx = s};
    s->candidate = candidate;
    s->reported = false;
    s->best->runs++;
    return pool_run(&p, &ignored) == 0 && s->reported && !s->report.interrupted &&
           s->report.verdict == VERDICT_INVALID && strcmp(s->report.check, s->check) == 0;
}

static bool accept_if_fails(struct search *s, const struct run_options *candidate) {
    if (!still_fails(s, candidate)) return false;
    s->best->options = *candidate;
    s->best->smaller = true;
    return true;
}

/* What an invariant found at some moment needs no time after it. Otherwise the time is halved while that fails. */
static void shrink_time(struct search *s, uint64_t end_ns) {
    struct run_options o = s->best->options;
    uint64_t high_ns = o.time_ns ? o.time_ns : end_ns, low_ns = 0;
    if (strcmp(s->check, "invariants") == 0) {
        o.time_ns = (end_ns / TIME_STEP_NS + 1) * TIME_STEP_NS;
        if (o.time_ns < high_ns || !s->best->options.time_ns) accept_if_fails(s, &o);
        return;
    }
    for (uint32_t i = 0; i < 6 && high_ns - low_ns > NS_PER_S && !out_of_budget(s); i++) {
        o.time_ns = (low_ns + (high_ns - low_ns) / 2) / TIME_STEP_NS * TIME_STEP_NS;
        if (accept_if_fails(s, &o))
            high_ns = o.time_ns;
        else
            low_ns = o.time_ns;
    }
}

static uint64_t drop_faults(struct search *s, uint32_t kinds, uint64_t end_ns) {
    for (uint32_t kind = 0; kind < FAULT_KINDS; kind++) {
        struct run_options o = s->best->options;
        if (!(kinds & (1u << kind)) || (o.without & (1u << kind))) continue;
        o.without |= 1u << kind;
        if (accept_if_fails(s, &o)) end_ns = s->report.end_ns;
    }
    return end_ns;
}

/* The candidate with `key` set to value; the text is kept by the search's result. */
static struct run_options with_set(struct search *s, const char *key, uint64_t value) {
    struct shrunk *best = s->best;
    struct run_options o = best->options;
    char *text = xformat("%llu", (unsigned long long)value);
    best->values[best->values_count++] = text;
    size_t at = 0;
    while (at < o.sets_count && strcmp(best->sets[at].key, key) != 0) at++;
    if (at == o.sets_count) o.sets_count++;
    best->sets[at] = (struct script_set){key, text};
    return o;
}

/* Tries one value under the failing seed and a few others; what does not fail leaves the sets as they were. */
static bool try_size(struct search *s, const char *key, uint64_t value) {
    struct shrunk *best = s->best;
    if (best->values_count == 2 * SETS_MAX || best->options.sets_count == 2 * SETS_MAX) return false;
    struct script_set before[2 * SETS_MAX];
    memcpy(before, best->sets, sizeof before);
    uint64_t seed = best->options.seed;
    struct run_options o = with_set(s, key, value);
    for (uint64_t i = 0; i < SEEDS_PER_CHANGE; i++) {
        o.seed = i == 0 ? seed : i;
        if (accept_if_fails(s, &o)) return true;
    }
    memcpy(best->sets, before, sizeof before);
    return false;
}

static void shrink_sizes(struct search *s) {
    char *parameters = NULL;
    uint32_t clients = 0;
    struct error ignored;
    if (cli_source_check(&s->best->options, &parameters, &clients, &ignored)) return;
    json_t *root = json_loads(parameters, 0, NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        json_t *value = json_object_get(root, sizes[i]);
        uint64_t now = json_is_number(value) ? (uint64_t)json_number_value(value) : i == 0 ? clients : 0;
        while (now > 1 && !out_of_budget(s) && try_size(s, sizes[i], now / 2)) now /= 2;
    }
    json_decref(root);
    free(parameters);
}

void shrink(const struct run_options *o, const struct pool_report *failure, struct shrunk *out) {
    *out = (struct shrunk){.options = *o};
    memcpy(out->sets, o->sets, o->sets_count * sizeof *o->sets);
    out->options.sets = out->sets;
    out->options.store = NULL;
    struct search s = {.check = failure->check, .best = out, .deadline_wall_ns = monotonic_ns() + WALL_MAX_NS};
    shrink_time(&s, failure->end_ns);
    uint64_t end_ns = drop_faults(&s, failure->fault_kinds, failure->end_ns);
    if (end_ns < failure->end_ns) shrink_time(&s, end_ns);
    shrink_sizes(&s);
}

void shrunk_free(struct shrunk *s) {
    for (size_t i = 0; i < s->values_count; i++) free(s->values[i]);
}
