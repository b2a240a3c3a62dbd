/* What comes over the wire or out of a recording is bytes that anyone may have made: frames, a STATUS, records. The
 * first byte chooses; whatever parses must lie within the input, and a frame built from it must parse to the same. */
#include "targets/node/record_internal.h"
#include "targets/node/wire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void within(struct bytes inner, struct bytes outer) {
    if (inner.size) assert(inner.data >= outer.data && inner.data + inner.size <= outer.data + outer.size);
}

static void frames(struct bytes input) {
    for (size_t at = 0; at < input.size;) {
        enum wire_type type;
        struct bytes payload, rest = bytes_of(input.data + at, input.size - at);
        const char *why = NULL;
        int64_t took = wire_parse(rest, &type, &payload, &why);
        assert(took >= 0 || why);
        if (took <= 0) return;
        assert((size_t)took <= rest.size && type >= WIRE_HELLO && type < WIRE_TYPES);
        within(payload, rest);
        at += (size_t)took;
    }
}

/* A right checksum is beyond a fuzzer: the frame is built around its bytes, then cut and bent. */
static void built(struct bytes input) {
    if (input.size < 3) return;
    struct buffer frame = {0};
    enum wire_type type = (enum wire_type)(WIRE_HELLO + input.data[0] % (WIRE_TYPES - WIRE_HELLO)), seen;
    struct bytes tail = bytes_of(input.data + 3, input.size - 3), payload;
    size_t half = tail.size / 2;
    struct bytes parts[] = {bytes_of(tail.data, half), bytes_of(tail.data + half, tail.size - half)};
    wire_append(&frame, type, parts, 2);
    const char *why;
    assert(wire_parse(bytes_of(frame.data, frame.size), &seen, &payload, &why) == (int64_t)frame.size);
    assert(seen == type && bytes_equal(payload, tail));
    assert(wire_parse(bytes_of(frame.data, frame.size - 1), &seen, &payload, &why) == 0);
    size_t at = input.data[1] % frame.size;
    uint8_t bit = (uint8_t)(1u << (input.data[2] & 7));
    frame.data[at] ^= bit;
    int64_t took = wire_parse(bytes_of(frame.data, frame.size), &seen, &payload, &why);
    assert(took <= 0); /* one bit is always noticed; a size may ask for more */
    buffer_free(&frame);
}

static void status(struct bytes input) {
    struct wire_status s;
    if (!wire_status_decode(input, &s)) return;
    assert(memchr(s.reason, 0, sizeof s.reason));
    struct buffer frame = {0};
    wire_status_append(&frame, &s);
    buffer_free(&frame);
}

static void records(struct bytes input, bool framed) {
    struct buffer file = {0};
    uint64_t offset = 0;
    struct error e;
    if (framed) {
        uint32_t head[2] = {(uint32_t)input.size, 0};
        buffer_append(&file, head, sizeof head);
    }
    buffer_append(&file, input.data, input.size);
    struct record r;
    for (int found = 1; found == 1;) {
        uint64_t before = offset;
        found = recording_next(bytes_of(file.data, file.size), &offset, &r, &e);
        if (found == 1) assert(offset > before);
        if (found == 1) within(r.bytes, bytes_of(file.data, file.size));
    }
    struct replay_report report;
    recording_replay(bytes_of(file.data, file.size), NULL, NULL, &report, &e);
    buffer_free(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    struct bytes input = bytes_of(data + 1, size - 1);
    switch (data[0] % 5) {
    case 0: frames(input); break;
    case 1: built(input); break;
    case 2: status(input); break;
    default: records(input, data[0] % 5 == 3); break;
    }
    return 0;
}
