/* A run into the store: its row at the start, its operations while it goes on, its checks and its folder at the end.
 * Nothing here ends a run: what could not be stored makes its verdict "unknown". */
#include "harness/run/run_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "harness/run/json_text.h"

#define PROGRESS_WALL_NS (800 * NS_PER_MS) /* with the tick of the loop: at most a second */

/* --- the row --- */

/* "scenarios/leader-kill.lua" -> "leader-kill", with nothing in it that a folder's name should not have. */
static char *plain_name(const char *scenario) {
    const char *slash = strrchr(scenario, '/');
    char *name = xstrdup(slash ? slash + 1 : scenario);
    size_t size = strlen(name);
    if (size > 4 && strcmp(name + size - 4, ".lua") == 0) name[size - 4] = 0;
    for (char *c = name; *c; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '-';
        if (!plain) *c = '_';
    }
    if (strlen(name) > 64) name[64] = 0;
    return name;
}

static char *utc_now(const char *format) {
    char text[64];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    size_t size = strftime(text, sizeof text, format, &tm);
    assert(size > 0);
    return xstrdup(text);
}

static char *new_run_id(const char *name) {
    uint16_t salt = 0;
    if (getrandom(&salt, sizeof salt, 0) != sizeof salt) salt = (uint16_t)monotonic_ns();
    char *when = utc_now("%Y%m%d-%H%M%S");
    char *id = xformat("%s-%s-%04x", name, when, salt);
    free(when);
    return id;
}

static char *options_json(const struct runner *r) {
    const struct run_options *o = r->options;
    json_t *sets = json_object();
    for (size_t i = 0; i < o->sets_count; i++) json_object_set_new(sets, o->sets[i].key, json_text(o->sets[i].value));
    json_t *parameters = json_loads(r->scenario->options_json ? r->scenario->options_json : "{}", 0, NULL);
    struct buffer places = {0};
    regions_json(&r->scenario->world.regions, r->scenario->world.nodes, &places);
    json_t *regions = json_loadb((const char *)places.data, places.size, 0, NULL);
    buffer_free(&places);
    json_t *root =
        json_pack("{s:I, s:b, s:I, s:b, s:I, s:b, s:I, s:o, s:o, s:o}", "time_ns", (json_int_t)o->time_ns, "invariants",
                  o->invariants, "without", (json_int_t)o->without, "pcap", o->pcap, "pcap_snap_bytes",
                  (json_int_t)o->pcap_snap_bytes, "record", o->record, "nodes", (json_int_t)r->scenario->world.nodes,
                  "sets", sets, "regions", regions, "parameters", parameters ? parameters : json_object());
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    char *copy = xstrdup(text ? text : "{}");
    free(text);
    json_decref(root);
    return copy;
}

static struct run_info row_of(const struct runner *r) {
    const struct run_options *o = r->options;
    struct run_info info = {
        .scenario = plain_name(o->scenario_name),
        .scenario_path = xstrdup(o->scenario_name),
        .scenario_text = xmalloc(o->scenario_text.size + 1),
        .target = xstrdup(o->target),
        .world = xstrdup(o->world),
        .mutant = xstrdup(o->mutant ? o->mutant : ""),
        .seed = o->seed,
        .options_json = options_json(r),
        .state = xstrdup("running"),
        .verdict = xstrdup(""),
        .detail = xstrdup(""),
        .started_at = utc_now("%Y-%m-%dT%H:%M:%SZ"),
    };
    if (o->scenario_text.size) memcpy(info.scenario_text, o->scenario_text.data, o->scenario_text.size);
    info.scenario_text[o->scenario_text.size] = 0;
    info.run = new_run_id(info.scenario);
    return info;
}

void record_begin(struct runner *r) {
    if (r->info.run) return;
    r->info = (struct run_info){0};
    r->store_failure.text[0] = 0;
    if (!r->options->store) return;
    r->info = row_of(r);
    if (store_begin(r->options->store, &r->info, &r->store_failure)) {
        run_info_free(&r->info);
        r->info = (struct run_info){0};
    }
}

void record_progress(struct runner *r) {
    if (!r->info.run || r->store_failure.text[0]) return;
    uint64_t wall = monotonic_ns();
    if (wall - r->wall_stored_ns < PROGRESS_WALL_NS) return;
    r->wall_stored_ns = wall;
    (void)store_progress(r->options->store, r->info.run, r->history, &r->store_failure); /* judged at the end */
}

static void replace(char **text, const char *with) {
    free(*text);
    *text = xstrdup(with);
}

static void finish_row(struct runner *r, const char *state, const char *verdict, const char *detail) {
    replace(&r->info.state, state);
    replace(&r->info.verdict, verdict);
    replace(&r->info.detail, detail);
    r->info.wall_seconds = (double)(monotonic_ns() - r->wall_start_ns) / (double)NS_PER_S;
}

static void write_report(struct runner *r, struct run_result *out) {
    struct error warning = {{0}}, e = {{0}};
    if (run_write_report(r->options->store, &r->info, r->history, out->checks, out->checks_count, out->report_path,
                         sizeof out->report_path, &warning, &e))
        snprintf(out->warning, sizeof out->warning, "no report: %.480s", e.text);
    else
        snprintf(out->warning, sizeof out->warning, "%s", warning.text);
}

void record_finish(struct runner *r, struct run_result *out) {
    if (r->store_failure.text[0]) judge_add_unknown(out, "stored", r->store_failure.text);
    if (!r->info.run) return;
    bool failed_before = r->store_failure.text[0];
    finish_row(r, "done", verdict_name(out->verdict), out->why);
    r->info.virtual_seconds = out->virtual_seconds;
    r->info.events = out->events;
    r->info.trace_hash = out->trace_hash;
    r->info.ops_ok = out->ops_ok;
    r->info.ops_fail = out->ops_fail;
    r->info.ops_info = out->ops_info;
    r->info.faults = out->faults;
    struct check_row *rows = run_check_rows(out->checks, out->checks_count);
    struct error e = {{0}};
    if (store_finish(r->options->store, &r->info, r->history, rows, out->checks_count, &e) && !failed_before)
        judge_add_unknown(out, "stored", e.text);
    check_rows_free(rows, out->checks_count);
    snprintf(out->run_id, sizeof out->run_id, "%s", r->info.run);
    if (r->options->report) write_report(r, out);
    run_info_free(&r->info);
    r->info = (struct run_info){0};
}

void record_failed(struct runner *r, const char *detail) {
    if (!r->info.run) return;
    finish_row(r, "failed", "unknown", detail);
    struct error ignored; /* the failure that brought us here is the one to report */
    (void)store_finish(r->options->store, &r->info, r->history, NULL, 0, &ignored);
    run_info_free(&r->info);
    r->info = (struct run_info){0};
}
