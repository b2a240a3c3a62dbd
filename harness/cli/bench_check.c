/* harrow bench check: what each checker costs on histories made from a seed in the run. Each row has a process of its
 * own for making the history, and another for reading and checking it, so that its figures are those of `harrow check`:
 * CPU time of reading and of checking apart, and the most memory that was in use. A row is a line in the table. */
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "checkers/collections/collections.h"
#include "checkers/transactions/transactions.h"
#include "harness/bench/collections.h"
#include "harness/bench/histories.h"
#include "harness/bench/transactions.h"
#include "harness/cli/bench.h"

#define SEED 1u
#define DEADLINE_MS 10000u
#define CHECKS_MAX 3u               /* of one history; the median counts */
#define CHECK_AGAIN_NS_MAX NS_PER_S /* what took longer is not checked again */

struct row {
    const char *name;
    struct history *(*make)(const struct row *row, bool stale);
    void (*check)(const struct row *row, const struct history *h, struct check_result *out);
    bool both;                /* also with a stale read, as NAME-stale */
    bool from_memory;         /* too large for a file: checked in the process that made it */
    struct bench_shape shape; /* of registers */
    struct bench_transactions transactions;
    struct bench_collection collection;
    void (*check_collection)(const struct history *h, const struct check_options *o, struct check_result *out);
};

static struct history *make_register(const struct row *row, bool stale) {
    struct bench_shape shape = row->shape;
    shape.stale = stale;
    return bench_history(&shape, SEED);
}

static void check_register(const struct row *row, const struct history *h, struct check_result *out) {
    const struct check_options o = {.deadline_ms = DEADLINE_MS};
    check_linearizable(h, model_find(row->shape.cas ? "cas-register" : "register"), &o, out);
}

static struct history *make_transactions(const struct row *row, bool stale) {
    struct bench_transactions shape = row->transactions;
    shape.stale = stale;
    return bench_transactions_history(&shape, SEED);
}

static void check_strict_serializable(const struct row *row, const struct history *h, struct check_result *out) {
    const struct check_options o = {.deadline_ms = DEADLINE_MS};
    check_transactions(h, row->transactions.registers ? TRANSACTIONS_RW_REGISTER : TRANSACTIONS_LIST_APPEND,
                       "strict-serializable", &o, out);
}

static struct history *make_collection(const struct row *row, bool stale) {
    struct bench_collection shape = row->collection;
    shape.stale = stale;
    return bench_collection_history(&shape, SEED);
}

static void check_collection(const struct row *row, const struct history *h, struct check_result *out) {
    const struct check_options o = {.deadline_ms = DEADLINE_MS};
    row->check_collection(h, &o, out);
}

#define MILLION 1000000
#define REGISTER(ops, clients, keys, info, values, cas)                                                                \
    .make = make_register, .check = check_register, .shape = {ops, clients, keys, values, info, MILLION / 2, cas, false}
#define TRANSACTIONS(count, registers)                                                                                 \
    .make = make_transactions, .check = check_strict_serializable,                                                     \
    .transactions = {count, 10, registers, 10, 32, 4, 0, false}
#define COLLECTION(kind, clients, info, checked)                                                                       \
    .make = make_collection, .check = check_collection,                                                                \
    .collection = {kind, MILLION, clients, MILLION / 2, info, false}, .check_collection = checked

static const struct row rows[] = {
    {"register-10", REGISTER(MILLION, 10, 1, 0, 0, false), .both = true},
    {"register-10-info-1", REGISTER(MILLION, 10, 1, 10000, 0, false), .both = true},
    {"register-10-info-5", REGISTER(MILLION, 10, 1, 50000, 0, false), .both = true},
    {"register-50", REGISTER(MILLION, 50, 1, 0, 0, false), .both = true},
    {"register-50-info-1", REGISTER(MILLION, 50, 1, 10000, 0, false), .both = true},
    {"register-50-info-5", REGISTER(MILLION, 50, 1, 50000, 0, false), .both = true},
    {"register-100", REGISTER(MILLION, 100, 1, 0, 0, false), .both = true},
    {"register-100-info-1", REGISTER(MILLION, 100, 1, 10000, 0, false), .both = true},
    {"register-100-info-5", REGISTER(MILLION, 100, 1, 50000, 0, false), .both = true},
    {"register-large", REGISTER(10 * MILLION, 10, 1, 0, 0, false), .from_memory = true},
    {"keys-1000", REGISTER(MILLION, 50, 1000, 0, 0, false), .both = true},
    {"cas-chains", REGISTER(MILLION, 10, 1, 0, 0, true), .both = true},
    {"five-values-10", REGISTER(MILLION, 10, 1, 0, 5, false)},
    {"five-values-50", REGISTER(MILLION / 10, 50, 1, 0, 5, false), .both = true},
    {"list-append", TRANSACTIONS(MILLION, false), .both = true},
    {"rw-register", TRANSACTIONS(MILLION / 10, true), .both = true},
    {"fifo", COLLECTION(BENCH_QUEUE, 10, 0, check_fifo), .both = true},
    {"fifo-info-1", COLLECTION(BENCH_QUEUE, 50, 10000, check_fifo), .both = true},
    {"queue", COLLECTION(BENCH_QUEUE, 10, 0, check_bag)},
    {"total-queue", COLLECTION(BENCH_QUEUE, 10, 0, check_total_queue)},
    {"stack", COLLECTION(BENCH_STACK, 10, 0, check_stack), .both = true},
    {"priority-queue", COLLECTION(BENCH_PRIORITY_QUEUE, 10, 0, check_priority_queue), .both = true},
    {"linearizable-set", COLLECTION(BENCH_SET, 10, 0, check_linearizable_set), .both = true},
    {"set-full", COLLECTION(BENCH_SET, 10, 10000, check_set_full)},
};

/* --- measuring, in a process of its own --------------------------------------------------------------------------- */

struct figures { /* goes through a pipe */
    bool measured;
    uint32_t operations;
    enum verdict verdict;
    double parse_ms, first_check_ms, check_ms;
    uint64_t memory_bytes; /* the most; 0: not told apart from making the history */
    char detail[200];
};

static double cpu_ms(void) {
    return (double)clock_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e6;
}

static uint64_t memory_most_bytes(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (uint64_t)used.ru_maxrss * 1024;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void check_some_times(const struct row *row, const struct history *h, struct figures *f) {
    double took[CHECKS_MAX];
    uint32_t checks = 0;
    while (checks < CHECKS_MAX && (checks == 0 || took[0] * (double)NS_PER_MS < (double)CHECK_AGAIN_NS_MAX)) {
        struct check_result r = {0};
        double begin = cpu_ms();
        row->check(row, h, &r);
        took[checks++] = cpu_ms() - begin;
        f->verdict = r.verdict;
        snprintf(f->detail, sizeof f->detail, "%s", r.detail);
        check_result_free(&r);
    }
    f->first_check_ms = took[0];
    qsort(took, checks, sizeof *took, by_size);
    f->check_ms = took[checks / 2];
    f->operations = h->count;
    f->measured = true;
}

static void measure_file(const struct row *row, bool stale, const char *path, struct figures *f) {
    (void)stale;
    struct error e = {{0}};
    struct history *h = history_new();
    double begin = cpu_ms();
    if (history_import_file(path, FORMAT_JSONL, h, NULL, &e)) {
        snprintf(f->detail, sizeof f->detail, "%.190s", e.text);
    } else {
        f->parse_ms = cpu_ms() - begin;
        check_some_times(row, h, f);
        f->memory_bytes = memory_most_bytes();
    }
    history_free(h);
}

static void measure_memory(const struct row *row, bool stale, const char *path, struct figures *f) {
    (void)path;
    struct history *h = row->make(row, stale);
    check_some_times(row, h, f);
    history_free(h);
}

static void write_file(const struct row *row, bool stale, const char *path, struct figures *f) {
    struct error e = {{0}};
    struct history *h = row->make(row, stale);
    FILE *out = fopen(path, "w");
    f->measured = out && history_export(h, FORMAT_JSONL, out, &e) == 0;
    if (out && fclose(out)) f->measured = false;
    if (!f->measured) snprintf(f->detail, sizeof f->detail, "the history cannot be written to %.100s", path);
    history_free(h);
}

/* Runs it in a child, so that memory starts from nothing. False if the child did not come to its end. */
static bool apart(void (*run)(const struct row *, bool, const char *, struct figures *), const struct row *row,
                  bool stale, const char *path, struct figures *f) {
    int ends[2], status = 0;
    *f = (struct figures){0};
    if (pipe(ends)) return false;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        run(row, stale, path, f);
        _exit(write(ends[1], f, sizeof *f) == (ssize_t)sizeof *f ? 0 : 1);
    }
    close(ends[1]);
    bool done = child > 0 && read(ends[0], f, sizeof *f) == (ssize_t)sizeof *f;
    close(ends[0]);
    if (child > 0) waitpid(child, &status, 0);
    return done && f->measured;
}

static bool measure(const struct row *row, bool stale, struct figures *f) {
    if (row->from_memory) return apart(measure_memory, row, stale, NULL, f);
    const char *folder = getenv("TMPDIR");
    char *path = xformat("%s/harrow-bench-XXXXXX", folder ? folder : "/tmp");
    int file = mkstemp(path);
    bool done = file >= 0 && apart(write_file, row, stale, path, f) && apart(measure_file, row, stale, path, f);
    if (file >= 0) {
        close(file);
        unlink(path);
    }
    free(path);
    return done;
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

static enum verdict expected(bool stale) {
    return stale ? VERDICT_INVALID : VERDICT_VALID;
}

static void print_row(FILE *say, const char *name, bool stale, const struct figures *f) {
    if (!f->measured) {
        fprintf(say, "%-26s not measured: %s\n", name, f->detail[0] ? f->detail : "the process was lost");
        return;
    }
    bool right = f->verdict == expected(stale);
    fprintf(say, "%-26s %8u  check %8.1f ms (first %8.1f)", name, f->operations, f->check_ms, f->first_check_ms);
    if (f->memory_bytes)
        fprintf(say, "  parse %7.1f ms  memory %5.0f MiB", f->parse_ms, (double)f->memory_bytes / (1 << 20));
    fprintf(say, "  %s%s%s\n", verdict_name(f->verdict), right ? "" : ", which is not right: ", right ? "" : f->detail);
    fflush(say);
}

static json_t *row_json(bool stale, const struct figures *f) {
    if (!f->measured) return json_pack("{s:s}", "not_measured", f->detail);
    json_t *out = json_pack("{s:I, s:s, s:s, s:f, s:f}", "operations", (json_int_t)f->operations, "verdict",
                            verdict_name(f->verdict), "expected", verdict_name(expected(stale)), "check_ms",
                            f->check_ms, "first_check_ms", f->first_check_ms);
    if (f->memory_bytes) {
        json_object_set_new(out, "parse_ms", json_real(f->parse_ms));
        json_object_set_new(out, "memory_mib", json_real((double)f->memory_bytes / (1 << 20)));
    }
    return out;
}

struct tally {
    uint32_t measured, right;
};

static void bench_row(struct cli *c, const struct row *row, bool stale, json_t *figures, struct tally *t) {
    const char *wanted = c->arguments_count > 1 ? c->arguments[1] : "";
    char *name = xformat("%s%s", row->name, stale ? "-stale" : "");
    struct figures f;
    if (strncmp(name, wanted, strlen(wanted)) == 0 && !cli_interrupted) {
        measure(row, stale, &f);
        print_row(cli_say(c), name, stale, &f);
        json_object_set_new(figures, name, row_json(stale, &f));
        t->measured++;
        t->right += f.measured && f.verdict == expected(stale);
    }
    free(name);
}

int bench_check(struct cli *c) {
    json_t *figures = json_object();
    struct tally t = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bench_row(c, &rows[i], false, figures, &t);
        if (rows[i].both) bench_row(c, &rows[i], true, figures, &t);
    }
    if (t.measured == 0 && !cli_interrupted) {
        struct error e = {{0}};
        json_decref(figures);
        error_set(&e, "no row of this benchmark begins with \"%s\"", c->arguments[1]);
        return cli_fail(EXIT_USAGE, c, &e);
    }
    if (c->json)
        bench_print_figures("check", figures);
    else
        json_decref(figures);
    return t.right == t.measured ? EXIT_VALID : EXIT_UNKNOWN;
}
