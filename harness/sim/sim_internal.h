/* The private side of the simulator. One thread, one event heap, one clock:
 *   sim.c      the loop, wake-ups, the trace hash, the world interface
 *   nodes.c    replicas with their disks and clocks: boot, crash, pause, slow
 *   network.c  frames and links
 *   clients.c  client slots and their timers
 *   faults.c   faults in force, and their evidence
 *   trace.c    events as text
 *   oracle.c   the invariants */
#ifndef HARROW_SIM_INTERNAL_H
#define HARROW_SIM_INTERNAL_H

#include "harness/client/client.h"
#include "harness/sim/oracle.h"
#include "harness/world.h"
#include "nemesis/disk.h"

enum event_type { EV_FRAME, EV_TIMER, EV_SYNC, EV_BOOT, EV_CLIENT_TIMER, EV_CLIENT_SEND, EV_WAKE, EV_STOP };
enum { FAULTS_MAX = 256, TIMERS_MAX = 4, FRAME_SMALL = 192, SYNCS_MAX = 8 };
/* Every run begins at this moment of wall-clock time: 2020-01-01 UTC. */
#define SIM_EPOCH_NS (UINT64_C(1577836800) * NS_PER_S)
enum stream { STREAM_NETWORK = 1, STREAM_CLIENTS, STREAM_BOOT, STREAM_NODE = 16, STREAM_DISK = 48, STREAM_SYNC = 80 };

struct frame {        /* one message on its way; also requests of clients and answers to them */
    uint8_t from, to; /* endpoints */
    uint8_t kind;     /* the protocol's message kind */
    bool corrupted;
    bool second;            /* made by the network: the other copy is the original */
    uint8_t status, leader; /* answers */
    uint32_t client;        /* requests and answers */
    uint64_t token, index;
    uint64_t checksum; /* of the bytes as sent; only set when corrupted */
    uint32_t size, capacity;
    uint8_t *data;
    uint32_t next_free;
};

struct sync_request {
    uint32_t file;
    uint64_t cookie;
    bool open;
};

struct sim_clock { /* a local clock over true time: rate 1 + drift */
    uint64_t base_true_ns, base_local_ns;
    int64_t drift_ppm, wall_offset_ns;
};

struct sim_node {
    struct sim *sim;
    uint8_t id;
    bool up, stepped;
    bool stopping; /* told to end in order */
    uint32_t down_count, pause_count;
    uint32_t slow_percent;               /* 0: full speed */
    uint32_t generation;                 /* of the process: what belongs to an older one is void */
    uint64_t timer_sequence[TIMERS_MAX]; /* the heap sequence of the timer in force; 0: none */
    struct replica *replica;
    struct sim_disk disk;
    struct prng disk_prng, sync_prng;
    struct sync_request syncs[SYNCS_MAX];
    struct sim_clock clock;
    uint64_t inputs, inputs_waited, clock_readings, clock_readings_off; /* evidence */
    struct heap_item *backlog;                                          /* inputs of a paused process */
    size_t backlog_count, backlog_capacity;
    struct probe probe;
};

struct link {
    struct link_condition condition; /* the sum of what is in force, with the link's own jitter */
    uint64_t base_ns;
    uint64_t last_arrival_ns, free_at_ns;
    uint32_t faults; /* how many are in force here */
};

struct sim_client {
    struct client client;
    uint64_t token; /* of the try under way */
    uint64_t try_deadline_ns, op_deadline_ns;
    uint64_t timer_ns; /* when the one outstanding timer fires; 0: none */
    uint64_t read_floor;
    bool refused; /* an operation that could not be encoded waits to be answered */
    struct client_action refusal;
    uint64_t send_sequence; /* of the delayed send under way; 0: none */
};

struct active_fault {
    uint32_t id; /* 0: free */
    struct fault_spec spec;
    struct fault_evidence evidence;
    uint64_t before_affected, before_offered; /* counters at the start */
    uint32_t failed_starts[NODES_MAX];
};

struct sim {
    struct world world; /* first */
    struct world_config config;
    char target[32], mutant_id[64];
    const struct protocol *protocol;
    const struct mutant *mutant;
    uint32_t nodes, endpoints, clients_count, clients_capacity;
    uint64_t now_ns, sequence, events, hash;
    bool stopping, booting;
    struct heap heap;
    struct prng network_prng, clients_prng, boot_prng;
    struct sim_node node[NODES_MAX];
    struct link links[ENDPOINTS_MAX][ENDPOINTS_MAX];
    struct frame *frames;
    uint32_t frames_count, frames_capacity, free_frame;
    struct sim_client *clients;
    struct client_rules client_rules;
    uint64_t *wakes; /* tags by slot */
    uint32_t *free_wakes, wakes_count, wakes_capacity, free_wakes_count;
    struct active_fault faults[FAULTS_MAX];
    uint32_t faults_next;
    struct oracle *oracle;
    struct world_counters counters; /* but for syncs, which the disks count, and CPU time */
    void (*trace)(void *ctx, const char *line);
    void *trace_ctx;
};

static inline uint64_t event_payload(enum event_type type, uint8_t node, uint64_t detail) {
    return (uint64_t)type | (uint64_t)node << 8 | detail << 16;
}
static inline bool is_client(const struct sim *s, uint8_t endpoint) {
    return endpoint >= s->nodes;
}
static inline uint8_t client_endpoint(const struct sim *s, uint32_t client) {
    return regions_client_endpoint(&s->config.regions, s->nodes, client);
}
/* Schedules and returns the sequence number. */
uint64_t sim_schedule(struct sim *s, uint64_t time_ns, uint64_t payload);
void sim_mix(struct sim *s, uint64_t word); /* into the trace hash */

/* nodes.c */
void node_init(struct sim *s, uint8_t id);
void node_reset(struct sim *s, uint8_t id);
void node_free(struct sim_node *n);
void node_boot(struct sim_node *n);
void node_crash(struct sim_node *n, const struct disk_crash *power_loss); /* NULL: the machine lives */
/* As SIGTERM does: a leader hands over first, if it can in time; then the process ends. */
void node_terminate(struct sim_node *n, uint64_t grace_ns);
void node_on_terminate(struct sim_node *n, uint32_t generation);
void node_schedule_boot(struct sim_node *n, uint64_t delay_ns);
/* False when the input must wait (paused, slow): it was queued or rescheduled. */
bool node_may_run(struct sim_node *n, const struct heap_item *item);
void node_resume(struct sim_node *n);
uint64_t node_clock(struct sim_node *n);      /* monotonic, at its own rate */
uint64_t node_wall_clock(struct sim_node *n); /* since 1970; nothing in the bundled targets rests on it */
void node_set_clock(struct sim_node *n, int64_t drift_ppm, int64_t wall_offset_ns);
void node_after_step(struct sim_node *n);
void node_on_timer(struct sim_node *n, uint8_t id, uint64_t sequence);
void node_on_sync(struct sim_node *n, uint32_t slot, uint32_t generation);

/* network.c */
void network_reset(struct sim *s);
void network_release(struct sim *s);
void network_refresh(struct sim *s); /* link conditions from the faults in force */
uint32_t frame_new(struct sim *s, struct bytes bytes);
void network_send(struct sim *s, uint32_t frame); /* takes the frame */
void network_deliver(struct sim *s, uint32_t frame);
void frame_release(struct sim *s, uint32_t frame);

/* clients.c */
void clients_reset(struct sim *s);
void clients_free(struct sim *s);
uint8_t clients_submit(struct sim *s, uint32_t slot, const struct world_op *op);
void clients_on_timer(struct sim *s, uint32_t slot);
void clients_on_send(struct sim *s, uint32_t slot, uint64_t sequence);
void clients_on_answer(struct sim *s, const struct frame *f);

/* faults.c */
void faults_reset(struct sim *s);
uint32_t faults_begin(struct sim *s, const struct fault_spec *spec, struct error *e);
struct fault_evidence faults_end(struct sim *s, uint32_t id);
bool faults_fail_start(struct sim *s, uint8_t node); /* whether a fault makes this start fail; counts it */
void faults_on_frame(struct sim *s, uint8_t from, uint8_t to, const struct frame_fate *fate, bool late);

/* trace.c */
void trace_event(struct sim *s, const char *format, ...) PRINTF_LIKE(2, 3);
void trace_frame(struct sim *s, const char *what, const struct frame *f);
void trace_effect(struct sim *s, uint8_t node, const struct effect *e);

#endif
