/* The runner: loads the scenario, readies the world, lets the phases run, has the result judged and stored. The world
 * and the history are kept from run to run (a hunt makes thousands a minute); the Lua state is new each time. */
#include "harness/run/run_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define STATUS_BAD_SCENARIO 254
#define STATUS_INTERNAL_ERROR 255
#define FAULT_LEFT_OUT UINT32_MAX /* the id of every fault that --without leaves out */

static const struct world_maker sim_maker = {.make = sim_new, .reset = sim_reset};
static const struct world_maker local_maker = {.make = local_new}; /* a cluster serves one run */

struct runner *runner_new_on(const struct world_maker *maker) {
    struct runner *r = xcalloc(1, sizeof *r);
    r->maker = maker;
    r->history = history_new();
    return r;
}

struct runner *runner_new(void) {
    return runner_new_on(&sim_maker);
}

void runner_free(struct runner *r) {
    if (!r) return;
    if (r->world) r->world->ops->free(r->world);
    history_free(r->history);
    free(r->busy);
    free(r->process);
    free(r->folder);
    free(r);
}

const struct history *runner_history(const struct runner *r) {
    return r->history;
}

/* --- faults between script and world --- */

/* Notes which kinds a run uses. One that --without names is asked for as ever, and the world never hears of it: its
 * evidence stays 0 of 0. */
static uint32_t begin_unless_left_out(struct world *w, const struct fault_spec *spec, struct error *e) {
    struct runner *r = w->host.ctx;
    r->fault_kinds |= 1u << spec->kind;
    if (r->options->without & (1u << spec->kind)) return FAULT_LEFT_OUT;
    return r->ops_real->fault_begin(w, spec, e);
}

static struct fault_evidence end_unless_left_out(struct world *w, uint32_t fault) {
    struct runner *r = w->host.ctx;
    if (fault == FAULT_LEFT_OUT) return (struct fault_evidence){0};
    return r->ops_real->fault_end(w, fault);
}

static void watch_faults(struct runner *r) {
    r->fault_kinds = 0;
    r->ops_real = r->world->ops;
    r->ops_watched = *r->ops_real;
    r->ops_watched.fault_begin = begin_unless_left_out;
    r->ops_watched.fault_end = end_unless_left_out;
    r->world->ops = &r->ops_watched;
}

/* --- getting ready --- */

static int ready_world(struct runner *r, struct error *e) {
    struct world_config c = r->scenario->world;
    const struct run_options *o = r->options;
    c.target = o->target;
    c.mutant = o->mutant ? o->mutant : "";
    c.seed = o->seed;
    c.invariants = o->invariants;
    if (c.clients == 0 || c.clients > CLIENTS_MAX)
        return error_set(e, "%s: %u clients; there can be 1 to %u", o->scenario_name, c.clients, CLIENTS_MAX);
    c.adapter = o->adapter;
    c.folder = r->folder;
    c.pcap = o->pcap;
    c.pcap_snap_bytes = o->pcap_snap_bytes;
    c.record = o->record;
    if (r->world && r->maker->reset(r->world, &c, e)) {
        r->world->ops->free(r->world);
        r->world = NULL;
        return -1;
    }
    if (!r->world) r->world = r->maker->make(&c, loop_host(r), e);
    if (!r->world) return -1;
    uint32_t missing = r->scenario->needs & ~r->world->ops->capabilities;
    for (uint32_t kind = 0; kind < FAULT_KINDS; kind++)
        if (missing & (1u << kind))
            return error_set(e, "%s asks for %s faults, and the %s world has none; `harrow doctor` says more",
                             o->scenario_name, fault_kind_name((enum fault_kind)kind), r->world->ops->name);
    if (missing & FAULT_WHOLE_DISKS)
        return error_set(e,
                         "%s asks for disk.full, disk.rot, disk.read_error or disk.slow, which need FUSE, and that is "
                         "not to be had here; `harrow doctor` says more",
                         o->scenario_name);
    if (missing & FAULT_LINK_FILTERS)
        return error_set(e, "%s filters what a link fault hits, and the %s world has no frames to filter",
                         o->scenario_name, r->world->ops->name);
    return 0;
}

static int choose_world(struct runner *r, struct error *e) {
    const char *world = r->options->world;
    bool local = strcmp(world, "local") == 0;
    if (!local && strcmp(world, "sim") != 0)
        return error_set(e, "there is no world \"%s\"; there are sim and local", world);
    if (local || r->maker == &local_maker) r->maker = local ? &local_maker : &sim_maker;
    return 0;
}

/* Real nodes need their folder before they start. */
static int make_folder(struct runner *r, struct error *e) {
    char path[512];
    record_begin(r);
    if (!r->info.run) {
        return r->store_failure.text[0] ? error_set(e, "%s", r->store_failure.text)
                                        : error_set(e, "the local world needs a store for its nodes' data and logs");
    }
    if (store_run_folder(r->options->store, r->info.run, path, sizeof path, e)) return -1;
    char *whole = realpath(path, NULL);
    r->folder = whole ? whole : xstrdup(path);
    return 0;
}

static int make_ready(struct runner *r, struct error *e) {
    const struct run_options *o = r->options;
    if (choose_world(r, e)) return -1;
    if (o->adapter && r->maker != &local_maker)
        return error_set(e, "%s is a program that others wrote: it runs in the local world only (--world local)",
                         o->target);
    struct script_options so = {.seed = o->seed, .sets = o->sets, .sets_count = o->sets_count};
    r->script = script_load(o->scenario_name, o->scenario_text, &so, e);
    if (!r->script) return -1;
    r->scenario = script_scenario(r->script);
    r->workload = script_workload(r->script);
    r->final_reads = script_final_reads(r->script);
    r->time_ns = o->time_ns ? o->time_ns : r->scenario->time_ns;
    history_clear(r->history);
    if (r->maker == &local_maker && make_folder(r, e)) return -1;
    if (ready_world(r, e)) return -1;
    loop_reset(r, r->scenario->world.clients);
    r->recovery = (struct recovery){0};
    r->main_end_ns = 0;
    watch_faults(r);
    if (o->trace_line) r->world->ops->trace_to(r->world, o->trace_line, o->trace_ctx);
    if (script_start(r->script, r->world, r->history, e) == 0) return 0;
    script_end_faults(r->script);
    return -1;
}

static void put_away(struct runner *r) {
    if (r->world && r->ops_real) {
        if (r->options->trace_line) r->world->ops->trace_to(r->world, NULL, NULL);
        r->world->ops = r->ops_real;
    }
    r->ops_real = NULL;
    if (r->world && !r->maker->reset) {
        r->world->ops->free(r->world);
        r->world = NULL;
    }
    free(r->folder);
    r->folder = NULL;
    if (r->script) script_free(r->script);
    r->script = NULL;
    r->scenario = NULL;
    r->workload = r->final_reads = NULL;
    r->options = NULL;
}

int runner_run(struct runner *r, const struct run_options *o, struct run_result *out, struct error *e) {
    *out = (struct run_result){0};
    r->options = o;
    r->wall_start_ns = r->wall_tick_ns = r->wall_stored_ns = monotonic_ns();
    int status = STATUS_BAD_SCENARIO;
    if (make_ready(r, e)) {
        record_failed(r, e->text);
        goto out;
    }
    record_begin(r);
    phases_run(r);
    if (r->halt == HALT_SCRIPT || r->halt == HALT_BROKEN) {
        status = r->halt == HALT_SCRIPT ? STATUS_BAD_SCENARIO : STATUS_INTERNAL_ERROR;
        error_set(e, "%s", r->failure.text);
        record_failed(r, e->text);
        goto out;
    }
    if (r->world->ops->sum_up) r->world->ops->sum_up(r->world);
    judge(r, out);
    out->wall_seconds = (double)(monotonic_ns() - r->wall_start_ns) / (double)NS_PER_S;
    record_finish(r, out);
    status = 0;
out:
    put_away(r);
    return status;
}
