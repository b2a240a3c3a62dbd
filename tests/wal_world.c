/* The log beside its model; see wal_world.h. */
#include "tests/wal_world.h"

#include <errno.h>
#include <stdlib.h>

#define PAYLOAD_BYTES_MAX 1500
#define CRASHES_IN_RECOVERY_MAX 5 /* in a row: a fuzzer that ran out of bytes says the same for ever */

/* --- the model ---------------------------------------------------------------------------------------------------- */

static void model_apply(struct model_state *m, const struct model_write *write) {
    switch (write->kind) {
    case MODEL_APPEND:
        if (m->entries_count && m->entries[m->entries_count - 1].index + 1 != write->entry.index) m->entries_count = 0;
        assert(m->entries_count < MODEL_ENTRIES_MAX);
        m->entries[m->entries_count++] = write->entry;
        break;
    case MODEL_TRUNCATE:
        while (m->entries_count && m->entries[m->entries_count - 1].index >= write->entry.index) m->entries_count--;
        break;
    case MODEL_META:
        m->meta_hash = write->hash;
        m->meta_size = write->meta_size;
        break;
    case MODEL_SNAPSHOT:
        m->snapshot_index = write->entry.index;
        m->snapshot_term = write->entry.term;
        m->snapshot_hash = write->hash;
        if (write->reset) m->entries_count = 0;
        if (write->reset || write->keep_from > m->keep_from) m->keep_from = write->keep_from;
        break;
    }
}

bool model_matches(const struct model_state *m, const struct wal_recovered *r) {
    if (m->meta_size != r->meta_size ||
        (r->meta_size && m->meta_hash != hash_bytes(bytes_of(r->meta, r->meta_size), 0)))
        return false;
    if (m->snapshot_index != r->snapshot_index || m->snapshot_term != r->snapshot_term) return false;
    if (m->snapshot_index && m->snapshot_hash != hash_bytes(r->snapshot, 0)) return false;
    size_t kept = 0;
    for (size_t i = 0; i < m->entries_count; i++) {
        const struct model_entry *wanted = &m->entries[i];
        if (wanted->index < m->keep_from) continue;
        if (kept == r->entries_count) return false;
        const struct wal_entry *found = &r->entries[kept++];
        if (found->index != wanted->index || found->term != wanted->term || found->kind != wanted->kind ||
            hash_bytes(found->payload, 0) != wanted->payload_hash) {
            return false;
        }
    }
    return kept == r->entries_count;
}

static void told(struct wal_world *x, struct model_write write, uint64_t number) {
    assert(x->writes_count < MODEL_WRITES_MAX);
    x->writes[x->writes_count++] = write;
    assert(number == x->writes_count && wal_written(x->wal) == number);
    model_apply(&x->now, &write);
}

/* --- the disk that the log sees ----------------------------------------------------------------------------------- */

#define CUT(call)                                                                                                      \
    struct cut_disk *cut = (struct cut_disk *)d;                                                                       \
    if (cut->calls_left == 0) return -EIO;                                                                             \
    if (cut->calls_left != UINT64_MAX) cut->calls_left--;                                                              \
    struct disk *below = &cut->below->base;                                                                            \
    return below->ops->call

static int cut_open(struct disk *d, const char *name, bool create, uint32_t *file) {
    CUT(open(below, name, create, file));
}
static int cut_close(struct disk *d, uint32_t file) {
    CUT(close(below, file));
}
static int cut_size(struct disk *d, uint32_t file, uint64_t *size) {
    CUT(size(below, file, size));
}
static int cut_read(struct disk *d, uint32_t file, uint64_t offset, void *data, size_t size) {
    CUT(read(below, file, offset, data, size));
}
static int cut_write(struct disk *d, uint32_t file, uint64_t offset, const void *data, size_t size) {
    CUT(write(below, file, offset, data, size));
}
static int cut_truncate(struct disk *d, uint32_t file, uint64_t size) {
    CUT(truncate(below, file, size));
}
static int cut_sync(struct disk *d, uint32_t file, uint64_t cookie) {
    CUT(sync(below, file, cookie));
}
static int cut_sync_now(struct disk *d, uint32_t file) {
    CUT(sync_now(below, file));
}
static int cut_rename(struct disk *d, const char *from, const char *to) {
    CUT(rename(below, from, to));
}
static int cut_remove(struct disk *d, const char *name) {
    CUT(remove(below, name));
}
static int cut_sync_dir(struct disk *d) {
    CUT(sync_dir(below));
}
static int cut_list(struct disk *d, char names[][DISK_NAME_MAX + 1], size_t names_max) {
    CUT(list(below, names, names_max));
}

static const struct disk_ops cut_ops = {cut_open, cut_close,    cut_size,   cut_read,   cut_write,    cut_truncate,
                                        cut_sync, cut_sync_now, cut_rename, cut_remove, cut_sync_dir, cut_list};

static void on_sync(void *ctx, uint32_t file, uint64_t cookie) {
    struct wal_world *x = ctx;
    assert(!x->sync_pending); /* one at a time */
    x->sync_pending = true;
    x->sync_file = file;
    x->sync_cookie = cookie;
}

/* --- opening and crashing ----------------------------------------------------------------------------------------- */

static uint64_t segments_on_disk(struct wal_world *x) {
    char names[128][DISK_NAME_MAX + 1];
    int count = x->disk.base.ops->list(&x->disk.base, names, 128);
    uint64_t segments = 0;
    assert(count >= 0 && count <= 128);
    for (int i = 0; i < count; i++) segments += strncmp(names[i], "wal-", 4) == 0;
    return segments;
}

/* What came back is the model's state after as many writes as were durable, or after some later write. */
static void check_recovery(struct wal_world *x, const struct wal_recovered *r, uint64_t durable) {
    x->now = x->before;
    for (size_t i = 0; i < durable; i++) model_apply(&x->now, &x->writes[i]);
    size_t prefix = (size_t)durable;
    while (!model_matches(&x->now, r)) {
        assert(prefix < x->writes_count && "recovered state is no prefix of what was written");
        model_apply(&x->now, &x->writes[prefix++]);
    }
    size_t hidden = 0; /* given up by a snapshot: nobody who only sees what came back knows of them */
    while (hidden < x->now.entries_count && x->now.entries[hidden].index < x->now.keep_from) hidden++;
    x->now.entries_count -= hidden;
    memmove(x->now.entries, x->now.entries + hidden, x->now.entries_count * sizeof *x->now.entries);
    x->seen.tail_writes_lost += x->writes_count - prefix;
    x->seen.unsynced_kept += prefix - durable;
    x->seen.torn_tails += r->torn_bytes > 0;
}

static struct disk_crash draw_fate(struct wal_world *x) {
    static const struct disk_crash fates[] = {{0, 0},           {1000000, 0},     {0, 1000000},
                                              {500000, 500000}, {333333, 333333}, {100000, 100000}};
    return fates[x->choose(x->ctx, sizeof fates / sizeof *fates)];
}

static void kill_process(struct wal_world *x, bool power_loss, struct disk_crash fate) {
    x->sync_pending = false;
    x->cut.calls_left = UINT64_MAX;
    if (power_loss) {
        sim_disk_power_loss(&x->disk, fate);
        x->seen.power_losses++;
    } else {
        sim_disk_process_crash(&x->disk);
        x->seen.process_crashes++;
    }
}

/* Choices are drawn one a statement: the order of arguments is the compiler's, the order of draws must not be. */
static void reopen(struct wal_world *x, uint64_t durable, bool may_crash) {
    struct wal_recovered r;
    struct error e;
    enum wal_status status;
    for (unsigned crashes = 0;; crashes++) {
        bool crash = may_crash && crashes < CRASHES_IN_RECOVERY_MAX && x->choose(x->ctx, 3) == 0;
        x->cut.calls_left = crash ? x->choose(x->ctx, 24) : UINT64_MAX;
        status = wal_open(&x->cut.base, x->options, &x->wal, &r, &e);
        if (!crash || status == WAL_OK) break;
        assert(status == WAL_IO);
        x->seen.crashes_in_recovery++;
        bool power_loss = x->choose(x->ctx, 2);
        kill_process(x, power_loss, draw_fate(x));
    }
    x->cut.calls_left = UINT64_MAX;
    assert(status == WAL_OK);
    x->seen.opens++;
    check_recovery(x, &r, durable);
    wal_recovered_free(&r);
    x->before = x->now;
    x->writes_count = 0;
    assert(wal_written(x->wal) == 0 && wal_durable(x->wal) == 0 && wal_idle(x->wal));
}

static void crash(struct wal_world *x, bool power_loss, struct disk_crash fate, bool crash_in_recovery) {
    uint64_t durable = wal_durable(x->wal);
    x->disk.condition = (struct disk_condition){0};
    kill_process(x, power_loss, fate);
    wal_close(x->wal);
    x->wal = NULL;
    reopen(x, durable, crash_in_recovery);
}

void wal_world_crash(struct wal_world *x, bool power_loss, struct disk_crash fate) {
    crash(x, power_loss, fate, false);
}

void wal_world_reopen(struct wal_world *x) {
    crash(x, false, (struct disk_crash){0}, false);
}

void wal_world_init(struct wal_world *x, uint32_t (*choose)(void *, uint32_t), void *ctx, uint64_t seed,
                    uint32_t segment_bytes_max) {
    *x = (struct wal_world){.choose = choose, .ctx = ctx, .options = {segment_bytes_max}};
    prng_seed(&x->prng, seed, 1);
    sim_disk_init(&x->disk, &x->prng, on_sync, x);
    x->cut = (struct cut_disk){{&cut_ops}, &x->disk, UINT64_MAX};
    reopen(x, 0, false);
}

void wal_world_free(struct wal_world *x) {
    wal_close(x->wal);
    sim_disk_free(&x->disk);
}

/* --- what the log is told ----------------------------------------------------------------------------------------- */

static struct bytes random_bytes(struct wal_world *x, uint8_t *memory, uint32_t size) {
    uint8_t fill = (uint8_t)x->choose(x->ctx, 256);
    for (uint32_t i = 0; i < size; i++) memory[i] = (uint8_t)(fill + i * i);
    return bytes_of(memory, size);
}

static uint64_t next_index(const struct wal_world *x) {
    const struct model_state *m = &x->now;
    return m->entries_count ? m->entries[m->entries_count - 1].index + 1 : m->snapshot_index + 1;
}

void wal_world_append(struct wal_world *x, uint32_t payload_size) {
    uint8_t memory[PAYLOAD_BYTES_MAX];
    struct bytes payload = random_bytes(x, memory, payload_size);
    const struct model_state *m = &x->now;
    uint64_t index = next_index(x);
    if (index <= m->snapshot_index && x->choose(x->ctx, 2)) { /* as a follower that got a snapshot of what it lacks */
        index = m->snapshot_index + 1;
        x->seen.gaps++;
    }
    struct model_entry entry = {.index = index, .payload_hash = hash_bytes(payload, 0)};
    entry.term = x->choose(x->ctx, 9);
    entry.kind = (uint8_t)x->choose(x->ctx, 256);
    uint64_t number = wal_append(x->wal, entry.index, entry.term, entry.kind, payload);
    told(x, (struct model_write){.kind = MODEL_APPEND, .entry = entry}, number);
}

static void truncate_tail(struct wal_world *x) {
    const struct model_state *m = &x->now;
    if (!m->entries_count) return;
    uint64_t last = m->entries[m->entries_count - 1].index, first = m->entries[0].index;
    if (first <= m->snapshot_index) first = m->snapshot_index + 1; /* what a snapshot covers is committed */
    if (first < m->keep_from) first = m->keep_from;
    if (first > last) return;
    uint64_t index = last - x->choose(x->ctx, (uint32_t)(last - first) + 1);
    x->seen.truncations++;
    told(x, (struct model_write){.kind = MODEL_TRUNCATE, .entry = {.index = index}}, wal_truncate(x->wal, index));
}

static void write_meta(struct wal_world *x) {
    uint8_t memory[WAL_META_MAX];
    struct bytes meta = random_bytes(x, memory, 1 + x->choose(x->ctx, WAL_META_MAX));
    told(x, (struct model_write){.kind = MODEL_META, .hash = hash_bytes(meta, 0), .meta_size = meta.size},
         wal_meta(x->wal, meta));
}

void wal_world_snapshot(struct wal_world *x, uint64_t index, uint64_t keep_from, bool reset) {
    uint8_t memory[PAYLOAD_BYTES_MAX];
    struct bytes data = random_bytes(x, memory, x->choose(x->ctx, PAYLOAD_BYTES_MAX));
    struct model_write write = {.kind = MODEL_SNAPSHOT,
                                .entry = {.index = index, .term = x->choose(x->ctx, 9)},
                                .hash = hash_bytes(data, 0),
                                .keep_from = keep_from,
                                .reset = reset};
    uint64_t number = wal_snapshot(x->wal, index, write.entry.term, data, keep_from, reset);
    x->seen.snapshots++;
    x->seen.resets += reset;
    told(x, write, number);
}

static void random_snapshot(struct wal_world *x) {
    const struct model_state *m = &x->now;
    uint64_t last = next_index(x) - 1, index = m->snapshot_index + 1;
    if (last > index) index += x->choose(x->ctx, (uint32_t)(last - index) + 1);
    bool reset = index > last && x->choose(x->ctx, 2);
    if (reset) index += x->choose(x->ctx, 5);
    uint64_t margin = x->choose(x->ctx, 8), keep_from = index + 1 > margin ? index + 1 - margin : 1;
    wal_world_snapshot(x, index, reset ? index + 1 : keep_from, reset);
}

/* --- the driver --------------------------------------------------------------------------------------------------- */

static void disk_failed(struct wal_world *x) {
    assert(wal_error(x->wal) != NULL);
    bool power_loss = x->choose(x->ctx, 2);
    crash(x, power_loss, draw_fate(x), true);
}

static void flush(struct wal_world *x) {
    uint64_t errors = x->disk.counters.write_errors;
    int status = wal_flush(x->wal);
    x->seen.write_failures += x->disk.counters.write_errors - errors;
    if (status) disk_failed(x);
}

/* Most writes of the log are flushed; a snapshot's file may have failed at once, so that a flush reports it. */
static void finish_sync(struct wal_world *x) {
    if (!x->sync_pending) return;
    x->sync_pending = false;
    uint64_t durable = wal_durable(x->wal), segments = segments_on_disk(x), errors = x->disk.counters.write_errors;
    int status = sim_disk_sync_done(&x->disk, x->sync_file, x->sync_cookie);
    int failed = wal_on_sync(x->wal, x->sync_cookie, status);
    assert(wal_durable(x->wal) >= durable && wal_durable(x->wal) <= wal_written(x->wal));
    assert(!status || (failed && wal_durable(x->wal) == durable));
    x->seen.sync_failures += status != 0;
    x->seen.write_failures += x->disk.counters.write_errors - errors;
    uint64_t left = segments_on_disk(x);
    if (left < segments) x->seen.segments_removed += segments - left;
    if (left > x->seen.segments_max) x->seen.segments_max = left;
    if (failed) disk_failed(x);
}

void wal_world_settle(struct wal_world *x) {
    x->disk.condition = (struct disk_condition){0};
    if (wal_flush(x->wal)) disk_failed(x);
    while (x->sync_pending) finish_sync(x);
    assert(wal_idle(x->wal) && wal_durable(x->wal) == wal_written(x->wal));
}

static void change_condition(struct wal_world *x) {
    struct disk_condition *c = &x->disk.condition;
    *c = (struct disk_condition){0};
    switch (x->choose(x->ctx, 6)) {
    case 0: c->sync_error_ppm = 300000; break;
    case 1: c->write_error_ppm = 300000; break;
    case 2: c->capacity_bytes = 4096; break;
    default: break;
    }
}

static void random_crash(struct wal_world *x) {
    bool power_loss = x->choose(x->ctx, 2), crash_in_recovery = x->choose(x->ctx, 2);
    crash(x, power_loss, draw_fate(x), crash_in_recovery);
}

void wal_world_step(struct wal_world *x) {
    if (x->writes_count + 4 > MODEL_WRITES_MAX || x->now.entries_count + 4 > MODEL_ENTRIES_MAX) {
        wal_world_settle(x);
        wal_world_snapshot(x, next_index(x) + 3, next_index(x) + 4, true);
        wal_world_settle(x);
        wal_world_reopen(x);
        return;
    }
    switch (x->choose(x->ctx, 32)) {
    case 0:
    case 1: truncate_tail(x); break;
    case 2:
    case 3: write_meta(x); break;
    case 4: random_snapshot(x); break;
    case 5:
    case 6: random_crash(x); break;
    case 7:
        if (x->choose(x->ctx, 3) == 0) change_condition(x);
        break;
    case 8: wal_world_append(x, x->choose(x->ctx, PAYLOAD_BYTES_MAX)); break;
    default:
        switch (x->choose(x->ctx, 3)) {
        case 0: wal_world_append(x, x->choose(x->ctx, 64)); break;
        case 1: flush(x); break;
        default: finish_sync(x); break;
        }
        break;
    }
}

/* --- disk images -------------------------------------------------------------------------------------------------- */

void disk_image_take(struct disk_image *image, struct sim_disk *d) {
    const struct disk_ops *ops = d->base.ops;
    *image = (struct disk_image){0};
    int count = ops->list(&d->base, image->names, DISK_IMAGE_FILES_MAX);
    assert(count >= 0 && count <= DISK_IMAGE_FILES_MAX);
    image->count = (size_t)count;
    for (size_t i = 0; i < image->count; i++) {
        uint32_t file;
        uint64_t size;
        int error = ops->open(&d->base, image->names[i], false, &file);
        assert(!error && !ops->size(&d->base, file, &size));
        buffer_reserve(&image->contents[i], (size_t)size);
        error = ops->read(&d->base, file, 0, image->contents[i].data, (size_t)size);
        assert(!error);
        image->contents[i].size = (size_t)size;
        ops->close(&d->base, file);
    }
}

void disk_image_load(const struct disk_image *image, struct sim_disk *d) {
    const struct disk_ops *ops = d->base.ops;
    sim_disk_clear(d);
    for (size_t i = 0; i < image->count; i++) {
        uint32_t file;
        int error = ops->open(&d->base, image->names[i], true, &file);
        if (!error) error = ops->write(&d->base, file, 0, image->contents[i].data, image->contents[i].size);
        if (!error) error = ops->sync_now(&d->base, file);
        if (!error) error = ops->close(&d->base, file);
        assert(!error);
    }
}

void disk_image_free(struct disk_image *image) {
    for (size_t i = 0; i < image->count; i++) buffer_free(&image->contents[i]);
    *image = (struct disk_image){0};
}
