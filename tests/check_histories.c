/* The oracle and the makers of histories. Slow and plain on purpose: this is what the checkers are held against. */
#include "tests/check_histories.h"

#include <stdio.h>
#include <stdlib.h>

/* --- the sequential objects --------------------------------------------------------------------------------------- */

#define OPS_MAX 20u
#define KEYS_MAX 3u
#define LIST_MAX OPS_MAX

struct object { /* compared with memcmp: cleared before use */
    uint64_t kind, size;
    int32_t items[LIST_MAX]; /* INT, STRING: items[0] */
};

static struct object object_of(const struct history *h, struct value v) {
    struct object o;
    memset(&o, 0, sizeof o);
    o.kind = v.kind;
    if (v.kind == VALUE_INT) o.items[0] = (int32_t)v.integer;
    if (v.kind == VALUE_STRING) o.items[0] = (int32_t)v.string;
    if (v.kind != VALUE_LIST) return o;
    o.size = v.size;
    for (uint32_t i = 0; i < v.size && i < LIST_MAX; i++) o.items[i] = (int32_t)h->pool[v.first + i].integer;
    return o;
}

static bool same(const struct object *a, const struct object *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

static struct object object_initial(const char *model) {
    struct object o;
    memset(&o, 0, sizeof o);
    o.kind = strcmp(model, "counter") == 0 ? VALUE_INT : strcmp(model, "list") == 0 ? VALUE_LIST : VALUE_NIL;
    return o;
}

/* Runs an operation on the object; false if it could not have ended as it did. */
static bool object_step(const struct history *h, uint32_t op, const char *model, struct object *o) {
    struct object argument = object_of(h, h->argument[op]), result = object_of(h, h->result[op]);
    if (result.kind == VALUE_NIL) result = object_initial(model);
    switch (h->f[op]) {
    case OP_READ: return same(&result, o);
    case OP_WRITE: *o = argument; return true;
    case OP_DELETE: memset(o, 0, sizeof *o); return true;
    case OP_CAS: {
        struct object expected = object_of(h, h->pool[h->argument[op].first]);
        if (h->status[op] == OP_FAIL) return same(&result, o);
        if (!same(&expected, o)) return false;
        *o = object_of(h, h->pool[h->argument[op].first + 1]);
        return true;
    }
    case OP_ADD:
        if (o->kind == VALUE_STRING || o->kind == VALUE_LIST) return false;
        o->kind = VALUE_INT;
        o->items[0] += argument.items[0];
        return true;
    case OP_APPEND:
        if (o->kind == VALUE_STRING || o->kind == VALUE_INT) return false;
        assert(o->size < LIST_MAX);
        o->kind = VALUE_LIST;
        o->items[o->size++] = argument.items[0];
        return true;
    default: return false;
    }
}

/* --- the oracle --------------------------------------------------------------------------------------------------- */

struct configuration {
    uint64_t placed;
    struct object objects[KEYS_MAX];
};

struct oracle {
    const struct history *h;
    const char *model;
    uint32_t key_of[OPS_MAX];     /* which object */
    bool must[OPS_MAX];           /* ended ok: has to be placed */
    uint32_t before[OPS_MAX];     /* bits of operations that ended before it began */
    struct configuration *failed; /* seen before, without success: full comparison */
    uint32_t failed_count, failed_capacity;
    struct map64 chains; /* hash -> 1 + index of the last failed with it */
    uint32_t *chain;
};

static bool was_cas_that_saw(const struct history *h, uint32_t op) {
    return h->status[op] == OP_FAIL && h->f[op] == OP_CAS &&
           (h->result[op].kind == VALUE_INT || h->result[op].kind == VALUE_STRING) &&
           !history_value_equal(h, h->pool[h->argument[op].first], h->result[op]);
}

static bool known_to_fail(struct oracle *o, const struct configuration *c) {
    uint64_t hash = hash_bytes(bytes_of(c, sizeof *c), 0);
    uint64_t *last = map64_put(&o->chains, hash, NULL);
    for (uint64_t i = *last; i; i = o->chain[i - 1])
        if (memcmp(&o->failed[i - 1], c, sizeof *c) == 0) return true;
    if (o->failed_count == o->failed_capacity) {
        o->failed_capacity = o->failed_capacity ? 2 * o->failed_capacity : 64;
        o->failed = xrealloc(o->failed, o->failed_capacity * sizeof *o->failed);
        o->chain = xrealloc(o->chain, o->failed_capacity * sizeof *o->chain);
    }
    o->failed[o->failed_count] = *c;
    o->chain[o->failed_count++] = (uint32_t)*last;
    *last = o->failed_count;
    return false;
}

static bool try_all(struct oracle *o, const struct configuration *c) {
    uint32_t open = 0;
    for (uint32_t op = 0; op < o->h->count; op++) open |= o->must[op] && !(c->placed >> op & 1) ? 1u << op : 0;
    if (open == 0) return true;
    if (known_to_fail(o, c)) return false;
    for (uint32_t op = 0; op < o->h->count; op++) {
        bool gone = o->h->status[op] == OP_FAIL && !o->must[op];
        if (gone || (c->placed >> op & 1) || (o->before[op] & open)) continue;
        if (o->h->f[op] == OP_READ && !o->must[op]) continue;
        struct configuration next = *c;
        next.placed |= UINT64_C(1) << op;
        if (object_step(o->h, op, o->model, &next.objects[o->key_of[op]]) && try_all(o, &next)) return true;
    }
    return false;
}

bool oracle_linearizable(const struct history *h, const char *model, enum touching touching) {
    struct oracle o = {.h = h, .model = model};
    struct configuration start;
    memset(&start, 0, sizeof start);
    uint32_t keys[KEYS_MAX], keys_count = 0;
    assert(h->count <= OPS_MAX);
    for (uint32_t op = 0; op < h->count; op++) {
        uint32_t k = 0;
        while (k < keys_count && keys[k] != h->key[op]) k++;
        if (k == keys_count) {
            assert(k < KEYS_MAX);
            start.objects[k] = object_initial(model);
            keys[keys_count++] = h->key[op];
        }
        o.key_of[op] = k;
        o.must[op] = h->status[op] == OP_OK || was_cas_that_saw(h, op);
        for (uint32_t e = 0; e < h->count; e++) {
            bool ended = h->status[e] == OP_OK || was_cas_that_saw(h, e);
            bool touches = ended && h->complete_ns[e] == h->invoke_ns[op] && e < op;
            if (ended && (h->complete_ns[e] < h->invoke_ns[op] ||
                          (touches && touching == TOUCHING_OF_ONE_PROCESS && h->process[e] == h->process[op])))
                o.before[op] |= 1u << e;
        }
    }
    bool linearizable = try_all(&o, &start);
    free(o.failed);
    free(o.chain);
    map64_free(&o.chains);
    return linearizable;
}

/* --- histories by hand -------------------------------------------------------------------------------------------- */

uint32_t add_op(struct history *h, uint32_t process, uint64_t begin, uint64_t end, uint16_t f, const char *key,
                struct value argument, enum op_status status, struct value result) {
    uint32_t id = key ? history_intern(h, key) : NO_STRING;
    uint32_t op = history_invoke(h, begin, begin, process, NODE_UNKNOWN, f, id, argument);
    if (status != OP_PENDING) history_complete(h, op, end, status, result, NO_STRING);
    return op;
}

struct history *history_of(const struct history *h, const uint32_t *ops, uint32_t count) {
    struct history *part = history_new();
    for (uint32_t id = 0; id < h->strings.count; id++) history_intern_bytes(part, history_text_bytes(h, id));
    for (uint32_t f = 0; f < h->custom_count; f++)
        history_function(part, history_function_name(h, (uint16_t)(OP_CUSTOM + f)));
    part->pool = xmalloc(h->pool_count * sizeof *part->pool + 1);
    if (h->pool_count) memcpy(part->pool, h->pool, h->pool_count * sizeof *part->pool);
    part->pool_count = part->pool_capacity = h->pool_count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t op = ops[i];
        uint32_t copy = history_invoke(part, h->invoke_ns[op], h->intended_ns[op], h->process[op], h->node[op],
                                       h->f[op], h->key[op], h->argument[op]);
        if (h->status[op] != OP_PENDING)
            history_complete(part, copy, h->complete_ns[op], h->status[op], h->result[op], NO_STRING);
    }
    return part;
}

/* --- histories by chance ------------------------------------------------------------------------------------------ */

struct planned {
    uint64_t begin, end, effect; /* effect UINT64_MAX: never */
    uint32_t process, number, key;
    uint16_t f;
    enum op_status status;
    int64_t value, expected;
    struct value result;
    bool missed; /* a cas that did not match */
    bool list;   /* a write of a list */
};

static int by_begin(const void *a, const void *b) {
    const struct planned *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

static int by_effect(const void *a, const void *b) {
    const struct planned *x = *(struct planned *const *)a, *y = *(struct planned *const *)b;
    if (x->effect != y->effect) return x->effect < y->effect ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

static uint16_t draw_function(struct prng *p, const struct shape *shape) {
    if (prng_chance(p, shape->read_ppm)) return OP_READ;
    if (strcmp(shape->model, "counter") == 0) return OP_ADD;
    if (strcmp(shape->model, "list") == 0) return OP_APPEND;
    if (strcmp(shape->model, "register") == 0) return OP_WRITE;
    if (strcmp(shape->model, "cas-register") == 0) return prng_below(p, 2) ? OP_WRITE : OP_CAS;
    if (shape->lists) return prng_below(p, 4) ? OP_APPEND : prng_below(p, 6) ? OP_WRITE : OP_DELETE;
    static const uint16_t all[] = {OP_WRITE, OP_CAS, OP_DELETE, OP_ADD, OP_APPEND};
    return all[prng_below(p, sizeof all / sizeof *all)];
}

static int64_t draw_value(struct prng *p, const struct shape *shape, uint16_t f, uint32_t number) {
    if (f == OP_ADD) return (int64_t)prng_between(p, 1, 5) - (shape->negative ? 3 : 0);
    if ((f == OP_APPEND && !shape->repeated) || shape->values == 0) return (int64_t)number + 1;
    return (int64_t)prng_below(p, shape->values);
}

static void plan(struct prng *p, const struct shape *shape, struct planned *ops) {
    uint64_t mean = shape->mean_ns ? shape->mean_ns : NS_PER_MS, *free_at = xcalloc(shape->clients, sizeof *free_at);
    uint32_t *process = xmalloc(shape->clients * sizeof *process), processes = shape->clients;
    for (uint32_t c = 0; c < shape->clients; c++) process[c] = c;
    for (uint32_t i = 0; i < shape->ops; i++) {
        uint32_t c = 0;
        for (uint32_t other = 1; other < shape->clients; other++)
            if (free_at[other] < free_at[c]) c = other;
        struct planned *o = &ops[i];
        *o = (struct planned){.number = i, .process = process[c], .status = OP_OK};
        o->key = (uint32_t)prng_below(p, shape->keys);
        o->f = draw_function(p, shape);
        o->value = draw_value(p, shape, o->f, i);
        o->list = shape->lists && o->f == OP_WRITE;
        o->expected = (int64_t)prng_below(p, shape->values ? shape->values : shape->ops);
        o->begin = free_at[c] + 1 + prng_below(p, mean / 4 + 1);
        o->end = o->begin + 1 + prng_exponential(p, mean);
        o->effect = prng_between(p, o->begin, o->end);
        free_at[c] = o->end;
        if (prng_chance(p, shape->fail_ppm)) {
            o->status = OP_FAIL;
            o->effect = UINT64_MAX;
        } else if (prng_chance(p, shape->info_ppm)) {
            o->status = prng_below(p, 4) ? OP_INFO : OP_PENDING;
            o->effect = prng_below(p, 2) ? o->begin + prng_exponential(p, 8 * mean) : UINT64_MAX;
            process[c] = processes++;
        }
    }
    free(free_at);
    free(process);
}

/* The state of one key: an integer (or nothing), and the list where that is what it is. */
struct cell {
    bool is_list;
    struct value value;
    struct value *items;
    uint32_t count, capacity;
};

static void take_effect(struct history *h, struct planned *o, struct cell *cell) {
    bool clash = (o->f == OP_ADD && cell->is_list) || (o->f == OP_APPEND && !cell->is_list && cell->value.kind);
    if (o->f == OP_CAS && (cell->is_list || !history_value_equal(h, cell->value, VALUE_OF_INT(o->expected)))) {
        o->missed = true;
        if (!cell->is_list) o->result = cell->value;
    } else if (clash) {
        o->missed = true;
    } else if (o->f == OP_READ) {
        o->result = cell->is_list ? history_list(h, cell->items, cell->count) : cell->value;
    } else if (o->f == OP_APPEND || o->list) {
        if (o->list) cell->count = 0;
        if (cell->count == cell->capacity) {
            cell->capacity = cell->capacity ? 2 * cell->capacity : 8;
            cell->items = xrealloc(cell->items, cell->capacity * sizeof *cell->items);
        }
        cell->items[cell->count++] = VALUE_OF_INT(o->value);
        cell->is_list = true;
    } else {
        int64_t sum = (cell->value.kind == VALUE_INT ? cell->value.integer : 0) + o->value;
        cell->value = o->f == OP_DELETE ? VALUE_OF_NIL : VALUE_OF_INT(o->f == OP_ADD ? sum : o->value);
        cell->is_list = false;
        cell->count = 0;
    }
    if (o->missed && o->status == OP_OK) o->status = OP_FAIL;
}

static uint32_t key_id(struct history *h, uint32_t key) {
    char name[16];
    snprintf(name, sizeof name, "k%u", (unsigned)key);
    return history_intern(h, name);
}

static void record(struct history *h, const struct planned *o, uint32_t key) {
    struct value argument = VALUE_OF_INT(o->value);
    if (o->f == OP_READ || o->f == OP_DELETE) argument = VALUE_OF_NIL;
    if (o->f == OP_CAS) argument = history_pair(h, VALUE_OF_INT(o->expected), VALUE_OF_INT(o->value));
    if (o->list) argument = history_list(h, &argument, 1);
    uint32_t op = history_invoke(h, o->begin, o->begin, o->process, NODE_UNKNOWN, o->f, key, argument);
    if (o->status != OP_PENDING) history_complete(h, op, o->end, o->status, o->result, NO_STRING);
}

struct history *history_valid(struct prng *p, const struct shape *shape) {
    struct history *h = history_new();
    struct planned *ops = xmalloc(shape->ops * sizeof *ops), **effects = xmalloc(shape->ops * sizeof *effects);
    struct cell *cells = xcalloc(shape->keys, sizeof *cells);
    uint32_t *ids = xmalloc(shape->keys * sizeof *ids);
    for (uint32_t k = 0; k < shape->keys; k++) ids[k] = key_id(h, k);
    plan(p, shape, ops);
    for (uint32_t i = 0; i < shape->ops; i++) effects[i] = &ops[i];
    qsort(effects, shape->ops, sizeof *effects, by_effect);
    for (uint32_t i = 0; i < shape->ops; i++)
        if (effects[i]->effect != UINT64_MAX) take_effect(h, effects[i], &cells[effects[i]->key]);
    qsort(ops, shape->ops, sizeof *ops, by_begin);
    uint64_t last = 0;
    for (uint32_t i = 0; i < shape->ops; i++) {
        record(h, &ops[i], ids[ops[i].key]);
        if (ops[i].end > last) last = ops[i].end;
        if (ops[i].effect != UINT64_MAX && ops[i].effect > last) last = ops[i].effect;
    }
    for (uint32_t k = 0; shape->final_reads && k < shape->keys; k++) {
        struct planned read = {
            .begin = last + 10 * k + 1, .end = last + 10 * k + 2, .process = UINT32_MAX, .f = OP_READ};
        read.status = OP_OK;
        take_effect(h, &read, &cells[k]);
        record(h, &read, ids[k]);
        h->final_phase[h->count - 1] = 1;
    }
    for (uint32_t k = 0; k < shape->keys; k++) free(cells[k].items);
    free(cells);
    free(ids);
    free(ops);
    free(effects);
    return h;
}

static struct value random_result(struct prng *p, struct history *h, const struct shape *shape) {
    bool list = strcmp(shape->model, "list") == 0 || shape->lists, kv = strcmp(shape->model, "kv") == 0;
    if (prng_below(p, 6) == 0) return VALUE_OF_NIL;
    if (!list && !(kv && prng_below(p, 3) == 0))
        return VALUE_OF_INT((int64_t)prng_below(p, strcmp(shape->model, "counter") ? shape->values : 10));
    struct value items[4];
    uint32_t count = (uint32_t)prng_below(p, 4);
    int64_t most = shape->lists ? shape->values : shape->ops;
    for (uint32_t i = 0; i < count; i++)
        items[i] = VALUE_OF_INT((int64_t)prng_between(p, !shape->lists, (uint64_t)most));
    return history_list(h, items, count);
}

struct history *history_random(struct prng *p, const struct shape *shape, uint64_t instants) {
    struct history *h = history_new();
    struct planned *ops = xmalloc(shape->ops * sizeof *ops);
    uint64_t free_at[16] = {0};
    uint32_t process[16], processes = shape->clients;
    for (uint32_t c = 0; c < shape->clients; c++) process[c] = c;
    for (uint32_t i = 0; i < shape->ops; i++) {
        uint32_t c = (uint32_t)prng_below(p, shape->clients);
        struct planned *o = &ops[i];
        *o = (struct planned){.number = i, .process = process[c], .status = OP_OK};
        o->key = (uint32_t)prng_below(p, shape->keys);
        o->f = draw_function(p, shape);
        o->value = draw_value(p, shape, o->f, i);
        o->list = shape->lists && o->f == OP_WRITE;
        o->expected = (int64_t)prng_below(p, shape->values);
        o->begin = free_at[c] + prng_below(p, instants);
        o->end = o->begin + prng_below(p, instants);
        o->result = o->f == OP_READ ? random_result(p, h, shape) : VALUE_OF_NIL;
        if (prng_chance(p, shape->fail_ppm)) {
            o->status = OP_FAIL;
            if (o->f == OP_CAS && prng_below(p, 2)) o->result = VALUE_OF_INT((int64_t)prng_below(p, shape->values));
        } else if (prng_chance(p, shape->info_ppm)) {
            o->status = prng_below(p, 4) ? OP_INFO : OP_PENDING;
            process[c] = processes++;
        }
        free_at[c] = o->end;
    }
    qsort(ops, shape->ops, sizeof *ops, by_begin);
    for (uint32_t i = 0; i < shape->ops; i++) record(h, &ops[i], key_id(h, ops[i].key));
    free(ops);
    return h;
}

/* --- planted violations ------------------------------------------------------------------------------------------- */

bool plant_stale_read(struct prng *p, struct history *h, uint32_t from) {
    uint32_t start = from + (uint32_t)prng_below(p, h->count - from);
    for (uint32_t n = 0; n < h->count - from; n++) {
        uint32_t read = from + (start - from + n) % (h->count - from);
        if (h->f[read] != OP_READ || h->status[read] != OP_OK) continue;
        uint32_t newer = UINT32_MAX;
        for (uint32_t w = read; w-- > 0;) {
            if (h->f[w] != OP_WRITE || h->status[w] != OP_OK || h->key[w] != h->key[read]) continue;
            if (newer == UINT32_MAX && h->complete_ns[w] < h->invoke_ns[read]) {
                newer = w;
            } else if (newer != UINT32_MAX && h->complete_ns[w] < h->invoke_ns[newer]) {
                h->result[read] = h->argument[w];
                return true;
            }
        }
    }
    return false;
}
