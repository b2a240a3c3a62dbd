/* quorum: arithmetic of majorities, of the ballots of the Paxos family, and of leases that rest on the silence of a
 * quorum. */
#ifndef HARROW_TARGETS_QUORUM_H
#define HARROW_TARGETS_QUORUM_H

#include "targets/protocols/protocol.h"

static inline uint32_t majority_of(uint32_t nodes) {
    return nodes / 2 + 1;
}

static inline uint32_t members_of(uint32_t mask) {
    return (uint32_t)__builtin_popcount(mask);
}

/* The greatest number that so many of the values reach. Sorts them. */
static inline uint64_t quorum_reaches(uint64_t *values, uint32_t count, uint32_t quorum) {
    assert(quorum >= 1 && quorum <= count);
    for (uint32_t i = 1; i < count; i++) {
        uint64_t v = values[i];
        uint32_t at = i;
        for (; at > 0 && values[at - 1] < v; at--) values[at] = values[at - 1];
        values[at] = v;
    }
    return values[quorum - 1];
}

/* Ballots of different replicas differ (Lamport 1998, section 2.2): a round, and the replica's number below it. */
enum { BALLOT_NODE_BITS = 4 };
_Static_assert(PROTOCOL_NODES_MAX < 1 << BALLOT_NODE_BITS, "a ballot has room for the node's number");

static inline uint64_t ballot_of(uint64_t round, uint8_t node) {
    return round << BALLOT_NODE_BITS | node;
}
static inline uint64_t ballot_round(uint64_t ballot) {
    return ballot >> BALLOT_NODE_BITS;
}
static inline uint8_t ballot_node(uint64_t ballot) {
    return ballot & ((1u << BALLOT_NODE_BITS) - 1);
}

/* Until when nobody helps to replace a leader whom a quorum has heard, each member for an election timeout after the
 * sending, on a clock that may be so much faster (Ongaro's thesis, section 6.4.1). */
static inline uint64_t lease_until(const struct config *c, uint64_t sent_ns) {
    uint64_t drift_ppm = c->clock_drift_ppm_max < PPM ? c->clock_drift_ppm_max : PPM;
    return sent_ns + c->election_timeout_ns / PPM * (PPM - drift_ppm);
}

#endif
