/* Histories to measure checkers with: clients against a real register, simulated from a seed. They are linearizable by
 * construction; one read can then be made stale. Ends that are unknown happen at once, late, or never. */
#ifndef HARROW_BENCH_HISTORIES_H
#define HARROW_BENCH_HISTORIES_H

#include "history/history.h"

struct bench_shape {
    uint32_t ops, clients, keys;
    uint32_t values;   /* written values are below this; 0: each is written once */
    uint32_t info_ppm; /* of the operations end unknown */
    uint32_t read_ppm; /* are reads; the others are writes, or cas */
    bool cas;          /* from the value that the client saw last; one that meets another value fails and tells it */
    bool stale;        /* one read, behind three quarters, returns a value that had been replaced before it began */
};
/* The caller frees it. */
struct history *bench_history(const struct bench_shape *shape, uint64_t seed);

#endif
