/* The acceptor's side of phase 2 (Lamport 2001, section 2.2) and of snapshots. Slots are accepted as they come; what is
 * chosen is learnt from the leader's commit point, as far as this replica holds the leader's values. */
#include "targets/protocols/multipaxos/multipaxos_internal.h"

/* A message of the present leader: take its ballot and heed it. False when it is from the past, or from nobody. */
static bool heed(struct multipaxos *p, uint8_t from, uint64_t ballot, struct effects *fx) {
    if (ballot < p->promised) return false;
    if (ballot == p->promised && p->role == PROTOCOL_LEADER) {
        struct effect *e = effect_add(fx, EFFECT_FATAL);
        e->reason = "two leaders of one ballot";
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
    if (!heed(p, from, m->ballot, fx)) {
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

static void answer_snapshot(struct multipaxos *p, uint8_t to, uint64_t index, bool whole, uint64_t chunk_offset,
                            struct effects *fx) {
    struct multipaxos_message reply = {.kind = MULTIPAXOS_SNAPSHOT_REPLY,
                                       .ballot = p->promised,
                                       .success = whole,
                                       .index = index,
                                       .offset = p->receive_offset,
                                       .answered = chunk_offset};
    mp_send(p, to, &reply, 0, fx);
}

static void take_chunk(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx) {
    if (m->last) p->installing_keep_from = slots_keep_from(&p->slots, m->index, fx);
    struct effect *e = effect_add(fx, EFFECT_SNAPSHOT_RECEIVE);
    e->index = m->index;
    e->term = m->answered;
    e->offset = m->offset;
    e->bytes = m->data;
    e->last = m->last;
    p->receive_offset += m->data.size;
    if (!m->last) {
        answer_snapshot(p, from, m->index, false, m->offset, fx);
        return;
    }
    e->token = p->installing_keep_from;
    e->written = ++fx->written;
    p->installing = true;
    p->installing_from = from;
}

void mp_on_snapshot(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx) {
    if (!heed(p, from, m->ballot, fx)) {
        if (m->ballot < p->promised) answer_snapshot(p, from, 0, false, m->offset, fx);
        return;
    }
    if (p->installing || p->snapshot_pending) return;
    if (m->index <= p->commit) { /* an older one never replaces what is chosen here */
        answer_snapshot(p, from, m->index <= p->held_durable ? m->index : p->snapshot_index, true, m->offset, fx);
        return;
    }
    if (p->receive_index != m->index || p->receive_ballot != m->answered) {
        p->receive_index = m->index;
        p->receive_ballot = m->answered;
        p->receive_offset = 0;
    }
    if (m->offset != p->receive_offset) {
        answer_snapshot(p, from, m->index, false, m->offset, fx);
        return;
    }
    if (m->data.size > PROTOCOL_SNAPSHOT_BYTES_MAX - p->receive_offset) { /* it begins anew, if it is sent again */
        p->receive_index = p->receive_offset = 0;
        mp_refuse(p, from);
        return;
    }
    take_chunk(p, from, m, fx);
}

void mp_on_installed(struct multipaxos *p, uint64_t index, struct effects *fx) {
    assert(p->installing && index > p->applied);
    p->installing = false;
    p->receive_index = p->receive_offset = 0;
    p->snapshot_index = index;
    for (uint64_t n = p->applied + 1; n <= index && n <= p->slots.top; n++) { /* applied, perhaps, but not here */
        struct slot *slot = slots_get(&p->slots, n);
        if (slot && slot->token) mp_respond(slot->token, STATUS_UNKNOWN, p->leader, fx);
    }
    slots_rebase(&p->slots, index, p->installing_keep_from);
    p->compacted_at = p->slots.last;
    p->applied = index;
    if (p->commit < index) p->commit = index;
    mp_advance_held(p);
    if (p->role == PROTOCOL_FOLLOWER && p->leader == p->installing_from)
        answer_snapshot(p, p->installing_from, index, true, 0, fx);
    mp_apply(p, fx);
}
