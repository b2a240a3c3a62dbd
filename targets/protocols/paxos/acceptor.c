/* The acceptor (Lamport 2001, section 2.2): for each slot on its own, what it promised and what it accepted, durable
 * before it is said. Of a slot that is chosen it tells the value instead. */
#include "targets/protocols/paxos/paxos_internal.h"

static uint64_t bound_of(const struct paxos *p, const struct slot *slot) {
    return slot ? p->rules->bound(slot->promised, slot->ballot) : 0;
}

bool px_may_answer(const struct paxos *p, const struct slot *slot, uint64_t ballot) {
    return ballot >= bound_of(p, slot);
}

/* False when there is nothing to decide any more, or no room to. */
static bool is_open(struct paxos *p, uint8_t from, uint64_t slot, struct effects *fx) {
    if (slot <= p->commit) {
        px_send_chosen(p, from, slot, fx);
        return false;
    }
    return slots_in_window(&p->slots, slot) && (slot == p->commit + 1 || slots_used(&p->slots) <= SLOTS_RESERVED_FROM);
}

static void refuse(uint8_t to, uint8_t kind, const struct paxos_message *m, uint64_t promised, struct effects *fx) {
    struct paxos_message reply = {.kind = kind, .slot = m->slot, .ballot = promised};
    px_send(to, &reply, 0, fx);
}

void px_on_prepare(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    if (!is_open(p, from, m->slot, fx)) return;
    px_on_rival(p, m->slot, m->ballot);
    const struct slot *slot = slots_get(&p->slots, m->slot);
    if (!px_may_answer(p, slot, m->ballot)) {
        refuse(from, PAXOS_PROMISE, m, bound_of(p, slot), fx);
        return;
    }
    if (!slot || m->ballot != slot->promised) slot = slots_promise(&p->slots, m->slot, m->ballot, fx);
    if (!slot) return; /* no room */
    struct paxos_message reply = {.kind = PAXOS_PROMISE, .success = true, .slot = m->slot, .ballot = m->ballot};
    reply.accepted = slot->ballot;
    if (slot->ballot) reply.data = slots_value(&p->slots, slot, &reply.value_kind);
    px_send(from, &reply, fx->written, fx);
}

void px_on_accept(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    if (!is_open(p, from, m->slot, fx)) return;
    px_on_rival(p, m->slot, m->ballot);
    const struct slot *slot = slots_get(&p->slots, m->slot);
    if (!px_may_answer(p, slot, m->ballot)) {
        refuse(from, PAXOS_ACCEPTED, m, bound_of(p, slot), fx);
        return;
    }
    if (!slot || slot->ballot != m->ballot)
        slot = slots_accept(&p->slots, m->slot, m->ballot, m->value_kind, m->data, fx);
    if (!slot) return; /* no room */
    struct paxos_message reply = {.kind = PAXOS_ACCEPTED, .success = true, .slot = m->slot, .ballot = m->ballot};
    px_send(from, &reply, fx->written, fx);
}
