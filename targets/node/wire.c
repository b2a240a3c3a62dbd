/* Frames: building them into a buffer, finding them in received bytes, and the payload of a STATUS. */
#include "targets/node/wire.h"

/* Type and size are covered through the hash's seed, so that the payload is hashed where it lies. The seed is mixed:
 * XXH3 combines seed and length so simply for up to three bytes that a changed size could go unnoticed. */
static uint32_t checksum(uint8_t type, struct bytes payload) {
    return (uint32_t)hash_bytes(payload, hash_u64((uint64_t)payload.size << 8 | type));
}

/* The second word of a header: the type, and above it a check of type and size. A size that the network changed must be
 * noticed at once: nobody may wait for the rest of a frame that was never sent, with what follows taken for it. */
static uint32_t type_word(uint8_t type, uint32_t size) {
    return type | (uint32_t)hash_u64((uint64_t)size << 8 | type) << 8;
}

void wire_append(struct buffer *out, enum wire_type type, const struct bytes *parts, size_t parts_count) {
    size_t size = 0;
    for (size_t i = 0; i < parts_count; i++) size += parts[i].size;
    assert(size <= WIRE_PAYLOAD_MAX);
    buffer_reserve(out, WIRE_HEADER_BYTES + size);
    uint8_t *header = out->data + out->size, *at = header + WIRE_HEADER_BYTES;
    for (size_t i = 0; i < parts_count; i++) {
        if (parts[i].size) memcpy(at, parts[i].data, parts[i].size);
        at += parts[i].size;
    }
    struct writer w = {.data = header, .capacity = WIRE_HEADER_BYTES};
    write_u32(&w, WIRE_MAGIC);
    write_u32(&w, type_word((uint8_t)type, (uint32_t)size));
    write_u32(&w, (uint32_t)size);
    write_u32(&w, checksum((uint8_t)type, bytes_of(header + WIRE_HEADER_BYTES, size)));
    out->size += WIRE_HEADER_BYTES + size;
}

static int64_t refuse(const char **why, const char *what) {
    if (why) *why = what;
    return -1;
}

int64_t wire_parse(struct bytes data, enum wire_type *type, struct bytes *payload, const char **why) {
    struct reader r = {.data = data.data, .size = data.size};
    uint32_t magic = read_u32(&r);
    if (r.failed) return 0;
    if (magic != WIRE_MAGIC) return refuse(why, "not a frame of this version of harrow");
    uint32_t word = read_u32(&r), size = read_u32(&r), sum = read_u32(&r);
    if (r.failed) return 0;
    uint8_t kind = (uint8_t)word;
    if (word != type_word(kind, size)) return refuse(why, "a frame with a wrong header");
    if (kind < WIRE_HELLO || kind >= WIRE_TYPES) return refuse(why, "a frame of an unknown type");
    if (size > WIRE_PAYLOAD_MAX) return refuse(why, "a frame that is too large");
    const uint8_t *at = reader_take(&r, size);
    if (!at) return 0;
    if (checksum(kind, bytes_of(at, size)) != sum) return refuse(why, "a frame with a wrong checksum");
    *type = (enum wire_type)kind;
    *payload = bytes_of(at, size);
    return (int64_t)WIRE_HEADER_BYTES + size;
}

size_t wire_missing(struct bytes data) {
    struct reader r = {.data = data.data, .size = data.size};
    uint32_t magic = read_u32(&r);
    if (!r.failed && magic != WIRE_MAGIC) return 0;
    uint32_t word = read_u32(&r), size = read_u32(&r);
    uint8_t kind = (uint8_t)word;
    read_u32(&r);
    if (r.failed) return WIRE_HEADER_BYTES - data.size;
    if (word != type_word(kind, size) || kind < WIRE_HELLO || kind >= WIRE_TYPES || size > WIRE_PAYLOAD_MAX) return 0;
    return data.size - WIRE_HEADER_BYTES < size ? WIRE_HEADER_BYTES + size - data.size : 0;
}

void wire_status_append(struct buffer *out, const struct wire_status *s) {
    uint8_t bytes[sizeof *s + 8];
    struct writer w = {.data = bytes, .capacity = sizeof bytes};
    write_u8(&w, s->node);
    write_u8(&w, s->role);
    write_u8(&w, s->leader);
    write_u8(&w, s->serving);
    write_u64(&w, s->term);
    write_u64(&w, s->commit_index);
    write_u64(&w, s->applied_index);
    write_u64(&w, s->last_index);
    write_u64(&w, s->state_hash);
    write_u64(&w, s->fast_commits);
    write_u64(&w, s->slow_commits);
    write_bytes(&w, bytes_of(s->reason, strnlen(s->reason, sizeof s->reason - 1)));
    assert(!w.failed);
    wire_append(out, WIRE_STATUS, &(struct bytes){bytes, w.size}, 1);
}

bool wire_status_decode(struct bytes payload, struct wire_status *s) {
    struct reader r = {.data = payload.data, .size = payload.size};
    memset(s, 0, sizeof *s);
    s->node = read_u8(&r);
    s->role = read_u8(&r);
    s->leader = read_u8(&r);
    s->serving = read_u8(&r);
    s->term = read_u64(&r);
    s->commit_index = read_u64(&r);
    s->applied_index = read_u64(&r);
    s->last_index = read_u64(&r);
    s->state_hash = read_u64(&r);
    s->fast_commits = read_u64(&r);
    s->slow_commits = read_u64(&r);
    struct bytes reason = read_bytes(&r);
    if (r.failed || r.offset != r.size || reason.size >= sizeof s->reason) return false;
    if (reason.size) memcpy(s->reason, reason.data, reason.size);
    return true;
}
