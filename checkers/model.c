/* The sequential models, as translations of operations into calls, and what a call does to a state.
 *
 * Only what a client was told counts: the result of an ok read, the match of an ok cas. Results of writes, adds and
 * appends are not looked at, because importers of foreign histories find the argument repeated there. */
#include "checkers/internal.h"

#define KNOWS(f) (UINT32_C(1) << (f))

static const struct model models[] = {
    {.name = "register", .doc = "one value: read, write", .functions = KNOWS(OP_READ) | KNOWS(OP_WRITE)},
    {.name = "cas-register",
     .doc = "one value: read, write, cas",
     .functions = KNOWS(OP_READ) | KNOWS(OP_WRITE) | KNOWS(OP_CAS)},
    {.name = "kv",
     .doc = "one key of a store: read, write, cas, delete, add, append; add and append create a missing key",
     .functions =
         KNOWS(OP_READ) | KNOWS(OP_WRITE) | KNOWS(OP_CAS) | KNOWS(OP_DELETE) | KNOWS(OP_ADD) | KNOWS(OP_APPEND)},
    {.name = "counter",
     .doc = "a sum: read, add; a missing counter is 0",
     .functions = KNOWS(OP_READ) | KNOWS(OP_ADD),
     .nil = {.kind = VALUE_INT}},
    {.name = "list",
     .doc = "a list: read, append; a missing list is empty",
     .functions = KNOWS(OP_READ) | KNOWS(OP_APPEND),
     .nil = {.kind = VALUE_LIST}},
};
#define MODELS_COUNT (sizeof models / sizeof *models)
static const struct model *const all[MODELS_COUNT] = {&models[0], &models[1], &models[2], &models[3], &models[4]};

const struct model *model_find(const char *name) {
    for (size_t i = 0; i < MODELS_COUNT; i++)
        if (strcmp(models[i].name, name) == 0) return &models[i];
    return NULL;
}

const struct model *const *models_all(size_t *count) {
    *count = MODELS_COUNT;
    return all;
}

const char *model_name(const struct model *m) {
    return m->name;
}

const char *model_doc(const struct model *m) {
    return m->doc;
}

uint32_t model_initial(const struct model *m, const struct history *h, struct values *values) {
    return values_intern(values, h, m->nil);
}

static bool encode_cas(const struct history *h, struct value argument, struct values *values, struct call *c) {
    if (argument.kind != VALUE_LIST || argument.size != 2) return false;
    c->guard = values_intern(values, h, h->pool[argument.first]);
    c->value = values_intern(values, h, h->pool[argument.first + 1]);
    c->effect = c->guard == c->value ? EFFECT_NONE : EFFECT_SET;
    return true;
}

bool model_encode(const struct model *m, const struct history *h, uint32_t op, struct values *values, struct call *c,
                  const char **why) {
    uint16_t f = h->f[op];
    *why = "is not an operation of this model";
    if (f >= OP_CUSTOM || !(m->functions & KNOWS(f))) return false;
    *why = "has an argument of the wrong kind";
    struct value argument = h->argument[op], result = h->result[op];
    c->guard = GUARD_ANY;
    c->value = VALUE_ID_NIL;
    switch ((enum op_function)f) {
    case OP_READ:
        c->guard = m->never_nil && result.kind == VALUE_NIL
                       ? GUARD_ANY
                       : values_intern(values, h, result.kind == VALUE_NIL ? m->nil : result);
        c->effect = EFFECT_NONE;
        return true;
    case OP_WRITE:
        c->value = values_intern(values, h, argument);
        c->effect = EFFECT_SET;
        return true;
    case OP_DELETE: c->effect = EFFECT_SET; return true;
    case OP_CAS: return encode_cas(h, argument, values, c);
    case OP_APPEND:
        c->value = values_intern(values, h, argument);
        c->effect = EFFECT_APPEND;
        return true;
    case OP_ADD:
        if (argument.kind != VALUE_INT) return false;
        c->value = values_integer(values, argument.integer);
        c->effect = EFFECT_ADD;
        return true;
    case OP_TXN:
    case OP_CUSTOM: break;
    }
    return false;
}

uint32_t call_apply(const struct call *c, struct values *values, uint32_t state) {
    struct value_entry e = values->entries[state];
    switch ((enum effect)c->effect) {
    case EFFECT_NONE: return state;
    case EFFECT_SET: return c->value;
    case EFFECT_ADD:
        if (e.kind == VALUE_NIL) return c->value;
        if (e.kind != VALUE_INT) return NONE;
        /* Sums wrap, as the machine's do. */
        return values_integer(values, (int64_t)((uint64_t)e.integer + (uint64_t)values->entries[c->value].integer));
    case EFFECT_APPEND:
        if (e.kind == VALUE_NIL) return values_append(values, VALUE_ID_EMPTY, c->value);
        if (e.kind != VALUE_LIST) return NONE;
        return values_append(values, state, c->value);
    }
    return NONE;
}
