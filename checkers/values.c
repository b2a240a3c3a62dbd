/* Interning of values: within one partition equal values have equal ids, compared exactly and never by hash alone.
 * A list is the id of the list without its last element, and that element; so an append to a list is one look-up, and
 * all prefixes of a list are there with it. */
#include "checkers/internal.h"

#include <stdlib.h>

static uint32_t values_add(struct values *v, struct value_entry entry) {
    if (v->count == v->capacity) {
        v->capacity = v->capacity ? v->capacity * 2 : 64;
        v->entries = xrealloc(v->entries, v->capacity * sizeof *v->entries);
    }
    assert(v->count < VALUE_ID_MAX);
    v->entries[v->count] = entry;
    return v->count++;
}

/* Each growth would copy; and memory that is not needed is never touched. */
void values_reserve(struct values *v, uint32_t count) {
    if (v->capacity >= count) return;
    struct value_entry *entries = xmalloc_large(count * sizeof *entries);
    if (v->count) memcpy(entries, v->entries, v->count * sizeof *entries);
    free(v->entries);
    v->entries = entries;
    v->capacity = count;
}

void values_clear(struct values *v) {
    v->count = 0;
    if (v->dense_size) memset(v->dense, 0, v->dense_size * sizeof *v->dense);
    v->dense_size = 0;
    v->recent.size = 0;
    map64_clear(&v->integers);
    map64_clear(&v->strings);
    map64_clear(&v->lists);
    values_add(v, (struct value_entry){.kind = VALUE_NIL});
    values_add(v, (struct value_entry){.kind = VALUE_LIST, .prefix = VALUE_ID_EMPTY, .last = VALUE_ID_EMPTY});
}

void values_free(struct values *v) {
    free(v->entries);
    free(v->dense);
    free(v->recent.ids);
    map64_free(&v->integers);
    map64_free(&v->strings);
    map64_free(&v->lists);
    *v = (struct values){0};
}

uint32_t values_copy(struct values *v, uint32_t id) {
    return values_add(v, v->entries[id]);
}

uint32_t values_list_apart(struct values *v, uint32_t prefix, uint32_t last) {
    return values_add(v, (struct value_entry){.kind = VALUE_LIST, .prefix = prefix, .last = last});
}

void values_truncate(struct values *v, uint32_t count) {
    assert(count <= v->count);
    v->count = count;
}

static uint32_t intern(struct values *v, struct map64 *map, uint64_t key, struct value_entry entry) {
    bool inserted = false;
    uint64_t *id = map64_put(map, key, &inserted);
    if (inserted) *id = values_add(v, entry);
    return (uint32_t)*id;
}

/* Integers in a narrow range have a table of their own: it may have so many places per value, and some to begin
 * with. */
#define DENSE_PLACES_PER_VALUE 8u
#define DENSE_PLACES_FIRST 1024u

/* Makes the table reach up to the integer, if it is worth it. It begins at the first integer that there was, less a
 * few. */
static bool dense_reach(struct values *v, int64_t integer) {
    if (v->dense_size == 0) v->dense_first = (uint64_t)integer - DENSE_PLACES_FIRST / 2;
    uint64_t at = (uint64_t)integer - v->dense_first;
    if (at >= DENSE_PLACES_PER_VALUE * (uint64_t)v->count + DENSE_PLACES_FIRST) return false;
    size_t size = v->dense_size ? 2 * v->dense_size : DENSE_PLACES_FIRST;
    while (size <= at) size *= 2;
    if (size > v->dense_capacity) {
        v->dense = xrealloc(v->dense, size * sizeof *v->dense);
        v->dense_capacity = size;
    }
    memset(v->dense + v->dense_size, 0, (size - v->dense_size) * sizeof *v->dense);
    v->dense_size = size;
    return true;
}

uint32_t values_integer(struct values *v, int64_t integer) {
    uint64_t at = (uint64_t)integer - v->dense_first;
    if (at < v->dense_size && v->dense[at]) return v->dense[at];
    struct value_entry entry = {.kind = VALUE_INT, .integer = integer};
    if (at < v->dense_size || v->integers.count) {
        const uint64_t *id = map64_get(&v->integers, (uint64_t)integer); /* there since before the table reached it */
        if (id) return (uint32_t)*id;
    }
    if (at >= v->dense_size && !dense_reach(v, integer)) return intern(v, &v->integers, (uint64_t)integer, entry);
    return v->dense[(uint64_t)integer - v->dense_first] = values_add(v, entry);
}

static uint64_t list_key(uint32_t prefix, uint32_t last) {
    return (uint64_t)prefix << 32 | last;
}

uint32_t values_append(struct values *v, uint32_t prefix, uint32_t last) {
    assert(v->entries[prefix].kind == VALUE_LIST);
    return intern(v, &v->lists, list_key(prefix, last),
                  (struct value_entry){.kind = VALUE_LIST, .prefix = prefix, .last = last});
}

uint32_t values_find_append(const struct values *v, uint32_t prefix, uint32_t last) {
    const uint64_t *id = map64_get(&v->lists, list_key(prefix, last));
    return id ? (uint32_t)*id : NONE;
}

static uint32_t intern_plain(struct values *v, const struct history *h, struct value x) {
    switch ((enum value_kind)x.kind) {
    case VALUE_NIL: return VALUE_ID_NIL;
    case VALUE_INT: return values_integer(v, x.integer);
    case VALUE_STRING:
        return intern(v, &v->strings, x.string, (struct value_entry){.kind = VALUE_STRING, .string = x.string});
    case VALUE_LIST: break;
    }
    uint32_t list = VALUE_ID_EMPTY;
    for (uint32_t i = 0; i < x.size; i++) list = values_append(v, list, intern_plain(v, h, h->pool[x.first + i]));
    return list;
}

static bool same_scalar(const struct value *a, const struct value *b) {
    if (a->kind != b->kind) return false;
    return a->kind == VALUE_INT ? a->integer == b->integer : a->kind == VALUE_STRING && a->string == b->string;
}

/* Lists that grow are read again and again: what a list has in common with the one before is compared, not looked
 * up. */
static uint32_t intern_list(struct values *v, const struct history *h, struct value x) {
    if (x.size == 0) return VALUE_ID_EMPTY;
    struct recent_list *r = &v->recent;
    const struct value *elements = h->pool + x.first, *before = h->pool + r->first;
    uint32_t same = 0, most = x.size < r->size ? x.size : r->size;
    while (same < most && same_scalar(&elements[same], &before[same])) same++;
    uint32_t list = same ? r->ids[same - 1] : VALUE_ID_EMPTY;
    if (same == x.size) return list;
    if (r->capacity < x.size) {
        r->capacity = 2 * x.size;
        r->ids = xrealloc(r->ids, r->capacity * sizeof *r->ids);
    }
    for (; same < x.size; same++) r->ids[same] = list = values_append(v, list, intern_plain(v, h, elements[same]));
    r->first = x.first;
    r->size = x.size;
    return list;
}

uint32_t values_intern(struct values *v, const struct history *h, struct value x) {
    return x.kind == VALUE_LIST ? intern_list(v, h, x) : intern_plain(v, h, x);
}

uint64_t values_in(const struct history *h, struct value x) {
    if (x.kind != VALUE_LIST) return 1;
    uint64_t count = 1 + 2 * (uint64_t)x.size;
    for (uint32_t i = 0; i < x.size; i++)
        if (h->pool[x.first + i].kind == VALUE_LIST) count += values_in(h, h->pool[x.first + i]) - 1;
    return count;
}

uint64_t values_bytes(const struct values *v) {
    uint64_t slots = v->integers.capacity + v->strings.capacity + v->lists.capacity;
    return v->capacity * sizeof *v->entries + v->dense_capacity * sizeof *v->dense +
           v->recent.capacity * sizeof *v->recent.ids + slots * (2 * sizeof(uint64_t) + 1);
}

uint64_t values_bytes_with(const struct values *v, uint64_t more) {
    uint64_t entries = v->count + more > v->capacity ? 2 * (v->count + more) : v->capacity;
    uint64_t places = DENSE_PLACES_PER_VALUE * (v->count + more) + DENSE_PLACES_FIRST;
    uint64_t dense = places <= v->dense_size ? v->dense_capacity : 2 * places;
    uint64_t ids = more > v->recent.capacity ? 2 * more : v->recent.capacity;
    return entries * sizeof *v->entries + dense * sizeof *v->dense + ids * sizeof *v->recent.ids +
           map64_bytes(&v->integers, more) + map64_bytes(&v->strings, more) + map64_bytes(&v->lists, more);
}

/* A long list is cut in the middle. */
static void print_elements(const struct values *v, const struct history *h, uint32_t list, struct buffer *out) {
    uint32_t count = 0;
    for (uint32_t at = list; at != VALUE_ID_EMPTY; at = v->entries[at].prefix) count++;
    uint32_t *elements = xmalloc(count * sizeof *elements);
    for (uint32_t at = list, i = count; at != VALUE_ID_EMPTY; at = v->entries[at].prefix)
        elements[--i] = v->entries[at].last;
    for (uint32_t i = 0; i < count; i++) {
        if (i) buffer_printf(out, ",");
        bool cut = count > LIST_PRINT_MAX && i == LIST_PRINT_MAX / 2;
        if (cut) {
            buffer_printf(out, "...,");
            i = count - LIST_PRINT_MAX / 2;
        }
        values_print(v, h, elements[i], out);
    }
    free(elements);
}

void values_print(const struct values *v, const struct history *h, uint32_t id, struct buffer *out) {
    const struct value_entry *e = &v->entries[id];
    if (e->kind == VALUE_LIST) {
        buffer_printf(out, "[");
        print_elements(v, h, id, out);
        buffer_printf(out, "]");
        return;
    }
    struct value x = {.kind = e->kind};
    if (e->kind == VALUE_INT) x.integer = e->integer;
    if (e->kind == VALUE_STRING) x.string = e->string;
    print_value(h, x, out);
}
