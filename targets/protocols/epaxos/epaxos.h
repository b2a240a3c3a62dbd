/* epaxos: Egalitarian Paxos for a fixed membership. Any replica leads the commands that its clients give it; only
 * commands that interfere are ordered. Commit protocol, optimized fast quorum and execution as in Moraru, Andersen and
 * Kaminsky, "There Is More Consensus in Egalitarian Parliaments" (SOSP'13); ballots as in Sutra, "On the correctness of
 * Egalitarian Paxos" (2019, arXiv 1906.10917); recovery as in Ryabinin, Gotsman and Sutra, "Making Democracy Work"
 * (OPODIS'25, arXiv 2511.02743), whose Validate is TryPreAccept here. docs/epaxos.md has the whole reading.
 *
 * What other rooms may know: messages and log records (for oracles and traces) and the rule table that mutants swap. */
#ifndef HARROW_TARGETS_EPAXOS_H
#define HARROW_TARGETS_EPAXOS_H

#include "targets/protocols/protocol.h"

#define EPAXOS_NUMBER_MAX (UINT32_MAX - 1) /* instances of one replica; a replica that has led so many refuses more */

/* Instances are named (replica, number), numbers from 1. A ballot is round * 16 + the replica that runs it; 0 is the
 * command leader's own, which needs no prepare. */
struct epaxos_id {
    uint8_t replica;
    uint32_t number;
};

/* One name for all replicas: EFFECT_APPLY's instance. */
static inline uint64_t epaxos_name(struct epaxos_id id) {
    return (uint64_t)id.number << 4 | id.replica;
}

/* What a command is to be ordered after: of each replica, all instances up to a number, as far as they interfere. */
struct epaxos_attributes {
    uint64_t seq;
    uint32_t deps[PROTOCOL_NODES_MAX];
};

enum epaxos_status {
    EPAXOS_NONE,        /* not heard of, or only promised */
    EPAXOS_TRIED,       /* known from a recovery that asked whether it fits (TryPreAccept) */
    EPAXOS_PREACCEPTED, /* in ballot 0 */
    EPAXOS_ACCEPTED,
    EPAXOS_COMMITTED,
    EPAXOS_EXECUTED,
};

enum epaxos_message_kind {
    EPAXOS_PREACCEPT = 1,
    EPAXOS_PREACCEPT_REPLY,
    EPAXOS_ACCEPT,
    EPAXOS_ACCEPT_REPLY,
    EPAXOS_COMMIT,
    EPAXOS_PREPARE, /* explicit prepare: recovery of an instance */
    EPAXOS_PREPARE_REPLY,
    EPAXOS_TRY_PREACCEPT,
    EPAXOS_TRY_PREACCEPT_REPLY,
    EPAXOS_WAITING, /* a recovery waits for another to end; count: what it found */
    EPAXOS_STATE,   /* how far a replica has executed */
    EPAXOS_FETCH,   /* asks for commits from a number on, count of them */
    EPAXOS_SNAPSHOT_OFFER,
    EPAXOS_SNAPSHOT_REQUEST,
    EPAXOS_SNAPSHOT_CHUNK,
    EPAXOS_KIND_END,
};

/* Which fields a kind has stands in message.c; all others are zero. */
struct epaxos_message {
    uint8_t kind;
    bool original;  /* attributes are still those of the command leader */
    bool refused;   /* *_REPLY: `ballot` is what was promised to another */
    bool conflict;  /* TRY_PREACCEPT_REPLY: something interferes, and neither waits for the other */
    bool committed; /* TRY_PREACCEPT_REPLY: such a thing is committed */
    bool outvoted;  /* TRY_PREACCEPT_REPLY: such a thing has too many pre-accepts beside it (WAITING) */
    bool last;      /* SNAPSHOT_CHUNK */
    uint8_t status; /* PREPARE_REPLY */
    uint8_t entry_kind;
    uint16_t leaders; /* TRY_PREACCEPT_REPLY: mask of the leaders of what interferes */
    uint32_t ballot, accepted, count;
    struct epaxos_id id;
    struct epaxos_attributes at;
    uint32_t vector[PROTOCOL_NODES_MAX]; /* STATE, SNAPSHOT_*: executed up to there, by row */
    uint32_t floor[PROTOCOL_NODES_MAX];  /* STATE */
    uint64_t index, offset;              /* SNAPSHOT_* */
    struct bytes data;                   /* the command; SNAPSHOT_CHUNK: the chunk */
};

/* Returns the size, or 0 if it did not fit. `nodes` is how many numbers a vector has. */
size_t epaxos_message_encode(const struct epaxos_message *m, uint8_t nodes, uint8_t *out, size_t capacity);
/* False on anything malformed: unknown kind, wrong length, replicas or numbers out of range. */
bool epaxos_message_decode(struct bytes b, uint8_t nodes, struct epaxos_message *m);

/* A record of the redo log: everything that a replica must not forget of an instance. The last one counts. */
struct epaxos_record {
    struct epaxos_id id;
    uint8_t status, entry_kind;
    bool original, fast;            /* fast: committed by its leader without an accept round */
    bool has_command, knows_leader; /* leader_deps are known */
    uint32_t promised, accepted;
    struct epaxos_attributes at;
    uint32_t leader_deps[PROTOCOL_NODES_MAX]; /* as in the leader's PreAccept, or in a TryPreAccept */
    struct bytes command;
};
size_t epaxos_record_encode(const struct epaxos_record *r, uint8_t nodes, uint8_t *out, size_t capacity);
bool epaxos_record_decode(struct bytes b, uint8_t nodes, struct epaxos_record *r);

/* The header of a snapshot: all instances up to `frontier` are in it, and some above it. */
struct epaxos_header {
    uint32_t frontier[PROTOCOL_NODES_MAX];
    uint32_t above_bytes[PROTOCOL_NODES_MAX]; /* of a bit map: bit i is instance frontier + 1 + i */
    const uint8_t *above[PROTOCOL_NODES_MAX];
};
bool epaxos_header_decode(struct bytes b, uint8_t nodes, struct epaxos_header *h);

/* The decisions on which safety rests, as pure predicates: epaxos_rules_correct, of which a mutant swaps one. */
struct epaxos_rules {
    /* How many pre-accepts, the leader's included, commit at once: n - e, with the greatest e <= f that recovery bears,
     * n >= 2e + f - 1 (OPODIS'25). Of 2F + 1 that is F + floor((F + 1) / 2) (SOSP'13 section 4.4). */
    uint32_t (*fast_quorum)(uint8_t nodes);
    /* May that many equal answers of so many commit at once? (SOSP'13 Figure 2, step 11) */
    bool (*may_commit_fast)(uint32_t unchanged, uint32_t replies);
    /* A dependency as merged from two answers (SOSP'13 Figure 2, step 14: the union) */
    uint32_t (*merge_dependency)(uint32_t mine, uint32_t theirs);
    /* The ballot that an answer to Prepare names as that of its value (Sutra 2019, section 4) */
    uint32_t (*voted_ballot)(uint32_t promised, uint32_t accepted);
    /* Does the command leader's answer settle that nothing was committed at once? (SOSP'13 4.7; OPODIS'25 Figure 3) */
    bool (*leader_answered)(bool leader_in_quorum);
    /* Must a value that perhaps was committed at once be tried for conflicts first? (SOSP'13 4.7, TryPreAccept) Not if
     * so many pre-accepts and the leader's own are a majority: of two such commands one has seen the other. */
    bool (*must_try)(uint32_t preaccepts, uint8_t nodes);
    /* May what depends on all instances up to `number` be executed, if all up to `committed` are? (SOSP'13 4.3.2) */
    bool (*may_execute)(uint32_t number, uint32_t committed);
    /* Is a before b in a strongly connected component? (SOSP'13 4.3.2) */
    bool (*executes_before)(uint64_t seq_a, struct epaxos_id a, uint64_t seq_b, struct epaxos_id b);
};
extern const struct epaxos_rules epaxos_rules_correct;

/* One rule broken in each (mutant_rules.c; catalogue in targets/node/mutants.def). */
extern const struct epaxos_rules epaxos_mutant_one_ballot, epaxos_mutant_fast_despite_changes,
    epaxos_mutant_small_fast_quorum, epaxos_mutant_no_try_preaccept, epaxos_mutant_leader_ignored,
    epaxos_mutant_no_union, epaxos_mutant_no_tie_break, epaxos_mutant_execute_early;

#endif
