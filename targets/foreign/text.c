/* The modules `json` (jansson; whole numbers stay exact) and `base64`. */
#include "targets/foreign/internal.h"

#include <jansson.h>
#include <math.h>

#define HELD_TYPE "json value"
#define ARRAY_TYPE "json array" /* the metatable of what came from [ ], so that an empty one goes back as [ ] */
#define DEPTH_MAX 100

/* --- json --------------------------------------------------------------------------------------------------------- */

/* Holds a value of jansson's while Lua may raise. */
static json_t **hold(lua_State *L) {
    json_t **box = lua_newuserdatauv(L, sizeof(json_t *), 0);
    *box = NULL;
    luaL_setmetatable(L, HELD_TYPE);
    return box;
}

static int let_go(lua_State *L) {
    json_t **box = lua_touserdata(L, 1);
    json_decref(*box);
    *box = NULL;
    return 0;
}

static void push_json(lua_State *L, json_t *value, unsigned depth) {
    luaL_checkstack(L, 4, NULL);
    if (depth > DEPTH_MAX) luaL_error(L, "json: nested more than %d deep", DEPTH_MAX);
    size_t i;
    const char *name;
    json_t *part;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        lua_newtable(L);
        json_object_foreach(value, name, part) {
            lua_pushstring(L, name);
            push_json(L, part, depth + 1);
            lua_rawset(L, -3);
        }
        return;
    case JSON_ARRAY:
        lua_createtable(L, (int)json_array_size(value), 0);
        luaL_setmetatable(L, ARRAY_TYPE);
        json_array_foreach(value, i, part) {
            push_json(L, part, depth + 1);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        return;
    case JSON_STRING: lua_pushlstring(L, json_string_value(value), json_string_length(value)); return;
    case JSON_INTEGER: lua_pushinteger(L, json_integer_value(value)); return;
    case JSON_REAL: lua_pushnumber(L, json_real_value(value)); return;
    case JSON_TRUE: lua_pushboolean(L, true); return;
    case JSON_FALSE: lua_pushboolean(L, false); return;
    case JSON_NULL: lua_pushlightuserdata(L, NULL); return;
    }
}

/* decode(text) -> value, or nil and what is wrong. null is json.null. */
static int json_decode(lua_State *L) {
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    json_t **box = hold(L);
    json_error_t error;
    *box = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!*box) {
        lua_pushnil(L);
        lua_pushfstring(L, "json: %s (line %d, column %d)", error.text, error.line, error.column);
        return 2;
    }
    push_json(L, *box, 0);
    json_decref(*box);
    *box = NULL;
    return 1;
}

/* Never raises: NULL and *why. */
static json_t *json_of(lua_State *L, int at, unsigned depth, const char **why);

static json_t *array_of(lua_State *L, int at, unsigned depth, const char **why) {
    json_t *array = json_array();
    for (size_t i = 1, size = lua_rawlen(L, at); i <= size; i++) {
        lua_rawgeti(L, at, (lua_Integer)i);
        json_t *part = json_of(L, lua_gettop(L), depth + 1, why);
        lua_pop(L, 1);
        if (!part || json_array_append_new(array, part)) return json_decref(array), NULL;
    }
    return array;
}

static json_t *object_of(lua_State *L, int at, unsigned depth, const char **why) {
    json_t *object = json_object();
    for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1)) {
        json_t *part = NULL;
        if (lua_type(L, -2) == LUA_TSTRING) {
            part = json_of(L, lua_gettop(L), depth + 1, why);
        } else {
            *why = "a table has other keys than texts, and is no list";
        }
        if (part && json_object_set_new(object, lua_tostring(L, -2), part) == 0) continue;
        lua_pop(L, 2);
        return json_decref(object), NULL;
    }
    return object;
}

static bool is_array(lua_State *L, int at) {
    bool marked = false;
    if (lua_getmetatable(L, at)) {
        luaL_getmetatable(L, ARRAY_TYPE);
        marked = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
    }
    return marked || lua_rawlen(L, at) > 0;
}

static json_t *json_of(lua_State *L, int at, unsigned depth, const char **why) {
    size_t size;
    *why = "a text is not UTF-8 (base64 it), or memory is short";
    if (depth > DEPTH_MAX || !lua_checkstack(L, 6)) {
        *why = "nested too deep";
        return NULL;
    }
    switch (lua_type(L, at)) {
    case LUA_TNIL: return json_null();
    case LUA_TBOOLEAN: return json_boolean(lua_toboolean(L, at));
    case LUA_TNUMBER:
        if (lua_isinteger(L, at)) return json_integer(lua_tointeger(L, at));
        *why = "a number is not finite";
        return isfinite(lua_tonumber(L, at)) ? json_real(lua_tonumber(L, at)) : NULL;
    case LUA_TSTRING: {
        const char *text = lua_tolstring(L, at, &size);
        return json_stringn(text, size);
    }
    case LUA_TTABLE: return is_array(L, at) ? array_of(L, at, depth, why) : object_of(L, at, depth, why);
    case LUA_TLIGHTUSERDATA:
        if (!lua_touserdata(L, at)) return json_null();
        break;
    default: break;
    }
    *why = "only nil, booleans, numbers, texts, tables and json.null have a JSON form";
    return NULL;
}

/* encode(value) -> text */
static int json_encode(lua_State *L) {
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    json_t **box = hold(L);
    const char *why = NULL;
    *box = json_of(L, 1, 0, &why);
    if (!*box) return luaL_error(L, "json.encode: %s", why);
    size_t flags = JSON_COMPACT | JSON_ENCODE_ANY, size = json_dumpb(*box, NULL, 0, flags);
    char *text = lua_newuserdatauv(L, size + 1, 0);
    size = json_dumpb(*box, text, size, flags);
    json_decref(*box);
    *box = NULL;
    lua_pushlstring(L, text, size);
    return 1;
}

/* array(table or nil) -> the same table, encoded as a list even when it is empty */
static int json_array_mark(lua_State *L) {
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_setmetatable(L, ARRAY_TYPE);
    return 1;
}

int json_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"decode", json_decode}, {"encode", json_encode}, {"array", json_array_mark}, {NULL, NULL}};
    static const luaL_Reg held[] = {{"__gc", let_go}, {NULL, NULL}};
    luaL_newmetatable(L, HELD_TYPE);
    luaL_setfuncs(L, held, 0);
    luaL_newmetatable(L, ARRAY_TYPE);
    lua_pop(L, 2);
    luaL_newlib(L, functions);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    return 1;
}

/* --- base64 (RFC 4648, with padding) ------------------------------------------------------------------------------ */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int base64_encode(lua_State *L) {
    size_t size;
    const uint8_t *in = (const uint8_t *)luaL_checklstring(L, 1, &size);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t bits = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) | (left > 2 ? in[i + 2] : 0u);
        luaL_addchar(&b, alphabet[bits >> 18]);
        luaL_addchar(&b, alphabet[bits >> 12 & 63]);
        luaL_addchar(&b, left > 1 ? alphabet[bits >> 6 & 63] : '=');
        luaL_addchar(&b, left > 2 ? alphabet[bits & 63] : '=');
    }
    luaL_pushresult(&b);
    return 1;
}

/* decode(text) -> bytes, or nil and what is wrong */
static int base64_decode(lua_State *L) {
    size_t size;
    const char *in = luaL_checklstring(L, 1, &size);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    bool wrong = size % 4 != 0;
    if (size && !wrong) {
        size_t padding = in[size - 1] != '=' ? 0 : in[size - 2] != '=' ? 1 : 2;
        for (size_t i = 0; i < size && !wrong; i += 4) {
            size_t digits = i + 4 == size ? 4 - padding : 4;
            uint32_t bits = 0;
            for (size_t j = 0; j < 4; j++) {
                const char *at = j < digits ? memchr(alphabet, in[i + j], sizeof alphabet - 1) : alphabet;
                wrong = wrong || !at;
                bits = bits << 6 | (at ? (uint32_t)(at - alphabet) : 0);
            }
            for (size_t j = 0; j + 1 < digits; j++) luaL_addchar(&b, (char)(bits >> (16 - 8 * j) & 255));
        }
    }
    luaL_pushresult(&b);
    if (!wrong) return 1;
    lua_pushnil(L);
    lua_pushliteral(L, "base64: not a multiple of four characters of its alphabet");
    return 2;
}

int base64_open(lua_State *L) {
    static const luaL_Reg functions[] = {{"encode", base64_encode}, {"decode", base64_decode}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
