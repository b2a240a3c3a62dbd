/* Private to the script room: the state behind struct script, and what its files offer one another.
 *
 *   sandbox.c      the Lua state: instruction budget, protected calls, errors with file:line
 *   regions.c      network.regions: where nodes and clients are
 *   region.c       its memory: under a limit, frozen and thawed
 *   modules.c      compiling, and library modules
 *   source.c       a scanner over the scenario's text: refuses ^, finds lines of fields, and what faults are named
 *   order.c        pairs, next and sort in one order on every machine
 *   text.c         strings without addresses and without unbounded work; pattern.c: Lua's patterns, with a step count
 *   random.c       seeded draws, seconds to nanoseconds, and the small part of math that needs no libm
 *   fields.c       reading a table field by field with good messages
 *   scenario.c     the returned table into struct scenario; setup.c: the constructors it is written with
 *   nemesis.c      coroutines on the world's clock; cluster.c: what they can do to a cluster
 *   generators.c   Lua generators behind struct generator; values.c: Lua values from and to history values
 *   view.c         the history as Lua checks see it
 *   model.c        models for linearizable(); states.c: their states as texts of bytes
 *
 * Whatever may raise a Lua error runs under script_protect or in a coroutine: nothing is left to lua_atpanic. */
#ifndef HARROW_SCRIPT_INTERNAL_H
#define HARROW_SCRIPT_INTERNAL_H

#include "harness/script/script.h"

#include <lauxlib.h>
#include <lua.h>

#define SCRIPT_STRING_BYTES_MAX ((size_t)256 << 10) /* longer strings make single operations slow */
#define SCRIPT_LIST_MAX 1000000                     /* elements that one library call works through */
#define SCRIPT_SOURCE_BYTES_MAX ((size_t)1 << 20)
#define NEMESES_MAX 256u /* coroutines in one run, spawned ones included */
#define EARLY_PRINTS_MAX 100u
#define SECONDS_MAX 1e9 /* 31 years: fits 64 bits of nanoseconds with room to add */

enum script_stream { /* of random numbers: drawing from one shifts no other */
                     STREAM_LOAD = 0x5c00000000,
                     STREAM_GENERATOR,
                     STREAM_FINAL,
                     STREAM_CHECK,
                     STREAM_NEMESIS = 0x5d00000000, /* plus the coroutine's number */
};

struct nemesis {
    lua_State *co;
    int anchor; /* registry reference that keeps co alive; LUA_NOREF when it has ended */
    struct prng prng;
    bool started, sleeping;
    uint64_t resumed_ns; /* when it last ran, and how often it has at that moment */
    uint32_t resumes;
};

struct script_fault {          /* in force */
    uint32_t world_id, record; /* of the world and of the history */
};

struct script_param { /* declared by param(), or a field that --set may name */
    const char *name, *json;
};

struct lua_generator {
    struct generator base; /* first */
    struct script *script;
    struct prng prng;
    int driver; /* registry reference of what gen.driver returned */
    uint32_t clients;
};

struct script {
    lua_State *L;
    const char *name;   /* as messages call it */
    const char *chunk;  /* "@name", Lua's name of the source */
    const char *shown;  /* what Lua makes of it in messages: shortened when long */
    struct bytes text;  /* during load only */
    struct arena arena; /* strings of the scenario */

    struct region *region;
    size_t memory_max;
    bool memory_refused, string_refused;
    bool thawed; /* the state was ready-made */
    uint64_t instructions_max;
    int64_t budget; /* instructions left in this call */
    bool exhausted;
    char exhausted_text[160];
    uint64_t deadline_ns; /* of the monotonic clock: no call goes on after it; 0: none */

    const struct script_options *options; /* during load only */
    bool *sets_used;                      /* one per options->sets */
    struct script_param *params;
    size_t params_count, params_capacity;

    uint64_t seed;
    struct prng *random; /* the stream that draws come from now */
    struct prng load_prng, check_prng;

    struct scenario scenario;
    bool loaded;
    int nemeses_ref; /* registry: list of nemesis functions */
    int checks_ref;  /* registry: list of check functions */
    struct workload_config workload_config;
    bool workload_is_lua;
    struct generator *workload, *final_reads;
    struct lua_generator lua_workload, lua_final;

    struct world *world;
    struct history *history;
    struct nemesis nemeses[NEMESES_MAX];
    uint32_t nemeses_count, nemeses_started;
    struct nemesis *running; /* the one that runs now, or NULL */
    bool ended;
    uint32_t prints_count, early_prints_count;
    struct bytes early_prints[EARLY_PRINTS_MAX]; /* before there was a history */
    struct script_fault *faults;
    size_t faults_count, faults_capacity;
    const struct history *viewed; /* during a Lua check */
};

static inline struct script *script_of(lua_State *L) {
    return *(struct script **)lua_getextraspace(L);
}

/* --- script.c --- */

/* A script whose content `body` reads, under protection. */
struct script *script_load_with(const char *name, struct bytes text, const struct script_options *o, lua_CFunction body,
                                struct error *e);
/* Runs the script's text and pushes the first value that it returned; false: nil, for it returned none. Raises. */
bool script_run_file(lua_State *L);

/* --- sandbox.c --- */

int sandbox_open(struct script *s, struct error *e);
void sandbox_close(struct script *s);
/* A fresh budget for one entry into Lua, drawing from that stream. */
void script_enter(struct script *s, struct prng *random);
/* Calls a C body with a lightuserdata argument in protected mode. Returns 0, or -1 with e set. */
int script_protect(struct script *s, struct prng *random, lua_CFunction body, void *arg, struct error *e);
/* The message of an error that ended a coroutine, with file:line, into e. Returns -1. */
int script_error_of_thread(struct script *s, lua_State *co, int status, struct error *e);
/* Raises an error that names the script's line which is being executed. */
_Noreturn void script_fail(lua_State *L, const char *format, ...) PRINTF_LIKE(2, 3);
/* The same with a line found in the source text; 0: only the file is known. */
_Noreturn void script_fail_at(lua_State *L, uint32_t line, const char *format, ...) PRINTF_LIKE(3, 4);
/* Takes from the budget for work that Lua's count of instructions does not see. */
void script_charge(lua_State *L, uint64_t instructions);
/* Adds functions to the table at the top. */
void script_functions(lua_State *L, const luaL_Reg *functions);
/* The candidate nearest to a misspelt word, or NULL when none is near. */
const char *script_nearest(const char *word, const char *const *candidates, size_t count);
const char *script_type_name(lua_State *L, int at); /* for messages: never an address */
/* Makes the table at the top raise an error where a field is read that such a table never has: a misspelt field that is
 * nil would make a check pass. */
struct sealed {
    const char *type, *what; /* unique; for messages: "an operation" */
    const char *const *fields;
    size_t fields_count;
};
void script_seal(lua_State *L, const struct sealed *kind);

/* --- region.c --- */

/* A state with those library modules loaded if one is kept (s->thawed), else an empty one; NULL without memory. */
lua_State *region_open(struct script *s, uint32_t modules);
void region_freeze(struct script *s, uint32_t modules); /* the state as it is now will be thawed later */
void region_close(struct script *s);

/* --- modules.c --- */

uint32_t modules_wanted(void); /* mask of library modules that scripts of this process have touched so far */
void modules_preload(lua_State *L, uint32_t mask);

/* Checks and compiles the scenario, or finds it compiled, and pushes its function. Raises. */
void modules_compile(lua_State *L, struct bytes text);
/* Pushes the table that a library module returned, loading it at first use. Raises. */
void script_module(lua_State *L, const char *file);
/* __index of the globals: loads the module that defines the name, or raises. */
int modules_global_read(lua_State *L);

/* --- source.c --- */

/* 0, or -1 with e set when the text uses what a scenario may not. */
int source_check(const char *name, struct bytes text, struct error *e);
/* The line of `field =` in the returned table (outer NULL), or in the table of its field outer; 0 when not found. */
uint32_t source_field_line(struct bytes text, const char *outer, const char *field);
uint32_t source_needs(struct bytes text); /* mask of fault kinds, and FAULT_LINK_FILTERS, that the text names */

/* --- order.c, text.c, random.c: each adds its functions to the globals table at the top --- */

void order_open(lua_State *L);
void text_open(lua_State *L);
void random_open(lua_State *L);
/* Pushes a text for any value, without an address. Honours __tostring. */
const char *text_of(lua_State *L, int at);
/* Sorts the keys of the table at `at` into a fresh list that is pushed; returns how many. */
lua_Integer order_keys(lua_State *L, int at);
/* A number of seconds in nanoseconds, rounded to nearest, half to even. False when not in [low, SECONDS_MAX]. */
bool seconds_to_ns(double seconds, double low, int64_t *ns);
double ns_to_seconds(uint64_t ns);
int64_t random_seconds_argument(lua_State *L, int at, const char *what, double low);

int pattern_find(lua_State *L);
int pattern_match(lua_State *L);
int pattern_gmatch(lua_State *L);
int pattern_gsub(lua_State *L);

/* --- fields.c: a table that is read field by field --- */

struct fields {
    lua_State *L;
    int table;             /* absolute index */
    const char *what;      /* "register", "the scenario" */
    const char *outer;     /* the table's field in the returned table, for lines; NULL: itself */
    bool top;              /* the returned table or one in it: lines come from the source text */
    const char *known[32]; /* every field asked for, for "did you mean" */
    size_t known_count;
};
struct fields fields_of(lua_State *L, int at, const char *what);
struct fields fields_within(const struct fields *f, const char *outer, const char *what); /* the table at the top */
_Noreturn void fields_fail(const struct fields *f, const char *field, const char *format, ...) PRINTF_LIKE(3, 4);
/* Each returns false, and leaves *out alone, when the field is nil. */
bool fields_integer(struct fields *f, const char *field, int64_t low, int64_t high, int64_t *out);
bool fields_number(struct fields *f, const char *field, double low, double high, double *out);
/* Element i of the list of seconds at stack index `at`, which is the field's. */
uint64_t fields_list_seconds(const struct fields *f, const char *field, int at, lua_Integer i);
bool fields_seconds(struct fields *f, const char *field, double low, double high, uint64_t *out_ns);
bool fields_boolean(struct fields *f, const char *field, bool *out);
bool fields_string(struct fields *f, const char *field, const char **out); /* lives in the script's arena */
/* One of the options, by index. */
bool fields_choice(struct fields *f, const char *field, const char *const *options, size_t count, size_t *out);
bool fields_any(struct fields *f, const char *field);   /* pushes the value when it is not nil */
bool fields_table(struct fields *f, const char *field); /* pushes it */
/* Refuses a field that was not asked for. Array elements count as fields unless list_allowed. */
void fields_end(struct fields *f, bool list_allowed);

/* --- regions.c --- */

/* The table at the top, which is network.regions; nodes and clients are known. */
void regions_read(struct fields *network, struct world_config *w);
void regions_push(lua_State *L, const struct world_config *w);

/* --- setup.c: constructors --- */

void setup_open(lua_State *L);
enum setup_kind { SETUP_WORKLOAD = 1, SETUP_CHECK };
struct setup_workload {
    struct workload_config config;
    uint32_t line;
};
struct setup_check {
    struct scenario_check check;
    uint32_t line;
};
/* NULL when the value is something else. */
struct setup_workload *setup_to_workload(lua_State *L, int at);
struct setup_check *setup_to_check(lua_State *L, int at);
/* The value of --set NAME, marked as used; NULL when not given. */
const char *setup_take_set(struct script *s, const char *name);
void setup_note_param(struct script *s, const char *name, const char *json);

/* --- scenario.c --- */

/* Reads the returned table at the top of the stack into s->scenario. Raises. */
void scenario_read(lua_State *L);

/* --- nemesis.c, cluster.c --- */

void nemesis_open(lua_State *L); /* sleep, now and spawn into the globals table at the top */
void cluster_core(lua_State *L); /* what only library modules may call, into the table at the top */
uint64_t cluster_end_fault(struct script *s, size_t at);

/* --- generators.c, values.c, view.c --- */

/* Makes the C workload, or takes the Lua one. */
void generators_start(struct script *s);
/* Wraps the Lua generator value at the top (popped) for the scenario's clients. Raises. */
void generators_wrap(lua_State *L, struct lua_generator *g, enum script_stream stream);
struct value value_from_lua(lua_State *L, int at, struct history *h, const char *what);
void value_to_lua(lua_State *L, const struct history *h, struct value v);
void view_push(lua_State *L);       /* of s->viewed */
void generators_core(lua_State *L); /* as cluster_core */

/* --- model.c, states.c --- */

/* The types of the operations that a model is given; a state may hold them as plain data. */
#define MODEL_OPERATION "harrow.model-operation"
#define MODEL_OPERATION_OF_PROCESS "harrow.model-operation-of-process"

/* Raises unless the table at `at` has the functions of a model. */
void model_check_table(lua_State *L, int at, const char *what);
#define STATE_BYTES_MAX ((size_t)1 << 20) /* of the text of a state, about */
/* The value at `at` as a text; `what` is what messages call it. Raises if it is not plain data. */
void state_write(lua_State *L, int at, struct buffer *out, const char *what);
void state_push(lua_State *L, struct bytes state);        /* the value again */
void state_print(struct bytes state, struct buffer *out); /* as Lua writes it, at most some 200 bytes */

#endif
