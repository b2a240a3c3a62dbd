/* The follower's side: accepting entries (ATC'14 Figure 2, AppendEntries). */
#include "targets/protocols/raft/raft_internal.h"

bool follower_heed(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx) {
    if (m->term < r->term) return false;
    if (m->term == r->term && r->role == PROTOCOL_LEADER) {
        effect_fatal("two leaders in one term", fx);
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

void follower_forget_requests(struct raft *r, uint64_t from, uint64_t to, struct effects *fx) {
    for (uint64_t i = from; i <= to; i++) {
        uint64_t token = log_item(&r->log, i)->token;
        if (token) effect_respond(token, STATUS_UNKNOWN, r->leader, fx);
    }
}

static bool cut_log(struct raft *r, uint64_t index, struct effects *fx) {
    if (index <= r->commit) {
        effect_fatal("a committed entry would be removed", fx)->index = index;
        return false;
    }
    follower_forget_requests(r, index, r->log.last, fx);
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
    if (!follower_heed(r, from, m, fx)) {
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
