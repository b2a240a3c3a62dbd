/* effects: those that every protocol makes in the same way. Each function adds one effect to `fx`; what the fields mean
 * stands at the kinds in protocol.h. */
#ifndef HARROW_TARGETS_EFFECTS_H
#define HARROW_TARGETS_EFFECTS_H

#include "targets/protocols/protocol.h"

void effect_respond(uint64_t token, enum status status, uint8_t leader, struct effects *fx);
void effect_timer(uint8_t timer, uint64_t delay_ns, struct effects *fx); /* UINT64_MAX cancels */
void effect_role(uint8_t role, uint64_t term, struct effects *fx);
struct effect *effect_fatal(const char *reason, struct effects *fx);

/* What is left of the scratch memory, to write to. It is taken by effects_keep, which asserts that all has fitted: the
 * protocol's scratch_needed says that it does. */
static inline struct writer effects_scratch(const struct effects *fx) {
    return (struct writer){.data = fx->scratch + fx->scratch_size, .capacity = fx->scratch_capacity - fx->scratch_size};
}

static inline struct bytes effects_keep(const struct writer *w, struct effects *fx) {
    assert(!w->failed && w->data == fx->scratch + fx->scratch_size);
    fx->scratch_size += (uint32_t)w->size;
    return bytes_of(w->data, w->size);
}

static inline void effect_send(uint8_t to, uint8_t message_kind, struct bytes message, uint64_t barrier,
                               struct effects *fx) {
    struct effect *e = effect_add(fx, EFFECT_SEND);
    e->to = to;
    e->message_kind = message_kind;
    e->bytes = message;
    e->barrier = barrier;
}

static inline void effect_read_ready(uint64_t token, uint64_t index, struct effects *fx) {
    struct effect *e = effect_add(fx, EFFECT_READ_READY);
    e->token = token;
    e->index = index;
}

/* Copies `meta`, returns the write number. `vote`: NODE_NONE where nobody votes. */
uint64_t effect_meta(struct bytes meta, uint64_t term, uint8_t vote, struct effects *fx);
/* The log is kept from the entry at `keep_from` on. */
struct effect *effect_snapshot_take(uint64_t index, uint64_t term, uint64_t keep_from, struct effects *fx);

#endif
