/* What the decider for registers (register.c) knows when it stops, for the evidence (register_evidence.c). */
#ifndef HARROW_CHECKERS_REGISTER_INTERNAL_H
#define HARROW_CHECKERS_REGISTER_INTERNAL_H

#include "checkers/internal.h"

#define SEVERAL (NONE - 1) /* setters of one value: which of them a reader saw is not told by the value */

struct version {        /* a value that the register has once */
    uint32_t setter;    /* the call that sets it; NONE; SEVERAL */
    uint32_t successor; /* the cas that took it away; NONE as long as none is known to have */
    uint32_t chain;     /* NONE until it is known to have been there */
    uint32_t depth;     /* cas between the chain's first version and this one */
};

/* A write, or the initial value, and the versions that cas made of it. Times are positions plus 1. */
struct chain {
    uint32_t root;         /* the call that begins it; NONE: the initial value */
    uint32_t returned_min; /* of its operations that returned; 0: the initial value was there before all */
    uint32_t invoked_max;  /* of its operations that surely happened */
    uint32_t covered_by;   /* the chain that surely was there when this one's first operation returned; NONE */
    uint32_t looked_up_to; /* the younger chains below this one are covered by it, if they are younger */
    uint32_t depth_max;    /* of the versions seen by operations that returned */
};

enum violation_kind {
    VIOLATION_NONE,
    VIOLATION_UNWRITTEN, /* a value that nobody sets, or not yet */
    VIOLATION_FORK,      /* two cas from one version */
    VIOLATION_CYCLE,     /* versions that exist only because of one another */
    VIOLATION_LATE,      /* a read of a version that had been replaced when it began */
    VIOLATION_CROSSING,  /* two chains, each of which was there before the other was gone */
};
struct violation {
    enum violation_kind kind;
    uint32_t returns; /* index of the return that shows it */
    uint32_t version; /* FORK: the one that both took away */
    uint32_t cas;     /* FORK: the second */
    uint32_t call;    /* CROSSING: through which `chain` came to cross `other` */
    uint32_t chain, other;
};

struct registers {
    const struct partition *p;
    struct version *versions; /* by value id */
    struct chain *chains;     /* in order of returned_min */
    uint64_t *late;           /* a bit per call: it will be a VIOLATION_LATE when it returns */
    uint32_t versions_capacity, chains_capacity, late_capacity;
    uint32_t chains_count;
    bool cas; /* there is one */
    uint32_t now;
    enum decision decision;
    struct violation violation;
};
void registers_free(struct registers *r);

#endif
