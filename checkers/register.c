/* Registers in linear time, where each value that is observed is set by one call only (and the initial value by none).
 *
 * A value then names the call that set it, and a cas names the one before it: so reads, writes and cas fall into chains
 * (a write, its reads, the cas from it, the reads of that, ...), and every linearization has the operations of a chain
 * one after the other, in an order that is known but for reads of the same version. A history is linearizable if and
 * only if
 *   (1) every value observed is one that was set, and by a call that was invoked before its observer returned;
 *   (2) no version is taken away by two cas, and none comes from itself;
 *   (3) within each chain no operation was invoked after one of a later version had returned;
 *   (4) the chains can be put in order: chain A has to stand before chain B if an operation of A returned before one
 *       of B was invoked, that is if f(A) < s(B), with f the first return of a chain and s its last invocation.
 * (4) is Gibbons and Korach's condition on zones (Testing shared memories, SIAM J. Comput. 26(4), 1997, for writes and
 * reads): a cycle of that relation always has two chains A and B that have to stand before each other.
 * For let A have the least f in the cycle, P stand before A in it, and Q before P: then f(P) < s(A), and
 * f(A) <= f(Q) < s(P). So it is enough that no two chains cross. The initial value's chain has f before all events.
 *
 * Operations that ended unknown: a read constrains nothing and is not among the calls; a set that nobody observed can
 * be left out (what follows it in a linearization is a blind write); one that was observed did happen, and so did what
 * it needs. So what is known to have happened grows with each return, and all conditions are kept up while going
 * through the returns in order: the first return that breaks one ends the shortest prefix that is not linearizable.
 *
 * Chains are numbered in order of f, which is the return that made them known. A chain A covers what has its f between
 * f(A) and s(A). Covered times of different chains do not overlap as long as nothing crosses, so each chain is looked
 * at once as something to be covered, and asks only the one that covers it: linear in all. */
#include "checkers/register_internal.h"
#include "checkers/search_internal.h"

#include <stdlib.h>

void registers_free(struct registers *r) {
    free(r->versions);
    free(r->chains);
    free(r->late);
    *r = (struct registers){0};
}

/* --- setting up --------------------------------------------------------------------------------------------------- */

static void room_for(void **memory, uint32_t *capacity, uint32_t wanted, size_t size) {
    if (*capacity >= wanted) return;
    free(*memory);
    *memory = xmalloc_large((size_t)wanted * size);
    *capacity = wanted;
}

/* Marks all values of the partition as unknown; a small part of a large one names few of them. */
static void forget_versions(struct registers *r) {
    const struct partition *p = r->p;
    const struct version unknown = {NONE, NONE, NONE, NONE};
    if (p->values->count / 4 < p->count) {
        memset(r->versions, 0xff, p->values->count * sizeof *r->versions);
        return;
    }
    for (uint32_t c = 0; c < p->count; c++) {
        r->versions[p->calls[c].value] = unknown;
        if (p->calls[c].guard != GUARD_ANY) r->versions[p->calls[c].guard] = unknown;
    }
    r->versions[p->initial] = unknown;
}

static uint32_t chain_add(struct registers *r, uint32_t root, uint32_t returned_min, uint32_t invoked_max) {
    uint32_t chain = r->chains_count++;
    r->chains[chain] = (struct chain){root, returned_min, invoked_max, NONE, chain + 1, 0};
    return chain;
}

/* The initial value is a version without a setter, unless somebody sets it again. */
static void add_initial(struct registers *r) {
    struct version *initial = &r->versions[r->p->initial];
    if (initial->setter != NONE) {
        initial->setter = SEVERAL;
        return;
    }
    initial->chain = chain_add(r, NONE, 0, 0);
    initial->depth = 0;
}

static void registers_start(struct registers *r, const struct partition *p) {
    uint32_t sets = 0;
    r->p = p;
    r->chains_count = 0;
    r->cas = false;
    r->violation = (struct violation){.kind = VIOLATION_NONE};
    room_for((void **)&r->versions, &r->versions_capacity, p->values->count, sizeof *r->versions);
    forget_versions(r);
    for (uint32_t c = 0; c < p->count; c++) {
        const struct call *call = &p->calls[c];
        if (call->effect != EFFECT_SET) continue;
        struct version *x = &r->versions[call->value];
        x->setter = x->setter == NONE ? c : SEVERAL;
        r->cas |= call->guard != GUARD_ANY;
        sets++;
    }
    room_for((void **)&r->chains, &r->chains_capacity, sets + 1, sizeof *r->chains);
    add_initial(r);
    if (!r->cas) return;
    uint32_t words = p->count / 64 + 1;
    room_for((void **)&r->late, &r->late_capacity, words, sizeof *r->late);
    memset(r->late, 0, words * sizeof *r->late);
}

/* --- what is known to have happened ------------------------------------------------------------------------------- */

/* Both end the going-through. */
static bool undecided(struct registers *r) {
    r->decision = UNDECIDED;
    return false;
}

static bool violated(struct registers *r, struct violation v) {
    r->decision = DECIDED_INVALID;
    v.returns = r->violation.returns;
    r->violation = v;
    return false;
}

/* A call of the chain surely happened: (4). */
static bool include(struct registers *r, uint32_t chain, uint32_t c) {
    struct chain *a = &r->chains[chain];
    uint32_t invoked = r->p->calls[c].invoked + 1;
    if (invoked <= a->invoked_max) return true;
    a->invoked_max = invoked;
    struct violation crossing = {.kind = VIOLATION_CROSSING, .call = c, .chain = chain, .other = a->covered_by};
    if (a->covered_by != NONE && r->chains[a->covered_by].returned_min < invoked) return violated(r, crossing);
    for (; a->looked_up_to < r->chains_count; a->looked_up_to++) {
        struct chain *b = &r->chains[a->looked_up_to];
        if (b->returned_min >= invoked) break;
        crossing.other = a->looked_up_to;
        if (b->invoked_max > a->returned_min) return violated(r, crossing);
        b->covered_by = chain;
    }
    return true;
}

/* A new chain crosses none: its first return is the last so far. */
static uint32_t chain_begin(struct registers *r, uint32_t root) {
    return chain_add(r, root, r->now + 1, r->p->calls[root].invoked + 1);
}

/* The version that the setter takes away has no other successor: (2). */
static bool succeed(struct registers *r, uint32_t version, uint32_t setter) {
    struct version *x = &r->versions[version];
    if (x->successor == NONE) {
        x->successor = setter;
        return true;
    }
    enum violation_kind kind = x->successor == setter ? VIOLATION_CYCLE : VIOLATION_FORK;
    return violated(r, (struct violation){.kind = kind, .version = version, .cas = setter});
}

/* A version was there, which was not yet known; and so were all it comes from: (1). Up to the first that is known or is
 * the root of a new chain, then down again. */
static bool reach_unknown(struct registers *r, uint32_t version) {
    const struct call *calls = r->p->calls;
    uint32_t at = version;
    while (r->versions[at].chain == NONE) {
        struct version *x = &r->versions[at];
        if (x->setter == SEVERAL) return undecided(r);
        if (x->setter == NONE || calls[x->setter].invoked > r->now)
            return violated(r, (struct violation){.kind = VIOLATION_UNWRITTEN});
        if (calls[x->setter].guard == GUARD_ANY) {
            x->chain = chain_begin(r, x->setter);
            x->depth = 0;
        } else {
            at = calls[x->setter].guard;
            if (!succeed(r, at, x->setter)) return false;
        }
    }
    uint32_t known = at, chain = r->versions[at].chain;
    while (at != version) {
        uint32_t depth = r->versions[at].depth + 1;
        at = calls[r->versions[at].successor].value;
        r->versions[at].chain = chain;
        r->versions[at].depth = depth;
    }
    for (at = known; at != version; at = calls[r->versions[at].successor].value)
        if (!include(r, chain, r->versions[at].successor)) return false;
    return true;
}

static bool reach(struct registers *r, uint32_t version) {
    return r->versions[version].chain != NONE || reach_unknown(r, version);
}

static void deepen(struct registers *r, uint32_t chain, uint32_t depth) {
    if (depth > r->chains[chain].depth_max) r->chains[chain].depth_max = depth;
}

/* --- going through ------------------------------------------------------------------------------------------------ */

/* (3): only a read can be invoked after a later version was seen. A set became known before all that come after it. */
static void note_late(struct registers *r, uint32_t c) {
    const struct call *call = &r->p->calls[c];
    if (call->effect != EFFECT_NONE) return;
    const struct version *x = &r->versions[call->guard];
    if (x->chain != NONE && r->chains[x->chain].depth_max > x->depth) r->late[c / 64] |= UINT64_C(1) << c % 64;
}

static bool read_returned(struct registers *r, uint32_t c) {
    const struct call *call = &r->p->calls[c];
    if (!reach(r, call->guard)) return false;
    const struct version *x = &r->versions[call->guard];
    if (r->cas) {
        if (r->late[c / 64] >> c % 64 & 1) return violated(r, (struct violation){.kind = VIOLATION_LATE});
        deepen(r, x->chain, x->depth);
    }
    return include(r, x->chain, c);
}

/* A version that several calls set has no place in a chain: as long as nobody observes it, each is the end of its
 * own. */
static bool cas_returned(struct registers *r, uint32_t c) {
    const struct call *call = &r->p->calls[c];
    struct version *x = &r->versions[call->value];
    if (x->setter == c) {
        if (!reach(r, call->value)) return false;
        deepen(r, x->chain, x->depth);
        return true;
    }
    if (!reach(r, call->guard) || !succeed(r, call->guard, c)) return false;
    const struct version *above = &r->versions[call->guard];
    deepen(r, above->chain, above->depth + 1);
    return include(r, above->chain, c);
}

static bool write_returned(struct registers *r, uint32_t c) {
    struct version *x = &r->versions[r->p->calls[c].value];
    if (x->setter == c) return reach(r, r->p->calls[c].value);
    chain_begin(r, c);
    return true;
}

static bool returned(struct registers *r, uint32_t c) {
    const struct call *call = &r->p->calls[c];
    if (call->effect == EFFECT_NONE) return call->guard == GUARD_ANY || read_returned(r, c);
    return call->guard == GUARD_ANY ? write_returned(r, c) : cas_returned(r, c);
}

static bool go_through(struct registers *r, struct budget *b) {
    const struct partition *p = r->p;
    for (uint32_t i = 0, invoked = 0; i < p->returns_count; i++) {
        uint32_t c = p->returns[i];
        if (budget_spent(b)) return undecided(r);
        r->now = p->calls[c].returned;
        r->violation.returns = i;
        for (; r->cas && invoked < p->count && p->calls[invoked].invoked < r->now; invoked++) note_late(r, invoked);
        if (!returned(r, c)) return false;
    }
    return true;
}

enum decision register_decide(struct search *s, struct partition *p, struct budget *b) {
    struct registers *r = &s->registers;
    uint64_t bytes = (uint64_t)p->values->count * sizeof *r->versions + (uint64_t)p->count * sizeof *r->chains;
    r->violation.kind = VIOLATION_NONE;
    if (!p->sets_only || budget_spent_now(b) || !budget_claim(b, bytes)) return UNDECIDED;
    registers_start(r, p);
    r->decision = DECIDED_VALID;
    go_through(r, b);
    budget_release(b, bytes);
    return r->decision;
}
