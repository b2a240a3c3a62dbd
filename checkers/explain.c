/* A counterexample in words: one line that names what is wrong in the terms of the client, and a page with the
 * evidence. The common violations are recognised and named; the others are described by what cannot be placed. */
#include "checkers/internal.h"

#include <stdlib.h>

/* What the last call observed, as a clause: `read by process 7 returned 4`. */
static void print_observation(const struct history *h, uint32_t op, struct buffer *out) {
    struct value argument = h->argument[op];
    bool cas = h->f[op] == OP_CAS;
    buffer_printf(out, "%s by process %u ", history_function_name(h, h->f[op]), (unsigned)h->process[op]);
    if (cas && h->status[op] == OP_OK) {
        buffer_printf(out, "succeeded on ");
        print_value(h, h->pool[argument.first], out);
    } else {
        buffer_printf(out, cas ? "failed because it saw " : "returned ");
        print_value(h, h->result[op], out);
    }
}

static bool sets_value(const struct call *c, uint32_t value) {
    return c->effect == EFFECT_SET && c->value == value;
}

/* Did everything that could have set the value end before the position? (What began after `seen` does not count.) */
static bool set_only_before(const struct partition *p, uint32_t value, uint32_t position, uint32_t seen) {
    for (uint32_t i = 0; i < p->count && p->calls[i].invoked < seen; i++)
        if (sets_value(&p->calls[i], value) && p->calls[i].returned > position) return false;
    return true;
}

/* The first position at which the value could have been set; NONE if never. */
static uint32_t first_set(const struct partition *p, uint32_t value) {
    if (value == p->initial) return 0;
    for (uint32_t i = 0; i < p->count; i++)
        if (sets_value(&p->calls[i], value)) return p->calls[i].invoked;
    return NONE;
}

/* A failed operation that would have set the value that `op` saw; NONE if there is none. */
static uint32_t failed_setter(const struct history *h, uint32_t op) {
    if (h->f[op] != OP_READ) return NONE;
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->status[i] != OP_FAIL || h->key[i] != h->key[op]) continue;
        struct value v = h->argument[i];
        if (h->f[i] == OP_CAS && v.kind == VALUE_LIST && v.size == 2) {
            v = h->pool[v.first + 1];
        } else if (h->f[i] != OP_WRITE) {
            continue;
        }
        if (history_value_equal(h, v, h->result[op])) return i;
    }
    return NONE;
}

/* A value out of nowhere, or out of the future. */
static bool explain_unwritten(const struct partition *whole, const struct call *last, struct buffer *out,
                              uint32_t *extra_op) {
    const struct history *h = whole->h;
    uint32_t set = first_set(whole, last->guard);
    if (set <= last->returned) return false;
    print_observation(h, last->op, out);
    if (set != NONE) {
        uint32_t setter = 0;
        while (whole->calls[setter].invoked != set) setter++;
        uint32_t op = *extra_op = whole->calls[setter].op;
        buffer_printf(out, ", which process %u began to write only ", (unsigned)h->process[op]);
        print_duration(h->invoke_ns[op] - h->complete_ns[last->op], out);
        buffer_printf(out, " later");
        return true;
    }
    *extra_op = failed_setter(h, last->op);
    if (*extra_op == NONE) {
        buffer_printf(out, ", which nobody had written");
    } else {
        buffer_printf(out, ", which only a %s by process %u that failed would have written",
                      history_function_name(h, h->f[*extra_op]), (unsigned)h->process[*extra_op]);
    }
    return true;
}

#define LOOKS_MAX 64u /* each takes linear time */

/* A value that had certainly been replaced: by an acknowledged set, or by one whose value had been read. */
static bool explain_stale(const struct partition *whole, const struct partition *least, const struct call *last,
                          struct buffer *out) {
    const struct history *h = whole->h;
    const struct call *newest = NULL;
    uint32_t from = least->returns_count > LOOKS_MAX ? least->returns_count - LOOKS_MAX : 0;
    for (uint32_t i = from; i < least->returns_count; i++) {
        const struct call *c = &least->calls[least->returns[i]];
        if (c->returned > last->invoked) break;
        uint32_t value = c->effect == EFFECT_SET ? c->value : c->guard;
        uint32_t since = c->effect == EFFECT_SET ? c->invoked : first_set(whole, value);
        if (value == GUARD_ANY || value == last->guard || value == whole->initial || since == NONE) continue;
        if (set_only_before(whole, last->guard, since, last->returned)) newest = c;
    }
    if (!newest) return false;
    bool set = newest->effect == EFFECT_SET;
    print_observation(h, last->op, out);
    buffer_printf(out, ", but ");
    values_print(whole->values, h, set ? newest->value : newest->guard, out);
    buffer_printf(out,
                  set ? " had been written by process %u and acknowledged "
                      : ", which is newer, had been read by process %u ",
                  (unsigned)h->process[newest->op]);
    print_duration(h->invoke_ns[last->op] - h->complete_ns[newest->op], out);
    buffer_printf(out, " before the %s began", history_function_name(h, h->f[last->op]));
    return true;
}

static uint32_t value_after(const struct call *c) {
    return c->effect == EFFECT_SET ? c->value : c->guard;
}

static void print_op_of(const struct history *h, uint32_t op, struct buffer *out) {
    print_op(h, op, out);
    buffer_printf(out, " by process %u", (unsigned)h->process[op]);
}

/* The call that returned first, or was invoked last, among those that saw or set the value. */
static const struct call *call_on(const struct partition *p, uint32_t value, bool first_returned) {
    const struct call *best = NULL;
    for (uint32_t i = 0; i < p->count; i++) {
        const struct call *c = &p->calls[i];
        if (value_after(c) != value) continue;
        if (!best || (first_returned ? c->returned < best->returned : c->invoked > best->invoked)) best = c;
    }
    return best;
}

/* A value that was there before another one and, as the last call would have it, after it as well. */
static bool explain_crossed(const struct partition *whole, const struct partition *least, const struct call *last,
                            struct buffer *out) {
    const struct history *h = whole->h;
    uint32_t sets = last->guard == whole->initial;
    for (uint32_t i = 0; i < whole->count; i++) sets += sets_value(&whole->calls[i], last->guard);
    if (sets != 1 || least->count > LOOKS_MAX) return false;
    const struct call *before = call_on(least, last->guard, true);
    if (!before) return false; /* a cas from a value that nothing left here shows */
    for (uint32_t i = 0; i < least->count; i++) {
        uint32_t value = value_after(&least->calls[i]);
        if (value == GUARD_ANY || value == last->guard) continue;
        const struct call *between = call_on(least, value, false), *seen = call_on(least, value, true);
        if (before->returned >= between->invoked || seen->returned >= last->invoked) continue;
        print_observation(h, last->op, out);
        buffer_printf(out, ", but ");
        values_print(whole->values, h, value, out);
        buffer_printf(out, " had come after that: ");
        print_op_of(h, before->op, out);
        buffer_printf(out, " ended before ");
        print_op_of(h, between->op, out);
        buffer_printf(out, " began, and ");
        if (seen == between) {
            buffer_printf(out, "that");
        } else {
            print_op_of(h, seen->op, out);
        }
        buffer_printf(out, " ended ");
        print_duration(h->invoke_ns[last->op] - h->complete_ns[seen->op], out);
        buffer_printf(out, " before the %s began", history_function_name(h, h->f[last->op]));
        return true;
    }
    return false;
}

static void print_could_be(const struct counterexample *ce, struct buffer *out) {
    for (uint32_t i = 0; i < ce->could_be_count; i++) {
        if (i) buffer_printf(out, i + 1 == ce->could_be_count ? " or " : ", ");
        values_print(ce->least.values, ce->least.h, ce->could_be[i], out);
    }
    if (ce->could_be_count == 0) buffer_printf(out, "nothing at all");
}

static void explain_otherwise(const struct counterexample *ce, const struct call *last, struct buffer *out) {
    const struct history *h = ce->least.h;
    if (last->guard == GUARD_ANY) {
        print_op(h, last->op, out);
        buffer_printf(out, " by process %u was acknowledged, but", (unsigned)h->process[last->op]);
    } else {
        print_observation(h, last->op, out);
        buffer_printf(out, ", but");
    }
    buffer_printf(out, " no order of %u operations allows it", ce->least.count);
    if (!ce->could_be_known) return;
    buffer_printf(out, "; it could have seen ");
    print_could_be(ce, out);
}

#define ROWS_MAX 50u

struct extent counterexample_extent(const struct counterexample *ce, const struct partition *whole) {
    struct extent x = {.calls = whole->count, .returns = whole->returns_count};
    while (whole->calls[whole->returns[x.position]].op != ce->least.calls[ce->last].op) x.position++;
    return x;
}

static void print_evidence(const struct counterexample *ce, const struct extent *whole, const struct model *m,
                           const struct check_result *out, struct buffer *text) {
    const struct history *h = ce->least.h;
    const struct call *last = &ce->least.calls[ce->last];
    print_key(h, ce->least.key, text);
    buffer_printf(text, " does not behave like a %s.\n\n", m->name);
    buffer_printf(
        text, "Of its %u completed operations, %s%u (by their ends) can be put in order. The next cannot be added:\n",
        whole->returns, ce->prefix_exact ? "exactly the first " : "perhaps the first ", whole->position);
    check_print_ops(h, &last->op, 1, text);
    if (ce->could_be_known) {
        buffer_printf(text, "Next to the operations below it could have seen: ");
        print_could_be(ce, text);
        buffer_printf(text, "\n");
    }
    uint32_t others = whole->calls - ce->least.count;
    if (ce->least.count == 1) {
        buffer_printf(text, "\nNone of the other %u operations can make it right:\n", others);
    } else {
        buffer_printf(text, "\nThese %u operations alone have no valid order, and the other %u cannot give them one:\n",
                      ce->least.count, others);
    }
    uint32_t skipped = out->ops_count > ROWS_MAX ? out->ops_count - ROWS_MAX : 0;
    if (skipped) buffer_printf(text, "(the first %u are not shown)\n", skipped);
    check_print_ops(h, out->ops + skipped, out->ops_count - skipped, text);
    buffer_printf(text, "\n");
    print_lanes(h, out->ops, out->ops_count, text);
}

void counterexample_explain(const struct counterexample *ce, const struct partition *p, const struct extent *whole,
                            const struct model *m, struct check_result *out) {
    const struct partition *least = &ce->least;
    const struct call *last = &least->calls[ce->last];
    struct buffer line = {0}, text = {0};
    uint32_t extra_op = NONE, ops_count = 0;
    bool named = false;
    print_key(p->h, p->key, &line);
    buffer_printf(&line, ": ");
    if (p->sets_only && last->guard != GUARD_ANY)
        named = explain_unwritten(p, last, &line, &extra_op) || explain_stale(p, least, last, &line) ||
                explain_crossed(p, least, last, &line);
    if (!named) explain_otherwise(ce, last, &line);
    result_set(out, VERDICT_INVALID, "%s", buffer_text(&line));

    uint32_t *ops = xmalloc(((size_t)least->count + 1) * sizeof *ops);
    for (uint32_t i = 0; i < least->count; i++) ops[ops_count++] = least->calls[i].op;
    if (extra_op != NONE) ops[ops_count++] = extra_op;
    result_ops(out, ops, ops_count);
    free(ops);
    print_evidence(ce, whole, m, out, &text);
    result_explain(out, &text);
    buffer_free(&line);
}
