/* The ground floor: known answers where there are some, plain models where there are none. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/base.h"

/* --- errors and memory -------------------------------------------------------------------------------------------- */

static void an_error_may_quote_the_one_it_replaces(void **state) {
    (void)state;
    struct error e;
    assert_int_equal(error_set(&e, "disk %d", 3), -1);
    assert_int_equal(error_set(&e, "node 2: %s", e.text), -1);
    assert_string_equal(e.text, "node 2: disk 3");
    assert_int_equal(error_set(NULL, "nobody asked"), -1);
    char *large = xcalloc(1, 2000);
    memset(large, 'x', 1999);
    error_set(&e, "%s", large);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    free(large);
}

static void an_arena_keeps_its_blocks_over_a_reset(void **state) {
    (void)state;
    struct arena a = {.block_size = 256};
    struct prng p;
    void *first = NULL;
    for (int round = 0; round < 5; round++) {
        uint8_t *memory[100];
        size_t sizes[100];
        prng_seed(&p, 1, 1);
        for (size_t i = 0; i < 100; i++) {
            sizes[i] = prng_below(&p, i % 10 ? 60 : 1000);
            memory[i] = arena_alloc(&a, sizes[i]);
            assert_int_equal((uintptr_t)memory[i] % 16, 0);
            memset(memory[i], (int)i, sizes[i]);
        }
        for (size_t i = 0; i < 100; i++) {
            for (size_t at = 0; at < sizes[i]; at++) assert_int_equal(memory[i][at], i);
        }
        if (round == 0) first = memory[0];
        assert_ptr_equal(memory[0], first);
        arena_reset(&a);
    }
    assert_memory_equal(arena_copy(&a, "copied", 7), "copied", 7);
    arena_free(&a);
    assert_non_null(arena_alloc(&a, 0)); /* usable again */
    arena_free(&a);
}

static void strings_are_formatted_at_their_full_length(void **state) {
    (void)state;
    char *copy = xstrdup("text"), *formatted = xformat("%s-%0500d", copy, 7);
    assert_int_equal(strlen(formatted), 505);
    free(copy);
    free(formatted);
}

/* --- bytes -------------------------------------------------------------------------------------------------------- */

static void a_buffer_of_text_ends_in_a_nul_that_is_not_counted(void **state) {
    (void)state;
    struct buffer b = {0};
    for (int i = 0; i < 100; i++) buffer_printf(&b, "%d,", i);
    assert_int_equal(b.size, 290);
    assert_int_equal(strlen((const char *)b.data), 290);
    buffer_append(&b, NULL, 0);
    buffer_append(&b, "xyz", 3);
    assert_memory_equal(b.data + b.size - 6, "99,xyz", 6);
    buffer_free(&b);
}

static void what_is_written_is_read(void **state) {
    (void)state;
    uint8_t memory[64];
    struct writer w = {memory, 0, sizeof memory, false};
    write_u8(&w, 0x12);
    write_u16(&w, 0x3456);
    write_u32(&w, 0x789abcde);
    write_u64(&w, UINT64_C(0x1122334455667788));
    write_bytes(&w, bytes_str("tail"));
    assert_false(w.failed);
    assert_int_equal(w.size, 1 + 2 + 4 + 8 + 4 + 4);
    assert_int_equal(memory[1], 0x56); /* little-endian */
    struct reader r = {memory, w.size, 0, false};
    assert_int_equal(read_u8(&r), 0x12);
    assert_int_equal(read_u16(&r), 0x3456);
    assert_int_equal(read_u32(&r), 0x789abcde);
    assert_true(read_u64(&r) == UINT64_C(0x1122334455667788));
    assert_true(bytes_equal(read_bytes(&r), bytes_str("tail")));
    assert_false(r.failed);
    assert_int_equal(read_u8(&r), 0);
    assert_true(r.failed);
}

static void overflows_fail_for_good_and_touch_nothing(void **state) {
    (void)state;
    uint8_t memory[8] = {0};
    struct writer w = {memory, 0, 4, false};
    write_u64(&w, UINT64_MAX);
    write_u8(&w, 0xff);
    assert_true(w.failed);
    assert_int_equal(w.size, 0);
    assert_int_equal(memory[0], 0);
    uint8_t lying[] = {0xff, 0xff, 0xff, 0xff, 'x'};
    struct reader r = {lying, sizeof lying, 0, false};
    assert_int_equal(read_bytes(&r).size, 0);
    assert_true(r.failed);
    r.offset = 0;
    assert_int_equal(read_u8(&r), 0);
}

/* --- hashing ------------------------------------------------------------------------------------------------------ */

static void hashes_are_the_published_ones(void **state) {
    (void)state;
    assert_true(hash_bytes(bytes_of(NULL, 0), 0) == UINT64_C(0x2d06800538d394c2));
    assert_true(hash_u64(UINT64_C(1477776061723855037)) == UINT64_C(1985237415132408290));
    assert_true(hash_bytes(bytes_str("a"), 0) != hash_bytes(bytes_str("a"), 1));
    assert_true(hash_mix(hash_mix(0, 1), 2) != hash_mix(hash_mix(0, 2), 1));
}

static void a_map_holds_what_was_put(void **state) {
    (void)state;
    struct map64 m = {0};
    struct prng p;
    static uint64_t naive[3000];
    prng_seed(&p, 1, 1);
    for (int round = 0; round < 3; round++) {
        size_t count = 0;
        memset(naive, 0, sizeof naive);
        assert_null(map64_get(&m, 7));
        for (int i = 0; i < 20000; i++) {
            uint64_t k = prng_below(&p, 3000), key = k % 2 ? k : k << 40;
            bool inserted;
            uint64_t *value = map64_put(&m, key, i % 2 ? &inserted : NULL);
            if (i % 2) assert_int_equal(inserted, naive[k] == 0);
            assert_true(*value == naive[k]);
            count += naive[k] == 0;
            *value = naive[k] = prng_next(&p) | 1;
        }
        assert_int_equal(m.count, count);
        for (uint64_t k = 0; k < 3000; k++) {
            const uint64_t *value = map64_get(&m, k % 2 ? k : k << 40);
            assert_true(naive[k] ? value && *value == naive[k] : !value);
        }
        map64_clear(&m);
    }
    map64_free(&m);
}

/* --- random streams ----------------------------------------------------------------------------------------------- */

static void the_generator_is_xoshiro256_star_star(void **state) {
    (void)state;
    struct prng p = {{1, 2, 3, 4}};
    const uint64_t published[] = {11520, 0, 1509978240, UINT64_C(1215971899390074240)};
    for (size_t i = 0; i < 4; i++) assert_true(prng_next(&p) == published[i]);
}

/* A change here changes every schedule of every seed: it must be meant. */
static void the_draws_of_a_seed_are_fixed_for_ever(void **state) {
    (void)state;
    struct prng p;
    uint64_t hash = 0;
    prng_seed(&p, 42, 7);
    for (int i = 0; i < 1000; i++) {
        hash = hash_mix(hash, prng_below(&p, 1000));
        hash = hash_mix(hash, prng_between(&p, 5, 500000));
        hash = hash_mix(hash, prng_chance(&p, 250000));
        hash = hash_mix(hash, prng_exponential(&p, 1000000));
    }
    struct zipf z;
    zipf_init(&z, 100, 990);
    for (int i = 0; i < 1000; i++) hash = hash_mix(hash, zipf_draw(&z, &p));
    zipf_free(&z);
    assert_true(hash == UINT64_C(0xafc86eff6924e79f));
}

static void streams_of_neighbouring_seeds_share_nothing(void **state) {
    (void)state;
    struct map64 seen = {0};
    for (uint64_t seed = 0; seed < 30; seed++) {
        for (uint64_t stream = 0; stream < 30; stream++) {
            struct prng p;
            prng_seed(&p, seed, stream);
            for (int i = 0; i < 20; i++) {
                bool fresh;
                map64_put(&seen, prng_next(&p), &fresh);
                assert_true(fresh);
            }
        }
    }
    map64_free(&seen);
}

static void draws_below_a_bound_are_unbiased(void **state) {
    (void)state;
    struct prng p;
    prng_seed(&p, 1, 1);
    unsigned counts[7] = {0}, upper = 0;
    for (int i = 0; i < 700000; i++) counts[prng_below(&p, 7)]++;
    for (size_t i = 0; i < 7; i++) assert_in_range(counts[i], 98500, 101500);
    /* With a bound of 3/4 of the range, a plain multiplication or modulo would favour some thirds twofold. */
    for (int i = 0; i < 100000; i++) upper += prng_below(&p, UINT64_C(3) << 62) >= UINT64_C(1) << 63;
    assert_in_range(upper, 32500, 34200);
    for (int i = 0; i < 1000; i++) assert_in_range(prng_between(&p, 10, 12), 10, 12);
    assert_int_equal(prng_between(&p, 9, 9), 9);
    prng_between(&p, 0, UINT64_MAX);
    assert_int_equal(prng_below(&p, 1), 0);
}

static void chances_come_true_as_often_as_they_say(void **state) {
    (void)state;
    struct prng p, q;
    prng_seed(&p, 1, 1);
    unsigned hits = 0;
    for (int i = 0; i < 1000000; i++) hits += prng_chance(&p, 50000);
    assert_in_range(hits, 49000, 51000);
    for (int i = 0; i < 1000; i++) assert_true(!prng_chance(&p, 0) && prng_chance(&p, 1000000));
    q = p;
    prng_chance(&p, 0);
    prng_chance(&q, 999999);
    assert_true(prng_next(&p) == prng_next(&q)); /* the probability does not shift the stream */
}

static void exponential_draws_have_the_right_distribution(void **state) {
    (void)state;
    enum { DRAWS = 2000000 };
    struct prng p;
    prng_seed(&p, 1, 1);
    const uint64_t mean = 1000000;
    double sum = 0, squares = 0, beyond[8] = {0};
    for (int i = 0; i < DRAWS; i++) {
        uint64_t x = prng_exponential(&p, mean);
        assert_true(x <= 32 * mean);
        double means = (double)x / (double)mean;
        sum += means;
        squares += means * means;
        for (int k = 0; k < 8; k++) beyond[k] += means > 0.25 * (1 << k) ? 1 : 0;
    }
    assert_true(fabs(sum / DRAWS - 1) < 0.004);
    assert_true(fabs(squares / DRAWS - 2) < 0.03);
    for (int k = 0; k < 6; k++) {
        double expected = exp(-0.25 * (1 << k));
        assert_true(fabs(beyond[k] / DRAWS - expected) < 5 * sqrt(expected / DRAWS));
    }
    assert_int_equal(prng_exponential(&p, 0), 0);
    for (int i = 0; i < 1000; i++) prng_exponential(&p, UINT64_MAX);
}

/* --- fixed point -------------------------------------------------------------------------------------------------- */

static void logarithms_and_powers_agree_with_libm(void **state) {
    (void)state;
    struct prng p;
    prng_seed(&p, 1, 1);
    for (int i = 0; i < 200000; i++) {
        uint64_t x = prng_next(&p) >> prng_below(&p, 64);
        if (x == 0) x = 1;
        assert_true(fabs((double)fixed_log2(x) / 0x1p32 - (log2((double)x) - 32)) < 0x1p-30);
        int64_t y = (int64_t)prng_below(&p, UINT64_C(64) << 32) - (INT64_C(33) << 32);
        double power = exp2((double)y / 0x1p32) * 0x1p32;
        if (power < 0x1.fffffp63) assert_true(fabs((double)fixed_exp2(y) - power) <= 1 + power * 0x1p-30);
    }
    assert_true(fixed_log2(UINT64_C(1) << 32) == 0);
    assert_true(fixed_log2(1) == -(INT64_C(32) << 32));
    assert_true(fixed_exp2(0) == UINT64_C(1) << 32);
    assert_true(fixed_exp2(INT64_C(32) << 32) == UINT64_MAX);
    assert_true(fixed_exp2(INT64_MAX) == UINT64_MAX);
    assert_true(fixed_exp2(-(INT64_C(34) << 32)) == 0);
    assert_true(fixed_exp2(INT64_MIN) == 0);
}

static void zipf_ranks_come_as_often_as_their_weights(void **state) {
    (void)state;
    const uint32_t exponents[] = {0, 500, 990, 2000};
    for (size_t e = 0; e < 4; e++) {
        struct zipf z;
        struct prng p;
        unsigned counts[100] = {0};
        double total = 0;
        prng_seed(&p, 1, e);
        zipf_init(&z, 100, exponents[e]);
        for (int i = 0; i < 500000; i++) counts[zipf_draw(&z, &p)]++;
        for (int rank = 1; rank <= 100; rank++) total += pow(rank, -(double)exponents[e] / 1000);
        for (int rank = 1; rank <= 100; rank += 9) {
            double expected = 500000 * pow(rank, -(double)exponents[e] / 1000) / total;
            assert_true(fabs(counts[rank - 1] - expected) < 5 * sqrt(expected) + 1);
        }
        zipf_free(&z);
    }
    struct zipf one, many;
    struct prng p;
    prng_seed(&p, 1, 1);
    zipf_init(&one, 1, 990);
    assert_int_equal(zipf_draw(&one, &p), 0);
    zipf_init(&many, 100000, 0);
    assert_true(zipf_draw(&many, &p) < 100000);
    zipf_free(&one);
    zipf_free(&many);
}

/* --- the heap ----------------------------------------------------------------------------------------------------- */

static int compare_items(const void *a, const void *b) {
    const struct heap_item *x = a, *y = b;
    if (x->time_ns != y->time_ns) return x->time_ns < y->time_ns ? -1 : 1;
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

static void items_leave_by_time_and_then_by_sequence(void **state) {
    (void)state;
    enum { ITEMS = 5000 };
    static struct heap_item items[ITEMS];
    struct heap h = {0};
    struct prng p;
    prng_seed(&p, 1, 1);
    assert_null(heap_top(&h));
    for (uint64_t i = 0; i < ITEMS; i++) {
        items[i] = (struct heap_item){prng_below(&p, 500), i, prng_next(&p)};
        if (i % 100 == 0) items[i].time_ns = UINT64_MAX;
        heap_push(&h, items[i]);
    }
    qsort(items, ITEMS, sizeof *items, compare_items);
    for (size_t i = 0; i < ITEMS; i++) {
        assert_memory_equal(heap_top(&h), &items[i], sizeof *items);
        struct heap_item item = heap_pop(&h);
        assert_memory_equal(&item, &items[i], sizeof item);
    }
    assert_int_equal(h.count, 0);
    heap_free(&h);
}

static void a_heap_in_use_never_goes_back_in_time(void **state) {
    (void)state;
    struct heap h = {0};
    struct prng p;
    prng_seed(&p, 1, 1);
    uint64_t sequence = 0, pops = 0;
    struct heap_item last = {0};
    for (int i = 0; i < 200000; i++) {
        if (h.count == 0 || prng_below(&p, 100) < 51) {
            sequence++;
            heap_push(&h, (struct heap_item){last.time_ns + prng_below(&p, 50), sequence, sequence * 3});
        } else {
            struct heap_item item = heap_pop(&h);
            assert_true(compare_items(&last, &item) < 0 || item.time_ns == last.time_ns);
            assert_true(item.payload == item.sequence * 3);
            last = item;
            pops++;
        }
    }
    assert_true(pops > 90000);
    heap_free(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_may_quote_the_one_it_replaces),
        cmocka_unit_test(an_arena_keeps_its_blocks_over_a_reset),
        cmocka_unit_test(strings_are_formatted_at_their_full_length),
        cmocka_unit_test(a_buffer_of_text_ends_in_a_nul_that_is_not_counted),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(overflows_fail_for_good_and_touch_nothing),
        cmocka_unit_test(hashes_are_the_published_ones),
        cmocka_unit_test(a_map_holds_what_was_put),
        cmocka_unit_test(the_generator_is_xoshiro256_star_star),
        cmocka_unit_test(the_draws_of_a_seed_are_fixed_for_ever),
        cmocka_unit_test(streams_of_neighbouring_seeds_share_nothing),
        cmocka_unit_test(draws_below_a_bound_are_unbiased),
        cmocka_unit_test(chances_come_true_as_often_as_they_say),
        cmocka_unit_test(exponential_draws_have_the_right_distribution),
        cmocka_unit_test(logarithms_and_powers_agree_with_libm),
        cmocka_unit_test(zipf_ranks_come_as_often_as_their_weights),
        cmocka_unit_test(items_leave_by_time_and_then_by_sequence),
        cmocka_unit_test(a_heap_in_use_never_goes_back_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
