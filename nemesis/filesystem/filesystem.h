/* A file system that forgets, for real processes: a FUSE passthrough over a backing folder that knows which writes were
 * not synced. It keeps an undo log: before a write, truncate, create, unlink or rename touches what was durable, the
 * old state is noted; a sync of the file (or of its folder, for names) drops the notes; a power loss plays them back,
 * newest first, so that each unsynced change is kept, dropped or torn at a sector. Between crashes it stalls, fails or
 * fakes syncs, fails reads and writes, corrupts what is read, runs full, and is slow.
 *
 * It is the twin of sim_disk (nemesis/disk.h) and takes the same conditions. Served by threads of the calling process;
 * the mount dies with the process or its mount namespace. The calling process must not touch files below `mountpoint`
 * from the thread that changes conditions. */
#ifndef HARROW_NEMESIS_FILESYSTEM_H
#define HARROW_NEMESIS_FILESYSTEM_H

#include "nemesis/disk.h"

struct filesystem;

/* Mounts; both folders exist, the backing one may hold files. NULL with e set: what to install or allow. */
struct filesystem *filesystem_mount(const char *mountpoint, const char *backing, uint64_t seed, struct error *e);
void filesystem_free(struct filesystem *f); /* unmounts (lazily, if a process still has files open), frees */

void filesystem_condition(struct filesystem *f, const struct disk_condition *c);
/* The disk's own nature, beneath all faults: every sync takes at least a time drawn from [min, max]. 0, 0: none. */
void filesystem_sync_time(struct filesystem *f, uint64_t min_ns, uint64_t max_ns);
/* The moment of a power loss: syncs that are under way, and all later ones, end with EIO and make nothing durable. Call
 * it before the processes are killed: one that is killed in a sync dies only when the sync ends. */
void filesystem_power_off(struct filesystem *f);
/* What the power loss left, and power again: call it with every process dead that has files open there. The page cache
 * of the mount is dropped. */
int filesystem_power_loss(struct filesystem *f, struct disk_crash fate, struct error *e);
void filesystem_counters(struct filesystem *f, struct disk_counters *out);
/* Changes that a power loss could take now. */
uint64_t filesystem_unsynced(struct filesystem *f);

/* Whether this machine can do it: NULL, or one line: why not and how to get it. */
const char *filesystem_unavailable(void);

#endif
