/* All orders of a small history, where the graph leaves some open. For what has a hundred transactions this proves
 * nothing in useful time; but what was cut down to the few that matter gets a definite answer. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

#define SMALL_MAX 48u
#define TRIED_MAX 20000u

struct trial {
    const struct tables *t;
    enum order order;
    uint32_t txns[SMALL_MAX], count;
    uint64_t placed; /* bits of txns */
    uint32_t *current;
    uint32_t tried;
};

static bool may_come_next(const struct trial *s, uint32_t at) {
    const struct tables *t = s->t;
    uint32_t txn = s->txns[at];
    for (uint32_t i = 0; i < s->count; i++) {
        if (i == at || s->placed >> i & 1) continue;
        if (s->order >= ORDER_REALTIME && t->after[s->txns[i]] <= txn) return false;
        if (s->order >= ORDER_PROCESS && t->next_in_process[s->txns[i]] == txn) return false;
        for (uint32_t r = t->first[s->txns[i]]; r < t->first[s->txns[i] + 1]; r++) {
            if (!t->micros[r].external || s->current[t->micros[r].key] != t->micros[r].version) continue;
            for (uint32_t m = t->first[txn]; m < t->first[txn + 1]; m++)
                if (t->micros[m].kind == MICRO_WRITE && t->micros[m].key == t->micros[r].key) return false;
        }
    }
    for (uint32_t m = t->first[txn]; m < t->first[txn + 1]; m++)
        if (t->micros[m].external && s->current[t->micros[m].key] != t->micros[m].version) return false;
    return true;
}

static bool try_next(struct trial *s);

static bool try_this(struct trial *s, uint32_t at) {
    const struct tables *t = s->t;
    uint32_t txn = s->txns[at], micros = t->first[txn + 1] - t->first[txn];
    uint32_t *before = xmalloc(micros * sizeof *before);
    for (uint32_t i = 0; i < micros; i++) {
        const struct micro *m = &t->micros[t->first[txn] + i];
        before[i] = s->current[m->key];
        if (m->kind == MICRO_WRITE) s->current[m->key] = m->version;
    }
    s->placed |= UINT64_C(1) << at;
    bool found = try_next(s);
    s->placed &= ~(UINT64_C(1) << at);
    for (uint32_t i = micros; i > 0; i--) s->current[t->micros[t->first[txn] + i - 1].key] = before[i - 1];
    free(before);
    return found;
}

static bool try_next(struct trial *s) {
    if (s->placed == (UINT64_C(1) << s->count) - 1) return true;
    if (++s->tried > TRIED_MAX || budget_spent_now(s->t->budget)) return false;
    uint64_t fit = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->placed >> i & 1 || !may_come_next(s, i)) continue;
        if (!transaction_is_blind(s->t, s->txns[i])) return try_this(s, i);
        fit |= UINT64_C(1) << i;
    }
    for (uint32_t i = 0; i < s->count; i++)
        if (fit >> i & 1 && try_this(s, i)) return true;
    return false;
}

static bool take_transactions(struct trial *s) {
    for (uint32_t txn = 0; txn < s->t->count; txn++) {
        if (!s->t->happened[txn]) continue;
        if (s->count == SMALL_MAX) return false;
        s->txns[s->count++] = txn;
    }
    return s->t->budget->state == BUDGET_LEFT;
}

static enum decision decided(const struct trial *s, bool found) {
    if (found) return DECIDED_VALID;
    return s->tried > TRIED_MAX || s->t->budget->state != BUDGET_LEFT ? UNDECIDED : DECIDED_INVALID;
}

enum decision try_serial(const struct tables *t, enum order order) {
    struct trial s = {.t = t, .order = order};
    if (!take_transactions(&s)) return UNDECIDED;
    s.current = xmalloc((size_t)t->keys * sizeof *s.current);
    for (uint32_t k = 0; k < t->keys; k++) s.current[k] = k;
    bool found = try_next(&s);
    free(s.current);
    return decided(&s, found);
}

/* --- snapshots: all orders of commits ----------------------------------------------------------------------------- */

struct commits {
    struct trial s;
    uint64_t before[SMALL_MAX]; /* bits of those that must have committed when it starts */
    uint32_t place[SMALL_MAX];  /* of those that are placed: how many had committed with it */
    uint32_t *states;           /* states[n * keys + k]: the version of k after n commits */
};

#define STATES_MAX (UINT64_C(1) << 20)

static bool write_in_common(const struct tables *t, uint32_t a, uint32_t b) {
    for (uint32_t m = t->first[a]; m < t->first[a + 1]; m++)
        if (t->micros[m].kind == MICRO_WRITE && transaction_writes(t, b, t->micros[m].key)) return true;
    return false;
}

static void collect_before(struct commits *c) {
    const struct tables *t = c->s.t;
    for (uint32_t i = 0; i < c->s.count; i++) {
        for (uint32_t j = 0; j < c->s.count; j++) {
            uint32_t a = c->s.txns[i], b = c->s.txns[j];
            bool before = c->s.order >= ORDER_REALTIME && t->after[a] <= b;
            before |= c->s.order >= ORDER_PROCESS && t->next_in_process[a] == b;
            for (uint32_t m = t->first[a]; m < t->first[a + 1] && a != b; m++) {
                if (t->micros[m].kind != MICRO_WRITE) continue;
                uint32_t v = t->micros[m].version;
                for (uint32_t n = t->next_first[v]; n < t->next_first[v + 1]; n++)
                    before |= t->writer[NEXT_VERSION(t->next[n])] == b;
            }
            if (before) c->before[j] |= UINT64_C(1) << i;
        }
    }
}

static bool reads_fit(const struct commits *c, uint32_t txn, const uint32_t *state) {
    const struct tables *t = c->s.t;
    for (uint32_t m = t->first[txn]; m < t->first[txn + 1]; m++)
        if (t->micros[m].external && state[t->micros[m].key] != t->micros[m].version) return false;
    return true;
}

static bool commit_next(struct commits *c, uint32_t placed);

/* It commits next, if there is a moment to start at: behind all that must have committed before, and behind the last
 * that wrote what it writes, for else that one would have won. */
static bool commit_this(struct commits *c, uint32_t at, uint32_t placed) {
    const struct tables *t = c->s.t;
    uint32_t txn = c->s.txns[at], earliest = 0, start = placed + 1;
    for (uint32_t i = 0; i < c->s.count; i++)
        if (c->s.placed >> i & 1 && (c->before[at] >> i & 1 || write_in_common(t, txn, c->s.txns[i])))
            if (c->place[i] > earliest) earliest = c->place[i];
    while (start > earliest && !reads_fit(c, txn, c->states + (size_t)(start - 1) * t->keys)) start--;
    if (start <= earliest) return false;
    uint32_t *now = c->states + (size_t)placed * t->keys, *next = now + t->keys;
    memcpy(next, now, t->keys * sizeof *now);
    for (uint32_t m = t->first[txn]; m < t->first[txn + 1]; m++)
        if (t->micros[m].kind == MICRO_WRITE) next[t->micros[m].key] = t->micros[m].version;
    c->place[at] = placed + 1;
    c->s.placed |= UINT64_C(1) << at;
    bool found = commit_next(c, placed + 1);
    c->s.placed &= ~(UINT64_C(1) << at);
    return found;
}

static bool commit_next(struct commits *c, uint32_t placed) {
    if (placed == c->s.count) return true;
    if (++c->s.tried > TRIED_MAX || budget_spent_now(c->s.t->budget)) return false;
    for (uint32_t i = 0; i < c->s.count; i++)
        if (!(c->s.placed >> i & 1) && (c->before[i] & ~c->s.placed) == 0 && commit_this(c, i, placed)) return true;
    return false;
}

enum decision try_snapshots(const struct tables *t, enum order order) {
    struct commits c = {.s = {.t = t, .order = order}};
    if (!take_transactions(&c.s) || (c.s.count + UINT64_C(1)) * t->keys > STATES_MAX) return UNDECIDED;
    collect_before(&c);
    c.states = xmalloc((size_t)(c.s.count + 1) * t->keys * sizeof *c.states);
    for (uint32_t k = 0; k < t->keys; k++) c.states[k] = k;
    bool found = commit_next(&c, 0);
    free(c.states);
    return decided(&c.s, found);
}
