/* Regions: where nodes and clients of a run are, and how far apart. Links between endpoints (nemesis/fault.h) take
 * their latency from here; clients prefer the nodes of their own region. Clients are numbered region by region, so that
 * a process belongs to the region of its slot, process % clients. Plain data. */
#ifndef HARROW_REGIONS_H
#define HARROW_REGIONS_H

#include "history/history.h"
#include "nemesis/fault.h"

#define REGION_NAME_MAX 32

struct regions {
    uint32_t count; /* 0: there are none, and nothing below counts */
    char name[REGIONS_MAX][REGION_NAME_MAX];
    uint8_t of_node[NODES_MAX];
    uint32_t clients[REGIONS_MAX]; /* how many are there */
    uint64_t one_way_ns[REGIONS_MAX][REGIONS_MAX];
};

/* The mask of the nodes in the region of that name; 0: there is no such region, or no node in it. */
uint32_t regions_nodes(const struct regions *r, uint32_t nodes, const char *name);
/* Where an operation of that process comes from; 0 without regions. */
uint32_t regions_of_process(const struct regions *r, uint32_t process);
/* Endpoints of a cluster of that many nodes, clients included, and that of a client. */
uint32_t regions_endpoints(const struct regions *r, uint32_t nodes);
uint8_t regions_client_endpoint(const struct regions *r, uint32_t nodes, uint32_t client);
uint64_t regions_one_way_ns(const struct regions *r, uint32_t nodes, uint32_t from,
                            uint32_t to); /* with regions only */
/* All nodes in the order in which a client tries them: the nearest first, and those equally near beginning with another
 * one for each client. Without regions: its own one, and on from there. */
void regions_nearest(const struct regions *r, uint32_t nodes, uint32_t client, uint8_t out[NODES_MAX]);

/* As JSON, a list with an object per region in order: name, nodes (from 1), clients (how many), rtt_ms (to each region,
 * in order). Processes are numbered as above. "[]" without regions. */
void regions_json(const struct regions *r, uint32_t nodes, struct buffer *out);
/* Its twin, for what a stored run's options say under "regions"; false when that is none. */
bool regions_of_json(const char *text, struct regions *out);

#endif
