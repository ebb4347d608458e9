/* Hashes whose values are stored: a change here is a new rule-set version. */
#ifndef NEVE_HASH_H
#define NEVE_HASH_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

static inline uint64_t nv_load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

/* Fold the 128-bit product of two words: one multiplication mixes both. */
static inline uint64_t nv_fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

#define NV_SEED_A UINT64_C(0x9e3779b97f4a7c15) /* 2^64 / golden ratio */
#define NV_SEED_B UINT64_C(0xd1b54a32d192ed03) /* its square, made odd */
#define NV_SEED_C UINT64_C(0xaef17502108ef2d9) /* its cube, made odd */

static inline uint32_t nv_load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

/* At most 8 bytes as one word, without reading past them. */
static inline uint64_t nv_load_tail(const uint8_t *p, size_t n)
{
    if (n >= 4)
        return nv_load32(p) | (uint64_t)nv_load32(p + n - 4) << (8 * (n - 4));
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

typedef struct {
    uint64_t a, b, c;
} nv_seeds;

/* 64-bit hash of n bytes. */
static inline uint64_t nv_hash_with(nv_seeds seeds, const uint8_t *p, size_t n)
{
    uint64_t h = seeds.a ^ n, g = seeds.b;
    size_t left = n;
    while (left >= 32) {
        h = nv_fold(nv_load64(p) ^ seeds.a, nv_load64(p + 8) ^ h);
        g = nv_fold(nv_load64(p + 16) ^ seeds.b, nv_load64(p + 24) ^ g);
        p += 32;
        left -= 32;
    }
    h ^= g;
    if (left >= 16) {
        h = nv_fold(nv_load64(p) ^ seeds.b, nv_load64(p + 8) ^ h);
        p += 16;
        left -= 16;
    }
    uint64_t a, b = 0;
    if (left >= 8) {
        a = nv_load64(p);
        b = left > 8 ? nv_load64(p + left - 8) : 0;
    } else {
        a = nv_load_tail(p, left);
    }
    h = nv_fold(a ^ seeds.c, b ^ h);
    return nv_fold(h ^ seeds.a, seeds.b);
}

/* The hash that is stored: it depends on nothing but the bytes. */
static inline uint64_t nv_hash(const uint8_t *p, size_t n)
{
    return nv_hash_with((nv_seeds){NV_SEED_A, NV_SEED_B, NV_SEED_C}, p, n);
}

/* Whether n bytes stand at both places, each followed by 16 readable bytes: short ones are compared without a call. */
static inline int nv_same(const uint8_t *a, const uint8_t *b, size_t n)
{
#if defined(__SSE2__)
    if (n <= 16) {
        __m128i same = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)a), _mm_loadu_si128((const __m128i *)b));
        return !(~(unsigned)_mm_movemask_epi8(same) << (16 - n) & 0xffff);
    }
#endif
    return !memcmp(a, b, n);
}

/* A quick number for n bytes, followed by 8 readable ones: for caches whose entries are compared. */
static inline uint32_t nv_glance(const uint8_t *p, size_t n)
{
    uint64_t first = nv_load64(p);
    first = n < 8 ? first << (8 * (8 - n)) % 64 : first ^ nv_load64(p + n - 8) * 3;
    return (uint32_t)((first + n) * NV_SEED_A >> 40);
}

/* CRC-32 (IEEE 802.3, as zlib's crc32): picks the shard of a tag key. */
uint32_t nv_crc32(const uint8_t *p, size_t n);

#endif
