/* Clocks as one number of nanoseconds. */
#include "base/clock.h"

#include "base/base.h"

uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t monotonic_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}
