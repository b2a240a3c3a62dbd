/* From the first return that breaks a condition of register.c to the few calls that do so by themselves: the operations
 * in question, and what ties them together: the setters of their versions and of those between them. A cas stands for a
 * mere write where what it took away is beyond the evidence; that takes a demand off the history, so what is left is
 * a proof all the same. */
#include "checkers/register_internal.h"
#include "checkers/search_internal.h"

#include <stdlib.h>

struct member { /* of a chain in question */
    uint32_t call, chain, depth;
};

struct evidence {
    const struct registers *r;
    const struct partition *p;
    uint32_t now;
    uint32_t aside;         /* a call that is not taken for a member of any chain; NONE */
    struct member *members; /* that surely happened */
    uint64_t *items;        /* the call times 2, plus 1 if its guard counts */
    uint32_t members_count, members_capacity, count, capacity;
};

static void add(struct evidence *e, uint32_t c, bool with_guard) {
    if (e->count == e->capacity) {
        e->capacity = e->capacity ? 2 * e->capacity : 16;
        e->items = xrealloc(e->items, e->capacity * sizeof *e->items);
    }
    e->items[e->count++] = (uint64_t)c << 1 | with_guard;
}

static const struct call *call_at(const struct evidence *e, uint32_t c) {
    return &e->p->calls[c];
}

static const struct version *version_at(const struct evidence *e, uint32_t version) {
    return &e->r->versions[version];
}

static bool has_returned(const struct evidence *e, uint32_t c) {
    return call_at(e, c)->returned <= e->now;
}

/* --- the operations of a chain ------------------------------------------------------------------------------------ */

/* The version that the call sees or makes; of a cas whose value is set again the one that it takes away, and of such a
 * write none. */
static uint32_t version_of(const struct evidence *e, uint32_t c) {
    const struct call *call = call_at(e, c);
    return call->effect == EFFECT_SET && version_at(e, call->value)->setter == c ? call->value : call->guard;
}

static uint32_t depth_of(const struct evidence *e, uint32_t c) {
    const struct call *call = call_at(e, c);
    uint32_t version = version_of(e, c);
    if (version == GUARD_ANY) return 0;
    return version_at(e, version)->depth + (call->effect == EFFECT_SET && version == call->guard);
}

static void collect_members(struct evidence *e, uint32_t chain, uint32_t other) {
    const struct registers *r = e->r;
    for (uint32_t c = 0; c < e->p->count && call_at(e, c)->invoked < e->now; c++) {
        const struct call *call = call_at(e, c);
        uint32_t version = version_of(e, c), at = NONE;
        if (version != GUARD_ANY) {
            at = version_at(e, version)->chain;
        } else if (c == r->chains[chain].root || c == r->chains[other].root) {
            at = c == r->chains[chain].root ? chain : other;
        }
        if (at == NONE || (at != chain && at != other) || c == e->aside) continue;
        if (!has_returned(e, c) && (call->effect == EFFECT_NONE || version == call->guard)) continue;
        if (e->members_count == e->members_capacity) {
            e->members_capacity = e->members_capacity ? 2 * e->members_capacity : 64;
            e->members = xrealloc(e->members, e->members_capacity * sizeof *e->members);
        }
        e->members[e->members_count++] = (struct member){c, at, depth_of(e, c)};
    }
}

struct wanted {
    uint32_t chain;
    uint32_t depth, self;     /* near to which; self is nearer than others of its depth */
    uint32_t returned_before; /* a position plus 1; 0: it need not have returned */
    uint32_t invoked_after;   /* a position plus 1 */
    uint32_t depth_min;
};

/* NONE if there is no such call. */
static uint32_t nearest(const struct evidence *e, struct wanted w) {
    uint64_t best_distance = UINT64_MAX;
    uint32_t best = NONE;
    for (uint32_t i = 0; i < e->members_count; i++) {
        const struct member *m = &e->members[i];
        const struct call *call = call_at(e, m->call);
        if (m->chain != w.chain || m->depth < w.depth_min || call->invoked + 1 <= w.invoked_after) continue;
        if (w.returned_before && (call->returned == NONE || call->returned + 1 >= w.returned_before)) continue;
        uint64_t apart = m->depth > w.depth ? m->depth - w.depth : w.depth - m->depth;
        uint64_t distance = 2 * apart + (m->call != w.self);
        if (distance >= best_distance) continue;
        best_distance = distance;
        best = m->call;
    }
    return best;
}

/* --- what ties calls together ------------------------------------------------------------------------------------- */

/* The setters from the version up to one that stands at the depth, or as far as they go. */
static void add_setters(struct evidence *e, uint32_t version, uint32_t depth) {
    while (version != GUARD_ANY && version_at(e, version)->setter < SEVERAL) {
        uint32_t setter = version_at(e, version)->setter;
        bool last = version_at(e, version)->depth <= depth;
        add(e, setter, !last);
        if (last) return;
        version = call_at(e, setter)->guard;
    }
}

/* The call, and if it has not returned, who shows that it happened. */
static void add_call(struct evidence *e, uint32_t c, uint32_t chain) {
    add(e, c, version_of(e, c) == call_at(e, c)->guard);
    if (has_returned(e, c)) return;
    uint32_t depth = depth_of(e, c);
    uint32_t observer = nearest(e, (struct wanted){chain, depth, NONE, e->now + 2, 0, depth});
    if (observer == NONE) return;
    add(e, observer, true);
    add_setters(e, version_of(e, observer), depth);
}

/* Two calls of a chain, and what makes them be of one. */
static void add_pair(struct evidence *e, uint32_t a, uint32_t b, uint32_t chain) {
    uint32_t x = depth_of(e, a), y = depth_of(e, b), depth = x < y ? x : y;
    add_call(e, a, chain);
    add_call(e, b, chain);
    add_setters(e, version_of(e, a), depth);
    add_setters(e, version_of(e, b), depth);
}

/* A call of the initial value's chain, and what makes it be of that. */
static void add_to_initial(struct evidence *e, uint32_t c, uint32_t chain) {
    add_call(e, c, chain);
    add(e, c, true);
    for (uint32_t version = version_of(e, c); version_at(e, version)->setter < SEVERAL;) {
        add(e, version_at(e, version)->setter, true);
        version = call_at(e, version_at(e, version)->setter)->guard;
    }
}

/* All that a version comes from. */
static void add_origin(struct evidence *e, uint32_t version) {
    for (uint32_t steps = 0; steps < e->p->count && version != GUARD_ANY; steps++) {
        uint32_t setter = version_at(e, version)->setter;
        if (setter >= SEVERAL || call_at(e, setter)->invoked > e->now) return;
        add(e, setter, true);
        version = call_at(e, setter)->guard;
    }
}

/* --- the kinds ---------------------------------------------------------------------------------------------------- */

static void add_fork(struct evidence *e, const struct violation *v, uint32_t shown_by) {
    uint32_t first = version_at(e, v->version)->successor, chain = version_at(e, v->version)->chain;
    for (uint32_t c = shown_by; c != v->cas; c = version_at(e, call_at(e, c)->guard)->setter) add(e, c, true);
    add(e, v->cas, true);
    if (chain == NONE) { /* it comes from itself */
        add_origin(e, v->version);
        return;
    }
    e->aside = v->cas;
    collect_members(e, chain, chain);
    add_call(e, first, chain);
    add(e, first, true);
}

static void add_late(struct evidence *e, uint32_t read) {
    uint32_t depth = depth_of(e, read), chain = version_at(e, call_at(e, read)->guard)->chain;
    collect_members(e, chain, chain);
    uint32_t later = nearest(e, (struct wanted){chain, depth, NONE, call_at(e, read)->invoked + 1, 0, depth + 1});
    if (later == NONE) return;
    add_pair(e, read, later, chain);
    add(e, later, true);
}

/* Of each chain, an operation that returned before one of the other was invoked. */
static void add_crossing(struct evidence *e, const struct violation *v) {
    uint32_t a = v->chain, b = v->other, k = v->call;
    collect_members(e, a, b);
    uint32_t x = nearest(e, (struct wanted){a, depth_of(e, k), k, e->r->chains[b].invoked_max, 0, 0});
    uint32_t x_returned = x == NONE ? 0 : call_at(e, x)->returned + 1, k_invoked = call_at(e, k)->invoked + 1;
    uint32_t y = nearest(e, (struct wanted){b, 0, NONE, 0, x_returned, 0});
    if (y == NONE) return;
    uint32_t z = nearest(e, (struct wanted){b, depth_of(e, y), y, k_invoked, 0, 0});
    if (z != NONE) y = nearest(e, (struct wanted){b, depth_of(e, z), z, 0, x_returned, 0});
    if (x == NONE) {
        add_to_initial(e, k, a);
    } else {
        add_pair(e, k, x, a);
    }
    if (z == NONE) {
        add_to_initial(e, y, b);
    } else {
        add_pair(e, y, z, b);
    }
}

static void collect(struct evidence *e, const struct violation *v) {
    uint32_t last = e->p->returns[v->returns];
    switch (v->kind) {
    case VIOLATION_NONE: break;
    case VIOLATION_UNWRITTEN:
    case VIOLATION_CYCLE:
        add(e, last, true);
        add_origin(e, call_at(e, last)->guard);
        break;
    case VIOLATION_FORK: add_fork(e, v, last); break;
    case VIOLATION_LATE: add_late(e, last); break;
    case VIOLATION_CROSSING: add_crossing(e, v); break;
    }
}

/* Nothing shall look wrong merely because its setter is not among the evidence. */
static void add_sources(struct evidence *e) {
    for (uint32_t i = 0, count = e->count; i < count; i++) {
        uint32_t guard = e->items[i] & 1 ? call_at(e, (uint32_t)(e->items[i] >> 1))->guard : GUARD_ANY;
        uint32_t setter = guard == GUARD_ANY ? NONE : version_at(e, guard)->setter;
        if (setter < SEVERAL && call_at(e, setter)->invoked < e->now) add(e, setter, false);
    }
}

static int by_item(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

bool register_evidence(const struct search *s, const struct partition *p, struct partition *into) {
    const struct registers *r = &s->registers;
    if (r->p != p || r->violation.kind == VIOLATION_NONE) return false;
    struct evidence e = {.r = r, .p = p, .aside = NONE};
    e.now = p->calls[p->returns[r->violation.returns]].returned;
    collect(&e, &r->violation);
    add_sources(&e);
    if (e.count) qsort(e.items, e.count, sizeof *e.items, by_item);
    uint32_t count = 0; /* of the same call, the demand for its guard comes last */
    for (uint32_t i = 0; i < e.count; i++)
        if (i + 1 == e.count || e.items[i] >> 1 != e.items[i + 1] >> 1) e.items[count++] = e.items[i];
    partition_pick(p, e.items, count, e.now, into);
    free(e.members);
    free(e.items);
    return count > 0;
}
