/* Results: their making, merging and freeing, and the question whether a history is fit to be judged at all. */
#include "checkers/internal.h"

#include <stdio.h>
#include <stdlib.h>

void check_result_free(struct check_result *r) {
    free(r->name);
    free(r->detail);
    free(r->explanation);
    free(r->ops);
    picture_free(r->picture);
    *r = (struct check_result){0};
}

const char *verdict_name(enum verdict v) {
    switch (v) {
    case VERDICT_VALID: return "valid";
    case VERDICT_UNKNOWN: return "unknown";
    case VERDICT_INVALID: return "invalid";
    }
    return "unknown";
}

enum verdict verdict_merge(enum verdict a, enum verdict b) {
    return a > b ? a : b;
}

void result_start(struct check_result *out, const char *name) {
    *out = (struct check_result){.name = xstrdup(name), .verdict = VERDICT_UNKNOWN};
}

void result_set(struct check_result *out, enum verdict v, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    size_t size = (size_t)vsnprintf(NULL, 0, format, args) + 1;
    va_end(args);
    free(out->detail);
    out->detail = xmalloc(size);
    vsnprintf(out->detail, size, format, again);
    va_end(again);
    out->verdict = v;
}

void result_explain(struct check_result *out, struct buffer *text) {
    free(out->explanation);
    buffer_text(text);
    out->explanation = (char *)text->data;
    *text = (struct buffer){0};
}

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

void result_ops(struct check_result *out, const uint32_t *ops, uint32_t count) {
    free(out->ops);
    out->ops = xmalloc(count * sizeof *out->ops);
    if (count) memcpy(out->ops, ops, count * sizeof *out->ops);
    qsort(out->ops, count, sizeof *out->ops, by_number);
    out->ops_count = 0;
    for (uint32_t i = 0; i < count; i++)
        if (i == 0 || out->ops[i] != out->ops[out->ops_count - 1]) out->ops[out->ops_count++] = out->ops[i];
}

#define OPS_MAX (UINT32_C(1) << 30) /* positions of events have 32 bits, and two are spoken for */

/* NULL if nothing is. */
static const char *wrong_with(const struct history *h, uint32_t op) {
    const char *wrong = NULL;
    if (op && h->invoke_ns[op] < h->invoke_ns[op - 1]) wrong = "was invoked before its predecessor";
    if (h->status[op] > OP_INFO) wrong = "has no known status";
    if (h->status[op] != OP_PENDING && h->complete_ns[op] < h->invoke_ns[op]) wrong = "ended before it began";
    return wrong;
}

bool history_trusted(const struct history *h, struct check_result *out) {
    if (h->count > OPS_MAX) {
        result_set(out, VERDICT_UNKNOWN, "bad history: more than %u operations", (unsigned)OPS_MAX);
        return false;
    }
    for (uint32_t op = 0; op < h->count; op++) {
        const char *wrong = wrong_with(h, op);
        if (!wrong) continue;
        result_set(out, VERDICT_UNKNOWN, "bad history: operation %u %s", op, wrong);
        result_ops(out, &op, 1);
        return false;
    }
    return true;
}
