/* What an invalid verdict shows, the same way for every check: few operations (minimal.c), how far any order of them
 * gets (picture.c), by a sequential object that can be stepped through (objects.c). evidence.c leads. */
#ifndef HARROW_CHECKERS_EVIDENCE_INTERNAL_H
#define HARROW_CHECKERS_EVIDENCE_INTERNAL_H

#include "checkers/internal.h"

/* A check, so that it can be asked again about parts of a history. */
struct evidence {
    void (*check)(const void *what, const struct history *h, const struct check_options *o, struct check_result *out);
    const void *what;
    const char *object;                                /* as of object_make; NULL: nothing can be stepped through */
    const struct model *model;                         /* of the object, if that is one; NULL: the one of that name */
    enum { TELL_ANEW, KEEP_DETAIL, KEEP_WORDS } words; /* when operations are left out: what tells of more than those */
};
/* Checks, and gives an invalid result its evidence, unless the options ask for the verdict only. */
void check_with_evidence(const struct history *h, const struct evidence *e, const struct check_options *o,
                         struct check_result *out);

/* --- fewest operations -------------------------------------------------------------------------------------------- */

struct judge { /* of parts: histories that share their strings and values with the whole */
    enum verdict (*verdict)(void *context, const struct history *part, uint64_t limit_ns);
    void *context;
};
/* Leaves out operations while the rest is invalid by itself, and whatever became of them. With an operation goes what
 * rests on it: an observation that the others explained before, however they ended, and that the rest cannot. ops are
 * in order of invocation; those that the result names go last. False if they are not invalid by themselves;
 * *maybe_fewer if the budget was spent. */
bool minimize_ops(const struct history *h, const struct judge *judge, const struct check_result *named, uint32_t *ops,
                  uint32_t *count, bool *maybe_fewer, struct budget *b);
/* Adds, to operations some of which observed what the whole history explains but they alone do not, few others that
 * explain it. Has room for all of h, which is small. Returns how many they are now. */
uint32_t add_explanations(const struct history *h, const struct judge *judge, uint32_t *ops, uint32_t count,
                          struct budget *b);

/* Adds to the operations who set what each cas among them expected. False, and nothing added: it takes too many. */
bool expected_complete(const struct history *h, struct check_result *out);
/* A history in which those of the operations that are a cas, and find none who set what they expected, are writes. Free
 * its f and argument; all else is borrowed. */
struct history expected_dropped(const struct history *h, const uint32_t *ops, uint32_t count);

/* --- objects and pictures ----------------------------------------------------------------------------------------- */

/* A check's sequential object, for few operations: the model, or "register", "queue", ...; NULL if there is none. */
struct object *object_make(const char *name, const struct model *model, const struct history *h);
const struct step_model *object_steps(const struct object *o);
void object_free(struct object *o); /* o may be NULL */

/* How far any order of the result's operations gets; none if they are too many. */
void picture_orders(struct check_result *out, const struct history *h, const struct step_model *m, uint32_t initial);
/* The first of the orders, in lines. */
void picture_print(const struct picture *p, const struct history *h, const struct step_model *m, struct buffer *out);
/* Why the transaction `from` comes before `to`; the text is copied. */
void result_edge(struct check_result *out, uint32_t from, uint32_t to, const char *kind, const char *text);

#endif
