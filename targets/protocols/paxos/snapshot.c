/* Snapshots: when one is due, sending one in chunks to who fetches what is gone, and receiving it. A receiver keeps its
 * records of later slots. */
#include "targets/protocols/paxos/paxos_internal.h"

static bool snapshot_due(const struct paxos *p) {
    if (p->c.snapshot_entries == 0 || p->snapshot_pending || p->installing) return false;
    uint32_t used = slots_used(&p->slots);
    bool more = p->slots.last - p->compacted_at > (p->slots.last - p->slots.first) / 2;
    if (used > CROWDED_SHARE && more) return true; /* promises fill the log, too, and apply nothing */
    if (p->applied == p->snapshot_index) return false;
    if (used > CROWDED_SHARE) return true;
    uint64_t held = p->applied - p->slots.base;
    /* A newer one would start a transfer anew: under load, for ever. */
    if (p->now < p->serving_until_ns) return held > p->slots.window / 4 * 3;
    return (used > FULL_SHARE && more) || p->applied - p->snapshot_index >= p->c.snapshot_entries ||
           held > p->slots.window / 2;
}

void px_snapshot_maybe(struct paxos *p, struct effects *fx) {
    if (!snapshot_due(p)) return;
    uint64_t trailing = slots_used(&p->slots) > FULL_SHARE ? 0 : p->c.snapshot_trailing;
    uint64_t base = p->applied > trailing ? p->applied - trailing : 0;
    p->snapshot_pending = true;
    p->snapshot_base = base > p->slots.base ? base : p->slots.base;
    p->snapshot_keep_from = slots_keep_from(&p->slots, p->snapshot_base, fx);
    p->compacted_at = p->slots.last;
    /* The term is of no meaning here; 0 would be no snapshot. */
    effect_snapshot_take(p->applied, 1, p->snapshot_keep_from, fx);
}

void px_on_snapshot_taken(struct paxos *p, uint64_t index) {
    p->snapshot_pending = false;
    if (index > p->snapshot_index) p->snapshot_index = index;
    slots_rebase(&p->slots, p->snapshot_base, p->snapshot_keep_from);
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

void px_send_chunk(struct paxos *p, uint8_t to, uint64_t offset, struct effects *fx) {
    if (fx->snapshot_index == 0) return;
    if (offset > fx->snapshot.size) offset = 0;
    p->serving_until_ns = p->now + p->c.election_timeout_ns;
    bool last;
    struct bytes data = chunk_at(fx, offset, p->c.limits.message_bytes_max - MESSAGE_FRAME_BYTES, &last);
    struct paxos_message m = {.kind = PAXOS_SNAPSHOT,
                              .slot = fx->snapshot_index,
                              .ballot = fx->snapshot_term,
                              .offset = offset,
                              .last = last,
                              .data = data};
    px_send(to, &m, 0, fx);
}

/* --- receiving ---------------------------------------------------------------------------------------------------- */

/* Requests that were proposed in a slot which the snapshot covers: chosen there, perhaps, but not seen to be. */
static void forget_batch(struct paxos *p, uint64_t index, struct effects *fx) {
    struct queue *q = &p->queue;
    if (q->batch_count == 0 || q->batch_slot > index) return;
    for (uint32_t i = 0; i < q->batch_count; i++) effect_respond(q->tokens[i], STATUS_UNKNOWN, NODE_NONE, fx);
    px_pop_batch(q);
    q->batch_count = q->batch_bytes = 0;
}

bool px_receives_from_another(const struct paxos *p, uint8_t from) {
    return p->receiver.offset > 0 && p->receive_from != from && p->now < p->receive_deadline_ns;
}

static void take_chunk(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    p->receive_deadline_ns = p->now + 2 * p->c.election_timeout_ns;
    if (m->last) p->installing_keep_from = slots_keep_from(&p->slots, m->slot, fx);
    struct effect *e = chunk_take(&p->receiver, m->data, m->last, fx);
    if (!m->last) {
        px_fetch(p, from, fx);
        return;
    }
    e->token = p->installing_keep_from;
    p->installing = true;
    px_abandon(p, fx);
}

void px_on_snapshot(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    if (p->installing || p->snapshot_pending || m->slot <= p->commit || px_receives_from_another(p, from)) return;
    p->receive_from = from;
    switch (chunk_judge(&p->receiver, m->slot, m->ballot, m->offset, m->data.size)) {
    case CHUNK_WANTED: take_chunk(p, from, m, fx); break;
    case CHUNK_NOT_NEXT:
        if (!p->fetched) px_fetch(p, from, fx);
        break;
    case CHUNK_TOO_MUCH: px_refuse(p, from); break; /* it begins anew, if it is sent again */
    }
}

void px_on_installed(struct paxos *p, uint64_t index, struct effects *fx) {
    assert(p->installing && index > p->applied);
    p->installing = false;
    p->receiver = (struct receiver){0};
    p->snapshot_index = index;
    forget_batch(p, index, fx);
    slots_rebase(&p->slots, index, p->installing_keep_from);
    p->compacted_at = p->slots.last;
    p->applied = index;
    if (p->commit < index) p->commit = index;
    if (p->queue.count) px_propose_soon(p, 0, fx);
}
