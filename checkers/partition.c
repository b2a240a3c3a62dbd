/* From a history to partitions: grouping by key (a history is linearizable if and only if each of its objects' is:
 * Herlihy and Wing 1990, theorem 1), and the removal of what cannot matter. */
#include "checkers/internal.h"

#include <stdlib.h>

/* --- groups by key ------------------------------------------------------------------------------------------------ */

/* Slot 0 is for operations without a key. */
static uint32_t key_slot_of(const struct history *h, uint32_t op) {
    return h->key[op] + 1;
}

static void count_keys(const struct history *h, uint32_t *sizes) {
    for (uint32_t op = 0; op < h->count;) {
        uint32_t begin = op, slot = key_slot_of(h, op);
        while (op < h->count && key_slot_of(h, op) == slot) op++;
        sizes[slot] += op - begin;
    }
}

/* The slots that have operations, into `sorted`: by size, then by slot. Sizes are small, so they are counted. */
static void sort_slots(const uint32_t *sizes, uint32_t slots, uint32_t largest, uint32_t *sorted) {
    uint32_t *begin = xcalloc((size_t)largest + 1, sizeof *begin), total = 0;
    for (uint32_t i = 0; i < slots; i++) begin[sizes[i]]++;
    begin[0] = 0;
    for (uint32_t size = 1; size <= largest; size++) {
        uint32_t count = begin[size];
        begin[size] = total;
        total += count;
    }
    for (uint32_t i = 0; i < slots; i++)
        if (sizes[i]) sorted[begin[sizes[i]]++] = i;
    free(begin);
}

static void fill_groups(struct groups *g, const struct history *h, uint32_t *sizes, uint32_t slots) {
    uint32_t largest = 0, total = 0;
    for (uint32_t i = 0; i < slots; i++) {
        g->count += sizes[i] > 0;
        if (sizes[i] > largest) largest = sizes[i];
    }
    g->key = xmalloc(g->count * sizeof *g->key);
    g->first = xmalloc((g->count + 1) * sizeof *g->first);
    g->ops = xmalloc_large(h->count * sizeof *g->ops);
    sort_slots(sizes, slots, largest, g->key);
    for (uint32_t i = 0; i < g->count; i++) {
        uint32_t slot = g->key[i], size = sizes[slot];
        g->key[i] = slot == 0 ? NO_STRING : slot - 1;
        g->first[i] = sizes[slot] = total; /* from now on the place of the next */
        total += size;
    }
    g->first[g->count] = total;
    for (uint32_t op = 0; op < h->count; op++) {
        uint32_t place = g->count == 1 ? op : sizes[key_slot_of(h, op)]++;
        g->ops[place] = op;
    }
}

bool groups_make(struct groups *g, const struct history *h, struct budget *b) {
    uint32_t slots = h->strings.count + 1, keys_max = slots < h->count ? slots : h->count;
    uint64_t passing = ((uint64_t)slots + h->count) * sizeof(uint32_t);
    *g = (struct groups){.bytes = (h->count + 2 * (uint64_t)keys_max) * sizeof(uint32_t)};
    if (!budget_claim(b, g->bytes + passing)) {
        *g = (struct groups){0};
        return false;
    }
    uint32_t *sizes = xcalloc(slots, sizeof *sizes);
    count_keys(h, sizes);
    fill_groups(g, h, sizes, slots);
    free(sizes);
    budget_release(b, passing);
    return !budget_spent_now(b);
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
    if (c->effect == EFFECT_NONE && c->guard == GUARD_ANY) return false;
    return !c->optional || (h->status[c->op] != OP_FAIL && c->effect != EFFECT_NONE);
}

/* Is there memory to intern the lists of an operation, and time? Values that are no lists were reckoned with before. */
static bool lists_fit(const struct partition *p, uint32_t op, struct budget *b, uint64_t *claimed) {
    const struct history *h = p->h;
    if (h->argument[op].kind != VALUE_LIST && h->result[op].kind != VALUE_LIST) return !budget_spent_by(b, 4);
    uint64_t more = values_in(h, h->argument[op]) + values_in(h, h->result[op]);
    if (budget_spent_by(b, more < BUDGET_WORK_MAX / 8 ? 8 * (uint32_t)more : BUDGET_WORK_MAX)) return false;
    return budget_claim_up_to(b, claimed, values_bytes_with(p->values, more));
}

static void move_returns(struct partition *p, const uint32_t *moved) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->returns_count; i++)
        if (moved[p->returns[i]] != NONE) p->returns[kept++] = moved[p->returns[i]];
    p->returns_count = kept;
}

/* The calls have their positions. Translates them and moves those that stay together; the returns follow. */
static bool partition_encode(struct partition *p, const struct model *m, const uint32_t *ops, struct budget *b,
                             uint32_t *bad_op, const char **why) {
    uint64_t claimed = 0;
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
        *why = NULL;
        *bad_op = c.op;
        known = lists_fit(p, c.op, b, &claimed) && encode(p, m, &c, why);
        if (!known) break;
        p->calls[kept] = c;
        bool stays = says_something(p->h, &c);
        if (!stays && !moved) {
            moved = xmalloc_large(p->count * sizeof *moved);
            for (uint32_t k = 0; k < i; k++) moved[k] = k;
        }
        if (moved) moved[i] = stays ? kept : NONE;
        if (!stays) continue;
        effects |= effect_bit(&c);
        kept++;
    }
    if (moved && known) move_returns(p, moved);
    free(moved);
    budget_release(b, claimed); /* whoever needs the partition asks for all of it */
    p->count = kept;
    if (known) partition_classify(p, effects);
    return known;
}

bool partition_make(struct partition *p, const struct model *m, const struct history *h, uint32_t key,
                    const uint32_t *ops, uint32_t count, struct budget *b, uint32_t *bad_op, const char **why) {
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
    return partition_encode(p, m, ops, b, bad_op, why);
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
