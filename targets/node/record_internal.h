/* The form of a recording: eight bytes of magic, then records, each at a multiple of eight bytes:
 *
 *     u32 size   u32 checksum (low half of XXH3, seeded with the record's offset)   u8 type, fields by type, bytes
 *
 * Little-endian. The size is written last, so that a record is there whole or not at all; zero is the end so far. */
#ifndef HARROW_TARGETS_RECORD_INTERNAL_H
#define HARROW_TARGETS_RECORD_INTERNAL_H

#include "targets/node/record.h"

#define RECORDING_MAGIC UINT64_C(0x0a31636572777268) /* "hrwrec1\n" */
#define RECORDING_VERSION 2

enum record_type {
    RECORD_HEADER = 1, /* u16 version, u32 size and name of the protocol; bytes: the mutant's id */
    RECORD_START,      /* input; then the config but its rules */
    RECORD_STOP,       /* input */
    RECORD_MESSAGE,    /* input, u8 from; bytes: the message */
    RECORD_TIMER,      /* input, u8 id */
    RECORD_REQUEST,    /* input, u64 token; bytes: the command */
    RECORD_SYNCED,     /* input, u64 cookie, u32 status */
    RECORD_TRANSFER,   /* input, u8 to */
    RECORD_DISK,       /* u64 number of the call, u32 what it returned; bytes: what it read */
    RECORD_CHECKPOINT, /* u64 inputs, effects, state hash, protocol hash (0: not taken), u8 running */
    RECORD_END,        /* the same */
    RECORD_TYPES,
};

struct record { /* which fields count stands at the types above; an input is u64 now_ns, u64 effects before it */
    uint8_t type;
    uint8_t node; /* from, to, or the timer's id */
    bool running;
    int32_t status;
    uint64_t now_ns, effects;
    uint64_t number; /* token, cookie, number of a disk call, inputs */
    uint64_t state_hash, protocol_hash;
    struct config config;
    struct bytes protocol;
    struct bytes bytes; /* of the reader's memory */
};
static inline bool record_is_input(const struct record *r) {
    return r->type >= RECORD_START && r->type <= RECORD_TRANSFER;
}

struct recording { /* a file being written, through a window that moves along it */
    int fd;        /* -1: none */
    uint8_t *window;
    uint64_t window_start, window_bytes, offset;
    struct error error; /* why it ended early */
};
int recording_create(struct recording *w, const char *path, struct error *e);
void recording_put(struct recording *w, const struct record *r); /* nothing once it has failed */
void recording_close(struct recording *w);

/* Whether the file begins as a recording does; *offset is then that of the first record. */
bool recording_begins(struct bytes file, uint64_t *offset);
/* 1: a record, and *offset after it; 0: no further one; -1: damaged (e tells at which offset). */
int recording_next(struct bytes file, uint64_t *offset, struct record *out, struct error *e);

/* The hash over a replica's effects, the same when it is recorded and when it is replayed. */
uint64_t effects_send(uint64_t h, uint8_t to, uint8_t kind, struct bytes bytes);
uint64_t effects_timer(uint64_t h, uint8_t id, uint64_t delay_ns);
uint64_t effects_respond(uint64_t h, uint64_t token, enum status status, uint8_t leader, struct bytes result,
                         uint64_t index);
uint64_t effects_fatal(uint64_t h, const char *reason);
uint64_t effects_write(uint64_t h, uint32_t file, uint64_t offset, struct bytes bytes);
uint64_t effects_state(const struct replica *r); /* everything that the protocol shows of itself */

#endif
