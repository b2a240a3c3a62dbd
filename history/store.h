/* The store: one SQLite file for all runs (DIR/harrow.db: runs, ops, faults, checks, samples) and one folder per run
 * (DIR/RUN/) for artifacts. Rows are written while the run goes on, in transactions of at most a second of wall time:
 * after kill -9 everything up to the last second is there and can be listed, shown and checked. What a successful call
 * has passed is lost by no death of a process; a crash of the machine may take the last seconds, but damages nothing.
 *
 * A run whose writer died is told by its state: "running" with no living writer (pid and start time; across pid
 * namespaces a lock in DIR/harrow.lock) reads as "interrupted". Several processes may write different runs into one
 * store at the same time (busy timeout, WAL mode). A store does not cross a fork: each process opens its own. */
#ifndef HARROW_HISTORY_STORE_H
#define HARROW_HISTORY_STORE_H

#include "history/history.h"

struct store;

struct run_info {                        /* the row of `runs`; strings are owned, freed by run_info_free */
    char *run;                           /* the id, e.g. "leader-kill-20261123-063001-a1b2"; also the folder's name */
    char *scenario;                      /* name */
    char *scenario_path, *scenario_text; /* as run: a replay needs no file */
    char *target, *world, *mutant;       /* mutant "" if none */
    uint64_t seed;
    char *options_json; /* everything else that a replay needs: --set, --time, nodes, ... */
    char *state;        /* "running", "done", "interrupted" (read only), "failed" */
    char *verdict;      /* "valid", "invalid", "unknown", or "" while running */
    char *detail;       /* why, one line */
    char *started_at;   /* UTC, ISO 8601 */
    double wall_seconds, virtual_seconds;
    uint64_t events, trace_hash;
    uint64_t ops_ok, ops_fail, ops_info, faults;
};
struct check_row {
    char *name, *verdict, *detail; /* detail: full text, may have many lines */
    char *ops_json; /* the offending operations: a JSON array of operation numbers, in order; "[]" if none */
};

/* Opens (creating folder and file) or fails with a message that names the path. */
struct store *store_open(const char *dir, bool read_only, struct error *e);
void store_close(struct store *s);
const char *store_dir(const struct store *s);
int store_run_folder(const struct store *s, const char *run, char *path, size_t path_size,
                     struct error *e); /* created */

int store_begin(struct store *s, const struct run_info *run, struct error *e);
/* Appends what is new in h since the last call and updates what has completed since; call it every second or every few
 * thousand operations. Costs nothing when nothing changed. -1 (disk full, I/O): the run must say so and be "unknown",
 * unless a later call succeeds: it writes everything that is missing. */
int store_progress(struct store *s, const char *run, const struct history *h, struct error *e);
/* The last progress, the run's row and its checks in one transaction. h may be NULL: a summary without a history (or
 * what is stored of it stays as it is). */
int store_finish(struct store *s, const struct run_info *run, const struct history *h, const struct check_row *checks,
                 size_t checks_count, struct error *e);

/* run: an id, a unique prefix of one, or "last". The caller frees with run_info_free / history_free; on -1 there is
 * nothing to free but the history. store_load clears `out` first; ids of strings and custom functions may differ from
 * those at the time of writing. */
int store_find(struct store *s, const char *run, struct run_info *out, struct error *e);
int store_load(struct store *s, const char *run, struct history *out, struct error *e);
int store_checks(struct store *s, const char *run, struct check_row **out, size_t *count, struct error *e);
int store_list(struct store *s, struct run_info **out, size_t *count, struct error *e); /* newest first */
int store_set_checks(struct store *s, const char *run, const char *verdict, const char *detail,
                     const struct check_row *checks, size_t count, struct error *e); /* after a later `check` */
void run_info_free(struct run_info *r);
void run_infos_free(struct run_info *runs, size_t count); /* what store_list returned */
void check_rows_free(struct check_row *rows, size_t count);

#endif
