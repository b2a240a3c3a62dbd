/* reports: from a stored run to things a person opens: one self-contained report.html per run (works from file://, no
 * network), its plots by gnuplot, and JUnit XML for a suite. A missing plot tool costs the plot, never the verdict. */
#ifndef HARROW_REPORTS_H
#define HARROW_REPORTS_H

#include "checkers/checkers.h"
#include "history/store.h"

struct report_input {
    const struct run_info *run;
    const struct history *history;
    const struct check_result *checks;
    size_t checks_count;
    uint32_t nodes;
    const char *replay_command; /* the exact command that replays the run */
    const char *folder;         /* where report.html, plots and their data go */
    uint32_t plot_timeout_ms;   /* for each run of gnuplot; 0 means 10,000. After one that hangs no other is tried */
};

/* Writes FOLDER/report.html (path returned in `path`), and beside it latency, throughput and quantiles as .gp, .dat and
 * .svg: `gnuplot latency.gp` in FOLDER draws one again. Returns 0 also when plots are missing: `warning` then says what
 * and why (empty otherwise). -1: the report itself could not be written; one that was there before is still whole. */
int report_html(const struct report_input *in, char *path, size_t path_size, struct error *warning, struct error *e);

/* One checked history as a page of its own, with the picture of its counterexample if it is invalid. `name` is that of
 * the history. 0, or -1 with e; a file that was there before is then still whole. */
int report_counterexample(const char *path, const char *name, const struct history *h, const struct check_result *r,
                          struct error *e);

struct junit_case { /* borrowed strings */
    const char *suite, *name;
    double seconds;
    enum verdict verdict;
    const char *detail, *output; /* output: how to replay, where the report is; may be NULL */
};
int report_junit(const char *path, const char *suite, const struct junit_case *cases, size_t count, struct error *e);

/* Throughput and p99 latency over time as text for a terminal (UTF-8): at most 14 lines of 78 columns, no gnuplot. */
void report_terminal_plot(const struct history *h, struct buffer *out);

#endif
