/* The table of client sessions: found by number, ordered by last use. Each stores the result of its last command, so
 * that a retry gets the same answer and changes nothing. Numbers are given in sequence, so their low bits spread them
 * over the buckets as well as any hash. */
#include "targets/kv/internal.h"

#include <stdlib.h>

#define BUCKETS_COUNT KV_SESSIONS_MAX
#define RESULT_BYTES_KEPT 4096 /* a free session keeps no larger buffer than this */

_Static_assert((BUCKETS_COUNT & (BUCKETS_COUNT - 1)) == 0, "buckets are chosen by masking");
_Static_assert(KV_SESSIONS_MAX < UINT16_MAX, "slot numbers have 16 bits");
_Static_assert(KV_SESSION_RESULTS_BYTES_MAX > KV_RESULT_BYTES_MAX, "one result must fit");

static uint16_t *bucket_of(const struct kv_sessions *s, uint64_t id) {
    return &s->buckets[id & (BUCKETS_COUNT - 1)];
}

static uint16_t slot_of(const struct kv_sessions *s, const struct kv_session *session) {
    return (uint16_t)(session - s->slots + 1);
}

struct kv_session *kv_session_find(const struct kv_sessions *s, uint64_t id) {
    if (s->count == 0) return NULL;
    uint16_t slot = *bucket_of(s, id);
    while (slot && s->slots[slot - 1].id != id) slot = s->slots[slot - 1].bucket_next;
    return slot ? &s->slots[slot - 1] : NULL;
}

static void unlink_use(struct kv_sessions *s, struct kv_session *session) {
    *(session->older ? &s->slots[session->older - 1].newer : &s->oldest) = session->newer;
    *(session->newer ? &s->slots[session->newer - 1].older : &s->newest) = session->older;
}

static void link_newest(struct kv_sessions *s, struct kv_session *session) {
    uint16_t slot = slot_of(s, session);
    session->older = s->newest;
    session->newer = 0;
    *(s->newest ? &s->slots[s->newest - 1].newer : &s->oldest) = slot;
    s->newest = slot;
}

static void expire_oldest(struct kv_sessions *s) {
    struct kv_session *session = &s->slots[s->oldest - 1];
    uint16_t slot = s->oldest, *link = bucket_of(s, session->id);
    while (*link != slot) link = &s->slots[*link - 1].bucket_next;
    *link = session->bucket_next;
    unlink_use(s, session);
    s->hash -= session->hash;
    s->results_bytes -= session->result.size;
    if (session->result.capacity > RESULT_BYTES_KEPT) buffer_free(&session->result);
    session->bucket_next = s->free_first;
    s->free_first = slot;
    s->count--;
}

static struct kv_session *take_slot(struct kv_sessions *s) {
    if (s->free_first) {
        struct kv_session *session = &s->slots[s->free_first - 1];
        s->free_first = session->bucket_next;
        return session;
    }
    if (s->slots_count == s->slots_capacity) {
        uint32_t capacity = s->slots_capacity ? s->slots_capacity * 2 : 16;
        s->slots = xrealloc(s->slots, capacity * sizeof *s->slots);
        memset(s->slots + s->slots_capacity, 0, (capacity - s->slots_capacity) * sizeof *s->slots);
        s->slots_capacity = capacity;
    }
    return &s->slots[s->slots_count++];
}

struct kv_session *kv_session_open(struct kv_sessions *s, uint64_t id) {
    assert(id > s->id_last || !kv_session_find(s, id));
    if (!s->buckets) s->buckets = xcalloc(BUCKETS_COUNT, sizeof *s->buckets);
    if (s->count == KV_SESSIONS_MAX) expire_oldest(s);
    struct kv_session *session = take_slot(s);
    uint16_t *bucket = bucket_of(s, id);
    session->id = id;
    session->sequence = 0;
    session->used_at = ++s->clock;
    session->hash = 0;
    session->result.size = 0;
    session->bucket_next = *bucket;
    *bucket = slot_of(s, session);
    link_newest(s, session);
    s->count++;
    if (s->id_last < id) s->id_last = id;
    kv_session_rehash(s, session);
    return session;
}

void kv_session_touch(struct kv_sessions *s, struct kv_session *session) {
    session->used_at = ++s->clock;
    if (session->newer) {
        unlink_use(s, session);
        link_newest(s, session);
    }
}

void kv_session_store(struct kv_sessions *s, struct kv_session *session, uint64_t sequence, struct bytes result) {
    s->results_bytes -= session->result.size;
    if (session->result.capacity > RESULT_BYTES_KEPT && result.size <= RESULT_BYTES_KEPT) buffer_free(&session->result);
    session->sequence = sequence;
    session->result.size = 0;
    buffer_append(&session->result, result.data, result.size);
    s->results_bytes += result.size;
    kv_session_rehash(s, session);
    while (s->results_bytes > KV_SESSION_RESULTS_BYTES_MAX && s->count > 1 && !s->never_expire) expire_oldest(s);
}

void kv_session_rehash(struct kv_sessions *s, struct kv_session *session) {
    uint64_t result_hash = hash_bytes(bytes_of(session->result.data, session->result.size), 0);
    s->hash -= session->hash;
    uint64_t used_at = s->never_expire ? 0 : session->used_at;
    session->hash = hash_mix(hash_mix(hash_mix(session->id, session->sequence), used_at), result_hash);
    s->hash += session->hash;
}

void kv_sessions_clear(struct kv_sessions *s) {
    while (s->count) expire_oldest(s);
    s->id_last = s->clock = 0;
}

void kv_sessions_free(struct kv_sessions *s) {
    for (uint32_t i = 0; i < s->slots_capacity; i++) buffer_free(&s->slots[i].result);
    free(s->slots);
    free(s->buckets);
    *s = (struct kv_sessions){0};
}
