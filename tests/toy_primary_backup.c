/* Primary and backups: the primary of view v is node v mod n. It answers when its own disk holds a command, and tells
 * the backups. Who hears no primary for a while takes the next view of its own: nobody is asked, so nothing is agreed
 * on. What the old primary answered and the new one had not heard of is lost. */
#include "tests/toy_primary_backup.h"
#include "targets/protocols/effects.h"
#include "targets/protocols/text.h"

enum { REPLICATE = 1, BEHIND };
enum { TIMER_TICK, CATCH_UP = 32, MESSAGE_FRAME_BYTES = 32 };

struct item {
    uint64_t token;
    uint32_t offset, size;
};
struct toy {
    struct config c;
    uint64_t now, heard_ns, view, meta_written, last, applied;
    uint32_t bytes_used;
    struct item *items; /* of entry i at i - 1 */
    uint8_t *bytes;
};

static bool leads(const struct toy *t) {
    return t->view % t->c.nodes == t->c.self;
}

/* --- effects ------------------------------------------------------------------------------------------------------ */

static void send(const struct toy *t, uint8_t to, uint8_t kind, uint64_t index, struct effects *fx) {
    struct writer w = effects_scratch(fx);
    write_u8(&w, kind);
    write_u64(&w, t->view);
    write_u64(&w, index);
    write_u64(&w, t->applied);
    if (kind == REPLICATE && index <= t->last)
        write_bytes(&w, bytes_of(t->bytes + t->items[index - 1].offset, t->items[index - 1].size));
    effect_send(to, kind, effects_keep(&w, fx), t->meta_written, fx);
}

static void send_all(const struct toy *t, uint64_t index, struct effects *fx) {
    for (uint8_t to = 0; to < t->c.nodes; to++)
        if (to != t->c.self) send(t, to, REPLICATE, index, fx);
}

static bool keep(struct toy *t, uint64_t token, struct bytes command) {
    const struct limits *l = &t->c.limits;
    if (t->last == l->log_entries_max || command.size > l->log_bytes_max - t->bytes_used) return false;
    t->items[t->last++] = (struct item){token, t->bytes_used, (uint32_t)command.size};
    if (command.size) memcpy(t->bytes + t->bytes_used, command.data, command.size);
    t->bytes_used += (uint32_t)command.size;
    return true;
}

static bool append(struct toy *t, uint64_t token, struct bytes command, struct effects *fx) {
    if (!keep(t, token, command)) return false;
    struct effect *e = effect_add(fx, EFFECT_APPEND);
    e->index = t->last;
    e->term = t->view + 1;
    e->entry_kind = ENTRY_COMMAND;
    e->bytes = bytes_of(t->bytes + t->items[t->last - 1].offset, command.size);
    e->written = ++fx->written;
    return true;
}

static void apply_to(struct toy *t, uint64_t index, struct effects *fx) {
    for (; t->applied < index && t->applied < t->last; t->applied++) {
        struct item *item = &t->items[t->applied];
        struct effect *e = effect_add(fx, EFFECT_APPLY);
        e->index = e->instance = t->applied + 1;
        e->term = t->view + 1;
        e->entry_kind = ENTRY_COMMAND;
        e->bytes = bytes_of(t->bytes + item->offset, item->size);
        e->token = item->token;
        item->token = 0;
    }
}

static void enter(struct toy *t, uint64_t view, struct effects *fx) {
    t->view = view;
    t->heard_ns = t->now;
    t->meta_written = effect_meta(bytes_of(&view, sizeof view), view + 1, NODE_NONE, fx);
    effect_role(leads(t) ? PROTOCOL_LEADER : PROTOCOL_FOLLOWER, view + 1, fx);
}

/* --- events ------------------------------------------------------------------------------------------------------- */

static void on_message(struct toy *t, uint8_t from, struct bytes bytes, struct effects *fx) {
    struct reader r = {.data = bytes.data, .size = bytes.size};
    uint8_t kind = read_u8(&r);
    uint64_t view = read_u64(&r), index = read_u64(&r), commit = read_u64(&r);
    if (r.failed || view < t->view || from >= t->c.nodes) return;
    if (view > t->view) enter(t, view, fx);
    if (kind == BEHIND && leads(t))
        for (uint64_t i = index; i <= t->last && i < index + CATCH_UP; i++) send(t, from, REPLICATE, i, fx);
    if (kind != REPLICATE || leads(t)) return;
    t->heard_ns = t->now;
    if (index > t->last + 1) send(t, from, BEHIND, t->last + 1, fx);
    if (index == t->last + 1 && r.offset < r.size) append(t, 0, read_bytes(&r), fx);
    apply_to(t, commit, fx);
}

static void on_tick(struct toy *t, struct effects *fx) {
    uint64_t rank = (t->c.self + t->c.nodes - t->view % t->c.nodes) % t->c.nodes; /* the next in line waits least */
    if (!leads(t) && t->now - t->heard_ns > (rank + 1) * t->c.election_timeout_ns) {
        enter(t, t->view + rank, fx);
        apply_to(t, t->last, fx);
    }
    if (leads(t)) send_all(t, t->last + 1, fx); /* a heartbeat names the next entry and has none */
    effect_timer(TIMER_TICK, t->c.heartbeat_ns, fx);
}

static void on_propose(struct toy *t, uint64_t token, struct bytes command, struct effects *fx) {
    if (!leads(t))
        effect_respond(token, STATUS_NOT_LEADER, (uint8_t)(t->view % t->c.nodes), fx);
    else if (append(t, token, command, fx))
        send_all(t, t->last, fx);
    else
        effect_respond(token, STATUS_BUSY, NODE_NONE, fx);
}

static void step(void *state, const struct event *ev, struct effects *fx) {
    struct toy *t = state;
    t->now = ev->now_ns;
    if (ev->kind == EVENT_MESSAGE) on_message(t, ev->message.from, ev->message.bytes, fx);
    if (ev->kind == EVENT_TIMER) on_tick(t, fx);
    if (ev->kind == EVENT_PROPOSE) on_propose(t, ev->propose.token, ev->propose.command, fx);
    if (ev->kind == EVENT_READ) effect_respond(ev->read.token, STATUS_BUSY, NODE_NONE, fx); /* reads are commands */
    if (ev->kind == EVENT_PERSISTED && leads(t)) apply_to(t, ev->persisted.last_index, fx);
}

/* --- start -------------------------------------------------------------------------------------------------------- */

static size_t state_size(const struct config *c) {
    return sizeof(struct toy) + c->limits.log_entries_max * sizeof(struct item) + c->limits.log_bytes_max;
}
static uint32_t effects_needed(const struct config *c) {
    return c->limits.log_entries_max + CATCH_UP + c->nodes + 16;
}
static uint32_t scratch_needed(const struct config *c) {
    return (CATCH_UP + 2u * c->nodes + 4) * (c->limits.entry_bytes_max + MESSAGE_FRAME_BYTES);
}

static void start(void *state, const struct config *c, const struct durable *d, uint64_t now_ns, struct effects *fx) {
    struct toy *t = state;
    memset(t, 0, sizeof *t);
    t->c = *c;
    t->now = t->heard_ns = now_ns;
    t->items = (struct item *)(void *)(t + 1);
    t->bytes = (uint8_t *)(t->items + c->limits.log_entries_max);
    if (d->meta.size) memcpy(&t->view, d->meta.data, sizeof t->view);
    for (size_t i = 0; i < d->entries_count; i++) keep(t, 0, d->entries[i].payload);
    effect_role(leads(t) ? PROTOCOL_LEADER : PROTOCOL_FOLLOWER, t->view + 1, fx);
    if (leads(t)) apply_to(t, t->last, fx);
    effect_timer(TIMER_TICK, c->heartbeat_ns, fx);
}

/* --- what it tells of itself -------------------------------------------------------------------------------------- */

static void probe(const void *state, struct probe *out) {
    const struct toy *t = state;
    *out = (struct probe){.role = leads(t) ? PROTOCOL_LEADER : PROTOCOL_FOLLOWER,
                          .vote = NODE_NONE,
                          .leader = (uint8_t)(t->view % t->c.nodes),
                          .term = t->view + 1,
                          .first_index = 1,
                          .last_index = t->last,
                          .last_term = t->view + 1,
                          .commit_index = t->applied,
                          .applied_index = t->applied,
                          .durable_index = t->last};
}
static void visit(const void *state, const struct visitor *v) {
    const struct toy *t = state;
    v->word(v->ctx, "view", t->view);
    v->word(v->ctx, "last", t->last);
    v->word(v->ctx, "applied", t->applied);
}
static const char *check(const void *state) {
    const struct toy *t = state;
    return t->applied <= t->last ? NULL : "applied <= last";
}
static size_t describe(struct bytes message, char *out, size_t capacity) {
    struct text t = {.out = out, .capacity = capacity};
    struct reader r = {.data = message.data, .size = message.size};
    text_add(&t, read_u8(&r) == REPLICATE ? "replicate" : "behind");
    text_number(&t, " view=", read_u64(&r));
    text_number(&t, " index=", read_u64(&r));
    return text_end(&t);
}

const struct protocol toy_primary_backup = {
    .name = "toy",
    .doc = "primary and backups without consensus",
    .orders_all = true,
    .reads_known = 1u << PROTOCOL_READ_LOG,
    .state_size = state_size,
    .effects_needed = effects_needed,
    .scratch_needed = scratch_needed,
    .start = start,
    .step = step,
    .probe = probe,
    .visit = visit,
    .check = check,
    .describe = describe,
};
