/* The oracle of collections and the maker of their histories. Slow and plain on purpose. */
#include "tests/collection_histories.h"

#include <stdlib.h>

#define OPS_MAX 16u

struct object {
    int64_t inside[OPS_MAX], delivered[OPS_MAX];
    uint32_t size, delivered_size, held;
    int64_t token;
};

/* --- one step of a sequential object ------------------------------------------------------------------------------ */

static bool is_put(const struct history *h, uint32_t op) {
    const char *f = history_function_name(h, h->f[op]);
    return !strcmp(f, "enqueue") || !strcmp(f, "push") || !strcmp(f, "insert") || !strcmp(f, "add") ||
           !strcmp(f, "acquire");
}

static void remove_at(struct object *o, uint32_t at) {
    for (uint32_t i = at; i + 1 < o->size; i++) o->inside[i] = o->inside[i + 1];
    o->size--;
}

static bool has_delivered(const struct object *o, int64_t x) {
    for (uint32_t i = 0; i < o->delivered_size; i++)
        if (o->delivered[i] == x) return true;
    return false;
}

static bool may_take(const struct object *o, enum object_kind kind, uint32_t at) {
    if (kind == OBJECT_FIFO || kind == OBJECT_AT_LEAST_ONCE) return at == 0;
    if (kind == OBJECT_STACK) return at + 1 == o->size;
    for (uint32_t i = 0; kind == OBJECT_PRIORITY_QUEUE && i < o->size; i++)
        if (o->inside[i] < o->inside[at]) return false;
    return true;
}

static void take(struct object *o, uint32_t at) {
    if (!has_delivered(o, o->inside[at])) o->delivered[o->delivered_size++] = o->inside[at];
    remove_at(o, at);
}

/* The read has all elements, each once, and no other. */
static bool reads_all(const struct history *h, uint32_t op, const struct object *o) {
    struct value v = h->result[op];
    uint32_t different = 0;
    for (uint32_t i = 0; i < o->size; i++) {
        bool again = false;
        for (uint32_t k = 0; k < i; k++) again |= o->inside[k] == o->inside[i];
        different += !again;
    }
    if ((v.kind == VALUE_LIST ? v.size : 0) != different) return false;
    for (uint32_t k = 0; k < different; k++) {
        bool found = false;
        int64_t x = h->pool[v.first + k].integer;
        for (uint32_t i = 0; i < o->size; i++) found |= o->inside[i] == x;
        for (uint32_t i = 0; i < k; i++) found &= h->pool[v.first + i].integer != x;
        if (!found) return false;
    }
    return true;
}

/* --- all orders --------------------------------------------------------------------------------------------------- */

struct oracle {
    const struct history *h;
    enum object_kind kind;
    uint32_t ops[OPS_MAX], count;
    uint32_t before[OPS_MAX]; /* that ended before it began */
    uint32_t must;
};

static bool try_orders(const struct oracle *o, uint32_t placed, const struct object *at);

static bool try_take(const struct oracle *o, uint32_t i, uint32_t placed, const struct object *at) {
    const struct history *h = o->h;
    uint32_t op = o->ops[i];
    bool known = h->status[op] == OP_OK;
    if (known && h->result[op].kind == VALUE_NIL) return at->size == 0 && try_orders(o, placed, at);
    for (uint32_t k = 0; k < at->size; k++) {
        if (!may_take(at, o->kind, k) || (known && at->inside[k] != h->result[op].integer)) continue;
        struct object next = *at;
        take(&next, k);
        if (try_orders(o, placed, &next)) return true;
    }
    return known && o->kind == OBJECT_AT_LEAST_ONCE && has_delivered(at, h->result[op].integer) &&
           try_orders(o, placed, at);
}

static bool try_op(const struct oracle *o, uint32_t i, uint32_t placed, const struct object *at) {
    const struct history *h = o->h;
    uint32_t op = o->ops[i];
    struct object next = *at;
    if (o->kind == OBJECT_FENCED) {
        if (!is_put(h, op) || h->status[op] != OP_OK) return try_orders(o, placed, at);
        next.token = h->result[op].integer;
        return next.token > at->token && try_orders(o, placed, &next);
    }
    if (o->kind == OBJECT_MUTEX || o->kind == OBJECT_SEMAPHORE) {
        uint32_t permits = o->kind == OBJECT_MUTEX ? 1 : 2;
        if (is_put(h, op) ? at->held == permits : at->held == 0) return false;
        next.held += is_put(h, op) ? 1u : UINT32_MAX;
        return try_orders(o, placed, &next);
    }
    if (is_put(h, op)) {
        next.inside[next.size++] = h->argument[op].integer;
        return try_orders(o, placed, &next);
    }
    if (o->kind == OBJECT_SET) return (h->status[op] != OP_OK || reads_all(h, op, at)) && try_orders(o, placed, at);
    return try_take(o, i, placed, at);
}

static bool try_orders(const struct oracle *o, uint32_t placed, const struct object *at) {
    if ((placed & o->must) == o->must) return true;
    for (uint32_t i = 0; i < o->count; i++)
        if (!(placed >> i & 1) && (o->before[i] & ~placed) == 0 && try_op(o, i, placed | 1u << i, at)) return true;
    return false;
}

static bool key_holds(const struct history *h, enum object_kind kind, uint32_t key) {
    struct oracle o = {.h = h, .kind = kind};
    for (uint32_t op = 0; op < h->count; op++) {
        if (h->key[op] != key || h->status[op] == OP_FAIL) continue;
        assert(o.count < OPS_MAX);
        for (uint32_t i = 0; i < o.count; i++)
            if (h->status[o.ops[i]] == OP_OK && h->complete_ns[o.ops[i]] < h->invoke_ns[op])
                o.before[o.count] |= 1u << i;
        if (h->status[op] == OP_OK) o.must |= 1u << o.count;
        o.ops[o.count++] = op;
    }
    struct object empty = {.token = INT64_MIN};
    return try_orders(&o, 0, &empty);
}

bool oracle_collection(const struct history *h, enum object_kind kind) {
    for (uint32_t op = 0; op < h->count; op++)
        if (!key_holds(h, kind, h->key[op])) return false;
    return true;
}

/* --- histories by chance ------------------------------------------------------------------------------------------ */

enum stage { IDLE, INVOKED, DONE, LEFT };

struct client {
    enum stage stage;
    uint32_t process, op;
    bool info;
    struct value result;
};

struct maker {
    struct prng *p;
    const struct collection_shape *shape;
    struct history *h;
    struct object objects[4];
    uint32_t keys[4];
    uint32_t key_of[OPS_MAX];
    uint32_t late[OPS_MAX], late_count; /* operations that nobody waits for, and that may still happen */
    uint64_t now_ns;
    uint32_t processes;
    int64_t next_value, fresh[OPS_MAX];
};

static const char *const put_names[OBJECT_KINDS] = {"enqueue", "enqueue", "enqueue", "push",   "insert",
                                                    "add",     "acquire", "acquire", "acquire"};
static const char *const take_names[OBJECT_KINDS] = {"dequeue", "dequeue", "dequeue", "pop",    "delete-min",
                                                     "read",    "release", "release", "release"};

static bool wrong(struct maker *m) {
    return prng_chance(m->p, m->shape->wrong_ppm);
}

static struct value take_any(struct maker *m, struct object *o) {
    enum object_kind kind = m->shape->kind;
    if (kind == OBJECT_AT_LEAST_ONCE && o->delivered_size && prng_below(m->p, 4) == 0)
        return VALUE_OF_INT(o->delivered[prng_below(m->p, o->delivered_size)]);
    if (o->size == 0 || wrong(m)) {
        if (prng_below(m->p, 2) || o->size == 0) return VALUE_OF_NIL;
        uint32_t at = (uint32_t)prng_below(m->p, o->size);
        int64_t x = o->inside[at];
        if (prng_below(m->p, 4)) take(o, at);
        return VALUE_OF_INT(x);
    }
    uint32_t at = (uint32_t)prng_below(m->p, o->size);
    while (!may_take(o, kind, at)) at = (at + 1) % o->size;
    int64_t x = o->inside[at];
    take(o, at);
    return VALUE_OF_INT(x);
}

static struct value read_set(struct maker *m, const struct object *o) {
    struct value list[OPS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < o->size; i++) {
        bool again = false;
        for (uint32_t k = 0; k < i; k++) again |= o->inside[k] == o->inside[i];
        if (again ? wrong(m) && wrong(m) : !wrong(m)) list[count++] = VALUE_OF_INT(o->inside[i]);
    }
    return history_list(m->h, list, count);
}

/* The operation happens. */
static struct value happen(struct maker *m, uint32_t op) {
    enum object_kind kind = m->shape->kind;
    struct object *o = &m->objects[m->key_of[op]];
    bool put = is_put(m->h, op);
    if (kind == OBJECT_FENCED) {
        if (put && !wrong(m)) o->token += 1 + (int64_t)prng_below(m->p, 2);
        return put ? VALUE_OF_INT(o->token) : VALUE_OF_NIL;
    }
    if (kind == OBJECT_MUTEX || kind == OBJECT_SEMAPHORE) return VALUE_OF_NIL;
    if (put) o->inside[o->size++] = m->h->argument[op].integer;
    if (put) return VALUE_OF_NIL;
    return kind == OBJECT_SET ? read_set(m, o) : take_any(m, o);
}

static void invoke(struct maker *m, struct client *c) {
    const struct collection_shape *s = m->shape;
    struct history *h = m->h;
    bool put = prng_chance(m->p, s->put_ppm);
    uint32_t key = (uint32_t)prng_below(m->p, s->keys);
    int64_t x = s->values ? (int64_t)prng_below(m->p, s->values) : m->fresh[h->count];
    uint16_t f = history_function(h, put ? put_names[s->kind] : take_names[s->kind]);
    bool lock = s->kind == OBJECT_MUTEX || s->kind == OBJECT_SEMAPHORE || s->kind == OBJECT_FENCED;
    c->op = history_invoke(h, m->now_ns, m->now_ns, c->process, NODE_UNKNOWN, f, m->keys[key],
                           put && !lock ? VALUE_OF_INT(x) : VALUE_OF_NIL);
    m->key_of[c->op] = key;
    c->info = prng_chance(m->p, s->info_ppm);
    c->stage = prng_chance(m->p, s->fail_ppm) ? LEFT : INVOKED;
}

static bool lock_allows(struct maker *m, uint32_t op) {
    enum object_kind kind = m->shape->kind;
    if (kind != OBJECT_MUTEX && kind != OBJECT_SEMAPHORE) return true;
    struct object *o = &m->objects[m->key_of[op]];
    bool put = is_put(m->h, op);
    uint32_t permits = kind == OBJECT_MUTEX ? 1 : 2;
    if ((put ? o->held == permits : o->held == 0) && !wrong(m)) return false;
    if (put) o->held += o->held < permits;
    if (!put) o->held -= o->held > 0;
    return true;
}

static void advance(struct maker *m, struct client *c) {
    struct history *h = m->h;
    m->now_ns += 1 + prng_below(m->p, 20);
    switch (c->stage) {
    case IDLE:
        if (h->count < m->shape->ops) invoke(m, c);
        break;
    case INVOKED:
        if (c->info) {
            if (prng_below(m->p, 2)) history_complete(h, c->op, m->now_ns, OP_INFO, VALUE_OF_NIL, NO_STRING);
            m->late[m->late_count++] = c->op;
            c->process = m->processes++;
            c->stage = IDLE;
        } else if (lock_allows(m, c->op)) {
            c->result = happen(m, c->op);
            c->stage = DONE;
        }
        break;
    case DONE:
        history_complete(h, c->op, m->now_ns, OP_OK, c->result, NO_STRING);
        c->stage = IDLE;
        break;
    case LEFT:
        history_complete(h, c->op, m->now_ns, OP_FAIL, VALUE_OF_NIL, NO_STRING);
        c->stage = IDLE;
        break;
    }
}

static void happen_late(struct maker *m) {
    if (m->late_count == 0) return;
    uint32_t at = (uint32_t)prng_below(m->p, m->late_count), op = m->late[at];
    m->late[at] = m->late[--m->late_count];
    if (lock_allows(m, op)) happen(m, op);
}

struct history *collection_random(struct prng *p, const struct collection_shape *shape) {
    struct maker m = {.p = p, .shape = shape, .h = history_new(), .processes = shape->clients};
    struct client clients[8] = {0};
    assert(shape->ops <= OPS_MAX && shape->clients <= 8 && shape->keys <= 4);
    for (uint32_t k = 0; k < shape->keys; k++) m.keys[k] = history_intern(m.h, (const char *[]){"a", "b", "c", "d"}[k]);
    for (uint32_t c = 0; c < shape->clients; c++) clients[c].process = c;
    for (uint32_t i = 0; i < OPS_MAX; i++) {
        uint32_t other = (uint32_t)prng_below(p, i + 1);
        m.fresh[i] = m.fresh[other];
        m.fresh[other] = i;
    }
    for (uint32_t step = 0; step < 6 * shape->ops; step++) {
        advance(&m, &clients[prng_below(p, shape->clients)]);
        if (prng_below(p, 6) == 0) happen_late(&m);
    }
    return m.h;
}
