/* checkers: a history in, a verdict out. A library of its own (with history/ and base/): it knows nothing of worlds,
 * targets or faults, and never crashes, never guesses, never runs on: deadline and memory cap hold inside the innermost
 * loop, and what they cut off is "unknown", which is not "valid".
 *
 * A check is anything with the signature below; linearizability is one, partitioned by key (Herlihy and Wing's locality
 * theorem, 1990, section 3.1) and decided by the search of Wing and Gong (1993) as improved by Lowe (2017). A model is
 * a sequential specification over the operations of one key: it translates each into a guard on the state and an
 * effect.
 *
 * What counts, for every check:
 * - An ok operation took effect at one instant between its invocation and its end, with its result; only results of
 *   reads and the match of a cas are looked at. A missing key reads as NIL (in a counter also 0, in a list also []).
 * - A failed one did not happen. But a failed cas whose result is an integer or a string other than the one it expected
 *   saw that value: it counts as a read of it.
 * - An info or pending one took effect at one instant after its invocation, or never.
 * - Operations that only touch (one ends in the nanosecond in which the other begins) are concurrent, unless nothing
 *   but one process acted in that nanosecond.
 * A history that breaks the rules of the log (time that runs backwards, an end before the beginning) is unknown. */
#ifndef HARROW_CHECKERS_H
#define HARROW_CHECKERS_H

#include "history/history.h"

enum verdict { VERDICT_VALID, VERDICT_UNKNOWN, VERDICT_INVALID }; /* ordered: a merge takes the worst */

struct check_options {         /* a NULL instead means all defaults */
    uint64_t deadline_ms;      /* wall time for this check; 0 means 60,000 */
    uint64_t memory_bytes_max; /* beside the history itself; 0 means 2 GiB */
    const char *consistency;   /* of transactions: what they must satisfy; NULL: strict serializability */
    bool verdict_only;         /* no counterexample: detail may be short, explanation, ops and picture be missing */
    struct value initial;      /* of a register that nobody wrote; then NIL as a result says nothing; default: NIL */
};

/* The counterexample as data: what is drawn of it, and what a program asks for. All of it is owned. Operations are
 * numbers of the history. */
struct picture_step { /* an operation, and in words: the state after it, or why it cannot come next */
    uint32_t op;
    char *text;
};
struct picture_order {                 /* as many of the operations as can be put into one order */
    struct picture_step *steps, *left; /* those in order; those left over */
    uint32_t steps_count, left_count;
};
struct picture_edge { /* of a cycle: why one transaction comes before another */
    uint32_t from, to;
    char kind[12]; /* "ww", "wr", "rw", "process", "realtime" */
    char *text;    /* in words */
};
struct picture {
    char *initial; /* the state at first; NULL: there are no orders to show */
    struct picture_order *orders;
    uint32_t orders_count;
    bool orders_cut; /* there are more such orders, or longer ones: not all were tried */
    struct picture_edge *edges;
    uint32_t edges_count;
};
void picture_free(struct picture *p); /* p may be NULL */

struct check_result { /* every check fills a fresh one */
    char *name;       /* "linearizable", "append", ...; owned */
    enum verdict verdict;
    char *detail;      /* one line: why; owned */
    char *explanation; /* many lines for a person, may be NULL; owned */
    /* Offending operations in order of invocation; owned. Of an invalid history they are invalid by themselves, and
     * without any one of them (and what then nothing explains: a read of a value that it wrote) they are valid;
     * unless maybe_fewer is set, for then the budget was spent before that was known. */
    uint32_t *ops;
    uint32_t ops_count;
    bool maybe_fewer;
    struct picture *picture; /* of an invalid history; may be NULL; owned */
};
void check_result_free(struct check_result *r);
const char *verdict_name(enum verdict v);
enum verdict verdict_merge(enum verdict a, enum verdict b);

/* --- linearizability ---------------------------------------------------------------------------------------------- */

/* Sequential models by name: "register" (read, write), "cas-register" (and cas), "kv" (read, write, cas, delete, add,
 * append over one key each: the bundled store), "counter", "list". */
struct model;
const struct model *model_find(const char *name);
const struct model *const *models_all(size_t *count);
const char *model_name(const struct model *m);
const char *model_doc(const struct model *m); /* one line for `harrow models` */

/* Unknown names the key and what was spent, or the operation that the model does not know. Invalid names few operations
 * that are a violation by themselves; finding those few may take up to 10 s more, but not past the deadline (or 100 ms
 * past it). Keys are decided from the smallest on, and no hard key keeps the others from their turn. */
void check_linearizable(const struct history *h, const struct model *m, const struct check_options *o,
                        struct check_result *out);

/* A model of one's own: a sequential object as a step function, over states that it numbers itself: equal states have
 * equal numbers. It is deterministic; each state and each kind of operation (function, key, argument, result, whether
 * the outcome is known, and the process if by_process) is asked for once. Operations are handed over as in the history,
 * where only these count: ok ones; info and pending ones, whose result is unknown; failed cas that saw a value, which
 * are reads of that. */
enum step_answer {
    STEP_REFUSED, /* in this state the operation cannot end so */
    STEP_TAKEN,   /* *next is the state after it */
    STEP_FAILED,  /* with e set: the check becomes unknown */
};
struct step_model {
    const char *name;
    void *context; /* of the functions */
    bool by_process;
    /* Called once, before all others: the state in which each object begins; 0 or -1. Steps and states are to keep
     * within the limits. */
    int (*initial)(void *context, uint64_t deadline_ns, uint64_t memory_bytes_max, uint32_t *state, struct error *e);
    enum step_answer (*step)(void *context, uint32_t state, const struct history *h, uint32_t op, uint32_t *next,
                             struct error *e);
    /* The number of the object that an operation of any status is about; 0 or -1. NULL: its key tells. */
    int (*partition)(void *context, const struct history *h, uint32_t op, uint32_t *number, struct error *e);
    void (*describe)(void *context, const struct history *h, uint32_t op, struct buffer *out); /* NULL: the usual way */
    void (*print_state)(void *context, uint32_t state, struct buffer *out);
    /* Why a step was refused, as a clause: "would return 2, not 1". NULL: there is nothing to say. */
    void (*print_refusal)(void *context, uint32_t state, const struct history *h, uint32_t op, struct buffer *out);
    uint64_t (*memory_bytes)(void *context); /* of states; counts towards the memory cap */
};
/* Linearizability by a search that knows nothing but steps: exact, slower than the models above. Invalid names the
 * first operation by whose end no order is left, and the operations open then. */
void check_steps(const struct history *h, const struct step_model *m, const struct check_options *o,
                 struct check_result *out);

/* Registers that transactions read and write together: check_steps with knossos' multi-register. */
void check_multi_register(const struct history *h, const struct check_options *o, struct check_result *out);

/* --- every check by name ------------------------------------------------------------------------------------------ */

/* What judges the operations of a history: models of the search, near-linear checks, transactions. */
struct checker {
    const char *name, *doc;
    const char *also;                      /* what others call it, as words with a space between; may be NULL */
    const char *functions;                 /* the operations it understands, likewise */
    bool takes_initial;                    /* check_options.initial means something to it */
    bool takes_consistency;                /* check_options.consistency, likewise */
    bool (*fits)(const struct history *h); /* for a guess, where those do not tell; NULL: they do */
    bool by_name_only;                     /* never guessed: another row with these operations is */
    void (*check)(const struct checker *c, const struct history *h, const struct check_options *o,
                  struct check_result *out);
};
const struct checker *checkers_all(size_t *count);
const struct checker *checker_find(const char *name); /* by any of its names; NULL: there is none */
bool checker_understands(const struct checker *c, const struct history *h); /* does it know every operation in it? */
/* The first that understands all operations of the history and fits it, of all or of those that take a consistency
 * model; NULL: none does. */
const struct checker *checker_guess(const struct history *h, bool consistency);

/* The side door of the library's handles (harrow-check.h): harrow itself fills a history from its store, and has
 * results of checks that the library does not know. Takes over what the result owns. */
struct harrow_history;
struct harrow_result;
struct history *library_history(struct harrow_history *h);
struct harrow_result *library_result(const struct check_result *r);
const struct check_result *library_result_inside(const struct harrow_result *r);

/* --- workload checks: near-linear, no search ---------------------------------------------------------------------- */

/* Both look at keys with nothing but their own operations, and are unknown where an acknowledged change is followed by
 * no read that could show it lost. */

/* Lists of unique integers under append and read: every read is a prefix of the final order, nothing acknowledged is
 * lost, nothing is there twice, nothing failed is there, and real time is kept (a read sees every append that was
 * acknowledged before it began). Exact: valid if and only if linearizable. */
void check_append(const struct history *h, const struct check_options *o, struct check_result *out);
/* Counters under add and read: each read lies between the sum of what was surely applied before it and the sum of what
 * may have been by its end; reads in real-time order never lose an acknowledged add; the final read is exact up to info
 * operations, so nothing applied twice. Necessary, not sufficient, for linearizability. */
void check_counter(const struct history *h, const struct check_options *o, struct check_result *out);

/* --- checks about the run as such --------------------------------------------------------------------------------- */

/* Availability: after each moment at which the last fault ended (and at the start), an ok operation within `within_ns`;
 * and while `during` is set, no gap without an ok longer than that at any time. Time runs from the first attempt, since
 * an idle client misses nothing, and a moment is not judged if a fault or the end of the run comes before time is
 * up. */
void check_available(const struct history *h, uint64_t within_ns, bool during, uint64_t end_ns,
                     struct check_result *out);
/* Enough load to mean something: at least min_ok ok operations; otherwise unknown, saying how many. */
void check_load(const struct history *h, uint32_t min_ok, struct check_result *out);
/* No idle nemesis: each kind (name) of fault that was requested had a measurable effect; else unknown, naming it. */
void check_faults(const struct history *h, struct check_result *out);
/* Latency bound: the p99 of ok operations is at most limit_ns; otherwise invalid. */
void check_latency(const struct history *h, uint64_t p99_limit_ns, struct check_result *out);

/* Prints operations in order as aligned lines (time, process, node, f, key, argument, result, status). */
void check_print_ops(const struct history *h, const uint32_t *ops, uint32_t count, struct buffer *out);

#endif
