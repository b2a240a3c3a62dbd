/* Lua's patterns (reference manual, section 6.4.1) by a matcher that counts its steps against the budget: a pattern
 * with several repetitions takes time that grows with a power of the subject's length, and Lua's own cannot be
 * stopped. */
#include "harness/script/internal.h"

#include <ctype.h>
#include <lualib.h>

#define CAPTURES_MAX 32
#define DEPTH_MAX 200
#define NOWHERE SIZE_MAX
#define STEPS_PER_CHARGE 1024

enum { CAPTURE_OPEN = -1, CAPTURE_POSITION = -2 };

struct matcher {
    lua_State *L;
    const uint8_t *subject, *pattern;
    size_t subject_size, pattern_size;
    uint32_t steps;
    int depth, captures_count;
    struct {
        size_t start;
        ptrdiff_t size; /* or one of the above */
    } captures[CAPTURES_MAX];
};

static size_t match_here(struct matcher *m, size_t s, size_t p);

static void step(struct matcher *m) {
    if (++m->steps == STEPS_PER_CHARGE) {
        m->steps = 0;
        script_charge(m->L, STEPS_PER_CHARGE);
    }
}

/* The end of the single-character class that starts at p. */
static size_t class_end(struct matcher *m, size_t p) {
    uint8_t c = m->pattern[p++];
    if (c == '%') {
        if (p >= m->pattern_size) luaL_error(m->L, "malformed pattern (ends with '%%')");
        return p + 1;
    }
    if (c != '[') return p;
    if (p < m->pattern_size && m->pattern[p] == '^') p++;
    do { /* a ] that comes first stands for itself */
        if (p >= m->pattern_size) luaL_error(m->L, "malformed pattern (missing ']')");
        if (m->pattern[p++] == '%') p++;
    } while (p >= m->pattern_size || m->pattern[p] != ']');
    return p + 1;
}

static bool in_class(uint8_t c, uint8_t class) {
    bool is;
    switch (tolower(class)) {
    case 'a': is = isalpha(c); break;
    case 'c': is = iscntrl(c); break;
    case 'd': is = isdigit(c); break;
    case 'g': is = isgraph(c); break;
    case 'l': is = islower(c); break;
    case 'p': is = ispunct(c); break;
    case 's': is = isspace(c); break;
    case 'u': is = isupper(c); break;
    case 'w': is = isalnum(c); break;
    case 'x': is = isxdigit(c); break;
    default: return class == c;
    }
    return isupper(class) ? !is : is;
}

/* The set in brackets from p (its [) to end (past its ]). */
static bool in_set(struct matcher *m, uint8_t c, size_t p, size_t end) {
    size_t last = end - 1;
    bool found = true;
    if (m->pattern[++p] == '^') {
        found = false;
        p++;
    }
    for (; p < last; p++) {
        step(m);
        if (m->pattern[p] == '%' && p + 1 < last) {
            if (in_class(c, m->pattern[++p])) return found;
        } else if (p + 2 < last && m->pattern[p + 1] == '-') {
            if (m->pattern[p] <= c && c <= m->pattern[p + 2]) return found;
            p += 2;
        } else if (m->pattern[p] == c) {
            return found;
        }
    }
    return !found;
}

static bool single_matches(struct matcher *m, size_t s, size_t p, size_t end) {
    step(m);
    if (s >= m->subject_size) return false;
    uint8_t c = m->subject[s];
    switch (m->pattern[p]) {
    case '.': return true;
    case '%': return in_class(c, m->pattern[p + 1]);
    case '[': return in_set(m, c, p, end);
    default: return m->pattern[p] == c;
    }
}

static size_t match_balanced(struct matcher *m, size_t s, size_t p) {
    if (p + 1 >= m->pattern_size) luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
    if (s >= m->subject_size || m->subject[s] != m->pattern[p]) return NOWHERE;
    uint8_t open = m->pattern[p], close = m->pattern[p + 1];
    for (size_t depth = 1; ++s < m->subject_size;) {
        step(m);
        if (m->subject[s] == close) {
            if (--depth == 0) return s + 1;
        } else if (m->subject[s] == open) {
            depth++;
        }
    }
    return NOWHERE;
}

/* As many as there are, then fewer. */
static size_t match_longest(struct matcher *m, size_t s, size_t p, size_t end) {
    size_t count = 0;
    while (single_matches(m, s + count, p, end)) count++;
    for (;; count--) {
        size_t result = match_here(m, s + count, end + 1);
        if (result != NOWHERE || count == 0) return result;
    }
}

static size_t match_shortest(struct matcher *m, size_t s, size_t p, size_t end) {
    for (;; s++) {
        size_t result = match_here(m, s, end + 1);
        if (result != NOWHERE) return result;
        if (!single_matches(m, s, p, end)) return NOWHERE;
    }
}

static size_t match_capture_start(struct matcher *m, size_t s, size_t p, ptrdiff_t size) {
    if (m->captures_count >= CAPTURES_MAX) luaL_error(m->L, "too many captures");
    m->captures[m->captures_count].start = s;
    m->captures[m->captures_count].size = size;
    m->captures_count++;
    size_t result = match_here(m, s, p);
    if (result == NOWHERE) m->captures_count--;
    return result;
}

static size_t match_capture_end(struct matcher *m, size_t s, size_t p) {
    int i = m->captures_count - 1;
    while (i >= 0 && m->captures[i].size != CAPTURE_OPEN) i--;
    if (i < 0) luaL_error(m->L, "invalid pattern capture");
    m->captures[i].size = (ptrdiff_t)(s - m->captures[i].start);
    size_t result = match_here(m, s, p);
    if (result == NOWHERE) m->captures[i].size = CAPTURE_OPEN;
    return result;
}

/* The text of an earlier capture once more. */
static size_t match_reference(struct matcher *m, size_t s, uint8_t digit) {
    int i = digit - '1';
    if (i < 0 || i >= m->captures_count || m->captures[i].size < 0) {
        luaL_error(m->L, "invalid capture index %%%d in a pattern", i + 1);
    }
    size_t size = (size_t)m->captures[i].size;
    if (m->subject_size - s < size) return NOWHERE;
    for (size_t at = 0; at < size; at++) {
        step(m);
        if (m->subject[m->captures[i].start + at] != m->subject[s + at]) return NOWHERE;
    }
    return s + size;
}

/* %b, %f and %1: true when p stood at one of them. On success *s and *p are past it; *s is NOWHERE when it failed. */
static bool match_special(struct matcher *m, size_t *s, size_t *p) {
    uint8_t next = *p + 1 < m->pattern_size ? m->pattern[*p + 1] : 0;
    if (next == 'b') {
        *s = match_balanced(m, *s, *p + 2);
        *p += 4;
        return true;
    }
    if (next == 'f') {
        size_t set = *p + 2;
        if (set >= m->pattern_size || m->pattern[set] != '[') luaL_error(m->L, "missing '[' after '%%f' in pattern");
        size_t end = class_end(m, set);
        uint8_t before = *s == 0 ? 0 : m->subject[*s - 1], after = *s < m->subject_size ? m->subject[*s] : 0;
        if (in_set(m, before, set, end) || !in_set(m, after, set, end)) *s = NOWHERE;
        *p = end;
        return true;
    }
    if (isdigit(next)) {
        *s = match_reference(m, *s, next);
        *p += 2;
        return true;
    }
    return false;
}

/* One item and its repetition at p. True: go on at *s and *p; false: *s is the result. */
static bool match_item(struct matcher *m, size_t *s, size_t *p) {
    size_t end = class_end(m, *p);
    switch (end < m->pattern_size ? m->pattern[end] : 0) {
    case '?':
        if (single_matches(m, *s, *p, end)) {
            size_t result = match_here(m, *s + 1, end + 1);
            if (result != NOWHERE) {
                *s = result;
                return false;
            }
        }
        *p = end + 1;
        return true;
    case '+': *s = single_matches(m, *s, *p, end) ? match_longest(m, *s + 1, *p, end) : NOWHERE; return false;
    case '*': *s = match_longest(m, *s, *p, end); return false;
    case '-': *s = match_shortest(m, *s, *p, end); return false;
    default: break;
    }
    if (!single_matches(m, *s, *p, end)) {
        *s = NOWHERE;
        return false;
    }
    (*s)++;
    *p = end;
    return true;
}

/* The end of a match of the pattern from p at s, or NOWHERE. */
static size_t match_here(struct matcher *m, size_t s, size_t p) {
    if (++m->depth > DEPTH_MAX) luaL_error(m->L, "pattern too complex");
    bool on = true;
    while (on && s != NOWHERE && p < m->pattern_size) {
        step(m);
        uint8_t c = m->pattern[p];
        if (c == '(') {
            bool position = p + 1 < m->pattern_size && m->pattern[p + 1] == ')';
            s = match_capture_start(m, s, p + (position ? 2 : 1), position ? CAPTURE_POSITION : CAPTURE_OPEN);
            on = false;
        } else if (c == ')') {
            s = match_capture_end(m, s, p + 1);
            on = false;
        } else if (c == '$' && p + 1 == m->pattern_size) {
            s = s == m->subject_size ? s : NOWHERE;
            on = false;
        } else if (c != '%' || !match_special(m, &s, &p)) {
            on = match_item(m, &s, &p);
        }
    }
    m->depth--;
    return s;
}

/* --- results --- */

/* Pushes capture i of a match of [s, end); the whole match stands for the first when there are none. */
static void push_capture(struct matcher *m, int i, size_t s, size_t end) {
    lua_State *L = m->L;
    if (i >= m->captures_count) {
        if (i != 0) luaL_error(L, "invalid capture index %%%d", i + 1);
        lua_pushlstring(L, (const char *)m->subject + s, end - s);
    } else if (m->captures[i].size == CAPTURE_POSITION) {
        lua_pushinteger(L, (lua_Integer)m->captures[i].start + 1);
    } else if (m->captures[i].size == CAPTURE_OPEN) {
        luaL_error(L, "unfinished capture");
    } else {
        lua_pushlstring(L, (const char *)m->subject + m->captures[i].start, (size_t)m->captures[i].size);
    }
}

static int push_captures(struct matcher *m, size_t s, size_t end, bool whole_if_none) {
    int count = m->captures_count == 0 && whole_if_none ? 1 : m->captures_count;
    luaL_checkstack(m->L, count, "too many captures");
    for (int i = 0; i < count; i++) push_capture(m, i, s, end);
    return count;
}

static struct matcher matcher_of(lua_State *L, int subject_at, int pattern_at) {
    struct matcher m = {.L = L};
    m.subject = (const uint8_t *)luaL_checklstring(L, subject_at, &m.subject_size);
    m.pattern = (const uint8_t *)luaL_checklstring(L, pattern_at, &m.pattern_size);
    return m;
}

/* Takes a leading ^ off the pattern. */
static bool take_anchor(struct matcher *m) {
    if (m->pattern_size == 0 || m->pattern[0] != '^') return false;
    m->pattern++;
    m->pattern_size--;
    return true;
}

/* The place of the first match at or after s: its start, and *end. */
static size_t match_from(struct matcher *m, size_t s, bool anchored, size_t *end) {
    for (;; s++) {
        m->captures_count = 0;
        *end = match_here(m, s, 0);
        if (*end != NOWHERE) return s;
        if (anchored || s >= m->subject_size) return NOWHERE;
    }
}

/* The optional start argument (1-based, negative from the end) as an offset; NOWHERE beyond the end. */
static size_t start_argument(lua_State *L, int at, size_t size) {
    lua_Integer start = luaL_optinteger(L, at, 1);
    if (start > 0) return (uint64_t)start - 1 <= size ? (size_t)start - 1 : NOWHERE;
    if (start == 0 || start < -(lua_Integer)size) return 0;
    return size - (size_t)-start;
}

static int find_plain(lua_State *L, const struct matcher *m, size_t start) {
    script_charge(L, (m->subject_size - start) / 16 + m->pattern_size / 16);
    const uint8_t *at = m->subject + start;
    if (m->pattern_size > 0) at = memmem(at, m->subject_size - start, m->pattern, m->pattern_size);
    if (!at) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, at - m->subject + 1);
    lua_pushinteger(L, at - m->subject + (ptrdiff_t)m->pattern_size);
    return 2;
}

static int find_or_match(lua_State *L, bool find) {
    struct matcher m = matcher_of(L, 1, 2);
    size_t start = start_argument(L, 3, m.subject_size), end;
    if (start != NOWHERE && find && lua_toboolean(L, 4)) return find_plain(L, &m, start);
    bool anchored = take_anchor(&m);
    size_t s = start == NOWHERE ? NOWHERE : match_from(&m, start, anchored, &end);
    if (s == NOWHERE) {
        lua_pushnil(L);
        return 1;
    }
    if (!find) return push_captures(&m, s, end, true);
    lua_pushinteger(L, (lua_Integer)s + 1);
    lua_pushinteger(L, (lua_Integer)end);
    return 2 + push_captures(&m, s, end, false);
}

int pattern_find(lua_State *L) {
    return find_or_match(L, true);
}

int pattern_match(lua_State *L) {
    return find_or_match(L, false);
}

/* Upvalues: subject, pattern, where to look next, the end of the last match (an empty one is not found twice). */
static int gmatch_step(lua_State *L) {
    struct matcher m = matcher_of(L, lua_upvalueindex(1), lua_upvalueindex(2));
    size_t s = (size_t)lua_tointeger(L, lua_upvalueindex(3)), end;
    lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
    for (; s <= m.subject_size; s++) {
        m.captures_count = 0;
        end = match_here(&m, s, 0);
        if (end == NOWHERE || (lua_Integer)end == last) continue;
        lua_pushinteger(L, (lua_Integer)end);
        lua_pushvalue(L, -1);
        lua_replace(L, lua_upvalueindex(3));
        lua_replace(L, lua_upvalueindex(4));
        return push_captures(&m, s, end, true);
    }
    return 0;
}

int pattern_gmatch(lua_State *L) {
    struct matcher m = matcher_of(L, 1, 2);
    size_t start = start_argument(L, 3, m.subject_size);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_pushinteger(L, (lua_Integer)(start == NOWHERE ? m.subject_size + 1 : start));
    lua_pushinteger(L, -1);
    lua_pushcclosure(L, gmatch_step, 4);
    return 1;
}

static void add_template(struct matcher *m, luaL_Buffer *b, size_t s, size_t end) {
    lua_State *L = m->L;
    size_t size;
    const char *text = lua_tolstring(L, 3, &size);
    for (size_t i = 0; i < size; i++) {
        if (text[i] != '%') {
            luaL_addchar(b, text[i]);
            continue;
        }
        char c = ++i < size ? text[i] : 0;
        if (c == '%') {
            luaL_addchar(b, '%');
        } else if (c == '0') {
            luaL_addlstring(b, (const char *)m->subject + s, end - s);
        } else if (isdigit((unsigned char)c)) {
            push_capture(m, c - '1', s, end);
            luaL_tolstring(L, -1, NULL);
            lua_remove(L, -2);
            luaL_addvalue(b);
        } else {
            luaL_error(L, "invalid use of '%%' in replacement string");
        }
    }
}

static void add_replacement(struct matcher *m, luaL_Buffer *b, size_t s, size_t end) {
    lua_State *L = m->L;
    int type = lua_type(L, 3);
    if (type == LUA_TFUNCTION) {
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(m, s, end, true), 1);
    } else if (type == LUA_TTABLE) {
        push_capture(m, 0, s, end);
        lua_gettable(L, 3);
    } else {
        add_template(m, b, s, end);
        return;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(b, (const char *)m->subject + s, end - s);
    } else if (lua_isstring(L, -1)) {
        luaL_addvalue(b);
    } else {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
}

int pattern_gsub(lua_State *L) {
    struct matcher m = matcher_of(L, 1, 2);
    int type = lua_type(L, 3);
    if (type != LUA_TNUMBER && type != LUA_TSTRING && type != LUA_TFUNCTION && type != LUA_TTABLE) {
        luaL_typeerror(L, 3, "string/function/table");
    }
    if (type == LUA_TNUMBER) lua_tostring(L, 3);
    lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)m.subject_size + 1), count = 0;
    bool anchored = take_anchor(&m);
    size_t s = 0, last = NOWHERE;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    while (count < most) {
        m.captures_count = 0;
        size_t end = match_here(&m, s, 0);
        if (end != NOWHERE && end != last) {
            count++;
            add_replacement(&m, &b, s, end);
            s = last = end;
        } else if (s < m.subject_size) {
            luaL_addchar(&b, (char)m.subject[s++]);
        } else {
            break;
        }
        if (anchored) break;
    }
    if (s < m.subject_size) luaL_addlstring(&b, (const char *)m.subject + s, m.subject_size - s);
    luaL_pushresult(&b);
    lua_pushinteger(L, count);
    return 2;
}
