/* Bags and queues of elements that are put once each, and when a collection may be empty.
 *
 * FIFO: linearizable if and only if no element comes out without going in or twice, none overtakes another one surely
 * (put before it, taken after it or never), and each take that found nothing has a moment at which no element is surely
 * inside: Henzinger, Sezgin and Vafeiadis, "Aspect-oriented linearizability proofs" (CONCUR 2013); as patterns over
 * histories: Bouajjani, Emmi, Enea and Hamza, "On reducing linearizability to state reachability" (ICALP 2015). Each is
 * one sweep over the events.
 *
 * The moment: an element is surely inside from the end of its put to the beginning of its take. Where none is, each
 * linearization can be turned into one in which the collection is empty there: whoever is inside then may come later or
 * leave earlier, in the order in which it does. This holds for queues, stacks, priority queues and bags alike. */
#include "checkers/collections/internal.h"

#include <stdlib.h>

void element_print(const struct collection *c, uint32_t element, struct buffer *out) {
    print_value(c->h, c->values[element], out);
}

static void put_and_take(const struct collection *c, uint32_t element, struct finding *f) {
    const struct item *item = &c->items[element];
    if (item->put != NONE) finding_op(f, c->actions[item->put].op);
    if (item->take != NONE) finding_op(f, c->actions[item->take].op);
}

/* Of elements that were delivered several times: which delivery was the first is known from all of them only. */
static void deliveries(const struct collection *c, const uint8_t *wanted, struct finding *f) {
    for (uint32_t i = 0; i < c->count; i++)
        if (c->actions[i].kind == ACTION_TAKE && wanted[c->actions[i].element]) finding_op(f, c->actions[i].op);
}

/* --- always something inside -------------------------------------------------------------------------------------- */

static bool surely_inside(const struct item *item) {
    return item->puts && item->put_returned < item->take_invoked;
}

/* By gap: of the items that are put before it, the one that stays the longest. */
static uint32_t *longest_stays(const struct collection *c, const struct value *below) {
    uint32_t *longest = xmalloc(((size_t)c->positions + 1) * sizeof *longest), best = NONE;
    longest[0] = NONE;
    for (uint32_t at = 0; at < c->positions; at++) {
        const struct action *a = &c->actions[c->events[at] & ~EVENT_RETURN];
        bool put = (c->events[at] & EVENT_RETURN) && a->kind == ACTION_PUT && surely_inside(&c->items[a->element]);
        if (put && below && c->values[a->element].integer >= below->integer) put = false;
        if (put && (best == NONE || c->items[a->element].take_invoked > c->items[best].take_invoked)) best = a->element;
        longest[at + 1] = best;
    }
    return longest;
}

#define CHAIN_PRINT_MAX 8u

void chain_tell(const struct collection *c, uint32_t low, uint32_t high, const struct value *below, struct finding *f) {
    uint32_t *longest = longest_stays(c, below), count = 0;
    uint8_t *again = xcalloc((size_t)c->elements + 1, 1);
    for (uint32_t gap = low; gap <= high; count++) {
        uint32_t element = longest[gap];
        if (element == NONE || c->items[element].take_invoked < gap) break;
        if (count < CHAIN_PRINT_MAX) {
            buffer_printf(&f->line, count ? ", then " : "");
            element_print(c, element, &f->line);
        }
        put_and_take(c, element, f);
        again[element] = c->items[element].takes > 1;
        gap = c->items[element].take_invoked + 1;
    }
    if (count > CHAIN_PRINT_MAX) buffer_printf(&f->line, ", ... (%u in all)", count);
    deliveries(c, again, f);
    free(again);
    free(longest);
}

static void tell_never_empty(const struct collection *c, const struct action *a, struct finding *f) {
    finding_op(f, a->op);
    buffer_printf(&f->line,
                  "process %u found nothing, but all the while something was inside: ", (unsigned)c->h->process[a->op]);
    chain_tell(c, a->invoked + 1, a->returned, NULL, f);
}

enum decision empties_decide(const struct collection *c, struct budget *b, struct finding *f) {
    if (c->empties == 0) return DECIDED_VALID;
    uint64_t bytes = ((uint64_t)c->positions + 2) * sizeof(uint32_t);
    if (!budget_claim(b, 2 * bytes)) return UNDECIDED;
    int32_t *change = xcalloc(2 * ((size_t)c->positions + 2), sizeof *change), inside = 0;
    uint32_t *open_gaps = (uint32_t *)change + c->positions + 2; /* at which nothing is surely inside, up to a gap */
    for (uint32_t e = 0; e < c->elements; e++) {
        if (!surely_inside(&c->items[e])) continue;
        change[c->items[e].put_returned + 1]++;
        if (c->items[e].take_invoked < c->positions) change[c->items[e].take_invoked + 1]--;
    }
    for (uint32_t gap = 0; gap <= c->positions; gap++) {
        inside += change[gap];
        open_gaps[gap] = (gap ? open_gaps[gap - 1] : 0) + (inside == 0);
    }
    enum decision d = DECIDED_VALID;
    for (uint32_t i = 0; i < c->count && d == DECIDED_VALID; i++) {
        const struct action *a = &c->actions[i];
        if (budget_spent(b)) d = UNDECIDED;
        if (a->kind != ACTION_EMPTY || open_gaps[a->returned] > open_gaps[a->invoked]) continue;
        d = DECIDED_INVALID;
        if (f) tell_never_empty(c, a, f);
    }
    free(change);
    budget_release(b, 2 * bytes);
    return d;
}

/* --- order -------------------------------------------------------------------------------------------------------- */

enum decision bag_decide(const struct collection *c, struct budget *b, struct finding *f, uint8_t *kept) {
    (void)kept;
    return empties_decide(c, b, f);
}

static void tell_overtaken(const struct collection *c, uint32_t first, uint32_t second, struct finding *f) {
    const struct item *late = &c->items[first];
    uint8_t *again = xcalloc((size_t)c->elements + 1, 1);
    element_print(c, first, &f->line);
    buffer_printf(&f->line, " was %s before ", c->d->putted);
    element_print(c, second, &f->line);
    if (late->take == NONE)
        buffer_printf(&f->line, ", which was %s while it was still inside", c->d->taken);
    else
        buffer_printf(&f->line, ", but %s after it", c->d->taken);
    put_and_take(c, first, f);
    put_and_take(c, second, f);
    again[first] = late->takes > 1;
    again[second] = c->items[second].takes > 1;
    deliveries(c, again, f);
    free(again);
}

enum decision fifo_decide(const struct collection *c, struct budget *b, struct finding *f, uint8_t *kept) {
    (void)kept;
    uint32_t latest = NONE; /* of the elements that are put: the one whose take begins last */
    for (uint32_t at = 0; at < c->positions; at++) {
        const struct action *a = &c->actions[c->events[at] & ~EVENT_RETURN];
        if (budget_spent(b)) return UNDECIDED;
        if (a->kind != ACTION_PUT) continue;
        const struct item *item = &c->items[a->element];
        if (c->events[at] & EVENT_RETURN) {
            if (latest == NONE || item->take_invoked > c->items[latest].take_invoked) latest = a->element;
        } else if (latest != NONE && c->items[latest].take_invoked > item->take_returned) {
            if (f) tell_overtaken(c, latest, a->element, f);
            return DECIDED_INVALID;
        }
    }
    return empties_decide(c, b, f);
}
