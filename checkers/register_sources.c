/* Registers whose values are written again and again: which of the sets of its value an observer may have seen.
 *
 * Let w be a call after which another value was known to be there. A set that returned before w was invoked was
 * replaced for every observer that was invoked after w returned. What is left for an observer are the sets that were
 * invoked before it returned and not replaced for it. If none is left, the history is not linearizable. Else those
 * between the oldest and the youngest that are left, in order of invocation, are tied together. What is not tied need
 * not have the same value: each group of sets gets one of its own, and so do its observers. The history is linearizable
 * if and only if it is so with these values, since the set that an observer saw is always in its group. Where all
 * groups are single sets, register.c decides; else the search has less to try.
 *
 * Linear: groups are kept as disjoint sets of neighbours. */
#include "checkers/search_internal.h"

#include <stdlib.h>

#define INITIAL_RETURNED 1u /* on the scale of positions plus 2; 0: never */

/* Of the calls that returned so far and after which the state was known, the two of different values that were
 * invoked last. */
struct newest {
    uint32_t value[2], invoked[2]; /* positions plus 2; 0: none */
};

static void newest_add(struct newest *n, uint32_t value, uint32_t invoked) {
    if (value == n->value[0]) {
        n->invoked[0] = invoked > n->invoked[0] ? invoked : n->invoked[0];
    } else if (invoked > n->invoked[0]) {
        *n = (struct newest){{value, n->value[0]}, {invoked, n->invoked[0]}};
    } else if (invoked > n->invoked[1]) {
        n->value[1] = value;
        n->invoked[1] = invoked;
    }
}

struct sources { /* times are positions plus 2 */
    const struct partition *p;
    /* By call, and one more for the initial value: */
    uint32_t *replaced;     /* of an observer: what returned before that was replaced for it */
    uint32_t *source;       /* of an observer: a set of its group */
    uint32_t *older;        /* of a set: the one of the same value that was invoked before it; NONE */
    uint32_t *returned_max; /* of a set and all older ones: the last return */
    uint32_t *group;        /* of a set: an older one of its group, or itself */
    uint32_t *name;         /* of the oldest set of a group: the group's value */
    /* By value: */
    uint32_t *youngest; /* the set that was invoked last; NONE */
    uint32_t *whole;    /* not zero: all its sets are one group */
};
#define WORDS_PER_CALL 6u
#define WORDS_PER_VALUE 2u

static uint32_t group_of(const struct sources *s, uint32_t set) {
    while (s->group[set] != set) {
        s->group[set] = s->group[s->group[set]];
        set = s->group[set];
    }
    return set;
}

static void set_invoked(struct sources *s, uint32_t set, uint32_t value, uint32_t returned) {
    uint32_t older = s->youngest[value];
    s->older[set] = older;
    s->group[set] = set;
    s->returned_max[set] = older != NONE && s->returned_max[older] > returned ? s->returned_max[older] : returned;
    s->youngest[value] = set;
    if (s->whole[value] && older != NONE) s->group[set] = group_of(s, older);
}

/* False if there is nothing that it can have seen. */
static bool observer_returned(struct sources *s, uint32_t observer, uint32_t value) {
    uint32_t set = s->youngest[value], replaced = s->replaced[observer];
    if (set == NONE || s->returned_max[set] < replaced) return false;
    s->source[observer] = set;
    for (;;) {
        uint32_t oldest = group_of(s, set), older = s->older[oldest];
        if (older == NONE || s->returned_max[older] < replaced) return true;
        s->group[oldest] = group_of(s, older);
    }
}

/* False if the history is not linearizable; *returns is then the number of returns before the one that shows it. */
static bool find_groups(struct sources *s, struct budget *b, uint32_t *returns) {
    const struct partition *p = s->p;
    struct newest newest = {{NONE, NONE}, {0, 0}};
    set_invoked(s, p->count, p->initial, INITIAL_RETURNED);
    uint32_t i = 0, r = 0;
    for (; r < p->returns_count && !budget_spent(b); *returns = r) {
        uint32_t c = p->returns[r];
        const struct call *call = &p->calls[c];
        if (i < p->count && p->calls[i].invoked < call->returned) {
            const struct call *begins = &p->calls[i];
            uint32_t returned = begins->returned == NONE ? NONE : begins->returned + 2;
            s->replaced[i] = newest.invoked[begins->guard == newest.value[0]];
            if (begins->effect == EFFECT_SET) set_invoked(s, i, begins->value, returned);
            i++;
            continue;
        }
        if (call->guard != GUARD_ANY && !observer_returned(s, c, call->guard)) return false;
        uint32_t value = call->effect == EFFECT_SET ? call->value : call->guard;
        if (value != GUARD_ANY) newest_add(&newest, value, call->invoked + 2);
        r++;
    }
    for (; i < p->count; i++)
        if (p->calls[i].effect == EFFECT_SET) set_invoked(s, i, p->calls[i].value, NONE);
    return true;
}

/* Gives each group but the oldest of a value another one. Returns how many there are. */
static uint32_t name_groups(struct sources *s) {
    const struct partition *p = s->p;
    uint32_t names = 0;
    for (uint32_t c = 0; c <= p->count; c++) {
        bool set = c == p->count || p->calls[c].effect == EFFECT_SET;
        if (!set || s->group[c] != c) continue;
        uint32_t value = c < p->count ? p->calls[c].value : p->initial;
        bool oldest = s->older[c] == NONE;
        s->name[c] = oldest ? value : values_copy(p->values, value);
        names += !oldest;
    }
    return names;
}

static void rename_calls(const struct sources *s, struct partition *renamed) {
    for (uint32_t c = 0; c < renamed->count; c++) {
        struct call *call = &renamed->calls[c];
        if (call->guard != GUARD_ANY && !call->optional) call->guard = s->name[group_of(s, s->source[c])];
        if (call->effect == EFFECT_SET) call->value = s->name[group_of(s, c)];
    }
}

/* The values that it adds are gone when it is done. */
static enum decision decide_named(struct search *search, const struct sources *s, struct budget *b) {
    uint64_t bytes = (uint64_t)s->p->count * (sizeof(struct call) + sizeof(uint32_t));
    if (!budget_claim(b, bytes)) return UNDECIDED;
    struct partition renamed = {0};
    partition_copy(s->p, &renamed);
    rename_calls(s, &renamed);
    enum decision decision = register_decide(search, &renamed, b);
    if (decision == DECIDED_INVALID) search->first_max = search->registers.violation.returns;
    search->registers.violation.kind = VIOLATION_NONE; /* no evidence with values that nobody knows */
    if (decision == UNDECIDED) {
        partition_drop_unobserved(&renamed);
        decision = search_decide(search, &renamed, b);
    }
    partition_free(&renamed);
    budget_release(b, bytes);
    return decision;
}

static void sources_start(struct sources *s, const struct partition *p, uint32_t *memory) {
    size_t calls = (size_t)p->count + 1, values = p->values->count;
    *s = (struct sources){.p = p, .replaced = memory};
    s->source = s->replaced + calls;
    s->older = s->source + calls;
    s->returned_max = s->older + calls;
    s->group = s->returned_max + calls;
    s->name = s->group + calls;
    s->youngest = s->name + calls;
    s->whole = s->youngest + values;
    memset(s->youngest, 0xff, values * sizeof *s->youngest);
    memset(s->whole, 0, values * sizeof *s->whole);
    for (uint32_t c = 0; c < p->count; c++) /* whatever set it, and whenever */
        if (p->calls[c].optional && p->calls[c].guard != GUARD_ANY) s->whole[p->calls[c].guard] = 1;
}

enum decision register_sources_decide(struct search *search, struct partition *p, struct budget *b) {
    if (!p->sets_only || p->returns_count == 0) return UNDECIDED;
    partition_drop_unobserved(p);
    size_t words = WORDS_PER_CALL * ((size_t)p->count + 1) + WORDS_PER_VALUE * (size_t)p->values->count;
    if (!budget_claim(b, words * sizeof(uint32_t))) return UNDECIDED;
    struct sources s;
    uint32_t *memory = xmalloc_large(words * sizeof *memory), values_count = p->values->count;
    sources_start(&s, p, memory);
    search->first_max = 0;
    enum decision decision = DECIDED_INVALID;
    if (find_groups(&s, b, &search->first_max))
        decision = name_groups(&s) && !budget_spent_now(b) ? decide_named(search, &s, b) : UNDECIDED;
    values_truncate(p->values, values_count);
    free(memory);
    budget_release(b, words * sizeof(uint32_t));
    return decision;
}
