/* The real disk behind the seam of base.h: one folder, held by one process at a time. Syncs run on libuv's worker
 * threads and end on the loop; everything else is done at once by the caller. */
#ifndef HARROW_TARGETS_DISK_FILE_H
#define HARROW_TARGETS_DISK_FILE_H

#include <uv.h>

#include "base/base.h"

#define DISK_LATENCY_BUCKETS 16 /* bucket i counts syncs of at most 50 us * 2^i; the last one all that took longer */

struct disk_file {
    struct disk base; /* first: a struct disk * to this is a struct disk_file * */
    uv_loop_t *loop;
    int folder, lock; /* descriptors; -1: none */
    char *path;
    void (*on_synced)(void *ctx, uint64_t cookie, int status); /* 0 or a negative errno */
    void *ctx;
    int last_error;     /* of a refused write, open, truncate or rename: a negative errno; 0 since opening: none */
    bool sync_failed;   /* what the disk holds is unknown from then on */
    uint32_t under_way; /* syncs on worker threads */
    uint64_t syncs, sync_ns_sum, sync_buckets[DISK_LATENCY_BUCKETS], bytes_written;
    struct disk_file_slot *slots; /* private: open files */
    uint32_t slots_count;
};

/* Makes the folder where there is none and locks it (file "lock"). -1: e says why, also when another process has it. */
int disk_file_open(struct disk_file *d, const char *path, uv_loop_t *loop,
                   void (*on_synced)(void *ctx, uint64_t cookie, int status), void *ctx, struct error *e);
void disk_file_close(struct disk_file *d);                          /* no sync may be under way */
bool disk_file_has_room(const struct disk_file *d, uint64_t bytes); /* tries it out: reserves and gives back */

#endif
