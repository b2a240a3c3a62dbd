/* Elements by dense ids, functions by roles, and findings: what every check of a collection begins and ends with. */
#include "checkers/collections/internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* --- elements ----------------------------------------------------------------------------------------------------- */

void element_range_add(struct element_range *r, struct value v) {
    if (v.kind == VALUE_STRING) r->strings++;
    if (v.kind != VALUE_INT) return;
    if (r->integers == 0 || v.integer < r->lowest) r->lowest = v.integer;
    if (r->integers == 0 || v.integer > r->highest) r->highest = v.integer;
    r->integers++;
}

bool element_table_make(struct element_table *t, const struct history *h, const struct element_range *r,
                        struct budget *b) {
    *t = (struct element_table){.lowest = r->lowest};
    uint64_t width = (uint64_t)r->highest - (uint64_t)r->lowest;
    if (r->integers && width < 4 * r->integers + 1024) t->dense_size = width + 1;
    if (r->strings) t->strings = h->strings.count;
    uint64_t total = r->integers + r->strings, sparse = t->dense_size ? 0 : r->integers;
    if (total >= NONE || !budget_claim(b, 4 * t->dense_size + 4 * (uint64_t)t->strings + 40 * sparse + 24 * total))
        return false;
    t->dense = xmalloc_large(t->dense_size * sizeof *t->dense);
    memset(t->dense, 0xff, t->dense_size * sizeof *t->dense);
    t->by_string = xmalloc(t->strings * sizeof *t->by_string);
    memset(t->by_string, 0xff, t->strings * sizeof *t->by_string);
    return true;
}

uint32_t element_find(const struct element_table *t, struct value v) {
    if (v.kind == VALUE_STRING) return v.string < t->strings ? t->by_string[v.string] : NONE;
    if (v.kind != VALUE_INT) return NONE;
    if (t->dense_size) {
        uint64_t slot = (uint64_t)v.integer - (uint64_t)t->lowest;
        return slot < t->dense_size ? t->dense[slot] : NONE;
    }
    const uint64_t *id = map64_get(&t->sparse, (uint64_t)v.integer);
    return id ? (uint32_t)*id : NONE;
}

static uint32_t element_add(struct element_table *t, struct value v) {
    if (t->count == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : 64;
        t->values = xrealloc(t->values, t->capacity * sizeof *t->values);
    }
    t->values[t->count] = v;
    return t->count++;
}

uint32_t element_intern(struct element_table *t, struct value v) {
    uint32_t found = element_find(t, v);
    if (found != NONE || (v.kind != VALUE_INT && v.kind != VALUE_STRING)) return found;
    uint32_t id = element_add(t, v);
    if (v.kind == VALUE_STRING) {
        t->by_string[v.string] = id;
    } else if (t->dense_size) {
        t->dense[(uint64_t)v.integer - (uint64_t)t->lowest] = id;
    } else {
        bool inserted;
        *map64_put(&t->sparse, (uint64_t)v.integer, &inserted) = id;
    }
    return id;
}

void element_table_free(struct element_table *t) {
    free(t->dense);
    free(t->by_string);
    free(t->values);
    map64_free(&t->sparse);
}

/* --- roles -------------------------------------------------------------------------------------------------------- */

void roles_find(const struct history *h, const char *const *names, uint8_t roles[FUNCTIONS_MAX]) {
    memset(roles, ROLE_NONE, FUNCTIONS_MAX);
    for (uint16_t f = 0; f < OP_CUSTOM + h->custom_count; f++)
        for (uint8_t i = 0; names[i]; i++)
            if (strcmp(history_function_name(h, f), names[i]) == 0) roles[f] = (uint8_t)(i + 1);
}

bool roles_cover(const struct history *h, const uint8_t roles[FUNCTIONS_MAX], struct check_result *out) {
    bool ok = false;
    for (uint32_t op = 0; op < h->count; op++) {
        ok |= h->status[op] == OP_OK;
        if (roles[h->f[op]] != ROLE_NONE || h->status[op] == OP_FAIL) continue;
        struct buffer name = {0};
        print_function(h, op, &name);
        result_set(out, VERDICT_UNKNOWN, "operation %u is `%s`, which this check does not know", op,
                   buffer_text(&name));
        result_ops(out, &op, 1);
        buffer_free(&name);
        return false;
    }
    if (!ok) result_set(out, VERDICT_UNKNOWN, "no operation succeeded, so there is nothing to check");
    return ok;
}

/* --- findings ----------------------------------------------------------------------------------------------------- */

void finding_clear(struct finding *f) {
    f->line.size = 0;
    f->ops_count = 0;
}

void finding_op(struct finding *f, uint32_t op) {
    if (op == NONE) return;
    if (f->ops_count == f->ops_capacity) {
        f->ops_capacity = f->ops_capacity ? 2 * f->ops_capacity : 8;
        f->ops = xrealloc(f->ops, f->ops_capacity * sizeof *f->ops);
    }
    f->ops[f->ops_count++] = op;
}

void finding_free(struct finding *f) {
    buffer_free(&f->line);
    free(f->ops);
    *f = (struct finding){0};
}

#define OPS_SHOWN_MAX 100u

void finding_tell(struct finding *f, const struct history *h, struct check_result *out) {
    struct buffer text = {0};
    if (f->more) buffer_printf(&f->line, " (and %" PRIu64 " more)", f->more);
    result_set(out, VERDICT_INVALID, "%s", buffer_text(&f->line));
    result_ops(out, f->ops, f->ops_count);
    buffer_printf(&text, "%s\n\n", buffer_text(&f->line));
    uint32_t shown = out->ops_count < OPS_SHOWN_MAX ? out->ops_count : OPS_SHOWN_MAX;
    check_print_ops(h, out->ops, shown, &text);
    if (shown < out->ops_count) buffer_printf(&text, "... and %u more\n", out->ops_count - shown);
    print_lanes(h, out->ops, shown, &text);
    result_explain(out, &text);
}
