/* Rule tables with one rule broken on purpose, for the mutants of targets/node/mutants.def. */
#include "targets/protocols/multipaxos/multipaxos_internal.h"

static uint64_t ballot_of_round(uint64_t round, uint8_t node) {
    (void)node;
    return round << BALLOT_NODE_BITS;
}
static uint32_t one_too_few(uint32_t nodes) {
    return nodes - mp_rule_majority(nodes);
}
static bool first_found(uint64_t reported, uint64_t found) {
    return found == 0 && reported > 0;
}
static uint64_t promise_unmoved(uint64_t promised, uint64_t ballot) {
    (void)ballot;
    return promised;
}
static bool no_gaps_filled(void) {
    return false;
}
static uint64_t from_commit(uint64_t commit, uint64_t found) {
    (void)found;
    return commit;
}
static bool lease_once_given(uint64_t now_ns, uint64_t until_ns) {
    (void)now_ns;
    return until_ns > 0;
}

/* Each table is the correct one with one member initialised again, which is the point here and a mistake elsewhere. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#else
#pragma GCC diagnostic ignored "-Woverride-init"
#endif

const struct multipaxos_rules multipaxos_mutant_ballot_without_node = {MULTIPAXOS_RULES_CORRECT,
                                                                       .ballot = ballot_of_round};
const struct multipaxos_rules multipaxos_mutant_small_quorum = {MULTIPAXOS_RULES_CORRECT, .accept_quorum = one_too_few};
const struct multipaxos_rules multipaxos_mutant_first_reply = {MULTIPAXOS_RULES_CORRECT, .prefers = first_found};
const struct multipaxos_rules multipaxos_mutant_accept_without_promise = {MULTIPAXOS_RULES_CORRECT,
                                                                          .promise_after_accept = promise_unmoved};
const struct multipaxos_rules multipaxos_mutant_skip_gaps = {MULTIPAXOS_RULES_CORRECT, .fills_gaps = no_gaps_filled};
const struct multipaxos_rules multipaxos_mutant_read_before_found = {MULTIPAXOS_RULES_CORRECT,
                                                                     .read_from = from_commit};
const struct multipaxos_rules multipaxos_mutant_stale_lease = {MULTIPAXOS_RULES_CORRECT,
                                                               .lease_holds = lease_once_given};
