/* harrow bench: how fast this build is on this machine.
 *   sim    schedules a minute and events a second, through the very same runner that run and hunt use, on one core,
 *          with disks, history, invariants and checks on; and events a second under a saturating load
 *   local  the bundled store beside etcd, on real processes
 *   switch the network between them: what the switch adds to a kernel bridge
 *   check  what the checkers cost, on histories made from a seed */
#include "harness/cli/bench.h"

#include <stdlib.h>

#include "base/clock.h"

#define WALL_DEFAULT_NS (5 * NS_PER_S)

struct tally {
    uint64_t runs, events, ops_ok, not_valid;
    double wall_seconds, cpu_seconds, virtual_seconds; /* cpu below wall: the processor was shared */
    char why[256];                                     /* of the first that was not valid */
};

static void add(struct tally *t, const struct run_result *r) {
    t->runs++;
    t->events += r->events;
    t->ops_ok += r->ops_ok;
    t->virtual_seconds += r->virtual_seconds;
    if (r->verdict != VERDICT_VALID && !t->not_valid++) snprintf(t->why, sizeof t->why, "%s", r->why);
}

static double cpu_now_seconds(void) {
    return (double)clock_ns(CLOCK_PROCESS_CPUTIME_ID) / (double)NS_PER_S;
}

/* Runs seeds 1, 2, ... of one scenario until the wall time is over; at least one. */
static int run_for(struct cli *c, struct runner *r, const char *scenario, uint64_t wall_ns, struct tally *t,
                   struct error *e) {
    struct source source;
    struct script_set sets[2 * SETS_MAX];
    struct run_options o;
    bool seed_known;
    if (cli_source_load(&source, scenario, e)) return -1;
    cli_source_options(&source, c, sets, &o, &seed_known);
    uint64_t start_ns = monotonic_ns(), now_ns = start_ns;
    double cpu_start = cpu_now_seconds();
    int failed = 0;
    for (o.seed = 1; !failed && !cli_interrupted && (o.seed == 1 || now_ns - start_ns < wall_ns); o.seed++) {
        struct run_result result;
        failed = runner_run(r, &o, &result, e);
        if (failed) break;
        now_ns = monotonic_ns();
        add(t, &result);
        run_result_free(&result);
    }
    t->wall_seconds = (double)(now_ns - start_ns) / (double)NS_PER_S;
    t->cpu_seconds = cpu_now_seconds() - cpu_start;
    cli_source_free(&source);
    return failed;
}

static double per_second(const struct tally *t, uint64_t count) {
    return t->wall_seconds > 0 ? (double)count / t->wall_seconds : 0;
}

static void print_tally(FILE *say, const char *name, const struct tally *t) {
    fprintf(say,
            "%-12s %llu schedules in %.2f s (%.2f s of processor): %.0f schedules/min, %.0f events/s, %.0f "
            "operations/s, %.0f x real time\n",
            name, (unsigned long long)t->runs, t->wall_seconds, t->cpu_seconds, per_second(t, t->runs) * 60,
            per_second(t, t->events), per_second(t, t->ops_ok),
            t->wall_seconds > 0 ? t->virtual_seconds / t->wall_seconds : 0);
    if (t->not_valid)
        fprintf(say, "%-12s %llu of them are not valid: %s\n", "", (unsigned long long)t->not_valid, t->why);
}

void bench_print_figures(const char *name, json_t *figures) {
    char machine[256];
    cli_machine(machine, sizeof machine);
    cli_print_json(json_pack("{s:s, s:o, s:s, s:o}", "name", name, "machine", json_text(machine), "version",
                             HARROW_VERSION, "figures", figures));
}

/* events_per_second is the busy figure: events that do something, not the idle ticks of a light load. */
static json_t *sim_figures(const struct tally *flips, const struct tally *busy) {
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I}", "schedules_per_minute",
                     per_second(flips, flips->runs) * 60, "events_per_second", per_second(busy, busy->events),
                     "link_flips_events_per_second", per_second(flips, flips->events), "busy_operations_per_second",
                     per_second(busy, busy->ops_ok), "wall_seconds", flips->wall_seconds + busy->wall_seconds,
                     "cpu_seconds", flips->cpu_seconds + busy->cpu_seconds, "schedules", (json_int_t)flips->runs,
                     "events", (json_int_t)(flips->events + busy->events), "not_valid",
                     (json_int_t)(flips->not_valid + busy->not_valid));
}

static int bench_sim(struct cli *c) {
    struct error e = {{0}};
    struct tally flips = {0}, busy = {0};
    uint64_t wall_ns = c->for_ns ? c->for_ns : WALL_DEFAULT_NS;
    struct runner *r = runner_new();
    int failed = run_for(c, r, "harness/bench/link-flips.lua", wall_ns, &flips, &e);
    if (!failed) failed = run_for(c, r, "harness/bench/busy.lua", wall_ns, &busy, &e);
    runner_free(r);
    if (failed) return cli_fail(EXIT_INTERNAL, c, &e);
    FILE *say = cli_say(c);
    fprintf(say, "one core; five nodes on %s, disks, history, invariants and checks on\n",
            c->target ? c->target : "raft");
    print_tally(say, "link-flips", &flips);
    print_tally(say, "busy", &busy);
    if (c->json) bench_print_figures("sim", sim_figures(&flips, &busy));
    if (flips.not_valid + busy.not_valid) return EXIT_UNKNOWN;
    return EXIT_VALID;
}

int command_bench(struct cli *c) {
    cli_catch_interrupts();
    const char *name = c->arguments_count ? c->arguments[0] : "sim";
    if (strcmp(name, "sim") == 0) return bench_sim(c);
    if (strcmp(name, "check") == 0) return bench_check(c);
    if (strcmp(name, "local") == 0) return bench_local(c);
    if (strcmp(name, "switch") == 0) return bench_switch(c);
    struct error e = {{0}};
    error_set(&e, "there is no benchmark \"%s\"; there are sim, check, local and switch", name);
    return cli_fail(EXIT_USAGE, c, &e);
}
