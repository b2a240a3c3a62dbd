/* harrow bench local: the bundled store beside etcd, on the same machine, in the same kind of network behind the same
 * switch, driven by the same loop: puts and linearizable gets at 1, 16 and 64 clients with one operation each. CPU is
 * that of the three node processes, from the kernel's accounts, during the load. */
#include <stdlib.h>

#include "harness/cli/bench.h"

#define CELL_DEFAULT_NS (5 * NS_PER_S)

struct cell { /* one target under one load */
    const char *target, *mix;
    uint32_t clients;
    bool ran;
    double per_second, cpu_us_per_op;
    struct quantiles latency;
    char why[200]; /* why it did not run */
};

static const char *const mixes[] = {"put", "get"};
static const uint32_t loads[] = {1, 16, 64};

static int measure(struct cli *c, struct runner *r, struct cell *cell, struct error *e) {
    struct source source;
    struct script_set sets[2 * SETS_MAX];
    struct run_options o;
    bool seed_known;
    char clients[16];
    snprintf(clients, sizeof clients, "%u", cell->clients);
    if (cli_source_load(&source, "harness/bench/local.lua", e)) return -1;
    cli_source_options(&source, c, sets, &o, &seed_known);
    sets[o.sets_count++] = (struct script_set){.key = "clients", .value = clients};
    sets[o.sets_count++] = (struct script_set){.key = "mix", .value = cell->mix};
    o.world = "local";
    o.target = cell->target;
    o.seed = 1;
    o.time_ns = c->for_ns ? c->for_ns : CELL_DEFAULT_NS;
    struct run_result result;
    int failed = cli_place(&o, e);
    if (!failed && !(o.store = cli_open_store(c, false, e))) failed = -1;
    if (!failed) failed = runner_run(r, &o, &result, e);
    if (!failed) {
        uint16_t f = strcmp(cell->mix, "put") == 0 ? OP_WRITE : OP_READ;
        cell->latency = history_latency(runner_history(r), f);
        cell->per_second = (double)cell->latency.count / ((double)o.time_ns / (double)NS_PER_S);
        cell->cpu_us_per_op =
            cell->latency.count ? (double)result.counters.cpu_ns / 1e3 / (double)cell->latency.count : 0;
        cell->ran = true;
        run_result_free(&result);
    }
    if (o.store) store_close(o.store);
    cli_source_free(&source);
    return failed;
}

static double ms(uint64_t ns) {
    return (double)ns / (double)NS_PER_MS;
}

static void print_cell(FILE *say, const struct cell *k) {
    if (k->ran)
        fprintf(say, "%-6s %-4s %3u clients  %8.0f /s  p50 %6.2f  p90 %6.2f  p99 %6.2f  p99.9 %6.2f ms  %6.1f us CPU\n",
                k->target, k->mix, k->clients, k->per_second, ms(k->latency.p50_ns), ms(k->latency.p90_ns),
                ms(k->latency.p99_ns), ms(k->latency.p999_ns), k->cpu_us_per_op);
    else
        fprintf(say, "%-6s %-4s %3u clients  not measured: %s\n", k->target, k->mix, k->clients, k->why);
    fflush(say);
}

static json_t *cell_json(const struct cell *k) {
    if (!k->ran) return json_pack("{s:s}", "not_measured", k->why);
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "per_second", k->per_second, "p50_ms", ms(k->latency.p50_ns),
                     "p90_ms", ms(k->latency.p90_ns), "p99_ms", ms(k->latency.p99_ns), "p999_ms",
                     ms(k->latency.p999_ns), "cpu_us_per_op", k->cpu_us_per_op);
}

int bench_local(struct cli *c) {
    static const char *const targets[] = {"raft", "etcd"};
    struct error e = {{0}};
    json_t *figures = json_object();
    FILE *say = cli_say(c);
    struct runner *r = runner_new();
    double puts[2] = {0}, gets[2] = {0}, cpu[2] = {0};
    fprintf(say, "three nodes, syncs on, one put or linearizable get at a time per client; CPU of the three nodes\n");
    fflush(say);
    for (size_t m = 0; m < 2; m++) {
        for (size_t n = 0; n < 3 && !cli_interrupted; n++) {
            for (size_t t = 0; t < 2 && !cli_interrupted; t++) { /* side by side, so that a noisy moment hits both */
                struct cell k = {.target = targets[t], .mix = mixes[m], .clients = loads[n]};
                if (measure(c, r, &k, &e)) snprintf(k.why, sizeof k.why, "%.190s", e.text);
                print_cell(say, &k);
                if (loads[n] == 64) *(m == 0 ? &puts[t] : &gets[t]) = k.per_second;
                if (loads[n] == 64 && m == 0) cpu[t] = k.cpu_us_per_op;
                char *name = xformat("%s_%s_%u", k.target, k.mix, k.clients);
                json_object_set_new(figures, name, cell_json(&k));
                free(name);
            }
        }
    }
    runner_free(r);
    bool both = puts[0] > 0 && puts[1] > 0 && gets[1] > 0 && cpu[0] > 0 && cpu[1] > 0;
    if (both) {
        fprintf(say, "at 64 clients: %.1f times etcd's puts, %.1f times its gets, %.2f of its CPU per put\n",
                puts[0] / puts[1], gets[0] / gets[1], cpu[0] / cpu[1]);
        json_object_set_new(figures, "puts_ratio", json_real(puts[0] / puts[1]));
        json_object_set_new(figures, "gets_ratio", json_real(gets[0] / gets[1]));
        json_object_set_new(figures, "cpu_per_put_ratio", json_real(cpu[0] / cpu[1]));
    }
    if (c->json)
        bench_print_figures("local", figures);
    else
        json_decref(figures);
    return both ? EXIT_VALID : EXIT_UNKNOWN;
}
