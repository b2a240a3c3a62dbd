/* The replicas of raft_cluster.h, their disks, mail and clocks. After every step the replica's own invariants must
 * hold, and two state machines that applied as far must be equal. */
#include "tests/raft_cluster.h"

#include <stdio.h>
#include <stdlib.h>

#define PUSH(array, count, capacity, value)                                                                            \
    do {                                                                                                               \
        if ((count) == (capacity)) {                                                                                   \
            (capacity) = (capacity) ? 2 * (capacity) : 64;                                                             \
            (array) = xrealloc(array, (capacity) * sizeof *(array));                                                   \
        }                                                                                                              \
        (array)[(count)++] = (value);                                                                                  \
    } while (0)

/* --- a step's effects --------------------------------------------------------------------------------------------- */

static struct bytes copy(struct raft_cluster *c, struct bytes b) {
    return bytes_of(b.size ? arena_copy(&c->arena, b.data, b.size) : NULL, b.size);
}

static struct bytes snapshot_make(struct raft_cluster *c, const struct raft_node *n) {
    uint8_t *data = arena_alloc(&c->arena, c->snapshot_bytes);
    assert(c->snapshot_bytes >= 16);
    memset(data, (int)(n->applied & 0x7f), c->snapshot_bytes);
    memcpy(data, &n->applied, 8);
    memcpy(data + 8, &n->applied_hash, 8);
    return bytes_of(data, c->snapshot_bytes);
}

static void check_state_machine(struct raft_cluster *c, const struct raft_node *n) {
    uint64_t *known = &c->applied_hash[n->applied % (sizeof c->applied_hash / sizeof *c->applied_hash)];
    assert(n->applied < sizeof c->applied_hash / sizeof *c->applied_hash);
    assert(*known == 0 || *known == n->applied_hash);
    *known = n->applied_hash;
}

static void say(struct raft_node *n, const char *format, ...) PRINTF_LIKE(2, 3);
static void say(struct raft_node *n, const char *format, ...) {
    char text[300];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buffer_printf(&n->said, "%s%s", n->said.size ? "; " : "", text);
}

static void write_starts(struct raft_cluster *c, struct raft_node *n, const struct effect *e) {
    struct disk_write w = {.written = e->written,
                           .kind = e->kind,
                           .reset = e->reset,
                           .keep_from = e->token,
                           .entry = {e->index, e->term, e->entry_kind, copy(c, e->bytes)}};
    if (e->kind == EFFECT_META) w.bytes = w.entry.payload;
    if (e->kind == EFFECT_SNAPSHOT_TAKE) w.bytes = snapshot_make(c, n);
    if (e->kind == EFFECT_SNAPSHOT_RECEIVE) {
        w.bytes = copy(c, bytes_of(n->receiving.data, n->receiving.size));
        n->receiving.size = 0;
    }
    PUSH(n->writes, n->writes_count, n->writes_capacity, w);
}

static void sends(struct raft_cluster *c, uint8_t node, const struct effect *e) {
    struct raft_node *n = &c->node[node];
    char text[200];
    raft_protocol.describe(e->bytes, text, sizeof text);
    if (e->barrier > n->durable)
        say(n, "n%u: %s^%llu", e->to + 1u, text, (unsigned long long)e->barrier);
    else
        say(n, "n%u: %s", e->to + 1u, text);
    struct mail m = {node, e->to, e->message_kind, e->barrier, copy(c, e->bytes)};
    if (e->barrier > n->durable)
        PUSH(n->withheld, n->withheld_count, n->withheld_capacity, m);
    else
        PUSH(c->mail, c->mail_count, c->mail_capacity, m);
}

static void applies(struct raft_cluster *c, struct raft_node *n, const struct effect *e) {
    assert(e->index == n->applied + 1);
    n->applied = e->index;
    n->applied_hash = hash_mix(n->applied_hash, hash_bytes(e->bytes, e->term)) | 1;
    check_state_machine(c, n);
    say(n, "apply %llu", (unsigned long long)e->index);
}

static void carry_out(struct raft_cluster *c, uint8_t node, const struct effect *e) {
    static const char *const roles[] = {"follower", "candidate", "leader"};
    static const char *const statuses[] = {"ok", "not-leader", "busy", "unknown"};
    struct raft_node *n = &c->node[node];
    unsigned long long index = e->index, term = e->term, written = e->written, token = e->token;
    switch ((enum effect_kind)e->kind) {
    case EFFECT_APPEND: say(n, "append %llu/%llu@%llu", index, term, written); break;
    case EFFECT_TRUNCATE: say(n, "cut %llu@%llu", index, written); break;
    case EFFECT_META:
        if (e->to == NODE_NONE)
            say(n, "meta term %llu@%llu", term, written);
        else
            say(n, "meta term %llu vote n%u@%llu", term, e->to + 1u, written);
        break;
    case EFFECT_SEND: sends(c, node, e); break;
    case EFFECT_APPLY: applies(c, n, e); break;
    case EFFECT_READ_READY:
        assert(n->applied >= e->index);
        n->reads_ready++;
        say(n, "read %llu at %llu", token, index);
        break;
    case EFFECT_RESPOND:
        n->refused++;
        n->unknown += e->status == STATUS_UNKNOWN;
        if (e->to == NODE_NONE)
            say(n, "refuse %llu %s", token, statuses[e->status]);
        else
            say(n, "refuse %llu %s n%u", token, statuses[e->status], e->to + 1u);
        break;
    case EFFECT_TIMER:
        assert(e->timer < TIMERS_COUNT);
        n->due_ns[e->timer] = e->delay_ns == UINT64_MAX ? UINT64_MAX : n->now_ns + e->delay_ns;
        break;
    case EFFECT_SNAPSHOT_TAKE:
        assert(index == n->applied);
        say(n, "take %llu keep %llu@%llu", index, token, written);
        break;
    case EFFECT_SNAPSHOT_RECEIVE:
        if (e->offset == 0) n->receiving.size = 0;
        assert(e->offset == n->receiving.size);
        buffer_append(&n->receiving, e->bytes.data, e->bytes.size);
        say(n, "receive %llu/%llu+%llu %zu bytes%s%s", index, term, (unsigned long long)e->offset, e->bytes.size,
            e->last ? " last" : "", e->reset ? " reset" : "");
        break;
    case EFFECT_ROLE: say(n, "%s of %llu", roles[e->role], term); break;
    case EFFECT_FATAL: say(n, "fatal %s", e->reason); break;
    }
    if (e->written) write_starts(c, n, e);
}

static const char *carry_out_all(struct raft_cluster *c, uint8_t node) {
    struct raft_node *n = &c->node[node];
    uint64_t written = n->writes_count ? n->writes[n->writes_count - 1].written : 0;
    for (uint32_t i = 0; i < n->fx.count; i++) {
        const struct effect *e = &n->fx.items[i];
        if (e->written) assert(e->written == ++written); /* numbers without gaps */
        assert(e->kind != EFFECT_SEND || e->barrier <= written);
        carry_out(c, node, e);
    }
    assert(raft_protocol.check(n->state) == NULL);
    buffer_append(&n->said, "", 1);
    n->said.size--;
    if (!c->synced || n->writes_first == n->writes_count) return (const char *)n->said.data;
    struct buffer said = n->said; /* the step's own words, not those of the sync that follows at once */
    n->said = (struct buffer){0};
    syncs(c, node, UINT64_MAX);
    buffer_free(&n->said);
    n->said = said;
    return (const char *)n->said.data;
}

static const char *goes_on(struct raft_cluster *c, uint8_t node, struct event ev) { /* in the same breath */
    struct raft_node *n = &c->node[node];
    ev.now_ns = n->now_ns;
    n->fx.count = n->fx.scratch_size = 0;
    n->fx.snapshot_index = n->snapshot_index;
    n->fx.snapshot_term = n->snapshot_term;
    n->fx.snapshot = n->snapshot;
    raft_protocol.step(n->state, &ev, &n->fx);
    return carry_out_all(c, node);
}

static const char *step(struct raft_cluster *c, uint8_t node, struct event ev) {
    c->node[node].said.size = 0;
    return goes_on(c, node, ev);
}

/* --- disks -------------------------------------------------------------------------------------------------------- */

static void disk_apply(struct raft_node *n, const struct disk_write *w) {
    switch (w->kind) {
    case EFFECT_APPEND:
        assert(n->entries_count == 0 || n->entries[n->entries_count - 1].index + 1 == w->entry.index);
        PUSH(n->entries, n->entries_count, n->entries_capacity, w->entry);
        n->log_last = w->entry.index;
        break;
    case EFFECT_TRUNCATE:
        while (n->entries_count && n->entries[n->entries_count - 1].index >= w->entry.index) n->entries_count--;
        n->log_last = w->entry.index - 1;
        break;
    case EFFECT_META: n->meta = w->bytes; break;
    default: {
        size_t gone = w->reset ? n->entries_count : 0;
        while (gone < n->entries_count && n->entries[gone].index < w->keep_from) gone++;
        n->entries_count -= gone;
        if (n->entries_count) memmove(n->entries, n->entries + gone, n->entries_count * sizeof *n->entries);
        if (w->reset) n->log_last = w->entry.index;
        n->snapshot = w->bytes;
        n->snapshot_index = w->entry.index;
        n->snapshot_term = w->entry.term;
        break;
    }
    }
}

static void snapshot_restore(struct raft_cluster *c, struct raft_node *n) {
    n->applied = n->applied_hash = 0;
    if (n->snapshot_index == 0) return;
    memcpy(&n->applied, n->snapshot.data, 8);
    memcpy(&n->applied_hash, n->snapshot.data + 8, 8);
    assert(n->applied == n->snapshot_index);
    check_state_machine(c, n);
}

static void finish_snapshot(struct raft_cluster *c, uint8_t node, const struct disk_write *w) {
    struct raft_node *n = &c->node[node];
    struct event ev = {.kind = EVENT_SNAPSHOT_TAKEN};
    if (w->kind == EFFECT_SNAPSHOT_RECEIVE) {
        ev.kind = EVENT_SNAPSHOT_INSTALLED;
        snapshot_restore(c, n);
    }
    ev.snapshot.index = w->entry.index;
    ev.snapshot.term = w->entry.term;
    ev.snapshot.written = w->written;
    goes_on(c, node, ev);
}

const char *syncs(struct raft_cluster *c, uint8_t node, uint64_t upto) {
    struct raft_node *n = &c->node[node];
    size_t first = n->writes_first;
    while (n->writes_first < n->writes_count && n->writes[n->writes_first].written <= upto) {
        const struct disk_write *w = &n->writes[n->writes_first++];
        n->durable = w->written;
        disk_apply(n, w);
    }
    size_t end = n->writes_first, kept = 0;
    for (size_t i = 0; i < n->withheld_count; i++) {
        if (n->withheld[i].barrier <= n->durable)
            PUSH(c->mail, c->mail_count, c->mail_capacity, n->withheld[i]);
        else
            n->withheld[kept++] = n->withheld[i];
    }
    n->withheld_count = kept;
    struct event ev = {.kind = EVENT_PERSISTED, .persisted = {.written = n->durable, .last_index = n->log_last}};
    step(c, node, ev);
    for (size_t i = first; i < end; i++) {
        struct disk_write w = n->writes[i];
        if (w.kind == EFFECT_SNAPSHOT_TAKE || w.kind == EFFECT_SNAPSHOT_RECEIVE) finish_snapshot(c, node, &w);
    }
    return (const char *)n->said.data;
}

static const char *starts(struct raft_cluster *c, uint8_t node) {
    struct raft_node *n = &c->node[node];
    struct durable d = {.meta = n->meta,
                        .snapshot_index = n->snapshot_index,
                        .snapshot_term = n->snapshot_term,
                        .entries = n->entries,
                        .entries_count = n->entries_count};
    memset(n->state, 0xa5, n->state_size); /* nothing volatile may help */
    n->writes_first = n->writes_count = n->withheld_count = 0;
    n->durable = n->fx.written = 0;
    n->log_last = n->entries_count ? n->entries[n->entries_count - 1].index : n->snapshot_index;
    for (uint8_t t = 0; t < TIMERS_COUNT; t++) n->due_ns[t] = UINT64_MAX;
    snapshot_restore(c, n);
    n->fx.count = n->fx.scratch_size = 0;
    n->said.size = 0;
    raft_protocol.start(n->state, &n->config, &d, n->now_ns, &n->fx);
    return carry_out_all(c, node);
}

const char *restarts(struct raft_cluster *c, uint8_t node) {
    return starts(c, node);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

struct config cluster_config(void) {
    return (struct config){.seed = 1,
                           .election_timeout_ns = 300 * NS_PER_MS,
                           .heartbeat_ns = 50 * NS_PER_MS,
                           .clock_drift_ppm_max = 100000,
                           .reads = PROTOCOL_READ_INDEX,
                           .limits = {.log_entries_max = 1024,
                                      .log_bytes_max = 64 << 10,
                                      .entry_bytes_max = 256,
                                      .message_bytes_max = 1024,
                                      .reads_max = 64,
                                      .inflight_max = 16}};
}

struct raft_cluster *cluster_new(uint8_t nodes, const struct config *config) {
    struct raft_cluster *c = xcalloc(1, sizeof *c);
    struct config base = config ? *config : cluster_config();
    c->nodes = nodes;
    c->snapshot_bytes = 16;
    c->synced = false;
    for (uint8_t i = 0; i < nodes; i++) {
        struct raft_node *n = &c->node[i];
        n->config = base;
        n->config.self = i;
        n->config.nodes = nodes;
        n->config.seed = hash_mix(base.seed, i);
        n->state_size = raft_protocol.state_size(&n->config);
        n->state = xmalloc(n->state_size);
        n->fx.capacity = raft_protocol.effects_needed(&n->config);
        n->fx.items = xmalloc(n->fx.capacity * sizeof *n->fx.items);
        n->fx.scratch_capacity = raft_protocol.scratch_needed(&n->config);
        n->fx.scratch = xmalloc(n->fx.scratch_capacity);
        n->now_ns = (i + 1u) * NS_PER_S; /* clocks agree on nothing but their rate */
        starts(c, i);
        passes(c, i, n->config.election_timeout_ns + 1); /* nobody heard a leader lately */
    }
    return c;
}

void cluster_free(struct raft_cluster *c) {
    for (uint8_t i = 0; i < c->nodes; i++) {
        struct raft_node *n = &c->node[i];
        free(n->state);
        free(n->fx.items);
        free(n->fx.scratch);
        free(n->entries);
        free(n->writes);
        free(n->withheld);
        buffer_free(&n->said);
        buffer_free(&n->receiving);
    }
    free(c->mail);
    arena_free(&c->arena);
    free(c);
}

const char *hears_bytes(struct raft_cluster *c, uint8_t node, uint8_t from, struct bytes b) {
    return step(c, node, (struct event){.kind = EVENT_MESSAGE, .message = {.from = from, .bytes = b}});
}

const char *hears(struct raft_cluster *c, uint8_t node, uint8_t from, struct raft_message m) {
    uint8_t bytes[2048];
    size_t size = raft_message_encode(&m, bytes, sizeof bytes);
    assert(size);
    return hears_bytes(c, node, from, bytes_of(bytes, size));
}

const char *proposes(struct raft_cluster *c, uint8_t node, uint64_t token, const char *command) {
    return step(c, node,
                (struct event){.kind = EVENT_PROPOSE, .propose = {.token = token, .command = bytes_str(command)}});
}

const char *reads(struct raft_cluster *c, uint8_t node, uint64_t token) {
    return step(c, node, (struct event){.kind = EVENT_READ, .read = {.token = token}});
}

const char *transfers(struct raft_cluster *c, uint8_t node, uint8_t to) {
    return step(c, node, (struct event){.kind = EVENT_TRANSFER, .transfer = {.to = to}});
}

static const char *fires(struct raft_cluster *c, uint8_t node, uint8_t timer) {
    struct raft_node *n = &c->node[node];
    assert(n->due_ns[timer] != UINT64_MAX);
    if (n->now_ns < n->due_ns[timer]) n->now_ns = n->due_ns[timer];
    n->due_ns[timer] = UINT64_MAX;
    return step(c, node, (struct event){.kind = EVENT_TIMER, .timer = {.id = timer}});
}

const char *heartbeats(struct raft_cluster *c, uint8_t node) {
    return fires(c, node, TIMER_OF_HEARTBEAT);
}

const char *times_out(struct raft_cluster *c, uint8_t node) {
    const char *said = fires(c, node, TIMER_OF_ELECTION);
    /* A timer that was early is set again and says nothing. */
    for (uint32_t i = 0; i < 3 && !*said; i++) said = fires(c, node, TIMER_OF_ELECTION);
    return said;
}

void passes(struct raft_cluster *c, uint8_t node, uint64_t ns) {
    c->node[node].now_ns += ns;
}

/* --- mail --------------------------------------------------------------------------------------------------------- */

static void take_mail(struct raft_cluster *c, size_t at) {
    c->mail_count--;
    memmove(c->mail + at, c->mail + at + 1, (c->mail_count - at) * sizeof *c->mail);
}

static void carry(struct raft_cluster *c, size_t at) {
    struct mail m = c->mail[at];
    take_mail(c, at);
    if (c->cut[m.from][m.to]) return;
    c->carried[m.kind]++;
    hears_bytes(c, m.to, m.from, m.bytes);
}

void carries(struct raft_cluster *c, uint8_t from, uint8_t to) {
    size_t left = mail_between(c, from, to);
    for (size_t i = 0; left && i < c->mail_count;) {
        if (c->mail[i].from != from || c->mail[i].to != to) {
            i++;
            continue;
        }
        carry(c, i);
        left--;
    }
}

void loses(struct raft_cluster *c, uint8_t from, uint8_t to) {
    for (size_t i = c->mail_count; i-- > 0;)
        if (c->mail[i].from == from && c->mail[i].to == to) take_mail(c, i);
}

size_t mail_between(const struct raft_cluster *c, uint8_t from, uint8_t to) {
    size_t count = 0;
    for (size_t i = 0; i < c->mail_count; i++) count += c->mail[i].from == from && c->mail[i].to == to;
    return count;
}

bool mail_last(const struct raft_cluster *c, uint8_t from, uint8_t to, uint8_t kind, struct raft_message *m) {
    for (size_t i = c->mail_count; i-- > 0;) {
        const struct mail *mail = &c->mail[i];
        if (mail->from == from && mail->to == to && mail->kind == kind) return raft_message_decode(mail->bytes, m);
    }
    return false;
}

void syncs_all(struct raft_cluster *c) {
    for (uint8_t i = 0; i < c->nodes; i++)
        if (c->node[i].writes_first < c->node[i].writes_count) syncs(c, i, UINT64_MAX);
}

static bool writing(const struct raft_cluster *c) {
    for (uint8_t i = 0; i < c->nodes; i++)
        if (c->node[i].writes_first < c->node[i].writes_count) return true;
    return false;
}

void settles(struct raft_cluster *c) {
    for (uint32_t steps = 0; c->mail_count || writing(c); steps++) {
        assert(steps < 100000); /* a conversation without an end */
        syncs_all(c);
        if (c->mail_count) carry(c, 0);
    }
}

void beats(struct raft_cluster *c, uint8_t leader, uint32_t times) {
    for (uint32_t i = 0; i < times; i++) {
        uint64_t before = c->node[leader].now_ns;
        heartbeats(c, leader);
        for (uint8_t j = 0; j < c->nodes; j++)
            if (j != leader) passes(c, j, c->node[leader].now_ns - before);
        settles(c);
    }
}

void lives(struct raft_cluster *c, uint32_t ms) {
    for (; ms; ms--) {
        for (uint8_t i = 0; i < c->nodes; i++) {
            passes(c, i, NS_PER_MS);
            for (uint8_t t = 0; t < TIMERS_COUNT; t++)
                if (c->node[i].due_ns[t] <= c->node[i].now_ns) fires(c, i, t);
        }
        settles(c);
    }
}

void stands(struct raft_cluster *c, uint8_t node) {
    for (uint32_t round = 0; probe_of(c, node).role != PROTOCOL_LEADER; round++) {
        assert(round < 50);
        if (round % 10 == 0) {
            for (uint8_t i = 0; i < c->nodes; i++) passes(c, i, c->node[i].config.election_timeout_ns + 1);
            times_out(c, node);
        }
        syncs_all(c);
        for (uint8_t i = 0; i < c->nodes && probe_of(c, node).role != PROTOCOL_LEADER; i++) {
            carries(c, node, i);
            carries(c, i, node);
        }
    }
}

void elects(struct raft_cluster *c, uint8_t node) {
    for (uint32_t attempt = 0; attempt < 2 && probe_of(c, node).role != PROTOCOL_LEADER; attempt++) {
        for (uint8_t i = 0; i < c->nodes; i++) passes(c, i, c->node[i].config.election_timeout_ns + 1);
        times_out(c, node); /* the first time it may only learn the term */
        settles(c);
    }
    assert(probe_of(c, node).role == PROTOCOL_LEADER);
}

void isolates(struct raft_cluster *c, uint8_t node, bool on) {
    for (uint8_t i = 0; i < c->nodes; i++) c->cut[node][i] = c->cut[i][node] = on;
}

struct probe probe_of(const struct raft_cluster *c, uint8_t node) {
    struct probe p;
    raft_protocol.probe(c->node[node].state, &p);
    return p;
}
