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
    uint32_t *ops; /* of one object after the other */
    struct object *objects;
    uint32_t objects_count, valid_count;
    uint32_t calls_capacity;
    /* The first that stayed undecided. */
    const struct object *undecided;
    uint32_t undecided_count, undecided_returns, undecided_progress;
    enum budget_state undecided_state;
};

/* --- objects ------------------------------------------------------------------------------------------------------ */

struct numbered {
    uint32_t number, op;
};

static int by_number(const void *a, const void *b) {
    const struct numbered *x = a, *y = b;
    if (x->number != y->number) return x->number < y->number ? -1 : 1;
    return x->op < y->op ? -1 : x->op > y->op;
}

static int by_size(const void *a, const void *b) {
    const struct object *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? -1 : 1;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

static bool number_ops(struct steps *s, struct numbered *all) {
    const struct step_model *m = s->model;
    const struct history *h = s->h;
    for (uint32_t op = 0; op < h->count; op++) {
        struct numbered *n = &all[op];
        *n = (struct numbered){.number = h->key[op] + 1, .op = op};
        if (budget_spent(&s->budget)) return false;
        if (!m->partition || m->partition(m->context, h, op, &n->number, &s->memo.error) == 0) continue;
        s->memo.failed = true;
        s->memo.failed_op = op;
        return false;
    }
    return true;
}

static bool find_objects(struct steps *s) {
    uint32_t count = s->h->count;
    struct numbered *all = xmalloc(count * sizeof *all + 1);
    bool numbered = number_ops(s, all);
    s->ops = xmalloc(count * sizeof *s->ops + 1);
    s->objects = xmalloc(count * sizeof *s->objects + 1);
    if (numbered) qsort(all, count, sizeof *all, by_number);
    for (uint32_t i = 0; i < count && numbered; i++) {
        s->ops[i] = all[i].op;
        if (i == 0 || all[i].number != all[i - 1].number)
            s->objects[s->objects_count++] = (struct object){.number = all[i].number, .begin = i};
        s->objects[s->objects_count - 1].count++;
    }
    if (numbered) qsort(s->objects, s->objects_count, sizeof *s->objects, by_size);
    free(all);
    return numbered;
}

/* What failed without seeing anything did not happen; but it was an event, and goes only when the order is known. */
static void take_object(struct steps *s, const struct object *o) {
    struct step_search *k = &s->search;
    if (s->calls_capacity < o->count) {
        s->calls_capacity = o->count;
        k->calls = xrealloc(k->calls, o->count * sizeof *k->calls);
        k->returns = xrealloc(k->returns, o->count * sizeof *k->returns);
    }
    const uint32_t *ops = s->ops + o->begin;
    size_t stride = sizeof *k->calls / sizeof(uint32_t);
    uint32_t *moved = xmalloc(o->count * sizeof *moved);
    k->count = 0;
    k->returns_count =
        order_events_into(s->h, ops, o->count, &k->calls->invoked, &k->calls->returned, stride, k->returns);
    for (uint32_t i = 0; i < o->count; i++) {
        struct step_call c = k->calls[i];
        moved[i] = k->count;
        if (s->h->status[ops[i]] == OP_FAIL && c.returned == NONE) continue;
        c.op = ops[i];
        c.class = steps_class(&s->memo, ops[i]);
        k->calls[k->count++] = c;
    }
    for (uint32_t i = 0; i < k->returns_count; i++) k->returns[i] = moved[k->returns[i]];
    free(moved);
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

#define EXPLAIN_NS_MIN (100 * NS_PER_MS)
#define ORDER_SHOWN_MAX 12u /* operations of the order; the last of them */
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
    for (uint32_t c = 0; c < k->count && k->calls[c].invoked < limit; c++) {
        if (k->placed[c]) continue;
        uint32_t state = steps_next(&s->memo, k->state, &k->calls[c]);
        ops[count++] = k->calls[c].op;
        const char *what = state == NONE ? "refused" : state == k->state ? "changes nothing" : "stuck later, from ";
        print_state_line(s, k->calls[c].op, what, state == k->state ? NONE : state, out);
    }
    return count;
}

static void explain(struct steps *s, const struct object *o) {
    struct step_search *k = &s->search;
    struct buffer object = {0}, call = {0}, text = {0};
    uint32_t stuck_at = k->first_max, stuck = k->calls[k->returns[stuck_at]].op, count = 1;
    print_object(s, o, &object);
    print_call(s, stuck, &call);
    result_set(s->out, VERDICT_INVALID, "%s: no order that %s allows has %s by process %u before it ended",
               buffer_text(&object), s->model->name, buffer_text(&call), (unsigned)s->h->process[stuck]);
    uint32_t *ops = xmalloc(((size_t)k->count + 1) * sizeof *ops);
    ops[0] = stuck;
    buffer_printf(
        &text,
        "%s does not behave as %s says.\n\nOf its %u completed operations, the first %u (by their ends) can be "
        "put in order. The next cannot:\n",
        buffer_text(&object), s->model->name, k->returns_count, stuck_at);
    check_print_ops(s->h, ops, 1, &text);
    buffer_printf(&text, "\n");
    struct budget b = s->budget;
    uint64_t least = monotonic_ns() + EXPLAIN_NS_MIN;
    if (b.deadline_ns < least) b.deadline_ns = least;
    b.state = BUDGET_LEFT;
    if (steps_go_furthest(k, &b)) {
        uint32_t shown = explain_order(s, &text, ops);
        count = explain_next(s, &text, ops + shown);
        buffer_printf(&text, "\n");
        print_lanes(s->h, ops, shown + count, &text);
        memmove(ops, ops + shown, count * sizeof *ops);
    }
    result_ops(s->out, ops, count);
    result_explain(s->out, &text);
    free(ops);
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
        take_object(s, o);
        enum decision decision = steps_decide(&s->search, &share);
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
    history_free(s->memo.kinds);
}

void check_steps(const struct history *h, const struct step_model *m, const struct check_options *o,
                 struct check_result *out) {
    result_start(out, "linearizable");
    if (!history_trusted(h, out)) return;
    struct steps s = {.h = h, .model = m, .out = out, .budget = budget_of(o), .memo = {.model = m, .h = h}};
    s.memo.kinds = history_new();
    s.search.memo = &s.memo;
    struct budget *b = &s.budget;
    if (m->initial(m->context, b->deadline_ns, b->memory_bytes_max, &s.search.initial, &s.memo.error)) {
        result_set(out, VERDICT_UNKNOWN, "%s", s.memo.error.text);
    } else if (!find_objects(&s)) {
        if (s.memo.failed) {
            conclude(&s);
        } else {
            result_set(out, VERDICT_UNKNOWN, "the time allowed was spent before the objects were known");
        }
    } else if ((decide_objects(&s, false) && decide_objects(&s, true)) || out->verdict != VERDICT_INVALID) {
        conclude(&s);
    }
    steps_free(&s);
}
