/* The private side of the oracle: what is common to all protocols (oracle.c), and one file for each of them
 * (oracle_raft.c, ...), which looks at effects and messages and remembers what its invariants need. */
#ifndef HARROW_SIM_ORACLE_INTERNAL_H
#define HARROW_SIM_ORACLE_INTERNAL_H

#include "harness/sim/oracle.h"

#define U(x) ((unsigned long long)(x))

struct oracle_seen { /* of one node, by its last probe; its role by its effects */
    uint64_t term, commit, applied;
    uint8_t role;
};

struct oracle {
    const struct oracle_of *of;
    void *state; /* of the protocol's part */
    bool orders_all;
    uint32_t nodes;
    struct oracle_seen seen[PROTOCOL_NODES_MAX];
    uint64_t *hash_at; /* state hash per applied index; 0: not seen */
    size_t hash_capacity, hash_used;
    uint64_t answered;
    char name[64], text[400];
};

/* One protocol's part. All but `protocol` and the first three may be NULL. */
struct oracle_of {
    const struct protocol *protocol;
    void *(*create)(void);
    void (*destroy)(void *state);
    void (*reset)(struct oracle *o);
    void (*boot)(struct oracle *o, uint8_t node, const struct durable *d); /* sets seen[node].term */
    void (*crash)(struct oracle *o, uint8_t node);
    void (*effect)(struct oracle *o, uint8_t node, const struct effect *e);
    void (*durable)(struct oracle *o, uint8_t node, uint64_t written);
    void (*step)(struct oracle *o, uint8_t node, const struct probe *p); /* seen[node] is still of before */
    uint64_t (*committed)(const struct oracle *o); /* the last index that anyone committed; orders_all only */
};
extern const struct oracle_of oracle_of_raft, oracle_of_multipaxos, oracle_of_paxos, oracle_of_epaxos;

/* Reports a violation; the first one explains, later ones follow from it and are dropped. */
void oracle_fail(struct oracle *o, const char *invariant, const char *format, ...) PRINTF_LIKE(3, 4);

#endif
