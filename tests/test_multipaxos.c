/* Multi-Paxos' rules, one situation at a time, and whole clusters under random disturbance. Rounds and ballots are
 * written as round.node. */
#include "targets/protocols/multipaxos/multipaxos.h"
#include "tests/step_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t ballot(uint64_t round, uint8_t node) {
    return multipaxos_rules_correct.ballot(round, node);
}

static struct step_cluster *cluster(uint8_t nodes, uint64_t seed) {
    return step_new(&multipaxos_protocol, nodes, NULL, seed);
}

/* A message as if that node had sent it. */
static void hears(struct step_cluster *c, uint8_t to, uint8_t from, const struct multipaxos_message *m) {
    uint8_t bytes[2048];
    struct event ev = {.kind = EVENT_MESSAGE};
    ev.message.from = from;
    ev.message.bytes = bytes_of(bytes, multipaxos_encode(m, bytes, sizeof bytes));
    assert_true(ev.message.bytes.size > 0);
    step_event(c, to, ev);
}

static void hears_accept(struct step_cluster *c, uint8_t to, uint8_t from, uint64_t at, uint64_t slot,
                         const char *value) {
    uint8_t bytes[256];
    struct writer w = {.data = bytes, .capacity = sizeof bytes};
    struct multipaxos_entry e = {.kind = ENTRY_COMMAND, .value = bytes_str(value)};
    multipaxos_entry_write(&w, MULTIPAXOS_ACCEPT, &e);
    hears(c, to, from,
          &(struct multipaxos_message){
              .kind = MULTIPAXOS_ACCEPT, .ballot = at, .slot = slot, .entries = 1, .data = bytes_of(bytes, w.size)});
}

/* What that node said last to the other, taken out of the queue. */
static struct multipaxos_message said(struct step_cluster *c, uint8_t from, uint8_t to) {
    static uint8_t memory[4096];
    struct multipaxos_message m = {0};
    for (size_t i = c->messages_count; i-- > 0;) {
        const struct step_message *sent = &c->messages[i];
        if (sent->from != from || sent->to != to) continue;
        memcpy(memory, sent->bytes.data, sent->bytes.size);
        assert_true(multipaxos_decode(bytes_of(memory, sent->bytes.size), &m));
        return m;
    }
    return m;
}

static void cut_off(struct step_cluster *c, uint8_t node) {
    for (uint8_t i = 0; i < c->nodes; i++)
        if (i != node) c->cut[i] |= 1u << node;
    c->cut[node] = UINT32_MAX;
}

static void reconnect(struct step_cluster *c) {
    memset(c->cut, 0, sizeof c->cut);
}

static void one_replica_leads_and_all_apply_its_sequence(void **state) {
    (void)state;
    struct step_cluster *c = cluster(5, 1);
    step_run(c, 2 * NS_PER_S);
    uint8_t leader = step_leader(c);
    assert_int_not_equal(leader, NODE_NONE);
    for (uint64_t i = 1; i <= 100; i++) {
        char command[16];
        snprintf(command, sizeof command, "%d", (int)i);
        step_propose(c, leader, i, command);
        if (i % 20 == 0) step_run(c, 10 * NS_PER_MS);
    }
    step_run(c, NS_PER_S);
    step_expect_agreement(c);
    assert_true(step_converged(c));
    assert_int_equal(c->node[0].applied_count, 100);
    for (uint64_t i = 1; i <= 100; i++) assert_int_equal(step_answer(c, leader, i)->status, STATUS_OK);
    uint8_t other = (uint8_t)((leader + 1) % 5);
    step_propose(c, other, 200, "elsewhere");
    assert_int_equal(step_answer(c, other, 200)->status, STATUS_NOT_LEADER);
    step_free(c);
}

static void phase_1_is_run_once_and_a_command_costs_phase_2_alone(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 2);
    step_run(c, 2 * NS_PER_S);
    uint64_t prepares = c->sent[MULTIPAXOS_PREPARE], before = c->sent[MULTIPAXOS_ACCEPT];
    for (uint64_t i = 1; i <= 30; i++) step_propose(c, step_leader(c), i, "x");
    assert_int_equal(c->sent[MULTIPAXOS_ACCEPT] - before, 2 * 8); /* the pipeline is full, the rest goes in batches */
    step_run(c, NS_PER_S);
    assert_int_equal(c->sent[MULTIPAXOS_PREPARE], prepares);
    assert_int_equal(c->node[0].applied_count, 30);
    step_free(c);
}

/* Lamport 2001, P2c: of what a quorum has accepted, the value of the highest ballot. */
static void a_new_leader_proposes_the_value_of_the_highest_ballot(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct step_cluster *c = cluster(3, seed);
        cut_off(c, 0);
        hears_accept(c, 1, 0, ballot(1, 0), 1, "old");
        hears_accept(c, 2, 0, ballot(2, 0), 1, "new");
        step_run(c, 5 * NS_PER_S);
        for (uint8_t i = 1; i < 3; i++) {
            assert_int_equal(c->node[i].applied_count, 1);
            assert_true(c->node[i].applied[0] == hash_bytes(bytes_str("new"), 0));
        }
        step_free(c);
    }
}

static void gaps_are_filled_with_noops(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 3);
    cut_off(c, 0);
    hears_accept(c, 1, 0, ballot(1, 0), 1, "first");
    hears_accept(c, 1, 0, ballot(1, 0), 5, "fifth");
    hears_accept(c, 2, 0, ballot(1, 0), 3, "third");
    step_run(c, 5 * NS_PER_S);
    assert_int_not_equal(step_leader(c), NODE_NONE);
    for (uint8_t i = 1; i < 3; i++) {
        assert_true(step_probe(c, i).commit_index >= 3);
        assert_true(c->node[i].applied[0] == hash_bytes(bytes_str("first"), 0));
        assert_true(c->node[i].applied[1] == hash_bytes(bytes_str("third"), 0));
    }
    assert_int_equal(step_probe(c, 1).applied_index, step_probe(c, 2).applied_index);
    step_free(c);
}

static void a_promise_outlives_a_crash_and_binds(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 4);
    struct multipaxos_message prepare = {
        .kind = MULTIPAXOS_PREPARE, .handover = true, .ballot = ballot(7, 2), .slot = 1};
    hears(c, 1, 2, &prepare);
    struct multipaxos_message answer = said(c, 1, 2);
    assert_int_equal(answer.kind, MULTIPAXOS_PROMISE);
    assert_true(answer.success && answer.ballot == ballot(7, 2));
    step_crash(c, 1);
    step_boot(c, 1);
    assert_true(step_probe(c, 1).term == ballot(7, 2));
    hears_accept(c, 1, 0, ballot(6, 0), 1, "late");
    answer = said(c, 1, 0);
    assert_int_equal(answer.kind, MULTIPAXOS_ACCEPTED);
    assert_true(!answer.success && answer.ballot == ballot(7, 2));
    assert_int_equal(step_probe(c, 1).last_index, 0);
    step_free(c);
}

static void what_is_accepted_outlives_a_crash_and_is_told(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 5);
    hears_accept(c, 1, 0, ballot(3, 0), 2, "kept");
    step_crash(c, 1);
    step_boot(c, 1);
    struct multipaxos_message prepare = {
        .kind = MULTIPAXOS_PREPARE, .handover = true, .ballot = ballot(4, 2), .slot = 1};
    hears(c, 1, 2, &prepare);
    struct multipaxos_message answer = said(c, 1, 2);
    assert_true(answer.success);
    assert_int_equal(answer.entries, 1);
    struct reader r = {.data = answer.data.data, .size = answer.data.size};
    struct multipaxos_entry e;
    assert_true(multipaxos_entry_next(&r, MULTIPAXOS_PROMISE, &e));
    assert_int_equal(e.slot, 2);
    assert_true(e.ballot == ballot(3, 0) && bytes_equal(e.value, bytes_str("kept")));
    step_free(c);
}

static void nothing_is_said_before_the_disk_has_it(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 6);
    c->node[1].stalled = true;
    hears(
        c, 1, 2,
        &(struct multipaxos_message){.kind = MULTIPAXOS_PREPARE, .handover = true, .ballot = ballot(2, 2), .slot = 1});
    hears_accept(c, 1, 2, ballot(2, 2), 1, "unsaid");
    assert_int_equal(said(c, 1, 2).kind, 0);
    step_release_disk(c, 1);
    hears_accept(c, 1, 2, ballot(2, 2), 1, "unsaid");
    assert_int_equal(said(c, 1, 2).kind, MULTIPAXOS_ACCEPTED);
    step_free(c);
}

static void who_hears_a_leader_helps_nobody_to_depose_it(void **state) {
    (void)state;
    struct step_cluster *c = cluster(5, 7);
    step_run(c, 2 * NS_PER_S);
    uint8_t leader = step_leader(c), other = (uint8_t)((leader + 1) % 5), third = (uint8_t)((leader + 2) % 5);
    uint64_t term = step_probe(c, leader).term;
    cut_off(c, other);
    step_run(c, 5 * NS_PER_S);
    assert_true(step_probe(c, other).term == term); /* it canvassed, and nobody answered */
    reconnect(c);
    step_run(c, NS_PER_S);
    assert_int_equal(step_leader(c), leader);
    assert_true(step_probe(c, leader).term == term);
    hears(c, third, other,
          &(struct multipaxos_message){.kind = MULTIPAXOS_PREPARE, .ballot = ballot(90, other), .slot = 1});
    assert_true(step_probe(c, third).term == term);
    step_free(c);
}

static void a_leader_without_a_quorum_steps_down_and_reads_nothing(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 8);
    step_run(c, 2 * NS_PER_S);
    uint8_t old = step_leader(c);
    cut_off(c, old);
    step_read(c, old, 1);
    step_propose(c, old, 2, "lost");
    step_run(c, 3 * NS_PER_S);
    assert_int_equal(step_answer(c, old, 1)->status, STATUS_NOT_LEADER);
    uint8_t new = step_leader(c);
    assert_true(new != NODE_NONE &&new != old);
    step_propose(c, new, 3, "instead");
    step_run(c, NS_PER_S);
    assert_int_equal(step_answer(c, new, 3)->status, STATUS_OK);
    reconnect(c);
    step_run(c, 2 * NS_PER_S);
    assert_int_equal(step_answer(c, old, 2)->status, STATUS_UNKNOWN); /* another value is in its slot */
    assert_true(step_converged(c));
    assert_int_equal(c->node[old].applied_count, 1);
    step_free(c);
}

/* Requests may be equal byte for byte: with what became of another's, nobody is answered. */
static void an_equal_value_of_another_leader_answers_no_request(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 8);
    step_run(c, 2 * NS_PER_S);
    uint8_t old = step_leader(c);
    cut_off(c, old);
    step_propose(c, old, 1, "open a session");
    step_run(c, 3 * NS_PER_S);
    uint8_t new = step_leader(c);
    assert_true(new != NODE_NONE &&new != old);
    step_propose(c, new, 2, "open a session");
    step_run(c, NS_PER_S);
    assert_int_equal(step_answer(c, new, 2)->status, STATUS_OK);
    reconnect(c);
    step_run(c, 2 * NS_PER_S);
    assert_int_equal(c->node[old].applied_count, 1);
    assert_int_equal(step_answer(c, old, 1)->status, STATUS_UNKNOWN);
    step_free(c);
}

static void who_leads_again_answers_what_it_was_asked_before(void **state) {
    (void)state;
    uint32_t again = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct step_cluster *c = cluster(3, seed);
        step_run(c, 2 * NS_PER_S);
        uint8_t old = step_leader(c);
        memset(c->cut, 0xff, sizeof c->cut);
        step_propose(c, old, 1, "asked");
        step_run(c, 3 * NS_PER_S);
        assert_int_equal(step_leader(c), NODE_NONE);
        reconnect(c);
        step_run(c, 3 * NS_PER_S);
        bool leads_again = step_leader(c) == old;
        again += leads_again;
        step_propose(c, step_leader(c), 2, "another"); /* in the same slot, if the first was found by nobody */
        step_run(c, NS_PER_S);
        assert_int_equal(step_answer(c, old, 1)->status, leads_again ? STATUS_OK : STATUS_UNKNOWN);
        step_free(c);
    }
    assert_in_range(again, 1, 19);
}

static void a_new_leader_reads_what_was_chosen_before_it(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 9);
    step_run(c, 2 * NS_PER_S);
    uint8_t old = step_leader(c);
    step_propose(c, old, 1, "seen");
    step_run(c, 3 * NS_PER_MS); /* chosen, and answered; nobody else has heard that it is */
    assert_int_equal(step_answer(c, old, 1)->status, STATUS_OK);
    step_crash(c, old);
    step_run(c, 2 * NS_PER_S);
    uint8_t new = step_leader(c);
    step_read(c, new, 2);
    step_run(c, 100 * NS_PER_MS);
    assert_int_equal(step_answer(c, new, 2)->status, STATUS_OK);
    assert_int_equal(step_answer(c, new, 2)->index, 1);
    step_free(c);
}

static void who_was_away_past_the_log_gets_a_snapshot(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 10);
    step_run(c, 2 * NS_PER_S);
    uint8_t leader = step_leader(c), away = (uint8_t)((leader + 1) % 3);
    step_crash(c, away);
    for (uint64_t i = 1; i <= 500; i++) {
        step_propose(c, leader, i, "more and more");
        step_run(c, 5 * NS_PER_MS);
    }
    assert_int_equal(step_answer(c, leader, 500)->status, STATUS_OK);
    assert_true(step_probe(c, leader).first_index > 400);
    step_boot(c, away);
    step_run(c, 2 * NS_PER_S);
    assert_true(c->sent[MULTIPAXOS_SNAPSHOT] > 0);
    assert_true(step_converged(c));
    step_expect_agreement(c);
    step_crash(c, away); /* and what it got is on its disk */
    step_boot(c, away);
    assert_true(step_probe(c, away).applied_index > 400);
    step_run(c, NS_PER_S);
    assert_true(step_converged(c));
    step_free(c);
}

static void leadership_is_handed_over(void **state) {
    (void)state;
    struct step_cluster *c = cluster(5, 11);
    step_run(c, 2 * NS_PER_S);
    uint8_t old = step_leader(c), new = (uint8_t)((old + 3) % 5);
    step_event(c, old, (struct event){.kind = EVENT_TRANSFER, .transfer = {.to = new}});
    step_run(c, 100 * NS_PER_MS);
    assert_int_equal(step_leader(c), new);
    step_free(c);
}

/* The log of promises, values and their repetitions is compacted also when nothing is ever chosen. */
static void elections_without_end_do_not_fill_the_log(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 12);
    step_run(c, 2 * NS_PER_S);
    uint8_t old = step_leader(c);
    cut_off(c, old);
    for (uint64_t i = 1; i <= 20; i++) step_propose(c, old, i, "a value that stays behind");
    reconnect(c);
    for (uint32_t i = 0; i < 60; i++) {
        step_run(c, NS_PER_S);
        uint8_t leader = step_leader(c);
        if (leader == NODE_NONE) continue;
        step_propose(c, leader, 100 + i, "another");
        step_crash(c, leader);
        step_boot(c, leader);
    }
    step_run(c, 5 * NS_PER_S);
    step_expect_agreement(c);
    assert_true(step_converged(c));
    step_free(c);
}

static void replicas_agree_whatever_happens(void **state) {
    (void)state;
    uint32_t ok = 0, seeds = getenv("HARROW_TEST_LONG") ? 2000 : 60;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct step_cluster *c = cluster(seed % 2 ? 5 : 3, seed);
        ok += step_storm(c, 400);
        if (!step_converged(c)) fail_msg("seed %d: not all replicas came to the same end", (int)seed);
        step_free(c);
    }
    print_message("%u requests answered\n", ok);
    assert_true(ok > seeds * 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_replica_leads_and_all_apply_its_sequence),
        cmocka_unit_test(phase_1_is_run_once_and_a_command_costs_phase_2_alone),
        cmocka_unit_test(a_new_leader_proposes_the_value_of_the_highest_ballot),
        cmocka_unit_test(gaps_are_filled_with_noops),
        cmocka_unit_test(a_promise_outlives_a_crash_and_binds),
        cmocka_unit_test(what_is_accepted_outlives_a_crash_and_is_told),
        cmocka_unit_test(nothing_is_said_before_the_disk_has_it),
        cmocka_unit_test(who_hears_a_leader_helps_nobody_to_depose_it),
        cmocka_unit_test(a_leader_without_a_quorum_steps_down_and_reads_nothing),
        cmocka_unit_test(an_equal_value_of_another_leader_answers_no_request),
        cmocka_unit_test(who_leads_again_answers_what_it_was_asked_before),
        cmocka_unit_test(a_new_leader_reads_what_was_chosen_before_it),
        cmocka_unit_test(who_was_away_past_the_log_gets_a_snapshot),
        cmocka_unit_test(leadership_is_handed_over),
        cmocka_unit_test(elections_without_end_do_not_fill_the_log),
        cmocka_unit_test(replicas_agree_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
