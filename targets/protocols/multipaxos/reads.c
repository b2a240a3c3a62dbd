/* Linearizable reads without a slot of their own (Chandra et al. 2007, section 5.2): by a round of the quorum that many
 * reads share, or under a lease; and handing over the leadership, which leases must not outlive. */
#include "targets/protocols/multipaxos/multipaxos_internal.h"

static void read_ready(uint64_t token, uint64_t index, struct effects *fx) {
    struct effect *e = effect_add(fx, EFFECT_READ_READY);
    e->token = token;
    e->index = index;
}

void mp_on_read(struct multipaxos *p, uint64_t token, struct effects *fx) {
    assert(token != 0);
    if (p->c.reads == PROTOCOL_READ_LOCAL) {
        read_ready(token, p->applied, fx);
        return;
    }
    if (p->role != PROTOCOL_LEADER) {
        mp_respond(token, STATUS_NOT_LEADER, p->leader, fx);
        return;
    }
    if (p->reads_count == p->c.limits.reads_max) {
        mp_respond(token, STATUS_BUSY, p->leader, fx);
        return;
    }
    bool leased =
        p->c.reads == PROTOCOL_READ_LEASE && p->rules->lease_holds(p->now, p->lease_until_ns) && !p->lease_forbidden;
    /* A round sent before this read proves nothing for it. While one is under way, wait for the next: many reads share
     * a round. */
    uint64_t round = leased ? 0 : p->round + 1;
    p->reads[(p->reads_first + p->reads_count) % p->c.limits.reads_max] =
        (struct read){.token = token, .index = p->rules->read_from(p->commit, p->recovered_to), .round = round};
    p->reads_count++;
    if (round && p->round_confirmed == p->round) mp_new_round(p, fx);
    mp_reads_on_round(p, fx);
}

void mp_reads_on_round(struct multipaxos *p, struct effects *fx) {
    bool more = false;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->reads_count; i++) {
        struct read read = p->reads[(p->reads_first + i) % p->c.limits.reads_max];
        if (read.round <= p->round_confirmed && read.index <= p->applied) {
            read_ready(read.token, read.index, fx);
            continue;
        }
        more |= read.round > p->round;
        p->reads[(p->reads_first + kept++) % p->c.limits.reads_max] = read;
    }
    p->reads_count = kept;
    if (more && p->round_confirmed == p->round) mp_new_round(p, fx);
}

void mp_reads_drop(struct multipaxos *p, struct effects *fx) {
    for (uint32_t i = 0; i < p->reads_count; i++)
        mp_respond(p->reads[(p->reads_first + i) % p->c.limits.reads_max].token, STATUS_NOT_LEADER, NODE_NONE, fx);
    p->reads_first = p->reads_count = 0;
}

void mp_on_transfer(struct multipaxos *p, uint8_t to, struct effects *fx) {
    if (p->role != PROTOCOL_LEADER || p->c.nodes == 1 || to == p->c.self) return;
    if (to == NODE_NONE)
        for (uint8_t i = 0; i < p->c.nodes; i++)
            if (i != p->c.self && (to == NODE_NONE || p->peers[i].match > p->peers[to].match)) to = i;
    if (to >= p->c.nodes) return;
    p->handover_to = to;
    p->handover_sent = false;
    p->handover_deadline_ns = p->now + p->c.election_timeout_ns;
    mp_transfer_progress(p, fx);
}

void mp_transfer_progress(struct multipaxos *p, struct effects *fx) {
    if (p->handover_to == NODE_NONE || p->handover_sent || p->peers[p->handover_to].match != p->slots.top) return;
    p->handover_sent = true;
    /* The other will not wait for anyone's stickiness, now or when the message is late: no lease at this ballot
     * again. */
    p->lease_forbidden = true;
    p->lease_until_ns = 0;
    struct multipaxos_message m = {.kind = MULTIPAXOS_HANDOVER, .ballot = p->promised};
    mp_send(p, p->handover_to, &m, 0, fx);
}
