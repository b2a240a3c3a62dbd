/* EPaxos in a cluster in memory: random schedules with lost, repeated and reordered messages, replicas that lose what
 * is not on disk, and replicas that are away until what they miss is forgotten. What the replicas did is judged from
 * outside, by brute force over all pairs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "targets/protocols/epaxos/epaxos.h"
#include "tests/support.h"

enum { NODES_MAX = 6, KEYS = 4, MESSAGES_MAX = 4096, COMMANDS_MAX = 4000, DISK_MAX = 1 << 16 };

struct message {
    uint8_t from, to;
    uint64_t barrier; /* of the sender's disk; it is under way once that is durable */
    struct bytes bytes;
};
struct stored { /* one write */
    uint64_t written;
    struct entry entry;
    bool snapshot;
    uint64_t index, keep_from;
    struct bytes data;
};
struct command {              /* as a client gave it */
    uint32_t keys;            /* mask of those written */
    uint32_t reads;           /* mask of those read */
    uint64_t asked, answered; /* times; 0: not yet */
    uint32_t applied;         /* mask of replicas */
};
struct node {
    struct config config;
    void *state;
    struct effects fx;
    bool up;
    uint64_t now, due, durable, pending_taken, pending_received;
    struct stored *disk;
    size_t disk_count;
    uint64_t reported;
    uint32_t *order; /* what it executed: numbers of commands, in order; across restarts begun anew from a snapshot */
    size_t order_count;
    struct bytes receiving;
};
struct cluster {
    uint8_t nodes;
    struct node node[NODES_MAX];
    struct message mail[MESSAGES_MAX];
    size_t mail_count;
    struct prng prng;
    struct command commands[COMMANDS_MAX];
    uint32_t commands_count, answered;
    uint64_t time;
    bool cut[NODES_MAX][NODES_MAX];
    uint32_t loss_ppm;
    const char *broken;
    struct map64 values; /* instance -> hash of what was committed */
    struct epaxos_record *committed;
    size_t committed_count, fast, slow;
};

static struct bytes copy(struct bytes b) {
    uint8_t *data = xmalloc(b.size + 1);
    if (b.size) memcpy(data, b.data, b.size);
    return bytes_of(data, b.size);
}

static void release(struct bytes *b) {
    free((void *)(uintptr_t)b->data);
    *b = (struct bytes){0};
}

/* --- the state machine: the order of the commands per key --------------------------------------------------------- */

struct given { /* a command's bytes */
    uint32_t number, keys, reads;
};

static uint32_t footprint(struct bytes command, struct footprint *out) {
    struct given g;
    uint32_t count = 0;
    memcpy(&g, command.data, sizeof g);
    for (uint32_t k = 0; k < KEYS; k++)
        if ((g.keys | g.reads) >> k & 1) out[count++] = (struct footprint){k, !(g.keys >> k & 1)};
    return count;
}

static bool interfere(const struct command *a, const struct command *b) {
    return (a->keys & (b->keys | b->reads)) || (b->keys & a->reads);
}

static void broken(struct cluster *c, const char *what) {
    if (!c->broken) c->broken = what;
}

/* --- disks -------------------------------------------------------------------------------------------------------- */

static void store(struct node *n, struct stored s) {
    assert(n->disk_count < DISK_MAX);
    n->disk[n->disk_count++] = s;
}

static void take_snapshot(struct node *n, const struct effect *e, struct bytes header, const void *order,
                          size_t bytes) {
    struct buffer b = {0};
    uint32_t size = (uint32_t)header.size;
    buffer_append(&b, &size, sizeof size);
    buffer_append(&b, header.data, header.size);
    buffer_append(&b, order, bytes);
    store(n, (struct stored){.written = e->written,
                             .snapshot = true,
                             .index = e->index,
                             .keep_from = e->token,
                             .data = bytes_of(b.data, b.size)});
}

static struct bytes header_of(struct bytes snapshot, struct bytes *rest) {
    struct reader r = {.data = snapshot.data, .size = snapshot.size};
    struct bytes header = read_bytes(&r);
    *rest = bytes_of(snapshot.data + r.offset, r.size - r.offset);
    return header;
}

/* --- effects ------------------------------------------------------------------------------------------------------ */

/* A commit without an accept round is one when it is on its leader's disk, any other at once. */
static void note_record(struct cluster *c, struct bytes record, bool durable) {
    struct epaxos_record r;
    assert_true(epaxos_record_decode(record, c->nodes, &r));
    if (r.status < EPAXOS_COMMITTED || (r.fast && !durable)) return;
    uint64_t hash = hash_mix(r.entry_kind, r.at.seq);
    for (uint8_t q = 0; q < c->nodes; q++) hash = hash_mix(hash, r.at.deps[q]);
    if (r.entry_kind == ENTRY_COMMAND) hash = hash_mix(hash, hash_bytes(r.command, 0));
    bool fresh;
    uint64_t *known = map64_put(&c->values, epaxos_name(r.id), &fresh);
    if (!fresh && *known != hash) broken(c, "an instance was committed with two values");
    *known = hash;
    if (!fresh) return;
    c->fast += r.fast;
    c->slow += !r.fast;
    r.command = copy(r.command);
    c->committed = xrealloc(c->committed, (c->committed_count + 1) * sizeof r);
    c->committed[c->committed_count++] = r;
}

static void apply(struct cluster *c, uint8_t id, const struct effect *e) {
    struct node *n = &c->node[id];
    if (!map64_get(&c->values, e->instance)) broken(c, "an instance was executed that nobody committed");
    if (e->entry_kind != ENTRY_COMMAND) return;
    struct given g;
    memcpy(&g, e->bytes.data, sizeof g);
    for (size_t k = 0; k < n->order_count; k++)
        if (n->order[k] == g.number) broken(c, "a command was executed twice");
    n->order[n->order_count++] = g.number;
    struct command *command = &c->commands[g.number];
    if (!e->token) return;
    if (e->token != g.number + 1u) broken(c, "an answer went to another's request");
    command->answered = ++c->time;
    c->answered++;
}

static void carry_out(struct cluster *c, uint8_t id, const struct effect *e) {
    struct node *n = &c->node[id];
    switch ((enum effect_kind)e->kind) {
    case EFFECT_APPEND: {
        note_record(c, e->bytes, false);
        struct entry entry = {e->index, e->term, e->entry_kind, copy(e->bytes)};
        store(n, (struct stored){.written = e->written, .entry = entry});
        break;
    }
    case EFFECT_SEND:
        if (c->mail_count == MESSAGES_MAX || c->cut[id][e->to]) break;
        if (prng_chance(&c->prng, c->loss_ppm)) break;
        c->mail[c->mail_count++] = (struct message){id, e->to, e->barrier, copy(e->bytes)};
        break;
    case EFFECT_APPLY: apply(c, id, e); break;
    case EFFECT_RESPOND: break;
    case EFFECT_TIMER: n->due = n->now + e->delay_ns; break;
    case EFFECT_SNAPSHOT_TAKE:
        take_snapshot(n, e, e->bytes, n->order, n->order_count * sizeof *n->order);
        n->pending_taken = e->written;
        break;
    case EFFECT_SNAPSHOT_RECEIVE: {
        struct buffer b = {0};
        if (e->offset) buffer_append(&b, n->receiving.data, n->receiving.size);
        assert_int_equal(e->offset, b.size);
        buffer_append(&b, e->bytes.data, e->bytes.size);
        release(&n->receiving);
        n->receiving = bytes_of(b.data, b.size);
        if (!e->last) break;
        struct bytes order, header = header_of(n->receiving, &order);
        take_snapshot(n, e, header, order.data, order.size);
        n->pending_received = e->written;
        break;
    }
    case EFFECT_FATAL: broken(c, e->reason); break;
    default: break;
    }
}

static void step(struct cluster *c, uint8_t id, struct event ev) {
    struct node *n = &c->node[id];
    ev.now_ns = n->now;
    n->fx.count = n->fx.scratch_size = 0;
    epaxos_protocol.step(n->state, &ev, &n->fx);
    for (uint32_t k = 0; k < n->fx.count; k++) carry_out(c, id, &n->fx.items[k]);
    const char *wrong = epaxos_protocol.check(n->state);
    if (wrong) broken(c, wrong);
}

static const struct stored *newest_snapshot(const struct node *n) {
    for (size_t k = n->disk_count; k-- > 0;)
        if (n->disk[k].snapshot && n->disk[k].written <= n->durable) return &n->disk[k];
    return NULL;
}

static void load_order(struct node *n, struct bytes order) {
    n->order_count = order.size / sizeof *n->order;
    if (order.size) memcpy(n->order, order.data, order.size);
}

static void show_snapshot(struct node *n) {
    const struct stored *s = newest_snapshot(n);
    n->fx.snapshot = s ? s->data : (struct bytes){0};
    n->fx.snapshot_index = s ? s->index : 0;
}

/* The disk reaches this write. */
static void syncs(struct cluster *c, uint8_t id, uint64_t written) {
    struct node *n = &c->node[id];
    if (written > n->durable) n->durable = written;
    if (n->reported == n->durable) return;
    for (size_t k = 0; k < n->disk_count; k++) {
        const struct stored *s = &n->disk[k];
        bool fresh = s->written > n->reported && s->written <= n->durable;
        if (fresh && !s->snapshot) note_record(c, s->entry.payload, true);
    }
    n->reported = n->durable;
    step(c, id, (struct event){.kind = EVENT_PERSISTED, .persisted = {.written = n->durable}});
    if (n->pending_taken && n->pending_taken <= n->durable) {
        n->pending_taken = 0;
        show_snapshot(n);
        step(c, id, (struct event){.kind = EVENT_SNAPSHOT_TAKEN, .snapshot = {.index = n->fx.snapshot_index}});
    }
    if (n->pending_received && n->pending_received <= n->durable) {
        n->pending_received = 0;
        show_snapshot(n);
        struct bytes order, header = header_of(n->fx.snapshot, &order);
        load_order(n, order);
        step(c, id,
             (struct event){.kind = EVENT_SNAPSHOT_INSTALLED,
                            .snapshot = {.index = n->fx.snapshot_index, .header = header}});
    }
}

/* Boots from what is durable: the newest snapshot, and the log from where that keeps it. */
static void boots(struct cluster *c, uint8_t id) {
    struct node *n = &c->node[id];
    size_t kept = 0;
    for (size_t k = 0; k < n->disk_count; k++) {
        if (n->disk[k].written <= n->durable) {
            n->disk[kept++] = n->disk[k];
            continue;
        }
        release(&n->disk[k].data);
        release(&n->disk[k].entry.payload);
    }
    n->disk_count = kept;
    uint64_t keep_from = 0;
    struct entry *entries = xcalloc(kept + 1, sizeof *entries);
    size_t count = 0;
    for (size_t k = 0; k < kept; k++)
        if (n->disk[k].snapshot && n->disk[k].keep_from > keep_from) keep_from = n->disk[k].keep_from;
    for (size_t k = 0; k < kept; k++)
        if (!n->disk[k].snapshot && n->disk[k].entry.index >= keep_from) entries[count++] = n->disk[k].entry;
    for (size_t k = 0; k < kept; k++) n->disk[k].written = 0;
    n->durable = n->reported = n->fx.written = n->pending_taken = n->pending_received = 0;
    n->order_count = 0;
    n->up = true;
    show_snapshot(n);
    struct durable d = {.snapshot_index = n->fx.snapshot_index, .entries = entries, .entries_count = count};
    if (d.snapshot_index) {
        struct bytes order;
        d.snapshot_header = header_of(n->fx.snapshot, &order);
        load_order(n, order);
    }
    for (size_t k = 1; k < count; k++) assert_int_equal(entries[k].index, entries[k - 1].index + 1);
    n->fx.count = n->fx.scratch_size = 0;
    epaxos_protocol.start(n->state, &n->config, &d, n->now, &n->fx);
    for (uint32_t k = 0; k < n->fx.count; k++) carry_out(c, id, &n->fx.items[k]);
    const char *wrong = epaxos_protocol.check(n->state);
    if (wrong) broken(c, wrong);
    free(entries);
}

static struct cluster *cluster_new(uint8_t nodes, uint64_t seed, const struct epaxos_rules *rules, uint32_t snapshots) {
    struct cluster *c = xcalloc(1, sizeof *c);
    c->nodes = nodes;
    prng_seed(&c->prng, seed, 1);
    for (uint8_t id = 0; id < nodes; id++) {
        struct node *n = &c->node[id];
        n->config = (struct config){.self = id,
                                    .nodes = nodes,
                                    .seed = hash_mix(seed, id),
                                    .election_timeout_ns = 300 * NS_PER_MS,
                                    .heartbeat_ns = 50 * NS_PER_MS,
                                    .snapshot_entries = snapshots,
                                    .snapshot_trailing = snapshots / 4,
                                    .limits = {.log_entries_max = snapshots ? 512 : 2048,
                                               .log_bytes_max = 1 << 16,
                                               .entry_bytes_max = 256,
                                               .message_bytes_max = 512,
                                               .reads_max = 16,
                                               .inflight_max = 16},
                                    .rules = rules,
                                    .footprint = footprint};
        n->state = xmalloc(epaxos_protocol.state_size(&n->config));
        n->fx.capacity = epaxos_protocol.effects_needed(&n->config);
        n->fx.items = xcalloc(n->fx.capacity, sizeof *n->fx.items);
        n->fx.scratch_capacity = epaxos_protocol.scratch_needed(&n->config);
        n->fx.scratch = xmalloc(n->fx.scratch_capacity);
        n->disk = xcalloc(DISK_MAX, sizeof *n->disk);
        n->order = xcalloc(2 * COMMANDS_MAX, sizeof *n->order);
        boots(c, id);
    }
    return c;
}

static void cluster_free(struct cluster *c) {
    for (uint8_t id = 0; id < c->nodes; id++) {
        struct node *n = &c->node[id];
        for (size_t k = 0; k < n->disk_count; k++) {
            release(&n->disk[k].data);
            release(&n->disk[k].entry.payload);
        }
        release(&n->receiving);
        free(n->state);
        free(n->fx.items);
        free(n->fx.scratch);
        free(n->disk);
        free(n->order);
    }
    for (size_t k = 0; k < c->mail_count; k++) release(&c->mail[k].bytes);
    for (size_t k = 0; k < c->committed_count; k++) release(&c->committed[k].command);
    free(c->committed);
    map64_free(&c->values);
    free(c);
}

/* --- a random schedule -------------------------------------------------------------------------------------------- */

static void proposes(struct cluster *c, uint8_t id, uint32_t keys, uint32_t reads) {
    struct node *n = &c->node[id];
    if (!n->up || c->commands_count == COMMANDS_MAX) return;
    struct given g = {c->commands_count++, keys, reads};
    c->commands[g.number] = (struct command){.keys = keys, .reads = reads, .asked = ++c->time};
    step(c, id,
         (struct event){.kind = EVENT_PROPOSE, .propose = {.token = g.number + 1u, .command = bytes_of(&g, sizeof g)}});
}

static void delivers(struct cluster *c, size_t at, bool twice) {
    struct message m = c->mail[at];
    if (m.barrier > c->node[m.from].durable) return;
    if (!twice) c->mail[at] = c->mail[--c->mail_count];
    if (c->node[m.to].up && !c->cut[m.from][m.to])
        step(c, m.to, (struct event){.kind = EVENT_MESSAGE, .message = {m.from, m.bytes}});
    if (!twice) release(&m.bytes);
}

static void passes(struct cluster *c, uint8_t id, uint64_t time_ns) {
    struct node *n = &c->node[id];
    n->now += time_ns;
    if (n->up && n->due <= n->now) step(c, id, (struct event){.kind = EVENT_TIMER});
}

static void proposes_at_random(struct cluster *c, uint32_t conflicts) {
    uint32_t key = prng_below(&c->prng, 100) < conflicts ? 0 : (uint32_t)prng_below(&c->prng, KEYS);
    uint32_t keys = 1u << key, reads = 0;
    if (prng_below(&c->prng, 4) == 0) keys |= 1u << prng_below(&c->prng, KEYS);
    if (prng_below(&c->prng, 3) == 0) {
        reads = keys;
        keys = 0;
    }
    proposes(c, (uint8_t)prng_below(&c->prng, c->nodes), keys, reads);
}

/* What waits for its disk is lost; what is under way is not. */
static void crashes(struct cluster *c, uint8_t id) {
    struct node *n = &c->node[id];
    n->up = false;
    for (size_t k = c->mail_count; k-- > 0;) {
        if (c->mail[k].from != id) continue;
        bool left = c->mail[k].barrier <= n->durable;
        c->mail[k].barrier = 0;
        if (left) continue;
        release(&c->mail[k].bytes);
        c->mail[k] = c->mail[--c->mail_count];
    }
}

static uint32_t down(const struct cluster *c) {
    uint32_t count = 0;
    for (uint8_t id = 0; id < c->nodes; id++) count += !c->node[id].up;
    return count;
}

static void disturbs(struct cluster *c) {
    uint8_t id = (uint8_t)prng_below(&c->prng, c->nodes), to = (uint8_t)prng_below(&c->prng, c->nodes);
    struct node *n = &c->node[id];
    switch (prng_below(&c->prng, 4)) {
    case 0:
        if (n->up && down(c) < (c->nodes - 1u) / 2) crashes(c, id);
        break;
    case 1:
        if (!n->up) boots(c, id);
        break;
    case 2: c->cut[id][to] = true; break;
    default: memset(c->cut, 0, sizeof c->cut); break;
    }
}

static void acts(struct cluster *c, uint32_t conflicts, uint32_t disturbance) {
    uint64_t what = prng_below(&c->prng, 1000);
    uint8_t id = (uint8_t)prng_below(&c->prng, c->nodes);
    if (what < 60) {
        proposes_at_random(c, conflicts);
    } else if (what < 60 + disturbance) {
        disturbs(c);
    } else if (what < 300) {
        passes(c, id, prng_below(&c->prng, 20 * NS_PER_MS));
    } else if (what < 500) {
        if (c->node[id].up) syncs(c, id, c->node[id].fx.written);
    } else if (c->mail_count > 0) {
        delivers(c, prng_below(&c->prng, c->mail_count), prng_below(&c->prng, 20) == 0);
    }
}

static struct probe probe_of(const struct cluster *c, uint8_t id) {
    struct probe p;
    epaxos_protocol.probe(c->node[id].state, &p);
    return p;
}

static bool converged(const struct cluster *c) {
    struct probe first = probe_of(c, 0);
    for (uint8_t id = 0; id < c->nodes; id++) {
        struct probe p = probe_of(c, id);
        if (p.applied_index != first.applied_index || p.last_index != p.applied_index) return false;
    }
    return true;
}

static void settles(struct cluster *c) {
    memset(c->cut, 0, sizeof c->cut);
    c->loss_ppm = 0;
    for (uint8_t id = 0; id < c->nodes; id++)
        if (!c->node[id].up) boots(c, id);
    for (uint32_t round = 0; round < 2000 && !c->broken && (round < 30 || !converged(c)); round++) {
        for (size_t k = c->mail_count; k-- > 0;)
            if (k < c->mail_count) delivers(c, k, false);
        for (uint8_t id = 0; id < c->nodes; id++) {
            syncs(c, id, c->node[id].fx.written);
            passes(c, id, 10 * NS_PER_MS);
        }
    }
    if (!converged(c)) broken(c, "the replicas do not come to the same in time");
}

/* --- the judgement, over all pairs -------------------------------------------------------------------------------- */

static bool among(const struct epaxos_record *of, const struct epaxos_record *r) {
    return of->at.deps[r->id.replica] >= r->id.number;
}

static void judge_dependencies(struct cluster *c) {
    for (size_t a = 0; a < c->committed_count; a++)
        for (size_t b = 0; b < a; b++) {
            const struct epaxos_record *x = &c->committed[a], *y = &c->committed[b];
            if (x->entry_kind != ENTRY_COMMAND || y->entry_kind != ENTRY_COMMAND) continue;
            struct given g, h;
            memcpy(&g, x->command.data, sizeof g);
            memcpy(&h, y->command.data, sizeof h);
            if (interfere(&c->commands[g.number], &c->commands[h.number]) && !among(x, y) && !among(y, x))
                broken(c, "two commands interfere and neither waits for the other");
        }
}

static void judge_orders(struct cluster *c) {
    static uint32_t place[NODES_MAX][COMMANDS_MAX];
    memset(place, 0, sizeof place);
    for (uint8_t id = 0; id < c->nodes; id++) {
        const struct node *n = &c->node[id];
        if (n->order_count != c->node[0].order_count) broken(c, "the replicas executed different commands");
        for (uint32_t k = 0; k < n->order_count; k++) place[id][n->order[k]] = k + 1;
    }
    for (uint32_t a = 0; a < c->commands_count; a++) {
        if (c->commands[a].answered && !place[0][a]) broken(c, "a command was answered and is gone");
        for (uint32_t b = 0; b < c->commands_count; b++) {
            if (a == b || !place[0][a] || !place[0][b] || !interfere(&c->commands[a], &c->commands[b])) continue;
            for (uint8_t id = 1; id < c->nodes; id++)
                if ((place[0][a] < place[0][b]) != (place[id][a] < place[id][b]))
                    broken(c, "two commands interfere and were executed in two orders");
            if (c->commands[a].answered && c->commands[a].answered < c->commands[b].asked && place[0][a] > place[0][b])
                broken(c, "a command was executed after one that was asked for when it had been answered");
        }
    }
}

struct outcome {
    const char *broken;
    size_t fast, slow;
    uint32_t commands, answered;
};

static struct outcome run(uint8_t nodes, uint64_t seed, const struct epaxos_rules *rules, uint32_t snapshots,
                          uint32_t steps, uint32_t conflicts, uint32_t disturbance) {
    struct cluster *c = cluster_new(nodes, seed, rules, snapshots);
    c->loss_ppm = (uint32_t)prng_below(&c->prng, 50000);
    for (uint32_t k = 0; k < steps && !c->broken; k++) acts(c, conflicts, disturbance);
    if (!c->broken) settles(c);
    if (!c->broken) judge_dependencies(c);
    if (!c->broken) judge_orders(c);
    struct outcome o = {c->broken, c->fast, c->slow, c->commands_count, c->answered};
    cluster_free(c);
    return o;
}

static void all_is_well(uint8_t nodes, uint32_t snapshots, uint32_t steps, uint32_t conflicts, uint32_t disturbance) {
    size_t fast = 0, slow = 0, answered = 0;
    for (uint64_t seed = 1; seed <= rounds(60); seed++) {
        struct outcome o = run(nodes, seed, NULL, snapshots, steps, conflicts, disturbance);
        if (o.broken) fail_msg("%u nodes, seed %llu: %s", nodes, (unsigned long long)seed, o.broken);
        fast += o.fast;
        slow += o.slow;
        answered += o.answered;
    }
    print_message("%u nodes: %zu committed at once, %zu not, %zu answered\n", nodes, fast, slow, answered);
    assert_true(fast > 0 && slow > 0 && answered > 0);
}

static void three_replicas_agree(void **state) {
    (void)state;
    all_is_well(3, 0, 6000, 60, 4);
}

static void five_replicas_agree(void **state) {
    (void)state;
    all_is_well(5, 0, 8000, 60, 6);
}

static void six_replicas_agree(void **state) {
    (void)state;
    all_is_well(6, 0, 4000, 60, 12);
}

static void replicas_that_were_away_catch_up_by_snapshots(void **state) {
    (void)state;
    all_is_well(3, 20, 8000, 60, 10);
    all_is_well(5, 20, 8000, 60, 10);
}

struct broken_rules {
    const char *name;
    const struct epaxos_rules *rules;
    uint8_t nodes;
};

static void broken_rules_are_noticed(void **state) {
    (void)state;
    static const struct broken_rules all[] = {
        {"E2", &epaxos_mutant_fast_despite_changes, 5},
        {"E3", &epaxos_mutant_small_fast_quorum, 5},
        {"E5", &epaxos_mutant_no_try_preaccept, 5},
        {"E6", &epaxos_mutant_leader_ignored, 3},
        {"E8", &epaxos_mutant_no_union, 5},
        {"E9", &epaxos_mutant_no_tie_break, 3},
        {"E10", &epaxos_mutant_execute_early, 3},
    };
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        struct outcome o = {0};
        uint64_t seed = 0;
        while (!o.broken && ++seed <= 400) o = run(all[k].nodes, seed, all[k].rules, 0, 6000, 60, 12);
        if (!o.broken) fail_msg("%s is not noticed", all[k].name);
        print_message("%s: seed %llu: %s\n", all[k].name, (unsigned long long)seed, o.broken);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_replicas_agree),     cmocka_unit_test(five_replicas_agree),
        cmocka_unit_test(six_replicas_agree),       cmocka_unit_test(replicas_that_were_away_catch_up_by_snapshots),
        cmocka_unit_test(broken_rules_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
