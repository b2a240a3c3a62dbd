/* Jepsen's bank (jepsen.tests.bank) as transactions: its reads return all accounts at once, [[account, balance], ...]
 * or in EDN a map, and its transfers say nothing that the check needs. */
#include "checkers/transactions/internal.h"

#define READ_NAME "r"

static struct value copied(const struct history *h, struct value v, struct history *into) {
    if (v.kind == VALUE_STRING) v.string = history_intern_bytes(into, history_text_bytes(h, v.string));
    return v.kind == VALUE_LIST ? VALUE_OF_NIL : v;
}

/* [["r", account, balance], ...]; what is no pair reads nothing. */
static struct value read_of(const struct history *h, struct value pairs, struct history *into) {
    struct buffer micros = {0};
    for (uint32_t i = 0; pairs.kind == VALUE_LIST && i < pairs.size; i++) {
        struct value pair = h->pool[pairs.first + i];
        if (pair.kind != VALUE_LIST || pair.size != 2) continue;
        struct value name = {.kind = VALUE_STRING, .string = history_intern(into, READ_NAME)};
        const struct value parts[] = {name, copied(h, h->pool[pair.first], into),
                                      copied(h, h->pool[pair.first + 1], into)};
        struct value micro = history_list(into, parts, 3);
        buffer_append(&micros, &micro, sizeof micro);
    }
    const struct value *all = (const struct value *)(const void *)micros.data;
    struct value list = history_list(into, all, (uint32_t)(micros.size / sizeof *all));
    buffer_free(&micros);
    return list;
}

bool is_bank_of_balances(const struct history *h) {
    bool transfers = false;
    for (uint32_t op = 0; op < h->count; op++) {
        if (h->f[op] == OP_TXN) return false;
        transfers |= strcmp(history_function_name(h, h->f[op]), "transfer") == 0;
    }
    return transfers;
}

struct history *balances_as_transactions(const struct history *h) {
    struct history *into = history_new();
    history_reserve(into, h->count);
    for (uint32_t op = 0; op < h->count; op++) {
        bool read = h->f[op] == OP_READ && h->status[op] == OP_OK;
        struct value list = read_of(h, read ? h->result[op] : VALUE_OF_NIL, into);
        uint32_t same = history_invoke(into, h->invoke_ns[op], h->intended_ns[op], h->process[op], h->node[op], OP_TXN,
                                       NO_STRING, list);
        if (h->status[op] != OP_PENDING)
            history_complete(into, same, h->complete_ns[op], (enum op_status)h->status[op], list, NO_STRING);
    }
    return into;
}
