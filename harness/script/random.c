/* Chance and numbers: draws from the seeded stream of whoever runs (so that side-by-side nemeses do not shift each
 * other), seconds to nanoseconds exactly rounded, and the part of math that gives the same results everywhere. No
 * function of libm whose last bit differs between processors is offered; floor, sqrt and fmod are exact by IEEE 754. */
#include "harness/script/internal.h"

#include <lualib.h>
#include <math.h>

__extension__ typedef unsigned __int128 u128;

/* --- seconds --- */

bool seconds_to_ns(double seconds, double low, int64_t *ns) {
    if (!(seconds >= low && seconds <= SECONDS_MAX)) return false;
    int exponent;
    double fraction = frexp(fabs(seconds), &exponent); /* exact: seconds is mantissa * 2^(exponent - 53) */
    u128 product = (u128)(uint64_t)ldexp(fraction, 53) * NS_PER_S;
    int shift = 53 - exponent; /* at least 23: seconds are below 2^30 */
    uint64_t result = 0;
    if (shift < 96) {
        u128 half = (u128)1 << (shift - 1), rest = product & ((half << 1) - 1);
        result = (uint64_t)(product >> shift);
        if (rest > half || (rest == half && (result & 1))) result++;
    }
    *ns = seconds < 0 ? -(int64_t)result : (int64_t)result;
    return true;
}

double ns_to_seconds(uint64_t ns) {
    return (double)ns / 1e9;
}

int64_t random_seconds_argument(lua_State *L, int at, const char *what, double low) {
    int64_t ns;
    if (lua_type(L, at) != LUA_TNUMBER) {
        script_fail(L, "%s: a number of seconds is needed, not a %s", what, luaL_typename(L, at));
    }
    if (!seconds_to_ns(lua_tonumber(L, at), low, &ns)) {
        script_fail(L, "%s: %s seconds are out of range", what, text_of(L, at));
    }
    return ns;
}

/* --- draws --- */

static struct prng *stream(lua_State *L) {
    return script_of(L)->random;
}

/* Uniform in [0, 1), in steps of 2^-53. */
static double draw_unit(lua_State *L) {
    return (double)(prng_next(stream(L)) >> 11) * 0x1p-53;
}

static int draw_exponential(lua_State *L) {
    int64_t mean = random_seconds_argument(L, 1, "exponential", 0);
    lua_pushnumber(L, ns_to_seconds(prng_exponential(stream(L), (uint64_t)mean)));
    return 1;
}

static int draw_uniform(lua_State *L) {
    int64_t low = random_seconds_argument(L, 1, "uniform", -SECONDS_MAX);
    int64_t high = random_seconds_argument(L, 2, "uniform", -SECONDS_MAX);
    if (high < low) script_fail(L, "uniform: the low end %s is above the high end %s", text_of(L, 1), text_of(L, 2));
    int64_t ns = low + (int64_t)prng_between(stream(L), 0, (uint64_t)(high - low));
    lua_pushnumber(L, (double)ns / 1e9);
    return 1;
}

static int draw_chance(lua_State *L) {
    double p = lua_type(L, 1) == LUA_TNUMBER ? lua_tonumber(L, 1) : -1;
    if (!(p >= 0 && p <= 1)) script_fail(L, "chance: a probability from 0 to 1 is needed, not %s", text_of(L, 1));
    lua_pushboolean(L, draw_unit(L) < p);
    return 1;
}

static int draw_random(lua_State *L) {
    int count = lua_gettop(L);
    if (count == 0) {
        lua_pushnumber(L, draw_unit(L));
        return 1;
    }
    lua_Integer low = count == 1 ? 1 : luaL_checkinteger(L, 1), high = luaL_checkinteger(L, count == 1 ? 1 : 2);
    if (low > high) script_fail(L, "random: the interval from %lld to %lld is empty", low, high);
    uint64_t offset = prng_between(stream(L), 0, (uint64_t)high - (uint64_t)low);
    lua_pushinteger(L, (lua_Integer)((uint64_t)low + offset));
    return 1;
}

static int refuse_randomseed(lua_State *L) {
    script_fail(L, "math.randomseed is not there in a scenario: the run's seed decides every draw");
}

/* What Lua has and a scenario may not use; upvalue 1: its name. */
static int refuse_inexact(lua_State *L) {
    script_fail(L, "math.%s is not there in a scenario: its result differs between processors",
                lua_tostring(L, lua_upvalueindex(1)));
}

static lua_Integer list_argument(lua_State *L, const char *what, bool empty_allowed) {
    if (!lua_istable(L, 1)) script_fail(L, "%s: a list is needed, not a %s", what, luaL_typename(L, 1));
    lua_Integer count = luaL_len(L, 1);
    if (count > SCRIPT_LIST_MAX) script_fail(L, "%s: more than %d elements", what, SCRIPT_LIST_MAX);
    if (count <= 0 && !empty_allowed) script_fail(L, "%s: the list is empty", what);
    script_charge(L, (uint64_t)count * 4);
    return count;
}

static int draw_choose(lua_State *L) {
    lua_Integer count = list_argument(L, "choose", false);
    lua_geti(L, 1, 1 + (lua_Integer)prng_below(stream(L), (uint64_t)count));
    return 1;
}

/* Pushes a copy of the list in random order (Fisher and Yates). */
static void push_shuffled(lua_State *L, lua_Integer count) {
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_Integer other = 1 + (lua_Integer)prng_below(stream(L), (uint64_t)i);
        lua_rawgeti(L, -1, other);
        lua_rawseti(L, -2, i);
        lua_geti(L, 1, i);
        lua_rawseti(L, -2, other);
    }
}

static int draw_shuffle(lua_State *L) {
    push_shuffled(L, list_argument(L, "shuffle", true));
    return 1;
}

/* subset(list), subset(list, count), subset(list, low, high): in the list's order, so not a shuffle. */
static int draw_subset(lua_State *L) {
    lua_settop(L, 3);
    lua_Integer count = list_argument(L, "subset", false);
    lua_Integer low = luaL_optinteger(L, 2, 1);
    lua_Integer high = luaL_optinteger(L, 3, lua_isnil(L, 2) ? count : low);
    if (low < 0 || low > high || high > count) {
        script_fail(L, "subset: from %lld to %lld elements cannot be taken out of %lld", low, high, count);
    }
    lua_Integer left = low + (lua_Integer)prng_between(stream(L), 0, (uint64_t)(high - low)), taken = 0;
    lua_createtable(L, (int)left, 0);
    for (lua_Integer i = 1; i <= count && left > 0; i++) { /* selection sampling: Knuth, volume 2, algorithm S */
        if (prng_below(stream(L), (uint64_t)(count - i + 1)) >= (uint64_t)left) continue;
        lua_geti(L, 1, i);
        lua_rawseti(L, -2, ++taken);
        left--;
    }
    return 1;
}

void random_open(lua_State *L) {
    static const luaL_Reg draws[] = {
        {"exponential", draw_exponential}, {"uniform", draw_uniform}, {"chance", draw_chance}, {"random", draw_random},
        {"choose", draw_choose},           {"shuffle", draw_shuffle}, {"subset", draw_subset}, {NULL, NULL}};
    static const luaL_Reg replaced[] = {{"random", draw_random}, {"randomseed", refuse_randomseed}, {NULL, NULL}};
    static const char *const kept[] = {"abs",  "ceil",       "floor",     "fmod", "huge", "max",  "maxinteger", "min",
                                       "modf", "mininteger", "tointeger", "pi",   "sqrt", "type", "ult"};
    static const char *const inexact[] = {"acos", "asin", "atan", "cos", "deg", "exp", "log", "rad", "sin", "tan"};
    script_functions(L, draws);
    lua_pushcfunction(L, luaopen_math);
    lua_call(L, 0, 1);
    lua_createtable(L, 0, 20);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        lua_getfield(L, -2, kept[i]);
        lua_setfield(L, -2, kept[i]);
    }
    for (size_t i = 0; i < sizeof inexact / sizeof *inexact; i++) {
        lua_pushstring(L, inexact[i]);
        lua_pushcclosure(L, refuse_inexact, 1);
        lua_setfield(L, -2, inexact[i]);
    }
    script_functions(L, replaced);
    lua_setfield(L, -3, "math");
    lua_pop(L, 1);
}
