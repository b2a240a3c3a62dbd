/* Handing over the leadership (thesis 3.10), which leases must not outlive. */
#include "targets/protocols/raft/raft_internal.h"

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
