/* A world for tests of the run loop: an event heap, clients whose answers a test decides, nodes whose status a test
 * sets. Nothing is replicated; nothing is random. */
#ifndef HARROW_TESTS_FAKE_WORLD_H
#define HARROW_TESTS_FAKE_WORLD_H

#include "harness/world.h"

struct fake_answer {
    enum op_status status;
    uint64_t after_ns;
};
struct fake {
    struct world base; /* first */
    struct world_config config;
    struct heap heap;
    uint64_t now_ns, sequence, events;
    bool stopped;

    /* set by tests */
    struct fake_answer (*answer)(struct fake *f, const struct history *h, uint32_t op);
    void *test;
    struct node_status nodes[NODES_MAX];
    uint64_t whole_at_ns;           /* until then node 3 of the cluster is down */
    uint64_t violation_at_ns;       /* 0: never */
    bool breaks;                    /* run_until fails */
    struct fault_evidence evidence; /* of every fault */

    /* seen by tests */
    uint32_t submits, open, open_max;
    uint32_t submits_before_completions; /* invocations while a completion of the same instant was still to come */
    uint32_t faults_begun, faults_ended, fault_kinds;
};

struct world *fake_make(const struct world_config *c, struct world_host host, struct error *e);
int fake_reset(struct world *w, const struct world_config *c, struct error *e);
struct fake *fake_of(struct world *w);
/* Settings for every world made after this; NULL: none. Applied by make and reset. */
void fake_set_up_with(void (*set_up)(struct fake *f));

#endif
