/* The write-ahead log against its model: random crashes, broken disks, and every byte of a durable log flipped. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/wal_world.h"

#define SCHEDULES 3000
#define STEPS 400

static const struct disk_crash all_lost = {0, 0}, all_kept = {1000000, 0}, all_torn = {0, 1000000};

static uint32_t choose_seeded(void *ctx, uint32_t bound) {
    return (uint32_t)prng_below(ctx, bound);
}

static struct wal_world *world_new(struct prng *choices, uint64_t seed, uint32_t segment_bytes_max) {
    struct wal_world *x = xmalloc(sizeof *x);
    prng_seed(choices, seed, 2);
    wal_world_init(x, choose_seeded, choices, seed, segment_bytes_max);
    return x;
}

static void world_free(struct wal_world *x) {
    wal_world_free(x);
    free(x);
}

/* --- crashes ------------------------------------------------------------------------------------------------------ */

static void any_crash_keeps_all_durable_writes_and_a_prefix_of_the_rest(void **state) {
    (void)state;
    struct wal_world all = {0};
    uint64_t torn_writes = 0, dropped_writes = 0, *total = (uint64_t *)&all.seen;
    for (uint64_t seed = 1; seed <= SCHEDULES; seed++) {
        struct prng choices;
        uint32_t segment_bytes_max = seed % 4 ? 1 + (uint32_t)(hash_u64(seed) % 8192) : 0;
        struct wal_world *x = world_new(&choices, seed, segment_bytes_max);
        for (int step = 0; step < STEPS; step++) wal_world_step(x);
        wal_world_settle(x);
        wal_world_crash(x, true, all_lost);
        const uint64_t *seen = (const uint64_t *)&x->seen;
        for (size_t i = 0; i < sizeof x->seen / sizeof *seen; i++) total[i] += seen[i];
        torn_writes += x->disk.counters.writes_torn;
        dropped_writes += x->disk.counters.writes_dropped;
        world_free(x);
    }
    print_message("%ju openings, %ju kills, %ju power losses, %ju crashes in recovery, %ju torn tails\n",
                  all.seen.opens, all.seen.process_crashes, all.seen.power_losses, all.seen.crashes_in_recovery,
                  all.seen.torn_tails);
    print_message("%ju writes lost, %ju unsynced kept; on disk %ju torn, %ju dropped; %ju failed syncs, %ju writes\n",
                  all.seen.tail_writes_lost, all.seen.unsynced_kept, torn_writes, dropped_writes,
                  all.seen.sync_failures, all.seen.write_failures);
    print_message("%ju snapshots, %ju resets, %ju gaps, %ju truncations, %ju segments removed\n", all.seen.snapshots,
                  all.seen.resets, all.seen.gaps, all.seen.truncations, all.seen.segments_removed);
    assert_true(torn_writes > 1000 && dropped_writes > 1000);
    for (size_t i = 0; i < sizeof all.seen / sizeof *total; i++)
        assert_true(total[i] > 100); /* each of them happened */
}

static void a_killed_process_loses_nothing_that_was_flushed(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 7, 0);
    wal_world_append(x, 100);
    assert_int_equal(wal_flush(x->wal), 0);
    assert_int_equal(wal_durable(x->wal), 0);
    wal_world_reopen(x);
    assert_int_equal(x->seen.unsynced_kept, 1);
    world_free(x);
}

static void recovery_makes_durable_what_it_returns(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 7, 0);
    wal_world_append(x, 100);
    assert_int_equal(wal_flush(x->wal), 0);
    wal_world_reopen(x); /* the batch was in the page cache only */
    assert_int_equal(sim_disk_unsynced(&x->disk), 0);
    wal_world_crash(x, true, all_lost);
    assert_int_equal(x->now.entries_count, 1);
    world_free(x);
}

/* A failed sync leaves pages that look clean and were never written: the next sync succeeds and does nothing. */
static void data_of_a_failed_sync_is_written_again_before_it_counts_as_durable(void **state) {
    (void)state;
    unsigned lost_by_sync = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct prng choices;
        struct wal_world *x = world_new(&choices, seed, 0);
        wal_world_append(x, 100);
        assert_int_equal(wal_flush(x->wal), 0);
        x->disk.condition.sync_error_ppm = 1000000;
        assert_int_equal(sim_disk_sync_done(&x->disk, x->sync_file, x->sync_cookie), -EIO);
        assert_int_not_equal(wal_on_sync(x->wal, x->sync_cookie, -EIO), 0);
        lost_by_sync += x->disk.counters.writes_dropped > 0;
        x->disk.condition.sync_error_ppm = 0;
        wal_world_reopen(x);
        assert_int_equal(x->now.entries_count, 1); /* the cache still had it, so it was recovered */
        wal_world_crash(x, true, all_lost);
        assert_int_equal(x->now.entries_count, 1);
        world_free(x);
    }
    assert_in_range(lost_by_sync, 10, 40);
}

static void a_failed_sync_fails_the_log_for_good(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 7, 0);
    wal_world_append(x, 10);
    assert_int_equal(wal_flush(x->wal), 0);
    assert_null(wal_error(x->wal));
    assert_int_not_equal(wal_on_sync(x->wal, x->sync_cookie, -EIO), 0);
    assert_non_null(strstr(wal_error(x->wal), "wal-0000000000000001: sync: Input/output error"));
    assert_int_equal(wal_append(x->wal, 2, 1, 0, bytes_str("x")), 2);
    assert_int_not_equal(wal_flush(x->wal), 0);
    assert_int_not_equal(wal_on_sync(x->wal, x->sync_cookie, 0), 0);
    assert_int_equal(wal_durable(x->wal), 0);
    world_free(x);
}

static void a_torn_tail_is_cut_off_physically_and_counted(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 3, 0);
    wal_world_append(x, 100);
    wal_world_settle(x);
    wal_world_reopen(x);
    uint32_t file;
    uint64_t size, after;
    const struct disk_ops *ops = x->disk.base.ops;
    assert_int_equal(ops->open(&x->disk.base, "wal-0000000000000001", false, &file), 0);
    assert_int_equal(ops->size(&x->disk.base, file, &size), 0);
    for (int i = 0; i < 20; i++) wal_world_append(x, 500);
    assert_int_equal(wal_flush(x->wal), 0);
    wal_world_crash(x, true, all_torn);
    assert_int_equal(x->seen.torn_tails, 1);
    assert_int_equal(x->now.entries_count, 1);
    assert_int_equal(ops->open(&x->disk.base, "wal-0000000000000001", false, &file), 0);
    assert_int_equal(ops->size(&x->disk.base, file, &after), 0);
    assert_int_equal(after, size);
    assert_int_equal(sim_disk_unsynced(&x->disk), 0);
    world_free(x);
}

/* --- group commit ------------------------------------------------------------------------------------------------- */

static void writes_that_arrive_during_a_sync_share_the_next_one(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 7, 0);
    uint64_t writes = x->disk.counters.writes;
    wal_world_append(x, 10);
    assert_int_equal(wal_flush(x->wal), 0);
    for (int i = 0; i < 10; i++) {
        wal_world_append(x, 10);
        assert_int_equal(wal_flush(x->wal), 0);
    }
    assert_int_equal(x->disk.counters.writes, writes + 1);
    for (uint64_t durable = 1; durable <= 11; durable += 10) {
        x->sync_pending = false;
        assert_int_equal(sim_disk_sync_done(&x->disk, x->sync_file, x->sync_cookie), 0);
        assert_int_equal(wal_on_sync(x->wal, x->sync_cookie, 0), 0);
        assert_int_equal(wal_durable(x->wal), durable);
    }
    assert_true(wal_idle(x->wal));
    assert_int_equal(x->disk.counters.writes, writes + 2);
    world_free(x);
}

static void a_late_report_of_an_unknown_sync_changes_nothing(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 7, 0);
    wal_world_append(x, 10);
    assert_int_equal(wal_on_sync(x->wal, 1, 0), 0);
    assert_int_equal(wal_flush(x->wal), 0);
    assert_int_equal(wal_on_sync(x->wal, x->sync_cookie + 1, -EIO), 0);
    assert_int_equal(wal_durable(x->wal), 0);
    assert_null(wal_error(x->wal));
    world_free(x);
}

/* --- segments and snapshots --------------------------------------------------------------------------------------- */

static size_t files_on(struct sim_disk *d) {
    char names[64][DISK_NAME_MAX + 1];
    return (size_t)d->base.ops->list(&d->base, names, 64);
}

static void snapshots_let_old_segments_and_old_snapshots_go(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 11, 4096);
    size_t files_max = 0;
    for (uint64_t round = 0; round < 60; round++) {
        for (int i = 0; i < 5; i++) wal_world_append(x, 400);
        wal_world_settle(x);
        uint64_t last = x->now.entries[x->now.entries_count - 1].index;
        wal_world_snapshot(x, last, last - 2, false);
        wal_world_settle(x);
        if (files_on(&x->disk) > files_max) files_max = files_on(&x->disk);
    }
    assert_in_range(files_max, 2, 5);
    assert_true(x->seen.segments_removed > 20);
    wal_world_crash(x, true, all_lost);
    assert_in_range(x->now.entries_count, 3, 3);
    world_free(x);
}

static void a_snapshot_is_durable_before_the_log_names_it(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 5, 0);
    for (int i = 0; i < 4; i++) wal_world_append(x, 50);
    wal_world_snapshot(x, 3, 4, false);
    wal_world_append(x, 50);
    assert_int_equal(wal_flush(x->wal), 0);
    uint64_t durable[4];
    for (size_t i = 0; i < 3; i++) {
        x->sync_pending = false;
        assert_int_equal(sim_disk_sync_done(&x->disk, x->sync_file, x->sync_cookie), 0);
        assert_int_equal(wal_on_sync(x->wal, x->sync_cookie, 0), 0);
        durable[i] = wal_durable(x->wal);
    }
    assert_int_equal(durable[0], 4); /* the entries before it */
    assert_int_equal(durable[1], 4); /* the snapshot's file */
    assert_int_equal(durable[2], 6); /* its record and what follows */
    wal_world_crash(x, true, all_lost);
    assert_int_equal(x->now.snapshot_index, 3);
    assert_int_equal(x->now.entries_count, 2);
    world_free(x);
}

static void meta_survives_the_deletion_of_the_segment_it_was_written_in(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 5, 1);
    struct wal_recovered r;
    struct error e;
    assert_int_equal(wal_meta(x->wal, bytes_str("term 7, vote 2")), 1);
    for (uint64_t i = 1; i <= 10; i++) {
        wal_append(x->wal, i, 7, 0, bytes_str("entry"));
        wal_world_settle(x);
    }
    wal_snapshot(x->wal, 10, 7, bytes_str("all ten"), 10, false);
    wal_world_settle(x);
    assert_int_equal(files_on(&x->disk),
                     3); /* the segment of entry 10, the one of the snapshot's record, the snapshot */
    wal_close(x->wal);
    sim_disk_power_loss(&x->disk, all_lost);
    assert_int_equal(wal_open(&x->disk.base, x->options, &x->wal, &r, &e), WAL_OK);
    assert_true(bytes_equal(bytes_of(r.meta, r.meta_size), bytes_str("term 7, vote 2")));
    assert_true(bytes_equal(r.snapshot, bytes_str("all ten")));
    assert_int_equal(r.entries_count, 1);
    assert_int_equal(r.entries[0].index, 10);
    wal_recovered_free(&r);
    world_free(x);
}

static void an_installed_snapshot_lets_all_older_segments_go(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 5, 1);
    for (uint64_t i = 1; i <= 10; i++) {
        wal_append(x->wal, i, 1, 0, bytes_str("of a deposed leader"));
        wal_world_settle(x);
    }
    wal_snapshot(x->wal, 5, 2, bytes_str("installed"), 6, true);
    wal_world_settle(x);
    assert_int_equal(files_on(&x->disk), 2);
    wal_append(x->wal, 6, 2, 0, bytes_str("of the new one"));
    wal_world_settle(x);
    struct wal_recovered r;
    wal_close(x->wal);
    sim_disk_power_loss(&x->disk, all_lost);
    assert_int_equal(wal_open(&x->disk.base, x->options, &x->wal, &r, NULL), WAL_OK);
    assert_int_equal(r.entries_count, 1);
    assert_int_equal(r.entries[0].index, 6);
    wal_recovered_free(&r);
    world_free(x);
}

static void a_truncation_below_the_first_entry_empties_the_log(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 5, 0);
    for (uint64_t i = 5; i <= 8; i++) wal_append(x->wal, i, 1, 0, bytes_str("old"));
    wal_truncate(x->wal, 3);
    for (uint64_t i = 3; i <= 6; i++) wal_append(x->wal, i, 2, 0, bytes_str("new"));
    wal_world_settle(x);
    struct wal_recovered r;
    wal_close(x->wal);
    sim_disk_power_loss(&x->disk, all_lost);
    assert_int_equal(wal_open(&x->disk.base, x->options, &x->wal, &r, NULL), WAL_OK);
    assert_int_equal(r.entries_count, 4);
    assert_int_equal(r.entries[0].index, 3);
    assert_int_equal(r.entries[3].term, 2);
    wal_recovered_free(&r);
    world_free(x);
}

static void files_that_are_not_the_logs_are_left_alone(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 5, 0);
    uint32_t file;
    assert_int_equal(x->disk.base.ops->open(&x->disk.base, "wal-notes.txt", true, &file), 0);
    assert_int_equal(x->disk.base.ops->open(&x->disk.base, "snap-0000000000000009", true, &file), 0);
    wal_world_append(x, 5);
    wal_world_settle(x);
    wal_world_reopen(x);
    assert_int_equal(files_on(&x->disk), 2); /* the notes and a segment; the orphaned snapshot is gone */
    world_free(x);
}

/* --- corruption --------------------------------------------------------------------------------------------------- */

struct durable_log {
    struct disk_image image;
    struct model_state whole, without_last_batch;
    char last_segment[DISK_NAME_MAX + 1];
    size_t last_batch_at; /* in the last segment */
};

static size_t size_of_last(struct sim_disk *d, char name[DISK_NAME_MAX + 1]) {
    struct disk_image image;
    disk_image_take(&image, d);
    size_t at = 0;
    for (size_t i = 0; i < image.count; i++) {
        if (strncmp(image.names[i], "wal-", 4) == 0) at = i;
    }
    size_t size = image.contents[at].size;
    strcpy(name, image.names[at]);
    disk_image_free(&image);
    return size;
}

/* Several segments with several batches each, metas, truncations and a snapshot. */
static void build_durable_log(struct durable_log *log, uint64_t seed) {
    struct prng choices;
    struct wal_world *x = world_new(&choices, seed, 700);
    for (uint64_t i = 0; i < 14; i++) {
        for (uint64_t j = 0; j <= i % 3; j++) wal_world_append(x, 30 + (uint32_t)i);
        if (i == 6) wal_world_snapshot(x, x->now.entries[8].index, x->now.entries[2].index, false);
        wal_world_settle(x);
    }
    char name[DISK_NAME_MAX + 1];
    do { /* until the last segment has more than one batch */
        log->without_last_batch = x->now;
        log->last_batch_at = size_of_last(&x->disk, log->last_segment);
        wal_world_append(x, 60);
        wal_world_settle(x);
        size_of_last(&x->disk, name);
    } while (strcmp(name, log->last_segment) != 0);
    log->whole = x->now;
    disk_image_take(&log->image, &x->disk);
    assert_true(log->image.count >= 3);
    world_free(x);
}

static enum wal_status open_image(const struct disk_image *image, struct sim_disk *d, struct wal_recovered *r,
                                  struct error *e) {
    struct wal *w;
    disk_image_load(image, d);
    enum wal_status status = wal_open(&d->base, (struct wal_options){700}, &w, r, e);
    wal_close(w);
    return status;
}

static void a_flipped_byte_is_found_or_harmless_never_believed(void **state) {
    (void)state;
    struct prng disk_prng;
    struct sim_disk d;
    prng_seed(&disk_prng, 1, 1);
    sim_disk_init(&d, &disk_prng, NULL, NULL);
    uint64_t refused = 0, cut_off = 0, equal = 0;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct durable_log *log = xmalloc(sizeof *log);
        build_durable_log(log, seed);
        for (size_t f = 0; f < log->image.count; f++) {
            bool last_segment = strcmp(log->image.names[f], log->last_segment) == 0;
            for (size_t at = 0; at < log->image.contents[f].size; at++) {
                uint8_t *byte = &log->image.contents[f].data[at], before = *byte;
                *byte = (uint8_t)(before ^ (1U << prng_below(&disk_prng, 8)));
                struct wal_recovered r;
                struct error e;
                enum wal_status status = open_image(&log->image, &d, &r, &e);
                *byte = before;
                if (status == WAL_OK && last_segment && at >= log->last_batch_at) {
                    assert_true(r.torn_bytes > 0); /* no log that stands alone can tell this from a torn write */
                    assert_true(model_matches(&log->without_last_batch, &r));
                    cut_off++;
                } else if (status == WAL_OK) {
                    assert_true(model_matches(&log->whole, &r));
                    equal++;
                } else {
                    assert_int_equal(status, WAL_CORRUPT);
                    assert_non_null(strstr(e.text, log->image.names[f]));
                    assert_non_null(strstr(e.text, "offset "));
                    refused++;
                }
                wal_recovered_free(&r);
            }
        }
        disk_image_free(&log->image);
        free(log);
    }
    sim_disk_free(&d);
    print_message("%ju flips refused, %ju in the last batch cut off, %ju harmless\n", refused, cut_off, equal);
    assert_true(refused > 1000 && cut_off > 100);
}

/* Older segments are deleted only when a newer one is durable, so a sole segment that is not the first has no torn
 * beginning. */
static void the_only_segment_left_is_not_taken_for_torn(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 5, 1);
    for (uint64_t i = 1; i <= 3; i++) {
        wal_append(x->wal, i, 1, 0, bytes_str("entry"));
        wal_world_settle(x);
    }
    wal_snapshot(x->wal, 3, 1, bytes_str("all three"), 4, false);
    wal_world_settle(x);
    struct disk_image image;
    disk_image_take(&image, &x->disk);
    assert_int_equal(image.count, 2);
    struct sim_disk d;
    sim_disk_init(&d, &x->prng, NULL, NULL);
    for (size_t at = 0; at < image.contents[1].size; at++) {
        struct wal_recovered r;
        image.contents[1].data[at] ^= 4;
        assert_int_equal(open_image(&image, &d, &r, NULL), WAL_CORRUPT);
        image.contents[1].data[at] ^= 4;
    }
    disk_image_free(&image);
    sim_disk_free(&d);
    world_free(x);
}

static void a_lost_file_is_refused_if_it_was_needed(void **state) {
    (void)state;
    struct prng disk_prng;
    struct sim_disk d;
    prng_seed(&disk_prng, 1, 1);
    sim_disk_init(&d, &disk_prng, NULL, NULL);
    struct durable_log *log = xmalloc(sizeof *log);
    build_durable_log(log, 1);
    unsigned refused = 0;
    for (size_t f = 0; f < log->image.count; f++) {
        if (strcmp(log->image.names[f], log->last_segment) == 0) continue; /* as if it had never been written */
        char name[DISK_NAME_MAX + 1];
        strcpy(name, log->image.names[f]);
        strcpy(log->image.names[f], "elsewhere");
        struct wal_recovered r;
        struct error e;
        enum wal_status status = open_image(&log->image, &d, &r, &e);
        strcpy(log->image.names[f], name);
        if (status == WAL_OK) {
            assert_true(model_matches(&log->whole, &r));
        } else {
            assert_int_equal(status, WAL_CORRUPT);
            refused++;
        }
        wal_recovered_free(&r);
    }
    assert_true(refused >= 2);
    disk_image_free(&log->image);
    free(log);
    sim_disk_free(&d);
}

static void a_disk_that_refuses_names_call_and_file(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 7, 0);
    wal_world_append(x, 10);
    wal_world_settle(x);
    wal_close(x->wal);
    struct wal_recovered r;
    struct error e;
    unsigned refused = 0;
    for (uint64_t calls = 0; calls < 100; calls++) {
        x->cut.calls_left = calls;
        if (wal_open(&x->cut.base, x->options, &x->wal, &r, &e) == WAL_OK) break;
        assert_null(x->wal);
        assert_non_null(strstr(e.text, "Input/output error"));
        sim_disk_process_crash(&x->disk);
        refused++;
    }
    assert_true(refused > 5);
    assert_true(model_matches(&x->now, &r));
    wal_recovered_free(&r);
    x->cut.calls_left = UINT64_MAX;
    world_free(x);
}

static void the_same_seed_leaves_the_same_bytes_on_the_disk(void **state) {
    (void)state;
    uint64_t hashes[2];
    for (size_t run = 0; run < 2; run++) {
        struct prng choices;
        struct wal_world *x = world_new(&choices, 42, 2000);
        for (int step = 0; step < 2000; step++) wal_world_step(x);
        struct disk_image image;
        disk_image_take(&image, &x->disk);
        hashes[run] = image.count;
        for (size_t i = 0; i < image.count; i++) {
            hashes[run] = hash_bytes(bytes_of(image.contents[i].data, image.contents[i].size), hashes[run]);
        }
        disk_image_free(&image);
        world_free(x);
    }
    assert_int_equal(hashes[0], hashes[1]);
}

static void a_kept_power_loss_keeps_everything_that_was_flushed(void **state) {
    (void)state;
    struct prng choices;
    struct wal_world *x = world_new(&choices, 9, 0);
    for (int i = 0; i < 3; i++) wal_world_append(x, 200);
    assert_int_equal(wal_flush(x->wal), 0);
    wal_world_crash(x, true, all_kept);
    assert_int_equal(x->now.entries_count, 3);
    world_free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_crash_keeps_all_durable_writes_and_a_prefix_of_the_rest),
        cmocka_unit_test(a_killed_process_loses_nothing_that_was_flushed),
        cmocka_unit_test(recovery_makes_durable_what_it_returns),
        cmocka_unit_test(data_of_a_failed_sync_is_written_again_before_it_counts_as_durable),
        cmocka_unit_test(a_failed_sync_fails_the_log_for_good),
        cmocka_unit_test(a_torn_tail_is_cut_off_physically_and_counted),
        cmocka_unit_test(writes_that_arrive_during_a_sync_share_the_next_one),
        cmocka_unit_test(a_late_report_of_an_unknown_sync_changes_nothing),
        cmocka_unit_test(snapshots_let_old_segments_and_old_snapshots_go),
        cmocka_unit_test(a_snapshot_is_durable_before_the_log_names_it),
        cmocka_unit_test(meta_survives_the_deletion_of_the_segment_it_was_written_in),
        cmocka_unit_test(a_truncation_below_the_first_entry_empties_the_log),
        cmocka_unit_test(an_installed_snapshot_lets_all_older_segments_go),
        cmocka_unit_test(files_that_are_not_the_logs_are_left_alone),
        cmocka_unit_test(a_flipped_byte_is_found_or_harmless_never_believed),
        cmocka_unit_test(the_only_segment_left_is_not_taken_for_torn),
        cmocka_unit_test(a_lost_file_is_refused_if_it_was_needed),
        cmocka_unit_test(a_disk_that_refuses_names_call_and_file),
        cmocka_unit_test(the_same_seed_leaves_the_same_bytes_on_the_disk),
        cmocka_unit_test(a_kept_power_loss_keeps_everything_that_was_flushed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
