/* Connections between nodes. What we send goes over a connection that we made; what comes in, over one that the other
 * node made. A message may always be lost: one that finds no connection or a full queue is. A connection whose data
 * nobody acknowledges for a second is given up, so that TCP's back-off does not outlast a healed network. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "targets/node/node_internal.h"

enum { BACKOFF_MIN_MS = 50, BACKOFF_MAX_MS = 500, CONNECT_TIMEOUT_MS = 500, UNACKNOWLEDGED_MAX_MS = 1000 };
enum { ACCEPTS_PER_TURN = 64, LISTEN_BACKLOG = 4096 };
#define PEER_QUEUE_BYTES ((size_t)16 << 20)

/* --- listening ---------------------------------------------------------------------------------------------------- */

static void on_connection(uv_poll_t *poll, int status, int events) {
    struct listener *l = poll->data;
    (void)status, (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            l->on_accept(l->node, fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            uv_poll_stop(&l->poll); /* the tick tries again */
        else if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

int listener_open(struct listener *l, struct node *n, const struct sockaddr_in *at, const char *what,
                  void (*on_accept)(struct node *n, int fd), struct error *e) {
    int one = 1;
    *l = (struct listener){.node = n, .on_accept = on_accept};
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0) return error_set(e, "no socket: %s", strerror(errno));
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(l->fd, (const struct sockaddr *)at, sizeof *at) || listen(l->fd, LISTEN_BACKLOG)) {
        error_set(e, "cannot listen for %s on port %u: %s; choose another address or end who has it", what,
                  ntohs(at->sin_port), strerror(errno));
        close(l->fd);
        return -1;
    }
    uv_poll_init(&n->loop, &l->poll, l->fd);
    l->poll.data = l;
    uv_poll_start(&l->poll, UV_READABLE, on_connection);
    l->open = true;
    return 0;
}

/* One that ran out of files tries again. */
static void listener_resume(struct listener *l) {
    if (l->open && !uv_is_active((uv_handle_t *)&l->poll)) uv_poll_start(&l->poll, UV_READABLE, on_connection);
}

void listener_close(struct listener *l) {
    if (!l->open) return;
    l->open = false;
    uv_close((uv_handle_t *)&l->poll, NULL);
    close(l->fd);
}

/* --- outgoing ----------------------------------------------------------------------------------------------------- */

static uint8_t number_of(const struct peer_link *p) {
    return (uint8_t)(p - p->node->peers);
}

static void try_later(struct peer_link *p, uint64_t now) {
    p->out = NULL;
    p->backoff_ns = p->backoff_ns ? 2 * p->backoff_ns : BACKOFF_MIN_MS * NS_PER_MS;
    if (p->backoff_ns > BACKOFF_MAX_MS * NS_PER_MS) p->backoff_ns = BACKOFF_MAX_MS * NS_PER_MS;
    p->next_try_ns = now + p->backoff_ns;
}

static void on_connect(void *ctx, struct channel *c) {
    struct peer_link *p = ctx;
    unsigned timeout_ms = UNACKNOWLEDGED_MAX_MS;
    setsockopt(channel_fd(c), IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
    p->connecting_since_ns = p->backoff_ns = 0;
    node_log_stranger(p->node, LOG_INFO, "peer_connected", json_pack("{s:i}", "peer", number_of(p) + 1));
}

static void on_close(void *ctx, struct channel *c, const char *why, bool sent_all) {
    struct peer_link *p = ctx;
    (void)c, (void)sent_all;
    bool was_connected = p->connecting_since_ns == 0;
    node_log_stranger(p->node, was_connected ? LOG_WARNING : LOG_DEBUG, "peer_lost",
                      json_pack("{s:i, s:s}", "peer", number_of(p) + 1, "reason", why));
    try_later(p, uv_hrtime());
}

static void on_frame(void *ctx, struct channel *c, enum wire_type type, struct bytes payload) {
    struct peer_link *p = ctx; /* nothing is expected on this one */
    (void)type, (void)payload;
    channel_close(c);
    try_later(p, uv_hrtime());
}

static const struct channel_events outgoing = {on_frame, on_connect, on_close};

static void greet(struct peer_link *p) {
    uint8_t hello[10];
    struct writer w = {.data = hello, .capacity = sizeof hello};
    write_u64(&w, p->node->cluster_id);
    write_u8(&w, p->node->o->self);
    write_u8(&w, number_of(p));
    assert(!w.failed);
    channel_send(p->out, WIRE_HELLO, (struct bytes[]){bytes_of(hello, w.size), bytes_str(p->node->o->protocol->name)},
                 2);
}

static void connect_to(struct peer_link *p, uint64_t now) {
    struct node *n = p->node;
    p->connecting_since_ns = now;
    p->out = channel_connect(&n->hub, &n->o->peers[number_of(p)], PEER_QUEUE_BYTES, &outgoing, p, NULL);
    if (p->out)
        greet(p); /* waits in the queue for the connection, before anything else */
    else
        try_later(p, now);
}

void peers_tick(struct node *n) {
    uint64_t now = uv_hrtime();
    for (uint8_t i = 0; i < n->o->nodes; i++) {
        struct peer_link *p = &n->peers[i];
        if (i == n->o->self) continue;
        if (p->out && p->connecting_since_ns && now - p->connecting_since_ns > CONNECT_TIMEOUT_MS * NS_PER_MS) {
            channel_close(p->out);
            try_later(p, now);
            p->next_try_ns = now; /* it was not refused but lost: nobody minds another try */
        }
        if (!p->out && now >= p->next_try_ns) connect_to(p, now);
    }
    listener_resume(&n->peer_listener);
    listener_resume(&n->client_listener);
}

void peers_send(struct node *n, uint8_t to, struct bytes message) {
    struct peer_link *p = &n->peers[to];
    /* Not before it is connected: what waits for that would be stale by then. */
    if (!p->out || !channel_connected(p->out) || !channel_send(p->out, WIRE_MESSAGE, &message, 1)) p->dropped++;
}

/* --- both --------------------------------------------------------------------------------------------------------- */

static void accept_peer(struct node *n, int fd) {
    node_client_accept(n, fd, true, false);
}

int peers_open(struct node *n, struct error *e) {
    for (uint8_t i = 0; i < n->o->nodes; i++) n->peers[i].node = n;
    return listener_open(&n->peer_listener, n, &n->o->peers[n->o->self], "nodes", accept_peer, e);
}

void peers_close(struct node *n) {
    listener_close(&n->peer_listener);
    for (uint8_t i = 0; i < n->o->nodes; i++) {
        if (n->peers[i].out) channel_close(n->peers[i].out);
        n->peers[i].out = NULL;
    }
}
