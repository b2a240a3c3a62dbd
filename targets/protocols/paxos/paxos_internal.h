/* The private side of paxos: the replica's state and the functions that its files share.
 *   paxos.c        start, step, requests, application
 *   proposer.c     both phases for the first slot that is not known to be chosen, and the wait after a refusal
 *   acceptor.c     the other side of both
 *   learner.c      what is chosen
 *   catchup.c      what a replica lacks: told of by others, fetched
 *   snapshot.c     taking, sending and receiving snapshots
 *   reads.c        reads by asking a quorum
 *   message.c      the wire
 *   rules.c        the correct predicates; mutant_rules.c: those broken on purpose
 * Slots and their log are in targets/protocols/slots.h. */
#ifndef HARROW_TARGETS_PAXOS_INTERNAL_H
#define HARROW_TARGETS_PAXOS_INTERNAL_H

#include "targets/protocols/chunks.h"
#include "targets/protocols/effects.h"
#include "targets/protocols/paxos/paxos.h"
#include "targets/protocols/quorum.h"
#include "targets/protocols/read_queue.h"
#include "targets/protocols/slots.h"
#include "targets/protocols/text.h"

enum { TIMER_PROPOSER, TIMER_GOSSIP };
enum { MESSAGE_FRAME_BYTES = 96, META_BYTES = 8, QUEUE_MESSAGES = 4, COMMAND_FRAME_BYTES = 4, BACKOFFS_MAX = 5 };
enum { FULL_SHARE = 64, CROWDED_SHARE = 128 }; /* of the log, in 1/256: a snapshot is due */

enum proposer_state {
    PROPOSER_IDLE,
    PROPOSER_WAITING, /* to begin, or to begin again */
    PROPOSER_PREPARING,
    PROPOSER_ACCEPTING,
};

/* Requests of this replica's clients, in order. bytes[0] is this replica's number; then commands, each behind its size:
 * the first `batch_bytes`, with that byte, are the value that is proposed in slot batch_slot. */
struct queue {
    uint8_t *bytes;
    uint32_t size, capacity;
    uint64_t *tokens;
    uint32_t count, count_max;
    uint32_t batch_bytes, batch_count; /* 0: nothing proposed */
    uint64_t batch_slot;
};

struct paxos {
    struct config c;
    const struct paxos_rules *rules;
    struct prng prng;
    uint64_t now, durable_written;
    uint64_t commit, applied; /* slots known to be chosen, and applied: without gaps */
    struct queue queue;

    uint8_t proposer;
    uint64_t slot, ballot; /* of the attempt */
    uint64_t seen;         /* the highest ballot heard of for `slot` */
    uint32_t promises, accepts;
    uint64_t own_written; /* the own promise or acceptance that is to count when durable; 0: none */
    uint64_t found_ballot;
    uint8_t found_kind;
    uint8_t *found; /* message_bytes_max */
    uint32_t found_size;
    uint64_t phase_ns, rtt_ns; /* when the phase began; what a phase took last */
    uint32_t backoffs;         /* refusals in a row */
    bool contended;            /* another was seen to propose in this slot */
    uint64_t stuck_at;         /* the commit point at the last look, and since when */
    uint64_t stuck_since_ns;

    struct read_queue reads; /* the index of one is known when its round is confirmed */
    uint64_t read_round;     /* under way, if it has not been confirmed */
    uint64_t read_confirmed, read_index;
    uint32_t read_replies;

    uint64_t snapshot_index;
    bool snapshot_pending;
    uint64_t snapshot_base, snapshot_keep_from, compacted_at;
    bool fetched; /* asked since the last gossip */
    struct receiver receiver;
    uint8_t receive_from;
    uint64_t receive_deadline_ns; /* then another may send one */
    uint64_t serving_until_ns;    /* another is being sent the present snapshot */
    bool installing;
    uint64_t installing_keep_from;
    uint64_t refused_messages;
    uint8_t refused_from;

    struct slots slots;
};

/* rules.c */
uint64_t px_rule_ballot(uint64_t round, uint8_t node);
uint32_t px_rule_majority(uint32_t nodes);
bool px_rule_prefers(uint64_t reported, uint64_t found);
uint64_t px_rule_bound(uint64_t promised, uint64_t accepted);
uint64_t px_rule_read_to(uint64_t accepted, uint64_t chosen);
#define PAXOS_RULES_CORRECT                                                                                            \
    .ballot = px_rule_ballot, .prepare_quorum = px_rule_majority, .accept_quorum = px_rule_majority,                   \
    .prefers = px_rule_prefers, .bound = px_rule_bound, .read_to = px_rule_read_to

/* paxos.c */
void px_send(uint8_t to, const struct paxos_message *m, uint64_t barrier, struct effects *fx);
void px_broadcast(struct paxos *p, const struct paxos_message *m, uint64_t barrier, struct effects *fx);
void px_refuse(struct paxos *p, uint8_t from); /* counts a message that means nothing */
void px_apply(struct paxos *p, struct effects *fx);
uint64_t px_last_accepted(const struct paxos *p);
uint64_t px_accepted_at(const struct paxos *p, uint64_t slot); /* the ballot; 0: nothing is accepted */
void px_pop_batch(struct queue *q);                            /* what was proposed last */

/* proposer.c */
void px_propose_soon(struct paxos *p, uint64_t delay_ns, struct effects *fx); /* if it has nothing under way */
void px_on_proposer_timer(struct paxos *p, struct effects *fx);
void px_on_promise(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx);
void px_on_accepted(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx);
void px_on_own_durable(struct paxos *p, struct effects *fx);
void px_on_rival(struct paxos *p, uint64_t slot, uint64_t ballot); /* another proposes there */
void px_slot_resolved(struct paxos *p, struct effects *fx);        /* `commit` has passed the attempt's slot */
void px_abandon(struct paxos *p, struct effects *fx);
void px_look_for_unfinished(struct paxos *p, struct effects *fx);

/* acceptor.c */
void px_on_prepare(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx);
void px_on_accept(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx);
bool px_may_answer(const struct paxos *p, const struct slot *slot, uint64_t ballot);

/* learner.c */
void px_learn(struct paxos *p, uint8_t kind, struct bytes value, struct effects *fx); /* slot commit + 1 */
void px_on_chosen(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx);

/* catchup.c */
void px_fetch(struct paxos *p, uint8_t from, struct effects *fx); /* from slot commit + 1 on */
void px_on_fetch(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx);
void px_send_chosen(struct paxos *p, uint8_t to, uint64_t from_slot, struct effects *fx);
void px_on_gossip_timer(struct paxos *p, struct effects *fx);

/* snapshot.c */
void px_snapshot_maybe(struct paxos *p, struct effects *fx); /* asks for one if it is due */
void px_on_snapshot_taken(struct paxos *p, uint64_t index);
void px_send_chunk(struct paxos *p, uint8_t to, uint64_t offset, struct effects *fx);
/* Chunks come from one replica at a time: the snapshots of others are other ones, each of which would begin anew. */
bool px_receives_from_another(const struct paxos *p, uint8_t from);
void px_on_snapshot(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx);
void px_on_installed(struct paxos *p, uint64_t index, struct effects *fx);

/* message.c */
size_t paxos_describe(struct bytes message, char *out, size_t capacity);

/* reads.c */
void px_on_read(struct paxos *p, uint64_t token, struct effects *fx);
void px_on_ask(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx);
void px_on_tell(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx);
void px_reads_progress(struct paxos *p, struct effects *fx);
void px_reads_ask_again(struct paxos *p, struct effects *fx);

#endif
