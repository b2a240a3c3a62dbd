/* The general case, for elements that are put in more than once, and for takes of unknown result: just-in-time
 * linearization after Lowe, "Testing for linearizability" (2017). At each return all configurations go on in which
 * that action has taken effect: first those where it has already, then those where it does now, perhaps after others
 * that are open. A configuration is which of the open actions have taken effect, and what is inside; equal ones are
 * kept once. */
#include "checkers/collections/internal.h"

#include <stdlib.h>

/* Configurations as words: WORDS_HEAD words, then what is inside; of an at-least-once queue then what was delivered. */
enum { WORD_DONE_LOW, WORD_DONE_HIGH, WORD_TOTAL, WORD_INSIDE, WORDS_HEAD };

struct generation {
    uint32_t *words;
    uint64_t size, capacity; /* in words */
    uint64_t *starts;
    uint32_t count, starts_capacity;
    uint32_t *table; /* open addressing: 1 + index; 0 is free */
    uint32_t slots;
};

struct frontier {
    const struct collection *c;
    struct budget *budget;
    struct generation now, next;
    uint32_t *scratch, *before;     /* the configuration that is made; the one that it is made from */
    uint32_t open[SEARCH_OPEN_MAX]; /* actions by slot; NONE */
    uint64_t claimed;
};

#define WORDS_PER_WORK 4u /* that are copied in the time of one access to memory */

/* --- generations -------------------------------------------------------------------------------------------------- */

static void *grow(struct frontier *s, void *old, uint64_t bytes, uint64_t bytes_new) {
    if (!budget_claim(s->budget, bytes_new - bytes)) return NULL;
    s->claimed += bytes_new - bytes;
    return xrealloc(old, bytes_new);
}

static bool reserve(struct frontier *s, struct generation *g, uint64_t words) {
    if (g->size + words > g->capacity) {
        uint64_t capacity = 2 * (g->capacity + words + 64);
        uint32_t *grown = grow(s, g->words, 4 * g->capacity, 4 * capacity);
        if (!grown) return false;
        g->words = grown;
        g->capacity = capacity;
    }
    if (g->count == g->starts_capacity) {
        uint32_t capacity = 2 * g->starts_capacity + 64;
        uint64_t *grown = grow(s, g->starts, 8 * (uint64_t)g->starts_capacity, 8 * (uint64_t)capacity);
        if (!grown) return false;
        g->starts = grown;
        g->starts_capacity = capacity;
    }
    return true;
}

static uint64_t hash_of(const uint32_t *config) {
    return hash_bytes(bytes_of(config, (WORDS_HEAD + config[WORD_TOTAL]) * sizeof *config), 0);
}

static bool rehash(struct frontier *s, struct generation *g) {
    if (2 * (uint64_t)(g->count + 1) <= g->slots) return true;
    uint32_t slots = g->slots ? 2 * g->slots : 64;
    uint32_t *table = grow(s, g->table, 4 * (uint64_t)g->slots, 4 * (uint64_t)slots);
    if (!table) return false;
    memset(table, 0, 4 * (uint64_t)slots);
    for (uint32_t i = 0; i < g->count; i++) {
        uint64_t at = hash_of(g->words + g->starts[i]) & (slots - 1);
        while (table[at]) at = (at + 1) & (slots - 1);
        table[at] = i + 1;
    }
    g->table = table;
    g->slots = slots;
    return true;
}

/* Adds the configuration if it is new. False: the budget is spent. */
static bool add_config(struct frontier *s, struct generation *g, const uint32_t *config) {
    uint64_t words = WORDS_HEAD + config[WORD_TOTAL];
    if (!reserve(s, g, words) || !rehash(s, g)) return false;
    uint64_t at = hash_of(config) & (g->slots - 1);
    for (; g->table[at]; at = (at + 1) & (g->slots - 1)) {
        const uint32_t *other = g->words + g->starts[g->table[at] - 1];
        if (other[WORD_TOTAL] == config[WORD_TOTAL] && memcmp(other, config, words * sizeof *config) == 0) return true;
    }
    memcpy(g->words + g->size, config, words * sizeof *config);
    g->starts[g->count++] = g->size;
    g->size += words;
    g->table[at] = g->count;
    return true;
}

static void generation_clear(struct generation *g) {
    g->size = g->count = 0;
    if (g->slots) memset(g->table, 0, g->slots * sizeof *g->table);
}

static void generation_free(struct generation *g) {
    free(g->words);
    free(g->starts);
    free(g->table);
}

/* --- what is inside ----------------------------------------------------------------------------------------------- */

static uint32_t *inside_of(uint32_t *config) {
    return config + WORDS_HEAD;
}

static bool less(const struct collection *c, uint32_t a, uint32_t b) {
    return c->d->kind == PRIORITY_QUEUE ? c->values[a].integer < c->values[b].integer : a < b;
}

static void insert_at(uint32_t *config, uint32_t at, uint32_t element) {
    uint32_t *items = inside_of(config);
    memmove(items + at + 1, items + at, (config[WORD_TOTAL]++ - at) * sizeof *items);
    items[at] = element;
}

static void remove_at(uint32_t *config, uint32_t at) {
    uint32_t *items = inside_of(config);
    memmove(items + at, items + at + 1, (--config[WORD_TOTAL] - at) * sizeof *items);
}

static void put(const struct collection *c, uint32_t *config, uint32_t element) {
    uint32_t at = config[WORD_INSIDE];
    bool sorted = c->d->kind == BAG || c->d->kind == PRIORITY_QUEUE;
    while (sorted && at > 0 && less(c, element, inside_of(config)[at - 1])) at--;
    insert_at(config, at, element);
    config[WORD_INSIDE]++;
}

/* Delivered elements stand behind those inside, sorted, each once. */
static bool was_delivered(uint32_t *config, uint32_t element, uint32_t *at) {
    for (*at = config[WORD_INSIDE]; *at < config[WORD_TOTAL]; ++*at)
        if (inside_of(config)[*at] >= element) return inside_of(config)[*at] == element;
    return false;
}

static void take_at(const struct collection *c, uint32_t *config, uint32_t at) {
    uint32_t element = inside_of(config)[at], place;
    remove_at(config, at);
    config[WORD_INSIDE]--;
    if (c->d->kind == FIFO_AT_LEAST_ONCE && !was_delivered(config, element, &place)) insert_at(config, place, element);
}

/* Where an element that can be taken now stands; from `at` on. NONE. */
static uint32_t takeable(const struct collection *c, uint32_t *config, uint32_t at, uint32_t element) {
    uint32_t inside = config[WORD_INSIDE];
    if (c->d->kind == STACK && at == 0 && inside > 0) at = inside - 1;
    uint32_t end = c->d->kind == BAG || c->d->kind == STACK ? inside : inside < 1 ? inside : 1;
    for (; at < end; at++)
        if (element == NONE || inside_of(config)[at] == element) return at;
    return NONE;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static uint64_t done_of(const uint32_t *config) {
    return (uint64_t)config[WORD_DONE_HIGH] << 32 | config[WORD_DONE_LOW];
}

static void set_done(uint32_t *config, uint64_t done) {
    config[WORD_DONE_LOW] = (uint32_t)done;
    config[WORD_DONE_HIGH] = (uint32_t)(done >> 32);
}

/* NULL: the budget is spent. */
static uint32_t *copy_of_before(struct frontier *s) {
    if (budget_spent_by(s->budget, s->before[WORD_TOTAL] / WORDS_PER_WORK + 1)) return NULL;
    memcpy(s->scratch, s->before, (WORDS_HEAD + s->before[WORD_TOTAL]) * sizeof *s->scratch);
    return s->scratch;
}

/* Has the action take effect in the configuration `before`, in each way it can. */
static bool step(struct frontier *s, const struct action *a, uint64_t done, struct generation *into) {
    const struct collection *c = s->c;
    uint32_t *made = copy_of_before(s), place;
    if (!made) return false;
    set_done(made, done);
    if (a->kind == ACTION_PUT) {
        put(c, made, a->element);
        return add_config(s, into, made);
    }
    if (a->kind == ACTION_EMPTY) return made[WORD_INSIDE] > 0 || add_config(s, into, made);
    bool again = c->d->kind == FIFO_AT_LEAST_ONCE && a->kind == ACTION_TAKE;
    if (again && was_delivered(made, a->element, &place) && !add_config(s, into, made)) return false;
    for (uint32_t at = 0; (at = takeable(c, s->before, at, a->element)) != NONE; at++) {
        made = copy_of_before(s);
        if (!made) return false;
        set_done(made, done);
        take_at(c, made, at);
        if (!add_config(s, into, made)) return false;
        if (a->kind == ACTION_TAKE) break;
    }
    return true;
}

/* All that can happen in one configuration up to the return of what is in the slot. */
static bool expand(struct frontier *s, uint32_t slot) {
    uint64_t done = done_of(s->before), bit = UINT64_C(1) << slot;
    if (done & bit) {
        set_done(s->before, done & ~bit);
        return add_config(s, &s->next, s->before);
    }
    for (uint32_t i = 0; i < SEARCH_OPEN_MAX; i++) {
        if (s->open[i] == NONE || (done >> i & 1)) continue;
        const struct action *a = &s->c->actions[s->open[i]];
        if (!step(s, a, i == slot ? done : done | UINT64_C(1) << i, i == slot ? &s->next : &s->now)) return false;
    }
    return true;
}

static enum decision advance(struct frontier *s, uint32_t slot) {
    generation_clear(&s->next);
    if (budget_spent_by(s->budget, s->next.slots / WORDS_PER_WORK)) return UNDECIDED;
    for (uint32_t i = 0; i < s->now.count; i++) {
        const uint32_t *config = s->now.words + s->now.starts[i];
        if (budget_spent(s->budget)) return UNDECIDED;
        memcpy(s->before, config, (WORDS_HEAD + config[WORD_TOTAL]) * sizeof *config);
        if (!expand(s, slot)) return UNDECIDED;
    }
    struct generation swapped = s->now;
    s->now = s->next;
    s->next = swapped;
    return s->now.count ? DECIDED_VALID : DECIDED_INVALID;
}

static enum decision walk(struct frontier *s, bool *too_wide) {
    const struct collection *c = s->c;
    enum decision d = DECIDED_VALID;
    for (uint32_t at = 0; at < c->positions && d == DECIDED_VALID; at++) {
        uint32_t action = c->events[at] & ~EVENT_RETURN, slot = 0;
        bool returns = c->events[at] & EVENT_RETURN;
        while (slot < SEARCH_OPEN_MAX && s->open[slot] != (returns ? action : NONE)) slot++;
        if (slot == SEARCH_OPEN_MAX) {
            *too_wide = true;
            return UNDECIDED;
        }
        if (returns) d = advance(s, slot);
        s->open[slot] = returns ? NONE : action;
    }
    return d;
}

enum decision collection_search(const struct collection *c, struct budget *b, bool *too_wide) {
    struct frontier s = {.c = c, .budget = b};
    uint64_t words = 2 * ((uint64_t)c->count + WORDS_HEAD + 1);
    *too_wide = false;
    if (!budget_claim(b, 4 * words)) return UNDECIDED;
    s.claimed = 4 * words;
    s.scratch = xcalloc(words, sizeof *s.scratch);
    s.before = s.scratch + words / 2;
    memset(s.open, 0xff, sizeof s.open);
    enum decision d = add_config(&s, &s.now, s.scratch) ? walk(&s, too_wide) : UNDECIDED;
    generation_free(&s.now);
    generation_free(&s.next);
    free(s.scratch);
    budget_release(b, s.claimed);
    return d;
}
