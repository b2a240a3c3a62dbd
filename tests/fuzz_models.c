/* Any bytes become a short history of a register with compare-and-set, and the search that knows nothing but steps must
 * say of it what the search that knows registers says. A byte or two per step: who, what, how long, with what end. */
#include "checkers/checkers.h"

#include <stdlib.h>

#define OPS_MAX 14
#define SLOTS 4u

/* --- a register as a step function: state 0 is nil, others are the value + 1 -------------------------------------- */

static uint32_t state_of(struct value v) {
    return v.kind == VALUE_INT ? (uint32_t)v.integer + 1 : 0;
}

static int register_initial(void *context, uint64_t deadline_ns, uint64_t memory_bytes_max, uint32_t *state,
                            struct error *e) {
    (void)context, (void)deadline_ns, (void)memory_bytes_max, (void)e;
    *state = 0;
    return 0;
}

static enum step_answer register_step(void *context, uint32_t state, const struct history *h, uint32_t op,
                                      uint32_t *next, struct error *e) {
    (void)context, (void)e;
    struct value argument = h->argument[op];
    bool known = h->status[op] == OP_OK || h->status[op] == OP_FAIL;
    *next = state;
    if (h->f[op] == OP_WRITE) {
        *next = state_of(argument);
    } else if (h->f[op] == OP_CAS && h->status[op] != OP_FAIL) {
        if (state != state_of(h->pool[argument.first])) return STEP_REFUSED;
        *next = state_of(h->pool[argument.first + 1]);
    } else if (known && state != state_of(h->result[op])) {
        return STEP_REFUSED;
    }
    return STEP_TAKEN;
}

static void register_print(void *context, uint32_t state, struct buffer *out) {
    (void)context;
    buffer_printf(out, "%u", state);
}

static uint64_t register_memory(void *context) {
    (void)context;
    return 0;
}

static const struct step_model model = {.name = "steps",
                                        .initial = register_initial,
                                        .step = register_step,
                                        .print_state = register_print,
                                        .memory_bytes = register_memory};

/* --- bytes to histories ------------------------------------------------------------------------------------------- */

struct decoder {
    struct reader in;
    struct history *h;
    uint64_t now;
    uint32_t open[SLOTS], process[SLOTS], processes;
};

static struct value small_value(uint32_t bits) {
    return bits % 4 == 3 ? VALUE_OF_NIL : VALUE_OF_INT(bits % 4);
}

static void decode_step(struct decoder *d) {
    static const uint16_t functions[] = {OP_READ, OP_WRITE, OP_CAS, OP_READ};
    uint32_t who = read_u8(&d->in), what = read_u8(&d->in), slot = who % SLOTS;
    d->now += who / SLOTS % 3;
    if (d->open[slot] == UINT32_MAX) {
        uint16_t f = functions[what % 4];
        struct value argument = VALUE_OF_NIL;
        if (f == OP_WRITE) argument = small_value(what / 4);
        if (f == OP_CAS) argument = history_pair(d->h, small_value(what / 4), small_value(what / 16));
        uint32_t key = history_intern(d->h, who & 0x80 ? "y" : "x");
        d->open[slot] = history_invoke(d->h, d->now, d->now, d->process[slot], NODE_UNKNOWN, f, key, argument);
        return;
    }
    uint32_t op = d->open[slot];
    enum op_status status = what % 8 == 0 ? OP_INFO : what % 8 == 1 ? OP_FAIL : OP_OK;
    bool saw = d->h->f[op] == OP_READ ? status == OP_OK : status == OP_FAIL;
    history_complete(d->h, op, d->now, status, saw ? small_value(what / 8) : VALUE_OF_NIL, NO_STRING);
    d->open[slot] = UINT32_MAX;
    if (status == OP_INFO) d->process[slot] = d->processes++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct decoder d = {.in = {.data = data, .size = size}, .h = history_new(), .processes = SLOTS};
    for (uint32_t i = 0; i < SLOTS; i++) {
        d.open[i] = UINT32_MAX;
        d.process[i] = i;
    }
    while (!d.in.failed && d.in.offset < size && d.h->count < OPS_MAX) decode_step(&d);
    struct check_result expected, r;
    check_linearizable(d.h, model_find("cas-register"), NULL, &expected);
    check_steps(d.h, &model, NULL, &r);
    assert(r.verdict == expected.verdict && r.verdict != VERDICT_UNKNOWN);
    assert((r.verdict == VERDICT_INVALID) == (r.ops_count > 0) && (r.explanation != NULL) == (r.ops_count > 0));
    check_result_free(&expected);
    check_result_free(&r);
    history_free(d.h);
    return 0;
}
