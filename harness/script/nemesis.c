/* Nemeses: coroutines on the world's clock. sleep asks the world for a wake-up and yields; the wake-up resumes. Each
 * coroutine draws from a stream of its own, so that none shifts another. What they do to the cluster: cluster.c. */
#include "harness/script/internal.h"

#include <stdlib.h>

#define RESUMES_AT_ONE_TIME_MAX 10000u

static const char library[] = "nemesis/cluster.lua";

static struct nemesis *running(lua_State *L, const char *what) {
    struct script *s = script_of(L);
    if (!s->running) script_fail(L, "%s works only while a nemesis runs", what);
    return s->running;
}

/* Where sleep would yield: the nemesis itself, not a coroutine that it made. */
static int nemesis_sleep(lua_State *L) {
    struct script *s = script_of(L);
    struct nemesis *n = running(L, "sleep");
    if (n->co != L) script_fail(L, "sleep works in the nemesis itself, not in a coroutine that it made");
    int64_t ns = random_seconds_argument(L, 1, "sleep", 0);
    uint64_t at_ns = s->world->ops->now_ns(s->world) + (uint64_t)ns;
    s->world->ops->wake_at(s->world, at_ns, SCRIPT_TAG | (uint64_t)(n - s->nemeses));
    n->sleeping = true;
    return lua_yield(L, 0);
}

static int nemesis_now(lua_State *L) {
    struct script *s = script_of(L);
    lua_pushnumber(L, s->world ? ns_to_seconds(s->world->ops->now_ns(s->world)) : 0);
    return 1;
}

static struct nemesis *free_place(lua_State *L) {
    struct script *s = script_of(L);
    for (uint32_t i = 0; i < s->nemeses_count; i++) {
        if (s->nemeses[i].anchor == LUA_NOREF) return &s->nemeses[i];
    }
    if (s->nemeses_count == NEMESES_MAX) script_fail(L, "more than %u nemeses side by side", NEMESES_MAX);
    return &s->nemeses[s->nemeses_count++];
}

/* Starts a coroutine of the function at the top (popped), which gets a cluster object of its own, at the present
 * time. */
static void start_nemesis(lua_State *L) {
    struct script *s = script_of(L);
    int function = lua_gettop(L);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, function);
    script_module(L, library);
    lua_getfield(L, -1, "new");
    lua_remove(L, -2);
    lua_pushinteger(L, s->scenario.world.nodes);
    lua_pushinteger(L, s->scenario.world.clock_drift_ppm_max);
    regions_push(L, &s->scenario.world);
    lua_call(L, 3, 1);
    lua_xmove(L, co, 2);
    int anchor = luaL_ref(L, LUA_REGISTRYINDEX);
    struct nemesis *n = free_place(L);
    *n = (struct nemesis){.co = co, .anchor = anchor};
    prng_seed(&n->prng, s->seed, STREAM_NEMESIS + s->nemeses_started++);
    lua_pop(L, 1);
    s->world->ops->wake_at(s->world, s->world->ops->now_ns(s->world), SCRIPT_TAG | (uint64_t)(n - s->nemeses));
}

static int nemesis_spawn(lua_State *L) {
    running(L, "spawn");
    if (!lua_isfunction(L, 1)) script_fail(L, "spawn: a function(cluster) is needed, not a %s", luaL_typename(L, 1));
    lua_settop(L, 1);
    start_nemesis(L);
    return 0;
}

void nemesis_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"sleep", nemesis_sleep}, {"now", nemesis_now}, {"spawn", nemesis_spawn}, {NULL, NULL}};
    script_functions(L, functions);
}

/* Beside the scenario's own nemeses, and after them: it shifts none of their draws, and is no fault. */
static void start_placement(lua_State *L) {
    struct script *s = script_of(L);
    script_module(L, library);
    lua_getfield(L, -1, "keep_leader");
    lua_newtable(L);
    for (uint32_t i = 0, count = 0; i < s->scenario.world.nodes; i++) {
        if (!(s->scenario.leader_nodes >> i & 1)) continue;
        lua_pushinteger(L, (lua_Integer)i + 1);
        lua_rawseti(L, -2, ++count);
    }
    lua_call(L, 1, 1);
    start_nemesis(L);
    lua_pop(L, 1);
}

static int start_body(lua_State *L) {
    struct script *s = script_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->nemeses_ref);
    for (uint32_t i = 1; i <= s->scenario.nemeses; i++) {
        lua_rawgeti(L, -1, i);
        start_nemesis(L);
    }
    if (s->scenario.leader_nodes) start_placement(L);
    return 0;
}

int script_start(struct script *s, struct world *w, struct history *h, struct error *e) {
    assert(!s->world);
    s->world = w;
    s->history = h;
    uint64_t now_ns = w->ops->now_ns(w);
    for (uint32_t i = 0; i < s->early_prints_count; i++) {
        history_sample(h, (struct sample){.time_ns = now_ns,
                                          .kind = SAMPLE_LOG,
                                          .node = NODE_UNKNOWN,
                                          .text = history_intern_bytes(h, s->early_prints[i])});
    }
    return script_protect(s, &s->load_prng, start_body, NULL, e);
}

/* Time must pass: a nemesis that only sleeps for nothing would hold the world at one moment for ever. */
static bool is_stuck(struct nemesis *n, uint64_t now_ns) {
    n->resumes = n->started && n->resumed_ns == now_ns ? n->resumes + 1 : 0;
    n->resumed_ns = now_ns;
    return n->resumes > RESUMES_AT_ONE_TIME_MAX;
}

int script_wake(struct script *s, uint64_t tag, struct error *e) {
    assert(tag & SCRIPT_TAG);
    uint64_t number = tag & ~SCRIPT_TAG;
    if (s->ended || number >= s->nemeses_count || s->nemeses[number].anchor == LUA_NOREF) return 0;
    struct nemesis *n = &s->nemeses[number];
    if (is_stuck(n, s->world->ops->now_ns(s->world))) {
        lua_pushliteral(n->co, "the nemesis goes on for ever without letting time pass: sleep for more than nothing");
        return script_error_of_thread(s, n->co, LUA_ERRRUN, e);
    }
    script_enter(s, &n->prng);
    s->running = n;
    n->sleeping = false;
    int count, status = lua_resume(n->co, s->L, n->started ? 0 : 1, &count);
    s->running = NULL;
    n->started = true;
    if (status == LUA_YIELD && !s->exhausted) {
        lua_pop(n->co, count);
        if (n->sleeping) return 0;
        lua_pushliteral(n->co, "a nemesis pauses by sleep(seconds), not by coroutine.yield");
        status = LUA_ERRRUN;
    }
    int result = status == LUA_OK && !s->exhausted ? 0 : script_error_of_thread(s, n->co, status, e);
    luaL_unref(s->L, LUA_REGISTRYINDEX, n->anchor);
    n->anchor = LUA_NOREF;
    return result;
}

void script_end_faults(struct script *s) {
    s->ended = true;
    while (s->faults_count) cluster_end_fault(s, s->faults_count - 1);
}
