/* The learner (Lamport 2001, section 2.3): values that are chosen, in the order of the slots. A proposer tells all what
 * it got chosen; all tell all now and then how far they are; who is behind fetches the rest, values or a snapshot. */
#include "targets/protocols/paxos/paxos_internal.h"

static void write_meta(const struct paxos *p, struct effects *fx) {
    uint8_t *at = fx->scratch + fx->scratch_size;
    struct writer w = {.data = at, .capacity = fx->scratch_capacity - fx->scratch_size};
    write_u64(&w, p->commit);
    assert(!w.failed);
    fx->scratch_size += (uint32_t)w.size;
    struct effect *e = effect_add(fx, EFFECT_META);
    e->bytes = bytes_of(at, w.size);
    e->written = ++fx->written;
    e->term = p->commit;
    e->to = NODE_NONE;
}

/* Records the value unless it is the accepted one, and moves the commit point. False: no room. */
static bool record(struct paxos *p, uint8_t kind, struct bytes value, struct effects *fx) {
    uint64_t number = p->commit + 1;
    const struct slot *slot = slots_get(&p->slots, number);
    uint8_t accepted_kind = ENTRY_NOOP;
    struct bytes accepted = slot && slot->ballot ? slots_value(&p->slots, slot, &accepted_kind) : (struct bytes){0};
    bool same = slot && slot->ballot && accepted_kind == kind && bytes_equal(accepted, value);
    if (!same && !slots_choose(&p->slots, number, kind, value, fx)) return false;
    p->commit = number;
    return true;
}

void px_learn(struct paxos *p, uint8_t kind, struct bytes value, struct effects *fx) {
    if (p->installing || !record(p, kind, value, fx)) return;
    write_meta(p, fx);
    px_apply(p, fx);
}

static void fetch(struct paxos *p, uint8_t from, struct effects *fx) {
    struct paxos_message m = {.kind = PAXOS_FETCH, .slot = p->commit + 1, .offset = p->receive_offset};
    px_send(p, from, &m, 0, fx);
    p->fetched = true;
}

/* Chunks come from one replica at a time: the snapshots of others are other ones, each of which would begin anew. */
static bool receives_from_another(const struct paxos *p, uint8_t from) {
    return p->receive_offset > 0 && p->receive_from != from && p->now < p->receive_deadline_ns;
}

void px_on_chosen(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    if (p->installing) return;
    struct reader r = {.data = m->data.data, .size = m->data.size};
    uint64_t before = p->commit;
    for (uint32_t i = 0; i < m->values; i++) {
        uint8_t kind;
        struct bytes value;
        paxos_value_next(&r, &kind, &value);
        if (m->slot + i > p->commit + 1) break;
        if (m->slot + i == p->commit + 1 && !record(p, kind, value, fx)) break;
    }
    if (p->commit > before) {
        write_meta(p, fx);
        px_apply(p, fx);
        px_slot_resolved(p, fx);
    }
    bool behind = m->commit > p->commit && !receives_from_another(p, from);
    if (behind && (p->commit > before || !p->fetched)) fetch(p, from, fx);
}

void px_send_chosen(struct paxos *p, uint8_t to, uint64_t from_slot, struct effects *fx) {
    struct paxos_message m = {.kind = PAXOS_CHOSEN, .slot = from_slot, .commit = p->commit};
    uint32_t half = p->c.limits.message_bytes_max;
    struct writer w = {.data = fx->scratch + fx->scratch_size + half, .capacity = half - MESSAGE_FRAME_BYTES / 2};
    for (uint64_t n = from_slot; n > p->slots.base && n <= p->commit; n++) {
        uint8_t kind;
        struct bytes value = slots_value(&p->slots, slots_get(&p->slots, n), &kind);
        size_t before = w.size;
        write_u8(&w, kind);
        write_bytes(&w, value);
        if (w.failed) {
            w.size = before;
            break;
        }
        m.values++;
    }
    m.data = bytes_of(w.data, w.size);
    px_send(p, to, &m, 0, fx);
}

static void send_chunk(struct paxos *p, uint8_t to, uint64_t offset, struct effects *fx) {
    if (fx->snapshot_index == 0) return;
    if (offset > fx->snapshot.size) offset = 0;
    p->serving_until_ns = p->now + p->c.election_timeout_ns;
    size_t left = fx->snapshot.size - offset, most = p->c.limits.message_bytes_max - MESSAGE_FRAME_BYTES;
    size_t size = left < most ? left : most;
    struct paxos_message m = {.kind = PAXOS_SNAPSHOT,
                              .slot = fx->snapshot_index,
                              .ballot = fx->snapshot_term,
                              .offset = offset,
                              .last = size == left,
                              .data = bytes_of(fx->snapshot.data + offset, size)};
    px_send(p, to, &m, 0, fx);
}

void px_on_fetch(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    if (m->slot <= p->slots.base)
        send_chunk(p, from, m->offset, fx);
    else if (m->slot <= p->commit)
        px_send_chosen(p, from, m->slot, fx);
}

/* Requests that were proposed in a slot which the snapshot covers: chosen there, perhaps, but not seen to be. */
static void forget_batch(struct paxos *p, uint64_t index, struct effects *fx) {
    struct queue *q = &p->queue;
    if (q->batch_count == 0 || q->batch_slot > index) return;
    for (uint32_t i = 0; i < q->batch_count; i++) px_respond(q->tokens[i], STATUS_UNKNOWN, fx);
    q->size -= q->batch_bytes;
    q->count -= q->batch_count;
    memmove(q->bytes + 1, q->bytes + 1 + q->batch_bytes, q->size - 1);
    memmove(q->tokens, q->tokens + q->batch_count, q->count * sizeof *q->tokens);
    q->batch_count = q->batch_bytes = 0;
}

static void install(struct paxos *p, struct effect *e, struct effects *fx) {
    e->token = p->installing_keep_from;
    e->written = ++fx->written;
    p->installing = true;
    px_abandon(p, fx);
}

void px_on_snapshot(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    if (p->installing || p->snapshot_pending || m->slot <= p->commit || receives_from_another(p, from)) return;
    p->receive_from = from;
    if (p->receive_slot != m->slot || p->receive_ballot != m->ballot) {
        p->receive_slot = m->slot;
        p->receive_ballot = m->ballot;
        p->receive_offset = 0;
    }
    if (m->offset != p->receive_offset) {
        if (!p->fetched) fetch(p, from, fx);
        return;
    }
    if (m->data.size > PROTOCOL_SNAPSHOT_BYTES_MAX - p->receive_offset) { /* it begins anew, if it is sent again */
        p->receive_slot = p->receive_offset = 0;
        px_refuse(p, from);
        return;
    }
    if (m->last) p->installing_keep_from = slots_keep_from(&p->slots, m->slot, fx);
    struct effect *e = effect_add(fx, EFFECT_SNAPSHOT_RECEIVE);
    e->index = m->slot;
    e->term = m->ballot;
    e->offset = m->offset;
    e->bytes = m->data;
    e->last = m->last;
    p->receive_offset += m->data.size;
    p->receive_deadline_ns = p->now + 2 * p->c.election_timeout_ns;
    if (m->last)
        install(p, e, fx);
    else
        fetch(p, from, fx);
}

void px_on_installed(struct paxos *p, uint64_t index, struct effects *fx) {
    assert(p->installing && index > p->applied);
    p->installing = false;
    p->receive_slot = p->receive_offset = 0;
    p->snapshot_index = index;
    forget_batch(p, index, fx);
    slots_rebase(&p->slots, index, p->installing_keep_from);
    p->compacted_at = p->slots.last;
    p->applied = index;
    if (p->commit < index) p->commit = index;
    if (p->queue.count) px_propose_soon(p, 0, fx);
}

void px_on_gossip_timer(struct paxos *p, struct effects *fx) {
    struct paxos_message m = {.kind = PAXOS_CHOSEN, .slot = p->commit + 1, .commit = p->commit};
    p->fetched = false;
    px_broadcast(p, &m, 0, fx);
    px_reads_ask_again(p, fx);
    px_look_for_unfinished(p, fx);
    px_set_timer(TIMER_GOSSIP, p->c.heartbeat_ns, fx);
}
