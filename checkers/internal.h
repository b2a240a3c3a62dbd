/* What the checkers share among themselves, and nobody else sees.
 *
 * The way of a history through the linearizability check: what is ordinary is decided as it stands (register_scan.c).
 * Else partition.c groups the operations by key, has their events ordered (order.c) and the model (model.c) translate
 * each into a `call`; linearizable.c hands each partition to a list of deciders, of which that for registers
 * (register.c) is linear and the search (search.c) is the last. What is not linearizable goes through shrink.c, which
 * takes the evidence of register_evidence.c if there is some, and explain.c.
 *
 * Values of a partition are interned to dense ids (values.c), so a state is one 32-bit word and equality is exact. */
#ifndef HARROW_CHECKERS_INTERNAL_H
#define HARROW_CHECKERS_INTERNAL_H

#include "checkers/checkers.h"

#define NONE UINT32_MAX

/* --- budget: what a check may spend ------------------------------------------------------------------------------- */

#define DEADLINE_MS_DEFAULT UINT64_C(60000)
#define MEMORY_BYTES_MAX_DEFAULT (UINT64_C(2) << 30)

enum budget_state { BUDGET_LEFT, BUDGET_TIME_SPENT, BUDGET_MEMORY_SPENT };
struct budget {
    uint64_t start_ns, deadline_ns; /* of the monotonic clock */
    uint64_t memory_bytes, memory_bytes_max;
    uint32_t ticks;
    enum budget_state state; /* once spent it stays spent */
};
struct budget budget_of(const struct check_options *o); /* o may be NULL */
/* A share that ends after at most limit_ns from now, and never later than its whole. */
struct budget budget_share(const struct budget *whole, uint64_t limit_ns);
/* For the explanation of an invalid verdict: what is left and a little more, up to 10 s. So time that is nearly spent
 * costs a part of the explanation and not all of it. */
struct budget budget_to_explain(const struct budget *whole);
bool budget_spent_now(struct budget *b); /* looks at the clock */
/* For inner loops: looks at the clock after so much work, in memory accesses or the like, or so many calls. */
#define BUDGET_WORK_MAX 4096u
#define BUDGET_CALLS_MAX 256u
static inline bool budget_spent_by(struct budget *b, uint32_t work) {
    b->ticks += work < BUDGET_WORK_MAX ? work : BUDGET_WORK_MAX;
    if (b->ticks < BUDGET_WORK_MAX) return b->state != BUDGET_LEFT;
    b->ticks = 0;
    return budget_spent_now(b);
}
static inline bool budget_spent(struct budget *b) {
    return budget_spent_by(b, BUDGET_WORK_MAX / BUDGET_CALLS_MAX);
}
bool budget_claim(struct budget *b, uint64_t bytes); /* false: over the cap, nothing claimed */
void budget_release(struct budget *b, uint64_t bytes);
/* The same for what grows: claims what is missing to so many bytes, and counts it in *claimed. */
bool budget_claim_up_to(struct budget *b, uint64_t *claimed, uint64_t bytes);
void budget_tell(const struct budget *b, struct check_result *out); /* unknown: time or memory was spent */

/* --- results ------------------------------------------------------------------------------------------------------ */

void result_start(struct check_result *out, const char *name);
/* Sets verdict and detail. */
void result_set(struct check_result *out, enum verdict v, const char *format, ...) PRINTF_LIKE(3, 4);
void result_explain(struct check_result *out, struct buffer *text);             /* takes over the text */
void result_ops(struct check_result *out, const uint32_t *ops, uint32_t count); /* sorted, each once */

/* Is the history one that a check can trust? Otherwise the result becomes unknown, naming the operation. */
bool history_trusted(const struct history *h, struct check_result *out);

/* --- text --------------------------------------------------------------------------------------------------------- */

#define LIST_PRINT_MAX 16u                                                 /* longer lists are cut in the middle */
void print_key(const struct history *h, uint32_t key, struct buffer *out); /* `key k3` */
void print_text(const struct history *h, uint32_t id, struct buffer *out); /* one line, whatever is in it */
void print_function(const struct history *h, uint32_t op, struct buffer *out);
void print_duration(uint64_t ns, struct buffer *out); /* `1.2 s`, `35 ms` */
void print_value(const struct history *h, struct value v, struct buffer *out);
void print_op(const struct history *h, uint32_t op, struct buffer *out); /* `write 5`, `read -> 4` */
/* Time as columns of events, one lane per process: [write 5] beside [read -> 4]. Nothing if it would not fit. */
void print_lanes(const struct history *h, const uint32_t *ops, uint32_t count, struct buffer *out);
const char *buffer_text(struct buffer *b); /* with a NUL behind it; valid until the next change */

/* --- values: interned within one partition ------------------------------------------------------------------------ */

#define VALUE_ID_NIL 0u
#define VALUE_ID_EMPTY 1u        /* the list without elements; longer ones are (prefix, last element) */
#define VALUE_ID_MAX 0x7ffffffeu /* ids have 31 bits */

struct value_entry {
    uint32_t kind;
    union {
        int64_t integer;
        uint32_t string;
        struct {
            uint32_t prefix, last;
        };
    };
};
struct recent_list { /* the list interned last: where it lies in the history's pool, and the ids of its prefixes */
    uint32_t first, size, capacity;
    uint32_t *ids;
};
struct values {
    struct value_entry *entries; /* by id */
    uint32_t count, capacity;
    uint32_t *dense; /* ids of the integers from dense_first on; 0 if there is none, or it is in the map */
    size_t dense_size, dense_capacity;
    uint64_t dense_first;
    struct map64 integers, strings, lists;
    struct recent_list recent;
};
void values_clear(struct values *v);
void values_reserve(struct values *v, uint32_t count); /* for about so many */
void values_free(struct values *v);
uint32_t values_intern(struct values *v, const struct history *h, struct value x);
uint32_t values_copy(struct values *v, uint32_t id); /* another id for the same value; not found by interning */
/* A list that equals no other, whatever is appended; it prints as what it is made of. */
uint32_t values_list_apart(struct values *v, uint32_t prefix, uint32_t last);
void values_truncate(struct values *v, uint32_t count); /* forgets copies again, when nothing else came after */
uint32_t values_integer(struct values *v, int64_t integer);
uint32_t values_append(struct values *v, uint32_t prefix, uint32_t last);
uint32_t values_find_append(const struct values *v, uint32_t prefix, uint32_t last); /* NONE if not interned */
uint64_t values_in(const struct history *h, struct value x); /* how many may be new when it is interned */
uint64_t values_bytes(const struct values *v);
uint64_t values_bytes_with(const struct values *v, uint64_t more); /* at most, while so many are interned */
void values_print(const struct values *v, const struct history *h, uint32_t id, struct buffer *out);

/* --- calls: operations as a model sees them ----------------------------------------------------------------------- */

/* Every model's operation is a guard and an effect: it is legal where the state equals the guard (or always), and then
 * does one thing to the state. A read is all guard, a write all effect, a cas both. */
#define GUARD_ANY 0x7fffffffu
enum effect { EFFECT_NONE, EFFECT_SET, EFFECT_ADD, EFFECT_APPEND };

struct call {
    uint32_t op;       /* in the history */
    uint32_t guard;    /* value id or GUARD_ANY */
    uint32_t value;    /* value id: what is set, added or appended */
    uint32_t invoked;  /* positions in the partition's order of events */
    uint32_t returned; /* NONE when optional */
    uint8_t effect;
    bool optional; /* info or pending: may take effect at any time after its invocation, or never */
};

/* A model translates one operation; fills guard, value and effect. */
struct model {
    const char *name, *doc;
    uint32_t functions; /* bit f: knows the built-in function f */
    struct value nil;   /* what a missing key holds, and what NIL means as a result */
    bool never_nil;     /* NIL as a result is no value: whoever read it did not say what it saw */
};
/* False if the model has no meaning for the operation; *why is then a phrase about it. */
bool model_encode(const struct model *m, const struct history *h, uint32_t op, struct values *values, struct call *c,
                  const char **why);
uint32_t model_initial(const struct model *m, const struct history *h, struct values *values);
/* What the effect makes of a state; NONE where it is a type error. May intern a new value. */
uint32_t call_apply(const struct call *c, struct values *values, uint32_t state);

/* --- partitions --------------------------------------------------------------------------------------------------- */

/* What remains of one key's operations: failed ones and reads without a known result are gone. Calls stand in order of
 * invocation. */
struct partition {
    const struct history *h;
    uint32_t key; /* intern id or NO_STRING */
    struct call *calls;
    uint32_t count, capacity;
    uint32_t *returns; /* calls that are not optional, in order of return */
    uint32_t returns_count;
    struct values *values; /* shared by a partition and its subsets */
    uint32_t initial;      /* value id */
    bool sets_only;        /* no effect but SET */
    bool grows;            /* the state never comes back to a value that it left */
    bool appends;          /* grows, and by EFFECT_APPEND */
};

/* What a counterexample was taken from. */
struct extent {
    uint32_t calls, returns;
    uint32_t position; /* returns before that of the call that cannot be placed */
};

/* Operations of a history grouped by key, smallest group first. */
struct groups {
    uint32_t *ops; /* group g: ops[first[g] .. first[g + 1]) */
    uint32_t *first;
    uint32_t *key;
    uint32_t count;
    uint64_t bytes; /* claimed */
};
bool groups_make(struct groups *g, const struct history *h, struct budget *b); /* false: the budget is spent */
void groups_free(struct groups *g);
/* The operations of one key are scattered over the columns, so memory is asked for what is needed some operations
 * later. */
#define LOOK_AHEAD 16u

/* The order of events: a position for each invocation, and for each return of an operation that ended ok (else NONE).
 * Events of equal time count as concurrent (invocations first), unless all of them belong to one process. Returns how
 * many operations return. */
uint32_t order_events(const struct history *h, const uint32_t *ops, uint32_t count, uint32_t *invoked,
                      uint32_t *returned);
/* The same, with the positions so many words apart; `order` receives the indexes of what returns, in order. */
uint32_t order_events_into(const struct history *h, const uint32_t *ops, uint32_t count, uint32_t *invoked,
                           uint32_t *returned, size_t stride, uint32_t *order);

/* What ordering takes beside what it is given. */
#define ORDER_SCRATCH_WORDS(count) (2 * (size_t)(count) + 1)

/* What partition_make needs at most. */
#define PARTITION_BYTES_PER_OP (uint64_t)(sizeof(struct call) + sizeof(struct value_entry) + 6 * sizeof(uint32_t))
/* Fills p from the group's operations. False: not an operation of this model, *bad_op and *why tell; or the budget is
 * spent, and *why is NULL. */
bool partition_make(struct partition *p, const struct model *m, const struct history *h, uint32_t key,
                    const uint32_t *ops, uint32_t count, struct budget *b, uint32_t *bad_op, const char **why);
void partition_copy(const struct partition *p, struct partition *into);
/* Parts of a partition; values are shared, `into` is zeroed or reused. The calls for which keep is set: */
void partition_subset(const struct partition *p, const uint8_t *keep, struct partition *into);
/* The calls items[i] / 2, in this order; where the item is even its guard does not count. What had not returned by the
 * position is optional. */
void partition_pick(const struct partition *p, const uint64_t *items, uint32_t count, uint32_t now,
                    struct partition *into);
/* What had happened up to a return: calls that were open then are optional. */
void partition_prefix(const struct partition *p, uint32_t returns_count, struct partition *into);
/* All calls, but c is a read of the value. */
void partition_read_instead(const struct partition *p, uint32_t c, uint32_t value, struct partition *into);
/* Drops what no observer needs. Deciders that gain from it ask for it. */
void partition_drop_unobserved(struct partition *p);
void partition_free(struct partition *p);
uint64_t partition_bytes(const struct partition *p);

/* --- deciders ----------------------------------------------------------------------------------------------------- */

enum decision { DECIDED_VALID, DECIDED_INVALID, UNDECIDED };

/* Memory that deciders keep from one partition to the next. */
struct search;
struct search *search_new(void);
void search_free(struct search *s);
/* Registers whose observed values are set once each: linear. UNDECIDED where they are not, or the budget is spent. */
enum decision register_decide(struct search *s, struct partition *p, struct budget *b);
/* Right after register_decide found p invalid: few calls that are so by themselves, as far as they had got at the end
 * of the shortest prefix that is invalid. False if there is no such finding. */
bool register_evidence(const struct search *s, const struct partition *p, struct partition *into);
/* Registers whose values repeat: INVALID where a value was observed that surely had been replaced; else tells sets of
 * the same value apart as far as time does, and decides that. */
enum decision register_sources_decide(struct search *search, struct partition *p, struct budget *b);
/* Lists whose elements are appended once each: what was seen tells the order, so appends become compare-and-sets, and
 * the deciders for registers are asked. */
enum decision lists_decide(struct search *s, struct partition *p, struct budget *b);
/* The general case: Wing and Gong (1993), Lowe (2017). UNDECIDED means that the budget is spent. */
enum decision search_decide(struct search *s, struct partition *p, struct budget *b);
uint32_t search_progress(const struct search *s); /* of the last search: returns that could be ordered at once */

/* Reads and writes of different values, straight from the history, all keys at once and without ordering it: as
 * register_decide, in a fifth of the memory and time. UNDECIDED is the answer to all that is out of the ordinary: other
 * functions, values that are no integers or are written again, findings that hang on events of the same instant. */
struct scan_finding {
    uint32_t keys; /* that there are */
    /* If invalid: of the key, all operations on the values in question; they are not linearizable by themselves. */
    uint32_t key;
    struct extent whole;
    uint32_t *ops; /* owned */
    uint32_t ops_count;
};
enum decision register_scan(const struct model *m, const struct history *h, struct budget *b,
                            struct scan_finding *found);

/* Asks each decider in turn. */
enum decision partition_decide(struct search *s, struct partition *p, struct budget *b);

/* --- counterexamples ---------------------------------------------------------------------------------------------- */

struct counterexample {
    struct partition least; /* not linearizable by itself, and neither is then the whole; `last` cannot be placed */
    uint32_t last;          /* index into least.calls: the last to return */
    bool prefix_exact;      /* the budget sufficed to find the shortest prefix that is not linearizable */
    uint32_t *could_be;     /* value ids that the state could have had for `last`; only if could_be_known */
    uint32_t could_be_count;
    bool could_be_known;
};
void counterexample_find(struct counterexample *ce, struct search *s, const struct partition *p, struct budget *b);
void counterexample_free(struct counterexample *ce);
struct extent counterexample_extent(const struct counterexample *ce, const struct partition *whole);
/* Fills detail, explanation and ops of an invalid result. The partition has all calls on the values in `least`. */
void counterexample_explain(const struct counterexample *ce, const struct partition *p, const struct extent *whole,
                            const struct model *m, struct check_result *out);

#endif
