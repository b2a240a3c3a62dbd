/* multipaxos: Paxos with a stable leader (Lamport, "The Part-Time Parliament", 1998, section 3; "Paxos Made Simple",
 * 2001, section 3; van Renesse and Altinbuken, "Paxos Made Moderately Complex", 2015), for a fixed membership. Phase 1
 * runs once, over all slots above the commit point; then each command costs phase 2 alone. Beyond the papers, and as
 * Chandra et al. 2007 had to add: leases and reads by a round of the quorum, catch-up, snapshots in chunks, a leader
 * that steps down when cut off, and a canvass before an election, so that a returning replica does not disturb.
 *
 * What other rooms may know: the wire messages (for oracles and traces) and the rule table that mutants swap. */
#ifndef HARROW_TARGETS_MULTIPAXOS_H
#define HARROW_TARGETS_MULTIPAXOS_H

#include "targets/protocols/protocol.h"

enum multipaxos_message_kind {
    MULTIPAXOS_PREPARE = 1, /* phase 1a; a canvass, by flag */
    MULTIPAXOS_PROMISE,     /* 1b, a page of it */
    MULTIPAXOS_ACCEPT,      /* 2a, for consecutive slots; a heartbeat, when empty */
    MULTIPAXOS_ACCEPTED,    /* 2b */
    MULTIPAXOS_SNAPSHOT,    /* one chunk */
    MULTIPAXOS_SNAPSHOT_REPLY,
    MULTIPAXOS_HANDOVER, /* the leader asks another to prepare */
};

struct multipaxos_message {
    uint8_t kind;
    bool canvass, handover; /* PREPARE, PROMISE: nothing is promised yet; PREPARE: the leader wants it */
    bool success;           /* PROMISE, ACCEPTED: not refused; SNAPSHOT_REPLY: whole */
    bool last;              /* SNAPSHOT: final chunk */
    uint64_t ballot;        /* of the sender; of a refusal: what it has promised */
    uint64_t slot;          /* PREPARE, PROMISE: the first asked for; ACCEPT, ACCEPTED: of the first entry */
    uint64_t index;         /* PROMISE: where to go on, 0 at the end; ACCEPTED: up to here all is accepted and durable;
                               SNAPSHOT*: the snapshot's */
    uint64_t held;          /* ACCEPTED: up to here all is accepted, durable or not */
    uint64_t commit;        /* ACCEPT: slots up to here are chosen */
    uint64_t round;         /* ACCEPT, ACCEPTED: of the quorum; reads and leases count these */
    uint64_t offset;        /* SNAPSHOT: of the chunk; SNAPSHOT_REPLY: next byte wanted */
    uint64_t answered;      /* SNAPSHOT_REPLY: the offset that was sent; SNAPSHOT: ballot of the last slot in it */
    uint32_t entries;       /* PROMISE, ACCEPT: how many in data; ACCEPTED: how many were taken */
    struct bytes data;      /* SNAPSHOT: the chunk */
};

/* An entry of ACCEPT has kind and value; one of PROMISE also its slot and the ballot that it was accepted at. */
struct multipaxos_entry {
    uint64_t slot, ballot;
    uint8_t kind;
    struct bytes value;
};

/* Returns the size, or 0 if it did not fit. */
size_t multipaxos_encode(const struct multipaxos_message *m, uint8_t *out, size_t capacity);
/* False on anything malformed: unknown kind, wrong length, entries that do not walk. */
bool multipaxos_decode(struct bytes b, struct multipaxos_message *m);
/* Takes the next entry of a message of this kind. */
bool multipaxos_entry_next(struct reader *r, uint8_t message_kind, struct multipaxos_entry *e);
void multipaxos_entry_write(struct writer *w, uint8_t message_kind, const struct multipaxos_entry *e);

/* The decisions on which the proof rests, as pure predicates: multipaxos_rules_correct, of which a mutant swaps one. */
struct multipaxos_rules {
    /* The ballot of a round: no two replicas have one in common (1998, section 2.2). */
    uint64_t (*ballot)(uint64_t round, uint8_t node);
    /* Any quorum of phase 1 shares a member with any of phase 2 (Howard et al., "Flexible Paxos", 2016). */
    uint32_t (*prepare_quorum)(uint32_t nodes);
    uint32_t (*accept_quorum)(uint32_t nodes);
    /* Does a value reported with this ballot replace the one found so far? (2001, P2c: that of the highest ballot) */
    bool (*prefers)(uint64_t reported, uint64_t found);
    /* What an acceptor has promised once it has accepted at this ballot (2001, section 2.2, phase 2b) */
    uint64_t (*promise_after_accept)(uint64_t promised, uint64_t ballot);
    /* Does a new leader propose no-ops where it found nothing? (2001, section 3) */
    bool (*fills_gaps)(void);
    /* From where a read is current, given the commit point and the last slot found in phase 1 (Chandra et al. 5.2) */
    uint64_t (*read_from)(uint64_t commit, uint64_t found);
    /* Is a lease still good now? */
    bool (*lease_holds)(uint64_t now_ns, uint64_t until_ns);
};
extern const struct multipaxos_rules multipaxos_rules_correct;

/* One rule broken in each (mutant_rules.c; catalogue in targets/node/mutants.def). */
extern const struct multipaxos_rules multipaxos_mutant_ballot_without_node, multipaxos_mutant_small_quorum,
    multipaxos_mutant_first_reply, multipaxos_mutant_accept_without_promise, multipaxos_mutant_skip_gaps,
    multipaxos_mutant_read_before_found, multipaxos_mutant_stale_lease;

#endif
