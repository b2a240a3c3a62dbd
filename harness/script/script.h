/* script: scenarios in Lua. Loads a scenario file into a sandboxed, deterministic Lua state, hands out its plain-data
 * part, and runs its live parts: nemesis coroutines, Lua generators, Lua checks.
 *
 * The sandbox: no io, os, package, debug, load of bytecode; math.random, pairs/next order and table.sort are
 * deterministic; no address can be printed; limits on instructions per resume and on memory. Errors name file:line. */
#ifndef HARROW_SCRIPT_H
#define HARROW_SCRIPT_H

#include "checkers/checkers.h"
#include "harness/workload/generator.h"
#include "harness/world.h"

struct script;

struct script_set { /* --set K=V */
    const char *key, *value;
};
struct script_options {
    uint64_t seed;
    const struct script_set *sets;
    size_t sets_count;
    uint64_t instructions_max; /* per resume or call; 0: 50 million */
    size_t memory_bytes_max;   /* 0: 256 MiB */
};

struct scenario_check {
    enum {
        CHECK_LINEARIZABLE,
        CHECK_APPEND,
        CHECK_COUNTER,
        CHECK_AVAILABLE,
        CHECK_LATENCY,
        CHECK_LUA,
        CHECK_MODEL,
        CHECK_NAMED
    } kind;
    const char *name;
    const char *model;       /* LINEARIZABLE: "" means by workload; NAMED: a row of checkers_all */
    const char *consistency; /* NAMED: of transactions; NULL: the default */
    uint64_t within_ns;      /* AVAILABLE, LATENCY */
    bool during;             /* AVAILABLE */
    int lua_index;           /* LUA, MODEL */
};

struct scenario { /* everything that is plain data; owned by the script */
    const char *name, *doc;
    uint64_t time_ns;          /* of the main phase */
    uint64_t settle_ns;        /* at most, between healing and final reads; default 10 s */
    uint32_t min_ops;          /* fewer ok operations: unknown; default 500 */
    struct world_config world; /* target, mutant, seed, invariants are filled in by the run */
    uint32_t leader_nodes;     /* mask of those of which one is to lead, where one leads; 0: any */
    uint32_t needs; /* mask of fault kinds (and FAULT_LINK_FILTERS) that the script names at load, as far as known */
    struct scenario_check *checks;
    size_t checks_count;
    const char *options_json; /* parameters in force, for the report */
    uint32_t nemeses;         /* how many coroutines */
};

/* name is what messages call it ("scenarios/bench.lua"). NULL with e set ("NAME:LINE: what"). */
struct script *script_load(const char *name, struct bytes text, const struct script_options *o, struct error *e);
void script_free(struct script *s);
const struct scenario *script_scenario(const struct script *s);

struct generator *script_workload(struct script *s);    /* owned by the script */
struct generator *script_final_reads(struct script *s); /* NULL: none; owned by the script */

/* Connects the nemeses to a world and a history (fault records go there), and starts them. Wake-up tags that the script
 * asks of the world have SCRIPT_TAG set; the host passes those to script_wake. */
#define SCRIPT_TAG (UINT64_C(1) << 63)
int script_start(struct script *s, struct world *w, struct history *h, struct error *e);
int script_wake(struct script *s, uint64_t tag, struct error *e);
/* No nemesis runs any more, and every fault still in force is ended. Idempotent; also after an error. */
void script_end_faults(struct script *s);
/* Runs the Lua check of that index on the finished history. */
void script_check(struct script *s, int lua_index, const struct history *h, struct check_result *out);

/* A model of the user's own for the search of linearizability (docs/checkers.md), in a file that returns its table. Its
 * index is 0. NULL with e set. */
struct script *script_load_model(const char *name, struct bytes text, struct error *e);
/* Is the history linearizable by the model of that index? An error in the model or a limit that it hits is unknown. */
void script_check_model(struct script *s, int lua_index, const struct history *h, const struct check_options *o,
                        struct check_result *out);

/* Resolves a scenario argument: a path, or the name of a shipped one ("leader-kill", "scenarios/leader-kill.lua" from
 * anywhere). Text is malloc'd. */
int script_find(const char *argument, char **name, struct bytes *text, struct error *e);

#endif
