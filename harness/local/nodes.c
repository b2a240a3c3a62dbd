/* Node processes: their folders and disks, their start, what they tell about themselves. */
#include "harness/local/local_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define CONTROL_BYTES_MAX (256u << 10)
#define START_MAX_NS (20 * NS_PER_S)
#define START_FOREIGN_MAX_NS (60 * NS_PER_S)
#define ARGUMENTS_MAX 48u

/* --- folders and disks --- */

static int make_folder(const char *path, struct error *e) {
    if (mkdir(path, 0755) == 0 || errno == EEXIST) return 0;
    return error_set(e, "cannot make the folder %s: %s", path, strerror(errno));
}

static int prepare(struct local_node *n, struct error *e) {
    struct local *l = n->local;
    if ((size_t)snprintf(n->folder, sizeof n->folder, "%s/n%u", l->config.folder, n->id + 1u) >= sizeof n->folder - 8)
        return error_set(e, "the path %s is too long", l->config.folder);
    char *data = xformat("%s/data", n->folder), *disk = xformat("%s/disk", n->folder),
         *log = xformat("%s/log", n->folder);
    int rc = make_folder(n->folder, e) || make_folder(data, e) ? -1 : 0;
    if (rc == 0 && l->has_filesystem) {
        rc = make_folder(disk, e);
        if (rc == 0) n->filesystem = filesystem_mount(data, disk, hash_mix(l->config.seed, n->id), e);
        if (!n->filesystem)
            rc = -1;
        else if (l->config.sync_given)
            filesystem_sync_time(n->filesystem, l->config.sync_min_ns, l->config.sync_max_ns);
    }
    if (rc == 0) {
        n->output = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (n->output < 0) rc = error_set(e, "cannot write %s: %s", log, strerror(errno));
    }
    free(data);
    free(disk);
    free(log);
    return rc;
}

int nodes_prepare(struct local *l, struct error *e) {
    for (uint32_t i = 0; i < l->nodes; i++)
        if (prepare(&l->node[i], e)) return -1;
    return 0;
}

/* --- what they say --- */

static void on_control(void *ctx, struct channel *c, enum wire_type type, struct bytes payload) {
    (void)c;
    struct local_node *n = ctx;
    struct wire_status s;
    if (type != WIRE_STATUS || !wire_status_decode(payload, &s)) return;
    bool changed = !n->status_known || s.role != n->status.role || s.term != n->status.term;
    if (n->status_known && !s.serving && n->status.serving) node_note(n, s.reason);
    n->fast_commits += s.fast_commits - n->status.fast_commits;
    n->slow_commits += s.slow_commits - n->status.slow_commits;
    n->status = s;
    n->status_known = true;
    n->local->events++;
    if (changed)
        history_sample(n->local->world.host.history, (struct sample){.time_ns = local_now(n->local),
                                                                     .kind = SAMPLE_ROLE,
                                                                     .node = n->id,
                                                                     .role = s.role,
                                                                     .term = s.term,
                                                                     .text = NO_STRING});
}

static void on_control_close(void *ctx, struct channel *c, const char *why, bool sent_all) {
    (void)c, (void)why, (void)sent_all;
    ((struct local_node *)ctx)->control = NULL;
}

static const struct channel_events control_events = {.on_frame = on_control, .on_close = on_control_close};

/* --- the process --- */

static void free_handle(uv_handle_t *handle) {
    free(handle);
}

void node_process_free(struct local_node *n) {
    if (n->end) uv_close((uv_handle_t *)n->end, free_handle);
    n->end = NULL;
    n->leaving = false;
    if (n->control) channel_close(n->control);
    n->control = NULL;
    n->status_known = false;
    n->status = (struct wire_status){.node = n->id, .leader = NODE_UNKNOWN};
    if (n->process) {
        n->ended_cpu_ns += process_cpu_ns(n->process);
        n->ended_syncs += process_sync_counters(n->process).syncs;
    }
    process_free(n->process);
    n->process = NULL;
}

static void on_end(uv_poll_t *poll, int poll_status, int events) {
    (void)poll_status, (void)events;
    struct local_node *n = poll->data;
    int status = 0;
    if (n->process && process_ended(n->process, &status)) node_on_end(n, status);
}

/* --- start --- */

struct arguments {
    char *items[ARGUMENTS_MAX + 1];
    size_t count;
};

static void argument(struct arguments *a, const char *name, char *value) {
    assert(a->count + 2 <= ARGUMENTS_MAX);
    a->items[a->count++] = xstrdup(name);
    if (value) a->items[a->count++] = value;
}

static char *milliseconds(uint64_t ns) {
    return xformat("%llu", (unsigned long long)((ns + NS_PER_MS - 1) / NS_PER_MS));
}

static void bundled_arguments(const struct local_node *n, struct arguments *a) {
    const struct local *l = n->local;
    const struct world_config *c = &l->config;
    static const char *const reads[] = {
        [READ_LOG] = "log", [READ_INDEX] = "index", [READ_LEASE] = "lease", [READ_LOCAL] = "local"};
    struct buffer peers = {0};
    for (uint32_t i = 0; i < l->nodes; i++)
        buffer_printf(&peers, "%s%s:%d", i ? "," : "", l->network.address[i], WIRE_PEER_PORT);
    buffer_append(&peers, "", 1);
    argument(a, "/proc/self/exe", NULL);
    argument(a, "node", NULL);
    argument(a, "--id", xformat("%u", n->id + 1u));
    argument(a, "--peers", xstrdup((const char *)peers.data));
    argument(a, "--metrics", xformat("%d", WIRE_METRICS_PORT));
    argument(a, "--data", xformat("%s/data", n->folder));
    argument(a, "--protocol", xstrdup(c->target));
    if (*c->mutant) argument(a, "--mutant", xstrdup(c->mutant));
    argument(a, "--election-timeout", milliseconds(c->election_timeout_ns));
    argument(a, "--heartbeat", milliseconds(c->heartbeat_ns));
    argument(a, "--reads", xstrdup(reads[c->reads]));
    argument(a, "--clock-drift-ppm", xformat("%u", c->clock_drift_ppm_max));
    argument(a, "--snapshot-entries", xformat("%u", c->snapshot_entries));
    argument(a, "--seed", xformat("%llu", (unsigned long long)(hash_mix(c->seed, n->id) >> 1)));
    argument(a, "--control", xstrdup("3"));
    /* Beside the log, not on the node's disk: a power loss must not take it. */
    if (c->record) argument(a, "--record", xformat("%s/recording-%u", n->folder, n->starts));
    buffer_free(&peers);
}

static int watch_end(struct local_node *n, struct error *e) {
    uv_poll_t *end = xcalloc(1, sizeof *end);
    int rc = uv_poll_init(&n->local->loop, end, process_fd(n->process));
    if (rc != 0) {
        free(end);
    } else {
        n->end = end; /* node_process_free closes it */
        end->data = n;
        rc = uv_poll_start(end, UV_READABLE, on_end);
    }
    if (rc == 0) return 0;
    node_process_free(n);
    return error_set(e, "n%u cannot be watched: %s", n->id + 1u, uv_strerror(rc));
}

static int launch(struct local_node *n, struct process_options *o, struct error *e) {
    struct local *l = n->local;
    o->output = n->output;
    o->network = l->network.endpoint[n->id];
    o->patch_clock = l->has_clock;
    o->watch_syncs = l->has_syncs && !l->has_filesystem;
    o->exec_error = local_fail_start(n) ? ENOMEM : 0;
    n->log_start = node_log_size(n);
    n->process = process_start(o, e);
    if (!n->process) {
        struct error cause = *e;
        if (o->exec_error) error_set(e, "a fault makes it fail: %.400s", cause.text);
        return -1;
    }
    if (watch_end(n, e)) return -1;
    if (l->start_ns) node_note_up(n, true);
    node_apply_conditions(n);
    return 0;
}

static int start_bundled(struct local_node *n, struct error *e) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
        return error_set(e, "socketpair: %s", strerror(errno));
    struct arguments a = {.count = 0};
    n->starts++;
    bundled_arguments(n, &a);
    struct process_options o = {.argv = (const char *const *)a.items, .pass = pair[1]};
    int rc = launch(n, &o, e);
    close(pair[1]);
    for (size_t i = 0; i < a.count; i++) free(a.items[i]);
    if (rc != 0) {
        close(pair[0]);
        return -1;
    }
    n->control = channel_open(&n->local->hub, pair[0], CONTROL_BYTES_MAX, &control_events, n);
    return 0;
}

static int start_foreign(struct local_node *n, struct error *e) {
    struct foreign_command command;
    if (foreign_command(n->local->target, &n->local->cluster, n->id, &command, e)) return -1;
    struct process_options o = {.argv = (const char *const *)command.argv,
                                .env = (const char *const *)command.env,
                                .directory = n->folder,
                                .pass = -1};
    int rc = launch(n, &o, e);
    foreign_command_free(&command);
    return rc;
}

int node_start(struct local_node *n, struct error *e) {
    return n->local->target ? start_foreign(n, e) : start_bundled(n, e);
}

/* --- the cluster's start --- */

static bool serves(const struct local_node *n) {
    if (!n->process) return false;
    if (!n->local->target) return n->status_known && n->status.serving;
    struct foreign_node_state s;
    foreign_node_state(n->local->pool, n->id, &s);
    return s.ready;
}

int nodes_await(struct local *l, struct error *e) {
    uint64_t deadline = monotonic_ns() + (l->target ? START_FOREIGN_MAX_NS : START_MAX_NS);
    for (;;) {
        uint32_t up = 0;
        while (up < l->nodes && serves(&l->node[up])) up++;
        if (up == l->nodes) return 0;
        uint64_t now = monotonic_ns();
        const struct local_node *n = &l->node[up];
        if (!n->process) return error_set(e, "the cluster does not start: %s", n->ended);
        if (now > deadline)
            return error_set(e, "n%u does not serve after %.0f s; its log: %s/log", up + 1,
                             (double)(l->target ? START_FOREIGN_MAX_NS : START_MAX_NS) / (double)NS_PER_S, n->folder);
        local_turn(l, now + 5 * NS_PER_MS);
    }
}

void local_nodes_free(struct local *l) {
    for (uint32_t i = 0; i < l->nodes; i++) {
        struct local_node *n = &l->node[i];
        if (n->process) node_process_free(n);
        if (n->filesystem) filesystem_free(n->filesystem);
        n->filesystem = NULL;
        if (n->output >= 0) close(n->output);
        n->output = -1;
    }
}

/* --- asked about them --- */

struct node_status node_report(const struct local *l, uint8_t node) {
    struct node_status out = {.leader = NODE_UNKNOWN};
    if (node >= l->nodes) return out;
    const struct local_node *n = &l->node[node];
    out.up = n->process != NULL;
    out.paused = n->pause_count > 0;
    if (l->target) {
        struct foreign_node_state s;
        foreign_node_state(l->pool, node, &s);
        out.up = out.up && s.ready;
        out.opaque = true;
        out.role = s.role;
        out.leader = s.leader;
        out.term = s.term;
        out.applied_index = out.commit_index = s.applied_index;
        out.last_index = s.last_index;
        return out;
    }
    out.up = out.up && n->status_known && n->status.serving;
    out.role = n->status.role;
    out.leader = n->status.leader;
    out.term = n->status.term;
    out.commit_index = n->status.commit_index;
    out.applied_index = n->status.applied_index;
    out.last_index = n->status.last_index;
    out.state_hash = n->status.state_hash;
    return out;
}

uint8_t nodes_leader(const struct local *l) {
    if (l->target) return foreign_leader(l->pool);
    uint8_t found = NODE_UNKNOWN;
    for (uint8_t i = 0; i < l->nodes; i++) {
        const struct local_node *n = &l->node[i];
        if (!n->process || !n->status_known || n->status.role != ROLE_LEADER) continue;
        if (found == NODE_UNKNOWN || n->status.term > l->node[found].status.term) found = i;
    }
    return found;
}

bool node_transfer(struct local *l, uint8_t to) {
    uint8_t from = nodes_leader(l);
    if (from == NODE_UNKNOWN || to >= l->nodes) return false;
    if (l->target) return foreign_transfer(l->pool, from, to);
    if (!l->node[from].control) return false;
    struct bytes part = bytes_of(&to, 1);
    return channel_send(l->node[from].control, WIRE_TRANSFER, &part, 1);
}
