/* Scenarios: what is read from them, what --set overrides, how mistakes are explained, and nemeses on a made-up
 * world. */
#include "tests/script_support.h"

#include "harness/embedded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- loading --- */

static void all_shipped_scenarios_load(void **state) {
    (void)state;
    size_t count = 0;
    for (size_t i = 0; i < embedded_files_count; i++) {
        const struct embedded_file *file = &embedded_files[i];
        if (strncmp(file->name, "scenarios/", 10) != 0) continue;
        struct error e = {""};
        struct script *s = script_load(file->name, bytes_of(file->text, file->size), NULL, &e);
        if (!s) fail_msg("%s", e.text);
        const struct scenario *scenario = script_scenario(s);
        assert_true(*scenario->doc);
        assert_true(scenario->checks_count > 0);
        assert_non_null(script_workload(s));
        script_free(s);
        count++;
    }
    assert_true(count >= 13);
}

static void scenarios_are_found_by_name_and_path(void **state) {
    (void)state;
    static const char *const names[] = {"calm", "calm.lua", "scenarios/calm", "scenarios/calm.lua"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *name = NULL;
        struct bytes text;
        struct error e = {""};
        if (script_find(names[i], &name, &text, &e)) fail_msg("%s", e.text);
        assert_string_equal(name, "scenarios/calm.lua");
        free(name);
        free((void *)(uintptr_t)text.data);
    }
    char *name;
    struct bytes text;
    struct error e = {""};
    assert_int_equal(script_find("no-such-scenario", &name, &text, &e), -1);
    assert_string_equal(e.text, "no-such-scenario: No such file or directory, and there is no scenario of that name; "
                                "`harrow scenarios` lists them");
}

static struct script *load_or_fail(const char *text, const struct script_options *o) {
    struct error e = {""};
    struct script *s = load_text(text, o, &e);
    if (!s) fail_msg("%s", e.text);
    return s;
}

static void defaults_behave_like_a_local_network(void **state) {
    (void)state;
    struct script *s = load_or_fail("return { workload = register { } }", NULL);
    const struct scenario *c = script_scenario(s);
    assert_string_equal(c->name, "test.lua");
    assert_string_equal(c->doc, "");
    assert_int_equal(c->time_ns, 60 * NS_PER_S);
    assert_int_equal(c->settle_ns, 10 * NS_PER_S);
    assert_int_equal(c->min_ops, 500);
    assert_int_equal(c->world.nodes, 5);
    assert_int_equal(c->world.clients, 10);
    assert_int_equal(c->world.reads, READ_INDEX);
    assert_int_equal(c->world.latency_ns, 500 * NS_PER_US);
    assert_int_equal(c->world.jitter_ns, 200 * NS_PER_US);
    assert_int_equal(c->world.heartbeat_ns, 50 * NS_PER_MS);
    assert_int_equal(c->world.election_timeout_ns, 300 * NS_PER_MS);
    assert_int_equal(c->world.op_timeout_ns, 5 * NS_PER_S);
    assert_int_equal(c->world.try_timeout_ns, NS_PER_S);
    assert_int_equal(c->world.clock_drift_ppm_max, 50000);
    assert_int_equal(c->world.snapshot_entries, 500);
    assert_int_equal(c->checks_count, 1);
    assert_int_equal(c->checks[0].kind, CHECK_LINEARIZABLE);
    assert_string_equal(c->checks[0].model, "cas-register");
    assert_int_equal(c->nemeses, 0);
    assert_int_equal(c->needs, 0);
    script_free(s);
}

static void clients_are_dealt_to_regions(void **state) {
    (void)state;
    static const struct {
        const char *clients;
        uint32_t counts[3];
    } cases[] = {{"", {4, 3, 3}}, {"clients = 'c',", {0, 0, 10}}, {"clients = { a = 1, c = 9 },", {1, 0, 9}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = xformat("return { nodes = 3, workload = register {}, cluster = { leader = 'b' },\n"
                             "  network = { regions = { names = { 'a', 'b', 'c' }, placement = { 'b', 'a', 'b' }, %s\n"
                             "    rtt = { { 0, 1, 2 }, { 1, 0, 3 }, { 2, 3, 0 } } } } }",
                             cases[i].clients);
        struct script *s = load_or_fail(text, NULL);
        const struct regions *r = &script_scenario(s)->world.regions;
        assert_memory_equal(r->clients, cases[i].counts, sizeof cases[i].counts);
        assert_int_equal(script_scenario(s)->leader_nodes, 5);
        struct buffer json = {0};
        struct regions again;
        regions_json(r, 3, &json);
        buffer_append(&json, "", 1);
        assert_true(regions_of_json((const char *)json.data, &again));
        assert_memory_equal(&again, r, sizeof again);
        assert_int_equal(regions_of_process(r, 19), 2); /* the last client, after it gave up once */
        buffer_free(&json);
        script_free(s);
        free(text);
    }
    struct regions none;
    assert_false(regions_of_json("[{\"name\":\"a\"}]", &none));
    assert_int_equal(none.count, 0);
}

static void every_field_is_read(void **state) {
    (void)state;
    struct script *s = load_or_fail(
        "return { doc = 'all', nodes = 4, time = 12.5, settle = 3, min_ops = 7,\n"
        "  workload = append { keys = 3, clients = 6, rate = 50, mix = { read = 1, append = 2 }, keys_by = 'zipf' },\n"
        "  cluster = { reads = 'lease', election_timeout = 1, heartbeat = 0.1, clock_drift_ppm = 100,\n"
        "    snapshot_entries = 9, sync = { 0.001, 0.002 } },\n"
        "  client = { timeout = 2, try_timeout = 0.5, pinned = true },\n"
        "  network = { latency = 0.01, jitter = 0.001, regions = { names = { 'eu', 'us' },\n"
        "    placement = { 'eu', 'eu', 2, 'us' }, clients = 'us', rtt = { { 0.001, 0.08 }, { 0.08, 0.002 } } } },\n"
        "  checks = { linearizable('kv'), append(), counter(), available { within = 4, during = true },\n"
        "    latency { p99 = 0.25 }, check('mine', function() return true end),\n"
        "    check('wr', { consistency = 'causal' }), check('sessions') },\n"
        "  nemesis = { function() end, partition.halves() } }",
        NULL);
    const struct scenario *c = script_scenario(s);
    const struct world_config *w = &c->world;
    assert_int_equal(c->time_ns, 12500 * NS_PER_MS);
    assert_int_equal(w->nodes, 4);
    assert_int_equal(w->clients, 6);
    assert_int_equal(w->reads, READ_LEASE);
    assert_int_equal(w->heartbeat_ns, 100 * NS_PER_MS);
    assert_int_equal(w->sync_max_ns, 2 * NS_PER_MS);
    assert_true(w->clients_pinned);
    assert_int_equal(w->regions.count, 2);
    assert_string_equal(w->regions.name[1], "us");
    static const uint8_t placement[] = {0, 0, 1, 1};
    assert_memory_equal(w->regions.of_node, placement, 4);
    assert_int_equal(w->regions.clients[0], 0);
    assert_int_equal(w->regions.clients[1], 6);
    assert_int_equal(w->regions.one_way_ns[0][1], 40 * NS_PER_MS);
    assert_int_equal(w->regions.one_way_ns[1][1], NS_PER_MS);
    assert_int_equal(c->checks_count, 8);
    assert_string_equal(c->checks[0].model, "kv");
    assert_int_equal(c->checks[1].kind, CHECK_APPEND);
    assert_int_equal(c->checks[2].kind, CHECK_COUNTER);
    assert_true(c->checks[3].during && c->checks[3].within_ns == 4 * NS_PER_S);
    assert_int_equal(c->checks[4].within_ns, 250 * NS_PER_MS);
    assert_int_equal(c->checks[5].kind, CHECK_LUA);
    assert_string_equal(c->checks[5].name, "mine");
    assert_int_equal(c->checks[6].kind, CHECK_NAMED);
    assert_string_equal(c->checks[6].model, "rw-register");
    assert_string_equal(c->checks[6].consistency, "causal");
    assert_null(c->checks[7].consistency);
    assert_int_equal(c->nemeses, 2);
    assert_int_equal(c->needs, 1u << FAULT_LINK);
    assert_string_equal(c->options_json, "{\"nodes\":4,\"time\":12.5,\"clients\":6,\"rate\":50,\"keys\":3}");
    script_free(s);
}

static void seconds_become_nanoseconds_exactly(void **state) {
    (void)state;
    static const struct {
        const char *seconds;
        uint64_t ns;
    } cases[] = {{"0.1", 100000000},        {"0.3", 300000000},           {"1/3", 333333333}, {"2/3", 666666667},
                 {"86400", 86400000000000}, {"1.0000000005", 1000000000}, {"0.7", 700000000}, {"1e-1", 100000000}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[100];
        snprintf(text, sizeof text, "return { workload = register {}, time = %s }", cases[i].seconds);
        struct script *s = load_or_fail(text, NULL);
        uint64_t ns = script_scenario(s)->time_ns;
        assert_in_range(ns, cases[i].ns, cases[i].ns + (i == 5)); /* a half that binary cannot hold */
        script_free(s);
    }
}

static void mistakes_are_explained(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"return { workload = register {} } }", "test.lua:1: <eof> expected near '}'"},
        {"return { -- workload =\n}",
         "test.lua: the scenario: workload is missing, for example: workload = register { rate = 100 }"},
        {"return {\n workload = 5\n}",
         "test.lua:2: the scenario: workload must be register, append, counter or a generator, not a number"},
        {"return {\n workload = {}\n}",
         "test.lua: the workload is an empty table; it must be register, append, counter or a generator"},
        {"return {\n workload = register {},\n nodez = 3 }",
         "test.lua:3: the scenario: unknown field 'nodez'; did you mean 'nodes'?"},
        {"return {\n workload = register {},\n nodes = 'five' }",
         "test.lua:3: the scenario: nodes must be a whole number, not five"},
        {"return {\n workload = register {},\n nodes = 99 }",
         "test.lua:3: the scenario: nodes = 99 is out of range; it may be from 1 to 15"},
        {"return {\n workload = register {},\n time = -1 }",
         "test.lua:3: the scenario: time = -1 is out of range; it may be from 0.1 to 86400"},
        {"return { workload = register {},\n cluster = {\n  reads = 'fast' } }",
         "test.lua:3: cluster: reads must be \"log\", \"index\", \"lease\" or \"local\", not \"fast\""},
        {"return { workload = register {},\n cluster = { heartbeat = 2 } }",
         "test.lua:2: cluster: the heartbeat must be shorter than the election timeout, best a fifth of it"},
        {"return { workload = register {},\n client = { timeout = 1,\n  try_timeout = 2 } }",
         "test.lua:3: client: try_timeout is longer than the timeout of the whole operation"},
        {"return { workload = register {},\n cluster = { leader = 'eu' } }",
         "test.lua:2: cluster: leader: there is no region 'eu' with a node..."},
        {"return { workload = register {},\n network = { regions = { names = { 'a', 'a' } } } }",
         "test.lua:2: network.regions: names: a cannot name a region..."},
        {"return { nodes = 1, workload = register {},\n network = { regions = { names = { 'a' }, placement = { 'a' },\n"
         " clients = { a = 3 } } } }",
         "test.lua:2: network.regions: clients: there are 10, and 3 in regions"},
        {"return { workload = register { conflict = 0, keys = 20000 } }",
         "test.lua: 10 clients with 20000 keys of their own each; there can be 100000 keys in all"},
        {"return { workload = register { conflict = 1.5 } }",
         "test.lua:1: register: conflict = 1.5 is out of range; it may be from 0 to 1"},
        {"return { workload = register {},\n network = { regions = { names = { 'a' }, placement = { 'b' } } } }",
         "test.lua:2: network.regions: placement: 5 nodes need as many regions, not 1"},
        {"return { workload = register {},\n nemesis = 'kill' }",
         "test.lua:2: the scenario: nemesis must be a function(cluster), a fault, or a list of them, not a string"},
        {"return { workload = register {},\n nemesis = { 1 } }",
         "test.lua:2: the scenario: nemesis: element 1 is a number, not a function or a fault"},
        {"return { workload = register {},\n checks = { linearizable } }",
         "test.lua:2: the scenario: checks: element 1 is a function; call it, as in linearizable(), or name it: "
         "check(\"name\", function(history) ... end)"},
        {"local x = 1\nlocal w = register { keyz = 1 }",
         "test.lua:2: register: unknown field 'keyz'; did you mean 'keys'?"},
        {"\nlocal w = register { mix = { reed = 1 } }",
         "test.lua:2: register: mix: unknown field 'reed'; did you mean 'read'?"},
        {"\nlocal w = register { rate = 10, think = 1 }",
         "test.lua:2: register: rate is for an open loop and think for a closed one; give one of them"},
        {"\nlocal w = counter(5)", "test.lua:2: counter: a table of fields is needed, not a number"},
        {"\nlocal c = linearizable('kw')", "test.lua:2: linearizable: there is no model 'kw'; did you mean 'kv'?"},
        {"\nlocal c = available { withing = 1 }",
         "test.lua:2: available: unknown field 'withing'; did you mean 'within'?"},
        {"\nlocal c = latency {}", "test.lua:2: latency: the limit is missing: latency { p99 = seconds }"},
        {"\nlocal c = check(1)",
         "test.lua:2: check: the name of a check is needed, as in check(\"sessions\"), or a name "
         "and a function: check(\"name\", function(history) ... end)"},
        {"\nlocal c = check('sesions')", "test.lua:2: check: there is no check 'sesions'; did you mean 'sessions'?"},
        {"\nlocal c = check('bank', { consistency = 'causal' })",
         "test.lua:2: check: a consistency model means nothing to bank"},
        {"\nlocal c = check('rw-register', { consistency = 'casual' })",
         "test.lua:2: check: there is no consistency model 'casual'; did you mean 'causal'?"},
        {"\nlocal c = check('list-append', { consistent = 1 })",
         "test.lua:2: check: unknown field 'consistent'; did you mean 'consistency'?"},
        {"\nlocal e = every {}", "test.lua:2: every: the fault is missing: every { fault = partition.halves() }"},
        {"\nlocal e = every { falt = 1 }", "test.lua:2: every: unknown option 'falt'; there are: ..."},
        {"\nlocal p = partition.ring { q = 1 }", "test.lua:2: partition.ring: unknown option 'q'; there are: filter"},
        {"\nlocal n = network.corrupt { checksums = 'maybe' }",
         "test.lua:2: network.corrupt: checksums must be \"repaired\" or \"broken\""},
        {"\nlocal d = disk.lie(1, { syncs = 1 })", "test.lua:2: disk.lie: unknown option 'syncs'; there are: sync"},
        {"\nlocal n = network.loss { q = 1 }", "test.lua:2: network.loss: unknown option 'q'; there are: ..."},
        {"\nlocal a = all_of(1)",
         "test.lua:2: a fault is needed (a table with start and stop, such as partition.halves()), not a number"},
        {"return 5, { workload = 1 }",
         "test.lua: a scenario must return a table (`return { workload = ... }`), not a number"},
        {"do return end local x = { workload = 1 }",
         "test.lua: a scenario must return a table: return { workload = ... }"},
        {"\nlocal p = param('p')",
         "test.lua:2: param: the default of 'p' must be a number, a boolean or a text, not a nil"},
        {"return { workload = generator { client = 3 } }",
         "test.lua:1: generator: unknown field 'client'; there are: clients, final"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) expect_error(cases[i].text, cases[i].message);
}

/* --- parameters --- */

static void expect_set_error(const char *text, const char *key, const char *value, const char *message) {
    struct script_set set = {key, value};
    struct script_options o = {.sets = &set, .sets_count = 1};
    struct error e = {""};
    struct script *s = load_text(text, &o, &e);
    if (s) fail_msg("no error for --set %s=%s", key, value);
    if (strncmp(e.text, message, strlen(message)) != 0) fail_msg("expected: %s\n     got: %s", message, e.text);
}

static void set_overrides_fields_and_parameters(void **state) {
    (void)state;
    static const struct script_set sets[] = {{"nodes", "3"},   {"time", "1.5"},     {"rate", "20"},   {"keys", "2"},
                                             {"clients", "4"}, {"reads", "log"},    {"who", "x\"y"},  {"on", "true"},
                                             {"pause", "2.5"}, {"latency", "0.01"}, {"count", "0x10"}};
    struct script_options o = {.sets = sets, .sets_count = sizeof sets / sizeof *sets};
    struct script *s = load_or_fail("local who, on, pause = param('who', 'me'), param('on', false), param('pause', 8)\n"
                                    "assert(who == 'x\"y' and on == true and pause == 2.5 and param('rest', 1) == 1)\n"
                                    "assert(math.type(param('count', 1)) == 'integer')\n"
                                    "return { workload = register { rate = 100 } }",
                                    &o);
    const struct scenario *c = script_scenario(s);
    assert_int_equal(c->world.nodes, 3);
    assert_int_equal(c->time_ns, 1500 * NS_PER_MS);
    assert_int_equal(c->world.clients, 4);
    assert_int_equal(c->world.reads, READ_LOG);
    assert_int_equal(c->world.latency_ns, 10 * NS_PER_MS);
    assert_string_equal(c->options_json,
                        "{\"nodes\":3,\"time\":1.5,\"clients\":4,\"rate\":20,\"keys\":2,\"who\":\"x\\\"y\",\"on\":true,"
                        "\"pause\":2.5,\"rest\":1,\"count\":16}");
    script_free(s);
}

static void wrong_sets_are_refused(void **state) {
    (void)state;
    const char *text = "local p = param('pause', 8)\nreturn { workload = register {}, nodes = 5 }";
    expect_set_error(text, "paws", "1",
                     "test.lua: --set paws: there is no such parameter; did you mean 'pause'? There "
                     "are: pause, nodes, time, ");
    expect_set_error(text, "zzzzzz", "1", "test.lua: --set zzzzzz: there is no such parameter. There are: ");
    expect_set_error(text, "pause", "soon", "test.lua:1: --set pause=soon: a number is needed");
    expect_set_error(text, "rate", "x", "test.lua: --set rate=x: a number from 0 to 1000000 is needed");
    expect_set_error(text, "clients", "1.5", "test.lua: --set clients=1.5: a whole number from 1 to 4096 is needed");
    expect_set_error(text, "nodes", "many", "test.lua:2: the scenario: nodes must be a whole number, not many");
    expect_set_error("local p = param('b', true)", "b", "1", "test.lua:1: --set b=1: true or false is needed");
}

/* --- nemeses --- */

struct stage {
    struct quiet_world *w;
    struct history *h;
    struct script *s;
    struct error e;
};

static struct stage stage_new(const char *nemesis, uint64_t seed) {
    struct stage t = {.w = quiet_world_new(5), .h = history_new()};
    char *text = xformat("return { workload = register {}, nemesis = %s }", nemesis);
    struct script_options o = {.seed = seed};
    t.s = load_text(text, &o, &t.e);
    if (!t.s) fail_msg("%s", t.e.text);
    free(text);
    if (script_start(t.s, &t.w->base, t.h, &t.e)) fail_msg("%s", t.e.text);
    return t;
}

static void stage_run(struct stage *t, double seconds) {
    if (quiet_world_run(t->w, t->s, (uint64_t)(seconds * 1e9), &t->e)) fail_msg("%s", t->e.text);
}

static void stage_free(struct stage *t) {
    script_end_faults(t->s);
    assert_int_equal(quiet_world_in_force(t->w), 0);
    for (uint32_t i = 0; i < t->h->faults_count; i++) assert_true(t->h->faults[i].end_ns != UINT64_MAX);
    script_free(t->s);
    history_free(t->h);
    quiet_world_free(t->w);
}

static void a_nemesis_sleeps_on_the_worlds_clock(void **state) {
    (void)state;
    struct stage t = stage_new("function(cluster)\n"
                               "  sleep(1.5) assert(now() == 1.5)\n"
                               "  cluster:isolate(cluster:leader()) sleep(2) cluster:heal() print('done', now())\n"
                               "end",
                               1);
    stage_run(&t, 10);
    assert_int_equal(t.w->faults_count, 1);
    const struct quiet_fault *f = &t.w->faults[0];
    assert_int_equal(f->spec.kind, FAULT_LINK);
    assert_true(f->spec.link.cut);
    assert_int_equal(f->spec.links[0], 0x1e);
    for (int i = 1; i < 5; i++) assert_int_equal(f->spec.links[i], 1);
    assert_int_equal(f->spec.links[5], 0); /* clients reach everyone */
    assert_int_equal(f->start_ns, 1500 * NS_PER_MS);
    assert_int_equal(f->end_ns, 3500 * NS_PER_MS);
    const struct fault_record *r = &t.h->faults[0];
    assert_string_equal(history_text(t.h, r->name), "isolate");
    assert_string_equal(history_text(t.h, r->detail), "n1 | n2 n3 n4 n5");
    assert_int_equal(r->affected, 3);
    assert_int_equal(r->offered, 7);
    assert_int_equal(t.h->samples_count, 1);
    assert_string_equal(history_text(t.h, t.h->samples[0].text), "done\t3.5");
    stage_free(&t);
}

static void nemeses_run_side_by_side_and_spawn(void **state) {
    (void)state;
    struct stage t = stage_new("{ function(c) while true do sleep(1) c:during(process.pause(2), 0.25) end end,\n"
                               "  function(c) spawn(function(d) sleep(0.5) d:kill(3) end) sleep(3) c:heal() end }",
                               1);
    stage_run(&t, 4);
    uint32_t pauses = 0, kills = 0;
    for (uint32_t i = 0; i < t.w->faults_count; i++) {
        pauses += t.w->faults[i].spec.kind == FAULT_PAUSE;
        kills += t.w->faults[i].spec.kind == FAULT_KILL;
    }
    assert_int_equal(pauses, 3);
    assert_int_equal(kills, 1);
    assert_int_equal(quiet_world_in_force(t.w), 1); /* heal ends links only, and only its own */
    stage_free(&t);
}

static void errors_in_a_nemesis_name_the_line_and_leave_no_fault(void **state) {
    (void)state;
    static const struct {
        const char *nemesis, *message;
    } cases[] = {
        {"function(c) c:isolate(1)\nsleep(1)\nlocal x = nil + 1 end",
         "test.lua:3: attempt to perform arithmetic on a nil value"},
        {"function(c) c:kill(1)\nc:kill(9) end", "test.lua:2: there is no node 9; nodes are numbered from 1 to 5"},
        {"function(c) c:kill(1)\nc:kill('boss') end", "test.lua:2: there are no nodes 'boss'; use a number..."},
        {"function(c)\nc:isolate('all') end",
         "test.lua:2: isolate: these are all nodes; nobody is left to be cut off from"},
        {"function(c)\nc:partition { { 1, 2 }, { 2 } } end", "test.lua:2: partition: n2 is in two groups"},
        {"function(c)\nsleep(-1) end", "test.lua:2: sleep: -1 seconds are out of range"},
        {"function(c)\nsleep('x') end", "test.lua:2: sleep: a number of seconds is needed, not a string"},
        {"function(c)\ncoroutine.yield() end",
         "test.lua:2: a nemesis pauses by sleep(seconds), not by coroutine.yield"},
        {"function(c)\ncoroutine.wrap(function() sleep(1) end)() end",
         "test.lua:2: test.lua:2: sleep works in the nemesis itself, not in a coroutine that it made"},
        {"function(c)\nwhile true do sleep(0) end end",
         "test.lua:2: the nemesis goes on for ever without letting time pass: "
         "sleep for more than nothing"},
        {"function(c)\nwhile true do end end", "test.lua:2: more than 50000000 instructions without a pause..."},
        {"function(c)\nc:start(5) end", "test.lua:2: a fault is needed..."},
        {"function(c)\nc:isolat(1) end", "test.lua:2: attempt to call a nil value (method 'isolat')"},
        {"function(c)\nc:start(network.loss { p = 3 }) end",
         "test.lua:2: packet loss: loss = 3 is out of range; it may be from 0 to 1"},
        {"function(c)\nc:start(partition.halves { filter = 5 }) end",
         "test.lua:2: partition halves: filter must be a text, not a number"},
        {"function(c)\nc:start(network.loss { filter = string.rep('x', 300) }) end",
         "test.lua:2: packet loss: filter must have less than 256 characters"},
        {"function(c)\nc:start(disk.rot(1, { read = 2 })) end",
         "test.lua:2: disk rot: read_rot = 2 is out of range; it may be from 0 to 1"},
        {"function(c)\nc:start(process.start_failure(1, { times = 0 })) end",
         "test.lua:2: start failure: failed_starts = 0 is out of range; it may be from 1 to 1000"},
        {"function(c)\nc:power_loss(1, { keep = 2 }) end",
         "test.lua:2: power loss: keep = 2 is out of range; it may be from 0 to 1"},
        {"function(c)\nparam('late', 1) end",
         "test.lua:2: param: parameters are declared while the scenario loads, not later"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct stage t = stage_new(cases[i].nemesis, 1);
        if (quiet_world_run(t.w, t.s, 10 * NS_PER_S, &t.e) == 0) fail_msg("no error for %s", cases[i].nemesis);
        const char *expected = cases[i].message;
        size_t size = strlen(expected), compared = strcmp(expected + size - 3, "...") == 0 ? size - 3 : size + 1;
        if (strncmp(t.e.text, expected, compared) != 0) fail_msg("expected: %s\n     got: %s", expected, t.e.text);
        stage_free(&t);
    }
}

static void a_refused_fault_is_an_error_at_its_line(void **state) {
    (void)state;
    struct stage t = stage_new("function(c) sleep(1)\nc:kill('leader') end", 1);
    t.w->refuse_kind = FAULT_KILL;
    assert_int_equal(quiet_world_run(t.w, t.s, 10 * NS_PER_S, &t.e), -1);
    assert_string_equal(t.e.text, "test.lua:2: kill: this world has no such fault");
    assert_int_equal(t.h->faults_count, 0);
    stage_free(&t);
}

static void after_the_end_nothing_runs(void **state) {
    (void)state;
    struct stage t = stage_new("function(c) while true do c:start(process.pause('random')) sleep(1) end end", 1);
    stage_run(&t, 3.5);
    assert_int_equal(quiet_world_in_force(t.w), 4);
    script_end_faults(t.s);
    script_end_faults(t.s);
    stage_run(&t, 10);
    assert_int_equal(t.w->faults_count, 4);
    stage_free(&t);
}

static void nodes_are_chosen_by_word_number_list_or_function(void **state) {
    (void)state;
    struct stage t = stage_new(
        "function(c)\n"
        "  assert(#c.nodes == 5 and c.size == 5 and c.majority == 3 and c.minority == 2)\n"
        "  local function text(who) return table.concat(c:pick(who), ',') end\n"
        "  assert(text('leader') == '1') assert(text(3) == '3') assert(text { 4, 2, 4 } == '2,4')\n"
        "  assert(text(function(x) return { x:leader(), 5 } end) == '1,5') assert(text('all') == '1,2,3,4,5')\n"
        "  assert(text('followers') == '2,3,4,5') assert(#c:pick('minority') == 2) assert(#c:pick('majority') == 3)\n"
        "  for i = 1, 50 do assert(c:pick('follower')[1] ~= 1) assert(#c:pick('some') >= 1) end\n"
        "  assert(c:status(1).role == 'leader' and c:status(2).up and c:status(2).leader == 1 and c:status(1).term == "
        "4)\n"
        "  assert(c:transfer(3)) assert(c:await_leader(1) == 1)\n"
        "  assert(table.concat(c:without({ 1, 2 }), ',') == '3,4,5')\n"
        "end",
        1);
    stage_run(&t, 1);
    assert_int_equal(t.w->transferred_to, 2);
    stage_free(&t);
}

static void await_leader_waits(void **state) {
    (void)state;
    struct stage t = stage_new("function(c) assert(c:await_leader(2) == nil) assert(now() >= 2 and now() < 2.1)\n"
                               "  local id = c:await_leader() print(id, now() >= 5) end",
                               1);
    t.w->leader = NODE_UNKNOWN;
    stage_run(&t, 5);
    t.w->leader = 3;
    stage_run(&t, 6);
    assert_string_equal(history_text(t.h, t.h->samples[0].text), "4\ttrue");
    stage_free(&t);
}

/* How many links a fault cuts from each node to other nodes. */
static uint32_t cuts_from(const struct fault_spec *f, uint32_t node) {
    return (uint32_t)__builtin_popcount(f->links[node] & 0x1f);
}

static const struct fault_spec *started(struct stage *t, const char *fault) {
    char *nemesis = xformat("function(c) c:start(%s) end", fault);
    *t = stage_new(nemesis, 7);
    free(nemesis);
    stage_run(t, 1);
    assert_true(t->w->faults_count >= 1);
    return &t->w->faults[0].spec;
}

static void partitions_cut_what_they_say(void **state) {
    (void)state;
    struct stage t;
    const struct fault_spec *f = started(&t, "partition.halves()");
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 5; i++) sum += cuts_from(f, i);
    assert_int_equal(sum, 12); /* 2 * 3, both ways */
    stage_free(&t);
    f = started(&t, "partition.ring()");
    for (uint32_t i = 0; i < 5; i++) assert_int_equal(cuts_from(f, i), 2); /* it sees itself and two more */
    for (uint32_t i = 0; i < 5; i++) {
        for (uint32_t k = 0; k < i; k++) assert_true((f->links[i] | 1u << i) != (f->links[k] | 1u << k));
    }
    stage_free(&t);
    f = started(&t, "partition.bridge(3)");
    assert_int_equal(f->links[2], 0);
    for (uint32_t i = 0; i < 5; i++) assert_int_equal(cuts_from(f, i), i == 2 ? 0 : 2);
    stage_free(&t);
    f = started(&t, "partition.one_way(2, { 4, 5 })");
    assert_int_equal(f->links[1], 0x18);
    assert_int_equal(f->links[3] | f->links[4], 0);
    stage_free(&t);
    f = started(&t, "partition.majority_minority { leader = 'minority' }");
    assert_int_equal(cuts_from(f, 0), 3);
    stage_free(&t);
    f = started(&t, "partition.majority_minority { leader = 'majority' }");
    assert_int_equal(cuts_from(f, 0), 2);
    stage_free(&t);
    f = started(&t, "partition.isolate('leader', { clients = true })");
    assert_int_equal(f->links[0], 0x3e);
    assert_int_equal(f->links[5], 0x01);
    stage_free(&t);
    f = started(&t, "partition.groups { { 1, 2 }, { 3 } }"); /* 4 and 5 are a group, too */
    assert_int_equal(f->links[0], 0x1c);
    assert_int_equal(f->links[2], 0x1b);
    assert_int_equal(f->links[4], 0x07);
    stage_free(&t);
}

static void strengths_arrive_in_the_right_units(void **state) {
    (void)state;
    struct stage t;
    const struct fault_spec *f = started(&t, "network.delay { by = 0.1, jitter = 0.02, nodes = 2, clients = true }");
    assert_int_equal(f->link.delay_ns, 100 * NS_PER_MS);
    assert_int_equal(f->link.jitter_ns, 20 * NS_PER_MS);
    assert_int_equal(f->links[1], 0x3d);
    assert_int_equal(f->links[5], 0x02);
    assert_int_equal(f->links[0], 0x02);
    stage_free(&t);
    f = started(&t, "network.storm { loss = 0.25, from = 1, to = { 2, 3 } }");
    assert_int_equal(f->link.loss_ppm, 250000);
    assert_int_equal(f->link.corrupt_ppm, 10000);
    assert_int_equal(f->links[0], 0x06);
    assert_string_equal(f->filter, "");
    stage_free(&t);
    f = started(&t, "network.corrupt { p = 0.25, checksums = 'broken', filter = 'tcp port 7400' }");
    assert_int_equal(f->link.damage_ppm, 250000);
    assert_int_equal(f->link.corrupt_ppm, 0);
    assert_string_equal(f->filter, "tcp port 7400");
    stage_free(&t);
    f = started(&t, "network.corrupt { checksums = 'repaired' }");
    assert_int_equal(f->link.damage_ppm, 0);
    assert_int_equal(f->link.corrupt_ppm, 50000);
    assert_true(f->corrupt_regardless);
    stage_free(&t);
    f = started(&t, "network.corrupt()");
    assert_int_equal(f->link.corrupt_ppm, 50000);
    assert_false(f->corrupt_regardless);
    stage_free(&t);
    f = started(&t, "network.slow_link()");
    assert_int_equal(f->link.rate_bytes_per_s, 100000);
    stage_free(&t);
    f = started(&t, "clock.skew(2, { offset = -1.5 })");
    assert_true(f->clock.wall_offset_ns == -1500000000);
    assert_int_equal(f->nodes, 2);
    stage_free(&t);
    f = started(&t, "clock.drift('all')");
    assert_true(f->clock.drift_ppm == 50000 || f->clock.drift_ppm == -50000);
    stage_free(&t);
    f = started(&t, "disk.power_loss({ 1, 5 }, { keep = 0.5, tear = 0.25 })");
    assert_int_equal(f->kind, FAULT_POWER);
    assert_int_equal(f->nodes, 0x11);
    assert_int_equal(f->crash.keep_ppm, 500000);
    assert_int_equal(f->crash.tear_ppm, 250000);
    stage_free(&t);
    f = started(&t, "disk.stall('leader', { by = 0.2 })");
    assert_int_equal(f->disk.sync_stall_ns, 200 * NS_PER_MS);
    stage_free(&t);
    f = started(&t, "disk.error(1, { sync = 0.5, write = 0.1 })");
    assert_int_equal(f->disk.sync_error_ppm, 500000);
    assert_int_equal(f->disk.write_error_ppm, 100000);
    stage_free(&t);
    f = started(&t, "disk.full(1, { bytes = 4096 })");
    assert_int_equal(f->disk.capacity_bytes, 4096);
    stage_free(&t);
    f = started(&t, "disk.full(1, { bytes = { 4096, 8192 } })"); /* drawn as a whole number */
    assert_in_range(f->disk.capacity_bytes, 4096, 8192);
    stage_free(&t);
    f = started(&t, "process.slow(1, { percent = 15 })");
    assert_int_equal(f->slow_percent, 15);
    stage_free(&t);
}

static void faults_of_disks_arrive_each_in_its_own_field(void **state) {
    (void)state;
    static const struct {
        const char *fault;
        struct disk_condition disk;
    } cases[] = {
        {"disk.lie(2)", {.sync_lie_ppm = 1000000}},
        {"disk.lie(2, { sync = 0.25 })", {.sync_lie_ppm = 250000}},
        {"disk.read_error(2)", {.read_error_ppm = 50000}},
        {"disk.read_error(2, { read = 1 })", {.read_error_ppm = 1000000}},
        {"disk.rot(2)", {.read_rot_ppm = 10000}},
        {"disk.rot(2, { read = 0.5 })", {.read_rot_ppm = 500000}},
        {"disk.slow(2)", {.io_delay_ns = 10 * NS_PER_MS}},
        {"disk.slow(2, { by = 0.5 })", {.io_delay_ns = 500 * NS_PER_MS}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct stage t;
        const struct fault_spec *f = started(&t, cases[i].fault);
        assert_int_equal(f->kind, FAULT_DISK);
        assert_int_equal(f->nodes, 2);
        assert_memory_equal(&f->disk, &cases[i].disk, sizeof f->disk);
        stage_free(&t);
    }
}

static void nodes_are_killed_in_order_or_fail_to_start(void **state) {
    (void)state;
    struct stage t;
    const struct fault_spec *f = started(&t, "process.kill(3)");
    assert_true(f->kind == FAULT_KILL && f->kill.grace_ns == 0 && f->kill.failed_starts == 0);
    stage_free(&t);
    f = started(&t, "process.terminate(3)");
    assert_true(f->kind == FAULT_KILL && f->kill.grace_ns == 10 * NS_PER_S && f->kill.failed_starts == 0);
    assert_int_equal(f->nodes, 4);
    stage_free(&t);
    f = started(&t, "process.start_failure(3, { times = { 2, 5 } })");
    assert_true(f->kind == FAULT_KILL && f->kill.grace_ns == 0);
    assert_in_range(f->kill.failed_starts, 2, 5);
    stage_free(&t);
    t = stage_new("function(c) c:terminate({ 1, 2 }, { grace = 2 }) sleep(1) c:start_node(2) end", 1);
    stage_run(&t, 0.5);
    assert_int_equal(t.w->faults[0].spec.kill.grace_ns, 2 * NS_PER_S);
    stage_run(&t, 5);
    assert_int_equal(t.w->faults[0].end_ns, NS_PER_S);
    stage_free(&t);
}

static void every_fault_of_links_takes_a_filter(void **state) {
    (void)state;
    static const char *const faults[] = {
        "partition.isolate(1, { filter = 'udp' })",
        "partition.one(1, { filter = 'udp' })",
        "partition.halves { filter = 'udp' }",
        "partition.majority_minority { leader = 'minority', filter = 'udp' }",
        "partition.ring { filter = 'udp' }",
        "partition.bridge(nil, { filter = 'udp' })",
        "partition.one_way(1, nil, { filter = 'udp' })",
        "partition.groups({ { 1 } }, { filter = 'udp' })",
        "network.delay { filter = 'udp' }",
        "network.loss { filter = 'udp' }",
        "network.duplicate { filter = 'udp' }",
        "network.reorder { filter = 'udp' }",
        "network.corrupt { checksums = 'repaired', filter = 'udp' }",
        "network.rate { filter = 'udp' }",
        "network.slow_link { filter = 'udp' }",
        "network.storm { filter = 'udp' }",
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct stage t;
        assert_string_equal(started(&t, faults[i])->filter, "udp");
        stage_free(&t);
        char *scenario =
            xformat("return { workload = register {},\n nemesis = function(c) c:start(%s) end }", faults[i]);
        struct error e = {""};
        struct script *s = load_text(scenario, NULL, &e);
        assert_non_null(s);
        assert_int_equal(script_scenario(s)->needs, 1u << FAULT_LINK | FAULT_LINK_FILTERS);
        script_free(s);
        free(scenario);
    }
}

static void faults_compose_and_end_in_reverse(void **state) {
    (void)state;
    struct stage t = stage_new("function(c) c:during(all_of(process.pause(1), network.loss { p = 0.5 }), 2)\n"
                               "  c:during(process.restart(2, { down = 0.5 }), 1)\n"
                               "  c:during(clock.strobe(3, { offset = 1, period = 0.5 }), 2)\n"
                               "  c:kill { 1, 2 } c:power_loss(3) c:start_node(1) sleep(1) c:start_node() end",
                               1);
    stage_run(&t, 2.1);
    assert_int_equal(t.w->faults[0].end_ns, 2 * NS_PER_S);
    assert_int_equal(t.w->faults[1].end_ns, 2 * NS_PER_S);
    stage_run(&t, 20);
    assert_int_equal(t.w->faults[2].end_ns - t.w->faults[2].start_ns, 500 * NS_PER_MS);
    uint32_t strobes = 0;
    for (uint32_t i = 0; i < t.w->faults_count; i++) strobes += t.w->faults[i].spec.kind == FAULT_CLOCK;
    assert_int_equal(strobes, 2);
    assert_int_equal(quiet_world_in_force(t.w), 0);
    stage_free(&t);
}

static void every_repeats_and_swarm_stays_within_bounds(void **state) {
    (void)state;
    struct stage t =
        stage_new("every { min = 1, max = 2, duration = 1, times = 5, fault = process.kill('leader') }", 3);
    stage_run(&t, 60);
    assert_int_equal(t.w->faults_count, 5);
    for (uint32_t i = 1; i < 5; i++) {
        assert_in_range(t.w->faults[i].start_ns - t.w->faults[i - 1].end_ns, NS_PER_S, 2 * NS_PER_S);
    }
    stage_free(&t);
    const char *swarm = "swarm { most = 2, faults = { process.kill('leader'), process.pause('random'),\n"
                        "  partition.halves(), function() return network.storm() end, disk.stall('all') } }";
    uint32_t kinds_seen = 0;
    for (uint64_t seed = 0; seed < 10; seed++) {
        t = stage_new(swarm, seed);
        for (int second = 1; second < 120; second++) {
            stage_run(&t, second);
            assert_true(quiet_world_in_force(t.w) <= 2);
        }
        for (uint32_t i = 0; i < t.w->faults_count; i++) kinds_seen |= 1u << t.w->faults[i].spec.kind;
        stage_free(&t);
    }
    assert_int_equal(kinds_seen, 1u << FAULT_LINK | 1u << FAULT_KILL | 1u << FAULT_PAUSE | 1u << FAULT_DISK);
}

static void the_same_seed_gives_the_same_faults(void **state) {
    (void)state;
    const char *nemesis =
        "{ swarm { faults = { partition.halves(), process.kill('random'), disk.power_loss('some') } },\n"
        "  every { fault = clock.skew('some') } }";
    struct stage a = stage_new(nemesis, 5), b = stage_new(nemesis, 5);
    stage_run(&a, 200);
    stage_run(&b, 200);
    assert_int_equal(a.w->faults_count, b.w->faults_count);
    assert_memory_equal(a.w->faults, b.w->faults, a.w->faults_count * sizeof *a.w->faults);
    stage_free(&a);
    stage_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_shipped_scenarios_load),
        cmocka_unit_test(scenarios_are_found_by_name_and_path),
        cmocka_unit_test(defaults_behave_like_a_local_network),
        cmocka_unit_test(every_field_is_read),
        cmocka_unit_test(clients_are_dealt_to_regions),
        cmocka_unit_test(seconds_become_nanoseconds_exactly),
        cmocka_unit_test(mistakes_are_explained),
        cmocka_unit_test(set_overrides_fields_and_parameters),
        cmocka_unit_test(wrong_sets_are_refused),
        cmocka_unit_test(a_nemesis_sleeps_on_the_worlds_clock),
        cmocka_unit_test(nemeses_run_side_by_side_and_spawn),
        cmocka_unit_test(errors_in_a_nemesis_name_the_line_and_leave_no_fault),
        cmocka_unit_test(a_refused_fault_is_an_error_at_its_line),
        cmocka_unit_test(after_the_end_nothing_runs),
        cmocka_unit_test(nodes_are_chosen_by_word_number_list_or_function),
        cmocka_unit_test(await_leader_waits),
        cmocka_unit_test(partitions_cut_what_they_say),
        cmocka_unit_test(strengths_arrive_in_the_right_units),
        cmocka_unit_test(faults_of_disks_arrive_each_in_its_own_field),
        cmocka_unit_test(nodes_are_killed_in_order_or_fail_to_start),
        cmocka_unit_test(every_fault_of_links_takes_a_filter),
        cmocka_unit_test(faults_compose_and_end_in_reverse),
        cmocka_unit_test(every_repeats_and_swarm_stays_within_bounds),
        cmocka_unit_test(the_same_seed_gives_the_same_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
