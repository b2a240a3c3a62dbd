/* The checks' sequential objects, as steps from state to state: slow, plain, and only for the few operations of a
 * counterexample. A state is a list of values; equal states have equal numbers. */
#include "checkers/evidence_internal.h"

#include <stdlib.h>

struct rule; /* what an object does with an operation */

struct object {
    const struct history *h;
    const struct rule *rule;
    struct history *states;    /* its strings are the states: the bytes of their values */
    struct values values;      /* of a model; its states are their ids */
    const struct model *model; /* NULL: the rule tells */
    struct step_model steps;
};

/* --- models ------------------------------------------------------------------------------------------------------- */

static bool saw_a_value(const struct history *h, uint32_t op) {
    return h->status[op] == OP_FAIL;
}

static bool call_of(struct object *o, uint32_t op, struct call *c) {
    const char *why;
    *c = (struct call){.op = op};
    if (!model_encode(o->model, o->h, op, &o->values, c, &why)) return false;
    bool known = o->h->status[op] == OP_OK || saw_a_value(o->h, op);
    if (saw_a_value(o->h, op)) {
        c->guard = values_intern(&o->values, o->h, o->h->result[op]);
        c->effect = EFFECT_NONE;
    } else if (!known && o->h->f[op] == OP_READ) {
        c->guard = GUARD_ANY;
    }
    return true;
}

static enum step_answer model_step(struct object *o, uint32_t state, uint32_t op, uint32_t *next) {
    struct call c;
    if (!call_of(o, op, &c) || (c.guard != GUARD_ANY && c.guard != state)) return STEP_REFUSED;
    *next = call_apply(&c, &o->values, state);
    return *next == NONE ? STEP_REFUSED : STEP_TAKEN;
}

static void model_refusal(struct object *o, uint32_t state, uint32_t op, struct buffer *out) {
    struct call c;
    if (!call_of(o, op, &c)) return;
    bool cas = o->h->f[op] == OP_CAS;
    if (c.guard == GUARD_ANY) {
        buffer_printf(out, "cannot be done to ");
        values_print(&o->values, o->h, state, out);
        return;
    }
    buffer_printf(out, cas && c.effect != EFFECT_NONE ? "would find " : cas ? "would see " : "would return ");
    values_print(&o->values, o->h, state, out);
    buffer_printf(out, ", not ");
    values_print(&o->values, o->h, c.guard, out);
}

/* --- collections -------------------------------------------------------------------------------------------------- */

struct content { /* a state, to be read and changed */
    struct value *values;
    uint32_t count;
};
enum order_of { ORDER_ANY, ORDER_FIRST, ORDER_LAST, ORDER_LEAST };
struct rule {
    const char *name, *put, *take;
    /* False: refused, and why, if out is not NULL. */
    bool (*apply)(const struct object *o, uint32_t op, struct content *c, struct buffer *out);
    enum order_of order;
    bool again; /* what was delivered may be delivered again: the first value counts the deliveries */
};

static bool is_function(const struct object *o, uint32_t op, const char *name) {
    return strcmp(history_function_name(o->h, o->h->f[op]), name) == 0;
}

static int compare(const struct history *h, struct value a, struct value b) {
    if (a.kind != b.kind) return a.kind < b.kind ? -1 : 1;
    if (a.kind == VALUE_INT) return a.integer < b.integer ? -1 : a.integer > b.integer;
    return strcmp(history_text(h, a.string), history_text(h, b.string));
}

static void insert(struct content *c, uint32_t at, struct value v) {
    memmove(c->values + at + 1, c->values + at, (c->count - at) * sizeof v);
    c->values[at] = v;
    c->count++;
}

static void insert_sorted(const struct history *h, struct content *c, struct value v) {
    uint32_t at = 0;
    while (at < c->count && compare(h, c->values[at], v) < 0) at++;
    insert(c, at, v);
}

static void remove_at(struct content *c, uint32_t at) {
    memmove(c->values + at, c->values + at + 1, (c->count - at - 1) * sizeof *c->values);
    c->count--;
}

static uint32_t find(const struct history *h, const struct content *c, struct value v, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; i++)
        if (history_value_equal(h, c->values[i], v)) return i;
    return NONE;
}

static bool refuse(const struct object *o, struct buffer *out, const char *what, struct value v, const char *more) {
    if (!out) return false;
    buffer_printf(out, "%s", what);
    if (v.kind != VALUE_NIL) print_value(o->h, v, out);
    buffer_printf(out, "%s", more);
    return false;
}

/* Takes the value out, in the order of the rule. Without repeated deliveries `first` is 0. */
static bool take(const struct object *o, struct content *c, struct value v, uint32_t first, struct buffer *out) {
    static const char *const words[] = {"", "the first is ", "the last is ", "the least is "};
    if (v.kind == VALUE_NIL) return c->count == first || refuse(o, out, "would find something, not nothing", v, "");
    if (c->count == first) return refuse(o, out, "would find nothing, not ", v, "");
    uint32_t next = o->rule->order == ORDER_LAST ? c->count - 1 : first;
    uint32_t at = o->rule->order == ORDER_ANY ? find(o->h, c, v, 0, c->count) : next;
    if (at == NONE) return refuse(o, out, "", v, " is not inside");
    if (!history_value_equal(o->h, c->values[at], v))
        return refuse(o, out, words[o->rule->order], c->values[at], ", so that would come out");
    if (!o->rule->again) remove_at(c, at);
    return true;
}

static bool apply_holder(const struct object *o, uint32_t op, struct content *c, struct buffer *out) {
    const struct history *h = o->h;
    if (is_function(o, op, o->rule->put)) {
        if (o->rule->order == ORDER_ANY || o->rule->order == ORDER_LEAST) {
            insert_sorted(h, c, h->argument[op]);
        } else {
            insert(c, c->count, h->argument[op]);
        }
        return true;
    }
    if (h->status[op] != OP_OK) return refuse(o, out, "is left out, since nobody knows what it took", VALUE_OF_NIL, "");
    if (!o->rule->again) return take(o, c, h->result[op], 0, out);
    uint32_t delivered = (uint32_t)c->values[0].integer + 1;
    if (h->result[op].kind != VALUE_NIL && find(h, c, h->result[op], 1, delivered) != NONE) return true;
    if (!take(o, c, h->result[op], delivered, out)) return false;
    c->values[0].integer += h->result[op].kind != VALUE_NIL;
    return true;
}

static bool apply_set(const struct object *o, uint32_t op, struct content *c, struct buffer *out) {
    const struct history *h = o->h;
    struct value v = h->result[op];
    if (is_function(o, op, "add")) {
        if (find(h, c, h->argument[op], 0, c->count) == NONE) insert_sorted(h, c, h->argument[op]);
        return true;
    }
    if (h->status[op] != OP_OK || v.kind == VALUE_NIL) return true;
    for (uint32_t i = 0; v.kind == VALUE_LIST && i < v.size; i++) {
        struct value element = h->pool[v.first + i];
        if (find(h, c, element, 0, c->count) == NONE) return refuse(o, out, "has ", element, ", which is not inside");
        for (uint32_t k = 0; k < i; k++)
            if (history_value_equal(h, h->pool[v.first + k], element)) return refuse(o, out, "has ", element, " twice");
    }
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t k = 0;
        while (k < v.size && !history_value_equal(h, h->pool[v.first + k], c->values[i])) k++;
        if (k == v.size) return refuse(o, out, "lacks ", c->values[i], ", which is inside");
    }
    return true;
}

static bool apply_mutex(const struct object *o, uint32_t op, struct content *c, struct buffer *out) {
    bool acquire = is_function(o, op, "acquire");
    if (acquire == (c->count > 0))
        return refuse(o, out, acquire ? "would have to wait: it is held" : "nothing is held", VALUE_OF_NIL, "");
    if (acquire) {
        insert(c, 0, VALUE_OF_INT(1));
    } else {
        remove_at(c, 0);
    }
    return true;
}

static bool apply_fenced(const struct object *o, uint32_t op, struct content *c, struct buffer *out) {
    struct value token = o->h->result[op];
    if (!is_function(o, op, "acquire") || o->h->status[op] != OP_OK || token.kind != VALUE_INT) return true;
    if (c->count && c->values[0].integer >= token.integer)
        return refuse(o, out, "its token has to be greater than ", c->values[0], "");
    c->count = 0;
    insert(c, 0, token);
    return true;
}

static const struct rule rules[] = {
    {"queue", "enqueue", "dequeue", apply_holder, ORDER_ANY, false},
    {"fifo", "enqueue", "dequeue", apply_holder, ORDER_FIRST, false},
    {"fifo-at-least-once", "enqueue", "dequeue", apply_holder, ORDER_FIRST, true},
    {"stack", "push", "pop", apply_holder, ORDER_LAST, false},
    {"priority-queue", "insert", "delete-min", apply_holder, ORDER_LEAST, false},
    {"linearizable-set", "add", "read", apply_set, ORDER_ANY, false},
    {"mutex", "acquire", "release", apply_mutex, ORDER_ANY, false},
    {"fenced-lock", "acquire", "release", apply_fenced, ORDER_ANY, false},
};

/* --- states ------------------------------------------------------------------------------------------------------- */

/* With room for one value more. */
static struct content content_of(const struct object *o, uint32_t state) {
    struct bytes bytes = history_text_bytes(o->states, state);
    struct content c = {.count = (uint32_t)(bytes.size / sizeof *c.values)};
    c.values = xcalloc((size_t)c.count + 1, sizeof *c.values);
    if (bytes.size) memcpy(c.values, bytes.data, bytes.size);
    return c;
}

static uint32_t state_of(struct object *o, const struct content *c) {
    return history_intern_bytes(o->states, bytes_of(c->values, c->count * sizeof *c->values));
}

static enum step_answer rule_step(struct object *o, uint32_t state, uint32_t op, uint32_t *next, struct buffer *out) {
    struct content c = content_of(o, state);
    bool taken = o->rule->apply(o, op, &c, out);
    if (taken) *next = state_of(o, &c);
    free(c.values);
    return taken ? STEP_TAKEN : STEP_REFUSED;
}

static void rule_print(const struct object *o, uint32_t state, struct buffer *out) {
    struct content c = content_of(o, state);
    if (o->rule->apply == apply_mutex) {
        buffer_printf(out, c.count ? "held" : "free");
    } else if (o->rule->apply == apply_fenced) {
        buffer_printf(out, c.count ? "token " : "no token");
        if (c.count) print_value(o->h, c.values[0], out);
    } else {
        uint32_t from = o->rule->again ? (uint32_t)c.values[0].integer + 1 : 0;
        buffer_printf(out, "[");
        for (uint32_t i = from; i < c.count; i++) {
            buffer_printf(out, i > from ? "," : "");
            print_value(o->h, c.values[i], out);
        }
        buffer_printf(out, "]");
    }
    free(c.values);
}

/* --- the seam ----------------------------------------------------------------------------------------------------- */

static int object_initial(void *context, uint64_t deadline_ns, uint64_t memory_bytes_max, uint32_t *state,
                          struct error *e) {
    struct object *o = context;
    (void)deadline_ns, (void)memory_bytes_max, (void)e;
    if (o->model) {
        *state = model_initial(o->model, o->h, &o->values);
    } else {
        struct value delivered = VALUE_OF_INT(0);
        *state = state_of(o, &(struct content){&delivered, o->rule->again});
    }
    return 0;
}

static enum step_answer object_step(void *context, uint32_t state, const struct history *h, uint32_t op, uint32_t *next,
                                    struct error *e) {
    struct object *o = context;
    (void)h, (void)e;
    return o->model ? model_step(o, state, op, next) : rule_step(o, state, op, next, NULL);
}

static void object_refusal(void *context, uint32_t state, const struct history *h, uint32_t op, struct buffer *out) {
    struct object *o = context;
    uint32_t next;
    (void)h;
    if (o->model) {
        model_refusal(o, state, op, out);
    } else {
        rule_step(o, state, op, &next, out);
    }
}

static void object_print(void *context, uint32_t state, struct buffer *out) {
    struct object *o = context;
    if (o->model) {
        values_print(&o->values, o->h, state, out);
    } else {
        rule_print(o, state, out);
    }
}

struct object *object_make(const char *name, const struct model *model, const struct history *h) {
    const struct rule *rule = NULL;
    if (!model) model = model_find(name);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(rules[i].name, name) == 0) rule = &rules[i];
    if (!model && !rule) return NULL;
    struct object *o = xcalloc(1, sizeof *o);
    *o = (struct object){.h = h, .rule = rule, .model = model};
    o->steps = (struct step_model){.name = name,
                                   .context = o,
                                   .initial = object_initial,
                                   .step = object_step,
                                   .print_state = object_print,
                                   .print_refusal = object_refusal};
    if (model) {
        values_clear(&o->values);
    } else {
        o->states = history_new();
    }
    return o;
}

const struct step_model *object_steps(const struct object *o) {
    return &o->steps;
}

void object_free(struct object *o) {
    if (!o) return;
    values_free(&o->values);
    history_free(o->states);
    free(o);
}
