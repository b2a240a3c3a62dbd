/* Session guarantees. Whatever a process does to a key tells that the version it saw or wrote last comes before the one
 * that it sees or writes now: monotonic reads, read your writes, monotonic writes, writes follow reads, by what the two
 * were. The guarantees hold together if and only if these relations, with what is known of the order anyway, have no
 * cycle; for then some order of the versions agrees with all. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

enum relation { KNOWN, MONOTONIC_READS, READ_YOUR_WRITES, MONOTONIC_WRITES, WRITES_FOLLOW_READS, RELATIONS };
static const char *const relation_names[RELATIONS] = {
    "the order that is known anyway", "monotonic reads", "read your writes", "monotonic writes", "writes follow reads",
};

struct relate { /* from one version to another */
    uint32_t from, to;
    uint32_t earlier, later; /* transactions of the process; NONE */
    uint8_t relation;
};

struct sessions {
    struct tables *t;
    struct relate *all;
    uint32_t count, capacity;
    uint32_t *first;  /* by version: its relations in all, once these are sorted; versions + 1 */
    uint8_t *removed; /* by version: it is on no cycle */
    uint32_t *parent; /* by version: the relation by which a search came to it */
    uint32_t *seen, *queue, search;
    uint32_t *cycle, cycle_length;
};

static void relate(struct sessions *s, uint32_t from, uint32_t to, uint8_t relation, uint32_t earlier, uint32_t later) {
    if (from == to) return;
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 1024;
        s->all = xrealloc(s->all, s->capacity * sizeof *s->all);
    }
    s->all[s->count++] = (struct relate){from, to, earlier, later, relation};
}

/* --- what each process did ---------------------------------------------------------------------------------------- */

struct touch { /* packed into a word of the map */
    uint32_t version, write, txn;
};

static uint64_t touch_pack(struct touch a) {
    return (uint64_t)a.txn << 32 | a.write << 28 | a.version;
}

static struct touch touch_unpack(uint64_t word) {
    return (struct touch){(uint32_t)word & VERSION_NONE, (uint32_t)word >> 28, (uint32_t)(word >> 32)};
}

static bool collect(struct sessions *s) {
    const struct tables *t = s->t;
    struct map64 latest = {0}; /* process and key -> touch */
    for (uint32_t txn = 0; txn < t->count && !budget_spent(t->budget); txn++) {
        if (!t->happened[txn]) continue;
        for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++) {
            const struct micro *m = &t->micros[i];
            bool write = m->kind == MICRO_WRITE, first = false;
            if (m->version == VERSION_NONE || (!write && !m->known)) continue;
            uint64_t *word = map64_put(&latest, (uint64_t)t->h->process[t->op[txn]] << 32 | m->key, &first);
            if (!first) {
                struct touch a = touch_unpack(*word);
                uint8_t relation = a.write ? (write ? MONOTONIC_WRITES : READ_YOUR_WRITES)
                                           : (write ? WRITES_FOLLOW_READS : MONOTONIC_READS);
                relate(s, a.version, m->version, relation, a.txn, txn);
            }
            *word = touch_pack((struct touch){m->version, write, txn});
        }
    }
    map64_free(&latest);
    return t->budget->state == BUDGET_LEFT && budget_claim(t->budget, (uint64_t)s->count * 2 * sizeof *s->all);
}

static void add_known(struct sessions *s) {
    const struct tables *t = s->t;
    for (uint32_t v = 0; v < t->versions; v++)
        for (uint32_t n = t->next_first[v]; n < t->next_first[v + 1]; n++)
            relate(s, v, NEXT_VERSION(t->next[n]), KNOWN, NONE, NONE);
    for (uint32_t v = t->keys; v < t->versions; v++)
        if (tables_committed(t, v) && !t->last_of_writer[v])
            relate(s, t->micros[t->written[v]].key, v, KNOWN, NONE, NONE);
}

static void sort_relations(struct sessions *s) {
    struct relate *sorted = tables_alloc(s->count, sizeof *sorted);
    s->first = xcalloc((size_t)s->t->versions + 2, sizeof *s->first);
    for (uint32_t i = 0; i < s->count; i++) s->first[s->all[i].from + 2]++;
    for (uint32_t v = 0; v <= s->t->versions; v++) s->first[v + 1] += s->first[v];
    for (uint32_t i = 0; i < s->count; i++) sorted[s->first[s->all[i].from + 1]++] = s->all[i];
    free(s->all);
    s->all = sorted;
}

/* --- cycles ------------------------------------------------------------------------------------------------------- */

/* Takes away version after version that nothing comes before; what is left is on cycles, or behind one. */
static uint32_t peel(struct sessions *s) {
    uint32_t versions = s->t->versions, left = versions, stacked = 0;
    uint32_t *before = xcalloc((size_t)versions + 1, sizeof *before);
    for (uint32_t i = 0; i < s->count; i++) before[s->all[i].to]++;
    for (uint32_t v = 0; v < versions; v++)
        if (before[v] == 0) s->queue[stacked++] = v;
    while (stacked) {
        uint32_t v = s->queue[--stacked];
        s->removed[v] = 1;
        left--;
        for (uint32_t i = s->first[v]; i < s->first[v + 1]; i++)
            if (--before[s->all[i].to] == 0) s->queue[stacked++] = s->all[i].to;
    }
    free(before);
    return left;
}

/* The shortest way from the version back to itself. */
static bool find_cycle(struct sessions *s, uint32_t start) {
    uint32_t head = 0, tail = 0;
    s->search++;
    s->queue[tail++] = start;
    while (head < tail && !budget_spent(s->t->budget)) {
        uint32_t v = s->queue[head++];
        for (uint32_t i = s->first[v]; i < s->first[v + 1]; i++) {
            uint32_t to = s->all[i].to;
            if (s->removed[to] || s->seen[to] == s->search) continue;
            s->seen[to] = s->search;
            s->parent[to] = i;
            if (to == start) return true;
            s->queue[tail++] = to;
        }
    }
    return false;
}

#define TRIES_MAX 256u

static void keep_shorter(struct sessions *s, uint32_t start) {
    uint32_t length = 0, at = start;
    do {
        at = s->all[s->parent[at]].from;
        length++;
    } while (at != start);
    if (s->cycle && length >= s->cycle_length) return;
    s->cycle = xrealloc(s->cycle, length * sizeof *s->cycle);
    s->cycle_length = length;
    for (uint32_t i = length; i > 0; i--) {
        s->cycle[i - 1] = s->parent[at];
        at = s->all[s->parent[at]].from;
    }
}

/* Whatever is left has something left before it, so the way back ends in a cycle; of the cycles through its versions,
 * the shortest. */
static void shortest_cycle(struct sessions *s) {
    uint32_t versions = s->t->versions, at = 0;
    uint32_t *before = xmalloc(((size_t)versions + 1) * sizeof *before);
    for (uint32_t i = 0; i < s->count; i++)
        if (!s->removed[s->all[i].from]) before[s->all[i].to] = s->all[i].from;
    while (s->removed[at]) at++;
    for (uint32_t i = 0; i < versions; i++) at = before[at];
    for (uint32_t tries = 0; tries < TRIES_MAX && find_cycle(s, at); tries++) {
        keep_shorter(s, at);
        at = before[at];
    }
    free(before);
}

/* --- words -------------------------------------------------------------------------------------------------------- */

static void tell_version(const struct tables *t, uint32_t version, struct buffer *out) {
    if (version < t->keys) {
        buffer_printf(out, "what it was at first");
    } else {
        print_value(t->h, t->micros[t->written[version]].value, out);
    }
}

static void tell_relation(const struct tables *t, const struct relate *r, struct buffer *out) {
    bool wrote_first = r->relation == READ_YOUR_WRITES || r->relation == MONOTONIC_WRITES;
    bool wrote_then = r->relation == MONOTONIC_WRITES || r->relation == WRITES_FOLLOW_READS;
    buffer_printf(out, "  ");
    if (r->relation == KNOWN) {
        tell_version(t, r->to, out);
        buffer_printf(out, " came after ");
        tell_version(t, r->from, out);
        buffer_printf(out, "\n");
        return;
    }
    buffer_printf(out, "process %u %s ", t->h->process[t->op[r->later]], wrote_first ? "wrote" : "saw");
    tell_version(t, r->from, out);
    buffer_printf(out, " (operation %u), then %s ", t->op[r->earlier], wrote_then ? "wrote" : "saw");
    tell_version(t, r->to, out);
    buffer_printf(out, " (operation %u): %s\n", t->op[r->later], relation_names[r->relation]);
}

static void set_broken(const struct sessions *s, struct check_result *out) {
    const struct tables *t = s->t;
    uint32_t *ops = xmalloc((2 * (size_t)s->cycle_length + 1) * sizeof *ops), count = 0, relations = 0;
    struct buffer names = {0}, text = {0}, key = {0};
    uint32_t version = s->all[s->cycle[0]].to;
    history_value_print(t->h, t->key_value[version < t->keys ? version : t->micros[t->written[version]].key], &key);
    buffer_printf(&text, "No order of the versions of %s agrees with all of this:\n", buffer_text(&key));
    for (uint32_t i = 0; i < s->cycle_length; i++) {
        const struct relate *r = &s->all[s->cycle[i]];
        tell_relation(t, r, &text);
        relations |= 1u << r->relation;
        if (r->relation == KNOWN) continue;
        ops[count++] = t->op[r->earlier];
        ops[count++] = t->op[r->later];
    }
    for (uint32_t r = MONOTONIC_READS; r < RELATIONS; r++)
        if (relations >> r & 1) buffer_printf(&names, "%s%s", names.size ? ", " : "", relation_names[r]);
    result_set(out, VERDICT_INVALID, "%s: broken for %s", buffer_text(&names), buffer_text(&key));
    result_ops(out, ops, count);
    result_explain(out, &text);
    buffer_free(&names);
    buffer_free(&key);
    free(ops);
}

static void judge(struct sessions *s, struct check_result *out) {
    const struct tables *t = s->t;
    add_known(s);
    sort_relations(s);
    s->queue = tables_alloc(t->versions, sizeof *s->queue);
    s->removed = xcalloc((size_t)t->versions + 1, 1);
    if (peel(s) == 0) {
        result_set(out, VERDICT_VALID, "%u transactions on %u keys: no process ever goes back", t->count, t->keys);
        return;
    }
    s->parent = tables_alloc(t->versions, sizeof *s->parent);
    s->seen = xcalloc((size_t)t->versions + 1, sizeof *s->seen);
    shortest_cycle(s);
    if (s->cycle) {
        set_broken(s, out);
    } else {
        tables_unknown(t, out);
    }
}

static void judge_sessions(const void *what, const struct history *h, const struct check_options *o,
                           struct check_result *out) {
    enum transactions_workload workload = *(const enum transactions_workload *)what;
    result_start(out, "sessions");
    if (!history_trusted(h, out)) return;
    bool lists = workload == TRANSACTIONS_LIST_APPEND, guessed;
    struct budget budget = budget_of(o);
    struct tables t;
    struct findings f = {0};
    struct sessions s = {.t = &t};
    struct pairs updates = {.budget = &budget};
    const uint32_t wrong =
        1u << DUPLICATE_ELEMENTS | 1u << GARBAGE_READ | 1u << TORN_WRITES | 1u << G1A | 1u << INCOMPATIBLE_ORDER;
    bool read = tables_read(&t, h, workload, true, &budget);
    read = read && (lists ? list_append_order(&t, &f, &guessed) : rw_register_reads(&t, &f, &updates));
    read = read && (lists || rw_register_order(&t, ORDER_DATA, false, &updates));
    if (!read || !collect(&s) || !budget_claim(&budget, (uint64_t)t.versions * 20)) {
        tables_unknown(&t, out);
    } else if (f.seen & wrong) {
        uint32_t gravest = 0;
        while (!((f.seen & wrong) >> gravest & 1)) gravest++;
        result_set(out, VERDICT_INVALID, "what was read has no place in any order of versions");
        findings_explain(&t, &f, gravest, out);
    } else {
        judge(&s, out);
    }
    free(s.all);
    free(s.first);
    free(s.removed);
    free(s.parent);
    free(s.seen);
    free(s.queue);
    free(s.cycle);
    pairs_free(&updates);
    findings_free(&f);
    tables_free(&t);
}

void check_sessions(const struct history *h, enum transactions_workload workload, const struct check_options *o,
                    struct check_result *out) {
    const struct evidence e = {.check = judge_sessions, .what = &workload, .words = KEEP_WORDS};
    check_with_evidence(h, &e, o, out);
}
