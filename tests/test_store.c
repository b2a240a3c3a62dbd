/* The store: what goes in comes out, whoever writes beside, dies in between or finds the disk full; and what is not a
 * store, or is damaged, is refused in words. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "history/store.h"
#include "tests/histories.h"
#include "tests/support.h"

static char dir[512]; /* a fresh folder for each test */

static int make_dir(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/harrow-store-XXXXXX", base ? base : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    return folder_remove(dir);
}

static struct store *opened(bool read_only) {
    struct error e = {0};
    struct store *s = store_open(dir, read_only, &e);
    if (!s) fail_msg("%s", e.text);
    return s;
}

static void begin(struct store *s, const char *name) {
    struct error e = {0};
    struct run_info run = {.run = (char *)(uintptr_t)name, .scenario = (char *)(uintptr_t) "kill"};
    if (store_begin(s, &run, &e)) fail_msg("%s", e.text);
}

static void finish(struct store *s, const char *name, const struct history *h) {
    struct error e = {0};
    struct run_info run = {
        .run = (char *)(uintptr_t)name, .state = (char *)(uintptr_t) "done", .verdict = (char *)(uintptr_t) "valid"};
    if (store_finish(s, &run, h, NULL, 0, &e)) fail_msg("%s", e.text);
}

static void assert_state(struct store *s, const char *name, const char *wanted) {
    struct run_info run;
    struct error e = {0};
    if (store_find(s, name, &run, &e)) fail_msg("%s", e.text);
    assert_string_equal(run.state, wanted);
    run_info_free(&run);
}

static void assert_stored(struct store *s, const char *name, const struct history *h) {
    struct history *loaded = history_new();
    struct error e = {0};
    if (store_load(s, name, loaded, &e)) fail_msg("%s", e.text);
    if (!histories_equal(h, loaded, &e)) fail_msg("%s: %s", name, e.text);
    history_free(loaded);
}

static void sql(const char *text) {
    char path[600], *message = NULL;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/harrow.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    sqlite3_exec(db, text, NULL, NULL, &message);
    if (message) fail_msg("%s", message);
    sqlite3_close(db);
}

/* --- in and out --------------------------------------------------------------------------------------------------- */

static void a_history_comes_back_equal_however_it_was_passed(void **state) {
    (void)state;
    struct store *s = opened(false);
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct history *h = history_new();
        struct random_history r;
        struct error e = {0};
        char name[32];
        snprintf(name, sizeof name, "run-%d", (int)seed);
        random_history_start(&r, h, seed);
        begin(s, name);
        for (uint64_t step = 0; step < seed % 20; step++) {
            random_history_go_on(&r, 1 + (uint32_t)prng_below(&r.prng, 60));
            if (store_progress(s, name, h, &e)) fail_msg("%s", e.text);
            assert_stored(s, name, h);
        }
        random_history_go_on(&r, 50);
        finish(s, name, h);
        assert_stored(s, name, h);
        history_free(h);
    }
    store_close(s);
}

static void progress_without_news_writes_nothing(void **state) {
    (void)state;
    struct store *s = opened(false);
    struct history *h = history_new();
    struct error e = {0};
    char path[600];
    struct stat before, after;
    begin(s, "r");
    history_invoke(h, 1, 1, 0, 0, OP_READ, NO_STRING, VALUE_OF_NIL);
    assert_int_equal(store_progress(s, "r", h, &e), 0);
    snprintf(path, sizeof path, "%s/harrow.db-wal", dir);
    assert_int_equal(stat(path, &before), 0);
    for (int i = 0; i < 100; i++) assert_int_equal(store_progress(s, "r", h, &e), 0);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    history_free(h);
    store_close(s);
}

static void everything_about_a_run_is_kept(void **state) {
    (void)state;
    struct error e = {0};
    struct run_info in = {.run = "leader-kill-1",
                          .scenario = "leader-kill",
                          .scenario_path = "scenarios/leader-kill.lua",
                          .scenario_text = "return { doc = \"\xc3\xa9\" }\n",
                          .target = "raft",
                          .world = "sim",
                          .mutant = "raft/no-fsync",
                          .seed = UINT64_MAX - 1,
                          .options_json = "{\"time\":60}",
                          .started_at = "2026-11-23T06:30:01Z"};
    struct check_row checks[] = {{"linearizable", "invalid", "line 1\nline 2", "[1,2]"}, {"load", "valid", "", ""}};
    struct store *s = opened(false);
    assert_int_equal(store_begin(s, &in, &e), 0);
    assert_state(s, "leader-kill-1", "running");
    in.state = "done", in.verdict = "invalid", in.detail = "stale read", in.wall_seconds = 1.25,
    in.virtual_seconds = 60.5;
    in.events = 1u << 31, in.trace_hash = UINT64_C(0x8000000000000001);
    in.ops_ok = 5, in.ops_fail = 6, in.ops_info = 7, in.faults = 8;
    assert_int_equal(store_finish(s, &in, NULL, checks, 2, &e), 0);
    store_close(s);

    s = opened(true);
    struct run_info out;
    assert_int_equal(store_find(s, "last", &out, &e), 0);
    assert_string_equal(out.run, in.run);
    assert_string_equal(out.scenario, in.scenario);
    assert_string_equal(out.scenario_path, in.scenario_path);
    assert_string_equal(out.scenario_text, in.scenario_text);
    assert_string_equal(out.target, in.target);
    assert_string_equal(out.world, in.world);
    assert_string_equal(out.mutant, in.mutant);
    assert_string_equal(out.options_json, in.options_json);
    assert_string_equal(out.state, in.state);
    assert_string_equal(out.verdict, in.verdict);
    assert_string_equal(out.detail, in.detail);
    assert_string_equal(out.started_at, in.started_at);
    assert_true(out.seed == in.seed && out.trace_hash == in.trace_hash && out.events == in.events);
    assert_true(out.wall_seconds == in.wall_seconds && out.virtual_seconds == in.virtual_seconds);
    assert_true(out.ops_ok == 5 && out.ops_fail == 6 && out.ops_info == 7 && out.faults == 8);
    run_info_free(&out);
    struct check_row *rows;
    size_t count;
    assert_int_equal(store_checks(s, "leader", &rows, &count, &e), 0);
    assert_int_equal(count, 2);
    assert_string_equal(rows[0].detail, "line 1\nline 2");
    assert_string_equal(rows[0].ops_json, "[1,2]");
    assert_string_equal(rows[1].name, "load");
    assert_string_equal(rows[1].ops_json, "[]");
    check_rows_free(rows, count);
    store_close(s);
}

static void a_later_check_replaces_the_verdict(void **state) {
    (void)state;
    struct error e = {0};
    struct store *s = opened(false);
    struct check_row first[] = {{"a", "valid", "", "[]"}, {"b", "valid", "", "[]"}},
                     second = {"c", "invalid", "x", "[3]"};
    struct check_row *rows;
    struct run_info run = {.run = "r", .state = "done", .verdict = "valid"}, out;
    size_t count;
    begin(s, "r");
    assert_int_equal(store_finish(s, &run, NULL, first, 2, &e), 0);
    assert_int_equal(store_set_checks(s, "r", "invalid", "found later", &second, 1, &e), 0);
    assert_int_equal(store_checks(s, "r", &rows, &count, &e), 0);
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].name, "c");
    check_rows_free(rows, count);
    assert_int_equal(store_find(s, "r", &out, &e), 0);
    assert_string_equal(out.verdict, "invalid");
    assert_string_equal(out.detail, "found later");
    run_info_free(&out);
    store_close(s);
}

static void a_run_is_found_by_name_prefix_or_last(void **state) {
    (void)state;
    struct store *s = opened(false);
    struct run_info out, *list;
    struct error e = {0};
    size_t count;
    assert_int_equal(store_find(s, "last", &out, &e), -1);
    assert_non_null(strstr(e.text, "no run is stored in "));
    static const char *const names[] = {"alpha-1", "alpha-12", "beta", "beta-2", "al_ha", "x1",
                                        "x2",      "x3",       "x4",   "x5",     "x6"};
    for (size_t i = 0; i < 11; i++) begin(s, names[i]);
    static const char *const found[][2] = {
        {"alpha-1", "alpha-1"}, {"alpha-12", "alpha-12"}, {"beta-", "beta-2"}, {"al_", "al_ha"}, {"last", "x6"}};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(store_find(s, found[i][0], &out, &e), 0);
        assert_string_equal(out.run, found[i][1]);
        run_info_free(&out);
    }
    assert_int_equal(store_find(s, "alph", &out, &e), -1);
    assert_string_equal(e.text, "2 runs begin with \"alph\": alpha-12, alpha-1; write more of the name");
    assert_int_equal(store_find(s, "x", &out, &e), -1);
    assert_string_equal(e.text, "6 runs begin with \"x\": x6, x5, x4, x3, x2, ...; write more of the name");
    assert_int_equal(store_find(s, "%", &out, &e), -1);
    assert_int_equal(store_find(s, "", &out, &e), -1);
    assert_int_equal(store_list(s, &list, &count, &e), 0);
    assert_int_equal(count, 11);
    assert_string_equal(list[0].run, "x6");
    assert_string_equal(list[10].run, "alpha-1");
    assert_true(strlen(list[0].started_at) == 20);
    run_infos_free(list, count);
    store_close(s);
}

static void names_that_are_no_folder_or_taken_are_refused(void **state) {
    (void)state;
    struct store *s = opened(false);
    struct error e = {0};
    static const char *const names[] = {"", "../up", ".hidden", "a/b", "last", "a b", "caf\xc3\xa9"};
    for (size_t i = 0; i < 7; i++) {
        struct run_info run = {.run = (char *)(uintptr_t)names[i]};
        assert_int_equal(store_begin(s, &run, &e), -1);
        assert_non_null(strstr(e.text, "cannot name a run"));
    }
    begin(s, "twice");
    struct run_info run = {.run = "twice"};
    assert_int_equal(store_begin(s, &run, &e), -1);
    assert_non_null(strstr(e.text, "there is a run of that name"));
    run.run = "never-begun";
    assert_int_equal(store_finish(s, &run, NULL, NULL, 0, &e), -1);
    assert_non_null(strstr(e.text, "was not begun"));
    char path[700];
    struct stat about;
    assert_int_equal(store_run_folder(s, "twice", path, sizeof path, &e), 0);
    assert_true(stat(path, &about) == 0 && S_ISDIR(about.st_mode));
    assert_int_equal(store_run_folder(s, "twice", path, 5, &e), -1);
    store_close(s);
}

/* --- writers that die, and writers side by side ------------------------------------------------------------------- */

/* A child that writes a random history until it is killed; after each store_progress it tells so through the pipe. */
static pid_t writing_child(const char *name, uint64_t seed, int *progress) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct history *h = history_new();
        struct random_history r;
        struct error e = {0};
        struct run_info run = {.run = (char *)(uintptr_t)name};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        struct store *s = store_open(dir, false, &e);
        if (!s || store_begin(s, &run, &e)) _exit(1);
        random_history_start(&r, h, seed);
        for (;;) {
            random_history_go_on(&r, 40);
            if (store_progress(s, name, h, &e) || write(ends[1], "p", 1) != 1) _exit(1);
        }
    }
    close(ends[1]);
    *progress = ends[0];
    return pid;
}

static void kill_and_reap(pid_t pid) {
    int status;
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void what_was_passed_to_progress_survives_a_kill(void **state) {
    (void)state;
    struct prng prng;
    prng_seed(&prng, 5, 1);
    for (uint64_t round = 0; round < 25; round++) {
        char name[32], c;
        int progress;
        uint32_t steps = 0;
        snprintf(name, sizeof name, "killed-%d", (int)round);
        pid_t pid = writing_child(name, round, &progress);
        assert_int_equal(read(progress, &c, 1), 1);
        usleep((useconds_t)prng_below(&prng, 40000));
        kill_and_reap(pid);
        steps++;
        while (read(progress, &c, 1) == 1) steps++;
        close(progress);

        struct store *s = opened(true);
        assert_state(s, name, "interrupted");
        struct history *loaded = history_new(), *h = history_new();
        struct random_history r;
        struct error e = {0};
        if (store_load(s, name, loaded, &e)) fail_msg("%s", e.text);
        random_history_start(&r, h, round);
        random_history_go_on(&r, 40 * steps);
        if (!histories_equal(h, loaded, &e)) { /* then it died between the commit and telling so */
            for (int i = 0; i < 40; i++) random_history_go_on(&r, 1);
            if (!histories_equal(h, loaded, &e)) fail_msg("after %u times: %s", steps, e.text);
        }
        history_free(loaded);
        history_free(h);
        store_close(s);
    }
}

static void a_living_writer_reads_as_running_also_from_another_process(void **state) {
    (void)state;
    int progress;
    char c;
    pid_t pid = writing_child("alive", 1, &progress);
    assert_int_equal(read(progress, &c, 1), 1);
    struct store *s = opened(true);
    assert_state(s, "alive", "running");
    siginfo_t about;
    kill(pid, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)pid, &about, WEXITED | WNOWAIT), 0);
    assert_state(s, "alive", "interrupted"); /* a zombie does not write */
    kill_and_reap(pid);
    assert_state(s, "alive", "interrupted");
    store_close(s);
    close(progress);
}

static void a_recycled_pid_does_not_revive_a_run(void **state) {
    (void)state;
    int progress;
    char c, text[128];
    pid_t pid = writing_child("dead", 1, &progress);
    assert_int_equal(read(progress, &c, 1), 1);
    kill_and_reap(pid);
    close(progress);
    snprintf(text, sizeof text, "UPDATE runs SET writer_pid = %d", (int)getpid());
    sql(text);
    struct store *s = opened(true);
    assert_state(s, "dead", "interrupted");
    store_close(s);
}

static void a_writer_in_another_pid_namespace_is_told_by_its_lock(void **state) {
    (void)state;
    int ready[2], progress;
    char c;
    assert_int_equal(pipe(ready), 0);
    pid_t parent = fork();
    if (parent == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (unshare(CLONE_NEWPID) && unshare(CLONE_NEWUSER | CLONE_NEWPID)) _exit(1);
        writing_child("inside", 1, &progress);
        if (read(progress, &c, 1) != 1 || write(ready[1], "r", 1) != 1) _exit(1);
        pause();
    }
    close(ready[1]);
    if (read(ready[0], &c, 1) != 1) {
        kill(parent, SIGKILL);
        waitpid(parent, NULL, 0);
        close(ready[0]);
        skip();
    }
    struct store *s = opened(true);
    assert_state(s, "inside", "running");
    sql("UPDATE runs SET writer_space = 'another machine'");
    assert_state(s, "inside", "running");
    kill_and_reap(parent); /* and the writer a moment later */
    for (int waited_ms = 0; waited_ms < 10000; waited_ms += 10) {
        struct run_info run;
        struct error e = {0};
        assert_int_equal(store_find(s, "inside", &run, &e), 0);
        bool interrupted = strcmp(run.state, "interrupted") == 0;
        run_info_free(&run);
        if (interrupted) break;
        usleep(10000);
    }
    assert_state(s, "inside", "interrupted");
    store_close(s);
    close(ready[0]);
}

static void writers_side_by_side_do_not_disturb_each_other(void **state) {
    (void)state;
    enum { WRITERS = 4, STEPS = 40 };
    pid_t pids[WRITERS];
    for (uint32_t i = 0; i < WRITERS; i++) { /* all of them also race to create the store */
        pids[i] = fork();
        if (pids[i]) continue;
        char name[16];
        struct history *h = history_new();
        struct random_history r;
        struct error e = {0};
        snprintf(name, sizeof name, "w%u", i);
        struct run_info run = {.run = name, .state = "done"};
        struct store *s = store_open(dir, false, &e);
        bool ok = s && store_begin(s, &run, &e) == 0;
        random_history_start(&r, h, i);
        for (uint32_t step = 0; ok && step < STEPS; step++) {
            random_history_go_on(&r, 100);
            ok = store_progress(s, name, h, &e) == 0;
        }
        ok = ok && store_finish(s, &run, h, NULL, 0, &e) == 0;
        if (!ok) fprintf(stderr, "writer %u: %s\n", i, e.text);
        store_close(s);
        history_free(h);
        _exit(ok ? 0 : 1);
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    struct store *s = opened(true);
    for (uint32_t i = 0; i < WRITERS; i++) {
        char name[16];
        struct history *h = history_new();
        struct random_history r;
        snprintf(name, sizeof name, "w%u", i);
        random_history_start(&r, h, i);
        random_history_go_on(&r, 100 * STEPS);
        assert_stored(s, name, h);
        assert_state(s, name, "done");
        history_free(h);
    }
    store_close(s);
}

static void one_process_may_write_several_runs(void **state) {
    (void)state;
    struct store *s = opened(false);
    struct history *a = history_new(), *b = history_new();
    struct random_history ra, rb;
    struct error e = {0};
    random_history_start(&ra, a, 1);
    random_history_start(&rb, b, 2);
    begin(s, "a");
    begin(s, "b");
    for (int i = 0; i < 10; i++) {
        random_history_go_on(&ra, 30);
        random_history_go_on(&rb, 20);
        assert_int_equal(store_progress(s, "a", a, &e) | store_progress(s, "b", b, &e), 0);
    }
    finish(s, "a", a);
    assert_state(s, "a", "done");
    assert_state(s, "b", "running");
    finish(s, "b", b);
    assert_stored(s, "a", a);
    assert_stored(s, "b", b);
    history_free(a);
    history_free(b);
    store_close(s);
}

/* --- disks and files that fail ------------------------------------------------------------------------------------ */

static void a_full_disk_is_said_and_nothing_is_lost(void **state) {
    (void)state;
    struct store *s = opened(false);
    struct history *h = history_new();
    struct random_history r;
    struct error e = {0};
    struct rlimit before, small;
    random_history_start(&r, h, 3);
    begin(s, "full");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){.rlim_cur = 400000, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    int rc = 0;
    while (rc == 0 && h->count < 100000) {
        random_history_go_on(&r, 500);
        rc = store_progress(s, "full", h, &e);
    }
    int rc_again = store_progress(s, "full", h, &e);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(rc, -1);
    assert_int_equal(rc_again, -1);
    assert_non_null(strstr(e.text, "storing run full: "));
    assert_non_null(strstr(e.text, "harrow.db"));
    assert_int_equal(store_progress(s, "full", h, &e), 0); /* there is space again */
    assert_stored(s, "full", h);
    history_free(h);
    store_close(s);
}

static void no_space_left_is_named_as_such(void **state) {
    (void)state;
    pid_t pid = fork();
    if (pid == 0) { /* a file system of one megabyte, in a mount namespace of its own */
        struct error e = {0};
        struct history *h = history_new();
        struct random_history r;
        if (unshare(CLONE_NEWNS) || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) ||
            mount("none", dir, "tmpfs", 0, "size=1m"))
            _exit(77);
        struct store *s = store_open(dir, false, &e);
        struct run_info run = {.run = "r"};
        random_history_start(&r, h, 3);
        if (!s || store_begin(s, &run, &e)) _exit(1);
        int rc = 0;
        while (rc == 0 && h->count < 100000) {
            random_history_go_on(&r, 500);
            rc = store_progress(s, "r", h, &e);
        }
        store_close(s);
        history_free(h);
        if (rc == 0 || !strstr(e.text, "no space left")) fprintf(stderr, "%s\n", e.text);
        _exit(rc && strstr(e.text, "no space left") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) skip();
    assert_int_equal(status, 0);
}

/* What store_open says in a child that has no privileges, so that permissions count. */
static void say_as_nobody(bool read_only, char *text, size_t text_size) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct error e = {0};
        if (geteuid() == 0 && (setgid(65534) || setuid(65534))) _exit(1);
        struct store *s = store_open(dir, read_only, &e);
        struct run_info run;
        if (s && store_find(s, "last", &run, &e) == 0) {
            snprintf(e.text, sizeof e.text, "found %s", run.run);
            run_info_free(&run);
        }
        store_close(s);
        _exit(write(ends[1], e.text, strlen(e.text)) < 0);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], text, text_size - 1);
    text[n > 0 ? n : 0] = 0;
    close(ends[0]);
    waitpid(pid, NULL, 0);
}

static void a_folder_that_may_only_be_read_can_be_read(void **state) {
    (void)state;
    char text[600], path[600];
    struct store *s = opened(false);
    begin(s, "kept");
    finish(s, "kept", NULL);
    store_close(s);
    snprintf(path, sizeof path, "%s/harrow.db", dir);
    chmod(path, 0444);
    chmod(dir, 0555);
    say_as_nobody(true, text, sizeof text);
    assert_string_equal(text, "found kept");
    say_as_nobody(false, text, sizeof text);
    assert_non_null(strstr(text, path));
    assert_non_null(strstr(text, "permissions"));
    chmod(dir, 0700);
}

static void a_folder_that_cannot_be_made_is_named(void **state) {
    (void)state;
    struct error e = {0};
    assert_null(store_open("/proc/nowhere/store", false, &e));
    assert_non_null(strstr(e.text, "cannot create the folder /proc/nowhere"));
    assert_null(store_open("/nonexistent/store", true, &e));
    assert_string_equal(e.text, "no runs are stored in /nonexistent/store: there is no /nonexistent/store/harrow.db");
}

static void folders_are_made_as_needed(void **state) {
    (void)state;
    struct error e = {0};
    char deep[600];
    snprintf(deep, sizeof deep, "%s/a//b/c/", dir);
    struct store *s = store_open(deep, false, &e);
    if (!s) fail_msg("%s", e.text);
    assert_string_equal(store_dir(s), deep);
    store_close(s);
}

static void write_db(const void *data, size_t size) {
    char path[600];
    snprintf(path, sizeof path, "%s/harrow.db", dir);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
}

static void a_file_that_is_no_store_is_left_alone(void **state) {
    (void)state;
    struct error e = {0};
    write_db("This is a text, no database. It is long enough to look at: a header has 100 bytes, and this one, too, "
             "has more.",
             112);
    for (int read_only = 0; read_only < 2; read_only++) {
        assert_null(store_open(dir, read_only, &e));
        assert_non_null(strstr(e.text, "is not a store of harrow"));
    }
    write_db("", 0);
    sql("CREATE TABLE addresses (name)");
    for (int read_only = 0; read_only < 2; read_only++) {
        assert_null(store_open(dir, read_only, &e));
        assert_non_null(strstr(e.text, "is a database of something else"));
    }
}

static void a_store_of_a_newer_harrow_is_left_alone(void **state) {
    (void)state;
    struct error e = {0};
    store_close(opened(false));
    sql("PRAGMA user_version = 99");
    for (int read_only = 0; read_only < 2; read_only++) {
        assert_null(store_open(dir, read_only, &e));
        assert_non_null(strstr(e.text, "was written by a newer harrow (format 99, this one knows 2)"));
    }
}

static int64_t version(void) {
    char path[600];
    sqlite3 *db;
    sqlite3_stmt *row;
    snprintf(path, sizeof path, "%s/harrow.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &row, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(row), SQLITE_ROW);
    int64_t found = sqlite3_column_int64(row, 0);
    sqlite3_finalize(row);
    sqlite3_close(db);
    return found;
}

/* So that an older harrow, which does not know what is added now, is told so rather than puzzled by it. */
static void a_store_of_an_older_harrow_is_raised_by_writing_only(void **state) {
    (void)state;
    store_close(opened(false));
    sql("PRAGMA user_version = 1");
    store_close(opened(true));
    assert_int_equal(version(), 1);
    store_close(opened(false));
    assert_int_equal(version(), 2);
}

/* Damages the file in every way that `damage` knows; the store may then refuse or give an older or partial truth, but
 * says so in words and never crashes. */
static void survive(const uint8_t *data, size_t size, uint32_t *refusals) {
    struct error e = {0};
    struct run_info *runs;
    struct history *h = history_new();
    size_t count;
    write_db(data, size);
    struct store *s = store_open(dir, true, &e);
    if (!s || store_list(s, &runs, &count, &e)) {
        assert_true(e.text[0]);
        ++*refusals;
    } else {
        run_infos_free(runs, count);
        if (store_load(s, "r", h, &e)) {
            assert_true(e.text[0]);
            ++*refusals;
        }
    }
    store_close(s);
    history_free(h);
}

static void a_damaged_store_is_refused_in_words(void **state) {
    (void)state;
    struct store *s = opened(false);
    struct history *h = history_new();
    struct random_history r;
    struct buffer whole = {0};
    uint32_t refusals = 0;
    char path[600];
    random_history_start(&r, h, 3);
    random_history_go_on(&r, 1000);
    begin(s, "r");
    finish(s, "r", h);
    store_close(s);
    history_free(h);
    snprintf(path, sizeof path, "%s/harrow.db", dir);
    FILE *f = fopen(path, "rb");
    buffer_reserve(&whole, 1 << 20);
    whole.size = fread(whole.data, 1, 1 << 20, f);
    fclose(f);
    for (size_t size = 4096; size < whole.size; size += 8192) survive(whole.data, size, &refusals);
    assert_true(refusals >= whole.size / 8192 - 1);
    for (uint32_t i = 0; i < 300; i++) {
        size_t at = prng_below(&r.prng, whole.size);
        uint8_t kept = whole.data[at];
        whole.data[at] = (uint8_t)prng_next(&r.prng);
        survive(whole.data, whole.size, &refusals);
        whole.data[at] = kept;
    }
    buffer_free(&whole);
}

static void rows_that_make_no_sense_are_refused(void **state) {
    (void)state;
    static const char *const edits[][2] = {
        {"DELETE FROM ops WHERE op = 3", "operations before it are missing"},
        {"UPDATE ops SET invoke_ns = 0 WHERE op = 5", "invoke_ns"},
        {"UPDATE ops SET intended_ns = -1 WHERE op = 5", "invoke_ns"},
        {"UPDATE ops SET complete_ns = NULL WHERE op = 5", "complete_ns"},
        {"UPDATE ops SET complete_ns = -1 WHERE op = 5", "complete_ns"},
        {"UPDATE ops SET status = 'fine' WHERE op = 5", "status"},
        {"UPDATE ops SET argument = '1.5' WHERE op = 5", "argument"},
        {"UPDATE ops SET argument = '1 2' WHERE op = 5", "argument"},
        {"UPDATE ops SET result = '' WHERE op = 5", "result"},
        {"UPDATE ops SET f = '' WHERE op = 5", "(f)"},
        {"UPDATE ops SET process = -1 WHERE op = 5", "process"},
        {"UPDATE ops SET node = 300 WHERE op = 5", "node"},
        {"UPDATE faults SET fault = 7", "faults before it are missing"},
        {"UPDATE faults SET end_ns = 0", "end_ns"},
        {"UPDATE samples SET kind = 'x'", "kind"},
        {"UPDATE samples SET role = 'x'", "role"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        struct store *s = opened(false);
        struct history *h = history_new();
        struct error e = {0};
        for (uint32_t op = 0; op < 10; op++)
            history_complete(h, history_invoke(h, 10 + op, 10, 0, 0, OP_WRITE, NO_STRING, VALUE_OF_INT(1)), 30, OP_OK,
                             VALUE_OF_NIL, NO_STRING);
        history_fault_end(h, history_fault_start(h, 5, "kill", NULL, NULL), 6, 1, 1);
        history_sample(h, (struct sample){.text = NO_STRING});
        begin(s, "r");
        finish(s, "r", h);
        sql(edits[i][0]);
        if (store_load(s, "r", h, &e) == 0) fail_msg("taken: %s", edits[i][0]);
        if (!strstr(e.text, edits[i][1]) || !strstr(e.text, "makes no sense")) fail_msg("%s: %s", edits[i][0], e.text);
        store_close(s);
        history_free(h);
        sql("PRAGMA foreign_keys = ON; DELETE FROM runs");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_history_comes_back_equal_however_it_was_passed),
        TEST(progress_without_news_writes_nothing),
        TEST(everything_about_a_run_is_kept),
        TEST(a_later_check_replaces_the_verdict),
        TEST(a_run_is_found_by_name_prefix_or_last),
        TEST(names_that_are_no_folder_or_taken_are_refused),
        TEST(what_was_passed_to_progress_survives_a_kill),
        TEST(a_living_writer_reads_as_running_also_from_another_process),
        TEST(a_recycled_pid_does_not_revive_a_run),
        TEST(a_writer_in_another_pid_namespace_is_told_by_its_lock),
        TEST(writers_side_by_side_do_not_disturb_each_other),
        TEST(one_process_may_write_several_runs),
        TEST(a_full_disk_is_said_and_nothing_is_lost),
        TEST(no_space_left_is_named_as_such),
        TEST(a_folder_that_may_only_be_read_can_be_read),
        TEST(a_folder_that_cannot_be_made_is_named),
        TEST(folders_are_made_as_needed),
        TEST(a_file_that_is_no_store_is_left_alone),
        TEST(a_store_of_a_newer_harrow_is_left_alone),
        TEST(a_store_of_an_older_harrow_is_raised_by_writing_only),
        TEST(a_damaged_store_is_refused_in_words),
        TEST(rows_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
