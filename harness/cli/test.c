/* harrow test: scenarios as a regression suite. Every scenario runs with every seed over several processes; one line a
 * scenario, and how to replay what failed. A scenario that pins its seed (hunt --write) runs with that one only. */
#include "harness/cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "harness/embedded.h"
#include "reports/reports.h"

#define FAILURES_SHOWN_MAX 3u

struct entry { /* a scenario and how it fares */
    struct source source;
    struct script_set sets[2 * SETS_MAX];
    struct run_options options;
    struct seed_range seeds;
    uint64_t first_index; /* of the pool */
    uint64_t valid, invalid, unknown, broken, done;
    uint64_t ops_ok, ops_ok_min;
    double seconds;
    struct pool_report worst[FAILURES_SHOWN_MAX]; /* not valid, lowest seeds first */
    uint32_t worst_count;
    bool printed;
};
struct suite {
    struct cli *c;
    struct entry *entries;
    size_t count;
    uint64_t total, done;
    struct runner *runner; /* of a worker, and its store: runs of the local world are kept */
    struct store *store;
    struct progress_line line;
};

/* --- what to run --- */

struct names {
    char **items;
    size_t count;
};

static void add_name(struct names *n, char *owned) {
    n->items = xrealloc(n->items, (n->count + 1) * sizeof *n->items);
    n->items[n->count++] = owned;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

static void add_shipped(struct names *n) {
    for (size_t i = 0; i < embedded_files_count; i++)
        if (strncmp(embedded_files[i].name, "scenarios/", 10) == 0) add_name(n, xstrdup(embedded_files[i].name));
}

static int add_folder(struct names *n, const char *path, struct error *e) {
    DIR *dir = opendir(path);
    if (!dir) return error_set(e, "cannot read the folder %s: %s", path, strerror(errno));
    size_t first = n->count, size = strlen(path);
    while (size > 1 && path[size - 1] == '/') size--;
    for (struct dirent *d = readdir(dir); d; d = readdir(dir))
        if (d->d_name[0] != '.' && ends_with(d->d_name, ".lua"))
            add_name(n, xformat("%.*s/%s", (int)size, path, d->d_name));
    closedir(dir);
    if (n->count == first) return error_set(e, "there is no scenario (*.lua) in the folder %s", path);
    qsort(n->items + first, n->count - first, sizeof *n->items, by_name);
    return 0;
}

static int add_argument(struct names *n, const char *argument, struct error *e) {
    struct stat st;
    bool there = stat(argument, &st) == 0;
    if (there && S_ISDIR(st.st_mode)) return add_folder(n, argument, e);
    bool shipped = strcmp(argument, "scenarios") == 0 || strcmp(argument, "scenarios/") == 0;
    if (!there && shipped)
        add_shipped(n);
    else
        add_name(n, xstrdup(argument));
    return 0;
}

static int load_entry(struct suite *s, const char *name, struct error *e) {
    struct entry *t = &s->entries[s->count];
    bool seed_known;
    *t = (struct entry){0};
    if (cli_source_load(&t->source, name, e)) return -1;
    s->count++;
    cli_source_options(&t->source, s->c, t->sets, &t->options, &seed_known);
    t->seeds = s->c->given & OPTION_BIT(OPTION_SEEDS) ? s->c->seeds : (struct seed_range){1, 3};
    if (seed_known) t->seeds = (struct seed_range){t->options.seed, t->options.seed};
    if (t->seeds.last - t->seeds.first >= UINT64_C(1000000000))
        return error_set(e, "--seeds: a suite needs an end, of at most a billion seeds: --seeds 1..300");
    t->options.seed = t->seeds.first;
    t->first_index = s->total;
    t->ops_ok_min = UINT64_MAX;
    s->total += t->seeds.last - t->seeds.first + 1;
    return cli_source_check(&t->options, NULL, NULL, e);
}

static int load_suite(struct suite *s, struct error *e) {
    struct names n = {0};
    int failed = 0;
    for (size_t i = 0; i < s->c->arguments_count && !failed; i++) failed = add_argument(&n, s->c->arguments[i], e);
    if (s->c->arguments_count == 0) add_shipped(&n);
    if (!failed && n.count == 0) failed = error_set(e, "there is nothing to test: this build ships no scenario");
    s->entries = xcalloc(n.count ? n.count : 1, sizeof *s->entries);
    for (size_t i = 0; i < n.count && !failed; i++) failed = load_entry(s, n.items[i], e);
    for (size_t i = 0; i < n.count; i++) free(n.items[i]);
    free(n.items);
    return failed;
}

/* --- running it --- */

static struct entry *entry_of(struct suite *s, uint64_t index) {
    size_t low = 0, high = s->count;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (s->entries[middle].first_index <= index)
            low = middle;
        else
            high = middle;
    }
    return &s->entries[low];
}

static uint64_t seed_of(const struct entry *t, uint64_t index) {
    return t->seeds.first + (index - t->first_index);
}

static bool is_local(const struct entry *t) {
    return strcmp(t->options.world, "local") == 0;
}

static void work(void *ctx, uint64_t index, const volatile sig_atomic_t *interrupted, struct pool_report *out) {
    struct suite *s = ctx;
    const struct entry *t = entry_of(s, index);
    if (!s->runner) s->runner = runner_new();
    if (is_local(t) && !s->store) {
        struct error e;
        s->store = cli_open_store(s->c, false, &e); /* without one the runner refuses, and says why */
    }
    struct run_options o = t->options;
    o.seed = seed_of(t, index);
    o.interrupted = interrupted;
    o.store = s->store;
    pool_run_scenario(s->runner, &o, out);
}

/* Broken before invalid before unknown, then the lower seed. */
static int rank(const struct pool_report *r) {
    return r->crashed || r->refused ? 0 : r->verdict == VERDICT_INVALID ? 1 : 2;
}

static void keep_worst(struct entry *t, const struct pool_report *r) {
    uint32_t at = 0;
    while (at < t->worst_count &&
           (rank(&t->worst[at]) < rank(r) || (rank(&t->worst[at]) == rank(r) && t->worst[at].index < r->index)))
        at++;
    if (at == FAILURES_SHOWN_MAX) return;
    if (t->worst_count < FAILURES_SHOWN_MAX) t->worst_count++;
    memmove(&t->worst[at + 1], &t->worst[at], (t->worst_count - at - 1) * sizeof *t->worst);
    t->worst[at] = *r;
}

static enum verdict entry_verdict(const struct entry *t) {
    if (t->invalid) return VERDICT_INVALID;
    uint64_t seeds = t->seeds.last - t->seeds.first + 1;
    return t->unknown || t->broken || t->done < seeds ? VERDICT_UNKNOWN : VERDICT_VALID;
}

static void print_worst(FILE *say, const struct entry *t) {
    for (uint32_t i = 0; i < t->worst_count; i++) {
        struct run_options o = t->options;
        o.seed = seed_of(t, t->worst[i].index);
        struct buffer replay = {0};
        run_replay_command(&o, &replay);
        fprintf(say, "    seed %llu  %s\n      %s\n", (unsigned long long)o.seed, t->worst[i].why,
                (const char *)replay.data);
        buffer_free(&replay);
    }
}

static void print_entry(struct suite *s, struct entry *t) {
    FILE *say = cli_say(s->c);
    t->printed = true;
    progress_line_clear(&s->line);
    fprintf(say, "%-36s %4llu seeds  %6llu ops  %6.1f s  %s", t->source.name, (unsigned long long)t->done,
            (unsigned long long)(t->done ? t->ops_ok / t->done : 0), t->seconds,
            cli_verdict_text(entry_verdict(t), say));
    if (entry_verdict(t) != VERDICT_VALID)
        fprintf(say, " (%llu invalid, %llu unknown, %llu broken)", (unsigned long long)t->invalid,
                (unsigned long long)t->unknown, (unsigned long long)t->broken);
    fputc('\n', say);
    print_worst(say, t);
    fflush(say);
}

static void on_report(void *ctx, const struct pool_report *r) {
    struct suite *s = ctx;
    struct entry *t = entry_of(s, r->index);
    if (r->interrupted) return;
    s->done++;
    t->done++;
    t->ops_ok += r->ops_ok;
    t->seconds += r->wall_seconds;
    if (r->ops_ok < t->ops_ok_min) t->ops_ok_min = r->ops_ok;
    if (r->crashed || r->refused)
        t->broken++;
    else if (r->verdict == VERDICT_INVALID)
        t->invalid++;
    else if (r->verdict == VERDICT_UNKNOWN)
        t->unknown++;
    else
        t->valid++;
    if (rank(r) < 2 || r->verdict != VERDICT_VALID) keep_worst(t, r);
    if (t->done == t->seeds.last - t->seeds.first + 1) print_entry(s, t);
}

static void on_tick(void *ctx) {
    struct suite *s = ctx;
    double gone = (double)(monotonic_ns() - s->line.start_wall_ns) / (double)NS_PER_S;
    double left = s->done ? gone / (double)s->done * (double)(s->total - s->done) : 0;
    progress_line_text(&s->line, "%llu of %llu runs, %.0f s left", (unsigned long long)s->done,
                       (unsigned long long)s->total, left);
}

/* --- the outcome --- */

static int write_junit(const struct suite *s, struct error *e) {
    struct junit_case *cases = xcalloc(s->count, sizeof *cases);
    char **owned = xcalloc(s->count * 2, sizeof *owned);
    for (size_t i = 0; i < s->count; i++) {
        const struct entry *t = &s->entries[i];
        cases[i] = (struct junit_case){"harrow", t->source.name, t->seconds, entry_verdict(t), "", NULL};
        owned[2 * i] = xformat("%llu seeds valid", (unsigned long long)t->valid);
        if (t->worst_count) {
            struct run_options o = t->options;
            o.seed = seed_of(t, t->worst[0].index);
            struct buffer replay = {0};
            run_replay_command(&o, &replay);
            free(owned[2 * i]);
            owned[2 * i] = xformat("seed %llu: %s", (unsigned long long)o.seed, t->worst[0].why);
            owned[2 * i + 1] = (char *)replay.data;
        }
        cases[i].detail = owned[2 * i];
        cases[i].output = owned[2 * i + 1];
    }
    int failed = report_junit(s->c->junit, "harrow", cases, s->count, e);
    for (size_t i = 0; i < s->count * 2; i++) free(owned[i]);
    free(owned);
    free(cases);
    return failed;
}

static void print_json(const struct suite *s, enum verdict verdict, double wall_seconds) {
    json_t *array = json_array();
    for (size_t i = 0; i < s->count; i++) {
        const struct entry *t = &s->entries[i];
        json_t *failures = json_array();
        for (uint32_t n = 0; n < t->worst_count; n++)
            json_array_append_new(failures,
                                  json_pack("{s:I, s:o, s:o}", "seed", (json_int_t)seed_of(t, t->worst[n].index),
                                            "check", json_text(t->worst[n].check), "why", json_text(t->worst[n].why)));
        json_array_append_new(
            array, json_pack("{s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:o}", "scenario",
                             json_text(t->source.name), "verdict", verdict_name(entry_verdict(t)), "seeds",
                             (json_int_t)t->done, "valid", (json_int_t)t->valid, "invalid", (json_int_t)t->invalid,
                             "unknown", (json_int_t)t->unknown, "broken", (json_int_t)t->broken, "ops_ok_min",
                             (json_int_t)(t->done ? t->ops_ok_min : 0), "seconds", t->seconds, "failures", failures));
    }
    cli_print_json(json_pack("{s:s, s:o, s:f}", "verdict", verdict_name(verdict), "scenarios", array, "wall_seconds",
                             wall_seconds));
}

static int finish(struct suite *s) {
    enum verdict verdict = VERDICT_VALID;
    uint64_t broken = 0;
    double wall = (double)(monotonic_ns() - s->line.start_wall_ns) / (double)NS_PER_S;
    for (size_t i = 0; i < s->count; i++) {
        struct entry *t = &s->entries[i];
        if (!t->printed) print_entry(s, t);
        verdict = verdict_merge(verdict, entry_verdict(t));
        broken += t->broken;
    }
    FILE *say = cli_say(s->c);
    fprintf(say, "%llu runs of %zu scenarios in %.1f s%s\nverdict  %s\n", (unsigned long long)s->done, s->count, wall,
            cli_interrupted ? ", interrupted" : "", cli_verdict_text(verdict, say));
    int status = verdict == VERDICT_UNKNOWN && broken ? EXIT_INTERNAL : cli_verdict_status(verdict);
    struct error e = {{0}};
    if (s->c->junit && write_junit(s, &e)) status = cli_fail(EXIT_INTERNAL, s->c, &e);
    if (s->c->json) print_json(s, verdict, wall);
    return status;
}

/* A run of the local world keeps the machine busy by itself. */
static int place_suite(struct suite *s, struct error *e) {
    for (size_t i = 0; i < s->count; i++) {
        if (cli_place(&s->entries[i].options, e)) return -1;
        if (is_local(&s->entries[i]) && s->c->jobs == 0) s->c->jobs = 1;
    }
    return 0;
}

int command_test(struct cli *c) {
    struct error e = {{0}};
    struct suite s = {.c = c};
    int status = EXIT_USAGE;
    if (load_suite(&s, &e) || place_suite(&s, &e)) {
        cli_fail(status, c, &e);
    } else {
        struct pool p = {
            .jobs = cli_jobs(c), .count = s.total, .work = work, .on_report = on_report, .on_tick = on_tick, .ctx = &s};
        progress_line_start(&s.line, c);
        cli_catch_interrupts();
        int failed = pool_run(&p, &e);
        progress_line_clear(&s.line);
        status = failed ? cli_fail(EXIT_INTERNAL, c, &e) : finish(&s);
    }
    for (size_t i = 0; i < s.count; i++) cli_source_free(&s.entries[i].source);
    free(s.entries);
    return status;
}
