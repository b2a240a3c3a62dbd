/* The host of sim_driver.h. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim_driver.h"

enum { TAG_CLIENT = 1, TAG_FAULT = 2 };

struct world_config driver_config(uint64_t seed) {
    return (struct world_config){.target = "raft",
                                 .mutant = "",
                                 .nodes = 5,
                                 .clients = 8,
                                 .seed = seed,
                                 .invariants = true,
                                 .reads = READ_INDEX,
                                 .clock_drift_ppm_max = 50000,
                                 .snapshot_entries = 200};
}

static void submit(struct driver *d, uint32_t client) {
    uint64_t now = d->world->ops->now_ns(d->world);
    static const uint16_t functions[] = {OP_READ, OP_WRITE, OP_CAS, OP_READ};
    uint16_t f = functions[prng_below(&d->prng, 4)];
    char key[16] = {'k', (char)('0' + prng_below(&d->prng, d->keys)), 0};
    struct value argument = VALUE_OF_NIL;
    if (f == OP_WRITE) argument = VALUE_OF_INT(++d->next_value);
    if (f == OP_CAS) {
        int64_t expected = (int64_t)prng_below(&d->prng, (uint64_t)d->next_value + 1);
        argument = history_pair(d->history, VALUE_OF_INT(expected), VALUE_OF_INT(++d->next_value));
    }
    uint32_t key_id = history_intern(d->history, key);
    uint32_t op = history_invoke(d->history, now, now, client, 0, f, key_id, argument);
    assert(op < 1 << 16);
    d->op_client[op] = client;
    struct world_op w = {.op = op, .f = f, .key = key_id, .argument = argument};
    d->world->ops->submit(d->world, client, &w);
}

static void end_fault(struct driver *d, uint32_t i) {
    d->faults_affected += d->world->ops->fault_end(d->world, d->faults[i]).affected;
    d->faults[i] = d->faults[--d->faults_count];
}

static void random_links(struct driver *d, struct fault_spec *f) {
    uint32_t n = d->config.nodes, side = (uint32_t)prng_between(&d->prng, 1, (1u << n) - 2);
    for (uint32_t from = 0; from < n; from++) {
        uint32_t other = (side >> from & 1) ? ~side : side;
        f->links[from] = other & ((1u << n) - 1);
    }
    if (prng_chance(&d->prng, 300000))
        for (uint32_t from = 0; from < n; from++)
            if (side >> from & 1) f->links[from] = 0; /* one way */
    switch (prng_below(&d->prng, 4)) {
    case 0: f->link.cut = true; break;
    case 1:
        f->link.loss_ppm = 200000;
        f->link.duplicate_ppm = 200000;
        break;
    case 2:
        f->link.delay_ns = prng_below(&d->prng, 200) * NS_PER_MS;
        f->link.jitter_ns = 5 * NS_PER_MS;
        break;
    default:
        f->link.reorder_ppm = 300000;
        f->link.corrupt_ppm = 50000;
        f->link.duplicate_ppm = 300000;
        break;
    }
}

static void begin_fault(struct driver *d) {
    struct fault_spec f = {.nodes = 1u << prng_below(&d->prng, d->config.nodes)};
    do f.kind = (enum fault_kind)prng_below(&d->prng, FAULT_KINDS);
    while (!(d->fault_kinds >> f.kind & 1));
    if (prng_chance(&d->prng, 500000)) f.nodes |= 1u << prng_below(&d->prng, d->config.nodes);
    uint8_t leader = d->world->ops->leader(d->world);
    if (leader != NODE_UNKNOWN && prng_chance(&d->prng, 500000)) f.nodes |= 1u << leader;
    if (f.kind == FAULT_LINK) random_links(d, &f);
    if (f.kind == FAULT_SLOW) f.slow_percent = 20;
    if (f.kind == FAULT_CLOCK) f.clock.drift_ppm = prng_chance(&d->prng, 500000) ? 20000 : -20000;
    if (f.kind == FAULT_POWER) f.crash = (struct disk_crash){.keep_ppm = 300000, .tear_ppm = 300000};
    if (f.kind == FAULT_DISK) f.disk.sync_stall_ns = prng_below(&d->prng, 500) * NS_PER_MS;
    if (f.kind == FAULT_DISK && prng_chance(&d->prng, 200000)) f.disk.sync_error_ppm = 100000;
    struct error e;
    uint32_t id = d->world->ops->fault_begin(d->world, &f, &e);
    assert(id);
    d->faults[d->faults_count++] = id;
}

static void on_wake(void *ctx, uint64_t tag) {
    struct driver *d = ctx;
    if (d->closing) return;
    if (tag >> 32 == TAG_CLIENT) {
        submit(d, (uint32_t)tag);
        return;
    }
    while (d->faults_count && (d->faults_count > 2 || prng_chance(&d->prng, 600000)))
        end_fault(d, (uint32_t)prng_below(&d->prng, d->faults_count));
    if (prng_chance(&d->prng, 700000)) begin_fault(d);
    uint64_t now = d->world->ops->now_ns(d->world);
    d->world->ops->wake_at(d->world, now + prng_between(&d->prng, 200, 2500) * NS_PER_MS, (uint64_t)TAG_FAULT << 32);
}

static void on_complete(void *ctx, const struct completion *c) {
    struct driver *d = ctx;
    uint64_t now = d->world->ops->now_ns(d->world);
    history_complete(d->history, c->op, now, c->status, c->result, c->error);
    d->ok += c->status == OP_OK;
    d->fail += c->status == OP_FAIL;
    d->info += c->status == OP_INFO;
    if (!d->closing)
        d->world->ops->wake_at(d->world, now + prng_below(&d->prng, 2 * d->think_ns + 1),
                               (uint64_t)TAG_CLIENT << 32 | c->client);
}

void driver_init(struct driver *d, const struct world_config *c) {
    struct error e = {0};
    memset(d, 0, sizeof *d);
    d->config = *c;
    d->keys = 4;
    d->think_ns = 20 * NS_PER_MS;
    d->history = history_new();
    prng_seed(&d->prng, c->seed, 1000);
    d->world = sim_new(
        c, (struct world_host){.ctx = d, .history = d->history, .on_wake = on_wake, .on_complete = on_complete}, &e);
    assert(d->world);
}

static bool agreed(struct driver *d) {
    struct node_status first = d->world->ops->node_status(d->world, 0);
    for (uint8_t i = 0; i < d->config.nodes; i++) {
        struct node_status s = d->world->ops->node_status(d->world, i);
        if (!s.up || s.applied_index != first.applied_index || s.state_hash != first.state_hash ||
            s.last_index != s.applied_index)
            return false;
    }
    return first.role == ROLE_PEER || d->world->ops->leader(d->world) != NODE_UNKNOWN;
}

enum world_end driver_run(struct driver *d, uint32_t seconds, bool *settled) {
    for (uint32_t i = 0; i < d->config.clients; i++)
        d->world->ops->wake_at(d->world, 100 * NS_PER_MS, (uint64_t)TAG_CLIENT << 32 | i);
    if (d->fault_kinds) d->world->ops->wake_at(d->world, NS_PER_S, (uint64_t)TAG_FAULT << 32);
    enum world_end end = d->world->ops->run_until(d->world, seconds * NS_PER_S);
    d->closing = true;
    while (d->faults_count) end_fault(d, 0);
    *settled = false;
    for (uint32_t i = 1; end == WORLD_TIME && i <= 150 && !*settled; i++) {
        end = d->world->ops->run_until(d->world, seconds * NS_PER_S + i * 100 * NS_PER_MS);
        *settled = agreed(d);
    }
    return end;
}

enum verdict driver_judge(const struct driver *d, const char **why) {
    static char detail[300];
    struct check_result r = {0};
    check_linearizable(d->history, model_find("kv"), NULL, &r);
    snprintf(detail, sizeof detail, "%s", r.detail ? r.detail : "");
    enum verdict v = r.verdict;
    check_result_free(&r);
    *why = detail;
    return v;
}

const char *driver_complaint(const struct driver *d, enum world_end end, bool settled) {
    static char text[600];
    const char *invariant = "", *why = d->world->ops->violation(d->world, &invariant);
    if (why) {
        snprintf(text, sizeof text, "%s: %s", invariant, why);
        return text;
    }
    if (end != WORLD_TIME) return "it ended early";
    if (!settled) return "it does not settle";
    if (d->config.reads == READ_LOCAL) return NULL;
    return driver_judge(d, &why) == VERDICT_VALID ? NULL : why;
}

void driver_free(struct driver *d) {
    d->world->ops->free(d->world);
    history_free(d->history);
}
