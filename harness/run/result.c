/* What a run says about itself: its result as JSON, and the exact command that runs it again. */
#include "harness/run/run.h"

#include <stdio.h>
#include <stdlib.h>

#include "harness/run/json_text.h"

static const char *const kind_names[FAULT_KINDS] = {"link", "kill", "pause", "slow", "clock", "power", "disk"};

const char *fault_kind_name(enum fault_kind kind) {
    assert(kind < FAULT_KINDS);
    return kind_names[kind];
}

int fault_kind_find(const char *name) {
    for (int i = 0; i < FAULT_KINDS; i++)
        if (strcmp(kind_names[i], name) == 0) return i;
    return -1;
}

json_t *json_text(const char *text) {
    if (!text) text = "";
    json_t *string = json_stringn(text, strlen(text));
    if (string) return string;
    char *ascii = xstrdup(text);
    for (char *c = ascii; *c; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    string = json_stringn(ascii, strlen(ascii));
    free(ascii);
    return string;
}

static json_t *checks_json(const struct run_result *r) {
    json_t *array = json_array();
    for (size_t i = 0; i < r->checks_count; i++) {
        const struct check_result *c = &r->checks[i];
        json_t *ops = json_array();
        for (uint32_t n = 0; n < c->ops_count; n++) json_array_append_new(ops, json_integer(c->ops[n]));
        json_t *check = json_pack("{s:o, s:s, s:o, s:o}", "name", json_text(c->name), "verdict",
                                  verdict_name(c->verdict), "detail", json_text(c->detail), "ops", ops);
        if (c->explanation) json_object_set_new(check, "explanation", json_text(c->explanation));
        json_array_append_new(array, check);
    }
    return array;
}

void run_result_json(const struct run_result *r, const struct run_options *o, struct buffer *out) {
    struct buffer replay = {0};
    run_replay_command(o, &replay);
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)r->trace_hash);
    json_t *root = json_object();
    json_object_set_new(root, "run", json_text(r->run_id));
    json_object_set_new(root, "scenario", json_text(o->scenario_name));
    json_object_set_new(root, "target", json_text(o->target));
    json_object_set_new(root, "world", json_text(o->world));
    json_object_set_new(root, "seed", json_integer((json_int_t)o->seed));
    json_object_set_new(root, "mutant", o->mutant && *o->mutant ? json_text(o->mutant) : json_null());
    json_object_set_new(root, "verdict", json_text(verdict_name(r->verdict)));
    json_object_set_new(root, "why", json_text(r->why));
    json_object_set_new(root, "checks", checks_json(r));
    json_object_set_new(root, "ops",
                        json_pack("{s:I, s:I, s:I}", "ok", (json_int_t)r->ops_ok, "fail", (json_int_t)r->ops_fail,
                                  "info", (json_int_t)r->ops_info));
    json_object_set_new(root, "nodes", json_integer(r->nodes));
    struct buffer regions = {0};
    regions_json(&r->regions, r->nodes, &regions);
    json_object_set_new(root, "regions", json_loadb((const char *)regions.data, regions.size, 0, NULL));
    buffer_free(&regions);
    json_object_set_new(root, "faults", json_integer((json_int_t)r->faults));
    json_object_set_new(root, "virtual_seconds", json_real(r->virtual_seconds));
    json_object_set_new(root, "wall_seconds", json_real(r->wall_seconds));
    json_object_set_new(root, "events", json_integer((json_int_t)r->events));
    json_object_set_new(root, "trace_hash", json_text(hash));
    json_object_set_new(root, "report", *r->report_path ? json_text(r->report_path) : json_null());
    json_object_set_new(root, "warning", *r->warning ? json_text(r->warning) : json_null());
    json_object_set_new(root, "replay", json_text((const char *)replay.data));
    char *text = json_dumps(root, JSON_INDENT(2));
    buffer_append(out, text, strlen(text));
    free(text);
    json_decref(root);
    buffer_free(&replay);
}

/* As one word of a shell, quoted only where it must be. */
static void add_word(struct buffer *out, const char *word) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,+@%";
    if (*word && word[strspn(word, plain)] == 0) {
        buffer_printf(out, " %s", word);
        return;
    }
    buffer_printf(out, " '");
    for (; *word; word++) {
        if (*word == '\'')
            buffer_printf(out, "'\\''");
        else
            buffer_append(out, word, 1);
    }
    buffer_printf(out, "'");
}

static void add_seconds(struct buffer *out, uint64_t ns) {
    buffer_printf(out, " --time %llu", (unsigned long long)(ns / NS_PER_S));
    char fraction[16];
    snprintf(fraction, sizeof fraction, ".%09llu", (unsigned long long)(ns % NS_PER_S));
    size_t size = strlen(fraction);
    while (fraction[size - 1] == '0') size--;
    if (size > 1) buffer_append(out, fraction, size);
}

static void add_option(struct buffer *out, const char *option, const char *value) {
    buffer_printf(out, " %s", option);
    add_word(out, value);
}

static void add_settings(const struct run_options *o, struct buffer *out) {
    if (o->time_ns) add_seconds(out, o->time_ns);
    if (o->mutant && *o->mutant) add_option(out, "--mutant", o->mutant);
    for (size_t i = 0; i < o->sets_count; i++) {
        char *pair = xformat("%s=%s", o->sets[i].key, o->sets[i].value);
        add_option(out, "--set", pair);
        free(pair);
    }
    for (int k = 0, n = 0; k < FAULT_KINDS; k++)
        if (o->without & (1u << k)) buffer_printf(out, "%s%s", n++ ? "," : " --without ", kind_names[k]);
    if (!o->invariants) buffer_printf(out, " --no-invariants");
    if (o->pcap) buffer_printf(out, " --pcap");
    if (o->pcap && o->pcap_snap_bytes) buffer_printf(out, " --pcap-snap %u", o->pcap_snap_bytes);
    if (o->record) buffer_printf(out, " --record");
    buffer_append(out, "", 1);
    out->size--;
}

void run_replay_command(const struct run_options *o, struct buffer *out) {
    buffer_printf(out, "harrow run");
    add_word(out, o->scenario_name);
    add_option(out, "--target", o->target);
    if (strcmp(o->world, "sim") != 0) add_option(out, "--world", o->world);
    buffer_printf(out, " --seed %llu", (unsigned long long)o->seed);
    add_settings(o, out);
}

void run_compare_command(const struct run_options *o, const char *targets, uint64_t last_seed, struct buffer *out) {
    struct run_options all = *o;
    all.mutant = "";
    buffer_printf(out, "harrow compare");
    add_word(out, o->scenario_name);
    add_option(out, "--targets", targets);
    if (strcmp(o->world, "sim") != 0) add_option(out, "--world", o->world);
    buffer_printf(out, " --seeds %llu..%llu", (unsigned long long)o->seed, (unsigned long long)last_seed);
    add_settings(&all, out);
}

void run_result_free(struct run_result *r) {
    for (size_t i = 0; i < r->checks_count; i++) check_result_free(&r->checks[i]);
    free(r->checks);
    free(r->why);
    *r = (struct run_result){0};
}
