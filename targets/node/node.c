/* The node's life: it starts everything, hands the loop's events to the replica, carries the replica's wishes out, and
 * once a turn looks at what has become of it. */
#include "targets/node/node.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "targets/node/node_internal.h"

enum { STATUS_EVERY_MS = 20, STOP_WITHIN_MS = 300, ROOM_EVERY_MS = 500, RESTART_EVERY_MS = 100 };
#define ROOM_BYTES (UINT64_C(4) << 20) /* what must be free for a full disk to count as one with room */
enum { ENTRY_FRAME_BYTES = 128 };

static const char *const role_names[] = {"follower", "candidate", "leader", "peer"};

uint64_t node_cluster_id(const char *name) {
    return hash_bytes(bytes_str(name), 0) | 1;
}

uint64_t node_now(struct node *n) {
    uint64_t now = monotonic_ns();
    if (now > n->now_ns) n->now_ns = now;
    return n->now_ns;
}

static void set_reason(struct node *n, const char *reason) {
    size_t size = strnlen(reason, sizeof n->reason - 1);
    memcpy(n->reason, reason, size);
    n->reason[size] = 0;
}

static bool running(const struct node *n) {
    return replica_running(recorder_replica(n->recorder));
}

void node_status(struct node *n, struct wire_status *out) {
    struct probe p = n->seen;
    if (running(n)) replica_probe(recorder_replica(n->recorder), &p);
    *out = (struct wire_status){.node = n->o->self,
                                .role = p.role,
                                .leader = p.leader,
                                .serving = n->serving,
                                .term = p.term,
                                .commit_index = p.commit_index,
                                .applied_index = p.applied_index,
                                .last_index = p.last_index,
                                .fast_commits = p.fast_commits,
                                .slow_commits = p.slow_commits,
                                .state_hash = replica_state_hash(recorder_replica(n->recorder))};
    memcpy(out->reason, n->reason, sizeof out->reason);
}

/* --- what the replica needs from its surroundings ----------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer) {
    struct node *n = timer->data;
    recorder_timer(n->recorder, node_now(n), (uint8_t)(timer - n->timers));
}

static void env_timer(void *ctx, uint8_t id, uint64_t delay_ns) {
    struct node *n = ctx;
    assert(id < NODE_TIMERS);
    if (delay_ns == UINT64_MAX) {
        uv_timer_stop(&n->timers[id]);
        return;
    }
    uv_update_time(&n->loop);
    uv_timer_start(&n->timers[id], on_timer, (delay_ns + NS_PER_MS - 1) / NS_PER_MS, 0);
}

static void env_send(void *ctx, uint8_t to, uint8_t message_kind, struct bytes message) {
    (void)message_kind;
    peers_send(ctx, to, message);
}

static void env_respond(void *ctx, uint64_t token, enum status status, uint8_t leader, struct bytes result,
                        uint64_t index) {
    clients_respond(ctx, token, status, leader, result, index);
}

static void env_fatal(void *ctx, bool assertion, const char *reason) {
    struct node *n = ctx;
    n->fatal = true;
    n->fatal_assertion = assertion;
    n->fatal_peer = n->hearing;
    set_reason(n, reason);
}

static void on_role(struct node *n, const struct effect *e) {
    node_log(n, LOG_INFO, "role", json_pack("{s:s, s:I}", "role", role_names[e->role], "term", (json_int_t)e->term));
    if (e->role != PROTOCOL_CANDIDATE) return;
    n->metrics.elections++;
    if (!n->election_began_ns) n->election_began_ns = node_now(n);
}

static void env_observe(void *ctx, const struct effect *e) {
    struct node *n = ctx;
    json_int_t index = (json_int_t)e->index;
    if (e->kind == EFFECT_ROLE) {
        on_role(n, e);
    } else if (e->kind == EFFECT_SNAPSHOT_TAKE) {
        n->metrics.snapshots_taken++;
        node_log(n, LOG_INFO, "snapshot_taken", json_pack("{s:I}", "snapshot_index", index));
    } else if (e->kind == EFFECT_SNAPSHOT_RECEIVE && e->last) {
        n->metrics.snapshots_installed++;
        node_log(n, LOG_INFO, "snapshot_installed", json_pack("{s:I}", "snapshot_index", index));
    }
}

static void env_durable(void *ctx, uint64_t written) {
    (void)ctx, (void)written;
}

static void on_synced(void *ctx, uint64_t cookie, int status) {
    struct node *n = ctx;
    recorder_synced(n->recorder, node_now(n), cookie, status);
}

static int start_replica(struct node *n, struct error *e) {
    struct replica_env env = {.ctx = n,
                              .disk = &n->disk.base,
                              .send = env_send,
                              .timer = env_timer,
                              .respond = env_respond,
                              .fatal = env_fatal,
                              .observe = env_observe,
                              .durable = env_durable};
    n->disk.last_error = 0;
    n->reason[0] = 0;
    if (recorder_start(n->recorder, &n->config, &env, node_now(n), e)) return -1;
    n->serving = true;
    return 0;
}

/* --- a replica that stopped itself -------------------------------------------------------------------------------- */

static bool lacks_room(const struct node *n) {
    return !n->disk.sync_failed && (n->disk.last_error == -ENOSPC || n->disk.last_error == -EDQUOT);
}

/* Ends the process with what was wrong. */
static void give_up(struct node *n, int status) {
    n->exit_status = status;
    error_set(n->error, "%s", n->reason);
    node_log(n, LOG_ERROR, "error", json_pack("{s:s, s:i}", "reason", n->reason, "status", status));
    n->stopping = n->finished = true;
}

static void wait_for_room(struct node *n);

/* Starts the replica again from what is on the disk, once that is at rest and has room. */
static void on_restart_timer(uv_timer_t *timer) {
    struct node *n = timer->data;
    if (n->disk.under_way || n->stopping || (n->disk_full && !disk_file_has_room(&n->disk, ROOM_BYTES))) return;
    struct error e = {{0}};
    if (start_replica(n, &e)) {
        set_reason(n, e.text);
        if (!lacks_room(n))
            give_up(n, NODE_REFUSED);
        else if (!n->disk_full)
            wait_for_room(n);
        return;
    }
    uv_timer_stop(timer);
    if (n->disk_full) node_log(n, LOG_INFO, "disk_room", NULL);
    n->disk_full = false;
}

static void wait_for_room(struct node *n) {
    n->disk_full = true;
    node_log(n, LOG_ERROR, "disk_full",
             json_pack("{s:s, s:s}", "reason", n->reason, "hint",
                       "nothing is acknowledged; make room on the disk, and it goes on"));
    uv_timer_start(&n->restart_timer, on_restart_timer, ROOM_EVERY_MS, ROOM_EVERY_MS);
}

/* A message contradicts what is known here for certain: one of the two nodes is wrong. Whoever tests wants to know at
 * once; in service, a stranger with a lie must not end a node that did no wrong, and to start again from its disk is
 * what it may do at any time. */
static bool blames_a_peer(const struct node *n) {
    return n->fatal_assertion && n->fatal_peer != NODE_NONE && n->o->control < 0 && !n->o->mutant;
}

static void restart(struct node *n) {
    n->metrics.contradictions++;
    node_log_stranger(n, LOG_ERROR, "contradicted",
                      json_pack("{s:i, s:s}", "peer", n->fatal_peer + 1, "reason", n->reason));
    uv_timer_start(&n->restart_timer, on_restart_timer, RESTART_EVERY_MS, RESTART_EVERY_MS);
}

static void on_fatal(struct node *n) {
    n->fatal = n->serving = false;
    n->seen.role = PROTOCOL_FOLLOWER;
    n->seen.leader = NODE_NONE;
    recorder_stop(n->recorder);
    for (size_t i = 0; i < NODE_TIMERS; i++) uv_timer_stop(&n->timers[i]);
    clients_forget(n);
    if (blames_a_peer(n))
        restart(n);
    else if (n->fatal_assertion)
        give_up(n, NODE_ASSERTION);
    else if (lacks_room(n))
        wait_for_room(n);
    else
        give_up(n, NODE_DISK_FAILED);
}

/* --- once a turn -------------------------------------------------------------------------------------------------- */

static void send_status(struct node *n) {
    uv_timer_stop(&n->status_timer);
    node_status(n, &n->status);
    control_send_status(n, &n->status);
}

static void on_status_timer(uv_timer_t *timer) {
    send_status(timer->data);
}

static void measure_election(struct node *n) {
    uint64_t took = node_now(n) - n->election_began_ns;
    uint32_t bucket = 0;
    while (bucket + 1 < ELECTION_BUCKETS && took > NS_PER_MS << bucket) bucket++;
    n->metrics.election_buckets[bucket]++;
    n->metrics.election_sum_ns += took;
    n->election_began_ns = 0;
}

/* Once for each peer. */
static void tell_refusal(struct node *n) {
    struct peer_link *from = &n->peers[n->seen.refused_from];
    if (from->refusal_told) return;
    from->refusal_told = true;
    node_log(n, LOG_WARNING, "message_refused",
             json_pack("{s:i, s:s}", "peer", n->seen.refused_from + 1, "reason",
                       "no message of this protocol, or one with numbers that no run reaches; told once"));
}

static void tell_recording(struct node *n) {
    const char *why = recorder_error(n->recorder);
    if (!why || n->recording_ended) return;
    n->recording_ended = true;
    node_log(n, LOG_WARNING, "recording_ended", json_pack("{s:s}", "reason", why));
}

static void look(struct node *n) {
    if (running(n)) {
        uint8_t leader = n->seen.leader;
        replica_probe(recorder_replica(n->recorder), &n->seen);
        if (n->seen.leader != leader && n->seen.leader != NODE_NONE)
            node_log(n, LOG_INFO, "leader", json_pack("{s:i}", "leader", n->seen.leader + 1));
        if (n->election_began_ns && n->seen.leader != NODE_NONE) measure_election(n);
        if (n->seen.refused_messages) tell_refusal(n);
    }
    tell_recording(n);
    const struct wire_status *s = &n->status;
    const struct probe *p = &n->seen;
    if (s->role != p->role || s->term != p->term || s->leader != p->leader || s->serving != n->serving)
        send_status(n);
    else if (n->control && !uv_is_active((uv_handle_t *)&n->status_timer) &&
             (s->applied_index != p->applied_index || s->commit_index != p->commit_index ||
              s->last_index != p->last_index))
        uv_timer_start(&n->status_timer, on_status_timer, STATUS_EVERY_MS, 0);
}

static void finish(struct node *n);

/* Between timers and polling: everything that happened in this turn is done, nothing of it has left yet. */
static void after_turn(uv_prepare_t *prepare) {
    struct node *n = prepare->data;
    if (n->fatal) on_fatal(n);
    const char *broken = replica_check(recorder_replica(n->recorder));
    if (broken) {
        env_fatal(n, true, broken);
        on_fatal(n);
    }
    clients_relieve(n);
    look(n);
    if (n->stopping && (!n->serving || n->seen.role != PROTOCOL_LEADER || n->o->nodes == 1)) n->finished = true;
    channel_hub_flush(&n->hub);
    if (n->finished) finish(n);
}

static void on_tick(uv_timer_t *timer) {
    struct node *n = timer->data;
    peers_tick(n);
    clients_tick(n);
    node_http_tick(n);
    node_log_tick(n);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

static void on_stop_timer(uv_timer_t *timer) {
    struct node *n = timer->data;
    n->finished = true;
}

void node_stop(struct node *n) {
    if (n->stopping) {
        n->finished = true;
        return;
    }
    n->stopping = true;
    node_log(n, LOG_INFO, "stop", NULL);
    if (running(n)) recorder_transfer(n->recorder, node_now(n), NODE_NONE);
    uv_timer_start(&n->stop_timer, on_stop_timer, STOP_WITHIN_MS, 0);
}

static void on_signal(uv_signal_t *signal, int number) {
    (void)number;
    node_stop(signal->data);
}

static void close_handle(uv_handle_t *handle, void *ctx) {
    (void)ctx;
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

/* Closes all that keeps the loop alive; syncs under way are still waited for. */
static void finish(struct node *n) {
    n->finished = false;
    n->serving = false;
    n->stopping = true;
    recorder_stop(n->recorder);
    peers_close(n);
    clients_close(n);
    node_http_close(n);
    channel_hub_close(&n->hub);
    uv_walk(&n->loop, close_handle, NULL);
}

/* --- the start ---------------------------------------------------------------------------------------------------- */

static struct config replica_config(const struct node_options *o) {
    return (struct config){.self = o->self,
                           .nodes = o->nodes,
                           .seed = o->seed,
                           .election_timeout_ns = o->election_timeout_ns,
                           .heartbeat_ns = o->heartbeat_ns,
                           .clock_drift_ppm_max = o->clock_drift_ppm_max,
                           .reads = o->reads,
                           .snapshot_entries = o->snapshot_entries,
                           .snapshot_trailing = o->snapshot_entries / 4,
                           .limits = {.log_entries_max = 65536,
                                      .log_bytes_max = 64u << 20,
                                      .entry_bytes_max = o->message_bytes - ENTRY_FRAME_BYTES,
                                      .message_bytes_max = o->message_bytes,
                                      .reads_max = 16384,
                                      .inflight_max = 4}}; /* what waits for a free place leaves as one message */
}

static void start_timer(struct node *n, uv_timer_t *timer) {
    uv_timer_init(&n->loop, timer);
    timer->data = n;
}

static void start_handles(struct node *n) {
    static const int numbers[] = {SIGTERM, SIGINT};
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&n->loop);
    n->loop.data = n;
    channel_hub_init(&n->hub, &n->loop);
    uv_prepare_init(&n->loop, &n->after_turn);
    n->after_turn.data = n;
    for (size_t i = 0; i < NODE_TIMERS; i++) start_timer(n, &n->timers[i]);
    start_timer(n, &n->tick);
    start_timer(n, &n->status_timer);
    start_timer(n, &n->stop_timer);
    start_timer(n, &n->restart_timer);
    for (size_t i = 0; i < 2; i++) {
        uv_signal_init(&n->loop, &n->signals[i]);
        n->signals[i].data = n;
        uv_signal_start(&n->signals[i], on_signal, numbers[i]);
    }
    n->seen.leader = NODE_NONE;
    n->hearing = NODE_NONE;
}

static int open_all(struct node *n, struct error *e) {
    const struct node_options *o = n->o;
    if (disk_file_open(&n->disk, o->data, &n->loop, on_synced, n, e)) return -1;
    n->recorder = recorder_new(o->protocol, o->mutant, &n->config, o->record, o->record_bytes_max, e);
    if (!n->recorder) return -1;
    node_log(n, LOG_INFO, "start",
             json_pack("{s:s, s:i, s:s}", "protocol", o->protocol->name, "nodes", o->nodes, "data", o->data));
    if (peers_open(n, e) || clients_open(n, e) || node_http_open(n, e)) return -1;
    if (start_replica(n, e) == 0) return 0;
    if (!lacks_room(n)) return -1;
    set_reason(n, e->text);
    wait_for_room(n);
    return 0;
}

int node_run(const struct node_options *o, struct error *e) {
    struct node *n = xcalloc(1, sizeof *n);
    n->o = o;
    n->error = e;
    n->cluster_id = node_cluster_id(o->cluster);
    n->config = replica_config(o);
    n->disk = (struct disk_file){.folder = -1, .lock = -1};
    if (o->control >= 0) fcntl(o->control, F_SETFL, fcntl(o->control, F_GETFL) | O_NONBLOCK);
    start_handles(n);
    if (open_all(n, e)) {
        n->exit_status = NODE_REFUSED;
        node_log(n, LOG_ERROR, "error", json_pack("{s:s, s:i}", "reason", e->text, "status", NODE_REFUSED));
        if (n->recorder)
            finish(n);
        else
            uv_walk(&n->loop, close_handle, NULL);
    } else {
        uv_prepare_start(&n->after_turn, after_turn);
        uv_timer_start(&n->tick, on_tick, 0, TICK_MS);
    }
    uv_run(&n->loop, UV_RUN_DEFAULT);
    int status = n->exit_status;
    uv_loop_close(&n->loop);
    if (n->recorder) recorder_free(n->recorder);
    disk_file_close(&n->disk);
    free(n);
    return status;
}
