/* The local world: one scenario on real processes. Time is the machine's; the loop takes what happened (answers, node
 * states, ends of processes) before it wakes the host, so that completions come before invocations here, too. */
#include "harness/local/local_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

uint64_t local_now(const struct local *l) {
    return l->start_ns ? monotonic_ns() - l->start_ns : 0;
}

uint64_t local_schedule(struct local *l, uint64_t time_ns, enum local_timer kind, uint32_t slot) {
    uint64_t sequence = ++l->sequence;
    heap_push(&l->timers, (struct heap_item){time_ns, sequence, (uint64_t)kind << 32 | slot});
    return sequence;
}

static struct local *of(struct world *w) {
    return (struct local *)w;
}
static const struct local *of_const(const struct world *w) {
    return (const struct local *)w;
}

static uint64_t now_ns(const struct world *w) {
    return local_now(of_const(w));
}

static void wake_at(struct world *w, uint64_t time_ns, uint64_t tag) {
    struct local *l = of(w);
    uint64_t now = local_now(l);
    heap_push(&l->wakes, (struct heap_item){time_ns < now ? now : time_ns, ++l->sequence, tag});
}

static uint64_t late(const struct world *w, uint64_t *worst_ns) {
    const struct local *l = of_const(w);
    *worst_ns = l->late_worst_ns;
    return l->late_windows;
}

static void on_timer_fd(uv_poll_t *poll, int status, int events) {
    (void)status, (void)events;
    struct local *l = poll->data;
    uint64_t expirations;
    while (read(l->timer_fd, &expirations, sizeof expirations) == -1 && errno == EINTR) {
    }
}

void local_turn(struct local *l, uint64_t due_ns) {
    channel_hub_flush(&l->hub);
    if (due_ns <= monotonic_ns()) {
        uv_run(&l->loop, UV_RUN_NOWAIT);
        return;
    }
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(due_ns / NS_PER_S), .tv_nsec = (long)(due_ns % NS_PER_S)}};
    timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    uv_run(&l->loop, UV_RUN_ONCE);
}

static void run_timers(struct local *l, uint64_t now) {
    while (l->timers.count && heap_top(&l->timers)->time_ns <= now && !l->stopping) {
        struct heap_item item = heap_pop(&l->timers);
        uint32_t slot = (uint32_t)item.payload;
        l->events++;
        switch ((enum local_timer)(item.payload >> 32)) {
        case TIMER_CLIENT:
            if (l->target)
                outside_on_timer(l, slot);
            else
                slots_on_timer(l, slot);
            break;
        case TIMER_CLIENT_SEND: slots_on_send(l, slot, item.sequence); break;
        case TIMER_RESTART: node_on_restart(&l->node[slot]); break;
        case TIMER_LEAVE: node_on_leave(&l->node[slot]); break;
        }
    }
}

static void run_wakes(struct local *l, uint64_t now) {
    while (l->wakes.count && heap_top(&l->wakes)->time_ns <= now && !l->stopping) {
        struct heap_item item = heap_pop(&l->wakes);
        l->events++;
        if (now - item.time_ns > LATE_NS) measured_late(l, item.time_ns, now);
        l->world.host.on_wake(l->world.host.ctx, item.payload);
    }
}

static uint64_t earliest(const struct local *l, uint64_t until_ns) {
    const struct heap_item *wake = heap_top(&l->wakes), *timer = heap_top(&l->timers);
    if (wake && wake->time_ns < until_ns) until_ns = wake->time_ns;
    if (timer && timer->time_ns < until_ns) until_ns = timer->time_ns;
    return until_ns;
}

static enum world_end run_until(struct world *w, uint64_t time_ns) {
    struct local *l = of(w);
    l->stopping = false;
    for (;;) {
        uint64_t now = local_now(l);
        run_timers(l, now);
        run_wakes(l, now);
        measured_ask_switch(l, now);
        if (l->violation[0] && l->config.invariants) return WORLD_VIOLATION;
        if (l->stopping) return WORLD_STOPPED;
        if (now >= time_ns) return WORLD_TIME;
        local_turn(l, l->start_ns + earliest(l, time_ns));
    }
}

static void stop(struct world *w) {
    of(w)->stopping = true;
}

static uint8_t submit(struct world *w, uint32_t client, const struct world_op *op) {
    struct local *l = of(w);
    return l->target ? outside_submit(l, client, op) : slots_submit(l, client, op);
}

static uint32_t fault_begin(struct world *w, const struct fault_spec *spec, struct error *e) {
    return local_fault_begin(of(w), spec, e);
}

static struct fault_evidence fault_end(struct world *w, uint32_t fault) {
    return local_fault_end(of(w), fault);
}

static uint8_t leader(const struct world *w) {
    return nodes_leader(of_const(w));
}

static bool transfer(struct world *w, uint8_t to) {
    return node_transfer(of(w), to);
}

static struct node_status node_status(const struct world *w, uint8_t node) {
    return node_report(of_const(w), node);
}

static void counters(const struct world *w, struct world_counters *out) {
    measured_counters(of_const(w), out);
}

static const char *violation(const struct world *w, const char **invariant) {
    const struct local *l = of_const(w);
    if (!l->violation[0]) return NULL;
    if (invariant) *invariant = "assertion of a node";
    return l->violation;
}

static uint64_t events(const struct world *w) {
    return of_const(w)->events;
}

static uint64_t trace_hash(const struct world *w) {
    (void)w;
    return 0; /* real time has no replayable order */
}

static void sum_up(struct world *w) {
    measured_sum_up(of(w));
}

static void trace_to(struct world *w, void (*line)(void *ctx, const char *text), void *ctx) {
    (void)w;
    if (line) line(ctx, "the local world has no trace of its own: see the nodes' logs, their recordings and the pcaps");
}

static void close_handle(uv_handle_t *h, void *unused) {
    (void)unused;
    if (!uv_is_closing(h)) uv_close(h, NULL);
}

static void free_world(struct world *w) {
    struct local *l = of(w);
    if (l->target) outside_free(l);
    slots_free(l);
    local_nodes_free(l);
    if (l->net_switch) switch_free(l->net_switch);
    if (l->network_made) network_free(&l->network);
    channel_hub_close(&l->hub);
    uv_run(&l->loop, UV_RUN_NOWAIT);
    uv_walk(&l->loop, close_handle, NULL);
    while (uv_run(&l->loop, UV_RUN_NOWAIT)) {
    }
    uv_loop_close(&l->loop);
    if (l->timer_fd >= 0) close(l->timer_fd);
    heap_free(&l->wakes);
    heap_free(&l->timers);
    free(l);
}

static struct world_ops local_ops = {
    .name = "local",
    .free = free_world,
    .now_ns = now_ns,
    .wake_at = wake_at,
    .run_until = run_until,
    .stop = stop,
    .submit = submit,
    .fault_begin = fault_begin,
    .fault_end = fault_end,
    .leader = leader,
    .transfer = transfer,
    .node_status = node_status,
    .counters = counters,
    .violation = violation,
    .events = events,
    .trace_hash = trace_hash,
    .late = late,
    .sum_up = sum_up,
    .trace_to = trace_to,
};

/* --- making one --- */

static int make_loop(struct local *l, struct error *e) {
    if (uv_loop_init(&l->loop) != 0) return error_set(e, "cannot make an event loop");
    channel_hub_init(&l->hub, &l->loop);
    l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->timer_fd < 0) return error_set(e, "timerfd_create: %s", strerror(errno));
    int rc = uv_poll_init(&l->loop, &l->timer, l->timer_fd);
    l->timer.data = l;
    if (rc == 0) rc = uv_poll_start(&l->timer, UV_READABLE, on_timer_fd);
    return rc == 0 ? 0 : error_set(e, "the event loop cannot watch its timer: %s", uv_strerror(rc));
}

/* The switch is made in the fabric's namespace, and everything after it in the clients'. */
static int make_network(struct local *l, struct error *e) {
    uint32_t endpoints = regions_endpoints(&l->config.regions, l->nodes);
    struct network_options o = {.endpoints = endpoints};
    if (network_make(&l->network, &o, e) != 0) return -1;
    l->network_made = true;
    if (network_enter(l->network.fabric, e) != 0) return -1;
    char *log = l->config.folder ? xformat("%s/switch.jsonl", l->config.folder) : NULL;
    struct switch_options so = {.endpoints = endpoints,
                                .nodes = l->nodes,
                                .seed = l->config.seed,
                                .start_ns = monotonic_ns(),
                                .log_path = log,
                                .pcap_folder = l->config.pcap ? l->config.folder : NULL,
                                .pcap_snap_bytes = l->config.pcap_snap_bytes,
                                .late_ns = LATE_NS};
    for (uint32_t i = 0; i < endpoints; i++) {
        memcpy(so.ports[i].interface, l->network.interface[i], sizeof so.ports[i].interface);
        memcpy(so.ports[i].mac, l->network.mac[i], sizeof so.ports[i].mac);
    }
    l->switch_start_ns = so.start_ns;
    l->net_switch = switch_new(&so, e);
    free(log);
    if (!l->net_switch) return -1;
    return network_enter(l->network.endpoint[l->nodes], e);
}

static void shape_links(struct local *l) {
    const struct world_config *c = &l->config;
    uint32_t endpoints = regions_endpoints(&c->regions, l->nodes);
    for (uint8_t from = 0; from < endpoints; from++) {
        for (uint8_t to = 0; to < endpoints; to++) {
            if (from == to) continue;
            uint64_t latency_ns = c->network_given ? c->latency_ns : 0;
            if (c->regions.count) latency_ns = regions_one_way_ns(&c->regions, l->nodes, from, to);
            uint64_t jitter_ns = c->network_given ? c->jitter_ns : 0;
            if (latency_ns || jitter_ns) switch_link(l->net_switch, from, to, latency_ns, jitter_ns);
        }
    }
}

static int check_config(const struct world_config *c, struct error *e) {
    if (!namespaces_inside()) return error_set(e, "the local world lives in namespaces, and this process is in none");
    if (!c->folder) return error_set(e, "the local world needs a folder for its nodes' data and logs: give --out DIR");
    if (c->nodes < 1 || c->nodes > NODES_MAX)
        return error_set(e, "%u nodes; there can be 1 to %d", c->nodes, NODES_MAX);
    if (c->adapter) {
        if (*c->mutant) return error_set(e, "only bundled targets have mutants; %s has none", c->target);
        if (c->record)
            return error_set(e, "only bundled targets can be recorded; leave out --record for %s", c->target);
        return 0;
    }
    const struct protocol *p = protocol_find(c->target);
    if (!p) return error_set(e, "there is no target \"%s\"; `harrow targets` lists them", c->target);
    const struct mutant *m = *c->mutant ? mutant_find(c->mutant) : NULL;
    if (*c->mutant && !m) return error_set(e, "there is no mutant \"%s\"; `harrow mutants` lists them", c->mutant);
    return 0;
}

static void find_capabilities(struct local *l) {
    l->has_filesystem = filesystem_unavailable() == NULL;
    l->has_syncs = process_syncs_unavailable() == NULL;
    l->has_clock = process_clock_unavailable() == NULL;
    uint32_t can = 1u << FAULT_LINK | 1u << FAULT_KILL | 1u << FAULT_PAUSE | 1u << FAULT_SLOW | FAULT_LINK_FILTERS;
    if (l->has_clock) can |= 1u << FAULT_CLOCK;
    if (l->has_filesystem) can |= 1u << FAULT_POWER | FAULT_WHOLE_DISKS;
    if (l->has_filesystem || l->has_syncs) can |= 1u << FAULT_DISK;
    local_ops.capabilities = can;
}

struct world *local_new(const struct world_config *c, struct world_host host, struct error *e) {
    if (check_config(c, e) != 0) return NULL;
    struct local *l = xcalloc(1, sizeof *l);
    l->world = (struct world){.ops = &local_ops, .host = host};
    l->config = *c;
    l->nodes = c->nodes;
    l->timer_fd = -1;
    prng_seed(&l->prng, c->seed, 1);
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        l->node[i] = (struct local_node){.local = l, .id = (uint8_t)i, .output = -1};
        l->node[i].status.leader = NODE_UNKNOWN;
    }
    find_capabilities(l);
    if (make_loop(l, e) || make_network(l, e) || (c->adapter && outside_make(l, e)) || nodes_prepare(l, e)) goto failed;
    slots_make(l);
    for (uint32_t i = 0; i < l->nodes; i++)
        if (node_start(&l->node[i], e)) goto failed;
    if (nodes_await(l, e)) goto failed;
    shape_links(l);
    l->start_ns = monotonic_ns();
    l->switch_age_ns = l->start_ns - l->switch_start_ns;
    return &l->world;
failed:
    free_world(&l->world);
    return NULL;
}
