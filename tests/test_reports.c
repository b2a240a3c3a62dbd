/* Reports: the page of a run (complete, well-formed, harmless, bounded), its plots with gnuplot present, missing,
 * failing and hanging, JUnit XML, and the plot for a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "reports/internal.h"
#include "tests/support.h"

#define HOSTILE "<script>alert(1)</script>\"'&`touch owned`\x01\x1b[2J\xff\xe2\x80\xae"
#define PAGE_BYTES_MAX (5u << 20)

/* --- a folder and a run per test ---------------------------------------------------------------------------------- */

struct fixture {
    char folder[256], path[512];
    char *environment_path; /* as it was */
    struct history *h;
    struct run_info run;
    struct check_result checks[3];
    struct report_input in;
    uint32_t ops[6];
    struct error warning, error;
    char *page;
};

static int setup(void **state) {
    struct fixture *f = xcalloc(1, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "%s/harrow-reports-XXXXXX", text_or(getenv("TMPDIR"), "/tmp"));
    assert_non_null(mkdtemp(f->folder));
    f->environment_path = xstrdup(text_or(getenv("PATH"), ""));
    f->h = history_new();
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    setenv("PATH", f->environment_path, 1);
    folder_remove(f->folder);
    history_free(f->h);
    free(f->environment_path);
    free(f->page);
    free(f);
    return 0;
}

static bool have_gnuplot(void) {
    return system("gnuplot --version >/dev/null 2>&1") == 0;
}

static char *file_text(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) return NULL;
    struct buffer text = {0};
    char block[65536];
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;) buffer_append(&text, block, n);
    fclose(file);
    buffer_append(&text, "", 1);
    return (char *)text.data;
}

static char *folder_text(const struct fixture *f, const char *name) {
    char *path = xformat("%s/%s", f->folder, name), *text = file_text(path);
    free(path);
    return text;
}

static bool has(const char *text, const char *part) {
    return strstr(text, part) != NULL;
}

static size_t times(const char *text, const char *part) {
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) count++;
    return count;
}

/* Ten clients, reads and writes in turn, ok apart from a stretch of timeouts; two faults, three leaders, two log
 * lines. */
static void ordinary_run(struct fixture *f, uint32_t count) {
    struct history *h = f->h;
    uint32_t keys[3] = {history_intern(h, "k1"), history_intern(h, "k2"), history_intern(h, "k3")};
    uint32_t late = history_intern(h, "timed out");
    uint64_t gap = 60 * NS_PER_S / count;
    struct prng p;
    prng_seed(&p, 1, 1);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t now = i * gap, took = NS_PER_MS + prng_exponential(&p, 3 * NS_PER_MS);
        bool faulty = now > 20 * NS_PER_S && now < 30 * NS_PER_S;
        uint16_t function = i % 2 ? OP_READ : OP_WRITE;
        struct value argument = i % 2 ? VALUE_OF_NIL : VALUE_OF_INT(i);
        uint32_t op = history_invoke(h, now, now, i % 10, (uint8_t)(i % 5), function, keys[i % 3], argument);
        if (faulty && i % 4 == 0)
            history_complete(h, op, now + NS_PER_S, OP_INFO, VALUE_OF_NIL, late);
        else if (faulty && i % 4 == 2)
            history_complete(h, op, now + took, OP_FAIL, VALUE_OF_NIL, NO_STRING);
        else
            history_complete(h, op, now + took, OP_OK, i % 2 ? VALUE_OF_INT(i - 1) : VALUE_OF_NIL, NO_STRING);
    }
    uint32_t cut = history_fault_start(h, 20 * NS_PER_S, "partition halves", "n1 n2 | n3 n4 n5", "#cc3344");
    uint32_t kill_fault = history_fault_start(h, 25 * NS_PER_S, "kill leader", "n3", "#cc9900");
    history_fault_end(h, cut, 30 * NS_PER_S, 4711, 9000);
    history_fault_end(h, kill_fault, 28 * NS_PER_S, 1, 1);
    for (uint8_t node = 0; node < 3; node++)
        history_sample(h, (struct sample){.time_ns = (1 + 10 * (uint64_t)node) * NS_PER_S,
                                          .kind = SAMPLE_ROLE,
                                          .node = node,
                                          .role = ROLE_LEADER,
                                          .term = 40 + node,
                                          .text = NO_STRING});
    history_sample(h,
                   (struct sample){.time_ns = 25 * NS_PER_S, .kind = SAMPLE_NODE_DOWN, .node = 2, .text = NO_STRING});
    for (uint64_t s = 24; s < 26; s++)
        history_sample(h, (struct sample){.time_ns = s * NS_PER_S,
                                          .kind = SAMPLE_LOG,
                                          .node = 2,
                                          .text = history_intern(h, "stepping down from term 42")});
    f->run = (struct run_info){
        .run = "split-20261123-a1b2",
        .scenario = "split",
        .scenario_path = "scenarios/split.lua",
        .scenario_text = "-- x\nreturn {\n  doc = \"Cuts the cluster\" .. ' in halves.',\n  nodes = 5,\n}\n",
        .target = "raft",
        .world = "sim",
        .mutant = "raft/forgets-its-vote",
        .seed = 8675309,
        .options_json = "{\"rate\":200,\"bold\":true}",
        .verdict = "invalid",
        .detail = "a read went back in time",
        .started_at = "2026-11-23T06:30:01Z",
        .wall_seconds = 0.5,
        .virtual_seconds = 61,
        .events = 1234567,
        .trace_hash = 0xabcdef0123456789,
    };
    f->checks[0] = (struct check_result){.name = "load", .verdict = VERDICT_VALID, .detail = "enough was done"};
    f->checks[1] = (struct check_result){.name = "linearizable",
                                         .verdict = VERDICT_INVALID,
                                         .detail = "key k1: no order explains it",
                                         .explanation = "first this\nthen that",
                                         .ops = f->ops};
    f->checks[2] = (struct check_result){.name = "faults", .verdict = VERDICT_UNKNOWN, .detail = "one fault was idle"};
    for (uint32_t i = 0; i < 6 && count > 600; i++) f->ops[f->checks[1].ops_count++] = count * 2 / 5 + 3 * i;
    f->in = (struct report_input){.run = &f->run,
                                  .history = h,
                                  .checks = f->checks,
                                  .checks_count = 3,
                                  .nodes = 5,
                                  .replay_command = "harrow replay split-20261123-a1b2",
                                  .folder = f->folder};
}

static void report(struct fixture *f) {
    int result = report_html(&f->in, f->path, sizeof f->path, &f->warning, &f->error);
    if (result != 0) fail_msg("report_html: %s", f->error.text);
    free(f->page);
    f->page = file_text(f->path);
    assert_non_null(f->page);
}

/* --- well-formedness ---------------------------------------------------------------------------------------------- */

static bool is_void(const char *name, size_t size) {
    static const char *const voids[] = {"meta", "input", "br", "link", "img", "hr"};
    for (size_t i = 0; i < sizeof voids / sizeof *voids; i++)
        if (strlen(voids[i]) == size && strncmp(voids[i], name, size) == 0) return true;
    return false;
}

/* The end of a tag that starts at `at`, past quoted attributes; NULL when there is none. */
static const char *tag_end(const char *at) {
    for (char quote = 0; *at; at++) {
        if (quote ? *at == quote : (*at == '"' || *at == '\''))
            quote = quote ? 0 : *at;
        else if (!quote && *at == '<')
            return NULL;
        else if (!quote && *at == '>')
            return at;
    }
    return NULL;
}

/* Every tag is closed in order, no stray < or >, every & begins an entity. Good for HTML without optional end tags, and
 * for XML. */
static void assert_balanced(const char *text, bool html) {
    struct {
        const char *name;
        size_t size;
    } open[64];
    size_t depth = 0;
    for (const char *at = text; *at; at++) {
        bool raw = html && depth &&
                   (strncmp(open[depth - 1].name, "script", 6) == 0 || strncmp(open[depth - 1].name, "style", 5) == 0);
        if (raw && strncmp(at, "</", 2) != 0) continue;
        if (*at == '&' && at[1 + strspn(at + 1, "#abcdefghijklmnopqrstuvwxyz0123456789")] != ';')
            fail_msg("stray &: %.60s", at);
        if (*at == '>') fail_msg("stray >: %.60s", at - 20);
        if (*at != '<') continue;
        if (at[1] == '!' || at[1] == '?') {
            at = strchr(at, '>');
            continue;
        }
        const char *name = at + 1 + (at[1] == '/'), *end = tag_end(at + 1);
        size_t size = strcspn(name, " \t\n/>");
        if (!end || size == 0) fail_msg("stray <: %.60s", at);
        if (at[1] == '/') {
            if (depth == 0 || open[depth - 1].size != size || strncmp(open[depth - 1].name, name, size) != 0)
                fail_msg("closes what is not open: %.60s", at);
            depth--;
        } else if (end[-1] != '/' && !(html && is_void(name, size))) {
            assert_true(depth < 64);
            open[depth].name = name;
            open[depth++].size = size;
        }
        at = end;
    }
    if (depth) fail_msg("never closed: %.40s", open[depth - 1].name);
}

static void assert_clean_utf8(const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        size_t size = *p < 0x80 ? 1 : *p < 0xE0 ? 2 : *p < 0xF0 ? 3 : 4;
        if (*p < 0x20 && *p != '\n' && *p != '\t') fail_msg("a control character: %.40s", (const char *)p);
        if ((*p >= 0x7F && *p < 0xC2) || *p > 0xF4) fail_msg("not UTF-8: %.40s", (const char *)p);
        for (size_t i = 1; i < size; i++) assert_int_equal(p[i] & 0xC0, 0x80);
        p += size;
    }
}

/* --- the page ----------------------------------------------------------------------------------------------------- */

static void the_page_of_a_failing_run_says_what_happened(void **state) {
    struct fixture *f = *state;
    ordinary_run(f, 3000);
    report(f);
    assert_balanced(f->page, true);
    assert_clean_utf8(f->page);
    static const char *const said[] = {"<h1>",
                                       "Invalid</h1>",
                                       "a read went back in time",
                                       "harrow replay split-20261123-a1b2",
                                       "8675309",
                                       "raft/forgets-its-vote",
                                       "Cuts the cluster in halves.",
                                       "abcdef0123456789",
                                       "1,234,567",
                                       "first this\nthen that",
                                       "key k1: no order explains it",
                                       "one fault was idle",
                                       "partition halves",
                                       "kill leader",
                                       "4,711 of 9,000",
                                       "n1 n2 | n3 n4 n5",
                                       "under: <b>partition halves, kill leader</b>",
                                       "term 42",
                                       "stepping down from term 42",
                                       "rate",
                                       "200"};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (!has(f->page, said[i])) fail_msg("the page does not say: %s", said[i]);
    struct buffer text = {0};
    for (uint32_t i = 0; i < 6; i++) {
        text.size = 0;
        op_print(f->h, f->ops[i], &text);
        buffer_append(&text, "", 1);
        char *mark = xformat("data-op=%u>", f->ops[i]); /* once as a bar, once as a row */
        assert_int_equal(times(f->page, mark), 2);
        if (!has(f->page, (char *)text.data)) fail_msg("the page does not show: %s", (char *)text.data);
        free(mark);
    }
    buffer_free(&text);
    assert_true(strstr(f->page, "harrow replay") < strstr(f->page, "first this"));
}

static void a_valid_run_is_green_and_names_no_failure(void **state) {
    struct fixture *f = *state;
    ordinary_run(f, 1000);
    f->run.verdict = "valid";
    f->run.detail = "";
    f->in.checks_count = 1;
    report(f);
    assert_true(has(f->page, "banner valid"));
    assert_true(has(f->page, "Every check passed."));
    assert_false(has(f->page, "What went wrong"));
    assert_false(has(f->page, "<rect class=window"));
}

static void operations_far_apart_are_marked_one_by_one(void **state) {
    struct fixture *f = *state;
    ordinary_run(f, 1000);
    report(f);
    assert_int_equal(times(f->page, "<rect class=window"), 2); /* one frame, in two charts */
    for (uint32_t i = 0; i < 6; i++) f->ops[i] = i * 199;
    report(f);
    assert_int_equal(times(f->page, "<rect class=window"), 12);
}

static void an_unknown_run_never_looks_valid(void **state) {
    struct fixture *f = *state;
    ordinary_run(f, 1000);
    f->run.verdict = "unknown";
    f->run.detail = "faults: one fault was idle";
    f->checks[1].verdict = VERDICT_UNKNOWN;
    report(f);
    assert_true(has(f->page, "banner unknown"));
    assert_true(has(f->page, "What could not be decided"));
    assert_false(has(f->page, "banner valid"));
    f->run.verdict = NULL; /* a run that was cut off */
    report(f);
    assert_true(has(f->page, "banner unknown"));
}

static void the_page_loads_nothing(void **state) {
    struct fixture *f = *state;
    ordinary_run(f, 3000);
    report(f);
    static const char *const loads[] = {"http://", "https://", "src=", "@import", "<link", "<iframe", "fetch("};
    for (size_t i = 0; i < sizeof loads / sizeof *loads; i++)
        if (has(f->page, loads[i])) fail_msg("the page may load something: %s", loads[i]);
    assert_int_equal(times(f->page, "url("), times(f->page, "url(#"));
    assert_true(has(f->page, "default-src 'none'"));
}

static void hostile_text_stays_text(void **state) {
    struct fixture *f = *state;
    ordinary_run(f, 1000);
    struct history *h = f->h;
    uint64_t now = 61 * NS_PER_S;
    uint32_t bad = history_intern(h, HOSTILE);
    struct value value = {.kind = VALUE_STRING, .string = bad};
    uint32_t op = history_invoke(h, now, now, 3, 1, history_function(h, HOSTILE), bad, value);
    history_complete(h, op, now + NS_PER_MS, OP_OK, value, bad);
    op = history_invoke(h, now, now, 4, 1, OP_WRITE, history_intern_bytes(h, bytes_of("a\0<b", 4)), value);
    history_complete(h, op, now + NS_PER_MS, OP_INFO, VALUE_OF_NIL, bad);
    uint32_t fault = history_fault_start(h, now, HOSTILE, HOSTILE, "red\"><script>alert(1)</script>");
    history_fault_end(h, fault, now + NS_PER_S, 0, 0);
    history_sample(h, (struct sample){.time_ns = now, .kind = SAMPLE_LOG, .node = 200, .text = bad});
    f->ops[0] = op - 1;
    f->ops[1] = op;
    f->ops[2] = UINT32_MAX; /* names no operation */
    f->checks[1] = (struct check_result){.name = HOSTILE,
                                         .verdict = VERDICT_INVALID,
                                         .detail = HOSTILE,
                                         .explanation = HOSTILE,
                                         .ops = f->ops,
                                         .ops_count = 3};
    f->run = (struct run_info){.run = HOSTILE,
                               .scenario = HOSTILE,
                               .scenario_path = HOSTILE,
                               .scenario_text = "doc = \"" HOSTILE,
                               .target = HOSTILE,
                               .world = HOSTILE,
                               .mutant = HOSTILE,
                               .options_json = "{\"<b>\": \"<script>alert(1)</script>\", \"l\": [1, \"<i>\"]}",
                               .verdict = HOSTILE,
                               .detail = HOSTILE,
                               .started_at = HOSTILE};
    f->in.replay_command = HOSTILE;
    report(f);
    assert_balanced(f->page, true);
    assert_clean_utf8(f->page);
    assert_false(has(f->page, "<script>alert"));
    assert_int_equal(times(f->page, "<script>"), 2);
    assert_false(has(f->page, "\xe2\x80\xae"));
    assert_true(has(f->page, "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;`touch owned`"));
    assert_true(has(f->page, "banner unknown"));
    static const char *const scripts[] = {"latency.gp", "throughput.gp", "quantiles.gp"};
    for (size_t i = 0; i < 3; i++) {
        char *script = folder_text(f, scripts[i]);
        if (!script) continue; /* no gnuplot: the later ones are not even prepared */
        assert_false(has(script, "touch owned`"));
        assert_false(has(script, "alert(1)"));
        assert_clean_utf8(script);
        free(script);
    }
}

static void a_run_without_anything_still_gets_a_page(void **state) {
    struct fixture *f = *state;
    f->in = (struct report_input){.run = &f->run, .history = f->h, .folder = f->folder};
    report(f);
    assert_balanced(f->page, true);
    assert_true(has(f->page, "No check was made"));
    assert_true(has(f->page, "nothing to plot"));
    uint32_t op = history_invoke(f->h, 0, 0, 0, 0, OP_READ, NO_STRING, VALUE_OF_NIL); /* and one that never came back */
    f->checks[0] = (struct check_result){.verdict = VERDICT_UNKNOWN, .ops = &op, .ops_count = 1};
    f->in.checks = f->checks;
    f->in.checks_count = 1;
    report(f);
    assert_balanced(f->page, true);
    assert_true(has(f->page, "data-op=0"));
}

static void a_big_run_gives_a_small_page_that_says_what_it_leaves_out(void **state) {
    struct fixture *f = *state;
    ordinary_run(f, 200000);
    uint32_t *ops = xcalloc(100000, sizeof *ops);
    for (uint32_t i = 0; i < 100000; i++) ops[i] = i;
    f->checks[1].ops = ops;
    f->checks[1].ops_count = 100000;
    for (uint32_t i = 0; i < 3000; i++) {
        char name[32];
        snprintf(name, sizeof name, "fault %u", i % 100);
        uint32_t fault = history_fault_start(f->h, i * (NS_PER_S / 60), name, "x", i % 2 ? "#111111" : "#222222");
        history_fault_end(f->h, fault, (i + 1) * (NS_PER_S / 60), 1, 1);
    }
    for (uint32_t i = 0; i < 100000; i++)
        history_sample(f->h, (struct sample){.time_ns = 30 * NS_PER_S + i * NS_PER_US,
                                             .kind = i % 2 ? SAMPLE_LOG : SAMPLE_ROLE,
                                             .node = (uint8_t)(i % 256),
                                             .role = (uint8_t)(i / 2 % 3),
                                             .term = i,
                                             .text = i % 2 ? 0 : NO_STRING});
    report(f);
    free(ops);
    assert_true(strlen(f->page) < PAGE_BYTES_MAX);
    assert_balanced(f->page, true);
    assert_true(has(f->page, "and 99,900 more operations"));
    assert_true(has(f->page, "The first 60 of 100,000 operations are drawn."));
    assert_true(has(f->page, "faults of further kinds"));
    assert_true(has(f->page, "more nodes"));
    assert_true(has(f->page, "300 of 50,002 lines"));
}

/* The bars of the lane chart keep the order of starts and ends, which is all a violation is about. */
static void lanes_keep_the_order_of_starts_and_ends(void **state) {
    struct fixture *f = *state;
    struct prng p;
    prng_seed(&p, 5, 5);
    uint64_t now = NS_PER_S;
    uint32_t ops[40];
    double x[80];
    uint64_t ns[80];
    for (uint32_t i = 0; i < 40; i++) {
        now += prng_below(&p, 3) * prng_exponential(&p, i % 7 ? NS_PER_MS : 20 * NS_PER_S);
        ops[i] = history_invoke(f->h, now, now, i, 0, OP_WRITE, NO_STRING, VALUE_OF_INT(i));
        history_complete(f->h, ops[i], now + prng_below(&p, 3) * NS_PER_MS, OP_OK, VALUE_OF_NIL, NO_STRING);
    }
    f->in.history = f->h;
    struct view v = {.in = &f->in, .h = f->h, .end_ns = history_end_ns(f->h)};
    struct buffer svg = {0};
    lane_chart(&svg, &v, ops, 40, NULL);
    buffer_append(&svg, "", 1);
    const char *at = (char *)svg.data;
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t op;
        double y, width;
        at = strstr(at, "data-op=");
        assert_non_null(at);
        assert_int_equal(sscanf(at++, "data-op=%u><rect x=\"%lf\" y=\"%lf\" width=\"%lf\"", &op, &x[2 * i], &y, &width),
                         4);
        x[2 * i + 1] = x[2 * i] + width;
        ns[2 * i] = f->h->invoke_ns[op];
        ns[2 * i + 1] = f->h->complete_ns[op];
    }
    for (size_t a = 0; a < 80; a++)
        for (size_t b = 0; b < 80; b++)
            if (ns[a] < ns[b]) assert_true(x[a] < x[b] + 0.11);
    buffer_free(&svg);
}

/* --- gnuplot ------------------------------------------------------------------------------------------------------ */

static void gnuplot_draws_all_three_plots(void **state) {
    struct fixture *f = *state;
    if (!have_gnuplot()) skip();
    ordinary_run(f, 3000);
    report(f);
    assert_string_equal(f->warning.text, "");
    assert_int_equal(times(f->page, "<svg class=\"plot"), 3);
    assert_true(has(f->page, "var(--rateok)"));
    assert_false(has(f->page, "rgb("
                              " 47"));
    assert_false(has(f->page, "This plot is missing"));
    static const char *const files[] = {"latency.gp", "latency.dat", "latency.svg", "throughput.gp", "quantiles.dat"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *text = folder_text(f, files[i]);
        assert_non_null(text);
        free(text);
        assert_true(has(f->page, files[i]));
    }
}

/* An outage leaves bins without latencies; written as empty lines they shifted every later block of the data. */
static void an_outage_does_not_shift_the_blocks_of_the_data(void **state) {
    struct fixture *f = *state;
    if (!have_gnuplot()) skip();
    ordinary_run(f, 1000);
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t now = (70 + 50 * (uint64_t)i) * NS_PER_S;
        uint32_t op = history_invoke(f->h, now, now, 1, 0, OP_READ, NO_STRING, VALUE_OF_NIL);
        history_complete(f->h, op, now + NS_PER_MS, i == 1 ? OP_INFO : OP_OK, VALUE_OF_NIL, NO_STRING);
    }
    report(f);
    assert_string_equal(f->warning.text, "");
    char *data = folder_text(f, "latency.dat");
    assert_true(has(data, " NaN NaN\n"));
    assert_int_equal(times(data, "\n\n\n"), 4); /* ok, quantiles, fail, info */
    free(data);
}

static char *fake_gnuplot(struct fixture *f, const char *script) {
    char *folder = xformat("%s/bin", f->folder), *path = xformat("%s/gnuplot", folder);
    mkdir(folder, 0755);
    if (script) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fprintf(file, "#!/bin/sh\n%s\n", script);
        fclose(file);
        chmod(path, 0755);
    }
    setenv("PATH", folder, 1);
    free(path);
    return folder;
}

static void a_missing_gnuplot_costs_the_plots_only(void **state) {
    struct fixture *f = *state;
    ordinary_run(f, 1000);
    char *stale = xformat("%s/throughput.svg", f->folder);
    struct buffer old = {0};
    buffer_printf(&old, "<svg><g id=\"gnuplot_canvas\">OLD PLOT</g></svg>");
    assert_int_equal(file_replace(stale, &old, NULL), 0);
    char *folder = fake_gnuplot(f, NULL);
    report(f);
    assert_true(has(f->warning.text, "gnuplot is not installed"));
    assert_int_equal(times(f->page, "<svg class=\"plot"), 0);
    assert_true(has(f->page, "This plot is missing: gnuplot is not installed"));
    assert_false(has(f->page, "OLD PLOT"));
    assert_true(has(f->page, "partition halves"));
    assert_balanced(f->page, true);
    buffer_free(&old);
    free(stale);
    free(folder);
}

static void a_failing_gnuplot_is_quoted(void **state) {
    struct fixture *f = *state;
    ordinary_run(f, 1000);
    char *folder = fake_gnuplot(f, "echo '\"x.gp\" line 3: no such <thing>' >&2; exit 1");
    report(f);
    assert_true(has(f->warning.text, "line 3: no such <thing>"));
    assert_true(has(f->page, "line 3: no such &lt;thing&gt;"));
    free(folder);
    folder = fake_gnuplot(f, "exit 0"); /* says it went well, and left nothing */
    report(f);
    assert_true(has(f->warning.text, "no usable"));
    free(folder);
}

static void a_hanging_gnuplot_is_killed_with_its_children(void **state) {
    struct fixture *f = *state;
    ordinary_run(f, 1000);
    char *folder = fake_gnuplot(f, "/bin/sleep 300 & echo $! >pid; wait");
    f->in.plot_timeout_ms = 500;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    report(f);
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_true(to.tv_sec - from.tv_sec < 10); /* one timeout, not one for each plot */
    assert_true(has(f->warning.text, "was killed"));
    char *pid = folder_text(f, "pid");
    assert_non_null(pid);
    bool dead = false;
    for (int i = 0; i < 200 && !dead; i++) { /* its parent is init now: it may be a zombie for a moment */
        char *path = xformat("/proc/%d/stat", atoi(pid)), *stat_text = file_text(path);
        dead = !stat_text || has(stat_text, ") Z ");
        free(stat_text);
        free(path);
        usleep(10000);
    }
    assert_true(dead);
    free(pid);
    free(folder);
}

/* --- files that cannot be written --------------------------------------------------------------------------------- */

static void a_folder_that_cannot_be_written_is_an_error_that_names_it(void **state) {
    struct fixture *f = *state;
    ordinary_run(f, 1000);
    char *absent = xformat("%s/absent", f->folder);
    f->in.folder = absent;
    assert_int_equal(report_html(&f->in, f->path, sizeof f->path, &f->warning, &f->error), -1);
    assert_true(has(f->error.text, absent));
    assert_true(has(f->error.text, "No such file"));
    free(absent);
    char small[8];
    f->in.folder = f->folder;
    assert_int_equal(report_html(&f->in, small, sizeof small, NULL, &f->error), -1);
    assert_true(has(f->error.text, "too long"));
}

static void a_page_that_cannot_be_put_in_place_leaves_nothing_behind(void **state) {
    struct fixture *f = *state;
    ordinary_run(f, 100);
    char *folder = fake_gnuplot(f, NULL), *taken = xformat("%s/report.html", f->folder);
    assert_int_equal(mkdir(taken, 0755), 0);
    assert_int_equal(report_html(&f->in, f->path, sizeof f->path, &f->warning, &f->error), -1);
    assert_true(has(f->error.text, taken));
    char *beside = xformat("%s.%ld.tmp", taken, (long)getpid());
    assert_int_equal(access(beside, F_OK), -1);
    free(beside);
    free(taken);
    free(folder);
}

/* --- JUnit -------------------------------------------------------------------------------------------------------- */

static void junit_counts_failures_and_errors_and_is_well_formed(void **state) {
    struct fixture *f = *state;
    const struct junit_case cases[] = {
        {"scenarios", "calm", 0.25, VERDICT_VALID, "", "seed 1"},
        {"scenarios", "split", 1.5, VERDICT_INVALID, "stale read\nof k1", "harrow replay split-1"},
        {"scenarios", "slow", 2, VERDICT_UNKNOWN, "budget spent", NULL},
        {HOSTILE, HOSTILE "\xef\xbf\xbf", 0, VERDICT_INVALID, HOSTILE "]]>", HOSTILE},
        {NULL, NULL, 0, VERDICT_UNKNOWN, NULL, NULL},
    };
    char *path = xformat("%s/junit.xml", f->folder);
    assert_int_equal(report_junit(path, "all of them", cases, 5, &f->error), 0);
    f->page = file_text(path);
    assert_balanced(f->page, false);
    assert_clean_utf8(f->page);
    assert_true(has(f->page, "<testsuite name=\"all of them\" tests=\"5\" failures=\"2\" errors=\"2\" time=\"3.750\""));
    assert_int_equal(times(f->page, "<testcase "), 5);
    assert_int_equal(times(f->page, "<failure "), 2);
    assert_int_equal(times(f->page, "<error "), 2);
    assert_true(has(f->page, "message=\"stale read\">stale read&#10;of k1\nharrow replay split-1</failure>"));
    assert_false(has(f->page, "<script"));
    assert_false(has(f->page, "]]>"));
    assert_false(has(f->page, "\xef\xbf\xbf"));
    if (system("command -v xmllint >/dev/null") == 0) {
        char *command = xformat("xmllint --noout '%s'", path);
        assert_int_equal(system(command), 0);
        free(command);
    }
    char *nowhere = xformat("%s/absent/junit.xml", f->folder);
    assert_int_equal(report_junit(nowhere, "x", cases, 5, &f->error), -1);
    assert_true(has(f->error.text, nowhere));
    free(nowhere);
    free(path);
}

/* --- the terminal ------------------------------------------------------------------------------------------------- */

static char *terminal(const struct history *h) {
    struct buffer out = {0};
    report_terminal_plot(h, &out);
    buffer_append(&out, "", 1);
    char *text = (char *)out.data;
    size_t lines = 0, columns = 0;
    for (const char *at = text; *at; at++) {
        columns = *at == '\n' ? 0 : columns + ((*at & 0xC0) != 0x80);
        lines += *at == '\n';
        assert_true(columns <= 78);
    }
    assert_true(lines <= 14);
    assert_clean_utf8(text);
    return text;
}

static void the_terminal_plot_is_small_and_marks_the_faults(void **state) {
    struct fixture *f = *state;
    char *text = terminal(f->h);
    assert_true(has(text, "nothing to plot"));
    free(text);
    ordinary_run(f, 3000);
    text = terminal(f->h);
    assert_true(has(text, "A partition halves"));
    assert_true(has(text, "B kill leader"));
    assert_true(has(text, "AAA"));
    assert_true(has(text, "*"));
    assert_true(has(text, "\u2588"));
    free(text);
    for (uint32_t i = 0; i < 60; i++) {
        char *name = xformat("%u" HOSTILE, i);
        history_fault_end(f->h, history_fault_start(f->h, i * NS_PER_S, name, NULL, NULL), (i + 1) * NS_PER_S, 0, 0);
        free(name);
    }
    free(terminal(f->h));
    history_clear(f->h); /* one operation, at once, at time zero */
    uint32_t op = history_invoke(f->h, 0, 0, 0, 0, OP_READ, NO_STRING, VALUE_OF_NIL);
    history_complete(f->h, op, 0, OP_OK, VALUE_OF_NIL, NO_STRING);
    free(terminal(f->h));
}

/* --- series ------------------------------------------------------------------------------------------------------- */

static void bins_count_every_completed_operation_once(void **state) {
    struct fixture *f = *state;
    ordinary_run(f, 3000);
    history_invoke(f->h, 60 * NS_PER_S, 60 * NS_PER_S, 99, 0, OP_READ, NO_STRING, VALUE_OF_NIL);
    struct series s;
    uint64_t end_ns = history_end_ns(f->h), counts[4] = {0}, binned[4] = {0};
    series_make(&s, f->h, end_ns, nice_step(end_ns, BINS_MAX));
    assert_true(s.bins_count <= BINS_MAX);
    for (uint32_t i = 0; i < f->h->count; i++) counts[f->h->status[i]]++;
    for (uint32_t i = 0; i < s.bins_count; i++) {
        binned[OP_OK] += s.bins[i].ok;
        binned[OP_FAIL] += s.bins[i].fail;
        binned[OP_INFO] += s.bins[i].info;
        assert_true(s.bins[i].p50_ns <= s.bins[i].p99_ns);
    }
    assert_int_equal(counts[OP_PENDING], 1);
    assert_int_equal(s.points_count, f->h->count - 1);
    for (size_t i = OP_OK; i <= OP_INFO; i++) assert_int_equal(binned[i], counts[i]);
    series_free(&s);
}

static void thinning_keeps_the_extremes_of_every_bin(void **state) {
    (void)state;
    enum { BINS = 50, EACH = 1000 };
    struct point *points = xcalloc(BINS * EACH, sizeof *points);
    for (uint32_t i = 0; i < BINS * EACH; i++)
        points[i] = (struct point){.bin = i / EACH, .latency_ns = (i / EACH) * 10000 + i % EACH};
    size_t kept = points_thin(points, BINS * EACH, 1000);
    assert_true(kept <= 1000 && kept > 900);
    for (size_t i = 0; i < kept; i++) {
        bool first = i == 0 || points[i - 1].bin != points[i].bin;
        bool last = i == kept - 1 || points[i + 1].bin != points[i].bin;
        if (first) assert_int_equal(points[i].latency_ns, points[i].bin * 10000);
        if (last) assert_int_equal(points[i].latency_ns, points[i].bin * 10000 + EACH - 1);
        if (!first) assert_true(points[i - 1].latency_ns < points[i].latency_ns);
    }
    assert_int_equal(points_thin(points, kept, kept), kept);
    free(points);
}

static void steps_are_one_two_or_five_times_a_power_of_ten(void **state) {
    (void)state;
    assert_int_equal(nice_step(60 * NS_PER_S, 10), 10 * NS_PER_S);
    assert_int_equal(nice_step(100, 10), 10);
    assert_int_equal(nice_step(101, 10), 20);
    assert_int_equal(nice_step(1, 10), 1);
    assert_int_equal(nice_step(0, 10), 1);
    assert_true(nice_step(UINT64_MAX, 1) == UINT64_MAX);
    for (uint64_t span = 1; span < UINT64_MAX / 3; span = span * 3 + 1) {
        assert_true(nice_step(span, 7) >= span / 7);
        assert_true(nice_step(span, 7) / 3 < span / 7 + 1);
    }
}

int main(void) {
#define with_fixture(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        with_fixture(the_page_of_a_failing_run_says_what_happened),
        with_fixture(a_valid_run_is_green_and_names_no_failure),
        with_fixture(operations_far_apart_are_marked_one_by_one),
        with_fixture(an_unknown_run_never_looks_valid),
        with_fixture(the_page_loads_nothing),
        with_fixture(hostile_text_stays_text),
        with_fixture(a_run_without_anything_still_gets_a_page),
        with_fixture(a_big_run_gives_a_small_page_that_says_what_it_leaves_out),
        with_fixture(lanes_keep_the_order_of_starts_and_ends),
        with_fixture(gnuplot_draws_all_three_plots),
        with_fixture(an_outage_does_not_shift_the_blocks_of_the_data),
        with_fixture(a_missing_gnuplot_costs_the_plots_only),
        with_fixture(a_failing_gnuplot_is_quoted),
        with_fixture(a_hanging_gnuplot_is_killed_with_its_children),
        with_fixture(a_folder_that_cannot_be_written_is_an_error_that_names_it),
        with_fixture(a_page_that_cannot_be_put_in_place_leaves_nothing_behind),
        with_fixture(junit_counts_failures_and_errors_and_is_well_formed),
        with_fixture(the_terminal_plot_is_small_and_marks_the_faults),
        with_fixture(bins_count_every_completed_operation_once),
        cmocka_unit_test(thinning_keeps_the_extremes_of_every_bin),
        cmocka_unit_test(steps_are_one_two_or_five_times_a_power_of_ten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
