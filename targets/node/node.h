/* The node process: one replica of the bundled store as a real process on libuv, with peers and clients over TCP
 * (wire.h), its log in a folder, metrics over HTTP, and a line of JSON on standard error for every event. */
#ifndef HARROW_TARGETS_NODE_H
#define HARROW_TARGETS_NODE_H

#include <netinet/in.h>

#include "targets/node/replica.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

struct node_options {
    uint8_t self, nodes;                            /* self counts from 0 */
    struct sockaddr_in peers[PROTOCOL_NODES_MAX];   /* where nodes listen for one another */
    struct sockaddr_in clients[PROTOCOL_NODES_MAX]; /* ... and for clients; only our own is used */
    uint16_t metrics_port;                          /* on the host of our peer address; 0: none */
    const char *data;                               /* the folder; made if it is not there */
    const char *cluster;                            /* a name: connections of other clusters are refused */
    const struct protocol *protocol;
    const struct mutant *mutant; /* NULL: correct code */
    uint64_t election_timeout_ns, heartbeat_ns;
    enum protocol_reads reads;
    uint32_t clock_drift_ppm_max, snapshot_entries, message_bytes;
    uint64_t seed;
    int control;        /* a connected stream socket of whoever started us: STATUS frames; its end ends us; -1: none */
    const char *record; /* a file for every input (record.h); NULL: none */
    uint64_t record_bytes_max;
    enum log_level log_level;
};

/* How a node process ends. */
enum { NODE_STOPPED = 0, NODE_DISK_FAILED = 1, NODE_REFUSED = 2, NODE_ASSERTION = 3 };

#define NODE_MESSAGE_BYTES_MIN (4u << 10)
#define NODE_MESSAGE_BYTES_MAX (1u << 20)

/* Runs until it is told to stop (SIGTERM, SIGINT, the end of `control`) or must. Returns how it ended; e says why
 * where that is not NODE_STOPPED. NODE_REFUSED: it never served (address, folder, or a log that recovery refuses). */
int node_run(const struct node_options *o, struct error *e);

/* What HELLO carries for a cluster of this name; a client may send 0 instead. */
uint64_t node_cluster_id(const char *name);

#endif
