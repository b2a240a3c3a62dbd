/* Support for the tests of history/: random histories that keep every rule of the log, and equality of histories. */
#ifndef HARROW_TESTS_HISTORIES_H
#define HARROW_TESTS_HISTORIES_H

#include "history/history.h"

/* Appends `steps` random events (invocations, completions, faults, samples). Goes on where the last call ended. */
struct random_history {
    struct history *h;
    struct prng prng;
    uint64_t now_ns;
    uint32_t processes[8]; /* the process numbers at work, and their open operation or UINT32_MAX */
    uint32_t open[8];
    uint32_t process_next;
    uint32_t fault; /* the running fault or UINT32_MAX */
};
void random_history_start(struct random_history *r, struct history *h, uint64_t seed);
void random_history_go_on(struct random_history *r, uint32_t steps);

/* Equal in everything but the ids of strings and custom functions. When not, says where in `why`. */
bool histories_equal(const struct history *a, const struct history *b, struct error *why);
/* The same for the first `count` operations; what is pending in `b` may have ended in `a`. */
bool history_begins_with(const struct history *a, const struct history *b, uint32_t count, struct error *why);

#endif
