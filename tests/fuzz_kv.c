/* The store under a fuzzer: bytes as commands, as results and as snapshots. Whatever decodes encodes to the same bytes;
 * a failed command changes nothing but its session; the incremental hash equals the one a restore computes anew; and
 * what can be restored is the canonical form of what it says. */
#include "targets/kv/kv.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void recode(struct bytes b) {
    uint8_t *out = xmalloc(b.size + 1);
    struct kv_command command;
    if (kv_command_decode(b, &command)) {
        size_t encoded = kv_command_encode(&command, out, b.size);
        assert(bytes_equal(bytes_of(out, encoded), b));
        assert(b.size == 0 || kv_command_encode(&command, out, b.size - 1) == 0);
    }
    struct kv_result result;
    if (kv_result_decode(b, &result)) {
        size_t encoded = kv_result_encode(&result, out, b.size);
        assert(bytes_equal(bytes_of(out, encoded), b));
    }
    free(out);
}

static void restore_is_canonical(struct kv *kv, struct bytes snapshot) {
    struct error e = {{0}};
    if (kv_restore(kv, snapshot, &e) == 0) {
        struct buffer again = {0};
        kv_snapshot(kv, &again);
        assert(bytes_equal(bytes_of(again.data, again.size), snapshot));
        buffer_free(&again);
    } else {
        assert(e.text[0] && kv_revision(kv) == 0);
    }
}

static void apply(struct kv *kv, struct bytes command, uint8_t *out) {
    uint64_t revision = kv_revision(kv);
    struct kv_result result;
    size_t size = kv_apply(kv, command, out, KV_RESULT_BYTES_MAX);
    assert(size > 0);
    bool decoded = kv_result_decode(bytes_of(out, size), &result);
    assert(decoded);
    assert(kv_revision(kv) == revision || (kv_revision(kv) == revision + 1 && result.status == KV_OK));
    uint64_t hash = kv_hash(kv);
    size = kv_read(kv, command, out, KV_RESULT_BYTES_MAX);
    decoded = kv_result_decode(bytes_of(out, size), &result);
    assert(decoded && kv_hash(kv) == hash);
}

/* Small pieces make commands that mean something: few keys, few sessions, every operation. */
static size_t make_command(struct reader *r, uint8_t *out, size_t capacity) {
    static const uint8_t letters[] = "abcdefgh";
    struct kv_command c = {.session = read_u8(r) % 4, .sequence = read_u8(r) % 8, .ops_count = read_u8(r) % 5};
    for (size_t i = 0; i < c.ops_count; i++) {
        struct kv_op *op = &c.ops[i];
        op->kind = read_u8(r) % 6;
        op->key = bytes_of(letters + read_u8(r) % 4, read_u8(r) % 3);
        struct kv_value *values[] = {&op->value, &op->expected};
        for (size_t v = 0; v < 2; v++) {
            values[v]->kind = read_u8(r) % 4;
            if (values[v]->kind == KV_COUNTER || op->kind >= KV_APPEND) values[v]->counter = (int8_t)read_u8(r);
            if (values[v]->kind == KV_BYTES) values[v]->bytes = bytes_of(letters, read_u8(r) % 9);
            if (values[v]->kind == KV_LIST) values[v]->bytes = bytes_of(letters, 8);
        }
    }
    return kv_command_encode(&c, out, capacity);
}

static void run_commands(struct kv *kv, struct reader *r, uint8_t *out) {
    uint8_t command[2048];
    while (r->offset < r->size && !r->failed) {
        uint8_t form = read_u8(r);
        size_t size = form % 8 ? make_command(r, command, sizeof command) : 0;
        struct bytes b = bytes_of(command, size);
        if (form % 8 == 0) b = read_bytes(r);
        apply(kv, b, out);
    }
    struct buffer snapshot = {0};
    kv_snapshot(kv, &snapshot);
    struct kv *other = kv_new(NULL);
    int status = kv_restore(other, bytes_of(snapshot.data, snapshot.size), NULL);
    assert(status == 0 && kv_hash(other) == kv_hash(kv) && kv_revision(other) == kv_revision(kv));
    kv_free(other);
    buffer_free(&snapshot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t *out;
    static struct kv *kv;
    if (!kv) kv = kv_new(NULL);
    if (!out) out = xmalloc(KV_RESULT_BYTES_MAX);
    recode(bytes_of(data, size));
    kv_clear(kv);
    apply(kv, bytes_of(data, size), out);
    restore_is_canonical(kv, bytes_of(data, size));
    kv_clear(kv);
    struct reader r = {data, size, 0, false};
    run_commands(kv, &r, out);
    return 0;
}
