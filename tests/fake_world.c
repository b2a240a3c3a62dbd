/* The fake world: see fake_world.h. */
#include "tests/fake_world.h"

#include <stdlib.h>

enum fake_event { EVENT_WAKE, EVENT_COMPLETE };

struct fake_payload {
    enum fake_event kind;
    uint64_t tag;
    struct completion completion;
};

static void (*set_up_worlds)(struct fake *f);

void fake_set_up_with(void (*set_up)(struct fake *f)) {
    set_up_worlds = set_up;
}

struct fake *fake_of(struct world *w) {
    return (struct fake *)w;
}

static void push(struct fake *f, uint64_t time_ns, const struct fake_payload *p) {
    struct fake_payload *copy = xmalloc(sizeof *copy);
    *copy = *p;
    heap_push(&f->heap, (struct heap_item){time_ns, f->sequence++, (uint64_t)(uintptr_t)copy});
}

static struct fake_payload pop(struct fake *f) {
    struct fake_payload *owned = (struct fake_payload *)(uintptr_t)heap_pop(&f->heap).payload, copy = *owned;
    free(owned);
    return copy;
}

static void clear(struct fake *f) {
    while (f->heap.count) (void)pop(f);
}

static void fake_free(struct world *w) {
    struct fake *f = fake_of(w);
    clear(f);
    heap_free(&f->heap);
    free(f);
}

static uint64_t fake_now(const struct world *w) {
    return ((const struct fake *)w)->now_ns;
}

static void fake_wake_at(struct world *w, uint64_t time_ns, uint64_t tag) {
    struct fake *f = fake_of(w);
    push(f, time_ns < f->now_ns ? f->now_ns : time_ns, &(struct fake_payload){.kind = EVENT_WAKE, .tag = tag});
}

static enum world_end fake_run_until(struct world *w, uint64_t time_ns) {
    struct fake *f = fake_of(w);
    f->stopped = false;
    if (f->breaks) return WORLD_FAILED;
    while (f->heap.count && heap_top(&f->heap)->time_ns <= time_ns) {
        f->now_ns = heap_top(&f->heap)->time_ns;
        if (f->violation_at_ns && f->now_ns >= f->violation_at_ns) return WORLD_VIOLATION;
        struct fake_payload p = pop(f);
        f->events++;
        if (p.kind == EVENT_WAKE) {
            w->host.on_wake(w->host.ctx, p.tag);
        } else {
            f->open--;
            w->host.on_complete(w->host.ctx, &p.completion);
        }
        if (f->stopped) return WORLD_STOPPED;
    }
    f->now_ns = time_ns;
    return WORLD_TIME;
}

static void fake_stop(struct world *w) {
    fake_of(w)->stopped = true;
}

static bool completion_is_due(const struct fake *f) {
    for (size_t i = 0; i < f->heap.count; i++) {
        const struct fake_payload *p = (const struct fake_payload *)(uintptr_t)f->heap.items[i].payload;
        if (p->kind == EVENT_COMPLETE && f->heap.items[i].time_ns <= f->now_ns) return true;
    }
    return false;
}

static uint8_t fake_submit(struct world *w, uint32_t client, const struct world_op *op) {
    struct fake *f = fake_of(w);
    if (completion_is_due(f)) f->submits_before_completions++;
    struct fake_answer a = {OP_OK, 10 * NS_PER_MS};
    if (f->answer) a = f->answer(f, w->host.history, op->op);
    f->submits++;
    if (++f->open > f->open_max) f->open_max = f->open;
    struct completion c = {
        .op = op->op, .client = client, .status = a.status, .result = op->argument, .error = NO_STRING};
    push(f, f->now_ns + a.after_ns, &(struct fake_payload){.kind = EVENT_COMPLETE, .completion = c});
    return (uint8_t)(client % f->config.nodes);
}

static uint32_t fake_fault_begin(struct world *w, const struct fault_spec *spec, struct error *e) {
    (void)e;
    struct fake *f = fake_of(w);
    f->fault_kinds |= 1u << spec->kind;
    return ++f->faults_begun;
}

static struct fault_evidence fake_fault_end(struct world *w, uint32_t fault) {
    (void)fault;
    fake_of(w)->faults_ended++;
    return fake_of(w)->evidence;
}

static uint8_t fake_leader(const struct world *w) {
    (void)w;
    return 0;
}

static bool fake_transfer(struct world *w, uint8_t to) {
    (void)w;
    (void)to;
    return false;
}

static void fake_counters(const struct world *w, struct world_counters *out) {
    const struct fake *f = (const struct fake *)w;
    *out = (struct world_counters){.messages = 2 * (uint64_t)f->submits, .syncs = COUNT_UNKNOWN};
}

static struct node_status fake_node_status(const struct world *w, uint8_t node) {
    const struct fake *f = (const struct fake *)w;
    struct node_status s = f->nodes[node];
    if (node == 2 && f->now_ns < f->whole_at_ns) s.up = false;
    return s;
}

static const char *fake_violation(const struct world *w, const char **invariant) {
    const struct fake *f = (const struct fake *)w;
    if (!f->violation_at_ns || f->now_ns < f->violation_at_ns) return NULL;
    *invariant = "one-leader";
    return "n1 and n2 both lead term 7";
}

static uint64_t fake_events(const struct world *w) {
    return ((const struct fake *)w)->events;
}

static uint64_t fake_trace_hash(const struct world *w) {
    return hash_u64(((const struct fake *)w)->events);
}

static void fake_trace_to(struct world *w, void (*line)(void *ctx, const char *text), void *ctx) {
    (void)w;
    if (line) line(ctx, "a line");
}

static const struct world_ops fake_ops = {
    .name = "fake",
    .free = fake_free,
    .now_ns = fake_now,
    .wake_at = fake_wake_at,
    .run_until = fake_run_until,
    .stop = fake_stop,
    .submit = fake_submit,
    .capabilities = ((1u << FAULT_KINDS) - 1) | FAULT_WHOLE_DISKS,
    .fault_begin = fake_fault_begin,
    .fault_end = fake_fault_end,
    .leader = fake_leader,
    .transfer = fake_transfer,
    .node_status = fake_node_status,
    .counters = fake_counters,
    .violation = fake_violation,
    .events = fake_events,
    .trace_hash = fake_trace_hash,
    .trace_to = fake_trace_to,
};

int fake_reset(struct world *w, const struct world_config *c, struct error *e) {
    (void)e;
    struct fake *f = fake_of(w);
    clear(f);
    *f = (struct fake){.base = {.ops = &fake_ops, .host = w->host}, .config = *c, .heap = f->heap};
    for (uint32_t i = 0; i < c->nodes; i++)
        f->nodes[i] = (struct node_status){
            .up = true, .role = i == 0 ? ROLE_LEADER : ROLE_FOLLOWER, .term = 1, .applied_index = 9, .last_index = 9};
    f->evidence = (struct fault_evidence){1, 1};
    if (set_up_worlds) set_up_worlds(f);
    return 0;
}

struct world *fake_make(const struct world_config *c, struct world_host host, struct error *e) {
    if (strcmp(c->target, "raft") != 0) {
        error_set(e, "there is no target \"%s\"", c->target);
        return NULL;
    }
    struct fake *f = xcalloc(1, sizeof *f);
    f->base.host = host;
    (void)fake_reset(&f->base, c, e);
    return &f->base;
}
