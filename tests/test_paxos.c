/* Basic Paxos' rules, one situation at a time, and whole clusters under random disturbance; and the slots and their
 * log, which Multi-Paxos has, too. */
#include "targets/protocols/paxos/paxos.h"
#include "targets/protocols/slots.h"
#include "tests/step_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t ballot(uint64_t round, uint8_t node) {
    return paxos_rules_correct.ballot(round, node);
}

static struct step_cluster *cluster(uint8_t nodes, uint64_t seed) {
    return step_new(&paxos_protocol, nodes, NULL, seed);
}

static void hears(struct step_cluster *c, uint8_t to, uint8_t from, const struct paxos_message *m) {
    uint8_t bytes[2048];
    struct event ev = {.kind = EVENT_MESSAGE};
    ev.message.from = from;
    ev.message.bytes = bytes_of(bytes, paxos_encode(m, bytes, sizeof bytes));
    assert_true(ev.message.bytes.size > 0);
    step_event(c, to, ev);
}

/* The value of one command, as that node proposes it. */
static struct bytes value_of(uint8_t node, const char *command) {
    static uint8_t memory[256];
    struct writer w = {.data = memory, .capacity = sizeof memory};
    write_u8(&w, node);
    write_bytes(&w, bytes_str(command));
    return bytes_of(memory, w.size);
}

static void hears_accept(struct step_cluster *c, uint8_t to, uint8_t from, uint64_t at, uint64_t slot,
                         const char *command) {
    hears(c, to, from,
          &(struct paxos_message){.kind = PAXOS_ACCEPT,
                                  .slot = slot,
                                  .ballot = at,
                                  .value_kind = ENTRY_COMMAND,
                                  .data = value_of(from, command)});
}

static struct paxos_message said(struct step_cluster *c, uint8_t from, uint8_t to) {
    static uint8_t memory[4096];
    struct paxos_message m = {0};
    for (size_t i = c->messages_count; i-- > 0;) {
        const struct step_message *sent = &c->messages[i];
        if (sent->from != from || sent->to != to) continue;
        memcpy(memory, sent->bytes.data, sent->bytes.size);
        assert_true(paxos_decode(bytes_of(memory, sent->bytes.size), &m));
        return m;
    }
    return m;
}

static void cut_off(struct step_cluster *c, uint8_t node) {
    for (uint8_t i = 0; i < c->nodes; i++)
        if (i != node) c->cut[i] |= 1u << node;
    c->cut[node] = UINT32_MAX;
}

static void every_replica_proposes_and_all_apply_one_sequence(void **state) {
    (void)state;
    struct step_cluster *c = cluster(5, 1);
    for (uint64_t i = 1; i <= 100; i++) {
        char command[16];
        snprintf(command, sizeof command, "%d", (int)i);
        step_propose(c, (uint8_t)(i % 5), i, command);
        step_run(c, 3 * NS_PER_MS);
    }
    step_run(c, 3 * NS_PER_S);
    step_expect_agreement(c);
    assert_true(step_converged(c));
    assert_int_equal(c->node[0].applied_count, 100);
    for (uint64_t i = 1; i <= 100; i++) assert_int_equal(step_answer(c, (uint8_t)(i % 5), i)->status, STATUS_OK);
    assert_int_equal(c->node[3].role, PROTOCOL_PEER);
    step_free(c);
}

static void a_command_alone_takes_both_phases_once(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 2);
    step_propose(c, 1, 1, "alone");
    step_run(c, 10 * NS_PER_MS);
    assert_int_equal(step_answer(c, 1, 1)->status, STATUS_OK);
    assert_int_equal(c->sent[PAXOS_PREPARE], 2);
    assert_int_equal(c->sent[PAXOS_ACCEPT], 2);
    step_free(c);
}

static void duelling_proposers_come_to_an_end(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct step_cluster *c = cluster(5, seed);
        for (uint8_t i = 0; i < 5; i++) step_propose(c, i, i + 1u, "at the same time");
        step_run(c, NS_PER_S);
        for (uint8_t i = 0; i < 5; i++) assert_int_equal(step_answer(c, i, i + 1u)->status, STATUS_OK);
        assert_int_equal(c->node[0].applied_count, 5);
        step_free(c);
    }
}

static void the_value_of_the_highest_ballot_is_proposed(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct step_cluster *c = cluster(3, seed);
        cut_off(c, 0);
        hears_accept(c, 1, 0, ballot(1, 0), 1, "old");
        hears_accept(c, 2, 0, ballot(2, 0), 1, "new");
        step_propose(c, (uint8_t)(1 + seed % 2), 1, "own");
        step_run(c, 5 * NS_PER_S);
        for (uint8_t i = 1; i < 3; i++) {
            assert_int_equal(c->node[i].applied_count, 2);
            assert_true(c->node[i].applied[0] == hash_bytes(bytes_str("new"), 0));
            assert_true(c->node[i].applied[1] == hash_bytes(bytes_str("own"), 0));
        }
        step_free(c);
    }
}

static void what_nobody_ends_is_ended(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 3);
    cut_off(c, 0);
    hears_accept(c, 1, 0, ballot(1, 0), 1, "begun");
    step_run(c, 3 * NS_PER_S);
    for (uint8_t i = 1; i < 3; i++) {
        assert_int_equal(step_probe(c, i).commit_index, 1);
        assert_int_equal(c->node[i].applied_count, 1);
    }
    step_free(c);
}

static void promises_and_values_outlive_a_crash(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 4);
    hears(c, 1, 2, &(struct paxos_message){.kind = PAXOS_PREPARE, .slot = 1, .ballot = ballot(7, 2)});
    assert_true(said(c, 1, 2).success);
    hears_accept(c, 1, 0, ballot(3, 0), 2, "kept");
    assert_true(said(c, 1, 0).success);
    step_crash(c, 1);
    step_boot(c, 1);
    hears_accept(c, 1, 0, ballot(6, 0), 1, "late");
    struct paxos_message answer = said(c, 1, 0);
    assert_true(answer.kind == PAXOS_ACCEPTED && !answer.success && answer.ballot == ballot(7, 2));
    hears(c, 1, 2, &(struct paxos_message){.kind = PAXOS_PREPARE, .slot = 2, .ballot = ballot(4, 2)});
    answer = said(c, 1, 2);
    assert_true(answer.kind == PAXOS_PROMISE && answer.success && answer.accepted == ballot(3, 0));
    assert_true(bytes_equal(answer.data, value_of(0, "kept")));
    step_free(c);
}

static void to_accept_is_to_promise(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 5);
    hears_accept(c, 1, 0, ballot(5, 0), 1, "accepted");
    hears(c, 1, 2, &(struct paxos_message){.kind = PAXOS_PREPARE, .slot = 1, .ballot = ballot(4, 2)});
    struct paxos_message answer = said(c, 1, 2);
    assert_true(answer.kind == PAXOS_PROMISE && !answer.success && answer.ballot == ballot(5, 0));
    step_free(c);
}

static void nothing_is_said_before_the_disk_has_it(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 6);
    c->node[1].stalled = true;
    hears(c, 1, 2, &(struct paxos_message){.kind = PAXOS_PREPARE, .slot = 1, .ballot = ballot(2, 2)});
    hears_accept(c, 1, 2, ballot(2, 2), 1, "unsaid");
    step_propose(c, 1, 1, "own");
    assert_int_equal(said(c, 1, 2).kind, 0); /* not even a ballot of its own */
    step_release_disk(c, 1);
    hears_accept(c, 1, 2, ballot(2, 2), 1, "unsaid");
    assert_int_equal(said(c, 1, 2).kind, PAXOS_ACCEPTED);
    step_free(c);
}

static void a_read_decides_what_it_sees_accepted(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 7);
    hears_accept(c, 1, 0, ballot(1, 0), 1, "half done");
    cut_off(c, 0);
    step_read(c, 2, 1);
    step_run(c, 2 * NS_PER_S);
    assert_int_equal(step_answer(c, 2, 1)->status, STATUS_OK);
    assert_int_equal(step_answer(c, 2, 1)->index, 1); /* with it applied */
    step_free(c);
}

static void without_a_quorum_nothing_is_answered(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 8);
    cut_off(c, 0);
    step_propose(c, 0, 1, "waits");
    step_read(c, 0, 2);
    step_run(c, 3 * NS_PER_S);
    assert_null(step_answer(c, 0, 1));
    assert_null(step_answer(c, 0, 2));
    memset(c->cut, 0, sizeof c->cut);
    step_run(c, 2 * NS_PER_S);
    assert_int_equal(step_answer(c, 0, 1)->status, STATUS_OK);
    assert_int_equal(step_answer(c, 0, 2)->status, STATUS_OK);
    step_free(c);
}

static void who_was_away_past_the_log_gets_a_snapshot(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 9);
    step_crash(c, 2);
    for (uint64_t i = 1; i <= 400; i++) {
        step_propose(c, (uint8_t)(i % 2), i, "more and more");
        step_run(c, 10 * NS_PER_MS);
    }
    assert_true(step_probe(c, 0).first_index > 100);
    step_boot(c, 2);
    step_run(c, 3 * NS_PER_S);
    assert_true(c->sent[PAXOS_SNAPSHOT] > 0);
    assert_true(step_converged(c));
    step_expect_agreement(c);
    step_crash(c, 2); /* and what it got is on its disk */
    step_boot(c, 2);
    assert_true(step_probe(c, 2).applied_index > 100);
    step_free(c);
}

/* How far it knew what is chosen is known again: it does not have to decide every slot anew. */
static void a_restart_knows_what_was_chosen(void **state) {
    (void)state;
    struct step_cluster *c = cluster(3, 10);
    for (uint64_t i = 1; i <= 20; i++) {
        step_propose(c, 0, i, "known");
        step_run(c, 20 * NS_PER_MS);
    }
    uint64_t prepares = c->sent[PAXOS_PREPARE];
    for (uint8_t i = 0; i < 3; i++) step_crash(c, i);
    for (uint8_t i = 0; i < 3; i++) step_boot(c, i);
    for (uint8_t i = 0; i < 3; i++) assert_int_equal(c->node[i].applied_count, 20);
    step_run(c, NS_PER_S);
    assert_int_equal(c->sent[PAXOS_PREPARE], prepares);
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

/* --- slots and their log ------------------------------------------------------------------------------------------ */

struct slots_world {
    struct slots slots;
    struct limits limits;
    struct effects fx;
    struct effect items[1024];
    uint64_t memory[(1 << 17) / 8];
};

static struct slots_world *slots_world(void) {
    struct slots_world *w = xcalloc(1, sizeof *w);
    w->limits = (struct limits){.log_entries_max = 256, .log_bytes_max = 4096};
    assert_true(slots_memory(&w->limits) <= sizeof w->memory);
    slots_init(&w->slots, &w->limits, w->memory);
    w->fx = (struct effects){.items = w->items, .capacity = 1024};
    return w;
}

static void slots_outside_of_the_window_are_refused(void **state) {
    (void)state;
    struct slots_world *w = slots_world();
    struct bytes v = bytes_str("v");
    assert_non_null(slots_accept(&w->slots, w->slots.window, 1, ENTRY_COMMAND, v, &w->fx));
    assert_null(slots_accept(&w->slots, w->slots.window + 1, 1, ENTRY_COMMAND, v, &w->fx));
    assert_null(slots_accept(&w->slots, 0, 1, ENTRY_COMMAND, v, &w->fx));
    assert_null(slots_get(&w->slots, 1));
    slots_rebase(&w->slots, 10, 1);
    assert_null(slots_accept(&w->slots, 10, 1, ENTRY_COMMAND, v, &w->fx));
    assert_non_null(slots_accept(&w->slots, w->slots.window + 10, 1, ENTRY_COMMAND, v, &w->fx));
    free(w);
}

/* One slot that nobody decides must not hold the log's beginning for ever. */
static void what_lives_is_written_anew_and_the_rest_forgotten(void **state) {
    (void)state;
    struct slots_world *w = slots_world();
    uint8_t kind;
    slots_accept(&w->slots, 100, 1, ENTRY_COMMAND, bytes_str("old and undecided"), &w->fx);
    for (uint64_t n = 1; n <= 90; n++) slots_accept(&w->slots, n, 2, ENTRY_COMMAND, bytes_str("decided"), &w->fx);
    uint32_t full = slots_used(&w->slots);
    uint64_t from = slots_keep_from(&w->slots, 90, &w->fx);
    assert_true(from > 20);
    slots_rebase(&w->slots, 90, from);
    assert_true(slots_used(&w->slots) < full);
    struct slot *slot = slots_get(&w->slots, 100);
    assert_true(bytes_equal(slots_value(&w->slots, slot, &kind), bytes_str("old and undecided")));
    assert_true(slot->ballot == 1 && slot->place >= from);
    assert_null(slots_get(&w->slots, 90));
    free(w);
}

static void a_log_without_room_refuses_and_has_room_again(void **state) {
    (void)state;
    struct slots_world *w = slots_world();
    char text[200];
    memset(text, 'x', sizeof text);
    uint64_t n = 1;
    while (slots_accept(&w->slots, n, 1, ENTRY_COMMAND, bytes_of(text, sizeof text), &w->fx)) n++;
    assert_in_range(n, 15, 21);
    slots_rebase(&w->slots, n - 1, slots_keep_from(&w->slots, n - 1, &w->fx));
    for (uint32_t rounds = 0; rounds < 100; rounds++) {
        w->fx.count = 0;
        assert_non_null(slots_accept(&w->slots, n, 1, ENTRY_COMMAND,
                                     bytes_of(text, prng_below(&(struct prng){{1, rounds, 3, 4}}, 200)), &w->fx));
        if (rounds % 5 == 4) slots_rebase(&w->slots, n, slots_keep_from(&w->slots, n, &w->fx));
        n++;
    }
    free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_replica_proposes_and_all_apply_one_sequence),
        cmocka_unit_test(a_command_alone_takes_both_phases_once),
        cmocka_unit_test(duelling_proposers_come_to_an_end),
        cmocka_unit_test(the_value_of_the_highest_ballot_is_proposed),
        cmocka_unit_test(what_nobody_ends_is_ended),
        cmocka_unit_test(promises_and_values_outlive_a_crash),
        cmocka_unit_test(to_accept_is_to_promise),
        cmocka_unit_test(nothing_is_said_before_the_disk_has_it),
        cmocka_unit_test(a_read_decides_what_it_sees_accepted),
        cmocka_unit_test(without_a_quorum_nothing_is_answered),
        cmocka_unit_test(who_was_away_past_the_log_gets_a_snapshot),
        cmocka_unit_test(a_restart_knows_what_was_chosen),
        cmocka_unit_test(replicas_agree_whatever_happens),
        cmocka_unit_test(slots_outside_of_the_window_are_refused),
        cmocka_unit_test(what_lives_is_written_anew_and_the_rest_forgotten),
        cmocka_unit_test(a_log_without_room_refuses_and_has_room_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
