/* Reading a Lua table field by field: each field is asked for by name, type and range, and at the end what was not
 * asked for is an error. Messages name the field, and the line: in a constructor that of the call, in the returned
 * table that of the field itself, found in the source text. */
#include "harness/script/internal.h"

#include <stdio.h>
#include <stdlib.h>

struct fields fields_of(lua_State *L, int at, const char *what) {
    return (struct fields){.L = L, .table = lua_absindex(L, at), .what = what};
}

struct fields fields_within(const struct fields *f, const char *outer, const char *what) {
    return (struct fields){
        .L = f->L, .table = lua_gettop(f->L), .what = what, .outer = f->top && !f->outer ? outer : NULL, .top = f->top};
}

_Noreturn void fields_fail(const struct fields *f, const char *field, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!f->top) script_fail(f->L, "%s: %s", f->what, text);
    uint32_t line = source_field_line(script_of(f->L)->text, f->outer, field);
    if (!line && f->outer) line = source_field_line(script_of(f->L)->text, NULL, f->outer);
    script_fail_at(f->L, line, "%s: %s", f->what, text);
}

/* Pushes the field's value and notes its name; false (and nothing pushed) when it is nil. */
bool fields_any(struct fields *f, const char *field) {
    assert(f->known_count < sizeof f->known / sizeof *f->known);
    f->known[f->known_count++] = field;
    lua_pushstring(f->L, field);
    if (lua_rawget(f->L, f->table) != LUA_TNIL) return true;
    lua_pop(f->L, 1);
    return false;
}

bool fields_integer(struct fields *f, const char *field, int64_t low, int64_t high, int64_t *out) {
    if (!fields_any(f, field)) return false;
    int is_integer;
    lua_Integer value = lua_type(f->L, -1) == LUA_TNUMBER ? lua_tointegerx(f->L, -1, &is_integer) : (is_integer = 0);
    if (!is_integer) fields_fail(f, field, "%s must be a whole number, not %s", field, text_of(f->L, -1));
    if (value < low || value > high) {
        fields_fail(f, field, "%s = %lld is out of range; it may be from %lld to %lld", field, (long long)value,
                    (long long)low, (long long)high);
    }
    *out = value;
    lua_pop(f->L, 1);
    return true;
}

bool fields_number(struct fields *f, const char *field, double low, double high, double *out) {
    if (!fields_any(f, field)) return false;
    if (lua_type(f->L, -1) != LUA_TNUMBER) {
        fields_fail(f, field, "%s must be a number, not a %s", field, luaL_typename(f->L, -1));
    }
    double value = lua_tonumber(f->L, -1);
    if (!(value >= low && value <= high)) {
        fields_fail(f, field, "%s = %s is out of range; it may be from %.14g to %.14g", field, text_of(f->L, -1), low,
                    high);
    }
    *out = value;
    lua_pop(f->L, 1);
    return true;
}

bool fields_seconds(struct fields *f, const char *field, double low, double high, uint64_t *out_ns) {
    double seconds;
    int64_t ns;
    if (!fields_number(f, field, low, high, &seconds)) return false;
    if (!seconds_to_ns(seconds, 0, &ns)) fields_fail(f, field, "%s is out of range", field);
    *out_ns = (uint64_t)ns;
    return true;
}

#define LIST_SECONDS_MAX 3600.0

uint64_t fields_list_seconds(const struct fields *f, const char *field, int at, lua_Integer i) {
    int64_t ns = 0;
    lua_rawgeti(f->L, at, i);
    if (lua_type(f->L, -1) != LUA_TNUMBER || !seconds_to_ns(lua_tonumber(f->L, -1), 0, &ns) ||
        ns > (int64_t)(LIST_SECONDS_MAX * 1e9)) {
        fields_fail(f, field, "%s: element %lld must be a number of seconds, not %s", field, (long long)i,
                    text_of(f->L, -1));
    }
    lua_pop(f->L, 1);
    return (uint64_t)ns;
}

bool fields_boolean(struct fields *f, const char *field, bool *out) {
    if (!fields_any(f, field)) return false;
    if (!lua_isboolean(f->L, -1)) {
        fields_fail(f, field, "%s must be true or false, not a %s", field, luaL_typename(f->L, -1));
    }
    *out = lua_toboolean(f->L, -1);
    lua_pop(f->L, 1);
    return true;
}

bool fields_string(struct fields *f, const char *field, const char **out) {
    if (!fields_any(f, field)) return false;
    if (lua_type(f->L, -1) != LUA_TSTRING) {
        fields_fail(f, field, "%s must be a text, not a %s", field, luaL_typename(f->L, -1));
    }
    size_t size;
    const char *text = lua_tolstring(f->L, -1, &size);
    *out = arena_copy(&script_of(f->L)->arena, text, size + 1);
    lua_pop(f->L, 1);
    return true;
}

bool fields_choice(struct fields *f, const char *field, const char *const *options, size_t count, size_t *out) {
    const char *text;
    if (!fields_string(f, field, &text)) return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, options[i]) == 0) {
            *out = i;
            return true;
        }
    }
    char list[200] = "";
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s\"%s\"", i == 0 ? "" : i + 1 == count ? " or " : ", ", options[i]);
    }
    fields_fail(f, field, "%s must be %s, not \"%s\"", field, list, text);
}

bool fields_table(struct fields *f, const char *field) {
    if (!fields_any(f, field)) return false;
    if (!lua_istable(f->L, -1)) {
        fields_fail(f, field, "%s must be a table, not a %s", field, luaL_typename(f->L, -1));
    }
    return true;
}

void fields_end(struct fields *f, bool list_allowed) {
    lua_State *L = f->L;
    lua_Integer count = order_keys(L, f->table);
    for (lua_Integer i = 1; i <= count; i++, lua_pop(L, 1)) {
        lua_rawgeti(L, -1, i);
        if (lua_type(L, -1) != LUA_TSTRING) {
            if (!list_allowed) fields_fail(f, "", "takes named fields only; [%s] has no name", text_of(L, -1));
            continue;
        }
        const char *field = lua_tostring(L, -1);
        bool known = false;
        for (size_t k = 0; k < f->known_count; k++) known = known || strcmp(f->known[k], field) == 0;
        if (known) continue;
        const char *nearest = script_nearest(field, f->known, f->known_count);
        if (nearest) fields_fail(f, field, "unknown field '%s'; did you mean '%s'?", field, nearest);
        char list[300] = "";
        for (size_t k = 0; k < f->known_count; k++) {
            size_t used = strlen(list);
            snprintf(list + used, sizeof list - used, "%s%s", k ? ", " : "", f->known[k]);
        }
        fields_fail(f, field, "unknown field '%s'; there are: %s", field, list);
    }
    lua_pop(L, 1);
}
