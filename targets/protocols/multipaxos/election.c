/* Electing a leader is phase 1, both sides (Lamport 2001, section 2.2; over all slots at once: 1998, section 3.1, and
 * 2001, section 3): who hears no leader for a random time asks first whether it could lead (the canvass), then prepares
 * a ballot of its own. An acceptor tells what it has accepted, page by page; the value of the highest ballot is what a
 * new leader proposes again, and where nothing was found a no-op. */
#include "targets/protocols/multipaxos/multipaxos_internal.h"

static void arm(struct multipaxos *p, struct effects *fx) {
    p->election_armed_ns = p->election_deadline_ns;
    effect_timer(TIMER_ELECTION, p->election_deadline_ns - p->now, fx);
}

void mp_reset_election_timer(struct multipaxos *p, struct effects *fx) {
    uint64_t timeout = p->c.election_timeout_ns;
    p->election_deadline_ns = p->now + timeout + prng_below(&p->prng, timeout);
    /* A timer that fires early is set again for the rest: cheaper than moving it at every heartbeat. */
    if (p->election_armed_ns && p->election_armed_ns <= p->election_deadline_ns) return;
    arm(p, fx);
}

static void ask_for_promises(struct multipaxos *p, uint64_t ballot, struct effects *fx) {
    struct multipaxos_message m = {.kind = MULTIPAXOS_PREPARE,
                                   .canvass = p->canvassing,
                                   .handover = p->handover_campaign,
                                   .ballot = ballot,
                                   .slot = p->commit + 1};
    for (uint8_t to = 0; to < p->c.nodes; to++)
        if (to != p->c.self) mp_send(p, to, &m, 0, fx);
}

static uint64_t next_ballot(const struct multipaxos *p) {
    return p->rules->ballot(ballot_round(p->seen) + 1, p->c.self);
}

/* Proposes a slot again under the new ballot: what phase 1 has found, or else what is accepted here, which is still the
 * value that its request waits for, or else a no-op. */
static bool propose_again(struct multipaxos *p, uint64_t number, struct effects *fx) {
    const struct slot *slot = slots_get(&p->slots, number);
    uint8_t kind = ENTRY_NOOP;
    struct bytes value = {0};
    bool found = slot && slot->found_for == p->promised && slot->found_place;
    if (found)
        value = slots_found(&p->slots, slot, &kind);
    else if (slot && slot->ballot)
        value = slots_value(&p->slots, slot, &kind);
    else if (!p->rules->fills_gaps())
        return true;
    p->pending_bytes += value.size;
    if (slot && slot->ballot && !found) return slots_accept(&p->slots, number, p->promised, kind, value, fx) != NULL;
    return mp_accept(p, number, p->promised, kind, value, fx);
}

static bool take_over(struct multipaxos *p, struct effects *fx) {
    p->pending_bytes = 0;
    for (uint64_t n = p->commit + 1; n <= p->found_top; n++)
        if (!propose_again(p, n, fx)) return false;
    return true;
}

static void count_promises(struct multipaxos *p, struct effects *fx) {
    if (members_of(p->promises) < p->rules->prepare_quorum(p->c.nodes)) return;
    if (p->canvassing) {
        mp_campaign(p, false, fx);
        return;
    }
    p->leader = p->c.self;
    if (!take_over(p, fx)) { /* no room: leading is impossible, make room for another */
        mp_become_follower(p, NODE_NONE, fx);
        return;
    }
    mp_set_role(p, PROTOCOL_LEADER, fx);
    mp_lead(p, fx);
}

/* Asks whether a quorum would promise, without raising anyone's ballot. */
static void canvass(struct multipaxos *p, struct effects *fx) {
    p->canvassing = true;
    p->handover_campaign = false;
    p->leader = NODE_NONE;
    p->self_promise_written = 0;
    if (p->role != PROTOCOL_CANDIDATE) mp_set_role(p, PROTOCOL_CANDIDATE, fx);
    p->promises = 1u << p->c.self;
    ask_for_promises(p, next_ballot(p), fx);
    mp_reset_election_timer(p, fx);
    count_promises(p, fx);
}

void mp_campaign(struct multipaxos *p, bool handover, struct effects *fx) {
    p->canvassing = false;
    p->handover_campaign = handover;
    p->leader = NODE_NONE;
    mp_promise(p, next_ballot(p), fx);
    mp_set_role(p, PROTOCOL_CANDIDATE, fx);
    p->promises = 0;
    p->found_top = p->slots.top;
    p->self_promise_written = p->meta_written; /* its own promise counts when it is durable, like any other */
    ask_for_promises(p, p->promised, fx);
    mp_reset_election_timer(p, fx);
}

void mp_on_own_promise(struct multipaxos *p, struct effects *fx) {
    p->self_promise_written = 0;
    if (p->role != PROTOCOL_CANDIDATE || p->canvassing) return;
    p->promises |= 1u << p->c.self;
    count_promises(p, fx);
}

void mp_on_election_timer(struct multipaxos *p, struct effects *fx) {
    p->election_armed_ns = 0;
    if (p->role == PROTOCOL_LEADER) return; /* the check of the quorum takes over; stepping down sets the timer again */
    if (p->now < p->election_deadline_ns)
        arm(p, fx);
    else if (p->installing)
        mp_reset_election_timer(p, fx);
    else
        canvass(p, fx);
}

/* Who heard a leader within the minimum election timeout helps nobody to depose it; lease reads rest on this. */
static bool sticks_to_leader(const struct multipaxos *p, uint8_t candidate) {
    if (p->role == PROTOCOL_LEADER) return true;
    if (p->leader == candidate) return false; /* the known leader asks: it has stepped down */
    return p->now - p->contact_ns < p->c.election_timeout_ns;
}

/* A page of what is accepted from the asked-for slot on, as far as it fits. */
static void promise_page(struct multipaxos *p, uint8_t to, uint64_t from, struct effects *fx) {
    struct multipaxos_message reply = {
        .kind = MULTIPAXOS_PROMISE, .success = true, .ballot = p->promised, .slot = from};
    uint32_t half = p->c.limits.message_bytes_max;
    struct writer w = {.data = fx->scratch + fx->scratch_size + half, .capacity = half - MESSAGE_FRAME_BYTES};
    for (uint64_t n = from; n <= p->slots.top; n++) {
        const struct slot *slot = slots_get(&p->slots, n);
        if (!slot || slot->ballot == 0) continue;
        struct multipaxos_entry e = {.slot = n, .ballot = slot->ballot};
        e.value = slots_value(&p->slots, slot, &e.kind);
        size_t before = w.size;
        multipaxos_entry_write(&w, MULTIPAXOS_PROMISE, &e);
        if (w.failed) {
            w.size = before;
            reply.index = n;
            break;
        }
        reply.entries++;
    }
    reply.data = bytes_of(w.data, w.size);
    mp_send(p, to, &reply, 0, fx);
}

static void refuse_promise(struct multipaxos *p, uint8_t to, const struct multipaxos_message *m, struct effects *fx) {
    struct multipaxos_message reply = {.kind = MULTIPAXOS_PROMISE,
                                       .canvass = m->canvass,
                                       .ballot = p->promised > m->ballot ? p->promised : m->ballot,
                                       .slot = m->slot};
    mp_send(p, to, &reply, 0, fx);
}

void mp_on_prepare(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx) {
    bool at_hand = m->slot > p->slots.base; /* else it has to learn from a snapshot first */
    if (m->ballot < p->promised || (m->canvass && m->ballot == p->promised) || !at_hand) {
        if (!sticks_to_leader(p, from)) refuse_promise(p, from, m, fx);
        return;
    }
    if (m->ballot > p->promised && !m->handover && sticks_to_leader(p, from)) return;
    if (m->canvass) {
        struct multipaxos_message reply = {
            .kind = MULTIPAXOS_PROMISE, .canvass = true, .success = true, .ballot = m->ballot, .slot = m->slot};
        mp_send(p, from, &reply, 0, fx);
        return;
    }
    if (m->ballot > p->promised) {
        mp_promise(p, m->ballot, fx);
        mp_become_follower(p, NODE_NONE, fx);
    } else if (p->role != PROTOCOL_FOLLOWER) {
        return; /* its own ballot: no other replica prepares that */
    }
    promise_page(p, from, m->slot, fx);
}

/* Keeps what was accepted at a higher ballot than all else known of that slot. */
static bool merge(struct multipaxos *p, const struct multipaxos_message *m, struct effects *fx) {
    struct reader r = {.data = m->data.data, .size = m->data.size};
    for (uint32_t i = 0; i < m->entries; i++) {
        struct multipaxos_entry e;
        multipaxos_entry_next(&r, m->kind, &e);
        if (e.slot <= p->commit) continue;
        const struct slot *slot = slots_get(&p->slots, e.slot);
        uint64_t known = slot ? slot->ballot : 0;
        if (slot && slot->found_for == p->promised && slot->found_place) known = slot->found_ballot;
        if (e.slot > p->found_top) p->found_top = e.slot;
        if (!p->rules->prefers(e.ballot, known)) continue;
        if (!slots_note(&p->slots, e.slot, e.ballot, p->promised, e.kind, e.value, fx)) return false;
    }
    return true;
}

void mp_on_promise(struct multipaxos *p, uint8_t from, const struct multipaxos_message *m, struct effects *fx) {
    if (p->role != PROTOCOL_CANDIDATE || m->canvass != p->canvassing) {
        if (!m->success && !m->canvass && m->ballot > p->promised && p->role != PROTOCOL_FOLLOWER)
            mp_become_follower(p, NODE_NONE, fx);
        return;
    }
    if (!m->success) {
        mp_heard(p, m->ballot);
        if (!m->canvass && m->ballot >= p->promised) mp_become_follower(p, NODE_NONE, fx);
        return;
    }
    if (m->ballot != (p->canvassing ? next_ballot(p) : p->promised)) return;
    if (!p->canvassing) {
        if (!merge(p, m, fx)) {
            mp_become_follower(p, NODE_NONE, fx);
            return;
        }
        if (m->index) {
            struct multipaxos_message more = {.kind = MULTIPAXOS_PREPARE, .ballot = p->promised, .slot = m->index};
            mp_send(p, from, &more, 0, fx);
            return;
        }
    }
    p->promises |= 1u << from;
    count_promises(p, fx);
}
