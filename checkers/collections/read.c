/* From the operations of one key to a collection: failed operations go, and so do puts that were not acknowledged and
 * whose element nobody took, for neither they nor a take of unknown result that took them can be missed by others. */
#include "checkers/collections/internal.h"

#include <stdlib.h>

enum { ROLE_PUT = 1, ROLE_TAKE };

static bool claim(struct collection *c, uint64_t bytes, struct budget *b) {
    if (!budget_claim(b, bytes)) return false;
    c->bytes += bytes;
    return true;
}

void collection_free(struct collection *c, struct budget *b) {
    budget_release(b, c->bytes);
    free(c->actions);
    free(c->events);
    free(c->items);
    *c = (struct collection){0};
}

/* --- actions ------------------------------------------------------------------------------------------------------ */

static bool is_element(const struct discipline *d, struct value v) {
    return v.kind == VALUE_INT || (v.kind == VALUE_STRING && d->kind != PRIORITY_QUEUE);
}

static const char *unfit(const struct discipline *d, const struct history *h, uint32_t op, bool put) {
    struct value v = put ? h->argument[op] : h->result[op];
    if (is_element(d, v) || (!put && (h->status[op] != OP_OK || v.kind == VALUE_NIL))) return NULL;
    return d->kind == PRIORITY_QUEUE ? "has an element that is no integer"
                                     : "has an element that is no integer or string";
}

static struct action action_of(const struct history *h, uint32_t op, bool put, const struct element_table *elements) {
    struct action a = {.op = op, .element = NONE, .kind = ACTION_PUT};
    struct value v = put ? h->argument[op] : h->result[op];
    if (!put) a.kind = h->status[op] != OP_OK ? ACTION_UNKNOWN : v.kind == VALUE_NIL ? ACTION_EMPTY : ACTION_TAKE;
    if (put || a.kind == ACTION_TAKE) a.element = element_find(elements, v);
    return a;
}

/* Gives ids to what was put surely or taken; the rest stays out of the table. */
static bool intern_elements(const struct history *h, const uint8_t *roles, struct element_table *elements,
                            const uint32_t *ops, uint32_t count, struct budget *b) {
    struct element_range range = {0};
    for (uint32_t i = 0; i < count; i++) {
        bool put = roles[h->f[ops[i]]] == ROLE_PUT;
        if (h->status[ops[i]] == OP_OK) element_range_add(&range, put ? h->argument[ops[i]] : h->result[ops[i]]);
    }
    if (!element_table_make(elements, h, &range, b)) return false;
    for (uint32_t i = 0; i < count && !budget_spent(b); i++) {
        bool put = roles[h->f[ops[i]]] == ROLE_PUT;
        if (h->status[ops[i]] == OP_OK) element_intern(elements, put ? h->argument[ops[i]] : h->result[ops[i]]);
    }
    return b->state == BUDGET_LEFT;
}

/* An unacknowledged put whose element was put surely, too, but taken by nobody, cannot be missed either; it only makes
 * the element a repeated one, for which there is no quick answer. So it counts only if the element was taken. */
static void drop_untaken(struct collection *c, const uint8_t *taken) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct action *a = &c->actions[i];
        bool sure = c->h->status[a->op] == OP_OK || a->kind == ACTION_UNKNOWN;
        if (sure || taken[a->element]) c->actions[kept++] = *a;
    }
    c->count = kept;
}

static bool read_actions(struct collection *c, const uint8_t *roles, const struct element_table *elements,
                         const uint32_t *ops, uint32_t count, struct budget *b) {
    const struct history *h = c->h;
    if (!claim(c, (uint64_t)count * sizeof *c->actions, b)) return false;
    c->actions = xmalloc_large(count * sizeof *c->actions);
    uint8_t *taken = xcalloc((size_t)c->elements + 1, 1);
    for (uint32_t i = 0; i < count && !budget_spent(b); i++) {
        if (h->status[ops[i]] == OP_FAIL) continue;
        struct action a = action_of(h, ops[i], roles[h->f[ops[i]]] == ROLE_PUT, elements);
        if (a.kind == ACTION_PUT && a.element == NONE) continue;
        if (a.kind == ACTION_TAKE) taken[a.element] = 1;
        c->actions[c->count++] = a;
    }
    drop_untaken(c, taken);
    free(taken);
    return b->state == BUDGET_LEFT;
}

/* --- positions ---------------------------------------------------------------------------------------------------- */

static bool order_actions(struct collection *c, struct budget *b) {
    uint64_t bytes = 3 * (uint64_t)c->count * sizeof(uint32_t);
    if (!budget_claim(b, bytes)) return false;
    uint32_t *ops = xmalloc_large(bytes), *invoked = ops + c->count, *returned = invoked + c->count;
    for (uint32_t i = 0; i < c->count; i++) ops[i] = c->actions[i].op;
    c->positions = c->count + order_events(c->h, ops, c->count, invoked, returned);
    for (uint32_t i = 0; i < c->count; i++) {
        c->actions[i].invoked = invoked[i];
        c->actions[i].returned = returned[i];
    }
    free(ops);
    budget_release(b, bytes);
    return true;
}

/* Of several puts or takes of one element the first to begin stays; and the first end, as of a delivery that was
 * repeated: the first of the deliveries is over when any of them is. */
static void index_item(struct collection *c, uint32_t index) {
    const struct action *a = &c->actions[index];
    struct item *item = &c->items[a->element];
    if (a->kind == ACTION_PUT) {
        c->repeated |= item->puts > 0;
        if (item->puts++ > 0) return;
        item->put = index;
        item->put_invoked = a->invoked;
        item->put_returned = a->returned;
    } else if (item->takes++ == 0) {
        item->take = index;
        item->take_invoked = a->invoked;
        item->take_returned = a->returned;
    } else if (a->returned < item->take_returned) {
        item->take_returned = a->returned;
    }
}

bool collection_index(struct collection *c, struct budget *b) {
    if (!claim(c, c->positions * (uint64_t)sizeof *c->events + c->elements * (uint64_t)sizeof *c->items, b))
        return false;
    c->events = xmalloc_large(c->positions * sizeof *c->events);
    c->items = xmalloc_large(c->elements * sizeof *c->items);
    for (uint32_t e = 0; e < c->elements; e++)
        c->items[e] = (struct item){NONE, NONE, NONE, NONE, FOREVER(c), NONE, 0, 0};
    for (uint32_t i = 0; i < c->count && !budget_spent(b); i++) {
        const struct action *a = &c->actions[i];
        c->events[a->invoked] = i;
        if (a->returned != NONE) c->events[a->returned] = i | EVENT_RETURN;
        if (a->element != NONE) index_item(c, i);
        c->empties += a->kind == ACTION_EMPTY;
        c->unknowns += a->kind == ACTION_UNKNOWN;
    }
    return b->state == BUDGET_LEFT;
}

bool collection_read(struct collection *c, const struct history *h, const struct discipline *d,
                     const uint8_t roles[FUNCTIONS_MAX], struct element_table *elements, const uint32_t *ops,
                     uint32_t count, struct budget *b, const char **why, uint32_t *op) {
    *c = (struct collection){.h = h, .d = d};
    for (uint32_t i = 0; i < count; i++) {
        if (h->status[ops[i]] == OP_FAIL) continue;
        *why = unfit(d, h, ops[i], roles[h->f[ops[i]]] == ROLE_PUT);
        *op = ops[i];
        if (*why) return false;
    }
    if (!intern_elements(h, roles, elements, ops, count, b)) return false;
    c->values = elements->values;
    c->elements = elements->count;
    return read_actions(c, roles, elements, ops, count, b) && order_actions(c, b) && collection_index(c, b);
}

/* --- parts -------------------------------------------------------------------------------------------------------- */

static int by_position(const void *x, const void *y) {
    uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
    return a < b ? -1 : a > b;
}

static uint32_t rank_of(const uint32_t *sorted, uint32_t count, uint32_t position) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sorted[middle] < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Positions close up, keeping their order. */
static void close_up(struct collection *c) {
    uint32_t *sorted = xmalloc((2 * (size_t)c->count + 1) * sizeof *sorted), count = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        sorted[count++] = c->actions[i].invoked;
        if (c->actions[i].returned != NONE) sorted[count++] = c->actions[i].returned;
    }
    qsort(sorted, count, sizeof *sorted, by_position);
    for (uint32_t i = 0; i < c->count; i++) {
        struct action *a = &c->actions[i];
        a->invoked = rank_of(sorted, count, a->invoked);
        if (a->returned != NONE) a->returned = rank_of(sorted, count, a->returned);
    }
    c->positions = count;
    free(sorted);
}

bool collection_subset(const struct collection *c, const uint8_t *keep, struct collection *into, struct budget *b) {
    *into = (struct collection){.h = c->h, .d = c->d, .values = c->values};
    if (!claim(into, (uint64_t)c->count * sizeof *into->actions, b)) return false;
    into->actions = xmalloc_large(c->count * sizeof *into->actions);
    uint32_t empties = 0;
    for (uint32_t i = 0; i < c->count && !budget_spent(b); i++) {
        const struct action *a = &c->actions[i];
        uint32_t unit = a->kind == ACTION_EMPTY ? c->elements + empties++ : a->element;
        if (unit == NONE || keep[unit]) into->actions[into->count++] = *a;
    }
    into->elements = c->elements;
    close_up(into);
    return b->state == BUDGET_LEFT && collection_index(into, b);
}
