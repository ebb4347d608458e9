/* Columns of strings in ClickHouse's native layout, read: each is its length as a varint, then its bytes. */
#ifndef NEVE_STRINGS_H
#define NEVE_STRINGS_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NV_DAMAGED SIZE_MAX

/* The length of the string at `*at`, which then is where its bytes start; NV_DAMAGED where it does not fit in. */
static inline size_t nv_string_length(const uint8_t *p, size_t n, size_t *at)
{
    uint64_t length = 0;
    size_t i = *at;
    for (unsigned shift = 0; shift < 35; shift += 7) { /* five bytes: far beyond any block */
        if (i >= n)
            return NV_DAMAGED;
        uint8_t byte = p[i++];
        length |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *at = i;
            return length <= n - i ? (size_t)length : NV_DAMAGED;
        }
    }
    return NV_DAMAGED;
}

/* Where `count` strings that start at `at` end, and the sum of their lengths; NV_DAMAGED where they do not fit in. */
static inline size_t nv_skip_strings(const uint8_t *p, size_t n, size_t at, size_t count, size_t *total)
{
    *total = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length = nv_string_length(p, n, &at);
        if (length == NV_DAMAGED)
            return NV_DAMAGED;
        at += length;
        *total += length;
    }
    return at;
}

/* Copy strings that nv_skip_strings has passed over: `count` + 1 offsets, and the bytes without their lengths. */
static inline void nv_read_strings(const uint8_t *p, size_t n, size_t at, size_t count, int32_t *offsets, uint8_t *out)
{
    size_t written = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length = nv_string_length(p, n, &at);
        offsets[i] = (int32_t)written;
        memcpy(out + written, p + at, length);
        at += length;
        written += length;
    }
    offsets[count] = (int32_t)written;
}

/*
 * Of each row of a map the place of its first entry with the key number `wanted`, and a bit for whether there is one.
 * A row's entries end where `ends` says. 0 where these are no ends: they shrink, or are beyond the keys.
 */
static inline int nv_find_key(const uint64_t *ends, size_t rows, const uint32_t *keys, size_t count, uint32_t wanted,
                              int32_t *places, uint8_t *valid)
{
    uint64_t at = 0;
    for (size_t row = 0; row < rows; row++) {
        uint64_t end = ends[row];
        if (end < at || end > count)
            return 0;
        while (at < end && keys[at] != wanted)
            at++;
        places[row] = at < end ? (int32_t)at : 0;
        valid[row >> 3] |= (uint8_t)((at < end) << (row & 7));
        at = end;
    }
    return 1;
}

#endif
