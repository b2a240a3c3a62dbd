/* harrow mutants: the planted bugs, and with --hunt what finds each of them: its scenario is hunted twice, with the
 * online invariants and by what clients and nodes show alone. The lowest failing seed does not depend on the machine;
 * the seconds do, so the table tells its date and machine. */
#include "harness/cli/cli.h"

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

#define HUNT_DEFAULT_NS (60 * NS_PER_S)

struct found { /* what a hunt of one mutant came to */
    bool caught, crashed;
    uint64_t seed, seeds_run;
    double wall_seconds;
    char by[64], why[900];
};
struct mutant_hunt {
    struct run_options options;
    struct script_set sets[2 * SETS_MAX];
    struct runner *runner; /* of a worker */
    struct pool_report first;
    struct found *out;
};

static void work(void *ctx, uint64_t index, const volatile sig_atomic_t *interrupted, struct pool_report *out) {
    struct mutant_hunt *h = ctx;
    if (!h->runner) h->runner = runner_new();
    struct run_options o = h->options;
    o.seed = 1 + index;
    o.interrupted = interrupted;
    pool_run_scenario(h->runner, &o, out);
}

static void on_report(void *ctx, const struct pool_report *r) {
    struct mutant_hunt *h = ctx;
    if (r->interrupted) return;
    h->out->seeds_run++;
    if (!pool_failed(r) || (h->out->caught && h->first.index < r->index)) return;
    h->out->caught = true;
    h->first = *r;
}

/* "invariants: one vote a term: n4 ..." is caught by "one vote a term"; any other check by its name. */
static void caught_by(const struct pool_report *r, char *out, size_t size) {
    static const char invariants[] = "invariants";
    const char *name = r->check;
    size_t length = strlen(name);
    if (strcmp(name, invariants) == 0 && strncmp(r->why, invariants, sizeof invariants - 1) == 0) {
        name = r->why + sizeof invariants - 1;
        name += strspn(name, ": ");
        length = strcspn(name, ":");
    }
    snprintf(out, size, "%.*s", (int)length, name);
}

static int hunt_one(struct cli *c, const struct mutant_info *m, bool alone, struct found *out, struct error *e) {
    struct source source;
    struct mutant_hunt h = {.out = out};
    struct cli one = *c;
    bool seed_known;
    *out = (struct found){0};
    one.mutant = m->id;
    one.no_invariants = alone;
    if (cli_source_load(&source, m->scenario, e)) return -1;
    cli_source_options(&source, &one, h.sets, &h.options, &seed_known);
    uint64_t start_ns = monotonic_ns();
    struct pool p = {.jobs = cli_jobs(c),
                     .count = SEED_MAX - 1,
                     .deadline_wall_ns = start_ns + (c->for_ns ? c->for_ns : HUNT_DEFAULT_NS),
                     .stop_at_failure = true,
                     .work = work,
                     .on_report = on_report,
                     .ctx = &h};
    int failed = pool_run(&p, e);
    out->wall_seconds = (double)(monotonic_ns() - start_ns) / (double)NS_PER_S;
    cli_source_free(&source);
    if (failed || !out->caught) return failed;
    out->crashed = h.first.crashed || h.first.refused;
    out->seed = 1 + h.first.index;
    caught_by(&h.first, out->by, sizeof out->by);
    snprintf(out->why, sizeof out->why, "%s", h.first.why);
    return out->crashed ? error_set(e, "%s, seed %llu: %s", m->id, (unsigned long long)out->seed, out->why) : 0;
}

/* --- what is shown --- */

static json_t *found_json(const struct found *f) {
    return json_pack("{s:o, s:I, s:f, s:o, s:o}", "seed", f->caught ? json_integer((json_int_t)f->seed) : json_null(),
                     "seeds_run", (json_int_t)f->seeds_run, "wall_seconds", f->wall_seconds, "by",
                     f->caught ? json_text(f->by) : json_null(), "why", f->caught ? json_text(f->why) : json_null());
}

static json_t *mutant_json(const struct mutant_info *m) {
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:s}", "id", m->id, "zoo", m->zoo, "protocol", m->protocol,
                     "scenario", m->scenario, "client_visible", m->client_visible, "doc", m->doc, "source", m->source);
}

static void found_text(const struct found *f, char *out, size_t size) {
    if (f->caught)
        snprintf(out, size, "seed %llu, %.1f s: %s", (unsigned long long)f->seed, f->wall_seconds, f->by);
    else
        snprintf(out, size, "not in %llu seeds, %.0f s", (unsigned long long)f->seeds_run, f->wall_seconds);
}

static void print_heading(const struct cli *c, const char *date, const char *machine, uint64_t for_ns) {
    FILE *say = cli_say(c);
    if (c->hunt) {
        fprintf(say, "%s, %s, %u workers, at most %.0f s each\n", date, machine, cli_jobs(c),
                (double)for_ns / (double)NS_PER_S);
        fprintf(say,
                c->markdown ? "\n| row | mutant | scenario | with invariants | without |\n|---|---|---|---|---|\n"
                            : "%-4s %-34s %-18s %-50s %s\n",
                "zoo", "id", "scenario", "with invariants", "without");
    } else if (c->markdown) {
        printf("| row | mutant | what it does | source |\n|---|---|---|---|\n");
    } else if (!c->json) {
        printf("%-34s %-4s %-18s %-8s %s\n", "id", "zoo", "scenario", "clients", "what it does");
    }
}

static void print_listed(const struct cli *c, const struct mutant_info *m) {
    if (c->markdown)
        printf("| %s | `%s` | %s | %s |\n", m->zoo, m->id, m->doc, m->source);
    else if (!c->json)
        printf("%-34s %-4s %-18s %-8s %s\n", m->id, m->zoo, m->scenario, m->client_visible ? "see it" : "-", m->doc);
}

static void print_hunted(const struct cli *c, const struct mutant_info *m, const struct found *with,
                         const struct found *without) {
    char a[160], b[160];
    FILE *say = cli_say(c);
    found_text(with, a, sizeof a);
    found_text(without, b, sizeof b);
    fprintf(say, c->markdown ? "| %s | `%s` | `%s` | %s | %s |\n" : "%-4s %-34s %-18s %-50s %s\n", m->zoo, m->id,
            m->scenario, a, b);
    fflush(say);
}

/* --- the command --- */

/* An argument is a mutant's id or a protocol; without any all are meant. */
static bool wanted(const struct cli *c, const struct mutant_info *m) {
    for (size_t i = 0; i < c->arguments_count; i++)
        if (strcmp(c->arguments[i], m->id) == 0 || strcmp(c->arguments[i], m->protocol) == 0) return true;
    return c->arguments_count == 0;
}

static int check_arguments(const struct cli *c, struct error *e) {
    for (size_t i = 0; i < c->arguments_count; i++) {
        bool known = false;
        for (const struct mutant_info *m = mutants_all(); m->id; m++)
            known = known || strcmp(c->arguments[i], m->id) == 0 || strcmp(c->arguments[i], m->protocol) == 0;
        if (!known)
            return error_set(e, "there is no mutant, nor a protocol with mutants, \"%s\"; `harrow mutants` lists them",
                             c->arguments[i]);
    }
    if (c->markdown && c->json) return error_set(e, "--markdown and --json exclude each other");
    if (c->for_ns && !c->hunt) return error_set(e, "--for says how long to hunt; it goes with --hunt");
    return 0;
}

static void list(struct cli *c) {
    json_t *array = json_array();
    print_heading(c, "", "", 0);
    for (const struct mutant_info *m = mutants_all(); m->id; m++) {
        if (!wanted(c, m)) continue;
        json_array_append_new(array, mutant_json(m));
        print_listed(c, m);
    }
    if (c->json)
        cli_print_json(array);
    else
        json_decref(array);
}

/* Valid when every mutant was caught by one of its two hunts. */
static int hunt_all(struct cli *c) {
    struct error e = {{0}};
    struct progress_line line;
    char machine[256], date[16];
    struct tm utc;
    time_t now = time(NULL);
    uint64_t for_ns = c->for_ns ? c->for_ns : HUNT_DEFAULT_NS;
    int status = EXIT_VALID;
    json_t *array = json_array();
    cli_machine(machine, sizeof machine);
    strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &utc));
    print_heading(c, date, machine, for_ns);
    progress_line_start(&line, c);
    cli_catch_interrupts();
    for (const struct mutant_info *m = mutants_all(); m->id && !cli_interrupted; m++) {
        struct found with, without;
        if (!wanted(c, m)) continue;
        progress_line_text(&line, "%s on %s", m->id, m->scenario);
        if (hunt_one(c, m, false, &with, &e) || hunt_one(c, m, true, &without, &e)) {
            progress_line_clear(&line);
            json_decref(array);
            return cli_fail(EXIT_INTERNAL, c, &e);
        }
        progress_line_clear(&line);
        if (cli_interrupted) break;
        if (!with.caught && !without.caught) status = EXIT_INVALID;
        print_hunted(c, m, &with, &without);
        json_t *row = mutant_json(m);
        json_object_set_new(row, "with_invariants", found_json(&with));
        json_object_set_new(row, "without_invariants", found_json(&without));
        json_array_append_new(array, row);
    }
    json_t *root = json_pack("{s:s, s:o, s:s, s:I, s:f, s:b, s:o}", "date", date, "machine", json_text(machine),
                             "version", HARROW_VERSION, "jobs", (json_int_t)cli_jobs(c), "seconds_each",
                             (double)for_ns / (double)NS_PER_S, "interrupted", cli_interrupted != 0, "mutants", array);
    if (c->json)
        cli_print_json(root);
    else
        json_decref(root);
    return cli_interrupted ? EXIT_UNKNOWN : status;
}

int command_mutants(struct cli *c) {
    struct error e = {{0}};
    if (check_arguments(c, &e)) return cli_fail(EXIT_USAGE, c, &e);
    if (c->hunt) return hunt_all(c);
    list(c);
    return EXIT_VALID;
}
