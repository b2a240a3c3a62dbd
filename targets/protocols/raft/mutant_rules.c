/* Rule tables with one rule broken on purpose, for the mutants of targets/node/mutants.def. */
#include "targets/protocols/raft/raft_internal.h"

static uint32_t votes_by_reply(uint32_t granted_mask, uint32_t replies) {
    (void)granted_mask;
    return replies;
}
static bool always_up_to_date(uint64_t candidate_term, uint64_t candidate_index, uint64_t my_term, uint64_t my_index) {
    (void)candidate_term, (void)candidate_index, (void)my_term, (void)my_index;
    return true;
}
static bool commit_any_term(uint64_t entry_term, uint64_t current_term) {
    (void)entry_term, (void)current_term;
    return true;
}
static uint64_t commit_to_last(uint64_t leader_commit, uint64_t matched, uint64_t last_index) {
    (void)matched;
    return leader_commit < last_index ? leader_commit : last_index;
}
static uint64_t truncate_after_prev(uint64_t first_conflict, uint64_t prev_index, uint64_t base_index,
                                    uint64_t last_index) {
    (void)first_conflict, (void)base_index;
    return prev_index < last_index ? prev_index + 1 : 0;
}
static uint64_t truncate_for_purged(uint64_t first_conflict, uint64_t prev_index, uint64_t base_index,
                                    uint64_t last_index) {
    return prev_index < base_index && base_index < last_index ? base_index + 1 : first_conflict;
}
static uint8_t no_vote(uint8_t vote, bool later_term) {
    (void)vote, (void)later_term;
    return NODE_NONE;
}
static bool any_snapshot(uint64_t snapshot_index, uint64_t commit) {
    (void)snapshot_index, (void)commit;
    return true;
}
static bool read_any_time(uint64_t committed_term, uint64_t current_term) {
    (void)committed_term, (void)current_term;
    return true;
}
static bool never(void) {
    return false;
}
static uint64_t from_acknowledgement(uint64_t sent_ns, uint64_t acknowledged_ns) {
    (void)sent_ns;
    return acknowledged_ns;
}

/* Each table is the correct one with one member initialised again, which is the point here and a mistake elsewhere. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#else
#pragma GCC diagnostic ignored "-Woverride-init"
#endif

const struct raft_rules raft_mutant_commit_old_term = {RAFT_RULES_CORRECT, .may_commit = commit_any_term};
const struct raft_rules raft_mutant_count_duplicate_votes = {RAFT_RULES_CORRECT, .votes = votes_by_reply};
const struct raft_rules raft_mutant_truncate_always = {RAFT_RULES_CORRECT, .truncate_from = truncate_after_prev};
const struct raft_rules raft_mutant_commit_past_match = {RAFT_RULES_CORRECT, .follower_commit = commit_to_last};
const struct raft_rules raft_mutant_vote_without_log_check = {RAFT_RULES_CORRECT, .log_up_to_date = always_up_to_date};
const struct raft_rules raft_mutant_read_before_own_commit = {RAFT_RULES_CORRECT, .may_read = read_any_time};
const struct raft_rules raft_mutant_leader_reads_locally = {RAFT_RULES_CORRECT, .read_needs_round = never};
const struct raft_rules raft_mutant_forget_vote = {RAFT_RULES_CORRECT, .vote_after = no_vote};
const struct raft_rules raft_mutant_purged_is_conflict = {RAFT_RULES_CORRECT, .truncate_from = truncate_for_purged};
const struct raft_rules raft_mutant_older_snapshot = {RAFT_RULES_CORRECT, .takes_snapshot = any_snapshot};
const struct raft_rules raft_mutant_disturbed_by_the_cut_off = {RAFT_RULES_CORRECT, .pre_votes = never,
                                                                .checks_quorum = never};
const struct raft_rules raft_mutant_lease_from_ack = {RAFT_RULES_CORRECT, .lease_start = from_acknowledgement};
