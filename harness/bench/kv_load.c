/* The load generator: clients on channels of one libuv loop, latencies in a histogram of logarithmic buckets. */
#include "harness/bench/kv_load.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "targets/kv/kv.h"
#include "targets/node/channel.h"
#include "targets/protocols/protocol.h"

/* 64 buckets per power of two: less than 1.6 % between neighbours, and the middle of a bucket is told. */
enum { BUCKET_BITS = 6, BUCKETS = (65 - BUCKET_BITS) << BUCKET_BITS, VALUE_BYTES_MAX = KV_VALUE_BYTES_MAX };
enum { OUT_BYTES_MAX = 1 << 20, RETRY_MS = 20, TRY_TIMEOUT_MS = 2000, TICK_MS = 20 };

struct load;
struct load_client {
    struct load *load;
    struct channel *channel; /* NULL: there is none now */
    uint32_t node;
    bool connected, waiting;
    uint64_t token, started_ns, sent_ns;
    uint64_t retry_ns; /* when to go on after a pause; 0: no pause */
    struct buffer command;
};
struct load {
    const struct kv_load_options *o;
    struct kv_load_result *out;
    uv_loop_t loop;
    uv_timer_t tick;
    struct channel_hub hub;
    struct load_client *clients;
    struct prng prng;
    uint64_t start_ns, end_ns;
    uint64_t *buckets;
    uint8_t *value;
    bool over;
    struct error error;
};

/* --- latencies ---------------------------------------------------------------------------------------------------- */

static size_t bucket_of(uint64_t ns) {
    if (ns < 1u << BUCKET_BITS) return (size_t)ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - BUCKET_BITS;
    return ((size_t)shift << BUCKET_BITS) + (size_t)(ns >> shift);
}

static uint64_t middle_of(size_t bucket) {
    if (bucket < 2u << BUCKET_BITS) return bucket;
    unsigned shift = (unsigned)(bucket >> BUCKET_BITS) - 1;
    uint64_t low = (uint64_t)(bucket - ((size_t)shift << BUCKET_BITS)) << shift;
    return low + (UINT64_C(1) << shift) / 2;
}

static uint64_t quantile(const struct load *l, uint32_t permille) {
    uint64_t rank = l->out->ok * permille / 1000, seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += l->buckets[i];
        if (seen > rank) return middle_of(i);
    }
    return l->out->max_ns;
}

/* --- one client --------------------------------------------------------------------------------------------------- */

static void connect_client(struct load_client *c);

static void build_command(struct load_client *c) {
    const struct kv_load_options *o = c->load->o;
    bool get = o->mix == KV_LOAD_GET || (o->mix == KV_LOAD_MIXED && prng_chance(&c->load->prng, 500000));
    char key[24];
    int size = snprintf(key, sizeof key, "k%u", (unsigned)prng_below(&c->load->prng, o->keys));
    struct kv_command command;
    command.session = command.sequence = 0; /* at least once is enough for a measurement */
    command.ops_count = 1;
    command.ops[0] = (struct kv_op){.kind = get ? KV_GET : KV_PUT,
                                    .key = bytes_of(key, (size_t)size),
                                    .value = {.kind = KV_BYTES, .bytes = bytes_of(c->load->value, o->value_bytes)}};
    c->command.size = 0;
    buffer_reserve(&c->command, 64 + o->value_bytes);
    c->command.size = kv_command_encode(&command, c->command.data, c->command.capacity);
}

static void send_command(struct load_client *c) {
    uint8_t token[8];
    c->token++;
    memcpy(token, &c->token, sizeof token);
    c->sent_ns = uv_hrtime();
    c->retry_ns = 0;
    struct bytes parts[] = {bytes_of(token, sizeof token), bytes_of(c->command.data, c->command.size)};
    c->waiting = channel_send(c->channel, WIRE_REQUEST, parts, 2);
    if (!c->waiting) c->retry_ns = c->sent_ns + RETRY_MS * NS_PER_MS;
}

static void next_operation(struct load_client *c) {
    build_command(c);
    c->started_ns = uv_hrtime();
    send_command(c);
}

static void leave(struct load_client *c, uint32_t node, uint64_t pause_ns) {
    if (c->channel) channel_close(c->channel);
    c->channel = NULL;
    c->connected = c->waiting = false;
    c->node = node;
    c->retry_ns = uv_hrtime() + pause_ns;
    if (pause_ns == 0) connect_client(c);
}

static void on_reply(struct load_client *c, struct bytes payload) {
    struct load *l = c->load;
    struct reader r = {.data = payload.data, .size = payload.size};
    uint64_t token = read_u64(&r), now = uv_hrtime();
    uint8_t status = read_u8(&r), leader = read_u8(&r);
    if (r.failed || token != c->token || !c->waiting) return;
    c->waiting = false;
    if (status == STATUS_OK) {
        uint64_t took = now - c->started_ns;
        l->out->ok++;
        l->buckets[bucket_of(took)]++;
        if (took > l->out->max_ns) l->out->max_ns = took;
        if (!l->over) next_operation(c);
        return;
    }
    l->out->refused++;
    if (status == STATUS_NOT_LEADER && leader < l->o->nodes_count && leader != c->node)
        leave(c, leader, 0);
    else if (status == STATUS_NOT_LEADER)
        leave(c, (c->node + 1) % (uint32_t)l->o->nodes_count, RETRY_MS * NS_PER_MS);
    else
        c->retry_ns = now + RETRY_MS * NS_PER_MS;
}

static void on_frame(void *ctx, struct channel *channel, enum wire_type type, struct bytes payload) {
    (void)channel;
    if (type == WIRE_REPLY) on_reply(ctx, payload);
}

static void on_connect(void *ctx, struct channel *channel) {
    struct load_client *c = ctx;
    c->connected = true;
    c->load->out->connects++;
    uint8_t hello[10] = {0}; /* of whatever cluster it is */
    hello[8] = WIRE_CLIENT;
    hello[9] = NODE_NONE;
    channel_send(channel, WIRE_HELLO, &(struct bytes){hello, sizeof hello}, 1);
    if (c->started_ns)
        send_command(c); /* the operation under way, once more */
    else
        next_operation(c);
}

static void on_close(void *ctx, struct channel *channel, const char *why, bool sent_all) {
    struct load_client *c = ctx;
    struct load *l = c->load;
    (void)channel, (void)sent_all;
    c->channel = NULL;
    l->out->lost += c->waiting;
    if (l->out->connects == 0 && !*l->error.text) error_set(&l->error, "no node can be reached: %s", why);
    leave(c, (c->node + 1) % (uint32_t)l->o->nodes_count, RETRY_MS * NS_PER_MS);
}

static const struct channel_events events = {.on_frame = on_frame, .on_connect = on_connect, .on_close = on_close};

static void connect_client(struct load_client *c) {
    struct load *l = c->load;
    struct error e = {{0}};
    c->retry_ns = 0;
    c->sent_ns = uv_hrtime();
    c->channel = channel_connect(&l->hub, &l->o->nodes[c->node], OUT_BYTES_MAX, &events, c, &e);
    if (c->channel) return;
    if (l->out->connects == 0) l->error = e;
    c->node = (c->node + 1) % (uint32_t)l->o->nodes_count;
    c->retry_ns = uv_hrtime() + RETRY_MS * NS_PER_MS;
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

static void finish(struct load *l) {
    l->over = true;
    l->out->elapsed_ns = uv_hrtime() - l->start_ns;
    for (uint32_t i = 0; i < l->o->clients; i++) {
        if (l->clients[i].channel) channel_close(l->clients[i].channel);
        l->clients[i].channel = NULL;
    }
    uv_timer_stop(&l->tick);
    uv_stop(&l->loop);
}

/* What waits is found by looking: nothing waits while all is well, and then this is all it costs. */
static void on_tick(uv_timer_t *timer) {
    struct load *l = timer->data;
    uint64_t now = uv_hrtime();
    if (now >= l->end_ns || (l->o->interrupted && *l->o->interrupted)) {
        finish(l);
        return;
    }
    for (uint32_t i = 0; i < l->o->clients; i++) {
        struct load_client *c = &l->clients[i];
        bool silent = (c->waiting || !c->connected) && now - c->sent_ns > TRY_TIMEOUT_MS * NS_PER_MS;
        if (c->retry_ns && now >= c->retry_ns) {
            if (c->channel)
                send_command(c);
            else
                connect_client(c);
        } else if (c->channel && silent) {
            l->out->lost += c->waiting;
            leave(c, (c->node + 1) % (uint32_t)l->o->nodes_count, 0);
        }
    }
}

static int check_options(const struct kv_load_options *o, struct error *e) {
    if (o->nodes_count == 0 || o->nodes_count > PROTOCOL_NODES_MAX)
        return error_set(e, "a load needs 1 to %d nodes, not %zu", PROTOCOL_NODES_MAX, o->nodes_count);
    if (o->clients == 0 || o->clients > KV_LOAD_CLIENTS_MAX)
        return error_set(e, "a load has 1 to %d clients, not %u", KV_LOAD_CLIENTS_MAX, o->clients);
    if (o->keys == 0 || o->value_bytes > VALUE_BYTES_MAX)
        return error_set(e, "a load needs a key at least, and values of at most %d bytes", VALUE_BYTES_MAX);
    return 0;
}

static void begin(struct load *l) {
    uint64_t seed = uv_hrtime();
    prng_seed(&l->prng, seed, 0);
    for (uint32_t i = 0; i < l->o->value_bytes; i++) l->value[i] = (uint8_t)('a' + prng_below(&l->prng, 26));
    l->start_ns = uv_hrtime();
    l->end_ns = l->start_ns + l->o->seconds * NS_PER_S;
    for (uint32_t i = 0; i < l->o->clients; i++) {
        l->clients[i] = (struct load_client){.load = l, .token = (uint64_t)i << 32};
        connect_client(&l->clients[i]);
    }
}

int kv_load_run(const struct kv_load_options *o, struct kv_load_result *out, struct error *e) {
    if (check_options(o, e)) return -1;
    struct load l = {.o = o, .out = out};
    memset(out, 0, sizeof *out);
    if (uv_loop_init(&l.loop) != 0) return error_set(e, "no event loop: too many open files?");
    l.clients = xcalloc(o->clients, sizeof *l.clients);
    l.buckets = xcalloc(BUCKETS, sizeof *l.buckets);
    l.value = xmalloc(o->value_bytes + 1);
    channel_hub_init(&l.hub, &l.loop);
    uv_timer_init(&l.loop, &l.tick);
    l.tick.data = &l;
    uv_timer_start(&l.tick, on_tick, TICK_MS, TICK_MS);
    uint64_t processor = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    begin(&l);
    uv_run(&l.loop, UV_RUN_DEFAULT);
    out->processor_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - processor;
    out->p50_ns = quantile(&l, 500);
    out->p90_ns = quantile(&l, 900);
    out->p99_ns = quantile(&l, 990);
    out->p999_ns = quantile(&l, 999);
    uv_close((uv_handle_t *)&l.tick, NULL);
    while (l.hub.open) uv_run(&l.loop, UV_RUN_ONCE);
    channel_hub_close(&l.hub);
    uv_run(&l.loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&l.loop);
    assert(rc == 0);
    for (uint32_t i = 0; i < o->clients; i++) buffer_free(&l.clients[i].command);
    free(l.clients);
    free(l.buckets);
    free(l.value);
    if (out->connects) return 0;
    *e = l.error;
    return -1;
}
