/* A byte buffer that grows. A failed allocation is remembered and reported once, at the end of a line. */
#ifndef NEVE_BUFFER_H
#define NEVE_BUFFER_H
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint8_t *data;
    size_t length, room;
} nv_buffer;

/* Make room for n more bytes; 0 where memory ran out. */
int nv_buffer_grow(nv_buffer *b, size_t n);

static inline int nv_reserve(nv_buffer *b, size_t n)
{
    return __builtin_expect(b->room - b->length >= n, 1) || nv_buffer_grow(b, n);
}

static inline int nv_append(nv_buffer *b, const void *p, size_t n)
{
    if (!nv_reserve(b, n))
        return 0;
    if (n)
        memcpy(b->data + b->length, p, n);
    b->length += n;
    return 1;
}

static inline int nv_append_u32(nv_buffer *b, uint32_t v) { return nv_append(b, &v, 4); }
static inline int nv_append_u64(nv_buffer *b, uint64_t v) { return nv_append(b, &v, 8); }

/* A string as the native format has it: its length as a varint, then its bytes. */
static inline int nv_append_string(nv_buffer *b, const uint8_t *p, size_t n)
{
    if (!nv_reserve(b, n + 10))
        return 0;
    uint8_t *out = b->data + b->length;
    size_t left = n;
    while (left >= 128) {
        *out++ = (uint8_t)(left | 128);
        left >>= 7;
    }
    *out++ = (uint8_t)left;
    if (n)
        memcpy(out, p, n);
    b->length = (size_t)(out - b->data) + n;
    return 1;
}

/* The same for a string that is followed by NV_SPARE readable bytes: a short one is copied without a call. */
#define NV_SPARE 32

static inline int nv_append_short(nv_buffer *b, const uint8_t *p, size_t n)
{
    if (n > NV_SPARE)
        return nv_append_string(b, p, n);
    if (!nv_reserve(b, NV_SPARE + 1))
        return 0;
    uint8_t *out = b->data + b->length;
    *out = (uint8_t)n;
    memcpy(out + 1, p, 16);
    memcpy(out + 17, p + 16, 16);
    b->length += n + 1;
    return 1;
}

static inline void nv_buffer_free(nv_buffer *b)
{
    free(b->data);
    *b = (nv_buffer){0};
}

#endif
