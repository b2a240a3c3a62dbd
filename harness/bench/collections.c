/* A simulation of clients with random latencies: invocation, effect and end of an operation are three events on one
 * heap, each a random time after the one before. */
#include "harness/bench/collections.h"

#include <stdlib.h>

#define STEP_MEAN_NS (200 * NS_PER_US) /* between two events of one operation, and between two operations */
#define SET_READS 10u                  /* of a set, which grows; so what is read is some times as much as is added */
#define SWAPPED_BY 200u                /* operations between two takes that have each other's result */

enum step { STEP_INVOKE, STEP_EFFECT, STEP_END };

struct collection_simulation {
    const struct bench_collection *shape;
    struct history *h;
    struct prng prng;
    struct heap events;
    uint64_t sequence;
    uint32_t *process_of, *client_of; /* by client; by operation */
    bool *unknown;                    /* by operation */
    struct value *inside;
    uint32_t first, count; /* of a queue, the first is where it begins */
    struct heap least;     /* of a priority queue */
    uint16_t put, take;
    uint32_t processes;
};

static void schedule(struct collection_simulation *s, uint64_t now_ns, enum step step, uint32_t subject) {
    uint64_t time_ns = now_ns + 1 + prng_exponential(&s->prng, STEP_MEAN_NS);
    heap_push(&s->events, (struct heap_item){time_ns, s->sequence++, (uint64_t)step << 32 | subject});
}

static void invoke(struct collection_simulation *s, uint64_t now_ns, uint32_t client) {
    const struct bench_collection *shape = s->shape;
    uint32_t op = s->h->count;
    bool drains = shape->kind == BENCH_QUEUE && op >= shape->ops / 10 * 9;
    bool put = prng_chance(&s->prng, shape->put_ppm) && !drains;
    /* An odd factor makes different numbers of different ones: priorities in no order. */
    int64_t x = shape->kind == BENCH_PRIORITY_QUEUE ? (int64_t)((op + 1) * UINT32_C(2654435761)) : (int64_t)op + 1;
    if (shape->kind == BENCH_SET) put = (op + 1) % (shape->ops / SET_READS) != 0;
    history_invoke(s->h, now_ns, now_ns, s->process_of[client], NODE_UNKNOWN, put ? s->put : s->take, NO_STRING,
                   put ? VALUE_OF_INT(x) : VALUE_OF_NIL);
    s->client_of[op] = client;
    s->unknown[op] = put && prng_chance(&s->prng, shape->info_ppm);
    schedule(s, now_ns, s->unknown[op] && prng_below(&s->prng, 2) ? STEP_END : STEP_EFFECT, op);
}

static struct value take(struct collection_simulation *s) {
    if (s->shape->kind == BENCH_SET) return history_list(s->h, s->inside, s->count);
    if (s->count == s->first && s->least.count == 0) return VALUE_OF_NIL;
    if (s->shape->kind == BENCH_PRIORITY_QUEUE) return VALUE_OF_INT((int64_t)heap_pop(&s->least).payload);
    return s->inside[s->shape->kind == BENCH_STACK ? --s->count : s->first++];
}

static void take_effect(struct collection_simulation *s, uint64_t now_ns, uint32_t op) {
    struct history *h = s->h;
    struct value x = h->argument[op];
    if (h->f[op] == s->take)
        h->result[op] = take(s);
    else if (s->shape->kind == BENCH_PRIORITY_QUEUE)
        heap_push(&s->least, (struct heap_item){(uint64_t)x.integer, op, (uint64_t)x.integer});
    else
        s->inside[s->count++] = x;
    schedule(s, now_ns, STEP_END, op);
}

static void end(struct collection_simulation *s, uint64_t now_ns, uint32_t op) {
    struct history *h = s->h;
    uint32_t client = s->client_of[op];
    history_complete(h, op, now_ns, s->unknown[op] ? OP_INFO : OP_OK, h->result[op], NO_STRING);
    if (s->unknown[op]) s->process_of[client] = s->processes++;
    if (h->count < s->shape->ops) schedule(s, now_ns, STEP_INVOKE, client);
}

/* --- something wrong ---------------------------------------------------------------------------------------------- */

static bool took(const struct collection_simulation *s, uint32_t op) {
    const struct history *h = s->h;
    return h->f[op] == s->take && h->status[op] == OP_OK && h->result[op].kind != VALUE_NIL;
}

static void make_wrong(struct collection_simulation *s) {
    struct history *h = s->h;
    uint32_t first = h->count / 4 * 3;
    while (first < h->count && !took(s, first)) first++;
    if (s->shape->kind == BENCH_SET && first < h->count) {
        h->result[first].first++;
        h->result[first].size--;
        return;
    }
    uint32_t second = first + SWAPPED_BY;
    while (second < h->count && !took(s, second)) second++;
    if (second >= h->count) return;
    struct value swapped = h->result[first];
    h->result[first] = h->result[second];
    h->result[second] = swapped;
}

/* --- the run ------------------------------------------------------------------------------------------------------ */

static void simulate(struct collection_simulation *s) {
    for (uint32_t c = 0; c < s->shape->clients; c++) {
        s->process_of[c] = c;
        schedule(s, 0, STEP_INVOKE, c);
    }
    while (s->events.count) {
        struct heap_item event = heap_pop(&s->events);
        uint32_t subject = (uint32_t)event.payload;
        switch ((enum step)(event.payload >> 32)) {
        case STEP_INVOKE:
            if (s->h->count < s->shape->ops) invoke(s, event.time_ns, subject);
            break;
        case STEP_EFFECT: take_effect(s, event.time_ns, subject); break;
        case STEP_END: end(s, event.time_ns, subject); break;
        }
    }
}

struct history *bench_collection_history(const struct bench_collection *shape, uint64_t seed) {
    static const char *const puts[] = {"enqueue", "push", "insert", "add"};
    static const char *const takes[] = {"dequeue", "pop", "delete-min", "read"};
    struct collection_simulation s = {.shape = shape, .h = history_new(), .processes = shape->clients};
    prng_seed(&s.prng, seed, 0);
    s.put = history_function(s.h, puts[shape->kind]);
    s.take = history_function(s.h, takes[shape->kind]);
    s.process_of = xmalloc(shape->clients * sizeof *s.process_of);
    s.client_of = xmalloc(shape->ops * sizeof *s.client_of);
    s.unknown = xcalloc(shape->ops, sizeof *s.unknown);
    s.inside = xmalloc(shape->ops * sizeof *s.inside);
    simulate(&s);
    if (shape->stale) make_wrong(&s);
    free(s.process_of);
    free(s.client_of);
    free(s.unknown);
    free(s.inside);
    heap_free(&s.events);
    heap_free(&s.least);
    return s.h;
}
