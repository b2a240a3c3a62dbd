/* From the table that a scenario returns to struct scenario: every field with its default and range, what --set
 * overrides, and the checks that a workload gets when none are named. */
#include "harness/script/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TIME_MAX_S 86400.0
#define TIMEOUT_MAX_S 3600.0

/* The defaults behave like a local network: half a millisecond one way, syncs as on a small solid-state disk. */
#define TIME_DEFAULT_S 60
#define SETTLE_DEFAULT_S 10
#define MIN_OPS_DEFAULT 500
#define NODES_DEFAULT 5
#define CLIENTS_DEFAULT 10
#define LATENCY_DEFAULT_NS (500 * NS_PER_US)
#define JITTER_DEFAULT_NS (200 * NS_PER_US)
#define SYNC_MIN_DEFAULT_NS (200 * NS_PER_US)
#define SYNC_MAX_DEFAULT_NS (2 * NS_PER_MS)
#define HEARTBEAT_DEFAULT_NS (50 * NS_PER_MS)
#define ELECTION_DEFAULT_NS (300 * NS_PER_MS)
#define OP_TIMEOUT_DEFAULT_NS (5 * NS_PER_S)
#define TRY_TIMEOUT_DEFAULT_NS (1 * NS_PER_S)
#define DRIFT_DEFAULT_PPM 50000
#define SNAPSHOT_DEFAULT_ENTRIES 500
#define MESSAGE_DEFAULT_BYTES 16384
#define OWN_KEYS_MAX 100000u /* as of a workload whose clients share their keys */

/* --- overrides --- */

/* Names that --set knows in every scenario: fields of the returned table, or of a table in it. */
static const struct override {
    const char *name, *outer, *field;
} overrides[] = {
    {"nodes", NULL, "nodes"},
    {"time", NULL, "time"},
    {"settle", NULL, "settle"},
    {"min_ops", NULL, "min_ops"},
    {"reads", "cluster", "reads"},
    {"leader", "cluster", "leader"},
    {"sync", "cluster", "sync"},
    {"election_timeout", "cluster", "election_timeout"},
    {"heartbeat", "cluster", "heartbeat"},
    {"clock_drift_ppm", "cluster", "clock_drift_ppm"},
    {"snapshot_entries", "cluster", "snapshot_entries"},
    {"message_bytes", "cluster", "message_bytes"},
    {"timeout", "client", "timeout"},
    {"try_timeout", "client", "try_timeout"},
    {"latency", "network", "latency"},
    {"jitter", "network", "jitter"},
};
#define OVERRIDES_COUNT (sizeof overrides / sizeof *overrides)

static bool is_param(const struct script *s, const char *name) {
    for (size_t i = 0; i < s->params_count; i++) {
        if (strcmp(s->params[i].name, name) == 0) return true;
    }
    return false;
}

/* Writes the given text, as a number where it is one, into the field of the table at `table`, so that it is read and
 * checked like what the scenario says. */
static void override_field(lua_State *L, int table, const struct override *o, const char *text) {
    lua_pushvalue(L, table);
    if (o->outer) {
        lua_pushstring(L, o->outer);
        if (lua_rawget(L, -2) == LUA_TNIL) {
            lua_pop(L, 1);
            lua_newtable(L);
            lua_pushstring(L, o->outer);
            lua_pushvalue(L, -2);
            lua_rawset(L, -4);
        }
        if (!lua_istable(L, -1)) { /* wrong anyway: the reader will say so */
            lua_pop(L, 2);
            return;
        }
        lua_remove(L, -2);
    }
    lua_pushstring(L, o->field);
    if (!lua_stringtonumber(L, text)) lua_pushstring(L, text);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static void apply_overrides(lua_State *L, int table) {
    struct script *s = script_of(L);
    for (size_t i = 0; i < OVERRIDES_COUNT; i++) {
        if (is_param(s, overrides[i].name)) continue; /* the scenario's own meaning of the name wins */
        const char *text = setup_take_set(s, overrides[i].name);
        if (text) override_field(L, table, &overrides[i], text);
    }
}

/* A number that --set gives for a field of the workload; false when not given. */
static bool workload_override(lua_State *L, const char *name, double low, double high, bool whole, double *out) {
    struct script *s = script_of(L);
    const char *text = is_param(s, name) ? NULL : setup_take_set(s, name);
    if (!text) return false;
    double value = lua_stringtonumber(L, text) ? lua_tonumber(L, -1) : NAN;
    if (!(value >= low && value <= high) || (whole && value != floor(value))) {
        script_fail_at(L, 0, "--set %s=%s: a %snumber from %.14g to %.14g is needed", name, text, whole ? "whole " : "",
                       low, high);
    }
    lua_pop(L, 1);
    *out = value;
    return true;
}

static void refuse_unknown_sets(lua_State *L, bool c_workload) {
    struct script *s = script_of(L);
    const char *names[OVERRIDES_COUNT + 256];
    size_t count = 0;
    for (size_t i = 0; i < s->params_count && count < 250; i++) names[count++] = s->params[i].name;
    for (size_t i = 0; i < OVERRIDES_COUNT; i++) names[count++] = overrides[i].name;
    names[count++] = "clients";
    if (c_workload) {
        names[count++] = "rate";
        names[count++] = "keys";
    }
    for (size_t i = 0; i < s->options->sets_count; i++) {
        if (s->sets_used[i]) continue;
        const char *key = s->options->sets[i].key, *nearest = script_nearest(key, names, count);
        char list[400] = "";
        for (size_t k = 0; k < count; k++) {
            size_t used = strlen(list);
            snprintf(list + used, sizeof list - used, "%s%s", k ? ", " : "", names[k]);
        }
        if (nearest) {
            script_fail_at(L, 0, "--set %s: there is no such parameter; did you mean '%s'? There are: %s", key, nearest,
                           list);
        }
        script_fail_at(L, 0, "--set %s: there is no such parameter. There are: %s", key, list);
    }
}

/* --- cluster, client, network --- */

static void read_sync(struct fields *f, struct world_config *w) {
    if (!fields_any(f, "sync")) return;
    if (lua_type(f->L, -1) == LUA_TNUMBER) { /* always the same */
        lua_createtable(f->L, 2, 0);
        for (lua_Integer i = 1; i <= 2; i++) {
            lua_pushvalue(f->L, -2);
            lua_rawseti(f->L, -2, i);
        }
        lua_replace(f->L, -2);
    }
    int at = lua_gettop(f->L);
    if (!lua_istable(f->L, at) || lua_rawlen(f->L, at) != 2) {
        fields_fail(f, "sync", "sync must be a number of seconds, or a list of two: { least, most }");
    }
    w->sync_given = true;
    w->sync_min_ns = fields_list_seconds(f, "sync", at, 1);
    w->sync_max_ns = fields_list_seconds(f, "sync", at, 2);
    if (w->sync_min_ns > w->sync_max_ns) fields_fail(f, "sync", "sync: the first number is above the second");
    lua_pop(f->L, 1);
}

/* Where the leader is to be: a node's number, a region's name, or "any". */
static uint32_t read_leader(struct fields *f, const struct world_config *w) {
    int64_t node = 0;
    const char *region = "any";
    if (!fields_any(f, "leader")) return 0;
    bool number = lua_type(f->L, -1) == LUA_TNUMBER;
    lua_pop(f->L, 1);
    f->known_count--;
    if (number) {
        fields_integer(f, "leader", 1, w->nodes, &node);
        return UINT32_C(1) << (node - 1);
    }
    fields_string(f, "leader", &region);
    uint32_t mask = regions_nodes(&w->regions, w->nodes, region);
    if (!mask && strcmp(region, "any") != 0) {
        fields_fail(f, "leader", "leader: there is no region '%s' with a node; a region, a node's number or \"any\"",
                    region);
    }
    return mask;
}

static void read_cluster(struct fields *outer, struct world_config *w) {
    static const char *const modes[] = {
        [READ_LOG] = "log", [READ_INDEX] = "index", [READ_LEASE] = "lease", [READ_LOCAL] = "local"};
    if (!fields_table(outer, "cluster")) return;
    struct fields f = fields_within(outer, "cluster", "cluster");
    size_t mode = w->reads;
    int64_t drift = w->clock_drift_ppm_max, entries = w->snapshot_entries, message = w->message_bytes;
    fields_choice(&f, "reads", modes, 4, &mode);
    fields_seconds(&f, "election_timeout", 0.001, TIMEOUT_MAX_S, &w->election_timeout_ns);
    fields_seconds(&f, "heartbeat", 0.0001, TIMEOUT_MAX_S, &w->heartbeat_ns);
    fields_integer(&f, "clock_drift_ppm", 0, 500000, &drift);
    fields_integer(&f, "snapshot_entries", 1, 1000000000, &entries);
    fields_integer(&f, "message_bytes", 512, 16384, &message);
    read_sync(&f, w);
    script_of(f.L)->scenario.leader_nodes = read_leader(&f, w);
    fields_end(&f, false);
    if (w->heartbeat_ns >= w->election_timeout_ns) {
        fields_fail(&f, "heartbeat", "the heartbeat must be shorter than the election timeout, best a fifth of it");
    }
    w->reads = (enum read_mode)mode;
    w->clock_drift_ppm_max = (uint32_t)drift;
    w->snapshot_entries = (uint32_t)entries;
    w->message_bytes = (uint32_t)message;
    lua_pop(f.L, 1);
}

static void read_client(struct fields *outer, struct world_config *w) {
    if (!fields_table(outer, "client")) return;
    struct fields f = fields_within(outer, "client", "client");
    fields_seconds(&f, "timeout", 0.001, TIMEOUT_MAX_S, &w->op_timeout_ns);
    bool has_try = fields_seconds(&f, "try_timeout", 0.001, TIMEOUT_MAX_S, &w->try_timeout_ns);
    fields_boolean(&f, "pinned", &w->clients_pinned);
    fields_end(&f, false);
    if (w->try_timeout_ns > w->op_timeout_ns) {
        if (has_try) fields_fail(&f, "try_timeout", "try_timeout is longer than the timeout of the whole operation");
        w->try_timeout_ns = w->op_timeout_ns;
    }
    lua_pop(f.L, 1);
}

static void read_network(struct fields *outer, struct world_config *w) {
    if (!fields_table(outer, "network")) return;
    struct fields f = fields_within(outer, "network", "network");
    bool has_jitter = fields_seconds(&f, "jitter", 0, TIMEOUT_MAX_S, &w->jitter_ns);
    w->network_given = fields_seconds(&f, "latency", 0, TIMEOUT_MAX_S, &w->latency_ns) || has_jitter;
    if (fields_table(&f, "regions")) {
        regions_read(&f, w);
        lua_pop(f.L, 1);
    }
    fields_end(&f, false);
    if (!has_jitter && w->jitter_ns > w->latency_ns) w->jitter_ns = w->latency_ns;
    lua_pop(f.L, 1);
}

/* --- workload --- */

static uint32_t read_clients_field(struct fields *f, bool *given) {
    int64_t clients = CLIENTS_DEFAULT;
    double override;
    *given = fields_integer(f, "clients", 1, 4096, &clients);
    if (workload_override(f->L, "clients", 1, 4096, true, &override)) {
        clients = (int64_t) override;
        *given = true;
    }
    return (uint32_t)clients;
}

static void read_c_workload(struct fields *f, const struct setup_workload *w, uint32_t clients, bool clients_given) {
    struct script *s = script_of(f->L);
    struct workload_config *c = &s->workload_config;
    double value;
    *c = w->config;
    if (clients_given) c->clients = clients;
    if (workload_override(f->L, "rate", 0, 1e6, false, &value)) c->rate_hz_milli = (uint32_t)(value * 1000 + 0.5);
    if (workload_override(f->L, "keys", 1, 100000, true, &value)) c->keys = (uint32_t)value;
    if (c->own_keys && (uint64_t)c->clients * c->keys > OWN_KEYS_MAX) {
        script_fail_at(f->L, 0, "%u clients with %u keys of their own each; there can be %u keys in all", c->clients,
                       c->keys, OWN_KEYS_MAX);
    }
    s->scenario.world.clients = c->clients;
}

/* Lets the generator library judge the value, which returns generator, clients and final generator. */
static void read_lua_workload(struct fields *f, uint32_t clients, bool clients_given) {
    lua_State *L = f->L;
    struct script *s = script_of(L);
    int value = lua_gettop(L);
    script_module(L, "harness/lua/generator.lua");
    lua_getfield(L, -1, "prepare");
    lua_pushvalue(L, value);
    lua_pushinteger(L, clients);
    lua_pushboolean(L, clients_given);
    lua_call(L, 3, 3);
    s->scenario.world.clients = (uint32_t)lua_tointeger(L, -2);
    s->workload_is_lua = true;
    if (!lua_isnil(L, -1)) {
        lua_pushvalue(L, -1);
        generators_wrap(L, &s->lua_final, STREAM_FINAL);
    }
    lua_pop(L, 2);
    generators_wrap(L, &s->lua_workload, STREAM_GENERATOR);
    lua_settop(L, value);
}

static bool read_workload(struct fields *f) {
    bool clients_given;
    uint32_t clients = read_clients_field(f, &clients_given);
    if (!fields_any(f, "workload")) {
        fields_fail(f, "workload", "workload is missing, for example: workload = register { rate = 100 }");
    }
    struct setup_workload *w = setup_to_workload(f->L, -1);
    if (w) {
        read_c_workload(f, w, clients, clients_given);
    } else if (lua_istable(f->L, -1) || lua_isfunction(f->L, -1)) {
        read_lua_workload(f, clients, clients_given);
    } else {
        fields_fail(f, "workload", "workload must be register, append, counter or a generator, not a %s",
                    luaL_typename(f->L, -1));
    }
    lua_pop(f->L, 1);
    return w != NULL;
}

/* --- nemesis --- */

/* Turns the value at the top into a function, if it can be one. */
static bool to_nemesis(lua_State *L) {
    if (lua_isfunction(L, -1)) return true;
    if (!lua_istable(L, -1)) return false;
    bool fault = lua_getfield(L, -1, "start") != LUA_TNIL;
    lua_pop(L, 1);
    if (!fault) return false;
    script_module(L, "nemesis/schedule.lua"); /* a bare fault: again and again */
    lua_getfield(L, -1, "every");
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, -4);
    lua_setfield(L, -2, "fault");
    lua_call(L, 1, 1);
    lua_replace(L, -3);
    lua_pop(L, 1);
    return true;
}

static void read_nemeses(struct fields *f) {
    lua_State *L = f->L;
    struct script *s = script_of(L);
    lua_newtable(L);
    int list = lua_gettop(L);
    uint32_t count = 0;
    if (fields_any(f, "nemesis")) {
        if (to_nemesis(L)) {
            lua_rawseti(L, list, ++count);
        } else if (lua_istable(L, -1)) {
            lua_Integer given = luaL_len(L, -1);
            if (given > NEMESES_MAX) fields_fail(f, "nemesis", "nemesis: at most %u side by side", NEMESES_MAX);
            for (lua_Integer i = 1; i <= given; i++) {
                lua_geti(L, -1, i);
                if (!to_nemesis(L)) {
                    fields_fail(f, "nemesis", "nemesis: element %lld is a %s, not a function or a fault", (long long)i,
                                luaL_typename(L, -1));
                }
                lua_rawseti(L, list, ++count);
            }
            lua_pop(L, 1);
        } else {
            fields_fail(f, "nemesis", "nemesis must be a function(cluster), a fault, or a list of them, not a %s",
                        luaL_typename(L, -1));
        }
    }
    s->scenario.nemeses = count;
    s->nemeses_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* --- checks --- */

static const char *default_model(const struct script *s) {
    if (s->workload_is_lua) return "kv";
    const uint32_t *weights = s->workload_config.weights;
    switch (s->workload_config.kind) {
    case WORKLOAD_APPEND: return "list";
    case WORKLOAD_COUNTER: return "counter";
    default: break;
    }
    bool only = weights[OP_READ] || weights[OP_WRITE]; /* a mix is given */
    if (weights[OP_DELETE]) return "kv";
    return only && !weights[OP_CAS] ? "register" : "cas-register";
}

static void add_check(struct script *s, struct scenario_check check) {
    struct scenario_check *grown = arena_alloc(&s->arena, (s->scenario.checks_count + 1) * sizeof *s->scenario.checks);
    if (s->scenario.checks_count) {
        memcpy(grown, s->scenario.checks, s->scenario.checks_count * sizeof *grown);
    }
    if (check.kind == CHECK_LINEARIZABLE && !*check.model) check.model = default_model(s);
    grown[s->scenario.checks_count++] = check;
    s->scenario.checks = grown;
}

static void default_checks(struct script *s) {
    struct scenario_check c = {.kind = CHECK_LINEARIZABLE, .name = "linearizable", .model = "", .lua_index = -1};
    if (!s->workload_is_lua && s->workload_config.kind == WORKLOAD_APPEND) {
        c.kind = CHECK_APPEND;
        c.name = "append";
    } else if (!s->workload_is_lua && s->workload_config.kind == WORKLOAD_COUNTER) {
        c.kind = CHECK_COUNTER;
        c.name = "counter";
    }
    add_check(s, c);
}

/* Takes the value at the top. append() and counter() make workloads, and stand for their checks here. */
static void read_check(struct fields *f, lua_Integer number, int functions, int *functions_count) {
    lua_State *L = f->L;
    struct script *s = script_of(L);
    struct setup_check *c = setup_to_check(L, -1);
    struct setup_workload *w = setup_to_workload(L, -1);
    if (c) {
        struct scenario_check check = c->check;
        if (check.kind == CHECK_LUA || check.kind == CHECK_MODEL) {
            check.lua_index = (*functions_count)++;
            lua_getiuservalue(L, -1, 1);
            lua_rawseti(L, functions, check.lua_index + 1);
        }
        add_check(s, check);
    } else if (w && w->config.kind == WORKLOAD_APPEND) {
        add_check(s, (struct scenario_check){.kind = CHECK_APPEND, .name = "append", .model = "", .lua_index = -1});
    } else if (w && w->config.kind == WORKLOAD_COUNTER) {
        add_check(s, (struct scenario_check){.kind = CHECK_COUNTER, .name = "counter", .model = "", .lua_index = -1});
    } else if (lua_isfunction(L, -1)) {
        fields_fail(f, "checks",
                    "checks: element %lld is a function; call it, as in linearizable(), or name it: "
                    "check(\"name\", function(history) ... end)",
                    (long long)number);
    } else {
        fields_fail(f, "checks", "checks: element %lld is a %s, not a check such as linearizable()", (long long)number,
                    luaL_typename(L, -1));
    }
    lua_pop(L, 1);
}

static void read_checks(struct fields *f) {
    lua_State *L = f->L;
    struct script *s = script_of(L);
    lua_newtable(L);
    int functions = lua_gettop(L), functions_count = 0;
    if (fields_any(f, "checks")) {
        if (!lua_istable(L, -1)) {
            fields_fail(f, "checks", "checks must be a list, as in checks = { linearizable() }");
        }
        lua_Integer count = luaL_len(L, -1);
        if (count > 100) fields_fail(f, "checks", "checks: at most 100");
        for (lua_Integer i = 1; i <= count; i++) {
            lua_geti(L, -1, i);
            read_check(f, i, functions, &functions_count);
        }
        lua_pop(L, 1);
    }
    if (s->scenario.checks_count == 0) default_checks(s);
    s->checks_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* --- the whole --- */

static void set_defaults(struct scenario *out) {
    out->time_ns = TIME_DEFAULT_S * NS_PER_S;
    out->settle_ns = SETTLE_DEFAULT_S * NS_PER_S;
    out->min_ops = MIN_OPS_DEFAULT;
    out->doc = "";
    out->world = (struct world_config){.target = "raft",
                                       .mutant = "",
                                       .nodes = NODES_DEFAULT,
                                       .clients = CLIENTS_DEFAULT,
                                       .invariants = true,
                                       .reads = READ_INDEX,
                                       .op_timeout_ns = OP_TIMEOUT_DEFAULT_NS,
                                       .try_timeout_ns = TRY_TIMEOUT_DEFAULT_NS,
                                       .election_timeout_ns = ELECTION_DEFAULT_NS,
                                       .heartbeat_ns = HEARTBEAT_DEFAULT_NS,
                                       .clock_drift_ppm_max = DRIFT_DEFAULT_PPM,
                                       .snapshot_entries = SNAPSHOT_DEFAULT_ENTRIES,
                                       .message_bytes = MESSAGE_DEFAULT_BYTES,
                                       .latency_ns = LATENCY_DEFAULT_NS,
                                       .jitter_ns = JITTER_DEFAULT_NS,
                                       .sync_min_ns = SYNC_MIN_DEFAULT_NS,
                                       .sync_max_ns = SYNC_MAX_DEFAULT_NS};
}

static void note_options(struct script *s, bool c_workload) {
    struct scenario *out = &s->scenario;
    struct buffer b = {0};
    buffer_printf(&b, "{\"nodes\":%u,\"time\":%.17g,\"clients\":%u", out->world.nodes, ns_to_seconds(out->time_ns),
                  out->world.clients);
    if (c_workload) {
        buffer_printf(&b, ",\"rate\":%.17g,\"keys\":%u", s->workload_config.rate_hz_milli / 1000.0,
                      s->workload_config.keys);
    }
    for (size_t i = 0; i < s->params_count; i++) {
        buffer_append(&b, ",\"", 2);
        for (const char *c = s->params[i].name; *c; c++) {
            if (*c == '"' || *c == '\\') buffer_append(&b, "\\", 1);
            if ((unsigned char)*c >= 0x20) buffer_append(&b, c, 1);
        }
        buffer_printf(&b, "\":%s", s->params[i].json);
    }
    buffer_append(&b, "}", 2);
    out->options_json = arena_copy(&s->arena, b.data, b.size);
    buffer_free(&b);
}

void scenario_read(lua_State *L) {
    struct script *s = script_of(L);
    struct scenario *out = &s->scenario;
    if (!lua_istable(L, -1)) {
        script_fail_at(L, 0, "a scenario must return a table (`return { workload = ... }`), not a %s",
                       luaL_typename(L, -1));
    }
    set_defaults(out);
    int table = lua_gettop(L);
    apply_overrides(L, table);
    struct fields f = fields_of(L, table, "the scenario");
    f.top = true;
    int64_t nodes = out->world.nodes, min_ops = out->min_ops;
    fields_string(&f, "doc", &out->doc);
    fields_integer(&f, "nodes", 1, NODES_MAX, &nodes);
    out->world.nodes = (uint32_t)nodes;
    fields_seconds(&f, "time", 0.1, TIME_MAX_S, &out->time_ns);
    fields_seconds(&f, "settle", 0.1, TIME_MAX_S, &out->settle_ns);
    fields_integer(&f, "min_ops", 0, 1000000000, &min_ops);
    out->min_ops = (uint32_t)min_ops;
    bool c_workload = read_workload(&f);
    read_nemeses(&f);
    read_checks(&f);
    read_network(&f, &out->world); /* before the cluster, whose leader may be a region's */
    read_cluster(&f, &out->world);
    read_client(&f, &out->world);
    fields_end(&f, false);
    refuse_unknown_sets(L, c_workload);
    out->needs = source_needs(s->text);
    note_options(s, c_workload);
}
