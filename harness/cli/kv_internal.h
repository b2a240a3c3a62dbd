/* What `harrow kv` talks to a cluster with: one question at a time, over plain sockets that wait. */
#ifndef HARROW_KV_INTERNAL_H
#define HARROW_KV_INTERNAL_H

#include "harness/cli/cli.h"

#include <netinet/in.h>

#include "targets/kv/kv.h"
#include "targets/node/wire.h"
#include "targets/protocols/protocol.h"

struct kv_node {
    char name[128]; /* as it was given */
    struct sockaddr_in address;
    int fd; /* -1: not connected */
    struct buffer in;
};
struct kv_cluster {
    struct kv_node nodes[PROTOCOL_NODES_MAX];
    uint32_t count;
    uint32_t node; /* whom to ask first */
    uint64_t deadline_ns;
    uint64_t token;
    bool ambiguous; /* a command was sent, and what became of it is not known */
    char why[256];  /* what went wrong last */
};

/* Addresses "HOST:PORT,HOST:PORT,..." of the nodes, in the order of their numbers. */
int kv_cluster_parse(struct kv_cluster *k, const char *text, struct error *e);
void kv_cluster_close(struct kv_cluster *k);

/* Sends a frame to one node and waits for the first one of type `want` (a REPLY: with `token`); its payload is copied.
 * -1: none came in time, k->why says why. *sent: the frame may have arrived there. */
int kv_ask(struct kv_cluster *k, uint32_t node, enum wire_type type, struct bytes frame, enum wire_type want,
           uint64_t token, uint64_t try_ns, struct buffer *answer, bool *sent);
/* Tries a command, node after node, until it has a result (decoded into *result, which refers to *memory).
 * -1: the time is over; k->ambiguous tells whether the command may have had an effect. */
int kv_call(struct kv_cluster *k, const struct kv_command *c, struct buffer *memory, struct kv_result *result);

#endif
