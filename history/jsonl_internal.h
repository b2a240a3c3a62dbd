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
    struct bytes raw[FIELD_COUNT + 1]; /* the last: of a field that does not count */
    char key_digits[24];
};

static inline void line_start(struct line *l) {
    l->event.type = EVENT_INVOKE;
    l->event.key.data = NULL;
    l->event.value = VALUE_OF_NIL;
    l->seen = 0;
    l->nemesis = l->key_is_number = false;
}

/* What stands between two values of a line: the name of a field with what is around it, as `, "time": `, or the end. */
#define JOINT_BYTES_MAX 16u
enum { JOINT_OTHER = FIELD_COUNT, JOINT_END };
struct joint {
    uint64_t low, high, low_mask, high_mask; /* its bytes, the first in the lowest; masks: of those that count */
    uint32_t size, field;                    /* enum field, JOINT_OTHER: none that counts, JOINT_END */
};

/* Lines of one type of event have the same fields in the same order as a rule: those up to the type have one shape, and
 * those behind it another for each type. It is that of the last such line. */
#define SHAPE_JOINTS_MAX 12u
struct shape {
    struct joint joints[SHAPE_JOINTS_MAX];
    uint32_t count, seen; /* seen: as in struct line */
    bool too_long;
};
struct usual {
    struct shape begin, rest[4];
};
void jsonl_usual_start(struct usual *u);

/* Reads a usual line: keys in any order, each once, short numbers, strings without escapes, spaces or none behind
 * colons and commas. A newline must stand somewhere from `at` on, and JSONL_USUAL_BEYOND bytes behind it must be
 * readable. Returns where the next line begins, with `l` as the strict reader would fill it; NULL if the line is
 * unusual in any way: then the strict one decides. */
#define JSONL_USUAL_BEYOND 16u
const uint8_t *jsonl_read_usual(struct usual *u, struct events *ev, const uint8_t *at, struct line *l);

enum field jsonl_field_of(struct bytes name); /* FIELD_COUNT: some other */

#endif
