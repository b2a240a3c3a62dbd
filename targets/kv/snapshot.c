/* Snapshots: the whole state in one canonical form. Keys ascend bytewise, sessions by last use, and nothing is stored
 * that follows from the rest; so equal states give equal bytes. kv_restore trusts none of it, and accepts no second
 * form: what it restores, kv_snapshot writes again byte for byte. */
#include "targets/kv/internal.h"

#include <stdlib.h>

#define SNAPSHOT_MAGIC UINT32_C(0x31534b48) /* "HKS1" */

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void put_u64(struct buffer *b, uint64_t v) {
    buffer_append(b, &v, sizeof v);
}

static void put_u32(struct buffer *b, uint32_t v) {
    buffer_append(b, &v, sizeof v);
}

static int compare_keys(struct bytes a, struct bytes b) {
    size_t shared = a.size < b.size ? a.size : b.size;
    int order = shared ? memcmp(a.data, b.data, shared) : 0;
    return order ? order : a.size < b.size ? -1 : a.size > b.size;
}

static struct bytes entry_key(const struct kv_entry *e) {
    return bytes_of(e->key.data, e->key.size);
}

static int compare_entries(const void *a, const void *b) {
    return compare_keys(entry_key(*(struct kv_entry *const *)a), entry_key(*(struct kv_entry *const *)b));
}

static void put_entry(struct buffer *out, const struct kv_entry *e) {
    struct kv_value value = kv_content_value(&e->content);
    size_t size = 1 + e->key.size + 8 + kv_value_encoded_size(&value);
    buffer_reserve(out, size);
    struct writer w = {out->data + out->size, 0, size, false};
    write_u8(&w, (uint8_t)e->key.size);
    uint8_t *key = writer_claim(&w, e->key.size);
    if (e->key.size) memcpy(key, e->key.data, e->key.size);
    write_u64(&w, e->content.revision);
    kv_write_value(&w, &value);
    assert(!w.failed && w.size == size);
    out->size += size;
}

static void put_table(struct buffer *out, const struct kv_table *t) {
    uint32_t count = 0;
    struct kv_entry **sorted = xmalloc(kv_table_count(t) * sizeof *sorted);
    for (uint32_t i = 0; i < t->entries_count; i++) {
        if (t->entries[i].in_table) sorted[count++] = &t->entries[i];
    }
    assert(count == kv_table_count(t));
    qsort(sorted, count, sizeof *sorted, compare_entries);
    put_u32(out, count);
    for (uint32_t i = 0; i < count; i++) put_entry(out, sorted[i]);
    free(sorted);
}

static void put_sessions(struct buffer *out, const struct kv_sessions *s, bool forget) {
    put_u64(out, s->id_last);
    put_u64(out, s->clock);
    put_u32(out, forget ? 0 : s->count);
    if (forget) return;
    for (uint16_t slot = s->oldest; slot; slot = s->slots[slot - 1].newer) {
        const struct kv_session *session = &s->slots[slot - 1];
        put_u64(out, session->id);
        put_u64(out, session->sequence);
        put_u64(out, session->used_at);
        put_u32(out, (uint32_t)session->result.size);
        buffer_append(out, session->result.data, session->result.size);
    }
}

void kv_snapshot(const struct kv *kv, struct buffer *out) {
    put_u32(out, SNAPSHOT_MAGIC);
    put_u64(out, kv->revision);
    put_table(out, &kv->table);
    put_sessions(out, &kv->sessions, kv->rules.forget_sessions_in_snapshot);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* Each reader returns what is wrong, or NULL. */

static const char *take_entry(struct kv *kv, struct reader *r, struct bytes *previous_key, bool first) {
    size_t key_size = read_u8(r);
    struct bytes key = bytes_of(reader_take(r, key_size), key_size);
    uint64_t revision = read_u64(r);
    struct kv_value value;
    if (!kv_read_value(r, &value) || r->failed) return "a key or value is cut short or of no known kind";
    if (value.kind == KV_ABSENT || value.bytes.size > KV_VALUE_BYTES_MAX) return "a value is absent or too large";
    if (!first && compare_keys(*previous_key, key) >= 0) return "keys do not ascend";
    if (revision == 0 || revision > kv->revision) return "a key's revision is not one of the store";
    *previous_key = key;
    uint32_t at = kv_table_insert(&kv->table, key, kv_key_hash(key)); /* may move the entries */
    struct kv_entry *e = &kv->table.entries[at];
    kv_content_set(&e->content, &value);
    e->content.revision = revision;
    kv->table.hash += kv_entry_hash(e);
    return NULL;
}

static const char *take_session(struct kv_sessions *s, struct reader *r, uint64_t clock) {
    uint64_t id = read_u64(r), sequence = read_u64(r), used_at = read_u64(r);
    struct bytes result = read_bytes(r);
    if (r->failed) return "a session is cut short";
    if (id == 0 || id > s->id_last || kv_session_find(s, id)) return "a session's number is not one of the store";
    if (used_at <= s->clock || used_at > clock) return "sessions do not ascend by last use";
    struct kv_result decoded;
    if (result.size && (result.size > KV_RESULT_BYTES_MAX || !kv_result_decode(result, &decoded))) {
        return "a session's result makes no sense";
    }
    if ((result.size == 0) != (sequence == 0)) return "a session has a result and no command, or the reverse";
    if (result.size > KV_SESSION_RESULTS_BYTES_MAX - s->results_bytes) return "the sessions' results are too large";
    struct kv_session *session = kv_session_open(s, id);
    s->clock = session->used_at = used_at;
    kv_session_store(s, session, sequence, result);
    return NULL;
}

static const char *take_sessions(struct kv *kv, struct reader *r) {
    struct kv_sessions *s = &kv->sessions;
    s->id_last = read_u64(r);
    uint64_t clock = read_u64(r);
    uint32_t count = read_u32(r);
    if (r->failed) return "cut short";
    if (count > KV_SESSIONS_MAX) return "too many sessions";
    for (uint32_t i = 0; i < count; i++) {
        const char *wrong = take_session(s, r, clock);
        if (wrong) return wrong;
    }
    s->clock = clock;
    return NULL;
}

static const char *take_snapshot(struct kv *kv, struct reader *r) {
    if (read_u32(r) != SNAPSHOT_MAGIC) return "not a snapshot of this store";
    kv->revision = read_u64(r);
    uint32_t count = read_u32(r);
    struct bytes previous_key = {0};
    for (uint32_t i = 0; i < count; i++) {
        const char *wrong = take_entry(kv, r, &previous_key, i == 0);
        if (wrong) return wrong;
    }
    const char *wrong = take_sessions(kv, r);
    if (wrong) return wrong;
    return r->offset == r->size ? NULL : "bytes behind the end";
}

int kv_restore(struct kv *kv, struct bytes snapshot, struct error *e) {
    kv_clear(kv);
    struct reader r = {snapshot.data, snapshot.size, 0, false};
    const char *wrong = take_snapshot(kv, &r);
    if (!wrong) return 0;
    kv_clear(kv);
    return error_set(e, "bad store snapshot of %zu bytes, at byte %zu: %s", snapshot.size, r.offset, wrong);
}
