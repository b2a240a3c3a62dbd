/* The evidence of an invalid verdict: asks a check about parts of its history, until no operation can be spared, has it
 * tell of those that are left, and adds how far any order of them gets. */
#include "checkers/evidence_internal.h"

#include <stdlib.h>

#include "base/clock.h"

/* --- asking again ------------------------------------------------------------------------------------------------- */

struct asked {
    const struct evidence *evidence;
    struct check_options options;
};

static enum verdict ask(void *context, const struct history *part, uint64_t limit_ns) {
    struct asked *a = context;
    struct check_result r;
    a->options.deadline_ms = limit_ns / NS_PER_MS + 1;
    a->evidence->check(a->evidence->what, part, &a->options, &r);
    enum verdict verdict = r.verdict;
    check_result_free(&r);
    return verdict;
}

static struct asked asked_of(const struct evidence *e, const struct check_options *o) {
    struct asked a = {.evidence = e};
    if (o) a.options = *o;
    a.options.verdict_only = true;
    return a;
}

/* The few operations of a history, under their numbers; all others failed and say nothing. */
static struct history masked(const struct history *h, const uint32_t *ops, uint32_t count) {
    struct history m = *h;
    m.status = xmalloc_large(h->count * sizeof *m.status);
    m.f = xmalloc_large(h->count * sizeof *m.f);
    m.argument = xmalloc_large(h->count * sizeof *m.argument);
    m.result = xmalloc_large(h->count * sizeof *m.result);
    for (uint32_t op = 0; op < h->count; op++) {
        m.status[op] = OP_FAIL;
        m.f[op] = OP_READ;
        m.argument[op] = m.result[op] = VALUE_OF_NIL;
    }
    for (uint32_t i = 0; i < count; i++) {
        m.status[ops[i]] = h->status[ops[i]];
        m.f[ops[i]] = h->f[ops[i]];
        m.argument[ops[i]] = h->argument[ops[i]];
        m.result[ops[i]] = h->result[ops[i]];
    }
    return m;
}

#define MASKED_BYTES_PER_OP (sizeof(uint8_t) + sizeof(uint16_t) + 2 * sizeof(struct value))

/* Has the check tell of those operations alone, if the budget allows it. */
static void tell_again(const struct history *h, const struct evidence *e, const struct asked *a,
                       struct check_result *out, struct budget *b) {
    struct check_options o = a->options;
    struct check_result r;
    uint64_t now = monotonic_ns(), bytes = h->count * MASKED_BYTES_PER_OP;
    if (now >= b->deadline_ns || !budget_claim(b, bytes)) return;
    o.verdict_only = false;
    o.deadline_ms = (b->deadline_ns - now) / NS_PER_MS + 1;
    o.memory_bytes_max = b->memory_bytes_max - b->memory_bytes;
    struct history part = masked(h, out->ops, out->ops_count);
    e->check(e->what, &part, &o, &r);
    free(part.status);
    free(part.f);
    free(part.argument);
    free(part.result);
    if (r.verdict == VERDICT_INVALID && r.explanation) {
        struct check_result told = *out;
        out->explanation = r.explanation;
        out->picture = r.picture;
        r.explanation = told.explanation;
        r.picture = told.picture;
        if (e->words == TELL_ANEW) {
            out->detail = r.detail;
            r.detail = told.detail;
        }
    }
    check_result_free(&r);
}

/* --- the evidence ------------------------------------------------------------------------------------------------- */

#define OPS_TO_START_FROM_MAX 256u /* where what a check names is not invalid by itself, the whole is cut down */

/* From what the check names and what explains it, if that is a counterexample by itself; else from the whole, if it is
 * small. True if the operations are others than those. */
static bool cut_down(const struct history *h, const struct judge *judge, struct check_result *out, struct budget *b) {
    bool small = h->count <= OPS_TO_START_FROM_MAX, found = false, others = false;
    uint32_t named = out->ops_count, count = named;
    uint32_t *ops = xmalloc((small ? h->count + (size_t)named : named + (size_t)1) * sizeof *ops);
    if (named) memcpy(ops, out->ops, named * sizeof *ops);
    if (named && small) count = add_explanations(h, judge, ops, count, b);
    if (named) {
        others = count > named;
        uint32_t before = count;
        found = minimize_ops(h, judge, out, ops, &count, &out->maybe_fewer, b);
        others |= count < before;
    }
    if (!found) out->maybe_fewer = true;
    if (!found && small) {
        others = true;
        count = h->count;
        for (uint32_t op = 0; op < count; op++) ops[op] = op;
        found = minimize_ops(h, judge, out, ops, &count, &out->maybe_fewer, b);
    }
    if (found) result_ops(out, ops, count);
    free(ops);
    return found && others;
}

static void add_text(struct check_result *out, const struct buffer *text) {
    struct buffer all = {0};
    if (out->explanation) buffer_printf(&all, "%s", out->explanation);
    buffer_append(&all, text->data, text->size);
    result_explain(out, &all);
}

#define CAS_NOTE                                                                                                       \
    "\nWhere nothing above had written what a cas expected, the cas counts as a mere write: that suffices.\n"

static void show_orders(const struct history *h, const struct evidence *e, struct check_result *out,
                        struct buffer *text) {
    struct object *object = object_make(e->object, e->model, h);
    if (!object) return;
    const struct step_model *m = object_steps(object);
    struct error ignored;
    uint32_t initial;
    if (m->initial(m->context, 0, 0, &initial, &ignored) == 0) picture_orders(out, h, m, initial);
    picture_print(out->picture, h, m, text);
    object_free(object);
}

void check_with_evidence(const struct history *h, const struct evidence *e, const struct check_options *o,
                         struct check_result *out) {
    struct budget whole = budget_of(o);
    e->check(e->what, h, o, out);
    if (out->verdict != VERDICT_INVALID || (o && o->verdict_only)) return;
    struct asked a = asked_of(e, o);
    const struct judge judge = {ask, &a};
    struct budget b = budget_to_explain(&whole);
    struct buffer text = {0};
    bool complete = expected_complete(h, out);
    struct history shown = complete ? *h : expected_dropped(h, out->ops, out->ops_count);
    bool cut = cut_down(&shown, &judge, out, &b);
    if (cut && complete && e->words != KEEP_WORDS) tell_again(h, e, &a, out, &b);
    if (!complete) buffer_printf(&text, CAS_NOTE);
    if (out->maybe_fewer) buffer_printf(&text, "\nPerhaps fewer operations would do: not all was tried.\n");
    if (e->object) show_orders(&shown, e, out, &text);
    if (!complete) {
        free(shown.f);
        free(shown.argument);
    }
    if (text.size) add_text(out, &text);
    buffer_free(&text);
}
