/* Any bytes become a history, and every check must end on it in time, without a crash and with a complete result. A
 * byte or two per step: who, what, how long, with what end. Histories that break the rules of the log come out too. */
#include "checkers/internal.h"

#include <stdlib.h>

#define OPS_MAX 400

struct decoder {
    struct reader in;
    struct history *h;
    uint64_t now;
    uint32_t open[16]; /* by process slot: the operation under way, or UINT32_MAX */
    uint32_t process[16], processes;
};

static struct value decode_value(struct decoder *d, uint32_t depth) {
    uint8_t b = read_u8(&d->in);
    struct value items[8];
    switch (b % 8) {
    case 0: return VALUE_OF_NIL;
    case 1: return (struct value){.kind = VALUE_STRING, .string = history_intern(d->h, b & 0x80 ? "a" : "b")};
    case 2:
    case 3:
        if (depth == 3) return VALUE_OF_NIL;
        for (uint32_t i = 0; i < b / 32u; i++) items[i] = decode_value(d, depth + 1);
        return history_list(d->h, items, b / 32u);
    case 4: return VALUE_OF_INT((int64_t)read_u64(&d->in));
    default: return VALUE_OF_INT(b / 8 - 4);
    }
}

static void decode_end(struct decoder *d, uint32_t slot, uint8_t how) {
    enum op_status status = how % 8 == 0 ? OP_INFO : how % 8 == 1 ? OP_FAIL : OP_OK;
    struct value result = how & 0x80 ? VALUE_OF_NIL : decode_value(d, 0);
    history_complete(d->h, d->open[slot], d->now, status, result, NO_STRING);
    d->open[slot] = UINT32_MAX;
    if (status == OP_INFO) d->process[slot] = d->processes++;
}

static void decode_begin(struct decoder *d, uint32_t slot, uint8_t what) {
    static const char *const keys[] = {"x", "y", "a key\n"};
    static const uint16_t common[] = {OP_READ, OP_READ, OP_WRITE, OP_CAS, OP_APPEND, OP_ADD, OP_DELETE};
    uint16_t f = what % 32 == 31 ? history_function(d->h, "cus\ntom") : what % 32 == 30 ? OP_TXN : common[what % 7];
    uint32_t key = what / 64 == 3 ? NO_STRING : history_intern(d->h, keys[what / 64]);
    struct value argument = VALUE_OF_NIL;
    if (f == OP_CAS) {
        struct value expected = decode_value(d, 0);
        argument = history_pair(d->h, expected, decode_value(d, 0));
    } else if (f != OP_READ) {
        argument = decode_value(d, 0);
    }
    d->open[slot] = history_invoke(d->h, d->now, d->now, d->process[slot], (uint8_t)slot, f, key, argument);
}

static void decode_step(struct decoder *d) {
    uint8_t b = read_u8(&d->in);
    uint32_t slot = b % 16;
    d->now += b / 16 > 8 ? UINT64_C(1) << (b / 16) : b / 64;
    if (b / 16 == 15) {
        uint8_t how = read_u8(&d->in);
        uint32_t fault = history_fault_start(d->h, d->now, how & 1 ? "cut\n" : "kill", NULL, NULL);
        if (how & 2) history_fault_end(d->h, fault, d->now + how, how & 4, how);
    } else if (b / 16 == 14 && d->h->count) { /* a log that lies */
        d->h->complete_ns[read_u8(&d->in) % d->h->count] = read_u64(&d->in);
    } else if (d->open[slot] != UINT32_MAX) {
        decode_end(d, slot, read_u8(&d->in));
    } else {
        decode_begin(d, slot, read_u8(&d->in));
    }
}

static void look_at(const struct history *h, struct check_result *r) {
    assert(r->name && r->detail && !strchr(r->detail, '\n') && r->verdict <= VERDICT_INVALID);
    for (uint32_t i = 0; i < r->ops_count; i++) assert(r->ops[i] < h->count && (i == 0 || r->ops[i - 1] < r->ops[i]));
    struct buffer text = {0};
    check_print_ops(h, r->ops, r->ops_count, &text);
    buffer_free(&text);
    check_result_free(r);
}

/* The scan is for long histories; it must bear short ones as well. */
static void scan(const struct history *h, const struct model *m, const struct check_options *o) {
    struct check_result r;
    struct budget b = budget_of(o);
    struct scan_finding found;
    result_start(&r, "scan");
    if (history_trusted(h, &r)) {
        enum decision decision = register_scan(m, h, &b, &found);
        assert(decision != DECIDED_INVALID || found.ops_count > 0);
        free(found.ops);
    }
    check_result_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct decoder d = {.in = {.data = data, .size = size}, .h = history_new(), .processes = 16};
    for (uint32_t i = 0; i < 16; i++) {
        d.open[i] = UINT32_MAX;
        d.process[i] = i;
    }
    while (!d.in.failed && d.in.offset < size && d.h->count < OPS_MAX) decode_step(&d);
    const struct check_options o = {.deadline_ms = 50, .memory_bytes_max = 16 << 20};
    struct check_result r;
    size_t count;
    const struct model *const *models = models_all(&count);
    for (size_t i = 0; i < count; i++) {
        check_linearizable(d.h, models[i], &o, &r);
        look_at(d.h, &r);
        scan(d.h, models[i], &o);
    }
    check_append(d.h, &o, &r);
    look_at(d.h, &r);
    check_counter(d.h, &o, &r);
    look_at(d.h, &r);
    check_available(d.h, 100, true, d.now, &r);
    look_at(d.h, &r);
    check_load(d.h, 10, &r);
    look_at(d.h, &r);
    check_faults(d.h, &r);
    look_at(d.h, &r);
    history_free(d.h);
    return 0;
}
