/* harrow compare: the same scenario and seeds on several targets. Every run is measured by the worker that ran it, into
 * memory that all share; the parent puts the figures side by side. A run that is not valid is counted, shown and told
 * aloud: figures of a system that broke its promises do not compare. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "harness/cli/cli.h"
#include "reports/compare.h"

#define TARGETS_MAX 16u
#define RUNS_MAX 10000u
static_assert(REGIONS_MAX <= MEASURE_REGIONS_MAX, "every region has its figures");
#define FAULTY_SHOWN_MAX 10u
#define COLUMNS 100u

struct side { /* a target and its runs */
    char *name, *target;
    const char *mutant;
    struct run_options options;
    struct compared_run *runs;
    char **texts; /* why and how again, by run */
};
struct compare {
    struct cli *c;
    struct source source;
    struct script_set sets[2 * SETS_MAX];
    struct seed_range seeds;
    uint32_t seeds_count, sides_count;
    struct side sides[TARGETS_MAX];
    struct compared_target targets[TARGETS_MAX];
    struct measured *measured;   /* by index of the pool; shared with the workers */
    struct pool_report *reports; /* likewise, of the parent */
    bool *reported;
    bool local;
    struct runner *runner; /* of a worker, and its store */
    struct store *store;
    struct progress_line line;
    uint64_t done;
    struct buffer command;
    struct comparison comparison;
};

/* --- the targets -------------------------------------------------------------------------------------------------- */

static const struct mutant_info *find_mutant(const char *id) {
    const struct mutant_info *m = mutants_all();
    while (m->id && strcmp(m->id, id) != 0) m++;
    return m->id ? m : NULL;
}

static int refuse_target(const char *name, struct error *e) {
    const char *names[64];
    size_t count = 0;
    for (const struct target_info *t = targets_all(); t->name; t++) names[count++] = t->name;
    if (strchr(name, '/'))
        for (const struct mutant_info *m = mutants_all(); m->id && count < 64; m++) names[count++] = m->id;
    const char *near = nearest(name, names, count);
    return error_set(e,
                     "there is no target and no mutant \"%s\"%s%s%s; `harrow targets` and `harrow mutants` list them",
                     name, near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
}

static int add_side(struct compare *k, const char *name, struct error *e) {
    if (!*name) return error_set(e, "--targets has an empty name; it is a list such as raft,epaxos");
    for (uint32_t i = 0; i < k->sides_count; i++)
        if (strcmp(k->sides[i].name, name) == 0) return error_set(e, "--targets names %s twice", name);
    if (k->sides_count == TARGETS_MAX) return error_set(e, "--targets: at most %u at once", TARGETS_MAX);
    struct side *s = &k->sides[k->sides_count++];
    const struct mutant_info *mutant = find_mutant(name);
    s->name = xstrdup(name);
    s->target = xstrdup(mutant ? mutant->protocol : name);
    s->mutant = mutant ? mutant->id : "";
    if (!mutant && strchr(name, '/') && !strstr(name, ".lua") && access(name, F_OK) != 0) return refuse_target(name, e);
    struct cli one = *k->c;
    bool seed_known;
    one.target = s->target;
    one.mutant = s->mutant;
    cli_source_options(&k->source, &one, k->sets, &s->options, &seed_known);
    if (seed_known && !(k->c->given & OPTION_BIT(OPTION_SEEDS)))
        k->seeds = (struct seed_range){s->options.seed, s->options.seed};
    s->options.seed = k->seeds.first;
    if (cli_source_check(&s->options, NULL, NULL, e) || cli_place(&s->options, e)) return -1;
    if (!s->options.adapter && !cli_is_bundled(s->target)) return refuse_target(name, e);
    if (s->options.adapter && !k->local)
        return error_set(e, "%s is a program that others wrote: it runs in the local world only (--world local)", name);
    return 0;
}

static int add_sides(struct compare *k, struct error *e) {
    char *copy = xstrdup(k->c->targets), *rest = copy, *name;
    int failed = 0;
    while (!failed && (name = strsep(&rest, ","))) failed = add_side(k, name, e);
    free(copy);
    if (failed) return -1;
    if (k->sides_count < 2)
        return error_set(e, "--targets names one; to compare takes two or more, as in --targets raft,%s",
                         strcmp(k->sides[0].name, "epaxos") == 0 ? "multipaxos" : "epaxos");
    return 0;
}

/* --- runs --------------------------------------------------------------------------------------------------------- */

static const struct side *side_of(const struct compare *k, uint64_t index) {
    return &k->sides[index % k->sides_count];
}

static void measure(const struct run_result *r, const struct history *h, struct measured *out) {
    const char *names[REGIONS_MAX];
    uint8_t *region_of_client = xmalloc(r->clients);
    for (uint32_t i = 0; i < r->regions.count; i++) names[i] = r->regions.name[i];
    for (uint32_t i = 0; i < r->clients; i++) region_of_client[i] = (uint8_t)regions_of_process(&r->regions, i);
    struct measure_input in = {.history = h,
                               .main_ns = r->main_ns,
                               .clients = r->clients,
                               .messages = r->counters.messages,
                               .message_bytes = r->counters.message_bytes,
                               .syncs = r->counters.syncs,
                               .fast_commits = r->counters.fast_commits,
                               .slow_commits = r->counters.slow_commits,
                               .cpu_ns = r->counters.cpu_ns};
    if (r->regions.count) in.region_of_client = region_of_client;
    in.region_names = names;
    in.regions_count = r->regions.count;
    measure_run(&in, out);
    free(region_of_client);
}

static void work(void *ctx, uint64_t index, const volatile sig_atomic_t *interrupted, struct pool_report *out) {
    struct compare *k = ctx;
    struct run_options o = side_of(k, index)->options;
    struct run_result result;
    if (!k->runner) k->runner = runner_new();
    o.seed = k->seeds.first + index / k->sides_count;
    o.interrupted = interrupted;
    if (k->local && !k->store) {
        struct error e;
        k->store = cli_open_store(k->c, false, &e); /* without one the runner refuses, and says why */
    }
    o.store = k->store;
    o.report = k->local;
    if (!pool_run_keeping(k->runner, &o, out, &result)) return;
    measure(&result, runner_history(k->runner), &k->measured[index]);
    run_result_free(&result);
}

static void on_report(void *ctx, const struct pool_report *r) {
    struct compare *k = ctx;
    if (r->interrupted) return;
    k->reports[r->index] = *r;
    k->reported[r->index] = true;
    k->done++;
}

static void on_tick(void *ctx) {
    struct compare *k = ctx;
    uint64_t all = (uint64_t)k->sides_count * k->seeds_count;
    double gone = (double)(monotonic_ns() - k->line.start_wall_ns) / (double)NS_PER_S;
    progress_line_text(&k->line, "%llu of %llu runs, %.0f s left", (unsigned long long)k->done, (unsigned long long)all,
                       k->done ? gone / (double)k->done * (double)(all - k->done) : 0);
}

static int run_all(struct compare *k, struct error *e) {
    uint64_t all = (uint64_t)k->sides_count * k->seeds_count;
    struct pool p = {
        .jobs = k->local && !k->c->jobs ? 1 : cli_jobs(k->c), /* one real cluster keeps a machine busy */
        .count = all,
        .work = work,
        .on_report = on_report,
        .on_tick = on_tick,
        .ctx = k,
    };
    k->reports = xcalloc(all, sizeof *k->reports);
    k->reported = xcalloc(all, sizeof *k->reported);
    void *memory = mmap(NULL, all * sizeof *k->measured, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return error_set(e, "no shared memory for the figures: %s", strerror(errno));
    k->measured = memory;
    progress_line_start(&k->line, k->c);
    cli_catch_interrupts();
    int failed = pool_run(&p, e);
    progress_line_clear(&k->line);
    return failed;
}

/* --- put side by side --------------------------------------------------------------------------------------------- */

static void take_run(struct compare *k, struct side *s, uint32_t number) {
    struct compared_target *t = &k->targets[s - k->sides];
    uint64_t index = (uint64_t)number * k->sides_count + (uint64_t)(s - k->sides);
    const struct pool_report *r = &k->reports[index];
    struct compared_run *run = &s->runs[number];
    struct run_options o = s->options;
    struct buffer replay = {0};
    o.seed = k->seeds.first + number;
    run_replay_command(&o, &replay);
    run->seed = o.seed;
    run->replay = s->texts[number] = (char *)replay.data;
    run->why = k->reported[index] ? r->why : "it was not run to its end";
    run->done = k->reported[index] && !r->refused && !r->crashed;
    run->verdict = run->done ? r->verdict : VERDICT_UNKNOWN;
    run->measured = &k->measured[index];
    if (!run->done)
        t->broken++;
    else if (run->verdict == VERDICT_VALID)
        t->valid++;
    else if (run->verdict == VERDICT_INVALID)
        t->invalid++;
    else
        t->unknown++;
}

static char *doc_of(const struct compare *k) {
    const struct run_options *o = &k->sides[0].options;
    struct script_options so = {.seed = o->seed, .sets = o->sets, .sets_count = o->sets_count};
    struct error ignored;
    struct script *s = script_load(o->scenario_name, o->scenario_text, &so, &ignored);
    char *doc = xstrdup(s && script_scenario(s)->doc ? script_scenario(s)->doc : "");
    script_free(s);
    return doc;
}

static void put_together(struct compare *k) {
    for (uint32_t i = 0; i < k->sides_count; i++) {
        struct side *s = &k->sides[i];
        s->runs = xcalloc(k->seeds_count, sizeof *s->runs);
        s->texts = xcalloc(k->seeds_count, sizeof *s->texts);
        k->targets[i] = (struct compared_target){.name = s->name, .runs = s->runs, .runs_count = k->seeds_count};
        for (uint32_t n = 0; n < k->seeds_count; n++) take_run(k, s, n);
    }
    run_compare_command(&k->sides[0].options, k->c->targets, k->seeds.last, &k->command);
    k->comparison = (struct comparison){.scenario = k->source.name,
                                        .doc = doc_of(k),
                                        .world = k->sides[0].options.world,
                                        .command = (const char *)k->command.data,
                                        .virtual_time = !k->local,
                                        .targets = k->targets,
                                        .targets_count = k->sides_count};
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

static json_t *row_json(const struct compare_row *row) {
    return json_pack("{s:s, s:o?, s:o?, s:s}", "metric", row->metric, "operation",
                     *row->operation ? json_text(row->operation) : NULL, "region",
                     *row->region ? json_text(row->region) : NULL, "unit", row->unit);
}

static json_t *spread_json(const struct compare_row *row, const struct compared_target *t) {
    struct spread s = compare_spread(row, t);
    json_t *o = row_json(row);
    json_object_set_new(o, "runs", json_integer(s.count));
    if (s.count == 0) return o;
    json_object_set_new(o, "median", json_real(s.median));
    json_object_set_new(o, "min", json_real(s.min));
    json_object_set_new(o, "q1", json_real(s.q1));
    json_object_set_new(o, "q3", json_real(s.q3));
    json_object_set_new(o, "max", json_real(s.max));
    return o;
}

static json_t *time_json(uint64_t ns) {
    return ns == MEASURE_NEVER ? json_null() : json_real((double)ns / (double)NS_PER_MS);
}

static json_t *faults_json(const struct measured *m) {
    json_t *array = json_array();
    for (uint32_t i = 0; i < m->faults_count; i++) {
        const struct fault_time *f = &m->faults[i];
        json_array_append_new(array, json_pack("{s:o, s:f, s:f, s:o, s:o}", "name", json_text(f->name), "start_ms",
                                               (double)f->start_ns / (double)NS_PER_MS, "end_ms",
                                               (double)f->end_ns / (double)NS_PER_MS, "failover_ms",
                                               time_json(f->failover_ns), "recovery_ms", time_json(f->recovery_ns)));
    }
    return array;
}

static json_t *run_json(const struct compared_run *run, const struct pool_report *r, const struct compare_row *rows,
                        uint32_t count) {
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)r->trace_hash);
    json_t *o = json_pack("{s:I, s:s, s:o, s:o}", "seed", (json_int_t)run->seed, "verdict",
                          run->done ? verdict_name(run->verdict) : "none", "why", json_text(run->why), "replay",
                          json_text(run->replay));
    if (!run->done) return o;
    json_t *figures = json_array();
    for (uint32_t i = 0; i < count; i++) {
        double value = compare_value(&rows[i], run->measured);
        if (isnan(value)) continue;
        json_t *figure = row_json(&rows[i]);
        json_object_set_new(figure, "value", json_real(value));
        json_array_append_new(figures, figure);
    }
    json_object_set_new(o, "trace_hash", json_string(hash));
    if (*r->run) json_object_set_new(o, "run", json_text(r->run));
    json_object_set_new(o, "committed", json_integer((json_int_t)run->measured->committed));
    json_object_set_new(o, "main_seconds", json_real((double)run->measured->main_ns / (double)NS_PER_S));
    json_object_set_new(o, "figures", figures);
    json_object_set_new(o, "faults", faults_json(run->measured));
    return o;
}

static json_t *target_json(const struct compare *k, uint32_t number, const struct compare_row *rows, uint32_t count) {
    const struct compared_target *t = &k->targets[number];
    const struct side *s = &k->sides[number];
    json_t *figures = json_array(), *runs = json_array();
    for (uint32_t i = 0; i < count; i++) json_array_append_new(figures, spread_json(&rows[i], t));
    for (uint32_t i = 0; i < t->runs_count; i++)
        json_array_append_new(runs,
                              run_json(&t->runs[i], &k->reports[(uint64_t)i * k->sides_count + number], rows, count));
    return json_pack("{s:o, s:o, s:o?, s:{s:i, s:i, s:i, s:i}, s:o, s:o}", "name", json_text(t->name), "target",
                     json_text(s->target), "mutant", *s->mutant ? json_text(s->mutant) : NULL, "verdicts", "valid",
                     t->valid, "invalid", t->invalid, "unknown", t->unknown, "none", t->broken, "figures", figures,
                     "runs", runs);
}

static bool all_valid(const struct compare *k) {
    uint32_t valid = 0;
    for (uint32_t i = 0; i < k->sides_count; i++) valid += k->targets[i].valid;
    return valid == k->sides_count * k->seeds_count;
}

static json_t *compare_json(const struct compare *k) {
    uint32_t count = 0;
    struct compare_row *rows = compare_rows(&k->comparison, &count);
    json_t *targets = json_array();
    for (uint32_t i = 0; i < k->sides_count; i++) json_array_append_new(targets, target_json(k, i, rows, count));
    free(rows);
    return json_pack("{s:o, s:s, s:[I, I], s:b, s:b, s:f, s:o, s:o}", "scenario", json_text(k->source.name), "world",
                     k->comparison.world, "seeds", (json_int_t)k->seeds.first, (json_int_t)k->seeds.last, "all_valid",
                     all_valid(k), "interrupted", (int)cli_interrupted, "availability_window_ms",
                     (double)MEASURE_WINDOW_NS / (double)NS_PER_MS, "again", json_text(k->comparison.command),
                     "targets", targets);
}

/* --- the folder --------------------------------------------------------------------------------------------------- */

/* Says before the runs, not after them, that nothing could be written. */
static int make_folder(const char *path, struct error *e) {
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return error_set(e, "cannot make the folder %s: %s; --out names one, in a folder that exists", path,
                         strerror(errno));
    char *probe = xformat("%s/compare.csv", path);
    bool exists = access(probe, F_OK) == 0;
    FILE *out = fopen(probe, "a");
    int failed = out ? 0 : error_set(e, "cannot write into the folder %s: %s", path, strerror(errno));
    if (out) fclose(out);
    if (out && !exists) unlink(probe);
    free(probe);
    return failed;
}

static int write_file(const char *folder, const char *name, const void *data, size_t size, struct error *e) {
    char *path = xformat("%s/%s", folder, name);
    FILE *out = fopen(path, "w");
    bool failed = !out || fwrite(data, 1, size, out) != size;
    int why = errno;
    if (out && fclose(out) && !failed) failed = true, why = errno;
    int rc = failed ? error_set(e, "cannot write %s: %s", path, strerror(why)) : 0;
    free(path);
    return rc;
}

static int write_folder(const struct compare *k, struct error *e) {
    const char *folder = k->c->out;
    struct buffer csv = {0};
    struct error warning = {{0}};
    json_t *root = compare_json(k);
    char *json = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    compare_print_csv(&k->comparison, &csv);
    int failed = write_file(folder, "compare.csv", csv.data, csv.size, e) ||
                 write_file(folder, "compare.json", json, strlen(json), e) ||
                 compare_write_page(&k->comparison, folder, &warning, e);
    if (*warning.text) fprintf(cli_say(k->c), "note     %s\n", warning.text);
    if (!failed) fprintf(cli_say(k->c), "page     %s/compare.html\n", folder);
    buffer_free(&csv);
    free(json);
    json_decref(root);
    return failed ? -1 : 0;
}

/* --- the outcome -------------------------------------------------------------------------------------------------- */

static void print_faulty(const struct compare *k, FILE *say) {
    uint32_t faulty = 0, shown = 0, all = k->sides_count * k->seeds_count;
    for (uint32_t i = 0; i < k->sides_count; i++) faulty += k->seeds_count - k->targets[i].valid;
    if (faulty == 0) return;
    fprintf(say, "\nNOT A FAIR COMPARISON: %u of %u runs are not valid, and figures of those do not compare.\n", faulty,
            all);
    for (uint32_t i = 0; i < k->sides_count; i++) {
        for (uint32_t n = 0; n < k->seeds_count; n++) {
            const struct compared_run *run = &k->targets[i].runs[n];
            if ((run->done && run->verdict == VERDICT_VALID) || shown == FAULTY_SHOWN_MAX) continue;
            shown++;
            fprintf(say, "  %s, seed %llu: %s: %s\n      %s\n", k->targets[i].name, (unsigned long long)run->seed,
                    run->done ? cli_verdict_text(run->verdict, say) : "no run", run->why, run->replay);
        }
    }
    if (shown < faulty) fprintf(say, "  and %u more\n", faulty - shown);
}

static int status_of(const struct compare *k) {
    int status = all_valid(k) ? EXIT_VALID : EXIT_INVALID;
    if (cli_interrupted) return EXIT_UNKNOWN;
    for (uint64_t i = 0; i < (uint64_t)k->sides_count * k->seeds_count; i++) {
        if (k->reports[i].crashed) return EXIT_INTERNAL;
        if (k->reports[i].refused) status = EXIT_USAGE;
    }
    return status;
}

static int finish(struct compare *k) {
    FILE *say = cli_say(k->c);
    struct buffer text = {0};
    struct error e = {{0}};
    int status = status_of(k);
    if (k->c->csv) {
        compare_print_csv(&k->comparison, &text);
        fwrite(text.data, 1, text.size, stdout);
    } else if (!k->c->json) {
        compare_print_table(&k->comparison, COLUMNS, &text);
        fwrite(text.data, 1, text.size, stdout);
    }
    print_faulty(k, say);
    if (cli_interrupted) fprintf(say, "interrupted\n");
    if (k->c->out && write_folder(k, &e)) status = cli_fail(EXIT_INTERNAL, k->c, &e);
    if (k->c->json) cli_print_json(compare_json(k));
    buffer_free(&text);
    return status;
}

static void print_head(const struct compare *k) {
    FILE *say = cli_say(k->c);
    if (k->c->quiet) return;
    fprintf(say, "%s in the %s world, seeds %llu..%llu", k->source.name, k->sides[0].options.world,
            (unsigned long long)k->seeds.first, (unsigned long long)k->seeds.last);
    for (size_t i = 0; i < k->sides[0].options.sets_count; i++)
        fprintf(say, "%s%s=%s", i ? " " : ", with ", k->sides[0].options.sets[i].key,
                k->sides[0].options.sets[i].value);
    fprintf(say, "\nmedian  least..greatest over the runs; availability in windows of %.1f s\n\n",
            (double)MEASURE_WINDOW_NS / (double)NS_PER_S);
    fflush(say);
}

static int set_up(struct compare *k, struct error *e) {
    struct cli *c = k->c;
    if (!c->targets) c->targets = c->target;
    if (!c->targets) return error_set(e, "say what to compare: --targets raft,multipaxos,epaxos");
    if (c->json && c->csv) return error_set(e, "--json and --csv both want standard output: give one of them");
    if (cli_source_load(&k->source, c->arguments[0], e)) return -1;
    k->local = c->world && strcmp(c->world, "local") == 0;
    if (add_sides(k, e)) return -1;
    uint64_t count = k->seeds.last - k->seeds.first;
    if (count >= RUNS_MAX / k->sides_count)
        return error_set(e, "--seeds: at most %u runs in all, so %u seeds of %u targets", RUNS_MAX,
                         RUNS_MAX / k->sides_count, k->sides_count);
    k->seeds_count = (uint32_t)count + 1;
    return c->out ? make_folder(c->out, e) : 0;
}

static void tear_down(struct compare *k) {
    for (uint32_t i = 0; i < k->sides_count; i++) {
        for (uint32_t n = 0; k->sides[i].texts && n < k->seeds_count; n++) free(k->sides[i].texts[n]);
        free(k->sides[i].texts);
        free(k->sides[i].runs);
        free(k->sides[i].name);
        free(k->sides[i].target);
    }
    if (k->measured) munmap(k->measured, (uint64_t)k->sides_count * k->seeds_count * sizeof *k->measured);
    free(k->reports);
    free(k->reported);
    free((void *)(uintptr_t)k->comparison.doc);
    buffer_free(&k->command);
    cli_source_free(&k->source);
    free(k);
}

int command_compare(struct cli *c) {
    struct error e = {{0}};
    struct compare *k = xcalloc(1, sizeof *k);
    int status = EXIT_USAGE;
    k->c = c;
    k->seeds = c->given & OPTION_BIT(OPTION_SEEDS) ? c->seeds : (struct seed_range){1, 5};
    if (set_up(k, &e)) {
        cli_fail(status, c, &e);
    } else {
        print_head(k);
        if (run_all(k, &e)) {
            status = cli_fail(EXIT_INTERNAL, c, &e);
        } else {
            put_together(k);
            status = finish(k);
        }
    }
    tear_down(k);
    return status;
}
