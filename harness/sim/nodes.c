/* Simulated nodes: the same replica code as a real node process, over a disk that forgets and a clock that drifts. */
#include <stdlib.h>

#include "harness/sim/sim_internal.h"

enum { DUTY_PERIOD_NS = 100000000 };
#define STOP_WITHIN_NS (300 * NS_PER_MS) /* as a node process gives itself to hand its leadership over */
enum { BACKLOG_MAX = 100000 };           /* what socket buffers of a stopped process hold, generously */

enum { LOG_ENTRIES_MAX = 8192, MESSAGE_BYTES_MAX = 16 << 10, MESSAGE_BYTES_MIN = 512, ENTRY_FRAME_BYTES = 128 };

/* Memory is taken for the largest messages; a scenario may make them smaller. */
static struct limits replica_limits(const struct sim *s) {
    uint32_t message = s->config.message_bytes;
    if (message == 0 || message > MESSAGE_BYTES_MAX) message = MESSAGE_BYTES_MAX;
    if (message < MESSAGE_BYTES_MIN) message = MESSAGE_BYTES_MIN;
    return (struct limits){.log_entries_max = LOG_ENTRIES_MAX,
                           .log_bytes_max = 1 << 20,
                           .entry_bytes_max = message - ENTRY_FRAME_BYTES,
                           .message_bytes_max = message,
                           .reads_max = 4096,
                           .inflight_max = 64};
}

static struct config replica_config(const struct sim *s, uint8_t id) {
    const struct world_config *c = &s->config;
    static const enum protocol_reads reads[] = {[READ_LOG] = PROTOCOL_READ_LOG,
                                                [READ_INDEX] = PROTOCOL_READ_INDEX,
                                                [READ_LEASE] = PROTOCOL_READ_LEASE,
                                                [READ_LOCAL] = PROTOCOL_READ_LOCAL};
    uint32_t snapshot = c->snapshot_entries < LOG_ENTRIES_MAX / 4 ? c->snapshot_entries : LOG_ENTRIES_MAX / 4;
    return (struct config){.self = id,
                           .nodes = (uint8_t)s->nodes,
                           .seed = hash_mix(c->seed, STREAM_NODE + (uint64_t)id),
                           .election_timeout_ns = c->election_timeout_ns,
                           .heartbeat_ns = c->heartbeat_ns,
                           .clock_drift_ppm_max = c->clock_drift_ppm_max,
                           .reads = reads[c->reads],
                           .snapshot_entries = snapshot,
                           .snapshot_trailing = snapshot / 4,
                           .limits = replica_limits(s)};
}

uint64_t node_clock(struct sim_node *n) {
    const struct sim_clock *c = &n->clock;
    uint64_t elapsed = n->sim->now_ns - c->base_true_ns;
    int64_t extra =
        c->drift_ppm ? (int64_t)(elapsed / PPM) * c->drift_ppm + (int64_t)(elapsed % PPM) * c->drift_ppm / (int64_t)PPM
                     : 0;
    n->clock_readings++;
    n->clock_readings_off += c->drift_ppm != 0;
    return c->base_local_ns + elapsed + (uint64_t)extra;
}

uint64_t node_wall_clock(struct sim_node *n) {
    return (uint64_t)((int64_t)(SIM_EPOCH_NS + n->sim->now_ns) + n->clock.wall_offset_ns);
}

void node_set_clock(struct sim_node *n, int64_t drift_ppm, int64_t wall_offset_ns) {
    uint64_t local = node_clock(n);
    n->clock = (struct sim_clock){.base_true_ns = n->sim->now_ns,
                                  .base_local_ns = local,
                                  .drift_ppm = drift_ppm,
                                  .wall_offset_ns = wall_offset_ns};
}

static void env_send(void *ctx, uint8_t to, uint8_t message_kind, struct bytes bytes) {
    struct sim_node *n = ctx;
    uint32_t id = frame_new(n->sim, bytes);
    struct frame *f = &n->sim->frames[id];
    f->from = n->id;
    f->to = to;
    f->kind = message_kind;
    network_send(n->sim, id);
}

static void env_timer(void *ctx, uint8_t id, uint64_t delay_ns) {
    struct sim_node *n = ctx;
    struct sim *s = n->sim;
    assert(id < TIMERS_MAX);
    n->timer_sequence[id] = 0;
    if (delay_ns == UINT64_MAX) return;
    uint64_t rate = (uint64_t)((int64_t)PPM + n->clock.drift_ppm);
    uint64_t true_ns = n->clock.drift_ppm ? delay_ns / rate * PPM + delay_ns % rate * PPM / rate + 1 : delay_ns;
    n->timer_sequence[id] = sim_schedule(s, s->now_ns + true_ns, event_payload(EV_TIMER, n->id, id));
}

static void env_respond(void *ctx, uint64_t token, enum status status, uint8_t leader, struct bytes result,
                        uint64_t index) {
    struct sim_node *n = ctx;
    struct sim *s = n->sim;
    uint32_t slot = (uint32_t)(token >> 32) - 1;
    if (status == STATUS_OK && index != NO_INDEX && s->config.invariants) {
        const struct sim_client *c = &s->clients[slot];
        bool current = c->token == token && c->client.state == CLIENT_BUSY;
        if (current && !c->client.reads_only) oracle_answered(s->oracle, index);
        if (current && c->client.reads_only && s->config.reads != READ_LOCAL)
            oracle_read(s->oracle, n->id, c->read_floor, index);
    }
    uint32_t id = frame_new(s, result);
    struct frame *f = &s->frames[id];
    f->from = n->id;
    f->to = client_endpoint(s, slot);
    f->kind = 0;
    f->client = slot;
    f->token = token;
    f->status = (uint8_t)status;
    f->leader = leader;
    f->index = index;
    network_send(s, id);
}

static void env_fatal(void *ctx, bool assertion, const char *reason) {
    struct sim_node *n = ctx;
    struct sim *s = n->sim;
    struct history *h = s->world.host.history;
    if (assertion && s->config.invariants) oracle_assertion(s->oracle, n->id, reason);
    if (s->trace) trace_event(s, "n%u stops itself: %s", n->id + 1u, reason);
    history_sample(
        h, (struct sample){.time_ns = s->now_ns, .kind = SAMPLE_LOG, .node = n->id, .text = history_intern(h, reason)});
}

static void env_observe(void *ctx, const struct effect *e) {
    struct sim_node *n = ctx;
    struct sim *s = n->sim;
    if (s->booting) {
        oracle_boot(s->oracle, n->id, replica_recovered(n->replica));
        s->booting = false;
    }
    if (s->config.invariants) oracle_effect(s->oracle, n->id, e);
    if (e->kind == EFFECT_ROLE)
        history_sample(s->world.host.history, (struct sample){.time_ns = s->now_ns,
                                                              .kind = SAMPLE_ROLE,
                                                              .node = n->id,
                                                              .role = e->role,
                                                              .term = e->term,
                                                              .text = NO_STRING});
    if (s->trace) trace_effect(s, n->id, e);
}

static void env_durable(void *ctx, uint64_t written) {
    struct sim_node *n = ctx;
    if (n->sim->config.invariants) oracle_durable(n->sim->oracle, n->id, written);
}

static void on_disk_sync(void *ctx, uint32_t file, uint64_t cookie) {
    struct sim_node *n = ctx;
    struct sim *s = n->sim;
    uint32_t slot = 0;
    while (slot < SYNCS_MAX && n->syncs[slot].open) slot++;
    assert(slot < SYNCS_MAX);
    n->syncs[slot] = (struct sync_request){.file = file, .cookie = cookie, .open = true};
    uint64_t duration = prng_between(&n->sync_prng, s->config.sync_min_ns, s->config.sync_max_ns);
    const struct disk_condition *slow = &n->disk.condition;
    /* The simulated disk has no clock: the delay of the writes that a sync waits for is paid at the sync, once. */
    duration += slow->sync_stall_ns + slow->io_delay_ns;
    n->disk.counters.syncs_stalled += slow->sync_stall_ns > 0 || slow->io_delay_ns > 0;
    sim_schedule(s, s->now_ns + duration, event_payload(EV_SYNC, n->id, slot | (uint64_t)n->generation << 8));
}

void node_init(struct sim *s, uint8_t id) {
    struct sim_node *n = &s->node[id];
    n->sim = s;
    n->id = id;
    struct config c = replica_config(s, id);
    c.limits.message_bytes_max = MESSAGE_BYTES_MAX;
    n->replica = replica_new(s->protocol, s->mutant, &c);
    sim_disk_init(&n->disk, &n->disk_prng, on_disk_sync, n);
}

void node_free(struct sim_node *n) {
    if (!n->sim) return;
    replica_free(n->replica);
    sim_disk_free(&n->disk);
    free(n->backlog);
    memset(n, 0, sizeof *n); /* a later reset may bring it back */
}

void node_reset(struct sim *s, uint8_t id) {
    struct sim_node *n = &s->node[id];
    replica_stop(n->replica);
    sim_disk_clear(&n->disk);
    prng_seed(&n->disk_prng, s->config.seed, STREAM_DISK + (uint64_t)id);
    prng_seed(&n->sync_prng, s->config.seed, STREAM_SYNC + (uint64_t)id);
    n->up = n->stopping = false;
    n->down_count = n->pause_count = n->slow_percent = 0;
    n->generation = 0;
    n->backlog_count = 0;
    n->inputs = n->inputs_waited = n->clock_readings = n->clock_readings_off = 0;
    memset(n->timer_sequence, 0, sizeof n->timer_sequence);
    memset(n->syncs, 0, sizeof n->syncs);
    memset(&n->probe, 0, sizeof n->probe);
    /* No two monotonic clocks agree on anything but their rate. */
    n->clock = (struct sim_clock){.base_local_ns = prng_below(&s->boot_prng, 1000 * NS_PER_S)};
    node_schedule_boot(n, prng_below(&s->boot_prng, 10 * NS_PER_MS));
}

void node_schedule_boot(struct sim_node *n, uint64_t delay_ns) {
    sim_schedule(n->sim, n->sim->now_ns + delay_ns, event_payload(EV_BOOT, n->id, n->generation));
}

static void sample(struct sim_node *n, enum sample_kind kind) {
    history_sample(n->sim->world.host.history,
                   (struct sample){.time_ns = n->sim->now_ns, .kind = (uint8_t)kind, .node = n->id, .text = NO_STRING});
}

void node_boot(struct sim_node *n) {
    struct sim *s = n->sim;
    if (n->up || n->down_count) return;
    if (faults_fail_start(s, n->id)) {
        if (s->trace) trace_event(s, "n%u does not start: a fault wants it so", n->id + 1u);
        node_schedule_boot(n, NS_PER_S);
        return;
    }
    struct replica_env env = {.ctx = n,
                              .disk = &n->disk.base,
                              .send = env_send,
                              .timer = env_timer,
                              .respond = env_respond,
                              .fatal = env_fatal,
                              .observe = env_observe,
                              .durable = env_durable};
    struct config c = replica_config(s, n->id);
    c.seed = hash_mix(c.seed, n->generation);
    struct error e = {0};
    if (s->trace) trace_event(s, "n%u boots", n->id + 1u);
    s->booting = s->config.invariants;
    n->up = true;
    memset(&n->probe, 0, sizeof n->probe);
    if (replica_start(n->replica, &c, &env, node_clock(n), &e) != 0) {
        n->up = false;
        s->booting = false;
        if (s->trace) trace_event(s, "n%u does not start: %s", n->id + 1u, e.text);
        node_schedule_boot(n, NS_PER_S);
        return;
    }
    s->booting = false;
    sample(n, SAMPLE_NODE_UP);
    node_after_step(n);
}

static void drop_backlog(struct sim_node *n) {
    for (size_t i = 0; i < n->backlog_count; i++)
        if ((n->backlog[i].payload & 0xff) == EV_FRAME) frame_release(n->sim, (uint32_t)(n->backlog[i].payload >> 16));
    n->backlog_count = 0;
}

void node_crash(struct sim_node *n, const struct disk_crash *power_loss) {
    replica_stop(n->replica);
    if (power_loss)
        sim_disk_power_loss(&n->disk, *power_loss);
    else
        sim_disk_process_crash(&n->disk);
    if (n->sim->trace) trace_event(n->sim, "n%u %s", n->id + 1u, power_loss ? "loses power" : "is killed");
    if (n->up) sample(n, SAMPLE_NODE_DOWN);
    n->up = n->stopping = false;
    n->generation++;
    drop_backlog(n);
    memset(n->timer_sequence, 0, sizeof n->timer_sequence);
    memset(n->syncs, 0, sizeof n->syncs);
    if (n->sim->config.invariants) oracle_crash(n->sim->oracle, n->id);
}

void node_terminate(struct sim_node *n, uint64_t grace_ns) {
    struct sim *s = n->sim;
    if (!n->up || n->stopping) return;
    if (s->trace) trace_event(s, "n%u is told to stop", n->id + 1u);
    n->stopping = true;
    bool hears = n->pause_count == 0; /* to a stopped process the signal waits */
    uint64_t within_ns = hears && grace_ns > STOP_WITHIN_NS ? STOP_WITHIN_NS : grace_ns;
    sim_schedule(s, s->now_ns + within_ns, event_payload(EV_STOP, n->id, n->generation));
    if (!hears) return;
    replica_transfer(n->replica, node_clock(n), NODE_NONE);
    node_after_step(n);
}

void node_on_terminate(struct sim_node *n, uint32_t generation) {
    if (n->stopping && n->generation == generation) node_crash(n, NULL);
}

/* A stopped replica is a dead process: the supervisor starts it again. */
static void bury(struct sim_node *n) {
    node_crash(n, NULL);
    if (n->down_count == 0) node_schedule_boot(n, NS_PER_S);
}

void node_after_step(struct sim_node *n) {
    struct sim *s = n->sim;
    uint64_t applied = n->probe.applied_index, fast = n->probe.fast_commits, slow = n->probe.slow_commits;
    replica_probe(n->replica, &n->probe);
    s->counters.fast_commits += n->probe.fast_commits - fast;
    s->counters.slow_commits += n->probe.slow_commits - slow;
    if (s->config.invariants) { /* of a replica that stopped, too: what it answered in its last step counts */
        bool changed = n->probe.applied_index != applied;
        oracle_step(s->oracle, n->id, &n->probe, changed ? replica_state_hash(n->replica) : 0);
        const char *broken = replica_check(n->replica);
        if (broken) oracle_assertion(s->oracle, n->id, broken);
    }
    if (!replica_running(n->replica))
        bury(n);
    else if (n->stopping && n->probe.role != PROTOCOL_LEADER)
        node_crash(n, NULL);
}

bool node_may_run(struct sim_node *n, const struct heap_item *item) {
    n->inputs++;
    if (n->pause_count) {
        n->inputs_waited++;
        if (n->backlog_count >= BACKLOG_MAX && (item->payload & 0xff) == EV_FRAME) { /* socket buffers are full */
            frame_release(n->sim, (uint32_t)(item->payload >> 16));
            return false;
        }
        if (n->backlog_count == n->backlog_capacity) {
            n->backlog_capacity = n->backlog_capacity ? 2 * n->backlog_capacity : 64;
            n->backlog = xrealloc(n->backlog, n->backlog_capacity * sizeof *n->backlog);
        }
        n->backlog[n->backlog_count++] = *item;
        return false;
    }
    if (n->slow_percent) { /* stopped for the rest of each period, as a SIGSTOP duty cycle does it */
        uint64_t phase = n->sim->now_ns % DUTY_PERIOD_NS;
        if (phase >= (uint64_t)DUTY_PERIOD_NS / 100 * n->slow_percent) {
            n->inputs_waited++;
            struct heap_item later = *item; /* keeps its sequence number: order, and a timer's identity */
            later.time_ns = n->sim->now_ns - phase + DUTY_PERIOD_NS;
            heap_push(&n->sim->heap, later);
            return false;
        }
    }
    return true;
}

void node_resume(struct sim_node *n) {
    for (size_t i = 0; i < n->backlog_count; i++) {
        struct heap_item item = n->backlog[i];
        item.time_ns = n->sim->now_ns;
        heap_push(&n->sim->heap, item);
    }
    n->backlog_count = 0;
}

void node_on_timer(struct sim_node *n, uint8_t id, uint64_t sequence) {
    if (!n->up || n->timer_sequence[id] != sequence) return; /* cancelled or replaced */
    n->timer_sequence[id] = 0;
    replica_timer(n->replica, node_clock(n), id);
    node_after_step(n);
}

void node_on_sync(struct sim_node *n, uint32_t slot, uint32_t generation) {
    if (!n->up || n->generation != generation) return;
    struct sync_request r = n->syncs[slot];
    n->syncs[slot].open = false;
    int status = sim_disk_sync_done(&n->disk, r.file, r.cookie);
    replica_synced(n->replica, node_clock(n), r.cookie, status);
    node_after_step(n);
}
