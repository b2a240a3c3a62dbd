/* check_linearizable: every key in turn, smallest first, each through a list of deciders. A key that needs more than
 * its share of the budget is put off until the others are done, so that one hard key hides no violation on another. */
#include "checkers/evidence_internal.h"

#include <stdlib.h>

#include "base/clock.h"

/* --- deciders ----------------------------------------------------------------------------------------------------- */

/* A decider says valid or invalid where it is sure and leaves the rest to the next. It must respect the budget. */
struct decider {
    const char *name;
    enum decision (*decide)(struct search *s, struct partition *p, struct budget *b);
};

/* Nothing was observed, so nothing can contradict it (type errors apart). */
static enum decision decide_unobserved(struct search *s, struct partition *p, struct budget *b) {
    (void)s, (void)b;
    if (!p->sets_only && !p->grows) return p->returns_count ? UNDECIDED : DECIDED_VALID;
    for (uint32_t i = 0; i < p->returns_count; i++)
        if (p->calls[p->returns[i]].guard != GUARD_ANY) return UNDECIDED;
    return DECIDED_VALID;
}

/* What the deciders before it had no need to drop would only be tried in vain. */
static enum decision decide_by_search(struct search *s, struct partition *p, struct budget *b) {
    partition_drop_unobserved(p);
    return search_decide(s, p, b);
}

/* The last takes its time, and "sources" may end in it; the others are linear. */
static const struct decider deciders[] = {
    {"unobserved", decide_unobserved}, {"register", register_decide}, {"sources", register_sources_decide},
    {"lists", lists_decide},           {"search", decide_by_search},
};

enum decision partition_decide(struct search *s, struct partition *p, struct budget *b) {
    for (size_t i = 0; i < sizeof deciders / sizeof *deciders; i++) {
        enum decision decision = deciders[i].decide(s, p, b);
        if (decision != UNDECIDED || b->state != BUDGET_LEFT) return decision;
    }
    return UNDECIDED;
}

/* --- the check ---------------------------------------------------------------------------------------------------- */

struct linearizability {
    const struct history *h;
    const struct model *model;
    struct check_result *out;
    struct budget budget;
    struct search *search;
    struct groups groups;
    struct values values;
    struct partition partition;
    struct scan_finding found; /* the partition has but its operations, if it has any */
    uint32_t valid_count;
    uint32_t bad_op; /* first operation that the model does not know; NONE */
    const char *bad_why;
    bool verdict_only;
    /* The first key that stayed undecided, and how far it came. */
    uint32_t undecided_count, undecided_group, undecided_calls, undecided_progress;
    enum budget_state undecided_state;
};

/* Explaining may take a while, but a verdict must not wait for it longer than the whole check may. */
static void explain(struct linearizability *l) {
    if (l->verdict_only) {
        result_set(l->out, VERDICT_INVALID, "no order of its operations agrees with a %s", l->model->name);
        return;
    }
    struct budget b = budget_to_explain(&l->budget);
    struct counterexample ce;
    counterexample_find(&ce, l->search, &l->partition, &b);
    struct extent whole = l->found.ops ? l->found.whole : counterexample_extent(&ce, &l->partition);
    counterexample_explain(&ce, &l->partition, &whole, l->model, l->out);
    counterexample_free(&ce);
}

/* UNDECIDED also where the model does not know an operation; that is noted apart. */
static enum decision decide_ops(struct linearizability *l, uint32_t key, const uint32_t *ops, uint32_t count,
                                struct budget *b) {
    uint32_t bad_op;
    const char *why;
    l->partition.count = l->partition.returns_count = 0;
    if (!budget_claim(b, count * PARTITION_BYTES_PER_OP)) return UNDECIDED;
    enum decision decision = UNDECIDED;
    if (partition_make(&l->partition, l->model, l->h, key, ops, count, b, &bad_op, &why)) {
        decision = partition_decide(l->search, &l->partition, b);
    } else if (why && (l->bad_op == NONE || bad_op < l->bad_op)) {
        l->bad_op = bad_op;
        l->bad_why = why;
    }
    budget_release(b, count * PARTITION_BYTES_PER_OP);
    return decision;
}

static enum decision decide_group(struct linearizability *l, uint32_t g, struct budget *b) {
    uint32_t begin = l->groups.first[g], count = l->groups.first[g + 1] - begin;
    return decide_ops(l, l->groups.key[g], l->groups.ops + begin, count, b);
}

static void tell_valid(struct linearizability *l, uint32_t keys) {
    uint32_t count = l->h->count;
    result_set(l->out, VERDICT_VALID, "%u operation%s on %u key%s", count, count == 1 ? "" : "s", keys,
               keys == 1 ? "" : "s");
}

static void note_undecided(struct linearizability *l, uint32_t g, enum budget_state state, bool tried) {
    if (l->undecided_count++) return;
    l->undecided_group = g;
    l->undecided_calls = tried ? l->partition.returns_count : 0;
    l->undecided_progress = l->undecided_calls ? search_progress(l->search) : 0;
    l->undecided_state = state;
}

/* Decides the given groups, each within limit_ns (or, if zero, within an equal share of what is left). Those that would
 * gain from more time are moved to the front of the list; returns how many, or NONE once one is invalid. */
static uint32_t decide_groups(struct linearizability *l, uint32_t *list, uint32_t count, uint64_t limit_ns) {
    uint32_t again = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t now = monotonic_ns(), left = l->budget.deadline_ns > now ? l->budget.deadline_ns - now : 0;
        struct budget share = budget_share(&l->budget, limit_ns ? limit_ns : left / (count - i));
        bool tried = left > 0;
        enum decision decision = tried ? decide_group(l, list[i], &share) : UNDECIDED;
        if (decision == DECIDED_VALID) l->valid_count++;
        if (decision == DECIDED_INVALID) {
            explain(l);
            return NONE;
        }
        if (decision != UNDECIDED || share.state == BUDGET_LEFT) continue;
        if (share.state == BUDGET_TIME_SPENT && limit_ns) {
            list[again++] = list[i];
        } else {
            note_undecided(l, list[i], share.state, tried);
        }
    }
    return again;
}

#define SCAN_OPS_MIN 4096u /* below, there is nothing to save */

/* True if the scan told. */
static bool decide_by_scan(struct linearizability *l) {
    if (l->h->count < SCAN_OPS_MIN) return false;
    struct scan_finding *f = &l->found;
    enum decision decision = register_scan(l->model, l->h, &l->budget, f);
    if (decision == DECIDED_INVALID) {
        decision = decide_ops(l, f->key, f->ops, f->ops_count, &l->budget);
        if (decision == DECIDED_INVALID) explain(l);
    } else if (decision == DECIDED_VALID) {
        tell_valid(l, f->keys);
    }
    free(f->ops);
    f->ops = NULL;
    return decision != UNDECIDED;
}

#define SHARES_OF_FIRST_ROUND 16

/* False once the verdict is set: a key is invalid, or there was no room to begin. */
static bool decide_all(struct linearizability *l) {
    struct budget *b = &l->budget;
    uint32_t count = 0;
    if (!groups_make(&l->groups, l->h, b) || !budget_claim(b, (count = l->groups.count) * sizeof(uint32_t))) {
        budget_tell(b, l->out);
        return false;
    }
    uint32_t *list = xmalloc(count * sizeof *list);
    for (uint32_t g = 0; g < count; g++) list[g] = g;
    uint64_t whole_ns = l->budget.deadline_ns - l->budget.start_ns;
    if (count > 1) count = decide_groups(l, list, count, whole_ns / SHARES_OF_FIRST_ROUND + 1);
    if (count != NONE) count = decide_groups(l, list, count, 0);
    free(list);
    return count != NONE;
}

static void conclude(struct linearizability *l) {
    const struct history *h = l->h;
    struct buffer key = {0}, spent = {0}, function = {0};
    if (l->undecided_count) {
        print_key(h, l->groups.key[l->undecided_group], &key);
        print_duration(monotonic_ns() - l->budget.start_ns, &spent);
        result_set(l->out, VERDICT_UNKNOWN,
                   "%s: the %s was spent (%s, %u MiB at most) when %u of %u completed operations were in order; %u of "
                   "%u keys are linearizable, %u undecided",
                   buffer_text(&key), l->undecided_state == BUDGET_MEMORY_SPENT ? "memory allowed" : "time allowed",
                   buffer_text(&spent), (unsigned)(l->budget.memory_bytes_max >> 20), l->undecided_progress,
                   l->undecided_calls, l->valid_count, l->groups.count, l->undecided_count);
    } else if (l->bad_op != NONE) {
        print_function(h, l->bad_op, &function);
        result_set(l->out, VERDICT_UNKNOWN, "bad history for the model \"%s\": operation %u, a %s, %s", l->model->name,
                   l->bad_op, buffer_text(&function), l->bad_why);
        result_ops(l->out, &l->bad_op, 1);
    } else {
        tell_valid(l, l->groups.count);
    }
    buffer_free(&key);
    buffer_free(&spent);
    buffer_free(&function);
}

static void judge(const void *model, const struct history *h, const struct check_options *o, struct check_result *out) {
    const struct model *m = model;
    result_start(out, "linearizable");
    if (!history_trusted(h, out)) return;
    struct linearizability l = {.h = h, .model = m, .out = out, .budget = budget_of(o), .bad_op = NONE};
    l.verdict_only = o && o->verdict_only;
    l.partition.values = &l.values;
    l.search = search_new();
    if (!decide_by_scan(&l) && decide_all(&l)) conclude(&l);
    groups_free(&l.groups);
    partition_free(&l.partition);
    values_free(&l.values);
    search_free(l.search);
}

void check_linearizable(const struct history *h, const struct model *m, const struct check_options *o,
                        struct check_result *out) {
    const struct evidence e = {.check = judge, .what = m, .object = m->name, .model = m};
    check_with_evidence(h, &e, o, out);
}
