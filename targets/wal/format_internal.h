/* Private to the log: what stands in its files, and the state that a stream of records describes. Nothing here
 * touches a disk. The same transitions run when a record is written and when it is read back, so the two cannot drift
 * apart.
 *
 * A segment file is a row of batches without gaps: a header, then records. The first record of a segment is a START:
 * the whole state as of that point but for the entries, which is why older segments can go. All integers
 * little-endian. */
#ifndef HARROW_TARGETS_WAL_FORMAT_INTERNAL_H
#define HARROW_TARGETS_WAL_FORMAT_INTERNAL_H

#include "targets/wal/wal.h"

#define WAL_BATCH_MAGIC UINT32_C(0x314c5748)    /* "HWL1" */
#define WAL_SNAPSHOT_MAGIC UINT32_C(0x31535748) /* "HWS1" */
#define WAL_BATCH_HEADER_BYTES 56
#define WAL_SNAPSHOT_HEADER_BYTES 56
#define WAL_RECORD_HEADER_BYTES 24
#define WAL_START_BYTES (WAL_RECORD_HEADER_BYTES + 9 * 8 + WAL_META_MAX) /* a START record in all */

struct wal_batch_header {
    uint64_t segment, offset; /* where this batch stands: bytes copied from elsewhere never pass for it */
    uint64_t number;          /* of the batch, rising by one over all segments */
    uint64_t durable_upto;    /* number of the last batch that was durable when this one was written */
    uint32_t body_size;
    uint64_t body_checksum;
};
void wal_batch_header_encode(const struct wal_batch_header *h, uint8_t out[WAL_BATCH_HEADER_BYTES]);
bool wal_batch_header_decode(struct bytes b, struct wal_batch_header *h);

struct wal_snapshot_reference {
    uint64_t id; /* names the file; 0: no snapshot */
    uint64_t index, term;
    uint64_t size, checksum; /* of the data */
};
void wal_snapshot_header_encode(const struct wal_snapshot_reference *s, uint8_t out[WAL_SNAPSHOT_HEADER_BYTES]);
bool wal_snapshot_header_decode(struct bytes b, struct wal_snapshot_reference *s);

uint64_t wal_checksum(struct bytes b);

/* What the records up to some point amount to, but for the entries' contents. */
struct wal_state {
    uint8_t meta[WAL_META_MAX];
    uint64_t meta_size;
    struct wal_snapshot_reference snapshot;
    uint64_t keep_from;          /* entries below need not be kept */
    uint64_t log_first, log_end; /* the log holds [first, end); equal: empty, any index may come next */
};
/* Each returns false when the call breaks wal.h's rule about indices. */
bool wal_state_append(struct wal_state *s, uint64_t index);
void wal_state_truncate(struct wal_state *s, uint64_t index);
void wal_state_meta(struct wal_state *s, struct bytes meta);
void wal_state_snapshot(struct wal_state *s, const struct wal_snapshot_reference *snapshot, uint64_t keep_from,
                        bool reset);

enum wal_record_type { WAL_ENTRY = 1, WAL_TRUNCATE, WAL_META, WAL_SNAPSHOT, WAL_START };
struct wal_record {
    uint8_t type, kind;
    bool reset;
    uint64_t index, term;
    struct bytes payload;                   /* ENTRY, META */
    uint64_t keep_from;                     /* SNAPSHOT */
    struct wal_snapshot_reference snapshot; /* SNAPSHOT */
    struct wal_state state;                 /* START */
};
void wal_put_record(struct buffer *out, uint8_t type, uint8_t kind, uint64_t index, uint64_t term,
                    struct bytes payload);
void wal_put_snapshot(struct buffer *out, const struct wal_snapshot_reference *snapshot, uint64_t keep_from,
                      bool reset);
void wal_start_encode(const struct wal_state *s, uint8_t out[WAL_START_BYTES]);
/* False on malformed bytes; the payload points into the reader's memory. */
bool wal_record_decode(struct reader *r, struct wal_record *record);

/* File names: a prefix and a number in 16 hexadecimal digits, so that bytewise order is numeric order. */
#define WAL_SEGMENT_PREFIX "wal-"
#define WAL_SNAPSHOT_PREFIX "snap-"
void wal_file_name(const char *prefix, uint64_t number, char out[DISK_NAME_MAX + 1]);
bool wal_file_number(const char *prefix, const char *name, uint64_t *number);

#endif
