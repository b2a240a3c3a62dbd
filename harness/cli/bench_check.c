/* harrow bench check: what each checker costs on histories made from a seed in the run. Each row has a process of its
 * own for making the history, and another for reading and checking it, so that its figures are those of `harrow check`:
 * CPU time of reading and of checking apart, medians both, and the most memory that was in use. A row is a line in the
 * table, and has its goal beside it. */
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
#define TIMES 5u             /* each history is read and checked; the median counts */
#define AGAIN_MS_MAX 10000.0 /* what took so long in all is not done again */
#define PARSE_MS_GOAL 200.0  /* a million operations */
#define MEMORY_MIB_GOAL 256.0

struct row {
    const char *name;
    struct history *(*make)(const struct row *row, bool stale);
    void (*check)(const struct row *row, const struct history *h, struct check_result *out);
    bool both;                             /* also with a stale read, as NAME-stale */
    bool from_memory;                      /* too large for a file: checked in the process that made it */
    double check_ms_goal;                  /* CPU time, at most */
    double parse_ms_goal, memory_mib_goal; /* 0: none */
    struct bench_shape shape;              /* of registers */
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

#define UNIQUE .check_ms_goal = 50, .parse_ms_goal = PARSE_MS_GOAL, .memory_mib_goal = MEMORY_MIB_GOAL, .both = true
#define WITHIN(ms) .check_ms_goal = (ms)

static const struct row rows[] = {
    {"register-10", REGISTER(MILLION, 10, 1, 0, 0, false), UNIQUE},
    {"register-10-info-1", REGISTER(MILLION, 10, 1, 10000, 0, false), UNIQUE},
    {"register-10-info-5", REGISTER(MILLION, 10, 1, 50000, 0, false), UNIQUE},
    {"register-50", REGISTER(MILLION, 50, 1, 0, 0, false), UNIQUE},
    {"register-50-info-1", REGISTER(MILLION, 50, 1, 10000, 0, false), UNIQUE},
    {"register-50-info-5", REGISTER(MILLION, 50, 1, 50000, 0, false), UNIQUE},
    {"register-100", REGISTER(MILLION, 100, 1, 0, 0, false), UNIQUE},
    {"register-100-info-1", REGISTER(MILLION, 100, 1, 10000, 0, false), UNIQUE},
    {"register-100-info-5", REGISTER(MILLION, 100, 1, 50000, 0, false), UNIQUE},
    {"register-large", REGISTER(10 * MILLION, 10, 1, 0, 0, false), WITHIN(1000), .both = true, .from_memory = true},
    {"keys-1000", REGISTER(MILLION, 50, 1000, 0, 0, false), UNIQUE},
    {"cas-chains", REGISTER(MILLION, 10, 1, 0, 0, true), WITHIN(200), .both = true},
    {"five-values-10", REGISTER(MILLION, 10, 1, 0, 5, false), WITHIN(2000)},
    {"five-values-50", REGISTER(MILLION / 10, 50, 1, 0, 5, false), WITHIN(10000), .both = true},
    {"list-append", TRANSACTIONS(MILLION, false), WITHIN(1000), .memory_mib_goal = 1024, .both = true},
    {"rw-register", TRANSACTIONS(MILLION / 10, true), WITHIN(200), .both = true},
    {"fifo", COLLECTION(BENCH_QUEUE, 10, 0, check_fifo), WITHIN(1000), .both = true},
    {"fifo-info-1", COLLECTION(BENCH_QUEUE, 50, 10000, check_fifo), WITHIN(1000), .both = true},
    {"queue", COLLECTION(BENCH_QUEUE, 10, 0, check_bag), WITHIN(1000)},
    {"total-queue", COLLECTION(BENCH_QUEUE, 10, 0, check_total_queue), WITHIN(1000)},
    {"stack", COLLECTION(BENCH_STACK, 10, 0, check_stack), WITHIN(1000), .both = true},
    {"priority-queue", COLLECTION(BENCH_PRIORITY_QUEUE, 10, 0, check_priority_queue), WITHIN(1000), .both = true},
    {"linearizable-set", COLLECTION(BENCH_SET, 10, 0, check_linearizable_set), WITHIN(1000), .both = true},
    {"set-full", COLLECTION(BENCH_SET, 10, 10000, check_set_full), WITHIN(1000)},
};

/* --- measuring, in a process of its own --------------------------------------------------------------------------- */

struct figures { /* goes through a pipe */
    bool measured;
    uint32_t operations;
    enum verdict verdict;
    uint32_t parses, checks; /* how often */
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

static double median(double *of, uint32_t count) {
    qsort(of, count, sizeof *of, by_size);
    return of[count / 2];
}

static void check_some_times(const struct row *row, const struct history *h, struct figures *f) {
    double took[TIMES], all = 0;
    uint32_t checks = 0;
    while (checks < TIMES && all < AGAIN_MS_MAX) {
        struct check_result r = {0};
        double begin = cpu_ms();
        row->check(row, h, &r);
        all += took[checks++] = cpu_ms() - begin;
        f->verdict = r.verdict;
        snprintf(f->detail, sizeof f->detail, "%s", r.detail);
        check_result_free(&r);
    }
    f->checks = checks;
    f->first_check_ms = took[0];
    f->check_ms = median(took, checks);
    f->operations = h->count;
    f->measured = true;
}

/* The last of the histories read; NULL with a message in detail. */
static struct history *read_some_times(const char *path, struct figures *f) {
    double took[TIMES], all = 0;
    struct history *h = NULL;
    while (f->parses < TIMES && all < AGAIN_MS_MAX) {
        struct error e = {{0}};
        history_free(h);
        h = history_new();
        double begin = cpu_ms();
        if (history_import_file(path, FORMAT_JSONL, h, NULL, &e)) {
            snprintf(f->detail, sizeof f->detail, "%.190s", e.text);
            history_free(h);
            return NULL;
        }
        all += took[f->parses++] = cpu_ms() - begin;
    }
    f->parse_ms = median(took, f->parses);
    return h;
}

static void measure_file(const struct row *row, bool stale, const char *path, struct figures *f) {
    (void)stale;
    struct history *h = read_some_times(path, f);
    if (!h) return;
    check_some_times(row, h, f);
    f->memory_bytes = memory_most_bytes();
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

static double memory_mib(const struct figures *f) {
    return (double)f->memory_bytes / (1 << 20);
}

static bool meets_goal(const struct row *row, bool stale, const struct figures *f) {
    return f->measured && f->verdict == expected(stale) && f->check_ms <= row->check_ms_goal &&
           (row->parse_ms_goal == 0 || f->parse_ms <= row->parse_ms_goal) &&
           (row->memory_mib_goal == 0 || memory_mib(f) <= row->memory_mib_goal);
}

static void print_row(FILE *say, const struct row *row, const char *name, bool stale, const struct figures *f) {
    if (!f->measured) {
        fprintf(say, "%-26s not measured: %s\n", name, f->detail[0] ? f->detail : "the process was lost");
        return;
    }
    bool right = f->verdict == expected(stale);
    fprintf(say, "%-26s %8u  check %7.1f of %5.0f ms", name, f->operations, f->check_ms, row->check_ms_goal);
    if (f->memory_bytes) fprintf(say, "  parse %6.1f ms  memory %4.0f MiB", f->parse_ms, memory_mib(f));
    fprintf(say, "  %s%s%s, goal %s\n", verdict_name(f->verdict),
            right ? "" : ", which is not right: ", right ? "" : f->detail,
            meets_goal(row, stale, f) ? "met" : "missed");
    fflush(say);
}

static void set_goal(json_t *out, const char *name, double goal) {
    if (goal > 0) json_object_set_new(out, name, json_real(goal));
}

static json_t *row_json(const struct row *row, bool stale, const struct figures *f) {
    if (!f->measured) return json_pack("{s:s, s:b}", "not_measured", f->detail, "goal_met", 0);
    json_t *out = json_pack("{s:I, s:s, s:s, s:f, s:f, s:i}", "operations", (json_int_t)f->operations, "verdict",
                            verdict_name(f->verdict), "expected", verdict_name(expected(stale)), "check_ms",
                            f->check_ms, "first_check_ms", f->first_check_ms, "checks", (int)f->checks);
    if (f->memory_bytes) {
        json_object_set_new(out, "parse_ms", json_real(f->parse_ms));
        json_object_set_new(out, "parses", json_integer(f->parses));
        json_object_set_new(out, "memory_mib", json_real(memory_mib(f)));
    }
    set_goal(out, "check_ms_goal", row->check_ms_goal);
    set_goal(out, "parse_ms_goal", row->parse_ms_goal);
    set_goal(out, "memory_mib_goal", row->memory_mib_goal);
    json_object_set_new(out, "goal_met", json_boolean(meets_goal(row, stale, f)));
    return out;
}

struct tally {
    uint32_t measured, right, met;
};

/* The row of that name alone, or all whose names begin so. */
static bool is_wanted(const char *name, const char *wanted) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, wanted) == 0) return strcmp(name, wanted) == 0;
    return strncmp(name, wanted, strlen(wanted)) == 0;
}

static void bench_row(struct cli *c, const struct row *row, bool stale, json_t *figures, struct tally *t) {
    char *name = xformat("%s%s", row->name, stale ? "-stale" : "");
    struct figures f;
    if (is_wanted(name, c->arguments_count > 1 ? c->arguments[1] : "") && !cli_interrupted) {
        measure(row, stale, &f);
        print_row(cli_say(c), row, name, stale, &f);
        json_object_set_new(figures, name, row_json(row, stale, &f));
        t->measured++;
        t->right += f.measured && f.verdict == expected(stale);
        t->met += meets_goal(row, stale, &f);
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
    if (t.measured > 1) fprintf(cli_say(c), "%u of %u rows meet their goals\n", t.met, t.measured);
    if (c->json)
        bench_print_figures("check", figures);
    else
        json_decref(figures);
    return t.right == t.measured ? EXIT_VALID : EXIT_UNKNOWN;
}
