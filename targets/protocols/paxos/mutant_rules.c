/* Rule tables with one rule broken on purpose, for the mutants of targets/node/mutants.def. */
#include "targets/protocols/paxos/paxos_internal.h"

static uint64_t ballot_of_round(uint64_t round, uint8_t node) {
    (void)node;
    return round << BALLOT_NODE_BITS;
}
static uint32_t one_too_few(uint32_t nodes) {
    return nodes - px_rule_majority(nodes);
}
static bool first_found(uint64_t reported, uint64_t found) {
    return found == 0 && reported > 0;
}
static uint64_t promised_alone(uint64_t promised, uint64_t accepted) {
    (void)accepted;
    return promised;
}
static uint64_t chosen_alone(uint64_t accepted, uint64_t chosen) {
    (void)accepted;
    return chosen;
}

/* Each table is the correct one with one member initialised again, which is the point here and a mistake elsewhere. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#else
#pragma GCC diagnostic ignored "-Woverride-init"
#endif

const struct paxos_rules paxos_mutant_ballot_without_node = {PAXOS_RULES_CORRECT, .ballot = ballot_of_round};
const struct paxos_rules paxos_mutant_small_quorum = {PAXOS_RULES_CORRECT, .accept_quorum = one_too_few};
const struct paxos_rules paxos_mutant_first_reply = {PAXOS_RULES_CORRECT, .prefers = first_found};
const struct paxos_rules paxos_mutant_accept_without_promise = {PAXOS_RULES_CORRECT, .bound = promised_alone};
const struct paxos_rules paxos_mutant_read_ignores_accepts = {PAXOS_RULES_CORRECT, .read_to = chosen_alone};
