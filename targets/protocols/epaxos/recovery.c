/* Recovery of an instance whose leader does not end it. Explicit prepare with a higher ballot (SOSP'13 Figure 3); what
 * a majority answers tells whether the instance may have been committed without an accept round, and then TryPreAccept
 * (4.7) whether it fits among what interferes with it. The rules are those that Ryabinin, Gotsman and Sutra proved
 * (OPODIS'25 Figure 3, lines 44 to 90), with one shorter way: pre-accepts that are a majority with the leader's own
 * meet every quorum of anything that interferes, so nothing needs to be tried. Where they wait, this tries again, after
 * a back-off, with a higher ballot. */
#include "targets/protocols/epaxos/epaxos_internal.h"

static bool is_mine(const struct instance *i, const struct epaxos_message *m, uint8_t phase) {
    return i && i->p.phase == phase && i->status < EPAXOS_COMMITTED && (m->refused || m->ballot == i->p.ballot);
}

static void give_way(struct epaxos *e, struct instance *i, uint32_t ballot) {
    if (ballot <= i->p.ballot) return; /* a late refusal of an earlier ballot */
    i->refused_by = ballot;
    i->p.phase = PHASE_IDLE;
    epaxos_set_due(e, i);
}

static void propose_noop(struct epaxos *e, struct instance *i, struct effects *fx) {
    static const struct epaxos_attributes nothing;
    commit_propose(e, i, i->p.ballot, ENTRY_NOOP, &nothing, fx);
}

/* --- TryPreAccept ------------------------------------------------------------------------------------------------- */

static void note_try(struct epaxos *e, struct instance *i, const struct epaxos_attributes *at, struct effects *fx) {
    bool known = i->knows_leader && i->status != EPAXOS_NONE;
    if (known) return; /* what the leader gave it is the same whoever tells */
    if (i->status == EPAXOS_NONE) {
        i->status = EPAXOS_TRIED;
        i->at = *at;
    }
    i->knows_leader = true;
    memcpy(i->leader_deps, at->deps, sizeof i->leader_deps);
    epaxos_touch(e, i);
    epaxos_record(e, i, fx);
}

/* So few pre-accepts that all replicas outside of the quorum must have given one, if it was committed at once. */
static bool is_bare(const struct epaxos *e, const struct proposal *p) {
    uint32_t crashes = e->c.nodes - epaxos_rule_fast_quorum(e->c.nodes);
    return members_of(p->unchanged) + crashes == members_of(p->quorum);
}

static void wait_for_others(struct epaxos *e, struct instance *i, struct effects *fx) {
    i->waiting = (uint8_t)members_of(i->p.unchanged);
    i->p.phase = PHASE_IDLE;
    struct epaxos_message m = {.kind = EPAXOS_WAITING, .id = i->id, .count = i->waiting};
    epaxos_send_masked(e, epaxos_others(e), &m, i->written, fx);
    epaxos_set_due(e, i);
}

static void try_progress(struct epaxos *e, struct instance *i, struct effects *fx) {
    const struct proposal *p = &i->p;
    bool leader_outside = is_bare(e, p) && (p->leaders & ~p->quorum);
    if (p->committed || p->outvoted || leader_outside)
        propose_noop(e, i, fx); /* each settles it, whatever else is answered */
    else if (p->quorum & ~p->replies)
        return;
    else if (p->conflict)
        wait_for_others(e, i, fx);
    else
        commit_propose(e, i, p->ballot, ENTRY_COMMAND, &p->at, fx);
}

static void merge_try(struct proposal *p, uint8_t from, const struct epaxos_message *m) {
    p->replies |= (uint16_t)(1u << from);
    p->conflict |= m->conflict;
    p->committed |= m->committed;
    p->outvoted |= m->outvoted;
    p->leaders |= m->leaders;
}

static void try_preaccept(struct epaxos *e, struct instance *i, struct effects *fx) {
    struct proposal *p = &i->p;
    p->phase = PHASE_TRY;
    p->quorum = p->replies;
    p->replies = 0;
    p->at = p->original;
    struct epaxos_message own = {0};
    note_try(e, i, &p->at, fx);
    epaxos_conflicts(e, i, p->at.deps, &own);
    merge_try(p, e->c.self, &own);
    struct epaxos_message m = {.kind = EPAXOS_TRY_PREACCEPT, .id = i->id, .ballot = p->ballot, .at = p->at};
    m.entry_kind = ENTRY_COMMAND;
    m.data = epaxos_command(e, i);
    epaxos_send_masked(e, (uint16_t)(p->quorum & epaxos_others(e)), &m, i->written, fx);
    try_progress(e, i, fx);
}

void recovery_on_try(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
    struct instance *i = from == ballot_node(m->ballot) && m->ballot ? epaxos_open(e, m->id) : NULL;
    if (!i) return;
    if (i->status >= EPAXOS_COMMITTED) {
        commit_send(e, (uint16_t)(1u << from), i, fx);
        return;
    }
    struct epaxos_message reply = {.kind = EPAXOS_TRY_PREACCEPT_REPLY, .id = i->id, .ballot = m->ballot};
    if (m->ballot < i->promised) {
        reply.refused = true;
        reply.ballot = i->promised;
    } else {
        /* Only who promised is asked: a higher ballot than the promised one is not of this protocol. */
        if (m->ballot > i->promised || !epaxos_keep_command(e, i, m->data)) return;
        note_try(e, i, &m->at, fx);
        epaxos_conflicts(e, i, m->at.deps, &reply);
    }
    epaxos_send(e, from, &reply, i->written, fx);
}

void recovery_on_try_reply(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
    struct instance *i = epaxos_get(e, m->id);
    if (!is_mine(i, m, PHASE_TRY)) return;
    if (m->refused) {
        give_way(e, i, m->ballot);
        return;
    }
    merge_try(&i->p, from, m);
    try_progress(e, i, fx);
}

void recovery_on_waiting(struct epaxos *e, const struct epaxos_message *m) {
    struct instance *i = epaxos_get(e, m->id);
    if (i && m->count <= e->c.nodes && i->waiting < m->count) i->waiting = (uint8_t)m->count;
}

/* --- explicit prepare --------------------------------------------------------------------------------------------- */

/* OPODIS'25 Figure 3, lines 50 to 63. */
static void prepare_decide(struct epaxos *e, struct instance *i, struct effects *fx) {
    struct proposal *p = &i->p;
    uint32_t crashes = e->c.nodes - epaxos_rule_fast_quorum(e->c.nodes);
    uint32_t preaccepts = members_of(p->unchanged);
    if (p->best_status == EPAXOS_ACCEPTED)
        commit_propose(e, i, p->ballot, p->entry_kind, &p->at, fx);
    else if (e->rules->leader_answered(p->replies >> i->id.replica & 1) || preaccepts == 0 ||
             preaccepts + crashes < members_of(p->replies))
        propose_noop(e, i, fx); /* it was not committed at once, and never will be */
    else if (!e->rules->must_try(preaccepts, e->c.nodes))
        commit_propose(e, i, p->ballot, ENTRY_COMMAND, &p->original, fx);
    else
        try_preaccept(e, i, fx);
}

/* After tries in vain all are waited for: the leader's answer settles more than any other. */
static void prepare_progress(struct epaxos *e, struct instance *i, struct effects *fx) {
    uint32_t replies = members_of(i->p.replies);
    bool patient = i->attempts > 2 && replies < e->c.nodes;
    if (replies >= epaxos_majority(e) && !patient) prepare_decide(e, i, fx);
}

static void merge_prepare(struct proposal *p, uint8_t from, uint8_t status, uint32_t accepted, uint8_t entry_kind,
                          bool original, const struct epaxos_attributes *at) {
    uint16_t bit = (uint16_t)(1u << from);
    p->replies |= bit;
    if (status == EPAXOS_PREACCEPTED && original) {
        p->unchanged |= bit;
        p->original = *at;
    }
    if (accepted < p->best_accepted || (accepted == p->best_accepted && status <= p->best_status)) return;
    p->best_accepted = accepted;
    p->best_status = status;
    p->entry_kind = entry_kind;
    p->at = *at;
}

void recovery_start(struct epaxos *e, struct instance *i, struct effects *fx) {
    uint32_t highest = i->promised > i->refused_by ? i->promised : i->refused_by;
    uint32_t ballot = (uint32_t)ballot_of(ballot_round(highest) + 1, e->c.self);
    uint32_t voted = e->rules->voted_ballot(i->promised, i->accepted);
    i->promised = ballot;
    if (i->attempts < UINT8_MAX) i->attempts++;
    epaxos_record(e, i, fx);
    i->p = (struct proposal){.phase = PHASE_PREPARE, .ballot = ballot};
    merge_prepare(&i->p, e->c.self, i->status, voted, i->entry_kind, i->original, &i->at);
    epaxos_set_due(e, i);
    struct epaxos_message m = {.kind = EPAXOS_PREPARE, .id = i->id, .ballot = ballot};
    epaxos_send_masked(e, epaxos_others(e), &m, i->written, fx);
    prepare_progress(e, i, fx);
}

void recovery_on_due(struct epaxos *e, struct instance *i, struct effects *fx) {
    if (i->p.phase == PHASE_PREPARE && members_of(i->p.replies) >= epaxos_majority(e)) {
        epaxos_set_due(e, i);
        prepare_decide(e, i, fx);
    } else {
        recovery_start(e, i, fx);
    }
}

void recovery_on_prepare(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
    struct instance *i = from == ballot_node(m->ballot) && m->ballot ? epaxos_open(e, m->id) : NULL;
    if (!i) return;
    if (i->status >= EPAXOS_COMMITTED) {
        commit_send(e, (uint16_t)(1u << from), i, fx);
        return;
    }
    struct epaxos_message reply = {.kind = EPAXOS_PREPARE_REPLY, .id = i->id, .ballot = m->ballot};
    if (m->ballot < i->promised) {
        reply.ballot = i->promised;
        reply.refused = true;
        epaxos_send(e, from, &reply, i->written, fx);
        return;
    }
    reply.accepted = e->rules->voted_ballot(i->promised, i->accepted);
    reply.status = i->status;
    reply.entry_kind = i->entry_kind;
    reply.original = i->original;
    reply.at = i->at;
    reply.data = epaxos_command(e, i);
    if (m->ballot > i->promised) {
        i->promised = m->ballot;
        i->p.phase = PHASE_IDLE;
        epaxos_record(e, i, fx);
        epaxos_set_due(e, i);
    }
    epaxos_send(e, from, &reply, i->written, fx);
}

void recovery_on_prepare_reply(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
    struct instance *i = epaxos_get(e, m->id);
    if (!is_mine(i, m, PHASE_PREPARE)) return;
    if (m->refused) {
        give_way(e, i, m->ballot);
        return;
    }
    if (m->data.size > 0) {
        if (!epaxos_keep_command(e, i, m->data)) return;
        epaxos_touch(e, i);
    }
    merge_prepare(&i->p, from, m->status, m->accepted, m->entry_kind, m->original, &m->at);
    prepare_progress(e, i, fx);
}
