/* The correct rules of EPaxos. Each is the sentence of the paper that it is named after, and nothing more. */
#include "targets/protocols/epaxos/epaxos_internal.h"

uint32_t epaxos_rule_fast_quorum(uint8_t nodes) {
    uint32_t tolerated = nodes - majority_of(nodes), absent = (nodes - tolerated + 1) / 2;
    return nodes - (absent < tolerated ? absent : tolerated);
}
bool epaxos_rule_may_commit_fast(uint32_t unchanged, uint32_t replies) {
    return unchanged == replies;
}
uint32_t epaxos_rule_merge_dependency(uint32_t mine, uint32_t theirs) {
    return mine > theirs ? mine : theirs;
}
uint32_t epaxos_rule_voted_ballot(uint32_t promised, uint32_t accepted) {
    (void)promised;
    return accepted;
}
bool epaxos_rule_leader_answered(bool leader_in_quorum) {
    return leader_in_quorum;
}
bool epaxos_rule_must_try(uint32_t preaccepts, uint8_t nodes) {
    return preaccepts + 1 < majority_of(nodes);
}
bool epaxos_rule_may_execute(uint32_t number, uint32_t committed) {
    return number <= committed;
}
bool epaxos_rule_executes_before(uint64_t seq_a, struct epaxos_id a, uint64_t seq_b, struct epaxos_id b) {
    if (seq_a != seq_b) return seq_a < seq_b;
    return a.replica != b.replica ? a.replica < b.replica : a.number < b.number;
}

const struct epaxos_rules epaxos_rules_correct = {EPAXOS_RULES_CORRECT};
