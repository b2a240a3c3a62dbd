/* Snapshots (ATC'14 section 7): when one is due, sending one in chunks to who lags behind the log, and receiving it. */
#include "targets/protocols/raft/raft_internal.h"

/* The share of the log that applied entries may take before a snapshot is due, and the share of its bytes that those
 * kept behind a snapshot may take. */
enum { APPLIED_SHARE = 4, TRAILING_SHARE = 8 };

/* A live follower is being sent the present snapshot. A newer one would start that anew: under load, for ever. */
static bool sends_snapshot(const struct raft *r) {
    if (r->role != PROTOCOL_LEADER) return false;
    for (uint8_t i = 0; i < r->c.nodes; i++) {
        const struct peer *p = &r->peers[i];
        bool sent = p->state == PEER_SNAPSHOT && p->snapshot_index == r->snapshot_index;
        if (i != r->c.self && sent && r->now - p->contact_ns <= r->c.election_timeout_ns) return true;
    }
    return false;
}

static bool snapshot_due(const struct raft *r) {
    if (r->c.snapshot_entries == 0 || r->snapshot_pending || r->installing || r->applied == r->snapshot_index)
        return false;
    uint64_t every = r->c.snapshot_entries, most = r->c.limits.log_entries_max / APPLIED_SHARE;
    if (r->applied - r->snapshot_index >= (every < most && sends_snapshot(r) ? most : every)) return true;
    uint64_t applied_bytes = log_bytes_from(&r->log, r->log.first) - log_bytes_from(&r->log, r->applied + 1);
    return applied_bytes > r->log.bytes_capacity / APPLIED_SHARE;
}

static uint64_t keep_from(const struct raft *r) {
    uint64_t from = r->applied > r->c.snapshot_trailing ? r->applied - r->c.snapshot_trailing + 1 : 1;
    if (from < r->log.first) from = r->log.first;
    uint64_t after = log_bytes_from(&r->log, r->applied + 1);
    while (from <= r->applied && log_bytes_from(&r->log, from) - after > r->log.bytes_capacity / TRAILING_SHARE) from++;
    return from;
}

void snapshot_maybe(struct raft *r, struct effects *fx) {
    if (!snapshot_due(r)) return;
    r->snapshot_pending = true;
    r->snapshot_keep_from = keep_from(r);
    effect_snapshot_take(r->applied, log_term(&r->log, r->applied), r->snapshot_keep_from, fx);
}

void snapshot_on_taken(struct raft *r, uint64_t index, uint64_t term, struct effects *fx) {
    r->snapshot_pending = false;
    if (index <= r->snapshot_index || r->installing) return; /* what is being installed replaces it */
    r->snapshot_index = index;
    r->snapshot_term = term;
    log_compact(&r->log, r->snapshot_keep_from - 1);
    snapshot_maybe(r, fx); /* a log that is full by now applies nothing more that would ask */
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

void snapshot_send_chunk(struct raft *r, uint8_t to, struct effects *fx) {
    struct peer *p = &r->peers[to];
    if (fx->snapshot_index == 0) return;
    if (p->snapshot_index != fx->snapshot_index) {
        p->snapshot_index = fx->snapshot_index;
        p->snapshot_offset = 0;
    }
    bool last;
    struct bytes data = chunk_at(fx, p->snapshot_offset, r->c.limits.message_bytes_max - MESSAGE_FRAME_BYTES, &last);
    struct raft_message m = {.kind = RAFT_SNAPSHOT_REQUEST,
                             .term = r->term,
                             .index = fx->snapshot_index,
                             .log_term = fx->snapshot_term,
                             .offset = p->snapshot_offset,
                             .last = last,
                             .data = data};
    p->snapshot_sent = true;
    raft_send(r, to, &m, 0, fx);
}

void snapshot_on_reply(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx) {
    if (r->role != PROTOCOL_LEADER || m->term != r->term) return;
    struct peer *p = &r->peers[from];
    p->contact_ns = r->now;
    if (p->state != PEER_SNAPSHOT || m->index > r->log.last) return;
    if (m->success) {
        if (m->index > p->match) p->match = m->index;
        if (p->next <= p->match) p->next = p->match + 1;
        replication_peer_become(p, PEER_PROBE);
        replication_send(r, from, true, fx);
        replication_advance_commit(r, fx);
        return;
    }
    /* One chunk at a time, and one answer to each: a network that doubles messages must not double the transfer. */
    if (m->index != p->snapshot_index || m->rejected != p->snapshot_offset) return;
    if (m->index == fx->snapshot_index && m->offset <= fx->snapshot.size) p->snapshot_offset = m->offset;
    snapshot_send_chunk(r, from, fx);
}

/* --- receiving ---------------------------------------------------------------------------------------------------- */

static void answer_snapshot(struct raft *r, uint8_t to, uint64_t index, bool whole, uint64_t chunk_offset,
                            struct effects *fx) {
    struct raft_message reply = {.kind = RAFT_SNAPSHOT_REPLY,
                                 .term = r->term,
                                 .success = whole,
                                 .index = index,
                                 .offset = r->receiver.offset,
                                 .rejected = chunk_offset};
    raft_send(r, to, &reply, 0, fx);
}

static void take_chunk(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx) {
    struct effect *e = chunk_take(&r->receiver, m->data, m->last, fx);
    e->token = m->index + 1;
    if (!m->last) {
        answer_snapshot(r, from, m->index, false, m->offset, fx);
        return;
    }
    /* If our log holds that very entry, what follows it stays (Figure 13, step 6); else all of it goes. */
    e->reset = log_term(&r->log, m->index) != m->log_term;
    r->installing = true;
    r->installing_from = from;
}

void snapshot_on_chunk(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx) {
    if (!follower_heed(r, from, m, fx)) {
        if (m->term < r->term) answer_snapshot(r, from, 0, false, m->offset, fx);
        return;
    }
    if (r->installing) return;
    if (!r->rules->takes_snapshot(m->index, r->commit)) { /* an older one never replaces what is committed here */
        uint64_t held = m->index <= r->durable_index ? m->index : r->snapshot_index;
        answer_snapshot(r, from, held, true, m->offset, fx);
        return;
    }
    switch (chunk_judge(&r->receiver, m->index, m->log_term, m->offset, m->data.size)) {
    case CHUNK_WANTED: take_chunk(r, from, m, fx); break;
    case CHUNK_NOT_NEXT: answer_snapshot(r, from, m->index, false, m->offset, fx); break;
    case CHUNK_TOO_MUCH: raft_refuse(r, from); break; /* it begins anew, if it is sent again */
    }
}

void snapshot_on_installed(struct raft *r, uint64_t index, uint64_t term, struct effects *fx) {
    assert(r->installing);
    r->installing = false;
    r->receiver = (struct receiver){0};
    r->snapshot_index = index;
    r->snapshot_term = term;
    bool retained = log_term(&r->log, index) == term;
    follower_forget_requests(r, r->log.first, retained ? index : r->log.last, fx); /* applied, perhaps, but not here */
    if (retained)
        log_compact(&r->log, index);
    else
        log_reset(&r->log, index, term);
    r->applied = index;
    if (r->commit < index || !retained) r->commit = index;
    if (r->durable_index < index || r->durable_index > r->log.last) r->durable_index = index;
    r->cut_written = 0;
    uint8_t leader = (uint8_t)r->installing_from;
    if (r->role == PROTOCOL_FOLLOWER && r->leader == leader) answer_snapshot(r, leader, index, true, 0, fx);
    raft_apply(r, fx);
}
