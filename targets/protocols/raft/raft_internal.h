/* The private side of raft: the replica's state and the functions that its files share.
 *   raft.c         start, step, terms and roles, proposals, application
 *   election.c     pre-vote, votes, becoming leader (ATC'14 section 5.2, thesis 9.6)
 *   replication.c  the leader's side of append (5.3), commit, check-quorum
 *   follower.c     the follower's side of append
 *   snapshot.c     taking, sending and receiving snapshots (7)
 *   transfer.c     leadership transfer (thesis 3.10)
 *   reads.c        ReadIndex, leases (thesis 6.4)
 *   log.c          the in-memory log
 *   message.c      the wire
 *   rules.c        the correct predicates; mutant_rules.c: those broken on purpose */
#ifndef HARROW_TARGETS_RAFT_INTERNAL_H
#define HARROW_TARGETS_RAFT_INTERNAL_H

#include "targets/protocols/chunks.h"
#include "targets/protocols/effects.h"
#include "targets/protocols/quorum.h"
#include "targets/protocols/raft/raft.h"
#include "targets/protocols/read_queue.h"
#include "targets/protocols/text.h"

enum { TIMER_ELECTION, TIMER_HEARTBEAT };
enum { ROUNDS_KEPT = 64, INFLIGHT_MAX = 64, MESSAGE_FRAME_BYTES = 64, META_BYTES = 9 };

/* A ring of entries over a ring of payload bytes; payloads never wrap, so a pointer to one is a plain pointer. */
struct log_item {
    uint64_t term, token;
    uint32_t offset, size;
    uint8_t kind;
};
struct raft_log {
    struct log_item *items;
    uint8_t *bytes;
    uint32_t items_mask, bytes_capacity;
    uint64_t first, last;           /* first is last + 1 when empty */
    uint64_t base_index, base_term; /* of the entry before `first`: (0, 0), a snapshot, or a compacted entry */
    uint32_t bytes_head;            /* where the next payload goes */
};

enum peer_state {
    PEER_PROBE,     /* one append at a time until the logs meet */
    PEER_REPLICATE, /* pipelined */
    PEER_SNAPSHOT,  /* receiving chunks */
};
struct peer {
    uint8_t state;
    bool probe_sent;
    uint64_t next, match;
    uint64_t round;      /* highest quorum round answered */
    uint64_t contact_ns; /* last answer of this term */
    uint64_t snapshot_index, snapshot_offset;
    bool snapshot_sent;
    uint64_t inflight[INFLIGHT_MAX]; /* last index of each unanswered append */
    uint32_t inflight_first, inflight_count;
};

struct raft {
    struct config c;
    const struct raft_rules *rules;
    struct prng prng;
    uint64_t now;

    uint64_t term; /* durable with `vote`; messages of a term wait for meta_written */
    uint8_t vote;
    uint64_t meta_written, log_written;
    uint64_t durable_index;          /* entries up to here are on this disk */
    uint64_t cut_written, cut_index; /* the not yet durable truncations: entries from cut_index on may be old ones */

    uint8_t role, leader;
    uint64_t commit, applied;
    uint64_t contact_ns;                              /* when a leader was last heard, or the start */
    uint64_t election_deadline_ns, election_armed_ns; /* armed 0: no timer set */

    bool pre_voting, transfer_campaign;
    uint32_t votes_mask, votes_replies;
    uint64_t self_vote_written; /* 0: counted, or none */

    struct peer peers[PROTOCOL_NODES_MAX];
    uint64_t term_start_index; /* of this leader's no-op */
    uint64_t round, round_confirmed;
    uint64_t round_sent_ns[ROUNDS_KEPT];
    uint64_t lease_until_ns;
    bool lease_forbidden; /* a TIMEOUT_NOW of this term may still be under way */
    struct read_queue reads;
    uint8_t transfer_to;
    bool transfer_sent;
    uint64_t transfer_deadline_ns;

    uint64_t snapshot_index, snapshot_term;
    bool snapshot_pending;       /* being taken */
    uint64_t snapshot_keep_from; /* where the log may start once it is there */
    struct receiver receiver;
    bool installing;
    uint64_t installing_from; /* who gets the reply */
    uint64_t refused_messages;
    uint8_t refused_from;

    struct raft_log log;
};

static inline uint32_t raft_quorum(const struct raft *r) {
    return majority_of(r->c.nodes);
}

/* rules.c */
uint32_t rule_votes(uint32_t granted_mask, uint32_t replies);
bool rule_log_up_to_date(uint64_t candidate_term, uint64_t candidate_index, uint64_t my_term, uint64_t my_index);
bool rule_may_commit(uint64_t entry_term, uint64_t current_term);
uint64_t rule_follower_commit(uint64_t leader_commit, uint64_t matched, uint64_t last_index);
uint64_t rule_truncate_from(uint64_t first_conflict, uint64_t prev_index, uint64_t base_index, uint64_t last_index);
uint8_t rule_vote_after(uint8_t vote, bool later_term);
bool rule_takes_snapshot(uint64_t snapshot_index, uint64_t commit);
bool rule_pre_votes(void);
bool rule_checks_quorum(void);
bool rule_may_read(uint64_t committed_term, uint64_t current_term);
bool rule_read_needs_round(void);
uint64_t rule_lease_start(uint64_t sent_ns, uint64_t acknowledged_ns);
#define RAFT_RULES_CORRECT                                                                                             \
    .votes = rule_votes, .log_up_to_date = rule_log_up_to_date, .may_commit = rule_may_commit,                         \
    .follower_commit = rule_follower_commit, .truncate_from = rule_truncate_from, .may_read = rule_may_read,           \
    .read_needs_round = rule_read_needs_round, .lease_start = rule_lease_start, .vote_after = rule_vote_after,         \
    .takes_snapshot = rule_takes_snapshot, .pre_votes = rule_pre_votes, .checks_quorum = rule_checks_quorum

/* log.c */
size_t log_memory(const struct limits *l);
void log_init(struct raft_log *log, const struct limits *l, void *memory);
uint64_t log_term(const struct raft_log *log, uint64_t index); /* 0 when unknown: before base or past the end */
struct log_item *log_item(const struct raft_log *log, uint64_t index);
struct bytes log_payload(const struct raft_log *log, uint64_t index);
bool log_has_room(const struct raft_log *log, uint32_t size);
uint64_t log_bytes_from(const struct raft_log *log, uint64_t index); /* used by the payloads of index and after */
bool log_append(struct raft_log *log, uint64_t term, uint8_t kind, uint64_t token, struct bytes payload);
void log_cut(struct raft_log *log, uint64_t index);                  /* removes index and after */
void log_compact(struct raft_log *log, uint64_t index);              /* removes up to and including index */
void log_reset(struct raft_log *log, uint64_t index, uint64_t term); /* empty, after (index, term) */
uint64_t log_last_term(const struct raft_log *log);
/* The largest index <= from whose term is <= term: where two logs may meet. */
uint64_t log_meeting_point(const struct raft_log *log, uint64_t from, uint64_t term);

/* raft.c */
void raft_write_meta(struct raft *r, uint64_t term, uint8_t vote, struct effects *fx);
void raft_become_follower(struct raft *r, uint64_t term, uint8_t leader, struct effects *fx);
void raft_set_role(struct raft *r, uint8_t role, struct effects *fx);
bool raft_append(struct raft *r, uint64_t term, uint8_t kind, uint64_t token, struct bytes payload, struct effects *fx);
void raft_apply(struct raft *r, struct effects *fx);
void raft_send(struct raft *r, uint8_t to, const struct raft_message *m, uint64_t barrier, struct effects *fx);
void raft_refuse(struct raft *r, uint8_t from); /* counts a message that means nothing */

/* election.c */
void election_reset_timer(struct raft *r, struct effects *fx);
void election_on_timer(struct raft *r, struct effects *fx);
void election_on_request(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx);
void election_on_reply(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx);
void election_on_persisted(struct raft *r, uint64_t written, struct effects *fx);
void election_campaign(struct raft *r, bool transfer, struct effects *fx);

/* replication.c */
void replication_start(struct raft *r, struct effects *fx);
/* An append from the peer's `next` on; empty when `heartbeat` and nothing may be sent now. */
void replication_send(struct raft *r, uint8_t to, bool heartbeat, struct effects *fx);
void replication_peer_become(struct peer *p, enum peer_state state);
void replication_broadcast(struct raft *r, struct effects *fx); /* new entries, to whoever can take them */
void replication_new_round(struct raft *r, struct effects *fx); /* a heartbeat to everyone */
void replication_on_timer(struct raft *r, struct effects *fx);
void replication_on_append_reply(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx);
void replication_advance_commit(struct raft *r, struct effects *fx);

/* follower.c */
void follower_on_append(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx);
/* A message of a current leader: take its term and heed it. False when it is from the past, which the reply tells. */
bool follower_heed(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx);
/* Entries that leave this log unapplied: another replica may still commit them. */
void follower_forget_requests(struct raft *r, uint64_t from, uint64_t to, struct effects *fx);

/* snapshot.c */
void snapshot_maybe(struct raft *r, struct effects *fx); /* asks for one once enough was applied since the last */
void snapshot_on_taken(struct raft *r, uint64_t index, uint64_t term, struct effects *fx);
/* One chunk, wherever the follower is. A newer snapshot of ours restarts the transfer. */
void snapshot_send_chunk(struct raft *r, uint8_t to, struct effects *fx);
void snapshot_on_reply(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx);
void snapshot_on_chunk(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx);
void snapshot_on_installed(struct raft *r, uint64_t index, uint64_t term, struct effects *fx);

/* message.c */
size_t raft_message_describe(struct bytes message, char *out, size_t capacity);

/* reads.c */
void reads_on_request(struct raft *r, uint64_t token, struct effects *fx);
void reads_on_round(struct raft *r, struct effects *fx); /* round_confirmed, commit or applied may have moved */

/* transfer.c */
void transfer_on_request(struct raft *r, uint8_t to, struct effects *fx);
void transfer_progress(struct raft *r, struct effects *fx);

#endif
