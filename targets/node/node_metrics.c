/* The node's metrics in Prometheus' text format (version 0.0.4). */
#include <inttypes.h>

#include "targets/node/node_internal.h"

static void head(struct buffer *out, const char *name, const char *type, const char *help) {
    buffer_printf(out, "# HELP harrow_%s %s\n# TYPE harrow_%s %s\n", name, help, name, type);
}

static void gauge(struct buffer *out, const char *name, const char *help, uint64_t value) {
    head(out, name, "gauge", help);
    buffer_printf(out, "harrow_%s %" PRIu64 "\n", name, value);
}

static void counter(struct buffer *out, const char *name, const char *help, uint64_t value) {
    head(out, name, "counter", help);
    buffer_printf(out, "harrow_%s %" PRIu64 "\n", name, value);
}

/* Bucket i holds what took at most first_ns * 2^i, the last one the rest. */
static void histogram(struct buffer *out, const char *name, const char *help, const uint64_t *buckets, uint32_t count,
                      uint64_t first_ns, uint64_t sum_ns) {
    uint64_t so_far = 0;
    head(out, name, "histogram", help);
    for (uint32_t i = 0; i < count; i++) {
        so_far += buckets[i];
        if (i + 1 < count)
            buffer_printf(out, "harrow_%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, (double)(first_ns << i) / 1e9,
                          so_far);
    }
    buffer_printf(out, "harrow_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, so_far);
    buffer_printf(out, "harrow_%s_sum %g\nharrow_%s_count %" PRIu64 "\n", name, (double)sum_ns / 1e9, name, so_far);
}

static void print_protocol(struct node *n, struct buffer *out) {
    struct probe p = n->seen;
    gauge(out, "term", "Current term.", p.term);
    gauge(out, "leader_id", "Number of the leader it believes in, from 1; 0: none.",
          p.leader == NODE_NONE ? 0 : p.leader + 1u);
    gauge(out, "role", "0 follower, 1 candidate, 2 leader, 3 peer (none leads).", p.role);
    gauge(out, "commit_index", "Last log index known to be committed.", p.commit_index);
    gauge(out, "applied_index", "Last log index applied to the store.", p.applied_index);
    gauge(out, "last_index", "Last log index.", p.last_index);
    gauge(out, "durable_index", "Last log index on this node's disk.", p.durable_index);
    counter(out, "elections_started_total", "Times it became a candidate.", n->metrics.elections);
    histogram(out, "election_duration_seconds", "From candidacy to a known leader.", n->metrics.election_buckets,
              ELECTION_BUCKETS, NS_PER_MS, n->metrics.election_sum_ns);
    const struct replica *r = recorder_replica(n->recorder);
    counter(out, "fast_commits_total", "Commands committed here in one round trip (EPaxos), since the replica's start.",
            p.fast_commits);
    counter(out, "slow_commits_total", "Commands committed here in more than one, since the replica's start.",
            p.slow_commits);
    counter(out, "refused_messages_total", "Messages of peers that mean nothing, since the replica's start.",
            p.refused_messages);
    counter(out, "contradictions_total", "Messages of peers that contradicted what is committed or who leads.",
            n->metrics.contradictions);
    gauge(out, "withheld_messages", "Messages that wait for the disk.", n->serving ? replica_withheld(r) : 0);
    if (!n->serving || p.role != PROTOCOL_LEADER) return;
    head(out, "follower_lag_entries", "gauge", "Entries that a follower is not known to hold (leader only).");
    for (uint8_t i = 0; i < n->o->nodes; i++) {
        uint64_t matched = replica_matched(r, i);
        if (i != n->o->self)
            buffer_printf(out, "harrow_follower_lag_entries{peer=\"%u\"} %" PRIu64 "\n", i + 1u,
                          p.last_index > matched ? p.last_index - matched : 0);
    }
}

static void print_peers(struct node *n, struct buffer *out) {
    static const struct {
        const char *name, *type, *help;
    } rows[] = {{"peer_connected", "gauge", "1 when connected to the peer."},
                {"peer_queue_bytes", "gauge", "Bytes that wait to be sent to the peer."},
                {"peer_dropped_messages_total", "counter", "Messages dropped for want of connection or queue."}};
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        head(out, rows[row].name, rows[row].type, rows[row].help);
        for (uint8_t i = 0; i < n->o->nodes; i++) {
            const struct peer_link *l = &n->peers[i];
            uint64_t values[] = {l->out && channel_connected(l->out), l->out ? channel_queued_bytes(l->out) : 0,
                                 l->dropped};
            if (i != n->o->self)
                buffer_printf(out, "harrow_%s{peer=\"%u\"} %" PRIu64 "\n", rows[row].name, i + 1u, values[row]);
        }
    }
}

static void print_clients(struct node *n, struct buffer *out) {
    static const char *const statuses[] = {"ok", "not_leader", "busy", "unknown"};
    const struct metrics *m = &n->metrics;
    uint64_t queued = 0;
    for (uint32_t i = 0; i < n->clients_capacity; i++)
        if (n->clients[i]) queued += channel_queued_bytes(n->clients[i]->channel);
    gauge(out, "connections", "Connections accepted and open.", n->clients_count);
    gauge(out, "client_queue_bytes", "Bytes of answers that wait for their readers.", queued);
    gauge(out, "requests_in_progress", "Requests not answered yet.", n->requests_unanswered);
    counter(out, "connections_accepted_total", "Connections accepted.", m->clients_accepted);
    counter(out, "connections_refused_total", "Connections beyond the limit.", m->clients_refused);
    counter(out, "slow_readers_total", "Clients closed since they did not read their answers.", m->slow_readers);
    counter(out, "callers_replaced_total", "Connections to the nodes' port closed, without a HELLO, for newer ones.",
            m->callers_replaced);
    counter(out, "memory_hogs_total", "Connections closed since they held most when all held too much memory.",
            m->memory_hogs);
    gauge(out, "held_bytes", "Bytes of unfinished frames and of what waits to be sent, of all connections.",
          n->hub.held_bytes);
    counter(out, "requests_total", "Requests received.", m->requests);
    head(out, "responses_total", "counter", "Requests answered, by status.");
    for (size_t i = 0; i < 4; i++)
        buffer_printf(out, "harrow_responses_total{status=\"%s\"} %" PRIu64 "\n", statuses[i], m->responses[i]);
}

void node_metrics_print(struct node *n, struct buffer *out) {
    print_protocol(n, out);
    print_peers(n, out);
    print_clients(n, out);
    counter(out, "frames_received_total", "Frames received.", n->hub.frames_in);
    counter(out, "frames_sent_total", "Frames sent.", n->hub.frames_out);
    counter(out, "received_bytes_total", "Bytes received in frames.", n->hub.bytes_in);
    counter(out, "sent_bytes_total", "Bytes sent in frames.", n->hub.bytes_out);
    gauge(out, "serving", "1 while requests are served.", n->serving);
    gauge(out, "disk_full", "1 while it waits for room on the disk.", n->disk_full);
    gauge(out, "recording", "1 while every input is recorded.", n->o->record && !n->recording_ended);
    gauge(out, "disk_syncs_in_progress", "Syncs of the disk under way.", n->disk.under_way);
    counter(out, "disk_written_bytes_total", "Bytes written to the log and snapshots.", n->disk.bytes_written);
    histogram(out, "fsync_duration_seconds", "Duration of a sync of the log.", n->disk.sync_buckets,
              DISK_LATENCY_BUCKETS, 50 * NS_PER_US, n->disk.sync_ns_sum);
    counter(out, "snapshots_taken_total", "Snapshots taken.", n->metrics.snapshots_taken);
    counter(out, "snapshots_installed_total", "Snapshots received from a leader.", n->metrics.snapshots_installed);
}
