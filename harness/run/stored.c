/* A stored run: its checks as rows and back, the options that replay it, and the artifacts in its folder. */
#include "harness/run/run.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "history/jsonl.h"
#include "reports/reports.h"

#define SETS_MAX 256u

/* --- checks as rows --- */

struct check_row *run_check_rows(const struct check_result *checks, size_t count) {
    struct check_row *rows = xcalloc(count ? count : 1, sizeof *rows);
    for (size_t i = 0; i < count; i++) {
        const struct check_result *c = &checks[i];
        bool more = c->explanation && *c->explanation;
        struct buffer ops = {0};
        for (uint32_t n = 0; n < c->ops_count; n++) buffer_printf(&ops, "%s%u", n ? "," : "", c->ops[n]);
        rows[i] = (struct check_row){
            .name = xstrdup(c->name),
            .verdict = xstrdup(verdict_name(c->verdict)),
            .detail = xformat("%s%s%s", c->detail, more ? "\n" : "", more ? c->explanation : ""),
            .ops_json = xformat("[%.*s]", (int)ops.size, ops.data ? (const char *)ops.data : ""),
        };
        buffer_free(&ops);
    }
    return rows;
}

static void ops_of_json(const char *text, struct check_result *c) {
    json_t *array = json_loads(text ? text : "[]", 0, NULL);
    size_t count = json_array_size(array);
    c->ops = xcalloc(count ? count : 1, sizeof *c->ops);
    for (size_t i = 0; i < count; i++) c->ops[c->ops_count++] = (uint32_t)json_integer_value(json_array_get(array, i));
    json_decref(array);
}

static enum verdict verdict_of(const char *name) {
    if (strcmp(name, verdict_name(VERDICT_VALID)) == 0) return VERDICT_VALID;
    return strcmp(name, verdict_name(VERDICT_INVALID)) == 0 ? VERDICT_INVALID : VERDICT_UNKNOWN;
}

struct check_result *run_checks_of_rows(const struct check_row *rows, size_t count) {
    struct check_result *checks = xcalloc(count ? count : 1, sizeof *checks);
    for (size_t i = 0; i < count; i++) {
        struct check_result *c = &checks[i];
        c->name = xstrdup(rows[i].name);
        c->verdict = verdict_of(rows[i].verdict);
        c->detail = xstrdup(rows[i].detail);
        char *end = strchr(c->detail, '\n');
        if (end) {
            *end = 0;
            c->explanation = xstrdup(end + 1);
        }
        ops_of_json(rows[i].ops_json, c);
    }
    return checks;
}

void run_checks_free(struct check_result *checks, size_t count) {
    for (size_t i = 0; i < count; i++) check_result_free(&checks[i]);
    free(checks);
}

/* --- the way back --- */

struct stored_options { /* what run_options borrows from besides the row */
    json_t *root;
    struct script_set sets[SETS_MAX];
};

uint32_t run_info_nodes(const struct run_info *info) {
    json_t *root = json_loads(info->options_json ? info->options_json : "{}", 0, NULL);
    uint32_t nodes = (uint32_t)json_integer_value(json_object_get(root, "nodes"));
    json_decref(root);
    return nodes;
}

void run_info_regions(const struct run_info *info, struct regions *out) {
    json_t *root = json_loads(info->options_json ? info->options_json : "{}", 0, NULL);
    char *text = json_dumps(json_object_get(root, "regions"), JSON_COMPACT);
    *out = (struct regions){0};
    if (text) (void)regions_of_json(text, out);
    free(text);
    json_decref(root);
}

struct stored_options *run_options_of(const struct run_info *info, struct run_options *o, struct error *e) {
    json_error_t where;
    json_t *root = json_loads(info->options_json ? info->options_json : "", 0, &where);
    if (!root) {
        error_set(e, "the stored options of %s are damaged: %s", info->run, where.text);
        return NULL;
    }
    struct stored_options *s = xcalloc(1, sizeof *s);
    s->root = root;
    *o = (struct run_options){
        .scenario_name = info->scenario_path,
        .scenario_text = bytes_str(info->scenario_text),
        .target = info->target,
        .world = info->world,
        .mutant = info->mutant,
        .seed = info->seed,
        .time_ns = (uint64_t)json_integer_value(json_object_get(root, "time_ns")),
        .sets = s->sets,
        .invariants = json_is_true(json_object_get(root, "invariants")),
        .without = (uint32_t)json_integer_value(json_object_get(root, "without")),
        .pcap = json_is_true(json_object_get(root, "pcap")),
        .pcap_snap_bytes = (uint32_t)json_integer_value(json_object_get(root, "pcap_snap_bytes")),
        .record = json_is_true(json_object_get(root, "record")),
    };
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(root, "sets"), key, value) {
        if (o->sets_count == SETS_MAX || !json_is_string(value)) continue;
        s->sets[o->sets_count++] = (struct script_set){key, json_string_value(value)};
    }
    return s;
}

void stored_options_free(struct stored_options *s) {
    if (!s) return;
    json_decref(s->root);
    free(s);
}

/* --- the run's folder --- */

static int export_history(const char *folder, const struct history *h, struct error *e) {
    char *path = xformat("%s/history.jsonl", folder);
    FILE *out = fopen(path, "w");
    int failed = out ? jsonl_export(h, out, e) : error_set(e, "%s: %s", path, strerror(errno));
    if (out && fclose(out) && !failed) failed = error_set(e, "%s: %s", path, strerror(errno));
    free(path);
    return failed;
}

int run_write_report(struct store *s, const struct run_info *info, const struct history *h,
                     const struct check_result *checks, size_t checks_count, char *path, size_t path_size,
                     struct error *warning, struct error *e) {
    char folder[4096];
    if (store_run_folder(s, info->run, folder, sizeof folder, e) || export_history(folder, h, e)) return -1;
    struct run_options o;
    struct stored_options *stored = run_options_of(info, &o, e);
    if (!stored) return -1;
    struct buffer command = {0};
    run_replay_command(&o, &command);
    struct report_input in = {
        .run = info,
        .history = h,
        .checks = checks,
        .checks_count = checks_count,
        .nodes = run_info_nodes(info),
        .replay_command = (const char *)command.data,
        .folder = folder,
    };
    int failed = report_html(&in, path, path_size, warning, e);
    buffer_free(&command);
    stored_options_free(stored);
    return failed;
}
