/* The leader's side: appending to followers in a pipeline (ATC'14 5.3, thesis 10.2), repairing logs that differ by
 * hints, advancing the commit index (5.4.2), and stepping down when no quorum answers (thesis 6.2). */
#include "targets/protocols/raft/raft_internal.h"

enum { ENTRY_FRAME_BYTES = 13 };

static void inflight_free_to(struct peer *p, uint64_t index) {
    while (p->inflight_count && p->inflight[p->inflight_first] <= index) {
        p->inflight_first = (p->inflight_first + 1) % INFLIGHT_MAX;
        p->inflight_count--;
    }
}

void replication_peer_become(struct peer *p, enum peer_state state) {
    p->state = (uint8_t)state;
    p->probe_sent = false;
    p->inflight_first = p->inflight_count = 0;
    p->snapshot_sent = false;
    p->snapshot_offset = 0;
    p->snapshot_index = 0;
}

/* Packs entries from `next` on into the scratch memory behind the room for the frame; returns how many. */
static uint32_t pack_entries(const struct raft *r, uint64_t next, struct writer *w) {
    uint32_t count = 0;
    for (uint64_t i = next; i <= r->log.last; i++, count++) {
        struct bytes payload = log_payload(&r->log, i);
        if (w->size + ENTRY_FRAME_BYTES + payload.size > w->capacity) break;
        write_u64(w, log_term(&r->log, i));
        write_u8(w, log_item(&r->log, i)->kind);
        write_bytes(w, payload);
    }
    return count;
}

void replication_send(struct raft *r, uint8_t to, bool heartbeat, struct effects *fx) {
    struct peer *p = &r->peers[to];
    if (p->next <= r->log.base_index) { /* the entry before next is gone: only a snapshot helps */
        if (p->state != PEER_SNAPSHOT) replication_peer_become(p, PEER_SNAPSHOT);
        p->next = r->log.base_index + 1;
    }
    bool may_send = p->state == PEER_PROBE ? !p->probe_sent
                                           : p->state == PEER_REPLICATE && p->inflight_count < r->c.limits.inflight_max;
    uint32_t half = r->c.limits.message_bytes_max;
    struct writer w = {.data = fx->scratch + fx->scratch_size + half, .capacity = half - MESSAGE_FRAME_BYTES};
    uint32_t entries = may_send ? pack_entries(r, p->next, &w) : 0;
    if (entries == 0 && !heartbeat) return;
    uint64_t prev = p->state == PEER_SNAPSHOT ? r->log.base_index : p->next - 1;
    struct raft_message m = {.kind = RAFT_APPEND_REQUEST,
                             .term = r->term,
                             .index = prev,
                             .log_term = log_term(&r->log, prev),
                             .commit = r->commit,
                             .round = r->round,
                             .entries = entries,
                             .data = bytes_of(w.data, w.size)};
    raft_send(r, to, &m, 0, fx);
    if (entries == 0) return;
    if (p->state == PEER_PROBE) {
        p->probe_sent = true;
        return;
    }
    p->next += entries;
    p->inflight[(p->inflight_first + p->inflight_count) % INFLIGHT_MAX] = p->next - 1;
    p->inflight_count++;
}

void replication_broadcast(struct raft *r, struct effects *fx) {
    for (uint8_t to = 0; to < r->c.nodes; to++)
        if (to != r->c.self) replication_send(r, to, false, fx);
}

void replication_new_round(struct raft *r, struct effects *fx) {
    r->round++;
    r->round_sent_ns[r->round % ROUNDS_KEPT] = r->now;
    for (uint8_t to = 0; to < r->c.nodes; to++)
        if (to != r->c.self) replication_send(r, to, true, fx);
    if (r->c.nodes == 1) {
        r->round_confirmed = r->round;
        reads_on_round(r, fx);
    }
}

static void set_heartbeat_timer(struct raft *r, struct effects *fx) {
    effect_timer(TIMER_HEARTBEAT, r->c.heartbeat_ns, fx);
}

void replication_start(struct raft *r, struct effects *fx) {
    for (uint8_t i = 0; i < r->c.nodes; i++) {
        memset(&r->peers[i], 0, sizeof r->peers[i]);
        r->peers[i].next = r->log.last + 1;
        r->peers[i].contact_ns = r->now;
    }
    r->round = r->round_confirmed = 0;
    r->lease_until_ns = 0;
    r->lease_forbidden = false;
    r->reads.count = 0;
    r->transfer_to = NODE_NONE;
    /* A no-op of the new term, so that what earlier terms left behind can commit (5.4.2; thesis 6.4, step 1). When even
     * that does not fit, leading is impossible: make room for another. */
    if (!raft_append(r, r->term, ENTRY_NOOP, 0, bytes_of(NULL, 0), fx)) {
        raft_become_follower(r, r->term, NODE_NONE, fx);
        return;
    }
    r->term_start_index = r->log.last;
    set_heartbeat_timer(r, fx);
    replication_new_round(r, fx);
}

/* The value that a quorum has reached: of one field over all replicas. */
static uint64_t quorum_value(const struct raft *r, size_t field, uint64_t own) {
    uint64_t values[PROTOCOL_NODES_MAX];
    for (uint8_t i = 0; i < r->c.nodes; i++) memcpy(&values[i], (const char *)&r->peers[i] + field, sizeof *values);
    values[r->c.self] = own;
    return quorum_reaches(values, r->c.nodes, raft_quorum(r));
}

void replication_on_timer(struct raft *r, struct effects *fx) {
    /* Check-quorum: a leader that a quorum has not answered for an election timeout steps down (thesis 6.2). */
    uint64_t silent_ns = r->now - quorum_value(r, offsetof(struct peer, contact_ns), r->now);
    if (silent_ns > r->c.election_timeout_ns && r->rules->checks_quorum()) {
        raft_become_follower(r, r->term, NODE_NONE, fx);
        return;
    }
    if (r->transfer_to != NODE_NONE && r->now >= r->transfer_deadline_ns) r->transfer_to = NODE_NONE;
    for (uint8_t to = 0; to < r->c.nodes; to++) {
        struct peer *p = &r->peers[to];
        if (to == r->c.self) continue;
        p->probe_sent = false; /* unanswered for a heartbeat: ask again */
        if (p->state == PEER_SNAPSHOT && !p->snapshot_sent) snapshot_send_chunk(r, to, fx);
        p->snapshot_sent = false;
    }
    set_heartbeat_timer(r, fx);
    replication_new_round(r, fx);
}

void replication_advance_commit(struct raft *r, struct effects *fx) {
    uint64_t index = quorum_value(r, offsetof(struct peer, match), r->durable_index);
    if (index <= r->commit || !r->rules->may_commit(log_term(&r->log, index), r->term)) return;
    r->commit = index;
    raft_apply(r, fx);
    reads_on_round(r, fx);
}

static void on_contact(struct raft *r, uint8_t from, uint64_t round, struct effects *fx) {
    struct peer *p = &r->peers[from];
    p->contact_ns = r->now;
    if (round <= p->round || round > r->round) return;
    p->round = round;
    uint64_t confirmed = quorum_value(r, offsetof(struct peer, round), r->round);
    if (confirmed <= r->round_confirmed) return;
    r->round_confirmed = confirmed;
    if (r->round - confirmed < ROUNDS_KEPT && !r->lease_forbidden) {
        uint64_t start = r->rules->lease_start(r->round_sent_ns[confirmed % ROUNDS_KEPT], r->now);
        uint64_t until = lease_until(&r->c, start);
        if (until > r->lease_until_ns) r->lease_until_ns = until;
    }
    reads_on_round(r, fx);
}

static void on_matched(struct raft *r, uint8_t from, uint64_t index, struct effects *fx) {
    struct peer *p = &r->peers[from];
    if (index > r->log.last) return; /* never sent: a reply that no leader of this term caused */
    if (index > p->match) p->match = index;
    if (p->next <= p->match) p->next = p->match + 1;
    if (p->state == PEER_SNAPSHOT && p->match < r->log.base_index) return;
    if (p->state != PEER_REPLICATE) replication_peer_become(p, PEER_REPLICATE);
    inflight_free_to(p, index);
    if (p->match > r->commit) replication_advance_commit(r, fx);
    if (p->next <= r->log.last) replication_send(r, from, false, fx);
    transfer_progress(r, fx);
}

void replication_on_append_reply(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx) {
    if (r->role != PROTOCOL_LEADER || m->term != r->term) return;
    struct peer *p = &r->peers[from];
    on_contact(r, from, m->round, fx);
    if (m->success) {
        on_matched(r, from, m->index, fx);
        return;
    }
    if (p->state == PEER_SNAPSHOT || m->rejected <= p->match) return; /* late news */
    if (p->state == PEER_PROBE && m->rejected != p->next - 1) return;
    uint64_t meet = log_meeting_point(&r->log, m->index, m->log_term);
    uint64_t next = (meet > p->match ? meet : p->match) + 1;
    if (p->state == PEER_PROBE && next >= p->next) return; /* no news; the next heartbeat asks again */
    p->next = next;
    replication_peer_become(p, PEER_PROBE);
    replication_send(r, from, true, fx);
}
