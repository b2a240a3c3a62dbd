/* Frames changed in flight: one bit is flipped. The checksum is repaired by the difference that the bit makes (RFC
 * 1624), so that a frame which was broken before stays broken. The IPv4 header is never touched, so its own checksum
 * stays right. */
#include "nemesis/switch/internal.h"

#include <netinet/in.h>

#define ETHERNET_BYTES 14u

struct segment { /* what IPv4 carries, by offsets into the frame */
    size_t start, payload, end;
    size_t checksum; /* 0: none is known */
    bool udp;
};

static size_t get_u16(const uint8_t *at) {
    return (size_t)at[0] << 8 | at[1];
}

/* Finds the segment of an unfragmented IPv4 frame. */
static bool segment_find(const uint8_t *frame, size_t size, struct segment *g) {
    if (size < ETHERNET_BYTES + 20 || get_u16(frame + 12) != 0x0800) return false;
    const uint8_t *ip = frame + ETHERNET_BYTES;
    size_t header = (ip[0] & 15u) * 4u, total = get_u16(ip + 2);
    bool fragment = get_u16(ip + 6) & 0x3fff;
    if (header < 20 || total < header || total > size - ETHERNET_BYTES || fragment) return false;
    *g = (struct segment){.start = ETHERNET_BYTES + header, .end = ETHERNET_BYTES + total};
    size_t bytes = g->end - g->start;
    g->payload = g->start;
    if (ip[9] == IPPROTO_TCP && bytes >= 20) {
        size_t tcp_header = (size_t)(frame[g->start + 12] >> 4) * 4;
        if (tcp_header < 20 || tcp_header > bytes) return false;
        g->payload = g->start + tcp_header;
        g->checksum = g->start + 16;
    } else if (ip[9] == IPPROTO_UDP && bytes >= 8) {
        g->payload = g->start + 8;
        g->checksum = g->start + 6;
        g->udp = true;
    }
    return true;
}

/* Returns which byte was changed, and in *flipped how. */
static size_t flip(uint8_t *frame, size_t start, size_t end, struct prng *p, uint8_t *flipped) {
    uint64_t bit = prng_below(p, (uint64_t)(end - start) * 8);
    *flipped = (uint8_t)(1u << (bit % 8));
    frame[start + bit / 8] ^= *flipped;
    return start + bit / 8;
}

bool alter_corrupt(uint8_t *frame, size_t size, struct prng *p) {
    struct segment g;
    if (!segment_find(frame, size, &g) || !g.checksum || g.payload == g.end) return false;
    uint8_t flipped;
    size_t at = flip(frame, g.payload, g.end, p, &flipped);
    size_t sum = get_u16(frame + g.checksum);
    if (g.udp && sum == 0) return true; /* sent without a checksum */
    unsigned shift = (at - g.start) % 2 ? 0 : 8;
    size_t old_word = (size_t)(frame[at] ^ flipped) << shift, new_word = (size_t)frame[at] << shift;
    sum = (~sum & 0xffff) + (~old_word & 0xffff) + new_word;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = ~sum & 0xffff;
    if (g.udp && sum == 0) sum = 0xffff;
    frame[g.checksum] = (uint8_t)(sum >> 8);
    frame[g.checksum + 1] = (uint8_t)sum;
    return true;
}

bool alter_damage(uint8_t *frame, size_t size, struct prng *p) {
    struct segment g;
    if (!segment_find(frame, size, &g) || g.start == g.end) return false;
    if (g.udp && (g.payload == g.end || get_u16(frame + g.checksum) == 0)) return false;
    uint8_t flipped;
    flip(frame, g.payload < g.end ? g.payload : g.start, g.end, p, &flipped);
    return true;
}
