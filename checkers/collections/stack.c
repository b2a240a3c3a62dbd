/* Stacks of elements that are put once each: decrease and conquer, after Lee and Mathur, "Efficient
 * Decrease-and-Conquer Linearizability Monitoring" (arXiv 2410.04581).
 *
 * An element whose push and pop overlap can do both at one moment and is in nobody's way; it is left out. The others
 * are surely inside from the end of the push to the beginning of the pop. Two rules take them apart:
 * - Where none is surely inside, the stack may be empty (queue.c says why), so what is before and what is after that
 *   moment are stacks by themselves.
 * - Where one always is, one element lies below all others: its push can come first (it begins before any push
 *   ends), its pop last (it ends after the last pop has begun). Without it the rest is as linearizable as with it,
 *   so any element that can be the lowest is taken out. If there is none, there is no linearization.
 *
 * Elements stand by the end of their pushes, so that a part is a range of them. A segment tree has for each range
 * what the rules ask: the least number of elements that are inside where one is pushed; of those that cannot come
 * first yet, the earliest begin of a push; of those that can, the latest end of a pop; and the latest begin of a
 * pop. A part only ever shrinks, so who can come first once always can. That makes O(n log n). */
#include "checkers/collections/internal.h"

#include <stdlib.h>

struct node {
    int32_t inside, add; /* the least of the range; what is to be added to all of it, and is in `inside` already */
    uint32_t push_begin; /* the earliest, of those that cannot come first yet; NONE */
    uint32_t pop_end;    /* 1 + the latest, of those that can come first; 0 */
    uint32_t pop_begin;  /* 1 + the latest; 0 */
};

struct stack {
    const struct collection *c;
    uint32_t *element; /* by index */
    uint32_t *covers;  /* by index: the last one that is pushed while this one is surely inside */
    uint32_t *next;    /* by index: itself while it is there, else the one to look at next */
    uint32_t count, leaves;
    struct node *nodes; /* node n has the children 2n and 2n + 1; leaf i is node leaves + i */
    struct range *parts;
    uint32_t parts_count;
};

struct range {
    uint32_t first, last;
};

/* --- the tree ----------------------------------------------------------------------------------------------------- */

static void pull(struct node *nodes, uint32_t n) {
    const struct node *a = &nodes[2 * n], *b = &nodes[2 * n + 1];
    nodes[n].inside = (a->inside < b->inside ? a->inside : b->inside) + nodes[n].add;
    nodes[n].push_begin = a->push_begin < b->push_begin ? a->push_begin : b->push_begin;
    nodes[n].pop_end = a->pop_end > b->pop_end ? a->pop_end : b->pop_end;
    nodes[n].pop_begin = a->pop_begin > b->pop_begin ? a->pop_begin : b->pop_begin;
}

static void pull_up(struct stack *s, uint32_t index) {
    for (uint32_t n = (s->leaves + index) / 2; n > 0; n /= 2) pull(s->nodes, n);
}

static void add_inside(struct stack *s, uint32_t first, uint32_t last, int32_t by) {
    if (first > last) return;
    uint32_t low = s->leaves + first, high = s->leaves + last;
    for (uint32_t a = low, b = high; a <= b; a /= 2, b /= 2) {
        if (a % 2 == 1) {
            s->nodes[a].inside += by;
            s->nodes[a++].add += by;
        }
        if (b % 2 == 0) {
            s->nodes[b].inside += by;
            s->nodes[b--].add += by;
        }
        if (b == 0) break;
    }
    pull_up(s, first);
    pull_up(s, last);
}

/* The first index of [first, last] that is pushed while nothing is surely inside; NONE. Counts of a node's ancestors
 * are handed down in `above`. */
static uint32_t find_open(const struct stack *s, uint32_t n, struct range of, struct range in, int32_t above) {
    if (of.last < in.first || of.first > in.last || s->nodes[n].inside + above > 0) return NONE;
    if (of.first == of.last) return of.first;
    uint32_t middle = of.first + (of.last - of.first) / 2;
    above += s->nodes[n].add;
    uint32_t found = find_open(s, 2 * n, (struct range){of.first, middle}, in, above);
    return found != NONE ? found : find_open(s, 2 * n + 1, (struct range){middle + 1, of.last}, in, above);
}

/* The first index of the range whose push begins before the position and that cannot come first yet. */
static uint32_t find_push(const struct stack *s, uint32_t n, struct range of, struct range in, uint32_t before) {
    if (of.last < in.first || of.first > in.last || s->nodes[n].push_begin >= before) return NONE;
    if (of.first == of.last) return of.first;
    uint32_t middle = of.first + (of.last - of.first) / 2;
    uint32_t found = find_push(s, 2 * n, (struct range){of.first, middle}, in, before);
    return found != NONE ? found : find_push(s, 2 * n + 1, (struct range){middle + 1, of.last}, in, before);
}

static struct node latest_in(const struct stack *s, struct range in) {
    struct node most = {0};
    for (uint32_t a = s->leaves + in.first, b = s->leaves + in.last; a <= b; a /= 2, b /= 2) {
        uint32_t ends[2] = {a % 2 == 1 ? a++ : 0, b % 2 == 0 ? b-- : 0};
        for (uint32_t i = 0; i < 2; i++) {
            if (ends[i] == 0) continue;
            const struct node *n = &s->nodes[ends[i]];
            most.pop_end = n->pop_end > most.pop_end ? n->pop_end : most.pop_end;
            most.pop_begin = n->pop_begin > most.pop_begin ? n->pop_begin : most.pop_begin;
        }
    }
    return most;
}

/* An index of the range that can come first and whose pop ends at the position. */
static uint32_t find_pop(const struct stack *s, struct range in, uint32_t pop_end) {
    uint32_t found = 0;
    for (uint32_t a = s->leaves + in.first, b = s->leaves + in.last; a <= b; a /= 2, b /= 2) {
        if (a % 2 == 1 && s->nodes[a++].pop_end == pop_end) found = a - 1;
        if (b % 2 == 0 && s->nodes[b--].pop_end == pop_end) found = b + 1;
    }
    assert(found > 0);
    while (found < s->leaves) found = s->nodes[2 * found].pop_end == pop_end ? 2 * found : 2 * found + 1;
    return found - s->leaves;
}

/* --- elements ----------------------------------------------------------------------------------------------------- */

static const struct item *item_at(const struct stack *s, uint32_t index) {
    return &s->c->items[s->element[index]];
}

/* What is never popped is so after everything else, and after what a pop of unknown end took. */
static uint32_t pop_end_of(const struct item *item) {
    return item->take_returned == NONE ? NONE - 1 : item->take_returned;
}

static uint32_t next_there(struct stack *s, uint32_t index) {
    while (s->next[index] != index) {
        s->next[index] = s->next[s->next[index]];
        index = s->next[index];
    }
    return index;
}

static void fill(struct stack *s) {
    for (uint32_t i = 0; i < s->leaves; i++)
        s->nodes[s->leaves + i] = (struct node){.inside = INT32_MAX / 2, .push_begin = NONE};
    for (uint32_t i = 0; i < s->count; i++) {
        struct node *leaf = &s->nodes[s->leaves + i];
        leaf->inside = 0;
        leaf->push_begin = item_at(s, i)->put_invoked;
        leaf->pop_begin = item_at(s, i)->take_invoked + 1;
        s->next[i] = i;
    }
    s->next[s->count] = s->count;
    /* How many are inside where i is pushed: from where each begins to be and where it ceases. */
    int32_t *change = xcalloc((size_t)s->count + 2, sizeof *change), inside = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        change[i + 1]++;
        change[s->covers[i] + 1]--;
    }
    for (uint32_t i = 0; i < s->count; i++) s->nodes[s->leaves + i].inside = inside += change[i];
    free(change);
    for (uint32_t n = s->leaves - 1; n > 0; n--) {
        s->nodes[n].add = 0;
        pull(s->nodes, n);
    }
}

/* The elements that are surely inside at some time, by the end of their pushes. */
static void collect(struct stack *s) {
    const struct collection *c = s->c;
    uint32_t *pushed = xmalloc(((size_t)c->positions + 1) * sizeof *pushed); /* before a position */
    for (uint32_t at = 0; at < c->positions; at++) {
        const struct action *a = &c->actions[c->events[at] & ~EVENT_RETURN];
        pushed[at] = s->count;
        if (!(c->events[at] & EVENT_RETURN) || a->kind != ACTION_PUT) continue;
        if (c->items[a->element].put_returned < c->items[a->element].take_invoked) s->element[s->count++] = a->element;
    }
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t end = item_at(s, i)->take_invoked;
        s->covers[i] = (end < c->positions ? pushed[end] : s->count) - 1;
    }
    free(pushed);
}

static bool stack_make(struct stack *s, const struct collection *c, uint64_t *bytes, struct budget *b) {
    *s = (struct stack){.c = c, .leaves = 1};
    uint32_t items = 0;
    for (uint32_t e = 0; e < c->elements; e++) items += c->items[e].put_returned < c->items[e].take_invoked;
    while (s->leaves < items) s->leaves *= 2;
    *bytes = 2 * (uint64_t)s->leaves * sizeof *s->nodes +
             ((uint64_t)items + 1) * (3 * sizeof(uint32_t) + sizeof *s->parts) +
             ((uint64_t)c->positions + 1) * sizeof(uint32_t);
    if (!budget_claim(b, *bytes)) return false;
    s->element = xmalloc(3 * ((size_t)items + 1) * sizeof *s->element);
    s->covers = s->element + items + 1;
    s->next = s->covers + items + 1;
    s->nodes = xmalloc_large(2 * (size_t)s->leaves * sizeof *s->nodes);
    s->parts = xmalloc(((size_t)items + 1) * sizeof *s->parts);
    collect(s);
    fill(s);
    return true;
}

/* --- the rules ---------------------------------------------------------------------------------------------------- */

/* Of a part in which something is always inside: takes out one that can be the lowest. */
static bool take_lowest(struct stack *s, struct range part) {
    struct range all = {0, s->leaves - 1};
    uint32_t push_end = item_at(s, part.first)->put_returned, index;
    while ((index = find_push(s, 1, all, part, push_end)) != NONE) {
        s->nodes[s->leaves + index].push_begin = NONE;
        s->nodes[s->leaves + index].pop_end = pop_end_of(item_at(s, index)) + 1;
        pull_up(s, index);
    }
    struct node latest = latest_in(s, part);
    if (latest.pop_end <= latest.pop_begin) return false;
    index = find_pop(s, part, latest.pop_end);
    s->nodes[s->leaves + index].pop_end = s->nodes[s->leaves + index].pop_begin = 0;
    pull_up(s, index);
    add_inside(s, index + 1, s->covers[index], -1);
    s->next[index] = index + 1;
    return true;
}

/* False: the part has no lowest element; it is left in `part`. */
static bool decide_range(struct stack *s, struct range r, struct range *part) {
    struct range all = {0, s->leaves - 1};
    for (uint32_t first = next_there(s, r.first); first <= r.last;) {
        uint32_t open = first < r.last ? find_open(s, 1, all, (struct range){first + 1, r.last}, 0) : NONE;
        *part = (struct range){first, open == NONE ? r.last : open - 1};
        if (!take_lowest(s, *part)) return false;
        if (part->last > part->first) s->parts[s->parts_count++] = *part;
        first = open == NONE ? r.last + 1 : next_there(s, open);
    }
    return true;
}

static void tell_no_lowest(struct stack *s, struct range part, uint8_t *kept) {
    memset(kept, 0, s->c->elements);
    for (uint32_t i = next_there(s, part.first); i <= part.last; i = next_there(s, i + 1)) kept[s->element[i]] = 1;
}

enum decision stack_decide(const struct collection *c, struct budget *b, struct finding *f, uint8_t *kept) {
    struct stack s;
    uint64_t bytes;
    struct range part;
    if (!stack_make(&s, c, &bytes, b)) return UNDECIDED;
    enum decision d = DECIDED_VALID;
    if (s.count) s.parts[s.parts_count++] = (struct range){0, s.count - 1};
    while (s.parts_count && d == DECIDED_VALID) {
        if (budget_spent(b))
            d = UNDECIDED;
        else if (!decide_range(&s, s.parts[--s.parts_count], &part))
            d = DECIDED_INVALID;
    }
    if (d == DECIDED_INVALID && kept) tell_no_lowest(&s, part, kept);
    free(s.element);
    free(s.nodes);
    free(s.parts);
    budget_release(b, bytes);
    return d == DECIDED_VALID ? empties_decide(c, b, f) : d;
}
