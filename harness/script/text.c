/* Strings: texts of values without addresses, formatting, printing into the history, and limits on the functions that
 * could build or walk through something huge. Patterns live in pattern.c. */
#include "harness/script/internal.h"

#include <ctype.h>
#include <lualib.h>
#include <math.h>

#define PRINT_BYTES_MAX 1000
#define PRINTS_MAX 10000 /* lines that one run records */

const char *text_of(lua_State *L, int at) {
    at = lua_absindex(L, at);
    luaL_checkstack(L, 4, NULL);
    if (luaL_getmetafield(L, at, "__tostring") != LUA_TNIL) {
        lua_pushvalue(L, at);
        lua_call(L, 1, 1);
        if (!lua_isstring(L, -1)) luaL_error(L, "'__tostring' must return a string");
    } else if (lua_type(L, at) == LUA_TNUMBER && lua_tonumber(L, at) != lua_tonumber(L, at)) {
        lua_pushliteral(L, "nan"); /* its sign differs between processors */
    } else if (lua_type(L, at) <= LUA_TSTRING && lua_type(L, at) != LUA_TLIGHTUSERDATA) {
        luaL_tolstring(L, at, NULL);
    } else if (luaL_getmetafield(L, at, "__name") != LUA_TSTRING) {
        lua_pushstring(L, luaL_typename(L, at));
    }
    return lua_tostring(L, -1);
}

static int safe_tostring(lua_State *L) {
    luaL_checkany(L, 1);
    text_of(L, 1);
    return 1;
}

static int record_print(lua_State *L) {
    struct script *s = script_of(L);
    int count = lua_gettop(L);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (int i = 1; i <= count; i++) {
        if (i > 1) luaL_addchar(&b, '\t');
        text_of(L, i);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    size_t size;
    const char *text = lua_tolstring(L, -1, &size);
    script_charge(L, 1000);
    if (s->prints_count >= PRINTS_MAX) return 0;
    s->prints_count++;
    struct bytes line = bytes_of(text, size < PRINT_BYTES_MAX ? size : PRINT_BYTES_MAX);
    if (s->history && s->world) {
        history_sample(s->history, (struct sample){.time_ns = s->world->ops->now_ns(s->world),
                                                   .kind = SAMPLE_LOG,
                                                   .node = NODE_UNKNOWN,
                                                   .text = history_intern_bytes(s->history, line)});
    } else if (s->early_prints_count < EARLY_PRINTS_MAX) {
        s->early_prints[s->early_prints_count++] = bytes_of(arena_copy(&s->arena, line.data, line.size), line.size);
    }
    return 0;
}

/* Lua's own string.format, after arguments that would print an address or a processor's NaN have become texts. */
static int safe_format(lua_State *L) {
    size_t size;
    const char *format = luaL_checklstring(L, 1, &size), *end = format + size;
    int top = lua_gettop(L), at = 1;
    while (format < end) {
        if (*format++ != '%') continue;
        if (format < end && *format == '%') {
            format++;
            continue;
        }
        while (format < end && *format && strchr("-+ #0.123456789", *format)) format++;
        char conversion = format < end ? *format : 0;
        if (++at > top) break;
        if (conversion == 'p')
            script_fail(L, "string.format: %%p is not there in a scenario: addresses differ from run to run");
        bool number = lua_type(L, at) == LUA_TNUMBER;
        if (number && lua_tonumber(L, at) != lua_tonumber(L, at)) {
            lua_pushnumber(L, copysign(lua_tonumber(L, at), 1));
            lua_replace(L, at);
        }
        if (conversion == 's') {
            text_of(L, at);
            lua_replace(L, at);
        }
    }
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int bounded_rep(lua_State *L) {
    size_t size, between = 0;
    luaL_checklstring(L, 1, &size);
    lua_Integer count = luaL_checkinteger(L, 2);
    luaL_optlstring(L, 3, "", &between);
    if (count > 0 && size + between > 0 && (uint64_t)count > SCRIPT_STRING_BYTES_MAX / (size + between)) {
        script_fail(L, "string.rep: the result would be longer than %zu bytes", SCRIPT_STRING_BYTES_MAX);
    }
    if (count > 0) script_charge(L, (uint64_t)count <= SCRIPT_STRING_BYTES_MAX ? (uint64_t)count / 16 : 0);
    if (size + between == 0) { /* nothing, however often */
        lua_pushliteral(L, "");
        return 1;
    }
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* Calls the function in upvalue 1 after charging for the length of the subject. */
static int charged_string(lua_State *L) {
    size_t size;
    luaL_checklstring(L, 1, &size);
    script_charge(L, size / 4);
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int charged_tonumber(lua_State *L) {
    script_charge(L, lua_type(L, 1) == LUA_TSTRING ? lua_rawlen(L, 1) / 4 : 0);
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static void wrap(lua_State *L, const char *name, lua_CFunction around) {
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, around, 1);
    lua_setfield(L, -2, name);
}

void text_open(lua_State *L) {
    static const luaL_Reg base[] = {{"tostring", safe_tostring}, {"print", record_print}, {NULL, NULL}};
    static const luaL_Reg patterns[] = {{"find", pattern_find},
                                        {"match", pattern_match},
                                        {"gmatch", pattern_gmatch},
                                        {"gsub", pattern_gsub},
                                        {NULL, NULL}};
    script_functions(L, base);
    wrap(L, "tonumber", charged_tonumber);
    lua_pushcfunction(L, luaopen_string);
    lua_call(L, 0, 1);
    script_functions(L, patterns);
    wrap(L, "format", safe_format);
    wrap(L, "rep", bounded_rep);
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_setfield(L, -2, "string");
    lua_pushcfunction(L, luaopen_utf8);
    lua_call(L, 0, 1);
    wrap(L, "len", charged_string);
    wrap(L, "offset", charged_string);
    wrap(L, "codepoint", charged_string);
    lua_setfield(L, -2, "utf8");
}
