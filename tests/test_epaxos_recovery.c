/* EPaxos' recovery as dialogues: which message reaches whom is chosen one by one, and what is not chosen is lost. The
 * correct rules and the mutants go through the same ones. And its liveness: as many replicas as are tolerated die for
 * good under load, and the rest goes on. */
#include "targets/protocols/epaxos/epaxos.h"
#include "targets/protocols/quorum.h"
#include "tests/step_cluster.h"
#include "tests/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { A, B, C, D, E, F };

static const struct epaxos_id FIRST_OF_A = {A, 1}, FIRST_OF_D = {D, 1}, FIRST_OF_E = {E, 1};

/* Every two commands interfere (step_cluster.h). */
static struct step_cluster *dialogue(uint8_t nodes, const struct epaxos_rules *rules) {
    struct config config = step_config();
    config.rules = rules;
    return step_new(&epaxos_protocol, nodes, &config, 1);
}

static struct epaxos_message decoded(const struct step_cluster *c, const struct step_message *sent) {
    struct epaxos_message m;
    assert_true(epaxos_message_decode(sent->bytes, c->nodes, &m));
    return m;
}

static size_t find(const struct step_cluster *c, uint8_t from, uint8_t to, uint8_t kind, struct epaxos_id id) {
    for (size_t k = 0; k < c->messages_count; k++) {
        const struct step_message *sent = &c->messages[k];
        if (sent->from != from || sent->to != to || sent->kind != kind) continue;
        if (epaxos_name(decoded(c, sent).id) == epaxos_name(id)) return k;
    }
    return SIZE_MAX;
}

/* The oldest such message reaches its receiver, once or twice. */
static void reaches(struct step_cluster *c, uint8_t from, uint8_t to, uint8_t kind, struct epaxos_id id,
                    uint32_t times) {
    size_t at = find(c, from, to, kind, id);
    if (at == SIZE_MAX) fail_msg("n%u has not sent n%u a message of kind %u", from + 1u, to + 1u, kind);
    struct step_message sent = c->messages[at];
    c->messages[at] = c->messages[--c->messages_count];
    struct event ev = {.kind = EVENT_MESSAGE, .message = {from, sent.bytes}};
    for (uint32_t k = 0; k < times; k++) step_event(c, to, ev);
    free((void *)(uintptr_t)sent.bytes.data);
}

/* Each of `to` (a mask) hears the message and its answer comes back. */
static void asks(struct step_cluster *c, uint8_t from, uint32_t to, uint8_t kind, struct epaxos_id id) {
    for (uint8_t q = 0; q < c->nodes; q++)
        if (to >> q & 1) reaches(c, from, q, kind, id, 1);
    for (uint8_t q = 0; q < c->nodes; q++)
        if (to >> q & 1) reaches(c, q, from, kind + 1u, id, 1);
}

static void all_else_is_lost(struct step_cluster *c) {
    while (c->messages_count) free((void *)(uintptr_t)c->messages[--c->messages_count].bytes.data);
}

/* Its patience with what it knows and is not committed ends. */
static void loses_patience(struct step_cluster *c, uint8_t node) {
    all_else_is_lost(c);
    c->now_ns += 5 * NS_PER_S;
    step_event(c, node, (struct event){.kind = EVENT_TIMER, .timer = {.id = 0}});
}

static bool has_committed(const struct step_cluster *c, uint8_t node, struct epaxos_id id, struct epaxos_record *out) {
    const struct step_node *n = &c->node[node];
    for (size_t k = n->entries_count; k-- > 0;) {
        const struct buffer *b = &n->entries[k].payload;
        assert_true(epaxos_record_decode(bytes_of(b->data, b->size), c->nodes, out));
        if (epaxos_name(out->id) == epaxos_name(id)) return out->status >= EPAXOS_COMMITTED;
    }
    return false;
}

static struct epaxos_record committed(const struct step_cluster *c, uint8_t node, struct epaxos_id id) {
    struct epaxos_record r;
    if (!has_committed(c, node, id, &r)) fail_msg("n%u has not committed %u.%u", node + 1u, id.replica + 1u, id.number);
    return r;
}

static bool is_same(const struct step_cluster *c, const struct epaxos_record *a, const struct epaxos_record *b) {
    bool same = a->entry_kind == b->entry_kind && a->at.seq == b->at.seq && a->command.size == b->command.size;
    for (uint8_t q = 0; q < c->nodes; q++) same = same && a->at.deps[q] == b->at.deps[q];
    return same && (a->entry_kind == ENTRY_NOOP || !memcmp(a->command.data, b->command.data, a->command.size));
}

/* Two commands that interfere are committed: does one wait for the other? */
static bool are_ordered(const struct epaxos_record *a, const struct epaxos_record *b) {
    if (a->entry_kind == ENTRY_NOOP || b->entry_kind == ENTRY_NOOP) return true;
    return a->at.deps[b->id.replica] >= b->id.number || b->at.deps[a->id.replica] >= a->id.number;
}

/* A whole recovery with the answers of `quorum`, which ends in a commit here. */
static struct epaxos_record recovers(struct step_cluster *c, uint8_t node, uint32_t quorum, struct epaxos_id id) {
    asks(c, node, quorum, EPAXOS_PREPARE, id);
    if (find(c, node, (uint8_t)__builtin_ctz(quorum), EPAXOS_TRY_PREACCEPT, id) != SIZE_MAX)
        asks(c, node, quorum, EPAXOS_TRY_PREACCEPT, id);
    asks(c, node, quorum, EPAXOS_ACCEPT, id);
    return committed(c, node, id);
}

/* --- one ballot or two (Sutra 2019) ------------------------------------------------------------------------------- */

/* A commits after an accept round that B and C answered, and is gone. D begins a recovery that reaches E alone. Then E
 * recovers: it has promised a higher ballot than B and C accepted in, and has accepted nothing. */
static bool recovery_after_a_recovery_keeps_the_value(const struct epaxos_rules *rules) {
    struct step_cluster *c = dialogue(5, rules);
    step_propose(c, E, 1, "of E");
    reaches(c, E, B, EPAXOS_PREACCEPT, FIRST_OF_E, 1);
    step_propose(c, A, 2, "of A");
    reaches(c, A, D, EPAXOS_PREACCEPT, FIRST_OF_A, 1);
    asks(c, A, 1u << B | 1u << C, EPAXOS_PREACCEPT, FIRST_OF_A);
    asks(c, A, 1u << B | 1u << C, EPAXOS_ACCEPT, FIRST_OF_A);
    struct epaxos_record chosen = committed(c, A, FIRST_OF_A);
    assert_int_equal(chosen.entry_kind, ENTRY_COMMAND);
    assert_int_equal(chosen.at.deps[E], 1);
    assert_false(chosen.fast);

    loses_patience(c, D);
    reaches(c, D, E, EPAXOS_PREPARE, FIRST_OF_A, 1);
    loses_patience(c, E);
    struct epaxos_record recovered = recovers(c, E, 1u << B | 1u << C, FIRST_OF_A);
    bool kept = is_same(c, &chosen, &recovered);
    step_free(c);
    return kept;
}

static void a_second_recovery_keeps_what_was_committed(void **state) {
    (void)state;
    assert_true(recovery_after_a_recovery_keeps_the_value(NULL));
}

static void one_ballot_for_promises_and_votes_loses_what_was_committed(void **state) {
    (void)state;
    assert_false(recovery_after_a_recovery_keeps_the_value(&epaxos_mutant_one_ballot));
}

/* --- TryPreAccept ------------------------------------------------------------------------------------------------- */

/* A commits at once with B and C and is gone with C. E leads a command that interferes, of which A had not heard. B's
 * recovery finds that out and waits; E's command is committed after A's, as B told it; then E's recovery finds the
 * attributes that A committed. */
static void a_fast_commit_is_found_beside_what_interferes(void **state) {
    (void)state;
    struct step_cluster *c = dialogue(5, NULL);
    step_propose(c, A, 1, "of A");
    step_propose(c, E, 2, "of E");
    asks(c, A, 1u << B | 1u << C, EPAXOS_PREACCEPT, FIRST_OF_A);
    struct epaxos_record chosen = committed(c, A, FIRST_OF_A);
    assert_true(chosen.fast);
    asks(c, E, 1u << D, EPAXOS_PREACCEPT, FIRST_OF_E);

    loses_patience(c, B);
    asks(c, B, 1u << D | 1u << E, EPAXOS_PREPARE, FIRST_OF_A);
    asks(c, B, 1u << D | 1u << E, EPAXOS_TRY_PREACCEPT, FIRST_OF_A);
    struct epaxos_record r;
    assert_false(has_committed(c, B, FIRST_OF_A, &r));
    assert_true(find(c, B, E, EPAXOS_WAITING, FIRST_OF_A) != SIZE_MAX);
    assert_true(find(c, B, E, EPAXOS_ACCEPT, FIRST_OF_A) == SIZE_MAX);

    loses_patience(c, E); /* with A's command, and with B, which has not answered */
    asks(c, E, 1u << B, EPAXOS_PREACCEPT, FIRST_OF_E);
    asks(c, E, 1u << B | 1u << D, EPAXOS_ACCEPT, FIRST_OF_E);
    struct epaxos_record other = committed(c, E, FIRST_OF_E);
    assert_int_equal(other.at.deps[A], 1);
    for (uint8_t q = B; q <= D; q += 2) reaches(c, E, q, EPAXOS_COMMIT, FIRST_OF_E, 1);

    asks(c, E, 1u << B | 1u << D, EPAXOS_PREPARE, FIRST_OF_A);
    asks(c, E, 1u << B | 1u << D, EPAXOS_TRY_PREACCEPT, FIRST_OF_A);
    asks(c, E, 1u << B | 1u << D, EPAXOS_ACCEPT, FIRST_OF_A);
    struct epaxos_record recovered = committed(c, E, FIRST_OF_A);
    assert_true(is_same(c, &chosen, &recovered));
    assert_true(are_ordered(&recovered, &other));
    step_free(c);
}

/* E commits at once with C and D. Of A's command, which interferes, only A and B know. Then B recovers that with the
 * answers of `quorum`. */
static bool recovery_orders_what_was_never_committed(const struct epaxos_rules *rules, uint32_t quorum) {
    struct step_cluster *c = dialogue(5, rules);
    step_propose(c, A, 1, "of A");
    step_propose(c, E, 2, "of E");
    asks(c, E, 1u << C | 1u << D, EPAXOS_PREACCEPT, FIRST_OF_E);
    struct epaxos_record other = committed(c, E, FIRST_OF_E);
    assert_true(other.fast);
    reaches(c, A, B, EPAXOS_PREACCEPT, FIRST_OF_A, 1);

    loses_patience(c, B);
    struct epaxos_record recovered = recovers(c, B, quorum, FIRST_OF_A);
    bool ordered = are_ordered(&recovered, &other);
    step_free(c);
    return ordered;
}

static void what_does_not_fit_beside_a_commit_is_given_up(void **state) {
    (void)state;
    assert_true(recovery_orders_what_was_never_committed(NULL, 1u << D | 1u << E));
}

static void without_try_preaccept_it_is_committed_out_of_order(void **state) {
    (void)state;
    assert_false(recovery_orders_what_was_never_committed(&epaxos_mutant_no_try_preaccept, 1u << D | 1u << E));
}

static void what_its_leader_did_not_commit_is_given_up(void **state) {
    (void)state;
    assert_true(recovery_orders_what_was_never_committed(NULL, 1u << A | 1u << D));
}

static void if_the_leader_is_ignored_it_is_committed_out_of_order(void **state) {
    (void)state;
    assert_false(recovery_orders_what_was_never_committed(&epaxos_mutant_leader_ignored, 1u << A | 1u << D));
}

/* Six replicas, A and D are gone. B and C know A's command, E and F know D's: each as many as are tolerated to crash,
 * and with the leader's no majority. */
static void halves_of_an_even_cluster_do_not_recover_apart(void **state) {
    (void)state;
    struct step_cluster *c = dialogue(6, NULL);
    step_propose(c, A, 1, "of A");
    step_propose(c, D, 2, "of D");
    for (uint8_t q = B; q <= C; q++) reaches(c, A, q, EPAXOS_PREACCEPT, FIRST_OF_A, 1);
    for (uint8_t q = E; q <= F; q++) reaches(c, D, q, EPAXOS_PREACCEPT, FIRST_OF_D, 1);

    loses_patience(c, B);
    struct epaxos_record a = recovers(c, B, 1u << C | 1u << E | 1u << F, FIRST_OF_A);
    loses_patience(c, E);
    struct epaxos_record d = recovers(c, E, 1u << B | 1u << C | 1u << F, FIRST_OF_D);
    assert_true(are_ordered(&a, &d));
    step_free(c);
}

/* E leads so much that C and D forget the first of it. Then A and E are gone, and B recovers a command that C and D
 * hear of now, and that all of E's should have waited for, or it for them. */
static void who_forgot_what_interferes_does_not_hold_a_recovery_up(void **state) {
    (void)state;
    struct step_cluster *c = dialogue(5, NULL);
    step_propose(c, A, 1, "of A");
    reaches(c, A, B, EPAXOS_PREACCEPT, FIRST_OF_A, 1);
    for (uint32_t k = 1; k <= 60; k++) {
        struct epaxos_id id = {E, k};
        step_propose(c, E, k + 1, "of E");
        asks(c, E, 1u << C | 1u << D, EPAXOS_PREACCEPT, id);
        for (uint8_t q = C; q <= D; q++) reaches(c, E, q, EPAXOS_COMMIT, id, 1);
    }
    assert_int_equal(c->node[C].applied_count, 60);
    step_crash(c, C);
    step_boot(c, C);

    loses_patience(c, B);
    assert_int_equal(recovers(c, B, 1u << C | 1u << D, FIRST_OF_A).entry_kind, ENTRY_NOOP);
    step_free(c);
}

/* --- no-op -------------------------------------------------------------------------------------------------------- */

/* A's first command reaches nobody, its second tells B that there is a first. B gives that up. A, which lives, leads it
 * again, once, though it is told twice. */
static void what_nobody_heard_of_is_given_up_and_led_again_once(void **state) {
    (void)state;
    struct step_cluster *c = dialogue(5, NULL);
    step_propose(c, A, 1, "first");
    all_else_is_lost(c);
    step_propose(c, A, 2, "second");
    reaches(c, A, B, EPAXOS_PREACCEPT, (struct epaxos_id){A, 2}, 1);
    loses_patience(c, B);
    assert_int_equal(recovers(c, B, 1u << C | 1u << D, FIRST_OF_A).entry_kind, ENTRY_NOOP);
    reaches(c, B, A, EPAXOS_COMMIT, FIRST_OF_A, 2);
    assert_true(find(c, A, C, EPAXOS_PREACCEPT, (struct epaxos_id){A, 3}) != SIZE_MAX);
    assert_true(find(c, A, C, EPAXOS_PREACCEPT, (struct epaxos_id){A, 4}) == SIZE_MAX);

    step_run(c, 5 * NS_PER_S);
    step_expect_agreement(c);
    assert_true(step_converged(c));
    const struct step_node *n = &c->node[E];
    uint32_t firsts = 0, seconds = 0, answers = 0;
    for (uint64_t k = 0; k < n->applied_count; k++) {
        firsts += n->applied[k] == hash_bytes(bytes_str("first"), 0);
        seconds += n->applied[k] == hash_bytes(bytes_str("second"), 0);
    }
    for (uint32_t k = 0; k < c->node[A].answers_count; k++) answers += c->node[A].answers[k].token == 1;
    assert_int_equal(firsts, 1);
    assert_int_equal(seconds, 1);
    assert_int_equal(answers, 1);
    assert_int_equal(step_answer(c, A, 1)->status, STATUS_OK);
    step_free(c);
}

/* --- quorums ------------------------------------------------------------------------------------------------------ */

/* n >= max(2e + f - 1, 2f + 1) and e <= f (OPODIS'25); and e could not be greater. */
static void fast_quorums_are_as_small_as_recovery_bears(void **state) {
    (void)state;
    for (uint8_t n = 1; n <= PROTOCOL_NODES_MAX; n++) {
        uint32_t f = n - majority_of(n), e = n - epaxos_rules_correct.fast_quorum(n);
        assert_true(e <= f && 2 * e + f <= n + 1u);
        assert_true(e == f || 2 * (e + 1) + f > n + 1u);
        if (n % 2) assert_int_equal(n - e, n == 1 ? 1 : f + (f + 1) / 2);
    }
}

/* --- liveness with as many dead for good as are tolerated --------------------------------------------------------- */

/* In each round some replica is asked, or all at the same time. */
static uint64_t proposes_for_a_while(struct step_cluster *c, uint64_t token, uint32_t rounds) {
    for (uint32_t k = 0; k < rounds; k++) {
        uint8_t chosen = (uint8_t)prng_below(&c->prng, c->nodes + 1u);
        for (uint8_t q = 0; q < c->nodes; q++) {
            if (chosen != q && chosen != c->nodes) continue;
            char command[32];
            snprintf(command, sizeof command, "command %u", (unsigned)++token);
            step_propose(c, q, token, command);
        }
        step_run(c, prng_below(&c->prng, 8) * NS_PER_MS);
    }
    return token;
}

static void the_rest_goes_on(uint8_t nodes, uint64_t seed) {
    struct step_cluster *c = step_new(&epaxos_protocol, nodes, NULL, seed);
    uint8_t dead = (uint8_t)(nodes - majority_of(nodes)), first = (uint8_t)prng_below(&c->prng, nodes);
    c->jitter_ns = 30 * NS_PER_MS;
    c->loss_ppm = 200000;
    uint64_t token = 0;
    for (uint8_t k = 0; k < dead; k++) {
        token = proposes_for_a_while(c, token, 12);
        uint8_t survivor = (uint8_t)((first + dead + k) % nodes);
        step_crash(c, survivor);
        step_boot(c, survivor);
        if (k + 1 == dead)
            for (uint8_t d = 0; d < dead; d++) step_crash(c, (uint8_t)((first + d) % nodes));
    }
    token = proposes_for_a_while(c, token, 12);
    c->loss_ppm = 0;
    step_run(c, 20 * NS_PER_S);
    for (uint8_t q = 0; q < nodes; q++)
        if (c->node[q].up) step_propose(c, q, ++token, "afterwards");
    step_run(c, NS_PER_S);
    step_expect_agreement(c);
    uint64_t applied = c->node[(first + dead) % nodes].applied_count, last = token - (nodes - dead);
    for (uint8_t q = 0; q < nodes; q++) {
        const struct step_node *n = &c->node[q];
        if (!n->up) continue;
        struct probe p = step_probe(c, q);
        if (p.applied_index != p.last_index || n->applied_count != applied)
            fail_msg("%u nodes, seed %llu: n%u has something left undone", nodes, (unsigned long long)seed, q + 1u);
        const struct step_answer *answer = step_answer(c, q, ++last);
        assert_true(answer && answer->status == STATUS_OK);
    }
    step_free(c);
}

static void with_a_minority_dead_for_good_all_that_was_begun_ends(void **state) {
    (void)state;
    for (uint8_t nodes = 3; nodes <= STEP_NODES_MAX; nodes++)
        for (uint64_t seed = 1; seed <= rounds(10); seed++) the_rest_goes_on(nodes, seed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_recovery_keeps_what_was_committed),
        cmocka_unit_test(one_ballot_for_promises_and_votes_loses_what_was_committed),
        cmocka_unit_test(a_fast_commit_is_found_beside_what_interferes),
        cmocka_unit_test(what_does_not_fit_beside_a_commit_is_given_up),
        cmocka_unit_test(without_try_preaccept_it_is_committed_out_of_order),
        cmocka_unit_test(what_its_leader_did_not_commit_is_given_up),
        cmocka_unit_test(if_the_leader_is_ignored_it_is_committed_out_of_order),
        cmocka_unit_test(halves_of_an_even_cluster_do_not_recover_apart),
        cmocka_unit_test(who_forgot_what_interferes_does_not_hold_a_recovery_up),
        cmocka_unit_test(what_nobody_heard_of_is_given_up_and_led_again_once),
        cmocka_unit_test(fast_quorums_are_as_small_as_recovery_bears),
        cmocka_unit_test(with_a_minority_dead_for_good_all_that_was_begun_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
