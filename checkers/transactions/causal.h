/* Private to the check of causal consistency: causal.c decides, causal_tell.c puts what it found into words. */
#ifndef HARROW_TRANSACTIONS_CAUSAL_H
#define HARROW_TRANSACTIONS_CAUSAL_H

#include "checkers/transactions/internal.h"

enum causal_pattern {
    CYCLIC_CO,          /* a transaction is in its own causal past */
    WRITE_CO_INIT_READ, /* the initial value was read, with a write of the key in the causal past */
    WRITE_CO_READ,      /* a value was read that in the causal past was overwritten */
    CYCLIC_CF,          /* CO and the order in which conflicting writes were seen contradict one another */
    WRITE_HB_INIT_READ, /* as with CO, but by all that the process has read */
    CYCLIC_HB,
    CYCLIC_SC, /* what must come before what, in any one order of all, is a cycle */
};
const char *causal_pattern_name(enum causal_pattern pattern);

struct causal_write { /* the last one of a transaction */
    uint32_t key, chain, place, txn;
};

/* from comes before to: the reader had seen both write a key, and read what `to` wrote. Or, if it is the reader itself
 * that comes before `to`: what it read was written before `to` wrote the key. */
struct causal_extra {
    uint32_t from, to, reader, micro;
    uint32_t next; /* of the same `to`; NONE */
};

struct causal {
    const struct tables *t;
    uint32_t chains;             /* processes of transactions that happened */
    uint32_t *chain, *place;     /* by transaction; places count from 1 */
    uint32_t *before;            /* by transaction: the one of its process before it; NONE */
    uint32_t *clocks;            /* clocks[txn * chains + c]: how many of c's transactions txn knows, or is */
    struct causal_write *writes; /* sorted by key, chain, place */
    uint32_t writes_count;
    uint32_t *groups, groups_count; /* where a key's writes by another process begin; and the end of all */
    uint32_t *key_groups;           /* by key: its first group; NONE */
    struct causal_extra *extras;
    uint32_t *extras_of; /* by `to`: the last one; NONE */
    uint32_t extras_count, extras_capacity;
    uint8_t *state; /* while clocks are computed: 0 not seen, 1 under way, 2 done */
    uint32_t *stack, *at;
};

/* For tables of which nothing was noted. False: the budget is spent. */
bool causal_allocate(struct causal *s, uint64_t *bytes);
void causal_release(struct causal *s, uint64_t bytes);
/* Computes all clocks. False: there is a cycle, of which *on is one (or the budget is spent, and *on is NONE). */
bool causal_order_all(struct causal *s, uint32_t *on);
/* Is a in the past of b, or b itself? */
bool causal_knows(const struct causal *s, uint32_t b, uint32_t a);
/* False: it was there, or the memory is spent, which the budget then tells. */
bool causal_add_extra(struct causal *s, uint32_t from, uint32_t to, uint32_t reader, uint32_t micro);

struct causal_finding;
enum said { SAID_NOTHING, SAID_NEWS, SAID_WRONG };
/* Whatever else wrote a key that the reader read, and is in its past, comes before the writer of what was read: adds
 * what is not known of that. WRONG: it comes behind, or there can be none since the initial value was read. */
enum said causal_hear(struct causal *s, uint32_t reader, struct causal_finding *f);

/* Why a transaction comes before another. */
struct cause {
    uint32_t txn; /* NONE: no more */
    enum { CAUSE_PROCESS, CAUSE_READ, CAUSE_CONFLICT } kind;
    uint32_t extra; /* of CONFLICT */
};
/* What comes directly before txn, one after another; *at starts at 0. */
struct cause causal_before(const struct causal *s, uint32_t txn, uint32_t *at);

struct causal_finding {
    enum causal_pattern pattern;
    uint32_t on; /* of a cycle, one transaction; NONE: it is `source` before `older` before `reader` */
    uint32_t source, older, reader, micro; /* what was read; source: NONE if the initial value */
};
void causal_explain(const struct causal *s, const struct causal_finding *f, struct check_result *out);

#endif
