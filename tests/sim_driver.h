/* A small host for the simulated world, for tests: closed-loop clients on a few keys, random faults, an orderly end. */
#ifndef HARROW_TESTS_SIM_DRIVER_H
#define HARROW_TESTS_SIM_DRIVER_H

#include "checkers/checkers.h"
#include "harness/world.h"

struct driver {
    struct world *world;
    struct history *history;
    struct world_config config;
    struct prng prng;
    uint32_t keys, fault_kinds; /* mask of enum fault_kind to draw from; 0: no faults */
    uint64_t think_ns;
    uint32_t faults[8]; /* in force */
    uint32_t faults_count;
    uint64_t faults_affected;
    uint32_t ok, fail, info;
    bool closing; /* no new operations */
    int64_t next_value;
    uint32_t op_client[1 << 16]; /* by operation number */
};

struct world_config driver_config(uint64_t seed); /* five nodes, eight clients, LAN, invariants on */
void driver_init(struct driver *d, const struct world_config *c);
/* Runs `seconds` with faults begun and ended at random, then heals and lets the cluster settle. Returns how the main
 * phase ended; `settled` tells whether all nodes agreed in the end. */
enum world_end driver_run(struct driver *d, uint32_t seconds, bool *settled);
/* Judges the history as that of a key-value store; `why` is valid until the next call. */
enum verdict driver_judge(const struct driver *d, const char **why);
/* What is not as a run of correct code must be, NULL if nothing is: an invariant, an early end, nodes that do not
 * agree, the history (not with local reads, which may be stale). Valid until the next call. */
const char *driver_complaint(const struct driver *d, enum world_end end, bool settled);
void driver_free(struct driver *d);

#endif
