/* The in-memory log: what has not been compacted yet. Two rings, one of entries and one of their payloads. A payload is
 * contiguous: where it does not fit before the end of the byte ring it starts again at offset 0. */
#include "targets/protocols/raft/raft_internal.h"

size_t log_memory(const struct limits *l) {
    return (size_t)l->log_entries_max * sizeof(struct log_item) + l->log_bytes_max;
}

void log_init(struct raft_log *log, const struct limits *l, void *memory) {
    assert((l->log_entries_max & (l->log_entries_max - 1)) == 0);
    log->items = memory;
    log->bytes = (uint8_t *)memory + (size_t)l->log_entries_max * sizeof(struct log_item);
    log->items_mask = l->log_entries_max - 1;
    log->bytes_capacity = l->log_bytes_max;
    log_reset(log, 0, 0);
}

void log_reset(struct raft_log *log, uint64_t index, uint64_t term) {
    log->first = index + 1;
    log->last = index;
    log->base_index = index;
    log->base_term = term;
    log->bytes_head = 0;
}

struct log_item *log_item(const struct raft_log *log, uint64_t index) {
    assert(index >= log->first && index <= log->last);
    return &log->items[index & log->items_mask];
}

uint64_t log_term(const struct raft_log *log, uint64_t index) {
    if (index == log->base_index) return log->base_term;
    if (index < log->first || index > log->last) return 0;
    return log_item(log, index)->term;
}

uint64_t log_last_term(const struct raft_log *log) {
    return log_term(log, log->last);
}

struct bytes log_payload(const struct raft_log *log, uint64_t index) {
    const struct log_item *it = log_item(log, index);
    return bytes_of(log->bytes + it->offset, it->size);
}

/* Where a payload of this size would go; UINT32_MAX if there is no room. The used bytes run from the first entry's
 * offset to bytes_head, around the end when bytes_head is the smaller. */
static uint32_t place(const struct raft_log *log, uint32_t size) {
    if (log->first > log->last) return size <= log->bytes_capacity ? 0 : UINT32_MAX;
    uint32_t tail = log_item(log, log->first)->offset, head = log->bytes_head;
    if (head >= tail) {
        if (size <= log->bytes_capacity - head) return head;
        return size < tail ? 0 : UINT32_MAX;
    }
    return size < tail - head ? head : UINT32_MAX;
}

uint64_t log_bytes_from(const struct raft_log *log, uint64_t index) {
    if (index > log->last) return 0;
    uint32_t from = log_item(log, index)->offset, head = log->bytes_head;
    return head >= from ? head - from : log->bytes_capacity - from + head;
}

bool log_has_room(const struct raft_log *log, uint32_t size) {
    return log->last + 1 - log->first <= log->items_mask && place(log, size) != UINT32_MAX;
}

bool log_append(struct raft_log *log, uint64_t term, uint8_t kind, uint64_t token, struct bytes payload) {
    if (!log_has_room(log, (uint32_t)payload.size)) return false;
    uint32_t offset = place(log, (uint32_t)payload.size);
    log->last++;
    *log_item(log, log->last) =
        (struct log_item){.term = term, .token = token, .offset = offset, .size = (uint32_t)payload.size, .kind = kind};
    if (payload.size) memcpy(log->bytes + offset, payload.data, payload.size);
    log->bytes_head = offset + (uint32_t)payload.size;
    return true;
}

void log_cut(struct raft_log *log, uint64_t index) {
    assert(index >= log->first && index <= log->last);
    log->bytes_head = log_item(log, index)->offset;
    log->last = index - 1;
}

void log_compact(struct raft_log *log, uint64_t index) {
    if (index < log->first) return;
    assert(index <= log->last);
    log->base_term = log_term(log, index);
    log->base_index = index;
    log->first = index + 1;
}

uint64_t log_meeting_point(const struct raft_log *log, uint64_t from, uint64_t term) {
    uint64_t index = from < log->last ? from : log->last;
    while (index > log->base_index && log_term(log, index) > term) index--;
    /* Even the base may be too new; what precedes it is in the snapshot only. */
    return index > 0 && index == log->base_index && log->base_term > term ? index - 1 : index;
}
