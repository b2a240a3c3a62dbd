/* libharrow-check: checks histories of concurrent and replicated systems. A history in, a verdict out: linearizability
 * of registers, stores, lists and counters, transactions in Elle's manner, and more (harrow_check_name lists them).
 *
 *     harrow_history *h = harrow_history_new();
 *     if (harrow_history_import_file(h, "history.jsonl", NULL) == 0) {
 *         harrow_result *r = harrow_check(h, "register", NULL);
 *         if (r) puts(harrow_result_detail(r));
 *         harrow_result_free(r);
 *     }
 *     harrow_history_free(h);
 *
 * Verdicts are exact or unknown, never guesses; deadline and memory cap hold inside the innermost loops. Handles are
 * opaque, texts are UTF-8 and live as long as the handle they were asked of. Threads may work at the same time, each on
 * histories of its own. Only malloc failing ends the process. See libharrow-check(3). */
#ifndef HARROW_CHECK_H
#define HARROW_CHECK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HARROW_API __attribute__((visibility("default")))
#else
#define HARROW_API
#endif

typedef struct harrow_history harrow_history;
typedef struct harrow_result harrow_result;

#define HARROW_CHECK_VERSION "0.1.0"
#define HARROW_CHECK_VERSION_NUMBER 100            /* 10,000 times major, 100 times minor, patch */
HARROW_API const char *harrow_check_version(void); /* of the library that runs */

/* --- histories --- */

HARROW_API harrow_history *harrow_history_new(void);
HARROW_API void harrow_history_free(harrow_history *h); /* h may be NULL, here and in harrow_result_free */

/* What was wrong when a call on this history last failed: "history.jsonl:7: ..."; "" before that. */
HARROW_API const char *harrow_history_error(const harrow_history *h);

/* Reads a file, or a text in memory, in place of what the history held. The format is "jsonl", "edn", "jepsen-txt",
 * "porcupine-etcd" or "porcupine-kv"; NULL looks at the content. 0, or -1 with an error; then the history is empty. */
HARROW_API int harrow_history_import_file(harrow_history *h, const char *path, const char *format);
HARROW_API int harrow_history_import(harrow_history *h, const void *data, size_t size_bytes, const char *format);

/* Of what was imported: its format ("" if it was not); whether its last event was cut short and left out; how many
 * operations seem concurrent although the lines order them, because their times are equal. */
HARROW_API const char *harrow_history_format(const harrow_history *h);
HARROW_API int harrow_history_cut_short(const harrow_history *h);
HARROW_API uint64_t harrow_history_order_lost(const harrow_history *h);

/* Records an invocation by a process, and returns the operation's number (from 0), or -1 with an error. Times never
 * fall. A process has one operation open at a time, and none after an "info".
 *   function  "read", "write", "cas", "append", "add", "delete", "txn", or any name that a check understands
 *   key       what it is about; NULL where there is but one object
 *   argument  as JSON: integers, strings, null and lists of these; NULL means null; of a cas: "[expected, new]" */
HARROW_API int64_t harrow_history_invoke(harrow_history *h, uint64_t time_ns, uint32_t process, const char *function,
                                         const char *key, const char *argument);
/* Records its end: "ok" (it happened), "fail" (it did not), "info" (nobody knows: a timeout). An operation that never
 * ends counts as info. The result is JSON: what a read returned; NULL where nothing came back. 0 or -1. */
HARROW_API int harrow_history_complete(harrow_history *h, uint64_t time_ns, int64_t operation, const char *status,
                                       const char *result);
HARROW_API uint32_t harrow_history_count(const harrow_history *h); /* operations */

/* --- checks --- */

typedef enum harrow_verdict { HARROW_VALID, HARROW_UNKNOWN, HARROW_INVALID } harrow_verdict;

typedef struct harrow_options {
    size_t size;               /* sizeof(harrow_options), so that later ones can grow */
    uint64_t deadline_ms;      /* 0: 60,000 */
    uint64_t memory_bytes_max; /* beside the history itself; 0: 2 GiB */
    const char *consistency;   /* for list-append, rw-register; NULL: "strict-serializable" */
    int verdict_only;          /* not 0: no counterexample, which may take longer than the verdict */
    const char *initial;       /* what a register holds that nobody wrote, as JSON; NULL: null, which is nothing */
} harrow_options;

/* Check number i, from 0 on: its name, other names that it answers to, what it is, and the operations that it knows
 * (names and operations are words with a space between); NULL past the last one. */
HARROW_API const char *harrow_check_name(size_t i);
HARROW_API const char *harrow_check_also(size_t i);
HARROW_API const char *harrow_check_doc(size_t i);
HARROW_API const char *harrow_check_functions(size_t i);

/* The check that is taken where none is named: the smallest that understands all of the history, or of those that take
 * a consistency model if one is given; NULL if there is none. */
HARROW_API const char *harrow_check_guess(const harrow_history *h, const harrow_options *options);
HARROW_API int harrow_check_understands(const harrow_history *h, size_t i); /* does check number i know all of it? */

/* Judges the history; NULL for `check` takes harrow_check_guess, NULL for `options` all defaults. NULL with an
 * error when there is no such check, or the options do not fit it. */
HARROW_API harrow_result *harrow_check(harrow_history *h, const char *check, const harrow_options *options);

HARROW_API harrow_verdict harrow_result_verdict(const harrow_result *r);
HARROW_API const char *harrow_result_check(const harrow_result *r);       /* what judged: "linearizable", ... */
HARROW_API const char *harrow_result_detail(const harrow_result *r);      /* one line: why */
HARROW_API const char *harrow_result_explanation(const harrow_result *r); /* many lines, or "" */
/* The numbers of the offending operations, ascending; returns how many. */
HARROW_API size_t harrow_result_operations(const harrow_result *r, const uint32_t **operations);
/* Not 0: the time allowed ended before it was known that none of them can be spared. */
HARROW_API int harrow_result_maybe_fewer(const harrow_result *r);
HARROW_API const char *harrow_verdict_name(harrow_verdict verdict); /* "valid", "unknown", "invalid" */
HARROW_API void harrow_result_free(harrow_result *r);

/* --- counterexamples as data --- */

/* An operation in words, such as "read x -> 3"; NULL if there is none of that number. Until the next call. */
HARROW_API const char *harrow_history_describe(harrow_history *h, uint32_t operation);

/* As many of the offending operations as can be put into one order, for each order that gets as far as any: how many
 * orders (0 where there is nothing to step through, as for transactions), and of order i: how many operations, which
 * (k from 0 on), and the state after the first k of them, in words. UINT32_MAX and NULL beyond the end. */
HARROW_API size_t harrow_result_orders(const harrow_result *r);
HARROW_API size_t harrow_result_order_length(const harrow_result *r, size_t i);
HARROW_API uint32_t harrow_result_order_operation(const harrow_result *r, size_t i, size_t k);
HARROW_API const char *harrow_result_order_state(const harrow_result *r, size_t i, size_t k);
/* Operation k of those that order i leaves over, and why it cannot come next; NULL beyond the last. */
HARROW_API const char *harrow_result_left_over(const harrow_result *r, size_t i, size_t k, uint32_t *operation);

/* Step i of a cycle of transactions: why `from` comes before `to`, in words, and the kind: "ww", "wr", "rw", "process"
 * or "realtime". NULL beyond the last. Pointers may be NULL. */
HARROW_API const char *harrow_result_edge(const harrow_result *r, size_t i, uint32_t *from, uint32_t *to,
                                          const char **kind);

#ifdef __cplusplus
}
#endif

#endif
