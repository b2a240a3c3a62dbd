/* Foreign targets in the local world: operations of the history to calls of the target's Lua file and back, each slot
 * with a time of its own, and what polling tells about the nodes.
 *
 * A client whose node refuses connections does what clients of bundled targets do: it goes on to the next node, and
 * when all have refused, waits a little longer each time. So a dead cluster is not stormed by closed loops, and what is
 * measured from an open loop's due time means the same with every target. */
#include "harness/local/local_internal.h"

#include <stdlib.h>

#define POLL_NS (50 * NS_PER_MS)
#define LIST_MAX 65536u
#define BACKOFF_MIN_NS (50 * NS_PER_MS)
#define BACKOFF_MAX_NS NS_PER_S

static void on_pool(uv_poll_t *poll, int status, int events);

int outside_make(struct local *l, struct error *e) {
    const struct world_config *c = &l->config;
    char *file = xformat("%.*s", (int)foreign_name_size(c->target), c->target);
    l->target = foreign_load(file, *c->adapter, e);
    free(file);
    if (!l->target) return -1;
    l->settings = foreign_settings(l->target, c->target, e);
    if (!l->settings) return -1;
    const char *missing = foreign_missing(l->target);
    if (missing) return error_set(e, "%s cannot run here: %s", c->target, missing);
    l->cluster = (struct foreign_cluster){.size = l->nodes, .settings = (const char *const *)l->settings};
    for (uint32_t i = 0; i < l->nodes; i++) {
        struct foreign_node *n = &l->cluster.nodes[i];
        memcpy(n->address, l->network.address[i], sizeof l->network.address[i]);
        char *folder = xformat("%s/n%u", c->folder, i + 1);
        bool fits = strlen(folder) < sizeof n->folder;
        if (fits) memcpy(n->folder, folder, strlen(folder) + 1);
        free(folder);
        if (!fits) return error_set(e, "the path %s is too long", c->folder);
    }
    l->pool = foreign_pool_new(l->target, &l->cluster, c->clients, e);
    if (!l->pool) return -1;
    int rc = uv_poll_init(&l->loop, &l->pool_poll, foreign_pool_fd(l->pool));
    l->pool_poll_open = rc == 0;
    l->pool_poll.data = l;
    if (rc == 0) rc = uv_poll_start(&l->pool_poll, UV_READABLE, on_pool);
    if (rc != 0) return error_set(e, "the event loop cannot watch the target's calls: %s", uv_strerror(rc));
    foreign_poll(l->pool, POLL_NS);
    return 0;
}

void outside_free(struct local *l) {
    if (l->pool_poll_open) uv_poll_stop(&l->pool_poll);
    l->pool_poll_open = false;
    if (l->pool) foreign_pool_free(l->pool);
    l->pool = NULL;
    foreign_settings_free(l->settings);
    l->settings = NULL;
    foreign_free(l->target);
    l->target = NULL;
}

/* --- values --- */

static struct foreign_value to_foreign(const struct history *h, struct value v, struct arena *a) {
    struct foreign_value out = {.kind = FOREIGN_NIL};
    switch ((enum value_kind)v.kind) {
    case VALUE_NIL: break;
    case VALUE_INT:
        out.kind = FOREIGN_INT;
        out.integer = v.integer;
        break;
    case VALUE_STRING:
        out.kind = FOREIGN_STRING;
        out.string = history_text_bytes(h, v.string);
        break;
    case VALUE_LIST: {
        struct foreign_value *list = arena_alloc(a, (v.size + 1) * sizeof *list);
        for (uint32_t i = 0; i < v.size; i++) list[i] = to_foreign(h, h->pool[v.first + i], a);
        out.kind = FOREIGN_LIST;
        out.list = list;
        out.list_size = v.size;
        break;
    }
    }
    return out;
}

static struct value from_foreign(struct history *h, const struct foreign_value *v, uint32_t depth) {
    if (!v || depth > VALUE_DEPTH_MAX) return VALUE_OF_NIL;
    switch (v->kind) {
    case FOREIGN_NIL: break;
    case FOREIGN_INT: return VALUE_OF_INT(v->integer);
    case FOREIGN_STRING: return (struct value){.kind = VALUE_STRING, .string = history_intern_bytes(h, v->string)};
    case FOREIGN_LIST: {
        uint32_t size = v->list_size < LIST_MAX ? v->list_size : LIST_MAX;
        struct value *elements = xmalloc((size + 1) * sizeof *elements);
        for (uint32_t i = 0; i < size; i++) elements[i] = from_foreign(h, &v->list[i], depth + 1);
        struct value list = history_list(h, elements, size);
        free(elements);
        return list;
    }
    }
    return VALUE_OF_NIL;
}

/* --- operations --- */

static void ask_next(struct local_client *c) {
    uint32_t at = 0;
    while (c->nearest[at] != c->asked) at++;
    c->asked = c->nearest[(at + 1) % c->local->nodes];
}

static void finish(struct local_client *c, enum op_status status, struct value result, const char *error) {
    struct local *l = c->local;
    struct history *h = l->world.host.history;
    c->busy = c->refused = false;
    c->op_deadline_ns = UINT64_MAX;
    c->retry_ns = 0;
    c->token++;
    /* A node that refuses is left for the next one, unless the client is to stay with its own. */
    if (status != OP_OK && !l->config.clients_pinned) ask_next(c);
    struct completion done = {.op = c->op.op,
                              .client = c->slot,
                              .status = status,
                              .result = result,
                              .error = error && *error ? history_intern(h, error) : NO_STRING};
    l->events++;
    l->world.host.on_complete(l->world.host.ctx, &done);
}

static void arm(struct local_client *c, uint64_t due_ns) {
    c->timer_ns = due_ns ? due_ns : 1;
    local_schedule(c->local, c->timer_ns, TIMER_CLIENT, c->slot);
}

static bool stays(const struct local_client *c) {
    return c->local->config.clients_pinned && !c->op.anywhere;
}

/* How long to wait after so many refusals in a row: 50 ms for each time that nobody is left to ask, doubled up to a
 * second, with up to a half of it taken off by chance, so that clients do not come back all at once. */
static uint64_t backoff_ns(struct local_client *c) {
    struct local *l = c->local;
    uint32_t others = stays(c) ? 1 : l->nodes;
    if (c->refusals % others != 0) return 0;
    uint64_t ns = BACKOFF_MIN_NS;
    for (uint32_t i = others; i < c->refusals && ns < BACKOFF_MAX_NS; i += others) ns *= 2;
    if (ns > BACKOFF_MAX_NS) ns = BACKOFF_MAX_NS;
    return ns - prng_below(&l->prng, ns / 2);
}

static void call_target(struct local_client *c) {
    struct local *l = c->local;
    const struct history *h = l->world.host.history;
    uint64_t now = local_now(l);
    struct arena arena = {.block_size = 4096};
    struct foreign_call call = {.f = history_function_name(h, c->op.f),
                                .key = history_text(h, c->op.key),
                                .argument = to_foreign(h, c->op.argument, &arena),
                                .node = c->asked,
                                .timeout_ns = c->op_deadline_ns > now ? c->op_deadline_ns - now : 0};
    c->retry_ns = 0;
    slot_enter_region(l, c->slot);
    foreign_submit(l->pool, c->slot, c->token, &call);
    slot_leave_region(l);
    arena_free(&arena);
}

/* It certainly was not done, so trying once more cannot do it twice. */
static void on_refused(struct local_client *c, const char *reason) {
    struct local *l = c->local;
    c->refusals++;
    uint64_t now = local_now(l), wait_ns = backoff_ns(c);
    uint64_t left_ns = c->op_deadline_ns > now ? c->op_deadline_ns - now : 0;
    if (left_ns < BACKOFF_MIN_NS) {
        finish(c, OP_FAIL, VALUE_OF_NIL, reason);
        return;
    }
    if (wait_ns > left_ns / 2) wait_ns = left_ns / 2; /* leaves time for a last try */
    if (!stays(c)) ask_next(c);
    c->token++;
    if (wait_ns == 0) {
        call_target(c);
    } else {
        c->retry_ns = now + wait_ns;
        arm(c, c->retry_ns);
    }
}

static void on_done(void *ctx, uint32_t slot, uint64_t token, enum foreign_status status,
                    const struct foreign_value *result, const char *reason) {
    struct local *l = ctx;
    struct local_client *c = &l->clients[slot];
    if (!c->busy || c->token != token) return;
    if (status == FOREIGN_REFUSED) {
        on_refused(c, reason);
        return;
    }
    static const enum op_status statuses[] = {[FOREIGN_OK] = OP_OK, [FOREIGN_FAIL] = OP_FAIL, [FOREIGN_INFO] = OP_INFO};
    struct value value = VALUE_OF_NIL;
    if (status == FOREIGN_OK)
        value =
            c->op.f == OP_READ || c->op.f >= OP_TXN ? from_foreign(l->world.host.history, result, 0) : c->op.argument;
    finish(c, statuses[status], value, reason);
}

static void on_pool(uv_poll_t *poll, int status, int events) {
    (void)status, (void)events;
    struct local *l = poll->data;
    foreign_drain(l->pool, l, on_done);
}

uint8_t outside_submit(struct local *l, uint32_t slot, const struct world_op *op) {
    struct local_client *c = &l->clients[slot];
    const struct history *h = l->world.host.history;
    uint64_t now = local_now(l);
    if (c->token == 0) {
        c->token = 1;
        regions_nearest(&l->config.regions, l->nodes, slot, c->nearest);
        c->asked = c->nearest[0];
    }
    c->op = *op;
    c->busy = true;
    c->refusals = 0;
    c->op_deadline_ns = now + l->config.op_timeout_ns;
    if (stays(c)) c->asked = c->nearest[0];
    if (!foreign_has(l->target, history_function_name(h, op->f))) { /* told by a timer, never from inside submit */
        c->refused = true;
        arm(c, now);
        return c->asked;
    }
    call_target(c);
    arm(c, c->op_deadline_ns);
    return c->asked;
}

void outside_on_timer(struct local *l, uint32_t slot) {
    struct local_client *c = &l->clients[slot];
    uint64_t now = local_now(l);
    if (!c->busy) return;
    if (c->refused) {
        finish(c, OP_FAIL, VALUE_OF_NIL, "the target cannot do this operation");
    } else if (c->retry_ns) {
        if (now >= c->op_deadline_ns)
            finish(c, OP_FAIL, VALUE_OF_NIL, "connect");
        else if (now >= c->retry_ns)
            call_target(c);
    } else if (now >= c->op_deadline_ns) {
        foreign_abandon(l->pool, slot);
        finish(c, OP_INFO, VALUE_OF_NIL, "timeout");
    }
}
