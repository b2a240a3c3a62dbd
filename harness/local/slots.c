/* Client slots of bundled targets: the state machine of harness/client over real connections, one per slot and node,
 * made when first needed. All of it runs on the world's one thread. */
#include "harness/local/local_internal.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define OUT_BYTES_MAX (4u << 20)

static void act(struct local_client *c, struct client_action a);

void slots_make(struct local *l) {
    l->clients_count = l->config.clients;
    l->clients = xcalloc(l->clients_count, sizeof *l->clients);
    l->client_rules = client_rules_of(&l->config);
    for (uint32_t i = 0; i < l->clients_count; i++) {
        struct local_client *c = &l->clients[i];
        c->local = l;
        c->slot = i;
        c->channels = xcalloc(l->nodes, sizeof *c->channels);
        uint8_t nearest[NODES_MAX];
        regions_nearest(&l->config.regions, l->nodes, i, nearest);
        client_reset(&c->client, nearest, l->nodes);
    }
}

void slots_free(struct local *l) {
    for (uint32_t i = 0; i < l->clients_count; i++) {
        struct local_client *c = &l->clients[i];
        for (uint32_t n = 0; n < l->nodes; n++)
            if (c->channels[n]) channel_close(c->channels[n]);
        free(c->channels);
        client_free(&c->client);
    }
    free(l->clients);
    l->clients = NULL;
    l->clients_count = 0;
}

/* A socket belongs to the namespace in which it was made. The world's own thread stays in that of the first clients. */
static void be_in(struct local *l, uint8_t endpoint) {
    if (l->config.regions.count <= 1) return;
    struct error e = {{0}};
    int failed = network_enter(l->network.endpoint[endpoint], &e);
    assert(!failed && "a namespace that is held can be entered");
}

void slot_enter_region(struct local *l, uint32_t slot) {
    be_in(l, regions_client_endpoint(&l->config.regions, l->nodes, slot));
}

void slot_leave_region(struct local *l) {
    be_in(l, (uint8_t)l->nodes);
}

static void arm(struct local_client *c) {
    uint64_t due = c->try_deadline_ns < c->op_deadline_ns ? c->try_deadline_ns : c->op_deadline_ns;
    if (c->timer_ns && c->timer_ns <= due) return;
    c->timer_ns = due ? due : 1;
    local_schedule(c->local, c->timer_ns, TIMER_CLIENT, c->slot);
}

static uint8_t node_of(const struct local_client *c, const struct channel *channel) {
    uint8_t node = 0;
    while (c->channels[node] != channel) node++;
    return node;
}

static void on_frame(void *ctx, struct channel *channel, enum wire_type type, struct bytes payload) {
    struct local_client *c = ctx;
    struct local *l = c->local;
    if (type != WIRE_REPLY) return;
    struct reader r = {.data = payload.data, .size = payload.size};
    uint64_t token = read_u64(&r);
    enum status status = (enum status)read_u8(&r);
    uint8_t leader = read_u8(&r);
    read_u64(&r); /* the log position, for oracles that see everything at once */
    if (r.failed || !c->waiting || token != c->token || node_of(c, channel) != c->asked) return; /* of an earlier try */
    c->waiting = false;
    struct bytes result = bytes_of(r.data + r.offset, r.size - r.offset);
    l->events++;
    act(c, client_on_reply(&c->client, &l->client_rules, l->world.host.history, &l->prng, status, leader, result));
}

static void on_close(void *ctx, struct channel *channel, const char *why, bool sent_all) {
    (void)why;
    struct local_client *c = ctx;
    struct local *l = c->local;
    uint8_t node = node_of(c, channel);
    c->channels[node] = NULL;
    if (!c->waiting || c->asked != node) return;
    c->waiting = false;
    if (sent_all) /* it may have been executed */
        act(c, client_on_connection_lost(&c->client, &l->client_rules, &l->prng));
    else
        act(c, client_on_reply(&c->client, &l->client_rules, l->world.host.history, &l->prng, STATUS_BUSY, NODE_NONE,
                               bytes_of(NULL, 0)));
}

static const struct channel_events channel_events = {.on_frame = on_frame, .on_close = on_close};

static struct channel *connection(struct local_client *c, uint8_t node) {
    struct local *l = c->local;
    if (c->channels[node]) return c->channels[node];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(WIRE_CLIENT_PORT)};
    inet_pton(AF_INET, l->network.address[node], &to.sin_addr);
    slot_enter_region(l, c->slot);
    c->channels[node] = channel_connect(&l->hub, &to, OUT_BYTES_MAX, &channel_events, c, NULL);
    slot_leave_region(l);
    if (!c->channels[node]) return NULL;
    uint8_t hello[10] = {[8] = WIRE_CLIENT, [9] = node};
    struct bytes part = bytes_of(hello, sizeof hello);
    channel_send(c->channels[node], WIRE_HELLO, &part, 1);
    return c->channels[node];
}

static void send_now(struct local_client *c) {
    struct local *l = c->local;
    uint64_t now = local_now(l);
    c->send_sequence = 0;
    c->token = ((uint64_t)c->slot + 1) << 32 | ((c->token + 1) & UINT32_MAX);
    c->asked = c->client.node;
    c->try_deadline_ns = now + l->config.try_timeout_ns;
    struct channel *channel = connection(c, c->asked);
    uint8_t token[8];
    memcpy(token, &c->token, 8);
    struct bytes parts[2] = {bytes_of(token, 8), bytes_of(c->client.command.data, c->client.command.size)};
    c->waiting = channel && channel_send(channel, WIRE_REQUEST, parts, 2);
    arm(c); /* what could not be sent runs into the time of the try */
}

static void act(struct local_client *c, struct client_action a) {
    struct local *l = c->local;
    if (a.verb == CLIENT_DONE) {
        c->try_deadline_ns = c->op_deadline_ns = UINT64_MAX;
        c->send_sequence = 0;
        c->waiting = false;
        a.completion.client = c->slot;
        l->world.host.on_complete(l->world.host.ctx, &a.completion);
    } else if (a.delay_ns == 0) {
        send_now(c);
    } else {
        c->try_deadline_ns = UINT64_MAX;
        c->waiting = false;
        c->send_sequence = local_schedule(l, local_now(l) + a.delay_ns, TIMER_CLIENT_SEND, c->slot);
    }
}

uint8_t slots_submit(struct local *l, uint32_t slot, const struct world_op *op) {
    assert(slot < l->clients_count);
    struct local_client *c = &l->clients[slot];
    uint64_t now = local_now(l);
    c->op_deadline_ns = now + l->config.op_timeout_ns;
    c->try_deadline_ns = UINT64_MAX;
    struct client_action a = client_begin(&c->client, &l->client_rules, l->world.host.history, op, now);
    uint8_t node = c->client.node;
    if (a.verb == CLIENT_DONE) { /* told by a timer, never from inside submit */
        c->refused = true;
        c->refusal = a;
        c->op_deadline_ns = now;
        arm(c);
    } else {
        act(c, a);
    }
    return node;
}

void slots_on_timer(struct local *l, uint32_t slot) {
    struct local_client *c = &l->clients[slot];
    uint64_t now = local_now(l);
    if (c->timer_ns == 0 || c->timer_ns > now) return; /* replaced by an earlier one */
    c->timer_ns = 0;
    if (c->refused) {
        c->refused = false;
        act(c, c->refusal);
        return;
    }
    if (c->client.state == CLIENT_IDLE) return;
    if (now >= c->op_deadline_ns) {
        act(c, client_on_op_timeout(&c->client, l->world.host.history));
    } else if (now >= c->try_deadline_ns) {
        c->waiting = false;
        act(c, client_on_try_timeout(&c->client, &l->client_rules));
    } else {
        arm(c);
    }
}

void slots_on_send(struct local *l, uint32_t slot, uint64_t sequence) {
    struct local_client *c = &l->clients[slot];
    if (c->client.state != CLIENT_IDLE && c->send_sequence == sequence) send_now(c);
}
