/* harrow replay: a stored run once more, from what the store holds, with every event traced into the run's folder. The
 * same seed must give the same trace hash; when it does not, that is a bug of harrow's, and is said loudly. */
#include "harness/cli/cli.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>

struct trace {
    FILE *out;
    uint64_t lines;
};

static void trace_line(void *ctx, const char *line) {
    struct trace *t = ctx;
    t->lines++;
    fputs(line, t->out);
    fputc('\n', t->out);
}

static int compare(struct cli *c, const struct run_info *info, const struct run_result *result) {
    FILE *say = cli_say(c);
    if (strcmp(info->state, "done") != 0) {
        fprintf(say, "trace    %016llx; the stored run is %s, so there is nothing to compare it with\n",
                (unsigned long long)result->trace_hash, info->state);
        return 0;
    }
    if (info->trace_hash == result->trace_hash) {
        fprintf(say, "trace    %016llx, as stored: the same run\n", (unsigned long long)result->trace_hash);
        return 0;
    }
    fprintf(stderr,
            "harrow replay: THE REPLAY IS NOT THE SAME RUN. The trace is %016llx, stored is %016llx.\n"
            "Either this harrow is not the one that made the run, or its simulator is not deterministic (a bug).\n",
            (unsigned long long)result->trace_hash, (unsigned long long)info->trace_hash);
    return -1;
}

int cli_trace(const struct run_options *o, const char *path, uint64_t *lines, struct run_result *out, struct error *e) {
    struct trace t = {.out = fopen(path, "w")};
    if (!t.out) {
        error_set(e, "cannot write the trace %s: %s", path, strerror(errno));
        return EXIT_INTERNAL;
    }
    struct run_options traced = *o;
    traced.trace_line = trace_line;
    traced.trace_ctx = &t;
    traced.store = NULL;
    struct runner *r = runner_new();
    int status = runner_run(r, &traced, out, e);
    runner_free(r);
    bool failed = ferror(t.out);
    if (fclose(t.out) || failed) fprintf(stderr, "harrow: the trace %s is not complete\n", path);
    *lines = t.lines;
    return status;
}

static int run_again(struct cli *c, const struct run_info *info, struct run_options *o, const char *path,
                     struct error *e) {
    o->interrupted = &cli_interrupted;
    cli_catch_interrupts();
    FILE *say = cli_say(c);
    fprintf(say, "seed %llu\n", (unsigned long long)o->seed);
    if (!c->quiet) print_header(say, o);
    struct run_result result;
    uint64_t lines = 0;
    int status = cli_trace(o, path, &lines, &result, e);
    if (status) return cli_fail(status, c, e);
    print_result(say, &result, o, c->quiet);
    fprintf(say, "traced   %s, %llu lines\n", path, (unsigned long long)lines);
    status = cli_verdict_status(result.verdict);
    if (!cli_interrupted && compare(c, info, &result)) status = EXIT_INTERNAL;
    if (c->json) {
        struct buffer json = {0};
        run_result_json(&result, o, &json);
        printf("%.*s\n", (int)json.size, (const char *)json.data);
        buffer_free(&json);
    }
    run_result_free(&result);
    return status;
}

/* Real time cannot be had again: says what can. */
static int refuse_local(const struct cli *c, const struct run_info *info, struct run_options *o, const char *folder) {
    struct error e = {{0}};
    struct buffer again = {0}, simulated = {0};
    error_set(&e, "%s ran in the local world: real time decided the order of its events, and cannot be replayed",
              info->run);
    int status = cli_fail(EXIT_USAGE, c, &e);
    bool bundled = false;
    for (const struct target_info *t = targets_all(); t->name; t++) bundled |= strcmp(t->name, o->target) == 0;
    o->record = bundled;
    run_replay_command(o, &again);
    fprintf(stderr, "the same faults in real time%s:\n  %s\n", bundled ? ", with its nodes recorded" : "",
            (const char *)again.data);
    if (bundled) {
        o->world = "sim";
        o->record = o->pcap = false;
        run_replay_command(o, &simulated);
        fprintf(stderr, "the same scenario on simulated nodes, where every run can be replayed:\n  %s\n",
                (const char *)simulated.data);
    }
    char *pattern = xformat("%s/n*/recording-*", folder);
    glob_t found = {0};
    if (glob(pattern, 0, NULL, &found) == 0) {
        fprintf(stderr, "each node by itself, from its recording:\n");
        for (size_t i = 0; i < found.gl_pathc; i++) fprintf(stderr, "  harrow replay --node %s\n", found.gl_pathv[i]);
    }
    globfree(&found);
    free(pattern);
    buffer_free(&again);
    buffer_free(&simulated);
    return status;
}

int command_replay(struct cli *c) {
    struct error e = {{0}};
    if (c->node) return command_replay_node(c);
    if (c->arguments_count == 0) {
        error_set(&e, "it needs a run, or --node FILE; see `harrow help replay`");
        return cli_fail(EXIT_USAGE, c, &e);
    }
    struct store *s = cli_open_store(c, false, &e);
    if (!s) return cli_fail(EXIT_USAGE, c, &e);
    struct run_info info = {0};
    struct run_options o;
    char folder[4096];
    int status = EXIT_USAGE;
    struct stored_options *stored = NULL;
    if (store_find(s, c->arguments[0], &info, &e) || !(stored = run_options_of(&info, &o, &e))) {
        cli_fail(status, c, &e);
    } else if (store_run_folder(s, info.run, folder, sizeof folder, &e)) {
        status = cli_fail(EXIT_INTERNAL, c, &e);
    } else if (strcmp(o.world, "sim") != 0) {
        status = refuse_local(c, &info, &o, folder);
    } else {
        char *path = xformat("%s/trace.txt", folder);
        status = run_again(c, &info, &o, path, &e);
        free(path);
    }
    stored_options_free(stored);
    run_info_free(&info);
    store_close(s);
    return status;
}
