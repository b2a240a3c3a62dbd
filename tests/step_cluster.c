/* The cluster of step_cluster.h. */
#include "tests/step_cluster.h"

#include <stdio.h>
#include <stdlib.h>

#define GROW(items, count, capacity)                                                                                   \
    do {                                                                                                               \
        if ((count) < (capacity)) break;                                                                               \
        (capacity) = (capacity) ? 2 * (capacity) : 64;                                                                 \
        (items) = xrealloc((items), (capacity) * sizeof *(items));                                                     \
    } while (0)

/* All commands interfere: there is one sequence, whatever the protocol could leave open. */
static uint32_t one_key(struct bytes command, struct footprint *out) {
    (void)command;
    out[0] = (struct footprint){.key = 1};
    return 1;
}

struct config step_config(void) {
    return (struct config){.seed = 1,
                           .footprint = one_key,
                           .election_timeout_ns = 300 * NS_PER_MS,
                           .heartbeat_ns = 50 * NS_PER_MS,
                           .reads = PROTOCOL_READ_INDEX,
                           .snapshot_entries = 40,
                           .snapshot_trailing = 10,
                           .limits = {.log_entries_max = 256,
                                      .log_bytes_max = 1 << 16,
                                      .entry_bytes_max = 1024,
                                      .message_bytes_max = 2048,
                                      .reads_max = 64,
                                      .inflight_max = 8}};
}

static void boot(struct step_cluster *c, uint8_t id);

struct step_cluster *step_new(const struct protocol *p, uint8_t nodes, const struct config *config, uint64_t seed) {
    struct step_cluster *c = xcalloc(1, sizeof *c);
    c->protocol = p;
    c->nodes = nodes;
    c->now_ns = NS_PER_S;
    c->latency_ns = NS_PER_MS;
    prng_seed(&c->prng, seed, 0);
    for (uint8_t i = 0; i < nodes; i++) {
        struct step_node *n = &c->node[i];
        n->config = config ? *config : step_config();
        n->config.self = i;
        n->config.nodes = nodes;
        n->config.seed = hash_mix(seed, i);
        if (!(p->reads_known >> n->config.reads & 1)) n->config.reads = PROTOCOL_READ_LOG;
        n->state = xmalloc(p->state_size(&n->config));
        n->fx.capacity = p->effects_needed(&n->config);
        n->fx.items = xmalloc(n->fx.capacity * sizeof *n->fx.items);
        n->fx.scratch_capacity = p->scratch_needed(&n->config);
        n->fx.scratch = xmalloc(n->fx.scratch_capacity);
    }
    for (uint8_t i = 0; i < nodes; i++) boot(c, i);
    return c;
}

static void write_free(struct step_write *w) {
    buffer_free(&w->bytes);
    buffer_free(&w->header);
}

static void message_free(struct step_message *m) {
    free((void *)(uintptr_t)m->bytes.data);
}

void step_free(struct step_cluster *c) {
    for (uint8_t i = 0; i < c->nodes; i++) {
        struct step_node *n = &c->node[i];
        for (size_t k = 0; k < n->entries_count; k++) buffer_free(&n->entries[k].payload);
        for (size_t k = 0; k < n->writes_count; k++) write_free(&n->writes[k]);
        buffer_free(&n->snapshot);
        buffer_free(&n->receiving);
        free(n->entries);
        free(n->writes);
        free(n->state);
        free(n->fx.items);
        free(n->fx.scratch);
    }
    for (size_t i = 0; i < c->messages_count; i++) message_free(&c->messages[i]);
    free(c->messages);
    free(c);
}

/* --- disks -------------------------------------------------------------------------------------------------------- */

static void drop_entries(struct step_node *n, size_t from, size_t to) {
    if (from == to) return; /* there may be none at all */
    for (size_t i = from; i < to; i++) buffer_free(&n->entries[i].payload);
    memmove(n->entries + from, n->entries + to, (n->entries_count - to) * sizeof *n->entries);
    n->entries_count -= to - from;
}

static void keep_entries(struct step_node *n, uint64_t from) {
    size_t gone = 0;
    while (gone < n->entries_count && n->entries[gone].index < from) gone++;
    drop_entries(n, 0, gone);
}

static void truncate_entries(struct step_node *n, uint64_t from) {
    size_t kept = n->entries_count;
    while (kept > 0 && n->entries[kept - 1].index >= from) kept--;
    drop_entries(n, kept, n->entries_count);
}

static void take_snapshot_file(struct step_node *n, const struct step_write *w) {
    n->snapshot.size = 0;
    buffer_append(&n->snapshot, w->bytes.data, w->bytes.size);
    n->snapshot_index = w->index;
    n->snapshot_term = w->term;
    if (w->reset) drop_entries(n, 0, n->entries_count);
    keep_entries(n, w->keep_from);
}

static void reaches_disk(struct step_node *n, struct step_write *w) {
    switch ((enum effect_kind)w->effect) {
    case EFFECT_APPEND:
        assert(n->entries_count == 0 || n->entries[n->entries_count - 1].index + 1 == w->index);
        GROW(n->entries, n->entries_count, n->entries_capacity);
        n->entries[n->entries_count++] = (struct step_entry){w->index, w->term, w->entry_kind, w->bytes};
        w->bytes = (struct buffer){0};
        break;
    case EFFECT_TRUNCATE: truncate_entries(n, w->index); break;
    case EFFECT_META:
        n->meta_size = w->bytes.size;
        memcpy(n->meta, w->bytes.data, w->bytes.size);
        break;
    default: take_snapshot_file(n, w); break;
    }
}

/* The state machine as bytes: what was applied, in order. */
static void restore(struct step_node *n, struct bytes snapshot, struct bytes *header) {
    struct reader r = {.data = snapshot.data, .size = snapshot.size};
    *header = read_bytes(&r);
    n->applied_count = read_u64(&r);
    for (uint64_t i = 0; i < n->applied_count; i++) n->applied[i] = read_u64(&r);
    assert(!r.failed);
}

static void put_u32(struct buffer *b, uint32_t v) {
    buffer_append(b, &v, sizeof v);
}

static void serialize(const struct step_node *n, struct bytes header, struct buffer *out) {
    put_u32(out, (uint32_t)header.size);
    buffer_append(out, header.data, header.size);
    buffer_append(out, &n->applied_count, sizeof n->applied_count);
    buffer_append(out, n->applied, n->applied_count * sizeof *n->applied);
}

static void writes_start(struct step_node *n, const struct effect *e) {
    struct step_write w = {.effect = e->kind,
                           .entry_kind = e->entry_kind,
                           .index = e->index,
                           .term = e->term,
                           .keep_from = e->token,
                           .written = e->written,
                           .reset = e->reset};
    if (e->kind == EFFECT_SNAPSHOT_TAKE)
        serialize(n, e->bytes, &w.bytes);
    else if (e->kind == EFFECT_SNAPSHOT_RECEIVE)
        buffer_append(&w.bytes, n->receiving.data, n->receiving.size);
    else
        buffer_append(&w.bytes, e->bytes.data, e->bytes.size);
    GROW(n->writes, n->writes_count, n->writes_capacity);
    n->writes[n->writes_count++] = w;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static void answers(struct step_node *n, uint64_t token, uint8_t status, uint64_t index) {
    assert(n->answers_count < sizeof n->answers / sizeof *n->answers);
    n->answers[n->answers_count++] = (struct step_answer){token, index, status};
}

static void sends(struct step_cluster *c, uint8_t from, const struct effect *e) {
    c->sent[e->message_kind]++;
    if (c->cut[from] >> e->to & 1 || prng_chance(&c->prng, c->loss_ppm)) return;
    uint32_t copies = 1 + prng_chance(&c->prng, c->double_ppm);
    for (uint32_t i = 0; i < copies; i++) {
        uint8_t *bytes = xmalloc(e->bytes.size + 1);
        memcpy(bytes, e->bytes.data, e->bytes.size);
        uint64_t due = c->now_ns + c->latency_ns + (c->jitter_ns ? prng_below(&c->prng, c->jitter_ns) : 0);
        GROW(c->messages, c->messages_count, c->messages_capacity);
        c->messages[c->messages_count++] =
            (struct step_message){from, e->to, e->message_kind, bytes_of(bytes, e->bytes.size), due};
    }
}

/* A message whose barrier is not durable waits: as a write that does nothing but be there in order. */
static void carry_out(struct step_cluster *c, uint8_t id) {
    struct step_node *n = &c->node[id];
    for (uint32_t i = 0; i < n->fx.count && n->up; i++) {
        const struct effect *e = &n->fx.items[i];
        switch ((enum effect_kind)e->kind) {
        case EFFECT_SEND:
            if (!n->stalled || n->writes_count == 0 || e->barrier < n->writes[0].written)
                sends(c, id, e); /* else lost: a message may always be, and this one is said again */
            break;
        case EFFECT_APPLY:
            if (e->entry_kind == ENTRY_COMMAND) {
                assert(n->applied_count < STEP_APPLIED_MAX);
                n->applied[n->applied_count++] = hash_bytes(e->bytes, 0);
                if (e->token) answers(n, e->token, STATUS_OK, e->index);
            }
            break;
        case EFFECT_READ_READY: answers(n, e->token, STATUS_OK, n->applied_count); break;
        case EFFECT_RESPOND: answers(n, e->token, e->status, 0); break;
        case EFFECT_TIMER:
            n->timers[e->timer] = e->delay_ns == UINT64_MAX ? UINT64_MAX : c->now_ns + e->delay_ns;
            break;
        case EFFECT_ROLE:
            n->role = e->role;
            n->role_changes++;
            break;
        case EFFECT_SNAPSHOT_RECEIVE:
            if (e->offset == 0) n->receiving.size = 0;
            assert(e->offset == n->receiving.size);
            buffer_append(&n->receiving, e->bytes.data, e->bytes.size);
            break;
        case EFFECT_FATAL:
            n->fatal = e->reason;
            n->up = false;
            break;
        default: break;
        }
        if (e->written) writes_start(n, e);
    }
}

static void step(struct step_cluster *c, uint8_t id, struct event ev) {
    struct step_node *n = &c->node[id];
    ev.now_ns = c->now_ns;
    n->fx.count = n->fx.scratch_size = 0;
    n->fx.snapshot_index = n->snapshot_index;
    n->fx.snapshot_term = n->snapshot_term;
    n->fx.snapshot = bytes_of(n->snapshot.data, n->snapshot.size);
    c->protocol->step(n->state, &ev, &n->fx);
    carry_out(c, id);
    const char *broken = n->up ? c->protocol->check(n->state) : NULL;
    if (broken) {
        fprintf(stderr, "n%u: %s\n", id + 1u, broken);
        abort();
    }
}

static void tell_snapshot(struct step_cluster *c, uint8_t id, const struct step_write *w) {
    struct step_node *n = &c->node[id];
    struct event ev = {.kind = w->effect == EFFECT_SNAPSHOT_TAKE ? EVENT_SNAPSHOT_TAKEN : EVENT_SNAPSHOT_INSTALLED};
    ev.snapshot.index = w->index;
    ev.snapshot.term = w->term;
    ev.snapshot.written = w->written;
    if (ev.kind == EVENT_SNAPSHOT_INSTALLED)
        restore(n, bytes_of(n->snapshot.data, n->snapshot.size), &ev.snapshot.header);
    step(c, id, ev);
}

static void persist(struct step_cluster *c, uint8_t id) {
    struct step_node *n = &c->node[id];
    while (n->up && !n->stalled && n->writes_count) {
        size_t count = n->writes_count;
        struct step_write *writes = n->writes;
        n->writes = NULL;
        n->writes_count = n->writes_capacity = 0;
        for (size_t i = 0; i < count; i++) reaches_disk(n, &writes[i]);
        struct event ev = {.kind = EVENT_PERSISTED};
        ev.persisted.written = writes[count - 1].written;
        ev.persisted.last_index = n->entries_count ? n->entries[n->entries_count - 1].index : n->snapshot_index;
        step(c, id, ev);
        for (size_t i = 0; i < count; i++) {
            bool snapshot = writes[i].effect == EFFECT_SNAPSHOT_TAKE || writes[i].effect == EFFECT_SNAPSHOT_RECEIVE;
            if (snapshot && n->up) tell_snapshot(c, id, &writes[i]);
            write_free(&writes[i]);
        }
        free(writes);
    }
}

void step_event(struct step_cluster *c, uint8_t node, struct event ev) {
    if (!c->node[node].up) return;
    step(c, node, ev);
    persist(c, node);
}

void step_propose(struct step_cluster *c, uint8_t node, uint64_t token, const char *command) {
    struct event ev = {.kind = EVENT_PROPOSE};
    ev.propose.token = token;
    ev.propose.command = bytes_str(command);
    step_event(c, node, ev);
}

void step_read(struct step_cluster *c, uint8_t node, uint64_t token) {
    struct event ev = {.kind = EVENT_READ};
    ev.read.token = token;
    step_event(c, node, ev);
}

void step_release_disk(struct step_cluster *c, uint8_t node) {
    c->node[node].stalled = false;
    persist(c, node);
}

static void boot(struct step_cluster *c, uint8_t id) {
    struct step_node *n = &c->node[id];
    struct entry *entries = xmalloc((n->entries_count + 1) * sizeof *entries);
    for (size_t i = 0; i < n->entries_count; i++) {
        const struct step_entry *e = &n->entries[i];
        entries[i] = (struct entry){e->index, e->term, e->kind, bytes_of(e->payload.data, e->payload.size)};
    }
    struct durable d = {.meta = bytes_of(n->meta, n->meta_size),
                        .snapshot_index = n->snapshot_index,
                        .snapshot_term = n->snapshot_term,
                        .entries = entries,
                        .entries_count = n->entries_count};
    n->applied_count = 0;
    if (n->snapshot_index) restore(n, bytes_of(n->snapshot.data, n->snapshot.size), &d.snapshot_header);
    for (size_t i = 0; i < STEP_TIMERS; i++) n->timers[i] = UINT64_MAX;
    n->up = true;
    n->fatal = NULL;
    n->receiving.size = 0;
    n->fx.count = n->fx.scratch_size = 0;
    n->fx.written = 0;
    c->protocol->start(n->state, &n->config, &d, c->now_ns, &n->fx);
    carry_out(c, id);
    free(entries);
    persist(c, id);
}

void step_boot(struct step_cluster *c, uint8_t node) {
    if (!c->node[node].up) boot(c, node);
}

void step_crash(struct step_cluster *c, uint8_t node) {
    struct step_node *n = &c->node[node];
    for (size_t i = 0; i < n->writes_count; i++) write_free(&n->writes[i]);
    n->writes_count = 0;
    n->up = n->stalled = false;
}

/* --- time --------------------------------------------------------------------------------------------------------- */

static void deliver(struct step_cluster *c, size_t which) {
    struct step_message m = c->messages[which];
    memmove(c->messages + which, c->messages + which + 1, (c->messages_count - which - 1) * sizeof *c->messages);
    c->messages_count--;
    struct event ev = {.kind = EVENT_MESSAGE};
    ev.message.from = m.from;
    ev.message.bytes = m.bytes;
    step_event(c, m.to, ev);
    message_free(&m);
}

void step_run(struct step_cluster *c, uint64_t ns) {
    uint64_t end = c->now_ns + ns;
    for (;;) {
        uint64_t due = end + 1;
        size_t message = SIZE_MAX;
        uint8_t node = NODE_NONE, timer = 0;
        for (size_t i = 0; i < c->messages_count; i++)
            if (c->messages[i].due_ns < due) due = c->messages[i].due_ns, message = i;
        for (uint8_t i = 0; i < c->nodes; i++)
            for (uint8_t t = 0; t < STEP_TIMERS && c->node[i].up; t++)
                if (c->node[i].timers[t] < due) due = c->node[i].timers[t], node = i, timer = t;
        if (due > end) break;
        c->now_ns = due > c->now_ns ? due : c->now_ns;
        if (node == NODE_NONE) {
            deliver(c, message);
            continue;
        }
        c->node[node].timers[timer] = UINT64_MAX;
        step_event(c, node, (struct event){.kind = EVENT_TIMER, .timer = {.id = timer}});
    }
    c->now_ns = end;
}

static void disturb(struct step_cluster *c) {
    uint8_t node = (uint8_t)prng_below(&c->prng, c->nodes);
    switch (prng_below(&c->prng, 10)) {
    case 0: step_crash(c, node); break;
    case 1:
    case 2: step_boot(c, node); break;
    case 3: c->node[node].stalled = c->node[node].up; break;
    case 4:
    case 5: step_release_disk(c, node); break;
    case 6: c->cut[node] = (uint32_t)prng_below(&c->prng, UINT64_C(1) << c->nodes); break;
    case 7:
    case 8: c->cut[node] = 0; break;
    default:
        c->loss_ppm = prng_chance(&c->prng, 500000) ? 200000 : 0;
        c->double_ppm = prng_chance(&c->prng, 500000) ? 200000 : 0;
        c->jitter_ns = prng_chance(&c->prng, 500000) ? 30 * NS_PER_MS : 0;
        break;
    }
}

static void heal(struct step_cluster *c) {
    c->loss_ppm = c->double_ppm = 0;
    c->jitter_ns = 0;
    for (uint8_t i = 0; i < c->nodes; i++) {
        c->cut[i] = 0;
        step_release_disk(c, i);
        step_boot(c, i);
    }
}

uint32_t step_storm(struct step_cluster *c, uint32_t things) {
    uint64_t token = 0;
    uint32_t ok = 0;
    for (uint32_t i = 0; i < things; i++) {
        if (prng_chance(&c->prng, 150000)) disturb(c);
        uint8_t node = (uint8_t)prng_below(&c->prng, c->nodes), leader = step_leader(c);
        if (leader != NODE_NONE && prng_chance(&c->prng, 800000)) node = leader;
        char command[32];
        snprintf(command, sizeof command, "command %u", i);
        step_propose(c, node, ++token, command);
        step_run(c, prng_below(&c->prng, 20) * NS_PER_MS);
        step_expect_agreement(c);
        for (uint8_t k = 0; k < c->nodes; k++) {
            struct step_node *n = &c->node[k];
            for (uint32_t a = 0; a < n->answers_count; a++) ok += n->answers[a].status == STATUS_OK;
            n->answers_count = 0;
        }
    }
    heal(c);
    step_run(c, 10 * NS_PER_S);
    step_expect_agreement(c);
    return ok;
}

/* --- asked about it ----------------------------------------------------------------------------------------------- */

uint8_t step_leader(const struct step_cluster *c) {
    uint8_t leader = NODE_NONE;
    for (uint8_t i = 0; i < c->nodes; i++) {
        if (!c->node[i].up || c->node[i].role != PROTOCOL_LEADER) continue;
        if (leader != NODE_NONE) return NODE_NONE;
        leader = i;
    }
    return leader;
}

const struct step_answer *step_answer(const struct step_cluster *c, uint8_t node, uint64_t token) {
    const struct step_node *n = &c->node[node];
    for (uint32_t i = 0; i < n->answers_count; i++)
        if (n->answers[i].token == token) return &n->answers[i];
    return NULL;
}

struct probe step_probe(const struct step_cluster *c, uint8_t node) {
    struct probe p;
    c->protocol->probe(c->node[node].state, &p);
    return p;
}

void step_expect_agreement(const struct step_cluster *c) {
    const struct step_node *longest = &c->node[0];
    for (uint8_t i = 0; i < c->nodes; i++)
        if (c->node[i].applied_count > longest->applied_count) longest = &c->node[i];
    for (uint8_t i = 0; i < c->nodes; i++) {
        const struct step_node *n = &c->node[i];
        for (uint64_t k = 0; k < n->applied_count; k++) {
            if (n->applied[k] == longest->applied[k]) continue;
            fprintf(stderr, "n%u applied another command as number %llu than n%u\n", i + 1u, (unsigned long long)k + 1,
                    (unsigned)(longest - c->node) + 1);
            abort();
        }
        if (!n->fatal) continue;
        fprintf(stderr, "n%u stopped itself: %s\n", i + 1u, n->fatal);
        abort();
    }
}

bool step_converged(const struct step_cluster *c) {
    for (uint8_t i = 0; i < c->nodes; i++) {
        if (!c->node[i].up) return false;
        struct probe p = step_probe(c, i);
        if (p.applied_index != p.last_index || c->node[i].applied_count != c->node[0].applied_count) return false;
    }
    return true;
}
