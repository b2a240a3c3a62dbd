/* The log's write path: records collect in `out`, leave it as one batch with one write and one sync, and are durable
 * when that sync ends. One sync at a time; a snapshot's file is synced between two batches, because its record must not
 * be durable before it. Recovery is in recover.c. */
#include "targets/wal/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define BATCH_BYTES_MAX ((size_t)1 << 30) /* what may wait for a stalled disk */

static int fail(struct wal *w, const char *call, const char *name, int error) {
    w->failed = true;
    error_set(&w->error, "%s: %s: %s; the node must stop, since what this disk holds is now unknown", name, call,
              strerror(-error));
    return -1;
}

static int fail_segment(struct wal *w, const char *call, int error) {
    char name[DISK_NAME_MAX + 1];
    wal_file_name(WAL_SEGMENT_PREFIX, w->segments[w->segments_count - 1].number, name);
    return fail(w, call, name, error);
}

static int fail_snapshot(struct wal *w, const char *call, uint64_t id, int error) {
    char name[DISK_NAME_MAX + 1];
    wal_file_name(WAL_SNAPSHOT_PREFIX, id, name);
    return fail(w, call, name, error);
}

/* --- records that wait -------------------------------------------------------------------------------------------- */

static bool accept(struct wal *w, size_t payload_size) {
    w->written++;
    if (w->failed) return false;
    if (payload_size > BATCH_BYTES_MAX - w->out.size) {
        fail(w, "write", "log", -ENOBUFS);
        return false;
    }
    return true;
}

uint64_t wal_append(struct wal *w, uint64_t index, uint64_t term, uint8_t kind, struct bytes payload) {
    if (!accept(w, payload.size)) return w->written;
    bool in_order = wal_state_append(&w->accepted, index);
    assert(in_order);
    wal_put_record(&w->out, WAL_ENTRY, kind, index, term, payload);
    if (w->out_entries_end < index + 1) w->out_entries_end = index + 1;
    return w->written;
}

uint64_t wal_truncate(struct wal *w, uint64_t index) {
    if (!accept(w, 0)) return w->written;
    wal_state_truncate(&w->accepted, index);
    wal_put_record(&w->out, WAL_TRUNCATE, 0, index, 0, bytes_of(NULL, 0));
    return w->written;
}

uint64_t wal_meta(struct wal *w, struct bytes meta) {
    assert(meta.size <= WAL_META_MAX);
    if (!accept(w, meta.size)) return w->written;
    wal_state_meta(&w->accepted, meta);
    wal_put_record(&w->out, WAL_META, 0, 0, 0, meta);
    return w->written;
}

/* Writes the file at once: nothing refers to it yet, and the caller's data need not be kept. */
static int write_snapshot_file(struct wal *w, const struct wal_snapshot_reference *s, struct bytes data,
                               uint32_t *file) {
    const struct disk_ops *ops = w->disk->ops;
    char name[DISK_NAME_MAX + 1];
    wal_file_name(WAL_SNAPSHOT_PREFIX, s->id, name);
    uint8_t header[WAL_SNAPSHOT_HEADER_BYTES];
    wal_snapshot_header_encode(s, header);
    int error = ops->open(w->disk, name, true, file);
    if (error) return fail(w, "open", name, error);
    error = ops->write(w->disk, *file, 0, header, sizeof header);
    if (!error && data.size) error = ops->write(w->disk, *file, sizeof header, data.data, data.size);
    if (!error) return 0;
    ops->close(w->disk, *file);
    return fail(w, "write", name, error);
}

uint64_t wal_snapshot(struct wal *w, uint64_t index, uint64_t term, struct bytes data, uint64_t keep_from, bool reset) {
    assert(index < UINT64_MAX);
    if (!accept(w, 0)) return w->written;
    struct wal_snapshot_reference snapshot = {w->next_snapshot_id++, index, term, data.size, wal_checksum(data)};
    uint32_t file;
    if (write_snapshot_file(w, &snapshot, data, &file)) return w->written;
    if (w->jobs_count == w->jobs_capacity) {
        w->jobs_capacity = w->jobs_capacity ? w->jobs_capacity * 2 : 2;
        w->jobs = xrealloc(w->jobs, w->jobs_capacity * sizeof *w->jobs);
    }
    w->jobs[w->jobs_count++] = (struct wal_snapshot_job){.snapshot = snapshot,
                                                         .file = file,
                                                         .reset = reset,
                                                         .record_at = w->out.size,
                                                         .write_number = w->written,
                                                         .before = w->accepted};
    wal_state_snapshot(&w->accepted, &snapshot, keep_from, reset);
    wal_put_snapshot(&w->out, &snapshot, keep_from, reset);
    return w->written;
}

/* --- batches ------------------------------------------------------------------------------------------------------ */

struct wal_segment *wal_add_segment(struct wal *w, uint64_t number) {
    if (w->segments_count == w->segments_capacity) {
        w->segments_capacity = w->segments_capacity ? w->segments_capacity * 2 : 4;
        w->segments = xrealloc(w->segments, w->segments_capacity * sizeof *w->segments);
    }
    struct wal_segment *segment = &w->segments[w->segments_count++];
    *segment = (struct wal_segment){.number = number};
    return segment;
}

/* Everything in the older segments is durable here, so that the mere existence of the new file proves it. */
static int start_segment(struct wal *w) {
    uint64_t number = w->segments_count ? w->segments[w->segments_count - 1].number + 1 : 1;
    char name[DISK_NAME_MAX + 1];
    wal_file_name(WAL_SEGMENT_PREFIX, number, name);
    uint32_t file;
    int error = w->disk->ops->open(w->disk, name, true, &file);
    if (error) return fail(w, "open", name, error);
    if (w->file_open) w->disk->ops->close(w->disk, w->file);
    w->file = file;
    w->file_open = true;
    w->segment_bytes = 0;
    wal_add_segment(w, number);
    return 0;
}

static int request_sync(struct wal *w, enum wal_syncing what, uint32_t file) {
    w->syncing = what;
    w->cookie++;
    return w->disk->ops->sync(w->disk, file, w->cookie);
}

/* Puts the header, and where a segment begins the START record, before the records in out[WAL_FRONT_BYTES, end).
 * Returns where the batch begins. */
static size_t frame_batch(struct wal *w, size_t end) {
    size_t body = WAL_FRONT_BYTES;
    if (w->segment_bytes == 0) {
        body -= WAL_START_BYTES;
        wal_start_encode(&w->batched, w->out.data + body);
    }
    struct wal_batch_header header = {
        .segment = w->segments[w->segments_count - 1].number,
        .offset = w->segment_bytes,
        .number = w->batch_number + 1,
        .durable_upto = w->batch_number, /* since one batch at most is not */
        .body_size = (uint32_t)(end - body),
        .body_checksum = wal_checksum(bytes_of(w->out.data + body, end - body)),
    };
    wal_batch_header_encode(&header, w->out.data + body - WAL_BATCH_HEADER_BYTES);
    return body - WAL_BATCH_HEADER_BYTES;
}

/* The records before `end` have been written: moves on to those behind. */
static void consume(struct wal *w, size_t end) {
    struct wal_segment *segment = &w->segments[w->segments_count - 1];
    if (segment->entries_end < w->out_entries_end) segment->entries_end = w->out_entries_end;
    if (w->reset_next) w->reset_segment = segment->number;
    w->reset_next = false;
    if (w->jobs_count == 0) {
        w->out.size = WAL_FRONT_BYTES;
        w->out_entries_end = 0;
        w->batched = w->accepted;
        w->batch_written = w->written;
        return;
    }
    size_t gone = end - WAL_FRONT_BYTES;
    memmove(w->out.data + WAL_FRONT_BYTES, w->out.data + end, w->out.size - end);
    w->out.size -= gone;
    for (size_t i = 0; i < w->jobs_count; i++) w->jobs[i].record_at -= gone;
    w->batched = w->jobs[0].before;
    w->batch_written = w->jobs[0].write_number - 1;
}

static int write_batch(struct wal *w, size_t end) {
    if ((w->segments_count == 0 || w->segment_bytes >= w->segment_bytes_max) && start_segment(w)) return -1;
    size_t start = frame_batch(w, end), size = end - start;
    int error = w->disk->ops->write(w->disk, w->file, w->segment_bytes, w->out.data + start, size);
    if (error) return fail_segment(w, "write", error);
    w->segment_bytes += size;
    w->batch_number++;
    consume(w, end);
    error = request_sync(w, WAL_SYNCING_BATCH, w->file);
    return error ? fail_segment(w, "sync", error) : 0;
}

int wal_flush(struct wal *w) {
    if (w->failed) return -1;
    size_t end = w->jobs_count ? w->jobs[0].record_at : w->out.size;
    if (w->syncing != WAL_SYNCING_NOTHING || w->out.size == WAL_FRONT_BYTES) return 0;
    if (end > WAL_FRONT_BYTES) return write_batch(w, end);
    int error = request_sync(w, WAL_SYNCING_SNAPSHOT, w->jobs[0].file);
    return error ? fail_snapshot(w, "sync", w->jobs[0].snapshot.id, error) : 0;
}

/* --- the end of a sync -------------------------------------------------------------------------------------------- */

static int remove_file(struct wal *w, const char *prefix, uint64_t number) {
    char name[DISK_NAME_MAX + 1];
    wal_file_name(prefix, number, name);
    int error = w->disk->ops->remove(w->disk, name);
    return error && error != -ENOENT ? fail(w, "remove", name, error) : 0;
}

/* Removes what the durable log no longer refers to. A removal that a power loss undoes is repeated by recovery. */
static int remove_obsolete(struct wal *w) {
    uint64_t old_snapshot = w->durable_snapshot_id;
    w->durable_snapshot_id = w->batched.snapshot.id;
    if (old_snapshot && old_snapshot != w->durable_snapshot_id && remove_file(w, WAL_SNAPSHOT_PREFIX, old_snapshot)) {
        return -1;
    }
    size_t gone = 0;
    while (gone + 1 < w->segments_count &&
           (w->segments[gone].entries_end <= w->batched.keep_from || w->segments[gone].number < w->reset_segment)) {
        if (remove_file(w, WAL_SEGMENT_PREFIX, w->segments[gone].number)) return -1;
        gone++;
    }
    if (gone) {
        w->segments_count -= gone;
        memmove(w->segments, w->segments + gone, w->segments_count * sizeof *w->segments);
    }
    return 0;
}

static int batch_durable(struct wal *w) {
    w->durable = w->batch_written;
    return remove_obsolete(w);
}

/* The first job's record stands first among those that wait, and may go now. */
static void snapshot_durable(struct wal *w) {
    struct wal_snapshot_job *job = &w->jobs[0];
    w->disk->ops->close(w->disk, job->file);
    w->reset_next = job->reset;
    w->jobs_count--;
    memmove(job, job + 1, w->jobs_count * sizeof *job);
}

int wal_on_sync(struct wal *w, uint64_t cookie, int status) {
    if (w->failed) return -1;
    if (w->syncing == WAL_SYNCING_NOTHING || cookie != w->cookie) return 0;
    enum wal_syncing what = w->syncing;
    w->syncing = WAL_SYNCING_NOTHING;
    if (what == WAL_SYNCING_BATCH) {
        if (status) return fail_segment(w, "sync", status);
        if (batch_durable(w)) return -1;
    } else {
        if (status) return fail_snapshot(w, "sync", w->jobs[0].snapshot.id, status);
        snapshot_durable(w);
    }
    return wal_flush(w);
}

/* --- state -------------------------------------------------------------------------------------------------------- */

uint64_t wal_written(const struct wal *w) {
    return w->written;
}

uint64_t wal_durable(const struct wal *w) {
    return w->durable;
}

bool wal_idle(const struct wal *w) {
    return w->durable == w->written && w->syncing == WAL_SYNCING_NOTHING;
}

const char *wal_error(const struct wal *w) {
    return w->failed ? w->error.text : NULL;
}

void wal_close(struct wal *w) {
    if (!w) return;
    if (w->file_open) w->disk->ops->close(w->disk, w->file);
    for (size_t i = 0; i < w->jobs_count; i++) w->disk->ops->close(w->disk, w->jobs[i].file);
    free(w->segments);
    free(w->jobs);
    buffer_free(&w->out);
    free(w);
}
