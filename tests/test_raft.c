/* Raft, one step at a time, without a driver: elections, replication and commitment, reads, leases and transfers. Most
 * tests read like a dialogue: what a replica hears or does, and what it answers (raft_cluster.h has the notation).
 * Messages on the wire, the log's memory, restarts and snapshots are in test_raft_storage.c. */
#include "tests/raft_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS NS_PER_MS
#define ELECTION (300 * MS)

static struct raft_message vote_request(uint64_t term, uint64_t last_index, uint64_t last_term) {
    return (struct raft_message){.kind = RAFT_VOTE_REQUEST, .term = term, .index = last_index, .log_term = last_term};
}

static struct raft_message pre_vote_request(uint64_t term, uint64_t last_index, uint64_t last_term) {
    struct raft_message m = vote_request(term, last_index, last_term);
    m.pre_vote = true;
    return m;
}

static struct raft_message vote(uint64_t term, bool granted) {
    return (struct raft_message){.kind = RAFT_VOTE_REPLY, .term = term, .success = granted};
}

/* An append of small entries whose terms are the digits of `terms`. */
static struct raft_message append_request(uint64_t term, uint64_t prev, uint64_t prev_term, const char *terms,
                                          uint64_t commit) {
    static uint8_t data[512];
    struct writer w = {.data = data, .capacity = sizeof data};
    struct raft_message m = {
        .kind = RAFT_APPEND_REQUEST, .term = term, .index = prev, .log_term = prev_term, .commit = commit, .round = 1};
    for (; *terms; terms++, m.entries++) {
        write_u64(&w, (uint64_t)(*terms - '0'));
        write_u8(&w, ENTRY_COMMAND);
        write_bytes(&w, bytes_str("command"));
    }
    assert_false(w.failed);
    m.data = bytes_of(data, w.size);
    return m;
}

static struct raft_message acknowledge(uint64_t term, uint64_t match, uint64_t round) {
    return (struct raft_message){
        .kind = RAFT_APPEND_REPLY, .term = term, .success = true, .index = match, .round = round};
}

static uint64_t commit_of(const struct raft_cluster *c, uint8_t node) {
    return probe_of(c, node).commit_index;
}

/* A replica's disk holds this log: entries whose terms are given in runs of `each`; it starts again with it. */
static void has_log(struct raft_cluster *c, uint8_t node, const uint64_t *terms, size_t runs, uint64_t each) {
    struct raft_node *n = &c->node[node];
    free(n->entries);
    n->entries_count = n->entries_capacity = runs * each;
    n->entries = xcalloc(n->entries_count, sizeof *n->entries);
    for (size_t i = 0; i < n->entries_count; i++)
        n->entries[i] = (struct entry){.index = i + 1, .term = terms[i / each], .kind = ENTRY_COMMAND};
    struct writer w = {.data = arena_alloc(&c->arena, 16), .capacity = 16};
    write_u64(&w, terms[runs - 1]);
    write_u8(&w, NODE_NONE);
    n->meta = bytes_of(w.data, w.size);
    restarts(c, node);
    passes(c, node, ELECTION + 1);
}

static struct raft_cluster *cluster_with(uint8_t nodes, enum protocol_reads how, const struct raft_rules *rules) {
    struct config config = cluster_config();
    config.reads = how;
    config.rules = rules;
    return cluster_new(nodes, &config);
}

/* --- votes -------------------------------------------------------------------------------------------------------- */

static void a_vote_leaves_when_it_is_durable(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    const char *said = hears(c, N1, N2, vote_request(1, 0, 0));
    assert_string_equal(said, "meta term 1@1; follower of 1; meta term 1 vote n2@2; n2: vote term=1 yes^2");
    assert_int_equal(mail_between(c, N1, N2), 0);
    syncs(c, N1, 1);
    assert_int_equal(mail_between(c, N1, N2), 0);
    syncs(c, N1, 2);
    assert_int_equal(mail_between(c, N1, N2), 1);
    cluster_free(c);
}

static void a_replica_has_one_vote_a_term(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    c->synced = true;
    hears(c, N1, N2, vote_request(1, 0, 0));
    assert_string_equal(hears(c, N1, N3, vote_request(1, 0, 0)), "n3: vote term=1 no");
    assert_string_equal(hears(c, N1, N2, vote_request(1, 0, 0)), "n2: vote term=1 yes");
    passes(c, N1, ELECTION);
    assert_string_equal(hears(c, N1, N3, vote_request(2, 0, 0)),
                        "meta term 2@3; follower of 2; meta term 2 vote n3@4; n3: vote term=2 yes^4");
    assert_string_equal(hears(c, N1, N2, vote_request(1, 0, 0)), "n2: vote term=2 no");
    cluster_free(c);
}

static void a_durable_vote_survives_a_restart_and_a_role_does_not(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    hears(c, N1, N2, vote_request(1, 0, 0));
    restarts(c, N1); /* before the sync: nobody has seen the vote */
    assert_int_equal(probe_of(c, N1).term, 0);
    passes(c, N1, ELECTION);
    c->synced = true;
    hears(c, N1, N2, vote_request(1, 0, 0));
    restarts(c, N1);
    assert_int_equal(probe_of(c, N1).term, 1);
    assert_int_equal(probe_of(c, N1).vote, N2);
    assert_string_equal(hears(c, N1, N3, vote_request(1, 0, 0)), "n3: vote term=1 no");
    loses(c, N1, N2);
    loses(c, N1, N3);
    elects(c, N2);
    proposes(c, N2, 1, "x");
    settles(c);
    restarts(c, N2);
    struct probe p = probe_of(c, N2);
    assert_int_equal(p.role, PROTOCOL_FOLLOWER);
    assert_int_equal(p.leader, NODE_NONE);
    assert_int_equal(p.commit_index, 0);
    assert_int_equal(p.last_index, 2);
    cluster_free(c);
}

/* R3: akka-raft#56 */
static void stepping_down_within_a_term_keeps_the_vote(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    c->synced = true;
    times_out(c, N1);
    hears(c, N1, N2, (struct raft_message){.kind = RAFT_VOTE_REPLY, .pre_vote = true, .term = 1, .success = true});
    assert_int_equal(probe_of(c, N1).term, 1);
    assert_string_equal(hears(c, N1, N3, append_request(1, 0, 0, "", 0)),
                        "follower of 1; n3: append term=1 index=0 round=1 yes");
    assert_int_equal(probe_of(c, N1).vote, N1);
    passes(c, N1, ELECTION);
    assert_string_equal(hears(c, N1, N2, vote_request(1, 9, 1)), "n2: vote term=1 no");
    cluster_free(c);
}

static void votes_go_to_logs_that_are_up_to_date(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    c->synced = true;
    has_log(c, N1, (uint64_t[]){2, 4}, 2, 5); /* ends at 10/4 */
    assert_string_equal(hears(c, N1, N2, pre_vote_request(5, 9, 4)), "n2: pre-vote term=4 no");
    assert_string_equal(hears(c, N1, N2, pre_vote_request(5, 99, 3)), "n2: pre-vote term=4 no");
    assert_string_equal(hears(c, N1, N2, pre_vote_request(5, 10, 4)), "n2: pre-vote term=5 yes");
    assert_string_equal(hears(c, N1, N2, vote_request(5, 99, 3)), "meta term 5@1; follower of 5; n2: vote term=5 no^1");
    assert_string_equal(hears(c, N1, N3, vote_request(5, 1, 5)), "meta term 5 vote n3@2; n3: vote term=5 yes^2");
    cluster_free(c);
}

static void a_candidate_counts_itself_when_durable_and_others_once(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(5, NULL);
    struct raft_message yes = {.kind = RAFT_VOTE_REPLY, .pre_vote = true, .term = 1, .success = true};
    times_out(c, N1);
    assert_string_equal(hears(c, N1, N2, yes), "");
    assert_string_equal(hears(c, N1, N2, yes), ""); /* R5: a reply that came twice */
    const char *said = hears(c, N1, N3, yes);
    assert_non_null(strstr(said, "meta term 1 vote n1@1; candidate of 1; n2: vote? term=1 index=0^1"));
    assert_string_equal(hears(c, N1, N2, vote(1, true)), "");
    assert_string_equal(hears(c, N1, N2, vote(1, true)), "");
    assert_string_equal(hears(c, N1, N3, vote(1, true)), "");
    assert_int_equal(probe_of(c, N1).role, PROTOCOL_CANDIDATE); /* two votes; its own is not durable */
    assert_non_null(strstr(syncs(c, N1, 1), "leader of 1; append 1/1@2"));
    cluster_free(c);
}

/* --- disturbance -------------------------------------------------------------------------------------------------- */

static void standing_in_vain_raises_no_term(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    for (uint32_t i = 0; i < 20; i++) {
        const char *said = times_out(c, N1);
        assert_null(strstr(said, "meta"));
    }
    assert_int_equal(probe_of(c, N1).term, 0);
    cluster_free(c);
}

static void a_replica_that_returns_does_not_disturb_its_leader(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    isolates(c, N3, true);
    for (uint32_t i = 0; i < 20; i++) {
        beats(c, N1, 6);
        times_out(c, N3);
    }
    isolates(c, N3, false);
    times_out(c, N3);
    settles(c);
    beats(c, N1, 2);
    assert_int_equal(probe_of(c, N1).role, PROTOCOL_LEADER);
    assert_int_equal(probe_of(c, N1).term, 1);
    assert_int_equal(probe_of(c, N3).leader, N1);
    cluster_free(c);
}

static void who_hears_a_leader_helps_nobody_to_depose_it(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    loses(c, N2, N1);
    assert_string_equal(hears(c, N2, N3, pre_vote_request(2, 9, 1)), "n3: pre-vote term=1 no");
    assert_string_equal(hears(c, N2, N3, vote_request(2, 9, 1)), "");
    assert_string_equal(hears(c, N1, N3, vote_request(2, 9, 1)), ""); /* nor does the leader itself */
    passes(c, N2, ELECTION - 1);
    assert_string_equal(hears(c, N2, N3, vote_request(2, 9, 1)), "");
    passes(c, N2, 1);
    assert_string_equal(hears(c, N2, N3, pre_vote_request(2, 9, 1)), "n3: pre-vote term=2 yes");
    assert_non_null(strstr(hears(c, N2, N3, vote_request(2, 9, 1)), "vote term=2 yes"));
    cluster_free(c);
}

/* R25: hashicorp#606 */
static void a_leader_that_stepped_down_may_be_elected_at_once(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    assert_string_equal(hears(c, N2, N1, pre_vote_request(2, 9, 1)), "n1: pre-vote term=2 yes");
    assert_non_null(strstr(hears(c, N2, N1, vote_request(2, 9, 1)), "vote term=2 yes"));
    cluster_free(c);
}

/* Its lease may still run: a crash must not make a promise shorter. */
static void a_restarted_replica_is_as_sticky_as_before(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    restarts(c, N2);
    passes(c, N2, ELECTION - 1);
    assert_string_equal(hears(c, N2, N3, vote_request(2, 9, 1)), "");
    assert_true(c->node[N2].due_ns[TIMER_OF_ELECTION] > c->node[N2].now_ns);
    cluster_free(c);
}

static void a_leader_without_a_quorum_steps_down(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(5, NULL);
    elects(c, N1);
    for (uint8_t i = N3; i <= N5; i++) c->cut[i][N1] = true; /* it is heard, and hears only one */
    reads(c, N1, 7);
    beats(c, N1, 5);
    assert_int_equal(probe_of(c, N1).role, PROTOCOL_LEADER);
    heartbeats(c, N1); /* 300 ms without three of five, at the latest now */
    const char *said = probe_of(c, N1).role == PROTOCOL_LEADER ? heartbeats(c, N1) : (char *)c->node[N1].said.data;
    assert_string_equal(said, "refuse 7 not-leader; follower of 1");
    assert_int_equal(c->node[N1].due_ns[TIMER_OF_HEARTBEAT], UINT64_MAX);
    assert_true(c->node[N1].due_ns[TIMER_OF_ELECTION] != UINT64_MAX);
    cluster_free(c);
}

static void a_leader_with_a_bare_quorum_stays(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(5, NULL);
    elects(c, N1);
    isolates(c, N4, true);
    isolates(c, N5, true);
    beats(c, N1, 100);
    assert_int_equal(probe_of(c, N1).role, PROTOCOL_LEADER);
    proposes(c, N1, 1, "x");
    settles(c);
    assert_int_equal(commit_of(c, N1), 2);
    cluster_free(c);
}

/* --- appending ---------------------------------------------------------------------------------------------------- */

static void entries_are_acknowledged_when_they_are_durable(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    assert_string_equal(
        hears(c, N1, N2, append_request(1, 0, 0, "11", 0)),
        "meta term 1@1; follower of 1; append 1/1@2; append 2/1@3; n2: append term=1 index=2 round=1 yes^3");
    syncs(c, N1, 2);
    assert_int_equal(mail_between(c, N1, N2), 0);
    /* The same again is not acknowledged sooner, and a heartbeat tells what is durable. */
    assert_string_equal(hears(c, N1, N2, append_request(1, 0, 0, "11", 0)), "n2: append term=1 index=2 round=1 yes^3");
    assert_string_equal(hears(c, N1, N2, append_request(1, 2, 1, "", 0)), "n2: append term=1 index=1 round=1 yes");
    syncs(c, N1, 3);
    assert_int_equal(mail_between(c, N1, N2), 3);
    cluster_free(c);
}

/* R6: akka-raft#66 */
static void a_stale_append_truncates_nothing(void **state) {
    (void)state;
    for (int mutant = 0; mutant < 2; mutant++) {
        struct raft_cluster *c = cluster_with(3, PROTOCOL_READ_INDEX, mutant ? &raft_mutant_truncate_always : NULL);
        c->synced = true;
        hears(c, N1, N2, append_request(1, 0, 0, "1111", 0));
        const char *said = hears(c, N1, N2, append_request(1, 0, 0, "11", 0)); /* an earlier one, overtaken */
        if (mutant)
            assert_non_null(strstr(said, "cut 1@"));
        else
            assert_string_equal(said, "n2: append term=1 index=2 round=1 yes");
        assert_int_equal(probe_of(c, N1).last_index, mutant ? 2 : 4);
        cluster_free(c);
    }
}

static void a_conflict_cuts_the_log_at_the_conflict(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    c->synced = true;
    hears(c, N1, N2, append_request(1, 0, 0, "1111", 1));
    assert_string_equal(hears(c, N1, N3, append_request(2, 1, 1, "122", 0)),
                        "meta term 2@6; follower of 2; cut 3@7; append 3/2@8; append 4/2@9; "
                        "n3: append term=2 index=4 round=1 yes^9");
    assert_string_equal(hears(c, N1, N3, append_request(2, 4, 1, "2", 0)),
                        "n3: append term=2 index=2 log_term=1 round=1 no");
    cluster_free(c);
}

static void what_is_committed_is_never_cut(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    c->synced = true;
    hears(c, N1, N2, append_request(1, 0, 0, "111", 2));
    const char *said = hears(c, N1, N3, append_request(2, 1, 1, "2", 0)); /* no correct leader sends this */
    assert_non_null(strstr(said, "fatal a committed entry would be removed"));
    assert_int_equal(probe_of(c, N1).last_index, 3);
    cluster_free(c);
}

/* A client whose entry is cut must learn that it is unknown: another replica may have it, and commit it. */
static void a_request_whose_entry_is_cut_ends_unknown(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    isolates(c, N1, true);
    proposes(c, N1, 77, "x");
    elects(c, N2);
    isolates(c, N1, false);
    beats(c, N2, 2);
    assert_int_equal(c->node[N1].unknown, 1);
    assert_int_equal(c->node[N1].refused, 1);
    assert_int_equal(probe_of(c, N1).last_term, 2);
    cluster_free(c);
}

/* R8: copycat#265, scylla#9965 */
static void a_follower_commits_what_matched_and_no_more(void **state) {
    (void)state;
    for (int mutant = 0; mutant < 2; mutant++) {
        struct raft_cluster *c = cluster_with(3, PROTOCOL_READ_INDEX, mutant ? &raft_mutant_commit_past_match : NULL);
        c->synced = true;
        hears(c, N1, N2, append_request(1, 0, 0, "1111", 1));
        assert_int_equal(commit_of(c, N1), 1);
        hears(c, N1, N3, append_request(2, 2, 1, "", 4)); /* committed up to 4 elsewhere; here 3 and 4 are others */
        assert_int_equal(commit_of(c, N1), mutant ? 4 : 2);
        cluster_free(c);
    }
}

static void appends_are_sent_without_waiting_for_answers(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    isolates(c, N3, true);
    uint32_t limit = c->node[N1].config.limits.inflight_max;
    for (uint32_t i = 0; i < limit + 5; i++) proposes(c, N1, i + 1, "x");
    assert_int_equal(mail_between(c, N1, N2), limit);
    assert_string_equal(proposes(c, N1, 99, "x"), "append 23/1@24");
    syncs(c, N1, UINT64_MAX);
    struct raft_message m;
    carries(c, N1, N2);
    syncs(c, N2, UINT64_MAX);
    carries(c, N2, N1); /* the first answer makes room for all that is left */
    assert_true(mail_last(c, N1, N2, RAFT_APPEND_REQUEST, &m));
    assert_int_equal(m.index + m.entries, 1 + limit + 6);
    settles(c);
    assert_int_equal(commit_of(c, N1), 1 + limit + 6);
    cluster_free(c);
}

static void lost_appends_are_found_by_the_next_heartbeat(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    isolates(c, N3, true);
    for (uint32_t i = 0; i < 12; i++) proposes(c, N1, i + 1, "x");
    loses(c, N1, N2);
    beats(c, N1, 1);
    assert_int_equal(commit_of(c, N1), 13);
    assert_int_equal(probe_of(c, N2).last_index, 13);
    cluster_free(c);
}

static void a_log_that_differs_for_500_entries_is_repaired_in_a_round_trip_per_term(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    has_log(c, N1, (uint64_t[]){1, 3, 5, 7, 9, 11}, 6, 100);
    has_log(c, N2, (uint64_t[]){1, 2, 4, 6, 8, 10}, 6, 100);
    has_log(c, N3, (uint64_t[]){1, 3, 5, 7, 9, 11}, 6, 100);
    c->cut[N1][N2] = c->cut[N2][N1] = true;
    elects(c, N1);
    c->cut[N1][N2] = c->cut[N2][N1] = false;
    uint32_t refusals = 0;
    beats(c, N1, 0);
    heartbeats(c, N1);
    loses(c, N1, N3);
    while (probe_of(c, N2).last_index != 601) {
        struct raft_message m;
        assert_true(mail_between(c, N1, N2) > 0);
        carries(c, N1, N2);
        syncs_all(c);
        if (mail_last(c, N2, N1, RAFT_APPEND_REPLY, &m) && !m.success) refusals++;
        carries(c, N2, N1);
        assert_true(refusals < 20);
    }
    print_message("%u refusals over 5 terms\n", refusals);
    assert_true(refusals <= 6);
    settles(c);
    assert_int_equal(probe_of(c, N2).last_term, 12);
    cluster_free(c);
}

/* --- committing --------------------------------------------------------------------------------------------------- */

/* R1: Figure 8 of the paper, step by step. Commands are large, so that each goes in a message of its own. */
static void entries_of_an_earlier_term_are_not_committed_by_counting(void **state) {
    (void)state;
    static char large[221];
    memset(large, 'x', sizeof large - 1);
    for (int mutant = 0; mutant < 2; mutant++) {
        struct config config = cluster_config();
        config.limits.message_bytes_max = 300;
        config.rules = mutant ? &raft_mutant_commit_old_term : NULL;
        struct raft_cluster *c = cluster_new(5, &config);
        elects(c, N1);
        for (uint8_t i = N3; i <= N5; i++) c->cut[N1][i] = true;
        proposes(c, N1, 1, large); /* (a): index 2 of term 1 is on n1 and n2 */
        settles(c);
        isolates(c, N1, true);
        isolates(c, N2, true);
        stands(c, N5); /* (b): n5 leads term 2, and its index 2 reaches nobody */
        isolates(c, N5, true);
        isolates(c, N4, true);
        settles(c);
        restarts(c, N1);
        c->cut[N1][N2] = c->cut[N2][N1] = c->cut[N1][N3] = c->cut[N3][N1] = false;
        stands(c, N1); /* (c): n1 leads term 3, and index 2 reaches n3 */
        assert_int_equal(probe_of(c, N1).term, 3);
        loses(c, N1, N2);
        while (probe_of(c, N3).last_index < 2) {
            carries(c, N1, N3);
            syncs_all(c);
            carries(c, N3, N1);
        }
        loses(c, N1, N3);
        hears(c, N1, N2, acknowledge(3, 2, 1)); /* three of five have it */
        assert_int_equal(commit_of(c, N1), mutant ? 2 : 0);
        assert_int_equal(probe_of(c, N1).durable_index, 3);
        if (mutant) { /* (d): n5 comes back, wins, and overwrites it */
            isolates(c, N1, true);
            isolates(c, N2, true);
            c->cut[N5][N4] = c->cut[N4][N5] = c->cut[N5][N3] = c->cut[N3][N5] = false;
            restarts(c, N5);
            stands(c, N5);
            while (probe_of(c, N3).last_term == 1) {
                carries(c, N5, N3);
                carries(c, N3, N5);
            }
            assert_int_equal(probe_of(c, N3).last_term, 4);
        } else { /* (e): its own entry on a majority commits both */
            c->cut[N2][N1] = false;
            beats(c, N1, 2);
            assert_int_equal(commit_of(c, N1), 3);
        }
        cluster_free(c);
    }
}

static void a_leader_counts_its_own_disk_like_any_other(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    isolates(c, N3, true);
    proposes(c, N1, 1, "x");
    carries(c, N1, N2);
    syncs(c, N2, UINT64_MAX);
    carries(c, N2, N1);
    assert_int_equal(commit_of(c, N1), 1); /* n2 has it on disk, n1 does not */
    assert_string_equal(syncs(c, N1, UINT64_MAX), "apply 2");
    cluster_free(c);
}

static void answers_that_no_leader_caused_change_nothing(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    hears(c, N1, N2, acknowledge(1, 999, 1));
    hears(c, N1, N2, acknowledge(1, 1, 1u << 20));
    hears(c, N1, N3, (struct raft_message){.kind = RAFT_SNAPSHOT_REPLY, .term = 1, .success = true, .index = 999});
    assert_string_equal(reads(c, N1, 7), "n2: append? term=1 index=1 log_term=1 entries=0 commit=1 round=2; "
                                         "n3: append? term=1 index=1 log_term=1 entries=0 commit=1 round=2");
    assert_int_equal(commit_of(c, N1), 1);
    assert_string_equal(hears(c, N1, N2, acknowledge(1, 1, 2)), "read 7 at 1");
    cluster_free(c);
}

/* --- reads -------------------------------------------------------------------------------------------------------- */

/* R20: etcd#7331 */
static void a_read_waits_for_an_entry_of_the_leaders_term(void **state) {
    (void)state;
    for (int mutant = 0; mutant < 2; mutant++) {
        struct raft_cluster *c =
            cluster_with(3, PROTOCOL_READ_INDEX, mutant ? &raft_mutant_read_before_own_commit : NULL);
        elects(c, N1);
        proposes(c, N1, 1, "x");
        settles(c); /* n2 has the entry, and does not know that it is committed */
        isolates(c, N1, true);
        stands(c, N2);
        reads(c, N2, 7);
        heartbeats(c, N2);
        hears(c, N2, N3, acknowledge(2, 2, 2)); /* n3 confirms the round; the new entry is not on its disk yet */
        assert_int_equal(c->node[N2].reads_ready, mutant ? 1 : 0);
        assert_int_equal(commit_of(c, N2), 1); /* with the mutant, the read missed index 2 */
        settles(c);
        assert_int_equal(c->node[N2].reads_ready, 1);
        assert_int_equal(commit_of(c, N2), 3);
        cluster_free(c);
    }
}

/* R21: thesis 6.4 */
static void a_read_waits_for_a_quorum_that_was_asked_after_it(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(5, NULL);
    elects(c, N1);
    heartbeats(c, N1); /* round 2 is under way: it proves nothing for what is asked now */
    assert_string_equal(reads(c, N1, 7), "");
    hears(c, N1, N2, acknowledge(1, 1, 2));
    const char *said = hears(c, N1, N3, acknowledge(1, 1, 2));
    assert_non_null(strstr(said, "n2: append? term=1 index=1 log_term=1 entries=0 commit=1 round=3"));
    assert_null(strstr(said, "read 7"));
    assert_string_equal(hears(c, N1, N2, acknowledge(1, 1, 3)), "");
    assert_string_equal(hears(c, N1, N2, acknowledge(1, 1, 3)), "");
    assert_string_equal(hears(c, N1, N4, acknowledge(1, 1, 3)), "read 7 at 1");
    cluster_free(c);
    c = cluster_with(5, PROTOCOL_READ_INDEX, &raft_mutant_leader_reads_locally);
    elects(c, N1);
    assert_string_equal(reads(c, N1, 7), "read 7 at 1");
    cluster_free(c);
}

static void many_reads_share_a_round(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    uint64_t before = c->carried[RAFT_APPEND_REQUEST];
    for (uint64_t token = 1; token <= 50; token++) reads(c, N1, token);
    settles(c);
    assert_int_equal(c->node[N1].reads_ready, 50);
    assert_int_equal(c->carried[RAFT_APPEND_REQUEST] - before, 4); /* the first one's round, and one for all others */
    cluster_free(c);
}

static void a_full_read_queue_says_busy(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    for (uint64_t token = 1; token <= 64; token++) reads(c, N1, token);
    assert_string_equal(reads(c, N1, 65), "refuse 65 busy n1");
    settles(c);
    assert_int_equal(c->node[N1].reads_ready, 64);
    assert_string_equal(reads(c, N2, 66), "refuse 66 not-leader n1");
    cluster_free(c);
}

static void local_reads_ask_nobody(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_with(3, PROTOCOL_READ_LOCAL, NULL);
    elects(c, N1);
    assert_string_equal(reads(c, N2, 7), "read 7 at 0"); /* stale, by choice */
    cluster_free(c);
}

/* R22: tikv#964. 300 ms less 10 % for the drift between clocks, from the sending of the round. */
static void a_lease_counts_from_the_asking_and_allows_for_drift(void **state) {
    (void)state;
    for (int mutant = 0; mutant < 2; mutant++) {
        struct raft_cluster *c = cluster_with(3, PROTOCOL_READ_LEASE, mutant ? &raft_mutant_lease_from_ack : NULL);
        elects(c, N1);
        beats(c, N1, 1);
        assert_string_equal(reads(c, N1, 1), "read 1 at 1");
        heartbeats(c, N1);
        uint64_t sent = c->node[N1].now_ns;
        passes(c, N1, 100 * MS);
        settles(c); /* the answers come late */
        c->node[N1].now_ns = sent + 270 * MS - 1;
        assert_string_equal(reads(c, N1, 2), "read 2 at 1");
        c->node[N1].now_ns = sent + 270 * MS;
        assert_int_equal(strcmp(reads(c, N1, 3), "read 3 at 1") == 0, mutant);
        /* No quorum, no longer lease: one of three follows the leader's heartbeats, and that is itself. */
        isolates(c, N1, true);
        passes(c, N1, 150 * MS);
        heartbeats(c, N1);
        settles(c);
        assert_null(strstr(reads(c, N1, 4), "read 4"));
        cluster_free(c);
    }
}

static void a_lease_read_still_waits_for_an_entry_of_the_term(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_with(3, PROTOCOL_READ_LEASE, NULL);
    stands(c, N1);
    heartbeats(c, N1);
    for (uint8_t i = N2; i <= N3; i++) {
        carries(c, N1, i);
        carries(c, i, N1);
    }
    assert_string_equal(reads(c, N1, 7), "");
    settles(c);
    assert_int_equal(c->node[N1].reads_ready, 1);
    cluster_free(c);
}

/* --- transfer ----------------------------------------------------------------------------------------------------- */

static void leadership_goes_over_at_once_and_against_stickiness(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    assert_string_equal(transfers(c, N1, N3), "n3: timeout-now term=1");
    assert_string_equal(proposes(c, N1, 1, "x"), "refuse 1 busy n1");
    settles(c);
    assert_int_equal(probe_of(c, N3).role, PROTOCOL_LEADER);
    assert_int_equal(probe_of(c, N3).term, 2);
    assert_int_equal(probe_of(c, N1).role, PROTOCOL_FOLLOWER);
    cluster_free(c);
}

static void a_transfer_waits_until_the_target_has_the_log(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    isolates(c, N3, true);
    for (uint64_t token = 1; token <= 5; token++) proposes(c, N1, token, "x");
    settles(c);
    assert_string_equal(transfers(c, N1, N3), "");
    isolates(c, N3, false);
    beats(c, N1, 1);
    assert_int_equal(probe_of(c, N3).role, PROTOCOL_LEADER);
    assert_int_equal(probe_of(c, N3).last_index, 7);
    cluster_free(c);
}

static void a_transfer_in_vain_ends_after_an_election_timeout(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_with(3, PROTOCOL_READ_LEASE, NULL);
    elects(c, N1);
    isolates(c, N3, true);
    transfers(c, N1, N3);
    beats(c, N1, 5);
    assert_string_equal(proposes(c, N1, 1, "x"), "refuse 1 busy n1");
    beats(c, N1, 2);
    assert_non_null(strstr(proposes(c, N1, 2, "x"), "append 2/1"));
    settles(c);
    assert_int_equal(commit_of(c, N1), 2);
    /* The target may get that message at any time: no lease in this term, reads ask a quorum. */
    assert_non_null(strstr(reads(c, N1, 7), "round="));
    settles(c);
    assert_int_equal(c->node[N1].reads_ready, 1);
    cluster_free(c);
}

static void a_transfer_to_anyone_goes_to_who_has_most(void **state) {
    (void)state;
    struct raft_cluster *c = cluster_new(3, NULL);
    elects(c, N1);
    isolates(c, N2, true);
    proposes(c, N1, 1, "x");
    settles(c);
    assert_string_equal(transfers(c, N1, NODE_NONE), "n3: timeout-now term=1");
    assert_string_equal(transfers(c, N2, N3), ""); /* only a leader has something to give */
    assert_string_equal(hears(c, N2, N3, (struct raft_message){.kind = RAFT_TIMEOUT_NOW, .term = 1}), "");
    cluster_free(c);
}

static void a_cluster_of_one_leads_itself(void **state) {
    (void)state;
    struct config config = cluster_config();
    config.reads = PROTOCOL_READ_LEASE;
    struct raft_cluster *c = cluster_new(1, &config);
    elects(c, N1);
    assert_int_equal(commit_of(c, N1), 1);
    assert_string_equal(proposes(c, N1, 1, "x"), "append 2/1@3");
    assert_string_equal(syncs(c, N1, 3), "apply 2");
    assert_string_equal(reads(c, N1, 7), "read 7 at 2");
    beats(c, N1, 20);
    assert_int_equal(probe_of(c, N1).role, PROTOCOL_LEADER);
    assert_string_equal(transfers(c, N1, N1), "");
    restarts(c, N1);
    elects(c, N1);
    assert_int_equal(commit_of(c, N1), 3);
    cluster_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vote_leaves_when_it_is_durable),
        cmocka_unit_test(a_replica_has_one_vote_a_term),
        cmocka_unit_test(a_durable_vote_survives_a_restart_and_a_role_does_not),
        cmocka_unit_test(stepping_down_within_a_term_keeps_the_vote),
        cmocka_unit_test(votes_go_to_logs_that_are_up_to_date),
        cmocka_unit_test(a_candidate_counts_itself_when_durable_and_others_once),
        cmocka_unit_test(standing_in_vain_raises_no_term),
        cmocka_unit_test(a_replica_that_returns_does_not_disturb_its_leader),
        cmocka_unit_test(who_hears_a_leader_helps_nobody_to_depose_it),
        cmocka_unit_test(a_leader_that_stepped_down_may_be_elected_at_once),
        cmocka_unit_test(a_restarted_replica_is_as_sticky_as_before),
        cmocka_unit_test(a_leader_without_a_quorum_steps_down),
        cmocka_unit_test(a_leader_with_a_bare_quorum_stays),
        cmocka_unit_test(entries_are_acknowledged_when_they_are_durable),
        cmocka_unit_test(a_stale_append_truncates_nothing),
        cmocka_unit_test(a_conflict_cuts_the_log_at_the_conflict),
        cmocka_unit_test(what_is_committed_is_never_cut),
        cmocka_unit_test(a_request_whose_entry_is_cut_ends_unknown),
        cmocka_unit_test(a_follower_commits_what_matched_and_no_more),
        cmocka_unit_test(appends_are_sent_without_waiting_for_answers),
        cmocka_unit_test(lost_appends_are_found_by_the_next_heartbeat),
        cmocka_unit_test(a_log_that_differs_for_500_entries_is_repaired_in_a_round_trip_per_term),
        cmocka_unit_test(entries_of_an_earlier_term_are_not_committed_by_counting),
        cmocka_unit_test(a_leader_counts_its_own_disk_like_any_other),
        cmocka_unit_test(answers_that_no_leader_caused_change_nothing),
        cmocka_unit_test(a_read_waits_for_an_entry_of_the_leaders_term),
        cmocka_unit_test(a_read_waits_for_a_quorum_that_was_asked_after_it),
        cmocka_unit_test(many_reads_share_a_round),
        cmocka_unit_test(a_full_read_queue_says_busy),
        cmocka_unit_test(local_reads_ask_nobody),
        cmocka_unit_test(a_lease_counts_from_the_asking_and_allows_for_drift),
        cmocka_unit_test(a_lease_read_still_waits_for_an_entry_of_the_term),
        cmocka_unit_test(leadership_goes_over_at_once_and_against_stickiness),
        cmocka_unit_test(a_transfer_waits_until_the_target_has_the_log),
        cmocka_unit_test(a_transfer_in_vain_ends_after_an_election_timeout),
        cmocka_unit_test(a_transfer_to_anyone_goes_to_who_has_most),
        cmocka_unit_test(a_cluster_of_one_leads_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
