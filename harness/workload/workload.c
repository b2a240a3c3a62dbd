/* The workloads that run in C: registers, lists that are appended to, counters; and the reads of the final phase.
 * An open loop has arrivals of its own, whether or not a client is free (the time from the intended start counts,
 * so a stall is not omitted from the latencies); a closed loop has clients that pause between operations. */
#include "harness/workload/generator.h"

#include <stdio.h>
#include <stdlib.h>

#define FINAL_TRIES_MAX 5u

enum workload_stream { STREAM_ARRIVALS = 0x5a00000000, STREAM_KEYS, STREAM_VALUES };

struct client {        /* of the operation that it has open, or had last */
    uint64_t ready_ns; /* closed loop: when its pause ends */
    uint32_t key;
    uint16_t f;
    struct value written; /* what the key holds if it succeeds; NIL for a read */
};

struct workload {
    struct generator base; /* first */
    struct workload_config config;
    struct prng arrivals, keys, values;
    struct zipf zipf;
    bool started;
    uint64_t gap_ns, due_ns; /* open loop */
    uint32_t last_client;
    int64_t next_value;
    uint32_t weights_sum;
    struct client *clients;
    struct value *recent; /* per key: a value that it held a moment ago, for a cas with a chance */
    uint32_t *key_ids;    /* intern ids; NO_STRING until first used */
};

static uint32_t key_id(struct history *h, uint32_t *ids, uint32_t key) {
    if (ids[key] == NO_STRING) {
        char name[16];
        snprintf(name, sizeof name, "k%u", key);
        ids[key] = history_intern(h, name);
    }
    return ids[key];
}

static uint32_t *fresh_key_ids(uint32_t keys) {
    uint32_t *ids = xmalloc(keys * sizeof *ids);
    for (uint32_t i = 0; i < keys; i++) ids[i] = NO_STRING;
    return ids;
}

/* The next free client after the last one: every client, and so every node it prefers, gets its turn. */
static uint32_t next_free(const struct gen_context *c, uint32_t last) {
    for (uint32_t i = 1; i <= c->clients; i++) {
        uint32_t client = (last + i) % c->clients;
        if (!c->busy[client]) return client;
    }
    assert(false && "a free client was promised");
    return 0;
}

static void start(struct workload *w, const struct gen_context *c) {
    w->started = true;
    if (w->gap_ns) {
        w->due_ns = c->now_ns + (w->config.steady ? w->gap_ns : prng_exponential(&w->arrivals, w->gap_ns));
        return;
    }
    for (uint32_t i = 0; i < w->config.clients; i++) {
        w->clients[i].ready_ns = c->now_ns + prng_exponential(&w->arrivals, w->config.think_ns);
    }
}

/* Closed loop: the free client whose pause ends first. */
static uint32_t first_ready(const struct workload *w, const struct gen_context *c) {
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < c->clients; i++) {
        if (!c->busy[i] && (best == UINT32_MAX || w->clients[i].ready_ns < w->clients[best].ready_ns)) best = i;
    }
    return best;
}

static enum gen_state workload_peek(struct generator *g, const struct gen_context *c, uint64_t *due_ns,
                                    struct error *e) {
    (void)e;
    struct workload *w = (struct workload *)g;
    assert(c->clients == w->config.clients);
    if (!w->started) start(w, c);
    if (c->free_clients == 0) return GEN_PENDING;
    *due_ns = w->gap_ns ? w->due_ns : w->clients[first_ready(w, c)].ready_ns;
    return GEN_READY;
}

static uint32_t keys_of_all(const struct workload_config *c) {
    return c->own_keys ? 1 + c->clients * c->keys : c->keys;
}

static uint32_t draw_key(struct workload *w, uint32_t client) {
    if (w->config.own_keys) {
        bool shared = prng_below(&w->keys, 1000000) < w->config.conflict_ppm;
        uint32_t own = (uint32_t)prng_below(&w->keys, w->config.keys);
        return shared ? 0 : 1 + client * w->config.keys + own;
    }
    if (w->config.zipf_permille) return zipf_draw(&w->zipf, &w->keys);
    return (uint32_t)prng_below(&w->keys, w->config.keys);
}

static uint16_t draw_function(struct workload *w) {
    uint64_t at = prng_below(&w->keys, w->weights_sum);
    uint16_t f = 0;
    while (at >= w->config.weights[f]) at -= w->config.weights[f++];
    return f;
}

static struct value draw_value(struct workload *w) {
    if (w->config.values) return VALUE_OF_INT((int64_t)prng_below(&w->values, w->config.values));
    return VALUE_OF_INT(++w->next_value);
}

/* Fills in what the function takes, and what the key would hold after it. */
static void draw_argument(struct workload *w, struct history *h, struct gen_op *op, struct client *client) {
    client->written = VALUE_OF_NIL;
    switch (op->f) {
    case OP_CAS: {
        struct value recent = w->recent[client->key];
        client->written = draw_value(w);
        if (recent.kind == VALUE_NIL) { /* nothing is known to compare with yet */
            op->f = OP_WRITE;
            op->argument = client->written;
        } else {
            op->argument = history_pair(h, recent, client->written);
        }
        return;
    }
    case OP_WRITE: op->argument = client->written = draw_value(w); return;
    case OP_APPEND: op->argument = VALUE_OF_INT(++w->next_value); return;
    case OP_ADD: op->argument = VALUE_OF_INT((int64_t)prng_between(&w->values, 1, 5)); return;
    default: op->argument = VALUE_OF_NIL; return;
    }
}

static int workload_take(struct generator *g, const struct gen_context *c, struct gen_op *op, struct error *e) {
    (void)e;
    struct workload *w = (struct workload *)g;
    assert(w->started && c->free_clients > 0);
    if (w->gap_ns) {
        op->client = next_free(c, w->last_client);
        op->intended_ns = w->due_ns;
        w->due_ns += w->config.steady ? w->gap_ns : prng_exponential(&w->arrivals, w->gap_ns);
    } else {
        op->client = first_ready(w, c);
        op->intended_ns = w->clients[op->client].ready_ns;
    }
    w->last_client = op->client;
    struct client *client = &w->clients[op->client];
    client->key = draw_key(w, op->client);
    op->f = draw_function(w);
    op->key = key_id(c->history, w->key_ids, client->key);
    draw_argument(w, c->history, op, client);
    client->f = op->f;
    return 0;
}

static int workload_update(struct generator *g, const struct gen_context *c, const struct gen_event *ev,
                           struct error *e) {
    (void)e;
    struct workload *w = (struct workload *)g;
    if (!ev->completion) return 0;
    struct client *client = &w->clients[ev->client];
    client->ready_ns = c->now_ns + prng_exponential(&w->arrivals, w->config.think_ns);
    if (ev->status != OP_OK) return 0;
    if (client->f == OP_READ && ev->value.kind == VALUE_INT) w->recent[client->key] = ev->value;
    if (client->f == OP_WRITE || client->f == OP_CAS) w->recent[client->key] = client->written;
    return 0;
}

static void workload_free(struct generator *g) {
    struct workload *w = (struct workload *)g;
    if (w->config.zipf_permille) zipf_free(&w->zipf);
    free(w->clients);
    free(w->recent);
    free(w->key_ids);
    free(w);
}

static void default_weights(struct workload_config *c) {
    switch (c->kind) {
    case WORKLOAD_REGISTER:
        c->weights[OP_READ] = 50;
        c->weights[OP_WRITE] = 35;
        c->weights[OP_CAS] = 15;
        break;
    case WORKLOAD_APPEND:
        c->weights[OP_READ] = 40;
        c->weights[OP_APPEND] = 60;
        break;
    case WORKLOAD_COUNTER:
        c->weights[OP_READ] = 40;
        c->weights[OP_ADD] = 60;
        break;
    }
}

static uint32_t sum_of(const struct workload_config *c) {
    uint32_t sum = 0;
    for (size_t f = 0; f < OP_CUSTOM; f++) sum += c->weights[f];
    return sum;
}

struct generator *workload_new(const struct workload_config *c, uint64_t seed) {
    static const struct generator_ops ops = {
        .peek = workload_peek, .take = workload_take, .update = workload_update, .free = workload_free};
    assert(c->keys > 0 && c->clients > 0);
    struct workload *w = xcalloc(1, sizeof *w);
    w->base.ops = &ops;
    w->config = *c;
    if (sum_of(c) == 0) default_weights(&w->config);
    w->weights_sum = sum_of(&w->config);
    if (c->rate_hz_milli) w->gap_ns = 1000 * NS_PER_S / c->rate_hz_milli;
    prng_seed(&w->arrivals, seed, STREAM_ARRIVALS);
    prng_seed(&w->keys, seed, STREAM_KEYS);
    prng_seed(&w->values, seed, STREAM_VALUES);
    if (c->zipf_permille) zipf_init(&w->zipf, c->keys, c->zipf_permille);
    w->last_client = c->clients - 1;
    w->clients = xcalloc(c->clients, sizeof *w->clients);
    w->recent = xcalloc(keys_of_all(c), sizeof *w->recent); /* kind 0 is VALUE_NIL */
    w->key_ids = fresh_key_ids(keys_of_all(c));
    return &w->base;
}

/* --- final reads --- */

struct final_reads {
    struct generator base; /* first */
    uint32_t keys, clients, last_client, open;
    uint32_t *queue; /* keys that still need a read: from `next` to queue_count */
    uint32_t queue_next, queue_count;
    uint8_t *tries; /* per key */
    uint32_t *key_of_client;
    uint32_t *key_ids;
};

static enum gen_state final_peek(struct generator *g, const struct gen_context *c, uint64_t *due_ns, struct error *e) {
    (void)e;
    struct final_reads *r = (struct final_reads *)g;
    if (r->queue_next == r->queue_count) return r->open ? GEN_PENDING : GEN_DONE;
    if (c->free_clients == 0) return GEN_PENDING;
    *due_ns = c->now_ns;
    return GEN_READY;
}

static int final_take(struct generator *g, const struct gen_context *c, struct gen_op *op, struct error *e) {
    (void)e;
    struct final_reads *r = (struct final_reads *)g;
    assert(r->queue_next < r->queue_count);
    uint32_t key = r->queue[r->queue_next++];
    uint32_t client = next_free(c, r->last_client);
    r->last_client = client;
    r->key_of_client[client] = key;
    r->tries[key]++;
    r->open++;
    *op = (struct gen_op){.client = client,
                          .f = OP_READ,
                          .key = key_id(c->history, r->key_ids, key),
                          .argument = VALUE_OF_NIL,
                          .intended_ns = c->now_ns};
    return 0;
}

/* A read that was not answered is tried again: what it would have seen is the point of this phase. */
static int final_update(struct generator *g, const struct gen_context *c, const struct gen_event *ev, struct error *e) {
    (void)c, (void)e;
    struct final_reads *r = (struct final_reads *)g;
    if (!ev->completion) return 0;
    uint32_t key = r->key_of_client[ev->client];
    if (key == UINT32_MAX) return 0; /* an operation of the main phase that ended late */
    r->key_of_client[ev->client] = UINT32_MAX;
    r->open--;
    if (ev->status != OP_OK && r->tries[key] < FINAL_TRIES_MAX) r->queue[r->queue_count++] = key;
    return 0;
}

static void final_free(struct generator *g) {
    struct final_reads *r = (struct final_reads *)g;
    free(r->queue);
    free(r->tries);
    free(r->key_of_client);
    free(r->key_ids);
    free(r);
}

struct generator *workload_final_reads(const struct workload_config *c) {
    static const struct generator_ops ops = {
        .peek = final_peek, .take = final_take, .update = final_update, .free = final_free};
    struct final_reads *r = xcalloc(1, sizeof *r);
    r->base.ops = &ops;
    uint32_t keys = r->keys = keys_of_all(c);
    r->clients = c->clients;
    r->last_client = c->clients - 1;
    r->queue = xmalloc((size_t)keys * FINAL_TRIES_MAX * sizeof *r->queue);
    for (uint32_t key = 0; key < keys; key++) r->queue[key] = key;
    r->queue_count = keys;
    r->tries = xcalloc(keys, sizeof *r->tries);
    r->key_of_client = xmalloc(c->clients * sizeof *r->key_of_client);
    for (uint32_t i = 0; i < c->clients; i++) r->key_of_client[i] = UINT32_MAX;
    r->key_ids = fresh_key_ids(keys);
    return &r->base;
}
