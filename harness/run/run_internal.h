/* Private to harness/run: the runner and the seams between its parts.
 *   loop.c    clients and generators over a world: invocations, completions, process numbers
 *   phases.c  main, heal, settle, final reads
 *   judge.c   checks and their merge
 *   record.c  the run into the store
 *   stored.c  from the store back to checks, options and report
 *   result.c  what a run says about itself: JSON, replay command
 *   run.c     puts them together */
#ifndef HARROW_RUN_INTERNAL_H
#define HARROW_RUN_INTERNAL_H

#include "harness/run/run.h"

#define CLIENTS_MAX 4096u

enum halt { /* why the loop stopped before its time */
            HALT_NONE,
            HALT_DONE,        /* the generator is over and every client idle */
            HALT_VIOLATION,   /* an online invariant failed */
            HALT_INTERRUPTED, /* the user wants an end */
            HALT_SCRIPT,      /* the scenario failed: runner.failure */
            HALT_BROKEN,      /* harrow or the world failed: runner.failure */
};

struct world_maker { /* where worlds come from; the tests have another one */
    struct world *(*make)(const struct world_config *c, struct world_host host, struct error *e);
    int (*reset)(struct world *w, const struct world_config *c, struct error *e);
};

struct recovery { /* what settling found */
    bool tried, recovered;
    uint64_t after_ns; /* healing to recovered */
    char missing[640]; /* what was not there in time */
};

struct runner {
    const struct world_maker *maker;
    struct world *world;
    struct history *history;

    /* the run under way */
    const struct run_options *options;
    struct script *script; /* NULL only in tests of the loop */
    const struct scenario *scenario;
    struct generator *workload, *final_reads; /* NULL: none */
    uint64_t time_ns;                         /* of the main phase */
    uint64_t main_end_ns;                     /* when it really ended */
    enum halt halt;
    struct error failure;
    struct recovery recovery;
    struct world_counters counters; /* of the main phase */

    char *folder; /* of the run under way, in the local world; else NULL */

    /* clients (loop.c) */
    uint32_t clients, clients_free;
    uint8_t *busy;
    uint32_t *process;
    struct generator *generator; /* NULL: nothing is issued */
    bool generator_done, final_phase;
    bool pump_soon;                 /* a wake at the present instant is on its way */
    uint64_t until_ns;              /* nothing is issued from then on */
    uint64_t timer_ns;              /* the earliest wake ahead, UINT64_MAX if none */
    uint64_t stuck_ns, stuck_count; /* wakes at one instant: a script that never lets time go by */

    /* wall clock (loop.c), the store (record.c) */
    uint64_t wall_start_ns, wall_tick_ns, wall_stored_ns;
    struct run_info info;       /* the run's row; info.run is NULL when nothing is stored */
    struct error store_failure; /* empty: none */

    /* faults on their way from script to world (run.c) */
    struct world_ops ops_watched;
    const struct world_ops *ops_real;
    uint32_t fault_kinds; /* mask of those asked for */
};

struct runner *runner_new_on(const struct world_maker *maker);
bool runner_stopped(const struct runner *r); /* by anything but HALT_DONE */

/* loop.c */
struct world_host loop_host(struct runner *r);
void loop_reset(struct runner *r, uint32_t clients);
/* Runs the world to until_ns with `g` as the source of operations (NULL: none; open ones still end). Returns early,
 * with r->halt set, when the generator is over (or NULL and `drain`) and no operation is open. */
void loop_run(struct runner *r, struct generator *g, uint64_t until_ns, bool drain);

/* phases.c: main to final reads; afterwards r->halt, r->recovery and the history tell. */
void phases_run(struct runner *r);

/* judge.c */
void judge(struct runner *r, struct run_result *out);
void judge_add_unknown(struct run_result *out, const char *name, const char *detail); /* and merges again */

/* record.c: nothing here fails the run; r->store_failure says what could not be stored. */
void record_begin(struct runner *r); /* does nothing when it has begun */
void record_progress(struct runner *r);
void record_finish(struct runner *r, struct run_result *out);
void record_failed(struct runner *r, const char *detail); /* the scenario or harrow broke: no verdict */

#endif
