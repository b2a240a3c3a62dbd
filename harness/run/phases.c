/* The phases of a run that happen inside the world: main, heal, settle, final reads. Each is a stretch of loop_run; a
 * violation, a failing script or an interrupt ends them all, and what was recorded so far is judged. */
#include "harness/run/run_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define SETTLE_DEFAULT_NS (10 * NS_PER_S)
#define SETTLE_POLL_NS (100 * NS_PER_MS)
/* Every operation ends in the world (a timeout is an end), so waiting longer than this means a broken world. */
#define DRAIN_MAX_NS (120 * NS_PER_S)
#define FINAL_PHASE_MAX_NS (120 * NS_PER_S)
#define FINAL_READ_TRIES 5u

static uint64_t now_ns(const struct runner *r) {
    return r->world->ops->now_ns(r->world);
}

/* --- settle --- */

/* What was last said about a node, such as how it ended; "" when nothing was. */
static const char *last_word(const struct history *h, uint32_t node) {
    for (size_t i = h->samples_count; i-- > 0;)
        if (h->samples[i].kind == SAMPLE_LOG && h->samples[i].node == node) return history_text(h, h->samples[i].text);
    return "";
}

/* Is the cluster whole again? If not, `missing` says what is not there, in words. */
static bool is_whole(const struct runner *r, char *missing, size_t size) {
    bool opaque = false, told = false; /* a foreign system tells what it can: a leader perhaps, no indices */
    bool leaderless = true;
    struct node_status status[NODES_MAX];
    uint32_t nodes = r->scenario->world.nodes, leaders = 0, leader = 0;
    for (uint32_t i = 0; i < nodes; i++) {
        status[i] = r->world->ops->node_status(r->world, (uint8_t)i);
        if (!status[i].up || status[i].paused) {
            const char *why = status[i].up ? "" : last_word(r->history, i);
            snprintf(missing, size, "n%u is %s%s%s", i + 1, status[i].up ? "paused" : "down", *why ? ": " : "", why);
            return false;
        }
        opaque = opaque || status[i].opaque;
        told = told || !status[i].opaque || status[i].leader != NODE_UNKNOWN;
        leaderless = leaderless && status[i].role == ROLE_PEER;
        if (status[i].role != ROLE_LEADER) continue;
        leaders++;
        leader = i;
    }
    if (!told) return true;
    if (!leaderless && leaders != 1) {
        snprintf(missing, size, leaders ? "%u nodes hold themselves for the leader" : "there is no leader", leaders);
        return false;
    }
    const struct node_status *l = &status[leader];
    for (uint32_t i = 0; i < nodes; i++) {
        const struct node_status *n = &status[i];
        if (!leaderless && n->leader != leader) {
            snprintf(missing, size, "n%u does not follow the leader n%u", i + 1, leader + 1);
            return false;
        }
        if (opaque) continue;
        if (n->last_index != l->last_index || n->applied_index != l->applied_index ||
            n->applied_index != n->last_index) {
            snprintf(missing, size, "n%u has %llu entries and applied %llu, %sn%u has %llu and applied %llu", i + 1,
                     (unsigned long long)n->last_index, (unsigned long long)n->applied_index,
                     leaderless ? "" : "the leader ", leader + 1, (unsigned long long)l->last_index,
                     (unsigned long long)l->applied_index);
            return false;
        }
        if (n->state_hash != l->state_hash) {
            snprintf(missing, size, "n%u and n%u applied the same %llu entries and differ in state", i + 1, leader + 1,
                     (unsigned long long)n->applied_index);
            return false;
        }
    }
    return true;
}

static void settle(struct runner *r) {
    uint64_t start_ns = now_ns(r);
    uint64_t settle_ns = r->scenario->settle_ns ? r->scenario->settle_ns : SETTLE_DEFAULT_NS;
    struct recovery *v = &r->recovery;
    v->tried = true;
    for (;;) {
        uint64_t now = now_ns(r), after_ns = now - start_ns;
        bool idle = r->clients_free == r->clients, whole = is_whole(r, v->missing, sizeof v->missing);
        if (whole && !v->recovered && after_ns <= settle_ns) {
            v->recovered = true;
            v->after_ns = after_ns;
        }
        /* The last operations may still end after the cluster is whole, and make it apply something more. */
        if (whole && idle) return;
        if (!v->recovered && after_ns >= settle_ns) return;
        if (after_ns >= settle_ns + DRAIN_MAX_NS) {
            if (idle) return;
            error_set(&r->failure, "%u operations never ended", r->clients - r->clients_free);
            r->halt = HALT_BROKEN;
            return;
        }
        loop_run(r, NULL, now + SETTLE_POLL_NS, false);
        if (runner_stopped(r)) return;
    }
}

/* --- final reads --- */

struct again { /* a generator of the reads that did not end ok */
    struct generator base;
    uint32_t *ops, count, next;
    const struct history *history;
};

static enum gen_state again_peek(struct generator *g, const struct gen_context *c, uint64_t *due_ns, struct error *e) {
    (void)e;
    const struct again *a = (const struct again *)g;
    if (a->next == a->count) return GEN_DONE;
    *due_ns = c->now_ns;
    return c->free_clients ? GEN_READY : GEN_PENDING;
}

static int again_take(struct generator *g, const struct gen_context *c, struct gen_op *op, struct error *e) {
    (void)e;
    struct again *a = (struct again *)g;
    uint32_t old = a->ops[a->next++];
    op->client = 0;
    while (c->busy[op->client]) op->client++;
    op->f = a->history->f[old];
    op->key = a->history->key[old];
    op->argument = a->history->argument[old];
    op->intended_ns = c->now_ns;
    return 0;
}

static const struct generator_ops again_ops = {.peek = again_peek, .take = again_take};

/* Reads only: for other operations `fail` can be the right answer, and `info` must not be tried twice. */
static void collect_failed_reads(struct again *a, uint32_t first) {
    const struct history *h = a->history;
    a->count = a->next = 0;
    for (uint32_t op = first; op < h->count; op++) {
        if (h->f[op] != OP_READ || h->status[op] == OP_OK) continue;
        a->ops = xrealloc(a->ops, (a->count + 1) * sizeof *a->ops);
        a->ops[a->count++] = op;
    }
}

static void final_reads(struct runner *r) {
    struct generator *g = r->final_reads;
    if (!g) return;
    struct again a = {.base = {&again_ops}, .history = r->history};
    uint32_t tries = r->recovery.recovered ? FINAL_READ_TRIES : 1;
    r->final_phase = true;
    for (uint32_t n = 0; n < tries && g && !runner_stopped(r); n++, g = a.count ? &a.base : NULL) {
        uint32_t first = r->history->count;
        loop_run(r, g, now_ns(r) + FINAL_PHASE_MAX_NS, true);
        collect_failed_reads(&a, first);
    }
    if (a.count && r->recovery.recovered && !runner_stopped(r)) {
        uint32_t op = a.ops[0];
        r->recovery.recovered = false;
        snprintf(r->recovery.missing, sizeof r->recovery.missing,
                 "%u final reads (the first of key %s) did not end ok in %u tries", a.count,
                 history_text(r->history, r->history->key[op]), tries);
    }
    free(a.ops);
}

/* --- all of them --- */

static struct world_counters count(const struct runner *r) {
    struct world_counters c;
    r->world->ops->counters(r->world, &c);
    return c;
}

static struct world_counters counted_since(struct world_counters before, struct world_counters now) {
    bool known = now.syncs != COUNT_UNKNOWN;
    return (struct world_counters){.messages = now.messages - before.messages,
                                   .message_bytes = now.message_bytes - before.message_bytes,
                                   .syncs = known ? now.syncs - before.syncs : COUNT_UNKNOWN,
                                   .fast_commits = now.fast_commits - before.fast_commits,
                                   .slow_commits = now.slow_commits - before.slow_commits,
                                   .cpu_ns = now.cpu_ns - before.cpu_ns};
}

void phases_run(struct runner *r) {
    struct world_counters before = count(r);
    loop_run(r, r->workload, r->time_ns, false);
    r->main_end_ns = now_ns(r);
    r->counters = counted_since(before, count(r));
    if (r->script) script_end_faults(r->script);
    if (runner_stopped(r)) return;
    settle(r);
    if (runner_stopped(r)) return;
    final_reads(r);
}
