/* Commands: the six operations, atomicity by undo, and sessions by which each command applies once.
 *
 * Operations run one after another and each sees what those before it did. A mutation saves what it replaces; if a
 * later operation fails, the saved contents go back in reverse. A key that is deleted keeps an absent entry until the
 * command is over, so that undo and a later operation on the same key find it. */
#include "targets/kv/internal.h"

#include <stdlib.h>

/* --- mutations ---------------------------------------------------------------------------------------------------- */

static struct kv_content *begin_change(struct kv *kv, uint32_t at, bool push) {
    assert(kv->undo_count < KV_OPS_MAX);
    struct kv_entry *e = &kv->table.entries[at];
    struct kv_undo *undo = &kv->undo[kv->undo_count++];
    struct buffer spare = undo->saved.bytes;
    spare.size = 0;
    kv->table.hash -= kv_entry_hash(e);
    undo->entry = at;
    undo->pushed = push;
    undo->pushed_at = e->content.bytes.size;
    undo->saved = e->content;
    *(push ? &undo->saved.bytes : &e->content.bytes) = spare;
    return &e->content;
}

static void end_change(struct kv *kv, uint32_t at) {
    struct kv_entry *e = &kv->table.entries[at];
    const struct kv_content *before = &kv->undo[kv->undo_count - 1].saved;
    uint64_t own = before->kind == KV_ABSENT ? 1 : before->revision + 1;
    e->content.revision = kv->partial_order ? own : kv->revision + 1;
    if (e->content.revision > kv->revision_given) kv->revision_given = e->content.revision;
    kv->table.hash += kv_entry_hash(e);
}

static void erase_absent(struct kv *kv) {
    for (uint32_t i = 0; i < kv->undo_count; i++) {
        const struct kv_entry *e = &kv->table.entries[kv->undo[i].entry];
        if (e->in_table && e->content.kind == KV_ABSENT) kv_table_erase(&kv->table, kv->undo[i].entry);
    }
    kv->undo_count = 0;
}

static void commit(struct kv *kv) {
    if (kv->undo_count == 0) return;
    kv->revision++;
    erase_absent(kv);
}

static void roll_back(struct kv *kv) {
    for (uint32_t i = kv->undo_count; i-- > 0;) {
        struct kv_undo *undo = &kv->undo[i];
        struct kv_entry *e = &kv->table.entries[undo->entry];
        struct buffer now = e->content.bytes, saved = undo->saved.bytes;
        kv->table.hash -= kv_entry_hash(e);
        e->content = undo->saved;
        if (undo->pushed) {
            e->content.bytes = now;
            e->content.bytes.size = undo->pushed_at;
            undo->saved.bytes = saved;
        } else {
            undo->saved.bytes = now;
        }
        kv->table.hash += kv_entry_hash(e);
    }
    erase_absent(kv);
}

/* --- operations --------------------------------------------------------------------------------------------------- */

struct target { /* the key of an operation, looked up */
    struct bytes key;
    uint64_t key_hash;
    uint32_t entry;                   /* KV_NONE: not in the table */
    const struct kv_content *content; /* NULL: absent */
};

static struct target look_up(const struct kv_table *t, struct bytes key) {
    struct target target = {.key = key, .key_hash = kv_key_hash(key)};
    target.entry = kv_table_find(t, key, target.key_hash);
    if (target.entry != KV_NONE && t->entries[target.entry].content.kind != KV_ABSENT) {
        target.content = &t->entries[target.entry].content;
    }
    return target;
}

static struct kv_value value_of(const struct target *target) {
    return target->content ? kv_content_value(target->content) : (struct kv_value){.kind = KV_ABSENT};
}

static struct kv_value counter_value(int64_t n) {
    return (struct kv_value){.kind = KV_COUNTER, .counter = n};
}

static uint32_t ensure_entry(struct kv *kv, const struct target *target) {
    return target->entry != KV_NONE ? target->entry : kv_table_insert(&kv->table, target->key, target->key_hash);
}

static enum kv_status put(struct kv *kv, const struct target *target, const struct kv_value *value) {
    if (value->bytes.size > KV_VALUE_BYTES_MAX) return KV_TOO_LARGE;
    uint32_t at = ensure_entry(kv, target);
    kv_content_set(begin_change(kv, at, false), value);
    end_change(kv, at);
    return KV_OK;
}

static enum kv_status delete_key(struct kv *kv, const struct target *target, struct kv_value *answer) {
    *answer = counter_value(target->content != NULL);
    if (!target->content) return KV_OK;
    begin_change(kv, target->entry, false)->kind = KV_ABSENT;
    end_change(kv, target->entry);
    return KV_OK;
}

static bool value_equal(const struct kv_value *a, const struct kv_value *b) {
    return a->kind == b->kind && a->counter == b->counter && bytes_equal(a->bytes, b->bytes);
}

static enum kv_status cas(struct kv *kv, const struct target *target, const struct kv_op *op, struct kv_value *answer) {
    if (op->value.bytes.size > KV_VALUE_BYTES_MAX) return KV_TOO_LARGE;
    struct kv_value current = value_of(target);
    if (!value_equal(&current, &op->expected)) {
        *answer = current;
        return KV_CAS_MISMATCH;
    }
    return put(kv, target, &op->value);
}

static enum kv_status append(struct kv *kv, const struct target *target, int64_t element, struct kv_value *answer) {
    if (target->content && target->content->kind != KV_LIST) return KV_WRONG_TYPE;
    size_t length = target->content ? target->content->bytes.size / sizeof element : 0;
    if (length == KV_LIST_LENGTH_MAX) return KV_TOO_LARGE;
    *answer = counter_value((int64_t)length + 1);
    if (!target->content) {
        return put(kv, target, &(struct kv_value){.kind = KV_LIST, .bytes = bytes_of(&element, sizeof element)});
    }
    kv_content_push(begin_change(kv, target->entry, true), element);
    end_change(kv, target->entry);
    return KV_OK;
}

static enum kv_status add(struct kv *kv, const struct target *target, int64_t delta, struct kv_value *answer) {
    if (target->content && target->content->kind != KV_COUNTER) return KV_WRONG_TYPE;
    int64_t sum;
    if (__builtin_add_overflow(target->content ? target->content->counter : 0, delta, &sum)) return KV_TOO_LARGE;
    *answer = counter_value(sum);
    return put(kv, target, answer);
}

/* Runs one operation. The answer may point into the store: it is good until the next one. */
static enum kv_status run_op(struct kv *kv, const struct kv_op *op, struct kv_value *answer) {
    *answer = (struct kv_value){.kind = KV_ABSENT};
    if (op->key.size > KV_KEY_BYTES_MAX) return KV_TOO_LARGE;
    struct target target = look_up(&kv->table, op->key);
    switch ((enum kv_op_kind)op->kind) {
    case KV_GET: *answer = value_of(&target); return KV_OK;
    case KV_PUT: return put(kv, &target, &op->value);
    case KV_DELETE: return delete_key(kv, &target, answer);
    case KV_CAS: return cas(kv, &target, op, answer);
    case KV_APPEND: return append(kv, &target, op->value.counter, answer);
    case KV_ADD: return add(kv, &target, op->value.counter, answer);
    }
    return KV_BAD_COMMAND;
}

/* --- results ------------------------------------------------------------------------------------------------------ */

static void push_value(struct buffer *b, const struct kv_value *v) {
    size_t size = kv_value_encoded_size(v);
    buffer_reserve(b, size);
    struct writer w = {b->data + b->size, 0, size, false};
    kv_write_value(&w, v);
    b->size += w.size;
}

static void begin_result(struct kv *kv) {
    kv->result.size = 0;
    kv->revision_given = 0;
    buffer_reserve(&kv->result, KV_RESULT_HEADER_BYTES);
    kv->result.size = KV_RESULT_HEADER_BYTES;
}

/* The header goes in last: it holds the outcome. */
static void end_result(struct kv *kv, struct kv_result_header header) {
    header.revision = kv->partial_order ? kv->revision_given : kv->revision;
    struct writer w = {kv->result.data, 0, KV_RESULT_HEADER_BYTES, false};
    kv_write_result_header(&w, &header);
    assert(!w.failed && w.size == KV_RESULT_HEADER_BYTES);
}

static void answer_status(struct kv *kv, enum kv_status status) {
    begin_result(kv);
    end_result(kv, (struct kv_result_header){.status = (uint8_t)status});
}

static void answer_failure(struct kv *kv, enum kv_status status, uint8_t failed_at, const struct kv_value *current) {
    uint8_t values_count = 0;
    begin_result(kv);
    if (status == KV_CAS_MISMATCH) {
        for (; values_count < failed_at; values_count++) push_value(&kv->result, &(struct kv_value){0});
        push_value(&kv->result, current);
        values_count++;
    }
    roll_back(kv);
    end_result(
        kv, (struct kv_result_header){.status = (uint8_t)status, .failed_at = failed_at, .values_count = values_count});
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

static void run_ops(struct kv *kv, const struct kv_command *c) {
    begin_result(kv);
    for (uint8_t i = 0; i < c->ops_count; i++) {
        struct kv_value answer;
        enum kv_status status = run_op(kv, &c->ops[i], &answer);
        if (status != KV_OK) {
            answer_failure(kv, status, i, &answer);
            return;
        }
        push_value(&kv->result, &answer);
    }
    commit(kv);
    end_result(kv, (struct kv_result_header){.status = KV_OK, .values_count = c->ops_count});
}

static void open_session(struct kv *kv) {
    if (kv->partial_order && kv->sessions.count == KV_SESSIONS_MAX) {
        answer_status(kv, KV_TOO_LARGE);
        return;
    }
    const struct kv_session *session = kv_session_open(&kv->sessions, kv->sessions.id_last + 1);
    begin_result(kv);
    end_result(kv, (struct kv_result_header){.status = KV_OK, .session = session->id});
}

static void run_in_session(struct kv *kv, const struct kv_command *c) {
    struct kv_session *session = kv_session_find(&kv->sessions, c->session);
    if (!session) {
        answer_status(kv, KV_NO_SESSION);
        return;
    }
    kv_session_touch(&kv->sessions, session);
    if (c->sequence > session->sequence) {
        run_ops(kv, c);
        kv_session_store(&kv->sessions, session, c->sequence, bytes_of(kv->result.data, kv->result.size));
        return;
    }
    kv_session_rehash(&kv->sessions, session);
    if (c->sequence == session->sequence && session->result.size) {
        kv->result.size = 0;
        buffer_append(&kv->result, session->result.data, session->result.size);
    } else {
        answer_status(kv, KV_STALE);
    }
}

size_t kv_apply(struct kv *kv, struct bytes command, uint8_t *out, size_t capacity) {
    struct kv_command c;
    if (!kv_command_decode(command, &c)) {
        answer_status(kv, KV_BAD_COMMAND);
    } else if (c.session != 0) {
        run_in_session(kv, &c);
    } else if (c.ops_count == 0) {
        open_session(kv);
    } else {
        run_ops(kv, &c);
    }
    /* What happened does not depend on whether the caller has room for the answer. */
    if (kv->result.size > capacity) return 0;
    memcpy(out, kv->result.data, kv->result.size);
    return kv->result.size;
}

size_t kv_read(const struct kv *kv, struct bytes command, uint8_t *out, size_t capacity) {
    struct kv_command c;
    bool good = kv_command_decode(command, &c) && kv_command_reads_only(&c);
    struct kv_result result; /* not cleared: it is large, and most of it unused */
    result.status = good ? KV_OK : KV_BAD_COMMAND;
    result.failed_at = result.values_count = 0;
    result.revision = kv->revision;
    result.session = 0;
    for (uint8_t i = 0; good && i < c.ops_count; i++) {
        if (c.ops[i].key.size > KV_KEY_BYTES_MAX) {
            result.status = KV_TOO_LARGE;
            result.failed_at = i;
            result.values_count = 0;
            break;
        }
        struct target target = look_up(&kv->table, c.ops[i].key);
        result.values[result.values_count++] = value_of(&target);
    }
    return kv_result_encode(&result, out, capacity);
}

static uint32_t touch(struct kv_touched *out, uint32_t count, uint64_t hash, bool reads_only) {
    for (uint32_t i = 0; i < count; i++) {
        if (out[i].hash != hash) continue;
        out[i].reads_only &= reads_only;
        return count;
    }
    out[count] = (struct kv_touched){hash, reads_only};
    return count + 1;
}

static uint64_t session_hash(uint64_t session) {
    return hash_mix(UINT64_C(0x73657373), session);
}

uint32_t kv_footprint(struct bytes command, struct kv_touched out[KV_TOUCHED_MAX]) {
    struct kv_command c;
    uint32_t count = 0;
    if (!kv_command_decode(command, &c)) return 0;
    /* All that open sessions write session 0: their numbers are given in order. Who uses a session reads it: it comes
     * after the opening. */
    bool opens = c.session == 0 && c.ops_count == 0;
    if (opens || c.session != 0) count = touch(out, count, session_hash(0), !opens);
    if (c.session != 0) count = touch(out, count, session_hash(c.session), false);
    for (uint8_t i = 0; i < c.ops_count; i++)
        count = touch(out, count, kv_key_hash(c.ops[i].key), c.ops[i].kind == KV_GET);
    return count;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

struct kv *kv_new(const struct kv_rules *rules) {
    struct kv *kv = xcalloc(1, sizeof *kv);
    if (rules) kv->rules = *rules;
    return kv;
}

void kv_set_partial_order(struct kv *kv, bool on) {
    kv->partial_order = kv->sessions.never_expire = on;
}

void kv_clear(struct kv *kv) {
    kv->revision = 0;
    kv_table_clear(&kv->table);
    kv_sessions_clear(&kv->sessions);
}

void kv_free(struct kv *kv) {
    if (!kv) return;
    kv_table_free(&kv->table);
    kv_sessions_free(&kv->sessions);
    for (size_t i = 0; i < KV_OPS_MAX; i++) buffer_free(&kv->undo[i].saved.bytes);
    buffer_free(&kv->result);
    free(kv);
}

uint64_t kv_revision(const struct kv *kv) {
    return kv->revision;
}

uint64_t kv_hash(const struct kv *kv) {
    uint64_t sessions = hash_mix(hash_mix(kv->sessions.hash, kv->sessions.id_last), kv->sessions.clock);
    return hash_mix(hash_mix(kv->table.hash, kv->revision), sessions);
}
