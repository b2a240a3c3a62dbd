/* Regions as a world and a client look at them, and their way into a stored run and back. */
#include "harness/regions.h"

#include <jansson.h>
#include <stdlib.h>

static uint32_t sum_of_clients(const struct regions *r) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < r->count; i++) sum += r->clients[i];
    return sum;
}

uint32_t regions_nodes(const struct regions *r, uint32_t nodes, const char *name) {
    uint32_t mask = 0;
    for (uint32_t i = 0; i < nodes && r->count; i++)
        if (strcmp(r->name[r->of_node[i]], name) == 0) mask |= UINT32_C(1) << i;
    return mask;
}

uint32_t regions_of_process(const struct regions *r, uint32_t process) {
    if (r->count == 0) return 0;
    uint32_t slot = process % sum_of_clients(r), region = 0;
    while (slot >= r->clients[region]) slot -= r->clients[region++];
    return region;
}

uint32_t regions_endpoints(const struct regions *r, uint32_t nodes) {
    return nodes + (r->count ? r->count : 1);
}

uint8_t regions_client_endpoint(const struct regions *r, uint32_t nodes, uint32_t client) {
    return (uint8_t)(nodes + regions_of_process(r, client));
}

static uint32_t region_of_endpoint(const struct regions *r, uint32_t nodes, uint32_t endpoint) {
    return endpoint < nodes ? r->of_node[endpoint] : endpoint - nodes;
}

uint64_t regions_one_way_ns(const struct regions *r, uint32_t nodes, uint32_t from, uint32_t to) {
    return r->one_way_ns[region_of_endpoint(r, nodes, from)][region_of_endpoint(r, nodes, to)];
}

void regions_nearest(const struct regions *r, uint32_t nodes, uint32_t client, uint8_t out[NODES_MAX]) {
    for (uint32_t i = 0; i < nodes; i++) out[i] = (uint8_t)((client + i) % nodes);
    if (r->count == 0) return;
    const uint64_t *far_ns = r->one_way_ns[regions_of_process(r, client)];
    for (uint32_t i = 1; i < nodes; i++) { /* insertion keeps the order of those that are equally near */
        uint8_t node = out[i];
        uint32_t at = i;
        for (; at > 0 && far_ns[r->of_node[out[at - 1]]] > far_ns[r->of_node[node]]; at--) out[at] = out[at - 1];
        out[at] = node;
    }
}

void regions_json(const struct regions *r, uint32_t nodes, struct buffer *out) {
    json_t *all = json_array();
    for (uint32_t i = 0; i < r->count; i++) {
        json_t *of = json_array(), *rtt_ms = json_array();
        for (uint32_t n = 0; n < nodes; n++)
            if (r->of_node[n] == i) json_array_append_new(of, json_integer((json_int_t)n + 1));
        for (uint32_t to = 0; to < r->count; to++)
            json_array_append_new(rtt_ms, json_real((double)(2 * r->one_way_ns[i][to]) / (double)NS_PER_MS));
        json_array_append_new(all, json_pack("{s:s, s:o, s:I, s:o}", "name", r->name[i], "nodes", of, "clients",
                                             (json_int_t)r->clients[i], "rtt_ms", rtt_ms));
    }
    char *text = json_dumps(all, JSON_COMPACT);
    buffer_append(out, text, strlen(text));
    free(text);
    json_decref(all);
}

static bool take_region(const json_t *o, uint32_t count, uint32_t i, struct regions *out) {
    const char *name = json_string_value(json_object_get(o, "name"));
    const json_t *nodes = json_object_get(o, "nodes"), *rtt_ms = json_object_get(o, "rtt_ms");
    if (!name || strlen(name) >= REGION_NAME_MAX || json_array_size(rtt_ms) != count) return false;
    memcpy(out->name[i], name, strlen(name) + 1);
    out->clients[i] = (uint32_t)json_integer_value(json_object_get(o, "clients"));
    for (size_t n = 0; n < json_array_size(nodes); n++) {
        json_int_t node = json_integer_value(json_array_get(nodes, n));
        if (node < 1 || node > NODES_MAX) return false;
        out->of_node[node - 1] = (uint8_t)i;
    }
    for (uint32_t to = 0; to < count; to++)
        out->one_way_ns[i][to] =
            (uint64_t)(json_number_value(json_array_get(rtt_ms, to)) * (double)NS_PER_MS / 2 + 0.5);
    return true;
}

bool regions_of_json(const char *text, struct regions *out) {
    *out = (struct regions){0};
    json_t *all = json_loads(text, 0, NULL);
    size_t count = json_array_size(all);
    bool whole = json_is_array(all) && count <= REGIONS_MAX;
    for (uint32_t i = 0; whole && i < count; i++) whole = take_region(json_array_get(all, i), (uint32_t)count, i, out);
    out->count = (uint32_t)count;
    if (whole && count && sum_of_clients(out) == 0) whole = false;
    if (!whole) *out = (struct regions){0};
    json_decref(all);
    return whole;
}
