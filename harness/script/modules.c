/* Code from text to functions, each text compiled once per process: library modules (embedded Lua files, loaded when a
 * script first touches one of their names) and scenarios (a hunt loads the same one thousands of times). Only bytecode
 * that was made here is ever loaded. */
#include "harness/embedded.h"
#include "harness/script/internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define CACHED_SCENARIOS 8 /* texts in use at a time: `harrow test -j N` runs some side by side */

/* Global names and the modules that define them. */
static const struct module {
    const char *file;
    const char *exports[24];
} modules[] = {
    {"nemesis/cluster.lua", {NULL}},
    {"nemesis/schedule.lua", {"every", "swarm", "all_of", NULL}},
    {"nemesis/partition.lua", {"partition", NULL}},
    {"nemesis/network.lua", {"network", NULL}},
    {"nemesis/process.lua", {"process", NULL}},
    {"nemesis/clock.lua", {"clock", NULL}},
    {"nemesis/disk.lua", {"disk", NULL}},
    {"harness/lua/generator.lua", {"gen", "generator", NULL}},
    {"harness/lua/generator_clients.lua", {NULL}},
    {"harness/lua/generator_run.lua", {NULL}},
};
#define MODULES_COUNT (sizeof modules / sizeof *modules)

struct compiled {
    char *name;        /* the chunk's */
    struct bytes text; /* owned, except of modules */
    struct buffer code;
};
static struct compiled compiled_modules[MODULES_COUNT], compiled_scenarios[CACHED_SCENARIOS];
static size_t next_scenario;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint32_t wanted; /* mask of modules that scripts of this process have touched */

static int write_code(lua_State *L, const void *data, size_t size, void *context) {
    (void)L;
    buffer_append(context, data, size);
    return 0;
}

/* Called with the lock held, so it must not raise: the load functions return a status. */
static int load_compiled(lua_State *L, const struct compiled *c) {
    return luaL_loadbufferx(L, (const char *)c->code.data, c->code.size, c->name, "b");
}

static int load_text(lua_State *L, struct bytes text, const char *chunk) {
    return luaL_loadbufferx(L, text.size ? (const char *)text.data : "", text.size, chunk, "t");
}

static struct compiled *find_scenario(const char *chunk, struct bytes text) {
    for (size_t i = 0; i < CACHED_SCENARIOS; i++) {
        struct compiled *c = &compiled_scenarios[i];
        if (c->name && strcmp(c->name, chunk) == 0 && bytes_equal(c->text, text)) return c;
    }
    return NULL;
}

static void remember_scenario(lua_State *L, const char *chunk, struct bytes text) {
    struct compiled *c = &compiled_scenarios[next_scenario++ % CACHED_SCENARIOS];
    free(c->name);
    free((void *)(uintptr_t)c->text.data);
    c->name = xstrdup(chunk);
    void *copy = xmalloc(text.size + 1);
    if (text.size) memcpy(copy, text.data, text.size);
    c->text = bytes_of(copy, text.size);
    c->code.size = 0;
    lua_dump(L, write_code, &c->code, 0);
}

void modules_compile(lua_State *L, struct bytes text) {
    struct script *s = script_of(L);
    pthread_mutex_lock(&lock);
    const struct compiled *known = find_scenario(s->chunk, text);
    int status = known ? load_compiled(L, known) : LUA_OK;
    pthread_mutex_unlock(&lock);
    if (!known) {
        struct error e;
        if (source_check(s->name, text, &e)) {
            lua_pushstring(L, e.text);
            lua_error(L);
        }
        status = load_text(L, text, s->chunk);
        if (status == LUA_OK) {
            pthread_mutex_lock(&lock);
            if (!find_scenario(s->chunk, text)) remember_scenario(L, s->chunk, text);
            pthread_mutex_unlock(&lock);
        }
    }
    if (status != LUA_OK) lua_error(L);
}

static void load_module(lua_State *L, size_t number) {
    const struct module *m = &modules[number];
    const struct embedded_file *file = embedded_find(m->file);
    if (!file) script_fail(L, "the library file %s is not in this program", m->file);
    struct compiled *c = &compiled_modules[number];
    pthread_mutex_lock(&lock);
    int status;
    if (c->code.size) {
        status = load_compiled(L, c);
    } else {
        if (!c->name) c->name = xformat("@%s", m->file);
        status = load_text(L, bytes_of(file->text, file->size), c->name);
        if (status == LUA_OK) lua_dump(L, write_code, &c->code, 0);
    }
    pthread_mutex_unlock(&lock);
    if (status != LUA_OK) lua_error(L);
}

/* Pushes the table of functions that only library modules get. */
static void push_core(lua_State *L) {
    if (lua_getfield(L, LUA_REGISTRYINDEX, "harrow.core") == LUA_TTABLE) return;
    lua_pop(L, 1);
    lua_newtable(L);
    cluster_core(L);
    generators_core(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "harrow.core");
}

static void push_module(lua_State *L, size_t number) {
    luaL_checkstack(L, 8, NULL);
    if (lua_getfield(L, LUA_REGISTRYINDEX, modules[number].file) == LUA_TTABLE) return;
    lua_pop(L, 1);
    atomic_fetch_or(&wanted, UINT32_C(1) << number);
    int64_t budget = script_of(L)->budget;
    load_module(L, number);
    push_core(L);
    lua_call(L, 1, 1);
    script_of(L)->budget = budget; /* whether it was here already must not show */
    assert(lua_istable(L, -1));
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, modules[number].file);
}

uint32_t modules_wanted(void) {
    return atomic_load(&wanted);
}

/* The module's table at the top, and its globals set. */
static void push_with_globals(lua_State *L, size_t number) {
    push_module(L, number);
    lua_pushglobaltable(L);
    for (const char *const *export = modules[number].exports; *export; export ++) {
        lua_pushstring(L, *export);
        lua_getfield(L, -3, *export);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
}

void modules_preload(lua_State *L, uint32_t mask) {
    for (size_t i = 0; i < MODULES_COUNT; i++) {
        if (!(mask >> i & 1)) continue;
        push_with_globals(L, i);
        lua_pop(L, 1);
    }
}

void script_module(lua_State *L, const char *file) {
    for (size_t i = 0; i < MODULES_COUNT; i++) {
        if (strcmp(modules[i].file, file) == 0) {
            push_module(L, i);
            return;
        }
    }
    script_fail(L, "there is no library module %s", file);
}

/* What to call a name that is no global: a misspelt one, or one that Lua has and a scenario may not use. */
static void fail_undeclared(lua_State *L, const char *name) {
    static const char *const refused[] = {"io",   "os",       "package", "require", "debug",
                                          "load", "loadfile", "dofile",  "warn",    "collectgarbage"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (strcmp(name, refused[i]) == 0) {
            script_fail(L, "'%s' is not there in a scenario: it could see this machine, and runs would differ", name);
        }
    }
    const char *names[512];
    size_t count = 0;
    for (size_t i = 0; i < MODULES_COUNT; i++) {
        for (const char *const *export = modules[i].exports; *export; export ++) names[count++] = *export;
    }
    lua_pushglobaltable(L);
    for (lua_pushnil(L); lua_next(L, -2) && count < 512; lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING) names[count++] = lua_tostring(L, -2);
    }
    const char *nearest = script_nearest(name, names, count);
    if (nearest) script_fail(L, "undeclared global '%s'; did you mean '%s'?", name, nearest);
    script_fail(L, "undeclared global '%s'; if it is yours, declare it with local above its first use", name);
}

int modules_global_read(lua_State *L) {
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
    if (!name) return 0;
    for (size_t i = 0; i < MODULES_COUNT; i++) {
        for (const char *const *export = modules[i].exports; *export; export ++) {
            if (strcmp(*export, name) != 0) continue;
            push_with_globals(L, i);
            lua_pushvalue(L, 2);
            lua_rawget(L, 1);
            return 1;
        }
    }
    fail_undeclared(L, name);
    return 0;
}
