/* The search for a linearization when all that is known of the object is its step function: Wing and Gong (1993) with
 * Lowe's memory of configurations (2017), depth first. A configuration is what it is in search.c, and so is the memory
 * of them; but of search.c's rules only those are left that hold for any deterministic object:
 *
 * - Of calls that step alike, the one that returns first is enough: in a linearization that starts with another, the
 *   two can change places.
 * - An optional call that changes nothing is not needed.
 *
 * Calls that change nothing are tried first, then what returns early; optional calls come last. */
#include "checkers/steps_internal.h"

#include <stdlib.h>

/* --- the memo ----------------------------------------------------------------------------------------------------- */

bool steps_memo_claim(struct step_memo *m, uint64_t values) {
    uint64_t bytes = map64_bytes(&m->next, 1) + map64_bytes(&m->classes, 1) + values_bytes_with(&m->values, values) +
                     m->model->memory_bytes(m->model->context);
    return budget_claim_up_to(m->budget, &m->claimed_bytes, bytes);
}

#define KIND_VALUES 16u /* that a kind may add beside argument and result */

uint32_t steps_class(struct step_memo *m, uint32_t op) {
    const struct history *h = m->h;
    enum op_status status = h->status[op] == OP_PENDING ? OP_INFO : (enum op_status)h->status[op];
    struct value result = status == OP_INFO ? VALUE_OF_NIL : h->result[op];
    uint64_t values = values_in(h, h->argument[op]) + values_in(h, result) + KIND_VALUES;
    if (budget_spent(m->budget) || (values > 256 && budget_spent_now(m->budget))) return NONE;
    if (!steps_memo_claim(m, values)) return NONE;
    struct values *v = &m->values;
    uint32_t kind = values_append(v, VALUE_ID_EMPTY, values_integer(v, h->f[op]));
    kind = values_append(v, kind, values_integer(v, status));
    kind = values_append(v, kind, values_integer(v, h->key[op]));
    kind = values_append(v, kind, values_integer(v, m->model->by_process ? h->process[op] : 0));
    kind = values_append(v, kind, values_intern(v, h, h->argument[op]));
    kind = values_append(v, kind, values_intern(v, h, result));
    bool fresh = false;
    uint64_t *class = map64_put(&m->classes, kind, &fresh);
    if (fresh) *class = m->classes.count - 1;
    return (uint32_t) * class;
}

uint32_t steps_next(struct step_memo *m, uint32_t state, const struct step_call *call) {
    const uint64_t *known = map64_get(&m->next, (uint64_t)state << 32 | call->class);
    if (known) return (uint32_t)*known;
    if (budget_spent_now(m->budget) || !steps_memo_claim(m, 0)) return NONE;
    uint32_t next = NONE;
    switch (m->model->step(m->model->context, state, m->h, call->op, &next, &m->error)) {
    case STEP_TAKEN: break;
    case STEP_REFUSED: next = NONE; break;
    case STEP_FAILED:
        next = NONE;
        m->failed = true;
        m->failed_op = call->op;
    }
    *map64_put(&m->next, (uint64_t)state << 32 | call->class, NULL) = next;
    return next;
}

/* --- setting up --------------------------------------------------------------------------------------------------- */

void steps_search_free(struct step_search *s) {
    arena_free(&s->arena);
    cache_free(&s->cache);
    free(s->undo);
    free(s->frames);
    free(s->choices);
}

static void *zeroed(struct step_search *s, size_t count, size_t size) {
    void *at = arena_alloc(&s->arena, count * size);
    return memset(at, 0, count * size);
}

static bool is_optional(const struct step_search *s, uint32_t c) {
    return s->calls[c].returned == NONE;
}

/* The heads of the two lists are the places `count` (ok) and `count + 1` (optional). */
static void link_calls(struct step_search *s) {
    uint32_t n = s->count, last[2] = {n, n + 1};
    s->next = arena_alloc(&s->arena, ((size_t)n + 2) * sizeof *s->next);
    s->prev = arena_alloc(&s->arena, ((size_t)n + 2) * sizeof *s->prev);
    for (uint32_t c = 0; c < n; c++) {
        uint32_t list = is_optional(s, c);
        s->prev[c] = last[list];
        s->next[last[list]] = c;
        last[list] = c;
    }
    for (uint32_t list = 0; list < 2; list++) {
        s->next[last[list]] = n + list;
        s->prev[n + list] = last[list];
    }
}

/* Slots of ok calls become free again when they return; optional ones have words of their own behind those. */
static void assign_slots(struct step_search *s) {
    s->slot = arena_alloc(&s->arena, s->count * sizeof *s->slot);
    s->words_at = arena_alloc(&s->arena, ((size_t)s->returns_count + 1) * sizeof *s->words_at);
    uint32_t *unused = arena_alloc(&s->arena, s->count * sizeof *unused);
    uint32_t unused_count = 0, ok_slots = 0, optional_slots = 0, c = 0;
    for (uint32_t r = 0; r <= s->returns_count; r++) {
        uint32_t until = r < s->returns_count ? s->calls[s->returns[r]].returned : NONE;
        for (; c < s->count && s->calls[c].invoked < until; c++) {
            if (is_optional(s, c)) {
                s->slot[c] = optional_slots++;
            } else {
                s->slot[c] = unused_count ? unused[--unused_count] : ok_slots++;
            }
        }
        s->words_at[r] = (optional_slots + 63) / 64;
        if (r < s->returns_count) unused[unused_count++] = s->slot[s->returns[r]];
    }
    s->ok_words = (ok_slots + 63) / 64;
    for (uint32_t r = 0; r <= s->returns_count; r++) s->words_at[r] += s->ok_words;
    for (c = 0; c < s->count; c++) s->slot[c] += is_optional(s, c) ? s->ok_words * 64 : 0;
    s->bits = zeroed(s, (size_t)s->words_at[s->returns_count] + 1, sizeof *s->bits);
}

#define ARENA_BYTES_PER_CALL (6 * sizeof(uint32_t) + 1)
#define BYTES_PER_CLASS (sizeof(uint64_t) + sizeof(uint32_t))

static bool search_start(struct step_search *s) {
    s->classes_count = (uint32_t)s->memo->classes.count;
    uint64_t held = (uint64_t)s->count * ARENA_BYTES_PER_CALL + (uint64_t)s->classes_count * BYTES_PER_CLASS;
    if (s->arena.held_bytes > 4 * held) arena_free(&s->arena);
    arena_reset(&s->arena);
    held += s->arena.held_bytes + cache_bytes(&s->cache) + s->frames_capacity * sizeof *s->frames;
    held += s->choices_capacity * sizeof *s->choices;
    held += (s->undo_capacity > s->count ? s->undo_capacity : s->count) * sizeof *s->undo;
    if (!budget_claim(s->budget, held)) return false;
    link_calls(s);
    assign_slots(s);
    s->placed = zeroed(s, s->count, 1);
    s->class_stamp = zeroed(s, s->classes_count, sizeof *s->class_stamp);
    s->class_choice = arena_alloc(&s->arena, s->classes_count * sizeof *s->class_choice);
    if (s->undo_capacity < s->count) {
        s->undo_capacity = s->count;
        s->undo = xrealloc(s->undo, s->undo_capacity * sizeof *s->undo);
    }
    s->state = s->initial;
    s->first = s->first_max = 0;
    s->stamp = 0;
    s->undo_count = s->frames_count = s->choices_count = 0;
    cache_start(&s->cache, s->count, s->ok_words, s->words_at, NULL);
    return true;
}

/* --- placing a call, and taking it back --------------------------------------------------------------------------- */

static void set_bit(struct step_search *s, uint32_t c) {
    s->bits[s->slot[c] / 64] |= UINT64_C(1) << (s->slot[c] % 64);
}

static void clear_bit(struct step_search *s, uint32_t c) {
    s->bits[s->slot[c] / 64] &= ~(UINT64_C(1) << (s->slot[c] % 64));
}

static void place(struct step_search *s, struct step_choice choice) {
    uint32_t c = choice.call;
    assert(!s->placed[c] && s->undo_count < s->count);
    s->undo[s->undo_count++] = (struct undo){.call = c, .state = s->state, .first = s->first};
    s->state = choice.state;
    s->placed[c] = 1;
    s->next[s->prev[c]] = s->next[c];
    s->prev[s->next[c]] = s->prev[c];
    set_bit(s, c);
    for (; s->first < s->returns_count && s->placed[s->returns[s->first]]; s->first++)
        clear_bit(s, s->returns[s->first]);
}

static void take_back(struct step_search *s, uint32_t undo_count) {
    while (s->undo_count > undo_count) {
        struct undo u = s->undo[--s->undo_count];
        while (s->first > u.first) set_bit(s, s->returns[--s->first]);
        clear_bit(s, u.call);
        s->next[s->prev[u.call]] = u.call;
        s->prev[s->next[u.call]] = u.call;
        s->placed[u.call] = 0;
        s->state = u.state;
    }
}

/* --- choices ------------------------------------------------------------------------------------------------------ */

uint32_t steps_horizon(const struct step_search *s) {
    return s->first < s->returns_count ? s->calls[s->returns[s->first]].returned : NONE;
}

static bool grow(struct budget *b, void **array, uint32_t *capacity, size_t element) {
    uint32_t wanted = *capacity ? *capacity * 2 : 256;
    if (wanted < *capacity || !budget_claim(b, (wanted - *capacity) * element)) return false;
    *array = xrealloc(*array, wanted * element);
    *capacity = wanted;
    return true;
}

/* Offers c, unless a call that steps alike and is no worse has been offered. */
static void offer(struct step_search *s, uint32_t c, uint32_t state) {
    uint32_t class = s->calls[c].class;
    if (s->class_stamp[class] == s->stamp) {
        struct step_choice *best = &s->choices[s->class_choice[class]];
        if (s->calls[c].returned < s->calls[best->call].returned) best->call = c;
        return;
    }
    s->class_stamp[class] = s->stamp;
    s->class_choice[class] = s->choices_count;
    assert(s->choices_count < s->choices_capacity);
    s->choices[s->choices_count++] = (struct step_choice){.call = c, .state = state};
}

/* What keeps the state, then what returns early; of optional calls the one invoked first. */
static int by_promise(const void *a, const void *b, void *of) {
    const struct step_search *s = of;
    const struct step_choice *x = a, *y = b;
    bool x_keeps = x->state == s->state, y_keeps = y->state == s->state;
    if (x_keeps != y_keeps) return x_keeps ? -1 : 1;
    uint32_t x_returned = s->calls[x->call].returned, y_returned = s->calls[y->call].returned;
    if (x_returned != y_returned) return x_returned < y_returned ? -1 : 1;
    return x->call < y->call ? -1 : x->call > y->call;
}

/* Opens a frame with the choices of this configuration, best first. False when the budget is spent or the model
 * failed. */
static bool open_frame(struct step_search *s) {
    while (s->choices_capacity - s->choices_count < s->count - s->undo_count)
        if (!grow(s->budget, (void **)&s->choices, &s->choices_capacity, sizeof *s->choices)) return false;
    if (s->frames_count == s->frames_capacity &&
        !grow(s->budget, (void **)&s->frames, &s->frames_capacity, sizeof *s->frames))
        return false;
    uint32_t begin = s->choices_count, limit = steps_horizon(s);
    s->stamp++;
    for (uint32_t list = 0; list < 2; list++) {
        uint32_t head = s->count + list;
        for (uint32_t c = s->next[head]; c != head && s->calls[c].invoked < limit; c = s->next[c]) {
            uint32_t state = steps_next(s->memo, s->state, &s->calls[c]);
            if (s->memo->failed || budget_spent(s->budget)) return false;
            if (state != NONE && !(list == 1 && state == s->state)) offer(s, c, state);
        }
    }
    if (s->choices_count - begin > 1)
        qsort_r(s->choices + begin, s->choices_count - begin, sizeof *s->choices, by_promise, s);
    s->frames[s->frames_count++] = (struct step_frame){.undo_count = s->undo_count, .begin = begin, .next = begin};
    return true;
}

/* --- the search --------------------------------------------------------------------------------------------------- */

enum arrival { ARRIVED_NEW, ARRIVED_BEFORE, ARRIVED_AT_END, ARRIVED_WITHOUT_BUDGET };

static enum arrival arrive(struct step_search *s) {
    if (s->first > s->first_max) s->first_max = s->first;
    if (s->first == s->returns_count || s->first == s->stop_at) return ARRIVED_AT_END;
    switch (cache_insert(&s->cache, s->first, s->state, s->bits, s->budget)) {
    case CACHE_NEW: return open_frame(s) ? ARRIVED_NEW : ARRIVED_WITHOUT_BUDGET;
    case CACHE_KNOWN: return ARRIVED_BEFORE;
    case CACHE_FULL: break;
    }
    return ARRIVED_WITHOUT_BUDGET;
}

static enum decision search_run(struct step_search *s) {
    for (enum arrival arrival = arrive(s);; arrival = arrive(s)) {
        if (arrival == ARRIVED_AT_END) return DECIDED_VALID;
        if (arrival == ARRIVED_WITHOUT_BUDGET || budget_spent(s->budget)) return UNDECIDED;
        bool moved = false;
        while (!moved && s->frames_count) {
            struct step_frame *f = &s->frames[s->frames_count - 1];
            take_back(s, f->undo_count);
            moved = f->next < s->choices_count;
            if (moved) {
                place(s, s->choices[f->next++]);
            } else {
                s->choices_count = f->begin;
                s->frames_count--;
            }
        }
        if (!moved) return DECIDED_INVALID;
    }
}

static enum decision run_until(struct step_search *s, struct budget *b, uint32_t stop_at) {
    s->budget = s->memo->budget = b;
    s->stop_at = stop_at;
    uint64_t claimed_before = b->memory_bytes - s->memo->claimed_bytes;
    enum decision decision = !budget_spent_now(b) && search_start(s) ? search_run(s) : UNDECIDED;
    budget_release(b, b->memory_bytes - s->memo->claimed_bytes - claimed_before);
    return decision;
}

enum decision steps_decide(struct step_search *s, struct budget *b) {
    return run_until(s, b, NONE);
}

bool steps_go_furthest(struct step_search *s, struct budget *b) {
    return run_until(s, b, s->first_max) == DECIDED_VALID;
}
