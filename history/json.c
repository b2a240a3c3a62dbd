/* The JSON scanner and printer of history/. Strict about the grammar (RFC 8259) and about UTF-8; linear in the text;
 * recursion is bounded by VALUE_DEPTH_MAX. */
#include "history/json_internal.h"

#include <stdio.h>
#include <stdlib.h>

void json_start(struct json *j, struct bytes text) {
    j->at = text.data;
    j->end = text.data + text.size;
    j->ran_out = false;
    j->decoded.size = 0;
    j->stack_count = 0;
    buffer_reserve(&j->decoded, text.size); /* an escape is never shorter than what it stands for */
}

void json_free(struct json *j) {
    buffer_free(&j->decoded);
    free(j->stack);
    *j = (struct json){0};
}

bool json_fail(struct json *j, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(j->why.text, sizeof j->why.text, format, args);
    va_end(args);
    return false;
}

static bool ran_out(struct json *j) {
    j->ran_out = true;
    j->at = j->end;
    return json_fail(j, "the line ends in the middle");
}

bool json_expected(struct json *j, const char *what) {
    if (j->at == j->end) return ran_out(j);
    if (*j->at > ' ' && *j->at < 0x7f) return json_fail(j, "'%c' where %s should stand", *j->at, what);
    return json_fail(j, "byte 0x%02x where %s should stand", *j->at, what);
}

void json_space(struct json *j) {
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\t' || *j->at == '\r' || *j->at == '\n')) j->at++;
}

bool json_take(struct json *j, char c) {
    json_space(j);
    if (j->at == j->end || *j->at != (uint8_t)c) return false;
    j->at++;
    return true;
}

bool json_done(struct json *j) {
    json_space(j);
    return j->at == j->end ? true : json_expected(j, "the end");
}

/* --- strings ------------------------------------------------------------------------------------------------------ */

/* How many bytes a sequence with this first byte has; 0 if none starts so (RFC 3629). */
static size_t utf8_size(uint8_t first) {
    if (first < 0x80) return 1;
    if (first < 0xc2) return 0;
    if (first < 0xe0) return 2;
    if (first < 0xf0) return 3;
    return first < 0xf5 ? 4 : 0;
}

/* The size of the valid sequence at the start, or 0. Overlong forms, surrogates and what is past U+10FFFF are not. */
static size_t utf8_valid(const uint8_t *at, size_t left) {
    size_t size = utf8_size(*at);
    if (size == 0 || size > left) return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    if (size == 3 && ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] >= 0xa0))) return 0;
    if (size == 4 && ((at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] >= 0x90))) return 0;
    return size;
}

static void utf8_put(struct buffer *out, uint32_t code) {
    uint8_t text[4];
    size_t size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0x00, 0xc0, 0xe0, 0xf0};
    for (size_t i = size; i-- > 1; code >>= 6) text[i] = (uint8_t)(0x80 | (code & 0x3f));
    text[0] = (uint8_t)(lead[size] | code);
    buffer_append(out, text, size);
}

static bool hex4(struct json *j, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < 4; i++, j->at++) {
        if (j->at == j->end) return ran_out(j);
        uint8_t c = *j->at, low = c | 0x20;
        uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0') : (uint32_t)(low - 'a' + 10);
        if (!((c >= '0' && c <= '9') || (low >= 'a' && low <= 'f'))) return json_expected(j, "a hex digit of \\u");
        *out = *out << 4 | digit;
    }
    return true;
}

/* Behind "\u". A pair of surrogates is one character; a lone one from \udc80 to \udcff is a byte that is not UTF-8. */
static bool unicode_escape(struct json *j) {
    uint32_t code, low;
    if (!hex4(j, &code)) return false;
    if (code >= 0xdc80 && code <= 0xdcff) {
        uint8_t byte = (uint8_t)(code & 0xff);
        buffer_append(&j->decoded, &byte, 1);
        return true;
    }
    if (code >= 0xd800 && code <= 0xdbff) {
        for (int i = 0; i < 2; i++, j->at++) {
            if (j->at == j->end) return ran_out(j);
            if (*j->at != "\\u"[i]) return json_fail(j, "half a surrogate pair in a string");
        }
        if (!hex4(j, &low)) return false;
        if (low < 0xdc00 || low > 0xdfff) return json_fail(j, "half a surrogate pair in a string");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code <= 0xdfff) {
        return json_fail(j, "half a surrogate pair in a string");
    }
    utf8_put(&j->decoded, code);
    return true;
}

bool json_escape(struct json *j) { /* behind the backslash */
    static const char names[] = "\"\\/bfnrt", stands_for[] = "\"\\/\b\f\n\r\t";
    if (j->at == j->end) return ran_out(j);
    if (*j->at == 'u') {
        j->at++;
        return unicode_escape(j);
    }
    const char *name = *j->at ? strchr(names, *j->at) : NULL;
    if (!name) return json_expected(j, "an escape");
    j->at++;
    buffer_append(&j->decoded, &stands_for[name - names], 1);
    return true;
}

static bool not_plain(struct json *j) { /* at a byte that no string holds as it is */
    if (j->at == j->end) return ran_out(j);
    if (*j->at < 0x20) return json_fail(j, "control character 0x%02x in a string; write it as \\u%04x", *j->at, *j->at);
    if (utf8_size(*j->at) > (size_t)(j->end - j->at)) return ran_out(j);
    return json_fail(j, "byte 0x%02x in a string is not UTF-8", *j->at);
}

/* Skips what stands in a string as it is. */
static void plain(struct json *j) {
    const uint8_t *at = j->at, *end = j->end;
    for (;;) {
        while (at < end && *at >= 0x20 && *at < 0x80 && *at != '"' && *at != '\\') at++;
        size_t size = at < end && *at >= 0x80 ? utf8_valid(at, (size_t)(end - at)) : 0;
        if (size == 0) break;
        at += size;
    }
    j->at = at;
}

bool json_string_token(struct json *j, struct bytes *out) {
    if (!json_take(j, '"')) return json_expected(j, "a string");
    const uint8_t *start = j->at;
    plain(j);
    if (j->at < j->end && *j->at == '"') { /* nearly always: no escapes, no copy */
        *out = bytes_of(start, (size_t)(j->at++ - start));
        return true;
    }
    size_t offset = j->decoded.size;
    for (;;) {
        buffer_append(&j->decoded, start, (size_t)(j->at - start));
        if (j->at == j->end || (*j->at != '"' && *j->at != '\\')) return not_plain(j);
        if (*j->at++ == '"') break;
        if (!json_escape(j)) return false;
        start = j->at;
        plain(j);
    }
    *out = bytes_of(j->decoded.data + offset, j->decoded.size - offset);
    return true;
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

static bool digit_at(const struct json *j) {
    return j->at < j->end && *j->at >= '0' && *j->at <= '9';
}

static bool integer(struct json *j, bool *negative, uint64_t *magnitude) {
    *negative = json_take(j, '-');
    if (!digit_at(j)) return json_expected(j, "an integer");
    const uint8_t *start = j->at;
    uint64_t n = 0;
    bool overflow = false;
    for (; digit_at(j); j->at++) {
        uint64_t digit = (uint64_t)(*j->at - '0');
        overflow |= n > (UINT64_MAX - digit) / 10;
        n = n * 10 + digit;
    }
    if (*start == '0' && j->at - start > 1) return json_fail(j, "an integer with leading zeros");
    if (j->at < j->end && (*j->at == '.' || *j->at == 'e' || *j->at == 'E'))
        return json_fail(j, "a float; histories hold integers, strings, lists and null");
    if (overflow) return json_fail(j, "an integer that does not fit 64 bits");
    *magnitude = n;
    return true;
}

bool json_u64(struct json *j, uint64_t *out) {
    bool negative;
    if (!integer(j, &negative, out)) return false;
    return negative && *out ? json_fail(j, "a negative number") : true;
}

static bool int_value(struct json *j, struct value *out) {
    bool negative;
    uint64_t magnitude;
    if (!integer(j, &negative, &magnitude)) return false;
    if (magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return json_fail(j, "an integer that does not fit 64 bits with a sign");
    *out = VALUE_OF_INT((int64_t)(negative ? 0 - magnitude : magnitude));
    return true;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static bool word(struct json *j, const char *text) {
    for (; *text; text++, j->at++) {
        if (j->at == j->end) return ran_out(j);
        if (*j->at != (uint8_t)*text) return json_expected(j, "null, true or false");
    }
    return true;
}

static bool value_in(struct json *j, uint32_t depth, struct value *out);

static bool list_value(struct json *j, uint32_t depth, struct value *out) {
    if (depth == VALUE_DEPTH_MAX) return json_fail(j, "lists nested deeper than %u", VALUE_DEPTH_MAX);
    size_t base = j->stack_count;
    if (!json_take(j, ']')) {
        do {
            struct value element;
            if (!value_in(j, depth + 1, &element)) return false;
            if (j->stack_count == j->stack_capacity) {
                j->stack_capacity = j->stack_capacity ? j->stack_capacity * 2 : 64;
                j->stack = xrealloc(j->stack, j->stack_capacity * sizeof *j->stack);
            }
            j->stack[j->stack_count++] = element;
        } while (json_take(j, ','));
        if (!json_take(j, ']')) return json_expected(j, "',' or ']'");
    }
    size_t count = j->stack_count - base;
    if (count >= UINT32_MAX - j->h->pool_count)
        return json_fail(j, "more than 4294967294 list elements in one history");
    *out = history_list(j->h, count ? j->stack + base : NULL, (uint32_t)count);
    j->stack_count = base;
    return true;
}

static bool string_value(struct json *j, struct value *out) {
    struct bytes text;
    if (!json_string_token(j, &text)) return false;
    if (j->h->strings.count == UINT32_MAX - 1 || text.size >= UINT32_MAX) return json_fail(j, "too many strings");
    *out = (struct value){.kind = VALUE_STRING, .string = history_intern_bytes(j->h, text)};
    return true;
}

static bool value_in(struct json *j, uint32_t depth, struct value *out) {
    json_space(j);
    if (j->at == j->end) return ran_out(j);
    switch (*j->at) {
    case '"': return string_value(j, out);
    case '[': j->at++; return list_value(j, depth, out);
    case 'n': *out = VALUE_OF_NIL; return word(j, "null");
    case 't':
    case 'f': return json_fail(j, "a boolean; histories hold integers, strings, lists and null");
    case '{': return json_fail(j, "an object; histories hold integers, strings, lists and null");
    default: return int_value(j, out);
    }
}

bool json_value(struct json *j, struct value *out) {
    j->stack_count = 0;
    return value_in(j, 0, out);
}

static bool digits(struct json *j) {
    if (!digit_at(j)) return json_expected(j, "a digit");
    while (digit_at(j)) j->at++;
    return true;
}

static bool skip_number(struct json *j) {
    json_take(j, '-');
    const uint8_t *start = j->at;
    if (!digits(j)) return false;
    if (*start == '0' && j->at - start > 1) return json_fail(j, "a number with leading zeros");
    if (j->at < j->end && *j->at == '.') {
        j->at++;
        if (!digits(j)) return false;
    }
    if (j->at < j->end && (*j->at | 0x20) == 'e') {
        j->at++;
        if (j->at < j->end && (*j->at == '+' || *j->at == '-')) j->at++;
        return digits(j);
    }
    return true;
}

static bool skip_in(struct json *j, uint32_t depth) {
    struct bytes text;
    json_space(j);
    if (j->at == j->end) return ran_out(j);
    switch (*j->at) {
    case '"': return json_string_token(j, &text);
    case 'n': return word(j, "null");
    case 't': return word(j, "true");
    case 'f': return word(j, "false");
    case '[':
    case '{': break;
    default: return skip_number(j);
    }
    bool object = *j->at++ == '{';
    if (depth == VALUE_DEPTH_MAX) return json_fail(j, "nested deeper than %u", VALUE_DEPTH_MAX);
    if (json_take(j, object ? '}' : ']')) return true;
    do {
        if (object && !json_string_token(j, &text)) return false;
        if (object && !json_take(j, ':')) return json_expected(j, "':'");
        if (!skip_in(j, depth + 1)) return false;
    } while (json_take(j, ','));
    return json_take(j, object ? '}' : ']') ? true : json_expected(j, object ? "',' or '}'" : "',' or ']'");
}

bool json_skip(struct json *j, struct bytes *raw) {
    json_space(j);
    const uint8_t *start = j->at;
    size_t decoded_size = j->decoded.size;
    if (!skip_in(j, 0)) return false;
    j->decoded.size = decoded_size; /* nobody holds what was decoded in there */
    *raw = bytes_of(start, (size_t)(j->at - start));
    return true;
}

/* --- printing ----------------------------------------------------------------------------------------------------- */

void json_print_u64(uint64_t number, struct buffer *out) {
    char text[20], *at = text + sizeof text;
    do *--at = (char)('0' + number % 10);
    while (number /= 10);
    buffer_append(out, at, (size_t)(text + sizeof text - at));
}

static void print_escaped(uint8_t c, struct buffer *out) {
    static const char names[] = "\"\\bfnrt", stands_for[] = "\"\\\b\f\n\r\t";
    static const char hex[] = "0123456789abcdef";
    const char *found = c ? strchr(stands_for, c) : NULL;
    char text[6] = {'\\', 'u', c < 0x80 ? '0' : 'd', c < 0x80 ? '0' : 'c', hex[c >> 4], hex[c & 15]};
    if (found) text[1] = names[found - stands_for];
    buffer_append(out, text, found ? 2 : sizeof text);
}

void json_print_string(struct bytes text, struct buffer *out) {
    const uint8_t *at = text.data, *end = text.data + text.size, *start = at;
    buffer_append(out, "\"", 1);
    while (at < end) {
        size_t size = *at < 0x80 ? 1 : utf8_valid(at, (size_t)(end - at));
        if (size && *at >= 0x20 && *at != '"' && *at != '\\') {
            at += size;
            continue;
        }
        buffer_append(out, start, (size_t)(at - start));
        print_escaped(*at++, out);
        start = at;
    }
    buffer_append(out, start, (size_t)(at - start));
    buffer_append(out, "\"", 1);
}

void history_value_print(const struct history *h, struct value v, struct buffer *out) {
    switch ((enum value_kind)v.kind) {
    case VALUE_NIL: buffer_append(out, "null", 4); return;
    case VALUE_INT:
        if (v.integer < 0) buffer_append(out, "-", 1);
        json_print_u64(v.integer < 0 ? 0 - (uint64_t)v.integer : (uint64_t)v.integer, out);
        return;
    case VALUE_STRING: json_print_string(history_text_bytes(h, v.string), out); return;
    case VALUE_LIST: break;
    }
    buffer_append(out, "[", 1);
    for (uint32_t i = 0; i < v.size; i++) {
        if (i) buffer_append(out, ",", 1);
        history_value_print(h, h->pool[v.first + i], out);
    }
    buffer_append(out, "]", 1);
}

int history_value_parse(struct history *h, struct bytes json, struct value *out, struct error *e) {
    struct json j = {.h = h};
    json_start(&j, json);
    bool read = json_value(&j, out) && json_done(&j);
    if (!read)
        error_set(e, "the value \"%.*s\": %.200s", (int)(json.size < 100 ? json.size : 100), json.data, j.why.text);
    json_free(&j);
    return read ? 0 : -1;
}
