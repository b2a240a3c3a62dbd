/* Histories of any format: what each says as operations, how a format is guessed, what is refused and where, and that
 * neither the quick reader of lines nor the pieces that a file comes in make a difference. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "history/import.h"
#include "history/jsonl.h"
#include "tests/formats.h"
#include "tests/histories.h"

static bool identical_values(const struct value *a, const struct value *b, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (a[i].kind != b[i].kind || a[i].size != b[i].size) return false;
        bool same = a[i].kind == VALUE_INT ? a[i].integer == b[i].integer : a[i].string == b[i].string;
        if (!same && a[i].kind != VALUE_NIL) return false;
    }
    return true;
}

/* The same in memory, ids of strings included. */
static bool identical(const struct history *a, const struct history *b) {
    if (a->count != b->count || a->pool_count != b->pool_count || a->strings.count != b->strings.count) return false;
    if (a->faults_count != b->faults_count || a->samples_count != b->samples_count) return false;
#define SAME(column, count) ((count) == 0 || memcmp(a->column, b->column, (count) * sizeof *a->column) == 0)
    bool same = SAME(process, a->count) && SAME(f, a->count) && SAME(status, a->count) && SAME(key, a->count) &&
                identical_values(a->argument, b->argument, a->count) &&
                identical_values(a->result, b->result, a->count) && SAME(intended_ns, a->count) &&
                SAME(invoke_ns, a->count) && SAME(complete_ns, a->count) && SAME(error, a->count) &&
                SAME(final_phase, a->count) && SAME(node, a->count) &&
                identical_values(a->pool, b->pool, a->pool_count);
#undef SAME
    for (uint32_t i = 0; same && i < a->strings.count; i++)
        same = bytes_equal(history_text_bytes(a, i), history_text_bytes(b, i));
    return same;
}

/* --- JSON lines: the quick reader and the strict one -------------------------------------------------------------- */

/* A blank before a line is no usual line: the strict reader takes it. */
static struct bytes blanks_before_lines(struct bytes text) {
    struct buffer out = {0};
    for (size_t i = 0; i < text.size; i++) {
        if (i == 0 || text.data[i - 1] == '\n') buffer_append(&out, " ", 1);
        buffer_append(&out, text.data + i, 1);
    }
    buffer_append(&out, "", 1);
    return bytes_of(out.data, out.size - 1);
}

static void assert_readers_agree(struct bytes text) {
    struct history *quick = history_new(), *strict = history_new();
    struct error a = {{0}}, b = {{0}};
    struct import_result r = {0}, s = {0};
    struct bytes blanked = blanks_before_lines(text);
    uint8_t *exact = xmalloc(text.size); /* so that a sanitizer sees a look beyond it */
    if (text.size) memcpy(exact, text.data, text.size);
    int rc = history_import(bytes_of(exact, text.size), "h", FORMAT_JSONL, quick, &r, &a);
    if (history_import(blanked, "h", FORMAT_JSONL, strict, &s, &b) != rc || strcmp(a.text, b.text) != 0)
        fail_msg("quick: %s\nstrict: %s\n%.*s", a.text, b.text, (int)text.size, (const char *)text.data);
    if (rc == 0) {
        assert_true(r.lines == s.lines && r.cut_short == s.cut_short && r.order_lost == s.order_lost);
        if (!identical(quick, strict)) fail_msg("different: %.*s", (int)text.size, (const char *)text.data);
    }
    free(exact);
    free_format_text(blanked);
    history_free(quick);
    history_free(strict);
}

static void damage(struct prng *p, struct buffer *text) {
    static const char pieces[] = "{}[],:\"\\ 0123456789-.eEnulltrufaskxvpy\n\r\t\x80\xc3\xa9";
    size_t at = text->size ? prng_below(p, text->size) : 0;
    uint8_t byte = (uint8_t)pieces[prng_below(p, sizeof pieces - 1)];
    if (text->size == 0) return;
    switch (prng_below(p, 4)) {
    case 0: text->data[at] = byte; break;
    case 1: text->data[at] ^= (uint8_t)(1u << prng_below(p, 8)); break;
    case 2: memmove(text->data + at, text->data + at + 1, --text->size - at); break;
    default:
        buffer_append(text, &byte, 1);
        memmove(text->data + at + 1, text->data + at, text->size - 1 - at);
        text->data[at] = byte;
    }
}

static void the_quick_reader_of_lines_agrees_with_the_strict_one(void **state) {
    (void)state;
    struct history *h = history_new();
    struct prng p;
    prng_seed(&p, 1, 0);
    for (uint64_t seed = 0; seed < 150; seed++) {
        struct random_history r;
        history_clear(h);
        random_history_start(&r, h, seed);
        random_history_go_on(&r, (uint32_t)prng_below(&p, 40));
        struct bytes text = format_exported(h, FORMAT_JSONL);
        for (uint32_t damages = 0; damages < 12; damages++) {
            struct buffer copy = {0};
            buffer_append(&copy, text.data, text.size);
            for (uint32_t i = 0; i < damages / 3; i++) damage(&p, &copy);
            assert_readers_agree(bytes_of(copy.data, copy.size));
            buffer_free(&copy);
        }
        free_format_text(text);
    }
    history_free(h);
}

#define START "{\"process\":0,\"type\":\"invoke\",\"f\":\"write\""

static void lines_at_the_edge_of_the_usual_mean_the_same_to_both_readers(void **state) {
    (void)state;
    static const char *const texts[] = {
        START ",\"value\":-0}",
        START ",\"value\":-}",
        START ",\"value\":-01}",
        START ",\"value\":00}",
        START ",\"value\":12345678}",
        START ",\"value\":123456789012345678}",
        START ",\"value\":1234567890123456789}",
        START ",\"value\":9223372036854775807}",
        START ",\"value\":9223372036854775808}",
        START ",\"value\":-9223372036854775808}",
        START ",\"value\":-9223372036854775809}",
        START ",\"value\":18446744073709551617}",
        START ",\"value\":184467440737095516170}",
        START ",\"value\":1.5}",
        START ",\"value\":1e3}",
        START ",\"value\":12345678.5}",
        START ",\"value\":nul}",
        START ",\"value\":true}",
        START ",\"value\":[]}",
        START ",\"value\":[1,2,3,4,5,6,7,8]}",
        START ",\"value\":[1,2,3,4,5,6,7,8,9]}",
        START ",\"value\":[1,\"a\",[null]]}",
        START ",\"value\":[1,]}",
        START ",\"value\":[1",
        START ",\"value\":\"\x85 bare\"}",
        START ",\"value\":\"\xc3\xa9\"}",
        START ",\"value\":\"\xc3\"}",
        START ",\"value\":\"tab\there\"}",
        START ",\"value\":\"\"}",
        START ",\"value\":\"a string of more than eight bytes\"}",
        START ",\"value\":1,\"value\":2}",
        START ",\"key\":null}",
        START ",\"key\":-0}",
        START ",\"key\":1.0}",
        START ",\"key\":12345678901234567890123}",
        START ",\"time\":-1}",
        START ",\"time\":18446744073709551615}",
        START ",\"error\":{\"a\":[1]},\"node\":\"n3\"}",
        START ",\"node\":7}",
        START ",\"final\":true,\"intended\":0}",
        START ",\"final\":false,\"intended\":\"1\"}",
        START ",\"node\":true,\"error\":true}",
        START ",\"time\":7,\"intended\":8}",
        START ",\"unknown\":{}}",
        START "} x",
        START "} \t\r",
        START ",}",
        "{\"process\":4294967296,\"type\":\"invoke\",\"f\":\"read\"}",
        "{\"process\":4294967295,\"type\":\"invoke\",\"f\":\"read\"}",
        "{\"process\":0,\"type\":\"invoked\",\"f\":\"read\"}",
        "{\"process\":0,\"type\":\"okay\",\"f\":\"read\"}",
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"\"}",
        "{\"process\":0,\"type\":\"invoke\",\"fn\":\"read\"}",
        "{}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct buffer text = {0}; /* with a line behind it: the last line of a text is never taken for usual */
        buffer_printf(&text, "%s\n{\"process\":9,\"type\":\"invoke\",\"f\":\"read\",\"key\":\"k\"}\n", texts[i]);
        assert_readers_agree(bytes_of(text.data, text.size));
        buffer_free(&text);
    }
}

static void short_texts_that_resemble_one_another_stay_apart(void **state) {
    (void)state;
    static const char *const names[] = {"a", "aa", "aaa", "aaaa", "aaaaa", "aaaaaaaa", "aaaaaaaaa", "aba", "abba", ""};
    const uint32_t count = sizeof names / sizeof *names;
    struct buffer text = {0};
    for (uint32_t i = 0; i < 2 * count; i++)
        buffer_printf(&text, "{\"process\":%u,\"type\":\"invoke\",\"f\":\"%s!\",\"key\":\"%s\"}\n", i, names[i % count],
                      names[i % count]);
    struct history *h = format_imported((const char *)text.data, FORMAT_JSONL, NULL);
    for (uint32_t op = 0; op < 2 * count; op++) {
        char f[16];
        snprintf(f, sizeof f, "%s!", names[op % count]);
        assert_string_equal(history_text(h, h->key[op]), names[op % count]);
        assert_string_equal(history_function_name(h, h->f[op]), f);
    }
    buffer_free(&text);
    history_free(h);
}

static void usual_lines_in_any_order_and_with_spaces_mean_the_same(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{\"process\":1,\"type\":\"invoke\",\"f\":\"cas\",\"key\":\"k\",\"value\":[1,-2],\"time\":5}\n"
        "{\"process\":1,\"type\":\"ok\",\"f\":\"cas\",\"key\":\"k\",\"value\":[1,-2],\"time\":123456789012345}\n",
        "{\"time\": 5, \"value\": [1, -2], \"f\": \"cas\", \"key\": \"k\", \"type\": \"invoke\", \"process\": 1}\n"
        "{\"f\" : \"cas\", \"type\" : \"ok\", \"process\" :1, \"key\":\"k\", \"time\": 123456789012345 }\n",
        "\xef\xbb\xbf{\"process\":1,\"type\":\"invoke\",\"f\":\"cas\",\"key\":\"\\u006b\",\"value\":[1,-2],\"time\":5}"
        "\r\n\n"
        "{\"process\":1,\"type\":\"ok\",\"f\":\"cas\",\"value\":null,\"time\":123456789012345}",
    };
    struct history *first = format_imported(texts[0], FORMAT_JSONL, NULL);
    assert_int_equal(first->count, 1);
    assert_int_equal(first->complete_ns[0], 123456789012345);
    assert_int_equal(first->pool[first->argument[0].first + 1].integer, -2);
    for (size_t i = 1; i < sizeof texts / sizeof *texts; i++) {
        struct error why = {{0}};
        struct history *h = format_imported(texts[i], FORMAT_JSONL, NULL);
        if (!histories_equal(first, h, &why)) fail_msg("text %d: %s", (int)i, why.text);
        history_free(h);
    }
    history_free(first);
}

/* --- files in pieces ---------------------------------------------------------------------------------------------- */

struct pour {
    int fd;
    struct bytes text;
    uint64_t seed;
};

static void *pour_in_pieces(void *ctx) {
    struct pour *pour = ctx;
    struct prng p;
    prng_seed(&p, pour->seed, 0);
    for (size_t at = 0; at < pour->text.size;) {
        size_t left = pour->text.size - at, size = 1 + prng_below(&p, 900);
        ssize_t n = write(pour->fd, pour->text.data + at, size < left ? size : left);
        assert(n > 0);
        at += (size_t)n;
    }
    close(pour->fd);
    return NULL;
}

static void a_file_in_pieces_is_the_same_as_in_one(void **state) {
    (void)state;
    struct history *h = history_new(), *one = history_new(), *many = history_new();
    struct random_history r;
    random_history_start(&r, h, 5);
    random_history_go_on(&r, 2000);
    for (enum history_format format = FORMAT_JSONL; format <= FORMAT_EDN; format++) {
        struct error e = {{0}};
        struct import_result a, b;
        struct bytes text = format_exported(h, format);
        assert_true(text.size > 150000); /* more than the pieces that a file is read in */
        char path[64];
        int ends[2];
        pthread_t thread;
        assert_int_equal(pipe(ends), 0);
        struct pour pour = {.fd = ends[1], .text = text, .seed = format};
        assert_int_equal(pthread_create(&thread, NULL, pour_in_pieces, &pour), 0);
        snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
        if (history_import_file(path, FORMAT_GUESS, many, &a, &e)) fail_msg("%s", e.text);
        pthread_join(thread, NULL);
        close(ends[0]);
        assert_int_equal(history_import(text, "h", format, one, &b, &e), 0);
        assert_int_equal(a.format, format);
        assert_int_equal(a.lines, b.lines);
        assert_true(identical(one, many));
        free_format_text(text);
    }
    history_free(h);
    history_free(one);
    history_free(many);
}

/* --- EDN ---------------------------------------------------------------------------------------------------------- */

static void what_edn_can_say_becomes_what_a_history_holds(void **state) {
    (void)state;
    static const struct {
        const char *edn, *json;
    } values[] = {
        {"nil", "null"},
        {"-12", "-12"},
        {"+5N", "5"},
        {"9223372036854775807", "9223372036854775807"},
        {"9223372036854775808", "\"9223372036854775808\""},
        {"1.50", "\"1.50\""},
        {"2/3", "\"2/3\""},
        {":x", "\"x\""},
        {":a/b", "\"a/b\""},
        {"true", "\"true\""},
        {"\\newline", "\"\\n\""},
        {"\\a", "\"a\""},
        {"\"a\\tb\\u00e9\n\"", "\"a\\tb\xc3\xa9\\n\""},
        {"[1, 2 (3 [])]", "[1,2,[3,[]]]"},
        {"#{3 1 2}", "[1,2,3]"},
        {"{:b 2, :a [1]}", "[[\"a\",[1]],[\"b\",2]]"},
        {"#inst \"2020\"", "\"2020\""},
        {"#jepsen.Thing{:v 1}", "[[\"v\",1]]"},
        {"^{:doc \"no\"} [1 #_ 2 ; three\n 4]", "[1,4]"},
        {"##Inf", "\"Inf\""},
        {"'(1)", "[1]"},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char text[200];
        struct buffer json = {0};
        snprintf(text, sizeof text, "{:process 0 :type :invoke :f :write :value %s}", values[i].edn);
        struct history *h = format_imported(text, FORMAT_EDN, NULL);
        history_value_print(h, h->argument[0], &json);
        buffer_append(&json, "", 1);
        assert_string_equal((const char *)json.data, values[i].json);
        buffer_free(&json);
        history_free(h);
    }
}

#define REGISTER                                                                                                       \
    "{:process 0, :type :invoke, :f :write, :value 3, :time 10, :index 0}\n"                                           \
    "{:process 1, :type :invoke, :f :read, :value nil, :time 30, :index 1}\n"                                          \
    "{:process 0, :type :info, :f :write, :value 3, :error [:timeout 5], :time 20, :index 2}\n"                        \
    "{:process 1, :type :ok, :f :read, :value 3, :time 30, :index 7}\n"                                                \
    "{:process 2, :type :invoke, :f :cas, :value [3 4]}\n"                                                             \
    "{:process 2, :type :fail, :f :cas, :value [3 4], :time -1}\n"

static void the_order_of_a_jepsen_history_counts_and_times_give_way(void **state) {
    (void)state;
    static const char *const forms[] = {REGISTER, "[" REGISTER "]", "; a remark\n(" REGISTER ") ; end"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct history *h = format_imported(forms[i], FORMAT_GUESS, NULL);
        assert_int_equal(h->count, 3);
        static const uint64_t invoked[] = {10, 30, 33}, completed[] = {31, 32, 34};
        static const uint8_t status[] = {OP_INFO, OP_OK, OP_FAIL};
        for (uint32_t op = 0; op < 3; op++) {
            assert_int_equal(h->invoke_ns[op], invoked[op]);
            assert_int_equal(h->complete_ns[op], completed[op]);
            assert_int_equal(h->status[op], status[op]);
            assert_int_equal(h->key[op], NO_STRING);
        }
        assert_int_equal(h->result[1].integer, 3);
        assert_int_equal(h->f[2], OP_CAS);
        assert_string_equal(history_text(h, h->error[0]), "[:timeout 5]");
        history_free(h);
    }
}

static void what_jepsens_nemesis_did_becomes_faults_and_notes(void **state) {
    (void)state;
#define NEMESIS(f, value, time) "{:process :nemesis, :type :info, :f " f ", :value " value ", :time " time "}\n"
    struct history *h = format_imported(NEMESIS(":start-partition", ":majority", "5")              /**/
                                        NEMESIS(":start-partition", "[:isolated {\"n1\" 2}]", "6") /**/
                                        NEMESIS(":kill", ":all", "7")                              /**/
                                        NEMESIS(":stop-partition", "nil", "8")                     /**/
                                        NEMESIS(":stop-partition", "\"healed\"", "9")              /**/
                                        NEMESIS(":stop-partition", "nil", "20")                    /**/
                                        NEMESIS(":start", "nil", "21")                             /**/
                                        NEMESIS(":bump-clock", "{:n1 5}", "22"),
                                        FORMAT_EDN, NULL);
    assert_int_equal(h->count, 0);
    assert_int_equal(h->faults_count, 2);
    assert_string_equal(history_text(h, h->faults[0].name), "partition");
    assert_string_equal(history_text(h, h->faults[0].detail), "[:isolated {\"n1\" 2}]");
    assert_int_equal(h->faults[0].start_ns, 5);
    assert_int_equal(h->faults[0].end_ns, 9); /* healing once more at the end of the test ends nothing */
    assert_string_equal(history_text(h, h->faults[1].name), "kill");
    assert_int_equal(h->faults[1].end_ns, 21);
    assert_int_equal(h->samples_count, 1);
    assert_string_equal(history_text(h, h->samples[0].text), "bump-clock {:n1 5}");
    history_free(h);
#undef NEMESIS
}

static void elles_transactions_need_neither_process_nor_function(void **state) {
    (void)state;
    assert_format_says(
        "{:index 0 :type :invoke :value [[:append :x 1] [:r 2 nil]]}\n"
        "{:index 1 :type :ok, :value [[:append :x 1] [:r 2 [7]]]}\n"
        "{:index 2 :type :invoke, :value [[:w 2 8]]}\n",
        FORMAT_EDN,
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"append\",\"x\",1],[\"r\",2,null]]}\n"
        "{\"process\":0,\"type\":\"ok\",\"f\":\"txn\",\"value\":[[\"append\",\"x\",1],[\"r\",2,[7]]]}\n"
        "{\"process\":1,\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"w\",2,8]]}\n");
}

static void completions_alone_may_have_begun_at_any_time(void **state) {
    (void)state;
    struct history *h = format_imported("{:type :ok :process 4 :value [[:append :x 1]] :time 10}\n"
                                        "{:type :ok :process 4 :value [[:r :x [1]]] :time 20}\n",
                                        FORMAT_EDN, NULL);
    assert_int_equal(h->count, 2);
    for (uint32_t op = 0; op < 2; op++) {
        assert_int_equal(h->invoke_ns[op], 0);
        assert_int_equal(h->complete_ns[op], 10 * (op + 1));
        assert_int_equal(h->status[op], OP_OK);
    }
    assert_int_not_equal(h->process[0], h->process[1]);
    history_free(h);
}

#define TUPLES(key)                                                                                                    \
    "{:process 0 :type :invoke :f :write :value [" key " 1]} {:process 1 :type :invoke :f :read :value [" key " nil]}" \
    "{:process 0 :type :ok :f :write :value [" key " 1]} {:process 1 :type :ok :f :read :value [" key " 1]}"

static void values_of_key_and_value_are_taken_apart(void **state) {
    (void)state;
    static const char *const texts[] = {TUPLES("7"), TUPLES(":7")};
    for (size_t i = 0; i < 2; i++)
        assert_format_says(texts[i], FORMAT_EDN,
                           "{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"key\":\"7\",\"value\":1}\n"
                           "{\"process\":1,\"type\":\"invoke\",\"f\":\"read\",\"key\":\"7\",\"value\":null}\n"
                           "{\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"key\":\"7\",\"value\":1}\n"
                           "{\"process\":1,\"type\":\"ok\",\"f\":\"read\",\"key\":\"7\",\"value\":1}\n");
    /* A register of pairs is none: its reads do not ask for [key nil]. */
    assert_format_says(
        "{:process 0 :type :invoke :f :write :value [7 1]}{:process 1 :type :invoke :f :read :value nil}", FORMAT_EDN,
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"value\":[7,1]}\n"
        "{\"process\":1,\"type\":\"invoke\",\"f\":\"read\",\"value\":null}\n");
}

static void a_cas_that_answers_false_did_not_happen(void **state) {
    (void)state;
    struct history *h = format_imported(
        "{:process 0 :type :invoke :f :cas :value [1 2]}{:process 0 :type :ok :f :cas :value false}", FORMAT_EDN, NULL);
    assert_int_equal(h->status[0], OP_FAIL);
    history_free(h);
}

static void an_exported_history_comes_back_equal_from_edn(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct history *h = history_new(), *again = history_new();
        struct random_history r;
        struct error e = {{0}}, why = {{0}};
        struct import_result result;
        random_history_start(&r, h, seed);
        random_history_go_on(&r, (uint32_t)(seed * 3));
        struct bytes text = format_exported(h, FORMAT_EDN);
        if (history_import(text, "h", FORMAT_GUESS, again, &result, &e)) fail_msg("seed %d: %s", (int)seed, e.text);
        assert_int_equal(result.format, FORMAT_EDN);
        if (!histories_equal(h, again, &why)) fail_msg("seed %d: %s", (int)seed, why.text);
        free_format_text(text);
        history_free(h);
        history_free(again);
    }
}

static void edn_is_written_as_jepsen_reads_it(void **state) {
    (void)state;
    struct history *h = format_imported(
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"append\",\"x\",1]],\"time\":1}\n"
        "{\"process\":0,\"type\":\"info\",\"f\":\"txn\",\"error\":\"late\",\"time\":2}\n",
        FORMAT_JSONL, NULL);
    struct bytes text = format_exported(h, FORMAT_EDN);
    static const char expected[] =
        ";; harrow: exact times\n"
        "{:process 0, :type :invoke, :f :txn, :value [[:append \"x\" 1]], :time 1}\n"
        "{:process 0, :type :info, :f :txn, :value [[:append \"x\" 1]], :error \"late\", :time 2}\n";
    assert_int_equal(text.size, sizeof expected - 1);
    assert_memory_equal(text.data, expected, text.size);
    free_format_text(text);
    history_free(h);
    h = format_imported(TUPLES("\"k\""), FORMAT_EDN, NULL);
    text = format_exported(h, FORMAT_EDN);
    assert_non_null(memmem(text.data, text.size, ":f :read, :value [\"k\" nil]", 26));
    free_format_text(text);
    history_free(h);
}

/* --- porcupine's logs --------------------------------------------------------------------------------------------- */

#define LOG(process, type, f, value) "INFO  jepsen.util - " process "\t:" type "\t:" f "\t" value "\n"

static const char etcd_log[] = "INFO  jepsen.core - Worker 3 starting\n" /**/
    LOG("3", "invoke", "read", "nil")                                    /**/
    LOG("4", "invoke", "write", "2")                                     /**/
    LOG("3", "ok", "read", "2")                                          /**/
    "\n"                                                                 /**/
    LOG("5", "invoke", "cas", "[2 0]")                                   /**/
    LOG("5", "fail", "cas", "[2 0]")                                     /**/
    LOG("4", "info", "write", ":timed-out")                              /**/
    LOG("3", "invoke", "read", "nil")                                    /**/
    LOG("3", "fail", "read", ":timed-out")                               /**/
    LOG(":nemesis", "info", "start", "nil")                              /**/
    LOG("5", "invoke", "write", "7");

static void an_etcd_log_says_what_happened_to_whom(void **state) {
    (void)state;
    struct import_result result;
    struct history *h = format_imported(etcd_log, FORMAT_GUESS, &result);
    static const uint8_t status[] = {OP_OK, OP_INFO, OP_FAIL, OP_FAIL, OP_PENDING};
    static const uint16_t f[] = {OP_READ, OP_WRITE, OP_CAS, OP_READ, OP_WRITE};
    assert_int_equal(result.format, FORMAT_PORCUPINE_ETCD);
    assert_int_equal(h->count, 5);
    for (uint32_t op = 0; op < 5; op++) {
        assert_int_equal(h->status[op], status[op]);
        assert_int_equal(h->f[op], f[op]);
    }
    assert_int_equal(h->result[0].integer, 2);
    assert_int_equal(h->result[2].kind, VALUE_NIL); /* a failed cas saw nothing that it tells */
    assert_int_equal(h->argument[1].integer, 2);
    assert_string_equal(history_text(h, h->error[1]), "timed-out");
    assert_int_equal(h->faults_count, 1);
    history_free(h);
}

#define STORE(process, type, f, value)                                                                                 \
    "{:process " process ", :type :" type ", :f :" f ", :key \"k\", :value " value "}\n"

static void strings_that_grow_become_lists_of_what_was_appended(void **state) {
    (void)state;
    assert_format_says(STORE("0", "invoke", "put", "\"ab\"")    /**/
                       STORE("0", "ok", "put", "\"ab\"")        /**/
                       STORE("1", "invoke", "append", "\"cd\"") /**/
                       STORE("1", "ok", "append", "\"cd\"")     /**/
                       STORE("2", "invoke", "get", "nil")       /**/
                       STORE("2", "ok", "get", "\"abcdx\"")     /**/
                       STORE("2", "invoke", "put", "\"\"")      /**/
                       STORE("0", "invoke", "get", "nil")       /**/
                       STORE("0", "ok", "get", "\"\""),
                       FORMAT_GUESS,
                       "{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"key\":\"k\",\"value\":[\"ab\"]}\n"
                       "{\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"key\":\"k\",\"value\":[\"ab\"]}\n"
                       "{\"process\":1,\"type\":\"invoke\",\"f\":\"append\",\"key\":\"k\",\"value\":\"cd\"}\n"
                       "{\"process\":1,\"type\":\"ok\",\"f\":\"append\",\"key\":\"k\",\"value\":\"cd\"}\n"
                       "{\"process\":2,\"type\":\"invoke\",\"f\":\"read\",\"key\":\"k\",\"value\":null}\n"
                       "{\"process\":2,\"type\":\"ok\",\"f\":\"read\",\"key\":\"k\",\"value\":[\"ab\",\"cd\",\"x\"]}\n"
                       "{\"process\":2,\"type\":\"invoke\",\"f\":\"write\",\"key\":\"k\",\"value\":null}\n"
                       "{\"process\":0,\"type\":\"invoke\",\"f\":\"read\",\"key\":\"k\",\"value\":null}\n"
                       "{\"process\":0,\"type\":\"ok\",\"f\":\"read\",\"key\":\"k\",\"value\":null}\n");
}

/* --- formats, ends, refusals -------------------------------------------------------------------------------------- */

static void the_beginning_of_a_file_tells_its_format(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum history_format format;
    } guesses[] = {
        {"", FORMAT_JSONL},
        {"{\"process\":0,\"type\":\"invoke\",\"f\":\"read\"}", FORMAT_JSONL},
        {"\n {}", FORMAT_JSONL},
        {"{:process 0 :type :invoke :f :read}", FORMAT_EDN},
        {"; what\n\n[ ; this\n {:process 0 :type :invoke :f :read}]", FORMAT_EDN},
        {"#jepsen.history.Op{:process 0 :type :invoke :f :read}", FORMAT_EDN},
        {"( {:type :invoke :process 0 :f :read :key 7})", FORMAT_EDN},
        {STORE("0", "invoke", "get", "nil"), FORMAT_PORCUPINE_KV},
        {etcd_log, FORMAT_PORCUPINE_ETCD},
        {"0\t:invoke\t:read\tnil\n", FORMAT_JEPSEN_TXT},
        {":nemesis\t:info\t:start\tnil\n0\t:invoke\t:read\tnil\n", FORMAT_JEPSEN_TXT},
    };
    for (size_t i = 0; i < sizeof guesses / sizeof *guesses; i++) {
        struct import_result result;
        struct history *h = history_new();
        struct error e;
        history_import(bytes_str(guesses[i].text), "h", FORMAT_GUESS, h, &result, &e);
        if (result.format != guesses[i].format)
            fail_msg("%s taken for %s", guesses[i].text, history_format_name(result.format));
        enum history_format found;
        assert_true(history_format_find(history_format_name(result.format), &found) && found == result.format);
        history_free(h);
    }
    enum history_format found;
    assert_false(history_format_find("guess", &found));
    assert_false(history_format_find("xml", &found));
}

static void a_file_cut_anywhere_is_a_shorter_history_in_every_format(void **state) {
    (void)state;
    struct random_history r;
    struct history *random = history_new(), *h = history_new();
    random_history_start(&r, random, 11);
    random_history_go_on(&r, 40);
    struct bytes edn = format_exported(random, FORMAT_EDN);
    const struct {
        struct bytes text;
        enum history_format format;
    } files[] = {
        {edn, FORMAT_EDN},
        {bytes_str("[" REGISTER "]"), FORMAT_EDN},
        {bytes_str(etcd_log), FORMAT_PORCUPINE_ETCD},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct error e = {{0}}, why = {{0}};
        struct history *whole = history_new();
        struct import_result result;
        assert_int_equal(history_import(files[i].text, "h", files[i].format, whole, &result, &e), 0);
        assert_false(result.cut_short);
        for (size_t size = 0; size < files[i].text.size; size++) {
            uint8_t *part = memcpy(malloc(size + 1), files[i].text.data, size);
            if (history_import(bytes_of(part, size), "h", files[i].format, h, &result, &e))
                fail_msg("file %d cut at %d: %s", (int)i, (int)size, e.text);
            if (!history_begins_with(whole, h, h->count, &why))
                fail_msg("file %d cut at %d: %s", (int)i, (int)size, why.text);
            /* In a vector the closing bracket is missing; in the others only an event that was begun is. */
            if (i == 1 && size > 1) assert_true(result.cut_short);
            free(part);
        }
        history_free(whole);
    }
    free_format_text(edn);
    history_free(random);
    history_free(h);
}

static void what_cannot_be_a_history_is_refused_with_its_line(void **state) {
    (void)state;
    static const struct {
        enum history_format format;
        const char *text, *message;
    } refused[] = {
        {FORMAT_EDN, "{:process 0 :type :invoke :f :read}\n{:process 1\n:type :ok :f :read}",
         "h:2: process 1 has no open operation that this ok could end; its invoke line is missing"},
        {FORMAT_EDN, "{:process 0 :type :invoke :f :read}\n\n{:process 0 :type :invoke :f :read}",
         "h:3: process 0 invokes again, but its operation of line 1 has not ended"},
        {FORMAT_EDN, "[{:process 0 :type :invoke :f :read :index 4}\n{:process 0 :type :ok :f :read :index 3}]",
         "h:2: :index runs backwards: the events are not in their order"},
        {FORMAT_EDN, "{:process 0\n :type\n :begin :f :read}", "h:3: :type must be :invoke, :ok, :fail or :info"},
        {FORMAT_EDN, "{:process 0 :type :invoke}", "h:1: :f is missing"},
        {FORMAT_EDN, "{:process -3 :type :invoke :f :read}", "h:1: :process: a negative number"},
        {FORMAT_EDN, "{:process 0 :type :invoke :f :read :f :write}", "h:1: :f stands twice"},
        {FORMAT_EDN, "{:process 0 :type :invoke :f :write :value {1}}", "h:1: a key without a value"},
        {FORMAT_EDN, "{:process 0 :type :invoke :f :write :value [1}]}", "h:1: '}' where a value should stand"},
        {FORMAT_EDN, "[1 2]", "h:1: an event must be a map: {:process 0, :type :invoke, :f :write, :value 1}"},
        {FORMAT_EDN, "{\"process\" 0}", "h:1: '\"' where a key like :process should stand; is this JSON?"},
        {FORMAT_EDN, "[{:process 0 :type :invoke :f :read}]\n]", "h:2: ']' behind the end of the history"},
        {FORMAT_EDN,
         "{:process 0 :type :invoke :f :write :value :x}\n{:process 1 :type :invoke :f :write :value\n\"x\"}",
         "h:3: :value: x stands here as a string, earlier as a keyword: harrow would take them for the same value; "
         "write one of them otherwise"},
        {FORMAT_EDN, "{:type :ok :value [[:r 1 nil]]}\n{:type :invoke :value [[:r 1 nil]]}",
         "h:2: an invocation, but earlier operations ended without one: is the beginning of the file missing?"},
        {FORMAT_PORCUPINE_ETCD, LOG("3", "invoke", "read", "nil") LOG("3", "started", "read", "nil"),
         "h:2: :type must be :invoke, :ok, :fail or :info"},
        {FORMAT_PORCUPINE_ETCD, LOG("3", "invoke", "cas", "[1 2"), "h:1: the text ends in the middle"},
        {FORMAT_PORCUPINE_KV, STORE("0", "invoke", "put", "\"ab\"") STORE("1", "invoke", "append", "\"abc\""),
         "h: \"ab\" and \"abc\" are put or appended to key \"k\", and one is the beginning of the other: what was read "
         "of them cannot be told apart"},
        {FORMAT_JSONL, "{:process 0}\n", "h:1: ':' where a string should stand"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct history *h = history_new();
        struct error e = {{0}};
        struct import_result result;
        assert_int_equal(history_import(bytes_str(refused[i].text), "h", refused[i].format, h, &result, &e), -1);
        assert_string_equal(e.text, refused[i].message);
        history_free(h);
    }
}

static void nesting_has_a_limit_in_edn(void **state) {
    (void)state;
    for (uint32_t depth = VALUE_DEPTH_MAX; depth <= VALUE_DEPTH_MAX + 1; depth++) {
        struct buffer text = {0};
        struct history *h = history_new();
        struct error e = {{0}};
        buffer_printf(&text, "{:process 0 :type :invoke :f :write :value ");
        for (uint32_t i = 0; i < depth; i++) buffer_append(&text, "[", 1);
        for (uint32_t i = 0; i < depth; i++) buffer_append(&text, "]", 1);
        buffer_append(&text, "}", 1);
        int rc = history_import(bytes_of(text.data, text.size), "h", FORMAT_EDN, h, NULL, &e);
        assert_int_equal(rc, depth <= VALUE_DEPTH_MAX ? 0 : -1);
        if (rc) assert_string_equal(e.text, "h:1: nested deeper than 64");
        buffer_free(&text);
        history_free(h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_quick_reader_of_lines_agrees_with_the_strict_one),
        cmocka_unit_test(lines_at_the_edge_of_the_usual_mean_the_same_to_both_readers),
        cmocka_unit_test(short_texts_that_resemble_one_another_stay_apart),
        cmocka_unit_test(usual_lines_in_any_order_and_with_spaces_mean_the_same),
        cmocka_unit_test(a_file_in_pieces_is_the_same_as_in_one),
        cmocka_unit_test(what_edn_can_say_becomes_what_a_history_holds),
        cmocka_unit_test(the_order_of_a_jepsen_history_counts_and_times_give_way),
        cmocka_unit_test(what_jepsens_nemesis_did_becomes_faults_and_notes),
        cmocka_unit_test(elles_transactions_need_neither_process_nor_function),
        cmocka_unit_test(completions_alone_may_have_begun_at_any_time),
        cmocka_unit_test(values_of_key_and_value_are_taken_apart),
        cmocka_unit_test(a_cas_that_answers_false_did_not_happen),
        cmocka_unit_test(an_exported_history_comes_back_equal_from_edn),
        cmocka_unit_test(edn_is_written_as_jepsen_reads_it),
        cmocka_unit_test(an_etcd_log_says_what_happened_to_whom),
        cmocka_unit_test(strings_that_grow_become_lists_of_what_was_appended),
        cmocka_unit_test(the_beginning_of_a_file_tells_its_format),
        cmocka_unit_test(a_file_cut_anywhere_is_a_shorter_history_in_every_format),
        cmocka_unit_test(what_cannot_be_a_history_is_refused_with_its_line),
        cmocka_unit_test(nesting_has_a_limit_in_edn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
