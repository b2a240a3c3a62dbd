/* The picture of a counterexample: how far any order of its operations gets, with the state after each, and why what is
 * left over cannot come next. All orders are tried; a counterexample is small. */
#include "checkers/evidence_internal.h"

#include <stdlib.h>

/* --- memory ------------------------------------------------------------------------------------------------------- */

static void free_steps(struct picture_step *steps, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) free(steps[i].text);
    free(steps);
}

static void free_orders(struct picture *p) {
    for (uint32_t i = 0; i < p->orders_count; i++) {
        free_steps(p->orders[i].steps, p->orders[i].steps_count);
        free_steps(p->orders[i].left, p->orders[i].left_count);
    }
    free(p->orders);
    free(p->initial);
}

void picture_free(struct picture *p) {
    if (!p) return;
    free_orders(p);
    for (uint32_t i = 0; i < p->edges_count; i++) free(p->edges[i].text);
    free(p->edges);
    free(p);
}

static char *text_of(struct buffer *b) {
    char *text = xstrdup(buffer_text(b));
    b->size = 0;
    return text;
}

void result_edge(struct check_result *out, uint32_t from, uint32_t to, const char *kind, const char *text) {
    if (!out->picture) out->picture = xcalloc(1, sizeof *out->picture);
    struct picture *p = out->picture;
    p->edges = xrealloc(p->edges, ((size_t)p->edges_count + 1) * sizeof *p->edges);
    struct picture_edge *e = &p->edges[p->edges_count++];
    *e = (struct picture_edge){.from = from, .to = to, .text = xstrdup(text)};
    assert(strlen(kind) < sizeof e->kind);
    memcpy(e->kind, kind, strlen(kind));
}

/* --- all orders --------------------------------------------------------------------------------------------------- */

#define OPS_MAX 24u
#define ORDERS_MAX 8u
#define CONFIGURATIONS_MAX 20000u

struct path {
    uint32_t op[OPS_MAX], state[OPS_MAX + 1]; /* indexes, and states: state[i + 1] is that after op[i] */
    uint32_t count, placed;                   /* placed: bits */
};

struct orders {
    const struct history *h;
    const struct step_model *m;
    const uint32_t *ops;
    uint32_t count, invoked[OPS_MAX], returned[OPS_MAX];
    uint32_t required, optional; /* bits; what is in neither did not happen */
    struct map64 seen;           /* (placed, state) */
    struct path path, found[ORDERS_MAX];
    uint32_t found_count, best; /* best: required operations placed */
    bool cut, failed;
};

static uint32_t bit(uint32_t i) {
    return UINT32_C(1) << i;
}

/* The first operation that has to come before i and is not placed yet; NONE if i may come next. */
static uint32_t awaited(const struct orders *s, uint32_t placed, uint32_t i) {
    for (uint32_t d = 0; d < s->count; d++)
        if (s->required & ~placed & bit(d) && s->returned[d] < s->invoked[i]) return d;
    return NONE;
}

static enum step_answer try_step(struct orders *s, uint32_t state, uint32_t i, uint32_t *next) {
    struct error e = {{0}};
    enum step_answer answer = s->m->step(s->m->context, state, s->h, s->ops[i], next, &e);
    s->failed |= answer == STEP_FAILED;
    return answer;
}

/* Keeps the path if none gets further. */
static void consider(struct orders *s) {
    const struct path *p = &s->path;
    uint32_t placed = (uint32_t)__builtin_popcount(p->placed & s->required);
    if (placed < s->best) return;
    if (placed > s->best) s->found_count = 0;
    s->best = placed;
    for (uint32_t i = 0; i < s->found_count; i++) {
        const struct path *f = &s->found[i];
        bool same = (f->placed & s->required) == (p->placed & s->required);
        if (same && f->state[f->count] == p->state[p->count]) return;
    }
    if (s->found_count == ORDERS_MAX) {
        s->cut = true;
    } else {
        s->found[s->found_count++] = *p;
    }
}

static void explore(struct orders *s) {
    struct path *p = &s->path;
    uint32_t state = p->state[p->count], placed = p->placed;
    bool fresh = false;
    map64_put(&s->seen, (uint64_t)placed << 32 | state, &fresh);
    if (s->seen.count > CONFIGURATIONS_MAX) s->cut = true;
    if (!fresh || s->failed || s->seen.count > CONFIGURATIONS_MAX) return;
    if (p->count == 0 || s->required & bit(p->op[p->count - 1])) consider(s);
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t next = state;
        if (placed & bit(i) || !((s->required | s->optional) & bit(i)) || awaited(s, placed, i) != NONE) continue;
        if (try_step(s, state, i, &next) != STEP_TAKEN || (s->optional & bit(i) && next == state)) continue;
        p->op[p->count++] = i;
        p->state[p->count] = next;
        p->placed |= bit(i);
        explore(s);
        p->count--;
        p->placed &= ~bit(i);
    }
}

/* --- words -------------------------------------------------------------------------------------------------------- */

static char *state_text(const struct orders *s, uint32_t state) {
    struct buffer text = {0};
    s->m->print_state(s->m->context, state, &text);
    char *copy = text_of(&text);
    buffer_free(&text);
    return copy;
}

static void print_op_of(const struct step_model *m, const struct history *h, uint32_t op, struct buffer *out) {
    if (m->describe) {
        m->describe(m->context, h, op, out);
    } else {
        print_op(h, op, out);
    }
    buffer_printf(out, " by process %u", (unsigned)h->process[op]);
}

static char *why_left(struct orders *s, const struct path *p, uint32_t i) {
    struct buffer text = {0};
    uint32_t state = p->state[p->count], next = state, before = awaited(s, p->placed, i);
    if (before != NONE) {
        buffer_printf(&text, "has to come after ");
        print_op_of(s->m, s->h, s->ops[before], &text);
        buffer_printf(&text, ", which ended before it began");
    } else if (try_step(s, state, i, &next) != STEP_TAKEN) {
        if (s->m->print_refusal) s->m->print_refusal(s->m->context, state, s->h, s->ops[i], &text);
        if (text.size == 0) buffer_printf(&text, "is not possible in this state");
    } else if (next == state) {
        buffer_printf(&text, "may have happened, and changes nothing");
    } else {
        buffer_printf(&text, "may have happened, but the state ");
        s->m->print_state(s->m->context, next, &text);
        buffer_printf(&text, " does not help the others");
    }
    char *copy = text_of(&text);
    buffer_free(&text);
    return copy;
}

static void take_path(struct orders *s, const struct path *p, struct picture_order *out) {
    out->steps = xcalloc((size_t)s->count + 1, sizeof *out->steps);
    out->left = xcalloc((size_t)s->count + 1, sizeof *out->left);
    out->steps_count = p->count;
    for (uint32_t i = 0; i < p->count; i++)
        out->steps[i] = (struct picture_step){s->ops[p->op[i]], state_text(s, p->state[i + 1])};
    for (uint32_t i = 0; i < s->count; i++) {
        if (p->placed & bit(i) || !((s->required | s->optional) & bit(i))) continue;
        out->left[out->left_count++] = (struct picture_step){s->ops[i], why_left(s, p, i)};
    }
}

void picture_orders(struct check_result *out, const struct history *h, const struct step_model *m, uint32_t initial) {
    if (out->ops_count == 0 || out->ops_count > OPS_MAX) return;
    struct orders *s = xcalloc(1, sizeof *s);
    *s = (struct orders){.h = h, .m = m, .ops = out->ops, .count = out->ops_count};
    s->path.state[0] = initial;
    order_events(h, s->ops, s->count, s->invoked, s->returned);
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->returned[i] != NONE) {
            s->required |= bit(i);
        } else if (h->status[s->ops[i]] != OP_FAIL) {
            s->optional |= bit(i);
        }
    }
    explore(s);
    /* An order of all of them would mean that this object is not the one that the check is about. */
    if (!s->failed && s->found_count && s->best < (uint32_t)__builtin_popcount(s->required)) {
        if (!out->picture) out->picture = xcalloc(1, sizeof *out->picture);
        struct picture *p = out->picture;
        free_orders(p);
        p->initial = state_text(s, initial);
        p->orders = xcalloc(s->found_count, sizeof *p->orders);
        p->orders_count = s->found_count;
        p->orders_cut = s->cut;
        for (uint32_t i = 0; i < s->found_count; i++) take_path(s, &s->found[i], &p->orders[i]);
    }
    map64_free(&s->seen);
    free(s);
}

/* --- for a terminal ----------------------------------------------------------------------------------------------- */

#define OP_COLUMN 34

static void print_line(const struct step_model *m, const struct history *h, const struct picture_step *step,
                       struct buffer *out) {
    struct buffer op = {0};
    print_op_of(m, h, step->op, &op);
    buffer_printf(out, "  %-*s  %s\n", OP_COLUMN, buffer_text(&op), step->text);
    buffer_free(&op);
}

void picture_print(const struct picture *p, const struct history *h, const struct step_model *m, struct buffer *out) {
    if (!p || p->orders_count == 0) return;
    const struct picture_order *o = &p->orders[0];
    buffer_printf(out, "\nThe furthest that any order of these gets, with the state after each");
    if (p->orders_count > 1)
        buffer_printf(out, " (the first of %s%u)", p->orders_cut ? "more than " : "", p->orders_count);
    buffer_printf(out, ":\n  %-*s  %s\n", OP_COLUMN, "at first", p->initial);
    for (uint32_t i = 0; i < o->steps_count; i++) print_line(m, h, &o->steps[i], out);
    buffer_printf(out, "What cannot come next, and why:\n");
    for (uint32_t i = 0; i < o->left_count; i++) print_line(m, h, &o->left[i], out);
}
