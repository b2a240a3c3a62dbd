/* Linearizable reads without a slot of their own (Chandra et al. 2007, section 5.2): by a round of the quorum that many
 * reads share, or under a lease. */
#include "targets/protocols/multipaxos/multipaxos_internal.h"

void mp_on_read(struct multipaxos *p, uint64_t token, struct effects *fx) {
    assert(token != 0);
    if (p->c.reads == PROTOCOL_READ_LOCAL) {
        effect_read_ready(token, p->applied, fx);
        return;
    }
    if (p->role != PROTOCOL_LEADER) {
        effect_respond(token, STATUS_NOT_LEADER, p->leader, fx);
        return;
    }
    if (read_queue_is_full(&p->reads)) {
        effect_respond(token, STATUS_BUSY, p->leader, fx);
        return;
    }
    bool leased =
        p->c.reads == PROTOCOL_READ_LEASE && p->rules->lease_holds(p->now, p->lease_until_ns) && !p->lease_forbidden;
    /* A round sent before this read proves nothing for it. While one is under way, wait for the next: many reads share
     * a round. */
    uint64_t round = leased ? 0 : p->round + 1;
    read_queue_add(&p->reads, token, p->rules->read_from(p->commit, p->recovered_to), round);
    if (round && p->round_confirmed == p->round) mp_new_round(p, fx);
    mp_reads_on_round(p, fx);
}

void mp_reads_on_round(struct multipaxos *p, struct effects *fx) {
    uint64_t highest = read_queue_serve(&p->reads, p->round_confirmed, p->applied, fx);
    if (highest > p->round && p->round_confirmed == p->round) mp_new_round(p, fx);
}
