/* Recordings: everything that one replica is told goes into a file from which that replica can be run again, alone,
 * without sockets, clock or disk. The seam is replica.h: a recorder stands before the replica, offers the same calls,
 * and writes each input down before it hands it on; what the disk answered is an input, too.
 *
 * A recording survives the death of its process at any moment (it lies in a shared mapping, so what was recorded is
 * the kernel's at once): the replay of a node that was killed, or failed an assertion, ends with its last input.
 *
 * Each input carries the rolling hash of all effects before it (messages, answers, timers, disk writes), and every 256
 * inputs a checkpoint holds the hashes of the state: a replay that differs is told at the first input that did. */
#ifndef HARROW_TARGETS_RECORD_H
#define HARROW_TARGETS_RECORD_H

#include "targets/node/replica.h"

#define RECORD_CHECKPOINT_INPUTS 256

struct recorder;

/* A replica behind a recorder. path NULL: it only hands on. A recording that has reached bytes_max ends in order before
 * the next input; the replica runs on. NULL with e set: the file cannot be written. */
struct recorder *recorder_new(const struct protocol *p, const struct mutant *m, const struct config *c,
                              const char *path, uint64_t bytes_max, struct error *e);
void recorder_free(struct recorder *r); /* frees the replica, too; ends the recording in order */
/* For what is no input: probe, hash, check, running. */
struct replica *recorder_replica(struct recorder *r);
/* NULL, or why nothing is recorded any more (its disk is full, its size is reached); the replica runs on. */
const char *recorder_error(const struct recorder *r);

/* As the calls of the same names in replica.h. */
int recorder_start(struct recorder *r, const struct config *c, const struct replica_env *env, uint64_t now_ns,
                   struct error *e);
void recorder_stop(struct recorder *r);
void recorder_message(struct recorder *r, uint64_t now_ns, uint8_t from, struct bytes bytes);
void recorder_timer(struct recorder *r, uint64_t now_ns, uint8_t id);
void recorder_request(struct recorder *r, uint64_t now_ns, uint64_t token, struct bytes command);
void recorder_synced(struct recorder *r, uint64_t now_ns, uint64_t cookie, int status);
void recorder_transfer(struct recorder *r, uint64_t now_ns, uint8_t to);

struct replay_report {
    char protocol[32], mutant[64]; /* mutant: empty if none */
    uint8_t self, nodes;
    uint64_t inputs, starts, first_ns, last_ns;
    bool cut;            /* it has no end: the process died, or the file was copied while it was written */
    uint64_t cut_offset; /* bytes */
    bool differs;        /* the replay is not the recorded run; below: where that showed first */
    uint64_t differs_input, differs_ns;
    char differs_what[256];
    const char *broken; /* the first local invariant that did not hold, NULL if all held */
    uint64_t broken_input, broken_ns;
    char stopped[256]; /* why the replica stopped itself; empty if it did not */
    bool running;      /* at the end */
    struct probe probe;
    uint64_t state_hash;
};

/* Runs a recording (a whole file) again. trace, if not NULL, gets a line per input and effect. -1: it is not a
 * recording, of a protocol or mutant that is not here, or damaged (e says at which offset); out is valid so far. */
int recording_replay(struct bytes file, void (*trace)(void *ctx, const char *line), void *ctx,
                     struct replay_report *out, struct error *e);

#endif
