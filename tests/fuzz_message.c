/* Fuzzes what a network can hand to raft: the decoder, the description, and a replica that is stepped with the bytes as
 * messages of its peers. A replica may refuse, or stop itself with EFFECT_FATAL; it must not crash, and what it sends
 * must decode.
 *
 * Input: a byte that chooses the replica's state, then messages, each led by a sender and a 16-bit length. */
#include <stdlib.h>

#include "targets/protocols/raft/raft.h"

enum { ENTRIES = 256, LOG_BYTES = 1 << 16, MESSAGE_BYTES = 4096 };

static const struct config config = {
    .self = 0,
    .nodes = 3,
    .seed = 7,
    .election_timeout_ns = 300 * NS_PER_MS,
    .heartbeat_ns = 50 * NS_PER_MS,
    .clock_drift_ppm_max = 50000,
    .reads = PROTOCOL_READ_INDEX,
    .snapshot_entries = 20,
    .snapshot_trailing = 5,
    .limits = {.log_entries_max = ENTRIES,
               .log_bytes_max = LOG_BYTES,
               .entry_bytes_max = 1024,
               .message_bytes_max = MESSAGE_BYTES,
               .reads_max = 16,
               .inflight_max = 8},
};

struct replica_under_test {
    void *state;
    struct effects fx;
    uint64_t now_ns, last_index;
    bool stopped;
};

/* Plays the driver: everything is durable at once, snapshots included, and every message sent must be well formed. */
static void step(struct replica_under_test *r, struct event ev);

static void carry_out(struct replica_under_test *r) {
    uint32_t count = r->fx.count;
    struct event later[4];
    uint32_t laters = 0;
    for (uint32_t i = 0; i < count && !r->stopped; i++) {
        const struct effect *e = &r->fx.items[i];
        struct raft_message m;
        if (e->kind == EFFECT_SEND && !raft_message_decode(e->bytes, &m)) abort();
        if (e->kind == EFFECT_APPEND) r->last_index = e->index;
        if (e->kind == EFFECT_TRUNCATE) r->last_index = e->index - 1;
        if (e->kind == EFFECT_FATAL) r->stopped = true;
        bool received = e->kind == EFFECT_SNAPSHOT_RECEIVE && e->last;
        if (received && e->reset) r->last_index = e->index;
        if ((received || e->kind == EFFECT_SNAPSHOT_TAKE) && laters < 4) {
            struct event ev = {.kind = received ? EVENT_SNAPSHOT_INSTALLED : EVENT_SNAPSHOT_TAKEN};
            ev.snapshot.index = e->index;
            ev.snapshot.term = e->term;
            ev.snapshot.written = e->written;
            later[laters++] = ev;
        }
    }
    for (uint32_t i = 0; i < laters && !r->stopped; i++) {
        r->fx.snapshot_index = later[i].snapshot.index;
        r->fx.snapshot_term = later[i].snapshot.term;
        r->fx.snapshot = bytes_str("a snapshot");
        step(r, later[i]);
    }
}

static void step(struct replica_under_test *r, struct event ev) {
    ev.now_ns = r->now_ns += NS_PER_MS;
    r->fx.count = r->fx.scratch_size = 0;
    raft_protocol.step(r->state, &ev, &r->fx);
    carry_out(r);
    if (r->stopped) return;
    struct event durable = {.kind = EVENT_PERSISTED, .now_ns = r->now_ns};
    durable.persisted.written = r->fx.written;
    durable.persisted.last_index = r->last_index;
    r->fx.count = r->fx.scratch_size = 0;
    raft_protocol.step(r->state, &durable, &r->fx);
    carry_out(r);
    if (!r->stopped && raft_protocol.check(r->state)) abort();
}

static void message(struct replica_under_test *r, uint8_t from, const struct raft_message *m) {
    uint8_t bytes[256];
    struct event ev = {.kind = EVENT_MESSAGE};
    ev.message.from = from;
    ev.message.bytes = bytes_of(bytes, raft_message_encode(m, bytes, sizeof bytes));
    step(r, ev);
}

/* Lets it lose its leader and stand, and be elected where that is wanted. */
static void prepare(struct replica_under_test *r, uint8_t how) {
    if (how % 3 == 0) return;
    r->now_ns += NS_PER_S;
    step(r, (struct event){.kind = EVENT_TIMER});
    if (how % 3 == 1) return;
    struct probe p;
    raft_protocol.probe(r->state, &p);
    message(r, 1,
            &(struct raft_message){.kind = RAFT_VOTE_REPLY, .pre_vote = true, .success = true, .term = p.term + 1});
    message(r, 1, &(struct raft_message){.kind = RAFT_VOTE_REPLY, .success = true, .term = p.term + 1});
    for (uint64_t i = 1; i <= 10; i++) {
        struct event ev = {.kind = EVENT_PROPOSE};
        ev.propose.token = i;
        ev.propose.command = bytes_str("a command");
        step(r, ev);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    struct replica_under_test r = {.state = malloc(raft_protocol.state_size(&config)), .now_ns = NS_PER_S};
    r.fx.capacity = raft_protocol.effects_needed(&config);
    r.fx.items = malloc(r.fx.capacity * sizeof *r.fx.items);
    r.fx.scratch_capacity = raft_protocol.scratch_needed(&config);
    r.fx.scratch = malloc(r.fx.scratch_capacity);
    struct durable nothing = {0};
    raft_protocol.start(r.state, &config, &nothing, r.now_ns, &r.fx);
    carry_out(&r);
    prepare(&r, data[0]);
    struct reader reader = {.data = data, .size = size, .offset = 1};
    while (!r.stopped && size - reader.offset >= 3) {
        uint8_t from = read_u8(&reader);
        uint16_t length = read_u16(&reader);
        size_t left = size - reader.offset;
        struct event ev = {.kind = EVENT_MESSAGE};
        ev.message.from = from % 4;
        ev.message.bytes = bytes_of(data + reader.offset, length < left ? length : left);
        reader.offset += ev.message.bytes.size;
        char text[64];
        if (raft_protocol.describe(ev.message.bytes, text, sizeof text) >= sizeof text) abort();
        step(&r, ev);
        if (from & 0x40) step(&r, (struct event){.kind = EVENT_TIMER, .timer = {.id = from >> 7}});
    }
    free(r.state);
    free(r.fx.items);
    free(r.fx.scratch);
    return 0;
}
