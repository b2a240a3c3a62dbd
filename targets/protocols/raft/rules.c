/* The correct rules of Raft. Each is the sentence of the paper that it is named after, and nothing more. */
#include "targets/protocols/raft/raft_internal.h"

uint32_t rule_votes(uint32_t granted_mask, uint32_t replies) {
    (void)replies;
    return (uint32_t)__builtin_popcount(granted_mask);
}
bool rule_log_up_to_date(uint64_t candidate_term, uint64_t candidate_index, uint64_t my_term, uint64_t my_index) {
    return candidate_term != my_term ? candidate_term > my_term : candidate_index >= my_index;
}
bool rule_may_commit(uint64_t entry_term, uint64_t current_term) {
    return entry_term == current_term;
}
uint64_t rule_follower_commit(uint64_t leader_commit, uint64_t matched, uint64_t last_index) {
    (void)last_index;
    return leader_commit < matched ? leader_commit : matched;
}
uint64_t rule_truncate_from(uint64_t first_conflict, uint64_t prev_index, uint64_t base_index, uint64_t last_index) {
    (void)prev_index, (void)base_index, (void)last_index;
    return first_conflict;
}
uint8_t rule_vote_after(uint8_t vote, bool later_term) {
    return later_term ? NODE_NONE : vote;
}
bool rule_takes_snapshot(uint64_t snapshot_index, uint64_t commit) {
    return snapshot_index > commit;
}
bool rule_pre_votes(void) {
    return true;
}
bool rule_checks_quorum(void) {
    return true;
}
bool rule_may_read(uint64_t committed_term, uint64_t current_term) {
    return committed_term == current_term;
}
bool rule_read_needs_round(void) {
    return true;
}
uint64_t rule_lease_start(uint64_t sent_ns, uint64_t acknowledged_ns) {
    (void)acknowledged_ns;
    return sent_ns;
}

const struct raft_rules raft_rules_correct = {RAFT_RULES_CORRECT};
