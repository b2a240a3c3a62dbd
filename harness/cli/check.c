/* harrow check: judges a history from a file of any format or from the store, through the library that others use, too
 * (checkers/harrow-check.h). */
#include "harness/cli/cli.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkers/harrow-check.h"
#include "reports/reports.h"

struct checked {
    harrow_history *history;
    char *name;           /* the file, or the run */
    const char *model;    /* that was asked for, or taken */
    struct run_info info; /* info.run is NULL for a file */
};

static bool is_file(const char *argument) {
    return access(argument, F_OK) == 0;
}

static int load_run(struct cli *c, struct checked *k, struct error *e) {
    struct error inner = {{0}};
    struct store *s = cli_open_store(c, true, &inner);
    if (!s) return error_set(e, "%s is neither a file nor a run of a store (%.400s)", c->arguments[0], inner.text);
    int failed = store_find(s, c->arguments[0], &k->info, e);
    if (!failed) failed = store_load(s, k->info.run, library_history(k->history), e);
    if (!failed) k->name = xstrdup(k->info.run);
    store_close(s);
    return failed;
}

/* The file, or the history in a folder of a test: as Jepsen leaves it, or harrow. NULL: there is none in it. */
static char *history_file(const char *path) {
    static const char *const names[] = {"history.edn", "history.jsonl", "history.txt"};
    struct stat about;
    if (stat(path, &about) || !S_ISDIR(about.st_mode)) return xstrdup(path);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct buffer file = {0};
        buffer_printf(&file, "%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", names[i]);
        buffer_append(&file, "", 1);
        if (is_file((const char *)file.data)) return (char *)file.data;
        buffer_free(&file);
    }
    return NULL;
}

static int load(struct cli *c, struct checked *k, struct error *e) {
    k->history = harrow_history_new();
    if (!is_file(c->arguments[0])) return load_run(c, k, e);
    k->name = history_file(c->arguments[0]);
    if (!k->name)
        return error_set(e, "the folder %s has no history.edn, history.jsonl or history.txt; name the file",
                         c->arguments[0]);
    const char *format = c->format == FORMAT_GUESS ? NULL : history_format_name(c->format);
    if (harrow_history_import_file(k->history, k->name, format))
        return error_set(e, "%s", harrow_history_error(k->history));
    return 0;
}

static bool is_lua(const char *model) {
    size_t size = model ? strlen(model) : 0;
    return size > 4 && strcmp(model + size - 4, ".lua") == 0;
}

/* By a model of the user's own. */
static harrow_result *judge_by_file(struct cli *c, struct checked *k, struct error *e) {
    const struct check_options o = {.verdict_only = c->no_explain};
    const char *path = k->model = c->model;
    struct check_result r;
    char *name = NULL;
    struct bytes text = {0};
    if (!is_file(path)) {
        error_set(e, "there is no file %s; --model takes a name of `harrow models`, or a model in Lua", path);
        return NULL;
    }
    if (script_find(path, &name, &text, e)) return NULL;
    struct script *s = script_load_model(name, text, e);
    if (s) script_check_model(s, 0, library_history(k->history), &o, &r);
    harrow_result *result = s ? library_result(&r) : NULL;
    script_free(s);
    free(name);
    free((void *)(uintptr_t)text.data);
    return result;
}

/* NULL with e set. */
static harrow_result *judge_by_name(struct cli *c, struct checked *k, struct error *e) {
    const harrow_options o = {
        .size = sizeof o, .consistency = c->consistency, .verdict_only = c->no_explain, .initial = c->initial};
    k->model = c->model ? c->model : harrow_check_guess(k->history, &o);
    harrow_result *r = harrow_check(k->history, k->model, &o);
    const char *remedy = c->model ? "`harrow models` says what there is"
                                  : "`harrow models` says which takes what; --model FILE.lua is one of your own";
    if (!r) error_set(e, "%s; %s", harrow_history_error(k->history), remedy);
    return r;
}

static harrow_result *judge(struct cli *c, struct checked *k, struct error *e) {
    harrow_result *r = is_lua(c->model) ? judge_by_file(c, k, e) : judge_by_name(c, k, e);
    if (!r || harrow_history_count(k->history) > 0) return r;
    harrow_result_free(r); /* an empty history agrees with every model, and that says nothing about a system */
    return library_result(&(struct check_result){.name = xstrdup("load"),
                                                 .verdict = VERDICT_UNKNOWN,
                                                 .detail = xstrdup("no operation is recorded: nothing to judge")});
}

static const char *format_of(const struct checked *k) {
    return k->info.run ? "store" : harrow_history_format(k->history);
}

static void print_json(const struct checked *k, const harrow_result *r) {
    json_t *list = json_array();
    const uint32_t *ops;
    size_t ops_count = harrow_result_operations(r, &ops);
    const char *explanation = *harrow_result_explanation(r) ? harrow_result_explanation(r) : NULL;
    for (size_t i = 0; i < ops_count; i++) json_array_append_new(list, json_integer(ops[i]));
    cli_print_json(json_pack("{s:o, s:o, s:o, s:s, s:o, s:o, s:I, s:b, s:o, s:s}", "history", json_text(k->name),
                             "model", json_text(k->model), "check", json_text(harrow_result_check(r)), "verdict",
                             harrow_verdict_name(harrow_result_verdict(r)), "detail",
                             json_text(harrow_result_detail(r)), "explanation", json_text(explanation), "operations",
                             (json_int_t)harrow_history_count(k->history), "cut_short",
                             harrow_history_cut_short(k->history), "ops", list, "format", format_of(k)));
}

/* What was taken for granted, and what else could have been. */
static void print_guess(const struct checked *k, FILE *say) {
    if (!k->model || harrow_history_count(k->history) == 0) return;
    fprintf(say, "guessed  format %s, model %s", format_of(k), k->model);
    bool others = false;
    for (size_t i = 0; harrow_check_name(i); i++) {
        if (!harrow_check_understands(k->history, i) || strcmp(harrow_check_name(i), k->model) == 0) continue;
        fprintf(say, "%s%s", others ? ", " : "; --model may also be ", harrow_check_name(i));
        others = true;
    }
    fprintf(say, "\n");
}

static void print_text(struct cli *c, const struct checked *k, const harrow_result *r) {
    FILE *say = cli_say(c);
    uint64_t order_lost = harrow_history_order_lost(k->history);
    if (!c->quiet) {
        fprintf(say, "%s: %u operations%s\n", k->name, harrow_history_count(k->history),
                harrow_history_cut_short(k->history) ? "; its last line is cut short and was left out" : "");
        if (!c->model) print_guess(k, say);
        if (order_lost)
            fprintf(say, "note: %llu events have the time of the one before; equal times count as concurrent\n",
                    (unsigned long long)order_lost);
        if (k->info.run && strcmp(k->info.state, "done") != 0)
            fprintf(say, "the run is %s: what was recorded of it is checked\n", k->info.state);
        if (*harrow_result_explanation(r)) fprintf(say, "%s\n", harrow_result_explanation(r));
    }
    enum verdict verdict = (enum verdict)harrow_result_verdict(r);
    fprintf(say, "verdict  %s\nwhy      %s: %s\n", cli_verdict_text(verdict, say), harrow_result_check(r),
            harrow_result_detail(r));
}

static int write_page(const char *path, const struct checked *k, const harrow_result *r, struct error *e) {
    return report_counterexample(path, k->name, library_history(k->history), library_result_inside(r), e);
}

int command_check(struct cli *c) {
    struct error e = {{0}};
    struct checked k = {0};
    harrow_result *r = NULL;
    int status = EXIT_USAGE;
    if (load(c, &k, &e) || !(r = judge(c, &k, &e))) {
        cli_fail(status, c, &e);
    } else {
        status = cli_verdict_status((enum verdict)harrow_result_verdict(r));
        print_text(c, &k, r);
        if (c->json) print_json(&k, r);
        if (c->html && write_page(c->html, &k, r, &e)) status = cli_fail(EXIT_INTERNAL, c, &e);
    }
    harrow_result_free(r);
    harrow_history_free(k.history);
    run_info_free(&k.info);
    free(k.name);
    return status;
}
