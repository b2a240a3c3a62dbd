/* The private side of epaxos: the replica's state and the functions that its files share.
 *   epaxos.c        start, step, the timer
 *   commit.c        PreAccept, Accept, Commit: phases 1 and 2 (SOSP'13 Figure 2)
 *   recovery.c      explicit prepare and TryPreAccept (SOSP'13 Figure 3, OPODIS'25 Figure 3)
 *   execution.c     strongly connected components of the dependency graph (SOSP'13 4.3.2)
 *   catchup.c       what a replica lacks: told of by others, fetched
 *   snapshot.c      taking, sending and receiving snapshots
 *   log.c           instances in memory, their commands, and their records
 *   interference.c  who touches what: attributes, conflicts
 *   message.c       the wire, and the records
 *   rules.c         the correct predicates; mutant_rules.c: those broken on purpose */
#ifndef HARROW_TARGETS_EPAXOS_INTERNAL_H
#define HARROW_TARGETS_EPAXOS_INTERNAL_H

#include "targets/protocols/chunks.h"
#include "targets/protocols/effects.h"
#include "targets/protocols/epaxos/epaxos.h"
#include "targets/protocols/quorum.h"
#include "targets/protocols/text.h"

enum { EPAXOS_TIMER_TICK };
enum {
    BUCKETS = 1024,        /* of the table of who touched what; those of one bucket count as interfering */
    KEYS_INLINE = 3,       /* of a footprint, kept with the instance; longer ones are made anew */
    TICK_WORK_MAX = 64,    /* instances that one tick sends for */
    FETCH_MAX = 32,        /* commits that one fetch brings */
    ATTEMPTS_MAX = 4,      /* doublings of a recovery's back-off */
    STATE_EVERY_TICKS = 10 /* between states of a replica to which nothing happens */
};
#define NO_SLOT UINT32_MAX

enum epaxos_phase { PHASE_IDLE, PHASE_PREACCEPT, PHASE_ACCEPT, PHASE_PREPARE, PHASE_TRY };

/* What a replica that drives an instance, as its leader or to recover it, has heard. */
struct proposal {
    uint8_t phase, entry_kind;
    bool conflict, committed, outvoted; /* TRY: as in the replies */
    uint16_t leaders;                   /* TRY: of what interferes */
    uint16_t quorum;                    /* TRY: who answered Prepare */
    uint16_t replies;                   /* mask of replicas, itself included */
    uint16_t unchanged; /* PREACCEPT: mask of those that kept the leader's attributes; PREPARE: that hold them */
    uint32_t ballot;
    uint8_t best_status;    /* PREPARE: of the value in the highest ballot */
    uint32_t best_accepted; /* that ballot */
    struct epaxos_attributes at, original;
};

struct instance {
    struct epaxos_id id;
    uint8_t status, entry_kind;
    bool original; /* pre-accepted with the leader's attributes unchanged */
    bool fast;
    bool has_command;
    bool knows_leader; /* leader_deps are known */
    uint8_t attempts;
    uint8_t waiting; /* what a recovery of this one reported in WAITING; 0: none */
    uint32_t promised, accepted;
    uint32_t refused_by; /* the highest ballot heard of in a refusal */
    struct epaxos_attributes at;
    uint32_t leader_deps[PROTOCOL_NODES_MAX];
    uint32_t command_offset, command_size;
    uint32_t keys_count;
    struct footprint keys[KEYS_INLINE];
    uint64_t token;
    uint64_t written, record_index;    /* of the last record */
    uint64_t commit_written;           /* committed as of this write; 0: known to be committed without it */
    uint64_t due_ns;                   /* when the driver of it sends again, or someone recovers it */
    uint32_t list_next, list_previous; /* in the list of its kind */
    uint32_t visit_number, visit_low;  /* Tarjan; number 0: not visited */
    struct proposal p;
};

struct row {            /* the instances of one leader: numbers base..base + instances - 1 have a place */
    uint32_t base;      /* below it nothing is kept; all of that is executed */
    uint32_t high;      /* the highest number heard of */
    uint32_t frontier;  /* executed up to here */
    uint32_t ceiling;   /* the highest executed */
    uint32_t committed; /* committed up to here */
    uint32_t floor;     /* executed, and its attributes may be forgotten: everything new depends on it */
};

struct touched { /* the highest instances that touched what falls into a bucket */
    uint32_t write[PROTOCOL_NODES_MAX], access[PROTOCOL_NODES_MAX];
    uint64_t write_seq, access_seq;
};

struct list { /* of slots, linked through the instances */
    uint32_t first, last, count;
};

struct frame { /* of the depth-first search */
    uint32_t slot, next;
    uint8_t replica;
};

struct epaxos {
    struct config c;
    const struct epaxos_rules *rules;
    struct prng prng;
    uint64_t now, durable_written;
    uint32_t row_size; /* a power of two */
    struct row rows[PROTOCOL_NODES_MAX];
    uint64_t applied;             /* how many instances are executed */
    struct list open, waiting;    /* what is not committed; what is, and not executed */
    uint64_t last_commit_written; /* the greatest commit_written */

    uint64_t log_first, log_last; /* of the redo log */
    uint64_t snapshot_index;
    uint32_t snapshot_frontier[PROTOCOL_NODES_MAX]; /* of the newest durable one */
    bool snapshot_pending, snapshot_wanted;
    uint32_t pending_frontier[PROTOCOL_NODES_MAX];

    uint32_t peer_frontier[PROTOCOL_NODES_MAX][PROTOCOL_NODES_MAX]; /* what each said that it executed */
    uint32_t peer_floor[PROTOCOL_NODES_MAX];                        /* the highest that any said */
    uint32_t sent_frontier[PROTOCOL_NODES_MAX];
    uint32_t ticks, fetch_from;

    bool receiving, installing;
    uint8_t receive_from;
    struct receiver receiver;                       /* the term is 1, of no meaning here */
    uint32_t receive_window;                        /* chunks to ask for at once */
    uint64_t receive_asked_ns, receive_deadline_ns; /* or got a chunk since; then it gives up */
    uint64_t serving_until_ns;                      /* another is being sent the present snapshot */

    uint64_t fast_commits, slow_commits; /* of commands, decided here */
    uint64_t refused_messages;
    uint8_t refused_from;
    uint32_t commands_used, commands_live, commands_capacity;
    uint64_t executed_bytes; /* of commands, since the last snapshot was begun */

    struct instance *instances; /* row after row */
    struct frame *frames;
    uint32_t *component;
    struct touched *touched;
    uint8_t *commands;
};

static inline uint32_t epaxos_majority(const struct epaxos *e) {
    return majority_of(e->c.nodes);
}
static inline uint32_t epaxos_slot(const struct epaxos *e, struct epaxos_id id) {
    return id.replica * e->row_size + (id.number & (e->row_size - 1));
}
/* Executed, as a snapshot says; its command and attributes are not known here. */
static inline bool epaxos_is_lost(const struct instance *i) {
    return i->status == EPAXOS_EXECUTED && i->entry_kind == ENTRY_COMMAND && !i->has_command;
}

/* rules.c */
uint32_t epaxos_rule_fast_quorum(uint8_t nodes);
bool epaxos_rule_may_commit_fast(uint32_t unchanged, uint32_t replies);
uint32_t epaxos_rule_merge_dependency(uint32_t mine, uint32_t theirs);
uint32_t epaxos_rule_voted_ballot(uint32_t promised, uint32_t accepted);
bool epaxos_rule_leader_answered(bool leader_in_quorum);
bool epaxos_rule_must_try(uint32_t preaccepts, uint8_t nodes);
bool epaxos_rule_may_execute(uint32_t number, uint32_t committed);
bool epaxos_rule_executes_before(uint64_t seq_a, struct epaxos_id a, uint64_t seq_b, struct epaxos_id b);
#define EPAXOS_RULES_CORRECT                                                                                           \
    .fast_quorum = epaxos_rule_fast_quorum, .may_commit_fast = epaxos_rule_may_commit_fast,                            \
    .merge_dependency = epaxos_rule_merge_dependency, .voted_ballot = epaxos_rule_voted_ballot,                        \
    .leader_answered = epaxos_rule_leader_answered, .must_try = epaxos_rule_must_try,                                  \
    .may_execute = epaxos_rule_may_execute, .executes_before = epaxos_rule_executes_before

/* message.c */
size_t epaxos_message_describe(struct bytes message, char *out, size_t capacity);
/* What a record has beside its command, at most. */
size_t epaxos_record_overhead(uint8_t nodes);
size_t epaxos_header_size(const struct epaxos *e);
size_t epaxos_header_encode(const struct epaxos *e, uint8_t *out, size_t capacity);

/* log.c */
size_t epaxos_log_memory(const struct config *c);
void epaxos_log_init(struct epaxos *e, uint8_t *memory);
uint32_t epaxos_row_size(const struct config *c);
/* The instance if it has a place; NULL below the row's base and above its high. */
struct instance *epaxos_get(const struct epaxos *e, struct epaxos_id id);
/* The same, making room and raising the row's high; NULL if below the base, or beyond what can be held. */
struct instance *epaxos_open(struct epaxos *e, struct epaxos_id id);
void epaxos_open_deps(struct epaxos *e, const struct epaxos_attributes *at);
struct bytes epaxos_command(const struct epaxos *e, const struct instance *i);
bool epaxos_has_room(const struct epaxos *e, size_t size);
bool epaxos_keep_command(struct epaxos *e, struct instance *i, struct bytes command);
void epaxos_tidy(struct epaxos *e); /* before a step: nothing points into the commands then */
void epaxos_record(struct epaxos *e, struct instance *i, struct effects *fx);
/* `in_snapshot`: its command is for others only; `index`: the record's. */
void epaxos_restore_record(struct epaxos *e, const struct epaxos_record *r, bool in_snapshot, uint64_t index);
void epaxos_enlist(struct epaxos *e, struct list *l, struct instance *i);
void epaxos_delist(struct epaxos *e, struct list *l, struct instance *i);
void epaxos_forget(struct epaxos *e, struct instance *i); /* executed; its command and attributes go */

/* interference.c */
void epaxos_touch(struct epaxos *e, struct instance *i);
/* Adds to `at` what is known here to interfere with `i`; `leads`: and what others said that they may have forgotten. */
void epaxos_merge_known(const struct epaxos *e, const struct instance *i, bool leads, struct epaxos_attributes *at);
bool epaxos_interfere(const struct epaxos *e, const struct instance *a, const struct instance *b);
/* Fills what a reply to TryPreAccept says of `i` with these dependencies. What this replica has forgotten is a conflict
 * of which it knows nothing more. */
void epaxos_conflicts(const struct epaxos *e, const struct instance *i, const uint32_t *deps,
                      struct epaxos_message *reply);
static inline bool epaxos_same(const struct epaxos_attributes *a, const struct epaxos_attributes *b, uint8_t nodes) {
    return a->seq == b->seq && memcmp(a->deps, b->deps, nodes * sizeof a->deps[0]) == 0;
}

/* epaxos.c */
void epaxos_send(struct epaxos *e, uint8_t to, const struct epaxos_message *m, uint64_t barrier, struct effects *fx);
void epaxos_send_masked(struct epaxos *e, uint16_t to, const struct epaxos_message *m, uint64_t barrier,
                        struct effects *fx);
static inline uint16_t epaxos_others(const struct epaxos *e) {
    return (uint16_t)(((1u << e->c.nodes) - 1) & ~(1u << e->c.self));
}
void epaxos_set_due(struct epaxos *e, struct instance *i);

/* commit.c */
bool commit_lead(struct epaxos *e, uint64_t token, struct bytes command, struct effects *fx);
void commit_on_due(struct epaxos *e, struct instance *i, struct effects *fx);
void commit_propose(struct epaxos *e, struct instance *i, uint32_t ballot, uint8_t entry_kind,
                    const struct epaxos_attributes *at, struct effects *fx);
void commit_decide(struct epaxos *e, struct instance *i, uint8_t entry_kind, const struct epaxos_attributes *at,
                   bool fast, struct effects *fx);
void commit_send(struct epaxos *e, uint16_t to, const struct instance *i, struct effects *fx);
void commit_on_preaccept(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx);
void commit_on_preaccept_reply(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx);
void commit_on_accept(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx);
void commit_on_accept_reply(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx);
void commit_on_commit(struct epaxos *e, const struct epaxos_message *m, struct effects *fx);

/* recovery.c */
void recovery_start(struct epaxos *e, struct instance *i, struct effects *fx);
void recovery_on_due(struct epaxos *e, struct instance *i, struct effects *fx);
void recovery_on_prepare(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx);
void recovery_on_prepare_reply(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx);
void recovery_on_try(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx);
void recovery_on_try_reply(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx);
void recovery_on_waiting(struct epaxos *e, const struct epaxos_message *m);

/* execution.c */
bool epaxos_is_committed(const struct epaxos *e, const struct instance *i); /* and may be told */
void execution_run(struct epaxos *e, struct effects *fx);
void execution_advance(struct epaxos *e, uint8_t replica); /* the row's committed and frontier */

/* catchup.c */
void catchup_on_tick(struct epaxos *e, struct effects *fx);
void catchup_ask_all(struct epaxos *e, struct epaxos_id id, struct effects *fx);
void catchup_on_state(struct epaxos *e, uint8_t from, const struct epaxos_message *m);
void catchup_on_fetch(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx);

/* snapshot.c */
void epaxos_maybe_snapshot(struct epaxos *e, struct effects *fx);
void epaxos_on_snapshot_taken(struct epaxos *e, uint64_t index, struct effects *fx);
void epaxos_on_offer(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx);
/* A chunk is missing: lost, or overtaken. Of what comes behind it nothing can be used. */
void epaxos_ask_for_less(struct epaxos *e, struct effects *fx);
void epaxos_on_request(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx);
void epaxos_on_chunk(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx);
void epaxos_on_installed(struct epaxos *e, uint64_t index, struct bytes header, struct effects *fx);
void epaxos_take_over(struct epaxos *e, uint64_t index, const struct epaxos_header *h, struct effects *fx);

#endif
