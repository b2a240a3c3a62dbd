/* From a history to partitions: grouping by key (a history is linearizable if and only if each of its objects' is:
 * Herlihy and Wing 1990, theorem 1), the order of events within a key, and the removal of what cannot matter. */
#include "checkers/internal.h"

#include <stdlib.h>

/* --- groups by key ------------------------------------------------------------------------------------------------ */

struct group_size {
    uint32_t key_slot, size;
};

static int by_size(const void *a, const void *b) {
    const struct group_size *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return x->key_slot < y->key_slot ? -1 : x->key_slot > y->key_slot;
}

void groups_make(struct groups *g, const struct history *h) {
    uint32_t slots = h->strings.count + 1; /* the last for operations without a key */
    struct group_size *sizes = xcalloc(slots, sizeof *sizes);
    uint32_t *at = xmalloc(slots * sizeof *at);
    for (uint32_t i = 0; i < slots; i++) sizes[i].key_slot = i;
    for (uint32_t op = 0; op < h->count; op++) sizes[h->key[op] == NO_STRING ? slots - 1 : h->key[op]].size++;
    qsort(sizes, slots, sizeof *sizes, by_size);

    uint32_t empty = 0;
    while (empty < slots && sizes[empty].size == 0) empty++;
    g->count = slots - empty;
    g->key = xmalloc(g->count * sizeof *g->key);
    g->first = xmalloc((g->count + 1) * sizeof *g->first);
    g->ops = xmalloc(h->count * sizeof *g->ops);
    uint32_t total = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        uint32_t slot = sizes[empty + i].key_slot;
        g->key[i] = slot == slots - 1 ? NO_STRING : slot;
        g->first[i] = at[slot] = total;
        total += sizes[empty + i].size;
    }
    g->first[g->count] = total;
    for (uint32_t op = 0; op < h->count; op++) g->ops[at[h->key[op] == NO_STRING ? slots - 1 : h->key[op]]++] = op;
    free(sizes);
    free(at);
}

void groups_free(struct groups *g) {
    free(g->ops);
    free(g->first);
    free(g->key);
}

/* --- the order of events ------------------------------------------------------------------------------------------ */

struct ending {
    uint64_t time_ns;
    uint32_t index;
};

static int by_time(const void *a, const void *b) {
    const struct ending *x = a, *y = b;
    if (x->time_ns != y->time_ns) return x->time_ns < y->time_ns ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* A failed cas that saw another value was a read of that value. A list is not taken for one: histories of Jepsen's
 * kind repeat the argument there. */
static bool failed_cas_that_saw(const struct history *h, uint32_t op) {
    if (h->status[op] != OP_FAIL || h->f[op] != OP_CAS) return false;
    struct value argument = h->argument[op], seen = h->result[op];
    if (seen.kind != VALUE_INT && seen.kind != VALUE_STRING) return false;
    return argument.kind == VALUE_LIST && argument.size == 2 && !history_value_equal(h, h->pool[argument.first], seen);
}

static bool returns(const struct history *h, uint32_t op) {
    return h->status[op] == OP_OK || failed_cas_that_saw(h, op);
}

uint32_t order_events(const struct history *h, const uint32_t *ops, uint32_t count, uint32_t *invoked,
                      uint32_t *returned, uint32_t *order) {
    struct ending *endings = xmalloc(count * sizeof *endings);
    uint32_t ends = 0;
    for (uint32_t i = 0; i < count; i++) {
        returned[i] = NONE;
        if (returns(h, ops[i])) endings[ends++] = (struct ending){h->complete_ns[ops[i]], i};
    }
    qsort(endings, ends, sizeof *endings, by_time);

    uint32_t position = 0;
    for (uint32_t i = 0, j = 0; i < count || j < ends;) {
        uint64_t now = i < count ? h->invoke_ns[ops[i]] : UINT64_MAX;
        if (j < ends && endings[j].time_ns < now) now = endings[j].time_ns;
        uint32_t i_end = i, j_end = j;
        while (i_end < count && h->invoke_ns[ops[i_end]] == now) i_end++;
        while (j_end < ends && endings[j_end].time_ns == now) j_end++;
        uint32_t process = h->process[ops[i < i_end ? i : endings[j].index]];
        bool alone = true;
        for (uint32_t k = i; k < i_end; k++) alone &= h->process[ops[k]] == process;
        for (uint32_t k = j; k < j_end; k++) alone &= h->process[ops[endings[k].index]] == process;
        while (i < i_end || j < j_end) {
            bool call_next = i < i_end && (j == j_end || !alone || endings[j].index >= i);
            if (call_next) {
                invoked[i++] = position++;
            } else {
                if (order) order[j] = endings[j].index;
                returned[endings[j++].index] = position++;
            }
        }
    }
    free(endings);
    return ends;
}

/* --- partitions --------------------------------------------------------------------------------------------------- */

/* Does the state, once it left a value, ever come back to it? Not if it only grows: by appends, or by positive sums. */
static void partition_classify(struct partition *p) {
    uint32_t by_effect[EFFECT_APPEND + 1] = {0};
    bool positive = true;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const struct call *c = &p->calls[i];
        by_effect[c->effect]++;
        if (c->effect != EFFECT_ADD) continue;
        int64_t delta = p->values->entries[c->value].integer;
        positive &= delta > 0 && (uint64_t)delta <= (uint64_t)INT64_MAX - sum;
        if (positive) sum += (uint64_t)delta;
    }
    p->sets_only = by_effect[EFFECT_ADD] + by_effect[EFFECT_APPEND] == 0;
    p->appends = by_effect[EFFECT_SET] + by_effect[EFFECT_ADD] == 0;
    p->grows = p->appends || (by_effect[EFFECT_SET] + by_effect[EFFECT_APPEND] == 0 && positive);
}

/* Keeps the calls whose flag is set. */
static void partition_compact(struct partition *p, const uint8_t *keep) {
    uint32_t *moved = xmalloc(p->count * sizeof *moved);
    uint32_t kept = 0, returns_kept = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        moved[i] = kept;
        if (keep[i]) p->calls[kept++] = p->calls[i];
    }
    for (uint32_t i = 0; i < p->returns_count; i++)
        if (keep[p->returns[i]]) p->returns[returns_kept++] = moved[p->returns[i]];
    p->count = kept;
    p->returns_count = returns_kept;
    free(moved);
}

#define DROP_PASSES_MAX 8 /* a chain of optional cas may need one pass per link; leaving some is only slower */

/* Drops optional sets of values that nobody observes: in any linearization that has one, the operation after it is a
 * blind write, so it is linearizable without. */
static void partition_drop_unobserved(struct partition *p) {
    uint32_t optional = 0;
    for (uint32_t i = 0; i < p->count; i++) optional += p->calls[i].optional;
    if (!p->sets_only || optional == 0) return;
    uint32_t *observers = xcalloc(p->values->count, sizeof *observers);
    uint8_t *keep = xmalloc(p->count);
    memset(keep, 1, p->count);
    for (uint32_t i = 0; i < p->count; i++)
        if (p->calls[i].guard != GUARD_ANY) observers[p->calls[i].guard]++;
    bool again = true;
    for (uint32_t pass = 0; again && pass < DROP_PASSES_MAX; pass++) {
        again = false;
        for (uint32_t i = p->count; i-- > 0;) {
            const struct call *c = &p->calls[i];
            if (!c->optional || !keep[i] || observers[c->value]) continue;
            keep[i] = 0;
            if (c->guard != GUARD_ANY && --observers[c->guard] == 0) again = true;
        }
    }
    partition_compact(p, keep);
    free(observers);
    free(keep);
}

static void partition_reserve(struct partition *p, uint32_t count) {
    if (count <= p->capacity) return;
    p->capacity = count;
    p->calls = xrealloc(p->calls, count * sizeof *p->calls);
    p->returns = xrealloc(p->returns, count * sizeof *p->returns);
}

bool partition_make(struct partition *p, const struct model *m, const struct history *h, uint32_t key,
                    const uint32_t *ops, uint32_t count, uint32_t *bad_op, const char **why) {
    partition_reserve(p, count);
    values_clear(p->values);
    p->h = h;
    p->key = key;
    p->count = count;
    p->initial = model_initial(m, h, p->values);
    uint32_t *invoked = xmalloc(2 * (size_t)count * sizeof *invoked), *returned = invoked + count;
    uint8_t *keep = xmalloc(count);
    p->returns_count = order_events(h, ops, count, invoked, returned, p->returns);
    bool known = true;
    for (uint32_t i = 0; i < count && known; i++) {
        struct call *c = &p->calls[i];
        *c = (struct call){
            .op = ops[i], .invoked = invoked[i], .returned = returned[i], .optional = returned[i] == NONE};
        known = model_encode(m, h, c->op, p->values, c, why);
        if (!known) *bad_op = c->op;
        if (known && h->status[c->op] == OP_FAIL && !c->optional) {
            c->guard = values_intern(p->values, h, h->result[c->op]);
            c->effect = EFFECT_NONE;
        }
        keep[i] = h->status[c->op] == OP_FAIL ? !c->optional : !(c->optional && c->effect == EFFECT_NONE);
    }
    if (known) {
        partition_compact(p, keep);
        partition_classify(p);
        partition_drop_unobserved(p);
    }
    free(invoked);
    free(keep);
    return known;
}

static void partition_copy(const struct partition *p, struct partition *into) {
    partition_reserve(into, p->count);
    struct call *calls = into->calls;
    uint32_t *returns_of = into->returns, capacity = into->capacity;
    *into = *p;
    into->calls = calls;
    into->returns = returns_of;
    into->capacity = capacity;
    memcpy(calls, p->calls, p->count * sizeof *calls);
    memcpy(returns_of, p->returns, p->returns_count * sizeof *returns_of);
}

void partition_subset(const struct partition *p, const uint8_t *keep, struct partition *into) {
    partition_copy(p, into);
    partition_compact(into, keep);
    partition_classify(into);
    partition_drop_unobserved(into);
}

void partition_prefix(const struct partition *p, uint32_t returns_count, struct partition *into) {
    assert(returns_count > 0 && returns_count <= p->returns_count);
    uint32_t end = p->calls[p->returns[returns_count - 1]].returned;
    partition_copy(p, into);
    into->returns_count = returns_count;
    uint8_t *keep = xmalloc(p->count);
    for (uint32_t i = 0; i < p->count; i++) {
        struct call *c = &into->calls[i];
        if (c->returned > end) {
            c->returned = NONE;
            c->optional = true;
        }
        keep[i] = c->invoked < end && !(c->optional && c->effect == EFFECT_NONE);
    }
    partition_compact(into, keep);
    partition_classify(into);
    partition_drop_unobserved(into);
    free(keep);
}

void partition_read_instead(const struct partition *p, uint32_t c, uint32_t value, struct partition *into) {
    partition_copy(p, into);
    into->calls[c].guard = value;
    into->calls[c].effect = EFFECT_NONE;
    partition_classify(into);
}

void partition_free(struct partition *p) {
    free(p->calls);
    free(p->returns);
    *p = (struct partition){0};
}

uint64_t partition_bytes(const struct partition *p) {
    return (uint64_t)p->capacity * (sizeof *p->calls + sizeof *p->returns) + values_bytes(p->values);
}
