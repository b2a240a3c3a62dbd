/* Violations of causal consistency in words: a cycle or a read, and the shortest way for each step that needs one. */
#include "checkers/transactions/causal.h"

#include <stdio.h>
#include <stdlib.h>

const char *causal_pattern_name(enum causal_pattern pattern) {
    static const char *const names[] = {
        [CYCLIC_CO] = "CyclicCO", [WRITE_CO_INIT_READ] = "WriteCOInitRead", [WRITE_CO_READ] = "WriteCORead",
        [CYCLIC_CF] = "CyclicCF", [WRITE_HB_INIT_READ] = "WriteHBInitRead", [CYCLIC_HB] = "CyclicHB",
        [CYCLIC_SC] = "CyclicSC",
    };
    return names[pattern];
}

struct told_step { /* from comes directly before to */
    uint32_t from, to;
    struct cause why;
};

struct causal_teller {
    const struct causal *s;
    struct told_step *steps;
    uint32_t steps_count, capacity;
    uint32_t *from; /* by transaction: the one towards `to` in the last search */
    struct cause *why;
    uint32_t *queue;
    uint8_t *seen, *explained;  /* by transaction; by extra */
    uint32_t *txns, txns_count; /* T1, T2, ... */
    struct buffer text;
};

static void add_step(struct causal_teller *x, uint32_t from, uint32_t to, struct cause why) {
    if (x->steps_count == x->capacity) {
        x->capacity = x->capacity ? 2 * x->capacity : 64;
        x->steps = xrealloc(x->steps, x->capacity * sizeof *x->steps);
    }
    x->steps[x->steps_count++] = (struct told_step){from, to, why};
}

/* Adds the steps of the shortest way, by extras below the limit only. A way from a transaction to itself is a cycle. */
static void add_way(struct causal_teller *x, uint32_t from, uint32_t to, uint32_t extras) {
    uint32_t head = 0, tail = 0, node = from;
    memset(x->seen, 0, x->s->t->count);
    x->queue[tail++] = to;
    while (head < tail && !x->seen[from]) {
        uint32_t behind = x->queue[head++], at = 0;
        for (struct cause c = causal_before(x->s, behind, &at); c.txn != NONE; c = causal_before(x->s, behind, &at)) {
            if (x->seen[c.txn] || (c.kind == CAUSE_CONFLICT && c.extra >= extras)) continue;
            x->seen[c.txn] = 1;
            x->from[c.txn] = behind;
            x->why[c.txn] = c;
            x->queue[tail++] = c.txn;
        }
    }
    if (!x->seen[from]) return;
    do {
        add_step(x, node, x->from[node], x->why[node]);
        node = x->from[node];
    } while (node != to);
}

/* The ways by which readers knew what they are said to have known. */
static void add_reasons(struct causal_teller *x, bool by_extras) {
    for (uint32_t i = 0; i < x->steps_count; i++) {
        struct cause why = x->steps[i].why;
        if (why.kind != CAUSE_CONFLICT || x->explained[why.extra]) continue;
        x->explained[why.extra] = 1;
        const struct causal_extra *e = &x->s->extras[why.extra];
        uint32_t source = x->s->t->writer[x->s->t->micros[e->micro].version];
        if (e->from != e->reader) add_way(x, e->from, e->reader, by_extras ? why.extra : 0);
        if (e->from == e->reader && source != NONE) add_way(x, source, e->to, why.extra);
    }
}

static uint32_t number_of(const struct causal_teller *x, uint32_t txn) {
    uint32_t i = 0;
    while (i < x->txns_count && x->txns[i] != txn) i++;
    return i + 1;
}

static void mention(struct causal_teller *x, uint32_t txn) {
    if (txn != NONE && number_of(x, txn) > x->txns_count) x->txns[x->txns_count++] = txn;
}

static void tell_read(struct causal_teller *x, uint32_t micro) {
    const struct tables *t = x->s->t;
    transactions_tell_key(t, t->micros[micro].key, &x->text);
    buffer_printf(&x->text, " ");
    if (t->micros[micro].version < t->keys) {
        buffer_printf(&x->text, "as it was at first");
    } else {
        buffer_printf(&x->text, "at ");
        print_value(t->h, t->micros[micro].value, &x->text);
    }
}

static void tell_step(struct causal_teller *x, const struct told_step *p, struct check_result *out) {
    static const char *const kinds[] = {[CAUSE_PROCESS] = "process", [CAUSE_READ] = "wr", [CAUSE_CONFLICT] = "ww"};
    const struct tables *t = x->s->t;
    uint32_t from = number_of(x, p->from), to = number_of(x, p->to);
    buffer_printf(&x->text, "  T%u before T%u: ", from, to);
    size_t begin = x->text.size;
    if (p->why.kind == CAUSE_PROCESS) {
        buffer_printf(&x->text, "process %u did T%u first", t->h->process[t->op[p->from]], from);
    } else if (p->why.kind == CAUSE_READ) {
        uint32_t i = t->first[p->to];
        while (!t->micros[i].external || t->writer[t->micros[i].version] != p->from) i++;
        buffer_printf(&x->text, "T%u read ", to);
        tell_read(x, i);
        buffer_printf(&x->text, ", which T%u wrote", from);
    } else {
        const struct causal_extra *e = &x->s->extras[p->why.extra];
        uint32_t reader = number_of(x, e->reader), source = t->writer[t->micros[e->micro].version];
        buffer_printf(&x->text, "T%u read ", reader);
        tell_read(x, e->micro);
        if (e->from == e->reader && source == NONE) {
            buffer_printf(&x->text, ", and T%u wrote it", to);
        } else if (e->from == e->reader) {
            buffer_printf(&x->text, ", which T%u wrote, and T%u, which is after T%u, wrote it, too",
                          number_of(x, source), to, number_of(x, source));
        } else {
            buffer_printf(&x->text, ", which T%u wrote, though T%u wrote it, too, and is before T%u", to, from, reader);
        }
    }
    result_edge(out, t->op[p->from], t->op[p->to], kinds[p->why.kind], buffer_text(&x->text) + begin);
    buffer_printf(&x->text, "\n");
}

static void tell_end(struct causal_teller *x, const struct causal_finding *f) {
    if (f->on != NONE) {
        buffer_printf(&x->text, "  So T%u would come before itself.\n", number_of(x, f->on));
        return;
    }
    buffer_printf(&x->text, "  But T%u read ", number_of(x, f->reader));
    tell_read(x, f->micro);
    buffer_printf(&x->text, ", though T%u, which is before it, wrote something else", number_of(x, f->older));
    if (f->source != NONE) buffer_printf(&x->text, ", and after T%u", number_of(x, f->source));
    buffer_printf(&x->text, ".\n");
}

static void collect(struct causal_teller *x, const struct causal_finding *f) {
    const struct causal *s = x->s;
    bool by_extras = f->pattern >= WRITE_HB_INIT_READ;
    if (f->on != NONE) {
        add_way(x, f->on, f->on, s->extras_count);
    } else {
        if (f->source != NONE) add_way(x, f->source, f->older, s->extras_count);
        add_way(x, f->older, f->reader, s->extras_count);
    }
    add_reasons(x, by_extras);
    x->txns = xmalloc((3 * (size_t)x->steps_count + 3) * sizeof *x->txns);
    for (uint32_t i = 0; i < x->steps_count; i++) {
        const struct told_step *p = &x->steps[i];
        mention(x, p->from);
        mention(x, p->to);
        if (p->why.kind == CAUSE_CONFLICT) mention(x, s->extras[p->why.extra].reader);
    }
    if (f->on != NONE) return;
    mention(x, f->source);
    mention(x, f->older);
    mention(x, f->reader);
}

void causal_explain(const struct causal *s, const struct causal_finding *f, struct check_result *out) {
    size_t count = (size_t)s->t->count + 1;
    struct causal_teller x = {.s = s};
    x.from = xmalloc(count * sizeof *x.from);
    x.why = xmalloc(count * sizeof *x.why);
    x.queue = xmalloc((count + 1) * sizeof *x.queue);
    x.seen = xmalloc(count);
    x.explained = xcalloc((size_t)s->extras_count + 1, 1);
    collect(&x, f);
    buffer_printf(&x.text, "%s:\n", causal_pattern_name(f->pattern));
    transactions_tell_list(s->t, x.txns, x.txns_count, &x.text);
    for (uint32_t i = 0; i < x.steps_count; i++) tell_step(&x, &x.steps[i], out);
    tell_end(&x, f);
    for (uint32_t i = 0; i < x.txns_count; i++) x.txns[i] = s->t->op[x.txns[i]];
    result_ops(out, x.txns, x.txns_count);
    result_explain(out, &x.text);
    free(x.from);
    free(x.why);
    free(x.queue);
    free(x.seen);
    free(x.explained);
    free(x.steps);
    free(x.txns);
}
