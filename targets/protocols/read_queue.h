/* read_queue: reads that wait until a round of the quorum has confirmed what they rest on, and until that is applied
 * here. Many reads share a round; a round that was begun before a read was asked proves nothing for it. */
#ifndef HARROW_TARGETS_READ_QUEUE_H
#define HARROW_TARGETS_READ_QUEUE_H

#include "targets/protocols/protocol.h"

struct read {
    uint64_t token;
    uint64_t index; /* what has to be applied */
    uint64_t round; /* which has to be confirmed; 0: none */
};
struct read_queue {
    struct read *items; /* the protocol's memory, read_queue_memory() bytes */
    uint32_t count, count_max;
};

size_t read_queue_memory(const struct limits *l);
void read_queue_init(struct read_queue *q, const struct limits *l, void *memory);
bool read_queue_is_full(const struct read_queue *q);
void read_queue_add(struct read_queue *q, uint64_t token, uint64_t index, uint64_t round);
/* Serves what has waited long enough. Returns the highest round that others still wait for. */
uint64_t read_queue_serve(struct read_queue *q, uint64_t round_confirmed, uint64_t applied, struct effects *fx);
/* Refuses all, as a replica does that leads no more. */
void read_queue_drop(struct read_queue *q, struct effects *fx);

#endif
