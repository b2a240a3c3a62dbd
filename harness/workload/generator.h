/* Generators: what the clients do next. A workload is a generator; the common ones (register, append, counter) run in
 * C, the others are Lua values (script/). Both are asked in two steps, so that the loop can take completions before it
 * commits to an invocation (waiting first would introduce concurrency that was not there):
 *   peek: is there an operation, when is it due, or must a completion come first, or is it over;
 *   take: commit to the operation that the last peek announced.
 * Between a peek and its take any number of updates may come, after which peek is asked again. Without an update in
 * between, peek stands by what it announced, whatever the time is. Generators know nothing of a world: they can be run
 * and tested on a made-up clock. */
#ifndef HARROW_WORKLOAD_GENERATOR_H
#define HARROW_WORKLOAD_GENERATOR_H

#include "history/history.h"

struct gen_context {
    uint64_t now_ns;
    uint32_t clients;        /* slots */
    const uint8_t *busy;     /* busy[slot]: has an operation open */
    const uint32_t *process; /* the process number that each slot acts as now */
    uint32_t free_clients;   /* how many are not busy */
    struct history *history; /* for interning keys and values */
};
struct gen_op {
    uint32_t client; /* a slot that is free */
    uint16_t f;
    uint32_t key;
    struct value argument;
    uint64_t intended_ns; /* open loop: when it was due, also if no client was free then */
};
enum gen_state {
    GEN_READY,   /* due_ns is set: issue at that time (now), or ask again at that time (later) */
    GEN_PENDING, /* nothing until an update comes */
    GEN_DONE,
    GEN_FAILED, /* the script failed: the error is set */
};
struct gen_event { /* an invocation or a completion, for generators that react */
    bool completion;
    uint32_t client, process;
    uint16_t f;
    uint32_t key;
    enum op_status status;
    struct value value;
};
struct generator {
    const struct generator_ops *ops;
};
struct generator_ops {
    enum gen_state (*peek)(struct generator *g, const struct gen_context *c, uint64_t *due_ns, struct error *e);
    int (*take)(struct generator *g, const struct gen_context *c, struct gen_op *op, struct error *e);
    int (*update)(struct generator *g, const struct gen_context *c, const struct gen_event *ev, struct error *e);
    void (*free)(struct generator *g);
};

/* The C workloads. keys named "k0", "k1", ...; values are unique per run (register writes, appends) so that a wrong
 * read is seen at once. */
struct workload_config {
    enum { WORKLOAD_REGISTER, WORKLOAD_APPEND, WORKLOAD_COUNTER } kind;
    uint32_t keys, clients;
    uint32_t rate_hz_milli; /* open loop: operations per 1,000 s, Poisson arrivals; 0: closed loop */
    bool steady;            /* open loop at even distances instead of Poisson */
    uint64_t think_ns;      /* closed loop: mean pause of a client between operations */
    uint32_t zipf_permille; /* 0: uniform keys */
    /* Each client has `keys` keys of its own, and this share of all operations is on one more key, which all share. */
    bool own_keys;
    uint32_t conflict_ppm;
    uint32_t weights[OP_CUSTOM]; /* the mix, by op_function; all zero: the kind's default */
    uint32_t values;             /* register: 0 unique, else values 0..values-1 */
};
struct generator *workload_new(const struct workload_config *c, uint64_t seed);
/* The final phase's operations: one read per key (append, counter) spread over clients; NULL if none are wanted. */
struct generator *workload_final_reads(const struct workload_config *c);

#endif
