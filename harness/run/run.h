/* A run: one scenario in one world, from loading to verdict and report. The command line is a thin layer over this.
 *
 * Phases: (1) main: workload and nemeses for the scenario's time; (2) heal: every fault is ended; (3) settle: until a
 * leader is there, every node runs and all have applied the same index with the same state (or settle_ns is over: then
 * the check "recovers" fails); (4) final reads; (5) checks; (6) store and report. */
#ifndef HARROW_RUN_H
#define HARROW_RUN_H

#include <signal.h>

#include "checkers/checkers.h"
#include "harness/script/script.h"
#include "history/store.h"

struct run_options {
    const char *scenario_name; /* for messages and the store */
    struct bytes scenario_text;
    const char *target, *world, *mutant; /* "raft", "sim", "" */
    uint64_t seed;
    uint64_t time_ns;            /* 0: the scenario's */
    const struct bytes *adapter; /* a foreign target's Lua file; NULL: a bundled target */
    const struct script_set *sets;
    size_t sets_count;
    bool invariants;   /* online oracles (default on; --no-invariants) */
    uint32_t without;  /* mask of enum fault_kind that is left out, though the scenario asks for it (shrinking) */
    bool pcap, record; /* worlds with real frames and processes: capture the links, record the bundled nodes */
    uint32_t pcap_snap_bytes; /* of each frame; 0: the beginning */
    struct check_options check;
    /* The online oracle's finding ends the run at once with "invalid". Called now and then; wall-clock paced. */
    void (*progress)(void *ctx, double fraction, const struct history *h);
    void *progress_ctx;
    void (*trace_line)(void *ctx, const char *line); /* full tracing; NULL: off */
    void *trace_ctx;
    struct store *store; /* NULL: nothing is stored or reported (hunt) */
    bool report;
    const volatile sig_atomic_t *interrupted; /* not zero: stop, judge what is there as "unknown"; NULL: never */
};

struct run_result {
    enum verdict verdict;
    char *why; /* one line; owned, as are all below */
    struct check_result *checks;
    size_t checks_count;
    char run_id[128];      /* "" if not stored */
    char report_path[512]; /* "" if none */
    char warning[512];     /* e.g. plots missing */
    uint64_t ops_ok, ops_fail, ops_info, faults;
    uint64_t events, trace_hash;
    double virtual_seconds, wall_seconds;
    uint64_t main_ns;               /* when the main phase ended */
    struct world_counters counters; /* of the main phase */
    uint32_t nodes, clients;
    struct regions regions; /* where nodes and processes are */
    uint32_t fault_kinds;   /* mask of enum fault_kind that the nemeses asked for */
};

/* A runner keeps a world and a history for many runs (hunt, test, bench): cheap reuse, same results as a fresh one. */
struct runner;
struct runner *runner_new(void);
void runner_free(struct runner *r);
const struct history *runner_history(const struct runner *r); /* of the last run */

/* 0: ran and judged (also invalid or unknown). 254: bad scenario or options; 255: internal error; e says. */
int runner_run(struct runner *r, const struct run_options *o, struct run_result *out, struct error *e);
void run_result_free(struct run_result *r);
void run_result_json(const struct run_result *r, const struct run_options *o,
                     struct buffer *out); /* DESIGN: run --json */
/* The exact command that runs this again; NUL-terminated, the NUL not counted. */
void run_replay_command(const struct run_options *o, struct buffer *out);
/* The same of a comparison, from the seed of `o` on. */
void run_compare_command(const struct run_options *o, const char *targets, uint64_t last_seed, struct buffer *out);
/* The first check that is not valid and decides the verdict; NULL when all are valid. */
const struct check_result *run_deciding_check(const struct run_result *r);

/* What a stored run was made with: fills everything of `o` that decides the schedule. `o` borrows from `info` and from
 * what is returned, to be freed after use; NULL with e set when the row is damaged. */
struct stored_options;
struct stored_options *run_options_of(const struct run_info *info, struct run_options *o, struct error *e);
void stored_options_free(struct stored_options *s);
uint32_t run_info_nodes(const struct run_info *info);                    /* 0: not recorded */
void run_info_regions(const struct run_info *info, struct regions *out); /* count 0: none, or not recorded */
/* Checks to and from the rows of the store. The caller frees: check_rows_free; run_checks_free. */
struct check_row *run_check_rows(const struct check_result *checks, size_t count);
struct check_result *run_checks_of_rows(const struct check_row *rows, size_t count);
void run_checks_free(struct check_result *checks, size_t count);
/* Writes report, plots and history.jsonl into the run's folder. -1: no report; `warning`: what is missing from it. */
int run_write_report(struct store *s, const struct run_info *info, const struct history *h,
                     const struct check_result *checks, size_t checks_count, char *path, size_t path_size,
                     struct error *warning, struct error *e);

/* The smallest sequential model that knows every operation of h; NULL for transactions and custom operations. */
const char *run_model_for(const struct history *h);

/* Names of fault kinds as in --without: "link", "kill", "pause", "slow", "clock", "power", "disk". */
const char *fault_kind_name(enum fault_kind kind);
int fault_kind_find(const char *name); /* -1: none */

#endif
