/* The window of slots and the log of their records, both in rings. A payload is contiguous: where it does not fit
 * before the end of the byte ring it starts again at offset 0. */
#include "targets/protocols/slots.h"

enum { RECORD_HEADER_BYTES = 10, WINDOW_SHARE = 2, SLACK = 64, SLACK_SHARE = 16 };

size_t slots_memory(const struct limits *l) {
    return l->log_entries_max / WINDOW_SHARE * sizeof(struct slot) +
           (size_t)l->log_entries_max * sizeof(struct slot_item) + l->log_bytes_max;
}

void slots_init(struct slots *s, const struct limits *l, void *memory) {
    assert((l->log_entries_max & (l->log_entries_max - 1)) == 0 && l->log_entries_max >= WINDOW_SHARE);
    memset(s, 0, sizeof *s);
    s->window = l->log_entries_max / WINDOW_SHARE;
    s->ring = memory;
    memset(s->ring, 0, s->window * sizeof *s->ring);
    s->items = (struct slot_item *)(void *)(s->ring + s->window);
    s->bytes = (uint8_t *)(s->items + l->log_entries_max);
    s->items_mask = l->log_entries_max - 1;
    s->bytes_capacity = l->log_bytes_max;
    s->first = 1;
}

bool slot_record_decode(const struct entry *e, struct slot_record *out) {
    struct reader r = {.data = e->payload.data, .size = e->payload.size};
    out->ballot = e->term;
    out->slot = read_u64(&r);
    out->type = read_u8(&r);
    out->kind = read_u8(&r);
    out->value = bytes_of(r.data + r.offset, r.size - r.offset);
    return e->kind == ENTRY_RECORD && !r.failed && out->type < RECORD_KINDS;
}

static struct slot_item *item_at(const struct slots *s, uint64_t place) {
    assert(place >= s->first && place <= s->last);
    return &s->items[place & s->items_mask];
}

bool slots_in_window(const struct slots *s, uint64_t number) {
    return number > s->base && number - s->base <= s->window;
}

static struct slot *place_of(const struct slots *s, uint64_t number) {
    return &s->ring[number & (s->window - 1)];
}

struct slot *slots_get(const struct slots *s, uint64_t number) {
    if (!slots_in_window(s, number)) return NULL;
    struct slot *slot = place_of(s, number);
    return slot->number == number ? slot : NULL;
}

static struct bytes value_at(const struct slots *s, uint64_t place, uint8_t *kind) {
    const struct slot_item *it = item_at(s, place);
    *kind = it->kind;
    return bytes_of(s->bytes + it->offset + RECORD_HEADER_BYTES, it->size - RECORD_HEADER_BYTES);
}

struct bytes slots_value(const struct slots *s, const struct slot *slot, uint8_t *kind) {
    return value_at(s, slot->place, kind);
}

struct bytes slots_found(const struct slots *s, const struct slot *slot, uint8_t *kind) {
    return value_at(s, slot->found_place, kind);
}

/* Where a payload of this size would go; UINT32_MAX if there is no room. The used bytes run from the first record's
 * offset to bytes_head, around the end when bytes_head is the smaller. */
static uint32_t room_for(const struct slots *s, uint32_t size) {
    if (s->first > s->last) return size <= s->bytes_capacity ? 0 : UINT32_MAX;
    if (s->last + 1 - s->first > s->items_mask) return UINT32_MAX;
    uint32_t tail = item_at(s, s->first)->offset, head = s->bytes_head;
    if (head >= tail) {
        if (size <= s->bytes_capacity - head) return head;
        return size < tail ? 0 : UINT32_MAX;
    }
    return size < tail - head ? head : UINT32_MAX;
}

uint32_t slots_used(const struct slots *s) {
    if (s->first > s->last) return 0;
    uint32_t tail = item_at(s, s->first)->offset, head = s->bytes_head;
    uint64_t bytes = head >= tail ? head - tail : s->bytes_capacity - tail + head;
    uint64_t by_bytes = bytes * 256 / s->bytes_capacity,
             by_items = (s->last + 1 - s->first) * 256 / (s->items_mask + 1);
    return (uint32_t)(by_bytes > by_items ? by_bytes : by_items);
}

/* The place of the new record; 0: no room. The value may lie in the ring itself. */
static uint64_t append(struct slots *s, const struct slot_record *r) {
    uint32_t size = RECORD_HEADER_BYTES + (uint32_t)r->value.size, offset = room_for(s, size);
    if (offset == UINT32_MAX) return 0;
    struct writer w = {.data = s->bytes + offset, .capacity = size};
    write_u64(&w, r->slot);
    write_u8(&w, r->type);
    write_u8(&w, r->kind);
    assert(!w.failed && w.size == RECORD_HEADER_BYTES);
    if (r->value.size) memcpy(w.data + RECORD_HEADER_BYTES, r->value.data, r->value.size);
    s->last++;
    *item_at(s, s->last) = (struct slot_item){r->slot, r->ballot, offset, size, r->type, r->kind};
    s->bytes_head = offset + size;
    return s->last;
}

static void write_last(const struct slots *s, struct effects *fx) {
    const struct slot_item *it = item_at(s, s->last);
    struct effect *e = effect_add(fx, EFFECT_APPEND);
    e->index = s->last;
    e->term = it->ballot;
    e->entry_kind = ENTRY_RECORD;
    e->bytes = bytes_of(s->bytes + it->offset, it->size);
    e->written = ++fx->written;
}

static struct slot *open_slot(struct slots *s, uint64_t number) {
    struct slot *slot = place_of(s, number);
    if (slot->number != number) *slot = (struct slot){.number = number};
    return slot;
}

static void set_accepted(struct slots *s, struct slot *slot, uint64_t ballot, uint64_t place) {
    slot->ballot = ballot;
    slot->place = place;
    slot->acks = 0;
    if (slot->number > s->top) s->top = slot->number;
}

static struct slot *take_value(struct slots *s, const struct slot_record *r, struct effects *fx) {
    uint64_t place = slots_in_window(s, r->slot) ? append(s, r) : 0;
    if (place == 0) return NULL;
    struct slot *slot = open_slot(s, r->slot);
    set_accepted(s, slot, r->ballot, place);
    write_last(s, fx);
    slot->written = fx->written;
    return slot;
}

struct slot *slots_accept(struct slots *s, uint64_t number, uint64_t ballot, uint8_t kind, struct bytes value,
                          struct effects *fx) {
    return take_value(s, &(struct slot_record){number, ballot, RECORD_ACCEPTED, kind, value}, fx);
}

struct slot *slots_choose(struct slots *s, uint64_t number, uint8_t kind, struct bytes value, struct effects *fx) {
    return take_value(s, &(struct slot_record){number, BALLOT_CHOSEN, RECORD_CHOSEN, kind, value}, fx);
}

struct slot *slots_promise(struct slots *s, uint64_t number, uint64_t ballot, struct effects *fx) {
    struct slot_record r = {.slot = number, .ballot = ballot, .type = RECORD_PROMISED};
    uint64_t place = slots_in_window(s, number) ? append(s, &r) : 0;
    if (place == 0) return NULL;
    struct slot *slot = open_slot(s, number);
    slot->promised = ballot;
    slot->promised_place = place;
    write_last(s, fx);
    return slot;
}

struct slot *slots_note(struct slots *s, uint64_t number, uint64_t ballot, uint64_t sought_for, uint8_t kind,
                        struct bytes value, struct effects *fx) {
    struct slot_record r = {number, ballot, RECORD_FOUND, kind, value};
    uint64_t place = slots_in_window(s, number) ? append(s, &r) : 0;
    if (place == 0) return NULL;
    struct slot *slot = open_slot(s, number);
    slot->found_place = place;
    slot->found_ballot = ballot;
    slot->found_for = sought_for;
    write_last(s, fx);
    return slot;
}

static void recover_record(struct slots *s, const struct slot_record *r, uint64_t place) {
    if (!slots_in_window(s, r->slot) || r->type == RECORD_FOUND) return;
    struct slot *slot = open_slot(s, r->slot);
    if (r->type == RECORD_PROMISED) {
        slot->promised = r->ballot;
        slot->promised_place = place;
    } else {
        set_accepted(s, slot, r->ballot, place);
    }
}

uint64_t slots_recover(struct slots *s, const struct durable *d) {
    uint64_t highest = 0;
    s->base = s->top = d->snapshot_index;
    for (size_t i = 0; i < d->entries_count; i++) {
        const struct entry *e = &d->entries[i];
        struct slot_record r;
        bool good = slot_record_decode(e, &r);
        assert(good);
        (void)good;
        if (i == 0) s->last = e->index - 1, s->first = e->index;
        assert(e->index == s->last + 1);
        uint64_t place = append(s, &r);
        assert(place);
        recover_record(s, &r, place);
        if (r.ballot > highest) highest = r.ballot;
    }
    return highest;
}

/* A record that still counts once `base` is the base. */
static bool lives(const struct slots *s, uint64_t place, uint64_t base) {
    const struct slot_item *it = item_at(s, place);
    const struct slot *slot = slots_get(s, it->slot);
    if (it->slot <= base || !slot) return false;
    return slot->place == place || slot->promised_place == place || slot->found_place == place;
}

/* One record anew; its slot refers to the new place. */
static bool copy_record(struct slots *s, uint64_t place, struct effects *fx) {
    const struct slot_item it = *item_at(s, place);
    struct slot_record r = {.slot = it.slot, .ballot = it.ballot, .type = it.type};
    r.value = value_at(s, place, &r.kind);
    uint64_t now = append(s, &r);
    if (now == 0) return false;
    write_last(s, fx);
    struct slot *slot = slots_get(s, it.slot);
    if (slot->place == place) slot->place = now;
    if (slot->promised_place == place) slot->promised_place = now;
    if (slot->found_place == place) slot->found_place = now;
    return true;
}

uint64_t slots_keep_from(struct slots *s, uint64_t base, struct effects *fx) {
    uint64_t living = 0, end = s->last, from = s->first;
    size_t kept_bytes = 0, living_bytes = 0;
    for (uint64_t i = s->first; i <= end; i++) {
        bool alive = lives(s, i, base);
        living += alive;
        kept_bytes += item_at(s, i)->size;
        living_bytes += alive ? item_at(s, i)->size : 0;
    }
    for (; from < end; from++) { /* the last place stays, so that a restart knows where the log goes on */
        if (!lives(s, from, base)) {
            kept_bytes -= item_at(s, from)->size;
            continue;
        }
        bool few = s->last + 1 - from <= 2 * living + SLACK;
        bool small = kept_bytes <= 2 * living_bytes + s->bytes_capacity / SLACK_SHARE;
        if ((few && small) || !copy_record(s, from, fx)) break;
    }
    return from;
}

void slots_rebase(struct slots *s, uint64_t base, uint64_t keep_from) {
    if (base > s->base) {
        for (uint64_t n = s->base + 1; n <= base && n - s->base <= s->window; n++)
            if (place_of(s, n)->number == n) place_of(s, n)->number = 0;
        s->base = base;
        if (s->top < base) s->top = base;
    }
    while (s->first < keep_from && s->first <= s->last) s->first++;
}
