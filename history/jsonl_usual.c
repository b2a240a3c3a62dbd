/* The quick way through a usual line of JSON (jsonl_internal.h). It accepts less than the strict reader of jsonl.c, and
 * what it accepts it reads the same; tests compare the two on random and on damaged lines.
 *
 * Every loop ends at the newline at the latest, which is no digit and no part of a string, so that no end needs to be
 * compared with; names of fields and numbers are taken eight bytes at a time (the latter by Lemire's method, "Number
 * parsing at a gigabyte per second", 2021). */
#include "history/jsonl_internal.h"

#define DIGITS_MAX 19 /* always fit 64 bits without a sign */
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

/* A bit at the top of each byte that is no digit, once '0' is taken off; one that is none may carry into those behind
 * it, but the first is right. */
static inline uint64_t no_digits(uint64_t digits) {
    return ((digits + EACH(0x76)) | digits) & EACH(0x80);
}

static const uint8_t *number_goes_on(const uint8_t *at, uint64_t eight, uint64_t *out) {
    static const uint64_t tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    uint64_t n = eight;
    for (size_t done = 8, count = 8; count == 8; done += count, at += count) {
        uint64_t digits = load(at) ^ EACH('0');
        count = bytes_before(no_digits(digits));
        if (done + count > DIGITS_MAX) return NULL;
        if (count) n = n * tens[count] + digits_value(digits << (64 - 8 * count));
    }
    *out = n;
    return at;
}

static inline const uint8_t *number(const uint8_t *at, uint64_t *out) {
    uint64_t digits = load(at) ^ EACH('0'), ends = no_digits(digits);
    uint32_t bits = ends ? (uint32_t)__builtin_ctzll(ends) & ~UINT32_C(7) : 64; /* of the digits */
    if (bits == 0 || (bits > 8 && (digits & 0xff) == 0)) return NULL;
    uint64_t n = digits_value(digits << (64 - bits));
    if (bits == 64) return number_goes_on(at + 8, n, out);
    *out = n;
    return at + bits / 8;
}

/* An integer, maybe with a sign. */
static inline const uint8_t *integer(const uint8_t *at, int64_t *out) {
    bool negative = *at == '-';
    uint64_t magnitude = 0;
    at = number(at + negative, &magnitude);
    *out = (int64_t)(negative ? 0 - magnitude : magnitude);
    return magnitude <= INT64_MAX ? at : NULL;
}

/* A bit at the top of each byte that ends what a string holds as it is; of those the first is right. Not ASCII ends it
 * too. */
static inline uint64_t string_ends(uint64_t word) {
    uint64_t quotes = word ^ EACH('"'), escapes = word ^ EACH('\\');
    return ((quotes - EACH(1)) | (escapes - EACH(1)) | (word - EACH(0x20))) & EACH(0x80);
}

/* Behind the opening quote; returns where the text goes on behind the closing one. */
static inline const uint8_t *string(const uint8_t *at, struct bytes *out) {
    const uint8_t *start = at;
    uint64_t ends;
    while ((ends = string_ends(load(at))) == 0) at += 8;
    at += bytes_before(ends);
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

static inline const uint8_t *name(const uint8_t *at, struct bytes *out) {
    return *at == '"' ? string(at + 1, out) : NULL;
}

/* A list or a string. */
static const uint8_t *long_value(struct events *ev, const uint8_t *at, struct line *l) {
    struct bytes text;
    if (*at == '[') return list(ev, at + 1, &l->event.value);
    at = string(at + 1, &text);
    if (!at || ev->h->strings.count == UINT32_MAX - 1) return NULL;
    l->event.value = (struct value){.kind = VALUE_STRING, .string = events_intern(ev, text)};
    return at;
}

static inline const uint8_t *value(struct events *ev, const uint8_t *at, struct line *l) {
    if (*at == '[' || *at == '"') return long_value(ev, at, l);
    if (*at == 'n') {
        l->event.value = VALUE_OF_NIL;
        return STANDS(at, "null") ? at + 4 : NULL;
    }
    l->event.value.kind = VALUE_INT;
    return integer(at, &l->event.value.integer);
}

static inline const uint8_t *key(const uint8_t *at, struct line *l) {
    int64_t ignored;
    if (*at == '"') return string(at + 1, &l->event.key);
    const uint8_t *past = integer(at, &ignored);
    if (!past) return NULL;
    memcpy(l->key_digits, at, (size_t)(past - at));
    l->event.key = bytes_of(l->key_digits, (size_t)(past - at));
    l->key_is_number = true;
    return past;
}

static inline const uint8_t *process(const uint8_t *at, struct line *l) {
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

/* --- the shape of lines ------------------------------------------------------------------------------------------- */

static inline bool joint_stands(const uint8_t *at, const struct joint *x) {
    return (((load(at) ^ x->low) & x->low_mask) | ((load(at + 8) ^ x->high) & x->high_mask)) == 0;
}

static inline uint64_t first_bytes(size_t count) {
    return count < 8 ? (UINT64_C(1) << 8 * count) - 1 : UINT64_MAX;
}

static struct joint joint_of(const uint8_t *at, size_t size, uint32_t field) {
    struct joint x = {.low_mask = first_bytes(size), .high_mask = size > 8 ? first_bytes(size - 8) : 0};
    x.low = load(at) & x.low_mask;
    x.high = load(at + 8) & x.high_mask;
    x.size = (uint32_t)size;
    x.field = field;
    return x;
}

/* As far as the lines before tell its shape; NULL where it is another. */
static const uint8_t *follow(const struct usual *u, struct events *ev, const uint8_t *at, struct line *l) {
    const struct joint *next = u->begin.joints;
    for (;;) {
        const struct joint *x = next++;
        if (!joint_stands(at, x)) return NULL;
        at += x->size;
        switch (x->field) {
        case FIELD_PROCESS: at = process(at, l); break;
        case FIELD_TYPE: {
            at = type(at, l);
            const struct shape *rest = &u->rest[l->event.type];
            if (u->begin.seen & rest->seen) return NULL;
            l->seen = u->begin.seen | rest->seen;
            next = rest->joints;
            break;
        }
        case FIELD_F: at = name(at, &l->event.f); break;
        case FIELD_KEY: at = key(at, l); break;
        case FIELD_VALUE: at = value(ev, at, l); break;
        case FIELD_TIME: at = number(at, &l->event.time_ns); break;
        case JOINT_END: return at;
        default: at = raw(at, &l->raw[x->field]); break;
        }
        if (!at) return NULL;
    }
}

/* --- lines of any shape ------------------------------------------------------------------------------------------- */

static const uint8_t *field_value(struct events *ev, const uint8_t *at, uint32_t field, struct line *l) {
    switch (field) {
    case FIELD_PROCESS: return process(at, l);
    case FIELD_TYPE: return type(at, l);
    case FIELD_F: return name(at, &l->event.f);
    case FIELD_KEY: return key(at, l);
    case FIELD_VALUE: return value(ev, at, l);
    case FIELD_TIME: return number(at, &l->event.time_ns);
    default: return raw(at, &l->raw[field]);
    }
}

/* Where the value of the next field begins, or the next line; `first` stands before the name of a field. */
static const uint8_t *next_field(const uint8_t *at, uint8_t first, uint32_t *field) {
    struct bytes name;
    if (*at == '}' && first == ',') {
        at = space(at + 1);
        at += *at == '\r';
        *field = JOINT_END;
        return *at == '\n' ? at + 1 : NULL;
    }
    if (*at != first) return NULL;
    at = space(at + 1);
    if (*at != '"') return NULL;
    at = string(at + 1, &name);
    if (!at) return NULL;
    at = space(at);
    if (*at != ':') return NULL;
    *field = jsonl_field_of(name);
    return space(at + 1);
}

static void shape_add(struct shape *s, const uint8_t *at, size_t size, uint32_t field) {
    if (s->count == SHAPE_JOINTS_MAX || size > JOINT_BYTES_MAX) {
        s->too_long = true;
    } else {
        s->joints[s->count++] = joint_of(at, size, field);
    }
}

/* Reads a line of any shape, and remembers that. */
static const uint8_t *read_any(struct usual *u, struct events *ev, const uint8_t *at, struct line *l) {
    struct shape begin = {0}, rest = {0}, *part = &begin;
    line_start(l);
    for (uint8_t first = '{';; first = ',') {
        const uint8_t *start = at;
        uint32_t field, bit;
        at = next_field(at, first, &field);
        if (!at) return NULL;
        shape_add(part, start, (size_t)(at - start), field);
        if (field == JOINT_END) break;
        bit = field == JOINT_OTHER ? 0 : UINT32_C(1) << field;
        if (l->seen & bit) return NULL;
        l->seen |= bit;
        part->seen |= bit;
        at = field_value(ev, at, field, l);
        if (!at) return NULL;
        if (field == FIELD_TYPE) part = &rest;
    }
    if (part == &begin || begin.too_long || rest.too_long) return at;
    u->begin = begin;
    u->rest[l->event.type] = rest;
    return at;
}

void jsonl_usual_start(struct usual *u) {
    const struct joint nowhere = {.low_mask = UINT64_MAX, .high_mask = UINT64_MAX}; /* no line has 16 NULs there */
    u->begin = (struct shape){.joints = {nowhere}};
    for (size_t type = 0; type < sizeof u->rest / sizeof *u->rest; type++) u->rest[type] = u->begin;
}

const uint8_t *jsonl_read_usual(struct usual *u, struct events *ev, const uint8_t *at, struct line *l) {
    uint32_t pool_count = ev->h->pool_count;
    line_start(l);
    const uint8_t *past = follow(u, ev, at, l);
    if (past) return past;
    ev->h->pool_count = pool_count;
    return read_any(u, ev, at, l);
}
