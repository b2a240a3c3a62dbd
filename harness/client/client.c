/* The client's state machine: open a session, try, follow the leader, try again, end. */
#include "harness/client/client.h"

#define BACKOFF_NS (20 * NS_PER_MS)
#define HOME_NS (5 * NS_PER_S)

struct client_rules client_rules_of(const struct world_config *c) {
    return (struct client_rules){.nodes = c->nodes,
                                 .pinned = c->clients_pinned,
                                 .backoff_ns = BACKOFF_NS,
                                 .home_ns = c->regions.count ? HOME_NS : 0};
}

void client_reset(struct client *c, const uint8_t *nearest, uint32_t nodes) {
    struct buffer command = c->command;
    command.size = 0;
    *c = (struct client){.node = nearest[0], .command = command};
    memcpy(c->nearest, nearest, nodes);
}

void client_free(struct client *c) {
    buffer_free(&c->command);
}

static struct client_action send_after(uint64_t delay_ns) {
    return (struct client_action){.verb = CLIENT_SEND, .delay_ns = delay_ns};
}

static struct client_action end(struct client *c, struct history *h, enum op_status status, struct value result,
                                const char *error) {
    c->state = CLIENT_IDLE;
    if (status == OP_INFO) { /* the next operation is another process's: it has a session of its own */
        c->session = c->sequence = 0;
    }
    return (struct client_action){
        .verb = CLIENT_DONE,
        .completion = {
            .op = c->op, .status = status, .result = result, .error = error ? history_intern(h, error) : NO_STRING}};
}

/* The command is encoded once, when its session is known; every try sends the same bytes. */
static bool encode(struct client *c, const struct history *h, const char **why) {
    struct kv_command command;
    command.session = command.sequence = 0;
    if (!kv_from_op(h, &c->pending, &command, why)) return false;
    c->reads_only = kv_command_reads_only(&command);
    if (!c->reads_only && c->session == 0) { /* first the session */
        command.ops_count = 0;
        c->state = CLIENT_OPENING;
    } else {
        if (!c->reads_only) {
            command.session = c->session;
            command.sequence = ++c->sequence;
        }
        c->state = CLIENT_BUSY;
    }
    buffer_reserve(&c->command, 256);
    size_t size;
    c->command.size = 0;
    while ((size = kv_command_encode(&command, c->command.data, c->command.capacity)) == 0) {
        *why = "the operation is larger than the store takes";
        if (c->command.capacity > (1u << 21)) return false;
        buffer_reserve(&c->command, 2 * c->command.capacity);
    }
    c->command.size = size;
    return true;
}

struct client_action client_begin(struct client *c, const struct client_rules *rules, struct history *h,
                                  const struct world_op *op, uint64_t now_ns) {
    assert(c->state == CLIENT_IDLE);
    c->pending = *op;
    c->op = op->op;
    c->tries = 0;
    c->ambiguous = false;
    c->started_ns = now_ns;
    c->pinned = rules->pinned && !op->anywhere;
    bool stays = c->node == c->nearest[0] || c->hinted;
    if (c->pinned || (!stays && rules->home_ns && now_ns >= c->away_ns + rules->home_ns)) c->node = c->nearest[0];
    const char *why = NULL;
    if (!encode(c, h, &why)) return end(c, h, OP_FAIL, VALUE_OF_NIL, why);
    return send_after(0);
}

/* On to the node that comes after the present one in the order of this client. */
static void go_on(struct client *c, const struct client_rules *rules) {
    uint32_t at = 0;
    while (c->nearest[at] != c->node) at++;
    /* Where nearness matters, whoever loses a leader begins again at home. */
    bool home = c->hinted && at > 0 && rules->home_ns;
    c->node = home ? c->nearest[0] : c->nearest[(at + 1) % rules->nodes];
    c->hinted = false;
    c->away_ns = c->started_ns;
}

static struct client_action try_elsewhere(struct client *c, const struct client_rules *rules, uint8_t leader,
                                          struct prng *p) {
    bool hinted = !c->pinned && leader < rules->nodes && leader != c->node;
    c->tries++;
    if (hinted) {
        c->node = leader;
        c->hinted = true;
    } else if (!c->pinned) {
        go_on(c, rules);
    }
    bool at_once = hinted && c->tries <= rules->nodes; /* hints of past leaders may lead in circles */
    return send_after(at_once ? 0 : prng_between(p, rules->backoff_ns / 2, rules->backoff_ns * 3 / 2));
}

static struct client_action on_result(struct client *c, struct history *h, struct bytes result) {
    struct kv_result r;
    if (!kv_result_decode(result, &r)) return end(c, h, OP_INFO, VALUE_OF_NIL, "undecodable result");
    if (c->state == CLIENT_OPENING) {
        const char *why = NULL;
        if (r.status != KV_OK) return end(c, h, OP_FAIL, VALUE_OF_NIL, "no session");
        c->session = r.session;
        c->sequence = 0;
        c->ambiguous = false; /* opening twice harms nobody */
        if (!encode(c, h, &why)) return end(c, h, OP_FAIL, VALUE_OF_NIL, why);
        return send_after(0);
    }
    switch ((enum kv_status)r.status) {
    case KV_OK: return end(c, h, OP_OK, kv_to_value(h, &c->pending, &r), NULL);
    case KV_CAS_MISMATCH: return end(c, h, OP_FAIL, VALUE_OF_NIL, "cas mismatch");
    case KV_WRONG_TYPE: return end(c, h, OP_FAIL, VALUE_OF_NIL, "wrong type");
    case KV_TOO_LARGE: return end(c, h, OP_FAIL, VALUE_OF_NIL, "too large");
    case KV_BAD_COMMAND: return end(c, h, OP_FAIL, VALUE_OF_NIL, "bad command");
    case KV_NO_SESSION:
    case KV_STALE: break;
    }
    return end(c, h, OP_INFO, VALUE_OF_NIL, "session expired");
}

struct client_action client_on_reply(struct client *c, const struct client_rules *rules, struct history *h,
                                     struct prng *p, enum status status, uint8_t leader, struct bytes result) {
    assert(c->state != CLIENT_IDLE);
    switch (status) {
    case STATUS_OK: return on_result(c, h, result);
    case STATUS_UNKNOWN: /* it was in a log and is not any more; the same sequence number makes another try safe */
        c->ambiguous = true;
        break;
    case STATUS_NOT_LEADER:
        /* A session that was perhaps opened, or a read that was perhaps done, had no effect to speak of. */
        if (c->pinned && (!c->ambiguous || c->reads_only || c->state == CLIENT_OPENING))
            return end(c, h, OP_FAIL, VALUE_OF_NIL, "not the leader");
        break;
    case STATUS_BUSY: leader = NODE_NONE; break;
    }
    return try_elsewhere(c, rules, leader, p);
}

struct client_action client_on_try_timeout(struct client *c, const struct client_rules *rules) {
    c->ambiguous = true;
    c->tries++;
    if (!c->pinned) go_on(c, rules);
    return send_after(0);
}

struct client_action client_on_connection_lost(struct client *c, const struct client_rules *rules, struct prng *p) {
    c->ambiguous = true;
    return try_elsewhere(c, rules, NODE_NONE, p);
}

struct client_action client_on_op_timeout(struct client *c, struct history *h) {
    return end(c, h, OP_INFO, VALUE_OF_NIL, c->state == CLIENT_OPENING ? "timeout (opening a session)" : "timeout");
}
