/* What a replica lacks: all tell all now and then how far they are; who is behind fetches the rest, values or, where
 * these are gone, a snapshot. */
#include "targets/protocols/paxos/paxos_internal.h"

void px_fetch(struct paxos *p, uint8_t from, struct effects *fx) {
    struct paxos_message m = {.kind = PAXOS_FETCH, .slot = p->commit + 1, .offset = p->receiver.offset};
    px_send(from, &m, 0, fx);
    p->fetched = true;
}

void px_send_chosen(struct paxos *p, uint8_t to, uint64_t from_slot, struct effects *fx) {
    struct paxos_message m = {.kind = PAXOS_CHOSEN, .slot = from_slot, .commit = p->commit};
    uint32_t half = p->c.limits.message_bytes_max;
    struct writer w = {.data = fx->scratch + fx->scratch_size + half, .capacity = half - MESSAGE_FRAME_BYTES / 2};
    for (uint64_t n = from_slot; n > p->slots.base && n <= p->commit; n++) {
        uint8_t kind;
        struct bytes value = slots_value(&p->slots, slots_get(&p->slots, n), &kind);
        size_t before = w.size;
        write_u8(&w, kind);
        write_bytes(&w, value);
        if (w.failed) {
            w.size = before;
            break;
        }
        m.values++;
    }
    m.data = bytes_of(w.data, w.size);
    px_send(to, &m, 0, fx);
}

void px_on_fetch(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    if (m->slot <= p->slots.base)
        px_send_chunk(p, from, m->offset, fx);
    else if (m->slot <= p->commit)
        px_send_chosen(p, from, m->slot, fx);
}

void px_on_gossip_timer(struct paxos *p, struct effects *fx) {
    struct paxos_message m = {.kind = PAXOS_CHOSEN, .slot = p->commit + 1, .commit = p->commit};
    p->fetched = false;
    px_broadcast(p, &m, 0, fx);
    px_reads_ask_again(p, fx);
    px_look_for_unfinished(p, fx);
    effect_timer(TIMER_GOSSIP, p->c.heartbeat_ns, fx);
}
