/* A write-ahead log on a simulated disk, beside a model of what it was told, driven by choices that come from a seed or
 * from a fuzzer. After every crash the log is opened again and must hold what the model held after some prefix of the
 * writes, and no shorter one than wal_durable had promised. */
#ifndef HARROW_TESTS_WAL_WORLD_H
#define HARROW_TESTS_WAL_WORLD_H

#include "nemesis/disk.h"
#include "targets/wal/wal.h"

#define MODEL_ENTRIES_MAX 512
#define MODEL_WRITES_MAX 512

struct model_entry {
    uint64_t index, term;
    uint8_t kind;
    uint64_t payload_hash;
};
struct model_state {
    uint64_t meta_hash, meta_size;
    uint64_t snapshot_index, snapshot_term, snapshot_hash, keep_from;
    struct model_entry entries[MODEL_ENTRIES_MAX];
    size_t entries_count;
};
enum model_write_kind { MODEL_APPEND, MODEL_TRUNCATE, MODEL_META, MODEL_SNAPSHOT };
struct model_write {
    enum model_write_kind kind;
    struct model_entry entry; /* index and term of the others, too */
    uint64_t hash, meta_size, keep_from;
    bool reset;
};

/* Stands between the log and the simulated disk, and kills the process at the n-th call: that call does not happen. */
struct cut_disk {
    struct disk base; /* first */
    struct sim_disk *below;
    uint64_t calls_left; /* UINT64_MAX: never */
};

struct wal_world {
    uint32_t (*choose)(void *ctx, uint32_t bound); /* below bound; bound > 0 */
    void *ctx;
    struct prng prng; /* the disk's */
    struct sim_disk disk;
    struct cut_disk cut;
    struct wal_options options;
    struct wal *wal;
    bool sync_pending;
    uint32_t sync_file;
    uint64_t sync_cookie;
    struct model_state before;                   /* at the last opening */
    struct model_write writes[MODEL_WRITES_MAX]; /* since then; write number n is writes[n - 1] */
    size_t writes_count;
    struct model_state now;
    struct { /* proof that it happened */
        uint64_t opens, process_crashes, power_losses, crashes_in_recovery, torn_tails, tail_writes_lost, unsynced_kept;
        uint64_t sync_failures, write_failures, snapshots, resets, gaps, truncations, segments_removed, segments_max;
    } seen;
};

void wal_world_init(struct wal_world *x, uint32_t (*choose)(void *, uint32_t), void *ctx, uint64_t seed,
                    uint32_t segment_bytes_max);
void wal_world_free(struct wal_world *x);
/* Each asserts what must hold. */
void wal_world_step(struct wal_world *x);
void wal_world_append(struct wal_world *x, uint32_t payload_size);
void wal_world_snapshot(struct wal_world *x, uint64_t index, uint64_t keep_from, bool reset);
void wal_world_settle(struct wal_world *x); /* flushes and syncs until the log is idle; the disk is healthy */
void wal_world_crash(struct wal_world *x, bool power_loss, struct disk_crash fate);
void wal_world_reopen(struct wal_world *x);
bool model_matches(const struct model_state *m, const struct wal_recovered *r);

/* A disk's files as plain bytes, to be put back, changed, onto a fresh disk. */
#define DISK_IMAGE_FILES_MAX 64
struct disk_image {
    char names[DISK_IMAGE_FILES_MAX][DISK_NAME_MAX + 1];
    struct buffer contents[DISK_IMAGE_FILES_MAX];
    size_t count;
};
void disk_image_take(struct disk_image *image, struct sim_disk *d);
void disk_image_load(const struct disk_image *image, struct sim_disk *d); /* durable; d is cleared first */
void disk_image_free(struct disk_image *image);

#endif
