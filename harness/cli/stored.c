/* harrow runs, show and report: what the store holds. */
#include "harness/cli/cli.h"

#include <stdlib.h>

#include "reports/reports.h"

#define OPS_SHOWN_DEFAULT 20u

/* --- runs --- */

static json_t *info_json(const struct run_info *r) {
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)r->trace_hash);
    json_t *o = json_object();
    json_object_set_new(o, "run", json_text(r->run));
    json_object_set_new(o, "scenario", json_text(r->scenario));
    json_object_set_new(o, "target", json_text(r->target));
    json_object_set_new(o, "world", json_text(r->world));
    json_object_set_new(o, "mutant", *r->mutant ? json_text(r->mutant) : json_null());
    json_object_set_new(o, "seed", json_integer((json_int_t)r->seed));
    json_object_set_new(o, "state", json_text(r->state));
    json_object_set_new(o, "verdict", *r->verdict ? json_text(r->verdict) : json_null());
    json_object_set_new(o, "why", json_text(r->detail));
    json_object_set_new(o, "started_at", json_text(r->started_at));
    json_object_set_new(o, "ops",
                        json_pack("{s:I, s:I, s:I}", "ok", (json_int_t)r->ops_ok, "fail", (json_int_t)r->ops_fail,
                                  "info", (json_int_t)r->ops_info));
    json_object_set_new(o, "faults", json_integer((json_int_t)r->faults));
    json_object_set_new(o, "virtual_seconds", json_real(r->virtual_seconds));
    json_object_set_new(o, "wall_seconds", json_real(r->wall_seconds));
    json_object_set_new(o, "events", json_integer((json_int_t)r->events));
    json_object_set_new(o, "trace_hash", json_text(hash));
    return o;
}

/* What stands in a table for the outcome: the verdict, or the state of a run that has none. */
static const char *outcome(const struct run_info *r) {
    return strcmp(r->state, "done") == 0 && *r->verdict ? r->verdict : r->state;
}

static void print_runs(const struct run_info *runs, size_t count) {
    if (count == 0) {
        printf("no runs yet; `harrow run calm` makes one\n");
        return;
    }
    printf("%-46s %-11s %-26s %10s %9s %6s\n", "run", "outcome", "target", "seed", "ops ok", "faults");
    for (size_t i = 0; i < count; i++) {
        const struct run_info *r = &runs[i];
        printf("%-46s %-11s %-26s %10llu %9llu %6llu\n", r->run, outcome(r), *r->mutant ? r->mutant : r->target,
               (unsigned long long)r->seed, (unsigned long long)r->ops_ok, (unsigned long long)r->faults);
    }
}

int command_runs(struct cli *c) {
    struct error e = {{0}};
    struct run_info *runs = NULL;
    size_t count = 0;
    struct store *s = cli_open_store(c, true, &e);
    if (!s) return cli_fail(EXIT_USAGE, c, &e);
    int failed = store_list(s, &runs, &count, &e);
    store_close(s);
    if (failed) return cli_fail(EXIT_INTERNAL, c, &e);
    if (c->json) {
        json_t *array = json_array();
        for (size_t i = 0; i < count; i++) json_array_append_new(array, info_json(&runs[i]));
        cli_print_json(array);
    } else {
        print_runs(runs, count);
    }
    for (size_t i = 0; i < count; i++) run_info_free(&runs[i]);
    free(runs);
    return EXIT_VALID;
}

/* --- one run --- */

struct stored_run {
    struct store *store;
    struct run_info info;
    struct history *history;
    struct check_row *rows;
    size_t rows_count;
    struct check_result *checks;
};

static int load_run(struct cli *c, bool read_only, struct stored_run *r, struct error *e) {
    r->store = cli_open_store(c, read_only, e);
    if (!r->store || store_find(r->store, c->arguments[0], &r->info, e)) return -1;
    r->history = history_new();
    if (store_load(r->store, r->info.run, r->history, e)) return -1;
    if (store_checks(r->store, r->info.run, &r->rows, &r->rows_count, e)) return -1;
    r->checks = run_checks_of_rows(r->rows, r->rows_count);
    return 0;
}

static void free_run(struct stored_run *r) {
    if (r->checks) run_checks_free(r->checks, r->rows_count);
    check_rows_free(r->rows, r->rows_count);
    history_free(r->history);
    run_info_free(&r->info);
    if (r->store) store_close(r->store);
}

/* --- show --- */

static void print_info(const struct stored_run *r) {
    const struct run_info *i = &r->info;
    printf("run       %s\n", i->run);
    printf("scenario  %s\n", i->scenario_path);
    printf("target    %s%s%s, world %s, %u nodes\n", i->target, *i->mutant ? ", mutant " : "", i->mutant, i->world,
           run_info_nodes(i));
    printf("seed      %llu\n", (unsigned long long)i->seed);
    printf("started   %s, %s\n", i->started_at, i->state);
    if (*i->verdict)
        printf("verdict   %s\nwhy       %s\n",
               cli_verdict_text(r->info.verdict[0] == 'v'   ? VERDICT_VALID
                                : r->info.verdict[0] == 'i' ? VERDICT_INVALID
                                                            : VERDICT_UNKNOWN,
                                stdout),
               i->detail);
    if (strcmp(i->state, "done") == 0)
        printf("took      %.1f virtual seconds in %.2f s, %llu events, trace %016llx\n", i->virtual_seconds,
               i->wall_seconds, (unsigned long long)i->events, (unsigned long long)i->trace_hash);
}

/* One line for each function that occurs: how its operations ended and how long they took. */
static void print_functions(const struct history *h) {
    printf("\n%-10s %9s %9s %9s %9s %11s %11s %11s %11s\n", "operation", "ok", "fail", "info", "open", "p50 ms",
           "p90 ms", "p99 ms", "max ms");
    for (uint32_t f = 0; f < OP_CUSTOM + h->custom_count; f++) {
        uint64_t by_status[4] = {0}, all = 0;
        for (uint32_t op = 0; op < h->count; op++) {
            if (h->f[op] != f) continue;
            by_status[h->status[op]]++;
            all++;
        }
        if (all == 0) continue;
        struct quantiles q = history_latency(h, (uint16_t)f);
        printf("%-10s %9llu %9llu %9llu %9llu %11.2f %11.2f %11.2f %11.2f\n", history_function_name(h, (uint16_t)f),
               (unsigned long long)by_status[OP_OK], (unsigned long long)by_status[OP_FAIL],
               (unsigned long long)by_status[OP_INFO], (unsigned long long)by_status[OP_PENDING],
               (double)q.p50_ns / (double)NS_PER_MS, (double)q.p90_ns / (double)NS_PER_MS,
               (double)q.p99_ns / (double)NS_PER_MS, (double)q.max_ns / (double)NS_PER_MS);
    }
}

static void print_faults(const struct history *h) {
    if (h->faults_count == 0) return;
    printf("\n%9s %9s  %-24s %18s  %s\n", "from s", "to s", "fault", "affected/offered", "where");
    for (uint32_t i = 0; i < h->faults_count; i++) {
        const struct fault_record *f = &h->faults[i];
        char end[24] = "open", evidence[48];
        if (f->end_ns != UINT64_MAX) snprintf(end, sizeof end, "%.3f", (double)f->end_ns / (double)NS_PER_S);
        snprintf(evidence, sizeof evidence, "%llu/%llu", (unsigned long long)f->affected,
                 (unsigned long long)f->offered);
        printf("%9.3f %9s  %-24s %18s  %s\n", (double)f->start_ns / (double)NS_PER_S, end, history_text(h, f->name),
               evidence, history_text(h, f->detail));
    }
}

static void print_ops(const struct history *h, uint32_t shown) {
    uint32_t count = h->count < shown ? h->count : shown, first = h->count - count;
    if (count == 0) return;
    uint32_t *ops = xmalloc(count * sizeof *ops);
    for (uint32_t i = 0; i < count; i++) ops[i] = first + i;
    struct buffer text = {0};
    check_print_ops(h, ops, count, &text);
    printf("\n%s %u of %u operations\n%.*s", first ? "the last" : "all", count, h->count, (int)text.size,
           text.data ? (const char *)text.data : "");
    buffer_free(&text);
    free(ops);
}

static void show(struct cli *c, const struct stored_run *r) {
    print_info(r);
    if (r->rows_count) {
        printf("\n");
        print_checks(stdout, r->checks, r->rows_count);
        for (size_t i = 0; i < r->rows_count; i++)
            if (r->checks[i].verdict == VERDICT_INVALID && r->checks[i].explanation)
                printf("\n%s:\n%s\n", r->checks[i].name, r->checks[i].explanation);
    }
    print_functions(r->history);
    print_faults(r->history);
    struct buffer plot = {0};
    report_terminal_plot(r->history, &plot);
    printf("\n%.*s", (int)plot.size, plot.data ? (const char *)plot.data : "");
    buffer_free(&plot);
    print_ops(r->history, c->given & OPTION_BIT(OPTION_OPS) ? c->ops_shown : OPS_SHOWN_DEFAULT);
    struct error ignored;
    struct run_options o;
    struct stored_options *stored = run_options_of(&r->info, &o, &ignored);
    if (!stored) return;
    struct buffer replay = {0};
    run_replay_command(&o, &replay);
    printf("\nreplay    %s\n", (const char *)replay.data);
    buffer_free(&replay);
    stored_options_free(stored);
}

static void show_json(const struct stored_run *r) {
    json_t *root = info_json(&r->info), *checks = json_array();
    for (size_t i = 0; i < r->rows_count; i++)
        json_array_append_new(checks,
                              json_pack("{s:o, s:s, s:o}", "name", json_text(r->checks[i].name), "verdict",
                                        verdict_name(r->checks[i].verdict), "detail", json_text(r->checks[i].detail)));
    json_object_set_new(root, "checks", checks);
    json_object_set_new(root, "operations", json_integer(r->history->count));
    cli_print_json(root);
}

int command_show(struct cli *c) {
    struct error e = {{0}};
    struct stored_run r = {0};
    int status = EXIT_VALID;
    if (load_run(c, true, &r, &e))
        status = cli_fail(EXIT_USAGE, c, &e);
    else if (c->json)
        show_json(&r);
    else
        show(c, &r);
    free_run(&r);
    return status;
}

/* --- report --- */

int command_report(struct cli *c) {
    struct error e = {{0}}, warning = {{0}};
    struct stored_run r = {0};
    char path[4096];
    int status = EXIT_VALID;
    if (load_run(c, false, &r, &e)) {
        status = cli_fail(EXIT_USAGE, c, &e);
    } else if (run_write_report(r.store, &r.info, r.history, r.checks, r.rows_count, path, sizeof path, &warning, &e)) {
        status = cli_fail(EXIT_INTERNAL, c, &e);
    } else {
        FILE *say = cli_say(c);
        if (*warning.text) fprintf(say, "note     %s\n", warning.text);
        fprintf(say, "report   %s\n", path);
        if (c->json) cli_print_json(json_pack("{s:s, s:o}", "run", r.info.run, "report", json_text(path)));
    }
    free_run(&r);
    return status;
}
