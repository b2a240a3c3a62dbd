/* One serial order that keeps real time, found by going forward: the quick way to "valid", whatever the model, since
 * strict serializability implies every other. A transaction may come next if none that is not placed had ended before
 * it began, what it read is current, and nobody else who is not placed has read what it overwrites. If it overwrites
 * only what itself has read, it may come at once: nothing that could come between would see or change those versions.
 * Between blind writes there is a choice; where one leads nowhere, the last is taken back (Wing and Gong, J. Parallel
 * Distrib. Comput. 1993), and no configuration is left twice (Lowe, Concurr. Comput. 2017). Of lists the order of
 * versions is known, so there is no choice, and each transaction is placed as soon as it may be. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

#define RETREATS_MAX 4096u /* without getting further: then the other ways to an answer are more promising */

struct choice {
    uint32_t placed; /* so many before it */
    uint32_t txn;    /* the blind writer that was taken */
};

struct witness {
    const struct tables *t;
    bool lists;
    uint32_t *later, *earlier; /* what is not placed, in order of invocation; `count` stands before and behind it */
    uint32_t *due;             /* by transaction: it is needed before that one */
    uint32_t *predecessor;     /* by transaction: of its process, where the times do not tell; NONE */
    uint8_t *blind;            /* by transaction */
    uint32_t *current;         /* by key: version */
    uint32_t *pending;         /* by version: its readers that are not placed */
    uint32_t *below;           /* by version: of lists, what it must follow; of registers, what it overwrote */
    uint32_t *last_read;       /* by version: the last transaction that read it; 0 */
    uint32_t *order, placed;
    struct choice *choices;
    uint32_t choices_count, retreats, furthest;
    uint64_t configuration; /* a hash of what is placed and what is current */
    struct map64 failed;    /* configurations from which no choice led on */
    uint32_t *memory;
};

/* --- one transaction ---------------------------------------------------------------------------------------------- */

static void count_reads(struct witness *s, uint32_t txn, uint32_t by) {
    const struct tables *t = s->t;
    for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++)
        if (t->micros[i].external) s->pending[t->micros[i].version] += by;
}

/* The last write of a register is all that others see of it; a list keeps each. */
static bool takes_effect(const struct witness *s, const struct micro *m) {
    return m->kind == MICRO_WRITE && (s->lists || s->t->last_of_writer[m->version]);
}

static bool may_overwrite(const struct witness *s, const struct micro *m) {
    uint32_t v = m->version, own = s->lists ? s->t->own_before[v] : VERSION_NONE;
    uint32_t over = own == VERSION_NONE ? s->current[m->key] : own;
    if (own == VERSION_NONE && s->pending[over]) return false;
    if (!s->lists || s->below[v] == over) return true;
    return over >= s->t->keys && s->below[v] == s->below[over]; /* appends that no read shows, in any order */
}

static bool may_come_next(struct witness *s, uint32_t txn) {
    const struct tables *t = s->t;
    uint32_t before = s->predecessor[txn];
    bool good = before == NONE || s->later[s->earlier[before]] != before;
    for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++)
        if (t->micros[i].external && s->current[t->micros[i].key] != t->micros[i].version) return false;
    count_reads(s, txn, UINT32_MAX);
    for (uint32_t i = t->first[txn]; i < t->first[txn + 1] && good; i++)
        good = !takes_effect(s, &t->micros[i]) || may_overwrite(s, &t->micros[i]);
    count_reads(s, txn, 1);
    return good;
}

static uint64_t trace(uint32_t version) {
    return hash_u64(version | UINT64_C(1) << 32);
}

static void place(struct witness *s, uint32_t txn) {
    const struct tables *t = s->t;
    count_reads(s, txn, UINT32_MAX);
    for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++) {
        const struct micro *m = &t->micros[i];
        if (!takes_effect(s, m)) continue;
        if (!s->lists) {
            s->below[m->version] = s->current[m->key];
            s->configuration ^= trace(s->current[m->key]) ^ trace(m->version);
        }
        s->current[m->key] = m->version;
    }
    if (!s->lists) s->configuration ^= hash_u64(txn);
    s->later[s->earlier[txn]] = s->later[txn];
    s->earlier[s->later[txn]] = s->earlier[txn];
    s->order[s->placed++] = txn;
}

/* Takes back the transaction that was placed last. */
static void take_back(struct witness *s) {
    const struct tables *t = s->t;
    uint32_t txn = s->order[--s->placed];
    s->later[s->earlier[txn]] = s->earlier[s->later[txn]] = txn;
    s->configuration ^= hash_u64(txn);
    for (uint32_t i = t->first[txn + 1]; i > t->first[txn]; i--) {
        const struct micro *m = &t->micros[i - 1];
        if (!takes_effect(s, m)) continue;
        s->current[m->key] = s->below[m->version];
        s->configuration ^= trace(s->current[m->key]) ^ trace(m->version);
    }
    count_reads(s, txn, 1);
}

/* --- the search --------------------------------------------------------------------------------------------------- */

/* Places whatever may come at once. A transaction may come next if it begins before the end of all that stand before
 * it in the list. */
static void place_forced(struct witness *s) {
    const struct tables *t = s->t;
    for (uint32_t before = NONE; before != s->placed && !budget_spent(t->budget);) {
        before = s->placed;
        uint32_t end = t->count;
        for (uint32_t txn = s->later[t->count]; txn < end; txn = s->later[txn]) {
            if (!s->blind[txn] && may_come_next(s, txn)) {
                place(s, txn);
            } else if (t->after[txn] < end) {
                end = t->after[txn];
            }
        }
    }
}

/* A writer that had ended before some reader of the version began must come before the version is written. */
static bool has_older(const struct witness *s, uint32_t txn, const struct micro *m) {
    const struct tables *t = s->t;
    uint32_t last = s->last_read[m->version];
    for (uint32_t other = s->later[t->count]; other < last; other = s->later[other])
        if (other != txn && t->after[other] <= last && transaction_writes(t, other, m->key)) return true;
    return false;
}

static bool leads_nowhere(const struct witness *s, uint32_t txn) {
    const struct tables *t = s->t;
    for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++)
        if (takes_effect(s, &t->micros[i]) && has_older(s, txn, &t->micros[i])) return true;
    return false;
}

/* The blind writer that is needed first, of those that are needed later than `tried` (NONE: of all). */
static uint32_t choose(struct witness *s, uint32_t tried) {
    const struct tables *t = s->t;
    uint32_t best = NONE, end = t->count;
    for (uint32_t txn = s->later[t->count]; txn < end; txn = s->later[txn]) {
        if (t->after[txn] < end) end = t->after[txn];
        if (!s->blind[txn]) continue;
        if (tried != NONE && (s->due[txn] < s->due[tried] || (s->due[txn] == s->due[tried] && txn <= tried))) continue;
        if (best != NONE && s->due[txn] >= s->due[best]) continue;
        if (may_come_next(s, txn) && !leads_nowhere(s, txn)) best = txn;
    }
    return best;
}

static bool has_failed(struct witness *s) {
    return s->failed.count && map64_get(&s->failed, s->configuration) != NULL;
}

/* Back to the last choice that has another way to go on, and on that way. */
static bool retreat(struct witness *s) {
    bool inserted;
    while (s->choices_count && s->retreats++ < RETREATS_MAX && !budget_spent(s->t->budget)) {
        struct choice *c = &s->choices[s->choices_count - 1];
        while (s->placed > c->placed) take_back(s);
        uint32_t txn = choose(s, c->txn);
        if (txn != NONE) {
            c->txn = txn;
            place(s, txn);
            return true;
        }
        map64_put(&s->failed, s->configuration, &inserted);
        s->choices_count--;
    }
    return false;
}

static bool search(struct witness *s) {
    while (true) {
        place_forced(s);
        if (s->later[s->t->count] == s->t->count) return true;
        if (s->t->budget->state != BUDGET_LEFT || s->lists) return false;
        if (s->placed > s->furthest) {
            s->furthest = s->placed;
            s->retreats = 0;
        }
        uint32_t txn = has_failed(s) ? NONE : choose(s, NONE);
        if (txn != NONE) {
            s->choices[s->choices_count++] = (struct choice){s->placed, txn};
            place(s, txn);
        } else if (!retreat(s)) {
            return false;
        }
    }
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static uint64_t witness_bytes(const struct tables *t) {
    uint64_t count = t->count + UINT64_C(1), lists = t->workload == TRANSACTIONS_LIST_APPEND;
    return (5 * count + t->keys + 3 * (uint64_t)t->versions) * sizeof(uint32_t) + count +
           (lists ? 0 : count * sizeof(struct choice));
}

static void allocate(struct witness *s) {
    const struct tables *t = s->t;
    size_t count = (size_t)t->count + 1;
    uint32_t *at = s->memory = xmalloc_large((5 * count + t->keys + 3 * (size_t)t->versions) * sizeof *at);
    s->later = at;
    s->earlier = s->later + count;
    s->due = s->earlier + count;
    s->order = s->due + count;
    s->predecessor = s->order + count;
    s->current = s->predecessor + count;
    s->pending = s->current + t->keys;
    s->below = s->pending + t->versions;
    s->last_read = s->below + t->versions;
    s->blind = xcalloc(count, 1);
    if (!s->lists) s->choices = xmalloc(count * sizeof *s->choices);
}

static void start(struct witness *s) {
    const struct tables *t = s->t;
    uint32_t last = t->count;
    for (uint32_t k = 0; k < t->keys; k++) s->current[k] = k;
    memset(s->pending, 0, t->versions * sizeof *s->pending);
    memset(s->predecessor, 0xff, t->count * sizeof *s->predecessor);
    memset(s->last_read, 0, t->versions * sizeof *s->last_read);
    memcpy(s->due, t->after, t->count * sizeof *s->due);
    for (uint32_t txn = 0; txn < t->count; txn++) {
        if (!t->happened[txn]) continue;
        s->earlier[txn] = last;
        s->later[last] = txn;
        last = txn;
        count_reads(s, txn, 1);
        uint32_t next = t->next_in_process[txn];
        if (next != NONE && t->after[txn] > next) s->predecessor[next] = txn;
        if (s->lists) continue;
        s->blind[txn] = transaction_is_blind(t, txn);
        for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++) {
            if (!t->micros[i].external) continue;
            uint32_t writer = t->writer[t->micros[i].version];
            s->last_read[t->micros[i].version] = txn;
            if (writer != NONE && t->after[txn] < s->due[writer]) s->due[writer] = t->after[txn];
        }
    }
    s->later[last] = t->count;
    s->earlier[t->count] = last;
    for (uint32_t v = 0; v < t->versions && s->lists; v++)
        for (uint32_t n = t->next_first[v]; n < t->next_first[v + 1]; n++) s->below[NEXT_VERSION(t->next[n])] = v;
}

bool witness_find(const struct tables *t) {
    struct witness s = {.t = t, .lists = t->workload == TRANSACTIONS_LIST_APPEND};
    if (!budget_claim(t->budget, witness_bytes(t))) return false;
    allocate(&s);
    start(&s);
    bool found = search(&s);
    free(s.memory);
    free(s.blind);
    free(s.choices);
    map64_free(&s.failed);
    budget_release(t->budget, witness_bytes(t));
    return found;
}
