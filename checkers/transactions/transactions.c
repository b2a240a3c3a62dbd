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

static void conclude(struct tables *t, const struct graph *g, struct findings *f, uint32_t model,
                     const uint32_t *position, bool guessed, struct check_result *out) {
    size_t count;
    const char *name = consistency_names(&count)[model];
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

void check_transactions(const struct history *h, enum transactions_workload workload, const char *consistency,
                        const struct check_options *o, struct check_result *out) {
    bool lists = workload == TRANSACTIONS_LIST_APPEND, guessed = true;
    result_start(out, lists ? "list-append" : "rw-register");
    uint32_t model = consistency_find(consistency ? consistency : "strict-serializable");
    if (model == NONE) {
        result_set(out, VERDICT_UNKNOWN, "there is no consistency model \"%s\"", consistency);
        return;
    }
    if (!history_trusted(h, out)) return;
    struct budget budget = budget_of(o);
    struct tables t;
    struct graph g = {0};
    struct findings f = {0};
    uint32_t *position = NULL;
    enum order order = consistency_order(model);
    bool snapshots = consistency_needs_serial(model) || consistency_needs_snapshots(model);
    bool read = tables_read(&t, h, workload, true, &budget);
    bool done = read && (lists ? list_append_order(&t, &f, &guessed) : rw_register_order(&t, order, snapshots, &f));
    if (done && graph_make(&g, &t)) {
        cycles_find(&g, order, &f, &position);
        if (f.seen) lost_updates(&t, &f);
    }
    uint32_t ok = 0;
    for (uint32_t txn = 0; read && txn < t.count; txn++) ok += t.status[txn] == OP_OK;
    if (!read) {
        tables_unknown(&t, out);
    } else if (ok == 0) {
        result_set(out, VERDICT_UNKNOWN, "no transaction succeeded, so there is nothing to check");
    } else {
        conclude(&t, &g, &f, model, position, guessed, out);
    }
    free(position);
    findings_free(&f);
    graph_free(&g);
    tables_free(&t);
}
