/* Generators of a scenario behind struct generator: the C workload as it is, or a Lua value, driven by the driver that
 * harness/lua/generator.lua makes of it. Clients are numbered from 1 in Lua, from 0 in C. */
#include "harness/script/internal.h"

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

/* driver.peek(now, free clients, process of each client) -> due time, or nil (pending), or false (done) */
static int peek_body(lua_State *L) {
    struct generator_call *call = lua_touserdata(L, 1);
    const struct gen_context *c = call->context;
    lua_settop(L, 0);
    push_driver(L, call->g, "peek");
    lua_pushinteger(L, (lua_Integer)c->now_ns);
    lua_createtable(L, (int)c->free_clients, 0);
    lua_Integer count = 0;
    for (uint32_t i = 0; i < c->clients; i++) {
        if (c->busy[i]) continue;
        lua_pushinteger(L, i + 1);
        lua_rawseti(L, -2, ++count);
    }
    lua_createtable(L, (int)c->clients, 0);
    for (uint32_t i = 0; i < c->clients; i++) {
        lua_pushinteger(L, c->process[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_call(L, 3, 1);
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
    static const char *const types[] = {[OP_PENDING] = "invoke", [OP_OK] = "ok", [OP_FAIL] = "fail", [OP_INFO] = "info"};
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

static int core_seconds(lua_State *L) {
    lua_pushnumber(L, ns_to_seconds((uint64_t)luaL_checkinteger(L, 1)));
    return 1;
}

void generators_core(lua_State *L) {
    static const luaL_Reg functions[] = {{"nanoseconds", core_nanoseconds},
                                         {"exponential_ns", core_exponential},
                                         {"seconds", core_seconds},
                                         {NULL, NULL}};
    script_functions(L, functions);
}
