/* The map from keys to entries: a table with linear probing over an array of entries. Removal shifts the slots behind
 * back, so there are no tombstones and a table's probes depend on its contents only. */
#include "targets/kv/internal.h"

#include <stdlib.h>

#define SLOTS_COUNT_MIN 64
#define LIST_HASH_EMPTY UINT64_C(0x6c697374)

static uint32_t tag_of(uint64_t key_hash) {
    return (uint32_t)(key_hash >> 32);
}

/* The slot of the key, or the free one where it would go. */
static uint32_t slot_find(const struct kv_table *t, struct bytes key, uint64_t key_hash) {
    uint32_t mask = t->slots_count - 1, tag = tag_of(key_hash), at = (uint32_t)key_hash & mask;
    for (; t->slots[at].entry_plus_one; at = (at + 1) & mask) {
        if (t->slots[at].tag != tag) continue;
        const struct kv_entry *e = &t->entries[t->slots[at].entry_plus_one - 1];
        if (e->key_hash == key_hash && bytes_equal(bytes_of(e->key.data, e->key.size), key)) break;
    }
    return at;
}

uint32_t kv_table_find(const struct kv_table *t, struct bytes key, uint64_t key_hash) {
    if (t->slots_count == 0) return KV_NONE;
    return t->slots[slot_find(t, key, key_hash)].entry_plus_one - 1; /* 0 - 1 is KV_NONE */
}

static void grow_slots(struct kv_table *t) {
    free(t->slots);
    t->slots_count = t->slots_count ? t->slots_count * 2 : SLOTS_COUNT_MIN;
    t->slots = xcalloc(t->slots_count, sizeof *t->slots);
    uint32_t mask = t->slots_count - 1;
    for (uint32_t i = 0; i < t->entries_count; i++) {
        const struct kv_entry *e = &t->entries[i];
        if (!e->in_table) continue;
        uint32_t at = (uint32_t)e->key_hash & mask;
        while (t->slots[at].entry_plus_one) at = (at + 1) & mask;
        t->slots[at] = (struct kv_slot){tag_of(e->key_hash), i + 1};
    }
}

static uint32_t take_entry(struct kv_table *t) {
    if (t->free_count) {
        uint32_t entry = t->free_first;
        t->free_first = t->entries[entry].next_free;
        t->free_count--;
        return entry;
    }
    if (t->entries_count == t->entries_capacity) {
        uint32_t capacity = t->entries_capacity ? t->entries_capacity * 2 : SLOTS_COUNT_MIN / 2;
        t->entries = xrealloc(t->entries, capacity * sizeof *t->entries);
        memset(t->entries + t->entries_capacity, 0, (capacity - t->entries_capacity) * sizeof *t->entries);
        t->entries_capacity = capacity;
    }
    return t->entries_count++;
}

uint32_t kv_table_insert(struct kv_table *t, struct bytes key, uint64_t key_hash) {
    if (2 * (kv_table_count(t) + 1) > t->slots_count) grow_slots(t);
    uint32_t at = slot_find(t, key, key_hash), entry = take_entry(t);
    assert(t->slots[at].entry_plus_one == 0);
    t->slots[at] = (struct kv_slot){tag_of(key_hash), entry + 1};
    struct kv_entry *e = &t->entries[entry];
    e->key.size = 0;
    buffer_append(&e->key, key.data, key.size);
    e->key_hash = key_hash;
    e->content.kind = KV_ABSENT;
    e->content.counter = 0;
    e->content.bytes.size = 0;
    e->in_table = true;
    return entry;
}

void kv_table_erase(struct kv_table *t, uint32_t entry) {
    struct kv_entry *e = &t->entries[entry];
    uint32_t mask = t->slots_count - 1, hole = (uint32_t)e->key_hash & mask;
    while (t->slots[hole].entry_plus_one != entry + 1) hole = (hole + 1) & mask;
    for (uint32_t at = (hole + 1) & mask; t->slots[at].entry_plus_one; at = (at + 1) & mask) {
        uint32_t home = (uint32_t)t->entries[t->slots[at].entry_plus_one - 1].key_hash & mask;
        if (((at - home) & mask) < ((at - hole) & mask)) continue; /* it would move before its home */
        t->slots[hole] = t->slots[at];
        hole = at;
    }
    t->slots[hole] = (struct kv_slot){0};
    e->in_table = false;
    e->next_free = t->free_first;
    t->free_first = entry;
    t->free_count++;
}

void kv_table_clear(struct kv_table *t) {
    if (t->entries_count) memset(t->slots, 0, t->slots_count * sizeof *t->slots);
    for (uint32_t i = 0; i < t->entries_count; i++) t->entries[i].in_table = false;
    t->entries_count = t->free_count = 0;
    t->hash = 0;
}

void kv_table_free(struct kv_table *t) {
    for (uint32_t i = 0; i < t->entries_capacity; i++) {
        buffer_free(&t->entries[i].key);
        buffer_free(&t->entries[i].content.bytes);
    }
    free(t->entries);
    free(t->slots);
    *t = (struct kv_table){0};
}

/* --- contents ----------------------------------------------------------------------------------------------------- */

uint64_t kv_entry_hash(const struct kv_entry *e) {
    if (e->content.kind == KV_ABSENT) return 0;
    return hash_mix(hash_mix(e->key_hash, e->content.value_hash), e->content.revision);
}

struct kv_value kv_content_value(const struct kv_content *c) {
    return (struct kv_value){c->kind, c->counter, bytes_of(c->bytes.data, c->bytes.size)};
}

static uint64_t value_hash(const struct kv_value *v) {
    if (v->kind == KV_COUNTER) return hash_mix(KV_COUNTER, (uint64_t)v->counter);
    if (v->kind == KV_BYTES) return hash_bytes(v->bytes, KV_BYTES);
    uint64_t hash = LIST_HASH_EMPTY, element;
    for (size_t at = 0; at < v->bytes.size; at += sizeof element) {
        memcpy(&element, v->bytes.data + at, sizeof element);
        hash = hash_mix(hash, element);
    }
    return hash;
}

void kv_content_set(struct kv_content *c, const struct kv_value *v) {
    assert(v->kind != KV_ABSENT);
    c->kind = v->kind;
    c->counter = v->counter;
    c->bytes.size = 0;
    buffer_append(&c->bytes, v->bytes.data, v->bytes.size);
    c->value_hash = value_hash(v);
}

void kv_content_push(struct kv_content *c, int64_t element) {
    assert(c->kind == KV_LIST);
    buffer_append(&c->bytes, &element, sizeof element);
    c->value_hash = hash_mix(c->value_hash, (uint64_t)element);
}
