/* The sockets under `harrow kv`: addresses, connections with deadlines, and the way from node to node. */
#include "harness/cli/kv_internal.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { TRY_NS = 1000000000, PAUSE_NS = 50000000 };

static int parse_address(struct kv_node *n, const char *text, size_t size, struct error *e) {
    char host[sizeof n->name];
    if (size >= sizeof n->name) return error_set(e, "the address \"%.40s...\" is too long", text);
    memcpy(n->name, text, size);
    n->name[size] = 0;
    memcpy(host, n->name, size + 1);
    char *colon = strrchr(host, ':');
    if (!colon || colon == host || !colon[1]) return error_set(e, "\"%s\" is not an address; it is HOST:PORT", n->name);
    *colon = 0;
    struct addrinfo *found = NULL, hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    int rc = getaddrinfo(host, colon + 1, &hints, &found);
    if (rc) return error_set(e, "the address %s is not known: %s", n->name, gai_strerror(rc));
    memcpy(&n->address, found->ai_addr, sizeof n->address);
    freeaddrinfo(found);
    return n->address.sin_port ? 0 : error_set(e, "%s has no port", n->name);
}

int kv_cluster_parse(struct kv_cluster *k, const char *text, struct error *e) {
    memset(k, 0, sizeof *k);
    for (const char *at = text;; at++) {
        size_t size = strcspn(at, ",");
        if (k->count == PROTOCOL_NODES_MAX) return error_set(e, "more than %d nodes", PROTOCOL_NODES_MAX);
        struct kv_node *n = &k->nodes[k->count];
        n->fd = -1;
        if (parse_address(n, at, size, e)) return -1;
        k->count++;
        at += size;
        if (!*at) return 0;
    }
}

static void disconnect(struct kv_node *n) {
    if (n->fd >= 0) close(n->fd);
    n->fd = -1;
    n->in.size = 0;
}

void kv_cluster_close(struct kv_cluster *k) {
    for (uint32_t i = 0; i < k->count; i++) {
        disconnect(&k->nodes[i]);
        buffer_free(&k->nodes[i].in);
    }
}

/* --- one connection ----------------------------------------------------------------------------------------------- */

static int failed(struct kv_cluster *k, struct kv_node *n, const char *what) {
    snprintf(k->why, sizeof k->why, "%s: %s", n->name, what);
    disconnect(n);
    return -1;
}

/* Waits for the socket; 0 when it is ready. */
static int await(struct kv_cluster *k, struct kv_node *n, short events, uint64_t until_ns) {
    for (;;) {
        uint64_t now = monotonic_ns();
        if (now >= until_ns) return failed(k, n, "no answer in time");
        struct timespec left = {.tv_sec = (time_t)((until_ns - now) / NS_PER_S),
                                .tv_nsec = (long)((until_ns - now) % NS_PER_S)};
        int rc = ppoll(&(struct pollfd){.fd = n->fd, .events = events}, 1, &left, NULL);
        if (rc > 0) return 0;
        if (rc < 0 && errno != EINTR) return failed(k, n, strerror(errno));
    }
}

static int transmit(struct kv_cluster *k, struct kv_node *n, struct bytes b, uint64_t until_ns) {
    for (size_t sent = 0; sent < b.size;) {
        ssize_t rc = send(n->fd, b.data + sent, b.size - sent, MSG_NOSIGNAL);
        if (rc > 0)
            sent += (size_t)rc;
        else if (errno != EAGAIN && errno != EINTR)
            return failed(k, n, strerror(errno));
        else if (errno == EAGAIN && await(k, n, POLLOUT, until_ns))
            return -1;
    }
    return 0;
}

static int establish(struct kv_cluster *k, uint32_t node, uint64_t until_ns) {
    struct kv_node *n = &k->nodes[node];
    if (n->fd >= 0) return 0;
    n->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (n->fd < 0) return failed(k, n, strerror(errno));
    int one = 1, error = 0;
    socklen_t size = sizeof error;
    setsockopt(n->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(n->fd, (const struct sockaddr *)&n->address, sizeof n->address) != 0) {
        if (errno != EINPROGRESS) return failed(k, n, strerror(errno));
        if (await(k, n, POLLOUT, until_ns)) return -1;
        if (getsockopt(n->fd, SOL_SOCKET, SO_ERROR, &error, &size) || error) return failed(k, n, strerror(error));
    }
    uint8_t hello[10] = {0}; /* of whatever cluster it is */
    hello[8] = WIRE_CLIENT;
    hello[9] = NODE_NONE;
    struct buffer out = {0};
    wire_append(&out, WIRE_HELLO, &(struct bytes){hello, sizeof hello}, 1);
    int rc = transmit(k, n, bytes_of(out.data, out.size), until_ns);
    buffer_free(&out);
    return rc;
}

/* The next frame that is wanted: 1, with its payload copied; 0: more bytes are needed; -1: not frames. */
static int take(struct kv_cluster *k, struct kv_node *n, enum wire_type want, uint64_t token, struct buffer *answer) {
    for (;;) {
        enum wire_type type;
        struct bytes payload;
        const char *why = "";
        int64_t size = wire_parse(bytes_of(n->in.data, n->in.size), &type, &payload, &why);
        if (size < 0) return failed(k, n, why);
        if (size == 0) return 0;
        uint64_t of = token;
        if (type == WIRE_REPLY && payload.size >= sizeof of) memcpy(&of, payload.data, sizeof of);
        bool wanted = type == want && (want != WIRE_REPLY || of == token);
        answer->size = 0;
        if (wanted) buffer_append(answer, payload.data, payload.size);
        n->in.size -= (size_t)size;
        memmove(n->in.data, n->in.data + size, n->in.size);
        if (wanted) return 1;
    }
}

static int receive(struct kv_cluster *k, struct kv_node *n, enum wire_type want, uint64_t token, uint64_t until_ns,
                   struct buffer *answer) {
    for (;;) {
        int found = take(k, n, want, token, answer);
        if (found) return found < 0 ? -1 : 0;
        buffer_reserve(&n->in, 65536);
        ssize_t rc = recv(n->fd, n->in.data + n->in.size, n->in.capacity - n->in.size, 0);
        if (rc > 0)
            n->in.size += (size_t)rc;
        else if (rc == 0)
            return failed(k, n, "it closed the connection");
        else if (errno != EAGAIN && errno != EINTR)
            return failed(k, n, strerror(errno));
        else if (errno == EAGAIN && await(k, n, POLLIN, until_ns))
            return -1;
    }
}

int kv_ask(struct kv_cluster *k, uint32_t node, enum wire_type type, struct bytes frame, enum wire_type want,
           uint64_t token, uint64_t try_ns, struct buffer *answer, bool *sent) {
    struct kv_node *n = &k->nodes[node];
    uint64_t until = monotonic_ns() + try_ns;
    if (until > k->deadline_ns) until = k->deadline_ns;
    *sent = false;
    if (establish(k, node, until)) return -1;
    *sent = true;
    struct buffer out = {0};
    wire_append(&out, type, &frame, 1);
    int rc = transmit(k, n, bytes_of(out.data, out.size), until);
    buffer_free(&out);
    if (rc || want == WIRE_TYPES) return rc;
    return receive(k, n, want, token, until, answer);
}

/* --- from node to node -------------------------------------------------------------------------------------------- */

static void pause_a_little(const struct kv_cluster *k) {
    uint64_t now = monotonic_ns(), until = now + PAUSE_NS;
    if (until > k->deadline_ns) until = k->deadline_ns;
    if (until <= now) return;
    nanosleep(&(struct timespec){.tv_nsec = (long)(until - now)}, NULL);
}

static void go_on(struct kv_cluster *k, uint8_t leader, uint32_t tries) {
    bool hinted = leader < k->count && leader != k->node;
    k->node = hinted ? leader : (k->node + 1) % k->count;
    if (!hinted || tries > k->count) pause_a_little(k); /* hints of past leaders may lead in circles */
}

/* One try of the frame (token, command) at k->node: 1 with a result, 0 to go on. */
static int try_once(struct kv_cluster *k, struct bytes frame, struct buffer *memory, struct kv_result *result,
                    uint8_t *leader) {
    bool sent;
    *leader = NODE_NONE;
    if (kv_ask(k, k->node, WIRE_REQUEST, frame, WIRE_REPLY, k->token, TRY_NS, memory, &sent)) {
        k->ambiguous |= sent;
        return 0;
    }
    struct reader r = {.data = memory->data, .size = memory->size};
    read_u64(&r);
    uint8_t status = read_u8(&r);
    *leader = read_u8(&r);
    read_u64(&r);
    const char *name = k->nodes[k->node].name;
    if (r.failed) {
        snprintf(k->why, sizeof k->why, "%s: an answer that makes no sense", name);
        k->ambiguous = true;
        return 0;
    }
    if (status == STATUS_OK && kv_result_decode(bytes_of(r.data + r.offset, r.size - r.offset), result)) return 1;
    k->ambiguous |= status == STATUS_UNKNOWN || status == STATUS_OK;
    snprintf(k->why, sizeof k->why, "%s: %s", name,
             status == STATUS_NOT_LEADER ? "it is not the leader"
             : status == STATUS_BUSY     ? "it is busy"
                                         : "the command left its log");
    if (status == STATUS_BUSY) *leader = NODE_NONE;
    return 0;
}

int kv_call(struct kv_cluster *k, const struct kv_command *c, struct buffer *memory, struct kv_result *result) {
    struct buffer frame = {0};
    k->token++;
    k->ambiguous = false;
    buffer_append(&frame, &k->token, sizeof k->token);
    buffer_reserve(&frame, 3 * KV_VALUE_BYTES_MAX);
    size_t size = kv_command_encode(c, frame.data + frame.size, frame.capacity - frame.size);
    assert(size > 0);
    frame.size += size;
    int found = 0;
    for (uint32_t tries = 1; !found && monotonic_ns() < k->deadline_ns; tries++) {
        uint8_t leader;
        found = try_once(k, bytes_of(frame.data, frame.size), memory, result, &leader);
        if (!found) go_on(k, leader, tries);
    }
    buffer_free(&frame);
    return found ? 0 : -1;
}
