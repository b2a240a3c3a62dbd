/* What the checks of collections share among themselves.
 *
 * The way of a queue, stack, ...: read.c makes a `collection` of the operations of one key; its discipline decides it
 * (queue.c, stack.c, priority_queue.c); what that cannot goes to the search (search.c); judge.c leads, and tells. */
#ifndef HARROW_COLLECTIONS_INTERNAL_H
#define HARROW_COLLECTIONS_INTERNAL_H

#include "checkers/collections/collections.h"
#include "checkers/evidence_internal.h"

/* --- elements: values by dense ids -------------------------------------------------------------------------------- */

struct element_table {
    int64_t lowest; /* integers from here on have a slot each in `dense`, if they are close together */
    uint32_t *dense;
    uint64_t dense_size;
    struct map64 sparse;
    uint32_t *by_string;
    uint32_t strings;
    struct value *values; /* by id; owned */
    uint32_t count, capacity;
};
struct element_range { /* of the values that a table is going to hold; zero-initialise */
    int64_t lowest, highest;
    uint64_t integers, strings;
};
void element_range_add(struct element_range *r, struct value v);
/* False: it would not fit the budget. */
bool element_table_make(struct element_table *t, const struct history *h, const struct element_range *r,
                        struct budget *b);
uint32_t element_find(const struct element_table *t, struct value v); /* NONE if absent */
uint32_t element_intern(struct element_table *t, struct value v); /* NONE for lists and nil, which are no elements */
void element_table_free(struct element_table *t);

/* --- roles of functions ------------------------------------------------------------------------------------------- */

#define FUNCTIONS_MAX (OP_CUSTOM + 256u)
#define ROLE_NONE 0u
/* roles[f] is 1 + the index of the name among `names` (which end with NULL), or ROLE_NONE. */
void roles_find(const struct history *h, const char *const *names, uint8_t roles[FUNCTIONS_MAX]);
/* Is there an operation of no role that did not fail? Then the result is unknown. */
bool roles_cover(const struct history *h, const uint8_t roles[FUNCTIONS_MAX], struct check_result *out);

/* --- findings ----------------------------------------------------------------------------------------------------- */

struct finding { /* why a history is wrong; zero-initialise */
    struct buffer line;
    uint32_t *ops;
    uint32_t ops_count, ops_capacity;
    uint64_t more; /* findings beside this one */
};
void finding_clear(struct finding *f);
void finding_op(struct finding *f, uint32_t op); /* NONE is left out */
void finding_free(struct finding *f);
/* Makes the result invalid: line, table and lanes. */
void finding_tell(struct finding *f, const struct history *h, struct check_result *out);

/* --- a collection ------------------------------------------------------------------------------------------------- */

enum action_kind {
    ACTION_PUT,
    ACTION_TAKE,
    ACTION_EMPTY,  /* a take that found nothing */
    ACTION_UNKNOWN /* a take of which nothing is known; may never happen */
};
struct action {
    uint32_t op;
    uint32_t element;           /* PUT and TAKE */
    uint32_t invoked, returned; /* positions; returned is NONE where it may happen at any time later, or never */
    uint32_t kind;
};

/* An element that is put in once, and when. It is surely inside between the end of its put and the beginning of its
 * take. */
struct item {
    uint32_t put, take; /* actions, or NONE */
    uint32_t put_invoked, put_returned;
    uint32_t take_invoked, take_returned; /* FOREVER and NONE if it is not taken */
    uint32_t puts, takes;
};
#define FOREVER(c) ((c)->positions + 1)

enum discipline_kind { BAG, FIFO, FIFO_AT_LEAST_ONCE, STACK, PRIORITY_QUEUE };
struct collection;
struct discipline {
    enum discipline_kind kind;
    const char *name, *put, *take, *putted, *taken;
    const char *order; /* how elements come out */
    /* For items that are put once. f may be NULL; `kept` too, else it gets the elements that matter (cleared
     * before). */
    enum decision (*decide)(const struct collection *c, struct budget *b, struct finding *f, uint8_t *kept);
};

struct collection {
    const struct history *h;
    const struct discipline *d;
    const struct value *values; /* by element; borrowed */
    struct action *actions;     /* in order of invocation */
    uint32_t count;
    uint32_t positions;
    uint32_t *events; /* by position: the action; EVENT_RETURN is set where it ends */
    struct item *items;
    uint32_t elements;
    uint32_t empties, unknowns;
    bool repeated;  /* an element is put more than once */
    uint64_t bytes; /* claimed */
};
#define EVENT_RETURN 0x80000000u

/* Reads the operations of one key. False: `why` and `op` say what makes it unknown, or the budget is spent. */
bool collection_read(struct collection *c, const struct history *h, const struct discipline *d,
                     const uint8_t roles[FUNCTIONS_MAX], struct element_table *elements, const uint32_t *ops,
                     uint32_t count, struct budget *b, const char **why, uint32_t *op);
/* Fills events and items from the actions and positions. */
bool collection_index(struct collection *c, struct budget *b);
/* The actions of which keep is set: by element, then by number among the empties. Takes of unknown result stay. */
bool collection_subset(const struct collection *c, const uint8_t *keep, struct collection *into, struct budget *b);
void collection_free(struct collection *c, struct budget *b);

/* Has each take that found nothing a moment at which nothing is surely inside? Moments are gaps: gap g is between the
 * events at the positions g - 1 and g. */
enum decision empties_decide(const struct collection *c, struct budget *b, struct finding *f);
/* Names elements of which always one is inside, through the gaps from low to high; only lesser ones than `below`, if
 * that is not NULL. */
void chain_tell(const struct collection *c, uint32_t low, uint32_t high, const struct value *below, struct finding *f);
void element_print(const struct collection *c, uint32_t element, struct buffer *out);

enum decision bag_decide(const struct collection *c, struct budget *b, struct finding *f, uint8_t *kept);
enum decision fifo_decide(const struct collection *c, struct budget *b, struct finding *f, uint8_t *kept);
enum decision stack_decide(const struct collection *c, struct budget *b, struct finding *f, uint8_t *kept);
enum decision priority_queue_decide(const struct collection *c, struct budget *b, struct finding *f, uint8_t *kept);
/* Any collection: all orders, as far as the budget and SEARCH_OPEN_MAX go. */
enum decision collection_search(const struct collection *c, struct budget *b, bool *too_wide);
#define SEARCH_OPEN_MAX 64u

#endif
