/* Rule tables with one rule broken on purpose, for the mutants of targets/node/mutants.def. */
#include "targets/protocols/epaxos/epaxos_internal.h"

static uint32_t voted_as_promised(uint32_t promised, uint32_t accepted) {
    return promised > accepted ? promised : accepted;
}
static bool fast_despite_changes(uint32_t unchanged, uint32_t replies) {
    (void)unchanged, (void)replies;
    return true;
}
static uint32_t one_too_small(uint8_t nodes) {
    return epaxos_rule_fast_quorum(nodes) - 1;
}
static bool never_try(uint32_t preaccepts, uint8_t nodes) {
    (void)preaccepts, (void)nodes;
    return false;
}
static bool leader_ignored(bool leader_in_quorum) {
    (void)leader_in_quorum;
    return false;
}
static uint32_t mine_only(uint32_t mine, uint32_t theirs) {
    (void)theirs;
    return mine;
}
static bool at_once(uint32_t number, uint32_t committed) {
    (void)number, (void)committed;
    return true;
}
static bool by_seq_alone(uint64_t seq_a, struct epaxos_id a, uint64_t seq_b, struct epaxos_id b) {
    (void)a, (void)b;
    return seq_a < seq_b;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
#ifdef __clang__
#pragma GCC diagnostic ignored "-Winitializer-overrides"
#endif
const struct epaxos_rules epaxos_mutant_one_ballot = {EPAXOS_RULES_CORRECT, .voted_ballot = voted_as_promised};
const struct epaxos_rules epaxos_mutant_fast_despite_changes = {EPAXOS_RULES_CORRECT,
                                                                .may_commit_fast = fast_despite_changes};
const struct epaxos_rules epaxos_mutant_small_fast_quorum = {EPAXOS_RULES_CORRECT, .fast_quorum = one_too_small};
const struct epaxos_rules epaxos_mutant_no_try_preaccept = {EPAXOS_RULES_CORRECT, .must_try = never_try};
const struct epaxos_rules epaxos_mutant_leader_ignored = {EPAXOS_RULES_CORRECT, .leader_answered = leader_ignored};
const struct epaxos_rules epaxos_mutant_no_union = {EPAXOS_RULES_CORRECT, .merge_dependency = mine_only};
const struct epaxos_rules epaxos_mutant_no_tie_break = {EPAXOS_RULES_CORRECT, .executes_before = by_seq_alone};
const struct epaxos_rules epaxos_mutant_execute_early = {EPAXOS_RULES_CORRECT, .may_execute = at_once};
#pragma GCC diagnostic pop
