/* Sequential models written in Lua, behind the step function of the checkers' search (struct step_model): a table
 *     { init = function() return state end,
 *       step = function(state, op) return ok, new_state end,
 *       partition = function(op) return key end,            -- optional; without it, op.key tells
 *       describe = function(op) return text end,            -- optional
 *       processes = true }                                  -- optional: op.process is there, and matters
 * in a file of its own, or given to linearizable() in a scenario. States live outside of Lua (states.c). */
#include "harness/script/internal.h"

#include <stdio.h>
#include <stdlib.h>

#define MEMORY_SHARE 4 /* a step may take this part of the memory allowed, if that is less than usual */

struct lua_model {
    struct script *script;
    int index; /* in the list of checks */
    struct prng prng;
    struct history *states, *objects; /* their strings are the texts; the ids are the numbers */
    struct buffer text;
    struct step_model steps;
};

struct model_call {
    struct lua_model *model;
    const struct history *h;
    uint32_t op, state, next;
    bool taken;
    struct buffer *out;
};

static int call_model(struct lua_model *m, lua_CFunction body, struct model_call *call, struct error *e) {
    prng_seed(&m->prng, m->script->seed, STREAM_CHECK); /* the same draws each time: a step is a function */
    call->model = m;
    return script_protect(m->script, &m->prng, body, call, e);
}

/* --- what is asked ------------------------------------------------------------------------------------------------ */

/* Pushes the table of the model, and that function of it behind. */
static bool push_function(lua_State *L, const struct lua_model *m, const char *name) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, m->script->checks_ref);
    lua_rawgeti(L, -1, m->index + 1);
    lua_getfield(L, -1, name);
    return lua_isfunction(L, -1);
}

static void set_field_value(lua_State *L, const char *field, const struct history *h, struct value v) {
    value_to_lua(L, h, v);
    lua_setfield(L, -2, field);
}

static const char *const op_fields[] = {"argument", "f", "key", "result", "status", "process"};
static const struct sealed op_sealed = {.type = MODEL_OPERATION,
                                        .what = "an operation",
                                        .fields = op_fields,
                                        .fields_count = sizeof op_fields / sizeof *op_fields - 1};
static const struct sealed op_of_process_sealed = {.type = MODEL_OPERATION_OF_PROCESS,
                                                   .what = "an operation",
                                                   .fields = op_fields,
                                                   .fields_count = sizeof op_fields / sizeof *op_fields};

/* The operation as a model sees it. A failed cas is stepped through only when it saw a value: it is a read of that. */
static void push_model_op(lua_State *L, const struct lua_model *m, const struct history *h, uint32_t op, bool step) {
    static const char *const statuses[] = {
        [OP_PENDING] = "info", [OP_OK] = "ok", [OP_FAIL] = "fail", [OP_INFO] = "info"};
    bool saw = step && h->status[op] == OP_FAIL;
    lua_createtable(L, 0, 6);
    lua_pushstring(L, saw ? "read" : history_function_name(h, h->f[op]));
    lua_setfield(L, -2, "f");
    if (h->key[op] != NO_STRING) {
        struct bytes key = history_text_bytes(h, h->key[op]);
        lua_pushlstring(L, (const char *)key.data, key.size);
        lua_setfield(L, -2, "key");
    }
    if (!saw) set_field_value(L, "argument", h, h->argument[op]);
    if (saw || h->status[op] == OP_OK) set_field_value(L, "result", h, h->result[op]);
    lua_pushstring(L, saw ? "ok" : statuses[h->status[op]]);
    lua_setfield(L, -2, "status");
    if (m->steps.by_process) {
        lua_pushinteger(L, h->process[op]);
        lua_setfield(L, -2, "process");
    }
    script_seal(L, m->steps.by_process ? &op_of_process_sealed : &op_sealed);
}

static uint32_t intern_text(struct history *texts, const struct buffer *text) {
    return history_intern_bytes(texts, bytes_of(text->data, text->size));
}

/* The number of the state at the top. */
static uint32_t take_state(lua_State *L, struct lua_model *m) {
    state_write(L, -1, &m->text, "the state of a model");
    return intern_text(m->states, &m->text);
}

static int init_body(lua_State *L) {
    struct model_call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    push_function(L, call->model, "init");
    lua_call(L, 0, 1);
    call->next = take_state(L, call->model);
    return 0;
}

static int step_body(lua_State *L) {
    struct model_call *call = lua_touserdata(L, 1);
    struct lua_model *m = call->model;
    lua_settop(L, 0);
    push_function(L, m, "step");
    int base = lua_gettop(L) - 1;
    state_push(L, history_text_bytes(m->states, call->state));
    push_model_op(L, m, call->h, call->op, true);
    lua_call(L, 2, LUA_MULTRET);
    int results = lua_gettop(L) - base;
    if (results == 0) script_fail_at(L, 0, "step returned nothing; it returns true and the new state, or false");
    call->taken = lua_toboolean(L, base + 1);
    if (!call->taken) return 0;
    if (results < 2) script_fail_at(L, 0, "step returned true without the new state: return true, state");
    lua_settop(L, base + 2);
    call->next = take_state(L, m);
    return 0;
}

static int partition_body(lua_State *L) {
    struct model_call *call = lua_touserdata(L, 1);
    struct lua_model *m = call->model;
    lua_settop(L, 0);
    push_function(L, m, "partition");
    push_model_op(L, m, call->h, call->op, false);
    lua_call(L, 1, 1);
    state_write(L, -1, &m->text, "what partition returned");
    call->next = intern_text(m->objects, &m->text);
    return 0;
}

static int describe_body(lua_State *L) {
    struct model_call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    push_function(L, call->model, "describe");
    push_model_op(L, call->model, call->h, call->op, true);
    lua_call(L, 1, 1);
    size_t size;
    const char *text = text_of(L, -1);
    size = strcspn(text, "\r\n");
    buffer_append(call->out, text, size);
    return 0;
}

/* --- the seam ----------------------------------------------------------------------------------------------------- */

static int model_first(void *context, uint64_t deadline_ns, uint64_t memory_bytes_max, uint32_t *state,
                       struct error *e) {
    struct lua_model *m = context;
    struct script *s = m->script;
    s->deadline_ns = deadline_ns;
    if (s->memory_max > memory_bytes_max / MEMORY_SHARE) s->memory_max = (size_t)(memory_bytes_max / MEMORY_SHARE);
    struct model_call call = {0};
    int failed = call_model(m, init_body, &call, e);
    *state = call.next;
    return failed;
}

static enum step_answer model_step(void *context, uint32_t state, const struct history *h, uint32_t op, uint32_t *next,
                                   struct error *e) {
    struct model_call call = {.h = h, .op = op, .state = state};
    if (call_model(context, step_body, &call, e)) return STEP_FAILED;
    *next = call.next;
    return call.taken ? STEP_TAKEN : STEP_REFUSED;
}

static int model_partition(void *context, const struct history *h, uint32_t op, uint32_t *number, struct error *e) {
    struct model_call call = {.h = h, .op = op};
    int failed = call_model(context, partition_body, &call, e);
    *number = call.next;
    return failed;
}

static void model_describe(void *context, const struct history *h, uint32_t op, struct buffer *out) {
    struct model_call call = {.h = h, .op = op, .out = out};
    struct error e = {""};
    if (call_model(context, describe_body, &call, &e)) buffer_printf(out, "(%s)", e.text);
}

static void model_print_state(void *context, uint32_t state, struct buffer *out) {
    const struct lua_model *m = context;
    state_print(history_text_bytes(m->states, state), out);
}

/* One more text included, as large as it can be. */
static uint64_t texts_bytes(const struct history *texts) {
    const struct strings *s = &texts->strings;
    uint64_t capacity = s->count < s->capacity ? s->capacity : 2 * (uint64_t)s->capacity;
    return s->arena.held_bytes + capacity * (sizeof *s->texts + sizeof *s->sizes) + map64_bytes(&s->by_hash, 1);
}

/* What Lua may hold, too: its part of the memory allowed is not to be had twice. */
static uint64_t model_memory(void *context) {
    const struct lua_model *m = context;
    size_t text_max = m->script->memory_max < STATE_BYTES_MAX ? m->script->memory_max : STATE_BYTES_MAX;
    return texts_bytes(m->states) + texts_bytes(m->objects) + m->text.capacity + text_max + m->script->memory_max;
}

/* --- reading a model ---------------------------------------------------------------------------------------------- */

void model_check_table(lua_State *L, int at, const char *what) {
    static const char *const names[] = {"init", "step", "partition", "describe"};
    struct fields f = fields_of(L, at, what);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool given = fields_any(&f, names[i]);
        if (given && !lua_isfunction(L, -1)) {
            script_fail(L, "%s: %s is a %s, not a function", what, names[i], luaL_typename(L, -1));
        }
        if (given) lua_pop(L, 1);
        if (!given && i < 2) script_fail(L, "%s: the function %s is missing", what, names[i]);
    }
    bool processes = false;
    fields_boolean(&f, "processes", &processes);
    fields_end(&f, false);
}

static int load_model_body(lua_State *L) {
    struct script *s = script_of(L);
    lua_settop(L, 0);
    lua_newtable(L);
    script_run_file(L);
    if (!lua_istable(L, -1)) {
        script_fail_at(L, 0, "a model must return a table: return { init = ..., step = ... }, not a %s",
                       luaL_typename(L, -1));
    }
    model_check_table(L, lua_gettop(L), "the model");
    lua_rawseti(L, 1, 1);
    s->checks_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

struct script *script_load_model(const char *name, struct bytes text, struct error *e) {
    return script_load_with(name, text, NULL, load_model_body, e);
}

static int look_body(lua_State *L) {
    struct model_call *call = lua_touserdata(L, 1);
    struct step_model *steps = &call->model->steps;
    lua_settop(L, 0);
    if (push_function(L, call->model, "partition")) steps->partition = model_partition;
    if (push_function(L, call->model, "describe")) steps->describe = model_describe;
    push_function(L, call->model, "processes");
    steps->by_process = lua_toboolean(L, -1);
    return 0;
}

void script_check_model(struct script *s, int lua_index, const struct history *h, const struct check_options *o,
                        struct check_result *out) {
    struct lua_model m = {.script = s, .index = lua_index, .states = history_new(), .objects = history_new()};
    m.steps = (struct step_model){.name = s->name,
                                  .context = &m,
                                  .initial = model_first,
                                  .step = model_step,
                                  .print_state = model_print_state,
                                  .memory_bytes = model_memory};
    struct model_call call = {0};
    struct error e = {""};
    size_t memory_max = s->memory_max;
    if (call_model(&m, look_body, &call, &e)) {
        *out = (struct check_result){.name = xstrdup("linearizable"), .verdict = VERDICT_UNKNOWN};
        out->detail = xstrdup(e.text);
    } else {
        check_steps(h, &m.steps, o, out);
    }
    s->memory_max = memory_max;
    s->deadline_ns = 0;
    history_free(m.states);
    history_free(m.objects);
    buffer_free(&m.text);
}
