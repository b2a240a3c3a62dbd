/* The search's memory of configurations (Lowe 2017, section 3.2): an append-only store of entries and two
 * open-addressing tables of offsets into it. Entries are compared in full; a hash only says where to look. */
#include "checkers/search_internal.h"

#include <stdlib.h>

#define TABLE_CAPACITY_MIN ((size_t)256)
#define STORE_CAPACITY_MIN ((size_t)1024)
#define GROUP_LOOKS_MAX 64 /* entries of a group that are asked whether they used fewer optional calls */

enum { ENTRY_KEY, ENTRY_NEXT, ENTRY_BITS }; /* words of an entry */

void cache_free(struct cache *k) {
    free(k->store);
    free(k->table);
    free(k->groups);
    *k = (struct cache){0};
}

void cache_start(struct cache *k, uint32_t calls, uint32_t ok_words, const uint32_t *words_at,
                 const uint64_t *field_tops) {
    if (k->table_capacity > 16 * ((size_t)calls + TABLE_CAPACITY_MIN)) cache_free(k);
    if (k->table_capacity == 0) {
        k->table_capacity = TABLE_CAPACITY_MIN;
        k->table = xcalloc(k->table_capacity, sizeof *k->table);
        k->groups = xcalloc(k->table_capacity, sizeof *k->groups);
        k->capacity = STORE_CAPACITY_MIN;
        k->store = xmalloc(k->capacity * sizeof *k->store);
    } else if (k->count) {
        memset(k->table, 0, k->table_capacity * sizeof *k->table);
        memset(k->groups, 0, k->table_capacity * sizeof *k->groups);
    }
    k->count = 0;
    k->size = 1; /* offset 0 means a free place */
    k->ok_words = ok_words;
    k->words_at = words_at;
    k->field_tops = field_tops;
}

uint64_t cache_bytes(const struct cache *k) {
    return k->capacity * sizeof *k->store + 2 * k->table_capacity * sizeof *k->table;
}

static uint32_t words_of(const struct cache *k, const uint64_t *entry) {
    return k->words_at[entry[ENTRY_KEY] >> 32];
}

/* The place of an entry with these bits (all of them, or those of ok calls alone), or the free one where it belongs. */
static size_t place_of(const struct cache *k, const uint32_t *table, const uint64_t *entry, uint32_t words) {
    uint64_t hash = hash_u64(entry[ENTRY_KEY]);
    for (uint32_t i = 0; i < words; i++) hash = hash_mix(hash, entry[ENTRY_BITS + i]);
    size_t place = (size_t)hash & (k->table_capacity - 1);
    for (; table[place]; place = (place + 1) & (k->table_capacity - 1)) {
        const uint64_t *other = k->store + table[place];
        bool same = other[ENTRY_KEY] == entry[ENTRY_KEY];
        if (same && memcmp(other + ENTRY_BITS, entry + ENTRY_BITS, words * sizeof *entry) == 0) break;
    }
    return place;
}

static void enter(struct cache *k, uint32_t at) {
    uint64_t *entry = k->store + at;
    k->table[place_of(k, k->table, entry, words_of(k, entry))] = at;
    if (words_of(k, entry) == k->ok_words) return; /* no optional calls yet: nothing to compare */
    uint32_t *group = &k->groups[place_of(k, k->groups, entry, k->ok_words)];
    entry[ENTRY_NEXT] = *group;
    *group = at;
}

static bool tables_grow(struct cache *k, struct budget *b) {
    if (!budget_claim(b, 2 * k->table_capacity * sizeof *k->table)) return false;
    k->table_capacity *= 2;
    free(k->table);
    free(k->groups);
    k->table = xcalloc(k->table_capacity, sizeof *k->table);
    k->groups = xcalloc(k->table_capacity, sizeof *k->groups);
    for (size_t at = 1; at < k->size; at += ENTRY_BITS + words_of(k, k->store + at)) enter(k, (uint32_t)at);
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

/* Did the one use no more optional calls of any class than the other? The bit on top of a field is lost where a greater
 * count is taken from a smaller one. */
static bool used_no_more(const struct cache *k, const uint64_t *one, const uint64_t *other, uint32_t words) {
    uint64_t lost = 0;
    for (uint32_t i = k->ok_words; i < words; i++) {
        uint64_t tops = k->field_tops ? k->field_tops[i] : 0;
        lost |= k->field_tops ? 0 : one[ENTRY_BITS + i] & ~other[ENTRY_BITS + i];
        lost |= tops & ~((other[ENTRY_BITS + i] | tops) - one[ENTRY_BITS + i]);
    }
    return lost == 0;
}

/* Did a member of the entry's group use no more optional calls than the entry? If not, those that used no fewer leave
 * the group. */
static bool is_dominated(struct cache *k, const uint64_t *entry) {
    uint32_t words = words_of(k, entry), looks = 0;
    if (words == k->ok_words) return false;
    size_t group = place_of(k, k->groups, entry, k->ok_words);
    uint64_t before = 0;
    for (uint64_t at = k->groups[group], next; at && looks < GROUP_LOOKS_MAX; at = next, looks++) {
        uint64_t *other = k->store + at;
        next = other[ENTRY_NEXT];
        if (used_no_more(k, other, entry, words)) return true;
        if (!used_no_more(k, entry, other, words)) {
            before = at;
        } else if (before) {
            k->store[before + ENTRY_NEXT] = next;
        } else if (next) {
            k->groups[group] = (uint32_t)next;
        }
    }
    return false;
}

enum cache_answer cache_insert(struct cache *k, uint32_t first, uint32_t state, const uint64_t *bits,
                               struct budget *b) {
    uint32_t words = k->words_at[first];
    if (k->capacity - k->size < ENTRY_BITS + words && !store_grow(k, ENTRY_BITS + words, b)) return CACHE_FULL;
    if (2 * (k->count + 1) > k->table_capacity && !tables_grow(k, b)) return CACHE_FULL;
    uint64_t *entry = k->store + k->size;
    entry[ENTRY_KEY] = (uint64_t)first << 32 | state;
    memcpy(entry + ENTRY_BITS, bits, words * sizeof *bits);
    if (k->table[place_of(k, k->table, entry, words)] || is_dominated(k, entry)) return CACHE_KNOWN;
    enter(k, (uint32_t)k->size);
    k->size += ENTRY_BITS + words;
    k->count++;
    return CACHE_NEW;
}
