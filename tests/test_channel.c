/* Channels on socket pairs and on loopback: order, batching, bounds, garbage, and closing wherever one likes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "targets/node/channel.h"

#define QUEUE_BYTES ((size_t)4 << 20)

struct side { /* one end and what it saw */
    struct channel *channel;
    uint32_t frames, connects, closes;
    uint64_t next; /* frames carry 0, 1, 2, ... */
    bool close_inside, sent_all;
    char why[128];
};
struct world {
    uv_loop_t loop;
    struct channel_hub hub;
    struct side a, b;
};

static void on_frame(void *ctx, struct channel *c, enum wire_type type, struct bytes payload) {
    struct side *s = ctx;
    assert_ptr_equal(c, s->channel);
    assert_int_equal(type, WIRE_MESSAGE);
    struct reader r = {.data = payload.data, .size = payload.size};
    assert_int_equal(read_u64(&r), s->next++);
    s->frames++;
    if (!s->close_inside) return;
    channel_close(c);
    s->channel = NULL;
}

static void on_connect(void *ctx, struct channel *c) {
    struct side *s = ctx;
    assert_true(channel_connected(c));
    s->connects++;
}

static void on_close(void *ctx, struct channel *c, const char *why, bool sent_all) {
    struct side *s = ctx;
    assert_ptr_equal(c, s->channel);
    assert_false(channel_send(c, WIRE_ASK, NULL, 0));
    s->channel = NULL;
    s->closes++;
    s->sent_all = sent_all;
    snprintf(s->why, sizeof s->why, "%s", why);
}

static const struct channel_events events = {on_frame, on_connect, on_close};

static void world_open(struct world *w, int *raw) {
    memset(w, 0, sizeof *w);
    uv_loop_init(&w->loop);
    channel_hub_init(&w->hub, &w->loop);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    w->a.channel = channel_open(&w->hub, fds[0], QUEUE_BYTES, &events, &w->a);
    if (raw)
        *raw = fds[1];
    else
        w->b.channel = channel_open(&w->hub, fds[1], QUEUE_BYTES, &events, &w->b);
}

static void world_close(struct world *w) {
    if (w->a.channel) channel_close(w->a.channel);
    if (w->b.channel) channel_close(w->b.channel);
    channel_hub_close(&w->hub);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(w->hub.open, 0);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

static void turn(struct world *w) {
    uv_run(&w->loop, UV_RUN_NOWAIT);
}

static void send_number(struct channel *c, uint64_t n, size_t padding) {
    static uint8_t zeros[1 << 20];
    struct bytes parts[] = {bytes_of(&n, sizeof n), bytes_of(zeros, padding)};
    assert_true(channel_send(c, WIRE_MESSAGE, parts, 2));
}

static void many_frames_arrive_in_order(void **state) {
    (void)state;
    struct world w;
    world_open(&w, NULL);
    for (uint64_t i = 0; i < 3000; i++) send_number(w.a.channel, i, i % 1000);
    for (uint64_t i = 0; i < 2000; i++) send_number(w.b.channel, i, 0);
    while (w.b.frames < 3000 || w.a.frames < 2000) uv_run(&w.loop, UV_RUN_ONCE);
    assert_int_equal(w.b.frames, 3000);
    assert_int_equal(w.hub.frames_out, 5000);
    assert_int_equal(w.hub.frames_in, 5000);
    assert_int_equal(w.hub.bytes_in, w.hub.bytes_out);
    world_close(&w);
}

static void what_one_turn_sends_leaves_in_one_write(void **state) {
    (void)state;
    struct world w;
    memset(&w, 0, sizeof w);
    uv_loop_init(&w.loop);
    channel_hub_init(&w.hub, &w.loop);
    int fds[2]; /* each datagram is one write of the other side */
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
    w.a.channel = channel_open(&w.hub, fds[0], QUEUE_BYTES, &events, &w.a);
    int raw = fds[1];
    for (uint64_t i = 0; i < 50; i++) send_number(w.a.channel, i, 0);
    static uint8_t data[8192];
    assert_int_equal(recv(raw, data, sizeof data, 0), -1);
    channel_hub_flush(&w.hub);
    assert_int_equal(recv(raw, data, sizeof data, 0), 50 * (WIRE_HEADER_BYTES + 8));
    assert_int_equal(recv(raw, data, sizeof data, 0), -1);
    close(raw);
    world_close(&w);
}

static void frames_may_come_byte_by_byte(void **state) {
    (void)state;
    struct world w;
    int raw;
    world_open(&w, &raw);
    struct buffer b = {0};
    for (uint64_t i = 0; i < 20; i++) wire_append(&b, WIRE_MESSAGE, &(struct bytes){(uint8_t *)&i, 8}, 1);
    for (size_t i = 0; i < b.size; i++) {
        assert_int_equal(write(raw, b.data + i, 1), 1);
        turn(&w);
    }
    assert_int_equal(w.a.frames, 20);
    buffer_free(&b);
    close(raw);
    world_close(&w);
}

static void a_large_frame_comes_whole(void **state) {
    (void)state;
    struct world w;
    world_open(&w, NULL);
    for (uint64_t i = 0; i < 3; i++) send_number(w.a.channel, i, 1 << 20);
    while (w.b.frames < 3) uv_run(&w.loop, UV_RUN_ONCE);
    world_close(&w);
}

static void garbage_ends_the_connection(void **state) {
    (void)state;
    struct world w;
    int raw;
    world_open(&w, &raw);
    uint64_t zero = 0;
    struct buffer b = {0};
    wire_append(&b, WIRE_MESSAGE, &(struct bytes){(uint8_t *)&zero, 8}, 1);
    buffer_append(&b, "GET / HTTP/1.1\r\n", 16);
    assert_int_equal(write(raw, b.data, b.size), (ssize_t)b.size);
    turn(&w);
    assert_int_equal(w.a.frames, 1); /* what came before it counts */
    assert_int_equal(w.a.closes, 1);
    assert_non_null(strstr(w.a.why, "not a frame"));
    buffer_free(&b);
    close(raw);
    world_close(&w);
}

static void a_full_queue_takes_nothing_more(void **state) {
    (void)state;
    struct world w;
    int raw;
    world_open(&w, &raw);
    static uint8_t zeros[64 << 10];
    uint64_t accepted = 0;
    while (channel_send(w.a.channel, WIRE_MESSAGE, &(struct bytes){zeros, sizeof zeros}, 1)) {
        accepted += WIRE_HEADER_BYTES + sizeof zeros;
        turn(&w);
    }
    assert_true(channel_queued_bytes(w.a.channel) <= QUEUE_BYTES);
    assert_true(channel_queued_bytes(w.a.channel) + WIRE_HEADER_BYTES + sizeof zeros > QUEUE_BYTES);
    uint64_t received = 0; /* and all that it took comes out */
    while (received < accepted) {
        ssize_t n = recv(raw, zeros, sizeof zeros, MSG_DONTWAIT);
        if (n > 0) received += (uint64_t)n;
        turn(&w);
    }
    assert_int_equal(channel_queued_bytes(w.a.channel), 0);
    close(raw);
    turn(&w);
    assert_int_equal(w.a.closes, 1);
    assert_true(w.a.sent_all);
    world_close(&w);
}

static void a_death_with_a_queue_tells_that_not_all_was_sent(void **state) {
    (void)state;
    struct world w;
    int raw;
    world_open(&w, &raw);
    for (uint64_t i = 0; i < 3; i++) send_number(w.a.channel, i, 1 << 20);
    turn(&w);
    assert_true(channel_queued_bytes(w.a.channel) > 0);
    close(raw);
    while (w.a.closes == 0) uv_run(&w.loop, UV_RUN_ONCE);
    assert_false(w.a.sent_all);
    world_close(&w);
}

static void closing_inside_an_event_ends_delivery(void **state) {
    (void)state;
    struct world w;
    world_open(&w, NULL);
    w.b.close_inside = true;
    for (uint64_t i = 0; i < 10; i++) send_number(w.a.channel, i, 0);
    while (w.a.closes == 0) uv_run(&w.loop, UV_RUN_ONCE);
    assert_int_equal(w.b.frames, 1);
    assert_int_equal(w.b.closes, 0); /* the owner knows */
    world_close(&w);
}

static void a_dirty_channel_may_be_closed(void **state) {
    (void)state;
    struct world w;
    world_open(&w, NULL);
    send_number(w.a.channel, 0, 0);
    send_number(w.b.channel, 0, 0);
    channel_close(w.a.channel);
    w.a.channel = NULL;
    channel_hub_flush(&w.hub);
    while (w.b.closes == 0) uv_run(&w.loop, UV_RUN_ONCE);
    assert_int_equal(w.b.frames, 0);
    world_close(&w);
}

static void connecting_says_how_it_ended(void **state) {
    (void)state;
    struct world w;
    int raw;
    world_open(&w, &raw);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof to;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&to, size), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&to, &size), 0);
    struct error e = {{0}};
    w.b.channel = channel_connect(&w.hub, &to, QUEUE_BYTES, &events, &w.b, &e); /* nobody listens yet */
    if (w.b.channel) {
        while (w.b.closes == 0) uv_run(&w.loop, UV_RUN_ONCE);
        assert_non_null(strstr(w.b.why, "refused"));
    }
    assert_int_equal(w.b.connects, 0);
    assert_int_equal(listen(listener, 1), 0);
    w.b.channel = channel_connect(&w.hub, &to, QUEUE_BYTES, &events, &w.b, &e);
    assert_non_null(w.b.channel);
    assert_false(channel_connected(w.b.channel));
    send_number(w.b.channel, 7, 0); /* waits for the connection */
    while (w.b.connects == 0) uv_run(&w.loop, UV_RUN_ONCE);
    turn(&w);
    int fd = accept(listener, NULL, NULL);
    uint8_t data[64];
    assert_int_equal(recv(fd, data, sizeof data, 0), WIRE_HEADER_BYTES + 8);
    close(fd);
    close(listener);
    close(raw);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_frames_arrive_in_order),
        cmocka_unit_test(what_one_turn_sends_leaves_in_one_write),
        cmocka_unit_test(frames_may_come_byte_by_byte),
        cmocka_unit_test(a_large_frame_comes_whole),
        cmocka_unit_test(garbage_ends_the_connection),
        cmocka_unit_test(a_full_queue_takes_nothing_more),
        cmocka_unit_test(a_death_with_a_queue_tells_that_not_all_was_sent),
        cmocka_unit_test(closing_inside_an_event_ends_delivery),
        cmocka_unit_test(a_dirty_channel_may_be_closed),
        cmocka_unit_test(connecting_says_how_it_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
