/* Linearizable reads without the log (thesis 6.4): ReadIndex with shared quorum rounds, and leader leases; and the
 * transfer of leadership (3.10), which leases must not outlive. */
#include "targets/protocols/raft/raft_internal.h"

static void read_ready(uint64_t token, uint64_t index, struct effects *fx) {
    struct effect *e = effect_add(fx, EFFECT_READ_READY);
    e->token = token;
    e->index = index;
}

void reads_on_request(struct raft *r, uint64_t token, struct effects *fx) {
    assert(token != 0);
    if (r->c.reads == PROTOCOL_READ_LOCAL) {
        read_ready(token, r->applied, fx);
        return;
    }
    if (r->role != PROTOCOL_LEADER) {
        raft_respond(token, STATUS_NOT_LEADER, r->leader, fx);
        return;
    }
    if (r->reads_count == r->c.limits.reads_max) {
        raft_respond(token, STATUS_BUSY, r->leader, fx);
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
    r->reads[(r->reads_first + r->reads_count) % r->c.limits.reads_max] =
        (struct read){.token = token, .index = index, .round = round};
    r->reads_count++;
    if (round && r->round_confirmed == r->round) replication_new_round(r, fx);
    reads_on_round(r, fx);
}

void reads_on_round(struct raft *r, struct effects *fx) {
    bool more = false;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->reads_count; i++) {
        struct read read = r->reads[(r->reads_first + i) % r->c.limits.reads_max];
        if (read.round <= r->round_confirmed && read.index <= r->applied) {
            read_ready(read.token, read.index, fx);
            continue;
        }
        more |= read.round > r->round;
        r->reads[(r->reads_first + kept++) % r->c.limits.reads_max] = read;
    }
    r->reads_count = kept;
    if (more && r->round_confirmed == r->round) replication_new_round(r, fx);
}

void reads_drop(struct raft *r, struct effects *fx) {
    for (uint32_t i = 0; i < r->reads_count; i++)
        raft_respond(r->reads[(r->reads_first + i) % r->c.limits.reads_max].token, STATUS_NOT_LEADER, NODE_NONE, fx);
    r->reads_first = r->reads_count = 0;
}

void transfer_on_request(struct raft *r, uint8_t to, struct effects *fx) {
    if (r->role != PROTOCOL_LEADER || r->c.nodes == 1 || to == r->c.self) return;
    if (to == NODE_NONE)
        for (uint8_t i = 0; i < r->c.nodes; i++)
            if (i != r->c.self && (to == NODE_NONE || r->peers[i].match > r->peers[to].match)) to = i;
    if (to >= r->c.nodes) return;
    r->transfer_to = to;
    r->transfer_sent = false;
    r->transfer_deadline_ns = r->now + r->c.election_timeout_ns;
    transfer_progress(r, fx);
}

void transfer_progress(struct raft *r, struct effects *fx) {
    if (r->transfer_to == NODE_NONE || r->transfer_sent || r->peers[r->transfer_to].match != r->log.last) return;
    r->transfer_sent = true;
    /* The target will not wait for anyone's stickiness, now or when the message is late: no lease in this term
     * again. */
    r->lease_forbidden = true;
    r->lease_until_ns = 0;
    struct raft_message m = {.kind = RAFT_TIMEOUT_NOW, .term = r->term};
    raft_send(r, r->transfer_to, &m, 0, fx);
}
