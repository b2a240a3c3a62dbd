/* paxos: starting and stepping a replica, requests and application. */
#include "targets/protocols/paxos/paxos_internal.h"

void px_send(uint8_t to, const struct paxos_message *m, uint64_t barrier, struct effects *fx) {
    struct writer w = effects_scratch(fx);
    w.size = paxos_encode(m, w.data, w.capacity);
    assert(w.size > 0);
    effect_send(to, m->kind, effects_keep(&w, fx), barrier, fx);
}

void px_broadcast(struct paxos *p, const struct paxos_message *m, uint64_t barrier, struct effects *fx) {
    for (uint8_t to = 0; to < p->c.nodes; to++)
        if (to != p->c.self) px_send(to, m, barrier, fx);
}

void px_refuse(struct paxos *p, uint8_t from) {
    p->refused_messages++;
    p->refused_from = from;
}

uint64_t px_last_accepted(const struct paxos *p) {
    return p->slots.top;
}

uint64_t px_accepted_at(const struct paxos *p, uint64_t number) {
    const struct slot *slot = slots_get(&p->slots, number);
    return slot ? slot->ballot : 0;
}

/* --- application -------------------------------------------------------------------------------------------------- */

static bool is_own_batch(const struct paxos *p, uint64_t number, struct bytes value) {
    const struct queue *q = &p->queue;
    return q->batch_count && q->batch_slot == number && bytes_equal(value, bytes_of(q->bytes, 1 + q->batch_bytes));
}

void px_pop_batch(struct queue *q) {
    q->size -= q->batch_bytes;
    q->count -= q->batch_count;
    memmove(q->bytes + 1, q->bytes + 1 + q->batch_bytes, q->size - 1);
    memmove(q->tokens, q->tokens + q->batch_count, q->count * sizeof *q->tokens);
}

static void apply_slot(struct paxos *p, uint64_t number, struct effects *fx) {
    const struct slot *slot = slots_get(&p->slots, number);
    uint8_t kind;
    struct bytes value = slots_value(&p->slots, slot, &kind);
    struct queue *q = &p->queue;
    bool own = kind == ENTRY_COMMAND && is_own_batch(p, number, value);
    struct reader r = {.data = value.data, .size = value.size, .offset = value.size > 0};
    for (uint32_t i = 0; kind == ENTRY_COMMAND && r.offset < r.size; i++) {
        struct effect *e = effect_add(fx, EFFECT_APPLY);
        e->bytes = read_bytes(&r);
        e->index = e->instance = number;
        e->entry_kind = ENTRY_COMMAND;
        e->token = own ? q->tokens[i] : 0;
    }
    if (own) px_pop_batch(q);
    if (q->batch_slot == number) q->batch_count = q->batch_bytes = 0;
}

void px_apply(struct paxos *p, struct effects *fx) {
    if (p->installing) return; /* the state machine is about to be replaced */
    uint32_t kept = fx->capacity / 2;
    while (p->applied < p->commit && fx->count + PAXOS_BATCH_MAX < kept) {
        p->applied++;
        apply_slot(p, p->applied, fx);
    }
    px_snapshot_maybe(p, fx);
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static void on_propose(struct paxos *p, uint64_t token, struct bytes command, struct effects *fx) {
    assert(token != 0);
    struct queue *q = &p->queue;
    bool fits = command.size <= p->c.limits.entry_bytes_max && q->count < q->count_max &&
                q->size + COMMAND_FRAME_BYTES + command.size <= q->capacity;
    if (!fits || slots_used(&p->slots) > SLOTS_RESERVED_FROM) {
        effect_respond(token, STATUS_BUSY, NODE_NONE, fx);
        return;
    }
    struct writer w = {.data = q->bytes, .size = q->size, .capacity = q->capacity};
    write_bytes(&w, command);
    assert(!w.failed);
    q->size = (uint32_t)w.size;
    q->tokens[q->count++] = token;
    px_propose_soon(p, 0, fx);
}

static void on_message(struct paxos *p, uint8_t from, struct bytes bytes, struct effects *fx) {
    struct paxos_message m;
    if (from >= p->c.nodes || from == p->c.self) return;
    if (!paxos_decode(bytes, &m)) {
        px_refuse(p, from);
        return;
    }
    switch (m.kind) {
    case PAXOS_PREPARE: px_on_prepare(p, from, &m, fx); break;
    case PAXOS_PROMISE: px_on_promise(p, from, &m, fx); break;
    case PAXOS_ACCEPT: px_on_accept(p, from, &m, fx); break;
    case PAXOS_ACCEPTED: px_on_accepted(p, from, &m, fx); break;
    case PAXOS_CHOSEN: px_on_chosen(p, from, &m, fx); break;
    case PAXOS_FETCH: px_on_fetch(p, from, &m, fx); break;
    case PAXOS_SNAPSHOT: px_on_snapshot(p, from, &m, fx); break;
    case PAXOS_ASK: px_on_ask(p, from, &m, fx); break;
    case PAXOS_TELL: px_on_tell(p, from, &m, fx); break;
    default: break;
    }
}

static void step(void *state, const struct event *ev, struct effects *fx) {
    struct paxos *p = state;
    assert(ev->now_ns >= p->now);
    p->now = ev->now_ns;
    switch (ev->kind) {
    case EVENT_MESSAGE: on_message(p, ev->message.from, ev->message.bytes, fx); break;
    case EVENT_TIMER:
        if (ev->timer.id == TIMER_PROPOSER) px_on_proposer_timer(p, fx);
        if (ev->timer.id == TIMER_GOSSIP) px_on_gossip_timer(p, fx);
        break;
    case EVENT_PROPOSE: on_propose(p, ev->propose.token, ev->propose.command, fx); break;
    case EVENT_READ: px_on_read(p, ev->read.token, fx); break;
    case EVENT_PERSISTED:
        p->durable_written = ev->persisted.written;
        px_on_own_durable(p, fx);
        break;
    case EVENT_SNAPSHOT_TAKEN: px_on_snapshot_taken(p, ev->snapshot.index); break;
    case EVENT_SNAPSHOT_INSTALLED: px_on_installed(p, ev->snapshot.index, fx); break;
    case EVENT_TRANSFER:
    case EVENT_RECONFIGURE: break;
    }
    px_apply(p, fx);
    px_reads_progress(p, fx);
}

/* --- the start ---------------------------------------------------------------------------------------------------- */

static size_t rounded(size_t size) {
    return (size + 7) & ~(size_t)7;
}

static uint32_t queue_bytes(const struct config *c) {
    return QUEUE_MESSAGES * c->limits.message_bytes_max;
}

static size_t state_size(const struct config *c) {
    const struct limits *l = &c->limits;
    return rounded(sizeof(struct paxos)) + rounded(slots_memory(l)) + read_queue_memory(l) +
           l->reads_max * sizeof(uint64_t) + queue_bytes(c) + l->message_bytes_max;
}

static void lay_out(struct paxos *p, uint8_t *at) {
    const struct limits *l = &p->c.limits;
    at += rounded(sizeof *p);
    slots_init(&p->slots, l, at);
    at += rounded(slots_memory(l));
    read_queue_init(&p->reads, l, at);
    at += read_queue_memory(l);
    p->queue.tokens = (uint64_t *)(void *)at;
    at += l->reads_max * sizeof(uint64_t);
    p->queue.bytes = at;
    p->found = at + queue_bytes(&p->c);
    p->queue.capacity = queue_bytes(&p->c);
    p->queue.count_max = l->reads_max;
    p->queue.bytes[0] = p->c.self;
    p->queue.size = 1;
}

static void start(void *state, const struct config *c, const struct durable *d, uint64_t now_ns, struct effects *fx) {
    struct paxos *p = state;
    assert(c->nodes >= 1 && c->nodes <= PROTOCOL_NODES_MAX && c->self < c->nodes);
    memset(p, 0, sizeof *p);
    p->c = *c;
    p->rules = c->rules ? c->rules : &paxos_rules_correct;
    p->now = p->stuck_since_ns = now_ns;
    prng_seed(&p->prng, c->seed, now_ns);
    lay_out(p, state);
    slots_recover(&p->slots, d);
    p->compacted_at = p->slots.last;
    p->snapshot_index = p->commit = p->applied = d->snapshot_index;
    /* The meta block tells how far it knew of what is chosen. A chosen record may be there without it. */
    struct reader meta = {.data = d->meta.data, .size = d->meta.size};
    uint64_t known = d->meta.size ? read_u64(&meta) : 0;
    if (known > p->commit) p->commit = known;
    while (px_accepted_at(p, p->commit + 1) == BALLOT_CHOSEN) p->commit++;
    p->durable_written = fx->written;
    p->rtt_ns = c->heartbeat_ns / 4;
    effect_role(PROTOCOL_PEER, 0, fx);
    effect_timer(TIMER_GOSSIP, c->heartbeat_ns, fx);
    px_apply(p, fx);
}

/* --- asked about it ----------------------------------------------------------------------------------------------- */

static void probe(const void *state, struct probe *out) {
    const struct paxos *p = state;
    *out = (struct probe){.role = PROTOCOL_PEER,
                          .vote = NODE_NONE,
                          .leader = NODE_NONE,
                          .first_index = p->slots.base + 1,
                          .last_index = p->slots.top > p->commit ? p->slots.top : p->commit,
                          .commit_index = p->commit,
                          .applied_index = p->applied,
                          .durable_index = p->commit,
                          .refused_messages = p->refused_messages,
                          .refused_from = p->refused_from};
}

static void visit(const void *state, const struct visitor *v) {
    const struct paxos *p = state;
    v->word(v->ctx, "commit", p->commit);
    v->word(v->ctx, "applied", p->applied);
    v->word(v->ctx, "snapshot_index", p->snapshot_index);
    v->word(v->ctx, "proposer", p->proposer);
    v->word(v->ctx, "slot", p->slot);
    v->word(v->ctx, "ballot", p->ballot);
    v->word(v->ctx, "base", p->slots.base);
    for (uint64_t n = p->slots.base + 1; n <= p->slots.top; n++) {
        const struct slot *slot = slots_get(&p->slots, n);
        if (!slot) continue;
        uint8_t kind;
        v->word(v->ctx, "slot", n);
        v->word(v->ctx, "slot_promised", slot->promised);
        v->word(v->ctx, "slot_ballot", slot->ballot);
        if (slot->ballot) v->word(v->ctx, "slot_hash", hash_bytes(slots_value(&p->slots, slot, &kind), kind));
    }
}

static const char *check(const void *state) {
    const struct paxos *p = state;
    if (p->applied > p->commit) return "applied <= commit";
    if (p->commit > p->slots.top) return "commit <= last slot";
    if (p->slots.base > p->applied) return "base <= applied";
    if (p->proposer >= PROPOSER_PREPARING && p->slot != p->commit + 1) return "proposes in the first slot not chosen";
    if (p->queue.batch_count > p->queue.count) return "batch <= queue";
    return NULL;
}

static uint32_t effects_needed(const struct config *c) {
    return 4 * c->limits.log_entries_max + c->limits.reads_max + 16u * c->nodes + 4 * PAXOS_BATCH_MAX;
}

static uint32_t scratch_needed(const struct config *c) {
    return (3u * c->nodes + 4) * c->limits.message_bytes_max + 4096;
}

const struct protocol paxos_protocol = {
    .name = "paxos",
    .doc = "Basic Paxos (Lamport 1998, 2001): no leader, every value through both phases, duelling proposers",
    .leaderless = true,
    .orders_all = true,
    .reads_known = 1u << PROTOCOL_READ_LOG | 1u << PROTOCOL_READ_INDEX | 1u << PROTOCOL_READ_LOCAL,
    .state_size = state_size,
    .effects_needed = effects_needed,
    .scratch_needed = scratch_needed,
    .start = start,
    .step = step,
    .probe = probe,
    .visit = visit,
    .check = check,
    .describe = paxos_describe,
};
