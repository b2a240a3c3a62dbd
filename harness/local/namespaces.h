/* Namespaces: where the nodes of a local run live. Rootless by choice: a user, mount, pid and network namespace around
 * everything, so that nothing can be left behind; as root the same without the user namespace.
 *
 * Killing any process of the chain outside -> init -> inside ends all of it: the kernel kills what is in the pid
 * namespace with its init, and mounts and networks go with the last process. */
#ifndef HARROW_HARNESS_NAMESPACES_H
#define HARROW_HARNESS_NAMESPACES_H

#include "nemesis/fault.h"

/* Forks twice and returns, 0, in the innermost process, inside new namespaces with a /proc of its own. The calling
 * process does not return: it waits, passes SIGTERM and SIGINT on, and exits as the innermost did (or dies of the same
 * signal). -1 with e set, in the calling process, when the machine does not allow it. To be called before there are
 * threads, and before anything that must not be done twice is open. A second call returns 0 at once. */
int namespaces_enter(struct error *e);
bool namespaces_inside(void);
/* NULL when namespaces_enter would work; else one line: why not and how to get it. Tries in a child. */
const char *namespaces_unavailable(void);

/* A network of endpoints, each in a network namespace of its own, each with a veth whose other end stays in `fabric`.
 * Addresses are 10.77.0.(endpoint + 1), hardware addresses 02:68:72:00:00:(endpoint + 1); each endpoint knows all the
 * others by permanent neighbour entries, so there is no ARP; transmit checksums are computed by the endpoint (veth
 * leaves them out otherwise, and a switch in user space would forward broken ones). */
struct network {
    uint32_t endpoints;
    int fabric; /* descriptors of network namespaces */
    int endpoint[ENDPOINTS_MAX];
    char interface[ENDPOINTS_MAX][16]; /* the fabric's ends */
    uint8_t mac[ENDPOINTS_MAX][6];
    char address[ENDPOINTS_MAX][16];
};
struct network_options {
    uint32_t endpoints;
    bool bridge;             /* join the fabric's ends by a kernel bridge (to measure against) */
    uint64_t tcp_rto_max_ns; /* 0: the kernel's; caps TCP's back-off in the nodes, where the kernel knows the sysctl */
};
/* Inside namespaces_enter (or as root). Leaves the calling thread in its own namespace. */
int network_make(struct network *n, const struct network_options *o, struct error *e);
void network_free(struct network *n);
/* Moves the calling thread into a network namespace. */
int network_enter(int namespace_fd, struct error *e);

#endif
