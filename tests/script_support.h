/* What the tests of scripts share: loading a text, and a made-up world that records the faults it is asked for and
 * wakes nemeses on a clock of its own. */
#ifndef HARROW_TESTS_SCRIPT_SUPPORT_H
#define HARROW_TESTS_SCRIPT_SUPPORT_H

#include "harness/script/script.h"

/* Loads "test.lua"; a text that does not say `workload =` gets a calm scenario after it. NULL with e set. */
struct script *load_text(const char *text, const struct script_options *o, struct error *e);
void expect_loads(const char *text);                       /* fails the test with the message otherwise */
void expect_error(const char *text, const char *expected); /* the whole message, or its start when it ends in "..." */

#define QUIET_FAULTS_MAX 4096
struct quiet_fault {
    struct fault_spec spec;
    uint64_t start_ns, end_ns; /* end UINT64_MAX: in force */
};
struct quiet_world {
    struct world base; /* first */
    uint64_t now_ns;
    struct heap wakes;
    uint64_t sequence;
    uint32_t nodes;
    uint8_t leader; /* or NODE_UNKNOWN */
    uint8_t transferred_to;
    struct quiet_fault faults[QUIET_FAULTS_MAX];
    uint32_t faults_count;
    uint32_t refuse_kind; /* fault_begin refuses this kind; FAULT_KINDS: none */
};
struct quiet_world *quiet_world_new(uint32_t nodes);
void quiet_world_free(struct quiet_world *w);
/* Wakes nemeses until that time; -1 with e set when one fails. */
int quiet_world_run(struct quiet_world *w, struct script *s, uint64_t until_ns, struct error *e);
uint32_t quiet_world_in_force(const struct quiet_world *w);

#endif
