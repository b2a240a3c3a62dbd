/* What a replica lacks. Each tells the others how far it has executed, as far as its disk holds it; who is behind
 * fetches the commits, or, if they are forgotten, is offered a snapshot (snapshot.c). */
#include "targets/protocols/epaxos/epaxos_internal.h"

enum { FETCH_MESSAGES = 8 }; /* what one fetch brings, in largest messages */

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

/* --- the tick ----------------------------------------------------------------------------------------------------- */

void catchup_on_tick(struct epaxos *e, struct effects *fx) {
    e->ticks++;
    e->fetch_from++;
    send_state(e, fx);
    if (e->installing) return;
    if (e->receiving && e->now < e->receive_deadline_ns) {
        if (e->now - e->receive_asked_ns >= e->c.election_timeout_ns / 2) epaxos_ask_for_less(e, fx);
        return;
    }
    if (e->receiving) {
        e->receiving = false;
        execution_run(e, fx);
    }
    for (uint8_t r = 0; r < e->c.nodes; r++) fetch_row(e, r, fx);
}
