/* The commit protocol (SOSP'13 Figure 2): the command leader's PreAccept, which commits at once if enough replicas add
 * nothing to the attributes; else Accept with the union of what they added; then Commit. A replica that recovers an
 * instance ends in Accept, too. All that a message says is on disk before it leaves: this replica's own answer among
 * them, so it counts at once. */
#include "targets/protocols/epaxos/epaxos_internal.h"

static void restrain(struct instance *i, uint32_t ballot) {
    if (i->p.phase != PHASE_IDLE && i->p.ballot < ballot) i->p.phase = PHASE_IDLE;
}

static void refuse(struct epaxos *e, uint8_t to, uint8_t kind, const struct instance *i, struct effects *fx) {
    struct epaxos_message m = {.kind = kind, .id = i->id, .ballot = i->promised, .refused = true};
    epaxos_send(e, to, &m, i->written, fx);
}

/* --- the leader --------------------------------------------------------------------------------------------------- */

static void send_preaccept(struct epaxos *e, struct instance *i, uint16_t to, struct effects *fx) {
    struct epaxos_message m = {
        .kind = EPAXOS_PREACCEPT, .id = i->id, .at = i->p.original, .data = epaxos_command(e, i)};
    m.entry_kind = ENTRY_COMMAND;
    epaxos_send_masked(e, to, &m, i->written, fx);
}

static void preaccept_progress(struct epaxos *e, struct instance *i, struct effects *fx) {
    uint32_t replies = members_of(i->p.replies);
    if (i->promised > 0 || replies < e->rules->fast_quorum(e->c.nodes)) return;
    if (e->rules->may_commit_fast(members_of(i->p.unchanged), replies))
        commit_decide(e, i, ENTRY_COMMAND, &i->p.original, true, fx);
    else
        commit_propose(e, i, 0, ENTRY_COMMAND, &i->p.at, fx);
}

/* All must hold every command until it is executed. So each leader has a share: what all of them began while they could
 * not hear one another has room when they can. */
static bool has_share(const struct epaxos *e, size_t size) {
    const struct row *row = &e->rows[e->c.self];
    uint32_t share = e->commands_capacity / (2u * e->c.nodes);
    size_t used = 0;
    for (uint32_t k = row->frontier + 1; k <= row->high; k++)
        used += epaxos_command(e, epaxos_get(e, (struct epaxos_id){e->c.self, k})).size;
    return used == 0 || used + size <= share;
}

static bool may_lead(const struct epaxos *e, size_t size) {
    const struct row *row = &e->rows[e->c.self];
    return size > 0 && size <= e->c.limits.entry_bytes_max && row->high < EPAXOS_NUMBER_MAX &&
           row->high - row->frontier < e->row_size / 2 && epaxos_has_room(e, size) &&
           e->commands_live <= e->commands_capacity / 2 && has_share(e, size);
}

bool commit_lead(struct epaxos *e, uint64_t token, struct bytes command, struct effects *fx) {
    struct epaxos_id id = {e->c.self, e->rows[e->c.self].high + 1};
    struct instance *i = may_lead(e, command.size) ? epaxos_open(e, id) : NULL;
    if (!i || !epaxos_keep_command(e, i, command)) return false;
    epaxos_merge_known(e, i, true, &i->at);
    i->status = EPAXOS_PREACCEPTED;
    i->original = i->knows_leader = true;
    i->token = token;
    memcpy(i->leader_deps, i->at.deps, sizeof i->leader_deps);
    epaxos_touch(e, i);
    epaxos_record(e, i, fx);
    uint16_t self = (uint16_t)(1u << e->c.self);
    i->p =
        (struct proposal){.phase = PHASE_PREACCEPT, .replies = self, .unchanged = self, .at = i->at, .original = i->at};
    epaxos_set_due(e, i);
    send_preaccept(e, i, epaxos_others(e), fx);
    preaccept_progress(e, i, fx);
    return true;
}

void commit_on_preaccept_reply(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
    struct instance *i = epaxos_get(e, m->id);
    if (!i || i->p.phase != PHASE_PREACCEPT || m->id.replica != e->c.self) return;
    if (m->refused) {
        i->p.phase = PHASE_IDLE; /* someone recovers it */
        if (i->refused_by < m->ballot) i->refused_by = m->ballot;
        epaxos_set_due(e, i);
        return;
    }
    uint16_t bit = (uint16_t)(1u << from);
    if (i->p.replies & bit) return;
    i->p.replies |= bit;
    if (m->original) i->p.unchanged |= bit;
    for (uint8_t r = 0; r < e->c.nodes; r++)
        i->p.at.deps[r] = e->rules->merge_dependency(i->p.at.deps[r], m->at.deps[r]);
    if (i->p.at.seq < m->at.seq) i->p.at.seq = m->at.seq;
    preaccept_progress(e, i, fx);
}

/* --- accept ------------------------------------------------------------------------------------------------------- */

static void accept(struct epaxos *e, struct instance *i, uint32_t ballot, uint8_t entry_kind,
                   const struct epaxos_attributes *at, struct effects *fx) {
    i->promised = i->accepted = ballot;
    i->status = EPAXOS_ACCEPTED;
    i->entry_kind = entry_kind;
    i->at = *at;
    epaxos_touch(e, i);
    epaxos_record(e, i, fx);
}

static void send_accept(struct epaxos *e, struct instance *i, uint16_t to, struct effects *fx) {
    struct epaxos_message m = {
        .kind = EPAXOS_ACCEPT, .id = i->id, .ballot = i->p.ballot, .at = i->p.at, .entry_kind = i->p.entry_kind};
    if (m.entry_kind == ENTRY_COMMAND) m.data = epaxos_command(e, i);
    epaxos_send_masked(e, to, &m, i->written, fx);
}

static void accept_progress(struct epaxos *e, struct instance *i, struct effects *fx) {
    if (members_of(i->p.replies) >= epaxos_majority(e)) commit_decide(e, i, i->p.entry_kind, &i->p.at, false, fx);
}

void commit_propose(struct epaxos *e, struct instance *i, uint32_t ballot, uint8_t entry_kind,
                    const struct epaxos_attributes *at, struct effects *fx) {
    struct epaxos_attributes value = *at; /* may lie in the proposal */
    assert(i->promised == ballot && i->status < EPAXOS_COMMITTED && (entry_kind == ENTRY_NOOP || i->has_command));
    accept(e, i, ballot, entry_kind, &value, fx);
    i->p = (struct proposal){.phase = PHASE_ACCEPT,
                             .entry_kind = entry_kind,
                             .ballot = ballot,
                             .replies = (uint16_t)(1u << e->c.self),
                             .at = value};
    epaxos_set_due(e, i);
    send_accept(e, i, epaxos_others(e), fx);
    accept_progress(e, i, fx);
}

void commit_on_accept_reply(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
    struct instance *i = epaxos_get(e, m->id);
    if (!i || i->p.phase != PHASE_ACCEPT) return;
    if (m->refused && m->ballot > i->p.ballot) {
        i->p.phase = PHASE_IDLE;
        if (i->refused_by < m->ballot) i->refused_by = m->ballot;
        epaxos_set_due(e, i);
        return;
    }
    if (m->refused || m->ballot != i->p.ballot) return;
    i->p.replies |= (uint16_t)(1u << from);
    accept_progress(e, i, fx);
}

/* Sends again what was not answered; a fast quorum that does not come together is not waited for. */
void commit_on_due(struct epaxos *e, struct instance *i, struct effects *fx) {
    uint16_t missing = (uint16_t)(epaxos_others(e) & ~i->p.replies);
    epaxos_set_due(e, i);
    if (i->p.phase == PHASE_ACCEPT)
        send_accept(e, i, missing, fx);
    else if (members_of(i->p.replies) >= epaxos_majority(e))
        commit_propose(e, i, 0, ENTRY_COMMAND, &i->p.at, fx);
    else
        send_preaccept(e, i, missing, fx);
}

/* --- commit ------------------------------------------------------------------------------------------------------- */

void commit_send(struct epaxos *e, uint16_t to, const struct instance *i, struct effects *fx) {
    struct epaxos_message m = {.kind = EPAXOS_COMMIT, .id = i->id, .at = i->at, .entry_kind = i->entry_kind};
    if (m.entry_kind == ENTRY_COMMAND) {
        if (!i->has_command) return; /* executed and forgotten: whoever asks needs a snapshot */
        m.data = epaxos_command(e, i);
    }
    epaxos_send_masked(e, to, &m, i->commit_written, fx);
}

static void commit(struct epaxos *e, struct instance *i, uint8_t entry_kind, const struct epaxos_attributes *at,
                   struct effects *fx) {
    i->status = EPAXOS_COMMITTED;
    i->entry_kind = entry_kind;
    i->at = *at;
    i->p.phase = PHASE_IDLE;
    epaxos_delist(e, &e->open, i);
    epaxos_enlist(e, &e->waiting, i);
    epaxos_touch(e, i);
    epaxos_open_deps(e, &i->at);
    epaxos_record(e, i, fx);
}

/* Its command was given up by a recovery; it never was executed and never will be by this instance. */
static void lead_again(struct epaxos *e, struct instance *i, struct effects *fx) {
    uint64_t token = i->token;
    i->token = 0;
    if (!commit_lead(e, token, epaxos_command(e, i), fx)) effect_respond(token, STATUS_BUSY, NODE_NONE, fx);
}

static void committed(struct epaxos *e, struct instance *i, struct effects *fx) {
    if (i->token && i->entry_kind == ENTRY_NOOP) lead_again(e, i, fx);
    execution_advance(e, i->id.replica);
    execution_run(e, fx);
}

/* Decided here. A commit without an accept round is told to nobody before it is on disk: after a crash the leader's
 * answer to Prepare must still mean that it did not commit. */
void commit_decide(struct epaxos *e, struct instance *i, uint8_t entry_kind, const struct epaxos_attributes *at,
                   bool fast, struct effects *fx) {
    struct epaxos_attributes value = *at;
    i->fast = fast;
    if (entry_kind == ENTRY_COMMAND) *(fast ? &e->fast_commits : &e->slow_commits) += 1;
    commit(e, i, entry_kind, &value, fx);
    if (fast || e->c.nodes == 1) i->commit_written = e->last_commit_written = i->written;
    commit_send(e, epaxos_others(e), i, fx);
    committed(e, i, fx);
}

/* --- the other replicas ------------------------------------------------------------------------------------------- */

void commit_on_preaccept(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
    struct instance *i = from == m->id.replica ? epaxos_open(e, m->id) : NULL;
    if (!i) return;
    if (i->status >= EPAXOS_COMMITTED) {
        commit_send(e, (uint16_t)(1u << from), i, fx);
        return;
    }
    if (i->promised > 0 || i->status == EPAXOS_ACCEPTED) {
        if (i->promised > 0) refuse(e, from, EPAXOS_PREACCEPT_REPLY, i, fx);
        return;
    }
    if (i->status == EPAXOS_NONE) {
        if (!epaxos_keep_command(e, i, m->data)) return;
        i->at = m->at;
        epaxos_merge_known(e, i, false, &i->at);
        i->original = epaxos_same(&i->at, &m->at, e->c.nodes);
        i->status = EPAXOS_PREACCEPTED;
        i->knows_leader = true;
        memcpy(i->leader_deps, m->at.deps, sizeof i->leader_deps);
        epaxos_touch(e, i);
        epaxos_record(e, i, fx);
        epaxos_set_due(e, i);
    }
    struct epaxos_message reply = {.kind = EPAXOS_PREACCEPT_REPLY, .id = i->id, .at = i->at, .original = i->original};
    epaxos_send(e, from, &reply, i->written, fx);
}

void commit_on_accept(struct epaxos *e, uint8_t from, const struct epaxos_message *m, struct effects *fx) {
    uint8_t driver = m->ballot ? ballot_node(m->ballot) : m->id.replica;
    struct instance *i = from == driver ? epaxos_open(e, m->id) : NULL;
    if (!i) return;
    if (i->status >= EPAXOS_COMMITTED) {
        commit_send(e, (uint16_t)(1u << from), i, fx);
        return;
    }
    if (m->ballot < i->promised) {
        refuse(e, from, EPAXOS_ACCEPT_REPLY, i, fx);
        return;
    }
    if (m->entry_kind == ENTRY_COMMAND && !epaxos_keep_command(e, i, m->data)) return;
    restrain(i, m->ballot);
    if (i->status != EPAXOS_ACCEPTED || i->accepted != m->ballot) {
        accept(e, i, m->ballot, m->entry_kind, &m->at, fx);
        epaxos_set_due(e, i);
    }
    struct epaxos_message reply = {.kind = EPAXOS_ACCEPT_REPLY, .id = i->id, .ballot = m->ballot};
    epaxos_send(e, from, &reply, i->written, fx);
}

void commit_on_commit(struct epaxos *e, const struct epaxos_message *m, struct effects *fx) {
    struct instance *i = epaxos_open(e, m->id);
    if (!i || i->status >= EPAXOS_COMMITTED) return;
    if (m->entry_kind == ENTRY_COMMAND && !epaxos_keep_command(e, i, m->data)) return;
    commit(e, i, m->entry_kind, &m->at, fx);
    committed(e, i, fx);
}
