/* A history as JSON lines (jsonl.h) or as EDN. Events leave in order of time; at equal times an operation's completion
 * stands before every later invocation, so that no process seems to act while its operation is open.
 *
 * The two notations differ in how a field is named and in what a name may be written as; the fields are the same. In
 * EDN the first line says, in a comment, what Jepsen's notation leaves open: that the times are meant, and whether
 * values are [key value]. */
#include <errno.h>
#include <stdlib.h>

#include "history/events_internal.h"
#include "history/import_internal.h"
#include "history/jsonl.h"

#define OUTPUT_BYTES ((size_t)1 << 16)

static const char *const status_names[] = {[OP_OK] = "ok", [OP_FAIL] = "fail", [OP_INFO] = "info"};

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
    bool edn;
    bool keyed; /* EDN: values are [key value] */
};

static void put(struct buffer *b, const char *text) {
    buffer_append(b, text, strlen(text));
}

/* --- fields ------------------------------------------------------------------------------------------------------- */

static void begin_event(struct exporter *x) {
    put(&x->text, "{");
}

static void end_event(struct exporter *x) {
    put(&x->text, "}\n");
}

static void put_name(struct exporter *x, const char *name) {
    struct buffer *b = &x->text;
    bool first = b->data[b->size - 1] == '{';
    put(b, x->edn ? (first ? ":" : ", :") : first ? "\"" : ",\"");
    put(b, name);
    put(b, x->edn ? " " : "\":");
}

static void put_u64(struct exporter *x, const char *name, uint64_t number) {
    put_name(x, name);
    json_print_u64(number, &x->text);
}

static bool is_keyword(struct bytes text) {
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && (i == 0 || !((c >= '0' && c <= '9') || (c != 0 && strchr("-_?!*", c))))) return false;
    }
    return text.size > 0;
}

/* A name out of a small set: a keyword in EDN if it can be one. */
static void print_word(const struct exporter *x, struct bytes text, struct buffer *b) {
    if (!x->edn || !is_keyword(text)) {
        json_print_string(text, b);
        return;
    }
    put(b, ":");
    buffer_append(b, text.data, text.size);
}

static void put_word(struct exporter *x, const char *name, struct bytes text) {
    put_name(x, name);
    print_word(x, text, &x->text);
}

static void put_text(struct exporter *x, const char *name, struct bytes text) {
    put_name(x, name);
    json_print_string(text, &x->text);
}

static void put_node(struct exporter *x, uint8_t node) {
    char name[8];
    if (node == NODE_UNKNOWN) return;
    snprintf(name, sizeof name, "n%u", node + 1u);
    put_text(x, "node", bytes_str(name));
}

static void edn_print(const struct exporter *x, struct value v, uint32_t depth, struct buffer *b) {
    if (v.kind == VALUE_NIL) {
        put(b, "nil");
    } else if (v.kind != VALUE_LIST) {
        history_value_print(x->h, v, b);
    } else {
        put(b, "[");
        for (uint32_t i = 0; i < v.size; i++) {
            struct value element = x->h->pool[v.first + i];
            if (i) put(b, " ");
            if (i == 0 && depth > 0 && element.kind == VALUE_STRING)
                print_word(x, history_text_bytes(x->h, element.string), b); /* [:append 1 2] */
            else
                edn_print(x, element, depth + 1, b);
        }
        put(b, "]");
    }
}

static void put_value(struct exporter *x, const char *name, uint32_t key, struct value v) {
    struct buffer *b = &x->text;
    put_name(x, name);
    if (!x->edn) {
        history_value_print(x->h, v, b);
        return;
    }
    if (x->keyed) {
        put(b, "[");
        json_print_string(history_text_bytes(x->h, key), b);
        put(b, " ");
    }
    edn_print(x, v, x->keyed, b);
    if (x->keyed) put(b, "]");
}

/* --- events ------------------------------------------------------------------------------------------------------- */

static void put_operation(struct exporter *x, uint32_t op, const char *type, struct value value) {
    const struct history *h = x->h;
    begin_event(x);
    put_u64(x, "process", h->process[op]);
    put_word(x, "type", bytes_str(type));
    put_word(x, "f", bytes_str(history_function_name(h, h->f[op])));
    if (h->key[op] != NO_STRING && !x->keyed) put_text(x, "key", history_text_bytes(h, h->key[op]));
    put_value(x, "value", h->key[op], value);
}

static void put_invocation(struct exporter *x, uint32_t op) {
    const struct history *h = x->h;
    put_operation(x, op, "invoke", h->argument[op]);
    put_node(x, h->node[op]);
    if (h->intended_ns[op] != h->invoke_ns[op]) put_u64(x, "intended", h->intended_ns[op]);
    if (h->final_phase[op]) {
        put_name(x, "final");
        put(&x->text, "true");
    }
    put_u64(x, "time", h->invoke_ns[op]);
    end_event(x);
}

static void put_completion(struct exporter *x, uint32_t op) {
    const struct history *h = x->h;
    bool result_is_value = h->status[op] == OP_OK && jsonl_value_is_result(h->f[op]);
    put_operation(x, op, status_names[h->status[op]], result_is_value ? h->result[op] : h->argument[op]);
    if (!result_is_value && h->result[op].kind != VALUE_NIL) put_value(x, "result", h->key[op], h->result[op]);
    if (h->error[op] != NO_STRING) put_text(x, "error", history_text_bytes(h, h->error[op]));
    put_u64(x, "time", h->complete_ns[op]);
    end_event(x);
}

static void begin_aside(struct exporter *x, const char *f) {
    begin_event(x);
    put_word(x, "process", bytes_str("nemesis"));
    put_word(x, "type", bytes_str("info"));
    put_word(x, "f", bytes_str(f));
}

static void put_fault(struct exporter *x, uint32_t index, bool start) {
    const struct fault_record *fault = &x->h->faults[index];
    begin_aside(x, start ? "start" : "stop");
    put_u64(x, "fault", index);
    put_text(x, "name", history_text_bytes(x->h, fault->name));
    if (start && fault->detail != NO_STRING) put_text(x, "value", history_text_bytes(x->h, fault->detail));
    if (start && fault->colour != NO_STRING) put_text(x, "colour", history_text_bytes(x->h, fault->colour));
    if (!start) put_u64(x, "affected", fault->affected);
    if (!start) put_u64(x, "offered", fault->offered);
    put_u64(x, "time", start ? fault->start_ns : fault->end_ns);
    end_event(x);
}

static void put_sample(struct exporter *x, const struct sample *s) {
    begin_aside(x, events_sample_names[s->kind]);
    put_node(x, s->node);
    put_word(x, "role", bytes_str(events_role_names[s->role]));
    put_u64(x, "term", s->term);
    if (s->text != NO_STRING) put_text(x, "value", history_text_bytes(x->h, s->text));
    put_u64(x, "time", s->time_ns);
    end_event(x);
}

/* --- their order -------------------------------------------------------------------------------------------------- */

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

static int put_all(struct exporter x, struct error *e) {
    const struct history *h = x.h;
    int rc = -1;
    collect_asides(&x);
    for (uint32_t op = 0; op < h->count; op++) {
        if (put_until(&x, h->invoke_ns[op], op, e)) goto done;
        put_invocation(&x, op);
        if (h->status[op] != OP_PENDING)
            heap_push(&x.open, (struct heap_item){.time_ns = h->complete_ns[op], .sequence = op});
    }
    if (put_until(&x, UINT64_MAX, UINT64_MAX, e) || flush(&x, 0, e)) goto done;
    if (fflush(x.out)) {
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

int jsonl_export(const struct history *h, FILE *out, struct error *e) {
    return put_all((struct exporter){.h = h, .out = out}, e);
}

static bool is_deep(const struct history *h, struct value v, uint32_t depth) {
    bool deep = depth == VALUE_DEPTH_MAX;
    for (uint32_t i = 0; !deep && v.kind == VALUE_LIST && i < v.size; i++)
        deep = is_deep(h, h->pool[v.first + i], depth + 1);
    return deep;
}

int edn_export(const struct history *h, FILE *out, struct error *e) {
    bool keyed = h->count > 0;
    for (uint32_t op = 0; keyed && op < h->count; op++) /* a pair is one level more */
        keyed = h->key[op] != NO_STRING && !is_deep(h, h->argument[op], 1) && !is_deep(h, h->result[op], 1);
    fprintf(out, ";; harrow: exact times%s\n", keyed ? ", keyed values" : "");
    return put_all((struct exporter){.h = h, .out = out, .edn = true, .keyed = keyed}, e);
}
