/* Coding of commands and results. Every form that a decoder accepts is one that the encoder writes for the same
 * meaning, so decoding and encoding again gives the same bytes. */
#include "targets/kv/internal.h"

void kv_write_value(struct writer *w, const struct kv_value *v) {
    write_u8(w, v->kind);
    switch (v->kind) {
    case KV_COUNTER: write_u64(w, (uint64_t)v->counter); break;
    case KV_BYTES:
    case KV_LIST: write_bytes(w, v->bytes); break;
    default: break;
    }
}

bool kv_read_value(struct reader *r, struct kv_value *v) {
    v->kind = read_u8(r);
    v->counter = 0;
    v->bytes = bytes_of(NULL, 0);
    switch (v->kind) {
    case KV_ABSENT: break;
    case KV_COUNTER: v->counter = (int64_t)read_u64(r); break;
    case KV_BYTES:
    case KV_LIST: v->bytes = read_bytes(r); break;
    default: return false;
    }
    return !r->failed && (v->kind != KV_LIST || v->bytes.size % 8 == 0);
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

static void write_op(struct writer *w, const struct kv_op *op) {
    write_u8(w, op->kind);
    write_u16(w, (uint16_t)op->key.size);
    uint8_t *key = writer_claim(w, op->key.size);
    if (key && op->key.size) memcpy(key, op->key.data, op->key.size);
    switch (op->kind) {
    case KV_PUT: kv_write_value(w, &op->value); break;
    case KV_CAS:
        kv_write_value(w, &op->expected);
        kv_write_value(w, &op->value);
        break;
    case KV_APPEND:
    case KV_ADD: write_u64(w, (uint64_t)op->value.counter); break;
    default: break;
    }
}

size_t kv_command_encode(const struct kv_command *c, uint8_t *out, size_t capacity) {
    assert(c->ops_count <= KV_OPS_MAX);
    struct writer w = {out, 0, capacity, false};
    write_u64(&w, c->session);
    write_u64(&w, c->sequence);
    write_u8(&w, c->ops_count);
    for (size_t i = 0; i < c->ops_count; i++) {
        if (c->ops[i].key.size > UINT16_MAX) return 0;
        write_op(&w, &c->ops[i]);
    }
    return w.failed ? 0 : w.size;
}

static bool read_op(struct reader *r, struct kv_op *op) {
    op->kind = read_u8(r);
    uint16_t key_size = read_u16(r);
    op->key = bytes_of(reader_take(r, key_size), key_size);
    op->value = op->expected = (struct kv_value){0};
    switch (op->kind) {
    case KV_GET:
    case KV_DELETE: break;
    case KV_PUT:
        if (!kv_read_value(r, &op->value) || op->value.kind == KV_ABSENT) return false;
        break;
    case KV_CAS:
        if (!kv_read_value(r, &op->expected)) return false;
        if (!kv_read_value(r, &op->value) || op->value.kind == KV_ABSENT) return false;
        break;
    case KV_APPEND:
    case KV_ADD:
        op->value.kind = KV_COUNTER;
        op->value.counter = (int64_t)read_u64(r);
        break;
    default: return false;
    }
    return !r->failed;
}

bool kv_command_decode(struct bytes b, struct kv_command *c) {
    struct reader r = {b.data, b.size, 0, false};
    c->session = read_u64(&r);
    c->sequence = read_u64(&r);
    c->ops_count = read_u8(&r);
    if (r.failed || c->ops_count > KV_OPS_MAX) return false;
    for (size_t i = 0; i < c->ops_count; i++) {
        if (!read_op(&r, &c->ops[i])) return false;
    }
    return r.offset == r.size;
}

bool kv_command_reads_only(const struct kv_command *c) {
    for (size_t i = 0; i < c->ops_count; i++) {
        if (c->ops[i].kind != KV_GET) return false;
    }
    return c->ops_count > 0;
}

/* --- results ------------------------------------------------------------------------------------------------------ */

void kv_write_result_header(struct writer *w, const struct kv_result_header *h) {
    write_u8(w, h->status);
    write_u8(w, h->failed_at);
    write_u64(w, h->revision);
    write_u64(w, h->session);
    write_u8(w, h->values_count);
}

size_t kv_result_encode(const struct kv_result *r, uint8_t *out, size_t capacity) {
    assert(r->values_count <= KV_OPS_MAX);
    struct writer w = {out, 0, capacity, false};
    kv_write_result_header(&w, &(struct kv_result_header){.status = r->status,
                                                          .failed_at = r->failed_at,
                                                          .values_count = r->values_count,
                                                          .revision = r->revision,
                                                          .session = r->session});
    for (size_t i = 0; i < r->values_count; i++) kv_write_value(&w, &r->values[i]);
    return w.failed ? 0 : w.size;
}

bool kv_result_decode(struct bytes b, struct kv_result *r) {
    struct reader reader = {b.data, b.size, 0, false};
    r->status = read_u8(&reader);
    r->failed_at = read_u8(&reader);
    r->revision = read_u64(&reader);
    r->session = read_u64(&reader);
    r->values_count = read_u8(&reader);
    if (reader.failed || r->status > KV_BAD_COMMAND || r->values_count > KV_OPS_MAX) return false;
    for (size_t i = 0; i < r->values_count; i++) {
        if (!kv_read_value(&reader, &r->values[i])) return false;
    }
    return reader.offset == reader.size;
}
