/* Accepted connections: clients with their requests, other nodes with their messages, and the control connection of
 * whoever started us. All that they send is bounded: connections, requests, queues, and the time to say HELLO. */
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "targets/node/node_internal.h"

#define CLIENT_QUEUE_BYTES ((size_t)4 << 20) /* of answers that wait for a slow reader; one takes at most 1 MiB */
#define CLIENT_SEND_BYTES (64 << 10)
#define SPARE_FILES (CALLERS_MAX + 128u)
#define NO_REQUEST UINT32_MAX

/* --- requests ----------------------------------------------------------------------------------------------------- */

static uint64_t request_new(struct node *n, const struct client *c, uint64_t token) {
    uint32_t i = n->free_request;
    if (i == NO_REQUEST) {
        if (n->requests_count == REQUESTS_MAX) return 0;
        i = n->requests_count++;
    } else {
        n->free_request = n->requests[i].next;
    }
    struct request *r = &n->requests[i];
    *r = (struct request){.token = token,
                          .client = c->slot,
                          .client_number = c->number,
                          .generation = (r->generation + 1) & 0x3fffffff,
                          .used = true};
    n->requests_unanswered++;
    return (uint64_t)r->generation << 32 | (i + 1);
}

static struct request *request_of(struct node *n, uint64_t token) {
    uint32_t i = (uint32_t)token - 1;
    if (i >= n->requests_count) return NULL;
    struct request *r = &n->requests[i];
    return r->used && r->generation == token >> 32 ? r : NULL;
}

static void request_free(struct node *n, struct request *r) {
    r->used = false;
    r->next = n->free_request;
    n->free_request = (uint32_t)(r - n->requests);
    n->requests_unanswered--;
}

static void reply(struct client *c, uint64_t token, enum status status, uint8_t leader, struct bytes result,
                  uint64_t index) {
    struct node *n = c->node;
    uint8_t head[18];
    struct writer w = {.data = head, .capacity = sizeof head};
    write_u64(&w, token);
    write_u8(&w, (uint8_t)status);
    write_u8(&w, leader);
    write_u64(&w, index);
    n->metrics.responses[status]++;
    struct bytes parts[] = {bytes_of(head, w.size), result};
    if (channel_send(c->channel, WIRE_REPLY, parts, 2)) {
        clients_relieve(n);
        return;
    }
    n->metrics.slow_readers++;
    node_log_stranger(n, LOG_WARNING, "client_closed", json_pack("{s:s}", "reason", "it does not read its answers"));
    node_client_close(c);
}

void clients_respond(struct node *n, uint64_t token, enum status status, uint8_t leader, struct bytes result,
                     uint64_t index) {
    struct request *r = request_of(n, token);
    if (!r) return;
    struct client *c = n->clients[r->client];
    bool there = c && c->number == r->client_number;
    uint64_t theirs = r->token;
    request_free(n, r);
    if (!there) return;
    c->unanswered--;
    reply(c, theirs, status, leader, result, index);
}

void clients_forget(struct node *n) {
    for (uint32_t i = 0; i < n->requests_count; i++) {
        if (!n->requests[i].used) continue;
        uint64_t token = (uint64_t)n->requests[i].generation << 32 | (i + 1);
        clients_respond(n, token, STATUS_UNKNOWN, NODE_NONE, bytes_of(NULL, 0), 0);
    }
}

static void on_request(struct client *c, struct bytes payload) {
    struct node *n = c->node;
    struct reader r = {.data = payload.data, .size = payload.size};
    uint64_t token = read_u64(&r);
    if (r.failed) {
        node_client_close(c);
        return;
    }
    n->metrics.requests++;
    uint64_t ours = 0;
    if (!n->stopping && !n->fatal && replica_running(recorder_replica(n->recorder)) &&
        c->unanswered < REQUESTS_PER_CLIENT_MAX)
        ours = request_new(n, c, token);
    if (ours == 0) {
        reply(c, token, STATUS_BUSY, NODE_NONE, bytes_of(NULL, 0), 0);
        return;
    }
    c->unanswered++;
    recorder_request(n->recorder, node_now(n), ours, bytes_of(payload.data + r.offset, payload.size - r.offset));
}

/* --- frames ------------------------------------------------------------------------------------------------------- */

static void send_status(struct client *c, const struct wire_status *s) {
    struct buffer frame = {0};
    wire_status_append(&frame, s);
    struct bytes payload = bytes_of(frame.data + WIRE_HEADER_BYTES, frame.size - WIRE_HEADER_BYTES);
    channel_send(c->channel, WIRE_STATUS, &payload, 1);
    buffer_free(&frame);
}

void control_send_status(struct node *n, const struct wire_status *s) {
    if (n->control) send_status(n->control, s);
}

static void refuse_hello(struct client *c, const char *why) {
    node_log_stranger(c->node, LOG_WARNING, "connection_refused", json_pack("{s:s}", "reason", why));
    node_client_close(c);
}

static bool is_protocol(const struct node *n, const struct reader *rest) {
    struct bytes said = bytes_of(rest->data + rest->offset, rest->size - rest->offset);
    return bytes_equal(said, bytes_str(n->o->protocol->name));
}

static void on_hello(struct client *c, struct bytes payload) {
    struct node *n = c->node;
    struct reader r = {.data = payload.data, .size = payload.size};
    uint64_t cluster = read_u64(&r);
    uint8_t from = read_u8(&r), to = read_u8(&r);
    bool a_node = from < n->o->nodes && from != n->o->self;
    if (r.failed || c->from_peers != (from != WIRE_CLIENT) || (c->from_peers && !a_node)) {
        refuse_hello(c, c->from_peers ? "a HELLO of no node of this cluster" : "a HELLO of no client");
    } else if (cluster != n->cluster_id && (c->from_peers || cluster != 0)) {
        refuse_hello(c, "a HELLO of another cluster; --cluster must be the same everywhere");
    } else if (c->from_peers && !is_protocol(n, &r)) {
        refuse_hello(c, "a HELLO of another protocol; --protocol must be the same everywhere");
    } else if (to != n->o->self && (c->from_peers || to != NODE_NONE)) {
        refuse_hello(c, "a HELLO to another node; the addresses of --peers must be in the same order everywhere");
    } else {
        c->greeted = true;
        if (!c->from_peers) return;
        c->peer = from;
        if (n->peers[from].in) node_client_close(n->peers[from].in); /* it would not connect twice */
        n->peers[from].in = c;
        if (!n->peers[from].out) n->peers[from].next_try_ns = 0; /* it is back: reach it at the next tick */
    }
}

static void on_frame(void *ctx, struct channel *channel, enum wire_type type, struct bytes payload) {
    struct client *c = ctx;
    struct node *n = c->node;
    (void)channel;
    if (type == WIRE_HELLO && !c->greeted) {
        on_hello(c, payload);
    } else if (!c->greeted) {
        refuse_hello(c, "a frame before HELLO");
    } else if (c->from_peers) {
        if (type == WIRE_MESSAGE) {
            n->hearing = c->peer;
            recorder_message(n->recorder, node_now(n), c->peer, payload);
            n->hearing = NODE_NONE;
        } else {
            node_client_close(c);
        }
    } else if (type == WIRE_REQUEST) {
        on_request(c, payload);
    } else if (type == WIRE_ASK) {
        struct wire_status s;
        node_status(n, &s);
        send_status(c, &s);
    } else if (type == WIRE_TRANSFER && payload.size == 1) {
        recorder_transfer(n->recorder, node_now(n), payload.data[0]);
    } else if (type != WIRE_HELLO || !c->control) {
        node_client_close(c);
    }
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void forget_client(struct client *c) {
    struct node *n = c->node;
    if (c->peer != NODE_NONE && n->peers[c->peer].in == c) n->peers[c->peer].in = NULL;
    if (n->control == c) n->control = NULL;
    if (c->from_peers) {
        n->callers[c->caller] = n->callers[--n->callers_count];
        n->callers[c->caller]->caller = c->caller;
    }
    n->clients[c->slot] = NULL;
    n->free_clients[n->free_clients_count++] = c->slot;
    n->clients_count--;
    if (n->clients_count - n->callers_count < n->clients_limit - n->clients_limit / 10) n->clients_full = false;
    free(c);
}

static void on_close(void *ctx, struct channel *channel, const char *why, bool sent_all) {
    struct client *c = ctx;
    struct node *n = c->node;
    (void)channel, (void)sent_all;
    bool control = c->control;
    if (!c->greeted) node_log_stranger(n, LOG_INFO, "connection_refused", json_pack("{s:s}", "reason", why));
    forget_client(c);
    if (control) node_stop(n);
}

void node_client_close(struct client *c) {
    channel_close(c->channel);
    forget_client(c);
}

static const struct channel_events events = {on_frame, NULL, on_close};

/* Who vanishes without a word is found out in a minute. What waits for a slow reader waits in our queue, which is
 * bounded: in the kernel's buffers it would grow to megabytes each, and starve all TCP of the machine. */
static void set_options(int fd) {
    int one = 1, idle_s = 30, interval_s = 10, probes = 3, send_bytes = CLIENT_SEND_BYTES;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static void refuse_client(struct node *n, int fd) {
    n->metrics.clients_refused++;
    close(fd);
    if (n->clients_full) return;
    n->clients_full = true;
    node_log(n, LOG_WARNING, "connections_full",
             json_pack("{s:i, s:s}", "connections_max", (int)n->clients_limit, "reason",
                       "more connections are refused; told again when it was down to nine tenths"));
}

/* Peers say HELLO at once: among too many callers, who has been silent longest is the least likely to be one. */
static void make_room_for_caller(struct node *n) {
    struct client *oldest = NULL;
    if (n->callers_count < CALLERS_MAX) return;
    for (uint32_t i = 0; i < n->callers_count; i++) {
        struct client *c = n->callers[i];
        if (!c->greeted && (!oldest || c->number < oldest->number)) oldest = c;
    }
    n->metrics.callers_replaced++;
    refuse_hello(oldest, "no HELLO yet, and too many others wait"); /* peers alone are fewer */
}

static void reserve_slot(struct node *n) {
    if (n->free_clients_count == 0) {
        uint32_t more = n->clients_capacity ? n->clients_capacity : 64;
        n->clients = xrealloc(n->clients, (n->clients_capacity + more) * sizeof *n->clients);
        n->free_clients = xrealloc(n->free_clients, (n->clients_capacity + more) * sizeof *n->free_clients);
        for (uint32_t i = n->clients_capacity + more; i-- > n->clients_capacity;) {
            n->clients[i] = NULL;
            n->free_clients[n->free_clients_count++] = i;
        }
        n->clients_capacity += more;
    }
}

void node_client_accept(struct node *n, int fd, bool from_peers, bool control) {
    if (!from_peers && !control && n->clients_count - n->callers_count >= n->clients_limit) {
        refuse_client(n, fd);
        return;
    }
    if (from_peers) make_room_for_caller(n);
    reserve_slot(n);
    struct client *c = xcalloc(1, sizeof *c);
    *c = (struct client){.node = n,
                         .opened_ns = uv_hrtime(),
                         .number = ++n->metrics.clients_accepted,
                         .slot = n->free_clients[--n->free_clients_count],
                         .peer = NODE_NONE,
                         .greeted = control,
                         .from_peers = from_peers,
                         .control = control};
    n->clients[c->slot] = c;
    n->clients_count++;
    if (from_peers) {
        c->caller = n->callers_count;
        n->callers[n->callers_count++] = c;
    }
    if (control) n->control = c;
    if (!control) set_options(fd);
    c->channel = channel_open(&n->hub, fd, CLIENT_QUEUE_BYTES, &events, c);
}

static void accept_client(struct node *n, int fd) {
    node_client_accept(n, fd, false, false);
}

void clients_tick(struct node *n) {
    uint64_t now = uv_hrtime();
    for (uint32_t i = 0; i < n->clients_capacity; i++) {
        struct client *c = n->clients[i];
        if (c && !c->greeted && now - c->opened_ns > HELLO_TIMEOUT_NS) refuse_hello(c, "no HELLO in 10 seconds");
    }
}

void clients_relieve(struct node *n) {
    while (n->hub.held_bytes > HELD_BYTES_MAX) {
        struct client *worst = NULL;
        for (uint32_t i = 0; i < n->clients_capacity; i++) {
            struct client *c = n->clients[i];
            if (!c || c->control || (c->from_peers && c->greeted)) continue;
            if (!worst || channel_held_bytes(c->channel) > channel_held_bytes(worst->channel)) worst = c;
        }
        if (!worst || channel_held_bytes(worst->channel) == 0) return; /* it is the peers' */
        n->metrics.memory_hogs++;
        node_log_stranger(n, LOG_WARNING, "client_closed",
                          json_pack("{s:s}", "reason", "all connections hold too much memory, this one the most"));
        node_client_close(worst);
    }
}

/* Room for all connections, as far as the system lets us. */
static uint32_t raise_files(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r)) return 64;
    rlim_t wanted = CLIENTS_MAX + SPARE_FILES;
    if (r.rlim_cur < wanted) {
        struct rlimit more = {wanted, r.rlim_max < wanted ? wanted : r.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &more)) { /* not ours to raise: as far as it goes */
            more = (struct rlimit){r.rlim_max, r.rlim_max};
            setrlimit(RLIMIT_NOFILE, &more);
        }
        getrlimit(RLIMIT_NOFILE, &r);
    }
    if (r.rlim_cur >= wanted) return CLIENTS_MAX;
    return r.rlim_cur > 2 * SPARE_FILES ? (uint32_t)r.rlim_cur - SPARE_FILES : (uint32_t)r.rlim_cur / 2;
}

int clients_open(struct node *n, struct error *e) {
    n->requests = xcalloc(REQUESTS_MAX, sizeof *n->requests);
    n->free_request = NO_REQUEST;
    n->clients_limit = raise_files();
    if (n->clients_limit < CLIENTS_MAX)
        node_log(n, LOG_WARNING, "few_files",
                 json_pack("{s:i, s:s}", "connections_max", (int)n->clients_limit, "hint", "raise ulimit -n"));
    if (n->o->control >= 0) node_client_accept(n, n->o->control, false, true);
    return listener_open(&n->client_listener, n, &n->o->clients[n->o->self], "clients", accept_client, e);
}

void clients_close(struct node *n) {
    listener_close(&n->client_listener);
    for (uint32_t i = 0; i < n->clients_capacity; i++)
        if (n->clients[i]) node_client_close(n->clients[i]);
    free(n->clients);
    free(n->free_clients);
    free(n->requests);
    n->clients = NULL;
    n->clients_capacity = 0;
}
