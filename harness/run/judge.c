/* The verdict: runs every check over the finished history and merges them, invalid over unknown over valid. Checks that
 * every run gets: invariants (unless off), recovers, load, faults. What an early end makes unknown (a load that stayed
 * low because an invariant fired) is listed but never hides what fired. */
#include "harness/run/run_internal.h"

#include <stdio.h>
#include <stdlib.h>

struct checks {
    struct check_result *items;
    size_t count;
};

static struct check_result *add(struct checks *c) {
    c->items = xrealloc(c->items, (c->count + 1) * sizeof *c->items);
    struct check_result *r = &c->items[c->count++];
    *r = (struct check_result){.verdict = VERDICT_UNKNOWN};
    return r;
}

/* Takes `detail` over. */
static void add_result(struct checks *c, const char *name, enum verdict verdict, char *detail) {
    struct check_result *r = add(c);
    r->name = xstrdup(name);
    r->verdict = verdict;
    r->detail = detail;
}

static void name_it(struct check_result *r, const char *name) {
    if (!r->name) r->name = xstrdup(name);
    if (!r->detail) r->detail = xstrdup("");
}

static void judge_invariants(struct runner *r, struct checks *c) {
    if (!r->options->invariants) return;
    const char *name = NULL, *text = r->world->ops->violation(r->world, &name);
    if (text)
        add_result(c, "invariants", VERDICT_INVALID, xformat("%s: %s", name ? name : "invariant", text));
    else
        add_result(c, "invariants", VERDICT_VALID,
                   xformat("%llu events checked", (unsigned long long)r->world->ops->events(r->world)));
}

static void judge_recovers(struct runner *r, struct checks *c) {
    const struct recovery *v = &r->recovery;
    uint64_t settle_ns = r->scenario->settle_ns;
    if (!v->tried || (!v->recovered && runner_stopped(r)))
        add_result(c, "recovers", VERDICT_UNKNOWN, xstrdup("the run ended before the cluster was healed"));
    else if (v->recovered)
        add_result(c, "recovers", VERDICT_VALID,
                   xformat("whole %.1f s after the last fault", (double)v->after_ns / (double)NS_PER_S));
    else
        add_result(
            c, "recovers", VERDICT_INVALID,
            xformat("after everything was healed, for %.1f s: %s", (double)settle_ns / (double)NS_PER_S, v->missing));
}

/* --- the scenario's own checks --- */

const char *run_model_for(const struct history *h) {
    const uint32_t read = 1u << OP_READ, write = 1u << OP_WRITE, cas = 1u << OP_CAS, add_to = 1u << OP_ADD,
                   append = 1u << OP_APPEND;
    uint32_t seen = 0;
    for (uint32_t op = 0; op < h->count; op++) {
        if (h->f[op] >= OP_TXN) return NULL;
        seen |= 1u << h->f[op];
    }
    if (!(seen & ~(read | write))) return "register";
    if (!(seen & ~(read | write | cas))) return "cas-register";
    if (!(seen & ~(read | add_to))) return "counter";
    if (!(seen & ~(read | append))) return "list";
    return "kv";
}

static void judge_linearizable(struct runner *r, const struct scenario_check *k, struct check_result *out) {
    const char *name = k->model && *k->model ? k->model : run_model_for(r->history);
    const struct model *m = name ? model_find(name) : NULL;
    if (m) {
        check_linearizable(r->history, m, &r->options->check, out);
        return;
    }
    out->name = xstrdup("linearizable");
    out->detail = name ? xformat("there is no model \"%s\"; `harrow models` lists them", name)
                       : xstrdup("no model covers transactions and custom operations; name one, or check them in Lua");
}

static void judge_named(struct runner *r, const struct scenario_check *k, struct check_result *out) {
    const struct checker *c = checker_find(k->model);
    struct check_options o = r->options->check;
    o.consistency = k->consistency;
    c->check(c, r->history, &o, out);
}

static void judge_scenario_check(struct runner *r, const struct scenario_check *k, struct check_result *out) {
    const struct history *h = r->history;
    switch (k->kind) {
    case CHECK_LINEARIZABLE: judge_linearizable(r, k, out); break;
    case CHECK_APPEND: check_append(h, &r->options->check, out); break;
    case CHECK_COUNTER: check_counter(h, &r->options->check, out); break;
    case CHECK_AVAILABLE: check_available(h, k->within_ns, k->during, r->main_end_ns, out); break;
    case CHECK_LATENCY: check_latency(h, k->within_ns, out); break;
    case CHECK_LUA: script_check(r->script, k->lua_index, h, out); break;
    case CHECK_MODEL: script_check_model(r->script, k->lua_index, h, &r->options->check, out); break;
    case CHECK_NAMED: judge_named(r, k, out); break;
    }
    name_it(out, k->name ? k->name : "check");
}

/* Beyond the evidence of each kind: nemeses that never did anything are idle, too. What --without leaves out on request
 * shows no effect, as it must, and is not judged. */
static void judge_faults(struct runner *r, struct check_result *out) {
    if (r->options->without) {
        out->verdict = VERDICT_VALID;
        out->detail = xstrdup("not judged: kinds of faults were left out on request (--without)");
    } else if (r->scenario->nemeses && r->history->faults_count == 0) {
        out->verdict = VERDICT_UNKNOWN;
        out->detail = xformat("the scenario has %u nemes%s, but no fault was started in its time", r->scenario->nemeses,
                              r->scenario->nemeses == 1 ? "is" : "es");
    } else {
        check_faults(r->history, out);
    }
    name_it(out, "faults");
}

/* A verdict about time that may be our own doing is no verdict: where harrow was late, what was slow may have been
 * harrow. Safety is not a matter of time and stays as it is. */
static void judge_lateness(struct runner *r, struct checks *c) {
    if (!r->world->ops->late) return;
    uint64_t worst_ns = 0, windows = r->world->ops->late(r->world, &worst_ns);
    static const char *const timed[] = {"available", "latency", "recovers"};
    double worst_ms = (double)worst_ns / (double)NS_PER_MS;
    for (size_t i = 0; i < c->count && windows; i++) {
        struct check_result *k = &c->items[i];
        for (size_t n = 0; n < sizeof timed / sizeof *timed; n++) {
            if (k->verdict != VERDICT_INVALID || strcmp(k->name, timed[n]) != 0) continue;
            char *detail = xformat("%s (unknown rather than invalid: harrow itself was late in %llu windows, by up to "
                                   "%.0f ms; run it on a quieter machine)",
                                   k->detail, (unsigned long long)windows, worst_ms);
            free(k->detail);
            k->detail = detail;
            k->verdict = VERDICT_UNKNOWN;
        }
    }
    add_result(c, "lateness", VERDICT_VALID,
               windows ? xformat("harrow was late in %llu windows of 0.1 s, by up to %.0f ms",
                                 (unsigned long long)windows, worst_ms)
                       : xstrdup("harrow was never late"));
}

static void judge_history(struct runner *r, struct checks *c) {
    for (size_t i = 0; i < r->scenario->checks_count; i++) {
        struct check_result *out = add(c);
        judge_scenario_check(r, &r->scenario->checks[i], out);
    }
    judge_recovers(r, c);
    struct check_result *load = add(c);
    check_load(r->history, r->scenario->min_ops, load);
    name_it(load, "load");
    judge_faults(r, add(c));
    judge_lateness(r, c);
}

/* --- the merge --- */

const struct check_result *run_deciding_check(const struct run_result *r) {
    const struct check_result *decides = NULL;
    for (size_t i = 0; i < r->checks_count; i++) {
        const struct check_result *c = &r->checks[i];
        if (c->verdict != VERDICT_VALID && (!decides || c->verdict > decides->verdict)) decides = c;
    }
    return decides;
}

static void summarize(const struct runner *r, struct run_result *out) {
    const struct history *h = r->history;
    out->ops_ok = out->ops_fail = out->ops_info = 0;
    for (uint32_t op = 0; op < h->count; op++) {
        if (h->status[op] == OP_OK)
            out->ops_ok++;
        else if (h->status[op] == OP_FAIL)
            out->ops_fail++;
        else
            out->ops_info++;
    }
    out->faults = h->faults_count;
    out->events = r->world->ops->events(r->world);
    out->trace_hash = r->world->ops->trace_hash(r->world);
    out->virtual_seconds = (double)r->world->ops->now_ns(r->world) / (double)NS_PER_S;
    out->fault_kinds = r->fault_kinds;
    out->main_ns = r->main_end_ns;
    out->counters = r->counters;
    out->nodes = r->scenario->world.nodes;
    out->regions = r->scenario->world.regions;
    out->clients = r->scenario->world.clients;
}

static void merge(struct run_result *out) {
    out->verdict = VERDICT_VALID;
    for (size_t i = 0; i < out->checks_count; i++) out->verdict = verdict_merge(out->verdict, out->checks[i].verdict);
    const struct check_result *decides = run_deciding_check(out);
    free(out->why);
    out->why = decides ? xformat("%s: %s", decides->name, decides->detail)
                       : xformat("%llu operations ok, %llu faults, all %zu checks hold",
                                 (unsigned long long)out->ops_ok, (unsigned long long)out->faults, out->checks_count);
}

void judge(struct runner *r, struct run_result *out) {
    struct checks c = {0};
    judge_invariants(r, &c);
    if (r->halt == HALT_INTERRUPTED)
        add_result(&c, "complete", VERDICT_UNKNOWN,
                   xformat("interrupted at %.1f s", (double)r->world->ops->now_ns(r->world) / (double)NS_PER_S));
    judge_history(r, &c);
    out->checks = c.items;
    out->checks_count = c.count;
    summarize(r, out);
    merge(out);
}

void judge_add_unknown(struct run_result *out, const char *name, const char *detail) {
    struct checks c = {out->checks, out->checks_count};
    add_result(&c, name, VERDICT_UNKNOWN, xstrdup(detail));
    out->checks = c.items;
    out->checks_count = c.count;
    merge(out);
}
