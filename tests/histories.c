/* Random histories and their equality: what a file format must carry is tried with values that are hard to carry. */
#include "tests/histories.h"

static const char *const texts[] = {"",
                                    "k1",
                                    "a longer key, with \"quotes\" and \\",
                                    "tab\tnewline\nbell\a",
                                    "Gr\xc3\xbc\xc3\x9f Gott \xf0\x9f\x9a\x9c",
                                    "not utf-8: \xff\xc3 \xed\xa0\x80",
                                    "1",
                                    "null"};
#define TEXTS (sizeof texts / sizeof *texts)

static uint32_t random_text(struct random_history *r) {
    if (prng_below(&r->prng, 50) == 0) return history_intern_bytes(r->h, bytes_of("with\0nul", 8));
    return history_intern(r->h, texts[prng_below(&r->prng, TEXTS)]);
}

static struct value random_value(struct random_history *r, uint32_t depth) {
    static const int64_t integers[] = {0, 1, -1, 42, INT64_MAX, INT64_MIN};
    struct value elements[4];
    switch (prng_below(&r->prng, depth < 4 ? 5 : 3)) {
    case 0: return VALUE_OF_NIL;
    case 1: return VALUE_OF_INT(integers[prng_below(&r->prng, 6)]);
    case 2: return (struct value){.kind = VALUE_STRING, .string = random_text(r)};
    default: break;
    }
    uint32_t count = (uint32_t)prng_below(&r->prng, 5);
    for (uint32_t i = 0; i < count; i++) elements[i] = random_value(r, depth + 1);
    return history_list(r->h, elements, count);
}

void random_history_start(struct random_history *r, struct history *h, uint64_t seed) {
    *r = (struct random_history){.h = h, .process_next = 8, .fault = UINT32_MAX};
    prng_seed(&r->prng, seed, 1);
    for (uint32_t i = 0; i < 8; i++) {
        r->processes[i] = i;
        r->open[i] = UINT32_MAX;
    }
}

static void random_operation(struct random_history *r, uint32_t at) {
    static const char *const custom[] = {"enqueue", "take \"it\"", "Z"};
    struct history *h = r->h;
    if (r->open[at] == UINT32_MAX) {
        uint16_t f = (uint16_t)prng_below(&r->prng, OP_CUSTOM);
        if (prng_below(&r->prng, 6) == 0) f = history_function(h, custom[prng_below(&r->prng, 3)]);
        uint32_t key = prng_below(&r->prng, 5) ? random_text(r) : NO_STRING;
        uint64_t late_ns = prng_below(&r->prng, 2) ? prng_below(&r->prng, r->now_ns + 1) : 0;
        uint8_t node = prng_below(&r->prng, 9) ? (uint8_t)prng_below(&r->prng, 255) : NODE_UNKNOWN;
        uint32_t op =
            history_invoke(h, r->now_ns, r->now_ns - late_ns, r->processes[at], node, f, key, random_value(r, 0));
        h->final_phase[op] = prng_below(&r->prng, 10) == 0;
        r->open[at] = op;
        return;
    }
    uint32_t op = r->open[at], error = prng_below(&r->prng, 3) ? NO_STRING : random_text(r);
    enum op_status status = (enum op_status)(1 + prng_below(&r->prng, 3));
    struct value result = prng_below(&r->prng, 2) ? random_value(r, 0) : VALUE_OF_NIL;
    history_complete(h, op, r->now_ns, status, result, error);
    r->open[at] = UINT32_MAX;
    if (status == OP_INFO) r->processes[at] = r->process_next++;
}

static void random_aside(struct random_history *r) {
    if (prng_below(&r->prng, 2)) {
        struct sample s = {.time_ns = r->now_ns,
                           .kind = (uint8_t)prng_below(&r->prng, SAMPLE_KINDS),
                           .node = prng_below(&r->prng, 9) ? (uint8_t)prng_below(&r->prng, 9) : NODE_UNKNOWN,
                           .role = (uint8_t)prng_below(&r->prng, 3),
                           .term = prng_below(&r->prng, 2) ? UINT64_MAX : prng_below(&r->prng, 100),
                           .text = prng_below(&r->prng, 2) ? random_text(r) : NO_STRING};
        history_sample(r->h, s);
    } else if (r->fault == UINT32_MAX) {
        const char *detail = prng_below(&r->prng, 2) ? "n1 | n2 n3" : NULL;
        r->fault = history_fault_start(r->h, r->now_ns, "partition halves", detail, "#aa0000");
    } else {
        history_fault_end(r->h, r->fault, r->now_ns, prng_next(&r->prng), UINT64_MAX);
        r->fault = UINT32_MAX;
    }
}

void random_history_go_on(struct random_history *r, uint32_t steps) {
    for (uint32_t i = 0; i < steps; i++) {
        if (prng_below(&r->prng, 2)) r->now_ns += prng_below(&r->prng, 1000);
        if (prng_below(&r->prng, 30) == 0)
            random_aside(r);
        else
            random_operation(r, (uint32_t)prng_below(&r->prng, 8));
    }
}

/* --- equality ----------------------------------------------------------------------------------------------------- */

static bool same_text(const struct history *a, uint32_t x, const struct history *b, uint32_t y) {
    if ((x == NO_STRING) != (y == NO_STRING)) return false;
    return bytes_equal(history_text_bytes(a, x), history_text_bytes(b, y));
}

static bool same_value(const struct history *a, struct value x, const struct history *b, struct value y) {
    if (x.kind != y.kind) return false;
    if (x.kind == VALUE_INT) return x.integer == y.integer;
    if (x.kind == VALUE_STRING) return same_text(a, x.string, b, y.string);
    if (x.kind != VALUE_LIST) return true;
    if (x.size != y.size) return false;
    for (uint32_t i = 0; i < x.size; i++)
        if (!same_value(a, a->pool[x.first + i], b, b->pool[y.first + i])) return false;
    return true;
}

static const char *invocations_differ(const struct history *a, const struct history *b, uint32_t op) {
    if (a->process[op] != b->process[op]) return "process";
    if (a->node[op] != b->node[op]) return "node";
    if (strcmp(history_function_name(a, a->f[op]), history_function_name(b, b->f[op])) != 0) return "f";
    if (!same_text(a, a->key[op], b, b->key[op])) return "key";
    if (!same_value(a, a->argument[op], b, b->argument[op])) return "argument";
    if (a->intended_ns[op] != b->intended_ns[op]) return "intended_ns";
    if (a->invoke_ns[op] != b->invoke_ns[op]) return "invoke_ns";
    if (a->final_phase[op] != b->final_phase[op]) return "final_phase";
    return NULL;
}

static const char *completions_differ(const struct history *a, const struct history *b, uint32_t op) {
    if (a->status[op] != b->status[op]) return "status";
    if (a->complete_ns[op] != b->complete_ns[op]) return "complete_ns";
    if (!same_value(a, a->result[op], b, b->result[op])) return "result";
    if (!same_text(a, a->error[op], b, b->error[op])) return "error";
    return NULL;
}

bool history_begins_with(const struct history *a, const struct history *b, uint32_t count, struct error *why) {
    if (a->count < count || b->count < count) return error_set(why, "%u and %u operations", a->count, b->count) == 0;
    for (uint32_t op = 0; op < count; op++) {
        const char *column = invocations_differ(a, b, op);
        if (!column && b->status[op] != OP_PENDING) column = completions_differ(a, b, op);
        if (column) return error_set(why, "%s of operation %u differs", column, op) == 0;
    }
    return true;
}

static bool same_fault(const struct history *a, const struct history *b, uint32_t i) {
    const struct fault_record *x = &a->faults[i], *y = &b->faults[i];
    return same_text(a, x->name, b, y->name) && same_text(a, x->detail, b, y->detail) &&
           same_text(a, x->colour, b, y->colour) && x->start_ns == y->start_ns && x->end_ns == y->end_ns &&
           x->affected == y->affected && x->offered == y->offered;
}

static bool same_sample(const struct history *a, const struct history *b, uint32_t i) {
    const struct sample *x = &a->samples[i], *y = &b->samples[i];
    return x->time_ns == y->time_ns && x->kind == y->kind && x->node == y->node && x->role == y->role &&
           x->term == y->term && same_text(a, x->text, b, y->text);
}

bool histories_equal(const struct history *a, const struct history *b, struct error *why) {
    if (a->count != b->count) return error_set(why, "%u and %u operations", a->count, b->count) == 0;
    if (!history_begins_with(a, b, a->count, why)) return false;
    for (uint32_t op = 0; op < a->count; op++)
        if (a->status[op] != b->status[op]) return error_set(why, "status of operation %u differs", op) == 0;
    if (a->faults_count != b->faults_count || a->samples_count != b->samples_count)
        return error_set(why, "faults %u and %u, samples %u and %u", a->faults_count, b->faults_count, a->samples_count,
                         b->samples_count) == 0;
    for (uint32_t i = 0; i < a->faults_count; i++)
        if (!same_fault(a, b, i)) return error_set(why, "fault %u differs", i) == 0;
    for (uint32_t i = 0; i < a->samples_count; i++)
        if (!same_sample(a, b, i)) return error_set(why, "sample %u differs", i) == 0;
    return true;
}
