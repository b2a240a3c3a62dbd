/* The wire protocol of the bundled store: frames over TCP, between nodes, from clients to nodes, and from a node to
 * whoever started it. Little-endian. A frame is a header of 16 bytes and a payload:
 *
 *     u32 magic "hrw1"   u8 type   u24 header check   u32 payload size   u32 checksum
 *
 * The header check is the low 24 bits of hash_u64(size << 8 | type); the checksum is the low half of the payload's
 * XXH3, seeded with the same hash. A frame that is too large, of another version or fails a check ends the connection:
 * TCP's own checksum does not survive a switch that repairs it. The first frame on every connection is a HELLO. */
#ifndef HARROW_TARGETS_WIRE_H
#define HARROW_TARGETS_WIRE_H

#include "base/base.h"

#define WIRE_MAGIC UINT32_C(0x31777268)
#define WIRE_HEADER_BYTES 16
#define WIRE_PAYLOAD_MAX (2u << 20)
#define WIRE_PEER_PORT 7400
#define WIRE_CLIENT_PORT 7401
#define WIRE_METRICS_PORT 7402

enum wire_type {
    WIRE_HELLO = 1, /* u64 cluster, u8 from (a node, or WIRE_CLIENT), u8 to; from a node then its protocol's name */
    WIRE_MESSAGE,   /* a protocol's message, whole */
    WIRE_REQUEST,   /* u64 token, then an encoded kv_command. Many may be outstanding; answers come in any order. */
    WIRE_REPLY,     /* u64 token, u8 status (enum status), u8 leader hint, u64 index, then an encoded kv_result */
    WIRE_STATUS,    /* struct wire_status: the answer to ASK, and unasked on a control connection */
    WIRE_ASK,       /* nothing: asks for a STATUS */
    WIRE_TRANSFER,  /* u8 to: please hand the leadership over (clients and control) */
    WIRE_TYPES,
};
#define WIRE_CLIENT UINT8_MAX

struct wire_status { /* encoded in this order */
    uint8_t node, role, leader;
    uint8_t serving; /* 0: it stopped acknowledging, `reason` says why */
    uint64_t term, commit_index, applied_index, last_index, state_hash;
    uint64_t fast_commits, slow_commits; /* as in struct probe */
    char reason[120];
};

/* Appends a frame of the concatenated parts. */
void wire_append(struct buffer *out, enum wire_type type, const struct bytes *parts, size_t parts_count);
/* Looks for a frame at the start of data: its whole size with *type and *payload (pointing into data) set; 0: not all
 * there yet; -1: not a frame (why says what is wrong). */
int64_t wire_parse(struct bytes data, enum wire_type *type, struct bytes *payload, const char **why);

/* How many bytes data, the beginning of a frame, surely lacks to be one: first of the header, then of the payload.
 * 0: it is whole, or no frame. */
size_t wire_missing(struct bytes data);

void wire_status_append(struct buffer *out, const struct wire_status *s); /* a whole frame */
bool wire_status_decode(struct bytes payload, struct wire_status *s);

#endif
