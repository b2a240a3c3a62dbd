/* The search for a linearization: Wing and Gong (1993, section 4) with Lowe's memory of configurations (2017, section
 * 3), depth first over a doubly linked list of calls with an undo stack.
 *
 * A configuration is (set of linearized calls, state). Every call that returned before the first return still open is
 * linearized and none that was invoked after it is; so the set is that return plus one bit for each call in between,
 * kept in slots that are reused as calls return. Optional calls never return, but those that do the same are taken in
 * order of invocation: a count tells which. The memory (search_cache.c) compares configurations exactly.
 *
 * Some moves never hurt and are made without a choice; some choices never help and are not offered. Each of these rules
 * says why, and the tests hold all of them against a brute-force oracle. */
#include "checkers/search_internal.h"

#include <stdlib.h>

/* --- setting up --------------------------------------------------------------------------------------------------- */

struct search *search_new(void) {
    return xcalloc(1, sizeof(struct search));
}

void search_free(struct search *s) {
    if (!s) return;
    arena_free(&s->arena);
    cache_free(&s->cache);
    registers_free(&s->registers);
    free(s->undo);
    free(s->frames);
    free(s->choices);
    map64_free(&s->classes);
    free(s);
}

static void *zeroed(struct search *s, size_t count, size_t size) {
    void *at = arena_alloc(&s->arena, count * size);
    return memset(at, 0, count * size);
}

static void link_calls(struct search *s) {
    uint32_t n = s->p->count;
    s->head_ok = n;
    s->head_optional = n + 1;
    s->next = arena_alloc(&s->arena, ((size_t)n + 2) * sizeof *s->next);
    s->prev = arena_alloc(&s->arena, ((size_t)n + 2) * sizeof *s->prev);
    uint32_t last[2] = {s->head_ok, s->head_optional};
    for (uint32_t c = 0; c < n; c++) {
        uint32_t list = s->p->calls[c].optional;
        s->prev[c] = last[list];
        s->next[last[list]] = c;
        last[list] = c;
    }
    for (uint32_t list = 0; list < 2; list++) {
        s->next[last[list]] = n + list;
        s->prev[n + list] = last[list];
    }
}

/* Calls that do the same are of one class. */
static void assign_classes(struct search *s) {
    const struct partition *p = s->p;
    s->class_of = arena_alloc(&s->arena, p->count * sizeof *s->class_of);
    map64_clear(&s->classes);
    for (uint32_t c = 0; c < p->count; c++) {
        const struct call *call = &p->calls[c];
        s->class_of[c] = NONE;
        if (call->effect == EFFECT_NONE) continue; /* reads are never a choice */
        bool inserted = false;
        uint64_t *id =
            map64_put(&s->classes, (uint64_t)call->guard << 33 | (uint64_t)call->value << 2 | call->effect, &inserted);
        if (inserted) *id = s->classes.count - 1;
        s->class_of[c] = (uint32_t)*id;
    }
    s->class_stamp = zeroed(s, s->classes.count, sizeof *s->class_stamp);
    s->class_choice = arena_alloc(&s->arena, s->classes.count * sizeof *s->class_choice);
}

static uint32_t bits_for(uint32_t count) {
    return 32 - (uint32_t)__builtin_clz(count);
}

/* Each class of optional calls has a field for its count, with a bit to spare on top (see search_cache.c), in words
 * behind those of the ok calls. Fields do not cross words, and stand in order of the first invocation. */
static void assign_fields(struct search *s) {
    const struct partition *p = s->p;
    uint32_t end = s->ok_words * 64, r = 0;
    uint32_t *count_of = zeroed(s, s->classes.count, sizeof *count_of);
    uint32_t *field_of = zeroed(s, s->classes.count, sizeof *field_of); /* 0: none yet */
    for (uint32_t c = 0; c < p->count; c++)
        if (p->calls[c].optional) count_of[s->class_of[c]]++;
    s->field_tops = zeroed(s, (size_t)s->ok_words + s->classes.count, sizeof *s->field_tops);
    for (uint32_t c = 0; c < p->count; c++) {
        const struct call *call = &p->calls[c];
        if (!call->optional) continue;
        for (; r < p->returns_count && p->calls[p->returns[r]].returned < call->invoked; r++)
            s->words_at[r] = (end + 63) / 64;
        uint32_t *field = &field_of[s->class_of[c]], width = bits_for(count_of[s->class_of[c]]) + 1;
        if (*field == 0) {
            if (end % 64 + width > 64) end += 64 - end % 64;
            *field = end + 1;
            end += width;
            s->field_tops[(end - 1) / 64] |= UINT64_C(1) << (end - 1) % 64;
        }
        s->slot[c] = *field - 1;
    }
    for (; r <= p->returns_count; r++) s->words_at[r] = (end + 63) / 64;
}

/* Slots: the last that became free at the invocation, free again at the return. */
static void assign_slots(struct search *s) {
    const struct partition *p = s->p;
    s->slot = arena_alloc(&s->arena, p->count * sizeof *s->slot);
    s->words_at = arena_alloc(&s->arena, ((size_t)p->returns_count + 1) * sizeof *s->words_at);
    uint32_t *unused = arena_alloc(&s->arena, p->count * sizeof *unused);
    uint32_t unused_count = 0, ok_slots = 0;
    for (uint32_t c = 0, r = 0; c < p->count; c++) {
        for (; r < p->returns_count && p->calls[p->returns[r]].returned < p->calls[c].invoked; r++)
            unused[unused_count++] = s->slot[p->returns[r]];
        if (!p->calls[c].optional) s->slot[c] = unused_count ? unused[--unused_count] : ok_slots++;
    }
    s->ok_words = (ok_slots + 63) / 64;
    assign_fields(s);
    s->bits = zeroed(s, s->words_at[p->returns_count], sizeof *s->bits);
}

static void count_values(struct search *s) {
    const struct partition *p = s->p;
    s->tracked = p->values->count;
    s->need_ok = zeroed(s, s->tracked, sizeof *s->need_ok);
    s->need_any = zeroed(s, s->tracked, sizeof *s->need_any);
    s->supply = zeroed(s, s->tracked, sizeof *s->supply);
    s->appenders = zeroed(s, s->tracked, sizeof *s->appenders);
    s->pending = zeroed(s, s->tracked, sizeof *s->pending);
    s->value_stamp = zeroed(s, s->tracked, sizeof *s->value_stamp);
    s->suppliers = arena_alloc(&s->arena, s->tracked * sizeof *s->suppliers);
    s->next_supplier = arena_alloc(&s->arena, p->count * sizeof *s->next_supplier);
    memset(s->suppliers, 0xff, s->tracked * sizeof *s->suppliers);
    s->observers = s->optional_guards = s->adders = 0;
    for (uint32_t c = p->count; c-- > 0;) {
        const struct call *call = &p->calls[c];
        if (call->guard != GUARD_ANY) {
            s->need_any[call->guard]++;
            s->need_ok[call->guard] += !call->optional;
            s->observers += !call->optional;
            s->optional_guards += call->optional;
        }
        s->adders += call->effect == EFFECT_ADD;
        s->appenders[call->value] += call->effect == EFFECT_APPEND;
        s->supply[call->value] += call->effect == EFFECT_SET;
        if (call->effect != EFFECT_SET || !call->optional) continue;
        s->next_supplier[c] = s->suppliers[call->value];
        s->suppliers[call->value] = c;
    }
}

/* Lists only grow, so all reads are prefixes of the longest one, and so is the state while a read is still to come. */
static void mark_chain(struct search *s) {
    const struct partition *p = s->p;
    const struct value_entry *entries = p->values->entries;
    s->on_chain = zeroed(s, s->tracked, 1);
    uint32_t *length = zeroed(s, s->tracked, sizeof *length); /* a prefix has a smaller id than its list */
    for (uint32_t id = VALUE_ID_EMPTY + 1; id < s->tracked; id++)
        if (entries[id].kind == VALUE_LIST) length[id] = length[entries[id].prefix] + 1;
    uint32_t longest = VALUE_ID_EMPTY;
    for (uint32_t c = 0; c < p->count; c++) {
        uint32_t guard = p->calls[c].guard;
        if (guard != GUARD_ANY && length[guard] > length[longest]) longest = guard;
    }
    for (; longest != VALUE_ID_EMPTY; longest = entries[longest].prefix) s->on_chain[longest] = 1;
    s->on_chain[VALUE_ID_EMPTY] = s->on_chain[VALUE_ID_NIL] = 1;
}

#define BYTES_PER_CALL 128 /* of the arrays above */
#define BYTES_PER_VALUE 52

static void search_start(struct search *s, struct partition *p) {
    s->p = p;
    arena_reset(&s->arena);
    link_calls(s);
    s->placed = zeroed(s, p->count, 1);
    assign_classes(s);
    assign_slots(s);
    count_values(s);
    if (p->appends) mark_chain(s);
    s->state = p->initial;
    s->first = s->first_max = s->first_stuck = 0;
    s->epoch = s->moves = 0;
    s->undo_count = s->frames_count = s->choices_count = 0;
    cache_start(&s->cache, p->count, s->ok_words, s->words_at, s->field_tops);
}

/* --- placing a call, and taking it back --------------------------------------------------------------------------- */

static bool grow(struct budget *b, void **array, uint32_t *capacity, size_t element) {
    uint32_t wanted = *capacity ? *capacity * 2 : 256;
    if (wanted < *capacity || !budget_claim(b, (wanted - *capacity) * element)) return false;
    *array = xrealloc(*array, wanted * element);
    *capacity = wanted;
    return true;
}

/* Could a call that is still to come make this state? */
static bool can_come_back(const struct search *s, uint32_t state) {
    if (s->p->grows) return false;
    const struct value_entry *e = &s->p->values->entries[state];
    if (e->kind == VALUE_INT && s->adders) return true;
    if (e->kind == VALUE_LIST && state != VALUE_ID_EMPTY && s->appenders[e->last]) return true;
    return s->supply[state] > 0;
}

/* An ok call still has to see the state that is about to be left, and nobody can bring it back. */
static bool abandons_readers(const struct search *s, const struct call *call, uint32_t to) {
    uint32_t from = s->state;
    if (to == from || from >= s->tracked) return false;
    uint32_t need = s->need_ok[from] - (!call->optional && call->guard == from);
    return need > 0 && !can_come_back(s, from);
}

/* The bit of an ok call is set that was clear, or one more is counted of an optional call's class; and back. */
static void enter_call(struct search *s, uint32_t c) {
    s->bits[s->slot[c] / 64] += UINT64_C(1) << (s->slot[c] % 64);
}

static void remove_call(struct search *s, uint32_t c) {
    s->bits[s->slot[c] / 64] -= UINT64_C(1) << (s->slot[c] % 64);
}

#define ONE_LESS UINT32_MAX /* added, it takes one away */

static void count_call(struct search *s, const struct call *call, uint32_t change) {
    if (call->guard != GUARD_ANY) {
        s->need_any[call->guard] += change;
        if (!call->optional) {
            s->need_ok[call->guard] += change;
            s->observers += change;
        }
    }
    if (call->effect == EFFECT_SET) s->supply[call->value] += change;
    if (call->effect == EFFECT_APPEND) s->appenders[call->value] += change;
    if (call->effect == EFFECT_ADD) s->adders += change;
}

static bool is_optional_set(const struct search *s, uint32_t c) {
    return s->p->calls[c].optional && s->p->calls[c].effect == EFFECT_SET;
}

/* Suppliers are mostly taken in order, so those in front are not looked at again. What is taken back last was taken
 * first: so a call had been in front exactly if the one behind it is. */
static void skip_supplier(struct search *s, uint32_t c) {
    uint32_t *front = &s->suppliers[s->p->calls[c].value];
    if (*front == c) *front = s->next_supplier[c];
}

static void restore_supplier(struct search *s, uint32_t c) {
    uint32_t *front = &s->suppliers[s->p->calls[c].value];
    if (*front == s->next_supplier[c]) *front = c;
}

/* Linearizes c next, if that is legal and not hopeless. */
static bool place(struct search *s, uint32_t c) {
    const struct partition *p = s->p;
    const struct call *call = &p->calls[c];
    assert(!s->placed[c] && (call->guard == GUARD_ANY || call->guard == s->state));
    uint32_t to = call_apply(call, p->values, s->state);
    if (to == NONE || abandons_readers(s, call, to)) return false;
    assert(s->undo_count < p->count);
    s->undo[s->undo_count++] = (struct undo){.call = c, .state = s->state, .first = s->first};
    s->state = to;
    s->placed[c] = 1;
    if (is_optional_set(s, c)) skip_supplier(s, c);
    s->next[s->prev[c]] = s->next[c];
    s->prev[s->next[c]] = s->prev[c];
    count_call(s, call, ONE_LESS);
    enter_call(s, c);
    for (; s->first < p->returns_count && s->placed[p->returns[s->first]]; s->first++)
        remove_call(s, p->returns[s->first]);
    return true;
}

static void take_back(struct search *s, uint32_t undo_count) {
    while (s->undo_count > undo_count) {
        struct undo u = s->undo[--s->undo_count];
        while (s->first > u.first) enter_call(s, s->p->returns[--s->first]);
        remove_call(s, u.call);
        if (is_optional_set(s, u.call)) restore_supplier(s, u.call);
        count_call(s, &s->p->calls[u.call], 1);
        s->next[s->prev[u.call]] = u.call;
        s->prev[s->next[u.call]] = u.call;
        s->placed[u.call] = 0;
        s->state = u.state;
    }
}

/* --- moves without a choice --------------------------------------------------------------------------------------- */

/* Where the first return still open stands: calls invoked before it may come next, others may not. */
static uint32_t horizon(const struct search *s) {
    const struct partition *p = s->p;
    return s->first < p->returns_count ? p->calls[p->returns[s->first]].returned : NONE;
}

static bool legal(const struct search *s, const struct call *call) {
    return call->guard == GUARD_ANY || call->guard == s->state;
}

/* A read of the present state changes nothing, so it may as well come now. */
static bool place_reads(struct search *s) {
    bool any = false;
    uint32_t limit = horizon(s);
    for (uint32_t c = s->next[s->head_ok], next; c != s->head_ok && s->p->calls[c].invoked < limit; c = next) {
        if (budget_spent_by(s->budget, 1)) return false;
        next = s->next[c];
        const struct call *call = &s->p->calls[c];
        if (call->effect != EFFECT_NONE || !legal(s, call)) continue;
        bool placed = place(s, c);
        assert(placed);
        any = true;
    }
    return any;
}

/* When nobody needs the present state any more, a blind write whose observers are all reads that may come now (or that
 * has none) can be placed with them: whatever linearization remains, these can be moved to its front, for what follows
 * them there needs neither the present state nor theirs. */
static bool place_closed_write(struct search *s) {
    if (!s->p->sets_only || s->need_any[s->state]) return false;
    uint32_t limit = horizon(s);
    uint64_t stamp = ++s->epoch;
    for (uint32_t c = s->next[s->head_ok]; c != s->head_ok && s->p->calls[c].invoked < limit; c = s->next[c]) {
        if (budget_spent_by(s->budget, 2)) return false;
        const struct call *call = &s->p->calls[c];
        if (call->effect != EFFECT_NONE || call->guard == GUARD_ANY) continue;
        if (s->value_stamp[call->guard] != stamp) s->pending[call->guard] = 0;
        s->value_stamp[call->guard] = stamp;
        s->pending[call->guard]++;
    }
    for (uint32_t c = s->next[s->head_ok]; c != s->head_ok && s->p->calls[c].invoked < limit; c = s->next[c]) {
        const struct call *call = &s->p->calls[c];
        if (call->effect != EFFECT_SET || call->guard != GUARD_ANY) continue;
        uint32_t ready = s->value_stamp[call->value] == stamp ? s->pending[call->value] : 0;
        if (s->need_any[call->value] != ready) continue;
        bool placed = place(s, c);
        assert(placed);
        return true;
    }
    return false;
}

/* --- choices ------------------------------------------------------------------------------------------------------ */

/* Offers c. Of a class only the call with the earliest return is offered: in a linearization that starts with another,
 * the two can change places. */
static void offer(struct search *s, uint32_t c, uint64_t stamp) {
    const struct call *calls = s->p->calls;
    uint32_t class = s->class_of[c];
    if (s->class_stamp[class] == stamp) {
        uint32_t *best = &s->choices[s->class_choice[class]];
        if (calls[c].returned < calls[*best].returned) *best = c;
        return;
    }
    s->class_stamp[class] = stamp;
    s->class_choice[class] = s->choices_count;
    assert(s->choices_count < s->choices_capacity);
    s->choices[s->choices_count++] = c;
}

/* A blind ok write that may come now and that nobody will observe. In a state that somebody may need it stands for all
 * blind writes: whichever comes next, this one can come just before it. */
static uint32_t unobserved_write(const struct search *s, uint32_t limit) {
    for (uint32_t c = s->next[s->head_ok]; c != s->head_ok && s->p->calls[c].invoked < limit; c = s->next[c]) {
        const struct call *call = &s->p->calls[c];
        if (call->effect == EFFECT_SET && call->guard == GUARD_ANY && s->need_any[call->value] == 0) return c;
    }
    return NONE;
}

/* Offers the optional suppliers of a value that a call is waiting for. */
static void offer_suppliers(struct search *s, uint32_t value, uint32_t limit, bool blind_too, uint64_t stamp) {
    if (value == s->state || s->value_stamp[value] == stamp) return;
    s->value_stamp[value] = stamp;
    for (uint32_t c = s->suppliers[value]; c != NONE && s->p->calls[c].invoked < limit; c = s->next_supplier[c]) {
        if (!blind_too && s->optional_guards == 0) return; /* nothing but blind ones follows */
        const struct call *call = &s->p->calls[c];
        if (s->placed[c] || !legal(s, call) || (call->guard == GUARD_ANY && !blind_too)) continue;
        offer(s, c, stamp);
        if (call->guard == GUARD_ANY) blind_too = false; /* the others are of its class, invoked later */
    }
}

/* Optional calls are worth placing only right before a call that observes what they set: if the next one is a blind
 * write, the linearization holds without them. */
static void offer_optional_sets(struct search *s, uint32_t limit, bool blind_too, uint64_t stamp) {
    for (uint32_t c = s->next[s->head_ok]; c != s->head_ok && s->p->calls[c].invoked < limit; c = s->next[c])
        if (s->p->calls[c].guard != GUARD_ANY) offer_suppliers(s, s->p->calls[c].guard, limit, blind_too, stamp);
    if (s->optional_guards == 0) return;
    for (uint32_t c = s->next[s->head_optional]; c != s->head_optional && s->p->calls[c].invoked < limit;
         c = s->next[c])
        if (s->p->calls[c].guard != GUARD_ANY) offer_suppliers(s, s->p->calls[c].guard, limit, blind_too, stamp);
}

static void offer_sets(struct search *s) {
    uint32_t limit = horizon(s), lone = unobserved_write(s, limit);
    uint64_t stamp = ++s->epoch;
    for (uint32_t c = s->next[s->head_ok]; c != s->head_ok && s->p->calls[c].invoked < limit; c = s->next[c]) {
        const struct call *call = &s->p->calls[c];
        if (call->effect == EFFECT_NONE || !legal(s, call)) continue;
        if (call->guard != GUARD_ANY || lone == NONE || c == lone) offer(s, c, stamp);
    }
    offer_optional_sets(s, limit, lone == NONE, stamp);
}

/* Would the append take a list off the way to what is still to be read? */
static bool leaves_chain(const struct search *s, const struct call *call) {
    if (!s->p->appends) return false;
    uint32_t list = s->state == VALUE_ID_NIL ? VALUE_ID_EMPTY : s->state;
    uint32_t longer = values_find_append(s->p->values, list, call->value);
    return longer >= s->tracked || !s->on_chain[longer];
}

/* What the calls that may come now are waiting for. */
struct waiting {
    uint64_t stamp; /* on values that one of them is guarded by */
    uint32_t adders, appenders;
};

static struct waiting who_waits(struct search *s, uint32_t limit) {
    struct waiting w = {.stamp = s->epoch};
    const uint32_t heads[2] = {s->head_ok, s->head_optional};
    for (uint32_t list = 0; list < 2; list++) {
        for (uint32_t c = s->next[heads[list]]; c != heads[list] && s->p->calls[c].invoked < limit; c = s->next[c]) {
            const struct call *call = &s->p->calls[c];
            if (call->guard != GUARD_ANY) s->value_stamp[call->guard] = w.stamp;
            w.adders += call->effect == EFFECT_ADD;
            w.appenders += call->effect == EFFECT_APPEND;
        }
    }
    return w;
}

/* Would a call that may come next look at what this optional one makes of the state? (See offer_optional_sets.) */
static bool is_awaited(struct search *s, const struct call *call, const struct waiting *w) {
    uint32_t to = call_apply(call, s->p->values, s->state);
    if (to == NONE) return false;
    if (to < s->tracked && s->value_stamp[to] == w->stamp) return true;
    uint32_t kind = s->p->values->entries[to].kind;
    bool may_add = kind == VALUE_INT || kind == VALUE_NIL, may_append = kind == VALUE_LIST || kind == VALUE_NIL;
    return (may_add && w->adders > (call->effect == EFFECT_ADD)) ||
           (may_append && w->appenders > (call->effect == EFFECT_APPEND));
}

static void offer_any(struct search *s) {
    uint32_t limit = horizon(s);
    uint64_t stamp = ++s->epoch;
    for (uint32_t c = s->next[s->head_ok]; c != s->head_ok && s->p->calls[c].invoked < limit; c = s->next[c]) {
        const struct call *call = &s->p->calls[c];
        if (call->effect != EFFECT_NONE && legal(s, call) && !leaves_chain(s, call)) offer(s, c, stamp);
    }
    uint32_t c = s->next[s->head_optional];
    if (c == s->head_optional || s->p->calls[c].invoked >= limit) return;
    const struct waiting w = who_waits(s, limit);
    for (; c != s->head_optional && s->p->calls[c].invoked < limit; c = s->next[c]) {
        const struct call *call = &s->p->calls[c];
        if (legal(s, call) && !leaves_chain(s, call) && is_awaited(s, call, &w)) offer(s, c, stamp);
    }
}

/* Should a be tried before b? Optional calls come last, for who used fewer of them is no worse off; then
 * what the most urgent call waits for comes first, then what returns first. */
static bool better(const struct search *s, uint32_t a, uint32_t b) {
    const struct call *calls = s->p->calls;
    uint32_t wanted = s->first < s->p->returns_count ? calls[s->p->returns[s->first]].guard : GUARD_ANY;
    bool a_wanted = calls[a].effect == EFFECT_SET && calls[a].value == wanted;
    bool b_wanted = calls[b].effect == EFFECT_SET && calls[b].value == wanted;
    if (calls[a].optional != calls[b].optional) return calls[b].optional;
    if (a_wanted != b_wanted) return a_wanted;
    return calls[a].returned < calls[b].returned;
}

static int by_promise(const void *a, const void *b, void *s) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if (better(s, x, y)) return -1;
    if (better(s, y, x)) return 1;
    return x < y ? -1 : x > y;
}

#define INSERTION_MAX 32u

/* Choices are found in order of invocation but for suppliers, which come behind. */
static void sort_choices(struct search *s, uint32_t begin) {
    if (s->choices_count - begin > INSERTION_MAX) {
        qsort_r(s->choices + begin, s->choices_count - begin, sizeof *s->choices, by_promise, s);
        return;
    }
    for (uint32_t i = begin + 1; i < s->choices_count; i++) {
        uint32_t c = s->choices[i], at = i;
        for (; at > begin && better(s, c, s->choices[at - 1]); at--) s->choices[at] = s->choices[at - 1];
        s->choices[at] = c;
    }
}

/* Opens a frame with the choices of this configuration, best first. False when the memory is spent. */
static bool open_frame(struct search *s) {
    while (s->choices_capacity - s->choices_count < s->p->count - s->undo_count)
        if (!grow(s->budget, (void **)&s->choices, &s->choices_capacity, sizeof *s->choices)) return false;
    if (s->frames_count == s->frames_capacity &&
        !grow(s->budget, (void **)&s->frames, &s->frames_capacity, sizeof *s->frames))
        return false;
    uint32_t begin = s->choices_count;
    if (s->p->sets_only) {
        offer_sets(s);
    } else {
        offer_any(s);
    }
    sort_choices(s, begin);
    s->frames[s->frames_count++] = (struct frame){.undo_count = s->undo_count, .begin = begin, .next = begin};
    return true;
}

/* --- the search --------------------------------------------------------------------------------------------------- */

/* Nothing is left that could fail: without observers, writes and appends can follow in order of invocation. (A mixed
 * partition may hold type errors, so there all ok calls must have been placed.) */
static bool finished(const struct search *s) {
    return s->first == s->p->returns_count || (s->observers == 0 && (s->p->sets_only || s->p->grows));
}

enum arrival { ARRIVED_NEW, ARRIVED_BEFORE, ARRIVED_AT_END, ARRIVED_WITHOUT_BUDGET };

/* A new configuration: makes the free moves, then looks whether it was here before. */
static enum arrival arrive(struct search *s) {
    while (place_reads(s) || place_closed_write(s)) continue;
    if (s->budget->state != BUDGET_LEFT) return ARRIVED_WITHOUT_BUDGET;
    if (s->first > s->first_max) s->first_max = s->first;
    if (finished(s)) return ARRIVED_AT_END;
    /* States that nobody will look at are all the same. */
    bool irrelevant = s->p->sets_only && s->need_any[s->state] == 0;
    switch (cache_insert(&s->cache, s->first, irrelevant ? NONE : s->state, s->bits, s->budget)) {
    case CACHE_NEW: return open_frame(s) ? ARRIVED_NEW : ARRIVED_WITHOUT_BUDGET;
    case CACHE_KNOWN: return ARRIVED_BEFORE;
    case CACHE_FULL: break;
    }
    return ARRIVED_WITHOUT_BUDGET;
}

/* What the frame on top may have cost: each choice was looked at, and so were calls without a choice. */
static uint32_t frame_work(const struct search *s) {
    uint32_t offered = s->frames_count ? s->choices_count - s->frames[s->frames_count - 1].begin : 0;
    return BUDGET_WORK_MAX / BUDGET_CALLS_MAX + 8 * offered;
}

/* How many moves were made since a return was reached that had not been reached before. */
static uint64_t moves_without_progress(struct search *s) {
    if (s->first_max > s->first_stuck) s->moves = 0;
    s->first_stuck = s->first_max;
    return s->moves++;
}

/* Depth first, with so many moves at most that bring no progress. */
static enum decision search_run(struct search *s, uint64_t stall_max) {
    uint64_t values_claimed = values_bytes(s->p->values);
    enum arrival arrival = arrive(s);
    while (moves_without_progress(s) < stall_max) {
        if (arrival == ARRIVED_AT_END) return DECIDED_VALID;
        if (arrival == ARRIVED_WITHOUT_BUDGET || budget_spent_by(s->budget, frame_work(s))) return UNDECIDED;
        uint64_t values_now = values_bytes(s->p->values);
        if (values_now > values_claimed && !budget_claim(s->budget, values_now - values_claimed)) return UNDECIDED;
        values_claimed = values_now;
        bool moved = false;
        while (!moved && s->frames_count) {
            struct frame *f = &s->frames[s->frames_count - 1];
            take_back(s, f->undo_count);
            if (f->next == s->choices_count) {
                s->choices_count = f->begin;
                s->frames_count--;
            } else {
                moved = place(s, s->choices[f->next++]);
            }
        }
        if (!moved) return DECIDED_INVALID;
        arrival = arrive(s);
    }
    return UNDECIDED;
}

/* --- a thrifty search --------------------------------------------------------------------------------------------- */

/* Depth first, optional calls are taken wherever they help out of a dead end; late in a long history none may be left
 * for where nothing else would help, and the mistakes lie far back. So this search, at a dead end, first looks some
 * steps back for a way without. It forgets choices, so it can find a linearization but not show that there is none. */
#define LOOK_BACK_FRAMES 24u
#define LOOK_BACK_CALLS 256u
#define LOOK_BACK_MOVES 200u
#define DEAD_END_CHOICES 16u

struct dead_end {
    bool known;
    uint32_t base;                                /* the frame back to which it is left */
    uint32_t first;                               /* the return that could not be reached */
    uint32_t moves;                               /* since it was left */
    uint32_t calls[LOOK_BACK_CALLS], calls_count; /* the way to it from there */
    uint32_t choices[DEAD_END_CHOICES], choices_count;
};

static void note_dead_end(struct search *s, struct dead_end *d) {
    uint32_t top = s->frames_count - 1, base = top, undo_count = s->frames[top].undo_count;
    while (base > 0 && top - base < LOOK_BACK_FRAMES && undo_count - s->frames[base - 1].undo_count <= LOOK_BACK_CALLS)
        base--;
    *d = (struct dead_end){.known = true, .base = base, .first = s->first};
    for (uint32_t i = s->frames[base].undo_count; i < undo_count; i++) d->calls[d->calls_count++] = s->undo[i].call;
    for (uint32_t i = s->frames[top].next; i < s->choices_count && d->choices_count < DEAD_END_CHOICES; i++)
        d->choices[d->choices_count++] = s->choices[i];
}

/* Back to the dead end, in a frame with nothing but its optional calls. There is room: both were longer before. */
static void return_to_dead_end(struct search *s, struct dead_end *d) {
    if (s->frames_count > d->base + 1) s->choices_count = s->frames[d->base + 1].begin;
    s->frames_count = d->base + 1;
    take_back(s, s->frames[d->base].undo_count);
    for (uint32_t i = 0; i < d->calls_count; i++) {
        bool placed = place(s, d->calls[i]);
        assert(placed);
    }
    d->known = false;
}

static bool push_choices(struct search *s, const uint32_t *choices, uint32_t count) {
    while (s->choices_capacity - s->choices_count < count)
        if (!grow(s->budget, (void **)&s->choices, &s->choices_capacity, sizeof *s->choices)) return false;
    if (s->frames_count == s->frames_capacity &&
        !grow(s->budget, (void **)&s->frames, &s->frames_capacity, sizeof *s->frames))
        return false;
    struct frame f = {.undo_count = s->undo_count, .begin = s->choices_count, .next = s->choices_count};
    memcpy(s->choices + s->choices_count, choices, count * sizeof *choices);
    s->choices_count += count;
    s->frames[s->frames_count++] = f;
    return true;
}

/* The next move; false if there is none, or no memory. */
static bool move_thriftily(struct search *s, struct dead_end *d) {
    while (s->frames_count) {
        struct frame *f = &s->frames[s->frames_count - 1];
        take_back(s, f->undo_count);
        bool left = f->next < s->choices_count, optional = left && s->p->calls[s->choices[f->next]].optional;
        bool enough = d->known && d->moves >= LOOK_BACK_MOVES;
        if (left && !optional && !enough) {
            if (place(s, s->choices[f->next++])) return true;
            continue;
        }
        if (optional && !d->known) note_dead_end(s, d);
        if (d->known && (enough || s->frames_count - 1 == d->base)) {
            return_to_dead_end(s, d);
            if (!push_choices(s, d->choices, d->choices_count)) return false;
            if (place(s, s->choices[s->frames[s->frames_count - 1].next++])) return true;
            continue;
        }
        s->choices_count = f->begin;
        s->frames_count--;
    }
    return false;
}

static enum decision thrifty_run(struct search *s, uint64_t stall_max) {
    struct dead_end d = {.known = false};
    enum arrival arrival = arrive(s);
    while (moves_without_progress(s) < stall_max) {
        if (arrival == ARRIVED_AT_END) return DECIDED_VALID;
        if (arrival == ARRIVED_WITHOUT_BUDGET || budget_spent_by(s->budget, frame_work(s))) return UNDECIDED;
        if (s->first > d.first) d.known = false;
        d.moves++;
        if (!move_thriftily(s, &d)) return UNDECIDED;
        arrival = arrive(s);
    }
    return UNDECIDED;
}

#define STALL_MAX 4096u /* what a search that gets on well does not need */
#define THRIFTY_STALL_MAX (UINT64_C(1) << 20)

/* Few histories need more than the first. */
static enum decision search_in_turns(struct search *s, struct partition *p) {
    bool thrift = p->sets_only && p->returns_count < p->count;
    search_start(s, p);
    enum decision decision = search_run(s, thrift ? STALL_MAX : UINT64_MAX);
    if (decision != UNDECIDED || s->budget->state != BUDGET_LEFT || !thrift) return decision;
    search_start(s, p);
    decision = thrifty_run(s, THRIFTY_STALL_MAX);
    if (decision != UNDECIDED || s->budget->state != BUDGET_LEFT) return decision;
    search_start(s, p);
    return search_run(s, UINT64_MAX);
}

enum decision search_decide(struct search *s, struct partition *p, struct budget *b) {
    s->budget = b;
    uint64_t claimed_before = b->memory_bytes;
    s->first_max = 0;
    uint64_t fixed = (uint64_t)p->count * BYTES_PER_CALL + (uint64_t)p->values->count * BYTES_PER_VALUE;
    fixed += partition_bytes(p) + cache_bytes(&s->cache);
    fixed += (uint64_t)s->frames_capacity * sizeof *s->frames + (uint64_t)s->choices_capacity * sizeof *s->choices;
    if (budget_spent_now(b) || !budget_claim(b, fixed)) return UNDECIDED;
    if (s->undo_capacity < p->count) {
        s->undo_capacity = p->count;
        s->undo = xrealloc(s->undo, s->undo_capacity * sizeof *s->undo);
    }
    enum decision decision = search_in_turns(s, p);
    budget_release(b, b->memory_bytes - claimed_before);
    return decision;
}

uint32_t search_progress(const struct search *s) {
    return s->first_max;
}
