/* Opening a log: find its files, replay them, decide what a bad batch means, load the snapshot, and only when all of
 * that went well change the disk.
 *
 * A bad batch is a torn tail exactly if nothing proves that it was once durable. Proof is (a) a later segment: it is
 * created only when all before is durable; (b) for a sole segment that is not the first ever, its existence alone:
 * older ones are deleted only when it is durable; (c) the header of a later batch, found by its magic, seal and
 * position. A batch whose checksums hold but whose records make no sense was written so: that is corruption, too.
 *
 * A crash may undo removals, each on its own, so old segments with gaps between them may be back: only the unbroken
 * run of numbers up to the newest counts, and the states it begins and ends with tell whether it holds all that is
 * needed. */
#include "targets/wal/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define NAMES_ON_STACK 32

struct segment_file {
    uint64_t number, size;
    const uint8_t *data;
    uint64_t entries_end;
};

struct recovery {
    struct disk *disk;
    struct wal_recovered *out;
    struct error *e;
    char (*names)[DISK_NAME_MAX + 1];
    size_t names_count;
    struct segment_file *segments; /* the unbroken run up to the newest */
    size_t segments_count;

    struct wal_state state;  /* after the records read so far */
    uint64_t available_from; /* out->entries holds the log from here on; before that it stood in segments now gone */
    size_t entries_capacity;
    uint64_t reset_segment;
    uint64_t batch_number;            /* of the last good batch */
    uint64_t good_end, last_batch_at; /* in the newest segment */
};

static enum wal_status io_error(struct recovery *r, const char *call, const char *name, int error) {
    error_set(r->e, "%s: %s: %s", name, call, strerror(-error));
    return WAL_IO;
}

static enum wal_status corrupt(struct recovery *r, const char *prefix, uint64_t number, uint64_t offset,
                               const char *what) {
    char name[DISK_NAME_MAX + 1];
    wal_file_name(prefix, number, name);
    error_set(r->e,
              "%s: offset %" PRIu64 ": %s; the disk lost or changed durable data: wipe this node and let it join as a "
              "new one",
              name, offset, what);
    return WAL_CORRUPT;
}

/* --- finding and reading the files -------------------------------------------------------------------------------- */

static enum wal_status list_names(struct recovery *r, char (*on_stack)[DISK_NAME_MAX + 1]) {
    r->names = on_stack;
    int count = r->disk->ops->list(r->disk, r->names, NAMES_ON_STACK);
    if (count > NAMES_ON_STACK) {
        r->names = xmalloc((size_t)count * sizeof *r->names);
        count = r->disk->ops->list(r->disk, r->names, (size_t)count);
    }
    if (count < 0) return io_error(r, "list", "directory", count);
    r->names_count = (size_t)count;
    return WAL_OK;
}

/* Keeps the unbroken run of segment numbers up to the newest. */
static void choose_segments(struct recovery *r) {
    uint64_t number;
    for (size_t i = 0; i < r->names_count; i++) {
        if (!wal_file_number(WAL_SEGMENT_PREFIX, r->names[i], &number)) continue;
        if (!r->segments) r->segments = xcalloc(r->names_count, sizeof *r->segments);
        bool follows = r->segments_count && r->segments[r->segments_count - 1].number + 1 == number;
        if (!follows) r->segments_count = 0;
        r->segments[r->segments_count++].number = number;
    }
}

static enum wal_status file_size(struct recovery *r, const char *name, uint64_t *size) {
    uint32_t file;
    int error = r->disk->ops->open(r->disk, name, false, &file);
    if (error) return io_error(r, "open", name, error);
    error = r->disk->ops->size(r->disk, file, size);
    r->disk->ops->close(r->disk, file);
    return error ? io_error(r, "size", name, error) : WAL_OK;
}

/* Reads a file whole to the end of the recovered memory, which was reserved before: pointers into it stay good. */
static enum wal_status file_read(struct recovery *r, const char *name, uint64_t size, const uint8_t **data) {
    struct buffer *memory = &r->out->memory;
    assert(size <= memory->capacity - memory->size);
    uint32_t file;
    int error = r->disk->ops->open(r->disk, name, false, &file);
    if (error) return io_error(r, "open", name, error);
    *data = memory->data + memory->size;
    error = size ? r->disk->ops->read(r->disk, file, 0, memory->data + memory->size, (size_t)size) : 0;
    r->disk->ops->close(r->disk, file);
    if (error) return io_error(r, "read", name, error);
    memory->size += (size_t)size;
    return WAL_OK;
}

static enum wal_status read_segments(struct recovery *r) {
    uint64_t total = 0, number, size;
    char name[DISK_NAME_MAX + 1];
    for (size_t i = 0; i < r->names_count; i++) {
        if (!wal_file_number(WAL_SNAPSHOT_PREFIX, r->names[i], &number)) continue;
        enum wal_status status = file_size(r, r->names[i], &size);
        if (status) return status;
        total += size;
    }
    for (size_t i = 0; i < r->segments_count; i++) {
        wal_file_name(WAL_SEGMENT_PREFIX, r->segments[i].number, name);
        enum wal_status status = file_size(r, name, &r->segments[i].size);
        if (status) return status;
        total += r->segments[i].size;
    }
    buffer_reserve(&r->out->memory, (size_t)total + 1); /* never NULL, also when all files are empty */
    for (size_t i = 0; i < r->segments_count; i++) {
        wal_file_name(WAL_SEGMENT_PREFIX, r->segments[i].number, name);
        enum wal_status status = file_read(r, name, r->segments[i].size, &r->segments[i].data);
        if (status) return status;
    }
    return WAL_OK;
}

/* --- replaying records -------------------------------------------------------------------------------------------- */

/* Drops entries that the log no longer holds, after a change of its bounds. */
static void trim_entries(struct recovery *r) {
    const struct wal_state *s = &r->state;
    if (s->log_end <= r->available_from) {
        r->available_from = s->log_end;
        r->out->entries_count = 0;
    } else {
        r->out->entries_count = (size_t)(s->log_end - r->available_from);
    }
}

static bool replay_entry(struct recovery *r, struct segment_file *segment, const struct wal_record *record) {
    struct wal_recovered *out = r->out;
    if (!wal_state_append(&r->state, record->index)) return false;
    if (r->state.log_first == record->index) { /* the log begins here: it was empty, or a snapshot covers a gap */
        r->available_from = record->index;
        out->entries_count = 0;
    }
    if (out->entries_count == r->entries_capacity) {
        r->entries_capacity = r->entries_capacity ? r->entries_capacity * 2 : 64;
        out->entries = xrealloc(out->entries, r->entries_capacity * sizeof *out->entries);
    }
    out->entries[out->entries_count++] = (struct wal_entry){record->index, record->term, record->kind, record->payload};
    if (segment->entries_end < record->index + 1) segment->entries_end = record->index + 1;
    return true;
}

/* The first record of a segment: the beginning of all that is known, or a repetition of what is. */
static bool replay_start(struct recovery *r, const struct segment_file *segment, const struct wal_record *record) {
    if (segment != r->segments) {
        uint8_t known[WAL_START_BYTES], claimed[WAL_START_BYTES];
        wal_start_encode(&r->state, known);
        wal_start_encode(&record->state, claimed);
        return memcmp(known, claimed, sizeof known) == 0;
    }
    r->state = record->state;
    r->available_from = r->state.log_end;
    return true;
}

static bool replay_record(struct recovery *r, struct segment_file *segment, const struct wal_record *record,
                          bool first_in_segment) {
    if ((record->type == WAL_START) != first_in_segment) return false;
    switch (record->type) {
    case WAL_ENTRY: return replay_entry(r, segment, record);
    case WAL_TRUNCATE:
        wal_state_truncate(&r->state, record->index);
        trim_entries(r);
        return true;
    case WAL_META: wal_state_meta(&r->state, record->payload); return true;
    case WAL_SNAPSHOT:
        wal_state_snapshot(&r->state, &record->snapshot, record->keep_from, record->reset);
        if (record->reset) {
            r->reset_segment = segment->number;
            r->available_from = r->state.log_end;
            r->out->entries_count = 0;
        }
        return true;
    case WAL_START: return replay_start(r, segment, record);
    default: return false;
    }
}

/* --- replaying batches -------------------------------------------------------------------------------------------- */

/* The batch that stands at an offset, if it is whole and is what should stand there. */
static bool batch_at(const struct recovery *r, const struct segment_file *segment, uint64_t offset,
                     struct wal_batch_header *h) {
    struct bytes rest = bytes_of(segment->data + offset, (size_t)(segment->size - offset));
    if (!wal_batch_header_decode(rest, h)) return false;
    bool first_known = segment == r->segments && offset == 0;
    uint64_t number = !first_known ? r->batch_number + 1 : segment->number == 1 ? 1 : h->number;
    return h->segment == segment->number && h->offset == offset && h->number == number && h->durable_upto < number &&
           h->body_size > 0 && h->body_size <= rest.size - WAL_BATCH_HEADER_BYTES &&
           h->body_checksum == wal_checksum(bytes_of(rest.data + WAL_BATCH_HEADER_BYTES, h->body_size));
}

/* Looks behind a bad batch for the header of a later one, which would prove that the bad one was durable. */
static bool proven_durable(const struct recovery *r, const struct segment_file *segment, uint64_t offset) {
    static const uint32_t magic = WAL_BATCH_MAGIC;
    const uint8_t *at = segment->data + offset, *end = segment->data + segment->size;
    while (++at < end && (at = memmem(at, (size_t)(end - at), &magic, sizeof magic))) {
        struct wal_batch_header h;
        if (wal_batch_header_decode(bytes_of(at, (size_t)(end - at)), &h) && h.segment == segment->number &&
            h.offset == (uint64_t)(at - segment->data) && h.durable_upto > r->batch_number) {
            return true;
        }
    }
    return false;
}

static enum wal_status replay_batch(struct recovery *r, struct segment_file *segment, uint64_t offset,
                                    const struct wal_batch_header *h) {
    uint64_t body_at = offset + WAL_BATCH_HEADER_BYTES;
    struct reader reader = {segment->data + body_at, h->body_size, 0, false};
    while (reader.offset < reader.size) {
        size_t record_at = reader.offset;
        struct wal_record record;
        if (!wal_record_decode(&reader, &record) ||
            !replay_record(r, segment, &record, offset == 0 && record_at == 0)) {
            return corrupt(r, WAL_SEGMENT_PREFIX, segment->number, body_at + record_at,
                           "a record contradicts those before it");
        }
    }
    r->batch_number = h->number;
    r->last_batch_at = offset;
    return WAL_OK;
}

static enum wal_status replay_segment(struct recovery *r, struct segment_file *segment) {
    bool oldest = segment == r->segments, newest = segment == r->segments + r->segments_count - 1;
    uint64_t offset = 0;
    struct wal_batch_header h;
    while (offset < segment->size && batch_at(r, segment, offset, &h)) {
        enum wal_status status = replay_batch(r, segment, offset, &h);
        if (status) return status;
        offset += WAL_BATCH_HEADER_BYTES + h.body_size;
    }
    r->good_end = offset;
    if (offset == segment->size && offset > 0) return WAL_OK;
    if (!newest) {
        return corrupt(r, WAL_SEGMENT_PREFIX, segment->number, offset, "bad batch, and a later segment exists");
    }
    if (oldest && segment->number > 1 && offset == 0) {
        return corrupt(r, WAL_SEGMENT_PREFIX, segment->number, 0, "bad first batch, and the older segments are gone");
    }
    if (offset < segment->size && proven_durable(r, segment, offset)) {
        return corrupt(r, WAL_SEGMENT_PREFIX, segment->number, offset, "bad batch, and a later batch exists");
    }
    r->out->torn_bytes = segment->size - offset;
    return WAL_OK;
}

/* --- what the replay amounts to ----------------------------------------------------------------------------------- */

static enum wal_status finish_entries(struct recovery *r) {
    const struct wal_state *s = &r->state;
    struct wal_recovered *out = r->out;
    uint64_t needed_from = s->log_first > s->keep_from ? s->log_first : s->keep_from;
    if (needed_from < s->log_end && r->available_from > needed_from) {
        return corrupt(r, WAL_SEGMENT_PREFIX, r->segments[0].number - 1, 0, "the segment is gone, and it is needed");
    }
    size_t drop = 0;
    while (drop < out->entries_count && out->entries[drop].index < s->keep_from) drop++;
    out->entries_count -= drop;
    if (drop) memmove(out->entries, out->entries + drop, out->entries_count * sizeof *out->entries);
    return WAL_OK;
}

static enum wal_status load_snapshot(struct recovery *r) {
    const struct wal_snapshot_reference *wanted = &r->state.snapshot;
    if (wanted->id == 0) return WAL_OK;
    char name[DISK_NAME_MAX + 1];
    wal_file_name(WAL_SNAPSHOT_PREFIX, wanted->id, name);
    bool exists = false;
    for (size_t i = 0; i < r->names_count; i++) exists |= strcmp(r->names[i], name) == 0;
    if (!exists) return corrupt(r, WAL_SNAPSHOT_PREFIX, wanted->id, 0, "the snapshot's file is gone");
    uint64_t size;
    const uint8_t *data = NULL;
    enum wal_status status = file_size(r, name, &size);
    if (!status) status = file_read(r, name, size, &data);
    if (status) return status;
    struct wal_snapshot_reference found;
    if (!wal_snapshot_header_decode(bytes_of(data, (size_t)size), &found) || found.id != wanted->id ||
        found.index != wanted->index || found.term != wanted->term || found.size != wanted->size ||
        found.checksum != wanted->checksum) {
        return corrupt(r, WAL_SNAPSHOT_PREFIX, wanted->id, 0,
                       "the snapshot's header is not the one that the log names");
    }
    struct bytes body = bytes_of(data + WAL_SNAPSHOT_HEADER_BYTES, (size_t)size - WAL_SNAPSHOT_HEADER_BYTES);
    if (body.size != wanted->size || wal_checksum(body) != wanted->checksum) {
        return corrupt(r, WAL_SNAPSHOT_PREFIX, wanted->id, WAL_SNAPSHOT_HEADER_BYTES, "the snapshot's data is wrong");
    }
    r->out->snapshot = body;
    r->out->snapshot_index = wanted->index;
    r->out->snapshot_term = wanted->term;
    return WAL_OK;
}

/* --- repair ------------------------------------------------------------------------------------------------------- */

/* Removes files that the log no longer refers to: a crash came between, or undid the removal. */
static enum wal_status remove_strays(struct recovery *r) {
    for (size_t i = 0; i < r->names_count; i++) {
        uint64_t number;
        bool stray = false;
        if (wal_file_number(WAL_SNAPSHOT_PREFIX, r->names[i], &number)) stray = number != r->state.snapshot.id;
        if (wal_file_number(WAL_SEGMENT_PREFIX, r->names[i], &number)) stray = number < r->segments[0].number;
        if (!stray) continue;
        int error = r->disk->ops->remove(r->disk, r->names[i]);
        if (error) return io_error(r, "remove", r->names[i], error);
    }
    int error = r->disk->ops->sync_dir(r->disk);
    return error ? io_error(r, "sync", "directory", error) : WAL_OK;
}

/* Cuts the torn tail off, and makes durable what is left. The last batch is written again, because after a failed sync
 * the cache may show, as clean, what never reached the disk: a mere sync would then do nothing. */
static enum wal_status repair_newest(struct recovery *r, struct wal *w) {
    const struct disk_ops *ops = r->disk->ops;
    const struct segment_file *newest = &r->segments[r->segments_count - 1];
    char name[DISK_NAME_MAX + 1];
    wal_file_name(WAL_SEGMENT_PREFIX, newest->number, name);
    int error = ops->open(r->disk, name, false, &w->file);
    if (error) return io_error(r, "open", name, error);
    w->file_open = true;
    if (r->good_end < newest->size) {
        error = ops->truncate(r->disk, w->file, r->good_end);
        if (error) return io_error(r, "truncate", name, error);
    }
    if (r->good_end > 0) {
        error = ops->write(r->disk, w->file, r->last_batch_at, newest->data + r->last_batch_at,
                           (size_t)(r->good_end - r->last_batch_at));
        if (error) return io_error(r, "write", name, error);
    }
    error = ops->sync_now(r->disk, w->file);
    return error ? io_error(r, "sync", name, error) : WAL_OK;
}

static enum wal_status repair(struct recovery *r, struct wal *w) {
    if (r->segments_count) {
        enum wal_status status = repair_newest(r, w);
        if (status) return status;
    }
    return r->names_count ? remove_strays(r) : WAL_OK;
}

/* --- open --------------------------------------------------------------------------------------------------------- */

static void continue_from(struct wal *w, const struct recovery *r) {
    for (size_t i = 0; i < r->segments_count; i++) {
        wal_add_segment(w, r->segments[i].number)->entries_end = r->segments[i].entries_end;
    }
    w->segment_bytes = r->good_end;
    w->batch_number = r->batch_number;
    w->reset_segment = r->reset_segment;
    w->accepted = w->batched = r->state;
    w->next_snapshot_id = r->state.snapshot.id + 1; /* any greater one was a stray */
    w->durable_snapshot_id = r->state.snapshot.id;
}

static enum wal_status recover(struct recovery *r, struct wal *w) {
    char on_stack[NAMES_ON_STACK][DISK_NAME_MAX + 1];
    enum wal_status status = list_names(r, on_stack);
    if (!status && r->names_count) {
        choose_segments(r);
        status = read_segments(r);
        for (size_t i = 0; !status && i < r->segments_count; i++) status = replay_segment(r, &r->segments[i]);
        if (!status) status = finish_entries(r);
        if (!status) status = load_snapshot(r);
        if (!status) status = repair(r, w);
    }
    if (!status) {
        memcpy(r->out->meta, r->state.meta, sizeof r->out->meta);
        r->out->meta_size = (size_t)r->state.meta_size;
        continue_from(w, r);
    }
    if (r->names != on_stack) free(r->names);
    free(r->segments);
    return status;
}

enum wal_status wal_open(struct disk *disk, struct wal_options options, struct wal **opened, struct wal_recovered *out,
                         struct error *e) {
    *out = (struct wal_recovered){0};
    struct wal *w = xcalloc(1, sizeof *w);
    w->disk = disk;
    w->segment_bytes_max = options.segment_bytes_max ? options.segment_bytes_max : WAL_SEGMENT_BYTES_DEFAULT;
    buffer_reserve(&w->out, 4 * WAL_FRONT_BYTES);
    w->out.size = WAL_FRONT_BYTES;
    struct recovery r = {.disk = disk, .out = out, .e = e};
    enum wal_status status = recover(&r, w);
    if (status) {
        wal_recovered_free(out);
        wal_close(w);
        w = NULL;
    }
    *opened = w;
    return status;
}

void wal_recovered_free(struct wal_recovered *r) {
    free(r->entries);
    buffer_free(&r->memory);
    *r = (struct wal_recovered){0};
}
