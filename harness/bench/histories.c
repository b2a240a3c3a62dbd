/* A simulation of clients with random latencies: invocation, effect and end of an operation are three events on one
 * heap, each a random time after the one before. */
#include "harness/bench/histories.h"

#include <stdio.h>
#include <stdlib.h>

#define STEP_MEAN_NS (200 * NS_PER_US) /* between two events of one operation, and between two operations */
#define PATIENCE_NS (5 * NS_PER_MS)    /* after which an operation ends unknown */
#define LATE_MEAN_NS (20 * NS_PER_MS)  /* after which its effect comes, if it comes */
#define STALE_BY 1000u                 /* operations between a stale value and its reader */

enum step { STEP_INVOKE, STEP_EFFECT, STEP_END };

struct client {
    uint32_t process;
    int64_t *seen; /* by key: the value that it saw last; 0: none */
};

struct simulation {
    const struct bench_shape *shape;
    struct history *h;
    struct prng prng;
    struct heap events;
    uint64_t sequence;
    struct client *clients;
    int64_t *state;   /* by key; 0 is nothing */
    uint32_t *key_id; /* by key */
    uint32_t *key_of, *client_of;
    bool *unknown; /* by operation: the client does not wait for it */
    uint32_t processes;
    int64_t value_next;
};

static void schedule(struct simulation *s, uint64_t time_ns, enum step step, uint32_t subject) {
    heap_push(&s->events, (struct heap_item){time_ns, s->sequence++, (uint64_t)step << 32 | subject});
}

static uint64_t soon(struct simulation *s, uint64_t now_ns) {
    return now_ns + 1 + prng_exponential(&s->prng, STEP_MEAN_NS);
}

static struct value value_of(int64_t x) {
    return x ? VALUE_OF_INT(x) : VALUE_OF_NIL;
}

static void invoke(struct simulation *s, uint64_t now_ns, uint32_t client) {
    const struct bench_shape *shape = s->shape;
    struct client *c = &s->clients[client];
    uint32_t key = (uint32_t)prng_below(&s->prng, shape->keys), op = s->h->count;
    bool read = prng_chance(&s->prng, shape->read_ppm);
    int64_t value = shape->values ? 1 + (int64_t)prng_below(&s->prng, shape->values) : s->value_next;
    if (!read) s->value_next++;
    struct value argument = read ? VALUE_OF_NIL : value_of(value);
    if (!read && shape->cas) argument = history_pair(s->h, value_of(c->seen[key]), argument);
    uint16_t f = read ? OP_READ : shape->cas ? OP_CAS : OP_WRITE;
    history_invoke(s->h, now_ns, now_ns, c->process, NODE_UNKNOWN, f, s->key_id[key], argument);
    s->key_of[op] = key;
    s->client_of[op] = client;
    s->unknown[op] = prng_chance(&s->prng, shape->info_ppm);
    if (s->unknown[op]) {
        schedule(s, now_ns + PATIENCE_NS, STEP_END, op);
        if (prng_below(&s->prng, 3) == 0) return; /* it never happens */
    }
    bool late = s->unknown[op] && prng_below(&s->prng, 2);
    schedule(s, late ? now_ns + prng_exponential(&s->prng, LATE_MEAN_NS) + 1 : soon(s, now_ns), STEP_EFFECT, op);
}

static void take_effect(struct simulation *s, uint64_t now_ns, uint32_t op) {
    struct history *h = s->h;
    int64_t *state = &s->state[s->key_of[op]];
    if (!s->unknown[op]) {
        h->result[op] = value_of(*state); /* what is seen; completed with it, or not */
        schedule(s, soon(s, now_ns), STEP_END, op);
    }
    if (h->f[op] == OP_WRITE) *state = h->argument[op].integer;
    if (h->f[op] != OP_CAS) return;
    const struct value *pair = &h->pool[h->argument[op].first];
    if (history_value_equal(h, pair[0], value_of(*state))) *state = pair[1].integer;
}

static void end(struct simulation *s, uint64_t now_ns, uint32_t op) {
    struct history *h = s->h;
    struct client *c = &s->clients[s->client_of[op]];
    struct value seen = h->result[op];
    if (s->unknown[op]) {
        history_complete(h, op, now_ns, OP_INFO, VALUE_OF_NIL, NO_STRING);
        c->process = s->processes++;
    } else if (h->f[op] == OP_READ) {
        history_complete(h, op, now_ns, OP_OK, seen, NO_STRING);
        c->seen[s->key_of[op]] = seen.kind == VALUE_INT ? seen.integer : 0;
    } else if (h->f[op] == OP_WRITE) {
        history_complete(h, op, now_ns, OP_OK, VALUE_OF_NIL, NO_STRING);
    } else {
        const struct value *pair = &h->pool[h->argument[op].first];
        bool met = history_value_equal(h, pair[0], seen);
        history_complete(h, op, now_ns, met ? OP_OK : OP_FAIL, met ? VALUE_OF_NIL : seen, NO_STRING);
        c->seen[s->key_of[op]] = met ? pair[1].integer : seen.kind == VALUE_INT ? seen.integer : 0;
    }
    if (h->count < s->shape->ops) schedule(s, soon(s, now_ns), STEP_INVOKE, s->client_of[op]);
}

static bool is_read_of_value(const struct history *h, uint32_t op) {
    return h->f[op] == OP_READ && h->status[op] == OP_OK && h->result[op].kind == VALUE_INT;
}

/* Gives a read the result of one that had long ended when it began. */
static void make_stale(struct history *h) {
    for (uint32_t op = h->count / 4 * 3; op < h->count; op++) {
        if (!is_read_of_value(h, op)) continue;
        for (uint32_t old = op > STALE_BY ? op - STALE_BY : 0; old-- > 0;) {
            if (!is_read_of_value(h, old) || h->key[old] != h->key[op]) continue;
            h->result[op] = h->result[old];
            return;
        }
    }
}

/* Had every write of the value ended before another value's write began that ended before the read did begin? Writes
 * that began long before count as ended. */
static bool is_replaced(const struct history *h, uint32_t read, int64_t value) {
    uint64_t ended_ns = 0;
    uint32_t from = read > STALE_BY ? read - STALE_BY : 0;
    for (uint32_t op = from; op < h->count && h->invoke_ns[op] <= h->complete_ns[read]; op++) {
        if (h->f[op] != OP_WRITE || h->key[op] != h->key[read] || h->argument[op].integer != value) continue;
        uint64_t end_ns = h->status[op] == OP_OK ? h->complete_ns[op] : UINT64_MAX;
        ended_ns = end_ns > ended_ns ? end_ns : ended_ns;
    }
    for (uint32_t op = from; op < read; op++) {
        if (h->f[op] != OP_WRITE || h->key[op] != h->key[read] || h->argument[op].integer == value) continue;
        if (h->invoke_ns[op] > ended_ns && h->status[op] == OP_OK && h->complete_ns[op] < h->invoke_ns[read])
            return true;
    }
    return false;
}

/* Where values are written again and again, few reads could return one that cannot be there. */
static void make_stale_of_few(struct history *h, uint32_t values) {
    for (uint32_t op = h->count / 4 * 3; op < h->count; op++) {
        if (!is_read_of_value(h, op)) continue;
        for (int64_t value = 1; value <= (int64_t)values; value++) {
            if (!is_replaced(h, op, value)) continue;
            h->result[op] = VALUE_OF_INT(value);
            return;
        }
    }
}

static void simulation_free(struct simulation *s) {
    for (uint32_t c = 0; c < s->shape->clients; c++) free(s->clients[c].seen);
    free(s->clients);
    free(s->state);
    free(s->key_id);
    free(s->key_of);
    free(s->client_of);
    free(s->unknown);
    heap_free(&s->events);
}

struct history *bench_history(const struct bench_shape *shape, uint64_t seed) {
    size_t ops = (size_t)shape->ops + shape->clients;
    struct simulation s = {.shape = shape, .h = history_new(), .processes = shape->clients, .value_next = 1};
    prng_seed(&s.prng, seed, 0);
    s.clients = xcalloc(shape->clients, sizeof *s.clients);
    s.state = xcalloc(shape->keys, sizeof *s.state);
    s.key_id = xmalloc(shape->keys * sizeof *s.key_id);
    s.key_of = xmalloc(ops * sizeof *s.key_of);
    s.client_of = xmalloc(ops * sizeof *s.client_of);
    s.unknown = xcalloc(ops, sizeof *s.unknown);
    for (uint32_t k = 0; k < shape->keys; k++) {
        char name[16];
        snprintf(name, sizeof name, "k%u", (unsigned)k);
        s.key_id[k] = history_intern(s.h, name);
    }
    for (uint32_t c = 0; c < shape->clients; c++) {
        s.clients[c] = (struct client){c, xcalloc(shape->keys, sizeof(int64_t))};
        schedule(&s, soon(&s, 0), STEP_INVOKE, c);
    }
    while (s.events.count) {
        struct heap_item event = heap_pop(&s.events);
        uint32_t subject = (uint32_t)event.payload;
        switch ((enum step)(event.payload >> 32)) {
        case STEP_INVOKE:
            if (s.h->count < shape->ops) invoke(&s, event.time_ns, subject);
            break;
        case STEP_EFFECT: take_effect(&s, event.time_ns, subject); break;
        case STEP_END: end(&s, event.time_ns, subject); break;
        }
    }
    if (shape->stale && shape->values == 0) make_stale(s.h);
    if (shape->stale && shape->values) make_stale_of_few(s.h, shape->values);
    simulation_free(&s);
    return s.h;
}
