/* Histories of collections to measure checkers with: clients against a real queue, stack, priority queue or set,
 * simulated from a seed. They are linearizable by construction; one operation can then be made wrong. */
#ifndef HARROW_BENCH_COLLECTIONS_H
#define HARROW_BENCH_COLLECTIONS_H

#include "history/history.h"

enum bench_collection_kind { BENCH_QUEUE, BENCH_STACK, BENCH_PRIORITY_QUEUE, BENCH_SET };

struct bench_collection {
    enum bench_collection_kind kind;
    uint32_t ops, clients;
    uint32_t put_ppm;  /* of the operations put something in; a queue is drained at the end, a set mostly added to */
    uint32_t info_ppm; /* of the puts end unknown; half of these happen */
    bool stale;        /* two takes, behind three quarters, have each other's result; a read misses an old element */
};
/* The caller frees it. */
struct history *bench_collection_history(const struct bench_collection *shape, uint64_t seed);

#endif
