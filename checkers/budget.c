/* The budget of a check: wall time and memory. The clock is read once in 256 steps of an inner loop, which keeps the
 * price of a step below a nanosecond and the overshoot below a millisecond. */
#include "checkers/internal.h"

#include "base/clock.h"

struct budget budget_of(const struct check_options *o) {
    uint64_t deadline_ms = o && o->deadline_ms ? o->deadline_ms : DEADLINE_MS_DEFAULT;
    uint64_t now = monotonic_ns();
    uint64_t room_ms = (UINT64_MAX - now) / NS_PER_MS;
    return (struct budget){
        .start_ns = now,
        .deadline_ns = now + (deadline_ms < room_ms ? deadline_ms : room_ms) * NS_PER_MS,
        .memory_bytes_max = o && o->memory_bytes_max ? o->memory_bytes_max : MEMORY_BYTES_MAX_DEFAULT,
    };
}

struct budget budget_share(const struct budget *whole, uint64_t limit_ns) {
    struct budget share = *whole;
    share.start_ns = monotonic_ns();
    share.state = BUDGET_LEFT;
    share.ticks = 0;
    if (share.start_ns >= whole->deadline_ns) {
        share.state = BUDGET_TIME_SPENT;
    } else if (limit_ns < whole->deadline_ns - share.start_ns) {
        share.deadline_ns = share.start_ns + limit_ns;
    }
    return share;
}

#define EXPLAIN_NS_MAX (10 * NS_PER_S)
#define GRACE_NS_MIN (25 * NS_PER_MS)
#define GRACE_NS_MAX (100 * NS_PER_MS)
#define GRACE_SHARE 20

struct budget budget_to_explain(const struct budget *whole) {
    struct budget b = *whole;
    uint64_t most = monotonic_ns() + EXPLAIN_NS_MAX, grace_ns = (whole->deadline_ns - whole->start_ns) / GRACE_SHARE;
    if (grace_ns < GRACE_NS_MIN) grace_ns = GRACE_NS_MIN;
    if (grace_ns > GRACE_NS_MAX) grace_ns = GRACE_NS_MAX;
    b.deadline_ns = b.deadline_ns < most ? b.deadline_ns + grace_ns : most;
    b.state = BUDGET_LEFT;
    return b;
}

bool budget_spent_now(struct budget *b) {
    if (b->state == BUDGET_LEFT && monotonic_ns() >= b->deadline_ns) b->state = BUDGET_TIME_SPENT;
    return b->state != BUDGET_LEFT;
}

bool budget_claim(struct budget *b, uint64_t bytes) {
    if (bytes > b->memory_bytes_max - b->memory_bytes) {
        if (b->state == BUDGET_LEFT) b->state = BUDGET_MEMORY_SPENT;
        return false;
    }
    b->memory_bytes += bytes;
    return true;
}

bool budget_claim_up_to(struct budget *b, uint64_t *claimed, uint64_t bytes) {
    if (bytes <= *claimed) return true;
    if (!budget_claim(b, bytes - *claimed)) return false;
    *claimed = bytes;
    return true;
}

void budget_release(struct budget *b, uint64_t bytes) {
    assert(bytes <= b->memory_bytes);
    b->memory_bytes -= bytes;
}

void budget_tell(const struct budget *b, struct check_result *out) {
    result_set(out, VERDICT_UNKNOWN, "the %s allowed was spent", b->state == BUDGET_MEMORY_SPENT ? "memory" : "time");
}
