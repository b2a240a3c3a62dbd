/* A small host for the simulated world, for tests: closed-loop clients on a few keys, random faults, an orderly end. */
#ifndef HARROW_TESTS_SIM_DRIVER_H
#define HARROW_TESTS_SIM_DRIVER_H

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
void driver_free(struct driver *d);

#endif
