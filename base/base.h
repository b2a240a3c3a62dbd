/* base: the ground floor. Small, boring things that every other room stands on: errors, byte strings, arenas, seeded
 * random streams, fixed-point arithmetic, an event heap, hashing, an integer map, and the disk seam.
 *
 * Nothing here knows about replication, time of day, threads or files. Everything is deterministic: the same calls give
 * the same results on every compiler and processor, so no floating point and no address ever reaches a result.
 *
 * Units stand in names: _ns nanoseconds, _ppm parts per million, _bytes/size bytes. */
#ifndef HARROW_BASE_H
#define HARROW_BASE_H

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define PPM UINT64_C(1000000)

#define PRINTF_LIKE(format_at, args_at) __attribute__((format(printf, format_at, args_at)))

/* --- errors: a message where a person can act on it --------------------------------------------------------------- */

struct error {
    char text[512]; /* what is wrong, where, what to do; empty when there was no error */
};

/* Formats into e (which may be NULL) and returns -1, so that a function can `return error_set(e, ...)`. */
int error_set(struct error *e, const char *format, ...) PRINTF_LIKE(2, 3);

/* --- memory ------------------------------------------------------------------------------------------------------- */

/* malloc, calloc and realloc that never return NULL: they print one line and abort. Freed with free(). */
void *xmalloc(size_t size);
void *xmalloc_large(size_t size); /* the same, quicker to fill if it has megabytes */
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *old, size_t size);
char *xstrdup(const char *text);
char *xformat(const char *format, ...) PRINTF_LIKE(1, 2); /* a fresh string; the caller frees */

/* A bump allocator: many small allocations of one lifetime. arena_reset keeps the blocks for the next use. */
struct arena_block;
struct arena {
    struct arena_block *first, *current;
    size_t block_size; /* 0 means 64 KiB */
    size_t held_bytes; /* in blocks, whether used or not */
};
void *arena_alloc(struct arena *a, size_t size); /* aligned to 16, not cleared */
void *arena_copy(struct arena *a, const void *data, size_t size);
void arena_reset(struct arena *a);
void arena_free(struct arena *a);

/* --- byte strings and their coding -------------------------------------------------------------------------------- */

struct bytes { /* borrowed: never owns */
    const uint8_t *data;
    size_t size;
};
static inline struct bytes bytes_of(const void *data, size_t size) {
    return (struct bytes){(const uint8_t *)data, size};
}
static inline struct bytes bytes_str(const char *text) {
    return bytes_of(text, strlen(text));
}
static inline bool bytes_equal(struct bytes a, struct bytes b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* A growing byte buffer; zero-initialise, buffer_free at the end. */
struct buffer {
    uint8_t *data;
    size_t size, capacity;
};
void buffer_reserve(struct buffer *b, size_t more);
void buffer_append(struct buffer *b, const void *data, size_t size);
void buffer_printf(struct buffer *b, const char *format, ...) PRINTF_LIKE(2, 3);
void buffer_free(struct buffer *b);

/* Little-endian writer into memory the caller owns. After an overflow nothing more is written and `failed` stays
 * set. */
struct writer {
    uint8_t *data;
    size_t size, capacity;
    bool failed;
};
/* The reader's twin: past the end every read returns zero and `failed` stays set. */
struct reader {
    const uint8_t *data;
    size_t size, offset;
    bool failed;
};

static inline uint8_t *writer_claim(struct writer *w, size_t size) {
    if (w->failed || size > w->capacity - w->size) {
        w->failed = true;
        return NULL;
    }
    uint8_t *at = w->data + w->size;
    w->size += size;
    return at;
}
static inline const uint8_t *reader_take(struct reader *r, size_t size) {
    if (r->failed || size > r->size - r->offset) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *at = r->data + r->offset;
    r->offset += size;
    return at;
}
/* harrow runs on little-endian machines only (asserted at start-up), so the wire order is the memory order. */
static inline void write_u8(struct writer *w, uint8_t v) {
    uint8_t *at = writer_claim(w, 1);
    if (at) *at = v;
}
static inline void write_u16(struct writer *w, uint16_t v) {
    uint8_t *at = writer_claim(w, 2);
    if (at) memcpy(at, &v, 2);
}
static inline void write_u32(struct writer *w, uint32_t v) {
    uint8_t *at = writer_claim(w, 4);
    if (at) memcpy(at, &v, 4);
}
static inline void write_u64(struct writer *w, uint64_t v) {
    uint8_t *at = writer_claim(w, 8);
    if (at) memcpy(at, &v, 8);
}
static inline void write_bytes(struct writer *w, struct bytes b) { /* u32 length, then the bytes */
    write_u32(w, (uint32_t)b.size);
    uint8_t *at = writer_claim(w, b.size);
    if (at && b.size) memcpy(at, b.data, b.size);
}
static inline uint8_t read_u8(struct reader *r) {
    const uint8_t *at = reader_take(r, 1);
    return at ? *at : 0;
}
static inline uint16_t read_u16(struct reader *r) {
    uint16_t v = 0;
    const uint8_t *at = reader_take(r, 2);
    if (at) memcpy(&v, at, 2);
    return v;
}
static inline uint32_t read_u32(struct reader *r) {
    uint32_t v = 0;
    const uint8_t *at = reader_take(r, 4);
    if (at) memcpy(&v, at, 4);
    return v;
}
static inline uint64_t read_u64(struct reader *r) {
    uint64_t v = 0;
    const uint8_t *at = reader_take(r, 8);
    if (at) memcpy(&v, at, 8);
    return v;
}
static inline struct bytes read_bytes(struct reader *r) { /* points into the reader's memory */
    uint32_t size = read_u32(r);
    const uint8_t *at = reader_take(r, size);
    return at ? bytes_of(at, size) : bytes_of(NULL, 0);
}

/* --- hashing (XXH3 for strings, a 64-bit mixer for words) --------------------------------------------------------- */

uint64_t hash_bytes(struct bytes b, uint64_t seed);
static inline uint64_t hash_u64(uint64_t x) { /* the finalizer of SplitMix64 (Steele et al., OOPSLA 2014) */
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}
static inline uint64_t hash_mix(uint64_t h, uint64_t x) { /* order matters: a rolling hash over words */
    return hash_u64(h ^ hash_u64(x)) + h;
}

/* An open-addressing map from uint64_t to uint64_t. Iteration is not offered: hash order must not reach a schedule. */
struct map64 {
    uint64_t *keys, *values;
    uint8_t *used;
    size_t count, capacity; /* capacity is zero or a power of two */
};
uint64_t *map64_get(const struct map64 *m, uint64_t key);           /* NULL when absent; valid until the next put */
uint64_t *map64_put(struct map64 *m, uint64_t key, bool *inserted); /* the slot; zero when fresh */
void map64_clear(struct map64 *m);                                  /* keeps the memory */
/* What it holds at most while it takes so many new keys; a map that grows holds the old table and the new one. */
uint64_t map64_bytes(const struct map64 *m, uint64_t more);
void map64_free(struct map64 *m);

/* --- seeded random streams (xoshiro256**, Blackman and Vigna 2018) ------------------------------------------------ */

struct prng {
    uint64_t s[4];
};
/* Streams of one seed are independent: draw from one, and no other shifts. */
void prng_seed(struct prng *p, uint64_t seed, uint64_t stream);
static inline uint64_t prng_next(struct prng *p) {
    uint64_t *s = p->s, x = s[1] * 5;
    uint64_t result = ((x << 7) | (x >> 57)) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return result;
}
uint64_t prng_below(struct prng *p, uint64_t bound);                /* uniform in [0, bound); bound > 0 */
uint64_t prng_between(struct prng *p, uint64_t low, uint64_t high); /* uniform in [low, high] */
bool prng_chance(struct prng *p, uint32_t ppm);                     /* true with probability ppm / 1e6 */
uint64_t prng_exponential(struct prng *p, uint64_t mean);           /* fixed point; capped at 32 times the mean */

/* Fixed point with 32 fractional bits, exact to about 2^-30: log2 of x > 0, and 2^x. */
int64_t fixed_log2(uint64_t x_q32);
uint64_t fixed_exp2(int64_t x_q32);

/* Ranks 0..n-1 with weight 1 / (rank + 1)^exponent; exponent in thousandths (990 is the usual 0.99). */
struct zipf {
    uint64_t *cumulative; /* owned */
    uint32_t n;
};
void zipf_init(struct zipf *z, uint32_t n, uint32_t exponent_permille);
uint32_t zipf_draw(const struct zipf *z, struct prng *p);
void zipf_free(struct zipf *z);

/* --- the event heap: ordered by (time, sequence) ------------------------------------------------------------------ */

struct heap_item {
    uint64_t time_ns;
    uint64_t sequence; /* unique: makes the order total */
    uint64_t payload;  /* the caller's */
};
struct heap { /* 4-ary, in one array; zero-initialise, heap_free at the end */
    struct heap_item *items;
    size_t count, capacity;
};
void heap_push(struct heap *h, struct heap_item item);
struct heap_item heap_pop(struct heap *h); /* h->count > 0 */
static inline const struct heap_item *heap_top(const struct heap *h) {
    return h->count ? &h->items[0] : NULL;
}
void heap_free(struct heap *h);

/* --- the disk seam ------------------------------------------------------------------------------------------------ */

/* A flat directory of files, as small as a write-ahead log needs. The simulator puts a faulty disk below it, the node
 * process the real one. Writes are visible at once and durable after a sync of that file; creating, renaming and
 * removing a file are durable after sync_dir. Calls return 0 or a negative errno. */
#define DISK_NAME_MAX 63
struct disk {
    const struct disk_ops *ops;
};
struct disk_ops {
    int (*open)(struct disk *d, const char *name, bool create, uint32_t *file); /* a handle that lasts until close */
    int (*close)(struct disk *d, uint32_t file);
    int (*size)(struct disk *d, uint32_t file, uint64_t *size);
    /* Reads exactly size bytes at offset; -EIO past the end or on a latent error. */
    int (*read)(struct disk *d, uint32_t file, uint64_t offset, void *data, size_t size);
    int (*write)(struct disk *d, uint32_t file, uint64_t offset, const void *data, size_t size);
    int (*truncate)(struct disk *d, uint32_t file, uint64_t size);
    /* Starts to make the file (and, when it was created since, its name) durable. The end is reported by the driver
     * with the same cookie: at once never, later exactly once, unless the node dies first. */
    int (*sync)(struct disk *d, uint32_t file, uint64_t cookie);
    int (*sync_now)(struct disk *d, uint32_t file); /* the same, waiting: recovery only */
    int (*rename)(struct disk *d, const char *from, const char *to);
    int (*remove)(struct disk *d, const char *name);
    int (*sync_dir)(struct disk *d); /* waiting; cheap in the simulator */
    /* Names in bytewise order; returns how many there are, or a negative errno. */
    int (*list)(struct disk *d, char names[][DISK_NAME_MAX + 1], size_t names_max);
};

#endif
