/* States of a model as texts of bytes, and back: equal states have equal texts, and a text makes a fresh value each
 * time, so a step may change what it is given. A state is plain data: nil, booleans, numbers, strings, and tables of
 * them without metatables. A table whose keys are 1 to n is written as a list; else its pairs stand in order of their
 * keys' bytes. 1 and 1.0 are two states, for what is computed from them differs. */
#include "harness/script/internal.h"

#include <stdlib.h>

#define STATE_DEPTH_MAX 64
#define BYTES_PER_INSTRUCTION 16 /* what writing costs, in the currency of the budget */

enum tag {
    TAG_NIL = 'n',
    TAG_FALSE = 'f',
    TAG_TRUE = 't',
    TAG_INTEGER = 'i',
    TAG_FLOAT = 'd',
    TAG_STRING = 's',
    TAG_LIST = 'l',
    TAG_MAP = 'm'
};

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void put_tag(struct buffer *out, enum tag tag) {
    uint8_t byte = (uint8_t)tag;
    buffer_append(out, &byte, 1);
}

static void put_count(struct buffer *out, size_t count) {
    uint32_t word = (uint32_t)count;
    buffer_append(out, &word, sizeof word);
}

static void write_value(lua_State *L, int at, struct buffer *out, const char *what, int depth);

static void write_number(lua_State *L, int at, struct buffer *out, const char *what) {
    if (lua_isinteger(L, at)) {
        lua_Integer integer = lua_tointeger(L, at);
        put_tag(out, TAG_INTEGER);
        buffer_append(out, &integer, sizeof integer);
        return;
    }
    lua_Number number = lua_tonumber(L, at);
    if (number != number) script_fail_at(L, 0, "%s holds a number that is none (0/0)", what);
    put_tag(out, TAG_FLOAT);
    buffer_append(out, &number, sizeof number);
}

/* How many elements, if the keys are just 1 to n; else 0, with the number of pairs in *pairs. */
static size_t list_length(lua_State *L, int at, size_t *pairs) {
    size_t count = lua_rawlen(L, at);
    *pairs = 0;
    for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1)) (*pairs)++;
    if (count != *pairs) return 0;
    for (size_t i = 1; i <= count; i++) {
        bool missing = lua_rawgeti(L, at, (lua_Integer)i) == LUA_TNIL;
        lua_pop(L, 1);
        if (missing) return 0;
    }
    return count;
}

struct pair { /* offsets into the buffer */
    size_t begin, value, end;
};

static int by_key(const void *a, const void *b, void *data) {
    const struct pair *x = a, *y = b;
    size_t x_size = x->value - x->begin, y_size = y->value - y->begin;
    int order = memcmp((uint8_t *)data + x->begin, (uint8_t *)data + y->begin, x_size < y_size ? x_size : y_size);
    return order ? order : x_size < y_size ? -1 : x_size > y_size;
}

static void write_map(lua_State *L, int at, size_t count, struct buffer *out, const char *what, int depth) {
    put_tag(out, TAG_MAP);
    put_count(out, count);
    struct pair *pairs = lua_newuserdatauv(L, (count + 1) * sizeof *pairs, 0);
    size_t i = 0, from = out->size;
    for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1), i++) {
        int type = lua_type(L, -2);
        if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TBOOLEAN) {
            script_fail_at(L, 0, "%s has a %s as a key; keys are strings, numbers and booleans", what,
                           luaL_typename(L, -2));
        }
        pairs[i].begin = out->size;
        write_value(L, lua_gettop(L) - 1, out, what, depth + 1);
        pairs[i].value = out->size;
        write_value(L, lua_gettop(L), out, what, depth + 1);
        pairs[i].end = out->size;
    }
    qsort_r(pairs, count, sizeof *pairs, by_key, out->data);
    size_t size = out->size - from;
    uint8_t *sorted = lua_newuserdatauv(L, size + 1, 0), *end = sorted;
    for (i = 0; i < count; i++) {
        memcpy(end, out->data + pairs[i].begin, pairs[i].end - pairs[i].begin);
        end += pairs[i].end - pairs[i].begin;
    }
    memcpy(out->data + from, sorted, size);
    lua_pop(L, 2);
}

/* Of what is the metatable at the top? Pops it. */
static bool is_operation(lua_State *L) {
    luaL_getmetatable(L, MODEL_OPERATION);
    luaL_getmetatable(L, MODEL_OPERATION_OF_PROCESS);
    bool is = lua_rawequal(L, -3, -2) || lua_rawequal(L, -3, -1);
    lua_pop(L, 3);
    return is;
}

static void write_table(lua_State *L, int at, struct buffer *out, const char *what, int depth) {
    size_t pairs;
    if (depth == STATE_DEPTH_MAX) {
        script_fail_at(L, 0, "%s: tables in tables are more than %d deep; does one hold itself?", what,
                       STATE_DEPTH_MAX);
    }
    luaL_checkstack(L, 6, NULL);
    if (lua_getmetatable(L, at) && !is_operation(L)) {
        script_fail_at(L, 0, "%s is plain data, but a table in it has a metatable", what);
    }
    size_t count = list_length(L, at, &pairs);
    script_charge(L, pairs);
    if (count == 0 && pairs > 0) {
        write_map(L, at, pairs, out, what, depth);
        return;
    }
    put_tag(out, TAG_LIST);
    put_count(out, count);
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, at, (lua_Integer)i);
        write_value(L, lua_gettop(L), out, what, depth + 1);
        lua_pop(L, 1);
    }
}

static void write_value(lua_State *L, int at, struct buffer *out, const char *what, int depth) {
    size_t before = out->size;
    switch (lua_type(L, at)) {
    case LUA_TNIL: put_tag(out, TAG_NIL); return;
    case LUA_TBOOLEAN: put_tag(out, lua_toboolean(L, at) ? TAG_TRUE : TAG_FALSE); return;
    case LUA_TNUMBER: write_number(L, at, out, what); return;
    case LUA_TSTRING: {
        size_t size;
        const char *text = lua_tolstring(L, at, &size);
        put_tag(out, TAG_STRING);
        put_count(out, size);
        buffer_append(out, text, size);
        break;
    }
    case LUA_TTABLE: write_table(L, at, out, what, depth); break;
    default: script_fail_at(L, 0, "%s is plain data, but holds a %s", what, luaL_typename(L, at));
    }
    if (out->size > STATE_BYTES_MAX) script_fail_at(L, 0, "%s has more than %zu bytes", what, STATE_BYTES_MAX);
    script_charge(L, (out->size - before) / BYTES_PER_INSTRUCTION);
}

void state_write(lua_State *L, int at, struct buffer *out, const char *what) {
    out->size = 0;
    write_value(L, lua_absindex(L, at), out, what, 0);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static void push_value(lua_State *L, struct reader *r) {
    luaL_checkstack(L, 4, NULL);
    enum tag tag = (enum tag)read_u8(r);
    switch (tag) {
    case TAG_NIL: lua_pushnil(L); return;
    case TAG_FALSE:
    case TAG_TRUE: lua_pushboolean(L, tag == TAG_TRUE); return;
    case TAG_INTEGER: lua_pushinteger(L, (lua_Integer)read_u64(r)); return;
    case TAG_FLOAT: {
        uint64_t word = read_u64(r);
        lua_Number number;
        memcpy(&number, &word, sizeof number);
        lua_pushnumber(L, number);
        return;
    }
    case TAG_STRING: {
        struct bytes text = read_bytes(r);
        lua_pushlstring(L, (const char *)text.data, text.size);
        return;
    }
    case TAG_LIST: {
        uint32_t count = read_u32(r);
        lua_createtable(L, (int)count, 0);
        for (uint32_t i = 1; i <= count; i++) {
            push_value(L, r);
            lua_rawseti(L, -2, i);
        }
        return;
    }
    case TAG_MAP: break;
    }
    uint32_t count = read_u32(r);
    lua_createtable(L, 0, (int)count);
    for (uint32_t i = 0; i < count; i++) {
        push_value(L, r);
        push_value(L, r);
        lua_rawset(L, -3);
    }
}

void state_push(lua_State *L, struct bytes state) {
    struct reader r = {.data = state.data, .size = state.size};
    push_value(L, &r);
    assert(!r.failed && r.offset == r.size);
}

/* --- printing ----------------------------------------------------------------------------------------------------- */

static void print_string(struct bytes text, struct buffer *out) {
    buffer_printf(out, "\"");
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '"' || c == '\\') {
            buffer_printf(out, "\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            buffer_printf(out, "\\%u", c);
        } else {
            buffer_append(out, &c, 1);
        }
    }
    buffer_printf(out, "\"");
}

static bool is_name(struct bytes text) {
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(i && c >= '0' && c <= '9')) return false;
    }
    return text.size > 0;
}

static void print_from(struct reader *r, bool as_key, struct buffer *out) {
    enum tag tag = (enum tag)read_u8(r);
    if (as_key && tag != TAG_STRING) buffer_printf(out, "[");
    switch (tag) {
    case TAG_NIL: buffer_printf(out, "nil"); break;
    case TAG_FALSE: buffer_printf(out, "false"); break;
    case TAG_TRUE: buffer_printf(out, "true"); break;
    case TAG_INTEGER: buffer_printf(out, "%lld", (long long)read_u64(r)); break;
    case TAG_FLOAT: {
        uint64_t word = read_u64(r);
        double number;
        memcpy(&number, &word, sizeof number);
        buffer_printf(out, "%.14g", number);
        break;
    }
    case TAG_STRING: {
        struct bytes text = read_bytes(r);
        if (as_key && is_name(text)) {
            buffer_append(out, text.data, text.size);
        } else {
            buffer_printf(out, as_key ? "[" : "");
            print_string(text, out);
            buffer_printf(out, as_key ? "]" : "");
        }
        return;
    }
    case TAG_LIST:
    case TAG_MAP: {
        uint32_t count = read_u32(r);
        buffer_printf(out, "{");
        for (uint32_t i = 0; i < count; i++) {
            if (i) buffer_printf(out, ", ");
            if (tag == TAG_MAP) {
                print_from(r, true, out);
                buffer_printf(out, " = ");
            }
            print_from(r, false, out);
        }
        buffer_printf(out, "}");
        break;
    }
    }
    if (as_key) buffer_printf(out, "]");
}

#define STATE_PRINT_BYTES_MAX 200u

void state_print(struct bytes state, struct buffer *out) {
    struct reader r = {.data = state.data, .size = state.size};
    struct buffer text = {0};
    print_from(&r, false, &text);
    bool cut = text.size > STATE_PRINT_BYTES_MAX;
    size_t size = cut ? STATE_PRINT_BYTES_MAX : text.size;
    while (cut && size && (text.data[size] & 0xc0) == 0x80) size--; /* not within a character of UTF-8 */
    buffer_append(out, text.data, size);
    if (cut) buffer_printf(out, "...");
    buffer_free(&text);
}
