/* Seeded random streams: seeding, and draws from the distributions that schedules need. How many words a
 * draw takes never depends on a probability or a mean, so that switching one to zero shifts nothing else. */
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

/* Knuth, TAOCP volume 2, section 3.4.1, algorithm S: no logarithm, and seven draws in ten take one word. */
uint64_t prng_exponential(struct prng *p, uint64_t mean) {
    uint64_t x = prng_next(p);
    int ones = __builtin_clzll(~x | 1); /* each leading one adds ln 2; what follows the first zero is uniform */
    uint64_t uniform_q64 = x << ones << 1;
    u128 means_q64;
    if (uniform_q64 < LN2_Q64) {
        means_q64 = (u128)(unsigned)ones * LN2_Q64 + uniform_q64;
    } else {
        uint64_t sum = LN2_Q64, term = LN2_Q64, least = UINT64_MAX, draws = 1;
        do { /* sum is ln 2 / 1! + (ln 2)^2 / 2! + ..., which tends to one */
            term = (uint64_t)((u128)term * LN2_Q64 >> 64) / ++draws;
            sum += term;
        } while (uniform_q64 >= sum && term);
        for (; draws; draws--) {
            uint64_t next = prng_next(p);
            if (next < least) least = next;
        }
        means_q64 = (u128)(unsigned)ones * LN2_Q64 + (uint64_t)((u128)least * LN2_Q64 >> 64);
    }
    u128 means_q32 = means_q64 >> 32;
    if (means_q32 > (u128)EXPONENTIAL_MEANS_MAX << 32) means_q32 = (u128)EXPONENTIAL_MEANS_MAX << 32;
    u128 result = means_q32 * mean >> 32;
    return result > UINT64_MAX ? UINT64_MAX : (uint64_t)result;
}
