/* check_steps: linearizability by a model of the user's own, one object after the other, smallest first. An object that
 * needs more than its share of the budget is put off until the others are done. What an invalid verdict shows: the
 * search found that no order gets past some return, so it goes again up to an order that gets there, and asks the model
 * what it makes of each operation that could come next. */
#include "checkers/steps_internal.h"

#include <stdlib.h>

#include "base/clock.h"

struct object {
    uint32_t number; /* the model's, or the key's intern id + 1 */
    uint32_t begin, count;
    bool put_off;
};

struct steps {
    const struct history *h;
    const struct step_model *model;
    struct check_result *out;
    struct budget budget;
    struct step_memo memo;
    struct step_search search;
    bool verdict_only;
    uint32_t *ops; /* of one object after the other */
    struct object *objects;
    uint32_t objects_count, valid_count;
    uint32_t calls_capacity;
    uint64_t calls_bytes; /* claimed */
    /* The first that stayed undecided. */
    const struct object *undecided;
    uint32_t undecided_count, undecided_returns, undecided_progress;
    enum budget_state undecided_state;
};

/* --- objects ------------------------------------------------------------------------------------------------------ */

/* Turns sizes into the places where each begins, when they stand one after the other. */
static void begin_from_sizes(uint32_t *sizes, uint32_t count) {
    uint32_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = sizes[i];
        sizes[i] = total;
        total += size;
    }
}

/* The object of each operation; one more than the greatest in *end. */
static bool number_ops(struct steps *s, uint32_t *number, uint32_t *end) {
    const struct step_model *m = s->model;
    const struct history *h = s->h;
    *end = 0;
    for (uint32_t op = 0; op < h->count; op++) {
        number[op] = h->key[op] + 1;
        if (budget_spent(&s->budget) || !steps_memo_claim(&s->memo, 0)) return false;
        if (m->partition && m->partition(m->context, h, op, &number[op], &s->memo.error)) {
            s->memo.failed = true;
            s->memo.failed_op = op;
            return false;
        }
        if (number[op] >= *end) *end = number[op] + 1;
    }
    return true;
}

/* Objects from the smallest on; `begin` is memory for so many words as there are operations, and one more. */
static void sort_objects(struct steps *s, const struct object *unsorted, uint32_t *begin) {
    memset(begin, 0, ((size_t)s->h->count + 1) * sizeof *begin);
    for (uint32_t i = 0; i < s->objects_count; i++) begin[unsorted[i].count]++;
    begin_from_sizes(begin, s->h->count + 1);
    for (uint32_t i = 0; i < s->objects_count; i++) s->objects[begin[unsorted[i].count]++] = unsorted[i];
}

static void group_ops(struct steps *s, const uint32_t *number, uint32_t end) {
    uint32_t count = s->h->count, *begin = xcalloc((end > count ? end : count) + (size_t)1, sizeof *begin);
    for (uint32_t op = 0; op < count; op++) begin[number[op]]++;
    for (uint32_t i = 0; i < end; i++) s->objects_count += begin[i] > 0;
    struct object *unsorted = xmalloc(s->objects_count * sizeof *unsorted);
    s->objects = xmalloc(s->objects_count * sizeof *s->objects);
    struct object *o = unsorted;
    uint32_t total = 0;
    for (uint32_t i = 0; i < end; i++) {
        if (begin[i]) *o++ = (struct object){.number = i, .begin = total, .count = begin[i]};
        total += begin[i];
    }
    begin_from_sizes(begin, end);
    for (uint32_t op = 0; op < count; op++) s->ops[begin[number[op]]++] = op;
    sort_objects(s, unsorted, begin);
    free(unsorted);
    free(begin);
}

static bool find_objects(struct steps *s) {
    uint64_t count = s->h->count, fixed = count * (sizeof *s->ops + sizeof *s->objects), end_max = s->h->strings.count;
    uint64_t passing = count * (3 * sizeof(uint32_t) + sizeof *s->objects) + end_max * sizeof(uint32_t);
    if (!budget_claim(&s->budget, fixed + passing)) return false;
    uint32_t *number = xmalloc(count * sizeof *number), end;
    s->ops = xmalloc(count * sizeof *s->ops);
    bool numbered = number_ops(s, number, &end);
    if (numbered) group_ops(s, number, end);
    free(number);
    budget_release(&s->budget, passing);
    return numbered;
}

/* What failed without seeing anything did not happen; but it was an event, and goes only when the order is known. */
static bool take_calls(struct steps *s, const uint32_t *ops, uint32_t count, uint32_t *moved) {
    struct step_search *k = &s->search;
    size_t stride = sizeof *k->calls / sizeof(uint32_t);
    k->count = 0;
    k->returns_count = order_events_into(s->h, ops, count, &k->calls->invoked, &k->calls->returned, stride, k->returns);
    for (uint32_t i = 0; i < count; i++) {
        struct step_call c = k->calls[i];
        moved[i] = k->count;
        if (s->h->status[ops[i]] == OP_FAIL && c.returned == NONE) continue;
        c.op = ops[i];
        c.class = steps_class(&s->memo, ops[i]);
        if (c.class == NONE) return false;
        k->calls[k->count++] = c;
    }
    for (uint32_t i = 0; i < k->returns_count; i++) k->returns[i] = moved[k->returns[i]];
    return true;
}

/* False: the budget is spent. */
static bool take_object(struct steps *s, const struct object *o, struct budget *b) {
    struct step_search *k = &s->search;
    uint64_t passing = (uint64_t)o->count * sizeof(uint32_t) + ORDER_SCRATCH_WORDS(o->count) * sizeof(uint32_t);
    s->memo.budget = b;
    k->count = k->returns_count = k->first_max = 0;
    if (b->state != BUDGET_LEFT) return false;
    if (s->calls_capacity < o->count) {
        uint64_t bytes = o->count * (sizeof *k->calls + sizeof *k->returns);
        if (!budget_claim_up_to(b, &s->calls_bytes, bytes)) return false;
        s->calls_capacity = o->count;
        k->calls = xrealloc(k->calls, o->count * sizeof *k->calls);
        k->returns = xrealloc(k->returns, o->count * sizeof *k->returns);
    }
    if (!budget_claim(b, passing)) return false;
    uint32_t *moved = xmalloc(o->count * sizeof *moved);
    bool taken = take_calls(s, s->ops + o->begin, o->count, moved);
    free(moved);
    budget_release(b, passing);
    return taken;
}

/* --- words -------------------------------------------------------------------------------------------------------- */

static void print_call(const struct steps *s, uint32_t op, struct buffer *out) {
    if (s->model->describe) {
        s->model->describe(s->model->context, s->h, op, out);
    } else {
        print_op(s->h, op, out);
    }
}

/* With a partition of the model's own, an object is known by its first operation. */
static void print_object(const struct steps *s, const struct object *o, struct buffer *out) {
    if (s->objects_count == 1 && (s->model->partition || o->number == 0)) {
        buffer_printf(out, "the history");
    } else if (!s->model->partition) {
        print_key(s->h, o->number - 1, out);
    } else {
        buffer_printf(out, "the object of operation %u", s->ops[o->begin]);
    }
}

#define ORDER_SHOWN_MAX 12u /* operations of the order; the last of them */
#define NEXT_SHOWN_MAX 32u  /* operations that could come next */
#define STATE_COLUMN 28

static void print_state_line(const struct steps *s, uint32_t op, const char *what, uint32_t state, struct buffer *out) {
    struct buffer call = {0};
    print_call(s, op, &call);
    buffer_printf(out, "  %-*s  %s", STATE_COLUMN, buffer_text(&call), what);
    if (state != NONE) s->model->print_state(s->model->context, state, out);
    buffer_printf(out, "\n");
    buffer_free(&call);
}

/* Shows the end of the order in hand; its operations go into `ops`. Returns how many. */
static uint32_t explain_order(const struct steps *s, struct buffer *out, uint32_t *ops) {
    const struct step_search *k = &s->search;
    uint32_t shown = k->undo_count < ORDER_SHOWN_MAX ? k->undo_count : ORDER_SHOWN_MAX;
    buffer_printf(out, "One order that gets so far%s, with the state after each:\n",
                  shown < k->undo_count ? " (its end)" : "");
    struct buffer begin = {0};
    uint32_t from = k->undo_count - shown;
    s->model->print_state(s->model->context, shown ? k->undo[from].state : k->state, &begin);
    buffer_printf(out, "  %-*s  %s\n", STATE_COLUMN, "", buffer_text(&begin));
    for (uint32_t i = from; i < k->undo_count; i++) {
        uint32_t state = i + 1 < k->undo_count ? k->undo[i + 1].state : k->state;
        ops[i - from] = k->calls[k->undo[i].call].op;
        print_state_line(s, ops[i - from], "", state, out);
    }
    buffer_free(&begin);
    return shown;
}

/* What the model says to the operations that could come next; they go into `ops`. Returns how many. */
static uint32_t explain_next(struct steps *s, struct buffer *out, uint32_t *ops) {
    struct step_search *k = &s->search;
    uint32_t count = 0, limit = steps_horizon(k);
    buffer_printf(out, "\nWhat could come next:\n");
    for (uint32_t c = 0; c < k->count && k->calls[c].invoked < limit && !budget_spent(k->budget); c++) {
        if (k->placed[c]) continue;
        if (count == NEXT_SHOWN_MAX) {
            buffer_printf(out, "  ... (and more)\n");
            break;
        }
        uint32_t state = steps_next(&s->memo, k->state, &k->calls[c]);
        ops[count++] = k->calls[c].op;
        const char *what = state == NONE ? "refused" : state == k->state ? "changes nothing" : "stuck later, from ";
        print_state_line(s, k->calls[c].op, what, state == k->state ? NONE : state, out);
    }
    return count;
}

/* --- few operations ----------------------------------------------------------------------------------------------- */

#define FEW_FROM_MAX 200u /* of more operations each question takes too long */

/* The model goes on with the states and steps that it knows. */
static enum verdict judge_part(void *context, const struct history *part, uint64_t limit_ns) {
    struct steps *s = context;
    const struct history *whole = s->h;
    uint32_t *ops = s->ops, all[FEW_FROM_MAX];
    struct budget whole_budget = budget_to_explain(&s->budget), b = budget_share(&whole_budget, limit_ns);
    for (uint32_t op = 0; op < part->count; op++) all[op] = op;
    s->h = s->memo.h = part;
    s->ops = all;
    bool taken = take_object(s, &(struct object){.count = part->count}, &b);
    enum decision d = taken ? steps_decide(&s->search, &b) : UNDECIDED;
    s->budget.memory_bytes = b.memory_bytes;
    s->ops = ops;
    s->h = s->memo.h = whole;
    if (s->memo.failed) d = UNDECIDED;
    s->memo.failed = false;
    return d == DECIDED_INVALID ? VERDICT_INVALID : d == DECIDED_VALID ? VERDICT_VALID : VERDICT_UNKNOWN;
}

/* What had begun when the operation that cannot be placed ended, cut down. False: it is too much. */
static bool find_few(struct steps *s, uint32_t stuck_at, struct budget *b) {
    const struct step_search *k = &s->search;
    uint32_t stuck = k->calls[k->returns[stuck_at]].op, end = k->calls[k->returns[stuck_at]].returned;
    uint32_t ops[FEW_FROM_MAX], count = 0;
    for (uint32_t c = 0; c < k->count && k->calls[c].invoked < end; c++) {
        if (count == FEW_FROM_MAX) return false;
        ops[count++] = k->calls[c].op;
    }
    const struct judge judge = {judge_part, s};
    result_ops(s->out, &stuck, 1);
    bool found = minimize_ops(s->h, &judge, s->out, ops, &count, &s->out->maybe_fewer, b);
    if (found) result_ops(s->out, ops, count);
    return found;
}

static void explain_few(struct steps *s, struct buffer *text) {
    struct check_result *out = s->out;
    buffer_printf(text, "\n%s %u operation%s alone ha%s no order that it allows:\n",
                  out->ops_count == 1 ? "This" : "These", out->ops_count, out->ops_count == 1 ? "" : "s",
                  out->ops_count == 1 ? "s" : "ve");
    check_print_ops(s->h, out->ops, out->ops_count, text);
    buffer_printf(text, "\n");
    print_lanes(s->h, out->ops, out->ops_count, text);
    if (out->maybe_fewer) buffer_printf(text, "\nPerhaps fewer operations would do: not all was tried.\n");
    picture_orders(out, s->h, s->model, s->search.initial);
    picture_print(out->picture, s->h, s->model, text);
}

/* Of many operations: the end of an order of all before, and what cannot follow it. */
static void explain_many(struct steps *s, uint32_t stuck, struct budget *b, struct buffer *text) {
    uint32_t ops[ORDER_SHOWN_MAX + NEXT_SHOWN_MAX + 1] = {stuck}, count = 1;
    s->out->maybe_fewer = true;
    if (steps_go_furthest(&s->search, b)) {
        buffer_printf(text, "\n");
        uint32_t shown = explain_order(s, text, ops);
        count = explain_next(s, text, ops + shown);
        buffer_printf(text, "\n");
        print_lanes(s->h, ops, shown + count, text);
        memmove(ops, ops + shown, count * sizeof *ops);
        ops[count++] = stuck;
    }
    result_ops(s->out, ops, count);
}

static void explain(struct steps *s, const struct object *o) {
    struct step_search *k = &s->search;
    struct buffer object = {0}, call = {0}, text = {0};
    uint32_t stuck_at = k->first_max, stuck = k->calls[k->returns[stuck_at]].op;
    print_object(s, o, &object);
    print_call(s, stuck, &call);
    result_set(s->out, VERDICT_INVALID, "%s: no order that %s allows has %s by process %u before it ended",
               buffer_text(&object), s->model->name, buffer_text(&call), (unsigned)s->h->process[stuck]);
    if (s->verdict_only) goto out;
    buffer_printf(
        &text,
        "%s does not behave as %s says.\n\nOf its %u completed operations, the first %u (by their ends) can be "
        "put in order. The next cannot:\n",
        buffer_text(&object), s->model->name, k->returns_count, stuck_at);
    check_print_ops(s->h, &stuck, 1, &text);
    struct budget b = budget_to_explain(&s->budget);
    if (find_few(s, stuck_at, &b)) {
        explain_few(s, &text);
    } else if (take_object(s, o, &b)) { /* again, for the questions were about parts */
        k->first_max = stuck_at;
        explain_many(s, stuck, &b, &text);
    }
    result_explain(s->out, &text);
out:
    buffer_free(&object);
    buffer_free(&call);
}

/* --- the check ---------------------------------------------------------------------------------------------------- */

static void note_undecided(struct steps *s, const struct object *o, enum budget_state state) {
    if (s->undecided_count++) return;
    s->undecided = o;
    s->undecided_returns = s->search.returns_count;
    s->undecided_progress = s->search.first_max;
    s->undecided_state = state;
}

#define SHARES_OF_FIRST_ROUND 16

/* False once an object is invalid, or the model failed. */
static bool decide_objects(struct steps *s, bool again) {
    uint64_t whole_ns = s->budget.deadline_ns - s->budget.start_ns;
    uint64_t limit_ns = again || s->objects_count == 1 ? whole_ns : whole_ns / SHARES_OF_FIRST_ROUND + 1;
    for (uint32_t i = 0; i < s->objects_count; i++) {
        struct object *o = &s->objects[i];
        if (again && !o->put_off) continue;
        struct budget share = budget_share(&s->budget, limit_ns);
        enum decision decision = take_object(s, o, &share) ? steps_decide(&s->search, &share) : UNDECIDED;
        s->budget.memory_bytes = share.memory_bytes;
        s->valid_count += decision == DECIDED_VALID;
        if (decision == DECIDED_INVALID) explain(s, o);
        if (decision == DECIDED_INVALID || s->memo.failed) return false;
        if (decision == DECIDED_VALID) continue;
        o->put_off = share.state == BUDGET_TIME_SPENT && !again && s->objects_count > 1;
        if (!o->put_off) note_undecided(s, o, share.state);
    }
    return true;
}

static void conclude(struct steps *s) {
    struct buffer object = {0}, spent = {0};
    if (s->memo.failed) {
        print_call(s, s->memo.failed_op, &object);
        result_set(s->out, VERDICT_UNKNOWN, "%s (asked about operation %u, %s)", s->memo.error.text, s->memo.failed_op,
                   buffer_text(&object));
        result_ops(s->out, &s->memo.failed_op, 1);
    } else if (s->undecided_count) {
        print_object(s, s->undecided, &object);
        print_duration(monotonic_ns() - s->budget.start_ns, &spent);
        result_set(
            s->out, VERDICT_UNKNOWN,
            "%s: the %s was spent (%s, %u MiB at most) when %u of %u completed operations were in order; %u of %u "
            "objects are linearizable, %u undecided",
            buffer_text(&object), s->undecided_state == BUDGET_MEMORY_SPENT ? "memory allowed" : "time allowed",
            buffer_text(&spent), (unsigned)(s->budget.memory_bytes_max >> 20), s->undecided_progress,
            s->undecided_returns, s->valid_count, s->objects_count, s->undecided_count);
    } else {
        result_set(s->out, VERDICT_VALID, "%u operation%s on %u object%s, by %s", s->h->count,
                   s->h->count == 1 ? "" : "s", s->objects_count, s->objects_count == 1 ? "" : "s", s->model->name);
    }
    buffer_free(&object);
    buffer_free(&spent);
}

static void steps_free(struct steps *s) {
    free(s->ops);
    free(s->objects);
    free(s->search.calls);
    free(s->search.returns);
    steps_search_free(&s->search);
    map64_free(&s->memo.next);
    values_free(&s->memo.values);
    map64_free(&s->memo.classes);
}

void check_steps(const struct history *h, const struct step_model *m, const struct check_options *o,
                 struct check_result *out) {
    result_start(out, "linearizable");
    if (!history_trusted(h, out)) return;
    struct steps s = {.verdict_only = o && o->verdict_only,
                      .h = h,
                      .model = m,
                      .out = out,
                      .budget = budget_of(o),
                      .memo = {.model = m, .h = h}};
    struct budget *b = s.memo.budget = &s.budget;
    s.search.memo = &s.memo;
    values_clear(&s.memo.values);
    if (m->initial(m->context, b->deadline_ns, b->memory_bytes_max, &s.search.initial, &s.memo.error)) {
        result_set(out, VERDICT_UNKNOWN, "%s", s.memo.error.text);
    } else if (!find_objects(&s)) {
        if (s.memo.failed) {
            conclude(&s);
        } else {
            result_set(out, VERDICT_UNKNOWN, "the %s allowed was spent before the objects were known",
                       b->state == BUDGET_MEMORY_SPENT ? "memory" : "time");
        }
    } else if ((decide_objects(&s, false) && decide_objects(&s, true)) || out->verdict != VERDICT_INVALID) {
        conclude(&s);
    }
    steps_free(&s);
}
