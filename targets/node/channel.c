/* Framed connections over uv_poll: reads go to one buffer that all channels of a loop share, writes collect per channel
 * and leave once per turn of the loop. A channel is freed by libuv's close callback only, so that it may be closed
 * anywhere, inside its own events too. */
#include "targets/node/channel.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 256 << 10, KEPT_BYTES = 64 << 10, KEPT_BYTES_OF_MANY = 8 << 10, MANY = 256 };

struct channel {
    uv_poll_t poll;
    struct channel_hub *hub;
    const struct channel_events *events;
    void *ctx;
    int fd;
    bool connected, closing, blocked; /* blocked: the kernel took less than there was */
    struct buffer in;                 /* the beginning of a frame */
    struct buffer out;
    size_t out_sent, out_bytes_max, held_bytes;
    struct channel *next, **link; /* in the list of dirty ones; link NULL: not there */
};

/* --- life --------------------------------------------------------------------------------------------------------- */

static void mark_dirty(struct channel *c) {
    if (c->link || !c->connected || c->blocked) return;
    c->next = c->hub->dirty;
    c->link = &c->hub->dirty;
    if (c->next) c->next->link = &c->next;
    c->hub->dirty = c;
}

static void unmark_dirty(struct channel *c) {
    if (!c->link) return;
    *c->link = c->next;
    if (c->next) c->next->link = c->link;
    c->link = NULL;
}

static void account(struct channel *c, size_t held_bytes) {
    c->hub->held_bytes += held_bytes - c->held_bytes;
    c->held_bytes = held_bytes;
}

/* What an idle channel may keep. */
static size_t kept_bytes(const struct channel *c) {
    return c->hub->open > MANY ? KEPT_BYTES_OF_MANY : KEPT_BYTES;
}

static void on_freed(uv_handle_t *handle) {
    struct channel *c = handle->data;
    c->hub->open--;
    buffer_free(&c->in);
    buffer_free(&c->out);
    free(c);
}

void channel_close(struct channel *c) {
    if (c->closing) return;
    c->closing = true;
    unmark_dirty(c);
    account(c, 0);
    uv_close((uv_handle_t *)&c->poll, on_freed);
    close(c->fd);
}

static void fail(struct channel *c, const char *why) {
    if (c->closing) return;
    bool sent_all = c->out.size == c->out_sent;
    channel_close(c);
    c->events->on_close(c->ctx, c, why, sent_all);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void on_ready(uv_poll_t *poll, int status, int events);

static void watch(struct channel *c) {
    int events = (c->connected ? UV_READABLE : 0) | (!c->connected || c->blocked ? UV_WRITABLE : 0);
    if (events)
        uv_poll_start(&c->poll, events, on_ready);
    else
        uv_poll_stop(&c->poll);
}

static void set_blocked(struct channel *c, bool blocked) {
    if (c->blocked == blocked) return;
    c->blocked = blocked;
    watch(c);
}

static void write_out(struct channel *c) {
    size_t left = c->out.size - c->out_sent;
    if (left == 0) return;
    ssize_t n = send(c->fd, c->out.data + c->out_sent, left, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        fail(c, strerror(errno));
        return;
    }
    if (n > 0) {
        c->out_sent += (size_t)n;
        c->hub->bytes_out += (uint64_t)n;
    }
    if (c->out_sent == c->out.size) {
        c->out.size = c->out_sent = 0;
        if (c->out.capacity > kept_bytes(c)) buffer_free(&c->out);
    } else if (c->out_sent > c->out.size / 2) { /* what is sent goes, at most once per byte */
        c->out.size -= c->out_sent;
        memmove(c->out.data, c->out.data + c->out_sent, c->out.size);
        c->out_sent = 0;
    }
    account(c, c->in.size + c->out.size);
    set_blocked(c, c->out.size > 0);
}

void channel_hub_flush(struct channel_hub *hub) {
    while (hub->dirty) { /* an event inside may close any of them, or make others dirty */
        struct channel *c = hub->dirty;
        unmark_dirty(c);
        write_out(c);
    }
}

bool channel_send(struct channel *c, enum wire_type type, const struct bytes *parts, size_t parts_count) {
    size_t size = WIRE_HEADER_BYTES;
    for (size_t i = 0; i < parts_count; i++) size += parts[i].size;
    if (c->closing || size - WIRE_HEADER_BYTES > WIRE_PAYLOAD_MAX) return false;
    if (channel_queued_bytes(c) + size > c->out_bytes_max) return false;
    wire_append(&c->out, type, parts, parts_count);
    c->hub->frames_out++;
    account(c, c->in.size + c->out.size);
    mark_dirty(c);
    return true;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* Delivers the whole frames in data; returns how many bytes they were. */
static size_t deliver(struct channel *c, struct bytes data) {
    size_t done = 0;
    while (!c->closing) {
        enum wire_type type;
        struct bytes payload;
        const char *why;
        int64_t size = wire_parse(bytes_of(data.data + done, data.size - done), &type, &payload, &why);
        if (size < 0) fail(c, why);
        if (size <= 0) break;
        done += (size_t)size;
        c->hub->frames_in++;
        c->events->on_frame(c->ctx, c, type, payload);
    }
    return done;
}

/* Receives into b, at most so many bytes. False: nothing came, or it is over. */
static bool receive(struct channel *c, struct buffer *b, size_t most) {
    buffer_reserve(b, most);
    ssize_t n = recv(c->fd, b->data + b->size, most, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (n <= 0) {
        fail(c, n == 0 ? "the other side closed the connection" : strerror(errno));
        return false;
    }
    b->size += (size_t)n;
    c->hub->bytes_in += (uint64_t)n;
    return true;
}

/* The rest of an unfinished frame goes where its beginning is, so that one which comes in crumbs is not copied for each
 * of them; and no more room is taken than what has come is worth. */
static void finish_frame(struct channel *c) {
    size_t missing = wire_missing(bytes_of(c->in.data, c->in.size)), most = c->in.size > 4096 ? c->in.size : 4096;
    if (!receive(c, &c->in, missing < most ? missing : most)) return;
    struct bytes data = bytes_of(c->in.data, c->in.size);
    if (wire_missing(data) == 0 && deliver(c, data) == data.size && !c->closing) c->in.size = 0;
}

static void read_in(struct channel *c) {
    struct buffer *b = &c->hub->received;
    if (c->in.size) {
        finish_frame(c);
    } else {
        b->size = 0;
        if (!receive(c, b, READ_BYTES)) return;
        size_t done = deliver(c, bytes_of(b->data, b->size));
        if (!c->closing && done < b->size) buffer_append(&c->in, b->data + done, b->size - done);
    }
    if (c->closing) return;
    if (c->in.size == 0 && c->in.capacity > kept_bytes(c)) buffer_free(&c->in);
    account(c, c->in.size + c->out.size);
}

static void finish_connect(struct channel *c) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size)) error = errno;
    if (error) {
        fail(c, strerror(error));
        return;
    }
    c->connected = true;
    watch(c);
    if (c->out.size) mark_dirty(c);
    if (c->events->on_connect) c->events->on_connect(c->ctx, c);
}

static void on_ready(uv_poll_t *poll, int status, int events) {
    struct channel *c = poll->data;
    if (c->closing) return;
    if (!c->connected) {
        finish_connect(c);
        return;
    }
    if (status < 0 || events & UV_READABLE) read_in(c);
    if (status < 0) fail(c, uv_strerror(status)); /* libuv watches it no more: what was not read now is lost */
    if (!c->closing && events & UV_WRITABLE) write_out(c);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static struct channel *new_channel(struct channel_hub *hub, int fd, bool connected, size_t out_bytes_max,
                                   const struct channel_events *ev, void *ctx) {
    struct channel *c = xcalloc(1, sizeof *c);
    c->hub = hub;
    c->fd = fd;
    c->connected = connected;
    c->out_bytes_max = out_bytes_max;
    c->events = ev;
    c->ctx = ctx;
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* not a TCP socket: nothing to set */
    int rc = uv_poll_init(hub->loop, &c->poll, fd);
    assert(rc == 0);
    (void)rc;
    c->poll.data = c;
    hub->open++;
    watch(c);
    return c;
}

struct channel *channel_open(struct channel_hub *hub, int fd, size_t out_bytes_max, const struct channel_events *ev,
                             void *ctx) {
    return new_channel(hub, fd, true, out_bytes_max, ev, ctx);
}

struct channel *channel_connect(struct channel_hub *hub, const struct sockaddr_in *to, size_t out_bytes_max,
                                const struct channel_events *ev, void *ctx, struct error *e) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_set(e, "no socket: %s; raise the limit of open files (ulimit -n)", strerror(errno));
        return NULL;
    }
    if (connect(fd, (const struct sockaddr *)to, sizeof *to) && errno != EINPROGRESS) {
        error_set(e, "connect: %s", strerror(errno));
        close(fd);
        return NULL;
    }
    return new_channel(hub, fd, false, out_bytes_max, ev, ctx);
}

int channel_fd(const struct channel *c) {
    return c->fd;
}

bool channel_connected(const struct channel *c) {
    return c->connected && !c->closing;
}

size_t channel_queued_bytes(const struct channel *c) {
    return c->out.size - c->out_sent;
}

size_t channel_held_bytes(const struct channel *c) {
    return c->held_bytes;
}

/* --- the hub ------------------------------------------------------------------------------------------------------ */

static void on_prepare(uv_prepare_t *prepare) {
    channel_hub_flush(prepare->data);
}

void channel_hub_init(struct channel_hub *hub, uv_loop_t *loop) {
    *hub = (struct channel_hub){.loop = loop};
    uv_prepare_init(loop, &hub->prepare);
    hub->prepare.data = hub;
    uv_prepare_start(&hub->prepare, on_prepare);
    uv_unref((uv_handle_t *)&hub->prepare);
}

void channel_hub_close(struct channel_hub *hub) {
    uv_close((uv_handle_t *)&hub->prepare, NULL);
    buffer_free(&hub->received);
}
