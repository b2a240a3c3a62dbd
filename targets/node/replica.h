/* node: a replica's driver. It runs a protocol's step function over the write-ahead log and the KV state machine,
 * carries out effects, enforces barriers, and knows nothing of where messages, timers and clients come from: the
 * simulator and the node process supply those through `struct replica_env`. So both worlds run this same code.
 *
 * Mutants live here and in rule tables: a mutant names the rules it swaps and the effects it tampers with
 * (mutants.def). */
#ifndef HARROW_TARGETS_REPLICA_H
#define HARROW_TARGETS_REPLICA_H

#include "targets/kv/kv.h"
#include "targets/protocols/protocol.h"

/* A deliberate bug, chosen at run time. */
struct mutant {
    const char *id;       /* "raft/no-vote-fsync" */
    const char *zoo;      /* its row in the catalogue of known bugs: "R2" */
    const char *protocol; /* "raft" */
    const char *scenario; /* one that shows it */
    const char *doc, *source;
    bool client_visible;
    const void *rules;         /* the protocol's rule table with one rule swapped; NULL: the correct one */
    uint32_t unbarriered_mask; /* message kinds that are sent without waiting for the disk (bit per kind) */
    const struct kv_rules *kv_rules;
};
extern const struct mutant mutants[]; /* ends with id NULL */
const struct mutant *mutant_find(const char *id);
const struct protocol *protocol_find(const char *name);
const struct protocol *protocol_at(size_t i); /* in order; NULL past the end */
void protocol_add(const struct protocol *p);  /* one more, in place of one added before; borrowed. For tests. */

/* What a replica needs from its surroundings. No call may re-enter the replica. */
struct replica_env {
    void *ctx;
    struct disk *disk;
    void (*send)(void *ctx, uint8_t to, uint8_t message_kind, struct bytes bytes);
    void (*timer)(void *ctx, uint8_t id, uint64_t delay_ns); /* replaces; UINT64_MAX cancels */
    /* A request's end. STATUS_OK: result is an encoded kv_result, index the log position it reflects, or NO_INDEX when
     * it was refused before it came to the log. */
    void (*respond)(void *ctx, uint64_t token, enum status status, uint8_t leader, struct bytes result, uint64_t index);
    /* The replica stopped itself: `assertion` tells a broken promise of the protocol from a refusing disk. */
    void (*fatal)(void *ctx, bool assertion, const char *reason);
    /* Sees each effect as it is carried out (a SEND when it is released), and writes as they become durable. May be
     * NULL. */
    void (*observe)(void *ctx, const struct effect *e);
    void (*durable)(void *ctx, uint64_t written);
};

#define NO_INDEX UINT64_MAX

struct replica;

struct replica *replica_new(const struct protocol *p, const struct mutant *m, const struct config *c);
void replica_free(struct replica *r);

/* Boots from whatever is on the disk; config and env are copied. -1: recovery refused (e: corrupt log, I/O). */
int replica_start(struct replica *r, const struct config *c, const struct replica_env *env, uint64_t now_ns,
                  struct error *e);
void replica_stop(struct replica *r); /* as if the process had died: nothing is written */
bool replica_running(const struct replica *r);

/* Inputs. token is not 0 and below 2^63. command is an encoded kv_command; reads without a session go the protocol's
 * way of reading. */
void replica_message(struct replica *r, uint64_t now_ns, uint8_t from, struct bytes bytes);
void replica_timer(struct replica *r, uint64_t now_ns, uint8_t id);
void replica_request(struct replica *r, uint64_t now_ns, uint64_t token, struct bytes command);
void replica_synced(struct replica *r, uint64_t now_ns, uint64_t cookie, int status);
void replica_transfer(struct replica *r, uint64_t now_ns, uint8_t to);

void replica_probe(const struct replica *r, struct probe *out);
uint64_t replica_matched(const struct replica *r, uint8_t node); /* by the leader; see protocol.h */
uint32_t replica_withheld(const struct replica *r);              /* messages that wait for the disk */
uint64_t replica_state_hash(const struct replica *r);
void replica_visit(const struct replica *r, const struct visitor *v); /* the protocol's own state, once started */
const char *replica_check(const struct replica *r);                   /* local invariants; NULL if they hold */
/* What start() found on disk, for whoever wants to compare it with what was promised: log entries, term, vote,
 * snapshot. */
const struct durable *replica_recovered(const struct replica *r); /* valid inside env.observe of start's effects only */

#endif
