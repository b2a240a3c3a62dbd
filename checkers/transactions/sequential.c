/* What refutes sequential consistency of registers, in histories too large for all orders to be tried. In any one order
 * of all transactions: if a read saw a version, whatever else wrote the key comes before the writer of that version if
 * it comes before the read, and behind the read if it comes behind that writer. What follows is added to the order of
 * causes until nothing more follows (for one order of all this is the saturation of Biswas and Enea, OOPSLA 2019). If
 * that makes a cycle there is no order; if not, nothing is known. */
#include "checkers/transactions/causal.h"

/* The first write of the group that comes behind the source (NONE: behind the initial version); NONE. */
static uint32_t first_behind(const struct causal *s, uint32_t group, uint32_t source) {
    uint32_t low = s->groups[group], high = s->groups[group + 1], end = high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2, txn = s->writes[middle].txn;
        if (source == NONE || (txn != source && causal_knows(s, txn, source))) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low < end ? s->writes[low].txn : NONE;
}

static enum said put_writers_behind(struct causal *s, uint32_t reader) {
    const struct tables *t = s->t;
    enum said said = SAID_NOTHING;
    for (uint32_t i = t->first[reader]; i < t->first[reader + 1]; i++) {
        const struct micro *m = &t->micros[i];
        uint32_t group = m->external ? s->key_groups[m->key] : NONE;
        if (group == NONE) continue;
        for (; group < s->groups_count && s->writes[s->groups[group]].key == m->key; group++) {
            uint32_t behind = first_behind(s, group, t->writer[m->version]);
            if (behind == NONE || behind == reader || causal_knows(s, behind, reader)) continue;
            if (causal_add_extra(s, reader, behind, reader, i)) said = SAID_NEWS;
        }
    }
    return said;
}

static bool note_cycle(struct causal_finding *f, uint32_t on) {
    f->pattern = CYCLIC_SC;
    f->on = on;
    return true;
}

static bool is_refuted(struct causal *s, struct causal_finding *f) {
    const struct tables *t = s->t;
    enum said said = SAID_NEWS;
    while (said == SAID_NEWS && t->budget->state == BUDGET_LEFT) {
        uint32_t on;
        if (!causal_order_all(s, &on)) return on != NONE && note_cycle(f, on);
        said = SAID_NOTHING;
        for (uint32_t txn = 0; txn < t->count && !budget_spent(t->budget); txn++) {
            if (!t->happened[txn]) continue;
            enum said heard = causal_hear(s, txn, f);
            if (heard == SAID_WRONG) return note_cycle(f, NONE);
            if (heard == SAID_NEWS || put_writers_behind(s, txn) == SAID_NEWS) said = SAID_NEWS;
        }
    }
    return false;
}

bool sequential_refute(const struct tables *t, const char *name, struct check_result *out) {
    struct causal s = {.t = t};
    struct causal_finding f = {.on = NONE};
    uint64_t bytes = 0;
    bool refuted = causal_allocate(&s, &bytes) && is_refuted(&s, &f);
    if (refuted) {
        causal_explain(&s, &f, out);
        result_set(out, VERDICT_INVALID, "%s: not %s", causal_pattern_name(f.pattern), name);
    }
    causal_release(&s, bytes);
    return refuted;
}
