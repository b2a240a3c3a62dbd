/* The ordinary history of a register: reads and writes of different values, in a narrow range. It is decided by the
 * conditions of register.c, which here are simpler as there is no cas, without translating it first: memory that is
 * touched for the first time costs more than the decision.
 *
 * Instead of positions, times are compared: a return with an invocation. Only where the two are equal the order of
 * events needs a closer look. */
#include "checkers/internal.h"

#include <stdlib.h>

#define SEVERAL (NONE - 1)
#define PLACES_PER_OP 4u /* of the table of values */

struct source { /* by value */
    uint32_t setter, chain;
};

struct zone {              /* of a write, or the initial value, and its reads; in order of `first` */
    uint32_t first;        /* the operation that returned first; NONE: the initial value was there before all */
    uint32_t last;         /* the operation, of those that surely happened, that was invoked last; NONE: none */
    uint32_t covered_by;   /* as in register.c */
    uint32_t looked_up_to; /* as in register.c */
};

struct scan {
    const struct history *h;
    const uint32_t *ops;
    uint32_t count, writes;
    int64_t least; /* of the integers that are written */
    uint32_t places;
    struct source *sources; /* by value less the least; then the initial value's, and one that does not count */
    uint32_t *place;        /* by index into ops: of what it reads or writes among the sources */
    struct zone *zones;
    uint32_t zones_count;
    const uint32_t *order; /* indexes into ops of those that return, in order of return */
    uint32_t returns;
    enum decision decision;
    uint32_t crossed; /* a zone; NONE */
};

/* Where its value stands among the sources; NONE: nobody writes that. */
static inline uint32_t place_of(const struct scan *s, const struct value *v) {
    uint64_t at = (uint64_t)v->integer - (uint64_t)s->least;
    uint32_t otherwise = v->kind == VALUE_NIL ? s->places : NONE;
    return v->kind == VALUE_INT && at < s->places ? (uint32_t)at : otherwise;
}

static inline const struct value *value_of_op(const struct history *h, uint32_t op) {
    const struct value *columns[] = {h->argument, h->result};
    return columns[h->f[op] == OP_READ] + op;
}

/* --- is it ordinary? ---------------------------------------------------------------------------------------------- */

/* Whether an operation reads or writes is as good as random: the two loops do without a branch for that. */
static bool look_at_operations(struct scan *s) {
    const struct history *h = s->h;
    int64_t least = INT64_MAX, most = INT64_MIN;
    bool strange = false;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t op = s->ops[i];
        bool write = h->f[op] == OP_WRITE;
        strange |= h->f[op] != OP_READ && (!write || h->argument[op].kind != VALUE_INT);
        int64_t value = h->argument[op].integer, low = write ? value : INT64_MAX, high = write ? value : INT64_MIN;
        least = low < least ? low : least;
        most = high > most ? high : most;
        s->writes += write;
    }
    s->least = least;
    if (strange || s->writes == 0) return false;
    if ((uint64_t)most - (uint64_t)least >= (uint64_t)PLACES_PER_OP * s->count) return false;
    s->places = (uint32_t)((uint64_t)most - (uint64_t)least) + 1;
    return true;
}

/* What does not set anything goes to a place of its own. */
static bool find_setters(struct scan *s) {
    const struct history *h = s->h;
    struct source *sources = s->sources;
    uint32_t nowhere = s->places + 1;
    bool again = false;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t op = s->ops[i], place = place_of(s, value_of_op(h, op));
        bool sets = (h->f[op] == OP_WRITE) & (h->status[op] != OP_FAIL);
        uint32_t *setter = &sources[sets ? place : nowhere].setter;
        again |= sets & (*setter != NONE);
        *setter = op;
        s->place[i] = place;
    }
    return !again;
}

/* --- going through the returns ------------------------------------------------------------------------------------ */

static bool scan_end(struct scan *s, enum decision decision) {
    s->decision = decision;
    return false;
}

static bool crosses(struct scan *s, uint32_t zone) {
    s->crossed = zone;
    return scan_end(s, DECIDED_INVALID);
}

static uint32_t zone_add(struct scan *s, uint32_t first, uint32_t last) {
    uint32_t zone = s->zones_count++;
    s->zones[zone] = (struct zone){first, last, NONE, zone + 1};
    return zone;
}

/* The first of the sorted operations whose time is not before now. */
static uint32_t first_at(const struct scan *s, const uint64_t *times_ns, bool of_returns, uint64_t now) {
    uint32_t low = 0, high = of_returns ? s->returns : s->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2, op = s->ops[of_returns ? s->order[middle] : middle];
        if (times_ns[op] < now) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Did nobody but this process act in the instant? (order.c) */
static bool alone_at(const struct scan *s, uint64_t now, uint32_t process) {
    const struct history *h = s->h;
    for (uint32_t i = first_at(s, h->invoke_ns, false, now); i < s->count && h->invoke_ns[s->ops[i]] == now; i++)
        if (h->process[s->ops[i]] != process) return false;
    for (uint32_t j = first_at(s, h->complete_ns, true, now); j < s->returns; j++) {
        uint32_t op = s->ops[s->order[j]];
        if (h->complete_ns[op] != now) break;
        if (h->process[op] != process) return false;
    }
    return true;
}

/* Did the one return before the other was invoked? */
static inline bool precedes(const struct scan *s, uint32_t returned, uint32_t invoked) {
    if (returned == NONE) return true; /* the initial value was there before all */
    uint64_t end_ns = s->h->complete_ns[returned], begin_ns = s->h->invoke_ns[invoked];
    if (end_ns != begin_ns) return end_ns < begin_ns;
    return returned < invoked && alone_at(s, end_ns, s->h->process[invoked]);
}

/* register.c's include(). */
static bool scan_include(struct scan *s, uint32_t zone, uint32_t op) {
    struct zone *a = &s->zones[zone];
    if (a->last != NONE && op <= a->last) return true;
    a->last = op;
    if (a->covered_by != NONE && precedes(s, s->zones[a->covered_by].first, op)) return crosses(s, a->covered_by);
    for (; a->looked_up_to < s->zones_count; a->looked_up_to++) {
        struct zone *b = &s->zones[a->looked_up_to];
        if (!precedes(s, b->first, op)) break;
        if (precedes(s, a->first, b->last)) return crosses(s, a->looked_up_to);
        b->covered_by = zone;
    }
    return true;
}

static bool scan_returned(struct scan *s, uint32_t index) {
    if (s->place[index] == NONE) return scan_end(s, DECIDED_INVALID);
    struct source *x = &s->sources[s->place[index]];
    uint32_t op = s->ops[index];
    if (x->chain == NONE) {
        if (x->setter == NONE || (x->setter != op && precedes(s, op, x->setter))) return scan_end(s, DECIDED_INVALID);
        x->chain = zone_add(s, op, x->setter);
    }
    return scan_include(s, x->chain, op);
}

/* --- the finding -------------------------------------------------------------------------------------------------- */

static bool is_value_of(const struct scan *s, struct value v, uint32_t zone) {
    if (zone == NONE) return false;
    if (s->zones[zone].first == NONE) return v.kind == VALUE_NIL;
    return history_value_equal(s->h, v, *value_of_op(s->h, s->zones[zone].first));
}

/* All operations on the values in question: that of the last to return, and that of the zone it crossed. */
static void find_ops(const struct scan *s, uint32_t last, struct scan_finding *found) {
    const struct history *h = s->h;
    struct value value = *value_of_op(h, last);
    uint32_t capacity = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t op = s->ops[i];
        if (h->status[op] == OP_FAIL || (h->f[op] == OP_READ && h->status[op] != OP_OK)) continue;
        struct value v = *value_of_op(h, op);
        found->whole.calls++;
        if (!history_value_equal(h, v, value) && !is_value_of(s, v, s->crossed)) continue;
        if (found->ops_count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            found->ops = xrealloc(found->ops, capacity * sizeof *found->ops);
        }
        found->ops[found->ops_count++] = op;
    }
}

static void go_through_returns(struct scan *s, struct budget *b, struct scan_finding *found) {
    for (uint32_t i = 0; i < s->returns; i++) {
        if (budget_spent(b)) {
            s->decision = UNDECIDED;
            return;
        }
        if (scan_returned(s, s->order[i])) continue;
        found->whole = (struct extent){.returns = s->returns, .position = i};
        find_ops(s, s->ops[s->order[i]], found);
        return;
    }
}

enum decision register_scan(const struct model *m, const struct history *h, const uint32_t *ops, uint32_t count,
                            struct budget *b, struct scan_finding *found) {
    struct scan s = {.h = h, .ops = ops, .count = count, .decision = DECIDED_VALID, .crossed = NONE};
    uint32_t functions = UINT32_C(1) << OP_READ | UINT32_C(1) << OP_WRITE;
    *found = (struct scan_finding){0};
    bool known = m->nil.kind == VALUE_NIL && (m->functions & functions) == functions;
    if (!known || budget_spent_now(b) || !look_at_operations(&s)) return UNDECIDED;
    size_t sources_bytes = ((size_t)s.places + 2) * sizeof *s.sources;
    size_t scratch_words = ORDER_SCRATCH_WORDS(count), zones_words = ((size_t)s.writes + 1) * sizeof(struct zone) / 4;
    if (scratch_words < zones_words) scratch_words = zones_words;
    uint64_t bytes = sources_bytes + (scratch_words + 2 * (size_t)count) * sizeof(uint32_t);
    if (!budget_claim(b, bytes)) return UNDECIDED;

    s.sources = memset(xmalloc_large(sources_bytes), 0xff, sources_bytes);
    s.place = xmalloc_large(2 * (size_t)count * sizeof *s.place);
    if (find_setters(&s)) {
        uint32_t *order = s.place + count;
        void *scratch = xmalloc_large(scratch_words * sizeof(uint32_t));
        s.returns = order_returns(h, ops, count, order, scratch);
        s.order = order;
        s.zones = scratch; /* sorting is over */
        s.sources[s.places].chain = zone_add(&s, NONE, NONE);
        go_through_returns(&s, b, found);
        free(scratch);
    } else {
        s.decision = UNDECIDED;
    }
    free(s.place);
    free(s.sources);
    budget_release(b, bytes);
    return s.decision;
}
