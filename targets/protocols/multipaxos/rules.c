/* The correct rules of Multi-Paxos. Each is the sentence of the paper that it is named after, and nothing more. */
#include "targets/protocols/multipaxos/multipaxos_internal.h"

uint64_t mp_rule_ballot(uint64_t round, uint8_t node) {
    return ballot_of(round, node);
}
uint32_t mp_rule_majority(uint32_t nodes) {
    return majority_of(nodes);
}
bool mp_rule_prefers(uint64_t reported, uint64_t found) {
    return reported > found;
}
uint64_t mp_rule_promise_after_accept(uint64_t promised, uint64_t ballot) {
    return ballot > promised ? ballot : promised;
}
bool mp_rule_fills_gaps(void) {
    return true;
}
uint64_t mp_rule_read_from(uint64_t commit, uint64_t found) {
    return commit > found ? commit : found;
}
bool mp_rule_lease_holds(uint64_t now_ns, uint64_t until_ns) {
    return now_ns < until_ns;
}

const struct multipaxos_rules multipaxos_rules_correct = {MULTIPAXOS_RULES_CORRECT};
