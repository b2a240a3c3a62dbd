/* Linearizable reads without the log (thesis 6.4): ReadIndex with shared quorum rounds, and leader leases; and the
 * transfer of leadership (3.10), which leases must not outlive. */
#include "targets/protocols/raft/raft_internal.h"

void reads_on_request(struct raft *r, uint64_t token, struct effects *fx) {
    assert(token != 0);
    if (r->c.reads == PROTOCOL_READ_LOCAL) {
        effect_read_ready(token, r->applied, fx);
        return;
    }
    if (r->role != PROTOCOL_LEADER) {
        effect_respond(token, STATUS_NOT_LEADER, r->leader, fx);
        return;
    }
    if (read_queue_is_full(&r->reads)) {
        effect_respond(token, STATUS_BUSY, r->leader, fx);
        return;
    }
    bool current = r->rules->may_read(log_term(&r->log, r->commit), r->term);
    uint64_t index = current || r->commit >= r->term_start_index ? r->commit : r->term_start_index;
    bool leased = r->c.reads == PROTOCOL_READ_LEASE && r->now < r->lease_until_ns && !r->lease_forbidden;
    uint64_t round = 0;
    if (!leased && r->rules->read_needs_round()) {
        /* A round sent before this read proves nothing for it. While one is under way, wait for the next: many reads
         * share a round. */
        round = r->round + 1;
    }
    read_queue_add(&r->reads, token, index, round);
    if (round && r->round_confirmed == r->round) replication_new_round(r, fx);
    reads_on_round(r, fx);
}

void reads_on_round(struct raft *r, struct effects *fx) {
    uint64_t highest = read_queue_serve(&r->reads, r->round_confirmed, r->applied, fx);
    if (highest > r->round && r->round_confirmed == r->round) replication_new_round(r, fx);
}
