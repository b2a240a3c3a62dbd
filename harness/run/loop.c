/* The client loop: asks a generator what comes next, starts it in the world, records invocation and completion.
 *
 * Completions are taken before invocations are issued: a completion never issues at once but asks to be woken at the
 * same instant, behind every completion already due then. Issuing first would make operations overlap that did not, and
 * the checkers would excuse more than they should. */
#include "harness/run/run_internal.h"

#include <stdlib.h>

#include "base/clock.h"

#define TAG_SOON 1u
#define TAG_TIMER 2u
/* How often the wall clock is looked at; cuts nothing but the calls of run_until, so no schedule depends on it. */
#define SLICE_NS (50 * NS_PER_MS)
#define TICK_WALL_NS (200 * NS_PER_MS)
/* More wakes than this at one instant: a script that sleeps for no time in an endless loop. */
#define WAKES_PER_INSTANT_MAX 1000000u

bool runner_stopped(const struct runner *r) {
    return r->halt != HALT_NONE && r->halt != HALT_DONE;
}

static uint64_t now_ns(const struct runner *r) {
    return r->world->ops->now_ns(r->world);
}

static void halt(struct runner *r, enum halt why) {
    if (r->halt != HALT_NONE) return;
    r->halt = why;
    r->world->ops->stop(r->world);
}

static struct gen_context context(const struct runner *r) {
    return (struct gen_context){
        .now_ns = now_ns(r),
        .clients = r->clients,
        .busy = r->busy,
        .process = r->process,
        .free_clients = r->clients_free,
        .history = r->history,
    };
}

static bool tell(struct runner *r, uint32_t op, uint32_t client, bool completion) {
    const struct history *h = r->history;
    struct gen_context c = context(r);
    struct gen_event ev = {
        .completion = completion,
        .client = client,
        .process = h->process[op],
        .f = h->f[op],
        .key = h->key[op],
        .status = (enum op_status)h->status[op],
        .value = completion && h->status[op] == OP_OK ? h->result[op] : h->argument[op],
    };
    if (!r->generator || !r->generator->ops->update) return true;
    if (r->generator->ops->update(r->generator, &c, &ev, &r->failure) == 0) return true;
    halt(r, HALT_SCRIPT);
    return false;
}

/* One announced operation: take it, record it, start it. */
static bool issue(struct runner *r) {
    struct gen_context c = context(r);
    struct gen_op g = {.key = NO_STRING, .intended_ns = c.now_ns};
    if (r->generator->ops->take(r->generator, &c, &g, &r->failure)) {
        halt(r, HALT_SCRIPT);
        return false;
    }
    if (g.client >= r->clients || r->busy[g.client]) {
        error_set(&r->failure, "%s: the workload gave an operation to client %u, which is %s",
                  r->options->scenario_name, g.client, g.client < r->clients ? "busy" : "not there");
        halt(r, HALT_BROKEN);
        return false;
    }
    uint64_t intended_ns = g.intended_ns < c.now_ns ? g.intended_ns : c.now_ns;
    uint32_t op =
        history_invoke(r->history, c.now_ns, intended_ns, r->process[g.client], NODE_UNKNOWN, g.f, g.key, g.argument);
    r->history->final_phase[op] = r->final_phase;
    r->busy[g.client] = 1;
    r->clients_free--;
    struct world_op w = {.op = op, .f = g.f, .key = g.key, .argument = g.argument, .anywhere = r->final_phase};
    r->history->node[op] = r->world->ops->submit(r->world, g.client, &w);
    return tell(r, op, g.client, false);
}

static void set_timer(struct runner *r, uint64_t due_ns) {
    if (due_ns >= r->timer_ns) return;
    r->timer_ns = due_ns;
    r->world->ops->wake_at(r->world, due_ns, TAG_TIMER);
}

static void finish_if_idle(struct runner *r) {
    if (r->generator_done && r->clients_free == r->clients) halt(r, HALT_DONE);
}

/* Issues everything that is due before the phase ends. With no client free the generator is not asked: a completion
 * will see to it. */
static void pump(struct runner *r) {
    if (now_ns(r) >= r->until_ns) return;
    while (r->generator && !r->generator_done && r->halt == HALT_NONE && r->clients_free > 0) {
        struct gen_context c = context(r);
        uint64_t due_ns = c.now_ns;
        switch (r->generator->ops->peek(r->generator, &c, &due_ns, &r->failure)) {
        case GEN_READY:
            if (due_ns > c.now_ns) {
                set_timer(r, due_ns);
                return;
            }
            if (!issue(r)) return;
            break;
        case GEN_PENDING: return;
        case GEN_DONE:
            r->generator_done = true;
            finish_if_idle(r);
            return;
        case GEN_FAILED: halt(r, HALT_SCRIPT); return;
        }
    }
}

static void pump_soon(struct runner *r) {
    if (r->pump_soon || !r->generator || r->generator_done) return;
    r->pump_soon = true;
    r->world->ops->wake_at(r->world, now_ns(r), TAG_SOON);
}

static void on_complete(void *ctx, const struct completion *c) {
    struct runner *r = ctx;
    struct history *h = r->history;
    assert(c->client < r->clients && r->busy[c->client]);
    assert(c->op < h->count && h->process[c->op] == r->process[c->client]);
    history_complete(h, c->op, now_ns(r), c->status, c->result, c->error);
    r->busy[c->client] = 0;
    r->clients_free++;
    /* Nobody knows whether it happened: this process never acts again, the slot goes on as the next one. */
    if (c->status == OP_INFO) r->process[c->client] += r->clients;
    if (r->halt != HALT_NONE || !tell(r, c->op, c->client, true)) return;
    pump_soon(r);
    finish_if_idle(r);
}

static bool time_stands_still(struct runner *r) {
    uint64_t now = now_ns(r);
    if (now != r->stuck_ns) {
        r->stuck_ns = now;
        r->stuck_count = 0;
    }
    if (++r->stuck_count <= WAKES_PER_INSTANT_MAX) return false;
    error_set(&r->failure, "%s: time stands still at %.3f s: something sleeps for 0 s in an endless loop",
              r->options->scenario_name, (double)now / (double)NS_PER_S);
    halt(r, HALT_SCRIPT);
    return true;
}

static void on_wake(void *ctx, uint64_t tag) {
    struct runner *r = ctx;
    if (tag == TAG_SOON) r->pump_soon = false;
    if (r->halt != HALT_NONE || time_stands_still(r)) return;
    if (tag & SCRIPT_TAG) {
        if (script_wake(r->script, tag, &r->failure)) halt(r, HALT_SCRIPT);
        return;
    }
    if (tag == TAG_TIMER && now_ns(r) >= r->timer_ns) r->timer_ns = UINT64_MAX;
    pump(r);
}

struct world_host loop_host(struct runner *r) {
    return (struct world_host){.ctx = r, .history = r->history, .on_wake = on_wake, .on_complete = on_complete};
}

void loop_reset(struct runner *r, uint32_t clients) {
    assert(clients > 0 && clients <= CLIENTS_MAX);
    r->busy = xrealloc(r->busy, clients);
    r->process = xrealloc(r->process, clients * sizeof *r->process);
    memset(r->busy, 0, clients);
    for (uint32_t i = 0; i < clients; i++) r->process[i] = i;
    r->clients = r->clients_free = clients;
    r->generator = NULL;
    r->generator_done = r->final_phase = r->pump_soon = false;
    r->timer_ns = r->stuck_ns = UINT64_MAX;
    r->stuck_count = 0;
    r->halt = HALT_NONE;
    r->failure.text[0] = 0;
}

/* What is paced by the wall clock: the user's wish to stop, the progress line, the store. */
static void tick(struct runner *r) {
    const struct run_options *o = r->options;
    if (o->interrupted && *o->interrupted) {
        if (r->halt == HALT_NONE || r->halt == HALT_DONE) r->halt = HALT_INTERRUPTED;
        return;
    }
    uint64_t wall = monotonic_ns();
    if (wall - r->wall_tick_ns < TICK_WALL_NS) return;
    r->wall_tick_ns = wall;
    if (o->progress) {
        double fraction = (double)now_ns(r) / (double)(r->time_ns ? r->time_ns : 1);
        o->progress(o->progress_ctx, fraction < 1 ? fraction : 1, r->history);
    }
    record_progress(r);
}

static void advance(struct runner *r, uint64_t until_ns) {
    uint64_t from_ns = now_ns(r);
    enum world_end end = r->world->ops->run_until(r->world, until_ns);
    switch (end) {
    case WORLD_TIME:
        if (now_ns(r) < until_ns && r->halt == HALT_NONE) {
            error_set(&r->failure, "the %s world stopped at %.3f s of its own accord", r->world->ops->name,
                      (double)from_ns / (double)NS_PER_S);
            r->halt = HALT_BROKEN;
        }
        break;
    case WORLD_STOPPED: break;
    case WORLD_VIOLATION:
        if (r->halt == HALT_NONE || r->halt == HALT_DONE) r->halt = HALT_VIOLATION;
        break;
    case WORLD_FAILED:
        error_set(&r->failure, "the %s world failed at %.3f s", r->world->ops->name,
                  (double)now_ns(r) / (double)NS_PER_S);
        r->halt = HALT_BROKEN;
        break;
    }
}

void loop_run(struct runner *r, struct generator *g, uint64_t until_ns, bool drain) {
    if (runner_stopped(r)) return;
    r->halt = HALT_NONE;
    r->until_ns = until_ns;
    r->generator = g;
    r->generator_done = g ? false : drain;
    if (!g && drain && r->clients_free == r->clients) {
        r->halt = HALT_DONE;
        return;
    }
    if (g) pump_soon(r);
    while (r->halt == HALT_NONE && now_ns(r) < until_ns) {
        uint64_t next_ns = now_ns(r) + SLICE_NS;
        advance(r, next_ns < until_ns ? next_ns : until_ns);
        tick(r);
    }
    r->generator = NULL;
}
