/* Reads without a slot of their own, from any replica: what a quorum has accepted includes whatever was chosen before
 * the read was asked, so the read waits until all slots up to the last of that are decided and applied here. Many reads
 * share a round of questions. What was accepted and not chosen has to be decided first: a read that did not, could be
 * followed by one that sees less. */
#include "targets/protocols/paxos/paxos_internal.h"

static uint64_t own_answer(const struct paxos *p) {
    return p->rules->read_to(px_last_accepted(p), p->commit);
}

static void ask(struct paxos *p, struct effects *fx) {
    struct paxos_message m = {.kind = PAXOS_ASK, .round = p->read_round};
    px_broadcast(p, &m, 0, fx);
}

static void begin_round(struct paxos *p, struct effects *fx) {
    p->read_round++;
    p->read_index = own_answer(p);
    p->read_replies = 1u << p->c.self;
    ask(p, fx);
}

static void count_replies(struct paxos *p) {
    if (members_of(p->read_replies) < p->rules->prepare_quorum(p->c.nodes)) return;
    p->read_confirmed = p->read_round;
    for (uint32_t i = 0; i < p->reads.count; i++)
        if (p->reads.items[i].round == p->read_round) p->reads.items[i].index = p->read_index;
}

void px_on_read(struct paxos *p, uint64_t token, struct effects *fx) {
    assert(token != 0);
    if (p->c.reads == PROTOCOL_READ_LOCAL) {
        effect_read_ready(token, p->applied, fx);
        return;
    }
    if (read_queue_is_full(&p->reads)) {
        effect_respond(token, STATUS_BUSY, NODE_NONE, fx);
        return;
    }
    /* A round that was asked before this read proves nothing for it. */
    read_queue_add(&p->reads, token, 0, p->read_round + 1);
    if (p->read_confirmed == p->read_round) begin_round(p, fx);
    count_replies(p);
}

void px_on_ask(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    struct paxos_message reply = {.kind = PAXOS_TELL, .round = m->round, .slot = own_answer(p)};
    px_send(from, &reply, 0, fx);
}

void px_on_tell(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    (void)fx;
    if (m->round != p->read_round || p->read_confirmed == p->read_round) return;
    if (m->slot > p->read_index) p->read_index = m->slot;
    p->read_replies |= 1u << from;
    count_replies(p);
}

void px_reads_progress(struct paxos *p, struct effects *fx) {
    uint64_t highest = read_queue_serve(&p->reads, p->read_confirmed, p->applied, fx);
    if (highest <= p->read_round || p->read_confirmed != p->read_round) return;
    begin_round(p, fx);
    count_replies(p);
}

void px_reads_ask_again(struct paxos *p, struct effects *fx) {
    if (p->read_confirmed != p->read_round) ask(p, fx);
}
