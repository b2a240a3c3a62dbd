/* A cluster of any protocol's replicas, stepped by hand: no driver, no store, no real disk, only the interface of
 * protocol.h. Messages wait in a queue until they are delivered or dropped; a disk takes what a step writes at once,
 * unless it is stalled; a crash takes what it had not. The state machine is the sequence of what was applied. */
#ifndef HARROW_TESTS_STEP_CLUSTER_H
#define HARROW_TESTS_STEP_CLUSTER_H

#include "targets/protocols/protocol.h"

enum { STEP_NODES_MAX = 7, STEP_TIMERS = 4, STEP_APPLIED_MAX = 8192 };

struct step_message {
    uint8_t from, to, kind;
    struct bytes bytes; /* owned */
    uint64_t due_ns;
};
struct step_write { /* what an effect writes; owns its bytes */
    uint8_t effect, entry_kind;
    uint64_t index, term, keep_from, written;
    bool reset;
    struct buffer bytes, header;
};
struct step_entry {
    uint64_t index, term;
    uint8_t kind;
    struct buffer payload;
};
struct step_answer {
    uint64_t token, index;
    uint8_t status; /* enum status; STATUS_OK: applied, or read */
};
struct step_node {
    void *state;
    struct config config;
    struct effects fx;
    bool up, stalled;
    uint64_t timers[STEP_TIMERS]; /* when; UINT64_MAX: not set */
    /* the disk */
    struct step_entry *entries;
    size_t entries_count, entries_capacity;
    uint64_t keep_from;
    uint8_t meta[PROTOCOL_META_MAX];
    size_t meta_size;
    uint64_t snapshot_index, snapshot_term;
    struct buffer snapshot; /* header's size, header, state */
    /* under way to it */
    struct step_write *writes;
    size_t writes_count, writes_capacity;
    struct buffer receiving;
    /* the state machine: a hash per applied command */
    uint64_t applied[STEP_APPLIED_MAX];
    uint64_t applied_count;
    uint8_t role;
    uint64_t role_changes;
    struct step_answer answers[1024];
    uint32_t answers_count;
    const char *fatal;
};
struct step_cluster {
    const struct protocol *protocol;
    uint8_t nodes;
    uint64_t now_ns;
    struct prng prng;
    struct step_node node[STEP_NODES_MAX];
    struct step_message *messages;
    size_t messages_count, messages_capacity;
    uint32_t cut[STEP_NODES_MAX]; /* mask of receivers that nothing of this sender reaches */
    uint32_t loss_ppm, double_ppm;
    uint64_t latency_ns; /* one way, 1 ms at first */
    uint64_t jitter_ns;  /* 0: in order */
    uint64_t sent[16];   /* by kind */
};

struct config step_config(void); /* small limits, snapshots now and then; self and nodes are set by step_new */
struct step_cluster *step_new(const struct protocol *p, uint8_t nodes, const struct config *config, uint64_t seed);
void step_free(struct step_cluster *c);

void step_event(struct step_cluster *c, uint8_t node, struct event ev); /* now_ns is set */
void step_propose(struct step_cluster *c, uint8_t node, uint64_t token, const char *command);
void step_read(struct step_cluster *c, uint8_t node, uint64_t token);
/* Delivers messages and fires timers in order of time, until that much time has passed. */
void step_run(struct step_cluster *c, uint64_t ns);
void step_crash(struct step_cluster *c, uint8_t node); /* with what is not durable, and all messages to it */
void step_boot(struct step_cluster *c, uint8_t node);
void step_release_disk(struct step_cluster *c, uint8_t node); /* ends a stall */
/* So many random things: requests, crashes, stalls of disks, cuts, loss, doubles and disorder, with time between. Then
 * everything is healed, and the cluster has ten seconds. Returns how many requests were answered STATUS_OK. */
uint32_t step_storm(struct step_cluster *c, uint32_t things);

uint8_t step_leader(const struct step_cluster *c); /* NODE_NONE: none, or two */
const struct step_answer *step_answer(const struct step_cluster *c, uint8_t node, uint64_t token);
struct probe step_probe(const struct step_cluster *c, uint8_t node);
/* One sequence everywhere, as far as each has applied it; aborts with the place where it is not. */
void step_expect_agreement(const struct step_cluster *c);
bool step_converged(const struct step_cluster *c); /* all are up, have applied the same, and know of nothing more */

#endif
