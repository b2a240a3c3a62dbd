/* Nodes of the simulated world that are told to end, and starts of them that fail. */
#include "tests/sim_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct driver d;

static void make_cluster(uint64_t seed) {
    struct world_config c = driver_config(seed);
    bool settled;
    driver_init(&d, &c);
    driver_run(&d, 2, &settled);
    assert_true(settled);
}

static uint32_t begin(struct fault_spec f) {
    struct error e;
    f.kind = FAULT_KILL;
    uint32_t id = d.world->ops->fault_begin(d.world, &f, &e);
    if (!id) fail_msg("%s", e.text);
    return id;
}

static void pass_ms(uint64_t ms) {
    uint64_t now = d.world->ops->now_ns(d.world);
    assert_int_equal(d.world->ops->run_until(d.world, now + ms * NS_PER_MS), WORLD_TIME);
}

static struct node_status status(uint8_t node) {
    return d.world->ops->node_status(d.world, node);
}

static void expect_evidence(uint32_t fault, uint64_t affected, uint64_t offered) {
    struct fault_evidence e = d.world->ops->fault_end(d.world, fault);
    assert_int_equal(e.affected, affected);
    assert_int_equal(e.offered, offered);
}

static void a_leader_that_is_told_to_end_hands_over_first(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        uint64_t without_leader_ms[2];
        for (int in_order = 0; in_order < 2; in_order++) {
            make_cluster(seed);
            uint8_t leader = d.world->ops->leader(d.world);
            uint32_t id =
                begin((struct fault_spec){.nodes = 1u << leader, .kill.grace_ns = in_order ? 10 * NS_PER_S : 0});
            uint64_t ms = 0;
            for (; status(leader).up || d.world->ops->leader(d.world) == NODE_UNKNOWN; ms++) pass_ms(1);
            without_leader_ms[in_order] = ms;
            expect_evidence(id, 1, 1);
            pass_ms(1000);
            assert_true(status(leader).up);
            driver_free(&d);
        }
        assert_true(without_leader_ms[1] < 100 && without_leader_ms[1] < without_leader_ms[0]);
    }
}

static void a_follower_ends_at_once_and_a_paused_one_when_its_time_is_over(void **state) {
    (void)state;
    make_cluster(1);
    uint8_t follower = (uint8_t)((d.world->ops->leader(d.world) + 1) % 5);
    uint32_t id = begin((struct fault_spec){.nodes = 1u << follower, .kill.grace_ns = NS_PER_S});
    assert_false(status(follower).up);
    expect_evidence(id, 1, 1);
    pass_ms(500);
    assert_true(status(follower).up);
    struct error e;
    struct fault_spec pause = {.kind = FAULT_PAUSE, .nodes = 1u << follower};
    uint32_t paused = d.world->ops->fault_begin(d.world, &pause, &e);
    id = begin((struct fault_spec){.nodes = 1u << follower, .kill.grace_ns = NS_PER_S});
    pass_ms(990);
    assert_true(status(follower).up);
    pass_ms(20);
    assert_false(status(follower).up);
    expect_evidence(id, 1, 1);
    d.world->ops->fault_end(d.world, paused);
    pass_ms(500);
    assert_true(status(follower).up);
    id = begin((struct fault_spec){.nodes = 1u << d.world->ops->leader(d.world), .kill.grace_ns = NS_PER_S});
    expect_evidence(id, 1, 1); /* a fault that ends before the node has: it is killed then */
    driver_free(&d);
}

static void so_many_starts_fail_a_second_apart(void **state) {
    (void)state;
    make_cluster(1);
    uint32_t id = begin((struct fault_spec){.nodes = 2, .kill.failed_starts = 3});
    pass_ms(2900);
    assert_false(status(1).up);
    pass_ms(300); /* the first came within 0.1 s */
    assert_true(status(1).up);
    assert_int_equal(status(1).applied_index, status(0).applied_index);
    expect_evidence(id, 4, 4); /* the kill and three starts */
    driver_free(&d);
}

static void starts_succeed_when_the_fault_has_ended(void **state) {
    (void)state;
    make_cluster(1);
    uint32_t id = begin((struct fault_spec){.nodes = 2, .kill.failed_starts = 1000});
    pass_ms(5500);
    assert_false(status(1).up);
    expect_evidence(id, 7, 7);
    pass_ms(1000);
    assert_true(status(1).up);
    driver_free(&d);
}

static void both_at_once_are_refused(void **state) {
    (void)state;
    struct error e = {{0}};
    struct world_config c = driver_config(1);
    struct fault_spec f = {.kind = FAULT_KILL, .nodes = 1, .kill = {.grace_ns = 1, .failed_starts = 1}};
    driver_init(&d, &c);
    assert_int_equal(d.world->ops->fault_begin(d.world, &f, &e), 0);
    assert_non_null(strstr(e.text, "two faults"));
    driver_free(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_that_is_told_to_end_hands_over_first),
        cmocka_unit_test(a_follower_ends_at_once_and_a_paused_one_when_its_time_is_over),
        cmocka_unit_test(so_many_starts_fail_a_second_apart),
        cmocka_unit_test(starts_succeed_when_the_fault_has_ended),
        cmocka_unit_test(both_at_once_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
