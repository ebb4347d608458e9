#include "classes.h"

#include <string.h>

enum { CHUNK = 1, DIGIT = 2, MARK = 4, DOT = 8, COLON = 16 };

#define L CHUNK
#define G (CHUNK | DIGIT)
#define S (CHUNK | MARK)
#define P (CHUNK | DOT)
static const uint8_t CLASS[256] = {
    /* 00 */ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    /* 10 */ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    /* 20 */ 0, 0, 0, L, L, L, L, 0, 0, 0, L, L, 0, L, P, S,
    /* 30 */ G, G, G, G, G, G, G, G, G, G, COLON, 0, 0, MARK, 0, 0,
    /* 40 */ S, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
    /* 50 */ L, L, L, L, L, L, L, L, L, L, L, 0, S, 0, 0, L,
    /* 60 */ 0, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
    /* 70 */ L, L, L, L, L, L, L, L, L, L, L, 0, 0, 0, L, 0,
    /* 80 */ L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
    /* 90 */ L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
    /* a0 */ L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
    /* b0 */ L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
    /* c0 */ L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
    /* d0 */ L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
    /* e0 */ L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
    /* f0 */ L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
};
#undef L
#undef G
#undef S
#undef P

static inline uint64_t keep(size_t n, size_t block)
{
    size_t left = n - block * 64;
    return left >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << left) - 1;
}

static inline void close_maps(nv_bitmaps *out, size_t blocks)
{
    out->chunk[blocks] = out->digit[blocks] = out->mark[blocks] = out->dot[blocks] = out->colon[blocks] = 0;
}

static inline void mask_last(nv_bitmaps *out, size_t n, size_t blocks)
{
    if (!blocks)
        return;
    uint64_t m = keep(n, blocks - 1);
    out->chunk[blocks - 1] &= m;
    out->digit[blocks - 1] &= m;
    out->mark[blocks - 1] &= m;
    out->dot[blocks - 1] &= m;
    out->colon[blocks - 1] &= m;
}

/* Bit b of each of eight class bytes, gathered into one byte. */
static inline uint64_t gather(uint64_t classes, int bit)
{
    return (((classes >> bit) & UINT64_C(0x0101010101010101)) * UINT64_C(0x0102040810204080)) >> 56;
}

static void classify_scalar(const uint8_t *p, size_t n, nv_bitmaps *out)
{
    size_t blocks = (n + 63) / 64;
    for (size_t b = 0; b < blocks; b++) {
        uint64_t chunk = 0, digit = 0, mark = 0, dot = 0, colon = 0;
        for (int i = 0; i < 64; i += 8) {
            uint64_t c = 0;
            for (int j = 0; j < 8; j++)
                c |= (uint64_t)CLASS[p[b * 64 + i + j]] << (8 * j);
            chunk |= gather(c, 0) << i;
            digit |= gather(c, 1) << i;
            mark |= gather(c, 2) << i;
            dot |= gather(c, 3) << i;
            colon |= gather(c, 4) << i;
        }
        out->chunk[b] = chunk;
        out->digit[b] = digit;
        out->mark[b] = mark;
        out->dot[b] = dot;
        out->colon[b] = colon;
    }
    mask_last(out, n, blocks);
    close_maps(out, blocks);
}

#if defined(__x86_64__)
#include <immintrin.h>

static inline __m128i within(__m128i v, char first, char last)
{
    __m128i from_first = _mm_sub_epi8(v, _mm_set1_epi8(first));
    return _mm_cmpeq_epi8(_mm_min_epu8(from_first, _mm_set1_epi8((char)(last - first))), from_first);
}

static inline __m128i is(__m128i v, char c)
{
    return _mm_cmpeq_epi8(v, _mm_set1_epi8(c));
}

/* Every x86-64 has SSE2: ranges are compared, since there is no shuffle to look classes up with. */
static void classify_sse2(const uint8_t *p, size_t n, nv_bitmaps *out)
{
    size_t blocks = (n + 63) / 64;
    for (size_t b = 0; b < blocks; b++) {
        uint64_t chunk = 0, digit = 0, mark = 0, dot = 0, colon = 0;
        for (int i = 0; i < 64; i += 16) {
            __m128i v = _mm_loadu_si128((const __m128i *)(p + b * 64 + i));
            __m128i digits = within(v, '0', '9'), slash = is(v, '/'), dots = is(v, '.');
            __m128i odd = _mm_or_si128(is(v, '\\'), is(v, '@'));
            __m128i letters = within(_mm_or_si128(v, _mm_set1_epi8(32)), 'a', 'z');
            __m128i joiners = _mm_or_si128(_mm_or_si128(within(v, '#', '&'), within(v, '*', '+')),
                                           _mm_or_si128(within(v, '-', '/'), _mm_or_si128(is(v, '_'), is(v, '~'))));
            __m128i in = _mm_or_si128(_mm_or_si128(_mm_or_si128(v, digits), _mm_or_si128(letters, joiners)), odd);
            chunk |= (uint64_t)_mm_movemask_epi8(in) << i; /* a byte past 0x7f has its sign in v itself */
            digit |= (uint64_t)_mm_movemask_epi8(digits) << i;
            mark |= (uint64_t)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(slash, odd), is(v, '='))) << i;
            dot |= (uint64_t)_mm_movemask_epi8(dots) << i;
            colon |= (uint64_t)_mm_movemask_epi8(is(v, ':')) << i;
        }
        out->chunk[b] = chunk;
        out->digit[b] = digit;
        out->mark[b] = mark;
        out->dot[b] = dot;
        out->colon[b] = colon;
    }
    mask_last(out, n, blocks);
    close_maps(out, blocks);
}

int nv_classify_has(nv_simd way)
{
    if (way == NV_SIMD_AVX512)
        return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bw");
    return way != NV_SIMD_AVX2 || __builtin_cpu_supports("avx2");
}

/* One look into the table for 64 bytes at once. */
__attribute__((target("avx512vbmi,avx512bw"))) static void classify_avx512(const uint8_t *p, size_t n, nv_bitmaps *out)
{
    const __m512i low = _mm512_loadu_si512(CLASS), high = _mm512_loadu_si512(CLASS + 64);
    size_t blocks = (n + 63) / 64;
    for (size_t b = 0; b < blocks; b++) {
        __m512i v = _mm512_loadu_si512(p + b * 64);
        __mmask64 past = _mm512_movepi8_mask(v);
        __m512i c = _mm512_maskz_permutex2var_epi8(~past, low, v, high);
        out->chunk[b] = _mm512_test_epi8_mask(c, _mm512_set1_epi8(CHUNK)) | past;
        out->digit[b] = _mm512_test_epi8_mask(c, _mm512_set1_epi8(DIGIT));
        out->mark[b] = _mm512_test_epi8_mask(c, _mm512_set1_epi8(MARK));
        out->dot[b] = _mm512_test_epi8_mask(c, _mm512_set1_epi8(DOT));
        out->colon[b] = _mm512_test_epi8_mask(c, _mm512_set1_epi8(COLON));
    }
    mask_last(out, n, blocks);
    close_maps(out, blocks);
}

__attribute__((target("avx2"))) static inline uint64_t bits(__m256i low, __m256i high)
{
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

/* The class of 32 bytes: a bit of the byte's low half and one of its high half must meet. */
__attribute__((target("avx2"))) static inline __m256i meet(__m256i v, __m256i by_low, __m256i by_high)
{
    __m256i low = _mm256_shuffle_epi8(by_low, v);
    __m256i high = _mm256_shuffle_epi8(by_high, _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15)));
    return _mm256_and_si256(low, high);
}

__attribute__((target("avx2"))) static void classify_avx2(const uint8_t *p, size_t n, nv_bitmaps *out)
{
    /* Classes by halves: 1 digits (3x, 0-9); 2 joiners of row 2; 4 letters of rows 4 and 6; 8 letters of rows 5
       and 7; 16 '@'; 32 '\\' and '_'; 64 '~'; 128 ':' and '='. pshufb gives 0 for bytes past 0x7f: they are
       letters, added by their sign. */
    const __m256i by_low = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        1 | 8 | 16, 1 | 4 | 8, 1 | 4 | 8, 1 | 2 | 4 | 8, 1 | 2 | 4 | 8, 1 | 2 | 4 | 8, 1 | 2 | 4 | 8, 1 | 4 | 8,
        1 | 4 | 8, 1 | 4 | 8, 2 | 4 | 8 | (char)128, 2 | 4, 4 | 32, 2 | 4 | (char)128, 2 | 4 | 64, 2 | 4 | 32));
    const __m256i by_high = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 0, 2, 1 | (char)128, 4 | 16, 8 | 32, 4, 8 | 64, 0, 0, 0, 0, 0, 0, 0, 0));
    const __m256i in_chunk = _mm256_set1_epi8(127), one = _mm256_set1_epi8(1), zero = _mm256_setzero_si256();
    size_t blocks = (n + 63) / 64;
    for (size_t b = 0; b < blocks; b++) {
        __m256i v[2], c[2], chunk[2], mark[2];
        for (int h = 0; h < 2; h++) {
            v[h] = _mm256_loadu_si256((const __m256i *)(p + b * 64 + h * 32));
            c[h] = meet(v[h], by_low, by_high);
            __m256i out_of_chunk = _mm256_cmpeq_epi8(_mm256_and_si256(c[h], in_chunk), zero);
            chunk[h] = _mm256_or_si256(v[h], _mm256_xor_si256(out_of_chunk, _mm256_set1_epi8(-1)));
            mark[h] = _mm256_or_si256(
                _mm256_or_si256(_mm256_cmpeq_epi8(v[h], _mm256_set1_epi8('/')),
                                _mm256_cmpeq_epi8(v[h], _mm256_set1_epi8('\\'))),
                _mm256_or_si256(_mm256_cmpeq_epi8(v[h], _mm256_set1_epi8('@')),
                                _mm256_cmpeq_epi8(v[h], _mm256_set1_epi8('='))));
        }
        out->chunk[b] = bits(chunk[0], chunk[1]);
        out->digit[b] = bits(_mm256_cmpeq_epi8(_mm256_and_si256(c[0], one), one),
                             _mm256_cmpeq_epi8(_mm256_and_si256(c[1], one), one));
        out->mark[b] = bits(mark[0], mark[1]);
        out->dot[b] = bits(_mm256_cmpeq_epi8(v[0], _mm256_set1_epi8('.')), _mm256_cmpeq_epi8(v[1], _mm256_set1_epi8('.')));
        out->colon[b] = bits(_mm256_cmpeq_epi8(v[0], _mm256_set1_epi8(':')), _mm256_cmpeq_epi8(v[1], _mm256_set1_epi8(':')));
    }
    mask_last(out, n, blocks);
    close_maps(out, blocks);
}
#else
int nv_classify_has(nv_simd way)
{
    return way != NV_SIMD_AVX2 && way != NV_SIMD_AVX512;
}

static void classify_sse2(const uint8_t *p, size_t n, nv_bitmaps *out)
{
    classify_scalar(p, n, out);
}

static void classify_avx2(const uint8_t *p, size_t n, nv_bitmaps *out)
{
    classify_scalar(p, n, out);
}

static void classify_avx512(const uint8_t *p, size_t n, nv_bitmaps *out)
{
    classify_scalar(p, n, out);
}
#endif

static nv_simd chosen = NV_SIMD_AUTO;

void nv_classify_choose(nv_simd way)
{
    if (way == NV_SIMD_AUTO)
        way = NV_SIMD_WAYS - 1;
    while (!nv_classify_has(way))
        way--;
    chosen = way;
}

void nv_classify(const uint8_t *p, size_t n, nv_bitmaps *out)
{
    if (__builtin_expect(chosen == NV_SIMD_AUTO, 0))
        nv_classify_choose(NV_SIMD_AUTO);
    if (chosen == NV_SIMD_AVX512)
        classify_avx512(p, n, out);
    else if (chosen == NV_SIMD_AVX2)
        classify_avx2(p, n, out);
    else if (chosen == NV_SIMD_BASELINE)
        classify_sse2(p, n, out);
    else
        classify_scalar(p, n, out);
}
