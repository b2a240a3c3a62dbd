/* Recordings as files: how records are written through a moving window, and how they are read back from memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "targets/node/record_internal.h"

enum { FRAME_BYTES = 8, FIELDS_MAX = 256, WINDOW_BYTES = 4 << 20, PAGE_BYTES = 4096 };

/* --- fields ------------------------------------------------------------------------------------------------------- */

static void write_config(struct writer *w, const struct config *c) {
    write_u8(w, c->self);
    write_u8(w, c->nodes);
    write_u64(w, c->seed);
    write_u64(w, c->election_timeout_ns);
    write_u64(w, c->heartbeat_ns);
    write_u32(w, c->clock_drift_ppm_max);
    write_u8(w, (uint8_t)c->reads);
    write_u32(w, c->snapshot_entries);
    write_u32(w, c->snapshot_trailing);
    write_u32(w, c->limits.log_entries_max);
    write_u32(w, c->limits.log_bytes_max);
    write_u32(w, c->limits.entry_bytes_max);
    write_u32(w, c->limits.message_bytes_max);
    write_u32(w, c->limits.reads_max);
    write_u32(w, c->limits.inflight_max);
}

/* A checksum is no proof: what a replica would stumble over must not come out of a file. */
static bool config_is_sane(const struct config *c) {
    const struct limits *l = &c->limits;
    bool power_of_two = l->log_entries_max && (l->log_entries_max & (l->log_entries_max - 1)) == 0;
    uint32_t largest = l->log_bytes_max | l->entry_bytes_max | l->message_bytes_max;
    uint32_t most = l->log_entries_max | l->reads_max | l->inflight_max;
    return c->self < c->nodes && c->nodes <= PROTOCOL_NODES_MAX && c->reads <= PROTOCOL_READ_LOCAL &&
           c->election_timeout_ns && c->heartbeat_ns && power_of_two && most < 1u << 24 && largest < 1u << 30 &&
           l->reads_max && l->inflight_max && l->entry_bytes_max && l->message_bytes_max > l->entry_bytes_max;
}

static bool read_config(struct reader *r, struct config *c) {
    *c = (struct config){.self = read_u8(r), .nodes = read_u8(r)};
    c->seed = read_u64(r);
    c->election_timeout_ns = read_u64(r);
    c->heartbeat_ns = read_u64(r);
    c->clock_drift_ppm_max = read_u32(r);
    c->reads = (enum protocol_reads)read_u8(r);
    c->snapshot_entries = read_u32(r);
    c->snapshot_trailing = read_u32(r);
    c->limits.log_entries_max = read_u32(r);
    c->limits.log_bytes_max = read_u32(r);
    c->limits.entry_bytes_max = read_u32(r);
    c->limits.message_bytes_max = read_u32(r);
    c->limits.reads_max = read_u32(r);
    c->limits.inflight_max = read_u32(r);
    return !r->failed && config_is_sane(c);
}

static void write_fields(struct writer *w, const struct record *r) {
    write_u8(w, r->type);
    if (record_is_input(r)) {
        write_u64(w, r->now_ns);
        write_u64(w, r->effects);
    }
    switch ((enum record_type)r->type) {
    case RECORD_HEADER:
        write_u16(w, RECORDING_VERSION);
        write_bytes(w, r->protocol);
        break;
    case RECORD_START: write_config(w, &r->config); break;
    case RECORD_MESSAGE:
    case RECORD_TIMER:
    case RECORD_TRANSFER: write_u8(w, r->node); break;
    case RECORD_REQUEST: write_u64(w, r->number); break;
    case RECORD_SYNCED:
    case RECORD_DISK:
        write_u64(w, r->number);
        write_u32(w, (uint32_t)r->status);
        break;
    case RECORD_CHECKPOINT:
    case RECORD_END:
        write_u64(w, r->number);
        write_u64(w, r->effects);
        write_u64(w, r->state_hash);
        write_u64(w, r->protocol_hash);
        write_u8(w, r->running);
        break;
    case RECORD_STOP:
    case RECORD_TYPES: break;
    }
}

static bool read_fields(struct reader *r, struct record *out) {
    bool tail = false; /* may bytes follow the fields? */
    out->type = read_u8(r);
    if (record_is_input(out)) {
        out->now_ns = read_u64(r);
        out->effects = read_u64(r);
    }
    switch (out->type) {
    case RECORD_HEADER:
        if (read_u16(r) != RECORDING_VERSION) return false;
        out->protocol = read_bytes(r);
        tail = true;
        break;
    case RECORD_START:
        if (!read_config(r, &out->config)) return false;
        break;
    case RECORD_MESSAGE: tail = true; /* fall through */
    case RECORD_TIMER:
    case RECORD_TRANSFER: out->node = read_u8(r); break;
    case RECORD_REQUEST:
        out->number = read_u64(r);
        tail = true;
        if (out->number == 0 || out->number >> 63) return false;
        break;
    case RECORD_DISK: tail = true; /* fall through */
    case RECORD_SYNCED:
        out->number = read_u64(r);
        out->status = (int32_t)read_u32(r);
        break;
    case RECORD_CHECKPOINT:
    case RECORD_END:
        out->number = read_u64(r);
        out->effects = read_u64(r);
        out->state_hash = read_u64(r);
        out->protocol_hash = read_u64(r);
        out->running = read_u8(r);
        break;
    case RECORD_STOP: break;
    default: return false;
    }
    if (r->failed) return false;
    out->bytes = bytes_of(r->data + r->offset, r->size - r->offset);
    return tail || out->bytes.size == 0;
}

static uint32_t checksum(uint64_t offset, struct bytes fields, struct bytes tail) {
    return (uint32_t)hash_bytes(tail, hash_bytes(fields, offset));
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void fail(struct recording *w, int error) {
    error_set(&w->error, "the recording ends here, at %llu bytes: %s", (unsigned long long)w->offset, strerror(error));
    recording_close(w);
}

/* Reserves the disk's blocks before they are mapped: a full disk must be an error here, not a signal later. */
static bool move_window(struct recording *w, uint64_t needed) {
    if (w->window && w->offset + needed <= w->window_start + w->window_bytes) return true;
    if (w->window) munmap(w->window, w->window_bytes);
    w->window = NULL;
    w->window_start = w->offset & ~(uint64_t)(PAGE_BYTES - 1);
    w->window_bytes = (needed + WINDOW_BYTES) & ~(uint64_t)(PAGE_BYTES - 1);
    int error = posix_fallocate(w->fd, (off_t)w->window_start, (off_t)w->window_bytes);
    if (error == 0) {
        void *at = mmap(NULL, w->window_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, (off_t)w->window_start);
        if (at == MAP_FAILED) error = errno;
        w->window = at == MAP_FAILED ? NULL : at;
    }
    if (error) fail(w, error);
    return !error;
}

int recording_create(struct recording *w, const char *path, struct error *e) {
    *w = (struct recording){.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
    if (w->fd < 0) return error_set(e, "cannot write the recording %s: %s", path, strerror(errno));
    if (!move_window(w, FRAME_BYTES)) {
        unlink(path);
        return error_set(e, "cannot write the recording %s: %s", path, w->error.text);
    }
    uint64_t magic = RECORDING_MAGIC;
    memcpy(w->window, &magic, sizeof magic);
    w->offset = sizeof magic;
    return 0;
}

void recording_put(struct recording *w, const struct record *r) {
    if (w->fd < 0) return;
    uint8_t memory[FIELDS_MAX];
    struct writer fields = {.data = memory, .capacity = sizeof memory};
    write_fields(&fields, r);
    assert(!fields.failed);
    uint64_t size = fields.size + r->bytes.size, padded = (FRAME_BYTES + size + 7) & ~UINT64_C(7);
    if (size > UINT32_MAX) {
        fail(w, EFBIG);
        return;
    }
    if (!move_window(w, padded)) return;
    uint8_t *at = w->window + (w->offset - w->window_start);
    uint32_t sum = checksum(w->offset, bytes_of(memory, fields.size), r->bytes);
    memcpy(at + 4, &sum, sizeof sum);
    memcpy(at + FRAME_BYTES, memory, fields.size);
    if (r->bytes.size) memcpy(at + FRAME_BYTES + fields.size, r->bytes.data, r->bytes.size);
    __atomic_store_n((uint32_t *)(void *)at, (uint32_t)size, __ATOMIC_RELEASE);
    w->offset += padded;
}

void recording_close(struct recording *w) {
    if (w->fd < 0) return;
    if (w->window) munmap(w->window, w->window_bytes);
    /* If this fails, zeros stay behind the last record, which readers take for its end all the same. */
    if (ftruncate(w->fd, (off_t)w->offset) != 0 && !*w->error.text)
        error_set(&w->error, "the recording could not be cut to its size: %s", strerror(errno));
    close(w->fd);
    w->fd = -1;
    w->window = NULL;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

bool recording_begins(struct bytes file, uint64_t *offset) {
    uint64_t magic = RECORDING_MAGIC;
    *offset = sizeof magic;
    return file.size >= sizeof magic && memcmp(file.data, &magic, sizeof magic) == 0;
}

int recording_next(struct bytes file, uint64_t *offset, struct record *out, struct error *e) {
    memset(out, 0, sizeof *out);
    if (*offset >= file.size || file.size - *offset < FRAME_BYTES) return 0;
    struct reader frame = {.data = file.data, .size = file.size, .offset = *offset};
    uint32_t size = read_u32(&frame), sum = read_u32(&frame);
    if (size == 0 || size > frame.size - frame.offset) return 0;
    struct reader r = {.data = file.data + frame.offset, .size = size};
    if (!read_fields(&r, out) || sum != checksum(*offset, bytes_of(r.data, r.offset), out->bytes))
        return error_set(e, "the recording is damaged at offset %llu: the record there has a wrong checksum or form",
                         (unsigned long long)*offset);
    *offset += (FRAME_BYTES + (uint64_t)size + 7) & ~UINT64_C(7);
    return 1;
}

/* --- hashes ------------------------------------------------------------------------------------------------------- */

uint64_t effects_send(uint64_t h, uint8_t to, uint8_t kind, struct bytes bytes) {
    return hash_bytes(bytes, hash_mix(h, 1u | (uint64_t)to << 8 | (uint64_t)kind << 16));
}
uint64_t effects_timer(uint64_t h, uint8_t id, uint64_t delay_ns) {
    return hash_mix(hash_mix(h, 2u | (uint64_t)id << 8), delay_ns);
}
uint64_t effects_respond(uint64_t h, uint64_t token, enum status status, uint8_t leader, struct bytes result,
                         uint64_t index) {
    h = hash_mix(h, 3u | (uint64_t)status << 8 | (uint64_t)leader << 16);
    return hash_bytes(result, hash_mix(hash_mix(h, token), index));
}
uint64_t effects_fatal(uint64_t h, const char *reason) {
    return hash_bytes(bytes_str(reason), hash_mix(h, 4));
}
uint64_t effects_write(uint64_t h, uint32_t file, uint64_t offset, struct bytes bytes) {
    return hash_bytes(bytes, hash_mix(hash_mix(h, 5u | (uint64_t)file << 8), offset));
}

static void mix_word(void *ctx, const char *name, uint64_t value) {
    (void)name;
    uint64_t *h = ctx;
    *h = hash_mix(*h, value);
}

uint64_t effects_state(const struct replica *r) {
    uint64_t h = 1;
    replica_visit(r, &(struct visitor){.ctx = &h, .word = mix_word});
    return h ? h : 1;
}
