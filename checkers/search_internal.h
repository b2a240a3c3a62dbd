/* The state of the search (search.c) and its memory of configurations (search_cache.c). */
#ifndef HARROW_CHECKERS_SEARCH_INTERNAL_H
#define HARROW_CHECKERS_SEARCH_INTERNAL_H

#include "checkers/register_internal.h"

/* A set of configurations: (first return still open, state, bits of linearized calls: first one for each ok call, then
 * fields that count the optional calls of each class). How many words of bits there are depends on the first return
 * alone.
 *
 * A configuration is known if it was here before, or one that differs only in having used fewer optional calls: what
 * can still be reached from here could be reached from there, with the same calls. */
struct cache {
    uint64_t *store; /* entries one after the other: first and state; the next of its group; the bits */
    size_t size, capacity;
    uint32_t *table;  /* by all of an entry: offsets into store, open addressing; 0 is free */
    uint32_t *groups; /* by all but the bits of optional calls: the youngest entry of each group */
    size_t table_capacity, count;
    uint32_t ok_words;        /* words of bits of ok calls */
    const uint32_t *words_at; /* by first return: words of bits in all */
    const uint64_t
        *field_tops; /* by word: the highest bit of each field, which no count reaches; NULL: no fields, but a
                                 * bit for each optional call */
};
enum cache_answer { CACHE_NEW, CACHE_KNOWN, CACHE_FULL };
/* Empty; keeps memory that is not out of proportion to the number of calls. */
void cache_start(struct cache *k, uint32_t calls, uint32_t ok_words, const uint32_t *words_at,
                 const uint64_t *field_tops);
void cache_free(struct cache *k);
uint64_t cache_bytes(const struct cache *k);
enum cache_answer cache_insert(struct cache *k, uint32_t first, uint32_t state, const uint64_t *bits, struct budget *b);

struct undo {
    uint32_t call, state, first; /* the call placed, and what was before */
};
struct frame { /* a configuration with choices: from `next` to the frame above */
    uint32_t undo_count, begin, next;
};

struct search {
    struct registers registers; /* of the decider before */

    struct partition *p;
    struct budget *budget;
    struct arena arena; /* of everything sized by the partition */

    uint32_t *next, *prev; /* calls not yet linearized: ok ones and optional ones, each in order of invocation */
    uint32_t head_ok, head_optional;
    uint8_t *placed;
    uint32_t *slot;       /* by call: its bit, or the lowest of its class's field */
    uint64_t *bits;       /* of linearized calls that have not returned before `first` */
    uint32_t *words_at;   /* by return: words of bits in use, of which ok_words for ok calls */
    uint64_t *field_tops; /* by word */
    uint32_t ok_words;
    uint32_t first, first_max; /* the first return that is still open */
    uint32_t first_stuck;      /* the furthest when it was looked at last; and moves made since it was reached */
    uint64_t moves;
    uint32_t state; /* value id */

    /* Of calls not yet linearized, by value id below `tracked`: ok calls that must see the value, calls that may, calls
     * that set it. */
    uint32_t tracked;
    uint32_t *need_ok, *need_any, *supply;
    uint32_t *appenders;                 /* calls that append the value */
    uint32_t adders;                     /* calls that add */
    uint32_t observers;                  /* sum of need_ok */
    uint32_t optional_guards;            /* optional calls with a guard, in all */
    uint32_t *suppliers, *next_supplier; /* optional sets by value, in order of invocation */
    uint8_t *on_chain;

    /* A stamp that equals `epoch` marks what was seen in the present look at the calls. */
    uint64_t epoch, *value_stamp, *class_stamp;
    uint32_t *pending; /* by value: reads of it that may come now */
    struct map64 classes;
    uint32_t *class_of, *class_choice;

    struct undo *undo;
    struct frame *frames;
    uint32_t *choices;
    uint32_t undo_count, undo_capacity, frames_count, frames_capacity, choices_count, choices_capacity;
    struct cache cache;
};

#endif
