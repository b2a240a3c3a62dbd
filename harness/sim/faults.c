/* Faults in force: what each asks of links, processes, clocks and disks, summed up so that they compose, and the
 * evidence of what each one did. */
#include "harness/sim/sim_internal.h"

void faults_reset(struct sim *s) {
    memset(s->faults, 0, sizeof s->faults);
    s->faults_next = 0;
}

/* Sums over the fault's nodes of what a kind counts. */
static struct fault_evidence counters(const struct sim *s, const struct fault_spec *spec) {
    struct fault_evidence sum = {0};
    for (uint32_t i = 0; i < s->nodes; i++) {
        const struct sim_node *n = &s->node[i];
        const struct disk_counters *d = &n->disk.counters;
        if (!(spec->nodes >> i & 1)) continue;
        switch (spec->kind) {
        case FAULT_PAUSE:
        case FAULT_SLOW:
            sum.affected += n->inputs_waited;
            sum.offered += n->inputs;
            break;
        case FAULT_CLOCK:
            sum.affected += n->clock_readings_off;
            sum.offered += n->clock_readings;
            break;
        case FAULT_DISK:
            sum.affected +=
                d->syncs_stalled + d->sync_errors + d->write_errors + d->syncs_lied + d->read_errors + d->bits_rotted;
            sum.offered += d->syncs + d->writes + d->reads;
            break;
        default: break;
        }
    }
    return sum;
}

/* What the faults in force ask of one node together. */
static void refresh_node(struct sim *s, struct sim_node *n) {
    struct disk_condition disk = {0};
    int64_t drift_ppm = 0, offset_ns = 0;
    uint32_t slow = 0;
    for (uint32_t i = 0; i < FAULTS_MAX; i++) {
        const struct fault_spec *f = &s->faults[i].spec;
        if (s->faults[i].id == 0 || !(f->nodes >> n->id & 1)) continue;
        if (f->kind == FAULT_DISK) disk = disk_condition_add(disk, f->disk);
        if (f->kind == FAULT_SLOW && (slow == 0 || f->slow_percent < slow)) slow = f->slow_percent;
        if (f->kind == FAULT_CLOCK) {
            drift_ppm += f->clock.drift_ppm;
            offset_ns += f->clock.wall_offset_ns;
        }
    }
    n->disk.condition = disk;
    n->slow_percent = slow;
    if (drift_ppm != n->clock.drift_ppm || offset_ns != n->clock.wall_offset_ns)
        node_set_clock(n, drift_ppm, offset_ns);
}

static void kill_node(struct sim *s, struct active_fault *f, struct sim_node *n) {
    const struct kill_condition *k = &f->spec.kill;
    f->evidence.offered++;
    if (k->grace_ns) {
        n->down_count++;
        node_terminate(n, k->grace_ns);
        return; /* whether it ended is seen at the end */
    }
    n->down_count += k->failed_starts == 0;
    node_crash(n, f->spec.kind == FAULT_POWER ? &f->spec.crash : NULL);
    f->evidence.affected += !n->up;
    if (k->failed_starts) node_schedule_boot(n, prng_between(&s->boot_prng, 20 * NS_PER_MS, 100 * NS_PER_MS));
}

bool faults_fail_start(struct sim *s, uint8_t node) {
    for (uint32_t i = 0; i < FAULTS_MAX && i < s->faults_next; i++) {
        struct active_fault *f = &s->faults[i];
        bool fails = f->id && f->spec.kind == FAULT_KILL && (f->spec.nodes >> node & 1) &&
                     f->failed_starts[node] < f->spec.kill.failed_starts;
        if (!fails) continue;
        f->failed_starts[node]++;
        f->evidence.offered++;
        f->evidence.affected++;
        return true;
    }
    return false;
}

static void begin_on_node(struct sim *s, struct active_fault *f, struct sim_node *n) {
    switch (f->spec.kind) {
    case FAULT_KILL:
    case FAULT_POWER: kill_node(s, f, n); break;
    case FAULT_PAUSE:
        n->pause_count++;
        if (s->trace) trace_event(s, "n%u is stopped", n->id + 1u);
        break;
    default: refresh_node(s, n); break;
    }
}

static void end_on_node(struct sim *s, const struct active_fault *f, struct sim_node *n) {
    switch (f->spec.kind) {
    case FAULT_KILL:
    case FAULT_POWER:
        if (f->spec.kill.failed_starts) break; /* it is starting already */
        assert(n->down_count > 0);
        if (--n->down_count == 0) node_schedule_boot(n, prng_between(&s->boot_prng, 20 * NS_PER_MS, 100 * NS_PER_MS));
        break;
    case FAULT_PAUSE:
        assert(n->pause_count > 0);
        if (--n->pause_count == 0) node_resume(n);
        if (s->trace) trace_event(s, "n%u continues", n->id + 1u);
        break;
    default: refresh_node(s, n); break;
    }
}

static int validate(const struct sim *s, const struct fault_spec *spec, struct error *e) {
    uint32_t all = (UINT32_C(1) << s->nodes) - 1;
    if (spec->kind >= FAULT_KINDS) return error_set(e, "no such kind of fault");
    if (spec->kind != FAULT_LINK && (spec->nodes == 0 || (spec->nodes & ~all)))
        return error_set(e, "the fault names no node, or one beyond n%u", s->nodes);
    if (spec->kill.grace_ns && spec->kill.failed_starts)
        return error_set(e, "a node that ends in order and starts that fail are two faults: give one of them");
    if (spec->kind == FAULT_SLOW && (spec->slow_percent < 1 || spec->slow_percent > 99))
        return error_set(e, "slow needs 1 to 99 percent, not %u", spec->slow_percent);
    if (spec->kind == FAULT_CLOCK && (spec->clock.drift_ppm <= -500000 || spec->clock.drift_ppm >= 500000))
        return error_set(e, "a clock drift must stay within half of its rate, not %d ppm", spec->clock.drift_ppm);
    if (spec->kind == FAULT_LINK && spec->filter[0])
        return error_set(e, "the simulated network has no real frames to filter: leave the link filter out here");
    if (spec->kind == FAULT_LINK)
        for (uint32_t i = 0; i < ENDPOINTS_MAX; i++)
            if (spec->links[i] && (i >= s->endpoints || spec->links[i] >> s->endpoints))
                return error_set(e, "the fault names a link beyond n%u and the clients", s->nodes);
    return 0;
}

uint32_t faults_begin(struct sim *s, const struct fault_spec *spec, struct error *e) {
    if (validate(s, spec, e) != 0) return 0;
    uint32_t slot = 0;
    while (slot < FAULTS_MAX && s->faults[slot].id) slot++;
    if (slot == FAULTS_MAX) {
        error_set(e, "more than %d faults at once: end some first", FAULTS_MAX);
        return 0;
    }
    struct active_fault *f = &s->faults[slot];
    *f = (struct active_fault){.id = ++s->faults_next, .spec = *spec};
    struct fault_evidence before = counters(s, spec);
    f->before_affected = before.affected;
    f->before_offered = before.offered;
    sim_mix(s, hash_mix(f->id, spec->kind));
    if (spec->kind == FAULT_LINK) network_refresh(s);
    for (uint32_t i = 0; i < s->nodes && spec->kind != FAULT_LINK; i++)
        if (spec->nodes >> i & 1) begin_on_node(s, f, &s->node[i]);
    return f->id;
}

struct fault_evidence faults_end(struct sim *s, uint32_t id) {
    for (uint32_t slot = 0; slot < FAULTS_MAX; slot++) {
        struct active_fault *f = &s->faults[slot];
        if (id == 0 || f->id != id) continue;
        struct fault_evidence after = counters(s, &f->spec);
        f->evidence.affected += after.affected - f->before_affected;
        f->evidence.offered += after.offered - f->before_offered;
        if (f->spec.kind == FAULT_CLOCK && f->spec.clock.wall_offset_ns) { /* asked of each wall clock itself */
            for (uint32_t i = 0; i < s->nodes; i++) {
                if (!(f->spec.nodes >> i & 1)) continue;
                f->evidence.offered++;
                f->evidence.affected += node_wall_clock(&s->node[i]) != SIM_EPOCH_NS + s->now_ns;
            }
        }
        for (uint32_t i = 0; i < s->nodes && f->spec.kill.grace_ns; i++) {
            if (!(f->spec.nodes >> i & 1)) continue;
            if (s->node[i].stopping) node_crash(&s->node[i], NULL); /* it had its time */
            f->evidence.affected += !s->node[i].up;
        }
        struct active_fault ended = *f;
        f->id = 0;
        if (ended.spec.kind == FAULT_LINK) network_refresh(s);
        for (uint32_t i = 0; i < s->nodes && ended.spec.kind != FAULT_LINK; i++)
            if (ended.spec.nodes >> i & 1) end_on_node(s, &ended, &s->node[i]);
        return ended.evidence;
    }
    return (struct fault_evidence){0};
}

void faults_on_frame(struct sim *s, uint8_t from, uint8_t to, const struct frame_fate *fate, bool late) {
    for (uint32_t i = 0; i < FAULTS_MAX && i < s->faults_next; i++) {
        struct active_fault *f = &s->faults[i];
        if (f->id == 0 || f->spec.kind != FAULT_LINK || !(f->spec.links[from] >> to & 1)) continue;
        f->evidence.offered++;
        f->evidence.affected += frame_marked(&f->spec.link, fate, late);
    }
}
