/* What is to hold of every protocol under load: a snapshot of many chunks reaches a replica that comes back, although
 * those who send it take newer ones all the time, and although several could send one; what was lost is sent again
 * where a link is longer than a heartbeat; and no number of large commands fills the memory for good. */
#include "tests/step_cluster.h"
#include "tests/support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct protocol *const protocols[] = {&raft_protocol, &multipaxos_protocol, &paxos_protocol,
                                                   &epaxos_protocol};

struct load {
    struct step_cluster *c;
    uint64_t token;
};

/* One command every `pause_ns`, in turn at all replicas but `away`; where one leads, there. */
static void commands(struct load *l, uint8_t away, uint32_t count, uint64_t pause_ns) {
    struct step_cluster *c = l->c;
    for (uint32_t k = 0; k < count; k++) {
        char command[32];
        uint8_t leader = step_leader(c), to = (uint8_t)(l->token % c->nodes);
        if (leader != NODE_NONE) to = leader;
        if (to == away) to = (uint8_t)((to + 1) % c->nodes);
        snprintf(command, sizeof command, "command %u", (unsigned)++l->token);
        step_propose(c, to, l->token, command);
        step_run(c, pause_ns);
        for (uint8_t i = 0; i < c->nodes; i++) c->node[i].answers_count = 0;
    }
}

static uint64_t most_applied(const struct step_cluster *c) {
    uint64_t most = 0;
    for (uint8_t i = 0; i < c->nodes; i++)
        if (c->node[i].applied_count > most) most = c->node[i].applied_count;
    return most;
}

/* The snapshot has some forty chunks; a chunk takes 60 ms to and fro, and a snapshot is due every 200 ms. */
static void comes_back_under_load(const struct protocol *p, uint64_t seed) {
    struct config config = step_config();
    config.limits.message_bytes_max = 512;
    config.limits.entry_bytes_max = 256;
    config.limits.log_entries_max = 2048;
    config.snapshot_entries = 20;
    config.snapshot_trailing = 5;
    struct load l = {.c = step_new(p, 5, &config, seed)};
    struct step_cluster *c = l.c;
    step_run(c, 2 * NS_PER_S);
    uint8_t away = (uint8_t)(step_leader(c) == 4 ? 3 : 4);
    step_crash(c, away);
    commands(&l, away, 2000, 10 * NS_PER_MS);
    assert_true(most_applied(c) > 1500);
    uint64_t had = c->node[away].applied_count;
    c->jitter_ns = 60 * NS_PER_MS;
    step_boot(c, away);
    uint32_t waited_s = 0;
    while (c->node[away].applied_count <= had + 1000 && waited_s++ < 30) commands(&l, away, 100, 10 * NS_PER_MS);
    if (c->node[away].applied_count <= had + 1000)
        fail_msg("%s, seed %u: no snapshot in 30 s", p->name, (unsigned)seed);
    c->jitter_ns = 0;
    step_run(c, 5 * NS_PER_S);
    step_expect_agreement(c);
    if (!step_converged(c)) fail_msg("%s, seed %u: not all came to the same end", p->name, (unsigned)seed);
    step_free(c);
}

static void a_long_snapshot_arrives_while_newer_ones_are_taken(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof protocols / sizeof *protocols; k++)
        for (uint64_t seed = 1; seed <= 3; seed++) comes_back_under_load(protocols[k], seed);
}

/* Four times as many bytes as the log holds. */
/* A round trip takes more than two heartbeats, and nothing new is asked that would tell who is behind. */
static void what_was_lost_is_made_good_over_long_links(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof protocols / sizeof *protocols; k++) {
        struct load l = {.c = step_new(protocols[k], 5, NULL, 1)};
        struct step_cluster *c = l.c;
        c->latency_ns = 60 * NS_PER_MS;
        step_run(c, 3 * NS_PER_S);
        uint8_t away = (uint8_t)(step_leader(c) == 4 ? 3 : 4);
        for (uint8_t i = 0; i < c->nodes; i++) c->cut[i] = i == away ? UINT32_MAX : 1u << away;
        commands(&l, away, 10, 500 * NS_PER_MS);
        assert_true(most_applied(c) > 0 && c->node[away].applied_count == 0);
        memset(c->cut, 0, sizeof c->cut);
        step_run(c, 10 * NS_PER_S);
        if (!step_converged(c)) fail_msg("%s: node %u is still behind", protocols[k]->name, away + 1u);
        step_expect_agreement(c);
        step_free(c);
    }
}

static void large_commands_do_not_fill_the_memory_for_good(void **state) {
    (void)state;
    char command[1000];
    for (size_t k = 0; k < sizeof protocols / sizeof *protocols; k++) {
        struct step_cluster *c = step_new(protocols[k], 3, NULL, 1);
        step_run(c, 2 * NS_PER_S);
        uint32_t ok = 0;
        for (uint32_t token = 1; token <= 300; token++) {
            uint8_t leader = step_leader(c), to = leader != NODE_NONE ? leader : (uint8_t)(token % 3);
            snprintf(command, sizeof command, "%0900u", (unsigned)token);
            step_propose(c, to, token, command);
            step_run(c, 20 * NS_PER_MS);
            const struct step_answer *a = step_answer(c, to, token);
            ok += a && a->status == STATUS_OK;
        }
        step_run(c, 5 * NS_PER_S);
        if (ok < 250) fail_msg("%s: %u of 300 commands were answered", protocols[k]->name, ok);
        step_expect_agreement(c);
        assert_true(step_converged(c));
        step_free(c);
    }
}

static struct config little_memory(uint64_t seed) {
    struct config c = step_config();
    struct limits *l = &c.limits;
    struct prng p;
    prng_seed(&p, seed, 1);
    l->log_entries_max = 64u << prng_below(&p, 4);
    l->log_bytes_max = 4096u << prng_below(&p, 5);
    l->entry_bytes_max = 128;
    l->message_bytes_max = 256u << prng_below(&p, 3);
    if (l->log_bytes_max < 8 * l->message_bytes_max) l->log_bytes_max = 8 * l->message_bytes_max;
    c.snapshot_entries = 4u << prng_below(&p, 5);
    if (c.snapshot_entries > l->log_entries_max / 4) c.snapshot_entries = l->log_entries_max / 4;
    c.snapshot_trailing = c.snapshot_entries / 4;
    return c;
}

/* After the storm all must come to the same end: what filled the memory while they could not hear one another, and what
 * one has forgotten that another lacks, must not hold them up. */
static void little_memory_holds_nobody_up_for_good(void **state) {
    (void)state;
    uint64_t seeds = rounds(150);
    for (size_t k = 0; k < sizeof protocols / sizeof *protocols; k++) {
        uint64_t ok = 0;
        for (uint64_t seed = 1; seed <= seeds; seed++) {
            struct config config = little_memory(seed);
            struct step_cluster *c = step_new(protocols[k], seed % 3 ? 3 : 5, &config, seed);
            ok += step_storm(c, 400);
            if (!step_converged(c))
                fail_msg("%s, seed %u: not all came to the same end", c->protocol->name, (unsigned)seed);
            step_free(c);
        }
        assert_true(ok > 20 * seeds);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_snapshot_arrives_while_newer_ones_are_taken),
        cmocka_unit_test(what_was_lost_is_made_good_over_long_links),
        cmocka_unit_test(large_commands_do_not_fill_the_memory_for_good),
        cmocka_unit_test(little_memory_holds_nobody_up_for_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
