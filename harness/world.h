/* A world: where a scenario runs. The simulator is one (sim/), processes in network namespaces another (local/). The
 * run loop, the workloads and the Lua nemeses speak to this interface only, so that one script runs in every world.
 *
 * A world is an event loop with a clock. It calls the host back at asked-for times and when operations end; everything
 * else (messages, timers, disks) happens inside it. All calls come from one thread. */
#ifndef HARROW_WORLD_H
#define HARROW_WORLD_H

#include "harness/regions.h"

struct world;

enum read_mode {
    READ_LOG,
    READ_INDEX,
    READ_LEASE,
    READ_LOCAL
}; /* what a target does with reads, where it can choose */

/* What a world is built from: the plain-data part of a scenario. Times in ns; zero means the target's default. */
struct world_config {
    const char *target; /* "raft"; a foreign one with its settings: "etcd:reads=serializable" */
    const char *mutant; /* "" for the correct code */
    uint32_t nodes;     /* 1..NODES_MAX */
    uint32_t clients;   /* client slots, 1..4096 */
    uint64_t seed;
    bool invariants; /* online oracles on */
    enum read_mode reads;
    bool clients_pinned;     /* a client asks its own node only (slot % nodes) and does not follow redirects */
    uint64_t op_timeout_ns;  /* the client gives up: info */
    uint64_t try_timeout_ns; /* one try; then the next node */
    uint64_t election_timeout_ns, heartbeat_ns;
    uint32_t clock_drift_ppm_max;      /* what lease reads allow for */
    uint32_t snapshot_entries;         /* a snapshot after this many applied entries */
    uint32_t message_bytes;            /* largest message between nodes, and so the batch of an append */
    uint64_t latency_ns, jitter_ns;    /* one way, between any two endpoints, when there are no regions */
    struct regions regions;            /* where nodes and clients are; these latencies count instead of the one above */
    uint64_t sync_min_ns, sync_max_ns; /* duration of a disk sync */
    /* Whether the scenario itself asks for latencies and durations of syncs: real links and disks have their own, and
     * the defaults above are the simulator's. */
    bool network_given, sync_given;
    /* Of worlds with real frames and processes: pcap files of all links, this much of each frame (0: the beginning,
     * headers and a little more), and a recording of each bundled node's inputs. */
    bool pcap, record;
    uint32_t pcap_snap_bytes;
    const char *folder;          /* of the run's artifacts, for worlds that have some; NULL: none. Borrowed. */
    const struct bytes *adapter; /* a foreign target's Lua file; NULL: a bundled target. Borrowed. */
};

struct world_op { /* an operation to run against the target; values refer to the host's history */
    uint32_t op;  /* the host's number, handed back */
    uint16_t f;
    uint32_t key; /* intern id */
    struct value argument;
    bool anywhere; /* also a pinned client may follow redirects: final reads must find who can answer */
};
struct completion {
    uint32_t op, client;
    enum op_status status;
    struct value result;
    uint32_t error; /* intern id or NO_STRING */
};

struct world_host { /* who is called back */
    void *ctx;
    struct history *history; /* the world interns result strings, adds lists and node samples here */
    void (*on_wake)(void *ctx, uint64_t tag);
    void (*on_complete)(void *ctx, const struct completion *c);
};

struct node_status {
    bool up, paused;
    bool opaque;    /* indices, if any, are not comparable between nodes: others' making, read at other moments */
    uint8_t role;   /* enum role */
    uint8_t leader; /* whom it believes in, or NODE_UNKNOWN */
    uint64_t term, commit_index, applied_index, last_index, state_hash;
};

struct world_counters { /* of all nodes together, since some moment before time 0 */
    /* Between nodes: in the simulator the protocol's messages as they were sent, lost ones included; where the network
     * is real the frames that arrived, with their headers, TCP's own among them. */
    uint64_t messages, message_bytes;
    uint64_t syncs;                      /* that were asked of the disks; COUNT_UNKNOWN where nothing watches them */
    uint64_t fast_commits, slow_commits; /* as in struct probe; 0 where there is no fast path */
    /* Used by the node processes; in the simulator by the thread that simulates them, clients and oracles among it. */
    uint64_t cpu_ns;
};
#define COUNT_UNKNOWN UINT64_MAX

enum world_end {
    WORLD_TIME,      /* ran until the given time */
    WORLD_STOPPED,   /* world_stop was called by the host */
    WORLD_VIOLATION, /* an online invariant failed: world_violation tells */
    WORLD_FAILED,    /* the world itself broke: internal error */
};

struct world_ops {
    const char *name;
    void (*free)(struct world *w);
    uint64_t (*now_ns)(const struct world *w);
    void (*wake_at)(struct world *w, uint64_t time_ns, uint64_t tag); /* once; earlier than now means now */
    enum world_end (*run_until)(struct world *w, uint64_t time_ns);
    void (*stop)(struct world *w); /* run_until returns after the present callback */
    /* Starts an operation on an idle client slot. Ends in exactly one on_complete (timeouts are INFO), never from
     * inside this call. After an INFO the slot acts as a new process: a fresh session. Returns the node first asked. */
    uint8_t (*submit)(struct world *w, uint32_t client, const struct world_op *op);
    /* Faults. begin returns an id > 0, or 0 with e set (refused: unknown node, unsupported). */
    uint32_t capabilities; /* mask of enum fault_kind, and FAULT_LINK_FILTERS */
    uint32_t (*fault_begin)(struct world *w, const struct fault_spec *spec, struct error *e);
    struct fault_evidence (*fault_end)(struct world *w, uint32_t fault);
    uint8_t (*leader)(const struct world *w);      /* the live leader of the highest term, or NODE_UNKNOWN */
    bool (*transfer)(struct world *w, uint8_t to); /* ask the leader to hand over; false: no leader, or not able */
    struct node_status (*node_status)(const struct world *w, uint8_t node);
    void (*counters)(const struct world *w, struct world_counters *out);
    const char *(*violation)(const struct world *w, const char **invariant); /* text and name, NULL if none */
    uint64_t (*events)(const struct world *w);
    uint64_t (*trace_hash)(const struct world *w);
    /* How often so far the world itself was late beyond its bound, in windows of 0.1 s, and the worst of it: what was
     * timed there says nothing about the system. NULL: never, as time is virtual. */
    uint64_t (*late)(const struct world *w, uint64_t *worst_ns);
    /* At the end of a run: what the world counted, as samples (SAMPLE_LINK), into the history. NULL: nothing. */
    void (*sum_up)(struct world *w);
    /* Text lines of every event from now on (replay); NULL ends it. */
    void (*trace_to)(struct world *w, void (*line)(void *ctx, const char *text), void *ctx);
};
struct world {
    const struct world_ops *ops;
    struct world_host host;
};

/* The deterministic simulator (sim/). NULL with e set for an unknown target or mutant. One world is reused for many
 * schedules with sim_reset, which is cheap and equal to a fresh one. */
struct world *sim_new(const struct world_config *c, struct world_host host, struct error *e);
int sim_reset(struct world *w, const struct world_config *c, struct error *e);

/* Real processes in network namespaces behind harrow's own switch (local/). Inside namespaces_enter() only. NULL with e
 * set: what could not be started and why. Time 0 is when every node serves. */
struct world *local_new(const struct world_config *c, struct world_host host, struct error *e);

/* What there is, for `targets`, `mutants`: terminated by a NULL name/id. */
struct target_info {
    const char *name, *doc;
};
struct mutant_info {
    const char *id, *zoo, *protocol, *scenario, *doc, *source;
    bool client_visible;
};
const struct target_info *targets_all(void);
const struct mutant_info *mutants_all(void);

#endif
