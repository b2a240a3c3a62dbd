/* The replicated state machine under every protocol: a map from keys to values with a revision per change, and a
 * table of client sessions that makes each command apply once (Ongaro's thesis, section 6.3).
 *
 * A pure function of the applied commands: no clock, no randomness, no iteration in hash order. Two replicas that
 * applied the same commands have equal kv_hash, which is kept incrementally and costs O(1) to read. Bad bytes in a
 * command never crash: they apply as a KV_BAD_COMMAND result, the same on every replica.
 *
 * A value is a byte string, a 64-bit signed counter, or a list of 64-bit integers. The type is fixed by the first
 * write; put replaces value and type. */
#ifndef HARROW_TARGETS_KV_H
#define HARROW_TARGETS_KV_H

#include "base/base.h"

#define KV_KEY_BYTES_MAX 255
#define KV_VALUE_BYTES_MAX 65536 /* so a list has at most 8192 elements */
#define KV_OPS_MAX 16            /* operations in one command */
#define KV_SESSIONS_MAX 1024     /* the least recently used session is expired beyond this, by applied order */
#define KV_RESULT_BYTES_MAX (KV_OPS_MAX * 16 + (1 << 20))

enum kv_op_kind {
    KV_GET,    /* -> value or absent */
    KV_PUT,    /* value */
    KV_DELETE, /* -> whether it existed, as a counter of 0 or 1 */
    KV_CAS,    /* expected (or absent), value: fails with KV_CAS_MISMATCH and the current value */
    KV_APPEND, /* one integer onto a list, created when absent -> the new length */
    KV_ADD,    /* a signed delta onto a counter, created as 0 when absent -> the new value */
};
enum kv_value_kind { KV_ABSENT, KV_BYTES, KV_COUNTER, KV_LIST };

/* A value on its way in or out. Lists are counts of little-endian int64 in `bytes` (list.size is 8 times the
 * length). */
struct kv_value {
    uint8_t kind;       /* enum kv_value_kind */
    int64_t counter;    /* KV_COUNTER */
    struct bytes bytes; /* KV_BYTES, KV_LIST */
};
struct kv_op {
    uint8_t kind; /* enum kv_op_kind */
    struct bytes key;
    struct kv_value value;    /* PUT, CAS: the new value; APPEND, ADD: .counter is the element or delta */
    struct kv_value expected; /* CAS; kind KV_ABSENT means "only if absent" */
};
enum kv_status {
    KV_OK,
    KV_CAS_MISMATCH, /* the command had no effect at all */
    KV_WRONG_TYPE,   /* likewise */
    KV_TOO_LARGE,    /* a limit of this header, or a counter beyond 64 bits; likewise no effect */
    KV_NO_SESSION,   /* the session is unknown or expired: whether an earlier try applied is not known */
    KV_STALE,        /* an older sequence number than the session's last, or 0: its result is gone */
    KV_BAD_COMMAND,
};

/* A command: a session (0: none, at-least-once), a sequence number that rises by one per command of the session, and
 * up to KV_OPS_MAX operations applied atomically: if one fails, none takes effect. ops_count 0 with session 0 opens a
 * session; its number is the result's `session`. Numbers may be skipped: whatever is above the last applies. */
struct kv_command {
    uint64_t session, sequence;
    uint8_t ops_count;
    struct kv_op ops[KV_OPS_MAX];
};
struct kv_result {
    uint8_t status;    /* enum kv_status */
    uint8_t failed_at; /* index of the operation that failed */
    uint64_t revision; /* the store's revision after the command */
    uint64_t session;  /* of an opened session */
    uint8_t values_count;
    /* One per operation, absent where it has no answer. After KV_CAS_MISMATCH values[failed_at] is what was found
     * there; after any other failure there are none. */
    struct kv_value values[KV_OPS_MAX];
};

/* Coding. Encoders return the size written, 0 if it did not fit. Decoders return false on any malformed input; the
 * decoded pointers refer to the given bytes. */
size_t kv_command_encode(const struct kv_command *c, uint8_t *out, size_t capacity);
bool kv_command_decode(struct bytes b, struct kv_command *c);
size_t kv_result_encode(const struct kv_result *r, uint8_t *out, size_t capacity);
bool kv_result_decode(struct bytes b, struct kv_result *r);
bool kv_command_reads_only(const struct kv_command *c); /* all operations are KV_GET */

/* What an encoded command touches, as hashes of keys and of its session: two commands that share none, or only read
 * what they share, may be applied in either order. What does not decode touches nothing. Returns how many, each
 * once. */
#define KV_TOUCHED_MAX (KV_OPS_MAX + 2)
struct kv_touched {
    uint64_t hash;
    bool reads_only;
};
uint32_t kv_footprint(struct bytes command, struct kv_touched out[KV_TOUCHED_MAX]);

struct kv_rules {                     /* what a mutant may change; NULL means all correct */
    bool forget_sessions_in_snapshot; /* K1 */
};

struct kv;
struct kv *kv_new(const struct kv_rules *rules);
/* For commands that arrive in one order only as far as they interfere (kv_footprint): a key's revision counts the
 * changes of that key, a result's is the highest that it gave to one, and no session expires: beyond KV_SESSIONS_MAX
 * none is opened (KV_TOO_LARGE). The state then does not depend on the order of what does not interfere. */
void kv_set_partial_order(struct kv *kv, bool on);
void kv_free(struct kv *kv);
void kv_clear(struct kv *kv); /* back to empty, keeping memory: cheap, many times a second */

/* Applies a command (encoded) and encodes its result into `out` (KV_RESULT_BYTES_MAX always suffices). A retry of the
 * session's last sequence number returns the stored result and changes nothing. Returns the result's size, 0 if it
 * did not fit: the command is applied all the same. Results stored for retries may take 16 MiB in all; beyond that
 * the least recently used sessions expire early. */
size_t kv_apply(struct kv *kv, struct bytes command, uint8_t *out, size_t capacity);
/* Runs a read-only command on the present state, without session bookkeeping. Not read-only: KV_BAD_COMMAND. */
size_t kv_read(const struct kv *kv, struct bytes command, uint8_t *out, size_t capacity);

uint64_t kv_revision(const struct kv *kv);
uint64_t kv_hash(const struct kv *kv);                     /* of keys, values, revisions and sessions */
void kv_snapshot(const struct kv *kv, struct buffer *out); /* appended; a canonical form: equal states, equal bytes */
int kv_restore(struct kv *kv, struct bytes snapshot, struct error *e); /* -1 leaves kv empty */

#endif
