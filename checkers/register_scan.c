/* The ordinary history of registers: reads and writes of different integers. It is decided by the
 * conditions of register.c, which are simpler as there is no cas; for all keys at once, in the order of the log, and
 * without translating it first: memory that is touched for the first time costs more than the decision.
 *
 * Instead of positions, times are compared: a return with an invocation. Only where the two are equal the order of
 * events needs a closer look. */
#include "checkers/internal.h"

#include <stdlib.h>

#define PLACES_PER_OP 4u /* of the table of values */
#define PLACES_MAX (UINT64_C(1) << 31)

struct source { /* by value */
    uint32_t setter, zone;
};

struct zone {            /* of a write, or the initial value, and its reads */
    uint32_t first;      /* the operation that returned first; NONE: the initial value was there before all */
    uint32_t last;       /* the operation, of those that surely happened, that was invoked last; NONE: none */
    uint32_t covered_by; /* as in register.c */
    uint32_t looked_at;  /* the youngest zone below which all are covered by this one, if they are younger */
    uint32_t next;       /* of the same key, in order of `first`; NONE */
};

struct scan_key {
    int64_t least, most;   /* of the integers that are written; least > most: none */
    uint32_t base, places; /* of its values among the sources */
    uint32_t youngest;     /* zone */
    bool used;
};

struct scan {
    const struct history *h;
    struct scan_key *keys; /* by slot: the number of the key plus 1, and 0 for operations without a key */
    uint32_t keys_count, keys_used, writes;
    int64_t least, most; /* of the integers that are written */
    bool one_key;
    bool shared; /* all keys have one table, in which each value is written once */
    bool hashed; /* the place of a value is where it stands in `values` */
    int64_t *values;
    uint32_t values_count;
    struct source *sources; /* by place: of the values, then of the initial value of each key, then one for nothing */
    uint32_t places;
    uint32_t *place; /* of what the operation reads or writes; NONE: nobody writes that */
    struct zone *zones;
    uint32_t zones_count;
    const uint32_t *order; /* operations that return, in order of return */
    uint32_t returns;
    enum decision decision;
    uint32_t crossed; /* a zone; NONE */
};

static uint32_t slot_of(const struct history *h, uint32_t op) {
    return h->key[op] + 1;
}

static inline const struct value *value_of_op(const struct history *h, uint32_t op) {
    const struct value *columns[] = {h->argument, h->result};
    return columns[h->f[op] == OP_READ] + op;
}

/* --- is it ordinary? ---------------------------------------------------------------------------------------------- */

static uint64_t span(int64_t least, int64_t most) {
    return (uint64_t)most - (uint64_t)least;
}

/* Whether an operation reads or writes is as good as random: the loops do without a branch for that. */
static bool all_read_or_write(struct scan *s) {
    const struct history *h = s->h;
    int64_t low = INT64_MAX, high = INT64_MIN;
    bool strange = false;
    for (uint32_t op = 0; op < h->count; op++) {
        bool write = h->f[op] == OP_WRITE;
        s->one_key &= h->key[op] == h->key[0];
        strange |= h->f[op] != OP_READ && (!write || h->argument[op].kind != VALUE_INT);
        int64_t value = h->argument[op].integer;
        int64_t at_least = write ? value : INT64_MAX, at_most = write ? value : INT64_MIN;
        low = at_least < low ? at_least : low;
        high = at_most > high ? at_most : high;
        s->writes += write;
    }
    s->least = low;
    s->most = high;
    return !strange && s->writes > 0;
}

static void look_at_keys(struct scan *s) {
    const struct history *h = s->h;
    if (s->one_key) {
        s->keys[slot_of(h, 0)] = (struct scan_key){.least = s->least, .most = s->most, .used = true};
        return;
    }
    for (uint32_t op = 0; op < h->count; op++) {
        struct scan_key *k = &s->keys[slot_of(h, op)];
        int64_t value = h->argument[op].integer;
        bool write = h->f[op] == OP_WRITE;
        k->used = true;
        k->least = write && value < k->least ? value : k->least;
        k->most = write && value > k->most ? value : k->most;
    }
}

/* Values that are far apart have their places by hashing. Sixteen that follow one another stay together, as those that
 * a client counts up are used together. */
#define RUN 16u
#define HASHED_EMPTY INT64_MIN

static bool lay_out_hashed(struct scan *s) {
    uint64_t places = 1024;
    while (places < 2 * (uint64_t)s->writes) places *= 2;
    if (places > PLACES_MAX || s->least == HASHED_EMPTY) return false;
    s->places = (uint32_t)places;
    s->hashed = true;
    return true;
}

/* NONE: the table is rather full, of values that nobody writes. */
static uint32_t hashed_place(struct scan *s, int64_t value) {
    uint64_t run = hash_u64((uint64_t)value / RUN) * RUN;
    uint32_t at = (uint32_t)((run + (uint64_t)value % RUN) & (s->places - 1));
    while (s->values[at] != value && s->values[at] != HASHED_EMPTY) at = (at + 1) & (s->places - 1);
    if (s->values[at] == value) return at;
    if (s->values_count >= s->places / 4 * 3 || value == HASHED_EMPTY) return NONE;
    s->values[at] = value;
    s->values_count++;
    return at;
}

/* A table for each key, if they are small enough; else one for all. */
static bool lay_out(struct scan *s) {
    uint64_t places_max = (uint64_t)PLACES_PER_OP * s->h->count, places = 0;
    if (places_max > PLACES_MAX) places_max = PLACES_MAX;
    for (uint32_t slot = 0; slot < s->keys_count && places < places_max; slot++) {
        struct scan_key *k = &s->keys[slot];
        if (k->least > k->most) continue;
        uint64_t own = span(k->least, k->most);
        if (own >= places_max) places = places_max;
        k->base = (uint32_t)places;
        k->places = (uint32_t)own + 1;
        places += k->places;
    }
    s->shared = places >= places_max;
    bool wide = span(s->least, s->most) >= places_max;
    if (s->shared) places = wide ? 1 : span(s->least, s->most) + 1;
    for (uint32_t slot = 0; slot < s->keys_count; slot++) {
        struct scan_key *k = &s->keys[slot];
        s->keys_used += k->used;
        if (s->shared) *k = (struct scan_key){.least = s->least, .places = (uint32_t)places, .used = k->used};
    }
    s->places = (uint32_t)places;
    return !s->shared || !wide || lay_out_hashed(s);
}

/* Where the value stands among the sources; NONE: nobody writes it. */
static inline uint32_t place_of(const struct scan *s, const struct value *v, uint32_t slot) {
    const struct scan_key *k = &s->keys[slot];
    uint64_t at = (uint64_t)v->integer - (uint64_t)k->least;
    uint32_t otherwise = v->kind == VALUE_NIL ? s->places + slot : NONE;
    return v->kind == VALUE_INT && at < k->places ? k->base + (uint32_t)at : otherwise;
}

/* False if a value is written again. */
static bool find_setters(struct scan *s) {
    const struct history *h = s->h;
    struct source *sources = s->sources;
    uint32_t nothing = s->places + s->keys_count;
    bool again = false;
    for (uint32_t op = 0; op < h->count; op++) {
        const struct value *v = value_of_op(h, op);
        bool hashed = s->hashed && v->kind == VALUE_INT;
        uint32_t place = hashed ? hashed_place(s, v->integer) : place_of(s, v, slot_of(h, op));
        bool sets = (h->f[op] == OP_WRITE) & (h->status[op] != OP_FAIL);
        if (hashed && place == NONE) return false;
        uint32_t *setter = &sources[sets ? place : nothing].setter;
        again |= sets & (*setter != NONE);
        *setter = op;
        s->place[op] = place;
    }
    return !again;
}

/* --- going through the returns ------------------------------------------------------------------------------------ */

static bool breaks(struct scan *s, uint32_t crossed) {
    s->crossed = crossed;
    s->decision = DECIDED_INVALID;
    return false;
}

static uint32_t zone_add(struct scan *s, struct scan_key *k, uint32_t first, uint32_t last) {
    uint32_t zone = s->zones_count++;
    s->zones[zone] = (struct zone){first, last, NONE, zone, NONE};
    if (first != NONE) s->zones[k->youngest].next = zone;
    k->youngest = zone;
    return zone;
}

/* The first operation invoked, or in the order of returns, not before now. */
static uint32_t first_at(const struct scan *s, const uint64_t *times_ns, const uint32_t *order, uint64_t now) {
    uint32_t low = 0, high = order ? s->returns : s->h->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (times_ns[order ? order[middle] : middle] < now) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Did nobody but its process act on its key in the instant? (order.c) */
static bool alone_at(const struct scan *s, uint64_t now, uint32_t with) {
    const struct history *h = s->h;
    for (uint32_t op = first_at(s, h->invoke_ns, NULL, now); op < h->count && h->invoke_ns[op] == now; op++)
        if (h->key[op] == h->key[with] && h->process[op] != h->process[with]) return false;
    for (uint32_t i = first_at(s, h->complete_ns, s->order, now); i < s->returns; i++) {
        uint32_t op = s->order[i];
        if (h->complete_ns[op] != now) break;
        if (h->key[op] == h->key[with] && h->process[op] != h->process[with]) return false;
    }
    return true;
}

/* Did the one return before the other was invoked? */
static inline bool precedes(const struct scan *s, uint32_t returned, uint32_t invoked) {
    if (returned == NONE) return true; /* the initial value was there before all */
    uint64_t end_ns = s->h->complete_ns[returned], begin_ns = s->h->invoke_ns[invoked];
    if (end_ns != begin_ns) return end_ns < begin_ns;
    return returned < invoked && alone_at(s, end_ns, invoked);
}

/* register.c's include(). */
static bool scan_include(struct scan *s, uint32_t zone, uint32_t op) {
    struct zone *a = &s->zones[zone];
    if (a->last != NONE && op <= a->last) return true;
    a->last = op;
    if (a->covered_by != NONE && precedes(s, s->zones[a->covered_by].first, op)) return breaks(s, a->covered_by);
    for (;;) {
        uint32_t other = s->zones[a->looked_at].next;
        if (other == NONE || !precedes(s, s->zones[other].first, op)) return true;
        if (precedes(s, a->first, s->zones[other].last)) return breaks(s, other);
        s->zones[other].covered_by = zone;
        a->looked_at = other;
    }
}

static bool scan_returned(struct scan *s, uint32_t op) {
    if (s->place[op] == NONE) return breaks(s, NONE);
    const struct history *h = s->h;
    struct source *x = &s->sources[s->place[op]];
    if (s->shared && x->setter != NONE && h->key[x->setter] != h->key[op]) return breaks(s, NONE);
    if (x->zone == NONE) {
        if (x->setter == NONE || (x->setter != op && precedes(s, op, x->setter))) return breaks(s, NONE);
        x->zone = zone_add(s, &s->keys[slot_of(h, op)], op, x->setter);
    }
    return scan_include(s, x->zone, op);
}

/* --- the finding -------------------------------------------------------------------------------------------------- */

/* All operations on the values in question: that of the last to return, and that of the zone it crossed. */
static void find_ops(const struct scan *s, uint32_t position, struct scan_finding *found) {
    const struct history *h = s->h;
    uint32_t last = s->order[position], capacity = 0, place = s->place[last], crossed = place;
    if (s->crossed != NONE) {
        uint32_t first = s->zones[s->crossed].first;
        crossed = first == NONE ? s->places + slot_of(h, last) : s->place[first];
    }
    found->key = h->key[last];
    for (uint32_t i = 0; i < position; i++) found->whole.position += h->key[s->order[i]] == found->key;
    for (uint32_t op = 0; op < h->count; op++) {
        bool ok = h->status[op] == OP_OK;
        if (h->key[op] != found->key || h->status[op] == OP_FAIL || (h->f[op] == OP_READ && !ok)) continue;
        found->whole.calls++;
        found->whole.returns += ok;
        if (op != last && (place == NONE || (s->place[op] != place && s->place[op] != crossed))) continue;
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
        find_ops(s, i, found);
        return;
    }
}

/* --- the scan ----------------------------------------------------------------------------------------------------- */

/* Needs room for the places of the values, and of the operations. */
static void scan_sources(struct scan *s, struct budget *b, struct scan_finding *found) {
    size_t count = s->h->count, zones = (size_t)s->writes + s->keys_count;
    size_t scratch_bytes = ORDER_SCRATCH_WORDS(count) * sizeof(uint32_t), zones_bytes = zones * sizeof *s->zones;
    if (scratch_bytes < zones_bytes) scratch_bytes = zones_bytes;
    size_t sources_bytes = ((size_t)s->places + s->keys_count + 1) * sizeof *s->sources;
    size_t values_bytes = s->hashed ? s->places * sizeof *s->values : 0;
    uint64_t bytes = sources_bytes + scratch_bytes + values_bytes + 2 * count * sizeof *s->place;
    if (!budget_claim(b, bytes)) return;
    s->values = xmalloc_large(values_bytes);
    for (uint32_t i = 0; s->hashed && i < s->places; i++) s->values[i] = HASHED_EMPTY;
    s->sources = memset(xmalloc_large(sources_bytes), 0xff, sources_bytes);
    s->place = xmalloc_large(2 * count * sizeof *s->place);
    if (find_setters(s)) {
        uint32_t *order = s->place + count;
        void *scratch = xmalloc_large(scratch_bytes);
        s->returns = order_returns(s->h, NULL, s->h->count, order, scratch);
        s->order = order;
        s->zones = scratch; /* the sorting is over */
        for (uint32_t slot = 0; slot < s->keys_count; slot++)
            s->sources[s->places + slot].zone = zone_add(s, &s->keys[slot], NONE, NONE);
        s->decision = DECIDED_VALID;
        go_through_returns(s, b, found);
        free(scratch);
    }
    free(s->place);
    free(s->values);
    free(s->sources);
    budget_release(b, bytes);
}

enum decision register_scan(const struct model *m, const struct history *h, struct budget *b,
                            struct scan_finding *found) {
    struct scan s = {.h = h, .keys_count = h->strings.count + 1, .decision = UNDECIDED, .crossed = NONE};
    s.one_key = true;
    const uint32_t functions = UINT32_C(1) << OP_READ | UINT32_C(1) << OP_WRITE;
    *found = (struct scan_finding){0};
    if (m->nil.kind != VALUE_NIL || (m->functions & functions) != functions || budget_spent_now(b)) return UNDECIDED;
    if (s.keys_count > h->count || !all_read_or_write(&s)) return UNDECIDED;
    s.keys = xmalloc(s.keys_count * sizeof *s.keys);
    for (uint32_t slot = 0; slot < s.keys_count; slot++)
        s.keys[slot] = (struct scan_key){.least = INT64_MAX, .most = INT64_MIN};
    look_at_keys(&s);
    if (lay_out(&s)) scan_sources(&s, b, found);
    found->keys = s.keys_used;
    free(s.keys);
    return s.decision;
}
