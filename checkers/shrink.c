/* From a partition that is not linearizable to a small one that is not either, such that the small one proves the large
 * one wrong: only steps that no linearizable history could be harmed by.
 *
 * - A prefix: linearizability is prefix-closed (Herlihy and Wing 1990, section 3.3); open calls become optional.
 * - Without reads: they change nothing.
 * - Without a set whose value nobody left observes: what follows it in a linearization is a blind write.
 * - Without a set that was surely replaced before anybody left could observe it. But one set of the value stays in
 *   front of each observer, lest the small one look wrong merely because something is missing.
 * - A cas as a mere write: it demands less.
 *
 * The order of removal is delta debugging's (Zeller and Hildebrandt 2002): halves, quarters, ... single calls, from the
 * oldest on, so that what stays is the youngest evidence. */
#include "checkers/internal.h"

#include <stdlib.h>

#include "base/clock.h"

#define TRIAL_SHARE 4 /* no single trial takes more than this part of the time left */
#define COULD_BE_CALLS_MAX 64

static enum decision trial(struct search *s, struct partition *p, struct budget *b) {
    uint64_t now = monotonic_ns();
    if (now >= b->deadline_ns) return UNDECIDED;
    struct budget share = budget_share(b, (b->deadline_ns - now) / TRIAL_SHARE + 1);
    return partition_decide(s, p, &share);
}

static void swap(struct partition *a, struct partition *b) {
    struct partition held = *a;
    *a = *b;
    *b = held;
}

/* What is known about prefixes, by their number of returns: the longest that is linearizable (or could not be decided
 * in time) and the shortest that is not, which is in ce->least. */
struct prefixes {
    uint32_t valid, invalid;
};

/* Decides one prefix between the two. */
static void try_prefix(struct prefixes *x, uint32_t count, struct counterexample *ce, struct search *s,
                       const struct partition *p, struct partition *scratch, struct budget *b) {
    if (count <= x->valid || count >= x->invalid) return;
    partition_prefix(p, count, scratch);
    enum decision decision = trial(s, scratch, b);
    if (decision == DECIDED_INVALID) {
        x->invalid = count;
        swap(&ce->least, scratch);
    } else {
        x->valid = count;
        ce->prefix_exact &= decision == DECIDED_VALID;
    }
}

/* Looks for the shortest prefix that is not linearizable: near the return that the search could not get past, first
 * upwards, then downwards in growing steps, then by halves. */
static void find_prefix(struct counterexample *ce, struct search *s, const struct partition *p,
                        struct partition *scratch, struct budget *b) {
    struct prefixes x = {.valid = 0, .invalid = p->returns_count};
    uint32_t guess = search_progress(s) + 1;
    ce->prefix_exact = true;
    partition_prefix(p, x.invalid, &ce->least);
    for (uint64_t step = 1; guess < x.invalid; guess = step < x.invalid ? guess + (uint32_t)step : x.invalid, step *= 4)
        try_prefix(&x, guess, ce, s, p, scratch, b);
    for (uint64_t step = 1; step < x.invalid - x.valid; step *= 4)
        try_prefix(&x, x.invalid - (uint32_t)step, ce, s, p, scratch, b);
    while (x.invalid - x.valid > 1) try_prefix(&x, x.valid + (x.invalid - x.valid) / 2, ce, s, p, scratch, b);
}

/* --- which calls may go ------------------------------------------------------------------------------------------- */

/* For a position in the order of calls: the earliest return among the ok sets from there on, and the earliest among
 * those of any other value than that one's. */
struct replaced {
    uint32_t first, first_value, other;
};

struct shrink {
    struct counterexample *ce;
    struct search *search;
    struct budget *budget;
    struct partition scratch;
    const struct partition *whole;
    struct replaced *replaced; /* by call of the whole, and one beyond */
    uint8_t *keep;
    /* Observers left in a trial, by value: in order of invocation, with the latest return up to each. */
    uint32_t *begin, *invoked, *returned_max;
    uint32_t *next_set; /* by call: the next that sets the same value; NONE */
};

static void find_replaced(struct shrink *k) {
    const struct partition *p = k->whole;
    struct replaced at = {NONE, NONE, NONE};
    k->replaced = xmalloc(((size_t)p->count + 1) * sizeof *k->replaced);
    k->replaced[p->count] = at;
    for (uint32_t c = p->count; c-- > 0; k->replaced[c] = at) {
        const struct call *call = &p->calls[c];
        if (call->effect != EFFECT_SET || call->optional) continue;
        if (call->value == at.first_value) {
            at.first = call->returned < at.first ? call->returned : at.first;
        } else if (call->returned < at.first) {
            at = (struct replaced){call->returned, call->value, at.first};
        } else if (call->returned < at.other) {
            at.other = call->returned;
        }
    }
}

/* By when a set, once it has returned, was surely replaced by one of another value; NONE if never. */
static uint32_t replaced_by(const struct shrink *k, const struct call *set) {
    uint32_t low = 0, high = k->whole->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (k->whole->calls[middle].invoked < set->returned) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const struct replaced *r = &k->replaced[low];
    return r->first_value == set->value ? r->other : r->first;
}

/* Lists the observers among the calls that are kept. */
static void list_observers(struct shrink *k, const struct partition *p) {
    uint32_t values = p->values->count;
    memset(k->begin, 0, ((size_t)values + 1) * sizeof *k->begin);
    for (uint32_t c = 0; c < p->count; c++)
        if (k->keep[c] && p->calls[c].guard != GUARD_ANY) k->begin[p->calls[c].guard + 1]++;
    for (uint32_t v = 0; v < values; v++) k->begin[v + 1] += k->begin[v];
    for (uint32_t c = 0; c < p->count; c++) {
        const struct call *call = &p->calls[c];
        if (!k->keep[c] || call->guard == GUARD_ANY) continue;
        uint32_t at = k->begin[call->guard]++;
        k->invoked[at] = call->invoked;
        k->returned_max[at] = call->returned;
    }
    for (uint32_t v = values; v > 0; v--) k->begin[v] = k->begin[v - 1]; /* the filling moved each start to its end */
    k->begin[0] = 0;
    for (uint32_t v = 0; v < values; v++)
        for (uint32_t i = k->begin[v] + 1; i < k->begin[v + 1]; i++)
            if (k->returned_max[i] < k->returned_max[i - 1]) k->returned_max[i] = k->returned_max[i - 1];
}

static void link_sets(struct shrink *k, const struct partition *p) {
    uint32_t *seen = k->begin; /* free until the observers are listed */
    memset(seen, 0xff, p->values->count * sizeof *seen);
    for (uint32_t c = p->count; c-- > 0;) {
        const struct call *call = &p->calls[c];
        if (call->effect != EFFECT_SET) continue;
        k->next_set[c] = seen[call->value];
        if (call->guard == GUARD_ANY || !call->optional) seen[call->value] = c;
    }
}

/* Can none of the observers listed have observed this set, and does another stand nearer to those that come later? */
static bool is_unobserved(const struct shrink *k, const struct partition *p, uint32_t c) {
    const struct call *set = &p->calls[c];
    uint32_t low = k->begin[set->value], first = low, high = k->begin[set->value + 1], end = high;
    if (low == high) return true;
    if (set->optional) return false;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (k->invoked[middle] < set->returned) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low > first && k->returned_max[low - 1] > set->invoked) return false; /* one overlaps it */
    if (low == end) return true;
    bool nearer = k->next_set[c] != NONE && p->calls[k->next_set[c]].invoked < k->invoked[low];
    return nearer && replaced_by(k, set) < k->invoked[low];
}

/* Clears keep for what may go from [begin, end), except `last`; returns how many. */
static uint32_t mark_removable(struct shrink *k, const struct partition *p, uint32_t begin, uint32_t end,
                               uint32_t last) {
    uint32_t removed = 0;
    memset(k->keep, 1, p->count);
    for (uint32_t c = begin; c < end; c++) {
        if (p->calls[c].effect != EFFECT_NONE || c == last) continue;
        k->keep[c] = 0;
        removed++;
    }
    if (!p->sets_only) return removed;
    link_sets(k, p);
    list_observers(k, p);
    for (uint32_t c = begin; c < end; c++) {
        if (p->calls[c].effect != EFFECT_SET || c == last || !is_unobserved(k, p, c)) continue;
        k->keep[c] = 0;
        removed++;
    }
    return removed;
}

/* --- removing ----------------------------------------------------------------------------------------------------- */

static uint32_t last_to_return(const struct partition *p) {
    return p->returns[p->returns_count - 1];
}

/* One pass with chunks of a size; tells whether anything went. */
static bool shrink_pass(struct shrink *k, uint32_t chunk) {
    struct partition *least = &k->ce->least;
    bool any = false;
    for (uint32_t begin = 0; begin < least->count && !budget_spent_now(k->budget);) {
        uint32_t end = least->count - begin > chunk ? begin + chunk : least->count;
        if (mark_removable(k, least, begin, end, last_to_return(least))) {
            partition_subset(least, k->keep, &k->scratch);
            if (trial(k->search, &k->scratch, k->budget) == DECIDED_INVALID) {
                swap(least, &k->scratch);
                any = true;
                continue;
            }
        }
        begin = end;
    }
    return any;
}

static void remove_calls(struct shrink *k) {
    const struct partition *least = &k->ce->least;
    k->keep = xmalloc(least->count);
    k->begin = xmalloc(((size_t)least->values->count + 1) * sizeof *k->begin);
    k->invoked = xmalloc(3 * (size_t)least->count * sizeof *k->invoked);
    k->returned_max = k->invoked + least->count;
    k->next_set = k->returned_max + least->count;
    find_replaced(k);
    for (uint32_t chunk = least->count / 2 + 1; chunk > 0; chunk /= 2) {
        bool any = shrink_pass(k, chunk);
        if (chunk == 1 && any) chunk = 2; /* what went may have freed others */
    }
    free(k->keep);
    free(k->begin);
    free(k->invoked);
    free(k->replaced);
}

/* --- evidence of the decider for registers ------------------------------------------------------------------------ */

/* What is left without a call, or, if `whole` is not set, without its guard. Calls whose value others observe stay. */
static bool leave_out(const struct partition *least, uint32_t c, bool whole, struct partition *into) {
    const struct call *call = &least->calls[c];
    if (!whole && (call->effect == EFFECT_NONE || call->guard == GUARD_ANY)) return false;
    uint64_t *items = xmalloc(least->count * sizeof *items);
    uint32_t count = 0;
    bool observed = false;
    for (uint32_t i = 0; i < least->count; i++) {
        observed |= whole && i != c && call->effect == EFFECT_SET && least->calls[i].guard == call->value;
        if (i != c || !whole) items[count++] = (uint64_t)i << 1 | (i != c);
    }
    if (!observed) partition_pick(least, items, count, NONE - 1, into);
    free(items);
    return !observed;
}

/* Few calls from the beginning, or none: then false. */
static bool take_evidence(struct counterexample *ce, struct search *s, const struct partition *p,
                          struct partition *scratch, struct budget *b) {
    struct partition *least = &ce->least;
    if (!register_evidence(s, p, least) || register_decide(s, least, b) != DECIDED_INVALID) return false;
    for (bool again = true; again;) {
        again = false;
        for (uint32_t i = 0; i < 2 * least->count && !budget_spent_now(b); i++) {
            bool whole = i < least->count;
            if (!leave_out(least, whole ? i : i - least->count, whole, scratch)) continue;
            if (register_decide(s, scratch, b) != DECIDED_INVALID) continue;
            swap(least, scratch);
            again = true;
        }
    }
    return true;
}

/* Which values could the last call have seen, given the others? Asked by putting a read of each in its place. */
static void find_could_be(struct counterexample *ce, struct search *s, struct partition *scratch, struct budget *b) {
    const struct partition *p = &ce->least;
    uint32_t guard = p->calls[ce->last].guard;
    if (!p->sets_only || p->count > COULD_BE_CALLS_MAX || guard == GUARD_ANY) return;
    ce->could_be = xmalloc((p->count + 1) * sizeof *ce->could_be);
    ce->could_be_known = true;
    for (uint32_t i = 0; i <= p->count; i++) {
        if (i < p->count && p->calls[i].effect != EFFECT_SET) continue;
        if (i == ce->last) continue;
        uint32_t value = i < p->count ? p->calls[i].value : p->initial;
        bool seen = false;
        for (uint32_t k = 0; k < ce->could_be_count; k++) seen |= ce->could_be[k] == value;
        if (seen) continue;
        partition_read_instead(p, ce->last, value, scratch);
        enum decision decision = trial(s, scratch, b);
        if (decision == DECIDED_VALID) ce->could_be[ce->could_be_count++] = value;
        /* A cas may find the right value and yet stand in the way of others. */
        ce->could_be_known &= decision == DECIDED_INVALID || (decision == DECIDED_VALID && value != guard);
    }
}

void counterexample_find(struct counterexample *ce, struct search *s, const struct partition *p, struct budget *b) {
    *ce = (struct counterexample){0};
    struct shrink k = {.ce = ce, .search = s, .budget = b, .whole = p};
    if (take_evidence(ce, s, p, &k.scratch, b)) {
        ce->prefix_exact = true;
    } else {
        find_prefix(ce, s, p, &k.scratch, b);
        remove_calls(&k);
    }
    ce->last = last_to_return(&ce->least);
    find_could_be(ce, s, &k.scratch, b);
    partition_free(&k.scratch);
}

void counterexample_free(struct counterexample *ce) {
    partition_free(&ce->least);
    free(ce->could_be);
}
