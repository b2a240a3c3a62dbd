/* The log under a fuzzer, in two ways. As a script: the bytes choose what the log is told and how its disk fails, and
 * the model judges. As a disk: the bytes become the files that wal_open finds; it must come back with a status, and a
 * log that it opens must go on to work. Sealed batches are made from the bytes too, since no fuzzer guesses a
 * checksum. */
#include "targets/wal/format_internal.h"
#include "tests/wal_world.h"

#include <stdlib.h>

#define STEPS_MAX 2000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t choose_from_bytes(void *ctx, uint32_t bound) {
    struct reader *r = ctx;
    if (bound <= 256) return read_u8(r) % bound;
    return read_u16(r) % bound;
}

static void run_script(struct reader *r) {
    struct wal_world *x = xmalloc(sizeof *x);
    uint32_t segment_bytes_max = read_u16(r);
    wal_world_init(x, choose_from_bytes, r, read_u8(r), segment_bytes_max);
    for (int step = 0; step < STEPS_MAX && !r->failed; step++) wal_world_step(x);
    wal_world_settle(x);
    wal_world_crash(x, true, (struct disk_crash){0});
    wal_world_free(x);
    free(x);
}

/* --- the bytes as a disk ------------------------------------------------------------------------------------------ */

/* Wraps a body in a header that is right for where it stands, or nearly. */
static void put_batch(struct buffer *out, uint64_t segment, uint64_t number, struct bytes body) {
    uint8_t header[WAL_BATCH_HEADER_BYTES];
    struct wal_batch_header h = {segment, out->size, number, number - 1, (uint32_t)body.size, wal_checksum(body)};
    wal_batch_header_encode(&h, header);
    buffer_append(out, header, sizeof header);
    buffer_append(out, body.data, body.size);
}

/* The records of a batch, from a compact form: well framed, with any contents. */
static void put_records(struct buffer *body, struct reader *r, bool start) {
    if (start) {
        struct wal_state state = {.log_first = read_u8(r), .keep_from = read_u8(r)};
        state.log_end = state.log_first + read_u8(r) % 4;
        state.meta_size = read_u8(r) % (WAL_META_MAX + 2);
        uint8_t record[WAL_START_BYTES];
        wal_start_encode(&state, record);
        buffer_append(body, record, sizeof record);
    }
    for (uint8_t count = read_u8(r) % 8; count && !r->failed; count--) {
        uint8_t type = read_u8(r) % 7, kind = read_u8(r);
        uint64_t index = read_u8(r) == 255 ? UINT64_MAX - 1 + kind % 2 : read_u8(r), term = read_u8(r);
        size_t payload_size = read_u8(r);
        const uint8_t *payload = reader_take(r, payload_size);
        wal_put_record(body, type, kind, index, term, bytes_of(payload, payload ? payload_size : 0));
    }
}

static void put_file(struct sim_disk *d, struct reader *r, uint64_t *segment, uint64_t *number) {
    static const char *const prefixes[] = {WAL_SEGMENT_PREFIX, WAL_SEGMENT_PREFIX, WAL_SNAPSHOT_PREFIX, "other-"};
    uint8_t form = read_u8(r);
    const char *prefix = prefixes[form % 4];
    uint64_t file_number = form & 0x80 ? read_u8(r) : ++*segment;
    struct buffer contents = {0};
    for (uint8_t batches = form >> 2 & 3; batches; batches--) {
        struct buffer body = {0};
        put_records(&body, r, contents.size == 0);
        put_batch(&contents, file_number, ++*number, bytes_of(body.data, body.size));
        buffer_free(&body);
    }
    size_t raw_size = read_u8(r);
    const uint8_t *raw = reader_take(r, raw_size);
    if (raw) buffer_append(&contents, raw, raw_size);
    char name[DISK_NAME_MAX + 1];
    wal_file_name(prefix, file_number, name);
    uint32_t file;
    int error = d->base.ops->open(&d->base, name, true, &file);
    if (!error) error = d->base.ops->write(&d->base, file, 0, contents.data, contents.size);
    if (!error) error = d->base.ops->sync_now(&d->base, file);
    if (!error) error = d->base.ops->close(&d->base, file);
    assert(!error);
    buffer_free(&contents);
}

static void open_disk(struct reader *r) {
    struct prng prng;
    struct sim_disk d;
    prng_seed(&prng, 1, 1);
    sim_disk_init(&d, &prng, NULL, NULL);
    uint64_t segment = 0, number = 0;
    for (int files = 0; files < 6 && r->offset < r->size; files++) put_file(&d, r, &segment, &number);
    struct wal *w, *again;
    struct wal_recovered first, second;
    struct error e = {{0}};
    enum wal_status status = wal_open(&d.base, (struct wal_options){0}, &w, &first, &e);
    assert(status == WAL_OK || (w == NULL && e.text[0]));
    if (status == WAL_OK) { /* what was recovered once is recovered again */
        wal_close(w);
        sim_disk_power_loss(&d, (struct disk_crash){0});
        status = wal_open(&d.base, (struct wal_options){0}, &again, &second, &e);
        assert(status == WAL_OK && second.torn_bytes == 0);
        assert(first.entries_count == second.entries_count && first.meta_size == second.meta_size);
        for (size_t i = 0; i < first.entries_count; i++) {
            assert(first.entries[i].index == first.entries[0].index + i);
            assert(first.entries[i].index == second.entries[i].index);
            assert(bytes_equal(first.entries[i].payload, second.entries[i].payload));
        }
        wal_close(again);
        wal_recovered_free(&first);
        wal_recovered_free(&second);
    }
    sim_disk_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct reader r = {data, size, 0, false};
    if (read_u8(&r) % 2) {
        run_script(&r);
    } else {
        open_disk(&r);
    }
    return 0;
}
