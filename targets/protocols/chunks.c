/* Both ends of chunks.h. */
#include "targets/protocols/chunks.h"

struct bytes chunk_at(const struct effects *fx, uint64_t offset, size_t bytes_max, bool *last) {
    size_t left = fx->snapshot.size - (size_t)offset;
    *last = left <= bytes_max;
    return bytes_of(fx->snapshot.data + offset, *last ? left : bytes_max);
}

enum chunk_verdict chunk_judge(struct receiver *r, uint64_t index, uint64_t term, uint64_t offset, size_t size) {
    if (r->index != index || r->term != term) *r = (struct receiver){index, term, 0};
    if (offset != r->offset) return CHUNK_NOT_NEXT;
    if (size <= PROTOCOL_SNAPSHOT_BYTES_MAX - r->offset) return CHUNK_WANTED;
    *r = (struct receiver){0};
    return CHUNK_TOO_MUCH;
}

struct effect *chunk_take(struct receiver *r, struct bytes chunk, bool last, struct effects *fx) {
    struct effect *e = effect_add(fx, EFFECT_SNAPSHOT_RECEIVE);
    e->index = r->index;
    e->term = r->term;
    e->offset = r->offset;
    e->bytes = chunk;
    e->last = last;
    if (last) e->written = ++fx->written;
    r->offset += chunk.size;
    return e;
}
