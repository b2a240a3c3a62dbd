/* The simulated disk: what a crash may take, what it must not, and that each fault really happens. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "nemesis/fault.h"

static const struct disk_crash all_lost = {0, 0}, all_kept = {1000000, 0}, all_torn = {0, 1000000};

struct bench {
    struct sim_disk disk;
    struct prng prng;
    uint64_t syncs_asked;
};

static void on_sync(void *ctx, uint32_t file, uint64_t cookie) {
    (void)file;
    (void)cookie;
    ((struct bench *)ctx)->syncs_asked++;
}

static struct disk *setup(struct bench *b, uint64_t seed) {
    *b = (struct bench){0};
    prng_seed(&b->prng, seed, 1);
    sim_disk_init(&b->disk, &b->prng, on_sync, b);
    return &b->disk.base;
}

static uint32_t open_file(struct disk *d, const char *name) {
    uint32_t file;
    assert_int_equal(d->ops->open(d, name, true, &file), 0);
    return file;
}

static void write_text(struct disk *d, uint32_t file, uint64_t offset, const char *text) {
    assert_int_equal(d->ops->write(d, file, offset, text, strlen(text)), 0);
}

/* The file's contents as a string; NULL when there is no such file. The caller frees. */
static char *contents(struct disk *d, const char *name) {
    uint32_t file;
    uint64_t size;
    if (d->ops->open(d, name, false, &file)) return NULL;
    assert_int_equal(d->ops->size(d, file, &size), 0);
    char *text = xcalloc(1, (size_t)size + 1);
    assert_int_equal(d->ops->read(d, file, 0, text, (size_t)size), 0);
    assert_int_equal(d->ops->close(d, file), 0);
    return text;
}

static void expect(struct disk *d, const char *name, const char *wanted) {
    char *found = contents(d, name);
    if (wanted) {
        assert_non_null(found);
        assert_string_equal(found, wanted);
    } else {
        assert_null(found);
    }
    free(found);
}

/* A durable file. */
static void make_file(struct disk *d, const char *name, const char *text) {
    uint32_t file = open_file(d, name);
    write_text(d, file, 0, text);
    assert_int_equal(d->ops->sync_now(d, file), 0);
    assert_int_equal(d->ops->close(d, file), 0);
}

/* --- durability --------------------------------------------------------------------------------------------------- */

static void a_power_loss_takes_what_was_not_synced(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    uint32_t file = open_file(d, "f");
    write_text(d, file, 0, "durable");
    assert_int_equal(d->ops->sync(d, file, 9), 0);
    assert_int_equal(b.syncs_asked, 1);
    assert_int_equal(sim_disk_sync_done(&b.disk, file, 9), 0);
    assert_int_equal(sim_disk_unsynced(&b.disk), 0);
    write_text(d, file, 7, " and not");
    assert_int_equal(sim_disk_unsynced(&b.disk), 1);
    expect(d, "f", "durable and not");
    sim_disk_power_loss(&b.disk, all_lost);
    expect(d, "f", "durable");
    assert_int_equal(b.disk.counters.writes_dropped, 1);
    sim_disk_free(&b.disk);
}

static void a_killed_process_leaves_the_page_cache(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    uint32_t file = open_file(d, "f");
    write_text(d, file, 0, "cached");
    sim_disk_process_crash(&b.disk);
    assert_int_equal(d->ops->write(d, file, 0, "x", 1), -EBADF);
    expect(d, "f", "cached");
    sim_disk_power_loss(&b.disk, all_lost);
    expect(d, "f", NULL);
    sim_disk_free(&b.disk);
}

static void a_sync_covers_only_writes_from_before_its_start(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    uint32_t file = open_file(d, "f");
    write_text(d, file, 0, "before");
    assert_int_equal(d->ops->sync(d, file, 1), 0);
    write_text(d, file, 6, " after");
    write_text(d, file, 0, "B");
    assert_int_equal(sim_disk_sync_done(&b.disk, file, 1), 0);
    expect(d, "f", "Before after");
    assert_int_equal(sim_disk_unsynced(&b.disk), 2);
    sim_disk_power_loss(&b.disk, all_lost);
    expect(d, "f", "before");
    sim_disk_free(&b.disk);
}

static void syncs_may_end_in_any_order(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    uint32_t file = open_file(d, "f");
    write_text(d, file, 0, "one");
    assert_int_equal(d->ops->sync(d, file, 1), 0);
    write_text(d, file, 3, "two");
    assert_int_equal(d->ops->sync(d, file, 2), 0);
    write_text(d, file, 6, "three");
    assert_int_equal(sim_disk_sync_done(&b.disk, file, 2), 0);
    assert_int_equal(sim_disk_sync_done(&b.disk, file, 1), 0);
    assert_int_equal(sim_disk_sync_done(&b.disk, file, 1), -ECANCELED);
    sim_disk_power_loss(&b.disk, all_lost);
    expect(d, "f", "onetwo");
    sim_disk_free(&b.disk);
}

static void a_sync_of_before_a_crash_is_not_one_of_after_it(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    uint32_t old = open_file(d, "f");
    write_text(d, old, 0, "old");
    assert_int_equal(d->ops->sync(d, old, 1), 0);
    sim_disk_process_crash(&b.disk);
    uint32_t new = open_file(d, "f");
    assert_int_equal(d->ops->sync(d, new, 1), 0); /* the same cookie */
    assert_int_equal(sim_disk_sync_done(&b.disk, old, 1), -ECANCELED);
    assert_int_equal(sim_disk_sync_done(&b.disk, new, 1), 0);
    sim_disk_power_loss(&b.disk, all_lost);
    expect(d, "f", "old");
    sim_disk_free(&b.disk);
}

static void a_truncation_is_durable_after_a_sync_only(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    make_file(d, "f", "0123456789");
    uint32_t file = open_file(d, "f");
    assert_int_equal(d->ops->truncate(d, file, 4), 0);
    expect(d, "f", "0123");
    sim_disk_power_loss(&b.disk, all_lost);
    expect(d, "f", "0123456789");
    file = open_file(d, "f");
    assert_int_equal(d->ops->truncate(d, file, 4), 0);
    write_text(d, file, 4, "xy");
    assert_int_equal(d->ops->sync_now(d, file), 0);
    sim_disk_power_loss(&b.disk, all_lost);
    expect(d, "f", "0123xy");
    sim_disk_free(&b.disk);
}

/* --- fates -------------------------------------------------------------------------------------------------------- */

static void each_unsynced_write_meets_its_own_fate(void **state) {
    (void)state;
    enum { WRITES = 3 };
    bool seen[1 << WRITES] = {false};
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct bench b;
        struct disk *d = setup(&b, seed);
        make_file(d, "f", "...");
        uint32_t file = open_file(d, "f");
        for (uint64_t i = 0; i < WRITES; i++) write_text(d, file, i, "x");
        sim_disk_power_loss(&b.disk, (struct disk_crash){500000, 0});
        char *text = contents(d, "f");
        size_t kept = 0;
        for (size_t i = 0; i < WRITES; i++) kept |= (size_t)(text[i] == 'x') << i;
        seen[kept] = true;
        assert_int_equal(b.disk.counters.writes_kept + b.disk.counters.writes_dropped, WRITES);
        free(text);
        sim_disk_free(&b.disk);
    }
    for (size_t i = 0; i < sizeof seen; i++) assert_true(seen[i]); /* a later write without an earlier one, too */
}

static void a_torn_write_leaves_some_whole_sectors(void **state) {
    (void)state;
    enum { SECTORS = 4, SIZE = SECTORS * DISK_SECTOR_BYTES };
    bool seen[1 << SECTORS] = {false};
    for (uint64_t seed = 0; seed < 500; seed++) {
        struct bench b;
        struct disk *d = setup(&b, seed);
        static uint8_t data[SIZE];
        uint32_t file = open_file(d, "f");
        memset(data, 'a', SIZE);
        assert_int_equal(d->ops->write(d, file, 0, data, SIZE), 0);
        assert_int_equal(d->ops->sync_now(d, file), 0);
        memset(data, 'b', SIZE);
        assert_int_equal(d->ops->write(d, file, 0, data, SIZE), 0);
        sim_disk_power_loss(&b.disk, all_torn);
        assert_int_equal(b.disk.counters.writes_torn, 1);
        char *text = contents(d, "f");
        size_t arrived = 0;
        for (size_t s = 0; s < SECTORS; s++) {
            const char *sector = text + s * DISK_SECTOR_BYTES;
            for (size_t i = 1; i < DISK_SECTOR_BYTES; i++) assert_int_equal(sector[i], sector[0]);
            arrived |= (size_t)(sector[0] == 'b') << s;
        }
        seen[arrived] = true;
        free(text);
        sim_disk_free(&b.disk);
    }
    assert_false(seen[(1 << SECTORS) - 1]); /* that would be a write that was kept */
    for (size_t i = 0; i < (1 << SECTORS) - 1; i++) assert_true(seen[i]);
}

static void a_torn_append_may_leave_zeros_or_a_short_file(void **state) {
    (void)state;
    unsigned zeros = 0, shorter = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct bench b;
        struct disk *d = setup(&b, seed);
        make_file(d, "f", "head");
        write_text(d, open_file(d, "f"), 4, "tail");
        sim_disk_power_loss(&b.disk, all_torn);
        uint32_t file = open_file(d, "f");
        uint64_t size;
        assert_int_equal(d->ops->size(d, file, &size), 0);
        *(size == 8 ? &zeros : &shorter) += 1;
        expect(d, "f", "head"); /* zeros end the string as well */
        sim_disk_free(&b.disk);
    }
    assert_true(zeros > 20 && shorter > 20);
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static void names_are_listed_in_bytewise_order(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    const char *const names[] = {"b", "a", "B", "ab", "\xff", "b0"}, *const sorted[] = {"B", "a",  "ab",
                                                                                        "b", "b0", "\xff"};
    for (size_t i = 0; i < 6; i++) open_file(d, names[i]);
    char found[8][DISK_NAME_MAX + 1];
    assert_int_equal(d->ops->list(d, found, 8), 6);
    for (size_t i = 0; i < 6; i++) assert_string_equal(found[i], sorted[i]);
    assert_int_equal(d->ops->list(d, found, 2), 6); /* how many there are, not how many fit */
    sim_disk_free(&b.disk);
}

static void a_sync_of_a_new_file_makes_its_name_durable(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    make_file(d, "synced", "s");
    write_text(d, open_file(d, "other"), 0, "o");
    sim_disk_power_loss(&b.disk, all_lost);
    expect(d, "synced", "s");
    expect(d, "other", NULL);
    sim_disk_free(&b.disk);
}

static void renames_and_removals_are_durable_after_sync_dir(void **state) {
    (void)state;
    for (int synced = 0; synced < 2; synced++) {
        struct bench b;
        struct disk *d = setup(&b, 1);
        make_file(d, "a", "A");
        make_file(d, "b", "B");
        make_file(d, "c", "C");
        assert_int_equal(d->ops->rename(d, "a", "b"), 0);
        assert_int_equal(d->ops->remove(d, "c"), 0);
        assert_int_equal(d->ops->remove(d, "c"), -ENOENT);
        assert_int_equal(d->ops->rename(d, "c", "d"), -ENOENT);
        expect(d, "a", NULL);
        expect(d, "b", "A");
        if (synced) assert_int_equal(d->ops->sync_dir(d), 0);
        sim_disk_power_loss(&b.disk, all_lost);
        expect(d, "a", synced ? NULL : "A");
        expect(d, "b", synced ? "A" : "B");
        expect(d, "c", synced ? NULL : "C");
        sim_disk_free(&b.disk);
    }
}

static void a_torn_rename_leaves_both_names(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    make_file(d, "a", "A");
    assert_int_equal(d->ops->rename(d, "a", "b"), 0);
    sim_disk_power_loss(&b.disk, all_torn);
    expect(d, "a", "A");
    expect(d, "b", "A");
    sim_disk_free(&b.disk);
}

static void a_new_file_is_safe_from_the_removal_of_its_predecessor(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct bench b;
        struct disk *d = setup(&b, seed);
        make_file(d, "f", "old");
        make_file(d, "g", "moved over it");
        assert_int_equal(d->ops->rename(d, "g", "f"), 0);
        assert_int_equal(d->ops->remove(d, "f"), 0);
        make_file(d, "f", "new");
        sim_disk_power_loss(&b.disk, (struct disk_crash){500000, 250000});
        expect(d, "f", "new");
        sim_disk_free(&b.disk);
    }
}

static void an_open_file_outlives_its_name(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    uint32_t file = open_file(d, "f");
    write_text(d, file, 0, "data");
    assert_int_equal(d->ops->remove(d, "f"), 0);
    open_file(d, "g");
    char text[5] = {0};
    assert_int_equal(d->ops->read(d, file, 0, text, 4), 0);
    assert_string_equal(text, "data");
    sim_disk_free(&b.disk);
}

/* --- conditions --------------------------------------------------------------------------------------------------- */

static void a_failed_sync_may_have_lost_what_the_cache_still_shows(void **state) {
    (void)state;
    unsigned lost = 0, survived = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct bench b;
        struct disk *d = setup(&b, seed);
        make_file(d, "f", "....");
        uint32_t file = open_file(d, "f");
        write_text(d, file, 0, "data");
        b.disk.condition.sync_error_ppm = 1000000;
        assert_int_equal(d->ops->sync(d, file, 1), 0);
        assert_int_equal(sim_disk_sync_done(&b.disk, file, 1), -EIO);
        assert_int_equal(b.disk.counters.sync_errors, 1);
        b.disk.condition.sync_error_ppm = 0;
        expect(d, "f", "data");
        assert_int_equal(d->ops->sync_now(d, file), 0); /* a second sync finds nothing to do, and says so */
        sim_disk_power_loss(&b.disk, all_kept);
        char *text = contents(d, "f");
        *(strcmp(text, "data") == 0 ? &survived : &lost) += 1;
        free(text);
        sim_disk_free(&b.disk);
    }
    assert_true(lost > 20 && survived > 20);
}

static void failed_writes_write_nothing(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    make_file(d, "f", "0123");
    uint32_t file = open_file(d, "f");
    b.disk.condition.write_error_ppm = 1000000;
    assert_int_equal(d->ops->write(d, file, 0, "x", 1), -EIO);
    b.disk.condition = (struct disk_condition){.capacity_bytes = 6};
    assert_int_equal(d->ops->write(d, file, 3, "3456", 4), -ENOSPC);
    assert_int_equal(b.disk.counters.write_errors, 2);
    write_text(d, file, 3, "345");
    assert_int_equal(d->ops->write(d, open_file(d, "g"), 0, "x", 1), -ENOSPC);
    assert_int_equal(d->ops->remove(d, "f"), 0);
    assert_int_equal(d->ops->close(d, file), 0);
    assert_int_equal(d->ops->sync_dir(d), 0); /* now the file is gone from everywhere */
    write_text(d, open_file(d, "g"), 0, "123456");
    assert_int_equal(d->ops->truncate(d, open_file(d, "g"), 7), -ENOSPC);
    sim_disk_free(&b.disk);
}

static void a_lying_sync_makes_nothing_durable(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    make_file(d, "f", "old");
    make_file(d, "g", "G");
    uint32_t file = open_file(d, "f");
    write_text(d, file, 0, "lie");
    b.disk.condition.sync_lie_ppm = 1000000;
    assert_int_equal(d->ops->sync(d, file, 1), 0);
    assert_int_equal(sim_disk_sync_done(&b.disk, file, 1), 0);
    assert_int_equal(d->ops->sync_now(d, file), 0);
    assert_int_equal(d->ops->rename(d, "g", "h"), 0);
    assert_int_equal(d->ops->sync_dir(d), 0);
    make_file(d, "new", "N");
    assert_int_equal(b.disk.counters.syncs_lied, 4);
    assert_int_equal(b.disk.counters.sync_errors, 0);
    assert_true(sim_disk_unsynced(&b.disk) > 0);
    expect(d, "f", "lie"); /* the cache shows it all */
    expect(d, "h", "G");
    expect(d, "new", "N");
    sim_disk_power_loss(&b.disk, all_lost);
    expect(d, "f", "old");
    expect(d, "g", "G");
    expect(d, "h", NULL);
    expect(d, "new", NULL);
    sim_disk_free(&b.disk);
}

static void an_honest_sync_makes_up_for_a_lie(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    uint32_t file = open_file(d, "f");
    write_text(d, file, 0, "data");
    b.disk.condition.sync_lie_ppm = 1000000;
    assert_int_equal(d->ops->sync_now(d, file), 0);
    b.disk.condition.sync_lie_ppm = 0;
    assert_int_equal(d->ops->sync_now(d, file), 0);
    assert_int_equal(sim_disk_unsynced(&b.disk), 0);
    sim_disk_power_loss(&b.disk, all_lost);
    expect(d, "f", "data");
    sim_disk_free(&b.disk);
}

static void as_many_syncs_lie_as_asked_for(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    uint32_t file = open_file(d, "f"), lied = 0;
    b.disk.condition.sync_lie_ppm = 300000;
    for (uint32_t i = 0; i < 2000; i++) {
        write_text(d, file, 0, "x");
        uint64_t before = sim_disk_unsynced(&b.disk);
        assert_int_equal(d->ops->sync_now(d, file), 0);
        lied += sim_disk_unsynced(&b.disk) == before;
    }
    assert_int_equal(b.disk.counters.syncs_lied, lied);
    assert_in_range(lied, 600 - 123, 600 + 123); /* six standard deviations */
    sim_disk_free(&b.disk);
}

static void failed_reads_say_so_and_harm_nothing(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    make_file(d, "f", "data");
    uint32_t file = open_file(d, "f"), failed = 0;
    char text[5] = {0};
    b.disk.condition.read_error_ppm = 200000;
    for (uint32_t i = 0; i < 2000; i++) {
        int status = d->ops->read(d, file, 0, text, 4);
        assert_true(status == 0 || status == -EIO);
        if (status == 0) assert_string_equal(text, "data");
        failed += status != 0;
    }
    assert_in_range(failed, 400 - 108, 400 + 108);
    assert_int_equal(b.disk.counters.read_errors, failed);
    assert_int_equal(b.disk.counters.reads, 2000);
    b.disk.condition.read_error_ppm = 0;
    expect(d, "f", "data");
    sim_disk_free(&b.disk);
}

static void a_rotten_read_is_one_bit_off_and_the_disk_is_not(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    make_file(d, "f", "01234567");
    uint32_t file = open_file(d, "f"), rotten = 0;
    bool seen[64] = {false};
    uint8_t right[8], found[8];
    memcpy(right, "01234567", 8);
    b.disk.condition.read_rot_ppm = 500000;
    for (uint32_t i = 0; i < 2000; i++) {
        int bits = 0;
        assert_int_equal(d->ops->read(d, file, 0, found, 8), 0);
        for (size_t bit = 0; bit < 64; bit++) {
            if (!((found[bit / 8] ^ right[bit / 8]) >> bit % 8 & 1)) continue;
            seen[bit] = true;
            bits++;
        }
        assert_true(bits <= 1);
        rotten += bits == 1;
    }
    for (size_t bit = 0; bit < 64; bit++) assert_true(seen[bit]);
    assert_in_range(rotten, 1000 - 135, 1000 + 135);
    assert_int_equal(b.disk.counters.bits_rotted, rotten);
    assert_int_equal(d->ops->read(d, file, 0, found, 0), 0); /* nothing of nothing */
    b.disk.condition.read_rot_ppm = 0;
    expect(d, "f", "01234567");
    sim_disk_power_loss(&b.disk, all_lost);
    expect(d, "f", "01234567");
    sim_disk_free(&b.disk);
}

static void two_conditions_add_up(void **state) {
    (void)state;
    struct disk_condition a = {.sync_error_ppm = 500000,
                               .sync_stall_ns = 5,
                               .capacity_bytes = 7,
                               .sync_lie_ppm = 500000,
                               .read_error_ppm = 200000,
                               .read_rot_ppm = 1000000,
                               .io_delay_ns = 3};
    struct disk_condition b = {.sync_stall_ns = 6,
                               .capacity_bytes = 4,
                               .sync_lie_ppm = 500000,
                               .read_error_ppm = 500000,
                               .read_rot_ppm = 1,
                               .io_delay_ns = 4};
    struct disk_condition sum = disk_condition_add(a, b);
    assert_int_equal(sum.sync_error_ppm, 500000);
    assert_int_equal(sum.write_error_ppm, 0);
    assert_int_equal(sum.sync_stall_ns, 11);
    assert_int_equal(sum.capacity_bytes, 4);
    assert_int_equal(sum.sync_lie_ppm, 750000);
    assert_int_equal(sum.read_error_ppm, 600000);
    assert_int_equal(sum.read_rot_ppm, 1000000);
    assert_int_equal(sum.io_delay_ns, 7);
    assert_int_equal(disk_condition_add((struct disk_condition){0}, b).capacity_bytes, 4);
}

static void reads_past_the_end_fail(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    make_file(d, "f", "0123");
    uint32_t file = open_file(d, "f");
    char data[8];
    assert_int_equal(d->ops->read(d, file, 4, data, 0), 0);
    assert_int_equal(d->ops->read(d, file, 1, data, 4), -EIO);
    assert_int_equal(d->ops->read(d, file, UINT64_MAX, data, 2), -EIO);
    assert_int_equal(d->ops->write(d, file, UINT64_MAX, data, 2), -EFBIG);
    assert_int_equal(d->ops->open(d, "none", false, &file), -ENOENT);
    assert_int_equal(d->ops->open(d, "a/b", true, &file), -EINVAL);
    sim_disk_free(&b.disk);
}

static void rot_flips_exactly_one_durable_bit(void **state) {
    (void)state;
    struct bench b;
    struct disk *d = setup(&b, 1);
    assert_false(sim_disk_rot(&b.disk));
    write_text(d, open_file(d, "cached"), 0, "not durable");
    assert_false(sim_disk_rot(&b.disk));
    make_file(d, "f", "ffff");
    make_file(d, "g", "gggggggg");
    uint8_t before[12] = "ffffgggggggg", after[12];
    uint32_t f = open_file(d, "f"), g = open_file(d, "g");
    for (unsigned i = 1; i <= 100; i++) {
        assert_true(sim_disk_rot(&b.disk));
        assert_int_equal(b.disk.counters.bits_rotted, i);
        assert_int_equal(d->ops->read(d, f, 0, after, 4), 0);
        assert_int_equal(d->ops->read(d, g, 0, after + 4, 8), 0);
        int bits = 0;
        for (size_t at = 0; at < sizeof after; at++) bits += __builtin_popcount(after[at] ^ before[at]);
        assert_int_equal(bits, 1);
        memcpy(before, after, sizeof before);
    }
    sim_disk_power_loss(&b.disk, all_lost); /* it was the durable bytes that rotted */
    f = open_file(d, "f");
    assert_int_equal(d->ops->read(d, f, 0, after, 4), 0);
    assert_memory_equal(after, before, 4);
    sim_disk_free(&b.disk);
}

/* --- repetition --------------------------------------------------------------------------------------------------- */

static uint64_t busy_day(struct bench *b, uint64_t seed) {
    struct disk *d = &b->disk.base;
    struct prng choices;
    prng_seed(&b->prng, seed, 1);
    prng_seed(&choices, seed, 2);
    b->disk.condition.sync_error_ppm = 100000;
    uint64_t hash = 0;
    for (uint64_t i = 0; i < 2000; i++) {
        char name[2] = {(char)('a' + prng_below(&choices, 6)), 0}, to[2] = {(char)('a' + prng_below(&choices, 6)), 0};
        uint32_t file;
        if (d->ops->open(d, name, prng_below(&choices, 2), &file) == 0) {
            write_text(d, file, prng_below(&choices, 3000), "some bytes");
            if (prng_below(&choices, 4) == 0) hash = hash_mix(hash, (uint64_t)d->ops->sync(d, file, i) + file);
            if (prng_below(&choices, 8) == 0) hash = hash_mix(hash, (uint64_t)sim_disk_sync_done(&b->disk, file, i));
            if (prng_below(&choices, 9) == 0) hash = hash_mix(hash, (uint64_t)d->ops->truncate(d, file, i % 2000));
            d->ops->close(d, file);
        }
        if (prng_below(&choices, 20) == 0) hash = hash_mix(hash, (uint64_t)d->ops->rename(d, name, to));
        if (prng_below(&choices, 20) == 0) hash = hash_mix(hash, (uint64_t)d->ops->remove(d, name));
        if (prng_below(&choices, 50) == 0) hash = hash_mix(hash, (uint64_t)d->ops->sync_dir(d));
        if (prng_below(&choices, 50) == 0) sim_disk_rot(&b->disk);
        if (prng_below(&choices, 80) == 0) sim_disk_process_crash(&b->disk);
        if (prng_below(&choices, 80) == 0) sim_disk_power_loss(&b->disk, (struct disk_crash){400000, 300000});
        char names[8][DISK_NAME_MAX + 1];
        int count = d->ops->list(d, names, 8);
        for (int n = 0; n < count; n++) {
            uint64_t size;
            assert_int_equal(d->ops->open(d, names[n], false, &file), 0);
            assert_int_equal(d->ops->size(d, file, &size), 0);
            hash = hash_mix(hash, size + (uint64_t)names[n][0]);
            d->ops->close(d, file);
        }
    }
    return hash_mix(hash, b->disk.counters.writes_torn);
}

static void a_cleared_disk_repeats_what_a_new_one_did(void **state) {
    (void)state;
    struct bench used;
    setup(&used, 0);
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct bench fresh;
        setup(&fresh, 0);
        uint64_t hash = busy_day(&fresh, seed);
        assert_true(busy_day(&used, seed) == hash);
        sim_disk_clear(&used.disk);
        assert_int_equal(used.disk.counters.writes, 0);
        assert_int_equal(used.disk.condition.sync_error_ppm, 0);
        assert_int_equal(sim_disk_unsynced(&used.disk), 0);
        sim_disk_free(&fresh.disk);
    }
    sim_disk_free(&used.disk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_power_loss_takes_what_was_not_synced),
        cmocka_unit_test(a_killed_process_leaves_the_page_cache),
        cmocka_unit_test(a_sync_covers_only_writes_from_before_its_start),
        cmocka_unit_test(syncs_may_end_in_any_order),
        cmocka_unit_test(a_sync_of_before_a_crash_is_not_one_of_after_it),
        cmocka_unit_test(a_truncation_is_durable_after_a_sync_only),
        cmocka_unit_test(each_unsynced_write_meets_its_own_fate),
        cmocka_unit_test(a_torn_write_leaves_some_whole_sectors),
        cmocka_unit_test(a_torn_append_may_leave_zeros_or_a_short_file),
        cmocka_unit_test(names_are_listed_in_bytewise_order),
        cmocka_unit_test(a_sync_of_a_new_file_makes_its_name_durable),
        cmocka_unit_test(renames_and_removals_are_durable_after_sync_dir),
        cmocka_unit_test(a_torn_rename_leaves_both_names),
        cmocka_unit_test(a_new_file_is_safe_from_the_removal_of_its_predecessor),
        cmocka_unit_test(an_open_file_outlives_its_name),
        cmocka_unit_test(a_failed_sync_may_have_lost_what_the_cache_still_shows),
        cmocka_unit_test(failed_writes_write_nothing),
        cmocka_unit_test(a_lying_sync_makes_nothing_durable),
        cmocka_unit_test(an_honest_sync_makes_up_for_a_lie),
        cmocka_unit_test(as_many_syncs_lie_as_asked_for),
        cmocka_unit_test(failed_reads_say_so_and_harm_nothing),
        cmocka_unit_test(a_rotten_read_is_one_bit_off_and_the_disk_is_not),
        cmocka_unit_test(two_conditions_add_up),
        cmocka_unit_test(reads_past_the_end_fail),
        cmocka_unit_test(rot_flips_exactly_one_durable_bit),
        cmocka_unit_test(a_cleared_disk_repeats_what_a_new_one_did),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
