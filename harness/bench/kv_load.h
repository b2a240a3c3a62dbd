/* A closed loop of clients against the bundled store, over real connections, from one thread: each client has one
 * connection and one operation under way, follows the leader, and starts the next operation when the last has ended.
 * It measures; whether the answers are right is for the checkers. Usable inside a network namespace: it opens ordinary
 * sockets where it is called. */
#ifndef HARROW_BENCH_KV_LOAD_H
#define HARROW_BENCH_KV_LOAD_H

#include <netinet/in.h>
#include <signal.h>

#include "base/base.h"

#define KV_LOAD_CLIENTS_MAX 10000

enum kv_load_mix { KV_LOAD_PUT, KV_LOAD_GET, KV_LOAD_MIXED /* half each */ };

struct kv_load_options {
    const struct sockaddr_in *nodes; /* client addresses, in the order of the nodes' numbers */
    size_t nodes_count;
    uint32_t clients, keys;
    uint32_t value_bytes;
    enum kv_load_mix mix;
    uint64_t seconds;
    const volatile sig_atomic_t *interrupted; /* may be NULL */
};

struct kv_load_result {
    uint64_t ok, refused, lost; /* refused: not the leader, busy; lost: the connection broke under it */
    uint64_t connects;
    uint64_t elapsed_ns;
    uint64_t p50_ns, p90_ns, p99_ns, p999_ns, max_ns; /* of ok operations, each from its first try; within 1 % */
    uint64_t processor_ns;                            /* of this thread: what the measuring itself took */
};

/* Runs for options.seconds. -1 with e set: bad options, or no node could be reached. */
int kv_load_run(const struct kv_load_options *o, struct kv_load_result *out, struct error *e);

#endif
