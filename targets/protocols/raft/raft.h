/* raft: the consensus protocol of Ongaro and Ousterhout (USENIX ATC'14) and Ongaro's thesis (Stanford, 2014), for a
 * fixed membership. Beyond the paper: pre-vote (thesis 9.6), check-quorum and leader stickiness (6.2, 6.4.1, 4.2.3),
 * pipelining with parallel disk writes at the leader (10.2), conflict hints (ATC'14 section 5.3), ReadIndex (6.4),
 * leader leases with a stated clock bound (6.4.1), leadership transfer (3.10), chunked snapshots (section 7).
 *
 * What other rooms may know: the wire messages (for oracles and traces) and the rule table that mutants swap. */
#ifndef HARROW_TARGETS_RAFT_H
#define HARROW_TARGETS_RAFT_H

#include "targets/protocols/protocol.h"

enum raft_message_kind {
    RAFT_VOTE_REQUEST = 1, /* also pre-vote, by flag */
    RAFT_VOTE_REPLY,
    RAFT_APPEND_REQUEST, /* also heartbeat, when empty */
    RAFT_APPEND_REPLY,
    RAFT_SNAPSHOT_REQUEST, /* one chunk */
    RAFT_SNAPSHOT_REPLY,
    RAFT_TIMEOUT_NOW, /* leadership transfer */
};

struct raft_message {
    uint8_t kind;
    bool pre_vote, transfer; /* VOTE_*: pre-vote; VOTE_REQUEST: a transfer that overrides stickiness */
    bool success;            /* VOTE_REPLY: granted; APPEND_REPLY: matched; SNAPSHOT_REPLY: whole */
    uint64_t term;
    uint64_t index;    /* VOTE_REQUEST: last log index; APPEND_REQUEST: prev; APPEND_REPLY: match, or hint when
                           rejected; SNAPSHOT_*: the snapshot's index */
    uint64_t log_term; /* VOTE_REQUEST: of index; APPEND_REQUEST: of prev; APPEND_REPLY rejected: of the conflicting
                           entry; SNAPSHOT_REQUEST: of the snapshot */
    uint64_t commit;   /* APPEND_REQUEST: leader's commit */
    uint64_t round;    /* APPEND_*: quorum round, echoed; reads and leases count these */
    uint64_t rejected; /* APPEND_REPLY rejected: the prev that was refused; SNAPSHOT_REPLY: the offset answered */
    uint64_t offset;   /* SNAPSHOT_REQUEST: of the chunk; SNAPSHOT_REPLY: next byte wanted */
    bool last;         /* SNAPSHOT_REQUEST: final chunk */
    struct bytes data; /* SNAPSHOT_REQUEST: chunk; APPEND_REQUEST: entries, walked by raft_entry_next */
    uint32_t entries;  /* APPEND_REQUEST: how many */
};

/* Returns the size, or 0 if it did not fit. */
size_t raft_message_encode(const struct raft_message *m, uint8_t *out, size_t capacity);
/* False on anything malformed: unknown kind, wrong length, entries that do not walk. Entry indices are prev + 1, ... */
bool raft_message_decode(struct bytes b, struct raft_message *m);
/* Takes the next entry of an APPEND_REQUEST's data; `e->index` is left to the caller. */
bool raft_entry_next(struct reader *r, struct entry *e);

/* The decisions on which the proof of Raft rests, as pure predicates: raft_rules_correct, of which a mutant swaps
 * one. */
struct raft_rules {
    /* Votes counted for a candidacy; `granted` is the mask of voters, `replies` how many granting replies came. */
    uint32_t (*votes)(uint32_t granted_mask, uint32_t replies);
    /* May a voter with this log vote for a candidate with that? (5.4.1) */
    bool (*log_up_to_date)(uint64_t candidate_term, uint64_t candidate_index, uint64_t my_term, uint64_t my_index);
    /* May a leader of current_term commit, by counting, up to an entry of entry_term? (5.4.2, Figure 8) */
    bool (*may_commit)(uint64_t entry_term, uint64_t current_term);
    /* A follower's commit after an append that matched up to `matched` (Figure 2, AppendEntries rule 5) */
    uint64_t (*follower_commit)(uint64_t leader_commit, uint64_t matched, uint64_t last_index);
    /* Where to cut the log before appending: the first conflicting index, or 0 (Figure 2, AppendEntries rule 3). What
     * is compacted, up to base_index, is committed and contradicts nobody. */
    uint64_t (*truncate_from)(uint64_t first_conflict, uint64_t prev_index, uint64_t base_index, uint64_t last_index);
    /* The vote with which a replica goes on that steps down: none in a later term (Figure 2, State: votedFor) */
    uint8_t (*vote_after)(uint8_t vote, bool later_term);
    /* May a received snapshot replace the state and log of a replica that has committed up to here? (section 7) */
    bool (*takes_snapshot)(uint64_t snapshot_index, uint64_t commit);
    /* Does a replica ask, before it raises its term, whether it could win? (thesis 9.6) */
    bool (*pre_votes)(void);
    /* Does a leader step down that no quorum answers, and a replica help nobody to depose a leader that it hears?
     * (thesis 6.2, 4.2.3) */
    bool (*checks_quorum)(void);
    /* May ReadIndex be served, given the term of the last committed entry? (thesis 6.4, step 1) */
    bool (*may_read)(uint64_t committed_term, uint64_t current_term);
    /* Must a leader confirm its leadership by a quorum round before a read? (thesis 6.4, step 3) */
    bool (*read_needs_round)(void);
    /* From when does a lease count, given when its round was sent and when its quorum was complete? (thesis 6.4.1) */
    uint64_t (*lease_start)(uint64_t sent_ns, uint64_t acknowledged_ns);
};
extern const struct raft_rules raft_rules_correct;

/* One rule broken in each (mutant_rules.c; catalogue in targets/node/mutants.def). */
extern const struct raft_rules raft_mutant_commit_old_term, raft_mutant_count_duplicate_votes,
    raft_mutant_truncate_always, raft_mutant_commit_past_match, raft_mutant_vote_without_log_check,
    raft_mutant_read_before_own_commit, raft_mutant_leader_reads_locally, raft_mutant_lease_from_ack,
    raft_mutant_forget_vote, raft_mutant_purged_is_conflict, raft_mutant_older_snapshot,
    raft_mutant_disturbed_by_the_cut_off;

#endif
