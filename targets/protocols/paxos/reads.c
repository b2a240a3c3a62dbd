/* Reads without a slot of their own, from any replica: what a quorum has accepted includes whatever was chosen before
 * the read was asked, so the read waits until all slots up to the last of that are decided and applied here. Many reads
 * share a round of questions. What was accepted and not chosen has to be decided first: a read that did not, could be
 * followed by one that sees less. */
#include "targets/protocols/paxos/paxos_internal.h"

static void read_ready(uint64_t token, uint64_t index, struct effects *fx) {
    struct effect *e = effect_add(fx, EFFECT_READ_READY);
    e->token = token;
    e->index = index;
}

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
    if ((uint32_t)__builtin_popcount(p->read_replies) < p->rules->prepare_quorum(p->c.nodes)) return;
    p->read_confirmed = p->read_round;
    for (uint32_t i = 0; i < p->reads_count; i++)
        if (p->reads[i].round == p->read_round) p->reads[i].index = p->read_index;
}

void px_on_read(struct paxos *p, uint64_t token, struct effects *fx) {
    assert(token != 0);
    if (p->c.reads == PROTOCOL_READ_LOCAL) {
        read_ready(token, p->applied, fx);
        return;
    }
    if (p->reads_count == p->c.limits.reads_max) {
        px_respond(token, STATUS_BUSY, fx);
        return;
    }
    /* A round that was asked before this read proves nothing for it. */
    p->reads[p->reads_count++] = (struct read){.token = token, .round = p->read_round + 1};
    if (p->read_confirmed == p->read_round) begin_round(p, fx);
    count_replies(p);
}

void px_on_ask(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    struct paxos_message reply = {.kind = PAXOS_TELL, .round = m->round, .slot = own_answer(p)};
    px_send(p, from, &reply, 0, fx);
}

void px_on_tell(struct paxos *p, uint8_t from, const struct paxos_message *m, struct effects *fx) {
    (void)fx;
    if (m->round != p->read_round || p->read_confirmed == p->read_round) return;
    if (m->slot > p->read_index) p->read_index = m->slot;
    p->read_replies |= 1u << from;
    count_replies(p);
}

void px_reads_progress(struct paxos *p, struct effects *fx) {
    bool more = false;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->reads_count; i++) {
        struct read read = p->reads[i];
        if (read.round <= p->read_confirmed && read.index <= p->applied) {
            read_ready(read.token, read.index, fx);
            continue;
        }
        more |= read.round > p->read_round;
        p->reads[kept++] = read;
    }
    p->reads_count = kept;
    if (!more || p->read_confirmed != p->read_round) return;
    begin_round(p, fx);
    count_replies(p);
}

void px_reads_ask_again(struct paxos *p, struct effects *fx) {
    if (p->read_confirmed != p->read_round) ask(p, fx);
}
