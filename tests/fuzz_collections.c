/* Any bytes become a history of a collection, and every check of collections must end on it in time, without a crash
 * and with a complete result. The first byte says whose operations; a log that lies comes out now and then, too. */
#include "checkers/collections/collections.h"

#include <stdlib.h>

#define OPS_MAX 400
#define SLOTS 16u

struct decoder {
    struct reader in;
    struct history *h;
    uint64_t now;
    uint8_t kind;
    uint32_t open[SLOTS]; /* by process slot: the operation under way, or UINT32_MAX */
    uint32_t process[SLOTS], processes;
};

static const char *const functions[][3] = {
    {"enqueue", "dequeue", "drain"},        {"push", "pop", "pop"},
    {"insert", "delete-min", "delete-min"}, {"add", "read", "read"},
    {"acquire", "release", "acquire"},      {"generate", "generate", "peek"},
};
#define KINDS (sizeof functions / sizeof *functions)

static struct value decode_value(struct decoder *d, uint32_t depth) {
    uint8_t b = read_u8(&d->in);
    struct value items[8];
    switch (b % 16) {
    case 0: return VALUE_OF_NIL;
    case 1: return (struct value){.kind = VALUE_STRING, .string = history_intern(d->h, b & 0x80 ? "a" : "b\n")};
    case 2:
    case 3:
        if (depth == 2) return VALUE_OF_NIL;
        for (uint32_t i = 0; i < b / 32u; i++) items[i] = decode_value(d, depth + 1);
        return history_list(d->h, items, b / 32u);
    case 4: return VALUE_OF_INT((int64_t)read_u64(&d->in));
    default: return VALUE_OF_INT(b / 8 - 4);
    }
}

/* Results are mostly such as the operation can have. */
static struct value decode_result(struct decoder *d, bool list) {
    if (!list) return decode_value(d, 0);
    struct value items[16];
    uint32_t count = read_u8(&d->in) % 16;
    for (uint32_t i = 0; i < count; i++) items[i] = decode_value(d, 1);
    return history_list(d->h, items, count);
}

static void decode_step(struct decoder *d) {
    uint8_t b = read_u8(&d->in), what = read_u8(&d->in);
    uint32_t slot = b % SLOTS, op = d->open[slot];
    d->now += b / 16 == 15 ? UINT64_C(1) << (what % 50) : b / 64;
    if (b / 16 == 14 && what == 0 && d->h->count) {
        d->h->complete_ns[read_u8(&d->in) % d->h->count] = read_u64(&d->in);
    } else if (op == UINT32_MAX) {
        const char *f = functions[d->kind][what % 8 < 4 ? 0 : what % 8 < 7 ? 1 : 2];
        uint32_t key = what / 64 == 3 ? history_intern(d->h, "other") : NO_STRING;
        struct value argument = what % 8 < 4 ? decode_value(d, 0) : VALUE_OF_NIL;
        d->open[slot] = history_invoke(d->h, d->now, d->now, d->process[slot], (uint8_t)slot, history_function(d->h, f),
                                       key, argument);
    } else {
        enum op_status status = what % 8 == 0 ? OP_INFO : what % 8 == 1 ? OP_FAIL : OP_OK;
        bool list = d->h->f[op] == OP_READ && what < 200;
        history_complete(d->h, op, d->now, status, decode_result(d, list), NO_STRING);
        d->open[slot] = UINT32_MAX;
        if (status == OP_INFO) d->process[slot] = d->processes++;
    }
}

static void look_at(const struct history *h, struct check_result *r) {
    assert(r->name && r->detail && !strchr(r->detail, '\n') && r->verdict <= VERDICT_INVALID);
    assert(r->verdict != VERDICT_INVALID || (r->explanation && r->ops_count > 0));
    for (uint32_t i = 0; i < r->ops_count; i++) assert(r->ops[i] < h->count && (i == 0 || r->ops[i - 1] < r->ops[i]));
    check_result_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const checks[])(const struct history *, const struct check_options *, struct check_result *) = {
        check_bag, check_fifo,     check_fifo_at_least_once, check_total_queue, check_stack,       check_priority_queue,
        check_set, check_set_full, check_linearizable_set,   check_mutex,       check_fenced_lock, check_unique_ids,
    };
    struct decoder d = {.in = {.data = data, .size = size}, .h = history_new(), .processes = SLOTS};
    for (uint32_t i = 0; i < SLOTS; i++) {
        d.open[i] = UINT32_MAX;
        d.process[i] = i;
    }
    d.kind = read_u8(&d.in) % KINDS;
    while (!d.in.failed && d.in.offset < size && d.h->count < OPS_MAX) decode_step(&d);
    const struct check_options o = {.deadline_ms = 50, .memory_bytes_max = 16 << 20};
    struct check_result r;
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        checks[i](d.h, &o, &r);
        look_at(d.h, &r);
    }
    check_semaphore(d.h, 3, &o, &r);
    look_at(d.h, &r);
    history_free(d.h);
    return 0;
}
