/* Faults of syncs without a file system of our own, seen by the programs they happen to (coreutils, a shell, etcd) and
 * by what shows whether the kernel was asked: it refuses to sync a FIFO, so a sync of one that succeeds never reached
 * it; and a FUSE mount counts the syncs that come through to it. */
#include "nemesis/process/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "nemesis/filesystem/filesystem.h"
#include "tests/support.h"

#define PATIENCE_MS 20000
#define ALWAYS 1000000
#define RUN(...) ((const char *const[]){__VA_ARGS__, NULL})

static const char *unavailable, *no_mounts;

/* A folder with a file `f` and a FIFO `pipe`, and a program in it that begins when told to. */
struct place {
    char folder[64];
    struct process *process;
    int ask, hear;
};

static void make_place(struct place *p) {
    if (unavailable) {
        printf("# skipped: %s\n", unavailable);
        skip();
    }
    *p = (struct place){.ask = -1, .hear = -1};
    strcpy(p->folder, "/tmp/harrow-syncs-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    char *file = xformat("%s/f", p->folder), *pipe = xformat("%s/pipe", p->folder);
    close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(mkfifo(pipe, 0600), 0);
    free(file);
    free(pipe);
}

static void end_program(struct place *p) {
    process_free(p->process);
    close(p->ask);
    close(p->hear);
    p->process = NULL;
    p->ask = p->hear = -1;
}

static void remove_place(struct place *p) {
    end_program(p);
    assert_int_equal(folder_remove(p->folder), 0);
}

static void start_program(struct place *p, const char *const *argv) {
    struct error e = {{0}};
    int ask[2], hear[2];
    assert_int_equal(pipe2(ask, O_CLOEXEC) | pipe2(hear, O_CLOEXEC), 0);
    struct process_options o = {.argv = argv,
                                .env = RUN("LC_ALL=C"),
                                .directory = p->folder,
                                .output = hear[1],
                                .network = -1,
                                .pass = ask[0],
                                .watch_syncs = true};
    p->process = process_start(&o, &e);
    if (!p->process) fail_msg("%s", e.text);
    p->ask = ask[1];
    p->hear = hear[0];
    close(ask[0]);
    close(hear[1]);
}

/* Runs `commands` once per line of ask(). */
static void start_shell(struct place *p, const char *commands) {
    char *script = xformat("while read -r line <&3; do %s; done", commands);
    start_program(p, RUN("bash", "-c", script));
    free(script);
}

static void begin(struct place *p) {
    assert_int_equal(write(p->ask, "\n", 1), 1);
}

static void ask(struct place *p, char *line, size_t size) {
    begin(p);
    read_line(p->hear, line, size);
}

static void expect(struct place *p, const char *answer) {
    char line[512];
    ask(p, line, sizeof line);
    assert_string_equal(line, answer);
}

static void condition(struct place *p, struct disk_condition c) {
    process_syncs(p->process, &c, 1);
}

static struct sync_counters counters(const struct place *p) {
    return process_sync_counters(p->process);
}

static void nap_ms(uint32_t ms) {
    nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

/* --- failing ------------------------------------------------------------------------------------------------------ */

static void a_failed_sync_is_an_error_of_the_program(void **state) {
    (void)state;
    struct place p;
    make_place(&p);
    start_shell(&p, "sync f 2>&1 && echo fine");
    expect(&p, "fine");
    condition(&p, (struct disk_condition){.sync_error_ppm = ALWAYS});
    expect(&p, "sync: error syncing 'f': Input/output error");
    condition(&p, (struct disk_condition){0});
    expect(&p, "fine");
    struct sync_counters c = counters(&p);
    assert_true(c.syncs == 3 && c.failed == 1 && c.stalled == 0 && c.lied == 0);
    end_program(&p);

    start_shell(&p, "sync --data f 2>&1 && echo fine");
    expect(&p, "fine");
    condition(&p, (struct disk_condition){.sync_error_ppm = ALWAYS});
    expect(&p, "sync: error syncing 'f': Input/output error");
    c = counters(&p);
    assert_true(c.syncs == 2 && c.failed == 1);
    remove_place(&p);
}

/* This program, executed again: one of each call that makes data durable; prints their errors. */
static int sync_in_all_ways(void) {
    char byte;
    int fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *page = ftruncate(fd, 4096) ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    while (read(3, &byte, 1) == 1) {
        int of[4];
        of[0] = fsync(fd) ? errno : 0;
        of[1] = fdatasync(fd) ? errno : 0;
        of[2] = sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE) ? errno : 0;
        of[3] = msync(page, 4096, MS_SYNC) ? errno : 0;
        printf("%d %d %d %d\n", of[0], of[1], of[2], of[3]);
        fflush(stdout);
    }
    return 0;
}

static void every_call_that_syncs_is_caught(void **state) {
    (void)state;
    struct place p;
    make_place(&p);
    start_program(&p, RUN("/proc/self/exe", "--sync-in-all-ways"));
    expect(&p, "0 0 0 0");
    assert_int_equal(counters(&p).syncs, 4);
    condition(&p, (struct disk_condition){.sync_error_ppm = ALWAYS});
    char all_fail[64];
    snprintf(all_fail, sizeof all_fail, "%d %d %d %d", EIO, EIO, EIO, EIO);
    expect(&p, all_fail);
    assert_int_equal(counters(&p).failed, 4);
    remove_place(&p);
}

static void as_many_fail_as_asked_for(void **state) {
    (void)state;
    enum { SYNCS = 400 };
    struct place p;
    make_place(&p);
    start_shell(&p, "n=0; for i in $(seq 400); do sync -d f 2>/dev/null || n=$((n + 1)); done; echo $n");
    condition(&p, (struct disk_condition){.sync_error_ppm = 300000});
    char line[64];
    ask(&p, line, sizeof line);
    int failed = atoi(line);
    assert_int_equal(counters(&p).syncs, SYNCS);
    assert_int_equal(counters(&p).failed, failed);
    assert_in_range(failed, SYNCS * 3 / 10 - 55, SYNCS * 3 / 10 + 55); /* six standard deviations */
    remove_place(&p);
}

static void etcd_does_not_outlive_a_failed_sync(void **state) {
    (void)state;
    struct place p;
    make_place(&p);
    if (system("command -v etcd >/dev/null 2>&1") != 0) {
        rmdir(p.folder);
        printf("# skipped: etcd is not installed\n");
        skip();
    }
    start_program(&p, RUN("etcd", "--data-dir", "data", "--listen-client-urls", "http://127.0.0.1:0",
                          "--advertise-client-urls", "http://127.0.0.1:1", "--listen-peer-urls", "http://127.0.0.1:0"));
    for (uint32_t ms = 0; counters(&p).syncs < 3; ms++) {
        assert_true(ms < PATIENCE_MS);
        nap_ms(1);
    }
    assert_false(process_ended(p.process, NULL));
    condition(&p, (struct disk_condition){.sync_error_ppm = ALWAYS});
    struct pollfd heard = {.fd = p.hear, .events = POLLIN}, ended = {.fd = process_fd(p.process), .events = POLLIN};
    char log[4096];
    bool told = false;
    for (ssize_t got = 1; got > 0;) { /* until nobody can write any more */
        assert_int_equal(poll(&heard, 1, PATIENCE_MS), 1);
        got = read(p.hear, log, sizeof log - 1);
        log[got > 0 ? got : 0] = 0;
        told = told || strstr(log, "input/output error");
    }
    assert_int_equal(poll(&ended, 1, PATIENCE_MS), 1);
    int status;
    assert_true(process_ended(p.process, &status));
    assert_true(WIFEXITED(status) ? WEXITSTATUS(status) != 0 : WTERMSIG(status) != SIGKILL);
    assert_true(told && counters(&p).failed > 0);
    remove_place(&p);
}

/* --- stalling ----------------------------------------------------------------------------------------------------- */

static void a_stalled_sync_takes_its_time_by_the_programs_own_clock(void **state) {
    (void)state;
    struct place p;
    char line[64];
    make_place(&p);
    start_shell(&p, "a=${EPOCHREALTIME/./}; sync f; b=${EPOCHREALTIME/./}; echo $((b - a))");
    condition(&p, (struct disk_condition){.sync_stall_ns = 300 * NS_PER_MS});
    for (int i = 0; i < 3; i++) {
        ask(&p, line, sizeof line);
        assert_in_range(atoll(line), 300000, 10000000);
    }
    assert_true(counters(&p).stalled == 3 && counters(&p).failed == 0);
    condition(&p, (struct disk_condition){0});
    uint64_t fastest_us = UINT64_MAX;
    for (int i = 0; i < 10 && fastest_us >= 200000; i++) {
        ask(&p, line, sizeof line);
        if ((uint64_t)atoll(line) < fastest_us) fastest_us = (uint64_t)atoll(line);
    }
    printf("# not stalled: %ju us\n", (uintmax_t)fastest_us);
    assert_in_range(fastest_us, 0, 200000);
    assert_int_equal(counters(&p).stalled, 3);
    remove_place(&p);
}

static void a_stalled_sync_holds_up_no_other_and_a_kill_ends_it(void **state) {
    (void)state;
    struct place p;
    char line[64];
    make_place(&p);
    start_shell(&p, "sync f & read -r line <&3; sync f; echo second; wait; echo first");
    condition(&p, (struct disk_condition){.sync_stall_ns = 1000 * NS_PER_S});
    begin(&p);
    for (uint32_t ms = 0; counters(&p).stalled < 1; ms++) {
        assert_true(ms < PATIENCE_MS);
        nap_ms(1);
    }
    condition(&p, (struct disk_condition){0}); /* for those that come from now on */
    begin(&p);
    read_line(p.hear, line, sizeof line);
    assert_string_equal(line, "second");
    nap_ms(50);
    struct pollfd f = {.fd = p.hear, .events = POLLIN};
    assert_int_equal(poll(&f, 1, 0), 0); /* the first still waits */
    uint64_t start_ns = monotonic_ns();
    assert_true(process_kill(p.process));
    assert_int_equal(read(p.hear, line, 1), 0); /* all that it forked is gone */
    assert_in_range(monotonic_ns() - start_ns, 0, 10 * NS_PER_S);
    remove_place(&p);
}

/* --- lying -------------------------------------------------------------------------------------------------------- */

static void a_lie_says_yes_and_never_reaches_the_kernel(void **state) {
    (void)state;
    struct place p;
    make_place(&p);
    start_shell(&p, "sync pipe 2>&1 && echo fine");
    static const char *const refused = "sync: error syncing 'pipe': Invalid argument";
    expect(&p, refused);
    condition(&p, (struct disk_condition){.sync_lie_ppm = ALWAYS});
    for (int i = 0; i < 5; i++) expect(&p, "fine");
    condition(&p, (struct disk_condition){0});
    expect(&p, refused);
    condition(&p, (struct disk_condition){.sync_stall_ns = NS_PER_MS}); /* what waited is passed on in the end */
    expect(&p, refused);
    struct sync_counters c = counters(&p);
    assert_true(c.syncs == 8 && c.lied == 5 && c.stalled == 1 && c.failed == 0);
    remove_place(&p);
}

static uint64_t syncs_that_came_through(struct filesystem *f) {
    struct disk_counters d;
    filesystem_counters(f, &d);
    return d.syncs;
}

static void what_a_lie_acknowledged_a_power_loss_takes(void **state) {
    (void)state;
    struct place p;
    struct error e = {{0}};
    make_place(&p);
    if (no_mounts) {
        remove_place(&p);
        printf("# skipped: %s\n", no_mounts);
        skip();
    }
    char *top = xformat("%s/top", p.folder), *back = xformat("%s/back", p.folder), line[64];
    assert_int_equal(mkdir(top, 0755) | mkdir(back, 0755), 0);
    struct filesystem *f = filesystem_mount(top, back, 1, &e);
    if (!f) fail_msg("%s", e.text);
    start_shell(&p, "n=$((n + 1)); printf $n | dd of=top/g conv=fsync,notrunc status=none && cat top/g; echo");
    ask(&p, line, sizeof line);
    assert_string_equal(line, "1");
    uint64_t honest = syncs_that_came_through(f);
    assert_true(honest >= 1);
    condition(&p, (struct disk_condition){.sync_lie_ppm = ALWAYS});
    for (char n = '2'; n <= '4'; n++) {
        ask(&p, line, sizeof line);
        assert_true(line[0] == n && line[1] == 0);
    }
    assert_int_equal(syncs_that_came_through(f), honest);
    end_program(&p);
    if (filesystem_power_loss(f, (struct disk_crash){0}, &e)) fail_msg("%s", e.text);
    char kept = 0;
    char *path = xformat("%s/g", back);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, &kept, 1), 1);
    close(fd);
    assert_int_equal(kept, '1');
    filesystem_free(f);
    free(path);
    free(top);
    free(back);
    remove_place(&p);
}

/* A mount namespace of our own where that needs no more than being root; nothing stays mounted. */
static const char *enter_mounts(void) {
    const char *why = filesystem_unavailable();
    if (why) return why;
    if (geteuid() != 0 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return "no mount namespace can be made";
    return NULL;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--sync-in-all-ways") == 0) return sync_in_all_ways();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_sync_is_an_error_of_the_program),
        cmocka_unit_test(every_call_that_syncs_is_caught),
        cmocka_unit_test(as_many_fail_as_asked_for),
        cmocka_unit_test(etcd_does_not_outlive_a_failed_sync),
        cmocka_unit_test(a_stalled_sync_takes_its_time_by_the_programs_own_clock),
        cmocka_unit_test(a_stalled_sync_holds_up_no_other_and_a_kill_ends_it),
        cmocka_unit_test(a_lie_says_yes_and_never_reaches_the_kernel),
        cmocka_unit_test(what_a_lie_acknowledged_a_power_loss_takes),
    };
    unavailable = process_syncs_unavailable();
    no_mounts = enter_mounts();
    return cmocka_run_group_tests_name("syncs", tests, NULL, NULL);
}
