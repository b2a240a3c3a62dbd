/* multipaxos: starting and stepping a replica, its ballot and role, proposals and application. */
#include "targets/protocols/multipaxos/multipaxos_internal.h"

/* Requests are refused when what is not chosen yet takes more than this share of the log, in 1/256 of it. */
enum { PENDING_SHARE = 32 };

void mp_send(struct multipaxos *p, uint8_t to, const struct multipaxos_message *m, uint64_t barrier,
             struct effects *fx) {
    struct writer w = effects_scratch(fx);
    w.size = multipaxos_encode(m, w.data, w.capacity);
    assert(w.size > 0);
    /* Nothing leaves before the promise is durable under which it was said. */
    effect_send(to, m->kind, effects_keep(&w, fx), barrier > p->meta_written ? barrier : p->meta_written, fx);
}

void mp_heard(struct multipaxos *p, uint64_t ballot) {
    if (ballot > p->seen) p->seen = ballot;
}

void mp_promise(struct multipaxos *p, uint64_t ballot, struct effects *fx) {
    if (ballot == p->promised) return;
    assert(ballot > p->promised);
    p->promised = ballot;
    mp_heard(p, ballot);
    uint8_t meta[META_BYTES];
    struct writer w = {.data = meta, .capacity = sizeof meta};
    write_u64(&w, ballot);
    assert(!w.failed);
    p->meta_written = effect_meta(bytes_of(meta, w.size), ballot, NODE_NONE, fx);
}

void mp_set_role(struct multipaxos *p, uint8_t role, struct effects *fx) {
    p->role = role;
    effect_role(role, p->promised, fx);
}

void mp_become_follower(struct multipaxos *p, uint8_t leader, struct effects *fx) {
    if (p->role == PROTOCOL_LEADER) {
        effect_timer(TIMER_HEARTBEAT, UINT64_MAX, fx);
        read_queue_drop(&p->reads, fx);
        p->handover_to = NODE_NONE;
    }
    p->leader = leader;
    p->canvassing = false;
    p->self_promise_written = 0;
    if (p->role != PROTOCOL_FOLLOWER) mp_set_role(p, PROTOCOL_FOLLOWER, fx);
    mp_reset_election_timer(p, fx);
}

bool mp_accept(struct multipaxos *p, uint64_t number, uint64_t ballot, uint8_t kind, struct bytes value,
               struct effects *fx) {
    struct slot *slot = slots_accept(&p->slots, number, ballot, kind, value, fx);
    if (!slot) return false;
    /* Its value here gave way to one from elsewhere, which may be another request's even where the bytes are equal: all
     * open a session alike. A third replica may yet bring the old one up in another slot. */
    if (slot->token) effect_respond(slot->token, STATUS_UNKNOWN, p->leader, fx);
    slot->token = 0;
    return true;
}

uint64_t mp_accepted_at(const struct multipaxos *p, uint64_t number) {
    const struct slot *slot = slots_get(&p->slots, number);
    return slot ? slot->ballot : 0;
}

void mp_apply(struct multipaxos *p, struct effects *fx) {
    if (p->installing) return; /* the state machine is about to be replaced */
    while (p->applied < p->commit) {
        uint64_t number = ++p->applied;
        struct slot *slot = slots_get(&p->slots, number);
        struct effect *e = effect_add(fx, EFFECT_APPLY);
        uint8_t kind;
        e->bytes = slots_value(&p->slots, slot, &kind);
        e->index = e->instance = number;
        e->term = slot->ballot;
        e->entry_kind = kind;
        e->token = slot->token;
        slot->token = 0;
    }
    mp_snapshot_maybe(p, fx);
}

static bool may_propose(const struct multipaxos *p, size_t size) {
    return p->handover_to == NODE_NONE && size <= p->c.limits.entry_bytes_max &&
           p->slots.top - p->commit < p->slots.window / 4 && slots_used(&p->slots) <= SLOTS_RESERVED_FROM &&
           p->pending_bytes + size <= (uint64_t)p->c.limits.log_bytes_max * PENDING_SHARE / 256;
}

static void on_propose(struct multipaxos *p, uint64_t token, struct bytes command, struct effects *fx) {
    assert(token != 0);
    if (p->role != PROTOCOL_LEADER) {
        effect_respond(token, STATUS_NOT_LEADER, p->leader, fx);
    } else if (!may_propose(p, command.size) ||
               !mp_accept(p, p->slots.top + 1, p->promised, ENTRY_COMMAND, command, fx)) {
        effect_respond(token, STATUS_BUSY, p->leader, fx);
    } else {
        slots_get(&p->slots, p->slots.top)->token = token;
        p->pending_bytes += command.size;
        mp_broadcast(p, fx);
    }
}

void mp_refuse(struct multipaxos *p, uint8_t from) {
    p->refused_messages++;
    p->refused_from = from;
}

static void on_message(struct multipaxos *p, uint8_t from, struct bytes bytes, struct effects *fx) {
    struct multipaxos_message m;
    if (from >= p->c.nodes || from == p->c.self) return;
    if (!multipaxos_decode(bytes, &m)) {
        mp_refuse(p, from);
        return;
    }
    if (!m.canvass) mp_heard(p, m.ballot);
    switch (m.kind) {
    case MULTIPAXOS_PREPARE: mp_on_prepare(p, from, &m, fx); break;
    case MULTIPAXOS_PROMISE: mp_on_promise(p, from, &m, fx); break;
    case MULTIPAXOS_ACCEPT: mp_on_accept(p, from, &m, fx); break;
    case MULTIPAXOS_ACCEPTED: mp_on_accepted(p, from, &m, fx); break;
    case MULTIPAXOS_SNAPSHOT: mp_on_snapshot(p, from, &m, fx); break;
    case MULTIPAXOS_SNAPSHOT_REPLY: mp_on_snapshot_reply(p, from, &m, fx); break;
    case MULTIPAXOS_HANDOVER:
        if (m.ballot == p->promised && p->role == PROTOCOL_FOLLOWER && from == p->leader && !p->installing)
            mp_campaign(p, true, fx);
        break;
    default: break;
    }
}

static void on_persisted(struct multipaxos *p, uint64_t written, struct effects *fx) {
    p->durable_written = written;
    if (p->self_promise_written && written >= p->self_promise_written) mp_on_own_promise(p, fx);
    if (p->role == PROTOCOL_LEADER) mp_count_own(p, fx);
    mp_advance_held(p);
}

static void step(void *state, const struct event *ev, struct effects *fx) {
    struct multipaxos *p = state;
    assert(ev->now_ns >= p->now);
    p->now = ev->now_ns;
    switch (ev->kind) {
    case EVENT_MESSAGE: on_message(p, ev->message.from, ev->message.bytes, fx); break;
    case EVENT_TIMER:
        if (ev->timer.id == TIMER_ELECTION) mp_on_election_timer(p, fx);
        if (ev->timer.id == TIMER_HEARTBEAT && p->role == PROTOCOL_LEADER) mp_on_heartbeat_timer(p, fx);
        break;
    case EVENT_PROPOSE: on_propose(p, ev->propose.token, ev->propose.command, fx); break;
    case EVENT_READ: mp_on_read(p, ev->read.token, fx); break;
    case EVENT_PERSISTED: on_persisted(p, ev->persisted.written, fx); break;
    case EVENT_SNAPSHOT_TAKEN: mp_on_snapshot_taken(p, ev->snapshot.index, fx); break;
    case EVENT_SNAPSHOT_INSTALLED: mp_on_installed(p, ev->snapshot.index, fx); break;
    case EVENT_TRANSFER: mp_on_transfer(p, ev->transfer.to, fx); break;
    case EVENT_RECONFIGURE: break;
    }
}

static size_t reads_offset(const struct config *c) {
    return sizeof(struct multipaxos) + ((slots_memory(&c->limits) + 7) & ~(size_t)7);
}

static size_t state_size(const struct config *c) {
    return reads_offset(c) + read_queue_memory(&c->limits);
}

static void start(void *state, const struct config *c, const struct durable *d, uint64_t now_ns, struct effects *fx) {
    struct multipaxos *p = state;
    assert(c->nodes >= 1 && c->nodes <= PROTOCOL_NODES_MAX && c->self < c->nodes);
    memset(p, 0, sizeof *p);
    p->c = *c;
    p->rules = c->rules ? c->rules : &multipaxos_rules_correct;
    p->now = now_ns;
    prng_seed(&p->prng, c->seed, now_ns);
    slots_init(&p->slots, &c->limits, (uint8_t *)state + sizeof *p);
    read_queue_init(&p->reads, &c->limits, (uint8_t *)state + reads_offset(c));

    struct reader meta = {.data = d->meta.data, .size = d->meta.size};
    if (d->meta.size) p->promised = read_u64(&meta);
    p->seen = p->promised;
    slots_recover(&p->slots, d);
    p->compacted_at = p->slots.last;
    p->snapshot_index = d->snapshot_index;
    p->commit = p->applied = d->snapshot_index; /* all else must be learnt from a leader */
    p->durable_written = fx->written;
    p->leader = p->handover_to = NODE_NONE;
    /* A lease granted by this replica before a crash may still run: stay as sticky as if a leader had just spoken. */
    p->contact_ns = now_ns;
    mp_set_role(p, PROTOCOL_FOLLOWER, fx);
    mp_reset_election_timer(p, fx);
}

/* What is accepted at older ballots only, beyond what the leader knows of, is no part of the sequence. */
static uint64_t last_slot(const struct multipaxos *p) {
    if (p->role == PROTOCOL_LEADER) return p->slots.top;
    return p->held > p->commit ? p->held : p->commit;
}

static void probe(const void *state, struct probe *out) {
    const struct multipaxos *p = state;
    uint64_t last = last_slot(p);
    *out = (struct probe){.role = p->role,
                          .vote = NODE_NONE,
                          .leader = p->leader,
                          .term = p->promised,
                          .first_index = p->slots.base + 1,
                          .last_index = last,
                          .last_term = mp_accepted_at(p, last),
                          .commit_index = p->commit,
                          .applied_index = p->applied,
                          .durable_index = p->held_durable,
                          .refused_messages = p->refused_messages,
                          .refused_from = p->refused_from};
}

static uint64_t matched(const void *state, uint8_t node) {
    const struct multipaxos *p = state;
    return p->role == PROTOCOL_LEADER && node < p->c.nodes ? p->peers[node].match : 0;
}

static void visit(const void *state, const struct visitor *v) {
    const struct multipaxos *p = state;
    v->word(v->ctx, "promised", p->promised);
    v->word(v->ctx, "role", p->role);
    v->word(v->ctx, "leader", p->leader);
    v->word(v->ctx, "commit", p->commit);
    v->word(v->ctx, "applied", p->applied);
    v->word(v->ctx, "snapshot_index", p->snapshot_index);
    v->word(v->ctx, "round", p->round);
    v->word(v->ctx, "base", p->slots.base);
    for (uint64_t n = p->slots.base + 1; n <= p->slots.top; n++) {
        const struct slot *slot = slots_get(&p->slots, n);
        if (!slot || slot->ballot == 0) continue;
        uint8_t kind;
        v->word(v->ctx, "slot", n);
        v->word(v->ctx, "slot_ballot", slot->ballot);
        v->word(v->ctx, "slot_hash", hash_bytes(slots_value(&p->slots, slot, &kind), kind));
    }
}

static const char *check(const void *state) {
    const struct multipaxos *p = state;
    if (p->applied > p->commit) return "applied <= commit";
    if (p->commit > p->slots.top) return "commit <= last slot";
    if (p->slots.base > p->applied) return "base <= applied";
    if (p->snapshot_index > p->applied && !p->installing) return "snapshot <= applied";
    if (mp_accepted_at(p, p->slots.top) > p->promised) return "promised >= accepted";
    if (p->held_durable > p->held && p->held_durable > p->commit) return "durable <= held";
    return NULL;
}

static uint32_t effects_needed(const struct config *c) {
    return 4 * c->limits.log_entries_max + c->limits.reads_max + 8u * c->nodes + 64;
}

static uint32_t scratch_needed(const struct config *c) {
    return (3u * c->nodes + 4) * c->limits.message_bytes_max + 4096;
}

const struct protocol multipaxos_protocol = {
    .name = "multipaxos",
    .doc = "Multi-Paxos (Lamport 1998, 2001): a stable leader, pipelining, leases, snapshots",
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
    .describe = multipaxos_describe,
};
