/* The oracle of transactions, and the makers of their histories. Slow and plain on purpose: serializable means that
 * some sequence of the transactions, run one by one, gives what was read; snapshot isolation, that some sequence of
 * starts and commits does; read committed, that some order of versions makes a graph without G1. */
#include "tests/transaction_internal.h"

#include <ctype.h>
#include <stdlib.h>

bool txn_same_list(const struct list *a, const struct list *b) {
    return a->size == b->size && memcmp(a->items, b->items, a->size * sizeof *a->items) == 0;
}

static void put(struct db *db, uint32_t key, int32_t value, enum transactions_workload w) {
    struct list *l = &db->keys[key];
    if (w == TRANSACTIONS_RW_REGISTER) l->size = 0;
    assert(l->size < LIST_MAX);
    l->items[l->size++] = value;
}

/* --- to and from a history ---------------------------------------------------------------------------------------- */

static struct value name(struct history *h, const char *text) {
    return (struct value){.kind = VALUE_STRING, .string = history_intern(h, text)};
}

static struct value value_of(struct history *h, const struct list *l, enum transactions_workload w) {
    if (w == TRANSACTIONS_RW_REGISTER) return l->size ? VALUE_OF_INT(l->items[0]) : VALUE_OF_NIL;
    struct value elements[LIST_MAX];
    for (uint32_t i = 0; i < l->size; i++) elements[i] = VALUE_OF_INT(l->items[i]);
    return history_list(h, elements, l->size);
}

static struct value micros_of(struct history *h, const struct txn *t, bool results, enum transactions_workload w) {
    static const char *const keys[KEYS_MAX] = {"x", "y", "z"};
    struct value parts[MICROS_MAX];
    for (uint32_t i = 0; i < t->count; i++) {
        const struct part *p = &t->parts[i];
        const char *f = !p->write ? "r" : w == TRANSACTIONS_LIST_APPEND ? "append" : "w";
        struct value v = p->write ? VALUE_OF_INT(p->value) : results ? value_of(h, &p->seen, w) : VALUE_OF_NIL;
        struct value e[3] = {name(h, f), name(h, keys[p->key]), v};
        parts[i] = history_list(h, e, 3);
    }
    return history_list(h, parts, t->count);
}

struct history *txns_to_history(struct txn *txns, uint32_t count, enum transactions_workload w) {
    struct history *h = history_new();
    for (uint32_t i = 1; i < count; i++) {
        struct txn moved = txns[i];
        uint32_t j = i;
        for (; j > 0 && txns[j - 1].begin > moved.begin; j--) txns[j] = txns[j - 1];
        txns[j] = moved;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct txn *t = &txns[i];
        struct value argument = micros_of(h, t, false, w);
        uint32_t op = history_invoke(h, t->begin, t->begin, t->process, NODE_UNKNOWN, OP_TXN, NO_STRING, argument);
        if (t->status == OP_PENDING) continue;
        struct value result = t->status == OP_OK ? micros_of(h, t, true, w) : VALUE_OF_NIL;
        history_complete(h, op, t->end, t->status, result, NO_STRING);
    }
    return h;
}

uint32_t txns_from_history(const struct history *h, struct txn *txns) {
    for (uint32_t op = 0; op < h->count; op++) {
        struct txn *t = &txns[op];
        *t = (struct txn){
            .process = h->process[op], .begin = h->invoke_ns[op], .end = h->complete_ns[op], .status = h->status[op]};
        struct value v = t->status == OP_OK ? h->result[op] : h->argument[op];
        for (uint32_t i = 0; i < v.size; i++) {
            const struct value *e = &h->pool[h->pool[v.first + i].first];
            struct part *p = &t->parts[t->count++];
            p->write = strcmp(history_text(h, e[0].string), "r") != 0;
            p->known = t->status == OP_OK;
            p->key = (uint32_t)(history_text(h, e[1].string)[0] - 'x');
            if (p->write) p->value = (int32_t)e[2].integer;
            if (!p->write && e[2].kind == VALUE_INT) p->seen.items[p->seen.size++] = (int32_t)e[2].integer;
            for (uint32_t k = 0; !p->write && e[2].kind == VALUE_LIST && k < e[2].size; k++)
                p->seen.items[p->seen.size++] = (int32_t)h->pool[e[2].first + k].integer;
        }
    }
    return h->count;
}

/* --- by hand ------------------------------------------------------------------------------------------------------ */

static void parse_part(struct txn *t, char **at) {
    struct part *p = &t->parts[t->count++];
    assert(t->count <= MICROS_MAX);
    *p = (struct part){.write = **at != 'r', .key = (uint32_t)((*at)[1] - 'x')};
    assert(strchr("arw", **at) && p->key < KEYS_MAX);
    *at += 2;
    while (isdigit((unsigned char)**at)) {
        int32_t value = (int32_t)strtol(*at, at, 10);
        p->value = value;
        p->seen.items[p->seen.size++] = value;
        if (**at == '.') (*at)++;
    }
}

struct history *transactions_by_hand(const char *text, enum transactions_workload w) {
    struct txn txns[TXNS_MAX] = {0};
    uint32_t count = 0;
    char copy[512], *rest = copy;
    assert(strlen(text) < sizeof copy);
    strcpy(copy, text);
    for (char *one = strsep(&rest, ";"); one; one = strsep(&rest, ";")) {
        assert(count < TXNS_MAX);
        struct txn *t = &txns[count];
        *t = (struct txn){.process = 100 + count, .begin = count, .end = 1000, .status = OP_OK};
        count++;
        while (*one == ' ') one++;
        if (*one == '!') t->status = OP_FAIL;
        if (*one == '?') t->status = OP_INFO;
        if (*one == '!' || *one == '?') one++;
        if (isdigit((unsigned char)*one)) {
            t->process = (uint32_t)strtoul(one, &one, 10);
            t->begin = strtoull(one + 1, &one, 10);
            t->end = strtoull(one + 1, &one, 10);
        }
        while (*one) {
            if (*one == ' ') {
                one++;
            } else {
                parse_part(t, &one);
            }
        }
    }
    return txns_to_history(txns, count, w);
}

/* --- at random ---------------------------------------------------------------------------------------------------- */

static void random_plan(struct prng *p, struct txn *txns, uint32_t count) {
    uint32_t keys = (uint32_t)prng_between(p, 1, KEYS_MAX), processes = (uint32_t)prng_between(p, 1, 4);
    uint64_t free_at[4] = {0};
    int32_t value = 0;
    uint32_t writes_ppm = (uint32_t)prng_between(p, 200000, 800000);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t lane = (uint32_t)prng_below(p, processes);
        struct txn *t = &txns[i];
        t->process = lane;
        t->begin = free_at[lane] + prng_below(p, 6);
        t->end = t->begin + prng_below(p, 12);
        free_at[lane] = t->end + prng_below(p, 2);
        t->status = OP_OK;
        t->count = (uint32_t)prng_between(p, 1, 3);
        for (uint32_t k = 0; k < t->count; k++) {
            t->parts[k].key = (uint32_t)prng_below(p, keys);
            t->parts[k].write = prng_chance(p, writes_ppm);
            t->parts[k].value = ++value;
        }
    }
}

static void execute(struct txn *t, struct db *snapshot, struct db *db, enum transactions_workload w) {
    for (uint32_t k = 0; k < t->count; k++) {
        struct part *part = &t->parts[k];
        if (part->write) {
            put(snapshot, part->key, part->value, w);
            if (db != snapshot) put(db, part->key, part->value, w);
        } else {
            part->seen = snapshot->keys[part->key];
        }
    }
}

/* One after another, at a moment of their time or in any order. */
static void run_serial(struct prng *p, struct txn *txns, uint32_t count, bool strict, enum transactions_workload w) {
    uint64_t when[TXNS_MAX];
    bool done[TXNS_MAX] = {false};
    struct db db = {0};
    for (uint32_t i = 0; i < count; i++)
        when[i] = strict ? prng_between(p, txns[i].begin * 100 + 1, txns[i].end * 100 + 2) : prng_below(p, 1000);
    for (uint32_t n = 0; n < count; n++) {
        uint32_t next = count;
        for (uint32_t i = 0; i < count; i++)
            if (!done[i] && (next == count || when[i] < when[next])) next = i;
        done[next] = true;
        if (txns[next].status == OP_FAIL) continue;
        execute(&txns[next], &db, &db, w);
    }
}

/* Each from a snapshot that may be old; writes are applied blindly, so that updates get lost, too. */
static void run_snapshots(struct prng *p, struct txn *txns, uint32_t count, enum transactions_workload w) {
    struct db states[TXNS_MAX + 1] = {0};
    for (uint32_t i = 0; i < count; i++) {
        struct db snapshot = states[i - prng_below(p, i < 3 ? i + 1 : 3)];
        states[i + 1] = states[i];
        execute(&txns[i], &snapshot, &states[i + 1], w);
    }
}

/* Each part for itself, in a random mixture. */
static void run_mixed(struct prng *p, struct txn *txns, uint32_t count, enum transactions_workload w) {
    struct db db = {0};
    uint32_t at[TXNS_MAX] = {0}, left = 0;
    for (uint32_t i = 0; i < count; i++) left += txns[i].count;
    while (left) {
        uint32_t i = (uint32_t)prng_below(p, count);
        if (at[i] == txns[i].count) continue;
        struct part *part = &txns[i].parts[at[i]++];
        if (part->write) {
            put(&db, part->key, part->value, w);
        } else {
            part->seen = db.keys[part->key];
        }
        left--;
    }
}

void txns_spoil_a_read(struct prng *p, struct txn *txns, uint32_t count, enum transactions_workload w) {
    struct txn *t = &txns[prng_below(p, count)], *other = &txns[prng_below(p, count)];
    struct part *part = &t->parts[prng_below(p, t->count)], *from = &other->parts[prng_below(p, other->count)];
    if (part->write) return;
    struct list *l = &part->seen;
    if (w == TRANSACTIONS_RW_REGISTER) {
        l->size = prng_below(p, 4) > 0;
        l->items[0] = from->write && from->key == part->key ? from->value : (int32_t)prng_between(p, 1, 6);
    } else if (prng_below(p, 2) && l->size) {
        l->size = (uint32_t)prng_below(p, l->size);
    } else if (prng_below(p, 4) && from->key == part->key && !from->write) {
        *l = from->seen;
    } else if (l->size + 1 < LIST_MAX) {
        l->items[l->size++] = from->value;
    }
}

struct history *transactions_random(struct prng *p, enum transactions_workload w) {
    struct txn txns[TXNS_MAX] = {0};
    uint32_t count = (uint32_t)prng_between(p, 2, 6);
    random_plan(p, txns, count);
    for (uint32_t i = 0; i < count; i++)
        if (prng_below(p, 12) == 0) txns[i].status = OP_FAIL;
    switch (prng_below(p, 5)) {
    case 0: run_serial(p, txns, count, false, w); break;
    case 1: run_snapshots(p, txns, count, w); break;
    case 2: run_mixed(p, txns, count, w); break;
    default: run_serial(p, txns, count, true, w); break;
    }
    uint32_t last_process = 10;
    for (uint32_t i = 0; i < count; i++) {
        if (txns[i].status != OP_OK || prng_below(p, 8)) continue;
        txns[i].status = prng_below(p, 2) ? OP_INFO : OP_PENDING;
        txns[i].process = last_process++;
    }
    for (uint32_t i = (uint32_t)prng_below(p, 3); i > 0; i--) txns_spoil_a_read(p, txns, count, w);
    return txns_to_history(txns, count, w);
}

/* --- the oracle --------------------------------------------------------------------------------------------------- */

struct oracle {
    struct txn txns[TXNS_MAX];
    uint32_t count;
    enum transactions_workload w;
    enum { BY_DATA, BY_PROCESS, BY_TIME } order;
    bool part_of[TXNS_MAX]; /* those that happen in this try */
};

static bool comes_before(const struct oracle *o, uint32_t a, uint32_t b) {
    const struct txn *x = &o->txns[a], *y = &o->txns[b];
    if (x->status != OP_OK || a == b) return false;
    if (o->order >= BY_PROCESS && x->process == y->process && a < b) return true;
    return o->order == BY_TIME && x->end < y->begin;
}

/* Runs it on db; false if it read something else. */
static bool replay(const struct oracle *o, uint32_t i, struct db *db) {
    for (uint32_t k = 0; k < o->txns[i].count; k++) {
        const struct part *p = &o->txns[i].parts[k];
        if (p->write) {
            put(db, p->key, p->value, o->w);
        } else if (p->known && !txn_same_list(&p->seen, &db->keys[p->key])) {
            return false;
        }
    }
    return true;
}

static bool some_sequence(const struct oracle *o, uint32_t done, const struct db *db) {
    bool all = true;
    for (uint32_t i = 0; i < o->count; i++) {
        if (!o->part_of[i] || done >> i & 1) continue;
        all = false;
        bool free = true;
        for (uint32_t b = 0; b < o->count; b++)
            if (o->part_of[b] && !(done >> b & 1) && comes_before(o, b, i)) free = false;
        struct db next = *db;
        if (free && replay(o, i, &next) && some_sequence(o, done | 1u << i, &next)) return true;
    }
    return all;
}

struct snapshots {
    uint32_t started, committed;
    struct db db, at_start[TXNS_MAX]; /* at_start: after its own writes */
    uint32_t version[KEYS_MAX], version_at_start[TXNS_MAX][KEYS_MAX];
};

static bool some_commits(const struct oracle *o, const struct snapshots *s);

static bool try_start(const struct oracle *o, const struct snapshots *s, uint32_t i) {
    for (uint32_t b = 0; b < o->count; b++)
        if (o->part_of[b] && !(s->committed >> b & 1) && comes_before(o, b, i)) return false;
    struct snapshots next = *s;
    next.at_start[i] = s->db;
    if (!replay(o, i, &next.at_start[i])) return false;
    memcpy(next.version_at_start[i], s->version, sizeof s->version);
    next.started |= 1u << i;
    return some_commits(o, &next);
}

static bool try_commit(const struct oracle *o, const struct snapshots *s, uint32_t i) {
    struct snapshots next = *s;
    bool written[KEYS_MAX] = {false};
    for (uint32_t k = 0; k < o->txns[i].count; k++)
        if (o->txns[i].parts[k].write) written[o->txns[i].parts[k].key] = true;
    for (uint32_t key = 0; key < KEYS_MAX; key++) {
        if (!written[key]) continue;
        if (s->version[key] != s->version_at_start[i][key]) return false; /* the first to commit wins */
        next.version[key]++;
        next.db.keys[key] = s->at_start[i].keys[key];
    }
    next.committed |= 1u << i;
    return some_commits(o, &next);
}

static bool some_commits(const struct oracle *o, const struct snapshots *s) {
    bool all = true;
    for (uint32_t i = 0; i < o->count; i++) {
        if (!o->part_of[i] || s->committed >> i & 1) continue;
        all = false;
        if (s->started >> i & 1 ? try_commit(o, s, i) : try_start(o, s, i)) return true;
    }
    return all;
}

/* --- read committed ----------------------------------------------------------------------------------------------- */

struct versions { /* of each key, in the order that is tried */
    int32_t value[KEYS_MAX][LIST_MAX];
    uint32_t writer[KEYS_MAX][LIST_MAX];
    uint32_t count[KEYS_MAX];
};

static bool is_last_write(const struct oracle *o, uint32_t i, uint32_t part) {
    for (uint32_t k = part + 1; k < o->txns[i].count; k++)
        if (o->txns[i].parts[k].write && o->txns[i].parts[k].key == o->txns[i].parts[part].key) return false;
    return true;
}

/* What a read saw: the place of its version behind the initial one (0), or -1 if it is none of this order. A
 * register's version that its writer itself overwrote has no place; it counts as its writer's. */
static int32_t place_read(const struct oracle *o, const struct versions *v, const struct part *p) {
    uint32_t size = p->seen.size;
    if (size == 0) return 0;
    if (o->w == TRANSACTIONS_RW_REGISTER) {
        for (uint32_t i = 0; i < v->count[p->key]; i++)
            if (v->value[p->key][i] == p->seen.items[0]) return (int32_t)i + 1;
        return -1;
    }
    if (size > v->count[p->key]) return -1;
    for (uint32_t i = 0; i < size; i++)
        if (v->value[p->key][i] != p->seen.items[i]) return -1;
    return (int32_t)size;
}

static bool no_g1(const struct oracle *o, const struct versions *v) {
    bool before[TXNS_MAX][TXNS_MAX] = {{false}};
    for (uint32_t key = 0; key < KEYS_MAX; key++)
        for (uint32_t i = 0; i < v->count[key]; i++)
            for (uint32_t j = i + 1; j < v->count[key]; j++) before[v->writer[key][i]][v->writer[key][j]] = true;
    for (uint32_t i = 0; i < o->count; i++) {
        for (uint32_t j = 0; j < o->count; j++)
            if (o->part_of[i] && o->part_of[j] && comes_before(o, i, j)) before[i][j] = true;
        for (uint32_t k = 0; o->part_of[i] && k < o->txns[i].count; k++) {
            const struct part *p = &o->txns[i].parts[k];
            if (p->write || !p->known) continue;
            int32_t at = place_read(o, v, p);
            if (at < 0) return false;
            if (at == 0) continue;
            uint32_t writer = v->writer[p->key][at - 1];
            for (uint32_t m = 0; m < o->txns[writer].count; m++)
                if (writer != i && o->txns[writer].parts[m].write && o->txns[writer].parts[m].key == p->key &&
                    o->txns[writer].parts[m].value == v->value[p->key][at - 1] && !is_last_write(o, writer, m))
                    return false;
            if (writer != i) before[writer][i] = true;
        }
    }
    for (uint32_t k = 0; k < o->count; k++)
        for (uint32_t i = 0; i < o->count; i++)
            for (uint32_t j = 0; j < o->count; j++) before[i][j] |= before[i][k] && before[k][j];
    for (uint32_t i = 0; i < o->count; i++)
        for (uint32_t j = 0; j < o->count; j++)
            if (i != j && before[i][j] && before[j][i]) return false;
    return true;
}

/* Tries every order of each key's versions, where a transaction's own stand together in its order: else it has a G0
 * with whoever stands between. */
static bool some_versions(const struct oracle *o, struct versions *v, uint32_t key, uint32_t placed) {
    if (key == KEYS_MAX) return no_g1(o, v);
    bool all = true;
    for (uint32_t i = 0; i < o->count; i++) {
        if (!o->part_of[i] || placed >> i & 1) continue;
        uint32_t before = v->count[key];
        for (uint32_t k = 0; k < o->txns[i].count; k++) {
            const struct part *p = &o->txns[i].parts[k];
            if (!p->write || p->key != key) continue;
            v->value[key][v->count[key]] = p->value;
            v->writer[key][v->count[key]++] = i;
        }
        if (v->count[key] == before) continue;
        all = false;
        if (some_versions(o, v, key, placed | 1u << i)) return true;
        v->count[key] = before;
    }
    return all && some_versions(o, v, key + 1, 0);
}

static bool holds(const struct oracle *o, const char *model) {
    if (strstr(model, "snapshot")) {
        struct snapshots s = {0};
        return some_commits(o, &s);
    }
    if (strstr(model, "committed")) {
        struct versions v = {0};
        return some_versions(o, &v, 0, 0);
    }
    struct db db = {0};
    return some_sequence(o, 0, &db);
}

bool oracle_transactions(const struct history *h, enum transactions_workload w, const char *consistency) {
    struct oracle o = {.w = w};
    assert(h->count <= TXNS_MAX);
    o.count = txns_from_history(h, o.txns);
    bool timed = strncmp(consistency, "strict", 6) == 0 || strncmp(consistency, "strong", 6) == 0;
    o.order = !timed ? BY_DATA : strstr(consistency, "session") ? BY_PROCESS : BY_TIME;
    for (uint32_t infos = 0; infos < 1u << o.count; infos++) {
        bool possible = true;
        for (uint32_t i = 0; i < o.count; i++) {
            bool open = o.txns[i].status == OP_INFO || o.txns[i].status == OP_PENDING;
            o.part_of[i] = infos >> i & 1;
            possible &= open || o.part_of[i] == (o.txns[i].status == OP_OK);
        }
        if (possible && holds(&o, consistency)) return true;
    }
    return false;
}

/* --- sessions ----------------------------------------------------------------------------------------------------- */

/* In this order of versions, does each process only go forward on the key? */
static bool goes_forward(const struct oracle *o, const struct versions *v, uint32_t key) {
    for (uint32_t first = 0; first < o->count; first++) {
        int32_t at = 0;
        for (uint32_t i = first; i < o->count; i++) {
            if (!o->part_of[i] || o->txns[i].process != o->txns[first].process) continue;
            for (uint32_t k = 0; k < o->txns[i].count; k++) {
                const struct part *p = &o->txns[i].parts[k];
                if (p->key != key || (!p->write && !p->known)) continue;
                int32_t place = -1;
                if (p->write) {
                    for (uint32_t n = 0; n < v->count[key]; n++)
                        if (v->value[key][n] == p->value) place = (int32_t)n + 1;
                } else {
                    place = place_read(o, v, p);
                }
                if (place < at) return false;
                at = place;
            }
        }
    }
    return true;
}

static bool some_order(const struct oracle *o, struct versions *v, uint32_t key) {
    bool all = true;
    for (uint32_t i = 0; i < o->count; i++) {
        for (uint32_t k = 0; o->part_of[i] && k < o->txns[i].count; k++) {
            const struct part *p = &o->txns[i].parts[k];
            bool placed = !p->write || p->key != key;
            for (uint32_t n = 0; n < v->count[key] && !placed; n++) placed = v->value[key][n] == p->value;
            if (placed) continue;
            all = false;
            v->value[key][v->count[key]++] = p->value;
            if (some_order(o, v, key)) return true;
            v->count[key]--;
        }
    }
    return all && goes_forward(o, v, key);
}

#define ORDERED_WRITES_MAX 5u

bool oracle_can_order(const struct history *h, enum transactions_workload w) {
    struct oracle o = {.w = w};
    uint32_t writes[KEYS_MAX] = {0};
    bool few = true;
    o.count = txns_from_history(h, o.txns);
    for (uint32_t i = 0; i < o.count; i++)
        for (uint32_t k = 0; k < o.txns[i].count; k++)
            if (o.txns[i].parts[k].write) few &= ++writes[o.txns[i].parts[k].key] <= ORDERED_WRITES_MAX;
    return few;
}

bool oracle_sessions(const struct history *h, enum transactions_workload w) {
    struct oracle o = {.w = w};
    o.count = txns_from_history(h, o.txns);
    for (uint32_t infos = 0; infos < 1u << o.count; infos++) {
        bool possible = true, holds_for_all = true;
        for (uint32_t i = 0; i < o.count; i++) {
            bool open = o.txns[i].status == OP_INFO || o.txns[i].status == OP_PENDING;
            o.part_of[i] = infos >> i & 1;
            possible &= open || o.part_of[i] == (o.txns[i].status == OP_OK);
        }
        for (uint32_t key = 0; key < KEYS_MAX && possible && holds_for_all; key++) {
            struct versions v = {0};
            holds_for_all = some_order(&o, &v, key);
        }
        if (possible && holds_for_all) return true;
    }
    return false;
}
