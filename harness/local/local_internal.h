/* Private to harness/local: the world of real processes.
 *   local.c       the world: time, wakes, the loop
 *   nodes.c       node processes: start, control channel, restart, artifacts
 *   ends.c        how they end, and what is said about it
 *   slots.c       client slots of bundled targets: connections and timers around harness/client
 *   outside.c     client slots and node states of foreign targets
 *   faults.c      faults in force and their evidence
 *   measured.c    when harrow itself was late; what passed each link
 *   namespaces.c  where all of it lives */
#ifndef HARROW_HARNESS_LOCAL_INTERNAL_H
#define HARROW_HARNESS_LOCAL_INTERNAL_H

#include "harness/client/client.h"
#include "harness/local/namespaces.h"
#include "nemesis/filesystem/filesystem.h"
#include "nemesis/process/process.h"
#include "nemesis/switch/switch.h"
#include "targets/foreign/foreign.h"
#include "targets/node/channel.h"

#define LOCAL_FAULTS_MAX 64u
#define LATE_NOTED_MAX 1024u
#define LATE_NS (20 * NS_PER_MS) /* later than this, and a window is not counted against the system */

struct local;

struct local_node {
    struct local *local;
    uint8_t id;
    struct process *process; /* NULL: down */
    uv_poll_t *end;          /* of the process; owned, NULL: none */
    struct channel *control; /* bundled targets: the node's own word */
    struct wire_status status;
    bool status_known;
    uint32_t down_count, pause_count; /* faults that want it so */
    uint64_t restart_ns;              /* it died by itself: when it is started again; 0: not */
    bool leaving;                     /* it was told to end, */
    uint64_t leave_ns;                /* and is killed then */
    bool stays_down;                  /* it died by itself, and its target wants it left alone */
    char ended[640];                  /* how it last ended or did not start; "": it never did */
    int output;                       /* its log, */
    uint64_t log_start;               /* and its size when the latest process was started */
    uint32_t starts;                  /* so far: each has a recording of its own */
    char folder[512];                 /* in the run's artifacts: log, data */
    struct filesystem *filesystem;    /* NULL: none */
    uint32_t slow_percent;
    struct clock_condition clock;
    uint64_t faults_seed;
    uint64_t fast_commits, slow_commits; /* of all its processes so far */
    uint64_t ended_cpu_ns, ended_syncs;  /* of those that ended */
};

enum local_timer { TIMER_CLIENT, TIMER_CLIENT_SEND, TIMER_RESTART, TIMER_LEAVE };

struct local_client {
    struct local *local;
    uint32_t slot;
    struct client client;
    struct channel **channels; /* one per node, connected when first needed; NULL: none */
    bool refused;
    struct client_action refusal;
    uint64_t token, try_deadline_ns, op_deadline_ns, timer_ns, send_sequence;
    bool waiting; /* a request is out, and its answer is awaited on this node's channel: */
    uint8_t asked;
    struct world_op op;         /* foreign targets: the operation under way, */
    uint8_t nearest[NODES_MAX]; /* and the nodes in the order in which they are asked */
    bool busy;
    uint32_t refusals; /* of it, in a row */
    uint64_t retry_ns; /* when it is tried again; 0: a call is out */
};

struct local_fault {
    uint32_t id, rule; /* rule: of the switch */
    struct fault_spec spec;
    struct fault_evidence evidence;
    struct fault_evidence before; /* counters at its start */
    uint32_t told;                /* KILL with a grace: nodes that ran when they were told to end */
    uint32_t failed_starts[NODES_MAX];
};

struct local {
    struct world world;
    struct world_config config;
    uint32_t nodes;
    uint64_t start_ns;                       /* CLOCK_MONOTONIC of time 0; 0: not started yet */
    uint64_t switch_start_ns, switch_age_ns; /* its own time 0, and its age at ours */
    uv_loop_t loop;
    struct channel_hub hub;
    int timer_fd;
    uv_poll_t timer;
    struct heap wakes, timers; /* the host's tags; our own: kind << 32 | slot */
    uint64_t sequence, events;
    bool stopping;
    struct prng prng;
    struct network network;
    bool network_made;
    struct net_switch *net_switch;
    struct local_node node[NODES_MAX];
    struct local_client *clients;
    uint32_t clients_count;
    struct client_rules client_rules;
    struct local_fault faults[LOCAL_FAULTS_MAX];
    uint32_t faults_next;
    bool has_filesystem, has_syncs, has_clock;
    char violation[640]; /* empty: none */
    /* own honesty (measured.c) */
    uint64_t late_windows, late_worst_ns, late_asked_ns;
    struct late_noted {
        uint64_t number, worst_ns; /* of a window, from 1 */
    } late_noted[LATE_NOTED_MAX];  /* the last ones that were late, each at its number's remainder */

    struct foreign_target *target; /* NULL: bundled */
    char **settings;               /* of it: NAME, value, ..., NULL */
    bool corruption_noted;
    struct foreign_cluster cluster;
    struct foreign_pool *pool;
    uv_poll_t pool_poll;
    bool pool_poll_open;
};

uint64_t local_now(const struct local *l); /* ns since time 0; before it: 0 */
uint64_t local_schedule(struct local *l, uint64_t time_ns, enum local_timer kind, uint32_t slot);
/* Runs the loop until `time_ns` on CLOCK_MONOTONIC, or one turn that did something. */
void local_turn(struct local *l, uint64_t due_ns); /* of monotonic_ns() */

/* nodes.c */
int nodes_prepare(struct local *l, struct error *e); /* folders, disks */
int node_start(struct local_node *n, struct error *e);
int nodes_await(struct local *l, struct error *e); /* all serve and, where it can be told, follow one leader */
void node_process_free(struct local_node *n);      /* frees what belongs to its process */
void local_nodes_free(struct local *l);
bool node_transfer(struct local *l, uint8_t to);
struct node_status node_report(const struct local *l, uint8_t node);
uint8_t nodes_leader(const struct local *l);

/* ends.c */
void node_note(const struct local_node *n, const char *text); /* a line about it in the history */
void node_note_up(const struct local_node *n, bool up);
uint64_t node_log_size(const struct local_node *n);
void node_on_end(struct local_node *n,
                 int status);         /* its process is dead, and not by node_bury; status as of waitpid */
void node_bury(struct local_node *n); /* kills it, if it lives, waits for its end and forgets it */
void node_stop_in_order(struct local_node *n, uint64_t grace_ns); /* SIGTERM, and kill -9 when the time is over */
void node_stop_now(struct local_node *n);                         /* one that was told to end and has not: kill -9 */
void node_on_leave(struct local_node *n);
void node_restart_later(struct local_node *n, uint64_t after_ns);
void node_on_restart(struct local_node *n);

/* slots.c: bundled targets */
void slots_make(struct local *l);
/* Around whatever makes a socket for a client, or the thread that will: it is to be where the client is. */
void slot_enter_region(struct local *l, uint32_t slot);
void slot_leave_region(struct local *l);
uint8_t slots_submit(struct local *l, uint32_t slot, const struct world_op *op);
void slots_on_timer(struct local *l, uint32_t slot);
void slots_on_send(struct local *l, uint32_t slot, uint64_t sequence);
void slots_free(struct local *l);

/* outside.c: foreign targets */
int outside_make(struct local *l, struct error *e);
void outside_free(struct local *l);
uint8_t outside_submit(struct local *l, uint32_t slot, const struct world_op *op);
void outside_on_timer(struct local *l, uint32_t slot);

/* measured.c */
void measured_late(struct local *l, uint64_t due_ns, uint64_t done_ns); /* the loop was: all windows between are late */
void measured_ask_switch(struct local *l, uint64_t now_ns);             /* now and then: was the switch? */
void measured_sum_up(struct local *l);
void measured_counters(const struct local *l, struct world_counters *out);

/* faults.c */
uint32_t local_fault_begin(struct local *l, const struct fault_spec *spec, struct error *e);
struct fault_evidence local_fault_end(struct local *l, uint32_t fault);
void node_apply_conditions(struct local_node *n); /* after a start: what is in force for it */
bool local_fail_start(struct local_node *n);      /* whether a fault makes this start fail; counts it */

#endif
