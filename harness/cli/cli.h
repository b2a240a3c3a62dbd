/* cli: the command line, a thin layer over the run loop, the store, the checkers and the reports. Every command is one
 * function in a file of its own; all share one table of options (options.c) and what is declared here.
 *
 * Results go to standard output; with --json that is one JSON object, and everything else goes to standard error. */
#ifndef HARROW_CLI_H
#define HARROW_CLI_H

#include <stdio.h>

#include "harness/run/json_text.h"
#include "harness/run/run.h"
#include "history/import.h"

#define HARROW_VERSION "0.1.0"

/* Exit statuses: Jepsen's. */
#define EXIT_VALID 0
#define EXIT_INVALID 1
#define EXIT_UNKNOWN 2
#define EXIT_USAGE 254
#define EXIT_INTERNAL 255

#define SEED_MAX ((uint64_t)INT64_MAX) /* what JSON readers and SQLite still take as an exact integer */
#define JOBS_MAX 256u
#define SETS_MAX 64u
#define ARGUMENTS_MAX 256u

enum option { /* what a command takes; OPTION_BIT of struct command.options */
              OPTION_TARGET,
              OPTION_TARGETS,
              OPTION_WORLD,
              OPTION_MUTANT,
              OPTION_SEED,
              OPTION_SEEDS,
              OPTION_TIME,
              OPTION_FOR,
              OPTION_SET,
              OPTION_WITHOUT,
              OPTION_NO_INVARIANTS,
              OPTION_JOBS,
              OPTION_KEEP_GOING,
              OPTION_HUNT,
              OPTION_MARKDOWN,
              OPTION_WRITE,
              OPTION_JUNIT,
              OPTION_MODEL,
              OPTION_CONSISTENCY,
              OPTION_INITIAL,
              OPTION_OPS,
              OPTION_OUT,
              OPTION_NO_REPORT,
              OPTION_NODE,
              OPTION_TRACE,
              OPTION_NODES,
              OPTION_TIMEOUT,
              OPTION_CLIENTS,
              OPTION_SECONDS,
              OPTION_MIX,
              OPTION_VALUE_BYTES,
              OPTION_KEYS,
              OPTION_PCAP,
              OPTION_PCAP_SNAP,
              OPTION_RECORD,
              OPTION_FORMAT,
              OPTION_NO_EXPLAIN,
              OPTION_TO,
              OPTION_HTML,
              OPTION_OUTPUT,
              OPTION_QUIET,
              OPTION_JSON,
              OPTION_CSV,
              OPTIONS_COUNT,
};
#define OPTION_BIT(option) (UINT64_C(1) << (option))

struct seed_range {
    uint64_t first, last; /* both included */
};

struct cli { /* a parsed command line */
    const struct command *command;
    const char *arguments[ARGUMENTS_MAX];
    size_t arguments_count;
    uint64_t given; /* mask of options that were there */
    const char *target, *targets, *world, *mutant, *out, *junit, *write, *model, *consistency, *initial, *node, *trace,
        *nodes, *mix, *output, *html;
    enum history_format format, to;
    uint64_t seed, time_ns, for_ns, timeout_ns, seconds_ns;
    struct seed_range seeds;
    uint32_t jobs; /* 0: not given */
    uint32_t clients, keys, value_bytes, pcap_snap_bytes;
    struct script_set sets[SETS_MAX];
    size_t sets_count;
    uint32_t without;
    uint32_t ops_shown;
    bool json, csv, quiet, no_explain, no_report, no_invariants, keep_going, hunt, markdown, pcap, record;
    int argc; /* of a command with options of its own: the words from its name on */
    char **argv;
    char *words; /* what an option string (a pragma) was split into; owned */
};

struct command {
    const char *name, *arguments, *doc; /* one line */
    const char *help;                   /* more, with examples */
    uint64_t options;
    size_t arguments_min, arguments_max;
    bool own_options; /* parses argc and argv itself */
    int (*run)(struct cli *c);
};
extern const struct command *const commands[]; /* NULL-terminated */
const struct command *command_find(const char *name);

/* options.c. -1 with e set; help_asked when -h or --help was there. */
int options_parse(struct cli *c, int argc, char **argv, bool *help_asked, struct error *e);
void options_print(uint64_t mask, FILE *out);
/* The nearest of `names` to what was typed, NULL when nothing is near. */
const char *nearest(const char *typed, const char *const *names, size_t count);
int parse_seconds(const char *text, uint64_t *ns);

/* common.c */
extern volatile sig_atomic_t cli_interrupted;
void cli_catch_interrupts(void);
int cli_fail(int status, const struct cli *c, const struct error *e); /* prints, returns status */
FILE *cli_say(const struct cli *c);                                   /* where lines for people go */
int cli_verdict_status(enum verdict v);
const char *cli_verdict_text(enum verdict v, FILE *out); /* coloured on a terminal only */
struct store *cli_open_store(const struct cli *c, bool read_only, struct error *e);
void cli_print_json(json_t *root); /* takes it over */
uint64_t cli_random_seed(void);
uint32_t cli_jobs(const struct cli *c);
void cli_machine(char *text, size_t size); /* processor, cores */

/* scenario.c: a scenario as named on a command line, with what it pins in a line "-- harrow: --seed 7 --time 3". */
struct source {
    char *name;
    struct bytes text;
    struct cli pinned;
};
int cli_source_load(struct source *s, const char *argument, struct error *e);
int cli_source_of_text(struct source *s, const char *name, struct bytes text, struct error *e); /* copies */
void cli_source_free(struct source *s);
/* What a run of it is made with: the command line over what is pinned over the defaults. `sets` has room for
 * 2 * SETS_MAX. The seed is the command line's, the pinned one, or zero (seed_known tells). */
void cli_source_options(const struct source *s, const struct cli *c, struct script_set *sets, struct run_options *o,
                        bool *seed_known);
/* Whether it loads with these options; its parameters as JSON (the caller frees) and its clients, if asked for. */
int cli_source_check(const struct run_options *o, char **parameters, uint32_t *clients, struct error *e);

/* place.c: finds a foreign target's file (o->adapter) and, for the local world, moves the process into namespaces: call
 * it before anything is open that must not be shared with the process that stays outside. */
int cli_place(struct run_options *o, struct error *e);
bool cli_is_bundled(const char *target);
/* After a scenario was refused: names the target's own settings, if a --set was meant for one of them. */
void cli_hint_settings(const struct run_options *o, struct error *e);

/* pool.c: the same work for many indices, over forked processes. */
struct pool_report { /* what a worker says about one index: one atomic write into a pipe */
    uint64_t index;
    enum verdict verdict;
    bool interrupted, refused, crashed; /* refused: bad scenario; crashed: the worker died */
    uint32_t fault_kinds;
    uint64_t ops_ok, events, trace_hash, end_ns; /* end_ns: virtual */
    double wall_seconds;
    char check[64], why[900];
    char run[128]; /* its id, if it is stored */
};
struct pool {
    uint32_t jobs;
    uint64_t count;            /* indices 0 .. count - 1, handed out in order */
    uint64_t deadline_wall_ns; /* none is handed out after it; 0: no deadline */
    bool stop_at_failure;      /* none above the lowest failing index counts */
    void (*work)(void *ctx, uint64_t index, const volatile sig_atomic_t *interrupted, struct pool_report *out);
    void (*on_report)(void *ctx, const struct pool_report *report);
    void (*on_tick)(void *ctx); /* about ten times a second; may be NULL */
    void *ctx;
};
int pool_run(const struct pool *p, struct error *e);
/* The worker's part that all commands share: one run without a store. */
void pool_run_scenario(struct runner *r, struct run_options *o, struct pool_report *out);
/* The same, with what the run was like; run_result_free it. False: it was refused or broke, and there is nothing. */
bool pool_run_keeping(struct runner *r, struct run_options *o, struct pool_report *out, struct run_result *result);
bool pool_failed(const struct pool_report *r); /* invalid, refused or crashed */

/* shrink.c: makes a failing run smaller while the same check still fails. */
struct shrunk {
    struct run_options options; /* what still fails; sets in the array below */
    struct script_set sets[2 * SETS_MAX];
    char *values[2 * SETS_MAX]; /* owned texts of changed sets */
    size_t values_count;
    uint32_t runs;
    bool smaller;
};
void shrink(const struct run_options *o, const struct pool_report *failure, struct shrunk *out);
void shrunk_free(struct shrunk *s);

/* replay.c: runs `o` with every event as a line of the file; returns what runner_run does. */
int cli_trace(const struct run_options *o, const char *path, uint64_t *lines, struct run_result *out, struct error *e);

/* print.c: what run, replay and hunt show of one run. */
void print_header(FILE *out, const struct run_options *o);
void print_result(FILE *out, const struct run_result *r, const struct run_options *o, bool brief);
void print_checks(FILE *out, const struct check_result *checks, size_t count);
struct progress_line { /* a line on a terminal's standard error, redrawn; nothing elsewhere */
    bool on;
    uint64_t start_wall_ns;
};
void progress_line_start(struct progress_line *p, const struct cli *c);
void progress_line_run(void *p, double fraction, const struct history *h); /* run_options.progress */
void progress_line_text(struct progress_line *p, const char *format, ...) PRINTF_LIKE(2, 3);
void progress_line_clear(struct progress_line *p);

int command_run(struct cli *c);
int command_test(struct cli *c);
int command_hunt(struct cli *c);
int command_compare(struct cli *c);
int command_replay(struct cli *c);
int command_replay_node(struct cli *c); /* replay_node.c: the recording of one node (targets/node/record.h) */
int command_check(struct cli *c);
int command_convert(struct cli *c);
int command_runs(struct cli *c);
int command_show(struct cli *c);
int command_report(struct cli *c);
int command_scenarios(struct cli *c);
int command_targets(struct cli *c);
int command_mutants(struct cli *c); /* mutants.c */
int command_models(struct cli *c);
int command_doctor(struct cli *c);
int command_bench(struct cli *c);
int command_kv(struct cli *c);
int command_node(struct cli *c);
int command_help(struct cli *c);
void print_command_help(const struct command *k, FILE *out);
void print_usage(FILE *out);

#endif
