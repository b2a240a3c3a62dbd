/* The file system that forgets, watched from both sides: programs use the mount, the test reads the backing folder. It
 * runs in a mount namespace of its own, so that nothing stays mounted. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "nemesis/filesystem/filesystem.h"

#include "base/clock.h"
#include "tests/support.h"

static const struct disk_crash all_lost = {0, 0}, all_kept = {1000000, 0}, all_torn = {0, 1000000};
static const char *unavailable;

struct place {
    char root[64], top[80], back[80];
    struct filesystem *f;
};

static void mount_place(struct place *p, uint64_t seed) {
    struct error e = {0};
    p->f = filesystem_mount(p->top, p->back, seed, &e);
    if (!p->f) fail_msg("%s", e.text);
}

static void setup(struct place *p) {
    if (unavailable) {
        print_message("skipped: %s\n", unavailable);
        skip();
    }
    strcpy(p->root, "/tmp/harrow-test-XXXXXX");
    assert_non_null(mkdtemp(p->root));
    snprintf(p->top, sizeof p->top, "%s/top", p->root);
    snprintf(p->back, sizeof p->back, "%s/back", p->root);
    assert_int_equal(mkdir(p->top, 0755), 0);
    assert_int_equal(mkdir(p->back, 0755), 0);
    mount_place(p, 7);
}

static void teardown(struct place *p) {
    filesystem_free(p->f);
    assert_int_equal(folder_remove(p->root), 0);
}

static void power_loss(struct place *p, struct disk_crash fate) {
    struct error e = {0};
    if (filesystem_power_loss(p->f, fate, &e)) fail_msg("%s", e.text);
}

/* Runs a shell command in the mount; returns its exit status. */
static int shell(const struct place *p, const char *command) {
    char *line = xformat("cd %s && { %s; } >%s/out 2>&1", p->top, command, p->root);
    int status = system(line);
    free(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char *slurp(const char *folder, const char *name, size_t *size) {
    char *path = xformat("%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    free(path);
    if (fd < 0) return NULL;
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    char *data = xcalloc(1, (size_t)st.st_size + 1);
    assert_int_equal(read(fd, data, (size_t)st.st_size), st.st_size);
    close(fd);
    if (size) *size = (size_t)st.st_size;
    return data;
}

static void ok(const struct place *p, const char *command) {
    int status = shell(p, command);
    if (status == 0) return;
    char *out = slurp(p->root, "out", NULL);
    fail_msg("%s: exit status %d: %s", command, status, out ? out : "");
}

/* What the backing folder holds; NULL: no such file. */
static void holds(const struct place *p, const char *name, const char *wanted) {
    char *found = slurp(p->back, name, NULL);
    if (wanted) {
        assert_non_null(found);
        assert_string_equal(found, wanted);
    } else {
        assert_null(found);
    }
    free(found);
}

static struct disk_counters counters(const struct place *p) {
    struct disk_counters c;
    filesystem_counters(p->f, &c);
    return c;
}

static int open_in(const struct place *p, const char *name, int flags) {
    char *path = xformat("%s/%s", p->top, name);
    int fd = open(path, flags | O_CLOEXEC, 0644);
    free(path);
    return fd;
}

/* --- it is a file system ------------------------------------------------------------------------------------------ */

struct world { /* one random operation after another, in the mount and in a plain folder */
    struct prng prng;
    const char *folder;
};

static const char *const names[] = {"a", "b", "c", "d/a", "d/b", "d", "e", "e/a"};

static const char *draw_name(struct prng *p) {
    return names[prng_below(p, sizeof names / sizeof *names)];
}

static uint64_t file_operation(struct prng *p, const char *path, int flags) {
    uint8_t data[3000];
    uint64_t result = 0;
    uint64_t offset = prng_below(p, 9000), size = 1 + prng_below(p, sizeof data), what = prng_below(p, 6);
    memset(data, (int)prng_below(p, 256), sizeof data);
    int fd = open(path, flags | O_CLOEXEC, 0640);
    if (fd < 0) return (uint64_t)errno;
    switch (what) {
    case 0: result = (uint64_t)pwrite(fd, data, size, (off_t)offset); break;
    case 1: result = (uint64_t)write(fd, data, size); break;
    case 2: result = (uint64_t)ftruncate(fd, (off_t)offset); break;
    case 3: result = (uint64_t)fallocate(fd, 0, (off_t)offset, (off_t)size); break;
    case 4:
        result = (uint64_t)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size);
        break;
    default: result = (uint64_t)fsync(fd); break;
    }
    ssize_t got = pread(fd, data, sizeof data, (off_t)(offset / 2));
    if (got > 0) result = hash_mix(result, hash_bytes(bytes_of(data, (size_t)got), 0));
    close(fd);
    return hash_mix(result, (uint64_t)got);
}

static uint64_t operation(struct world *w) {
    static const int flags[] = {O_RDWR,           O_RDWR | O_CREAT,         O_RDWR | O_CREAT, O_RDWR | O_APPEND,
                                O_RDWR | O_TRUNC, O_RDWR | O_CREAT | O_EXCL};
    struct prng *p = &w->prng;
    char from[128], to[128];
    snprintf(from, sizeof from, "%s/%s", w->folder, draw_name(p));
    snprintf(to, sizeof to, "%s/%s", w->folder, draw_name(p));
    uint64_t what = prng_below(p, 12);
    struct stat st;
    int failed = 0;
    switch (what) {
    case 0: failed = unlink(from); break;
    case 1: failed = mkdir(from, 0755); break;
    case 2: failed = rmdir(from); break;
    case 3: failed = rename(from, to); break;
    case 4: failed = link(from, to); break;
    case 5: failed = symlink("a", from); break;
    case 6:
        failed = lstat(from, &st);
        if (!failed) return hash_mix(st.st_mode, S_ISDIR(st.st_mode) ? 0 : (uint64_t)st.st_size * 8 + st.st_nlink);
        break;
    default: return file_operation(p, from, flags[prng_below(p, 6)]);
    }
    return failed ? (uint64_t)errno : 0;
}

static void random_operations_give_the_same_as_on_a_plain_folder(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    char plain[96], command[400];
    snprintf(plain, sizeof plain, "%s/plain", p.root);
    assert_int_equal(mkdir(plain, 0755), 0);
    struct world here = {.folder = p.top}, there = {.folder = plain};
    prng_seed(&here.prng, 1, 1);
    prng_seed(&there.prng, 1, 1);
    for (int i = 0; i < 4000; i++) {
        uint64_t a = operation(&here), b = operation(&there);
        if (a != b) fail_msg("operation %d: %llu, but %llu", i, (unsigned long long)a, (unsigned long long)b);
    }
    snprintf(command, sizeof command, "diff -r --no-dereference %s %s", p.top, plain);
    ok(&p, command);
    power_loss(&p, all_kept);
    ok(&p, command);
    teardown(&p);
}

static void an_open_file_outlives_its_name(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    ok(&p, "exec 3>f; echo one >&3; rm f; echo two >&3; test ! -e f; cat /proc/self/fd/3 | grep -q two");
    ok(&p, "echo a >x; exec 3<x; echo b >y; mv y x; cat <&3 | grep -q a; grep -q b x");
    teardown(&p);
}

/* --- power loss --------------------------------------------------------------------------------------------------- */

static void a_power_loss_takes_what_was_not_synced(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    ok(&p, "printf old >f; sync f; printf newer >f; printf x >never; sync .; printf y >after");
    assert_true(filesystem_unsynced(p.f) > 0);
    power_loss(&p, all_lost);
    assert_int_equal(filesystem_unsynced(p.f), 0);
    holds(&p, "f", "old");
    holds(&p, "never", "");
    holds(&p, "after", NULL);
    ok(&p, "test \"$(cat f)\" = old; test ! -e after");
    teardown(&p);
}

static void what_was_synced_is_kept(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    ok(&p,
       "mkdir d; printf one >d/f; sync d/f; printf two >>d/f; sync d/f; dd if=/dev/zero of=z bs=4k count=9 conv=fsync");
    assert_int_equal(filesystem_unsynced(p.f), 0);
    power_loss(&p, all_lost);
    holds(&p, "d/f", "onetwo");
    size_t size;
    free(slurp(p.back, "z", &size));
    assert_int_equal(size, 9 * 4096);
    teardown(&p);
}

static void names_come_back_and_go(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    ok(&p, "printf 1 >a; printf 2 >b; printf 3 >c; mkdir d; printf 4 >d/x; sync a b c d/x .; "
           "rm a; mv b c; rm d/x; rmdir d; mkdir n; printf 5 >n/y; ln c l");
    power_loss(&p, all_lost);
    holds(&p, "a", "1");
    holds(&p, "b", "2");
    holds(&p, "c", "3");
    holds(&p, "d/x", "4");
    ok(&p, "test ! -e n; test ! -e l; test \"$(ls | tr '\\n' ' ')\" = 'a b c d '");
    ok(&p, "rm a; mv b c; sync .");
    power_loss(&p, all_lost);
    holds(&p, "a", NULL);
    holds(&p, "b", NULL);
    holds(&p, "c", "2");
    teardown(&p);
}

static void names_of_a_folder_are_kept_from_the_oldest_on(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    bool some = false;
    for (int round = 0; round < 20; round++) {
        ok(&p, "rm -f f*; sync .; for i in 1 2 3 4; do : >f$i; done");
        power_loss(&p, (struct disk_crash){500000, 0});
        int kept = 0;
        for (bool gap = false; kept < 4 && !gap; kept += !gap) {
            char name[16];
            snprintf(name, sizeof name, "f%d", kept + 1);
            char *found = slurp(p.back, name, NULL);
            gap = !found;
            free(found);
        }
        for (int i = kept + 1; i <= 4; i++) {
            char name[16];
            snprintf(name, sizeof name, "f%d", i);
            holds(&p, name, NULL);
        }
        some = some || (kept > 0 && kept < 4);
    }
    assert_true(some);
    teardown(&p);
}

static void a_torn_write_ends_at_a_sector(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    int mixed = 0;
    for (int round = 0; round < 10; round++) {
        ok(&p, "tr '\\0' o </dev/zero | head -c 8192 >f; sync f; "
               "tr '\\0' n </dev/zero | dd of=f bs=8192 count=1 iflag=fullblock conv=notrunc");
        power_loss(&p, all_torn);
        size_t size, fresh = 0;
        char *data = slurp(p.back, "f", &size);
        assert_int_equal(size, 8192);
        for (size_t at = 0; at < size; at += DISK_SECTOR_BYTES) {
            for (size_t i = 1; i < DISK_SECTOR_BYTES; i++) assert_int_equal(data[at], data[at + i]);
            fresh += data[at] == 'n';
        }
        assert_true(fresh < 16);
        mixed += fresh > 0;
        free(data);
    }
    assert_true(mixed > 0);
    assert_int_equal(counters(&p).writes_torn, 10);
    teardown(&p);
}

static void an_older_write_may_go_and_a_newer_one_stay(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    bool seen = false;
    for (int round = 0; round < 40 && !seen; round++) {
        ok(&p, "printf ________ >f; sync f; printf aaaa | dd of=f conv=notrunc; printf bb | dd of=f bs=2 seek=1 "
               "conv=notrunc; "
               "printf cc | dd of=f bs=2 seek=3 conv=notrunc");
        power_loss(&p, (struct disk_crash){500000, 0});
        char *data = slurp(p.back, "f", NULL);
        assert_int_equal(strlen(data), 8);
        seen = strcmp(data, "______cc") == 0;
        free(data);
    }
    assert_true(seen);
    teardown(&p);
}

/* --- faults ------------------------------------------------------------------------------------------------------- */

static void a_lying_sync_is_found_out_by_a_power_loss(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    ok(&p, "printf old >f; sync f");
    filesystem_condition(p.f, &(struct disk_condition){.sync_lie_ppm = 1000000});
    ok(&p, "printf lie | dd of=f conv=fsync,notrunc");
    filesystem_condition(p.f, &(struct disk_condition){0});
    assert_int_equal(counters(&p).syncs_lied, 1);
    holds(&p, "f", "lie");
    power_loss(&p, all_lost);
    holds(&p, "f", "old");
    teardown(&p);
}

static void syncs_writes_and_reads_fail(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    ok(&p, "printf old >f; sync f; cat f");
    filesystem_condition(p.f, &(struct disk_condition){.sync_error_ppm = 1000000});
    assert_int_not_equal(shell(&p, "printf new | dd of=f conv=fsync,notrunc"), 0);
    ok(&p, "grep -q 'Input/output error' ../out || true");
    filesystem_condition(p.f, &(struct disk_condition){.write_error_ppm = 1000000});
    assert_int_not_equal(shell(&p, "echo more >>f"), 0);
    filesystem_condition(p.f, &(struct disk_condition){.read_error_ppm = 1000000});
    assert_int_not_equal(shell(&p, "cat f"), 0);
    assert_int_not_equal(shell(&p, "cat f"), 0);
    filesystem_condition(p.f, &(struct disk_condition){0});
    ok(&p, "test \"$(cat f)\" = new");
    struct disk_counters c = counters(&p);
    assert_int_equal(c.sync_errors, 1);
    assert_true(c.write_errors > 0 && c.read_errors > 0);
    teardown(&p);
}

static void a_failed_sync_loses_for_good(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    int lost = 0, kept = 0;
    for (int round = 0; round < 24; round++) {
        ok(&p, "printf old >f; sync f");
        filesystem_condition(p.f, &(struct disk_condition){.sync_error_ppm = 1000000});
        assert_int_not_equal(shell(&p, "printf new | dd of=f conv=fsync,notrunc"), 0);
        filesystem_condition(p.f, &(struct disk_condition){0});
        ok(&p, "printf '!' >>f; sync f");
        power_loss(&p, all_kept);
        char *data = slurp(p.back, "f", NULL);
        lost += strcmp(data, "old!") == 0;
        kept += strcmp(data, "new!") == 0;
        free(data);
    }
    assert_int_equal(lost + kept, 24);
    assert_true(lost && kept);
    teardown(&p);
}

static void rot_is_one_bit_of_what_is_read(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    ok(&p, "head -c 4096 /dev/zero >f; sync f; cat f >/dev/null");
    filesystem_condition(p.f, &(struct disk_condition){.read_rot_ppm = 1000000});
    for (int i = 0; i < 3; i++) ok(&p, "test $(cmp -l f /dev/zero 2>/dev/null | wc -l) -ge 1");
    filesystem_condition(p.f, &(struct disk_condition){0});
    ok(&p, "test $(cmp -l f /dev/zero 2>/dev/null | wc -l) = 0");
    assert_true(counters(&p).bits_rotted >= 3);
    teardown(&p);
}

static void a_full_disk_says_so(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    ok(&p, "head -c 10000 /dev/zero >f");
    filesystem_condition(p.f, &(struct disk_condition){.capacity_bytes = 20000});
    assert_int_not_equal(shell(&p, "head -c 10001 /dev/zero >g"), 0);
    ok(&p, "rm g; head -c 10000 /dev/zero >g; dd if=/dev/zero of=g bs=100 count=1 conv=notrunc");
    assert_int_not_equal(shell(&p, "echo x >>g"), 0);
    ok(&p, "rm f; echo x >>g");
    teardown(&p);
}

/* Started by itself, so that none of our descriptors is open there. */
static pid_t start_sync(const struct place *p, const char *name) {
    pid_t child = fork();
    if (child) return child;
    if (chdir(p->top) == 0) execlp("sync", "sync", name, (char *)NULL);
    _exit(127);
}

static void a_sync_under_way_goes_with_the_power(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    ok(&p, "printf old >f; sync . f; printf newer >f");
    filesystem_sync_time(p.f, 60 * NS_PER_S, 60 * NS_PER_S);
    pid_t child = start_sync(&p, "f");
    while (counters(&p).syncs < 3) usleep(1000);
    filesystem_power_off(p.f);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_int_not_equal(shell(&p, "sync f"), 0);
    filesystem_sync_time(p.f, 0, 0);
    power_loss(&p, all_lost);
    holds(&p, "f", "old");
    ok(&p, "printf newest >f; sync f");
    power_loss(&p, all_lost);
    holds(&p, "f", "newest");
    teardown(&p);
}

static void a_stalled_sync_holds_up_nothing_else(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    ok(&p, "echo x >f; echo y >g");
    filesystem_condition(p.f, &(struct disk_condition){.sync_stall_ns = 60 * NS_PER_S});
    pid_t stalled = start_sync(&p, "f");
    while (counters(&p).syncs_stalled == 0) usleep(1000);
    uint64_t start = monotonic_ns();
    ok(&p, "echo z >>g; cat f g; mv g h"); /* a write to f itself would wait in the kernel */
    assert_int_equal(kill(stalled, SIGKILL), 0);
    int status;
    assert_int_equal(waitpid(stalled, &status, 0), stalled);
    assert_true(WIFSIGNALED(status));
    assert_true(monotonic_ns() - start < 30 * NS_PER_S);
    filesystem_condition(p.f, &(struct disk_condition){.sync_stall_ns = 50 * NS_PER_MS});
    start = monotonic_ns();
    ok(&p, "sync h");
    assert_true(monotonic_ns() - start >= 50 * NS_PER_MS);
    filesystem_condition(p.f, &(struct disk_condition){.io_delay_ns = 50 * NS_PER_MS});
    start = monotonic_ns();
    ok(&p, "cat h");
    assert_true(monotonic_ns() - start >= 50 * NS_PER_MS);
    teardown(&p);
}

static void it_ends_while_a_process_has_files_open(void **state) {
    (void)state;
    struct place p;
    setup(&p);
    int fd = open_in(&p, "f", O_RDWR | O_CREAT);
    assert_true(fd >= 0);
    filesystem_free(p.f);
    assert_int_equal(write(fd, "x", 1), -1);
    close(fd);
    mount_place(&p, 8);
    ok(&p, "test -e f; test ! -e .harrow-unsynced; echo x >f");
    teardown(&p);
}

/* --- real databases ----------------------------------------------------------------------------------------------- */

static void needs_program(const char *name) {
    char *line = xformat("command -v %s >/dev/null", name);
    int status = system(line);
    free(line);
    if (status == 0) return;
    print_message("skipped: %s is not installed\n", name);
    skip();
}

static void sqlite_keeps_what_it_committed(void **state) {
    (void)state;
    struct place p;
    needs_program("sqlite3");
    setup(&p);
    ok(&p, "sqlite3 db 'PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t(x);'");
    for (int i = 0; i < 6; i++) {
        ok(&p, "for i in 1 2 3 4 5; do sqlite3 db 'PRAGMA synchronous=FULL; INSERT INTO t VALUES(randomblob(3000));'; "
               "done");
        power_loss(&p, (struct disk_crash){300000, 300000});
        char *check =
            xformat("test \"$(sqlite3 db 'PRAGMA integrity_check; SELECT count(*) FROM t' | tr '\\n' ' ')\" = "
                    "'ok %d '",
                    5 * (i + 1));
        ok(&p, check);
        free(check);
    }
    teardown(&p);
}

static bool write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : write(fd, text, strlen(text));
    if (fd >= 0) close(fd);
    return size == (ssize_t)strlen(text);
}

/* A mount namespace of our own; who is not root is so in a user namespace. */
static bool enter_namespace(void) {
    char uids[48], gids[48];
    unsigned uid = (unsigned)geteuid();
    snprintf(uids, sizeof uids, "0 %u 1", uid);
    snprintf(gids, sizeof gids, "0 %u 1", (unsigned)getegid());
    if (unshare(CLONE_NEWNS | (uid ? CLONE_NEWUSER : 0))) return false;
    if (uid && !(write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", uids) &&
                 write_file("/proc/self/gid_map", gids)))
        return false;
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_give_the_same_as_on_a_plain_folder),
        cmocka_unit_test(an_open_file_outlives_its_name),
        cmocka_unit_test(a_power_loss_takes_what_was_not_synced),
        cmocka_unit_test(what_was_synced_is_kept),
        cmocka_unit_test(names_come_back_and_go),
        cmocka_unit_test(names_of_a_folder_are_kept_from_the_oldest_on),
        cmocka_unit_test(a_torn_write_ends_at_a_sector),
        cmocka_unit_test(an_older_write_may_go_and_a_newer_one_stay),
        cmocka_unit_test(a_lying_sync_is_found_out_by_a_power_loss),
        cmocka_unit_test(syncs_writes_and_reads_fail),
        cmocka_unit_test(a_failed_sync_loses_for_good),
        cmocka_unit_test(rot_is_one_bit_of_what_is_read),
        cmocka_unit_test(a_full_disk_says_so),
        cmocka_unit_test(a_sync_under_way_goes_with_the_power),
        cmocka_unit_test(a_stalled_sync_holds_up_nothing_else),
        cmocka_unit_test(it_ends_while_a_process_has_files_open),
        cmocka_unit_test(sqlite_keeps_what_it_committed),
    };
    unavailable = filesystem_unavailable();
    if (!unavailable && !enter_namespace()) unavailable = "no mount namespace can be made";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
