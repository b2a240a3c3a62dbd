/* From a partition that is not linearizable to a small one that is not either, such that the small one proves the large
 * one wrong: only steps that no linearizable history could be harmed by.
 *
 * - A prefix: linearizability is prefix-closed (Herlihy and Wing 1990, section 3.3); open calls become optional.
 * - Without reads: they change nothing.
 * - Without a set whose value nobody left observes: what follows it in a linearization is a blind write.
 *
 * The order of removal is delta debugging's (Zeller and Hildebrandt 2002): halves, quarters, ... single calls, from the
 * oldest on, so that what stays is the youngest evidence. */
#include "checkers/internal.h"

#include <stdlib.h>

#define TRIAL_SHARE 8        /* no single trial takes more than this part of the time left */
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

/* Puts the shortest prefix that is not linearizable into ce->least. */
static void find_prefix(struct counterexample *ce, struct search *s, const struct partition *p,
                        struct partition *scratch, struct budget *b) {
    uint32_t valid = 0, invalid = p->returns_count;
    ce->prefix_exact = true;
    partition_prefix(p, invalid, &ce->least);
    while (invalid - valid > 1) {
        uint32_t middle = valid + (invalid - valid) / 2;
        partition_prefix(p, middle, scratch);
        enum decision decision = trial(s, scratch, b);
        if (decision == DECIDED_INVALID) {
            invalid = middle;
            swap(&ce->least, scratch);
        } else {
            valid = middle;
            ce->prefix_exact &= decision == DECIDED_VALID;
        }
    }
}

/* Clears keep for what may go from [begin, end), except `last`; returns how many. */
static uint32_t mark_removable(const struct partition *p, uint32_t begin, uint32_t end, uint32_t last,
                               uint32_t *observers, uint8_t *keep) {
    uint32_t removed = 0;
    memset(keep, 1, p->count);
    for (uint32_t c = 0; c < p->count; c++) {
        const struct call *call = &p->calls[c];
        bool goes = call->effect == EFFECT_NONE && c >= begin && c < end && c != last;
        keep[c] = !goes;
        removed += goes;
        if (!goes && call->guard != GUARD_ANY) observers[call->guard]++;
    }
    for (uint32_t c = end; p->sets_only && c-- > begin;) {
        const struct call *call = &p->calls[c];
        if (call->effect != EFFECT_SET || c == last || observers[call->value]) continue;
        keep[c] = 0;
        removed++;
        if (call->guard != GUARD_ANY) observers[call->guard]--;
    }
    for (uint32_t c = 0; c < p->count; c++)
        if (p->calls[c].guard != GUARD_ANY) observers[p->calls[c].guard] = 0;
    return removed;
}

static uint32_t last_to_return(const struct partition *p) {
    return p->returns[p->returns_count - 1];
}

/* One pass with chunks of a size; tells whether anything went. */
static bool shrink_pass(struct counterexample *ce, struct search *s, uint32_t chunk, struct partition *scratch,
                        uint32_t *observers, uint8_t *keep, struct budget *b) {
    bool any = false;
    for (uint32_t begin = 0; begin < ce->least.count && !budget_spent_now(b);) {
        uint32_t end = ce->least.count - begin > chunk ? begin + chunk : ce->least.count;
        uint32_t last = last_to_return(&ce->least);
        if (mark_removable(&ce->least, begin, end, last, observers, keep)) {
            partition_subset(&ce->least, keep, scratch);
            if (trial(s, scratch, b) == DECIDED_INVALID) {
                swap(&ce->least, scratch);
                any = true;
                continue;
            }
        }
        begin = end;
    }
    return any;
}

static void remove_calls(struct counterexample *ce, struct search *s, struct partition *scratch, struct budget *b) {
    uint32_t *observers = xcalloc(ce->least.values->count, sizeof *observers);
    uint8_t *keep = xmalloc(ce->least.count);
    for (uint32_t chunk = ce->least.count / 2 + 1; chunk > 0; chunk /= 2) {
        bool any = shrink_pass(ce, s, chunk, scratch, observers, keep, b);
        if (chunk == 1 && any) chunk = 2; /* what went may have freed others */
    }
    free(observers);
    free(keep);
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
    struct partition scratch = {0};
    find_prefix(ce, s, p, &scratch, b);
    ce->prefix_calls = ce->least.count;
    remove_calls(ce, s, &scratch, b);
    ce->last = last_to_return(&ce->least);
    find_could_be(ce, s, &scratch, b);
    partition_free(&scratch);
}

void counterexample_free(struct counterexample *ce) {
    partition_free(&ce->least);
    free(ce->could_be);
}
