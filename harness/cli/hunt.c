/* harrow hunt: many seeds over several processes. In the simulator the lowest failing seed is run again with the store,
 * so that there is a report to open, then made smaller, and can be written out as a scenario that pins it. In the local
 * world a seed decides only what the faults are: every run is stored, and the failing one is what there is. */
#include "harness/cli/cli.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

#define FAILURES_MAX 1000u /* listed with --keep-going; the rest is counted */

struct hunt {
    struct cli *c;
    struct source source;
    struct script_set sets[2 * SETS_MAX];
    struct run_options options;
    struct seed_range seeds;
    struct runner *runner; /* of a worker, */
    struct store *store;   /* and its store, in the local world */
    bool local;
    struct progress_line line;
    struct pool_report *failures;
    size_t failures_count;
    uint64_t failed, run, unknown, first_unknown, events, ops_ok;
    char unknown_why[256];
    double wall_seconds;
};

/* --- running the seeds --- */

static void work(void *ctx, uint64_t index, const volatile sig_atomic_t *interrupted, struct pool_report *out) {
    struct hunt *h = ctx;
    if (!h->runner) h->runner = runner_new();
    struct run_options o = h->options;
    o.seed = h->seeds.first + index;
    o.interrupted = interrupted;
    if (h->local && !h->store) {
        struct error e;
        h->store = cli_open_store(h->c, false, &e); /* without one the runner refuses, and says why */
    }
    o.store = h->store;
    o.report = h->local && !h->c->no_report;
    pool_run_scenario(h->runner, &o, out);
}

static void note_failure(struct hunt *h, const struct pool_report *r) {
    h->failed++;
    if (h->failures_count == FAILURES_MAX) return;
    size_t at = h->failures_count++;
    h->failures = xrealloc(h->failures, h->failures_count * sizeof *h->failures);
    for (; at > 0 && h->failures[at - 1].index > r->index; at--) h->failures[at] = h->failures[at - 1];
    h->failures[at] = *r;
}

static void on_report(void *ctx, const struct pool_report *r) {
    struct hunt *h = ctx;
    if (r->interrupted) return;
    h->run++;
    h->events += r->events;
    h->ops_ok += r->ops_ok;
    if (pool_failed(r)) {
        note_failure(h, r);
    } else if (r->verdict == VERDICT_UNKNOWN) {
        if (!h->unknown++ || r->index < h->first_unknown) {
            h->first_unknown = r->index;
            snprintf(h->unknown_why, sizeof h->unknown_why, "%.255s", r->why);
        }
    }
}

static double gone_seconds(const struct hunt *h) {
    return (double)(monotonic_ns() - h->line.start_wall_ns) / (double)NS_PER_S;
}

static void on_tick(void *ctx) {
    struct hunt *h = ctx;
    double gone = gone_seconds(h);
    uint64_t count = h->seeds.last - h->seeds.first + 1;
    char left[48] = "";
    if (h->c->for_ns)
        snprintf(left, sizeof left, ", %.0f s left", (double)h->c->for_ns / (double)NS_PER_S - gone);
    else if (h->run)
        snprintf(left, sizeof left, ", %.0f s left", gone / (double)h->run * (double)(count - h->run));
    progress_line_text(&h->line, "%llu seeds, %.0f a minute, %llu failures%s", (unsigned long long)h->run,
                       (double)h->run / (gone > 0 ? gone : 1) * 60, (unsigned long long)h->failed, left);
}

static int run_seeds(struct hunt *h, struct error *e) {
    struct pool p = {
        .jobs = h->local && !h->c->jobs ? 1 : cli_jobs(h->c), /* one real cluster keeps a machine busy */
        .count = h->seeds.last - h->seeds.first + 1,
        .deadline_wall_ns = h->c->for_ns ? monotonic_ns() + h->c->for_ns : 0,
        .stop_at_failure = !h->c->keep_going,
        .work = work,
        .on_report = on_report,
        .on_tick = on_tick,
        .ctx = h,
    };
    progress_line_start(&h->line, h->c);
    cli_catch_interrupts();
    int failed = pool_run(&p, e);
    h->wall_seconds = gone_seconds(h);
    progress_line_clear(&h->line);
    return failed;
}

/* --- the first failure --- */

static const struct pool_report *first_failure(const struct hunt *h) {
    return h->failures_count ? &h->failures[0] : NULL;
}

/* Every event of the stored failure, beside its report. */
static void trace_failure(struct hunt *h, const struct run_options *o, const char *run) {
    char folder[4096];
    struct error e = {{0}};
    struct run_result result = {0};
    uint64_t lines = 0;
    if (store_run_folder(o->store, run, folder, sizeof folder, &e) == 0) {
        char *path = xformat("%s/trace.txt", folder);
        if (cli_trace(o, path, &lines, &result, &e) == 0)
            fprintf(cli_say(h->c), "traced   %s, %llu lines\n", path, (unsigned long long)lines);
        free(path);
    }
    if (*e.text) fprintf(stderr, "harrow hunt: no trace: %s\n", e.text);
    run_result_free(&result);
}

/* The same seed once more, now with the store: the run that the report shows. */
static int store_failure(struct hunt *h, struct run_result *result, struct error *e) {
    struct run_options o = h->options;
    o.seed = h->seeds.first + first_failure(h)->index;
    o.interrupted = NULL;
    o.report = !h->c->no_report;
    o.store = cli_open_store(h->c, false, e);
    if (!o.store) return -1;
    struct runner *r = runner_new();
    int status = runner_run(r, &o, result, e);
    runner_free(r);
    if (status == 0) {
        FILE *say = cli_say(h->c);
        if (result->trace_hash != first_failure(h)->trace_hash)
            fprintf(say,
                    "\nwarning: seed %llu did not repeat itself (trace %016llx, then %016llx); please report this\n",
                    (unsigned long long)o.seed, (unsigned long long)first_failure(h)->trace_hash,
                    (unsigned long long)result->trace_hash);
        fprintf(say, "\nseed %llu\n", (unsigned long long)o.seed);
        print_result(say, result, &o, h->c->quiet);
        if (*result->run_id) trace_failure(h, &o, result->run_id);
    }
    store_close(o.store);
    return status ? -1 : 0;
}

/* A run of the local world cannot be had again: what is stored is the failure itself. */
static int find_failure(struct hunt *h, struct run_result *result, struct error *e) {
    const struct pool_report *f = first_failure(h);
    struct run_options o = h->options;
    o.seed = h->seeds.first + f->index;
    struct store *s = cli_open_store(h->c, true, e);
    struct run_info info = {0};
    if (!s || !*f->run || store_find(s, f->run, &info, e)) {
        store_close(s);
        return *e->text ? -1 : error_set(e, "the failing run was not stored");
    }
    store_close(s);
    *result = (struct run_result){.verdict = f->verdict, .why = xstrdup(f->why)};
    snprintf(result->run_id, sizeof result->run_id, "%s", info.run);
    if (!h->c->no_report)
        snprintf(result->report_path, sizeof result->report_path, "%s/%s/report.html", h->c->out ? h->c->out : "store",
                 info.run);
    run_info_free(&info);
    FILE *say = cli_say(h->c);
    fprintf(say, "\nseed %llu\n", (unsigned long long)o.seed);
    print_result(say, result, &o, true);
    return 0;
}

static void print_crash(const struct hunt *h) {
    const struct pool_report *f = first_failure(h);
    struct run_options o = h->options;
    o.seed = h->seeds.first + f->index;
    struct buffer replay = {0};
    run_replay_command(&o, &replay);
    fprintf(cli_say(h->c), "\nseed %llu\nwhy      %s: %s\nreplay   %s\n", (unsigned long long)o.seed, f->check, f->why,
            (const char *)replay.data);
    buffer_free(&replay);
}

/* The original text below a line that pins what fails. */
static int write_scenario(const struct hunt *h, const struct run_options *o, struct error *e) {
    const char *path = h->c->write;
    for (size_t i = 0; i < o->sets_count; i++)
        if (strpbrk(o->sets[i].value, " \t\r\n"))
            return error_set(e, "%s is not written: a line cannot pin --set %s, whose value has a space", path,
                             o->sets[i].key);
    FILE *out = fopen(path, "w");
    if (!out) return error_set(e, "cannot write %s: %s", path, strerror(errno));
    const struct pool_report *f = first_failure(h);
    fprintf(out, "-- Found by harrow hunt%s%s: %s\n-- harrow: --target %s --seed %llu",
            *o->mutant ? " with mutant " : "", o->mutant, f->check, o->target, (unsigned long long)o->seed);
    if (o->time_ns)
        fprintf(out, " --time %llu.%09llu", (unsigned long long)(o->time_ns / NS_PER_S),
                (unsigned long long)(o->time_ns % NS_PER_S));
    for (size_t i = 0; i < o->sets_count; i++) fprintf(out, " --set %s=%s", o->sets[i].key, o->sets[i].value);
    bool min_ops = false; /* shrunk, it may do too little to be judged: the pinned failure is what counts */
    for (size_t i = 0; i < o->sets_count; i++) min_ops |= strcmp(o->sets[i].key, "min_ops") == 0;
    if (!min_ops) fprintf(out, " --set min_ops=1");
    for (int k = 0; k < FAULT_KINDS; k++)
        if (o->without & (1u << k)) fprintf(out, " --without %s", fault_kind_name((enum fault_kind)k));
    fputc('\n', out);
    fwrite(o->scenario_text.data, 1, o->scenario_text.size, out);
    bool failed = ferror(out);
    if (fclose(out) || failed) return error_set(e, "cannot write %s: %s", path, strerror(errno));
    fprintf(cli_say(h->c), "written  %s\n", path);
    return 0;
}

static char *shrink_failure(struct hunt *h, struct error *e, int *failed) {
    struct run_options o = h->options;
    o.seed = h->seeds.first + first_failure(h)->index;
    struct shrunk s;
    shrink(&o, first_failure(h), &s);
    char *command = NULL;
    if (s.smaller) {
        struct buffer text = {0};
        run_replay_command(&s.options, &text);
        command = (char *)text.data;
        fprintf(cli_say(h->c), "shrunk   %s\n", command);
    }
    if (h->c->write) *failed = write_scenario(h, &s.options, e);
    shrunk_free(&s);
    return command;
}

/* --- the outcome --- */

static enum verdict verdict_of(const struct hunt *h) {
    if (h->failed) return first_failure(h)->verdict == VERDICT_INVALID ? VERDICT_INVALID : VERDICT_UNKNOWN;
    return h->unknown || h->run == 0 || cli_interrupted ? VERDICT_UNKNOWN : VERDICT_VALID;
}

static int status_of(const struct hunt *h) {
    for (size_t i = 0; i < h->failures_count; i++)
        if (h->failures[i].verdict == VERDICT_INVALID) return EXIT_INVALID;
    if (h->failed) return first_failure(h)->crashed ? EXIT_INTERNAL : EXIT_USAGE;
    return cli_verdict_status(verdict_of(h));
}

static void print_summary(const struct hunt *h) {
    FILE *say = cli_say(h->c);
    double minutes = h->wall_seconds / 60;
    fprintf(say, "%llu seeds from %llu in %.1f s: %.0f a minute, %.0f events/s, %llu operations ok\n",
            (unsigned long long)h->run, (unsigned long long)h->seeds.first, h->wall_seconds,
            minutes > 0 ? (double)h->run / minutes : 0, h->wall_seconds > 0 ? (double)h->events / h->wall_seconds : 0,
            (unsigned long long)h->ops_ok);
    if (cli_interrupted) fprintf(say, "interrupted\n");
    if (h->failed > 1) {
        fprintf(say, "%llu seeds fail:\n", (unsigned long long)h->failed);
        for (size_t i = 0; i < h->failures_count && i < 20; i++)
            fprintf(say, "  seed %llu: %s\n", (unsigned long long)(h->seeds.first + h->failures[i].index),
                    h->failures[i].why);
    }
    if (h->unknown)
        fprintf(say, "%llu seeds are unknown, the first is %llu: %s\n", (unsigned long long)h->unknown,
                (unsigned long long)(h->seeds.first + h->first_unknown), h->unknown_why);
    if (!h->failed) fprintf(say, "verdict  %s%s\n", cli_verdict_text(verdict_of(h), say), ": no seed fails");
}

static json_t *failures_json(const struct hunt *h) {
    json_t *array = json_array();
    for (size_t i = 0; i < h->failures_count; i++) {
        const struct pool_report *f = &h->failures[i];
        struct run_options o = h->options;
        o.seed = h->seeds.first + f->index;
        struct buffer replay = {0};
        run_replay_command(&o, &replay);
        json_array_append_new(array, json_pack("{s:I, s:o, s:o, s:s}", "seed", (json_int_t)o.seed, "check",
                                               json_text(f->check), "why", json_text(f->why), "replay",
                                               (const char *)replay.data));
        buffer_free(&replay);
    }
    return array;
}

static void print_json(const struct hunt *h, const struct run_result *stored, const char *shrunk) {
    const struct pool_report *f = first_failure(h);
    json_t *root = json_object();
    json_object_set_new(root, "scenario", json_text(h->options.scenario_name));
    json_object_set_new(root, "target", json_text(h->options.target));
    json_object_set_new(root, "mutant", *h->options.mutant ? json_text(h->options.mutant) : json_null());
    json_object_set_new(root, "verdict", json_text(verdict_name(verdict_of(h))));
    json_object_set_new(root, "seeds_run", json_integer((json_int_t)h->run));
    json_object_set_new(root, "seeds_unknown", json_integer((json_int_t)h->unknown));
    json_object_set_new(root, "seeds_failed", json_integer((json_int_t)h->failed));
    json_object_set_new(root, "failures", failures_json(h));
    json_object_set_new(root, "first_failure_seed",
                        f ? json_integer((json_int_t)(h->seeds.first + f->index)) : json_null());
    json_object_set_new(root, "wall_seconds", json_real(h->wall_seconds));
    json_object_set_new(root, "events", json_integer((json_int_t)h->events));
    json_object_set_new(root, "schedules_per_minute",
                        json_real(h->wall_seconds > 0 ? (double)h->run / h->wall_seconds * 60 : 0));
    json_object_set_new(root, "interrupted", json_boolean(cli_interrupted));
    json_object_set_new(root, "run", stored && *stored->run_id ? json_text(stored->run_id) : json_null());
    json_object_set_new(root, "report", stored && *stored->report_path ? json_text(stored->report_path) : json_null());
    json_object_set_new(root, "shrunk", shrunk ? json_text(shrunk) : json_null());
    cli_print_json(root);
}

static int finish(struct hunt *h) {
    struct error e = {{0}};
    struct run_result stored = {0};
    char *shrunk = NULL;
    int status = status_of(h), failed = 0;
    const struct pool_report *f = first_failure(h);
    print_summary(h);
    if (f && (f->crashed || f->refused)) {
        print_crash(h);
        error_set(&e, "%s", f->why);
        cli_fail(status, h->c, &e);
    } else if (f) {
        failed = h->local ? find_failure(h, &stored, &e) : store_failure(h, &stored, &e);
        if (!cli_interrupted && !failed && !h->local) shrunk = shrink_failure(h, &e, &failed);
        if (failed) status = cli_fail(EXIT_INTERNAL, h->c, &e);
    }
    if (h->c->json) print_json(h, &stored, shrunk);
    free(shrunk);
    run_result_free(&stored);
    return status;
}

/* Says before the hunt, not after it, that its find could not be written. */
static int check_writable(const char *path, struct error *e) {
    bool exists = access(path, F_OK) == 0;
    FILE *out = fopen(path, "a");
    if (!out) return error_set(e, "cannot write %s: %s; name a file in a folder that exists", path, strerror(errno));
    fclose(out);
    if (!exists) unlink(path);
    return 0;
}

int command_hunt(struct cli *c) {
    struct error e = {{0}};
    struct hunt h = {.c = c, .seeds = {1, SEED_MAX - 1}};
    bool seeds = c->given & OPTION_BIT(OPTION_SEEDS), seed_known;
    if (!seeds && !c->for_ns) {
        error_set(&e, "say how much: --seeds A..B or --for SECONDS");
        return cli_fail(EXIT_USAGE, c, &e);
    }
    if (seeds) h.seeds = c->seeds;
    h.local = c->world && strcmp(c->world, "local") == 0;
    if (c->write && h.local)
        error_set(&e, "--write pins a seed that fails each time, and in real time none does; hunt in the sim world");
    else if (c->write)
        (void)check_writable(c->write, &e);
    if (*e.text) return cli_fail(EXIT_USAGE, c, &e);
    if (cli_source_load(&h.source, c->arguments[0], &e)) return cli_fail(EXIT_USAGE, c, &e);
    cli_source_options(&h.source, c, h.sets, &h.options, &seed_known);
    h.options.seed = h.seeds.first;
    int status = EXIT_USAGE;
    if (!c->quiet) {
        fprintf(cli_say(c), "seeds from %llu\n", (unsigned long long)h.seeds.first);
        print_header(cli_say(c), &h.options);
        fflush(cli_say(c));
    }
    if (cli_source_check(&h.options, NULL, NULL, &e)) {
        cli_fail(status, c, &e);
    } else if (cli_place(&h.options, &e)) {
        cli_fail(status, c, &e);
    } else if (run_seeds(&h, &e)) {
        status = cli_fail(EXIT_INTERNAL, c, &e);
    } else {
        status = finish(&h);
    }
    free(h.failures);
    cli_source_free(&h.source);
    return status;
}
