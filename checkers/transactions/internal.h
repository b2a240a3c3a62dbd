/* What the checks of transactions share. The way of a history: read.c makes flat tables of it (transactions, their
 * micro-operations, keys, versions); list_append.c or rw_register.c finds for each read the version that it saw, and
 * which version follows which, and notes what is wrong without a cycle; witness.c looks for the quick way to "valid";
 * graph.c makes the dependencies of it; cycles.c looks for cycles and names.c names them; certify.c confirms what has
 * none; tell.c puts it into words. Causal consistency has causal.c and causal_tell.c, which sequential.c uses, too. */
#ifndef HARROW_TRANSACTIONS_INTERNAL_H
#define HARROW_TRANSACTIONS_INTERNAL_H

#include "checkers/evidence_internal.h"
#include "checkers/transactions/transactions.h"

/* --- tables ------------------------------------------------------------------------------------------------------- */

#define TRANSACTIONS_MAX (UINT32_C(1) << 26) /* a node of the graph has 28 bits, and a transaction may take two */
#define VERSION_NONE ((UINT32_C(1) << 28) - 1)

enum micro_kind { MICRO_READ, MICRO_WRITE };

struct micro {
    uint32_t key; /* dense */
    uint32_t kind : 1;
    uint32_t known : 1;    /* a read of an ok transaction, with its result */
    uint32_t external : 1; /* a read of what others left: gives dependencies */
    uint32_t rmw : 1;      /* an external read, and the transaction overwrites what it saw */
    uint32_t version : 28; /* that it wrote or saw; VERSION_NONE */
    struct value value;    /* written, or seen */
};

enum order { ORDER_DATA, ORDER_PROCESS, ORDER_REALTIME, ORDERS };

/* Versions: first the initial one of each key (its number is the key's), then one for each write. */
struct tables {
    const struct history *h;
    struct budget *budget;
    enum transactions_workload workload;
    const char *unfit; /* why the history cannot be judged, and the operation; NULL */
    uint32_t unfit_op;

    uint32_t count;    /* transactions, in order of invocation */
    uint32_t *op;      /* in the history */
    uint8_t *status;   /* enum op_status, never pending */
    uint8_t *happened; /* it was ok, or info and something of it was seen */
    uint32_t *first;   /* micro-operations of t: first[t] .. first[t + 1] */
    struct micro *micros;
    uint32_t *after;           /* the first transaction that was invoked after t had ended; count: none */
    uint32_t *next_in_process; /* NONE */

    uint32_t keys;
    struct value *key_value;
    uint32_t key_capacity;

    uint32_t versions;
    uint32_t *writer;              /* transaction; NONE for an initial version */
    uint32_t *written;             /* micro-operation */
    uint32_t *own_before;          /* the writer's write to this key before it; VERSION_NONE */
    uint8_t *last_of_writer;       /* the writer's last write to this key */
    uint32_t *slots, *slots_first; /* of key k: an open-addressed table of its versions, slots_first[k] .. [k + 1] */

    /* What follows directly upon a version v: next[next_first[v]] .. ; an entry is a version, and the order that it
     * was derived from (enum order << ORDER_SHIFT). */
    uint32_t *next_first, *next;
    /* Some of it was inferred from what a model forbids, so a cycle through that says no more than that this model is
     * violated: from late reads, strong snapshot isolation; by infer_versions, serializability. */
    bool from_late_reads, from_serial;
    enum order from_serial_order;
};
#define ORDER_SHIFT 28
#define NEXT_VERSION(entry) ((entry) & ((UINT32_C(1) << ORDER_SHIFT) - 1))

/* unique: every value is written to a key once; else there are no versions. False: unfit, or the budget is spent. */
bool tables_read(struct tables *t, const struct history *h, enum transactions_workload w, bool unique,
                 struct budget *b);
/* Why tables_read or an order failed, as an unknown result. */
void tables_unknown(const struct tables *t, struct check_result *out);
void tables_free(struct tables *t);
/* Memory for an array and one element more, not cleared. */
void *tables_alloc(uint64_t count, size_t size);
/* The version of a key with this value; VERSION_NONE if nobody wrote it. */
uint32_t tables_find(const struct tables *t, uint32_t key, struct value v);
/* Takes (from, to with its order) pairs into next; from and to as versions. */
void tables_order(struct tables *t, const uint32_t *from, const uint32_t *to, uint32_t count);
/* Info transactions of which something was seen have happened. */
void tables_observe(struct tables *t, uint32_t version);
static inline bool tables_committed(const struct tables *t, uint32_t version) {
    return t->writer[version] != NONE && t->happened[t->writer[version]];
}

/* --- anomalies ---------------------------------------------------------------------------------------------------- */

enum anomaly {
    DUPLICATE_ELEMENTS,
    GARBAGE_READ,
    TORN_WRITES,
    G1A,
    DIRTY_UPDATE,
    G1B,
    INCOMPATIBLE_ORDER,
    INTERNAL,
    LOST_UPDATE,
    CYCLES_FIRST,
    G0 = CYCLES_FIRST,
    G1C,
    G_SINGLE,
    G_NONADJACENT,
    G2_ITEM,
    CYCLES_END,
    /* Then the same with -process and with -realtime. */
    ANOMALIES_END = CYCLES_FIRST + ORDERS * (CYCLES_END - CYCLES_FIRST)
};
#define CYCLE_KINDS (CYCLES_END - CYCLES_FIRST)

void anomaly_print(uint32_t anomaly, struct buffer *out);
/* Models by number, in the order of consistency_name: those that dependencies tell apart, "sequential" as what it is
 * for registers, "strong-session-serializable". NONE for the others. */
uint32_t consistency_find(const char *name);
enum order consistency_order(uint32_t model); /* beyond the data */
uint32_t consistency_ruled_out(uint32_t anomalies,
                               enum transactions_workload w);    /* bits of models, by bits of anomalies */
void consistency_bounds(uint32_t ruled_out, struct buffer *out); /* "not X; at most Y" */
bool consistency_needs_serial(uint32_t model);                   /* no cycle of any kind */
bool consistency_needs_snapshots(uint32_t model);                /* no cycle but with two rw in a row */

struct finding {
    uint64_t count;
    uint32_t txns[2]; /* for what is no cycle; NONE */
    uint32_t micro;   /* the one that shows it; NONE */
    struct value value;
    uint32_t *cycle; /* transactions: cycle[i] before cycle[i + 1], the last before the first; owned */
    uint8_t *kinds;  /* of the edge from cycle[i]: enum edge_kind; owned */
    uint32_t length;
};
struct findings {
    struct finding of[32];
    uint32_t seen; /* bits of anomalies */
};
void findings_note(struct findings *f, uint32_t anomaly, uint32_t txn, uint32_t other, uint32_t micro, struct value v);
void findings_free(struct findings *f);

/* --- the two workloads -------------------------------------------------------------------------------------------- */

struct pairs { /* of versions: from comes before to; to has the order that tells so, as in next */
    uint32_t *from, *to;
    uint32_t count, capacity;
    struct budget *budget;
};
/* Adds nothing if the memory is spent, which the budget then tells. */
void pairs_add(struct pairs *p, uint32_t from, uint32_t to, enum order order);
void pairs_free(struct pairs *p);

/* Each fills micros' version and external, and notes what is wrong; the orders fill next. False: the budget is spent.
 * Lists: *guessed becomes true if the order of some versions is open.
 * Registers: rw_register_reads fills pairs with what is known at once; rw_register_order adds what follows from `order`
 * and, if `snapshots`, from late reads. The caller frees them. */
bool list_append_order(struct tables *t, struct findings *f, bool *guessed);
bool rw_register_reads(struct tables *t, struct findings *f, struct pairs *pairs);
bool rw_register_order(struct tables *t, enum order order, bool snapshots, struct pairs *pairs);
/* The order of versions that follows from the times of those who wrote and read them, without what follows from the
 * rest: ends[txn] is the first transaction that surely comes after txn, begins[txn] the last that is sure to begin no
 * later. late_reads: a read behind the end of another version's writer says that this one is older. */
bool zones_order(const struct tables *t, const uint32_t *ends, const uint32_t *begins, bool late_reads,
                 struct pairs *p);
/* Transactions that both read one version and overwrote it. */
void lost_updates(struct tables *t, struct findings *f);

/* --- the graph ---------------------------------------------------------------------------------------------------- */

/* ww, wr, rw: between transactions. PASS leads out of a helper node: no step of its own. */
enum edge_kind { EDGE_WW, EDGE_WR, EDGE_RW, EDGE_PASS, EDGE_PROCESS, EDGE_REALTIME };

/* Nodes: transactions; from `count` on, "all transactions from the i-th on", by which the real-time order takes two
 * edges a transaction instead of n^2; from 2 * count on, versions with many readers and many successors. Edges of the
 * real-time and process order are not stored but computed. */
struct graph {
    const struct tables *t;
    uint32_t nodes;
    uint32_t hubs;   /* 2 * count */
    uint32_t *first; /* edges of transaction i: first[i] .. first[i + 1]; of hub i: first[count + i] .. */
    uint32_t *edges; /* node | kind << 28 | order << 30 */
};
#define EDGE_NODE(e) ((e) & ((UINT32_C(1) << 28) - 1))
#define EDGE_KIND(e) ((e) >> 28 & 3)
#define EDGE_ORDER(e) ((e) >> 30)
#define EDGE(node, kind, order) ((node) | (uint32_t)(kind) << 28 | (uint32_t)(order) << 30)

bool graph_make(struct graph *g, const struct tables *t);
void graph_free(struct graph *g);

/* Which part of a graph is looked at. */
struct view {
    const struct graph *g;
    uint32_t kinds;   /* bits of WW, WR, RW */
    enum order order; /* edges of this order and those below */
    /* Each transaction as two nodes, the start (its own node) and the commit (nodes + t): ww, wr and orders of time
     * lead from commit to start, rw from start to commit, and start comes before commit. A cycle in that is one
     * without two rw in a row, for snapshots are what only such cycles break (Cerone and Gotsman, J. ACM 2018). */
    bool snapshots;
    const uint32_t *component; /* if not NULL: by node, and only edges within one component count */
};
#define KINDS_ALL (1u << EDGE_WW | 1u << EDGE_WR | 1u << EDGE_RW)

struct step {
    uint32_t node; /* NONE: no more */
    uint8_t kind, order;
};
static inline uint32_t view_nodes(const struct view *w) {
    return w->g->nodes + (w->snapshots ? w->g->t->count : 0);
}
static inline uint32_t view_source(const struct view *w, uint32_t txn) { /* where what comes after txn begins */
    return w->snapshots ? w->g->nodes + txn : txn;
}
/* The next edge out of the node; *at starts at 0 and keeps the place. */
struct step view_step(const struct view *w, uint32_t node, uint32_t *at);

/* Strongly connected components of the part of a view that can be reached from the roots (NULL: all). Tarjan, SIAM J.
 * Comput. 1972, without recursion. */
struct components {
    uint32_t *of;       /* by node: number from 1 of a component with two transactions or more; 0 */
    uint32_t *position; /* by node: order in which components ended; the reverse of it is topological */
    uint32_t *index, *stack, *frames, *at;
    uint32_t count;
};
bool components_allocate(struct components *c, const struct view *w, struct budget *b);
bool components_find(struct components *c, const struct view *w, const uint32_t *roots, uint32_t roots_count,
                     struct budget *b);
void components_free(struct components *c, const struct view *w, struct budget *b);

/* Edges by target (a slot: a transaction, or count + the number of a hub; no orders of time), readers by version. */
struct reverse {
    uint32_t *into_first, *into; /* into slot i: from into[into_first[i]] .. */
    uint32_t *readers_first, *readers;
    uint64_t bytes;
};
bool reverse_make(struct reverse *r, const struct graph *g, enum order order);
void reverse_free(struct reverse *r, struct budget *b);
/* What must be so in any serial order of a graph without cycles: if one transaction comes before another, its versions
 * come before the other's. position: as of components. Returns how many pairs that added to t->next. It looks only so
 * far, so more might follow. */
uint32_t infer_versions(struct tables *t, const struct graph *g, enum order order, const uint32_t *position);

/* Looks for cycles that the order allows, and names them. False: the budget is spent, and what was found is not all.
 * If there are none, *position becomes the order of nodes as in components; the caller frees it. */
bool cycles_find(const struct graph *g, enum order order, struct findings *f, uint32_t **position);

/* Is there an order of versions under which the model holds? For graphs without a cycle that it rules out, and
 * transactions free of other anomalies. Where inference ends in a contradiction, that is noted in f. */
enum decision certify_snapshots(struct tables *t, const struct graph *g, enum order order);
enum decision certify_serial(struct tables *t, const struct graph *g, enum order order, const uint32_t *position,
                             struct findings *f);
/* Is the history strictly serializable? For one of which nothing was noted; registers need no order yet. True is a
 * proof, false says nothing. */
bool witness_find(const struct tables *t);
/* The first part of certify_serial: one order, made with care but without turning back. Otherwise UNDECIDED. */
enum decision schedule_serial(const struct tables *t, const struct graph *g, enum order order);
/* The same by trying all orders, for histories that are small enough; else, and when it takes too long, UNDECIDED. */
enum decision try_snapshots(const struct tables *t, enum order order);
enum decision try_serial(const struct tables *t, enum order order);
bool transaction_writes(const struct tables *t, uint32_t txn, uint32_t key);
/* Does it write a key that it has not read before? */
bool transaction_is_blind(const struct tables *t, uint32_t txn);

/* --- causal consistency ------------------------------------------------------------------------------------------- */

enum causal_kind { CAUSAL, CAUSAL_MEMORY, CAUSAL_CONVERGENCE, CAUSAL_KINDS };
uint32_t causal_find(const char *name); /* CAUSAL_KINDS: it is none of them */
const char *causal_kind_name(enum causal_kind kind);
/* Verdict, detail, operations and explanation; after rw_register_reads, which noted nothing. */
void causal_judge(const struct tables *t, enum causal_kind kind, struct check_result *out);

/* Is there no one order of all that keeps the order of each process? Then out is invalid; false says nothing. */
bool sequential_refute(const struct tables *t, const char *name, struct check_result *out);

/* --- words -------------------------------------------------------------------------------------------------------- */

void transactions_tell_key(const struct tables *t, uint32_t key, struct buffer *out);
/* `T1 = operation 5 of process 2: r x 1, w y 2`, a line for each. */
void transactions_tell_list(const struct tables *t, const uint32_t *txns, uint32_t count, struct buffer *out);
void findings_explain(const struct tables *t, const struct findings *f, uint32_t anomaly, struct check_result *out);

#endif
