/* A line of JSON, read but not yet understood: what the two readers of lines have in common. Private to history/. */
#ifndef HARROW_HISTORY_JSONL_INTERNAL_H
#define HARROW_HISTORY_JSONL_INTERNAL_H

#include "history/events_internal.h"

enum field {
    FIELD_PROCESS,
    FIELD_TYPE,
    FIELD_F,
    FIELD_KEY,
    FIELD_VALUE,
    FIELD_TIME,
    FIELD_RAW, /* from here on: kept as raw JSON */
    FIELD_NODE = FIELD_RAW,
    FIELD_ERROR,
    FIELD_INTENDED,
    FIELD_FINAL,
    FIELD_RESULT,
    FIELD_NAME,
    FIELD_FAULT,
    FIELD_COLOUR,
    FIELD_AFFECTED,
    FIELD_OFFERED,
    FIELD_ROLE,
    FIELD_TERM,
    FIELD_COUNT,
};

struct line {
    struct event event;
    uint32_t seen; /* a bit for each enum field */
    bool nemesis, key_is_number;
    struct bytes raw[FIELD_COUNT];
    char key_digits[24];
};

static inline void line_start(struct line *l) {
    l->event.key.data = NULL;
    l->event.value = VALUE_OF_NIL;
    l->seen = 0;
    l->nemesis = l->key_is_number = false;
}

/* Reads a usual line: keys in any order, each once, short numbers, strings without escapes, spaces or none behind
 * colons and commas. A newline must stand somewhere from `at` on, and 8 bytes behind it must be readable. Returns where
 * the next line begins, with `l` as the strict reader would fill it; NULL if the line is unusual in any way: then the
 * strict one decides. */
const uint8_t *jsonl_read_usual(struct events *ev, const uint8_t *at, struct line *l);

#endif
