/* events: what every format's reader hands its lines to. Here is decided whether an event makes sense after what its
 * process did before, and here it becomes part of the history; the formats differ only in how a line is read. Private
 * to history/. */
#ifndef HARROW_HISTORY_EVENTS_INTERNAL_H
#define HARROW_HISTORY_EVENTS_INTERNAL_H

#include "history/json_internal.h"

enum event_type { EVENT_INVOKE, EVENT_OK, EVENT_FAIL, EVENT_INFO };

struct event { /* of a client; borrows its texts */
    enum event_type type;
    uint32_t process;
    struct bytes f, key; /* key.data is NULL without one */
    struct value value;
    uint64_t time_ns, intended_ns; /* intended_ns, node and final_phase: of an invocation */
    uint8_t node;
    bool final_phase;
};

/* How the times of a file count. EVENTS_TIMES: none falls, equal ones are concurrent. EVENTS_ORDER: the order of the
 * events is the truth, and a time that does not rise is lifted to the nanosecond behind the one before. */
enum events_clock { EVENTS_TIMES, EVENTS_ORDER };

struct process_state {
    uint32_t op;
    enum { PROCESS_IDLE, PROCESS_OPEN, PROCESS_RETIRED } doing;
    uint64_t line; /* where `op` was invoked, or ended */
};

/* A short text that was seen before, and what it stands for: most keys and functions come again and again. */
#define EVENTS_TEXT_SLOTS 4096u
#define EVENTS_FUNCTION_SLOTS 64u
struct memo_slot {
    uint64_t word;
    uint32_t size, id; /* size 0: free */
};

struct events {
    struct json json; /* scans; its strings and lists go to the history; json.why is what was wrong */
    struct history *h;
    uint64_t line; /* where the event at hand begins: for messages, and the time where no event has one */
    enum events_clock clock;

    struct process_state *dense; /* by process number, below a limit; a number above it has an index into `rest` */
    uint32_t dense_count, rest_count, rest_capacity;
    struct process_state *rest;
    struct map64 rest_of;
    struct map64 faults; /* number in the file -> index in the history */

    struct memo_slot texts[EVENTS_TEXT_SLOTS], functions[EVENTS_FUNCTION_SLOTS];

    enum { TIMES_UNDECIDED, TIMES_GIVEN, TIMES_ABSENT } times;
    enum { KEYS_UNDECIDED, KEYS_STRINGS, KEYS_NUMBERS } keys;
    uint64_t time_ns, time_line;      /* the last event's */
    uint64_t completion_ns;           /* the last completion's time, */
    uint32_t completion_process;      /* its process, */
    bool completed, completed_by_two; /* whether there was one, and others' of the same time */
    uint64_t order_lost;              /* as in struct import_result */
};

/* Clears the history. */
void events_start(struct events *ev, struct history *h, enum events_clock clock);
void events_free(struct events *ev);

/* The time of the event at hand; `given`: it has one, *time_ns. Without, *time_ns is set. */
static inline bool events_time(struct events *ev, bool given, uint64_t *time_ns);
static inline bool events_key_kind(struct events *ev, bool is_number); /* a file has keys of one kind */
uint32_t events_intern(struct events *ev, struct bytes text);

bool events_invoke(struct events *ev, const struct event *event, uint32_t *op);
/* The operation that this completion ends, if it fits; then events_complete ends it. */
bool events_match(struct events *ev, const struct event *event, uint32_t *op);
void events_complete(struct events *ev, const struct event *event, uint32_t op, struct value result, uint32_t error);
uint64_t events_line_of(struct events *ev, uint32_t process); /* of what the process did last */

bool events_fault_start(struct events *ev, uint64_t number, struct fault_record record);
bool events_fault_stop(struct events *ev, uint64_t number, uint64_t now_ns, uint64_t affected, uint64_t offered);

/* "n1" is node 0. Other names are some other system's: no number stands for them. */
uint8_t events_node(struct bytes name);
/* Kinds of samples and roles by their names; -1 for others. */
int events_sample_kind(struct bytes name);
int events_role(struct bytes name);
extern const char *const events_sample_names[SAMPLE_KINDS], *const events_role_names[ROLES];
extern const char *const events_type_names[4];

/* Of each line; what is out of the ordinary is in events.c. */
bool events_other_time(struct events *ev, bool given, uint64_t *time_ns);
bool events_other_key_kind(struct events *ev, bool is_number);

static inline bool events_time(struct events *ev, bool given, uint64_t *time_ns) {
    bool ordinary = given && ev->times == TIMES_GIVEN && ev->clock == EVENTS_TIMES;
    if (!ordinary || *time_ns < ev->time_ns || *time_ns == UINT64_MAX) return events_other_time(ev, given, time_ns);
    ev->time_ns = *time_ns;
    ev->time_line = ev->line;
    return true;
}

static inline bool events_key_kind(struct events *ev, bool is_number) {
    return ev->keys == (is_number ? KEYS_NUMBERS : KEYS_STRINGS) || events_other_key_kind(ev, is_number);
}

#endif
