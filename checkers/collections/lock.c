/* Locks.
 *
 * A semaphore is a number between zero and its permits, and all acquires do the same, as all releases do. So a sweep
 * over the events suffices: an operation takes effect when it must, at its end; if it cannot there, one open
 * operation of the other kind goes before it, of these the one that ends first. By exchange: whatever order there
 * is, the operation that ends first can change places with the one that it took.
 *
 * With leases nothing is held for sure, and all that remains is that tokens grow: one that was granted before
 * another acquire began is less. */
#include "checkers/collections/internal.h"

#include <inttypes.h>
#include <stdlib.h>

enum { LOCK_ACQUIRE = 1, LOCK_RELEASE };

struct lock {
    const struct history *h;
    uint32_t *ops; /* that did not fail */
    uint8_t *acquires;
    uint32_t *invoked, *returned, *event; /* event: by position, the index; plus count at a return */
    uint32_t count, positions;
};

static bool lock_read(struct lock *l, const struct history *h, const uint8_t *roles, const uint32_t *ops,
                      uint32_t count, struct budget *b) {
    *l = (struct lock){.h = h};
    if (!budget_claim(b, (uint64_t)count * (5 * sizeof(uint32_t) + 1))) return false;
    l->ops = xmalloc_large(5 * (size_t)count * sizeof *l->ops);
    l->invoked = l->ops + count;
    l->returned = l->invoked + count;
    l->event = l->returned + count;
    l->acquires = xmalloc((size_t)count + 1);
    for (uint32_t i = 0; i < count; i++) {
        if (h->status[ops[i]] == OP_FAIL) continue;
        l->acquires[l->count] = roles[h->f[ops[i]]] == LOCK_ACQUIRE;
        l->ops[l->count++] = ops[i];
    }
    l->positions = l->count + order_events(h, l->ops, l->count, l->invoked, l->returned);
    for (uint32_t i = 0; i < l->count; i++) {
        l->event[l->invoked[i]] = i;
        if (l->returned[i] != NONE) l->event[l->returned[i]] = i + l->count;
    }
    return true;
}

static void lock_free(struct lock *l) {
    free(l->ops);
    free(l->acquires);
}

/* --- semaphores --------------------------------------------------------------------------------------------------- */

struct semaphore {
    const struct lock *l;
    struct heap open[2]; /* releases, acquires: by their ends; what has taken effect is left in */
    uint8_t *done;
    uint32_t permits, held;
    uint32_t *granted; /* acquires that have taken effect, in order */
    uint32_t granted_count;
};

static void take_effect(struct semaphore *s, uint32_t i) {
    s->done[i] = 1;
    if (s->l->acquires[i]) {
        s->held++;
        s->granted[s->granted_count++] = i;
    } else {
        s->held--;
    }
}

/* Has the open operation of the kind that ends first take effect; false if there is none. */
static bool help(struct semaphore *s, bool acquires) {
    while (s->open[acquires].count) {
        uint32_t i = (uint32_t)heap_pop(&s->open[acquires]).payload;
        if (s->done[i]) continue;
        take_effect(s, i);
        return true;
    }
    return false;
}

static void tell_stuck(const struct semaphore *s, uint32_t i, struct finding *f) {
    const struct lock *l = s->l;
    bool acquires = l->acquires[i];
    print_key(l->h, l->h->key[l->ops[i]], &f->line);
    buffer_printf(&f->line, ": process %u %s, but ", (unsigned)l->h->process[l->ops[i]],
                  acquires ? "acquired" : "released");
    if (acquires && s->permits == 1)
        buffer_printf(&f->line, "it was held, and no release can have come before");
    else if (acquires)
        buffer_printf(&f->line, "all %u permits were taken, and no release can have come before", s->permits);
    else
        buffer_printf(&f->line, "nothing was held, and no acquire can have come before");
    for (uint32_t k = 0; acquires && k < s->permits; k++) finding_op(f, l->ops[s->granted[s->granted_count - 1 - k]]);
    finding_op(f, l->ops[i]);
}

static enum decision semaphore_decide(struct semaphore *s, struct budget *b, struct finding *f) {
    const struct lock *l = s->l;
    for (uint32_t at = 0; at < l->positions; at++) {
        uint32_t i = l->event[at];
        if (budget_spent(b)) return UNDECIDED;
        if (i < l->count) {
            heap_push(&s->open[l->acquires[i]],
                      (struct heap_item){.time_ns = l->returned[i], .sequence = i, .payload = i});
            continue;
        }
        i -= l->count;
        if (s->done[i]) continue;
        bool stuck = l->acquires[i] ? s->held == s->permits : s->held == 0;
        if (stuck && !help(s, !l->acquires[i])) {
            tell_stuck(s, i, f);
            return DECIDED_INVALID;
        }
        take_effect(s, i);
    }
    return DECIDED_VALID;
}

static enum decision permits_decide(const struct lock *l, uint32_t permits, struct budget *b, struct finding *f) {
    struct semaphore s = {.l = l, .permits = permits};
    if (!budget_claim(b, (uint64_t)l->count * (1 + sizeof *s.granted + 2 * sizeof(struct heap_item)))) return UNDECIDED;
    s.done = xcalloc((size_t)l->count + 1, 1);
    s.granted = xmalloc(((size_t)l->count + 1) * sizeof *s.granted);
    enum decision d = semaphore_decide(&s, b, f);
    heap_free(&s.open[0]);
    heap_free(&s.open[1]);
    free(s.done);
    free(s.granted);
    return d;
}

/* --- fencing tokens ----------------------------------------------------------------------------------------------- */

static void tell_tokens(const struct lock *l, uint32_t first, uint32_t second, struct finding *f) {
    const struct history *h = l->h;
    uint32_t a = l->ops[first], b = l->ops[second];
    print_key(h, h->key[a], &f->line);
    if (h->result[a].integer == h->result[b].integer)
        buffer_printf(&f->line, ": token %" PRId64 " was granted twice", h->result[a].integer);
    else
        buffer_printf(&f->line, ": token %" PRId64 " was granted after %" PRId64, h->result[b].integer,
                      h->result[a].integer);
    buffer_printf(&f->line, ", to process %u and then to process %u", (unsigned)h->process[a], (unsigned)h->process[b]);
    finding_op(f, a);
    finding_op(f, b);
}

struct grant {
    int64_t token;
    uint32_t index;
};

static int by_token(const void *x, const void *y) {
    const struct grant *a = x, *b = y;
    if (a->token != b->token) return a->token < b->token ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static bool is_grant(const struct lock *l, uint32_t i) {
    return l->acquires[i] && l->returned[i] != NONE;
}

static enum decision tokens_decide(const struct lock *l, struct budget *b, struct finding *f) {
    if (!budget_claim(b, (uint64_t)l->count * sizeof(struct grant))) return UNDECIDED;
    struct grant *grants = xmalloc(((size_t)l->count + 1) * sizeof *grants);
    uint32_t count = 0, greatest = NONE;
    enum decision d = DECIDED_VALID;
    for (uint32_t at = 0; at < l->positions && d == DECIDED_VALID; at++) {
        bool ends = l->event[at] >= l->count;
        uint32_t i = l->event[at] - (ends ? l->count : 0);
        if (budget_spent(b)) d = UNDECIDED;
        if (!is_grant(l, i)) continue;
        int64_t token = l->h->result[l->ops[i]].integer;
        int64_t most = greatest == NONE ? 0 : l->h->result[l->ops[greatest]].integer;
        if (ends) {
            grants[count++] = (struct grant){token, i};
            if (greatest == NONE || token > most) greatest = i;
        } else if (greatest != NONE && most >= token) {
            tell_tokens(l, greatest, i, f);
            d = DECIDED_INVALID;
        }
    }
    if (d == DECIDED_VALID) qsort(grants, count, sizeof *grants, by_token);
    for (uint32_t k = 1; k < count && d == DECIDED_VALID; k++) {
        if (grants[k].token != grants[k - 1].token) continue;
        tell_tokens(l, grants[k - 1].index, grants[k].index, f);
        d = DECIDED_INVALID;
    }
    free(grants);
    return d;
}

/* --- the checks --------------------------------------------------------------------------------------------------- */

struct lock_kind {
    const char *name;
    uint32_t permits; /* 0: tokens instead */
};

static void judge_locks(const void *what, const struct history *h, const struct check_options *o,
                        struct check_result *out) {
    const struct lock_kind *kind = what;
    uint32_t permits = kind->permits;
    static const char *const names[] = {"acquire", "release", NULL};
    uint8_t roles[FUNCTIONS_MAX];
    result_start(out, kind->name);
    roles_find(h, names, roles);
    if (!history_trusted(h, out) || !roles_cover(h, roles, out)) return;
    uint64_t acquired = 0;
    for (uint32_t op = 0; op < h->count; op++) {
        if (roles[h->f[op]] != LOCK_ACQUIRE || h->status[op] != OP_OK) continue;
        acquired++;
        if (permits || h->result[op].kind == VALUE_INT) continue;
        result_set(out, VERDICT_UNKNOWN, "acquire %u returned no token that is an integer", op);
        result_ops(out, &op, 1);
        return;
    }
    struct budget b = budget_of(o);
    struct finding f = {0};
    struct groups groups;
    (void)groups_make(&groups, h, &b); /* else there is no group, and the budget is spent */
    for (uint32_t g = 0; g < groups.count && !f.line.size && !budget_spent_now(&b); g++) {
        struct lock l;
        uint64_t claimed = b.memory_bytes;
        if (lock_read(&l, h, roles, groups.ops + groups.first[g], groups.first[g + 1] - groups.first[g], &b)) {
            if (permits)
                permits_decide(&l, permits, &b, &f);
            else
                tokens_decide(&l, &b, &f);
        }
        lock_free(&l);
        budget_release(&b, b.memory_bytes - claimed);
    }
    if (f.line.size)
        finding_tell(&f, h, out);
    else if (b.state != BUDGET_LEFT)
        budget_tell(&b, out);
    else
        result_set(out, VERDICT_VALID, "%" PRIu64 " times acquired, %u lock%s", acquired, groups.count,
                   groups.count == 1 ? "" : "s");
    groups_free(&groups);
    finding_free(&f);
}

static void check_locks(const struct history *h, const char *name, uint32_t permits, const struct check_options *o,
                        struct check_result *out) {
    const struct lock_kind kind = {name, permits};
    const struct evidence e = {.check = judge_locks, .what = &kind, .object = name};
    check_with_evidence(h, &e, o, out);
}

void check_mutex(const struct history *h, const struct check_options *o, struct check_result *out) {
    check_locks(h, "mutex", 1, o, out);
}

void check_semaphore(const struct history *h, uint32_t permits, const struct check_options *o,
                     struct check_result *out) {
    assert(permits > 0);
    check_locks(h, "semaphore", permits, o, out);
}

void check_fenced_lock(const struct history *h, const struct check_options *o, struct check_result *out) {
    check_locks(h, "fenced-lock", 0, o, out);
}
