/* Models written in Lua: they agree with the built-in ones on random histories and with a brute-force oracle of a
 * queue, name the operation at which a history goes wrong, and whatever a model does, the answer is a clear one. */
#include "harness/script/script.h"
#include "tests/check_histories.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static uint32_t rounds(uint32_t full) {
    return getenv("HARROW_TEST_QUICK") ? full / 20 + 1 : full;
}

static struct script *model_of(const char *text) {
    struct error e = {""};
    struct script *s = script_load_model("model.lua", bytes_str(text), &e);
    if (!s) fail_msg("%s", e.text);
    return s;
}

static struct check_result check_within(struct script *s, const struct history *h, const struct check_options *o) {
    struct check_result r;
    script_check_model(s, 0, h, o, &r);
    assert_string_equal(r.name, "linearizable");
    assert_non_null(r.detail);
    assert_null(strchr(r.detail, '\n'));
    for (uint32_t i = 0; i < r.ops_count; i++) assert_true(r.ops[i] < h->count && (i == 0 || r.ops[i - 1] < r.ops[i]));
    assert_int_equal(r.verdict == VERDICT_INVALID, r.explanation != NULL);
    return r;
}

static enum verdict verdict_of(struct script *s, const struct history *h) {
    struct check_result r = check_within(s, h, NULL);
    enum verdict verdict = r.verdict;
    check_result_free(&r);
    return verdict;
}

static void print_history(const struct history *h) {
    struct buffer text = {0};
    uint32_t *ops = malloc((h->count + 1) * sizeof *ops);
    for (uint32_t op = 0; op < h->count; op++) ops[op] = op;
    check_print_ops(h, ops, h->count, &text);
    fprintf(stderr, "%.*s", (int)text.size, (const char *)text.data);
    buffer_free(&text);
    free(ops);
}

/* --- beside the built-in models ----------------------------------------------------------------------------------- */

static const char register_model[] = "return {\n"
                                     "  init = function() return nil end,\n"
                                     "  step = function(value, op)\n"
                                     "    if op.f == 'write' then return true, op.argument end\n"
                                     "    if op.f == 'cas' then\n"
                                     "      if value == op.argument[1] then return true, op.argument[2] end\n"
                                     "      return false\n"
                                     "    end\n"
                                     "    return op.status == 'info' or op.result == value, value\n"
                                     "  end,\n"
                                     "}\n";
static const char list_model[] = "return {\n"
                                 "  init = function() return {} end,\n"
                                 "  step = function(list, op)\n"
                                 "    if op.f == 'append' then list[#list + 1] = op.argument return true, list end\n"
                                 "    if op.status == 'info' then return true, list end\n"
                                 "    local seen = op.result or {}\n"
                                 "    local equal = #seen == #list\n"
                                 "    for i = 1, #list do equal = equal and seen[i] == list[i] end\n"
                                 "    return equal, list\n"
                                 "  end,\n"
                                 "}\n";
static const char counter_model[] = "return {\n"
                                    "  init = function() return 0 end,\n"
                                    "  step = function(sum, op)\n"
                                    "    if op.f == 'add' then return true, sum + op.argument end\n"
                                    "    return op.status == 'info' or (op.result or 0) == sum, sum\n"
                                    "  end,\n"
                                    "}\n";

static void expect_agreement(const char *text, struct shape shape, uint64_t seed, uint32_t count) {
    struct script *s = model_of(text);
    struct prng p;
    uint32_t valid = 0;
    prng_seed(&p, seed, 7);
    for (uint32_t i = 0; i < count; i++) {
        shape.ops = 2 + (uint32_t)prng_below(&p, 9);
        shape.clients = 1 + (uint32_t)prng_below(&p, 4);
        shape.info_ppm = prng_below(&p, 2) ? 200000 : 0;
        struct history *h =
            prng_below(&p, 3) ? history_random(&p, &shape, 1 + prng_below(&p, 12)) : history_valid(&p, &shape);
        struct check_result r;
        check_linearizable(h, model_find(shape.model), NULL, &r);
        enum verdict verdict = verdict_of(s, h);
        if (verdict != r.verdict) {
            print_history(h);
            fail_msg("%s, history %u: built in %s, in Lua %s", shape.model, i, verdict_name(r.verdict),
                     verdict_name(verdict));
        }
        valid += verdict == VERDICT_VALID;
        check_result_free(&r);
        history_free(h);
    }
    assert_true(valid > count / 10 && valid < count - count / 10);
    script_free(s);
}

static void agrees_with_the_built_in_register(void **state) {
    (void)state;
    struct shape shape = {.model = "cas-register", .keys = 2, .values = 3, .fail_ppm = 100000, .read_ppm = 500000};
    expect_agreement(register_model, shape, 1, rounds(20000));
    shape.model = "register";
    expect_agreement(register_model, shape, 2, rounds(10000));
}

static void agrees_with_the_built_in_list(void **state) {
    (void)state;
    struct shape shape = {.model = "list", .keys = 2, .values = 3, .fail_ppm = 50000, .read_ppm = 400000};
    shape.repeated = true;
    expect_agreement(list_model, shape, 3, rounds(10000));
}

static void agrees_with_the_built_in_counter(void **state) {
    (void)state;
    struct shape shape = {.model = "counter", .keys = 2, .values = 3, .read_ppm = 500000, .negative = true};
    expect_agreement(counter_model, shape, 4, rounds(10000));
}

static void a_long_valid_history_is_valid(void **state) {
    (void)state;
    const struct shape shape = {.model = "cas-register",
                                .ops = rounds(20000),
                                .clients = 8,
                                .keys = 4,
                                .values = 5,
                                .info_ppm = 1000,
                                .read_ppm = 500000};
    struct prng p;
    prng_seed(&p, 5, 7);
    struct history *h = history_valid(&p, &shape);
    struct script *s = model_of(register_model);
    assert_int_equal(verdict_of(s, h), VERDICT_VALID);
    script_free(s);
    history_free(h);
}

/* --- where it goes wrong ------------------------------------------------------------------------------------------ */

/* As it was known when that operation had just ended. */
static struct history *until_end_of(const struct history *h, uint32_t last) {
    struct history *part = history_new();
    uint64_t now = h->complete_ns[last];
    for (uint32_t id = 0; id < h->strings.count; id++) history_intern_bytes(part, history_text_bytes(h, id));
    for (uint32_t op = 0; op < h->count && h->invoke_ns[op] < now; op++) {
        uint32_t copy = history_invoke(part, h->invoke_ns[op], h->invoke_ns[op], h->process[op], NODE_UNKNOWN, h->f[op],
                                       h->key[op], h->argument[op]);
        if (h->status[op] != OP_PENDING && h->complete_ns[op] <= now)
            history_complete(part, copy, h->complete_ns[op], h->status[op], h->result[op], NO_STRING);
    }
    return part;
}

static bool names(const struct check_result *r, uint32_t op) {
    for (uint32_t i = 0; i < r->ops_count; i++)
        if (r->ops[i] == op) return true;
    return false;
}

/* The first operation by whose end no order is left, as the oracle sees it. */
static uint32_t first_wrong(const struct history *h) {
    uint32_t first = UINT32_MAX;
    for (uint32_t op = 0; op < h->count; op++) {
        bool earlier = first == UINT32_MAX || h->complete_ns[op] < h->complete_ns[first];
        if (h->status[op] != OP_OK || !earlier) continue;
        struct history *part = until_end_of(h, op);
        if (!oracle_linearizable(part, "register", TOUCHING_OF_ONE_PROCESS)) first = op;
        history_free(part);
    }
    return first;
}

static void names_the_first_operation_that_fits_in_no_order(void **state) {
    (void)state;
    struct shape shape = {.model = "register", .ops = 8, .clients = 3, .keys = 1, .values = 30, .read_ppm = 600000};
    struct script *s = model_of(register_model);
    struct prng p;
    prng_seed(&p, 6, 7);
    uint32_t invalid = 0;
    for (uint32_t i = 0; i < rounds(2000); i++) {
        struct history *h = history_random(&p, &shape, 1000000); /* no two events at one time */
        struct check_result r = check_within(s, h, NULL);
        if (r.verdict == VERDICT_INVALID) {
            invalid++;
            char *said = xformat("by process %u before it ended", (unsigned)h->process[first_wrong(h)]);
            assert_non_null(strstr(r.detail, said));
            free(said);
        }
        check_result_free(&r);
        history_free(h);
    }
    assert_true(invalid > 20);
    script_free(s);
}

/* --- a queue ------------------------------------------------------------------------------------------------------ */

static const char queue_model[] = "return {\n"
                                  "  init = function() return {} end,\n"
                                  "  step = function(queue, op)\n"
                                  "    if op.f == 'enqueue' then\n"
                                  "      queue[#queue + 1] = op.argument\n"
                                  "      return true, queue\n"
                                  "    end\n"
                                  "    local first = table.remove(queue, 1)\n"
                                  "    return op.status == 'info' or op.result == first, queue\n"
                                  "  end,\n"
                                  "}\n";

#define QUEUE_OPS_MAX 8u
struct queue {
    int64_t items[QUEUE_OPS_MAX];
    uint32_t count;
};

static bool queue_step(const struct history *h, uint32_t op, uint16_t enqueue, struct queue *q) {
    if (h->f[op] == enqueue) {
        q->items[q->count++] = h->argument[op].integer;
        return true;
    }
    struct value result = h->result[op];
    bool known = h->status[op] == OP_OK, empty = q->count == 0;
    bool fits = empty ? result.kind == VALUE_NIL : result.kind == VALUE_INT && result.integer == q->items[0];
    if (!empty) memmove(q->items, q->items + 1, --q->count * sizeof *q->items);
    return fits || !known;
}

/* Tries all orders. */
static bool queue_linearizable(const struct history *h, uint16_t enqueue, uint32_t placed, struct queue q) {
    uint32_t open = 0;
    uint64_t first_end = UINT64_MAX;
    for (uint32_t op = 0; op < h->count; op++) {
        if (h->status[op] != OP_OK || (placed >> op & 1)) continue;
        open++;
        if (h->complete_ns[op] < first_end) first_end = h->complete_ns[op];
    }
    if (open == 0) return true;
    for (uint32_t op = 0; op < h->count; op++) {
        struct queue next = q;
        if ((placed >> op & 1) || h->status[op] == OP_FAIL || h->invoke_ns[op] > first_end) continue;
        if (queue_step(h, op, enqueue, &next) && queue_linearizable(h, enqueue, placed | 1u << op, next)) return true;
    }
    return false;
}

static struct history *random_queue(struct prng *p, uint16_t *enqueue) {
    struct history *h = history_new();
    uint16_t functions[2] = {history_function(h, "enqueue"), history_function(h, "dequeue")};
    uint64_t free_at[3] = {0}, now = 0;
    uint32_t count = 2 + (uint32_t)prng_below(p, QUEUE_OPS_MAX - 1), process[3] = {0, 1, 2}, next_process = 3;
    *enqueue = functions[0];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t c = (uint32_t)prng_below(p, 3);
        uint64_t from = now > free_at[c] ? now : free_at[c];
        uint64_t begin = from + from % 2 + 2 * prng_below(p, 4); /* even, and ends are odd: none touch */
        uint64_t end = begin + 1 + 2 * prng_below(p, 8);
        uint16_t f = functions[prng_below(p, 2)];
        struct value any = VALUE_OF_INT((int64_t)prng_below(p, 3));
        bool unknown = prng_below(p, 8) == 0;
        if (f == functions[1] && prng_below(p, 4) == 0) any = VALUE_OF_NIL;
        add_op(h, process[c], begin, end, f, NULL, f == functions[0] ? any : VALUE_OF_NIL, unknown ? OP_INFO : OP_OK,
               f == functions[1] && !unknown ? any : VALUE_OF_NIL);
        if (unknown) process[c] = next_process++;
        free_at[c] = end;
        now = begin;
    }
    return h;
}

static void a_queue_in_lua_agrees_with_all_orders(void **state) {
    (void)state;
    struct script *s = model_of(queue_model);
    struct prng p;
    prng_seed(&p, 8, 7);
    uint32_t valid = 0, count = rounds(20000);
    for (uint32_t i = 0; i < count; i++) {
        uint16_t enqueue;
        struct history *h = random_queue(&p, &enqueue);
        bool linearizable = queue_linearizable(h, enqueue, 0, (struct queue){.count = 0});
        enum verdict verdict = verdict_of(s, h);
        if (verdict != (linearizable ? VERDICT_VALID : VERDICT_INVALID)) {
            print_history(h);
            fail_msg("history %u: %s", i, verdict_name(verdict));
        }
        valid += linearizable;
        history_free(h);
    }
    assert_true(valid > count / 20 && valid < count - count / 20);
    script_free(s);
}

/* Three enqueued in order; then 3 comes out first. */
static struct history *overtaking(void) {
    struct history *h = history_new();
    uint16_t enqueue = history_function(h, "enqueue"), dequeue = history_function(h, "dequeue");
    for (int64_t i = 1; i <= 3; i++)
        add_op(h, 0, (uint64_t)(20 * i), (uint64_t)(20 * i + 10), enqueue, "q", VALUE_OF_INT(i), OP_OK, VALUE_OF_NIL);
    add_op(h, 1, 100, 110, dequeue, "q", VALUE_OF_NIL, OP_OK, VALUE_OF_INT(3));
    return h;
}

static void the_explanation_shows_states_and_what_is_refused(void **state) {
    (void)state;
    struct script *s = model_of(queue_model);
    struct history *h = overtaking();
    struct check_result r = check_within(s, h, NULL);
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_string_equal(r.detail,
                        "key q: no order that model.lua allows has dequeue -> 3 by process 1 before it ended");
    assert_non_null(strstr(r.explanation, "{2, 3}"));
    assert_non_null(strstr(r.explanation, "is not possible in this state"));
    assert_int_equal(r.ops_count, 3);
    assert_true(names(&r, 3));
    check_result_free(&r);
    history_free(h);
    script_free(s);
}

/* --- partition, describe, processes ------------------------------------------------------------------------------- */

static void partition_and_describe_are_asked(void **state) {
    (void)state;
    char text[1024];
    snprintf(text, sizeof text,
             "local m = (function() %s end)()\n"
             "m.partition = function(op) return op.key:sub(1, 1) end\n"
             "m.describe = function(op) return op.f:upper() end\n"
             "return m\n",
             register_model);
    struct script *s = model_of(text);
    struct history *h = history_new();
    add_op(h, 0, 10, 20, OP_WRITE, "a1", VALUE_OF_INT(1), OP_OK, VALUE_OF_NIL);
    add_op(h, 0, 30, 40, OP_READ, "a2", VALUE_OF_NIL, OP_OK, VALUE_OF_INT(1));
    assert_int_equal(verdict_of(s, h), VERDICT_VALID);
    add_op(h, 0, 50, 60, OP_READ, "b1", VALUE_OF_NIL, OP_OK, VALUE_OF_INT(1));
    struct check_result r = check_within(s, h, NULL);
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_non_null(strstr(r.detail, "the object of operation 2: no order that model.lua allows has READ"));
    check_result_free(&r);
    history_free(h);
    script_free(s);
}

static void processes_are_told_apart_on_request(void **state) {
    (void)state;
    static const char lock[] = "return {\n"
                               "  processes = true,\n"
                               "  init = function() return 'free' end,\n"
                               "  step = function(holder, op)\n"
                               "    if op.f == 'acquire' then return holder == 'free', op.process end\n"
                               "    return holder == op.process, 'free'\n"
                               "  end,\n"
                               "}\n";
    struct script *s = model_of(lock);
    struct history *h = history_new();
    uint16_t acquire = history_function(h, "acquire"), release = history_function(h, "release");
    add_op(h, 0, 10, 20, acquire, NULL, VALUE_OF_NIL, OP_OK, VALUE_OF_NIL);
    add_op(h, 0, 30, 40, release, NULL, VALUE_OF_NIL, OP_OK, VALUE_OF_NIL);
    add_op(h, 1, 50, 60, acquire, NULL, VALUE_OF_NIL, OP_OK, VALUE_OF_NIL);
    assert_int_equal(verdict_of(s, h), VERDICT_VALID);
    add_op(h, 2, 70, 80, release, NULL, VALUE_OF_NIL, OP_OK, VALUE_OF_NIL);
    assert_int_equal(verdict_of(s, h), VERDICT_INVALID);
    history_free(h);
    script_free(s);
}

static void a_step_may_change_the_state_that_it_is_given(void **state) {
    (void)state;
    static const char text[] = "return {\n"
                               "  init = function() return { map = {}, [2] = 0.5, on = true } end,\n"
                               "  step = function(s, op)\n"
                               "    s.map[op.f == 'write' and op.argument or 'x'] = { op.argument }\n"
                               "    return op.f == 'write' or s.map[op.result] ~= nil, s\n"
                               "  end,\n"
                               "}\n";
    struct script *s = model_of(text);
    struct history *h = history_new();
    add_op(h, 0, 10, 50, OP_WRITE, "x", VALUE_OF_INT(1), OP_OK, VALUE_OF_NIL);
    add_op(h, 1, 10, 50, OP_WRITE, "x", VALUE_OF_INT(2), OP_OK, VALUE_OF_NIL);
    add_op(h, 2, 60, 70, OP_READ, "x", VALUE_OF_NIL, OP_OK, VALUE_OF_INT(2));
    assert_int_equal(verdict_of(s, h), VERDICT_VALID);
    add_op(h, 2, 80, 90, OP_READ, "x", VALUE_OF_NIL, OP_OK, VALUE_OF_INT(3));
    struct check_result r = check_within(s, h, NULL);
    assert_int_equal(r.verdict, VERDICT_INVALID);
    assert_non_null(strstr(r.explanation, "{[2] = 0.5, on = true, map = {"));
    check_result_free(&r);
    history_free(h);
    script_free(s);
}

static void a_state_may_hold_an_operation(void **state) {
    (void)state;
    static const char text[] =
        "return {\n"
        "  init = function() return {} end,\n"
        "  step = function(last, op)\n"
        "    return op.f == 'write' or last.argument == op.result, op.f == 'write' and op or last\n"
        "  end,\n"
        "}\n";
    struct script *s = model_of(text);
    struct history *h = history_new();
    add_op(h, 0, 10, 20, OP_WRITE, "x", VALUE_OF_INT(1), OP_OK, VALUE_OF_NIL);
    add_op(h, 0, 30, 40, OP_READ, "x", VALUE_OF_NIL, OP_OK, VALUE_OF_INT(1));
    assert_int_equal(verdict_of(s, h), VERDICT_VALID);
    add_op(h, 0, 50, 60, OP_READ, "x", VALUE_OF_NIL, OP_OK, VALUE_OF_INT(2));
    assert_int_equal(verdict_of(s, h), VERDICT_INVALID);
    history_free(h);
    script_free(s);
}

/* --- models that misbehave ---------------------------------------------------------------------------------------- */

/* A model that is asked about one write and one read; the verdict must be unknown, and say so. */
static void expect_unknown(const char *text, const struct check_options *o, const char *expected) {
    struct script *s = model_of(text);
    struct history *h = history_new();
    add_op(h, 0, 10, 20, OP_WRITE, "x", VALUE_OF_INT(1), OP_OK, VALUE_OF_NIL);
    add_op(h, 0, 30, 40, OP_READ, "x", VALUE_OF_NIL, OP_OK, VALUE_OF_INT(1));
    struct check_result r = check_within(s, h, o);
    assert_int_equal(r.verdict, VERDICT_UNKNOWN);
    if (!strstr(r.detail, expected)) fail_msg("'%s' is not in: %s", expected, r.detail);
    check_result_free(&r);
    history_free(h);
    script_free(s);
}

#define STEP(body) "return { init = function() return 0 end,\n step = function(state, op)\n" body "\nend }"

static void what_a_model_does_wrong_is_unknown_with_file_and_line(void **state) {
    (void)state;
    expect_unknown(STEP("return true, state + nil"), NULL, "model.lua:3: attempt to perform arithmetic on a nil value");
    expect_unknown(STEP("error('no such thing')"), NULL,
                   "model.lua:3: no such thing (asked about operation 0, write 1)");
    expect_unknown(STEP("while true do end"), NULL, "model.lua:3: more than 50000000 instructions");
    expect_unknown(STEP("pcall(function() while true do end end) return true, 0"), NULL, "an endless loop?");
    expect_unknown(STEP("local t = {} for i = 1, 1e9 do t[i] = i end"), NULL, "bytes of memory");
    expect_unknown(STEP("return true"), NULL, "model.lua: step returned true without the new state");
    expect_unknown(STEP(""), NULL, "model.lua: step returned nothing");
    expect_unknown(STEP("return true, print"), NULL, "the state of a model is plain data, but holds a function");
    expect_unknown(STEP("return true, { [{}] = 1 }"), NULL, "has a table as a key");
    expect_unknown(STEP("return true, 0/0"), NULL, "a number that is none");
    expect_unknown(STEP("local t = {} t.t = t return true, t"), NULL, "does one hold itself?");
    expect_unknown(STEP("return true, setmetatable({}, {})"), NULL, "has a metatable");
    expect_unknown(STEP("return true, { ('x'):rep(200000), ('y'):rep(200000), ('z'):rep(200000), ('a'):rep(200000),"
                        " ('b'):rep(200000), ('c'):rep(200000) }"),
                   NULL, "has more than 1048576 bytes");
    expect_unknown("return { init = function() error('not today') end, step = function() end }", NULL,
                   "model.lua:1: not today");
    expect_unknown("return { init = function() return 0 end, step = function() return true, 0 end,\n"
                   "partition = function(op) return op.argument.more end }",
                   NULL, "model.lua:2: attempt to index a number value (field 'argument')");
    expect_unknown(STEP("return true, op.value"), NULL,
                   "model.lua:3: an operation has no field 'value'; it has argument, f, key, result, status");
    expect_unknown(STEP("return true, op.arguments"), NULL, "no field 'arguments'; did you mean 'argument'?");
    expect_unknown(STEP("return true, op.process"), NULL, "no field 'process'");
}

static void expect_not_loaded(const char *text, const char *expected) {
    struct error e = {""};
    assert_null(script_load_model("model.lua", bytes_str(text), &e));
    if (!strstr(e.text, expected)) fail_msg("'%s' is not in: %s", expected, e.text);
}

static void a_file_that_is_no_model_is_refused(void **state) {
    (void)state;
    expect_not_loaded("return 5", "a model must return a table");
    expect_not_loaded("", "a model must return a table");
    expect_not_loaded("return { init = function() end }", "the function step is missing");
    expect_not_loaded("return { init = 5, step = function() end }", "init is a number, not a function");
    expect_not_loaded("return { init = function() end, step = function() end, descrive = 1 }",
                      "did you mean 'describe'");
    expect_not_loaded("return {", "model.lua:1: ");
    expect_not_loaded("while true do end", "an endless loop?");
}

/* --- budgets ------------------------------------------------------------------------------------------------------ */

static double seconds_since(struct timespec start) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9;
}

static void the_deadline_holds_within_a_step(void **state) {
    (void)state;
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    expect_unknown(STEP("while true do end"), &(struct check_options){.deadline_ms = 20},
                   "model.lua:3: the time allowed was spent here");
    assert_true(seconds_since(start) < 10); /* valgrind is slow */
}

/* Every state is new, so there is no end of configurations. */
static struct history *many_at_once(uint32_t count) {
    struct history *h = history_new();
    for (uint32_t i = 0; i < count; i++)
        add_op(h, i, 10 + i, 1000, OP_WRITE, "x", VALUE_OF_INT(i), OP_OK, VALUE_OF_NIL);
    add_op(h, count, 2000, 2010, OP_READ, "x", VALUE_OF_NIL, OP_OK, VALUE_OF_INT(-1));
    return h;
}

static const char remembers_all[] = "return {\n"
                                    "  init = function() return {} end,\n"
                                    "  step = function(all, op)\n"
                                    "    all[#all + 1] = op.argument\n"
                                    "    return op.f == 'write', all\n"
                                    "  end,\n"
                                    "}\n";

static void the_deadline_holds_between_steps(void **state) {
    (void)state;
    struct timespec start;
    struct script *s = model_of(remembers_all);
    struct history *h = many_at_once(20);
    clock_gettime(CLOCK_MONOTONIC, &start);
    struct check_result r = check_within(s, h, &(struct check_options){.deadline_ms = 50});
    assert_int_equal(r.verdict, VERDICT_UNKNOWN);
    assert_non_null(strstr(r.detail, "time allowed"));
    assert_true(seconds_since(start) < 10);
    check_result_free(&r);
    history_free(h);
    script_free(s);
}

static void the_memory_cap_holds(void **state) {
    (void)state;
    struct script *s = model_of(remembers_all);
    struct history *h = many_at_once(30);
    struct check_result r = check_within(s, h, &(struct check_options){.memory_bytes_max = 4 << 20});
    assert_int_equal(r.verdict, VERDICT_UNKNOWN);
    assert_non_null(strstr(r.detail, "memory allowed was spent"));
    check_result_free(&r);
    history_free(h);
    script_free(s);
}

/* --- in a scenario ------------------------------------------------------------------------------------------------ */

static void a_scenario_may_hold_a_model(void **state) {
    (void)state;
    char text[1024];
    struct error e = {""};
    snprintf(text, sizeof text,
             "local m = (function() %s end)()\n"
             "return { workload = register {}, checks = { linearizable(), linearizable(m) } }\n",
             queue_model);
    struct script *s = script_load("test.lua", bytes_str(text), NULL, &e);
    if (!s) fail_msg("%s", e.text);
    const struct scenario *k = script_scenario(s);
    assert_int_equal(k->checks_count, 2);
    assert_int_equal(k->checks[1].kind, CHECK_MODEL);
    struct history *h = overtaking();
    struct check_result r;
    script_check_model(s, k->checks[1].lua_index, h, NULL, &r);
    assert_int_equal(r.verdict, VERDICT_INVALID);
    check_result_free(&r);
    history_free(h);
    script_free(s);
    assert_null(script_load("test.lua", bytes_str("return { workload = register {}, checks = { linearizable { } } }"),
                            NULL, &e));
    assert_string_equal(e.text, "test.lua:1: linearizable: the function init is missing");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_built_in_register),
        cmocka_unit_test(agrees_with_the_built_in_list),
        cmocka_unit_test(agrees_with_the_built_in_counter),
        cmocka_unit_test(a_long_valid_history_is_valid),
        cmocka_unit_test(names_the_first_operation_that_fits_in_no_order),
        cmocka_unit_test(a_queue_in_lua_agrees_with_all_orders),
        cmocka_unit_test(the_explanation_shows_states_and_what_is_refused),
        cmocka_unit_test(partition_and_describe_are_asked),
        cmocka_unit_test(processes_are_told_apart_on_request),
        cmocka_unit_test(a_step_may_change_the_state_that_it_is_given),
        cmocka_unit_test(a_state_may_hold_an_operation),
        cmocka_unit_test(what_a_model_does_wrong_is_unknown_with_file_and_line),
        cmocka_unit_test(a_file_that_is_no_model_is_refused),
        cmocka_unit_test(the_deadline_holds_within_a_step),
        cmocka_unit_test(the_deadline_holds_between_steps),
        cmocka_unit_test(the_memory_cap_holds),
        cmocka_unit_test(a_scenario_may_hold_a_model),
    };
    return cmocka_run_group_tests_name("models", tests, NULL, NULL);
}
