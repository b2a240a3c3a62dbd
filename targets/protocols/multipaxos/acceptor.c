/* The acceptor's side of phase 2 (Lamport 2001, section 2.2). Slots are accepted as they come; what is
 * chosen is learnt from the leader's commit point, as far as this replica holds the leader's values. */
#include "targets/protocols/multipaxos/multipaxos_internal.h"

bool mp_heed(struct multipaxos *p, uint8_t from, uint64_t ballot, struct effects *fx) {
    if (ballot < p->promised) return false;
    if (ballot == p->promised && p->role == PROTOCOL_LEADER) {
        effect_fatal("two leaders of one ballot", fx);
        return false;
    }
    if (ballot > p->promised || p->role != PROTOCOL_FOLLOWER || p->leader != from) {
        uint64_t promise = p->rules->promise_after_accept(p->promised, ballot);
        if (promise > p->promised) mp_promise(p, promise, fx);
        mp_become_follower(p, from, fx);
    } else {
        mp_reset_election_timer(p, fx);
    }
    p->contact_ns = p->now;
    return true;
}

/* O(1) amortised: forward from where it stood, and back to the commit point once a ballot. */
void mp_advance_held(struct multipaxos *p) {
    if (p->held < p->commit) p->held = p->commit;
    for (;;) {
        const struct slot *slot = slots_get(&p->slots, p->held + 1);
        if (!slot || slot->ballot != p->held_ballot || slot->ballot == 0) break;
        p->held++;
    }
    if (p->held_durable < p->slots.base) p->held_durable = p->slots.base;
    for (; p->held_durable < p->held; p->held_durable++) {
        const struct slot *slot = slots_get(&p->slots, p->held_durable + 1);
        if (slot && slot->written > p->durable_written) break;
    }
}

static void hold_for(struct multipaxos *p, uint64_t ballot) {
    if (p->held_ballot == ballot) return;
    p->held_ballot = ballot;
    p->held = p->commit;
    if (p->held_durable > p->held) p->held_durable = p->held;
}

static uint32_t accept_entries(struct multipaxos *p, const struct multipaxos_message *m, struct effects *fx) {
    struct reader r = {.data = m->data.data, .size = m->data.size};
    uint32_t taken = 0;
    for (; taken < m->entries; taken++) {
        struct multipaxos_entry e;
        uint64_t n = m->slot + taken;
        multipaxos_entry_next(&r, m->kind, &e);
        const struct slot *slot = slots_get(&p->slots, n);
        if (n <= p->commit || (slot && slot->ballot == m->ballot)) continue;
        if (n > p->held + 1 + taken && slots_used(&p->slots) > SLOTS_RESERVED_FROM) break;
        if (!mp_accept(p, n, m->ballot, e.kind, e.value, fx)) break; /* beyond the window, or no room */
    }
    return taken;
}

void mp_on_accept(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx) {
    struct multipaxos_message reply = {
        .kind = MULTIPAXOS_ACCEPTED, .ballot = m->ballot, .slot = m->slot, .round = m->round};
    if (!mp_heed(p, from, m->ballot, fx)) {
        reply.ballot = p->promised;
        if (m->ballot < p->promised) mp_send(p, from, &reply, 0, fx);
        return;
    }
    hold_for(p, m->ballot);
    /* While a snapshot is installed nothing is taken, but the leader is heard: it must not step down for a slow disk
     * here. */
    if (!p->installing) reply.entries = accept_entries(p, m, fx);
    mp_advance_held(p);
    uint64_t commit = m->commit < p->held ? m->commit : p->held;
    if (commit > p->commit && !p->installing) {
        p->commit = commit;
        mp_apply(p, fx);
    }
    reply.success = true;
    reply.held = p->held;
    /* What it accepts is durable before it says so. A heartbeat is answered at once, for what is on disk already. */
    reply.index = reply.entries ? p->held : p->held_durable;
    mp_send(p, from, &reply, reply.entries ? fx->written : 0, fx);
}
