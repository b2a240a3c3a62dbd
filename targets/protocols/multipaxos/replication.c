/* The leader's side of phase 2 (Lamport 2001, section 2.2 and 3): accepts for consecutive slots in a pipeline, sent
 * again where they were lost, the commit point, and stepping down when no quorum answers. What is chosen already is
 * sent like the rest, under the present ballot: it is the value that any later ballot has to carry. */
#include "targets/protocols/multipaxos/multipaxos_internal.h"

/* Packs values from `next` on, without a gap; returns how many. */
static uint32_t pack_entries(const struct multipaxos *p, uint64_t next, struct writer *w) {
    uint32_t count = 0;
    for (uint64_t n = next; n <= p->slots.top; n++, count++) {
        const struct slot *slot = slots_get(&p->slots, n);
        if (!slot || (n > p->commit && slot->ballot != p->promised)) break;
        struct multipaxos_entry e = {0};
        e.value = slots_value(&p->slots, slot, &e.kind);
        size_t before = w->size;
        multipaxos_entry_write(w, MULTIPAXOS_ACCEPT, &e);
        if (!w->failed) continue;
        w->size = before;
        break;
    }
    return count;
}

void mp_send_accept(struct multipaxos *p, uint8_t to, bool heartbeat, struct effects *fx) {
    struct peer *peer = &p->peers[to];
    if (peer->next <= p->slots.base) { /* the value is gone: only a snapshot helps */
        peer->snapshot = true;
        peer->next = p->slots.base + 1;
    }
    bool may_send = !peer->snapshot && peer->inflight < p->c.limits.inflight_max;
    uint32_t half = p->c.limits.message_bytes_max;
    struct writer w = {.data = fx->scratch + fx->scratch_size + half, .capacity = half - MESSAGE_FRAME_BYTES};
    uint32_t entries = may_send ? pack_entries(p, peer->next, &w) : 0;
    if (entries == 0 && !heartbeat) return;
    struct multipaxos_message m = {.kind = MULTIPAXOS_ACCEPT,
                                   .ballot = p->promised,
                                   .slot = peer->next,
                                   .commit = p->commit,
                                   .round = p->round,
                                   .entries = entries,
                                   .data = bytes_of(w.data, w.size)};
    mp_send(p, to, &m, 0, fx);
    peer->next += entries;
    peer->inflight += entries > 0;
}

void mp_broadcast(struct multipaxos *p, struct effects *fx) {
    for (uint8_t to = 0; to < p->c.nodes; to++)
        if (to != p->c.self) mp_send_accept(p, to, false, fx);
}

void mp_new_round(struct multipaxos *p, struct effects *fx) {
    p->round++;
    p->round_sent_ns[p->round % ROUNDS_KEPT] = p->now;
    for (uint8_t to = 0; to < p->c.nodes; to++)
        if (to != p->c.self) mp_send_accept(p, to, true, fx);
    if (p->c.nodes == 1) {
        p->round_confirmed = p->round;
        mp_reads_on_round(p, fx);
    }
}

static void set_heartbeat_timer(struct multipaxos *p, struct effects *fx) {
    effect_timer(TIMER_HEARTBEAT, p->c.heartbeat_ns, fx);
}

void mp_lead(struct multipaxos *p, struct effects *fx) {
    for (uint8_t i = 0; i < p->c.nodes; i++)
        p->peers[i] = (struct peer){.next = p->commit + 1, .contact_ns = p->now, .mark_round = UINT64_MAX};
    p->recovered_to = p->found_top;
    p->own_next = p->commit + 1;
    p->round = p->round_confirmed = 0;
    p->lease_until_ns = 0;
    p->lease_forbidden = false;
    p->reads.count = 0;
    p->handover_to = NODE_NONE;
    set_heartbeat_timer(p, fx);
    mp_new_round(p, fx);
}

/* The value that a quorum of phase 2 has reached: of one field over all replicas. */
static uint64_t quorum_value(const struct multipaxos *p, size_t field, uint64_t own) {
    uint64_t values[PROTOCOL_NODES_MAX];
    for (uint8_t i = 0; i < p->c.nodes; i++) memcpy(&values[i], (const char *)&p->peers[i] + field, sizeof *values);
    values[p->c.self] = own;
    return quorum_reaches(values, p->c.nodes, p->rules->accept_quorum(p->c.nodes));
}

void mp_on_heartbeat_timer(struct multipaxos *p, struct effects *fx) {
    /* A leader that a quorum has not answered for an election timeout steps down. */
    if (p->now - quorum_value(p, offsetof(struct peer, contact_ns), p->now) > p->c.election_timeout_ns) {
        mp_become_follower(p, NODE_NONE, fx);
        return;
    }
    if (p->handover_to != NODE_NONE && p->now >= p->handover_deadline_ns) p->handover_to = NODE_NONE;
    for (uint8_t to = 0; to < p->c.nodes; to++) {
        struct peer *peer = &p->peers[to];
        if (to == p->c.self) continue;
        if (peer->snapshot && !peer->snapshot_sent) mp_send_chunk(p, to, fx);
        peer->snapshot_sent = false;
        peer->inflight = 0;
        if (peer->mark_round != UINT64_MAX) continue; /* a link may be longer than a heartbeat: still to be answered */
        peer->mark = peer->next;
        peer->mark_round = p->round + 1;
    }
    set_heartbeat_timer(p, fx);
    mp_new_round(p, fx);
}

/* A slot is chosen when a quorum has accepted its value at this ballot (2001, section 2.2). */
static void advance_commit(struct multipaxos *p, struct effects *fx) {
    uint32_t quorum = p->rules->accept_quorum(p->c.nodes);
    uint64_t before = p->commit;
    for (;;) {
        const struct slot *slot = slots_get(&p->slots, p->commit + 1);
        if (!slot || slot->ballot != p->promised || members_of(slot->acks) < quorum) break;
        uint8_t kind;
        p->pending_bytes -= slots_value(&p->slots, slot, &kind).size;
        p->commit++;
    }
    if (p->commit == before) return;
    mp_apply(p, fx);
    mp_reads_on_round(p, fx);
}

void mp_count_own(struct multipaxos *p, struct effects *fx) {
    for (; p->own_next <= p->slots.top; p->own_next++) {
        struct slot *slot = slots_get(&p->slots, p->own_next);
        if (!slot) continue; /* chosen, and gone since */
        if (slot->written > p->durable_written) break;
        slot->acks |= 1u << p->c.self;
    }
    advance_commit(p, fx);
}

static void on_contact(struct multipaxos *p, uint8_t from, uint64_t round, struct effects *fx) {
    struct peer *peer = &p->peers[from];
    peer->contact_ns = p->now;
    if (round <= peer->round || round > p->round) return;
    peer->round = round;
    uint64_t confirmed = quorum_value(p, offsetof(struct peer, round), p->round);
    if (confirmed <= p->round_confirmed) return;
    p->round_confirmed = confirmed;
    if (p->round - confirmed < ROUNDS_KEPT && !p->lease_forbidden) {
        uint64_t until = lease_until(&p->c, p->round_sent_ns[confirmed % ROUNDS_KEPT]);
        if (until > p->lease_until_ns) p->lease_until_ns = until;
    }
    mp_reads_on_round(p, fx);
}

static void acknowledge(struct multipaxos *p, uint8_t from, uint64_t first, uint64_t last) {
    if (first <= p->commit) first = p->commit + 1;
    for (uint64_t n = first; n <= last; n++) {
        struct slot *slot = slots_get(&p->slots, n);
        if (slot && slot->ballot == p->promised) slot->acks |= 1u << from;
    }
}

void mp_on_accepted(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx) {
    if (!m->success) {
        if (m->ballot > p->promised && p->role != PROTOCOL_FOLLOWER) mp_become_follower(p, NODE_NONE, fx);
        return;
    }
    if (p->role != PROTOCOL_LEADER || m->ballot != p->promised) return;
    uint64_t top = p->slots.top;
    if (m->held > top || m->index > top || m->slot > top + 1 || m->entries > top + 1 - m->slot) return; /* not sent */
    struct peer *peer = &p->peers[from];
    on_contact(p, from, m->round, fx);
    if (p->role != PROTOCOL_LEADER) return;
    acknowledge(p, from, m->slot, m->slot + m->entries - 1);
    acknowledge(p, from, peer->match + 1, m->index);
    if (m->index > peer->match) peer->match = m->index;
    if (m->entries && peer->inflight) peer->inflight--;
    uint64_t held = m->held > m->index ? m->held : m->index;
    if (peer->snapshot && held >= p->slots.base) peer->snapshot = false;
    if (peer->next <= peer->match) peer->next = peer->match + 1;
    if (m->round >= peer->mark_round && m->entries == 0) {
        if (held + 1 < peer->mark) peer->next = held + 1; /* what was sent was lost */
        peer->mark_round = UINT64_MAX;
    }
    advance_commit(p, fx);
    if (peer->next <= p->slots.top) mp_send_accept(p, from, false, fx);
    mp_transfer_progress(p, fx);
}
