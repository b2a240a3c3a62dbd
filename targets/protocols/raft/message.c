/* The wire form of raft's messages: kind, flags, term, then the fields of that kind, little-endian. What arrives is
 * bytes that anyone may have sent: after decoding, no number in a message can overflow an index computation. */
#include "targets/protocols/raft/raft_internal.h"

enum { FLAG_PRE_VOTE = 1, FLAG_TRANSFER = 2, FLAG_SUCCESS = 4, FLAG_LAST = 8, FLAGS_ALL = 15 };

size_t raft_message_encode(const struct raft_message *m, uint8_t *out, size_t capacity) {
    struct writer w = {.data = out, .capacity = capacity};
    write_u8(&w, m->kind);
    write_u8(&w, (uint8_t)((m->pre_vote ? FLAG_PRE_VOTE : 0) | (m->transfer ? FLAG_TRANSFER : 0) |
                           (m->success ? FLAG_SUCCESS : 0) | (m->last ? FLAG_LAST : 0)));
    write_u64(&w, m->term);
    switch (m->kind) {
    case RAFT_VOTE_REQUEST:
        write_u64(&w, m->index);
        write_u64(&w, m->log_term);
        break;
    case RAFT_APPEND_REQUEST:
        write_u64(&w, m->index);
        write_u64(&w, m->log_term);
        write_u64(&w, m->commit);
        write_u64(&w, m->round);
        write_u32(&w, m->entries);
        write_bytes(&w, m->data);
        break;
    case RAFT_APPEND_REPLY:
        write_u64(&w, m->index);
        write_u64(&w, m->log_term);
        write_u64(&w, m->round);
        write_u64(&w, m->rejected);
        break;
    case RAFT_SNAPSHOT_REQUEST:
        write_u64(&w, m->index);
        write_u64(&w, m->log_term);
        write_u64(&w, m->offset);
        write_bytes(&w, m->data);
        break;
    case RAFT_SNAPSHOT_REPLY:
        write_u64(&w, m->index);
        write_u64(&w, m->offset);
        write_u64(&w, m->rejected);
        break;
    default: /* VOTE_REPLY and TIMEOUT_NOW are their flags and term */ break;
    }
    return w.failed ? 0 : w.size;
}

bool raft_entry_next(struct reader *r, struct entry *e) {
    e->term = read_u64(r);
    e->kind = read_u8(r);
    e->payload = read_bytes(r);
    return !r->failed && e->kind <= ENTRY_CONFIGURATION && e->term > 0;
}

static bool entries_walk(const struct raft_message *m) {
    struct reader r = {.data = m->data.data, .size = m->data.size};
    struct entry e;
    uint64_t term = m->log_term;
    for (uint32_t i = 0; i < m->entries; i++) {
        if (!raft_entry_next(&r, &e) || e.term < term || e.term > m->term) return false; /* terms never fall in a log */
        term = e.term;
    }
    return r.offset == r.size;
}

/* No run reaches 2^62 of anything. */
static bool numbers_are_sane(const struct raft_message *m) {
    uint64_t all = m->term | m->index | m->log_term | m->commit | m->round | m->rejected | m->offset;
    return m->term > 0 && all <= UINT64_MAX >> 2;
}

bool raft_message_decode(struct bytes b, struct raft_message *m) {
    struct reader r = {.data = b.data, .size = b.size};
    memset(m, 0, sizeof *m);
    m->kind = read_u8(&r);
    uint8_t flags = read_u8(&r);
    m->pre_vote = flags & FLAG_PRE_VOTE;
    m->transfer = flags & FLAG_TRANSFER;
    m->success = flags & FLAG_SUCCESS;
    m->last = flags & FLAG_LAST;
    m->term = read_u64(&r);
    switch (m->kind) {
    case RAFT_VOTE_REQUEST:
        m->index = read_u64(&r);
        m->log_term = read_u64(&r);
        break;
    case RAFT_APPEND_REQUEST:
        m->index = read_u64(&r);
        m->log_term = read_u64(&r);
        m->commit = read_u64(&r);
        m->round = read_u64(&r);
        m->entries = read_u32(&r);
        m->data = read_bytes(&r);
        break;
    case RAFT_APPEND_REPLY:
        m->index = read_u64(&r);
        m->log_term = read_u64(&r);
        m->round = read_u64(&r);
        m->rejected = read_u64(&r);
        break;
    case RAFT_SNAPSHOT_REQUEST:
        m->index = read_u64(&r);
        m->log_term = read_u64(&r);
        m->offset = read_u64(&r);
        m->data = read_bytes(&r);
        break;
    case RAFT_SNAPSHOT_REPLY:
        m->index = read_u64(&r);
        m->offset = read_u64(&r);
        m->rejected = read_u64(&r);
        break;
    case RAFT_VOTE_REPLY:
    case RAFT_TIMEOUT_NOW: break;
    default: return false;
    }
    if (r.failed || r.offset != r.size || (flags & ~FLAGS_ALL) || !numbers_are_sane(m)) return false;
    if (m->kind == RAFT_SNAPSHOT_REQUEST) return m->index > 0 && m->log_term > 0 && m->log_term <= m->term;
    return m->kind != RAFT_APPEND_REQUEST || entries_walk(m);
}

size_t raft_message_describe(struct bytes message, char *out, size_t capacity) {
    static const char *const names[] = {"?",      "vote?",     "vote",     "append?",
                                        "append", "snapshot?", "snapshot", "timeout-now"};
    struct raft_message m;
    struct text t = {.out = out, .capacity = capacity};
    if (!raft_message_decode(message, &m)) {
        text_add(&t, "undecodable");
        return text_end(&t);
    }
    text_add(&t, m.pre_vote ? "pre-" : "");
    text_add(&t, names[m.kind]);
    text_number(&t, " term=", m.term);
    if (m.kind != RAFT_VOTE_REPLY && m.kind != RAFT_TIMEOUT_NOW) text_number(&t, " index=", m.index);
    if (m.log_term) text_number(&t, " log_term=", m.log_term);
    if (m.kind == RAFT_APPEND_REQUEST) {
        text_number(&t, " entries=", m.entries);
        text_number(&t, " commit=", m.commit);
    }
    if (m.round) text_number(&t, " round=", m.round);
    if (m.kind == RAFT_VOTE_REPLY || m.kind == RAFT_APPEND_REPLY) text_add(&t, m.success ? " yes" : " no");
    return text_end(&t);
}
