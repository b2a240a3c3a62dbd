/* The client's state machine, without a world: what it sends whereto, and how its operations end. The test plays the
 * cluster; where a store is needed, it is the real one. */
#include "harness/client/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { NODES = 5 };

struct desk { /* a client, and all that it needs */
    struct client client;
    struct client_rules rules;
    struct history *history;
    struct prng prng;
    struct kv *store;
    uint32_t ops;
    uint32_t key;
};

static void desk_open(struct desk *d, bool pinned) {
    memset(d, 0, sizeof *d);
    d->rules = (struct client_rules){.nodes = NODES, .pinned = pinned, .backoff_ns = 20 * NS_PER_MS};
    d->history = history_new();
    d->store = kv_new(NULL);
    d->key = history_intern(d->history, "k");
    prng_seed(&d->prng, 1, 0);
    client_reset(&d->client, (const uint8_t[]){2, 3, 4, 0, 1}, NODES); /* its home is node 2 */
}

static void desk_close(struct desk *d) {
    client_free(&d->client);
    history_free(d->history);
    kv_free(d->store);
}

static struct client_action begins(struct desk *d, uint16_t f, struct value argument) {
    struct world_op op = {.op = ++d->ops, .f = f, .key = d->key, .argument = argument};
    return client_begin(&d->client, &d->rules, d->history, &op, 0);
}

static struct client_action refused(struct desk *d, enum status status, uint8_t leader) {
    return client_on_reply(&d->client, &d->rules, d->history, &d->prng, status, leader, bytes_of(NULL, 0));
}

static struct client_action times_out(struct desk *d) {
    return client_on_try_timeout(&d->client, &d->rules);
}

static struct kv_command command(const struct desk *d) {
    struct kv_command c;
    assert_true(kv_command_decode(bytes_of(d->client.command.data, d->client.command.size), &c));
    return c;
}

/* The store applies what the client sends, and the client hears the result. */
static struct client_action applies(struct desk *d) {
    static uint8_t result[KV_RESULT_BYTES_MAX];
    size_t size = kv_apply(d->store, bytes_of(d->client.command.data, d->client.command.size), result, sizeof result);
    return client_on_reply(&d->client, &d->rules, d->history, &d->prng, STATUS_OK, 0, bytes_of(result, size));
}

/* A whole operation at a willing cluster. */
static struct client_action does(struct desk *d, uint16_t f, struct value argument) {
    struct client_action a = begins(d, f, argument);
    while (a.verb == CLIENT_SEND) a = applies(d);
    return a;
}

static void ends(const struct desk *d, struct client_action a, enum op_status status, const char *error) {
    assert_int_equal(a.verb, CLIENT_DONE);
    assert_int_equal(a.completion.status, status);
    assert_int_equal(a.completion.op, d->ops);
    assert_string_equal(history_text(d->history, a.completion.error), error);
    assert_int_equal(d->client.state, CLIENT_IDLE);
}

static void sends_to(const struct desk *d, struct client_action a, uint8_t node, bool at_once) {
    assert_int_equal(a.verb, CLIENT_SEND);
    assert_int_equal(d->client.node, node);
    if (at_once)
        assert_int_equal(a.delay_ns, 0);
    else
        assert_in_range(a.delay_ns, 10 * NS_PER_MS, 30 * NS_PER_MS);
}

/* --- where it asks ------------------------------------------------------------------------------------------------ */

static void a_client_follows_redirects_and_remembers_the_leader(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, false);
    sends_to(&d, begins(&d, OP_READ, VALUE_OF_NIL), 2, true);
    sends_to(&d, refused(&d, STATUS_NOT_LEADER, 4), 4, true);
    ends(&d, applies(&d), OP_OK, "");
    sends_to(&d, begins(&d, OP_READ, VALUE_OF_NIL), 4, true);
    desk_close(&d);
}

static void without_a_hint_it_asks_the_next_after_a_pause(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, false);
    begins(&d, OP_READ, VALUE_OF_NIL);
    sends_to(&d, refused(&d, STATUS_NOT_LEADER, NODE_NONE), 3, false);
    sends_to(&d, refused(&d, STATUS_NOT_LEADER, 3), 4, false); /* "I am the leader, and I am not" */
    sends_to(&d, refused(&d, STATUS_NOT_LEADER, 200), 0, false);
    sends_to(&d, refused(&d, STATUS_BUSY, 4), 1, false); /* no redirect */
    sends_to(&d, times_out(&d), 2, true);
    desk_close(&d);
}

/* Two that take each other for the leader must not keep a client running at the speed of the network. */
static void hints_in_circles_slow_it_down(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, false);
    begins(&d, OP_READ, VALUE_OF_NIL);
    for (uint32_t i = 0; i < 20; i++) {
        uint8_t other = d.client.node == 1 ? 4 : 1;
        sends_to(&d, refused(&d, STATUS_NOT_LEADER, other), other, i < NODES);
    }
    desk_close(&d);
}

static struct client_action begins_at(struct desk *d, uint64_t now_ns) {
    struct world_op op = {.op = ++d->ops, .f = OP_READ, .key = d->key, .argument = VALUE_OF_NIL};
    return client_begin(&d->client, &d->rules, d->history, &op, now_ns);
}

static void a_client_of_a_region_tries_the_nearest_and_comes_home(void **state) {
    (void)state;
    static const struct world_config c = {
        .nodes = NODES,
        .regions = {.count = 2, .of_node = {0, 1, 1, 0, 1}, .clients = {1, 2}, .one_way_ns = {{1, 5}, {5, 1}}}};
    static const uint8_t expected[3][NODES] = {{0, 3, 1, 2, 4}, {1, 2, 4, 3, 0}, {2, 4, 1, 3, 0}};
    for (uint32_t client = 0; client < 3; client++) {
        uint8_t nearest[NODES_MAX];
        regions_nearest(&c.regions, NODES, client, nearest);
        assert_memory_equal(nearest, expected[client], NODES);
    }
    struct desk d;
    desk_open(&d, false);
    d.rules = client_rules_of(&c);
    client_reset(&d.client, expected[2], NODES);
    sends_to(&d, begins_at(&d, NS_PER_S), 2, true);
    sends_to(&d, times_out(&d), 4, true);
    ends(&d, applies(&d), OP_OK, "");
    sends_to(&d, begins_at(&d, 5 * NS_PER_S), 4, true); /* too early: it may still be down */
    ends(&d, applies(&d), OP_OK, "");
    sends_to(&d, begins_at(&d, 6 * NS_PER_S), 2, true);
    sends_to(&d, refused(&d, STATUS_NOT_LEADER, 0), 0, true);
    ends(&d, applies(&d), OP_OK, "");
    sends_to(&d, begins_at(&d, 60 * NS_PER_S), 0, true); /* a leader is worth the way */
    sends_to(&d, times_out(&d), 2, true);
    ends(&d, applies(&d), OP_OK, "");
    desk_close(&d);
}

/* --- how operations end ------------------------------------------------------------------------------------------- */

static void every_try_of_a_write_is_the_same_command(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, false);
    begins(&d, OP_WRITE, VALUE_OF_INT(5));
    assert_int_equal(d.client.state, CLIENT_OPENING);
    assert_int_equal(command(&d).session, 0);
    sends_to(&d, applies(&d), 2, true);
    uint64_t session = command(&d).session;
    assert_true(session > 0);
    assert_int_equal(command(&d).sequence, 1);
    uint8_t first[64];
    size_t size = d.client.command.size;
    assert_true(size <= sizeof first);
    memcpy(first, d.client.command.data, size);
    applies(&d); /* applied, but let the answer be lost */
    d.client.state = CLIENT_BUSY;
    times_out(&d);
    refused(&d, STATUS_NOT_LEADER, 1);
    refused(&d, STATUS_UNKNOWN, NODE_NONE);
    refused(&d, STATUS_BUSY, NODE_NONE);
    assert_int_equal(d.client.command.size, size);
    assert_memory_equal(d.client.command.data, first, size);
    uint64_t revision = kv_revision(d.store);
    struct client_action a = applies(&d);
    ends(&d, a, OP_OK, "");
    assert_int_equal(a.completion.result.integer, 5);
    assert_int_equal(kv_revision(d.store), revision); /* applied once */
    begins(&d, OP_WRITE, VALUE_OF_INT(6));
    assert_int_equal(command(&d).session, session);
    assert_int_equal(command(&d).sequence, 2);
    desk_close(&d);
}

static void reads_need_no_session(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, false);
    begins(&d, OP_READ, VALUE_OF_NIL);
    assert_int_equal(d.client.state, CLIENT_BUSY);
    assert_int_equal(command(&d).session, 0);
    desk_close(&d);
}

static void what_times_out_is_unknown_and_its_session_is_not_used_again(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, false);
    ends(&d, does(&d, OP_WRITE, VALUE_OF_INT(1)), OP_OK, "");
    uint64_t session = d.client.session;
    begins(&d, OP_WRITE, VALUE_OF_INT(2));
    times_out(&d);
    ends(&d, client_on_op_timeout(&d.client, d.history), OP_INFO, "timeout");
    begins(&d, OP_WRITE, VALUE_OF_INT(3)); /* as another process */
    assert_int_equal(d.client.state, CLIENT_OPENING);
    applies(&d);
    assert_true(command(&d).session > session);
    assert_int_equal(command(&d).sequence, 1);
    ends(&d, applies(&d), OP_OK, "");
    begins(&d, OP_WRITE, VALUE_OF_INT(4));
    assert_int_equal(command(&d).sequence, 2);
    desk_close(&d);
}

static void a_session_that_cannot_be_opened_in_time_is_a_timeout(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, false);
    begins(&d, OP_WRITE, VALUE_OF_INT(1));
    times_out(&d);
    ends(&d, client_on_op_timeout(&d.client, d.history), OP_INFO, "timeout (opening a session)");
    desk_close(&d);
}

/* Whether it applied before the session went is not known. */
static void an_expired_session_leaves_the_write_unknown(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, false);
    does(&d, OP_WRITE, VALUE_OF_INT(1));
    kv_clear(d.store);
    ends(&d, does(&d, OP_WRITE, VALUE_OF_INT(2)), OP_INFO, "session expired");
    ends(&d, does(&d, OP_WRITE, VALUE_OF_INT(3)), OP_OK, "");
    d.client.sequence = 0; /* an older number: the result is gone */
    ends(&d, does(&d, OP_WRITE, VALUE_OF_INT(4)), OP_OK, "");
    does(&d, OP_WRITE, VALUE_OF_INT(5));
    d.client.sequence = 0;
    ends(&d, does(&d, OP_WRITE, VALUE_OF_INT(6)), OP_INFO, "session expired");
    desk_close(&d);
}

static void what_the_store_refuses_has_failed(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, false);
    struct value pair = history_pair(d.history, VALUE_OF_INT(1), VALUE_OF_INT(2));
    ends(&d, does(&d, OP_CAS, pair), OP_FAIL, "cas mismatch");
    ends(&d, does(&d, OP_WRITE, VALUE_OF_INT(1)), OP_OK, "");
    ends(&d, does(&d, OP_CAS, pair), OP_OK, "");
    ends(&d, does(&d, OP_ADD, VALUE_OF_INT(1)), OP_FAIL, "wrong type");
    uint64_t session = d.client.session;
    ends(&d, does(&d, OP_WRITE, VALUE_OF_INT(1)), OP_OK, "");
    assert_int_equal(d.client.session, session); /* a failure is certain: the process goes on */
    desk_close(&d);
}

static void an_operation_the_store_cannot_express_fails_at_once(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, false);
    ends(&d, begins(&d, OP_WRITE, VALUE_OF_NIL), OP_FAIL, "write needs a number or a string");
    ends(&d, begins(&d, OP_CAS, VALUE_OF_INT(1)), OP_FAIL, "cas needs a pair {expected, new}");
    ends(&d, begins(&d, OP_ADD, VALUE_OF_NIL), OP_FAIL, "append and add need an integer");
    ends(&d, begins(&d, OP_CUSTOM, VALUE_OF_NIL), OP_FAIL, "the store has no such operation");
    ends(&d, begins(&d, OP_TXN, VALUE_OF_NIL), OP_FAIL, "a txn holds 1 to 16 operations");
    struct value element = VALUE_OF_INT(1);
    ends(&d, begins(&d, OP_TXN, history_list(d.history, &element, 1)), OP_FAIL, "a txn is a list of {f, key, value}");
    ends(&d, does(&d, OP_WRITE, VALUE_OF_INT(1)), OP_OK, "");
    desk_close(&d);
}

static void a_result_that_makes_no_sense_is_unknown(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, false);
    begins(&d, OP_READ, VALUE_OF_NIL);
    struct client_action a =
        client_on_reply(&d.client, &d.rules, d.history, &d.prng, STATUS_OK, 0, bytes_str("what is this"));
    ends(&d, a, OP_INFO, "undecodable result");
    desk_close(&d);
}

/* --- pinned clients ----------------------------------------------------------------------------------------------- */

static void a_pinned_client_asks_its_own_node_only(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, true);
    sends_to(&d, begins(&d, OP_READ, VALUE_OF_NIL), 2, true);
    sends_to(&d, refused(&d, STATUS_BUSY, NODE_NONE), 2, false);
    sends_to(&d, times_out(&d), 2, true);
    ends(&d, applies(&d), OP_OK, "");
    desk_close(&d);
}

static void a_pinned_write_that_was_only_refused_has_failed(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, true);
    begins(&d, OP_WRITE, VALUE_OF_INT(1));
    times_out(&d); /* a session that nobody uses is no effect */
    ends(&d, refused(&d, STATUS_NOT_LEADER, 4), OP_FAIL, "not the leader");
    does(&d, OP_WRITE, VALUE_OF_INT(1));
    begins(&d, OP_WRITE, VALUE_OF_INT(2));
    refused(&d, STATUS_BUSY, NODE_NONE);
    ends(&d, refused(&d, STATUS_NOT_LEADER, 4), OP_FAIL, "not the leader");
    desk_close(&d);
}

static void a_pinned_write_that_may_have_arrived_goes_on(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, true);
    does(&d, OP_WRITE, VALUE_OF_INT(1));
    begins(&d, OP_WRITE, VALUE_OF_INT(2));
    times_out(&d);
    sends_to(&d, refused(&d, STATUS_NOT_LEADER, 4), 2, false);
    ends(&d, client_on_op_timeout(&d.client, d.history), OP_INFO, "timeout");
    begins(&d, OP_WRITE, VALUE_OF_INT(3));
    applies(&d);
    refused(&d, STATUS_UNKNOWN, 4); /* it was in a log that was cut */
    sends_to(&d, refused(&d, STATUS_NOT_LEADER, 4), 2, false);
    client_on_op_timeout(&d.client, d.history);
    begins(&d, OP_READ, VALUE_OF_NIL);
    times_out(&d);
    ends(&d, refused(&d, STATUS_NOT_LEADER, 4), OP_FAIL, "not the leader"); /* a read has no effect to wonder about */
    desk_close(&d);
}

static void a_pinned_client_may_be_sent_anywhere_for_one_operation(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, true);
    struct world_op op = {.op = ++d.ops, .f = OP_READ, .key = d.key, .anywhere = true};
    sends_to(&d, client_begin(&d.client, &d.rules, d.history, &op, 0), 2, true);
    sends_to(&d, refused(&d, STATUS_NOT_LEADER, 4), 4, true);
    ends(&d, applies(&d), OP_OK, "");
    sends_to(&d, begins(&d, OP_READ, VALUE_OF_NIL), 2, true);
    desk_close(&d);
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static void values_come_back_as_they_went_in(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, false);
    struct value text = {.kind = VALUE_STRING, .string = history_intern(d.history, "some text")};
    struct value empty = {.kind = VALUE_STRING, .string = history_intern(d.history, "")};
    const struct value values[] = {VALUE_OF_INT(0), VALUE_OF_INT(INT64_MIN), VALUE_OF_INT(INT64_MAX), text, empty};
    assert_int_equal(does(&d, OP_READ, VALUE_OF_NIL).completion.result.kind, VALUE_NIL);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        ends(&d, does(&d, OP_WRITE, values[i]), OP_OK, "");
        struct value read = does(&d, OP_READ, VALUE_OF_NIL).completion.result;
        assert_true(history_value_equal(d.history, read, values[i]));
    }
    ends(&d, does(&d, OP_DELETE, VALUE_OF_NIL), OP_OK, "");
    assert_int_equal(does(&d, OP_READ, VALUE_OF_NIL).completion.result.kind, VALUE_NIL);
    struct value absent = history_pair(d.history, VALUE_OF_NIL, VALUE_OF_INT(3));
    ends(&d, does(&d, OP_CAS, absent), OP_OK, "");
    ends(&d, does(&d, OP_CAS, absent), OP_FAIL, "cas mismatch");
    ends(&d, does(&d, OP_DELETE, VALUE_OF_NIL), OP_OK, "");
    for (int64_t i = 1; i <= 3; i++) ends(&d, does(&d, OP_APPEND, VALUE_OF_INT(-i)), OP_OK, "");
    struct value list = does(&d, OP_READ, VALUE_OF_NIL).completion.result;
    assert_int_equal(list.kind, VALUE_LIST);
    assert_int_equal(list.size, 3);
    assert_int_equal(d.history->pool[list.first + 2].integer, -3);
    desk_close(&d);
}

static struct value element(struct desk *d, const char *f, const char *key, struct value v) {
    struct value parts[3] = {{.kind = VALUE_STRING, .string = history_intern(d->history, f)},
                             {.kind = VALUE_STRING, .string = history_intern(d->history, key)},
                             v};
    return history_list(d->history, parts, v.kind == VALUE_NIL ? 2 : 3);
}

static void a_transaction_is_one_command_and_its_reads_are_filled_in(void **state) {
    (void)state;
    struct desk d;
    desk_open(&d, false);
    struct value elements[4] = {element(&d, "r", "x", VALUE_OF_NIL), element(&d, "w", "x", VALUE_OF_INT(7)),
                                element(&d, "append", "y", VALUE_OF_INT(9)), element(&d, "read", "x", VALUE_OF_NIL)};
    struct value txn = history_list(d.history, elements, 4);
    begins(&d, OP_TXN, txn);
    applies(&d);
    assert_int_equal(command(&d).ops_count, 4);
    struct client_action a = applies(&d);
    ends(&d, a, OP_OK, "");
    struct buffer text = {0};
    history_value_print(d.history, a.completion.result, &text);
    buffer_append(&text, "", 1);
    assert_string_equal((char *)text.data,
                        "[[\"r\",\"x\",null],[\"w\",\"x\",7],[\"append\",\"y\",9],[\"read\",\"x\",7]]");
    buffer_free(&text);
    struct value bad[2] = {element(&d, "w", "x", VALUE_OF_INT(8)), element(&d, "append", "x", VALUE_OF_INT(1))};
    ends(&d, does(&d, OP_TXN, history_list(d.history, bad, 2)), OP_FAIL, "wrong type");
    d.key = history_intern(d.history, "x");
    assert_int_equal(does(&d, OP_READ, VALUE_OF_NIL).completion.result.integer, 7); /* all of it or nothing */
    struct value many[17];
    for (uint32_t i = 0; i < 17; i++) many[i] = element(&d, "r", "x", VALUE_OF_NIL);
    ends(&d, begins(&d, OP_TXN, history_list(d.history, many, 17)), OP_FAIL, "a txn holds 1 to 16 operations");
    struct value reads = history_list(d.history, many, 16);
    begins(&d, OP_TXN, reads);
    assert_int_equal(d.client.state, CLIENT_BUSY); /* only reads: no session, and served as reads are */
    assert_int_equal(command(&d).session, 0);
    desk_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_follows_redirects_and_remembers_the_leader),
        cmocka_unit_test(without_a_hint_it_asks_the_next_after_a_pause),
        cmocka_unit_test(hints_in_circles_slow_it_down),
        cmocka_unit_test(every_try_of_a_write_is_the_same_command),
        cmocka_unit_test(reads_need_no_session),
        cmocka_unit_test(what_times_out_is_unknown_and_its_session_is_not_used_again),
        cmocka_unit_test(a_session_that_cannot_be_opened_in_time_is_a_timeout),
        cmocka_unit_test(an_expired_session_leaves_the_write_unknown),
        cmocka_unit_test(what_the_store_refuses_has_failed),
        cmocka_unit_test(an_operation_the_store_cannot_express_fails_at_once),
        cmocka_unit_test(a_result_that_makes_no_sense_is_unknown),
        cmocka_unit_test(a_pinned_client_asks_its_own_node_only),
        cmocka_unit_test(a_pinned_write_that_was_only_refused_has_failed),
        cmocka_unit_test(a_pinned_write_that_may_have_arrived_goes_on),
        cmocka_unit_test(a_client_of_a_region_tries_the_nearest_and_comes_home),
        cmocka_unit_test(a_pinned_client_may_be_sent_anywhere_for_one_operation),
        cmocka_unit_test(values_come_back_as_they_went_in),
        cmocka_unit_test(a_transaction_is_one_command_and_its_reads_are_filled_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
