/* Generators, on made-up clocks: the workloads in C (rates, mixes, keys, values), every combinator of the Lua
 * library, and the bridge between the two. */
#include "tests/script_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- running a struct generator --- */

#define CLIENTS_MAX 64
#define OPS_MAX 200000

struct run {
    struct generator *g;
    struct history *h;
    struct gen_context c;
    uint8_t busy[CLIENTS_MAX];
    uint32_t process[CLIENTS_MAX];
    uint64_t ends_ns[CLIENTS_MAX];
    struct gen_op open[CLIENTS_MAX];
    struct gen_op *ops; /* all, in order */
    uint64_t *issued_ns;
    uint32_t count;
    struct value kv[1000]; /* by intern id: what a key holds, for cas and reads */
    uint32_t cas_ok, cas_count;
    struct error e;
};

static struct run *run_new(struct generator *g, uint32_t clients) {
    struct run *r = xcalloc(1, sizeof *r);
    r->g = g;
    r->h = history_new();
    r->ops = xcalloc(OPS_MAX, sizeof *r->ops);
    r->issued_ns = xcalloc(OPS_MAX, sizeof *r->issued_ns);
    for (uint32_t i = 0; i < clients; i++) r->process[i] = i;
    r->c = (struct gen_context){
        .clients = clients, .busy = r->busy, .process = r->process, .free_clients = clients, .history = r->h};
    return r;
}

static void run_free(struct run *r) {
    history_free(r->h);
    free(r->ops);
    free(r->issued_ns);
    free(r);
}

/* What a store of registers would answer. */
static struct gen_event answer(struct run *r, const struct gen_op *op, enum op_status status) {
    struct gen_event ev = {.completion = true,
                           .client = op->client,
                           .process = r->process[op->client],
                           .f = op->f,
                           .key = op->key,
                           .status = status};
    struct value *held = op->key < 1000 ? &r->kv[op->key] : &r->kv[0];
    if (op->f == OP_CAS) {
        r->cas_count++;
        const struct value *pair = &r->h->pool[op->argument.first];
        if (!history_value_equal(r->h, *held, pair[0])) ev.status = OP_FAIL;
        if (ev.status == OP_OK) {
            *held = pair[1];
            r->cas_ok++;
        }
    }
    if (op->f == OP_WRITE && status == OP_OK) *held = op->argument;
    if (op->f == OP_READ) ev.value = *held;
    return ev;
}

static void complete(struct run *r, uint32_t client, enum op_status status) {
    struct gen_event ev = answer(r, &r->open[client], status);
    r->c.now_ns = r->ends_ns[client];
    r->busy[client] = 0;
    r->c.free_clients++;
    assert_int_equal(r->g->ops->update(r->g, &r->c, &ev, &r->e), 0);
    if (status == OP_INFO) r->process[client] += r->c.clients;
}

static uint32_t first_end(const struct run *r) {
    uint32_t first = UINT32_MAX;
    for (uint32_t i = 0; i < r->c.clients; i++) {
        if (r->busy[i] && (first == UINT32_MAX || r->ends_ns[i] < r->ends_ns[first])) first = i;
    }
    return first;
}

static void issue(struct run *r, uint64_t latency_ns) {
    struct gen_op op = {.key = NO_STRING};
    if (r->g->ops->take(r->g, &r->c, &op, &r->e)) fail_msg("%s", r->e.text);
    assert_true(op.client < r->c.clients && !r->busy[op.client]);
    assert_true(r->count < OPS_MAX);
    r->issued_ns[r->count] = r->c.now_ns;
    r->ops[r->count++] = r->open[op.client] = op;
    r->busy[op.client] = 1;
    r->c.free_clients--;
    r->ends_ns[op.client] = r->c.now_ns + latency_ns;
    struct gen_event ev = {.client = op.client, .process = r->process[op.client], .f = op.f, .key = op.key};
    assert_int_equal(r->g->ops->update(r->g, &r->c, &ev, &r->e), 0);
}

/* Until that time or the end of the generator; every operation takes latency_ns. Returns the last state. */
static enum gen_state run_until(struct run *r, uint64_t until_ns, uint64_t latency_ns, enum op_status status) {
    for (;;) {
        uint64_t due_ns = 0;
        enum gen_state state = GEN_PENDING;
        if (r->c.free_clients) state = r->g->ops->peek(r->g, &r->c, &due_ns, &r->e);
        if (state == GEN_FAILED) fail_msg("%s", r->e.text);
        uint32_t ending = first_end(r);
        uint64_t end_ns = ending == UINT32_MAX ? UINT64_MAX : r->ends_ns[ending];
        if (state == GEN_READY && due_ns < end_ns && due_ns < until_ns) {
            if (due_ns > r->c.now_ns) {
                r->c.now_ns = due_ns;
            } else {
                issue(r, latency_ns);
            }
        } else if (end_ns < until_ns) {
            complete(r, ending, status);
        } else {
            return state;
        }
    }
}

/* --- workloads in C --- */

static struct run *run_workload(struct workload_config c, uint64_t seed, uint64_t until_ns, uint64_t latency_ns) {
    struct generator *g = workload_new(&c, seed);
    struct run *r = run_new(g, c.clients);
    run_until(r, until_ns, latency_ns, OP_OK);
    g->ops->free(g);
    return r;
}

static void an_open_loop_keeps_its_rate(void **state) {
    (void)state;
    struct workload_config c = {.kind = WORKLOAD_REGISTER, .keys = 4, .clients = 10, .rate_hz_milli = 200000};
    struct run *r = run_workload(c, 1, 100 * NS_PER_S, NS_PER_MS);
    assert_in_range(r->count, 19400, 20600);
    uint64_t short_gaps = 0;
    for (uint32_t i = 1; i < r->count; i++) short_gaps += r->ops[i].intended_ns - r->ops[i - 1].intended_ns < 5000000;
    assert_in_range(short_gaps * 1000 / r->count, 610, 655); /* 1 - 1/e: the arrivals are Poisson */
    run_free(r);
    c.steady = true;
    r = run_workload(c, 1, 10 * NS_PER_S, NS_PER_MS);
    for (uint32_t i = 1; i < r->count; i++) {
        assert_int_equal(r->ops[i].intended_ns - r->ops[i - 1].intended_ns, 5 * NS_PER_MS);
    }
    run_free(r);
}

static void a_stall_does_not_move_the_intended_times(void **state) {
    (void)state;
    struct workload_config c = {
        .kind = WORKLOAD_REGISTER, .keys = 1, .clients = 2, .rate_hz_milli = 100000, .steady = true};
    struct run *r = run_workload(c, 1, 10 * NS_PER_S, NS_PER_S); /* two clients, a second each: far too slow */
    assert_in_range(r->count, 18, 22);
    for (uint32_t i = 0; i < r->count; i++) assert_int_equal(r->ops[i].intended_ns, (i + 1) * 10 * NS_PER_MS);
    assert_true(r->issued_ns[r->count - 1] > r->ops[r->count - 1].intended_ns + 5 * NS_PER_S);
    run_free(r);
}

static void a_closed_loop_waits_for_its_clients(void **state) {
    (void)state;
    struct workload_config c = {.kind = WORKLOAD_REGISTER, .keys = 4, .clients = 5};
    struct run *r = run_workload(c, 1, NS_PER_S, 10 * NS_PER_MS);
    assert_in_range(r->count, 495, 500);
    run_free(r);
    c.think_ns = 90 * NS_PER_MS;
    r = run_workload(c, 1, 20 * NS_PER_S, 10 * NS_PER_MS);
    assert_in_range(r->count, 900, 1100);
    run_free(r);
}

static void the_mix_is_as_asked(void **state) {
    (void)state;
    struct workload_config c = {.kind = WORKLOAD_REGISTER,
                                .keys = 4,
                                .clients = 10,
                                .rate_hz_milli = 1000000,
                                .weights = {[OP_READ] = 6, [OP_WRITE] = 3, [OP_CAS] = 1}};
    struct run *r = run_workload(c, 7, 20 * NS_PER_S, NS_PER_MS);
    uint32_t counts[OP_CUSTOM] = {0};
    for (uint32_t i = 0; i < r->count; i++) counts[r->ops[i].f]++;
    assert_in_range(counts[OP_READ] * 1000 / r->count, 580, 620);
    assert_in_range(counts[OP_WRITE] * 1000 / r->count, 280, 320);
    assert_in_range(counts[OP_CAS] * 1000 / r->count, 85, 115);
    run_free(r);
}

static void a_fair_share_of_cas_succeeds(void **state) {
    (void)state;
    struct workload_config c = {.kind = WORKLOAD_REGISTER, .keys = 8, .clients = 10, .rate_hz_milli = 200000};
    struct run *r = run_workload(c, 3, 60 * NS_PER_S, 5 * NS_PER_MS);
    assert_true(r->cas_count > 1000);
    assert_in_range(r->cas_ok * 100 / r->cas_count, 60, 100);
    run_free(r);
}

static void values_are_unique_unless_limited(void **state) {
    (void)state;
    struct workload_config c = {.kind = WORKLOAD_REGISTER, .keys = 4, .clients = 10, .rate_hz_milli = 500000};
    for (uint32_t limited = 0; limited < 2; limited++) {
        c.values = limited ? 5 : 0;
        struct run *r = run_workload(c, 3, 20 * NS_PER_S, NS_PER_MS);
        struct map64 seen = {0};
        uint32_t doubles = 0;
        for (uint32_t i = 0; i < r->count; i++) {
            if (r->ops[i].f != OP_WRITE) continue;
            bool fresh;
            map64_put(&seen, (uint64_t)r->ops[i].argument.integer, &fresh);
            doubles += !fresh;
        }
        if (limited) {
            assert_int_equal(seen.count, 5);
        } else {
            assert_int_equal(doubles, 0);
        }
        map64_free(&seen);
        run_free(r);
    }
}

static void zipf_prefers_few_keys(void **state) {
    (void)state;
    struct workload_config c = {.kind = WORKLOAD_COUNTER, .keys = 100, .clients = 10, .rate_hz_milli = 1000000};
    for (uint32_t skewed = 0; skewed < 2; skewed++) {
        c.zipf_permille = skewed ? 990 : 0;
        struct run *r = run_workload(c, 5, 20 * NS_PER_S, NS_PER_MS);
        uint32_t first = history_intern(r->h, "k0"), hits = 0;
        for (uint32_t i = 0; i < r->count; i++) hits += r->ops[i].key == first;
        if (skewed) {
            assert_in_range(hits * 1000 / r->count, 170, 210);
        } else {
            assert_in_range(hits * 1000 / r->count, 5, 15);
        }
        run_free(r);
    }
}

static void the_same_seed_gives_the_same_operations(void **state) {
    (void)state;
    struct workload_config c = {.kind = WORKLOAD_APPEND, .keys = 4, .clients = 10, .rate_hz_milli = 100000};
    struct run *a = run_workload(c, 9, 10 * NS_PER_S, NS_PER_MS), *b = run_workload(c, 9, 10 * NS_PER_S, NS_PER_MS);
    struct run *other = run_workload(c, 10, 10 * NS_PER_S, NS_PER_MS);
    assert_int_equal(a->count, b->count);
    bool differs = a->count != other->count;
    for (uint32_t i = 0; i < a->count; i++) {
        assert_int_equal(a->ops[i].intended_ns, b->ops[i].intended_ns);
        assert_int_equal(a->ops[i].f, b->ops[i].f);
        assert_int_equal(a->ops[i].key, b->ops[i].key);
        differs = differs || a->ops[i].intended_ns != other->ops[i].intended_ns;
    }
    assert_true(differs);
    run_free(a);
    run_free(b);
    run_free(other);
}

static void final_reads_read_each_key_and_try_again(void **state) {
    (void)state;
    struct workload_config c = {.kind = WORKLOAD_REGISTER, .keys = 20, .clients = 3};
    struct generator *g = workload_final_reads(&c);
    struct run *r = run_new(g, 3);
    assert_int_equal(run_until(r, 10 * NS_PER_S, NS_PER_MS, OP_OK), GEN_DONE);
    assert_int_equal(r->count, 20);
    run_free(r);
    g->ops->free(g);
    g = workload_final_reads(&c);
    r = run_new(g, 3);
    assert_int_equal(run_until(r, 10 * NS_PER_S, NS_PER_MS, OP_INFO), GEN_DONE);
    assert_int_equal(r->count, 100); /* five tries each, no more */
    run_free(r);
    g->ops->free(g);
}

/* --- the bridge --- */

static void a_lua_generator_runs_behind_the_interface(void **state) {
    (void)state;
    const char *text = "return { workload = generator { clients = 3, final = { f = 'read', key = 'x' },\n"
                       "  gen.limit(50, gen.stagger(0.01, gen.mix {\n"
                       "    function() return { f = 'write', key = 'x', value = random(10) } end,\n"
                       "    gen.repeated { f = 'read', key = 7 },\n"
                       "    gen.repeated { f = 'cas', key = 'x', value = { 1, 2 } } })) } }";
    struct error e;
    struct script_options o = {.seed = 4};
    struct script *s = load_text(text, &o, &e);
    if (!s) fail_msg("%s", e.text);
    assert_int_equal(script_scenario(s)->world.clients, 3);
    struct run *r = run_new(script_workload(s), 3);
    assert_int_equal(run_until(r, 100 * NS_PER_S, NS_PER_MS, OP_OK), GEN_DONE);
    assert_int_equal(r->count, 50);
    uint32_t counts[OP_CUSTOM] = {0};
    for (uint32_t i = 0; i < r->count; i++) counts[r->ops[i].f]++;
    assert_true(counts[OP_READ] > 5 && counts[OP_WRITE] > 5 && counts[OP_CAS] > 5);
    assert_true(r->ops[49].intended_ns > 200 * NS_PER_MS && r->ops[49].intended_ns < NS_PER_S);
    run_free(r);
    r = run_new(script_final_reads(s), 3);
    assert_int_equal(run_until(r, 100 * NS_PER_S, NS_PER_MS, OP_OK), GEN_DONE);
    assert_int_equal(r->count, 1);
    run_free(r);
    script_free(s);
}

static void a_failing_lua_generator_names_its_line(void **state) {
    (void)state;
    static const struct {
        const char *generator, *message;
    } cases[] = {
        {"function()\n  return nil + 1 end", "test.lua:2: attempt to perform arithmetic on a nil value"},
        {"{ f = 'write', key = 'x' }", "test.lua: the generator made an operation 'write', which needs a value"},
        {"{ f = 'cas', key = 'x', value = 1 }",
         "test.lua: the generator made an operation 'cas', which needs a value of two: { expected, new }"},
        {"{ f = 'append', key = 'x', value = 'a' }",
         "test.lua: the generator made an operation 'append', which needs a value that is a whole number"},
        {"{ f = 'write', value = 1.5 }", "test.lua: the generator's operation: 1.5 is not a whole number"},
        {"{ f = 'write', value = true }",
         "test.lua: the generator's operation: a boolean cannot be a value; use nil, a "
         "whole number, a text or a list of these"},
        {"{ f = 'read', kee = 'x' }",
         "test.lua: an operation has no field 'kee'; it has f, key, value, client and time"},
        {"{ f = 1 }", "test.lua: an operation needs f, a text such as \"read\""},
        {"function() sleep(1) end", "test.lua:1: sleep works only while a nemesis runs"},
        {"function() while true do end end",
         "test.lua:1: more than 50000000 instructions without a pause: an endless loop?"},
        {"gen.concurrent_keys(9, 3, function() return { f = 'read' } end)",
         "test.lua: gen.concurrent_keys: 9 clients per key are needed, there are 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = xformat("return { clients = 3, workload = generator { %s } }", cases[i].generator);
        struct error e = {""};
        struct script *s = load_text(text, NULL, &e);
        if (!s) fail_msg("%s", e.text);
        struct run *r = run_new(script_workload(s), 3);
        struct gen_op op;
        uint64_t due_ns;
        enum gen_state got = r->g->ops->peek(r->g, &r->c, &due_ns, &e);
        if (got == GEN_READY) got = r->g->ops->take(r->g, &r->c, &op, &e) ? GEN_FAILED : GEN_READY;
        assert_int_equal(got, GEN_FAILED);
        assert_string_equal(e.text, cases[i].message);
        run_free(r);
        script_free(s);
        free(text);
    }
}

/* --- the combinators, on the simulated clock of the library itself --- */

static const char prelude[] =
    "local function eq(a, b) if a ~= b then error(tostring(a) .. ' is not ' .. tostring(b), 2) end end\n"
    "local R, W = { f = 'read' }, { f = 'write', value = 1 }\n"
    "local reads, writes = gen.repeated(R), gen.repeated(W)\n"
    "local function invokes(g, o) local out = {} for _, e in ipairs(gen.simulate(g, o)) do\n"
    "  if e.type == 'invoke' then out[#out + 1] = e end end return out end\n"
    "local function fs(g, o) local out = {} for i, e in ipairs(invokes(g, o)) do out[i] = e.f:sub(1, 1) end\n"
    "  return table.concat(out) end\n"
    "local function near(a, b) assert(math.abs(a - b) < 1e-9, a .. ' is not ' .. b) end\n";

static void expect_generators(const char *text) {
    char *whole = xformat("%s%s", prelude, text);
    expect_loads(whole);
    free(whole);
}

static void sequences_and_repetitions(void **state) {
    (void)state;
    expect_generators(
        "eq(fs(nil), '') eq(fs(R), 'r') eq(fs { R, W, R }, 'rwr') eq(fs {}, '')\n"
        "eq(fs { R, {}, { W, { R } } }, 'rwr') eq(fs(gen.sequence(R, W)), 'rw')\n"
        "eq(fs(gen.limit(3, reads)), 'rrr') eq(fs(gen.limit(0, reads)), '') eq(fs(gen.once(writes)), 'w')\n"
        "eq(fs(gen.repeated(2, { R, W })), 'rr') eq(fs(gen.cycle(2, { R, W })), 'rwrw')\n"
        "eq(fs(gen.limit(5, gen.cycle { R, W, W })), 'rwwrw') eq(fs(gen.repeated(0, R)), '')\n"
        "eq(fs(gen.flip_flop(reads, { W, W })), 'rwrwr')\n"
        "local n = 0 local function f() n = n + 1 if n <= 3 then return { R, W } end end\n"
        "eq(fs(f), 'rwrwrw') eq(#invokes(reads, { most = 10 }), 10)\n"
        "eq(fs(function() end), '')");
}

static void times_and_limits(void **state) {
    (void)state;
    expect_generators("local e = invokes(gen.limit(3, gen.delay(0.5, reads)))\n"
                      "near(e[1].time, 0) near(e[2].time, 0.5) near(e[3].time, 1)\n"
                      "e = invokes(gen.time_limit(2, gen.delay(0.3, reads))) eq(#e, 7) near(e[7].time, 1.8)\n"
                      "e = invokes(gen.limit(2000, gen.stagger(0.1, reads)), { most = 5000 })\n"
                      "assert(math.abs(e[2000].time / 2000 - 0.1) < 0.01, e[2000].time)\n"
                      "e = invokes { R, gen.sleep(3), W } near(e[2].time - e[1].time, 3)\n"
                      "e = invokes({ R, gen.sleep(3), W }, { latency = 1 }) near(e[2].time, 3)\n"
                      "e = invokes { gen.log('hello'), R, gen.log('x') } eq(#e, 1)\n"
                      "e = invokes { { f = 'read', time = 5000000000 }, W } near(e[1].time, 5) near(e[2].time, 5)\n"
                      "eq(#invokes({ gen.time_limit(1, { R, gen.sleep(9), R }), W }), 2)");
}

static void waiting_for_each_other(void **state) {
    (void)state;
    expect_generators(
        "local e = gen.simulate(gen.phases(gen.limit(4, reads), gen.limit(3, writes)), { latency = 0.5 })\n"
        "local open, phase = 0, 'read'\n"
        "for _, x in ipairs(e) do\n"
        "  if x.type == 'invoke' then\n"
        "    if x.f ~= phase then eq(open, 0) phase = x.f end open = open + 1\n"
        "  else open = open - 1 end\n"
        "end eq(phase, 'write') eq(#e, 14)\n"
        "local s = invokes({ R, gen.synchronize(W) }, { latency = 2 }) near(s[2].time, 2)");
}

static void dividing_the_clients(void **state) {
    (void)state;
    expect_generators(
        "local e = invokes(gen.reserve(2, reads, 1, writes, gen.repeated { f = 'cas', value = { 1, 2 } }),\n"
        "  { clients = 6, most = 600 })\n"
        "local seen = {} for _, x in ipairs(e) do seen[x.f] = (seen[x.f] or 0) + 1\n"
        "  eq(x.f, x.client <= 2 and 'read' or x.client == 3 and 'write' or 'cas') end\n"
        "eq(seen.read, 200) eq(seen.write, 100) eq(seen.cas, 300)\n"
        "e = invokes(gen.reserve(1, gen.limit(2, reads), 1, gen.limit(3, writes)), { clients = 4 }) eq(#e, 5)\n"
        "e = invokes(gen.each_client { R, W }, { clients = 4 }) eq(#e, 8)\n"
        "local by = {} for _, x in ipairs(e) do by[x.client] = (by[x.client] or '') .. x.f:sub(1, 1) end\n"
        "for c = 1, 4 do eq(by[c], 'rw') end\n"
        "e = invokes({ f = 'read', client = 2 }) eq(e[1].client, 2)\n"
        "local used = {} for _, x in ipairs(invokes(gen.limit(200, reads), { clients = 4 })) do used[x.client] = true "
        "end\n"
        "for c = 1, 4 do assert(used[c]) end");
    expect_error("gen.simulate(gen.reserve(5, { f = 'read' }), { clients = 3 })",
                 "test.lua:1: gen.reserve: 5 clients are reserved, but there are only 3");
}

static void choosing(void **state) {
    (void)state;
    expect_generators(
        "local n = { read = 0, write = 0 }\n"
        "for _, x in ipairs(invokes(gen.mix { reads, writes })) do n[x.f] = n[x.f] + 1 end\n"
        "assert(n.read > 420 and n.write > 420) n = { read = 0, write = 0 }\n"
        "for _, x in ipairs(invokes(gen.weighted { { 4, reads }, { 1, writes } })) do n[x.f] = n[x.f] + 1 end\n"
        "assert(n.read > 740 and n.write > 150)\n"
        "eq(#invokes(gen.mix { gen.limit(3, reads), gen.limit(4, writes) }), 7)\n"
        "n = { read = 0, write = 0 }\n"
        "local both = gen.any(gen.delay(1, reads), gen.delay(0.25, writes))\n"
        "for _, x in ipairs(invokes(gen.time_limit(100, both))) do n[x.f] = n[x.f] + 1 end\n"
        "assert(n.read >= 80 and n.read <= 101 and n.write >= 380, n.read .. ' ' .. n.write)\n"
        "eq(#invokes(gen.any(gen.limit(2, reads), gen.limit(3, writes), nil)), 5)");
    expect_error("gen.mix {}", "test.lua:1: gen.mix: a list of generators is needed");
    expect_error("gen.weighted { { 0, 1 } }",
                 "test.lua:1: gen.weighted: elements are { weight, generator } with whole weights above 0");
}

static void changing_operations(void **state) {
    (void)state;
    expect_generators(
        "local n = 0\n"
        "local g = gen.map(function(op) n = n + 1 op.key = 'a' op.value = n return op end, gen.limit(3, writes))\n"
        "for _, x in ipairs(invokes(g)) do eq(x.key, 'a') assert(x.value) end\n"
        "eq(fs(gen.filter(function(op) return op.f == 'read' end, { R, W, W, R })), 'rr')\n"
        "local oks = 0\n"
        "local function count(g, ctx, event) if event.type == 'ok' then oks = oks + 1 end\n"
        "  if oks == 5 then return nil end return gen.update(g, ctx, event) end\n"
        "local e = invokes(gen.on_update(count, reads), { clients = 1 }) eq(#e, 5)");
    expect_error("gen.simulate(gen.map(function() end, { f = 'read' }))",
                 "test.lua:1: gen.map: the function must return an operation, not a nil");
    expect_error("gen.simulate(gen.filter(function() return false end, gen.repeated { f = 'read' }))",
                 "test.lua:1: gen.filter: none of 10000 operations passed");
}

static void reacting_to_results(void **state) {
    (void)state;
    expect_generators(
        "local tries = 0\n"
        "local function third() tries = tries + 1 return tries < 3 and 'fail' or 'ok' end\n"
        "eq(#invokes(gen.until_ok(reads), { clients = 1, result = third }), 3)\n"
        "eq(#invokes(gen.until_ok(gen.limit(4, reads)), { result = 'info' }), 4)\n"
        "local e = gen.simulate(gen.process_limit(5, reads), { clients = 2, result = 'info' })\n"
        "local seen, count = {}, 0\n"
        "for _, x in ipairs(e) do if not seen[x.process] then seen[x.process] = true count = count + 1 end end\n"
        "eq(count, 5) eq(#invokes(gen.process_limit(2, gen.limit(30, reads)), { clients = 2 }), 30)");
}

static void keys_one_by_one_and_in_groups(void **state) {
    (void)state;
    expect_generators(
        "local function two(key) return { R, W } end\n"
        "local out = {} for i, x in ipairs(invokes(gen.sequential_keys({ 'a', 'b' }, two))) do out[i] = x.key .. x.f "
        "end\n"
        "eq(table.concat(out, ' '), 'aread awrite bread bwrite')\n"
        "local e = gen.simulate(gen.concurrent_keys(2, 5, function(key) return gen.limit(20, reads) end), { clients = "
        "5 })\n"
        "local clients, counts = {}, {}\n"
        "for _, x in ipairs(e) do if x.type == 'invoke' then\n"
        "  local group = (x.client - 1) // 2 assert(group < 2)\n"
        "  clients[x.key] = clients[x.key] or group eq(clients[x.key], group)\n"
        "  counts[x.key] = (counts[x.key] or 0) + 1 end end\n"
        "for i = 0, 4 do eq(counts['k' .. i], 20) end\n"
        "e = invokes(gen.sequential_keys(function(i) if i <= 3 then return i end end, function() return R end))\n"
        "eq(#e, 3) eq(e[3].key, 3)");
    expect_error("gen.concurrent_keys(2, 'x', print)",
                 "test.lua:1: gen.concurrent_keys: the keys are a list, a count or a function(i), not a string");
}

static void generators_are_pure(void **state) {
    (void)state;
    /* The same value can be run twice, and inside of others. */
    expect_generators("local g = gen.phases(gen.limit(5, gen.mix { reads, writes }), gen.each_client { R, W },\n"
                      "  gen.flip_flop(reads, { W }), gen.concurrent_keys(1, 2, function() return R end))\n"
                      "eq(#invokes(g), #invokes(g)) eq(#invokes { g, g }, 2 * #invokes(g))");
    expect_error("gen.simulate(5)", "test.lua:1: this is no generator: a number; it is an operation { f = ... }, a "
                                    "function, a list, or made by a function of gen");
    expect_error("gen.simulate { x = 1 }",
                 "test.lua:1: this is no generator: a table without f and without elements...");
    expect_error("gen.simulate(gen.cycle({}))", "test.lua:1: gen.cycle: the generator has no operations");
    expect_error("gen.simulate(function() return {} end)",
                 "test.lua:1: a generator function returned nothing but generators without operations");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_loop_keeps_its_rate),
        cmocka_unit_test(a_stall_does_not_move_the_intended_times),
        cmocka_unit_test(a_closed_loop_waits_for_its_clients),
        cmocka_unit_test(the_mix_is_as_asked),
        cmocka_unit_test(a_fair_share_of_cas_succeeds),
        cmocka_unit_test(values_are_unique_unless_limited),
        cmocka_unit_test(zipf_prefers_few_keys),
        cmocka_unit_test(the_same_seed_gives_the_same_operations),
        cmocka_unit_test(final_reads_read_each_key_and_try_again),
        cmocka_unit_test(a_lua_generator_runs_behind_the_interface),
        cmocka_unit_test(a_failing_lua_generator_names_its_line),
        cmocka_unit_test(sequences_and_repetitions),
        cmocka_unit_test(times_and_limits),
        cmocka_unit_test(waiting_for_each_other),
        cmocka_unit_test(dividing_the_clients),
        cmocka_unit_test(choosing),
        cmocka_unit_test(changing_operations),
        cmocka_unit_test(reacting_to_results),
        cmocka_unit_test(keys_one_by_one_and_in_groups),
        cmocka_unit_test(generators_are_pure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
