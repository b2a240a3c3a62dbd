/* Histories of transactions to measure checkers with: clients against a store that runs each transaction at one
 * moment, simulated from a seed. They are strictly serializable by construction; one read can then be made stale. */
#ifndef HARROW_BENCH_TRANSACTIONS_H
#define HARROW_BENCH_TRANSACTIONS_H

#include "history/history.h"

struct bench_transactions {
    uint32_t count, clients;
    bool registers;          /* reads and writes of registers; else reads and appends of lists */
    uint32_t keys;           /* in use at one time; a transaction takes each of its keys from among these */
    uint32_t writes_per_key; /* then another key takes the place of this one */
    uint32_t micros_max;     /* a transaction has 1 to so many micro-operations, half of them reads */
    uint32_t info_ppm;       /* of the transactions end unknown; half of those take effect */
    bool stale;              /* one read, behind three quarters, returns what was so long before */
};
/* The caller frees it. */
struct history *bench_transactions_history(const struct bench_transactions *shape, uint64_t seed);

#endif
