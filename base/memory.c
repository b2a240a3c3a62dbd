/* Memory: allocation that never fails (out of memory is not a state that a harness can recover from), and the arena,
 * which serves many small allocations of one lifetime from a chain of blocks that survives arena_reset. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define ARENA_BLOCK_BYTES_DEFAULT ((size_t)65536)
#define ARENA_ALIGNMENT ((size_t)16)

static void *checked(void *memory, size_t size) {
    if (!memory) {
        fprintf(stderr, "harrow: out of memory (%zu bytes asked for)\n", size);
        abort();
    }
    return memory;
}

void *xmalloc(size_t size) {
    return checked(malloc(size ? size : 1), size);
}

/* A page fault costs about as much as a thousand stores, so large memory asks for large pages. */
#define HUGE_PAGE_BYTES ((size_t)2 << 20)

void *xmalloc_large(size_t size) {
    if (size < 2 * HUGE_PAGE_BYTES) return xmalloc(size);
    void *memory = NULL;
    size = (size + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    if (posix_memalign(&memory, HUGE_PAGE_BYTES, size)) memory = NULL;
    checked(memory, size);
    (void)madvise(memory, size, MADV_HUGEPAGE); /* not every kernel has them: then it is as malloc's */
    return memory;
}

void *xcalloc(size_t count, size_t size) {
    bool empty = count == 0 || size == 0;
    return checked(empty ? calloc(1, 1) : calloc(count, size), size);
}

void *xrealloc(void *old, size_t size) {
    return checked(realloc(old, size ? size : 1), size);
}

char *xstrdup(const char *text) {
    size_t size = strlen(text) + 1;
    return memcpy(xmalloc(size), text, size);
}

char *xformat(const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(length >= 0);
    char *text = xmalloc((size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

struct arena_block {
    struct arena_block *next;
    size_t capacity, used;
    _Alignas(16) uint8_t data[];
};

static struct arena_block *arena_block_new(struct arena *a, size_t size) {
    size_t capacity = a->block_size ? a->block_size : ARENA_BLOCK_BYTES_DEFAULT;
    if (capacity < size) capacity = size;
    struct arena_block *block = xmalloc(sizeof *block + capacity);
    a->held_bytes += sizeof *block + capacity;
    block->capacity = capacity;
    block->used = 0;
    block->next = a->current ? a->current->next : a->first;
    if (a->current) {
        a->current->next = block;
    } else {
        a->first = block;
    }
    return block;
}

void *arena_alloc(struct arena *a, size_t size) {
    assert(size <= SIZE_MAX / 2);
    size = (size + ARENA_ALIGNMENT - 1) & ~(ARENA_ALIGNMENT - 1);
    struct arena_block *block = a->current;
    /* After a reset the blocks ahead are empty; one that is too small for this request is left for the next reset. */
    while (!block || size > block->capacity - block->used) {
        struct arena_block *next = block ? block->next : a->first;
        block = next ? next : arena_block_new(a, size);
        a->current = block;
    }
    void *at = block->data + block->used;
    block->used += size;
    return at;
}

void *arena_copy(struct arena *a, const void *data, size_t size) {
    void *copy = arena_alloc(a, size);
    if (size) memcpy(copy, data, size);
    return copy;
}

void arena_reset(struct arena *a) {
    for (struct arena_block *block = a->first; block; block = block->next) block->used = 0;
    a->current = a->first;
}

void arena_free(struct arena *a) {
    for (struct arena_block *block = a->first, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    a->first = a->current = NULL;
    a->held_bytes = 0;
}
