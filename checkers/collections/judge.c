/* The lead of the checks of bags, queues, stacks and priority queues: each key by itself, quick answers first, then the
 * search. What is wrong is cut down to few elements. */
#include "checkers/collections/internal.h"

#include <inttypes.h>
#include <stdlib.h>

static const struct discipline disciplines[] = {
    [BAG] = {BAG, "queue", "enqueue", "dequeue", "enqueued", "dequeued", "in any order", bag_decide},
    [FIFO] = {FIFO, "fifo", "enqueue", "dequeue", "enqueued", "dequeued", "first in, first out", fifo_decide},
    [FIFO_AT_LEAST_ONCE] = {FIFO_AT_LEAST_ONCE, "fifo-at-least-once", "enqueue", "dequeue", "enqueued", "dequeued",
                            "first in, first out", fifo_decide},
    [STACK] = {STACK, "stack", "push", "pop", "pushed", "popped", "last in, first out", stack_decide},
    [PRIORITY_QUEUE] = {PRIORITY_QUEUE, "priority-queue", "insert", "delete-min", "inserted", "deleted",
                        "the least first", priority_queue_decide},
};

struct judgement {
    const struct history *h;
    const struct discipline *d;
    struct budget budget;
    struct finding finding;
    struct buffer unknown; /* why the verdict cannot be valid; empty if it can */
    uint64_t taken;
    uint32_t elements;
};

/* --- what holds for every collection ------------------------------------------------------------------------------ */

static void find_takes(const struct collection *c, uint32_t element, struct finding *f) {
    for (uint32_t i = 0; i < c->count; i++)
        if (c->actions[i].element == element) finding_op(f, c->actions[i].op);
}

static bool put_failed(const struct collection *c, uint32_t element, struct finding *f) {
    const struct history *h = c->h;
    uint32_t take = c->actions[c->items[element].take].op;
    for (uint32_t op = 0; op < h->count; op++) {
        if (h->status[op] != OP_FAIL || h->key[op] != h->key[take]) continue;
        if (!history_value_equal(h, h->argument[op], c->values[element])) continue;
        finding_op(f, op);
        return true;
    }
    return false;
}

/* Taken without having been put, or more often, or before. */
static bool conjured(const struct collection *c, uint32_t element, struct finding *f) {
    const struct item *item = &c->items[element];
    bool again = c->d->kind == FIFO_AT_LEAST_ONCE;
    if (item->takes == 0) return false;
    bool never = item->puts == 0, often = !again && item->takes > item->puts;
    bool early = item->puts == 1 && item->take_returned < item->put_invoked;
    if (!never && !often && !early) return false;
    if (!f) return true;
    element_print(c, element, &f->line);
    if (never)
        buffer_printf(&f->line, " was %s, but %s", c->d->taken,
                      put_failed(c, element, f) ? "putting it in had failed" : "was never put in");
    else if (often)
        buffer_printf(&f->line, " was %s %u times, but %s %s", c->d->taken, item->takes, c->d->putted,
                      item->puts == 1 ? "once" : "not as often");
    else
        buffer_printf(&f->line, " was %s before it began to be %s", c->d->taken, c->d->putted);
    find_takes(c, element, f);
    return true;
}

static enum decision nothing_conjured(const struct collection *c, struct budget *b, struct finding *f) {
    for (uint32_t e = 0; e < c->elements; e++) {
        if (budget_spent(b)) return UNDECIDED;
        if (conjured(c, e, f)) return DECIDED_INVALID;
    }
    return DECIDED_VALID;
}

/* --- takes of unknown result -------------------------------------------------------------------------------------- */

/* A copy in which elements that nobody is known to have taken are taken by those of unknown result: all by the first of
 * them, as if it could take many; or by one each, in the order in which they were put. */
static struct collection supposed(const struct collection *c, bool each, struct budget *b) {
    struct collection copy = *c;
    copy.bytes = (uint64_t)c->elements * sizeof *c->items;
    if (!budget_claim(b, copy.bytes)) return (struct collection){0};
    copy.items = xmalloc_large(copy.bytes);
    memcpy(copy.items, c->items, c->elements * sizeof *c->items);
    uint32_t unknown = 0;
    while (c->actions[unknown].kind != ACTION_UNKNOWN) unknown++;
    for (uint32_t at = 0; at < c->positions && unknown < c->count; at++) {
        const struct action *a = &c->actions[c->events[at] & ~EVENT_RETURN];
        if (!(c->events[at] & EVENT_RETURN) || a->kind != ACTION_PUT || c->items[a->element].takes) continue;
        copy.items[a->element].take_invoked = c->actions[unknown].invoked;
        copy.items[a->element].take_returned = c->positions;
        while (each && ++unknown < c->count && c->actions[unknown].kind != ACTION_UNKNOWN) {
        }
    }
    if (each || c->d->kind != FIFO_AT_LEAST_ONCE) return copy;
    for (uint32_t e = 0; e < c->elements; e++)
        if (c->actions[unknown].invoked < copy.items[e].take_invoked)
            copy.items[e].take_invoked = c->actions[unknown].invoked;
    return copy;
}

static enum decision decide_supposed(const struct collection *c, bool each, struct budget *b, struct finding *f,
                                     uint8_t *kept) {
    struct collection copy = supposed(c, each, b);
    if (!copy.items) return UNDECIDED;
    enum decision d = c->d->decide(&copy, b, f, kept);
    free(copy.items);
    budget_release(b, copy.bytes);
    return d;
}

/* Elements that are put once each. UNDECIDED with a budget left: takes of unknown result matter. They may not have
 * happened; or have taken one element each of those that nobody else took. */
static enum decision decide_items(const struct collection *c, struct budget *b, struct finding *f, uint8_t *kept) {
    enum decision d = c->d->decide(c, b, f, kept);
    if (d != DECIDED_INVALID || c->unknowns == 0) return d;
    struct finding other = {0};
    uint8_t *others = kept ? xcalloc((size_t)c->elements + 1, 1) : NULL;
    d = decide_supposed(c, false, b, f ? &other : NULL, others);
    if (d == DECIDED_INVALID && f) {
        struct finding swapped = *f;
        *f = other;
        other = swapped;
    }
    if (d == DECIDED_INVALID && kept) memcpy(kept, others, c->elements);
    finding_free(&other);
    free(others);
    if (d != DECIDED_VALID) return d;
    d = decide_supposed(c, true, b, NULL, NULL);
    /* Of a queue those go first that were put first, so if this order of them does not do, no other does. */
    if (d != DECIDED_INVALID || (c->d->kind == FIFO && c->empties == 0)) return d;
    return UNDECIDED;
}

static enum decision decide_all(const struct collection *c, struct budget *b, struct finding *f, uint8_t *kept,
                                bool *too_wide) {
    *too_wide = false;
    enum decision d = nothing_conjured(c, b, f);
    if (d != DECIDED_VALID) return d;
    if (!c->repeated) {
        d = decide_items(c, b, f, kept);
        if (d != UNDECIDED || b->state != BUDGET_LEFT) return d;
    }
    if (f) finding_clear(f);
    if (kept) memset(kept, 1, c->elements);
    return collection_search(c, b, too_wide);
}

/* --- few elements ------------------------------------------------------------------------------------------------- */

#define SHRINK_NS_MAX (2 * NS_PER_S)

static bool still_wrong(const struct collection *c, const uint8_t *keep, struct budget *b) {
    struct collection part;
    bool too_wide,
        wrong = collection_subset(c, keep, &part, b) && decide_all(&part, b, NULL, NULL, &too_wide) == DECIDED_INVALID;
    collection_free(&part, b);
    return wrong;
}

/* Drops elements, and takes that found nothing, as long as what remains is wrong by itself; many at once at first. */
static void shrink(const struct collection *c, uint8_t *keep, struct budget *whole) {
    struct budget b = budget_share(whole, SHRINK_NS_MAX);
    uint32_t units = c->elements + c->empties, count = 0;
    uint32_t *kept = xmalloc(((size_t)units + 1) * sizeof *kept);
    for (uint32_t u = 0; u < units; u++)
        if (keep[u]) kept[count++] = u;
    for (uint32_t size = (count + 1) / 2; size > 0 && b.state == BUDGET_LEFT; size = size == 1 ? 0 : (size + 1) / 2) {
        for (uint32_t at = 0; at < count && !budget_spent_now(&b);) {
            uint32_t end = count - at < size ? count : at + size;
            for (uint32_t i = at; i < end; i++) keep[kept[i]] = 0;
            if (still_wrong(c, keep, &b)) {
                memmove(kept + at, kept + end, (count - end) * sizeof *kept);
                count -= end - at;
            } else {
                for (uint32_t i = at; i < end; i++) keep[kept[i]] = 1;
                at = end;
            }
        }
    }
    free(kept);
}

/* Without words of its own, a finding is the elements that are left when no more can go. */
static void tell_few(const struct collection *c, uint8_t *keep, struct budget *b, struct finding *f) {
    uint32_t empties = 0, elements = 0;
    shrink(c, keep, b);
    for (uint32_t i = 0; i < c->count; i++) {
        const struct action *a = &c->actions[i];
        uint32_t unit = a->kind == ACTION_EMPTY ? c->elements + empties++ : a->element;
        if (unit == NONE || keep[unit]) finding_op(f, a->op);
    }
    for (uint32_t e = 0; e < c->elements; e++) elements += keep[e];
    buffer_printf(&f->line, "these %u operations on %u element%s have no order in which they come out %s", f->ops_count,
                  elements, elements == 1 ? "" : "s", c->d->order);
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

static void set_unknown(struct judgement *j, uint32_t key, const char *why) {
    if (j->unknown.size) return;
    print_key(j->h, key, &j->unknown);
    buffer_printf(&j->unknown, ": %s", why);
}

static void judge_collection(struct judgement *j, const struct collection *c, uint32_t key) {
    bool too_wide;
    struct finding f = {0};
    uint8_t *keep = xcalloc((size_t)c->elements + c->empties + 1, 1);
    enum decision d = decide_all(c, &j->budget, &f, keep, &too_wide);
    if (d == DECIDED_INVALID) {
        struct buffer line = {0};
        if (f.line.size == 0) {
            bool structure = !c->repeated && c->unknowns == 0;
            memset(keep + c->elements, !structure, c->empties);
            tell_few(c, keep, &j->budget, &f);
        }
        print_key(j->h, key, &line);
        buffer_printf(&line, ": %.*s", (int)f.line.size, (const char *)f.line.data);
        if (c->unknowns) buffer_printf(&line, "; %ss of unknown result cannot explain it", c->d->take);
        buffer_free(&f.line);
        f.line = line;
        j->finding = f;
        f = (struct finding){0};
    } else if (d == UNDECIDED && j->budget.state == BUDGET_LEFT) {
        set_unknown(j, key,
                    c->repeated ? "elements repeat, and more operations are open at a time than the search can follow"
                    : too_wide  ? "it depends on what operations of unknown result did, and those are too many to try"
                                : "could not be decided");
    }
    j->elements += c->elements;
    for (uint32_t e = 0; e < c->elements; e++) j->taken += c->items[e].takes;
    finding_free(&f);
    free(keep);
}

static void judge_key(struct judgement *j, const uint8_t *roles, const uint32_t *ops, uint32_t count) {
    struct collection c;
    struct element_table elements;
    const char *why = NULL;
    uint32_t op = NONE;
    uint64_t claimed = j->budget.memory_bytes;
    memset(&elements, 0, sizeof elements);
    if (collection_read(&c, j->h, j->d, roles, &elements, ops, count, &j->budget, &why, &op)) {
        judge_collection(j, &c, j->h->key[ops[0]]);
    } else if (why) {
        struct buffer text = {0};
        buffer_printf(&text, "operation %u %s", op, why);
        set_unknown(j, j->h->key[ops[0]], buffer_text(&text));
        buffer_free(&text);
    }
    collection_free(&c, &j->budget);
    element_table_free(&elements);
    budget_release(&j->budget, j->budget.memory_bytes - claimed);
}

static void conclude(struct judgement *j, uint32_t keys, struct check_result *out) {
    if (j->finding.line.size) {
        finding_tell(&j->finding, j->h, out);
    } else if (j->budget.state != BUDGET_LEFT) {
        budget_tell(&j->budget, out);
    } else if (j->unknown.size) {
        result_set(out, VERDICT_UNKNOWN, "%s", buffer_text(&j->unknown));
    } else {
        result_set(out, VERDICT_VALID, "%u elements, %" PRIu64 " of them %s, %u key%s", j->elements, j->taken,
                   j->d->taken, keys, keys == 1 ? "" : "s");
    }
}

static void judge_history(const void *discipline, const struct history *h, const struct check_options *o,
                          struct check_result *out) {
    const struct discipline *d = discipline;
    const char *const names[] = {d->put, d->take, NULL};
    uint8_t roles[FUNCTIONS_MAX];
    result_start(out, d->name);
    roles_find(h, names, roles);
    if (!history_trusted(h, out) || !roles_cover(h, roles, out)) return;
    struct judgement j = {.h = h, .d = d, .budget = budget_of(o)};
    struct groups groups;
    (void)groups_make(&groups, h, &j.budget); /* else there is no group, and the budget is spent */
    for (uint32_t g = 0; g < groups.count && j.finding.line.size == 0 && !budget_spent_now(&j.budget); g++)
        judge_key(&j, roles, groups.ops + groups.first[g], groups.first[g + 1] - groups.first[g]);
    conclude(&j, groups.count, out);
    groups_free(&groups);
    finding_free(&j.finding);
    buffer_free(&j.unknown);
}

static void check_collection(const struct history *h, enum discipline_kind kind, const struct check_options *o,
                             struct check_result *out) {
    const struct discipline *d = &disciplines[kind];
    const struct evidence e = {.check = judge_history, .what = d, .object = d->name};
    check_with_evidence(h, &e, o, out);
}

void check_bag(const struct history *h, const struct check_options *o, struct check_result *out) {
    check_collection(h, BAG, o, out);
}

void check_fifo(const struct history *h, const struct check_options *o, struct check_result *out) {
    check_collection(h, FIFO, o, out);
}

void check_fifo_at_least_once(const struct history *h, const struct check_options *o, struct check_result *out) {
    check_collection(h, FIFO_AT_LEAST_ONCE, o, out);
}

void check_stack(const struct history *h, const struct check_options *o, struct check_result *out) {
    check_collection(h, STACK, o, out);
}

void check_priority_queue(const struct history *h, const struct check_options *o, struct check_result *out) {
    check_collection(h, PRIORITY_QUEUE, o, out);
}
