/* The report of a run in real time: it says when harrow itself was late and what passed each link, also when the
 * samples that say so come twice, out of order, damaged or hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "reports/internal.h"
#include "tests/support.h"

struct fixture {
    char folder[256];
    struct history *h;
    struct run_info run;
    char *page;
};

static int setup(void **state) {
    struct fixture *f = xcalloc(1, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "%s/harrow-reports-XXXXXX", text_or(getenv("TMPDIR"), "/tmp"));
    assert_non_null(mkdtemp(f->folder));
    f->h = history_new();
    f->run = (struct run_info){.run = "calm-1", .scenario = "calm", .world = "local", .verdict = "valid"};
    uint32_t key = history_intern(f->h, "k1");
    for (uint64_t s = 0; s < 60; s++) {
        uint32_t op = history_invoke(f->h, s * NS_PER_S, s * NS_PER_S, 1, 0, OP_READ, key, VALUE_OF_NIL);
        history_complete(f->h, op, s * NS_PER_S + NS_PER_MS, OP_OK, VALUE_OF_NIL, NO_STRING);
    }
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    folder_remove(f->folder);
    history_free(f->h);
    free(f->page);
    free(f);
    return 0;
}

static void sample(struct fixture *f, uint8_t kind, uint64_t time_ns, const char *text) {
    history_sample(f->h, (struct sample){.time_ns = time_ns,
                                         .kind = kind,
                                         .node = NODE_UNKNOWN,
                                         .text = text ? history_intern(f->h, text) : NO_STRING});
}

static void late(struct fixture *f, uint64_t time_ns, unsigned late_ms, unsigned dropped) {
    char text[96];
    snprintf(text, sizeof text, "{\"late_ns\":%u000000,\"dropped\":%u}", late_ms, dropped);
    sample(f, SAMPLE_LATE, time_ns, text);
}

static void report(struct fixture *f) {
    struct report_input in = {.run = &f->run, .history = f->h, .nodes = 3, .folder = f->folder};
    char path[512];
    struct error warning, e = {{0}};
    if (report_html(&in, path, sizeof path, &warning, &e)) fail_msg("%s", e.text);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    struct buffer text = {0};
    char block[65536];
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;) buffer_append(&text, block, n);
    fclose(file);
    buffer_append(&text, "", 1);
    f->page = (char *)text.data;
}

static size_t times(const char *text, const char *part) {
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) count++;
    return count;
}

static bool has(const struct fixture *f, const char *part) {
    return strstr(f->page, part) != NULL;
}

static void late_windows_are_counted_once_and_drawn_as_bands(void **state) {
    struct fixture *f = *state;
    late(f, 20 * NS_PER_S + 100 * NS_PER_MS, 30, 0); /* two windows side by side: one band */
    late(f, 20 * NS_PER_S, 25, 0);
    late(f, 20 * NS_PER_S, 140, 7); /* told again: it was worse */
    late(f, 40 * NS_PER_S, 50, 0);
    report(f);
    assert_true(has(f, "Was harrow itself late?"));
    assert_true(has(f, "Yes, in <b>3</b> of "));
    assert_true(has(f, "by up to <span class=n>140 ms</span>; the kernel dropped 7 frames"));
    assert_true(has(f, "grey bands mark where harrow itself was late"));
    history_fault_end(f->h, history_fault_start(f->h, NS_PER_S, "cut", "n1", "#cc3344"), 2 * NS_PER_S, 1, 1);
    free(f->page);
    report(f);
    assert_int_equal(times(f->page, "<rect class=late "), 2); /* of the one chart that there is */
}

static void a_run_in_time_says_so_and_a_simulated_one_says_nothing(void **state) {
    struct fixture *f = *state;
    report(f);
    assert_true(has(f, "No. The run loop woke up in time"));
    assert_false(has(f, "trace hash")); /* real time has none */
    free(f->page);
    f->run.world = "sim";
    report(f);
    assert_false(has(f, "Was harrow itself late?"));
    assert_true(has(f, "trace hash"));
}

static void links_are_listed_with_the_columns_that_say_something(void **state) {
    struct fixture *f = *state;
    sample(f, SAMPLE_LINK, NS_PER_S,
           "{\"from\":\"n1\",\"to\":\"n2\",\"offered\":1234567,\"delivered\":1000,\"cut\":42,\"bytes\":99}");
    sample(f, SAMPLE_LINK, NS_PER_S, "{\"from\":\"n2\",\"to\":\"clients\",\"offered\":5,\"delivered\":5,\"bytes\":6}");
    report(f);
    assert_true(has(f, "n1 \u2192 n2</td><td class=r>1,234,567</td><td class=r>1,000</td><td class=r>42</td>"));
    assert_true(
        has(f, "n2 \u2192 clients</td><td class=r>5</td><td class=r>5</td><td class=r>0</td><td class=r>6</td>"));
    assert_false(has(f, "<th class=r>reordered</th>"));
    assert_false(has(f, "id=logs")); /* these are no lines of a log, */
    assert_false(has(f, "n256"));    /* and no node is made up for them */
}

static void damaged_and_hostile_samples_stay_text(void **state) {
    struct fixture *f = *state;
    sample(f, SAMPLE_LATE, 3 * NS_PER_S, NULL);
    sample(f, SAMPLE_LATE, 4 * NS_PER_S, "{\"late_ns\":-5,\"dropped\":\"many\"}");
    sample(f, SAMPLE_LATE, UINT64_MAX - 1, "[1]");
    sample(f, SAMPLE_LINK, NS_PER_S, "not json");
    sample(f, SAMPLE_LINK, NS_PER_S, "{\"from\":\"<script>alert(1)</script>\",\"offered\":-1}");
    report(f);
    assert_false(has(f, "<script>alert"));
    assert_true(has(f, "&lt;script&gt;alert(1)"));
}

static void many_late_windows_give_few_bands_and_rows(void **state) {
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 5000; i++) late(f, 2 * i * LATE_WINDOW_NS, 30 + (unsigned)(i % 100), 0);
    report(f);
    assert_true(has(f, "Yes, in <b>5000</b> of "));
    assert_true(has(f, "the worst 10 of 5000 windows"));
    assert_true(strlen(f->page) < 1000000);
}

#define with_fixture(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        with_fixture(late_windows_are_counted_once_and_drawn_as_bands),
        with_fixture(a_run_in_time_says_so_and_a_simulated_one_says_nothing),
        with_fixture(links_are_listed_with_the_columns_that_say_something),
        with_fixture(damaged_and_hostile_samples_stay_text),
        with_fixture(many_late_windows_give_few_bands_and_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
