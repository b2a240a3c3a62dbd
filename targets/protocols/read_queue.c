/* The queue of read_queue.h. */
#include "targets/protocols/read_queue.h"
#include "targets/protocols/effects.h"

size_t read_queue_memory(const struct limits *l) {
    return l->reads_max * sizeof(struct read);
}

void read_queue_init(struct read_queue *q, const struct limits *l, void *memory) {
    *q = (struct read_queue){.items = memory, .count_max = l->reads_max};
}

bool read_queue_is_full(const struct read_queue *q) {
    return q->count == q->count_max;
}

void read_queue_add(struct read_queue *q, uint64_t token, uint64_t index, uint64_t round) {
    assert(!read_queue_is_full(q));
    q->items[q->count++] = (struct read){token, index, round};
}

uint64_t read_queue_serve(struct read_queue *q, uint64_t round_confirmed, uint64_t applied, struct effects *fx) {
    uint64_t highest = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        struct read read = q->items[i];
        if (read.round <= round_confirmed && read.index <= applied) {
            effect_read_ready(read.token, read.index, fx);
            continue;
        }
        if (read.round > highest) highest = read.round;
        q->items[kept++] = read;
    }
    q->count = kept;
    return highest;
}

void read_queue_drop(struct read_queue *q, struct effects *fx) {
    for (uint32_t i = 0; i < q->count; i++) effect_respond(q->items[i].token, STATUS_NOT_LEADER, NODE_NONE, fx);
    q->count = 0;
}
