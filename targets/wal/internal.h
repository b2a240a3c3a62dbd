/* Private to the log: the open log itself, which recovery (recover.c) builds and the write path (wal.c) drives. */
#ifndef HARROW_TARGETS_WAL_INTERNAL_H
#define HARROW_TARGETS_WAL_INTERNAL_H

#include "targets/wal/format_internal.h"

#define WAL_SEGMENT_BYTES_DEFAULT (UINT32_C(8) << 20)
/* Room kept free before the records that wait, so that a batch is one contiguous write. */
#define WAL_FRONT_BYTES (WAL_BATCH_HEADER_BYTES + WAL_START_BYTES)

struct wal_segment {
    uint64_t number;
    uint64_t entries_end; /* one past the greatest index that was ever written here */
};

/* A snapshot whose file is written but whose record has not joined a batch: that waits until the file is durable. */
struct wal_snapshot_job {
    struct wal_snapshot_reference snapshot;
    uint32_t file;
    bool reset;
    size_t record_at;        /* its record's place among those that wait, from the start of `out` */
    uint64_t write_number;   /* of that record */
    struct wal_state before; /* the state that precedes it */
};

enum wal_syncing { WAL_SYNCING_NOTHING, WAL_SYNCING_BATCH, WAL_SYNCING_SNAPSHOT };

struct wal {
    struct disk *disk;
    uint64_t segment_bytes_max;

    struct wal_segment *segments; /* ascending without gaps; the last one is written to */
    size_t segments_count, segments_capacity;
    uint32_t file; /* of the last segment */
    bool file_open;
    uint64_t segment_bytes;
    uint64_t batch_number;  /* of the last batch written */
    uint64_t reset_segment; /* the entries of all segments before this one were dropped by a snapshot */

    struct buffer out; /* WAL_FRONT_BYTES of room, then the records that wait */
    uint64_t out_entries_end;
    struct wal_snapshot_job *jobs;
    size_t jobs_count, jobs_capacity;
    bool reset_next; /* the first record that waits is a snapshot that drops all entries */
    uint64_t next_snapshot_id, durable_snapshot_id;

    struct wal_state accepted; /* after all records */
    struct wal_state batched;  /* after all batches written, so before the first record that waits */

    uint64_t written, batch_written, durable; /* write numbers: last accepted, last in a batch, last durable */
    enum wal_syncing syncing;
    uint64_t cookie;
    bool failed;
    struct error error;
};

struct wal_segment *wal_add_segment(struct wal *w, uint64_t number);

#endif
