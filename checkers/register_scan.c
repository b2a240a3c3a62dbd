/* The ordinary history of registers: reads and writes of different integers, all keys at once. It is decided by Gibbons
 * and Korach's condition as it stands in register.c (4), in the order of the log and without translating or sorting it:
 * memory that is touched for the first time costs more than the decision.
 *
 * A zone is a value's write and its reads. It has the first return f among them, and the last invocation s. Two zones
 * cross if each has f before the other's s. Those with f before s ("forward") must not overlap in time, so they are a
 * list for each key, and mostly in the order of their writes; one with s before f crosses none but a forward one that
 * it lies within.
 *
 * Times that are equal are taken as if the return came first. Where that alone makes zones cross, or more than one
 * operation returned in the very instant that shows it, the answer is left to register.c, which looks closer.
 *
 * Zones that cross need not be the first that do. So the history is then taken as it stood just before that could be
 * told: the two shrink, no others come to cross by that, and looking goes on where it stopped. */
#include "checkers/internal.h"

#include <stdlib.h>

#define PLACES_PER_OP 2u /* of the table of values */
#define PLACES_MAX (UINT64_C(1) << 31)
#define LOOK_AT_CLOCK_OPS 16384u
#define STEPS_PER_OP 32u /* of walks along the forward zones: in a history that takes more they are not in order */

struct zone {             /* of a value */
    uint64_t first_ns;    /* return; UINT64_MAX: none */
    uint64_t last_ns;     /* invocation */
    uint32_t setter;      /* NONE: nobody, or not yet */
    uint32_t slot;        /* of the key, where all have one table; NONE */
    uint32_t older, next; /* forward zones of the same key, in order; NONE */
};

struct scan_key {
    int64_t least, most;   /* of the integers that are written; least > most: none */
    uint32_t base, places; /* of its values among the zones */
    uint32_t at, look_at;  /* forward zones: where the last was added, where the last look ended */
    bool used;
};

struct crossing { /* of two zones, or of one with itself: it was seen before its write began */
    uint32_t place, other;
};

struct scan {
    const struct history *h;
    struct budget *budget;
    struct scan_key *keys; /* by slot: the number of the key plus 1, and 0 for operations without a key */
    uint32_t keys_count, keys_used, writes;
    int64_t least, most; /* of the integers that are written */
    bool one_key;
    bool shared; /* all keys have one table, in which each value is written once */
    bool hashed; /* the place of a value is where it stands in `values` */
    int64_t *values;
    uint32_t values_count;
    struct zone
        *zones; /* by place: of the values, of the initial value of each key, of what nobody writes, of nothing */
    uint32_t places;
    uint32_t *written; /* places, in order of the writes */
    uint32_t written_count;
    uint32_t seen; /* zones that have a return */
    /* The look for zones that cross: */
    uint64_t until_ns;                  /* what returned later counts as if it had not */
    uint32_t looked_at, looked_at_seen; /* of `written`; zones among them, and initial ones, that have a return */
    uint32_t waiting_from, waiting_to;  /* of `written`, whose beginning is used again */
    uint64_t steps;                     /* left */
};

static uint32_t slot_of(const struct history *h, uint32_t op) {
    return h->key[op] + 1;
}

static inline const struct value *value_of_op(const struct history *h, uint32_t op) {
    const struct value *columns[] = {h->argument, h->result};
    return columns[h->f[op] == OP_READ] + op;
}

static inline uint32_t place_initial(const struct scan *s, uint32_t slot) {
    return s->places + slot;
}

static inline uint32_t place_unwritten(const struct scan *s) {
    return s->places + s->keys_count;
}

static inline uint32_t place_nothing(const struct scan *s) {
    return s->places + s->keys_count + 1;
}

static inline size_t zones_size(const struct scan *s) {
    return ((size_t)place_nothing(s) + 1) * sizeof *s->zones;
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
        if (op % LOOK_AT_CLOCK_OPS == 0 && (strange || budget_spent_now(s->budget))) return false;
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

/* Where the value stands among the zones. */
static inline uint32_t place_of(const struct scan *s, const struct value *v, uint32_t slot) {
    const struct scan_key *k = &s->keys[s->shared ? 0 : slot];
    uint64_t at = (uint64_t)v->integer - (uint64_t)k->least;
    uint32_t otherwise = v->kind == VALUE_NIL ? place_initial(s, slot) : place_unwritten(s);
    return v->kind == VALUE_INT && at < k->places ? k->base + (uint32_t)at : otherwise;
}

/* Of what the operation reads or writes. NONE: the table is full. */
static inline uint32_t place_of_op(struct scan *s, uint32_t op) {
    const struct value *v = value_of_op(s->h, op);
    if (s->hashed && v->kind == VALUE_INT) return hashed_place(s, v->integer);
    return place_of(s, v, slot_of(s->h, op));
}

/* --- zones -------------------------------------------------------------------------------------------------------- */

static inline bool has_returned(const struct scan *s, uint32_t op) {
    return (s->h->status[op] == OP_OK) & (s->h->complete_ns[op] <= s->until_ns);
}

/* A write that has not returned may have happened all the same. */
static inline bool sets(const struct scan *s, uint32_t op) {
    return (s->h->f[op] == OP_WRITE) & (s->h->status[op] != OP_FAIL);
}

/* Operations from..to become part of their zones. False: a value is written again, or stands under two keys. */
static bool add_ops(struct scan *s, uint32_t from, uint32_t to) {
    const struct history *h = s->h;
    bool again = false;
    for (uint32_t op = from; op < to; op++) {
        bool returned = has_returned(s, op), write = sets(s, op);
        uint32_t place = place_of_op(s, op);
        if (place == NONE) return false;
        bool counts = returned | write;
        struct zone *z = &s->zones[counts ? place : place_nothing(s)];
        uint64_t end_ns = returned ? h->complete_ns[op] : UINT64_MAX;
        s->seen += returned & (z->first_ns == UINT64_MAX);
        z->first_ns = end_ns < z->first_ns ? end_ns : z->first_ns;
        z->last_ns = h->invoke_ns[op];
        again |= write & (z->setter != NONE);
        z->setter = write ? op : z->setter;
        s->written[s->written_count] = place;
        s->written_count += write;
        if (!s->shared || place >= s->places || !counts) continue;
        again |= z->slot != NONE && z->slot != slot_of(h, op);
        z->slot = slot_of(h, op);
    }
    return !again;
}

static bool make_zones(struct scan *s) {
    uint32_t count = s->h->count;
    memset(s->zones, 0xff, zones_size(s));
    for (uint32_t from = 0, to; from < count; from = to) {
        to = count - from > LOOK_AT_CLOCK_OPS ? from + LOOK_AT_CLOCK_OPS : count;
        if (budget_spent_now(s->budget) || !add_ops(s, from, to)) return false;
    }
    return true;
}

static inline struct scan_key *key_of(const struct scan *s, const struct zone *z) {
    return &s->keys[slot_of(s->h, s->one_key ? 0 : z->setter)];
}

/* --- do any cross? ------------------------------------------------------------------------------------------------ */

/* The lists of forward zones begin with the initial value, which was there before all. */
static void begin_lists(struct scan *s) {
    s->steps = STEPS_PER_OP * (uint64_t)s->h->count;
    for (uint32_t slot = 0; slot < s->keys_count; slot++) {
        struct zone *z = &s->zones[place_initial(s, slot)];
        bool read = z->first_ns != UINT64_MAX;
        s->looked_at_seen += read;
        if (!read) z->last_ns = 0;
        z->first_ns = 0;
        s->keys[slot].at = s->keys[slot].look_at = place_initial(s, slot);
    }
}

/* From one forward zone of a key to the last whose first return is not after now. */
static inline uint32_t walk(struct scan *s, uint32_t at, uint64_t now_ns) {
    const struct zone *zones = s->zones;
    for (; zones[at].first_ns > now_ns && s->steps; s->steps--) at = zones[at].older;
    for (uint32_t next; s->steps; s->steps--, at = next) {
        next = zones[at].next;
        if (next == NONE || zones[next].first_ns > now_ns) break;
    }
    return at;
}

static bool crossed(struct crossing *found, uint32_t place, uint32_t other) {
    *found = (struct crossing){place, other};
    return false;
}

static bool add_forward(struct scan *s, uint32_t place, struct crossing *found) {
    struct zone *z = &s->zones[place];
    struct scan_key *k = key_of(s, z);
    uint32_t older = walk(s, k->at, z->first_ns), next = s->zones[older].next;
    if (s->zones[older].last_ns >= z->first_ns) return crossed(found, older, place);
    if (next != NONE && s->zones[next].first_ns <= z->last_ns) return crossed(found, place, next);
    z->older = older;
    z->next = next;
    s->zones[older].next = place;
    if (next != NONE) s->zones[next].older = place;
    k->at = place;
    return true;
}

static void remove_forward(struct scan *s, uint32_t place) {
    struct zone *z = &s->zones[place];
    struct scan_key *k = key_of(s, z);
    s->zones[z->older].next = z->next;
    if (z->next != NONE) s->zones[z->next].older = z->older;
    if (k->at == place) k->at = z->older;
    if (k->look_at == place) k->look_at = z->older;
    z->older = z->next = NONE;
}

/* Zones that are not forward wait until all writes that began before their last invocation have been looked at. */
static bool look_at_waiting(struct scan *s, uint64_t began_ns, struct crossing *found) {
    for (; s->waiting_from < s->waiting_to; s->waiting_from++) {
        uint32_t place = s->written[s->waiting_from];
        const struct zone *z = &s->zones[place];
        if (z->last_ns >= began_ns) break;
        if (z->first_ns > s->until_ns) continue;
        struct scan_key *k = key_of(s, z);
        k->look_at = walk(s, k->look_at, z->last_ns);
        if (s->zones[k->look_at].last_ns >= z->first_ns) return crossed(found, k->look_at, place);
    }
    return true;
}

/* The write's zone comes to the others. */
static bool look_at(struct scan *s, uint32_t place, struct crossing *found) {
    const struct zone *z = &s->zones[place];
    uint64_t began_ns = s->h->invoke_ns[z->setter];
    if (began_ns >= z->first_ns) return crossed(found, place, place);
    if (!look_at_waiting(s, began_ns, found)) return false;
    if (z->first_ns <= z->last_ns) return add_forward(s, place, found);
    s->written[s->waiting_to++] = place;
    return true;
}

/* From where it stopped; false: there are two that cross, or the budget is spent. */
static bool look_on(struct scan *s, struct crossing *found) {
    for (uint32_t i = s->looked_at; i < s->written_count; i++) {
        uint32_t place = s->written[i];
        const struct zone *z = &s->zones[place];
        s->looked_at = i;
        if (i % LOOK_AT_CLOCK_OPS == 0 && budget_spent_now(s->budget)) return false;
        if (z->first_ns == UINT64_MAX) continue;
        if (z->first_ns <= s->until_ns && !look_at(s, place, found)) return false;
        s->looked_at_seen++;
    }
    s->looked_at = s->written_count;
    return look_at_waiting(s, UINT64_MAX, found);
}

/* --- since when? -------------------------------------------------------------------------------------------------- */

/* The first operation invoked at a time or after it. */
static uint32_t first_invoked(const struct history *h, uint64_t now_ns) {
    uint32_t low = 0, high = h->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (h->invoke_ns[middle] < now_ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* When an operation of the zone that was invoked at a time or after it was first known to have happened: a read when it
 * returned, the write when its value was seen. *exact: it was not invoked in that instant. UINT64_MAX: never. */
static uint64_t known_ns(struct scan *s, uint32_t place, uint64_t after_ns, bool *exact) {
    const struct history *h = s->h;
    uint64_t known = UINT64_MAX;
    for (uint32_t op = first_invoked(h, after_ns); op < h->count && h->invoke_ns[op] <= s->until_ns; op++) {
        bool write = sets(s, op);
        if (h->invoke_ns[op] > known) break;
        if (!(write || has_returned(s, op)) || place_of_op(s, op) != place) continue;
        uint64_t ns = write ? s->zones[place].first_ns : h->complete_ns[op];
        if (ns >= known) continue;
        known = ns;
        *exact = h->invoke_ns[op] > after_ns;
    }
    return known;
}

/* When it could be told that they cross; *exact: without doubt. UINT64_MAX: they do not. */
static uint64_t told_ns(struct scan *s, const struct crossing *c, bool *exact) {
    bool other_exact = true;
    const struct zone *a = &s->zones[c->place], *b = &s->zones[c->other];
    if (a == b) {
        *exact = s->h->invoke_ns[a->setter] > a->first_ns;
        return a->first_ns;
    }
    uint64_t a_ns = known_ns(s, c->place, b->first_ns, exact);
    uint64_t b_ns = known_ns(s, c->other, a->first_ns, &other_exact);
    *exact &= other_exact;
    return a_ns > b_ns ? a_ns : b_ns;
}

/* To what had returned until then. */
static void shrink(struct scan *s, uint32_t place) {
    struct zone *z = &s->zones[place];
    bool initial = place >= s->places, forward = z->older != NONE;
    if (z->first_ns <= s->until_ns) {
        z->last_ns = initial ? 0 : s->h->invoke_ns[z->setter];
        uint32_t end = first_invoked(s->h, s->until_ns);
        for (uint32_t op = initial ? 0 : z->setter; op < end; op++)
            if (has_returned(s, op) && place_of_op(s, op) == place) z->last_ns = s->h->invoke_ns[op];
    }
    if (!forward || (z->first_ns <= s->until_ns && z->first_ns <= z->last_ns)) return;
    remove_forward(s, place);
    s->written[s->waiting_to++] = place;
}

/* When a value was first returned that nobody wrote. */
static uint64_t unwritten_ns(struct scan *s, uint32_t *place) {
    uint64_t known = UINT64_MAX;
    for (uint32_t op = 0; op < s->h->count; op++) {
        uint32_t at = place_of_op(s, op);
        bool initial = at >= s->places && at < place_unwritten(s);
        if (!has_returned(s, op) || initial || s->zones[at].setter != NONE || s->h->complete_ns[op] >= known) continue;
        known = s->h->complete_ns[op];
        *place = at;
    }
    return known;
}
/* --- the finding -------------------------------------------------------------------------------------------------- */

/* The first operation of the zones that returned then; NONE if it is none. */
static uint32_t returned_at(struct scan *s, const struct crossing *c, uint64_t now_ns) {
    const struct history *h = s->h;
    for (uint32_t op = 0; op < h->count && h->invoke_ns[op] <= now_ns; op++) {
        if (h->complete_ns[op] != now_ns || h->status[op] != OP_OK) continue;
        uint32_t place = place_of_op(s, op);
        if (place == c->place || place == c->other) return op;
    }
    return NONE;
}

/* When there was the value, or its first read. */
static uint64_t began_ns(const struct scan *s, uint32_t place) {
    const struct zone *z = &s->zones[place];
    uint64_t set_ns = z->setter == NONE ? 0 : s->h->invoke_ns[z->setter];
    return set_ns < z->first_ns ? set_ns : z->first_ns;
}

/* All operations on the values in question; of a value that nobody wrote, its reader alone. False if others of the key
 * returned in the instant. */
static bool find_ops(struct scan *s, const struct crossing *c, uint32_t last, struct scan_finding *found) {
    const struct history *h = s->h;
    uint64_t from_ns = began_ns(s, c->place), other_ns = began_ns(s, c->other);
    uint32_t capacity = 0, at_once = 0;
    if (other_ns < from_ns) from_ns = other_ns;
    found->key = h->key[last];
    for (uint32_t op = 0; op < h->count; op++) {
        bool ok = h->status[op] == OP_OK;
        if (h->key[op] != found->key || !(ok || sets(s, op))) continue;
        found->whole.calls++;
        found->whole.returns += ok;
        found->whole.position += ok & (h->complete_ns[op] < h->complete_ns[last]);
        at_once += ok & (h->complete_ns[op] == h->complete_ns[last]);
        if (h->complete_ns[op] < from_ns) continue;
        uint32_t place = place_of_op(s, op);
        if (op != last && (place == place_unwritten(s) || (place != c->place && place != c->other))) continue;
        if (found->ops_count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            found->ops = xrealloc(found->ops, capacity * sizeof *found->ops);
        }
        found->ops[found->ops_count++] = op;
    }
    return at_once == 1;
}

#define CROSSINGS_MAX 64u /* each costs up to a look at all operations */

static enum decision decide_zones(struct scan *s, struct scan_finding *found) {
    struct crossing c, first = {0};
    bool exact = true, c_exact = true;
    begin_lists(s);
    for (uint32_t crossings = 0; !look_on(s, &c); crossings++) {
        if (s->steps == 0 || budget_spent_now(s->budget) || crossings == CROSSINGS_MAX) return UNDECIDED;
        uint64_t now_ns = told_ns(s, &c, &c_exact);
        if (now_ns == 0) return UNDECIDED;
        if (now_ns <= s->until_ns) {
            first = c;
            exact = c_exact;
            s->until_ns = now_ns - 1;
        }
        shrink(s, c.place);
        shrink(s, c.other);
    }
    if (s->steps == 0) return UNDECIDED;
    if (s->looked_at_seen < s->seen) {
        uint64_t now_ns = unwritten_ns(s, &c.place);
        if (now_ns == 0) return UNDECIDED;
        if (now_ns <= s->until_ns) {
            first = (struct crossing){c.place, c.place};
            exact = true;
            s->until_ns = now_ns - 1;
        }
    }
    if (s->until_ns == UINT64_MAX) return DECIDED_VALID;
    uint32_t last = exact ? returned_at(s, &first, s->until_ns + 1) : NONE;
    return last != NONE && find_ops(s, &first, last, found) ? DECIDED_INVALID : UNDECIDED;
}

/* --- the scan ----------------------------------------------------------------------------------------------------- */

static enum decision scan_zones(struct scan *s, struct scan_finding *found) {
    size_t values_bytes = s->hashed ? s->places * sizeof *s->values : 0;
    size_t written_bytes = ((size_t)s->writes + 1) * sizeof *s->written;
    uint64_t bytes = zones_size(s) + values_bytes + written_bytes;
    if (!budget_claim(s->budget, bytes)) return UNDECIDED;
    s->values = xmalloc_large(values_bytes);
    for (uint32_t i = 0; s->hashed && i < s->places; i++) s->values[i] = HASHED_EMPTY;
    s->zones = xmalloc_large(zones_size(s));
    s->written = xmalloc_large(written_bytes);
    enum decision decision = make_zones(s) ? decide_zones(s, found) : UNDECIDED;
    free(s->written);
    free(s->zones);
    free(s->values);
    budget_release(s->budget, bytes);
    return decision;
}

enum decision register_scan(const struct model *m, const struct history *h, struct budget *b,
                            struct scan_finding *found) {
    struct scan s = {.h = h, .budget = b, .keys_count = h->strings.count + 1, .one_key = true, .until_ns = UINT64_MAX};
    const uint32_t functions = UINT32_C(1) << OP_READ | UINT32_C(1) << OP_WRITE;
    enum decision decision = UNDECIDED;
    *found = (struct scan_finding){0};
    if (m->nil.kind != VALUE_NIL || (m->functions & functions) != functions || budget_spent_now(b)) return UNDECIDED;
    if (s.keys_count > h->count || !all_read_or_write(&s)) return UNDECIDED;
    s.keys = xmalloc(s.keys_count * sizeof *s.keys);
    for (uint32_t slot = 0; slot < s.keys_count; slot++)
        s.keys[slot] = (struct scan_key){.least = INT64_MAX, .most = INT64_MIN};
    look_at_keys(&s);
    if (lay_out(&s)) decision = scan_zones(&s, found);
    found->keys = s.keys_used;
    free(s.keys);
    return decision;
}
