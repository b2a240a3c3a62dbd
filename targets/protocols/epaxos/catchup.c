/* What a replica lacks. Each tells the others how far it has executed, as far as its disk holds it; who is behind
 * fetches the commits, or, if they are forgotten, a snapshot, chunk by chunk, from whoever said so. While it receives
 * one it executes nothing, and it tells what it has executed: a snapshot without some of that would take it back. */
#include "targets/protocols/epaxos/epaxos_internal.h"

enum {
    CHUNK_FRAME = 96,
    FETCH_MESSAGES = 8, /* what one fetch brings, in largest messages */
    WINDOW_MAX = 32,    /* chunks under way at once */
};

/* --- state -------------------------------------------------------------------------------------------------------- */

static void send_state(struct epaxos *e, struct effects *fx) {
    struct epaxos_message m = {.kind = EPAXOS_STATE};
    bool news = e->ticks % STATE_EVERY_TICKS == 0;
    for (uint8_t r = 0; r < e->c.nodes; r++) {
        m.vector[r] = e->rows[r].frontier;
        m.floor[r] = e->rows[r].floor;
        news |= e->sent_frontier[r] != m.vector[r];
        e->sent_frontier[r] = m.vector[r];
    }
    if (news) epaxos_send_masked(e, epaxos_others(e), &m, fx->written, fx);
}

void catchup_on_state(struct epaxos *e, uint8_t from, const struct epaxos_message *m) {
    for (uint8_t r = 0; r < e->c.nodes; r++) {
        if (e->peer_frontier[from][r] < m->vector[r]) e->peer_frontier[from][r] = m->vector[r];
        if (e->peer_floor[r] < m->floor[r]) e->peer_floor[r] = m->floor[r];
        if (m->vector[r] > e->rows[r].high) epaxos_open(e, (struct epaxos_id){r, m->vector[r]});
    }
}

/* --- fetch -------------------------------------------------------------------------------------------------------- */

static void fetch_row(struct epaxos *e, uint8_t replica, struct effects *fx) {
    for (uint8_t k = 0; k < e->c.nodes; k++) {
        uint8_t q = (uint8_t)((e->fetch_from + k) % e->c.nodes);
        uint32_t has = e->peer_frontier[q][replica], first = e->rows[replica].committed + 1;
        if (q == e->c.self || has < first) continue;
        struct epaxos_message m = {.kind = EPAXOS_FETCH, .id = {replica, first}, .count = has - first + 1};
        epaxos_send(e, q, &m, 0, fx);
        return;
    }
}

/* Who has not executed it may know that it is committed. */
void catchup_ask_all(struct epaxos *e, struct epaxos_id id, struct effects *fx) {
    struct epaxos_message m = {.kind = EPAXOS_FETCH, .id = id, .count = 1};
    epaxos_send_masked(e, epaxos_others(e), &m, 0, fx);
}

void catchup_on_fetch(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
    size_t room = FETCH_MESSAGES * (size_t)e->c.limits.message_bytes_max;
    for (uint32_t k = 0; k < m->count && k < FETCH_MAX; k++) {
        struct epaxos_id id = {m->id.replica, m->id.number + k};
        const struct row *row = &e->rows[id.replica];
        const struct instance *i = epaxos_get(e, id);
        bool forgotten = id.number < row->base || (i && epaxos_is_lost(i));
        if (forgotten) {
            struct epaxos_message offer = {.kind = EPAXOS_SNAPSHOT_OFFER, .index = fx->snapshot_index};
            epaxos_send(e, from, &offer, 0, fx);
            return;
        }
        if (!i) return;
        if (!epaxos_is_committed(e, i)) continue;
        size_t size = i->command_size + (size_t)e->c.limits.message_bytes_max / 8;
        if (size > room) return;
        room -= size;
        commit_send(e, (uint16_t)(1u << from), i, fx);
    }
}

/* --- snapshots ---------------------------------------------------------------------------------------------------- */

static void request_chunk(struct epaxos *e, struct effects *fx) {
    struct epaxos_message m = {.kind = EPAXOS_SNAPSHOT_REQUEST,
                               .index = e->receive_index,
                               .offset = e->receive_offset,
                               .count = e->receive_window};
    for (uint8_t r = 0; r < e->c.nodes; r++) m.vector[r] = e->rows[r].ceiling;
    e->receive_asked_ns = e->now;
    epaxos_send(e, e->receive_from, &m, 0, fx);
}

/* A chunk is missing: lost, or overtaken. Of what comes behind it nothing can be used. */
static void ask_for_less(struct epaxos *e, struct effects *fx) {
    e->receive_window = 1;
    request_chunk(e, fx);
}

void catchup_on_offer(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
    (void)m;
    if (e->receiving || e->installing) return;
    e->receiving = true;
    e->receive_from = from;
    e->receive_index = e->receive_offset = 0;
    e->receive_window = 1;
    e->receive_deadline_ns = e->now + 2 * e->c.election_timeout_ns;
    request_chunk(e, fx);
}

/* `left`: how many more come without being asked for. Returns the size of what was sent. */
static size_t send_chunk(struct epaxos *e, uint8_t to, uint64_t offset, uint32_t left, struct effects *fx) {
    size_t rest = fx->snapshot.size - (size_t)offset, most = e->c.limits.message_bytes_max - CHUNK_FRAME;
    struct epaxos_message chunk = {.kind = EPAXOS_SNAPSHOT_CHUNK,
                                   .index = fx->snapshot_index,
                                   .offset = offset,
                                   .count = left,
                                   .last = rest <= most,
                                   .data = bytes_of(fx->snapshot.data + offset, rest < most ? rest : most)};
    memcpy(chunk.vector, e->snapshot_frontier, sizeof chunk.vector);
    epaxos_send(e, to, &chunk, 0, fx);
    return chunk.data.size;
}

void catchup_on_request(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
    bool reaches = fx->snapshot.size > 0, beyond = false;
    for (uint8_t r = 0; r < e->c.nodes; r++) {
        reaches = reaches && e->snapshot_frontier[r] >= m->vector[r];
        beyond = beyond || e->snapshot_frontier[r] > e->peer_frontier[from][r];
    }
    if (!reaches || !beyond) { /* a newer one will do, once it reaches as far as the other has executed */
        for (uint8_t r = 0; r < e->c.nodes; r++)
            if (e->rows[r].frontier < m->vector[r]) return;
        e->snapshot_wanted = true;
        epaxos_maybe_snapshot(e, fx);
        return;
    }
    e->serving_until_ns = e->now + e->c.election_timeout_ns;
    uint64_t offset = m->index == fx->snapshot_index ? m->offset : 0;
    for (uint32_t left = m->count < WINDOW_MAX ? m->count : WINDOW_MAX; left > 0 && offset < fx->snapshot.size; left--)
        offset += send_chunk(e, from, offset, left - 1, fx);
}

void catchup_on_chunk(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
    if (!e->receiving || e->installing || from != e->receive_from) return;
    for (uint8_t r = 0; r < e->c.nodes; r++)
        if (m->vector[r] < e->rows[r].ceiling) return; /* an answer to what was asked before more was executed */
    if (m->index <= e->applied) return;
    if (m->offset == 0) {
        if (e->receive_index == m->index && e->receive_offset > 0) return; /* twice */
        e->receive_index = m->index;
        e->receive_offset = 0;
    }
    if (m->index != e->receive_index) return;
    if (m->offset > e->receive_offset && e->receive_window > 1) ask_for_less(e, fx);
    if (m->offset != e->receive_offset) return;
    if (m->offset + m->data.size > PROTOCOL_SNAPSHOT_BYTES_MAX) return;
    uint64_t keep_from = epaxos_keep_from(e);
    if (m->last) epaxos_rewrite_live(e, keep_from, fx);
    struct effect *effect = effect_add(fx, EFFECT_SNAPSHOT_RECEIVE);
    effect->index = m->index;
    effect->term = 1;
    effect->offset = m->offset;
    effect->bytes = m->data;
    effect->last = m->last;
    effect->token = keep_from;
    e->receive_offset += m->data.size;
    e->receive_asked_ns = e->now;
    e->receive_deadline_ns = e->now + 2 * e->c.election_timeout_ns;
    if (m->last) {
        effect->written = ++fx->written;
        e->log_first = keep_from;
        e->receiving = false;
        e->installing = true;
    } else if (m->count == 0) {
        if (e->receive_window < WINDOW_MAX) e->receive_window *= 2;
        request_chunk(e, fx);
    }
}

/* Executed by way of the snapshot: what became of a command that waits here is not known. */
static void skip(struct epaxos *e, struct instance *i, struct effects *fx) {
    if (i->status == EPAXOS_EXECUTED) return;
    if (i->token) epaxos_respond(i->token, STATUS_UNKNOWN, fx);
    i->token = 0;
    i->p.phase = PHASE_IDLE;
    epaxos_delist(e, i->status == EPAXOS_COMMITTED ? &e->waiting : &e->open, i);
    if (i->status != EPAXOS_COMMITTED) {
        epaxos_forget(e, i);
        i->entry_kind = ENTRY_COMMAND;
    }
    i->commit_written = 0;
    i->status = EPAXOS_EXECUTED;
}

static void skip_row(struct epaxos *e, uint8_t r, uint32_t frontier, struct effects *fx) {
    struct row *row = &e->rows[r];
    for (uint32_t k = row->frontier + 1; k <= frontier && k <= row->high; k++)
        skip(e, epaxos_get(e, (struct epaxos_id){r, k}), fx);
    if (frontier > row->high) {
        for (uint32_t k = row->base; k <= row->high; k++) epaxos_forget(e, epaxos_get(e, (struct epaxos_id){r, k}));
        row->base = frontier + 1;
        row->high = row->committed = frontier;
    }
    if (row->frontier < frontier) row->frontier = frontier;
    if (row->committed < frontier) row->committed = frontier;
    if (row->ceiling < frontier) row->ceiling = frontier;
    if (row->floor < frontier) row->floor = frontier;
}

static void skip_above(struct epaxos *e, uint8_t r, const struct epaxos_header *h, struct effects *fx) {
    struct row *row = &e->rows[r];
    for (uint32_t bit = 0; bit < h->above_bytes[r] * 8; bit++) {
        if (!(h->above[r][bit / 8] >> bit % 8 & 1)) continue;
        uint32_t number = h->frontier[r] + 1 + bit;
        struct instance *i = epaxos_open(e, (struct epaxos_id){r, number});
        assert(i || number < row->base);
        if (!i) continue; /* executed here, and forgotten */
        skip(e, i, fx);
        if (row->ceiling < number) row->ceiling = number;
        if (row->floor < number) row->floor = number;
    }
}

/* Makes the state machine's present state, which is that of a snapshot with this header, known here. */
void catchup_take_over(struct epaxos *e, uint64_t index, const struct epaxos_header *h, struct effects *fx) {
    e->applied = e->snapshot_index = index;
    for (uint8_t r = 0; r < e->c.nodes; r++) {
        e->snapshot_frontier[r] = h->frontier[r];
        skip_row(e, r, h->frontier[r], fx);
        skip_above(e, r, h, fx);
        execution_advance(e, r);
    }
}

void catchup_on_installed(struct epaxos *e, uint64_t index, struct bytes bytes, struct effects *fx) {
    struct epaxos_header h;
    e->installing = false;
    if (!epaxos_header_decode(bytes, e->c.nodes, &h)) {
        effect_add(fx, EFFECT_FATAL)->reason = "a snapshot from another replica has no header";
        return;
    }
    catchup_take_over(e, index, &h, fx);
    execution_run(e, fx);
}

/* --- the tick ----------------------------------------------------------------------------------------------------- */

void catchup_on_tick(struct epaxos *e, struct effects *fx) {
    e->ticks++;
    e->fetch_from++;
    send_state(e, fx);
    if (e->installing) return;
    if (e->receiving && e->now < e->receive_deadline_ns) {
        if (e->now - e->receive_asked_ns >= e->c.election_timeout_ns / 2) ask_for_less(e, fx);
        return;
    }
    if (e->receiving) {
        e->receiving = false;
        execution_run(e, fx);
    }
    for (uint8_t r = 0; r < e->c.nodes; r++) fetch_row(e, r, fx);
}
