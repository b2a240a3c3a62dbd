/* Anomalies and consistency models by name, and which anomaly rules out which model. After Adya (1999) and Elle
 * (Kingsbury and Alvaro, VLDB 2020); G-nonadjacent after Cerone and Gotsman (J. ACM 2018). Some of it is a choice:
 *
 * - Elements that are there twice, or that nobody wrote, or without what their writer wrote before, are in no history
 *   at all, whatever the model.
 * - Reads without a common order, and writes on top of what was rolled back, are taken for dirty reads.
 * - There are no predicates here, so a cycle that breaks serializability breaks repeatable read as well.
 * - Snapshot isolation is the generalized one, which may read from an old snapshot; the strong one may not. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

static const char *const anomaly_names[CYCLES_END] = {
    [DUPLICATE_ELEMENTS] = "duplicate-elements",
    [GARBAGE_READ] = "garbage-read",
    [TORN_WRITES] = "torn-writes",
    [G1A] = "G1a",
    [DIRTY_UPDATE] = "dirty-update",
    [G1B] = "G1b",
    [INCOMPATIBLE_ORDER] = "incompatible-order",
    [INTERNAL] = "internal",
    [LOST_UPDATE] = "lost-update",
    [G0] = "G0",
    [G1C] = "G1c",
    [G_SINGLE] = "G-single",
    [G_NONADJACENT] = "G-nonadjacent",
    [G2_ITEM] = "G2-item",
};

void anomaly_print(uint32_t anomaly, struct buffer *out) {
    static const char *const orders[ORDERS] = {"", "-process", "-realtime"};
    uint32_t beyond = anomaly < CYCLES_FIRST ? 0 : (anomaly - CYCLES_FIRST) / CYCLE_KINDS;
    buffer_printf(out, "%s%s", anomaly_names[anomaly - beyond * CYCLE_KINDS], orders[beyond]);
}

/* What a model forbids beside garbage. */
enum strictness { FORBIDS_G0, FORBIDS_G1, FORBIDS_NONADJACENT, FORBIDS_G2 };

static const char *const names[] = {
    "read-uncommitted",
    "strong-session-read-uncommitted",
    "strong-read-uncommitted",
    "read-committed",
    "strong-session-read-committed",
    "strong-read-committed",
    "repeatable-read",
    "snapshot-isolation",
    "strong-session-snapshot-isolation",
    "strong-snapshot-isolation",
    "serializable",
    "strong-session-serializable",
    "strict-serializable",
    "sequential",
    "causal",
    "causal-memory",
    "causal-convergence",
};
static const char *const docs[] = {
    "writes of two transactions are not interleaved",
    "and that in the order of each process",
    "and that in real time",
    "nobody reads what failed, what its writer overwrote, or what depends on the reader",
    "and that in the order of each process",
    "and that in real time",
    "what was read stays as it was; without predicates, as here, the same as serializable",
    "each reads one state of the past, and two do not overwrite the same version",
    "and that state has all that the process did before",
    "and that state has all that had ended before",
    "as if one transaction came after the other",
    "and that in the order of each process",
    "and that in real time; the default",
    "the same as strong-session-serializable, by its name for single operations",
    "registers: nobody sees an effect without its causes",
    "causal, and one order of events explains all that a process has read",
    "causal, and one order of events explains what everybody has read",
};
#define NAMES (sizeof names / sizeof *names)
#define MODELS 13u
#define REPEATABLE_READ 6u

static const struct {
    uint8_t strictness, order;
} models[MODELS] = {
    {FORBIDS_G0, ORDER_DATA},
    {FORBIDS_G0, ORDER_PROCESS},
    {FORBIDS_G0, ORDER_REALTIME},
    {FORBIDS_G1, ORDER_DATA},
    {FORBIDS_G1, ORDER_PROCESS},
    {FORBIDS_G1, ORDER_REALTIME},
    {FORBIDS_G2, ORDER_DATA},
    {FORBIDS_NONADJACENT, ORDER_DATA},
    {FORBIDS_NONADJACENT, ORDER_PROCESS},
    {FORBIDS_NONADJACENT, ORDER_REALTIME},
    {FORBIDS_G2, ORDER_DATA},
    {FORBIDS_G2, ORDER_PROCESS},
    {FORBIDS_G2, ORDER_REALTIME},
};

const char *consistency_name(size_t i) {
    return i < NAMES ? names[i] : NULL;
}

const char *consistency_doc(size_t i) {
    return i < NAMES ? docs[i] : NULL;
}

bool consistency_known(const char *name) {
    size_t i = 0;
    while (i < NAMES && strcmp(names[i], name) != 0) i++;
    return i < NAMES;
}

uint32_t consistency_find(const char *name) {
    if (strcmp(name, "sequential") == 0) name = "strong-session-serializable";
    for (uint32_t m = 0; m < MODELS; m++)
        if (strcmp(names[m], name) == 0) return m;
    return NONE;
}

const char *causal_kind_name(enum causal_kind kind) {
    return names[NAMES - CAUSAL_KINDS + kind];
}

uint32_t causal_find(const char *name) {
    uint32_t kind = 0;
    while (kind < CAUSAL_KINDS && strcmp(causal_kind_name((enum causal_kind)kind), name) != 0) kind++;
    return kind;
}

enum order consistency_order(uint32_t model) {
    return (enum order)models[model].order;
}

bool consistency_needs_serial(uint32_t model) {
    return models[model].strictness == FORBIDS_G2;
}

bool consistency_needs_snapshots(uint32_t model) {
    return models[model].strictness == FORBIDS_NONADJACENT;
}

/* The order of registers' versions is inferred under the premise that no one reads what comes later; so a cycle of
 * writes alone says as much as a G1c there. */
static bool forbids(uint32_t model, uint32_t anomaly, enum transactions_workload w) {
    uint32_t strictness = models[model].strictness;
    if (anomaly <= TORN_WRITES) return true;
    if (anomaly == INTERNAL || anomaly == LOST_UPDATE) return strictness > FORBIDS_G1;
    if (anomaly < CYCLES_FIRST) return strictness >= FORBIDS_G1;
    uint32_t order = (anomaly - CYCLES_FIRST) / CYCLE_KINDS;
    if (order > models[model].order) return false;
    switch (anomaly - order * CYCLE_KINDS) {
    case G0: return strictness >= (w == TRANSACTIONS_RW_REGISTER ? FORBIDS_G1 : FORBIDS_G0);
    case G1C: return strictness >= FORBIDS_G1;
    case G2_ITEM: return strictness == FORBIDS_G2;
    default: return strictness > FORBIDS_G1;
    }
}

uint32_t consistency_ruled_out(uint32_t anomalies, enum transactions_workload w) {
    uint32_t out = 0;
    for (uint32_t m = 0; m < MODELS; m++)
        for (uint32_t a = 0; a < ANOMALIES_END; a++)
            if (anomalies >> a & 1 && forbids(m, a, w)) out |= 1u << m;
    return out;
}

/* Whatever satisfies a satisfies b. */
static bool implies(uint32_t a, uint32_t b) {
    if (a == b) return true;
    if (models[a].order < models[b].order) return false;
    if (b == REPEATABLE_READ) return models[a].strictness == FORBIDS_G2;
    if (a == REPEATABLE_READ) return models[b].strictness <= FORBIDS_G1;
    return models[a].strictness >= models[b].strictness;
}

/* Of a set of models, those that imply no other of it (weakest), or that no other of it implies. */
static void print_bound(uint32_t set, bool weakest, struct buffer *out) {
    const char *separator = "";
    for (uint32_t m = 0; m < MODELS; m++) {
        bool bound = set >> m & 1;
        for (uint32_t o = 0; o < MODELS; o++)
            if (o != m && set >> o & 1 && (weakest ? implies(m, o) : implies(o, m))) bound = false;
        if (!bound) continue;
        buffer_printf(out, "%s%s", separator, names[m]);
        separator = weakest ? ", not " : " or ";
    }
}

void consistency_bounds(uint32_t ruled_out, struct buffer *out) {
    uint32_t all = (1u << MODELS) - 1;
    buffer_printf(out, "not ");
    print_bound(ruled_out, true, out);
    if (ruled_out == all) return;
    buffer_printf(out, "; at most ");
    print_bound(all & ~ruled_out, false, out);
}

/* --- findings ----------------------------------------------------------------------------------------------------- */

void findings_note(struct findings *f, uint32_t anomaly, uint32_t txn, uint32_t other, uint32_t micro, struct value v) {
    struct finding *n = &f->of[anomaly];
    f->seen |= 1u << anomaly;
    if (n->count++) return;
    n->txns[0] = txn;
    n->txns[1] = other;
    n->micro = micro;
    n->value = v;
}

void findings_free(struct findings *f) {
    for (uint32_t a = 0; a < ANOMALIES_END; a++) {
        free(f->of[a].cycle);
        free(f->of[a].kinds);
    }
    *f = (struct findings){0};
}
