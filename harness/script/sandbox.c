/* The Lua state of a scenario: memory under a limit, instructions under a budget, errors that name file and line, and
 * globals that must be declared. What the globals are lives elsewhere (order.c, text.c, random.c, setup.c, nemesis.c);
 * compiling and library modules live in modules.c. */
#include "harness/script/internal.h"

#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define INSTRUCTIONS_MAX_DEFAULT UINT64_C(50000000)
#define MEMORY_MAX_DEFAULT ((size_t)256 << 20)
#define HOOK_STEP 1000
#define GC_PAUSE_PERCENT 800 /* little lives long in a script: collect when memory is eight times what was in use */
#define CAUGHT_ERROR_INSTRUCTIONS 1000
#define PROTECTED_DEPTH_MAX 1000
#define DISTANCE_MAX 2 /* edits between a misspelt word and what was meant */

/* --- errors --- */

/* The line of the scenario that the thread executes: of the innermost function that stands in the scenario's file. */
static int script_line(struct script *s, lua_State *L) {
    lua_Debug frame;
    for (int level = 0; lua_getstack(L, level, &frame); level++) {
        lua_getinfo(L, "Sl", &frame);
        if (frame.currentline > 0 && strcmp(frame.source, s->chunk) == 0) return frame.currentline;
    }
    return 0;
}

/* Writes the message with the full name of the file and, where it is known, the line. */
static void error_text(struct script *s, lua_State *L, const char *message, char *out, size_t size) {
    size_t shown = strlen(s->shown), named = strlen(s->name);
    if (strncmp(message, s->name, named) == 0 && message[named] == ':') {
        snprintf(out, size, "%s", message);
    } else if (strncmp(message, s->shown, shown) == 0 && message[shown] == ':') {
        snprintf(out, size, "%s%s", s->name, message + shown);
    } else {
        int line = script_line(s, L);
        if (line) {
            snprintf(out, size, "%s:%d: %s", s->name, line, message);
        } else {
            snprintf(out, size, "%s: %s", s->name, message);
        }
    }
}

static const char *memory_text(const struct script *s, char *out, size_t size) {
    if (s->string_refused && !s->memory_refused) {
        snprintf(out, size, "a string is longer than %zu bytes, which a scenario may not make",
                 SCRIPT_STRING_BYTES_MAX);
    } else {
        snprintf(out, size, "the script needs more than its %zu bytes of memory", s->memory_max);
    }
    return out;
}

static const char *message_of(lua_State *L, char *out, size_t size) {
    if (lua_type(L, -1) == LUA_TSTRING) return lua_tostring(L, -1);
    snprintf(out, size, "an error was raised with a %s instead of a text", script_type_name(L, -1));
    return out;
}

int script_error_of_thread(struct script *s, lua_State *co, int status, struct error *e) {
    char text[sizeof e->text], scratch[160];
    if (s->exhausted) return error_set(e, "%s", s->exhausted_text);
    const char *message =
        status == LUA_ERRMEM ? memory_text(s, scratch, sizeof scratch) : message_of(co, scratch, sizeof scratch);
    error_text(s, co, message, text, sizeof text);
    return error_set(e, "%s", text);
}

/* Runs where the error was raised, so that the stack still tells the line. */
static int on_error(lua_State *L) {
    char text[sizeof((struct error *)0)->text], scratch[160];
    error_text(script_of(L), L, message_of(L, scratch, sizeof scratch), text, sizeof text);
    lua_pushstring(L, text);
    return 1;
}

int script_protect(struct script *s, struct prng *random, lua_CFunction body, void *arg, struct error *e) {
    lua_State *L = s->L;
    script_enter(s, random);
    int base = lua_gettop(L);
    lua_pushcfunction(L, on_error);
    lua_pushcfunction(L, body);
    lua_pushlightuserdata(L, arg);
    int status = lua_pcall(L, 1, 0, base + 1), result = 0;
    if (s->exhausted) {
        result = error_set(e, "%s", s->exhausted_text);
    } else if (status == LUA_ERRMEM) {
        char scratch[160];
        result = error_set(e, "%s: %s", s->name, memory_text(s, scratch, sizeof scratch));
    } else if (status != LUA_OK) {
        char scratch[160];
        result = error_set(e, "%s", message_of(L, scratch, sizeof scratch));
    }
    lua_settop(L, base);
    return result;
}

_Noreturn static void raise_at(lua_State *L, int line, const char *format, va_list args) {
    struct script *s = script_of(L);
    char text[sizeof((struct error *)0)->text];
    vsnprintf(text, sizeof text, format, args);
    if (line) {
        lua_pushfstring(L, "%s:%d: %s", s->name, line, text);
    } else {
        lua_pushfstring(L, "%s: %s", s->name, text);
    }
    lua_error(L);
    abort();
}

_Noreturn void script_fail(lua_State *L, const char *format, ...) {
    va_list args;
    va_start(args, format);
    raise_at(L, script_line(script_of(L), L), format, args);
    va_end(args);
}

_Noreturn void script_fail_at(lua_State *L, uint32_t line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    raise_at(L, (int)line, format, args);
    va_end(args);
}

const char *script_type_name(lua_State *L, int at) {
    return lua_isinteger(L, at) ? "integer" : luaL_typename(L, at);
}

/* The distance of Levenshtein (1966) between two short words, with two rows. */
static size_t edit_distance(const char *a, const char *b) {
    size_t a_size = strlen(a), b_size = strlen(b), rows[2][64];
    if (a_size >= 63 || b_size >= 63) return SIZE_MAX;
    for (size_t j = 0; j <= b_size; j++) rows[0][j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        const size_t *above = rows[(i - 1) % 2];
        size_t *row = rows[i % 2];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best) best = above[j] + 1;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return rows[a_size % 2][b_size];
}

const char *script_nearest(const char *word, const char *const *candidates, size_t count) {
    const char *nearest = NULL;
    size_t least = DISTANCE_MAX + 1;
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(word, candidates[i]);
        bool better = distance < least || (nearest && distance == least && strcmp(candidates[i], nearest) < 0);
        if (better && distance < strlen(candidates[i])) {
            least = distance;
            nearest = candidates[i];
        }
    }
    return nearest;
}

/* --- the budget --- */

static void on_count(lua_State *L, lua_Debug *frame);

/* Only asked where there is a deadline: scenarios know no time but the world's. */
static bool is_late(const struct script *s) {
    return s->deadline_ns && monotonic_ns() > s->deadline_ns;
}

/* Once spent, every further instruction of the thread raises again: a pcall in the script cannot swallow the error. */
_Noreturn static void exhaust(lua_State *L) {
    struct script *s = script_of(L);
    if (!s->exhausted && s->budget >= 0) {
        s->exhausted = true;
        snprintf(s->exhausted_text, sizeof s->exhausted_text, "%s:%d: the time allowed was spent here", s->name,
                 script_line(s, L));
    } else if (!s->exhausted) {
        s->exhausted = true;
        snprintf(s->exhausted_text, sizeof s->exhausted_text,
                 "%s:%d: more than %llu instructions without a pause: an endless loop?", s->name, script_line(s, L),
                 (unsigned long long)s->instructions_max);
    }
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    lua_pushstring(L, s->exhausted_text);
    lua_error(L);
    abort();
}

static void on_count(lua_State *L, lua_Debug *frame) {
    (void)frame;
    struct script *s = script_of(L);
    s->budget -= HOOK_STEP;
    if (s->exhausted || s->budget < 0 || is_late(s)) exhaust(L);
}

void script_charge(lua_State *L, uint64_t instructions) {
    struct script *s = script_of(L);
    s->budget -= instructions > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)instructions;
    if (s->exhausted || s->budget < 0) exhaust(L);
}

void script_enter(struct script *s, struct prng *random) {
    s->budget = (int64_t)s->instructions_max;
    s->exhausted = s->memory_refused = s->string_refused = false;
    s->random = random;
    lua_sethook(s->L, on_count, LUA_MASKCOUNT, HOOK_STEP);
}

/* --- globals --- */

void script_functions(lua_State *L, const luaL_Reg *functions) {
    for (; functions->name; functions++) {
        lua_pushcfunction(L, functions->func);
        lua_setfield(L, -2, functions->name);
    }
}

static int global_write(lua_State *L) {
    script_fail(L, "assignment to undeclared global '%s'; write local", text_of(L, 2));
}

static int sealed_field(lua_State *L) {
    const struct sealed *kind = lua_touserdata(L, lua_upvalueindex(1));
    if (lua_type(L, 2) != LUA_TSTRING) return 0;
    const char *field = lua_tostring(L, 2);
    for (size_t i = 0; i < kind->fields_count; i++)
        if (strcmp(field, kind->fields[i]) == 0) return 0; /* this one has none */
    const char *near = script_nearest(field, kind->fields, kind->fields_count);
    if (near) script_fail(L, "%s has no field '%s'; did you mean '%s'?", kind->what, text_of(L, 2), near);
    luaL_Buffer all;
    luaL_buffinit(L, &all);
    for (size_t i = 0; i < kind->fields_count; i++) {
        if (i) luaL_addstring(&all, ", ");
        luaL_addstring(&all, kind->fields[i]);
    }
    luaL_pushresult(&all);
    script_fail(L, "%s has no field '%s'; it has %s", kind->what, text_of(L, 2), lua_tostring(L, -1));
}

void script_seal(lua_State *L, const struct sealed *kind) {
    if (luaL_newmetatable(L, kind->type)) {
        lua_pushlightuserdata(L, (void *)kind);
        lua_pushcclosure(L, sealed_field, 1);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, false);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
}

static int guarded_setmetatable(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    if (lua_istable(L, 2)) {
        static const char *const refused[] = {"__gc", "__mode"};
        for (size_t i = 0; i < 2; i++) {
            lua_pushstring(L, refused[i]);
            if (lua_rawget(L, 2) != LUA_TNIL) {
                script_fail(L, "a metatable in a scenario may not have %s: it would show when memory is freed",
                            refused[i]);
            }
            lua_pop(L, 1);
        }
    } else if (!lua_isnil(L, 2)) {
        luaL_typeerror(L, 2, "nil or table");
    }
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL) luaL_error(L, "cannot change a protected metatable");
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

/* pcall and xpcall, after Lua's own, with two differences. A caught error has its price, since unwinding is not
 * counted in instructions; and a spent budget goes on up instead of being caught. xpcall's handler runs when the
 * stack is unwound: Lua's runs where the error was raised, which may be inside of the hook, where nothing counts
 * instructions. */
static bool was_caught(lua_State *L, int status) {
    if (status == LUA_OK || status == LUA_YIELD) return false;
    script_charge(L, CAUGHT_ERROR_INSTRUCTIONS);
    return true;
}

/* Lua looks at every frame that is left when it has caught an error: nested without limit, that takes for ever. */
static void limit_depth(lua_State *L) {
    lua_Debug frame;
    if (lua_getstack(L, PROTECTED_DEPTH_MAX, &frame)) {
        script_fail(L, "pcall: more than %d calls are nested", PROTECTED_DEPTH_MAX);
    }
}

static int finish_pcall(lua_State *L, int status, lua_KContext context) {
    (void)context;
    if (!was_caught(L, status)) return lua_gettop(L);
    lua_pushboolean(L, false);
    lua_insert(L, -2);
    return 2;
}

static int guarded_pcall(lua_State *L) {
    luaL_checkany(L, 1);
    limit_depth(L);
    lua_pushboolean(L, true);
    lua_insert(L, 1);
    return finish_pcall(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_pcall), 0);
}

static int finish_handler(lua_State *L, int status, lua_KContext context) {
    (void)status, (void)context;
    return lua_gettop(L) - 1;
}

/* The stack is: handler, true, and the results or the error. */
static int finish_xpcall(lua_State *L, int status, lua_KContext context) {
    (void)context;
    if (!was_caught(L, status)) return lua_gettop(L) - 1;
    lua_pushboolean(L, false);
    lua_replace(L, 2);
    lua_pushvalue(L, 1);
    lua_insert(L, 3);
    lua_callk(L, 1, LUA_MULTRET, 0, finish_handler);
    return finish_handler(L, LUA_OK, 0);
}

/* xpcall(f, handler, arguments...) */
static int guarded_xpcall(lua_State *L) {
    int arguments = lua_gettop(L) - 2;
    luaL_checktype(L, 2, LUA_TFUNCTION);
    limit_depth(L);
    lua_pushvalue(L, 2);
    lua_pushboolean(L, true);
    lua_pushvalue(L, 1);
    lua_rotate(L, 1, 3); /* handler, true, f, f, handler, arguments */
    lua_remove(L, 4);
    lua_remove(L, 4);
    return finish_xpcall(L, lua_pcallk(L, arguments, LUA_MULTRET, 0, 0, finish_xpcall), 0);
}

/* A new coroutine has a count of its own, up to the next hook. Charging for it bounds a loop that only makes them. */
static int charged_coroutine(lua_State *L) {
    script_charge(L, HOOK_STEP);
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static void wrap_coroutine_maker(lua_State *L, const char *name) {
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, charged_coroutine, 1);
    lua_setfield(L, -2, name);
}

static void open_base(lua_State *L) {
    static const char *const refused[] = {"collectgarbage", "dofile", "loadfile", "load", "warn"};
    lua_pushcfunction(L, luaopen_base);
    lua_call(L, 0, 1);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, refused[i]);
    }
    static const luaL_Reg guarded[] = {
        {"setmetatable", guarded_setmetatable}, {"pcall", guarded_pcall}, {"xpcall", guarded_xpcall}, {NULL, NULL}};
    script_functions(L, guarded);
}

/* With the library modules in the mask at the lightuserdata. */
static int open_all(lua_State *L) {
    const uint32_t *modules = lua_touserdata(L, 1);
    open_base(L);
    lua_pushcfunction(L, luaopen_coroutine);
    lua_call(L, 0, 1);
    wrap_coroutine_maker(L, "create");
    wrap_coroutine_maker(L, "wrap");
    lua_setfield(L, -2, "coroutine");
    text_open(L);
    order_open(L);
    random_open(L);
    setup_open(L);
    nemesis_open(L);
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, modules_global_read);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, global_write);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    modules_preload(L, *modules);
    lua_settop(L, 0);
    lua_gc(L, LUA_GCCOLLECT);
    lua_gc(L, LUA_GCINC, GC_PAUSE_PERCENT, 0, 0);
    return 0;
}

static int on_panic(lua_State *L) {
    fprintf(stderr, "harrow: a Lua error outside of a protected call: %s\n", lua_tostring(L, -1));
    return 0; /* Lua aborts */
}

/* As Lua shortens a name in its messages: its end, after three dots. */
static const char *shown_name(struct script *s, const char *name) {
    size_t size = strlen(name);
    if (size < LUA_IDSIZE) return name;
    char *shown = arena_alloc(&s->arena, LUA_IDSIZE);
    snprintf(shown, LUA_IDSIZE, "...%s", name + size - (LUA_IDSIZE - 1 - 3));
    return shown;
}

int sandbox_open(struct script *s, struct error *e) {
    const struct script_options *o = s->options;
    s->instructions_max = o->instructions_max ? o->instructions_max : INSTRUCTIONS_MAX_DEFAULT;
    s->memory_max = o->memory_bytes_max ? o->memory_bytes_max : MEMORY_MAX_DEFAULT;
    size_t size = strlen(s->name);
    char *chunk = arena_alloc(&s->arena, size + 2);
    chunk[0] = '@';
    memcpy(chunk + 1, s->name, size + 1);
    s->chunk = chunk;
    s->shown = shown_name(s, s->name);
    uint32_t modules = modules_wanted();
    s->L = region_open(s, modules);
    if (!s->L) return error_set(e, "%s: %zu bytes of memory are too few for a script", s->name, s->memory_max);
    *(struct script **)lua_getextraspace(s->L) = s;
    if (s->thawed) return 0;
    lua_atpanic(s->L, on_panic);
    if (script_protect(s, &s->load_prng, open_all, &modules, e)) return -1;
    region_freeze(s, modules);
    return 0;
}

void sandbox_close(struct script *s) {
    s->L = NULL; /* nothing in it needs to be told */
    region_close(s);
}
