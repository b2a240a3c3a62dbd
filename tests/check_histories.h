/* Support for the tests of checkers/: a brute-force oracle of linearizability that shares nothing with the checkers,
 * and histories that are random, valid by construction, or valid but for one planted violation. */
#ifndef HARROW_TESTS_CHECK_HISTORIES_H
#define HARROW_TESTS_CHECK_HISTORIES_H

#include "history/history.h"

/* Tries every order of the operations (at most 20, on at most 3 keys) against a sequential object. Operations that
 * overlap in no instant but touch (one ends when the other begins) count as ordered if `touching` says so or, with
 * TOUCHING_OF_ONE_PROCESS, if they are of one process. */
enum touching { TOUCHING_IS_CONCURRENT, TOUCHING_OF_ONE_PROCESS };
bool oracle_linearizable(const struct history *h, const char *model, enum touching touching);

struct shape {
    const char *model; /* of checkers.h */
    uint32_t ops, clients, keys;
    uint32_t values; /* written values are below this; 0: each is written once */
    uint32_t info_ppm, fail_ppm, read_ppm;
    uint64_t mean_ns; /* of an operation's duration; 0 means 1 ms */
    bool negative;    /* counters: deltas may be negative */
    bool repeated;    /* lists: elements are below `values` too */
    bool lists;       /* kv: writes are of lists of one element, and nothing but lists is there */
    bool final_reads; /* one client reads every key at the end */
};
/* Runs clients against an atomic object: linearizable by construction. */
struct history *history_valid(struct prng *p, const struct shape *shape);
/* Random calls with random results: mostly wrong, now and then right. Few instants: ends and beginnings touch. */
struct history *history_random(struct prng *p, const struct shape *shape, uint64_t instants);
/* The given operations of a history, with the strings of the whole. */
struct history *history_of(const struct history *h, const uint32_t *ops, uint32_t count);

/* Makes a read of a unique-valued register history return a value that had surely been overwritten; true if there was
 * such a read behind operation `from`. */
bool plant_stale_read(struct prng *p, struct history *h, uint32_t from);

/* By hand: `ok` records an operation that lasted from begin to end. */
uint32_t add_op(struct history *h, uint32_t process, uint64_t begin, uint64_t end, uint16_t f, const char *key,
                struct value argument, enum op_status status, struct value result);

#endif
