/* Hashing of byte strings (XXH3) and the map from words to words: open addressing with linear probing, at most
 * three quarters full, no removal. */
#include "base/base.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define MAP64_CAPACITY_MIN ((size_t)16)

uint64_t hash_bytes(struct bytes b, uint64_t seed) {
    return XXH3_64bits_withSeed(b.data ? (const void *)b.data : "", b.size, seed);
}

/* The slot that holds the key, or the free one where it belongs. */
static size_t map64_find(const struct map64 *m, uint64_t key) {
    size_t mask = m->capacity - 1, at = (size_t)hash_u64(key) & mask;
    while (m->used[at] && m->keys[at] != key) at = (at + 1) & mask;
    return at;
}

uint64_t *map64_get(const struct map64 *m, uint64_t key) {
    if (m->count == 0) return NULL;
    size_t at = map64_find(m, key);
    return m->used[at] ? &m->values[at] : NULL;
}

static void map64_grow(struct map64 *m) {
    struct map64 old = *m;
    m->capacity = old.capacity ? old.capacity * 2 : MAP64_CAPACITY_MIN;
    m->keys = xmalloc(m->capacity * sizeof *m->keys);
    m->values = xmalloc(m->capacity * sizeof *m->values);
    m->used = xcalloc(m->capacity, sizeof *m->used);
    for (size_t i = 0; i < old.capacity; i++) {
        if (!old.used[i]) continue;
        size_t at = map64_find(m, old.keys[i]);
        m->used[at] = 1;
        m->keys[at] = old.keys[i];
        m->values[at] = old.values[i];
    }
    free(old.keys);
    free(old.values);
    free(old.used);
}

uint64_t *map64_put(struct map64 *m, uint64_t key, bool *inserted) {
    if (4 * (m->count + 1) > 3 * m->capacity) map64_grow(m);
    size_t at = map64_find(m, key);
    bool fresh = !m->used[at];
    if (fresh) {
        m->used[at] = 1;
        m->keys[at] = key;
        m->values[at] = 0;
        m->count++;
    }
    if (inserted) *inserted = fresh;
    return &m->values[at];
}

uint64_t map64_bytes(const struct map64 *m, uint64_t more) {
    const uint64_t slot_bytes = sizeof *m->keys + sizeof *m->values + sizeof *m->used;
    uint64_t capacity = m->capacity ? m->capacity : MAP64_CAPACITY_MIN;
    while (4 * (m->count + more) > 3 * capacity) capacity *= 2;
    return slot_bytes * (capacity == m->capacity ? capacity : capacity + capacity / 2);
}

void map64_clear(struct map64 *m) {
    if (m->count) memset(m->used, 0, m->capacity);
    m->count = 0;
}

void map64_free(struct map64 *m) {
    free(m->keys);
    free(m->values);
    free(m->used);
    *m = (struct map64){0};
}
