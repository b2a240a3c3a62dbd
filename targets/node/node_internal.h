/* Private to the node process: its state, and what its files share.
 *   node.c          start, stop, the replica's surroundings, a full disk
 *   node_peers.c    connections between nodes
 *   node_clients.c  clients, their requests, the control connection
 *   node_http.c     the metrics' port; node_metrics.c: what stands there
 *   node_log.c      lines of JSON */
#ifndef HARROW_TARGETS_NODE_INTERNAL_H
#define HARROW_TARGETS_NODE_INTERNAL_H

#include <jansson.h>

#include "targets/node/channel.h"
#include "targets/node/disk_file.h"
#include "targets/node/node.h"
#include "targets/node/record.h"

enum { NODE_TIMERS = 4, ELECTION_BUCKETS = 12, TICK_MS = 50 };
#define CLIENTS_MAX 12000u
#define CALLERS_MAX 256u                   /* connections to the peers' port: peers, and who has not said HELLO yet */
#define REQUESTS_MAX 65536u                /* unanswered, of all clients */
#define REQUESTS_PER_CLIENT_MAX 16384u     /* unanswered, of one */
#define HELD_BYTES_MAX ((size_t)256 << 20) /* unfinished frames and unread answers, of all connections */
#define STRANGER_LINES_PER_S 20u           /* log lines that whoever connects can cause */
#define HELLO_TIMEOUT_NS (10 * NS_PER_S)

struct node;
struct listener {
    uv_poll_t poll;
    int fd;
    bool open;
    void (*on_accept)(struct node *n, int fd);
    struct node *node;
};

struct client;
struct peer_link {
    struct node *node;
    struct channel *out;
    struct client *in; /* the newest connection that said HELLO as this peer */
    uint64_t connecting_since_ns, next_try_ns, backoff_ns;
    uint64_t dropped; /* messages that found no connection or a full queue */
    bool refusal_told;
};

struct client { /* an accepted connection: of a client, or of a peer until it has said HELLO */
    struct node *node;
    struct channel *channel;
    uint64_t opened_ns, number;        /* number: no other connection ever has it */
    uint32_t slot, unanswered, caller; /* caller: its place among node.callers */
    uint8_t peer;                      /* on the peers' port: who it is; NODE_NONE: unknown yet */
    bool greeted, from_peers, control;
};

struct request { /* an unanswered one; its number and generation are the replica's token */
    uint64_t token, client_number;
    uint32_t client, generation, next; /* next: of the free ones */
    bool used;
};

struct metrics {
    uint64_t elections, election_sum_ns, election_buckets[ELECTION_BUCKETS];
    uint64_t responses[4]; /* by enum status */
    uint64_t requests, clients_accepted, clients_refused, slow_readers, snapshots_taken, snapshots_installed;
    uint64_t callers_replaced, memory_hogs, contradictions;
};

struct node {
    const struct node_options *o;
    struct error *error;
    uv_loop_t loop;
    struct channel_hub hub;
    struct disk_file disk;
    struct recorder *recorder;
    struct config config;
    uint64_t cluster_id, now_ns;
    int exit_status;
    bool stopping, finished;

    uv_prepare_t after_turn;
    uv_timer_t timers[NODE_TIMERS], tick, status_timer, stop_timer, restart_timer;
    uv_signal_t signals[2];
    struct listener peer_listener, client_listener;
    struct node_http *http;

    struct peer_link peers[PROTOCOL_NODES_MAX];
    struct client **clients;                                 /* by slot; NULL: free */
    uint32_t clients_capacity, clients_count, clients_limit; /* clients_count: the callers, too */
    struct client *callers[CALLERS_MAX];                     /* on the peers' port, in no order */
    uint32_t callers_count;
    bool clients_full; /* told */
    uint32_t *free_clients, free_clients_count;
    struct client *control;
    struct request *requests;
    uint32_t requests_count, free_request; /* ever used; head of the free list */
    uint32_t requests_unanswered;

    bool fatal, fatal_assertion; /* the replica stopped itself, not yet dealt with */
    uint8_t hearing, fatal_peer; /* whose message is being taken in; ... was when it stopped itself; or NODE_NONE */
    bool recording_ended;        /* told */
    uint32_t stranger_lines, stranger_lines_left_out; /* in this second */
    uint64_t stranger_lines_since_ns;
    char reason[120]; /* why it does not serve; empty while it does */
    bool disk_full, serving;
    struct probe seen;          /* as last reported */
    struct wire_status status;  /* as last sent */
    uint64_t election_began_ns; /* 0: none */
    struct metrics metrics;
};

/* node.c */
uint64_t node_now(struct node *n); /* CLOCK_MONOTONIC, never backwards */
void node_stop(struct node *n);    /* gracefully */
void node_status(struct node *n, struct wire_status *out);

/* node_peers.c */
int peers_open(struct node *n, struct error *e);
void peers_tick(struct node *n);
void peers_send(struct node *n, uint8_t to, struct bytes message);
void peers_close(struct node *n);
int listener_open(struct listener *l, struct node *n, const struct sockaddr_in *at, const char *what,
                  void (*on_accept)(struct node *n, int fd), struct error *e);
void listener_close(struct listener *l);

/* node_clients.c */
int clients_open(struct node *n, struct error *e);
void clients_tick(struct node *n);    /* closes who has not said HELLO */
void clients_relieve(struct node *n); /* closes those that hold most memory, while all hold too much */
void clients_respond(struct node *n, uint64_t token, enum status status, uint8_t leader, struct bytes result,
                     uint64_t index);
void clients_forget(struct node *n); /* the replica's tokens mean nothing any more: what became of them is unknown */
void clients_close(struct node *n);
void node_client_accept(struct node *n, int fd, bool from_peers, bool control);
void node_client_close(struct client *c);
void control_send_status(struct node *n, const struct wire_status *s);

/* node_http.c, node_metrics.c */
int node_http_open(struct node *n, struct error *e);
void node_http_tick(struct node *n);
void node_http_close(struct node *n);
void node_metrics_print(struct node *n, struct buffer *out);

/* node_log.c: takes `fields` (an object, or NULL) over. */
void node_log(struct node *n, enum log_level level, const char *event_type, json_t *fields);
/* What strangers can cause: some lines a second, then their number. */
void node_log_stranger(struct node *n, enum log_level level, const char *event_type, json_t *fields);
void node_log_tick(struct node *n);

#endif
