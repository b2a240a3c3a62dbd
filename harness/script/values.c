/* Values between Lua and a history: nil, whole numbers, texts, and lists of them. */
#include "harness/script/internal.h"

#define LIST_MAX 10000

static struct value list_from_lua(lua_State *L, int at, struct history *h, const char *what, uint32_t depth);

static struct value from_lua(lua_State *L, int at, struct history *h, const char *what, uint32_t depth) {
    size_t size;
    int is_integer;
    switch (lua_type(L, at)) {
    case LUA_TNONE:
    case LUA_TNIL: return VALUE_OF_NIL;
    case LUA_TNUMBER: {
        lua_Integer integer = lua_tointegerx(L, at, &is_integer);
        if (!is_integer) script_fail(L, "%s: %s is not a whole number", what, text_of(L, at));
        return VALUE_OF_INT(integer);
    }
    case LUA_TSTRING: {
        const char *text = lua_tolstring(L, at, &size);
        return (struct value){.kind = VALUE_STRING, .string = history_intern_bytes(h, bytes_of(text, size))};
    }
    case LUA_TTABLE: return list_from_lua(L, at, h, what, depth);
    default:
        script_fail(L, "%s: a %s cannot be a value; use nil, a whole number, a text or a list of these", what,
                    luaL_typename(L, at));
    }
}

static struct value list_from_lua(lua_State *L, int at, struct history *h, const char *what, uint32_t depth) {
    if (depth == VALUE_DEPTH_MAX) script_fail(L, "%s: lists in lists are more than %u deep", what, VALUE_DEPTH_MAX);
    size_t count = lua_rawlen(L, at);
    if (count > LIST_MAX) script_fail(L, "%s: a list of more than %d elements", what, LIST_MAX);
    luaL_checkstack(L, 4, NULL);
    struct value *elements = lua_newuserdatauv(L, (count + 1) * sizeof *elements, 0);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, at, (lua_Integer)i + 1);
        elements[i] = from_lua(L, lua_gettop(L), h, what, depth + 1);
        lua_pop(L, 1);
    }
    struct value list = history_list(h, elements, (uint32_t)count);
    lua_pop(L, 1);
    return list;
}

struct value value_from_lua(lua_State *L, int at, struct history *h, const char *what) {
    return from_lua(L, lua_absindex(L, at), h, what, 0);
}

void value_to_lua(lua_State *L, const struct history *h, struct value v) {
    luaL_checkstack(L, 4, NULL);
    switch ((enum value_kind)v.kind) {
    case VALUE_INT: lua_pushinteger(L, v.integer); return;
    case VALUE_STRING: {
        struct bytes text = history_text_bytes(h, v.string);
        lua_pushlstring(L, (const char *)text.data, text.size);
        return;
    }
    case VALUE_LIST:
        lua_createtable(L, (int)v.size, 0);
        for (uint32_t i = 0; i < v.size; i++) {
            value_to_lua(L, h, h->pool[v.first + i]);
            lua_rawseti(L, -2, i + 1);
        }
        return;
    case VALUE_NIL: break;
    }
    lua_pushnil(L);
}
