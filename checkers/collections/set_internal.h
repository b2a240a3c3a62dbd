/* A set's history, as the checks of sets see it: read.c's twin for operations that return everything at once. */
#ifndef HARROW_COLLECTIONS_SET_INTERNAL_H
#define HARROW_COLLECTIONS_SET_INTERNAL_H

#include "checkers/collections/internal.h"

/* An element. Adding it again changes nothing, so of several adds the first that takes effect counts: it does so after
 * the first begins, and before any ends. */
struct member {
    uint32_t add;      /* the operation that begins first, or NONE: nobody added it */
    uint32_t sure;     /* the ok one that ends first, or NONE */
    uint32_t invoked;  /* positions */
    uint32_t returned; /* NONE if none is sure */
};

struct set_read {
    uint32_t op, invoked, returned, size;
    const struct value *elements;
};

struct set_history {
    const struct history *h;
    uint32_t key;
    struct element_table table;
    struct member *members; /* by element */
    struct set_read *reads; /* in order of invocation */
    uint32_t reads_count;
    uint32_t *stamps; /* by element: scratch, all zero at first */
    uint32_t *events; /* by position: the element of an add, or a read with SET_READ; NONE for an add that is not the
                        * first */
    uint32_t positions;
};
#define SET_READ 0x80000000u

/* The element that stands twice in the read, or NONE; each element's id goes to `ids` if that is not NULL. */
uint32_t set_read_duplicate(struct set_history *s, const struct set_read *r, uint32_t stamp);
/* Names up to SET_NAMED_MAX elements of a kind: `lost: 1, 2, 3`; nth counts from 1. */
void set_name(const struct set_history *s, uint32_t element, uint64_t nth, const char *what, struct finding *f);
#define SET_NAMED_MAX 8u

/* What a check of sets says about one key. */
struct set_verdict {
    struct finding finding;
    struct buffer unknown;
    uint64_t adds, reads, recovered, never_read, stale, stale_ns_max;
    bool stable;
};
/* Runs `judge` over each key and makes the result. */
void check_sets(const struct history *h, const char *name, const struct check_options *o, struct check_result *out,
                void (*judge)(struct set_history *, struct budget *, struct set_verdict *));

#endif
