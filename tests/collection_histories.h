/* Support for the tests of checkers/collections/: a brute-force oracle that shares nothing with the checkers, and small
 * random histories, of objects that keep their promises and of objects that do not always. */
#ifndef HARROW_TESTS_COLLECTION_HISTORIES_H
#define HARROW_TESTS_COLLECTION_HISTORIES_H

#include "history/history.h"

enum object_kind {
    OBJECT_BAG,
    OBJECT_FIFO,
    OBJECT_AT_LEAST_ONCE,
    OBJECT_STACK,
    OBJECT_PRIORITY_QUEUE,
    OBJECT_SET,
    OBJECT_MUTEX,
    OBJECT_SEMAPHORE, /* of two */
    OBJECT_FENCED,
    OBJECT_KINDS
};

/* Tries all orders of the operations (at most 16) of each key. No two events have the same time. */
bool oracle_collection(const struct history *h, enum object_kind kind);

struct collection_shape {
    enum object_kind kind;
    uint32_t ops, clients, keys;
    uint32_t values; /* elements are below this; 0: each is put in once */
    uint32_t wrong_ppm, info_ppm, fail_ppm, put_ppm;
};
/* Every event has a time of its own. */
struct history *collection_random(struct prng *p, const struct collection_shape *shape);

#endif
