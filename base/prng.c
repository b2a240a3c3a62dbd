/* Seeded random streams: seeding, and draws from the distributions that schedules need. Every draw takes its words from
 * the stream the same way whatever the parameters are, so that switching one probability to zero shifts nothing else. */
#include "base/base.h"

__extension__ typedef unsigned __int128 u128;

#define EXPONENTIAL_MEANS_MAX 32
#define LN2_Q64 UINT64_C(0xb17217f7d1cf79ab)

/* xoshiro's state is filled from SplitMix64, as its authors advise; the stream number is mixed in first, so that
 * neighbouring (seed, stream) pairs share nothing. */
void prng_seed(struct prng *p, uint64_t seed, uint64_t stream) {
    uint64_t x = hash_mix(hash_u64(seed), stream);
    for (size_t i = 0; i < 4; i++) {
        p->s[i] = hash_u64(x);
        x += UINT64_C(0x9e3779b97f4a7c15);
    }
    if (!(p->s[0] | p->s[1] | p->s[2] | p->s[3])) p->s[0] = 1; /* the one state that xoshiro cannot leave */
}

/* Lemire, "Fast Random Integer Generation in an Interval" (2019): unbiased, almost never a division. */
uint64_t prng_below(struct prng *p, uint64_t bound) {
    assert(bound > 0);
    u128 product = (u128)prng_next(p) * bound;
    if ((uint64_t)product < bound) {
        uint64_t threshold = (0 - bound) % bound;
        while ((uint64_t)product < threshold) product = (u128)prng_next(p) * bound;
    }
    return (uint64_t)(product >> 64);
}

uint64_t prng_between(struct prng *p, uint64_t low, uint64_t high) {
    assert(low <= high);
    uint64_t span = high - low;
    return span == UINT64_MAX ? prng_next(p) : low + prng_below(p, span + 1);
}

bool prng_chance(struct prng *p, uint32_t ppm) {
    return prng_below(p, PPM) < ppm;
}

/* Inversion: -ln(u) * mean, with u = x / 2^64 and so -log2(u) = 64 - log2(x). */
uint64_t prng_exponential(struct prng *p, uint64_t mean) {
    uint64_t x = prng_next(p);
    uint64_t bits_q32 = (UINT64_C(32) << 32) - (uint64_t)fixed_log2(x ? x : 1);
    uint64_t means_q32 = (uint64_t)(((u128)bits_q32 * LN2_Q64) >> 64);
    if (means_q32 > (uint64_t)EXPONENTIAL_MEANS_MAX << 32) means_q32 = (uint64_t)EXPONENTIAL_MEANS_MAX << 32;
    u128 result = ((u128)means_q32 * mean) >> 32;
    return result > UINT64_MAX ? UINT64_MAX : (uint64_t)result;
}
