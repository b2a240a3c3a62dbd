/* The proposer (Lamport 2001, section 2.2): for the first slot that this replica does not know to be chosen, phase 1
 * with a ballot of its own, then phase 2 with the value of the highest ballot that it heard of, or its own. Who is
 * refused waits a random time that doubles with each refusal, since two that go on at once could refuse one another
 * for ever (section 2.4). */
#include "targets/protocols/paxos/paxos_internal.h"

static bool has_work(const struct paxos *p) {
    if (p->queue.count || p->slots.top > p->commit) return true;
    for (uint32_t i = 0; i < p->reads.count; i++)
        if (p->reads.items[i].round <= p->read_confirmed && p->reads.items[i].index > p->commit) return true;
    return false;
}

static void wait_for(struct paxos *p, uint64_t delay_ns, struct effects *fx) {
    p->proposer = PROPOSER_WAITING;
    p->own_written = 0;
    effect_timer(TIMER_PROPOSER, delay_ns, fx);
}

static void back_off(struct paxos *p, struct effects *fx) {
    if (p->backoffs < BACKOFFS_MAX) p->backoffs++;
    wait_for(p, p->rtt_ns / 2 + prng_below(&p->prng, (p->rtt_ns << p->backoffs) + 1), fx);
}

/* A smoothed measure of what one phase takes: back-offs are in proportion to it. */
static void measure_phase(struct paxos *p) {
    p->rtt_ns = (3 * p->rtt_ns + (p->now - p->phase_ns)) / 4;
    if (p->rtt_ns > p->c.election_timeout_ns) p->rtt_ns = p->c.election_timeout_ns;
}

static void begin_phase(struct paxos *p, enum proposer_state state, struct effects *fx) {
    uint64_t timeout = p->c.election_timeout_ns;
    p->proposer = (uint8_t)state;
    p->phase_ns = p->now;
    effect_timer(TIMER_PROPOSER, timeout + prng_below(&p->prng, timeout), fx);
}

static void remember(struct paxos *p, uint64_t ballot, uint8_t kind, struct bytes value) {
    assert(value.size <= p->c.limits.message_bytes_max);
    p->found_ballot = ballot;
    p->found_kind = kind;
    p->found_size = (uint32_t)value.size;
    if (value.size) memcpy(p->found, value.data, value.size);
}

static void prepare(struct paxos *p, struct effects *fx) {
    if (p->slot != p->commit + 1) {
        p->slot = p->commit + 1;
        p->seen = 0;
        p->contended = false;
    }
    const struct slot *known = slots_get(&p->slots, p->slot);
    uint64_t highest = p->seen;
    if (known && known->promised > highest) highest = known->promised;
    if (known && known->ballot > highest) highest = known->ballot;
    uint64_t ballot = p->rules->ballot(ballot_round(highest) + 1, p->c.self);
    const struct slot *slot = slots_promise(&p->slots, p->slot, ballot, fx);
    if (!slot) { /* no room before the next snapshot */
        wait_for(p, p->c.heartbeat_ns, fx);
        return;
    }
    p->ballot = p->seen = ballot;
    p->own_written = fx->written;
    p->promises = p->accepts = 0;
    p->found_ballot = 0;
    if (slot->ballot) {
        uint8_t kind;
        struct bytes value = slots_value(&p->slots, slot, &kind);
        remember(p, slot->ballot, kind, value);
    }
    begin_phase(p, PROPOSER_PREPARING, fx);
    /* A ballot is durable before anyone hears of it: a restart must not propose two values at one ballot. */
    px_broadcast(p, &(struct paxos_message){.kind = PAXOS_PREPARE, .slot = p->slot, .ballot = ballot}, p->own_written,
                 fx);
}

void px_propose_soon(struct paxos *p, uint64_t delay_ns, struct effects *fx) {
    if (p->proposer != PROPOSER_IDLE || p->installing) return;
    bool rival = p->slot == p->commit + 1 && p->contended;
    if (rival && delay_ns == 0) delay_ns = p->rtt_ns + prng_below(&p->prng, 2 * p->rtt_ns + 1);
    if (delay_ns || p->applied != p->commit)
        wait_for(p, delay_ns, fx);
    else
        prepare(p, fx);
}

void px_on_proposer_timer(struct paxos *p, struct effects *fx) {
    if (p->proposer == PROPOSER_IDLE || p->installing) return;
    if (!has_work(p))
        p->proposer = PROPOSER_IDLE;
    else if (p->applied != p->commit)
        wait_for(p, p->rtt_ns, fx);
    else
        prepare(p, fx);
}

/* As many requests as one message holds, and always the same ones as long as the slot is open. */
static struct bytes batch(struct paxos *p) {
    struct queue *q = &p->queue;
    if (q->batch_slot != p->slot || q->batch_count == 0) {
        uint32_t most = p->c.limits.message_bytes_max - MESSAGE_FRAME_BYTES;
        struct reader r = {.data = q->bytes, .size = q->size, .offset = 1};
        q->batch_slot = p->slot;
        q->batch_count = q->batch_bytes = 0;
        while (r.offset < r.size && q->batch_count < PAXOS_BATCH_MAX) {
            read_bytes(&r);
            if (r.offset > most && q->batch_count) break;
            q->batch_count++;
            q->batch_bytes = (uint32_t)r.offset - 1;
        }
    }
    return bytes_of(q->bytes, 1 + q->batch_bytes);
}

static void accept_phase(struct paxos *p, struct effects *fx) {
    measure_phase(p);
    const struct slot *own = slots_get(&p->slots, p->slot);
    if (own && !px_may_answer(p, own, p->ballot)) { /* it has promised another since */
        back_off(p, fx);
        return;
    }
    if (p->found_ballot == 0) {
        struct bytes value = p->queue.count ? batch(p) : (struct bytes){0};
        remember(p, 0, value.size ? ENTRY_COMMAND : ENTRY_NOOP, value);
    }
    struct bytes value = bytes_of(p->found, p->found_size);
    if (!slots_accept(&p->slots, p->slot, p->ballot, p->found_kind, value, fx)) {
        wait_for(p, p->c.heartbeat_ns, fx);
        return;
    }
    p->own_written = fx->written;
    begin_phase(p, PROPOSER_ACCEPTING, fx);
    px_broadcast(
        p,
        &(struct paxos_message){
            .kind = PAXOS_ACCEPT, .slot = p->slot, .ballot = p->ballot, .value_kind = p->found_kind, .data = value},
        0, fx);
}

static void count_promises(struct paxos *p, struct effects *fx) {
    if (members_of(p->promises) >= p->rules->prepare_quorum(p->c.nodes)) accept_phase(p, fx);
}

static void count_accepts(struct paxos *p, struct effects *fx) {
    if (members_of(p->accepts) < p->rules->accept_quorum(p->c.nodes)) return;
    measure_phase(p);
    p->backoffs = 0;
    uint64_t slot = p->slot;
    px_learn(p, p->found_kind, bytes_of(p->found, p->found_size), fx);
    if (p->commit < slot) { /* no room to record it; it is fetched, or proposed again */
        wait_for(p, p->c.heartbeat_ns, fx);
        return;
    }
    for (uint8_t to = 0; to < p->c.nodes; to++)
        if (to != p->c.self) px_send_chosen(p, to, slot, fx);
    px_slot_resolved(p, fx);
}

void px_on_own_durable(struct paxos *p, struct effects *fx) {
    if (p->own_written == 0 || p->durable_written < p->own_written) return;
    p->own_written = 0;
    if (p->proposer == PROPOSER_PREPARING) {
        p->promises |= 1u << p->c.self;
        count_promises(p, fx);
    } else if (p->proposer == PROPOSER_ACCEPTING) {
        p->accepts |= 1u << p->c.self;
        count_accepts(p, fx);
    }
}

/* A refusal: somebody has promised a higher ballot. */
static bool refused(struct paxos *p, const struct paxos_message *m, struct effects *fx) {
    if (m->success) return false;
    if (m->ballot > p->seen) p->seen = m->ballot;
    p->contended = true;
    if (m->ballot > p->ballot) back_off(p, fx);
    return true;
}

void px_on_promise(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    if (p->proposer != PROPOSER_PREPARING || m->slot != p->slot || refused(p, m, fx)) return;
    if (m->ballot != p->ballot || m->data.size > p->c.limits.message_bytes_max) return;
    if (p->rules->prefers(m->accepted, p->found_ballot)) remember(p, m->accepted, m->value_kind, m->data);
    p->promises |= 1u << from;
    count_promises(p, fx);
}

void px_on_accepted(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    if (p->proposer != PROPOSER_ACCEPTING || m->slot != p->slot || refused(p, m, fx)) return;
    if (m->ballot != p->ballot) return;
    p->accepts |= 1u << from;
    count_accepts(p, fx);
}

void px_on_rival(struct paxos *p, uint64_t slot, uint64_t ballot) {
    if (slot != p->commit + 1) return;
    if (p->slot != slot) {
        p->slot = slot;
        p->seen = 0;
    }
    p->contended = true;
    if (ballot > p->seen) p->seen = ballot;
}

void px_slot_resolved(struct paxos *p, struct effects *fx) {
    if (p->slot > p->commit) return;
    bool contended = p->contended;
    p->contended = false;
    if (p->proposer != PROPOSER_IDLE) px_abandon(p, fx);
    if (p->queue.count)
        px_propose_soon(p, contended || p->applied != p->commit ? 1 + prng_below(&p->prng, 2 * p->rtt_ns + 1) : 0, fx);
}

void px_abandon(struct paxos *p, struct effects *fx) {
    p->proposer = PROPOSER_IDLE;
    p->own_written = 0;
    effect_timer(TIMER_PROPOSER, UINT64_MAX, fx);
}

/* What others began and nobody ends: a read waits for it, or nothing else would ever decide it. */
void px_look_for_unfinished(struct paxos *p, struct effects *fx) {
    if (p->commit != p->stuck_at) {
        p->stuck_at = p->commit;
        p->stuck_since_ns = p->now;
    }
    if (p->proposer != PROPOSER_IDLE || !has_work(p)) return;
    bool asked = p->queue.count || p->reads.count;
    uint64_t patience = asked ? 2 * p->rtt_ns : p->c.election_timeout_ns;
    if (p->now - p->stuck_since_ns >= patience) px_propose_soon(p, 1 + prng_below(&p->prng, patience), fx);
}
