/* Snapshots (Chandra et al. 2007, section 5.3): when one is due, sending one in chunks to who lags behind the log, and
 * receiving it. A receiver keeps its records of later slots. */
#include "targets/protocols/multipaxos/multipaxos_internal.h"

/* A part of the log: so much is more since the last compaction. */
enum { GROWN_SHARE = 4 };

/* A live follower is being sent the present snapshot. A newer one would start that anew: under load, for ever. */
static bool sends_snapshot(const struct multipaxos *p) {
    if (p->role != PROTOCOL_LEADER) return false;
    for (uint8_t i = 0; i < p->c.nodes; i++) {
        const struct peer *peer = &p->peers[i];
        bool sent = peer->snapshot && peer->snapshot_index == p->snapshot_index;
        if (i != p->c.self && sent && p->now - peer->contact_ns <= p->c.election_timeout_ns) return true;
    }
    return false;
}

static bool snapshot_due(const struct multipaxos *p) {
    if (p->c.snapshot_entries == 0 || p->snapshot_pending || p->installing) return false;
    uint32_t used = slots_used(&p->slots);
    bool more = p->slots.last - p->compacted_at > p->c.limits.log_entries_max / GROWN_SHARE;
    if (used > CROWDED_SHARE && more) return true; /* elections fill the log, too, and apply nothing */
    if (p->applied == p->snapshot_index) return false;
    if (used > CROWDED_SHARE) return true;
    if (sends_snapshot(p)) return p->applied - p->slots.base > p->slots.window / 2;
    if (used > FULL_SHARE && p->slots.last - p->compacted_at > (p->slots.last - p->slots.first) / 2) return true;
    return p->applied - p->snapshot_index >= p->c.snapshot_entries;
}

/* The slots below the snapshot that are kept for replicas that lag a little. */
static uint64_t trailing_base(const struct multipaxos *p) {
    uint64_t trailing = slots_used(&p->slots) > FULL_SHARE ? 0 : p->c.snapshot_trailing;
    uint64_t base = p->applied > trailing ? p->applied - trailing : 0;
    return base > p->slots.base ? base : p->slots.base;
}

void mp_snapshot_maybe(struct multipaxos *p, struct effects *fx) {
    if (!snapshot_due(p)) return;
    p->snapshot_pending = true;
    p->snapshot_base = trailing_base(p);
    p->snapshot_keep_from = slots_keep_from(&p->slots, p->snapshot_base, fx);
    p->compacted_at = p->slots.last;
    effect_snapshot_take(p->applied, mp_accepted_at(p, p->applied), p->snapshot_keep_from, fx);
}

void mp_on_snapshot_taken(struct multipaxos *p, uint64_t index, struct effects *fx) {
    p->snapshot_pending = false;
    if (index > p->snapshot_index) p->snapshot_index = index;
    slots_rebase(&p->slots, p->snapshot_base, p->snapshot_keep_from);
    mp_snapshot_maybe(p, fx); /* a log that is full by now applies nothing more that would ask */
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

void mp_send_chunk(struct multipaxos *p, uint8_t to, struct effects *fx) {
    struct peer *peer = &p->peers[to];
    if (fx->snapshot_index == 0) return;
    if (peer->snapshot_index != fx->snapshot_index) {
        peer->snapshot_index = fx->snapshot_index;
        peer->snapshot_offset = 0;
    }
    bool last;
    struct bytes data = chunk_at(fx, peer->snapshot_offset, p->c.limits.message_bytes_max - MESSAGE_FRAME_BYTES, &last);
    struct multipaxos_message m = {.kind = MULTIPAXOS_SNAPSHOT,
                                   .ballot = p->promised,
                                   .index = fx->snapshot_index,
                                   .answered = fx->snapshot_term,
                                   .offset = peer->snapshot_offset,
                                   .last = last,
                                   .data = data};
    peer->snapshot_sent = true;
    mp_send(p, to, &m, 0, fx);
}

void mp_on_snapshot_reply(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx) {
    if (m->ballot > p->promised && p->role != PROTOCOL_FOLLOWER) mp_become_follower(p, NODE_NONE, fx);
    if (p->role != PROTOCOL_LEADER || m->ballot != p->promised) return;
    struct peer *peer = &p->peers[from];
    peer->contact_ns = p->now;
    if (!peer->snapshot || m->index > p->slots.top) return;
    if (m->success) {
        if (m->index > peer->match) peer->match = m->index;
        peer->next = peer->match + 1;
        peer->snapshot = false;
        mp_send_accept(p, from, true, fx);
        return;
    }
    /* One chunk at a time, and one answer to each: a network that doubles messages must not double the transfer. */
    if (m->index != peer->snapshot_index || m->answered != peer->snapshot_offset) return;
    if (m->index == fx->snapshot_index && m->offset <= fx->snapshot.size) peer->snapshot_offset = m->offset;
    mp_send_chunk(p, from, fx);
}

/* --- receiving ---------------------------------------------------------------------------------------------------- */

static void answer_snapshot(struct multipaxos *p, uint8_t to, uint64_t index, bool whole, uint64_t chunk_offset,
                            struct effects *fx) {
    struct multipaxos_message reply = {.kind = MULTIPAXOS_SNAPSHOT_REPLY,
                                       .ballot = p->promised,
                                       .success = whole,
                                       .index = index,
                                       .offset = p->receiver.offset,
                                       .answered = chunk_offset};
    mp_send(p, to, &reply, 0, fx);
}

static void take_chunk(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx) {
    if (m->last) p->installing_keep_from = slots_keep_from(&p->slots, m->index, fx);
    struct effect *e = chunk_take(&p->receiver, m->data, m->last, fx);
    if (!m->last) {
        answer_snapshot(p, from, m->index, false, m->offset, fx);
        return;
    }
    e->token = p->installing_keep_from;
    p->installing = true;
    p->installing_from = from;
}

void mp_on_snapshot(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx) {
    if (!mp_heed(p, from, m->ballot, fx)) {
        if (m->ballot < p->promised) answer_snapshot(p, from, 0, false, m->offset, fx);
        return;
    }
    if (p->installing || p->snapshot_pending) return;
    if (m->index <= p->commit) { /* an older one never replaces what is chosen here */
        answer_snapshot(p, from, m->index <= p->held_durable ? m->index : p->snapshot_index, true, m->offset, fx);
        return;
    }
    switch (chunk_judge(&p->receiver, m->index, m->answered, m->offset, m->data.size)) {
    case CHUNK_WANTED: take_chunk(p, from, m, fx); break;
    case CHUNK_NOT_NEXT: answer_snapshot(p, from, m->index, false, m->offset, fx); break;
    case CHUNK_TOO_MUCH: mp_refuse(p, from); break; /* it begins anew, if it is sent again */
    }
}

void mp_on_installed(struct multipaxos *p, uint64_t index, struct effects *fx) {
    assert(p->installing && index > p->applied);
    p->installing = false;
    p->receiver = (struct receiver){0};
    p->snapshot_index = index;
    for (uint64_t n = p->applied + 1; n <= index && n <= p->slots.top; n++) { /* applied, perhaps, but not here */
        struct slot *slot = slots_get(&p->slots, n);
        if (slot && slot->token) effect_respond(slot->token, STATUS_UNKNOWN, p->leader, fx);
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
