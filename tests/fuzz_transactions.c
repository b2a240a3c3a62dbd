/* Any bytes become a history of transactions, mostly with reads that could be, and every check of transactions must end
 * on it in time and within its memory, without a crash and with a complete result. */
#include "checkers/transactions/transactions.h"

#include <stdlib.h>

#define OPS_MAX 300u
#define KEYS 4u
#define WRITES_MAX 64u

struct decoder {
    struct reader in;
    struct history *h;
    bool registers;
    uint64_t now;
    uint32_t processes;
    uint32_t written[KEYS]; /* values 1 .. written were written to the key */
};

static struct value name(struct decoder *d, const char *text) {
    return (struct value){.kind = VALUE_STRING, .string = history_intern(d->h, text)};
}

/* What a read saw: mostly the values so far, up to some place. */
static struct value decode_seen(struct decoder *d, uint32_t key) {
    uint8_t b = read_u8(&d->in);
    struct value elements[WRITES_MAX];
    uint32_t size = b % 16 < 12 ? d->written[key] : d->written[key] * (b / 16u) / 16;
    if (d->registers) return size ? VALUE_OF_INT(b % 16 == 15 ? b : size) : VALUE_OF_NIL;
    for (uint32_t i = 0; i < size; i++) elements[i] = VALUE_OF_INT(i + 1);
    if (b % 16 == 14 && size > 1) elements[size - 1] = elements[0];
    if (b % 16 == 15 && size) elements[b / 16u % size] = VALUE_OF_INT(b);
    if (b == 0xff) return (struct value){.kind = VALUE_INT, .integer = 1};
    return history_list(d->h, elements, size);
}

static struct value decode_micro(struct decoder *d) {
    uint8_t b = read_u8(&d->in);
    uint32_t key = b % KEYS;
    struct value e[3] = {name(d, "r"), VALUE_OF_INT(key), VALUE_OF_NIL};
    if (b / 4 % 16 < 9) {
        e[2] = decode_seen(d, key);
    } else if (b / 4 % 16 < 15 && d->written[key] < WRITES_MAX) {
        e[0] = name(d, d->registers ? "w" : "append");
        e[2] = VALUE_OF_INT(b & 0x80 && d->written[key] ? d->written[key] : ++d->written[key]);
    } else {
        e[0] = b & 0x80 ? VALUE_OF_NIL : name(d, "increment");
    }
    return history_list(d->h, e, b == 0x3f ? 1 : 3);
}

static void decode_transaction(struct decoder *d) {
    static const enum op_status ends[] = {OP_OK, OP_OK, OP_OK, OP_OK, OP_OK, OP_FAIL, OP_INFO, OP_PENDING};
    uint8_t b = read_u8(&d->in), times = read_u8(&d->in);
    struct value parts[4];
    uint32_t count = b / 8 % 4;
    for (uint32_t i = 0; i <= count; i++) parts[i] = decode_micro(d);
    struct value list = history_list(d->h, parts, count + (b < 0xf8));
    uint32_t process = b / 32 ? b / 32u : d->processes++;
    uint32_t op = history_invoke(d->h, d->now, d->now, process, NODE_UNKNOWN, OP_TXN, NO_STRING, list);
    if (ends[b % 8] != OP_PENDING) history_complete(d->h, op, d->now + times % 32, ends[b % 8], list, NO_STRING);
    d->now += times / 32;
}

static void look_at(const struct history *h, struct check_result *r) {
    assert(r->name && r->detail && !strchr(r->detail, '\n') && r->verdict <= VERDICT_INVALID);
    assert(r->verdict != VERDICT_INVALID || (r->ops_count && r->explanation));
    for (uint32_t i = 0; i < r->ops_count; i++) assert(r->ops[i] < h->count && (i == 0 || r->ops[i - 1] < r->ops[i]));
    check_result_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct decoder d = {.in = {.data = data, .size = size}, .h = history_new(), .processes = 8};
    struct check_options o = {.deadline_ms = 200, .memory_bytes_max = 16 << 20};
    struct check_result r;
    uint8_t b = read_u8(&d.in);
    d.registers = b & 1;
    if (b & 2) o.memory_bytes_max = (uint64_t)b << 8;
    while (!d.in.failed && d.in.offset < size && d.h->count < OPS_MAX) decode_transaction(&d);
    enum transactions_workload w = d.registers ? TRANSACTIONS_RW_REGISTER : TRANSACTIONS_LIST_APPEND;
    for (size_t i = 0; consistency_name(i); i++) {
        check_transactions(d.h, w, consistency_name(i), &o, &r);
        look_at(d.h, &r);
    }
    check_bank(d.h, &o, &r);
    look_at(d.h, &r);
    check_long_fork(d.h, &o, &r);
    look_at(d.h, &r);
    check_sessions(d.h, w, &o, &r);
    look_at(d.h, &r);
    history_free(d.h);
    return 0;
}
