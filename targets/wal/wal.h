/* The write-ahead log of one node: an append-only record stream in segment files, plus one snapshot file, over the
 * disk seam of base.h. The simulator and the node process run this same code; the faults happen below it.
 *
 * What it stores, in the order of the calls: log entries, truncations of the log's tail, a small meta blob (term,
 * vote, promised ballot: the protocol's own bytes), and snapshots. Every call below that writes returns a write
 * number, 1, 2, 3, ... since wal_open: the same number that a protocol's effects carry as barriers (protocol.h). A
 * write is durable when wal_durable() has reached its number.
 *
 * Group commit: writes collect in memory; wal_flush writes them as one batch and starts one sync; what arrives
 * meanwhile waits for the next batch. So at most one batch is unsynced at any time, and each batch header certifies
 * that everything before it was durable. That is what lets recovery tell a torn tail (bad bytes that no later valid
 * batch certifies: cut off, silently normal) from a corrupt middle (bad bytes below a certified position: refused,
 * with file and offset). Bit rot in the very last batch cannot be told from a torn tail by any log that stands alone;
 * see Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (FAST'18).
 *
 * After a failed sync nothing may be assumed about the pages (Rebello et al., ATC'20): the log is failed for good and
 * the node must stop. */
#ifndef HARROW_TARGETS_WAL_H
#define HARROW_TARGETS_WAL_H

#include "base/base.h"

#define WAL_META_MAX 64 /* bytes of a meta blob */

struct wal;

struct wal_options {
    uint32_t segment_bytes_max; /* a new segment starts beyond this; 0 means 8 MiB */
};

struct wal_entry { /* one recovered log entry; payload points into memory that wal_recovered_free releases */
    uint64_t index, term;
    uint8_t kind;
    struct bytes payload;
};
struct wal_recovered {
    uint8_t meta[WAL_META_MAX];
    size_t meta_size;                       /* 0: never written */
    uint64_t snapshot_index, snapshot_term; /* 0, 0: none */
    struct bytes snapshot;
    /* Contiguous indices, ascending, none below the last keep_from; may start at or below snapshot_index. */
    struct wal_entry *entries;
    size_t entries_count;
    uint64_t torn_bytes;  /* how much of an unfinished tail was cut off */
    struct buffer memory; /* owns what the pointers above refer to, with entries */
};

enum wal_status {
    WAL_OK,
    WAL_CORRUPT, /* durable bytes are wrong: e names file and offset */
    WAL_IO,      /* the disk refused: e names call, file and errno */
};

/* Recovers what is on the disk (creating an empty log where there is none), cuts a torn tail off, and makes that
 * durable. `out` is the caller's, freed with wal_recovered_free. The disk is borrowed for the log's lifetime. */
enum wal_status wal_open(struct disk *disk, struct wal_options options, struct wal **w, struct wal_recovered *out,
                         struct error *e);
void wal_recovered_free(struct wal_recovered *r);
void wal_close(struct wal *w); /* frees memory; writes nothing */

/* Entries have contiguous ascending indices, except after a truncation or a snapshot beyond the log's end. */
uint64_t wal_append(struct wal *w, uint64_t index, uint64_t term, uint8_t kind, struct bytes payload);
uint64_t wal_truncate(struct wal *w, uint64_t index); /* removes this entry and all after it */
uint64_t wal_meta(struct wal *w, struct bytes meta);
/* Writes the snapshot file, syncs it, then logs the switch; the old one is removed after that. Entries with an index
 * below keep_from need not be kept: whole segments of such are deleted. The data is copied. If the log has no entry
 * (index, term), all its entries are dropped as of this write (`reset` true: an installed snapshot). Entries below the
 * greatest keep_from so far (since the last reset) are not recovered, whenever they were appended. */
uint64_t wal_snapshot(struct wal *w, uint64_t index, uint64_t term, struct bytes data, uint64_t keep_from, bool reset);

/* Writes what has collected and starts a sync, unless one is under way or nothing waits. Nonzero: the log has
 * failed. */
int wal_flush(struct wal *w);
/* The driver reports the end of a disk sync. Starts the next step by itself where one is due (snapshot file before its
 * record, the next batch). Nonzero: the log has failed; wal_error tells. */
int wal_on_sync(struct wal *w, uint64_t cookie, int status);
uint64_t wal_written(const struct wal *w);  /* number of the last write accepted */
uint64_t wal_durable(const struct wal *w);  /* number of the last write that is durable */
bool wal_idle(const struct wal *w);         /* nothing unsynced, nothing waiting */
const char *wal_error(const struct wal *w); /* NULL while healthy */

#endif
