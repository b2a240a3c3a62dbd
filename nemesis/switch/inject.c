/* The last step of a frame: consecutive frames to the same port leave in one system call, through the descriptor of its
 * capture. They are copied, because a slot of libpcap's ring goes back to the kernel before the call. */
#include "nemesis/switch/internal.h"

#include <sys/socket.h>

/* A frame has left, or it could not. */
static void account(struct net_switch *s, uint8_t to, const struct departure *d, struct bytes frame, bool sent) {
    if (!sent) {
        s->inject_failed++;
        return;
    }
    struct link_counters *n = &s->links[d->from][to].counters;
    n->delivered++;
    n->bytes += frame.size;
    s->frames++;
    late_record(s, d->delayed ? &s->delayed : &s->direct, d->due_ns);
    capture_frame(s, to, frame, s->now_ns + s->wall_ahead_ns);
}

/* Sends from the first frame on and returns how many left; 0: that one cannot. */
static uint32_t send_some(const struct port *port, const struct batch *b, uint32_t first) {
    struct iovec parts[BATCH_FRAMES_MAX];
    struct mmsghdr messages[BATCH_FRAMES_MAX];
    uint32_t count = b->count - first;
    for (uint32_t i = 0; i < count; i++) {
        parts[i] = (struct iovec){(void *)(uintptr_t)b->data[first + i], b->departures[first + i].size};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    int sent = port->handle ? sendmmsg(pcap_fileno(port->handle), messages, count, 0) : 0;
    return sent > 0 ? (uint32_t)sent : 0;
}

void inject_flush(struct net_switch *s) {
    struct batch *b = &s->batch;
    for (uint32_t next = 0; next < b->count;) {
        uint32_t sent = send_some(&s->ports[b->to], b, next), done = sent ? sent : 1;
        switch_clock(s);
        for (; done; done--, next++)
            account(s, b->to, &b->departures[next], bytes_of(b->data[next], b->departures[next].size), sent > 0);
    }
    b->count = 0;
}

void inject(struct net_switch *s, uint8_t to, struct bytes frame, struct departure departure) {
    struct batch *b = &s->batch;
    if (b->count && (b->to != to || b->count == BATCH_FRAMES_MAX)) inject_flush(s);
    b->to = to;
    departure.size = (uint32_t)frame.size;
    memcpy(b->data[b->count], frame.data, frame.size);
    b->departures[b->count++] = departure;
}
