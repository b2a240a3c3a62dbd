/* compare: several targets side by side, under the same scenario and the same seeds. First what one run comes to, as
 * numbers (measured.c has the words of a run; this is measure.c); then, over all runs, medians with their spread, as a
 * table for a terminal, as tidy CSV, and as one self-contained page with plots.
 *
 * Only the main phase counts: operations issued in it, and time until it ended. An operation is committed when it ended
 * ok. Everything is a function of the history and the counters of the world, so that in the simulator all but CPU time
 * is the same whenever a seed runs again. */
#ifndef HARROW_COMPARE_H
#define HARROW_COMPARE_H

#include "checkers/checkers.h"

#define MEASURE_WINDOW_NS (500 * NS_PER_MS) /* of availability, and of the rate that a recovery is judged by */
#define MEASURE_REGIONS_MAX 15u
#define MEASURE_LATENCIES_MAX 160u /* kinds of operations times regions */
#define MEASURE_FAULTS_MAX 200u    /* kept of one run, for the page; all of them are summed */
#define MEASURE_BINS_MAX 120u      /* of throughput over time */
#define MEASURE_NAME_BYTES 32u
#define LATENCY_BUCKETS 896u /* microseconds, 32 to each doubling, so within 3 percent; the last holds the rest too */

enum measure {
    MEASURE_THROUGHPUT,   /* committed operations per second */
    MEASURE_AVAILABILITY, /* percent of the windows with an operation to answer in which one ended ok */
    MEASURE_OUTAGE,       /* ms; the longest wait for a success by whoever had asked for something */
    /* From a fault's start until an operation issued after it ended ok. */
    MEASURE_FAILOVER_MEDIAN, /* ms, over the faults of the run */
    MEASURE_FAILOVER_MAX,
    /* From a fault's end until, for a window, operations succeed at half the rate of the run's faultless time. */
    MEASURE_RECOVERY_MEDIAN, /* ms */
    MEASURE_RECOVERY_MAX,
    /* From a fault's start until a node became the leader, over the faults after which one did before the next. */
    MEASURE_REPLACED_MEDIAN, /* ms */
    MEASURE_REPLACED_MAX,
    MEASURE_UNRECOVERED, /* faults after which one of these never came in the main phase */
    MEASURE_MESSAGES,    /* between nodes, per committed operation, as all four */
    MEASURE_BYTES,
    MEASURE_SYNCS,
    MEASURE_CPU,       /* microseconds */
    MEASURE_FAST_PATH, /* percent of the commands that were committed in one round trip */
    MEASURE_ELECTIONS, /* times that a node became a candidate, however often it tried then */
    MEASURE_LEADERS,   /* times that a node became the leader, the first time included */
    MEASURES,
};

struct latency { /* of one kind of operation in one region; nearest rank */
    char operation[MEASURE_NAME_BYTES], region[MEASURE_NAME_BYTES]; /* "": of all together */
    uint64_t count, p50_ns, p99_ns, p999_ns;
};
#define MEASURE_NEVER UINT64_MAX
struct fault_time {
    char name[MEASURE_NAME_BYTES];
    uint64_t start_ns, end_ns;         /* end_ns at most the end of the main phase */
    uint64_t failover_ns, recovery_ns; /* MEASURE_NEVER: not in the main phase */
    bool recovery_known;               /* it ended in time, and there was a faultless rate to compare with */
};

struct measured {            /* of one run; without pointers, so that it can lie in memory that processes share */
    double values[MEASURES]; /* NAN: not measured, or of nothing */
    uint64_t main_ns, committed;
    struct latency latencies[MEASURE_LATENCIES_MAX];
    uint32_t latencies_count;
    struct fault_time faults[MEASURE_FAULTS_MAX];
    uint32_t faults_count;
    uint32_t buckets[LATENCY_BUCKETS]; /* latencies of all committed operations */
    uint64_t bin_ns;
    uint32_t bins[MEASURE_BINS_MAX], bins_count; /* committed operations over time */
};

struct measure_input {
    const struct history *history;
    uint64_t main_ns;                /* when the main phase ended */
    uint32_t clients;                /* client slots: process p is of slot p % clients */
    const uint8_t *region_of_client; /* by slot; NULL: there are no regions */
    const char *const *region_names;
    uint32_t regions_count;
    /* Of the main phase, over all nodes; UINT64_MAX: not known. */
    uint64_t messages, message_bytes, syncs, fast_commits, slow_commits, cpu_ns;
};
void measure_run(const struct measure_input *in, struct measured *out);
uint32_t latency_bucket(uint64_t latency_ns);
uint64_t latency_bucket_us(uint32_t bucket); /* the greatest latency in it */

/* --- over runs ---------------------------------------------------------------------------------------------------- */

struct compared_run {
    uint64_t seed;
    bool done; /* else it was not run, or harrow broke on it: nothing was measured */
    enum verdict verdict;
    const char *why, *replay; /* of one that is not valid */
    const struct measured *measured;
};
struct compared_target {
    const char *name;
    const struct compared_run *runs;
    uint32_t runs_count, valid, invalid, unknown, broken;
};
struct comparison { /* all borrowed */
    const char *scenario, *doc, *world, *command;
    bool virtual_time;
    const struct compared_target *targets;
    uint32_t targets_count;
};

struct compare_row {      /* one figure to compare the targets by */
    enum measure measure; /* MEASURES: a latency, of this permille: */
    uint32_t permille;
    const char *metric, *unit, *label;                              /* label: in words */
    char operation[MEASURE_NAME_BYTES], region[MEASURE_NAME_BYTES]; /* of a latency; "": of all together */
};
/* All figures that any run has, in the order of the table. The caller frees. */
struct compare_row *compare_rows(const struct comparison *c, uint32_t *count);
double compare_value(const struct compare_row *row, const struct measured *m); /* NAN: it has none */

struct spread { /* over the runs of a target that have the figure; quartiles between neighbours where none is exact */
    uint32_t count; /* 0: none has, and the rest says nothing */
    double min, q1, median, q3, max;
};
struct spread spread_of(double *values, uint32_t count); /* sorts them */
struct spread compare_spread(const struct compare_row *row, const struct compared_target *t);

void compare_print_table(const struct comparison *c, uint32_t columns, struct buffer *out);
/* One row per target, seed and figure, under a line of names. */
void compare_print_csv(const struct comparison *c, struct buffer *out);
/* FOLDER/compare.html and beside it its plots with their scripts and data. 0 also when plots are missing: `warning`
 * says which and why. -1: the page could not be written. */
int compare_write_page(const struct comparison *c, const char *folder, struct error *warning, struct error *e);

#endif
