/* A disk that forgets: the simulated disk under the recovery code. It keeps a durable image and the list of unsynced
 * writes; at a crash each unsynced write is kept, dropped or torn at a sector, as a real disk behind a page cache may
 * do (compare the essay in SQLite's test6.c). Between crashes it can fail or stall syncs, refuse writes, run full,
 * and rot bits in durable data.
 *
 * It implements the disk seam of base.h. It has no clock: a sync is handed to the owner as a request (`on_sync`), who
 * decides when it ends and then calls sim_disk_sync_done. */
#ifndef HARROW_NEMESIS_DISK_H
#define HARROW_NEMESIS_DISK_H

#include "base/base.h"

#define DISK_SECTOR_BYTES 512

struct disk_condition {       /* what is wrong with a disk now; all zero: healthy */
    uint32_t sync_error_ppm;  /* a sync fails with EIO, and what it covered may or may not be there */
    uint32_t write_error_ppm; /* a write fails with EIO, nothing written */
    uint64_t sync_stall_ns;   /* added to every sync's duration */
    uint64_t capacity_bytes;  /* 0: unlimited; writes beyond fail with ENOSPC */
    uint32_t sync_lie_ppm;    /* a sync says that it succeeded and makes nothing durable */
    uint32_t read_error_ppm;  /* a read fails with EIO */
    uint32_t read_rot_ppm;    /* a read returns its data with one bit flipped */
    uint64_t io_delay_ns;     /* added to every read and write */
};
struct disk_crash { /* how unsynced data fares at a crash; per write, in ppm; the rest is dropped */
    uint32_t keep_ppm, tear_ppm;
};
struct disk_counters {
    uint64_t writes, syncs, bytes_written, sync_errors, write_errors, writes_dropped, writes_torn, writes_kept,
        bits_rotted, reads, read_errors, syncs_lied, syncs_stalled;
};

struct sim_disk {
    struct disk base; /* first: a struct disk * to this is a struct sim_disk * */
    struct disk_condition condition;
    struct disk_counters counters;
    struct prng *prng;                                          /* borrowed: the disk's stream */
    void (*on_sync)(void *ctx, uint32_t file, uint64_t cookie); /* a sync was asked for */
    void *ctx;
    struct sim_disk_state *state; /* private */
};

void sim_disk_init(struct sim_disk *d, struct prng *prng, void (*on_sync)(void *, uint32_t, uint64_t), void *ctx);
void sim_disk_free(struct sim_disk *d);
void sim_disk_clear(struct sim_disk *d); /* an empty healthy disk again, memory kept: cheap, many times a second */
/* Ends a sync: the file's writes up to its start become durable. Returns 0, or -EIO by condition.sync_error_ppm: then
 * each covered write is durable or lost, which only a power loss shows; the cache keeps it and no later sync writes
 * it again. A cookie of before a crash is ignored with -ECANCELED. */
int sim_disk_sync_done(struct sim_disk *d, uint32_t file, uint64_t cookie);
/* The process died but the machine lives: unsynced writes stay in the page cache; open handles are closed. */
void sim_disk_process_crash(struct sim_disk *d);
/* Power loss: every unsynced write, create, rename and remove meets its fate; open handles are closed. */
void sim_disk_power_loss(struct sim_disk *d, struct disk_crash fate);
/* Flips one random bit of durable data in a random non-empty file; false when there is none. */
bool sim_disk_rot(struct sim_disk *d);
/* Writes and changes of names that a power loss could take, but for those that a failed sync has lost already. */
uint64_t sim_disk_unsynced(const struct sim_disk *d);

#endif
