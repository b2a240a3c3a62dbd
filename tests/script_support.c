/* Support for the tests of scripts (script_support.h). */
#include "tests/script_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct script *load_text(const char *text, const struct script_options *o, struct error *e) {
    const char *calm = strstr(text, "workload =") ? "" : "\nreturn { workload = register {} }";
    char *whole = xformat("%s%s", text, calm);
    struct script *s = script_load("test.lua", bytes_str(whole), o, e);
    free(whole);
    return s;
}

void expect_loads(const char *text) {
    struct error e = {""};
    struct script *s = load_text(text, NULL, &e);
    if (!s) fail_msg("%s\nfor: %s", e.text, text);
    script_free(s);
}

void expect_error(const char *text, const char *expected) {
    struct error e = {""};
    struct script *s = load_text(text, NULL, &e);
    if (s) fail_msg("no error for: %s", text);
    size_t size = strlen(expected);
    bool start_only = size > 3 && strcmp(expected + size - 3, "...") == 0;
    bool same = start_only ? strncmp(e.text, expected, size - 3) == 0 : strcmp(e.text, expected) == 0;
    if (!same) fail_msg("expected: %s\n     got: %s\n     for: %s", expected, e.text, text);
}

/* --- the made-up world --- */

static struct quiet_world *quiet(const struct world *w) {
    return (struct quiet_world *)(uintptr_t)w;
}

static uint64_t quiet_now(const struct world *w) {
    return quiet(w)->now_ns;
}

static void quiet_wake_at(struct world *w, uint64_t time_ns, uint64_t tag) {
    struct quiet_world *f = quiet(w);
    uint64_t at = time_ns > f->now_ns ? time_ns : f->now_ns;
    heap_push(&f->wakes, (struct heap_item){.time_ns = at, .sequence = f->sequence++, .payload = tag});
}

static uint32_t quiet_begin(struct world *w, const struct fault_spec *spec, struct error *e) {
    struct quiet_world *f = quiet(w);
    if (spec->kind == f->refuse_kind) {
        error_set(e, "this world has no such fault");
        return 0;
    }
    assert_true(f->faults_count < QUIET_FAULTS_MAX);
    f->faults[f->faults_count] = (struct quiet_fault){.spec = *spec, .start_ns = f->now_ns, .end_ns = UINT64_MAX};
    return ++f->faults_count;
}

static struct fault_evidence quiet_end(struct world *w, uint32_t fault) {
    struct quiet_world *f = quiet(w);
    assert_true(fault >= 1 && fault <= f->faults_count);
    assert_true(f->faults[fault - 1].end_ns == UINT64_MAX);
    f->faults[fault - 1].end_ns = f->now_ns;
    return (struct fault_evidence){.affected = 3, .offered = 7};
}

static uint8_t quiet_leader(const struct world *w) {
    return quiet(w)->leader;
}

static bool quiet_transfer(struct world *w, uint8_t to) {
    quiet(w)->transferred_to = to;
    return true;
}

static struct node_status quiet_status(const struct world *w, uint8_t node) {
    return (struct node_status){.up = true,
                                .role = node == quiet(w)->leader ? ROLE_LEADER : ROLE_FOLLOWER,
                                .leader = quiet(w)->leader,
                                .term = 4,
                                .commit_index = 10};
}

struct quiet_world *quiet_world_new(uint32_t nodes) {
    static const struct world_ops ops = {.name = "quiet",
                                         .now_ns = quiet_now,
                                         .wake_at = quiet_wake_at,
                                         .capabilities = UINT32_MAX,
                                         .fault_begin = quiet_begin,
                                         .fault_end = quiet_end,
                                         .leader = quiet_leader,
                                         .transfer = quiet_transfer,
                                         .node_status = quiet_status};
    struct quiet_world *w = xcalloc(1, sizeof *w);
    w->base.ops = &ops;
    w->nodes = nodes;
    w->refuse_kind = FAULT_KINDS;
    return w;
}

void quiet_world_free(struct quiet_world *w) {
    heap_free(&w->wakes);
    free(w);
}

int quiet_world_run(struct quiet_world *w, struct script *s, uint64_t until_ns, struct error *e) {
    while (heap_top(&w->wakes) && heap_top(&w->wakes)->time_ns <= until_ns) {
        struct heap_item item = heap_pop(&w->wakes);
        w->now_ns = item.time_ns;
        if (script_wake(s, item.payload, e)) return -1;
    }
    w->now_ns = until_ns;
    return 0;
}

uint32_t quiet_world_in_force(const struct quiet_world *w) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < w->faults_count; i++) count += w->faults[i].end_ns == UINT64_MAX;
    return count;
}
