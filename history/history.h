/* history: what happened in a run. In memory as columns; on disk as one SQLite file for all runs plus a folder of
 * artifacts per run (store.h); in and out as JSONL (jsonl.h), in as other formats too (import.h).
 *
 * An operation is one call of one logical process: invoked once, completed at most once. `ok` certainly happened,
 * `fail` certainly did not, `info` is unknown (every timeout is info). A process whose operation ended info never acts
 * again: the work goes on under a new process number. Times are nanoseconds from one monotonic base, the run's start.
 *
 * Faults, role changes and log lines of the run stand beside the operations with times of the same base. */
#ifndef HARROW_HISTORY_H
#define HARROW_HISTORY_H

#include "base/base.h"

enum op_status { OP_PENDING, OP_OK, OP_FAIL, OP_INFO }; /* pending is checked like info */

/* What an operation does. Names outside this list are interned as custom functions from OP_CUSTOM up. */
enum op_function {
    OP_READ,   /* -> INT, STRING, LIST or NIL */
    OP_WRITE,  /* value */
    OP_CAS,    /* PAIR (expected, new) */
    OP_APPEND, /* an INT onto the key's list */
    OP_ADD,    /* an INT delta onto the key's counter */
    OP_DELETE,
    OP_TXN, /* LIST of LISTs [f, key, value]: read and write several keys at once */
    OP_CUSTOM,
};

enum value_kind { VALUE_NIL, VALUE_INT, VALUE_STRING, VALUE_LIST };

/* A value of an operation: 16 bytes; strings are interned, lists are spans of the history's value pool and nest.
 * A CAS argument is a list of two. Within one history equal strings have equal ids. */
struct value {
    uint32_t kind; /* enum value_kind */
    uint32_t size; /* LIST: elements */
    union {
        int64_t integer;
        uint32_t string; /* STRING: intern id */
        uint32_t first;  /* LIST: index of the first element in history.pool */
    };
};
#define VALUE_OF_NIL ((struct value){.kind = VALUE_NIL, .integer = 0})
#define VALUE_OF_INT(i) ((struct value){.kind = VALUE_INT, .integer = (i)})

#define NODE_UNKNOWN UINT8_MAX
#define NO_STRING UINT32_MAX
#define FUNCTION_NONE UINT16_MAX
#define VALUE_DEPTH_MAX 64u /* lists in lists; so that recursion over a value needs a small stack */

/* Intern table: text <-> dense id in order of first use. Any bytes: also NUL, also what is not UTF-8. */
struct strings {
    char **texts;    /* texts[id], NUL-terminated; they point into the arena */
    uint32_t *sizes; /* without the NUL */
    uint32_t count, capacity;
    struct map64 by_hash;
    struct arena arena;
};

struct fault_record {
    uint32_t name;             /* intern id, e.g. "partition halves" */
    uint32_t detail;           /* intern id, e.g. "n1 n2 | n3 n4 n5"; NO_STRING if none */
    uint32_t colour;           /* intern id of "#rrggbb" */
    uint64_t start_ns, end_ns; /* end_ns UINT64_MAX while it lasts */
    uint64_t affected;         /* the evidence: frames dropped or changed, processes dead, syncs hit, ... */
    uint64_t offered;          /* what the fault could have touched; 0 affected of 0 offered is an idle fault too */
};

enum sample_kind {
    SAMPLE_ROLE,
    SAMPLE_NODE_DOWN,
    SAMPLE_NODE_UP,
    SAMPLE_LOG,
    /* Of worlds in real time; text is a JSON object: */
    SAMPLE_LATE, /* harrow itself was late in the window from then on: late_ns (the worst), dropped (frames lost) */
    SAMPLE_LINK, /* what was counted on the link from `node`: to, offered, delivered, ...; names as in the report */
    SAMPLE_KINDS
};
enum role { ROLE_FOLLOWER, ROLE_CANDIDATE, ROLE_LEADER, ROLE_PEER /* none leads */, ROLES };
#define LATE_WINDOW_NS (100 * NS_PER_MS) /* what one SAMPLE_LATE stands for */
struct sample {                          /* an observation, mostly about a node */
    uint64_t time_ns;
    uint8_t kind, node, role;
    uint64_t term;
    uint32_t text; /* intern id or NO_STRING */
};

/* Columns, indexed by operation number in order of invocation (invoke_ns never falls). */
struct history {
    uint32_t count, capacity;
    uint32_t *process;
    uint8_t *node;   /* the node first asked, or NODE_UNKNOWN */
    uint16_t *f;     /* enum op_function, or OP_CUSTOM + n (name: custom[n]) */
    uint8_t *status; /* enum op_status */
    uint32_t *key;   /* intern id, or NO_STRING */
    struct value *argument, *result;
    uint64_t *intended_ns;             /* open loop: when it should have started; else invoke_ns */
    uint64_t *invoke_ns, *complete_ns; /* complete_ns UINT64_MAX while pending; info: when the client gave up */
    uint32_t *error;                   /* intern id of an error text, or NO_STRING */
    uint8_t *final_phase;              /* 1: issued after all faults were healed (final reads) */

    struct value *pool; /* list elements */
    uint32_t pool_count, pool_capacity;
    struct strings strings; /* keys, string values, errors, names */
    uint32_t custom[256];   /* intern ids of custom functions */
    uint32_t custom_count;

    struct fault_record *faults;
    uint32_t faults_count, faults_capacity;
    struct sample *samples;
    uint32_t samples_count, samples_capacity;
};

struct history *history_new(void);
void history_free(struct history *h);
/* Empty again, memory kept: a hunt reuses one history for all its schedules. Every id (of strings and of custom
 * functions) is void after it. */
void history_clear(struct history *h);
/* Room for so many operations in all, for who can tell beforehand: the columns then need not grow. */
void history_reserve(struct history *h, uint32_t ops);

uint32_t history_intern(struct history *h, const char *text);
uint32_t history_intern_bytes(struct history *h, struct bytes text);
const char *history_text(const struct history *h, uint32_t id); /* "" for NO_STRING; valid until clear or free */
struct bytes history_text_bytes(const struct history *h, uint32_t id);
struct value history_list(struct history *h, const struct value *elements, uint32_t count); /* copies into the pool */
struct value history_pair(struct history *h, struct value a, struct value b);
bool history_value_equal(const struct history *h, struct value a, struct value b);                 /* deep */
void history_value_print(const struct history *h, struct value v, struct buffer *out);             /* as JSON */
int history_value_parse(struct history *h, struct bytes json, struct value *out, struct error *e); /* its twin */
const char *history_function_name(const struct history *h, uint16_t f);
/* Built-in, or interned as custom; FUNCTION_NONE when all 256 custom functions are taken. */
uint16_t history_function(struct history *h, const char *name);

/* Records an invocation; returns the operation's number. intended_ns <= now_ns. */
uint32_t history_invoke(struct history *h, uint64_t now_ns, uint64_t intended_ns, uint32_t process, uint8_t node,
                        uint16_t f, uint32_t key, struct value argument);
/* Records its end. status is OK, FAIL or INFO; result counts for OK only (and for a FAILed cas, what was seen). */
void history_complete(struct history *h, uint32_t op, uint64_t now_ns, enum op_status status, struct value result,
                      uint32_t error);
uint32_t history_fault_start(struct history *h, uint64_t now_ns, const char *name, const char *detail,
                             const char *colour);
uint32_t history_fault_add(struct history *h, struct fault_record fault); /* a whole record: for readers of files */
void history_fault_end(struct history *h, uint32_t fault, uint64_t now_ns, uint64_t affected, uint64_t offered);
void history_sample(struct history *h, struct sample s);

/* Latency quantiles by HdrHistogram's method (log-linear buckets, 3 significant digits) over one function's ok
 * operations, or all of them with f = UINT16_MAX; latency counts from intended_ns. */
struct quantiles {
    uint64_t count, p50_ns, p90_ns, p99_ns, p999_ns, max_ns, mean_ns;
};
struct quantiles history_latency(const struct history *h, uint16_t f);

#endif
