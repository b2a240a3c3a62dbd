/* What a scenario is written with while it loads: workloads that run in C, checks, and parameters that --set overrides.
 * Each constructor returns a userdata with the finished plain data. */
#include "harness/script/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "checkers/transactions/transactions.h"

#define RATE_MAX 1e6
#define KEYS_MAX 100000
#define CLIENTS_MAX 4096

static const char workload_type[] = "harrow.workload", check_type[] = "harrow.check";

static void *new_value(lua_State *L, size_t size, const char *type) {
    void *value = lua_newuserdatauv(L, size, 1);
    memset(value, 0, size);
    luaL_newmetatable(L, type);
    lua_setmetatable(L, -2);
    return value;
}

struct setup_workload *setup_to_workload(lua_State *L, int at) {
    return luaL_testudata(L, at, workload_type);
}

struct setup_check *setup_to_check(lua_State *L, int at) {
    return luaL_testudata(L, at, check_type);
}

/* --- workloads --- */

static void read_mix(struct fields *f, struct workload_config *c) {
    static const struct {
        const char *name;
        enum op_function f;
    } operations[][5] = {
        [WORKLOAD_REGISTER] = {{"read", OP_READ}, {"write", OP_WRITE}, {"cas", OP_CAS}, {"delete", OP_DELETE}},
        [WORKLOAD_APPEND] = {{"read", OP_READ}, {"append", OP_APPEND}},
        [WORKLOAD_COUNTER] = {{"read", OP_READ}, {"add", OP_ADD}},
    };
    if (!fields_table(f, "mix")) return;
    char what[64];
    snprintf(what, sizeof what, "%s: mix", f->what);
    struct fields mix = fields_within(f, NULL, what);
    uint32_t sum = 0;
    for (size_t i = 0; operations[c->kind][i].name; i++) {
        int64_t weight = 0;
        fields_integer(&mix, operations[c->kind][i].name, 0, 1000000, &weight);
        c->weights[operations[c->kind][i].f] = (uint32_t)weight;
        sum += (uint32_t)weight;
    }
    fields_end(&mix, false);
    if (sum == 0) fields_fail(f, "mix", "mix: at least one weight must be above 0");
    lua_pop(f->L, 1);
}

static void read_keys_by(struct fields *f, struct workload_config *c) {
    static const char *const options[] = {"uniform", "zipf"};
    size_t by = 0;
    double zipf = 0.99;
    fields_choice(f, "keys_by", options, 2, &by);
    bool given = fields_number(f, "zipf", 0.001, 10, &zipf);
    if (given && by == 0) fields_fail(f, "zipf", "zipf is given, but keys_by is not \"zipf\"");
    if (by == 1) c->zipf_permille = (uint32_t)(zipf * 1000 + 0.5);
}

static void read_conflict(struct fields *f, struct workload_config *c) {
    double share = 0;
    c->own_keys = fields_number(f, "conflict", 0, 1, &share);
    c->conflict_ppm = (uint32_t)(share * 1e6 + 0.5);
    if (c->own_keys && c->zipf_permille) fields_fail(f, "conflict", "conflict has keys by client, not by \"zipf\"");
}

static int new_workload(lua_State *L, uint32_t kind, const char *what) {
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    if (!lua_istable(L, 1)) script_fail(L, "%s: a table of fields is needed, not a %s", what, luaL_typename(L, 1));
    struct fields f = fields_of(L, 1, what);
    struct workload_config c = {.keys = kind == WORKLOAD_REGISTER ? 8 : kind == WORKLOAD_APPEND ? 4 : 1, .clients = 10};
    c.kind = kind;
    int64_t keys = c.keys, clients = c.clients, values = 0;
    double rate = 100;
    fields_integer(&f, "keys", 1, KEYS_MAX, &keys);
    fields_integer(&f, "clients", 1, CLIENTS_MAX, &clients);
    bool has_rate = fields_number(&f, "rate", 0, RATE_MAX, &rate);
    fields_boolean(&f, "steady", &c.steady);
    bool has_think = fields_seconds(&f, "think", 0, 3600, &c.think_ns);
    if (has_think && has_rate && rate > 0) {
        fields_fail(&f, "think", "rate is for an open loop and think for a closed one; give one of them");
    }
    if (has_think) rate = 0;
    if (c.steady && rate == 0) fields_fail(&f, "steady", "steady needs a rate: it is for an open loop");
    read_mix(&f, &c);
    read_keys_by(&f, &c);
    read_conflict(&f, &c);
    if (kind == WORKLOAD_REGISTER) fields_integer(&f, "values", 0, 1000000, &values);
    fields_end(&f, false);
    c.keys = (uint32_t)keys;
    c.clients = (uint32_t)clients;
    c.values = (uint32_t)values;
    c.rate_hz_milli = (uint32_t)(rate * 1000 + 0.5);
    struct setup_workload *w = new_value(L, sizeof *w, workload_type);
    w->config = c;
    return 1;
}

static int new_register(lua_State *L) {
    return new_workload(L, WORKLOAD_REGISTER, "register");
}

static int new_append(lua_State *L) {
    return new_workload(L, WORKLOAD_APPEND, "append");
}

static int new_counter(lua_State *L) {
    return new_workload(L, WORKLOAD_COUNTER, "counter");
}

/* --- checks: linearizable, available and latency; append{} and counter{} are workloads, and checks by check_of --- */

static struct scenario_check *new_check(lua_State *L, uint32_t kind, const char *name) {
    struct setup_check *c = new_value(L, sizeof *c, check_type);
    c->check.kind = kind;
    c->check.name = name;
    c->check.model = "";
    c->check.lua_index = -1;
    return &c->check;
}

static int new_linearizable(lua_State *L) {
    lua_settop(L, 1);
    const char *model = "";
    if (lua_istable(L, 1)) {
        model_check_table(L, 1, "linearizable");
        new_check(L, CHECK_MODEL, "linearizable");
        lua_pushvalue(L, 1);
        lua_setiuservalue(L, -2, 1);
        return 1;
    }
    if (!lua_isnil(L, 1)) {
        if (lua_type(L, 1) != LUA_TSTRING) {
            script_fail(L, "linearizable: the name of a model is needed, or a model { init = ..., step = ... }");
        }
        model = lua_tostring(L, 1);
        if (!model_find(model)) {
            size_t count;
            const struct model *const *all = models_all(&count);
            const char *names[32];
            if (count > 32) count = 32;
            for (size_t i = 0; i < count; i++) names[i] = model_name(all[i]);
            const char *nearest = script_nearest(model, names, count);
            if (nearest) script_fail(L, "linearizable: there is no model '%s'; did you mean '%s'?", model, nearest);
            script_fail(L, "linearizable: there is no model '%s'; `harrow models` lists them", model);
        }
        model = model_name(model_find(model));
    }
    new_check(L, CHECK_LINEARIZABLE, "linearizable")->model = model;
    return 1;
}

static struct fields check_fields(lua_State *L, const char *what) {
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    if (!lua_istable(L, 1)) script_fail(L, "%s: a table of fields is needed, not a %s", what, luaL_typename(L, 1));
    return fields_of(L, 1, what);
}

static int new_available(lua_State *L) {
    struct fields f = check_fields(L, "available");
    uint64_t within_ns = 5 * NS_PER_S;
    bool during = false;
    fields_seconds(&f, "within", 0.000001, SECONDS_MAX, &within_ns);
    fields_boolean(&f, "during", &during);
    fields_end(&f, false);
    struct scenario_check *c = new_check(L, CHECK_AVAILABLE, "available");
    c->within_ns = within_ns;
    c->during = during;
    return 1;
}

static int new_latency(lua_State *L) {
    struct fields f = check_fields(L, "latency");
    uint64_t limit_ns;
    if (!fields_seconds(&f, "p99", 0.000001, SECONDS_MAX, &limit_ns)) {
        script_fail(L, "latency: the limit is missing: latency { p99 = seconds }");
    }
    fields_end(&f, false);
    new_check(L, CHECK_LATENCY, "latency")->within_ns = limit_ns;
    return 1;
}

#define NAMES_MAX 64u

/* Raises an error: there is no such thing, and this is the nearest, or what lists them. */
static void fail_unknown(lua_State *L, const char *what, const char *name, const char *const *names, size_t count) {
    const char *nearest = script_nearest(name, names, count);
    if (nearest) script_fail(L, "check: there is no %s '%s'; did you mean '%s'?", what, name, nearest);
    script_fail(L, "check: there is no %s '%s'; `harrow models` lists them", what, name);
}

static const struct checker *checker_named(lua_State *L, const char *name) {
    const struct checker *found = checker_find(name);
    if (found) return found;
    const char *names[NAMES_MAX];
    size_t count;
    const struct checker *all = checkers_all(&count);
    if (count > NAMES_MAX) count = NAMES_MAX;
    for (size_t i = 0; i < count; i++) names[i] = all[i].name;
    fail_unknown(L, "check", name, names, count);
    return NULL;
}

static void require_consistency(lua_State *L, const struct checker *c, const char *consistency) {
    if (!c->takes_consistency) script_fail(L, "check: a consistency model means nothing to %s", c->name);
    if (consistency_known(consistency)) return;
    const char *names[NAMES_MAX];
    size_t count = 0;
    while (count < NAMES_MAX && (names[count] = consistency_name(count)) != NULL) count++;
    fail_unknown(L, "consistency model", consistency, names, count);
}

/* check("list-append", { consistency = "serializable" }): one of `harrow models`. */
static int new_named_check(lua_State *L) {
    const struct checker *checker = checker_named(L, lua_tostring(L, 1));
    const char *consistency = NULL;
    if (lua_istable(L, 2)) {
        struct fields f = fields_of(L, 2, "check");
        if (fields_string(&f, "consistency", &consistency)) require_consistency(L, checker, consistency);
        fields_end(&f, false);
    }
    struct scenario_check *c = new_check(L, CHECK_NAMED, checker->name);
    c->model = checker->name;
    c->consistency = consistency;
    return 1;
}

static int new_lua_check(lua_State *L) {
    lua_settop(L, 2);
    int type = lua_type(L, 2);
    bool named = type == LUA_TNIL || type == LUA_TTABLE;
    if (lua_type(L, 1) != LUA_TSTRING || (!named && type != LUA_TFUNCTION)) {
        script_fail(L, "check: the name of a check is needed, as in check(\"sessions\"), or a name and a function: "
                       "check(\"name\", function(history) ... end)");
    }
    if (named) return new_named_check(L);
    size_t size;
    const char *name = lua_tolstring(L, 1, &size);
    new_check(L, CHECK_LUA, arena_copy(&script_of(L)->arena, name, size + 1));
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

/* --- parameters --- */

const char *setup_take_set(struct script *s, const char *name) {
    const char *value = NULL;
    for (size_t i = 0; i < s->options->sets_count; i++) {
        if (strcmp(s->options->sets[i].key, name) != 0) continue;
        s->sets_used[i] = true;
        value = s->options->sets[i].value; /* the last one counts, as on any command line */
    }
    return value;
}

void setup_note_param(struct script *s, const char *name, const char *json) {
    for (size_t i = 0; i < s->params_count; i++) {
        if (strcmp(s->params[i].name, name) == 0) return;
    }
    if (s->params_count == s->params_capacity) {
        s->params_capacity = s->params_capacity ? 2 * s->params_capacity : 16;
        s->params = xrealloc(s->params, s->params_capacity * sizeof *s->params);
    }
    s->params[s->params_count++] = (struct script_param){.name = arena_copy(&s->arena, name, strlen(name) + 1),
                                                         .json = arena_copy(&s->arena, json, strlen(json) + 1)};
}

/* Replaces the default at stack index 2 by what --set says, in the type of the default. */
static void override_param(lua_State *L, const char *name, const char *text) {
    switch (lua_type(L, 2)) {
    case LUA_TNUMBER:
        if (!lua_stringtonumber(L, text)) script_fail(L, "--set %s=%s: a number is needed", name, text);
        if (!isfinite(lua_tonumber(L, -1))) script_fail(L, "--set %s=%s: a finite number is needed", name, text);
        break;
    case LUA_TBOOLEAN:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
            script_fail(L, "--set %s=%s: true or false is needed", name, text);
        }
        lua_pushboolean(L, strcmp(text, "true") == 0);
        break;
    default: lua_pushstring(L, text);
    }
    lua_replace(L, 2);
}

static void json_text(struct buffer *b, const char *text) {
    buffer_append(b, "\"", 1);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            buffer_printf(b, "\\%c", c);
        } else if (c < 0x20) {
            buffer_printf(b, "\\u%04x", c);
        } else {
            buffer_append(b, text, 1);
        }
    }
    buffer_append(b, "\"", 1);
}

static int declare_param(lua_State *L) {
    struct script *s = script_of(L);
    lua_settop(L, 2);
    int type = lua_type(L, 2);
    if (lua_type(L, 1) != LUA_TSTRING) script_fail(L, "param: a name is needed: param(\"name\", default)");
    if (s->loaded) script_fail(L, "param: parameters are declared while the scenario loads, not later");
    const char *name = lua_tostring(L, 1);
    if (type != LUA_TNUMBER && type != LUA_TBOOLEAN && type != LUA_TSTRING) {
        script_fail(L, "param: the default of '%s' must be a number, a boolean or a text, not a %s", name,
                    luaL_typename(L, 2));
    }
    const char *text = setup_take_set(s, name);
    if (text) override_param(L, name, text);
    struct buffer json = {0};
    if (type == LUA_TSTRING) {
        json_text(&json, lua_tostring(L, 2));
    } else if (type == LUA_TBOOLEAN) {
        buffer_printf(&json, "%s", lua_toboolean(L, 2) ? "true" : "false");
    } else if (lua_isinteger(L, 2)) {
        buffer_printf(&json, "%lld", lua_tointeger(L, 2));
    } else {
        buffer_printf(&json, "%.17g", lua_tonumber(L, 2));
    }
    buffer_append(&json, "", 1);
    setup_note_param(s, name, (const char *)json.data);
    buffer_free(&json);
    lua_settop(L, 2);
    return 1;
}

void setup_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"register", new_register},         {"append", new_append},       {"counter", new_counter},
        {"linearizable", new_linearizable}, {"available", new_available}, {"latency", new_latency},
        {"check", new_lua_check},           {"param", declare_param},     {NULL, NULL}};
    script_functions(L, functions);
}
