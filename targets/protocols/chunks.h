/* chunks: a snapshot goes from replica to replica in pieces that fit into messages. Both ends, without the messages,
 * which are each protocol's own. */
#ifndef HARROW_TARGETS_CHUNKS_H
#define HARROW_TARGETS_CHUNKS_H

#include "targets/protocols/protocol.h"

/* The piece of the newest durable snapshot at `offset`, at most so long. */
struct bytes chunk_at(const struct effects *fx, uint64_t offset, size_t bytes_max, bool *last);

/* What is being received: a snapshot is named by index and term. All zero: nothing. */
struct receiver {
    uint64_t index, term;
    uint64_t offset; /* the next byte wanted */
};
enum chunk_verdict {
    CHUNK_WANTED,   /* the next one: it is to be taken by chunk_take */
    CHUNK_NOT_NEXT, /* another one than that at `offset` */
    CHUNK_TOO_MUCH, /* beyond PROTOCOL_SNAPSHOT_BYTES_MAX; the receiver is all zero again */
};
/* A snapshot other than the one that was being received begins anew. */
enum chunk_verdict chunk_judge(struct receiver *r, uint64_t index, uint64_t term, uint64_t offset, size_t size);
/* The effect that takes it. Of the last one it is a write; the caller says from where the log is kept (token). */
struct effect *chunk_take(struct receiver *r, struct bytes chunk, bool last, struct effects *fx);

#endif
