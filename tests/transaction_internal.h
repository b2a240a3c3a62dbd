/* Transactions as the tests of transactions have them: what transaction_histories.c and causal_histories.c share. */
#ifndef HARROW_TESTS_TRANSACTION_INTERNAL_H
#define HARROW_TESTS_TRANSACTION_INTERNAL_H

#include "tests/transaction_histories.h"

#define TXNS_MAX 8u
#define MICROS_MAX 6u
#define KEYS_MAX 3u
#define LIST_MAX 24u

struct list { /* of a register: its value, or nothing */
    int32_t items[LIST_MAX];
    uint32_t size;
};

struct part {
    bool write;
    bool known;
    uint32_t key;
    int32_t value;
    struct list seen;
};

struct txn {
    struct part parts[MICROS_MAX];
    uint32_t count;
    uint32_t process;
    uint64_t begin, end;
    enum op_status status;
};

struct db {
    struct list keys[KEYS_MAX];
};

bool txn_same_list(const struct list *a, const struct list *b);
/* Sorts the transactions by their beginnings. */
struct history *txns_to_history(struct txn *txns, uint32_t count, enum transactions_workload w);
uint32_t txns_from_history(const struct history *h, struct txn *txns); /* zeroed by the caller; returns how many */
/* Some read of some transaction, perhaps, now saw something else. */
void txns_spoil_a_read(struct prng *p, struct txn *txns, uint32_t count, enum transactions_workload w);

#endif
