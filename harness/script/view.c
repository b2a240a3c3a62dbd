/* The finished history as checks written in Lua see it: read-only, in order of invocation, times in seconds. Operations
 * become tables only when they are asked for. */
#include "harness/script/internal.h"

#include <stdlib.h>

static const char *const status_names[] = {
    [OP_PENDING] = "pending", [OP_OK] = "ok", [OP_FAIL] = "fail", [OP_INFO] = "info"};

static const struct history *viewed(lua_State *L) {
    const struct history *h = script_of(L)->viewed;
    if (!h) script_fail(L, "the history is there only while its check runs");
    return h;
}

static void set_text(lua_State *L, const struct history *h, const char *field, uint32_t id) {
    if (id == NO_STRING) return;
    struct bytes text = history_text_bytes(h, id);
    lua_pushlstring(L, (const char *)text.data, text.size);
    lua_setfield(L, -2, field);
}

static void set_seconds(lua_State *L, const char *field, uint64_t ns) {
    if (ns == UINT64_MAX) return;
    lua_pushnumber(L, ns_to_seconds(ns));
    lua_setfield(L, -2, field);
}

static void set_integer(lua_State *L, const char *field, lua_Integer value) {
    lua_pushinteger(L, value);
    lua_setfield(L, -2, field);
}

static const char *const op_fields[] = {"argument", "completed", "error", "f",       "final",  "index", "intended",
                                        "invoked",  "key",       "node",  "process", "result", "status"};
static const struct sealed op_sealed = {.type = "harrow.operation",
                                        .what = "an operation of the history",
                                        .fields = op_fields,
                                        .fields_count = sizeof op_fields / sizeof *op_fields};

static void push_op(lua_State *L, const struct history *h, uint32_t op) {
    lua_createtable(L, 0, 13);
    set_integer(L, "index", (lua_Integer)op + 1);
    set_integer(L, "process", h->process[op]);
    if (h->node[op] != NODE_UNKNOWN) set_integer(L, "node", h->node[op] + 1);
    lua_pushstring(L, history_function_name(h, h->f[op]));
    lua_setfield(L, -2, "f");
    set_text(L, h, "key", h->key[op]);
    value_to_lua(L, h, h->argument[op]);
    lua_setfield(L, -2, "argument");
    value_to_lua(L, h, h->result[op]);
    lua_setfield(L, -2, "result");
    lua_pushstring(L, status_names[h->status[op]]);
    lua_setfield(L, -2, "status");
    set_text(L, h, "error", h->error[op]);
    set_seconds(L, "intended", h->intended_ns[op]);
    set_seconds(L, "invoked", h->invoke_ns[op]);
    set_seconds(L, "completed", h->complete_ns[op]);
    lua_pushboolean(L, h->final_phase[op]);
    lua_setfield(L, -2, "final");
    script_seal(L, &op_sealed);
}

static int view_length(lua_State *L) {
    lua_pushinteger(L, viewed(L)->count);
    return 1;
}

static int view_op(lua_State *L) {
    const struct history *h = viewed(L);
    lua_Integer number = luaL_checkinteger(L, 2);
    if (number < 1 || number > h->count) return 0;
    push_op(L, h, (uint32_t)number - 1);
    return 1;
}

/* Whether the operation is one that the filter at upvalue 2 asks for: { f =, key =, status =, final = }, each
 * optional. */
static bool passes(lua_State *L, const struct history *h, uint32_t op) {
    if (!lua_istable(L, lua_upvalueindex(2))) return true;
    const struct {
        const char *field, *value;
    } texts[] = {{"f", history_function_name(h, h->f[op])},
                 {"key", h->key[op] == NO_STRING ? "" : history_text(h, h->key[op])},
                 {"status", status_names[h->status[op]]}};
    bool pass = true;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && pass; i++) {
        lua_getfield(L, lua_upvalueindex(2), texts[i].field);
        const char *wanted = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        if (!lua_isnil(L, -1)) pass = wanted && strcmp(wanted, texts[i].value) == 0;
        lua_pop(L, 1);
    }
    lua_getfield(L, lua_upvalueindex(2), "final");
    if (lua_isboolean(L, -1)) pass = pass && lua_toboolean(L, -1) == (h->final_phase[op] != 0);
    lua_pop(L, 1);
    return pass;
}

/* Upvalues: the place, the filter. */
static int next_op(lua_State *L) {
    const struct history *h = viewed(L);
    lua_Integer at = lua_tointeger(L, lua_upvalueindex(1));
    while (at < h->count && !passes(L, h, (uint32_t)at)) at++;
    script_charge(L, 10);
    lua_pushinteger(L, at + 1);
    lua_replace(L, lua_upvalueindex(1));
    if (at >= h->count) return 0;
    push_op(L, h, (uint32_t)at);
    return 1;
}

/* At 2. */
static void check_filter(lua_State *L) {
    static const char *const names[] = {"f", "key", "status", "final"};
    if (!lua_istable(L, 2)) script_fail(L, "history:ops: the filter is a table such as { f = \"read\" }");
    for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
        bool known = false;
        for (size_t i = 0; i < sizeof names / sizeof *names && lua_type(L, -2) == LUA_TSTRING; i++)
            known = known || strcmp(lua_tostring(L, -2), names[i]) == 0;
        if (!known) script_fail(L, "history:ops: the filter knows f, key, status and final, not '%s'", text_of(L, -2));
    }
}

static int view_ops(lua_State *L) {
    viewed(L);
    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) check_filter(L);
    lua_pushinteger(L, 0);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, next_op, 2);
    return 1;
}

static int view_faults(lua_State *L) {
    const struct history *h = viewed(L);
    lua_createtable(L, (int)h->faults_count, 0);
    for (uint32_t i = 0; i < h->faults_count; i++) {
        const struct fault_record *fault = &h->faults[i];
        lua_createtable(L, 0, 6);
        set_text(L, h, "name", fault->name);
        set_text(L, h, "detail", fault->detail);
        set_seconds(L, "started", fault->start_ns);
        set_seconds(L, "ended", fault->end_ns);
        set_integer(L, "affected", (lua_Integer)fault->affected);
        set_integer(L, "offered", (lua_Integer)fault->offered);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

void view_push(lua_State *L) {
    static const luaL_Reg methods[] = {{"ops", view_ops}, {"op", view_op}, {"faults", view_faults}, {NULL, NULL}};
    lua_newuserdatauv(L, 0, 0);
    lua_createtable(L, 0, 4);
    lua_createtable(L, 0, 3);
    script_functions(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, view_length);
    lua_setfield(L, -2, "__len");
    lua_pushliteral(L, "history");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

/* --- running a check --- */

struct check_call {
    int index;
    struct check_result *out;
};

static const char *verdict_text(lua_State *L, int at, const char *otherwise) {
    return lua_isnoneornil(L, at) ? otherwise : text_of(L, at);
}

/* The third result: a list of the offending operations' numbers. */
static void read_ops(lua_State *L, int at, const struct history *h, struct check_result *out) {
    if (!lua_istable(L, at)) return;
    size_t count = lua_rawlen(L, at);
    if (count > h->count) count = h->count;
    out->ops = xcalloc(count + 1, sizeof *out->ops);
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, at, (lua_Integer)i);
        lua_Integer number = lua_tointeger(L, -1);
        if (number >= 1 && number <= h->count) out->ops[out->ops_count++] = (uint32_t)number - 1;
        lua_pop(L, 1);
    }
}

static int check_body(lua_State *L) {
    struct script *s = script_of(L);
    struct check_call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->checks_ref);
    lua_rawgeti(L, -1, call->index + 1);
    view_push(L);
    lua_call(L, 1, 3);
    int verdict = lua_gettop(L) - 2;
    if (lua_isnil(L, verdict)) {
        call->out->verdict = VERDICT_UNKNOWN;
        call->out->detail = xstrdup(verdict_text(L, verdict + 1, "the check did not decide"));
    } else if (lua_isboolean(L, verdict)) {
        bool valid = lua_toboolean(L, verdict);
        const char *text = verdict_text(L, verdict + 1, valid ? "" : "the check says so");
        call->out->verdict = valid ? VERDICT_VALID : VERDICT_INVALID;
        call->out->detail = xstrdup(text);
        if (!valid) read_ops(L, verdict + 2, s->viewed, call->out);
    } else {
        script_fail_at(L, 0, "the check returned a %s; it must return true, or false or nil and the reason",
                       luaL_typename(L, verdict));
    }
    return 0;
}

void script_check(struct script *s, int lua_index, const struct history *h, struct check_result *out) {
    struct check_call call = {.index = lua_index, .out = out};
    struct error e = {""};
    *out = (struct check_result){.verdict = VERDICT_UNKNOWN};
    for (size_t i = 0; i < s->scenario.checks_count; i++) {
        const struct scenario_check *c = &s->scenario.checks[i];
        if (c->kind == CHECK_LUA && c->lua_index == lua_index) out->name = xstrdup(c->name);
    }
    assert(out->name);
    s->viewed = h;
    prng_seed(&s->check_prng, s->seed, STREAM_CHECK);
    if (script_protect(s, &s->check_prng, check_body, &call, &e)) {
        free(out->detail);
        out->verdict = VERDICT_UNKNOWN;
        out->detail = xstrdup(e.text);
    }
    s->viewed = NULL;
}
