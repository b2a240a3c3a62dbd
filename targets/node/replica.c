/* The driver: one protocol replica over its log and state machine. Every input is one protocol step; its effects are
 * carried out in order; then the log is flushed, which starts a disk sync unless one is under way. */
#include <stdlib.h>

#include "targets/node/replica.h"
#include "targets/wal/wal.h"

enum { WITHHELD_MAX = 4096 };
static const uint64_t READ_TOKEN = UINT64_C(1) << 63;

struct withheld { /* a send that waits for the disk */
    uint64_t barrier;
    uint8_t to, message_kind;
    size_t offset, size; /* in withheld_bytes */
};
struct log_mark { /* the log's end as of a write */
    uint64_t written, last_index;
};
struct pending_read {
    uint64_t token; /* the requester's; 0: slot is free */
    struct buffer command;
};
struct pending_snapshot {
    uint64_t index, term, written; /* written 0: none */
    struct buffer data;
};

struct replica {
    const struct protocol *protocol;
    const struct mutant *mutant;
    struct config config;
    struct replica_env env;
    void *state;
    struct effects fx;
    struct kv *kv;
    struct wal *wal;
    bool running;
    const struct durable *recovered;

    struct withheld withheld[WITHHELD_MAX];
    uint32_t withheld_count;
    struct buffer withheld_bytes;
    struct log_mark *marks; /* a queue */
    uint32_t marks_first, marks_count, marks_capacity;
    uint64_t last_index, durable_last_index, durable_written;
    struct pending_read *reads;
    uint32_t *free_reads, free_reads_count;
    struct pending_snapshot taken, received;
    struct buffer receiving, snapshot; /* chunks so far; the newest durable snapshot */
    uint8_t *result;                   /* KV_RESULT_BYTES_MAX */
};

struct replica *replica_new(const struct protocol *p, const struct mutant *m, const struct config *c) {
    struct replica *r = xcalloc(1, sizeof *r);
    r->protocol = p;
    r->mutant = m;
    r->config = *c;
    r->state = xmalloc(p->state_size(c));
    r->fx.capacity = p->effects_needed(c);
    r->fx.items = xmalloc(r->fx.capacity * sizeof *r->fx.items);
    r->fx.scratch_capacity = p->scratch_needed(c);
    r->fx.scratch = xmalloc(r->fx.scratch_capacity);
    r->kv = kv_new(m ? m->kv_rules : NULL);
    kv_set_partial_order(r->kv, !p->orders_all);
    r->reads = xcalloc(c->limits.reads_max, sizeof *r->reads);
    r->free_reads = xcalloc(c->limits.reads_max, sizeof *r->free_reads);
    r->result = xmalloc(KV_RESULT_BYTES_MAX);
    return r;
}

void replica_free(struct replica *r) {
    if (!r) return;
    replica_stop(r);
    for (uint32_t i = 0; i < r->config.limits.reads_max; i++) buffer_free(&r->reads[i].command);
    buffer_free(&r->withheld_bytes);
    buffer_free(&r->taken.data);
    buffer_free(&r->received.data);
    buffer_free(&r->receiving);
    buffer_free(&r->snapshot);
    kv_free(r->kv);
    free(r->state);
    free(r->fx.items);
    free(r->fx.scratch);
    free(r->marks);
    free(r->reads);
    free(r->free_reads);
    free(r->result);
    free(r);
}

void replica_stop(struct replica *r) {
    if (r->wal) wal_close(r->wal);
    r->wal = NULL;
    r->running = false;
}

bool replica_running(const struct replica *r) {
    return r->running;
}

static void stop_for(struct replica *r, bool assertion, const char *reason) {
    if (!r->running) return;
    r->running = false;
    r->env.fatal(r->env.ctx, assertion, reason);
}

static void mark_log(struct replica *r, uint64_t written, uint64_t last_index) {
    if (2 * r->marks_first >= r->marks_count) { /* under steady load the queue is never empty */
        r->marks_count -= r->marks_first;
        if (r->marks_count) memmove(r->marks, r->marks + r->marks_first, r->marks_count * sizeof *r->marks);
        r->marks_first = 0;
    }
    if (r->marks_count == r->marks_capacity) {
        r->marks_capacity = r->marks_capacity ? 2 * r->marks_capacity : 64;
        r->marks = xrealloc(r->marks, r->marks_capacity * sizeof *r->marks);
    }
    r->marks[r->marks_count++] = (struct log_mark){written, last_index};
    r->last_index = last_index;
}

static void send_or_withhold(struct replica *r, const struct effect *e) {
    bool broken = r->mutant && (r->mutant->unbarriered_mask >> e->message_kind & 1);
    if (e->barrier <= r->durable_written || broken) {
        if (r->env.observe) r->env.observe(r->env.ctx, e);
        r->env.send(r->env.ctx, e->to, e->message_kind, e->bytes);
        return;
    }
    if (r->withheld_count == WITHHELD_MAX) return; /* a message may always be lost */
    r->withheld[r->withheld_count++] = (struct withheld){.barrier = e->barrier,
                                                         .to = e->to,
                                                         .message_kind = e->message_kind,
                                                         .offset = r->withheld_bytes.size,
                                                         .size = e->bytes.size};
    buffer_append(&r->withheld_bytes, e->bytes.data, e->bytes.size);
}

static void release_withheld(struct replica *r) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->withheld_count; i++) {
        struct withheld h = r->withheld[i];
        if (h.barrier > r->durable_written) {
            r->withheld[kept++] = h;
            continue;
        }
        struct effect e = {.kind = EFFECT_SEND, .to = h.to, .message_kind = h.message_kind, .barrier = h.barrier};
        e.bytes = bytes_of(r->withheld_bytes.data + h.offset, h.size);
        if (r->env.observe) r->env.observe(r->env.ctx, &e);
        r->env.send(r->env.ctx, h.to, h.message_kind, e.bytes);
    }
    r->withheld_count = kept;
    /* What is kept came last; under steady load something is always kept, so the bytes before it must go here. */
    size_t gone = kept ? r->withheld[0].offset : r->withheld_bytes.size;
    r->withheld_bytes.size -= gone;
    if (gone && kept) memmove(r->withheld_bytes.data, r->withheld_bytes.data + gone, r->withheld_bytes.size);
    for (uint32_t i = 0; i < kept; i++) r->withheld[i].offset -= gone;
}

static void apply(struct replica *r, const struct effect *e) {
    if (e->entry_kind != ENTRY_COMMAND) return;
    size_t size = kv_apply(r->kv, e->bytes, r->result, KV_RESULT_BYTES_MAX);
    if (e->token) r->env.respond(r->env.ctx, e->token, STATUS_OK, r->config.self, bytes_of(r->result, size), e->index);
}

static void free_read(struct replica *r, uint64_t slot) {
    r->reads[slot].token = 0;
    r->free_reads[r->free_reads_count++] = (uint32_t)slot;
}

static void read_ready(struct replica *r, const struct effect *e) {
    uint64_t slot = e->token & ~READ_TOKEN;
    struct pending_read *read = &r->reads[slot];
    struct bytes command = bytes_of(read->command.data, read->command.size);
    size_t size = kv_read(r->kv, command, r->result, KV_RESULT_BYTES_MAX);
    struct probe p;
    r->protocol->probe(r->state, &p);
    r->env.respond(r->env.ctx, read->token, STATUS_OK, r->config.self, bytes_of(r->result, size), p.applied_index);
    free_read(r, slot);
}

static void respond(struct replica *r, const struct effect *e) {
    uint64_t token = e->token;
    if (token & READ_TOKEN) {
        token = r->reads[e->token & ~READ_TOKEN].token;
        free_read(r, e->token & ~READ_TOKEN);
    }
    r->env.respond(r->env.ctx, token, (enum status)e->status, e->to, bytes_of(NULL, 0), 0);
}

/* A snapshot is the size of the protocol's header, the header, and the store. */
static bool split_snapshot(struct bytes snapshot, struct bytes *header, struct bytes *store) {
    struct reader r = {.data = snapshot.data, .size = snapshot.size};
    *header = read_bytes(&r);
    *store = bytes_of(snapshot.data + r.offset, r.size - r.offset);
    return !r.failed;
}

static int restore(struct kv *kv, struct bytes snapshot, struct bytes *header, struct error *e) {
    struct bytes store;
    if (!split_snapshot(snapshot, header, &store))
        return error_set(e, "a snapshot of %zu bytes is cut short", snapshot.size);
    return kv_restore(kv, store, e);
}

static void take_snapshot(struct replica *r, const struct effect *e) {
    struct pending_snapshot *s = &r->taken;
    uint32_t header_size = (uint32_t)e->bytes.size;
    s->data.size = 0;
    buffer_append(&s->data, &header_size, sizeof header_size);
    buffer_append(&s->data, e->bytes.data, header_size);
    kv_snapshot(r->kv, &s->data);
    s->index = e->index;
    s->term = e->term;
    s->written = wal_snapshot(r->wal, e->index, e->term, bytes_of(s->data.data, s->data.size), e->token, false);
    assert(s->written == e->written);
}

/* Before it is written: a snapshot that does not restore must not be what a restart finds. */
static bool restores(const struct replica *r, struct bytes snapshot) {
    struct error e;
    struct bytes header;
    struct kv *kv = kv_new(r->mutant ? r->mutant->kv_rules : NULL);
    bool well = restore(kv, snapshot, &header, &e) == 0;
    kv_free(kv);
    return well;
}

static void receive_snapshot(struct replica *r, const struct effect *e) {
    if (e->offset == 0) buffer_free(&r->receiving); /* of an earlier transfer, perhaps a large one */
    assert(e->offset == r->receiving.size);
    buffer_append(&r->receiving, e->bytes.data, e->bytes.size);
    if (!e->last) return;
    if (!restores(r, bytes_of(r->receiving.data, r->receiving.size))) {
        stop_for(r, true, "a snapshot from another replica does not restore");
        return;
    }
    struct pending_snapshot *s = &r->received;
    struct buffer swap = s->data;
    s->data = r->receiving;
    r->receiving = swap;
    r->receiving.size = 0;
    s->index = e->index;
    s->term = e->term;
    s->written = wal_snapshot(r->wal, e->index, e->term, bytes_of(s->data.data, s->data.size), e->token, e->reset);
    assert(s->written == e->written);
    if (e->reset) mark_log(r, e->written, e->index);
}

static void carry_out(struct replica *r, const struct effect *e) {
    uint64_t written = e->written;
    if (e->kind != EFFECT_SEND && r->env.observe) r->env.observe(r->env.ctx, e);
    switch ((enum effect_kind)e->kind) {
    case EFFECT_APPEND:
        written = wal_append(r->wal, e->index, e->term, e->entry_kind, e->bytes);
        mark_log(r, written, e->index);
        break;
    case EFFECT_TRUNCATE:
        written = wal_truncate(r->wal, e->index);
        mark_log(r, written, e->index - 1);
        break;
    case EFFECT_META: written = wal_meta(r->wal, e->bytes); break;
    case EFFECT_SEND: send_or_withhold(r, e); break;
    case EFFECT_APPLY: apply(r, e); break;
    case EFFECT_READ_READY: read_ready(r, e); break;
    case EFFECT_RESPOND: respond(r, e); break;
    case EFFECT_TIMER: r->env.timer(r->env.ctx, e->timer, e->delay_ns); break;
    case EFFECT_SNAPSHOT_TAKE: take_snapshot(r, e); break;
    case EFFECT_SNAPSHOT_RECEIVE: receive_snapshot(r, e); break;
    case EFFECT_ROLE: break;
    case EFFECT_FATAL: stop_for(r, true, e->reason); break;
    }
    assert(written == e->written);
}

static void carry_out_all(struct replica *r) {
    for (uint32_t i = 0; i < r->fx.count && r->running; i++) carry_out(r, &r->fx.items[i]);
    if (r->running && wal_flush(r->wal) != 0) stop_for(r, false, wal_error(r->wal));
}

static void step(struct replica *r, const struct event *ev) {
    r->fx.count = 0;
    r->fx.scratch_size = 0;
    r->protocol->step(r->state, ev, &r->fx);
    carry_out_all(r);
}

/* Hands what was recovered to the protocol. Write numbers start anew with the log. */
static int boot(struct replica *r, const struct wal_recovered *rec, uint64_t now_ns, struct error *e) {
    kv_clear(r->kv);
    r->snapshot.size = 0;
    r->fx.snapshot_index = rec->snapshot_index;
    r->fx.snapshot_term = rec->snapshot_term;
    struct bytes header = {0};
    if (rec->snapshot_index) {
        if (restore(r->kv, rec->snapshot, &header, e) != 0) return -1;
        buffer_append(&r->snapshot, rec->snapshot.data, rec->snapshot.size);
    }
    r->fx.snapshot = bytes_of(r->snapshot.data, r->snapshot.size);
    struct entry *entries = xmalloc((rec->entries_count + 1) * sizeof *entries);
    for (size_t i = 0; i < rec->entries_count; i++) {
        const struct wal_entry *from = &rec->entries[i];
        entries[i] = (struct entry){from->index, from->term, from->kind, from->payload};
    }
    struct durable d = {.meta = bytes_of(rec->meta, rec->meta_size),
                        .snapshot_index = rec->snapshot_index,
                        .snapshot_term = rec->snapshot_term,
                        .snapshot_header = header,
                        .entries = entries,
                        .entries_count = rec->entries_count};
    r->last_index = rec->entries_count ? entries[rec->entries_count - 1].index : rec->snapshot_index;
    r->durable_last_index = r->last_index;
    r->recovered = &d;
    r->running = true;
    r->fx.count = 0;
    r->fx.scratch_size = 0;
    r->fx.written = wal_written(r->wal);
    r->protocol->start(r->state, &r->config, &d, now_ns, &r->fx);
    carry_out_all(r);
    r->recovered = NULL;
    free(entries);
    return 0;
}

static uint32_t footprint(struct bytes command, struct footprint *out) {
    struct kv_touched touched[KV_TOUCHED_MAX];
    uint32_t count = kv_footprint(command, touched);
    for (uint32_t i = 0; i < count; i++) out[i] = (struct footprint){touched[i].hash, touched[i].reads_only};
    return count;
}
_Static_assert(KV_TOUCHED_MAX <= FOOTPRINT_MAX, "a footprint has room for what a command touches");

int replica_start(struct replica *r, const struct config *c, const struct replica_env *env, uint64_t now_ns,
                  struct error *e) {
    assert(!r->wal && c->limits.reads_max == r->config.limits.reads_max);
    r->config = *c;
    r->config.rules = r->mutant ? r->mutant->rules : NULL;
    r->config.footprint = footprint;
    if (!(r->protocol->reads_known >> c->reads & 1)) r->config.reads = PROTOCOL_READ_LOG;
    r->env = *env;
    r->withheld_count = 0;
    r->withheld_bytes.size = 0;
    r->marks_first = r->marks_count = 0;
    r->durable_written = 0;
    r->taken.written = r->received.written = 0;
    r->receiving.size = 0;
    r->free_reads_count = 0;
    for (uint32_t i = c->limits.reads_max; i-- > 0;) free_read(r, i);
    struct wal_recovered rec;
    if (wal_open(env->disk, (struct wal_options){0}, &r->wal, &rec, e) != WAL_OK) {
        r->wal = NULL;
        return -1;
    }
    int rc = boot(r, &rec, now_ns, e);
    wal_recovered_free(&rec);
    if (rc != 0) replica_stop(r);
    return rc;
}

void replica_message(struct replica *r, uint64_t now_ns, uint8_t from, struct bytes bytes) {
    struct event ev = {.kind = EVENT_MESSAGE, .now_ns = now_ns, .message = {.from = from, .bytes = bytes}};
    if (r->running) step(r, &ev);
}

void replica_timer(struct replica *r, uint64_t now_ns, uint8_t id) {
    struct event ev = {.kind = EVENT_TIMER, .now_ns = now_ns, .timer = {.id = id}};
    if (r->running) step(r, &ev);
}

void replica_transfer(struct replica *r, uint64_t now_ns, uint8_t to) {
    struct event ev = {.kind = EVENT_TRANSFER, .now_ns = now_ns, .transfer = {.to = to}};
    if (r->running) step(r, &ev);
}

void replica_request(struct replica *r, uint64_t now_ns, uint64_t token, struct bytes command) {
    assert(token != 0 && !(token & READ_TOKEN));
    if (!r->running) return;
    if (command.size > r->config.limits.entry_bytes_max) {
        struct kv_result refusal = {.status = KV_TOO_LARGE};
        size_t size = kv_result_encode(&refusal, r->result, KV_RESULT_BYTES_MAX);
        r->env.respond(r->env.ctx, token, STATUS_OK, r->config.self, bytes_of(r->result, size), NO_INDEX);
        return;
    }
    struct kv_command c;
    bool read = kv_command_decode(command, &c) && c.session == 0 && kv_command_reads_only(&c);
    if (!read || r->config.reads == PROTOCOL_READ_LOG) {
        struct event ev = {.kind = EVENT_PROPOSE, .now_ns = now_ns, .propose = {.token = token, .command = command}};
        step(r, &ev);
        return;
    }
    if (r->free_reads_count == 0) {
        r->env.respond(r->env.ctx, token, STATUS_BUSY, NODE_NONE, bytes_of(NULL, 0), 0);
        return;
    }
    uint32_t slot = r->free_reads[--r->free_reads_count];
    struct pending_read *pending = &r->reads[slot];
    pending->token = token;
    pending->command.size = 0;
    buffer_append(&pending->command, command.data, command.size);
    struct event ev = {.kind = EVENT_READ, .now_ns = now_ns, .read = {.token = READ_TOKEN | slot}};
    step(r, &ev);
}

static void snapshot_durable(struct replica *r, struct pending_snapshot *s) {
    struct buffer swap = r->snapshot;
    r->snapshot = s->data;
    s->data = swap;
    r->fx.snapshot_index = s->index;
    r->fx.snapshot_term = s->term;
    r->fx.snapshot = bytes_of(r->snapshot.data, r->snapshot.size);
}

static void finish_snapshots(struct replica *r, uint64_t now_ns) {
    struct event ev = {.now_ns = now_ns};
    if (r->taken.written && r->taken.written <= r->durable_written) {
        ev.kind = EVENT_SNAPSHOT_TAKEN;
        ev.snapshot.index = r->taken.index;
        ev.snapshot.term = r->taken.term;
        ev.snapshot.written = r->taken.written;
        r->taken.written = 0;
        if (r->taken.index > r->fx.snapshot_index) snapshot_durable(r, &r->taken);
        step(r, &ev);
    }
    if (r->running && r->received.written && r->received.written <= r->durable_written) {
        struct error e;
        ev.kind = EVENT_SNAPSHOT_INSTALLED;
        ev.snapshot.index = r->received.index;
        ev.snapshot.term = r->received.term;
        ev.snapshot.written = r->received.written;
        r->received.written = 0;
        snapshot_durable(r, &r->received);
        if (restore(r->kv, r->fx.snapshot, &ev.snapshot.header, &e) != 0) {
            stop_for(r, true, "a snapshot from another replica does not restore");
            return;
        }
        step(r, &ev);
    }
}

void replica_synced(struct replica *r, uint64_t now_ns, uint64_t cookie, int status) {
    if (!r->running) return;
    if (wal_on_sync(r->wal, cookie, status) != 0) {
        stop_for(r, false, wal_error(r->wal));
        return;
    }
    uint64_t durable = wal_durable(r->wal);
    if (durable == r->durable_written) return;
    r->durable_written = durable;
    while (r->marks_first < r->marks_count && r->marks[r->marks_first].written <= durable)
        r->durable_last_index = r->marks[r->marks_first++].last_index;
    if (r->env.durable) r->env.durable(r->env.ctx, durable);
    release_withheld(r);
    struct event ev = {.kind = EVENT_PERSISTED,
                       .now_ns = now_ns,
                       .persisted = {.written = durable, .last_index = r->durable_last_index}};
    step(r, &ev);
    if (r->running) finish_snapshots(r, now_ns);
}

void replica_probe(const struct replica *r, struct probe *out) {
    r->protocol->probe(r->state, out);
}

uint64_t replica_matched(const struct replica *r, uint8_t node) {
    return r->protocol->matched ? r->protocol->matched(r->state, node) : 0;
}

uint32_t replica_withheld(const struct replica *r) {
    return r->withheld_count;
}

uint64_t replica_state_hash(const struct replica *r) {
    return kv_hash(r->kv);
}

void replica_visit(const struct replica *r, const struct visitor *v) {
    r->protocol->visit(r->state, v);
}

const char *replica_check(const struct replica *r) {
    return r->running ? r->protocol->check(r->state) : NULL;
}

const struct durable *replica_recovered(const struct replica *r) {
    return r->recovered;
}
