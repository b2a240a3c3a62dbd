/* Generators of a scenario behind struct generator: the C workload as it is, or a Lua value, driven by the driver that
 * harness/lua/generator.lua makes of it. Clients are numbered from 1 in Lua, from 0 in C. */
#include "harness/script/internal.h"

#include <stdlib.h>

static const char library[] = "harness/lua/generator.lua";

struct generator_call { /* the arguments of one entry, for the protected body */
    struct lua_generator *g;
    const struct gen_context *context;
    const struct gen_event *event;
    enum gen_state state;
    uint64_t due_ns;
    struct gen_op *op;
};

/* Pushes the function of the driver. */
static void push_driver(lua_State *L, const struct lua_generator *g, const char *function) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, g->driver);
    lua_getfield(L, -1, function);
    lua_remove(L, -2);
}

/* driver.peek(now, free clients, which are free, process of each client) -> due time, or nil (pending), or false
 * (over) */
static int peek_body(lua_State *L) {
    struct generator_call *call = lua_touserdata(L, 1);
    const struct gen_context *c = call->context;
    lua_settop(L, 0);
    push_driver(L, call->g, "peek");
    lua_pushinteger(L, (lua_Integer)c->now_ns);
    lua_createtable(L, (int)c->free_clients, 0);
    lua_createtable(L, (int)c->clients, 0);
    lua_createtable(L, (int)c->clients, 0);
    lua_Integer count = 0;
    for (uint32_t i = 0; i < c->clients; i++) {
        lua_pushboolean(L, !c->busy[i]);
        lua_rawseti(L, 4, i + 1);
        lua_pushinteger(L, c->process[i]);
        lua_rawseti(L, 5, i + 1);
        if (c->busy[i]) continue;
        lua_pushinteger(L, i + 1);
        lua_rawseti(L, 3, ++count);
    }
    lua_call(L, 4, 1);
    if (lua_isnil(L, -1)) {
        call->state = GEN_PENDING;
    } else if (lua_isboolean(L, -1)) {
        call->state = GEN_DONE;
    } else {
        call->state = GEN_READY;
        call->due_ns = (uint64_t)lua_tointeger(L, -1);
    }
    return 0;
}

/* What each function takes, so that a slip is found here and not in the target. */
static void check_argument(lua_State *L, uint16_t f, struct value v) {
    const char *need = NULL;
    if (f == OP_WRITE && v.kind == VALUE_NIL) need = "a value";
    if (f == OP_CAS && (v.kind != VALUE_LIST || v.size != 2)) need = "a value of two: { expected, new }";
    if ((f == OP_APPEND || f == OP_ADD) && v.kind != VALUE_INT) need = "a value that is a whole number";
    if (f == OP_TXN && v.kind != VALUE_LIST) need = "a list of operations as its value";
    static const char *const names[] = {"read", "write", "cas", "append", "add", "delete", "txn"};
    if (need) script_fail(L, "the generator made an operation '%s', which needs %s", names[f], need);
}

static void read_op(lua_State *L, int at, struct history *h, struct gen_op *op) {
    lua_getfield(L, at, "f");
    op->f = history_function(h, lua_tostring(L, -1));
    if (op->f == FUNCTION_NONE) script_fail(L, "the generator made too many different functions");
    lua_getfield(L, at, "key");
    op->key = NO_STRING;
    if (!lua_isnil(L, -1)) {
        size_t size;
        const char *key = lua_tolstring(L, -1, &size);
        op->key = history_intern_bytes(h, bytes_of(key, size));
    }
    lua_getfield(L, at, "value");
    op->argument = value_from_lua(L, -1, h, "the generator's operation");
    check_argument(L, op->f, op->argument);
    lua_getfield(L, at, "client");
    op->client = (uint32_t)lua_tointeger(L, -1) - 1;
    lua_getfield(L, at, "time");
    op->intended_ns = (uint64_t)lua_tointeger(L, -1);
    lua_pop(L, 5);
}

static int take_body(lua_State *L) {
    struct generator_call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    push_driver(L, call->g, "take");
    lua_call(L, 0, 1);
    read_op(L, lua_gettop(L), call->context->history, call->op);
    return 0;
}

/* driver.update(time, type, client, process, f, key, value) */
static int update_body(lua_State *L) {
    static const char *const types[] = {
        [OP_PENDING] = "invoke", [OP_OK] = "ok", [OP_FAIL] = "fail", [OP_INFO] = "info"};
    struct generator_call *call = lua_touserdata(L, 1);
    const struct gen_event *ev = call->event;
    const struct history *h = call->context->history;
    lua_settop(L, 0);
    push_driver(L, call->g, "update");
    lua_pushinteger(L, (lua_Integer)call->context->now_ns);
    lua_pushstring(L, types[ev->completion ? ev->status : OP_PENDING]);
    lua_pushinteger(L, (lua_Integer)ev->client + 1);
    lua_pushinteger(L, ev->process);
    lua_pushstring(L, history_function_name(h, ev->f));
    if (ev->key == NO_STRING) {
        lua_pushnil(L);
    } else {
        struct bytes key = history_text_bytes(h, ev->key);
        lua_pushlstring(L, (const char *)key.data, key.size);
    }
    value_to_lua(L, h, ev->value);
    lua_call(L, 7, 0);
    return 0;
}

static int enter(struct generator *g, const struct gen_context *c, struct generator_call *call, lua_CFunction body,
                 struct error *e) {
    call->g = (struct lua_generator *)g;
    call->context = c;
    return script_protect(call->g->script, &call->g->prng, body, call, e);
}

static enum gen_state lua_peek(struct generator *g, const struct gen_context *c, uint64_t *due_ns, struct error *e) {
    struct generator_call call = {.state = GEN_FAILED};
    if (enter(g, c, &call, peek_body, e)) return GEN_FAILED;
    *due_ns = call.due_ns;
    return call.state;
}

static int lua_take(struct generator *g, const struct gen_context *c, struct gen_op *op, struct error *e) {
    struct generator_call call = {.op = op};
    return enter(g, c, &call, take_body, e);
}

static int lua_update(struct generator *g, const struct gen_context *c, const struct gen_event *ev, struct error *e) {
    struct generator_call call = {.event = ev};
    return enter(g, c, &call, update_body, e);
}

static void lua_free(struct generator *g) {
    (void)g; /* owned by the script */
}

void generators_wrap(lua_State *L, struct lua_generator *g, enum script_stream stream) {
    static const struct generator_ops ops = {
        .peek = lua_peek, .take = lua_take, .update = lua_update, .free = lua_free};
    struct script *s = script_of(L);
    int value = lua_gettop(L);
    *g = (struct lua_generator){.base = {&ops}, .script = s, .clients = s->scenario.world.clients};
    prng_seed(&g->prng, s->seed, stream);
    script_module(L, library);
    lua_getfield(L, -1, "driver");
    lua_pushvalue(L, value);
    lua_pushinteger(L, g->clients);
    lua_call(L, 2, 1);
    g->driver = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_settop(L, value - 1);
}

void generators_start(struct script *s) {
    if (s->workload_is_lua) {
        s->workload = &s->lua_workload.base;
        s->final_reads = s->lua_final.script ? &s->lua_final.base : NULL;
    } else {
        s->workload = workload_new(&s->workload_config, s->seed);
        s->final_reads = workload_final_reads(&s->workload_config);
    }
}

/* --- what the generator library draws from, in nanoseconds --- */

static int core_nanoseconds(lua_State *L) {
    lua_pushinteger(L, random_seconds_argument(L, 1, lua_tostring(L, 2), 0));
    return 1;
}

static int core_exponential(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)prng_exponential(script_of(L)->random, (uint64_t)luaL_checkinteger(L, 1)));
    return 1;
}

_Noreturn static void fail_operation_field(lua_State *L, const char *const *fields) {
    lua_Integer count = order_keys(L, 1);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, i);
        bool known = false;
        for (int k = 0; k < 5; k++) known = known || strcmp(text_of(L, -1), fields[k]) == 0;
        lua_settop(L, 7);
        if (!known)
            script_fail(L, "an operation has no field '%s'; it has f, key, value, client and time", text_of(L, -1));
        lua_pop(L, 1);
    }
    abort();
}

/* operation(table, free, is_free, now): a fresh operation with client and time filled in; nothing when the client
 * that it wants, or any, is not free. */
static int core_operation(lua_State *L) {
    static const char *const fields[] = {"f", "key", "value", "client", "time"};
    lua_settop(L, 4);
    lua_createtable(L, 0, 5);
    int known = 0, count = 0;
    for (int i = 0; i < 5; i++) {
        lua_pushstring(L, fields[i]);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, 1) != LUA_TNIL) known++;
        lua_rawset(L, 5);
    }
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) count++;
    if (count != known) fail_operation_field(L, fields);
    if (lua_getfield(L, 5, "f") != LUA_TSTRING) script_fail(L, "an operation needs f, a text such as \"read\"");
    int key = lua_getfield(L, 5, "key");
    if (key != LUA_TNIL && key != LUA_TSTRING && !lua_isinteger(L, -1)) {
        script_fail(L, "the key of an operation is a text or a whole number, not a %s", luaL_typename(L, -1));
    }
    if (lua_getfield(L, 5, "client") == LUA_TNIL) {
        lua_Integer free = (lua_Integer)lua_rawlen(L, 2);
        if (free == 0) return 0;
        lua_rawgeti(L, 2, 1 + (lua_Integer)prng_below(script_of(L)->random, (uint64_t)free));
        lua_setfield(L, 5, "client");
    } else {
        if (!lua_isinteger(L, -1)) script_fail(L, "the client of an operation is a number, not %s", text_of(L, -1));
        lua_rawgeti(L, 3, lua_tointeger(L, -1));
        if (!lua_toboolean(L, -1)) return 0;
    }
    if (lua_getfield(L, 5, "time") == LUA_TNIL) {
        lua_pushvalue(L, 4);
        lua_setfield(L, 5, "time");
    } else if (!lua_isinteger(L, -1)) {
        script_fail(L, "the time of an operation is in whole nanoseconds, not %s", text_of(L, -1));
    }
    lua_settop(L, 5);
    return 1;
}

static int core_seconds(lua_State *L) {
    lua_pushnumber(L, ns_to_seconds((uint64_t)luaL_checkinteger(L, 1)));
    return 1;
}

void generators_core(lua_State *L) {
    static const luaL_Reg functions[] = {{"nanoseconds", core_nanoseconds},
                                         {"exponential_ns", core_exponential},
                                         {"seconds", core_seconds},
                                         {"operation", core_operation},
                                         {NULL, NULL}};
    script_functions(L, functions);
}
