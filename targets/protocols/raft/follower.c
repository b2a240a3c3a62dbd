/* The follower's side: accepting entries (ATC'14 Figure 2, AppendEntries) and snapshots (section 7). */
#include "targets/protocols/raft/raft_internal.h"

/* A message of a current leader: take its term and heed it. False when it is from the past, which the reply tells. */
static bool heed(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx) {
    if (m->term < r->term) return false;
    if (m->term == r->term && r->role == PROTOCOL_LEADER) {
        struct effect *e = effect_add(fx, EFFECT_FATAL);
        e->reason = "two leaders in one term";
        return false;
    }
    if (m->term > r->term || r->role != PROTOCOL_FOLLOWER || r->leader != from)
        raft_become_follower(r, m->term, from, fx);
    else
        election_reset_timer(r, fx);
    r->contact_ns = r->now;
    return true;
}

static void reject(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx) {
    struct raft_message reply = {.kind = RAFT_APPEND_REPLY, .term = r->term, .round = m->round, .rejected = m->index};
    if (m->term == r->term) { /* the hint: where our log may meet the leader's (5.3, the last paragraphs) */
        reply.index = log_meeting_point(&r->log, m->index, m->log_term);
        reply.log_term = log_term(&r->log, reply.index);
    }
    raft_send(r, from, &reply, 0, fx);
}

/* The first entry of the message that contradicts our log; 0 if none does. */
static uint64_t find_conflict(const struct raft *r, const struct raft_message *m) {
    struct reader reader = {.data = m->data.data, .size = m->data.size};
    for (uint32_t i = 0; i < m->entries; i++) {
        struct entry e;
        raft_entry_next(&reader, &e);
        uint64_t index = m->index + 1 + i;
        if (index > r->log.last) return 0;
        if (index >= r->log.first && log_term(&r->log, index) != e.term) return index;
    }
    return 0;
}

/* Entries that leave this log unapplied: another replica may still commit them. */
static void forget_requests(struct raft *r, uint64_t from, uint64_t to, struct effects *fx) {
    for (uint64_t i = from; i <= to; i++) {
        uint64_t token = log_item(&r->log, i)->token;
        if (token) raft_respond(token, STATUS_UNKNOWN, r->leader, fx);
    }
}

static bool cut_log(struct raft *r, uint64_t index, struct effects *fx) {
    if (index <= r->commit) {
        struct effect *e = effect_add(fx, EFFECT_FATAL);
        e->index = index;
        e->reason = "a committed entry would be removed";
        return false;
    }
    forget_requests(r, index, r->log.last, fx);
    log_cut(&r->log, index);
    struct effect *e = effect_add(fx, EFFECT_TRUNCATE);
    e->index = index;
    e->written = r->log_written = ++fx->written;
    if (r->durable_index >= index) r->durable_index = index - 1;
    if (r->cut_written == 0 || index < r->cut_index) r->cut_index = index;
    r->cut_written = e->written;
    return true;
}

/* Appends what we do not have yet; returns the last index that now matches the leader's log. */
static uint64_t append_new(struct raft *r, const struct raft_message *m, struct effects *fx) {
    struct reader reader = {.data = m->data.data, .size = m->data.size};
    uint64_t index = m->index;
    for (uint32_t i = 0; i < m->entries; i++) {
        struct entry e;
        raft_entry_next(&reader, &e);
        if (index + 1 > r->log.last && !raft_append(r, e.term, e.kind, 0, e.payload, fx)) break; /* log full */
        index++;
    }
    return index;
}

void follower_on_append(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx) {
    if (!heed(r, from, m, fx)) {
        if (m->term < r->term) reject(r, from, m, fx);
        return;
    }
    if (r->installing) { /* takes nothing, but the leader is heard: it must not step down for a slow disk here */
        uint64_t held = r->commit < r->durable_index ? r->commit : r->durable_index;
        struct raft_message busy = {
            .kind = RAFT_APPEND_REPLY, .success = true, .term = r->term, .round = m->round, .index = held};
        raft_send(r, from, &busy, 0, fx);
        return;
    }
    if (m->index > r->log.last || (m->index >= r->log.base_index && log_term(&r->log, m->index) != m->log_term)) {
        reject(r, from, m, fx);
        return;
    }
    uint64_t cut = r->rules->truncate_from(find_conflict(r, m), m->index, r->log.base_index, r->log.last);
    if (cut && !cut_log(r, cut, fx)) return;
    uint64_t matched = append_new(r, m, fx);
    uint64_t commit = r->rules->follower_commit(m->commit, matched, r->log.last);
    if (commit > r->commit) {
        r->commit = commit;
        raft_apply(r, fx);
    }
    /* Figure 2: entries are persistent before the answer. A heartbeat answers at once for what is on disk already. */
    bool heartbeat = m->entries == 0;
    struct raft_message reply = {.kind = RAFT_APPEND_REPLY, .success = true, .term = r->term, .round = m->round};
    reply.index = heartbeat && matched > r->durable_index ? r->durable_index : matched;
    raft_send(r, from, &reply, reply.index > r->durable_index ? r->log_written : 0, fx);
}

static void answer_snapshot(struct raft *r, uint8_t to, uint64_t index, bool whole, uint64_t chunk_offset,
                            struct effects *fx) {
    struct raft_message reply = {.kind = RAFT_SNAPSHOT_REPLY,
                                 .term = r->term,
                                 .success = whole,
                                 .index = index,
                                 .offset = r->receive_offset,
                                 .rejected = chunk_offset};
    raft_send(r, to, &reply, 0, fx);
}

void follower_on_snapshot(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx) {
    if (!heed(r, from, m, fx)) {
        if (m->term < r->term) answer_snapshot(r, from, 0, false, m->offset, fx);
        return;
    }
    if (r->installing) return;
    if (!r->rules->takes_snapshot(m->index, r->commit)) { /* an older one never replaces what is committed here */
        uint64_t held = m->index <= r->durable_index ? m->index : r->snapshot_index;
        answer_snapshot(r, from, held, true, m->offset, fx);
        return;
    }
    if (r->receive_index != m->index || r->receive_term != m->log_term) {
        r->receive_index = m->index;
        r->receive_term = m->log_term;
        r->receive_offset = 0;
    }
    if (m->offset != r->receive_offset) {
        answer_snapshot(r, from, m->index, false, m->offset, fx);
        return;
    }
    if (m->data.size > PROTOCOL_SNAPSHOT_BYTES_MAX - r->receive_offset) { /* it begins anew, if it is sent again */
        r->receive_index = r->receive_offset = 0;
        raft_refuse(r, from);
        return;
    }
    struct effect *e = effect_add(fx, EFFECT_SNAPSHOT_RECEIVE);
    e->index = m->index;
    e->term = m->log_term;
    e->offset = m->offset;
    e->bytes = m->data;
    e->last = m->last;
    e->token = m->index + 1;
    r->receive_offset += m->data.size;
    if (m->last) {
        /* If our log holds that very entry, what follows it stays (Figure 13, step 6); else all of it goes. */
        e->reset = log_term(&r->log, m->index) != m->log_term;
        e->written = ++fx->written;
        r->installing = true;
        r->installing_from = from;
    } else {
        answer_snapshot(r, from, m->index, false, m->offset, fx);
    }
}

void follower_on_installed(struct raft *r, uint64_t index, uint64_t term, struct effects *fx) {
    assert(r->installing);
    r->installing = false;
    r->receive_index = r->receive_offset = 0;
    r->snapshot_index = index;
    r->snapshot_term = term;
    bool retained = log_term(&r->log, index) == term;
    forget_requests(r, r->log.first, retained ? index : r->log.last, fx); /* applied, perhaps, but not here */
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
