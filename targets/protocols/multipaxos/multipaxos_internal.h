/* The private side of multipaxos: the replica's state and the functions that its files share.
 *   multipaxos.c   start, step, ballots and roles, proposals, application, snapshots taken
 *   prepare.c      phase 1, both sides: canvass, promises, becoming leader
 *   accept.c       the leader's side of phase 2 and of snapshots, commit, check of the quorum
 *   acceptor.c     the other side of phase 2 and of snapshots
 *   reads.c        reads by a round or a lease, handing over
 *   message.c      the wire
 *   rules.c        the correct predicates; mutant_rules.c: those broken on purpose
 * Slots and their log are in targets/protocols/slots.h. */
#ifndef HARROW_TARGETS_MULTIPAXOS_INTERNAL_H
#define HARROW_TARGETS_MULTIPAXOS_INTERNAL_H

#include "targets/protocols/multipaxos/multipaxos.h"
#include "targets/protocols/slots.h"

enum { TIMER_ELECTION, TIMER_HEARTBEAT };
enum { ROUNDS_KEPT = 64, BALLOT_NODE_BITS = 4, MESSAGE_FRAME_BYTES = 96 };
_Static_assert(PROTOCOL_NODES_MAX < 1 << BALLOT_NODE_BITS, "a ballot has room for the node's number");

struct peer {
    uint64_t next, match;      /* the next slot to send; up to here all is accepted and durable */
    uint64_t round;            /* highest quorum round answered */
    uint64_t contact_ns;       /* last answer at this ballot */
    uint64_t mark, mark_round; /* `next` as of the last heartbeat, and its round: what was sent before, and is not held
                                  when that round is answered, was lost */
    uint32_t inflight;         /* accepts with entries since the last heartbeat that are not answered */
    bool snapshot, snapshot_sent;
    uint64_t snapshot_index, snapshot_offset;
};

struct read {
    uint64_t token, index, round;
};

struct multipaxos {
    struct config c;
    const struct multipaxos_rules *rules;
    struct prng prng;
    uint64_t now;

    uint64_t promised; /* durable by meta_written, which every message waits for */
    uint64_t seen;     /* the highest ballot heard of */
    uint64_t meta_written, durable_written;

    uint8_t role, leader;
    uint64_t commit, applied;
    uint64_t contact_ns;                              /* when a leader was last heard, or the start */
    uint64_t election_deadline_ns, election_armed_ns; /* armed 0: no timer set */

    /* Acceptor: up to `held` every slot is chosen, or accepted at the ballot held_ballot; up to `held_durable` also
     * on disk. */
    uint64_t held_ballot, held, held_durable;

    bool canvassing, handover_campaign;
    uint32_t promises; /* mask of complete ones */
    uint64_t found_top;
    uint64_t self_promise_written; /* 0: counted, or none */

    struct peer peers[PROTOCOL_NODES_MAX];
    uint64_t recovered_to; /* the last slot found in phase 1 */
    uint64_t own_next;     /* first own acceptance that is not counted */
    uint64_t pending_bytes;
    uint64_t round, round_confirmed;
    uint64_t round_sent_ns[ROUNDS_KEPT];
    uint64_t lease_until_ns;
    bool lease_forbidden; /* a HANDOVER of this ballot may still be under way */
    struct read *reads;
    uint32_t reads_first, reads_count;
    uint8_t handover_to;
    bool handover_sent;
    uint64_t handover_deadline_ns;

    uint64_t snapshot_index;
    bool snapshot_pending;                      /* being taken */
    uint64_t snapshot_base, snapshot_keep_from; /* what the log keeps once it is there */
    uint64_t compacted_at;                      /* last place when a snapshot was last asked for */
    uint64_t receive_index, receive_ballot, receive_offset;
    bool installing;
    uint64_t installing_keep_from;
    uint8_t installing_from; /* who gets the reply */
    uint64_t refused_messages;
    uint8_t refused_from;

    struct slots slots;
};

/* rules.c */
uint64_t mp_rule_ballot(uint64_t round, uint8_t node);
uint32_t mp_rule_majority(uint32_t nodes);
bool mp_rule_prefers(uint64_t reported, uint64_t found);
uint64_t mp_rule_promise_after_accept(uint64_t promised, uint64_t ballot);
bool mp_rule_fills_gaps(void);
uint64_t mp_rule_read_from(uint64_t commit, uint64_t found);
bool mp_rule_lease_holds(uint64_t now_ns, uint64_t until_ns);
#define MULTIPAXOS_RULES_CORRECT                                                                                       \
    .ballot = mp_rule_ballot, .prepare_quorum = mp_rule_majority, .accept_quorum = mp_rule_majority,                   \
    .prefers = mp_rule_prefers, .promise_after_accept = mp_rule_promise_after_accept,                                  \
    .fills_gaps = mp_rule_fills_gaps, .read_from = mp_rule_read_from, .lease_holds = mp_rule_lease_holds

/* multipaxos.c */
void mp_promise(struct multipaxos *p, uint64_t ballot, struct effects *fx); /* durable before anything else is sent */
void mp_become_follower(struct multipaxos *p, uint8_t leader, struct effects *fx);
void mp_set_role(struct multipaxos *p, uint8_t role, struct effects *fx);
void mp_heard(struct multipaxos *p, uint64_t ballot);
/* Accepts a value here; the request that waited for another one in this slot is told. False: no room. */
bool mp_accept(struct multipaxos *p, uint64_t slot, uint64_t ballot, uint8_t kind, struct bytes value,
               struct effects *fx);
void mp_apply(struct multipaxos *p, struct effects *fx);
void mp_send(struct multipaxos *p, uint8_t to, const struct multipaxos_message *m, uint64_t barrier,
             struct effects *fx);
void mp_refuse(struct multipaxos *p, uint8_t from); /* counts a message that means nothing */
void mp_respond(uint64_t token, enum status status, uint8_t leader, struct effects *fx);

/* prepare.c */
void mp_reset_election_timer(struct multipaxos *p, struct effects *fx);
void mp_on_election_timer(struct multipaxos *p, struct effects *fx);
void mp_campaign(struct multipaxos *p, bool handover, struct effects *fx);
void mp_on_prepare(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx);
void mp_on_promise(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx);
void mp_on_own_promise(struct multipaxos *p, struct effects *fx); /* it is durable */

/* accept.c */
void mp_lead(struct multipaxos *p, struct effects *fx);
void mp_broadcast(struct multipaxos *p, struct effects *fx); /* new slots, to whoever can take them */
void mp_new_round(struct multipaxos *p, struct effects *fx); /* a heartbeat to everyone */
void mp_on_heartbeat_timer(struct multipaxos *p, struct effects *fx);
void mp_on_accepted(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx);
void mp_on_snapshot_reply(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx);
void mp_count_own(struct multipaxos *p, struct effects *fx); /* own acceptances that have become durable */

/* acceptor.c */
void mp_on_accept(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx);
void mp_on_snapshot(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx);
void mp_on_installed(struct multipaxos *p, uint64_t index, struct effects *fx);
void mp_advance_held(struct multipaxos *p);

/* reads.c */
void mp_on_read(struct multipaxos *p, uint64_t token, struct effects *fx);
void mp_reads_on_round(struct multipaxos *p,
                       struct effects *fx); /* round_confirmed, commit or applied may have moved */
void mp_reads_drop(struct multipaxos *p, struct effects *fx);
void mp_on_transfer(struct multipaxos *p, uint8_t to, struct effects *fx);
void mp_transfer_progress(struct multipaxos *p, struct effects *fx);

#endif
