/* Operations of a history as commands of the KV store, and its results as values of the history.
 *
 * A register's value is stored as bytes: 'i' and eight bytes for an integer, 's' and the text for a string. */
#include <stdlib.h>

#include "harness/client/client.h"

enum { SCRATCH_MAX = 4096 };
static _Thread_local uint8_t scratch[SCRATCH_MAX]; /* bytes that one command refers to until it is encoded */

static bool scratch_value(const struct history *h, struct value v, size_t *used, struct kv_value *out) {
    if (v.kind == VALUE_NIL) {
        *out = (struct kv_value){.kind = KV_ABSENT};
        return true;
    }
    const void *data = &v.integer;
    size_t size = sizeof v.integer;
    char tag = 'i';
    if (v.kind == VALUE_STRING) {
        data = history_text(h, v.string);
        size = strlen(data);
        tag = 's';
    } else if (v.kind != VALUE_INT) {
        return false;
    }
    if (size + 1 > SCRATCH_MAX - *used) return false;
    uint8_t *at = scratch + *used;
    at[0] = (uint8_t)tag;
    memcpy(at + 1, data, size);
    *out = (struct kv_value){.kind = KV_BYTES, .bytes = bytes_of(at, size + 1)};
    *used += size + 1;
    return true;
}

static bool one_op(const struct history *h, uint16_t f, uint32_t key, struct value argument, size_t *used,
                   struct kv_op *out, const char **why) {
    *out = (struct kv_op){.key = bytes_str(history_text(h, key))};
    *why = "the value has a type that this operation does not take";
    switch (f) {
    case OP_READ: out->kind = KV_GET; return true;
    case OP_WRITE:
        out->kind = KV_PUT;
        *why = "write needs a number or a string";
        return argument.kind != VALUE_NIL && scratch_value(h, argument, used, &out->value);
    case OP_DELETE: out->kind = KV_DELETE; return true;
    case OP_CAS:
        out->kind = KV_CAS;
        *why = "cas needs a pair {expected, new}";
        if (argument.kind != VALUE_LIST || argument.size != 2) return false;
        return scratch_value(h, h->pool[argument.first], used, &out->expected) &&
               h->pool[argument.first + 1].kind != VALUE_NIL &&
               scratch_value(h, h->pool[argument.first + 1], used, &out->value);
    case OP_APPEND:
    case OP_ADD:
        out->kind = f == OP_APPEND ? KV_APPEND : KV_ADD;
        out->value = (struct kv_value){.kind = KV_COUNTER, .counter = argument.integer};
        *why = "append and add need an integer";
        return argument.kind == VALUE_INT;
    default: *why = "the store has no such operation"; return false;
    }
}

static uint16_t micro_function(const char *name) {
    static const char *const names[] = {"read", "write", "cas", "append", "add", "delete"};
    for (uint16_t f = 0; f < sizeof names / sizeof *names; f++)
        if (strcmp(names[f], name) == 0) return f;
    return strcmp(name, "r") == 0 ? OP_READ : strcmp(name, "w") == 0 ? OP_WRITE : OP_CUSTOM;
}

/* A transaction's element: [f, key, value]. */
static bool micro_op(const struct history *h, struct value element, size_t *used, struct kv_op *out, const char **why) {
    *why = "a txn is a list of {f, key, value}";
    if (element.kind != VALUE_LIST || element.size < 2) return false;
    const struct value *e = &h->pool[element.first];
    if (e[0].kind != VALUE_STRING || e[1].kind != VALUE_STRING) return false;
    struct value argument = element.size > 2 ? e[2] : VALUE_OF_NIL;
    return one_op(h, micro_function(history_text(h, e[0].string)), e[1].string, argument, used, out, why);
}

bool kv_from_op(const struct history *h, const struct world_op *op, struct kv_command *out, const char **why) {
    size_t used = 0;
    out->ops_count = 1;
    if (op->f != OP_TXN) return one_op(h, op->f, op->key, op->argument, &used, &out->ops[0], why);
    *why = "a txn holds 1 to 16 operations";
    if (op->argument.kind != VALUE_LIST || op->argument.size == 0 || op->argument.size > KV_OPS_MAX) return false;
    out->ops_count = (uint8_t)op->argument.size;
    for (uint32_t i = 0; i < op->argument.size; i++)
        if (!micro_op(h, h->pool[op->argument.first + i], &used, &out->ops[i], why)) return false;
    return true;
}

static struct value from_kv(struct history *h, const struct kv_value *v) {
    if (v->kind == KV_COUNTER) return VALUE_OF_INT(v->counter);
    if (v->kind == KV_LIST) {
        uint32_t n = (uint32_t)(v->bytes.size / 8);
        struct value *elements = xmalloc((n + 1) * sizeof *elements);
        for (uint32_t i = 0; i < n; i++) {
            int64_t x;
            memcpy(&x, v->bytes.data + 8 * (size_t)i, 8);
            elements[i] = VALUE_OF_INT(x);
        }
        struct value list = history_list(h, elements, n);
        free(elements);
        return list;
    }
    if (v->kind == KV_BYTES && v->bytes.size == 9 && v->bytes.data[0] == 'i') {
        int64_t x;
        memcpy(&x, v->bytes.data + 1, 8);
        return VALUE_OF_INT(x);
    }
    if (v->kind == KV_BYTES && v->bytes.size > 0) {
        struct bytes text = bytes_of(v->bytes.data + 1, v->bytes.size - 1);
        return (struct value){.kind = VALUE_STRING, .string = history_intern_bytes(h, text)};
    }
    return VALUE_OF_NIL;
}

struct value kv_to_value(struct history *h, const struct world_op *op, const struct kv_result *r) {
    if (op->f == OP_READ) return r->values_count ? from_kv(h, &r->values[0]) : VALUE_OF_NIL;
    if (op->f != OP_TXN) return op->argument;
    struct value results[KV_OPS_MAX];
    for (uint32_t i = 0; i < op->argument.size; i++) {
        struct value e[3];
        uint32_t first = h->pool[op->argument.first + i].first;
        e[0] = h->pool[first];
        e[1] = h->pool[first + 1];
        bool read = micro_function(history_text(h, e[0].string)) == OP_READ;
        bool given = h->pool[op->argument.first + i].size > 2;
        e[2] = read ? from_kv(h, &r->values[i]) : given ? h->pool[first + 2] : VALUE_OF_NIL;
        results[i] = history_list(h, e, 3);
    }
    return history_list(h, results, op->argument.size);
}
