/* The learner (Lamport 2001, section 2.3): values that are chosen, in the order of the slots. A proposer tells all what
 * it got chosen; who is behind learns the rest in catchup.c. */
#include "targets/protocols/paxos/paxos_internal.h"

static void write_meta(const struct paxos *p, struct effects *fx) {
    uint8_t meta[META_BYTES];
    struct writer w = {.data = meta, .capacity = sizeof meta};
    write_u64(&w, p->commit);
    assert(!w.failed);
    effect_meta(bytes_of(meta, w.size), p->commit, NODE_NONE, fx);
}

/* Records the value unless it is the accepted one, and moves the commit point. False: no room. */
static bool record(struct paxos *p, uint8_t kind, struct bytes value, struct effects *fx) {
    uint64_t number = p->commit + 1;
    const struct slot *slot = slots_get(&p->slots, number);
    uint8_t accepted_kind = ENTRY_NOOP;
    struct bytes accepted = slot && slot->ballot ? slots_value(&p->slots, slot, &accepted_kind) : (struct bytes){0};
    bool same = slot && slot->ballot && accepted_kind == kind && bytes_equal(accepted, value);
    if (!same && !slots_choose(&p->slots, number, kind, value, fx)) return false;
    p->commit = number;
    return true;
}

void px_learn(struct paxos *p, uint8_t kind, struct bytes value, struct effects *fx) {
    if (p->installing || !record(p, kind, value, fx)) return;
    write_meta(p, fx);
    px_apply(p, fx);
}

void px_on_chosen(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    if (p->installing) return;
    struct reader r = {.data = m->data.data, .size = m->data.size};
    uint64_t before = p->commit;
    for (uint32_t i = 0; i < m->values; i++) {
        uint8_t kind;
        struct bytes value;
        paxos_value_next(&r, &kind, &value);
        if (m->slot + i > p->commit + 1) break;
        if (m->slot + i == p->commit + 1 && !record(p, kind, value, fx)) break;
    }
    if (p->commit > before) {
        write_meta(p, fx);
        px_apply(p, fx);
        px_slot_resolved(p, fx);
    }
    bool behind = m->commit > p->commit && !px_receives_from_another(p, from);
    if (behind && (p->commit > before || !p->fetched)) px_fetch(p, from, fx);
}
