/* raft: starting and stepping a replica, its term and role, proposals and application. */
#include "targets/protocols/raft/raft_internal.h"

void raft_send(struct raft *r, uint8_t to, const struct raft_message *m, uint64_t barrier, struct effects *fx) {
    struct writer w = effects_scratch(fx);
    w.size = raft_message_encode(m, w.data, w.capacity);
    assert(w.size > 0);
    /* A message of a term may leave only when the term is durable: a restart must not fall behind its own words. */
    effect_send(to, m->kind, effects_keep(&w, fx), barrier > r->meta_written ? barrier : r->meta_written, fx);
}

void raft_write_meta(struct raft *r, uint64_t term, uint8_t vote, struct effects *fx) {
    assert(term >= r->term);
    r->term = term;
    r->vote = vote;
    uint8_t meta[META_BYTES];
    struct writer w = {.data = meta, .capacity = sizeof meta};
    write_u64(&w, term);
    write_u8(&w, vote);
    assert(!w.failed);
    r->meta_written = effect_meta(bytes_of(meta, w.size), term, vote, fx);
}

void raft_set_role(struct raft *r, uint8_t role, struct effects *fx) {
    r->role = role;
    effect_role(role, r->term, fx);
}

void raft_become_follower(struct raft *r, uint64_t term, uint8_t leader, struct effects *fx) {
    bool changed = term != r->term || r->role != PROTOCOL_FOLLOWER;
    if (r->role == PROTOCOL_LEADER) {
        effect_timer(TIMER_HEARTBEAT, UINT64_MAX, fx);
        read_queue_drop(&r->reads, fx);
        r->transfer_to = NODE_NONE;
    }
    bool later = term > r->term;
    uint8_t vote = later || r->role != PROTOCOL_FOLLOWER ? r->rules->vote_after(r->vote, later) : r->vote;
    if (later || vote != r->vote) raft_write_meta(r, term, vote, fx);
    r->leader = leader;
    r->pre_voting = false;
    r->self_vote_written = 0;
    if (changed) raft_set_role(r, PROTOCOL_FOLLOWER, fx);
    election_reset_timer(r, fx);
}

bool raft_append(struct raft *r, uint64_t term, uint8_t kind, uint64_t token, struct bytes payload,
                 struct effects *fx) {
    if (!log_append(&r->log, term, kind, token, payload)) return false;
    struct effect *e = effect_add(fx, EFFECT_APPEND);
    e->index = r->log.last;
    e->term = term;
    e->entry_kind = kind;
    e->bytes = log_payload(&r->log, r->log.last);
    e->written = r->log_written = ++fx->written;
    return true;
}

void raft_apply(struct raft *r, struct effects *fx) {
    if (r->installing) return; /* the state machine is about to be replaced */
    while (r->applied < r->commit) {
        uint64_t index = ++r->applied;
        struct log_item *it = log_item(&r->log, index);
        struct effect *e = effect_add(fx, EFFECT_APPLY);
        e->index = e->instance = index;
        e->term = it->term;
        e->entry_kind = it->kind;
        e->bytes = log_payload(&r->log, index);
        e->token = it->token;
        it->token = 0;
    }
    snapshot_maybe(r, fx);
}

/* How much of the log, of its places and bytes, uncommitted entries may take. With what snapshot.c lets applied ones
 * take this keeps a log from filling up for good: whatever one replica's log holds, every other's has room for. */
enum { UNCOMMITTED_SHARE = 2 };

static bool may_propose(const struct raft *r, size_t size) {
    return r->transfer_to == NODE_NONE && size <= r->c.limits.entry_bytes_max &&
           r->log.last - r->commit < r->c.limits.log_entries_max / UNCOMMITTED_SHARE &&
           log_bytes_from(&r->log, r->commit + 1) + size <= r->log.bytes_capacity / UNCOMMITTED_SHARE;
}

static void on_propose(struct raft *r, uint64_t token, struct bytes command, struct effects *fx) {
    assert(token != 0);
    if (r->role != PROTOCOL_LEADER) {
        effect_respond(token, STATUS_NOT_LEADER, r->leader, fx);
    } else if (!may_propose(r, command.size) || !raft_append(r, r->term, ENTRY_COMMAND, token, command, fx)) {
        effect_respond(token, STATUS_BUSY, r->leader, fx);
    } else {
        replication_broadcast(r, fx);
    }
}

void raft_refuse(struct raft *r, uint8_t from) {
    r->refused_messages++;
    r->refused_from = from;
}

static void on_message(struct raft *r, uint8_t from, struct bytes bytes, struct effects *fx) {
    struct raft_message m;
    if (from >= r->c.nodes || from == r->c.self) return;
    if (!raft_message_decode(bytes, &m)) {
        raft_refuse(r, from);
        return;
    }
    switch (m.kind) {
    case RAFT_VOTE_REQUEST: election_on_request(r, from, &m, fx); return;
    case RAFT_APPEND_REQUEST: follower_on_append(r, from, &m, fx); return;
    case RAFT_SNAPSHOT_REQUEST: snapshot_on_chunk(r, from, &m, fx); return;
    case RAFT_TIMEOUT_NOW:
        if (m.term == r->term && r->role == PROTOCOL_FOLLOWER && from == r->leader && !r->installing)
            election_campaign(r, true, fx);
        return;
    default: break;
    }
    /* Replies. A granted pre-vote echoes a term that nobody is in yet. */
    bool granted_pre_vote = m.kind == RAFT_VOTE_REPLY && m.pre_vote && m.success;
    if (m.term > r->term && !granted_pre_vote) {
        raft_become_follower(r, m.term, NODE_NONE, fx);
        return;
    }
    if (m.kind == RAFT_VOTE_REPLY) election_on_reply(r, from, &m, fx);
    if (m.kind == RAFT_APPEND_REPLY) replication_on_append_reply(r, from, &m, fx);
    if (m.kind == RAFT_SNAPSHOT_REPLY) snapshot_on_reply(r, from, &m, fx);
}

static void on_persisted(struct raft *r, uint64_t written, uint64_t last_index, struct effects *fx) {
    if (r->cut_written && written < r->cut_written) {
        if (last_index >= r->cut_index) last_index = r->cut_index - 1;
    } else {
        r->cut_written = 0;
    }
    if (last_index > r->log.last) last_index = r->log.last;
    if (last_index > r->durable_index) r->durable_index = last_index;
    if (r->self_vote_written && written >= r->self_vote_written) election_on_persisted(r, written, fx);
    if (r->role == PROTOCOL_LEADER) replication_advance_commit(r, fx);
}

static void step(void *state, const struct event *ev, struct effects *fx) {
    struct raft *r = state;
    assert(ev->now_ns >= r->now);
    r->now = ev->now_ns;
    switch (ev->kind) {
    case EVENT_MESSAGE: on_message(r, ev->message.from, ev->message.bytes, fx); break;
    case EVENT_TIMER:
        if (ev->timer.id == TIMER_ELECTION) election_on_timer(r, fx);
        if (ev->timer.id == TIMER_HEARTBEAT && r->role == PROTOCOL_LEADER) replication_on_timer(r, fx);
        break;
    case EVENT_PROPOSE: on_propose(r, ev->propose.token, ev->propose.command, fx); break;
    case EVENT_READ: reads_on_request(r, ev->read.token, fx); break;
    case EVENT_PERSISTED: on_persisted(r, ev->persisted.written, ev->persisted.last_index, fx); break;
    case EVENT_SNAPSHOT_TAKEN: snapshot_on_taken(r, ev->snapshot.index, ev->snapshot.term, fx); break;
    case EVENT_SNAPSHOT_INSTALLED: snapshot_on_installed(r, ev->snapshot.index, ev->snapshot.term, fx); break;
    case EVENT_TRANSFER: transfer_on_request(r, ev->transfer.to, fx); break;
    case EVENT_RECONFIGURE: break;
    }
}

static size_t state_size(const struct config *c) {
    return sizeof(struct raft) + log_memory(&c->limits) + read_queue_memory(&c->limits);
}

static void start(void *state, const struct config *c, const struct durable *d, uint64_t now_ns, struct effects *fx) {
    struct raft *r = state;
    assert(c->nodes >= 1 && c->nodes <= PROTOCOL_NODES_MAX && c->self < c->nodes);
    assert(c->limits.inflight_max <= INFLIGHT_MAX);
    memset(r, 0, sizeof *r);
    r->c = *c;
    r->rules = c->rules ? c->rules : &raft_rules_correct;
    r->now = now_ns;
    prng_seed(&r->prng, c->seed, now_ns);
    uint8_t *tail = (uint8_t *)state + sizeof *r;
    log_init(&r->log, &c->limits, tail);
    read_queue_init(&r->reads, &c->limits, tail + log_memory(&c->limits));

    struct reader meta = {.data = d->meta.data, .size = d->meta.size};
    r->vote = NODE_NONE;
    if (d->meta.size) {
        r->term = read_u64(&meta);
        r->vote = read_u8(&meta);
    }
    r->snapshot_index = d->snapshot_index;
    r->snapshot_term = d->snapshot_term;
    r->commit = r->applied = d->snapshot_index; /* all else must be learnt from a leader */
    log_reset(&r->log, d->snapshot_index, d->snapshot_term);
    size_t i = 0;
    while (i < d->entries_count && d->entries[i].index + c->snapshot_trailing <= d->snapshot_index) i++;
    if (i < d->entries_count && d->entries[i].index <= d->snapshot_index) {
        /* Some entries of before the snapshot are kept for followers; what precedes the first is unknown, so that one
         * serves as the base only. */
        log_reset(&r->log, d->entries[i].index, d->entries[i].term);
        i++;
    }
    for (; i < d->entries_count; i++) {
        const struct entry *e = &d->entries[i];
        if (e->index != r->log.last + 1) {
            effect_add(fx, EFFECT_FATAL)->reason = "entries are missing between snapshot and log";
            break;
        }
        bool fits = log_append(&r->log, e->term, e->kind, 0, e->payload);
        assert(fits);
        (void)fits;
    }
    r->durable_index = r->log.last;
    r->leader = r->transfer_to = NODE_NONE;
    /* A lease granted by this replica before a crash may still run: stay as sticky as if a leader had just spoken. */
    r->contact_ns = now_ns;
    raft_set_role(r, PROTOCOL_FOLLOWER, fx);
    election_reset_timer(r, fx);
}

static void probe(const void *state, struct probe *out) {
    const struct raft *r = state;
    *out = (struct probe){.role = r->role,
                          .vote = r->vote,
                          .leader = r->leader,
                          .term = r->term,
                          .first_index = r->log.first,
                          .last_index = r->log.last,
                          .last_term = log_last_term(&r->log),
                          .commit_index = r->commit,
                          .applied_index = r->applied,
                          .durable_index = r->durable_index,
                          .refused_messages = r->refused_messages,
                          .refused_from = r->refused_from};
}

static uint64_t matched(const void *state, uint8_t node) {
    const struct raft *r = state;
    return r->role == PROTOCOL_LEADER && node < r->c.nodes ? r->peers[node].match : 0;
}

static void visit(const void *state, const struct visitor *v) {
    const struct raft *r = state;
    v->word(v->ctx, "term", r->term);
    v->word(v->ctx, "vote", r->vote);
    v->word(v->ctx, "role", r->role);
    v->word(v->ctx, "leader", r->leader);
    v->word(v->ctx, "commit", r->commit);
    v->word(v->ctx, "applied", r->applied);
    v->word(v->ctx, "snapshot_index", r->snapshot_index);
    v->word(v->ctx, "round", r->round);
    v->word(v->ctx, "base_index", r->log.base_index);
    v->word(v->ctx, "base_term", r->log.base_term);
    for (uint64_t i = r->log.first; i <= r->log.last; i++) {
        v->word(v->ctx, "entry_term", log_term(&r->log, i));
        v->word(v->ctx, "entry_hash", hash_bytes(log_payload(&r->log, i), 0));
    }
}

static const char *check(const void *state) {
    const struct raft *r = state;
    if (r->applied > r->commit) return "applied <= commit";
    if (r->commit > r->log.last) return "commit <= last log index";
    if (r->log.first != r->log.base_index + 1) return "the log starts after its base";
    if (r->snapshot_index > r->applied) return "snapshot <= applied";
    if (r->durable_index > r->log.last) return "durable <= last log index";
    if (r->role == PROTOCOL_LEADER && r->vote != r->c.self) return "a leader voted for itself";
    return NULL;
}

static uint32_t effects_needed(const struct config *c) {
    return 3 * c->limits.log_entries_max + c->limits.reads_max + 8u * c->nodes + 64;
}

static uint32_t scratch_needed(const struct config *c) {
    return (3u * c->nodes + 4) * c->limits.message_bytes_max + 4096;
}

const struct protocol raft_protocol = {
    .name = "raft",
    .doc = "Raft (Ongaro and Ousterhout 2014) with pre-vote, check-quorum, ReadIndex, leases, snapshots",
    .orders_all = true,
    .reads_known =
        1u << PROTOCOL_READ_LOG | 1u << PROTOCOL_READ_INDEX | 1u << PROTOCOL_READ_LEASE | 1u << PROTOCOL_READ_LOCAL,
    .state_size = state_size,
    .effects_needed = effects_needed,
    .scratch_needed = scratch_needed,
    .start = start,
    .step = step,
    .probe = probe,
    .matched = matched,
    .visit = visit,
    .check = check,
    .describe = raft_message_describe,
};
