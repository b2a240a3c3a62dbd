/* Elections: randomized timeouts (ATC'14 section 5.2), the pre-vote that keeps a returning node from disturbing a
 * working leader (thesis 9.6), and the votes themselves (5.2, 5.4.1). */
#include "targets/protocols/raft/raft_internal.h"

void election_reset_timer(struct raft *r, struct effects *fx) {
    uint64_t timeout = r->c.election_timeout_ns;
    r->election_deadline_ns = r->now + timeout + prng_below(&r->prng, timeout);
    /* A timer that fires early is set again for the rest: cheaper than moving it at every heartbeat. */
    if (r->election_armed_ns && r->election_armed_ns <= r->election_deadline_ns) return;
    r->election_armed_ns = r->election_deadline_ns;
    effect_timer(TIMER_ELECTION, r->election_deadline_ns - r->now, fx);
}

static void ask_for_votes(struct raft *r, struct effects *fx) {
    struct raft_message m = {.kind = RAFT_VOTE_REQUEST,
                             .pre_vote = r->pre_voting,
                             .transfer = r->transfer_campaign,
                             .term = r->pre_voting ? r->term + 1 : r->term,
                             .index = r->log.last,
                             .log_term = log_last_term(&r->log)};
    for (uint8_t to = 0; to < r->c.nodes; to++)
        if (to != r->c.self) raft_send(r, to, &m, 0, fx);
}

static void become_leader(struct raft *r, struct effects *fx) {
    assert(r->role == PROTOCOL_CANDIDATE && !r->pre_voting);
    r->leader = r->c.self;
    raft_set_role(r, PROTOCOL_LEADER, fx);
    replication_start(r, fx);
}

static void count_votes(struct raft *r, struct effects *fx) {
    if (r->rules->votes(r->votes_mask, r->votes_replies) < raft_quorum(r)) return;
    if (r->pre_voting)
        election_campaign(r, false, fx);
    else
        become_leader(r, fx);
}

/* Pre-vote asks whether an election could be won, without raising the term (thesis 9.6). */
static void start_pre_vote(struct raft *r, struct effects *fx) {
    r->pre_voting = true;
    r->transfer_campaign = false;
    r->leader = NODE_NONE;
    r->self_vote_written = 0;
    if (r->role != PROTOCOL_CANDIDATE) raft_set_role(r, PROTOCOL_CANDIDATE, fx);
    r->votes_mask = 1u << r->c.self;
    r->votes_replies = 1;
    ask_for_votes(r, fx);
    election_reset_timer(r, fx);
    count_votes(r, fx);
}

void election_campaign(struct raft *r, bool transfer, struct effects *fx) {
    r->pre_voting = false;
    r->transfer_campaign = transfer;
    r->leader = NODE_NONE;
    raft_write_meta(r, r->term + 1, r->c.self, fx);
    raft_set_role(r, PROTOCOL_CANDIDATE, fx);
    r->votes_mask = 0;
    r->votes_replies = 0;
    r->self_vote_written = r->meta_written; /* its own vote counts when it is durable, like any other */
    ask_for_votes(r, fx);
    election_reset_timer(r, fx);
}

void election_on_persisted(struct raft *r, uint64_t written, struct effects *fx) {
    assert(written >= r->self_vote_written);
    r->self_vote_written = 0;
    if (r->role != PROTOCOL_CANDIDATE || r->pre_voting) return;
    r->votes_mask |= 1u << r->c.self;
    r->votes_replies++;
    count_votes(r, fx);
}

void election_on_timer(struct raft *r, struct effects *fx) {
    r->election_armed_ns = 0;
    if (r->role == PROTOCOL_LEADER) return; /* check-quorum takes over; stepping down sets the timer again */
    if (r->now >= r->election_deadline_ns) {
        if (r->installing)
            election_reset_timer(r, fx);
        else if (r->rules->pre_votes())
            start_pre_vote(r, fx);
        else
            election_campaign(r, false, fx);
        return;
    }
    r->election_armed_ns = r->election_deadline_ns;
    effect_timer(TIMER_ELECTION, r->election_deadline_ns - r->now, fx);
}

/* Leader stickiness: who heard a leader within the minimum election timeout helps nobody to depose it (thesis 4.2.3).
 * Lease reads rest on this (6.4.1). The leader itself keeps to it as long as check-quorum keeps it leader. */
static bool sticks_to_leader(const struct raft *r, uint8_t candidate) {
    if (!r->rules->checks_quorum()) return false;
    if (r->role == PROTOCOL_LEADER) return true;
    if (r->leader == candidate) return false; /* the known leader asks: it has stepped down */
    return r->now - r->contact_ns < r->c.election_timeout_ns;
}

static bool log_suffices(const struct raft *r, const struct raft_message *m) {
    return r->rules->log_up_to_date(m->log_term, m->index, log_last_term(&r->log), r->log.last);
}

void election_on_request(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx) {
    struct raft_message reply = {.kind = RAFT_VOTE_REPLY, .pre_vote = m->pre_vote, .term = r->term};
    if (m->pre_vote) {
        reply.success = m->term > r->term && !sticks_to_leader(r, from) && log_suffices(r, m);
        if (reply.success) reply.term = m->term;
        if (reply.term) raft_send(r, from, &reply, 0, fx);
        return;
    }
    if (m->term > r->term) {
        if (!m->transfer && sticks_to_leader(r, from)) return;
        raft_become_follower(r, m->term, NODE_NONE, fx);
    }
    bool free_to_vote = r->vote == NODE_NONE || r->vote == from;
    reply.term = r->term;
    bool undecided = r->role == PROTOCOL_FOLLOWER || r->pre_voting;
    reply.success = m->term == r->term && undecided && free_to_vote && log_suffices(r, m);
    if (reply.success) {
        if (r->pre_voting) raft_become_follower(r, r->term, NODE_NONE, fx);
        if (r->vote == NODE_NONE) raft_write_meta(r, r->term, from, fx);
        election_reset_timer(r, fx);
    }
    raft_send(r, from, &reply, 0, fx); /* withheld until term and vote are durable (Figure 2: "persistent state") */
}

void election_on_reply(struct raft *r, uint8_t from, const struct raft_message *m, struct effects *fx) {
    if (r->role != PROTOCOL_CANDIDATE || m->pre_vote != r->pre_voting || !m->success) return;
    if (m->term != (r->pre_voting ? r->term + 1 : r->term)) return;
    r->votes_mask |= 1u << from;
    r->votes_replies++;
    count_votes(r, fx);
}
