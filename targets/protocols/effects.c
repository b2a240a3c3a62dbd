/* The effects of effects.h. */
#include "targets/protocols/effects.h"

void effect_respond(uint64_t token, enum status status, uint8_t leader, struct effects *fx) {
    struct effect *e = effect_add(fx, EFFECT_RESPOND);
    e->token = token;
    e->status = (uint8_t)status;
    e->to = leader;
}

void effect_timer(uint8_t timer, uint64_t delay_ns, struct effects *fx) {
    struct effect *e = effect_add(fx, EFFECT_TIMER);
    e->timer = timer;
    e->delay_ns = delay_ns;
}

void effect_role(uint8_t role, uint64_t term, struct effects *fx) {
    struct effect *e = effect_add(fx, EFFECT_ROLE);
    e->role = role;
    e->term = term;
}

struct effect *effect_fatal(const char *reason, struct effects *fx) {
    struct effect *e = effect_add(fx, EFFECT_FATAL);
    e->reason = reason;
    return e;
}

uint64_t effect_meta(struct bytes meta, uint64_t term, uint8_t vote, struct effects *fx) {
    struct writer w = effects_scratch(fx);
    uint8_t *at = writer_claim(&w, meta.size);
    assert(at);
    memcpy(at, meta.data, meta.size);
    struct effect *e = effect_add(fx, EFFECT_META);
    e->bytes = effects_keep(&w, fx);
    e->written = ++fx->written;
    e->term = term;
    e->to = vote;
    return e->written;
}

struct effect *effect_snapshot_take(uint64_t index, uint64_t term, uint64_t keep_from, struct effects *fx) {
    struct effect *e = effect_add(fx, EFFECT_SNAPSHOT_TAKE);
    e->index = index;
    e->term = term;
    e->token = keep_from;
    e->written = ++fx->written;
    return e;
}
