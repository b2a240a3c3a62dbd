/* Coding of the log's files and the transitions of its state; see format_internal.h. */
#include "targets/wal/format_internal.h"

#define SNAPSHOT_RECORD_BYTES 32

uint64_t wal_checksum(struct bytes b) {
    return hash_bytes(b, UINT64_C(0x68617272));
}

/* --- headers: fixed words, the last of which is a checksum of those before ---------------------------------------- */

static void seal(struct writer *w) {
    write_u64(w, wal_checksum(bytes_of(w->data, w->size)));
    assert(!w->failed && w->size == w->capacity);
}

static bool seal_intact(const uint8_t *data, size_t size) {
    uint64_t checksum;
    memcpy(&checksum, data + size - sizeof checksum, sizeof checksum);
    return checksum == wal_checksum(bytes_of(data, size - sizeof checksum));
}

void wal_batch_header_encode(const struct wal_batch_header *h, uint8_t out[WAL_BATCH_HEADER_BYTES]) {
    struct writer w = {out, 0, WAL_BATCH_HEADER_BYTES, false};
    write_u32(&w, WAL_BATCH_MAGIC);
    write_u32(&w, h->body_size);
    write_u64(&w, h->segment);
    write_u64(&w, h->offset);
    write_u64(&w, h->number);
    write_u64(&w, h->durable_upto);
    write_u64(&w, h->body_checksum);
    seal(&w);
}

bool wal_batch_header_decode(struct bytes b, struct wal_batch_header *h) {
    struct reader r = {b.data, b.size, 0, false};
    bool magic = read_u32(&r) == WAL_BATCH_MAGIC;
    h->body_size = read_u32(&r);
    h->segment = read_u64(&r);
    h->offset = read_u64(&r);
    h->number = read_u64(&r);
    h->durable_upto = read_u64(&r);
    h->body_checksum = read_u64(&r);
    return magic && b.size >= WAL_BATCH_HEADER_BYTES && seal_intact(b.data, WAL_BATCH_HEADER_BYTES);
}

void wal_snapshot_header_encode(const struct wal_snapshot_reference *s, uint8_t out[WAL_SNAPSHOT_HEADER_BYTES]) {
    struct writer w = {out, 0, WAL_SNAPSHOT_HEADER_BYTES, false};
    write_u32(&w, WAL_SNAPSHOT_MAGIC);
    write_u32(&w, 0);
    write_u64(&w, s->id);
    write_u64(&w, s->index);
    write_u64(&w, s->term);
    write_u64(&w, s->size);
    write_u64(&w, s->checksum);
    seal(&w);
}

bool wal_snapshot_header_decode(struct bytes b, struct wal_snapshot_reference *s) {
    struct reader r = {b.data, b.size, 0, false};
    bool magic = read_u32(&r) == WAL_SNAPSHOT_MAGIC;
    read_u32(&r);
    s->id = read_u64(&r);
    s->index = read_u64(&r);
    s->term = read_u64(&r);
    s->size = read_u64(&r);
    s->checksum = read_u64(&r);
    return magic && b.size >= WAL_SNAPSHOT_HEADER_BYTES && seal_intact(b.data, WAL_SNAPSHOT_HEADER_BYTES);
}

/* --- state -------------------------------------------------------------------------------------------------------- */

bool wal_state_append(struct wal_state *s, uint64_t index) {
    if (index == UINT64_MAX) return false; /* no end could stand behind it */
    bool empty = s->log_first == s->log_end;
    bool gap_under_snapshot = index > s->log_end && s->snapshot.id != 0 && s->snapshot.index >= index - 1;
    if (!empty && index != s->log_end && !gap_under_snapshot) return false;
    if (empty || gap_under_snapshot) s->log_first = index;
    s->log_end = index + 1;
    return true;
}

void wal_state_truncate(struct wal_state *s, uint64_t index) {
    if (index >= s->log_end) return;
    s->log_end = index;
    if (s->log_first > index) s->log_first = index;
}

void wal_state_meta(struct wal_state *s, struct bytes meta) {
    assert(meta.size <= WAL_META_MAX);
    memset(s->meta, 0, sizeof s->meta);
    if (meta.size) memcpy(s->meta, meta.data, meta.size);
    s->meta_size = meta.size;
}

void wal_state_snapshot(struct wal_state *s, const struct wal_snapshot_reference *snapshot, uint64_t keep_from,
                        bool reset) {
    s->snapshot = *snapshot;
    if (reset) {
        s->keep_from = keep_from;
        s->log_first = s->log_end = snapshot->index + 1;
    } else if (keep_from > s->keep_from) { /* what was given up once may be gone */
        s->keep_from = keep_from;
    }
}

/* --- records ------------------------------------------------------------------------------------------------------ */

static void put_record_header(struct writer *w, uint8_t type, uint8_t kind, uint64_t index, uint64_t term,
                              size_t payload_size) {
    write_u8(w, type);
    write_u8(w, kind);
    write_u16(w, 0);
    write_u32(w, (uint32_t)payload_size);
    write_u64(w, index);
    write_u64(w, term);
}

void wal_put_record(struct buffer *out, uint8_t type, uint8_t kind, uint64_t index, uint64_t term,
                    struct bytes payload) {
    size_t size = WAL_RECORD_HEADER_BYTES + payload.size;
    buffer_reserve(out, size);
    struct writer w = {out->data + out->size, 0, size, false};
    put_record_header(&w, type, kind, index, term, payload.size);
    if (payload.size) memcpy(w.data + w.size, payload.data, payload.size);
    out->size += size;
}

void wal_put_snapshot(struct buffer *out, const struct wal_snapshot_reference *snapshot, uint64_t keep_from,
                      bool reset) {
    uint8_t payload[SNAPSHOT_RECORD_BYTES];
    struct writer w = {payload, 0, sizeof payload, false};
    write_u64(&w, snapshot->id);
    write_u64(&w, snapshot->size);
    write_u64(&w, snapshot->checksum);
    write_u64(&w, keep_from);
    wal_put_record(out, WAL_SNAPSHOT, reset, snapshot->index, snapshot->term, bytes_of(payload, w.size));
}

void wal_start_encode(const struct wal_state *s, uint8_t out[WAL_START_BYTES]) {
    struct writer w = {out, 0, WAL_START_BYTES, false};
    put_record_header(&w, WAL_START, 0, 0, 0, WAL_START_BYTES - WAL_RECORD_HEADER_BYTES);
    memset(out + w.size, 0, WAL_START_BYTES - w.size);
    write_u64(&w, s->meta_size);
    memcpy(writer_claim(&w, WAL_META_MAX), s->meta, WAL_META_MAX);
    write_u64(&w, s->snapshot.id);
    write_u64(&w, s->snapshot.index);
    write_u64(&w, s->snapshot.term);
    write_u64(&w, s->snapshot.size);
    write_u64(&w, s->snapshot.checksum);
    write_u64(&w, s->keep_from);
    write_u64(&w, s->log_first);
    write_u64(&w, s->log_end);
    assert(!w.failed);
}

static bool start_decode(struct bytes payload, struct wal_state *s) {
    struct reader r = {payload.data, payload.size, 0, false};
    s->meta_size = read_u64(&r);
    const uint8_t *meta = reader_take(&r, WAL_META_MAX);
    s->snapshot.id = read_u64(&r);
    s->snapshot.index = read_u64(&r);
    s->snapshot.term = read_u64(&r);
    s->snapshot.size = read_u64(&r);
    s->snapshot.checksum = read_u64(&r);
    s->keep_from = read_u64(&r);
    s->log_first = read_u64(&r);
    s->log_end = read_u64(&r);
    if (r.failed || s->meta_size > WAL_META_MAX || s->log_first > s->log_end) return false;
    memcpy(s->meta, meta, WAL_META_MAX);
    return true;
}

static bool snapshot_decode(struct wal_record *record) {
    struct reader r = {record->payload.data, record->payload.size, 0, false};
    uint64_t id = read_u64(&r), size = read_u64(&r), checksum = read_u64(&r);
    record->snapshot = (struct wal_snapshot_reference){id, record->index, record->term, size, checksum};
    record->keep_from = read_u64(&r);
    record->reset = record->kind != 0;
    return !r.failed && id != 0 && record->index != UINT64_MAX;
}

bool wal_record_decode(struct reader *r, struct wal_record *record) {
    record->type = read_u8(r);
    record->kind = read_u8(r);
    read_u16(r);
    uint32_t payload_size = read_u32(r);
    record->index = read_u64(r);
    record->term = read_u64(r);
    const uint8_t *payload = reader_take(r, payload_size);
    if (!payload) return false;
    record->payload = bytes_of(payload, payload_size);
    switch (record->type) {
    case WAL_ENTRY:
    case WAL_TRUNCATE: return true;
    case WAL_META: return payload_size <= WAL_META_MAX;
    case WAL_SNAPSHOT: return snapshot_decode(record);
    case WAL_START: return start_decode(record->payload, &record->state);
    default: return false;
    }
}

/* --- names -------------------------------------------------------------------------------------------------------- */

void wal_file_name(const char *prefix, uint64_t number, char out[DISK_NAME_MAX + 1]) {
    size_t length = strlen(prefix);
    memcpy(out, prefix, length);
    for (unsigned digit = 0; digit < 16; digit++)
        out[length + digit] = "0123456789abcdef"[number >> (60 - 4 * digit) & 15];
    out[length + 16] = '\0';
}

bool wal_file_number(const char *prefix, const char *name, uint64_t *number) {
    size_t length = strlen(prefix);
    if (strncmp(name, prefix, length) != 0 || strlen(name) != length + 16) return false;
    *number = 0;
    for (const char *c = name + length; *c; c++) {
        if (!((*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'f'))) return false;
        *number = *number << 4 | (uint64_t)(*c <= '9' ? *c - '0' : *c - 'a' + 10);
    }
    return *number != 0;
}
