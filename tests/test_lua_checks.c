/* Checks in Lua: what a function of a scenario sees of a history, and what becomes of its answer. */
#include "tests/script_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void check_text(const char *body, enum verdict verdict, const char *detail) {
    char *text =
        xformat("return { workload = register {}, checks = { check('mine', function(history)\n%s\nend) } }", body);
    struct error e = {""};
    struct script *s = load_text(text, NULL, &e);
    if (!s) fail_msg("%s", e.text);
    struct history *h = history_new();
    uint32_t key = history_intern(h, "x");
    uint32_t a = history_invoke(h, NS_PER_S, NS_PER_S, 0, 1, OP_WRITE, key, VALUE_OF_INT(5));
    uint32_t b = history_invoke(h, 2 * NS_PER_S, NS_PER_S, 1, NODE_UNKNOWN, OP_READ, key, VALUE_OF_NIL);
    history_complete(h, a, 3 * NS_PER_S, OP_OK, VALUE_OF_NIL, NO_STRING);
    history_complete(h, b, 4 * NS_PER_S, OP_OK, history_pair(h, VALUE_OF_INT(1), VALUE_OF_INT(2)), NO_STRING);
    history_fault_end(h, history_fault_start(h, 5, "kill", "n1", "#111111"), 9, 1, 2);
    struct check_result r;
    script_check(s, 0, h, &r);
    assert_string_equal(r.name, "mine");
    if (r.verdict != verdict || strcmp(r.detail, detail) != 0) {
        fail_msg("expected: %s %s\n     got: %s %s", verdict_name(verdict), detail, verdict_name(r.verdict), r.detail);
    }
    if (verdict == VERDICT_INVALID) assert_int_equal(r.ops_count, 1);
    check_result_free(&r);
    history_free(h);
    script_free(s);
    free(text);
}

static void a_check_sees_the_history(void **state) {
    (void)state;
    check_text(
        "local n = 0\nfor op in history:ops() do n = n + 1 assert(op.index == n) end\n"
        "local w, r = history:op(1), history:op(2)\n"
        "assert(n == 2 and #history == 2 and history:op(3) == nil)\n"
        "assert(w.f == 'write' and w.key == 'x' and w.argument == 5 and w.node == 2 and w.process == 0)\n"
        "assert(w.status == 'ok' and w.invoked == 1 and w.completed == 3 and w.result == nil and not w.final)\n"
        "assert(r.node == nil and r.intended == 1 and r.result[2] == 2)\n"
        "for op in history:ops { f = 'read', status = 'ok', key = 'x', final = false } do assert(op.index == 2) end\n"
        "for op in history:ops { f = 'cas' } do error('none') end\n"
        "local f = history:faults()[1] assert(f.name == 'kill' and f.detail == 'n1' and f.affected == 1)\n"
        "assert(tostring(history) == 'history')\n"
        "return true, 'all seen'",
        VERDICT_VALID, "all seen");
    check_text("return true", VERDICT_VALID, "");
    check_text("return false, 'stale', { 2 }", VERDICT_INVALID, "stale");
    check_text("return nil, 'too few'", VERDICT_UNKNOWN, "too few");
    check_text("return nil", VERDICT_UNKNOWN, "the check did not decide");
}

static void what_a_check_does_wrong_is_unknown_with_its_line(void **state) {
    (void)state;
    check_text("local x = nil + 1", VERDICT_UNKNOWN, "test.lua:2: attempt to perform arithmetic on a nil value");
    check_text("return 5", VERDICT_UNKNOWN,
               "test.lua: the check returned a number; it must return true, or false or nil and the reason");
    check_text(
        "return history:op(1).value == nil", VERDICT_UNKNOWN,
        "test.lua:2: an operation of the history has no field 'value'; it has argument, completed, error, f, final, "
        "index, intended, invoked, key, node, process, result, status");
    check_text("return history:ops { func = 'read' } ~= nil", VERDICT_UNKNOWN,
               "test.lua:2: history:ops: the filter knows f, key, status and final, not 'func'");
    check_text("while true do end", VERDICT_UNKNOWN,
               "test.lua:2: more than 50000000 instructions without a pause: an endless loop?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_check_sees_the_history),
        cmocka_unit_test(what_a_check_does_wrong_is_unknown_with_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
