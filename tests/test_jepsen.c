/* What Jepsen leaves beside its history.edn, and means by it: its history.txt, the workloads that call transactions
 * reads and writes; and that no way through the formats changes a history. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/formats.h"
#include "tests/histories.h"

#define TXT_EVENT(process, type, f, value) process "\t:" type "\t:" f "\t" value

static const char history_txt[] = TXT_EVENT("0", "invoke", "write", "[1 2]") "\n"    /**/
    TXT_EVENT(":nemesis", "info", "start", "[:isolated {\"n1\" #{\"n2\"}}]") "\n"    /**/
    TXT_EVENT("0", "info", "write", "[1 2]") "\t:timeout\n"                          /**/
    TXT_EVENT("1", "invoke", "cas", "[1 [2 3]]") "\n"                                /**/
    TXT_EVENT("1", "fail", "cas", "[1 [2 3]]") "\tjava.lang.Exception: {no \"idea\n" /**/
    TXT_EVENT("1", "invoke", "read", "[1 nil]") "\n"                                 /**/
    TXT_EVENT("1", "ok", "read", "[1 2]") "\n";

static void jepsens_history_txt_says_the_same_as_its_edn(void **state) {
    (void)state;
    assert_format_says(
        history_txt, FORMAT_GUESS,
        "{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"key\":\"1\",\"value\":2}\n"
        "{\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"start\",\"fault\":0,\"name\":\"nemesis\","
        "\"value\":\"[:isolated {\\\"n1\\\" #{\\\"n2\\\"}}]\"}\n"
        "{\"process\":0,\"type\":\"info\",\"f\":\"write\",\"key\":\"1\",\"value\":2,\"error\":\"timeout\"}\n"
        "{\"process\":1,\"type\":\"invoke\",\"f\":\"cas\",\"key\":\"1\",\"value\":[2,3]}\n"
        "{\"process\":1,\"type\":\"fail\",\"f\":\"cas\",\"key\":\"1\",\"value\":[2,3],"
        "\"error\":\"java.lang.Exception: {no \\\"idea\"}\n"
        "{\"process\":1,\"type\":\"invoke\",\"f\":\"read\",\"key\":\"1\",\"value\":null}\n"
        "{\"process\":1,\"type\":\"ok\",\"f\":\"read\",\"key\":\"1\",\"value\":2}\n");
}

/* Jepsen's long-fork calls them reads and writes; its bank reads a map. */
static void reads_and_writes_of_micro_operations_are_transactions(void **state) {
    (void)state;
    assert_format_says("{:process 0 :type :invoke :f :write :value [[:w 3 1]]}\n"
                       "{:process 0 :type :ok :f :write :value [[:w 3 1]]}\n"
                       "{:process 1 :type :invoke :f :read :value [[:r 3 nil] [:r 4 nil]]}\n"
                       "{:process 1 :type :ok :f :read :value [[:r 3 1] [:r 4 nil]]}\n"
                       "{:process 1 :type :invoke :f :read :value nil}\n"
                       "{:process 1 :type :ok :f :read :value {\"r\" 3, \"w\" 4}}\n",
                       FORMAT_EDN,
                       "{\"process\":0,\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"w\",3,1]]}\n"
                       "{\"process\":0,\"type\":\"ok\",\"f\":\"txn\",\"value\":[[\"w\",3,1]]}\n"
                       "{\"process\":1,\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"r\",3,null],[\"r\",4,null]]}\n"
                       "{\"process\":1,\"type\":\"ok\",\"f\":\"txn\",\"value\":[[\"r\",3,1],[\"r\",4,null]]}\n"
                       "{\"process\":1,\"type\":\"invoke\",\"f\":\"read\",\"value\":null}\n"
                       "{\"process\":1,\"type\":\"ok\",\"f\":\"read\",\"value\":[[\"r\",3],[\"w\",4]]}\n");
}

/* Whatever format it came from, it comes back equal from either that harrow writes. */
static void every_format_survives_the_way_through_every_other(void **state) {
    (void)state;
    static const char etcd_log[] = "INFO  jepsen.util - 3 :invoke :write 4\n"
                                   "INFO  jepsen.util - 3 :info :write :timed-out\n";
    static const char store[] = "{:process 0, :type :invoke, :f :append, :key \"k\", :value \"a\"}\n";
    static const char elle[] = "{:type :ok :value [[:append :x 1] [:r :y [1 2]]]}\n{:type :ok :value [[:r :x nil]]}\n";
    const char *const texts[] = {etcd_log, history_txt, elle, store,
                                 "{\"process\":7,\"type\":\"invoke\",\"f\":\"add\",\"key\":3,\"value\":1}\n"};
    static const enum history_format written[] = {FORMAT_JSONL, FORMAT_EDN};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct history *first = format_imported(texts[i], FORMAT_GUESS, NULL), *h = first;
        for (size_t step = 0; step < 4; step++) { /* jsonl, edn, edn, jsonl */
            enum history_format format = written[step == 1 || step == 2];
            struct error why = {{0}};
            struct history *again = history_new();
            struct bytes text = format_exported(h, format);
            if (history_import(text, "h", FORMAT_GUESS, again, NULL, &why)) fail_msg("%s", why.text);
            if (!histories_equal(first, again, &why)) fail_msg("text %d, step %d: %s", (int)i, (int)step, why.text);
            free_format_text(text);
            if (h != first) history_free(h);
            h = again;
        }
        history_free(h);
        history_free(first);
    }
}

static const char register_txt[] = TXT_EVENT("0", "invoke", "write", "12") "\n" /**/
    TXT_EVENT("0", "info", "write", "12") "\ttimed out\n"                       /**/
    TXT_EVENT("1", "invoke", "read", "nil") "\n" TXT_EVENT("1", "ok", "read", "12") "\n";

/* A line that is not whole is left out. */
static void a_history_txt_that_is_cut_anywhere_is_a_shorter_history(void **state) {
    (void)state;
    struct history *whole = format_imported(register_txt, FORMAT_JEPSEN_TXT, NULL), *h = history_new();
    for (size_t size = 0; size < sizeof register_txt - 1; size++) {
        struct error e = {{0}};
        struct import_result result;
        if (history_import(bytes_of(register_txt, size), "h", FORMAT_JEPSEN_TXT, h, &result, &e))
            fail_msg("cut at %d: %s", (int)size, e.text);
        if (!history_begins_with(whole, h, h->count, &e)) fail_msg("cut at %d: %s", (int)size, e.text);
        assert_int_equal(result.cut_short, size > 0 && register_txt[size - 1] != '\n');
    }
    history_free(whole);
    history_free(h);
}

static void what_a_history_txt_cannot_say_is_refused_with_its_line(void **state) {
    (void)state;
    static const char *const refused[][2] = {
        {TXT_EVENT("0", "invoke", "read", "nil") "\n" TXT_EVENT("1", "ok", "read", "1") "\n",
         "h:2: process 1 has no open operation that this ok could end; its invoke line is missing"},
        {"0\t:invoke\n", "h:1: the line ends in the middle"},
        {TXT_EVENT("0", "begin", "read", "nil") "\n", "h:1: :type must be :invoke, :ok, :fail or :info"},
        {TXT_EVENT("0", "invoke", "write", "[1") "\n", "h:1: the text ends in the middle"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct history *h = history_new();
        struct error e = {{0}};
        assert_int_equal(history_import(bytes_str(refused[i][0]), "h", FORMAT_JEPSEN_TXT, h, NULL, &e), -1);
        assert_string_equal(e.text, refused[i][1]);
        history_free(h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jepsens_history_txt_says_the_same_as_its_edn),
        cmocka_unit_test(reads_and_writes_of_micro_operations_are_transactions),
        cmocka_unit_test(every_format_survives_the_way_through_every_other),
        cmocka_unit_test(a_history_txt_that_is_cut_anywhere_is_a_shorter_history),
        cmocka_unit_test(what_a_history_txt_cannot_say_is_refused_with_its_line),
    };
    return cmocka_run_group_tests_name("jepsen", tests, NULL, NULL);
}
