/* JSON lines in and out: what an exported file carries, and what an import refuses, with its message and line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "history/jsonl.h"
#include "tests/histories.h"

static struct buffer exported(const struct history *h) {
    struct buffer text = {0};
    char *data = NULL;
    size_t size = 0;
    struct error e = {0};
    FILE *out = open_memstream(&data, &size);
    assert_non_null(out);
    assert_int_equal(jsonl_export(h, out, &e), 0);
    fclose(out);
    buffer_append(&text, data, size);
    free(data);
    return text;
}

static struct history *imported(const char *text, struct jsonl_result *result) {
    struct history *h = history_new();
    struct error e = {0};
    if (jsonl_import(bytes_str(text), "h.jsonl", h, result, &e)) fail_msg("%s", e.text);
    return h;
}

/* --- in and out --------------------------------------------------------------------------------------------------- */

static void an_exported_history_comes_back_equal(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct history *h = history_new(), *again = history_new();
        struct random_history r;
        struct error e = {0}, why = {0};
        random_history_start(&r, h, seed);
        random_history_go_on(&r, (uint32_t)(seed * 3));
        struct buffer text = exported(h);
        if (jsonl_import(bytes_of(text.data, text.size), "h", again, NULL, &e))
            fail_msg("seed %d: %s", (int)seed, e.text);
        if (!histories_equal(h, again, &why)) fail_msg("seed %d: %s", (int)seed, why.text);
        struct buffer twice = exported(again);
        assert_true(bytes_equal(bytes_of(text.data, text.size), bytes_of(twice.data, twice.size)));
        buffer_free(&text);
        buffer_free(&twice);
        history_free(h);
        history_free(again);
    }
}

static void a_file_cut_anywhere_is_a_shorter_history(void **state) {
    (void)state;
    struct history *h = history_new(), *again = history_new();
    struct random_history r;
    random_history_start(&r, h, 11);
    random_history_go_on(&r, 60);
    struct buffer text = exported(h);
    for (size_t size = 0; size <= text.size; size++) {
        struct jsonl_result result;
        struct error e = {0}, why = {0};
        struct bytes part = bytes_of(memcpy(malloc(size + 1), text.data, size), size);
        if (jsonl_import(part, "h", again, &result, &e)) fail_msg("cut at %d: %s", (int)size, e.text);
        bool whole = size == 0 || text.data[size - 1] == '\n' || text.data[size - 1] == '}';
        if (whole && size && text.data[size - 1] == '}') whole = text.data[size] == '\n';
        assert_int_equal(result.cut_short, !whole);
        if (!history_begins_with(h, again, again->count, &why)) fail_msg("cut at %d: %s", (int)size, why.text);
        free((void *)(uintptr_t)part.data);
    }
    assert_int_equal(again->count, h->count);
    buffer_free(&text);
    history_free(h);
    history_free(again);
}

static void the_form_of_a_line_is_the_documented_one(void **state) {
    (void)state;
    struct history *h = history_new();
    uint32_t key = history_intern(h, "k1");
    struct value pair = history_pair(h, VALUE_OF_INT(1), VALUE_OF_INT(2));
    history_invoke(h, 10, 5, 0, 0, OP_READ, key, VALUE_OF_NIL);
    history_invoke(h, 20, 20, 1, NODE_UNKNOWN, OP_CAS, key, pair);
    uint32_t fault = history_fault_start(h, 25, "kill", "n2", "#ff0000");
    history_complete(h, 0, 30, OP_OK, VALUE_OF_INT(7), NO_STRING);
    history_complete(h, 1, 40, OP_FAIL, VALUE_OF_INT(7), history_intern(h, "mismatch"));
    history_fault_end(h, fault, 50, 3, 4);
    history_sample(
        h, (struct sample){.time_ns = 60, .kind = SAMPLE_ROLE, .role = ROLE_LEADER, .term = 2, .text = NO_STRING});
    h->final_phase[history_invoke(h, 70, 70, 0, 1, OP_READ, key, VALUE_OF_NIL)] = 1;
    struct buffer text = exported(h);
    buffer_append(&text, "", 1);
    assert_string_equal(
        (char *)text.data,
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"read\",\"key\":\"k1\",\"value\":null,\"node\":\"n1\",\"intended\":"
        "5,\"time\":10}\n"
        "{\"process\":1,\"type\":\"invoke\",\"f\":\"cas\",\"key\":\"k1\",\"value\":[1,2],\"time\":20}\n"
        "{\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"start\",\"fault\":0,\"name\":\"kill\",\"value\":\"n2\","
        "\"colour\":\"#ff0000\",\"time\":25}\n"
        "{\"process\":0,\"type\":\"ok\",\"f\":\"read\",\"key\":\"k1\",\"value\":7,\"time\":30}\n"
        "{\"process\":1,\"type\":\"fail\",\"f\":\"cas\",\"key\":\"k1\",\"value\":[1,2],\"result\":7,\"error\":"
        "\"mismatch\","
        "\"time\":40}\n"
        "{\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"stop\",\"fault\":0,\"name\":\"kill\",\"affected\":3,"
        "\"offered\":4,"
        "\"time\":50}\n"
        "{\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"role\",\"node\":\"n1\",\"role\":\"leader\",\"term\":2,"
        "\"time\":60}\n"
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"read\",\"key\":\"k1\",\"value\":null,\"node\":\"n2\",\"final\":"
        "true,"
        "\"time\":70}\n");
    buffer_free(&text);
    history_free(h);
}

static void a_completion_at_the_time_of_the_next_invocation_stands_before_it(void **state) {
    (void)state;
    struct history *h = history_new(), *again = history_new();
    struct error e = {0}, why = {0};
    for (uint32_t i = 0; i < 10; i++)
        history_complete(h, history_invoke(h, 5, 5, i % 2, 0, OP_WRITE, NO_STRING, VALUE_OF_INT(i)), 5, OP_OK,
                         VALUE_OF_NIL, NO_STRING);
    struct buffer text = exported(h);
    assert_int_equal(jsonl_import(bytes_of(text.data, text.size), "h", again, NULL, &e), 0);
    assert_true(histories_equal(h, again, &why));
    buffer_free(&text);
    history_free(h);
    history_free(again);
}

static void a_write_error_is_reported(void **state) {
    (void)state;
    struct history *h = history_new();
    struct random_history r;
    struct error e = {0};
    random_history_start(&r, h, 1);
    random_history_go_on(&r, 5000);
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    assert_int_equal(jsonl_export(h, full, &e), -1);
    assert_non_null(strstr(e.text, "No space left"));
    fclose(full);
    history_free(h);
}

/* --- what is taken ------------------------------------------------------------------------------------------------ */

#define INVOKE(process, f, value, time)                                                                                \
    "{\"process\":" #process ",\"type\":\"invoke\",\"f\":\"" #f "\",\"value\":" value ",\"time\":" #time "}\n"
#define END(process, type, f, value, time)                                                                             \
    "{\"process\":" #process ",\"type\":\"" #type "\",\"f\":\"" #f "\",\"value\":" value ",\"time\":" #time "}\n"

static void values_mean_what_jepsen_means_by_them(void **state) {
    (void)state;
    struct jsonl_result result;
    struct history *h = imported(INVOKE(0, write, "3", 1) END(0, ok, write, "3", 2) INVOKE(0, read, "null", 3)
                                     END(0, ok, read, "3", 4) INVOKE(0, cas, "[3,4]", 5) END(0, fail, cas, "[3,4]", 6)
                                         INVOKE(0, read, "null", 7) END(0, info, read, "null", 8),
                                 &result);
    assert_int_equal(h->count, 4);
    assert_int_equal(h->argument[0].integer, 3);
    assert_int_equal(h->result[0].kind, VALUE_NIL);
    assert_int_equal(h->argument[1].kind, VALUE_NIL);
    assert_int_equal(h->result[1].integer, 3);
    assert_int_equal(h->argument[2].size, 2);
    assert_int_equal(h->status[2], OP_FAIL);
    assert_int_equal(h->pool_count, 2);
    assert_int_equal(h->status[3], OP_INFO);
    assert_int_equal(h->complete_ns[3], 8);
    assert_int_equal(result.lines, 8);
    assert_int_equal(result.order_lost, 0);
    history_free(h);
}

static void unknown_keys_blank_lines_spaces_and_other_nemeses_are_ignored(void **state) {
    (void)state;
    struct history *h =
        imported("\xef\xbb\xbf{ \"index\" : 0.5e-3, \"x\":{\"y\":[true,{}]}, "
                 "\"type\":\"invoke\",\"process\":0,\"f\":\"read\", \"time\":0 }\r\n"
                 "\n  \t\r\n"
                 "{\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"start\",\"value\":[1],\"time\":1}\n"
                 "{\"process\":\"nemesis\",\"type\":\"invoke\",\"f\":\"clock-skew\",\"time\":1}\n"
                 "{\"process\":0,\"type\":\"info\",\"f\":\"read\",\"node\":\"db.example\",\"error\":[\"timeout\",5.0],"
                 "\"time\":2}",
                 NULL);
    assert_int_equal(h->count, 1);
    assert_int_equal(h->faults_count, 0);
    assert_string_equal(history_text(h, h->error[0]), "[\"timeout\",5.0]");
    assert_int_equal(h->node[0], NODE_UNKNOWN);
    assert_int_equal(h->status[0], OP_INFO);
    history_free(h);
}

static void without_times_the_order_of_lines_counts(void **state) {
    (void)state;
    struct history *h = imported("{\"process\":0,\"type\":\"invoke\",\"f\":\"read\"}\n"
                                 "{\"process\":1,\"type\":\"invoke\",\"f\":\"read\"}\n"
                                 "{\"process\":0,\"type\":\"ok\",\"f\":\"read\",\"value\":\"x\"}\n",
                                 NULL);
    assert_true(h->invoke_ns[0] < h->invoke_ns[1] && h->invoke_ns[1] < h->complete_ns[0]);
    history_free(h);
}

static void an_order_that_equal_times_lose_is_counted(void **state) {
    (void)state;
    struct jsonl_result result;
    struct history *h = imported(INVOKE(0, write, "1", 1) END(0, ok, write, "1", 1) INVOKE(0, read, "null", 1)
                                     INVOKE(1, read, "null", 1) END(1, ok, read, "1", 2) INVOKE(2, read, "null", 3),
                                 &result);
    assert_int_equal(result.order_lost, 1);
    history_free(h);
}

static void escapes_and_bytes_that_are_not_utf8_are_decoded(void **state) {
    (void)state;
    struct history *h = imported(INVOKE(0, write, "\"\\u0041\\n\\/\\ud83d\\ude9c\\udcff\\u00e4\\u20ac\\u0000.\"", 1)
                                     INVOKE(1, write, "[[],[[null]],\"\",-0,9223372036854775807]", 1),
                                 NULL);
    struct bytes text = history_text_bytes(h, h->argument[0].string);
    assert_int_equal(text.size, 15);
    assert_memory_equal(text.data, "A\n/\xf0\x9f\x9a\x9c\xff\xc3\xa4\xe2\x82\xac\0.", 15);
    struct buffer out = {0};
    history_value_print(h, h->argument[1], &out);
    buffer_append(&out, "", 1);
    assert_string_equal((char *)out.data, "[[],[[null]],\"\",0,9223372036854775807]");
    buffer_free(&out);
    history_free(h);
}

static void keys_may_be_integers(void **state) {
    (void)state;
    struct history *h = imported("{\"process\":0,\"type\":\"invoke\",\"f\":\"read\",\"key\":-7}\n"
                                 "{\"process\":0,\"type\":\"ok\",\"f\":\"read\",\"key\":-7,\"value\":null}\n",
                                 NULL);
    assert_string_equal(history_text(h, h->key[0]), "-7");
    history_free(h);
}

static void an_import_replaces_what_was_there(void **state) {
    (void)state;
    struct history *h = imported(INVOKE(0, read, "null", 5), NULL);
    struct error e = {0};
    assert_int_equal(jsonl_import(bytes_of(NULL, 0), "empty", h, NULL, &e), 0);
    assert_int_equal(h->count, 0);
    history_free(h);
}

static void a_file_is_read_from_its_path_or_a_pipe(void **state) {
    (void)state;
    struct history *h = history_new();
    struct error e = {0};
    int ends[2];
    char path[64];
    assert_int_equal(pipe(ends), 0);
    static const char line[] = INVOKE(0, read, "null", 5);
    assert_int_equal(write(ends[1], line, sizeof line - 1), sizeof line - 1);
    close(ends[1]);
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    assert_int_equal(jsonl_import_file(path, h, NULL, &e), 0);
    assert_int_equal(h->count, 1);
    close(ends[0]);
    assert_int_equal(jsonl_import_file("/nonexistent/h.jsonl", h, NULL, &e), -1);
    assert_string_equal(e.text, "cannot open /nonexistent/h.jsonl: No such file or directory");
    assert_int_equal(jsonl_import_file("/", h, NULL, &e), -1);
    assert_string_equal(e.text, "cannot read /: Is a directory");
    history_free(h);
}

/* --- what is refused ---------------------------------------------------------------------------------------------- */

#define LINE(text) "{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"time\":9" text "}\n"
#define NEMESIS(f, text) "{\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"" f "\",\"time\":9" text "}\n"

static const struct {
    const char *text, *message;
} refused[] = {
    {END(3, ok, write, "1", 5), ":1: process 3 has no open operation that this ok could end"},
    {INVOKE(3, write, "1", 5) END(3, ok, write, "1", 6) END(3, ok, write, "1", 7),
     ":3: process 3 has no open operation"},
    {INVOKE(3, write, "1", 5) "\n" INVOKE(3, write, "1", 5),
     ":3: process 3 invokes again, but its operation of line 1"},
    {INVOKE(3, write, "1", 5) END(3, info, write, "1", 6) INVOKE(3, write, "1", 7),
     ":3: process 3 acts again after the info of line 2"},
    {INVOKE(3, write, "1", 5) END(3, info, write, "1", 6) END(3, ok, write, "1", 7),
     ":3: process 3 acts again after the info of line 2"},
    {INVOKE(3, write, "1", 5) END(3, ok, write, "1", 4), ":2: time runs backwards: 4 after 5 in line 1"},
    {INVOKE(3, write, "1", 5) END(3, ok, read, "1", 5), ":2: process 3 ends \"read\", but invoked \"write\" in line 1"},
    {INVOKE(3, write, "1", 5) END(3, ok, write, "2", 5),
     ":2: the value is not the argument that process 3 gave in line 1"},
    {"{\"process\":0,\"type\":\"invoke\",\"f\":\"read\",\"key\":\"a\"}\n"
     "{\"process\":0,\"type\":\"ok\",\"f\":\"read\",\"key\":\"b\"}\n",
     ":2: process 0 ends an operation on another key than it invoked in line 1"},
    {"{\"process\":0,\"type\":\"invoke\",\"f\":\"read\",\"key\":\"1\"}\n"
     "{\"process\":1,\"type\":\"invoke\",\"f\":\"read\",\"key\":1}\n",
     ":2: this key is an integer, earlier ones are strings"},
    {"{\"process\":0,\"type\":\"invoke\",\"f\":\"read\"}\n" INVOKE(1, read, "null", 3), ":2: this event has a time"},
    {INVOKE(1, read, "null", 3) "{\"process\":0,\"type\":\"invoke\",\"f\":\"read\"}\n", ":2: \"time\" is missing"},
    {"{\"type\":\"invoke\",\"f\":\"read\"}\n", ":1: \"process\" is missing"},
    {"{\"process\":0,\"f\":\"read\"}\n", ":1: \"type\" is missing"},
    {"{\"process\":0,\"type\":\"invoke\"}\n", ":1: \"f\" is missing"},
    {"{}\n", ":1: \"process\" is missing"},
    {"{\"process\":0,\"type\":\"okay\"}\n", ":1: \"type\": type must be"},
    {"{\"process\":\"client\"}\n", ":1: \"process\": process must be an integer or \"nemesis\""},
    {"{\"process\":4294967296}\n", ":1: \"process\": process does not fit 32 bits"},
    {"{\"process\":-1}\n", ":1: \"process\": a negative number"},
    {LINE(",\"process\":1"), ":1: \"process\" stands twice"},
    {LINE(",\"value\":1.5"), ":1: \"value\": a float"},
    {LINE(",\"value\":1e3"), ":1: \"value\": a float"},
    {LINE(",\"value\":true"), ":1: \"value\": a boolean"},
    {LINE(",\"value\":{\"a\":1}"), ":1: \"value\": an object"},
    {LINE(",\"value\":9223372036854775808"), ":1: \"value\": an integer that does not fit 64 bits"},
    {LINE(",\"value\":99999999999999999999"), ":1: \"value\": an integer that does not fit 64 bits"},
    {LINE(",\"value\":01"), ":1: \"value\": an integer with leading zeros"},
    {LINE(",\"value\":-"), ":1: \"value\": '}' where an integer should stand"},
    {LINE(",\"value\":[1,]"), ":1: \"value\": ']' where an integer should stand"},
    {LINE(",\"value\":[1 2]"), ":1: \"value\": '2' where ',' or ']' should stand"},
    {LINE(",\"value\":nul"), ":1: \"value\": '}' where null"},
    {LINE(",\"value\":\"a\tb\""), ":1: \"value\": control character 0x09 in a string"},
    {LINE(",\"value\":\"\xff\""), ":1: \"value\": byte 0xff in a string is not UTF-8"},
    {LINE(",\"value\":\"\xc0\x80\""), ":1: \"value\": byte 0xc0 in a string is not UTF-8"},
    {LINE(",\"value\":\"\\x\""), ":1: \"value\": 'x' where an escape should stand"},
    {LINE(",\"value\":\"\\u12g4\""), ":1: \"value\": 'g' where a hex digit"},
    {LINE(",\"value\":\"\\ud83d!\""), ":1: \"value\": half a surrogate pair"},
    {LINE(",\"value\":\"\\udfff\""), ":1: \"value\": half a surrogate pair"},
    {LINE(",\"key\":1.5"), ":1: \"key\": key must be a string or an integer"},
    {LINE(",\"key\":[1]"), ":1: \"key\": key must be a string or an integer"},
    {LINE(",\"intended\":10"), ":1: \"intended\" is later than \"time\""},
    {LINE(",\"intended\":\"x\""), ":1: \"intended\": '\"' where an integer should stand"},
    {LINE(",\"zzz\":tru"), ":1: '}' where null, true or false should stand"},
    {LINE("") "[1]\n", ":2: a line must be a JSON object"},
    {LINE("}"), ":1: '}' where the end should stand"},
    {LINE(",\"value\" 1"), ":1: '1' where ':' should stand"},
    {LINE("\"value\":1"), ":1: '\"' where ',' or '}' should stand"},
    {"{\"process\":0,\n", ":1: the line ends in the middle"},
    {"{\"process\":0,\"type\":\"invoke\",\"f\":\"\"}\n", ":1: f must be a name"},
    {"{\"process\":0,\"type\":\"invoke\",\"f\":\"a\\u0000\"}\n", ":1: f must be a name"},
    {"{\"process\":0,\"type\":\"invoke\",\"f\":\"read\",\"time\":18446744073709551615}\n", ":1: \"time\" is too large"},
    {"plain text", ":1: a line must be a JSON object"},
    {NEMESIS("start", ",\"fault\":0"), ":1: fault 0 has no name"},
    {NEMESIS("stop", ",\"fault\":1"), ":1: fault 1 stops, but never started"},
    {NEMESIS("start", ",\"fault\":0,\"name\":\"a\"") NEMESIS("start", ",\"fault\":0,\"name\":\"a\""),
     ":2: fault 0 starts twice"},
    {NEMESIS("start", ",\"fault\":0,\"name\":\"a\"") NEMESIS("stop", ",\"fault\":0") NEMESIS("stop", ",\"fault\":0"),
     ":3: fault 0 stops twice"},
    {NEMESIS("start", ",\"fault\":0,\"name\":5"), ":1: \"name\" must be a string"},
    {NEMESIS("role", ",\"term\":1,\"role\":\"king\""), ":1: role must be"},
};

static void what_makes_no_sense_is_refused_by_line(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct history *h = history_new();
        struct error e = {0};
        char *copy = strdup(refused[i].text); /* of its own size, so that a read past the end is found */
        int rc = jsonl_import(bytes_of(copy, strlen(copy)), "h.jsonl", h, NULL, &e);
        if (rc == 0) fail_msg("taken: %s", copy);
        if (strncmp(e.text, "h.jsonl", 7) != 0 ||
            strncmp(e.text + 7, refused[i].message, strlen(refused[i].message)) != 0)
            fail_msg("%s\n  gives: %s\n  not:   h.jsonl%s", copy, e.text, refused[i].message);
        free(copy);
        history_free(h);
    }
}

static void lists_that_nest_too_deeply_are_refused(void **state) {
    (void)state;
    for (uint32_t depth = VALUE_DEPTH_MAX - 1; depth < 100000; depth = depth < 70 ? depth + 1 : depth * 10) {
        struct buffer text = {0};
        struct history *h = history_new();
        struct error e = {0};
        buffer_printf(&text, "{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"value\":");
        for (uint32_t i = 0; i < depth; i++) buffer_append(&text, "[", 1);
        for (uint32_t i = 0; i < depth; i++) buffer_append(&text, "]", 1);
        buffer_append(&text, "}\n", 2);
        int rc = jsonl_import(bytes_of(text.data, text.size), "h", h, NULL, &e);
        assert_int_equal(rc, depth <= VALUE_DEPTH_MAX ? 0 : -1);
        if (rc) assert_string_equal(e.text, "h:1: \"value\": lists nested deeper than 64");
        buffer_free(&text);
        history_free(h);
    }
}

static void too_many_kinds_of_functions_are_refused(void **state) {
    (void)state;
    struct buffer text = {0};
    struct history *h = history_new();
    struct error e = {0};
    for (uint32_t i = 0; i < 257; i++)
        buffer_printf(&text, "{\"process\":%u,\"type\":\"invoke\",\"f\":\"f%u\"}\n", i, i);
    assert_int_equal(jsonl_import(bytes_of(text.data, text.size), "h", h, NULL, &e), -1);
    assert_string_equal(e.text, "h:257: more than 256 kinds of functions");
    buffer_free(&text);
    history_free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exported_history_comes_back_equal),
        cmocka_unit_test(a_file_cut_anywhere_is_a_shorter_history),
        cmocka_unit_test(the_form_of_a_line_is_the_documented_one),
        cmocka_unit_test(a_completion_at_the_time_of_the_next_invocation_stands_before_it),
        cmocka_unit_test(a_write_error_is_reported),
        cmocka_unit_test(values_mean_what_jepsen_means_by_them),
        cmocka_unit_test(unknown_keys_blank_lines_spaces_and_other_nemeses_are_ignored),
        cmocka_unit_test(without_times_the_order_of_lines_counts),
        cmocka_unit_test(an_order_that_equal_times_lose_is_counted),
        cmocka_unit_test(escapes_and_bytes_that_are_not_utf8_are_decoded),
        cmocka_unit_test(keys_may_be_integers),
        cmocka_unit_test(an_import_replaces_what_was_there),
        cmocka_unit_test(a_file_is_read_from_its_path_or_a_pipe),
        cmocka_unit_test(what_makes_no_sense_is_refused_by_line),
        cmocka_unit_test(lists_that_nest_too_deeply_are_refused),
        cmocka_unit_test(too_many_kinds_of_functions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
