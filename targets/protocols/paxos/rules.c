/* The correct rules of Paxos. Each is the sentence of the paper that it is named after, and nothing more. */
#include "targets/protocols/paxos/paxos_internal.h"

uint64_t px_rule_ballot(uint64_t round, uint8_t node) {
    return ballot_of(round, node);
}
uint32_t px_rule_majority(uint32_t nodes) {
    return majority_of(nodes);
}
bool px_rule_prefers(uint64_t reported, uint64_t found) {
    return reported > found;
}
uint64_t px_rule_bound(uint64_t promised, uint64_t accepted) {
    return promised > accepted ? promised : accepted;
}
uint64_t px_rule_read_to(uint64_t accepted, uint64_t chosen) {
    return accepted > chosen ? accepted : chosen;
}

const struct paxos_rules paxos_rules_correct = {PAXOS_RULES_CORRECT};
