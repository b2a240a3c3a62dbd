/* The check of transactions: its steps, and the verdict. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

void lost_updates(struct tables *t, struct findings *f) {
    struct updater {
        uint32_t txn, micro;
    } * first;
    if (!budget_claim(t->budget, (uint64_t)t->versions * sizeof *first)) return;
    first = tables_alloc(t->versions, sizeof *first);
    memset(first, 0xff, (size_t)t->versions * sizeof *first);
    for (uint32_t txn = 0; txn < t->count; txn++) {
        if (t->status[txn] != OP_OK) continue;
        for (uint32_t i = t->first[txn]; i < t->first[txn + 1]; i++) {
            const struct micro *m = &t->micros[i];
            if (!m->rmw || m->version == VERSION_NONE) continue;
            if (first[m->version].txn == NONE) {
                first[m->version] = (struct updater){txn, i};
            } else if (first[m->version].txn != txn) {
                findings_note(f, LOST_UPDATE, first[m->version].txn, txn, i, VALUE_OF_NIL);
            }
        }
    }
    free(first);
    budget_release(t->budget, (uint64_t)t->versions * sizeof *first);
}

static void print_findings(const struct findings *f, struct buffer *out) {
    const char *separator = "";
    for (uint32_t a = 0; a < ANOMALIES_END; a++) {
        if (!(f->seen >> a & 1)) continue;
        buffer_printf(out, "%s", separator);
        anomaly_print(a, out);
        separator = ", ";
    }
}

void tables_unknown(const struct tables *t, struct check_result *out) {
    if (t->unfit) {
        result_set(out, VERDICT_UNKNOWN, "operation %u %s", t->unfit_op, t->unfit);
        result_ops(out, &t->unfit_op, 1);
    } else {
        result_set(out, VERDICT_UNKNOWN, "the %s allowed was spent",
                   t->budget->state == BUDGET_MEMORY_SPENT ? "memory" : "time");
    }
}

static void set_invalid(const struct tables *t, const struct findings *f, uint32_t model, uint32_t ruled_out,
                        struct check_result *out) {
    struct buffer what = {0};
    uint32_t gravest = 0;
    while (!(f->seen >> gravest & 1) || !(consistency_ruled_out(1u << gravest, t->workload) >> model & 1)) gravest++;
    print_findings(f, &what);
    buffer_printf(&what, ": ");
    consistency_bounds(ruled_out, &what);
    result_set(out, VERDICT_INVALID, "%s", buffer_text(&what));
    findings_explain(t, f, gravest, out);
    buffer_free(&what);
}

/* Every order was tried, so no single cycle is to blame: it takes all transactions. */
static void set_no_order(const struct tables *t, const char *name, struct check_result *out) {
    uint32_t *ops = xmalloc(((size_t)t->count + 1) * sizeof *ops), count = 0;
    struct buffer text = {0};
    for (uint32_t txn = 0; txn < t->count; txn++)
        if (t->happened[txn]) ops[count++] = t->op[txn];
    buffer_printf(&text, "No order of the %u transactions gives each what it read:\n", count);
    check_print_ops(t->h, ops, count, &text);
    result_set(out, VERDICT_INVALID, "not %s: no order of the transactions gives each what it read (all were tried)",
               name);
    result_ops(out, ops, count);
    result_explain(out, &text);
    free(ops);
}

static void set_valid(const struct tables *t, const struct findings *f, const char *name, uint32_t ruled_out,
                      struct check_result *out) {
    struct buffer more = {0};
    uint32_t happened = 0;
    for (uint32_t txn = 0; txn < t->count; txn++) happened += t->happened[txn];
    if (ruled_out) {
        buffer_printf(&more, "; but ");
        print_findings(f, &more);
        buffer_printf(&more, ": ");
        consistency_bounds(ruled_out, &more);
    }
    result_set(out, VERDICT_VALID, "%s: %u transactions, %u keys%s", name, happened, t->keys, buffer_text(&more));
    buffer_free(&more);
}

/* Nothing that the model forbids was found. Does the model hold? */
static enum decision certify(struct tables *t, const struct graph *g, struct findings *f, uint32_t model,
                             const uint32_t *position, bool guessed) {
    bool lists = t->workload == TRANSACTIONS_LIST_APPEND, cycles = f->seen >> CYCLES_FIRST != 0;
    enum order order = consistency_order(model);
    if (f->seen >> INCOMPATIBLE_ORDER & 1) return UNDECIDED;
    if (consistency_needs_serial(model)) return lists ? DECIDED_VALID : certify_serial(t, g, order, position, f);
    if (!consistency_needs_snapshots(model) || (lists && (!guessed || !cycles))) return DECIDED_VALID;
    return certify_snapshots(t, g, order);
}

static void conclude(struct tables *t, const struct graph *g, struct findings *f, const char *name,
                     const uint32_t *position, bool guessed, struct check_result *out) {
    uint32_t model = consistency_find(name);
    uint32_t ruled_out = consistency_ruled_out(f->seen, t->workload);
    if (ruled_out >> model & 1) {
        set_invalid(t, f, model, ruled_out, out);
        return;
    }
    enum decision d = t->budget->state == BUDGET_LEFT ? certify(t, g, f, model, position, guessed) : UNDECIDED;
    if (d == DECIDED_INVALID && f->seen) ruled_out = consistency_ruled_out(f->seen, t->workload);
    if (d == DECIDED_INVALID && ruled_out >> model & 1) {
        set_invalid(t, f, model, ruled_out, out);
    } else if (t->budget->state != BUDGET_LEFT) {
        tables_unknown(t, out);
    } else if (d == DECIDED_VALID) {
        set_valid(t, f, name, ruled_out, out);
    } else if (d == DECIDED_INVALID) {
        set_no_order(t, name, out);
    } else {
        result_set(out, VERDICT_UNKNOWN,
                   "no violation of %s was found, but no order of the versions that would prove it either", name);
    }
}

/* By the graph of dependencies. */
static void judge_by_graph(struct tables *t, struct findings *f, const char *name, bool guessed, bool done,
                           struct pairs *updates, struct check_result *out) {
    uint32_t model = consistency_find(name), *position = NULL;
    bool snapshots = consistency_needs_serial(model) || consistency_needs_snapshots(model);
    enum order order = consistency_order(model);
    struct graph g = {0};
    if (done && t->workload == TRANSACTIONS_RW_REGISTER) done = rw_register_order(t, order, snapshots, updates);
    pairs_free(updates);
    if (done && graph_make(&g, t)) {
        cycles_find(&g, order, f, &position);
        if (f->seen) lost_updates(t, f);
    }
    conclude(t, &g, f, name, position, guessed, out);
    bool sequential =
        order == ORDER_PROCESS && consistency_needs_serial(model) && t->workload != TRANSACTIONS_LIST_APPEND;
    if (out->verdict == VERDICT_UNKNOWN && sequential && t->budget->state == BUDGET_LEFT)
        sequential_refute(t, name, out);
    free(position);
    graph_free(&g);
}

static void judge_causal(const struct tables *t, const struct findings *f, const char *name, struct check_result *out) {
    uint32_t gravest = 0;
    if (t->budget->state != BUDGET_LEFT) {
        tables_unknown(t, out);
    } else if (f->seen == 0) {
        causal_judge(t, (enum causal_kind)causal_find(name), out);
    } else {
        struct buffer what = {0};
        while (!(f->seen >> gravest & 1)) gravest++;
        print_findings(f, &what);
        result_set(out, VERDICT_INVALID, "%s: not %s", buffer_text(&what), name);
        findings_explain(t, f, gravest, out);
        buffer_free(&what);
    }
}

static bool nothing_succeeded(const struct tables *t) {
    for (uint32_t txn = 0; txn < t->count; txn++)
        if (t->status[txn] == OP_OK) return false;
    return true;
}

static void judge_tables(struct tables *t, const char *name, struct check_result *out) {
    bool lists = t->workload == TRANSACTIONS_LIST_APPEND, guessed = true;
    struct findings f = {0};
    struct pairs updates = {.budget = t->budget};
    bool done = lists ? list_append_order(t, &f, &guessed) : rw_register_reads(t, &f, &updates);
    if (nothing_succeeded(t)) {
        result_set(out, VERDICT_UNKNOWN, "no transaction succeeded, so there is nothing to check");
    } else if (done && !f.seen && witness_find(t)) {
        set_valid(t, &f, name, 0, out);
    } else if (consistency_find(name) == NONE) {
        judge_causal(t, &f, name, out);
    } else {
        judge_by_graph(t, &f, name, guessed, done, &updates, out);
    }
    pairs_free(&updates);
    findings_free(&f);
}

struct question {
    enum transactions_workload workload;
    const char *consistency;
};

static void judge_transactions(const void *what, const struct history *h, const struct check_options *o,
                               struct check_result *out) {
    const struct question *question = what;
    const char *name = question->consistency ? question->consistency : "strict-serializable";
    bool lists = question->workload == TRANSACTIONS_LIST_APPEND;
    result_start(out, lists ? "list-append" : "rw-register");
    if (!consistency_known(name)) {
        result_set(out, VERDICT_UNKNOWN, "there is no consistency model \"%s\"", name);
        return;
    }
    if (lists && consistency_find(name) == NONE) {
        result_set(out, VERDICT_UNKNOWN, "%s is judged of registers, not of lists", name);
        return;
    }
    if (!history_trusted(h, out)) return;
    struct budget budget = budget_of(o);
    struct tables t;
    if (tables_read(&t, h, question->workload, true, &budget)) {
        judge_tables(&t, name, out);
    } else {
        tables_unknown(&t, out);
    }
    tables_free(&t);
}

void check_transactions(const struct history *h, enum transactions_workload workload, const char *consistency,
                        const struct check_options *o, struct check_result *out) {
    const struct question question = {workload, consistency};
    const struct evidence e = {.check = judge_transactions, .what = &question, .words = KEEP_DETAIL};
    check_with_evidence(h, &e, o, out);
}
