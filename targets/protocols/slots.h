/* slots: what protocols of the Paxos family keep that agree on one value per slot of a sequence: for each slot what was
 * promised and accepted, over a redo log whose records are durable entries (ENTRY_RECORD, protocol.h). Slots are
 * accepted in any order, so the log's places and the slots have numbers of their own; the last record about a slot
 * counts.
 *
 * The memory is bounded: a window of slots above the base, and a ring of records. What falls below the base is in a
 * snapshot. */
#ifndef HARROW_TARGETS_SLOTS_H
#define HARROW_TARGETS_SLOTS_H

#include "targets/protocols/protocol.h"

enum record_type {
    RECORD_ACCEPTED, /* the slot's value at a ballot */
    RECORD_PROMISED, /* of one slot, without a value */
    RECORD_FOUND,    /* a value that another acceptor told of; means nothing after a restart */
    RECORD_CHOSEN,   /* a value that is chosen, whatever was accepted here */
    RECORD_KINDS
};

#define BALLOT_CHOSEN (UINT64_MAX >> 2) /* above all that are proposed: of a chosen record */

/* A record as an entry: term is the ballot, the payload the slot, type, kind and value. */
struct slot_record {
    uint64_t slot, ballot;
    uint8_t type, kind; /* kind: of the value, enum entry_kind */
    struct bytes value;
};
bool slot_record_decode(const struct entry *e, struct slot_record *out);

struct slot_item { /* a record in memory, by its place */
    uint64_t slot, ballot;
    uint32_t offset, size; /* of the payload */
    uint8_t type, kind;
};
struct slot {
    uint64_t number;                             /* 0: nothing known */
    uint64_t ballot;                             /* accepted at; 0: nothing accepted */
    uint64_t promised;                           /* of this slot alone */
    uint64_t token;                              /* of the request that waits for it; 0: none */
    uint64_t written;                            /* write number of the accepted record */
    uint64_t place, promised_place, found_place; /* of the last record; 0: none */
    uint64_t found_ballot, found_for;            /* the found value's, and for which ballot it was sought */
    uint32_t acks;                               /* mask of replicas that accepted at `ballot` */
};
struct slots {
    struct slot *ring;
    uint32_t window; /* a power of two */
    uint64_t base;   /* this slot and those before are only in the snapshot */
    uint64_t top;    /* the highest slot with a value; base if there is none */

    struct slot_item *items;
    uint8_t *bytes;
    uint32_t items_mask, bytes_capacity, bytes_head;
    uint64_t first, last; /* places in memory; first is last + 1 when empty */
};

size_t slots_memory(const struct limits *l);
void slots_init(struct slots *s, const struct limits *l, void *memory);
/* Takes over what a restart found: all of `d` that is above the snapshot. Returns the highest ballot of all records. */
uint64_t slots_recover(struct slots *s, const struct durable *d);

bool slots_in_window(const struct slots *s, uint64_t number);
/* What is known of a slot of the window. NULL: nothing, or it is not of the window. */
struct slot *slots_get(const struct slots *s, uint64_t number);
/* The accepted value, and that of a found record; the slot must have one. Valid until the next step. */
struct bytes slots_value(const struct slots *s, const struct slot *slot, uint8_t *kind);
struct bytes slots_found(const struct slots *s, const struct slot *slot, uint8_t *kind);

/* Each appends a record and returns its slot; NULL if it is outside of the window or the log has no room. */
struct slot *slots_accept(struct slots *s, uint64_t number, uint64_t ballot, uint8_t kind, struct bytes value,
                          struct effects *fx);
struct slot *slots_promise(struct slots *s, uint64_t number, uint64_t ballot, struct effects *fx);
struct slot *slots_choose(struct slots *s, uint64_t number, uint8_t kind, struct bytes value, struct effects *fx);
struct slot *slots_note(struct slots *s, uint64_t number, uint64_t ballot, uint64_t sought_for, uint8_t kind,
                        struct bytes value, struct effects *fx);

/* Shares of the log: of its bytes and places, in 1/256, whichever is more. */
uint32_t slots_used(const struct slots *s);
/* What is above goes to the next slot that is wanted, and to live records that are written anew. */
#define SLOTS_RESERVED_FROM 192
/* Before a snapshot that makes `base` the base: where the log has to be kept from. Live records before that are
 * appended anew. */
uint64_t slots_keep_from(struct slots *s, uint64_t base, struct effects *fx);
/* The snapshot is there: forgets slots up to base, and records before keep_from. */
void slots_rebase(struct slots *s, uint64_t base, uint64_t keep_from);

#endif
