/* protocols: one folder per replication protocol, all behind this interface. A protocol is a pure step function: an
 * event in, effects out, one block of memory per replica. It has no clock, no socket, no malloc and no libc beyond
 * mem*; whatever is not an effect did not happen. Two drivers run it: the simulator and the node process, both through
 * targets/node/replica.h.
 *
 * Durability is data. Each effect that changes durable state (APPEND, TRUNCATE, META, and SNAPSHOT writes) carries a
 * write number, 1, 2, 3, ... since start; the driver performs them in that order and reports by EVENT_PERSISTED how far
 * they are on disk. A SEND with a barrier is withheld until that write number is durable. A test, or a mutant, may
 * break a barrier on purpose.
 *
 * Resetting a replica is start() on the same memory, cloning it is memcpy of state_size() bytes. start() serves the
 * first boot and every restart alike: volatile state cannot survive by accident.
 *
 * The folders are laid out alike: the same concern has the same file in each, if the protocol has the concern.
 *   NAME.h           the door: messages, records, the table of rules
 *   NAME_internal.h  the replica's state, and what its files share
 *   NAME.c           start, step, proposals, application; the struct protocol
 *   message.c        the wire, and a message as a line of text
 *   rules.c, mutant_rules.c  the decisions of the proof, right and wrong on purpose
 *   log.c            what is remembered, where slots.c does not do it
 *   election.c, replication.c, transfer.c  of a leader: how it comes to be, what it sends, handing over
 *   catchup.c        without a leader: telling the others how far one is, and fetching
 *   snapshot.c       taking, sending and receiving snapshots
 *   reads.c          reads that cost no place in the log
 * All else is the paper's own and named after its words: follower, acceptor, proposer, learner, commit, recovery,
 * execution, interference. What they have in common lies beside this header: effects.h, quorum.h, slots.h, chunks.h,
 * read_queue.h, text.h. */
#ifndef HARROW_TARGETS_PROTOCOL_H
#define HARROW_TARGETS_PROTOCOL_H

#include "base/base.h"

#define PROTOCOL_NODES_MAX 15
#define PROTOCOL_META_MAX 64
#define PROTOCOL_SNAPSHOT_BYTES_MAX (UINT64_C(1) << 30) /* received from a leader; it lies in memory */
#define NODE_NONE UINT8_MAX

/* Every bound has a name. A full log or a full read queue refuses work (STATUS_BUSY); nothing grows without end. */
struct limits {
    uint32_t log_entries_max;   /* entries kept in memory since the last compaction; a power of two */
    uint32_t log_bytes_max;     /* their payloads */
    uint32_t entry_bytes_max;   /* one command */
    uint32_t message_bytes_max; /* one message; at least an entry and its frame */
    uint32_t reads_max;         /* reads waiting for a quorum round or for application */
    uint32_t inflight_max;      /* unanswered append messages per follower */
};

#define FOOTPRINT_MAX 18 /* 16 operations, a session, and one to spare */
struct footprint {
    uint64_t key;
    bool reads_only;
};

enum protocol_reads { PROTOCOL_READ_LOG, PROTOCOL_READ_INDEX, PROTOCOL_READ_LEASE, PROTOCOL_READ_LOCAL };

struct config {
    uint8_t self, nodes;          /* this replica's number, and how many there are: 0..nodes-1 */
    uint64_t seed;                /* of the protocol's own randomness (election timeouts) */
    uint64_t election_timeout_ns; /* minimum; drawn anew between one and two times this */
    uint64_t heartbeat_ns;
    uint32_t clock_drift_ppm_max; /* the rate error between any two clocks that lease reads allow for */
    enum protocol_reads reads;
    uint32_t snapshot_entries;  /* take a snapshot when this many entries were applied since the last; 0: never */
    uint32_t snapshot_trailing; /* entries kept before a snapshot for followers that lag a little */
    struct limits limits;
    const void *rules; /* the protocol's table of predicates; NULL: the correct one (mutants swap one) */
    /* What a command touches: keys as hashes, at most FOOTPRINT_MAX; returns how many. Two commands interfere if they
     * share a key and not both only read it. For protocols that order no more than what interferes. */
    uint32_t (*footprint)(struct bytes command, struct footprint *out);
};

enum entry_kind {
    ENTRY_COMMAND,
    ENTRY_NOOP,
    ENTRY_CONFIGURATION, /* reserved for membership change */
    ENTRY_RECORD,        /* of a redo log */
};

/* The durable log is a sequence of entries whose indices are contiguous. Raft keeps its log in it as it is. A protocol
 * that accepts out of order writes a redo log: each entry is a record of what became of a slot or an instance
 * (ENTRY_RECORD, in the protocol's own encoding), the last one about it counts, and the index is only its place. */
struct entry {
    uint64_t index, term;
    uint8_t kind;
    struct bytes payload;
};

/* What a restart finds on disk. Pointers are valid during start() only. */
struct durable {
    struct bytes meta;
    uint64_t snapshot_index, snapshot_term;
    struct bytes snapshot_header; /* the protocol's own part of the snapshot */
    const struct entry *entries;  /* contiguous and ascending; may begin at or below the snapshot */
    size_t entries_count;
};

enum event_kind {
    EVENT_MESSAGE,
    EVENT_TIMER,
    EVENT_PROPOSE,
    EVENT_READ,
    EVENT_PERSISTED,
    EVENT_SNAPSHOT_TAKEN,     /* the asked-for snapshot is durable as of write `written` */
    EVENT_SNAPSHOT_INSTALLED, /* a received one is in the state machine, its write numbered `written` */
    EVENT_TRANSFER,
    EVENT_RECONFIGURE, /* reserved */
};

struct event {
    enum event_kind kind;
    uint64_t now_ns; /* the node's monotonic clock; its rate may be wrong, it never jumps */
    union {
        struct {
            uint8_t from;
            struct bytes bytes;
        } message;
        struct {
            uint8_t id;
        } timer;
        struct {
            uint64_t token;       /* handed back by APPLY or RESPOND; not 0 */
            struct bytes command; /* may equal another request's, here or elsewhere */
        } propose;
        struct {
            uint64_t token; /* handed back by READ_READY or RESPOND; not 0 */
        } read;
        struct {
            uint64_t written;    /* all writes up to this number are durable */
            uint64_t last_index; /* of the log as of that write */
        } persisted;
        struct {
            uint64_t index, term, written;
            struct bytes header; /* of an installed one; valid during the step */
        } snapshot;
        struct {
            uint8_t to; /* NODE_NONE: anyone fit */
        } transfer;
    };
};

enum effect_kind {
    EFFECT_APPEND,   /* write: index, term, entry_kind, bytes */
    EFFECT_TRUNCATE, /* write: remove `index` and everything after it */
    EFFECT_META,     /* write: bytes */
    EFFECT_SEND,     /* to, message_kind, bytes, barrier */
    /* index, term, entry_kind, bytes; token if it was proposed here, else 0. index is what the state then reflects: of
     * a protocol that orders everything the slot; else the count of commands applied here. instance names the slot or
     * instance for all replicas alike. */
    EFFECT_APPLY,
    EFFECT_READ_READY, /* token: run the read on the state machine now; index: what it had to reach */
    EFFECT_RESPOND,    /* token, status, to (leader hint): refused, or its fate is unknown */
    EFFECT_TIMER,      /* timer, delay_ns: set, replacing; UINT64_MAX cancels */
    /* Serialize the state machine as it is now, applied up to index/term; keep log from token; bytes: the protocol's
     * own header of the snapshot, empty if it has none. */
    EFFECT_SNAPSHOT_TAKE,
    /* index, term, offset, bytes of a snapshot from another replica (as in fx->snapshot, header and all); `last` is a
     * write: keep log from token; reset: drop the log. */
    EFFECT_SNAPSHOT_RECEIVE,
    EFFECT_ROLE,  /* role, term: for logs, metrics and the leader history */
    EFFECT_FATAL, /* reason: an assertion of the protocol failed; the driver stops the node */
};

enum status { STATUS_OK, STATUS_NOT_LEADER, STATUS_BUSY, STATUS_UNKNOWN };
enum protocol_role { PROTOCOL_FOLLOWER, PROTOCOL_CANDIDATE, PROTOCOL_LEADER, PROTOCOL_PEER /* none leads */ };

struct effect { /* which fields count stands at the kinds above */
    uint8_t kind, message_kind, entry_kind, to, timer, status, role;
    bool last, reset;
    uint64_t written; /* write number of a durable effect */
    uint64_t barrier; /* SEND: withheld until this write is durable; 0: none */
    uint64_t token, index, term, instance, offset, delay_ns;
    struct bytes bytes; /* valid until the next call into the protocol */
    const char *reason;
};

/* Filled by one call of start or step, then carried out in order. The driver owns the memory; capacity suffices for any
 * one step under the limits (effects_needed, scratch_needed of the protocol). */
struct effects {
    struct effect *items;
    uint32_t count, capacity;
    uint8_t *scratch; /* message bytes built in this step */
    uint32_t scratch_size, scratch_capacity;
    uint64_t written; /* last write number handed out */
    /* The newest durable snapshot, for a leader to send from; data.size 0 if none. Set by the driver before each
     * call. */
    uint64_t snapshot_index, snapshot_term;
    struct bytes snapshot;
};

static inline struct effect *effect_add(struct effects *fx, enum effect_kind kind) {
    assert(fx->count < fx->capacity);
    struct effect *e = &fx->items[fx->count++];
    memset(e, 0, sizeof *e);
    e->kind = (uint8_t)kind;
    return e;
}

/* The scalars that every protocol can tell about a replica, cheap enough to read after every event. */
struct probe {
    uint8_t role, vote, leader;
    uint64_t term, first_index, last_index, last_term, commit_index, applied_index, durable_index;
    /* Since start: commands whose commit was decided here, in one round trip and in more. Both stay 0 where there is no
     * fast path. */
    uint64_t fast_commits, slow_commits;
    uint64_t refused_messages; /* since start: no message of this protocol, or with numbers that no run reaches */
    uint8_t refused_from;      /* who sent the last of them */
};

/* Canonical fields in a fixed order: for dumps and state hashes. */
struct visitor {
    void *ctx;
    void (*word)(void *ctx, const char *name, uint64_t value);
};

struct protocol {
    const char *name, *doc;
    bool leaderless;      /* any replica takes commands: nobody has the role of a leader */
    bool orders_all;      /* every replica applies the same sequence; else only what interferes is in one order */
    uint32_t reads_known; /* bit per protocol_reads that it offers; the driver falls back to PROTOCOL_READ_LOG */
    size_t (*state_size)(const struct config *c);
    uint32_t (*effects_needed)(const struct config *c); /* most effects of one step */
    uint32_t (*scratch_needed)(const struct config *c); /* most message bytes of one step */
    void (*start)(void *state, const struct config *c, const struct durable *d, uint64_t now_ns, struct effects *fx);
    void (*step)(void *state, const struct event *ev, struct effects *fx);
    void (*probe)(const void *state, struct probe *out);
    /* A leader's follower: the last index that it is known to hold; 0 if unknown, or not leading. May be NULL. */
    uint64_t (*matched)(const void *state, uint8_t node);
    void (*visit)(const void *state, const struct visitor *v);
    const char *(*check)(const void *state); /* local invariants: NULL, or which one is broken */
    /* Human-readable one-liner of a message, for traces; returns the length. */
    size_t (*describe)(struct bytes message, char *out, size_t capacity);
};

extern const struct protocol raft_protocol, multipaxos_protocol, paxos_protocol, epaxos_protocol;

#endif
