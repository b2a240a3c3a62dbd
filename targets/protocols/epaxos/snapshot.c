/* Snapshots: when one is due, sending one in bursts of chunks to who fetches what is forgotten, and receiving it. While
 * a replica receives one it executes nothing, and it tells what it has executed: a snapshot without some of that would
 * take it back. */
#include "targets/protocols/epaxos/epaxos_internal.h"

enum { CHUNK_FRAME = 96, WINDOW_MAX = 32 /* chunks under way at once */ };

/* Records kept behind a snapshot: others fetch what they tell, and a restart knows what interferes with what. */
uint64_t epaxos_keep_from(const struct epaxos *e) {
    uint64_t kept = e->c.limits.log_entries_max / 4;
    uint64_t from = e->log_last > kept ? e->log_last - kept + 1 : 1;
    return from > e->log_first ? from : e->log_first;
}

/* What is not in the snapshot must stay in the log, and what is above its frontier, for its attributes. */
void epaxos_rewrite_live(struct epaxos *e, uint64_t keep_from, struct effects *fx) {
    for (uint8_t r = 0; r < e->c.nodes; r++)
        for (uint32_t k = e->rows[r].frontier + 1; k <= e->rows[r].high; k++) {
            struct instance *i = epaxos_get(e, (struct epaxos_id){r, k});
            bool behind = i->record_index > 0 && i->record_index < keep_from;
            if (behind && !epaxos_is_lost(i)) epaxos_record(e, i, fx);
        }
}

/* What is executed and in no snapshot keeps its place: more than this many eighths of a row, half as many of the area
 * of commands. */
static bool is_crowded(const struct epaxos *e, uint32_t eighths) {
    if (e->executed_bytes > e->commands_capacity / 16 * eighths) return true;
    for (uint8_t r = 0; r < e->c.nodes; r++)
        if (e->rows[r].frontier - e->snapshot_frontier[r] > e->row_size / 8 * eighths) return true;
    return false;
}

void epaxos_maybe_snapshot(struct epaxos *e, struct effects *fx) {
    uint64_t since = e->applied - e->snapshot_index;
    if (e->c.snapshot_entries == 0 || e->snapshot_pending || e->installing || e->receiving || since == 0) return;
    /* A newer one would start a transfer anew: under load, for ever. */
    bool serves = e->now < e->serving_until_ns;
    bool due = e->snapshot_wanted || (since >= e->c.snapshot_entries && !serves) || is_crowded(e, serves ? 5 : 3);
    if (!due) return;
    e->snapshot_pending = true;
    e->snapshot_wanted = false;
    e->executed_bytes = 0;
    uint64_t keep_from = epaxos_keep_from(e);
    epaxos_rewrite_live(e, keep_from, fx);
    struct writer w = effects_scratch(fx);
    w.size = epaxos_header_encode(e, w.data, w.capacity);
    assert(w.size > 0);
    struct bytes header = effects_keep(&w, fx);
    for (uint8_t r = 0; r < e->c.nodes; r++) e->pending_frontier[r] = e->rows[r].frontier;
    e->log_first = keep_from;
    effect_snapshot_take(e->applied, 1, keep_from, fx)->bytes = header;
}

void epaxos_on_snapshot_taken(struct epaxos *e, uint64_t index, struct effects *fx) {
    e->snapshot_pending = false;
    if (index <= e->snapshot_index) return;
    e->snapshot_index = index;
    memcpy(e->snapshot_frontier, e->pending_frontier, sizeof e->snapshot_frontier);
    epaxos_maybe_snapshot(e, fx);
}

/* --- sending and receiving ---------------------------------------------------------------------------------------- */

static void request_chunk(struct epaxos *e, struct effects *fx) {
    struct epaxos_message m = {.kind = EPAXOS_SNAPSHOT_REQUEST,
                               .index = e->receiver.index,
                               .offset = e->receiver.offset,
                               .count = e->receive_window};
    for (uint8_t r = 0; r < e->c.nodes; r++) m.vector[r] = e->rows[r].ceiling;
    e->receive_asked_ns = e->now;
    epaxos_send(e, e->receive_from, &m, 0, fx);
}

void epaxos_ask_for_less(struct epaxos *e, struct effects *fx) {
    e->receive_window = 1;
    request_chunk(e, fx);
}

void epaxos_on_offer(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
    (void)m;
    if (e->receiving || e->installing) return;
    e->receiving = true;
    e->receive_from = from;
    e->receiver = (struct receiver){0};
    e->receive_window = 1;
    e->receive_deadline_ns = e->now + 2 * e->c.election_timeout_ns;
    request_chunk(e, fx);
}

/* `left`: how many more come without being asked for. Returns the size of what was sent. */
static size_t send_chunk(struct epaxos *e, uint8_t to, uint64_t offset, uint32_t left, struct effects *fx) {
    struct epaxos_message chunk = {
        .kind = EPAXOS_SNAPSHOT_CHUNK, .index = fx->snapshot_index, .offset = offset, .count = left};
    chunk.data = chunk_at(fx, offset, e->c.limits.message_bytes_max - CHUNK_FRAME, &chunk.last);
    memcpy(chunk.vector, e->snapshot_frontier, sizeof chunk.vector);
    epaxos_send(e, to, &chunk, 0, fx);
    return chunk.data.size;
}

void epaxos_on_request(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
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

void epaxos_on_chunk(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
    if (!e->receiving || e->installing || from != e->receive_from) return;
    for (uint8_t r = 0; r < e->c.nodes; r++)
        if (m->vector[r] < e->rows[r].ceiling) return; /* an answer to what was asked before more was executed */
    if (m->index <= e->applied) return;
    if (m->offset == 0) {
        if (e->receiver.index == m->index && e->receiver.offset > 0) return; /* twice */
    } else if (m->index != e->receiver.index) {
        return;
    }
    bool gap = m->index == e->receiver.index && m->offset > e->receiver.offset;
    if (gap && e->receive_window > 1) epaxos_ask_for_less(e, fx);
    if (chunk_judge(&e->receiver, m->index, 1, m->offset, m->data.size) != CHUNK_WANTED) return;
    uint64_t keep_from = epaxos_keep_from(e);
    if (m->last) epaxos_rewrite_live(e, keep_from, fx);
    chunk_take(&e->receiver, m->data, m->last, fx)->token = keep_from;
    e->receive_asked_ns = e->now;
    e->receive_deadline_ns = e->now + 2 * e->c.election_timeout_ns;
    if (m->last) {
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
    if (i->token) effect_respond(i->token, STATUS_UNKNOWN, NODE_NONE, fx);
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
void epaxos_take_over(struct epaxos *e, uint64_t index, const struct epaxos_header *h, struct effects *fx) {
    e->applied = e->snapshot_index = index;
    for (uint8_t r = 0; r < e->c.nodes; r++) {
        e->snapshot_frontier[r] = h->frontier[r];
        skip_row(e, r, h->frontier[r], fx);
        skip_above(e, r, h, fx);
        execution_advance(e, r);
    }
}

void epaxos_on_installed(struct epaxos *e, uint64_t index, struct bytes bytes, struct effects *fx) {
    struct epaxos_header h;
    e->installing = false;
    if (!epaxos_header_decode(bytes, e->c.nodes, &h)) {
        effect_fatal("a snapshot from another replica has no header", fx);
        return;
    }
    epaxos_take_over(e, index, &h, fx);
    execution_run(e, fx);
}
