/* Each bundled mutant is caught: by the online invariants, and by what clients and nodes show alone where they can show
 * it. The correct code is not accused under the same conditions. */
#include "harness/world.h"
#include "tests/sim_driver.h"
#include "tests/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ALL_FAULTS = (1u << FAULT_KINDS) - 1 };

static struct driver d; /* large */

enum conditions {
    USUAL,
    OPEN_LOOP,    /* many pinned clients, each seldom: somebody still asks a deposed leader, which is slow to notice */
    LATE_ANSWERS, /* the same, and the first two nodes are answered late */
    RACE,         /* lossy links, short patience, few keys: several try to finish the same thing at once */
    COMPACTION,   /* a snapshot every few entries; messages come late and twice */
};
struct hunt {
    const char *mutant;
    enum read_mode reads;
    uint32_t nodes, faults;
    uint32_t seeds;       /* how many are enough for the invariants, with room to spare; 0: they do not see it */
    uint32_t seeds_alone; /* ... for the history and the nodes' states; 0: not visible there, or not with this driver */
    enum conditions conditions;
};
/* Some bugs need the schedule of a scenario of their own, and are left to it: in the history alone P3 (figure-eight)
 * and R1, which needs that of Figure 8 and a look at the right moment. E1 and E5 take more seeds than a test has.
 * R26 shows as time without success during one-way-cut, which this host does not measure. */
static const struct hunt hunts[] = {
    {"raft/commit-old-term", READ_INDEX, 5, ALL_FAULTS, 100, 0, USUAL},
    {"raft/no-vote-fsync", READ_INDEX, 5, ALL_FAULTS, 5, 0, USUAL},
    {"raft/forget-vote", READ_INDEX, 5, ALL_FAULTS, 20, 0, USUAL},
    {"raft/count-duplicate-votes", READ_INDEX, 5, 1u << FAULT_LINK, 200, 0, USUAL},
    {"raft/truncate-always", READ_INDEX, 5, ALL_FAULTS, 20, 0, USUAL},
    {"raft/commit-past-match", READ_INDEX, 3, 1u << FAULT_LINK, 300, 400, USUAL},
    {"raft/vote-without-log-check", READ_INDEX, 5, ALL_FAULTS, 80, 120, USUAL},
    {"raft/no-append-fsync", READ_INDEX, 3, 1u << FAULT_POWER, 5, 100, USUAL},
    {"raft/purged-is-conflict", READ_INDEX, 5, 1u << FAULT_LINK | 1u << FAULT_KILL, 40, 0, COMPACTION},
    {"raft/older-snapshot", READ_INDEX, 5, 1u << FAULT_LINK | 1u << FAULT_KILL, 40, 0, COMPACTION},
    {"raft/read-before-own-commit", READ_INDEX, 5, ALL_FAULTS, 200, 500, USUAL},
    {"raft/leader-reads-locally", READ_INDEX, 5, 1u << FAULT_LINK, 80, 100, OPEN_LOOP},
    {"raft/lease-from-ack", READ_LEASE, 5, 1u << FAULT_PAUSE, 200, 200, LATE_ANSWERS},
    {"raft/disturbed-by-the-cut-off", READ_INDEX, 5, 1u << FAULT_LINK, 0, 0, USUAL},
    {"multipaxos/no-promise-fsync", READ_INDEX, 5, ALL_FAULTS, 5, 0, USUAL},
    {"multipaxos/accept-without-promise", READ_INDEX, 5, ALL_FAULTS, 60, 0, USUAL},
    {"multipaxos/first-reply", READ_INDEX, 3, 1u << FAULT_LINK, 100, 0, USUAL},
    {"multipaxos/ballot-without-node", READ_INDEX, 5, ALL_FAULTS, 60, 0, USUAL},
    {"multipaxos/skip-gaps", READ_INDEX, 5, 1u << FAULT_LINK | 1u << FAULT_KILL, 0, 40, RACE},
    {"multipaxos/read-before-found", READ_INDEX, 5, ALL_FAULTS, 200, 0, USUAL},
    {"multipaxos/stale-lease", READ_LEASE, 3, 1u << FAULT_LINK, 60, 80, OPEN_LOOP},
    {"multipaxos/small-quorum", READ_INDEX, 5, ALL_FAULTS, 5, 0, USUAL},
    {"paxos/no-promise-fsync", READ_INDEX, 5, ALL_FAULTS, 5, 0, USUAL},
    {"paxos/accept-without-promise", READ_INDEX, 5, ALL_FAULTS, 60, 0, USUAL},
    {"paxos/first-reply", READ_INDEX, 5, ALL_FAULTS, 60, 0, USUAL},
    {"paxos/ballot-without-node", READ_INDEX, 5, ALL_FAULTS, 5, 0, USUAL},
    {"paxos/read-ignores-accepts", READ_INDEX, 5, ALL_FAULTS, 200, 0, USUAL},
    {"paxos/small-quorum", READ_INDEX, 5, ALL_FAULTS, 5, 0, USUAL},
    {"epaxos/one-ballot", READ_INDEX, 5, 1u << FAULT_LINK | 1u << FAULT_KILL, 80, 0, RACE},
    {"epaxos/fast-despite-changes", READ_INDEX, 5, ALL_FAULTS, 5, 5, USUAL},
    {"epaxos/small-fast-quorum", READ_INDEX, 5, ALL_FAULTS, 5, 40, USUAL},
    {"epaxos/no-try-preaccept", READ_INDEX, 5, ALL_FAULTS, 40, 0, USUAL},
    {"epaxos/leader-ignored", READ_INDEX, 5, ALL_FAULTS, 40, 100, USUAL},
    {"epaxos/no-union", READ_INDEX, 5, ALL_FAULTS, 5, 5, USUAL},
    {"epaxos/no-tie-break", READ_INDEX, 5, ALL_FAULTS, 5, 5, USUAL},
    {"epaxos/execute-early", READ_INDEX, 5, ALL_FAULTS, 5, 5, USUAL},
};

/* On all links, until the end. */
static void trouble_links(uint32_t nodes, struct link_condition trouble) {
    struct fault_spec f = {.kind = FAULT_LINK, .link = trouble};
    struct error e;
    for (uint32_t i = 0; i < nodes; i++) f.links[i] = (1u << nodes) - 1;
    assert_true(d.world->ops->fault_begin(d.world, &f, &e));
}

static void delay_answers(uint32_t nodes) {
    struct fault_spec late = {.kind = FAULT_LINK, .link = {.delay_ns = 220 * NS_PER_MS}};
    struct error e;
    for (uint32_t i = 2; i < nodes; i++) late.links[i] = 3;
    assert_true(d.world->ops->fault_begin(d.world, &late, &e));
}

static struct world_config hunt_config(const struct hunt *h, const char *mutant, uint64_t seed) {
    static char target[32];
    struct world_config c = driver_config(seed);
    snprintf(target, sizeof target, "%.*s", (int)strcspn(h->mutant, "/"), h->mutant);
    c.target = target;
    c.mutant = mutant;
    c.reads = h->reads;
    c.nodes = h->nodes;
    if (h->conditions == RACE) {
        c.clients = 20;
        c.election_timeout_ns = 150 * NS_PER_MS;
        c.heartbeat_ns = 30 * NS_PER_MS;
    } else if (h->conditions == COMPACTION) {
        c.snapshot_entries = 8;
    } else if (h->conditions != USUAL) {
        c.clients_pinned = true;
        c.clients = 150;
        c.clock_drift_ppm_max = 1000;
        c.heartbeat_ns = h->conditions == OPEN_LOOP ? 200 * NS_PER_MS : 0;
    }
    return c;
}

static enum world_end hunt_run(const struct hunt *h, const struct world_config *c, bool *settled) {
    driver_init(&d, c);
    d.fault_kinds = h->faults;
    if (h->conditions == OPEN_LOOP || h->conditions == LATE_ANSWERS) d.think_ns = 200 * NS_PER_MS;
    if (h->conditions == LATE_ANSWERS) delay_answers(c->nodes);
    if (h->conditions == RACE) d.keys = 2;
    if (h->conditions == RACE) trouble_links(c->nodes, (struct link_condition){.loss_ppm = 330000});
    const struct link_condition disorder = {
        .duplicate_ppm = 500000, .reorder_ppm = 300000, .jitter_ns = 100 * NS_PER_MS};
    if (h->conditions == COMPACTION) trouble_links(c->nodes, disorder);
    return driver_run(&d, 20, settled);
}

static void every_mutant_breaks_an_invariant(void **state) {
    (void)state;
    if (getenv("HARROW_TEST_QUICK")) skip();
    for (size_t i = 0; i < sizeof hunts / sizeof *hunts; i++) {
        const struct hunt *h = &hunts[i];
        uint64_t seed = 0, found = 0;
        while (!found && ++seed <= h->seeds) {
            struct world_config c = hunt_config(h, h->mutant, seed);
            bool settled;
            const char *invariant = "";
            found = hunt_run(h, &c, &settled) == WORLD_VIOLATION ? seed : 0;
            if (found) d.world->ops->violation(d.world, &invariant);
            if (found) print_message("%-28s seed %3ju: %s\n", h->mutant, found, invariant);
            driver_free(&d);
        }
        if (h->seeds && !found) fail_msg("%s is not caught within %u seeds", h->mutant, h->seeds);
    }
}

static void mutants_are_seen_without_invariants(void **state) {
    (void)state;
    if (getenv("HARROW_TEST_QUICK")) skip();
    for (size_t i = 0; i < sizeof hunts / sizeof *hunts; i++) {
        const struct hunt *h = &hunts[i];
        uint64_t seed = 0, found = 0;
        while (!found && ++seed <= h->seeds_alone) {
            struct world_config c = hunt_config(h, h->mutant, seed);
            c.invariants = false;
            bool settled;
            const char *why;
            hunt_run(h, &c, &settled);
            assert_null(d.world->ops->violation(d.world, NULL));
            found = driver_judge(&d, &why) == VERDICT_INVALID || !settled ? seed : 0;
            if (!settled) why = "the nodes do not agree in the end";
            if (found) print_message("%-28s seed %3ju: %s\n", h->mutant, found, why);
            driver_free(&d);
        }
        if (h->seeds_alone && !found) fail_msg("%s is not seen within %u seeds", h->mutant, h->seeds_alone);
    }
}

static void every_bundled_mutant_is_hunted(void **state) {
    (void)state;
    for (const struct mutant_info *m = mutants_all(); m->id; m++) {
        bool hunted = false;
        for (size_t i = 0; i < sizeof hunts / sizeof *hunts; i++) hunted |= strcmp(hunts[i].mutant, m->id) == 0;
        if (!hunted) fail_msg("no settings for %s", m->id);
    }
}

static bool same_conditions(const struct hunt *a, const struct hunt *b) {
    size_t target = strcspn(a->mutant, "/") + 1;
    return strncmp(a->mutant, b->mutant, target) == 0 && a->reads == b->reads && a->nodes == b->nodes &&
           a->faults == b->faults && a->conditions == b->conditions;
}

static bool first_of_its_conditions(size_t i) {
    for (size_t before = 0; before < i; before++)
        if (same_conditions(&hunts[before], &hunts[i])) return false;
    return true;
}

static void correct_code_is_not_accused_where_mutants_are_caught(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof hunts / sizeof *hunts; i++) {
        const struct hunt *h = &hunts[i];
        for (uint64_t seed = 1; seed <= rounds(12) && first_of_its_conditions(i); seed++) {
            struct world_config c = hunt_config(h, "", seed);
            bool settled;
            enum world_end end = hunt_run(h, &c, &settled);
            const char *why = driver_complaint(&d, end, settled);
            if (why) fail_msg("%s, seed %ju: %s", h->mutant, seed, why);
            driver_free(&d);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mutant_breaks_an_invariant),
        cmocka_unit_test(mutants_are_seen_without_invariants),
        cmocka_unit_test(every_bundled_mutant_is_hunted),
        cmocka_unit_test(correct_code_is_not_accused_where_mutants_are_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
