/* paxos: the single-decree synod, once per slot, and nothing else (Lamport, "The Part-Time Parliament", 1998, section
 * 2; "Paxos Made Simple", 2001, sections 2.2 and 2.3). Nobody leads: each replica proposes what its own clients ask
 * for, through both phases, in the first slot that it does not know to be chosen; where two meet, the one that is
 * refused waits a random time. The slots make one sequence, so that every command of the store works, also those of
 * several keys and those in sessions; a register per key, as CASPaxos has it (Rystsov 2018), could not do these.
 * Requests that wait are proposed together, as one value.
 *
 * What other rooms may know: the wire messages (for oracles and traces) and the rule table that mutants swap. */
#ifndef HARROW_TARGETS_PAXOS_H
#define HARROW_TARGETS_PAXOS_H

#include "targets/protocols/protocol.h"

enum paxos_message_kind {
    PAXOS_PREPARE = 1, /* phase 1a */
    PAXOS_PROMISE,     /* 1b, with what was accepted */
    PAXOS_ACCEPT,      /* 2a */
    PAXOS_ACCEPTED,    /* 2b */
    PAXOS_CHOSEN,      /* chosen values of consecutive slots; none: how far the sender is */
    PAXOS_FETCH,       /* asks for them, or for a chunk of a snapshot where they are gone */
    PAXOS_SNAPSHOT,    /* one chunk */
    PAXOS_ASK,         /* of a read: the last slot in which anything is accepted? */
    PAXOS_TELL,
};

#define PAXOS_BATCH_MAX 1024 /* commands in one value */

struct paxos_message {
    uint8_t kind;
    bool success;       /* PROMISE, ACCEPTED: not refused */
    bool last;          /* SNAPSHOT: final chunk */
    uint8_t value_kind; /* PROMISE, ACCEPT: enum entry_kind */
    uint64_t slot;      /* all of a slot; CHOSEN: of the first value; FETCH: first wanted; SNAPSHOT: its last;
                          TELL: the answer */
    uint64_t ballot;    /* of a refusal: what is promised; SNAPSHOT: of its last slot */
    uint64_t accepted;  /* PROMISE: the ballot of the value, 0: none */
    uint64_t commit;    /* CHOSEN: the sender knows of all slots up to here */
    uint64_t round;     /* ASK, TELL */
    uint64_t offset;    /* FETCH, SNAPSHOT: of the chunk */
    uint32_t values;    /* CHOSEN: how many in data */
    struct bytes data;  /* PROMISE, ACCEPT: the value; CHOSEN: the values; SNAPSHOT: the chunk */
};

/* Returns the size, or 0 if it did not fit. */
size_t paxos_encode(const struct paxos_message *m, uint8_t *out, size_t capacity);
/* False on anything malformed: unknown kind, wrong length, values that do not walk. */
bool paxos_decode(struct bytes b, struct paxos_message *m);
/* Takes the next value of a CHOSEN. */
bool paxos_value_next(struct reader *r, uint8_t *kind, struct bytes *value);

/* The decisions on which the proof rests, as pure predicates: paxos_rules_correct, of which a mutant swaps one. */
struct paxos_rules {
    /* The ballot of a round: no two replicas have one in common (1998, section 2.2). */
    uint64_t (*ballot)(uint64_t round, uint8_t node);
    /* Any quorum of phase 1 shares a member with any of phase 2 (Howard et al., "Flexible Paxos", 2016). */
    uint32_t (*prepare_quorum)(uint32_t nodes);
    uint32_t (*accept_quorum)(uint32_t nodes);
    /* Does a value reported with this ballot replace the one found so far? (2001, P2c: that of the highest ballot) */
    bool (*prefers)(uint64_t reported, uint64_t found);
    /* Below which ballot an acceptor refuses, given what it promised and accepted (2001, section 2.2, P1a) */
    uint64_t (*bound)(uint64_t promised, uint64_t accepted);
    /* What a replica tells a read, given the last slot in which it accepted, and the last that it knows as chosen */
    uint64_t (*read_to)(uint64_t accepted, uint64_t chosen);
};
extern const struct paxos_rules paxos_rules_correct;

/* One rule broken in each (mutant_rules.c; catalogue in targets/node/mutants.def). */
extern const struct paxos_rules paxos_mutant_ballot_without_node, paxos_mutant_small_quorum, paxos_mutant_first_reply,
    paxos_mutant_accept_without_promise, paxos_mutant_read_ignores_accepts;

#endif
