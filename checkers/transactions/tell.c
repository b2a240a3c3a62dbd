/* Anomalies in words. */
#include "checkers/transactions/internal.h"

#include <stdio.h>
#include <stdlib.h>

#define CYCLE_TOLD_MAX 12u
#define MICROS_TOLD_MAX 16u

struct teller {
    const struct tables *t;
    const uint32_t *txns; /* T1, T2, ... */
    uint32_t count;
    struct buffer text;
    struct check_result *out; /* gets the edges of a cycle */
};

void transactions_tell_key(const struct tables *t, uint32_t key, struct buffer *out) {
    struct value v = t->key_value[key];
    if (v.kind == VALUE_STRING) {
        print_text(t->h, v.string, out);
    } else {
        print_value(t->h, v, out);
    }
}

static void tell_key(struct teller *s, uint32_t key) {
    transactions_tell_key(s->t, key, &s->text);
}

static void tell_micro(struct teller *s, const struct micro *m) {
    bool lists = s->t->workload == TRANSACTIONS_LIST_APPEND;
    buffer_printf(&s->text, m->kind == MICRO_READ ? "r " : lists ? "append " : "w ");
    tell_key(s, m->key);
    buffer_printf(&s->text, " ");
    if (m->kind == MICRO_READ && !m->known) {
        buffer_printf(&s->text, "?");
    } else {
        print_value(s->t->h, m->value, &s->text);
    }
}

static void tell_transactions(struct teller *s) {
    const struct tables *t = s->t;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t txn = s->txns[i], op = t->op[txn];
        static const char *const states[] = {"", "", " (failed)", " (outcome unknown)"};
        buffer_printf(&s->text, "  T%u = operation %u of process %u%s: ", i + 1, op, t->h->process[op],
                      states[t->status[txn]]);
        for (uint32_t m = t->first[txn]; m < t->first[txn + 1]; m++) {
            if (m - t->first[txn] == MICROS_TOLD_MAX) {
                buffer_printf(&s->text, ", and %u more", t->first[txn + 1] - m);
                break;
            }
            if (m > t->first[txn]) buffer_printf(&s->text, ", ");
            tell_micro(s, &t->micros[m]);
        }
        buffer_printf(&s->text, "\n");
    }
}

void transactions_tell_list(const struct tables *t, const uint32_t *txns, uint32_t count, struct buffer *out) {
    struct teller s = {.t = t, .txns = txns, .count = count, .text = *out};
    tell_transactions(&s);
    *out = s.text;
}

/* --- edges -------------------------------------------------------------------------------------------------------- */

/* The first version behind v that b wrote; VERSION_NONE. */
static uint32_t followed_by(const struct tables *t, uint32_t v, uint32_t b) {
    for (uint32_t n = t->next_first[v]; n < t->next_first[v + 1]; n++)
        if (t->writer[NEXT_VERSION(t->next[n])] == b) return t->next[n];
    return VERSION_NONE;
}

static struct value value_of(const struct tables *t, uint32_t version) {
    return version < t->keys ? VALUE_OF_NIL : t->micros[t->written[version]].value;
}

static void tell_version(struct teller *s, uint32_t version) {
    if (version < s->t->keys) {
        buffer_printf(&s->text, "as it was at first");
    } else {
        print_value(s->t->h, value_of(s->t, version), &s->text);
    }
}

/* Of those who wrote or read the version, the one that ended first and the one that began last; NONE. */
static void find_touches(const struct tables *t, uint32_t version, uint32_t *ended, uint32_t *began) {
    *ended = *began = NONE;
    for (uint32_t txn = 0; txn < t->count; txn++) {
        for (uint32_t i = t->first[txn]; i < t->first[txn + 1] && t->happened[txn]; i++) {
            const struct micro *m = &t->micros[i];
            if (m->version != version || (m->kind == MICRO_READ && !m->external)) continue;
            if (*ended == NONE || t->after[txn] < t->after[*ended]) *ended = txn;
            *began = txn;
        }
    }
}

/* How it is known that the version next comes after v, where neither says so itself. */
static void tell_inferred(struct teller *s, uint32_t v, uint32_t next) {
    const struct tables *t = s->t;
    uint32_t ended, began, other;
    if (t->from_serial) {
        buffer_printf(&s->text, " (in that order, as follows from what depends on them)");
        return;
    }
    if (next >> ORDER_SHIFT != ORDER_REALTIME) return;
    find_touches(t, v, &ended, &other);
    find_touches(t, NEXT_VERSION(next), &other, &began);
    if (ended == NONE || began == NONE) return;
    buffer_printf(&s->text, " (in that order: operation %u, which had ", t->op[ended]);
    tell_version(s, v);
    buffer_printf(&s->text, ", ended before operation %u began, which had ", t->op[began]);
    tell_version(s, NEXT_VERSION(next));
    buffer_printf(&s->text, ")");
}

static bool tell_ww(struct teller *s, uint32_t a, uint32_t b, const char *from, const char *to) {
    const struct tables *t = s->t;
    bool lists = t->workload == TRANSACTIONS_LIST_APPEND;
    for (uint32_t i = t->first[a]; i < t->first[a + 1]; i++) {
        if (t->micros[i].kind != MICRO_WRITE) continue;
        uint32_t v = t->micros[i].version, next = followed_by(t, v, b);
        if (next == VERSION_NONE) continue;
        buffer_printf(&s->text, "%s %s ", from, lists ? "appended" : "wrote");
        tell_version(s, v);
        buffer_printf(&s->text, " to ");
        tell_key(s, t->micros[i].key);
        buffer_printf(&s->text, ", and %s %s ", to, lists ? "appended" : "overwrote it with");
        tell_version(s, NEXT_VERSION(next));
        buffer_printf(&s->text, lists ? " after it" : "");
        tell_inferred(s, v, next);
        return true;
    }
    return false;
}

static bool tell_wr(struct teller *s, uint32_t a, uint32_t b, const char *from, const char *to) {
    const struct tables *t = s->t;
    for (uint32_t i = t->first[b]; i < t->first[b + 1]; i++) {
        const struct micro *m = &t->micros[i];
        if (!m->external || m->version == VERSION_NONE || t->writer[m->version] != a) continue;
        bool lists = t->workload == TRANSACTIONS_LIST_APPEND;
        buffer_printf(&s->text, "%s %s ", from, lists ? "appended" : "wrote");
        tell_version(s, m->version);
        buffer_printf(&s->text, " to ");
        tell_key(s, m->key);
        buffer_printf(&s->text, ", and %s read it", to);
        return true;
    }
    return false;
}

static bool tell_rw(struct teller *s, uint32_t a, uint32_t b, const char *from, const char *to) {
    const struct tables *t = s->t;
    bool lists = t->workload == TRANSACTIONS_LIST_APPEND;
    for (uint32_t i = t->first[a]; i < t->first[a + 1]; i++) {
        const struct micro *m = &t->micros[i];
        if (!m->external || m->version == VERSION_NONE) continue;
        uint32_t next = followed_by(t, m->version, b);
        if (next == VERSION_NONE) continue;
        buffer_printf(&s->text, "%s read ", from);
        tell_key(s, m->key);
        buffer_printf(&s->text, m->version < t->keys ? " " : lists ? " up to " : " at ");
        tell_version(s, m->version);
        buffer_printf(&s->text, ", and %s %s ", to, lists ? "appended" : "wrote");
        tell_version(s, NEXT_VERSION(next));
        buffer_printf(&s->text, ", which %s did not see", from);
        tell_inferred(s, m->version, next);
        return true;
    }
    return false;
}

static void tell_edge(struct teller *s, uint32_t i, uint32_t kind) {
    const struct tables *t = s->t;
    uint32_t j = (i + 1) % s->count, a = s->txns[i], b = s->txns[j];
    char from[16], to[16];
    snprintf(from, sizeof from, "T%u", i + 1);
    snprintf(to, sizeof to, "T%u", j + 1);
    buffer_printf(&s->text, "  %s before %s: ", from, to);
    size_t begin = s->text.size;
    bool told = kind == EDGE_WW   ? tell_ww(s, a, b, from, to)
                : kind == EDGE_WR ? tell_wr(s, a, b, from, to)
                : kind == EDGE_RW ? tell_rw(s, a, b, from, to)
                                  : false;
    if (!told && kind == EDGE_REALTIME) {
        buffer_printf(&s->text, "%s had ended ", from);
        print_duration(t->h->invoke_ns[t->op[b]] - t->h->complete_ns[t->op[a]], &s->text);
        buffer_printf(&s->text, " before %s began", to);
    } else if (!told) {
        buffer_printf(&s->text, "process %u did %s first", t->h->process[t->op[a]], from);
    }
    static const char *const kinds[] = {
        [EDGE_WW] = "ww", [EDGE_WR] = "wr", [EDGE_RW] = "rw", [EDGE_PROCESS] = "process", [EDGE_REALTIME] = "realtime"};
    result_edge(s->out, t->op[a], t->op[b], kinds[kind], buffer_text(&s->text) + begin);
    buffer_printf(&s->text, "\n");
}

static void tell_cycle(struct teller *s, const struct finding *f) {
    for (uint32_t i = 0; i < s->count; i++) {
        if (i == CYCLE_TOLD_MAX && s->count > CYCLE_TOLD_MAX + 1) {
            buffer_printf(&s->text, "  ... and so on over %u more, back to T1\n", s->count - i);
            break;
        }
        tell_edge(s, i, f->kinds[i]);
    }
    buffer_printf(&s->text, "  So T1 would come before itself.\n");
}

/* --- what is no cycle --------------------------------------------------------------------------------------------- */

static void tell_plain(struct teller *s, uint32_t anomaly, const struct finding *f) {
    const struct history *h = s->t->h;
    struct buffer *out = &s->text;
    buffer_printf(out, "  Of ");
    tell_key(s, s->t->micros[f->micro].key);
    buffer_printf(out, ": ");
    switch (anomaly) {
    case DUPLICATE_ELEMENTS:
        buffer_printf(out, "T1 read ");
        print_value(h, f->value, out);
        buffer_printf(out, " twice in one list");
        break;
    case GARBAGE_READ:
        buffer_printf(out, "T1 read ");
        print_value(h, f->value, out);
        buffer_printf(out, ", which nobody wrote");
        break;
    case TORN_WRITES:
        buffer_printf(out, "T1 read ");
        print_value(h, f->value, out);
        buffer_printf(out, " without what T2 had appended before it");
        break;
    case G1A:
        buffer_printf(out, "T1 read ");
        print_value(h, f->value, out);
        buffer_printf(out, ", which T2 wrote, and T2 failed");
        break;
    case DIRTY_UPDATE:
        buffer_printf(out, "T1 wrote on top of ");
        print_value(h, f->value, out);
        buffer_printf(out, ", which T2 wrote, and T2 failed");
        break;
    case G1B:
        buffer_printf(out, "T1 read the state after ");
        print_value(h, f->value, out);
        buffer_printf(out, ", but T2, which wrote that, wrote once more");
        break;
    case INCOMPATIBLE_ORDER: buffer_printf(out, "neither of the two lists begins with the other"); break;
    case LOST_UPDATE: buffer_printf(out, "both read the same version, and both overwrote it"); break;
    default:
        buffer_printf(out, "T1 read ");
        print_value(h, f->value, out);
        buffer_printf(out, ", which is not what it had itself read and written before");
        break;
    }
    buffer_printf(out, "\n");
}

void findings_explain(const struct tables *t, const struct findings *f, uint32_t anomaly, struct check_result *out) {
    const struct finding *n = &f->of[anomaly];
    struct teller s = {
        .t = t, .out = out, .txns = n->txns, .count = n->txns[1] == NONE || n->txns[1] == n->txns[0] ? 1 : 2};
    if (n->cycle) {
        s.txns = n->cycle;
        s.count = n->length;
    }
    anomaly_print(anomaly, &s.text);
    buffer_printf(&s.text, ":\n");
    uint32_t all = s.count;
    if (all > CYCLE_TOLD_MAX + 1) s.count = CYCLE_TOLD_MAX + 1;
    tell_transactions(&s);
    s.count = all;
    if (n->cycle) {
        tell_cycle(&s, n);
    } else {
        tell_plain(&s, anomaly, n);
    }
    uint32_t *ops = xmalloc(all * sizeof *ops);
    for (uint32_t i = 0; i < all; i++) ops[i] = t->op[s.txns[i]];
    result_ops(out, ops, all);
    free(ops);
    result_explain(out, &s.text);
}
