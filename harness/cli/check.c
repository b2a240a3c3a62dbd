/* harrow check: judges a history from a file of any format (history/import.h) or from the store. Counters and appends
 * have near-linear checks, all else is searched for a linearization. */
#include "harness/cli/cli.h"

#include <stdlib.h>
#include <unistd.h>

struct checked {
    struct history *history;
    char *name;           /* the file, or the run */
    struct run_info info; /* info.run is NULL for a file */
    struct import_result import;
};

static bool is_file(const char *argument) {
    return access(argument, F_OK) == 0;
}

static int load_run(struct cli *c, struct checked *k, struct error *e) {
    struct error inner = {{0}};
    struct store *s = cli_open_store(c, true, &inner);
    if (!s) return error_set(e, "%s is neither a file nor a run of a store (%.400s)", c->arguments[0], inner.text);
    int failed = store_find(s, c->arguments[0], &k->info, e);
    if (!failed) failed = store_load(s, k->info.run, k->history, e);
    if (!failed) k->name = xstrdup(k->info.run);
    store_close(s);
    return failed;
}

static int load(struct cli *c, struct checked *k, struct error *e) {
    k->history = history_new();
    if (!is_file(c->arguments[0])) return load_run(c, k, e);
    if (history_import_file(c->arguments[0], c->format, k->history, &k->import, e)) return -1;
    k->name = xstrdup(c->arguments[0]);
    return 0;
}

static int judge(struct cli *c, const struct history *h, struct check_result *out, struct error *e) {
    const struct check_options o = {0};
    const char *name = c->model ? c->model : run_model_for(h);
    if (!name) return error_set(e, "no model covers every operation in it; choose one with --model (harrow models)");
    const struct model *m = model_find(name);
    if (strcmp(name, "append") == 0 || (!c->model && strcmp(name, "list") == 0))
        check_append(h, &o, out);
    else if (strcmp(name, "counter") == 0)
        check_counter(h, &o, out);
    else if (m)
        check_linearizable(h, m, &o, out);
    else
        return error_set(e, "there is no model \"%s\"; `harrow models` lists them", name);
    return 0;
}

static void print_json(const struct checked *k, const struct check_result *r) {
    json_t *ops = json_array();
    for (uint32_t i = 0; i < r->ops_count; i++) json_array_append_new(ops, json_integer(r->ops[i]));
    cli_print_json(json_pack("{s:o, s:o, s:s, s:o, s:o, s:I, s:b, s:o, s:s}", "history", json_text(k->name), "check",
                             json_text(r->name), "verdict", verdict_name(r->verdict), "detail", json_text(r->detail),
                             "explanation", json_text(r->explanation), "operations", (json_int_t)k->history->count,
                             "cut_short", k->import.cut_short, "ops", ops, "format",
                             k->info.run ? "store" : history_format_name(k->import.format)));
}

static void print_text(struct cli *c, const struct checked *k, const struct check_result *r) {
    FILE *say = cli_say(c);
    if (!c->quiet) {
        fprintf(say, "%s: %u operations%s\n", k->name, k->history->count,
                k->import.cut_short ? "; its last line is cut short and was left out" : "");
        if (k->import.order_lost)
            fprintf(say, "note: %llu events have the time of the one before; equal times count as concurrent\n",
                    (unsigned long long)k->import.order_lost);
        if (k->info.run && strcmp(k->info.state, "done") != 0)
            fprintf(say, "the run is %s: what was recorded of it is checked\n", k->info.state);
        if (r->explanation && *r->explanation) fprintf(say, "%s\n", r->explanation);
    }
    fprintf(say, "verdict  %s\nwhy      %s: %s\n", cli_verdict_text(r->verdict, say), r->name, r->detail);
}

int command_check(struct cli *c) {
    struct error e = {{0}};
    struct checked k = {0};
    struct check_result r = {0};
    int status = EXIT_USAGE;
    if (load(c, &k, &e) || judge(c, k.history, &r, &e)) {
        cli_fail(status, c, &e);
    } else {
        status = cli_verdict_status(r.verdict);
        print_text(c, &k, &r);
        if (c->json) print_json(&k, &r);
        check_result_free(&r);
    }
    history_free(k.history);
    run_info_free(&k.info);
    free(k.name);
    return status;
}
