/* harrow run: one run, checked, stored and reported. */
#include "harness/cli/cli.h"

#include <stdlib.h>

static int run_and_print(struct cli *c, struct run_options *o) {
    struct error e = {{0}};
    struct progress_line line;
    FILE *say = cli_say(c);
    progress_line_start(&line, c);
    if (line.on) {
        o->progress = progress_line_run;
        o->progress_ctx = &line;
    }
    cli_catch_interrupts();
    struct runner *r = runner_new();
    struct run_result result;
    int status = runner_run(r, o, &result, &e);
    progress_line_clear(&line);
    if (status) {
        cli_fail(status, c, &e);
    } else {
        status = cli_verdict_status(result.verdict);
        print_result(say, &result, o, c->quiet);
        if (c->json) {
            struct buffer json = {0};
            run_result_json(&result, o, &json);
            printf("%.*s\n", (int)json.size, (const char *)json.data);
            buffer_free(&json);
        }
        run_result_free(&result);
    }
    runner_free(r);
    return status;
}

int command_run(struct cli *c) {
    struct error e = {{0}};
    struct source source;
    if (cli_source_load(&source, c->arguments[0], &e)) return cli_fail(EXIT_USAGE, c, &e);
    struct script_set sets[2 * SETS_MAX];
    struct run_options o;
    bool seed_known;
    cli_source_options(&source, c, sets, &o, &seed_known);
    if (!seed_known) o.seed = cli_random_seed();
    FILE *say = cli_say(c);
    fprintf(say, "seed %llu\n", (unsigned long long)o.seed);
    if (!c->quiet) print_header(say, &o);
    fflush(say);
    int status = EXIT_USAGE;
    if (cli_source_check(&o, NULL, NULL, &e)) { /* before a store is made for it */
        cli_fail(status, c, &e);
    } else if (cli_place(&o, &e)) {
        cli_fail(status, c, &e);
    } else if (!(o.store = cli_open_store(c, false, &e))) {
        cli_fail(EXIT_INTERNAL, c, &e);
        status = EXIT_INTERNAL;
    } else {
        o.report = !c->no_report;
        status = run_and_print(c, &o);
        store_close(o.store);
    }
    cli_source_free(&source);
    return status;
}
