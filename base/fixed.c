/* Fixed-point logarithm and power of two, and the Zipf distribution built on them. Integers only: libm's results differ
 * between processors, and one different latency is a different schedule. */
#include "base/base.h"

#include <stdlib.h>

__extension__ typedef unsigned __int128 u128;

#define LN2_Q63 UINT64_C(0x58b90bfbe8e7bcd5)
#define ONE_Q63 (UINT64_C(1) << 63)

/* The fraction comes bit by bit: squaring a mantissa in [1, 2) doubles its logarithm. Each squaring doubles the
 * rounding error too, from 2^-63 to about 2^-31 after the 32 that are needed. */
int64_t fixed_log2(uint64_t x_q32) {
    assert(x_q32 > 0);
    int shift = __builtin_clzll(x_q32);
    uint64_t mantissa_q63 = x_q32 << shift;
    uint32_t fraction = 0;
    for (int bit = 0; bit < 32; bit++) {
        u128 square_q126 = (u128)mantissa_q63 * mantissa_q63;
        uint64_t above_two = (uint64_t)(square_q126 >> 127);
        mantissa_q63 = (uint64_t)(square_q126 >> (63 + above_two));
        fraction = fraction << 1 | (uint32_t)above_two;
    }
    return ((int64_t)(31 - shift)) * (INT64_C(1) << 32) + fraction;
}

/* 2^fraction = e^(fraction * ln 2) by its Taylor series in Horner's form; 15 terms leave less than 2^-40. */
uint64_t fixed_exp2(int64_t x_q32) {
    int64_t whole = x_q32 >> 32; /* floor: gcc and clang shift arithmetically */
    uint64_t fraction_q32 = (uint64_t)x_q32 & UINT32_MAX;
    if (whole >= 32) return UINT64_MAX;
    if (whole < -33) return 0;
    uint64_t power_q63 = (uint64_t)(((u128)fraction_q32 * LN2_Q63) >> 32);
    uint64_t sum_q63 = ONE_Q63;
    for (uint64_t term = 15; term >= 1; term--) {
        sum_q63 = ONE_Q63 + (uint64_t)(((u128)power_q63 * sum_q63) >> 63) / term;
    }
    int64_t shift = 31 - whole; /* from Q63 to Q32, times 2^whole: in [0, 64] */
    return (uint64_t)((((u128)sum_q63 << 1) + ((u128)1 << shift)) >> (shift + 1)); /* rounded to nearest */
}

void zipf_init(struct zipf *z, uint32_t n, uint32_t exponent_permille) {
    assert(n > 0);
    /* Weights as large as they can be while n of the largest, rank 0's, still sum without overflow. */
    int64_t scale = 30 - (n > 1 ? 32 - __builtin_clz(n - 1) : 0);
    z->n = n;
    z->cumulative = xmalloc(n * sizeof *z->cumulative);
    uint64_t sum = 0;
    for (uint32_t rank = 0; rank < n; rank++) {
        u128 log2_q32 = (u128)fixed_log2(((uint64_t)rank + 1) << 32);
        uint64_t exponent_q32 = (uint64_t)(log2_q32 * exponent_permille / 1000);
        int64_t power_q32 = scale * (INT64_C(1) << 32) - (int64_t)exponent_q32;
        uint64_t weight = fixed_exp2(power_q32);
        sum += weight ? weight : 1;
        z->cumulative[rank] = sum;
    }
}

uint32_t zipf_draw(const struct zipf *z, struct prng *p) {
    uint64_t at = prng_below(p, z->cumulative[z->n - 1]);
    uint32_t low = 0, high = z->n - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (z->cumulative[middle] > at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

void zipf_free(struct zipf *z) {
    free(z->cumulative);
    *z = (struct zipf){0};
}
