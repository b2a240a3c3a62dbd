/* checkers: a history in, a verdict out. A library of its own (with history/ and base/): it knows nothing of worlds,
 * targets or faults, and never crashes, never guesses, never runs on: deadline and memory cap hold inside the innermost
 * loop, and what they cut off is "unknown", which is not "valid".
 *
 * A model is a sequential specification over the operations of one key (porcupine's shape: Athalye 2017): a small struct
 * of functions over a 64-bit state or an owned state. A check is anything with the signature below; linearizability is
 * one, found by the search of Wing and Gong (1993) as improved by Lowe (2017), partitioned by key (Herlihy and Wing's
 * locality theorem, 1990, section 3.1). */
#ifndef HARROW_CHECKERS_H
#define HARROW_CHECKERS_H

#include "history/history.h"

enum verdict { VERDICT_VALID, VERDICT_UNKNOWN, VERDICT_INVALID }; /* ordered: a merge takes the worst */

struct check_options {
    uint64_t deadline_ms;      /* wall time for this check; 0 means 60,000 */
    uint64_t memory_bytes_max; /* 0 means 2 GiB */
};

struct check_result {
    char *name; /* "linearizable", "append", ...; owned */
    enum verdict verdict;
    char *detail;      /* one line: why; owned */
    char *explanation; /* many lines for a person, may be NULL; owned */
    uint32_t *ops;     /* offending operations in order of invocation; owned */
    uint32_t ops_count;
};
void check_result_free(struct check_result *r);
const char *verdict_name(enum verdict v);
enum verdict verdict_merge(enum verdict a, enum verdict b);

/* --- linearizability ----------------------------------------------------------------------------------------------- */

/* Sequential models by name: "register" (read, write), "cas-register" (and cas), "kv" (read, write, cas, delete, add,
 * append over one key each: the bundled store), "counter", "list". */
struct model;
const struct model *model_find(const char *name);
const struct model *const *models_all(size_t *count);
const char *model_name(const struct model *m);
const char *model_doc(const struct model *m); /* one line for `harrow models` */

void check_linearizable(const struct history *h, const struct model *m, const struct check_options *o,
                        struct check_result *out);

/* --- workload checks: near-linear, no search ------------------------------------------------------------------------ */

/* Lists of unique integers under append and read: every read is a prefix of the final order, nothing acknowledged is
 * lost, nothing is there twice, nothing failed is there, and real time is kept (a read sees every append that was
 * acknowledged before it began). */
void check_append(const struct history *h, const struct check_options *o, struct check_result *out);
/* Counters under add and read: each read lies between the sum of what was surely applied before it and the sum of what
 * may have been by its end; reads in real-time order never lose an acknowledged add; the final read is exact up to info
 * operations, so nothing applied twice. */
void check_counter(const struct history *h, const struct check_options *o, struct check_result *out);

/* --- checks about the run as such ------------------------------------------------------------------------------------ */

/* Availability: after each moment at which the last fault ended (and at the start), an ok operation within `within_ns`;
 * and while `during` is set, no gap without an ok longer than that at any time. */
void check_available(const struct history *h, uint64_t within_ns, bool during, uint64_t end_ns,
                     struct check_result *out);
/* Enough load to mean something: at least min_ok ok operations; otherwise unknown, saying how many. */
void check_load(const struct history *h, uint32_t min_ok, struct check_result *out);
/* No idle nemesis: each kind (name) of fault that was requested had a measurable effect; otherwise unknown, naming it. */
void check_faults(const struct history *h, struct check_result *out);
/* Latency bound: the p99 of ok operations is at most limit_ns; otherwise invalid. */
void check_latency(const struct history *h, uint64_t p99_limit_ns, struct check_result *out);

/* Prints operations in order as aligned lines (time, process, node, f, key, argument, result, status). */
void check_print_ops(const struct history *h, const uint32_t *ops, uint32_t count, struct buffer *out);

#endif
