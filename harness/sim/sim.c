/* The simulator: replicas, clients, network, disks and clocks in one thread, from one seed. Event order is (time,
 * sequence); every event enters the trace hash, so that two runs can be compared by one number. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "harness/sim/sim_internal.h"

uint64_t sim_schedule(struct sim *s, uint64_t time_ns, uint64_t payload) {
    uint64_t sequence = ++s->sequence;
    heap_push(&s->heap, (struct heap_item){.time_ns = time_ns < s->now_ns ? s->now_ns : time_ns,
                                           .sequence = sequence,
                                           .payload = payload});
    return sequence;
}

void sim_mix(struct sim *s, uint64_t word) {
    s->hash = hash_mix(s->hash, word);
}

static struct sim *of(struct world *w) {
    return (struct sim *)w;
}
static const struct sim *of_const(const struct world *w) {
    return (const struct sim *)w;
}

static uint64_t now_ns(const struct world *w) {
    return of_const(w)->now_ns;
}

static void wake_at(struct world *w, uint64_t time_ns, uint64_t tag) {
    struct sim *s = of(w);
    if (s->free_wakes_count == 0) {
        uint32_t old = s->wakes_capacity;
        s->wakes_capacity = old ? 2 * old : 64;
        s->wakes = xrealloc(s->wakes, s->wakes_capacity * sizeof *s->wakes);
        s->free_wakes = xrealloc(s->free_wakes, s->wakes_capacity * sizeof *s->free_wakes);
        for (uint32_t i = s->wakes_capacity; i-- > old;) s->free_wakes[s->free_wakes_count++] = i;
    }
    uint32_t slot = s->free_wakes[--s->free_wakes_count];
    s->wakes[slot] = tag;
    sim_schedule(s, time_ns, event_payload(EV_WAKE, 0, slot));
}

static void run_frame(struct sim *s, const struct heap_item *item, uint8_t to) {
    uint32_t frame = (uint32_t)(item->payload >> 16);
    if (to < s->nodes && s->node[to].up && !node_may_run(&s->node[to], item)) return; /* it arrives again later */
    network_deliver(s, frame);
    frame_release(s, frame);
}

static void run_event(struct sim *s, const struct heap_item *item) {
    uint8_t node = (uint8_t)(item->payload >> 8);
    uint64_t detail = item->payload >> 16;
    struct sim_node *n = &s->node[node < NODES_MAX ? node : 0];
    s->events++;
    sim_mix(s, item->time_ns);
    sim_mix(s, item->payload);
    switch ((enum event_type)(item->payload & 0xff)) {
    case EV_FRAME: run_frame(s, item, node); break;
    case EV_TIMER:
        if (n->timer_sequence[detail] == item->sequence && node_may_run(n, item))
            node_on_timer(n, (uint8_t)detail, item->sequence);
        break;
    case EV_SYNC:
        if (n->generation == detail >> 8 && node_may_run(n, item))
            node_on_sync(n, (uint32_t)(detail & 0xff), (uint32_t)(detail >> 8));
        break;
    case EV_BOOT:
        if (n->generation == detail) node_boot(n);
        break;
    case EV_STOP: node_on_terminate(n, (uint32_t)detail); break;
    case EV_CLIENT_TIMER: clients_on_timer(s, (uint32_t)detail); break;
    case EV_CLIENT_SEND: clients_on_send(s, (uint32_t)detail, item->sequence); break;
    case EV_WAKE: {
        uint64_t tag = s->wakes[detail];
        s->free_wakes[s->free_wakes_count++] = (uint32_t)detail;
        s->world.host.on_wake(s->world.host.ctx, tag);
        break;
    }
    }
}

static enum world_end run_until(struct world *w, uint64_t time_ns) {
    struct sim *s = of(w);
    s->stopping = false;
    while (s->heap.count && heap_top(&s->heap)->time_ns <= time_ns) {
        struct heap_item item = heap_pop(&s->heap);
        assert(item.time_ns >= s->now_ns);
        s->now_ns = item.time_ns;
        run_event(s, &item);
        if (s->config.invariants && oracle_violation(s->oracle, NULL)) return WORLD_VIOLATION;
        if (s->stopping) return WORLD_STOPPED;
    }
    if (s->now_ns < time_ns) s->now_ns = time_ns;
    return WORLD_TIME;
}

static void stop(struct world *w) {
    of(w)->stopping = true;
}

static uint8_t submit(struct world *w, uint32_t client, const struct world_op *op) {
    return clients_submit(of(w), client, op);
}

static uint32_t fault_begin(struct world *w, const struct fault_spec *spec, struct error *e) {
    return faults_begin(of(w), spec, e);
}

static struct fault_evidence fault_end(struct world *w, uint32_t fault) {
    return faults_end(of(w), fault);
}

static uint8_t leader(const struct world *w) {
    const struct sim *s = of_const(w);
    uint8_t found = NODE_UNKNOWN;
    for (uint8_t i = 0; i < s->nodes; i++) {
        const struct sim_node *n = &s->node[i];
        if (!n->up || n->probe.role != PROTOCOL_LEADER) continue;
        if (found == NODE_UNKNOWN || n->probe.term > s->node[found].probe.term) found = i;
    }
    return found;
}

static bool transfer(struct world *w, uint8_t to) {
    struct sim *s = of(w);
    uint8_t from = leader(w);
    if (from == NODE_UNKNOWN || to >= s->nodes || s->node[from].pause_count) return false;
    struct sim_node *n = &s->node[from];
    replica_transfer(n->replica, node_clock(n), to);
    node_after_step(n);
    return true;
}

static struct node_status node_status(const struct world *w, uint8_t node) {
    const struct sim *s = of_const(w);
    if (node >= s->nodes) return (struct node_status){.leader = NODE_UNKNOWN};
    const struct sim_node *n = &s->node[node];
    return (struct node_status){.up = n->up,
                                .paused = n->pause_count > 0,
                                .role = n->probe.role,
                                .leader = n->probe.leader,
                                .term = n->probe.term,
                                .commit_index = n->probe.commit_index,
                                .applied_index = n->probe.applied_index,
                                .last_index = n->probe.last_index,
                                .state_hash = n->up ? replica_state_hash(n->replica) : 0};
}

static void counters(const struct world *w, struct world_counters *out) {
    const struct sim *s = of_const(w);
    struct timespec used;
    *out = s->counters;
    for (uint32_t i = 0; i < s->nodes; i++) out->syncs += s->node[i].disk.counters.syncs;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    out->cpu_ns = (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}

static const char *violation(const struct world *w, const char **invariant) {
    return oracle_violation(of_const(w)->oracle, invariant);
}

static uint64_t events(const struct world *w) {
    return of_const(w)->events;
}

static uint64_t trace_hash(const struct world *w) {
    return of_const(w)->hash;
}

static void trace_to(struct world *w, void (*line)(void *, const char *), void *ctx) {
    of(w)->trace = line;
    of(w)->trace_ctx = ctx;
}

static void free_nodes(struct sim *s) {
    for (uint32_t i = 0; i < s->nodes; i++) node_free(&s->node[i]);
    s->nodes = 0;
}

static void sim_free(struct world *w) {
    struct sim *s = of(w);
    free_nodes(s);
    network_release(s);
    clients_free(s);
    oracle_free(s->oracle);
    heap_free(&s->heap);
    free(s->wakes);
    free(s->free_wakes);
    free(s);
}

static const struct world_ops sim_ops = {
    .name = "sim",
    .free = sim_free,
    .now_ns = now_ns,
    .wake_at = wake_at,
    .run_until = run_until,
    .stop = stop,
    .submit = submit,
    .capabilities = ((1u << FAULT_KINDS) - 1) | FAULT_WHOLE_DISKS,
    .fault_begin = fault_begin,
    .fault_end = fault_end,
    .leader = leader,
    .transfer = transfer,
    .node_status = node_status,
    .counters = counters,
    .violation = violation,
    .events = events,
    .trace_hash = trace_hash,
    .trace_to = trace_to,
};

/* Zero means the target's default. */
static void fill_defaults(struct world_config *c) {
    if (c->clients == 0) c->clients = 1;
    if (c->op_timeout_ns == 0) c->op_timeout_ns = 5 * NS_PER_S;
    if (c->try_timeout_ns == 0) c->try_timeout_ns = NS_PER_S;
    if (c->election_timeout_ns == 0) c->election_timeout_ns = 300 * NS_PER_MS;
    if (c->heartbeat_ns == 0) c->heartbeat_ns = 50 * NS_PER_MS;
    if (c->sync_max_ns == 0 && !c->sync_given) {
        c->sync_min_ns = 200 * NS_PER_US;
        c->sync_max_ns = 2 * NS_PER_MS;
    }
    if (c->sync_min_ns > c->sync_max_ns) c->sync_min_ns = c->sync_max_ns;
    if (c->latency_ns == 0 && c->regions.count == 0) {
        c->latency_ns = 500 * NS_PER_US;
        c->jitter_ns = 200 * NS_PER_US;
    }
}

static int choose_target(struct sim *s, const struct world_config *c, struct error *e) {
    const struct protocol *p = protocol_find(c->target);
    if (!p) return error_set(e, "unknown target '%s': `harrow targets` lists what there is", c->target);
    const struct mutant *m = NULL;
    if (c->mutant && c->mutant[0]) {
        m = mutant_find(c->mutant);
        if (!m) return error_set(e, "unknown mutant '%s': `harrow mutants` lists what there is", c->mutant);
        if (strcmp(m->protocol, p->name) != 0)
            return error_set(e, "mutant '%s' is one of %s, not of %s", m->id, m->protocol, p->name);
    }
    if (c->nodes < 1 || c->nodes > NODES_MAX)
        return error_set(e, "a cluster has 1 to %d nodes, not %u", NODES_MAX, c->nodes);
    if (s->protocol != p || s->mutant != m || s->nodes != c->nodes) {
        free_nodes(s);
        s->protocol = p;
        s->mutant = m;
        s->nodes = c->nodes;
        s->config = *c;
        for (uint8_t i = 0; i < s->nodes; i++) node_init(s, i);
    }
    return 0;
}

int sim_reset(struct world *w, const struct world_config *c, struct error *e) {
    struct sim *s = of(w);
    if (choose_target(s, c, e) != 0) return -1;
    s->config = *c;
    fill_defaults(&s->config);
    s->clients_count = s->config.clients;
    s->endpoints = regions_endpoints(&s->config.regions, s->nodes);
    s->now_ns = s->sequence = s->events = 0;
    s->hash = hash_u64(c->seed);
    s->counters = (struct world_counters){0};
    s->heap.count = 0;
    s->booting = false;
    s->trace = NULL;
    prng_seed(&s->network_prng, c->seed, STREAM_NETWORK);
    prng_seed(&s->clients_prng, c->seed, STREAM_CLIENTS);
    prng_seed(&s->boot_prng, c->seed, STREAM_BOOT);
    s->free_wakes_count = 0;
    for (uint32_t i = s->wakes_capacity; i-- > 0;) s->free_wakes[s->free_wakes_count++] = i;
    faults_reset(s);
    network_reset(s);
    oracle_reset(s->oracle, s->protocol, s->nodes);
    clients_reset(s);
    for (uint8_t i = 0; i < s->nodes; i++) node_reset(s, i);
    return 0;
}

struct world *sim_new(const struct world_config *c, struct world_host host, struct error *e) {
    struct sim *s = xcalloc(1, sizeof *s);
    s->world.ops = &sim_ops;
    s->world.host = host;
    s->oracle = oracle_new();
    if (sim_reset(&s->world, c, e) != 0) {
        sim_free(&s->world);
        return NULL;
    }
    return &s->world;
}

const struct target_info *targets_all(void) {
    static struct target_info all[8];
    for (size_t i = 0; i < sizeof all / sizeof *all - 1 && protocol_at(i); i++)
        all[i] = (struct target_info){protocol_at(i)->name, protocol_at(i)->doc};
    return all;
}

const struct mutant_info *mutants_all(void) {
    static struct mutant_info all[64];
    for (size_t i = 0; mutants[i].id; i++) {
        assert(i < sizeof all / sizeof *all - 1);
        all[i] = (struct mutant_info){.id = mutants[i].id,
                                      .zoo = mutants[i].zoo,
                                      .protocol = mutants[i].protocol,
                                      .scenario = mutants[i].scenario,
                                      .doc = mutants[i].doc,
                                      .source = mutants[i].source,
                                      .client_visible = mutants[i].client_visible};
    }
    return all;
}
