/* Tables in one order on every machine. Lua's own next follows hash values that are seeded from an address and the
 * clock, and its sort picks pivots the same way; here keys come sorted (integers, other numbers, strings bytewise,
 * false, true), and sort is a stable merge sort. */
#include "harness/script/internal.h"

#include <lualib.h>
#include <stdlib.h>

/* --- keys in order --- */

struct key {
    uint8_t rank; /* 0 integer, 1 float, 2 string, 3 boolean */
    size_t size;  /* of a string */
    union {
        int64_t integer; /* and boolean */
        double number;
        const char *string; /* alive while its table holds it, or the list that is made of it */
    } as;
};

static bool key_read(lua_State *L, int at, struct key *out) {
    switch (lua_type(L, at)) {
    case LUA_TNUMBER:
        out->rank = lua_isinteger(L, at) ? 0 : 1;
        if (out->rank == 0) {
            out->as.integer = lua_tointeger(L, at);
        } else {
            out->as.number = lua_tonumber(L, at);
        }
        return true;
    case LUA_TSTRING:
        out->rank = 2;
        out->as.string = lua_tolstring(L, at, &out->size);
        return true;
    case LUA_TBOOLEAN:
        out->rank = 3;
        out->as.integer = lua_toboolean(L, at);
        return true;
    default: return false;
    }
}

static int key_compare(const void *left, const void *right) {
    const struct key *a = left, *b = right;
    if (a->rank != b->rank) return a->rank < b->rank ? -1 : 1;
    if (a->rank == 1) return (a->as.number > b->as.number) - (a->as.number < b->as.number);
    if (a->rank != 2) return (a->as.integer > b->as.integer) - (a->as.integer < b->as.integer);
    size_t least = a->size < b->size ? a->size : b->size;
    int order = least ? memcmp(a->as.string, b->as.string, least) : 0;
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static void key_push(lua_State *L, const struct key *k) {
    switch (k->rank) {
    case 0: lua_pushinteger(L, k->as.integer); break;
    case 1: lua_pushnumber(L, k->as.number); break;
    case 2: lua_pushlstring(L, k->as.string, k->size); break;
    default: lua_pushboolean(L, (int)k->as.integer);
    }
}

_Noreturn static void fail_unordered(lua_State *L, int at) {
    script_fail(L, "a %s is a key of this table: such keys have no order, so the table cannot be walked through",
                luaL_typename(L, at));
}

lua_Integer order_keys(lua_State *L, int at) {
    at = lua_absindex(L, at);
    lua_Integer count = 0;
    for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1)) count++;
    script_charge(L, (uint64_t)count * 8);
    struct key *keys = lua_newuserdatauv(L, (size_t)count * sizeof *keys + 1, 0);
    lua_Integer i = 0;
    bool sorted = true;
    for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1), i++) {
        if (!key_read(L, -2, &keys[i])) fail_unordered(L, -2);
        sorted = sorted && (i == 0 || key_compare(&keys[i - 1], &keys[i]) < 0);
    }
    if (!sorted) qsort(keys, (size_t)count, sizeof *keys, key_compare);
    lua_createtable(L, (int)count, 0);
    for (i = 0; i < count; i++) {
        key_push(L, &keys[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_remove(L, -2);
    return count;
}

/* Upvalues: the sorted keys, the table, the place. A key that was cleared meanwhile is skipped, as by Lua's own. */
static int pairs_step(lua_State *L) {
    lua_Integer at = lua_tointeger(L, lua_upvalueindex(3));
    for (;;) {
        if (lua_rawgeti(L, lua_upvalueindex(1), ++at) == LUA_TNIL) return 1;
        lua_pushvalue(L, -1);
        if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL) break;
        lua_pop(L, 2);
    }
    lua_pushinteger(L, at);
    lua_replace(L, lua_upvalueindex(3));
    return 2;
}

static int ordered_pairs(lua_State *L) {
    luaL_checkany(L, 1);
    if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
        lua_pushvalue(L, 1);
        lua_call(L, 1, 3);
        return 3;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    order_keys(L, 1);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, pairs_step, 3);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

/* The smallest key above the given one: a walk through the whole table at every call. */
static int ordered_next(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    struct key after, best = {0}, k;
    bool first = lua_isnil(L, 2), found = false;
    if (!first && !key_read(L, 2, &after)) fail_unordered(L, 2);
    uint64_t count = 0;
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1), count++) {
        if (!key_read(L, -2, &k)) fail_unordered(L, -2);
        if (!first && key_compare(&k, &after) <= 0) continue;
        if (!found || key_compare(&k, &best) < 0) best = k;
        found = true;
    }
    script_charge(L, count);
    if (!found) {
        lua_pushnil(L);
        return 1;
    }
    key_push(L, &best);
    lua_pushvalue(L, -1);
    lua_rawget(L, 1);
    return 2;
}

/* --- sort --- */

/* Whether the element at stack index -1 must come before that at -2. Pops both. */
static bool comes_before(lua_State *L, bool has_function) {
    bool less;
    if (has_function) {
        lua_pushvalue(L, 2);
        lua_insert(L, -3);
        lua_insert(L, -2);
        lua_call(L, 2, 1);
        less = lua_toboolean(L, -1);
        lua_pop(L, 1);
    } else {
        less = lua_compare(L, -1, -2, LUA_OPLT);
        lua_pop(L, 2);
    }
    return less;
}

/* Merges the runs [low, middle) and [middle, high) of the list at `from` into the list at `to`; 1-based. */
static void merge(lua_State *L, int from, int to, lua_Integer low, lua_Integer middle, lua_Integer high,
                  bool has_function) {
    lua_Integer left = low, right = middle;
    for (lua_Integer at = low; at < high; at++) {
        bool take_right = left >= middle;
        if (!take_right && right < high) {
            lua_rawgeti(L, from, left);
            lua_rawgeti(L, from, right);
            take_right = comes_before(L, has_function);
        }
        lua_rawgeti(L, from, take_right ? right++ : left++);
        lua_rawseti(L, to, at);
    }
}

static lua_Integer least_of(lua_Integer a, lua_Integer b) {
    return a < b ? a : b;
}

/* Works on two lists aside, so that a comparison that fails leaves the table as it was. */
static int stable_sort(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer count = luaL_len(L, 1);
    if (count < 2) return 0;
    if (count > SCRIPT_LIST_MAX) script_fail(L, "table.sort: more than %d elements", SCRIPT_LIST_MAX);
    bool has_function = !lua_isnoneornil(L, 2);
    if (has_function) luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    script_charge(L, (uint64_t)count * 16);
    lua_createtable(L, (int)count, 0);
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_geti(L, 1, i);
        lua_rawseti(L, 3, i);
    }
    int from = 3, to = 4;
    for (lua_Integer width = 1; width < count; width *= 2) {
        for (lua_Integer low = 1; low <= count; low += 2 * width) {
            merge(L, from, to, low, least_of(low + width, count + 1), least_of(low + 2 * width, count + 1),
                  has_function);
        }
        from = 7 - from;
        to = 7 - to;
    }
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, from, i);
        lua_seti(L, 1, i);
    }
    return 0;
}

/* --- the rest of table: Lua's own, for lists of bounded length --- */

/* Calls the function in upvalue 1 after charging for the list's length; a length beyond the limit is refused. */
static int bounded_list(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer count = luaL_len(L, 1);
    if (count > SCRIPT_LIST_MAX) script_fail(L, "a list of more than %d elements", SCRIPT_LIST_MAX);
    script_charge(L, (uint64_t)(count < 0 ? 0 : count) / 8);
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* For concat and unpack (a range in arguments first and first + 1) and move. */
static int bounded_range(lua_State *L) {
    lua_Integer first = lua_tointeger(L, lua_upvalueindex(2));
    lua_Integer low = luaL_optinteger(L, (int)first, 1);
    lua_Integer high = lua_isnoneornil(L, (int)first + 1) ? luaL_len(L, 1) : luaL_checkinteger(L, (int)first + 1);
    if (high >= low) {
        uint64_t count = (uint64_t)high - (uint64_t)low;
        if (count >= SCRIPT_LIST_MAX) script_fail(L, "a range of more than %d elements", SCRIPT_LIST_MAX);
        script_charge(L, count);
    }
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

void order_open(lua_State *L) {
    static const luaL_Reg base[] = {{"pairs", ordered_pairs}, {"next", ordered_next}, {NULL, NULL}};
    static const char *const lists[] = {"insert", "remove"};
    static const struct {
        const char *name;
        int first;
    } ranges[] = {{"concat", 3}, {"unpack", 2}, {"move", 2}};
    script_functions(L, base);
    lua_pushcfunction(L, luaopen_table);
    lua_call(L, 0, 1);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        lua_getfield(L, -1, lists[i]);
        lua_pushcclosure(L, bounded_list, 1);
        lua_setfield(L, -2, lists[i]);
    }
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        lua_getfield(L, -1, ranges[i].name);
        lua_pushinteger(L, ranges[i].first);
        lua_pushcclosure(L, bounded_range, 2);
        lua_setfield(L, -2, ranges[i].name);
    }
    lua_pushcfunction(L, stable_sort);
    lua_setfield(L, -2, "sort");
    lua_setfield(L, -2, "table");
}
