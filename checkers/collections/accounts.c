/* What needs no order, only an account: total-queue and unique ids.
 *
 * total-queue is Jepsen's (jepsen.checker/total-queue), and as there the elements are a multiset. It differs where
 * Jepsen guesses: a dequeue of unknown result may have taken one of the missing elements, and a queue that was never
 * seen empty after the last enqueue may still hold them; both make it unknown. What failed did not happen, so it
 * must not come out. */
#include "checkers/collections/internal.h"

#include <inttypes.h>
#include <stdlib.h>

#define NAMED_MAX 8u /* elements that a line names */

enum { TOTAL_PUT = 1, TOTAL_TAKE, TOTAL_DRAIN };

struct account { /* of an element: how often */
    uint32_t tried, sure, taken;
    uint32_t put, take; /* the last operations */
};

struct total {
    const struct history *h;
    const uint8_t *roles;
    const uint32_t *ops;
    uint32_t count;
    struct element_table elements;
    struct account *accounts;
    uint64_t unknown_takes; /* UINT64_MAX after a drain of unknown result */
    bool drained;
    uint64_t lost, unexpected, duplicated, recovered, taken;
};

static void for_each_taken(const struct total *t, uint32_t op, void (*see)(struct total *, uint32_t, struct value),
                           struct total *out) {
    struct value v = t->h->result[op];
    if (t->h->status[op] != OP_OK || v.kind == VALUE_NIL) return;
    if (v.kind != VALUE_LIST) see(out, op, v);
    for (uint32_t i = 0; v.kind == VALUE_LIST && i < v.size; i++) see(out, op, t->h->pool[v.first + i]);
}

static bool total_fit(const struct total *t, const char **why, uint32_t *bad_op) {
    *why = "has an element that is no integer or string";
    for (uint32_t i = 0; i < t->count; i++) {
        uint32_t op = *bad_op = t->ops[i];
        struct value v = t->roles[t->h->f[op]] == TOTAL_PUT ? t->h->argument[op] : t->h->result[op];
        bool list = t->roles[t->h->f[op]] == TOTAL_DRAIN && v.kind == VALUE_LIST;
        if (t->h->status[op] == OP_FAIL) continue;
        if (t->roles[t->h->f[op]] != TOTAL_PUT && (t->h->status[op] != OP_OK || v.kind == VALUE_NIL)) continue;
        for (uint32_t k = 0; k < (list ? v.size : 1); k++) {
            struct value element = list ? t->h->pool[v.first + k] : v;
            if (element.kind != VALUE_INT && element.kind != VALUE_STRING) return false;
        }
    }
    return true;
}

static void see_taken(struct total *t, uint32_t op, struct value v) {
    struct account *a = &t->accounts[element_intern(&t->elements, v)];
    a->taken++;
    a->take = op;
    t->taken++;
}

static void account_op(struct total *t, uint32_t op) {
    const struct history *h = t->h;
    uint8_t role = t->roles[h->f[op]];
    if (role == TOTAL_PUT) {
        if (h->status[op] == OP_FAIL) return;
        struct account *a = &t->accounts[element_intern(&t->elements, h->argument[op])];
        a->tried++;
        a->sure += h->status[op] == OP_OK;
        a->put = op;
    } else if (h->status[op] == OP_OK) {
        for_each_taken(t, op, see_taken, t);
    } else if (h->status[op] != OP_FAIL && t->unknown_takes != UINT64_MAX) {
        t->unknown_takes = role == TOTAL_DRAIN ? UINT64_MAX : t->unknown_takes + 1;
    }
}

/* Did somebody, after all that was acknowledged, find nothing more? */
static bool seen_empty(const struct total *t) {
    const struct history *h = t->h;
    uint64_t last_ns = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        uint32_t op = t->ops[i];
        if (t->roles[h->f[op]] == TOTAL_PUT && h->status[op] == OP_OK && h->complete_ns[op] > last_ns)
            last_ns = h->complete_ns[op];
    }
    for (uint32_t i = 0; i < t->count; i++) {
        uint32_t op = t->ops[i];
        uint8_t role = t->roles[h->f[op]];
        bool nothing = h->status[op] == OP_FAIL || (h->status[op] == OP_OK && h->result[op].kind == VALUE_NIL);
        bool all = role == TOTAL_DRAIN && h->status[op] == OP_OK;
        if (role != TOTAL_PUT && (nothing || all) && h->invoke_ns[op] >= last_ns) return true;
    }
    return false;
}

static bool account_all(struct total *t, struct budget *b) {
    struct element_range range = {0};
    for (uint32_t i = 0; i < t->count; i++) {
        uint32_t op = t->ops[i];
        struct value v = t->roles[t->h->f[op]] == TOTAL_PUT ? t->h->argument[op] : t->h->result[op];
        if (v.kind != VALUE_LIST) element_range_add(&range, v);
        for (uint32_t k = 0; v.kind == VALUE_LIST && k < v.size; k++)
            element_range_add(&range, t->h->pool[v.first + k]);
    }
    uint64_t most = range.integers + range.strings;
    if (!element_table_make(&t->elements, t->h, &range, b) || !budget_claim(b, most * sizeof *t->accounts))
        return false;
    t->accounts = xcalloc(most + 1, sizeof *t->accounts);
    for (uint32_t i = 0; i < t->count && !budget_spent(b); i++) account_op(t, t->ops[i]);
    t->drained = seen_empty(t);
    return b->state == BUDGET_LEFT;
}

static void name_element(const struct total *t, uint32_t e, uint64_t nth, const char *what, struct finding *f) {
    if (nth > NAMED_MAX) return;
    if (nth == 1)
        buffer_printf(&f->line, "%s%s: ", f->line.size ? "; " : "", what);
    else
        buffer_printf(&f->line, ", ");
    print_value(t->h, t->elements.values[e], &f->line);
    const struct account *a = &t->accounts[e];
    if (a->tried) finding_op(f, a->put);
    if (a->taken) finding_op(f, a->take);
}

/* Totals, and the names of the first of each kind. */
static void balance(struct total *t, struct finding *f) {
    for (uint32_t e = 0; e < t->elements.count; e++) {
        const struct account *a = &t->accounts[e];
        if (a->taken && !a->tried) name_element(t, e, ++t->unexpected, "never enqueued, but dequeued", f);
    }
    for (uint32_t e = 0; e < t->elements.count; e++) {
        const struct account *a = &t->accounts[e];
        uint32_t least = a->taken < a->tried ? a->taken : a->tried;
        if (a->sure > a->taken) name_element(t, e, ++t->lost, "lost", f);
        if (a->tried && a->taken > a->tried) t->duplicated += a->taken - a->tried;
        if (least > a->sure) t->recovered += least - a->sure;
    }
}

static uint64_t missing(const struct total *t) {
    uint64_t sum = 0;
    for (uint32_t e = 0; e < t->elements.count; e++)
        if (t->accounts[e].sure > t->accounts[e].taken) sum += t->accounts[e].sure - t->accounts[e].taken;
    return sum;
}

struct totals {
    uint64_t taken, duplicated, recovered;
    struct finding finding;
    struct buffer unknown;
};

static void judge_total(struct total *t, struct totals *all, struct budget *b) {
    const char *why = NULL;
    struct finding f = {0};
    uint32_t op = NONE;
    if (!total_fit(t, &why, &op)) {
        if (!all->unknown.size) buffer_printf(&all->unknown, "operation %u %s", op, why);
        return;
    }
    if (!account_all(t, b)) return;
    balance(t, &f);
    all->taken += t->taken;
    all->duplicated += t->duplicated;
    all->recovered += t->recovered;
    bool excused = missing(t) <= t->unknown_takes || !t->drained;
    if (t->unexpected || (t->lost && !excused)) {
        struct buffer line = {0};
        print_key(t->h, t->h->key[t->ops[0]], &line);
        buffer_printf(
            &line, ": %.*s (%" PRIu64 " lost, %" PRIu64 " unexpected, %" PRIu64 " duplicated, %" PRIu64 " recovered)",
            (int)f.line.size, (const char *)f.line.data, t->lost, t->unexpected, t->duplicated, t->recovered);
        buffer_free(&f.line);
        f.line = line;
        finding_free(&all->finding);
        all->finding = f;
        return;
    }
    if (t->lost && !all->unknown.size) {
        print_key(t->h, t->h->key[t->ops[0]], &all->unknown);
        buffer_printf(&all->unknown, ": %" PRIu64 " missing, but %s", missing(t),
                      t->drained ? "dequeues of unknown result may have taken them"
                                 : "the queue was not drained after the last enqueue");
    }
    finding_free(&f);
}

static void judge_totals(const void *what, const struct history *h, const struct check_options *o,
                         struct check_result *out) {
    (void)what;
    static const char *const names[] = {"enqueue", "dequeue", "drain", NULL};
    uint8_t roles[FUNCTIONS_MAX];
    result_start(out, "total-queue");
    roles_find(h, names, roles);
    if (!history_trusted(h, out) || !roles_cover(h, roles, out)) return;
    struct budget b = budget_of(o);
    struct totals all = {0};
    struct groups groups;
    (void)groups_make(&groups, h, &b); /* else there is no group, and the budget is spent */
    for (uint32_t g = 0; g < groups.count && !all.finding.line.size && !budget_spent_now(&b); g++) {
        struct total t = {.h = h, .roles = roles, .ops = groups.ops + groups.first[g]};
        uint64_t claimed = b.memory_bytes;
        t.count = groups.first[g + 1] - groups.first[g];
        judge_total(&t, &all, &b);
        element_table_free(&t.elements);
        free(t.accounts);
        budget_release(&b, b.memory_bytes - claimed);
    }
    if (all.finding.line.size) {
        finding_tell(&all.finding, h, out);
    } else if (b.state != BUDGET_LEFT) {
        budget_tell(&b, out);
    } else if (all.unknown.size) {
        result_set(out, VERDICT_UNKNOWN, "%s", buffer_text(&all.unknown));
    } else {
        result_set(out, VERDICT_VALID,
                   "%" PRIu64 " elements came out; none lost or unexpected, %" PRIu64 " duplicated, %" PRIu64
                   " recovered",
                   all.taken, all.duplicated, all.recovered);
    }
    groups_free(&groups);
    finding_free(&all.finding);
    buffer_free(&all.unknown);
}

void check_total_queue(const struct history *h, const struct check_options *o, struct check_result *out) {
    const struct evidence e = {.check = judge_totals, .words = KEEP_WORDS};
    check_with_evidence(h, &e, o, out);
}

/* --- unique ids --------------------------------------------------------------------------------------------------- */

struct ids {
    struct element_table table;
    uint32_t *first; /* by element: the operation that got it */
    uint64_t count, duplicates;
};

static bool see_ids(const struct history *h, struct ids *ids, struct budget *b, struct finding *f) {
    struct element_range range = {0};
    for (uint32_t op = 0; op < h->count; op++)
        if (h->status[op] == OP_OK) element_range_add(&range, h->result[op]);
    uint64_t most = range.integers + range.strings;
    if (!element_table_make(&ids->table, h, &range, b) || !budget_claim(b, 4 * most)) return false;
    ids->first = xmalloc_large((most + 1) * sizeof *ids->first);
    for (uint32_t op = 0; op < h->count && !budget_spent(b); op++) {
        if (h->status[op] != OP_OK) continue;
        uint32_t before = ids->table.count, id = element_intern(&ids->table, h->result[op]);
        ids->count++;
        if (ids->table.count > before) {
            ids->first[id] = op;
        } else if (ids->duplicates++ == 0) {
            print_value(h, h->result[op], &f->line);
            buffer_printf(&f->line, " was generated twice, by process %u and process %u",
                          (unsigned)h->process[ids->first[id]], (unsigned)h->process[op]);
            finding_op(f, ids->first[id]);
            finding_op(f, op);
        }
    }
    return b->state == BUDGET_LEFT;
}

static void judge_ids(const void *what, const struct history *h, const struct check_options *o,
                      struct check_result *out) {
    (void)what;
    static const char *const names[] = {"generate", NULL};
    uint8_t roles[FUNCTIONS_MAX];
    result_start(out, "unique-ids");
    roles_find(h, names, roles);
    if (!history_trusted(h, out) || !roles_cover(h, roles, out)) return;
    struct budget b = budget_of(o);
    struct ids ids = {.count = 0};
    struct finding f = {0};
    for (uint32_t op = 0; op < h->count; op++) {
        if (h->status[op] != OP_OK || h->result[op].kind == VALUE_INT || h->result[op].kind == VALUE_STRING) continue;
        result_set(out, VERDICT_UNKNOWN, "operation %u returned an id that is no integer or string", op);
        result_ops(out, &op, 1);
        return;
    }
    bool seen = see_ids(h, &ids, &b, &f);
    if (ids.duplicates) {
        f.more = ids.duplicates - 1;
        finding_tell(&f, h, out);
    } else if (!seen) {
        budget_tell(&b, out);
    } else {
        result_set(out, VERDICT_VALID, "%" PRIu64 " ids, all different", ids.count);
    }
    element_table_free(&ids.table);
    free(ids.first);
    finding_free(&f);
}

void check_unique_ids(const struct history *h, const struct check_options *o, struct check_result *out) {
    const struct evidence e = {.check = judge_ids, .words = KEEP_WORDS};
    check_with_evidence(h, &e, o, out);
}
