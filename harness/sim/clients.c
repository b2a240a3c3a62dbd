/* Client slots. Each has one timer in the heap, which looks at its deadlines when it fires: most operations end long
 * before, and then nothing was set and nothing must be cancelled. */
#include <stdlib.h>

#include "harness/sim/sim_internal.h"

void clients_reset(struct sim *s) {
    if (s->clients_count > s->clients_capacity) {
        s->clients = xrealloc(s->clients, s->clients_count * sizeof *s->clients);
        memset(s->clients + s->clients_capacity, 0, (s->clients_count - s->clients_capacity) * sizeof *s->clients);
        s->clients_capacity = s->clients_count;
    }
    for (uint32_t i = 0; i < s->clients_count; i++) {
        struct sim_client *c = &s->clients[i];
        uint8_t nearest[NODES_MAX];
        regions_nearest(&s->config.regions, s->nodes, i, nearest);
        client_reset(&c->client, nearest, s->nodes);
        c->refused = false;
        c->token = c->try_deadline_ns = c->op_deadline_ns = c->timer_ns = c->read_floor = c->send_sequence = 0;
    }
    s->client_rules = client_rules_of(&s->config);
}

void clients_free(struct sim *s) {
    for (uint32_t i = 0; i < s->clients_capacity; i++) client_free(&s->clients[i].client);
    free(s->clients);
}

static void arm(struct sim *s, uint32_t slot) {
    struct sim_client *c = &s->clients[slot];
    uint64_t due = c->try_deadline_ns < c->op_deadline_ns ? c->try_deadline_ns : c->op_deadline_ns;
    if (due < s->now_ns) due = s->now_ns;
    if (c->timer_ns && c->timer_ns <= due) return;
    c->timer_ns = due;
    sim_schedule(s, due, event_payload(EV_CLIENT_TIMER, 0, slot));
}

static void send_now(struct sim *s, uint32_t slot) {
    struct sim_client *c = &s->clients[slot];
    uint32_t id = frame_new(s, bytes_of(c->client.command.data, c->client.command.size));
    struct frame *f = &s->frames[id];
    uint64_t try_number = (c->token & UINT32_MAX) + 1;
    c->token = ((uint64_t)slot + 1) << 32 | (try_number & UINT32_MAX);
    f->from = client_endpoint(s, slot);
    f->to = c->client.node;
    f->kind = 0;
    f->client = slot;
    f->token = c->token;
    c->send_sequence = 0;
    c->try_deadline_ns = s->now_ns + s->config.try_timeout_ns;
    arm(s, slot);
    network_send(s, id);
}

static void act(struct sim *s, uint32_t slot, struct client_action a) {
    struct sim_client *c = &s->clients[slot];
    if (a.verb == CLIENT_DONE) {
        c->try_deadline_ns = c->op_deadline_ns = UINT64_MAX;
        c->send_sequence = 0;
        a.completion.client = slot;
        if (s->trace)
            trace_event(s, "client %u: operation %u ends %s", slot, a.completion.op,
                        a.completion.status == OP_OK     ? "ok"
                        : a.completion.status == OP_FAIL ? "fail"
                                                         : "info");
        s->world.host.on_complete(s->world.host.ctx, &a.completion);
    } else if (a.delay_ns == 0) {
        send_now(s, slot);
    } else {
        c->try_deadline_ns = UINT64_MAX;
        c->send_sequence = sim_schedule(s, s->now_ns + a.delay_ns, event_payload(EV_CLIENT_SEND, 0, slot));
    }
}

uint8_t clients_submit(struct sim *s, uint32_t slot, const struct world_op *op) {
    assert(slot < s->clients_count);
    struct sim_client *c = &s->clients[slot];
    if (s->config.invariants) c->read_floor = oracle_read_floor(s->oracle);
    c->op_deadline_ns = s->now_ns + s->config.op_timeout_ns;
    c->try_deadline_ns = UINT64_MAX;
    struct client_action a = client_begin(&c->client, &s->client_rules, s->world.host.history, op, s->now_ns);
    uint8_t node = c->client.node;
    if (a.verb == CLIENT_DONE) { /* the store cannot express it; told one event later, never from inside submit */
        c->refused = true;
        c->refusal = a;
        c->op_deadline_ns = s->now_ns;
        arm(s, slot);
    } else {
        act(s, slot, a);
    }
    return node;
}

void clients_on_timer(struct sim *s, uint32_t slot) {
    struct sim_client *c = &s->clients[slot];
    if (c->timer_ns != s->now_ns) return; /* replaced by an earlier one */
    c->timer_ns = 0;
    if (c->refused) {
        c->refused = false;
        act(s, slot, c->refusal);
        return;
    }
    if (c->client.state == CLIENT_IDLE) return;
    if (s->now_ns >= c->op_deadline_ns)
        act(s, slot, client_on_op_timeout(&c->client, s->world.host.history));
    else if (s->now_ns >= c->try_deadline_ns)
        act(s, slot, client_on_try_timeout(&c->client, &s->client_rules));
    else
        arm(s, slot);
}

void clients_on_send(struct sim *s, uint32_t slot, uint64_t sequence) {
    struct sim_client *c = &s->clients[slot];
    if (c->client.state != CLIENT_IDLE && c->send_sequence == sequence) send_now(s, slot);
}

void clients_on_answer(struct sim *s, const struct frame *f) {
    struct sim_client *c = &s->clients[f->client];
    if (c->client.state == CLIENT_IDLE || c->token != f->token || c->send_sequence) return; /* of an earlier try */
    act(s, f->client,
        client_on_reply(&c->client, &s->client_rules, s->world.host.history, &s->clients_prng, (enum status)f->status,
                        f->leader, bytes_of(f->data, f->size)));
}
