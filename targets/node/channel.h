/* A framed connection on a libuv loop: non-blocking, bounded, with frames in order or no connection at all. Node and
 * clients are made of these. What is sent during one turn of the loop leaves in one write at its end, so that a busy
 * loop batches and an idle one does not wait. */
#ifndef HARROW_TARGETS_CHANNEL_H
#define HARROW_TARGETS_CHANNEL_H

#include <netinet/in.h>
#include <uv.h>

#include "targets/node/wire.h"

struct channel_hub { /* what the channels of one loop share; a prepare handle flushes them */
    uv_loop_t *loop;
    struct channel *dirty; /* have something to write */
    uv_prepare_t prepare;
    uint32_t open;          /* channels that are not freed yet */
    struct buffer received; /* where all of them read to; none keeps more than an unfinished frame */
    size_t held_bytes;      /* of all channels: unfinished frames, and what waits to be written */
    uint64_t frames_in, frames_out, bytes_in, bytes_out;
};
void channel_hub_init(struct channel_hub *hub, uv_loop_t *loop);
void channel_hub_close(struct channel_hub *hub); /* after all channels are closed; run the loop once more */
/* Writes what waits, now: for a loop that is driven by hand. */
void channel_hub_flush(struct channel_hub *hub);

struct channel_events {
    /* A frame came; payload is valid during the call. The channel may be closed inside. */
    void (*on_frame)(void *ctx, struct channel *c, enum wire_type type, struct bytes payload);
    void (*on_connect)(void *ctx, struct channel *c); /* an outgoing one is established; may be NULL */
    /* It is over (never called for channel_close by the owner): the channel is freed after this call. `sent_all`: every
     * byte given to channel_send was taken by the kernel before. */
    void (*on_close)(void *ctx, struct channel *c, const char *why, bool sent_all);
};

struct channel;
/* Takes over a connected, or with channel_connect makes a connecting, non-blocking stream socket (TCP_NODELAY is set
 * where it applies). out_bytes_max bounds what waits to be written. */
struct channel *channel_open(struct channel_hub *hub, int fd, size_t out_bytes_max, const struct channel_events *ev,
                             void *ctx);
struct channel *channel_connect(struct channel_hub *hub, const struct sockaddr_in *to, size_t out_bytes_max,
                                const struct channel_events *ev, void *ctx,
                                struct error *e); /* NULL: no way there, e says why */
/* False: the queue is full (nothing was queued) or the channel is closing. */
bool channel_send(struct channel *c, enum wire_type type, const struct bytes *parts, size_t parts_count);
int channel_fd(const struct channel *c); /* for socket options; stays the channel's */
bool channel_connected(const struct channel *c);
size_t channel_queued_bytes(const struct channel *c);
size_t channel_held_bytes(const struct channel *c); /* its share of the hub's */
void channel_close(struct channel *c); /* what is queued is lost; no event follows; freed on the loop's next turn */

#endif
