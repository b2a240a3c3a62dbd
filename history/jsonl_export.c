/* A history as JSON lines (jsonl.h). Events leave in order of time; at equal times an operation's completion stands
 * before every later invocation, so that no process seems to act while its operation is open. */
#include "history/jsonl.h"

#include <errno.h>
#include <stdlib.h>

#include "history/json_internal.h"

#define OUTPUT_BYTES ((size_t)1 << 16)

static const char *const status_names[] = {[OP_OK] = "ok", [OP_FAIL] = "fail", [OP_INFO] = "info"};
static const char *const role_names[] = {
    [ROLE_FOLLOWER] = "follower", [ROLE_CANDIDATE] = "candidate", [ROLE_LEADER] = "leader"};
static const char *const sample_names[] = {
    [SAMPLE_ROLE] = "role", [SAMPLE_NODE_DOWN] = "node-down", [SAMPLE_NODE_UP] = "node-up", [SAMPLE_LOG] = "log"};

/* What is not a client's: the start or end of a fault, or a sample. Ordered by time, then as recorded. */
enum aside_kind { ASIDE_FAULT_START, ASIDE_FAULT_END, ASIDE_SAMPLE };
struct aside {
    uint64_t time_ns;
    uint32_t kind, index;
};

struct exporter {
    const struct history *h;
    FILE *out;
    struct buffer text;
    struct heap open; /* operations that were invoked and will complete: by (time, number) */
    struct aside *asides;
    size_t asides_count, asides_done;
};

static void put(struct buffer *b, const char *text) {
    buffer_append(b, text, strlen(text));
}

static void put_u64(struct buffer *b, const char *name, uint64_t number) {
    put(b, name);
    json_print_u64(number, b);
}

static void put_text(struct buffer *b, const char *name, struct bytes text) {
    put(b, name);
    json_print_string(text, b);
}

static void put_node(struct buffer *b, uint8_t node) {
    if (node == NODE_UNKNOWN) return;
    put_u64(b, ",\"node\":\"n", (uint64_t)node + 1);
    put(b, "\"");
}

static void put_operation(struct exporter *x, uint32_t op, const char *type, struct value value) {
    struct buffer *b = &x->text;
    put_u64(b, "{\"process\":", x->h->process[op]);
    put(b, ",\"type\":\"");
    put(b, type);
    put_text(b, "\",\"f\":", bytes_str(history_function_name(x->h, x->h->f[op])));
    if (x->h->key[op] != NO_STRING) put_text(b, ",\"key\":", history_text_bytes(x->h, x->h->key[op]));
    put(b, ",\"value\":");
    history_value_print(x->h, value, b);
}

static void put_invocation(struct exporter *x, uint32_t op) {
    const struct history *h = x->h;
    struct buffer *b = &x->text;
    put_operation(x, op, "invoke", h->argument[op]);
    put_node(b, h->node[op]);
    if (h->intended_ns[op] != h->invoke_ns[op]) put_u64(b, ",\"intended\":", h->intended_ns[op]);
    if (h->final_phase[op]) put(b, ",\"final\":true");
    put_u64(b, ",\"time\":", h->invoke_ns[op]);
    put(b, "}\n");
}

static void put_completion(struct exporter *x, uint32_t op) {
    const struct history *h = x->h;
    struct buffer *b = &x->text;
    bool result_is_value = h->status[op] == OP_OK && jsonl_value_is_result(h->f[op]);
    put_operation(x, op, status_names[h->status[op]], result_is_value ? h->result[op] : h->argument[op]);
    if (!result_is_value && h->result[op].kind != VALUE_NIL) {
        put(b, ",\"result\":");
        history_value_print(h, h->result[op], b);
    }
    if (h->error[op] != NO_STRING) put_text(b, ",\"error\":", history_text_bytes(h, h->error[op]));
    put_u64(b, ",\"time\":", h->complete_ns[op]);
    put(b, "}\n");
}

static void put_fault(struct exporter *x, uint32_t index, bool start) {
    const struct fault_record *fault = &x->h->faults[index];
    struct buffer *b = &x->text;
    put(b, "{\"process\":\"nemesis\",\"type\":\"info\",\"f\":");
    put(b, start ? "\"start\"" : "\"stop\"");
    put_u64(b, ",\"fault\":", index);
    put_text(b, ",\"name\":", history_text_bytes(x->h, fault->name));
    if (start && fault->detail != NO_STRING) put_text(b, ",\"value\":", history_text_bytes(x->h, fault->detail));
    if (start && fault->colour != NO_STRING) put_text(b, ",\"colour\":", history_text_bytes(x->h, fault->colour));
    if (!start) put_u64(b, ",\"affected\":", fault->affected);
    if (!start) put_u64(b, ",\"offered\":", fault->offered);
    put_u64(b, ",\"time\":", start ? fault->start_ns : fault->end_ns);
    put(b, "}\n");
}

static void put_sample(struct exporter *x, const struct sample *s) {
    struct buffer *b = &x->text;
    put(b, "{\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"");
    put(b, sample_names[s->kind]);
    put(b, "\"");
    put_node(b, s->node);
    put(b, ",\"role\":\"");
    put(b, role_names[s->role]);
    put_u64(b, "\",\"term\":", s->term);
    if (s->text != NO_STRING) put_text(b, ",\"value\":", history_text_bytes(x->h, s->text));
    put_u64(b, ",\"time\":", s->time_ns);
    put(b, "}\n");
}

static int compare_asides(const void *a, const void *b) {
    const struct aside *x = a, *y = b;
    if (x->time_ns != y->time_ns) return x->time_ns < y->time_ns ? -1 : 1;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static void collect_asides(struct exporter *x) {
    const struct history *h = x->h;
    x->asides = xmalloc((2 * (size_t)h->faults_count + h->samples_count) * sizeof *x->asides);
    for (uint32_t i = 0; i < h->faults_count; i++) {
        x->asides[x->asides_count++] = (struct aside){h->faults[i].start_ns, ASIDE_FAULT_START, i};
        if (h->faults[i].end_ns != UINT64_MAX)
            x->asides[x->asides_count++] = (struct aside){h->faults[i].end_ns, ASIDE_FAULT_END, i};
    }
    for (uint32_t i = 0; i < h->samples_count; i++)
        x->asides[x->asides_count++] = (struct aside){h->samples[i].time_ns, ASIDE_SAMPLE, i};
    qsort(x->asides, x->asides_count, sizeof *x->asides, compare_asides);
}

static int flush(struct exporter *x, size_t at_least, struct error *e) {
    if (x->text.size < at_least) return 0;
    if (fwrite(x->text.data, 1, x->text.size, x->out) != x->text.size)
        return error_set(e, "cannot write the history: %s", strerror(errno));
    x->text.size = 0;
    return 0;
}

/* Writes everything that stands before the invocation of `op` at time_ns. */
static int put_until(struct exporter *x, uint64_t time_ns, uint64_t op, struct error *e) {
    for (;;) {
        if (flush(x, OUTPUT_BYTES, e)) return -1;
        const struct heap_item *next = heap_top(&x->open);
        bool completes = next && (next->time_ns < time_ns || (next->time_ns == time_ns && next->sequence < op));
        uint64_t before_ns = completes ? next->time_ns : time_ns;
        const struct aside *aside = &x->asides[x->asides_done];
        if (x->asides_done < x->asides_count && aside->time_ns <= before_ns) {
            x->asides_done++;
            if (aside->kind == ASIDE_SAMPLE)
                put_sample(x, &x->h->samples[aside->index]);
            else
                put_fault(x, aside->index, aside->kind == ASIDE_FAULT_START);
        } else if (completes) {
            put_completion(x, (uint32_t)heap_pop(&x->open).sequence);
        } else {
            return 0;
        }
    }
}

int jsonl_export(const struct history *h, FILE *out, struct error *e) {
    struct exporter x = {.h = h, .out = out};
    int rc = -1;
    collect_asides(&x);
    for (uint32_t op = 0; op < h->count; op++) {
        if (put_until(&x, h->invoke_ns[op], op, e)) goto done;
        put_invocation(&x, op);
        if (h->status[op] != OP_PENDING)
            heap_push(&x.open, (struct heap_item){.time_ns = h->complete_ns[op], .sequence = op});
    }
    if (put_until(&x, UINT64_MAX, UINT64_MAX, e) || flush(&x, 0, e)) goto done;
    if (fflush(out)) {
        error_set(e, "cannot write the history: %s", strerror(errno));
        goto done;
    }
    rc = 0;
done:
    heap_free(&x.open);
    buffer_free(&x.text);
    free(x.asides);
    return rc;
}
