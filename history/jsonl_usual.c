/* The quick way through a usual line of JSON (jsonl_internal.h). It accepts less than the strict reader of jsonl.c, and
 * what it accepts it reads the same; tests compare the two on random and on damaged lines.
 *
 * Every loop ends at the newline at the latest, which is no digit and no part of a string, so that no end needs to be
 * compared with; names of fields and numbers are taken eight bytes at a time (the latter by Lemire's method, "Number
 * parsing at a gigabyte per second", 2021). */
#include "history/jsonl_internal.h"

#define DIGITS_MAX 18 /* always fit */
#define LIST_ELEMENTS_MAX 8u

static inline uint64_t load(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* Whether the text of up to 8 bytes stands there. Padded, it is a constant to every compiler. */
static inline bool stands(const uint8_t *at, const char padded[static 8], size_t size) {
    uint64_t word;
    memcpy(&word, padded, sizeof word);
    return ((load(at) ^ word) << (64 - 8 * size)) == 0;
}
#define STANDS(at, text) stands(at, text "\0\0\0\0\0\0\0", sizeof(text) - 1)

static inline const uint8_t *space(const uint8_t *at) {
    while (*at == ' ') at++;
    return at;
}

static inline bool is_digit(uint8_t c) {
    return (uint8_t)(c - '0') < 10;
}

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* How many bytes stand before the first with its high bit set in the mask. */
static inline size_t bytes_before(uint64_t mask) {
    return mask ? (size_t)__builtin_ctzll(mask) / 8 : 8;
}

/* The value of up to eight digits, the first in the lowest byte, zeros where there is none. */
static inline uint64_t digits_value(uint64_t digits) {
    digits = digits * 10 + (digits >> 8);
    return (((digits & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x000f424000000064)) +
            (((digits >> 16) & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x0000271000000001))) >>
           32;
}

static inline const uint8_t *number(const uint8_t *at, uint64_t *out) {
    static const uint64_t tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    const uint8_t *start = at;
    if (*at == '0' && is_digit(at[1])) return NULL;
    size_t count;
    *out = 0;
    do { /* a byte that is no digit may carry into those behind it, but the first is found */
        uint64_t digits = load(at) ^ EACH('0');
        count = bytes_before(((digits + EACH(0x76)) | digits) & EACH(0x80));
        if (count == 0) break;
        *out = *out * tens[count] + digits_value(digits << (64 - 8 * count));
        at += count;
    } while (count == 8 && at - start <= DIGITS_MAX);
    return at > start && at - start <= DIGITS_MAX ? at : NULL;
}

/* An integer, maybe with a sign. */
static inline const uint8_t *integer(const uint8_t *at, int64_t *out) {
    bool negative = *at == '-';
    uint64_t magnitude = 0;
    at = number(at + negative, &magnitude);
    *out = (int64_t)(negative ? 0 - magnitude : magnitude);
    return at;
}

/* Behind the opening quote; returns where the text goes on behind the closing one. */
static inline const uint8_t *string(const uint8_t *at, struct bytes *out) {
    const uint8_t *start = at;
    size_t count;
    do {
        uint64_t word = load(at), quotes = word ^ EACH('"'), escapes = word ^ EACH('\\');
        uint64_t ends = (quotes - EACH(1)) | (escapes - EACH(1)) | (word - EACH(0x20));
        count = bytes_before(ends & EACH(0x80)); /* what is not ASCII ends it too */
        at += count;
    } while (count == 8);
    *out = bytes_of(start, (size_t)(at - start));
    return *at == '"' ? at + 1 : NULL;
}

/* Behind the bracket: integers and nulls, some of them. */
static const uint8_t *flat_list(struct history *h, const uint8_t *at, struct value *out) {
    struct value elements[LIST_ELEMENTS_MAX];
    uint32_t count = 0;
    do {
        if (count == LIST_ELEMENTS_MAX) return NULL;
        at = space(at);
        elements[count] = VALUE_OF_NIL;
        if (STANDS(at, "null")) {
            at += 4;
        } else {
            elements[count].kind = VALUE_INT;
            at = integer(at, &elements[count].integer);
            if (!at) return NULL;
        }
        count++;
        at = space(at);
    } while (*at++ == ',');
    if (at[-1] != ']' || h->pool_count > UINT32_MAX / 2) return NULL;
    *out = history_list(h, elements, count);
    return at;
}

/* Other lists go to the general scanner, as if the text ended behind the line. */
static const uint8_t *list(struct events *ev, const uint8_t *at, struct value *out) {
    const uint8_t *past = flat_list(ev->h, at, out);
    if (past) return past;
    const uint8_t *newline = rawmemchr(at, '\n');
    ev->json.at = at - 1;
    ev->json.end = newline;
    ev->json.decoded.size = 0;
    return json_value(&ev->json, out) ? ev->json.at : NULL;
}

static const uint8_t *value(struct events *ev, const uint8_t *at, struct line *l) {
    struct bytes text;
    switch (*at) {
    case 'n': l->event.value = VALUE_OF_NIL; return STANDS(at, "null") ? at + 4 : NULL;
    case '[': return list(ev, at + 1, &l->event.value);
    case '"':
        at = string(at + 1, &text);
        if (!at || ev->h->strings.count == UINT32_MAX - 1) return NULL;
        l->event.value = (struct value){.kind = VALUE_STRING, .string = events_intern(ev, text)};
        return at;
    default: l->event.value.kind = VALUE_INT; return integer(at, &l->event.value.integer);
    }
}

static const uint8_t *key(const uint8_t *at, struct line *l) {
    int64_t ignored;
    if (*at == '"') return string(at + 1, &l->event.key);
    const uint8_t *past = integer(at, &ignored);
    if (!past) return NULL;
    memcpy(l->key_digits, at, (size_t)(past - at));
    l->event.key = bytes_of(l->key_digits, (size_t)(past - at));
    l->key_is_number = true;
    return past;
}

static const uint8_t *process(const uint8_t *at, struct line *l) {
    uint64_t n;
    at = number(at, &n);
    if (!at || n > UINT32_MAX) return NULL;
    l->event.process = (uint32_t)n;
    return at;
}

static inline const uint8_t *type(const uint8_t *at, struct line *l) {
    if (STANDS(at, "\"invoke\"")) {
        l->event.type = EVENT_INVOKE;
        return at + 8;
    }
    if (STANDS(at, "\"ok\"")) {
        l->event.type = EVENT_OK;
        return at + 4;
    }
    if (!STANDS(at, "\"fail\"") && !STANDS(at, "\"info\"")) return NULL;
    l->event.type = at[1] == 'f' ? EVENT_FAIL : EVENT_INFO;
    return at + 6;
}

/* A string, a number or true, kept as it stands. */
static const uint8_t *raw(const uint8_t *at, struct bytes *out) {
    const uint8_t *start = at;
    struct bytes text;
    uint64_t n;
    if (STANDS(at, "true"))
        at += 4;
    else
        at = *at == '"' ? string(at + 1, &text) : number(at, &n);
    if (at) *out = bytes_of(start, (size_t)(at - start));
    return at;
}

/* Where the value of a field begins, if this is its name and it stands here for the first time. */
static inline const uint8_t *behind_name(const uint8_t *at, bool named, size_t size, enum field field, uint32_t *seen) {
    if (!named || *seen >> field & 1) return NULL;
    *seen |= 1u << field;
    return space(at + size);
}

/* A field, from behind the first quote of its name. */
static inline const uint8_t *any_field(struct events *ev, const uint8_t *at, struct line *l, uint32_t *seen) {
#define BEHIND(text, field) (at = behind_name(at, STANDS(at, text "\":"), sizeof(text) + 1, field, seen))
    switch (*at) {
    case 'p':
        at = behind_name(at, STANDS(at, "process\"") && at[8] == ':', sizeof "process" + 1, FIELD_PROCESS, seen);
        return at ? process(at, l) : NULL;
    case 't':
        if (at[1] == 'y') return BEHIND("type", FIELD_TYPE) ? type(at, l) : NULL;
        return BEHIND("time", FIELD_TIME) ? number(at, &l->event.time_ns) : NULL;
    case 'f':
        if (at[1] == 'i') return BEHIND("final", FIELD_FINAL) ? raw(at, &l->raw[FIELD_FINAL]) : NULL;
        return BEHIND("f", FIELD_F) && *at == '"' ? string(at + 1, &l->event.f) : NULL;
    case 'k': return BEHIND("key", FIELD_KEY) ? key(at, l) : NULL;
    case 'v': return BEHIND("value", FIELD_VALUE) ? value(ev, at, l) : NULL;
    case 'i':
        at = behind_name(at, STANDS(at, "intended") && at[8] == '"' && at[9] == ':', sizeof "intended" + 1,
                         FIELD_INTENDED, seen);
        return at ? raw(at, &l->raw[FIELD_INTENDED]) : NULL;
    case 'n': return BEHIND("node", FIELD_NODE) ? raw(at, &l->raw[FIELD_NODE]) : NULL;
    case 'e': return BEHIND("error", FIELD_ERROR) ? raw(at, &l->raw[FIELD_ERROR]) : NULL;
    default: return NULL;
    }
#undef BEHIND
}

const uint8_t *jsonl_read_usual(struct events *ev, const uint8_t *at, struct line *l) {
    uint32_t seen = 0;
    line_start(l);
    if (*at != '{') return NULL;
    do {
        at = space(at + 1);
        if (*at != '"') return NULL;
        at = any_field(ev, at + 1, l, &seen);
        if (!at) return NULL;
    } while (*at == ',');
    l->seen = seen;
    return at[0] == '}' && at[1] == '\n' ? at + 2 : NULL;
}
