/* json: just enough JSON for a history: integers, strings, lists and null become values; everything else can be
 * skipped. Private to history/.
 *
 * Strings of a history are bytes. What is not UTF-8 is written as lone surrogates, "\udc80" to "\udcff" for the bytes
 * 0x80 to 0xff (as Python's surrogateescape, PEP 383), and read back as those bytes: two different strings never
 * become one on the way through a file. */
#ifndef HARROW_HISTORY_JSON_INTERNAL_H
#define HARROW_HISTORY_JSON_INTERNAL_H

#include "history/history.h"

/* A scanner over one text. Functions that return bool leave `at` behind what they read, or return false with `why`.
 * Strings that had escapes are decoded into `decoded`, which stands still while one text is scanned. */
struct json {
    const uint8_t *at, *end;
    bool ran_out; /* the failure was that the text ended */
    struct error why;
    struct history *h; /* takes the strings and lists of values */
    struct buffer decoded;
    struct value *stack; /* elements of lists that are still open */
    size_t stack_count, stack_capacity;
};

void json_start(struct json *j, struct bytes text);
void json_free(struct json *j);
bool json_fail(struct json *j, const char *format, ...) PRINTF_LIKE(2, 3);
bool json_expected(struct json *j, const char *what); /* fails: something else stands here, or nothing any more */

void json_space(struct json *j);
bool json_take(struct json *j, char c); /* skips space first; false without `why` if something else stands there */
bool json_string_token(struct json *j, struct bytes *out);
bool json_escape(struct json *j); /* behind a backslash: into `decoded` */
bool json_u64(struct json *j, uint64_t *out);
bool json_value(struct json *j, struct value *out);
bool json_skip(struct json *j, struct bytes *raw); /* any JSON value, also those that no history holds */
bool json_done(struct json *j);                    /* nothing but space is left */

void json_print_string(struct bytes text, struct buffer *out);
void json_print_u64(uint64_t number, struct buffer *out);

#endif
