/* The search's memory of configurations (Lowe 2017, section 3.2): an append-only store of entries and an open-addressing
 * table of offsets into it. Entries are compared in full; a hash only says where to look. */
#include "checkers/search_internal.h"

#include <stdlib.h>

#define TABLE_CAPACITY_MIN ((size_t)256)
#define STORE_CAPACITY_MIN ((size_t)1024)

void cache_free(struct cache *k) {
    free(k->store);
    free(k->table);
    *k = (struct cache){0};
}

void cache_start(struct cache *k, uint32_t calls) {
    if (k->table_capacity > 16 * ((size_t)calls + TABLE_CAPACITY_MIN)) cache_free(k);
    if (k->table_capacity == 0) {
        k->table_capacity = TABLE_CAPACITY_MIN;
        k->table = xcalloc(k->table_capacity, sizeof *k->table);
        k->capacity = STORE_CAPACITY_MIN;
        k->store = xmalloc(k->capacity * sizeof *k->store);
    } else if (k->count) {
        memset(k->table, 0, k->table_capacity * sizeof *k->table);
    }
    k->count = 0;
    k->size = 1; /* offset 0 means a free place */
}

uint64_t cache_bytes(const struct cache *k) {
    return k->capacity * sizeof *k->store + k->table_capacity * sizeof *k->table;
}

static size_t place_of(const struct cache *k, const uint64_t *entry, uint32_t words) {
    uint64_t hash = 0;
    for (uint32_t i = 0; i < words; i++) hash = hash_mix(hash, entry[i]);
    return (size_t)hash & (k->table_capacity - 1);
}

static bool table_grow(struct cache *k, const uint32_t *words_at, struct budget *b) {
    if (!budget_claim(b, k->table_capacity * sizeof *k->table)) return false;
    k->table_capacity *= 2;
    free(k->table);
    k->table = xcalloc(k->table_capacity, sizeof *k->table);
    for (size_t at = 1; at < k->size;) {
        uint32_t words = 1 + words_at[k->store[at] >> 32];
        size_t place = place_of(k, k->store + at, words);
        while (k->table[place]) place = (place + 1) & (k->table_capacity - 1);
        k->table[place] = (uint32_t)at;
        at += words;
    }
    return true;
}

static bool store_grow(struct cache *k, size_t more, struct budget *b) {
    size_t wanted = k->capacity * 2 > k->size + more ? k->capacity * 2 : k->size + more;
    if (wanted > UINT32_MAX || !budget_claim(b, (wanted - k->capacity) * sizeof *k->store)) {
        b->state = b->state == BUDGET_LEFT ? BUDGET_MEMORY_SPENT : b->state;
        return false;
    }
    k->store = xrealloc(k->store, wanted * sizeof *k->store);
    k->capacity = wanted;
    return true;
}

enum cache_answer cache_insert(struct cache *k, uint32_t first, uint32_t state, const uint64_t *bits,
                               const uint32_t *words_at, struct budget *b) {
    uint32_t words = 1 + words_at[first];
    if (k->capacity - k->size < words && !store_grow(k, words, b)) return CACHE_FULL;
    if (2 * (k->count + 1) > k->table_capacity && !table_grow(k, words_at, b)) return CACHE_FULL;
    uint64_t *entry = k->store + k->size;
    entry[0] = (uint64_t)first << 32 | state;
    memcpy(entry + 1, bits, (words - 1) * sizeof *bits);
    size_t place = place_of(k, entry, words);
    for (; k->table[place]; place = (place + 1) & (k->table_capacity - 1)) {
        const uint64_t *other = k->store + k->table[place];
        if (other[0] == entry[0] && memcmp(other, entry, words * sizeof *entry) == 0) return CACHE_KNOWN;
    }
    k->table[place] = (uint32_t)k->size;
    k->size += words;
    k->count++;
    return CACHE_NEW;
}
