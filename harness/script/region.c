/* Memory of Lua states. Each state lives in one region of address space, with free lists of its own; so a state that is
 * ready for a scenario can be frozen (copied out) and thawed (copied back to the same addresses, where all its pointers
 * hold) in a few microseconds, and is thrown away as a whole. A hunt needs thousands of states a minute.
 *
 * Regions are kept in a pool for the next script; several scripts may live at a time, also in several threads. */
#include "harness/script/internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define GRAIN 16u
#define SMALL_CLASSES 64u /* up to 1 KiB in grains; above by powers of two */
#define CLASSES (SMALL_CLASSES + 32u)
#define POOL_MAX 8u
#define KEPT_BYTES_MAX ((size_t)4 << 20) /* pages beyond go back to the system */
#define SLACK_BYTES ((size_t)1 << 20)
#define BYTES_PER_INSTRUCTION 64 /* what copying costs, in the currency of the budget */

struct shape {   /* of what is allocated */
    size_t used; /* bytes from the base on that have ever been handed out */
    uint8_t *free_lists[CLASSES];
    size_t memory_used;
};

struct region {
    uint8_t *base;
    size_t reserved;
    struct shape shape;
    lua_State *L;
    uint32_t modules; /* in the image */
    struct shape image_shape;
    struct buffer image; /* empty: never frozen */
    struct region *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct region *pool;
static size_t pool_count;

/* --- allocation --- */

static size_t class_of(size_t size) {
    if (size <= SMALL_CLASSES * GRAIN) return (size + GRAIN - 1) / GRAIN - 1;
    size_t bits = (size_t)(64 - __builtin_clzll(size - 1)); /* 2^bits >= size > 2^10 */
    return SMALL_CLASSES + bits - 11;
}

static size_t class_size(size_t class) {
    return class < SMALL_CLASSES ? (class + 1) * GRAIN : (size_t)1 << (class - SMALL_CLASSES + 11);
}

static void *region_alloc(struct region *r, size_t class) {
    uint8_t **list = &r->shape.free_lists[class];
    if (*list) {
        uint8_t *block = *list;
        memcpy(list, block, sizeof *list);
        return block;
    }
    size_t size = class_size(class);
    if (size > r->reserved - r->shape.used) return NULL;
    uint8_t *block = r->base + r->shape.used;
    r->shape.used += size;
    return block;
}

static void region_release(struct region *r, void *block, size_t class) {
    memcpy(block, &r->shape.free_lists[class], sizeof(uint8_t *));
    r->shape.free_lists[class] = block;
}

/* Whether the limits allow it; charges the budget. For a new object Lua passes its type as the old size; buffers of
 * strings under construction have none. */
static bool admit(struct script *s, const void *old, size_t old_size, size_t held, size_t size) {
    if (size <= held) return true;
    if (!old && old_size == LUA_TSTRING && size > SCRIPT_STRING_BYTES_MAX + 64) {
        s->string_refused = true;
        return false;
    }
    if (s->memory_max < s->region->shape.memory_used || size - held > s->memory_max - s->region->shape.memory_used) {
        s->memory_refused = true;
        return false;
    }
    s->budget -= (int64_t)(size / BYTES_PER_INSTRUCTION);
    return true;
}

static void *allocate(void *context, void *old, size_t old_size, size_t size) {
    struct script *s = context;
    struct region *r = s->region;
    size_t held = old ? old_size : 0;
    if (size == 0) {
        if (held) region_release(r, old, class_of(held));
        r->shape.memory_used -= held;
        return NULL;
    }
    if (!admit(s, old, old_size, held, size)) return NULL;
    size_t class = class_of(size);
    void *block = old;
    if (!held || class_of(held) != class) {
        block = region_alloc(r, class);
        if (!block) {
            if (size <= held) return old; /* Lua relies on shrinking to succeed */
            s->memory_refused = true;
            return NULL;
        }
        if (held) {
            memcpy(block, old, held < size ? held : size);
            region_release(r, old, class_of(held));
        }
    }
    r->shape.memory_used = r->shape.memory_used - held + size;
    return block;
}

/* --- regions --- */

static struct region *region_new(size_t reserved) {
    void *base = mmap(NULL, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return NULL;
    struct region *r = xcalloc(1, sizeof *r);
    r->base = base;
    r->reserved = reserved;
    return r;
}

static void region_free(struct region *r) {
    munmap(r->base, r->reserved);
    buffer_free(&r->image);
    free(r);
}

static struct region *from_pool(size_t reserved) {
    pthread_mutex_lock(&lock);
    struct region **at = &pool, *r;
    while (*at && (*at)->reserved < reserved) at = &(*at)->next;
    r = *at;
    if (r) {
        *at = r->next;
        pool_count--;
    }
    pthread_mutex_unlock(&lock);
    return r;
}

lua_State *region_open(struct script *s, uint32_t modules) {
    /* Blocks are rounded up to less than twice their size. */
    size_t reserved = 2 * s->memory_max + SLACK_BYTES;
    struct region *r = from_pool(reserved);
    if (!r) r = region_new(reserved);
    if (!r) return NULL;
    s->region = r;
    if (r->image.size && r->modules == modules && r->image_shape.memory_used <= s->memory_max) {
        memcpy(r->base, r->image.data, r->image.size);
        r->shape = r->image_shape;
        lua_setallocf(r->L, allocate, s);
        s->thawed = true;
        return r->L;
    }
    r->shape = (struct shape){0};
    r->L = lua_newstate(allocate, s);
    return r->L;
}

void region_freeze(struct script *s, uint32_t modules) {
    struct region *r = s->region;
    r->modules = modules;
    r->image_shape = r->shape;
    r->image.size = 0;
    buffer_append(&r->image, r->base, r->shape.used);
}

void region_close(struct script *s) {
    struct region *r = s->region;
    s->region = NULL;
    if (!r) return;
    size_t kept = (r->image.size > KEPT_BYTES_MAX ? r->image.size : KEPT_BYTES_MAX) & ~(size_t)0xffff;
    if (r->shape.used > kept) madvise(r->base + kept, r->shape.used - kept, MADV_DONTNEED);
    pthread_mutex_lock(&lock);
    bool keep = pool_count < POOL_MAX;
    if (keep) {
        r->next = pool;
        pool = r;
        pool_count++;
    }
    pthread_mutex_unlock(&lock);
    if (!keep) region_free(r);
}
