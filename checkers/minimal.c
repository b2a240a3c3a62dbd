/* The fewest operations that are invalid by themselves: delta debugging (Zeller and Hildebrandt 2002) on parts of a
 * history, for any check.
 *
 * A read of a value is nonsense without the write of it; so what rests on an operation goes with it. Which observations
 * rest on which operations the check itself tells: an observation is explained by a set of operations if it is not
 * invalid together with all of them, were their outcomes unknown; or, if that never was so, were their beginnings
 * unknown, too.
 *
 * A dequeue that is left out may be what lets the next one find what it found. So operations may go only if the rest is
 * invalid whatever became of them: without them, and with them as operations whose outcome is unknown. At first that
 * counts for all that have gone, so that what stays proves the whole wrong; then, where values repeat, for those alone
 * that stay until then, so that none of them can be spared. */
#include "checkers/evidence_internal.h"

#include <stdlib.h>

#include "base/clock.h"

/* --- parts -------------------------------------------------------------------------------------------------------- */

/* Columns of its own; strings and values are those of the whole. */
static struct history part_make(const struct history *h, uint32_t capacity) {
    struct history p = *h;
    p.count = 0;
    p.capacity = capacity;
    p.process = xcalloc(capacity, sizeof *p.process);
    p.node = xcalloc(capacity, sizeof *p.node);
    p.f = xcalloc(capacity, sizeof *p.f);
    p.status = xcalloc(capacity, sizeof *p.status);
    p.key = xcalloc(capacity, sizeof *p.key);
    p.argument = xcalloc(capacity, sizeof *p.argument);
    p.result = xcalloc(capacity, sizeof *p.result);
    p.intended_ns = xcalloc(capacity, sizeof *p.intended_ns);
    p.invoke_ns = xcalloc(capacity, sizeof *p.invoke_ns);
    p.complete_ns = xcalloc(capacity, sizeof *p.complete_ns);
    p.error = xcalloc(capacity, sizeof *p.error);
    p.final_phase = xcalloc(capacity, sizeof *p.final_phase);
    return p;
}

static void part_free(struct history *p) {
    free(p->process);
    free(p->node);
    free(p->f);
    free(p->status);
    free(p->key);
    free(p->argument);
    free(p->result);
    free(p->intended_ns);
    free(p->invoke_ns);
    free(p->complete_ns);
    free(p->error);
    free(p->final_phase);
}

static void part_add(struct history *p, const struct history *h, uint32_t op) {
    uint32_t at = p->count++;
    p->process[at] = h->process[op];
    p->node[at] = h->node[op];
    p->f[at] = h->f[op];
    p->status[at] = h->status[op];
    p->key[at] = h->key[op];
    p->argument[at] = h->argument[op];
    p->result[at] = h->result[op];
    p->intended_ns[at] = h->intended_ns[op];
    p->invoke_ns[at] = h->invoke_ns[op];
    p->complete_ns[at] = h->complete_ns[op];
    p->error[at] = h->error[op];
    p->final_phase[at] = h->final_phase[op];
}

/* As if its end were not known. */
static void part_add_open(struct history *p, const struct history *h, uint32_t op) {
    part_add(p, h, op);
    uint32_t at = p->count - 1;
    p->status[at] = OP_PENDING;
    p->result[at] = VALUE_OF_NIL;
    p->complete_ns[at] = UINT64_MAX;
}

static void begin_at_once(struct history *p) {
    p->intended_ns[p->count - 1] = p->invoke_ns[p->count - 1] = 0;
}

/* --- what rests on what ------------------------------------------------------------------------------------------- */

enum rests { RESTS_ON_NONE, RESTS_AT_ANY_TIME, RESTS_IN_TIME }; /* on others: how it is explained */

struct minimizer {
    const struct history *h;
    const struct judge *judge;
    struct budget *budget;
    struct history part;
    uint32_t *ops; /* the operations that are left: indexes into */
    const uint32_t *all;
    uint8_t *rests, *keep, *named; /* by index: enum rests; a trial has it; goes last */
    uint8_t **support; /* by index: what it was seen to rest on, a byte for each index; NULL: not looked for */
    uint32_t count, all_count;
    uint64_t work_left; /* operations that may still be judged, in all trials together */
    bool for_all;       /* what has gone before counts, too */
};

#define TRIAL_NS_MAX (200 * NS_PER_MS)
#define WORK_MAX UINT64_C(1000000) /* a quarter of a second, where an operation is judged in as many microseconds */

static enum verdict judge_the_part(struct minimizer *k) {
    uint64_t now = monotonic_ns(), end = k->budget->deadline_ns, work = k->part.count + 1;
    if (k->work_left < work) k->budget->state = BUDGET_TIME_SPENT;
    if (now >= end || k->work_left < work) return VERDICT_UNKNOWN;
    k->work_left -= work;
    return k->judge->verdict(k->judge->context, &k->part, end - now < TRIAL_NS_MAX ? end - now : TRIAL_NS_MAX);
}

static bool kept_is_invalid(struct minimizer *k) {
    k->part.count = 0;
    for (uint32_t i = 0; i < k->count; i++)
        if (k->keep[k->ops[i]]) part_add(&k->part, k->h, k->all[k->ops[i]]);
    return k->part.count > 0 && judge_the_part(k) == VERDICT_INVALID;
}

/* Whatever became of the others? */
static bool kept_is_invalid_anyway(struct minimizer *k) {
    k->part.count = 0;
    for (uint32_t index = 0, i = 0; index < k->all_count; index++) {
        bool left = i < k->count && k->ops[i] == index;
        i += left;
        if (left && k->keep[index]) {
            part_add(&k->part, k->h, k->all[index]);
        } else if (left || k->for_all) {
            part_add_open(&k->part, k->h, k->all[index]);
        }
    }
    return judge_the_part(k) == VERDICT_INVALID;
}

/* By those that are kept. */
static bool is_explained(struct minimizer *k, uint32_t index, enum rests how) {
    k->part.count = 0;
    for (uint32_t i = 0; i < k->count; i++) {
        if (how == RESTS_IN_TIME && k->keep[k->ops[i]] && k->ops[i] == index) {
            part_add(&k->part, k->h, k->all[index]);
        } else if (k->keep[k->ops[i]] && k->ops[i] != index) {
            part_add_open(&k->part, k->h, k->all[k->ops[i]]);
            if (how == RESTS_AT_ANY_TIME) begin_at_once(&k->part);
        }
    }
    if (how == RESTS_AT_ANY_TIME) {
        part_add(&k->part, k->h, k->all[index]);
        begin_at_once(&k->part);
        k->part.complete_ns[k->part.count - 1] = 1;
    }
    return judge_the_part(k) != VERDICT_INVALID;
}

static bool returns_something(const struct history *h, uint32_t op) {
    return h->status[op] == OP_OK || (h->status[op] == OP_FAIL && h->result[op].kind != VALUE_NIL);
}

static enum rests how_it_rests(struct minimizer *k, uint32_t index) {
    if (!returns_something(k->h, k->all[index])) return RESTS_ON_NONE;
    if (is_explained(k, index, RESTS_IN_TIME)) return RESTS_IN_TIME;
    return is_explained(k, index, RESTS_AT_ANY_TIME) ? RESTS_AT_ANY_TIME : RESTS_ON_NONE;
}

#define SUPPORT_OPS_MAX 1024u /* of more, each trial asks anew for everyone */

/* Few operations that explain this one: halves, quarters, ... of the others go while it stays explained. With more
 * operations of unknown outcome it stays so, so nobody needs to ask again until one of these few goes. */
static void find_support(struct minimizer *k, uint32_t index, enum rests how) {
    if (how == RESTS_ON_NONE || k->all_count > SUPPORT_OPS_MAX) return;
    for (uint32_t chunk = (k->count + 1) / 2; chunk > 0 && !budget_spent_now(k->budget);
         chunk = chunk > 1 ? (chunk + 1) / 2 : 0) {
        for (uint32_t begin = 0; begin < k->count; begin += chunk) {
            uint32_t end = k->count - begin > chunk ? begin + chunk : k->count;
            bool any = false;
            uint8_t before[SUPPORT_OPS_MAX];
            memcpy(before, k->keep + begin, end - begin);
            for (uint32_t i = begin; i < end; i++) {
                any |= k->keep[i] && i != index;
                k->keep[i] = i == index;
            }
            if (any && !is_explained(k, index, how)) memcpy(k->keep + begin, before, end - begin);
        }
    }
    k->support[index] = xmalloc(k->all_count);
    memcpy(k->support[index], k->keep, k->all_count);
    memset(k->keep, 1, k->all_count);
}

static bool stays_explained(struct minimizer *k, uint32_t index) {
    const uint8_t *support = k->support[index];
    bool all = support != NULL;
    for (uint32_t i = 0; all && i < k->all_count; i++) all = !support[i] || k->keep[i];
    return all || is_explained(k, index, k->rests[index]);
}

/* Drops what rests on what was dropped. */
static void drop_unexplained(struct minimizer *k) {
    for (bool again = true; again && !budget_spent_now(k->budget);) {
        again = false;
        for (uint32_t i = 0; i < k->count; i++) {
            uint32_t index = k->ops[i];
            if (!k->keep[index] || k->rests[index] == RESTS_ON_NONE || stays_explained(k, index)) continue;
            k->keep[index] = 0;
            again = true;
        }
    }
}

/* --- removing ----------------------------------------------------------------------------------------------------- */

/* Tries without those from begin to end; true if that did. */
static bool leave_out(struct minimizer *k, uint32_t begin, uint32_t end) {
    for (uint32_t i = 0; i < k->count; i++) k->keep[k->ops[i]] = i < begin || i >= end;
    drop_unexplained(k);
    if (!kept_is_invalid(k) || !kept_is_invalid_anyway(k)) return false;
    uint32_t count = 0;
    for (uint32_t i = 0; i < k->count; i++)
        if (k->keep[k->ops[i]]) k->ops[count++] = k->ops[i];
    k->count = count;
    return true;
}

static bool any_named(const struct minimizer *k, uint32_t begin, uint32_t end) {
    bool any = false;
    for (uint32_t i = begin; i < end; i++) any |= k->named[k->ops[i]];
    return any;
}

static void remove_ops(struct minimizer *k, bool named_too) {
    for (uint32_t chunk = k->count > 8 ? k->count / 2 : 1; chunk > 0; chunk /= 2) {
        bool any = false;
        for (uint32_t begin = 0; begin < k->count && !budget_spent_now(k->budget);) {
            uint32_t end = k->count - begin > chunk ? begin + chunk : k->count;
            if ((named_too || !any_named(k, begin, end)) && leave_out(k, begin, end)) {
                any = true;
            } else {
                begin = end;
            }
        }
        if (chunk == 1 && any && k->budget->state == BUDGET_LEFT) chunk = 2; /* what went may have freed others */
    }
}

bool minimize_ops(const struct history *h, const struct judge *judge, const struct check_result *named, uint32_t *ops,
                  uint32_t *count, bool *maybe_fewer, struct budget *b) {
    uint32_t all = *count;
    struct minimizer k = {
        .h = h, .judge = judge, .budget = b, .count = all, .all_count = all, .all = ops, .for_all = true};
    k.work_left = WORK_MAX;
    k.support = xcalloc((size_t)all + 1, sizeof *k.support);
    k.part = part_make(h, all + 1);
    k.ops = xmalloc(((size_t)all + 1) * sizeof *k.ops);
    k.rests = xcalloc((size_t)all + 1, 1);
    k.keep = xcalloc((size_t)all + 1, 1);
    k.named = xcalloc((size_t)all + 1, 1);
    for (uint32_t i = 0; i < all; i++) {
        k.ops[i] = i;
        k.keep[i] = 1;
        for (uint32_t n = 0; n < named->ops_count; n++) k.named[i] |= named->ops[n] == ops[i];
    }
    bool invalid = kept_is_invalid(&k);
    if (invalid) {
        for (uint32_t i = 0; i < all && !budget_spent_now(b); i++) {
            k.rests[i] = (uint8_t)how_it_rests(&k, i);
            find_support(&k, i, (enum rests)k.rests[i]);
        }
        remove_ops(&k, false);
        remove_ops(&k, true);
        k.for_all = false;
        if (k.count < all) {
            remove_ops(&k, false);
            remove_ops(&k, true);
        }
        for (uint32_t i = 0; i < k.count; i++) ops[i] = ops[k.ops[i]];
        *count = k.count;
    }
    *maybe_fewer = b->state != BUDGET_LEFT;
    part_free(&k.part);
    for (uint32_t i = 0; i < all; i++) free(k.support[i]);
    free(k.support);
    free(k.ops);
    free(k.rests);
    free(k.keep);
    free(k.named);
    return invalid;
}

static int by_index(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Of the whole history, for those that only others than the listed explain. */
static void find_support_for(struct minimizer *k, const uint8_t *listed, uint32_t op) {
    if (!returns_something(k->h, op)) return;
    memcpy(k->keep, listed, k->all_count);
    if (is_explained(k, op, RESTS_IN_TIME)) return;
    memset(k->keep, 1, k->all_count);
    find_support(k, op, how_it_rests(k, op));
}

uint32_t add_explanations(const struct history *h, const struct judge *judge, uint32_t *ops, uint32_t count,
                          struct budget *b) {
    assert(h->count <= SUPPORT_OPS_MAX);
    uint32_t *all = xmalloc(((size_t)h->count + 1) * sizeof *all), before = count;
    struct minimizer k = {.h = h, .judge = judge, .budget = b, .ops = all, .all = all, .work_left = WORK_MAX};
    uint8_t *listed = xcalloc((size_t)h->count + 1, 1);
    k.count = k.all_count = h->count;
    k.part = part_make(h, h->count + 1);
    k.keep = xmalloc((size_t)h->count + 1);
    k.support = xcalloc((size_t)h->count + 1, sizeof *k.support);
    for (uint32_t op = 0; op < h->count; op++) all[op] = op;
    for (uint32_t i = 0; i < count; i++) listed[ops[i]] = 1;
    for (uint32_t i = 0; i < count && !budget_spent_now(b); i++) { /* those that are added, too */
        find_support_for(&k, listed, ops[i]);
        const uint8_t *support = k.support[ops[i]];
        for (uint32_t op = 0; support && op < h->count; op++) {
            if (!support[op] || listed[op]) continue;
            listed[op] = 1;
            ops[count++] = op;
        }
        free(k.support[ops[i]]);
        k.support[ops[i]] = NULL;
    }
    if (count > before) qsort(ops, count, sizeof *ops, by_index);
    part_free(&k.part);
    free(k.support);
    free(k.keep);
    free(listed);
    free(all);
    return count;
}
