/* The wire form of paxos' messages: kind, flags, value kind, slot, then the fields of that kind, little-endian. What
 * arrives is bytes that anyone may have sent: after decoding, no number in a message can overflow a computation. */
#include "targets/protocols/paxos/paxos_internal.h"

enum { FLAG_SUCCESS = 1, FLAG_LAST = 2, FLAGS_ALL = 3 };
enum { FIELDS_MAX = 3 };

/* The numbers that follow the slot, by kind; `data` comes behind them where there is any. */
struct layout {
    uint32_t count;
    uint64_t *fields[FIELDS_MAX];
    bool values, data;
};

static bool layout_of(struct paxos_message *m, struct layout *l) {
    switch (m->kind) {
    case PAXOS_PREPARE:
    case PAXOS_ACCEPTED: *l = (struct layout){1, {&m->ballot}, false, false}; return true;
    case PAXOS_PROMISE: *l = (struct layout){2, {&m->ballot, &m->accepted}, false, true}; return true;
    case PAXOS_ACCEPT: *l = (struct layout){1, {&m->ballot}, false, true}; return true;
    case PAXOS_CHOSEN: *l = (struct layout){1, {&m->commit}, true, true}; return true;
    case PAXOS_FETCH: *l = (struct layout){1, {&m->offset}, false, false}; return true;
    case PAXOS_SNAPSHOT: *l = (struct layout){2, {&m->ballot, &m->offset}, false, true}; return true;
    case PAXOS_ASK:
    case PAXOS_TELL: *l = (struct layout){1, {&m->round}, false, false}; return true;
    default: return false;
    }
}

size_t paxos_encode(const struct paxos_message *m, uint8_t *out, size_t capacity) {
    struct paxos_message copy = *m;
    struct layout l;
    struct writer w = {.data = out, .capacity = capacity};
    if (!layout_of(&copy, &l)) return 0;
    write_u8(&w, m->kind);
    write_u8(&w, (uint8_t)((m->success ? FLAG_SUCCESS : 0) | (m->last ? FLAG_LAST : 0)));
    write_u8(&w, m->value_kind);
    write_u64(&w, m->slot);
    for (uint32_t i = 0; i < l.count; i++) write_u64(&w, *l.fields[i]);
    if (l.values) write_u32(&w, m->values);
    if (l.data) write_bytes(&w, m->data);
    return w.failed ? 0 : w.size;
}

/* Of a command: the proposer's number, then commands, each behind its size. */
static bool value_walks(uint8_t kind, struct bytes value) {
    if (kind == ENTRY_NOOP) return value.size == 0;
    struct reader r = {.data = value.data, .size = value.size};
    if (kind != ENTRY_COMMAND || read_u8(&r) >= PROTOCOL_NODES_MAX) return false;
    uint32_t commands = 0;
    for (; !r.failed && r.offset < r.size; commands++) read_bytes(&r);
    return !r.failed && commands <= PAXOS_BATCH_MAX;
}

bool paxos_value_next(struct reader *r, uint8_t *kind, struct bytes *value) {
    *kind = read_u8(r);
    *value = read_bytes(r);
    return !r->failed && value_walks(*kind, *value);
}

static bool values_walk(const struct paxos_message *m) {
    struct reader r = {.data = m->data.data, .size = m->data.size};
    for (uint32_t i = 0; i < m->values; i++) {
        uint8_t kind;
        struct bytes value;
        if (!paxos_value_next(&r, &kind, &value)) return false;
    }
    return r.offset == r.size;
}

/* No run reaches 2^61 of anything: all ballots are below BALLOT_CHOSEN. */
static bool numbers_are_sane(const struct paxos_message *m) {
    uint64_t all = m->slot | m->ballot | m->accepted | m->commit | m->round | m->offset;
    return all <= UINT64_MAX >> 3;
}

bool paxos_decode(struct bytes b, struct paxos_message *m) {
    struct reader r = {.data = b.data, .size = b.size};
    struct layout l;
    memset(m, 0, sizeof *m);
    m->kind = read_u8(&r);
    uint8_t flags = read_u8(&r);
    m->success = flags & FLAG_SUCCESS;
    m->last = flags & FLAG_LAST;
    m->value_kind = read_u8(&r);
    m->slot = read_u64(&r);
    if (!layout_of(m, &l)) return false;
    for (uint32_t i = 0; i < l.count; i++) *l.fields[i] = read_u64(&r);
    if (l.values) m->values = read_u32(&r);
    if (l.data) m->data = read_bytes(&r);
    if (r.failed || r.offset != r.size || (flags & ~FLAGS_ALL) || !numbers_are_sane(m)) return false;
    switch (m->kind) {
    case PAXOS_PREPARE:
    case PAXOS_ACCEPTED: return m->slot > 0 && m->ballot > 0;
    case PAXOS_ACCEPT: return m->slot > 0 && m->ballot > 0 && value_walks(m->value_kind, m->data);
    case PAXOS_PROMISE:
        return m->slot > 0 && m->ballot > 0 && (m->accepted == 0 || value_walks(m->value_kind, m->data));
    case PAXOS_CHOSEN: return m->slot > 0 && values_walk(m);
    case PAXOS_FETCH:
    case PAXOS_SNAPSHOT: return m->slot > 0;
    default: return true;
    }
}

size_t paxos_describe(struct bytes message, char *out, size_t capacity) {
    static const char *const names[] = {"?",      "prepare", "promise",  "accept", "accepted",
                                        "chosen", "fetch",   "snapshot", "ask",    "tell"};
    struct paxos_message m;
    struct text t = {.out = out, .capacity = capacity};
    if (!paxos_decode(message, &m)) {
        text_add(&t, "undecodable");
        return text_end(&t);
    }
    text_add(&t, names[m.kind]);
    text_number(&t, " slot=", m.slot);
    if (m.ballot && m.kind != PAXOS_SNAPSHOT) text_ballot(&t, m.ballot);
    if (m.accepted) text_number(&t, " accepted=", m.accepted);
    if (m.kind == PAXOS_CHOSEN) {
        text_number(&t, " values=", m.values);
        text_number(&t, " commit=", m.commit);
    }
    if (m.kind == PAXOS_PROMISE || m.kind == PAXOS_ACCEPTED) text_add(&t, m.success ? " yes" : " no");
    return text_end(&t);
}
