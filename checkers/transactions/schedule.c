/* A serial order, made one transaction after another. A transaction may come next if all that the graph has before it
 * are placed, what it read is current, and nobody who is not placed has read what it overwrites. If it overwrites only
 * what itself has read, it may come at once: nothing that could come between would see or change those versions.
 *
 * Only between blind writes there is a choice. To place one means that whoever reads its version comes before the
 * others that write the key. If one of those must come before such a reader, it must come first; so the way back from
 * the readers is looked along. Among what is left, the one comes next whose version was read or acknowledged first. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

#define STEPS_MAX 2048u /* back from the readers of one version; beyond it, the choice is made blindly */

bool transaction_is_blind(const struct tables *t, uint32_t txn) {
    for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++) {
        if (t->micros[i].kind != MICRO_WRITE) continue;
        bool read = false;
        for (uint32_t j = t->first[txn]; j < i && !read && !budget_spent(t->budget); j++)
            read = t->micros[j].rmw && t->micros[j].key == t->micros[i].key;
        if (!read) return true;
    }
    return false;
}

struct scheduler {
    const struct tables *t;
    const struct graph *g;
    struct view w;
    uint32_t *indegree;               /* by node */
    uint32_t *current;                /* by key: version */
    uint32_t *pending;                /* by version: its readers that are not placed */
    uint32_t *waiting, *waiting_next; /* by key: the first transaction that cannot overwrite yet; by transaction */
    uint32_t *stack, stacked;
    uint32_t *due; /* by transaction */
    struct heap blind;
    bool failed;

    /* For the way back: */
    struct reverse r;
    uint32_t *ended, *begun;         /* by version: the zones of rw_register.c */
    uint32_t *writes_first, *writes; /* by key: versions in order of invocation */
    uint32_t *writes_at;             /* by key: the first of these that is not placed */
    uint32_t *before_in_process;
    uint32_t *earlier, *later;          /* transactions that are not placed, as a list in order of invocation */
    uint32_t *behind;                   /* by transaction: the one that must come before it; NONE */
    uint32_t *deferred, *deferred_next; /* by transaction: the first that waits for it; the next of these */
    uint32_t *marks[2], *ways[2];       /* by node: the search that was there; nodes to go on from */
    uint32_t search[2];
    uint32_t looked[2]; /* the last transaction of which the search saw all that had ended before it */
    uint32_t *memory;   /* all of these arrays */
};

/* --- the way back ------------------------------------------------------------------------------------------------- */

static bool is_placed(const struct scheduler *s, uint32_t slot) {
    return slot < s->t->count && s->earlier[slot] == s->t->count + 1;
}

static void look_at(struct scheduler *s, uint32_t which, uint32_t slot, uint32_t *count) {
    if (slot == NONE || is_placed(s, slot) || s->marks[which][slot] == s->search[which]) return;
    s->marks[which][slot] = s->search[which];
    s->ways[which][(*count)++] = slot;
}

/* Whatever must come directly before it. */
static void look_before(struct scheduler *s, uint32_t which, uint32_t slot, uint32_t *count) {
    const struct tables *t = s->t;
    for (uint32_t e = s->r.into_first[slot]; e < s->r.into_first[slot + 1]; e++) look_at(s, which, s->r.into[e], count);
    if (slot >= t->count) return;
    look_at(s, which, s->behind[slot], count);
    if (s->w.order >= ORDER_PROCESS) look_at(s, which, s->before_in_process[slot], count);
    if (s->w.order >= ORDER_REALTIME && slot > s->looked[which]) {
        for (uint32_t x = s->later[t->count]; x < slot; x = s->later[x])
            if (t->after[x] <= slot) look_at(s, which, x, count);
        s->looked[which] = slot;
    }
    for (uint32_t m = t->first[slot]; m < t->first[slot + 1]; m++) {
        if (t->micros[m].kind != MICRO_WRITE) continue;
        uint32_t v = s->current[t->micros[m].key];
        for (uint32_t r = s->r.readers_first[v]; s->pending[v] && r < s->r.readers_first[v + 1]; r++)
            if (s->r.readers[r] != slot) look_at(s, which, s->r.readers[r], count);
    }
}

static bool must_follow(struct scheduler *s, uint32_t txn, uint32_t on) {
    uint32_t count = 0;
    s->search[1]++;
    s->looked[1] = 0;
    look_at(s, 1, txn, &count);
    for (uint32_t i = 0; i < count && i < STEPS_MAX; i++) {
        if (s->ways[1][i] == on) return true;
        look_before(s, 1, s->ways[1][i], &count);
    }
    return false;
}

/* One that must come before a reader of the version that txn writes, and writes the key itself, other than over that
 * version; NONE. */
static uint32_t earlier_writer(struct scheduler *s, uint32_t txn, uint32_t key, uint32_t version) {
    const struct tables *t = s->t;
    uint32_t count = 0;
    s->search[0]++;
    s->looked[0] = 0;
    for (uint32_t r = s->r.readers_first[version]; r < s->r.readers_first[version + 1]; r++)
        look_at(s, 0, s->r.readers[r], &count);
    uint32_t readers = count;
    for (uint32_t i = 0; i < count && i < STEPS_MAX; i++) {
        uint32_t slot = s->ways[0][i];
        if (slot == txn) continue;
        if (i >= readers && slot < t->count && transaction_writes(t, slot, key) && !must_follow(s, slot, txn))
            return slot;
        look_before(s, 0, slot, &count);
    }
    return NONE;
}

/* Is there a writer of the key that is not placed, and that real time does not put behind this version? */
static bool has_rivals(struct scheduler *s, uint32_t txn, uint32_t key, uint32_t version) {
    const struct tables *t = s->t;
    uint32_t end = s->writes_first[key + 1], *at = &s->writes_at[key];
    while (*at < end && is_placed(s, t->writer[s->writes[*at]])) (*at)++;
    for (uint32_t i = *at; i < end; i++) {
        uint32_t v = s->writes[i], writer = t->writer[v];
        if (writer >= s->ended[version]) return false;
        if (writer != txn && s->begun[v] < s->ended[version] && !is_placed(s, writer)) return true;
    }
    return false;
}

/* Puts a blind writer off, if another must come before it. */
static bool defer(struct scheduler *s, uint32_t txn) {
    const struct tables *t = s->t;
    for (uint32_t m = t->first[txn]; m < t->first[txn + 1]; m++) {
        const struct micro *w = &t->micros[m];
        if (w->kind != MICRO_WRITE || !t->last_of_writer[w->version]) continue;
        if (!has_rivals(s, txn, w->key, w->version)) continue;
        uint32_t other = earlier_writer(s, txn, w->key, w->version);
        if (other == NONE) continue;
        s->behind[txn] = other;
        s->deferred_next[txn] = s->deferred[other];
        s->deferred[other] = txn;
        return true;
    }
    return false;
}

/* --- placing ------------------------------------------------------------------------------------------------------ */

static void make_ready(struct scheduler *s, uint32_t node) {
    const struct tables *t = s->t;
    if (node < t->count && t->happened[node] && transaction_is_blind(t, node)) {
        heap_push(&s->blind, (struct heap_item){s->due[node], node, node});
    } else {
        s->stack[s->stacked++] = node;
    }
}

static void wake(struct scheduler *s, uint32_t key) {
    if (s->pending[s->current[key]]) return;
    uint32_t txn = s->waiting[key];
    s->waiting[key] = NONE;
    while (txn != NONE) {
        uint32_t next = s->waiting_next[txn];
        make_ready(s, txn);
        txn = next;
    }
}

static void count_reads(struct scheduler *s, uint32_t txn, uint32_t by) {
    for (uint32_t i = s->t->first[txn]; i < s->t->first[txn + 1]; i++)
        if (s->t->micros[i].external) s->pending[s->t->micros[i].version] += by;
}

/* Places the transaction, or has it wait for a key. */
static bool place(struct scheduler *s, uint32_t txn) {
    const struct tables *t = s->t;
    for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++)
        if (t->micros[i].external && s->current[t->micros[i].key] != t->micros[i].version) return !(s->failed = true);
    count_reads(s, txn, UINT32_MAX);
    for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++) {
        uint32_t key = t->micros[i].key;
        if (t->micros[i].kind != MICRO_WRITE || s->pending[s->current[key]] == 0) continue;
        count_reads(s, txn, 1);
        s->waiting_next[txn] = s->waiting[key];
        s->waiting[key] = txn;
        return false;
    }
    for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++)
        if (t->micros[i].kind == MICRO_WRITE) s->current[t->micros[i].key] = t->micros[i].version;
    for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++) wake(s, t->micros[i].key);
    return true;
}

/* It is placed: those that were put off for it may be tried again. */
static void unlist(struct scheduler *s, uint32_t txn) {
    s->later[s->earlier[txn]] = s->later[txn];
    s->earlier[s->later[txn]] = s->earlier[txn];
    s->earlier[txn] = s->t->count + 1;
    for (uint32_t next, i = s->deferred[txn]; i != NONE; i = next) {
        next = s->deferred_next[i];
        s->behind[i] = NONE;
        make_ready(s, i);
    }
}

static void release_followers(struct scheduler *s, uint32_t node) {
    uint32_t at = 0;
    for (struct step e = view_step(&s->w, node, &at); e.node != NONE; e = view_step(&s->w, node, &at))
        if (--s->indegree[e.node] == 0) make_ready(s, e.node);
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static uint32_t *part(uint32_t **memory, uint64_t count) {
    uint32_t *at = *memory;
    *memory += count;
    return at;
}

static uint64_t scheduler_bytes(const struct scheduler *s) {
    uint64_t count = s->t->count + UINT64_C(1), slots = count + (s->g->nodes - s->g->hubs), versions = s->t->versions;
    return (2 * (uint64_t)s->g->nodes + 4 * (uint64_t)s->t->keys + 4 * versions + 8 * count + 4 * slots + 2) *
           sizeof(uint32_t);
}

static bool scheduler_allocate(struct scheduler *s) {
    uint64_t count = s->t->count + UINT64_C(1), slots = count + (s->g->nodes - s->g->hubs), bytes = scheduler_bytes(s);
    if (!budget_claim(s->t->budget, bytes)) return false;
    uint32_t *at = s->memory = xcalloc(bytes / sizeof *at, sizeof *at);
    s->indegree = part(&at, s->g->nodes);
    s->stack = part(&at, s->g->nodes);
    s->current = part(&at, s->t->keys);
    s->waiting = part(&at, s->t->keys);
    s->pending = part(&at, s->t->versions);
    s->ended = part(&at, s->t->versions);
    s->begun = part(&at, s->t->versions);
    s->writes = part(&at, s->t->versions - s->t->keys);
    s->writes_first = part(&at, s->t->keys + UINT64_C(2));
    s->writes_at = part(&at, s->t->keys);
    s->waiting_next = part(&at, count);
    s->due = part(&at, count);
    s->before_in_process = part(&at, count);
    s->earlier = part(&at, count);
    s->later = part(&at, count);
    s->behind = part(&at, count);
    s->deferred = part(&at, count);
    s->deferred_next = part(&at, count);
    for (uint32_t i = 0; i < 2; i++) {
        s->marks[i] = part(&at, slots);
        s->ways[i] = part(&at, slots);
    }
    assert(at <= s->memory + bytes / sizeof *at);
    return true;
}

static void touch(struct scheduler *s, uint32_t version, uint32_t txn) {
    uint32_t end = s->w.order < ORDER_REALTIME ? s->t->count : s->t->after[txn];
    if (end < s->ended[version]) s->ended[version] = end;
    if (txn > s->begun[version]) s->begun[version] = txn;
}

static void list_writes(struct scheduler *s) {
    const struct tables *t = s->t;
    for (uint32_t v = 0; v < t->versions; v++) s->ended[v] = t->count;
    for (uint32_t txn = 0; txn < t->count; txn++) {
        if (!t->happened[txn]) continue;
        for (uint32_t m = t->first[txn]; m < t->first[txn + 1]; m++) {
            if (t->micros[m].kind == MICRO_WRITE) s->writes_first[t->micros[m].key + 2]++;
            if (t->micros[m].kind == MICRO_WRITE || t->micros[m].external) touch(s, t->micros[m].version, txn);
        }
    }
    for (uint32_t k = 0; k <= t->keys; k++) s->writes_first[k + 1] += s->writes_first[k];
    for (uint32_t v = t->keys; v < t->versions; v++)
        if (tables_committed(t, v)) s->writes[s->writes_first[t->micros[t->written[v]].key + 1]++] = v;
    memcpy(s->writes_at, s->writes_first, t->keys * sizeof *s->writes_at);
}

static void list_transactions(struct scheduler *s) {
    const struct tables *t = s->t;
    uint32_t last = t->count;
    memset(s->before_in_process, 0xff, t->count * sizeof(uint32_t));
    memset(s->behind, 0xff, t->count * sizeof(uint32_t));
    memset(s->deferred, 0xff, t->count * sizeof(uint32_t));
    for (uint32_t txn = 0; txn < t->count; txn++) {
        s->earlier[txn] = t->count + 1;
        if (!t->happened[txn]) continue;
        if (t->next_in_process[txn] != NONE) s->before_in_process[t->next_in_process[txn]] = txn;
        s->earlier[txn] = last;
        s->later[last] = txn;
        last = txn;
    }
    s->later[last] = t->count;
}

static void scheduler_start(struct scheduler *s) {
    const struct tables *t = s->t;
    memset(s->waiting, 0xff, (size_t)t->keys * sizeof *s->waiting);
    for (uint32_t k = 0; k < t->keys; k++) s->current[k] = k;
    for (uint32_t node = 0; node < s->g->nodes; node++) {
        uint32_t at = 0;
        for (struct step e = view_step(&s->w, node, &at); e.node != NONE; e = view_step(&s->w, node, &at))
            s->indegree[e.node]++;
    }
    memcpy(s->due, t->after, (size_t)t->count * sizeof *s->due);
    for (uint32_t txn = 0; txn < t->count; txn++) {
        if (!t->happened[txn]) continue;
        count_reads(s, txn, 1);
        for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++) {
            uint32_t writer = t->micros[i].external ? t->writer[t->micros[i].version] : NONE;
            if (writer != NONE && t->after[txn] < s->due[writer]) s->due[writer] = t->after[txn];
        }
    }
    for (uint32_t node = 0; node < s->g->nodes; node++)
        if (s->indegree[node] == 0) make_ready(s, node);
}

enum decision schedule_serial(const struct tables *t, const struct graph *g, enum order order) {
    struct scheduler s = {.t = t, .g = g, .w = {.g = g, .kinds = KINDS_ALL, .order = order}};
    uint32_t left = 0;
    if (!scheduler_allocate(&s)) return UNDECIDED;
    if (!reverse_make(&s.r, g, order)) {
        budget_release(t->budget, scheduler_bytes(&s));
        free(s.memory);
        return UNDECIDED;
    }
    list_transactions(&s);
    list_writes(&s);
    scheduler_start(&s);
    for (uint32_t txn = 0; txn < t->count; txn++) left += t->happened[txn];
    while ((s.stacked || s.blind.count) && !s.failed && !budget_spent(t->budget)) {
        bool choice = s.stacked == 0;
        uint32_t node = choice ? (uint32_t)heap_pop(&s.blind).payload : s.stack[--s.stacked];
        bool counts = node < t->count && t->happened[node];
        if ((choice && defer(&s, node)) || (counts && !place(&s, node))) continue;
        if (counts) unlist(&s, node);
        left -= counts;
        release_followers(&s, node);
    }
    heap_free(&s.blind);
    reverse_free(&s.r, t->budget);
    budget_release(t->budget, scheduler_bytes(&s));
    free(s.memory);
    return left == 0 && !s.failed ? DECIDED_VALID : UNDECIDED;
}
