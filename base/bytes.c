/* The growing byte buffer. It doubles, so that appending is linear in all; buffer_printf leaves a NUL behind the text,
 * not counted in size, so that a buffer of text can be handed out as a string. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>

/* The coding in base.h copies words as they stand in memory. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "harrow runs on little-endian machines only");

#define BUFFER_BYTES_MIN ((size_t)64)

void buffer_reserve(struct buffer *b, size_t more) {
    if (more <= b->capacity - b->size) return;
    assert(more <= SIZE_MAX / 4 && b->size <= SIZE_MAX / 4);
    size_t capacity = b->capacity * 2;
    if (capacity < BUFFER_BYTES_MIN) capacity = BUFFER_BYTES_MIN;
    if (capacity < b->size + more) capacity = b->size + more;
    b->data = xrealloc(b->data, capacity);
    b->capacity = capacity;
}

void buffer_append(struct buffer *b, const void *data, size_t size) {
    if (size == 0) return;
    buffer_reserve(b, size);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

void buffer_printf(struct buffer *b, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(length >= 0);
    buffer_reserve(b, (size_t)length + 1);
    vsnprintf((char *)b->data + b->size, (size_t)length + 1, format, again);
    va_end(again);
    b->size += (size_t)length;
}

void buffer_free(struct buffer *b) {
    free(b->data);
    *b = (struct buffer){0};
}
