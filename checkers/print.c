/* Operations as text: short phrases for messages, and aligned tables. */
#include "checkers/internal.h"

#include <inttypes.h>
#include <stdlib.h>

const char *buffer_text(struct buffer *b) {
    buffer_printf(b, "%s", "");
    return (const char *)b->data;
}

#define TEXT_PRINT_MAX 200u   /* bytes of a string; longer ones are cut */
#define VALUE_PRINT_MAX 2000u /* bytes of a value with all that is in it, about */

/* As a JSON string; not cut within a character or an escape sequence. */
static void print_string(const struct history *h, uint32_t id, struct buffer *out) {
    size_t begin = out->size, size = begin + TEXT_PRINT_MAX;
    history_value_print(h, (struct value){.kind = VALUE_STRING, .string = id}, out);
    if (out->size <= size + 1) return;
    while ((out->data[size] & 0xc0) == 0x80) size--;
    for (size_t at = begin; at < size; at++) {
        if (out->data[at] != '\\') continue;
        size_t end = at + (out->data[at + 1] == 'u' ? 6 : 2);
        if (end > size) size = at;
        at = end - 1;
    }
    out->size = size;
    buffer_printf(out, "...\" (%zu bytes)", history_text_bytes(h, id).size);
}

/* Text that fits on a line as it is, or as a JSON string. */
static void print_line_of(const struct history *h, uint32_t id, bool spaces, struct buffer *out) {
    struct bytes text = history_text_bytes(h, id);
    bool plain = text.size > 0 && text.size <= TEXT_PRINT_MAX;
    for (size_t i = 0; i < text.size; i++)
        plain &= text.data[i] >= (spaces ? ' ' : '!') && text.data[i] != 0x7f && text.data[i] != '"';
    if (plain) {
        buffer_append(out, text.data, text.size);
    } else {
        print_string(h, id, out);
    }
}

void print_text(const struct history *h, uint32_t id, struct buffer *out) {
    print_line_of(h, id, true, out);
}

void print_function(const struct history *h, uint32_t op, struct buffer *out) {
    if (h->f[op] < OP_CUSTOM) {
        buffer_printf(out, "%s", history_function_name(h, h->f[op]));
    } else {
        print_text(h, h->custom[h->f[op] - OP_CUSTOM], out);
    }
}

void print_key(const struct history *h, uint32_t key, struct buffer *out) {
    if (key == NO_STRING) {
        buffer_printf(out, "operations without a key");
        return;
    }
    buffer_printf(out, "key ");
    print_line_of(h, key, false, out);
}

void print_duration(uint64_t ns, struct buffer *out) {
    static const struct {
        uint64_t ns;
        const char *unit;
    } units[] = {{NS_PER_S, "s"}, {NS_PER_MS, "ms"}, {NS_PER_US, "us"}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (ns < units[i].ns) continue;
        uint64_t whole = ns / units[i].ns, tenth = ns % units[i].ns * 10 / units[i].ns;
        if (whole < 100 && tenth) {
            buffer_printf(out, "%" PRIu64 ".%" PRIu64 " %s", whole, tenth, units[i].unit);
        } else {
            buffer_printf(out, "%" PRIu64 " %s", whole, units[i].unit);
        }
        return;
    }
    buffer_printf(out, "%" PRIu64 " ns", ns);
}

/* What would go far beyond the end is left out. */
static void print_up_to(const struct history *h, struct value v, size_t end, struct buffer *out) {
    if (v.kind == VALUE_STRING) {
        print_string(h, v.string, out);
    } else if (v.kind != VALUE_LIST) {
        history_value_print(h, v, out);
    } else {
        buffer_printf(out, "[");
        for (uint32_t i = 0; i < v.size; i++) {
            if (i) buffer_printf(out, ",");
            bool full = out->size > end;
            if (full || (v.size > LIST_PRINT_MAX && i == LIST_PRINT_MAX / 2)) {
                buffer_printf(out, full ? "..." : "...,");
                i = full ? v.size - 1 : v.size - LIST_PRINT_MAX / 2;
            }
            if (!full) print_up_to(h, h->pool[v.first + i], end, out);
        }
        buffer_printf(out, "]");
    }
}

void print_value(const struct history *h, struct value v, struct buffer *out) {
    print_up_to(h, v, out->size + VALUE_PRINT_MAX, out);
}

static bool is_pair(struct value v) {
    return v.kind == VALUE_LIST && v.size == 2;
}

/* Of other functions the result is the argument again, or nothing. */
static bool tells_result(const struct history *h, uint32_t op) {
    if (h->f[op] < OP_TXN) return h->f[op] == OP_READ;
    return h->result[op].kind != VALUE_NIL && !history_value_equal(h, h->result[op], h->argument[op]);
}

void print_op(const struct history *h, uint32_t op, struct buffer *out) {
    struct value argument = h->argument[op];
    print_function(h, op, out);
    if (h->f[op] == OP_CAS && is_pair(argument)) {
        buffer_printf(out, " ");
        print_value(h, h->pool[argument.first], out);
        buffer_printf(out, " to ");
        print_value(h, h->pool[argument.first + 1], out);
    } else if (argument.kind != VALUE_NIL || h->f[op] == OP_WRITE) {
        buffer_printf(out, " ");
        print_value(h, argument, out);
    }
    if (h->status[op] == OP_OK && tells_result(h, op)) {
        buffer_printf(out, " -> ");
        print_value(h, h->result[op], out);
    }
    if (h->status[op] == OP_FAIL) buffer_printf(out, " failed");
}

/* --- tables ------------------------------------------------------------------------------------------------------- */

enum {
    COLUMN_TIME,
    COLUMN_TOOK,
    COLUMN_PROCESS,
    COLUMN_NODE,
    COLUMN_F,
    COLUMN_KEY,
    COLUMN_ARGUMENT,
    COLUMN_RESULT,
    COLUMN_STATUS,
    COLUMNS
};
static const char *const headings[COLUMNS] = {"time s", "took",     "process", "node",  "f",
                                              "key",    "argument", "result",  "status"};

static void print_cell(const struct history *h, uint32_t op, uint32_t column, struct buffer *out) {
    uint64_t at = h->invoke_ns[op];
    switch (column) {
    case COLUMN_TIME: buffer_printf(out, "%" PRIu64 ".%06" PRIu64, at / NS_PER_S, at % NS_PER_S / NS_PER_US); break;
    case COLUMN_TOOK:
        if (h->status[op] != OP_PENDING) print_duration(h->complete_ns[op] - at, out);
        break;
    case COLUMN_PROCESS: buffer_printf(out, "%" PRIu32, h->process[op]); break;
    case COLUMN_NODE:
        if (h->node[op] != NODE_UNKNOWN) buffer_printf(out, "n%u", h->node[op] + 1u);
        break;
    case COLUMN_F: print_function(h, op, out); break;
    case COLUMN_KEY:
        if (h->key[op] != NO_STRING) print_text(h, h->key[op], out);
        break;
    case COLUMN_ARGUMENT:
        if (h->argument[op].kind != VALUE_NIL || h->f[op] == OP_WRITE) print_value(h, h->argument[op], out);
        break;
    case COLUMN_RESULT:
        if (h->status[op] == OP_OK && (h->result[op].kind != VALUE_NIL || h->f[op] == OP_READ))
            print_value(h, h->result[op], out);
        break;
    case COLUMN_STATUS: {
        static const char *const names[] = {"pending", "ok", "fail", "info"};
        buffer_printf(out, "%s", names[h->status[op]]);
        if (h->error[op] == NO_STRING) break;
        buffer_printf(out, " (");
        print_text(h, h->error[op], out);
        buffer_printf(out, ")");
        break;
    }
    default: break;
    }
}

void check_print_ops(const struct history *h, const uint32_t *ops, uint32_t count, struct buffer *out) {
    size_t cells = ((size_t)count + 1) * COLUMNS, widths[COLUMNS] = {0};
    size_t *begin = xmalloc((cells + 1) * sizeof *begin);
    struct buffer text = {0};
    for (size_t cell = 0; cell < cells; cell++) {
        size_t row = cell / COLUMNS, column = cell % COLUMNS;
        begin[cell] = text.size;
        if (row == 0) {
            buffer_printf(&text, "%s", headings[column]);
        } else {
            print_cell(h, ops[row - 1], (uint32_t)column, &text);
        }
        if (text.size - begin[cell] > widths[column]) widths[column] = text.size - begin[cell];
    }
    begin[cells] = text.size;
    for (size_t cell = 0; cell < cells; cell++) {
        size_t column = cell % COLUMNS, size = begin[cell + 1] - begin[cell], pad = widths[column] - size;
        bool number = column <= COLUMN_NODE;
        buffer_printf(out, "%*s", number ? (int)pad : 0, "");
        buffer_append(out, text.data + begin[cell], size);
        if (column == COLUMNS - 1) {
            buffer_printf(out, "\n");
        } else {
            buffer_printf(out, "%*s  ", number ? 0 : (int)pad, "");
        }
    }
    buffer_free(&text);
    free(begin);
}
