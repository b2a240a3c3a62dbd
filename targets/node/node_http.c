/* A very small HTTP/1.1 server for whoever collects the metrics: GET /metrics, GET /health, one request a connection,
 * few connections, short requests, a few seconds each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "targets/node/node_internal.h"

enum { CONNECTIONS_MAX = 32, REQUEST_BYTES_MAX = 8 << 10, LISTEN_BACKLOG = 1024 };
#define TIMEOUT_NS (5 * NS_PER_S)

struct connection {
    uv_tcp_t tcp;
    uv_write_t write;
    struct node *node;
    uint32_t slot;
    uint64_t opened_ns;
    size_t size;
    struct buffer out;
    char request[REQUEST_BYTES_MAX + 1];
};
struct node_http {
    uv_tcp_t listener;
    struct connection *connections[CONNECTIONS_MAX];
};

static void on_listener_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void on_closed(uv_handle_t *handle) {
    struct connection *c = handle->data;
    buffer_free(&c->out);
    free(c);
}

static void hang_up(struct connection *c) {
    if (uv_is_closing((uv_handle_t *)&c->tcp)) return;
    if (c->slot < CONNECTIONS_MAX && c->node->http) c->node->http->connections[c->slot] = NULL;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void on_written(uv_write_t *write, int status) {
    (void)status;
    hang_up(write->data);
}

static void answer(struct connection *c, const char *status, const char *type, struct bytes body) {
    uv_read_stop((uv_stream_t *)&c->tcp);
    buffer_printf(&c->out, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                  status, type, body.size);
    buffer_append(&c->out, body.data, body.size);
    uv_buf_t out = uv_buf_init((char *)c->out.data, (unsigned)c->out.size);
    c->write.data = c;
    if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &out, 1, on_written)) hang_up(c);
}

static void answer_text(struct connection *c, const char *status, const char *text) {
    answer(c, status, "text/plain; charset=utf-8", bytes_str(text));
}

static void answer_metrics(struct connection *c) {
    struct buffer body = {0};
    node_metrics_print(c->node, &body);
    answer(c, "200 OK", "text/plain; version=0.0.4; charset=utf-8", bytes_of(body.data, body.size));
    buffer_free(&body);
}

static void answer_health(struct connection *c) {
    const struct node *n = c->node;
    char text[160];
    snprintf(text, sizeof text, "%s\n", n->serving ? "ok" : n->reason);
    answer_text(c, n->serving ? "200 OK" : "503 Service Unavailable", text);
}

/* The request line has a method, a path that starts with a slash, and a version; what follows is not looked at. */
static void serve(struct connection *c) {
    char path[64], version[16];
    c->request[strcspn(c->request, "\r\n")] = 0;
    const char *space = strchr(c->request, ' ');
    bool parsed = space && space[1] == '/' && sscanf(space + 1, "%63s %15s", path, version) == 2;
    if (!parsed || strncmp(version, "HTTP/1.", 7) != 0)
        answer_text(c, "400 Bad Request", "not an HTTP/1.1 request\n");
    else if (strncmp(c->request, "GET ", 4) != 0)
        answer_text(c, "405 Method Not Allowed", "only GET\n");
    else if (strcmp(path, "/metrics") == 0)
        answer_metrics(c);
    else if (strcmp(path, "/health") == 0)
        answer_health(c);
    else
        answer_text(c, "404 Not Found", "here are /metrics and /health\n");
}

static void on_room_wanted(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
    struct connection *c = handle->data;
    (void)suggested;
    *out = uv_buf_init(c->request + c->size, (unsigned)(REQUEST_BYTES_MAX - c->size));
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer) {
    struct connection *c = stream->data;
    (void)buffer;
    if (size < 0 && size != UV_ENOBUFS) {
        hang_up(c);
        return;
    }
    if (size > 0) c->size += (size_t)size;
    c->request[c->size] = 0;
    if (memchr(c->request, 0, c->size))
        answer_text(c, "400 Bad Request", "not an HTTP/1.1 request\n");
    else if (strstr(c->request, "\r\n\r\n"))
        serve(c);
    else if (c->size == REQUEST_BYTES_MAX)
        answer_text(c, "400 Bad Request", "the request is too long\n");
}

/* Whoever has been at it longest makes room: those that dawdle must not keep others out. */
static uint32_t take_slot(struct node_http *h) {
    uint32_t oldest = 0;
    for (uint32_t i = 0; i < CONNECTIONS_MAX; i++) {
        if (!h->connections[i]) return i;
        if (h->connections[i]->opened_ns < h->connections[oldest]->opened_ns) oldest = i;
    }
    hang_up(h->connections[oldest]);
    return oldest;
}

static void on_connection(uv_stream_t *stream, int status) {
    struct node *n = stream->loop->data;
    if (status < 0 || !n->http) return;
    struct connection *c = xcalloc(1, sizeof *c);
    c->node = n;
    c->opened_ns = uv_hrtime();
    c->slot = CONNECTIONS_MAX;
    uv_tcp_init(&n->loop, &c->tcp);
    c->tcp.data = c;
    if (uv_accept(stream, (uv_stream_t *)&c->tcp)) {
        hang_up(c);
        return;
    }
    c->slot = take_slot(n->http);
    n->http->connections[c->slot] = c;
    uv_read_start((uv_stream_t *)&c->tcp, on_room_wanted, on_read);
}

int node_http_open(struct node *n, struct error *e) {
    if (n->o->metrics_port == 0) return 0;
    struct sockaddr_in at = n->o->peers[n->o->self];
    at.sin_port = htons(n->o->metrics_port);
    n->http = xcalloc(1, sizeof *n->http);
    n->loop.data = n;
    uv_tcp_init(&n->loop, &n->http->listener);
    n->http->listener.data = n->http;
    int rc = uv_tcp_bind(&n->http->listener, (const struct sockaddr *)&at, 0);
    if (rc == 0) rc = uv_listen((uv_stream_t *)&n->http->listener, LISTEN_BACKLOG, on_connection);
    if (rc == 0) return 0;
    return error_set(e, "cannot listen for metrics on port %u: %s; choose another --metrics port", n->o->metrics_port,
                     uv_strerror(rc));
}

void node_http_tick(struct node *n) {
    for (uint32_t i = 0; n->http && i < CONNECTIONS_MAX; i++) {
        struct connection *c = n->http->connections[i];
        if (c && uv_hrtime() - c->opened_ns > TIMEOUT_NS) hang_up(c);
    }
}

void node_http_close(struct node *n) {
    if (!n->http) return;
    for (uint32_t i = 0; i < CONNECTIONS_MAX; i++)
        if (n->http->connections[i]) hang_up(n->http->connections[i]);
    uv_close((uv_handle_t *)&n->http->listener, on_listener_closed);
    n->http = NULL;
}
