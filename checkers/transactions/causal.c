/* Causal consistency of registers whose values are written once each: the three that Bouajjani, Enea, Guerraoui and
 * Hamza tell apart (POPL 2017), each by the patterns that it forbids. What happened before a transaction, as far as its
 * process could know, is its causal past: what the process did before, what wrote the values that it read, and what
 * is in the causal past of these (the order CO).
 *
 * causal              each transaction can be explained by some order of its causal past
 * causal-memory       each process can explain all that itself has read by one such order (Ahamad et al., Distributed
 *                     Computing 1995)
 * causal-convergence  all transactions can be explained by one order, of which each knows its causal past
 *
 * The patterns were found for operations that read or write one key. Transactions of several are taken here as one
 * step; then causal needs one pattern more, a CyclicCF within what a single transaction has read.
 *
 * The causal past is kept as a vector clock, one entry for each process: so the last of a process's writes of a key in
 * some past is found by its number, and it stands for all before it. causal and causal-convergence take n times the
 * number of processes that happened to act; causal-memory that again for each process that reads. */
#include "checkers/transactions/causal.h"

#include <stdlib.h>

/* --- the parts ---------------------------------------------------------------------------------------------------- */

static uint32_t *clock_of(const struct causal *s, uint32_t txn) {
    return s->clocks + (size_t)txn * s->chains;
}

bool causal_knows(const struct causal *s, uint32_t b, uint32_t a) {
    return clock_of(s, b)[s->chain[a]] >= s->place[a];
}

static bool is_dependency(const struct micro *m) {
    return m->external && m->version != VERSION_NONE;
}

static void make_chains(struct causal *s) {
    const struct tables *t = s->t;
    for (uint32_t txn = 0; txn < t->count; txn++) s->chain[txn] = s->before[txn] = NONE;
    for (uint32_t txn = 0; txn < t->count; txn++) {
        if (!t->happened[txn]) continue;
        if (s->chain[txn] == NONE) s->chain[txn] = s->chains++;
        s->place[txn] = s->before[txn] == NONE ? 1 : s->place[s->before[txn]] + 1;
        uint32_t next = t->next_in_process[txn];
        if (next == NONE || !t->happened[next]) continue;
        s->chain[next] = s->chain[txn];
        s->before[next] = txn;
    }
}

static int by_key_and_place(const void *a, const void *b) {
    const struct causal_write *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    if (x->chain != y->chain) return x->chain < y->chain ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

/* The writes of each key by each process, in the order of the process. */
static void list_writes(struct causal *s) {
    const struct tables *t = s->t;
    for (uint32_t v = t->keys; v < t->versions; v++) {
        if (!tables_committed(t, v) || !t->last_of_writer[v]) continue;
        uint32_t txn = t->writer[v];
        s->writes[s->writes_count++] = (struct causal_write){
            .key = t->micros[t->written[v]].key, .chain = s->chain[txn], .place = s->place[txn], .txn = txn};
    }
    qsort(s->writes, s->writes_count, sizeof *s->writes, by_key_and_place);
    for (uint32_t i = 0; i < s->writes_count; i++) {
        bool new_key = i == 0 || s->writes[i].key != s->writes[i - 1].key;
        if (new_key || s->writes[i].chain != s->writes[i - 1].chain) s->groups[s->groups_count++] = i;
        if (new_key) s->key_groups[s->writes[i].key] = s->groups_count - 1;
    }
    s->groups[s->groups_count] = s->writes_count;
}

/* The last write of the group that is among the first `place` transactions of its process; NONE. */
static uint32_t last_write(const struct causal *s, uint32_t group, uint32_t place) {
    uint32_t low = s->groups[group], high = s->groups[group + 1];
    if (s->writes[low].place > place) return NONE;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (s->writes[middle].place <= place) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return s->writes[low].txn;
}

/* --- the order ---------------------------------------------------------------------------------------------------- */

#define AT_END UINT32_MAX
struct cause causal_before(const struct causal *s, uint32_t txn, uint32_t *at) {
    const struct tables *t = s->t;
    if (*at == 0) {
        (*at)++;
        if (s->before[txn] != NONE) return (struct cause){s->before[txn], CAUSE_PROCESS, NONE};
    }
    uint32_t micros = t->first[txn + 1] - t->first[txn]; /* *at: 0, 1 + micro, micros + 2 + extra */
    while (*at <= micros) {
        const struct micro *m = &t->micros[t->first[txn] + (*at)++ - 1];
        if (is_dependency(m) && t->writer[m->version] != NONE)
            return (struct cause){t->writer[m->version], CAUSE_READ, NONE};
    }
    if (*at == AT_END) return (struct cause){NONE, CAUSE_READ, NONE};
    uint32_t extra = *at == micros + 1 ? s->extras_of[txn] : *at - micros - 2;
    if (extra == NONE) return (struct cause){NONE, CAUSE_READ, NONE};
    *at = s->extras[extra].next == NONE ? AT_END : micros + 2 + s->extras[extra].next;
    return (struct cause){s->extras[extra].from, CAUSE_CONFLICT, extra};
}

static void enter(struct causal *s, uint32_t txn, uint32_t *depth) {
    s->state[txn] = 1;
    s->stack[*depth] = txn;
    s->at[(*depth)++] = 0;
}

static void join(struct causal *s, uint32_t txn, uint32_t before) {
    uint32_t *into = clock_of(s, txn);
    const uint32_t *from = clock_of(s, before);
    for (uint32_t c = 0; c < s->chains; c++)
        if (into[c] < from[c]) into[c] = from[c];
}

bool causal_order_all(struct causal *s, uint32_t *on) {
    const struct tables *t = s->t;
    memset(s->state, 0, t->count);
    memset(s->clocks, 0, (size_t)t->count * s->chains * sizeof *s->clocks);
    *on = NONE;
    for (uint32_t root = 0; root < t->count; root++) {
        uint32_t depth = 0;
        if (!t->happened[root] || s->state[root]) continue;
        enter(s, root, &depth);
        while (depth) {
            uint32_t txn = s->stack[depth - 1];
            struct cause c = causal_before(s, txn, &s->at[depth - 1]);
            if (budget_spent(t->budget)) return false;
            if (c.txn == NONE) {
                s->state[txn] = 2;
                clock_of(s, txn)[s->chain[txn]] = s->place[txn];
                if (--depth) join(s, s->stack[depth - 1], txn);
            } else if (s->state[c.txn] == 2) {
                join(s, txn, c.txn);
            } else if (s->state[c.txn] == 0) {
                enter(s, c.txn, &depth);
            } else {
                *on = c.txn;
                return false;
            }
        }
    }
    return true;
}

#define EXTRAS_COMPARED_MAX 16u /* many readers of one version say the same */

static bool is_extra(const struct causal *s, uint32_t from, uint32_t to) {
    uint32_t extra = s->extras_of[to];
    for (uint32_t i = 0; i < EXTRAS_COMPARED_MAX && extra != NONE; i++, extra = s->extras[extra].next)
        if (s->extras[extra].from == from) return true;
    return false;
}

bool causal_add_extra(struct causal *s, uint32_t from, uint32_t to, uint32_t reader, uint32_t micro) {
    const struct tables *t = s->t;
    if (is_extra(s, from, to)) return false;
    if (s->extras_count == s->extras_capacity) {
        uint32_t capacity = s->extras_capacity ? 2 * s->extras_capacity : 1024;
        if (!budget_claim(t->budget, (uint64_t)(capacity - s->extras_capacity) * sizeof *s->extras)) return false;
        s->extras_capacity = capacity;
        s->extras = xrealloc(s->extras, capacity * sizeof *s->extras);
    }
    s->extras[s->extras_count] = (struct causal_extra){from, to, reader, micro, s->extras_of[to]};
    s->extras_of[to] = s->extras_count++;
    return true;
}

static void drop_extras(struct causal *s) {
    for (uint32_t i = 0; i < s->extras_count; i++) s->extras_of[s->extras[i].to] = NONE;
    s->extras_count = 0;
}

/* --- what a read says --------------------------------------------------------------------------------------------- */

/* Whatever else wrote the key and is in the past of the reader comes before the writer of what was read; that is added
 * where it is not known. WRONG: it comes behind, or there can be none since the initial value was read. */
static enum said hear(struct causal *s, uint32_t reader, uint32_t micro, struct causal_finding *f) {
    const struct tables *t = s->t;
    const struct micro *m = &t->micros[micro];
    uint32_t group = s->key_groups[m->key], source = t->writer[m->version];
    enum said said = SAID_NOTHING;
    if (group == NONE) return said;
    for (; group < s->groups_count && s->writes[s->groups[group]].key == m->key; group++) {
        uint32_t chain = s->writes[s->groups[group]].chain;
        uint32_t place = clock_of(s, reader)[chain] - (chain == s->chain[reader]);
        uint32_t other = last_write(s, group, place);
        if (other == NONE || other == source) continue;
        *f = (struct causal_finding){.older = other, .source = source, .reader = reader, .micro = micro};
        if (source == NONE || causal_knows(s, other, source)) return SAID_WRONG;
        if (causal_knows(s, source, other)) continue;
        if (causal_add_extra(s, other, source, reader, micro)) said = SAID_NEWS;
    }
    return said;
}

enum said causal_hear(struct causal *s, uint32_t reader, struct causal_finding *f) {
    const struct tables *t = s->t;
    enum said said = SAID_NOTHING;
    for (uint32_t i = t->first[reader]; i < t->first[reader + 1]; i++) {
        if (!is_dependency(&t->micros[i])) continue;
        enum said one = hear(s, reader, i, f);
        if (one == SAID_WRONG) return one;
        if (one == SAID_NEWS) said = one;
    }
    return said;
}

/* --- the models --------------------------------------------------------------------------------------------------- */

static bool note(struct causal_finding *f, enum causal_pattern pattern, uint32_t on) {
    f->pattern = pattern;
    f->on = on;
    return true;
}

static bool leads_to(const struct causal *s, const struct causal_extra *a, const struct causal_extra *b) {
    return causal_knows(s, b->from, a->to);
}

/* Do the extras, all of one reader, make a cycle? Each that none of the others leads to is put aside, until nothing
 * changes; whoever is left is led to, so going back far enough ends in a cycle. */
static bool contradicts_itself(struct causal *s, struct causal_finding *f) {
    uint32_t left = s->extras_count;
    for (uint32_t i = 0; i < left && !budget_spent(s->t->budget);) {
        uint32_t k = 0;
        while (k < left && !leads_to(s, &s->extras[k], &s->extras[i])) k++;
        if (k < left) {
            i++;
            continue;
        }
        struct causal_extra aside = s->extras[i];
        s->extras[i] = s->extras[--left];
        s->extras[left] = aside;
        i = 0;
    }
    if (left == 0 || s->t->budget->state != BUDGET_LEFT) return false;
    uint32_t at = 0;
    for (uint32_t i = 0; i <= left; i++) {
        uint32_t k = 0;
        while (!leads_to(s, &s->extras[k], &s->extras[at])) k++;
        at = k;
    }
    return note(f, CYCLIC_CF, s->extras[at].to);
}

static void link_extras(struct causal *s) {
    for (uint32_t i = 0; i < s->extras_count; i++) s->extras_of[s->extras[i].to] = NONE;
    for (uint32_t i = 0; i < s->extras_count; i++) {
        s->extras[i].next = s->extras_of[s->extras[i].to];
        s->extras_of[s->extras[i].to] = i;
    }
}

/* Each transaction by itself. */
static bool breaks_causal(struct causal *s, struct causal_finding *f) {
    const struct tables *t = s->t;
    for (uint32_t txn = 0; txn < t->count && !budget_spent(t->budget); txn++) {
        if (!t->happened[txn]) continue;
        if (causal_hear(s, txn, f) == SAID_WRONG) {
            drop_extras(s);
            return note(f, f->source == NONE ? WRITE_CO_INIT_READ : WRITE_CO_READ, NONE);
        }
        if (s->extras_count > 1 && contradicts_itself(s, f)) {
            link_extras(s);
            return true;
        }
        drop_extras(s);
    }
    return false;
}

/* All that one process has read: what follows from it may be news for what follows from the rest. */
static bool breaks_memory_of(struct causal *s, uint32_t first, struct causal_finding *f) {
    const struct tables *t = s->t;
    enum said said = SAID_NEWS;
    uint32_t on;
    while (said == SAID_NEWS && t->budget->state == BUDGET_LEFT) {
        said = SAID_NOTHING;
        for (uint32_t txn = first; txn != NONE && t->happened[txn]; txn = t->next_in_process[txn]) {
            enum said one = causal_hear(s, txn, f);
            if (one == SAID_WRONG && f->source == NONE) return note(f, WRITE_HB_INIT_READ, NONE);
            if (one == SAID_WRONG) return note(f, CYCLIC_HB, NONE);
            if (one == SAID_NEWS) said = one;
        }
        if (said == SAID_NEWS && !causal_order_all(s, &on)) return on != NONE && note(f, CYCLIC_HB, on);
    }
    return false;
}

static bool breaks_memory(struct causal *s, struct causal_finding *f) {
    const struct tables *t = s->t;
    uint32_t on;
    for (uint32_t txn = 0; txn < t->count && !budget_spent(t->budget); txn++) {
        if (!t->happened[txn] || s->before[txn] != NONE) continue;
        if (breaks_memory_of(s, txn, f)) return true;
        if (s->extras_count == 0) continue;
        drop_extras(s);
        causal_order_all(s, &on);
    }
    return false;
}

static bool breaks_convergence(struct causal *s, struct causal_finding *f) {
    const struct tables *t = s->t;
    uint32_t on;
    for (uint32_t txn = 0; txn < t->count && !budget_spent(t->budget); txn++)
        if (t->happened[txn]) causal_hear(s, txn, f);
    return !causal_order_all(s, &on) && on != NONE && note(f, CYCLIC_CF, on);
}

static bool breaks(struct causal *s, enum causal_kind kind, struct causal_finding *f) {
    uint32_t on;
    if (!causal_order_all(s, &on)) return on != NONE && note(f, CYCLIC_CO, on);
    if (breaks_causal(s, f)) return true;
    if (s->t->budget->state != BUDGET_LEFT) return false;
    if (kind == CAUSAL_MEMORY) return breaks_memory(s, f);
    return kind == CAUSAL_CONVERGENCE && breaks_convergence(s, f);
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

bool causal_allocate(struct causal *s, uint64_t *bytes) {
    const struct tables *t = s->t;
    size_t count = (size_t)t->count + 1, versions = (size_t)t->versions - t->keys + 1, keys = (size_t)t->keys + 1;
    *bytes = count * 25 + versions * (sizeof *s->writes + sizeof *s->groups) + keys * sizeof *s->key_groups;
    if (!budget_claim(t->budget, *bytes)) return !(*bytes = 0);
    s->chain = xmalloc(count * sizeof *s->chain);
    s->place = xcalloc(count, sizeof *s->place);
    s->before = xmalloc(count * sizeof *s->before);
    s->extras_of = xmalloc(count * sizeof *s->extras_of);
    memset(s->extras_of, 0xff, count * sizeof *s->extras_of);
    s->stack = xmalloc(count * sizeof *s->stack);
    s->at = xmalloc(count * sizeof *s->at);
    s->state = xmalloc(count);
    s->writes = xmalloc(versions * sizeof *s->writes);
    s->groups = xmalloc(versions * sizeof *s->groups);
    s->key_groups = xmalloc(keys * sizeof *s->key_groups);
    memset(s->key_groups, 0xff, keys * sizeof *s->key_groups);
    make_chains(s);
    list_writes(s);
    uint64_t clocks = (uint64_t)t->count * s->chains * sizeof *s->clocks;
    if (!budget_claim(t->budget, clocks)) return false;
    *bytes += clocks;
    s->clocks = xmalloc_large(clocks + 1);
    return true;
}

void causal_release(struct causal *s, uint64_t bytes) {
    uint64_t extras = (uint64_t)s->extras_capacity * sizeof *s->extras;
    free(s->chain);
    free(s->place);
    free(s->before);
    free(s->extras_of);
    free(s->stack);
    free(s->at);
    free(s->state);
    free(s->writes);
    free(s->groups);
    free(s->key_groups);
    free(s->clocks);
    free(s->extras);
    budget_release(s->t->budget, bytes + extras);
}

void causal_judge(const struct tables *t, enum causal_kind kind, struct check_result *out) {
    struct causal s = {.t = t};
    struct causal_finding f = {.on = NONE};
    uint64_t bytes = 0;
    if (!causal_allocate(&s, &bytes)) {
        tables_unknown(t, out);
    } else if (breaks(&s, kind, &f)) {
        causal_explain(&s, &f, out);
        result_set(out, VERDICT_INVALID, "%s: not %s", causal_pattern_name(f.pattern), causal_kind_name(kind));
    } else if (t->budget->state != BUDGET_LEFT) {
        tables_unknown(t, out);
    } else {
        uint32_t happened = 0;
        for (uint32_t txn = 0; txn < t->count; txn++) happened += t->happened[txn];
        result_set(out, VERDICT_VALID, "%s: %u transactions, %u keys", causal_kind_name(kind), happened, t->keys);
    }
    causal_release(&s, bytes);
}
