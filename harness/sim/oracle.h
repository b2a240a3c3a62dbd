/* The oracle: safety invariants of the protocols and the KV, checked online after every event of a simulated node, each
 * in O(1) (amortized over log entries: every entry is looked at a bounded number of times per node). It sees what an
 * outside observer with a view of all disks and all messages would see, and remembers it across crashes; it never asks
 * a replica to judge itself. */
#ifndef HARROW_SIM_ORACLE_H
#define HARROW_SIM_ORACLE_H

#include "targets/node/replica.h"

struct oracle;

struct oracle *oracle_new(void);
void oracle_free(struct oracle *o);
void oracle_reset(struct oracle *o, const struct protocol *p, uint32_t nodes);

/* A node booted with this on its disk. */
void oracle_boot(struct oracle *o, uint8_t node, const struct durable *d);
void oracle_crash(struct oracle *o, uint8_t node); /* what was not durable is gone, or not: the boot tells */
/* The node carries out an effect; a SEND when it really leaves. */
void oracle_effect(struct oracle *o, uint8_t node, const struct effect *e);
void oracle_durable(struct oracle *o, uint8_t node, uint64_t written);
/* After a whole step. */
void oracle_step(struct oracle *o, uint8_t node, const struct probe *p, uint64_t state_hash);

/* Reads in real time: a linearizable read must reflect everything that was answered before it was asked. Of protocols
 * that order all; of the others an index means nothing to another replica. */
void oracle_answered(struct oracle *o, uint64_t index); /* some node answers a write at this log index */
uint64_t oracle_read_floor(const struct oracle *o);     /* what a read asked now must reflect */
void oracle_read(struct oracle *o, uint8_t node, uint64_t floor, uint64_t index);

void oracle_assertion(struct oracle *o, uint8_t node, const char *text); /* a replica's own assertion failed */

/* The first violation: the invariant's name and a sentence; NULL while all hold. */
const char *oracle_violation(const struct oracle *o, const char **invariant);

#endif
