/* From a history to partitions: grouping by key (a history is linearizable if and only if each of its objects' is:
 * Herlihy and Wing 1990, theorem 1), and the removal of what cannot matter. */
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

/* Slot 0 is for operations without a key. */
static uint32_t key_slot_of(const struct history *h, uint32_t op) {
    return h->key[op] + 1;
}

static void count_keys(const struct history *h, struct group_size *sizes) {
    for (uint32_t op = 0; op < h->count;) {
        uint32_t begin = op, slot = key_slot_of(h, op);
        while (op < h->count && key_slot_of(h, op) == slot) op++;
        sizes[slot].size += op - begin;
    }
}

void groups_make(struct groups *g, const struct history *h) {
    uint32_t slots = h->strings.count + 1;
    struct group_size *sizes = xcalloc(slots, sizeof *sizes);
    uint32_t *at = xmalloc(slots * sizeof *at);
    for (uint32_t i = 0; i < slots; i++) sizes[i].key_slot = i;
    count_keys(h, sizes);
    qsort(sizes, slots, sizeof *sizes, by_size);

    uint32_t empty = 0;
    while (empty < slots && sizes[empty].size == 0) empty++;
    g->count = slots - empty;
    g->key = xmalloc(g->count * sizeof *g->key);
    g->first = xmalloc((g->count + 1) * sizeof *g->first);
    g->ops = xmalloc_large(h->count * sizeof *g->ops);
    uint32_t total = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        uint32_t slot = sizes[empty + i].key_slot;
        g->key[i] = slot == 0 ? NO_STRING : slot - 1;
        g->first[i] = at[slot] = total;
        total += sizes[empty + i].size;
    }
    g->first[g->count] = total;
    if (g->count == 1) {
        for (uint32_t op = 0; op < h->count; op++) g->ops[op] = op;
    } else {
        for (uint32_t op = 0; op < h->count; op++) g->ops[at[key_slot_of(h, op)]++] = op;
    }
    free(sizes);
    free(at);
}

void groups_free(struct groups *g) {
    free(g->ops);
    free(g->first);
    free(g->key);
}

/* --- partitions --------------------------------------------------------------------------------------------------- */

static uint32_t effect_bit(const struct call *c) {
    return UINT32_C(1) << c->effect;
}

/* Are all sums positive, and small enough not to wrap? */
static bool only_adds_up(const struct partition *p) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->calls[i].effect != EFFECT_ADD) continue;
        int64_t delta = p->values->entries[p->calls[i].value].integer;
        if (delta <= 0 || (uint64_t)delta > (uint64_t)INT64_MAX - sum) return false;
        sum += (uint64_t)delta;
    }
    return true;
}

/* Does the state, once it left a value, ever come back to it? Not if it only grows: by appends, or by positive sums.
 * `effects` has the bits of the effects among the calls. */
static void partition_classify(struct partition *p, uint32_t effects) {
    const uint32_t set = 1u << EFFECT_SET, add = 1u << EFFECT_ADD, append = 1u << EFFECT_APPEND;
    p->sets_only = !(effects & (add | append));
    p->appends = !(effects & (set | add));
    p->grows = p->appends || (!(effects & (set | append)) && only_adds_up(p));
}

static void partition_classify_again(struct partition *p) {
    uint32_t effects = 0;
    for (uint32_t i = 0; i < p->count; i++) effects |= effect_bit(&p->calls[i]);
    partition_classify(p, effects);
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
void partition_drop_unobserved(struct partition *p) {
    if (!p->sets_only || p->returns_count == p->count) return;
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

/* What was in it is lost. */
static void partition_reserve(struct partition *p, uint32_t count) {
    if (count <= p->capacity) return;
    free(p->calls);
    free(p->returns);
    p->capacity = count;
    p->calls = xmalloc_large(count * sizeof *p->calls);
    p->returns = xmalloc_large(count * sizeof *p->returns);
}

/* A failed operation returns only if it saw a value: then it is a read of that. */
static bool encode(const struct partition *p, const struct model *m, struct call *c, const char **why) {
    if (!model_encode(m, p->h, c->op, p->values, c, why)) return false;
    if (p->h->status[c->op] == OP_FAIL && !c->optional) {
        c->guard = values_intern(p->values, p->h, p->h->result[c->op]);
        c->effect = EFFECT_NONE;
    }
    return true;
}

/* Neither a failed operation that saw nothing nor a read without a result says anything. */
static bool says_something(const struct history *h, const struct call *c) {
    return !c->optional || (h->status[c->op] != OP_FAIL && c->effect != EFFECT_NONE);
}

/* The calls have their positions. Translates them and moves those that stay together; the returns follow. */
static bool partition_encode(struct partition *p, const struct model *m, const uint32_t *ops, uint32_t *bad_op,
                             const char **why) {
    uint32_t kept = 0, effects = 0, *moved = NULL;
    bool known = true;
    for (uint32_t i = 0; i < p->count; i++) {
        uint32_t later = ops[i + LOOK_AHEAD < p->count ? i + LOOK_AHEAD : i];
        __builtin_prefetch(&p->h->f[later]);
        __builtin_prefetch(&p->h->argument[later]);
        __builtin_prefetch(&p->h->result[later]);
        struct call c = p->calls[i];
        c.op = ops[i];
        c.optional = c.returned == NONE;
        known = encode(p, m, &c, why);
        if (!known) {
            *bad_op = c.op;
            break;
        }
        p->calls[kept] = c;
        if (moved) moved[i] = kept;
        if (says_something(p->h, &c)) {
            effects |= effect_bit(&c);
            kept++;
        } else if (!moved) {
            moved = xmalloc_large(p->count * sizeof *moved);
            for (uint32_t k = 0; k <= i; k++) moved[k] = k;
        }
    }
    for (uint32_t i = 0; moved && known && i < p->returns_count; i++) p->returns[i] = moved[p->returns[i]];
    free(moved);
    p->count = kept;
    if (known) partition_classify(p, effects);
    return known;
}

bool partition_make(struct partition *p, const struct model *m, const struct history *h, uint32_t key,
                    const uint32_t *ops, uint32_t count, uint32_t *bad_op, const char **why) {
    partition_reserve(p, count);
    values_clear(p->values);
    values_reserve(p->values, count);
    p->h = h;
    p->key = key;
    p->count = count;
    p->initial = model_initial(m, h, p->values);
    _Static_assert(sizeof(struct call) % sizeof(uint32_t) == 0, "calls are whole words apart");
    size_t stride = sizeof(struct call) / sizeof(uint32_t);
    p->returns_count = order_events_into(h, ops, count, &p->calls->invoked, &p->calls->returned, stride, p->returns);
    return partition_encode(p, m, ops, bad_op, why);
}

void partition_copy(const struct partition *p, struct partition *into) {
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
    partition_classify_again(into);
}

static int by_return(const void *a, const void *b, void *of) {
    const struct call *x = &((struct call *)of)[*(const uint32_t *)a], *y = &((struct call *)of)[*(const uint32_t *)b];
    return x->returned < y->returned ? -1 : x->returned > y->returned;
}

void partition_pick(const struct partition *p, const uint64_t *items, uint32_t count, uint32_t now,
                    struct partition *into) {
    partition_reserve(into, count);
    struct partition picked = *p;
    picked.calls = into->calls;
    picked.returns = into->returns;
    picked.capacity = into->capacity;
    picked.count = count;
    picked.returns_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct call *c = &picked.calls[i];
        *c = p->calls[items[i] >> 1];
        if (!(items[i] & 1)) c->guard = GUARD_ANY;
        if (c->returned > now) c->returned = NONE;
        c->optional = c->returned == NONE;
        if (!c->optional) picked.returns[picked.returns_count++] = i;
    }
    if (picked.returns_count)
        qsort_r(picked.returns, picked.returns_count, sizeof *picked.returns, by_return, picked.calls);
    *into = picked;
    partition_classify_again(into);
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
    partition_classify_again(into);
    free(keep);
}

void partition_read_instead(const struct partition *p, uint32_t c, uint32_t value, struct partition *into) {
    partition_copy(p, into);
    into->calls[c].guard = value;
    into->calls[c].effect = EFFECT_NONE;
    partition_classify_again(into);
}

void partition_free(struct partition *p) {
    free(p->calls);
    free(p->returns);
    *p = (struct partition){0};
}

uint64_t partition_bytes(const struct partition *p) {
    return (uint64_t)p->capacity * (sizeof *p->calls + sizeof *p->returns) + values_bytes(p->values);
}
