/* The history as flat tables: no allocation for a transaction or a key, keys and versions as dense numbers. Each key
 * has a small table of its versions in one common array; as histories mostly work on few keys at a time, it stays in
 * the cache. */
#include "checkers/transactions/internal.h"

#include <stdlib.h>

void *tables_alloc(uint64_t count, size_t size) {
    return xmalloc_large(((size_t)count + 1) * size);
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

struct reader_state {
    struct tables *t;
    uint32_t *key_slots; /* open-addressed; key + 1, or 0 */
    uint32_t key_slots_size;
    uint32_t read_id, write_id; /* ids of the last names seen of each kind: histories repeat them */
};

static bool scalar(struct value v) {
    return v.kind == VALUE_INT || v.kind == VALUE_STRING;
}

static uint64_t payload(struct value v) {
    return v.kind == VALUE_INT ? (uint64_t)v.integer : v.string;
}

static bool same_scalar(struct value a, struct value b) {
    return a.kind == b.kind && payload(a) == payload(b);
}

static uint32_t hash_scalar(struct value v) {
    return (uint32_t)((payload(v) + v.kind) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

static uint32_t *key_slot(const struct reader_state *r, struct value v) {
    uint32_t at = hash_scalar(v) & (r->key_slots_size - 1);
    while (r->key_slots[at] && !same_scalar(r->t->key_value[r->key_slots[at] - 1], v))
        at = (at + 1) & (r->key_slots_size - 1);
    return &r->key_slots[at];
}

static void grow_keys(struct reader_state *r) {
    struct tables *t = r->t;
    t->key_capacity = t->key_capacity ? 2 * t->key_capacity : 1024;
    t->key_value = xrealloc(t->key_value, t->key_capacity * sizeof *t->key_value);
    free(r->key_slots);
    r->key_slots_size = 2 * t->key_capacity;
    r->key_slots = xcalloc(r->key_slots_size, sizeof *r->key_slots);
    for (uint32_t k = 0; k < t->keys; k++) *key_slot(r, t->key_value[k]) = k + 1;
}

static uint32_t key_number(struct reader_state *r, struct value v) {
    if (r->t->keys == r->t->key_capacity) grow_keys(r);
    uint32_t *slot = key_slot(r, v);
    if (*slot) return *slot - 1;
    r->t->key_value[r->t->keys] = v;
    *slot = ++r->t->keys;
    return *slot - 1;
}

/* --- micro-operations --------------------------------------------------------------------------------------------- */

static bool unfit(struct tables *t, uint32_t op, const char *why) {
    if (!t->unfit) {
        t->unfit = why;
        t->unfit_op = op;
    }
    return false;
}

/* Interned names have one id each, so a name is compared as text only once. */
static bool micro_kind(struct reader_state *r, struct value f, enum micro_kind *kind) {
    if (f.kind != VALUE_STRING) return false;
    if (f.string == r->read_id || f.string == r->write_id) {
        *kind = f.string == r->read_id ? MICRO_READ : MICRO_WRITE;
        return true;
    }
    const char *name = history_text(r->t->h, f.string);
    bool lists = r->t->workload == TRANSACTIONS_LIST_APPEND;
    if (strcmp(name, "r") == 0 || strcmp(name, "read") == 0) {
        r->read_id = f.string;
        *kind = MICRO_READ;
    } else if (lists ? strcmp(name, "append") == 0 : strcmp(name, "w") == 0 || strcmp(name, "write") == 0) {
        r->write_id = f.string;
        *kind = MICRO_WRITE;
    } else {
        return false;
    }
    return true;
}

static bool add_micro(struct reader_state *r, uint32_t txn, enum micro_kind kind, struct value key, struct value v) {
    struct tables *t = r->t;
    if (!scalar(key)) return unfit(t, t->op[txn], "has a key that is neither an integer nor a string");
    if (kind == MICRO_WRITE && !scalar(v))
        return unfit(t, t->op[txn], "writes a value that is neither an integer nor a string");
    bool known = kind == MICRO_READ && t->status[txn] == OP_OK;
    if (known && t->workload == TRANSACTIONS_LIST_APPEND && v.kind != VALUE_LIST && v.kind != VALUE_NIL)
        return unfit(t, t->op[txn], "reads what is not a list");
    if (known && t->workload == TRANSACTIONS_RW_REGISTER && !scalar(v) && v.kind != VALUE_NIL)
        return unfit(t, t->op[txn], "reads a value that is neither an integer nor a string");
    if (v.kind == VALUE_NIL && t->workload == TRANSACTIONS_LIST_APPEND) v = (struct value){.kind = VALUE_LIST};
    t->micros[t->first[txn + 1]++] = (struct micro){
        .key = key_number(r, key),
        .kind = kind,
        .known = known,
        .version = VERSION_NONE,
        .value = v,
    };
    return true;
}

static bool read_list(struct reader_state *r, uint32_t txn) {
    struct tables *t = r->t;
    const struct history *h = t->h;
    uint32_t op = t->op[txn];
    bool results = t->status[txn] == OP_OK && h->result[op].kind == VALUE_LIST;
    struct value list = results ? h->result[op] : h->argument[op];
    if (list.kind != VALUE_LIST) return unfit(t, op, "is not a list of [f, key, value]");
    for (uint32_t i = 0; i < list.size; i++) {
        struct value v = h->pool[list.first + i];
        enum micro_kind kind;
        if (v.kind != VALUE_LIST || v.size < 2 || v.size > 3 || !micro_kind(r, h->pool[v.first], &kind))
            return unfit(t, op, "has a part that is not [f, key, value] with an f of this workload");
        if (!add_micro(r, txn, kind, h->pool[v.first + 1], v.size > 2 ? h->pool[v.first + 2] : VALUE_OF_NIL))
            return false;
        if (!results) t->micros[t->first[txn + 1] - 1].known = 0;
    }
    return true;
}

static bool read_single(struct reader_state *r, uint32_t txn) {
    const struct history *h = r->t->h;
    uint32_t op = r->t->op[txn];
    struct value key = {.kind = VALUE_STRING, .string = h->key[op]};
    bool read = h->f[op] == OP_READ;
    return add_micro(r, txn, read ? MICRO_READ : MICRO_WRITE, key, read ? h->result[op] : h->argument[op]);
}

/* A compare-and-set reads and writes at once; one that failed, and says which other value it met, has read. */
static bool read_cas(struct reader_state *r, uint32_t txn) {
    struct tables *t = r->t;
    const struct history *h = t->h;
    uint32_t op = t->op[txn];
    struct value key = {.kind = VALUE_STRING, .string = h->key[op]}, pair = h->argument[op];
    if (pair.kind != VALUE_LIST || pair.size != 2)
        return unfit(t, op, "is no pair of what is expected and what is new");
    if (t->status[txn] == OP_FAIL && scalar(h->result[op]) && !same_scalar(h->result[op], h->pool[pair.first])) {
        t->status[txn] = OP_OK;
        t->happened[txn] = 1;
        return add_micro(r, txn, MICRO_READ, key, h->result[op]);
    }
    return add_micro(r, txn, MICRO_READ, key, h->pool[pair.first]) &&
           add_micro(r, txn, MICRO_WRITE, key, h->pool[pair.first + 1]);
}

#define BLOCK 32u
#define BLOCK_MICROS (8 * BLOCK)

/* Loads what a block of transactions consists of, before anything is decided by it: so memory is waited for once, and
 * not for one micro-operation after another, since a branch on what is not there yet ends all looking ahead. */
static void load_block(const struct history *h, uint32_t op) {
    uint32_t parts[BLOCK_MICROS], count = 0, end = h->count - op < BLOCK ? h->count : op + BLOCK;
    uint64_t sum = 0;
    for (; op < end; op++) {
        struct value list = h->status[op] == OP_OK ? h->result[op] : h->argument[op];
        for (uint32_t i = 0; list.kind == VALUE_LIST && i < list.size && count < BLOCK_MICROS; i++) {
            const struct value *part = &h->pool[list.first + i];
            if (part->kind == VALUE_LIST && part->size == 3) parts[count++] = part->first;
        }
    }
    for (uint32_t i = 0; i < count; i++) sum += h->pool[parts[i]].kind + h->pool[parts[i] + 2].kind;
    __asm__ volatile("" : : "r"(sum));
}

static bool read_transaction(struct reader_state *r, uint32_t txn) {
    uint32_t op = r->t->op[txn];
    uint16_t f = r->t->h->f[op], writes = r->t->workload == TRANSACTIONS_LIST_APPEND ? OP_APPEND : OP_WRITE;
    r->t->first[txn + 1] = r->t->first[txn];
    if (f == OP_TXN) return read_list(r, txn);
    if (f == OP_READ || f == writes) return read_single(r, txn);
    if (f == OP_CAS && writes == OP_WRITE) return read_cas(r, txn);
    return unfit(r->t, op, "is not of this workload");
}

/* --- versions ----------------------------------------------------------------------------------------------------- */

static uint32_t *version_slot(const struct tables *t, uint32_t key, struct value v) {
    uint32_t *slots = t->slots + t->slots_first[key], size = t->slots_first[key + 1] - t->slots_first[key];
    uint32_t at = hash_scalar(v) & (size - 1);
    while (slots[at] && !same_scalar(t->micros[t->written[slots[at]]].value, v)) at = (at + 1) & (size - 1);
    return &slots[at];
}

uint32_t tables_find(const struct tables *t, uint32_t key, struct value v) {
    if (!scalar(v) || t->slots_first[key + 1] == t->slots_first[key]) return VERSION_NONE;
    uint32_t version = *version_slot(t, key, v);
    return version ? version : VERSION_NONE;
}

static void size_slots(struct tables *t) {
    t->slots_first = xcalloc((size_t)t->keys + 1, sizeof *t->slots_first);
    for (uint32_t m = 0; m < t->first[t->count]; m++)
        if (t->micros[m].kind == MICRO_WRITE) t->slots_first[t->micros[m].key + 1]++;
    for (uint32_t k = 0; k < t->keys; k++) {
        uint32_t size = 0, writes = t->slots_first[k + 1];
        while (writes && size < 2 * writes) size = size ? 2 * size : 2;
        t->slots_first[k + 1] = t->slots_first[k] + size;
    }
    t->slots = xcalloc((size_t)t->slots_first[t->keys] + 1, sizeof *t->slots);
}

/* A failed write may have been tried again with the same value: then the value is the other's. */
static bool enter_version(struct tables *t, uint32_t version, uint32_t txn) {
    const struct micro *m = &t->micros[t->written[version]];
    uint32_t *slot = version_slot(t, m->key, m->value);
    if (*slot == 0 || t->status[t->writer[*slot]] == OP_FAIL) {
        *slot = version;
        return true;
    }
    return t->status[txn] == OP_FAIL || unfit(t, t->op[txn], "writes a value that was written to the key before");
}

static bool number_versions(struct tables *t) {
    uint32_t *latest = xcalloc((size_t)t->keys + 1, sizeof *latest);
    uint64_t count = (uint64_t)t->keys + t->first[t->count];
    t->writer = tables_alloc(count, sizeof *t->writer);
    t->written = tables_alloc(count, sizeof *t->written);
    t->own_before = tables_alloc(count, sizeof *t->own_before);
    t->last_of_writer = tables_alloc(count, 1);
    t->versions = t->keys;
    for (uint32_t k = 0; k < t->keys; k++) {
        t->writer[k] = t->written[k] = NONE;
        t->last_of_writer[k] = 1;
    }
    size_slots(t);
    bool good = true;
    for (uint32_t txn = 0; txn < t->count && good && !budget_spent(t->budget); txn++) {
        for (uint32_t m = t->first[txn]; m < t->first[txn + 1] && good; m++) {
            if (t->micros[m].kind != MICRO_WRITE) continue;
            uint32_t v = t->versions++, before = latest[t->micros[m].key];
            t->micros[m].version = v & VERSION_NONE;
            t->writer[v] = txn;
            t->written[v] = m;
            t->last_of_writer[v] = 1;
            t->own_before[v] = before && t->writer[before] == txn ? before : VERSION_NONE;
            if (t->own_before[v] != VERSION_NONE) t->last_of_writer[before] = 0;
            latest[t->micros[m].key] = v;
            good = enter_version(t, v, txn);
        }
    }
    free(latest);
    return good && t->budget->state == BUDGET_LEFT;
}

void tables_observe(struct tables *t, uint32_t version) {
    uint32_t txn = t->writer[version];
    if (txn != NONE && t->status[txn] != OP_FAIL) t->happened[txn] = 1;
}

void tables_order(struct tables *t, const uint32_t *from, const uint32_t *to, uint32_t count) {
    free(t->next_first);
    free(t->next);
    t->next_first = xcalloc((size_t)t->versions + 2, sizeof *t->next_first);
    t->next = tables_alloc(count, sizeof *t->next);
    for (uint32_t i = 0; i < count; i++) t->next_first[from[i] + 2]++;
    for (uint32_t v = 0; v <= t->versions; v++) t->next_first[v + 1] += t->next_first[v];
    for (uint32_t i = 0; i < count; i++) t->next[t->next_first[from[i] + 1]++] = to[i];
}

/* --- orders of time ----------------------------------------------------------------------------------------------- */

/* Invocations are sorted, and few begin while one runs: so the search goes out from the transaction itself. */
static uint32_t first_after(const struct tables *t, uint32_t txn) {
    const uint64_t *invoke_ns = t->h->invoke_ns;
    uint64_t end_ns = t->h->complete_ns[t->op[txn]];
    uint32_t low = txn, step = 1;
    while (low + step < t->count && invoke_ns[t->op[low + step]] <= end_ns) {
        low += step;
        step *= 2;
    }
    uint32_t high = low + step < t->count ? low + step : t->count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (invoke_ns[t->op[middle]] <= end_ns) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return high;
}

static void order_in_time(struct tables *t) {
    struct map64 latest = {0};
    for (uint32_t txn = 0; txn < t->count; txn++) {
        t->next_in_process[txn] = NONE;
        t->after[txn] = t->status[txn] == OP_OK ? first_after(t, txn) : t->count;
        if (t->status[txn] == OP_FAIL) continue;
        bool first = false;
        uint64_t *before = map64_put(&latest, t->h->process[t->op[txn]], &first);
        if (!first && t->status[*before] == OP_OK) t->next_in_process[*before] = txn;
        *before = txn;
    }
    map64_free(&latest);
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static uint64_t count_micros(const struct history *h) {
    uint64_t count = 0;
    for (uint32_t op = 0; op < h->count; op++) {
        uint32_t a = h->argument[op].kind == VALUE_LIST ? h->argument[op].size : 1;
        uint32_t b = h->result[op].kind == VALUE_LIST ? h->result[op].size : 1;
        count += h->f[op] == OP_CAS ? 2 : h->f[op] != OP_TXN ? 1 : a > b ? a : b;
    }
    return count;
}

static bool allocate(struct tables *t) {
    uint64_t micros = count_micros(t->h), count = t->h->count;
    if (count > TRANSACTIONS_MAX || micros >= VERSION_NONE / 2) return unfit(t, 0, "is one of too many");
    uint64_t bytes = count * (5 * sizeof(uint32_t) + 2) + micros * (sizeof *t->micros + 7 * sizeof(uint32_t));
    if (!budget_claim(t->budget, bytes)) return false;
    t->op = tables_alloc(count, sizeof *t->op);
    t->status = tables_alloc(count, 1);
    t->happened = tables_alloc(count, 1);
    t->first = tables_alloc(count, sizeof *t->first);
    t->first[0] = 0;
    t->after = tables_alloc(count, sizeof *t->after);
    t->next_in_process = tables_alloc(count, sizeof *t->next_in_process);
    t->micros = tables_alloc(micros, sizeof *t->micros);
    return true;
}

bool tables_read(struct tables *t, const struct history *h, enum transactions_workload w, bool unique,
                 struct budget *b) {
    *t = (struct tables){.h = h, .budget = b, .workload = w};
    struct reader_state r = {.t = t, .read_id = NO_STRING, .write_id = NO_STRING};
    if (!allocate(t)) return false;
    bool good = true;
    for (uint32_t op = 0; op < h->count && good && !budget_spent(b); op++) {
        uint32_t txn = t->count++;
        if (op % BLOCK == 0) load_block(h, op);
        t->op[txn] = op;
        t->status[txn] = h->status[op] == OP_PENDING ? OP_INFO : h->status[op];
        t->happened[txn] = t->status[txn] == OP_OK;
        good = read_transaction(&r, txn);
    }
    free(r.key_slots);
    if (!good || b->state != BUDGET_LEFT) return false;
    order_in_time(t);
    return !unique || number_versions(t);
}

void tables_free(struct tables *t) {
    free(t->op);
    free(t->status);
    free(t->happened);
    free(t->first);
    free(t->micros);
    free(t->after);
    free(t->next_in_process);
    free(t->key_value);
    free(t->writer);
    free(t->written);
    free(t->own_before);
    free(t->last_of_writer);
    free(t->slots);
    free(t->slots_first);
    free(t->next_first);
    free(t->next);
}
