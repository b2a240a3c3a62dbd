/* The wire form of epaxos's messages: kind, flags, then the fields of that kind, little-endian; and the form of its log
 * records and of a snapshot's header. What arrives is bytes that anyone may have sent: after decoding, replicas and
 * numbers are in range. */
#include "targets/protocols/epaxos/epaxos_internal.h"

enum {
    HAS_ID = 1,
    HAS_BALLOT = 2,
    HAS_AT = 4,
    HAS_COMMAND = 8,
    HAS_ACCEPTED = 16, /* accepted, status */
    HAS_LEADERS = 32,
    HAS_COUNT = 64,
    HAS_VECTOR = 128,
    HAS_FLOOR = 256,
    HAS_INDEX = 512,
    HAS_DATA = 1024,
};
static const uint16_t fields[EPAXOS_KIND_END] = {
    [EPAXOS_PREACCEPT] = HAS_ID | HAS_AT | HAS_COMMAND,
    [EPAXOS_PREACCEPT_REPLY] = HAS_ID | HAS_BALLOT | HAS_AT,
    [EPAXOS_ACCEPT] = HAS_ID | HAS_BALLOT | HAS_AT | HAS_COMMAND,
    [EPAXOS_ACCEPT_REPLY] = HAS_ID | HAS_BALLOT,
    [EPAXOS_COMMIT] = HAS_ID | HAS_AT | HAS_COMMAND,
    [EPAXOS_PREPARE] = HAS_ID | HAS_BALLOT,
    [EPAXOS_PREPARE_REPLY] = HAS_ID | HAS_BALLOT | HAS_ACCEPTED | HAS_AT | HAS_COMMAND,
    [EPAXOS_TRY_PREACCEPT] = HAS_ID | HAS_BALLOT | HAS_AT | HAS_COMMAND,
    [EPAXOS_TRY_PREACCEPT_REPLY] = HAS_ID | HAS_BALLOT | HAS_LEADERS,
    [EPAXOS_WAITING] = HAS_ID | HAS_COUNT,
    [EPAXOS_STATE] = HAS_VECTOR | HAS_FLOOR,
    [EPAXOS_FETCH] = HAS_ID | HAS_COUNT,
    [EPAXOS_SNAPSHOT_OFFER] = HAS_INDEX,
    [EPAXOS_SNAPSHOT_REQUEST] = HAS_COUNT | HAS_INDEX | HAS_VECTOR,
    [EPAXOS_SNAPSHOT_CHUNK] = HAS_COUNT | HAS_VECTOR | HAS_INDEX | HAS_DATA,
};
enum {
    FLAG_ORIGINAL = 1,
    FLAG_REFUSED = 2,
    FLAG_CONFLICT = 4,
    FLAG_COMMITTED = 8,
    FLAG_OUTVOTED = 16,
    FLAG_LAST = 32,
    FLAGS_ALL = 63
};
enum { FLAG_FAST = 2, FLAG_HAS_COMMAND = 4, FLAG_KNOWS_LEADER = 8, RECORD_FLAGS_ALL = 15 };

static void write_numbers(struct writer *w, const uint32_t *numbers, uint8_t nodes) {
    uint8_t *at = writer_claim(w, nodes * sizeof *numbers);
    if (at) memcpy(at, numbers, nodes * sizeof *numbers);
}

static void read_numbers(struct reader *r, uint32_t *numbers, uint8_t nodes) {
    const uint8_t *at = reader_take(r, nodes * sizeof *numbers);
    if (at) memcpy(numbers, at, nodes * sizeof *numbers);
}

static void write_id(struct writer *w, struct epaxos_id id) {
    write_u8(w, id.replica);
    write_u32(w, id.number);
}

static struct epaxos_id read_id(struct reader *r) {
    struct epaxos_id id;
    id.replica = read_u8(r);
    id.number = read_u32(r);
    return id;
}

static void write_attributes(struct writer *w, const struct epaxos_attributes *at, uint8_t nodes) {
    write_u64(w, at->seq);
    write_numbers(w, at->deps, nodes);
}

static void read_attributes(struct reader *r, struct epaxos_attributes *at, uint8_t nodes) {
    at->seq = read_u64(r);
    read_numbers(r, at->deps, nodes);
}

size_t epaxos_message_encode(const struct epaxos_message *m, uint8_t nodes, uint8_t *out, size_t capacity) {
    struct writer w = {.data = out, .capacity = capacity};
    uint32_t has = fields[m->kind];
    write_u8(&w, m->kind);
    write_u8(&w, (uint8_t)((m->original ? FLAG_ORIGINAL : 0) | (m->refused ? FLAG_REFUSED : 0) |
                           (m->conflict ? FLAG_CONFLICT : 0) | (m->committed ? FLAG_COMMITTED : 0) |
                           (m->outvoted ? FLAG_OUTVOTED : 0) | (m->last ? FLAG_LAST : 0)));
    if (has & HAS_ID) write_id(&w, m->id);
    if (has & HAS_BALLOT) write_u32(&w, m->ballot);
    if (has & HAS_ACCEPTED) {
        write_u8(&w, m->status);
        write_u32(&w, m->accepted);
    }
    if (has & HAS_AT) write_attributes(&w, &m->at, nodes);
    if (has & HAS_LEADERS) write_u16(&w, m->leaders);
    if (has & HAS_COUNT) write_u32(&w, m->count);
    if (has & HAS_VECTOR) write_numbers(&w, m->vector, nodes);
    if (has & HAS_FLOOR) write_numbers(&w, m->floor, nodes);
    if (has & HAS_INDEX) {
        write_u64(&w, m->index);
        write_u64(&w, m->offset);
    }
    if (has & HAS_COMMAND) write_u8(&w, m->entry_kind);
    if (has & (HAS_COMMAND | HAS_DATA)) write_bytes(&w, m->data);
    return w.failed ? 0 : w.size;
}

static bool id_is_sane(struct epaxos_id id, uint8_t nodes) {
    return id.replica < nodes && id.number > 0 && id.number <= EPAXOS_NUMBER_MAX;
}

static bool numbers_are_sane(const uint32_t *numbers, uint8_t nodes) {
    for (uint8_t i = 0; i < nodes; i++)
        if (numbers[i] > EPAXOS_NUMBER_MAX) return false;
    return true;
}

static bool ballot_is_sane(uint32_t ballot, uint8_t nodes) {
    return ballot == 0 || (ballot_node(ballot) < nodes && ballot_round(ballot) > 0 && ballot <= UINT32_MAX >> 1);
}

static bool message_is_sane(const struct epaxos_message *m, uint8_t nodes) {
    uint32_t has = fields[m->kind];
    if ((has & HAS_ID) && !id_is_sane(m->id, nodes)) return false;
    if (!ballot_is_sane(m->ballot, nodes) || !ballot_is_sane(m->accepted, nodes)) return false;
    if (!numbers_are_sane(m->at.deps, nodes) || !numbers_are_sane(m->vector, nodes) ||
        !numbers_are_sane(m->floor, nodes))
        return false;
    if (m->status > EPAXOS_ACCEPTED || (m->entry_kind != ENTRY_COMMAND && m->entry_kind != ENTRY_NOOP)) return false;
    return (m->at.seq | m->index | m->offset) <= UINT64_MAX >> 2 && m->count <= UINT32_MAX >> 1;
}

bool epaxos_message_decode(struct bytes b, uint8_t nodes, struct epaxos_message *m) {
    struct reader r = {.data = b.data, .size = b.size};
    memset(m, 0, sizeof *m);
    m->kind = read_u8(&r);
    uint8_t flags = read_u8(&r);
    if (m->kind == 0 || m->kind >= EPAXOS_KIND_END || (flags & ~FLAGS_ALL)) return false;
    uint32_t has = fields[m->kind];
    m->original = flags & FLAG_ORIGINAL;
    m->refused = flags & FLAG_REFUSED;
    m->conflict = flags & FLAG_CONFLICT;
    m->committed = flags & FLAG_COMMITTED;
    m->outvoted = flags & FLAG_OUTVOTED;
    m->last = flags & FLAG_LAST;
    if (has & HAS_ID) m->id = read_id(&r);
    if (has & HAS_BALLOT) m->ballot = read_u32(&r);
    if (has & HAS_ACCEPTED) {
        m->status = read_u8(&r);
        m->accepted = read_u32(&r);
    }
    if (has & HAS_AT) read_attributes(&r, &m->at, nodes);
    if (has & HAS_LEADERS) m->leaders = read_u16(&r);
    if (has & HAS_COUNT) m->count = read_u32(&r);
    if (has & HAS_VECTOR) read_numbers(&r, m->vector, nodes);
    if (has & HAS_FLOOR) read_numbers(&r, m->floor, nodes);
    if (has & HAS_INDEX) {
        m->index = read_u64(&r);
        m->offset = read_u64(&r);
    }
    if (has & HAS_COMMAND) m->entry_kind = read_u8(&r);
    if (has & (HAS_COMMAND | HAS_DATA)) m->data = read_bytes(&r);
    return !r.failed && r.offset == r.size && message_is_sane(m, nodes);
}

static uint8_t nodes_of(struct bytes message) {
    struct epaxos_message m;
    for (uint8_t nodes = 1; nodes <= PROTOCOL_NODES_MAX; nodes++)
        if (epaxos_message_decode(message, nodes, &m)) return nodes;
    return 0;
}

size_t epaxos_message_describe(struct bytes message, char *out, size_t capacity) {
    static const char *const names[] = {"?",        "preaccept?", "preaccept", "accept?", "accept",  "commit",
                                        "prepare?", "prepare",    "try?",      "try",     "waiting", "state",
                                        "fetch?",   "snapshot!",  "snapshot?", "snapshot"};
    struct epaxos_message m;
    struct text t = {.out = out, .capacity = capacity};
    uint8_t nodes = nodes_of(message);
    if (nodes == 0 || !epaxos_message_decode(message, nodes, &m)) {
        text_add(&t, "undecodable");
        return text_end(&t);
    }
    text_add(&t, names[m.kind]);
    if (m.id.number) {
        text_number(&t, " ", m.id.replica + 1u);
        text_number(&t, ".", m.id.number);
    }
    if (m.ballot) text_number(&t, " ballot=", m.ballot);
    if (m.at.seq) text_number(&t, " seq=", m.at.seq);
    if (m.count) text_number(&t, " count=", m.count);
    if (m.index) text_number(&t, " index=", m.index);
    if (m.refused) text_add(&t, " no");
    if (m.original) text_add(&t, " unchanged");
    if (m.conflict) text_add(&t, " conflict");
    return text_end(&t);
}

size_t epaxos_record_overhead(uint8_t nodes) {
    return 32 + 2u * nodes * sizeof(uint32_t);
}

size_t epaxos_record_encode(const struct epaxos_record *rec, uint8_t nodes, uint8_t *out, size_t capacity) {
    struct writer w = {.data = out, .capacity = capacity};
    write_id(&w, rec->id);
    write_u8(&w, rec->status);
    write_u8(&w, rec->entry_kind);
    write_u8(&w, (uint8_t)((rec->original ? FLAG_ORIGINAL : 0) | (rec->fast ? FLAG_FAST : 0) |
                           (rec->has_command ? FLAG_HAS_COMMAND : 0) | (rec->knows_leader ? FLAG_KNOWS_LEADER : 0)));
    write_u32(&w, rec->promised);
    write_u32(&w, rec->accepted);
    write_attributes(&w, &rec->at, nodes);
    write_numbers(&w, rec->leader_deps, nodes);
    write_bytes(&w, rec->command);
    return w.failed ? 0 : w.size;
}

bool epaxos_record_decode(struct bytes b, uint8_t nodes, struct epaxos_record *rec) {
    struct reader r = {.data = b.data, .size = b.size};
    memset(rec, 0, sizeof *rec);
    rec->id = read_id(&r);
    rec->status = read_u8(&r);
    rec->entry_kind = read_u8(&r);
    uint8_t flags = read_u8(&r);
    rec->original = flags & FLAG_ORIGINAL;
    rec->fast = flags & FLAG_FAST;
    rec->has_command = flags & FLAG_HAS_COMMAND;
    rec->knows_leader = flags & FLAG_KNOWS_LEADER;
    rec->promised = read_u32(&r);
    rec->accepted = read_u32(&r);
    read_attributes(&r, &rec->at, nodes);
    read_numbers(&r, rec->leader_deps, nodes);
    rec->command = read_bytes(&r);
    return !r.failed && r.offset == r.size && !(flags & ~RECORD_FLAGS_ALL) && id_is_sane(rec->id, nodes) &&
           rec->status <= EPAXOS_EXECUTED;
}

static uint32_t above_bytes(const struct row *row) {
    return row->ceiling > row->frontier ? (row->ceiling - row->frontier + 7) / 8 : 0;
}

size_t epaxos_header_size(const struct epaxos *e) {
    size_t size = 0;
    for (uint8_t r = 0; r < e->c.nodes; r++) size += 8 + above_bytes(&e->rows[r]);
    return size;
}

size_t epaxos_header_encode(const struct epaxos *e, uint8_t *out, size_t capacity) {
    struct writer w = {.data = out, .capacity = capacity};
    for (uint8_t r = 0; r < e->c.nodes; r++) {
        const struct row *row = &e->rows[r];
        write_u32(&w, row->frontier);
        write_u32(&w, above_bytes(row));
        uint8_t *bits = writer_claim(&w, above_bytes(row));
        if (!bits) continue;
        memset(bits, 0, above_bytes(row));
        for (uint32_t k = row->frontier + 1; k <= row->ceiling; k++) {
            const struct instance *i = epaxos_get(e, (struct epaxos_id){r, k});
            uint32_t bit = k - row->frontier - 1;
            if (i && i->status == EPAXOS_EXECUTED) bits[bit / 8] |= (uint8_t)(1u << bit % 8);
        }
    }
    return w.failed ? 0 : w.size;
}

bool epaxos_header_decode(struct bytes b, uint8_t nodes, struct epaxos_header *h) {
    struct reader r = {.data = b.data, .size = b.size};
    memset(h, 0, sizeof *h);
    for (uint8_t i = 0; i < nodes; i++) {
        h->frontier[i] = read_u32(&r);
        h->above_bytes[i] = read_u32(&r);
        h->above[i] = reader_take(&r, h->above_bytes[i]);
    }
    return !r.failed && r.offset == r.size && numbers_are_sane(h->frontier, nodes);
}
