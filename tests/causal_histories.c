/* The oracle of causal consistency, and a maker of histories for it. Slow and plain on purpose: it tries orders, runs
 * transactions one by one on a small store, and knows nothing of patterns. */
#include "tests/transaction_internal.h"

#define W TRANSACTIONS_RW_REGISTER

/* --- the maker ---------------------------------------------------------------------------------------------------- */

#define PROCESSES_MAX 4u

struct replicas {
    bool causes;                            /* heard of in the order of causes */
    bool agree;                             /* the later write wins; else the one that was heard of last */
    uint32_t heard[PROCESSES_MAX];          /* bits of transactions */
    uint32_t causes_of[TXNS_MAX];           /* what the transaction's process had heard of before it */
    uint32_t last[PROCESSES_MAX][KEYS_MAX]; /* transaction + 1; 0 */
    int32_t value[PROCESSES_MAX][KEYS_MAX];
};

static void hear_of(struct replicas *r, const struct txn *txns, uint32_t process, uint32_t txn) {
    if (r->heard[process] >> txn & 1) return;
    for (uint32_t i = 0; i < txn && r->causes; i++)
        if (r->causes_of[txn] >> i & 1) hear_of(r, txns, process, i);
    r->heard[process] |= 1u << txn;
    for (uint32_t k = 0; k < txns[txn].count; k++) {
        const struct part *part = &txns[txn].parts[k];
        if (!part->write || (r->agree && r->last[process][part->key] > txn + 1)) continue;
        r->last[process][part->key] = txn + 1;
        r->value[process][part->key] = part->value;
    }
}

static void run_on_replica(struct replicas *r, struct txn *txns, uint32_t process, uint32_t txn) {
    struct txn *t = &txns[txn];
    bool own[KEYS_MAX] = {false};
    int32_t written[KEYS_MAX] = {0};
    r->causes_of[txn] = r->heard[process];
    for (uint32_t k = 0; k < t->count; k++) {
        struct part *part = &t->parts[k];
        if (part->write) {
            own[part->key] = true;
            written[part->key] = part->value;
        } else if (own[part->key] || r->last[process][part->key]) {
            part->seen.size = 1;
            part->seen.items[0] = own[part->key] ? written[part->key] : r->value[process][part->key];
        }
    }
    hear_of(r, txns, process, txn);
}

static void plan(struct prng *p, struct txn *t, uint32_t number, uint32_t keys, uint32_t parts_max) {
    t->count = (uint32_t)prng_between(p, 1, parts_max);
    for (uint32_t k = 0; k < t->count; k++)
        t->parts[k] = (struct part){.write = prng_below(p, 5) < 2,
                                    .key = (uint32_t)prng_below(p, keys),
                                    .value = (int32_t)(number * MICROS_MAX + k + 1)};
}

struct history *transactions_random_causal(struct prng *p) {
    struct txn txns[TXNS_MAX] = {0};
    struct replicas r = {.causes = prng_below(p, 4) > 0, .agree = prng_below(p, 2)};
    uint32_t count = (uint32_t)prng_between(p, 2, 7), processes = (uint32_t)prng_between(p, 1, PROCESSES_MAX);
    uint32_t keys = prng_below(p, 2) ? 1 : (uint32_t)prng_between(p, 2, KEYS_MAX), parts_max = prng_below(p, 4) ? 1 : 3;
    bool gone[PROCESSES_MAX] = {false};
    for (uint32_t i = 0; i < count; i++) {
        uint32_t process = (uint32_t)prng_below(p, processes);
        txns[i] = (struct txn){.process = gone[process] ? 10 + i : process, .begin = 2 * i, .end = 2 * i + 1};
        plan(p, &txns[i], i, keys, parts_max);
        for (uint32_t other = 0; other < i; other++)
            if (prng_below(p, 3) == 0) hear_of(&r, txns, process, other);
        txns[i].status = prng_below(p, 16) ? OP_OK : prng_below(p, 3) ? OP_INFO : OP_FAIL;
        gone[process] |= txns[i].status == OP_INFO;
        if (txns[i].status != OP_FAIL) run_on_replica(&r, txns, process, i);
        if (txns[i].status == OP_FAIL && prng_below(p, 8) == 0) hear_of(&r, txns, process, i);
    }
    for (uint32_t i = (uint32_t)prng_below(p, 3); i > 1; i--) txns_spoil_a_read(p, txns, count, W);
    return txns_to_history(txns, count, W);
}

/* --- the oracle --------------------------------------------------------------------------------------------------- */

#define ALL_ORDERS_MAX 4u /* transactions: 4096 relations among them */

struct causes {
    const struct txn *txns;
    uint32_t count;
    uint32_t happened;                 /* bits of transactions */
    uint32_t past[TXNS_MAX];           /* the order of causes: bits of what comes before each */
    uint32_t by_all[TXNS_MAX], placed; /* one order of all */
};

/* A transaction runs as one step; false if it is looked at and read something else. */
static bool run_one(const struct causes *c, uint32_t i, bool looked_at, struct db *db) {
    for (uint32_t k = 0; k < c->txns[i].count; k++) {
        const struct part *p = &c->txns[i].parts[k];
        if (p->write) {
            db->keys[p->key].size = 1;
            db->keys[p->key].items[0] = p->value;
        } else if (looked_at && p->known && !txn_same_list(&p->seen, &db->keys[p->key])) {
            return false;
        }
    }
    return true;
}

/* Is there an order of the members, by causes, in which those that are looked at read what they did? */
static bool some_order(const struct causes *c, uint32_t members, uint32_t looked_at, uint32_t done,
                       const struct db *db) {
    if (done == members) return true;
    for (uint32_t i = 0; i < c->count; i++) {
        struct db next = *db;
        if (!((members & ~done) >> i & 1) || (c->past[i] & members & ~done)) continue;
        if (run_one(c, i, looked_at >> i & 1, &next) && some_order(c, members, looked_at, done | 1u << i, &next))
            return true;
    }
    return false;
}

static bool explains_each(const struct causes *c, bool memory) {
    const struct db empty = {0};
    for (uint32_t o = 0; o < c->count; o++) {
        if (!(c->happened >> o & 1)) continue;
        uint32_t members = c->past[o] | 1u << o, looked_at = 1u << o;
        for (uint32_t i = 0; i < o && memory; i++)
            if (members >> i & 1 && c->txns[i].process == c->txns[o].process) looked_at |= 1u << i;
        if (!some_order(c, members, looked_at, 0, &empty)) return false;
    }
    return true;
}

static bool agrees_with_all(const struct causes *c) {
    for (uint32_t o = 0; o < c->count; o++) {
        struct db db = {0};
        if (!(c->happened >> o & 1)) continue;
        for (uint32_t n = 0; n < c->placed; n++)
            if (c->past[o] >> c->by_all[n] & 1) run_one(c, c->by_all[n], false, &db);
        if (!run_one(c, o, true, &db)) return false;
    }
    return true;
}

static bool some_order_of_all(struct causes *c, uint32_t done) {
    if (done == c->happened) return agrees_with_all(c);
    for (uint32_t i = 0; i < c->count; i++) {
        if (!((c->happened & ~done) >> i & 1) || (c->past[i] & ~done)) continue;
        c->by_all[c->placed++] = i;
        bool good = some_order_of_all(c, done | 1u << i);
        c->placed--;
        if (good) return true;
    }
    return false;
}

static bool is_explained(struct causes *c, const char *model) {
    if (strcmp(model, "causal-convergence") == 0) return some_order_of_all(c, 0);
    return explains_each(c, strcmp(model, "causal-memory") == 0);
}

static bool came_first(const struct causes *c, uint32_t a, uint32_t b) {
    return a < b && c->txns[a].process == c->txns[b].process;
}

static bool reads_from(const struct causes *c, uint32_t reader, uint32_t writer) {
    for (uint32_t k = 0; k < c->txns[reader].count; k++) {
        const struct part *r = &c->txns[reader].parts[k];
        for (uint32_t i = 0; !r->write && r->seen.size && r->known && i < c->txns[writer].count; i++) {
            const struct part *w = &c->txns[writer].parts[i];
            if (w->write && w->key == r->key && w->value == r->seen.items[0]) return true;
        }
    }
    return false;
}

static bool by_least_order(struct causes *c, const char *model) {
    for (uint32_t b = 0; b < c->count; b++)
        for (uint32_t a = 0; a < c->count; a++)
            if (a != b && c->happened >> a & 1 && c->happened >> b & 1 && (came_first(c, a, b) || reads_from(c, b, a)))
                c->past[b] |= 1u << a;
    for (uint32_t k = 0; k < c->count; k++)
        for (uint32_t b = 0; b < c->count; b++)
            if (c->past[b] >> k & 1) c->past[b] |= c->past[k];
    for (uint32_t a = 0; a < c->count; a++)
        if (c->past[a] >> a & 1) return false;
    return is_explained(c, model);
}

/* The relation as bits: pair (a, b) of the transactions that happened, a before b. */
static bool take_relation(struct causes *c, const uint32_t *who, uint32_t n, uint32_t bits) {
    memset(c->past, 0, sizeof c->past);
    for (uint32_t b = 0; b < n; b++)
        for (uint32_t a = 0; a < n; a++) {
            if (a == b) continue;
            if (bits & 1) c->past[who[b]] |= 1u << who[a];
            if (!(bits & 1) && came_first(c, who[a], who[b])) return false;
            bits >>= 1;
        }
    for (uint32_t b = 0; b < n; b++) {
        uint32_t past = c->past[who[b]];
        for (uint32_t a = 0; a < n; a++)
            if (past >> who[a] & 1 && (c->past[who[a]] & ~past || c->past[who[a]] >> who[b] & 1)) return false;
    }
    return true;
}

static bool by_some_order(struct causes *c, const uint32_t *who, uint32_t n, const char *model) {
    for (uint32_t bits = 0; bits < 1u << n * (n - 1); bits++)
        if (take_relation(c, who, n, bits) && is_explained(c, model)) return true;
    return false;
}

static bool is_causal(const struct txn *txns, uint32_t count, uint32_t happened, const char *model) {
    struct causes c = {.txns = txns, .count = count, .happened = happened};
    uint32_t who[TXNS_MAX], n = 0;
    for (uint32_t i = 0; i < count; i++)
        if (happened >> i & 1) who[n++] = i;
    return n && n <= ALL_ORDERS_MAX ? by_some_order(&c, who, n, model) : by_least_order(&c, model);
}

bool oracle_causal(const struct history *h, const char *consistency) {
    struct txn txns[TXNS_MAX] = {0};
    assert(h->count <= TXNS_MAX);
    uint32_t count = txns_from_history(h, txns);
    for (uint32_t happened = 0; happened < 1u << count; happened++) {
        bool possible = true;
        for (uint32_t i = 0; i < count; i++) {
            bool open = txns[i].status == OP_INFO || txns[i].status == OP_PENDING;
            possible &= open || (happened >> i & 1) == (txns[i].status == OP_OK);
        }
        if (possible && is_causal(txns, count, happened, consistency)) return true;
    }
    return false;
}
