/* Faults of real processes, seen by what the operating system and the processes themselves say: their output, their
 * states in /proc, their exit statuses, and the clocks that foreign programs print. */
#include "nemesis/process/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/support.h"

#define PATIENCE_MS 20000
#define WEEK_NS (INT64_C(7) * 86400 * (int64_t)NS_PER_S)

#define RUN(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct process_options plain(const char *const *argv) {
    return (struct process_options){.argv = argv, .output = -1, .network = -1, .pass = -1};
}

static struct process *start(const struct process_options *o) {
    struct error e = {{0}};
    struct process *p = process_start(o, &e);
    if (!p) fail_msg("%s", e.text);
    return p;
}

static void await_end(struct process *p) {
    struct pollfd f = {.fd = process_fd(p), .events = POLLIN};
    assert_int_equal(poll(&f, 1, PATIENCE_MS), 1);
    assert_true(process_ended(p, NULL));
}

static void nap_ms(uint32_t ms) {
    nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

static int64_t signed_clock_ns(clockid_t clock) {
    return (int64_t)clock_ns(clock);
}

/* --- starting ----------------------------------------------------------------------------------------------------- */

static void output_environment_folder_and_passed_descriptor(void **state) {
    (void)state;
    int out[2], pass[2], status;
    char line[256];
    assert_int_equal(pipe2(out, O_CLOEXEC) | pipe2(pass, O_CLOEXEC), 0);
    struct process_options o =
        plain(RUN("sh", "-c", "echo $COLOUR; pwd; echo passed >&3; ls /proc/self/fd | tr '\\n' ' '; echo; exit 3"));
    o.env = RUN("COLOUR=blue");
    o.directory = "/usr";
    o.output = out[1];
    o.pass = pass[1];
    struct process *p = start(&o);
    read_line(out[0], line, sizeof line);
    assert_string_equal(line, "blue");
    read_line(out[0], line, sizeof line);
    assert_string_equal(line, "/usr");
    read_line(pass[0], line, sizeof line);
    assert_string_equal(line, "passed");
    read_line(out[0], line, sizeof line);
    assert_true(strncmp(line, "0 1 2 3 4 ", 10) == 0 && strlen(line) <= 12); /* 4 is what ls itself opened */
    await_end(p);
    assert_true(process_ended(p, &status));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    assert_false(process_kill(p));
    process_free(p);
    for (int i = 0; i < 2; i++) close(out[i]), close(pass[i]);
}

static void expect_failure(const struct process_options *o, const char *part) {
    struct error e = {{0}};
    assert_null(process_start(o, &e));
    if (!strstr(e.text, part) || !strstr(e.text, o->argv[0]))
        fail_msg("'%s' and '%s' not in: %s", o->argv[0], part, e.text);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing was left */
    assert_int_equal(errno, ECHILD);
}

static void what_cannot_be_started_is_told(void **state) {
    (void)state;
    char folder[] = "/tmp/harrow-process-XXXXXX", script[64];
    assert_non_null(mkdtemp(folder));
    snprintf(script, sizeof script, "%s/script", folder);
    int fd = open(script, O_CREAT | O_WRONLY | O_CLOEXEC, 0700);
    assert_int_equal(write(fd, "#!/no/such/shell\n", 17), 17);
    close(fd);
    struct process_options o = plain(RUN("no-such-program-here"));
    expect_failure(&o, "PATH");
    o = plain(RUN("/no/such/program"));
    expect_failure(&o, "No such file");
    o = plain(RUN("/etc/passwd"));
    expect_failure(&o, "Permission denied");
    o = plain(RUN(script));
    expect_failure(&o, "interpreter");
    o.patch_clock = true;
    expect_failure(&o, "interpreter");
    o = plain(RUN("true"));
    o.directory = "/no/such/folder";
    expect_failure(&o, "/no/such/folder");
    o = plain(RUN("true"));
    o.network = STDERR_FILENO;
    expect_failure(&o, "network namespace");
    o = plain(RUN("true")); /* a start that fails as a fault */
    o.exec_error = ENOMEM;
    expect_failure(&o, "Cannot allocate memory");
    o.patch_clock = process_clock_unavailable() == NULL;
    expect_failure(&o, "Cannot allocate memory");
    unlink(script);
    rmdir(folder);
}

static void signals_are_as_after_login(void **state) {
    (void)state;
    int out[2];
    char line[256];
    sigset_t usr1;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    signal(SIGPIPE, SIG_IGN);
    struct process_options o = plain(RUN("grep", "-E", "SigBlk|SigIgn", "/proc/self/status"));
    o.output = out[1];
    struct process *p = start(&o);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &usr1, NULL);
    read_line(out[0], line, sizeof line);
    assert_string_equal(line, "SigBlk:\t0000000000000000");
    read_line(out[0], line, sizeof line);
    unsigned long long ignored = 1;
    assert_int_equal(sscanf(line, "SigIgn: %llx", &ignored), 1);
    assert_int_equal(ignored & ~(3ULL << 31), 0); /* 32 and 33 belong to the C library, which lets nobody set them */
    process_free(p);
    close(out[0]), close(out[1]);
}

/* --- ending ------------------------------------------------------------------------------------------------------- */

static void killed_is_gone_with_what_it_forked(void **state) {
    (void)state;
    int status, out[2];
    char byte;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    struct process_options o = plain(RUN("sh", "-c", "sleep 1000 & echo; wait"));
    o.output = out[1];
    struct process *p = start(&o);
    close(out[1]);
    assert_int_equal(read(out[0], &byte, 1), 1);
    assert_false(process_ended(p, NULL));
    uint64_t cpu_ns = process_cpu_ns(p);
    assert_true(process_kill(p));
    assert_true(process_ended(p, &status));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(kill(process_pid(p), 0), -1);
    assert_int_equal(read(out[0], &byte, 1), 0); /* the sleep held the other end too */
    assert_false(process_kill(p));
    assert_true(process_cpu_ns(p) > 0 && process_cpu_ns(p) >= cpu_ns);
    assert_false(process_pause(p));
    process_resume(p);
    process_slow(p, 50);
    process_signal(p, SIGTERM);
    process_free(p);
    close(out[0]);
}

static void a_child_dies_with_its_parent(void **state) {
    (void)state;
    int out[2];
    char byte;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t parent = fork();
    if (parent == 0) {
        struct process_options o = plain(RUN("sh", "-c", "echo; exec sleep 1000"));
        o.output = out[1];
        o.patch_clock = process_clock_unavailable() == NULL;
        process_start(&o, NULL);
        for (;;) pause();
    }
    close(out[1]);
    assert_int_equal(read(out[0], &byte, 1), 1);
    kill(parent, SIGKILL);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    struct pollfd f = {.fd = out[0], .events = POLLIN};
    assert_int_equal(poll(&f, 1, PATIENCE_MS), 1);
    assert_int_equal(read(out[0], &byte, 1), 0);
    close(out[0]);
}

/* --- pausing and slowing ------------------------------------------------------------------------------------------ */

static char state_of(pid_t pid) {
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (f) {
        assert_int_equal(fscanf(f, "%*d %*s %c", &state), 1);
        fclose(f);
    }
    return state;
}

static off_t size_of(int fd) {
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    return st.st_size;
}

static void await_growth(int fd) {
    off_t size = size_of(fd);
    for (uint32_t ms = 0; size_of(fd) == size; ms++) {
        assert_true(ms < PATIENCE_MS);
        nap_ms(1);
    }
}

static void paused_stands_still(void **state) {
    (void)state;
    FILE *file = tmpfile();
    struct process_options o = plain(RUN("sh", "-c", "while :; do echo tick; done"));
    o.output = fileno(file);
    struct process *p = start(&o);
    await_growth(o.output);
    for (int round = 0; round < 20; round++) {
        assert_true(process_pause(p));
        assert_int_equal(state_of(process_pid(p)), 'T');
        off_t size = size_of(o.output);
        nap_ms(20);
        assert_int_equal(size_of(o.output), size);
        process_resume(p);
        await_growth(o.output);
    }
    process_slow(p, 50); /* the duty cycle must not wake what is paused */
    assert_true(process_pause(p));
    off_t size = size_of(o.output);
    nap_ms(100);
    assert_int_equal(size_of(o.output), size);
    process_slow(p, 100);
    nap_ms(20);
    assert_int_equal(state_of(process_pid(p)), 'T');
    process_resume(p);
    await_growth(o.output);
    process_pause(p);
    assert_true(process_kill(p)); /* and what is paused can be killed */
    process_free(p);
    fclose(file);
}

static void slowed_gets_its_share(void **state) {
    (void)state;
    struct process_options o = plain(RUN("sh", "-c", "while :; do :; done"));
    struct process *p = start(&o), *other = start(&o);
    process_slow(p, 10);
    process_slow(other, 60);
    uint64_t before = process_cpu_ns(p);
    assert_true(before < NS_PER_S);
    nap_ms(1000);
    uint64_t slow = process_cpu_ns(p) - before;
    printf("# 10 %%: %.0f ms of a second\n", (double)slow / 1e6);
    assert_in_range(slow, 0, 400 * NS_PER_MS);
    assert_in_range(process_slow_stops(p), 10, 110); /* of the 100 periods of that second */
    process_kill(other);                             /* while it is slowed */
    process_slow(p, 0);
    for (uint32_t ms = 0, last = 0; process_cpu_ns(p) < before + slow + 300 * NS_PER_MS; ms += 10) {
        assert_true(ms < PATIENCE_MS && last == 0);
        nap_ms(10);
    }
    process_slow(p, 1);
    process_free(other);
    process_free(p);
    o.argv = RUN("sleep", "0.05"); /* ends by itself while it is slowed */
    p = start(&o);
    process_slow(p, 30);
    await_end(p);
    process_free(p);
}

/* --- the clock ---------------------------------------------------------------------------------------------------- */

static void require_clock(void) {
    const char *why = process_clock_unavailable();
    if (!why) return;
    printf("# skipped: %s\n", why);
    skip();
}

/* Another program (this one, executed again): for every byte that comes on descriptor 3 it prints its clocks. */
static int tell_clocks(void) {
    char byte;
    while (read(3, &byte, 1) == 1) {
        struct timeval tv;
        struct timezone zone;
        time_t coarse, same = time(&coarse);
        bool odd = same != coarse || gettimeofday(&tv, &zone) || clock_gettime(1000, &(struct timespec){0}) != -1 ||
                   errno != EINVAL || gettimeofday(&tv, NULL);
        printf("%lld %lld %lld %lld %lld %d\n", (long long)signed_clock_ns(CLOCK_REALTIME),
               (long long)signed_clock_ns(CLOCK_MONOTONIC), (long long)signed_clock_ns(CLOCK_BOOTTIME),
               (long long)time(NULL), (long long)tv.tv_sec * 1000000 + tv.tv_usec, odd);
        fflush(stdout);
    }
    return 0;
}

struct teller {
    struct process *process;
    int ask, hear;
};
struct told {
    long long wall_ns, monotonic_ns, boot_ns, time_s, timeofday_us;
};

static struct teller teller_start(void) {
    int ask[2], hear[2];
    assert_int_equal(pipe2(ask, O_CLOEXEC) | pipe2(hear, O_CLOEXEC), 0);
    struct process_options o = plain(RUN("/proc/self/exe", "--tell-clocks"));
    o.pass = ask[0];
    o.output = hear[1];
    o.patch_clock = true;
    struct teller t = {start(&o), ask[1], hear[0]};
    close(ask[0]);
    close(hear[1]);
    return t;
}

static void teller_end(struct teller *t) {
    process_free(t->process);
    close(t->ask);
    close(t->hear);
}

static struct told tell(struct teller *t) {
    struct told told;
    char line[256];
    int odd;
    assert_int_equal(write(t->ask, "?", 1), 1);
    read_line(t->hear, line, sizeof line);
    assert_int_equal(sscanf(line, "%lld %lld %lld %lld %lld %d", &told.wall_ns, &told.monotonic_ns, &told.boot_ns,
                            &told.time_s, &told.timeofday_us, &odd),
                     6);
    assert_false(odd);
    return told;
}

/* Its clocks are ours plus these offsets: a reading lies between ours before and after. */
static void expect_clocks(struct teller *t, int64_t wall_offset_ns, int64_t monotonic_offset_ns) {
    int64_t wall = signed_clock_ns(CLOCK_REALTIME), monotonic = signed_clock_ns(CLOCK_MONOTONIC),
            boot = signed_clock_ns(CLOCK_BOOTTIME);
    struct told told = tell(t);
    assert_true(told.wall_ns >= wall + wall_offset_ns &&
                told.wall_ns <= signed_clock_ns(CLOCK_REALTIME) + wall_offset_ns);
    assert_true(told.monotonic_ns >= monotonic + monotonic_offset_ns);
    assert_true(told.monotonic_ns <= signed_clock_ns(CLOCK_MONOTONIC) + monotonic_offset_ns);
    assert_true(told.boot_ns >= boot + monotonic_offset_ns);
    assert_true(told.timeofday_us >= (wall + wall_offset_ns) / 1000 && told.timeofday_us <= told.wall_ns / 1000);
    assert_true(llabs(told.time_s - told.wall_ns / 1000000000) <= 1);
}

static void an_offset_moves_the_wall_clocks_alone(void **state) {
    (void)state;
    require_clock();
    struct teller t = teller_start();
    struct error e = {{0}};
    expect_clocks(&t, 0, 0);
    static const int64_t offsets[] = {3600 * (int64_t)NS_PER_S, -86400 * (int64_t)NS_PER_S, 1, 0,
                                      (int64_t)40 * 365 * 86400 * (int64_t)NS_PER_S};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        if (process_clock(t.process, (struct clock_condition){.wall_offset_ns = offsets[i]}, &e))
            fail_msg("%s", e.text);
        expect_clocks(&t, offsets[i], 0);
    }
    assert_int_equal(process_clock(t.process, (struct clock_condition){0}, &e), 0);
    expect_clocks(&t, 0, 0);
    assert_int_equal(process_clock(t.process, (struct clock_condition){.drift_ppm = 1000000}, &e), -1);
    assert_non_null(strstr(e.text, "ppm"));
    expect_clocks(&t, 0, 0);
    teller_end(&t);
}

static void a_drift_bends_both_clocks_and_stays(void **state) {
    (void)state;
    require_clock();
    struct teller t = teller_start();
    static const int32_t drifts[] = {100000, -100000};
    for (size_t i = 0; i < 2; i++) {
        struct told before = tell(&t), last = before;
        int64_t start_ns = signed_clock_ns(CLOCK_MONOTONIC),
                wall_gap = before.wall_ns - signed_clock_ns(CLOCK_REALTIME);
        assert_int_equal(process_clock(t.process, (struct clock_condition){.drift_ppm = drifts[i]}, NULL), 0);
        while (signed_clock_ns(CLOCK_MONOTONIC) < start_ns + 1000 * (int64_t)NS_PER_MS) {
            struct told now = tell(&t);
            assert_true(now.monotonic_ns > last.monotonic_ns && now.boot_ns > last.boot_ns);
            last = now;
        }
        int64_t elapsed_ns = signed_clock_ns(CLOCK_MONOTONIC) - start_ns, gained = elapsed_ns / 1000000 * drifts[i];
        assert_int_equal(process_clock(t.process, (struct clock_condition){0}, NULL), 0);
        uint64_t wall_ns, monotonic_ns;
        assert_int_equal(process_clock_read(t.process, &wall_ns, &monotonic_ns), 0);
        struct told after = tell(&t);
        int64_t wall_gained = after.wall_ns - signed_clock_ns(CLOCK_REALTIME) - wall_gap;
        int64_t gained_by_drift = (int64_t)monotonic_ns - signed_clock_ns(CLOCK_MONOTONIC);
        printf("# %d ppm over %.3f s: %.3f ms, monotonic off by %.3f ms\n", drifts[i], (double)elapsed_ns / 1e9,
               (double)wall_gained / 1e6, (double)gained_by_drift / 1e6);
        assert_true(llabs(wall_gained - gained) < 40 * (int64_t)NS_PER_MS);
        assert_true(after.wall_ns >= (int64_t)wall_ns && after.monotonic_ns >= (int64_t)monotonic_ns);
    }
    teller_end(&t);
}

static void date_believes_it(void **state) {
    (void)state;
    require_clock();
    int out[2];
    char line[64];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    struct process_options o = plain(RUN("bash", "-c", "while :; do printf '%(%s)T\\n' -1; sleep 0.01; done"));
    o.output = out[1];
    o.patch_clock = true;
    struct process *p = start(&o);
    assert_int_equal(process_clock(p, (struct clock_condition){.wall_offset_ns = -WEEK_NS}, NULL), 0);
    bool behind = false;
    for (int i = 0; i < 1000 && !behind; i++) {
        read_line(out[0], line, sizeof line);
        behind = llabs(atoll(line) + WEEK_NS / (int64_t)NS_PER_S - signed_clock_ns(CLOCK_REALTIME) / 1000000000) <= 2;
    }
    assert_true(behind);
    process_free(p);
    o.argv = RUN("date", "+%s");
    p = start(&o);
    await_end(p);
    assert_int_equal(process_clock(p, (struct clock_condition){.wall_offset_ns = 1}, NULL), -1);
    process_free(p);
    close(out[0]), close(out[1]);
}

static void a_program_that_executes_another_is_told(void **state) {
    (void)state;
    require_clock();
    int out[2];
    char line[64];
    struct error e = {{0}};
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    struct process_options o = plain(RUN("sh", "-c", "exec sh -c 'echo ready; sleep 1000'"));
    o.output = out[1];
    o.patch_clock = true;
    struct process *p = start(&o);
    read_line(out[0], line, sizeof line);
    assert_int_equal(process_clock(p, (struct clock_condition){.wall_offset_ns = 1}, &e), -1);
    assert_non_null(strstr(e.text, "executed another program"));
    process_free(p);
    o.patch_clock = false;
    p = start(&o);
    assert_int_equal(process_clock(p, (struct clock_condition){.wall_offset_ns = 1}, &e), -1);
    assert_non_null(strstr(e.text, "patch_clock"));
    process_free(p);
    close(out[0]), close(out[1]);
}

static void etcd_stamps_its_log_by_it(void **state) {
    (void)state;
    require_clock();
    if (system("command -v etcd >/dev/null 2>&1") != 0) {
        printf("# skipped: etcd is not installed\n");
        skip();
    }
    int out[2];
    char folder[] = "/tmp/harrow-process-XXXXXX", line[4096], day[32], *clean;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    struct process_options o =
        plain(RUN("etcd", "--data-dir", folder, "--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls",
                  "http://127.0.0.1:1", "--listen-peer-urls", "http://127.0.0.1:0"));
    o.output = out[1];
    o.patch_clock = true;
    struct process *p = start(&o);
    assert_int_equal(process_clock(p, (struct clock_condition){.wall_offset_ns = -WEEK_NS}, NULL), 0);
    time_t ago = time(NULL) - WEEK_NS / (int64_t)NS_PER_S;
    strftime(day, sizeof day, "%Y-%m-%d", localtime(&ago));
    do read_line(out[0], line, sizeof line);
    while (!strstr(line, day)); /* Go's clock, not libc's */
    process_free(p);
    clean = xformat("rm -rf %s", folder);
    assert_int_equal(system(clean), 0);
    free(clean);
    close(out[0]), close(out[1]);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--tell-clocks") == 0) return tell_clocks();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_environment_folder_and_passed_descriptor),
        cmocka_unit_test(what_cannot_be_started_is_told),
        cmocka_unit_test(signals_are_as_after_login),
        cmocka_unit_test(killed_is_gone_with_what_it_forked),
        cmocka_unit_test(a_child_dies_with_its_parent),
        cmocka_unit_test(paused_stands_still),
        cmocka_unit_test(slowed_gets_its_share),
        cmocka_unit_test(an_offset_moves_the_wall_clocks_alone),
        cmocka_unit_test(a_drift_bends_both_clocks_and_stays),
        cmocka_unit_test(date_believes_it),
        cmocka_unit_test(a_program_that_executes_another_is_told),
        cmocka_unit_test(etcd_stamps_its_log_by_it),
    };
    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
