/* What the local world measures about itself, as samples for judge and report: the windows of time in which harrow was
 * late (the run loop with a wake-up, the switch with a frame, the kernel by dropping some), and what passed each
 * link. */
#include "harness/local/local_internal.h"

#include <jansson.h>
#include <stdlib.h>

static_assert(LATE_WINDOW_NS == SWITCH_WINDOW_NS, "the switch and the history count in the same windows");

/* Takes the object. */
static void add_sample(struct local *l, uint64_t time_ns, uint8_t kind, uint8_t node, json_t *object) {
    struct history *h = l->world.host.history;
    char *text = json_dumps(object, JSON_COMPACT);
    assert(text);
    history_sample(h, (struct sample){.time_ns = time_ns, .kind = kind, .node = node, .text = history_intern(h, text)});
    free(text);
    json_decref(object);
}

/* --- was it us who were late? --- */

/* One window of our own time. Told again only when it turns out worse. */
static void note_window(struct local *l, uint64_t number, uint64_t late_ns, uint64_t dropped) {
    struct late_noted *noted = &l->late_noted[number % LATE_NOTED_MAX];
    if (noted->number == number + 1 && late_ns <= noted->worst_ns) return;
    if (noted->number != number + 1) l->late_windows++;
    *noted = (struct late_noted){number + 1, late_ns};
    add_sample(l, number * LATE_WINDOW_NS, SAMPLE_LATE, NODE_UNKNOWN,
               json_pack("{s:I, s:I}", "late_ns", (json_int_t)late_ns, "dropped", (json_int_t)dropped));
}

void measured_late(struct local *l, uint64_t due_ns, uint64_t done_ns) {
    uint64_t first = due_ns / LATE_WINDOW_NS, last = done_ns / LATE_WINDOW_NS, late_ns = done_ns - due_ns;
    if (late_ns > l->late_worst_ns) l->late_worst_ns = late_ns;
    if (last - first >= LATE_NOTED_MAX) first = last - LATE_NOTED_MAX + 1;
    for (uint64_t number = first; number <= last; number++) note_window(l, number, late_ns, 0);
}

void measured_ask_switch(struct local *l, uint64_t now_ns) {
    if (now_ns < l->late_asked_ns + 2 * LATE_WINDOW_NS) return;
    l->late_asked_ns = now_ns;
    struct late_window windows[16];
    uint32_t count;
    while ((count = switch_late(l->net_switch, windows, 16)) > 0) {
        for (uint32_t i = 0; i < count; i++) {
            const struct late_window *w = &windows[i];
            if (w->start_ns < l->switch_age_ns) continue;
            if (w->latest_ns > l->late_worst_ns) l->late_worst_ns = w->latest_ns;
            note_window(l, (w->start_ns - l->switch_age_ns) / LATE_WINDOW_NS, w->latest_ns, w->kernel_dropped);
        }
    }
}

/* --- what passed the links --- */

static json_t *endpoint_name(const struct local *l, uint8_t endpoint) {
    if (endpoint < l->nodes) return json_sprintf("n%u", endpoint + 1u);
    const struct regions *r = &l->config.regions;
    return r->count ? json_sprintf("clients %s", r->name[endpoint - l->nodes]) : json_string("clients");
}

static uint64_t node_syncs(const struct local_node *n) {
    struct disk_counters disk;
    if (!n->filesystem) return n->ended_syncs + (n->process ? process_sync_counters(n->process).syncs : 0);
    filesystem_counters(n->filesystem, &disk);
    return disk.syncs;
}

void measured_counters(const struct local *l, struct world_counters *out) {
    *out = (struct world_counters){.syncs = l->has_filesystem || l->has_syncs ? 0 : COUNT_UNKNOWN};
    for (uint8_t i = 0; i < l->nodes; i++) {
        const struct local_node *n = &l->node[i];
        for (uint8_t to = 0; to < l->nodes; to++) {
            struct link_counters c;
            switch_counters(l->net_switch, i, to, &c);
            out->messages += c.delivered;
            out->message_bytes += c.bytes;
        }
        if (out->syncs != COUNT_UNKNOWN) out->syncs += node_syncs(n);
        out->fast_commits += n->fast_commits;
        out->slow_commits += n->slow_commits;
        out->cpu_ns += n->ended_cpu_ns + (n->process ? process_cpu_ns(n->process) : 0);
    }
}

void measured_sum_up(struct local *l) {
    uint32_t endpoints = regions_endpoints(&l->config.regions, l->nodes);
    for (uint8_t from = 0; from < endpoints; from++) {
        for (uint8_t to = 0; to < endpoints; to++) {
            struct link_counters c;
            switch_counters(l->net_switch, from, to, &c);
            if (c.offered == 0) continue;
            json_t *o =
                json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "from",
                          endpoint_name(l, from), "to", endpoint_name(l, to), "offered", (json_int_t)c.offered,
                          "delivered", (json_int_t)c.delivered, "cut", (json_int_t)c.cut, "lost", (json_int_t)c.lost,
                          "over_rate", (json_int_t)c.rate_dropped, "delayed", (json_int_t)c.delayed, "duplicated",
                          (json_int_t)c.duplicated, "reordered", (json_int_t)c.reordered, "corrupted",
                          (json_int_t)c.corrupted, "damaged", (json_int_t)c.damaged, "bytes", (json_int_t)c.bytes);
            add_sample(l, local_now(l), SAMPLE_LINK, from, o);
        }
    }
}
