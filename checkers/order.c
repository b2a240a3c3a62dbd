/* The order of events within a key, in linear time: invocations stand in order already; endings are sorted by
 * distribution, and the two are merged. */
#include "checkers/internal.h"

#include <stdlib.h>

/* --- sorting endings ---------------------------------------------------------------------------------------------- */

struct events { /* of the operations of a key, which are known by their index among them */
    const struct history *h;
    const uint32_t *ops;
    uint32_t count;
};

static inline uint32_t op_at(const struct events *x, uint32_t index) {
    return x->ops[index];
}

static inline uint64_t begin_ns(const struct events *x, uint32_t index) {
    return x->h->invoke_ns[op_at(x, index)];
}

static inline uint64_t end_ns(const struct events *x, uint32_t index) {
    return x->h->complete_ns[op_at(x, index)];
}

#define INSERTION_MAX 32u /* endings of one bucket that are left to the insertion sort */
#define SMALL_MAX 128u    /* endings in all for which buckets do not pay */

/* Stable. Linear where no ending is far from its place. */
static void sort_by_insertion(const struct events *x, uint32_t *e, uint32_t count) {
    uint64_t last_ns = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t held = e[i], k = i;
        uint64_t held_ns = end_ns(x, held);
        if (held_ns >= last_ns) {
            last_ns = held_ns;
            continue;
        }
        for (; k > 0 && end_ns(x, e[k - 1]) > held_ns; k--) e[k] = e[k - 1];
        e[k] = held;
    }
}

struct range {
    uint64_t least, most;
};

static void range_add(struct range *r, uint64_t ns) {
    r->least = ns < r->least ? ns : r->least;
    r->most = ns > r->most ? ns : r->most;
}

/* Stable; from `e`, with times in the range, into `sorted`; `end` is memory for count + 1 words. Buckets of equal
 * width, about as many as endings; one that got too much is sorted likewise by itself. Each level takes more than four
 * bits off the range, so there are at most 16. */
static void sort_by_end(const struct events *x, struct range r, uint32_t *e, uint32_t count, uint32_t *sorted,
                        uint32_t *end) {
    uint64_t least = r.least;
    uint32_t shift = 0, fullest = 0;
    while ((r.most - least) >> shift >= count) shift++;
    uint32_t buckets = (uint32_t)((r.most - least) >> shift) + 1;
    memset(end, 0, ((size_t)buckets + 1) * sizeof *end);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t filled = ++end[((end_ns(x, e[i]) - least) >> shift) + 1];
        fullest = filled > fullest ? filled : fullest;
    }
    for (uint32_t b = 0; b < buckets; b++) end[b + 1] += end[b];
    for (uint32_t i = 0; i < count; i++) sorted[end[(end_ns(x, e[i]) - least) >> shift]++] = e[i];
    uint32_t begin = 0;
    for (uint32_t b = 0; shift > 0 && fullest > INSERTION_MAX && b < buckets; begin = end[b++]) {
        uint32_t size = end[b] - begin;
        if (size <= INSERTION_MAX) continue;
        struct range within = {UINT64_MAX, 0};
        for (uint32_t i = begin; i < end[b]; i++) range_add(&within, end_ns(x, sorted[i]));
        memcpy(e + begin, sorted + begin, size * sizeof *e);
        uint32_t *own_end = xmalloc(((size_t)size + 1) * sizeof *own_end);
        sort_by_end(x, within, e + begin, size, sorted + begin, own_end);
        free(own_end);
    }
    if (shift > 0) sort_by_insertion(x, sorted, count);
}

/* --- which operations return -------------------------------------------------------------------------------------- */

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

/* The indexes of the operations that return, in order of time; returns how many. */
static uint32_t order_returns(const struct history *h, const uint32_t *ops, uint32_t count, uint32_t *order,
                              uint32_t *scratch) {
    const struct events x = {h, ops, count};
    uint32_t *e = scratch, n = 0;
    uint64_t last_ns = 0;
    bool in_order = true;
    struct range range = {UINT64_MAX, 0};
    for (uint32_t i = 0; i < count; i++) {
        uint64_t ns = end_ns(&x, i);
        uint32_t later = ops[i + LOOK_AHEAD < count ? i + LOOK_AHEAD : i];
        __builtin_prefetch(&h->complete_ns[later]);
        __builtin_prefetch(&h->invoke_ns[later]);
        __builtin_prefetch(&h->status[later]);
        if (!returns(h, op_at(&x, i))) continue;
        e[n++] = i;
        range_add(&range, ns);
        in_order &= last_ns <= ns;
        last_ns = ns;
    }
    if (in_order || n <= SMALL_MAX) {
        memcpy(order, e, n * sizeof *order);
        if (!in_order) sort_by_insertion(&x, order, n);
    } else {
        sort_by_end(&x, range, e, n, order, scratch + count);
    }
    return n;
}

/* --- merging ------------------------------------------------------------------------------------------------------ */

#define BLOCK 512u /* times that are fetched at once, so that the merge need not wait for memory */

struct merge {
    struct events events;
    const uint32_t *order;
    uint32_t ends, i, j, position; /* the next invocation, the next ending */
    uint32_t i_fetched, j_fetched; /* up to which: begins_ns[i % BLOCK], ends_ns[j % BLOCK] */
    uint64_t begins_ns[BLOCK], ends_ns[BLOCK];
    uint32_t *invoked, *returned;
    size_t stride;
};

/* The instant in which both an invocation and an ending stand: invocations first, or if all events are of one process,
 * in its order. */
static void merge_instant(struct merge *m, uint64_t now) {
    const struct events *x = &m->events;
    const uint32_t *process_of = x->h->process;
    uint32_t i_end = m->i, j_end = m->j, process = process_of[x->ops[m->i]];
    bool alone = true;
    for (; i_end < x->count && begin_ns(x, i_end) == now; i_end++) alone &= process_of[x->ops[i_end]] == process;
    for (; j_end < m->ends && end_ns(x, m->order[j_end]) == now; j_end++)
        alone &= process_of[x->ops[m->order[j_end]]] == process;
    while (m->i < i_end || m->j < j_end) {
        bool call_next = m->i < i_end && (m->j == j_end || !alone || m->order[m->j] >= m->i);
        if (call_next) {
            m->invoked[m->i++ * m->stride] = m->position++;
        } else {
            m->returned[m->order[m->j++] * m->stride] = m->position++;
        }
    }
}

static void fetch(struct merge *m) {
    if (m->i >= m->i_fetched) {
        uint32_t end = m->i + BLOCK - m->i % BLOCK;
        m->i_fetched = end < m->events.count ? end : m->events.count;
        for (uint32_t i = m->i; i < m->i_fetched; i++) m->begins_ns[i % BLOCK] = begin_ns(&m->events, i);
    }
    if (m->j >= m->j_fetched) {
        uint32_t end = m->j + BLOCK - m->j % BLOCK;
        m->j_fetched = end < m->ends ? end : m->ends;
        for (uint32_t j = m->j; j < m->j_fetched; j++) m->ends_ns[j % BLOCK] = end_ns(&m->events, m->order[j]);
    }
}

/* Up to the end of a block, or an instant that has both. Both positions are written, and one of them counts: which is
 * as good as random, so a branch would be slow. What is written too early is written again later. */
static void merge_block(struct merge *m) {
    uint32_t i = m->i, j = m->j, position = m->position;
    while (i < m->i_fetched && j < m->j_fetched) {
        uint64_t begin = m->begins_ns[i % BLOCK], end = m->ends_ns[j % BLOCK];
        if (begin == end) break;
        m->invoked[i * m->stride] = position;
        m->returned[m->order[j] * m->stride] = position++;
        bool call_next = begin < end;
        i += call_next;
        j += !call_next;
    }
    m->i = i;
    m->j = j;
    m->position = position;
}

static void merge_events(struct merge *m) {
    while (m->i < m->events.count && m->j < m->ends) {
        fetch(m);
        merge_block(m);
        if (m->i >= m->i_fetched || m->j >= m->j_fetched) continue;
        merge_instant(m, m->begins_ns[m->i % BLOCK]);
    }
    while (m->i < m->events.count) m->invoked[m->i++ * m->stride] = m->position++;
    while (m->j < m->ends) m->returned[m->order[m->j++] * m->stride] = m->position++;
}

uint32_t order_events_into(const struct history *h, const uint32_t *ops, uint32_t count, uint32_t *invoked,
                           uint32_t *returned, size_t stride, uint32_t *order) {
    struct merge m = {.events = {h, ops, count}, .invoked = invoked, .returned = returned, .stride = stride};
    m.order = order;
    uint32_t *scratch = xmalloc_large(ORDER_SCRATCH_WORDS(count) * sizeof *scratch);
    m.ends = order_returns(h, ops, count, order, scratch);
    free(scratch);
    for (uint32_t i = 0; i < count; i++) returned[i * stride] = NONE;
    merge_events(&m);
    return m.ends;
}

uint32_t order_events(const struct history *h, const uint32_t *ops, uint32_t count, uint32_t *invoked,
                      uint32_t *returned) {
    uint32_t *order = xmalloc_large(count * sizeof *order);
    uint32_t ends = order_events_into(h, ops, count, invoked, returned, 1, order);
    free(order);
    return ends;
}
