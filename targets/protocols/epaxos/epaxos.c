/* epaxos: starting and stepping a replica, its one timer, and what it tells of itself. */
#include "targets/protocols/epaxos/epaxos_internal.h"

/* --- effects ------------------------------------------------------------------------------------------------------ */

void epaxos_send_masked(struct epaxos *e, uint16_t to, const struct epaxos_message *m, uint64_t barrier,
                        struct effects *fx) {
    if (!to) return;
    struct writer w = effects_scratch(fx);
    w.size = epaxos_message_encode(m, e->c.nodes, w.data, w.capacity);
    assert(w.size > 0);
    struct bytes bytes = effects_keep(&w, fx);
    for (uint8_t q = 0; q < e->c.nodes; q++)
        if (to >> q & 1) effect_send(q, m->kind, bytes, barrier, fx);
}

void epaxos_send(struct epaxos *e, uint8_t to, const struct epaxos_message *m, uint64_t barrier, struct effects *fx) {
    epaxos_send_masked(e, (uint16_t)(1u << to), m, barrier, fx);
}

/* Who drives an instance sends again after half a timeout; who does not waits one to two, doubled with every recovery
 * that came to nothing, so that one of several that recover the same gets through. */
void epaxos_set_due(struct epaxos *e, struct instance *i) {
    uint64_t timeout = e->c.election_timeout_ns;
    uint32_t doublings = i->attempts < ATTEMPTS_MAX ? i->attempts : ATTEMPTS_MAX;
    bool drives = i->p.phase != PHASE_IDLE;
    i->due_ns = e->now + (drives ? timeout / 2 : (timeout + prng_below(&e->prng, timeout)) << (doublings / 2));
}

/* --- the tick ----------------------------------------------------------------------------------------------------- */

static bool executed_elsewhere(const struct epaxos *e, struct epaxos_id id) {
    for (uint8_t q = 0; q < e->c.nodes; q++)
        if (e->peer_frontier[q][id.replica] >= id.number) return true;
    return false;
}

static bool work_on(struct epaxos *e, struct instance *i, struct effects *fx) {
    if (i->status >= EPAXOS_COMMITTED || i->due_ns > e->now) return false;
    if (i->p.phase == PHASE_PREACCEPT || i->p.phase == PHASE_ACCEPT) {
        commit_on_due(e, i, fx);
    } else if (i->attempts == 0 && executed_elsewhere(e, i->id)) {
        i->attempts = 1; /* who has executed it may have forgotten it; then only a recovery or a snapshot helps */
        epaxos_set_due(e, i);
        catchup_ask_all(e, i->id, fx);
    } else {
        recovery_on_due(e, i, fx);
    }
    return true;
}

static void on_tick(struct epaxos *e, struct effects *fx) {
    effect_timer(EPAXOS_TIMER_TICK, e->c.heartbeat_ns, fx);
    catchup_on_tick(e, fx);
    uint32_t work = 0;
    for (uint32_t slot = e->open.first; slot != NO_SLOT && work < TICK_WORK_MAX;) {
        struct instance *i = &e->instances[slot];
        slot = i->list_next;
        if (!work_on(e, i, fx)) continue;
        work++;
        if (slot != NO_SLOT && e->instances[slot].status >= EPAXOS_COMMITTED) break; /* the list has moved on */
    }
}

/* --- step --------------------------------------------------------------------------------------------------------- */

static void on_message(struct epaxos *e, uint8_t from, struct bytes bytes, struct effects *fx) {
    struct epaxos_message m;
    if (from >= e->c.nodes || from == e->c.self) return;
    if (!epaxos_message_decode(bytes, e->c.nodes, &m)) {
        e->refused_messages++;
        e->refused_from = from;
        return;
    }
    switch ((enum epaxos_message_kind)m.kind) {
    case EPAXOS_PREACCEPT: commit_on_preaccept(e, from, &m, fx); break;
    case EPAXOS_PREACCEPT_REPLY: commit_on_preaccept_reply(e, from, &m, fx); break;
    case EPAXOS_ACCEPT: commit_on_accept(e, from, &m, fx); break;
    case EPAXOS_ACCEPT_REPLY: commit_on_accept_reply(e, from, &m, fx); break;
    case EPAXOS_COMMIT: commit_on_commit(e, &m, fx); break;
    case EPAXOS_PREPARE: recovery_on_prepare(e, from, &m, fx); break;
    case EPAXOS_PREPARE_REPLY: recovery_on_prepare_reply(e, from, &m, fx); break;
    case EPAXOS_TRY_PREACCEPT: recovery_on_try(e, from, &m, fx); break;
    case EPAXOS_TRY_PREACCEPT_REPLY: recovery_on_try_reply(e, from, &m, fx); break;
    case EPAXOS_WAITING: recovery_on_waiting(e, &m); break;
    case EPAXOS_STATE: catchup_on_state(e, from, &m); break;
    case EPAXOS_FETCH: catchup_on_fetch(e, from, &m, fx); break;
    case EPAXOS_SNAPSHOT_OFFER: epaxos_on_offer(e, from, &m, fx); break;
    case EPAXOS_SNAPSHOT_REQUEST: epaxos_on_request(e, from, &m, fx); break;
    case EPAXOS_SNAPSHOT_CHUNK: epaxos_on_chunk(e, from, &m, fx); break;
    case EPAXOS_KIND_END: break;
    }
}

static void on_persisted(struct epaxos *e, uint64_t written, struct effects *fx) {
    bool commits = e->last_commit_written > e->durable_written;
    e->durable_written = written;
    if (!commits) return;
    execution_advance(e, e->c.self);
    execution_run(e, fx);
}

static void step(void *state, const struct event *ev, struct effects *fx) {
    struct epaxos *e = state;
    assert(ev->now_ns >= e->now);
    e->now = ev->now_ns;
    epaxos_tidy(e);
    switch (ev->kind) {
    case EVENT_MESSAGE: on_message(e, ev->message.from, ev->message.bytes, fx); break;
    case EVENT_TIMER: on_tick(e, fx); break;
    case EVENT_PROPOSE:
        if (!commit_lead(e, ev->propose.token, ev->propose.command, fx))
            effect_respond(ev->propose.token, STATUS_BUSY, NODE_NONE, fx);
        break;
    case EVENT_READ: effect_respond(ev->read.token, STATUS_BUSY, NODE_NONE, fx); break; /* reads are commands here */
    case EVENT_PERSISTED: on_persisted(e, ev->persisted.written, fx); break;
    case EVENT_SNAPSHOT_TAKEN: epaxos_on_snapshot_taken(e, ev->snapshot.index, fx); break;
    case EVENT_SNAPSHOT_INSTALLED: epaxos_on_installed(e, ev->snapshot.index, ev->snapshot.header, fx); break;
    case EVENT_TRANSFER:
    case EVENT_RECONFIGURE: break;
    }
}

/* --- start -------------------------------------------------------------------------------------------------------- */

static size_t state_size(const struct config *c) {
    return sizeof(struct epaxos) + epaxos_log_memory(c);
}

/* Where each row begins: at the first number that the log still tells of, as far as there is room. */
static void place_rows(struct epaxos *e, const struct durable *d, const struct epaxos_header *h) {
    uint32_t first[PROTOCOL_NODES_MAX] = {0}, last[PROTOCOL_NODES_MAX] = {0};
    for (size_t k = 0; k < d->entries_count; k++) {
        struct epaxos_record rec;
        bool well = epaxos_record_decode(d->entries[k].payload, e->c.nodes, &rec);
        assert(well);
        (void)well;
        uint8_t r = rec.id.replica;
        if (first[r] == 0 || rec.id.number < first[r]) first[r] = rec.id.number;
        if (rec.id.number > last[r]) last[r] = rec.id.number;
    }
    for (uint8_t r = 0; r < e->c.nodes; r++) {
        struct row *row = &e->rows[r];
        uint32_t high = last[r] > h->frontier[r] ? last[r] : h->frontier[r];
        for (uint32_t bit = 0; bit < h->above_bytes[r] * 8; bit++)
            if ((h->above[r][bit / 8] >> bit % 8 & 1) && high < h->frontier[r] + 1 + bit)
                high = h->frontier[r] + 1 + bit;
        uint32_t base = first[r] && first[r] <= h->frontier[r] ? first[r] : h->frontier[r] + 1;
        if (high >= e->row_size && base < high - e->row_size + 1) base = high - e->row_size + 1;
        row->base = base;
        row->high = base - 1;
        row->frontier = row->committed = row->ceiling = base - 1;
        row->floor = base - 1;
        if (high >= base) epaxos_open(e, (struct epaxos_id){r, high});
    }
}

static bool is_in(const struct epaxos_header *h, struct epaxos_id id) {
    if (id.number <= h->frontier[id.replica]) return true;
    uint32_t bit = id.number - h->frontier[id.replica] - 1;
    return bit / 8 < h->above_bytes[id.replica] && (h->above[id.replica][bit / 8] >> bit % 8 & 1);
}

static void restore(struct epaxos *e, const struct durable *d, const struct epaxos_header *h, bool in_snapshot) {
    for (size_t k = 0; k < d->entries_count; k++) {
        struct epaxos_record rec;
        if (!epaxos_record_decode(d->entries[k].payload, e->c.nodes, &rec)) continue;
        if (is_in(h, rec.id) == in_snapshot) epaxos_restore_record(e, &rec, in_snapshot, d->entries[k].index);
    }
}

/* Attributes that are nowhere any more: all that is new depends on those instances. */
static void raise_floor(struct epaxos *e, struct row *row, struct instance *i) {
    if (epaxos_is_lost(i) && row->floor < i->id.number) row->floor = i->id.number;
    epaxos_touch(e, i);
}

static void recover(struct epaxos *e, const struct durable *d, struct effects *fx) {
    struct epaxos_header h = {0};
    if (d->snapshot_index) {
        bool well = epaxos_header_decode(d->snapshot_header, e->c.nodes, &h);
        assert(well);
        (void)well;
    }
    memcpy(e->snapshot_frontier, h.frontier, sizeof e->snapshot_frontier);
    place_rows(e, d, &h);
    restore(e, d, &h, false);
    restore(e, d, &h, true);
    for (uint32_t slot = e->open.first; slot != NO_SLOT;) {
        struct instance *i = &e->instances[slot];
        slot = i->list_next;
        if (i->status != EPAXOS_COMMITTED) continue;
        epaxos_delist(e, &e->open, i);
        epaxos_enlist(e, &e->waiting, i);
    }
    epaxos_take_over(e, d->snapshot_index, &h, fx);
    for (uint8_t r = 0; r < e->c.nodes; r++) {
        struct row *row = &e->rows[r];
        row->floor = row->base - 1;
        for (uint32_t k = row->base; k <= row->high; k++) raise_floor(e, row, epaxos_get(e, (struct epaxos_id){r, k}));
        execution_advance(e, r);
    }
    e->log_first = d->entries_count ? d->entries[0].index : 1;
    e->log_last = d->entries_count ? d->entries[d->entries_count - 1].index : 0;
}

static void start(void *state, const struct config *c, const struct durable *d, uint64_t now_ns, struct effects *fx) {
    struct epaxos *e = state;
    assert(c->nodes >= 1 && c->nodes <= PROTOCOL_NODES_MAX && c->self < c->nodes && c->footprint);
    memset(e, 0, sizeof *e);
    e->c = *c;
    e->rules = c->rules ? c->rules : &epaxos_rules_correct;
    e->now = now_ns;
    prng_seed(&e->prng, c->seed, now_ns);
    epaxos_log_init(e, (uint8_t *)state + ((sizeof *e + 15) & ~(size_t)15));
    recover(e, d, fx);
    effect_role(PROTOCOL_PEER, 0, fx);
    effect_timer(EPAXOS_TIMER_TICK, e->c.heartbeat_ns, fx);
    execution_run(e, fx);
}

/* --- what it tells of itself -------------------------------------------------------------------------------------- */

/* Positions are counts: of the instances known, committed, and executed here. */
static void probe(const void *state, struct probe *out) {
    const struct epaxos *e = state;
    uint64_t known = e->applied + e->open.count + e->waiting.count;
    *out = (struct probe){.role = PROTOCOL_PEER,
                          .vote = NODE_NONE,
                          .leader = NODE_NONE,
                          .first_index = 1,
                          .last_index = known,
                          .commit_index = e->applied + e->waiting.count,
                          .applied_index = e->applied,
                          .durable_index = known,
                          .fast_commits = e->fast_commits,
                          .slow_commits = e->slow_commits,
                          .refused_messages = e->refused_messages,
                          .refused_from = e->refused_from};
}

static void visit(const void *state, const struct visitor *v) {
    const struct epaxos *e = state;
    v->word(v->ctx, "applied", e->applied);
    v->word(v->ctx, "snapshot_index", e->snapshot_index);
    v->word(v->ctx, "log_last", e->log_last);
    for (uint8_t r = 0; r < e->c.nodes; r++) {
        const struct row *row = &e->rows[r];
        v->word(v->ctx, "base", row->base);
        v->word(v->ctx, "high", row->high);
        v->word(v->ctx, "frontier", row->frontier);
        v->word(v->ctx, "committed", row->committed);
        v->word(v->ctx, "floor", row->floor);
        for (uint32_t k = row->frontier + 1; k <= row->high; k++) {
            const struct instance *i = epaxos_get(e, (struct epaxos_id){r, k});
            v->word(v->ctx, "status", i->status);
            v->word(v->ctx, "promised", i->promised);
            v->word(v->ctx, "accepted", i->accepted);
            v->word(v->ctx, "seq", i->at.seq);
            for (uint8_t q = 0; q < e->c.nodes; q++) v->word(v->ctx, "dependency", i->at.deps[q]);
            v->word(v->ctx, "command_hash", hash_bytes(epaxos_command(e, i), 0));
        }
    }
}

static const char *check(const void *state) {
    const struct epaxos *e = state;
    uint64_t known = 0;
    for (uint8_t r = 0; r < e->c.nodes; r++) {
        const struct row *row = &e->rows[r];
        if (row->frontier > row->committed) return "executed <= committed";
        if (row->committed > row->high) return "committed <= highest instance";
        if (row->base > row->frontier + 1) return "only what is executed is forgotten";
        if (row->high + 1 - row->base > e->row_size) return "a row has a place for each instance";
        if (row->floor > row->ceiling) return "only what is executed is a floor";
        known += row->high;
    }
    if (known != e->applied + e->open.count + e->waiting.count) return "what is known is executed, committed or open";
    return NULL;
}

static uint32_t effects_needed(const struct config *c) {
    return 3 * c->limits.log_entries_max + (TICK_WORK_MAX + FETCH_MAX + 16) * (uint32_t)(c->nodes + 2);
}

static uint32_t scratch_needed(const struct config *c) {
    uint32_t records = c->limits.log_entries_max * (uint32_t)epaxos_record_overhead(c->nodes) + c->limits.log_bytes_max;
    return records + (2u * TICK_WORK_MAX + FETCH_MAX + 16) * (c->limits.message_bytes_max + 256) + 65536;
}

const struct protocol epaxos_protocol = {
    .name = "epaxos",
    .doc = "Egalitarian Paxos (Moraru et al. 2013) with the recovery of Ryabinin et al. 2025; reads are commands",
    .leaderless = true,
    .reads_known = 1u << PROTOCOL_READ_LOG,
    .state_size = state_size,
    .effects_needed = effects_needed,
    .scratch_needed = scratch_needed,
    .start = start,
    .step = step,
    .probe = probe,
    .visit = visit,
    .check = check,
    .describe = epaxos_message_describe,
};
