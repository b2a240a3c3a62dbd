/* The wire form of multipaxos' messages: kind, flags, ballot, then the fields of that kind, little-endian. What arrives
 * is bytes that anyone may have sent: after decoding, no number in a message can overflow a computation. */
#include "targets/protocols/multipaxos/multipaxos_internal.h"

enum { FLAG_CANVASS = 1, FLAG_HANDOVER = 2, FLAG_SUCCESS = 4, FLAG_LAST = 8, FLAGS_ALL = 15 };
enum { FIELDS_MAX = 6 };

/* The numbers that follow the ballot, by kind; `data` comes behind them where there is any. */
struct layout {
    uint32_t count;
    uint64_t *fields[FIELDS_MAX];
    bool entries, data;
};

static bool layout_of(struct multipaxos_message *m, struct layout *l) {
    switch (m->kind) {
    case MULTIPAXOS_PREPARE: *l = (struct layout){1, {&m->slot}, false, false}; return true;
    case MULTIPAXOS_PROMISE: *l = (struct layout){2, {&m->slot, &m->index}, true, true}; return true;
    case MULTIPAXOS_ACCEPT: *l = (struct layout){3, {&m->slot, &m->commit, &m->round}, true, true}; return true;
    case MULTIPAXOS_ACCEPTED:
        *l = (struct layout){4, {&m->slot, &m->index, &m->held, &m->round}, true, false};
        return true;
    case MULTIPAXOS_SNAPSHOT: *l = (struct layout){3, {&m->index, &m->answered, &m->offset}, false, true}; return true;
    case MULTIPAXOS_SNAPSHOT_REPLY:
        *l = (struct layout){3, {&m->index, &m->answered, &m->offset}, false, false};
        return true;
    case MULTIPAXOS_HANDOVER: *l = (struct layout){0}; return true;
    default: return false;
    }
}

size_t multipaxos_encode(const struct multipaxos_message *m, uint8_t *out, size_t capacity) {
    struct multipaxos_message copy = *m;
    struct layout l;
    struct writer w = {.data = out, .capacity = capacity};
    if (!layout_of(&copy, &l)) return 0;
    write_u8(&w, m->kind);
    write_u8(&w, (uint8_t)((m->canvass ? FLAG_CANVASS : 0) | (m->handover ? FLAG_HANDOVER : 0) |
                           (m->success ? FLAG_SUCCESS : 0) | (m->last ? FLAG_LAST : 0)));
    write_u64(&w, m->ballot);
    for (uint32_t i = 0; i < l.count; i++) write_u64(&w, *l.fields[i]);
    if (l.entries) write_u32(&w, m->entries);
    if (l.data) write_bytes(&w, m->data);
    return w.failed ? 0 : w.size;
}

void multipaxos_entry_write(struct writer *w, uint8_t message_kind, const struct multipaxos_entry *e) {
    if (message_kind == MULTIPAXOS_PROMISE) {
        write_u64(w, e->slot);
        write_u64(w, e->ballot);
    }
    write_u8(w, e->kind);
    write_bytes(w, e->value);
}

bool multipaxos_entry_next(struct reader *r, uint8_t message_kind, struct multipaxos_entry *e) {
    e->slot = e->ballot = 0;
    if (message_kind == MULTIPAXOS_PROMISE) {
        e->slot = read_u64(r);
        e->ballot = read_u64(r);
    }
    e->kind = read_u8(r);
    e->value = read_bytes(r);
    return !r->failed && e->kind <= ENTRY_NOOP;
}

/* The entries of a promise rise from its first slot on, and were accepted before it. */
static bool entries_walk(const struct multipaxos_message *m) {
    struct reader r = {.data = m->data.data, .size = m->data.size};
    struct multipaxos_entry e;
    uint64_t next = m->slot;
    for (uint32_t i = 0; i < m->entries; i++) {
        if (!multipaxos_entry_next(&r, m->kind, &e)) return false;
        if (m->kind == MULTIPAXOS_ACCEPT) continue;
        if (e.slot < next || e.slot > UINT64_MAX >> 2 || e.ballot == 0 || e.ballot > m->ballot) return false;
        next = e.slot + 1;
    }
    return r.offset == r.size;
}

/* No run reaches 2^62 of anything. */
static bool numbers_are_sane(const struct multipaxos_message *m) {
    uint64_t all = m->ballot | m->slot | m->index | m->held | m->commit | m->round | m->offset | m->answered;
    return m->ballot > 0 && all <= UINT64_MAX >> 2;
}

bool multipaxos_decode(struct bytes b, struct multipaxos_message *m) {
    struct reader r = {.data = b.data, .size = b.size};
    struct layout l;
    memset(m, 0, sizeof *m);
    m->kind = read_u8(&r);
    uint8_t flags = read_u8(&r);
    m->canvass = flags & FLAG_CANVASS;
    m->handover = flags & FLAG_HANDOVER;
    m->success = flags & FLAG_SUCCESS;
    m->last = flags & FLAG_LAST;
    m->ballot = read_u64(&r);
    if (!layout_of(m, &l)) return false;
    for (uint32_t i = 0; i < l.count; i++) *l.fields[i] = read_u64(&r);
    if (l.entries) m->entries = read_u32(&r);
    if (l.data) m->data = read_bytes(&r);
    if (r.failed || r.offset != r.size || (flags & ~FLAGS_ALL) || !numbers_are_sane(m)) return false;
    switch (m->kind) {
    case MULTIPAXOS_PREPARE: return m->slot > 0;
    case MULTIPAXOS_PROMISE:
        /* A page that goes on goes on further. */
        return m->slot > 0 && entries_walk(m) && (m->index == 0 || m->index > m->slot);
    case MULTIPAXOS_ACCEPT: return m->slot > 0 && entries_walk(m);
    case MULTIPAXOS_SNAPSHOT: return m->index > 0;
    default: return true;
    }
}

size_t multipaxos_describe(struct bytes message, char *out, size_t capacity) {
    static const char *const names[] = {"?",        "prepare",  "promise",        "accept",
                                        "accepted", "snapshot", "snapshot-reply", "handover"};
    struct multipaxos_message m;
    struct text t = {.out = out, .capacity = capacity};
    if (!multipaxos_decode(message, &m)) {
        text_add(&t, "undecodable");
        return text_end(&t);
    }
    text_add(&t, m.canvass ? "canvass-" : "");
    text_add(&t, names[m.kind]);
    text_ballot(&t, m.ballot);
    if (m.slot) text_number(&t, " slot=", m.slot);
    if (m.entries) text_number(&t, " entries=", m.entries);
    if (m.index) text_number(&t, " index=", m.index);
    if (m.kind == MULTIPAXOS_ACCEPT) text_number(&t, " commit=", m.commit);
    if (m.kind == MULTIPAXOS_ACCEPTED || m.kind == MULTIPAXOS_PROMISE) text_add(&t, m.success ? " yes" : " no");
    return text_end(&t);
}
