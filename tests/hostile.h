/* Support for the tests of checkers/: histories that are made to take much time and memory, for any check. */
#ifndef HARROW_TESTS_HOSTILE_H
#define HARROW_TESTS_HOSTILE_H

#include "history/history.h"

enum hostile_values {
    VALUES_UNIQUE,
    VALUES_SAME,
    VALUES_FEW,
    VALUES_HUGE,    /* any 64 bits */
    VALUES_EXTREME, /* the least, the greatest, -1, 0 */
    VALUES_STRINGS,
    VALUES_LONG_STRINGS,
    VALUES_NIL,
    VALUES_NESTED, /* lists in lists, as deep as can be */
    VALUES_MIXED,  /* all of these */
    VALUES_KINDS
};
enum hostile_times { TIMES_RISE, TIMES_EQUAL, TIMES_OFTEN_EQUAL, TIMES_LEAP, TIMES_LIE, TIMES_KINDS };

/* Clients at work on an object that keeps its promises, but for the lies: results that it did not give. There are
 * always as many operations open as there are clients. */
struct hostile {
    uint64_t seed;
    const char *functions;       /* what operations do: words, as in struct checker */
    bool lists;                  /* a read gives a list, a transaction appends; else a value, and writes */
    bool sums;                   /* a read gives a sum */
    uint32_t ops, clients, keys; /* keys 0: none */
    uint32_t transaction_max;    /* parts of a transaction */
    uint32_t reads_ppm, info_ppm, fail_ppm, lies_ppm;
    enum hostile_values values;
    enum hostile_times times;
    bool write_once;     /* each key of a transaction is written once, and then read with those beside it */
    bool processes_once; /* no process acts twice, and their numbers are scattered */
};
struct history *hostile_history(const struct hostile *o);

#endif
