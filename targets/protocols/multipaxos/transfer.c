/* Handing over the leadership, which leases must not outlive. */
#include "targets/protocols/multipaxos/multipaxos_internal.h"

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
