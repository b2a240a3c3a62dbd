/* How the ends of node processes are told and judged: real ends of real processes, and what stands in a log. Whole runs
 * with a node that dies are in local.sh. */
#include "harness/local/local_internal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

struct place {
    struct local *local;
    struct local_node *node; /* n2 */
    char *log;
};

static void make_place(struct place *p) {
    struct local *l = xcalloc(1, sizeof *l);
    struct local_node *n = &l->node[1];
    l->nodes = 3;
    l->start_ns = monotonic_ns();
    l->world.host.history = history_new();
    *n = (struct local_node){.local = l, .id = 1};
    strcpy(n->folder, "/tmp/harrow-ends-XXXXXX");
    assert_non_null(mkdtemp(n->folder));
    *p = (struct place){l, n, xformat("%s/log", n->folder)};
    n->output = open(p->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(n->output >= 0);
}

static void remove_place(struct place *p) {
    close(p->node->output);
    unlink(p->log);
    rmdir(p->node->folder);
    free(p->log);
    history_free(p->local->world.host.history);
    heap_free(&p->local->timers);
    free(p->local);
}

static void say(struct place *p, const char *text) {
    assert_int_equal(write(p->node->output, text, strlen(text)), (ssize_t)strlen(text));
}

/* The status of a process that ended so: by this signal, or with this status. */
static int status_of(int signal, int code) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        if (signal) {
            struct sigaction plain = {.sa_handler = SIG_DFL};
            sigaction(signal, &plain, NULL); /* the test's own way with crashes is not wanted here */
            raise(signal);
        }
        _exit(code);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* What the history last says about the node. */
static const char *told(const struct place *p) {
    const struct history *h = p->local->world.host.history;
    for (size_t i = h->samples_count; i-- > 0;)
        if (h->samples[i].kind == SAMPLE_LOG && h->samples[i].node == 1) return history_text(h, h->samples[i].text);
    return "";
}

static void a_crash_is_told_with_the_end_of_the_log(void **state) {
    (void)state;
    struct place p;
    make_place(&p);
    say(&p, "what another process wrote\n");
    p.node->log_start = node_log_size(p.node);
    say(&p, "one\ntwo\nthree\n\nassertion \x01 failed: x == y");
    node_on_end(p.node, status_of(SIGSEGV, 0));
    assert_string_equal(told(&p), "n2 died of signal 11 (Segmentation fault), which nobody had ordered; the end of "
                                  "n2/log: two | three | assertion ? failed: x == y");
    assert_string_equal(p.local->violation, told(&p));
    assert_int_equal(p.local->timers.count, 1); /* its supervisor starts it again */
    p.node->log_start = node_log_size(p.node);
    node_on_end(p.node, status_of(0, 3));
    assert_string_equal(told(&p), "n2 ended by itself with status 3, which nobody had ordered; see n2/log");
    assert_non_null(strstr(p.local->violation, "signal 11")); /* the first one counts */
    remove_place(&p);
}

static void a_long_log_is_cut(void **state) {
    (void)state;
    struct place p;
    make_place(&p);
    for (int i = 0; i < 1000; i++) say(&p, "0123456789012345678901234567890123456789012345678901234567890123456789");
    say(&p, "\nthe last line\n");
    node_on_end(p.node, status_of(0, 1));
    assert_non_null(strstr(told(&p), "0123456789"));
    assert_non_null(strstr(told(&p), " | the last line"));
    assert_true(strlen(told(&p)) < 300);
    remove_place(&p);
}

static void what_is_a_defect_of_a_bundled_node(void **state) {
    (void)state;
    static const struct {
        int signal, code;
        bool leaving, defect;
    } cases[] = {
        {0, 0, false, false},    {0, 0, true, false},      {0, 1, false, false},       {0, 2, false, false},
        {0, 3, false, true},     {0, 3, true, true},       {0, 255, false, true},      {SIGABRT, 0, false, true},
        {SIGBUS, 0, true, true}, {SIGFPE, 0, false, true}, {SIGKILL, 0, false, false}, {SIGTERM, 0, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct place p;
        make_place(&p);
        p.node->leaving = cases[i].leaving;
        node_on_end(p.node, status_of(cases[i].signal, cases[i].code));
        if ((*p.local->violation != 0) != cases[i].defect) fail_msg("case %zu: %s", i, told(&p));
        bool ordered = strstr(told(&p), "nobody had ordered") == NULL;
        assert_true(ordered == (cases[i].leaving && !cases[i].defect));
        remove_place(&p);
    }
}

static void a_foreign_node_is_restarted_or_left_as_its_target_says(void **state) {
    (void)state;
    static const char *const texts[] = {"", "stays_down = true,"};
    for (int left = 0; left < 2; left++) {
        struct place p;
        struct error e = {{0}};
        make_place(&p);
        char *text = xformat("return { doc = 'x', %s node = function() end, ready = function() end, "
                             "open = function() end, operations = { read = function() end } }",
                             texts[left]);
        p.local->target = foreign_load("x.lua", bytes_str(text), &e);
        if (!p.local->target) fail_msg("%s", e.text);
        node_on_end(p.node, status_of(SIGABRT, 0));
        assert_non_null(strstr(told(&p), "died of signal 6"));
        assert_int_equal(*p.local->violation, 0); /* not ours to judge */
        assert_int_equal(p.local->timers.count, left ? 0 : 1);
        assert_int_equal(p.node->stays_down, left);
        foreign_free(p.local->target);
        free(text);
        remove_place(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_is_told_with_the_end_of_the_log),
        cmocka_unit_test(a_long_log_is_cut),
        cmocka_unit_test(what_is_a_defect_of_a_bundled_node),
        cmocka_unit_test(a_foreign_node_is_restarted_or_left_as_its_target_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
