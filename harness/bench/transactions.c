/* Clients against a store of lists, or of registers, whose lists keep the values of the past. */
#include "harness/bench/transactions.h"

#include <stdlib.h>

#define MICROS_MAX 16u
#define DURATION_MEAN_NS (2 * NS_PER_MS)
#define PAUSE_MEAN_NS (NS_PER_MS / 2)

enum phase { PHASE_BEGIN, PHASE_EFFECT, PHASE_END };

struct planned {
    bool write;
    uint32_t key;
    int64_t value;
};

struct client {
    uint32_t process, op, count;
    struct planned micros[MICROS_MAX];
    struct value result;
};

struct slot { /* a key in use */
    uint32_t key, writes;
};

struct bench {
    const struct bench_transactions *shape;
    struct history *h;
    struct prng prng;
    struct heap events; /* payload: client << 2 | phase */
    uint64_t sequence;
    struct client *clients;
    uint32_t processes;
    struct slot *slots;
    uint32_t keys;
    int64_t *values; /* values[key * writes_per_key + i] */
    uint32_t *sizes; /* by key */
    uint32_t keys_capacity;
    uint32_t begun;
    bool stale_done;
    struct value read, write;
};

static void later(struct bench *b, uint64_t now_ns, uint64_t mean_ns, uint32_t client, enum phase phase) {
    heap_push(&b->events, (struct heap_item){
                              .time_ns = now_ns + 1 + prng_exponential(&b->prng, mean_ns),
                              .sequence = b->sequence++,
                              .payload = (uint64_t)client << 2 | phase,
                          });
}

static void new_key(struct bench *b, struct slot *slot) {
    if (b->keys == b->keys_capacity) {
        b->keys_capacity = b->keys_capacity ? 2 * b->keys_capacity : 1024;
        size_t values = (size_t)b->keys_capacity * b->shape->writes_per_key;
        b->values = xrealloc(b->values, values * sizeof *b->values);
        b->sizes = xrealloc(b->sizes, b->keys_capacity * sizeof *b->sizes);
    }
    b->sizes[b->keys] = 0;
    *slot = (struct slot){.key = b->keys++};
}

static struct value micro_of(struct bench *b, const struct planned *m, struct value seen) {
    struct value e[3] = {m->write ? b->write : b->read, VALUE_OF_INT(m->key), m->write ? VALUE_OF_INT(m->value) : seen};
    return history_list(b->h, e, 3);
}

static void begin(struct bench *b, uint64_t now_ns, uint32_t at) {
    struct client *c = &b->clients[at];
    struct value parts[MICROS_MAX];
    c->count = (uint32_t)prng_between(&b->prng, 1, b->shape->micros_max);
    for (uint32_t i = 0; i < c->count; i++) {
        struct slot *slot = &b->slots[prng_below(&b->prng, b->shape->keys)];
        struct planned *m = &c->micros[i];
        *m = (struct planned){.write = prng_below(&b->prng, 2), .key = slot->key};
        if (m->write) {
            m->value = ++slot->writes;
            if (slot->writes == b->shape->writes_per_key) new_key(b, slot);
        }
        parts[i] = micro_of(b, m, VALUE_OF_NIL);
    }
    struct value argument = history_list(b->h, parts, c->count);
    c->op = history_invoke(b->h, now_ns, now_ns, c->process, NODE_UNKNOWN, OP_TXN, NO_STRING, argument);
    b->begun++;
    later(b, now_ns, DURATION_MEAN_NS / 2, at, PHASE_EFFECT);
}

static struct value seen_of(struct bench *b, uint32_t key) {
    const int64_t *values = b->values + (size_t)key * b->shape->writes_per_key;
    uint32_t size = b->sizes[key];
    if (b->shape->stale && !b->stale_done && b->begun > b->shape->count / 4 * 3 && size >= 16) {
        size /= 2;
        b->stale_done = true;
    }
    if (b->shape->registers) return size ? VALUE_OF_INT(values[size - 1]) : VALUE_OF_NIL;
    struct value *elements = xmalloc((size + 1) * sizeof *elements);
    for (uint32_t i = 0; i < size; i++) elements[i] = VALUE_OF_INT(values[i]);
    struct value list = history_list(b->h, elements, size);
    free(elements);
    return list;
}

static void effect(struct bench *b, uint64_t now_ns, uint32_t at) {
    struct client *c = &b->clients[at];
    struct value parts[MICROS_MAX];
    bool info = prng_chance(&b->prng, b->shape->info_ppm), applied = !info || prng_below(&b->prng, 2);
    for (uint32_t i = 0; i < c->count && applied; i++) {
        struct planned *m = &c->micros[i];
        struct value seen = m->write || info ? VALUE_OF_NIL : seen_of(b, m->key);
        if (m->write) b->values[(size_t)m->key * b->shape->writes_per_key + b->sizes[m->key]++] = m->value;
        if (!info) parts[i] = micro_of(b, m, seen);
    }
    c->result = info ? VALUE_OF_NIL : history_list(b->h, parts, c->count);
    later(b, now_ns, DURATION_MEAN_NS / 2, at, PHASE_END);
}

static void end(struct bench *b, uint64_t now_ns, uint32_t at) {
    struct client *c = &b->clients[at];
    bool info = c->result.kind == VALUE_NIL;
    history_complete(b->h, c->op, now_ns, info ? OP_INFO : OP_OK, c->result, NO_STRING);
    if (info) c->process = b->processes++;
    if (b->begun + b->events.count < b->shape->count) later(b, now_ns, PAUSE_MEAN_NS, at, PHASE_BEGIN);
}

struct history *bench_transactions_history(const struct bench_transactions *shape, uint64_t seed) {
    assert(shape->micros_max <= MICROS_MAX && shape->clients <= shape->count);
    struct bench b = {.shape = shape, .h = history_new(), .processes = shape->clients};
    prng_seed(&b.prng, seed, 1);
    b.clients = xcalloc(shape->clients, sizeof *b.clients);
    b.slots = xcalloc(shape->keys, sizeof *b.slots);
    b.read = (struct value){.kind = VALUE_STRING, .string = history_intern(b.h, "r")};
    b.write = (struct value){.kind = VALUE_STRING, .string = history_intern(b.h, shape->registers ? "w" : "append")};
    for (uint32_t i = 0; i < shape->keys; i++) new_key(&b, &b.slots[i]);
    for (uint32_t i = 0; i < shape->clients; i++) {
        b.clients[i].process = i;
        later(&b, 0, PAUSE_MEAN_NS, i, PHASE_BEGIN);
    }
    while (b.events.count) {
        struct heap_item e = heap_pop(&b.events);
        uint32_t at = (uint32_t)(e.payload >> 2);
        switch ((enum phase)(e.payload & 3)) {
        case PHASE_BEGIN: begin(&b, e.time_ns, at); break;
        case PHASE_EFFECT: effect(&b, e.time_ns, at); break;
        case PHASE_END: end(&b, e.time_ns, at); break;
        }
    }
    free(b.clients);
    free(b.slots);
    free(b.values);
    free(b.sizes);
    heap_free(&b.events);
    return b.h;
}
