/* The EDN scanner (edn_internal.h): linear in the text, recursion bounded by VALUE_DEPTH_MAX. Skipping and reading are
 * one walk over the same grammar, so that what was skipped once is sound. */
#include "history/edn_internal.h"

#include <stdlib.h>

#define KINDS_FIRST 256u
#define DIGITS_SAFE 19u /* so many fit 64 bits */

enum kind { KIND_NONE, KIND_STRING, KIND_KEYWORD, KIND_OTHER };

/* How a form is walked: into a value, or past it. */
struct walk {
    struct json *j;
    struct edn_kinds *kinds; /* NULL: past it */
};

static bool form(struct walk *w, uint32_t depth, bool names, struct value *out);

static bool edn_ran_out(struct json *j) {
    j->ran_out = true;
    j->at = j->end;
    return json_fail(j, "the text ends in the middle");
}

/* Space (and a comma is space), what may stand where space does, and what else ends a token. */
enum { SPACE = 1, NOTE = 2, DELIMITER = 4 };
static const uint8_t kinds_of_byte[256] = {
    [0 ... ' '] = SPACE | DELIMITER,
    [','] = SPACE | DELIMITER,
    [';'] = NOTE | DELIMITER,
    ['#'] = NOTE,
    ['"'] = DELIMITER,
    ['['] = DELIMITER,
    [']'] = DELIMITER,
    ['('] = DELIMITER,
    [')'] = DELIMITER,
    ['{'] = DELIMITER,
    ['}'] = DELIMITER,
};

bool edn_is_delimiter(uint8_t c) {
    return kinds_of_byte[c] & DELIMITER;
}

/* --- space -------------------------------------------------------------------------------------------------------- */

static bool comment(struct json *j) {
    const uint8_t *newline = memchr(j->at, '\n', (size_t)(j->end - j->at));
    if (!newline) return edn_ran_out(j);
    j->at = newline + 1;
    return true;
}

static bool notes_in(struct json *j, uint32_t depth) {
    struct walk past = {.j = j};
    for (;;) {
        while (j->at < j->end && kinds_of_byte[*j->at] & SPACE) j->at++;
        if (j->at == j->end) return true;
        if (*j->at == ';') {
            if (!comment(j)) return false;
        } else if (*j->at == '#' && j->end - j->at >= 2 && j->at[1] == '_') {
            if (depth == VALUE_DEPTH_MAX) return json_fail(j, "nested deeper than %u", VALUE_DEPTH_MAX);
            j->at += 2;
            if (!form(&past, depth + 1, false, NULL)) return false;
        } else {
            return true;
        }
    }
}

static inline bool space_in(struct json *j, uint32_t depth) {
    while (j->at < j->end && kinds_of_byte[*j->at] & SPACE) j->at++;
    return j->at == j->end || !(kinds_of_byte[*j->at] & NOTE) || notes_in(j, depth);
}

bool edn_space(struct json *j) {
    return space_in(j, 0);
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static struct bytes token(struct json *j) {
    const uint8_t *at = j->at, *start = at, *end = j->end;
    while (at < end && !(kinds_of_byte[*at] & DELIMITER)) at++;
    j->at = at;
    return bytes_of(start, (size_t)(at - start));
}

static bool string_text(struct json *j, struct bytes *out) { /* at the opening quote */
    const uint8_t *start = ++j->at;
    size_t offset = j->decoded.size;
    bool escaped = false;
    for (;;) {
        while (j->at < j->end && *j->at != '"' && *j->at != '\\') j->at++;
        if (j->at == j->end) return edn_ran_out(j);
        bool ends = *j->at == '"';
        if (ends && !escaped) break;
        buffer_append(&j->decoded, start, (size_t)(j->at - start));
        if (ends) break;
        escaped = true;
        j->at++;
        if (!json_escape(j)) return false;
        start = j->at;
    }
    *out = escaped ? bytes_of(j->decoded.data + offset, j->decoded.size - offset)
                   : bytes_of(start, (size_t)(j->at - start));
    j->at++;
    return true;
}

/* Behind the backslash: \a, \newline, \u0041. */
static bool character(struct json *j, struct bytes *out) {
    static const struct {
        const char *name, *text;
    } named[] = {{"newline", "\n"}, {"space", " "},      {"tab", "\t"},
                 {"return", "\r"},  {"backspace", "\b"}, {"formfeed", "\f"}};
    if (j->at == j->end) return edn_ran_out(j);
    const uint8_t *start = j->at++; /* the character itself may be a delimiter */
    struct bytes rest = token(j);
    *out = bytes_of(start, rest.size + 1);
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (bytes_equal(*out, bytes_str(named[i].name))) *out = bytes_str(named[i].text);
    return true;
}

/* 12, -3, +4 and 5N whose magnitude fits 64 bits. Else false: a number of another kind, or too large. */
static bool magnitude_of(struct bytes text, bool *negative, uint64_t *out) {
    uint64_t n = 0;
    *negative = text.size && text.data[0] == '-';
    if (text.size && (*negative || text.data[0] == '+')) text = bytes_of(text.data + 1, text.size - 1);
    if (text.size && text.data[text.size - 1] == 'N') text.size--;
    for (size_t i = 0; i < text.size; i++) {
        uint64_t digit = (uint64_t)text.data[i] - '0';
        if (digit > 9 || (i >= DIGITS_SAFE && n > (UINT64_MAX - digit) / 10)) return false;
        n = n * 10 + digit;
    }
    *out = n;
    return text.size > 0;
}

static bool integer_of(struct bytes text, int64_t *out) {
    bool negative;
    uint64_t n;
    if (!magnitude_of(text, &negative, &n) || n > (uint64_t)INT64_MAX + (negative ? 1 : 0)) return false;
    *out = (int64_t)(negative ? 0 - n : n);
    return true;
}

static bool begins_number(struct bytes text) {
    bool sign = text.data[0] == '-' || text.data[0] == '+';
    return text.size > sign && text.data[sign] >= '0' && text.data[sign] <= '9';
}

bool edn_name(struct json *j, struct bytes *out) {
    if (!edn_space(j)) return false;
    if (j->at == j->end) return edn_ran_out(j);
    if (*j->at == '"') return string_text(j, out);
    *out = token(j);
    if (out->size && out->data[0] == ':') *out = bytes_of(out->data + 1, out->size - 1);
    if (out->size) return true;
    return j->at == j->end ? edn_ran_out(j) : json_fail(j, "a name must stand here");
}

bool edn_u64(struct json *j, uint64_t *out) {
    bool negative;
    if (!edn_space(j)) return false;
    if (!magnitude_of(token(j), &negative, out)) return json_fail(j, "not an integer of 64 bits");
    return negative && *out ? json_fail(j, "a negative number") : true;
}

/* --- strings of a history ----------------------------------------------------------------------------------------- */

static bool claim_kind(struct json *j, struct edn_kinds *kinds, uint32_t id, enum kind kind) {
    if (id >= kinds->capacity) {
        uint32_t capacity = j->h->strings.capacity > KINDS_FIRST ? j->h->strings.capacity : KINDS_FIRST;
        kinds->of = xrealloc(kinds->of, capacity);
        memset(kinds->of + kinds->capacity, KIND_NONE, capacity - kinds->capacity);
        kinds->capacity = capacity;
    }
    if (kinds->of[id] == KIND_NONE) kinds->of[id] = (uint8_t)kind;
    if (kinds->of[id] == kind) return true;
    struct bytes text = history_text_bytes(j->h, id);
    return json_fail(j,
                     "%.*s stands here as %s, earlier as %s: harrow would take them for the same value; write one of "
                     "them otherwise",
                     (int)(text.size < 100 ? text.size : 100), (const char *)text.data,
                     kind == KIND_STRING    ? "a string"
                     : kind == KIND_KEYWORD ? "a keyword"
                                            : "a symbol or number",
                     kinds->of[id] == KIND_STRING    ? "a string"
                     : kinds->of[id] == KIND_KEYWORD ? "a keyword"
                                                     : "a symbol or number");
}

static bool text_value(struct walk *w, struct bytes text, enum kind kind, struct value *out) {
    struct json *j = w->j;
    if (!w->kinds) return true;
    if (j->h->strings.count == UINT32_MAX - 1 || text.size >= UINT32_MAX) return json_fail(j, "too many strings");
    *out = (struct value){.kind = VALUE_STRING, .string = history_intern_bytes(j->h, text)};
    return kind == KIND_NONE || claim_kind(j, w->kinds, out->string, kind);
}

/* A keyword, number or symbol. */
static bool atom(struct walk *w, bool name, struct value *out) {
    struct json *j = w->j;
    int64_t integer;
    struct bytes text = token(j);
    if (text.size == 0) return json_fail(j, "'%c' where a value should stand", *j->at);
    if (text.data[0] == ':') {
        if (text.size == 1) return j->at == j->end ? edn_ran_out(j) : json_fail(j, "a keyword without a name");
        /* The function of a micro-operation, [:append 1 2], is no value that could be mixed up with another. */
        return text_value(w, bytes_of(text.data + 1, text.size - 1), name ? KIND_NONE : KIND_KEYWORD, out);
    }
    if (begins_number(text)) {
        if (!w->kinds) return true;
        if (!integer_of(text, &integer)) return text_value(w, text, KIND_OTHER, out);
        *out = VALUE_OF_INT(integer);
        return true;
    }
    if (text.size == 3 && memcmp(text.data, "nil", 3) == 0) {
        if (w->kinds) *out = VALUE_OF_NIL;
        return true;
    }
    if (strchr("`~@%", text.data[0])) return json_fail(j, "'%c' where a value should stand", text.data[0]);
    return text_value(w, text, KIND_OTHER, out);
}

/* --- collections -------------------------------------------------------------------------------------------------- */

static int compare_values(const void *a, const void *b, void *history) {
    const struct value *x = a, *y = b;
    const struct history *h = history;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    if (x->kind == VALUE_NIL) return 0;
    if (x->kind == VALUE_INT) return x->integer < y->integer ? -1 : x->integer > y->integer;
    if (x->kind == VALUE_STRING) {
        struct bytes s = history_text_bytes(h, x->string), t = history_text_bytes(h, y->string);
        int order = memcmp(s.data, t.data, s.size < t.size ? s.size : t.size);
        return order ? order : s.size < t.size ? -1 : s.size > t.size;
    }
    for (uint32_t i = 0; i < x->size && i < y->size; i++) {
        int order = compare_values(&h->pool[x->first + i], &h->pool[y->first + i], history);
        if (order) return order;
    }
    return x->size < y->size ? -1 : x->size > y->size;
}

static void push(struct json *j, struct value v) {
    if (j->stack_count == j->stack_capacity) {
        j->stack_capacity = j->stack_capacity ? j->stack_capacity * 2 : 64;
        j->stack = xrealloc(j->stack, j->stack_capacity * sizeof *j->stack);
    }
    j->stack[j->stack_count++] = v;
}

static bool pop_list(struct json *j, size_t bottom, bool sorted, struct value *out) {
    struct history *h = j->h;
    size_t count = j->stack_count - bottom;
    if (count > UINT32_MAX - 1 - h->pool_count) return json_fail(j, "too many list elements");
    struct value *first = count ? j->stack + bottom : NULL;
    if (sorted && count) qsort_r(first, count, sizeof *first, compare_values, h);
    *out = history_list(h, first, (uint32_t)count);
    j->stack_count = bottom;
    return true;
}

/* Behind the opening bracket. A map's elements are its keys and values in turn. */
static bool elements(struct walk *w, uint32_t depth, uint8_t close, bool map, bool sorted, struct value *out) {
    struct json *j = w->j;
    size_t bottom = j->stack_count;
    if (depth + map >= VALUE_DEPTH_MAX) return json_fail(j, "nested deeper than %u", VALUE_DEPTH_MAX);
    for (uint64_t count = 0;; count++) {
        struct value element = VALUE_OF_NIL;
        if (!space_in(j, depth)) return false;
        if (j->at == j->end) return edn_ran_out(j);
        if (*j->at == close) {
            if (map && count % 2) return json_fail(j, "a key without a value");
            break;
        }
        bool name = count == 0 && depth > 0 && !map && !sorted;
        if (!form(w, depth + 1 + map, name, &element)) return false;
        if (!w->kinds) continue;
        push(j, element);
        if (map && count % 2 && !pop_list(j, j->stack_count - 2, false, &element)) return false;
        if (map && count % 2) push(j, element);
    }
    j->at++;
    return w->kinds ? pop_list(j, bottom, map || sorted, out) : true;
}

/* Behind a '#': sets, tags, regular expressions, ##Inf. */
static bool dispatched(struct walk *w, uint32_t depth, struct value *out) {
    struct json *j = w->j;
    struct bytes text;
    if (j->at == j->end) return edn_ran_out(j);
    switch (*j->at) {
    case '{': j->at++; return elements(w, depth, '}', false, true, out);
    case '"': return string_text(j, &text) && text_value(w, text, KIND_OTHER, out);
    case '#': j->at++; return text_value(w, token(j), KIND_OTHER, out);
    default: break;
    }
    text = token(j);
    if (text.size == 0) return json_fail(j, "'#%c' is no form that harrow reads", *j->at);
    if (j->at == j->end) return edn_ran_out(j);
    if (depth + 1 >= VALUE_DEPTH_MAX) return json_fail(j, "nested deeper than %u", VALUE_DEPTH_MAX);
    return form(w, depth + 1, false, out);
}

static bool form(struct walk *w, uint32_t depth, bool names, struct value *out) {
    struct json *j = w->j;
    struct bytes text;
    struct walk past = {.j = j};
    if (!space_in(j, depth)) return false;
    if (j->at == j->end) return edn_ran_out(j);
    if (depth >= VALUE_DEPTH_MAX) return json_fail(j, "nested deeper than %u", VALUE_DEPTH_MAX);
    switch (*j->at) {
    case '"': return string_text(j, &text) && text_value(w, text, KIND_STRING, out);
    case '[': j->at++; return elements(w, depth, ']', false, false, out);
    case '(': j->at++; return elements(w, depth, ')', false, false, out);
    case '{': j->at++; return elements(w, depth, '}', true, true, out);
    case '#': j->at++; return dispatched(w, depth, out);
    case '\\': j->at++; return character(j, &text) && text_value(w, text, KIND_OTHER, out);
    case '\'': j->at++; return form(w, depth + 1, false, out);
    case '^': j->at++; return form(&past, depth + 1, false, NULL) && form(w, depth + 1, false, out);
    default: return atom(w, names, out);
    }
}

bool edn_value(struct json *j, struct edn_kinds *kinds, struct value *out) {
    struct walk into = {.j = j, .kinds = kinds};
    j->stack_count = 0;
    return form(&into, 0, false, out);
}

bool edn_skip(struct json *j, struct bytes *raw) {
    struct walk past = {.j = j};
    if (!edn_space(j)) return false;
    const uint8_t *start = j->at;
    size_t decoded_size = j->decoded.size;
    if (!form(&past, 0, false, NULL)) return false;
    j->decoded.size = decoded_size; /* nobody holds what was decoded in there */
    *raw = bytes_of(start, (size_t)(j->at - start));
    return true;
}
