/* Faults in force on real things: what each asks of links, processes, clocks and disks, summed up so that they compose,
 * and the evidence of what each one did, taken from the mechanisms themselves. */
#include "harness/local/local_internal.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

static void disk_counts(const struct local_node *n, struct fault_evidence *sum) {
    if (n->filesystem) {
        struct disk_counters d;
        filesystem_counters(n->filesystem, &d);
        sum->affected +=
            d.syncs_stalled + d.sync_errors + d.write_errors + d.read_errors + d.bits_rotted + d.syncs_lied;
        sum->offered += d.syncs + d.writes + d.reads;
    } else if (n->process) {
        struct sync_counters c = process_sync_counters(n->process);
        sum->affected += c.stalled + c.failed + c.lied;
        sum->offered += c.syncs;
    }
}

static struct fault_evidence counters(const struct local *l, const struct fault_spec *spec) {
    struct fault_evidence sum = {0};
    for (uint32_t i = 0; i < l->nodes; i++) {
        const struct local_node *n = &l->node[i];
        if (!(spec->nodes >> i & 1)) continue;
        if (spec->kind == FAULT_DISK) disk_counts(n, &sum);
        if (spec->kind == FAULT_SLOW && n->process) sum.affected += process_slow_stops(n->process);
    }
    return sum;
}

static struct disk_condition disk_in_force(const struct local_node *n) {
    struct disk_condition disk = {0};
    for (uint32_t i = 0; i < LOCAL_FAULTS_MAX; i++) {
        const struct local_fault *f = &n->local->faults[i];
        if (f->id && f->spec.kind == FAULT_DISK && (f->spec.nodes >> n->id & 1))
            disk = disk_condition_add(disk, f->spec.disk);
    }
    return disk;
}

static void apply_disk(struct local_node *n) {
    struct disk_condition disk = disk_in_force(n);
    if (n->filesystem)
        filesystem_condition(n->filesystem, &disk);
    else if (n->process && n->local->has_syncs)
        process_syncs(n->process, &disk, hash_mix(n->local->config.seed, n->id));
}

/* What a fault could not do stands in the history; its evidence shows that it had no effect. */
static void note_failure(const struct local_node *n, const char *what, const char *why) {
    char *text = xformat("n%u's %s: %s", n->id + 1u, what, why);
    node_note(n, text);
    free(text);
}

static void apply_process(struct local_node *n) {
    struct clock_condition clock = {0};
    uint32_t slow = 0;
    for (uint32_t i = 0; i < LOCAL_FAULTS_MAX; i++) {
        const struct local_fault *f = &n->local->faults[i];
        if (f->id == 0 || !(f->spec.nodes >> n->id & 1)) continue;
        if (f->spec.kind == FAULT_SLOW && (slow == 0 || f->spec.slow_percent < slow)) slow = f->spec.slow_percent;
        if (f->spec.kind == FAULT_CLOCK) {
            clock.wall_offset_ns += f->spec.clock.wall_offset_ns;
            clock.drift_ppm += f->spec.clock.drift_ppm;
        }
    }
    if (!n->process) return;
    if (slow != n->slow_percent) process_slow(n->process, slow);
    n->slow_percent = slow;
    if (clock.wall_offset_ns != n->clock.wall_offset_ns || clock.drift_ppm != n->clock.drift_ppm) {
        struct error e;
        if (process_clock(n->process, clock, &e) == 0)
            n->clock = clock;
        else
            note_failure(n, "clock cannot be set", e.text);
    }
}

static bool pause_node(const struct local_node *n) {
    bool stands = process_pause(n->process);
    if (!stands) note_failure(n, "process cannot be paused", "it does not stop, or has just ended");
    return stands;
}

void node_apply_conditions(struct local_node *n) {
    n->slow_percent = 0; /* a fresh process has none of them */
    n->clock = (struct clock_condition){0};
    apply_disk(n);
    apply_process(n);
    if (n->pause_count && n->process) pause_node(n);
}

/* --- evidence of clocks: the node's own against ours --- */

static uint64_t distance(uint64_t a, uint64_t b) {
    return a > b ? a - b : b - a;
}

static bool clock_is_off(const struct local_node *n, const struct clock_condition *c) {
    uint64_t wall, monotonic;
    if (!n->process || process_clock_read(n->process, &wall, &monotonic) != 0) return false;
    uint64_t ours = clock_ns(CLOCK_REALTIME);
    if (c->wall_offset_ns) return distance(wall, ours) > NS_PER_MS;
    return distance(monotonic, monotonic_ns()) > 20 * NS_PER_US;
}

/* --- begin and end on one node --- */

static int lose_power(struct local_node *n, const struct fault_spec *spec, struct error *e) {
    return n->filesystem ? filesystem_power_loss(n->filesystem, spec->crash, e) : 0;
}

/* All at one moment: what the first one's death takes to be waited for would let the others save themselves. */
static void kill_together(struct local *l, struct local_fault *f) {
    for (uint32_t i = 0; i < l->nodes && f->spec.kind == FAULT_POWER; i++)
        if (f->spec.nodes >> i & 1) filesystem_power_off(l->node[i].filesystem);
    for (uint32_t i = 0; i < l->nodes; i++) {
        struct local_node *n = &l->node[i];
        if (!(f->spec.nodes >> i & 1)) continue;
        f->evidence.offered++;
        if (!n->process || process_ended(n->process, NULL)) continue;
        if (f->spec.kill.grace_ns) {
            node_stop_in_order(n, f->spec.kill.grace_ns);
            f->told |= UINT32_C(1) << i; /* whether it ended is seen at the end */
            continue;
        }
        process_signal(n->process, SIGKILL);
        f->evidence.affected++;
    }
}

static void begin_on_node(struct local_fault *f, struct local_node *n) {
    switch (f->spec.kind) {
    case FAULT_KILL:
    case FAULT_POWER:
        if (f->spec.kill.grace_ns == 0) node_bury(n);
        if (f->spec.kill.failed_starts)
            node_restart_later(n, 0);
        else
            n->down_count++;
        break;
    case FAULT_PAUSE:
        f->evidence.offered++;
        if (n->process && (n->pause_count > 0 || pause_node(n))) f->evidence.affected++;
        n->pause_count++;
        break;
    case FAULT_SLOW:
        apply_process(n);
        f->evidence.offered++;
        break;
    case FAULT_CLOCK: apply_process(n); break;
    case FAULT_DISK: apply_disk(n); break;
    default: break;
    }
}

static void end_on_node(const struct fault_spec *spec, struct local_node *n) {
    switch (spec->kind) {
    case FAULT_KILL:
    case FAULT_POWER:
        if (spec->kill.failed_starts) break; /* it is being started already */
        assert(n->down_count > 0);
        n->stays_down = false;
        if (--n->down_count == 0) node_restart_later(n, 0);
        break;
    case FAULT_PAUSE:
        assert(n->pause_count > 0);
        if (--n->pause_count == 0 && n->process) process_resume(n->process);
        break;
    case FAULT_DISK: apply_disk(n); break;
    default: apply_process(n); break;
    }
}

bool local_fail_start(struct local_node *n) {
    for (uint32_t i = 0; i < LOCAL_FAULTS_MAX; i++) {
        struct local_fault *f = &n->local->faults[i];
        bool fails = f->id && f->spec.kind == FAULT_KILL && (f->spec.nodes >> n->id & 1) &&
                     f->failed_starts[n->id] < f->spec.kill.failed_starts;
        if (!fails) continue;
        f->failed_starts[n->id]++;
        f->evidence.offered++;
        f->evidence.affected++;
        return true;
    }
    return false;
}

/* Of those that were told to end: what still runs had its time. */
static void see_who_ended(struct local *l, struct local_fault *f) {
    for (uint32_t i = 0; i < l->nodes; i++) {
        if (!(f->told >> i & 1)) continue;
        node_stop_now(&l->node[i]);
        f->evidence.affected += l->node[i].process == NULL;
    }
}

/* --- faults --- */

static int validate(const struct local *l, const struct fault_spec *spec, struct error *e) {
    uint32_t all = (UINT32_C(1) << l->nodes) - 1;
    if (spec->kind >= FAULT_KINDS) return error_set(e, "no such kind of fault");
    if (spec->kind != FAULT_LINK && (spec->nodes == 0 || (spec->nodes & ~all)))
        return error_set(e, "the fault names no node, or one beyond n%u", l->nodes);
    if (spec->kill.grace_ns && spec->kill.failed_starts)
        return error_set(e, "a node that ends in order and starts that fail are two faults: give one of them");
    if (spec->kind == FAULT_POWER && !l->has_filesystem)
        return error_set(e, "power loss needs FUSE, which is not here; `harrow doctor` says more");
    if (spec->kind == FAULT_CLOCK && !l->has_clock)
        return error_set(e, "clock faults need ptrace, which is not allowed here; `harrow doctor` says more");
    const struct disk_condition *d = &spec->disk;
    bool whole = d->write_error_ppm || d->capacity_bytes || d->read_error_ppm || d->read_rot_ppm || d->io_delay_ns;
    if (spec->kind == FAULT_DISK && whole && !l->has_filesystem)
        return error_set(e, "this disk fault needs FUSE, which is not here; `harrow doctor` says more");
    return 0;
}

/* A system that leaves it to TCP to notice bad bytes would store and serve them: that is no fault of its own. */
static struct link_condition link_of(struct local *l, const struct fault_spec *spec) {
    struct link_condition link = spec->link;
    bool notices = !l->target || foreign_has(l->target, "checksums");
    if (notices || spec->corrupt_regardless || link.corrupt_ppm == 0) return link;
    link.corrupt_ppm = 0;
    link = link_condition_add(link, (struct link_condition){.damage_ppm = spec->link.corrupt_ppm});
    if (l->corruption_noted) return link;
    l->corruption_noted = true;
    struct history *h = l->world.host.history;
    char *text = xformat("%s has no checksums of its own: corrupted frames keep a wrong one, and the kernel drops them",
                         foreign_name(l->target));
    struct sample note = {
        .time_ns = local_now(l), .kind = SAMPLE_LOG, .node = NODE_UNKNOWN, .text = history_intern(h, text)};
    history_sample(h, note);
    free(text);
    return link;
}

uint32_t local_fault_begin(struct local *l, const struct fault_spec *spec, struct error *e) {
    if (validate(l, spec, e) != 0) return 0;
    uint32_t slot = 0;
    while (slot < LOCAL_FAULTS_MAX && l->faults[slot].id) slot++;
    if (slot == LOCAL_FAULTS_MAX) {
        error_set(e, "more than %u faults at once: end some first", LOCAL_FAULTS_MAX);
        return 0;
    }
    struct local_fault *f = &l->faults[slot];
    *f = (struct local_fault){.id = ++l->faults_next, .spec = *spec};
    f->before = counters(l, spec);
    if (spec->kind == FAULT_LINK) {
        struct link_condition link = link_of(l, spec);
        f->rule = switch_rule_add(l->net_switch, spec->links, &link, spec->filter, e);
        if (f->rule == 0) f->id = 0;
        return f->id;
    }
    if (spec->kind == FAULT_KILL || spec->kind == FAULT_POWER) kill_together(l, f);
    for (uint32_t i = 0; i < l->nodes; i++)
        if (spec->nodes >> i & 1) begin_on_node(f, &l->node[i]);
    for (uint32_t i = 0; i < l->nodes && spec->kind == FAULT_POWER; i++) /* when all of them are dead */
        if ((spec->nodes >> i & 1) && lose_power(&l->node[i], spec, e)) {
            local_fault_end(l, f->id);
            return 0;
        }
    return f->id;
}

struct fault_evidence local_fault_end(struct local *l, uint32_t id) {
    for (uint32_t slot = 0; slot < LOCAL_FAULTS_MAX; slot++) {
        struct local_fault *f = &l->faults[slot];
        if (id == 0 || f->id != id) continue;
        see_who_ended(l, f);
        struct local_fault ended = *f;
        if (ended.spec.kind == FAULT_LINK) {
            f->id = 0;
            return switch_rule_remove(l->net_switch, ended.rule);
        }
        struct fault_evidence after = counters(l, &ended.spec);
        if (after.affected > ended.before.affected) ended.evidence.affected += after.affected - ended.before.affected;
        if (after.offered > ended.before.offered) ended.evidence.offered += after.offered - ended.before.offered;
        for (uint32_t i = 0; i < l->nodes && ended.spec.kind == FAULT_CLOCK; i++) {
            if (!(ended.spec.nodes >> i & 1)) continue;
            ended.evidence.offered++;
            ended.evidence.affected += clock_is_off(&l->node[i], &ended.spec.clock);
        }
        f->id = 0;
        for (uint32_t i = 0; i < l->nodes; i++)
            if (ended.spec.nodes >> i & 1) end_on_node(&ended.spec, &l->node[i]);
        return ended.evidence;
    }
    return (struct fault_evidence){0};
}
