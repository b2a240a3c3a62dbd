/* A node process beside a test that ill-treats it: started and ended, asked, measured from outside, and reached with
 * raw connections. Where something does not come, the test fails with the end of the node's log. */
#ifndef HARROW_TESTS_LIVE_NODE_H
#define HARROW_TESTS_LIVE_NODE_H

#include <sys/resource.h>

#include "harness/cli/kv_internal.h"
#include "targets/node/node.h"

struct live_node {
    char folder[64], data[80], log[80]; /* log: a file with what it says on standard error */
    pid_t pid;
    struct node_options o; /* its metrics_port may be set between live_prepare and live_start */
    rlim_t files_max;      /* 0: as many open files as this process may have */
    struct kv_cluster *client;
    uint64_t puts;
};

/* Node 0 of so many; nobody listens at the others' addresses. Everything is in a new folder. */
void live_prepare(struct live_node *l, uint8_t nodes);
void live_start(struct live_node *l);
int live_stop(struct live_node *l);          /* by SIGTERM; the status as of waitpid; it must end within a minute */
void live_forget(const struct live_node *l); /* removes its data */
void live_clean(const struct live_node *l);  /* removes the folder */

/* A value goes in and comes out again; returns how long the two took, in nanoseconds. */
uint64_t live_serves(struct live_node *l);
void live_status(struct live_node *l, struct wire_status *out);       /* waits a minute at most */
uint32_t live_log_count(const struct live_node *l, const char *text); /* lines of its log that have it */
void live_await_log(const struct live_node *l, const char *text);
size_t live_descriptors(const struct live_node *l);
void live_await_descriptors(const struct live_node *l, size_t most);
uint64_t live_resident_kb(const struct live_node *l);

uint16_t live_free_port(void);
int live_reach(const struct sockaddr_in *to); /* a connected socket, sends of which end after a minute; -1: refused */
/* `protocol`: what a node says to run; NULL: of a client. */
void live_append_hello(struct buffer *out, uint64_t cluster, uint8_t from, uint8_t to, const char *protocol);
bool live_closes(int fd);                   /* whether the other side ends this connection within a minute */
uint64_t live_fuzz_seconds(uint64_t usual); /* FUZZ_SECONDS, where it asks for more than a minute */

#endif
