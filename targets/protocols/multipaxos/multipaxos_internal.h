/* The private side of multipaxos: the replica's state and the functions that its files share.
 *   multipaxos.c   start, step, ballots and roles, proposals, application
 *   election.c     phase 1, both sides: canvass, promises, becoming leader
 *   replication.c  the leader's side of phase 2, commit, check of the quorum
 *   acceptor.c     the other side of phase 2
 *   snapshot.c     taking, sending and receiving snapshots
 *   transfer.c     handing over the leadership
 *   reads.c        reads by a round or a lease
 *   message.c      the wire
 *   rules.c        the correct predicates; mutant_rules.c: those broken on purpose
 * Slots and their log are in targets/protocols/slots.h. */
#ifndef HARROW_TARGETS_MULTIPAXOS_INTERNAL_H
#define HARROW_TARGETS_MULTIPAXOS_INTERNAL_H

#include "targets/protocols/chunks.h"
#include "targets/protocols/effects.h"
#include "targets/protocols/multipaxos/multipaxos.h"
#include "targets/protocols/quorum.h"
#include "targets/protocols/read_queue.h"
#include "targets/protocols/slots.h"
#include "targets/protocols/text.h"

enum { TIMER_ELECTION, TIMER_HEARTBEAT };
enum { ROUNDS_KEPT = 64, MESSAGE_FRAME_BYTES = 96, META_BYTES = 8 };
/* Shares of the log, in 1/256 of it. A snapshot is due when the whole takes more than FULL, since an election writes
 * anew what is not chosen, and then what was found of it; when more than CROWDED, even if nothing was applied. */
enum { FULL_SHARE = 64, CROWDED_SHARE = 128 };

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
    struct read_queue reads;
    uint8_t handover_to;
    bool handover_sent;
    uint64_t handover_deadline_ns;

    uint64_t snapshot_index;
    bool snapshot_pending;                      /* being taken */
    uint64_t snapshot_base, snapshot_keep_from; /* what the log keeps once it is there */
    uint64_t compacted_at;                      /* last place when a snapshot was last asked for */
    struct receiver receiver;                   /* its term is the ballot of the last slot in the snapshot */
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
/* Accepts a value that is not the one held in this slot; the request that waited for that one is told. False: no
 * room. */
bool mp_accept(struct multipaxos *p, uint64_t slot, uint64_t ballot, uint8_t kind, struct bytes value,
               struct effects *fx);
void mp_apply(struct multipaxos *p, struct effects *fx);
void mp_send(struct multipaxos *p, uint8_t to, const struct multipaxos_message *m, uint64_t barrier,
             struct effects *fx);
void mp_refuse(struct multipaxos *p, uint8_t from);                 /* counts a message that means nothing */
uint64_t mp_accepted_at(const struct multipaxos *p, uint64_t slot); /* the ballot; 0: nothing is accepted */

/* election.c */
void mp_reset_election_timer(struct multipaxos *p, struct effects *fx);
void mp_on_election_timer(struct multipaxos *p, struct effects *fx);
void mp_campaign(struct multipaxos *p, bool handover, struct effects *fx);
void mp_on_prepare(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx);
void mp_on_promise(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx);
void mp_on_own_promise(struct multipaxos *p, struct effects *fx); /* it is durable */

/* replication.c */
void mp_lead(struct multipaxos *p, struct effects *fx);
/* Accepts from the peer's `next` on; empty when `heartbeat` and nothing may be sent now. */
void mp_send_accept(struct multipaxos *p, uint8_t to, bool heartbeat, struct effects *fx);
void mp_broadcast(struct multipaxos *p, struct effects *fx); /* new slots, to whoever can take them */
void mp_new_round(struct multipaxos *p, struct effects *fx); /* a heartbeat to everyone */
void mp_on_heartbeat_timer(struct multipaxos *p, struct effects *fx);
void mp_on_accepted(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx);
void mp_count_own(struct multipaxos *p, struct effects *fx); /* own acceptances that have become durable */

/* acceptor.c */
void mp_on_accept(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx);
/* A message of the present leader: take its ballot and heed it. False when it is from the past, or from nobody. */
bool mp_heed(struct multipaxos *p, uint8_t from, uint64_t ballot, struct effects *fx);
void mp_advance_held(struct multipaxos *p);

/* snapshot.c */
void mp_snapshot_maybe(struct multipaxos *p, struct effects *fx); /* asks for one if it is due */
void mp_on_snapshot_taken(struct multipaxos *p, uint64_t index, struct effects *fx);
/* One chunk, wherever the follower is. A newer snapshot of ours restarts the transfer. */
void mp_send_chunk(struct multipaxos *p, uint8_t to, struct effects *fx);
void mp_on_snapshot_reply(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx);
void mp_on_snapshot(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx);
void mp_on_installed(struct multipaxos *p, uint64_t index, struct effects *fx);

/* message.c */
size_t multipaxos_describe(struct bytes message, char *out, size_t capacity);

/* reads.c */
void mp_on_read(struct multipaxos *p, uint64_t token, struct effects *fx);
void mp_reads_on_round(struct multipaxos *p,
                       struct effects *fx); /* round_confirmed, commit or applied may have moved */

/* transfer.c */
void mp_on_transfer(struct multipaxos *p, uint8_t to, struct effects *fx);
void mp_transfer_progress(struct multipaxos *p, struct effects *fx);

#endif
