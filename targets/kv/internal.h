/* Private to the store. Three parts, each with its own share of the hash: the map from keys to entries (table.c), the
 * client sessions (sessions.c), and the commands that change them (kv.c). Coding is in codec.c, snapshots in
 * snapshot.c.
 *
 * All memory is kept from one use to the next: an entry, a session or an undo record that falls free keeps its
 * buffers, so a store that is cleared and filled again, as a simulator does all day, stops to allocate. */
#ifndef HARROW_TARGETS_KV_INTERNAL_H
#define HARROW_TARGETS_KV_INTERNAL_H

#include "targets/kv/kv.h"

#define KV_LIST_LENGTH_MAX (KV_VALUE_BYTES_MAX / 8)
/* Results that sessions keep for retries, all together; beyond it, the least recently used sessions expire early. */
#define KV_SESSION_RESULTS_BYTES_MAX ((size_t)16 << 20)
#define KV_NONE UINT32_MAX

/* --- the map ------------------------------------------------------------------------------------------------------ */

struct kv_content { /* what a key holds */
    uint8_t kind;   /* enum kv_value_kind; KV_ABSENT only while a command runs */
    int64_t counter;
    struct buffer bytes;
    uint64_t value_hash;
    uint64_t revision;
};
struct kv_entry {
    struct buffer key;
    uint64_t key_hash;
    struct kv_content content;
    uint32_t next_free;
    bool in_table;
};
struct kv_slot {                  /* of the hash table; the tag spares most looks at the entry */
    uint32_t tag, entry_plus_one; /* 0: free */
};
struct kv_table {
    struct kv_entry *entries;
    uint32_t entries_count, entries_capacity, free_first, free_count;
    struct kv_slot *slots;
    uint32_t slots_count; /* zero or a power of two */
    uint64_t hash;        /* the sum of kv_content_hash over all entries: any order of changes gives the same */
};

uint32_t kv_table_find(const struct kv_table *t, struct bytes key, uint64_t key_hash); /* KV_NONE when not there */
uint32_t kv_table_insert(struct kv_table *t, struct bytes key, uint64_t key_hash);     /* absent so far */
void kv_table_erase(struct kv_table *t, uint32_t entry);
static inline uint32_t kv_table_count(const struct kv_table *t) {
    return t->entries_count - t->free_count;
}
void kv_table_clear(struct kv_table *t);
void kv_table_free(struct kv_table *t);

static inline uint64_t kv_key_hash(struct bytes key) {
    return hash_bytes(key, 0);
}
uint64_t kv_entry_hash(const struct kv_entry *e); /* 0 for an absent one */
struct kv_value kv_content_value(const struct kv_content *c);
void kv_content_set(struct kv_content *c, const struct kv_value *v);
void kv_content_push(struct kv_content *c, int64_t element); /* c holds a list */

/* --- sessions ----------------------------------------------------------------------------------------------------- */

struct kv_session {
    uint64_t id, sequence;
    uint64_t used_at;                   /* the sessions' clock when it was last used */
    uint64_t hash;                      /* its share of kv_sessions.hash */
    struct buffer result;               /* of `sequence`, encoded; empty before the first command */
    uint16_t bucket_next, older, newer; /* slot numbers plus one; 0: none */
};
struct kv_sessions {
    struct kv_session *slots; /* slots_count were ever used; the free ones are linked through bucket_next */
    uint32_t slots_count, slots_capacity, count;
    uint16_t free_first, oldest, newest;
    uint16_t *buckets;
    uint64_t id_last, clock;
    size_t results_bytes;
    uint64_t hash;
    bool never_expire; /* and when one was last used tells nothing */
};

struct kv_session *kv_session_find(const struct kv_sessions *s, uint64_t id); /* NULL when unknown */
/* Makes room by expiring the least recently used session; the new one is the most recently used. */
struct kv_session *kv_session_open(struct kv_sessions *s, uint64_t id);
/* Makes it the most recently used; store or rehash must follow. */
void kv_session_touch(struct kv_sessions *s, struct kv_session *session);
/* May expire others, least recently used first, for the memory that results take. */
void kv_session_store(struct kv_sessions *s, struct kv_session *session, uint64_t sequence, struct bytes result);
/* The session's share of the hash, after its fields were set. */
void kv_session_rehash(struct kv_sessions *s, struct kv_session *session);
void kv_sessions_clear(struct kv_sessions *s);
void kv_sessions_free(struct kv_sessions *s);

/* --- the store ---------------------------------------------------------------------------------------------------- */

struct kv_undo { /* how to take one operation back */
    uint32_t entry;
    bool pushed;      /* the operation grew a list: its bytes stay in place and lose their end again */
    size_t pushed_at; /* where that end was */
    struct kv_content saved;
};
struct kv {
    struct kv_rules rules;
    uint64_t revision;
    bool partial_order;
    uint64_t revision_given; /* the highest that the command at hand gave to a key */
    struct kv_table table;
    struct kv_sessions sessions;
    struct kv_undo undo[KV_OPS_MAX];
    uint32_t undo_count;
    struct buffer result; /* of the command at hand, encoded */
};

/* --- coding of results in pieces ---------------------------------------------------------------------------------- */

#define KV_RESULT_HEADER_BYTES 19
void kv_write_value(struct writer *w, const struct kv_value *v);
bool kv_read_value(struct reader *r, struct kv_value *v);
struct kv_result_header { /* a struct kv_result without its values, which are large to clear and copy */
    uint8_t status, failed_at, values_count;
    uint64_t revision, session;
};
void kv_write_result_header(struct writer *w, const struct kv_result_header *h);
static inline size_t kv_value_encoded_size(const struct kv_value *v) {
    return v->kind == KV_ABSENT ? 1 : v->kind == KV_COUNTER ? 9 : 5 + v->bytes.size;
}

#endif
